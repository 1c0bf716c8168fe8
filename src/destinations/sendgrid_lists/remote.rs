//! Which of the account's lists a sync means: the one that its project names by id or name, else one
//! that is called as the model; created only where none is.

use http::Method;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::super::membership::{self, List};
use super::super::sendgrid_api::Api;
use super::super::{Fault, Target};
use crate::delivery::Session;

#[derive(Deserialize)]
struct Page {
    result: Vec<Listed>,
    #[serde(rename = "_metadata", default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    name: String,
}

pub(super) async fn opened(api: &Api, session: &Session, target: &Target) -> Result<List, Fault> {
    let name = membership::name(target);
    if target.list.is_some() && is_id(name) {
        return existing(api, session, name).await;
    }
    match found(api, session, name).await? {
        Some(list) => Ok(list),
        None => created(api, session, name).await,
    }
}

/// Proves that lists can be read.
pub(super) async fn first_page(api: &Api, session: &Session) -> Result<(), Fault> {
    let request = api.get(&["lists"]);
    session.send(request).await?.json::<Page>().map(drop)
}

/// The list of an id that the project names.
pub(super) async fn existing(api: &Api, session: &Session, id: &str) -> Result<List, Fault> {
    match session.send(api.get(&["lists", id])).await {
        Ok(response) => {
            let Listed { id, .. } = response.json()?;
            Ok(List { id })
        }
        Err(Fault::Misconfigured { reason } | Fault::Rejected { reason }) => {
            Err(membership::unknown(id, &reason))
        }
        Err(other) => Err(other),
    }
}

async fn found(api: &Api, session: &Session, name: &str) -> Result<Option<List>, Fault> {
    let mut lists = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let mut request = api.get(&["lists"]);
        {
            let mut query = request.url.query_pairs_mut();
            query.append_pair("page_size", "1000");
            if let Some(token) = &token {
                query.append_pair("page_token", token);
            }
        }
        let Page { result, metadata } = session.send(request).await?.json()?;
        lists.extend(result);
        let next = metadata.next.as_deref().and_then(token_of);
        if next.is_none() || next == token {
            break;
        }
        token = next;
    }
    membership::named(lists.iter().map(|list| (&*list.id, &*list.name)), name)
}

fn token_of(next: &str) -> Option<String> {
    let url = Url::parse(next).ok()?;
    let mut query = url.query_pairs();
    query.find(|(name, _)| name == "page_token").map(|(_, token)| token.into_owned())
}

async fn created(api: &Api, session: &Session, name: &str) -> Result<List, Fault> {
    let body = json!({ "name": name }).to_string();
    let request = api.write(Method::POST, &["lists"], body.into()).repeatable(false);
    match session.send(request).await {
        Ok(response) => {
            let Listed { id, .. } = response.json()?;
            Ok(List { id })
        }
        // Names are unique: somebody else may have been faster.
        Err(Fault::Rejected { reason }) => found(api, session, name).await?.ok_or_else(|| {
            let reason = format!("SendGrid does not create the list `{name}`: {reason}");
            Fault::Misconfigured { reason }
        }),
        Err(other) => Err(other),
    }
}

/// Ids are UUIDs.
fn is_id(text: &str) -> bool {
    let parts = text.split('-').map(str::len);
    parts.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit())
}
