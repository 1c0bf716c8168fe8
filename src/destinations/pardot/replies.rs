//! What Account Engagement's replies mean: their status is coarse, the number in the body is not.

use std::time::Duration;

use serde::Deserialize;

use super::super::{Fault, Outcome};
use crate::delivery::{Response, standard};

/// The allowance of a day comes back at its end: asking again soon is no use.
const LONG_PAUSE: Duration = Duration::from_hours(1);

#[derive(Deserialize)]
struct Complaint {
    code: u32,
    message: String,
}

/// Whether the token is no longer valid.
pub(super) fn is_expired(response: &Response) -> bool {
    response.status == 401
        || response.json::<Complaint>().is_ok_and(|complaint| complaint.code == 184)
}

pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    let by_status = standard(response);
    let Ok(Complaint { code, message }) = response.json() else { return by_status };
    let reason = match by_status {
        Ok(()) => format!("HTTP {} with the error {code}: {message}", response.status),
        Err(_) => response.reason(),
    };
    Err(match code {
        66 | 202 => Fault::Throttled { retry_after: response.retry_after(), reason },
        122 => {
            let retry_after = response.retry_after().or(Some(LONG_PAUSE));
            Fault::Throttled { retry_after, reason }
        }
        // Locks, outdated requests and connectors that did not answer: nothing was done.
        62 | 85 | 116 | 120 | 121 => Fault::Transient { reason },
        // An internal error, a timeout.
        183 | 214 => Fault::Ambiguous { reason },
        1 | 15 | 46 | 49 | 53 | 76 | 126 | 131 | 184 | 199 => Fault::Denied { reason },
        // The unit, a header, or a field that is not there.
        22 | 130 | 180 | 181 | 182 | 198 | 201 => Fault::Misconfigured { reason },
        _ => match by_status {
            Ok(()) => Fault::Protocol { reason },
            Err(fault) => fault,
        },
    })
}

/// Reads the reply to an upsert of the prospect with that email. One that may not be read by us is
/// answered with nothing at all, and a status of its own.
pub(super) fn upserted(response: &Response, email: &str) -> Result<Outcome, Fault> {
    #[derive(Deserialize)]
    struct Prospect {
        email: String,
    }
    if response.status == 204 && response.body.is_empty() {
        return Ok(Outcome::Delivered);
    }
    let prospect: Prospect = response.json()?;
    if prospect.email.to_lowercase() == email.to_lowercase() {
        return Ok(Outcome::Delivered);
    }
    Err(Fault::Protocol { reason: "the reply is about another prospect".into() })
}
