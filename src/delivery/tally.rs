//! What became of every row, lane by lane: told to the journal first, then counted.
//!
//! Rows that are settled at the same moment share one line. A row whose outcome could not be
//! journaled is not counted as settled, so that the report and the next run say the same.

use std::collections::BTreeMap;

use crate::destinations::{Notice, Remote};
use crate::message::Message;
use crate::outbox::{Entry, Journal, JournalError};

/// One lane's account.
#[derive(Debug)]
pub(super) struct LaneTally {
    pub(super) journal: Journal,
    pub(super) changes: u64,
    pub(super) halted: Option<String>,
    /// The last reason why rows were not settled.
    pub(super) fault: Option<String>,
    pub(super) remote: Option<Remote>,
    /// How many messages the destination says what of, by what it says.
    notices: BTreeMap<String, u64>,
    attempted: u64,
    acknowledged: u64,
    /// Refused by the destination.
    rejected: u64,
    /// Rejected here, before any attempt.
    refused: u64,
    withdrawn: u64,
    /// Settled, not yet journaled.
    acknowledging: Vec<u64>,
    withdrawing: Vec<u64>,
    losing: Vec<u64>,
    /// The whole list is replaced: rows taken off without a message once all others have arrived.
    displaced: Option<Vec<[u64; 2]>>,
}

/// What became of one sync's changes.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneReport {
    pub acknowledged: u64,
    pub rejected: u64,
    /// Certainly not there: never sent, or certainly not taken.
    pub pending: u64,
    /// The destination may or may not have them.
    pub unsettled: u64,
    /// Why nothing more was sent in this run.
    pub halted: Option<String>,
    /// The last reason why rows stayed pending or unsettled.
    pub fault: Option<String>,
    /// What `open` found or created.
    pub remote: Option<Remote>,
    /// What the destination says of numbers of messages, without saying which.
    pub notices: Vec<Notice>,
}

/// The accounts of all lanes of a destination.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) lanes: Vec<LaneTally>,
    /// Lanes with something to journal.
    dirty: Vec<usize>,
}

impl LaneTally {
    pub(super) fn new(journal: Journal, changes: u64) -> Self {
        Self {
            journal,
            changes,
            halted: None,
            fault: None,
            remote: None,
            notices: BTreeMap::new(),
            attempted: 0,
            acknowledged: 0,
            rejected: 0,
            refused: 0,
            withdrawn: 0,
            acknowledging: Vec::new(),
            withdrawing: Vec::new(),
            losing: Vec::new(),
            displaced: None,
        }
    }

    pub(super) fn displacing(mut self, displaced: Option<Vec<[u64; 2]>>) -> Self {
        self.displaced = displaced;
        self
    }

    /// Whether everybody who is wanted arrived or was refused, so that the others can be taken off.
    pub(super) fn awaits_displacing(&self) -> bool {
        let Some(displaced) = &self.displaced else { return false };
        let named = self.acknowledged + self.rejected + self.refused;
        self.halted.is_none() && named + length(displaced) == self.changes
    }

    /// The others were taken off.
    pub(super) fn displace(&mut self) -> Result<(), JournalError> {
        let rows = self.displaced.take().unwrap_or_default();
        let count = length(&rows);
        if count > 0 {
            self.journal.record(&Entry::Acknowledged(rows))?;
            self.attempted += count;
            self.acknowledged += count;
        }
        Ok(())
    }

    /// Keeps the reason, but what led to a halt is not replaced by what followed from it.
    pub(super) fn blame(&mut self, reason: &str) {
        if self.halted.is_none() || self.fault.is_none() {
            self.fault = Some(reason.to_owned());
        }
    }

    /// What was noticed of the lane's messages, each reason once.
    fn notices(&self) -> Vec<Notice> {
        let notices = self.notices.iter();
        notices.map(|(reason, count)| Notice { count: *count, reason: reason.clone() }).collect()
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        let rows = std::mem::take(&mut self.acknowledging);
        let count = rows.len() as u64;
        if count > 0 {
            self.journal.record(&Entry::Acknowledged(ranges(rows)))?;
            self.acknowledged += count;
        }
        let rows = std::mem::take(&mut self.withdrawing);
        let count = rows.len() as u64;
        if count > 0 {
            self.journal.record(&Entry::Withdrawn(ranges(rows)))?;
            self.withdrawn += count;
        }
        let rows = std::mem::take(&mut self.losing);
        if !rows.is_empty() {
            self.journal.record(&Entry::Lost(ranges(rows)))?;
        }
        Ok(())
    }

    /// The report; `None` when the counts do not add up.
    fn report(&self) -> Option<LaneReport> {
        let settled = self.acknowledged.checked_add(self.rejected)?.checked_add(self.withdrawn)?;
        let unsettled = self.attempted.checked_sub(settled)?;
        let untouched = self.changes.checked_sub(self.attempted.checked_add(self.refused)?)?;
        let report = LaneReport {
            acknowledged: self.acknowledged,
            rejected: self.rejected + self.refused,
            pending: untouched + self.withdrawn,
            unsettled,
            halted: self.halted.clone(),
            fault: self.fault.clone(),
            remote: self.remote.clone(),
            notices: self.notices(),
        };
        (report.total() == self.changes).then_some(report)
    }
}

impl LaneReport {
    pub fn total(&self) -> u64 {
        self.acknowledged + self.rejected + self.pending + self.unsettled
    }
}

impl Tally {
    pub(super) fn new(lanes: Vec<LaneTally>) -> Self {
        Self { lanes, dirty: Vec::new() }
    }

    pub(super) fn attempted(&mut self, lane: usize, rows: u64) {
        self.lanes[lane].attempted += rows;
    }

    pub(super) fn acknowledge(&mut self, message: &Message) {
        for (lane, row) in places(message) {
            self.lanes[lane].acknowledging.push(row);
            self.touch(lane);
        }
    }

    /// The message is certainly not there.
    pub(super) fn withdraw(&mut self, message: &Message, reason: &str) {
        for (lane, row) in places(message) {
            self.lanes[lane].withdrawing.push(row);
            self.lanes[lane].blame(reason);
            self.touch(lane);
        }
    }

    /// The message may or may not be there; the journal says so already.
    pub(super) fn leave_unsettled(&mut self, message: &Message, reason: &str) {
        for (lane, _) in places(message) {
            self.lanes[lane].blame(reason);
        }
    }

    /// The destination says of the message that nobody knows: nothing more will be heard of it.
    pub(super) fn lose(&mut self, message: &Message, reason: &str) {
        for (lane, row) in places(message) {
            self.lanes[lane].losing.push(row);
            self.lanes[lane].blame(reason);
            self.touch(lane);
        }
    }

    /// The destination refused the message; `unclear` when an earlier try may have arrived.
    pub(super) fn reject(
        &mut self,
        message: &Message,
        reason: &str,
        unclear: bool,
    ) -> Result<(), JournalError> {
        for (lane, row) in places(message) {
            let lane = &mut self.lanes[lane];
            lane.journal.record(&Entry::Rejected { row, reason: reason.to_owned(), unclear })?;
            lane.rejected += 1;
        }
        Ok(())
    }

    /// The message was rejected here and never attempted.
    pub(super) fn refuse(&mut self, message: &Message, reason: &str) -> Result<(), JournalError> {
        for (lane, row) in places(message) {
            let lane = &mut self.lanes[lane];
            let reason = reason.to_owned();
            lane.journal.record(&Entry::Rejected { row, reason, unclear: false })?;
            lane.refused += 1;
        }
        Ok(())
    }

    /// What the destination says of messages of these lanes; it does not say of which lane's.
    pub(super) fn notice(&mut self, lanes: &[usize], count: u64, reason: &str) {
        for lane in lanes {
            *self.lanes[*lane].notices.entry(reason.to_owned()).or_default() += count;
        }
    }

    pub(super) fn halt(&mut self, lane: usize, reason: &str) {
        self.lanes[lane].halted.get_or_insert_with(|| reason.to_owned());
    }

    /// Journals what was settled since the last time.
    pub(super) fn flush(&mut self) -> Result<(), JournalError> {
        let mut result = Ok(());
        for lane in std::mem::take(&mut self.dirty) {
            result = result.and(self.lanes[lane].flush());
        }
        result
    }

    /// Rows that nothing more happens to in this run.
    pub(super) fn settled(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.acknowledged + lane.rejected + lane.refused).sum()
    }

    pub(super) fn total(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.changes).sum()
    }

    /// One report per lane; each adds up to the lane's changes, which is checked here.
    pub(super) fn reports(&self) -> Vec<LaneReport> {
        self.lanes.iter().map(|lane| lane.report().unwrap_or_else(|| unbalanced(lane))).collect()
    }

    fn touch(&mut self, lane: usize) {
        if self.dirty.last() != Some(&lane) {
            self.dirty.push(lane);
        }
    }
}

/// What is reported when the counts do not add up: nothing is claimed.
fn unbalanced(lane: &LaneTally) -> LaneReport {
    tracing::error!(changes = lane.changes, attempted = lane.attempted, "Counts do not add up");
    LaneReport {
        acknowledged: 0,
        rejected: 0,
        pending: 0,
        unsettled: lane.changes,
        halted: Some("the outbox holds other rows than were announced".into()),
        fault: lane.fault.clone(),
        remote: lane.remote.clone(),
        notices: lane.notices(),
    }
}

/// Lane and row number of everything that travels with a message.
pub(super) fn places(message: &Message) -> impl Iterator<Item = (usize, u64)> {
    message.parts().map(|part| (part.shape().index, part.row_number()))
}

fn length(ranges: &[[u64; 2]]) -> u64 {
    ranges.iter().map(|[from, to]| to - from).sum()
}

/// Sorted half-open ranges of row numbers.
pub(super) fn ranges(mut rows: Vec<u64>) -> Vec<[u64; 2]> {
    rows.sort_unstable();
    runs(rows)
}

/// Half-open ranges of row numbers in their given order.
pub(super) fn runs(rows: impl IntoIterator<Item = u64>) -> Vec<[u64; 2]> {
    let mut ranges: Vec<[u64; 2]> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some([_, end]) if *end == row => *end += 1,
            _ => ranges.push([row, row + 1]),
        }
    }
    ranges
}
