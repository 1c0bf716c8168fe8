//! What HubSpot's replies to batches of records mean, row by row.
//!
//! Refused rows are named by the token they were sent with, updated ones by the record's id, and new
//! ones often by nothing at all: what is neither refused nor accounted for by the number of results
//! is never taken for written. What cannot be attributed is found out by halving the batch.

use serde::Deserialize;

use super::super::portions::Verdict;
use super::super::{Fault, Outcome};
use super::{Complaint, answered, complaint};
use crate::delivery::Response;

/// What was sent, in the order of the request.
#[derive(Debug)]
pub(in crate::destinations) struct Sent<'a> {
    /// The token and, where the record is known, its id.
    pub rows: Vec<(String, Option<&'a str>)>,
    /// Whether a record that stands in the way of a new one is the one that was meant.
    pub adopts: bool,
}

/// What a reply says of the rows of a request.
#[derive(Debug, Default)]
pub(in crate::destinations) struct Reading {
    pub verdicts: Vec<Verdict>,
    /// Records that turned out to be there already, by the row that they stand in the way of.
    pub found: Vec<(usize, String)>,
}

#[derive(Deserialize)]
struct Reply {
    /// Some replies in which rows were refused are known to lack it.
    status: Option<String>,
    results: Vec<Written>,
    #[serde(default)]
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    id: String,
    object_write_trace_id: Option<String>,
}

/// Lets a conflict through: what stands in the way may be what was looked for.
pub(in crate::destinations) fn readable(response: &Response) -> Result<(), Fault> {
    match response.status {
        409 if complaint(response).existing_id().is_some() => Ok(()),
        _ => answered(response),
    }
}

pub(in crate::destinations) fn read(
    response: &Response,
    sent: &Sent<'_>,
) -> Result<Reading, Fault> {
    if response.status == 409 {
        return conflict(response, sent);
    }
    let reply: Reply = response.object()?;
    if let Some(status) = reply.status.filter(|status| status != "COMPLETE") {
        let reason = format!("HubSpot answers a batch with the status `{status}`");
        return Err(Fault::Protocol { reason });
    }
    let mut known = Known { settled: vec![false; sent.rows.len()], reading: Reading::default() };
    let mut vague = Vec::new();
    for complaint in reply.errors {
        if complaint.lacks_property() {
            return Err(Fault::Misconfigured { reason: complaint.reason() });
        }
        if !known.refuse(&complaint, sent)? {
            vague.push(complaint);
        }
    }
    let mut nameless = 0;
    for written in reply.results {
        nameless += usize::from(!known.accept(&written, sent)?);
    }
    known.conclude(&vague, nameless)
}

/// A conflict of the whole request: of a row alone it tells who is there, of several not whose.
fn conflict(response: &Response, sent: &Sent<'_>) -> Result<Reading, Fault> {
    let complaint = complaint(response);
    match complaint.existing_id() {
        Some(id) if sent.adopts && sent.rows.len() == 1 => {
            Ok(Reading { verdicts: vec![again(0, &complaint)], found: vec![(0, id)] })
        }
        _ => Err(Fault::Rejected { reason: complaint.reason() }),
    }
}

fn again(row: usize, complaint: &Complaint) -> Verdict {
    Verdict { piece: row, outcome: Outcome::Retry { after: None, reason: complaint.reason() } }
}

/// What is known of the rows so far.
struct Known {
    settled: Vec<bool>,
    reading: Reading,
}

impl Known {
    /// Whether the complaint names rows.
    fn refuse(&mut self, complaint: &Complaint, sent: &Sent<'_>) -> Result<bool, Fault> {
        let mut named = false;
        for token in complaint.named("objectWriteTraceId") {
            let row = position(sent, token)?;
            self.settle(row, complaint, sent);
            named = true;
        }
        if named {
            return Ok(true);
        }
        for id in complaint.named("ids") {
            let rows = sent.rows.iter().position(|(_, known)| *known == Some(id));
            if let Some(row) = rows {
                self.settle(row, complaint, sent);
                named = true;
            }
        }
        Ok(named)
    }

    fn settle(&mut self, row: usize, complaint: &Complaint, sent: &Sent<'_>) {
        self.settled[row] = true;
        let existing = complaint.existing_id().filter(|_| sent.adopts);
        let verdict = match existing {
            Some(id) => {
                self.reading.found.push((row, id));
                again(row, complaint)
            }
            // Deleted or merged since it was looked up.
            None if complaint.is_absence() => again(row, complaint),
            None => Verdict::rejected(row, complaint.reason()),
        };
        self.reading.verdicts.push(verdict);
    }

    /// Whether the result names its row.
    fn accept(&mut self, written: &Written, sent: &Sent<'_>) -> Result<bool, Fault> {
        let row = match &written.object_write_trace_id {
            Some(token) => Some(position(sent, token)?),
            None => sent.rows.iter().position(|(_, id)| *id == Some(written.id.as_str())),
        };
        if let Some(row) = row {
            self.settled[row] = true;
        }
        Ok(row.is_some())
    }

    /// What became of the rows that nothing named.
    fn conclude(mut self, vague: &[Complaint], nameless: usize) -> Result<Reading, Fault> {
        let rest = self.settled.iter().enumerate().filter(|(_, settled)| !**settled);
        let rest: Vec<usize> = rest.map(|(row, _)| row).collect();
        let gone = vague.iter().all(Complaint::is_absence);
        match (vague.first(), nameless) {
            (None, nameless) if nameless == rest.len() => {}
            (Some(complaint), 0) if gone => {
                self.reading.verdicts.extend(rest.iter().map(|row| again(*row, complaint)));
            }
            (None, _) => {
                let reason = "HubSpot neither confirms nor refuses it";
                let unsettled = |row: &usize| Verdict {
                    piece: *row,
                    outcome: Outcome::Unsettled { reason: reason.into() },
                };
                self.reading.verdicts.extend(rest.iter().map(unsettled));
            }
            (Some(_), _) => {
                let mut reasons: Vec<String> = vague.iter().map(Complaint::reason).collect();
                reasons.dedup();
                return Err(Fault::Rejected { reason: reasons.join("; ") });
            }
        }
        Ok(self.reading)
    }
}

/// The row that was sent with a token.
fn position(sent: &Sent<'_>, token: &str) -> Result<usize, Fault> {
    sent.rows
        .iter()
        .position(|(own, _)| own == token)
        .ok_or_else(|| Fault::Protocol { reason: "the reply names a row that was not sent".into() })
}
