//! Segment's HTTP tracking API: canonical messages as they are, in batches.
//!
//! Segment answers for a batch as a whole and validates messages later, so that a 200 means *taken*,
//! not *valid*; it also takes a wrong write key, which is why credentials cannot be proven here.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use url::Url;

use super::raw::{Envelope, Identity, acknowledged, enclose, endpoint};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Spec,
};
use crate::delivery::{Request, Session};
use crate::finding::Finding;
use crate::record::Call;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Segment.
pub static SPEC: Spec = Spec {
    kind: "segment",
    title: "Segment",
    summary: "Sends canonical messages to a Segment source through the HTTP tracking API.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Raw,
    identifiers: "userId; accounts by groupId, with the same value as anonymousId",
    quotas: &[Quota::per_second(1000)],
    // 500 KB per request and 32 KB per message, less what surrounds the messages.
    batch: BatchLimits { rows: 100, max_rows: 2500, bytes: 480_000, row_bytes: 32_000 },
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.segment]
type = "segment"
write_key = "${SEGMENT_WRITE_KEY}"
region = "us"
"#,
    notes: &[
        "Segment takes a batch as a whole and validates its messages later; it names no refused rows.",
        "A wrong write key is answered with 200 by some paths: `--test` proves nothing here.",
        "A workspace in the EU must say `region = \"eu\"`: the US address loses its data silently.",
        "Segment drops a message whose messageId it has seen, in a window of about a day or more (uncertain).",
        "The greatest number of messages per batch is uncertain; its size in bytes is what counts.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("write_key", "write key of the source"),
    OptionDoc::optional("region", "\"us\" (default) or \"eu\""),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    write_key: Secret,
    #[serde(default)]
    region: Region,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Region {
    #[default]
    Us,
    Eu,
}

/// One source.
#[derive(Debug)]
struct Segment {
    url: Url,
    write_key: Secret,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { write_key, region } = reader.own()?;
    let base = match &common.base_url {
        Some(base) => base.clone(),
        None => region.base().map_err(|fact| vec![reader.refuse("region", &fact)])?,
    };
    let secrets = vec![write_key.clone()];
    let url = endpoint(&base, "/v1/batch");
    Ok(Built::new(Arc::new(Segment { url, write_key }), secrets))
}

impl Region {
    fn base(self) -> Result<Url, String> {
        let address = match self {
            Self::Us => "https://api.segment.io",
            Self::Eu => "https://events.eu1.segmentapis.com",
        };
        Url::parse(address).map_err(|error| format!("has no usable address: {error}"))
    }
}

#[async_trait]
impl Destination for Segment {
    /// Segment has no call that proves a write key without sending a message.
    async fn check(&self, _session: &Session) -> Result<(), Fault> {
        Ok(())
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let body = enclose(batch, Envelope::Object, Identity::AlwaysUser)?;
        let request = Request::post(self.url.clone())
            .basic(&self.write_key, &Secret::new(""))
            .json_body(body)
            .reading(acknowledged);
        session.send(request).await?;
        Ok(batch.delivered().into())
    }
}

/// An acknowledgement of everything.
#[cfg(test)]
pub(super) fn server(_: &crate::delivery::Captured) -> crate::delivery::Reply {
    crate::delivery::Reply::status(200, "OK")
}
