//! What becomes of a batch once something came back: every outcome and every fault has one place
//! here where it is turned into an entry of the journal, another try, or a halt.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinError;
use tokio::time::Instant;

use super::drain::{PATIENCE, Sender};
use super::intake::broken;
use super::jobs::{polled, uncovered};
use super::remedy::{Remedy, backoff, remedy};
use super::session::Session;
use super::shipment::{Held, Past, Shipment, Stream, due};
use super::tally::{places, ranges, runs};
use crate::destinations::{Delivery, Fault, Job, Notice, Outcome, Receipt};
use crate::message::Message;
use crate::outbox::{Entry, JournalError, Share};

/// A batch, and what its delivery came to.
pub(super) struct Answer {
    pub(super) shipment: Shipment,
    pub(super) result: Result<Delivery, Fault>,
    /// The handle it was sent through, which knows what may have happened.
    pub(super) session: Session,
}

/// A batch that was in a job, and what the job came to.
pub(super) struct JobEnd {
    shipment: Shipment,
    result: Result<Receipt, Fault>,
}

impl Sender {
    /// Settles a batch that came back.
    pub(super) fn answered(&mut self, answer: Result<Answer, JoinError>) {
        let Ok(Answer { shipment, result, session }) = answer else {
            // Its rows stay unsettled by the journal.
            return self.halt("delivery stopped unexpectedly");
        };
        let unclear = shipment.past.exposed || session.is_unclear();
        match result {
            Ok(Delivery::Settled(receipt)) => {
                self.apply(shipment, receipt, unclear);
            }
            Ok(Delivery::Submitted(job)) => {
                let past = Past { exposed: unclear, ..shipment.past };
                self.submitted(Shipment { past, ..shipment }, job);
            }
            Err(fault) => {
                let exposed = shipment.past.exposed || session.may_have_arrived();
                self.failed(shipment, &fault, exposed, unclear);
            }
        }
    }

    fn apply(&mut self, shipment: Shipment, receipt: Receipt, unclear: bool) {
        for Notice { count, reason } in receipt.notices() {
            let reason = self.session.redact(reason);
            self.tally.notice(&shipment.stream.lanes, *count, &reason);
        }
        let outcomes = receipt.into_outcomes();
        if outcomes.len() != shipment.batch.len() {
            let fault = uncovered(shipment.batch.len(), outcomes.len());
            return self.give_up(shipment, &fault.to_string(), true);
        }
        let Shipment { batch, stream, past } = shipment;
        let past = Past { exposed: unclear, ..past };
        let (messages, encoded) = batch.into_parts();
        let mut encoded = encoded.unwrap_or_default().into_iter();
        let mut settled = false;
        let mut given_up = None;
        for (message, outcome) in messages.into_iter().zip(outcomes) {
            let encoded = encoded.next();
            settled |= !matches!(outcome, Outcome::Retry { .. });
            match outcome {
                Outcome::Delivered => self.tally.acknowledge(&message),
                Outcome::Rejected { reason } => self.reject(&message, &reason, unclear),
                Outcome::Unsettled { reason } => {
                    let reason = self.session.redact(&reason);
                    self.tally.lose(&message, &reason);
                }
                Outcome::Retry { after, reason } => {
                    let due = due(after, backoff(past.refusals + 1, self.session.core.chance()));
                    let held = Held { message, encoded, stream: Arc::clone(&stream), past, due };
                    let reason = self.session.redact(&reason);
                    if !self.retained(held, &reason) {
                        given_up = Some(reason);
                    }
                }
            }
        }
        match given_up {
            _ if settled => self.failures = 0,
            Some(reason) => self.count_failure(&reason),
            None => {}
        }
    }

    /// Keeps a message to be sent again, unless it had its chances: then it is pending, or unsettled
    /// where an earlier try may have arrived.
    fn retained(&mut self, mut held: Held, reason: &str) -> bool {
        let retry = self.session.core.terms.common.retry;
        let since = held.past.since.unwrap_or_else(Instant::now);
        held.past.refusals += 1;
        held.past.since = Some(since);
        let hopeful = held.past.refusals < retry.attempts && held.due <= since + retry.within;
        if hopeful && !self.session.core.is_stopped() && !held.stream.is_halted() {
            self.retained.hold(held);
            return true;
        }
        self.put_back(&held.message, reason, held.past.exposed);
        false
    }

    fn failed(&mut self, shipment: Shipment, fault: &Fault, exposed: bool, unclear: bool) {
        let reason = self.session.redact(&fault.to_string());
        match remedy(fault) {
            Remedy::CloseGate | Remedy::BackOff | Remedy::Nothing => {
                self.give_up(shipment, &reason, exposed);
            }
            Remedy::BackOffIfHarmless | Remedy::LeaveUnsettled => {
                self.give_up(shipment, &reason, true);
            }
            Remedy::Bisect => {
                // What was refused together may have been taken in part, by a request before the one
                // that was refused or by a reply that did not say of whom.
                let unclear = if shipment.batch.len() > 1 { exposed } else { unclear };
                self.bisect(shipment, fault, unclear);
            }
            Remedy::HaltDestination => {
                self.put_all_back(&shipment, &reason, exposed);
                self.halt(&reason);
            }
            Remedy::HaltSync => {
                self.put_all_back(&shipment, &reason, exposed);
                self.halt_stream(&shipment.stream, &reason);
            }
        }
    }

    /// Halves a refused batch until the bad row stands alone.
    fn bisect(&mut self, mut shipment: Shipment, fault: &Fault, unclear: bool) {
        self.failures = 0;
        let alone = shipment.batch.len() == 1;
        if alone {
            let reason = match fault {
                Fault::Rejected { reason } => reason.clone(),
                other => other.to_string(),
            };
            let unclear = unclear || shipment.past.exposed;
            return self.reject(&shipment.batch.messages()[0], &reason, unclear);
        }
        shipment.past.exposed |= unclear;
        if self.session.core.is_stopped() || shipment.stream.is_halted() {
            let exposed = shipment.past.exposed;
            return self.put_all_back(&shipment, "stopped before it was sent again", exposed);
        }
        for half in shipment.halved().into_iter().rev() {
            self.ready.push_front(half);
        }
    }

    fn reject(&mut self, message: &Message, reason: &str, unclear: bool) {
        let reason = self.session.redact(reason);
        if let Err(error) = self.tally.reject(message, &reason, unclear) {
            self.halt(&broken(&error));
        }
    }

    /// A batch that this run does not get any further with.
    fn give_up(&mut self, shipment: Shipment, reason: &str, exposed: bool) {
        self.put_all_back(&shipment, reason, exposed);
        drop(shipment);
        if !self.session.core.is_stopped() {
            self.count_failure(reason);
        }
    }

    pub(super) fn count_failure(&mut self, reason: &str) {
        self.failures += 1;
        if self.failures == PATIENCE {
            self.halt(&format!("gave up after {PATIENCE} failures in a row; the last: {reason}"));
        }
    }

    fn put_all_back(&mut self, shipment: &Shipment, reason: &str, exposed: bool) {
        for message in shipment.batch.messages() {
            self.put_back(message, reason, exposed);
        }
    }

    fn put_back(&mut self, message: &Message, reason: &str, exposed: bool) {
        if exposed {
            self.tally.leave_unsettled(message, reason);
        } else {
            self.tally.withdraw(message, reason);
        }
    }

    /// Nothing more of this stream is sent in this run.
    fn halt_stream(&mut self, stream: &Arc<Stream>, reason: &str) {
        stream.halt();
        for lane in &stream.lanes {
            self.tally.halt(*lane, reason);
        }
        self.withdraw_waiting(Stream::is_halted, reason);
    }

    /// Takes back what was journaled for streams that are over, and not sent.
    pub(super) fn withdraw_waiting(&mut self, over: impl Fn(&Stream) -> bool, reason: &str) {
        for shipment in std::mem::take(&mut self.ready) {
            if over(&shipment.stream) {
                self.put_all_back(&shipment, reason, shipment.past.exposed);
            } else {
                self.ready.push_back(shipment);
            }
        }
        for held in self.retained.take_where(over) {
            self.put_back(&held.message, reason, held.past.exposed);
        }
    }

    /// Journals the handle of a job and waits for its outcome.
    fn submitted(&mut self, shipment: Shipment, job: Job) {
        if let Err(error) = self.record_job(&shipment, &job) {
            return self.halt(&broken(&error));
        }
        let session = self.session.fresh();
        let destination = Arc::clone(&self.destination);
        self.jobs.spawn(async move {
            let rows = shipment.batch.len();
            let result = polled(&*destination, &session, &job, rows).await;
            JobEnd { shipment, result }
        });
    }

    /// Every lane's journal gets the handle, with the positions of its own rows among the messages.
    fn record_job(&self, shipment: &Shipment, job: &Job) -> Result<(), JournalError> {
        let messages = shipment.batch.messages();
        let shared = shipment.stream.lanes.len() > 1;
        for lane in &shipment.stream.lanes {
            let own = (0_u64..).zip(messages).flat_map(|(position, message)| {
                places(message).filter(|(of, _)| of == lane).map(move |(_, row)| (position, row))
            });
            let (positions, rows): (Vec<u64>, Vec<u64>) = own.unzip();
            if rows.is_empty() {
                continue;
            }
            let share = Share { messages: messages.len() as u64, positions: runs(positions) };
            let share = shared.then_some(share);
            let unclear = shipment.past.exposed;
            let entry = Entry::Submitted { rows: runs(rows), job: job.clone(), share, unclear };
            self.tally.lanes[*lane].journal.record(&entry)?;
        }
        Ok(())
    }

    /// What a job hands back to be sent again is not its own any more: asked later, it would say that
    /// nobody has what by then may have arrived without it.
    fn record_handed_back(
        &self,
        shipment: &Shipment,
        receipt: &Receipt,
    ) -> Result<(), JournalError> {
        let mut handed_back: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        for (message, outcome) in shipment.batch.messages().iter().zip(receipt.outcomes()) {
            if matches!(outcome, Outcome::Retry { .. }) {
                for (lane, row) in places(message) {
                    handed_back.entry(lane).or_default().push(row);
                }
            }
        }
        for (lane, rows) in handed_back {
            self.tally.lanes[lane].journal.record(&Entry::Lost(ranges(rows)))?;
        }
        Ok(())
    }

    pub(super) fn job_ended(&mut self, end: Result<JobEnd, JoinError>) {
        let Ok(JobEnd { shipment, result }) = end else {
            return self.halt("waiting for a job stopped unexpectedly");
        };
        match result {
            Ok(receipt) => {
                if let Err(error) = self.record_handed_back(&shipment, &receipt) {
                    return self.halt(&broken(&error));
                }
                let exposed = shipment.past.exposed;
                self.apply(shipment, receipt, exposed);
            }
            Err(fault) => {
                let reason = self.session.redact(&fault.to_string());
                self.put_all_back(&shipment, &reason, true);
                match remedy(&fault) {
                    Remedy::HaltDestination => self.halt(&reason),
                    Remedy::HaltSync => self.halt_stream(&shipment.stream, &reason),
                    _ => {}
                }
            }
        }
    }
}
