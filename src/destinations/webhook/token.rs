//! The `oauth` option of a webhook: how its tokens are asked for.

use std::sync::Arc;

use serde::Deserialize;
use url::Url;

use super::super::oauth::{Assertion, Encoding, Flow, OAuth};
use crate::delivery::Grant;
use crate::destinations::Secret;

/// As it is written. Which of the values stand together decides how a token is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenOptions {
    token_url: Url,
    client_id: String,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    private_key: Option<Secret>,
    subject: Option<String>,
    audience: Option<String>,
    scope: Option<String>,
    #[serde(default)]
    json: bool,
}

impl TokenOptions {
    pub(super) fn secrets(&self) -> impl Iterator<Item = Secret> {
        [&self.client_secret, &self.refresh_token, &self.private_key].into_iter().flatten().cloned()
    }

    /// The way to a token, or a fact about why there is none.
    pub(super) fn grant(self) -> Result<Arc<dyn Grant>, String> {
        let encoding = if self.json { Encoding::Json } else { Encoding::Form };
        let url = self.token_url.clone();
        let scope = self.scope.clone();
        let flow = self.flow()?;
        let is_assertion = matches!(flow, Flow::Assertion(_));
        let extra = scope.filter(|_| !is_assertion).map(|scope| ("scope", scope));
        Ok(Arc::new(OAuth { url, flow, encoding, extra: extra.into_iter().collect() }))
    }

    fn flow(self) -> Result<Flow, String> {
        let Self { token_url, client_id: id, subject, audience, scope, .. } = self;
        match (self.client_secret, self.refresh_token, self.private_key) {
            (None, None, Some(key)) => {
                let audience = audience.unwrap_or_else(|| token_url.to_string());
                let assertion = Assertion { issuer: id, subject, audience, scope, key };
                assertion.verify().map_err(|why| format!("holds a `private_key` that {why}"))?;
                Ok(Flow::Assertion(assertion))
            }
            (secret, Some(token), None) => Ok(Flow::Refresh { id, secret, token }),
            (Some(secret), None, None) => Ok(Flow::ClientCredentials { id, secret }),
            _ => Err(
                "needs `client_secret`, `refresh_token` or `private_key`, and no other of them \
                      but a `client_secret` beside a `refresh_token`"
                    .into(),
            ),
        }
    }
}
