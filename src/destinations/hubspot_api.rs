//! HubSpot's CRM API as every destination of HubSpot speaks to it: address, version, credentials, what
//! replies and limits mean, and how a batch of records is read.
//!
//! What it promises: a success is a JSON object; a used-up second, window or day closes the gate for
//! as long as that kind of limit lasts; a property that is not there is a matter of the sync, not of
//! the row that happened to name it.

pub(super) mod replies;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use url::Url;

use super::oauth::{Encoding, Flow, OAuth};
use super::{BatchLimits, Common, Fault, OptionDoc, Quota, Reader, Secret};
use crate::delivery::{Grant, Request, Response, Session, standard};
use crate::finding::Finding;

/// The version that requests and replies are checked against.
const VERSION: &str = "v3";
const NOT_FOUND: &str = "OBJECT_NOT_FOUND";
/// Until HubSpot counts anew, at midnight of the account, whose time zone nobody tells us.
const DAILY: Duration = Duration::from_hours(1);

/// What every plan grants.
pub(super) const QUOTAS: &[Quota] =
    &[Quota::per_second(10), Quota { limit: 100, per: Duration::from_secs(10) }];
/// Of one request. Bytes are not documented; what surrounds the inputs is small.
pub(super) const BATCH: BatchLimits =
    BatchLimits { rows: 100, max_rows: 100, bytes: 3_000_000, row_bytes: 3_000_000 };

pub(super) const ACCESS_TOKEN: OptionDoc =
    OptionDoc::optional("access_token", "access token of a private app; or give `refresh_token`");
pub(super) const CLIENT_ID: OptionDoc =
    OptionDoc::optional("client_id", "OAuth: id of the app that `refresh_token` belongs to");
pub(super) const CLIENT_SECRET: OptionDoc =
    OptionDoc::optional("client_secret", "OAuth: secret of that app");
pub(super) const REFRESH_TOKEN: OptionDoc =
    OptionDoc::optional("refresh_token", "OAuth: refresh token, instead of `access_token`");
pub(super) const API_VERSION: OptionDoc =
    OptionDoc::optional("api_version", "\"v3\" (default), or a dated version such as \"2026-03\"");

/// What proves who we are, as it is configured.
#[derive(Debug)]
pub(super) struct Credentials {
    pub access_token: Option<Secret>,
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    pub refresh_token: Option<Secret>,
}

/// One account.
#[derive(Debug)]
pub(super) struct Api {
    base: Url,
    version: String,
    access: Access,
}

#[derive(Debug)]
enum Access {
    Token(Secret),
    Granted(Arc<dyn Grant>),
}

/// A refusal, of a request as a whole or of single records.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Complaint {
    pub category: String,
    pub message: String,
    pub context: Map<String, Json>,
}

impl Credentials {
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let all = [&self.access_token, &self.client_secret, &self.refresh_token];
        all.into_iter().flatten().cloned().collect()
    }

    fn access(self, base: &Url) -> Result<Access, (&'static str, &'static str)> {
        let Self { access_token, client_id, client_secret, refresh_token } = self;
        let (token, id, secret) = match (access_token, refresh_token, client_id, client_secret) {
            (Some(token), None, None, None) => return Ok(Access::Token(token)),
            (Some(_), ..) => {
                return Err((
                    "access_token",
                    "stands beside options of OAuth: give one or the other",
                ));
            }
            (None, None, ..) => {
                return Err(("access_token", "is missing, and there is no `refresh_token`"));
            }
            (None, Some(token), Some(id), Some(secret)) => (token, id, secret),
            (None, Some(_), ..) => {
                return Err(("refresh_token", "needs `client_id` and `client_secret` beside it"));
            }
        };
        Ok(Access::Granted(Arc::new(OAuth {
            url: below(base, &["oauth", "v1", "token"]),
            flow: Flow::Refresh { id, secret: Some(secret), token },
            encoding: Encoding::Form,
            extra: Vec::new(),
        })))
    }
}

impl Api {
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        version: Option<String>,
        credentials: Credentials,
    ) -> Result<Self, Vec<Finding>> {
        let base = match &common.base_url {
            Some(base) => base.clone(),
            None => Url::parse("https://api.hubapi.com").map_err(|error| {
                vec![reader.refuse("api_version", &format!("has no usable address: {error}"))]
            })?,
        };
        let version = version.unwrap_or_else(|| VERSION.to_owned());
        if !is_version(&version) {
            let fact = "is neither like \"v3\" nor like \"2026-03\"";
            return Err(vec![reader.refuse("api_version", fact)]);
        }
        let access = credentials
            .access(&base)
            .map_err(|(option, fact)| vec![reader.refuse(option, fact)])?;
        Ok(Self { base, version, access })
    }

    /// A request without a body to something below `/crm`.
    pub(super) fn get(&self, resource: &str, path: &[&str]) -> Request {
        self.request(Method::GET, resource, path)
    }

    /// A request with a JSON body to something below `/crm`.
    pub(super) fn write(
        &self,
        method: Method,
        (resource, path): (&str, &[&str]),
        body: &impl Serialize,
    ) -> Result<Request, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| Fault::Rejected {
            reason: format!("a value cannot be encoded: {error}"),
        })?;
        Ok(self.request(method, resource, path).json_body(body.into()))
    }

    /// A request to something below `/events`.
    pub(super) fn events(&self, path: &[&str]) -> Request {
        let path: Vec<&str> =
            ["events", self.version.as_str()].iter().chain(path).copied().collect();
        self.at(Method::POST, &path)
    }

    /// Versions by number stand before the resource, dated ones behind it.
    pub(super) fn request(&self, method: Method, resource: &str, path: &[&str]) -> Request {
        let head = match self.version.starts_with('v') {
            true => [self.version.as_str(), resource],
            false => [resource, self.version.as_str()],
        };
        let path: Vec<&str> = ["crm"].iter().chain(&head).chain(path).copied().collect();
        self.at(method, &path)
    }

    fn at(&self, method: Method, path: &[&str]) -> Request {
        let request = Request::new(method, below(&self.base, path))
            .header("accept", "application/json")
            .reading(answered)
            .heeding(window);
        match &self.access {
            Access::Token(token) => request.bearer(token),
            Access::Granted(grant) => request.granted(grant),
        }
    }

    /// Proves that contacts can be read; changes nothing.
    pub(super) async fn verify(&self, session: &Session) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(rename = "results")]
            _results: Vec<Json>,
        }
        let mut request = self.get("objects", &["contacts"]);
        request.url.query_pairs_mut().append_pair("limit", "1");
        session.send(request).await?.object::<Page>().map(|_| ())
    }

    /// The contacts with these emails, whichever of a contact's addresses they are. Nobody is created.
    /// In a rehearsal, nobody is found.
    pub(super) async fn contacts_by_email(
        &self,
        session: &Session,
        emails: &[&str],
    ) -> Result<Found, Fault> {
        if emails.is_empty() {
            return Ok(Found::default());
        }
        let inputs: Vec<Json> = emails.iter().map(|email| json!({"id": email})).collect();
        let body = json!({
            "idProperty": "email",
            "inputs": inputs,
            "properties": ["email", "hs_additional_emails"],
            "propertiesWithHistory": [],
        });
        let path: &[&str] = &["contacts", "batch", "read"];
        let request = self.write(Method::POST, ("objects", path), &body)?;
        match session.send(request).await {
            Ok(response) => response.object(),
            Err(Fault::Rehearsed) => Ok(Found::default()),
            Err(fault) => Err(fault),
        }
    }
}

/// Contacts as far as they matter here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Found {
    results: Vec<Contact>,
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Debug, Deserialize)]
struct Contact {
    id: String,
    #[serde(default)]
    properties: Map<String, Json>,
}

impl Found {
    /// Their ids by each of their addresses, in lower case.
    pub(super) fn by_email(&self) -> HashMap<String, String> {
        let mut ids = HashMap::new();
        for Contact { id, properties } in &self.results {
            let addresses = ["email", "hs_additional_emails"]
                .into_iter()
                .filter_map(|name| properties.get(name)?.as_str())
                .flat_map(|value| value.split(';'));
            for address in addresses {
                ids.insert(address.trim().to_lowercase(), id.clone());
            }
        }
        ids
    }

    /// Whether the reply says that there is nobody behind some of the emails. HubSpot has been seen to
    /// answer with success and nothing at all, which says nothing of anybody.
    pub(super) fn tells_who_is_missing(&self) -> bool {
        self.errors.iter().any(Complaint::is_absence)
    }
}

impl Complaint {
    /// What is wrong, on one line.
    pub(super) fn reason(&self) -> String {
        match (self.message.is_empty(), self.category.is_empty()) {
            (false, false) => format!("{} ({})", self.message, self.category),
            (false, true) => self.message.clone(),
            (true, false) => self.category.clone(),
            (true, true) => "refused without a reason".into(),
        }
    }

    /// The texts that its context holds under a name.
    pub(super) fn named(&self, name: &str) -> Vec<&str> {
        match self.context.get(name) {
            Some(Json::Array(all)) => all.iter().filter_map(Json::as_str).collect(),
            Some(Json::String(one)) => vec![one],
            _ => Vec::new(),
        }
    }

    /// The record that stands in the way of a new one.
    pub(super) fn existing_id(&self) -> Option<String> {
        let told = self.named("existingId").first().copied().map(ToOwned::to_owned);
        let told = told.or_else(|| {
            let (_, after) = self.message.split_once("Existing ID: ")?;
            Some(after.chars().take_while(char::is_ascii_digit).collect())
        });
        told.filter(|id| self.category == "CONFLICT" && !id.is_empty())
    }

    /// Whether it is about a record that is not there.
    pub(super) fn is_absence(&self) -> bool {
        self.category == NOT_FOUND
    }

    pub(super) fn lacks_property(&self) -> bool {
        self.message.contains("PROPERTY_DOESNT_EXIST")
    }
}

/// The refusal of a request as a whole, where the body is one.
pub(super) fn complaint(response: &Response) -> Complaint {
    response.object().unwrap_or_default()
}

/// Reads a reply about the request as a whole.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    let reason = || response.reason();
    let throttled = |pause: Duration| Fault::Throttled {
        retry_after: Some(response.retry_after().unwrap_or(pause)),
        reason: reason(),
    };
    match response.status {
        200 | 201 | 207 => response.object::<Map<String, Json>>().map(|_| ()),
        202..=299 => Err(Fault::Protocol { reason: reason() }),
        400 if complaint(response).lacks_property() => {
            Err(Fault::Misconfigured { reason: reason() })
        }
        // Too much at once on one kind of record; a migration of the account.
        423 | 477 => {
            Err(Fault::Throttled { retry_after: response.retry_after(), reason: reason() })
        }
        429 => Err(match policy(response).as_deref() {
            Some("DAILY") => throttled(DAILY),
            Some(policy) if policy.starts_with("TEN_SECONDLY") => {
                throttled(Duration::from_secs(10))
            }
            _ => Fault::Throttled { retry_after: response.retry_after(), reason: reason() },
        }),
        _ => standard(response),
    }
}

/// Reads a reply about one thing, in which that there is none is an answer.
pub(super) fn about_one(response: &Response) -> Result<(), Fault> {
    match response.status {
        404 if !complaint(response).message.is_empty() => Ok(()),
        _ => answered(response),
    }
}

/// Which limit was reached.
fn policy(response: &Response) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Limit {
        policy_name: String,
    }
    response.object::<Limit>().ok().map(|limit| limit.policy_name)
}

/// A short pause where nothing remains of the rolling window: it frees up bit by bit.
fn window(response: &Response, _: SystemTime) -> Option<Duration> {
    let number = |name| -> Option<u64> { response.headers.get(name)?.to_str().ok()?.parse().ok() };
    if number("x-hubspot-ratelimit-remaining")? > 0 {
        return None;
    }
    let whole = number("x-hubspot-ratelimit-interval-milliseconds").unwrap_or(10_000);
    Some(Duration::from_millis(whole / 10))
}

fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

fn is_version(version: &str) -> bool {
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match (version.strip_prefix('v'), version.split_once('-')) {
        (Some(number), _) => digits(number, number.len().max(1)),
        (None, Some((year, month))) => digits(year, 4) && digits(month, 2),
        (None, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_or_months() {
        for (version, well) in
            [("v3", true), ("2026-03", true), ("v", false), ("3", false), ("2026-3", false)]
        {
            assert_eq!(is_version(version), well, "{version}");
        }
    }

    #[test]
    fn every_kind_of_limit_has_its_pause() {
        let pause = |status, body: &str, header: Option<&'static str>| {
            let headers = header.map(|seconds| {
                (http::header::RETRY_AFTER, http::HeaderValue::from_static(seconds))
            });
            let headers = headers.into_iter().collect();
            let response = Response { status, headers, body: body.to_owned().into() };
            match answered(&response) {
                Err(Fault::Throttled { retry_after, .. }) => retry_after.map(|it| it.as_secs()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(pause(429, r#"{"policyName":"DAILY"}"#, None), Some(3600));
        assert_eq!(pause(429, r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#, None), Some(10));
        assert_eq!(pause(429, r#"{"policyName":"SECONDLY"}"#, None), None);
        assert_eq!(pause(429, "", None), None);
        assert_eq!(pause(429, r#"{"policyName":"DAILY"}"#, Some("7")), Some(7));
        assert_eq!(pause(423, "{}", None), None);
        assert_eq!(pause(477, "{}", Some("90")), Some(90));
    }

    #[test]
    fn a_used_up_window_is_given_time() {
        let pause = |remaining: &'static str| {
            let mut headers = http::HeaderMap::new();
            for (name, value) in [
                ("x-hubspot-ratelimit-remaining", remaining),
                ("x-hubspot-ratelimit-interval-milliseconds", "10000"),
            ] {
                headers.insert(name, http::HeaderValue::from_static(value));
            }
            let response = Response { status: 200, headers, body: bytes::Bytes::new() };
            window(&response, SystemTime::UNIX_EPOCH).map(|pause| pause.as_millis())
        };
        assert_eq!(pause("0"), Some(1000));
        assert_eq!(pause("1"), None);
        assert_eq!(pause("none"), None);
    }

    #[test]
    fn a_conflict_names_the_record_in_the_way() {
        let id = |body: Json| serde_json::from_value::<Complaint>(body).unwrap().existing_id();
        let text = "Contact already exists. Existing ID: 171591000198";
        let named = json!({"existingId": ["17"]});
        assert_eq!(id(json!({"category": "CONFLICT", "context": named})), Some("17".into()));
        assert_eq!(
            id(json!({"category": "CONFLICT", "message": text})),
            Some("171591000198".into())
        );
        assert_eq!(id(json!({"category": "VALIDATION_ERROR", "message": text})), None);
        assert_eq!(id(json!({"category": "CONFLICT", "message": "Existing ID: ?"})), None);
    }
}
