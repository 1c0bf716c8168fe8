//! Fields of people and companies: what they are called, which types they have, how those that a
//! sync needs are found or created, and how a record is written.
//!
//! What it promises: nothing is created that is there already; a field of another type stops the
//! sync before anything is sent; no consent is ever written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde::ser::{Error as _, SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::attributes::written;
use super::super::marketo_api::{Api, results};
use super::super::{Fault, Field, FieldKind, Target};
use crate::delivery::Session;
use crate::message::Message;
use crate::record::{Call, Value};

/// What belongs to Marketo, or identifies a record.
const RESERVED: &[&str] = &[
    "id",
    "email",
    "createdat",
    "updatedat",
    "cookies",
    "leadpartitionid",
    "externalcompanyid",
    "externalsalespersonid",
];
/// Whether somebody may be written to is for them to say.
const CONSENT: &[&str] = &[
    "unsubscribed",
    "unsubscribedreason",
    "marketingsuspended",
    "marketingsuspendedcause",
    "blacklisted",
    "blacklistedcause",
    "emailinvalid",
    "emailinvalidcause",
    "emailsuspended",
    "emailsuspendedcause",
];
/// Characters of a field of type `string`.
const LENGTH: usize = 255;

/// Whose fields these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Object {
    Person,
    Company,
}

/// How many characters the fields take, as far as they were seen.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<HashMap<(Object, String), usize>>);

/// One record on its way out: names are Marketo's, each stands once.
pub(super) struct Record<'a> {
    object: Object,
    key: (&'static str, &'a str),
    values: Vec<(String, Value<'a>)>,
}

/// A field as it is found.
#[derive(Debug)]
pub(super) struct Found {
    name: String,
    data_type: String,
    length: Option<usize>,
    writable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfPeople {
    name: String,
    data_type: String,
    length: Option<usize>,
}

#[derive(Deserialize)]
struct Company {
    fields: Vec<OfCompanies>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfCompanies {
    name: String,
    data_type: String,
    length: Option<usize>,
    #[serde(default)]
    updateable: bool,
}

/// Letters, digits and underscores, beginning with a letter.
pub(super) fn field_name(name: &str) -> String {
    let allowed = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    let name: String = name.chars().map(allowed).collect();
    if name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        return name;
    }
    format!("f_{name}")
}

/// What a column of profiles is called there.
fn profile_name(column: &str) -> String {
    match column {
        "first_name" => "firstName".into(),
        "last_name" => "lastName".into(),
        other => field_name(other),
    }
}

pub(super) fn objections(target: &Target) -> Vec<String> {
    target.fields.iter().filter_map(objection).collect()
}

fn objection(field: &Field) -> Option<String> {
    let Field { name, kind } = field;
    let lower = field_name(name).to_lowercase();
    if RESERVED.contains(&lower.as_str()) {
        return Some(format!(
            "`{name}` is a name that Marketo keeps to itself: give it another alias"
        ));
    }
    if CONSENT.contains(&lower.as_str()) {
        return Some(format!(
            "`{name}` says in Marketo whether somebody may be written to, which Muster never changes"
        ));
    }
    (*kind == FieldKind::Nested)
        .then(|| format!("`{name}` is a list or a structure, which Marketo's fields cannot hold"))
}

/// Every field of people.
pub(super) async fn of_people(api: &Api, session: &Session) -> Result<Vec<Found>, Fault> {
    let listed: Vec<OfPeople> =
        api.found(session, &["rest", "v1", "leads", "schema", "fields.json"], &[]).await?;
    let found = listed.into_iter().map(|OfPeople { name, data_type, length }| Found {
        name,
        data_type,
        length,
        writable: true,
    });
    Ok(found.collect())
}

/// Every field of companies.
async fn of_companies(api: &Api, session: &Session) -> Result<Vec<Found>, Fault> {
    let listed: Vec<Company> =
        api.found(session, &["rest", "v1", "companies", "describe.json"], &[]).await?;
    let fields = listed.into_iter().flat_map(|company| company.fields);
    let found = fields.map(|OfCompanies { name, data_type, length, updateable }| Found {
        name,
        data_type,
        length,
        writable: updateable,
    });
    Ok(found.collect())
}

/// Finds every field that the sync writes, and creates what is missing.
pub(super) async fn ensure(
    api: &Api,
    session: &Session,
    target: &Target,
    (kept, create): (&Kept, bool),
) -> Result<(), Fault> {
    if target.fields.is_empty() {
        return Ok(());
    }
    let object = if target.call == Call::Group { Object::Company } else { Object::Person };
    let listed = match object {
        Object::Person => of_people(api, session).await,
        Object::Company => of_companies(api, session).await,
    };
    let listed = match listed {
        Ok(listed) => listed,
        // What follows does not depend on the answer.
        Err(Fault::Rehearsed) => return Ok(()),
        // Without a description of companies, Marketo says of every record which field it lacks.
        Err(Fault::Misconfigured { .. }) if object == Object::Company => return Ok(()),
        Err(fault) => return Err(fault),
    };
    let mut missing = Vec::new();
    for field in &target.fields {
        let name = field_name(&field.name);
        match listed.iter().find(|found| found.name == name) {
            Some(found) => found.verify(field.kind)?,
            None => missing.push((name, field.kind)),
        }
    }
    kept.remember(object, &listed);
    if missing.is_empty() {
        return Ok(());
    }
    if object == Object::Company || !create {
        return Err(lacking(object, &missing));
    }
    create_all(api, session, &missing).await?;
    let made = missing.into_iter().map(|(name, kind)| Found {
        name,
        data_type: data_type(kind).into(),
        length: (kind == FieldKind::Text).then_some(LENGTH),
        writable: true,
    });
    kept.remember(object, &made.collect::<Vec<_>>());
    Ok(())
}

/// All in one request. Not repeatable: the answer to a second one would be that they are there.
async fn create_all(
    api: &Api,
    session: &Session,
    missing: &[(String, FieldKind)],
) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Created {
        name: String,
        status: String,
    }
    let input = missing.iter().map(|(name, kind)| {
        let words: Vec<_> = name.split('_').filter(|word| !word.is_empty()).collect();
        json!({"displayName": words.join(" "), "name": name, "dataType": data_type(*kind)})
    });
    let body = json!({"input": input.collect::<Vec<_>>()});
    let request = api
        .post(&["rest", "v1", "leads", "schema", "fields.json"], body.to_string().into())
        .repeatable(false);
    let created: Vec<Created> = match session.send(request).await {
        Ok(response) => results(&response)?,
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Marketo refuses to create {}: {reason}", listed(missing));
            return Err(Fault::Misconfigured { reason });
        }
        Err(fault) => return Err(fault),
    };
    let is_there = |(name, _): &(String, FieldKind)| {
        created.iter().any(|field| field.name == *name && field.status == "created")
    };
    if missing.iter().all(is_there) {
        return Ok(());
    }
    let reason = format!("Marketo does not say that it created {}", listed(missing));
    Err(Fault::Protocol { reason })
}

fn lacking(object: Object, missing: &[(String, FieldKind)]) -> Fault {
    let (of, way_out) = match object {
        Object::Person => ("people", "or set `create_fields = true`"),
        Object::Company => ("companies", "since the API cannot"),
    };
    Fault::Misconfigured {
        reason: format!(
            "Marketo has no {} of {of}: make it in Admin > Field Management, {way_out}",
            listed(missing)
        ),
    }
}

/// `field `a` of type `b`, field …`
fn listed(missing: &[(String, FieldKind)]) -> String {
    let told =
        missing.iter().map(|(name, kind)| format!("field `{name}` of type `{}`", data_type(*kind)));
    told.collect::<Vec<_>>().join(", ")
}

impl Found {
    fn verify(&self, kind: FieldKind) -> Result<(), Fault> {
        let Self { name, data_type: found, writable, .. } = self;
        if !writable {
            let reason = format!(
                "Marketo's field `{name}` is read-only: send the column under another alias"
            );
            return Err(Fault::Misconfigured { reason });
        }
        if fits(kind, found) {
            return Ok(());
        }
        Err(Fault::Misconfigured {
            reason: format!(
                "Marketo's field `{name}` is of type `{found}`, not `{}`: change its type in Admin > \
                 Field Management, or send the column under another alias",
                data_type(kind)
            ),
        })
    }
}

const fn data_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool => "boolean",
        FieldKind::Integer => "integer",
        FieldKind::Number => "float",
        FieldKind::Text | FieldKind::Nested => "string",
        FieldKind::Date => "date",
        FieldKind::Timestamp => "datetime",
    }
}

/// Whether a field of that type can hold such values.
fn fits(kind: FieldKind, found: &str) -> bool {
    match kind {
        FieldKind::Integer => {
            matches!(found, "integer" | "score" | "percent" | "float" | "currency")
        }
        FieldKind::Number => matches!(found, "float" | "currency"),
        FieldKind::Text | FieldKind::Nested => {
            matches!(found, "string" | "text" | "email" | "phone" | "url" | "reference")
        }
        FieldKind::Bool | FieldKind::Date | FieldKind::Timestamp => found == data_type(kind),
    }
}

impl Kept {
    fn remember(&self, object: Object, fields: &[Found]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Found { name, length, .. } in fields {
            if let Some(length) = length {
                kept.insert((object, name.clone()), *length);
            }
        }
    }

    /// Refuses a text that its field would cut off.
    pub(super) fn verify(&self, record: &Record<'_>) -> Result<(), String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, value) in &record.values {
            let Value::Text(text) = value else { continue };
            let length = text.chars().count();
            let most = kept.get(&(record.object, name.clone()));
            if let Some(most) = most.filter(|most| length > **most) {
                return Err(format!("`{name}` has {length} characters; its field takes {most}"));
            }
        }
        Ok(())
    }
}

impl<'a> Record<'a> {
    pub(super) fn of(message: &'a Message) -> Result<Self, String> {
        let (object, key) = match message.call() {
            Call::Group => (Object::Company, ("externalCompanyId", message.subject())),
            _ => (Object::Person, ("email", message.email().ok_or("it has no email")?)),
        };
        if object == Object::Person && !key.1.is_ascii() {
            return Err("its email is not ASCII, which Marketo cannot hold".into());
        }
        let mut record = Self { object, key, values: Vec::new() };
        // An unknown name must not wipe out one that somebody else wrote.
        for (column, value) in message.profile().filter(|(_, value)| !value.is_null()) {
            record.set(profile_name(column), value);
        }
        for (name, value) in message.traits() {
            record.set(field_name(name), value);
        }
        Ok(record)
    }

    /// The later one of two of the same name holds.
    fn set(&mut self, name: String, value: Value<'a>) {
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, value));
    }

    pub(super) fn encoded(&self) -> Result<Vec<u8>, String> {
        written(self)
    }
}

impl Serialize for Record<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(self.key.0, self.key.1)?;
        for (name, value) in &self.values {
            match value {
                Value::Timestamp(micros) => {
                    let moment = moment(*micros)
                        .ok_or_else(|| S::Error::custom(format!("`{name}` is no moment")))?;
                    map.serialize_entry(name, &moment)?;
                }
                other => map.serialize_entry(name, other)?,
            }
        }
        map.end()
    }
}

/// Whole seconds with an offset in digits, as Marketo documents it; `None` where there is no such
/// moment.
pub(super) fn moment(micros: i64) -> Option<String> {
    let at = chrono::DateTime::from_timestamp_micros(micros)?;
    Some(at.format("%Y-%m-%dT%H:%M:%S+00:00").to_string())
}
