//! The journal: append-only JSON lines in numbered segments (`journal-000001.jsonl`, …), each line a
//! fact about rows of the sealed changes, referred to by row number.
//!
//! What it promises: [`Journal::attempted`] resolves only when the fact is on disk, so a row that left
//! this machine is never unknown to the next run. What follows a reply is handed to the operating
//! system at once, so that a killed process loses no acknowledgement. Everything that waits for the
//! disk at the same moment shares one write and one flush. After a failed write nothing more is
//! accepted: what is sent without a journal could never be undone.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use super::segment::{self, Segment};
use crate::destinations::Job;

/// Version of the lines below.
pub(super) const FORMAT: u32 = 1;

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
    /// The destination refused this row; `unclear` when an earlier try may have brought it there.
    Rejected {
        row: u64,
        reason: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unclear: bool,
    },
    /// Certainly not taken (throttled, connection refused): pending again, not unsettled.
    Withdrawn(Vec<[u64; 2]>),
    /// In a job whose outcome is not known yet. The rows are in the order of the job's messages.
    Submitted {
        rows: Vec<[u64; 2]>,
        job: Job,
        /// Which of the job's messages they are; absent: all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        share: Option<Share>,
        /// An earlier try may have brought them there already.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unclear: bool,
    },
    /// Their job is over for them, and nobody knows what became of them: all was said of them that will
    /// be, or they go again without it.
    Lost(Vec<[u64; 2]>),
}

/// The rows of one sync among the messages of a job that several syncs share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Messages in the job.
    pub messages: u64,
    /// Positions of this sync's rows among them, in the order of the rows.
    pub positions: Vec<[u64; 2]>,
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

/// An open journal of one sync in one run. Cheap to clone; every clone writes to the same segments.
#[derive(Debug, Clone)]
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    segment: Mutex<Segment>,
}

/// Facts that wait for the disk.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether a writer is at work; it takes everything that waits before it rests.
    writing: bool,
}

#[derive(Debug)]
struct Waiting {
    line: Vec<u8>,
    done: oneshot::Sender<Result<(), JournalError>>,
}

impl Journal {
    /// Starts the journal of a run; `folder` is made where it is missing and must hold no journal.
    pub fn create(folder: &Path, sync: &str, run: &str, rows: u64) -> Result<Self, JournalError> {
        let opened = Entry::Opened { format: FORMAT, sync: sync.into(), run: run.into(), rows };
        Ok(Self::over(Segment::first(folder, encoded(&opened))?))
    }

    /// Continues the journal of an earlier process, in a new segment. What its last line may have
    /// lost to the crash is cut off first.
    pub fn reopen(folder: &Path, sync: &str, run: &str, rows: u64) -> Result<Self, JournalError> {
        let opened = Entry::Opened { format: FORMAT, sync: sync.into(), run: run.into(), rows };
        Ok(Self::over(Segment::next(folder, encoded(&opened))?))
    }

    fn over(segment: Segment) -> Self {
        let shared = Shared { queue: Mutex::default(), segment: Mutex::new(segment) };
        Self { shared: Arc::new(shared) }
    }

    /// Says that these rows are about to leave; resolves when that is on disk.
    pub async fn attempted(&self, rows: Vec<[u64; 2]>) -> Result<(), JournalError> {
        let (done, answer) = oneshot::channel();
        let line = encoded(&Entry::Attempted(rows));
        if self.shared.enqueue(Waiting { line, done }) {
            let shared = Arc::clone(&self.shared);
            // Not awaited: the writer outlives this caller, others may wait for it.
            drop(tokio::task::spawn_blocking(move || shared.write_waiting()));
        }
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Hands a fact to the operating system before it returns.
    pub fn record(&self, entry: &Entry) -> Result<(), JournalError> {
        lock(&self.shared.segment).append(&encoded(entry))
    }

    /// Flushes everything to disk.
    pub async fn close(self) -> Result<(), JournalError> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || segment::flush(&shared.segment))
            .await
            .unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Behaves as if the disk were full from now on.
    #[cfg(test)]
    pub(crate) fn break_for_test(&self) {
        lock(&self.shared.segment).break_for_test();
    }

    fn stopped(&self) -> JournalError {
        let path = lock(&self.shared.segment).path().to_owned();
        let source = std::io::Error::other("the journal's writer has stopped");
        JournalError::Write { path, source }
    }
}

impl Shared {
    /// `true` when a writer has to be started.
    fn enqueue(&self, waiting: Waiting) -> bool {
        let mut queue = lock(&self.queue);
        queue.waiting.push(waiting);
        !std::mem::replace(&mut queue.writing, true)
    }

    /// Writes and flushes until nothing waits any more.
    fn write_waiting(&self) {
        while let Some(group) = self.take_waiting() {
            let lines: Vec<u8> =
                group.iter().flat_map(|waiting| waiting.line.iter().copied()).collect();
            let written = lock(&self.segment).append(&lines);
            let durable = written.and_then(|()| segment::flush(&self.segment));
            for waiting in group {
                let answer = match &durable {
                    Ok(()) => Ok(()),
                    Err(_) => Err(lock(&self.segment).broken()),
                };
                // A caller that no longer waits was cancelled.
                let _ = waiting.done.send(answer);
            }
        }
    }

    fn take_waiting(&self) -> Option<Vec<Waiting>> {
        let mut queue = lock(&self.queue);
        queue.writing = !queue.waiting.is_empty();
        queue.writing.then(|| std::mem::take(&mut queue.waiting))
    }
}

/// The line of an entry, with its newline. Entries always encode: they hold no maps with odd keys.
pub(super) fn encoded(entry: &Entry) -> Vec<u8> {
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
