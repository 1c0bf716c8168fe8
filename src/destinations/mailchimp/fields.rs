//! Merge fields: what a trait is called among them, which types they have, and how those that a sync
//! needs are found or created.
//!
//! What it promises: nothing is created that is there already; a new one is hidden from forms and
//! required of nobody; a field of a type that cannot hold the values stops the sync before anything
//! is sent.

use std::collections::BTreeMap;

use http::Method;
use serde::Deserialize;
use serde::ser::{Serialize, Serializer};
use serde_json::json;

use super::super::attributes::attributes;
use super::super::mailchimp_api::Audience;
use super::super::{Fault, Field, FieldKind};
use crate::delivery::Session;
use crate::message::Message;
use crate::record::{Date, Value};

/// Characters of a merge tag.
const LONGEST: usize = 10;

/// What Mailchimp has other uses for.
const RESERVED: &[&str] = &[
    "ARCHIVE",
    "DATE",
    "EMAIL",
    "EMAIL_TYPE",
    "EMAILTYPE",
    "FORWARD",
    "INTERESTS",
    "REWARDS",
    "TO",
    "UNSUB",
    "USER_URL",
    "USERURL",
];

/// Merge tags by trait or audience, where they are not what the name itself says.
#[derive(Debug)]
pub(super) struct Tags(BTreeMap<String, String>);

/// Values of merge fields.
pub(super) struct MergeFields<'a>(Vec<(String, Value<'a>)>);

/// A merge field as Mailchimp lists it.
#[derive(Debug, Deserialize)]
struct MergeField {
    tag: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Listed {
    merge_fields: Vec<MergeField>,
}

impl Tags {
    /// What is wrong with them comes back as a fact.
    pub(super) fn new(given: BTreeMap<String, String>) -> Result<Self, String> {
        match given.iter().find(|(_, tag)| !is_tag(tag)) {
            Some((name, _)) => Err(format!(
                "has a tag for `{name}` that is none: up to {LONGEST} capital letters, digits and \
                 underscores, a letter first"
            )),
            None => Ok(Self(given)),
        }
    }

    /// The merge tag of a trait or audience.
    pub(super) fn of(&self, name: &str) -> String {
        match self.0.get(name) {
            Some(tag) => tag.clone(),
            None if is_tag(name) => name.to_owned(),
            None => {
                let letters = name.chars().filter(char::is_ascii_alphanumeric);
                letters.take(LONGEST).map(|letter| letter.to_ascii_uppercase()).collect()
            }
        }
    }

    /// Why a field cannot be a merge field.
    pub(super) fn objection(&self, field: &Field) -> Option<String> {
        let Field { name, kind } = field;
        let tag = self.of(name);
        let way_out = "say another one in the option `tags`";
        if !is_tag(&tag) {
            return Some(format!(
                "`{name}` makes no merge tag that begins with a letter: {way_out}"
            ));
        }
        if RESERVED.contains(&tag.as_str()) {
            return Some(format!(
                "`{name}` becomes `{tag}`, which belongs to Mailchimp: {way_out}"
            ));
        }
        (*kind == FieldKind::Nested)
            .then(|| format!("`{name}` is a list or a structure, which merge fields cannot hold"))
    }
}

impl<'a> MergeFields<'a> {
    pub(super) fn of(message: &'a Message, tags: &Tags) -> Self {
        Self(attributes(message).map(|(name, value)| (tags.of(name), value)).collect())
    }

    pub(super) fn tags(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(tag, _)| tag.as_str())
    }
}

#[cfg(test)]
impl<'a> From<Vec<(String, Value<'a>)>> for MergeFields<'a> {
    fn from(fields: Vec<(String, Value<'a>)>) -> Self {
        Self(fields)
    }
}

impl Serialize for MergeFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(tag, value)| (tag, MergeValue(value))))
    }
}

/// A number or a text; what has no value is the empty text.
struct MergeValue<'a>(&'a Value<'a>);

impl Serialize for MergeValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Float(number) if !number.is_finite() => serializer.serialize_str(""),
            number @ (Value::Int(_) | Value::Uint(_) | Value::Float(_) | Value::Decimal(_)) => {
                number.serialize(serializer)
            }
            Value::Timestamp(micros) => {
                let days = i32::try_from(micros.div_euclid(86_400_000_000));
                let days = days.map_err(serde::ser::Error::custom)?;
                serializer.collect_str(&Date(days))
            }
            other => serializer.collect_str(other),
        }
    }
}

/// Finds every merge field that the sync writes, and creates what is missing.
pub(super) async fn ensure(
    audience: &Audience,
    session: &Session,
    wanted: Vec<(String, &Field)>,
    create: bool,
) -> Result<(), Fault> {
    let mut request = audience.get(&["merge-fields"]);
    request.url.query_pairs_mut().append_pair("count", "1000");
    let listed: Listed = session.send(request).await?.json()?;
    for (tag, field) in wanted {
        let found = listed.merge_fields.iter().find(|found| found.tag.eq_ignore_ascii_case(&tag));
        match found {
            Some(found) => found.verify(field)?,
            None if create => self::create(audience, session, &tag, field).await?,
            None => return Err(missing(&tag, field)),
        }
    }
    Ok(())
}

async fn create(
    audience: &Audience,
    session: &Session,
    tag: &str,
    field: &Field,
) -> Result<(), Fault> {
    let body = json!({"tag": tag, "name": field.name, "type": type_of(field.kind),
        "required": false, "public": false});
    let request = audience.write(Method::POST, &["merge-fields"], &body)?;
    let created: MergeField = match session.send(request.repeatable(false)).await {
        Ok(response) => response.json()?,
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Mailchimp refuses to create the merge field `{tag}`: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        Err(fault) => return Err(fault),
    };
    if created.tag == tag {
        return Ok(());
    }
    Err(Fault::Protocol {
        reason: format!("Mailchimp created `{}` where `{tag}` was asked for", created.tag),
    })
}

fn missing(tag: &str, field: &Field) -> Fault {
    let wanted = type_of(field.kind);
    Fault::Misconfigured {
        reason: format!(
            "the audience has no merge field `{tag}` for `{}`: create it with the type `{wanted}`, \
             or set `create_fields = true`",
            field.name
        ),
    }
}

impl MergeField {
    fn verify(&self, field: &Field) -> Result<(), Fault> {
        if fits(field.kind, &self.kind) {
            return Ok(());
        }
        let (Self { tag, kind }, wanted) = (self, type_of(field.kind));
        Err(Fault::Misconfigured {
            reason: format!(
                "the merge field `{tag}` is of type `{kind}`, not `{wanted}`: delete it, or give \
                 `{}` another one in the option `tags`",
                field.name
            ),
        })
    }
}

const fn type_of(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Integer | FieldKind::Number => "number",
        FieldKind::Date | FieldKind::Timestamp => "date",
        FieldKind::Bool | FieldKind::Text | FieldKind::Nested => "text",
    }
}

/// Whether a merge field of that type can hold such values.
fn fits(kind: FieldKind, found: &str) -> bool {
    match kind {
        FieldKind::Bool => matches!(found, "text" | "radio" | "dropdown"),
        FieldKind::Text | FieldKind::Nested => !matches!(found, "number" | "date" | "address"),
        _ => found == type_of(kind) || found == "text",
    }
}

fn is_tag(name: &str) -> bool {
    name.len() <= LONGEST
        && name.starts_with(|first: char| first.is_ascii_uppercase())
        && name.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}
