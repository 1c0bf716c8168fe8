//! How Salesforce is spoken to, whichever of its products is meant: where requests go, what fields are
//! called, and what refusals mean.
//!
//! What it promises: refusals are read by their codes, which say more than their status; a used-up
//! allowance is a slow-down, though it comes as a 403. No write hands a record to another owner, as
//! Salesforce's assignment rules would, with a mail to that owner.

mod login;
mod records;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Fault, OptionDoc};
use crate::delivery::{Grant, Request, Response, standard};
use login::is_unauthorised;
pub(super) use login::{
    CLIENT_ID, CLIENT_SECRET, LOGIN_URL, Login, PRIVATE_KEY, REFRESH_TOKEN, USERNAME, Unusable,
    Whither,
};
pub(super) use records::{found, outcomes, quoted};

pub(super) const API_VERSION: OptionDoc =
    OptionDoc::optional("api_version", "version of the REST API; default \"66.0\"");

/// The version whose requests and replies this is written for.
pub(super) const VERSION: &str = "66.0";
/// A daily allowance comes back bit by bit: asking again soon is no use.
const LONG_PAUSE: Duration = Duration::from_hours(1);

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
            .heeding(used_up)
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

/// How long to pause once the allowance of the day is used up, by all programs together: each reply
/// says so, as in `api-usage=18/100000`.
fn used_up(response: &Response, _now: SystemTime) -> Option<Duration> {
    let usage = response.headers.get("sforce-limit-info")?.to_str().ok()?;
    let (used, limit) = usage.split("api-usage=").nth(1)?.split_once('/')?;
    let digits = |text: &str| {
        let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        text[..end].parse::<u64>().ok()
    };
    (digits(used)? >= digits(limit)?).then_some(LONG_PAUSE)
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

    fn reply(status: u16, body: &str) -> Response {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Response { status, headers: http::HeaderMap::new(), body }
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
    fn a_used_up_allowance_is_heeded() {
        let pause = |usage: &'static str| {
            let mut told = reply(200, "");
            told.headers.insert("sforce-limit-info", http::HeaderValue::from_static(usage));
            used_up(&told, SystemTime::UNIX_EPOCH)
        };
        assert_eq!(pause("api-usage=18/100000"), None);
        assert_eq!(pause("api-usage=100000/100000"), Some(LONG_PAUSE));
        let of_app = "api-usage=100001/100000; per-app-api-usage=17/250(appName=sample)";
        assert_eq!(pause(of_app), Some(LONG_PAUSE));
        assert_eq!(pause("per-app-api-usage"), None);
        assert_eq!(used_up(&reply(200, ""), SystemTime::UNIX_EPOCH), None);
    }
}
