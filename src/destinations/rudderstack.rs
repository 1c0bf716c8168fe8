//! `RudderStack`'s HTTP API on any data plane: canonical messages as they are, in batches.
//!
//! The gateway takes a batch as a whole or not at all: one message it cannot identify refuses all of
//! them with a 400, which the delivery then halves until the bad one stands alone.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::Deserialize;
use url::Url;

use super::raw::{Envelope, Identity, acknowledged, enclose, endpoint};
use super::reader::address;
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Reader, Remote, Secret, Spec,
};
use crate::delivery::{Request, Response, Session};
use crate::finding::Finding;
use crate::record::Call;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of `RudderStack`.
pub static SPEC: Spec = Spec {
    kind: "rudderstack",
    title: "RudderStack",
    summary: "Sends canonical messages to a RudderStack source through its data plane.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Raw,
    identifiers: "userId; accounts by groupId, with the same value as anonymousId",
    // No quotas: what a data plane allows is its own configuration; by default nothing is limited.
    // 4,000 KB per request and 32 KB per message, less what surrounds the messages.
    batch: BatchLimits { rows: 100, max_rows: 10_000, bytes: 3_900_000, row_bytes: 32_000 },
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.rudderstack]
type = "rudderstack"
data_plane_url = "https://hosted.rudderlabs.com"
write_key = "${RUDDERSTACK_WRITE_KEY}"
"#,
    notes: &[
        "The data plane takes a batch as a whole or not at all; a refused batch is halved until the bad message stands alone.",
        "A data plane may limit events (1,000 a minute where it does so by default); set `rate_limit` to match, it counts requests.",
        "Messages are de-duplicated by messageId only where the server has that switched on.",
        "`--test` sends an empty batch, which a data plane refuses after it has accepted the write key.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::optional("data_plane_url", "address of the data plane; or give `base_url`"),
    OptionDoc::required("write_key", "write key of the source"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default, deserialize_with = "address")]
    data_plane_url: Option<Url>,
    write_key: Secret,
}

/// One source behind one data plane.
#[derive(Debug)]
struct RudderStack {
    url: Url,
    write_key: Secret,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { data_plane_url, write_key } = reader.own()?;
    let Some(base) = common.base_url.clone().or(data_plane_url) else {
        let finding = reader.refuse("data_plane_url", "is missing");
        return Err(vec![finding.hint("write `data_plane_url = \"https://…\"`")]);
    };
    let secrets = vec![write_key.clone()];
    let url = endpoint(&base, "/v1/batch");
    Ok(Built::new(Arc::new(RudderStack { url, write_key }), secrets))
}

impl RudderStack {
    fn request(&self, body: Bytes) -> Request {
        let password = Secret::new("");
        Request::post(self.url.clone()).basic(&self.write_key, &password).json_body(body)
    }
}

#[async_trait]
impl Destination for RudderStack {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.request(Bytes::from_static(b"{\"batch\":[]}")).reading(known_here);
        session.send(request).await.map(|_| ())
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let body = enclose(batch, Envelope::Object, Identity::AlwaysUser)?;
        session.send(self.request(body).reading(acknowledged)).await?;
        Ok(batch.delivered().into())
    }
}

/// The gateway looks at the write key before it looks at the body.
fn known_here(response: &Response) -> Result<(), Fault> {
    match response.status {
        400 => Ok(()),
        _ => acknowledged(response),
    }
}

/// An acknowledgement of everything.
#[cfg(test)]
pub(super) fn server(_: &crate::delivery::Captured) -> crate::delivery::Reply {
    crate::delivery::Reply::status(200, "OK")
}
