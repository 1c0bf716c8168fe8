//! Redaction: no secret leaves a session in a reason, a transcript or a rehearsed request, whatever
//! form it took on its way there.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::request::Request;
use super::session::Captured;
use crate::destinations::Fault;

const SHOWN: &str = "[secret]";

/// Every form of every secret, longest first so that none is left in part.
pub(super) struct Redactor {
    forms: RwLock<Vec<String>>,
}

impl Redactor {
    pub(super) fn new(secrets: &BTreeSet<String>) -> Self {
        let redactor = Self { forms: RwLock::default() };
        redactor.learn(secrets.iter().map(String::as_str));
        redactor
    }

    /// From here on these are secrets too: tokens that were asked for.
    pub(super) fn learn<'a>(&self, secrets: impl Iterator<Item = &'a str>) {
        let new = secrets
            .filter(|secret| !secret.is_empty())
            .flat_map(|secret| [secret.to_owned(), in_url(secret), in_json(secret)]);
        let mut forms = self.forms.write().unwrap_or_else(PoisonError::into_inner);
        let all: BTreeSet<String> = std::mem::take(&mut *forms).into_iter().chain(new).collect();
        forms.extend(all);
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    pub(super) fn text(&self, text: &str) -> String {
        let forms = self.forms.read().unwrap_or_else(PoisonError::into_inner);
        forms.iter().fold(text.to_owned(), |text, form| {
            if text.contains(form.as_str()) { text.replace(form.as_str(), SHOWN) } else { text }
        })
    }

    pub(super) fn fault(&self, fault: Fault) -> Fault {
        let text = |reason: String| self.text(&reason);
        match fault {
            Fault::Throttled { retry_after, reason } => {
                Fault::Throttled { retry_after, reason: text(reason) }
            }
            Fault::Transient { reason } => Fault::Transient { reason: text(reason) },
            Fault::Ambiguous { reason } => Fault::Ambiguous { reason: text(reason) },
            Fault::Rejected { reason } => Fault::Rejected { reason: text(reason) },
            Fault::Denied { reason } => Fault::Denied { reason: text(reason) },
            Fault::Misconfigured { reason } => Fault::Misconfigured { reason: text(reason) },
            Fault::Protocol { reason } => Fault::Protocol { reason: text(reason) },
            Fault::Rehearsed => Fault::Rehearsed,
        }
    }

    pub(super) fn request(&self, request: &Request) -> Captured {
        let headers = request.headers.iter().map(|(name, value)| {
            let shown = match value.to_str() {
                _ if value.is_sensitive() => SHOWN.to_owned(),
                Ok(value) => self.text(value),
                Err(_) => String::from_utf8_lossy(value.as_bytes()).into_owned(),
            };
            (name.as_str().to_owned(), shown)
        });
        Captured {
            method: request.method.to_string(),
            url: self.text(request.url.as_str()),
            headers: headers.collect(),
            body: self.bytes(&request.body),
        }
    }

    pub(super) fn bytes(&self, bytes: &Bytes) -> Bytes {
        let Ok(text) = std::str::from_utf8(bytes) else { return bytes.clone() };
        let redacted = self.text(text);
        if redacted == text { bytes.clone() } else { redacted.into() }
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

fn in_url(secret: &str) -> String {
    url::form_urlencoded::byte_serialize(secret.as_bytes()).collect()
}

fn in_json(secret: &str) -> String {
    let quoted = serde_json::to_string(secret).unwrap_or_default();
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(secret).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destinations::Secret;

    #[test]
    fn no_form_of_a_secret_is_shown() {
        let secret = "p&ss \"word\"";
        let redactor = Redactor::new(&BTreeSet::from([secret.to_owned(), String::new()]));
        let mut url = url::Url::parse("https://example.com/hook").unwrap();
        url.query_pairs_mut().append_pair("key", secret);
        let request = Request::post(url)
            .header("x-plain", secret)
            .bearer(&Secret::new(secret))
            .json_body(serde_json::json!({ "key": secret }).to_string().into());
        let shown = redactor.request(&request);
        assert_eq!(shown.url, "https://example.com/hook?key=[secret]");
        assert_eq!(shown.body, r#"{"key":"[secret]"}"#);
        let headers: Vec<_> = shown.headers.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(headers, ["[secret]", "[secret]", "application/json"]);
        assert!(!format!("{redactor:?}{request:?}").contains("p&ss"));
    }
}
