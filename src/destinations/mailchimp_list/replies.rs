//! What Mailchimp says of single contacts: whom it created, whom it put where, and who is where.
//!
//! What it promises: only an address that was sent is believed, in whichever case of letters; being
//! named by no list is nothing that a reply says.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::super::Fault;
use super::super::mailchimp_api::{answered, is_problem};
use crate::delivery::Response;

/// The answer to new contacts.
#[derive(Debug, Deserialize)]
pub(super) struct Created {
    new_members: Vec<Named>,
    errors: Vec<Refused>,
}

#[derive(Debug, Deserialize)]
struct Refused {
    email_address: String,
    error: String,
    #[serde(default)]
    error_code: String,
}

#[derive(Debug, Deserialize)]
struct Named {
    email_address: String,
}

/// The answer to a change of a segment.
#[derive(Debug, Deserialize)]
struct Reply {
    members_added: Vec<Named>,
    members_removed: Vec<Named>,
    errors: Vec<Complaint>,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    #[serde(default)]
    email_addresses: Vec<String>,
    error: String,
}

/// The same by email, in lower case.
#[derive(Debug)]
pub(super) struct Changed {
    pub added: BTreeSet<String>,
    pub removed: BTreeSet<String>,
    complaints: BTreeMap<String, String>,
}

/// Where a contact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Inside,
    /// Not in the segment, or no contact at all.
    Outside,
    /// Mailchimp shows only some of the contact's segments.
    Unclear,
}

type Sent = BTreeMap<String, usize>;

impl Created {
    /// Who cannot be a contact, and why; who is one already is no matter.
    pub(super) fn refused(self, sent: &Sent) -> Result<Vec<(String, String)>, Fault> {
        let new = self.new_members.into_iter().map(|named| named.email_address);
        known(new, sent)?;
        let refused =
            self.errors.into_iter().filter(|one| one.error_code != "ERROR_CONTACT_EXISTS");
        refused.map(|one| Ok((known_one(&one.email_address, sent)?, one.error))).collect()
    }
}

impl Changed {
    pub(super) fn read(
        response: &Response,
        entering: &Sent,
        leaving: &Sent,
    ) -> Result<Self, Fault> {
        let reply: Reply = response.json()?;
        let emails = |named: Vec<Named>| named.into_iter().map(|named| named.email_address);
        let mut complaints = BTreeMap::new();
        for Complaint { email_addresses, error } in reply.errors {
            for email in email_addresses {
                let email = known_one(&email, entering).or_else(|_| known_one(&email, leaving))?;
                complaints.insert(email, error.clone());
            }
        }
        Ok(Self {
            added: known(emails(reply.members_added), entering)?,
            removed: known(emails(reply.members_removed), leaving)?,
            complaints,
        })
    }

    pub(super) fn complains(&self, email: &str) -> bool {
        self.complaints.contains_key(email)
    }

    /// Why somebody is not where they were put; `silence` where the reply does not say.
    pub(super) fn reason(&self, email: &str, silence: &str) -> String {
        self.complaints.get(email).map_or_else(|| silence.to_owned(), Clone::clone)
    }
}

impl Standing {
    pub(super) fn read(response: &Response, id: &str, segment: u64) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Contact {
            id: String,
            tags_count: usize,
            tags: Vec<Tag>,
        }
        #[derive(Deserialize)]
        struct Tag {
            id: u64,
        }
        if response.status == 404 {
            return Ok(Self::Outside);
        }
        let contact: Contact = response.json()?;
        if contact.id != id {
            return Err(Fault::Protocol { reason: "the reply is about another contact".into() });
        }
        let is_inside = contact.tags.iter().any(|tag| tag.id == segment);
        Ok(match contact.tags_count <= contact.tags.len() {
            _ if is_inside => Self::Inside,
            true => Self::Outside,
            false => Self::Unclear,
        })
    }
}

/// Reads an answer about one contact, that it is none among them.
pub(super) fn of_contact(response: &Response) -> Result<(), Fault> {
    match answered(response) {
        Err(Fault::Misconfigured { .. }) if is_problem(response, 404) => Ok(()),
        other => other,
    }
}

fn known(emails: impl Iterator<Item = String>, sent: &Sent) -> Result<BTreeSet<String>, Fault> {
    emails.map(|email| known_one(&email, sent)).collect()
}

fn known_one(email: &str, sent: &Sent) -> Result<String, Fault> {
    let email = email.to_lowercase();
    if sent.contains_key(&email) {
        return Ok(email);
    }
    Err(Fault::Protocol { reason: "the reply names an address that was not sent".into() })
}
