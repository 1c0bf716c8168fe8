//! Static lists of HubSpot: contacts are put on and taken off in one request, by HubSpot's own ids.
//!
//! Members are looked up by email, whichever of a contact's addresses it is. Who enters and is nobody
//! yet is created, if the project wants that; who leaves never is: somebody whom HubSpot does not know
//! is on no list.

mod contacts;
mod remote;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::hubspot_api::{
    ACCESS_TOKEN, API_VERSION, Api, BATCH, CLIENT_ID, CLIENT_SECRET, Credentials, QUOTAS,
    REFRESH_TOKEN,
};
use super::membership::{List, Member, Parted};
use super::{
    Batch, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS, Idempotency,
    MatchField, Maturity, OptionDoc, Outcome, Reader, Receipt, Receipts, Remote, Secret, Spec,
    Target, normalise,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EMAIL: MatchField = MatchField { source: "email", normalise: normalise::plain_email };

/// What is known of HubSpot's lists.
pub static SPEC: Spec = Spec {
    kind: "hubspot_lists",
    title: "HubSpot Lists",
    summary: "Puts contacts on a static list of HubSpot and takes them off it.",
    identifiers: "email",
    match_fields: &[EMAIL],
    receipts: Receipts::PerRow,
    quotas: QUOTAS,
    batch: BATCH,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.hubspot_lists]
type = "hubspot_lists"
access_token = "${HUBSPOT_ACCESS_TOKEN}"
"#,
    notes: &[
        "A list is found by the id (a number) or name in the sync's `list`, else by the model's name, and created as a static list of contacts where there is none; active lists take no members.",
        "A batch of up to 100 members takes two requests, and a third one where contacts are created.",
        "Who enters and is no contact yet becomes one, with nothing but an email; `create_contacts = false` refuses such members instead.",
        "New contacts are not marketing contacts unless the account makes them so.",
        "A contact is one member under all of its addresses: who leaves by one of them is taken off, even where another one is still to be on the list, unless both are in one batch.",
        "A contact that HubSpot does not show yet, or not any more, is tried again.",
        "That a look-up by a secondary address finds the contact is uncertain; where it does not, creating finds it.",
        "Other destinations of the same account count against the same limits: where they run together, lower the `rate_limit` of each.",
        "Putting somebody on a list can start workflows that wait for it.",
        "The needed scopes are `crm.lists.read` and `.write`, and `crm.objects.contacts.read` and `.write`.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    API_VERSION,
    OptionDoc::optional(
        "create_contacts",
        "whether members that are no contacts yet are created; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    access_token: Option<Secret>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    api_version: Option<String>,
    #[serde(default = "crate::destinations::options::yes")]
    create_contacts: bool,
}

/// The lists of one account.
#[derive(Debug)]
struct Lists {
    api: Api,
    create_contacts: bool,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let Options { access_token, client_id, client_secret, refresh_token, .. } = options;
    let credentials = Credentials { access_token, client_id, client_secret, refresh_token };
    let secrets = credentials.secrets();
    let api = Api::of(reader, common, options.api_version, credentials)?;
    let create_contacts = options.create_contacts;
    Ok(Built::new(Arc::new(Lists { api, create_contacts }), secrets))
}

#[async_trait]
impl Destination for Lists {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.api.verify(session).await?;
        remote::readable(&self.api, session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        match &target.remote {
            Some(remote) => Ok(remote.clone()),
            None => remote::opened(&self.api, session, target).await.map(List::into_remote),
        }
    }

    fn requests(&self, _: Call, _: usize) -> usize {
        3
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let Parted { entering, leaving } = Parted::of(batch);
        let mut receipt = batch.delivered();
        let people = contacts::people(&self.api, session, batch).await?;
        let mut added = people.of(&entering);
        let strangers = people.strangers(&entering);
        if self.create_contacts {
            let made = contacts::created(&self.api, session, &strangers, &mut receipt).await?;
            added.extend(made);
        } else {
            put(&mut receipt, &strangers, &people.absence(NOBODY));
        }
        if !people.is_complete {
            put(&mut receipt, &people.strangers(&leaving), &people.absence(NOBODY));
        }
        let removed = people.of(&leaving);
        self.change(session, &list, (added, removed), &mut receipt).await?;
        Ok(receipt.into())
    }
}

const NOBODY: &str = "HubSpot has no contact with that email, and `create_contacts` is false";

fn put(receipt: &mut Receipt, members: &[Member<'_>], outcome: &Outcome) {
    for member in members {
        // Positions are those of this batch.
        let _ = receipt.set(member.position, outcome.clone());
    }
}

/// Positions in the batch, with HubSpot's ids of the contacts.
type Known = Vec<(usize, String)>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    #[serde(default)]
    record_ids_missing: Vec<Json>,
}

impl Lists {
    /// Puts contacts on the list and takes others off. One that is both is on it.
    async fn change(
        &self,
        session: &Session,
        list: &List,
        (added, removed): (Known, Known),
        receipt: &mut Receipt,
    ) -> Result<(), Fault> {
        let adds: BTreeSet<&str> = added.iter().map(|(_, id)| id.as_str()).collect();
        let removes: BTreeSet<&str> = removed.iter().map(|(_, id)| id.as_str()).collect();
        let removes: BTreeSet<&str> = removes.difference(&adds).copied().collect();
        if adds.is_empty() && removes.is_empty() {
            return Ok(());
        }
        let body = json!({"recordIdsToAdd": adds, "recordIdsToRemove": removes});
        let path: &[&str] = &[&list.id, "memberships", "add-and-remove"];
        let request = self.api.write(Method::PUT, ("lists", path), &body)?;
        let changed: Changed = session.send(request).await?.object()?;
        for missing in changed.record_ids_missing {
            let id = text(&missing);
            if !adds.contains(&*id) && !removes.contains(&*id) {
                let reason = "the reply names a contact that was not sent".into();
                return Err(Fault::Protocol { reason });
            }
            for (position, _) in added.iter().filter(|(_, own)| *own == id) {
                let reason = "the contact is not there any more".to_owned();
                // Positions are those of this batch.
                let _ = receipt.set(*position, Outcome::Retry { after: None, reason });
            }
        }
        Ok(())
    }
}

/// Ids are texts that hold numbers, and have been seen as numbers.
fn text(id: &Json) -> String {
    id.as_str().map_or_else(|| id.to_string(), ToOwned::to_owned)
}
