//! The login of an account: how a session begins, and where it sends us.
//!
//! What it promises: a token goes to hosts of the login's own domain and nowhere else; a used-up quota
//! is never taken for a session that is over, though it comes with the same status.

use std::time::SystemTime;

use serde::Deserialize;
use url::Url;

use super::{LOGIN, Refusal, answered, below};
use crate::delivery::{Grant, Request, Response, Token};
use crate::destinations::{Fault, Secret};

/// How a session begins.
#[derive(Debug)]
pub(super) struct Login {
    pub base: Url,
    /// Where it may send us; `None`: nowhere else.
    pub domain: Option<String>,
    pub user: Secret,
    pub password: Secret,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    auth_token: Secret,
    end_point: String,
}

/// The address of a login host, and the domain to which it may send us: everything after its first
/// label, which must not be a whole top-level domain.
pub(super) fn address(host: &str) -> Result<(Url, String), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let labels: Vec<_> = host.split('.').collect();
    let named = labels.len() >= 3 && labels.iter().all(|label| !label.is_empty());
    if !named || !host.bytes().all(is_plain) {
        return Err("is not a host of at least three parts");
    }
    let url = Url::parse(&format!("https://{host}"))
        .map_err(|_| "is not a host of at least three parts")?;
    Ok((url, labels[1..].join(".").to_ascii_lowercase()))
}

impl Grant for Login {
    fn request(&self, _now: SystemTime) -> Result<Request, Fault> {
        let url = below(&self.base, &["rest", "api", "v1.3", "auth", "token"]);
        let fields = [
            ("user_name", self.user.expose()),
            ("password", self.password.expose()),
            ("auth_type", "password"),
        ];
        Ok(Request::post(url).form_body(&fields).endpoint(LOGIN).reading(logged_in))
    }

    fn token(&self, response: &Response) -> Result<Token, Fault> {
        let LoggedIn { auth_token, end_point } = response.json()?;
        let base = self.domain.as_deref().map(|domain| within(domain, &end_point)).transpose()?;
        Ok(Token { secret: auth_token, lifetime: None, base })
    }

    /// The token stands alone, without a scheme, and the request goes where the login said.
    fn authorise(&self, mut request: Request, token: &Token) -> Result<Request, Fault> {
        if let Some(base) = &token.base {
            let mut url = base.clone();
            url.set_path(request.url.path());
            url.set_query(request.url.query());
            request.url = url;
        }
        Ok(request.secret_header("authorization", &token.secret))
    }

    fn is_expired(&self, response: &Response) -> bool {
        let refusal: Refusal = response.json().unwrap_or_default();
        refusal.is_about_token() || (response.status == 401 && refusal.error_code.is_none())
    }
}

/// The address that a login names, if it lies in the domain.
fn within(domain: &str, end_point: &str) -> Result<Url, Fault> {
    let url = Url::parse(end_point).ok().filter(|url| {
        let host = url.host_str().unwrap_or_default();
        url.scheme() == "https" && host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    });
    url.ok_or_else(|| Fault::Denied {
        reason: format!(
            "the login sends us to an address outside of `{domain}`, where no data goes"
        ),
    })
}

/// Whoever is refused a session has the wrong credentials, unless there were too many logins.
fn logged_in(response: &Response) -> Result<(), Fault> {
    match answered(response) {
        Err(Fault::Rejected { reason }) => Err(Fault::Denied { reason }),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &str) -> Response {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        Response { status, headers: http::HeaderMap::new(), body }
    }

    fn refused(status: u16, code: &str) -> Response {
        reply(status, &format!(r#"{{"errorCode":"{code}","detail":"no"}}"#))
    }

    #[test]
    fn a_session_is_over_by_code_text_or_a_bare_401() {
        let login = Login {
            base: Url::parse("https://login5.responsys.net").unwrap(),
            domain: None,
            user: Secret::new("u"),
            password: Secret::new("p"),
        };
        let token =
            r#"{"errorCode":"UNEXPECTED_EXCEPTION","detail":"Not a valid authentication token"}"#;
        assert!(login.is_expired(&reply(500, token)));
        assert!(login.is_expired(&refused(401, "TOKEN_EXPIRED")));
        assert!(login.is_expired(&reply(401, "")));
        assert!(!login.is_expired(&refused(401, "API_LIMIT_EXCEEDED")));
        assert!(!login.is_expired(&reply(200, "[]")));
    }

    #[test]
    fn a_login_leads_nowhere_outside_of_its_domain() {
        let domain = |host| address(host).map(|(_, domain)| domain);
        assert_eq!(domain("login5.responsys.net"), Ok("responsys.net".into()));
        let own = "abc-api.responsys.ocs.oraclecloud.com";
        assert_eq!(domain(own), Ok("responsys.ocs.oraclecloud.com".into()));
        for host in ["", "responsys.net", "a..b.c", "evil.example/x.y", "a:b@c.d.e"] {
            assert!(address(host).is_err(), "{host}");
        }
        let at = |url| within("responsys.net", url).map(|url| url.to_string());
        assert_eq!(
            at("https://api5-002.responsys.net"),
            Ok("https://api5-002.responsys.net/".into())
        );
        for url in [
            "https://responsys.net.evil.example",
            "https://evilresponsys.net",
            "http://api5.responsys.net",
            "api5.responsys.net",
        ] {
            assert!(matches!(at(url), Err(Fault::Denied { .. })), "{url}");
        }
    }
}
