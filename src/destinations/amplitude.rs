//! Amplitude: properties of users and groups, and events.
//!
//! Properties of users travel as `$identify` events through the same call as events do: it says which
//! rows are wrong, knows a repeated event by its `insert_id`, and takes short user ids, none of which
//! Amplitude's form for identifications does. Properties of groups need no user, and so that form.
//!
//! Amplitude refuses a request as a whole and names rows at fault; those are set aside and the others
//! sent again.

mod replies;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use url::Url;

use super::amplitude_api::{REGION, Region, address, usable};
use super::attributes::{attributes, email_beside_attributes, written};
use super::portions::{Portion, Portions, Room};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Spec, Target,
};
use crate::delivery::{Request, Session};
use crate::finding::Finding;
use crate::message::Message;
use crate::record::{Call, Value};
use replies::Answer;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Amplitude.
pub static SPEC: Spec = Spec {
    kind: "amplitude",
    title: "Amplitude",
    summary: "Sets properties of an Amplitude project's users and groups, and sends events.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Subject,
    identifiers: "user_id (the user id); accounts as group_value",
    // With 100 rows each, 1000 events per second: the limit of Amplitude's smallest plan.
    quotas: &[Quota::per_second(10)],
    batch: BatchLimits { rows: 100, max_rows: 2000, bytes: BYTES, row_bytes: ROW_BYTES },
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.amplitude]
type = "amplitude"
api_key = "${AMPLITUDE_API_KEY}"
region = "us"
"#,
    notes: &[
        "Users are told apart by `user_id` alone; the preferred email travels as the property `email`, unless `send_email = false`.",
        "Properties of users are sent as `$identify` events to `/batch`; Amplitude shows a new value from the user's next event on.",
        "NULL removes a property.",
        "Accounts become groups of the type `group_type` through `/groupidentify`, which names no single rows and needs Amplitude's Accounts add-on; users are not attached to them.",
        "User ids that Amplitude takes for nobody's (such as `null`, `unknown` or `0`) are rejected before they are sent; short ones are allowed.",
        "A text longer than 1024 characters is rejected before it is sent.",
        "Times are sent as `2026-11-20T09:00:00`, since Amplitude compares them as texts.",
        "100 rows in 10 requests per second are what the smallest plan takes; larger ones may raise `batch_size` (up to 2000) and `rate_limit`.",
        "Every event counts as activity of its user and by Amplitude's price; whether `$identify` does is uncertain (probably not).",
        "Amplitude may drop property updates of a user beyond 1800 per hour, and says nothing of it.",
        "An event that is sent twice within seven days is kept once.",
        "Nothing proves an API key without sending: `--test` does not ask Amplitude.",
    ],
    ..Spec::EVENT
};

/// `/batch` takes 20 MB.
const BYTES: usize = 5_000_000;
const ROW_BYTES: usize = 1_000_000;
/// `/groupidentify` takes 1 MB and 1024 groups; a byte may become three in a form.
const GROUPS: Room = Room { pieces: 1000, bytes: 320_000, piece_bytes: 320_000 };

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("api_key", "API key of the project"),
    REGION,
    OptionDoc::optional(
        "send_email",
        "whether the preferred email travels as the property `email`; default true",
    ),
    OptionDoc::optional(
        "group_type",
        "type of the groups that accounts become; default \"account\"",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    #[serde(default)]
    region: Region,
    #[serde(default = "crate::destinations::options::yes")]
    send_email: bool,
    #[serde(default = "account")]
    group_type: String,
}

fn account() -> String {
    "account".into()
}

/// How one project is written to.
#[derive(Debug)]
struct Amplitude {
    batch: Url,
    group_identify: Url,
    api_key: Secret,
    /// What follows the events of a request: the key among others.
    rest: Secret,
    send_email: bool,
    group_type: String,
    events: Room,
    groups: Room,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, region, send_email, group_type } = reader.own()?;
    let at = |path| {
        address(common.base_url.as_ref(), region.ingestion(), path)
            .map_err(|fact| vec![reader.refuse("region", &fact)])
    };
    let key = serde_json::Value::from(api_key.expose());
    let rest = Secret::new(format!(",\"api_key\":{key},\"options\":{{\"min_id_length\":1}}"));
    let pieces = common.batch_size.unwrap_or(SPEC.batch.rows);
    let secrets = vec![api_key.clone()];
    let amplitude = Amplitude {
        batch: at("/batch")?,
        group_identify: at("/groupidentify")?,
        api_key,
        rest,
        send_email,
        group_type,
        events: Room { pieces, bytes: BYTES, piece_bytes: ROW_BYTES },
        groups: Room { pieces: pieces.min(GROUPS.pieces), ..GROUPS },
    };
    Ok(Built::new(Arc::new(amplitude), secrets))
}

#[async_trait]
impl Destination for Amplitude {
    /// Amplitude has no call that proves an API key without sending something.
    async fn check(&self, _session: &Session) -> Result<(), Fault> {
        Ok(())
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let names = target.fields.iter().map(|field| field.name.as_str());
        let operators = names.filter(|name| name.starts_with('$'));
        let objection = |name| {
            format!("the field `{name}` begins with `$`, which Amplitude reads as an operation")
        };
        operators.map(objection).collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let call = batch.messages()[0].call();
        let room = if call == Call::Group { self.groups } else { self.events };
        let mut portions = Portions::of(batch, room, |message| self.objects(message));
        let mut lost = 0;
        while let Some(portion) = portions.next() {
            let answer = match session.send(self.request(call, &portion)).await {
                Ok(response) => {
                    let users: Vec<&str> = { portion.messages() }
                        .map(|position| batch.messages()[position].subject())
                        .collect();
                    replies::read(&response, &users)
                }
                Err(fault) => Err(fault),
            };
            match answer {
                Ok(Answer::Taken { unaccounted }) => {
                    lost += unaccounted;
                    portions.settle(&portion, Ok(Vec::new()))?;
                }
                Ok(Answer::HeldUp(verdicts)) => portions.repeat_without(portion, verdicts)?,
                Err(fault) => portions.settle(&portion, Err(fault))?,
            }
        }
        let mut receipt = portions.into_receipt(batch);
        if lost > 0 {
            receipt.notice(lost, "Amplitude counts fewer events as taken than it was sent");
        }
        Ok(receipt.into())
    }
}

impl Amplitude {
    fn request(&self, call: Call, portion: &Portion) -> Request {
        if call == Call::Group {
            let groups = portion.array();
            let identification = String::from_utf8_lossy(&groups);
            return Request::post(self.group_identify.clone())
                .form_body(&[
                    ("api_key", self.api_key.expose()),
                    ("identification", &identification),
                ])
                .reading(replies::readable);
        }
        Request::post(self.batch.clone())
            .json_body(portion.body("events", self.rest.expose()))
            .reading(replies::readable)
    }

    /// The objects that a message becomes.
    fn objects(&self, message: &Message) -> Result<Vec<Vec<u8>>, String> {
        let subject = message.subject();
        if message.call() != Call::Group {
            usable(subject)?;
        }
        match message.call() {
            Call::Group => {
                let group_properties = Operations::of(message.traits())?;
                let group_type = self.group_type.as_str();
                let group = Group { group_type, group_value: subject, group_properties };
                Ok(vec![written(&group)?])
            }
            Call::Track => Self::events(message, moment(message)?),
            Call::Identify | Call::List => {
                let email = email_beside_attributes(message).filter(|_| self.send_email);
                let email = email.map(|email| ("email", Value::Text(email)));
                let user_properties = Operations::of(attributes(message).chain(email))?;
                Ok(vec![written(&Occurrence {
                    user_id: subject,
                    event_type: "$identify",
                    time: moment(message)?,
                    insert_id: message.id().to_string(),
                    event_properties: None,
                    user_properties: Some(user_properties),
                })?])
            }
        }
    }

    fn events(message: &Message, time: i64) -> Result<Vec<Vec<u8>>, String> {
        let written = message.events().into_iter().map(|event| {
            let properties = event.properties.into_iter();
            let properties = properties.map(|(name, value)| Ok((name, short(name, value)?)));
            written(&Occurrence {
                user_id: message.subject(),
                event_type: event.name,
                time,
                insert_id: event.id.to_string(),
                event_properties: Some(properties.collect::<Result<_, String>>()?),
                user_properties: None,
            })
        });
        written.collect()
    }
}

/// One object of `events`.
#[derive(Serialize)]
struct Occurrence<'a> {
    user_id: &'a str,
    event_type: &'a str,
    /// In milliseconds since 1970.
    time: i64,
    insert_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_properties: Option<BTreeMap<&'a str, Value<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_properties: Option<Operations<'a>>,
}

/// One object of `identification`.
#[derive(Serialize)]
struct Group<'a> {
    group_type: &'a str,
    group_value: &'a str,
    group_properties: Operations<'a>,
}

/// What is done to properties. They are never empty both: a message says something.
#[derive(Serialize)]
struct Operations<'a> {
    #[serde(rename = "$set", skip_serializing_if = "BTreeMap::is_empty")]
    set: BTreeMap<&'a str, Value<'a>>,
    #[serde(rename = "$unset", skip_serializing_if = "BTreeMap::is_empty")]
    unset: BTreeMap<&'a str, &'static str>,
}

impl<'a> Operations<'a> {
    fn of(values: impl Iterator<Item = (&'a str, Value<'a>)>) -> Result<Self, String> {
        let mut operations = Self { set: BTreeMap::new(), unset: BTreeMap::new() };
        for (name, value) in values {
            if value.is_null() || matches!(value, Value::Float(number) if !number.is_finite()) {
                operations.unset.insert(name, "-");
            } else {
                operations.set.insert(name, short(name, value)?);
            }
        }
        Ok(operations)
    }
}

/// The value as Amplitude takes it. It compares times as texts: all must have the same form.
fn short<'a>(name: &str, value: Value<'a>) -> Result<Value<'a>, String> {
    match value {
        Value::Text(text) if text.chars().count() > 1024 => {
            let length = text.chars().count();
            Err(format!("`{name}` has {length} characters; Amplitude takes at most 1024"))
        }
        Value::Timestamp(micros) => {
            let at = chrono::DateTime::from_timestamp_micros(micros)
                .ok_or_else(|| format!("`{name}` is a time that no calendar reaches"))?;
            Ok(Value::Json(at.format("\"%Y-%m-%dT%H:%M:%S\"").to_string()))
        }
        other => Ok(other),
    }
}

/// When the change was computed, in milliseconds since 1970.
fn moment(message: &Message) -> Result<i64, String> {
    chrono::DateTime::parse_from_rfc3339(message.timestamp())
        .map(|at| at.timestamp_millis())
        .map_err(|error| format!("the time of the run is unreadable: {error}"))
}
