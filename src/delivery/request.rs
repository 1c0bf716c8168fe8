//! One request as a destination words it, and the reply it gets.
//!
//! Values that are secret are marked as such in the headers, so that they never show up in what is
//! rehearsed or logged. [`standard`] is the one place that says what a status means.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::de::DeserializeOwned;
use url::Url;

use crate::destinations::{Fault, Secret};

/// How a reply is read: `Ok` means that the request as a whole was taken.
pub type Reading = fn(&Response) -> Result<(), Fault>;

/// One request. Built step by step: `Request::post(url).bearer(&token).json_body(body)`.
#[derive(Debug, Clone)]
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

impl Response {
    /// The body as JSON; a body that is none can never be read as success.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_slice(&self.body).map_err(|error| Fault::Protocol {
            reason: format!("HTTP {} with a body that is not the JSON expected: {error}", self.status),
        })
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

/// What a status means where the vendor follows the standard.
pub fn standard(response: &Response) -> Result<(), Fault> {
    let _ = response;
    let _: Option<Duration> = None;
    todo!("in a moment")
}
