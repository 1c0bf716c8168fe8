//! What the destinations of raw messages share: how a batch of canonical messages becomes one body,
//! and how a plain acknowledgement reads.
//!
//! The bytes of each message are those the batch already carries; nothing is encoded twice.

use bytes::Bytes;
use serde::Deserialize;

use super::{Batch, Fault};
use crate::delivery::{Response, standard};
use crate::message::Message;
use crate::record::Level;

/// What surrounds the messages of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Envelope {
    /// `{"batch":[…]}`
    Object,
    /// `[…]`
    Array,
}

/// Who a message is about, as the destination wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// A message of an account carries its `groupId` only.
    AsIs,
    /// Every message must name a user: one of an account adds `"anonymousId": "<groupId>"`.
    AlwaysUser,
}

/// The messages of a batch inside their envelope, in the order of the batch.
pub(super) fn enclose(
    batch: &Batch,
    envelope: Envelope,
    identity: Identity,
) -> Result<Bytes, Fault> {
    let encoded = batch.encoded()?;
    let (before, after): (&[u8], &[u8]) = match envelope {
        Envelope::Object => (b"{\"batch\":[", b"]}"),
        Envelope::Array => (b"[", b"]"),
    };
    let size: usize = encoded.iter().map(|bytes| bytes.len() + 1).sum();
    let mut body = Vec::with_capacity(size + before.len() + after.len());
    body.extend_from_slice(before);
    for (position, (message, bytes)) in batch.messages().iter().zip(encoded).enumerate() {
        if position > 0 {
            body.push(b',');
        }
        write_message(&mut body, message, bytes, identity)?;
    }
    body.extend_from_slice(after);
    Ok(body.into())
}

fn write_message(
    body: &mut Vec<u8>,
    message: &Message,
    bytes: &[u8],
    identity: Identity,
) -> Result<(), Fault> {
    if identity == Identity::AsIs || message.level() == Level::User {
        body.extend_from_slice(bytes);
        return Ok(());
    }
    let unreadable = || Fault::Rejected { reason: "the message is not a JSON object".into() };
    let open = bytes.strip_suffix(b"}").ok_or_else(unreadable)?;
    let id = serde_json::to_vec(message.subject()).map_err(|_| unreadable())?;
    body.extend_from_slice(open);
    body.extend_from_slice(b",\"anonymousId\":");
    body.extend_from_slice(&id);
    body.push(b'}');
    Ok(())
}

/// Reads the reply of a tracking API that takes a batch as a whole or not at all: `OK`, nothing, or a
/// JSON object that does not say `"success": false`. Anything else under a 2xx is somebody else's
/// page and never success.
pub(super) fn acknowledged(response: &Response) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Reply {
        success: Option<bool>,
    }
    standard(response)?;
    let text = response.body.trim_ascii();
    if text.is_empty() || text.eq_ignore_ascii_case(b"ok") || text.eq_ignore_ascii_case(b"\"ok\"") {
        return Ok(());
    }
    match response.json::<Reply>()?.success {
        Some(false) => Err(Fault::Rejected { reason: response.reason() }),
        Some(true) | None => Ok(()),
    }
}

/// The address of a call below a base that may or may not name the API version already, as vendors'
/// own documents disagree on that.
pub(super) fn endpoint(base: &url::Url, path: &str) -> url::Url {
    let mut url = base.clone();
    let prefix = base.path().trim_end_matches('/');
    let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix);
    url.set_path(&format!("{prefix}{path}"));
    url
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    #[test]
    fn endpoints_hang_below_any_base() {
        for (base, expected) in [
            ("https://api.segment.io", "https://api.segment.io/v1/batch"),
            ("https://api.segment.io/v1/", "https://api.segment.io/v1/batch"),
            ("http://127.0.0.1:9/proxy", "http://127.0.0.1:9/proxy/v1/batch"),
        ] {
            let base = Url::parse(base).unwrap();
            assert_eq!(endpoint(&base, "/v1/batch").as_str(), expected);
        }
    }

    #[test]
    fn only_a_readable_reply_is_an_acknowledgement() {
        let read = |status, body: &'static str| {
            let headers = http::HeaderMap::new();
            acknowledged(&Response { status, headers, body: body.into() })
        };
        for body in ["", "OK", "ok\n", "{\"success\":true}", "{}"] {
            assert_eq!(read(200, body), Ok(()), "{body}");
        }
        assert!(matches!(read(200, "{\"success\":false}"), Err(Fault::Rejected { .. })));
        for body in ["<html>", "{\"success\":", "{\"success\":\"maybe\"}", "[]x"] {
            assert!(matches!(read(200, body), Err(Fault::Protocol { .. })), "{body}");
        }
    }
}
