//! Faults are named by what must happen next, not by what went wrong.

use std::time::Duration;

use thiserror::Error;

/// Why a request did not do what it was for. Texts are already redacted and hold no row values
/// beyond what the destination itself quoted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// The destination asks us to slow down: its gate closes; costs no attempt.
    #[error("the destination asked us to slow down: {reason}")]
    Throttled { retry_after: Option<Duration>, reason: String },
    /// It may work later and nothing was done: try again, then leave the rows pending.
    #[error("{reason}")]
    Transient { reason: String },
    /// It was sent and no reply could be had: repeat if repeating is harmless, else unsettled.
    #[error("sent, with no usable reply: {reason}")]
    Ambiguous { reason: String },
    /// The destination refuses this request because of what is in it: bisect until the bad row
    /// stands alone.
    #[error("refused by the destination: {reason}")]
    Rejected { reason: String },
    /// Credentials or permissions: halt this destination, the others go on.
    #[error("credentials refused: {reason}")]
    Denied { reason: String },
    /// The list, field, stream or address does not exist: halt this sync.
    #[error("misconfigured: {reason}")]
    Misconfigured { reason: String },
    /// A reply we cannot read is never success; what was sent is unsettled.
    #[error("unreadable reply: {reason}")]
    Protocol { reason: String },
    /// The request was only rehearsed (`plan --payloads`): nothing left this machine.
    #[error("rehearsed, not sent")]
    Rehearsed,
}
