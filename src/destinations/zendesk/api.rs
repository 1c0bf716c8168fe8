//! Zendesk's Support API: address, credentials, and what its replies mean.
//!
//! What it promises: writes of one user that got in each other's way are tried again; a used-up window
//! is waited for, as far as the headers say when the next one begins.

use std::time::{Duration, SystemTime};

use http::Method;
use serde::{Deserialize, Serialize};
use url::Url;

use super::super::{Fault, Secret};
use crate::delivery::{Request, Response, Session, standard};

/// One account.
#[derive(Debug)]
pub(super) struct Api {
    pub base: Url,
    pub credentials: Credentials,
}

/// What proves who we are.
#[derive(Debug)]
pub(super) enum Credentials {
    /// `agent@example.org/token` and the token.
    ApiToken {
        user: Secret,
        token: Secret,
    },
    OAuth(Secret),
}

/// The quota is counted per minute: no window is longer.
const WINDOW: Duration = Duration::from_mins(1);

impl Api {
    pub(super) fn get(&self, path: &[&str]) -> Request {
        self.request(Method::GET, path)
    }

    /// A request that carries a body.
    pub(super) fn post(&self, path: &[&str], body: &impl Serialize) -> Result<Request, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| Fault::Rejected {
            reason: format!("a value cannot be encoded: {error}"),
        })?;
        Ok(self.request(Method::POST, path).json_body(body.into()))
    }

    /// Proves the credentials: whoever is not known is answered as an anonymous user.
    pub(super) async fn me(&self, session: &Session) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Reply {
            user: Me,
        }
        #[derive(Deserialize)]
        struct Me {
            id: Option<u64>,
            role: Option<String>,
        }
        let Reply { user } = session.send(self.get(&["users", "me"])).await?.json()?;
        let role = user.role.as_deref().unwrap_or("anonymous");
        match (user.id, role) {
            (Some(_), "admin" | "agent") => Ok(()),
            (Some(_), role) => Err(Fault::Denied {
                reason: format!("the role `{role}` may not write users: use an agent or admin"),
            }),
            (None, _) => Err(Fault::Denied { reason: "Zendesk knows nobody of that name".into() }),
        }
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v2"]).extend(path);
        }
        let request = Request::new(method, url)
            .header("accept", "application/json")
            .reading(answered)
            .heeding(window);
        match &self.credentials {
            Credentials::ApiToken { user, token } => request.basic(user, token),
            Credentials::OAuth(token) => request.bearer(token),
        }
    }
}

/// As usual, but a conflict is one of writes at the same moment, of which this one did not happen.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    match response.status {
        409 => Err(Fault::Transient { reason: response.reason() }),
        _ => standard(response),
    }
}

/// Until the next window begins, where this one is used up. The unit of `ratelimit-reset` is said to
/// be seconds from now; anything longer than a window is not taken for that.
fn window(response: &Response, _now: SystemTime) -> Option<Duration> {
    let number = |name| -> Option<u64> { response.headers.get(name)?.to_str().ok()?.parse().ok() };
    if number("ratelimit-remaining")? > 0 {
        return None;
    }
    let reset = Duration::from_secs(number("ratelimit-reset")?);
    (reset <= WINDOW).then_some(reset)
}

/// Whether a refusal is about that property of the record.
pub(super) fn complains_of(response: &Response, property: &str) -> bool {
    #[derive(Deserialize)]
    struct Invalid {
        details: serde_json::Map<String, serde_json::Value>,
    }
    matches!(response.status, 400 | 422)
        && response.json::<Invalid>().is_ok_and(|invalid| invalid.details.contains_key(property))
}
