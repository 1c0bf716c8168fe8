//! The streaming merge of sorted outboxes: rows of several syncs that concern the same record become
//! one message. Holds one block per sync, whatever the number of changes. Reading may block.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::Arc;

use super::Blocks;
use crate::engine::Block;
use crate::message::{Message, Part};

/// Messages of one or several lanes in record-key order.
pub(super) struct Merge {
    heads: BinaryHeap<Reverse<Head>>,
    /// Blocks still to come, by lane.
    sources: Vec<Option<Blocks>>,
    /// The outbox could not be read: the merge ends after saying so.
    failure: Option<String>,
}

/// The next row of one lane.
struct Head {
    block: Arc<Block>,
    row: usize,
    lane: usize,
}

impl Merge {
    pub(super) fn new(blocks: Vec<Blocks>) -> Self {
        let lanes = blocks.len();
        let sources = blocks.into_iter().map(Some).collect();
        let mut merge = Self { heads: BinaryHeap::new(), sources, failure: None };
        for lane in 0..lanes {
            let head = merge.next_block(lane).map(|block| Head { block, row: 0, lane });
            merge.heads.extend(head.map(Reverse));
        }
        merge
    }

    /// The next block of a lane that has rows to send, its first rows possibly not among them.
    fn next_block(&mut self, lane: usize) -> Option<Arc<Block>> {
        loop {
            match self.sources[lane].as_mut()?.next() {
                Some(Ok(block)) if block.is_empty() => {}
                Some(Ok(block)) => return Some(Arc::new(block)),
                Some(Err(error)) => {
                    self.failure.get_or_insert_with(|| error.to_string());
                    self.sources[lane] = None;
                }
                None => self.sources[lane] = None,
            }
        }
    }

    /// Takes the first row off, whether it is to be sent or not, and says of which lane it was.
    fn take(&mut self) -> Option<(Part, usize)> {
        let mut head = self.heads.peek_mut()?;
        let Reverse(Head { block, row, lane }) = &mut *head;
        let lane = *lane;
        let index = u32::try_from(*row).unwrap_or(u32::MAX);
        if *row + 1 < block.len() {
            let part = Part::new(Arc::clone(block), index);
            *row += 1;
            return Some((part, lane));
        }
        let Reverse(Head { block, .. }) = PeekMut::pop(head);
        if let Some(next) = self.next_block(lane) {
            self.heads.push(Reverse(Head { block: next, row: 0, lane }));
        }
        Some((Part::new(block, index), lane))
    }

    /// Whether the next row concerns the record of `message` and comes from a lane after `last`.
    fn continues(&self, message: &Message, last: usize) -> bool {
        self.heads
            .peek()
            .is_some_and(|Reverse(head)| head.lane > last && head.key() == message.key())
    }
}

impl Iterator for Merge {
    type Item = Result<Message, String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(reason) = self.failure.take() {
                self.heads.clear();
                return Some(Err(reason));
            }
            let (part, mut last) = self.take()?;
            if !part.change().is_sent() {
                continue;
            }
            let mut message = Message::new(part);
            while self.continues(&message, last) {
                let Some((part, lane)) = self.take() else { break };
                last = lane;
                if part.change().is_sent() {
                    message.join(part);
                }
            }
            return Some(Ok(message));
        }
    }
}

impl Head {
    fn key(&self) -> &str {
        self.block.key(self.row)
    }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(other.key()).then(self.lane.cmp(&other.lane))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Head {}
