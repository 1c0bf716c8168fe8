//! Segments: the journal's files, numbered from 1, each at most about 16 MiB and each beginning with
//! the same `Opened` line. Only the last one is ever written to.
//!
//! A segment is durable, together with its name in the folder, before the first fact goes into it. A
//! write or flush that fails breaks the journal for good.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::journal::{JournalError, lock};

/// Size at which the next segment begins.
const SIZE: u64 = 16 << 20;

/// The segment that is being written.
#[derive(Debug)]
pub(super) struct Segment {
    folder: PathBuf,
    number: u32,
    path: PathBuf,
    file: Arc<File>,
    length: u64,
    /// The line every segment begins with.
    opened: Vec<u8>,
    /// What broke the journal.
    failure: Option<(io::ErrorKind, String)>,
}

impl Segment {
    pub(super) fn first(folder: &Path, opened: Vec<u8>) -> Result<Self, JournalError> {
        std::fs::create_dir_all(folder).map_err(|source| write_error(folder, source))?;
        Self::start(folder, 1, opened)
    }

    /// The segment after those of an earlier process.
    pub(super) fn next(folder: &Path, opened: Vec<u8>) -> Result<Self, JournalError> {
        let Some((number, path)) = list(folder)?.pop() else {
            return Self::first(folder, opened);
        };
        let kept = cut_torn_line(&path).map_err(|source| write_error(&path, source))?;
        if kept > 0 {
            return Self::start(folder, number + 1, opened);
        }
        std::fs::remove_file(&path).map_err(|source| write_error(&path, source))?;
        Self::start(folder, number, opened)
    }

    fn start(folder: &Path, number: u32, opened: Vec<u8>) -> Result<Self, JournalError> {
        let path = path(folder, number);
        let failed = |source| write_error(&path, source);
        let file = OpenOptions::new().append(true).create_new(true).open(&path).map_err(failed)?;
        (&file).write_all(&opened).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            number,
            file: Arc::new(file),
            length: opened.len() as u64,
            opened,
            failure: None,
            path,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes whole lines.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), JournalError> {
        if self.failure.is_some() {
            return Err(self.broken());
        }
        if self.length >= SIZE {
            self.rotate()?;
        }
        if let Err(source) = (&*self.file).write_all(lines) {
            return Err(self.fail(&source));
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    /// Everything in the old segment is on disk before the new one begins, so that whoever flushes
    /// the new one has flushed all.
    fn rotate(&mut self) -> Result<(), JournalError> {
        if let Err(source) = self.file.sync_data() {
            return Err(self.fail(&source));
        }
        let opened = std::mem::take(&mut self.opened);
        match Self::start(&self.folder, self.number + 1, opened) {
            Ok(next) => *self = next,
            Err(JournalError::Write { source, .. }) => return Err(self.fail(&source)),
            Err(other) => return Err(other),
        }
        Ok(())
    }

    fn fail(&mut self, source: &io::Error) -> JournalError {
        self.failure = Some((source.kind(), source.to_string()));
        self.broken()
    }

    #[cfg(test)]
    pub(super) fn break_for_test(&mut self) {
        let _ = self.fail(&io::Error::from(io::ErrorKind::StorageFull));
    }

    /// The error that every caller gets from now on.
    pub(super) fn broken(&self) -> JournalError {
        let source = match &self.failure {
            Some((kind, text)) => io::Error::new(*kind, text.clone()),
            None => io::Error::other("the journal is closed"),
        };
        write_error(&self.path, source)
    }
}

/// Flushes what was written so far; others may go on writing meanwhile.
pub(super) fn flush(segment: &Mutex<Segment>) -> Result<(), JournalError> {
    let file = {
        let segment = lock(segment);
        if segment.failure.is_some() {
            return Err(segment.broken());
        }
        Arc::clone(&segment.file)
    };
    file.sync_data().map_err(|source| lock(segment).fail(&source))
}

/// The segments in a folder, by number.
pub(super) fn list(folder: &Path) -> Result<Vec<(u32, PathBuf)>, JournalError> {
    let failed = |source| JournalError::Read { path: folder.to_owned(), source };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix("journal-")?.strip_suffix(".jsonl")?.parse().ok());
        segments.extend(number.map(|number| (number, entry.path())));
    }
    segments.sort();
    Ok(segments)
}

fn path(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("journal-{number:06}.jsonl"))
}

/// Cuts the file after its last newline and says how long it is now.
fn cut_torn_line(path: &Path) -> io::Result<u64> {
    let bytes = std::fs::read(path)?;
    let kept = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1);
    if kept < bytes.len() as u64 {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(kept)?;
        file.sync_all()?;
    }
    Ok(kept)
}

fn write_error(path: &Path, source: io::Error) -> JournalError {
    JournalError::Write { path: path.to_owned(), source }
}
