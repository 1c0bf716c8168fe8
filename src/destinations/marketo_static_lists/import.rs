//! The bulk import: a file of people who become members of a list, worked off by Marketo itself.
//!
//! What it promises: rows that failed are told apart by their email, from the file that Marketo keeps
//! of them; where that file does not account for every row that failed, those that may be meant are
//! unsettled. A handle holds marks, no emails.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::marketo_api::{Api, answered, results};
use super::super::marks::{mark, positions};
use super::super::membership::List;
use super::super::progress::Progress;
use super::super::{Fault, Outcome};
use crate::delivery::{Response, Session, standard};

pub(super) const POLL: Duration = Duration::from_secs(15);
/// 10 MB, less what surrounds the file.
const MOST_BYTES: usize = 9_900_000;
/// Nothing that an email is.
const BOUNDARY: &str = "----muster-list-import-7d41b0c2e95f";
const CONTENT_TYPE: &str = "multipart/form-data; boundary=----muster-list-import-7d41b0c2e95f";

/// What is kept of an import.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Import {
    batch: u64,
    marks: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    batch_id: u64,
    status: String,
    #[serde(default)]
    num_of_rows_failed: u64,
    #[serde(default)]
    message: String,
}

impl Import {
    /// Submits people who are to become members, in this order.
    pub(super) async fn submitted(
        api: &Api,
        session: &Session,
        list: &List,
        (emails, partition): (&[&str], Option<&str>),
    ) -> Result<Self, Fault> {
        let mut request = api
            .request(http::Method::POST, &["bulk", "v1", "leads.json"])
            .body(CONTENT_TYPE, form(emails)?);
        let partition = partition.map(|partition| ("partitionName", partition));
        request
            .url
            .query_pairs_mut()
            .append_pair("format", "csv")
            .append_pair("lookupField", "email")
            .append_pair("listId", &list.id)
            .extend_pairs(partition);
        let Report { batch_id, .. } = only(&session.send(request).await?)?;
        let marks = emails.iter().map(|email| mark(email)).collect();
        Ok(Self { batch: batch_id, marks })
    }

    /// What became of every row.
    pub(super) async fn progress(&self, api: &Api, session: &Session) -> Result<Progress, Fault> {
        let file = format!("{}.json", self.batch);
        let request = api.get(&["bulk", "v1", "leads", "batch", &file]);
        let report: Report = match session.send(request).await {
            Ok(response) => only(&response)?,
            // Kept for seven days.
            Err(Fault::Misconfigured { reason }) => {
                return Ok(Progress::Done(self.all(&Outcome::Unsettled { reason })));
            }
            Err(fault) => return Err(fault),
        };
        if report.batch_id != self.batch {
            return Err(Fault::Protocol { reason: "the reply is about another import".into() });
        }
        Ok(match report.status.as_str() {
            "Queued" | "Importing" => Progress::Running,
            "Complete" if report.num_of_rows_failed == 0 => {
                Progress::Done(self.all(&Outcome::Delivered))
            }
            "Complete" => Progress::Done(self.partly(api, session, &report).await?),
            "Failed" => {
                let reason = format!("the import failed: {}", report.message);
                Progress::Done(self.all(&Outcome::Retry { after: None, reason }))
            }
            other => {
                let reason = format!("an import has the status `{other}`");
                return Err(Fault::Protocol { reason });
            }
        })
    }

    fn all(&self, outcome: &Outcome) -> Vec<Outcome> {
        vec![outcome.clone(); self.marks.len()]
    }

    async fn partly(
        &self,
        api: &Api,
        session: &Session,
        report: &Report,
    ) -> Result<Vec<Outcome>, Fault> {
        let batch = self.batch.to_string();
        let request = api.get(&["bulk", "v1", "leads", "batch", &batch, "failures.json"]);
        let response = session.send(request.reading(file_or_refusal)).await?;
        let known = positions(&self.marks);
        let mut failed: Vec<(usize, String)> = Vec::new();
        for (email, reason) in failures(&response)? {
            failed.extend(known.get(mark(&email).as_str()).map(|place| (*place, reason)));
        }
        failed.sort_unstable();
        failed.dedup_by_key(|(place, _)| *place);
        let other = if failed.len() as u64 == report.num_of_rows_failed {
            Outcome::Delivered
        } else {
            let reason = format!(
                "Marketo names {} of the {} rows that failed: {}",
                failed.len(),
                report.num_of_rows_failed,
                report.message
            );
            Outcome::Unsettled { reason }
        };
        let mut outcomes = self.all(&other);
        for (place, reason) in failed {
            outcomes[place] = Outcome::Rejected { reason };
        }
        Ok(outcomes)
    }
}

/// The file as the one part of a form.
fn form(emails: &[&str]) -> Result<Bytes, Fault> {
    let unwritable = |error: &dyn std::fmt::Display| Fault::Rejected {
        reason: format!("the file of an import cannot be written: {error}"),
    };
    let mut file = csv::Writer::from_writer(Vec::new());
    for row in std::iter::once(&"email").chain(emails) {
        file.write_record([row]).map_err(|error| unwritable(&error))?;
    }
    let file = file.into_inner().map_err(|error| unwritable(&error))?;
    if file.len() > MOST_BYTES {
        let reason = format!("{} bytes are more than an import may have", file.len());
        return Err(Fault::Rejected { reason });
    }
    let mut form = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"members.csv\"\r\n\
         Content-Type: text/csv\r\n\r\n"
    )
    .into_bytes();
    form.extend(file);
    form.extend(format!("\r\n--{BOUNDARY}--\r\n").into_bytes());
    Ok(form.into())
}

fn only(response: &Response) -> Result<Report, Fault> {
    let reports: Vec<Report> = results(response)?;
    let lacking = || Fault::Protocol { reason: "nothing is said of the import".into() };
    reports.into_iter().next().ok_or_else(lacking)
}

/// A file, unless it is a refusal in JSON.
fn file_or_refusal(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    if response.body.trim_ascii_start().starts_with(b"{") { answered(response) } else { Ok(()) }
}

/// Emails of the rows that failed, and why: the reason is the last column, which Marketo adds.
fn failures(response: &Response) -> Result<Vec<(String, String)>, Fault> {
    let unreadable = |what: &dyn std::fmt::Display| Fault::Protocol {
        reason: format!("the file of rows that failed cannot be read: {what}"),
    };
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(response.body.as_ref());
    let names = reader.headers().map_err(|error| unreadable(&error))?;
    let place = names.iter().position(|name| name.trim().eq_ignore_ascii_case("email"));
    let place = place.ok_or_else(|| unreadable(&"it has no column `email`"))?;
    let mut failures = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|error| unreadable(&error))?;
        let reason = row.iter().next_back().filter(|_| row.len() > place + 1);
        let reason = reason.unwrap_or("Marketo does not say why").to_owned();
        failures.push((row.get(place).unwrap_or_default().to_owned(), reason));
    }
    Ok(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(body: &str) -> Response {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Response { status: 200, headers: http::HeaderMap::new(), body }
    }

    #[test]
    fn a_file_is_one_part_of_a_form_and_quoted_where_it_must_be() {
        let form = form(&["ada@example.org", "\"o'brien\"@example.org"]).unwrap();
        let text = String::from_utf8_lossy(&form).replace("\r\n", "\n");
        insta::assert_snapshot!(text, @r#"
    ------muster-list-import-7d41b0c2e95f
    Content-Disposition: form-data; name="file"; filename="members.csv"
    Content-Type: text/csv

    email
    ada@example.org
    """o'brien""@example.org"

    ------muster-list-import-7d41b0c2e95f--
    "#);
        assert_eq!(CONTENT_TYPE, format!("multipart/form-data; boundary={BOUNDARY}"));
        let long = "x".repeat(10_000_000);
        assert!(matches!(super::form(&[&long]), Err(Fault::Rejected { .. })));
    }

    #[test]
    fn failures_are_read_by_the_column_of_the_email() {
        let read = |body| failures(&reply(body));
        let file = "Name,email,Import Failure Reason\n\"a, b\",ada@example.org,\"Invalid, \"\"really\"\"\"\n";
        assert_eq!(read(file), Ok(vec![("ada@example.org".into(), "Invalid, \"really\"".into())]));
        for body in ["", "<html>Sign in</html>", "OK", "\u{0}"] {
            assert!(matches!(read(body), Err(Fault::Protocol { .. })), "{body}");
        }
    }
}
