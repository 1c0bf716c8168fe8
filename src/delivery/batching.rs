//! Cutting messages into batches that respect the destination's limits in rows and bytes. Runs on
//! blocking threads, one chunk ahead of what is taken and never further.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tokio::task::JoinHandle;

use super::merge::Merge;
use crate::destinations::{Batch, Common, Spec, encode};
use crate::message::Message;

/// Encoded messages share buffers of this size.
const BUFFER: usize = 64 << 10;
/// Messages read at once where each travels alone.
const CHUNK: usize = 256;
/// Batches read at once, as far as they hold fewer messages than `LARGEST_CHUNK`: they are journaled
/// together, and a flush to disk takes as long for one as for many.
const BATCHES: usize = 32;
const LARGEST_CHUNK: usize = 8192;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) bytes: usize,
    pub(super) row_bytes: usize,
}

pub(super) enum Prepared {
    Batch(Batch),
    /// Larger than the destination takes: rejected here.
    Refused {
        message: Box<Message>,
        reason: String,
    },
    /// The outbox could not be read any further.
    Unreadable {
        reason: String,
    },
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

    /// Messages to read at once.
    fn chunk(&self) -> usize {
        self.rows.saturating_mul(BATCHES).clamp(CHUNK, LARGEST_CHUNK)
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

/// Reads and batches, a chunk at a time: blocking work that never waits for anybody, so that no
/// thread is held while the destination is slow.
pub(super) struct Preparation {
    merge: Merge,
    batcher: Batcher,
    ended: bool,
}

/// Prepared batches in their order, read one chunk ahead.
pub(super) struct Queue {
    waiting: VecDeque<Prepared>,
    reading: Option<JoinHandle<(Option<Preparation>, Vec<Prepared>)>>,
}

impl Preparation {
    pub(super) fn new(merge: Merge, limits: Limits) -> Self {
        Self { merge, batcher: Batcher::new(limits), ended: false }
    }

    /// The next chunk, and what is left after it.
    fn chunk(mut self) -> (Option<Self>, Vec<Prepared>) {
        let mut chunk = Vec::new();
        let mut messages = 0;
        let enough = self.batcher.limits.chunk();
        while !self.ended && (messages < enough || chunk.is_empty()) {
            messages += 1;
            match self.merge.next() {
                Some(Ok(message)) => self.batcher.add(message, &mut chunk),
                Some(Err(reason)) => {
                    self.batcher.finish(&mut chunk);
                    chunk.push(Prepared::Unreadable { reason });
                }
                None => {
                    self.batcher.finish(&mut chunk);
                    self.ended = true;
                }
            }
        }
        ((!self.ended).then_some(self), chunk)
    }
}

impl Queue {
    pub(super) fn new(preparation: Preparation) -> Self {
        let reading = Some(tokio::task::spawn_blocking(|| preparation.chunk()));
        Self { waiting: VecDeque::new(), reading }
    }

    /// What is there, at most `most`; waits when nothing is, and is empty only at the end.
    pub(super) async fn take(&mut self, most: usize) -> Vec<Prepared> {
        while self.waiting.is_empty() && self.reading.is_some() {
            self.read().await;
        }
        while self.waiting.len() < most
            && self.reading.as_ref().is_some_and(JoinHandle::is_finished)
        {
            self.read().await;
        }
        let most = most.min(self.waiting.len());
        self.waiting.drain(..most).collect()
    }

    /// Takes over the chunk that is being read and begins the next one.
    async fn read(&mut self) {
        let Some(reading) = &mut self.reading else { return };
        let read = reading.await;
        self.reading = None;
        let Ok((rest, chunk)) = read else {
            let reason = "reading the outbox failed".into();
            return self.waiting.push_back(Prepared::Unreadable { reason });
        };
        self.waiting.extend(chunk);
        self.reading = rest.map(|rest| tokio::task::spawn_blocking(|| rest.chunk()));
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
        let (messages, encoded) = (taken(&mut self.messages), taken(&mut self.encoded));
        self.bytes = 0;
        chunk.extend(batch(messages, encoded).map(Prepared::Batch));
    }
}

/// Everything in a list, which has room for as much again: the next batch will be about as long.
fn taken<T>(list: &mut Vec<T>) -> Vec<T> {
    let next = Vec::with_capacity(list.len());
    std::mem::replace(list, next)
}

/// A batch of messages that were encoded all or not at all.
pub(super) fn batch(messages: Vec<Message>, encoded: Vec<Bytes>) -> Option<Batch> {
    if messages.len() == encoded.len() {
        Batch::with_encoded(messages, encoded)
    } else {
        Batch::new(messages)
    }
}
