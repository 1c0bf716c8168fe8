//! Members who leave: looked up by email, and taken off the list by the ids of their contacts.
//!
//! What it promises: nobody is created to be taken off. Who is no contact, or not on the list, is off
//! it already; somebody whom a refusal keeps on it is tried again and holds nobody else up.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::Fault;
use super::super::membership::{List, Member};
use super::super::sendgrid_api::Api;
use super::remote::existing;
use super::{Leaving, Work, email};
use crate::delivery::{Response, Session, standard};

/// Of one lookup, and of one removal.
const MOST: usize = 100;

#[derive(Deserialize)]
struct Found {
    result: BTreeMap<String, Answer>,
}

/// What is said of one email.
#[derive(Deserialize)]
struct Answer {
    contact: Option<Contact>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Contact {
    id: String,
    #[serde(default)]
    list_ids: Vec<String>,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(rename = "errors")]
    _errors: Vec<serde::de::IgnoredAny>,
}

/// A contact that is on the list, and whose it is.
struct Listed {
    position: usize,
    id: String,
}

/// Takes members off the list; the jobs are written down in `work`.
pub(super) async fn taken_off(
    api: &Api,
    session: &Session,
    list: &List,
    leaving: &[Member<'_>],
    work: &mut Work,
) -> Result<(), Fault> {
    let mut listed = Vec::new();
    for members in leaving.chunks(MOST) {
        listed.extend(looked_up(api, session, list, members, work).await?);
    }
    for some in listed.chunks(MOST) {
        match removed(api, session, list, some).await {
            Ok(leaving) => work.leaving.push(leaving),
            Err(Fault::Rejected { reason }) => work.keep(some, &reason),
            // The list is gone, or somebody is not on it any more.
            Err(Fault::Misconfigured { .. }) => {
                existing(api, session, &list.id).await?;
                one_by_one(api, session, list, some, work).await?;
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

async fn one_by_one(
    api: &Api,
    session: &Session,
    list: &List,
    listed: &[Listed],
    work: &mut Work,
) -> Result<(), Fault> {
    for one in listed.chunks(1) {
        match removed(api, session, list, one).await {
            Ok(leaving) => work.leaving.push(leaving),
            Err(Fault::Rejected { reason }) => work.keep(one, &reason),
            Err(Fault::Misconfigured { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

async fn removed(
    api: &Api,
    session: &Session,
    list: &List,
    listed: &[Listed],
) -> Result<Leaving, Fault> {
    let ids: Vec<&str> = listed.iter().map(|one| one.id.as_str()).collect();
    let mut request = api.delete(&["lists", &list.id, "contacts"]);
    request.url.query_pairs_mut().append_pair("contact_ids", &ids.join(","));
    let job = api.submitted(session, request).await?;
    Ok(Leaving { job, positions: listed.iter().map(|one| one.position).collect() })
}

/// The contacts of these members that are on the list.
async fn looked_up(
    api: &Api,
    session: &Session,
    list: &List,
    members: &[Member<'_>],
    work: &mut Work,
) -> Result<Vec<Listed>, Fault> {
    let emails: Vec<&str> =
        members.iter().map(|member| email(member.message)).collect::<Result<_, Fault>>()?;
    let body = json!({ "emails": emails }).to_string();
    let request = api.write(Method::POST, &["contacts", "search", "emails"], body.into());
    let response = session.send(request.reading(found)).await?;
    if response.status == 404 {
        return Ok(Vec::new());
    }
    let Found { mut result } = response.json()?;
    let mut listed = Vec::new();
    for (member, email) in members.iter().zip(emails) {
        let position = member.position;
        match result.remove(email) {
            Some(Answer { contact: Some(Contact { id, list_ids }), .. }) => {
                if list_ids.contains(&list.id) {
                    listed.push(Listed { position, id });
                }
            }
            Some(Answer { error: Some(error), .. }) if error.contains("not found") => {}
            Some(Answer { error, .. }) => {
                let error = error.unwrap_or_else(|| "nothing".to_owned());
                work.kept.insert(position, format!("SendGrid says of its email: {error}"));
            }
            None => {
                let reason = "SendGrid's search says nothing of its email".to_owned();
                work.kept.insert(position, reason);
            }
        }
    }
    Ok(listed)
}

/// A 404 in SendGrid's own words is the answer that none of the emails is there.
fn found(response: &Response) -> Result<(), Fault> {
    match response.status {
        404 if response.json::<Errors>().is_ok() => Ok(()),
        _ => standard(response),
    }
}

impl Work {
    fn keep(&mut self, listed: &[Listed], reason: &str) {
        self.kept.extend(listed.iter().map(|one| (one.position, reason.to_owned())));
    }
}
