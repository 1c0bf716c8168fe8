//! What a run would send, without sending it: requests counted, time estimated, the first payloads
//! made exactly as they would go over the wire.

use std::sync::Arc;

use super::deliver::{shape, target};
use super::prepare::Prepared;
use super::{Detail, Passage, PlannedRequest, PlannedSync, Refused, Request, StateError};
use crate::delivery::{Captured, Session, Terms};
use crate::destinations::{Batch, Configured};
use crate::engine::read_blocks;
use crate::finding::Finding;
use crate::message::{Message, Part};
use crate::state::RunId;

pub(super) async fn planned(
    prepared: &Prepared<'_>,
    passage: &Passage,
    request: &Request,
    detail: Detail,
) -> Result<PlannedSync, Refused> {
    let Some(configured) = prepared.destinations.get(&passage.sync.destination) else {
        return Err(Refused::one(Finding::error("D01", "the destination is not configured")));
    };
    let rows = batch_rows(configured);
    let request_count = passage.record.pending.div_ceil(rows as u64);
    let requests = match detail.payloads {
        0 => Vec::new(),
        limit => payloads(prepared, passage, configured, request, limit).await?,
    };
    Ok(PlannedSync {
        request_count,
        seconds: rate(configured).map(|rate| as_float(request_count) / rate),
        due: passage.due(request),
        requests,
        sql: detail.sql.then(|| {
            passage.compared.as_ref().map(|compared| compared.sql.clone()).unwrap_or_default()
        }),
        record: passage.record.clone(),
    })
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

async fn payloads(
    prepared: &Prepared<'_>,
    passage: &Passage,
    configured: &Configured,
    request: &Request,
    limit: usize,
) -> Result<Vec<PlannedRequest>, Refused> {
    let Some(compared) = &passage.compared else { return Ok(Vec::new()) };
    let as_of = request.as_of.unwrap_or(request.now);
    let shape = Arc::new(shape(passage, 0, as_of.timestamp_micros()));
    let wanted = limit.saturating_mul(batch_rows(configured));
    let messages = messages(&compared.changes.path, &shape, wanted)?;
    let terms = Terms {
        spec: configured.spec,
        common: configured.common.clone(),
        secrets: configured.secrets.clone(),
    };
    let session = Session::rehearsal(&terms, limit);
    let run = RunId::new(request.now, None);
    let target = target(prepared, passage, &run).map_err(Refused::one)?;
    // What hangs on a reply ends here: the request that asks is shown, what follows is not.
    if let Ok(remote) = configured.destination.open(&session, &target).await {
        for batch in chunks(messages, batch_rows(configured)) {
            drop(configured.destination.deliver(&session, &remote, &batch).await);
            if session.captured().len() >= limit {
                break;
            }
        }
    }
    Ok(session.captured().into_iter().take(limit).map(shown).collect())
}

fn messages(
    changes: &std::path::Path,
    shape: &Arc<crate::engine::Shape>,
    wanted: usize,
) -> Result<Vec<Message>, Refused> {
    let broken = |error: crate::engine::BlocksError| {
        Refused::from(StateError::Read {
            path: changes.to_owned(),
            source: std::io::Error::other(error),
        })
    };
    let mut messages = Vec::new();
    for block in read_blocks(changes, shape).map_err(broken)? {
        let block = Arc::new(block.map_err(broken)?);
        let rows = (0..block.len()).filter(|row| block.change(*row).is_sent());
        let rows = rows.filter_map(|row| u32::try_from(row).ok());
        messages.extend(rows.map(|row| Message::new(Part::new(Arc::clone(&block), row))));
        if messages.len() >= wanted {
            break;
        }
    }
    messages.truncate(wanted);
    Ok(messages)
}

fn chunks(messages: Vec<Message>, rows: usize) -> Vec<Batch> {
    messages.chunks(rows).filter_map(|chunk| Batch::new(chunk.to_vec())).collect()
}

fn shown(captured: Captured) -> PlannedRequest {
    let text = || serde_json::Value::String(String::from_utf8_lossy(&captured.body).into_owned());
    PlannedRequest {
        body: serde_json::from_slice(&captured.body).unwrap_or_else(|_| text()),
        method: captured.method,
        url: captured.url,
        headers: captured.headers.into_iter().collect(),
    }
}
