//! Custom fields of users and organizations: what they are called, which types they have, and how
//! those that a sync needs are found or created.
//!
//! What it promises: nothing is created that is there already, and a field of another type stops the
//! sync before anything is sent. Zendesk ignores values of unknown fields silently, so that nothing
//! travels before its field was seen.

use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

use super::super::attributes::attributes_beside;
use super::super::{Fault, Field, FieldKind, Target};
use super::api::Api;
use crate::delivery::Session;
use crate::message::Message;
use crate::record::{Call, Level, Value};

/// Values of custom fields.
pub(super) struct Fields<'a>(Vec<(String, Value<'a>)>);

/// A field as Zendesk lists it.
#[derive(Debug, Deserialize)]
struct Custom {
    key: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default = "crate::destinations::options::yes")]
    active: bool,
}

/// Pages of a hundred fields each that are read at most.
const MOST_PAGES: usize = 50;

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        let all = attributes_beside(message, &["name"]);
        Self(all.map(|(name, value)| (field_key(name), value)).collect())
    }
}

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, Flat(value))))
    }
}

/// A value as a custom field holds it: lists and structures as their JSON text.
struct Flat<'a>(&'a Value<'a>);

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Json(text) => serializer.serialize_str(text),
            other => other.serialize(serializer),
        }
    }
}

/// Letters, digits, underscores and hyphens, in lower case.
pub(super) fn field_key(name: &str) -> String {
    let plain = |letter: char| match letter {
        '_' | '-' => letter,
        letter if letter.is_ascii_alphanumeric() => letter.to_ascii_lowercase(),
        _ => '_',
    };
    name.chars().map(plain).collect()
}

pub(super) fn objections(target: &Target) -> Vec<String> {
    if target.call == Call::Track {
        return Vec::new();
    }
    let is_number = |field: &&Field| field.name.chars().all(|letter| letter.is_ascii_digit());
    let told = |field: &Field| {
        let name = &field.name;
        format!("`{name}` is a number, which Zendesk takes for no key of a field: alias it")
    };
    target.fields.iter().filter(is_number).map(told).collect()
}

/// Which fields a sync writes.
#[derive(Debug, Clone, Copy)]
struct Owner {
    /// Of the list, in paths and replies.
    list: &'static str,
    one: &'static str,
}

impl Owner {
    const fn of(level: Level) -> Self {
        match level {
            Level::User => Self { list: "user_fields", one: "user_field" },
            Level::Account => Self { list: "organization_fields", one: "organization_field" },
        }
    }
}

/// Finds every field that the sync writes, and creates what is missing.
pub(super) async fn ensure(
    api: &Api,
    session: &Session,
    target: &Target,
    create: bool,
) -> Result<(), Fault> {
    if target.call == Call::Track || target.fields.is_empty() {
        return Ok(());
    }
    let owner = Owner::of(target.level);
    let found = match listed(api, session, owner).await {
        // What follows does not depend on the answer.
        Err(Fault::Rehearsed) => return Ok(()),
        other => other?,
    };
    for field in &target.fields {
        let key = field_key(&field.name);
        match found.iter().find(|custom| custom.key.eq_ignore_ascii_case(&key)) {
            Some(custom) => custom.verify(field.kind)?,
            None if create => declare(api, session, owner, field).await?,
            None => return Err(missing(owner, &key, field.kind)),
        }
    }
    Ok(())
}

async fn listed(api: &Api, session: &Session, owner: Owner) -> Result<Vec<Custom>, Fault> {
    #[derive(Deserialize)]
    struct Page {
        #[serde(alias = "user_fields", alias = "organization_fields")]
        fields: Vec<Custom>,
        meta: Option<Meta>,
        next_page: Option<String>,
    }
    #[derive(Deserialize)]
    struct Meta {
        has_more: bool,
        after_cursor: Option<String>,
    }
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let mut request = api.get(&[owner.list]);
        request.url.query_pairs_mut().append_pair("page[size]", "100");
        if let Some(cursor) = &cursor {
            request.url.query_pairs_mut().append_pair("page[after]", cursor);
        }
        let Page { fields, meta, next_page } = session.send(request).await?.json()?;
        all.extend(fields);
        match (meta, next_page) {
            (Some(Meta { has_more: true, after_cursor: Some(next) }), _) => cursor = Some(next),
            (None, Some(_)) | (Some(Meta { has_more: true, .. }), _) => break,
            (Some(_) | None, _) => return Ok(all),
        }
    }
    let reason = format!("the list of `{}` does not come to an end", owner.list);
    Err(Fault::Protocol { reason })
}

async fn declare(api: &Api, session: &Session, owner: Owner, field: &Field) -> Result<(), Fault> {
    let Owner { list, one } = owner;
    let key = field_key(&field.name);
    let body = json!({one: {"key": key, "title": field.name, "type": field_type(field.kind)}});
    // A second one of the same key is refused, so that repeating is harmless.
    let reply: serde_json::Value = match session.send(api.post(&[list], &body)?).await {
        Ok(response) => response.json()?,
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Zendesk refuses to create the field `{key}`: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        Err(fault) => return Err(fault),
    };
    if reply[one]["key"] == key {
        return Ok(());
    }
    let reason = format!("the reply to the creation of the field `{key}` is about another one");
    Err(Fault::Protocol { reason })
}

fn missing(owner: Owner, key: &str, kind: FieldKind) -> Fault {
    let (one, wanted) = (owner.one.replace('_', " "), field_type(kind));
    Fault::Misconfigured {
        reason: format!(
            "Zendesk has no {one} `{key}`: create it with the type `{wanted}`, or set \
             `create_fields = true`"
        ),
    }
}

impl Custom {
    fn verify(&self, kind: FieldKind) -> Result<(), Fault> {
        let Self { key, kind: found, active } = self;
        if !active {
            let reason = format!("Zendesk's field `{key}` is deactivated: activate it");
            return Err(Fault::Misconfigured { reason });
        }
        if fits(kind, found) {
            return Ok(());
        }
        let wanted = field_type(kind);
        Err(Fault::Misconfigured {
            reason: format!(
                "Zendesk's field `{key}` is of type `{found}`, not `{wanted}`: send the column \
                 under another alias"
            ),
        })
    }
}

const fn field_type(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool => "checkbox",
        FieldKind::Integer => "integer",
        FieldKind::Number => "decimal",
        FieldKind::Date => "date",
        // A field of the type `date` would lose the time of day.
        FieldKind::Text | FieldKind::Timestamp => "text",
        FieldKind::Nested => "textarea",
    }
}

/// Whether a field of that type can hold such values. A drop-down is called `tagger` in places.
fn fits(kind: FieldKind, found: &str) -> bool {
    match kind {
        FieldKind::Integer => matches!(found, "integer" | "decimal"),
        FieldKind::Text => {
            matches!(found, "text" | "textarea" | "regexp" | "dropdown" | "tagger")
        }
        FieldKind::Timestamp => matches!(found, "date" | "text" | "textarea"),
        FieldKind::Nested => matches!(found, "text" | "textarea"),
        FieldKind::Bool | FieldKind::Number | FieldKind::Date => found == field_type(kind),
    }
}
