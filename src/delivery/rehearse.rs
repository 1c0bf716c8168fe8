//! What would be sent, without sending anything: the same merge, batches and destination, on a
//! session that only captures. What hangs on a reply cannot be rehearsed and is left out.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Blocks;
use super::batching::{Limits, Preparation, Prepared, Queue};
use super::intake::grouped;
use super::merge::Merge;
use super::session::{Captured, Session, Terms};
use crate::destinations::{Common, Destination, Fault, Remote, Spec, Target};
use crate::engine::Shape;

/// What there is to rehearse for one configured destination.
pub struct Rehearsal {
    pub spec: &'static Spec,
    pub destination: Arc<dyn Destination>,
    pub common: Common,
    pub secrets: BTreeSet<String>,
    /// `shape.index` of each lane is its position here.
    pub lanes: Vec<(Target, Arc<Shape>, Blocks)>,
}

/// The requests of one sync, or of several that travel together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsed {
    /// `model.destination`, each.
    pub syncs: Vec<String>,
    pub requests: Vec<Captured>,
    /// Why there are no more of them, where it is not the limit or the end.
    pub fault: Option<String>,
}

/// The first `limit` requests of every sync exactly as they would go over the wire, but for secrets.
pub async fn rehearse(rehearsal: Rehearsal, limit: usize) -> Vec<Rehearsed> {
    let Rehearsal { spec, destination, common, secrets, lanes } = rehearsal;
    let limits = Limits::new(spec, &common);
    let groups = grouped(lanes, |(_, shape, _)| shape, spec, &common);
    let terms = Terms { spec, common, secrets };
    let mut rehearsed = Vec::new();
    for lanes in groups {
        let session = Session::rehearsal(&terms, limit);
        let syncs = lanes.iter().map(|(_, shape, _)| shape.sync.clone()).collect();
        let fault = match opened(&*destination, &session, &lanes).await {
            Ok(remote) => {
                let blocks = lanes.into_iter().map(|(_, _, blocks)| blocks).collect();
                let merge = Merge::new(blocks);
                deliver(&*destination, &session, &remote, (merge, limits, limit)).await
            }
            Err(fault) => told(&fault),
        };
        rehearsed.push(Rehearsed { syncs, requests: session.captured(), fault });
    }
    rehearsed
}

/// What the lanes' messages are delivered to; what an earlier run found where it cannot be asked now.
async fn opened(
    destination: &dyn Destination,
    session: &Session,
    lanes: &[(Target, Arc<Shape>, Blocks)],
) -> Result<Remote, Fault> {
    let mut first = None;
    for (target, _, _) in lanes {
        let remote = match destination.open(session, target).await {
            Err(Fault::Rehearsed) => target.remote.clone().ok_or(Fault::Rehearsed),
            other => other,
        };
        first = first.or(Some(remote?));
    }
    Ok(first.unwrap_or_default())
}

async fn deliver(
    destination: &dyn Destination,
    session: &Session,
    remote: &Remote,
    (merge, limits, limit): (Merge, Limits, usize),
) -> Option<String> {
    let mut queue = Queue::new(Preparation::new(merge, limits));
    while session.captured_count() < limit {
        let Some(prepared) = queue.take(1).await.pop() else { break };
        let fault = match prepared {
            Prepared::Batch(batch) => destination.deliver(session, remote, &batch).await.err(),
            Prepared::Unreadable { reason } => return Some(reason),
            Prepared::Refused { .. } => None,
        };
        if let Some(fault) = fault.as_ref().and_then(told) {
            return Some(session.redact(&fault));
        }
    }
    None
}

/// A fault worth telling.
fn told(fault: &Fault) -> Option<String> {
    (*fault != Fault::Rehearsed).then(|| fault.to_string())
}
