//! What S3's replies mean. A refusal is an XML document with a code; none is about single rows but the
//! one that calls the object too large.

use super::super::Fault;
use crate::delivery::{Response, standard};

/// An object is stored when S3 says which entity it holds now.
pub(super) fn stored(response: &Response) -> Result<(), Fault> {
    understood(response)?;
    let is_named = response.headers.get("etag").is_some_and(|tag| !tag.is_empty());
    if response.status == 200 && is_named && response.body.trim_ascii().is_empty() {
        return Ok(());
    }
    Err(Fault::Protocol { reason: format!("{} where an `ETag` was expected", response.reason()) })
}

/// The bucket is there, and where.
pub(super) fn located(response: &Response) -> Result<(), Fault> {
    understood(response)?;
    let text = String::from_utf8_lossy(&response.body);
    if response.status == 200 && text.contains("<LocationConstraint") {
        return Ok(());
    }
    let reason = format!("{} where the bucket's location was expected", response.reason());
    Err(Fault::Protocol { reason })
}

fn understood(response: &Response) -> Result<(), Fault> {
    let fault = match standard(response) {
        Ok(()) => return Ok(()),
        Err(fault) => fault,
    };
    let body = String::from_utf8_lossy(&response.body);
    let reason = response.reason();
    Err(match (response.status, code(&body)) {
        (503, "SlowDown" | "ServiceUnavailable") => {
            Fault::Throttled { retry_after: response.retry_after(), reason }
        }
        (400, "RequestTimeout") => Fault::Ambiguous { reason },
        (409, "OperationAborted" | "ConditionalRequestConflict") => Fault::Transient { reason },
        (400, "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired") => Fault::Denied { reason },
        (400, "EntityTooLarge") | (413, _) => Fault::Rejected { reason },
        // Nothing else that S3 refuses is about what a file holds.
        (400..=499, _) if matches!(fault, Fault::Rejected { .. }) => {
            Fault::Misconfigured { reason }
        }
        _ => fault,
    })
}

/// Such as `NoSuchBucket`.
fn code(body: &str) -> &str {
    let after = body.split_once("<Code>").map(|(_, after)| after);
    after.and_then(|after| after.split_once("</Code>")).map_or("", |(code, _)| code)
}
