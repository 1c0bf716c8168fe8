//! Tokens of ad platforms: one that the project hands over as it is, or one that is asked for with a
//! refresh token.
//!
//! What it promises: either way or the other, never half of both. A refresh token that the platform
//! replaces is not kept: the project hands over a new one before the old one ends.

use std::sync::Arc;
use std::time::SystemTime;

use url::Url;

use super::oauth::{Encoding, Flow, OAuth};
use super::{Fault, OptionDoc, Reader, Secret};
use crate::delivery::{Grant, Request, granting};
use crate::finding::Finding;

pub(super) const ACCESS_TOKEN: OptionDoc = OptionDoc::optional(
    "access_token",
    "a token as it is; or give `client_id`, `client_secret` and `refresh_token`",
);
pub(super) const CLIENT_ID: OptionDoc =
    OptionDoc::optional("client_id", "OAuth client that the refresh token was given to");
pub(super) const CLIENT_SECRET: OptionDoc =
    OptionDoc::optional("client_secret", "the secret that belongs to it");
pub(super) const REFRESH_TOKEN: OptionDoc =
    OptionDoc::optional("refresh_token", "token that access tokens are asked for with");

/// As it is written.
#[derive(Debug)]
pub(super) struct Given {
    pub access_token: Option<Secret>,
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    pub refresh_token: Option<Secret>,
}

/// Where the client's own credentials stand in a request for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// Among the fields of the form.
    Form,
    /// In a header, as user and password.
    Basic,
}

/// By what requests are authorised.
#[derive(Debug, Clone)]
pub(super) enum Bearer {
    Fixed(Secret),
    Renewed(Arc<dyn Grant>),
}

impl Given {
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let all = [&self.access_token, &self.client_secret, &self.refresh_token];
        all.into_iter().flatten().cloned().collect()
    }

    /// `url` gives out tokens.
    pub(super) fn bearer(
        self,
        reader: &Reader<'_>,
        url: Url,
        client: Client,
    ) -> Result<Bearer, Vec<Finding>> {
        match (self.access_token, self.client_id, self.client_secret, self.refresh_token) {
            (Some(token), None, None, None) => Ok(Bearer::Fixed(token)),
            (None, Some(id), Some(secret), Some(token)) => Ok(Bearer::Renewed(match client {
                Client::Form => {
                    let flow = Flow::Refresh { id, secret: Some(secret), token };
                    Arc::new(OAuth { url, flow, encoding: Encoding::Form, extra: Vec::new() })
                }
                Client::Basic => Arc::new(Basic { url, id: Secret::new(id), secret, token }),
            })),
            _ => {
                let fact = "must stand alone, or `client_id`, `client_secret` and `refresh_token` in its \
                            place";
                Err(vec![reader.refuse("access_token", fact)])
            }
        }
    }
}

impl Bearer {
    pub(super) fn authorise(&self, request: Request) -> Request {
        match self {
            Self::Fixed(token) => request.bearer(token),
            Self::Renewed(grant) => request.granted(grant),
        }
    }
}

/// Asks for a token as whoever the header says.
#[derive(Debug)]
struct Basic {
    url: Url,
    id: Secret,
    secret: Secret,
    token: Secret,
}

impl Grant for Basic {
    fn request(&self, _now: SystemTime) -> Result<Request, Fault> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", self.token.expose())];
        let request = Request::post(self.url.clone()).basic(&self.id, &self.secret);
        Ok(request.form_body(&fields).reading(granting))
    }
}
