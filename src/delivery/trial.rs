//! The tries of one request: how many, for how long, and what they leave behind.

use tokio::time::Instant;

use super::remedy::{Remedy, remedy};
use crate::destinations::{Fault, Retry};

#[derive(Debug)]
pub(super) struct Trial {
    started: Instant,
    retry: Retry,
    repeatable: bool,
    /// Tries that failed; being throttled is none.
    failures: u32,
    /// Whether some try may have had an effect.
    exposed: bool,
    /// Times the token was renewed.
    renewals: u32,
}

/// A token that is refused this often in a row is not the reason.
const MOST_RENEWALS: u32 = 2;

/// What comes after a failed try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Try again when the gate opens.
    CloseGate,
    /// Try again after a pause that grows with the number of failures.
    BackOff {
        failures: u32,
    },
    GiveUp,
}

impl Trial {
    pub(super) fn new(retry: Retry, repeatable: bool) -> Self {
        Self {
            started: Instant::now(),
            retry,
            repeatable,
            failures: 0,
            exposed: false,
            renewals: 0,
        }
    }

    /// The latest moment at which another try may begin.
    pub(super) fn deadline(&self) -> Instant {
        self.started + self.retry.within
    }

    /// Some try may have had an effect over there.
    pub(super) fn expose(&mut self) {
        self.exposed = true;
    }

    pub(super) fn may_have_arrived(&self) -> bool {
        self.exposed
    }

    /// Whether a new token may help: costs no attempt, but is not tried for ever.
    pub(super) fn may_renew(&mut self) -> bool {
        self.renewals += 1;
        self.renewals <= MOST_RENEWALS
    }

    pub(super) fn after(&mut self, fault: &Fault) -> Next {
        // A 503 may come after the work as well, whatever it asks for.
        if self.exposed && !self.repeatable {
            return Next::GiveUp;
        }
        match remedy(fault) {
            Remedy::CloseGate => Next::CloseGate,
            Remedy::BackOff => self.after_failure(),
            Remedy::BackOffIfHarmless if self.repeatable => self.after_failure(),
            _ => Next::GiveUp,
        }
    }

    fn after_failure(&mut self) -> Next {
        self.failures += 1;
        if self.failures < self.retry.attempts {
            Next::BackOff { failures: self.failures }
        } else {
            Next::GiveUp
        }
    }

    /// The fault as the caller must see it: nothing that may have arrived is called undone.
    pub(super) fn given_up(&self, fault: Fault) -> Fault {
        match fault {
            Fault::Throttled { reason, .. } | Fault::Transient { reason } if self.exposed => {
                Fault::Ambiguous { reason: self.counted(reason) }
            }
            Fault::Transient { reason } => Fault::Transient { reason: self.counted(reason) },
            Fault::Ambiguous { reason } => Fault::Ambiguous { reason: self.counted(reason) },
            other => other,
        }
    }

    fn counted(&self, reason: String) -> String {
        if self.failures > 1 { format!("{reason} (tried {} times)", self.failures) } else { reason }
    }
}
