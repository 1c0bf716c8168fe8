//! How a webhook's requests are signed.

use hmac::{Hmac, KeyInit, Mac};
use http::header::HeaderName;
use serde::Deserialize;
use sha1::Sha1;
use sha2::Sha256;

use crate::destinations::Secret;
use crate::digest::hex;

/// `signature = { … }` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignatureOptions {
    pub(super) secret: Secret,
    #[serde(default)]
    algorithm: Algorithm,
    header: Option<String>,
    timestamp_header: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    /// HMAC-SHA256 of the timestamp, a dot and the body, as `sha256=<hex>`.
    #[default]
    Sha256,
    /// HMAC-SHA1 of the body, as hex, as Segment's webhooks do.
    Sha1,
}

/// Signs bodies.
#[derive(Debug)]
pub(super) struct Signature {
    secret: Secret,
    algorithm: Algorithm,
    header: String,
    timestamp_header: String,
}

impl Signature {
    pub(super) fn new(options: SignatureOptions) -> Result<Self, String> {
        let SignatureOptions { secret, algorithm, header, timestamp_header } = options;
        let header = header.unwrap_or_else(|| "X-Signature".into());
        let timestamp_header = timestamp_header.unwrap_or_else(|| "X-Timestamp".into());
        for name in [&header, &timestamp_header] {
            HeaderName::try_from(name.as_str())
                .map_err(|_| format!("names `{name}`, which is not a header name"))?;
        }
        Ok(Self { secret, algorithm, header, timestamp_header })
    }

    /// The headers that prove where `body` comes from.
    pub(super) fn sign(&self, timestamp: &str, body: &[u8]) -> Vec<(String, String)> {
        let key = self.secret.expose().as_bytes();
        match self.algorithm {
            Algorithm::Sha256 => {
                let signed = authenticate::<Hmac<Sha256>>(key, &[timestamp.as_bytes(), b".", body]);
                vec![
                    (self.timestamp_header.clone(), timestamp.to_owned()),
                    (self.header.clone(), format!("sha256={signed}")),
                ]
            }
            Algorithm::Sha1 => {
                vec![(self.header.clone(), authenticate::<Hmac<Sha1>>(key, &[body]))]
            }
        }
    }
}

fn authenticate<M: Mac + KeyInit>(key: &[u8], pieces: &[&[u8]]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return String::new() };
    for piece in pieces {
        mac.update(piece);
    }
    hex(&mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(algorithm: Algorithm) -> Signature {
        let secret = Secret::new("key");
        Signature::new(SignatureOptions { secret, algorithm, header: None, timestamp_header: None })
            .unwrap()
    }

    // Vectors made with `printf … | openssl dgst -sha256 -hmac key`.
    #[test]
    fn sha256_covers_timestamp_and_body() {
        let headers = signature(Algorithm::Sha256).sign("2026-11-20T09:00:00Z", b"{}");
        assert_eq!(headers[0], ("X-Timestamp".into(), "2026-11-20T09:00:00Z".into()));
        assert_eq!(
            headers[1].1,
            "sha256=de416907626c7a94fe05081011a01e221e04afd4fc52680262e34700cdcf44fd"
        );
    }

    #[test]
    fn sha1_covers_the_body_only() {
        let headers = signature(Algorithm::Sha1).sign("2026-11-20T09:00:00Z", b"{}");
        assert_eq!(
            headers,
            [("X-Signature".into(), "c9963b837183dc667106461b3de91d0885f539b3".into())]
        );
    }
}
