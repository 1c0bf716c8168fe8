//! What an import that a platform works off by itself has come to, for the vendors whose writes are
//! such imports.
//!
//! What it promises: a settlement covers every message of the job's batch, or is no settlement.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Fault, Job, Outcome, Receipt, Settlement};

/// What an import has come to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Running,
    /// One outcome per record, in the order of the request.
    Done(Vec<Outcome>),
}

impl Progress {
    /// The settlement of a job whose records are the messages of its batch.
    pub fn settled(self, rows: usize, poll_after: Duration) -> Result<Settlement, Fault> {
        let outcomes = match self {
            Self::Running => return Ok(Settlement::Running { poll_after }),
            Self::Done(outcomes) => outcomes,
        };
        if outcomes.len() != rows {
            let reason = format!("a job of {} records for {rows} messages", outcomes.len());
            return Err(Fault::Protocol { reason });
        }
        let mut receipt = Receipt::of(rows, &Outcome::Delivered);
        for (position, outcome) in outcomes.into_iter().enumerate() {
            // Every position is one of the batch's own.
            let _ = receipt.set(position, outcome);
        }
        Ok(Settlement::Done(receipt))
    }
}

/// A job whose handle is whatever its destination keeps of it.
pub(super) fn job(kept: &impl Serialize, poll_after: Duration) -> Result<Job, Fault> {
    let handle = serde_json::to_value(kept).map_err(|error| unreadable(&error))?;
    Ok(Job { handle, poll_after })
}

/// What a destination kept of a job.
pub(super) fn kept<T: DeserializeOwned>(job: &Job) -> Result<T, Fault> {
    T::deserialize(&job.handle).map_err(|error| unreadable(&error))
}

fn unreadable(error: &serde_json::Error) -> Fault {
    Fault::Protocol { reason: format!("the handle of a job cannot be read: {error}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_covers_the_batch_or_is_none() {
        let pause = Duration::from_secs(1);
        assert!(matches!(Progress::Running.settled(2, pause), Ok(Settlement::Running { .. })));
        let gone = Outcome::Unsettled { reason: "gone".into() };
        let done = || Progress::Done(vec![Outcome::Delivered, gone.clone()]);
        match done().settled(2, pause) {
            Ok(Settlement::Done(receipt)) => {
                assert_eq!(receipt.outcomes(), [Outcome::Delivered, gone.clone()]);
            }
            other => panic!("{other:?}"),
        }
        for rows in [1, 3] {
            assert!(matches!(done().settled(rows, pause), Err(Fault::Protocol { .. })));
        }
    }
}
