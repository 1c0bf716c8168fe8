//! Properties of contacts and companies: what they are called, how values are written into them, and
//! how those that a sync needs are found or created.
//!
//! What it promises: nothing is created that is there already, even when somebody else creates it
//! meanwhile; a property of another type, or one that HubSpot computes, stops the sync before
//! anything is sent.

use http::Method;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value as Json, json};

use super::super::attributes::attributes;
use super::super::hubspot_api::Api;
use super::super::{Fault, Field, FieldKind};
use crate::delivery::Session;
use crate::message::Message;
use crate::record::Value;

/// What HubSpot keeps to itself, or what decides who may be mailed or is paid for.
const RESERVED: &[&str] =
    &["hs_object_id", "hs_additional_emails", "hs_marketable_status", "hs_legal_basis"];
/// Opting out of all emails, or of those of one kind, whose number follows.
const OPTOUT: &str = "hs_email_optout";
/// Uncertain; HubSpot refuses a name that is too long even for itself.
const NAME_BYTES: usize = 100;

/// The kind of record that a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Contact,
    Company,
}

/// Values of properties: all are texts, and an empty one clears.
#[derive(Debug)]
pub(super) struct Values(pub Vec<(String, String)>);

/// A property that must be there.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    name: String,
    label: &'a str,
    kind: FieldKind,
    /// Tells records apart.
    unique: bool,
}

/// A property as HubSpot lists it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    calculated: bool,
    #[serde(default)]
    has_unique_value: bool,
    #[serde(default)]
    options: Vec<Choice>,
    modification_metadata: Option<Modification>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Modification {
    #[serde(default)]
    read_only_value: bool,
}

#[derive(Deserialize)]
struct Listed {
    results: Vec<Property>,
}

impl Kind {
    /// What its objects are called in addresses.
    pub(super) const fn objects(self) -> &'static str {
        match self {
            Self::Contact => "contacts",
            Self::Company => "companies",
        }
    }

    /// The group that every account has its own properties in.
    const fn group(self) -> &'static str {
        match self {
            Self::Contact => "contactinformation",
            Self::Company => "companyinformation",
        }
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'a> Wanted<'a> {
    pub(super) fn value(field: &'a Field) -> Self {
        let Field { name, kind } = field;
        Self { name: property_name(name), label: name, kind: *kind, unique: false }
    }

    pub(super) fn identifier(name: &'a str) -> Self {
        Self { name: name.to_owned(), label: name, kind: FieldKind::Text, unique: true }
    }

    fn definition(&self, kind: Kind) -> Json {
        let (of_values, field) = types(self.kind);
        let mut definition = json!({
            "name": self.name,
            "label": self.label,
            "groupName": kind.group(),
            "type": of_values,
            "fieldType": field,
        });
        if self.unique {
            definition["hasUniqueValue"] = true.into();
        }
        if of_values == "enumeration" {
            let choice = |position: usize, value: &str| json!({"label": value, "value": value, "displayOrder": position, "hidden": false});
            definition["options"] = json!([choice(0, "true"), choice(1, "false")]);
        }
        definition
    }

    fn missing(&self, kind: Kind) -> Fault {
        let Self { name, unique, .. } = self;
        let (of_values, field) = types(self.kind);
        let also = if *unique { ", with unique values" } else { "" };
        Fault::Misconfigured {
            reason: format!(
                "HubSpot's {} have no property `{name}`: create it with the type `{of_values}` and \
                 the field type `{field}`{also}, or set `create_fields = true`",
                kind.objects()
            ),
        }
    }
}

/// Lower case, digits and underscores, beginning with a letter.
pub(super) fn property_name(name: &str) -> String {
    let allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    let lower = name.to_lowercase();
    let mapped: String =
        lower.chars().map(|letter| if allowed(letter) { letter } else { '_' }).collect();
    match mapped.starts_with(|letter: char| letter.is_ascii_lowercase()) {
        true => mapped,
        false => format!("p_{mapped}"),
    }
}

/// Why a field cannot be written.
pub(super) fn objection(field: &Field, identifier: &str) -> Option<String> {
    let name = property_name(&field.name);
    let reason = match name.as_str() {
        name if name == identifier => "is what this destination identifies by",
        name if RESERVED.contains(&name) => "belongs to HubSpot",
        name if name.starts_with(OPTOUT) => "decides who may be mailed, which is never written",
        name if name.len() > NAME_BYTES => "has a longer name than the 100 letters HubSpot takes",
        _ => return None,
    };
    Some(format!("the field `{}` {reason}", field.name))
}

/// What a message says, as HubSpot takes it.
pub(super) fn values(message: &Message) -> Values {
    Values(attributes(message).map(|(name, value)| (property_name(name), text(&value))).collect())
}

/// Times in milliseconds since 1970, the form of ISO 8601 that HubSpot reads being uncertain.
pub(super) fn text(value: &Value<'_>) -> String {
    match value {
        Value::Timestamp(micros) => micros.div_euclid(1000).to_string(),
        other => other.to_string(),
    }
}

/// Finds every property that is wanted, and creates what is missing.
pub(super) async fn ensure(
    api: &Api,
    session: &Session,
    kind: Kind,
    wanted: &[Wanted<'_>],
    create: bool,
) -> Result<(), Fault> {
    if wanted.is_empty() {
        return Ok(());
    }
    let listed = match listed(api, session, kind).await {
        // What follows does not depend on the answer.
        Err(Fault::Rehearsed) => return Ok(()),
        other => other?,
    };
    let missing = lacking(&listed, wanted)?;
    let Some(first) = missing.first() else { return Ok(()) };
    if !create {
        return Err(first.missing(kind));
    }
    created(api, session, kind, &missing).await
}

/// Creates properties, and looks whether they are there then: a refusal may only mean that somebody
/// was faster.
async fn created(
    api: &Api,
    session: &Session,
    kind: Kind,
    missing: &[&Wanted<'_>],
) -> Result<(), Fault> {
    let inputs: Vec<Json> = missing.iter().map(|wanted| wanted.definition(kind)).collect();
    let path: &[&str] = &[kind.objects(), "batch", "create"];
    let request = api.write(Method::POST, ("properties", path), &json!({ "inputs": inputs }))?;
    let answer = match session.send(request).await {
        Ok(response) => response.reason(),
        Err(Fault::Rejected { reason }) => reason,
        Err(fault) => return Err(fault),
    };
    let listed = listed(api, session, kind).await?;
    for wanted in missing {
        if lacking(&listed, std::slice::from_ref(*wanted))?.is_empty() {
            continue;
        }
        let name = &wanted.name;
        let reason = format!("HubSpot did not create the property `{name}`: {answer}");
        return Err(Fault::Misconfigured { reason });
    }
    Ok(())
}

async fn listed(api: &Api, session: &Session, kind: Kind) -> Result<Vec<Property>, Fault> {
    let response = session.send(api.get("properties", &[kind.objects()])).await?;
    response.object::<Listed>().map(|listed| listed.results)
}

/// What is not there; a fault where something is there that cannot be used.
fn lacking<'w, 'a>(
    listed: &[Property],
    wanted: &'w [Wanted<'a>],
) -> Result<Vec<&'w Wanted<'a>>, Fault> {
    let mut missing = Vec::new();
    for wanted in wanted {
        match listed.iter().find(|property| property.name == wanted.name) {
            Some(property) => property.verify(wanted)?,
            None => missing.push(wanted),
        }
    }
    Ok(missing)
}

impl Property {
    fn verify(&self, wanted: &Wanted<'_>) -> Result<(), Fault> {
        let Self { name, kind: found, .. } = self;
        let computed = self.modification_metadata.as_ref().is_some_and(|it| it.read_only_value);
        let reason = if self.calculated || computed {
            format!("`{name}` is a property that HubSpot computes by itself")
        } else if wanted.unique && !self.has_unique_value {
            format!(
                "HubSpot's property `{name}` does not have unique values, which cannot be changed: \
                 create another one"
            )
        } else if !self.holds(wanted.kind) {
            let fitting = match (wanted.kind, found.as_str()) {
                (FieldKind::Bool, "enumeration") => "with the options `true` and `false`".into(),
                _ => format!("`{}`", types(wanted.kind).0),
            };
            format!(
                "HubSpot's property `{name}` is of type `{found}`, not {fitting}: send the column \
                 under another alias, or change the property"
            )
        } else {
            return Ok(());
        };
        Err(Fault::Misconfigured { reason })
    }

    fn holds(&self, kind: FieldKind) -> bool {
        let found = self.kind.as_str();
        match kind {
            FieldKind::Bool => match found {
                "enumeration" => ["true", "false"]
                    .iter()
                    .all(|word| self.options.iter().any(|choice| choice.value == *word)),
                _ => matches!(found, "bool" | "string"),
            },
            FieldKind::Integer | FieldKind::Number => matches!(found, "number" | "string"),
            FieldKind::Text => matches!(found, "string" | "enumeration" | "phone_number"),
            FieldKind::Nested => found == "string",
            FieldKind::Date => found == "date",
            FieldKind::Timestamp => found == "datetime",
        }
    }
}

/// The type of values and the type of field that a new property gets.
const fn types(kind: FieldKind) -> (&'static str, &'static str) {
    match kind {
        FieldKind::Bool => ("enumeration", "booleancheckbox"),
        FieldKind::Integer | FieldKind::Number => ("number", "number"),
        FieldKind::Text => ("string", "text"),
        FieldKind::Nested => ("string", "textarea"),
        FieldKind::Date => ("date", "date"),
        FieldKind::Timestamp => ("datetime", "date"),
    }
}
