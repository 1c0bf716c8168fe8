//! How Salesforce is spoken to, whichever of its products is meant: how a token is asked for, where
//! requests go, and what refusals mean.
//!
//! What it promises: a session that is over is renewed by one request for all, as Salesforce never says
//! how long one lasts; requests go to the instance that the token's reply names, and only if that is
//! one of Salesforce's own hosts. A used-up allowance is a slow-down, though it comes as a 403. No write
//! hands a record to another owner, as Salesforce's assignment rules would, with a mail to that owner.

mod records;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::oauth::{Assertion, Encoding, Flow, OAuth};
use super::{Fault, OptionDoc, Secret};
use crate::delivery::{Grant, Request, Response, Token, granting, standard};
pub(super) use records::{found, outcomes, quoted};

pub(super) const LOGIN_URL: OptionDoc = OptionDoc::optional(
    "login_url",
    "where tokens are asked for, such as \"https://acme.my.salesforce.com\"; default \
     \"https://login.salesforce.com\"",
);
pub(super) const CLIENT_ID: OptionDoc =
    OptionDoc::required("client_id", "consumer key of the connected app");
pub(super) const CLIENT_SECRET: OptionDoc = OptionDoc::optional(
    "client_secret",
    "consumer secret: alone for client credentials, or beside a `refresh_token`",
);
pub(super) const REFRESH_TOKEN: OptionDoc =
    OptionDoc::optional("refresh_token", "refresh token of a user who granted access");
pub(super) const PRIVATE_KEY: OptionDoc = OptionDoc::optional(
    "private_key",
    "private key in PEM (PKCS #8) for the JWT bearer flow, beside `username`",
);
pub(super) const USERNAME: OptionDoc =
    OptionDoc::optional("username", "the user as whom a `private_key` signs in");
pub(super) const API_VERSION: OptionDoc =
    OptionDoc::optional("api_version", "version of the REST API; default \"66.0\"");

/// The version whose requests and replies this is written for.
pub(super) const VERSION: &str = "66.0";

/// Where instances live.
const DOMAINS: &[&str] = &["salesforce.com", "salesforce.mil", "force.com"];
/// A daily allowance comes back bit by bit: asking again soon is no use.
const LONG_PAUSE: Duration = Duration::from_hours(1);

/// Who signs in, as the options say.
#[derive(Debug)]
pub(super) struct Login {
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
pub(super) enum Whither {
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
pub(super) type Unusable = (&'static str, String);

impl Login {
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let all = [&self.client_secret, &self.refresh_token, &self.private_key];
        all.into_iter().flatten().cloned().collect()
    }

    /// The way to a token.
    pub(super) fn grant(
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
    pub(super) fn address(&self) -> Result<Url, Unusable> {
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
pub(super) fn is_unauthorised(response: &Response) -> bool {
    let is_over = || complaints(response).iter().any(|told| told.code == "INVALID_SESSION_ID");
    response.status == 401 || (response.status >= 400 && is_over())
}

/// One organisation and how its REST API is asked.
#[derive(Debug)]
pub(super) struct Org {
    /// Stands in for the instance until that is known.
    pub address: Url,
    pub grant: Arc<dyn Grant>,
    pub version: String,
}

impl Org {
    pub(super) fn of(login: Login, version: Option<String>) -> Result<Self, Unusable> {
        let version = version.unwrap_or_else(|| VERSION.to_owned());
        let is_number = version.split_once('.').is_some_and(|(major, minor)| {
            [major, minor].iter().all(|part| !part.is_empty() && part.parse::<u16>().is_ok())
        });
        if !is_number {
            return Err(("api_version", "is no version such as \"66.0\"".into()));
        }
        let address = login.address()?;
        Ok(Self { address, grant: login.grant(Whither::Instance, is_unauthorised)?, version })
    }

    pub(super) fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.address.clone();
        let version = format!("v{}", self.version);
        extend(&mut url, &["services", "data", &version]);
        extend(&mut url, path);
        Request::new(method, url)
            .header("accept", "application/json")
            .granted(&self.grant)
            .reading(answered)
    }

    pub(super) fn get(&self, path: &[&str]) -> Request {
        self.request(Method::GET, path)
    }

    /// A request that carries a body.
    pub(super) fn write(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Request, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| Fault::Rejected {
            reason: format!("a value cannot be encoded: {error}"),
        })?;
        let request = self.request(method, path).json_body(Bytes::from(body));
        // Left out, assignment rules apply to leads and accounts each time they are updated.
        Ok(request.header("sforce-auto-assign", "FALSE"))
    }
}

fn extend(url: &mut Url, path: &[&str]) {
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
}

/// Letters, digits and single underscores, beginning with a letter.
pub(super) fn plain(column: &str) -> String {
    let mut name = String::new();
    for letter in column.chars() {
        let letter = if letter.is_ascii_alphanumeric() { letter } else { '_' };
        if letter != '_' || !(name.is_empty() || name.ends_with('_')) {
            name.push(letter);
        }
    }
    let name = name.trim_end_matches('_');
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        return format!("X{name}");
    }
    name.to_owned()
}

/// One error of a refused request, or of one record.
#[derive(Debug, Deserialize)]
pub(super) struct Complaint {
    #[serde(alias = "statusCode", alias = "errorCode")]
    pub code: String,
    #[serde(default)]
    pub message: String,
    #[serde(default)]
    pub fields: Vec<String>,
}

impl Complaint {
    /// Whether the same may be taken when it is sent again, since it only got in somebody's way.
    pub(super) fn is_passing(&self) -> bool {
        is_passing(&self.code) || is_passing(&self.message)
    }

    pub(super) fn reason(&self) -> String {
        let Self { code, message, fields } = self;
        match fields.is_empty() {
            true => format!("{code}: {message}"),
            false => format!("{code}: {message} ({})", fields.join(", ")),
        }
    }
}

/// Whether a text tells of a lock, a busy server or a limit of one transaction.
pub(super) fn is_passing(text: &str) -> bool {
    const PASSING: &[&str] = &[
        "UNABLE_TO_LOCK_ROW",
        "SERVER_UNAVAILABLE",
        "QUERY_TIMEOUT",
        "Too many SOQL queries",
        "Apex CPU time limit exceeded",
    ];
    PASSING.iter().any(|passing| text.contains(passing))
}

/// The errors of a refused request.
pub(super) fn complaints(response: &Response) -> Vec<Complaint> {
    response.json().unwrap_or_default()
}

/// Reads a reply about a request as a whole by the codes of its errors, which say more than its status.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    let Err(fault) = standard(response) else { return Ok(()) };
    let complaints = complaints(response);
    let reason = response.reason();
    let Some(complaint) = complaints.first() else {
        return Err(if is_refused_grant(response) { Fault::Denied { reason } } else { fault });
    };
    let Complaint { code, message, .. } = complaint;
    Err(match code.as_str() {
        "REQUEST_LIMIT_EXCEEDED" => {
            // The allowance of a day, unlike the one of what runs at the same time.
            let daily = message.contains("TotalRequests").then_some(LONG_PAUSE);
            Fault::Throttled { retry_after: response.retry_after().or(daily), reason }
        }
        "INVALID_SESSION_ID" | "INVALID_AUTH_HEADER" => Fault::Denied { reason },
        _ if complaint.is_passing() => Fault::Transient { reason },
        "INVALID_FIELD" | "INVALID_TYPE" if response.status == 400 => {
            Fault::Misconfigured { reason }
        }
        _ => fault,
    })
}

/// Whether a request for data is answered as if it were one for a token.
fn is_refused_grant(response: &Response) -> bool {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    response.json::<Refusal>().is_ok_and(|refusal| refusal.error == "invalid_grant")
}

#[cfg(test)]
mod tests {
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
        let key = include_str!("oauth/test_key.pem");
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
    fn refusals_mean_what_their_codes_say() {
        let word = |status: u16, code: &str, message: &str| {
            let body = serde_json::json!([{"errorCode": code, "message": message}]);
            match answered(&reply(status, &body.to_string())) {
                Ok(()) => "taken".into(),
                Err(Fault::Throttled { retry_after, .. }) => {
                    format!("throttled for {retry_after:?}")
                }
                Err(Fault::Transient { .. }) => "transient".into(),
                Err(Fault::Misconfigured { .. }) => "misconfigured".into(),
                Err(Fault::Denied { .. }) => "denied".into(),
                Err(Fault::Rejected { .. }) => "rejected".into(),
                Err(other) => other.to_string(),
            }
        };
        let limit = "REQUEST_LIMIT_EXCEEDED";
        assert_eq!(word(403, limit, "TotalRequests Limit exceeded."), "throttled for Some(3600s)");
        assert_eq!(word(403, limit, "ConcurrentRequests Limit exceeded."), "throttled for None");
        for (status, code, meaning) in [
            (403, "INSUFFICIENT_ACCESS", "denied"),
            (401, "INVALID_SESSION_ID", "denied"),
            (500, "INVALID_SESSION_ID", "denied"),
            (401, "INVALID_AUTH_HEADER", "denied"),
            (400, "UNABLE_TO_LOCK_ROW", "transient"),
            (503, "SERVER_UNAVAILABLE", "transient"),
            (400, "INVALID_FIELD", "misconfigured"),
            (404, "NOT_FOUND", "misconfigured"),
            (400, "JSON_PARSER_ERROR", "rejected"),
        ] {
            assert_eq!(word(status, code, "why"), meaning, "{code}");
        }
        let caught = "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY";
        for message in ["UNABLE_TO_LOCK_ROW", "Too many SOQL queries"] {
            assert_eq!(word(400, caught, message), "transient");
        }
        let grant = r#"{"error":"invalid_grant","error_description":"authentication failure"}"#;
        assert!(matches!(answered(&reply(400, grant)), Err(Fault::Denied { .. })));
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
