//! The outbox of one sync in one run: changes sealed before the first request, and the journal of
//! what became of them. Never rewrites a byte.

mod journal;
mod replay;
mod segment;
#[cfg(test)]
mod tests;

pub use journal::{Entry, Journal, JournalError, Share};
pub use replay::{OpenJob, Replay, RowState, replay};
