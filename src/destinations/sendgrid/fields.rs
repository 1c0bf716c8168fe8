//! Custom fields: what they are called, how those that a sync needs are found or created, and how a
//! value is written for the type that its field has.
//!
//! What it promises: nothing is created that is there already, in whatever case; a field of another
//! type stops the sync before anything is sent. Values are addressed by the field's id, as SendGrid
//! insists.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

use super::super::sendgrid_api::Api;
use super::super::{Fault, Field, FieldKind, Target};
use crate::delivery::Session;
use crate::record::Value;

/// Fields of every contact that are written beside the custom ones, as text.
pub(super) const STANDARD: &[&str] = &[
    "address_line_1",
    "address_line_2",
    "city",
    "country",
    "first_name",
    "last_name",
    "postal_code",
    "state_province_region",
];

/// What identifies a contact, or is SendGrid's own.
const RESERVED: &[&str] = &[
    "alternate_emails",
    "anonymous_id",
    "contact_id",
    "created_at",
    "email",
    "email_domains",
    "external_id",
    "last_clicked",
    "last_emailed",
    "last_opened",
    "lists",
    "phone_number_id",
    "updated_at",
];

const LONGEST_NAME: usize = 100;

/// How a date is written.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Dates {
    /// `11/20/2026`.
    #[default]
    Us,
    /// `2026-11-20`, and RFC 3339 for a time.
    Iso,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum FieldType {
    Text,
    Number,
    Date,
    #[serde(other)]
    Other,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Definition {
    pub id: String,
    name: String,
    pub field_type: FieldType,
}

#[derive(Deserialize)]
struct Listed {
    custom_fields: Vec<Definition>,
    reserved_fields: Vec<ReservedField>,
}

#[derive(Deserialize)]
struct ReservedField {
    name: String,
}

/// The fields of one account, by their names in lower case.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    custom: BTreeMap<String, Definition>,
    reserved: BTreeSet<String>,
}

/// A value as it travels.
#[derive(Debug)]
pub(super) enum Written<'a> {
    Null,
    Text(String),
    Plain(Value<'a>),
}

/// Letters, digits and underscores, in lower case: names that differ in nothing else are one.
pub(super) fn field_name(name: &str) -> String {
    let letter = |character: char| match character {
        'a'..='z' | '0'..='9' => character,
        'A'..='Z' => character.to_ascii_lowercase(),
        _ => '_',
    };
    let named: String = name.chars().map(letter).collect();
    if named.starts_with(|first: char| first.is_ascii_digit()) {
        format!("_{named}")
    } else {
        named
    }
}

pub(super) fn objections(target: &Target) -> Vec<String> {
    let objection = |Field { name, .. }: &Field| {
        let named = field_name(name);
        if RESERVED.contains(&named.as_str()) {
            return Some(format!("`{name}` is a field of SendGrid's own"));
        }
        (named.len() > LONGEST_NAME).then(|| {
            format!("`{name}` is longer than the {LONGEST_NAME} letters of a SendGrid field")
        })
    };
    target.fields.iter().filter_map(objection).collect()
}

impl Known {
    pub(super) async fn load(api: &Api, session: &Session) -> Result<Self, Fault> {
        let Listed { custom_fields, reserved_fields } =
            session.send(api.get(&["field_definitions"])).await?.json()?;
        let custom =
            custom_fields.into_iter().map(|field| (field.name.to_lowercase(), field)).collect();
        let reserved = reserved_fields.into_iter().map(|field| field.name.to_lowercase()).collect();
        Ok(Self { custom, reserved })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Definition> {
        self.custom.get(name)
    }

    /// The fields that are not there; one that is there but unusable stops the sync.
    pub(super) fn lacks(&self, target: &Target) -> Result<Vec<Field>, Fault> {
        let mut lacking = Vec::new();
        for field in &target.fields {
            let name = field_name(&field.name);
            if STANDARD.contains(&name.as_str()) {
                continue;
            }
            match self.get(&name) {
                Some(found) if takes(found.field_type, field.kind) => {}
                Some(found) => return Err(mistyped(&name, field.kind, found.field_type)),
                None if self.reserved.contains(&name) => {
                    let reason = format!("`{name}` is a field of SendGrid's own: rename the trait");
                    return Err(Fault::Misconfigured { reason });
                }
                None => lacking.push(Field { name, kind: field.kind }),
            }
        }
        Ok(lacking)
    }

    pub(super) async fn create(
        &mut self,
        api: &Api,
        session: &Session,
        field: &Field,
    ) -> Result<(), Fault> {
        let Field { name, kind } = field;
        let field_type = wanted(*kind);
        let body = json!({"name": name, "field_type": field_type});
        let request = api.write(Method::POST, &["field_definitions"], body.to_string().into());
        let created: Definition = match session.send(request).await {
            Err(Fault::Rejected { reason }) => {
                let reason =
                    format!("SendGrid does not create the field `{name}` ({field_type}): {reason}");
                return Err(Fault::Misconfigured { reason });
            }
            other => other?.json()?,
        };
        if !created.name.eq_ignore_ascii_case(name) || created.id.is_empty() {
            return Err(Fault::Protocol { reason: "the reply is about another field".into() });
        }
        self.custom.insert(created.name.to_lowercase(), created);
        Ok(())
    }
}

pub(super) fn missing(fields: &[Field]) -> Fault {
    let named = |field: &Field| format!("`{}` ({})", field.name, wanted(field.kind));
    let named: Vec<_> = fields.iter().map(named).collect();
    let reason = format!(
        "SendGrid has no custom field {}: create it there or leave `create_fields` on",
        named.join(", ")
    );
    Fault::Misconfigured { reason }
}

fn mistyped(name: &str, kind: FieldKind, found: FieldType) -> Fault {
    let reason = format!(
        "SendGrid's field `{name}` is of type {found:?}, not {}: rename the trait or the field",
        wanted(kind)
    );
    Fault::Misconfigured { reason }
}

const fn wanted(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Integer | FieldKind::Number => "Number",
        FieldKind::Date | FieldKind::Timestamp => "Date",
        FieldKind::Bool | FieldKind::Text | FieldKind::Nested => "Text",
    }
}

const fn takes(field_type: FieldType, kind: FieldKind) -> bool {
    match field_type {
        FieldType::Text => true,
        FieldType::Number => {
            matches!(kind, FieldKind::Integer | FieldKind::Number | FieldKind::Bool)
        }
        FieldType::Date => matches!(kind, FieldKind::Date | FieldKind::Timestamp),
        FieldType::Other => false,
    }
}

/// A value for a field of this type; `None` where the type cannot hold it.
pub(super) fn write(value: Value<'_>, field_type: FieldType, dates: Dates) -> Option<Written<'_>> {
    Some(match (field_type, value) {
        (_, Value::Null) => Written::Null,
        (_, Value::Float(number)) if !number.is_finite() => Written::Null,
        (FieldType::Text, value) => Written::Text(value.to_string()),
        (FieldType::Number, Value::Bool(value)) => Written::Plain(Value::Int(value.into())),
        (
            FieldType::Number,
            value @ (Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Decimal(_)),
        ) => Written::Plain(value),
        (FieldType::Date, value @ (Value::Date(_) | Value::Timestamp(_))) => {
            Written::Text(dated(&value.to_string(), dates))
        }
        _ => return None,
    })
}

/// From `2026-11-20` or RFC 3339.
fn dated(iso: &str, dates: Dates) -> String {
    let day: Vec<&str> = iso.get(..10).unwrap_or_default().split('-').collect();
    match (dates, &day[..]) {
        (Dates::Us, [year, month, day]) => format!("{month}/{day}/{year}"),
        _ => iso.to_owned(),
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Plain(value) => value.serialize(serializer),
        }
    }
}
