//! SendGrid: marketing contacts with custom fields, one per email.
//!
//! Every write is an import that SendGrid works off by itself: a batch is submitted, its job is asked
//! after, and only what the job says is believed. Fields are addressed by ids that are asked for once
//! and remembered for as long as the process runs.
//!
//! What it never does: it sends no mail, puts nobody on a list and touches no suppression.

mod fields;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize, Serializer};

use super::attributes::attributes;
use super::sendgrid_api::{
    API_KEY, Api, ERRORS_HOST, FIRST_POLL, MARKETING, MOST_CONTACTS, NEXT_POLL, REGION, Region,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Job, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Settlement,
    Spec, Target, progress,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::Message;
use crate::record::{Call, Value};
use fields::{Dates, Known, STANDARD, Written, field_name};

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of SendGrid.
pub static SPEC: Spec = Spec {
    kind: "sendgrid",
    title: "SendGrid",
    summary: "Keeps custom fields of SendGrid's marketing contacts.",
    calls: &[Call::Identify],
    grain: Grain::Email,
    identifiers: "email",
    receipts: Receipts::Counts,
    profile: &["first_name", "last_name"],
    // Of the specification; what all calls to the marketing API share is lower.
    quotas: &[Quota::per_second(100)],
    endpoints: &[MARKETING],
    // 6 MB per request; a contact is written shorter than its message, nested values excepted.
    batch: BatchLimits {
        rows: 10_000,
        max_rows: MOST_CONTACTS,
        bytes: 5_000_000,
        row_bytes: 1_000_000,
    },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.sendgrid]
type = "sendgrid"
api_key = "${SENDGRID_API_KEY}"
"#,
    notes: &[
        "Contacts are imported asynchronously: a batch is settled when SendGrid says that its import is done.",
        "Custom fields that are missing are created when a sync begins, unless `create_fields = false`; an account has at most 500.",
        "SendGrid has no booleans: an audience is a Text field with `true` or `false`, or 1 and 0 where the field is a Number.",
        "Traits called city, country, first_name and so on are written to the contact's own fields.",
        "SendGrid updates a contact only if all identifiers it has are given; only the email is sent, so contacts that also have an external or phone id may be refused.",
        "A NULL is sent as null, and as an empty text to a contact's own fields; that this clears the field is uncertain.",
        "Dates are written as `MM/DD/YYYY`; `dates = \"iso\"` writes them as ISO 8601 (which one SendGrid reads is uncertain).",
        "Contacts that an import could not use are named in a file on a host of SendGrid's choosing: unless `errors_host` names it and the file names them all, nobody knows which they are, and the contacts of that import are sent again by the next run.",
        "The layout of that file is uncertain: a line with the email of a contact rejects that contact.",
        "An email that SendGrid finds invalid makes it refuse a whole request, which is halved until the contact stands alone.",
        "SendGrid publishes no numbers for its rate limit; requests are held to 3 per second, each with up to 10,000 contacts, and its headers are heeded.",
        "A field that was just created may take a while to be seen by imports (uncertain).",
        "Whether the EU region holds marketing contacts is uncertain.",
        "SendGrid takes no events for contacts and knows no accounts.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    API_KEY,
    REGION,
    ERRORS_HOST,
    OptionDoc::optional("dates", "how dates are written: \"us\" (default) or \"iso\""),
    OptionDoc::optional(
        "create_fields",
        "whether custom fields that are missing are created; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    #[serde(default)]
    region: Region,
    errors_host: Option<String>,
    #[serde(default)]
    dates: Dates,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
}

/// One account.
#[derive(Debug)]
struct SendGrid {
    api: Api,
    dates: Dates,
    create_fields: bool,
    known: Mutex<Option<Arc<Known>>>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, region, errors_host, dates, create_fields } = reader.own()?;
    let secrets = vec![api_key.clone()];
    let api = Api::new(common.base_url.as_ref(), region, api_key, errors_host)
        .map_err(|fact| vec![reader.refuse("region", &fact)])?;
    let sendgrid = SendGrid { api, dates, create_fields, known: Mutex::default() };
    Ok(Built::new(Arc::new(sendgrid), secrets))
}

/// The body of an import.
#[derive(Serialize)]
struct Contacts<'a> {
    contacts: Vec<Contact<'a>>,
}

#[derive(Serialize)]
struct Contact<'a> {
    email: &'a str,
    #[serde(flatten)]
    standard: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "as_map")]
    custom_fields: Vec<(&'a str, Written<'a>)>,
}

fn as_map<S: Serializer>(fields: &[(&str, Written<'_>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(id, value)| (id, value)))
}

impl SendGrid {
    /// The fields of the account, asked for once.
    async fn known(&self, session: &Session) -> Result<Arc<Known>, Fault> {
        let remembered = self.remembered().clone();
        if let Some(known) = remembered {
            return Ok(known);
        }
        let known = Arc::new(Known::load(&self.api, session).await?);
        *self.remembered() = Some(Arc::clone(&known));
        Ok(known)
    }

    fn remembered(&self) -> MutexGuard<'_, Option<Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contact<'a>(&self, message: &'a Message, known: &'a Known) -> Result<Contact<'a>, Fault> {
        let email = message.email().ok_or_else(|| rejected("a contact without an email".into()))?;
        let mut contact = Contact { email, standard: BTreeMap::new(), custom_fields: Vec::new() };
        // A name that profiles do not know takes none away.
        let is_said = |(name, value): &(&str, Value<'_>)| {
            !value.is_null() || message.traits().any(|(own, _)| own == *name)
        };
        for (name, value) in attributes(message).filter(is_said) {
            let name = field_name(name);
            if let Some(standard) = STANDARD.iter().find(|standard| **standard == name) {
                contact.standard.insert(standard, value.to_string());
                continue;
            }
            let field = known.get(&name).ok_or_else(|| {
                let reason = format!("SendGrid has no custom field `{name}`");
                Fault::Misconfigured { reason }
            })?;
            let written = fields::write(value, field.field_type, self.dates)
                .ok_or_else(|| rejected(format!("the field `{name}` cannot hold this value")))?;
            contact.custom_fields.push((field.id.as_str(), written));
        }
        Ok(contact)
    }
}

fn rejected(reason: String) -> Fault {
    Fault::Rejected { reason }
}

#[async_trait]
impl Destination for SendGrid {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        Known::load(&self.api, session).await.map(drop)
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        let mut known = Known::clone(&*self.known(session).await?);
        let lacking = known.lacks(target)?;
        if !lacking.is_empty() && !self.create_fields {
            return Err(fields::missing(&lacking));
        }
        for field in &lacking {
            known.create(&self.api, session, field).await?;
            *self.remembered() = Some(Arc::new(known.clone()));
        }
        Ok(Remote::default())
    }

    fn field_name(&self, name: &str) -> String {
        field_name(name)
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        fields::objections(target)
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let known = self.known(session).await?;
        let messages = batch.messages().iter();
        let contacts: Vec<_> =
            messages.map(|message| self.contact(message, &known)).collect::<Result<_, Fault>>()?;
        let emails: Vec<_> = contacts.iter().map(|contact| contact.email).collect();
        let body = serde_json::to_vec(&Contacts { contacts })
            .map_err(|error| rejected(format!("a value cannot be encoded: {error}")))?;
        let import = self.api.import(session, body.into(), &emails).await?;
        progress::job(&import, FIRST_POLL).map(Delivery::Submitted)
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let import = progress::kept(job)?;
        self.api.imported(session, &import).await?.settled(rows, NEXT_POLL)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
