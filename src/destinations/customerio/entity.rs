//! One entry of a batch: what a message says of a person or an object, as Customer.io words it.
//!
//! Pure. What exceeds a documented limit is told as a reason, so that it is rejected alone; what has no
//! value is `""`, which removes an attribute. Attributes carry no time: they apply in the order in
//! which they arrive, and what arrives last is what was computed last.

use serde::{Serialize, Serializer};

use super::super::attributes::attributes;
use super::super::customerio_api::ID_BYTES;
use crate::message::{Event, Message};
use crate::record::Value;

/// Who or what an entry is about.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum Identifiers<'a> {
    Id { id: &'a str },
    Email { email: &'a str },
    Object { object_type_id: &'a str, object_id: &'a str },
}

#[derive(Debug, Serialize)]
pub(super) struct Entity<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    action: &'static str,
    identifiers: Identifiers<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<i64>,
    attributes: Attributes<'a>,
}

#[derive(Debug)]
struct Attributes<'a>(Vec<(&'a str, Value<'a>)>);

const MOST_ATTRIBUTES: usize = 300;
const VALUE_BYTES: usize = 1000;
const EVENT_NAME_BYTES: usize = 100;

impl Identifiers<'_> {
    /// Refuses an id that Customer.io does not take.
    pub(super) fn verify(&self) -> Result<(), String> {
        match self {
            Self::Id { id } | Self::Object { object_id: id, .. } if id.len() > ID_BYTES => {
                Err(format!("its id has {} bytes; Customer.io takes at most {ID_BYTES}", id.len()))
            }
            _ => Ok(()),
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Id { .. } | Self::Email { .. } => "person",
            Self::Object { .. } => "object",
        }
    }
}

impl<'a> Entity<'a> {
    /// Attributes, with an email unless one of them is called so.
    pub(super) fn identify(
        identifiers: Identifiers<'a>,
        message: &'a Message,
        email: Option<&'a str>,
    ) -> Result<Self, String> {
        let mut all: Vec<_> =
            attributes(message).map(|(name, value)| (name, in_seconds(value))).collect();
        let email = email.filter(|_| !all.iter().any(|(name, _)| *name == "email"));
        all.extend(email.map(|email| ("email", Value::Text(email))));
        if all.len() > MOST_ATTRIBUTES {
            let count = all.len();
            return Err(format!(
                "it has {count} attributes; Customer.io takes at most {MOST_ATTRIBUTES}"
            ));
        }
        all.iter().try_for_each(|(name, value)| acceptable(name, value))?;
        for (_, value) in &mut all {
            if has_no_value(value) {
                *value = Value::Text("");
            }
        }
        Ok(Self {
            kind: identifiers.kind(),
            action: "identify",
            identifiers,
            name: None,
            id: None,
            timestamp: None,
            attributes: Attributes(all),
        })
    }

    /// The same, but a person who is not there is not created.
    #[must_use]
    pub(super) fn of_somebody_known(mut self) -> Self {
        if self.kind == "person" {
            self.attributes.0.push(("_update", Value::Bool(true)));
        }
        self
    }

    pub(super) fn event(
        identifiers: Identifiers<'a>,
        message: &Message,
        event: Event<'a>,
    ) -> Result<Self, String> {
        if event.name.len() > EVENT_NAME_BYTES {
            let size = event.name.len();
            return Err(format!(
                "the name of the event has {size} bytes; Customer.io takes at most {EVENT_NAME_BYTES}"
            ));
        }
        let at = chrono::DateTime::parse_from_rfc3339(message.timestamp())
            .map_err(|error| format!("the time of the run is unreadable: {error}"))?;
        let properties = event.properties.into_iter();
        Ok(Self {
            kind: identifiers.kind(),
            action: "event",
            identifiers,
            name: Some(event.name),
            id: Some(event.id.ulid()),
            timestamp: Some(at.timestamp()),
            attributes: Attributes(
                properties.map(|(name, value)| (name, in_seconds(value))).collect(),
            ),
        })
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Refuses what would not be kept.
fn acceptable(name: &str, value: &Value<'_>) -> Result<(), String> {
    let size = match value {
        Value::Text(text) => text.len(),
        Value::Json(json) => json.len(),
        _ => return Ok(()),
    };
    if size > VALUE_BYTES {
        return Err(format!("`{name}` has {size} bytes; Customer.io takes at most {VALUE_BYTES}"));
    }
    Ok(())
}

/// Dates as Customer.io compares them: seconds since 1970.
pub(super) fn in_seconds(value: Value<'_>) -> Value<'_> {
    match value {
        Value::Date(days) => Value::Int(i64::from(days) * 86_400),
        Value::Timestamp(micros) => Value::Int(micros.div_euclid(1_000_000)),
        other => other,
    }
}

pub(super) fn has_no_value(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Float(number) => !number.is_finite(),
        _ => false,
    }
}
