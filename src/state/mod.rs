//! What survives a run: what was delivered, the lock, the records of past runs. Changes only in
//! commit; readable by any other tool (Parquet and JSON).
//!
//! ```text
//! .muster/lock
//!        /runs/<run>.json
//!        /budgets/<destination>.json                     requests by the hour, for limits per day
//!        /syncs/<model>.<destination>/manifest.json      which files count, and how far they are folded
//!                                    /delivered.parquet  base, sorted by record key
//!                                    /delta-<run>.parquet  what changed since, likewise
//!                                    /remote.json        id of the remote list
//!                                    /runs/<run>/changes.parquet, journal-*.jsonl
//! ```
//!
//! Files are immutable once named, but for four that are replaced as a whole: the manifest, the base,
//! budgets and `remote.json`. That is all an object store has to offer.

mod budget;
mod lock;
mod manifest;
mod runs;
mod store;
mod sync;

pub use budget::{book, booked};
pub use lock::{Holder, Lock};
pub use manifest::{Manifest, Quiet};
pub use runs::{RunId, RunRecord, SyncRecord};
pub use store::Store;
pub use sync::{Settled, SyncState};

use std::path::PathBuf;

use thiserror::Error;

use crate::engine::EngineError;
use crate::finding::Finding;
use crate::outbox::JournalError;

pub type Result<T> = std::result::Result<T, StateError>;

#[derive(Debug, Error)]
pub enum StateError {
    #[error("the project is locked by {holder}")]
    Locked { holder: String, path: PathBuf },
    #[error("could not write `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("could not read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the state of `{sync}` is damaged: `{path}` {why}")]
    Damaged { sync: String, path: PathBuf, why: String },
    #[error("the state of `{sync}` was written by a newer version of muster (format {format})")]
    Newer { sync: String, format: u32 },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl StateError {
    /// The error as something to show.
    pub fn finding(&self) -> Finding {
        let reason = |source: &std::io::Error| source.to_string();
        match self {
            Self::Locked { path, .. } => Finding::error("K01", self.to_string())
                .note(format!("the lock is `{}`", path.display()))
                .hint("wait until it is done; the lock goes away with the process that holds it"),
            Self::Write { source, .. } => Finding::error("K02", self.to_string())
                .note(reason(source))
                .hint("check the disk's free space and the permissions of the `state` folder"),
            Self::Read { source, .. } => Finding::error("K03", self.to_string())
                .note(reason(source))
                .hint("check the permissions of the `state` folder and what lies in it"),
            Self::Damaged { sync, .. } => Finding::error("K04", self.to_string()).hint(format!(
                "restore it from a backup; or `muster reset {sync} --baseline` records the present as \
                 delivered, `muster reset {sync}` sends everything again"
            )),
            Self::Newer { .. } => {
                Finding::error("K05", self.to_string()).hint("update muster on this machine")
            }
            Self::Journal(error) => {
                let source = std::error::Error::source(error).map(ToString::to_string);
                let finding = Finding::error("K06", error.to_string()).hint(
                    "check the disk; a journal that cannot be mended is restored from a backup, or \
                     given up with `muster reset`",
                );
                source.into_iter().fold(finding, Finding::note)
            }
            Self::Engine(error) => error.finding(),
        }
    }
}
