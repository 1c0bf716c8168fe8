//! Large batches as jobs of the Bulk API 2.0: a CSV file goes up, Salesforce works it off by itself, and
//! says afterwards which records it refused.
//!
//! Results come in no particular order and only name a record by what was sent, so a job's handle holds
//! the external ids in the order of the batch. What it promises: a record counts as taken only when the
//! job is complete, all records were processed, and it is not among those that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::salesforce_api::{Org, answered, complaints, is_passing};
use super::super::{Delivery, Fault, Job, Outcome, Receipt, Settlement};
use super::INCOMPLETE;
use super::fields::Written;
use crate::delivery::{Response, Session};

const FIRST_POLL: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_secs(20);

/// What is uploaded: external ids and the values beside them, by name of the field.
pub(super) struct Upload<'a> {
    pub object: &'a str,
    pub key: &'a str,
    pub rows: Vec<(&'a str, Vec<(String, Written<'a>)>)>,
    /// Positions of who only leaves.
    pub leaving: Vec<usize>,
}

/// All that a later process has.
#[derive(Debug, Serialize, Deserialize)]
struct Handle {
    id: String,
    key: String,
    ids: Vec<String>,
    /// Positions of who only leaves: there is nothing to take back from whoever would have to be created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<usize>,
}

/// A job as Salesforce describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    id: String,
    state: String,
    number_records_processed: Option<usize>,
    number_records_failed: Option<usize>,
    error_message: Option<String>,
}

impl Upload<'_> {
    /// One line per record; a cell is empty where the record says nothing of that field.
    pub(super) fn csv(&self) -> Result<Vec<u8>, Fault> {
        let names = self.rows.iter().flat_map(|(_, values)| values.iter().map(|(name, _)| name));
        let names: BTreeSet<&String> = names.collect();
        let mut file = csv::WriterBuilder::new().from_writer(Vec::new());
        let head = std::iter::once(self.key).chain(names.iter().map(|name| name.as_str()));
        file.write_record(head).map_err(|error| unwritten(&error))?;
        for (id, values) in &self.rows {
            let cells: BTreeMap<&String, String> =
                values.iter().map(|(name, value)| (name, value.cell())).collect();
            let cell = |name| cells.get(name).map_or("", String::as_str);
            file.write_record(std::iter::once(*id).chain(names.iter().map(cell)))
                .map_err(|error| unwritten(&error))?;
        }
        file.into_inner().map_err(|error| unwritten(&error.into_error().into()))
    }

    pub(super) async fn submit(&self, org: &Org, session: &Session) -> Result<Delivery, Fault> {
        let Self { object, key, rows, leaving } = self;
        let wanted = json!({
            "object": object,
            "operation": "upsert",
            "externalIdFieldName": key,
            "contentType": "CSV",
            "lineEnding": "LF",
        });
        let request = org.write(Method::POST, &["jobs", "ingest"], &wanted)?;
        // A second one that nothing is uploaded to does nothing.
        let Progress { id, .. } = session.send(request).await?.json()?;
        let upload = org
            .request(Method::PUT, &["jobs", "ingest", &id, "batches"])
            .body("text/csv", self.csv()?.into());
        session.send(upload).await?;
        let complete = json!({"state": "UploadComplete"});
        let request = org.write(Method::PATCH, &["jobs", "ingest", &id], &complete)?;
        session.send(request.reading(closed)).await?;
        let ids = rows.iter().map(|(id, _)| (*id).to_owned()).collect();
        let (key, leaving) = ((*key).to_owned(), leaving.clone());
        let handle = serde_json::to_value(Handle { id, key, ids, leaving })
            .map_err(|error| Fault::Protocol { reason: error.to_string() })?;
        Ok(Delivery::Submitted(Job { handle, poll_after: FIRST_POLL }))
    }
}

fn unwritten(error: &csv::Error) -> Fault {
    Fault::Rejected { reason: format!("the file cannot be written: {error}") }
}

/// Closing what an earlier try has closed already is fine.
fn closed(response: &Response) -> Result<(), Fault> {
    let is_closed = complaints(response).iter().any(|told| told.code == "INVALIDJOBSTATE");
    if response.status == 400 && is_closed { Ok(()) } else { answered(response) }
}

/// Asks after a job.
pub(super) async fn asked(
    org: &Org,
    session: &Session,
    job: &Job,
    rows: usize,
) -> Result<Settlement, Fault> {
    let handle: Handle = serde_json::from_value(job.handle.clone())
        .map_err(|error| unread(format!("the handle of the job is unreadable: {error}")))?;
    if handle.ids.len() != rows {
        return Err(unread(format!("the job is one of {} records", handle.ids.len())));
    }
    let response = session.send(org.get(&["jobs", "ingest", &handle.id]).reading(known)).await?;
    if response.status == 404 {
        let reason = "Salesforce no longer knows the job".into();
        return Ok(Settlement::Done(Receipt::of(rows, &Outcome::Unsettled { reason })));
    }
    let progress: Progress = response.json()?;
    if progress.id != handle.id {
        return Err(unread("the reply is about another job".into()));
    }
    match progress.state.as_str() {
        "Open" | "UploadComplete" | "InProgress" => Ok(Settlement::Running { poll_after: POLL }),
        "JobComplete" => Ending { org, session, handle }.complete(&progress).await,
        "Failed" | "Aborted" => Ending { org, session, handle }.broken(&progress).await,
        other => Err(unread(format!("the job has the state `{other}`"))),
    }
}

fn known(response: &Response) -> Result<(), Fault> {
    if response.status == 404 { Ok(()) } else { answered(response) }
}

/// A job that does not run any more, whose results are to be fetched.
struct Ending<'a> {
    org: &'a Org,
    session: &'a Session,
    handle: Handle,
}

impl Ending<'_> {
    async fn complete(&self, progress: &Progress) -> Result<Settlement, Fault> {
        let rows = self.handle.ids.len();
        let (Some(processed), Some(failed)) =
            (progress.number_records_processed, progress.number_records_failed)
        else {
            return Err(unread("the job does not say how many records it processed".into()));
        };
        let mut receipt = Receipt::of(rows, &Outcome::Delivered);
        let refused = if failed > 0 { self.refused(&mut receipt).await? } else { 0 };
        let left = if processed < rows { self.left(&mut receipt).await? } else { 0 };
        if refused == failed && processed + left == rows {
            return Ok(Settlement::Done(receipt));
        }
        Err(unread(format!(
            "of {rows} records {processed} were processed and {failed} failed, but {refused} are \
             listed as failed and {left} as unprocessed"
        )))
    }

    /// What is listed is known; the others may have been written.
    async fn broken(&self, progress: &Progress) -> Result<Settlement, Fault> {
        let why = progress.error_message.as_deref().unwrap_or("no reason given");
        let reason = format!("the job is `{}`: {why}", progress.state);
        let mut receipt = Receipt::of(self.handle.ids.len(), &Outcome::Unsettled { reason });
        self.refused(&mut receipt).await?;
        self.left(&mut receipt).await?;
        Ok(Settlement::Done(receipt))
    }

    async fn refused(&self, receipt: &mut Receipt) -> Result<usize, Fault> {
        let listed = self.listed("failedResults", Some("sf__Error")).await?;
        for (position, reason) in &listed {
            let reason = reason.clone();
            let is_incomplete = INCOMPLETE.iter().any(|code| reason.starts_with(code));
            let outcome = if is_incomplete && self.handle.leaving.contains(position) {
                Outcome::Delivered
            } else if is_passing(&reason) {
                Outcome::Retry { after: None, reason }
            } else {
                Outcome::Rejected { reason }
            };
            // Positions are those of the handle.
            let _ = receipt.set(*position, outcome);
        }
        Ok(listed.len())
    }

    async fn left(&self, receipt: &mut Receipt) -> Result<usize, Fault> {
        let listed = self.listed("unprocessedrecords", None).await?;
        for position in listed.keys() {
            let reason = "Salesforce left the record unprocessed".into();
            let _ = receipt.set(*position, Outcome::Retry { after: None, reason });
        }
        Ok(listed.len())
    }

    /// Positions of the records that a file of results lists, each with the text of one column.
    async fn listed(
        &self,
        file: &str,
        column: Option<&str>,
    ) -> Result<BTreeMap<usize, String>, Fault> {
        let Handle { id, key, ids, .. } = &self.handle;
        let positions: BTreeMap<&str, usize> =
            ids.iter().enumerate().map(|(position, id)| (id.as_str(), position)).collect();
        let path = ["jobs", "ingest", id.as_str(), file];
        let request = self.org.get(&path).header("accept", "text/csv");
        let response = self.session.send(request).await?;
        let broken = |error: csv::Error| unread(format!("`{file}` is no CSV file: {error}"));
        let mut reader = csv::Reader::from_reader(&response.body[..]);
        let head = reader.headers().map_err(broken)?.clone();
        let place = |name: &str| {
            let found = head.iter().position(|column| column.eq_ignore_ascii_case(name));
            found.ok_or_else(|| unread(format!("`{file}` has no column `{name}`")))
        };
        let key = place(key)?;
        let column = column.map(place).transpose()?;
        let mut listed = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let id = record.get(key).unwrap_or_default();
            let Some(position) = positions.get(id) else {
                return Err(unread(format!("`{file}` names a record that was not sent")));
            };
            let text = column.and_then(|column| record.get(column)).unwrap_or_default();
            listed.insert(*position, text.to_owned());
        }
        Ok(listed)
    }
}

fn unread(reason: String) -> Fault {
    Fault::Protocol { reason }
}
