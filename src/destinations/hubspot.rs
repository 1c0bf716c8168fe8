//! HubSpot: properties of contacts and companies, in batches of the CRM API.
//!
//! A contact is an email unless the project names a property of unique values that holds the user id.
//! HubSpot does not write some properties of a contact by its email and leave the others alone: so
//! emails are looked up first, known contacts are updated by HubSpot's own id, and only unknown ones
//! created. A company is always told apart by a property of unique values. Events are taken by email.

mod events;
mod properties;
#[cfg(test)]
mod tests;
mod writes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;

use self::properties::{Kind, Wanted, property_name};
use self::writes::Write;
use super::hubspot_api::replies::{self, Sent};
use super::hubspot_api::{
    ACCESS_TOKEN, API_VERSION, Api, BATCH, CLIENT_ID, CLIENT_SECRET, Credentials, QUOTAS,
    REFRESH_TOKEN,
};
use super::portions::{Portion, Portions, Room, Verdict};
use super::{
    Batch, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS, Idempotency,
    Maturity, OptionDoc, Reader, Receipt, Remote, Secret, Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of HubSpot.
pub static SPEC: Spec = Spec {
    kind: "hubspot",
    title: "HubSpot",
    summary: "Writes properties of contacts and companies, and custom events, to a HubSpot account.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Email,
    identifiers: "email; or the user id in a property of unique values; accounts by such a property of companies",
    quotas: QUOTAS,
    batch: BATCH,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.hubspot]
type = "hubspot"
access_token = "${HUBSPOT_ACCESS_TOKEN}"
company_id_property = "external_account_id"
event_prefix = "pe1234567_"
"#,
    notes: &[
        "By email, a batch of up to 100 contacts takes up to three requests: one that looks them up, one that updates those found by HubSpot's id, one that creates the others.",
        "A contact is found by its secondary addresses too; somebody whom HubSpot knows by two of the emails is written twice.",
        "`contact_id_property` saves the look-up and makes a contact of every user; where the preferred email belongs to another contact, HubSpot refuses the row: set `send_email = false` there.",
        "Properties that are missing are created in the groups `contactinformation` and `companyinformation`; a property of unique values cannot be made of an existing one, and an account has at most ten per kind of record.",
        "Names become lower case, and everything but letters, digits and underscores an underscore; that more than 100 letters are too many is uncertain.",
        "A NULL is sent as an empty text, which clears the property; booleans go into a checkbox with the values `true` and `false`, lists and structures travel as JSON text.",
        "`lifecyclestage` only moves forward in HubSpot.",
        "Custom events need an Enterprise plan; each event (`audience_entered`, `audience_exited`, `trait_computed`) and each of its properties must be defined in HubSpot beforehand, and what HubSpot does with a property that is not is uncertain.",
        "Events name the contact by email, with whichever identifier the contacts are written; whether HubSpot creates a contact for an email that it does not know is uncertain, and a user without an email is refused.",
        "HubSpot takes a batch of events as a whole and names no refused ones; an event is dropped when its id was seen within a year.",
        "New contacts are not marketing contacts unless the account makes them so; Muster never sets it.",
        "Plans allow 100 or 190 requests in ten seconds and a number per day; when the day's are used up, nothing more is sent in that run.",
        "Other destinations of the same account count against the same limits: where they run together, lower the `rate_limit` of each.",
        "How large a request may be is uncertain; requests are kept below 3 MB.",
        "The needed scopes are `crm.objects.contacts.read` and `.write`, `crm.objects.companies.write` for accounts, `crm.schemas.contacts.write` (`.companies.write`) to create properties, and `analytics.behavioral_events.send` for events.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    API_VERSION,
    OptionDoc::optional(
        "contact_id_property",
        "property of unique values that holds the user id; default: contacts are told apart by email",
    ),
    OptionDoc::optional(
        "company_id_property",
        "property of unique values that holds the account id, for account-level models",
    ),
    OptionDoc::optional(
        "send_email",
        "with `contact_id_property`: whether the preferred email is written too; default true",
    ),
    OptionDoc::optional(
        "event_prefix",
        "what HubSpot puts before the names of this account's events, such as \"pe1234567_\"",
    ),
    OptionDoc::optional(
        "create_fields",
        "whether properties that are missing are created; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    access_token: Option<Secret>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    api_version: Option<String>,
    contact_id_property: Option<String>,
    company_id_property: Option<String>,
    send_email: Option<bool>,
    event_prefix: Option<String>,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
}

/// How one account is written to.
#[derive(Debug)]
struct HubSpot {
    api: Api,
    contact_id: Option<String>,
    company_id: Option<String>,
    send_email: bool,
    event_prefix: Option<String>,
    create_fields: bool,
    /// Contacts that turned out to be there when they were to be created, by email.
    learned: Mutex<HashMap<String, String>>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    options.verify(reader)?;
    let Options { access_token, client_id, client_secret, refresh_token, .. } = options;
    let credentials = Credentials { access_token, client_id, client_secret, refresh_token };
    let secrets = credentials.secrets();
    let grain = match options.contact_id_property {
        Some(_) => Grain::Subject,
        None => Grain::Email,
    };
    let destination = HubSpot {
        api: Api::of(reader, common, options.api_version, credentials)?,
        contact_id: options.contact_id_property,
        company_id: options.company_id_property,
        send_email: options.send_email.unwrap_or(true),
        event_prefix: options.event_prefix,
        create_fields: options.create_fields,
        learned: Mutex::default(),
    };
    Ok(Built::new(Arc::new(destination), secrets).by(grain))
}

impl Options {
    fn verify(&self, reader: &Reader<'_>) -> Result<(), Vec<Finding>> {
        if self.send_email.is_some() && self.contact_id_property.is_none() {
            let fact = "has no meaning without `contact_id_property`: the email is the identifier";
            return Err(vec![reader.refuse("send_email", fact)]);
        }
        for (option, name) in [
            ("contact_id_property", &self.contact_id_property),
            ("company_id_property", &self.company_id_property),
        ] {
            if name.as_deref().is_some_and(|name| property_name(name) != name) {
                let fact = "is not the internal name of a property: lower case, digits and \
                            underscores, beginning with a letter";
                return Err(vec![reader.refuse(option, fact)]);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Destination for HubSpot {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.api.verify(session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if target.call == Call::Track {
            return Ok(Remote::default());
        }
        let kind = kind(target.call);
        let identifier = self.identifier(kind).map(Wanted::identifier);
        let values = target.fields.iter().map(Wanted::value);
        let wanted: Vec<_> = identifier.into_iter().chain(values).collect();
        properties::ensure(&self.api, session, kind, &wanted, self.create_fields).await?;
        Ok(Remote::default())
    }

    fn field_name(&self, name: &str) -> String {
        property_name(name)
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        if target.call == Call::Track {
            return events::objections(&target.fields, self.event_prefix.as_deref());
        }
        let kind = kind(target.call);
        let nameless = (kind == Kind::Company && self.company_id.is_none()).then(|| {
            "accounts need `company_id_property`: the property of HubSpot's companies that holds \
             the account id"
                .to_owned()
        });
        let identifier = self.identifier(kind).unwrap_or("email");
        let objection = |field| properties::objection(field, identifier);
        nameless.into_iter().chain(target.fields.iter().filter_map(objection)).collect()
    }

    fn requests(&self, call: Call, messages: usize) -> usize {
        match call {
            // Read, then update whom there is and create whom there is not.
            Call::Identify if self.contact_id.is_none() => 1 + messages.min(2),
            _ => 1,
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let call = batch.messages()[0].call();
        if call == Call::Track {
            return self.tell(session, batch).await.map(Into::into);
        }
        let kind = kind(call);
        let writes = self.writes(session, kind, batch).await?;
        let mut portions = self.portions(kind, batch, &writes);
        while let Some(portion) = portions.next() {
            let answer = self.send(session, (kind, &portion), (batch, &writes)).await;
            portions.settle(&portion, answer)?;
        }
        Ok(portions.into_receipt(batch).into())
    }
}

const fn kind(call: Call) -> Kind {
    match call {
        Call::Group => Kind::Company,
        Call::Identify | Call::Track | Call::List => Kind::Contact,
    }
}

impl HubSpot {
    /// The property of unique values that tells records apart.
    fn identifier(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Contact => self.contact_id.as_deref(),
            Kind::Company => self.company_id.as_deref(),
        }
    }

    async fn tell(&self, session: &Session, batch: &Batch) -> Result<Receipt, Fault> {
        let room = Room { pieces: events::MOST, bytes: BATCH.bytes, piece_bytes: BATCH.bytes };
        let prefix = self.event_prefix.as_deref();
        let mut portions = Portions::of(batch, room, |message| {
            events::occurrences(message, prefix.ok_or("there is no `event_prefix`")?)
        });
        while let Some(portion) = portions.next() {
            let request = self
                .api
                .events(&["send", "batch"])
                .json_body(portion.body("inputs", ""))
                .reading(events::silent);
            let answer = session.send(request).await.map(|_| Vec::new());
            portions.settle(&portion, answer)?;
        }
        Ok(portions.into_receipt(batch))
    }

    async fn send(
        &self,
        session: &Session,
        (kind, portion): (Kind, &Portion),
        (batch, writes): (&Batch, &[Write]),
    ) -> Result<Vec<Verdict>, Fault> {
        let path = [kind.objects(), "batch", portion.step()];
        let request = self
            .api
            .request(Method::POST, "objects", &path)
            .json_body(portion.body("inputs", ""))
            .reading(replies::readable);
        let response = session.send(request).await?;
        let row = |position: usize| {
            let id = match &writes[position] {
                Write::Update { id, .. } => Some(id.as_str()),
                Write::Create | Write::Upsert => None,
            };
            (position.to_string(), id)
        };
        let sent = Sent {
            rows: portion.messages().map(row).collect(),
            adopts: portion.step() == "create",
        };
        let reading = replies::read(&response, &sent)?;
        let mut learned = self.learned();
        for (row, id) in reading.found {
            let position = portion.messages().nth(row);
            let email = position.and_then(|position| batch.messages()[position].email());
            learned.extend(email.map(|email| (email.to_owned(), id)));
        }
        Ok(reading.verdicts)
    }

    /// Takes what was learned of these emails; it is good for one try.
    fn recall(&self, emails: &[&str]) -> HashMap<String, String> {
        let mut learned = self.learned();
        emails.iter().filter_map(|email| learned.remove_entry(*email)).collect()
    }

    fn learned(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
