//! A batch, and the receipt that says what became of every message in it.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::Fault;
use crate::message::Message;

/// Messages that travel in one request. Never empty; all of one call.
#[derive(Debug)]
pub struct Batch {
    messages: Vec<Message>,
    /// Canonical JSON of each message, made when it is first asked for.
    encoded: OnceLock<Result<Vec<Bytes>, String>>,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination says it has it.
    Delivered,
    /// The destination refused it; kept with the reason.
    Rejected { reason: String },
    /// The destination did not take it this time: sent again in this run, later pending.
    Retry { after: Option<Duration>, reason: String },
    /// The destination may or may not have it.
    Unsettled { reason: String },
}

/// One outcome per message of a batch. Made from its batch, or from the number of messages in a job's
/// batch, so that none is forgotten.
#[derive(Debug)]
pub struct Receipt {
    outcomes: Vec<Outcome>,
    notices: Vec<Notice>,
}

/// What a destination says of a number of messages without saying which: they count as delivered,
/// since they must be taken back later, and the user is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub count: u64,
    pub reason: String,
}

impl Batch {
    /// `None` when there is nothing to send.
    pub fn new(messages: Vec<Message>) -> Option<Self> {
        (!messages.is_empty()).then(|| Self { messages, encoded: OnceLock::new() })
    }

    /// A batch whose messages were encoded to know how large they are; one encoding per message.
    /// `None` when there is nothing to send.
    pub(crate) fn with_encoded(messages: Vec<Message>, encoded: Vec<Bytes>) -> Option<Self> {
        debug_assert_eq!(messages.len(), encoded.len());
        (!messages.is_empty()).then(|| Self { messages, encoded: OnceLock::from(Ok(encoded)) })
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The canonical JSON of every message, in their order; shared, so that cloning copies nothing.
    pub fn encoded(&self) -> Result<&[Bytes], Fault> {
        let all = || {
            let mut buffer = BytesMut::with_capacity(512 * self.messages.len());
            self.messages.iter().map(|message| encode(message, &mut buffer)).collect()
        };
        match self.encoded.get_or_init(all) {
            Ok(encoded) => Ok(encoded),
            Err(reason) => Err(Fault::Rejected { reason: reason.clone() }),
        }
    }

    /// Number of messages; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn into_messages(self) -> Vec<Message> {
        self.messages
    }

    /// The messages, and their encodings where they were made.
    pub(crate) fn into_parts(self) -> (Vec<Message>, Option<Vec<Bytes>>) {
        (self.messages, self.encoded.into_inner().and_then(Result::ok))
    }

    /// A receipt that starts from the same outcome for every message.
    pub fn receipt(&self, outcome: &Outcome) -> Receipt {
        Receipt::of(self.messages.len(), outcome)
    }

    /// A receipt in which the reply said that every message arrived.
    pub fn delivered(&self) -> Receipt {
        self.receipt(&Outcome::Delivered)
    }
}

/// The canonical JSON of one message, cut from a buffer that many messages share.
pub(crate) fn encode(message: &Message, buffer: &mut BytesMut) -> Result<Bytes, String> {
    match message.write(buffer) {
        Ok(()) => Ok(buffer.split().freeze()),
        Err(error) => {
            buffer.clear();
            Err(format!("the message cannot be encoded: {error}"))
        }
    }
}

impl Receipt {
    /// A receipt for the batch of a job, of which only the number of messages is known any more.
    pub fn of(rows: usize, outcome: &Outcome) -> Self {
        Self { outcomes: vec![outcome.clone(); rows], notices: Vec::new() }
    }

    /// Says what became of the message at `position`; `false` when there is no such message, which
    /// means that the reply cannot be read as one to this batch.
    #[must_use]
    pub fn set(&mut self, position: usize, outcome: Outcome) -> bool {
        match self.outcomes.get_mut(position) {
            Some(slot) => {
                *slot = outcome;
                true
            }
            None => false,
        }
    }

    /// Says of `count` messages, nobody knows which, what the destination says of them.
    pub fn notice(&mut self, count: u64, reason: impl Into<String>) {
        self.notices.push(Notice { count, reason: reason.into() });
    }

    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    pub fn into_outcomes(self) -> Vec<Outcome> {
        self.outcomes
    }
}
