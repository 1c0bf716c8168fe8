//! Static segments of a Mailchimp audience, which its pages call tags: contacts are added to one and
//! taken off it.
//!
//! A contact must be in the audience first. Those that are not are created as `transactional`, which
//! means that they get no campaigns; those that are there are left as they are, whatever they agreed
//! to. Mailchimp ignores addresses without a word, so whoever a reply does not name is looked up.
//!
//! What it never does: it subscribes, archives or deletes no contact.

mod replacement;
mod replies;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::gathered::{self, Gathered};
use super::mailchimp_api::{API_KEY, AUDIENCE_ID, Audience, SERVER, contact_id};
use super::membership::{Member, Parted};
use super::normalise::plain_email;
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret,
    Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
use replies::{Changed, Created, Standing};
use segment::Segment;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EMAIL: MatchField = MatchField { source: "email", normalise: plain_email };

/// What is known of Mailchimp's static segments.
pub static SPEC: Spec = Spec {
    kind: "mailchimp_list",
    title: "Mailchimp List",
    summary: "Adds contacts of a Mailchimp audience to a static segment (tag) and takes them off it.",
    identifiers: "email",
    match_fields: &[EMAIL],
    replaces: true,
    // Of the specification; Mailchimp itself only counts connections, ten for an account.
    quotas: &[Quota::per_second(10)],
    batch: BatchLimits { rows: 500, max_rows: 500, bytes: 2_000_000, row_bytes: 100_000 },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.mailchimp_list]
type = "mailchimp_list"
api_key = "${MAILCHIMP_API_KEY}"
server = "us20"
audience_id = "a1b2c3d4e5"
"#,
    notes: &[
        "An audience of the project becomes a static segment of one audience of Mailchimp: found by the id or name in the sync's `list`, else by the model's name, and created where there is none.",
        "Members who are no contacts are created with the status `transactional`: they receive no campaigns, and count as contacts of the plan; `create_contacts = false` rejects them instead.",
        "The status of a contact that is there is never changed: who unsubscribed may be in the segment and still gets no campaigns.",
        "Adding somebody to a segment may start an automation that waits for its tag.",
        "Whether Mailchimp names somebody again who is in the segment already is uncertain: whoever a reply does not name is looked up one by one, which a repeated batch may make slow.",
        "`--replace` puts everybody into the segment and then sets its members as a whole, in one request; how many addresses that may hold is uncertain: where the segment has fewer contacts afterwards, they are added once more.",
        "Mailchimp allows ten connections at a time to all tools of an account together; four are used.",
        "Only API keys are taken, not tokens of OAuth.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    API_KEY,
    AUDIENCE_ID,
    SERVER,
    OptionDoc::optional(
        "create_contacts",
        "whether members who are no contacts of the audience are created; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    audience_id: String,
    server: Option<String>,
    #[serde(default = "crate::destinations::options::yes")]
    create_contacts: bool,
}

/// The segments of one audience.
#[derive(Debug)]
struct Segments {
    audience: Audience,
    create_contacts: bool,
    gathered: Gathered,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, audience_id, server, create_contacts } = reader.own()?;
    let secrets = vec![api_key.clone()];
    let audience = Audience::of(reader, common, server.as_deref(), api_key, audience_id)?;
    let gathered = Gathered::default();
    Ok(Built::new(Arc::new(Segments { audience, create_contacts, gathered }), secrets))
}

#[async_trait]
impl Destination for Segments {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.audience.exists(session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        match &target.remote {
            Some(remote) => Ok(remote.clone()),
            None => {
                let segment = segment::opened(&self.audience, session, target).await?;
                Ok(segment.into_remote())
            }
        }
    }

    fn requests(&self, _: Call, _: usize) -> usize {
        1 + usize::from(self.create_contacts)
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let segment = Segment::of(remote)?;
        let mut receipt = batch.delivered();
        let Parted { entering, leaving } = Parted::of(batch);
        let (mut entering, leaving) = (by_email(&entering)?, by_email(&leaving)?);
        if self.create_contacts && !entering.is_empty() {
            for (email, reason) in self.create(session, &entering).await? {
                refuse(&mut receipt, entering.remove(&email), reason);
            }
        }
        if entering.is_empty() && leaving.is_empty() {
            return Ok(receipt.into());
        }
        let changed = self.change(session, &segment, &entering, &leaving).await?;
        for (email, position) in
            entering.iter().filter(|(email, _)| !changed.added.contains(*email))
        {
            let outcome = self.entered(session, remote, email, &changed).await?;
            let _ = receipt.set(*position, outcome);
        }
        let is_there =
            |position: usize| matches!(receipt.outcomes().get(position), Some(Outcome::Delivered));
        let there = entering.iter().filter(|(_, position)| is_there(**position));
        self.gathered.add(remote, there.map(|(email, _)| email.as_str()));
        let unnamed = leaving.into_iter().filter(|(email, _)| !changed.removed.contains(email));
        for (email, position) in unnamed {
            let outcome = match self.standing(session, &segment, &email).await? {
                Standing::Outside => Outcome::Delivered,
                Standing::Inside => {
                    Outcome::Retry { after: None, reason: changed.reason(&email, LEFT_THERE) }
                }
                Standing::Unclear => unclear(),
            };
            let _ = receipt.set(position, outcome);
        }
        Ok(receipt.into())
    }

    async fn begin_replacing(
        &self,
        _session: &Session,
        remote: &Remote,
        started: DateTime<Utc>,
    ) -> Result<Remote, Fault> {
        Ok(gathered::replacing(remote, started))
    }

    async fn finish_replacing(&self, session: &Session, remote: &Remote) -> Result<(), Fault> {
        let (segment, members) = (Segment::of(remote)?, self.gathered.all(remote));
        replacement::finish(&self.audience, session, &segment, &members).await
    }
}

const IGNORED: &str = "Mailchimp ignores it: it is no contact of the audience";
const LEFT_THERE: &str = "Mailchimp leaves it in the segment";

/// Positions in the batch by email; a list has one record of each.
fn by_email(members: &[Member<'_>]) -> Result<BTreeMap<String, usize>, Fault> {
    let email = |member: &Member<'_>| match EMAIL.of(member.message) {
        Some(email) => Ok((email.to_lowercase(), member.position)),
        None => Err(Fault::Rejected { reason: "it has no email".into() }),
    };
    members.iter().map(email).collect()
}

fn refuse(receipt: &mut Receipt, position: Option<usize>, reason: String) {
    if let Some(position) = position {
        // Every position is one of the batch's own.
        let _ = receipt.set(position, Outcome::Rejected { reason });
    }
}

fn unclear() -> Outcome {
    let reason = "Mailchimp does not show all segments of this contact".into();
    Outcome::Unsettled { reason }
}

impl Segments {
    /// Makes contacts of those who are none; comes back with who cannot be one, and why.
    async fn create(
        &self,
        session: &Session,
        entering: &BTreeMap<String, usize>,
    ) -> Result<Vec<(String, String)>, Fault> {
        let contact = |email| json!({"email_address": email, "status": "transactional"});
        let members: Vec<_> = entering.keys().map(contact).collect();
        // Without updates: the status of contacts that are there is theirs.
        let body = json!({"members": members, "update_existing": false});
        let mut request = self.audience.write(Method::POST, &[], &body)?;
        request
            .url
            .query_pairs_mut()
            .append_pair("skip_merge_validation", "true")
            .append_pair("skip_duplicate_check", "true");
        let created: Created = session.send(request).await?.json()?;
        created.refused(entering)
    }

    async fn change(
        &self,
        session: &Session,
        segment: &Segment,
        entering: &BTreeMap<String, usize>,
        leaving: &BTreeMap<String, usize>,
    ) -> Result<Changed, Fault> {
        let body = json!({
            "members_to_add": entering.keys().collect::<Vec<_>>(),
            "members_to_remove": leaving.keys().collect::<Vec<_>>(),
        });
        let path = ["segments", &segment.id.to_string()];
        let request = self.audience.write(Method::POST, &path, &body)?;
        Changed::read(&session.send(request).await?, entering, leaving)
    }

    /// What became of somebody who was put into the segment and whom the reply does not name.
    async fn entered(
        &self,
        session: &Session,
        remote: &Remote,
        email: &str,
        changed: &Changed,
    ) -> Result<Outcome, Fault> {
        // A contact by now, who is set to be in it at the end of a replacement.
        if gathered::is_replacing(remote) && self.create_contacts && !changed.complains(email) {
            return Ok(Outcome::Delivered);
        }
        Ok(match self.standing(session, &Segment::of(remote)?, email).await? {
            Standing::Inside => Outcome::Delivered,
            Standing::Outside => Outcome::Rejected { reason: changed.reason(email, IGNORED) },
            Standing::Unclear => unclear(),
        })
    }

    /// Whether a contact is in the segment, asked of the contact itself.
    async fn standing(
        &self,
        session: &Session,
        segment: &Segment,
        email: &str,
    ) -> Result<Standing, Fault> {
        let id = contact_id(email);
        let mut request = self.audience.get(&["members", &id]).reading(replies::of_contact);
        request.url.query_pairs_mut().append_pair("fields", "id,tags_count,tags");
        Standing::read(&session.send(request).await?, &id, segment.id)
    }
}
