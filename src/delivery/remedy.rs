//! What must happen after a fault: one function, tested as a table, asked by the session (for one
//! request) and by the drain (for a batch) alike.

use std::time::Duration;

use crate::destinations::Fault;

const FIRST_BACKOFF: Duration = Duration::from_millis(250);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// What the session does with a request, and the drain with a batch that the session gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Close the destination's gate, then repeat; given up: pending.
    CloseGate,
    /// Back off, then repeat; given up: pending.
    BackOff,
    /// Back off, then repeat if repeating is harmless; given up: unsettled.
    BackOffIfHarmless,
    /// Halve the batch until the bad row stands alone, which is rejected.
    Bisect,
    /// Nothing more to this destination in this run.
    HaltDestination,
    /// Nothing more from this sync in this run.
    HaltSync,
    /// Unsettled; nothing is repeated.
    LeaveUnsettled,
    /// Nothing was sent.
    Nothing,
}

pub(super) fn remedy(fault: &Fault) -> Remedy {
    match fault {
        Fault::Throttled { .. } => Remedy::CloseGate,
        Fault::Transient { .. } => Remedy::BackOff,
        Fault::Ambiguous { .. } => Remedy::BackOffIfHarmless,
        Fault::Rejected { .. } => Remedy::Bisect,
        Fault::Denied { .. } => Remedy::HaltDestination,
        Fault::Misconfigured { .. } => Remedy::HaltSync,
        Fault::Protocol { .. } => Remedy::LeaveUnsettled,
        Fault::Rehearsed => Remedy::Nothing,
    }
}

/// The pause after `tries` failed tries: anything up to a bound that doubles (full jitter), so that
/// many who failed together do not come back together. `chance` lies in `0.0..1.0`.
pub(super) fn backoff(tries: u32, chance: f64) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    (FIRST_BACKOFF * 2_u32.pow(doublings)).min(LONGEST_BACKOFF).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_remedy() {
        let reason = String::new;
        let table = [
            (Fault::Throttled { retry_after: None, reason: reason() }, Remedy::CloseGate),
            (Fault::Transient { reason: reason() }, Remedy::BackOff),
            (Fault::Ambiguous { reason: reason() }, Remedy::BackOffIfHarmless),
            (Fault::Rejected { reason: reason() }, Remedy::Bisect),
            (Fault::Denied { reason: reason() }, Remedy::HaltDestination),
            (Fault::Misconfigured { reason: reason() }, Remedy::HaltSync),
            (Fault::Protocol { reason: reason() }, Remedy::LeaveUnsettled),
            (Fault::Rehearsed, Remedy::Nothing),
        ];
        for (fault, expected) in table {
            assert_eq!(remedy(&fault), expected, "{fault:?}");
        }
    }

    #[test]
    fn backoff_doubles_up_to_a_bound() {
        let bounds = [1, 2, 3, 8, 40].map(|tries| backoff(tries, 1.0).as_millis());
        assert_eq!(bounds, [250, 500, 1000, 30_000, 30_000]);
        assert_eq!(backoff(3, 0.0), Duration::ZERO);
    }
}
