//! Mailchimp: merge fields of an audience's contacts, and events about them.
//!
//! One request per contact: the call for many would set the status of contacts that are there
//! already, and so subscribe people who have left. A contact that is new is `transactional`, which is
//! Mailchimp's word for "gets no campaigns"; the status of one that is there is never touched.
//! Mailchimp counts connections, not requests per second.

mod fields;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::{Deserialize, Serialize};

use super::mailchimp_api::{
    API_KEY, AUDIENCE_ID, Audience, CONNECTIONS, SERVER, answered, contact_id, is_problem,
};
use super::{
    Batch, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS, Idempotency,
    Maturity, OptionDoc, Outcome, Quota, Reader, Remote, Secret, Spec, Target,
};
use crate::delivery::{Response, Session};
use crate::finding::Finding;
use crate::message::{Event, Message};
use crate::record::Call;
use fields::{MergeFields, Tags};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Mailchimp.
pub static SPEC: Spec = Spec {
    kind: "mailchimp",
    title: "Mailchimp",
    summary: "Keeps merge fields of a Mailchimp audience's contacts, and records events about them.",
    calls: &[Call::Identify, Call::Track],
    grain: Grain::Email,
    identifiers: "email",
    // Of the specification; Mailchimp itself only counts connections.
    quotas: &[Quota::per_second(10)],
    concurrency: CONNECTIONS,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.mailchimp]
type = "mailchimp"
api_key = "${MAILCHIMP_API_KEY}"
server = "us20"
audience_id = "a1b2c3d4e5"
"#,
    notes: &[
        "Mailchimp has no accounts: account-level models are refused.",
        "A contact that is new gets the status `transactional`: it receives no campaigns, and counts as a contact of the plan; the status of one that is there is never changed.",
        "A merge tag holds ten characters: `ltv_90d` becomes `LTV90D`, longer names are cut off, and two that become one are told by `check`; the option `tags` says otherwise.",
        "Merge fields that are missing are created, hidden from forms, unless `create_fields = false`; a plan holds 30 of them, or 80 (uncertain).",
        "Mailchimp has no type for yes and no: booleans are the texts `true` and `false`.",
        "Dates are sent as `2026-11-20`; of a timestamp only its day in UTC, since Mailchimp knows no time of day.",
        "NULL is sent as an empty text, which clears a merge field.",
        "Whether a value may be longer than 255 bytes is uncertain and left to Mailchimp.",
        "Events start no automations, unless `start_automations = true`; their properties are texts, NULL is left out.",
        "An event of somebody who is no contact of the audience is rejected; send an identify first.",
        "Mailchimp knows no event twice: one whose reply is lost is left unsettled and may be recorded again by the next run.",
        "Mailchimp allows ten connections at a time to all tools of an account together; give others room with `concurrency`.",
        "Only API keys are taken, not tokens of OAuth.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    API_KEY,
    AUDIENCE_ID,
    SERVER,
    OptionDoc::optional(
        "tags",
        "merge tags of single traits and audiences, as in { first_time_shopper = \"FIRSTSHOP\" }",
    ),
    OptionDoc::optional(
        "create_fields",
        "whether merge fields that are missing are created; default true",
    ),
    OptionDoc::optional("start_automations", "whether events start automations; default false"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    audience_id: String,
    server: Option<String>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
    #[serde(default)]
    start_automations: bool,
}

/// How one audience is written to.
#[derive(Debug)]
struct Mailchimp {
    audience: Audience,
    tags: Tags,
    create_fields: bool,
    start_automations: bool,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let secrets = vec![options.api_key.clone()];
    let tags = Tags::new(options.tags).map_err(|fact| vec![reader.refuse("tags", &fact)]);
    let server = options.server.as_deref();
    let audience = Audience::of(reader, common, server, options.api_key, options.audience_id);
    let (tags, audience) = match (tags, audience) {
        (Ok(tags), Ok(audience)) => (tags, audience),
        (tags, audience) => {
            let findings = [tags.err(), audience.err()];
            return Err(findings.into_iter().flatten().flatten().collect());
        }
    };
    let Options { create_fields, start_automations, .. } = options;
    Ok(Built::new(
        Arc::new(Mailchimp { audience, tags, create_fields, start_automations }),
        secrets,
    ))
}

#[async_trait]
impl Destination for Mailchimp {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.audience.exists(session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        let opened = if target.call == Call::Track {
            // Else a missing audience could not be told from a missing contact.
            self.audience.exists(session).await
        } else {
            let wanted = target.fields.iter().map(|field| (self.tags.of(&field.name), field));
            fields::ensure(&self.audience, session, wanted.collect(), self.create_fields).await
        };
        match opened {
            // What follows does not depend on the answer.
            Ok(()) | Err(Fault::Rehearsed) => Ok(Remote::default()),
            Err(fault) => Err(fault),
        }
    }

    fn field_name(&self, name: &str) -> String {
        self.tags.of(name)
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        match target.call {
            Call::Track => Vec::new(),
            _ => target.fields.iter().filter_map(|field| self.tags.objection(field)).collect(),
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let mut receipt = batch.delivered();
        for (position, message) in batch.messages().iter().enumerate() {
            let Some(email) = message.email() else {
                let _ = receipt.set(position, rejected("it has no email".into()));
                continue;
            };
            let outcome = match message.call() {
                Call::Track => self.track(session, message, email).await?,
                _ => self.identify(session, message, email).await?,
            };
            // Every position is one of the batch's own.
            let _ = receipt.set(position, outcome);
        }
        Ok(receipt.into())
    }
}

/// A contact on its way out. There is no `status`: that of a contact which is there stays as it is.
#[derive(Serialize)]
struct Contact<'a> {
    email_address: &'a str,
    status_if_new: &'static str,
    merge_fields: MergeFields<'a>,
}

/// A contact as Mailchimp shows it.
#[derive(Deserialize)]
struct Kept {
    id: String,
    #[serde(default)]
    merge_fields: Option<serde_json::Map<String, serde_json::Value>>,
}

#[derive(Serialize)]
struct Occurrence<'a> {
    name: &'a str,
    properties: BTreeMap<&'a str, String>,
    is_syncing: bool,
    occurred_at: &'a str,
}

impl Mailchimp {
    async fn identify(
        &self,
        session: &Session,
        message: &Message,
        email: &str,
    ) -> Result<Outcome, Fault> {
        let id = contact_id(email);
        let merge_fields = MergeFields::of(message, &self.tags);
        let tags: Vec<String> = merge_fields.tags().map(ToOwned::to_owned).collect();
        let body = Contact { email_address: email, status_if_new: "transactional", merge_fields };
        let mut request = self.audience.write(Method::PUT, &["members", &id], &body)?;
        // A form's required fields are none of ours.
        request.url.query_pairs_mut().append_pair("skip_merge_validation", "true");
        let kept: Kept = session.send(request).await?.json()?;
        if kept.id != id {
            return Err(Fault::Protocol { reason: "the reply is about another contact".into() });
        }
        let known = kept.merge_fields.unwrap_or_default();
        match tags.iter().find(|tag| !known.is_empty() && !known.contains_key(*tag)) {
            Some(tag) => Err(Fault::Misconfigured {
                reason: format!("Mailchimp leaves out `{tag}`: the audience has no such merge tag"),
            }),
            None => Ok(Outcome::Delivered),
        }
    }

    async fn track(
        &self,
        session: &Session,
        message: &Message,
        email: &str,
    ) -> Result<Outcome, Fault> {
        let id = contact_id(email);
        for event in message.events() {
            if !is_event_name(event.name) {
                let reason = "Mailchimp takes names of events of 2 to 30 characters".to_owned();
                return Ok(rejected(reason));
            }
            let body = self.occurrence(message, event);
            let request = self.audience.write(Method::POST, &["members", &id, "events"], &body)?;
            let request = request.repeatable(false).reading(recorded);
            let response = session.send(request).await?;
            if response.status == 404 {
                let reason = format!("no contact of the audience: {}", response.reason());
                return Ok(rejected(reason));
            }
        }
        Ok(Outcome::Delivered)
    }

    fn occurrence<'a>(&self, message: &'a Message, event: Event<'a>) -> Occurrence<'a> {
        let said = event.properties.into_iter().filter(|(_, value)| !value.is_null());
        Occurrence {
            name: event.name,
            properties: said.map(|(name, value)| (name, value.to_string())).collect(),
            is_syncing: !self.start_automations,
            occurred_at: message.timestamp(),
        }
    }
}

fn is_event_name(name: &str) -> bool {
    (2..=30).contains(&name.chars().count())
}

/// Reads the answer to an event: nothing at all, or that there is no such contact.
fn recorded(response: &Response) -> Result<(), Fault> {
    match answered(response) {
        Ok(()) if response.status != 204 => Err(Fault::Protocol { reason: response.reason() }),
        Err(Fault::Misconfigured { .. }) if is_problem(response, 404) => Ok(()),
        other => other,
    }
}

fn rejected(reason: String) -> Outcome {
    Outcome::Rejected { reason }
}
