//! Intercom: contacts and companies with custom attributes, and data events.
//!
//! There is no bulk call, and none that creates or updates a contact by our own id: a contact is
//! looked for first, then updated or created. The search lags behind by minutes, so ids that were
//! seen once are remembered for as long as the process runs.
//!
//! What it never does: it touches no subscription to emails, and it never takes over a contact that
//! belongs to somebody else's `external_id`.

mod attributes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::intercom_api::{
    ACCESS_TOKEN, API_VERSION, Api, Contact, REGION, Region, about_one, conflicting_id, is_success,
};
use super::{
    Batch, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS, Idempotency,
    Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret, Spec, Target,
};
use crate::delivery::{Response, Session};
use crate::finding::Finding;
use crate::message::{Event, Message};
use crate::record::{Call, Value};
use attributes::{Attributes, attribute_name, in_seconds};

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Intercom.
pub static SPEC: Spec = Spec {
    kind: "intercom",
    title: "Intercom",
    summary: "Keeps custom attributes of Intercom's contacts and companies, and records data events.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Subject,
    identifiers: "user id as external_id of a contact with the role user; account id as company_id",
    profile: &["name"],
    // Of the specification; an app may make about 166 calls per second today.
    quotas: &[Quota::per_second(8)],
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.intercom]
type = "intercom"
access_token = "${INTERCOM_ACCESS_TOKEN}"
region = "us"
"#,
    notes: &[
        "An identify takes two requests: Intercom has no call that updates a contact by our own id.",
        "Attributes that are missing are declared when a sync begins, unless `create_fields = false`; Intercom never changes the type of one.",
        "A contact that does not exist is created, with the role `user` and without touching its subscription.",
        "Contacts are only matched by `external_id`: one that only has the same email is left alone.",
        "An event for a user whom Intercom does not know is rejected; send an identify first.",
        "Intercom drops an event with the name and second of another one of the same contact: events are dated up to an hour before the run, by their id, so that those of one run stay apart.",
        "Intercom keeps the first ten keys of an event's metadata (its help pages say twenty); NULL is left out there, nested values are sent as JSON text.",
        "A `null` clears an attribute (uncertain); dates and timestamps are sent in seconds since 1970.",
        "Users are not attached to companies, and Intercom hides companies that nobody is attached to.",
        "A rate of 8 requests per second is far below what Intercom grants an app today (about 166): raise `rate_limit` where that is too slow.",
        "Caps on the number of attributes (250) and the length of values (255) are uncertain and left to Intercom.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    ACCESS_TOKEN,
    REGION,
    API_VERSION,
    OptionDoc::optional(
        "create_fields",
        "whether attributes that are missing are declared; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    access_token: Secret,
    #[serde(default)]
    region: Region,
    api_version: Option<String>,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
}

/// One workspace.
#[derive(Debug)]
struct Intercom {
    api: Api,
    create_fields: bool,
    /// Intercom's ids of contacts, by external id.
    known: Mutex<HashMap<String, String>>,
}

/// Ids remembered at most: about 10 MB.
const MOST_KNOWN: usize = 100_000;
/// Events of one run lie within this many seconds.
const SPREAD: i64 = 3600;

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { access_token, region, api_version, create_fields } = reader.own()?;
    let secrets = vec![access_token.clone()];
    let api = Api::new(common.base_url.as_ref(), region, access_token, api_version)
        .map_err(|fact| vec![reader.refuse("region", &fact)])?;
    Ok(Built::new(Arc::new(Intercom { api, create_fields, known: Mutex::default() }), secrets))
}

/// A contact on its way out. Intercom refuses `null` for what it has no value of: left out.
#[derive(Serialize)]
struct ContactBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    custom_attributes: Attributes<'a>,
}

impl<'a> ContactBody<'a> {
    fn of(message: &'a Message) -> Self {
        let name = message.profile().find_map(|(column, value)| match value {
            Value::Text(name) if column == "name" => Some(name),
            _ => None,
        });
        Self {
            role: None,
            external_id: None,
            email: message.email(),
            name,
            custom_attributes: Attributes::of(message),
        }
    }

    fn new_user(self, subject: &'a str) -> Self {
        Self { role: Some("user"), external_id: Some(subject), ..self }
    }
}

impl Intercom {
    async fn identify(&self, session: &Session, message: &Message) -> Result<Outcome, Fault> {
        let subject = message.subject();
        let remembered = self.known().get(subject).cloned();
        let found = if remembered.is_some() {
            remembered
        } else {
            let found = self.api.contact_with(session, "external_id", subject).await?;
            found.map(|contact| contact.id)
        };
        match found {
            Some(id) => self.update(session, message, &id).await,
            None => self.create(session, message).await,
        }
    }

    async fn update(
        &self,
        session: &Session,
        message: &Message,
        id: &str,
    ) -> Result<Outcome, Fault> {
        let body = ContactBody::of(message);
        let request = self.api.write(Method::PUT, &["contacts", id], &body)?.reading(about_one);
        let response = session.send(request).await?;
        if is_success(&response) {
            return self.keep(message, &response);
        }
        if response.status == 409 {
            return Ok(rejected(&response));
        }
        // Archived or merged since it was found.
        self.known().remove(message.subject());
        Ok(Outcome::Retry { after: None, reason: response.reason() })
    }

    async fn create(&self, session: &Session, message: &Message) -> Result<Outcome, Fault> {
        let body = ContactBody::of(message).new_user(message.subject());
        let request = self.api.write(Method::POST, &["contacts"], &body)?.reading(about_one);
        let response = session.send(request).await?;
        if is_success(&response) {
            return self.keep(message, &response);
        }
        if response.status != 409 {
            return Ok(rejected(&response));
        }
        let Some(id) = conflicting_id(&response) else {
            return Ok(Outcome::Retry { after: None, reason: response.reason() });
        };
        self.settle_conflict(session, message, &id).await
    }

    /// A contact is there that the search does not show yet: it is updated if it is really ours.
    async fn settle_conflict(
        &self,
        session: &Session,
        message: &Message,
        id: &str,
    ) -> Result<Outcome, Fault> {
        match self.api.contact(session, id).await? {
            Some(contact) if contact.external_id.as_deref() == Some(message.subject()) => {
                self.update(session, message, &contact.id).await
            }
            Some(_) => Ok(Outcome::Rejected {
                reason: format!(
                    "contact `{id}` stands in the way: it matches but has another `external_id`; \
                     merge it in Intercom or give it this one"
                ),
            }),
            None => {
                let reason = format!("contact `{id}` stands in the way but is not there any more");
                Ok(Outcome::Retry { after: None, reason })
            }
        }
    }

    /// Remembers the contact that a reply holds.
    fn keep(&self, message: &Message, response: &Response) -> Result<Outcome, Fault> {
        let contact: Contact = response.json()?;
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(message.subject().to_owned(), contact.id);
        Ok(Outcome::Delivered)
    }

    async fn track(&self, session: &Session, message: &Message) -> Result<Outcome, Fault> {
        for event in message.events() {
            let body = json!({
                "event_name": event.name,
                "created_at": moment(message, &event)?,
                "user_id": message.subject(),
                "metadata": metadata(event)?,
            });
            let request = self.api.write(Method::POST, &["events"], &body)?.reading(about_one);
            let response = session.send(request).await?;
            if !is_success(&response) {
                return Ok(rejected(&response));
            }
            if !response.body.trim_ascii().is_empty() {
                let reason = format!("{} where nothing was expected", response.reason());
                return Err(Fault::Protocol { reason });
            }
        }
        Ok(Outcome::Delivered)
    }

    async fn group(&self, session: &Session, message: &Message) -> Result<Outcome, Fault> {
        #[derive(Serialize)]
        struct CompanyBody<'a> {
            company_id: &'a str,
            custom_attributes: Attributes<'a>,
        }
        #[derive(Deserialize)]
        struct Company {
            company_id: String,
        }
        let body = CompanyBody {
            company_id: message.subject(),
            custom_attributes: Attributes::of(message),
        };
        let request = self.api.write(Method::POST, &["companies"], &body)?;
        let company: Company = session.send(request).await?.json()?;
        if company.company_id == message.subject() {
            return Ok(Outcome::Delivered);
        }
        Err(Fault::Protocol { reason: "the reply is about another company".into() })
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When an event happened. Intercom takes two events of one contact for the same when they share name
/// and second, so each is set back by a number of seconds that its own id decides: always the same one.
fn moment(message: &Message, event: &Event<'_>) -> Result<i64, Fault> {
    let unreadable = |reason: String| Fault::Rejected { reason };
    let at = chrono::DateTime::parse_from_rfc3339(message.timestamp())
        .map_err(|error| unreadable(format!("the time of the run is unreadable: {error}")))?;
    let id = event.id.to_string();
    let number = id.get(..8).and_then(|digits| i64::from_str_radix(digits, 16).ok());
    Ok(at.timestamp() - number.unwrap_or_default() % SPREAD)
}

/// Flat: what Intercom knows no type for travels as text, what has no value not at all.
fn metadata(event: Event<'_>) -> Result<Map<String, Json>, Fault> {
    let mut metadata = Map::new();
    for (name, value) in event.properties {
        let value = match value {
            Value::Json(text) => Json::String(text),
            Value::Date(_) | Value::Timestamp(_) if name.ends_with("_date") => {
                encoded(&in_seconds(value))?
            }
            other => encoded(&other)?,
        };
        if !value.is_null() {
            metadata.insert(attribute_name(name), value);
        }
    }
    Ok(metadata)
}

fn encoded(value: &Value<'_>) -> Result<Json, Fault> {
    serde_json::to_value(value)
        .map_err(|error| Fault::Rejected { reason: format!("a value cannot be encoded: {error}") })
}

fn rejected(response: &Response) -> Outcome {
    Outcome::Rejected { reason: response.reason() }
}

#[async_trait]
impl Destination for Intercom {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.api.admin(session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        attributes::ensure(&self.api, session, target, self.create_fields).await?;
        Ok(Remote::default())
    }

    fn field_name(&self, name: &str) -> String {
        attribute_name(name)
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        attributes::objections(target)
    }

    fn requests(&self, call: Call, messages: usize) -> usize {
        match call {
            // Looked up once, then written.
            Call::Identify => 2 * messages,
            _ => messages,
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let mut receipt: Receipt = batch.delivered();
        for (position, message) in batch.messages().iter().enumerate() {
            let outcome = match message.call() {
                Call::Track => self.track(session, message).await?,
                Call::Group => self.group(session, message).await?,
                Call::Identify | Call::List => self.identify(session, message).await?,
            };
            // Every position is one of the batch's own.
            let _ = receipt.set(position, outcome);
        }
        Ok(receipt.into())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
