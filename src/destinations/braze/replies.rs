//! What Braze's replies to `/users/track` mean, row by row.
//!
//! What it promises: a reply that does not say `success` (or `queued`, during maintenance) is never
//! read as one; a refusal as a whole becomes rejections only where it names every object, otherwise
//! the batch is halved; a row that was not sent is never believed.

use serde::Deserialize;
use serde_json::Value as Json;

use super::super::braze_api::plain;
use super::super::portions::{Portion, Verdict};
use crate::delivery::Response;
use crate::destinations::Fault;

/// What a reply says of the objects of one request.
#[derive(Debug)]
pub(super) struct Reading {
    pub verdicts: Vec<Verdict>,
    /// Objects that are neither processed nor refused.
    pub unaccounted: u64,
}

#[derive(Debug, Deserialize)]
struct Reply {
    message: String,
    #[serde(default)]
    errors: Vec<Json>,
    attributes_processed: Option<u64>,
    events_processed: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(rename = "type")]
    reason: String,
    input_array: String,
    index: usize,
}

/// Lets a 400 through that names the objects it refuses: [`read`] makes rows of it.
pub(super) fn readable(response: &Response) -> Result<(), Fault> {
    match response.status {
        200..=202 => response.json::<Reply>().map(|_| ()),
        203..=299 => Err(Fault::Protocol { reason: response.reason() }),
        400 if response.json::<Reply>().is_ok_and(|reply| names_rows(&reply)) => Ok(()),
        _ => plain(response),
    }
}

/// Reads the answer to an empty request: that it is refused for nothing but its emptiness.
pub(super) fn refused_as_empty(response: &Response) -> Result<(), Fault> {
    match response.status {
        200 | 201 | 400 => response.json::<Reply>().map(|_| ()),
        _ => plain(response),
    }
}

pub(super) fn read(response: &Response, array: &str, portion: &Portion) -> Result<Reading, Fault> {
    let reply: Reply = response.json()?;
    let (refusals, vague) = sorted(&reply.errors, array)?;
    let verdicts: Vec<Verdict> = refusals
        .into_iter()
        .map(|refusal| Verdict::rejected(refusal.index, refusal.reason))
        .collect();
    let mut refused: Vec<usize> = verdicts.iter().map(|verdict| verdict.piece).collect();
    refused.sort_unstable();
    refused.dedup();
    let queued = response.status == 202 && reply.message == "queued";
    if response.status != 400 && (reply.message == "success" || queued) {
        let processed = match array {
            "events" => reply.events_processed,
            _ => reply.attributes_processed,
        };
        if processed == Some(0) && vague == 0 {
            return Ok(none_of_them(verdicts, portion.len()));
        }
        let known = refused.len() as u64 + processed.unwrap_or(portion.len() as u64);
        let unaccounted = (portion.len() as u64).saturating_sub(known).max(vague);
        return Ok(Reading { verdicts, unaccounted });
    }
    // Nothing of it was taken; only where every object has its reason is there nothing to find out.
    if refused.len() == portion.len() && vague == 0 {
        return Ok(Reading { verdicts, unaccounted: 0 });
    }
    Err(Fault::Rejected { reason: response.reason() })
}

/// A success of which Braze itself says that it took no object: whoever it does not name is refused
/// without a reason.
fn none_of_them(mut verdicts: Vec<Verdict>, objects: usize) -> Reading {
    for object in 0..objects {
        if verdicts.iter().all(|verdict| verdict.piece != object) {
            let reason = "Braze answers with success and says that it processed nothing";
            verdicts.push(Verdict::rejected(object, reason));
        }
    }
    Reading { verdicts, unaccounted: 0 }
}

fn names_rows(reply: &Reply) -> bool {
    !reply.errors.is_empty()
}

/// Refusals that name their object, and how many do not.
fn sorted(errors: &[Json], array: &str) -> Result<(Vec<Refusal>, u64), Fault> {
    let mut refusals = Vec::new();
    let mut vague = 0;
    for error in errors {
        match Refusal::deserialize(error) {
            Ok(refusal) if refusal.input_array == array => refusals.push(refusal),
            Ok(refusal) => {
                let reason =
                    format!("Braze refuses a row of `{}`, which was not sent", refusal.input_array);
                return Err(Fault::Protocol { reason });
            }
            Err(_) => vague += 1,
        }
    }
    Ok((refusals, vague))
}
