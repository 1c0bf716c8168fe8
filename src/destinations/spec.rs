//! What a destination is, as data: everything that planning, batching, limiting and the
//! documentation need to know without speaking to it.

use std::time::Duration;

use crate::message::Message;
use crate::record::{Call, Value};

/// One entry of the catalogue.
#[derive(Debug)]
pub struct Spec {
    /// The word after `type =`.
    pub kind: &'static str,
    pub title: &'static str,
    /// One sentence: what it sends where.
    pub summary: &'static str,
    pub mode: Mode,
    /// The calls it takes; the first one is the default for user-level models. Account-level models
    /// default to `group` where it is taken.
    pub calls: &'static [Call],
    pub grain: Grain,
    /// What identifies a person there, in words.
    pub identifiers: &'static str,
    /// For lists: the fields by which the platform matches, in its own normalisation.
    pub match_fields: &'static [MatchField],
    /// Profile columns without which a record is invalid; they travel with every message.
    pub required: &'static [&'static str],
    /// Profile columns that travel with every message where the project has them.
    pub profile: &'static [&'static str],
    /// Default quotas; the first one in requests per second can be overridden by `rate_limit`.
    pub quotas: &'static [Quota],
    /// Quotas of single endpoints beside these, by the name that requests give.
    pub endpoints: &'static [(&'static str, Quota)],
    pub batch: BatchLimits,
    /// Requests in flight at most, unless `concurrency` says otherwise.
    pub concurrency: usize,
    pub idempotency: Idempotency,
    /// Least time between two syncs, unless `every` says otherwise.
    pub min_interval: Duration,
    /// `false`: takes no history, the first run is always a baseline.
    pub history: bool,
    /// Whether changes of several syncs that concern one record may travel as one message.
    pub coalesce: bool,
    pub maturity: Maturity,
    /// A working `[destinations.NAME]` section, tested.
    pub example: &'static str,
    /// What is uncertain or worth knowing, one sentence each.
    pub notes: &'static [&'static str],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Takes identify, track or group messages.
    Event,
    /// Holds a set of members.
    List,
}

/// The thing the destination itself tells apart (DESIGN §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grain {
    /// Raw messages: one record per subject and email.
    Raw,
    /// One record per subject; the preferred email is an attribute.
    Subject,
    /// One record per normalised email.
    Email,
    /// One record per distinct set of match fields.
    List,
}

/// One field by which a list matches people.
#[derive(Debug, Clone, Copy)]
pub struct MatchField {
    /// Identifier type (`email`, `phone`, …) or profile column it is taken from.
    pub source: &'static str,
    /// `None`: the value cannot be normalised and is dropped. Normalising twice changes nothing.
    pub normalise: fn(&str) -> Option<String>,
}

/// At most `limit` requests in any window of this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub limit: u32,
    pub per: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// Messages per request unless `batch_size` says otherwise.
    pub rows: usize,
    /// The most that `batch_size` may say.
    pub max_rows: usize,
    /// Bytes of encoded messages per request.
    pub bytes: usize,
    /// Bytes of one encoded message; a larger one is rejected here with that reason.
    pub row_bytes: usize,
}

/// What makes a repeated request harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// The destination de-duplicates by `messageId`, or promises nothing and we are at-least-once.
    MessageId,
    /// Repeating has no further effect (set membership, upserts).
    Natural,
    /// Repeating may do it twice: a lost reply leaves the rows unsettled.
    None,
}

/// How far an implementation has been proven. Nothing is *stable* before somebody ran it against
/// the live service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maturity {
    /// Conformance passes.
    Alpha,
    /// Requests and replies checked against the vendor's published schema or documents, partial
    /// failure and throttling covered.
    Beta,
}

impl MatchField {
    /// What one member is matched by in this field, normalised.
    pub fn of(&self, member: &Message) -> Option<String> {
        let identifier = match self.source {
            "email" => member.email(),
            source => member.identifiers().find(|(kind, _)| *kind == source).map(|(_, id)| id),
        };
        if let Some(value) = identifier {
            return (self.normalise)(value);
        }
        member.profile().find(|(name, _)| *name == self.source).and_then(|(_, value)| match value {
            Value::Text(text) => (self.normalise)(text),
            _ => None,
        })
    }
}

impl Quota {
    pub const fn per_second(limit: u32) -> Self {
        Self { limit, per: Duration::from_secs(1) }
    }
}

impl Maturity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alpha => "alpha",
            Self::Beta => "beta",
        }
    }
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::List => "list",
        }
    }
}

impl Spec {
    /// What most event destinations have in common, to be overwritten: `Spec { kind: …, ..Spec::EVENT }`.
    pub const EVENT: Self = Self {
        kind: "",
        title: "",
        summary: "",
        mode: Mode::Event,
        calls: &[Call::Identify],
        grain: Grain::Subject,
        identifiers: "",
        match_fields: &[],
        required: &[],
        profile: &[],
        quotas: &[],
        endpoints: &[],
        batch: BatchLimits { rows: 1, max_rows: 1, bytes: usize::MAX, row_bytes: usize::MAX },
        concurrency: 16,
        idempotency: Idempotency::Natural,
        min_interval: Duration::ZERO,
        history: true,
        coalesce: true,
        maturity: Maturity::Alpha,
        example: "",
        notes: &[],
    };

    /// What most list destinations have in common: members matched by their email.
    pub const LIST: Self = Self {
        mode: Mode::List,
        calls: &[Call::List],
        grain: Grain::List,
        min_interval: Duration::from_hours(1),
        coalesce: false,
        ..Self::EVENT
    };

    pub fn takes(&self, call: Call) -> bool {
        self.calls.contains(&call)
    }
}
