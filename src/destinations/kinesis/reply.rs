//! What Kinesis answers: one result per record, by position, or an error that concerns the whole call.

use serde::Deserialize;

use crate::delivery::{Response, standard};
use crate::destinations::{Batch, Fault, Outcome, Receipt};

/// The reply to `PutRecords`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Results {
    failed_record_count: Option<usize>,
    records: Vec<RecordResult>,
}

/// What became of one record.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RecordResult {
    sequence_number: Option<String>,
    error_code: Option<String>,
    #[serde(default)]
    error_message: String,
}

#[derive(Deserialize)]
struct Error {
    #[serde(rename = "__type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Summary {
    stream_description_summary: StreamSummary,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StreamSummary {
    stream_status: String,
}

const BUSY: &str = "ProvisionedThroughputExceededException";

/// Reads errors by their name, which says more than their status: nearly all are a 400.
pub(super) fn taken(response: &Response) -> Result<(), Fault> {
    let Err(fault) = standard(response) else { return Ok(()) };
    let Ok(error) = response.json::<Error>() else { return Err(fault) };
    let reason = response.reason();
    // `com.amazonaws.kinesis.v20131202#ResourceNotFoundException` and the bare name are the same.
    let name = error.kind.rsplit('#').next().unwrap_or_default();
    Err(match name.trim_end_matches("Exception") {
        "ProvisionedThroughputExceeded"
        | "LimitExceeded"
        | "KMSThrottling"
        | "Throttling"
        | "RequestLimitExceeded" => {
            Fault::Throttled { retry_after: response.retry_after(), reason }
        }
        "AccessDenied"
        | "UnrecognizedClient"
        | "InvalidClientTokenId"
        | "InvalidSignature"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "ExpiredToken"
        | "RequestExpired"
        | "OptInRequired" => Fault::Denied { reason },
        "ResourceNotFound" | "KMSDisabled" | "KMSInvalidState" | "KMSAccessDenied"
        | "KMSNotFound" | "KMSOptInRequired" | "UnknownOperation" => {
            Fault::Misconfigured { reason }
        }
        "InvalidArgument" | "Validation" | "Serialization" => Fault::Rejected { reason },
        _ => fault,
    })
}

/// The same; a reply in which every record met a busy shard took nothing and asks for patience.
pub(super) fn taken_in_part(response: &Response) -> Result<(), Fault> {
    taken(response)?;
    let Ok(Results { records, .. }) = response.json() else { return Ok(()) };
    let busy = |record: &RecordResult| record.error_code.as_deref() == Some(BUSY);
    if records.is_empty() || !records.iter().all(busy) {
        return Ok(());
    }
    let reason = format!("{BUSY}: {}", records[0].error_message);
    Err(Fault::Throttled { retry_after: response.retry_after(), reason })
}

/// One outcome per record, by position.
pub(super) fn receipt(response: &Response, batch: &Batch) -> Result<Receipt, Fault> {
    let Results { failed_record_count, records } = response.json()?;
    let failed = records.iter().filter(|record| record.error_code.is_some()).count();
    if records.len() != batch.len() || failed != failed_record_count.unwrap_or(failed) {
        return Err(unread(&format!(
            "{} results, {failed} of them failures, for {} records",
            records.len(),
            batch.len()
        )));
    }
    let mut receipt = batch.delivered();
    for (position, record) in records.into_iter().enumerate() {
        if !receipt.set(position, record.outcome()?) {
            return Err(unread("a result for a record that was not sent"));
        }
    }
    Ok(receipt)
}

impl RecordResult {
    fn outcome(self) -> Result<Outcome, Fault> {
        match (self.error_code, self.sequence_number) {
            (None, Some(number)) if !number.is_empty() => Ok(Outcome::Delivered),
            (None, _) => Err(unread("a record with neither a sequence number nor an error")),
            (Some(code), _) => {
                let reason = format!("{code}: {}", self.error_message);
                Ok(match code.as_str() {
                    BUSY | "InternalFailure" => Outcome::Retry { after: None, reason },
                    _ => Outcome::Rejected { reason },
                })
            }
        }
    }
}

/// Whether the stream takes records now.
pub(super) fn is_writable(response: &Response) -> Result<(), Fault> {
    let summary: Summary = response.json()?;
    match summary.stream_description_summary.stream_status.as_str() {
        "ACTIVE" | "UPDATING" => Ok(()),
        status => {
            let reason = format!("the stream takes no records now: its status is `{status}`");
            Err(Fault::Misconfigured { reason })
        }
    }
}

fn unread(fact: &str) -> Fault {
    Fault::Protocol { reason: format!("the reply to `PutRecords` does not add up: {fact}") }
}
