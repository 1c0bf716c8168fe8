//! Emptying the outboxes of one destination.
//!
//! Two sides work at once: the [`Feeder`] reads, merges, batches and journals ahead; the sender here
//! keeps as many requests in flight as quota and latency allow, and settles what comes back. Every
//! batch ends in exactly one of: acknowledged, rejected, withdrawn (certainly not there) or left
//! unsettled. Nothing is sent that is not journaled, and nothing after the journal broke.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::batching::Limits;
use super::intake::{Feeder, Group, Intake, Supply, broken, grouped};
use super::report::{Control, Drained, Reporter, cancelled};
use super::session::{Session, Terms};
use super::settle::{Answer, JobEnd};
use super::shipment::{Retained, Shipment};
use super::tally::{LaneTally, Tally};
use super::{Lane, Remember, Work};
use crate::destinations::Destination;

/// How long requests in flight may take to finish once the caller wants to stop.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// Batches given up in a row, after which the destination is left alone.
pub(super) const PATIENCE: u32 = 3;
/// Jobs whose outcome is waited for at once.
const MOST_JOBS: usize = 64;
/// Messages waiting to be sent again, per row of a batch, before nothing new is taken on.
const MOST_RETAINED: usize = 64;

/// The sending side.
pub(super) struct Sender {
    pub(super) session: Session,
    pub(super) destination: Arc<dyn Destination>,
    pub(super) limits: Limits,
    pub(super) tally: Tally,
    pub(super) ready: VecDeque<Shipment>,
    pub(super) retained: Retained,
    pub(super) requests: JoinSet<Answer>,
    pub(super) jobs: JoinSet<JobEnd>,
    /// By lane.
    pub(super) remember: Vec<Remember>,
    /// Batches given up since the last one that was answered.
    pub(super) failures: u32,
    pub(super) cancelled: bool,
}

/// Delivers everything there is to do for one destination, as far as it can be done in this run.
pub async fn drain(work: Work, control: Control) -> Drained {
    let terms =
        Terms { spec: work.spec, common: work.common.clone(), secrets: work.secrets.clone() };
    match Session::live(&terms, control.surroundings()) {
        Ok(session) => {
            let session = session.within(control.budget.clone());
            on_a_worker(drain_through(session, work, control)).await
        }
        Err(fault) => {
            let lanes = work.lanes.into_iter().enumerate();
            let mut tally = Tally::new(lanes.map(|lane| split(lane).1).collect());
            (0..tally.lanes.len()).for_each(|lane| tally.halt(lane, &fault.to_string()));
            finished(tally, None, Instant::now(), false).await
        }
    }
}

/// Runs a drain beside the requests it waits for: a caller that blocks on it from outside the
/// runtime's workers would pay a wake-up across threads for every reply.
async fn on_a_worker(draining: impl Future<Output = Drained> + Send + 'static) -> Drained {
    let mut worker = JoinSet::new();
    worker.spawn(draining);
    match worker.join_next().await {
        Some(Ok(drained)) => drained,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down, and the caller with it.
        Some(Err(_)) | None => std::future::pending().await,
    }
}

/// Delivers through a session that is already there.
pub(super) async fn drain_through(session: Session, work: Work, control: Control) -> Drained {
    let started = Instant::now();
    let Work { name, spec, destination, common, secrets: _, lanes } = work;
    let remember = lanes.iter().map(|lane| Arc::clone(&lane.remember)).collect();
    let (intakes, tallies): (Vec<_>, Vec<_>) = lanes.into_iter().enumerate().map(split).unzip();
    let tally = Tally::new(tallies);
    let limits = Limits::new(spec, &common);
    let changed = intakes.into_iter().zip(&tally.lanes).filter(|(_, lane)| lane.changes > 0);
    let changed = changed.map(|(intake, _)| intake).collect();
    let groups = grouped(changed, |lane: &Intake| &lane.shape, spec, &common);
    let (supply, supplied) = mpsc::channel(1);
    let feeder =
        Feeder { session: session.clone(), destination: Arc::clone(&destination), limits, supply };
    let mut feeding = JoinSet::new();
    feeding.spawn(feeder.feed(groups));
    let mut sender = Sender::new(session, destination, limits, tally, remember);
    let reporter = Reporter::new(name, Arc::clone(&control.progress));
    sender.run(supplied, reporter, control).await;
    feeding.shutdown().await;
    finished(sender.tally, Some(sender.session), started, sender.cancelled).await
}

fn split((index, lane): (usize, Lane)) -> (Intake, LaneTally) {
    let Lane { target, shape, changes, blocks, journal, remember, replacing } = lane;
    let started = replacing.as_ref().map(|replacing| replacing.started);
    let displaced = replacing.map(|replacing| replacing.displaced);
    let tally = LaneTally::new(journal.clone(), changes).displacing(displaced);
    (Intake { index, target, shape, blocks, journal, remember, replacing: started }, tally)
}

/// Flushes the journals and reports.
async fn finished(
    mut tally: Tally,
    session: Option<Session>,
    started: Instant,
    cancelled: bool,
) -> Drained {
    for lane in &mut tally.lanes {
        if let Err(error) = lane.journal.clone().close().await {
            lane.halted.get_or_insert_with(|| broken(&error));
        }
    }
    let count = |counter: fn(&Session) -> u64| session.as_ref().map_or(0, counter);
    Drained {
        lanes: tally.reports(),
        requests: count(|session| session.core.requests.load(Ordering::Relaxed)),
        throttled: count(|session| session.core.throttled.load(Ordering::Relaxed)),
        elapsed: started.elapsed(),
        cancelled,
    }
}

impl Sender {
    fn new(
        session: Session,
        destination: Arc<dyn Destination>,
        limits: Limits,
        tally: Tally,
        remember: Vec<Remember>,
    ) -> Self {
        Self {
            session,
            destination,
            limits,
            tally,
            ready: VecDeque::new(),
            retained: Retained::default(),
            requests: JoinSet::new(),
            jobs: JoinSet::new(),
            remember,
            failures: 0,
            cancelled: false,
        }
    }

    /// Sends and settles until nothing is left to do.
    async fn run(
        &mut self,
        mut supplied: mpsc::Receiver<Supply>,
        mut reporter: Reporter,
        mut control: Control,
    ) {
        let mut fed = false;
        let mut grace: Option<Instant> = None;
        while !(fed && self.is_idle()) {
            self.dispatch();
            self.settle_accounts();
            self.report(&mut reporter, false);
            let room = self.has_room();
            tokio::select! {
                Some(answer) = self.requests.join_next(), if !self.requests.is_empty() => {
                    self.answered(answer);
                    while let Some(answer) = self.requests.try_join_next() {
                        self.answered(answer);
                    }
                }
                Some(end) = self.jobs.join_next(), if !self.jobs.is_empty() => self.job_ended(end),
                supply = supplied.recv(), if room && !fed => match supply {
                    Some(supply) => self.take(supply),
                    None => fed = true,
                },
                () = due(self.retained.due()), if !self.retained.is_empty() => {}
                () = cancelled(&mut control.cancel), if !self.cancelled => {
                    self.cancelled = true;
                    grace = Some(Instant::now() + GRACE);
                    self.stop("stopped before it was sent");
                }
                () = due(grace), if grace.is_some() => break,
            }
        }
        if !self.cancelled {
            self.finish(&mut control).await;
        }
        // Whatever is still in flight is dropped: the journal says that it may have arrived.
        self.requests.shutdown().await;
        self.jobs.shutdown().await;
        self.settle_accounts();
        self.report(&mut reporter, true);
    }

    fn is_idle(&self) -> bool {
        self.ready.is_empty()
            && self.retained.is_empty()
            && self.requests.is_empty()
            && self.jobs.is_empty()
    }

    /// Whether more may be taken on. Once stopped, what still comes is only put aside.
    fn has_room(&self) -> bool {
        let waiting = self.ready.len() < self.session.core.flow.limit();
        let retained = self.retained.len() < MOST_RETAINED.saturating_mul(self.limits.rows);
        let jobs = self.jobs.len() < MOST_JOBS;
        self.session.core.is_stopped() || (waiting && retained && jobs)
    }

    /// Puts as many batches in flight as may be.
    fn dispatch(&mut self) {
        let limit = self.session.core.flow.limit();
        while self.requests.len() < limit && self.jobs.len() < MOST_JOBS {
            let Some(shipment) = self.next() else { return };
            let session = self.session.fresh();
            let destination = Arc::clone(&self.destination);
            self.requests.spawn(async move {
                let remote = &shipment.stream.remote;
                let result = destination.deliver(&session, remote, &shipment.batch).await;
                Answer { shipment, result, session }
            });
        }
    }

    /// What is due again goes before what is new.
    fn next(&mut self) -> Option<Shipment> {
        self.retained.take_due(self.limits).or_else(|| self.ready.pop_front())
    }

    fn take(&mut self, supply: Supply) {
        match supply {
            Supply::Opened { lane, remote } => self.tally.lanes[lane].remote = Some(remote),
            Supply::Group(group) => self.take_group(group),
            Supply::Halted { reason } => self.halt(&reason),
            Supply::LanesHalted { lanes, reason, gave_up } => {
                for lane in lanes {
                    self.tally.halt(lane, &reason);
                }
                if gave_up {
                    self.count_failure(&reason);
                }
            }
        }
    }

    fn take_group(&mut self, group: Group) {
        let Group { shipments, attempted, refused } = group;
        for (lane, rows) in attempted {
            self.tally.attempted(lane, rows);
        }
        for (message, reason) in refused {
            if let Err(error) = self.tally.refuse(&message, &reason) {
                self.halt(&broken(&error));
            }
        }
        self.ready.extend(shipments);
        if self.session.core.is_stopped() {
            self.withdraw_waiting(|_| true, "stopped before it was sent");
        } else {
            self.withdraw_waiting(super::shipment::Stream::is_halted, "the sync is halted");
        }
    }

    /// Nothing more is sent to this destination in this run.
    pub(super) fn halt(&mut self, reason: &str) {
        for lane in 0..self.tally.lanes.len() {
            if self.tally.lanes[lane].changes > 0 {
                self.tally.halt(lane, reason);
            }
        }
        self.stop(reason);
    }

    fn stop(&mut self, reason: &str) {
        self.session.core.stop();
        self.withdraw_waiting(|_| true, reason);
    }

    /// Journals what was settled; a journal that breaks halts the destination.
    pub(super) fn settle_accounts(&mut self) {
        if let Err(error) = self.tally.flush() {
            self.halt(&broken(&error));
        }
    }

    fn report(&self, reporter: &mut Reporter, last: bool) {
        if reporter.is_due() || last {
            let requests = self.session.core.requests.load(Ordering::Relaxed);
            reporter.say(self.tally.settled(), self.tally.total(), requests);
        }
    }
}

/// Resolves at a moment; never without one.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
