//! Which files of a sync count, and how each is known to be the one that was written.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Result, StateError};
use crate::digest::hex;

/// Version of the manifest. Version 1 knew no deltas and is read as it is.
pub const FORMAT: u32 = 2;

/// Which files count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub sync: String,
    /// The latest run whose journal is folded in.
    pub folded: String,
    /// When changes were last sent.
    pub synced_at: Option<DateTime<Utc>>,
    pub base: Option<FileEntry>,
    /// What changed since the base was written, the oldest first.
    #[serde(default)]
    pub deltas: Vec<FileEntry>,
    /// Some record of the latest run was not acknowledged.
    #[serde(default)]
    pub uneven: bool,
    /// What the latest comparison was made from, when it left nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<Quiet>,
}

/// A comparison after which nothing was left to say: made again from the same, it would say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// Of everything the comparison depends on beside the state.
    pub fingerprint: String,
    pub desired: u64,
    pub invalid: u64,
    pub suppressed: u64,
}

/// One file as it was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: String,
    pub rows: u64,
    pub sha256: String,
}

/// Deltas are compacted into the base when they hold this part of its rows, …
const COMPACTED_PART: u64 = 8;
/// … or when there are this many.
const MOST_DELTAS: usize = 8;

impl Manifest {
    /// Whether another delta of so many rows is better written as a new base.
    pub fn is_due_for_compaction(&self, fresh: u64) -> bool {
        let Some(base) = &self.base else { return true };
        let rows = self.deltas.iter().map(|delta| delta.rows).sum::<u64>() + fresh;
        self.deltas.len() >= MOST_DELTAS || rows > base.rows / COMPACTED_PART
    }

    pub fn entries(&self) -> impl Iterator<Item = &FileEntry> {
        self.base.iter().chain(&self.deltas)
    }
}

/// SHA-256 of a file; `None` when there is none.
pub fn checksum(path: &Path) -> Result<Option<String>> {
    let failed = |source| StateError::Read { path: path.to_owned(), source };
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).map_err(failed)? {
            0 => break,
            length => hash.update(&buffer[..length]),
        }
    }
    Ok(Some(hex(&hash.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(rows: u64) -> FileEntry {
        FileEntry { name: String::new(), rows, sha256: String::new() }
    }

    #[test]
    fn little_is_written_as_a_delta_and_much_as_a_base() {
        let mut manifest = Manifest::default();
        assert!(manifest.is_due_for_compaction(1), "the first");
        manifest.base = Some(entry(800));
        assert!(!manifest.is_due_for_compaction(100));
        assert!(manifest.is_due_for_compaction(101), "an eighth of the rows");
        manifest.deltas = vec![entry(60)];
        assert!(manifest.is_due_for_compaction(41), "all deltas count");
        manifest.deltas = vec![entry(1); 8];
        assert!(manifest.is_due_for_compaction(1), "as many files as are read side by side");
    }
}
