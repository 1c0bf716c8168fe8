//! SendGrid's contact lists: members are imported onto a list, and taken off it by the ids of their
//! contacts.
//!
//! Both are jobs that SendGrid works off by itself, so a batch is a handful of jobs that are asked
//! after together. Those who leave come first, so that a refused import, which is halved, takes nobody
//! off twice.
//!
//! What it never does: it deletes no contact, creates none to take it off a list, and touches no
//! suppression.

mod leaving;
mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::membership::{self, List, Member, Parted};
use super::sendgrid_api::{
    API_KEY, Api, ERRORS_HOST, FIRST_POLL, Import, MARKETING, MOST_CONTACTS, NEXT_POLL, REGION,
    Region,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, Job, MatchField, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Receipts,
    Remote, Secret, Settlement, Spec, Target, normalise, progress,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::Message;
use crate::record::Value;
use progress::Progress;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EMAIL: MatchField = MatchField { source: "email", normalise: normalise::plain_email };

/// What is known of SendGrid's lists.
pub static SPEC: Spec = Spec {
    kind: "sendgrid_lists",
    title: "SendGrid Lists",
    summary: "Adds contacts to a SendGrid list and takes them off it.",
    identifiers: "email",
    match_fields: &[EMAIL],
    receipts: Receipts::Counts,
    profile: &["first_name", "last_name"],
    quotas: &[Quota::per_second(100)],
    endpoints: &[MARKETING],
    batch: BatchLimits {
        rows: 5_000,
        max_rows: MOST_CONTACTS,
        bytes: 5_000_000,
        row_bytes: 1_000_000,
    },
    concurrency: 2,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.sendgrid_lists]
type = "sendgrid_lists"
api_key = "${SENDGRID_API_KEY}"
"#,
    notes: &[
        "A list is found by the id or name in the sync's `list`, else by the model's name, and created where there is none.",
        "Members become contacts if they are none, with first and last name where profiles know them; contacts are billed, and leaving a list deletes none.",
        "Adding somebody to a list may start an automation that mails them.",
        "SendGrid updates a contact only if all identifiers it has are given; only the email is sent, so contacts that also have an external or phone id may be refused.",
        "Members that an import could not use are named in a file on a host of SendGrid's choosing: unless `errors_host` names it and the file names them all, nobody knows which they are, and the members of that import are sent again by the next run.",
        "An email that SendGrid finds invalid makes it refuse a whole request, which is halved until the contact stands alone.",
        "Who leaves is looked up by email, 100 at a time; who is not found, or not on the list, counts as taken off. SendGrid's search lags behind by minutes, so somebody who leaves right after entering may be missed: keep `every` at an hour or more.",
        "Taking off a list is accepted at once and worked off later; that its job can be asked after is uncertain, and one that SendGrid does not know counts as done.",
        "SendGrid publishes no numbers for its rate limit; requests are held to 3 per second, and its headers are heeded.",
        "Whether the EU region holds marketing contacts is uncertain.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[API_KEY, REGION, ERRORS_HOST];

const LONGEST_NAME: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    #[serde(default)]
    region: Region,
    errors_host: Option<String>,
}

/// The lists of one account.
#[derive(Debug)]
struct Lists {
    api: Api,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, region, errors_host } = reader.own()?;
    let secrets = vec![api_key.clone()];
    let api = Api::new(common.base_url.as_ref(), region, api_key, errors_host)
        .map_err(|fact| vec![reader.refuse("region", &fact)])?;
    Ok(Built::new(Arc::new(Lists { api }), secrets))
}

/// What is kept of the jobs of one batch. A member of none of them was taken off already.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Work {
    #[serde(skip_serializing_if = "Option::is_none")]
    entering: Option<Entering>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leaving: Vec<Leaving>,
    /// Who could not be taken off this time, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    kept: BTreeMap<usize, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entering {
    import: Import,
    /// In the batch, of the import's contacts.
    positions: Vec<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Leaving {
    job: String,
    positions: Vec<usize>,
}

/// The body of an import.
#[derive(Serialize)]
struct Contacts<'a> {
    list_ids: [&'a str; 1],
    contacts: Vec<Contact<'a>>,
}

#[derive(Serialize)]
struct Contact<'a> {
    email: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<String>,
}

impl<'a> Contact<'a> {
    fn of(message: &'a Message) -> Result<Self, Fault> {
        let said = |name| {
            let found = message.profile().find(|(column, _)| *column == name);
            found.map(|(_, value)| value).filter(|value| *value != Value::Null)
        };
        let text = |name| said(name).map(|value| value.to_string());
        let (first_name, last_name) = (text("first_name"), text("last_name"));
        Ok(Self { email: email(message)?, first_name, last_name })
    }
}

fn email(message: &Message) -> Result<&str, Fault> {
    let rejected = || Fault::Rejected { reason: "a member without an email".into() };
    EMAIL.of(message).ok_or_else(rejected)
}

#[async_trait]
impl Destination for Lists {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        remote::first_page(&self.api, session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        match &target.remote {
            Some(remote) => Ok(remote.clone()),
            None => remote::opened(&self.api, session, target).await.map(List::into_remote),
        }
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let name = membership::name(target);
        let is_long = name.chars().count() > LONGEST_NAME;
        let objection =
            || format!("`{name}` is longer than the {LONGEST_NAME} letters of a list's name");
        is_long.then(objection).into_iter().collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let Parted { entering, leaving } = Parted::of(batch);
        let mut work = Work::default();
        leaving::taken_off(&self.api, session, &list, &leaving, &mut work).await?;
        work.entering = self.put_on(session, &list, &entering).await?;
        if work.entering.is_none() && work.leaving.is_empty() {
            return work.receipt(batch.len(), Vec::new()).map(Delivery::Settled);
        }
        progress::job(&work, FIRST_POLL).map(Delivery::Submitted)
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let work: Work = progress::kept(job)?;
        let mut known = Vec::new();
        for Leaving { job, positions } in &work.leaving {
            let Some(outcome) = self.api.taken_off(session, job).await? else {
                return Ok(Settlement::Running { poll_after: NEXT_POLL });
            };
            known.extend(positions.iter().map(|position| (*position, outcome.clone())));
        }
        if let Some(Entering { import, positions }) = &work.entering {
            match self.api.imported(session, import).await? {
                Progress::Running => return Ok(Settlement::Running { poll_after: NEXT_POLL }),
                Progress::Done(outcomes) => known.extend(positions.iter().copied().zip(outcomes)),
            }
        }
        work.receipt(rows, known).map(Settlement::Done)
    }
}

impl Lists {
    /// Imports members onto the list.
    async fn put_on(
        &self,
        session: &Session,
        list: &List,
        entering: &[Member<'_>],
    ) -> Result<Option<Entering>, Fault> {
        if entering.is_empty() {
            return Ok(None);
        }
        let contacts: Vec<_> = entering
            .iter()
            .map(|member| Contact::of(member.message))
            .collect::<Result<_, Fault>>()?;
        let emails: Vec<_> = contacts.iter().map(|contact| contact.email).collect();
        let body =
            serde_json::to_vec(&Contacts { list_ids: [&list.id], contacts }).map_err(|error| {
                Fault::Rejected { reason: format!("it cannot be encoded: {error}") }
            })?;
        let import = self.api.import(session, body.into(), &emails).await?;
        let positions = entering.iter().map(|member| member.position).collect();
        Ok(Some(Entering { import, positions }))
    }
}

impl Work {
    /// One outcome per message of the batch.
    fn receipt(self, rows: usize, known: Vec<(usize, Outcome)>) -> Result<Receipt, Fault> {
        let mut receipt = Receipt::of(rows, &Outcome::Delivered);
        let kept = self.kept.into_iter();
        let kept =
            kept.map(|(position, reason)| (position, Outcome::Retry { after: None, reason }));
        for (position, outcome) in known.into_iter().chain(kept) {
            if !receipt.set(position, outcome) {
                return Err(Fault::Protocol { reason: "a job about a member of no batch".into() });
            }
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
