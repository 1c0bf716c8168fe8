//! Tags of Intercom as lists: contacts are tagged and untagged.
//!
//! Contacts are looked for by our own id, or by email, many at a time. Many are tagged by one request,
//! which says nothing of single contacts: where it is refused because one of them is not there, each is
//! tagged by a request of its own. Untagging takes one request per contact. A contact that was merged
//! with another meanwhile is known by the id of that one: it is looked for again.
//!
//! What it never does: it creates no contact, and touches no subscription to emails.

mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::intercom_api::{
    ACCESS_TOKEN, API_VERSION, Api, Contact, REGION, Region, about_one, is_success,
};
use super::membership::{Member, Parted};
use super::normalise;
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret,
    Spec, Target,
};
use crate::delivery::{Response, Session};
use crate::finding::Finding;
use crate::message::Message;
use crate::record::Call;
use remote::Tag;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Intercom's tags.
pub static SPEC: Spec = Spec {
    kind: "intercom_tags",
    title: "Intercom Tags",
    summary: "Tags Intercom's contacts who are on a list, and untags those who leave it.",
    grain: Grain::Subject,
    identifiers: "user id as external_id of a contact, or the email",
    // Of the specification; an app may make about 166 calls per second today.
    quotas: &[Quota::per_second(8)],
    batch: BatchLimits { rows: 50, max_rows: 50, bytes: 1_000_000, row_bytes: 20_000 },
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.intercom_tags]
type = "intercom_tags"
access_token = "${INTERCOM_ACCESS_TOKEN}"
region = "us"
"#,
    notes: &[
        "A tag is found by the id (a number) or name in the sync's `list`, else by the model's name, whatever its case, and created where there is none.",
        "Contacts must exist: somebody who is not found is rejected, and tried again by later runs; Intercom's search lags behind by minutes.",
        "With `identify_by = \"email\"` every contact with the email is tagged, leads too.",
        "Up to 50 contacts are tagged by one request; untagging takes one request each, since Intercom has none for many (that its old one still works is uncertain).",
        "How many ids one search may name is uncertain (50 are named here): lower `batch_size` where Intercom refuses that.",
        "A rate of 8 requests per second is far below what Intercom grants an app today (about 166): raise `rate_limit` where that is too slow.",
        "Tagging can start automations in Intercom that listen to the tag.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    ACCESS_TOKEN,
    REGION,
    API_VERSION,
    OptionDoc::optional(
        "identify_by",
        "what contacts are looked for by: \"external_id\" (default) or \"email\"",
    ),
];

const EMAIL: MatchField = MatchField { source: "email", normalise: normalise::plain_email };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    access_token: Secret,
    #[serde(default)]
    region: Region,
    api_version: Option<String>,
    #[serde(default)]
    identify_by: Key,
}

/// What contacts are looked for by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    #[default]
    ExternalId,
    Email,
}

/// The tags of one workspace.
#[derive(Debug)]
struct Tags {
    api: Api,
    key: Key,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { access_token, region, api_version, identify_by: key } = reader.own()?;
    let secrets = vec![access_token.clone()];
    let api = Api::new(common.base_url.as_ref(), region, access_token, api_version)
        .map_err(|fact| vec![reader.refuse("region", &fact)])?;
    let built = Built::new(Arc::new(Tags { api, key }), secrets);
    Ok(match key {
        Key::ExternalId => built,
        Key::Email => built.by(Grain::List).matching(vec![EMAIL]),
    })
}

impl Key {
    const fn field(self) -> &'static str {
        match self {
            Self::ExternalId => "external_id",
            Self::Email => "email",
        }
    }

    fn of(self, message: &Message) -> Option<&str> {
        match self {
            Self::ExternalId => Some(message.subject()),
            Self::Email => EMAIL.of(message),
        }
    }

    /// The same of a contact, as ours is written.
    fn of_contact(self, contact: &Contact) -> Option<String> {
        match self {
            Self::ExternalId => contact.external_id.clone(),
            Self::Email => contact.email.as_ref().map(|email| email.to_lowercase()),
        }
    }
}

/// Intercom's ids of contacts, by what they are looked for.
type Ids = BTreeMap<String, Vec<String>>;

/// What is done to the contacts of one batch.
struct Tagging<'a> {
    api: &'a Api,
    session: &'a Session,
    tag: Tag,
    receipt: Receipt,
}

impl Tags {
    async fn ids(&self, session: &Session, batch: &Batch) -> Result<Ids, Fault> {
        let keys = batch.messages().iter().filter_map(|message| self.key.of(message));
        let keys: Vec<&str> = keys.collect();
        let mut ids = Ids::new();
        if keys.is_empty() {
            return Ok(ids);
        }
        for contact in self.api.contacts_among(session, self.key.field(), &keys).await? {
            if let Some(key) = self.key.of_contact(&contact) {
                ids.entry(key).or_default().push(contact.id);
            }
        }
        Ok(ids)
    }

    fn known<'i>(&self, ids: &'i Ids, member: &Member<'_>) -> &'i [String] {
        let found = self.key.of(member.message).and_then(|key| ids.get(key));
        found.map_or(&[], Vec::as_slice)
    }
}

impl Tagging<'_> {
    async fn untag(&mut self, position: usize, contact: &str) -> Result<(), Fault> {
        let path = ["contacts", contact, "tags", &self.tag.id];
        let request = self.api.delete(&path).reading(about_one);
        match self.session.send(request).await {
            Ok(response) if is_success(&response) => self.verify(&response),
            Ok(response) if is_gone(&response) => {
                // Where the contact is still there it lacks the tag, which is all that was wanted.
                if self.api.contact(self.session, contact).await?.is_none() {
                    self.look_again(position, &response);
                }
                Ok(())
            }
            Ok(response) => {
                self.reject(position, response.reason());
                Ok(())
            }
            Err(Fault::Rejected { reason }) => {
                self.reject(position, reason);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Tags contacts, given with the position of their message.
    async fn tag_all(&mut self, contacts: &[(usize, &str)]) -> Result<(), Fault> {
        for contacts in contacts.chunks(MOST_AT_ONCE) {
            if contacts.len() > 1 && self.tag_many(contacts).await? {
                continue;
            }
            for (position, contact) in contacts {
                self.tag_one(*position, contact).await?;
            }
        }
        Ok(())
    }

    /// `false`: somebody of them is not there, and nobody knows who was tagged.
    async fn tag_many(&self, contacts: &[(usize, &str)]) -> Result<bool, Fault> {
        #[derive(Serialize)]
        struct User<'a> {
            id: &'a str,
        }
        let users: Vec<_> = contacts.iter().map(|(_, id)| User { id }).collect();
        let body = json!({"name": self.tag.name, "users": users});
        let request = self.api.write(Method::POST, &["tags"], &body)?.reading(about_one);
        let response = self.session.send(request).await?;
        if !is_success(&response) {
            return Ok(false);
        }
        self.verify(&response)?;
        Ok(true)
    }

    async fn tag_one(&mut self, position: usize, contact: &str) -> Result<(), Fault> {
        let body = json!({"id": self.tag.id});
        let path = ["contacts", contact, "tags"];
        let request = self.api.write(Method::POST, &path, &body)?.reading(about_one);
        match self.session.send(request).await {
            Ok(response) if is_success(&response) => self.verify(&response),
            Ok(response) if is_gone(&response) => {
                self.look_again(position, &response);
                Ok(())
            }
            Ok(response) => {
                self.reject(position, response.reason());
                Ok(())
            }
            Err(Fault::Rejected { reason }) => {
                self.reject(position, reason);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    /// Tagging many goes by the tag's name: a reply about another id means that it was renamed.
    fn verify(&self, response: &Response) -> Result<(), Fault> {
        let Tag { id, name } = response.json()?;
        if id == self.tag.id {
            return Ok(());
        }
        let reason = format!("the tag `{}` was renamed: `{name}` is another one now", self.tag.id);
        Err(Fault::Misconfigured { reason })
    }

    /// The contact was deleted or merged since it was found: the next search finds who it is now.
    fn look_again(&mut self, position: usize, response: &Response) {
        let reason = format!("the contact is not there any more: {}", response.reason());
        let _ = self.receipt.set(position, Outcome::Retry { after: None, reason });
    }

    fn reject(&mut self, position: usize, reason: String) {
        // Positions are those of the batch.
        let _ = self.receipt.set(position, Outcome::Rejected { reason });
    }
}

fn is_gone(response: &Response) -> bool {
    matches!(response.status, 404 | 410)
}

/// Contacts that are tagged by one request.
const MOST_AT_ONCE: usize = 50;

#[async_trait]
impl Destination for Tags {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.api.admin(session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        remote::opened(&self.api, session, target).await?.into_remote()
    }

    fn requests(&self, _: Call, _: usize) -> usize {
        2
    }

    /// Tagging twice changes nothing: a fault half-way concerns the batch as a whole.
    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let tag = Tag::of(remote)?;
        let ids = self.ids(session, batch).await?;
        let Parted { entering, leaving } = Parted::of(batch);
        let mut tagging = Tagging { api: &self.api, session, tag, receipt: batch.delivered() };
        for member in &leaving {
            for contact in self.known(&ids, member) {
                tagging.untag(member.position, contact).await?;
            }
        }
        let mut contacts = Vec::new();
        for member in &entering {
            let known = self.known(&ids, member);
            if known.is_empty() {
                let field = self.key.field();
                let reason = format!("Intercom has no contact with this `{field}`");
                tagging.reject(member.position, reason);
            }
            contacts.extend(known.iter().map(|id| (member.position, id.as_str())));
        }
        tagging.tag_all(&contacts).await?;
        Ok(tagging.receipt.into())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
