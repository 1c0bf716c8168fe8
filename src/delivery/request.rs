//! One request as a destination words it, and the reply it gets.
//!
//! Values that are secret are marked as such in the headers, so that they never show up in what is
//! rehearsed or logged. [`standard`] is the one place that says what a status means.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use serde::de::DeserializeOwned;
use url::Url;

use super::auth::{Authority, Grant};
use super::signing::AwsKey;
use crate::destinations::{Fault, Secret};

/// How a reply is read: `Ok` means that the request as a whole was taken.
pub type Reading = fn(&Response) -> Result<(), Fault>;

/// What a reply says of the quota, whatever its status: for how long nothing more may be sent. The
/// time of day is for limits that name the moment when they start again.
pub type Heeding = fn(&Response, SystemTime) -> Option<Duration>;

/// One request. Built step by step: `Request::post(url).bearer(&token).json_body(body)`.
#[derive(Clone)]
pub struct Request {
    pub method: http::Method,
    pub url: Url,
    /// Values marked sensitive are shown as `[secret]`.
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether sending it twice is harmless; `true` unless said otherwise.
    pub repeatable: bool,
    /// Default: [`standard`].
    pub read: Reading,
    /// Default: nothing but `Retry-After` where the destination slows us down.
    pub heed: Heeding,
    /// The quota of the catalogue entry's `endpoints` that it counts against, beside those of the
    /// destination as a whole.
    pub endpoint: Option<&'static str>,
    pub(super) authority: Option<Authority>,
    /// Name of a header that cannot be sent.
    invalid: Option<String>,
}

/// A complete reply.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Request {
    pub fn new(method: http::Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            repeatable: true,
            read: standard,
            heed: |_, _| None,
            endpoint: None,
            authority: None,
            invalid: None,
        }
    }

    pub fn get(url: Url) -> Self {
        Self::new(http::Method::GET, url)
    }

    pub fn post(url: Url) -> Self {
        Self::new(http::Method::POST, url)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.insert(name, value, false);
        self
    }

    #[must_use]
    pub fn secret_header(mut self, name: &str, value: &Secret) -> Self {
        self.insert(name, value.expose(), true);
        self
    }

    /// Headers made once and sent with every request; sensitive values stay marked.
    #[must_use]
    pub fn headers(mut self, headers: &HeaderMap) -> Self {
        self.headers.extend(headers.clone());
        self
    }

    #[must_use]
    pub fn bearer(mut self, token: &Secret) -> Self {
        self.insert(AUTHORIZATION.as_str(), &format!("Bearer {}", token.expose()), true);
        self
    }

    #[must_use]
    pub fn basic(mut self, user: &Secret, password: &Secret) -> Self {
        let pair = format!("{}:{}", user.expose(), password.expose());
        let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
        self.insert(AUTHORIZATION.as_str(), &format!("Basic {encoded}"), true);
        self
    }

    #[must_use]
    pub fn body(mut self, content_type: &'static str, body: Bytes) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = body;
        self
    }

    #[must_use]
    pub fn json_body(self, body: Bytes) -> Self {
        self.body("application/json", body)
    }

    #[must_use]
    pub fn repeatable(mut self, repeatable: bool) -> Self {
        self.repeatable = repeatable;
        self
    }

    /// Reads replies differently from [`standard`], for vendors whose status says less than their
    /// body.
    #[must_use]
    pub fn reading(mut self, read: Reading) -> Self {
        self.read = read;
        self
    }

    /// Pauses where the vendor's limit headers say that the quota is used up.
    #[must_use]
    pub fn heeding(mut self, heed: Heeding) -> Self {
        self.heed = heed;
        self
    }

    /// Counts against the quota of an endpoint as well.
    #[must_use]
    pub fn endpoint(mut self, endpoint: &'static str) -> Self {
        self.endpoint = Some(endpoint);
        self
    }

    /// Authorised by a token that is asked for and renewed as needed.
    #[must_use]
    pub fn granted(mut self, grant: &Arc<dyn Grant>) -> Self {
        self.authority = Some(Authority::Token(Arc::clone(grant)));
        self
    }

    /// Signed anew for every try.
    #[must_use]
    pub fn signed(mut self, key: &Arc<AwsKey>) -> Self {
        self.authority = Some(Authority::Aws(Arc::clone(key)));
        self
    }

    /// A form as browsers send it.
    #[must_use]
    pub fn form_body(self, fields: &[(&str, &str)]) -> Self {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        let body = form.extend_pairs(fields).finish();
        self.body("application/x-www-form-urlencoded", body.into())
    }

    /// The header that cannot be sent as it is worded, if any.
    pub(super) fn invalid(&self) -> Option<&str> {
        self.invalid.as_deref()
    }

    fn insert(&mut self, name: &str, value: &str, secret: bool) {
        let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
        match parsed {
            Some((name, mut value)) => {
                value.set_sensitive(secret);
                self.headers.insert(name, value);
            }
            None => self.invalid = Some(name.to_owned()),
        }
    }
}

/// Neither values nor what a query may hold.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("headers", &self.headers.keys().collect::<Vec<_>>())
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Response {
    /// The body as JSON; a body that is none can never be read as success.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| Fault::Protocol {
            reason: format!(
                "HTTP {} with a body that is not the JSON expected: {error}",
                self.status
            ),
        })
    }

    /// The body as a JSON object. A list is never taken for one, as it would be for a type of which
    /// nothing is required.
    pub fn object<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let object: serde_json::Map<String, serde_json::Value> = self.json()?;
        T::deserialize(serde_json::Value::Object(object)).map_err(|error| Fault::Protocol {
            reason: format!("HTTP {} with JSON that is not the one expected: {error}", self.status),
        })
    }

    /// How long the destination asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok()
    }

    /// Turns `Retry-After` into seconds, so that readers need no clock. A date is compared with the
    /// reply's own `Date`, whose clock it was read from, else with `now`.
    pub(super) fn settle_retry_after(&mut self, now: SystemTime) {
        let text =
            |name| self.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let Some(value) = text(RETRY_AFTER) else { return };
        let there = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
        let seconds = pause_until(value, there.unwrap_or(now)).map(|pause| pause.as_secs_f64());
        match seconds.and_then(|seconds| HeaderValue::try_from(seconds.to_string()).ok()) {
            Some(seconds) => self.headers.insert(RETRY_AFTER, seconds),
            None => self.headers.remove(RETRY_AFTER),
        };
    }

    /// The beginning of the body on one line, for reasons.
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(1200)]);
        let mut words = String::new();
        for word in text.split_whitespace() {
            if words.chars().count() + word.chars().count() > 300 {
                words.push('…');
                break;
            }
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        }
        words
    }

    /// What the reply says of itself: status and the beginning of its body.
    pub fn reason(&self) -> String {
        let name = http::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("unknown status");
        match self.excerpt() {
            text if text.is_empty() => format!("HTTP {} {name}", self.status),
            text => format!("HTTP {} {name}: {text}", self.status),
        }
    }
}

/// What a status means where the vendor follows the standard. That nothing was done is only claimed
/// where the status says so; the session counts every 5xx as "may have arrived".
pub fn standard(response: &Response) -> Result<(), Fault> {
    let reason = || response.reason();
    match response.status {
        200..=299 => Ok(()),
        300..=399 => {
            let reason = format!("{}; redirects are not followed", response.reason());
            Err(Fault::Misconfigured { reason })
        }
        401 | 403 => Err(Fault::Denied { reason: reason() }),
        404 | 410 => Err(Fault::Misconfigured { reason: reason() }),
        429 => Err(Fault::Throttled { retry_after: response.retry_after(), reason: reason() }),
        503 if let Some(pause) = response.retry_after() => {
            Err(Fault::Throttled { retry_after: Some(pause), reason: reason() })
        }
        425 | 503 => Err(Fault::Transient { reason: reason() }),
        408 | 500..=599 => Err(Fault::Ambiguous { reason: reason() }),
        400..=499 => Err(Fault::Rejected { reason: reason() }),
        _ => Err(Fault::Protocol { reason: reason() }),
    }
}

/// `Retry-After` as a pause from now: seconds, or an HTTP date relative to `now`.
fn pause_until(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = httpdate::parse_http_date(value.trim()).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, retry_after: Option<&'static str>) -> Response {
        let headers = retry_after
            .map(|value| (RETRY_AFTER, HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        Response { status, headers, body: Bytes::from_static(b"{\"why\":  \n\"because\"}") }
    }

    #[test]
    fn every_status_has_its_meaning() {
        let word = |status, retry_after| match standard(&reply(status, retry_after)) {
            Ok(()) => "taken",
            Err(Fault::Throttled { retry_after: None, .. }) => "throttled",
            Err(Fault::Throttled { retry_after: Some(_), .. }) => "throttled for",
            Err(Fault::Transient { .. }) => "transient",
            Err(Fault::Ambiguous { .. }) => "ambiguous",
            Err(Fault::Rejected { .. }) => "rejected",
            Err(Fault::Denied { .. }) => "denied",
            Err(Fault::Misconfigured { .. }) => "misconfigured",
            Err(Fault::Protocol { .. }) => "protocol",
            Err(Fault::Rehearsed) => "rehearsed",
        };
        let table: &[(&str, &[u16])] = &[
            ("taken", &[200, 201, 202, 204, 207, 299]),
            ("misconfigured", &[301, 302, 304, 307, 308, 404, 410]),
            ("denied", &[401, 403]),
            ("throttled", &[429]),
            ("transient", &[425, 503]),
            ("ambiguous", &[408, 500, 501, 502, 504, 529, 599]),
            ("rejected", &[400, 402, 405, 406, 409, 411, 413, 415, 422, 451, 499]),
            ("protocol", &[100, 199, 600, 999]),
        ];
        for (meaning, statuses) in table {
            for status in *statuses {
                assert_eq!(word(*status, None), *meaning, "{status}");
            }
        }
        assert_eq!(word(429, Some("7")), "throttled for");
        assert_eq!(word(503, Some("7")), "throttled for");
        assert_eq!(word(429, Some("soon")), "throttled");
        assert_eq!(word(500, Some("7")), "ambiguous");
    }

    #[test]
    fn both_forms_of_retry_after_are_understood() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |value| pause_until(value, now).map(|pause| pause.as_secs_f64());
        assert_eq!(seconds("120"), Some(120.0));
        assert_eq!(seconds(" 0.5 "), Some(0.5));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30.0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:00 GMT"), Some(0.0));
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("later"), None);
    }

    #[test]
    fn reasons_are_one_short_line() {
        assert_eq!(
            reply(422, None).reason(),
            "HTTP 422 Unprocessable Entity: {\"why\": \"because\"}"
        );
        let long = Response { body: Bytes::from("word ".repeat(1000)), ..reply(400, None) };
        assert!(long.excerpt().len() < 330);
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_noticed() {
        let url = Url::parse("https://example.com").unwrap();
        let request = Request::post(url).header("X-Fine", "1").header("X-Broken", "a\nb");
        assert_eq!(request.invalid(), Some("X-Broken"));
        assert!(!format!("{:?}", request.bearer(&Secret::new("hush"))).contains("hush"));
    }
}
