//! Cutting messages into batches that respect the destination's limits in rows and bytes. Runs on a
//! blocking thread, ahead of what is sent and never far ahead of it.

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::merge::Merge;
use crate::destinations::{Batch, Common, Spec, encode};
use crate::message::Message;

/// Encoded messages share buffers of this size.
const BUFFER: usize = 64 << 10;
/// Messages handed over at once.
const CHUNK: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    pub(super) row_bytes: usize,
}

pub(super) enum Prepared {
    Batch(Batch),
    /// Larger than the destination takes: rejected here.
    Refused { message: Box<Message>, reason: String },
    /// The outbox could not be read any further.
    Unreadable { reason: String },
}

/// A batch in the making.
struct Batcher {
    limits: Limits,
    messages: Vec<Message>,
    encoded: Vec<Bytes>,
    bytes: usize,
    buffer: BytesMut,
}

impl Limits {
    pub(super) fn new(spec: &Spec, common: &Common) -> Self {
        let limits = spec.batch;
        let rows = common.batch_size.unwrap_or(limits.rows).min(limits.max_rows).max(1);
        Self { rows, bytes: limits.bytes, row_bytes: limits.row_bytes }
    }

    /// Whether sizes matter; otherwise nothing is encoded before the destination asks.
    const fn are_in_bytes(&self) -> bool {
        self.bytes < usize::MAX || self.row_bytes < usize::MAX
    }

    /// Whether one more message of `next` bytes fits into a batch of `rows` and `bytes`.
    pub(super) const fn admit(&self, rows: usize, bytes: usize, next: usize) -> bool {
        rows == 0 || (rows < self.rows && bytes.saturating_add(next) <= self.bytes)
    }
}

/// What a message adds to a request: itself and a separator.
pub(super) const fn share(encoded: &Bytes) -> usize {
    encoded.len() + 1
}

/// Prepares everything until the outbox ends or nobody listens any more.
pub(super) fn prepare(merge: Merge, limits: Limits, sender: &mpsc::Sender<Vec<Prepared>>) {
    let mut batcher = Batcher::new(limits);
    let mut chunk = Vec::new();
    let mut messages = 0;
    for message in merge {
        messages += 1;
        match message {
            Ok(message) => batcher.add(message, &mut chunk),
            Err(reason) => {
                batcher.finish(&mut chunk);
                chunk.push(Prepared::Unreadable { reason });
            }
        }
        if messages >= CHUNK && !chunk.is_empty() {
            messages = 0;
            if sender.blocking_send(std::mem::take(&mut chunk)).is_err() {
                return;
            }
        }
    }
    batcher.finish(&mut chunk);
    if !chunk.is_empty() {
        // Whoever stopped listening wants nothing more.
        let _ = sender.blocking_send(chunk);
    }
}

impl Batcher {
    fn new(limits: Limits) -> Self {
        let (messages, encoded) = (Vec::new(), Vec::new());
        Self { limits, messages, encoded, bytes: 0, buffer: BytesMut::new() }
    }

    fn add(&mut self, message: Message, chunk: &mut Vec<Prepared>) {
        if !self.limits.are_in_bytes() {
            return self.put(message, None, chunk);
        }
        if self.buffer.capacity() < BUFFER / 64 {
            self.buffer.reserve(BUFFER);
        }
        match encode(&message, &mut self.buffer).and_then(|bytes| self.small_enough(bytes)) {
            Ok(bytes) => self.put(message, Some(bytes), chunk),
            Err(reason) => chunk.push(Prepared::Refused { message: Box::new(message), reason }),
        }
    }

    fn small_enough(&self, encoded: Bytes) -> Result<Bytes, String> {
        let most = self.limits.row_bytes.min(self.limits.bytes);
        if encoded.len() <= most {
            return Ok(encoded);
        }
        let size = encoded.len();
        Err(format!("the message has {size} bytes; the destination takes at most {most}"))
    }

    fn put(&mut self, message: Message, encoded: Option<Bytes>, chunk: &mut Vec<Prepared>) {
        let next = encoded.as_ref().map_or(0, share);
        if !self.limits.admit(self.messages.len(), self.bytes, next) {
            self.finish(chunk);
        }
        self.messages.push(message);
        self.encoded.extend(encoded);
        self.bytes += next;
        if self.messages.len() == self.limits.rows {
            self.finish(chunk);
        }
    }

    fn finish(&mut self, chunk: &mut Vec<Prepared>) {
        let messages = std::mem::take(&mut self.messages);
        let encoded = std::mem::take(&mut self.encoded);
        self.bytes = 0;
        chunk.extend(batch(messages, encoded).map(Prepared::Batch));
    }
}

/// A batch of messages that were encoded all or not at all.
pub(super) fn batch(messages: Vec<Message>, encoded: Vec<Bytes>) -> Option<Batch> {
    if messages.len() == encoded.len() {
        Batch::with_encoded(messages, encoded)
    } else {
        Batch::new(messages)
    }
}
