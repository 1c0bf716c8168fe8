//! The nouns of a difference: what a value, a change and a call are. Pure; no arrow, no I/O.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of a record between what was acknowledged and what the SQL says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The subject is new to the destination.
    Entered,
    /// The subject is gone.
    Exited,
    /// At least one mapped value differs.
    Changed,
    /// A known subject has a new identifier, or is repeated on purpose; nothing else changed.
    Resynced,
    /// Recorded as delivered without a message: a baseline.
    Adopted,
    /// Forgotten without a message: only the identifier went, the subject is still there.
    Retired,
    /// Different, but refused not long ago: left alone until its pause is over.
    Held,
    /// No longer a member, taken off without a message because the whole list is replaced.
    Displaced,
}

impl Change {
    pub const ALL: [Self; 8] = [
        Self::Entered,
        Self::Exited,
        Self::Changed,
        Self::Resynced,
        Self::Adopted,
        Self::Retired,
        Self::Held,
        Self::Displaced,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entered => "entered",
            Self::Exited => "exited",
            Self::Changed => "changed",
            Self::Resynced => "resynced",
            Self::Adopted => "adopted",
            Self::Retired => "retired",
            Self::Held => "held",
            Self::Displaced => "displaced",
        }
    }

    /// Whether this change leaves as a message; the others only touch the state.
    pub const fn is_sent(self) -> bool {
        !matches!(self, Self::Adopted | Self::Retired | Self::Held | Self::Displaced)
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|change| change.as_str() == word)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a sync speaks to its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    Identify,
    Track,
    Group,
    List,
}

impl Call {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Track => "track",
            Self::Group => "group",
            Self::List => "list",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    User,
    Account,
}

/// One value on its way out, borrowed from the columns it lies in.
///
/// Serialises as JSON: NaN and infinities as `null` (JSON has none), decimals as numbers with their
/// exact digits, dates as `YYYY-MM-DD`, timestamps as RFC 3339 in UTC, nested values as JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    /// A decimal in its exact digits, such as `12.50`.
    Decimal(String),
    Text(&'a str),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// A list, struct or map, already encoded as JSON.
    Json(String),
}

impl Value<'_> {
    pub const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// Text for destinations whose every value is a string: as in JSON, but text without its quotes; NULL,
/// NaN and infinities are empty.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Float(value) if value.is_finite() => write!(f, "{value}"),
            Self::Null | Self::Float(_) => Ok(()),
            Self::Decimal(text) | Self::Json(text) => f.write_str(text),
            Self::Text(text) => f.write_str(text),
            Self::Date(days) => Date(*days).fmt(f),
            Self::Timestamp(micros) => Instant(*micros).fmt(f),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Uint(value) => serializer.serialize_u64(*value),
            Self::Float(value) if value.is_finite() => serializer.serialize_f64(*value),
            Self::Null | Self::Float(_) => serializer.serialize_unit(),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Date(days) => serializer.collect_str(&Date(*days)),
            Self::Timestamp(micros) => serializer.collect_str(&Instant(*micros)),
            Self::Decimal(json) | Self::Json(json) => raw(json, serializer),
        }
    }
}

fn raw<S: serde::Serializer>(json: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str::<&serde_json::value::RawValue>(json)
        .map_err(serde::ser::Error::custom)?
        .serialize(serializer)
}

/// Displays days since the epoch as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy)]
pub struct Date(pub i32);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp(i64::from(self.0) * 86_400, 0) {
            Some(at) => write!(f, "{}", at.format("%Y-%m-%d")),
            None => write!(f, "{} days after 1970-01-01", self.0),
        }
    }
}

/// Displays microseconds since the epoch as RFC 3339 in UTC, with as many fraction digits as needed
/// (none, three or six).
#[derive(Debug, Clone, Copy)]
pub struct Instant(pub i64);

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.0.rem_euclid(1_000_000) {
            0 => chrono::SecondsFormat::Secs,
            fraction if fraction % 1000 == 0 => chrono::SecondsFormat::Millis,
            _ => chrono::SecondsFormat::Micros,
        };
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(at) => f.write_str(&at.to_rfc3339_opts(format, true)),
            None => write!(f, "{} microseconds after 1970-01-01", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_serialise_as_json() {
        let cases = [
            (Value::Null, "null"),
            (Value::Bool(true), "true"),
            (Value::Float(450.0), "450.0"),
            (Value::Float(f64::NAN), "null"),
            (Value::Float(f64::INFINITY), "null"),
            (Value::Decimal("12.50".into()), "12.50"),
            (Value::Text("a\"b"), r#""a\"b""#),
            (Value::Date(10_378), r#""1998-06-01""#),
            (Value::Timestamp(1_500_000), r#""1970-01-01T00:00:01.500Z""#),
            (Value::Json("[1,2]".into()), "[1,2]"),
        ];
        for (value, json) in cases {
            assert_eq!(serde_json::to_string(&value).ok().as_deref(), Some(json));
        }
    }
}
