//! The pipeline, readable top to bottom: load ▸ plan ▸ compute ▸ compare ▸ guard ▸ seal ▸ deliver ▸
//! commit ▸ record.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::watch;

use crate::finding::Finding;
use crate::project::Project;
use crate::state::{RunId, RunRecord, SyncRecord};

/// What to run and how.
#[derive(Clone)]
pub struct Request {
    /// The command line, for the lock and the records; never holds a secret.
    pub command: String,
    /// Names or globs of models, destinations or `model.destination`; empty: everything.
    pub select: Vec<String>,
    /// What `now()` says in models; default: now.
    pub as_of: Option<DateTime<Utc>>,
    pub now: DateTime<Utc>,
    /// Sync although `every` has not passed yet.
    pub force: bool,
    /// Let guards pass once.
    pub allow_large_change: bool,
    /// Send refused rows again although their pause has not passed.
    pub retry_rejected: bool,
    /// Record the present as delivered, send nothing.
    pub baseline: bool,
    /// Seeds jitter.
    pub seed: u64,
    /// Turns true when the user wants to stop.
    pub cancel: watch::Receiver<bool>,
    pub progress: Arc<dyn Fn(Progress) + Send + Sync>,
}

/// What is going on, for whoever shows it. Sent at most some ten times a second per destination.
#[derive(Debug, Clone)]
pub enum Progress {
    Computing {
        model: String,
    },
    Comparing {
        sync: String,
    },
    /// One destination starts to receive `total` records.
    Delivering {
        destination: String,
        total: u64,
    },
    /// So far.
    Delivered {
        destination: String,
        settled: u64,
        total: u64,
        requests: u64,
    },
    Finished {
        destination: String,
    },
}

/// Nothing was started: what has to be mended first.
#[derive(Debug)]
pub struct Refused {
    pub findings: Vec<Finding>,
}

/// What a run did.
#[derive(Debug)]
pub struct Report {
    pub record: RunRecord,
    /// Guards that stopped a sync, and what delivery ran into; shown on stderr.
    pub findings: Vec<Finding>,
}

/// What a run would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub run: RunId,
    pub as_of: DateTime<Utc>,
    pub syncs: Vec<PlannedSync>,
    #[serde(skip)]
    pub findings: Vec<Finding>,
}

/// What a run would do for one sync.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedSync {
    #[serde(flatten)]
    pub record: SyncRecord,
    /// Requests it would take.
    pub request_count: u64,
    /// Seconds needed at the rate limit; `None`: no limit.
    pub seconds: Option<f64>,
    /// When a sync that is not due will be.
    pub due: Option<DateTime<Utc>>,
    /// Requests as they would go over the wire (`--payloads`).
    pub requests: Vec<PlannedRequest>,
    /// The SQL of the desired records and of the difference (`--sql`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
}

/// One request as it would go over the wire, secrets redacted.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedRequest {
    pub method: String,
    pub url: String,
    pub headers: std::collections::BTreeMap<String, String>,
    /// JSON where it is JSON, text otherwise.
    pub body: serde_json::Value,
}

/// How much a plan is to show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Detail {
    pub payloads: usize,
    pub sql: bool,
}

/// Computes, compares, delivers, records. The exit code is in the record.
pub async fn run(project: &Project, request: &Request) -> Result<Report, Refused> {
    let _ = (project, request);
    todo!("being written")
}

/// Computes and compares; sends and stores nothing.
pub async fn plan(project: &Project, request: &Request, detail: Detail) -> Result<Plan, Refused> {
    let _ = (project, request, detail);
    todo!("being written")
}

/// Everything provable without sending; every finding at once, the project's own included.
pub async fn check(project: &Project, now: DateTime<Utc>) -> Vec<Finding> {
    let _ = (project, now);
    todo!("being written")
}

/// A table of values: what `preview` and `query` show.
#[derive(Debug, Clone)]
pub struct Answer {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<serde_json::Value>>,
    /// Rows there are in all, where that is known.
    pub total: Option<u64>,
}

/// The first rows of a model, and how many there are.
pub async fn preview(
    project: &Project,
    model: &str,
    limit: usize,
    as_of: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Answer, Refused> {
    let _ = (project, model, limit, as_of, now);
    todo!("being written")
}

/// Any SQL over tables, `traits.*`, `audiences.*` and `muster.*`.
pub async fn query(
    project: &Project,
    sql: &str,
    as_of: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Answer, Refused> {
    let _ = (project, sql, as_of, now);
    todo!("being written")
}

/// Where one sync stands.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub sync: String,
    /// Records the destination has.
    pub delivered: u64,
    pub rejected: u64,
    pub unsettled: u64,
    pub synced_at: Option<DateTime<Utc>>,
    pub last_run: Option<RunId>,
    /// When it may sync next; `None`: at once.
    pub due: Option<DateTime<Utc>>,
}

pub async fn status(project: &Project, now: DateTime<Utc>) -> Result<Vec<Status>, Refused> {
    let _ = (project, now);
    todo!("being written")
}

/// One row that a destination refused.
#[derive(Debug, Clone, Serialize)]
pub struct RejectedRow {
    pub sync: String,
    pub subject: String,
    pub email: Option<String>,
    pub reason: String,
    pub since: DateTime<Utc>,
    pub refusals: u64,
    pub retry_at: Option<DateTime<Utc>>,
}

/// Rows refused, of all syncs or those selected.
pub async fn rejected(
    project: &Project,
    select: &[String],
    now: DateTime<Utc>,
) -> Result<Vec<RejectedRow>, Refused> {
    let _ = (project, select, now);
    todo!("being written")
}

/// Past runs, latest first; only those that touched the selected syncs.
pub fn history(project: &Project, select: &[String]) -> Result<Vec<RunRecord>, Refused> {
    let _ = (project, select);
    todo!("being written")
}

/// Forgets what was delivered to one sync; the next run sends all. (`--baseline` is a run with
/// `Request::baseline`.)
pub fn reset(
    project: &Project,
    sync: &str,
    command: &str,
    now: DateTime<Utc>,
) -> Result<(), Refused> {
    let _ = (project, sync, command, now);
    todo!("being written")
}

/// Proves the credentials of one configured destination.
pub async fn test_destination(project: &Project, name: &str) -> Result<(), Refused> {
    let _ = (project, name);
    todo!("being written")
}
