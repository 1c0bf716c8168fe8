//! Marketo's REST API as every destination of Marketo speaks to it: address, token, and what an
//! answer means.
//!
//! Marketo answers 200 to nearly everything; whether a request was taken stands in the body, and a
//! token that is over, a used-up quota and a refusal are codes there. What this promises: nothing is
//! success that does not say `"success": true`; a token that is over is renewed as if the status had
//! said so; once the quota of the day is used up, nothing is sent before it starts again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::{Common, Fault, OptionDoc, Reader, Secret};
use crate::delivery::{Grant, Request, Response, Session, Token, granting, standard};
use crate::finding::Finding;

/// Where the instance is and who we are, as options of a destination.
pub(super) const MUNCHKIN_ID: OptionDoc = OptionDoc::optional(
    "munchkin_id",
    "id of the instance, such as \"123-ABC-456\"; or give `base_url`",
);
pub(super) const CLIENT_ID: OptionDoc =
    OptionDoc::required("client_id", "client id of a custom service (LaunchPoint)");
pub(super) const CLIENT_SECRET: OptionDoc =
    OptionDoc::required("client_secret", "client secret of that service");

/// The quota of calls is counted over 20 seconds.
const WINDOW: Duration = Duration::from_secs(20);
/// Until one of the ten requests that may run at a time is done.
const CROWDED: Duration = Duration::from_secs(2);
/// The quota of the day starts again at midnight in US Central Standard Time.
const RESET: u64 = 6 * 3600;
const DAY: u64 = 24 * 3600;
/// Refusals are short; nothing longer is searched for a code.
const LONGEST_REFUSAL: usize = 4096;

/// One instance.
#[derive(Debug)]
pub(super) struct Api {
    base: Url,
    grant: Arc<dyn Grant>,
}

/// How a token is asked for.
#[derive(Debug)]
struct Service {
    base: Url,
    id: Secret,
    secret: Secret,
}

#[derive(Deserialize)]
struct Envelope {
    success: bool,
    errors: Option<Vec<Complaint>>,
}

/// Why something was refused.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Complaint {
    #[serde(deserialize_with = "number")]
    pub code: u32,
    pub message: Option<String>,
}

/// What became of one record.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    pub id: Option<u64>,
    pub status: Option<String>,
    pub reasons: Option<Vec<Complaint>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Results<T> {
    result: Vec<T>,
    next_page_token: Option<String>,
    more_result: Option<bool>,
}

/// Pages followed at most: far more than any query here has.
const MOST_PAGES: usize = 1000;

impl Api {
    /// The instance that `munchkin_id` or `base_url` names.
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        munchkin_id: Option<&str>,
        (id, secret): (Secret, Secret),
    ) -> Result<Self, Vec<Finding>> {
        let base = match (&common.base_url, munchkin_id) {
            (Some(base), _) => Ok(base.clone()),
            (None, Some(munchkin)) => address(munchkin),
            (None, None) => Err("is missing, and there is no `base_url`"),
        };
        let base = base.map_err(|fact| {
            let hint = "it stands in Admin > Integration > Munchkin, such as `123-ABC-456`";
            vec![reader.refuse("munchkin_id", fact).hint(hint)]
        })?;
        let grant = Arc::new(Service { base: base.clone(), id, secret });
        Ok(Self { base, grant })
    }

    /// Such as `["rest", "v1", "leads.json"]`.
    pub(super) fn get(&self, path: &[&str]) -> Request {
        self.request(http::Method::GET, path)
    }

    pub(super) fn request(&self, method: http::Method, path: &[&str]) -> Request {
        Request::new(method, below(&self.base, path))
            .granted(&self.grant)
            .header("accept", "application/json")
            .reading(answered)
            .heeding(used_up)
    }

    pub(super) fn post(&self, path: &[&str], body: bytes::Bytes) -> Request {
        self.request(http::Method::POST, path).json_body(body)
    }

    /// The records that a query finds, of all its pages.
    pub(super) async fn found<T: DeserializeOwned>(
        &self,
        session: &Session,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, Fault> {
        let mut found = Vec::new();
        let mut token: Option<String> = None;
        for _ in 0..MOST_PAGES {
            let mut request = self.get(path);
            let next = token.as_deref().map(|token| ("nextPageToken", token));
            if !query.is_empty() || next.is_some() {
                request.url.query_pairs_mut().extend_pairs(query).extend_pairs(next);
            }
            let page: Results<T> = session.send(request).await?.json()?;
            let is_last = page.result.is_empty()
                || page.more_result == Some(false)
                || page.next_page_token.is_none();
            found.extend(page.result);
            token = page.next_page_token;
            if is_last {
                return Ok(found);
            }
        }
        Err(Fault::Protocol { reason: "the pages of a query never end".into() })
    }
}

/// The records of an answer; without any there is no `result`.
pub(super) fn results<T: DeserializeOwned>(response: &Response) -> Result<Vec<T>, Fault> {
    response.json::<Results<T>>().map(|results| results.result)
}

fn address(munchkin_id: &str) -> Result<Url, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if munchkin_id.is_empty() || !munchkin_id.bytes().all(is_plain) {
        return Err("is not the id of an instance");
    }
    Url::parse(&format!("https://{munchkin_id}.mktorest.com"))
        .map_err(|_| "is not the id of an instance")
}

fn below(base: &Url, path: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    url
}

impl Grant for Service {
    /// Marketo documents no other way than in the address.
    fn request(&self, _now: SystemTime) -> Result<Request, Fault> {
        let mut url = below(&self.base, &["identity", "oauth", "token"]);
        url.query_pairs_mut()
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", self.id.expose())
            .append_pair("client_secret", self.secret.expose());
        Ok(Request::get(url).reading(granting))
    }

    /// A refusal comes as a 200 here too.
    fn token(&self, response: &Response) -> Result<Token, Fault> {
        match refusal(response) {
            Some(code) => Err(meaning(Some(code), response.reason())),
            None => Token::oauth(response),
        }
    }

    fn is_expired(&self, response: &Response) -> bool {
        response.status == 401 || refusal(response).is_some_and(|code| matches!(code, 601 | 602))
    }
}

/// Reads what an answer says of the request as a whole.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    let envelope: Envelope = response.json()?;
    if envelope.success {
        return Ok(());
    }
    let code = envelope.errors.iter().flatten().map(|complaint| complaint.code).next();
    Err(meaning(code, response.reason()))
}

/// What must happen after a refusal. A 6xx was not carried out, but for those that may have been cut
/// off while it was.
fn meaning(code: Option<u32>, reason: String) -> Fault {
    match code {
        Some(601..=603) => Fault::Denied { reason },
        // No such address, no such list; 1018: the instance mirrors the companies of a CRM.
        Some(605 | 610 | 1013 | 1018) => Fault::Misconfigured { reason },
        Some(606) => Fault::Throttled { retry_after: Some(WINDOW), reason },
        Some(615) => Fault::Throttled { retry_after: Some(CROWDED), reason },
        Some(608 | 614 | 713 | 719) => Fault::Transient { reason },
        Some(500..=599 | 604 | 611) => Fault::Ambiguous { reason },
        // The day's quota is used up; of imports, too many are queued or one into the same list is under
        // way.
        Some(607 | 1016 | 1019) => Fault::Throttled { retry_after: None, reason },
        Some(_) => Fault::Rejected { reason },
        None => Fault::Protocol { reason },
    }
}

/// The code of a refusal, if the reply is one.
fn refusal(response: &Response) -> Option<u32> {
    if response.body.len() > LONGEST_REFUSAL {
        return None;
    }
    let envelope: Envelope = response.json().ok()?;
    let first = envelope.errors?.into_iter().next()?;
    (!envelope.success).then_some(first.code)
}

/// Until the quota of the day starts again, once it is used up. No header says so.
fn used_up(response: &Response, now: SystemTime) -> Option<Duration> {
    if refusal(response)? != 607 {
        return None;
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(DAY - (now + DAY - RESET) % DAY))
}

/// A code is a number in quotes, mostly.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u32),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Number(number) => Ok(number),
        Written::Text(text) => text.trim().parse().map_err(D::Error::custom),
    }
}

impl Row {
    /// Why Marketo left this record alone.
    pub(super) fn complaint(&self) -> String {
        let told = self.reasons.iter().flatten().map(|Complaint { code, message }| match message {
            Some(message) => format!("{code} {message}"),
            None => code.to_string(),
        });
        let told: Vec<_> = told.collect();
        if told.is_empty() { "skipped without a reason".into() } else { told.join("; ") }
    }

    pub(super) fn has_reasons(&self) -> bool {
        self.reasons.as_ref().is_some_and(|reasons| !reasons.is_empty())
    }

    pub(super) fn has_reason(&self, code: u32) -> bool {
        self.reasons.iter().flatten().any(|complaint| complaint.code == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> Response {
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        Response { status: 200, headers: http::HeaderMap::new(), body }
    }

    fn refused(code: u32) -> Response {
        reply(&format!(
            r#"{{"requestId":"a1","success":false,"errors":[{{"code":"{code}","message":"no"}}]}}"#
        ))
    }

    #[test]
    fn every_code_has_its_meaning() {
        let word = |code| match answered(&refused(code)) {
            Err(Fault::Throttled { retry_after: None, .. }) => "throttled",
            Err(Fault::Throttled { retry_after: Some(_), .. }) => "throttled for",
            Err(Fault::Transient { .. }) => "transient",
            Err(Fault::Ambiguous { .. }) => "ambiguous",
            Err(Fault::Rejected { .. }) => "rejected",
            Err(Fault::Denied { .. }) => "denied",
            Err(Fault::Misconfigured { .. }) => "misconfigured",
            other => panic!("{other:?}"),
        };
        let table: &[(&str, &[u32])] = &[
            ("denied", &[601, 602, 603]),
            ("misconfigured", &[605, 610, 1013, 1018]),
            ("throttled for", &[606, 615]),
            ("throttled", &[607, 1016, 1019]),
            ("transient", &[608, 614, 713, 719]),
            ("ambiguous", &[500, 502, 604, 611]),
            ("rejected", &[609, 612, 701, 703, 709, 1001, 1003, 1006]),
        ];
        for (meaning, codes) in table {
            for code in *codes {
                assert_eq!(word(*code), *meaning, "{code}");
            }
        }
    }

    #[test]
    fn only_what_says_so_is_success() {
        assert_eq!(answered(&reply(r#"{"success":true,"result":[]}"#)), Ok(()));
        let vague = [r#"{"success":false}"#, r#"{"result":[]}"#, "{}", r#"{"success":"true"}"#];
        for body in vague {
            assert!(matches!(answered(&reply(body)), Err(Fault::Protocol { .. })), "{body}");
        }
        let bare = r#"{"success":false,"errors":[{"code":606}]}"#;
        assert!(matches!(answered(&reply(bare)), Err(Fault::Throttled { .. })));
    }

    #[test]
    fn the_quota_of_the_day_starts_again_at_six_in_the_morning_utc() {
        let hours = |hour: u64| {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(20_000 * DAY + hour * 3600);
            used_up(&refused(607), now).map(|pause| pause.as_secs() / 3600)
        };
        assert_eq!([hours(5), hours(6), hours(23)], [Some(1), Some(24), Some(7)]);
        assert_eq!(used_up(&refused(606), SystemTime::UNIX_EPOCH), None);
    }

    #[test]
    fn an_instance_is_named_by_nothing_but_its_id() {
        assert_eq!(
            address("123-ABC-456").map(|url| url.to_string()),
            Ok("https://123-abc-456.mktorest.com/".into())
        );
        for id in ["", "evil.example/", "a.b", "a@b"] {
            assert!(address(id).is_err(), "{id}");
        }
    }
}
