//! How one event is written: who it is about, hashed as Meta wants it, and what happened.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::destinations::attributes::written;
use crate::destinations::normalise::{self, Normalised, digits, sha256};
use crate::message::{self, Message};

/// What helps Meta to recognise people.
pub(super) const PROFILE: &[&str] = &[
    "phone",
    "first_name",
    "last_name",
    "city",
    "state",
    "zip",
    "country",
    "gender",
    "date_of_birth",
    "user_agent",
];

/// What all events of a pixel have in common.
#[derive(Debug)]
pub(super) struct Event {
    pub processing: Vec<Processing>,
    /// Country and state of Limited Data Use, in Meta's numbers.
    pub place: (u32, u32),
    pub origin: Origin,
    pub address: Option<url::Url>,
    /// Of people whose profile names none.
    pub country: Option<String>,
}

/// How Meta may process an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Processing {
    #[serde(rename = "LDU")]
    LimitedDataUse,
}

/// Where an event is declared to have happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    #[default]
    SystemGenerated,
    Website,
    App,
    Email,
    PhoneCall,
    Chat,
    PhysicalStore,
    Other,
}

impl Origin {
    const fn word(self) -> &'static str {
        match self {
            Self::SystemGenerated => "system_generated",
            Self::Website => "website",
            Self::App => "app",
            Self::Email => "email",
            Self::PhoneCall => "phone_call",
            Self::Chat => "chat",
            Self::PhysicalStore => "physical_store",
            Self::Other => "other",
        }
    }
}

impl Event {
    /// The events that a message becomes.
    pub(super) fn written(&self, message: &Message) -> Result<Vec<Vec<u8>>, String> {
        let time = chrono::DateTime::parse_from_rfc3339(message.timestamp())
            .map_err(|error| format!("its time cannot be read: {error}"))?
            .timestamp();
        let person = self.person(message)?;
        let events = message.events();
        let objects = events.iter().map(|event| self.object(event, time, &person));
        objects.map(|object| written(&object)).collect()
    }

    fn object(&self, event: &message::Event<'_>, time: i64, person: &Json) -> Json {
        let custom: Map<String, Json> = event
            .properties
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        let mut object = json!({
            "event_name": event.name,
            "event_time": time,
            "event_id": event.id.to_string(),
            "action_source": self.origin.word(),
            "user_data": person,
            "custom_data": custom,
            "data_processing_options": self.processing.iter().map(|_| "LDU").collect::<Vec<_>>(),
        });
        if !self.processing.is_empty() {
            object["data_processing_options_country"] = json!(self.place.0);
            object["data_processing_options_state"] = json!(self.place.1);
        }
        if let Some(address) = &self.address {
            object["event_source_url"] = json!(address.as_str());
        }
        object
    }

    /// `user_data`: lists of hashes, since Meta takes several of each.
    fn person(&self, message: &Message) -> Result<Json, String> {
        let email = message.email().ok_or("it has no email")?;
        let email = normalise::meta_email(email, None)?;
        let said: Vec<(&str, String)> =
            message.profile().map(|(name, value)| (name, value.to_string())).collect();
        let known = said.iter().find(|(name, text)| *name == "country" && !text.trim().is_empty());
        let country = known.map(|(_, text)| text.as_str()).or(self.country.as_deref());
        let mut person = Map::from_iter([("em".to_owned(), json!([sha256(&email)]))]);
        for (name, text) in said.iter().filter(|(_, text)| !text.is_empty()) {
            if *name == "user_agent" {
                person.insert("client_user_agent".into(), json!(text));
                continue;
            }
            // What Meta cannot use is left out: it only helps where it is there.
            if let Some((key, value)) = known_as(name, text, country) {
                person.insert(key.into(), json!([value]));
            }
        }
        if let Some((key, value)) = country.and_then(|country| known_as("country", country, None)) {
            person.insert(key.into(), json!([value]));
        }
        Ok(Json::Object(person))
    }
}

/// A profile column under Meta's name, hashed.
fn known_as(name: &str, text: &str, country: Option<&str>) -> Option<(&'static str, String)> {
    let (key, normalise): (_, fn(&str, Option<&str>) -> Normalised) = match name {
        "phone" => ("ph", normalise::e164),
        "first_name" => ("fn", normalise::meta_name),
        "last_name" => ("ln", normalise::meta_name),
        "city" => ("ct", normalise::meta_city),
        "state" => ("st", normalise::meta_state),
        "zip" => ("zp", normalise::meta_zip),
        "country" => ("country", normalise::meta_country),
        "gender" => ("ge", normalise::gender),
        "date_of_birth" => ("db", normalise::date_of_birth),
        _ => return None,
    };
    let value = normalise(text, country).ok()?;
    let value = match key {
        "ph" => digits(&value).to_owned(),
        "db" => value.replace('-', ""),
        _ => value,
    };
    Some((key, sha256(&value)))
}
