//! What one sync delivered: the manifest, the files it names, and commit, which folds a run's journal
//! into them. Folding is idempotent and is the only recovery.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Result, RunId, StateError, Store};
use crate::destinations::Remote;
use crate::digest::hex;
use crate::engine::{self, DELIVERED_FORMAT, DeliveredFiles, Folding, Session};
use crate::outbox::{OpenJob, Replay, replay};

/// Version of the manifest.
const FORMAT: u32 = 1;
/// How many runs' changes and journals are kept to look at.
const KEPT_RUNS: usize = 30;

const BASE: &str = "delivered.parquet";

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
    /// Some record of the latest run was not acknowledged.
    #[serde(default)]
    pub uneven: bool,
}

/// One file as it was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    pub name: String,
    pub rows: u64,
    pub sha256: String,
}

/// The state of one sync.
#[derive(Debug, Clone)]
pub struct SyncState {
    store: Store,
    folder: PathBuf,
    sync: String,
    manifest: Option<Manifest>,
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
        let folder = store.path(&format!("syncs/{sync}"));
        let path = folder.join("manifest.json");
        let mut state =
            Self { store: store.clone(), folder, sync: sync.to_owned(), manifest: None };
        let Some(bytes) = store.read(&path)? else {
            state.refuse_orphans()?;
            return Ok(state);
        };
        let mut manifest: Manifest = serde_json::from_slice(&bytes)
            .map_err(|_| state.damaged(&path, "cannot be read as a manifest"))?;
        if manifest.format > FORMAT {
            return Err(StateError::Newer { sync: sync.to_owned(), format: manifest.format });
        }
        state.verify_base(&mut manifest)?;
        state.manifest = Some(manifest);
        Ok(state)
    }

    /// A base without a manifest means that the manifest was lost (or that the process died between
    /// the first base and the first manifest, which the base's own footer tells).
    fn refuse_orphans(&mut self) -> Result<()> {
        let base = self.folder.join(BASE);
        if !base.exists() {
            return Ok(());
        }
        let mut manifest = Manifest { sync: self.sync.clone(), ..Manifest::default() };
        self.verify_base(&mut manifest)?;
        self.manifest = Some(manifest);
        Ok(())
    }

    /// The base may be newer than the manifest: then the process died between the two, and the base,
    /// which says itself how far it is folded, wins.
    fn verify_base(&self, manifest: &mut Manifest) -> Result<()> {
        let path = self.folder.join(BASE);
        if let Some(base) = &manifest.base
            && Self::checksum(&path)? == Some(base.sha256.clone())
        {
            return Ok(());
        }
        if manifest.base.is_none() && !path.exists() {
            return Ok(());
        }
        if !path.exists() {
            return Err(self.damaged(&path, "is missing"));
        }
        let (metadata, rows) = engine::footer(&path)
            .map_err(|_| self.damaged(&path, "is not a whole Parquet file"))?;
        let folded = metadata.get("muster.folded").cloned().unwrap_or_default();
        if folded <= manifest.folded {
            return Err(
                self.damaged(&path, "is not the file that was written (its checksum differs)")
            );
        }
        let sha256 = Self::checksum(&path)?.unwrap_or_default();
        manifest.base = Some(FileEntry { name: BASE.into(), rows, sha256 });
        manifest.uneven = true;
        manifest.folded = folded;
        manifest.format = FORMAT;
        Ok(())
    }

    fn checksum(path: &Path) -> Result<Option<String>> {
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

    fn damaged(&self, path: &Path, why: &str) -> StateError {
        StateError::Damaged { sync: self.sync.clone(), path: path.to_owned(), why: why.into() }
    }

    /// The latest run that is, or will be, folded in: part of the ids of new transitions.
    pub fn origin(&self) -> Result<String> {
        let folded = || self.manifest.as_ref().map(|manifest| manifest.folded.clone());
        let latest = self.unfolded()?.pop().map(|run| run.to_string()).or_else(folded);
        Ok(latest.unwrap_or_default())
    }

    pub fn sync(&self) -> &str {
        &self.sync
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// `None` before the first run.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    pub fn files(&self) -> DeliveredFiles {
        let base = self.manifest.as_ref().and_then(|manifest| manifest.base.as_ref());
        DeliveredFiles {
            base: base.map(|base| self.folder.join(&base.name)),
            // A base that is newer than its manifest does not say.
            uneven: self.manifest.as_ref().is_none_or(|manifest| manifest.uneven),
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

    /// Folds a sealed run into what was delivered; a run without changes writes the manifest only.
    /// Idempotent.
    pub async fn commit(
        &mut self,
        session: &Session,
        run: &RunId,
        now: DateTime<Utc>,
    ) -> Result<Settled> {
        let replayed = self.replay(run)?;
        let changes = self.outbox(run).join("changes.parquet");
        let fresh = session.scratch(&format!("{}.{run}.fold.parquet", self.sync));
        let folding = Folding { run: run.as_str(), now, replay: &replayed };
        let rows = engine::fold(&changes, &folding, &fresh)?;
        let mut manifest = self.manifest.clone().unwrap_or_default();
        if rows > 0 {
            manifest.base = Some(self.write_base(session, run, &fresh).await?);
        }
        manifest.format = FORMAT;
        manifest.sync.clone_from(&self.sync);
        run.as_str().clone_into(&mut manifest.folded);
        let settled = Settled::of(&replayed);
        manifest.uneven = settled.acknowledged < engine::sent_rows(&changes)?;
        if replayed.rows.iter().any(|row| *row != crate::outbox::RowState::Pending) {
            manifest.synced_at = Some(now);
        }
        self.write_manifest(&manifest)?;
        self.manifest = Some(manifest);
        drop(std::fs::remove_file(&fresh));
        self.forget_old_runs()?;
        Ok(settled)
    }

    /// The files as they would be once every unfolded run were folded; writes to the scratch folder
    /// only.
    pub async fn settled_files(
        &self,
        session: &Session,
        now: DateTime<Utc>,
    ) -> Result<DeliveredFiles> {
        let mut files = self.files();
        for run in self.unfolded()? {
            let replayed = self.replay(&run)?;
            let fresh = session.scratch(&format!("{}.{run}.fold.parquet", self.sync));
            let folding = Folding { run: run.as_str(), now, replay: &replayed };
            let changes = self.outbox(&run).join("changes.parquet");
            if engine::fold(&changes, &folding, &fresh)? > 0 {
                let merged = session.scratch(&format!("{}.{run}.settled.parquet", self.sync));
                let metadata = BTreeMap::new();
                let ordered = session.ordered();
                engine::merge(&ordered, &files, &fresh, &merged, &metadata).await?;
                files = DeliveredFiles { base: Some(merged), uneven: true };
            }
        }
        Ok(files)
    }

    async fn write_base(&self, session: &Session, run: &RunId, fresh: &Path) -> Result<FileEntry> {
        let metadata = BTreeMap::from([
            ("muster.format", DELIVERED_FORMAT.to_owned()),
            ("muster.sync", self.sync.clone()),
            ("muster.folded", run.to_string()),
        ]);
        let written = session.scratch(&format!("{}.{run}.merged.parquet", self.sync));
        let ordered = session.ordered();
        let rows = engine::merge(&ordered, &self.files(), fresh, &written, &metadata).await?;
        let sha256 = Self::checksum(&written)?.unwrap_or_default();
        self.store.adopt(&written, &self.folder.join(BASE))?;
        Ok(FileEntry { name: BASE.into(), rows, sha256 })
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
        let path = self.folder.join("remote.json");
        match self.store.read(&path)? {
            None => Ok(None),
            Some(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|_| self.damaged(&path, "cannot be read")),
        }
    }

    pub fn remember(&self, remote: &Remote) -> Result<()> {
        self.write_json("remote.json", remote)
    }

    /// Forgets everything that was delivered; the next run sends all, under ids of its own. The remote
    /// list stays known.
    fn reset(&mut self, run: &RunId) -> Result<()> {
        for name in self.store.list(&self.folder)? {
            if name != "remote.json" {
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
