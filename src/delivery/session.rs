//! How a destination speaks to the outside: quota, gate, retries, redaction and transcript in one
//! place. See `request.rs` for [`Request`] and [`Response`].
//!
//! PUBLIC SIGNATURES (bodies follow):
//!
//! ```text
//! // all of these are `crate::delivery::…`
//! impl Request {
//!     new(http::Method, Url); get(Url); post(Url);
//!     header(name: &str, value: &str); secret_header(name: &str, value: &Secret);
//!     headers(&http::HeaderMap);            // prebuilt once; sensitive values stay marked
//!     bearer(&Secret); basic(&Secret, &Secret);
//!     body(content_type: &'static str, Bytes); json_body(Bytes);
//!     repeatable(bool);                     // default true
//!     reading(fn(&Response) -> Result<(), Fault>);   // default `standard`
//! }
//! Response { status: u16, headers: http::HeaderMap, body: Bytes }
//!     .json::<T>() -> Result<T, Fault>; .excerpt() -> String; .reason() -> String
//! pub fn standard(&Response) -> Result<(), Fault>
//! Batch::encoded(&self) -> Result<&[Bytes], Fault>   // canonical JSON, one per message, shared
//! ```
//!
//! Tests of destinations: `Session::scripted(terms, replies)` answers the given replies in order
//! (and afterwards `200 OK` with an empty body) and captures every request; retries wait on tokio's
//! clock, so use `#[tokio::test(start_paused = true)]`.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;

pub use super::request::{Reading, Request, Response, standard};
use crate::destinations::{Common, Fault, Spec};

/// The terms under which one configured destination is spoken to.
#[derive(Debug, Clone)]
pub struct Terms {
    pub spec: &'static Spec,
    pub common: Common,
    /// Redacted wherever they turn up.
    pub secrets: BTreeSet<String>,
}

/// A destination's way out, shared by everything that speaks to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session {}

/// A request as it would have gone over the wire, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Captured {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// What a scripted session answers, for tests of destinations.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer(Response),
    /// The connection could not be made: certainly not sent.
    Refused,
    /// Sent, and no reply came.
    Lost,
}

impl Reply {
    /// A reply without headers.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Answer(Response { status, headers: http::HeaderMap::new(), body: body.into() })
    }
}

impl Session {
    /// Captures up to `limit` requests instead of sending them; each answers [`Fault::Rehearsed`].
    pub fn rehearsal(terms: &Terms, limit: usize) -> Self {
        let _ = (terms, limit);
        todo!("follows")
    }

    /// Answers from a script.
    pub fn scripted(terms: &Terms, replies: Vec<Reply>) -> Self {
        let _ = (terms, replies);
        todo!("follows")
    }

    /// What was captured so far, redacted.
    pub fn captured(&self) -> Vec<Captured> {
        todo!("follows")
    }

    /// Sends one request, waiting for gate and quota, repeating it where that may help and is
    /// harmless. The reply has passed `request.read`.
    pub async fn send(&self, request: Request) -> Result<Response, Fault> {
        let _ = request;
        todo!("follows")
    }

    /// Appends to a file (made with its folder when missing) and flushes it to disk: one write, so
    /// that at most the last line is torn. Captured as `APPEND file://…`.
    pub async fn append(&self, path: &Path, bytes: Bytes) -> Result<(), Fault> {
        let _ = (path, bytes);
        todo!("follows")
    }

    /// Cuts off a torn last line (one without a newline); a missing file is fine.
    pub async fn trim(&self, path: &Path) -> Result<(), Fault> {
        let _ = path;
        todo!("follows")
    }

    /// Replaces a file as a whole: temporary, flush, rename. Captured as `REPLACE file://…`.
    pub async fn replace(&self, path: &Path, bytes: Bytes) -> Result<(), Fault> {
        let _ = (path, bytes);
        todo!("follows")
    }

    /// `text` without any of the destination's secrets.
    pub fn redact(&self, text: &str) -> String {
        let _ = text;
        todo!("follows")
    }
}
