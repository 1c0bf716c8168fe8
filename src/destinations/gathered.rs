//! Who was put into a list while it is being replaced, for platforms that are told at the end who all
//! of its members are.
//!
//! Kept in memory only: a replacement that is cut short is not finished by a later process, and the
//! next run takes off one by one who is too many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde_json::json;

use super::Remote;

/// The members of every list that is being replaced, by its remote.
#[derive(Debug, Default)]
pub(super) struct Gathered(Mutex<BTreeMap<String, BTreeSet<String>>>);

const REPLACING: &str = "replacing";

/// The remote of a list whose replacement began then.
pub(super) fn replacing(remote: &Remote, began: DateTime<Utc>) -> Remote {
    let mut remote = remote.clone();
    if let Some(kept) = remote.0.as_object_mut() {
        kept.insert(REPLACING.to_owned(), json!(began.timestamp_micros()));
    }
    remote
}

pub(super) fn is_replacing(remote: &Remote) -> bool {
    remote.0.get(REPLACING).is_some()
}

impl Gathered {
    /// Remembers who is in the list now, where it is being replaced.
    pub(super) fn add<'m>(&self, remote: &Remote, members: impl IntoIterator<Item = &'m str>) {
        if is_replacing(remote) {
            let mut lists = self.locked();
            let known = lists.entry(remote.0.to_string()).or_default();
            known.extend(members.into_iter().map(str::to_owned));
        }
    }

    pub(super) fn all(&self, remote: &Remote) -> BTreeSet<String> {
        self.locked().get(&remote.0.to_string()).cloned().unwrap_or_default()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
