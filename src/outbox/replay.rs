//! Reading a journal back: what became of every row of the sealed changes.
//!
//! A row is said to be acknowledged or rejected only where a complete line says so; a row that was
//! attempted and is not known to be anything else is unsettled. A line that was being written when
//! the process died carries no promise and is ignored; anything else that cannot be read stops the
//! sync, because a guess could undo what was delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::journal::{Entry, FORMAT, JournalError, Share};
use super::segment;
use crate::destinations::Job;

/// What the journal says of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RowState {
    /// Never left this machine.
    Pending,
    /// Was tried, and certainly not taken: pending, but a retry must look the same.
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
    pub reasons: BTreeMap<u64, String>,
    /// Rejected rows of which an earlier try may have arrived.
    pub unclear: BTreeSet<u64>,
    /// Jobs that have not been settled.
    pub jobs: Vec<OpenJob>,
}

/// A job whose outcome is still to be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenJob {
    pub job: Job,
    /// Rows of this sync in it that wait for it.
    pub rows: Vec<u64>,
    /// Positions of these rows among the job's messages.
    pub positions: Vec<usize>,
    /// Messages in the job.
    pub messages: usize,
    /// An earlier try may have brought them there without it.
    pub unclear: bool,
}

/// Reads every segment in `folder`; a folder without segments says that every row is pending. A torn
/// last line (the process died while writing it) is ignored; any other unreadable line is an error.
pub fn replay(folder: &Path, rows: u64) -> Result<Replay, JournalError> {
    let segments = segment::list(folder)?;
    let count = segments.len();
    let mut reader = Reader::new(rows);
    for (position, (number, path)) in segments.into_iter().enumerate() {
        let is_last = position + 1 == count;
        if number as usize != position + 1 {
            return Err(JournalError::Corrupt { path, line: 1 });
        }
        let bytes = std::fs::read(&path)
            .map_err(|source| JournalError::Read { path: path.clone(), source })?;
        reader.segment(path, &bytes, is_last)?;
    }
    Ok(reader.finish())
}

struct Reader {
    replay: Replay,
    /// The first segment's first line; every other segment begins the same way.
    opened: Option<Entry>,
    submitted: Vec<OpenJob>,
    /// Which job is to say of a row, by row number: its number from one, or none. Empty as long as
    /// there was no job.
    awaiting: Vec<u32>,
}

/// States of rows that certainly have not arrived.
const UNTAKEN: [RowState; 2] = [RowState::Pending, RowState::Withdrawn];
/// States that a reply can still settle.
const OPEN: [RowState; 3] = [RowState::Pending, RowState::Withdrawn, RowState::Unsettled];

/// A line that says something impossible.
struct Unreadable;

impl Reader {
    fn new(rows: u64) -> Self {
        let count = usize::try_from(rows).unwrap_or(usize::MAX);
        let replay = Replay {
            rows: vec![RowState::Pending; count],
            reasons: BTreeMap::new(),
            unclear: BTreeSet::new(),
            jobs: Vec::new(),
        };
        Self { replay, opened: None, submitted: Vec::new(), awaiting: Vec::new() }
    }

    fn segment(&mut self, path: PathBuf, bytes: &[u8], is_last: bool) -> Result<(), JournalError> {
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = bytes[..complete].split_inclusive(|byte| *byte == b'\n');
        let mut read = 0;
        for line in lines {
            read += 1;
            if self.line(read, line).is_err() {
                return Err(JournalError::Corrupt { path, line: read });
            }
        }
        if !is_last && (complete < bytes.len() || read == 0) {
            return Err(JournalError::Corrupt { path, line: read + 1 });
        }
        Ok(())
    }

    fn line(&mut self, number: usize, line: &[u8]) -> Result<(), Unreadable> {
        let entry: Entry = serde_json::from_slice(line).map_err(|_| Unreadable)?;
        match (number, entry) {
            (1, entry @ Entry::Opened { .. }) => self.open(entry),
            (1, _) | (_, Entry::Opened { .. }) => Err(Unreadable),
            (_, entry) => self.apply(entry),
        }
    }

    fn open(&mut self, entry: Entry) -> Result<(), Unreadable> {
        let expected = self.replay.rows.len() as u64;
        let fits =
            matches!(&entry, Entry::Opened { format: FORMAT, rows, .. } if *rows == expected);
        let same = self.opened.as_ref().is_none_or(|opened| *opened == entry);
        self.opened = Some(entry);
        (fits && same).then_some(()).ok_or(Unreadable)
    }

    fn apply(&mut self, entry: Entry) -> Result<(), Unreadable> {
        match entry {
            Entry::Opened { .. } => Err(Unreadable),
            Entry::Attempted(rows) => self.change(&rows, &UNTAKEN, RowState::Unsettled),
            Entry::Withdrawn(rows) => {
                self.change(&rows, &[RowState::Unsettled], RowState::Withdrawn)
            }
            Entry::Acknowledged(rows) => self.change(&rows, &OPEN, RowState::Acknowledged),
            Entry::Rejected { row, reason, unclear } => self.reject(row, reason, unclear),
            Entry::Submitted { rows, job, share, unclear } => {
                self.change(&rows, &UNTAKEN, RowState::Unsettled)?;
                let open = open_job(job, &rows, share, unclear).ok_or(Unreadable)?;
                self.awaiting.resize(self.replay.rows.len(), 0);
                self.submitted.push(open);
                let job = u32::try_from(self.submitted.len()).map_err(|_| Unreadable)?;
                self.await_of(&rows, job)
            }
            Entry::Lost(rows) if self.awaiting.is_empty() => {
                // No row beyond those that there are.
                self.change(&rows, &[], RowState::Unsettled)
            }
            Entry::Lost(rows) => self.await_of(&rows, 0),
        }
    }

    /// Moves every row of the ranges that is in one of the states `from` to state `to`.
    fn change(
        &mut self,
        rows: &[[u64; 2]],
        from: &[RowState],
        to: RowState,
    ) -> Result<(), Unreadable> {
        for [first, end] in rows {
            let first = usize::try_from(*first).map_err(|_| Unreadable)?;
            let end = usize::try_from(*end).map_err(|_| Unreadable)?;
            let states = self.replay.rows.get_mut(first..end).ok_or(Unreadable)?;
            states.iter_mut().filter(|state| from.contains(state)).for_each(|state| *state = to);
        }
        Ok(())
    }

    /// From now on this job says of the rows.
    fn await_of(&mut self, rows: &[[u64; 2]], job: u32) -> Result<(), Unreadable> {
        for [first, end] in rows {
            let first = usize::try_from(*first).map_err(|_| Unreadable)?;
            let end = usize::try_from(*end).map_err(|_| Unreadable)?;
            self.awaiting.get_mut(first..end).ok_or(Unreadable)?.fill(job);
        }
        Ok(())
    }

    fn reject(&mut self, row: u64, reason: String, unclear: bool) -> Result<(), Unreadable> {
        let index = usize::try_from(row).map_err(|_| Unreadable)?;
        let state = self.replay.rows.get_mut(index).ok_or(Unreadable)?;
        if OPEN.contains(state) {
            *state = RowState::Rejected;
            self.replay.reasons.insert(row, reason);
            if unclear {
                self.replay.unclear.insert(row);
            }
        }
        Ok(())
    }

    /// A job is open as long as one of its rows waits for it, and holds no others.
    fn finish(self) -> Replay {
        let Self { mut replay, submitted, awaiting, .. } = self;
        for (number, mut open) in (1_u32..).zip(submitted) {
            let waits = |row: u64| {
                let row = usize::try_from(row).ok();
                row.and_then(|row| Some((awaiting.get(row)?, replay.rows.get(row)?)))
                    .is_some_and(|said| said == (&number, &RowState::Unsettled))
            };
            let pairs = open.rows.into_iter().zip(open.positions);
            (open.rows, open.positions) = pairs.filter(|(row, _)| waits(*row)).unzip();
            if !open.rows.is_empty() {
                replay.jobs.push(open);
            }
        }
        replay
    }
}

/// `None` when the line says something impossible.
fn open_job(job: Job, rows: &[[u64; 2]], share: Option<Share>, unclear: bool) -> Option<OpenJob> {
    let flat = |ranges: &[[u64; 2]]| -> Vec<u64> {
        ranges.iter().flat_map(|[from, to]| *from..*to).collect()
    };
    let rows = flat(rows);
    let Share { messages, positions } = share.unwrap_or_else(|| Share {
        messages: rows.len() as u64,
        positions: vec![[0, rows.len() as u64]],
    });
    let positions = flat(&positions).into_iter().filter(|position| *position < messages);
    let positions: Vec<usize> = positions.filter_map(|at| usize::try_from(at).ok()).collect();
    let messages = usize::try_from(messages).ok()?;
    (positions.len() == rows.len()).then_some(OpenJob { job, rows, positions, messages, unclear })
}
