//! What `run` and `plan` print with `--format json`.

use serde_json::Value;

/// Keys of one sync's entry, as promised.
pub const SYNC_KEYS: [&str; 12] = [
    "sync",
    "entered",
    "exited",
    "changed",
    "resynced",
    "unchanged",
    "invalid",
    "suppressed",
    "delivered",
    "rejected",
    "pending",
    "skipped",
];

/// One JSON report.
#[derive(Debug, Clone)]
pub struct Report(pub Value);

impl Report {
    #[track_caller]
    pub fn syncs(&self) -> &[Value] {
        self.0["syncs"].as_array().unwrap_or_else(|| panic!("no `syncs` in {:#}", self.0))
    }

    #[track_caller]
    pub fn sync(&self, name: &str) -> &Value {
        let found = self.syncs().iter().find(|sync| sync["sync"] == name);
        found.unwrap_or_else(|| panic!("no sync `{name}` in {:#}", self.0))
    }

    #[track_caller]
    pub fn count(&self, sync: &str, key: &str) -> u64 {
        let entry = self.sync(sync);
        entry[key].as_u64().unwrap_or_else(|| panic!("`{key}` is not a count in {entry:#}"))
    }

    /// Entered, exited, changed, resynced: what the difference was.
    #[track_caller]
    pub fn difference(&self, sync: &str) -> [u64; 4] {
        ["entered", "exited", "changed", "resynced"].map(|key| self.count(sync, key))
    }

    /// Delivered, rejected, pending: what became of it.
    #[track_caller]
    pub fn outcome(&self, sync: &str) -> [u64; 3] {
        ["delivered", "rejected", "pending"].map(|key| self.count(sync, key))
    }

    #[track_caller]
    pub fn total(&self, key: &str) -> u64 {
        self.syncs().iter().map(|sync| sync[key].as_u64().unwrap()).sum()
    }

    /// Asserts the equation of DESIGN §1: every difference has one outcome.
    #[track_caller]
    pub fn adds_up(&self) -> &Self {
        for entry in self.syncs() {
            let name = entry["sync"].as_str().unwrap();
            let difference: u64 = self.difference(name).iter().sum();
            let outcome: u64 = self.outcome(name).iter().sum();
            assert_eq!(difference, outcome, "the counts do not add up: {entry:#}");
        }
        self
    }
}
