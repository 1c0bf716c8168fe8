//! What an endpoint's reply means, as a whole and row by row.

use serde::Deserialize;
use serde_json::Value;

use crate::delivery::{Response, Session};
use crate::destinations::{Batch, Fault, Outcome, Receipt};

/// In characters.
const LONGEST_REASON: usize = 300;

/// One entry of `results`, in our convention.
#[derive(Debug, Deserialize)]
struct RowResult {
    index: usize,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    message: Option<String>,
}

/// What became of every message of the batch.
///
/// A body of another kind is the endpoint's own business, except under a 207: that status says that
/// the outcome stands in the body.
pub(super) fn receipt(
    session: &Session,
    response: &Response,
    batch: &Batch,
) -> Result<Receipt, Fault> {
    let mut receipt = batch.delivered();
    let body = serde_json::from_slice::<Value>(&response.body).ok();
    let results = body.as_ref().and_then(|body| body.get("results")?.as_array());
    let Some(results) = results else {
        return match response.status {
            207 => Err(unreadable("207 without `results` in its body")),
            _ => Ok(receipt),
        };
    };
    for result in results.iter().filter(|result| is_error(result)) {
        let row = RowResult::deserialize(result)
            .map_err(|error| unreadable(&format!("an entry of `results`: {error}")))?;
        let index = row.index;
        if !receipt.set(index, row.outcome(session)) {
            let rows = batch.len();
            return Err(unreadable(&format!("`results` names row {index} of a batch of {rows}")));
        }
    }
    Ok(receipt)
}

impl RowResult {
    fn outcome(self, session: &Session) -> Outcome {
        let reason = match self.message {
            Some(message) => session.redact(&message).chars().take(LONGEST_REASON).collect(),
            None => "the endpoint gave no reason".into(),
        };
        if self.retryable {
            Outcome::Retry { after: None, reason }
        } else {
            Outcome::Rejected { reason }
        }
    }
}

fn is_error(result: &Value) -> bool {
    result.get("status").and_then(Value::as_str) == Some("error")
}

fn unreadable(what: &str) -> Fault {
    Fault::Protocol { reason: what.to_owned() }
}
