//! Asynchronous jobs: submitted, journaled by their handle, asked after until they are done, in this
//! process or in a later one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::intake::broken;
use super::remedy::{Remedy, remedy};
use super::report::{Control, cancelled};
use super::session::{Session, Terms};
use super::tally::ranges;
use crate::destinations::{
    Common, Destination, Fault, Job, Notice, Outcome, Receipt, Settlement, Spec,
};
use crate::outbox::{Entry, Journal, JournalError, OpenJob};

/// Between two questions about one job.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Jobs of one sync that an earlier run left behind.
pub struct Resumption {
    pub spec: &'static Spec,
    pub destination: Arc<dyn Destination>,
    pub common: Common,
    pub secrets: BTreeSet<String>,
    /// From the replay of the journal.
    pub jobs: Vec<OpenJob>,
    /// The journal of that run, reopened.
    pub journal: Journal,
}

/// What became of the jobs of an earlier run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resumed {
    pub acknowledged: u64,
    pub rejected: u64,
    /// Certainly not taken.
    pub withdrawn: u64,
    /// Still not known.
    pub unsettled: u64,
    /// The last reason why something is not settled.
    pub fault: Option<String>,
    /// What the destination says of numbers of messages.
    pub notices: Vec<Notice>,
}

/// Asks after the jobs of an earlier run and journals what became of them.
pub async fn resume(resumption: Resumption, mut control: Control) -> Resumed {
    let Resumption { spec, destination, common, secrets, jobs, journal } = resumption;
    let terms = Terms { spec, common, secrets };
    let mut resumed = Resumed::default();
    let session = match Session::live(&terms, control.surroundings()) {
        Ok(session) => session.within(control.budget.clone()),
        Err(fault) => {
            resumed.unsettled = jobs.iter().map(|open| open.rows.len() as u64).sum();
            resumed.fault = Some(fault.to_string());
            return resumed;
        }
    };
    // An earlier process has waited already: the first question is asked at once.
    let polls = join_all(jobs.iter().map(|open| {
        let job = Job { poll_after: Duration::ZERO, ..open.job.clone() };
        let (destination, session) = (&destination, &session);
        async move { polled(&**destination, session, &job, open.messages).await }
    }));
    tokio::pin!(polls);
    let results = tokio::select! {
        results = &mut polls => results,
        () = cancelled(&mut control.cancel) => {
            session.core.stop();
            polls.await
        }
    };
    for (open, result) in jobs.iter().zip(results) {
        let recorded = match result {
            Ok(receipt) => resumed.record(&journal, open, &receipt, &session),
            Err(fault) => {
                resumed.leave(open.rows.len(), session.redact(&fault.to_string()));
                Ok(())
            }
        };
        if let Err(error) = recorded {
            resumed.fault = Some(broken(&error));
        }
    }
    if let Err(error) = journal.close().await {
        resumed.fault = Some(broken(&error));
    }
    resumed
}

impl Resumed {
    fn leave(&mut self, rows: usize, reason: String) {
        self.unsettled += rows as u64;
        self.fault = Some(reason);
    }

    fn record(
        &mut self,
        journal: &Journal,
        open: &OpenJob,
        receipt: &Receipt,
        session: &Session,
    ) -> Result<(), JournalError> {
        let (mut acknowledged, mut withdrawn, mut lost) = (Vec::new(), Vec::new(), Vec::new());
        self.notices.extend(receipt.notices().iter().cloned());
        let outcomes = open.positions.iter().map(|position| &receipt.outcomes()[*position]);
        for (row, outcome) in open.rows.iter().zip(outcomes) {
            match outcome {
                Outcome::Delivered => acknowledged.push(*row),
                Outcome::Retry { reason, .. } if open.unclear => {
                    lost.push(*row);
                    self.leave(1, session.redact(reason));
                }
                Outcome::Retry { reason, .. } => {
                    withdrawn.push(*row);
                    self.fault = Some(session.redact(reason));
                }
                Outcome::Unsettled { reason } => {
                    lost.push(*row);
                    self.leave(1, session.redact(reason));
                }
                Outcome::Rejected { reason } => {
                    let reason = session.redact(reason);
                    let unclear = open.unclear;
                    journal.record(&Entry::Rejected { row: *row, reason, unclear })?;
                    self.rejected += 1;
                }
            }
        }
        let counts = (acknowledged.len() as u64, withdrawn.len() as u64);
        if counts.0 > 0 {
            journal.record(&Entry::Acknowledged(ranges(acknowledged)))?;
        }
        if counts.1 > 0 {
            journal.record(&Entry::Withdrawn(ranges(withdrawn)))?;
        }
        if !lost.is_empty() {
            journal.record(&Entry::Lost(ranges(lost)))?;
        }
        self.acknowledged += counts.0;
        self.withdrawn += counts.1;
        Ok(())
    }
}

/// Asks after a job until it is done, but not beyond the time that a retry may take. Whatever comes
/// instead of an answer leaves the job as it is: it can be asked after again.
pub(super) async fn polled(
    destination: &dyn Destination,
    session: &Session,
    job: &Job,
    rows: usize,
) -> Result<Receipt, Fault> {
    let deadline = Instant::now() + session.core.terms.common.retry.within;
    let mut pause = job.poll_after.max(SHORTEST_PAUSE);
    loop {
        if Instant::now() + pause > deadline {
            return Err(Fault::Ambiguous { reason: "the job is not done yet".into() });
        }
        tokio::select! {
            () = tokio::time::sleep_until(Instant::now() + pause) => {}
            () = session.core.stopped() => {
                return Err(Fault::Ambiguous { reason: "stopped while the job was running".into() });
            }
        }
        match destination.settle(session, job, rows).await {
            Ok(Settlement::Running { poll_after }) => pause = poll_after.max(SHORTEST_PAUSE),
            Ok(Settlement::Done(receipt)) if receipt.outcomes().len() == rows => {
                return Ok(receipt);
            }
            Ok(Settlement::Done(receipt)) => {
                return Err(uncovered(rows, receipt.outcomes().len()));
            }
            Err(fault) if is_final(&fault) => return Err(fault),
            Err(_) => {}
        }
    }
}

/// Whether asking again would be answered the same way.
fn is_final(fault: &Fault) -> bool {
    !matches!(remedy(fault), Remedy::CloseGate | Remedy::BackOff | Remedy::BackOffIfHarmless)
}

/// A reply that does not say of every message what became of it.
pub(super) fn uncovered(messages: usize, outcomes: usize) -> Fault {
    Fault::Protocol { reason: format!("{outcomes} outcomes for {messages} messages") }
}
