//! Sessions in which a whole audience is replaced: numbered batches, of which the last one says so.
//!
//! A batch does not know whether it is the last one. The end is therefore a batch of its own, which
//! repeats a member who was sent already.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::destinations::Remote;
use crate::destinations::membership::List;

/// One audience that is being replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Replacement {
    pub id: String,
    /// A number of our own choice.
    session: i64,
}

/// How far each session of this process is.
#[derive(Debug, Default)]
pub(super) struct Replacements(Mutex<BTreeMap<i64, Progress>>);

#[derive(Debug, Default)]
struct Progress {
    batches: u64,
    /// A payload of one member who was sent.
    last: Option<Json>,
}

impl Replacement {
    pub(super) fn begun(list: List, started: DateTime<Utc>) -> Self {
        Self { id: list.id, session: started.timestamp_micros() }
    }

    pub(super) fn of(remote: &Remote) -> Option<Self> {
        Self::deserialize(&remote.0).ok()
    }

    pub(super) fn into_remote(self) -> Remote {
        Remote(json!(self))
    }
}

impl Replacements {
    /// The next request of a session.
    pub(super) fn body(&self, replacement: &Replacement, payload: &Json, is_last: bool) -> Json {
        let mut sessions = self.locked();
        let progress = sessions.entry(replacement.session).or_default();
        progress.batches += 1;
        let session = json!({
            "session_id": replacement.session,
            "batch_seq": progress.batches,
            "last_batch_flag": is_last,
        });
        json!({"session": session, "payload": payload})
    }

    /// Remembers a member who was sent.
    pub(super) fn sent(&self, replacement: &Replacement, last: Json) {
        self.locked().entry(replacement.session).or_default().last = Some(last);
    }

    /// A member who was sent, if anybody was.
    pub(super) fn last(&self, replacement: &Replacement) -> Option<Json> {
        self.locked().get(&replacement.session)?.last.clone()
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<i64, Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
