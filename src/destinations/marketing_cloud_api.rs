//! The API of Marketing Cloud Engagement as every destination of it speaks to it: address, token,
//! what replies mean, and how a data extension is found.
//!
//! What it promises: a data extension is known by its external key alone, never by a name that
//! several may have; throttling is waited for as long as the reply says.

mod jobs;
mod soap;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::oauth::{Encoding, Flow, OAuth};
use super::{Common, Fault, FieldKind, OptionDoc, Reader, Secret};
use crate::delivery::{Grant, Request, Response, Session, standard};
use crate::finding::Finding;
use soap::SoapGrant;

/// Where the account is and who we are, as options of a destination.
pub(super) const SUBDOMAIN: OptionDoc = OptionDoc::optional(
    "subdomain",
    "first part of the account's own addresses, as in SUBDOMAIN.rest.marketingcloudapis.com; or give `base_url`",
);
pub(super) const CLIENT_ID: OptionDoc = OptionDoc::required(
    "client_id",
    "client id of a server-to-server package with read and write access to data extensions",
);
pub(super) const CLIENT_SECRET: OptionDoc =
    OptionDoc::required("client_secret", "client secret of that package");
pub(super) const ACCOUNT_ID: OptionDoc = OptionDoc::optional(
    "account_id",
    "MID of the business unit; default: the one that the package belongs to",
);

/// Blocked for a while, nobody says for how long.
const BLOCKED: Duration = Duration::from_mins(5);
/// Pages of data extensions looked through for one key.
const MOST_PAGES: usize = 20;

/// Who we are.
pub(super) struct Credentials {
    pub id: String,
    pub secret: Secret,
    pub account: Option<String>,
}

/// One account, or one business unit of it.
#[derive(Debug)]
pub(super) struct Api {
    rest: Url,
    soap: Url,
    grant: Arc<dyn Grant>,
    soap_grant: Arc<dyn Grant>,
}

/// A data extension as far as it matters here.
#[derive(Debug)]
pub(super) struct Extension {
    pub key: String,
    pub columns: Vec<Column>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub is_primary_key: bool,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    count: usize,
    items: Vec<Item>,
}

/// A data extension as a search finds it.
#[derive(Debug, Deserialize)]
pub(super) struct Item {
    pub id: String,
    pub key: String,
    #[serde(default)]
    pub name: String,
}

#[derive(Deserialize)]
struct Columns {
    fields: Vec<Column>,
}

/// What is said of a refusal. Nothing in it can be relied on to be there.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Refusal {
    #[serde(rename = "errorcode")]
    code: serde_json::Value,
    message: String,
    retry_after: Option<f64>,
    additional_errors: Option<Vec<serde_json::Value>>,
}

impl Api {
    /// The account that `subdomain` or `base_url` names.
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        subdomain: Option<&str>,
        credentials: Credentials,
    ) -> Result<Self, Vec<Finding>> {
        let address = |service: &str| match (&common.base_url, subdomain) {
            (Some(base), _) => Ok(base.clone()),
            (None, Some(subdomain)) => tenant(subdomain, service),
            (None, None) => Err("is missing, and there is no `base_url`"),
        };
        let told = |fact| {
            let hint =
                "it stands in the package's API integration, before `.rest.marketingcloudapis.com`";
            vec![reader.refuse("subdomain", fact).hint(hint)]
        };
        let (rest, soap) = (address("rest").map_err(told)?, address("soap").map_err(told)?);
        let auth = address("auth").map_err(told)?;
        let Credentials { id, secret, account } = credentials;
        let grant = Arc::new(OAuth {
            url: below(&auth, &["v2", "token"]),
            flow: Flow::ClientCredentials { id, secret },
            encoding: Encoding::Json,
            extra: account.map(|account| ("account_id", account)).into_iter().collect(),
        });
        let soap_grant = Arc::new(SoapGrant(Arc::clone(&grant)));
        Ok(Self { rest, soap, grant, soap_grant })
    }

    fn request(&self, method: http::Method, path: &[&str]) -> Request {
        Request::new(method, below(&self.rest, path))
            .granted(&self.grant)
            .header("accept", "application/json")
            .reading(answered)
    }

    /// `query` as it stands in the address.
    fn get(&self, path: &[&str], query: &str) -> Request {
        let mut request = self.request(http::Method::GET, path);
        request.url.set_query(Some(query).filter(|query| !query.is_empty()));
        request
    }

    /// The data extension of that external key, with its columns.
    pub(super) async fn extension(
        &self,
        session: &Session,
        key: &str,
    ) -> Result<Option<Extension>, Fault> {
        let found = self.find(session, key).await?;
        let item = found.into_iter().find(|item| item.key.eq_ignore_ascii_case(key));
        let Some(item) = item else { return Ok(None) };
        let columns = self.columns(session, &item.id).await?;
        Ok(Some(Extension { key: key.to_owned(), columns }))
    }

    pub(super) async fn columns(&self, session: &Session, id: &str) -> Result<Vec<Column>, Fault> {
        let request = self.get(&["data", "v1", "customobjects", id, "fields"], "");
        let columns: Columns = session.send(request).await?.json()?;
        Ok(columns.fields)
    }

    /// Data extensions with this text in their name, key or description: there is no other way to
    /// an id.
    pub(super) async fn find(&self, session: &Session, text: &str) -> Result<Vec<Item>, Fault> {
        let text: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let mut found = Vec::new();
        for page in 1..=MOST_PAGES {
            let query = match page {
                1 => format!("$search={text}"),
                page => format!("$search={text}&$page={page}"),
            };
            let request = self.get(&["data", "v1", "customobjects"], &query);
            let Page { count, items } = session.send(request).await?.json()?;
            let is_last = items.is_empty();
            found.extend(items);
            if is_last || found.len() >= count {
                break;
            }
        }
        Ok(found)
    }

    /// Creates a data extension; its external key. Not repeatable: a second one would be refused.
    pub(super) async fn create(
        &self,
        session: &Session,
        body: &serde_json::Value,
    ) -> Result<String, Fault> {
        #[derive(Deserialize)]
        struct Created {
            key: String,
        }
        let request = self
            .request(http::Method::POST, &["data", "v1", "customobjects"])
            .json_body(body.to_string().into())
            .repeatable(false);
        match session.send(request).await {
            Ok(response) => response.json::<Created>().map(|created| created.key),
            Err(Fault::Rejected { reason }) => {
                let reason =
                    format!("Marketing Cloud refuses to create the data extension: {reason}");
                Err(Fault::Misconfigured { reason })
            }
            Err(fault) => Err(fault),
        }
    }
}

impl Extension {
    /// Names of columns are the same whatever their case.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.to_lowercase() == name.to_lowercase())
    }

    /// That rows are told apart by this column and no other: anything else would add a row each time,
    /// or overwrite somebody else's.
    pub(super) fn keyed_by(&self, name: &str) -> Result<(), Fault> {
        let keys: Vec<_> = self.columns.iter().filter(|column| column.is_primary_key).collect();
        match keys[..] {
            [only] if only.name.to_lowercase() == name.to_lowercase() => Ok(()),
            [] => Err(self.unusable(&format!("has no primary key: make `{name}` its only one"))),
            _ => {
                let names: Vec<_> = keys.iter().map(|key| format!("`{}`", key.name)).collect();
                let names = names.join(", ");
                Err(self.unusable(&format!("has the primary key {names}, not `{name}` alone")))
            }
        }
    }

    pub(super) fn unusable(&self, fact: &str) -> Fault {
        Fault::Misconfigured { reason: format!("the data extension `{}` {fact}", self.key) }
    }
}

/// The type of a column for such values, as Marketing Cloud calls it.
pub(super) const fn column_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool => "Boolean",
        FieldKind::Integer => "Number",
        FieldKind::Number => "Decimal",
        FieldKind::Text | FieldKind::Nested => "Text",
        FieldKind::Date | FieldKind::Timestamp => "Date",
    }
}

/// Whether a column of that type can hold such values.
pub(super) fn fits(kind: FieldKind, found: &str) -> bool {
    let is = |words: &[&str]| words.iter().any(|word| word.eq_ignore_ascii_case(found));
    match kind {
        FieldKind::Integer => is(&["Number", "Decimal"]),
        FieldKind::Text | FieldKind::Nested => is(&["Text", "EmailAddress", "Phone", "Locale"]),
        FieldKind::Bool | FieldKind::Number | FieldKind::Date | FieldKind::Timestamp => {
            is(&[column_type(kind)])
        }
    }
}

/// Columns are named in letters, digits, spaces, hyphens and underscores.
pub(super) fn column_name(name: &str) -> String {
    let allowed = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    name.chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect()
}

/// Nothing but a name may stand where the subdomain stands.
fn tenant(subdomain: &str, service: &str) -> Result<Url, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if subdomain.is_empty() || !subdomain.bytes().all(is_plain) {
        return Err("is not a subdomain: letters, digits and hyphens only");
    }
    Url::parse(&format!("https://{subdomain}.{service}.marketingcloudapis.com"))
        .map_err(|_| "is not a subdomain: letters, digits and hyphens only")
}

fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

/// As usual, but the pause may stand in the body, and one 400 is none.
fn answered(response: &Response) -> Result<(), Fault> {
    match standard(response) {
        Err(Fault::Throttled { retry_after, reason }) => {
            let Refusal { code, retry_after: told, .. } = refusal(response);
            let told = told.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let blocked = (number(&code) == Some(50_200)).then_some(BLOCKED);
            Err(Fault::Throttled { retry_after: retry_after.or(told).or(blocked), reason })
        }
        Err(Fault::Rejected { reason }) if is_passing(&refusal(response)) => {
            Err(Fault::Transient { reason })
        }
        other => other,
    }
}

/// That rows could not be saved, without a word why, passes.
fn is_passing(refusal: &Refusal) -> bool {
    number(&refusal.code) == Some(10_006)
        && refusal.message.contains("Unable to save rows for data extension ID")
        && refusal.additional_errors.as_ref().is_none_or(Vec::is_empty)
}

fn refusal(response: &Response) -> Refusal {
    response.json().unwrap_or_default()
}

/// A code may be written as a text.
fn number(code: &serde_json::Value) -> Option<u64> {
    code.as_u64().or_else(|| code.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16, body: &str) -> Result<(), Fault> {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        answered(&Response { status, headers: http::HeaderMap::new(), body })
    }

    #[test]
    fn the_pause_stands_in_the_body() {
        let pause = |body| match meaning(429, body) {
            Err(Fault::Throttled { retry_after, .. }) => retry_after.map(|pause| pause.as_secs()),
            other => panic!("{other:?}"),
        };
        let limit = r#"{"message":"Rate limit exceeded","errorcode":50100,"retryAfter":5}"#;
        assert_eq!(pause(limit), Some(5));
        assert_eq!(pause(r#"{"message":"blocked","errorcode":50200}"#), Some(300));
        assert_eq!(pause(r#"{"message":"blocked","errorcode":"50200"}"#), Some(300));
        assert_eq!(pause("busy"), None);
    }

    #[test]
    fn rows_that_could_not_be_saved_for_no_reason_are_tried_again() {
        let message = "Unable to save rows for data extension ID abc";
        let body = |more: &str| format!(r#"{{"message":"{message}","errorcode":10006{more}}}"#);
        assert!(matches!(meaning(400, &body("")), Err(Fault::Transient { .. })));
        let told = body(r#","additionalErrors":[{"message":"no such column"}]"#);
        assert!(matches!(meaning(400, &told), Err(Fault::Rejected { .. })));
        assert!(matches!(meaning(400, "{}"), Err(Fault::Rejected { .. })));
    }

    #[test]
    fn a_subdomain_is_nothing_but_a_name() {
        let url = tenant("mc1-x", "auth").map(|url| url.to_string());
        assert_eq!(url, Ok("https://mc1-x.auth.marketingcloudapis.com/".into()));
        for name in ["", "a.b", "evil.example/", "a@b", "a:1"] {
            assert!(tenant(name, "auth").is_err(), "{name}");
        }
    }
}
