//! Which contacts the members of a batch are.

use std::collections::HashMap;

use http::Method;
use serde_json::{Value as Json, json};

use super::super::hubspot_api::replies::{self, Sent};
use super::super::hubspot_api::{Api, Found};
use super::super::membership::Member;
use super::super::portions::Verdict;
use super::super::{Batch, Fault, Outcome, Receipt};
use super::{EMAIL, Known};
use crate::delivery::Session;
use crate::message::Message;

/// Contacts by email.
#[derive(Debug)]
pub(super) struct People {
    ids: HashMap<String, String>,
    /// Whether who is not among them is certainly nobody.
    pub is_complete: bool,
}

/// Looks up everybody in the batch; creates nobody.
pub(super) async fn people(api: &Api, session: &Session, batch: &Batch) -> Result<People, Fault> {
    let emails = batch.messages().iter().map(email).collect::<Result<Vec<_>, _>>()?;
    let found = api.contacts_by_email(session, &emails).await?;
    let ids = found.by_email();
    let is_complete = found.tells_who_is_missing() || emails.iter().all(|it| ids.contains_key(*it));
    Ok(People { ids, is_complete })
}

impl People {
    /// Members that are contacts.
    pub(super) fn of(&self, members: &[Member<'_>]) -> Known {
        let known = |member: &Member<'_>| {
            let id = self.ids.get(EMAIL.of(member.message)?)?;
            Some((member.position, id.clone()))
        };
        members.iter().filter_map(known).collect()
    }

    /// What it means not to be among them: a refusal for that reason, where it is certain.
    pub(super) fn absence(&self, reason: &str) -> Outcome {
        if self.is_complete {
            return Outcome::Rejected { reason: reason.to_owned() };
        }
        let reason = "HubSpot's answer does not say whether there is such a contact".to_owned();
        Outcome::Retry { after: None, reason }
    }

    /// Members that are not.
    pub(super) fn strangers<'b>(&self, members: &[Member<'b>]) -> Vec<Member<'b>> {
        let is_known = |member: &Member<'_>| {
            EMAIL.of(member.message).is_some_and(|email| self.ids.contains_key(email))
        };
        members.iter().filter(|member| !is_known(member)).copied().collect()
    }
}

/// Creates contacts of members; what became of those that did not become one is written into the
/// receipt.
pub(super) async fn created(
    api: &Api,
    session: &Session,
    members: &[Member<'_>],
    receipt: &mut Receipt,
) -> Result<Known, Fault> {
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let emails =
        members.iter().map(|member| email(member.message)).collect::<Result<Vec<_>, _>>()?;
    let inputs = emails.iter().enumerate().map(|(row, email)| {
        json!({
            "objectWriteTraceId": row.to_string(),
            "associations": [],
            "properties": {"email": email},
        })
    });
    let body = json!({"inputs": inputs.collect::<Vec<Json>>()});
    let path: &[&str] = &["contacts", "batch", "create"];
    let request = api.write(Method::POST, ("objects", path), &body)?.reading(replies::readable);
    let response = session.send(request).await?;
    let rows = (0..members.len()).map(|row| (row.to_string(), None)).collect();
    let reading = replies::read(&response, &Sent { rows, adopts: true })?;
    // Whoever stood in the way is the one who was meant.
    let mut ids: HashMap<usize, String> = reading.found.into_iter().collect();
    let made = response.object::<Found>().unwrap_or_default().by_email();
    for (row, email) in emails.iter().enumerate() {
        if let Some(id) = made.get(*email) {
            ids.insert(row, id.clone());
        }
    }
    let unknown = "HubSpot does not say which contact it created".to_owned();
    let mut fates = vec![Outcome::Retry { after: None, reason: unknown }; members.len()];
    for Verdict { piece, outcome } in reading.verdicts {
        fates[piece] = outcome;
    }
    let mut known = Vec::new();
    for (row, (member, fate)) in members.iter().zip(fates).enumerate() {
        match ids.remove(&row) {
            Some(id) => known.push((member.position, id)),
            // Positions are those of the batch.
            None => _ = receipt.set(member.position, fate),
        }
    }
    Ok(known)
}

fn email(message: &Message) -> Result<&str, Fault> {
    let rejected = || Fault::Rejected { reason: "a member without an email".into() };
    EMAIL.of(message).ok_or_else(rejected)
}
