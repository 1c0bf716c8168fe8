//! Whom an email stands for, and which of them are members of a campaign already.
//!
//! Queries travel in addresses, whose length Salesforce limits: what is looked for is cut into pieces.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use url::form_urlencoded::byte_serialize;

use super::super::Fault;
use super::super::salesforce_api::{Org, found, quoted};
use crate::delivery::Session;

/// Of an address, 16 KB with headers may be sent.
const ROOM: usize = 12_000;

/// Who is looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kinds {
    /// Leads only where no contact has the email.
    #[default]
    Both,
    Contacts,
    Leads,
}

impl Kinds {
    pub(super) const fn nobody(self) -> &'static str {
        match self {
            Self::Both => "no contact and no open lead",
            Self::Contacts => "no contact",
            Self::Leads => "no open lead",
        }
    }
}

/// A contact or lead, by its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Person {
    Contact(String),
    Lead(String),
}

impl Person {
    pub(super) fn contact(&self) -> Option<&str> {
        match self {
            Self::Contact(id) => Some(id),
            Self::Lead(_) => None,
        }
    }

    pub(super) fn lead(&self) -> Option<&str> {
        match self {
            Self::Lead(id) => Some(id),
            Self::Contact(_) => None,
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Contact(id) | Self::Lead(id) => id,
        }
    }
}

/// People by email: contacts before leads, the oldest first.
#[derive(Debug, Default)]
pub(super) struct People(BTreeMap<String, Vec<Person>>);

/// One that a query found.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Found {
    id: String,
    email: Option<String>,
}

impl People {
    pub(super) async fn found(
        org: &Org,
        session: &Session,
        kinds: Kinds,
        (entering, leaving): (&[&str], &[&str]),
    ) -> Result<Self, Fault> {
        let mut people = Self::default();
        let all: Vec<&str> = entering.iter().chain(leaving).copied().collect();
        if kinds != Kinds::Leads {
            people.look(org, session, ("Contact", ""), &all, Person::Contact).await?;
        }
        if kinds != Kinds::Contacts {
            let missing = entering.iter().copied().filter(|email| people.with(email).is_empty());
            // Whoever leaves may have come as a lead, though a contact has the email by now.
            let wanted: Vec<&str> = missing.chain(leaving.iter().copied()).collect();
            let open = " AND IsConverted = false";
            people.look(org, session, ("Lead", open), &wanted, Person::Lead).await?;
        }
        Ok(people)
    }

    pub(super) fn with(&self, email: &str) -> &[Person] {
        self.0.get(&email.to_lowercase()).map_or(&[], Vec::as_slice)
    }

    async fn look(
        &mut self,
        org: &Org,
        session: &Session,
        (object, condition): (&str, &str),
        emails: &[&str],
        person: fn(String) -> Person,
    ) -> Result<(), Fault> {
        for emails in pieces(emails) {
            let query = format!(
                "SELECT Id, Email FROM {object} WHERE Email IN ({emails}){condition} ORDER BY \
                 CreatedDate"
            );
            for Found { id, email } in found(org, session, &query).await? {
                let email = email.unwrap_or_default().to_lowercase();
                self.0.entry(email).or_default().push(person(id));
            }
        }
        Ok(())
    }

    fn ids(&self, of: fn(&Person) -> Option<&str>) -> Vec<&str> {
        self.0.values().flatten().filter_map(of).collect()
    }
}

/// Ids of members, by the id of the contact or lead.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<String, String>);

/// A member that a query found. A lead that was converted is one as a contact as well.
#[derive(Deserialize)]
struct FoundMember {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "ContactId")]
    contact: Option<String>,
    #[serde(rename = "LeadId")]
    lead: Option<String>,
}

impl Members {
    pub(super) async fn found(
        org: &Org,
        session: &Session,
        campaign: &str,
        people: &People,
    ) -> Result<Self, Fault> {
        let mut members = BTreeMap::new();
        let campaign = quoted(campaign);
        for (field, ids) in
            [("ContactId", people.ids(Person::contact)), ("LeadId", people.ids(Person::lead))]
        {
            for ids in pieces(&ids) {
                let query = format!(
                    "SELECT Id, ContactId, LeadId FROM CampaignMember WHERE CampaignId = \
                     {campaign} AND {field} IN ({ids})"
                );
                for FoundMember { id, contact, lead } in found(org, session, &query).await? {
                    let people = contact.into_iter().chain(lead);
                    members.extend(people.map(|person| (person, id.clone())));
                }
            }
        }
        Ok(Self(members))
    }

    pub(super) fn of(&self, person: &Person) -> Option<&str> {
        self.0.get(person.id()).map(String::as_str)
    }
}

/// Lists of texts as queries name them, none longer than an address has room for.
fn pieces(texts: &[&str]) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut room = 0;
    for text in texts.iter().collect::<BTreeSet<_>>() {
        let text = quoted(text);
        let length = byte_serialize(text.as_bytes()).map(str::len).sum::<usize>() + 3;
        match pieces.last_mut() {
            Some(piece) if length <= room => {
                piece.push(',');
                piece.push_str(&text);
                room -= length;
            }
            _ => {
                pieces.push(text);
                room = ROOM.saturating_sub(length);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_for_is_cut_into_pieces_without_losing_any() {
        let emails: Vec<String> =
            (0..200).map(|number| format!("{number:0>90}@example.org")).collect();
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        let pieces = pieces(&emails);
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces.iter().map(|piece| piece.split(',').count()).sum::<usize>(), 200);
        let encoded =
            |piece: &String| byte_serialize(piece.as_bytes()).map(str::len).sum::<usize>();
        assert!(pieces.iter().all(|piece| encoded(piece) <= ROOM));
        assert_eq!(super::pieces(&[]), [""; 0]);
        assert_eq!(super::pieces(&["o'brien@x.org", "a\\b", "a\\b"]), [r"'a\\b','o\'brien@x.org'"]);
    }
}
