//! Many users at once: a job that Zendesk works off in its own time, and what became of each user.
//!
//! What it promises: a user counts as taken only when its own place in a finished job says so. A job
//! that broke off, or that Zendesk no longer knows, leaves its users unsettled, since some of them may
//! have been written.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::super::{Delivery, Fault, Job, Outcome, Receipt, Settlement, progress};
use super::api::{Api, answered};
use crate::delivery::{Request, Response, Session};

const FIRST_POLL: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Reply {
    job_status: Status,
}

#[derive(Deserialize)]
struct Status {
    id: String,
    status: String,
    message: Option<String>,
    results: Option<Json>,
}

/// What became of one user.
#[derive(Deserialize)]
struct UserResult {
    /// Of the user or, where that failed, its place in the request.
    id: Option<u64>,
    status: String,
    error: Option<String>,
    details: Option<String>,
}

/// What is kept of a job.
#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    /// Places of those who leave and of whom no name is known any more.
    #[serde(default)]
    nameless: Vec<usize>,
}

pub(super) async fn submitted(
    session: &Session,
    request: Request,
    nameless: Vec<usize>,
) -> Result<Delivery, Fault> {
    let reply: Reply = session.send(request.reading(enabled)).await?.json()?;
    let kept = Kept { id: reply.job_status.id, nameless };
    progress::job(&kept, FIRST_POLL).map(Delivery::Submitted)
}

/// Many users are a favour that each account must ask for.
fn enabled(response: &Response) -> Result<(), Fault> {
    match answered(response) {
        Err(Fault::Denied { reason }) if response.status == 403 => Err(Fault::Denied {
            reason: format!(
                "{reason}; Zendesk enables the import of many users only when the owner of the \
                 account asks its support: until then set `bulk = false`"
            ),
        }),
        other => other,
    }
}

/// Asks after a job.
pub(super) async fn asked(
    api: &Api,
    session: &Session,
    job: &Job,
    rows: usize,
) -> Result<Settlement, Fault> {
    let Kept { id, nameless } = progress::kept(job)?;
    let request = api.get(&["job_statuses", &id]).reading(known);
    let response = session.send(request).await?;
    if response.status == 404 {
        return Ok(unsettled(rows, "Zendesk no longer knows the job"));
    }
    let Reply { job_status: Status { id: found, status, message, results } } = response.json()?;
    if found != id {
        return Err(Fault::Protocol { reason: "the reply is about another job".into() });
    }
    match status.as_str() {
        "queued" | "working" => Ok(Settlement::Running { poll_after: POLL }),
        "completed" => receipt(results.unwrap_or_default(), rows, &nameless).map(Settlement::Done),
        "failed" | "killed" => {
            let why = message.unwrap_or_else(|| "no reason given".into());
            Ok(unsettled(rows, &format!("the job is `{status}`: {why}")))
        }
        other => Err(Fault::Protocol { reason: format!("the job has the state `{other}`") }),
    }
}

/// A job that is not there any more is an answer.
fn known(response: &Response) -> Result<(), Fault> {
    if response.status == 404 { Ok(()) } else { answered(response) }
}

fn unsettled(rows: usize, reason: &str) -> Settlement {
    Settlement::Done(Receipt::of(rows, &Outcome::Unsettled { reason: reason.into() }))
}

/// One outcome per user, in the order of the request.
fn receipt(results: Json, rows: usize, nameless: &[usize]) -> Result<Receipt, Fault> {
    let unread = |fact: String| Fault::Protocol { reason: format!("the finished job {fact}") };
    let results: Vec<UserResult> =
        serde_json::from_value(results).map_err(|error| unread(format!("says: {error}")))?;
    if results.len() != rows {
        return Err(unread(format!("has {} results for {rows} users", results.len())));
    }
    let mut receipt = Receipt::of(rows, &Outcome::Delivered);
    for (position, result) in results.into_iter().enumerate() {
        // There are as many results as rows.
        let outcome = match result.lacks_a_name() && nameless.contains(&position) {
            true => Outcome::Delivered,
            false => result.outcome(position)?,
        };
        let _ = receipt.set(position, outcome);
    }
    Ok(receipt)
}

impl UserResult {
    /// Only whoever is created needs a name: of somebody who leaves this says that they are not there.
    fn lacks_a_name(&self) -> bool {
        let says = |text: &Option<String>| text.iter().any(|text| text.starts_with("Name:"));
        self.status == "Failed" && (says(&self.details) || says(&self.error))
    }

    fn outcome(self, position: usize) -> Result<Outcome, Fault> {
        let Self { id, status, error, details } = self;
        match (status.as_str(), id) {
            ("Created" | "Updated", Some(_)) => Ok(Outcome::Delivered),
            ("Failed", id) if id.is_none_or(|index| index == position as u64) => {
                let error = error.unwrap_or_else(|| "Failed".into());
                let reason = details.map_or(error.clone(), |text| format!("{error}: {text}"));
                Ok(Outcome::Rejected { reason })
            }
            _ => Err(Fault::Protocol {
                reason: format!("the result at place {position} of the job does not add up"),
            }),
        }
    }
}
