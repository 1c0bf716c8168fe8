//! Rows of one data extension: what its columns must be, and how a message becomes a row.
//!
//! What it promises: the key and, where there is one, the column of the email are written by nothing
//! but the key and the email.

use bytes::Bytes;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::super::attributes::attributes;
use super::super::marketing_cloud_api::{Extension, column_name, column_type, fits};
use super::super::{Fault, Field, FieldKind};
use crate::message::Message;
use crate::record::Value;

/// Where rows of one kind go.
#[derive(Debug)]
pub(super) struct Rows {
    /// External key of the data extension.
    pub extension: String,
    /// Its primary key.
    pub key: String,
    /// Whether the key holds the email, not the id.
    pub by_email: bool,
    /// Column of the email beside the id.
    pub email: Option<String>,
    pub void: Void,
}

/// What clears a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Void {
    #[default]
    Null,
    Empty,
}

struct Row<'a> {
    rows: &'a Rows,
    message: &'a Message,
}

/// One value as a column holds it.
struct Cell<'a> {
    value: Value<'a>,
    void: Void,
}

impl Rows {
    /// Columns that are written and not there; one of another type cannot be used at all.
    pub(super) fn missing(
        &self,
        extension: &Extension,
        fields: &[Field],
    ) -> Result<Vec<(String, FieldKind)>, Fault> {
        extension.keyed_by(&self.key)?;
        let email = self.email.iter().map(|name| (name.clone(), FieldKind::Text));
        let wanted = fields.iter().map(|field| (column_name(&field.name), field.kind));
        let mut missing = Vec::new();
        for (name, kind) in email.chain(wanted) {
            match extension.column(&name) {
                None => missing.push((name, kind)),
                Some(column) if fits(kind, &column.kind) => {}
                Some(column) => {
                    let (found, wanted) = (&column.kind, column_type(kind));
                    return Err(extension.unusable(&format!(
                        "has a column `{name}` of type {found}, not {wanted}: send the value under \
                         another alias"
                    )));
                }
            }
        }
        Ok(missing)
    }

    pub(super) fn lacking(extension: &Extension, missing: &[(String, FieldKind)]) -> Fault {
        let told =
            missing.iter().map(|(name, kind)| format!("`{name}` of type {}", column_type(*kind)));
        let told = told.collect::<Vec<_>>().join(", ");
        extension.unusable(&format!(
            "lacks the column {told}: add it, nullable, or set `create_fields = true`"
        ))
    }

    pub(super) fn objections(&self, fields: &[Field]) -> Vec<String> {
        let taken = |name: &str| {
            let own = std::iter::once(&self.key).chain(&self.email);
            own.into_iter().any(|own| own.to_lowercase() == column_name(name).to_lowercase())
        };
        let names = fields.iter().map(|field| &field.name).filter(|name| taken(name));
        let told = |name: &String| {
            format!("`{name}` is the column of the key or of the email: give it another alias")
        };
        names.map(told).collect()
    }

    pub(super) fn body(&self, messages: &[Message]) -> Result<Bytes, Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            items: Vec<Row<'a>>,
        }
        let items = messages.iter().map(|message| Row { rows: self, message }).collect();
        serde_json::to_vec(&Body { items }).map(Bytes::from).map_err(|error| Fault::Rejected {
            reason: format!("a value cannot be encoded: {error}"),
        })
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { rows, message } = self;
        let mut map = serializer.serialize_map(None)?;
        match message.email().filter(|_| rows.by_email) {
            Some(email) => map.serialize_entry(&rows.key, email)?,
            None => map.serialize_entry(&rows.key, message.subject())?,
        }
        if let Some((column, email)) = rows.email.as_ref().zip(message.email()) {
            map.serialize_entry(column, email)?;
        }
        for (name, value) in attributes(message) {
            map.serialize_entry(&column_name(name), &Cell { value, void: rows.void })?;
        }
        map.end()
    }
}

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null if self.void == Void::Empty => serializer.serialize_str(""),
            Value::Json(text) => serializer.serialize_str(text),
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_travels_as_its_json_and_nothing_as_the_user_says() {
        let cell = |value, void| serde_json::to_string(&Cell { value, void }).unwrap();
        assert_eq!(cell(Value::Json("[1]".into()), Void::Null), r#""[1]""#);
        assert_eq!(cell(Value::Null, Void::Null), "null");
        assert_eq!(cell(Value::Null, Void::Empty), r#""""#);
        assert_eq!(cell(Value::Float(812.4), Void::Empty), "812.4");
    }
}
