//! The journal: append-only JSON lines in numbered segments (`journal-000001.jsonl`, …), each line a
//! fact about rows of the sealed changes, referred to by row number.
//!
//! What it promises: [`Journal::attempted`] resolves only when the fact is on disk, so a row that left
//! this machine is never unknown to the next run. What follows a reply is handed to the operating
//! system at once, so that a killed process loses no acknowledgement.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::destinations::Job;

/// One fact, one line. Rows are half-open ranges of row numbers, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// First line of every segment.
    Opened { format: u32, sync: String, run: String, rows: u64 },
    /// About to leave this machine.
    Attempted(Vec<[u64; 2]>),
    /// The destination says it has them.
    Acknowledged(Vec<[u64; 2]>),
    /// The destination refused this row.
    Rejected { row: u64, reason: String },
    /// Certainly not taken (throttled, connection refused): pending again, not unsettled.
    Withdrawn(Vec<[u64; 2]>),
    /// In a job whose outcome is not known yet.
    Submitted { rows: Vec<[u64; 2]>, job: Job },
}

/// What the journal says of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RowState {
    /// Never left this machine.
    Pending,
    /// Was tried, and certainly not taken.
    Withdrawn,
    /// Left, and no word since.
    Unsettled,
    Acknowledged,
    Rejected,
}

/// A journal read back.
#[derive(Debug)]
pub struct Replay {
    /// By row number.
    pub rows: Vec<RowState>,
    /// Reasons of rejected rows, by row number.
    pub reasons: std::collections::BTreeMap<u64, String>,
    /// Jobs that have not been settled, with their rows in order.
    pub jobs: Vec<(Job, Vec<u64>)>,
}

/// The journal could not be written or read.
#[derive(Debug, Error)]
pub enum JournalError {
    #[error("could not write the journal `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("could not read the journal `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("line {line} of the journal `{path}` is not readable")]
    Corrupt { path: PathBuf, line: usize },
}

/// An open journal of one sync in one run.
#[derive(Debug)]
pub struct Journal {}

/// Reads every segment in `folder`; a folder without segments says that every row is pending. A torn
/// last line (the process died while writing it) is ignored; any other unreadable line is an error.
pub fn replay(folder: &Path, rows: u64) -> Result<Replay, JournalError> {
    let _ = (folder, rows);
    todo!("helper")
}
