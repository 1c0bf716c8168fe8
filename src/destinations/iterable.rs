//! Iterable: fields of users and custom events, through the bulk calls alone.
//!
//! Iterable works on bulk and on single calls in separate pipelines, so that one user's changes only
//! stay in order when all take the same way. It answers 200 with failed rows, which it names by the
//! values that identify them, and leaves out fields that a project does not take without failing.
//!
//! What it never does: it touches no subscription, neither to lists nor to channels.

mod objects;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::attributes::{attributes, email_beside_attributes, written};
use super::iterable_api::{API_KEY, Key, Project, REGION, Region, Row, read};
use super::portions::{Portion, Portions, Room, Verdict};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Field, FieldKind,
    Grain, HTTP_OPTIONS, Idempotency, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Spec,
    Target,
};
use crate::delivery::{Request, Session};
use crate::finding::Finding;
use crate::message::Message;
use crate::record::{Call, Value};
use objects::{DataFields, Occurrence, User, objection};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Iterable.
pub static SPEC: Spec = Spec {
    kind: "iterable",
    title: "Iterable",
    summary: "Writes fields of an Iterable project's users and tracks custom events.",
    calls: &[Call::Identify, Call::Track],
    grain: Grain::Email,
    identifiers: "email; or userId (the user id), with the preferred email as a field",
    // Of the specification; what bulk calls may do is far less.
    quotas: &[Quota::per_second(500)],
    endpoints: &[
        (BULK_UPDATE, Quota::per_second(5)),
        (TRACK_BULK, Quota::per_second(10)),
        (GET_FIELDS, Quota::per_second(3)),
    ],
    batch: BatchLimits { rows: 1000, max_rows: 1000, bytes: BYTES, row_bytes: BYTES },
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.iterable]
type = "iterable"
api_key = "${ITERABLE_API_KEY}"
region = "us"
"#,
    notes: &[
        "Iterable has no accounts: account-level models are refused.",
        "An email-based project identifies people by email, a userId-based one by user id, a hybrid one by either: `identify_by` must fit the project.",
        "With `identify_by = \"user_id\"` the preferred email travels as the field `email`, which changes the person's address there; `send_email = false` leaves it alone.",
        "With `identify_by = \"user_id\"` an email-based project makes a person of an unknown user id, unless `prefer_user_id = false`.",
        "Fields need not exist: Iterable creates them and fixes their type by the first value; a later value of another type is rejected.",
        "With `create_fields = false` a field that is missing stops the sync before anything is sent; a row of which Iterable leaves out a field is rejected.",
        "Of events nothing is checked beforehand, as Iterable lists only the fields of users.",
        "An email-based project makes no person of an event for an unknown email (uncertain whether it keeps the event).",
        "A `null` clears a field (uncertain); a structure replaces the one before as a whole.",
        "Timestamps are sent as `2026-11-20 09:00:00 +00:00`, dates as `2026-11-20`.",
        "Field names with a dot, a space at either end or a leading underscore are refused here, since what Iterable makes of them is uncertain.",
        "Whether a user id may be longer than 52 characters is uncertain and left to Iterable.",
        "Events carry an id, so that one that is sent twice is kept once.",
        "Iterable answers before it has worked through a batch: a change shows a minute later, and events and fields of one run are not ordered among each other.",
        "For one person, other tools should use bulk calls as well: Iterable keeps no order between them and single ones.",
        "Whether a slow-down names its pause is uncertain.",
    ],
    ..Spec::EVENT
};

/// 4 MB, less what surrounds the rows.
const BYTES: usize = 3_900_000;
const BULK_UPDATE: &str = "bulkUpdate";
const TRACK_BULK: &str = "trackBulk";
const GET_FIELDS: &str = "getFields";

const OPTIONS: &[OptionDoc] = &[
    API_KEY,
    REGION,
    OptionDoc::optional("identify_by", "\"email\" (default) or \"user_id\""),
    OptionDoc::optional(
        "send_email",
        "whether the preferred email travels as a field beside a user id; default true",
    ),
    OptionDoc::optional(
        "prefer_user_id",
        "whether an email-based project makes a person of an unknown user id; default true",
    ),
    OptionDoc::optional(
        "create_fields",
        "whether Iterable creates fields that are missing; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    #[serde(default)]
    region: Region,
    #[serde(default)]
    identify_by: Key,
    send_email: Option<bool>,
    prefer_user_id: Option<bool>,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
}

/// How one project is written to.
#[derive(Debug)]
struct Iterable {
    project: Project,
    key: Key,
    send_email: bool,
    prefer_user_id: bool,
    create_fields: bool,
    room: Room,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let by_email = options.identify_by == Key::Email;
    let idle = [("send_email", options.send_email), ("prefer_user_id", options.prefer_user_id)];
    let findings: Vec<Finding> = { idle.iter() }
        .filter(|(_, given)| by_email && given.is_some())
        .map(|(name, _)| reader.refuse(name, "has no meaning without `identify_by = \"user_id\"`"))
        .collect();
    if !findings.is_empty() {
        return Err(findings);
    }
    let secrets = vec![options.api_key.clone()];
    let project = Project::new(common.base_url.as_ref(), options.region, options.api_key)
        .map_err(|fact| vec![reader.refuse("region", &fact)])?;
    let pieces = common.batch_size.unwrap_or(SPEC.batch.rows);
    let iterable = Iterable {
        project,
        key: options.identify_by,
        send_email: !by_email && options.send_email.unwrap_or(true),
        prefer_user_id: options.prefer_user_id.unwrap_or(true),
        create_fields: options.create_fields,
        room: Room { pieces, bytes: BYTES, piece_bytes: BYTES },
    };
    let grain = if by_email { Grain::Email } else { Grain::Subject };
    Ok(Built::new(Arc::new(iterable), secrets).by(grain))
}

#[async_trait]
impl Destination for Iterable {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.fields(session).await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if self.create_fields || target.call == Call::Track || target.fields.is_empty() {
            return Ok(Remote::default());
        }
        let known = match self.fields(session).await {
            Ok(known) => known,
            // What follows does not depend on the answer.
            Err(Fault::Rehearsed) => return Ok(Remote::default()),
            Err(fault) => return Err(fault),
        };
        match target.fields.iter().find(|field| !known.contains_key(&field.name)) {
            Some(field) => Err(missing(field)),
            None => Ok(Remote::default()),
        }
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let names = target.fields.iter().map(|field| field.name.as_str());
        names.filter_map(|name| objection(target.call, name)).collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let mut portions = Portions::of(batch, self.room, |message| self.objects(message));
        let mut lost = 0;
        while let Some(portion) = portions.next() {
            let request = self.request(batch.messages()[0].call(), &portion);
            let answer = match session.send(request).await {
                Ok(response) => read(&response, &self.rows(batch, &portion)).map(|reading| {
                    lost += reading.unaccounted;
                    let refusals = reading.refusals.iter();
                    refusals
                        .flat_map(|refusal| {
                            let rows = refusal.rows.iter();
                            rows.map(|row| Verdict::rejected(*row, refusal.reason.as_str()))
                        })
                        .collect()
                }),
                Err(fault) => Err(fault),
            };
            portions.settle(&portion, answer)?;
        }
        let mut receipt = portions.into_receipt(batch);
        if lost > 0 {
            receipt.notice(lost, "Iterable counts fewer rows than it was sent");
        }
        Ok(receipt.into())
    }
}

impl Iterable {
    /// The user fields that the project knows.
    async fn fields(&self, session: &Session) -> Result<Map<String, Json>, Fault> {
        #[derive(Deserialize)]
        struct Fields {
            fields: Map<String, Json>,
        }
        let request = self.project.get("/api/users/getFields").endpoint(GET_FIELDS);
        let known: Fields = session.send(request).await?.json()?;
        Ok(known.fields)
    }

    fn request(&self, call: Call, portion: &Portion) -> Request {
        if call == Call::Track {
            let body = portion.body("events", "");
            return self.project.post("/api/events/trackBulk", body).endpoint(TRACK_BULK);
        }
        let creating = format!(",\"createNewFields\":{}", self.create_fields);
        let body = portion.body("users", &creating);
        self.project.post("/api/users/bulkUpdate", body).endpoint(BULK_UPDATE)
    }

    /// The objects that a message becomes.
    fn objects(&self, message: &Message) -> Result<Vec<Vec<u8>>, String> {
        let identity = self.identity(message)?;
        if message.call() != Call::Track {
            let data = DataFields(self.data(message));
            let prefer = (self.key == Key::UserId).then_some(self.prefer_user_id);
            return Ok(vec![written(&User { identity, prefer, data })?]);
        }
        let at = chrono::DateTime::parse_from_rfc3339(message.timestamp())
            .map_err(|error| format!("the time of the run is unreadable: {error}"))?;
        let created_at = at.timestamp();
        let creating = self.create_fields;
        message
            .events()
            .into_iter()
            .map(|event| written(&Occurrence { identity, created_at, creating, event }))
            .collect()
    }

    fn identity<'a>(&self, message: &'a Message) -> Result<(&'static str, &'a str), String> {
        match self.key {
            Key::UserId => Ok(("userId", message.subject())),
            Key::Email => message
                .email()
                .map(|email| ("email", email))
                .ok_or_else(|| "it has no email".into()),
        }
    }

    /// Fields of the user.
    fn data<'a>(&self, message: &'a Message) -> Vec<(&'a str, Value<'a>)> {
        let email = email_beside_attributes(message).filter(|_| self.send_email);
        let email = email.map(|email| ("email", Value::Text(email)));
        attributes(message).chain(email).collect()
    }

    /// By what a reply can name the rows of a request.
    fn rows<'a>(&self, batch: &'a Batch, portion: &Portion) -> Vec<Row<'a>> {
        portion.messages().map(|position| self.row(&batch.messages()[position])).collect()
    }

    fn row<'a>(&self, message: &'a Message) -> Row<'a> {
        let is_event = message.call() == Call::Track;
        let fields = if is_event {
            let events = message.events().into_iter();
            events.flat_map(|event| event.properties).map(|(name, _)| name).collect()
        } else {
            self.data(message).into_iter().map(|(name, _)| name).collect()
        };
        let with_email = self.key == Key::Email || (self.send_email && !is_event);
        Row {
            email: message.email().filter(|_| with_email),
            user_id: (self.key == Key::UserId).then(|| message.subject()),
            event: is_event.then(|| message.event()),
            fields,
        }
    }
}

fn missing(field: &Field) -> Fault {
    let Field { name, kind } = field;
    let wanted = match kind {
        FieldKind::Bool => "boolean",
        FieldKind::Integer => "long",
        FieldKind::Number => "double",
        FieldKind::Text => "string",
        FieldKind::Date | FieldKind::Timestamp => "date",
        FieldKind::Nested => "object",
    };
    Fault::Misconfigured {
        reason: format!(
            "the project has no user field `{name}`: create it with the type `{wanted}`, or set \
             `create_fields = true`"
        ),
    }
}
