//! What a destination is, as data: everything that planning, batching, limiting and the
//! documentation need to know without speaking to it.

use std::time::Duration;

use crate::message::Message;
use crate::record::Call;

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
    /// How much the destination says of what became of single rows.
    pub receipts: Receipts,
    /// For lists: after how long the platform forgets a member; half of it later at most, members are
    /// added again.
    pub forgets: Option<Duration>,
    /// For lists: the fewest members with which the platform uses a list.
    pub min_members: Option<u64>,
    /// For lists: whether a whole list can be replaced (`--replace`).
    pub replaces: bool,
    /// Profile columns without which a record is invalid; they travel with every message.
    pub required: &'static [&'static str],
    /// Profile columns that travel with every message where the project has them.
    pub profile: &'static [&'static str],
    /// Default quotas; the first one in requests per second can be overridden by `rate_limit`.
    pub quotas: &'static [Quota],
    /// Requests in any 24 hours, counted across runs, unless `daily_limit` says otherwise.
    pub daily: Option<u64>,
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

/// One field by which a list matches people, each of which finds somebody on its own.
#[derive(Debug, Clone, Copy)]
pub struct MatchField {
    /// Identifier type (`email`, `phone`, …) or profile column it is taken from.
    pub source: &'static str,
    pub normalise: Normalise,
}

/// What a platform makes of a value before it compares, given the country of the profile (an ISO code,
/// as written there), or why the value cannot be used, in a few words that do not hold it.
pub type Normalise = fn(&str, Option<&str>) -> Result<String, &'static str>;

/// How much a destination says of single rows. What it only counts is shown as counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipts {
    /// Which rows it refused, and why.
    PerRow,
    /// How many rows it could not use.
    Counts,
    /// That it took the request.
    Opaque,
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
    /// What one member is matched by in this field, normalised when the record was made. A member who
    /// leaves has only those fields that no other member still has.
    pub fn of<'m>(&self, member: &'m Message) -> Option<&'m str> {
        match self.source {
            "email" => member.email(),
            source => member.identifiers().find(|(kind, _)| *kind == source).map(|(_, id)| id),
        }
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

impl Receipts {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PerRow => "per row",
            Self::Counts => "counts only",
            Self::Opaque => "none",
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
        receipts: Receipts::PerRow,
        forgets: None,
        min_members: None,
        replaces: false,
        required: &[],
        profile: &[],
        quotas: &[],
        daily: None,
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
