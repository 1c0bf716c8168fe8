//! How a destination speaks to the outside: quota, gate, retries, redaction and transcript in one
//! place.
//!
//! What it promises: a request leaves only when the gate is open and every quota admits it; it is
//! repeated only where that may help and is harmless; a fault that comes out says truthfully whether
//! some try may have arrived; no secret leaves in any text. It never follows a redirect, and never
//! takes silence for success.
//!
//! Tests of destinations: [`Session::scripted`] answers the given replies in order (and afterwards
//! `200` with an empty body) and captures every request; pauses wait on tokio's clock.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

pub use super::request::{Heeding, Reading, Request, Response, standard};

use super::budget::Budget;
use super::core::Core;
use super::files::{self, FileFailure};
use super::transport::{Failure, Transport};
use super::trial::Trial;
use crate::destinations::{Common, Fault, Spec};

/// The terms under which one configured destination is spoken to.
#[derive(Clone)]
pub struct Terms {
    pub spec: &'static Spec,
    pub common: Common,
    /// Redacted wherever they turn up.
    pub secrets: BTreeSet<String>,
}

/// What a session must not find out for itself.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Seed of the jitter.
    pub seed: u64,
    /// The time of day, against which dates in replies are read.
    pub now: SystemTime,
}

/// A destination's way out, shared by everything that speaks to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session {
    pub(super) core: Arc<Core>,
    effect: Arc<Effect>,
}

/// What may have happened over there because of what was sent through one handle.
#[derive(Debug, Default)]
struct Effect {
    /// Something was taken, or may have been.
    any: AtomicBool,
    /// Some try had no clear answer, whatever a later one said.
    unclear: AtomicBool,
}

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

/// How a server answers, for tests of destinations: sees requests with their secrets.
pub type Server = fn(&Captured) -> Reply;

impl Captured {
    /// A request as it leaves.
    pub(super) fn of(request: &Request) -> Self {
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = request.headers.iter();
        Self {
            method: request.method.to_string(),
            url: request.url.to_string(),
            headers: headers.map(|(name, value)| (name.as_str().to_owned(), text(value))).collect(),
            body: request.body.clone(),
        }
    }
}

impl Reply {
    /// `200` with a JSON body.
    pub fn json(body: &serde_json::Value) -> Self {
        Self::status(200, body.to_string())
    }

    /// The same reply with another header.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        if let Self::Answer(response) = &mut self {
            response.headers.insert(name, http::HeaderValue::from_static(value));
        }
        self
    }

    /// A reply without headers.
    pub fn status(status: u16, body: impl Into<Bytes>) -> Self {
        Self::Answer(Response { status, headers: http::HeaderMap::new(), body: body.into() })
    }
}

impl Session {
    /// A session that really sends.
    pub fn live(terms: &Terms, surroundings: Surroundings) -> Result<Self, Fault> {
        let transport = Transport::live(terms.common.timeout).map_err(|failure| match failure {
            Failure::Unsendable(reason) => Fault::Misconfigured { reason },
            other => Fault::Transient { reason: format!("{other:?}") },
        })?;
        Ok(Self::over(Core::new(terms, transport, 0, surroundings)))
    }

    /// Captures up to `limit` requests instead of sending them; each answers [`Fault::Rehearsed`].
    pub fn rehearsal(terms: &Terms, limit: usize) -> Self {
        Self::over(Core::new(terms, Transport::Rehearsal, limit, Surroundings::none()))
    }

    /// Answers from a script and captures everything.
    pub fn scripted(terms: &Terms, replies: Vec<Reply>) -> Self {
        Self::scripted_slowly(terms, replies, Duration::ZERO)
    }

    /// Answers from a script, then as the server does; captures everything.
    pub fn served(terms: &Terms, replies: Vec<Reply>, then: Server) -> Self {
        let replies = std::sync::Mutex::new(replies.into());
        let transport = Transport::Scripted { replies, then, latency: Duration::ZERO };
        Self::over(Core::new(terms, transport, usize::MAX, Surroundings::none()))
    }

    /// Answers as the server does, but for one reply after some of its own.
    #[cfg(test)]
    pub(crate) fn interrupted(terms: &Terms, (well, odd): (usize, Reply), then: Server) -> Self {
        let odd = std::sync::Mutex::new((well, Some(odd)));
        let transport = Transport::Interrupted { odd, then };
        Self::over(Core::new(terms, transport, usize::MAX, Surroundings::none()))
    }

    /// Answers from a script, each time after a while.
    pub(super) fn scripted_slowly(terms: &Terms, replies: Vec<Reply>, latency: Duration) -> Self {
        let replies = std::sync::Mutex::new(replies.into());
        let then: Server = |_| Reply::status(200, Bytes::new());
        let transport = Transport::Scripted { replies, then, latency };
        Self::over(Core::new(terms, transport, usize::MAX, Surroundings::none()))
    }

    fn over(core: Core) -> Self {
        Self { core: Arc::new(core), effect: Arc::default() }
    }

    /// Sends no more per day than this.
    #[must_use]
    pub fn within(self, budget: Option<Arc<Budget>>) -> Self {
        if let Some(budget) = budget {
            self.core.budget(budget);
        }
        self
    }

    /// A handle that remembers for itself whether something may have arrived.
    pub(super) fn fresh(&self) -> Self {
        Self { core: Arc::clone(&self.core), effect: Arc::default() }
    }

    /// Whether anything sent through this handle may have had an effect there.
    pub(super) fn may_have_arrived(&self) -> bool {
        self.effect.any.load(Ordering::Acquire)
    }

    /// Whether some try through this handle had no clear answer, whatever a later one said.
    pub(super) fn is_unclear(&self) -> bool {
        self.effect.unclear.load(Ordering::Acquire)
    }

    /// What was captured so far, redacted.
    pub fn captured(&self) -> Vec<Captured> {
        self.core.captured()
    }

    pub(super) fn captured_count(&self) -> usize {
        self.core.captured_count()
    }

    /// `text` without any of the destination's secrets.
    pub fn redact(&self, text: &str) -> String {
        self.core.redactor.text(text)
    }

    /// Sends one request, waiting for gate and quota, repeating it where that may help and is
    /// harmless. The reply has passed `request.read`.
    pub async fn send(&self, request: Request) -> Result<Response, Fault> {
        if let Some(header) = request.invalid() {
            let reason = format!("the header `{header}` has a name or value that cannot be sent");
            return Err(Fault::Misconfigured { reason });
        }
        self.core.capture(|_| self.core.shown(&request));
        let mut trial = Trial::new(self.core.terms.common.retry, request.repeatable);
        let result = self.core.tried(&request, &mut trial).await;
        if !request.method.is_safe() {
            self.note(result.is_ok(), trial.may_have_arrived());
        }
        result.map_err(|fault| self.core.redactor.fault(trial.given_up(fault)))
    }

    /// Appends to a file (made with its folder when missing) and flushes it to disk: one write, so
    /// that at most the last line is torn. Captured as `APPEND file://…`.
    pub async fn append(&self, path: &Path, bytes: Bytes) -> Result<(), Fault> {
        self.write("APPEND", path, bytes, files::append).await
    }

    /// Replaces a file as a whole: temporary, flush, rename. Captured as `REPLACE file://…`.
    pub async fn replace(&self, path: &Path, bytes: Bytes) -> Result<(), Fault> {
        self.write("REPLACE", path, bytes, files::replace).await
    }

    /// Cuts off a torn last line (one without a newline); a missing file is fine.
    pub async fn trim(&self, path: &Path) -> Result<(), Fault> {
        if !self.core.is_live() {
            return Ok(());
        }
        let trim = |path: &Path, _: &[u8]| files::trim(path).map_err(FileFailure::Untouched);
        self.core.on_file(path, Bytes::new(), trim).await.map_err(|(fault, _)| fault)
    }

    fn note(&self, taken: bool, unclear: bool) {
        self.effect.any.fetch_or(taken || unclear, Ordering::AcqRel);
        self.effect.unclear.fetch_or(unclear, Ordering::AcqRel);
    }

    async fn write(
        &self,
        method: &str,
        path: &Path,
        bytes: Bytes,
        write: fn(&Path, &[u8]) -> Result<(), FileFailure>,
    ) -> Result<(), Fault> {
        self.core.capture(|redactor| Captured {
            method: method.to_owned(),
            url: redactor.text(&file_url(path)),
            headers: Vec::new(),
            body: redactor.bytes(&bytes),
        });
        if !self.core.is_live() {
            return self.core.pretended();
        }
        let result = self.core.on_file(path, bytes, write).await;
        self.note(result.is_ok(), matches!(result, Err((_, true))));
        result.map_err(|(fault, _)| self.core.redactor.fault(fault))
    }
}

impl std::fmt::Debug for Terms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terms")
            .field("kind", &self.spec.kind)
            .field("common", &self.common)
            .finish_non_exhaustive()
    }
}

impl Surroundings {
    /// For sessions that send nothing.
    const fn none() -> Self {
        Self { seed: 0, now: SystemTime::UNIX_EPOCH }
    }

    /// The time of day `later` than these were taken.
    pub(super) fn after(&self, later: Duration) -> SystemTime {
        self.now.checked_add(later).unwrap_or(self.now)
    }
}

fn file_url(path: &Path) -> String {
    url::Url::from_file_path(path)
        .map_or_else(|()| format!("file://{}", path.display()), |url| url.to_string())
}
