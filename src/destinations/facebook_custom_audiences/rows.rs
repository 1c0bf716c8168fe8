//! The rows of one request: one column per kind of identifier that some member of it has, hashed where
//! Meta wants hashes, an empty text where a member has none.

use serde_json::{Value as Json, json};

use super::Member;
use crate::destinations::MatchField;
use crate::destinations::normalise::{
    self, Normalised, digits, e164, identifier, meta_email, plain_advertising_id, sha256,
};
use crate::message::Message;

/// What Meta matches by.
pub(super) const FIELDS: &[MatchField] = &[
    MatchField { source: "email", normalise: meta_email },
    MatchField { source: "phone", normalise: e164 },
    MatchField { source: "idfa", normalise: plain_advertising_id },
    MatchField { source: "gaid", normalise: plain_advertising_id },
    MatchField { source: "external_id", normalise: identifier },
];

/// What helps Meta to tell apart people whom the identifiers do not.
pub(super) const PROFILE: &[&str] =
    &["first_name", "last_name", "city", "state", "zip", "country", "gender", "date_of_birth"];

/// What profiles add to the rows of those who enter.
#[derive(Debug)]
pub(super) struct Profiles {
    /// Of people whose profile names none.
    pub country: Option<String>,
}

/// One request's rows.
#[derive(Debug)]
pub(super) struct Rows {
    rows: Vec<Vec<(Key, String)>>,
    empty: Vec<usize>,
}

/// A column, in the order in which columns are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Email,
    Phone,
    AdvertisingId,
    ExternalId,
    FirstName,
    LastName,
    City,
    State,
    Zip,
    Country,
    Gender,
    BirthYear,
    BirthMonth,
    BirthDay,
}

impl Key {
    const fn word(self) -> &'static str {
        match self {
            Self::Email => "EMAIL",
            Self::Phone => "PHONE",
            Self::AdvertisingId => "MADID",
            Self::ExternalId => "EXTERN_ID",
            Self::FirstName => "FN",
            Self::LastName => "LN",
            Self::City => "CT",
            Self::State => "ST",
            Self::Zip => "ZIP",
            Self::Country => "COUNTRY",
            Self::Gender => "GEN",
            Self::BirthYear => "DOBY",
            Self::BirthMonth => "DOBM",
            Self::BirthDay => "DOBD",
        }
    }
}

impl Rows {
    pub(super) fn of(members: &[Member<'_>], profiles: Option<&Profiles>) -> Self {
        let mut rows = Self { rows: Vec::with_capacity(members.len()), empty: Vec::new() };
        for Member { position, message } in members {
            rows.add(*position, message, profiles);
        }
        rows
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Positions of members who have nothing that Meta matches by.
    pub(super) fn empty(&self) -> Vec<usize> {
        self.empty.clone()
    }

    pub(super) fn schema(&self) -> Vec<&'static str> {
        self.keys().into_iter().map(Key::word).collect()
    }

    pub(super) fn data(&self) -> Vec<Vec<&str>> {
        let keys = self.keys();
        self.rows.iter().map(|row| keys.iter().map(|key| cell(row, *key)).collect()).collect()
    }

    /// The last row alone, as a payload of its own.
    pub(super) fn last(&self) -> Option<Json> {
        let row = self.rows.last()?;
        let (keys, values): (Vec<&str>, Vec<&str>) =
            row.iter().map(|(key, value)| (key.word(), value.as_str())).unzip();
        Some(json!({"schema": keys, "data": [values]}))
    }

    fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.rows.iter().flatten().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    fn add(&mut self, position: usize, message: &Message, profiles: Option<&Profiles>) {
        let of = |field: &MatchField| Some((field.source, field.of(message)?));
        let mut row = Vec::new();
        let mut second = None;
        for (source, value) in FIELDS.iter().filter_map(of) {
            match source {
                "email" => row.push((Key::Email, sha256(value))),
                "phone" => row.push((Key::Phone, sha256(digits(value)))),
                "external_id" => row.push((Key::ExternalId, value.to_owned())),
                _ if row.iter().any(|(key, _)| *key == Key::AdvertisingId) => {
                    second = Some(vec![(Key::AdvertisingId, value.to_owned())]);
                }
                _ => row.push((Key::AdvertisingId, value.to_owned())),
            }
        }
        if row.is_empty() {
            self.empty.push(position);
            return;
        }
        row.extend(profiles.into_iter().flat_map(|profiles| profiles.of(message)));
        self.rows.push(row);
        self.rows.extend(second);
    }
}

fn cell(row: &[(Key, String)], key: Key) -> &str {
    row.iter().find(|(other, _)| *other == key).map_or("", |(_, value)| value)
}

impl Profiles {
    /// Hashed columns of what the profile says.
    fn of(&self, message: &Message) -> Vec<(Key, String)> {
        let mut said: Vec<(&str, String)> =
            message.profile().map(|(name, value)| (name, value.to_string())).collect();
        said.retain(|(name, text)| *name != "country" || !text.trim().is_empty());
        let known = said.iter().any(|(name, _)| *name == "country");
        let assumed = self.country.iter().filter(|_| !known);
        said.extend(assumed.map(|country| ("country", country.clone())));
        let country = said.iter().find(|(name, _)| *name == "country");
        let country = country.map(|(_, text)| text.as_str());
        said.iter().flat_map(|(name, text)| columns(name, text, country)).collect()
    }
}

/// What Meta cannot use is left out: it only helps where it is there.
fn columns(name: &str, text: &str, country: Option<&str>) -> Vec<(Key, String)> {
    let (key, normalise): (_, fn(&str, Option<&str>) -> Normalised) = match name {
        "first_name" => (Key::FirstName, normalise::meta_name),
        "last_name" => (Key::LastName, normalise::meta_name),
        "city" => (Key::City, normalise::meta_city),
        "state" => (Key::State, normalise::meta_state),
        "zip" => (Key::Zip, normalise::meta_zip),
        "country" => (Key::Country, normalise::meta_country),
        "gender" => (Key::Gender, normalise::gender),
        "date_of_birth" => return birth(text),
        _ => return Vec::new(),
    };
    normalise(text, country).ok().map(|value| (key, sha256(&value))).into_iter().collect()
}

fn birth(text: &str) -> Vec<(Key, String)> {
    let Ok(date) = normalise::date_of_birth(text, None) else { return Vec::new() };
    let keys = [Key::BirthYear, Key::BirthMonth, Key::BirthDay];
    keys.into_iter().zip(date.split('-').map(sha256)).collect()
}
