//! Meta's Graph API as every destination of Meta speaks to it: address and version, credentials, and
//! what its errors and usage headers mean.
//!
//! What it promises: an error is read by its code, since the status says little; a quota that is
//! nearly used up slows down, one that is used up pauses for as long as Meta says. The token travels
//! in a header, never in an address.

use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::Sha256;
use url::Url;

use super::address::{below, of_api};
use super::{Common, Fault, OptionDoc, Reader, Secret};
use crate::delivery::{Request, Response, standard};
use crate::digest::hex;
use crate::finding::Finding;

/// The version whose requests and replies this is written for.
pub(super) const VERSION: &str = "v26.0";

pub(super) const APP_SECRET: OptionDoc =
    OptionDoc::optional("app_secret", "secret of the app; requests then carry `appsecret_proof`");
pub(super) const API_VERSION: OptionDoc =
    OptionDoc::optional("api_version", "version of the Graph API; default \"v26.0\"");

/// Options that every destination of Meta takes.
#[derive(Debug)]
pub(super) struct Credentials {
    pub access_token: Secret,
    pub app_secret: Option<Secret>,
    pub api_version: Option<String>,
}

/// Where and as whom Meta is spoken to.
#[derive(Debug)]
pub(super) struct Graph {
    base: Url,
    version: String,
    token: Secret,
    proof: Option<Secret>,
}

#[derive(Debug, Deserialize)]
struct Body {
    error: Complaint,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Complaint {
    message: String,
    code: i64,
    error_subcode: Option<i64>,
    is_transient: bool,
    error_user_msg: Option<String>,
}

impl Graph {
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        credentials: Credentials,
    ) -> Result<Self, Vec<Finding>> {
        let Credentials { access_token, app_secret, api_version } = credentials;
        let version = api_version.unwrap_or_else(|| VERSION.to_owned());
        let is_version = version
            .strip_prefix('v')
            .and_then(|numbers| numbers.split_once('.'))
            .is_some_and(|(major, minor)| [major, minor].iter().all(|part| is_number(part)));
        if !is_version {
            return Err(vec![reader.refuse("api_version", "is not a version such as \"v26.0\"")]);
        }
        let base = of_api(reader, common, "https://graph.facebook.com")?;
        let proof = app_secret.as_ref().map(|secret| proof(secret, &access_token));
        Ok(Self { base, version, token: access_token, proof })
    }

    /// What must never be shown.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        [self.token.clone()].into_iter().chain(self.proof.clone()).collect()
    }

    pub(super) fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Request {
        self.request(Method::GET, path, query)
    }

    pub(super) fn write(&self, method: Method, path: &[&str], body: &Json) -> Request {
        self.request(method, path, &[]).json_body(body.to_string().into())
    }

    pub(super) fn post_bytes(&self, path: &[&str], body: bytes::Bytes) -> Request {
        self.request(Method::POST, path, &[]).json_body(body)
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Request {
        let mut url = below(&self.base, &[&[self.version.as_str()], path].concat());
        let proof = self.proof.iter().map(|proof| ("appsecret_proof", proof.expose()));
        let mut pairs = query.iter().copied().chain(proof).peekable();
        if pairs.peek().is_some() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        Request::new(method, url).bearer(&self.token).reading(answered).heeding(usage)
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Proves that whoever holds the token holds the app's secret as well.
fn proof(secret: &Secret, token: &Secret) -> Secret {
    let key = secret.expose().as_bytes();
    // Any length is a key.
    let mac = Hmac::<Sha256>::new_from_slice(key).map(|mac| mac.chain_update(token.expose()));
    Secret::new(mac.map(|mac| hex(&mac.finalize().into_bytes())).unwrap_or_default())
}

/// Reads a reply by the code of its error.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    let Ok(Body { error }) = serde_json::from_slice::<Body>(&response.body) else {
        return standard(response);
    };
    let reason = error.worded(response.status);
    Err(match (error.code, error.error_subcode) {
        (4 | 17 | 32 | 341 | 613 | 80_000..=80_014, _) => {
            let named = regained(response).or_else(|| response.retry_after());
            Fault::Throttled { retry_after: Some(named.unwrap_or(A_WHILE)), reason }
        }
        (10 | 102 | 190 | 200..=299 | 368, _) => Fault::Denied { reason },
        (100, Some(33 | 1_713_230)) | (2635 | 2650 | 2655 | 1_487_301 | 1_487_366, _) => {
            Fault::Misconfigured { reason }
        }
        (1 | 2 | 5000..=5999, _) => Fault::Ambiguous { reason },
        _ if error.is_transient => Fault::Ambiguous { reason },
        _ if (200..300).contains(&response.status) => Fault::Rejected { reason },
        _ => match standard(response) {
            Err(Fault::Rejected { .. }) => Fault::Rejected { reason },
            Err(other) => other,
            Ok(()) => Fault::Protocol { reason },
        },
    })
}

/// How long is waited where Meta names no time: its windows are hours.
const A_WHILE: Duration = Duration::from_mins(5);

impl Complaint {
    fn worded(&self, status: u16) -> String {
        let code = match self.error_subcode {
            Some(subcode) => format!("{}/{subcode}", self.code),
            None => self.code.to_string(),
        };
        let said = self.error_user_msg.as_deref().unwrap_or(&self.message);
        let said: String = said.chars().take(300).collect();
        format!("HTTP {status}, code {code}: {said}")
    }
}

/// Pauses after a reply whose headers say that a quota is used up, and slows down before that.
fn usage(response: &Response, _now: SystemTime) -> Option<Duration> {
    if let Some(pause) = regained(response) {
        return Some(pause);
    }
    match used(response)? {
        ..80.0 => None,
        80.0..95.0 => Some(Duration::from_secs(30)),
        _ => Some(A_WHILE),
    }
}

const HEADERS: [&str; 3] = ["x-business-use-case-usage", "x-app-usage", "x-ad-account-usage"];

fn figures(response: &Response) -> impl Iterator<Item = (String, f64)> {
    let texts = HEADERS.iter().filter_map(|name| response.headers.get(*name)?.to_str().ok());
    let trees = texts.filter_map(|text| serde_json::from_str::<Json>(text).ok());
    trees.flat_map(|tree| {
        let mut found = Vec::new();
        collect(&tree, &mut found);
        found
    })
}

fn collect(tree: &Json, found: &mut Vec<(String, f64)>) {
    match tree {
        Json::Object(fields) => {
            for (name, value) in fields {
                match value.as_f64() {
                    Some(number) => found.push((name.clone(), number)),
                    None => collect(value, found),
                }
            }
        }
        Json::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

/// Minutes until access is regained, as a pause.
fn regained(response: &Response) -> Option<Duration> {
    let minutes = figures(response)
        .filter(|(name, _)| name == "estimated_time_to_regain_access")
        .map(|(_, minutes)| minutes)
        .fold(0.0, f64::max);
    Duration::try_from_secs_f64(minutes * 60.0).ok().filter(|pause| !pause.is_zero())
}

/// The highest share of any quota that is used, in percent.
fn used(response: &Response) -> Option<f64> {
    let shares = ["call_count", "total_cputime", "total_time", "acc_id_util_pct"];
    figures(response)
        .filter(|(name, _)| shares.contains(&name.as_str()))
        .map(|(_, share)| share)
        .max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(header: &'static str, value: &str) -> Response {
        let mut headers = http::HeaderMap::new();
        headers.insert(header, http::HeaderValue::from_str(value).unwrap());
        Response { status: 200, headers, body: bytes::Bytes::from_static(b"{}") }
    }

    fn pause(header: &'static str, value: &str) -> Option<u64> {
        let pause = usage(&response(header, value), SystemTime::UNIX_EPOCH);
        pause.map(|pause| pause.as_secs())
    }

    #[test]
    fn a_quota_that_is_used_up_pauses_and_one_that_nearly_is_slows_down() {
        let business = |share: u32, minutes: u32| {
            format!(
                r#"{{"310":[{{"type":"custom_audience","call_count":{share},"total_cputime":3,"total_time":9,"estimated_time_to_regain_access":{minutes}}}]}}"#
            )
        };
        assert_eq!(pause("x-business-use-case-usage", &business(12, 0)), None);
        assert_eq!(pause("x-business-use-case-usage", &business(80, 0)), Some(30));
        assert_eq!(pause("x-business-use-case-usage", &business(100, 0)), Some(300));
        assert_eq!(pause("x-business-use-case-usage", &business(100, 7)), Some(420));
        assert_eq!(pause("x-ad-account-usage", r#"{"acc_id_util_pct":96.5}"#), Some(300));
        assert_eq!(pause("x-app-usage", r#"{"call_count":1,"total_time":2}"#), None);
        assert_eq!(pause("x-app-usage", "no JSON"), None);
    }

    #[test]
    fn errors_are_read_by_their_code() {
        let word = |status, code: i64, subcode: Option<i64>, transient| {
            let error = serde_json::json!({"message": "m", "code": code, "error_subcode": subcode, "is_transient": transient});
            let body = serde_json::json!({ "error": error }).to_string();
            let headers = http::HeaderMap::new();
            match answered(&Response { status, headers, body: body.into() }) {
                Ok(()) => "taken",
                Err(Fault::Throttled { .. }) => "throttled",
                Err(Fault::Denied { .. }) => "denied",
                Err(Fault::Misconfigured { .. }) => "misconfigured",
                Err(Fault::Ambiguous { .. }) => "ambiguous",
                Err(Fault::Rejected { .. }) => "rejected",
                Err(other) => panic!("{other}"),
            }
        };
        for code in [4, 17, 32, 341, 613, 80_003] {
            assert_eq!(word(400, code, None, false), "throttled", "{code}");
        }
        for code in [10, 190, 200, 294, 368] {
            assert_eq!(word(400, code, None, false), "denied", "{code}");
        }
        assert_eq!(word(400, 190, Some(463), false), "denied");
        assert_eq!(word(400, 100, Some(33), false), "misconfigured");
        assert_eq!(word(400, 100, Some(1_713_230), false), "misconfigured");
        assert_eq!(word(400, 2655, None, false), "misconfigured");
        assert_eq!(word(400, 100, None, false), "rejected");
        assert_eq!(word(200, 100, None, false), "rejected");
        assert_eq!(word(400, 99, None, true), "ambiguous");
        assert_eq!(word(500, 2, None, false), "ambiguous");
        assert_eq!(word(401, 99, None, false), "denied");
    }

    #[test]
    fn the_proof_is_that_of_the_vendor() {
        // printf token | openssl dgst -sha256 -hmac secret
        assert_eq!(
            proof(&Secret::new("secret"), &Secret::new("token")).expose(),
            "e941110e3d2bfe82621f0e3e1434730d7305d106c5f68c87165d0b27a4611a4a"
        );
    }
}
