//! Imports of profiles: submitted, asked after, and read profile by profile.
//!
//! What it promises: a profile that a refusal names is taken out and the others are submitted; a
//! profile that the import's errors name is refused, by whatever they know of it; where they name
//! fewer than Klaviyo counts, the fate of the others is not known.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use url::Url;

use super::{
    Api, Complaint, IMPORT, IMPORT_ERRORS, IMPORT_STATUS, MOST_BYTES, about_profiles, named,
};
use crate::delivery::Session;
use crate::destinations::marks::{mark, positions};
use crate::destinations::progress::Progress;
use crate::destinations::{Fault, Outcome};

pub(in super::super) const FIRST_POLL: Duration = Duration::from_secs(5);
pub(in super::super) const NEXT_POLL: Duration = Duration::from_secs(10);
/// Times that profiles are taken out of a request before it is left to be halved.
const MOST_CUTS: usize = 20;
const PAGE: &str = "100";

/// One profile of a request, in the order of the batch.
#[derive(Debug)]
pub(in super::super) struct Profile<'a> {
    /// By which Klaviyo tells it apart: an email, an external id or a phone number.
    pub identity: &'a str,
    pub encoded: Vec<u8>,
}

/// What is kept of an import: its id, a mark per profile in the order of the batch, and those that
/// were refused before it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Import {
    job: String,
    marks: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<usize, String>,
}

/// What handing over profiles came to.
#[derive(Debug)]
pub(in super::super) enum Submission {
    Import(Import),
    /// Klaviyo takes none of them: why, in the order of the batch.
    Refused(Vec<Outcome>),
}

#[derive(Deserialize)]
struct Document<T> {
    data: T,
    #[serde(default)]
    links: Links,
}

#[derive(Default, Deserialize)]
struct Links {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Started {
    id: String,
}

#[derive(Deserialize)]
struct Resource<T> {
    attributes: T,
}

#[derive(Deserialize)]
struct State {
    status: Status,
    total_count: u64,
    completed_count: Option<u64>,
    failed_count: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Queued,
    Processing,
    Complete,
    Cancelled,
}

#[derive(Deserialize)]
struct ImportError {
    #[serde(flatten)]
    complaint: Complaint,
    original_payload: Option<Json>,
}

impl State {
    /// Profiles that were not taken, or that nothing was said of.
    fn lacking(&self) -> u64 {
        let failed = self.failed_count.unwrap_or(0);
        let settled = self.completed_count.map(|completed| completed.saturating_add(failed));
        let unheard = settled.map_or(0, |settled| self.total_count.saturating_sub(settled));
        failed.saturating_add(unheard)
    }
}

impl Api {
    /// Submits profiles, to be put on a list where one is named. Those that a refusal names are left
    /// out, so that one of them does not hold up the others.
    pub async fn import(
        &self,
        session: &Session,
        profiles: &[Profile<'_>],
        list: Option<&str>,
    ) -> Result<Submission, Fault> {
        let mut refused = BTreeMap::new();
        for _ in 0..MOST_CUTS {
            let places: Vec<_> =
                (0..profiles.len()).filter(|place| !refused.contains_key(place)).collect();
            if places.is_empty() {
                let reasons = refused.into_values();
                let outcomes = reasons.map(|reason| Outcome::Rejected { reason }).collect();
                return Ok(Submission::Refused(outcomes));
            }
            let body = body(places.iter().map(|place| &profiles[*place].encoded[..]), list)?;
            let request = self.write(Method::POST, &["profile-bulk-import-jobs"], body);
            let request = request.endpoint(IMPORT[0].0).reading(about_profiles);
            let response = session.send(request).await?;
            let named = named(&response);
            if named.is_empty() {
                let Document { data: Started { id: job }, .. } = response.json()?;
                if job.is_empty() {
                    return Err(unreadable("an import without an id"));
                }
                let marks = profiles.iter().map(|profile| mark(profile.identity)).collect();
                return Ok(Submission::Import(Import { job, marks, refused }));
            }
            for (place, reason) in named {
                let place = *places.get(place).ok_or_else(|| unreadable("an unknown profile"))?;
                refused.insert(place, reason);
            }
        }
        let reason = refused.into_values().next_back().unwrap_or_default();
        Err(Fault::Rejected { reason })
    }

    /// What became of an import.
    pub async fn imported(&self, session: &Session, import: &Import) -> Result<Progress, Fault> {
        let request = self.get(&["profile-bulk-import-jobs", &import.job], &[]);
        let response = match session.send(request.endpoint(IMPORT_STATUS[0].0)).await {
            // The import itself has expired: nothing says what became of it.
            Err(Fault::Misconfigured { reason }) => {
                return Ok(Progress::Done(import.ended(&Outcome::Unsettled { reason })));
            }
            other => other?,
        };
        let Document { data: Resource::<State> { attributes: state }, .. } = response.json()?;
        match state.status {
            Status::Queued | Status::Processing => Ok(Progress::Running),
            Status::Cancelled => {
                let reason = format!("Klaviyo's import `{}` was cancelled", import.job);
                Ok(Progress::Done(import.ended(&Outcome::Unsettled { reason })))
            }
            Status::Complete if state.lacking() == 0 => {
                Ok(Progress::Done(import.ended(&Outcome::Delivered)))
            }
            Status::Complete => {
                self.partly(session, import, state.lacking()).await.map(Progress::Done)
            }
        }
    }

    /// An import that could not use some profiles.
    async fn partly(
        &self,
        session: &Session,
        import: &Import,
        lacking: u64,
    ) -> Result<Vec<Outcome>, Fault> {
        let named = self.import_errors(session, import).await?;
        let others = if named.len() as u64 >= lacking {
            Outcome::Delivered
        } else {
            let reason = format!(
                "Klaviyo could not use {lacking} of the profiles of its import `{}` and names {} of \
                 them",
                import.job,
                named.len()
            );
            Outcome::Unsettled { reason }
        };
        let mut outcomes = import.ended(&others);
        for (position, reason) in named {
            outcomes[position] = Outcome::Rejected { reason };
        }
        Ok(outcomes)
    }

    /// The profiles that an import's errors name, page by page.
    async fn import_errors(
        &self,
        session: &Session,
        import: &Import,
    ) -> Result<BTreeMap<usize, String>, Fault> {
        let path = ["profile-bulk-import-jobs", &import.job, "import-errors"];
        let positions = positions(&import.marks);
        let submitted = import.submitted();
        let mut named = BTreeMap::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("page[size]", PAGE)];
            query.extend(cursor.as_deref().map(|cursor| ("page[cursor]", cursor)));
            let request = self.get(&path, &query).endpoint(IMPORT_ERRORS[0].0);
            let Document { data, links } = session.send(request).await?.json()?;
            let errors: Vec<Resource<ImportError>> = data;
            for Resource { attributes: error } in errors {
                if let Some(position) = error.position(&positions, &submitted) {
                    named.entry(position).or_insert_with(|| error.complaint.reason());
                }
            }
            let next = links.next.as_deref().and_then(cursor_of);
            if next.is_none() {
                return Ok(named);
            }
            if next == cursor {
                return Err(unreadable("a page that is followed by itself"));
            }
            cursor = next;
        }
    }
}

impl Import {
    /// Positions in the batch, by places in the request.
    fn submitted(&self) -> Vec<usize> {
        (0..self.marks.len()).filter(|position| !self.refused.contains_key(position)).collect()
    }

    /// The same outcome for every profile that was submitted.
    fn ended(&self, outcome: &Outcome) -> Vec<Outcome> {
        let of = |position| match self.refused.get(&position) {
            Some(reason) => Outcome::Rejected { reason: reason.clone() },
            None => outcome.clone(),
        };
        (0..self.marks.len()).map(of).collect()
    }
}

impl ImportError {
    /// Which profile it is about: as what was sent says, or else the pointer.
    fn position(&self, positions: &HashMap<&str, usize>, submitted: &[usize]) -> Option<usize> {
        let sent = self.original_payload.iter().flat_map(identities);
        let by_identity = sent.filter_map(|identity| positions.get(mark(identity).as_str()));
        by_identity.copied().next().or_else(|| submitted.get(self.complaint.place()?).copied())
    }
}

/// What tells a profile apart, wherever in the payload it was sent in.
fn identities(payload: &Json) -> impl Iterator<Item = &str> {
    let places = ["", "/attributes", "/data", "/data/attributes"];
    let objects = places.into_iter().filter_map(|place| payload.pointer(place));
    objects.flat_map(|object| {
        ["external_id", "email", "phone_number"]
            .into_iter()
            .filter_map(|key| object.get(key)?.as_str())
    })
}

/// Where the next page begins.
pub(in super::super) fn cursor_of(next: &str) -> Option<String> {
    let url = Url::parse(next).ok()?;
    let mut query = url.query_pairs();
    query.find(|(name, _)| name == "page[cursor]").map(|(_, cursor)| cursor.into_owned())
}

fn body<'a>(profiles: impl Iterator<Item = &'a [u8]>, list: Option<&str>) -> Result<Bytes, Fault> {
    let mut body = Vec::new();
    body.extend_from_slice(
        br#"{"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":["#,
    );
    for (place, profile) in profiles.enumerate() {
        if place > 0 {
            body.push(b',');
        }
        body.extend_from_slice(profile);
    }
    body.extend_from_slice(b"]}}");
    if let Some(list) = list {
        let lists = serde_json::json!({"lists": {"data": [{"type": "list", "id": list}]}});
        body.extend_from_slice(format!(",\"relationships\":{lists}").as_bytes());
    }
    body.extend_from_slice(b"}}");
    if body.len() > MOST_BYTES {
        let reason = format!("{} bytes are more than one request may hold", body.len());
        return Err(Fault::Rejected { reason });
    }
    Ok(body.into())
}

fn unreadable(reason: &str) -> Fault {
    Fault::Protocol { reason: reason.to_owned() }
}
