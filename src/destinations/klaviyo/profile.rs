//! One profile as Klaviyo takes it: what it is told apart by, its own fields, its custom properties.
//!
//! What it promises: a message names a profile in one way only; names that profiles do not know take
//! none away.

use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::super::attributes::{attributes, written};
use crate::message::Message;
use crate::record::Value;

/// What a profile is told apart by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Key {
    #[default]
    Email,
    ExternalId,
}

/// Fields of every profile, as text.
const OWN: &[&str] = &["first_name", "last_name", "organization", "title", "locale", "image"];

/// Parts of a profile's location, as text.
const LOCATION: &[&str] = &["address1", "address2", "city", "region", "zip", "country", "timezone"];

/// What tells profiles apart.
const IDENTIFIERS: &[&str] = &["id", "email", "phone_number", "external_id", "anonymous_id", "_kx"];

impl Key {
    const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::ExternalId => "external_id",
        }
    }

    pub(super) fn of(self, message: &Message) -> Result<&str, String> {
        match self {
            Self::Email => message.email().ok_or_else(|| "it has no email".to_owned()),
            Self::ExternalId => Ok(message.subject()),
        }
    }
}

/// Why a name cannot be written to.
pub(super) fn objection(name: &str) -> Option<String> {
    if IDENTIFIERS.contains(&name) {
        return Some(format!("the field `{name}` tells profiles apart in Klaviyo"));
    }
    name.starts_with('$').then(|| format!("the field `{name}` has a name of Klaviyo's own"))
}

/// The profile of a message, for an import.
pub(super) fn encoded(
    key: Key,
    identity: &str,
    email: Option<&str>,
    message: &Message,
) -> Result<Vec<u8>, String> {
    #[derive(serde::Serialize)]
    struct Resource<'a> {
        #[serde(rename = "type")]
        kind: &'static str,
        attributes: Attributes<'a>,
    }
    let identity = Identity { key, identity, email };
    written(&Resource { kind: "profile", attributes: Attributes { identity, message } })
}

/// What names a profile, wherever one is named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    pub(super) key: Key,
    pub(super) identity: &'a str,
    /// The preferred email beside an external id.
    pub(super) email: Option<&'a str>,
}

impl Identity<'_> {
    fn entries<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        map.serialize_entry(self.key.name(), self.identity)?;
        self.email.map_or(Ok(()), |email| map.serialize_entry("email", email))
    }
}

impl Serialize for Identity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.entries(&mut map)?;
        map.end()
    }
}

struct Attributes<'a> {
    identity: Identity<'a>,
    message: &'a Message,
}

impl Attributes<'_> {
    /// What is said of the profile, in the fields of one kind.
    fn said(&self, kind: Kind) -> impl Iterator<Item = (&str, Value<'_>)> {
        let is_trait = |name: &str| self.message.traits().any(|(own, _)| own == name);
        attributes(self.message)
            .filter(move |(name, value)| !value.is_null() || is_trait(name))
            .filter(move |(name, _)| Kind::of(name) == kind)
    }
}

/// Where in a profile a trait is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Own,
    Location,
    Property,
}

impl Kind {
    fn of(name: &str) -> Self {
        if OWN.contains(&name) {
            Self::Own
        } else if LOCATION.contains(&name) {
            Self::Location
        } else {
            Self::Property
        }
    }
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.identity.entries(&mut map)?;
        for (name, value) in self.said(Kind::Own) {
            map.serialize_entry(name, &text(&value))?;
        }
        let location: Vec<_> = self.said(Kind::Location).collect();
        if !location.is_empty() {
            let texts = location.iter().map(|(name, value)| (*name, text(value)));
            map.serialize_entry("location", &Object(texts.collect()))?;
        }
        let properties: Vec<_> = self.said(Kind::Property).collect();
        if !properties.is_empty() {
            map.serialize_entry("properties", &Object(properties))?;
        }
        map.end()
    }
}

/// Klaviyo's own fields hold text.
fn text(value: &Value<'_>) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// An object whose keys keep their order.
pub(super) struct Object<'a, V>(pub(super) Vec<(&'a str, V)>);

impl<V: Serialize> Serialize for Object<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
