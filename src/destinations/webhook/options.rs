//! What a webhook is, and how it is configured.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use serde::Deserialize;
use url::Url;

use super::Webhook;
use super::signature::{Signature, SignatureOptions};
use super::token::TokenOptions;
use crate::destinations::reader::required_address;
use crate::destinations::{
    BatchLimits, Built, Common, Entry, Grain, HTTP_OPTIONS, Idempotency, Maturity, OptionDoc,
    Reader, Secret, Spec,
};
use crate::finding::Finding;
use crate::record::Call;

pub(in crate::destinations) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of any webhook.
static SPEC: Spec = Spec {
    kind: "webhook",
    title: "Webhook",
    summary: "Sends canonical messages to any HTTP endpoint, one per request or in batches.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Raw,
    identifiers: "userId, groupId and email, as the messages carry them",
    batch: BatchLimits { rows: 1, max_rows: 4000, bytes: 1_000_000, row_bytes: 1_000_000 },
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.crm]
type = "webhook"
url = "https://example.com/hook"
headers = { Authorization = "Bearer ${CRM_TOKEN}" }
signature = { secret = "${CRM_SIGNING_SECRET}" }
rate_limit = 100
"#,
    notes: &[
        "With `batch_size` above 1 the body is `{\"batch\":[…]}`, or `[…]` with `batch_format = \"array\"`.",
        "Any 2xx means that every message arrived, unless a JSON body names the rows that did not: `{\"results\":[{\"index\":0,\"status\":\"error\",\"retryable\":true,\"message\":\"…\"}]}`.",
        "Without `rate_limit` only `concurrency` bounds the rate; 429 and Retry-After are obeyed.",
        "`X-Signature: sha256=…` is the HMAC of the timestamp, a dot and the exact bytes of the body; `sha1` signs the body only.",
        "The signed timestamp is the run's, the same on every retry: a receiver must not refuse it for its age.",
        "A webhook has no way to prove credentials without sending a message: `--test` proves nothing here.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("url", "address of the endpoint, with path and query"),
    OptionDoc::optional("method", "\"POST\" (default), \"PUT\" or \"PATCH\""),
    OptionDoc::optional("headers", "headers of every request; values are never shown"),
    OptionDoc::optional("batch_format", "\"object\" or \"array\"; also for a single message"),
    OptionDoc::optional(
        "signature",
        "{ secret, algorithm = \"sha256\", header = \"X-Signature\", timestamp_header = \"X-Timestamp\" }",
    ),
    OptionDoc::optional(
        "oauth",
        "{ token_url, client_id } with client_secret, refresh_token or private_key (PEM, RS256); also scope, subject, audience, json = true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(deserialize_with = "required_address")]
    url: Url,
    #[serde(default)]
    method: Method,
    #[serde(default)]
    headers: BTreeMap<String, Secret>,
    #[serde(default)]
    batch_format: Option<BatchFormat>,
    #[serde(default)]
    signature: Option<SignatureOptions>,
    #[serde(default)]
    oauth: Option<TokenOptions>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

/// What several messages stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BatchFormat {
    Object,
    Array,
}

/// Shorter values are too likely to be ordinary words; the headers themselves are never shown.
const LEAST_SECRET: usize = 8;

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let secrets = secrets(&options);
    let Options { url, method, headers, batch_format, signature, oauth } = options;
    let mut findings = Vec::new();
    let headers = header_map(reader, &headers, &mut findings);
    let signature = signature.and_then(|options| {
        Signature::new(options)
            .map_err(|fact| findings.push(reader.refuse("signature", &fact)))
            .ok()
    });
    let grant = oauth.and_then(|options| {
        options.grant().map_err(|fact| findings.push(reader.refuse("oauth", &fact))).ok()
    });
    if !findings.is_empty() {
        return Err(findings);
    }
    let several = common.batch_size.is_some_and(|size| size > 1);
    let destination = Arc::new(Webhook {
        method: method.into(),
        url: common.base_url.as_ref().map_or_else(|| url.clone(), |base| moved(&url, base)),
        headers,
        envelope: batch_format.or_else(|| several.then_some(BatchFormat::Object)),
        signature,
        grant,
    });
    Ok(Built::new(destination, secrets))
}

fn secrets(options: &Options) -> Vec<Secret> {
    let signing = options.signature.as_ref().map(|signature| signature.secret.clone());
    let headers = options.headers.iter().filter(|(name, _)| !is_public(name));
    let values = headers.flat_map(|(_, value)| {
        let token = value.expose().split_whitespace().next_back().unwrap_or_default();
        [value.clone(), Secret::new(token)]
    });
    let granting = options.oauth.iter().flat_map(TokenOptions::secrets);
    let values = values.filter(|value| value.expose().len() >= LEAST_SECRET);
    values.chain(signing).chain(granting).collect()
}

fn header_map(
    reader: &Reader<'_>,
    headers: &BTreeMap<String, Secret>,
    findings: &mut Vec<Finding>,
) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        match header(name, value) {
            Ok((name, value)) => {
                map.insert(name, value);
            }
            Err(fact) => findings.push(reader.refuse("headers", &fact)),
        }
    }
    map
}

fn header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), String> {
    const OURS: [&str; 4] = ["content-length", "host", "transfer-encoding", "connection"];
    let parsed = HeaderName::try_from(name)
        .map_err(|_| format!("names `{name}`, which is not a header name"))?;
    if OURS.contains(&parsed.as_str()) {
        return Err(format!("names `{name}`, which follows from the request itself"));
    }
    let mut value = HeaderValue::try_from(value.expose())
        .map_err(|_| format!("gives `{name}` a value that no header can hold"))?;
    value.set_sensitive(!is_public(name));
    Ok((parsed, value))
}

fn is_public(name: &str) -> bool {
    [CONTENT_TYPE, ACCEPT, USER_AGENT]
        .iter()
        .any(|public| name.eq_ignore_ascii_case(public.as_str()))
}

/// The same path and query at another scheme, host and port; the base's own path comes first.
fn moved(url: &Url, base: &Url) -> Url {
    let mut address = base.clone();
    let prefix = base.path().trim_end_matches('/');
    address.set_path(&format!("{prefix}{}", url.path()));
    address.set_query(url.query());
    address.set_fragment(None);
    address
}

impl From<Method> for http::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Post => Self::POST,
            Method::Put => Self::PUT,
            Method::Patch => Self::PATCH,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_replaces_scheme_host_and_port() {
        let url = Url::parse("https://example.com/hook/a?b=c").unwrap();
        for (base, expected) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/hook/a?b=c"),
            ("http://127.0.0.1:8080/proxy/", "http://127.0.0.1:8080/proxy/hook/a?b=c"),
        ] {
            assert_eq!(moved(&url, &Url::parse(base).unwrap()).as_str(), expected);
        }
    }

    #[test]
    fn headers_that_follow_from_the_request_are_refused() {
        let value = Secret::new("1");
        assert!(header("Content-Length", &value).is_err());
        assert!(header("no header", &value).is_err());
        assert!(header("X-Key", &Secret::new("two\nlines")).is_err());
        let (_, value) = header("X-Key", &Secret::new("abc")).unwrap();
        assert!(value.is_sensitive());
    }
}
