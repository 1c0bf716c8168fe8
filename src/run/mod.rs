//! The pipeline, readable top to bottom: load ▸ plan ▸ compute ▸ compare ▸ guard ▸ seal ▸ deliver ▸
//! commit ▸ record.

mod deliver;
mod inspect;
mod prepare;
mod rehearse;
mod remarks;
mod unchanged;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio::sync::watch;

use crate::engine::{
    self, Compared, Comparison, DeliveredFiles, Fading, Lake, Reading, Records, Wanted,
};
use crate::finding::Finding;
use crate::guard::{self, Movement};
use crate::plan;
use crate::project::Project;
use crate::record::{Call, Change};
use crate::state::{Holder, Lock, RunId, RunRecord, StateError, Store, SyncRecord, SyncState};

pub use inspect::{
    Answer, RejectedRow, Status, check, forget_list, history, preview, query, rejected, reset,
    status, test_destination,
};
use prepare::{Concern, Prepared, Scratch, limits, prepare, records, stopping};

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
    /// Names or globs of syncs whose whole list is replaced; run beside what is selected.
    pub replace: Vec<String>,
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

impl Refused {
    fn one(finding: Finding) -> Self {
        Self { findings: vec![finding] }
    }
}

impl From<StateError> for Refused {
    fn from(error: StateError) -> Self {
        Self::one(error.finding())
    }
}

impl From<engine::EngineError> for Refused {
    fn from(error: engine::EngineError) -> Self {
        Self::one(error.finding())
    }
}

impl From<Vec<Finding>> for Refused {
    fn from(findings: Vec<Finding>) -> Self {
        Self { findings }
    }
}

/// All was delivered, or there was nothing to do.
const EXIT_DONE: u8 = 0;
/// Some rows were rejected or are pending.
const EXIT_INCOMPLETE: u8 = 1;
/// A guard stopped a sync.
const EXIT_GUARDED: u8 = 3;
/// Stopped from outside, cleanly recorded.
const EXIT_INTERRUPTED: u8 = 130;

/// One sync inside a run, on its way through the pipeline.
struct Passage {
    sync: plan::Sync,
    state: SyncState,
    records: Records,
    record: SyncRecord,
    /// Set by `compare`; taken by `seal`.
    compared: Option<Compared>,
    sealed: bool,
    /// For a job of an earlier run, or to be told what becomes of another `list`.
    waits: bool,
    /// It was sent to a remote list before.
    had_list: bool,
    /// Of what the records are computed from; `None` when that cannot be told.
    fingerprint: Option<String>,
    /// Nothing changed since there was nothing left to say: not computed.
    resting: bool,
    /// Its whole list is replaced.
    replaces: bool,
}

/// Computes, compares, delivers, records. The exit code is in the record.
pub async fn run(project: &Project, request: &Request) -> Result<Report, Refused> {
    let store = Store::new(&project.state);
    let started = std::time::Instant::now();
    let _lock = lock(&store, request)?;
    let run = RunId::new(request.now, RunRecord::latest(&store)?.as_ref());
    let scratch = Scratch::inside(&project.state, run.as_str())
        .map_err(|source| StateError::Write { path: project.state.join("tmp"), source })?;
    let as_of = request.as_of.unwrap_or(request.now);
    let prepared = prepare(project, limits(project, &scratch, as_of)).await?;
    let chosen = choose(&prepared, request)?;
    let mut findings = warnings(&prepared);
    let mut passages = open(&prepared, &store, &chosen, (&run, request))?;
    findings.extend(deliver::recover(&prepared, &mut passages, request).await?);
    let mut report = Report {
        record: RunRecord {
            format: 1,
            run: run.clone(),
            command: request.command.clone(),
            as_of,
            started: request.now,
            finished: request.now,
            exit_code: EXIT_DONE,
            requests: 0,
            syncs: Vec::new(),
        },
        findings,
    };
    skip_what_is_not_due(&mut passages, request);
    unchanged::rest(&prepared, &mut passages, request)?;
    let mut cancel = request.cancel.clone();
    let interrupted = tokio::select! {
        compared = compare(&prepared, &mut passages, &run, request) => {
            compared?;
            false
        }
        () = cancelled(&mut cancel) => true,
    };
    if !interrupted {
        report.findings.extend(passages.iter().flat_map(Passage::remarks));
        let guarded = guard_all(&mut passages, request);
        report.record.exit_code = if guarded.is_empty() { EXIT_DONE } else { EXIT_GUARDED };
        report.findings.extend(guarded);
        seal(&mut passages, &run)?;
        deliver::deliver(&prepared, &mut passages, &mut report, request).await;
        report.findings.extend(unchanged::remember(&mut passages));
    }
    let elapsed = chrono::TimeDelta::from_std(started.elapsed()).unwrap_or_default();
    report.record.finished = request.now + elapsed;
    finish(&store, passages, report, request, interrupted)
}

fn lock(store: &Store, request: &Request) -> Result<Lock, Refused> {
    let holder =
        Holder { pid: std::process::id(), command: request.command.clone(), since: request.now };
    Ok(Lock::acquire(store, &holder)?)
}

async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The syncs that are asked for; refuses when anything they need is wrong.
fn choose(prepared: &Prepared<'_>, request: &Request) -> Result<Vec<plan::Sync>, Refused> {
    let names: Vec<String> = request.select.iter().chain(&request.replace).cloned().collect();
    let selected = plan::select(&prepared.syncs, &names);
    let used: Option<BTreeSet<String>> = match &selected {
        Ok(syncs) if !names.is_empty() => {
            Some(syncs.iter().map(|sync| sync.destination.clone()).collect())
        }
        _ => None,
    };
    let concern = used.as_ref().map_or(Concern::All, Concern::Only);
    let wrong = stopping(prepared.findings.clone(), concern);
    if !wrong.is_empty() {
        return Err(Refused { findings: wrong });
    }
    Ok(selected?.into_iter().cloned().collect())
}

fn warnings(prepared: &Prepared<'_>) -> Vec<Finding> {
    prepared.findings.iter().filter(|finding| !finding.is_error()).cloned().collect()
}

fn open(
    prepared: &Prepared<'_>,
    store: &Store,
    chosen: &[plan::Sync],
    (run, request): (&RunId, &Request),
) -> Result<Vec<Passage>, Refused> {
    let replaced = replaced(prepared, request)?;
    let mut passages = Vec::new();
    for sync in chosen {
        let Some(records) = records(prepared, sync) else { continue };
        if request.baseline {
            // A baseline is how a damaged state is mended, so it is not read first.
            if SyncState::open(store, &sync.name).is_err() {
                SyncState::erase(store, &sync.name, run)?;
            }
        }
        let state = SyncState::glance(store, &sync.name)?;
        passages.push(Passage {
            // What is damaged is told where it is opened.
            had_list: sync.call == Call::List && matches!(state.remote(), Ok(Some(_))),
            state,
            fingerprint: None,
            resting: false,
            replaces: replaced.contains(&sync.name),
            records,
            record: SyncRecord { sync: sync.name.clone(), ..SyncRecord::default() },
            compared: None,
            sealed: false,
            waits: false,
            sync: sync.clone(),
        });
    }
    Ok(passages)
}

/// Names of the syncs whose whole list is replaced; refuses where the destination has no such thing.
fn replaced(prepared: &Prepared<'_>, request: &Request) -> Result<BTreeSet<String>, Refused> {
    if request.replace.is_empty() {
        return Ok(BTreeSet::new());
    }
    let chosen = plan::select(&prepared.syncs, &request.replace)?;
    let cannot = chosen.iter().filter_map(|sync| {
        let spec = prepared.destinations.get(&sync.destination)?.spec;
        let message =
            format!("`{}` cannot be replaced: {} has no such thing", sync.name, spec.title);
        let hint =
            "`muster run` sends who entered and who left; `muster reset` sends everybody again";
        (!spec.replaces).then(|| Finding::error("U04", message).hint(hint))
    });
    let cannot: Vec<Finding> = cannot.collect();
    match cannot.is_empty() {
        true => Ok(chosen.into_iter().map(|sync| sync.name.clone()).collect()),
        false => Err(Refused { findings: cannot }),
    }
}

fn skip_what_is_not_due(passages: &mut [Passage], request: &Request) {
    for passage in passages.iter_mut().filter(|passage| !passage.waits) {
        if let Some(due) = passage.due(request) {
            passage.record.skipped =
                Some(format!("not due before {}", due.format("%Y-%m-%d %H:%M:%S UTC")));
        }
    }
}

/// Computes what these syncs select from, each model once.
async fn compute<'a>(
    prepared: &Prepared<'_>,
    passages: impl Iterator<Item = &'a Passage> + Clone,
    request: &Request,
) -> Result<(), Refused> {
    let wanted = Wanted {
        models: passages.clone().map(|passage| passage.sync.model.clone()).collect(),
        identifiers: passages.into_iter().any(|passage| !passage.records.identifiers().is_empty()),
    };
    let computing =
        |model: &str| (request.progress)(Progress::Computing { model: model.to_owned() });
    Ok(engine::compute(&prepared.lake, &wanted, computing).await?)
}

/// Computes what is needed, then what each sync has to say.
async fn compare(
    prepared: &Prepared<'_>,
    passages: &mut [Passage],
    run: &RunId,
    request: &Request,
) -> Result<(), Refused> {
    if !passages.iter().any(Passage::is_active) {
        return Ok(());
    }
    compute(prepared, passages.iter().filter(|passage| passage.is_active()), request).await?;
    for passage in passages.iter_mut().filter(|passage| passage.is_active()) {
        (request.progress)(Progress::Comparing { sync: passage.sync.name.clone() });
        let files = passage.state.files();
        passage.compare(&prepared.lake, &files, run, request).await?;
    }
    Ok(())
}

impl Passage {
    fn is_active(&self) -> bool {
        self.record.skipped.is_none() && !self.resting
    }

    fn due(&self, request: &Request) -> Option<DateTime<Utc>> {
        if request.force || request.baseline || request.retry_rejected || self.replaces {
            return None;
        }
        let synced_at = self.state.manifest().and_then(|manifest| manifest.synced_at);
        plan::due(self.sync.every, synced_at, request.now)
    }

    fn reading(&self, request: &Request) -> Reading {
        let first = self.state.manifest().is_none();
        match request.baseline || (first && !self.sync.history) {
            true => Reading::Baseline,
            false if self.replaces => Reading::Replace,
            false => Reading::Normal,
        }
    }

    async fn compare(
        &mut self,
        lake: &Lake<'_>,
        delivered: &DeliveredFiles,
        run: &RunId,
        request: &Request,
    ) -> Result<(), Refused> {
        let comparison = Comparison {
            records: &self.records,
            delivered,
            reading: self.reading(request),
            run: run.as_str(),
            origin: &self.state.origin()?,
            now: request.now,
            retry_rejected: request.retry_rejected,
            fading: self
                .sync
                .forgets
                .map(|life| Fading::new(life, request.now, |time| RunId::at(time).to_string())),
        };
        let compared = engine::compare(lake, &comparison).await?;
        let counts = &compared.changes.counts;
        let record = &mut self.record;
        record.entered = counts.of(Change::Entered);
        record.exited = counts.of(Change::Exited) + counts.of(Change::Displaced);
        record.changed = counts.of(Change::Changed);
        record.resynced = counts.of(Change::Resynced);
        record.unchanged =
            compared.desired.saturating_sub(record.entered + record.changed + record.resynced);
        record.invalid = compared.invalid.rows;
        record.suppressed = compared.suppressed;
        record.rejected = counts.held();
        record.pending = counts.sent() + counts.of(Change::Displaced);
        self.compared = Some(compared);
        Ok(())
    }

    fn movement(&self) -> Option<Movement> {
        let compared = self.compared.as_ref()?;
        Some(Movement {
            before: compared.before,
            desired: compared.desired,
            exits: self.record.exited,
            changes: self.record.differing(),
        })
    }

    /// Why a guard stops this sync, if one does.
    fn guarded(&self, request: &Request) -> Option<Finding> {
        if request.allow_large_change {
            return None;
        }
        guard::check(&self.sync.name, &self.sync.guard, self.movement()?)
    }
}

/// Takes every sync that a guard stops out of the run.
fn guard_all(passages: &mut [Passage], request: &Request) -> Vec<Finding> {
    let mut findings = Vec::new();
    for passage in passages {
        if let Some(finding) = passage.guarded(request) {
            passage.record.skipped = Some(finding.message.clone());
            passage.compared = None;
            findings.push(finding);
        }
    }
    findings
}

/// From here on the changes are part of the state: whatever happens, the next run knows of them.
fn seal(passages: &mut [Passage], run: &RunId) -> Result<(), Refused> {
    for passage in passages {
        if let Some(compared) = &passage.compared
            && (compared.changes.rows > 0 || passage.state.manifest().is_none())
        {
            passage.state.seal(run, &compared.changes.path)?;
            passage.sealed = true;
        }
        if let Some(compared) = &passage.compared {
            passage.state.keep_invalid(compared.invalid.path.as_deref())?;
        }
    }
    Ok(())
}

fn finish(
    store: &Store,
    passages: Vec<Passage>,
    mut report: Report,
    request: &Request,
    interrupted: bool,
) -> Result<Report, Refused> {
    let waiting = passages.iter().any(|passage| passage.waits);
    let record = &mut report.record;
    record.syncs = passages.into_iter().map(|passage| passage.record).collect();
    let incomplete = waiting || record.syncs.iter().any(|sync| sync.pending + sync.rejected > 0);
    record.exit_code = match record.exit_code {
        _ if interrupted || *request.cancel.borrow() => EXIT_INTERRUPTED,
        EXIT_DONE if incomplete => EXIT_INCOMPLETE,
        code => code,
    };
    for sync in record.syncs.iter().filter(|sync| !sync.adds_up()) {
        let message = format!("the counts of `{}` do not add up", sync.sync);
        report
            .findings
            .push(Finding::error("B01", message).hint("this is a bug in muster; please report it"));
    }
    record.write(store)?;
    Ok(report)
}

/// Computes and compares; sends and stores nothing.
pub async fn plan(project: &Project, request: &Request, detail: Detail) -> Result<Plan, Refused> {
    let store = Store::new(&project.state);
    let run = RunId::new(request.now, RunRecord::latest(&store)?.as_ref());
    let scratch = Scratch::temporary()
        .map_err(|source| StateError::Write { path: std::env::temp_dir(), source })?;
    let as_of = request.as_of.unwrap_or(request.now);
    let prepared = prepare(project, limits(project, &scratch, as_of)).await?;
    let chosen = choose(&prepared, request)?;
    let mut passages = open(&prepared, &store, &chosen, (&run, request))?;
    passages.iter().try_for_each(|passage| passage.state.verify())?;
    compute(&prepared, passages.iter(), request).await?;
    let mut plan = Plan { run, as_of, syncs: Vec::new(), findings: warnings(&prepared) };
    for passage in &mut passages {
        (request.progress)(Progress::Comparing { sync: passage.sync.name.clone() });
        passage.wait_for_jobs(request.now)?;
        if !passage.waits {
            plan.findings.extend(passage.wait_for_list());
        }
        if passage.waits {
            continue;
        }
        // What a killed run left behind counts, but is not written down by a plan.
        let files = passage.state.settled_files(prepared.lake.session(), request.now)?;
        passage.compare(&prepared.lake, &files, &plan.run, request).await?;
        plan.findings.extend(passage.remarks());
        let guarded = passage.guarded(request);
        passage.record.skipped = guarded.as_ref().map(|finding| finding.message.clone());
        plan.findings.extend(guarded);
    }
    plan.syncs = rehearse::planned(&prepared, &passages, request, detail).await?;
    plan.findings.extend(remarks::beyond_the_day(&prepared, &plan.syncs));
    Ok(plan)
}
