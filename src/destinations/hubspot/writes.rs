//! What is written for each message of a batch: known records are updated, others created, or both at
//! once where a property of unique values tells them apart.

use std::collections::HashMap;

use serde::Serialize;

use super::super::attributes::{email_beside_attributes, written};
use super::super::hubspot_api::BATCH;
use super::super::portions::{Portions, Room};
use super::super::{Batch, Fault};
use super::HubSpot;
use super::properties::{Kind, Values, values};
use crate::delivery::Session;
use crate::message::Message;

/// What is to be done about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// The record of that id; of several messages about it, how many go before.
    Update {
        id: String,
        turn: usize,
    },
    Create,
    /// By the property of unique values.
    Upsert,
}

/// One record of a request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_property: Option<&'a str>,
    object_write_trace_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    associations: Option<[(); 0]>,
    properties: Values,
}

impl HubSpot {
    /// What is to be done about every message, in their order.
    pub(super) async fn writes(
        &self,
        session: &Session,
        kind: Kind,
        batch: &Batch,
    ) -> Result<Vec<Write>, Fault> {
        if kind == Kind::Company || self.contact_id.is_some() {
            return Ok(vec![Write::Upsert; batch.len()]);
        }
        let emails: Vec<&str> = batch.messages().iter().filter_map(Message::email).collect();
        let mut known = self.recall(&emails);
        let unknown: Vec<&str> =
            emails.into_iter().filter(|email| !known.contains_key(*email)).collect();
        known.extend(self.api.contacts_by_email(session, &unknown).await?.by_email());
        let mut turns = HashMap::new();
        let write = |message: &Message| {
            let Some(id) = message.email().and_then(|email| known.get(email)) else {
                return Write::Create;
            };
            let next = turns.entry(id.clone()).or_insert(0);
            let turn = *next;
            *next += 1;
            Write::Update { id: id.clone(), turn }
        };
        Ok(batch.messages().iter().map(write).collect())
    }

    /// The requests that these writes need. HubSpot refuses one that names a record twice: each
    /// turn is a request of its own.
    pub(super) fn portions(&self, kind: Kind, batch: &Batch, writes: &[Write]) -> Portions {
        let room = Room { pieces: BATCH.max_rows, bytes: BATCH.bytes, piece_bytes: BATCH.bytes };
        let turns = writes.iter().filter_map(|write| match write {
            Write::Update { turn, .. } => Some(turn + 1),
            Write::Create | Write::Upsert => None,
        });
        let mut portions = Portions::none(batch);
        let mut step = |step: &'static str, is_due: &dyn Fn(&Write) -> bool| {
            portions.then(step, batch, room, |position, message| {
                let write = &writes[position];
                is_due(write).then(|| self.input(kind, write, (position, message)))
            });
        };
        for now in 0..turns.max().unwrap_or(0) {
            step("update", &|write| matches!(write, Write::Update { turn, .. } if *turn == now));
        }
        step("create", &|write| *write == Write::Create);
        step("upsert", &|write| *write == Write::Upsert);
        portions
    }

    /// The input that a message becomes.
    fn input(
        &self,
        kind: Kind,
        write: &Write,
        (position, message): (usize, &Message),
    ) -> Result<Vec<Vec<u8>>, String> {
        let mut input = Input {
            id: None,
            id_property: None,
            object_write_trace_id: position.to_string(),
            associations: None,
            properties: values(message),
        };
        match write {
            Write::Update { id, .. } => input.id = Some(id),
            Write::Create => {
                let email = message.email().ok_or("it has no email")?;
                input.associations = Some([]);
                input.properties.0.push(("email".into(), email.into()));
            }
            Write::Upsert => {
                let missing = "there is no property that tells such records apart";
                input.id = Some(message.subject());
                input.id_property = Some(self.identifier(kind).ok_or(missing)?);
                let email = email_beside_attributes(message).filter(|_| self.send_email);
                input.properties.0.extend(email.map(|email| ("email".into(), email.into())));
            }
        }
        Ok(vec![written(&input)?])
    }
}
