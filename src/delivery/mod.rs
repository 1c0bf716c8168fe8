//! Getting sealed changes to destinations: map ▸ batch ▸ journal ▸ limit ▸ send ▸ settle. The only
//! place that names reqwest, russh and governor, the only one that waits.
//!
//! `drain` empties the outboxes of one destination; destinations are drained side by side and never
//! wait for each other. Memory is bounded by what is in flight, whatever the number of changes.

mod auth;
mod batching;
mod budget;
mod conclusion;
mod core;
mod drain;
mod files;
mod flow;
mod gate;
mod intake;
mod jobs;
mod limiter;
mod merge;
mod rehearse;
mod remedy;
mod replacement;
mod report;
mod request;
mod secrecy;
mod session;
mod settle;
mod sftp;
mod shipment;
mod signing;
mod tally;
#[cfg(test)]
mod tests;
mod transport;
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::destinations::{Common, Destination, Remote, Spec, Target};
use crate::engine::{Block, Shape};
use crate::outbox::Journal;

pub use auth::{Authority, Grant, Token, granting};
pub use budget::{Booked, Budget, Keep};
pub use drain::drain;
pub use jobs::{Resumed, Resumption, resume};
pub use rehearse::{Rehearsal, Rehearsed, rehearse};
pub use report::{Control, Drained, Progress};
pub use session::{
    Captured, Heeding, Reading, Reply, Request, Response, Server, Session, Surroundings, Terms,
    standard,
};
pub use sftp::{HostKey, Login, Proof, SftpServer, SshKey};
pub use signing::AwsKey;
pub use tally::LaneReport;

/// Blocks of one sync's changes in record-key order; reading may block the thread.
pub type Blocks =
    Box<dyn Iterator<Item = Result<Block, Box<dyn std::error::Error + Send + Sync>>> + Send>;

/// Keeps what `open` found or created, durably; called before anything is sent there, and again where the
/// destination concludes a run.
pub type Remember = Arc<dyn Fn(&Remote) -> std::io::Result<()> + Send + Sync>;

/// Everything there is to do for one configured destination.
pub struct Work {
    /// The configured name.
    pub name: String,
    pub spec: &'static Spec,
    pub destination: Arc<dyn Destination>,
    pub common: Common,
    /// Redacted wherever they turn up.
    pub secrets: BTreeSet<String>,
    /// `shape.index` of each lane is its position here.
    pub lanes: Vec<Lane>,
}

/// One sync's way to the destination.
pub struct Lane {
    pub target: Target,
    pub shape: Arc<Shape>,
    /// Rows that are to be sent; rows whose change is not sent are skipped.
    pub changes: u64,
    pub blocks: Blocks,
    pub journal: Journal,
    pub remember: Remember,
    /// The whole list is replaced.
    pub replacing: Option<Replacing>,
}

/// How a whole list is replaced: everybody who is wanted is added, then whoever was not is taken off.
#[derive(Debug, Clone)]
pub struct Replacing {
    /// Before anybody is added.
    pub started: DateTime<Utc>,
    /// Rows that are taken off without a message, in half-open ranges.
    pub displaced: Vec<[u64; 2]>,
}
