//! HubSpot: properties of contacts and companies, in batches of the CRM API.
//!
//! A contact is an email unless the project names a property of unique values that holds the user id.
//! HubSpot does not write some properties of a contact by its email and leave the others alone: so
//! emails are looked up first, known contacts are updated by HubSpot's own id, and only unknown ones
//! created. A company is always told apart by a property of unique values.

mod properties;
mod replies;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::Method;
use serde::{Deserialize, Serialize, Serializer};

use self::properties::{Kind, Wanted, property_name};
use self::replies::Sent;
use super::attributes::{email_beside_attributes, written};
use super::hubspot_api::{
    ACCESS_TOKEN, API_VERSION, Api, CLIENT_ID, CLIENT_SECRET, Credentials, REFRESH_TOKEN,
};
use super::portions::{Portion, Portions, Room, Verdict};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::Message;
use crate::record::Call;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of HubSpot.
pub static SPEC: Spec = Spec {
    kind: "hubspot",
    title: "HubSpot",
    summary: "Writes properties of contacts and companies to a HubSpot account.",
    calls: &[Call::Identify, Call::Group],
    grain: Grain::Email,
    identifiers: "email; or the user id in a property of unique values; accounts by such a property of companies",
    quotas: &[Quota::per_second(10), Quota { limit: 100, per: std::time::Duration::from_secs(10) }],
    batch: BatchLimits { rows: 100, max_rows: 100, bytes: BYTES, row_bytes: BYTES },
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.hubspot]
type = "hubspot"
access_token = "${HUBSPOT_ACCESS_TOKEN}"
company_id_property = "external_account_id"
"#,
    notes: &[
        "By email, a batch of up to 100 contacts takes up to three requests: one that looks them up, one that updates those found by HubSpot's id, one that creates the others.",
        "A contact is found by its secondary addresses too; somebody whom HubSpot knows by two of the emails is written twice.",
        "`contact_id_property` saves the look-up and makes a contact of every user; where the preferred email belongs to another contact, HubSpot refuses the row: set `send_email = false` there.",
        "Properties that are missing are created in the groups `contactinformation` and `companyinformation`; a property of unique values cannot be made of an existing one, and an account has at most ten per kind of record.",
        "Names become lower case, and everything but letters, digits and underscores an underscore; that more than 100 letters are too many is uncertain.",
        "A NULL is sent as an empty text, which clears the property; booleans go into a checkbox with the values `true` and `false`, lists and structures travel as JSON text.",
        "`lifecyclestage` only moves forward in HubSpot.",
        "Events are not sent: they exist in the largest plan only, and every event and each of its properties must be defined beforehand.",
        "New contacts are not marketing contacts unless the account makes them so; Muster never sets it.",
        "Plans allow 100 or 190 requests in ten seconds and a number per day; when the day's are used up, nothing more is sent in that run.",
        "How large a request may be is uncertain; requests are kept below 3 MB.",
        "The needed scopes are `crm.objects.contacts.read` and `.write`, `crm.objects.companies.write` for accounts, and `crm.schemas.contacts.write` (`.companies.write`) to create properties.",
    ],
    ..Spec::EVENT
};

/// Nothing is documented; what surrounds the inputs is small.
const BYTES: usize = 3_000_000;

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
    #[serde(default = "yes")]
    create_fields: bool,
}

const fn yes() -> bool {
    true
}

/// How one account is written to.
#[derive(Debug)]
struct HubSpot {
    api: Api,
    contact_id: Option<String>,
    company_id: Option<String>,
    send_email: bool,
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

/// What is to be done about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Write {
    /// The record of that id; of several messages about it, how many go before.
    Update {
        id: String,
        turn: usize,
    },
    Create,
    /// By the property of unique values.
    Upsert,
}

#[async_trait]
impl Destination for HubSpot {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.api.verify(session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
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

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let kind = kind(batch.messages()[0].call());
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

    async fn writes(
        &self,
        session: &Session,
        kind: Kind,
        batch: &Batch,
    ) -> Result<Vec<Write>, Fault> {
        if kind == Kind::Company || self.contact_id.is_some() {
            return Ok(vec![Write::Upsert; batch.len()]);
        }
        let emails: Vec<&str> = batch.messages().iter().filter_map(Message::email).collect();
        let mut known = self.recall(&emails);
        let unknown: Vec<&str> =
            emails.into_iter().filter(|email| !known.contains_key(*email)).collect();
        known.extend(self.api.contacts_by_email(session, &unknown).await?);
        let mut turns = HashMap::new();
        let write = |message: &Message| {
            let Some(id) = message.email().and_then(|email| known.get(email)) else {
                return Write::Create;
            };
            let next = turns.entry(id.clone()).or_insert(0);
            let turn = *next;
            *next += 1;
            Write::Update { id: id.clone(), turn }
        };
        Ok(batch.messages().iter().map(write).collect())
    }

    /// HubSpot refuses a request that names a record twice: each turn is a request of its own.
    fn portions(&self, kind: Kind, batch: &Batch, writes: &[Write]) -> Portions {
        let room = Room { pieces: SPEC.batch.max_rows, bytes: BYTES, piece_bytes: BYTES };
        let turns = writes.iter().filter_map(|write| match write {
            Write::Update { turn, .. } => Some(turn + 1),
            Write::Create | Write::Upsert => None,
        });
        let mut portions = Portions::none(batch);
        let mut step = |step: &'static str, is_due: &dyn Fn(&Write) -> bool| {
            portions.then(step, batch, room, |position, message| {
                let write = &writes[position];
                is_due(write).then(|| self.input(kind, write, (position, message)))
            });
        };
        for now in 0..turns.max().unwrap_or(0) {
            step("update", &|write| matches!(write, Write::Update { turn, .. } if *turn == now));
        }
        step("create", &|write| *write == Write::Create);
        step("upsert", &|write| *write == Write::Upsert);
        portions
    }

    /// The input that a message becomes.
    fn input(
        &self,
        kind: Kind,
        write: &Write,
        (position, message): (usize, &Message),
    ) -> Result<Vec<Vec<u8>>, String> {
        let mut input = Input {
            id: None,
            id_property: None,
            object_write_trace_id: position.to_string(),
            associations: None,
            properties: Properties(properties::values(message)),
        };
        match write {
            Write::Update { id, .. } => input.id = Some(id),
            Write::Create => {
                let email = message.email().ok_or("it has no email")?;
                input.associations = Some([]);
                input.properties.0.push(("email".into(), email.into()));
            }
            Write::Upsert => {
                let missing = "there is no property that tells such records apart";
                input.id = Some(message.subject());
                input.id_property = Some(self.identifier(kind).ok_or(missing)?);
                let email = email_beside_attributes(message).filter(|_| self.send_email);
                input.properties.0.extend(email.map(|email| ("email".into(), email.into())));
            }
        }
        Ok(vec![written(&input)?])
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

/// One record of a request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_property: Option<&'a str>,
    object_write_trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    associations: Option<[(); 0]>,
    properties: Properties,
}

#[derive(Debug)]
struct Properties(Vec<(String, String)>);

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
