//! The pod of an instance: where the login sends us, how requests are authorised, and what replies
//! mean.
//!
//! What it promises: the password goes to the login host and to hosts below the vendor's domain, and
//! nowhere else; a login is asked for again when a request is turned away, which tells an instance
//! that moved from credentials that no longer hold.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use serde::Deserialize;
use url::Url;

use super::super::{Fault, Quota, Secret};
use crate::delivery::{Grant, Request, Response, Token, standard};

const LOGIN: &str = "https://login.eloqua.com";
const DOMAIN: &str = ".eloqua.com";

/// Definitions of imports and sync actions.
pub(super) const ENDPOINTS: &[(&str, Quota)] =
    &[(DEFINITIONS, Quota { limit: 2000, per: Duration::from_hours(1) })];
pub(super) const DEFINITIONS: &str = "definitions";

/// One instance.
#[derive(Debug)]
pub(super) struct Pod {
    base: Url,
    grant: Arc<dyn Grant>,
}

#[derive(Debug)]
struct Login {
    base: Url,
    /// Whether the login says where requests go.
    leads: bool,
    /// `Company\User`.
    who: Secret,
    password: Secret,
}

#[derive(Deserialize)]
struct Identity {
    urls: Urls,
}

#[derive(Deserialize)]
struct Urls {
    base: String,
}

impl Pod {
    /// `base` stands for the login and for whatever it names.
    pub(super) fn of(
        base: Option<&Url>,
        who: Secret,
        password: Secret,
    ) -> Result<Self, &'static str> {
        let login = || Url::parse(LOGIN).map_err(|_| "has no usable login");
        let leads = base.is_none();
        let base = base.cloned().map_or_else(login, Ok)?;
        let grant = Arc::new(Login { base: base.clone(), leads, who, password });
        Ok(Self { base, grant })
    }

    /// A request of the Bulk API, such as to `["contacts", "imports"]`.
    pub(super) fn bulk(&self, method: Method, path: &[&str]) -> Request {
        self.request(method, &[&["api", "bulk", "2.0"], path].concat())
    }

    /// A request about lists as such.
    pub(super) fn lists(&self, method: Method, path: &[&str]) -> Request {
        self.request(method, &[&["api", "REST", "2.0", "assets", "contact"], path].concat())
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        Request::new(method, below(&self.base, path))
            .granted(&self.grant)
            .header("accept", "application/json")
            .reading(answered)
    }
}

fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

impl Grant for Login {
    fn request(&self, _now: SystemTime) -> Result<Request, Fault> {
        let request = Request::get(below(&self.base, &["id"])).reading(identified);
        Ok(request.basic(&self.who, &self.password))
    }

    /// The credentials stay what they are; what the login gives us is where to go with them.
    fn token(&self, response: &Response) -> Result<Token, Fault> {
        let Identity { urls } = response.json()?;
        let base = if self.leads { Some(within(&urls.base)?) } else { None };
        Ok(Token { secret: self.password.clone(), lifetime: None, base })
    }

    fn authorise(&self, mut request: Request, token: &Token) -> Result<Request, Fault> {
        if let Some(base) = &token.base {
            let mut url = base.clone();
            url.set_path(request.url.path());
            url.set_query(request.url.query());
            request.url = url;
        }
        Ok(request.basic(&self.who, &self.password))
    }
}

fn within(base: &str) -> Result<Url, Fault> {
    let url = Url::parse(base).ok().filter(|url| {
        let host = url.host_str().unwrap_or_default();
        url.scheme() == "https" && host.len() > DOMAIN.len() && host.ends_with(DOMAIN)
    });
    url.ok_or_else(|| Fault::Denied {
        reason: "the login sends us to an address outside of `eloqua.com`, where no data goes"
            .into(),
    })
}

/// Wrong credentials are told by a text, with status 200.
fn identified(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    match response.json::<String>() {
        Ok(text) if text.starts_with("Not authenticated") => {
            Err(Fault::Denied { reason: response.reason() })
        }
        _ => Ok(()),
    }
}

/// As usual, but a full staging area passes.
fn answered(response: &Response) -> Result<(), Fault> {
    match standard(response) {
        Err(Fault::Rejected { reason }) if is_full(response) => Err(Fault::Transient { reason }),
        other => other,
    }
}

fn is_full(response: &Response) -> bool {
    response.status == 413 && String::from_utf8_lossy(&response.body).contains("ELQ-00136")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Response {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        Response { status, headers: http::HeaderMap::new(), body }
    }

    #[test]
    fn a_login_leads_nowhere_outside_of_eloqua() {
        let at = |url| within(url).map(|url| url.to_string());
        assert_eq!(
            at("https://secure.p03.eloqua.com"),
            Ok("https://secure.p03.eloqua.com/".into())
        );
        for url in [
            "https://eloqua.com.evil.example",
            "https://evileloqua.com",
            "http://secure.p03.eloqua.com",
            "",
        ] {
            assert!(matches!(at(url), Err(Fault::Denied { .. })), "{url}");
        }
    }

    #[test]
    fn wrong_credentials_come_as_a_text() {
        let wrong = identified(&reply(200, "\"Not authenticated.\""));
        assert!(matches!(wrong, Err(Fault::Denied { .. })));
        assert_eq!(identified(&reply(200, "{}")), Ok(()));
    }

    #[test]
    fn a_full_staging_area_passes_and_a_large_request_does_not() {
        let full = answered(&reply(413, "{\"failures\":[{\"code\":\"ELQ-00136\"}]}"));
        assert!(matches!(full, Err(Fault::Transient { .. })));
        assert!(matches!(answered(&reply(413, "")), Err(Fault::Rejected { .. })));
    }
}
