//! Custom attributes of contacts and companies: what they are called, which types they have, and how
//! those that a sync needs are found or declared.
//!
//! What it promises: nothing is declared that is there already; an attribute of another type stops
//! the sync before anything is sent, since Intercom never changes the type of one.

use http::Method;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

use super::super::attributes::attributes_beside;
use super::super::intercom_api::Api;
use super::super::{Fault, Field, FieldKind, Target};
use crate::delivery::Session;
use crate::message::Message;
use crate::record::{Call, Level, Value};

/// What belongs to Intercom or travels by itself.
const RESERVED: &[&str] = &[
    "id",
    "external_id",
    "user_id",
    "company_id",
    "email",
    "role",
    "name",
    "phone",
    "avatar",
    "owner_id",
    "created_at",
    "updated_at",
    "remote_created_at",
    "signed_up_at",
    "last_seen_at",
    "unsubscribed_from_emails",
    "plan",
    "size",
    "website",
    "industry",
    "monthly_spend",
];

/// Values of custom attributes.
pub(super) struct Attributes<'a>(Vec<(String, Value<'a>)>);

/// An attribute as Intercom lists it.
#[derive(Debug, Deserialize)]
struct Attribute {
    name: String,
    data_type: String,
    #[serde(default)]
    custom: bool,
    #[serde(default = "crate::destinations::options::yes")]
    api_writable: bool,
}

#[derive(Deserialize)]
struct Attributed {
    data: Vec<Attribute>,
}

/// Columns of `profiles` that Intercom has fields of its own for.
const OWN: &[&str] = &["name"];

impl<'a> Attributes<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        let all = attributes_beside(message, OWN);
        Self(all.map(|(name, value)| (attribute_name(name), in_seconds(value))).collect())
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Dates as Intercom wants them: seconds since 1970.
pub(super) fn in_seconds(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Date(days) => Value::Int(i64::from(days) * 86_400),
        Value::Timestamp(micros) => Value::Int(micros.div_euclid(1_000_000)),
        other => other,
    }
}

/// Letters, digits, spaces, hyphens and underscores; Intercom refuses other punctuation.
pub(super) fn attribute_name(name: &str) -> String {
    let allowed = |letter: char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    name.chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect()
}

pub(super) fn objections(target: &Target) -> Vec<String> {
    if target.call == Call::Track {
        return Vec::new();
    }
    target.fields.iter().filter_map(objection).collect()
}

fn objection(field: &Field) -> Option<String> {
    let Field { name, kind } = field;
    if RESERVED.contains(&attribute_name(name).to_lowercase().as_str()) {
        return Some(format!(
            "`{name}` is the name of one of Intercom's own attributes: give it another alias"
        ));
    }
    (*kind == FieldKind::Nested).then(|| {
        format!("`{name}` is a list or a structure, which Intercom's attributes cannot hold")
    })
}

/// Finds every attribute that the sync writes, and declares what is missing.
pub(super) async fn ensure(
    api: &Api,
    session: &Session,
    target: &Target,
    create: bool,
) -> Result<(), Fault> {
    if target.call == Call::Track || target.fields.is_empty() {
        return Ok(());
    }
    let model = match target.level {
        Level::User => "contact",
        Level::Account => "company",
    };
    let mut request = api.get(&["data_attributes"]);
    request.url.query_pairs_mut().append_pair("model", model);
    let listed: Attributed = match session.send(request).await {
        Ok(response) => response.json()?,
        // What follows does not depend on the answer.
        Err(Fault::Rehearsed) => return Ok(()),
        Err(fault) => return Err(fault),
    };
    for field in &target.fields {
        let name = attribute_name(&field.name);
        match listed.data.iter().find(|attribute| attribute.name == name) {
            Some(attribute) => attribute.verify(field.kind)?,
            None if create => declare(api, session, (model, &name), field.kind).await?,
            None => return Err(missing(model, &name, field.kind)),
        }
    }
    Ok(())
}

async fn declare(
    api: &Api,
    session: &Session,
    (model, name): (&str, &str),
    kind: FieldKind,
) -> Result<(), Fault> {
    let body = json!({"name": name, "model": model, "data_type": data_type(kind)});
    let request = api.write(Method::POST, &["data_attributes"], &body)?;
    let declared: Attribute = match session.send(request).await {
        Ok(response) => response.json()?,
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Intercom refuses to declare the attribute `{name}`: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        Err(fault) => return Err(fault),
    };
    if declared.name == name {
        return Ok(());
    }
    Err(Fault::Protocol {
        reason: format!("Intercom declared `{}` where `{name}` was asked for", declared.name),
    })
}

fn missing(model: &str, name: &str, kind: FieldKind) -> Fault {
    let wanted = data_type(kind);
    Fault::Misconfigured {
        reason: format!(
            "Intercom has no {model} attribute `{name}`: declare it with the type `{wanted}`, or \
             set `create_fields = true`"
        ),
    }
}

impl Attribute {
    fn verify(&self, kind: FieldKind) -> Result<(), Fault> {
        let Self { name, data_type: found, custom, api_writable } = self;
        if !custom || !api_writable {
            let reason = format!("`{name}` is an attribute that Intercom keeps to itself");
            return Err(Fault::Misconfigured { reason });
        }
        if fits(kind, found) {
            return Ok(());
        }
        let wanted = data_type(kind);
        Err(Fault::Misconfigured {
            reason: format!(
                "Intercom's attribute `{name}` is of type `{found}`, not `{wanted}`: archive it, or \
                 send the column under another alias"
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

/// Whether an attribute of that type can hold such values; lists show a `datetime` as a `date`.
fn fits(kind: FieldKind, found: &str) -> bool {
    match kind {
        FieldKind::Integer => matches!(found, "integer" | "float"),
        FieldKind::Text | FieldKind::Nested => matches!(found, "string" | "options"),
        FieldKind::Date | FieldKind::Timestamp => matches!(found, "date" | "datetime"),
        FieldKind::Bool | FieldKind::Number => found == data_type(kind),
    }
}
