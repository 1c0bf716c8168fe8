//! What Iterable is sent of one person: an object of `users` or of `events`, and the names that their
//! fields may have.
//!
//! What it promises: times are written as Iterable reads them; a name of which it is uncertain what
//! Iterable makes is refused before anything is sent.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::message::Event;
use crate::record::{Call, Value};

/// Fields by which Iterable itself keeps track of people and of what they have agreed to.
const RESERVED: &[&str] = &[
    "email",
    "userId",
    "itblUserId",
    "itblInternal",
    "signupDate",
    "signupSource",
    "profileUpdatedAt",
    "emailListIds",
    "unsubscribedChannelIds",
    "unsubscribedMessageTypeIds",
    "subscribedMessageTypeIds",
    "devices",
];

/// Why a name cannot be written to.
pub(super) fn objection(call: Call, name: &str) -> Option<String> {
    let reason = if call != Call::Track && RESERVED.contains(&name) {
        "belongs to Iterable itself: give the column another alias"
    } else if name.contains('.') || name.starts_with('_') || name.trim() != name {
        "has a dot, a leading underscore or a space at either end, of which it is uncertain what \
         Iterable makes: give the column another alias"
    } else {
        return None;
    };
    Some(format!("the field `{name}` {reason}"))
}

/// One object of `users`.
pub(super) struct User<'a> {
    pub identity: (&'static str, &'a str),
    pub prefer: Option<bool>,
    pub data: DataFields<'a>,
}

impl Serialize for User<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { identity: (kind, id), prefer, data } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(kind, id)?;
        if let Some(prefer) = prefer {
            map.serialize_entry("preferUserId", prefer)?;
        }
        map.serialize_entry("dataFields", data)?;
        map.end()
    }
}

/// One object of `events`.
pub(super) struct Occurrence<'a> {
    pub identity: (&'static str, &'a str),
    /// In seconds since 1970.
    pub created_at: i64,
    pub creating: bool,
    pub event: Event<'a>,
}

impl Serialize for Occurrence<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { identity: (kind, id), created_at, creating, event } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(kind, id)?;
        map.serialize_entry("eventName", event.name)?;
        map.serialize_entry("id", &event.id.to_string())?;
        map.serialize_entry("createdAt", created_at)?;
        map.serialize_entry("createNewFields", creating)?;
        map.serialize_entry("dataFields", &DataFields(event.properties.clone()))?;
        map.end()
    }
}

/// Values by field, in Iterable's own notation of time.
pub(super) struct DataFields<'a>(pub Vec<(&'a str, Value<'a>)>);

impl Serialize for DataFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            match value {
                Value::Timestamp(micros) => map.serialize_entry(name, &moment(*micros))?,
                other => map.serialize_entry(name, other)?,
            }
        }
        map.end()
    }
}

/// `yyyy-MM-dd HH:mm:ss +00:00`; `None`, which is `null`, where no calendar reaches.
pub(super) fn moment(micros: i64) -> Option<String> {
    let at = chrono::DateTime::from_timestamp_micros(micros)?;
    Some(at.format("%Y-%m-%d %H:%M:%S +00:00").to_string())
}
