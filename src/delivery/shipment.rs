//! A batch on its way, and the stream it belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::batching::{Limits, batch, share};
use crate::destinations::{Batch, Remote};
use crate::message::Message;

/// Lanes that travel together, and where to.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) lanes: Vec<usize>,
    pub(super) remote: Remote,
    halted: AtomicBool,
}

/// A batch that is journaled as attempted.
#[derive(Debug)]
pub(super) struct Shipment {
    pub(super) batch: Batch,
    pub(super) stream: Arc<Stream>,
    pub(super) past: Past,
}

/// What happened to messages before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Past {
    /// Times the destination did not take one of them.
    pub(super) refusals: u32,
    /// When the first of them was first tried.
    pub(super) since: Option<Instant>,
    /// Whether an earlier request may have brought one of them there.
    pub(super) exposed: bool,
}

/// Messages that the destination did not take, waiting to be sent again.
#[derive(Debug, Default)]
pub(super) struct Retained {
    held: Vec<Held>,
    /// When the first of them is due.
    next: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) message: Message,
    pub(super) encoded: Option<Bytes>,
    pub(super) stream: Arc<Stream>,
    pub(super) past: Past,
    pub(super) due: Instant,
}

impl Stream {
    pub(super) fn new(lanes: Vec<usize>, remote: Remote) -> Self {
        Self { lanes, remote, halted: AtomicBool::new(false) }
    }

    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Release);
    }

    pub(super) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::Acquire)
    }
}

impl Past {
    /// The past of a batch that joins what both went through.
    fn joined(self, other: Self) -> Self {
        Self {
            refusals: self.refusals.max(other.refusals),
            since: self.since.into_iter().chain(other.since).min(),
            exposed: self.exposed || other.exposed,
        }
    }
}

impl Shipment {
    /// The two halves of a batch of several messages, as batches of their own.
    pub(super) fn halved(self) -> Vec<Self> {
        let Self { batch: whole, stream, past } = self;
        let (mut messages, encoded) = whole.into_parts();
        let mut encoded = encoded.unwrap_or_default();
        let middle = messages.len() / 2;
        let second = messages.split_off(middle);
        let second_encoded = encoded.split_off(middle.min(encoded.len()));
        [(messages, encoded), (second, second_encoded)]
            .into_iter()
            .filter_map(|(messages, encoded)| batch(messages, encoded))
            .map(|batch| Self { batch, stream: Arc::clone(&stream), past })
            .collect()
    }
}

impl Retained {
    pub(super) fn hold(&mut self, held: Held) {
        self.next = self.next.into_iter().chain([held.due]).min();
        self.held.push(held);
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// When the first message is due.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.next
    }

    fn look_ahead(&mut self) {
        self.next = self.held.iter().map(|held| held.due).min();
    }

    /// One batch of messages that are due, as many as fit.
    pub(super) fn take_due(&mut self, limits: Limits) -> Option<Shipment> {
        let now = Instant::now();
        self.next.filter(|next| *next <= now)?;
        let first = self.held.iter().position(|held| held.due <= now)?;
        let stream = Arc::clone(&self.held[first].stream);
        let (mut rows, mut bytes) = (0, 0);
        let taken: Vec<Held> = self
            .held
            .extract_if(first.., |held| {
                let next = held.encoded.as_ref().map_or(0, share);
                let fits = held.due <= now
                    && Arc::ptr_eq(&held.stream, &stream)
                    && limits.admit(rows, bytes, next);
                rows += usize::from(fits);
                bytes += if fits { next } else { 0 };
                fits
            })
            .collect();
        self.look_ahead();
        let past = taken.iter().map(|held| held.past).reduce(Past::joined)?;
        let (messages, encoded): (Vec<_>, Vec<_>) =
            taken.into_iter().map(|held| (held.message, held.encoded)).unzip();
        let batch = batch(messages, encoded.into_iter().flatten().collect())?;
        Some(Shipment { batch, stream, past })
    }

    /// Everything that waits for a stream that `gone` says is over.
    pub(super) fn take_where(&mut self, gone: impl Fn(&Stream) -> bool) -> Vec<Held> {
        let gone = self.held.extract_if(.., |held| gone(&held.stream)).collect();
        self.look_ahead();
        gone
    }
}

/// The pause the destination asked for, or the one we chose, whichever is longer.
pub(super) fn due(after: Option<Duration>, backoff: Duration) -> Instant {
    Instant::now() + after.unwrap_or_default().min(Duration::from_hours(24 * 365)).max(backoff)
}
