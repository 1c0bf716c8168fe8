//! Canonical messages: those of the Segment specification (DESIGN §2), written straight from the
//! columns they lie in (`message/canonical.rs`).
//!
//! A message is one record's changes on their way out: usually one row of one sync, several when
//! changes of several syncs to one destination travel together.

mod canonical;

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::digest::digits;
use crate::engine::{Block, Shape};
use crate::project::ModelKind;
use crate::record::{Call, Change, Level, Value};

/// One row inside a block.
#[derive(Debug, Clone)]
pub struct Part {
    block: Arc<Block>,
    row: u32,
}

/// One message. Never empty.
#[derive(Debug, Clone)]
pub struct Message {
    first: Part,
    /// Further rows of the same record, from other syncs.
    more: Vec<Part>,
}

/// The deterministic id of a transition, in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MessageId([u8; 16]);

impl Part {
    pub fn new(block: Arc<Block>, row: u32) -> Self {
        Self { block, row }
    }

    pub fn shape(&self) -> &Shape {
        self.block.shape()
    }

    pub fn change(&self) -> Change {
        self.block.change(self.row())
    }

    pub fn key(&self) -> &str {
        self.block.key(self.row())
    }

    /// Row number in the sync's outbox.
    pub fn row_number(&self) -> u64 {
        self.block.row_number(self.row())
    }

    /// Every column that travels with this row: the name it travels under, and its value.
    pub fn sent(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let row = self.row();
        self.sent_columns().map(move |column| {
            (self.shape().columns[column].1.as_str(), self.block.value(row, column))
        })
    }

    /// Positions of the columns that travel with this row.
    fn sent_columns(&self) -> impl Iterator<Item = usize> {
        let row = self.row();
        (0..self.shape().columns.len()).filter(move |column| self.block.is_sent(row, *column))
    }

    /// Traits as `identify` and `group` carry them: computed values, or the audience's boolean.
    fn traits(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let shape = self.shape();
        let member = (shape.kind == ModelKind::Audience)
            .then(|| (shape.model_key.as_str(), Value::Bool(self.change() != Change::Exited)));
        let values = (shape.kind == ModelKind::Trait).then(|| self.sent());
        member.into_iter().chain(values.into_iter().flatten())
    }

    fn row(&self) -> usize {
        self.row as usize
    }
}

impl Message {
    pub fn new(first: Part) -> Self {
        Self { first, more: Vec::new() }
    }

    /// Lets another sync's row of the same record travel with this message.
    pub fn join(&mut self, part: Part) {
        self.more.push(part);
    }

    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        std::iter::once(&self.first).chain(&self.more)
    }

    pub fn call(&self) -> Call {
        self.first.shape().call
    }

    pub fn level(&self) -> Level {
        self.first.shape().level
    }

    /// The change of the first row; for lists and track messages there is only one.
    pub fn change(&self) -> Change {
        self.first.change()
    }

    /// `false` when the record leaves.
    pub fn is_member(&self) -> bool {
        self.change() != Change::Exited
    }

    /// Whether all that it says is that the record leaves.
    pub fn only_leaves(&self) -> bool {
        self.parts().all(|part| part.change() == Change::Exited)
    }

    pub fn key(&self) -> &str {
        self.first.key()
    }

    /// The user or account id.
    pub fn subject(&self) -> &str {
        self.first.block.subject(self.first.row())
    }

    pub fn email(&self) -> Option<&str> {
        let lead = self.lead();
        lead.block.email(lead.row())
    }

    /// Identifiers other than the email.
    pub fn identifiers(&self) -> impl Iterator<Item = (&str, &str)> {
        let lead = self.lead();
        lead.block.identifiers(lead.row())
    }

    /// Profile columns that enrich this message.
    pub fn profile(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        let lead = self.lead();
        lead.block.profile(lead.row())
    }

    /// The row that knows who the record is now: one that leaves only remembers what was sent.
    fn lead(&self) -> &Part {
        let stays = |part: &&Part| part.change() != Change::Exited;
        self.parts().find(stays).unwrap_or(&self.first)
    }

    /// RFC 3339 time of the run that computed the change.
    pub fn timestamp(&self) -> &str {
        &self.first.shape().timestamp
    }

    /// Identical on every retry of the same transition, different for the next one.
    pub fn id(&self) -> MessageId {
        let mut id = [0; 16];
        if self.more.is_empty() {
            id.copy_from_slice(self.first.block.message_id(self.first.row()));
            return MessageId(id);
        }
        let mut hash = Sha256::new();
        for part in self.parts() {
            hash.update(part.block.message_id(part.row()));
        }
        id.copy_from_slice(&hash.finalize()[..16]);
        MessageId(id)
    }

    /// Traits as `identify` and `group` carry them, of all rows, without the email.
    pub fn traits(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.parts().flat_map(Part::traits)
    }

    /// The event name of a `track` message.
    pub fn event(&self) -> &str {
        self.first.shape().event(self.is_member())
    }

    /// What a destination of events is told: one event per changed trait, or the one of the audience.
    pub fn events(&self) -> Vec<Event<'_>> {
        let shape = self.first.shape();
        let name = self.event();
        match shape.kind {
            ModelKind::Audience => {
                vec![Event { name, id: self.id(), properties: self.properties() }]
            }
            ModelKind::Trait => self
                .first
                .sent()
                .enumerate()
                .map(|(position, (key, value))| Event {
                    name,
                    id: self.id().nth(position),
                    properties: vec![("trait_key", Value::Text(key)), (key, value)],
                })
                .collect(),
        }
    }

    /// The properties of a `track` message.
    pub fn properties(&self) -> Vec<(&str, Value<'_>)> {
        let shape = self.first.shape();
        match shape.kind {
            ModelKind::Trait => {
                let key =
                    self.first.sent().next().map(|(name, _)| ("trait_key", Value::Text(name)));
                key.into_iter().chain(self.first.sent()).collect()
            }
            ModelKind::Audience => {
                let key = shape.model_key.as_str();
                let extra =
                    self.first.sent().filter(|(name, _)| *name != key && *name != "audience_key");
                [("audience_key", Value::Text(key)), (key, Value::Bool(self.is_member()))]
                    .into_iter()
                    .chain(extra)
                    .collect()
            }
        }
    }
}

/// One event of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Event<'a> {
    pub name: &'a str,
    pub id: MessageId,
    pub properties: Vec<(&'a str, Value<'a>)>,
}

impl MessageId {
    /// The id as text.
    pub fn digits(self) -> [u8; 32] {
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = digits(byte);
        }
        text
    }

    /// The id of one of several things that a message becomes: the first keeps that of the message.
    #[must_use]
    pub fn nth(self, position: usize) -> Self {
        if position == 0 {
            return self;
        }
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update((position as u64).to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }

    /// In the form of a UUID, for destinations that insist on one.
    pub fn uuid(self) -> String {
        let text = self.to_string();
        let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
        parts.join("-")
    }

    /// In the form of a ULID: 26 digits in Crockford's base 32.
    pub fn ulid(self) -> String {
        let number = u128::from_be_bytes(self.0);
        let digit = |place: u32| CROCKFORD[((number >> (5 * place)) & 31) as usize];
        (0..26).rev().map(|place| char::from(digit(place))).collect()
    }
}

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).map_err(|_| fmt::Error)?)
    }
}
