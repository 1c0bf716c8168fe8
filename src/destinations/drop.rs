//! CSV files of who was added to a list and who was removed, for whoever reads files, wherever they are
//! put.
//!
//! There is no vendor who says what a file holds, so the contract is ours: a folder per list, in it a
//! folder for those added and one for those removed, in these one file per batch, named after run and
//! row so that a repeated batch takes the place of the first try. A list that is replaced is written
//! into a folder of its own. When all files of a run are there, a manifest says so, and what they hold.
//!
//! What it asks of a storage: a file is there as a whole or not at all. It never lists, reads or deletes
//! what lies there.

mod manifest;
mod rows;

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use super::membership::{self, Parted};
use super::{
    Batch, BatchLimits, Delivery, Destination, Fault, Idempotency, MatchField, Maturity, OptionDoc,
    Reader, Receipts, Remote, Spec, Target, normalise,
};
use crate::delivery::{Request, Session};
use crate::finding::Finding;
use crate::message::Part as MessagePart;
use manifest::{Ledger, Manifest, Mode, Part};
pub(super) use rows::Delimiter;
use rows::{Columns, Kind};

/// Where files are put.
pub(super) trait Storage: fmt::Debug + Send + Sync {
    /// What a file is called there, for whoever reads a manifest.
    fn key(&self, path: &[&str]) -> String;

    /// Puts a file there, whole or not at all, in the place of an earlier one of that name.
    fn put(
        &self,
        path: &[&str],
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Request, Fault>;

    /// Proves that one may come; changes nothing.
    fn probe(&self) -> Result<Request, Fault>;
}

/// Files in one storage.
#[derive(Debug)]
pub(super) struct FileDrop<S> {
    pub(super) storage: S,
    columns: Columns,
    ledger: Ledger,
}

/// What all storages let the project choose.
pub(super) struct Choice<'o> {
    pub(super) match_by: Option<&'o [String]>,
    pub(super) hash: &'o [String],
    pub(super) user_id: bool,
    pub(super) delimiter: Delimiter,
}

/// What files in all storages have in common.
pub(super) const SPEC: Spec = Spec {
    identifiers: "email; and phone, idfa, gaid and external_id, plain or as SHA-256",
    match_fields: PLAIN,
    receipts: Receipts::Opaque,
    replaces: true,
    batch: BatchLimits { rows: 50_000, max_rows: 100_000, bytes: 32_000_000, row_bytes: 1_000_000 },
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    ..Spec::LIST
};

/// Fields whose values may be hashed, and the ones that may not.
const PLAIN: &[MatchField] = &[
    MatchField { source: "email", normalise: normalise::plain_email },
    MatchField { source: "phone", normalise: normalise::plain_e164 },
    MatchField { source: "idfa", normalise: normalise::plain_advertising_id },
    MatchField { source: "gaid", normalise: normalise::plain_advertising_id },
    MatchField { source: "external_id", normalise: normalise::identifier },
];
const HASHED: &[MatchField] = &[
    MatchField { source: "email", normalise: normalise::email },
    MatchField { source: "phone", normalise: normalise::e164 },
    MatchField { source: "idfa", normalise: normalise::advertising_id },
    MatchField { source: "gaid", normalise: normalise::advertising_id },
];

pub(super) const MATCH_BY: OptionDoc = OptionDoc::optional(
    "match_by",
    "of \"email\", \"phone\", \"idfa\", \"gaid\" and \"external_id\"; default email",
);
pub(super) const HASH: OptionDoc =
    OptionDoc::optional("hash", "those of `match_by` that are written as SHA-256; default none");
pub(super) const USER_ID: OptionDoc =
    OptionDoc::optional("user_id", "whether the user id is a column; default true");
pub(super) const DELIMITER: OptionDoc =
    OptionDoc::optional("delimiter", "\",\" (default), \";\", \"|\", \":\" or \"tab\"");

/// What is worth knowing of files in all storages.
pub(super) mod notes {
    pub const FIRST_RUN: &str = "The first run adds everybody. The model's other columns are as they were when a member was added: a later change of theirs writes no file.";
    pub const ORDER: &str = "Runs must be applied in the order of their names; within a run the order does not matter, since nobody is in two of its files.";
    pub const AGAIN: &str = "At least once: what a killed run wrote may be written again by the next one, under its own name.";
    pub const MANIFEST: &str = "When all files of a run are there, `<list>/<run>.manifest.json` is written last: `run_id`, `audience_key`, `mode`, `parts` (each with `key`, `rows` and `sha256`), `added`, `removed`, `generated_at` (the time that the run's rows carry) and `interrupted`.";
    pub const INTERRUPTED: &str = "A run that is killed, stopped or halted writes no manifest. Each of its files is complete when it is there and counts all the same; the next manifest of the list names such runs in `interrupted`.";
    pub const REPLACE: &str = "With `--replace` everybody is written into `…/full/<run>-<row>.csv`, and then a manifest whose `mode` is `full`: from then on nobody else is on the list. A manifest whose `mode` is `delta` only adds and removes.";
    pub const COLUMNS: &str = "Columns are `audience_key`, `audience_action` (`true` or `false`), `user_id`, the identifiers, for added members the model's other columns, and `timestamp`; every value is quoted, lines end with LF.";
    pub const TOLD_APART: &str = "By default people are told apart by `email`; `match_by` names others or more. One row holds one combination of them, and the first of the users who share it.";
    pub const REMOVED: &str =
        "A removed row lacks those identifiers that another member still has.";
    pub const FORMS: &str = "Emails are trimmed and in lower case, phones in E.164; `hash` names identifiers that are written as SHA-256 in hexadecimal, in a column such as `email_sha256`.";
    pub const FORMULAS: &str =
        "Values that a spreadsheet takes for a formula are written as they are.";
}

/// Where the files of a sync lie in this run.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opened {
    audience_key: String,
    folder: String,
    run: String,
    /// When a replacement of the whole list began, as its files are.
    #[serde(default)]
    full_since: Option<String>,
    /// Earlier runs that wrote no manifest.
    #[serde(default)]
    interrupted: Vec<String>,
    /// Whether this run has written its manifest.
    #[serde(default)]
    is_complete: bool,
}

impl<S: Storage> FileDrop<S> {
    pub(super) fn new(storage: S, fields: &[MatchField], choice: &Choice<'_>) -> Self {
        let is_hashed = |field: &MatchField| choice.hash.iter().any(|name| name == field.source);
        let columns = Columns {
            hashed: fields.iter().map(is_hashed).collect(),
            fields: fields.to_vec(),
            user_id: choice.user_id,
            delimiter: choice.delimiter,
        };
        Self { storage, columns, ledger: Ledger::default() }
    }

    /// Says that nothing more comes of a run, and what came.
    async fn manifest(&self, session: &Session, opened: &Opened, mode: Mode) -> Result<(), Fault> {
        let written = self.ledger.written(&opened.folder, &opened.run);
        let manifest = Manifest {
            run_id: &opened.run,
            audience_key: &opened.audience_key,
            mode,
            added: written.rows(|kind| kind != Kind::Removed),
            removed: written.rows(|kind| kind == Kind::Removed),
            generated_at: match &opened.full_since {
                Some(since) if written.as_of.is_empty() => since,
                _ => &written.as_of,
            },
            parts: written.parts.values().collect(),
            interrupted: &opened.interrupted,
        };
        let body = serde_json::to_vec(&manifest).map_err(|error| unreadable(&error))?;
        let name = format!("{}.manifest.json", opened.run);
        let request = self.storage.put(&[&opened.folder, &name], "application/json", body)?;
        session.send(request).await?;
        self.ledger.close(&opened.folder, &opened.run);
        Ok(())
    }
}

#[async_trait]
impl<S: Storage> Destination for FileDrop<S> {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        session.send(self.storage.probe()?).await.map(drop)
    }

    /// Every run has files of its own.
    async fn open(&self, _session: &Session, target: &Target) -> Result<Remote, Fault> {
        let folder = target.list.as_ref().unwrap_or(&target.model_key).clone();
        let earlier = target.remote.as_ref().and_then(|remote| Opened::of(remote).ok());
        let earlier = earlier.filter(|earlier| earlier.folder == folder);
        let mut interrupted = Vec::new();
        if let Some(earlier) = earlier.filter(|earlier| !earlier.is_complete) {
            interrupted = earlier.interrupted;
            interrupted.push(earlier.run);
            interrupted.retain(|run| *run != target.run);
        }
        let (audience_key, run) = (target.model_key.clone(), target.run.clone());
        let (full_since, is_complete) = (None, false);
        Opened { audience_key, folder, run, full_since, interrupted, is_complete }.into_remote()
    }

    async fn begin_replacing(
        &self,
        _session: &Session,
        remote: &Remote,
        started: DateTime<Utc>,
    ) -> Result<Remote, Fault> {
        let since = started.to_rfc3339_opts(SecondsFormat::Secs, true);
        Opened { full_since: Some(since), ..Opened::of(remote)? }.into_remote()
    }

    async fn finish_replacing(&self, session: &Session, remote: &Remote) -> Result<(), Fault> {
        self.manifest(session, &Opened::of(remote)?, Mode::Full).await
    }

    async fn conclude(&self, session: &Session, remote: &Remote) -> Result<Option<Remote>, Fault> {
        let opened = Opened::of(remote)?;
        if !self.ledger.is_kept(&opened.folder, &opened.run) {
            return Ok(None);
        }
        if !self.ledger.is_closed(&opened.folder, &opened.run) {
            self.manifest(session, &opened, Mode::Delta).await?;
        }
        self.ledger.forget(&opened.folder, &opened.run);
        let complete = Opened { is_complete: true, interrupted: Vec::new(), ..opened };
        Opened { full_since: None, ..complete }.into_remote().map(Some)
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let folder = target.list.as_ref().unwrap_or(&target.model_key);
        let is_nothing = folder.split('/').all(str::is_empty);
        let misplaced =
            (is_nothing || climbs(folder)).then(|| format!("the list `{folder}` makes no folder"));
        let own = self.columns.own();
        let names = target.fields.iter().map(|field| &field.name);
        let taken = names.filter(|name| own.contains(name));
        let taken = taken.map(|name| format!("the column `{name}` is one of the file's own"));
        misplaced.into_iter().chain(taken).collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let opened = Opened::of(remote)?;
        let added = if opened.full_since.is_some() { Kind::Full } else { Kind::Added };
        let Parted { entering, leaving } = Parted::of(batch);
        let mut rehearsed = false;
        for (kind, members) in [(Kind::Removed, leaving), (added, entering)] {
            let Some(first) = members.first() else { continue };
            let row = first.message.parts().next().map_or(0, MessagePart::row_number);
            let name = format!("{}-{row:010}.csv", opened.run);
            let path = [&opened.folder[..], kind.word(), &name];
            let rows = members.iter().map(|member| member.message);
            let file = self.columns.written(kind, rows)?;
            let part = Part::of(kind, self.storage.key(&path), members.len(), &file);
            let request = self.storage.put(&path, "text/csv; charset=utf-8", file)?;
            match session.send(request).await {
                Ok(_) => {
                    let as_of = first.message.timestamp();
                    self.ledger.note(&opened.folder, &opened.run, part, as_of);
                }
                // The other file does not hang on what is answered to this one.
                Err(Fault::Rehearsed) => rehearsed = true,
                Err(fault) => return Err(fault),
            }
        }
        if rehearsed { Err(Fault::Rehearsed) } else { Ok(batch.delivered().into()) }
    }
}

/// What people are told apart by; a value may only be a hash already where hashes are written.
pub(super) fn fields(
    reader: &Reader<'_>,
    choice: &Choice<'_>,
) -> Result<Vec<MatchField>, Vec<Finding>> {
    let fields = membership::fields(reader, PLAIN, choice.match_by, &["email"])?;
    let hashable = |name: &&String| {
        HASHED.iter().any(|field| field.source == name.as_str())
            && fields.iter().any(|field| field.source == name.as_str())
    };
    if !choice.hash.iter().all(|name| hashable(&name)) {
        let fact = "must name identifiers of `match_by` other than `external_id`";
        return Err(vec![reader.refuse("hash", fact)]);
    }
    let chosen = |field: MatchField| {
        let hashed = HASHED.iter().find(|hashed| hashed.source == field.source);
        let is_asked = choice.hash.iter().any(|name| name == field.source);
        hashed.filter(|_| is_asked).copied().unwrap_or(field)
    };
    Ok(fields.into_iter().map(chosen).collect())
}

/// Whether a path leaves its folder.
pub(super) fn climbs(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "." | ".."))
}

impl Opened {
    fn of(remote: &Remote) -> Result<Self, Fault> {
        Self::deserialize(&remote.0).map_err(|error| unreadable(&error))
    }

    fn into_remote(self) -> Result<Remote, Fault> {
        serde_json::to_value(self).map(Remote).map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &serde_json::Error) -> Fault {
    Fault::Protocol { reason: format!("what is kept of the folder cannot be read: {error}") }
}

#[cfg(test)]
mod tests;
