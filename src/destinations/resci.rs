//! `ReSci` (Retention Science): traits and events of users through its Events API.
//!
//! The vendor's documents were not to be had; what is known comes from integrations that its partners
//! published. So nothing is taken for granted: only the two statuses that are known to mean success
//! are success, and a body that may say otherwise is looked into.
//!
//! What it never does: it asks for no welcome mail to the users that it makes known.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde::{Deserialize, Serialize as Written};
use serde_json::{Map, Value as Json};
use url::Url;

use super::attributes::{attributes, email_beside_attributes, written};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Spec, Target,
};
use crate::delivery::{Request, Response, Session, standard};
use crate::finding::Finding;
use crate::message::{Event, Message};
use crate::record::{Call, Value};

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of `ReSci`.
pub static SPEC: Spec = Spec {
    kind: "resci",
    title: "ReSci",
    summary: "Sends user traits and events to ReSci (Retention Science).",
    calls: &[Call::Identify, Call::Track],
    grain: Grain::Subject,
    identifiers: "userId (the user id), with the preferred email as a trait",
    profile: &["first_name", "last_name", "name"],
    quotas: &[Quota::per_second(200)],
    batch: BatchLimits { rows: 1, max_rows: 1, bytes: 500_000, row_bytes: 500_000 },
    concurrency: 32,
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Alpha,
    example: r#"[destinations.resci]
type = "resci"
api_key = "${RESCI_API_KEY}"
"#,
    notes: &[
        "The vendor's documents were not available: addresses, credentials and statuses come from integrations that its partners published, and all of it should be tried with one user first.",
        "It speaks to the Events API, version 2, at `events.retentionscience.com`; `path` changes the version, `base_url` the host.",
        "The key is the API password of ReSci's settings, sent as `Authorization: ApiKey …`; an account without secure tracking may take requests with any key.",
        "Users are told apart by `userId`; whether ReSci merges them by email is uncertain, as is whether a user without an email is created.",
        "`send_transactional_welcome` is sent as false with every user and event, since imports of other kinds mail new users unless it is; whether the Events API heeds it is uncertain.",
        "Traits may have any name; first_name and last_name are called `firstName` and `lastName` there.",
        "A NULL is sent as null; whether that clears the trait is uncertain, since known integrations leave nulls out.",
        "Events carry no time and no id of their own: ReSci dates them when they arrive, and a reply that is lost may record one twice.",
        "200 means processed and 202 queued; no other status counts as success, nor does a body that names errors or is no JSON object.",
        "What a request may hold is not known; messages above 500 kB are rejected before they are sent.",
        "ReSci knows no accounts: account-level models are refused.",
        "`--test` sends a user without an id, which ReSci should refuse after it has accepted the key.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("api_key", "the API password of ReSci's settings"),
    OptionDoc::optional("path", "path of the Events API; default \"/v2\""),
    OptionDoc::optional(
        "send_transactional_welcome",
        "true: lets ReSci mail users that it did not know; default false",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    path: Option<String>,
    #[serde(default)]
    send_transactional_welcome: bool,
}

const ADDRESS: &str = "https://events.retentionscience.com";

/// One account.
#[derive(Debug)]
struct ReSci {
    /// Of the version.
    base: Url,
    authorization: Secret,
    welcome: bool,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, path, send_transactional_welcome } = reader.own()?;
    let refused = |fact: String| vec![reader.refuse("path", &fact)];
    let mut base = match &common.base_url {
        Some(base) => base.clone(),
        None => Url::parse(ADDRESS).map_err(|error| refused(format!("has no host: {error}")))?,
    };
    if let Ok(mut segments) = base.path_segments_mut() {
        let path = path.as_deref().unwrap_or("/v2");
        segments.pop_if_empty().extend(path.split('/').filter(|segment| !segment.is_empty()));
    }
    let resci = ReSci {
        base,
        authorization: Secret::new(format!("ApiKey {}", api_key.expose())),
        welcome: send_transactional_welcome,
    };
    Ok(Built::new(Arc::new(resci), vec![api_key]))
}

/// Body of `/identify`.
#[derive(Written)]
#[serde(rename_all = "camelCase")]
struct Identified<'a> {
    user_id: &'a str,
    traits: Traits<'a>,
}

struct Traits<'a> {
    message: &'a Message,
    welcome: bool,
}

/// Body of `/track`.
#[derive(Written)]
#[serde(rename_all = "camelCase")]
struct Tracked<'a> {
    user_id: &'a str,
    event: &'a str,
    properties: Properties<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traits: Option<Contact<'a>>,
}

#[derive(Written)]
struct Contact<'a> {
    email: &'a str,
    /// An event may make a user known too.
    #[serde(skip_serializing_if = "Option::is_none")]
    send_transactional_welcome: Option<bool>,
}

struct Properties<'a>(Vec<(&'a str, Value<'a>)>);

impl Serialize for Traits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(email) = email_beside_attributes(self.message) {
            map.serialize_entry("email", email)?;
        }
        if !self.welcome {
            map.serialize_entry(WELCOME, &false)?;
        }
        let is_trait = |name: &str| self.message.traits().any(|(own, _)| own == name);
        let is_named =
            |name: &str| self.message.traits().any(|(own, _)| trait_name(own) == trait_name(name));
        for (name, value) in attributes(self.message) {
            // A name that profiles do not know takes none away, and one that a trait tells holds.
            if is_trait(name) || !(value.is_null() || is_named(name)) {
                map.serialize_entry(trait_name(name), &value)?;
            }
        }
        map.end()
    }
}

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

const WELCOME: &str = "send_transactional_welcome";

fn trait_name(name: &str) -> &str {
    match name {
        "first_name" => "firstName",
        "last_name" => "lastName",
        other => other,
    }
}

#[async_trait]
impl Destination for ReSci {
    /// There is nothing to be read; a user without an id changes nothing.
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.post("identify", b"{}".to_vec()).reading(refused_as_empty);
        session.send(request).await.map(drop)
    }

    fn field_name(&self, name: &str) -> String {
        trait_name(name).to_owned()
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let steers = target.call == Call::Identify
            && target.fields.iter().any(|field| field.name == WELCOME);
        let objection = || format!("the field `{WELCOME}` steers the welcome mail: use the option");
        steers.then(objection).into_iter().collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        for message in batch.messages() {
            match message.call() {
                Call::Track => self.track(session, message).await?,
                _ => self.identify(session, message).await?,
            }
        }
        Ok(batch.delivered().into())
    }
}

impl ReSci {
    async fn identify(&self, session: &Session, message: &Message) -> Result<(), Fault> {
        let traits = Traits { message, welcome: self.welcome };
        let body = encoded(&Identified { user_id: message.subject(), traits })?;
        session.send(self.post("identify", body)).await.map(drop)
    }

    async fn track(&self, session: &Session, message: &Message) -> Result<(), Fault> {
        let send_transactional_welcome = (!self.welcome).then_some(false);
        let contact = |email| Contact { email, send_transactional_welcome };
        for Event { name, properties, .. } in message.events() {
            let body = encoded(&Tracked {
                user_id: message.subject(),
                event: name,
                properties: Properties(properties),
                traits: message.email().map(contact),
            })?;
            session.send(self.post("track", body)).await?;
        }
        Ok(())
    }

    fn post(&self, call: &str, body: Vec<u8>) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push(call);
        }
        Request::new(Method::POST, url)
            .secret_header("authorization", &self.authorization)
            .json_body(body.into())
            .reading(taken)
    }
}

fn encoded(body: &impl Serialize) -> Result<Vec<u8>, Fault> {
    written(body).map_err(|reason| Fault::Rejected { reason })
}

/// What a reply means: success is 200 or 202 with a body that says nothing else.
fn taken(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    let unreadable = || Fault::Protocol { reason: response.reason() };
    if !matches!(response.status, 200 | 202) {
        return Err(unreadable());
    }
    if response.body.trim_ascii().is_empty() {
        return Ok(());
    }
    let said: Map<String, Json> = response.json().map_err(|_| unreadable())?;
    if names_errors(&said) { Err(Fault::Rejected { reason: response.reason() }) } else { Ok(()) }
}

fn names_errors(said: &Map<String, Json>) -> bool {
    let is_named = |value: &Json| match value {
        Json::Null | Json::Bool(false) => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(list) => !list.is_empty(),
        _ => true,
    };
    ["error", "errors"].into_iter().filter_map(|key| said.get(key)).any(is_named)
        || said.get("success").is_some_and(|success| *success != Json::Bool(true))
}

/// A request without anybody in it is refused for just that, once the key was accepted.
fn refused_as_empty(response: &Response) -> Result<(), Fault> {
    match response.status {
        400 | 422 => Ok(()),
        _ => taken(response),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
