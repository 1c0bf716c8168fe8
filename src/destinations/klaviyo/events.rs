//! Events as Klaviyo records them, one by one or in bulk.
//!
//! What it promises: every event carries an id of its own. Without one, Klaviyo keeps a single event
//! of each profile and name per second.

use serde::Serialize;

use super::super::attributes::written;
use super::super::klaviyo_api::{Api, MOST_BYTES};
use super::super::portions::{Portion, Room};
use super::profile::{Identity, Key, Object};
use super::{BULK_EVENTS, EVENTS};
use crate::delivery::Request;
use crate::message::{Event, Message};
use crate::record::Value;

/// Of one request in bulk.
const MOST_EVENTS: usize = 1000;
/// Of one event.
const MOST_PROPERTIES: usize = 400;
/// A name must be shorter.
const NAME_LENGTH: usize = 128;

/// How events are recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recording {
    pub(super) in_bulk: bool,
    /// Without triggering flows.
    pub(super) backfill: bool,
}

#[derive(Serialize)]
struct Resource<A> {
    #[serde(rename = "type")]
    kind: &'static str,
    attributes: A,
}

#[derive(Serialize)]
struct Document<D> {
    data: D,
}

#[derive(Serialize)]
struct Metric<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct EventAttributes<'a> {
    properties: Object<'a, Value<'a>>,
    time: &'a str,
    unique_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    backfill: Option<bool>,
    metric: Document<Resource<Metric<'a>>>,
    /// Where it is not said beside the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Document<Resource<Identity<'a>>>>,
}

#[derive(Serialize)]
struct BulkAttributes<'a> {
    profile: Document<Resource<Identity<'a>>>,
    events: Document<[Resource<EventAttributes<'a>>; 1]>,
}

impl Recording {
    pub(super) const fn room(self) -> Room {
        let pieces = if self.in_bulk { MOST_EVENTS } else { 1 };
        Room { pieces, bytes: MOST_BYTES - 200, piece_bytes: MOST_BYTES - 200 }
    }

    /// The events of a message, each as one object of a request.
    pub(super) fn events(
        self,
        (key, identity): (Key, &str),
        email: Option<&str>,
        message: &Message,
    ) -> Result<Vec<Vec<u8>>, String> {
        let identity = Identity { key, identity, email };
        let events = message.events().into_iter();
        events.map(|event| self.event(identity, message.timestamp(), event)).collect()
    }

    fn event(
        self,
        identity: Identity<'_>,
        time: &str,
        event: Event<'_>,
    ) -> Result<Vec<u8>, String> {
        acceptable(&event)?;
        let profile = Document { data: Resource { kind: "profile", attributes: identity } };
        let (beside, inside) =
            if self.in_bulk { (Some(profile), None) } else { (None, Some(profile)) };
        let metric = Resource { kind: "metric", attributes: Metric { name: event.name } };
        let attributes = EventAttributes {
            unique_id: event.id.to_string(),
            properties: Object(event.properties),
            time,
            backfill: self.backfill.then_some(true),
            metric: Document { data: metric },
            profile: inside,
        };
        let event = Resource { kind: "event", attributes };
        match beside {
            None => written(&event),
            Some(profile) => {
                let attributes = BulkAttributes { profile, events: Document { data: [event] } };
                written(&Resource { kind: "event-bulk-create", attributes })
            }
        }
    }

    pub(super) fn request(self, api: &Api, portion: &Portion) -> Request {
        let (path, before, after, endpoint) = if self.in_bulk {
            let before = r#"{"data":{"type":"event-bulk-create-job","attributes":{"events-bulk-create":{"data":["#;
            ("event-bulk-create-jobs", before, "]}}}}", BULK_EVENTS[0].0)
        } else {
            ("events", r#"{"data":"#, "}", EVENTS)
        };
        let mut body = before.as_bytes().to_vec();
        for (place, piece) in portion.pieces().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(piece);
        }
        body.extend_from_slice(after.as_bytes());
        api.write(http::Method::POST, &[path], body.into()).endpoint(endpoint)
    }
}

fn acceptable(event: &Event<'_>) -> Result<(), String> {
    let length = event.name.chars().count();
    if length >= NAME_LENGTH {
        return Err(format!(
            "the event's name has {length} characters; Klaviyo takes fewer than 128"
        ));
    }
    let properties = event.properties.len();
    if properties > MOST_PROPERTIES {
        return Err(format!("it has {properties} properties; Klaviyo takes at most 400"));
    }
    Ok(())
}
