//! How a batch is delivered where every message is a request of its own: what went before a fault has
//! arrived, and what comes after it was never sent.
//!
//! What it promises: a refusal concerns its own message alone; the fault of the first message is that
//! of the batch, since nothing was done; after a later one nothing more is sent, so that one gate that
//! closes or one token that is over costs one request.

use std::ops::ControlFlow;

use super::{Batch, Fault, Outcome, Receipt};

/// What is known of the messages of a batch.
#[derive(Debug)]
pub(super) struct Singles(Receipt);

impl Singles {
    pub(super) fn of(batch: &Batch) -> Self {
        let reason = "an earlier request of its batch failed".into();
        Self(batch.receipt(&Outcome::Retry { after: None, reason }))
    }

    /// Writes down what one request came to; the next one is only sent on `Continue`.
    pub(super) fn settle(
        &mut self,
        position: usize,
        answer: Result<Outcome, Fault>,
    ) -> Result<ControlFlow<()>, Fault> {
        let (outcome, flow) = match answer {
            Ok(outcome) => (outcome, ControlFlow::Continue(())),
            Err(Fault::Rejected { reason }) => {
                (Outcome::Rejected { reason }, ControlFlow::Continue(()))
            }
            Err(fault) if position == 0 => return Err(fault),
            Err(fault) => (interrupted(fault), ControlFlow::Break(())),
        };
        // Positions are those of this batch.
        let _ = self.0.set(position, outcome);
        Ok(flow)
    }

    pub(super) fn into_receipt(self) -> Receipt {
        self.0
    }
}

fn interrupted(fault: Fault) -> Outcome {
    match fault {
        Fault::Throttled { retry_after, reason } => Outcome::Retry { after: retry_after, reason },
        Fault::Ambiguous { reason } | Fault::Protocol { reason } => Outcome::Unsettled { reason },
        // Whoever is sent again first meets the same fault, which then halts what it must.
        other => Outcome::Retry { after: None, reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::destinations::fixture::{batch, identify};

    fn reason() -> String {
        "why".into()
    }

    #[test]
    fn a_later_fault_leaves_what_went_before_and_stops() {
        let pause = Some(Duration::from_secs(9));
        let retry = |after| Outcome::Retry { after, reason: reason() };
        let cases = [
            (Fault::Throttled { retry_after: pause, reason: reason() }, retry(pause)),
            (Fault::Transient { reason: reason() }, retry(None)),
            (Fault::Ambiguous { reason: reason() }, Outcome::Unsettled { reason: reason() }),
            (Fault::Protocol { reason: reason() }, Outcome::Unsettled { reason: reason() }),
        ];
        for (fault, expected) in cases {
            let (word, known) = (fault.to_string(), &expected);
            let mut singles = Singles::of(&batch([identify(), identify(), identify()]));
            assert_eq!(singles.settle(0, Ok(Outcome::Delivered)), Ok(ControlFlow::Continue(())));
            assert_eq!(singles.settle(1, Err(fault)), Ok(ControlFlow::Break(())));
            let outcomes = singles.into_receipt().into_outcomes();
            assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Delivered, &never_sent()));
            match (&outcomes[1], known) {
                (Outcome::Retry { after, .. }, Outcome::Retry { after: wanted, .. }) => {
                    assert_eq!(after, wanted, "{word}");
                }
                (found, wanted) => assert_eq!(found, wanted, "{word}"),
            }
        }
    }

    fn never_sent() -> Outcome {
        let reason = "an earlier request of its batch failed".into();
        Outcome::Retry { after: None, reason }
    }

    #[test]
    fn a_refusal_concerns_one_message_and_the_first_fault_everybody() {
        let mut singles = Singles::of(&batch([identify(), identify()]));
        let refused = Err(Fault::Rejected { reason: reason() });
        assert_eq!(singles.settle(0, refused), Ok(ControlFlow::Continue(())));
        assert_eq!(singles.settle(1, Ok(Outcome::Delivered)), Ok(ControlFlow::Continue(())));
        assert_eq!(
            singles.into_receipt().into_outcomes(),
            [Outcome::Rejected { reason: reason() }, Outcome::Delivered]
        );
        let denied = Fault::Denied { reason: reason() };
        let mut singles = Singles::of(&batch([identify()]));
        assert_eq!(singles.settle(0, Err(denied.clone())), Err(denied));
    }
}
