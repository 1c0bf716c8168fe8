//! Klaviyo's API as every destination of Klaviyo speaks to it: address, credentials, revision,
//! quotas, what refusals name, and the import of profiles that most writes become.
//!
//! What it promises: a 202 only means *queued*; what became of the profiles is read from the import.
//! A revision that Klaviyo has retired is an error, never silently answered by a later one.

mod imports;

pub(super) use imports::{FIRST_POLL, Import, NEXT_POLL, Profile, Submission, cursor_of};

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use url::Url;

use super::{Common, Fault, OptionDoc, Quota, Secret};
use crate::delivery::{Request, Response, standard};

/// The revision whose requests and replies this is written for.
const REVISION: &str = "2026-07-15";
const ADDRESS: &str = "https://a.klaviyo.com";
const MEDIA_TYPE: &str = "application/vnd.api+json";

pub(super) const API_KEY: OptionDoc = OptionDoc::required(
    "api_key",
    "private API key with the scopes that the notes name, `pk_` and so on",
);
pub(super) const REVISION_OPTION: OptionDoc =
    OptionDoc::optional("revision", "value of the `revision` header; default \"2026-07-15\"");

/// Of one request.
pub(super) const MOST_BYTES: usize = 4_950_000;
pub(super) const MOST_PROFILES: usize = 10_000;
pub(super) const MOST_PROFILE_BYTES: usize = 100_000;

/// What each call may be used: in a burst, and steadily.
pub(super) const IMPORT: [(&str, Quota); 2] = jobs("import");
pub(super) const IMPORT_STATUS: [(&str, Quota); 2] = jobs("import status");
pub(super) const IMPORT_ERRORS: [(&str, Quota); 2] = jobs("import errors");

pub(super) const fn per_minute(limit: u32) -> Quota {
    Quota { limit, per: Duration::from_mins(1) }
}

/// The quotas of everything that has to do with jobs or lists.
pub(super) const fn jobs(endpoint: &'static str) -> [(&'static str, Quota); 2] {
    [(endpoint, Quota::per_second(10)), (endpoint, per_minute(150))]
}

/// One account.
#[derive(Debug)]
pub(super) struct Api {
    base: Url,
    authorization: Secret,
    revision: String,
}

/// Klaviyo's list of errors.
#[derive(Deserialize)]
struct Errors {
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    source: Source,
}

/// What of a request a complaint is about.
#[derive(Default, Deserialize)]
struct Source {
    pointer: Option<String>,
}

impl Api {
    pub fn new(common: &Common, key: &Secret, revision: Option<String>) -> Result<Self, String> {
        let base = match &common.base_url {
            Some(base) => base.clone(),
            None => Url::parse(ADDRESS).map_err(|error| format!("has no address: {error}"))?,
        };
        Ok(Self {
            base,
            authorization: Secret::new(format!("Klaviyo-API-Key {}", key.expose())),
            revision: revision.unwrap_or_else(|| REVISION.to_owned()),
        })
    }

    pub fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Request {
        let mut request = self.request(Method::GET, path);
        if !query.is_empty() {
            request.url.query_pairs_mut().extend_pairs(query);
        }
        request
    }

    pub fn write(&self, method: Method, path: &[&str], body: Bytes) -> Request {
        self.request(method, path).body(MEDIA_TYPE, body)
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("api").extend(path);
        }
        Request::new(method, url)
            .secret_header("authorization", &self.authorization)
            .header("accept", MEDIA_TYPE)
            .header("revision", &self.revision)
            .header("x-klaviyo-revision-fall-forward-opt-out", "1")
            .heeding(window)
    }
}

impl Complaint {
    fn reason(&self) -> String {
        match (self.code.as_str(), self.detail.as_str()) {
            ("", detail) => detail.to_owned(),
            (code, "") => code.to_owned(),
            (code, detail) => format!("{code}: {detail}"),
        }
    }

    fn place(&self) -> Option<usize> {
        place(self.source.pointer.as_deref()?)
    }
}

/// The profile that a pointer such as `/data/attributes/profiles/data/3/attributes/email` is about.
fn place(pointer: &str) -> Option<usize> {
    let (_, after) = pointer.split_once("/profiles/data/")?;
    after.split('/').next()?.parse().ok()
}

/// Reads a refusal that says which profiles it is about as an answer: the others can be sent again.
pub(super) fn about_profiles(response: &Response) -> Result<(), Fault> {
    if named(response).is_empty() { standard(response) } else { Ok(()) }
}

/// The profiles that a refusal names, if all that it says is about single ones.
fn named(response: &Response) -> BTreeMap<usize, String> {
    let errors = match response.status {
        400 | 422 => response.json::<Errors>().map(|errors| errors.errors).unwrap_or_default(),
        _ => Vec::new(),
    };
    let places = errors.iter().map(|error| Some((error.place()?, error.reason())));
    places.collect::<Option<_>>().unwrap_or_default()
}

/// Until the next window begins, where this one is used up.
fn window(response: &Response, _now: SystemTime) -> Option<Duration> {
    let number =
        |name| -> Option<u64> { response.headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    if number("ratelimit-remaining")? > 0 {
        return None;
    }
    number("ratelimit-reset").map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_may_name_a_profile() {
        assert_eq!(place("/data/attributes/profiles/data/3/attributes/email"), Some(3));
        assert_eq!(place("/data/attributes/profiles/data/12"), Some(12));
        for pointer in ["/data", "", "/data/attributes/profiles/data/-1", "/data/attributes/x/3"] {
            assert_eq!(place(pointer), None, "{pointer}");
        }
    }

    #[test]
    fn a_refusal_is_only_an_answer_when_all_of_it_names_profiles() {
        let answer = |pointers: &[&str]| {
            let error = |pointer: &&str| {
                serde_json::json!({"id": "e1", "code": "invalid", "title": "Invalid input.",
                    "detail": "no", "source": {"pointer": pointer}})
            };
            let errors: Vec<_> = pointers.iter().map(error).collect();
            let body = serde_json::json!({"errors": errors}).to_string();
            Response { status: 400, headers: http::HeaderMap::new(), body: body.into() }
        };
        let of_two = "/data/attributes/profiles/data/2/attributes/email";
        let named = |pointers: &[&str]| named(&answer(pointers)).into_keys().collect::<Vec<_>>();
        assert_eq!(named(&[of_two, "/data/attributes/profiles/data/7"]), [2, 7]);
        assert_eq!(named(&[of_two, "/data/relationships/lists"]), [0; 0]);
        assert!(about_profiles(&answer(&[of_two])).is_ok());
        let refused = about_profiles(&answer(&["/data"]));
        assert!(matches!(refused, Err(Fault::Rejected { .. })));
    }
}
