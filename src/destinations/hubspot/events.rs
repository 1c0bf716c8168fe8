//! Occurrences of custom events. HubSpot takes a request with all of them or none, and answers with
//! nothing; what it makes of one whose definition lacks a property is not documented.

use serde::Serialize;

use super::super::attributes::written;
use super::super::hubspot_api::answered;
use super::super::{Fault, Field};
use super::properties::{Values, property_name, text};
use crate::delivery::Response;
use crate::message::{Event, Message};

/// Events of one request at most.
pub(super) const MOST: usize = 500;
/// Letters of a property's name at most.
const NAME_BYTES: usize = 50;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Occurrence<'a> {
    event_name: String,
    email: &'a str,
    occurred_at: &'a str,
    uuid: String,
    properties: Values,
}

/// Why a sync's events cannot be sent.
pub(super) fn objections(fields: &[Field], prefix: Option<&str>) -> Vec<String> {
    let nameless = prefix.is_none().then(|| {
        "events need `event_prefix`: what HubSpot puts before the names of this account's events"
            .to_owned()
    });
    let long = fields.iter().filter(|field| property_name(&field.name).len() > NAME_BYTES);
    let long = long.map(|field| {
        format!("the field `{}` has a longer name than the 50 letters HubSpot takes", field.name)
    });
    nameless.into_iter().chain(long).collect()
}

/// The occurrences that a message becomes.
pub(super) fn occurrences(message: &Message, prefix: &str) -> Result<Vec<Vec<u8>>, String> {
    let email = message.email().ok_or("it has no email")?;
    let occurrence = |Event { name, id, properties }: Event<'_>| {
        let given = properties.iter().filter(|(_, value)| !text(value).is_empty());
        written(&Occurrence {
            event_name: format!("{prefix}{}", property_name(name)),
            email,
            occurred_at: message.timestamp(),
            uuid: id.uuid(),
            properties: Values(
                given.map(|(name, value)| (property_name(name), text(value))).collect(),
            ),
        })
    };
    message.events().into_iter().map(occurrence).collect()
}

/// Reads the answer to occurrences: silence is success, also in the form of an object without
/// anything in it, and nothing else is.
pub(super) fn silent(response: &Response) -> Result<(), Fault> {
    let is_silent =
        matches!(response.status, 200..=204) && matches!(response.body.trim_ascii(), b"" | b"{}");
    if is_silent {
        return Ok(());
    }
    answered(response)?;
    Err(Fault::Protocol { reason: format!("{} where nothing was expected", response.reason()) })
}
