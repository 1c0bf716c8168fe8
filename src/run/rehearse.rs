//! What a run would send, without sending it: requests counted, time estimated, the first payloads
//! made exactly as they would go over the wire.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::deliver::{shape, target};
use super::prepare::Prepared;
use super::{Detail, Passage, PlannedRequest, PlannedSync, Refused, Request, StateError};
use crate::delivery::{self, Captured, Rehearsal};
use crate::destinations::Configured;
use crate::engine::read_blocks;
use crate::state::RunId;

/// The plan of every passage, in their order.
pub(super) async fn planned(
    prepared: &Prepared<'_>,
    passages: &[Passage],
    request: &Request,
    detail: Detail,
) -> Result<Vec<PlannedSync>, Refused> {
    let mut payloads = BTreeMap::new();
    if detail.payloads > 0 {
        for configured in prepared.destinations.values() {
            payloads.append(&mut rehearse(prepared, passages, configured, request, detail).await?);
        }
    }
    let plans = passages.iter().filter_map(|passage| {
        let configured = prepared.destinations.get(&passage.sync.destination)?;
        let requests = payloads.remove(&passage.sync.name).unwrap_or_default();
        Some(plan_of(passage, configured, request, detail, requests))
    });
    Ok(plans.collect())
}

fn plan_of(
    passage: &Passage,
    configured: &Configured,
    request: &Request,
    detail: Detail,
    requests: Vec<PlannedRequest>,
) -> PlannedSync {
    let request_count = request_count(passage, configured);
    let sql = || passage.compared.as_ref().map(|compared| compared.sql.clone());
    PlannedSync {
        request_count,
        seconds: rate(configured).map(|rate| as_float(request_count) / rate),
        due: passage.due(request),
        requests,
        sql: detail.sql.then(sql).flatten(),
        record: passage.record.clone(),
    }
}

/// As many as its batches take when all is well.
fn request_count(passage: &Passage, configured: &Configured) -> u64 {
    let (pending, rows) = (passage.record.pending, batch_rows(configured));
    let full = pending / rows as u64;
    let rest = usize::try_from(pending % rows as u64).unwrap_or(rows);
    let requests = |rows| configured.destination.requests(passage.sync.call, rows) as u64;
    full * requests(rows) + if rest > 0 { requests(rest) } else { 0 }
}

fn batch_rows(configured: &Configured) -> usize {
    let batch = &configured.spec.batch;
    configured.common.batch_size.unwrap_or(batch.rows).min(batch.max_rows).max(1)
}

/// Requests per second; `None`: unlimited.
fn rate(configured: &Configured) -> Option<f64> {
    let quotas = configured.spec.quotas.iter();
    let slowest = quotas.map(|quota| f64::from(quota.limit) / quota.per.as_secs_f64());
    configured.common.rate_limit.or_else(|| slowest.min_by(f64::total_cmp))
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn as_float(count: u64) -> f64 {
    count as f64
}

/// The first requests of every sync of one destination; syncs that travel together share theirs.
async fn rehearse(
    prepared: &Prepared<'_>,
    passages: &[Passage],
    configured: &Configured,
    request: &Request,
    detail: Detail,
) -> Result<BTreeMap<String, Vec<PlannedRequest>>, Refused> {
    let as_of = request.as_of.unwrap_or(request.now).timestamp_micros();
    let run = RunId::new(request.now, None);
    let mut lanes = Vec::new();
    for passage in passages {
        let Some(compared) = &passage.compared else { continue };
        if passage.sync.destination != configured.name || passage.record.pending == 0 {
            continue;
        }
        let shape = Arc::new(shape(passage, lanes.len(), as_of));
        let path = &compared.changes.path;
        let blocks = read_blocks(path, &shape).map_err(|error| StateError::Read {
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        let target = target(prepared, passage, &run).map_err(Refused::one)?;
        let blocks: delivery::Blocks = Box::new(blocks);
        lanes.push((target, shape, blocks));
    }
    let rehearsal = Rehearsal {
        spec: configured.spec,
        destination: Arc::clone(&configured.destination),
        common: configured.common.clone(),
        secrets: configured.secrets.clone(),
        lanes,
    };
    let mut payloads = BTreeMap::new();
    for rehearsed in delivery::rehearse(rehearsal, detail.payloads).await {
        for sync in rehearsed.syncs {
            payloads.insert(sync, rehearsed.requests.iter().map(shown).collect());
        }
    }
    Ok(payloads)
}

fn shown(captured: &Captured) -> PlannedRequest {
    let text = || serde_json::Value::String(String::from_utf8_lossy(&captured.body).into_owned());
    PlannedRequest {
        body: serde_json::from_slice(&captured.body).unwrap_or_else(|_| text()),
        method: captured.method.clone(),
        url: captured.url.clone(),
        headers: captured.headers.iter().cloned().collect(),
    }
}
