//! Contact imports: submitted, asked after, and read row by row where SendGrid says which rows.
//!
//! What it promises: where SendGrid only says how many contacts it could not use, none of those that
//! may be meant counts as delivered, and none as refused: their fate is not known.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Api, MOST_BYTES};
use crate::delivery::{Request, Session};
use crate::destinations::marks::{mark, positions};
use crate::destinations::progress::Progress;
use crate::destinations::{Fault, Outcome};

pub(in super::super) const FIRST_POLL: Duration = Duration::from_secs(10);
pub(in super::super) const NEXT_POLL: Duration = Duration::from_secs(15);
/// A reason holds no more letters of a line than this.
const LONGEST_REASON: usize = 300;

/// What is kept of an import: its id, and a mark per contact in the order of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Import {
    job: String,
    marks: Vec<String>,
}

#[derive(Deserialize)]
struct Submitted {
    job_id: String,
}

#[derive(Deserialize)]
struct Report {
    status: Status,
    #[serde(default)]
    results: Results,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pending,
    Completed,
    /// Done, with some errors.
    Errored,
    /// All errors, or not processed at all.
    Failed,
}

#[derive(Default, Deserialize)]
struct Results {
    errored_count: Option<u64>,
    errors_url: Option<String>,
}

impl Import {
    /// Number of contacts in the request.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    fn all(&self, outcome: &Outcome) -> Vec<Outcome> {
        vec![outcome.clone(); self.marks.len()]
    }
}

impl Api {
    /// Submits contacts that are identified by these texts, in this order.
    pub async fn import(
        &self,
        session: &Session,
        body: Bytes,
        identities: &[&str],
    ) -> Result<Import, Fault> {
        if body.len() > MOST_BYTES {
            let reason = format!("{} bytes are more than one request may hold", body.len());
            return Err(Fault::Rejected { reason });
        }
        let job = self.submitted(session, self.write(Method::PUT, &["contacts"], body)).await?;
        Ok(Import { job, marks: identities.iter().map(|identity| mark(identity)).collect() })
    }

    /// The id of the job that a request started.
    pub async fn submitted(&self, session: &Session, request: Request) -> Result<String, Fault> {
        let Submitted { job_id } = session.send(request).await?.json()?;
        if job_id.is_empty() {
            return Err(unreadable("a job without an id"));
        }
        Ok(job_id)
    }

    /// What became of taking contacts off a list; `None` while nobody knows. SendGrid promises no
    /// answer for such jobs: one that it does not know was accepted, and that is all it says.
    pub async fn taken_off(&self, session: &Session, job: &str) -> Result<Option<Outcome>, Fault> {
        let response = match session.send(self.get(&["contacts", "imports", job])).await {
            Err(Fault::Misconfigured { .. }) => return Ok(Some(Outcome::Delivered)),
            other => other?,
        };
        let Report { status, results } = response.json()?;
        Ok(match status {
            Status::Pending => None,
            Status::Completed if results.errored_count.unwrap_or(0) == 0 => {
                Some(Outcome::Delivered)
            }
            Status::Completed | Status::Errored | Status::Failed => {
                let reason = format!("SendGrid could not take them all off the list: job `{job}`");
                Some(Outcome::Retry { after: None, reason })
            }
        })
    }

    /// What became of an import.
    pub async fn imported(&self, session: &Session, import: &Import) -> Result<Progress, Fault> {
        let request = self.get(&["contacts", "imports", &import.job]);
        let response = match session.send(request).await {
            // The import itself is gone: nothing says what became of it.
            Err(Fault::Misconfigured { reason }) => {
                return Ok(Progress::Done(import.all(&Outcome::Unsettled { reason })));
            }
            other => other?,
        };
        let Report { status, results } = response.json()?;
        let errored = results.errored_count.unwrap_or(0);
        Ok(match status {
            Status::Pending => Progress::Running,
            Status::Completed if errored == 0 => Progress::Done(import.all(&Outcome::Delivered)),
            Status::Errored if errored == 0 => {
                return Err(unreadable("an import with errors, but none"));
            }
            Status::Completed | Status::Errored if errored < import.len() as u64 => {
                Progress::Done(self.partly(session, import, &results).await?)
            }
            Status::Completed | Status::Errored | Status::Failed => {
                Progress::Done(self.refused(session, import, &results).await?)
            }
        })
    }

    /// An import that could use no contact: all are refused, with the reasons that its file gives.
    async fn refused(
        &self,
        session: &Session,
        import: &Import,
        results: &Results,
    ) -> Result<Vec<Outcome>, Fault> {
        let named = self.named(session, import, results).await?;
        let reason = format!("SendGrid could use no contact of its import `{}`", import.job);
        let mut outcomes = import.all(&Outcome::Rejected { reason });
        for (position, reason) in named {
            outcomes[position] = Outcome::Rejected { reason };
        }
        Ok(outcomes)
    }

    /// An import that could not use some contacts: those that its file names are refused; unless that
    /// is all of them, the fate of the others is not known.
    async fn partly(
        &self,
        session: &Session,
        import: &Import,
        results: &Results,
    ) -> Result<Vec<Outcome>, Fault> {
        let named = self.named(session, import, results).await?;
        let errored = results.errored_count.unwrap_or(0);
        let mut outcomes = if named.len() as u64 == errored {
            import.all(&Outcome::Delivered)
        } else {
            import.all(&Outcome::Unsettled { reason: unnamed(import, results, errored) })
        };
        for (position, reason) in named {
            outcomes[position] = Outcome::Rejected { reason };
        }
        Ok(outcomes)
    }

    /// The contacts that the import's file of errors names, where it may be fetched and can be had.
    async fn named(
        &self,
        session: &Session,
        import: &Import,
        results: &Results,
    ) -> Result<BTreeMap<usize, String>, Fault> {
        let url = results.errors_url.as_deref().and_then(|url| Url::parse(url).ok());
        let Some(url) = url.filter(|url| self.trusts(url)) else { return Ok(BTreeMap::new()) };
        match session.send(Request::get(url)).await {
            Ok(file) => Ok(complaints(&String::from_utf8_lossy(&file.body), &import.marks)),
            // The address holds for a while only; what it answers says nothing of our credentials.
            Err(Fault::Denied { .. } | Fault::Misconfigured { .. } | Fault::Rejected { .. }) => {
                Ok(BTreeMap::new())
            }
            Err(fault) => Err(fault),
        }
    }

    fn trusts(&self, url: &Url) -> bool {
        let host = url.host_str().filter(|_| url.scheme() == "https");
        let is_named = host.is_some() && host == self.errors_host.as_deref();
        is_named || url.origin() == self.base.origin()
    }
}

/// Why nobody knows which contacts an import could not use.
fn unnamed(import: &Import, results: &Results, errored: u64) -> String {
    let url = results.errors_url.as_deref().and_then(|url| Url::parse(url).ok());
    let host = url.as_ref().and_then(Url::host_str).unwrap_or("(none given)");
    format!(
        "SendGrid could not use {errored} of the {} contacts of its import `{}` and names them only \
         in a file on host `{host}`: set `errors_host` to have it fetched",
        import.len(),
        import.job
    )
}

/// The contacts that a file of errors names, with the line that does. Which columns or keys it has is
/// not documented, so every word of it that is the identity of one of ours counts.
fn complaints(file: &str, marks: &[String]) -> BTreeMap<usize, String> {
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
