//! Events on the profiles of users, which some plans of Zendesk keep.
//!
//! An event is written under Zendesk's own id of the user, so that one is looked for first; ids that
//! were seen once are remembered for as long as the process runs.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize, Serializer};

use super::super::{Fault, Outcome};
use super::Key;
use super::api::Api;
use crate::delivery::Session;
use crate::message::{Event, Message};
use crate::record::Value;

/// Ids remembered at most: about 10 MB.
const MOST_KNOWN: usize = 100_000;
/// Longest identifier of a profile.
const LONGEST: usize = 60;

/// How events are written.
#[derive(Debug)]
pub(super) struct Events {
    pub source: String,
    pub key: Key,
    /// Zendesk's ids of users, by what they are identified by.
    pub known: Mutex<HashMap<String, u64>>,
}

impl Events {
    pub(super) async fn send(
        &self,
        api: &Api,
        session: &Session,
        message: &Message,
    ) -> Result<Outcome, Fault> {
        let Some(email) = message.email().filter(|email| email.chars().count() <= LONGEST) else {
            let reason = format!(
                "an event needs an email of at most {LONGEST} characters to find its profile"
            );
            return Ok(Outcome::Rejected { reason });
        };
        let Some(id) = self.user(api, session, message, email).await? else {
            let reason = "Zendesk knows no such user: send an identify first".into();
            return Ok(Outcome::Rejected { reason });
        };
        for event in message.events() {
            let request = api
                .post(&["users", &id.to_string(), "events"], &self.body(message, email, &event))?;
            // Nothing tells two events apart.
            let response = session.send(request.repeatable(false)).await?;
            if !response.body.trim_ascii().is_empty() {
                response.json::<serde_json::Map<String, serde_json::Value>>()?;
            }
        }
        Ok(Outcome::Delivered)
    }

    fn body<'a>(&'a self, message: &'a Message, email: &'a str, event: &'a Event<'a>) -> Body<'a> {
        Body {
            event: Occurrence {
                source: &self.source,
                kind: event.name,
                description: event.name,
                created_at: message.timestamp(),
                properties: Properties(&event.properties),
            },
            profile: Profile {
                source: &self.source,
                kind: "user",
                identifiers: [Identifier { kind: "email", value: email }],
            },
        }
    }

    /// Zendesk's id of the one user that is meant.
    async fn user(
        &self,
        api: &Api,
        session: &Session,
        message: &Message,
        email: &str,
    ) -> Result<Option<u64>, Fault> {
        #[derive(Deserialize)]
        struct Found {
            users: Vec<User>,
        }
        #[derive(Deserialize)]
        struct User {
            id: u64,
        }
        let (parameter, value, key) = match self.key {
            Key::ExternalId => ("external_id", message.subject().to_owned(), message.subject()),
            Key::Email => ("query", format!("email:\"{email}\""), email),
        };
        if let Some(id) = self.known().get(key) {
            return Ok(Some(*id));
        }
        let mut request = api.get(&["users", "search"]);
        request.url.query_pairs_mut().append_pair(parameter, &value);
        let found: Found = session.send(request).await?.json()?;
        let [User { id }] = found.users[..] else { return Ok(None) };
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(key.to_owned(), id);
        Ok(Some(id))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize)]
struct Body<'a> {
    event: Occurrence<'a>,
    profile: Profile<'a>,
}

#[derive(Serialize)]
struct Occurrence<'a> {
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    description: &'a str,
    created_at: &'a str,
    properties: Properties<'a>,
}

#[derive(Serialize)]
struct Profile<'a> {
    source: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    identifiers: [Identifier<'a>; 1],
}

#[derive(Serialize)]
struct Identifier<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    value: &'a str,
}

struct Properties<'a>(&'a [(&'a str, Value<'a>)]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
