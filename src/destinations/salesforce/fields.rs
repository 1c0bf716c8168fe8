//! Fields of Salesforce's objects: what they are called, how values are written, and whether those that
//! a sync needs are there.
//!
//! What it promises: nothing is created. A field that is missing, not writable or of another type stops
//! the sync before anything is sent, with the name and type that is wanted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize, Serializer};

use super::super::salesforce_api::{Org, plain};
use super::super::{Fault, Field, FieldKind};
use crate::delivery::Session;
use crate::record::Value;

/// Longest name of a custom field, without its suffix.
const LONGEST: usize = 40;

/// What columns are called there.
#[derive(Debug)]
pub(super) struct Naming {
    /// Fields that Salesforce brings along and that may be written to.
    pub standard: BTreeSet<String>,
}

impl Naming {
    /// A standard field or one that is named in full as it is; anything else is a custom field.
    pub(super) fn name(&self, column: &str) -> String {
        if self.standard.contains(column) || is_custom(column) {
            return column.to_owned();
        }
        format!("{}__c", plain(column))
    }

    pub(super) fn objection(&self, column: &str, taken: &[&str]) -> Option<String> {
        let name = self.name(column);
        if taken.iter().any(|own| own.eq_ignore_ascii_case(&name)) {
            return Some(format!("`{column}` is the field `{name}`, which is written by itself"));
        }
        if self.standard.contains(column) {
            return None;
        }
        let bare = name.trim_end_matches("__c").trim_end_matches("__pc");
        let fact = if bare.is_empty() {
            "leaves no name for a field of Salesforce".to_owned()
        } else if bare.len() > LONGEST {
            format!("is longer than the {LONGEST} characters that Salesforce takes")
        } else {
            return None;
        };
        Some(format!("`{column}` {fact}: give it another alias"))
    }
}

fn is_custom(name: &str) -> bool {
    name.ends_with("__c") || name.ends_with("__pc")
}

/// A value as Salesforce reads it: times to the millisecond, lists and structures as JSON text.
pub(super) struct Written<'a>(pub Value<'a>);

impl<'a> Written<'a> {
    /// A checkbox is never NULL: `false` stands for it.
    pub(super) fn of(value: Value<'a>, is_checkbox: bool) -> Self {
        Self(match value {
            Value::Null if is_checkbox => Value::Bool(false),
            Value::Float(number) if !number.is_finite() => Value::Null,
            Value::Timestamp(micros) => Value::Timestamp(micros.div_euclid(1000) * 1000),
            other => other,
        })
    }

    /// As a cell of a CSV file, where an empty one changes nothing.
    pub(super) fn cell(&self) -> String {
        let text = self.0.to_string();
        if text.is_empty() { "#N/A".into() } else { text }
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Value::Json(text) => serializer.serialize_str(text),
            other => other.serialize(serializer),
        }
    }
}

/// An object as Salesforce describes it to whoever asks.
#[derive(Debug, Deserialize)]
pub(super) struct Description {
    name: String,
    fields: Vec<Described>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    createable: bool,
    #[serde(default)]
    updateable: bool,
    #[serde(default)]
    external_id: bool,
}

impl Description {
    pub(super) async fn of(org: &Org, session: &Session, object: &str) -> Result<Self, Fault> {
        let request = org.get(&["sobjects", object, "describe"]);
        let description: Self = session.send(request).await?.json()?;
        if description.name == object {
            return Ok(description);
        }
        let reason = format!("the description is not that of `{object}`");
        Err(Fault::Protocol { reason })
    }

    /// Whether records can be told apart by that field.
    pub(super) fn verify_key(&self, name: &str) -> Result<(), Fault> {
        let object = &self.name;
        let fact = match self.field(name) {
            Some(field) if field.external_id => return Ok(()),
            Some(_) => format!("the field `{name}` of {object} is not marked as External ID"),
            None => format!(
                "{object} has no field `{name}`, or the user may not see it: create it as a text \
                 field that is unique and marked as External ID"
            ),
        };
        Err(Fault::Misconfigured { reason: fact })
    }

    pub(super) fn verify(&self, name: &str, field: &Field) -> Result<(), Fault> {
        let (object, wanted) = (&self.name, wanted(field.kind));
        let fact = match self.field(name) {
            None => format!(
                "{object} has no field `{name}`, or the user may not see it: create it with the \
                 type `{wanted}`"
            ),
            Some(found) if !(found.createable && found.updateable) => {
                format!("the user may not write the field `{name}` of {object}")
            }
            Some(found) if !fits(field.kind, &found.kind) => format!(
                "the field `{name}` of {object} is of type `{}`, not `{wanted}`: send the column \
                 under another alias",
                found.kind
            ),
            Some(_) => return Ok(()),
        };
        Err(Fault::Misconfigured { reason: fact })
    }

    fn field(&self, name: &str) -> Option<&Described> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }
}

/// A type in Salesforce's words.
const fn wanted(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool => "Checkbox",
        FieldKind::Integer | FieldKind::Number => "Number",
        FieldKind::Text => "Text",
        FieldKind::Date => "Date",
        FieldKind::Timestamp => "Date/Time",
        FieldKind::Nested => "Text Area (Long)",
    }
}

/// Whether a field of that type, as it is described, can hold such values.
fn fits(kind: FieldKind, found: &str) -> bool {
    let number = matches!(found, "double" | "currency" | "percent");
    match kind {
        FieldKind::Bool => found == "boolean",
        FieldKind::Integer => number || matches!(found, "int" | "long"),
        FieldKind::Number => number,
        FieldKind::Date => found == "date",
        FieldKind::Timestamp => found == "datetime",
        FieldKind::Nested => matches!(found, "string" | "textarea"),
        FieldKind::Text => matches!(
            found,
            "string" | "textarea" | "picklist" | "combobox" | "email" | "phone" | "url"
        ),
    }
}
