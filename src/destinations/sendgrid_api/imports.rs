//! Contact imports: submitted, asked after, and read row by row where SendGrid says which rows.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Api, MOST_BYTES};
use crate::delivery::{Request, Session};
use crate::destinations::marks::{mark, positions};
use crate::destinations::{Fault, Job, Outcome, Receipt, Settlement};

const FIRST_POLL: Duration = Duration::from_secs(10);
const NEXT_POLL: Duration = Duration::from_secs(15);
/// A reason holds no more letters of a line than this.
const LONGEST_REASON: usize = 300;

/// What is kept of an import: its id, and a mark per contact in the order of the batch.
#[derive(Debug, Serialize, Deserialize)]
struct Handle {
    job: String,
    marks: Vec<String>,
}

#[derive(Deserialize)]
struct Submitted {
    job_id: String,
}

#[derive(Deserialize)]
struct Import {
    status: Status,
    #[serde(default)]
    results: Results,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pending,
    Completed,
    Errored,
    Failed,
}

#[derive(Default, Deserialize)]
struct Results {
    errored_count: Option<u64>,
    errors_url: Option<String>,
}

impl Api {
    /// Submits contacts that are identified by these emails, in this order.
    pub async fn import(
        &self,
        session: &Session,
        body: Bytes,
        emails: &[&str],
    ) -> Result<Job, Fault> {
        if body.len() > MOST_BYTES {
            let reason = format!("{} bytes are more than one request may hold", body.len());
            return Err(Fault::Rejected { reason });
        }
        let request = self.write(Method::PUT, &["contacts"], body);
        let Submitted { job_id: job } = session.send(request).await?.json()?;
        if job.is_empty() {
            return Err(unreadable("an import without an id"));
        }
        let handle = Handle { job, marks: emails.iter().map(|email| mark(email)).collect() };
        let handle =
            serde_json::to_value(handle).map_err(|error| unreadable(&error.to_string()))?;
        Ok(Job { handle, poll_after: FIRST_POLL })
    }

    /// What became of an import.
    pub async fn imported(
        &self,
        session: &Session,
        job: &Job,
        rows: usize,
    ) -> Result<Settlement, Fault> {
        let handle: Handle = serde_json::from_value(job.handle.clone())
            .map_err(|error| unreadable(&error.to_string()))?;
        let response = match session.send(self.get(&["contacts", "imports", &handle.job])).await {
            // The import itself is gone: nothing says what became of it.
            Err(Fault::Misconfigured { reason }) => {
                let unsettled = Outcome::Unsettled { reason };
                return Ok(Settlement::Done(Receipt::of(rows, &unsettled)));
            }
            other => other?,
        };
        let Import { status, results } = response.json()?;
        let errored = results.errored_count.unwrap_or(0);
        match status {
            Status::Pending => Ok(Settlement::Running { poll_after: NEXT_POLL }),
            Status::Completed if errored == 0 => {
                Ok(Settlement::Done(Receipt::of(rows, &Outcome::Delivered)))
            }
            Status::Errored if errored == 0 => Err(unreadable("an import with errors, but none")),
            Status::Completed | Status::Errored if errored < rows as u64 => {
                self.named(session, &handle, rows, &results).await.map(Settlement::Done)
            }
            Status::Completed | Status::Errored | Status::Failed => {
                let reason =
                    format!("SendGrid could use no contact of its import `{}`", handle.job);
                Ok(Settlement::Done(Receipt::of(rows, &Outcome::Rejected { reason })))
            }
        }
    }

    /// An import that could not use some contacts: those that its file names are rejected, of the
    /// others only the number is known.
    async fn named(
        &self,
        session: &Session,
        handle: &Handle,
        rows: usize,
        results: &Results,
    ) -> Result<Receipt, Fault> {
        let url = results.errors_url.as_deref().and_then(|url| Url::parse(url).ok());
        let host = url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
        let refused = match url {
            Some(url) if self.trusts(&url) => {
                let file = session.send(Request::get(url)).await?;
                refused(&String::from_utf8_lossy(&file.body), &handle.marks)
            }
            _ => BTreeMap::new(),
        };
        let mut receipt = Receipt::of(rows, &Outcome::Delivered);
        let unnamed = results.errored_count.unwrap_or(0).saturating_sub(refused.len() as u64);
        for (position, reason) in refused {
            if !receipt.set(position, Outcome::Rejected { reason }) {
                return Err(unreadable("a contact that was not sent"));
            }
        }
        if unnamed > 0 {
            let reason = format!(
                "SendGrid could not use them; a file of its import `{}` names them, on host \
                 `{host}`, which may be fetched once `errors_host` names it",
                handle.job
            );
            receipt.notice(unnamed, reason);
        }
        Ok(receipt)
    }

    fn trusts(&self, url: &Url) -> bool {
        let host = url.host_str().filter(|_| url.scheme() == "https");
        let is_named = host.is_some() && host == self.errors_host.as_deref();
        is_named || url.origin() == self.base.origin()
    }
}

/// The contacts that a file of errors names, with the line that does. Which columns or keys it has is
/// not documented, so every word of it that is the email of one of ours counts.
fn refused(file: &str, marks: &[String]) -> BTreeMap<usize, String> {
    let positions = positions(marks);
    let mut refused = BTreeMap::new();
    for line in file.lines() {
        let words = line.split(|character: char| {
            character.is_whitespace() || ",;:\"{}[]<>()".contains(character)
        });
        for word in words.filter(|word| word.contains('@')) {
            if let Some(position) = positions.get(mark(word).as_str()) {
                let reason = || line.trim().chars().take(LONGEST_REASON).collect();
                refused.entry(*position).or_insert_with(reason);
            }
        }
    }
    refused
}

fn unreadable(reason: &str) -> Fault {
    Fault::Protocol { reason: reason.to_owned() }
}
