//! Records as Salesforce's REST API reads and writes many of them: results by position, and answers to
//! queries page by page.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::{Fault, Outcome};
use super::{Complaint, Org};
use crate::delivery::{Response, Session};

/// Pages of up to two thousand records each that are read of one answer at most.
const MOST_PAGES: usize = 50;

#[derive(Deserialize)]
struct RecordResult {
    id: Option<String>,
    success: bool,
    #[serde(default)]
    errors: Vec<Complaint>,
}

/// What became of each of so many records, by position. Errors with one of the codes that are
/// `harmless` for a record say that there was nothing to do.
pub(in crate::destinations) fn outcomes(
    response: &Response,
    records: usize,
    harmless: impl Fn(usize) -> &'static [&'static str],
) -> Result<Vec<Outcome>, Fault> {
    let results: Vec<RecordResult> = response.json()?;
    if results.len() != records {
        let reason = format!("the reply has {} results for {records} records", results.len());
        return Err(Fault::Protocol { reason });
    }
    let results = results.into_iter().enumerate();
    results.map(|(position, result)| result.outcome(position, harmless(position))).collect()
}

impl RecordResult {
    fn outcome(self, position: usize, harmless: &[&str]) -> Result<Outcome, Fault> {
        let Self { id, success, errors } = self;
        match (success, id, errors.first()) {
            (true, Some(id), None) if !id.is_empty() => Ok(Outcome::Delivered),
            (false, _, Some(first)) if harmless.contains(&first.code.as_str()) => {
                Ok(Outcome::Delivered)
            }
            (false, _, Some(first)) => {
                let passing = errors.iter().any(Complaint::is_passing);
                let reason = first.reason();
                Ok(match passing {
                    true => Outcome::Retry { after: None, reason },
                    false => Outcome::Rejected { reason },
                })
            }
            _ => {
                let reason = format!("the result at place {position} does not add up");
                Err(Fault::Protocol { reason })
            }
        }
    }
}

/// All records that a query finds.
pub(in crate::destinations) async fn found<T: DeserializeOwned>(
    org: &Org,
    session: &Session,
    query: &str,
) -> Result<Vec<T>, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page<T> {
        done: bool,
        records: Vec<T>,
        next_records_url: Option<String>,
    }
    let mut all = Vec::new();
    let mut request = org.get(&["query"]);
    request.url.query_pairs_mut().append_pair("q", query);
    for _ in 0..MOST_PAGES {
        let page: Page<T> = session.send(request).await?.json()?;
        all.extend(page.records);
        // `/services/data/v66.0/query/01gD0000002HU6KIAW-2000`: its last part says where it goes on.
        let next = page.next_records_url.as_deref().and_then(|url| url.rsplit('/').next());
        match (page.done, next) {
            (true, _) => return Ok(all),
            (false, Some(next)) => request = org.get(&["query", next]),
            (false, None) => break,
        }
    }
    Err(Fault::Protocol { reason: "the answer to a query does not come to an end".into() })
}

/// A text in a query.
pub(in crate::destinations) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
