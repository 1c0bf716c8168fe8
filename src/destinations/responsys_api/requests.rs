//! Asynchronous requests: accepted at once, worked off later, asked after for a day.
//!
//! What it promises: only records that the answer holds are read as merged; a request whose answer is
//! gone leaves its rows unsettled, one that expired in the queue was not carried out.

use std::time::Duration;

use serde::Deserialize;

use super::{Api, Key, RecordData, Refusal, Rows};
use crate::delivery::Session;
use crate::destinations::Fault;

pub(in super::super) const POLL: Duration = Duration::from_secs(5);

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Answer {
    Waiting,
    /// Row by row: `None` for each that was merged, else why not.
    Merged(Vec<Option<String>>),
    /// Nothing was done.
    NotDone(String),
    /// Nobody knows any more.
    Gone(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    request_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Polled {
    request_id: String,
    status: String,
    #[serde(alias = "responseMessage")]
    response: Option<Response>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Response {
    Merged {
        #[serde(rename = "recordData")]
        record_data: RecordData,
    },
    Refused(Refusal),
}

impl Api {
    /// Merges rows into an extension table later; the id of the request.
    pub(in super::super) async fn submit_extension(
        &self,
        session: &Session,
        table: &str,
        (key, rows): (Key, &Rows),
    ) -> Result<String, Fault> {
        let path = ["lists", self.list.as_str(), "listExtensions", table, "members"];
        let request = self
            .asked(http::Method::POST, "asyncApi", &path)
            .json_body(rows.of_extension(key).to_string().into());
        let Accepted { request_id } = session.send(request).await?.json()?;
        if request_id.is_empty() {
            return Err(Fault::Protocol { reason: "a request was accepted, but has no id".into() });
        }
        Ok(request_id)
    }

    pub(in super::super) async fn answer(
        &self,
        session: &Session,
        request: &str,
        rows: usize,
    ) -> Result<Answer, Fault> {
        let asked = self.asked(http::Method::GET, "asyncApi", &["requests", request]);
        let reply = session.send(asked).await?;
        let Polled { request_id, status, response } = reply.json()?;
        if request_id != request {
            return Err(Fault::Protocol { reason: "the reply is about another request".into() });
        }
        let refusal = match response {
            Some(Response::Merged { record_data }) if status == "SUCCESS" => {
                return record_data.verdicts(rows).map(Answer::Merged);
            }
            Some(Response::Merged { .. }) | None => Refusal::default(),
            Some(Response::Refused(refusal)) => refusal,
        };
        let reason = reply.reason();
        match (refusal.error_code.as_deref(), status.as_str()) {
            (Some("PROCESSING_REQUEST"), _) | (None, "IN_PROGRESS" | "REQUEST_ACCEPTED") => {
                Ok(Answer::Waiting)
            }
            (Some("RESPONSE_PURGED" | "INVALID_REQUEST_ID"), _) => Ok(Answer::Gone(reason)),
            (Some(_), "ERROR" | "FAILED" | "FAILURE") => Ok(Answer::NotDone(reason)),
            _ => Err(Fault::Protocol { reason }),
        }
    }
}
