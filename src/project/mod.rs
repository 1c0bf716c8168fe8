//! What the user wrote: `muster.toml` and the SQL files, typed and validated, with every problem
//! found at once. Reads text files only; never opens a table, never reads the clock, takes the
//! environment as a function.

mod comment;
mod config;
mod destination;
mod header;
mod load;
mod location;
mod models;
mod placeholder;
mod section;
mod sync;
mod text;

pub mod quantity;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use crate::finding::{Finding, Source};
use crate::record::Call;

pub use load::load;

/// A project as read from disk. Errors do not prevent it from existing: `findings` says what is
/// wrong, and the caller decides what it cannot do without.
#[derive(Debug)]
pub struct Project {
    /// Folder of `muster.toml`; every relative path below is resolved against it.
    pub root: PathBuf,
    pub name: String,
    /// Absolute; `None` when the project names no data folder.
    pub data: Option<PathBuf>,
    /// Absolute.
    pub state: PathBuf,
    /// Bytes `DataFusion` may hold before it spills; `None`: half of the machine's memory.
    pub memory_limit: Option<u64>,
    /// `[tables]`, by name.
    pub tables: BTreeMap<String, TableConfig>,
    pub users: Subjects,
    pub accounts: Subjects,
    pub identifiers: Option<Query>,
    pub profiles: Option<Query>,
    pub suppress: Option<Query>,
    /// `[accounts] members`.
    pub members: Option<Query>,
    pub destinations: BTreeMap<String, DestinationConfig>,
    /// Sorted by key.
    pub models: Vec<Model>,
    /// The text of `muster.toml`.
    pub source: Source,
    pub findings: Vec<Finding>,
}

/// `[users]` or `[accounts]`: what its key column is called.
#[derive(Debug, Clone)]
pub struct Subjects {
    pub key: String,
}

/// `[tables] name = { path, format, partitions }`.
#[derive(Debug, Clone)]
pub struct TableConfig {
    /// Absolute.
    pub path: PathBuf,
    pub format: Option<TableFormat>,
    pub partitions: Vec<String>,
    pub span: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    Parquet,
    Csv,
    Ndjson,
    Arrow,
}

/// One SQL file as text; the engine parses it.
#[derive(Debug, Clone)]
pub struct Query {
    pub source: Source,
}

/// One SQL file with a `[trait]` or `[audience]` header.
#[derive(Debug, Clone)]
pub struct Model {
    pub kind: ModelKind,
    /// `snake_case(name)`.
    pub key: String,
    pub name: String,
    pub description: Option<String>,
    pub syncs: Vec<SyncEntry>,
    pub query: Query,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelKind {
    Trait,
    Audience,
}

/// One entry of a model's `sync` list, with the defaults of DESIGN §1 filled in.
#[derive(Debug, Clone)]
pub struct SyncEntry {
    /// Name of a configured destination; not yet known to exist.
    pub to: String,
    /// `as`; `None`: what the destination is for.
    pub call: Option<Call>,
    /// Event name of computed traits; default `Trait Computed`.
    pub event: String,
    /// `false`: the first run records a baseline and sends nothing.
    pub history: bool,
    pub emails: Emails,
    pub resync_on_new_identifier: bool,
    pub on_missing: OnMissing,
    /// Minimum time between syncs; overrides the destination's.
    pub every: Option<Duration>,
    /// Name or id of the remote list.
    pub list: Option<String>,
    /// Column → destination field.
    pub fields: BTreeMap<String, String>,
    pub guard: Guard,
    /// Where the entry stands in the model's file.
    pub span: Range<usize>,
}

/// Which of a profile's emails are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Emails {
    #[default]
    All,
    First,
    Last,
}

/// What becomes of a trait whose user is no longer returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    #[default]
    Null,
    Keep,
}

/// What stops a sync before it sends anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guard {
    /// Most records that may leave in one run. Default: 50 %.
    pub max_exit: Bound,
    /// Most records that may enter, leave or change in one run. Default: none.
    pub max_change: Option<Bound>,
    /// `max_exit` as a share does not apply to fewer delivered records than this. Default: 1,000.
    pub min_size: u64,
}

/// `"5%"` of what was delivered, or a number of records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    Share(f64),
    Records(u64),
}

impl Default for Guard {
    fn default() -> Self {
        Self { max_exit: Bound::Share(0.5), max_change: None, min_size: 1000 }
    }
}

/// `[destinations.NAME]`: its type, and the rest as TOML for the catalogue to read.
///
/// `${NAME}` is already replaced from the environment; what came from there is in `secrets`.
pub struct DestinationConfig {
    pub name: String,
    /// The `type` word; not yet known to be in the catalogue.
    pub kind: String,
    /// All keys but `type`, values with secrets filled in.
    pub options: toml::Table,
    /// Byte range of each top-level key's value in `muster.toml`, for findings.
    pub spans: BTreeMap<String, Range<usize>>,
    /// Byte range of the `[destinations.NAME]` header or of the `type` value.
    pub span: Range<usize>,
    /// Folder of `muster.toml`, for options that name a path.
    pub root: PathBuf,
    /// Every value that came from the environment; never shown, redacted wherever it turns up.
    pub secrets: BTreeSet<String>,
}

impl fmt::Debug for DestinationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationConfig")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Project {
    pub fn model(&self, key: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.key == key)
    }

    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }
}

impl ModelKind {
    /// The schema under which models of this kind can be selected from.
    pub const fn schema(self) -> &'static str {
        match self {
            Self::Trait => "traits",
            Self::Audience => "audiences",
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trait => "trait",
            Self::Audience => "audience",
        }
    }
}
