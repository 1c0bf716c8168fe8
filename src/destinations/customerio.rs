//! Customer.io: attributes of people and objects, and events, through the batches of the Track API.
//!
//! People are told apart by their id, or by email where a project says so; never by both, since an
//! id whose email belongs to somebody else is answered with success and changes nothing. Refused rows
//! are named by their position; what is not named was accepted, which is not yet applied.

mod entity;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use self::entity::{Entity, Identifiers};
use super::attributes::written;
use super::customerio_api::{API_KEY, Complaint, REGION, Region, SITE_ID, Workspace, complaints};
use super::portions::{Portions, Room, Verdict};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Spec, Target,
};
use crate::delivery::{Response, Session};
use crate::finding::Finding;
use crate::message::Message;
use crate::project::ModelKind;
use crate::record::Call;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Customer.io.
pub static SPEC: Spec = Spec {
    kind: "customerio",
    title: "Customer.io",
    summary: "Sends attributes of people and objects, and events, to a Customer.io workspace.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Subject,
    identifiers: "id (the user id), with the preferred email as an attribute; or email alone; accounts by object_id",
    quotas: &[Quota::per_second(30)],
    batch: BatchLimits { rows: 1000, max_rows: 1000, bytes: BYTES, row_bytes: BYTES },
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.customerio]
type = "customerio"
site_id = "${CUSTOMERIO_SITE_ID}"
api_key = "${CUSTOMERIO_API_KEY}"
region = "us"
object_type_id = "1"
"#,
    notes: &[
        "Where an email already belongs to somebody else in the workspace, Customer.io answers with success, keeps none of the attributes and shows an \"Attribute Update Failure\" in its interface only: set `send_email = false` where several users share an email.",
        "Success means accepted: attributes and events are applied a moment later.",
        "`identify_by = \"email\"` needs a workspace in which email is an identifier.",
        "Somebody unknown is created, by events as well; `update_existing_only = true` prevents it for attributes only.",
        "Attributes and events need not exist beforehand; a NULL is sent as `\"\"`, which removes the attribute, and dates and times as seconds since 1970.",
        "Accounts are objects of the type `object_type_id`, which must exist in the workspace; users are not related to them.",
        "A value longer than 1000 bytes, more than 300 attributes or an entry of more than 32 KB is rejected before it is sent; that the limit of values holds for nested ones is uncertain.",
        "`unsubscribed` and `cio_subscription_preferences` decide who is mailed and are never written.",
        "Writing attributes or events can start campaigns that wait for them.",
        "Customer.io drops an event whose id it has seen; for how long it remembers is uncertain.",
        "An account in the EU should say `region = \"eu\"`; `--test` compares.",
        "A rate of 30 requests per second is far below what Customer.io allows today (1000): raise `rate_limit` where that is too slow.",
    ],
    ..Spec::EVENT
};

/// 500 KB, less what surrounds the entries.
const BYTES: usize = 490_000;
/// 32 KB, whichever way they are counted.
const ENTRY_BYTES: usize = 32_000;

const OPTIONS: &[OptionDoc] = &[
    SITE_ID,
    API_KEY,
    REGION,
    OptionDoc::optional("identify_by", "\"id\" (default) or \"email\""),
    OptionDoc::optional(
        "send_email",
        "whether the preferred email travels as an attribute beside an id; default true",
    ),
    OptionDoc::optional(
        "update_existing_only",
        "true: attributes never create a person; default false",
    ),
    OptionDoc::optional("object_type_id", "type of the objects that accounts are, such as \"1\""),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    site_id: Secret,
    api_key: Secret,
    #[serde(default)]
    region: Region,
    #[serde(default)]
    identify_by: Key,
    send_email: Option<bool>,
    #[serde(default)]
    update_existing_only: bool,
    object_type_id: Option<String>,
}

/// What a person is told apart by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Key {
    #[default]
    Id,
    Email,
}

/// How one workspace is written to.
#[derive(Debug)]
struct CustomerIo {
    workspace: Workspace,
    key: Key,
    send_email: bool,
    update_existing_only: bool,
    object_type: Option<String>,
    room: Room,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    if options.identify_by == Key::Email && options.send_email.is_some() {
        let fact = "has no meaning beside `identify_by = \"email\"`: the email is the identifier";
        return Err(vec![reader.refuse("send_email", fact)]);
    }
    let secrets = vec![options.site_id.clone(), options.api_key.clone()];
    let credentials = (options.site_id, options.api_key);
    let pieces = common.batch_size.unwrap_or(SPEC.batch.rows);
    let destination = CustomerIo {
        workspace: Workspace::of(reader, common, options.region, credentials)?,
        key: options.identify_by,
        send_email: options.send_email.unwrap_or(options.identify_by == Key::Id),
        update_existing_only: options.update_existing_only,
        object_type: options.object_type_id,
        room: Room { pieces, bytes: BYTES, piece_bytes: ENTRY_BYTES },
    };
    let grain = match options.identify_by {
        Key::Id => Grain::Subject,
        Key::Email => Grain::Email,
    };
    Ok(Built::new(Arc::new(destination), secrets).by(grain))
}

#[async_trait]
impl Destination for CustomerIo {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.workspace.verify(session).await
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let untyped = (target.call == Call::Group && self.object_type.is_none()).then(|| {
            "accounts are objects in Customer.io: say of which type by `object_type_id`".to_owned()
        });
        // Of an audience, its own name is a property of its events.
        let own = (target.call == Call::Track && target.kind == ModelKind::Audience)
            .then_some(target.model_key.as_str());
        let names = target.fields.iter().map(|field| field.name.as_str()).chain(own);
        let about_names = names.filter_map(|name| self.objection(target.call, name));
        untyped.into_iter().chain(about_names).collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let mut portions = Portions::of(batch, self.room, |message| self.entries(message));
        while let Some(portion) = portions.next() {
            let request = self.workspace.post("/api/v2/batch", portion.body("batch", ""));
            let answer = session.send(request).await.and_then(|response| verdicts(&response));
            portions.settle(&portion, answer)?;
        }
        Ok(portions.into_receipt(batch).into())
    }
}

impl CustomerIo {
    /// Why a name cannot be written to.
    fn objection(&self, call: Call, name: &str) -> Option<String> {
        let reason = match (call, name) {
            (Call::Track, "recipient" | "from_address" | "reply_to") => {
                "would decide to whom, from whom or with which answer address mail is sent"
            }
            (Call::Track, _) => return None,
            (Call::Group, "object_id" | "object_type_id" | "cio_object_id") => {
                "names the object itself in Customer.io"
            }
            (Call::Identify, "unsubscribed" | "cio_subscription_preferences") => {
                "decides who is mailed, which is not written from here"
            }
            (Call::Identify, "id" | "cio_id" | "anonymous_id" | "_update") => {
                "names or steers the person itself in Customer.io"
            }
            (Call::Identify, "email") if self.key == Key::Email => {
                "is what this destination identifies by"
            }
            _ if name.len() > 150 => "is longer than the 150 bytes that Customer.io takes",
            _ => return None,
        };
        Some(format!("the field `{name}` {reason}"))
    }

    /// The entries that a message becomes.
    fn entries(&self, message: &Message) -> Result<Vec<Vec<u8>>, String> {
        let identifiers = self.identifiers(message)?;
        identifiers.verify()?;
        if message.call() == Call::Track {
            let events = message.events().into_iter();
            return events
                .map(|event| written(&Entity::event(identifiers, message, event)?))
                .collect();
        }
        let entity = Entity::identify(identifiers, message, self.email(message))?;
        Ok(vec![written(&match self.update_existing_only {
            true => entity.of_somebody_known(),
            false => entity,
        })?])
    }

    fn email<'a>(&self, message: &'a Message) -> Option<&'a str> {
        message.email().filter(|_| self.send_email && message.call() == Call::Identify)
    }

    fn identifiers<'a>(&'a self, message: &'a Message) -> Result<Identifiers<'a>, String> {
        match (message.call(), self.key) {
            (Call::Group, _) => {
                let object_type_id = self.object_type.as_deref();
                let object_type_id = object_type_id.ok_or("there is no `object_type_id`")?;
                Ok(Identifiers::Object { object_type_id, object_id: message.subject() })
            }
            (_, Key::Id) => Ok(Identifiers::Id { id: message.subject() }),
            (_, Key::Email) => message
                .email()
                .map(|email| Identifiers::Email { email })
                .ok_or_else(|| "it has no email".into()),
        }
    }
}

/// What a reply says of the entries of a request, by their positions.
fn verdicts(response: &Response) -> Result<Vec<Verdict>, Fault> {
    let verdict = |complaint: Complaint| match complaint.batch_index {
        Some(position) => Ok(Verdict::rejected(position, complaint.into_reason())),
        None => Err(Fault::Protocol {
            reason: format!("a row was refused without saying which: {}", complaint.into_reason()),
        }),
    };
    complaints(response)?.into_iter().map(verdict).collect()
}
