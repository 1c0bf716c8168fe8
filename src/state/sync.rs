//! What one sync delivered: the manifest, the files it names, and commit, which folds a run's journal
//! into them. Folding is idempotent and is the only recovery.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::manifest::{FORMAT, FileEntry, Manifest, Quiet, checksum};
use super::{Result, RunId, StateError, Store};
use crate::destinations::Remote;
use crate::engine::{self, DELIVERED_FORMAT, DeliveredFiles, Folding, Session};
use crate::outbox::{OpenJob, Replay, replay};

/// How many runs' changes and journals are kept to look at.
const KEPT_RUNS: usize = 30;

const BASE: &str = "delivered.parquet";
const REMOTE: &str = "remote.json";
/// What the names of deltas begin with.
const DELTA: &str = "delta-";
/// Why a file does not count.
const ANOTHER: &str = "is not the file that was written (its checksum differs)";

/// The state of one sync.
#[derive(Debug, Clone)]
pub struct SyncState {
    store: Store,
    folder: PathBuf,
    sync: String,
    manifest: Option<Manifest>,
}

/// What is kept of a sync's remote list.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Remembered {
    /// The sync's `list` option when it was opened.
    list: Option<String>,
    remote: Remote,
}

/// As it is written, or as it was before it said for which `list` it was opened.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Kept {
    Remembered(Remembered),
    Bare(Remote),
}

/// Jobs whose outcome is still to be asked for.
pub type Jobs = Vec<OpenJob>;

/// What the journal of a run says became of its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    pub acknowledged: u64,
    pub rejected: u64,
}

impl Settled {
    pub fn of(replay: &Replay) -> Self {
        let count = |wanted| replay.rows.iter().filter(|row| **row == wanted).count() as u64;
        Self {
            acknowledged: count(crate::outbox::RowState::Acknowledged),
            rejected: count(crate::outbox::RowState::Rejected),
        }
    }
}

impl SyncState {
    /// Reads and verifies; a damaged file is an error, never an empty state.
    pub fn open(store: &Store, sync: &str) -> Result<Self> {
        let state = Self::glance(store, sync)?;
        state.verify()?;
        Ok(state)
    }

    /// Reads what there is without reading the files to their ends: `verify` before one of them is
    /// used.
    pub fn glance(store: &Store, sync: &str) -> Result<Self> {
        let folder = store.path(&format!("syncs/{sync}"));
        let path = folder.join("manifest.json");
        let mut state =
            Self { store: store.clone(), folder, sync: sync.to_owned(), manifest: None };
        let manifest = match store.read(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|_| state.damaged(&path, "cannot be read as a manifest"))?,
            None if state.written()?.is_empty() => return Ok(state),
            // The manifest was lost, or the process died between the first base and the first
            // manifest; the base says how far it is folded, and what came later is folded again.
            None => Manifest { sync: sync.to_owned(), ..Manifest::default() },
        };
        if manifest.format > FORMAT {
            return Err(StateError::Newer { sync: sync.to_owned(), format: manifest.format });
        }
        state.manifest = Some(state.newest(manifest)?);
        Ok(state)
    }

    /// Names of the files of state rows that lie in the folder.
    fn written(&self) -> Result<Vec<String>> {
        let mut names = self.store.list(&self.folder)?;
        names.retain(|name| name == BASE || name.starts_with(DELTA));
        Ok(names)
    }

    /// The base may be newer than the manifest: then the process died between the two, and the base,
    /// which says itself how far it is folded and holds all deltas, wins.
    fn newest(&self, mut manifest: Manifest) -> Result<Manifest> {
        let path = self.folder.join(BASE);
        if !path.exists() {
            // Deltas without a base are what is left of a state whose base and manifest were lost.
            let complete = manifest.base.is_none() && manifest.format > 0;
            return if complete { Ok(manifest) } else { Err(self.damaged(&path, "is missing")) };
        }
        let (metadata, rows) = engine::footer(&path)
            .map_err(|_| self.damaged(&path, "is not a whole Parquet file"))?;
        let folded = metadata.get("muster.folded").cloned().unwrap_or_default();
        if folded <= manifest.folded {
            return match &manifest.base {
                Some(base) if base.rows == rows => Ok(manifest),
                _ => Err(self.damaged(&path, ANOTHER)),
            };
        }
        if manifest.format == 0 {
            self.can_fold_again(&folded)?;
        }
        let sha256 = checksum(&path)?.unwrap_or_default();
        manifest.base = Some(FileEntry { name: BASE.into(), rows, sha256 });
        manifest.deltas.clear();
        manifest.quiet = None;
        manifest.uneven = true;
        manifest.folded = folded;
        manifest.format = FORMAT;
        Ok(manifest)
    }

    /// Whether every delta that came after the base can be made again from its run.
    fn can_fold_again(&self, folded: &str) -> Result<()> {
        let names = self.written()?;
        let runs = names.iter().filter_map(|name| {
            name.strip_prefix(DELTA)?.strip_suffix(".parquet").filter(|run| *run > folded)
        });
        for run in runs {
            let changes = self.folder.join("runs").join(run).join("changes.parquet");
            if !changes.exists() {
                return Err(self.damaged(&self.folder.join("manifest.json"), "is missing"));
            }
        }
        Ok(())
    }

    /// Every file is the one that was written, to its last byte.
    pub fn verify(&self) -> Result<()> {
        for entry in self.manifest.iter().flat_map(Manifest::entries) {
            let path = self.folder.join(&entry.name);
            match checksum(&path)? {
                Some(sha256) if sha256 == entry.sha256 => {}
                Some(_) => return Err(self.damaged(&path, ANOTHER)),
                None => return Err(self.damaged(&path, "is missing")),
            }
        }
        Ok(())
    }

    fn damaged(&self, path: &Path, why: &str) -> StateError {
        StateError::Damaged { sync: self.sync.clone(), path: path.to_owned(), why: why.into() }
    }

    /// The latest run that is, or will be, folded in: part of the ids of new transitions.
    pub fn origin(&self) -> Result<String> {
        let folded = || self.manifest.as_ref().map(|manifest| manifest.folded.clone());
        let latest = self.unfolded()?.pop().map(|run| run.to_string()).or_else(folded);
        Ok(latest.unwrap_or_default())
    }

    /// `None` before the first run.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    pub fn files(&self) -> DeliveredFiles {
        let path = |entry: &FileEntry| self.folder.join(&entry.name);
        let manifest = self.manifest.as_ref();
        DeliveredFiles {
            base: manifest.and_then(|manifest| manifest.base.as_ref()).map(path),
            deltas: manifest.iter().flat_map(|manifest| &manifest.deltas).map(path).collect(),
            // A base that is newer than its manifest does not say.
            uneven: manifest.is_none_or(|manifest| manifest.uneven),
        }
    }

    /// Folder of one run's outbox.
    pub fn outbox(&self, run: &RunId) -> PathBuf {
        self.folder.join("runs").join(run.as_str())
    }

    /// Seals a file of changes: from now on it is part of the state.
    pub fn seal(&self, run: &RunId, changes: &Path) -> Result<PathBuf> {
        let path = self.outbox(run).join("changes.parquet");
        self.store.adopt(changes, &path)?;
        Ok(path)
    }

    /// Keeps the list of records that could not be sent in place of the one before; `None`: there are
    /// none.
    pub fn keep_invalid(&self, list: Option<&Path>) -> Result<()> {
        let path = self.invalid();
        match list {
            Some(list) => self.store.adopt(list, &path),
            None if path.exists() => self.store.remove(&path),
            None => Ok(()),
        }
    }

    /// Where the list of records that could not be sent lies, if there are any.
    pub fn invalid(&self) -> PathBuf {
        self.folder.join("invalid.parquet")
    }

    /// Runs that were sealed and never folded: the process died.
    pub fn unfolded(&self) -> Result<Vec<RunId>> {
        let folded = self.manifest.as_ref().map_or("", |manifest| manifest.folded.as_str());
        let folder = self.folder.join("runs");
        let runs = self.store.list(&folder)?.into_iter().filter(|run| {
            run.as_str() > folded && folder.join(run).join("changes.parquet").exists()
        });
        Ok(runs.map(RunId::from).collect())
    }

    /// What became of every row of a sealed run.
    pub fn replay(&self, run: &RunId) -> Result<Replay> {
        let folder = self.outbox(run);
        let changes = folder.join("changes.parquet");
        let (_, rows) = engine::footer(&changes)
            .map_err(|_| self.damaged(&changes, "is not a whole Parquet file"))?;
        Ok(replay(&folder, rows)?)
    }

    /// Jobs of unfolded runs whose outcome is still to be asked for.
    pub fn open_jobs(&self) -> Result<Vec<(RunId, Jobs)>> {
        let mut jobs = Vec::new();
        for run in self.unfolded()? {
            let replay = self.replay(&run)?;
            if !replay.jobs.is_empty() {
                jobs.push((run, replay.jobs));
            }
        }
        Ok(jobs)
    }

    /// Folds a sealed run into what was delivered: a delta, or a new base now and then; a run without
    /// changes writes the manifest only. Idempotent.
    pub async fn commit(
        &mut self,
        session: &Session,
        run: &RunId,
        now: DateTime<Utc>,
    ) -> Result<Settled> {
        let replayed = self.replay(run)?;
        let changes = self.outbox(run).join("changes.parquet");
        let fresh = session.scratch(&format!("{}.{run}.fold.parquet", self.sync));
        let mut manifest = self.manifest.clone().unwrap_or_default();
        let first = manifest.entries().next().is_none();
        let folding = Folding { run: run.as_str(), now, replay: &replayed, first };
        let folded = engine::fold(&changes, &folding, &fresh, &self.metadata(run))?;
        if first && folded.rows > 0 {
            manifest.base = Some(self.adopt(&fresh, BASE.to_owned(), folded.rows)?);
        } else if manifest.is_due_for_compaction(folded.rows) && folded.rows > 0 {
            manifest.base = Some(self.write_base(session, run, &fresh).await?);
            manifest.deltas.clear();
            drop(std::fs::remove_file(&fresh));
        } else if folded.rows > 0 {
            manifest.deltas.push(self.write_delta(run, &fresh, folded.rows)?);
        }
        manifest.format = FORMAT;
        manifest.quiet = None;
        manifest.sync.clone_from(&self.sync);
        run.as_str().clone_into(&mut manifest.folded);
        let settled = Settled::of(&replayed);
        manifest.uneven = settled.acknowledged < folded.sent;
        if replayed.rows.iter().any(|row| *row != crate::outbox::RowState::Pending) {
            // When it said so, not when that is folded in: a run that was killed long ago is no reason
            // to wait once more.
            manifest.synced_at = run.started().or(Some(now));
        }
        self.write_manifest(&manifest)?;
        self.manifest = Some(manifest);
        self.sweep()?;
        self.forget_old_runs()?;
        Ok(settled)
    }

    /// Remembers that a comparison left nothing to do.
    pub fn rest(&mut self, quiet: Quiet) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        if manifest.quiet.as_ref() == Some(&quiet) || manifest.uneven {
            return Ok(());
        }
        let manifest = Manifest { quiet: Some(quiet), format: FORMAT, ..manifest.clone() };
        self.write_manifest(&manifest)?;
        self.manifest = Some(manifest);
        Ok(())
    }

    /// The files as they would be once every unfolded run were folded; writes to the scratch folder
    /// only.
    pub fn settled_files(&self, session: &Session, now: DateTime<Utc>) -> Result<DeliveredFiles> {
        let mut files = self.files();
        for run in self.unfolded()? {
            let replayed = self.replay(&run)?;
            let fresh = session.scratch(&format!("{}.{run}.fold.parquet", self.sync));
            let folding = Folding { run: run.as_str(), now, replay: &replayed, first: false };
            let changes = self.outbox(&run).join("changes.parquet");
            if engine::fold(&changes, &folding, &fresh, &BTreeMap::new())?.rows > 0 {
                files.deltas.push(fresh);
                files.uneven = true;
            }
        }
        Ok(files)
    }

    fn metadata(&self, run: &RunId) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("muster.format", DELIVERED_FORMAT.to_owned()),
            ("muster.sync", self.sync.clone()),
            ("muster.folded", run.to_string()),
        ])
    }

    async fn write_base(&self, session: &Session, run: &RunId, fresh: &Path) -> Result<FileEntry> {
        let written = session.scratch(&format!("{}.{run}.merged.parquet", self.sync));
        let mut files = self.files();
        files.deltas.push(fresh.to_owned());
        let rows = engine::compact(session, &files, &written, &self.metadata(run)).await?;
        self.adopt(&written, BASE.to_owned(), rows)
    }

    fn write_delta(&self, run: &RunId, fresh: &Path, rows: u64) -> Result<FileEntry> {
        self.adopt(fresh, format!("{DELTA}{run}.parquet"), rows)
    }

    /// Makes a complete file part of the folder.
    fn adopt(&self, written: &Path, name: String, rows: u64) -> Result<FileEntry> {
        let sha256 = checksum(written)?.unwrap_or_default();
        self.store.adopt(written, &self.folder.join(&name))?;
        Ok(FileEntry { name, rows, sha256 })
    }

    /// Removes files that no longer count, or never came to.
    fn sweep(&self) -> Result<()> {
        let Some(manifest) = &self.manifest else { return Ok(()) };
        for name in self.written()? {
            if !manifest.entries().any(|entry| entry.name == name) {
                self.store.remove(&self.folder.join(name))?;
            }
        }
        Ok(())
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<()> {
        self.write_json("manifest.json", manifest)
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.folder.join(name);
        let text = serde_json::to_vec_pretty(value).map_err(|error| StateError::Write {
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        self.store.replace(&path, &text)
    }

    fn forget_old_runs(&self) -> Result<()> {
        let folder = self.folder.join("runs");
        let runs = self.store.list(&folder)?;
        let old = runs.len().saturating_sub(KEPT_RUNS);
        runs[..old].iter().try_for_each(|run| self.store.remove(&folder.join(run)))
    }

    /// What `open` returned for this sync, on this or an earlier run.
    pub fn remote(&self) -> Result<Option<Remote>> {
        Ok(self.kept()?.map(|kept| match kept {
            Kept::Remembered(Remembered { remote, .. }) | Kept::Bare(remote) => remote,
        }))
    }

    /// Whether the remote list is the one that this `list` option means, as far as that is known.
    pub fn is_for(&self, list: Option<&str>) -> Result<bool> {
        Ok(match self.kept()? {
            Some(Kept::Remembered(kept)) => kept.list.as_deref() == list,
            Some(Kept::Bare(_)) | None => true,
        })
    }

    fn kept(&self) -> Result<Option<Kept>> {
        let path = self.folder.join(REMOTE);
        match self.store.read(&path)? {
            None => Ok(None),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|_| self.damaged(&path, "cannot be read")),
        }
    }

    pub fn remember(&self, remote: &Remote, list: Option<&str>) -> Result<()> {
        let (remote, list) = (remote.clone(), list.map(ToOwned::to_owned));
        self.write_json(REMOTE, &Remembered { list, remote })
    }

    /// Forgets which remote list it is: the next run looks for it as the first one did.
    pub fn forget_remote(store: &Store, sync: &str) -> Result<()> {
        store.remove(&store.path(&format!("syncs/{sync}")).join(REMOTE))
    }

    /// Forgets everything that was delivered; the next run sends all, under ids of its own. The remote
    /// list stays known.
    fn reset(&mut self, run: &RunId) -> Result<()> {
        for name in self.store.list(&self.folder)? {
            if name != REMOTE {
                self.store.remove(&self.folder.join(name))?;
            }
        }
        let manifest = Manifest {
            format: FORMAT,
            sync: self.sync.clone(),
            folded: run.to_string(),
            ..Manifest::default()
        };
        self.write_manifest(&manifest)?;
        self.manifest = Some(manifest);
        Ok(())
    }

    /// Forgets whatever was delivered without reading it: it may be damaged.
    pub fn erase(store: &Store, sync: &str, run: &RunId) -> Result<()> {
        let mut state = Self {
            store: store.clone(),
            folder: store.path(&format!("syncs/{sync}")),
            sync: sync.to_owned(),
            manifest: None,
        };
        state.reset(run)
    }
}
