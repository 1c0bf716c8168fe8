//! The tag that stands for a list: found by id or name, or created.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::intercom_api::{Api, about_one, is_success};
use super::super::membership::{name, unknown};
use super::super::{Fault, Remote, Target};
use crate::delivery::Session;

/// A tag as it is kept and as Intercom shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tag {
    pub id: String,
    pub name: String,
}

impl Tag {
    pub(super) fn of(remote: &Remote) -> Result<Self, Fault> {
        Self::deserialize(&remote.0).map_err(|error| Fault::Protocol {
            reason: format!("what was kept of the tag cannot be read: {error}"),
        })
    }

    pub(super) fn into_remote(self) -> Result<Remote, Fault> {
        serde_json::to_value(self)
            .map(Remote)
            .map_err(|error| Fault::Protocol { reason: error.to_string() })
    }
}

#[derive(Deserialize)]
struct All {
    data: Vec<Tag>,
}

/// The tag of a sync, under the name that it has now.
pub(super) async fn opened(api: &Api, session: &Session, target: &Target) -> Result<Tag, Fault> {
    if let Some(remote) = &target.remote {
        return existing(api, session, &Tag::of(remote)?.id).await;
    }
    let wanted = name(target);
    if target.list.is_some() && is_id(wanted) {
        return existing(api, session, wanted).await;
    }
    let All { data } = session.send(api.get(&["tags"])).await?.json()?;
    let is_wanted = |tag: &Tag| tag.name.to_lowercase() == wanted.to_lowercase();
    match data.into_iter().find(is_wanted) {
        Some(tag) => Ok(tag),
        None => created(api, session, wanted).await,
    }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

async fn existing(api: &Api, session: &Session, id: &str) -> Result<Tag, Fault> {
    let response = session.send(api.get(&["tags", id]).reading(about_one)).await?;
    if !is_success(&response) {
        return Err(unknown(id, &response.reason()));
    }
    let tag: Tag = response.json()?;
    if tag.id == id {
        return Ok(tag);
    }
    Err(Fault::Protocol { reason: format!("the reply is not about the tag `{id}`") })
}

/// One of the same name would come back instead of a second one, so that repeating is harmless.
async fn created(api: &Api, session: &Session, name: &str) -> Result<Tag, Fault> {
    let request = api.write(Method::POST, &["tags"], &json!({"name": name}))?;
    match session.send(request).await {
        Ok(response) => response.json(),
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Intercom does not create the tag `{name}`: {reason}");
            Err(Fault::Misconfigured { reason })
        }
        Err(fault) => Err(fault),
    }
}
