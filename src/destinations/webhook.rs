//! Any HTTP endpoint: one canonical message per request, or several.
//!
//! A plain 2xx means that every message arrived. An endpoint that knows our convention may answer
//! with `{"results": [{"index": 1, "status": "error", "retryable": true, "message": "busy"}]}`, and
//! only the rows it names did not. A signed request is signed over the exact bytes that leave.

mod options;
mod reply;
mod signature;
mod token;

use std::sync::Arc;

use async_trait::async_trait;
use http::header::HeaderMap;
use sha2::{Digest, Sha256};
use url::Url;

use self::options::BatchFormat;
use self::signature::Signature;
use super::raw::{Envelope, Identity, enclose};
use super::{Batch, Delivery, Destination, Fault, Remote};
use crate::delivery::{Grant, Request, Session};
use crate::digest::hex;

pub(super) use self::options::ENTRY;

/// One endpoint.
#[derive(Debug)]
struct Webhook {
    method: http::Method,
    url: Url,
    /// Values are marked sensitive, so that Debug does not show them.
    headers: HeaderMap,
    envelope: Option<BatchFormat>,
    signature: Option<Signature>,
    /// How its tokens are asked for.
    grant: Option<Arc<dyn Grant>>,
}

impl Webhook {
    fn request(&self, batch: &Batch) -> Result<Request, Fault> {
        let body = match self.envelope {
            None if batch.len() == 1 => batch.encoded()?[0].clone(),
            None | Some(BatchFormat::Object) => enclose(batch, Envelope::Object, Identity::AsIs)?,
            Some(BatchFormat::Array) => enclose(batch, Envelope::Array, Identity::AsIs)?,
        };
        let timestamp = batch.messages()[0].timestamp();
        let signed = self.signature.as_ref().map(|signature| signature.sign(timestamp, &body));
        let mut request = Request::new(self.method.clone(), self.url.clone())
            .json_body(body)
            .header("Idempotency-Key", &idempotency_key(batch));
        for (name, value) in signed.into_iter().flatten() {
            request = request.header(&name, &value);
        }
        let request = request.headers(&self.headers);
        Ok(match &self.grant {
            Some(grant) => request.granted(grant),
            None => request,
        })
    }
}

#[async_trait]
impl Destination for Webhook {
    /// There is nothing to ask an unknown endpoint that would not be a guess.
    async fn check(&self, _session: &Session) -> Result<(), Fault> {
        Ok(())
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let response = session.send(self.request(batch)?).await?;
        Ok(reply::receipt(session, &response, batch)?.into())
    }
}

/// The same for the same messages in the same order, on every retry and in every run.
fn idempotency_key(batch: &Batch) -> String {
    let mut hash = Sha256::new();
    for message in batch.messages() {
        hash.update(message.id().digits());
    }
    hex(&hash.finalize()[..16])
}

/// An acknowledgement of everything.
#[cfg(test)]
pub(super) fn server(_: &crate::delivery::Captured) -> crate::delivery::Reply {
    crate::delivery::Reply::status(200, "OK")
}
