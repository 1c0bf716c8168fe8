//! Which of the account's lists a sync means: the one that its project names by id or name, else one
//! that is called as the model; created only where none is. Names are unique among lists of contacts.

use http::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::super::hubspot_api::{Api, about_one};
use super::super::membership::{self, List};
use super::super::{Fault, Target};
use super::text;
use crate::delivery::Session;

/// The type of contacts.
const CONTACTS: &str = "0-1";

#[derive(Deserialize)]
struct One {
    list: Listed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    list_id: Json,
    processing_type: String,
    object_type_id: String,
}

impl Listed {
    /// The list, if contacts can be put on it.
    fn usable(&self, name: &str) -> Result<List, Fault> {
        if self.object_type_id != CONTACTS {
            return Err(membership::unknown(name, "it is not a list of contacts"));
        }
        if !matches!(self.processing_type.as_str(), "MANUAL" | "SNAPSHOT") {
            return Err(membership::unknown(name, "it is an active list and takes no members"));
        }
        Ok(List { id: text(&self.list_id) })
    }
}

/// Proves that lists can be read: any answer does, even that there is none of that name.
pub(super) async fn readable(api: &Api, session: &Session) -> Result<(), Fault> {
    asked(api, session, &["object-type-id", CONTACTS, "name", "Muster"]).await.map(|_| ())
}

pub(super) async fn opened(api: &Api, session: &Session, target: &Target) -> Result<List, Fault> {
    let name = membership::name(target);
    if target.list.is_some() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return match asked(api, session, &[name]).await? {
            Some(listed) => listed.usable(name),
            None => Err(membership::unknown(name, "HubSpot has none of that id")),
        };
    }
    match found(api, session, name).await? {
        Some(list) => Ok(list),
        None => created(api, session, name).await,
    }
}

async fn found(api: &Api, session: &Session, name: &str) -> Result<Option<List>, Fault> {
    let listed = asked(api, session, &["object-type-id", CONTACTS, "name", name]).await?;
    listed.map(|listed| listed.usable(name)).transpose()
}

async fn asked(api: &Api, session: &Session, path: &[&str]) -> Result<Option<Listed>, Fault> {
    let response = session.send(api.get("lists", path).reading(about_one)).await?;
    match response.status {
        404 => Ok(None),
        _ => response.object::<One>().map(|one| Some(one.list)),
    }
}

async fn created(api: &Api, session: &Session, name: &str) -> Result<List, Fault> {
    let body = json!({"name": name, "objectTypeId": CONTACTS, "processingType": "MANUAL"});
    let request = api.write(Method::POST, ("lists", &[]), &body)?.repeatable(false);
    match session.send(request).await {
        Ok(response) => response.object::<One>()?.list.usable(name),
        // Somebody else may have been faster.
        Err(Fault::Rejected { reason }) => match found(api, session, name).await? {
            Some(list) => Ok(list),
            None => {
                let reason = format!("HubSpot does not create the list `{name}`: {reason}");
                Err(Fault::Misconfigured { reason })
            }
        },
        Err(fault) => Err(fault),
    }
}
