//! Salesforce: contacts or leads, and accounts, upserted by a field that is marked as External ID.
//!
//! Up to 200 records travel in one request whose results come back by position. A project that asks
//! for larger batches has them worked off as jobs of the Bulk API 2.0.
//!
//! What it never does: it creates no field, deletes no record and writes no event, since Salesforce
//! has none.

mod bulk;
mod fields;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use http::Method;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::attributes::attributes_beside;
use super::reader::address;
use super::salesforce_api::{
    API_VERSION, CLIENT_ID, CLIENT_SECRET, LOGIN_URL, Login, Org, PRIVATE_KEY, REFRESH_TOKEN,
    USERNAME, outcomes,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, FieldKind, Grain,
    HTTP_OPTIONS, Idempotency, Job, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Settlement,
    Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::Message;
use crate::record::{Call, Level, Value};
use bulk::Upload;
use fields::{Description, Naming, Written};

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Salesforce.
pub static SPEC: Spec = Spec {
    kind: "salesforce",
    title: "Salesforce",
    summary: "Keeps fields of Salesforce's contacts or leads, and accounts, by an external id.",
    calls: &[Call::Identify, Call::Group],
    grain: Grain::Subject,
    identifiers: "user id in a field of contacts or leads, account id in one of accounts, both marked as External ID",
    required: &["last_name"],
    profile: &["first_name"],
    quotas: &[Quota::per_second(5)],
    daily: Some(100_000),
    batch: BatchLimits {
        rows: MOST_AT_ONCE,
        max_rows: 10_000,
        bytes: 8_000_000,
        row_bytes: 500_000,
    },
    concurrency: 8,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.salesforce]
type = "salesforce"
login_url = "https://acme.my.salesforce.com"
client_id = "muster-app"
client_secret = "${SALESFORCE_CLIENT_SECRET}"
external_id_field = "Ext_User_Id__c"
account_external_id_field = "Ext_Account_Id__c"
"#,
    notes: &[
        "Fields must exist: what is missing, of another type or not writable for the user stops the sync with what is wanted; Muster creates none.",
        "A column `ltv_90d` is written to the custom field `ltv_90d__c`; names that end in `__c` are used as they are, and standard fields must be listed in `standard_fields`.",
        "Contacts and leads need a `last_name`, leads a `company` too: both come from the profiles, are written each time, and whoever lacks them is invalid.",
        "The allowance of API calls is one per day (100,000 and more by licences), shared with all other programs: 100,000 hold here, counted across runs; say your share with `daily_limit`.",
        "A used-up daily allowance (a 403, or the header `Sforce-Limit-Info`) leaves the rest pending for a later run.",
        "Who only leaves is written without a name, and was never there when Salesforce asks for one.",
        "Batches of more than 200 rows travel as jobs of the Bulk API 2.0: ask for them with `batch_size`.",
        "In a job an empty text clears a field, as NULL does; a job that broke off leaves its records unsettled.",
        "A checkbox is never NULL: `false` is written instead.",
        "Times are written to the millisecond, lists and structures as JSON text; a text that is too long is refused by Salesforce, never cut.",
        "Accounts that do not exist are rejected where they need a name, which nothing here knows, unless a column writes `Name`.",
        "Assignment rules are left alone: leads and accounts keep their owners, and new ones belong to the user that writes them.",
        "Contacts are not attached to accounts, and a lead that was converted is not followed to its contact.",
        "Requests go to the instance that Salesforce names when it gives out a token; `plan` shows them addressed to `login_url`.",
        "Client credentials need the address of the own domain in `login_url`.",
        "Codes of row errors beyond those of the fact sheet are uncertain and count as refusals.",
    ],
    ..Spec::EVENT
};

/// Records in one request.
const MOST_AT_ONCE: usize = 200;

const OPTIONS: &[OptionDoc] = &[
    LOGIN_URL,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    PRIVATE_KEY,
    USERNAME,
    API_VERSION,
    OptionDoc::required(
        "external_id_field",
        "field of contacts or leads that holds the user id, marked as External ID",
    ),
    OptionDoc::optional(
        "account_external_id_field",
        "field of accounts that holds the account id, marked as External ID; needed for `group`",
    ),
    OptionDoc::optional("object", "what users are: \"contact\" (default) or \"lead\""),
    OptionDoc::optional(
        "standard_fields",
        "names of columns that are standard fields, such as [\"Title\"], and get no `__c`",
    ),
    OptionDoc::optional("send_email", "whether the preferred email is written; default true"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default, deserialize_with = "address")]
    login_url: Option<Url>,
    client_id: String,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    private_key: Option<Secret>,
    username: Option<String>,
    api_version: Option<String>,
    external_id_field: String,
    account_external_id_field: Option<String>,
    #[serde(default)]
    object: Person,
    #[serde(default)]
    standard_fields: BTreeSet<String>,
    #[serde(default = "crate::destinations::options::yes")]
    send_email: bool,
}

/// What a user is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Person {
    #[default]
    Contact,
    Lead,
}

/// One organisation.
#[derive(Debug)]
struct Salesforce {
    org: Org,
    person: Person,
    key: String,
    account_key: Option<String>,
    naming: Naming,
    send_email: bool,
    /// Fields that hold booleans, as far as syncs were opened.
    checkboxes: Mutex<BTreeSet<String>>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    for (option, field) in [
        ("external_id_field", Some(&options.external_id_field)),
        ("account_external_id_field", options.account_external_id_field.as_ref()),
    ] {
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if field.is_some_and(|name| name.is_empty() || !name.chars().all(is_plain)) {
            let fact = "is no name of a field, such as \"Ext_User_Id__c\"";
            return Err(vec![reader.refuse(option, fact)]);
        }
    }
    let login = Login {
        login_url: options.login_url,
        client_id: options.client_id,
        client_secret: options.client_secret,
        refresh_token: options.refresh_token,
        private_key: options.private_key,
        username: options.username,
        base_url: common.base_url.clone(),
    };
    let secrets = login.secrets();
    let org = Org::of(login, options.api_version)
        .map_err(|(option, fact)| vec![reader.refuse(option, &fact)])?;
    let person = options.object;
    let salesforce = Salesforce {
        org,
        person,
        key: options.external_id_field,
        account_key: options.account_external_id_field,
        naming: Naming { standard: options.standard_fields },
        send_email: options.send_email,
        checkboxes: Mutex::default(),
    };
    Ok(Built::new(Arc::new(salesforce), secrets).requiring(person.required()))
}

impl Person {
    const fn object(self) -> &'static str {
        match self {
            Self::Contact => "Contact",
            Self::Lead => "Lead",
        }
    }

    /// Profile columns that have a field of their own, and that field's name.
    const fn profile(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Contact => (&["first_name", "last_name"], &["FirstName", "LastName"]),
            Self::Lead => {
                (&["first_name", "last_name", "company"], &["FirstName", "LastName", "Company"])
            }
        }
    }

    fn required(self) -> Vec<&'static str> {
        match self {
            Self::Contact => vec!["last_name"],
            Self::Lead => vec!["last_name", "company"],
        }
    }
}

/// One record of a request.
struct Record<'a> {
    object: &'a str,
    key: &'a str,
    id: &'a str,
    values: Vec<(String, Written<'a>)>,
}

#[derive(Serialize)]
struct Attributes<'a> {
    r#type: &'a str,
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { object, key, id, values } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("attributes", &Attributes { r#type: object })?;
        map.serialize_entry(key, id)?;
        for (name, value) in values {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Collection<'a> {
    all_or_none: bool,
    records: Vec<Record<'a>>,
}

impl Salesforce {
    /// The object, and the field by which its records are told apart.
    fn kept_in(&self, level: Level) -> Result<(&str, &str), Fault> {
        match (level, &self.account_key) {
            (Level::User, _) => Ok((self.person.object(), &self.key)),
            (Level::Account, Some(key)) => Ok(("Account", key)),
            (Level::Account, None) => Err(Fault::Misconfigured {
                reason: "accounts need the option `account_external_id_field`".into(),
            }),
        }
    }

    fn values<'a>(&self, message: &'a Message) -> Vec<(String, Written<'a>)> {
        let checkboxes = self.checkboxes();
        let (own, fields) = self.person.profile();
        let mut values = Vec::new();
        if message.level() == Level::User {
            let email = message.email().filter(|_| self.send_email);
            values.extend(email.map(|email| ("Email".to_owned(), Written(Value::Text(email)))));
            for (column, field) in own.iter().zip(fields) {
                let found = message.profile().find(|(name, _)| name == column);
                values.extend(found.map(|(_, value)| ((*field).to_owned(), Written(value))));
            }
        }
        values.extend(attributes_beside(message, own).map(|(name, value)| {
            let name = self.naming.name(name);
            let written = Written::of(value, checkboxes.contains(&name));
            (name, written)
        }));
        values
    }

    /// Fields that are written whatever a sync holds.
    fn own_fields(&self, level: Level) -> Vec<&str> {
        match level {
            Level::Account => self.account_key.iter().map(String::as_str).collect(),
            Level::User => {
                let (_, fields) = self.person.profile();
                fields.iter().copied().chain(["Email", &self.key]).collect()
            }
        }
    }

    fn checkboxes(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.checkboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember_checkboxes(&self, target: &Target) {
        let checkboxes = target.fields.iter().filter(|field| field.kind == FieldKind::Bool);
        self.checkboxes().extend(checkboxes.map(|field| self.naming.name(&field.name)));
    }

    async fn at_once(&self, session: &Session, batch: &Batch) -> Result<Delivery, Fault> {
        let (object, key) = self.kept_in(batch.messages()[0].level())?;
        let record = |message| Record {
            object,
            key,
            id: Message::subject(message),
            values: self.values(message),
        };
        let records = batch.messages().iter().map(record).collect();
        let body = Collection { all_or_none: false, records };
        let path = ["composite", "sobjects", object, key];
        let response = session.send(self.org.write(Method::PATCH, &path, &body)?).await?;
        let mut receipt = batch.delivered();
        let harmless = |position: usize| harmless(&batch.messages()[position]);
        let outcomes = outcomes(&response, batch.len(), harmless)?;
        for (position, outcome) in outcomes.into_iter().enumerate() {
            // There are as many outcomes as messages.
            let _ = receipt.set(position, outcome);
        }
        Ok(receipt.into())
    }

    async fn as_job(&self, session: &Session, batch: &Batch) -> Result<Delivery, Fault> {
        let (object, key) = self.kept_in(batch.messages()[0].level())?;
        let row = |message| (Message::subject(message), self.values(message));
        let rows = batch.messages().iter().map(row).collect();
        let messages = batch.messages().iter().enumerate();
        let leaving = messages.filter(|(_, message)| message.only_leaves());
        let leaving = leaving.map(|(position, _)| position).collect();
        Upload { object, key, rows, leaving }.submit(&self.org, session).await
    }
}

/// What Salesforce says of whoever would have to be created: of somebody who only leaves, of whom no
/// profile is read any more, that there is nothing to take back.
const INCOMPLETE: &[&str] = &["REQUIRED_FIELD_MISSING"];

fn harmless(message: &Message) -> &'static [&'static str] {
    if message.only_leaves() { INCOMPLETE } else { &[] }
}

#[async_trait]
impl Destination for Salesforce {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let object = self.person.object();
        Description::of(&self.org, session, object).await?.verify_key(&self.key)
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        self.remember_checkboxes(target);
        let (object, key) = self.kept_in(target.level)?;
        let description = match Description::of(&self.org, session, object).await {
            // What follows does not depend on the answer.
            Err(Fault::Rehearsed) => return Ok(Remote::default()),
            other => other?,
        };
        description.verify_key(key)?;
        for field in &target.fields {
            description.verify(&self.naming.name(&field.name), field)?;
        }
        Ok(Remote::default())
    }

    /// Salesforce takes names that differ in nothing but their case for one.
    fn field_name(&self, name: &str) -> String {
        self.naming.name(name).to_lowercase()
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let own = self.own_fields(target.level);
        let names = target.fields.iter().map(|field| field.name.as_str());
        let of_names = names.filter_map(|name| self.naming.objection(name, &own));
        let lacks_key = target.level == Level::Account && self.account_key.is_none();
        let of_key = lacks_key.then(|| "accounts need `account_external_id_field`".to_owned());
        of_key.into_iter().chain(of_names).collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        match batch.len() <= MOST_AT_ONCE {
            true => self.at_once(session, batch).await,
            false => self.as_job(session, batch).await,
        }
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        bulk::asked(&self.org, session, job, rows).await
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
