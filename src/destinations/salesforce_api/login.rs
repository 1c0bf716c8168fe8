//! Signing in to Salesforce: how a token is asked for, how long it is used, and to which instance it
//! belongs.
//!
//! What it promises: a session that is over is renewed by one request for all, as Salesforce never says
//! how long one lasts; requests follow the instance that the token's reply names only if that is one of
//! Salesforce's own hosts.

use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use url::{Host, Url};

use super::super::oauth::{Assertion, Encoding, Flow, OAuth};
use super::super::{Fault, OptionDoc, Secret};
use super::{complaints, extend};
use crate::delivery::{Grant, Request, Response, Token, granting};

pub(in crate::destinations) const LOGIN_URL: OptionDoc = OptionDoc::optional(
    "login_url",
    "where tokens are asked for, such as \"https://acme.my.salesforce.com\"; default \
     \"https://login.salesforce.com\"",
);
pub(in crate::destinations) const CLIENT_ID: OptionDoc =
    OptionDoc::required("client_id", "consumer key of the connected app");
pub(in crate::destinations) const CLIENT_SECRET: OptionDoc = OptionDoc::optional(
    "client_secret",
    "consumer secret: alone for client credentials, or beside a `refresh_token`",
);
pub(in crate::destinations) const REFRESH_TOKEN: OptionDoc =
    OptionDoc::optional("refresh_token", "refresh token of a user who granted access");
pub(in crate::destinations) const PRIVATE_KEY: OptionDoc = OptionDoc::optional(
    "private_key",
    "private key in PEM (PKCS #8) for the JWT bearer flow, beside `username`",
);
pub(in crate::destinations) const USERNAME: OptionDoc =
    OptionDoc::optional("username", "the user as whom a `private_key` signs in");

/// Where instances live.
const DOMAINS: &[&str] = &["salesforce.com", "salesforce.mil", "force.com"];

/// Who signs in, as the options say.
#[derive(Debug)]
pub(in crate::destinations) struct Login {
    pub login_url: Option<Url>,
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub refresh_token: Option<Secret>,
    pub private_key: Option<Secret>,
    pub username: Option<String>,
    /// Stands for every host of Salesforce's.
    pub base_url: Option<Url>,
}

/// Where requests go that carry the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::destinations) enum Whither {
    /// To the instance that the reply with the token names.
    Instance,
    /// Where they are addressed to.
    AsAddressed,
}

/// How tokens are asked for and used.
#[derive(Debug)]
struct Access {
    oauth: OAuth,
    whither: Whither,
    is_expired: fn(&Response) -> bool,
}

/// An option that cannot be used, and the fact about it.
pub(in crate::destinations) type Unusable = (&'static str, String);

impl Login {
    pub(in crate::destinations) fn secrets(&self) -> Vec<Secret> {
        let all = [&self.client_secret, &self.refresh_token, &self.private_key];
        all.into_iter().flatten().cloned().collect()
    }

    /// The way to a token.
    pub(in crate::destinations) fn grant(
        self,
        whither: Whither,
        is_expired: fn(&Response) -> bool,
    ) -> Result<Arc<dyn Grant>, Unusable> {
        let whither = if self.base_url.is_some() { Whither::AsAddressed } else { whither };
        let mut url = self.address()?;
        extend(&mut url, &["services", "oauth2", "token"]);
        let flow = self.flow()?;
        let oauth = OAuth { url, flow, encoding: Encoding::Form, extra: Vec::new() };
        Ok(Arc::new(Access { oauth, whither, is_expired }))
    }

    /// Where the login, and every request whose instance is not known yet, is addressed to.
    pub(in crate::destinations) fn address(&self) -> Result<Url, Unusable> {
        if let Some(url) = self.base_url.as_ref().or(self.login_url.as_ref()) {
            return Ok(url.clone());
        }
        Url::parse("https://login.salesforce.com")
            .map_err(|error| ("login_url", format!("has no usable default: {error}")))
    }

    fn flow(self) -> Result<Flow, Unusable> {
        let audience = self.audience();
        let Self { client_id: id, client_secret, refresh_token, private_key, username, .. } = self;
        match (client_secret, refresh_token, private_key, username) {
            (Some(secret), None, None, None) => Ok(Flow::ClientCredentials { id, secret }),
            (secret, Some(token), None, None) => Ok(Flow::Refresh { id, secret, token }),
            (None, None, Some(key), Some(user)) => {
                let assertion =
                    Assertion { issuer: id, subject: Some(user), audience, scope: None, key };
                assertion.verify().map_err(|why| ("private_key", why))?;
                Ok(Flow::Assertion(assertion))
            }
            _ => {
                let fact = "needs beside it a `client_secret`, a `refresh_token` (with or without \
                            a `client_secret`), or a `private_key` and its `username`";
                Err(("client_id", fact.into()))
            }
        }
    }

    /// For whom an assertion is made out: production or sandboxes.
    fn audience(&self) -> String {
        let host = self.login_url.as_ref().and_then(Url::host_str).unwrap_or_default();
        let sandbox = host.starts_with("test.") || host.contains(".sandbox.");
        let name = if sandbox { "test" } else { "login" };
        format!("https://{name}.salesforce.com")
    }
}

impl Grant for Access {
    fn request(&self, now: SystemTime) -> Result<Request, Fault> {
        Ok(self.oauth.request(now)?.reading(granted))
    }

    fn token(&self, response: &Response) -> Result<Token, Fault> {
        #[derive(Deserialize)]
        struct Reply {
            instance_url: String,
        }
        let token = Token::oauth(response)?;
        match self.whither {
            Whither::AsAddressed => Ok(token),
            Whither::Instance => {
                let Reply { instance_url } = response.json()?;
                Ok(Token { base: Some(instance(&instance_url)?), ..token })
            }
        }
    }

    fn authorise(&self, mut request: Request, token: &Token) -> Result<Request, Fault> {
        if let Some(instance) = &token.base {
            let mut url = instance.clone();
            url.set_path(request.url.path());
            url.set_query(request.url.query());
            request.url = url;
        }
        Ok(request.bearer(&token.secret))
    }

    fn is_expired(&self, response: &Response) -> bool {
        (self.is_expired)(response)
    }
}

/// Another process may be renewing with the same refresh token at this moment.
fn granted(response: &Response) -> Result<(), Fault> {
    match granting(response) {
        Err(Fault::Denied { reason })
            if response.status == 400 && reason.contains("already being processed") =>
        {
            Err(Fault::Transient { reason })
        }
        other => other,
    }
}

/// The address of an instance, if it is one of Salesforce's.
fn instance(text: &str) -> Result<Url, Fault> {
    let is_theirs = |url: &Url| match url.host() {
        Some(Host::Domain(host)) => DOMAINS
            .iter()
            .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))),
        _ => false,
    };
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https" && is_theirs(url));
    url.ok_or_else(|| Fault::Protocol {
        reason: "the reply with the token names an instance that is not one of Salesforce's hosts"
            .into(),
    })
}

/// A session that is over comes as a 401, and is named as such under other statuses.
pub(in crate::destinations) fn is_unauthorised(response: &Response) -> bool {
    let is_over = || complaints(response).iter().any(|told| told.code == "INVALID_SESSION_ID");
    response.status == 401 || (response.status >= 400 && is_over())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn login() -> Login {
        Login {
            login_url: None,
            client_id: "app".into(),
            client_secret: None,
            refresh_token: None,
            private_key: None,
            username: None,
            base_url: None,
        }
    }

    fn reply(status: u16, body: &str) -> Response {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Response { status, headers: http::HeaderMap::new(), body }
    }

    fn sent(login: Login) -> String {
        let grant = login.grant(Whither::Instance, is_unauthorised).unwrap();
        let request = grant.request(SystemTime::UNIX_EPOCH).unwrap();
        let body = String::from_utf8_lossy(&request.body);
        format!("{} {}", request.url, body.split("assertion").next().unwrap())
    }

    #[test]
    fn every_flow_asks_where_it_belongs() {
        let key = include_str!("../oauth/test_key.pem");
        let secret = |text: &str| Some(Secret::new(text));
        let url = |text: &str| Some(Url::parse(text).unwrap());
        let sent = [
            Login {
                client_secret: secret("s"),
                login_url: url("https://acme.my.salesforce.com/"),
                ..login()
            },
            Login { refresh_token: secret("r"), ..login() },
            Login {
                private_key: secret(key),
                username: Some("ops".into()),
                base_url: url("http://127.0.0.1:9/sf"),
                ..login()
            },
        ]
        .map(sent)
        .join("\n");
        insta::assert_snapshot!(sent, @r#"
    https://acme.my.salesforce.com/services/oauth2/token grant_type=client_credentials&client_id=app&client_secret=s
    https://login.salesforce.com/services/oauth2/token grant_type=refresh_token&client_id=app&refresh_token=r
    http://127.0.0.1:9/sf/services/oauth2/token grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&
    "#);
        for broken in [login(), Login { private_key: secret(key), ..login() }] {
            assert!(broken.grant(Whither::Instance, is_unauthorised).is_err());
        }
    }

    #[test]
    fn assertions_are_made_out_for_production_or_sandboxes() {
        let audience = |url| Login { login_url: Url::parse(url).ok(), ..login() }.audience();
        assert_eq!(audience("https://acme.my.salesforce.com"), "https://login.salesforce.com");
        assert_eq!(audience("https://test.salesforce.com"), "https://test.salesforce.com");
        let sandbox = "https://acme--uat.sandbox.my.salesforce.com";
        assert_eq!(audience(sandbox), "https://test.salesforce.com");
    }

    #[test]
    fn only_hosts_of_salesforce_are_followed() {
        assert!(instance("https://acme.my.salesforce.com").is_ok());
        assert!(instance("https://acme.my.salesforce.mil").is_ok());
        for text in [
            "http://acme.my.salesforce.com",
            "https://salesforce.com.example.org",
            "https://evilsalesforce.com",
            "https://127.0.0.1",
            "acme",
        ] {
            assert!(matches!(instance(text), Err(Fault::Protocol { .. })), "{text}");
        }
    }

    #[test]
    fn a_token_that_somebody_else_renews_is_waited_for() {
        let busy = r#"{"error":"invalid_grant","error_description":"token request is already being processed"}"#;
        assert!(matches!(granted(&reply(400, busy)), Err(Fault::Transient { .. })));
        let wrong =
            r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#;
        assert!(matches!(granted(&reply(400, wrong)), Err(Fault::Denied { .. })));
    }
}
