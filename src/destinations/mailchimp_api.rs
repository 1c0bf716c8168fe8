//! Mailchimp's Marketing API as every destination of Mailchimp speaks to it: address, key, the
//! audience, and what refusals mean.
//!
//! What it promises: Mailchimp's own errors are JSON documents; a 403 without one comes from the edge
//! that slows us down, and an empty 404 from two writes to one contact at a time. Both pass.

use http::Method;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Common, Fault, OptionDoc, Reader, Secret};
use crate::delivery::{Request, Response, Session, standard};
use crate::digest::hex;
use crate::finding::Finding;

pub(super) const API_KEY: OptionDoc = OptionDoc::required("api_key", "API key of the account");
pub(super) const AUDIENCE_ID: OptionDoc = OptionDoc::required(
    "audience_id",
    "id of the audience (Mailchimp's \"list\"), as in its settings",
);
pub(super) const SERVER: OptionDoc = OptionDoc::optional(
    "server",
    "the account's data centre, such as \"us20\"; default: the end of the API key",
);

/// At most this many requests are under way at a time, for all tools of an account together.
pub(super) const CONNECTIONS: usize = 10;

/// One audience of one account.
#[derive(Debug)]
pub(super) struct Audience {
    base: Url,
    key: Secret,
    id: String,
}

/// Mailchimp's own description of what went wrong.
#[derive(Debug, Deserialize)]
struct Problem {
    #[serde(rename = "title")]
    _title: String,
}

impl Audience {
    /// The audience in the data centre that `server`, the key or `base_url` names.
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        server: Option<&str>,
        key: Secret,
        id: String,
    ) -> Result<Self, Vec<Finding>> {
        let base = match (&common.base_url, server.or_else(|| data_centre_of(&key))) {
            (Some(base), _) => Ok(base.clone()),
            (None, Some(server)) if is_data_centre(server) => {
                Url::parse(&format!("https://{server}.api.mailchimp.com"))
                    .map_err(|error| format!("has no usable address: {error}"))
            }
            (None, Some(_)) => Err("is no data centre: letters and a number, as in `us20`".into()),
            (None, None) => Err("is missing, and the API key does not end in one".to_owned()),
        };
        match base {
            Ok(base) => Ok(Self { base, key, id }),
            Err(fact) => Err(vec![reader.refuse("server", &fact).hint(
                "write `server = \"us20\"` or whatever Mailchimp's own address begins with",
            )]),
        }
    }

    /// A request about the audience or something below it.
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
        Ok(self.request(method, path).json_body(body.into()))
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty();
            if !self.base.path().trim_end_matches('/').ends_with("/3.0") {
                segments.push("3.0");
            }
            segments.extend(["lists", self.id.as_str()]).extend(path);
        }
        Request::new(method, url).basic(&Secret::new("muster"), &self.key).reading(answered)
    }

    /// Proves the key, and that the audience is there; changes nothing.
    pub(super) async fn exists(&self, session: &Session) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct List {
            id: String,
        }
        let mut request = self.get(&[]);
        request.url.query_pairs_mut().append_pair("fields", "id,name");
        let list: List = session.send(request).await?.json()?;
        if list.id == self.id {
            return Ok(());
        }
        Err(Fault::Protocol { reason: "the reply is about another audience".into() })
    }
}

/// By what Mailchimp knows a contact: the MD5 of its email in lower case.
pub(super) fn contact_id(email: &str) -> String {
    hex(&Md5::digest(email.to_lowercase()))
}

/// What a status means here: as usual where the body is a description of the problem.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    let is_described = response.json::<Problem>().is_ok();
    match (response.status, standard(response)) {
        (403, Err(Fault::Denied { reason })) if !is_described => {
            Err(Fault::Throttled { retry_after: response.retry_after(), reason })
        }
        (404, Err(Fault::Misconfigured { reason })) if response.body.trim_ascii().is_empty() => {
            Err(Fault::Transient { reason })
        }
        (_, other) => other,
    }
}

/// Whether Mailchimp itself says so, and not somebody on the way.
pub(super) fn is_problem(response: &Response, status: u16) -> bool {
    #[derive(Deserialize)]
    struct Described {
        status: u16,
    }
    response.status == status
        && response.json::<Described>().is_ok_and(|problem| problem.status == status)
}

/// A word such as `us20`; it becomes part of an address.
fn is_data_centre(word: &str) -> bool {
    let number = word.trim_start_matches(|letter: char| letter.is_ascii_lowercase());
    let is_number = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    is_number && number.len() < word.len() && word.len() <= 8
}

fn data_centre_of(key: &Secret) -> Option<&str> {
    let (_, end) = key.expose().rsplit_once('-')?;
    is_data_centre(end).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_the_digest_of_its_address_in_lower_case() {
        for (email, id) in [
            ("Ada.Lovelace@Example.ORG", "a0897f0967cd4affeb515028a3447d04"),
            ("Ada.Lovelace+vip@Gmail.com", "a88c1d477c0061e409ba86078842805e"),
            ("ADA.LOVELACE@GMAIL.COM", "a74a8adc7dce390b251b827ac43dceb3"),
        ] {
            assert_eq!(contact_id(email), id);
        }
    }

    #[test]
    fn only_a_word_and_a_number_is_a_data_centre() {
        for word in ["us20", "us1", "eu5"] {
            assert!(is_data_centre(word), "{word}");
        }
        for word in ["", "us", "20", "US20", "us20.evil", "us20/", "us2x", "u\u{660}"] {
            assert!(!is_data_centre(word), "{word}");
        }
        assert_eq!(data_centre_of(&Secret::new("abc-def-us20")), Some("us20"));
        assert_eq!(data_centre_of(&Secret::new("abc-KEY")), None);
    }

    #[test]
    fn what_only_passes_by_is_told_from_a_refusal() {
        let read = |status, body: &'static str| {
            let headers = http::HeaderMap::new();
            answered(&Response { status, headers, body: body.into() })
        };
        let problem = r#"{"type":"about:blank","title":"Forbidden","status":403,"detail":"no","instance":"1"}"#;
        assert!(matches!(read(403, problem), Err(Fault::Denied { .. })));
        for body in ["", "<html>Access Denied</html>"] {
            assert!(matches!(read(403, body), Err(Fault::Throttled { .. })));
        }
        assert!(matches!(read(404, problem), Err(Fault::Misconfigured { .. })));
        assert!(matches!(read(404, "\n"), Err(Fault::Transient { .. })));
        assert!(matches!(read(404, "<html>"), Err(Fault::Misconfigured { .. })));
        assert!(matches!(read(429, ""), Err(Fault::Throttled { .. })));
    }

    #[test]
    fn addresses_hang_below_any_base() {
        for (base, expected) in [
            (
                "https://us20.api.mailchimp.com",
                "https://us20.api.mailchimp.com/3.0/lists/a1/members",
            ),
            ("http://127.0.0.1:9/proxy/", "http://127.0.0.1:9/proxy/3.0/lists/a1/members"),
            ("http://127.0.0.1:9/3.0/", "http://127.0.0.1:9/3.0/lists/a1/members"),
        ] {
            let base = Url::parse(base).unwrap();
            let audience = Audience { base, key: Secret::new("k"), id: "a1".into() };
            assert_eq!(audience.get(&["members"]).url.as_str(), expected);
        }
    }
}
