//! The networked half of a run: outboxes to destinations, side by side, then every journal folded into
//! what was delivered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinSet;

use super::prepare::{Prepared, target_of};
use super::{Passage, Progress, Refused, Report, Request};
use crate::delivery::{self, Budget, Control, Drained, Keep, Lane, Replacing, Resumption, Work};
use crate::destinations::{Configured, Notice, Remote, Target};
use crate::engine::{Shape, displaced_rows, read_blocks};
use crate::finding::Finding;
use crate::outbox::Journal;
use crate::record::Instant;
use crate::state::{self, RunId, Settled, StateError, Store};

/// Settles what earlier, killed runs left behind: jobs are asked after, journals folded.
pub(super) async fn recover(
    prepared: &Prepared<'_>,
    passages: &mut [Passage],
    request: &Request,
) -> Result<Vec<Finding>, Refused> {
    let mut findings = Vec::new();
    for passage in passages {
        for (run, jobs) in passage.state.open_jobs()? {
            let Some(configured) = prepared.destinations.get(&passage.sync.destination) else {
                continue;
            };
            let folder = passage.state.outbox(&run);
            let rows = passage.state.replay(&run)?.rows.len() as u64;
            let journal = Journal::reopen(&folder, &passage.sync.name, run.as_str(), rows)
                .map_err(StateError::from)?;
            let resumption = Resumption {
                spec: configured.spec,
                destination: Arc::clone(&configured.destination),
                common: configured.common.clone(),
                secrets: configured.secrets.clone(),
                jobs,
                journal,
            };
            let budget = budget(prepared, configured)?;
            let resumed = delivery::resume(resumption, control(request, budget)).await;
            findings.extend(resumed.fault.map(|fault| trouble(&passage.sync.name, &fault)));
            findings.extend(resumed.notices.iter().map(|told| noticed(&passage.sync.name, told)));
        }
        passage.wait_for_jobs(request.now)?;
        if passage.waits {
            continue;
        }
        findings.extend(passage.wait_for_list());
        let unfolded = passage.state.unfolded()?;
        if !unfolded.is_empty() {
            passage.state.verify()?;
        }
        for run in unfolded {
            passage.state.commit(prepared.lake.session(), &run, request.now).await?;
        }
    }
    Ok(findings)
}

/// A job that is not done after this long is not waited for any more: its rows are unsettled.
const LONGEST_JOB: TimeDelta = TimeDelta::days(7);

impl Passage {
    /// Leaves the sync alone while a job of an earlier run is not done: what it holds may arrive yet.
    pub(super) fn wait_for_jobs(&mut self, now: DateTime<Utc>) -> Result<(), Refused> {
        let open = self.state.open_jobs()?;
        let young = |run: &RunId| run.started().is_some_and(|at| now - at < LONGEST_JOB);
        if let Some((run, _)) = open.iter().find(|(run, _)| young(run)) {
            let reason = format!("a job that run {run} submitted is not done yet");
            self.record.skipped = Some(reason);
            self.waits = true;
        }
        Ok(())
    }

    /// Leaves the sync alone while its `list` is another one than what was delivered went to: the
    /// members of the old list would stay on it, and the new one would get changes only.
    pub(super) fn wait_for_list(&mut self) -> Option<Finding> {
        // What is damaged is told where it is opened.
        if self.state.is_for(self.sync.list.as_deref()).unwrap_or(true) {
            return None;
        }
        self.waits = true;
        self.record.skipped = Some("its `list` is another one than before".to_owned());
        let sync = &self.sync.name;
        let message = format!("the `list` of `{sync}` is another one than it was sent to so far");
        let hint = format!(
            "`muster reset {sync} --forget-list` fills the new one; who is on the old one stays there"
        );
        Some(Finding::warning("R07", message).hint(hint))
    }
}

fn noticed(sync: &str, notice: &Notice) -> Finding {
    let Notice { count, reason } = notice;
    let message = format!("`{sync}`: the destination says of {count} of the records: {reason}");
    Finding::warning("R02", message).hint(
        "it does not say of which; they count as delivered and are taken back when they leave",
    )
}

/// What a destination may be asked per day, as far as it is not used yet.
fn budget(
    prepared: &Prepared<'_>,
    configured: &Configured,
) -> Result<Option<Arc<Budget>>, StateError> {
    let Some(limit) = configured.common.daily_limit.or(configured.spec.daily) else {
        return Ok(None);
    };
    let (store, name) = (Store::new(&prepared.lake.project().state), configured.name.clone());
    let booked = state::booked(&store, &name)?;
    let keep: Keep =
        Box::new(move |booked| state::book(&store, &name, booked).map_err(std::io::Error::other));
    Ok(Some(Arc::new(Budget::new(limit, booked, keep))))
}

fn control(request: &Request, budget: Option<Arc<Budget>>) -> Control {
    let progress = Arc::clone(&request.progress);
    Control {
        cancel: request.cancel.clone(),
        progress: Arc::new(move |told: delivery::Progress| {
            progress(Progress::Delivered {
                destination: told.destination,
                settled: told.settled,
                total: told.total,
                requests: told.requests,
            });
        }),
        seed: request.seed,
        now: request.now.into(),
        budget,
    }
}

fn trouble(sync: &str, reason: &str) -> Finding {
    Finding::warning("R01", format!("`{sync}`: {reason}"))
        .hint("what was not acknowledged goes again on the next run")
}

/// Why a sync was halted that had been sent to a remote list: that list may be gone.
fn halted(sync: &str, reason: &str) -> Finding {
    trouble(sync, reason).hint(format!(
        "what was not acknowledged goes again on the next run; if the list is gone there, `muster reset \
         {sync} --forget-list` finds or makes it once more and sends everybody"
    ))
}

/// Drains every sealed outbox and commits what became of it. Never fails as a whole: what goes wrong
/// for one destination is a finding, and its rows stay pending.
pub(super) async fn deliver(
    prepared: &Prepared<'_>,
    passages: &mut [Passage],
    report: &mut Report,
    request: &Request,
) {
    let run = report.record.run.clone();
    let mut drains = JoinSet::new();
    for (name, configured) in &prepared.destinations {
        let mine = passages.iter().enumerate().filter(|(_, passage)| {
            passage.sealed && passage.sync.destination == *name && passage.record.pending > 0
        });
        let mine: Vec<usize> = mine.map(|(index, _)| index).collect();
        let work = work(prepared, configured, passages, &mine, report);
        let budget = budget(prepared, configured).map_err(|error| error.finding());
        match work.and_then(|work| Ok(work.zip(Some(budget?)))) {
            Ok(Some((work, budget))) => {
                let total = work.lanes.iter().map(|lane| lane.changes).sum();
                let destination = name.clone();
                (request.progress)(Progress::Delivering { destination, total });
                let control = control(request, budget);
                drains.spawn(async move { (mine, delivery::drain(work, control).await) });
            }
            Ok(None) => {}
            Err(finding) => report.findings.push(finding),
        }
    }
    while let Some(drained) = drains.join_next().await {
        match drained {
            Ok((mine, drained)) => tell(passages, &mine, &drained, report, request),
            Err(error) => {
                let message = format!("delivery stopped: {error}");
                report.findings.push(Finding::error("B02", message));
            }
        }
    }
    for passage in passages.iter_mut().filter(|passage| passage.sealed) {
        match passage.conclude(prepared, &run, request).await {
            Ok(settled) => passage.settle(settled.acknowledged, settled.rejected),
            Err(error) => report
                .findings
                .push(error.finding().note("the journal is safe; the next run folds it in first")),
        }
    }
}

impl Passage {
    /// Folds the run into what was delivered, unless a job is still open: then the next run asks after
    /// it first.
    async fn conclude(
        &mut self,
        prepared: &Prepared<'_>,
        run: &RunId,
        request: &Request,
    ) -> Result<Settled, StateError> {
        let replay = self.state.replay(run)?;
        if replay.jobs.is_empty() {
            return self.state.commit(prepared.lake.session(), run, request.now).await;
        }
        Ok(Settled::of(&replay))
    }

    fn settle(&mut self, acknowledged: u64, rejected: u64) {
        self.record.delivered = acknowledged;
        self.record.rejected += rejected;
        self.record.pending = self.record.pending.saturating_sub(acknowledged + rejected);
    }
}

/// What went wrong on the way, once per reason.
fn tell(
    passages: &[Passage],
    mine: &[usize],
    drained: &Drained,
    report: &mut Report,
    request: &Request,
) {
    report.record.requests += drained.requests;
    let mut reasons: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (index, lane) in mine.iter().zip(&drained.lanes) {
        let Some(passage) = passages.get(*index) else { continue };
        let notices = lane.notices.iter();
        report.findings.extend(notices.map(|told| noticed(&passage.sync.name, told)));
        match (&lane.halted, &lane.fault) {
            (Some(reason), _) if passage.had_list => {
                report.findings.push(halted(&passage.sync.name, reason));
            }
            (Some(reason), _) | (None, Some(reason)) => {
                reasons.entry(reason.clone()).or_default().push(&passage.sync.name);
            }
            (None, None) => {}
        }
    }
    for (reason, syncs) in reasons {
        report.findings.push(trouble(&syncs.join("`, `"), &reason));
    }
    if let Some(passage) = mine.first().and_then(|index| passages.get(*index)) {
        let destination = passage.sync.destination.clone();
        (request.progress)(Progress::Finished { destination });
    }
}

fn work(
    prepared: &Prepared<'_>,
    configured: &Configured,
    passages: &[Passage],
    mine: &[usize],
    report: &Report,
) -> Result<Option<Work>, Finding> {
    let mut lanes = Vec::with_capacity(mine.len());
    for (position, index) in mine.iter().enumerate() {
        lanes.push(lane(prepared, &passages[*index], position, report)?);
    }
    Ok((!lanes.is_empty()).then(|| Work {
        name: configured.name.clone(),
        spec: configured.spec,
        destination: Arc::clone(&configured.destination),
        common: configured.common.clone(),
        secrets: configured.secrets.clone(),
        lanes,
    }))
}

fn lane(
    prepared: &Prepared<'_>,
    passage: &Passage,
    position: usize,
    report: &Report,
) -> Result<Lane, Finding> {
    let run = &report.record.run;
    let timestamp = report.record.as_of.timestamp_micros();
    let shape = Arc::new(shape(passage, position, timestamp));
    let folder = passage.state.outbox(run);
    let changes = folder.join("changes.parquet");
    let rows = passage.compared.as_ref().map_or(0, |compared| compared.changes.rows);
    let blocks =
        read_blocks(&changes, &shape).map_err(|error| unreadable(&changes, error.as_ref()))?;
    let journal = Journal::create(&folder, &passage.sync.name, run.as_str(), rows)
        .map_err(|error| StateError::from(error).finding())?;
    let (state, list) = (passage.state.clone(), passage.sync.list.clone());
    let displaced = passage.replaces.then(|| displaced_rows(&changes)).transpose();
    let displaced = displaced.map_err(|error| unreadable(&changes, error.as_ref()))?;
    let replacing =
        displaced.map(|displaced| Replacing { started: report.record.started, displaced });
    Ok(Lane {
        replacing,
        target: target(prepared, passage, run)?,
        shape,
        changes: passage.record.pending,
        blocks: Box::new(blocks),
        journal,
        remember: Arc::new(move |remote: &Remote| {
            state.remember(remote, list.as_deref()).map_err(std::io::Error::other)
        }),
    })
}

fn unreadable(changes: &Path, error: &dyn std::error::Error) -> Finding {
    Finding::error("K07", format!("could not read `{}`", changes.display())).note(error.to_string())
}

pub(super) fn target(
    prepared: &Prepared<'_>,
    passage: &Passage,
    run: &RunId,
) -> Result<Target, Finding> {
    let remote = passage.state.remote().map_err(|error| error.finding())?;
    Ok(target_of(prepared, &passage.sync, run.as_str(), remote))
}

/// What is the same for every row of one sync's changes.
pub(super) fn shape(passage: &Passage, index: usize, timestamp: i64) -> Shape {
    let (sync, records) = (&passage.sync, &passage.records);
    let mapped = |column: &String| {
        let name = sync.fields.get(column).unwrap_or(column);
        (column.clone(), name.clone())
    };
    Shape {
        sync: sync.name.clone(),
        index,
        call: sync.call,
        kind: sync.kind,
        level: records.level(),
        model_key: sync.model.clone(),
        event: sync.event.clone(),
        timestamp: Instant(timestamp).to_string(),
        columns: records.columns().iter().map(|column| mapped(&column.name)).collect(),
        identifiers: records.identifiers(),
        profile: records.profile.iter().map(mapped).collect(),
    }
}
