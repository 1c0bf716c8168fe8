//! What a run says of its files once all of them are there, and what is kept until then.
//!
//! What it promises: a part is listed only when the storage has said that it is there, with what it
//! holds now: a repeated batch counts once.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::rows::Kind;
use crate::digest::hex;

#[derive(Debug, Serialize)]
pub(super) struct Manifest<'a> {
    pub(super) run_id: &'a str,
    pub(super) audience_key: &'a str,
    pub(super) mode: Mode,
    pub(super) parts: Vec<&'a Part>,
    pub(super) added: u64,
    pub(super) removed: u64,
    pub(super) generated_at: &'a str,
    /// Earlier runs that wrote no manifest, whose files count all the same.
    pub(super) interrupted: &'a [String],
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// The parts are the whole list.
    Full,
    /// The parts say who came and who went.
    Delta,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Part {
    #[serde(skip)]
    kind: Kind,
    key: String,
    rows: u64,
    sha256: String,
}

/// The files of runs that are not over, by list and run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    runs: Mutex<BTreeMap<(String, String), Written>>,
}

/// The files of one run of one list, by their keys.
#[derive(Debug, Default, Clone)]
pub(super) struct Written {
    pub(super) parts: BTreeMap<String, Part>,
    /// The time that the run's rows carry.
    pub(super) as_of: String,
    /// Whether the manifest is there.
    is_closed: bool,
}

impl Part {
    pub(super) fn of(kind: Kind, key: String, rows: usize, file: &[u8]) -> Self {
        Self { kind, key, rows: rows as u64, sha256: sha256(file) }
    }
}

pub(super) fn sha256(file: &[u8]) -> String {
    hex(&Sha256::digest(file))
}

impl Written {
    pub(super) fn rows(&self, of: impl Fn(Kind) -> bool) -> u64 {
        self.parts.values().filter(|part| of(part.kind)).map(|part| part.rows).sum()
    }
}

impl Ledger {
    pub(super) fn note(&self, folder: &str, run: &str, part: Part, as_of: &str) {
        let mut runs = self.runs();
        let written = runs.entry((folder.into(), run.into())).or_default();
        as_of.clone_into(&mut written.as_of);
        written.parts.insert(part.key.clone(), part);
    }

    pub(super) fn written(&self, folder: &str, run: &str) -> Written {
        self.runs().get(&(folder.into(), run.into())).cloned().unwrap_or_default()
    }

    /// The manifest is there.
    pub(super) fn close(&self, folder: &str, run: &str) {
        self.runs().entry((folder.into(), run.into())).or_default().is_closed = true;
    }

    pub(super) fn is_closed(&self, folder: &str, run: &str) -> bool {
        self.written(folder, run).is_closed
    }

    /// Whether anything was put, or said, in this run.
    pub(super) fn is_kept(&self, folder: &str, run: &str) -> bool {
        self.runs().contains_key(&(folder.into(), run.into()))
    }

    pub(super) fn forget(&self, folder: &str, run: &str) {
        self.runs().remove(&(folder.into(), run.into()));
    }

    fn runs(&self) -> MutexGuard<'_, BTreeMap<(String, String), Written>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
