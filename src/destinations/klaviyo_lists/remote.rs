//! Which of the account's lists a sync means: the one that its project names by name or id, else one
//! that is called as the model; created only where none is.
//!
//! Ids are six letters and digits, which may be a name as well: names come first, and what looks like
//! an id and is neither is not created.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::klaviyo_api::{Api, cursor_of};
use super::super::membership::{self, List};
use super::super::{Fault, Target};
use super::CREATE;
use crate::delivery::Session;

#[derive(Deserialize)]
struct Page {
    data: Vec<Listed>,
    #[serde(default)]
    links: Links,
}

#[derive(Default, Deserialize)]
struct Links {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    data: Listed,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    attributes: Attributes,
}

#[derive(Default, Deserialize)]
struct Attributes {
    name: Option<String>,
}

/// Proves that lists can be read.
pub(super) async fn first_page(api: &Api, session: &Session) -> Result<(), Fault> {
    let request = api.get(&["lists"], &[("page[size]", "1")]);
    session.send(request).await?.json::<Page>().map(drop)
}

pub(super) async fn opened(api: &Api, session: &Session, target: &Target) -> Result<List, Fault> {
    let name = membership::name(target);
    if let Some(list) = found(api, session, name).await? {
        return Ok(list);
    }
    if target.list.is_some() && is_id(name) {
        return existing(api, session, name).await;
    }
    created(api, session, name).await
}

/// The list of an id that the project names.
async fn existing(api: &Api, session: &Session, id: &str) -> Result<List, Fault> {
    match session.send(api.get(&["lists", id], &[])).await {
        Ok(response) => {
            let Document { data: Listed { id, .. } } = response.json()?;
            Ok(List { id })
        }
        Err(Fault::Misconfigured { reason } | Fault::Rejected { reason }) => {
            Err(membership::unknown(id, &reason))
        }
        Err(other) => Err(other),
    }
}

async fn found(api: &Api, session: &Session, name: &str) -> Result<Option<List>, Fault> {
    let filter = format!("equals(name,{})", json!(name));
    let mut lists = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = vec![("filter", filter.as_str())];
        query.extend(cursor.as_deref().map(|cursor| ("page[cursor]", cursor)));
        let Page { data, links } = session.send(api.get(&["lists"], &query)).await?.json()?;
        lists.extend(data);
        let next = links.next.as_deref().and_then(cursor_of);
        if next.is_none() || next == cursor {
            break;
        }
        cursor = next;
    }
    let pairs = lists.iter().filter_map(|list| Some((&*list.id, list.attributes.name.as_deref()?)));
    membership::named(pairs, name)
}

async fn created(api: &Api, session: &Session, name: &str) -> Result<List, Fault> {
    let body = json!({"data": {"type": "list", "attributes": {"name": name}}}).to_string();
    let request = api.write(Method::POST, &["lists"], body.into());
    let request = request.endpoint(CREATE[0].0).repeatable(false);
    match session.send(request).await {
        Ok(response) => {
            let Document { data: Listed { id, .. } } = response.json()?;
            Ok(List { id })
        }
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Klaviyo does not create the list `{name}`: {reason}");
            Err(Fault::Misconfigured { reason })
        }
        Err(other) => Err(other),
    }
}

/// Such as `Y6nRLr`: no word in one case.
fn is_id(text: &str) -> bool {
    let odd = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    text.len() == 6
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && text.bytes().skip(1).any(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_names() {
        assert!(["Y6nRLr", "VwXyZa", "TKDDA2"].into_iter().all(is_id));
        let names = ["buyers", "Buyers", "VIP", "big spenders", "vip-26"];
        assert!(!names.into_iter().any(is_id));
    }
}
