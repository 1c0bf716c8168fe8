//! What the caller controls while a destination is drained, and what it hears.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;

use super::budget::Budget;
use super::session::Surroundings;
use super::tally::LaneReport;

/// How a drain is stopped, watched and seeded.
#[derive(Clone)]
pub struct Control {
    /// Once true, nothing new is sent.
    pub cancel: watch::Receiver<bool>,
    /// Called about ten times a second at most.
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
    /// Seed of the jitter.
    pub seed: u64,
    /// The time of day when the drain starts.
    pub now: SystemTime,
    /// What may be sent per day, where there is a limit.
    pub budget: Option<Arc<Budget>>,
}

/// Where one destination stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub destination: String,
    /// Rows acknowledged or rejected.
    pub settled: u64,
    pub total: u64,
    pub requests: u64,
}

/// What became of all there was to do for one destination.
#[derive(Debug)]
pub struct Drained {
    /// In the order of the lanes; each adds up to its lane's changes.
    pub lanes: Vec<LaneReport>,
    pub requests: u64,
    /// Times the destination asked us to slow down.
    pub throttled: u64,
    pub elapsed: Duration,
    /// Whether it was stopped from outside.
    pub cancelled: bool,
}

impl Control {
    pub(super) const fn surroundings(&self) -> Surroundings {
        Surroundings { seed: self.seed, now: self.now }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Resolves when the caller wants it to stop; never when the caller has forgotten about it.
pub(super) async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Tells the caller how it goes, not too often.
pub(super) struct Reporter {
    pub(super) destination: String,
    pub(super) tell: Arc<dyn Fn(Progress) + Send + Sync>,
    last: Option<Instant>,
}

impl Reporter {
    const PAUSE: Duration = Duration::from_millis(100);

    pub(super) fn new(destination: String, tell: Arc<dyn Fn(Progress) + Send + Sync>) -> Self {
        Self { destination, tell, last: None }
    }

    /// Whether it is time to tell again.
    pub(super) fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now - last >= Self::PAUSE);
        if due {
            self.last = Some(now);
        }
        due
    }

    pub(super) fn say(&self, settled: u64, total: u64, requests: u64) {
        (self.tell)(Progress { destination: self.destination.clone(), settled, total, requests });
    }
}
