//! Members who leave: looked up by what they are told apart by, and taken off the list by the ids of
//! their profiles.
//!
//! What it promises: nobody is created to be taken off. Who is not found is off the list already; whom
//! a refusal keeps on it is tried again and holds nobody else up.

use std::collections::{BTreeMap, HashMap};

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::super::Fault;
use super::super::klaviyo_api::cursor_of;
use super::super::membership::{List, Member};
use super::{Lists, REMOVE};
use crate::delivery::{Response, Session, standard};

/// Of one lookup: what an address has room for.
const MOST_LOOKED_UP: usize = 50;
/// Of one removal.
const MOST_REMOVED: usize = 1_000;

#[derive(Deserialize)]
struct Page {
    data: Vec<Found>,
    #[serde(default)]
    links: Links,
}

#[derive(Default, Deserialize)]
struct Links {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    attributes: Map<String, Json>,
}

/// A profile that may be on the list, and whose it is.
struct Listed {
    position: usize,
    id: String,
}

/// Takes members off the list; who could not be, and why.
pub(super) async fn taken_off(
    lists: &Lists,
    session: &Session,
    list: &List,
    leaving: &[Member<'_>],
) -> Result<BTreeMap<usize, String>, Fault> {
    let mut listed = Vec::new();
    for members in leaving.chunks(MOST_LOOKED_UP) {
        listed.extend(looked_up(lists, session, members).await?);
    }
    let mut kept = BTreeMap::new();
    for some in listed.chunks(MOST_REMOVED) {
        match removed(lists, session, list, some).await {
            Ok(()) => {}
            Err(Fault::Rejected { reason }) => {
                kept.extend(some.iter().map(|one| (one.position, reason.clone())));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(kept)
}

async fn removed(
    lists: &Lists,
    session: &Session,
    list: &List,
    listed: &[Listed],
) -> Result<(), Fault> {
    let profile = |one: &Listed| json!({"type": "profile", "id": one.id});
    let body = json!({"data": listed.iter().map(profile).collect::<Vec<_>>()}).to_string();
    let path = ["lists", &list.id, "relationships", "profiles"];
    let request = lists.api.write(Method::DELETE, &path, body.into());
    session.send(request.endpoint(REMOVE[0].0).reading(done)).await.map(drop)
}

/// Klaviyo says that it has done it by saying nothing.
fn done(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    if response.body.trim_ascii().is_empty() {
        return Ok(());
    }
    Err(Fault::Protocol { reason: format!("{} where nothing was expected", response.reason()) })
}

/// The profiles of these members, as far as there are any.
async fn looked_up(
    lists: &Lists,
    session: &Session,
    members: &[Member<'_>],
) -> Result<Vec<Listed>, Fault> {
    let name = lists.key.name();
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut identities = Vec::new();
    for member in members {
        let identity = lists.key.of(member.message)?;
        positions.insert(lists.key.folded(identity), member.position);
        identities.push(identity);
    }
    let filter = format!("any({name},{})", json!(identities));
    let mut listed = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query =
            vec![("filter", filter.as_str()), ("fields[profile]", name), ("page[size]", "100")];
        query.extend(cursor.as_deref().map(|cursor| ("page[cursor]", cursor)));
        let request = lists.api.get(&["profiles"], &query);
        let Page { data, links } = session.send(request).await?.json()?;
        for Found { id, attributes } in data {
            let identity = attributes.get(name).and_then(Json::as_str);
            let known = identity.map(|identity| lists.key.folded(identity));
            let position = known.and_then(|identity| positions.get(&identity).copied());
            let stranger = || Fault::Protocol { reason: "a profile that was not asked for".into() };
            listed.push(Listed { position: position.ok_or_else(stranger)?, id });
        }
        let next = links.next.as_deref().and_then(cursor_of);
        if next.is_none() || next == cursor {
            return Ok(listed);
        }
        cursor = next;
    }
}
