//! What became of requests that Google had accepted.
//!
//! What it promises: a count stays a count. Rows are refused only where Google says that a request
//! failed as a whole, and then all of its rows.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::delivery::Response;
use crate::destinations::google_api::{answered, names};
use crate::destinations::{Fault, Outcome, Receipt};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statuses {
    request_status_per_destination: Vec<Status>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    request_status: String,
    #[serde(default)]
    error_info: ErrorInfo,
    #[serde(default)]
    warning_info: WarningInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ErrorInfo {
    error_counts: Vec<Counted>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WarningInfo {
    warning_counts: Vec<Counted>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    /// A number, which JSON of protocol buffers writes as a text.
    record_count: Json,
    reason: String,
}

/// What Google says of one request that is done.
#[derive(Debug)]
pub(super) struct Answer {
    fate: Fate,
    errors: Vec<(u64, String)>,
    warnings: Vec<(u64, String)>,
}

#[derive(Debug)]
enum Fate {
    Applied,
    Failed,
    /// Google knows nothing of it any more, and says this.
    Forgotten(String),
}

/// A request that Google does not know any more is an answer.
pub(super) fn known_or_gone(response: &Response) -> Result<(), Fault> {
    if is_gone(response) { Ok(()) } else { answered(response) }
}

fn is_gone(response: &Response) -> bool {
    response.status == 404 || (response.status == 400 && names(response, "INVALID_REQUEST_ID"))
}

/// `None`: it is not done yet.
pub(super) fn read(response: &Response) -> Result<Option<Answer>, Fault> {
    if is_gone(response) {
        let fate = Fate::Forgotten(response.reason());
        return Ok(Some(Answer { fate, errors: Vec::new(), warnings: Vec::new() }));
    }
    let statuses: Statuses = response.json()?;
    // One destination per request.
    let Some(status) = statuses.request_status_per_destination.into_iter().next() else {
        return Ok(None);
    };
    let fate = match status.request_status.as_str() {
        "SUCCESS" | "PARTIAL_SUCCESS" => Fate::Applied,
        "FAILED" => Fate::Failed,
        "PROCESSING" | "REQUEST_STATUS_UNKNOWN" | "" => return Ok(None),
        other => {
            let reason = format!("the request has the status `{other}`, which is not known");
            return Err(Fault::Protocol { reason });
        }
    };
    let errors = counts(status.error_info.error_counts)?;
    let warnings = counts(status.warning_info.warning_counts)?;
    Ok(Some(Answer { fate, errors, warnings }))
}

fn counts(counted: Vec<Counted>) -> Result<Vec<(u64, String)>, Fault> {
    let count = |value: &Json| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    counted
        .into_iter()
        .map(|Counted { record_count, reason }| match count(&record_count) {
            Some(count) => Ok((count, worded(&reason))),
            None => Err(Fault::Protocol { reason: "a count of records is no number".into() }),
        })
        .collect()
}

/// `PROCESSING_ERROR_REASON_INVALID_FORMAT` as `invalid format`.
fn worded(reason: &str) -> String {
    let prefixes = ["PROCESSING_ERROR_REASON_", "PROCESSING_WARNING_REASON_"];
    let short = prefixes.iter().find_map(|prefix| reason.strip_prefix(prefix)).unwrap_or(reason);
    short.to_lowercase().replace('_', " ")
}

/// The receipt of a job's batch. Each answer is about those who leave, or about all others.
pub(super) fn receipt(rows: usize, leaving: &[usize], answers: Vec<(bool, Answer)>) -> Receipt {
    let mut receipt = Receipt::of(rows, &Outcome::Delivered);
    let mut leaves = vec![false; rows];
    for position in leaving {
        if let Some(leaves) = leaves.get_mut(*position) {
            *leaves = true;
        }
    }
    for (about_leaving, Answer { fate, errors, warnings }) in answers {
        let outcome = match fate {
            Fate::Applied => None,
            Fate::Failed => Some(failure(&errors)),
            Fate::Forgotten(reason) => Some(Outcome::Unsettled { reason }),
        };
        if let Some(outcome) = outcome {
            let concerned = (0..rows).filter(|position| leaves[*position] == about_leaving);
            for position in concerned {
                // Positions are those of this batch.
                let _ = receipt.set(position, outcome.clone());
            }
        } else {
            for (count, reason) in errors {
                receipt.notice(count, reason);
            }
        }
        for (count, reason) in warnings {
            receipt.notice(count, format!("warning: {reason}"));
        }
    }
    receipt
}

/// Nothing of the request was applied: refused where the records are the reason, to be sent again
/// where Google is.
fn failure(errors: &[(u64, String)]) -> Outcome {
    let reasons: Vec<&str> = errors.iter().map(|(_, reason)| reason.as_str()).collect();
    let reason = format!(
        "the request failed as a whole: {}",
        match reasons.as_slice() {
            [] => "no reason is given".to_owned(),
            reasons => reasons.join(", "),
        }
    );
    if reasons.iter().all(|reason| *reason == "internal error") {
        return Outcome::Retry { after: None, reason };
    }
    Outcome::Rejected { reason }
}
