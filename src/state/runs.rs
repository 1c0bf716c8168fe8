//! Records of past runs: one JSON file each, written when the run ends.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Result, StateError, Store};

/// Names a run; sorts by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// A new id, later than every one there is, even if the clock went back.
    pub fn new(now: DateTime<Utc>, latest: Option<&Self>) -> Self {
        let id = Self::at(now);
        match latest {
            Some(latest) if *latest >= id => Self(format!("{latest}+")),
            _ => id,
        }
    }

    /// What a run that started then is called; runs that start later sort after it.
    pub fn at(time: DateTime<Utc>) -> Self {
        Self(time.format("%Y%m%dT%H%M%S%3fZ").to_string())
    }

    /// When the run started.
    pub fn started(&self) -> Option<DateTime<Utc>> {
        let time = self.0.trim_end_matches('+');
        let parsed = chrono::NaiveDateTime::parse_from_str(time, "%Y%m%dT%H%M%S%3fZ").ok()?;
        Some(parsed.and_utc())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for RunId {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a run did.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRecord {
    pub format: u32,
    pub run: RunId,
    pub command: String,
    pub as_of: DateTime<Utc>,
    pub started: DateTime<Utc>,
    pub finished: DateTime<Utc>,
    pub exit_code: u8,
    pub requests: u64,
    pub syncs: Vec<SyncRecord>,
}

/// What a run did for one sync. The numbers add up: see [`SyncRecord::adds_up`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    /// `model.destination`.
    pub sync: String,
    pub entered: u64,
    pub exited: u64,
    pub changed: u64,
    pub resynced: u64,
    pub unchanged: u64,
    pub invalid: u64,
    pub suppressed: u64,
    pub delivered: u64,
    pub rejected: u64,
    pub pending: u64,
    /// Why nothing was computed or sent, if so.
    pub skipped: Option<String>,
}

impl SyncRecord {
    pub fn differing(&self) -> u64 {
        self.entered + self.exited + self.changed + self.resynced
    }

    /// Every record that differs was delivered, rejected or is pending.
    pub fn adds_up(&self) -> bool {
        self.differing() == self.delivered + self.rejected + self.pending
    }
}

impl RunRecord {
    pub fn write(&self, store: &Store) -> Result<()> {
        let path = store.path(&format!("runs/{}.json", self.run));
        let text = serde_json::to_vec_pretty(self).map_err(|error| StateError::Write {
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        store.replace(&path, &text)
    }

    /// Every run there is, oldest first; files that are not records are passed over.
    pub fn all(store: &Store) -> Result<Vec<Self>> {
        let folder = store.path("runs");
        let mut runs = Vec::new();
        for name in store.list(&folder)? {
            let is_record = name.strip_suffix(".json").is_some();
            if let (true, Some(bytes)) = (is_record, store.read(&folder.join(&name))?)
                && let Ok(run) = serde_json::from_slice(&bytes)
            {
                runs.push(run);
            }
        }
        Ok(runs)
    }

    /// The id of the latest run.
    pub fn latest(store: &Store) -> Result<Option<RunId>> {
        let names = store.list(&store.path("runs"))?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(".json"));
        Ok(ids.max().map(|id| RunId(id.to_owned())))
    }
}
