//! Braze: attributes and events of users through `/users/track`.
//!
//! Braze tells users apart by their external id, or by email where a project says so, never by both:
//! an external id with now this, now that email would overwrite the profile's address each time.
//! It answers 2xx with refused rows, which it names by array and index; whole refusals name them too.
//! Success means that Braze queued what it was sent.

mod replies;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::attributes::{attributes, email_beside_attributes, written};
use super::braze_api::{Instance, Workspace};
use super::portions::{Portions, Room};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::{Event, Message};
use crate::record::{Call, Value};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Braze.
pub static SPEC: Spec = Spec {
    kind: "braze",
    title: "Braze",
    summary: "Sends user attributes and custom events to a Braze workspace.",
    calls: &[Call::Identify, Call::Track],
    grain: Grain::Subject,
    identifiers: "external_id (the user id), with the preferred email as an attribute; or email alone",
    quotas: &[Quota::per_second(100)],
    batch: BatchLimits { rows: 75, max_rows: 75, bytes: BYTES, row_bytes: BYTES },
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.braze]
type = "braze"
instance = "US-03"
api_key = "${BRAZE_API_KEY}"
"#,
    notes: &[
        "Braze has no accounts: account-level models are refused.",
        "By default a user is one profile by `external_id`; `identify_by = \"email\"` sends one object per email and no external id, since an external id with changing emails would overwrite the address each time.",
        "Where several profiles share an email, `identify_by = \"email\"` reaches only the one that was updated last, first of those that have an external id.",
        "Attributes and events need not exist beforehand; Braze fixes an attribute's type by its first value, and what it does with a later value of another type is uncertain (probably dropped silently).",
        "Every attribute that is written may be billed as a data point: `send_email = false` saves one per message.",
        "A text longer than 255 characters, and a nested value that Braze would read as an operator (`inc`, `add`, `remove`), is rejected before it is sent.",
        "Arrays of more than 25 values are cut off by Braze unless the workspace allows more; times in the future become now.",
        "A contract by monthly active users may take only 50 objects per request: set `batch_size = 50`.",
        "The limit of 4 MB per request is uncertain; requests are kept below it.",
        "`email_subscribe`, `push_subscribe` and `subscription_groups` decide who is mailed and are never written.",
        "Success means queued: Braze applies a change a moment later, and calls of one run are not ordered among each other.",
        "Events have no id there: a reply that is lost may log an event twice.",
        "`--test` sends an empty request, which Braze refuses after it has accepted the key.",
    ],
    ..Spec::EVENT
};

/// 4 MB, less what surrounds the objects.
const BYTES: usize = 3_900_000;

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("api_key", "REST API key with the permission `users.track`"),
    OptionDoc::optional(
        "instance",
        "\"US-01\" to \"US-10\", \"EU-01\", \"EU-02\", \"AU-01\", \"ID-01\" or \"JP-01\"; or give `base_url`",
    ),
    OptionDoc::optional("identify_by", "\"external_id\" (default) or \"email\""),
    OptionDoc::optional(
        "send_email",
        "whether the preferred email travels as an attribute beside an external id; default true",
    ),
    OptionDoc::optional("update_existing_only", "true: never creates a profile; default false"),
    OptionDoc::optional("app_id", "app that events are attributed to"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    instance: Option<Instance>,
    #[serde(default)]
    identify_by: Key,
    send_email: Option<bool>,
    #[serde(default)]
    update_existing_only: bool,
    app_id: Option<String>,
}

/// What a user is told apart by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    #[default]
    ExternalId,
    Email,
}

/// How one workspace is written to.
#[derive(Debug)]
struct Braze {
    workspace: Workspace,
    key: Key,
    send_email: bool,
    update_existing_only: bool,
    app_id: Option<String>,
    room: Room,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    if options.identify_by == Key::Email && options.send_email.is_some() {
        let fact = "has no meaning beside `identify_by = \"email\"`: the email is the identifier";
        return Err(vec![reader.refuse("send_email", fact)]);
    }
    let secrets = vec![options.api_key.clone()];
    let pieces = common.batch_size.unwrap_or(SPEC.batch.rows);
    let braze = Braze {
        workspace: Workspace::of(reader, common, options.instance, options.api_key)?,
        key: options.identify_by,
        send_email: options.send_email.unwrap_or(options.identify_by == Key::ExternalId),
        update_existing_only: options.update_existing_only,
        app_id: options.app_id,
        room: Room { pieces, bytes: BYTES, piece_bytes: BYTES },
    };
    let grain = match options.identify_by {
        Key::ExternalId => Grain::Subject,
        Key::Email => Grain::Email,
    };
    Ok(Built::new(Arc::new(braze), secrets).by(grain))
}

#[async_trait]
impl Destination for Braze {
    /// An empty request is refused for its emptiness only after the key was accepted.
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let empty = r#"{"attributes":[]}"#.as_bytes().into();
        let request = self.workspace.post("/users/track", empty).reading(replies::refused_as_empty);
        session.send(request).await.map(|_| ())
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let names = target.fields.iter().map(|field| field.name.as_str());
        names.filter_map(|name| self.objection(target.call, name)).collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let array = match batch.messages()[0].call() {
            Call::Track => "events",
            _ => "attributes",
        };
        let mut portions = Portions::of(batch, self.room, |message| self.objects(message));
        let mut lost = 0;
        while let Some(portion) = portions.next() {
            let request = self.workspace.post("/users/track", portion.body(array, ""));
            let answer = match session.send(request.reading(replies::readable)).await {
                Ok(response) => replies::read(&response, array, &portion).map(|reading| {
                    lost += reading.unaccounted;
                    reading.verdicts
                }),
                Err(fault) => Err(fault),
            };
            portions.settle(&portion, answer)?;
        }
        let mut receipt = portions.into_receipt(batch);
        if lost > 0 {
            receipt.notice(lost, "Braze counts fewer objects as processed than it was sent");
        }
        Ok(receipt.into())
    }
}

impl Braze {
    /// Why a name cannot be written to.
    fn objection(&self, call: Call, name: &str) -> Option<String> {
        let reason = match (call, name) {
            (Call::Track, "time" | "event_name") => "is reserved by Braze in events",
            (Call::Track, _) if name.len() <= 255 => return None,
            (_, "external_id" | "braze_id" | "user_alias" | "_update_existing_only") => {
                "names or steers the profile itself in Braze"
            }
            (_, "push_tokens") => "would register devices in Braze",
            (_, "email_subscribe" | "push_subscribe" | "subscription_groups") => {
                "decides who is mailed, which is not written from here"
            }
            (_, "email") if self.key == Key::Email => "is what this destination identifies by",
            _ if name.len() > 255 => "is longer than the 255 characters that Braze takes",
            _ => return None,
        };
        Some(format!("the field `{name}` {reason}"))
    }

    /// The objects that a message becomes.
    fn objects(&self, message: &Message) -> Result<Vec<Vec<u8>>, String> {
        let identity = self.identity(message)?;
        if message.call() != Call::Track {
            attributes(message).try_for_each(|(name, value)| acceptable(name, &value))?;
            let object = Attributes { braze: self, identity, message };
            return Ok(vec![written(&object)?]);
        }
        message
            .events()
            .into_iter()
            .map(|event| {
                event.properties.iter().try_for_each(|(name, value)| acceptable(name, value))?;
                let time = message.timestamp();
                written(&Occurrence { braze: self, identity, time, event })
            })
            .collect()
    }

    fn identity<'a>(&self, message: &'a Message) -> Result<(&'static str, &'a str), String> {
        match self.key {
            Key::ExternalId => Ok(("external_id", message.subject())),
            Key::Email => message
                .email()
                .map(|email| ("email", email))
                .ok_or_else(|| "it has no email".into()),
        }
    }
}

/// Operators that Braze looks for in objects.
const OPERATORS: &[&str] = &["inc", "add", "remove", "$add", "$remove", "$update"];

/// Refuses what Braze would read as something else than the value it is.
fn acceptable(name: &str, value: &Value<'_>) -> Result<(), String> {
    match value {
        Value::Text(text) if text.chars().count() > 255 => {
            let length = text.chars().count();
            Err(format!("`{name}` has {length} characters; Braze takes at most 255"))
        }
        Value::Json(json) if json.trim_start().starts_with('{') => {
            let keys: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json)
                .map_err(|error| format!("`{name}` cannot be read: {error}"))?;
            match OPERATORS.iter().find(|operator| keys.contains_key(**operator)) {
                Some(operator) => Err(format!(
                    "`{name}` has a key `{operator}`, which Braze reads as an operator"
                )),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// One object of `attributes`.
struct Attributes<'a> {
    braze: &'a Braze,
    identity: (&'static str, &'a str),
    message: &'a Message,
}

impl Serialize for Attributes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { braze, identity: (kind, id), message } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(kind, id)?;
        if braze.update_existing_only {
            map.serialize_entry("_update_existing_only", &true)?;
        }
        for (name, value) in attributes(message) {
            map.serialize_entry(name, &value)?;
        }
        if let Some(email) = email_beside_attributes(message).filter(|_| braze.send_email) {
            map.serialize_entry("email", email)?;
        }
        map.end()
    }
}

/// One object of `events`.
struct Occurrence<'a> {
    braze: &'a Braze,
    identity: (&'static str, &'a str),
    time: &'a str,
    event: Event<'a>,
}

impl Serialize for Occurrence<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { braze, identity: (kind, id), time, event } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(kind, id)?;
        if braze.update_existing_only {
            map.serialize_entry("_update_existing_only", &true)?;
        }
        if let Some(app) = &braze.app_id {
            map.serialize_entry("app_id", app)?;
        }
        map.serialize_entry("name", event.name)?;
        map.serialize_entry("time", time)?;
        map.serialize_entry("properties", &Properties(&event.properties))?;
        map.end()
    }
}

struct Properties<'a>(&'a [(&'a str, Value<'a>)]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
