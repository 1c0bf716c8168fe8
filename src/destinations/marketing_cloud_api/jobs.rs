//! Rows of a data extension, written as an asynchronous job, and what became of each of them.
//!
//! What it promises: rows are settled by their position, from all pages of the results; a job that is
//! not known yet is asked after again, and so is one in the state `Error`, which is known to become
//! `Complete` later; a job whose results are not those of its rows is never success.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::{Api, answered};
use crate::delivery::{Response, Session};
use crate::destinations::{Fault, Job, Outcome, Receipt, Settlement};

const POLL: Duration = Duration::from_secs(5);
/// It may be over, or not.
const PATIENT_POLL: Duration = Duration::from_secs(30);

/// What is kept of a job.
#[derive(serde::Serialize, Deserialize)]
struct Handle {
    request: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Submitted {
    request_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    /// Missing until somebody takes the job up.
    status: Option<Status>,
    request_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    request_status: String,
    result_status: Option<String>,
    #[serde(default)]
    has_errors: bool,
}

#[derive(Deserialize)]
struct Results {
    count: Option<usize>,
    items: Vec<Item>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    status: String,
    message: Option<String>,
    error_code: Option<serde_json::Value>,
}

impl Api {
    /// Adds or updates rows by their primary key. `body` is `{"items":[…]}`.
    pub(in super::super) async fn upsert(
        &self,
        session: &Session,
        key: &str,
        body: Bytes,
    ) -> Result<Job, Fault> {
        let key = format!("key:{key}");
        let path = ["data", "v1", "async", "dataextensions", &key, "rows"];
        let request = self.request(http::Method::PUT, &path).json_body(body);
        let Submitted { request_id } = session.send(request).await?.json()?;
        let handle = json!(Handle { request: request_id });
        Ok(Job { handle, poll_after: POLL })
    }

    /// What became of a job.
    pub(in super::super) async fn settled(
        &self,
        session: &Session,
        job: &Job,
        rows: usize,
    ) -> Result<Settlement, Fault> {
        let Handle { request } = serde_json::from_value(job.handle.clone())
            .map_err(|error| Fault::Protocol { reason: format!("the handle of a job: {error}") })?;
        let asked = self.get(&["data", "v1", "async", &request, "status"], "");
        let response = session.send(asked.reading(known_or_gone)).await?;
        if response.status == 404 {
            let reason = format!("Marketing Cloud has forgotten the job: {}", response.reason());
            return Ok(Settlement::Done(Receipt::of(rows, &Outcome::Unsettled { reason })));
        }
        let report: Report = response.json()?;
        if report.request_id.is_some_and(|id| id != request) {
            return Err(Fault::Protocol { reason: "the reply is about another job".into() });
        }
        let Some(status) = report.status else {
            return Ok(Settlement::Running { poll_after: POLL });
        };
        match (status.request_status.as_str(), status.result_status.as_deref()) {
            ("Pending" | "Executing", _) => Ok(Settlement::Running { poll_after: POLL }),
            ("Error", _) => Ok(Settlement::Running { poll_after: PATIENT_POLL }),
            ("Complete", Some("OK")) if !status.has_errors => {
                Ok(Settlement::Done(Receipt::of(rows, &Outcome::Delivered)))
            }
            ("Complete", Some("OK" | "Has Errors")) => {
                match self.results(session, &request, rows).await {
                    // The results are gone before the job is.
                    Err(Fault::Misconfigured { reason }) => {
                        let outcome = Outcome::Unsettled { reason };
                        Ok(Settlement::Done(Receipt::of(rows, &outcome)))
                    }
                    other => other.map(Settlement::Done),
                }
            }
            _ => Err(Fault::Protocol { reason: response.reason() }),
        }
    }

    /// Page by page, 50 rows each.
    async fn results(
        &self,
        session: &Session,
        request: &str,
        rows: usize,
    ) -> Result<Receipt, Fault> {
        let mut items: Vec<Item> = Vec::new();
        for page in 1.. {
            let page = format!("page={page}");
            let asked = self.get(&["data", "v1", "async", request, "results"], &page);
            let results: Results = session.send(asked).await?.json()?;
            if results.count.is_some_and(|count| count != rows) {
                return Err(uncovered(results.count.unwrap_or_default(), rows));
            }
            let is_last = results.items.is_empty();
            items.extend(results.items);
            if is_last || items.len() >= rows {
                break;
            }
        }
        if items.len() != rows {
            return Err(uncovered(items.len(), rows));
        }
        let mut receipt = Receipt::of(rows, &Outcome::Delivered);
        for (position, item) in items.into_iter().enumerate() {
            // Every position is one of the job's own.
            let _ = receipt.set(position, item.outcome()?);
        }
        Ok(receipt)
    }
}

impl Item {
    fn outcome(self) -> Result<Outcome, Fault> {
        let Self { status, message, error_code } = self;
        let message = message.unwrap_or_default();
        match status.as_str() {
            "OK" => Ok(Outcome::Delivered),
            // A deadlock between rows; the row may well have arrived, and is written again.
            "Error" if message.contains("Rerun the transaction") => {
                Ok(Outcome::Retry { after: None, reason: message })
            }
            "Error" => {
                let reason = match error_code {
                    Some(serde_json::Value::String(code)) => format!("{code}: {message}"),
                    Some(code) if !code.is_null() => format!("{code}: {message}"),
                    _ => message,
                };
                Ok(Outcome::Rejected { reason })
            }
            _ => Err(Fault::Protocol { reason: format!("a row has the status `{status}`") }),
        }
    }
}

fn uncovered(results: usize, rows: usize) -> Fault {
    Fault::Protocol { reason: format!("{results} results for {rows} rows") }
}

/// A job that is gone is an answer.
fn known_or_gone(response: &Response) -> Result<(), Fault> {
    if response.status == 404 { Ok(()) } else { answered(response) }
}
