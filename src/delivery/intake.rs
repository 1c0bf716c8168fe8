//! What comes before sending: lanes are opened, merged into streams, cut into batches, and every
//! batch is journaled as attempted. Runs ahead of the requests by a few batches, so that nobody waits
//! for the disk, and never by more: what is journaled here and lost in a crash is unsettled.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use tokio::sync::mpsc;

use super::batching::{Limits, Preparation, Prepared, Queue};
use super::merge::Merge;
use super::remedy::{Remedy, remedy};
use super::session::Session;
use super::shipment::{Past, Shipment, Stream};
use super::tally::{places, ranges};
use super::{Blocks, Remember};
use crate::destinations::{Common, Destination, Fault, Remote, Spec, Target};
use crate::engine::Shape;
use crate::message::Message;
use crate::outbox::{Journal, JournalError};
use crate::record::Call;

/// One lane before it is opened.
pub(super) struct Intake {
    pub(super) index: usize,
    pub(super) target: Target,
    pub(super) shape: Arc<Shape>,
    pub(super) blocks: Blocks,
    pub(super) journal: Journal,
    pub(super) remember: Remember,
    /// When the replacement of the whole list started.
    pub(super) replacing: Option<DateTime<Utc>>,
}

/// What the sender hears from here.
pub(super) enum Supply {
    Opened {
        lane: usize,
        remote: Remote,
    },
    /// Batches that may be sent now.
    Group(Group),
    /// A lane, or what is left of a stream, that cannot be delivered.
    LanesHalted {
        lanes: Vec<usize>,
        reason: String,
        gave_up: bool,
    },
    /// Nothing more can be sent to this destination.
    Halted {
        reason: String,
    },
}

/// Batches that were journaled together.
#[derive(Default)]
pub(super) struct Group {
    pub(super) shipments: Vec<Shipment>,
    /// Rows journaled as attempted, by lane.
    pub(super) attempted: Vec<(usize, u64)>,
    /// Rejected here, never attempted.
    pub(super) refused: Vec<(Message, String)>,
}

pub(super) struct Feeder {
    pub(super) session: Session,
    pub(super) destination: Arc<dyn Destination>,
    pub(super) limits: Limits,
    pub(super) supply: mpsc::Sender<Supply>,
}

/// The sender is gone, or the destination is halted: there is nothing left to do.
pub(super) struct Over;

/// Lanes that may travel together are one group; every other lane is a group of its own.
pub(super) fn grouped<L>(
    lanes: Vec<L>,
    shape: impl Fn(&L) -> &Shape,
    spec: &Spec,
    common: &Common,
) -> Vec<Vec<L>> {
    let mut groups: Vec<Vec<L>> = Vec::new();
    for lane in lanes {
        let kind = |lane: &L| (shape(lane).call, shape(lane).level);
        let coalesces = spec.coalesce
            && common.coalesce
            && matches!(shape(&lane).call, Call::Identify | Call::Group);
        let same = |group: &&mut Vec<L>| {
            coalesces && group.first().is_some_and(|first| kind(first) == kind(&lane))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(lane),
            None => groups.push(vec![lane]),
        }
    }
    groups
}

impl Feeder {
    /// Feeds one group after the other.
    pub(super) async fn feed(self, groups: Vec<Vec<Intake>>) {
        for group in groups {
            let Ok(opened) = self.open(group).await else { return };
            for (remote, lanes) in opened {
                if self.stream(remote, lanes).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Opens the lanes of a group; those that found the same remote travel together.
    async fn open(&self, group: Vec<Intake>) -> Result<Vec<(Remote, Vec<Intake>)>, Over> {
        let mut streams: Vec<(Remote, Vec<Intake>)> = Vec::new();
        for lane in group {
            let session = self.session.fresh();
            let opened = self.destination.open(&session, &lane.target).await;
            let opened = opened.and_then(|remote| remember(&lane, remote));
            match self.beginning(&session, opened, lane.replacing).await {
                Ok(remote) => {
                    self.say(Supply::Opened { lane: lane.index, remote: remote.clone() }).await?;
                    match streams.iter_mut().find(|(other, _)| *other == remote) {
                        Some((_, lanes)) => lanes.push(lane),
                        None => streams.push((remote, vec![lane])),
                    }
                }
                Err(fault) => self.cannot_open(lane.index, &fault).await?,
            }
        }
        Ok(streams)
    }

    /// What a lane's batches go to, once a replacement that started then has begun.
    async fn beginning(
        &self,
        session: &Session,
        opened: Result<Remote, Fault>,
        replacing: Option<DateTime<Utc>>,
    ) -> Result<Remote, Fault> {
        let remote = opened?;
        match replacing {
            Some(started) => self.destination.begin_replacing(session, &remote, started).await,
            None => Ok(remote),
        }
    }

    async fn cannot_open(&self, lane: usize, fault: &Fault) -> Result<(), Over> {
        let reason = self.session.redact(&fault.to_string());
        match remedy(fault) {
            Remedy::HaltDestination => self.halt(reason).await,
            remedy => {
                let gave_up = !matches!(remedy, Remedy::HaltSync | Remedy::Bisect);
                self.say(Supply::LanesHalted { lanes: vec![lane], reason, gave_up }).await
            }
        }
    }

    /// Feeds everything of one stream.
    async fn stream(&self, remote: Remote, lanes: Vec<Intake>) -> Result<(), Over> {
        let indices: Vec<usize> = lanes.iter().map(|lane| lane.index).collect();
        let journals = lanes.iter().map(|lane| (lane.index, lane.journal.clone())).collect();
        let stream = Arc::new(Stream::new(indices, remote));
        let blocks = lanes.into_iter().map(|lane| lane.blocks).collect();
        let mut queue = Queue::new(Preparation::new(Merge::new(blocks), self.limits));
        while !stream.is_halted() {
            let most = self.session.core.flow.ahead();
            let prepared = tokio::select! {
                prepared = queue.take(most) => prepared,
                () = self.session.core.stopped() => return Err(Over),
            };
            if prepared.is_empty() {
                return Ok(());
            }
            self.pass_on(prepared, &stream, &journals).await?;
        }
        Ok(())
    }

    /// Journals a group as attempted, then lets it be sent.
    async fn pass_on(
        &self,
        prepared: Vec<Prepared>,
        stream: &Arc<Stream>,
        journals: &BTreeMap<usize, Journal>,
    ) -> Result<(), Over> {
        let mut group = Group::default();
        let mut unreadable = None;
        for prepared in prepared {
            match prepared {
                Prepared::Batch(batch) => {
                    let stream = Arc::clone(stream);
                    group.shipments.push(Shipment { batch, stream, past: Past::default() });
                }
                Prepared::Refused { message, reason } => group.refused.push((*message, reason)),
                Prepared::Unreadable { reason } => unreadable = Some(reason),
            }
        }
        match attempt(&group.shipments, journals).await {
            Ok(attempted) => group.attempted = attempted,
            Err(error) => return self.halt(broken(&error)).await,
        }
        self.say(Supply::Group(group)).await?;
        match unreadable {
            Some(reason) => {
                let lanes = stream.lanes.clone();
                self.say(Supply::LanesHalted { lanes, reason, gave_up: false }).await
            }
            None => Ok(()),
        }
    }

    async fn halt(&self, reason: String) -> Result<(), Over> {
        self.say(Supply::Halted { reason }).await?;
        Err(Over)
    }

    async fn say(&self, supply: Supply) -> Result<(), Over> {
        self.supply.send(supply).await.map_err(|_| Over)
    }
}

/// Keeps what `open` found before anything is sent there.
fn remember(lane: &Intake, remote: Remote) -> Result<Remote, Fault> {
    kept(&lane.remember, &remote).map(|()| remote)
}

pub(super) fn kept(remember: &Remember, remote: &Remote) -> Result<(), Fault> {
    remember(remote).map_err(|error| Fault::Misconfigured {
        reason: format!("could not keep what was found at the destination: {error}"),
    })
}

/// Journals every row of these batches as attempted, in all lanes at once.
async fn attempt(
    shipments: &[Shipment],
    journals: &BTreeMap<usize, Journal>,
) -> Result<Vec<(usize, u64)>, JournalError> {
    let mut rows: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
    for message in shipments.iter().flat_map(|shipment| shipment.batch.messages()) {
        for (lane, row) in places(message) {
            rows.entry(lane).or_default().push(row);
        }
    }
    let counts = rows.iter().map(|(lane, rows)| (*lane, rows.len() as u64)).collect();
    let writes = rows
        .into_iter()
        .filter_map(|(lane, rows)| Some(journals.get(&lane)?.attempted(ranges(rows))));
    try_join_all(writes).await?;
    Ok(counts)
}

/// Why nothing more may be sent.
pub(super) fn broken(error: &JournalError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
