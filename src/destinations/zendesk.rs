//! Zendesk: users and organizations with custom fields and, where the plan has them, events on the
//! profiles of users.
//!
//! Users travel up to a hundred at a time as a job that Zendesk works off by itself; its results come
//! back in the order of the request. One user alone, and every organization, is a call of its own.
//!
//! What it never does: it makes Zendesk mail nobody (`skip_verify_email` is always set), touches no
//! role, and creates no organization unless told to.

mod api;
mod fields;
mod jobs;
mod track;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize, Serializer};
use url::Url;

use super::singles::Singles;
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Job, Maturity, OptionDoc, Outcome, Quota, Reader, Remote, Secret, Settlement,
    Spec, Target,
};
use crate::delivery::{Response, Session};
use crate::finding::Finding;
use crate::message::Message;
use crate::record::{Call, Value};
use api::{Api, Credentials, answered, complains_of};
use fields::Fields;
use track::Events;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Zendesk.
pub static SPEC: Spec = Spec {
    kind: "zendesk",
    title: "Zendesk",
    summary: "Keeps custom fields of Zendesk's users and organizations, and records events on profiles.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Subject,
    identifiers: "user id as external_id of a user, or the email; account id as external_id of an organization",
    required: &["name"],
    // That of the smallest plan; the specification says 50 per second, more than any plan has.
    quotas: &[Quota { limit: 200, per: Duration::from_mins(1) }],
    batch: BatchLimits { rows: 100, max_rows: 100, bytes: usize::MAX, row_bytes: usize::MAX },
    concurrency: 8,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.zendesk]
type = "zendesk"
subdomain = "acme"
email = "agent@example.org"
api_token = "${ZENDESK_API_TOKEN}"
"#,
    notes: &[
        "Zendesk enables the import of many users only when the owner of the account asks its support; set `bulk = false` until then.",
        "The limit is that of the plan: 200 requests per minute (Team), 400 (Growth, Professional), 700 (Enterprise) or 2,500 (Enterprise Plus, High Volume); the lowest holds here, raise `rate_limit` (in requests per second) to yours.",
        "Every user needs a `name`, taken from the profiles and written each time; users without one are invalid.",
        "Somebody who only leaves is updated without a name, and was never there when Zendesk asks for one (uncertain: how a job words that).",
        "Users are created without verification emails (`skip_verify_email`).",
        "An email that is new to a user becomes a further identity of it (uncertain), and a user who already has the email is taken over by the `external_id` (uncertain).",
        "A job that Zendesk no longer knows, or that broke off, leaves its users unsettled: the next run sends them again.",
        "Custom fields that are missing are created when a sync begins, which takes an admin, unless `create_fields = false`; their keys are the names in lower case.",
        "Timestamps go into text fields, since a date field keeps no time of day; lists and structures travel as JSON text.",
        "A `null` clears a field.",
        "Organizations that do not exist are rejected unless `create_organizations = true`, which names new ones by their account id: names are unique in Zendesk and nothing else is known.",
        "Users are not attached to organizations.",
        "Events need a plan that has them (uncertain which), a user that exists and an email of at most 60 characters; what the reply to one looks like is uncertain.",
        "An OAuth token that expires is not renewed (whether it does is uncertain).",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::optional(
        "subdomain",
        "the first part of `acme.zendesk.com`; needed without `base_url`",
    ),
    OptionDoc::optional("email", "address of the agent or admin that the API token is used as"),
    OptionDoc::optional("api_token", "API token, beside `email`"),
    OptionDoc::optional("access_token", "OAuth token, instead of `email` and `api_token`"),
    OptionDoc::optional(
        "identify_by",
        "what users are told apart by: \"external_id\" (default) or \"email\"",
    ),
    OptionDoc::optional(
        "send_email",
        "whether the preferred email travels beside an external id; default true",
    ),
    OptionDoc::optional(
        "bulk",
        "whether users travel many at a time, which Zendesk must have enabled; default true",
    ),
    OptionDoc::optional(
        "create_fields",
        "whether custom fields that are missing are created; default true",
    ),
    OptionDoc::optional(
        "create_organizations",
        "whether organizations that are missing are created under their account id; default false",
    ),
    OptionDoc::optional("event_source", "the source that events name; default \"muster\""),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    subdomain: Option<String>,
    email: Option<String>,
    api_token: Option<Secret>,
    access_token: Option<Secret>,
    #[serde(default)]
    identify_by: Key,
    send_email: Option<bool>,
    #[serde(default = "crate::destinations::options::yes")]
    bulk: bool,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
    #[serde(default)]
    create_organizations: bool,
    event_source: Option<String>,
}

/// What a user is told apart by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    #[default]
    ExternalId,
    Email,
}

/// One account.
#[derive(Debug)]
struct Zendesk {
    api: Api,
    key: Key,
    send_email: bool,
    bulk: bool,
    create_fields: bool,
    create_organizations: bool,
    events: Events,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let key = options.identify_by;
    if key == Key::Email && options.send_email.is_some() {
        let fact = "has no meaning beside `identify_by = \"email\"`: the email is the identifier";
        return Err(vec![reader.refuse("send_email", fact)]);
    }
    let base =
        base(common, options.subdomain).map_err(|fact| vec![reader.refuse("subdomain", fact)])?;
    let secrets = options.api_token.iter().chain(&options.access_token).cloned().collect();
    let credentials = credentials(options.email, options.api_token, options.access_token)
        .map_err(|(option, fact)| vec![reader.refuse(option, fact)])?;
    let source = options.event_source.unwrap_or_else(|| "muster".into());
    let zendesk = Zendesk {
        api: Api { base, credentials },
        key,
        send_email: options.send_email.unwrap_or(true),
        bulk: options.bulk,
        create_fields: options.create_fields,
        create_organizations: options.create_organizations,
        events: Events { source, key, known: Mutex::default() },
    };
    let grain = match key {
        Key::ExternalId => Grain::Subject,
        Key::Email => Grain::Email,
    };
    Ok(Built::new(Arc::new(zendesk), secrets).by(grain))
}

fn base(common: &Common, subdomain: Option<String>) -> Result<Url, &'static str> {
    if let Some(base) = &common.base_url {
        return Ok(base.clone());
    }
    let name = subdomain.ok_or("is missing, and there is no `base_url`")?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let fact = "is not the first part of an address such as `acme.zendesk.com`";
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(fact);
    }
    Url::parse(&format!("https://{name}.zendesk.com")).map_err(|_| fact)
}

fn credentials(
    email: Option<String>,
    api_token: Option<Secret>,
    access_token: Option<Secret>,
) -> Result<Credentials, (&'static str, &'static str)> {
    match (email, api_token, access_token) {
        (Some(email), Some(token), None) => {
            Ok(Credentials::ApiToken { user: Secret::new(format!("{email}/token")), token })
        }
        (None, None, Some(token)) => Ok(Credentials::OAuth(token)),
        (_, _, Some(_)) => Err(("access_token", "stands instead of `email` and `api_token`")),
        (None, Some(_), None) => Err(("api_token", "needs the `email` that it is used as")),
        (_, None, None) => {
            Err(("api_token", "is missing, and there is no `access_token` instead of it"))
        }
    }
}

/// A user on its way out.
#[derive(Serialize)]
struct User<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Value<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    /// Otherwise Zendesk mails whoever is new.
    skip_verify_email: bool,
    user_fields: Fields<'a>,
}

impl Zendesk {
    fn user<'a>(&self, message: &'a Message) -> User<'a> {
        User {
            external_id: (self.key == Key::ExternalId).then(|| message.subject()),
            name: message.profile().find(|(column, _)| *column == "name").map(|(_, name)| name),
            email: message.email().filter(|_| self.send_email),
            skip_verify_email: true,
            user_fields: Fields::of(message),
        }
    }

    async fn identify_many(&self, session: &Session, batch: &Batch) -> Result<Delivery, Fault> {
        let users: Vec<_> = batch.messages().iter().map(|message| self.user(message)).collect();
        let body = Named("users", &users);
        let request = self.api.post(&["users", "create_or_update_many"], &body)?;
        let nameless =
            batch.messages().iter().enumerate().filter(|(_, message)| is_bygone(message));
        let nameless = nameless.map(|(position, _)| position).collect();
        jobs::submitted(session, request, nameless).await
    }

    async fn identify(&self, session: &Session, message: &Message) -> Result<Outcome, Fault> {
        let body = Named("user", &self.user(message));
        let request = self.api.post(&["users", "create_or_update"], &body)?;
        if is_bygone(message) {
            let response = session.send(request.reading(named_or_not)).await?;
            if complains_of(&response, "name") {
                return Ok(Outcome::Delivered);
            }
            return response.json::<Kept>()?.is_about(self.expected(message));
        }
        let kept: Kept = session.send(request).await?.json()?;
        kept.is_about(self.expected(message))
    }

    fn expected<'a>(&self, message: &'a Message) -> Option<&'a str> {
        (self.key == Key::ExternalId).then(|| message.subject())
    }

    async fn group(&self, session: &Session, message: &Message) -> Result<Outcome, Fault> {
        let response = self.organization(session, message, None).await?;
        if !complains_of(&response, "name") {
            return response.json::<Kept>()?.is_about(Some(message.subject()));
        }
        if !self.create_organizations {
            let reason = "Zendesk has no organization with this external id: create it there, or \
                          set `create_organizations = true`";
            return Ok(Outcome::Rejected { reason: reason.into() });
        }
        let response = self.organization(session, message, Some(message.subject())).await?;
        if complains_of(&response, "name") {
            return Ok(Outcome::Rejected { reason: response.reason() });
        }
        response.json::<Kept>()?.is_about(Some(message.subject()))
    }

    /// A name is only given to an organization that is new: one that is there keeps its own.
    async fn organization(
        &self,
        session: &Session,
        message: &Message,
        name: Option<&str>,
    ) -> Result<Response, Fault> {
        #[derive(Serialize)]
        struct Organization<'a> {
            external_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            name: Option<&'a str>,
            organization_fields: Fields<'a>,
        }
        let organization = Organization {
            external_id: message.subject(),
            name,
            organization_fields: Fields::of(message),
        };
        let body = Named("organization", &organization);
        let request = self.api.post(&["organizations", "create_or_update"], &body)?;
        session.send(request.reading(named_or_not)).await
    }
}

/// Somebody who only leaves, of whom no profile is read any more. Zendesk updates them without a name
/// and creates nobody without one, so that its asking for one says that there is nothing to take back.
fn is_bygone(message: &Message) -> bool {
    message.only_leaves() && message.profile().all(|(column, _)| column != "name")
}

/// That the name is missing or taken is an answer about one organization.
fn named_or_not(response: &Response) -> Result<(), Fault> {
    if complains_of(response, "name") { Ok(()) } else { answered(response) }
}

/// `{"NAME": …}`.
struct Named<'a, T>(&'static str, &'a T);

impl<T: Serialize> Serialize for Named<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, self.1)])
    }
}

/// The user or organization that a reply shows.
#[derive(Deserialize)]
struct Kept {
    #[serde(alias = "user", alias = "organization")]
    record: Record,
}

#[derive(Deserialize)]
struct Record {
    id: u64,
    external_id: Option<String>,
}

impl Kept {
    /// External ids are compared as Zendesk does, whatever their case.
    fn is_about(&self, expected: Option<&str>) -> Result<Outcome, Fault> {
        let Record { id, external_id } = &self.record;
        let found = external_id.as_deref().map(str::to_lowercase);
        match expected.map(str::to_lowercase) {
            None => Ok(Outcome::Delivered),
            expected if found == expected => Ok(Outcome::Delivered),
            Some(_) => Err(Fault::Protocol {
                reason: format!(
                    "the reply is about the record `{id}`, which has another external id"
                ),
            }),
        }
    }
}

#[async_trait]
impl Destination for Zendesk {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.api.me(session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        fields::ensure(&self.api, session, target, self.create_fields).await?;
        Ok(Remote::default())
    }

    fn field_name(&self, name: &str) -> String {
        fields::field_key(name)
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        fields::objections(target)
    }

    fn requests(&self, call: Call, _: usize) -> usize {
        if call == Call::Track { 2 } else { 1 }
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let call = batch.messages()[0].call();
        if call == Call::Identify && self.bulk && batch.len() > 1 {
            return self.identify_many(session, batch).await;
        }
        let mut singles = Singles::of(batch);
        for (position, message) in batch.messages().iter().enumerate() {
            let answer = match call {
                Call::Track => self.events.send(&self.api, session, message).await,
                Call::Group => self.group(session, message).await,
                Call::Identify | Call::List => self.identify(session, message).await,
            };
            if singles.settle(position, answer)?.is_break() {
                break;
            }
        }
        Ok(singles.into_receipt().into())
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        jobs::asked(&self.api, session, job, rows).await
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
