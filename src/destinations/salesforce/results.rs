//! What became of the records of one request: one result each, by position.

use serde::Deserialize;

use super::super::salesforce_api::Complaint;
use super::super::{Batch, Fault, Outcome, Receipt};
use crate::delivery::Response;

#[derive(Deserialize)]
struct RecordResult {
    id: Option<String>,
    success: bool,
    #[serde(default)]
    errors: Vec<Complaint>,
}

pub(super) fn receipt(response: &Response, batch: &Batch) -> Result<Receipt, Fault> {
    let results: Vec<RecordResult> = response.json()?;
    if results.len() != batch.len() {
        let (found, sent) = (results.len(), batch.len());
        let reason = format!("the reply has {found} results for {sent} records");
        return Err(Fault::Protocol { reason });
    }
    let mut receipt = batch.delivered();
    for (position, result) in results.into_iter().enumerate() {
        // There are as many results as messages.
        let _ = receipt.set(position, result.outcome(position)?);
    }
    Ok(receipt)
}

impl RecordResult {
    fn outcome(self, position: usize) -> Result<Outcome, Fault> {
        let Self { id, success, errors } = self;
        match (success, id, errors.first()) {
            (true, Some(id), None) if !id.is_empty() => Ok(Outcome::Delivered),
            (false, _, Some(first)) => {
                let passing = errors.iter().any(Complaint::is_passing);
                let reason = first.reason();
                Ok(match passing {
                    true => Outcome::Retry { after: None, reason },
                    false => Outcome::Rejected { reason },
                })
            }
            _ => {
                let reason = format!("the result at place {position} does not add up");
                Err(Fault::Protocol { reason })
            }
        }
    }
}
