//! The list of a sync: found by id or name, or created once.

use serde::Deserialize;

use super::super::Fault;
use super::super::marketo_api::{Api, results};
use super::super::membership::{self, List};
use crate::delivery::Session;

/// Where lists are created.
#[derive(Debug, Clone, Copy)]
pub(super) struct Folder {
    pub id: u64,
    /// `Folder` or `Program`.
    pub kind: &'static str,
}

#[derive(Deserialize)]
struct Found {
    id: u64,
    name: String,
}

pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// That lists can be read at all.
pub(super) async fn some(api: &Api, session: &Session) -> Result<(), Fault> {
    let mut request = api.get(&["rest", "v1", "lists.json"]);
    request.url.query_pairs_mut().append_pair("batchSize", "1");
    results::<Found>(&session.send(request).await?).map(|_| ())
}

/// The list of that id, which the project names.
pub(super) async fn existing(api: &Api, session: &Session, id: &str) -> Result<List, Fault> {
    let file = format!("{id}.json");
    match api.found::<Found>(session, &["rest", "v1", "lists", &file], &[]).await {
        Ok(found) if found.iter().any(|list| list.id.to_string() == id) => {
            Ok(List { id: id.to_owned() })
        }
        Ok(_) => Err(membership::unknown(id, "Marketo has no static list of this id")),
        Err(Fault::Rejected { reason } | Fault::Misconfigured { reason }) => {
            Err(membership::unknown(id, &reason))
        }
        Err(fault) => Err(fault),
    }
}

pub(super) async fn named(api: &Api, session: &Session, name: &str) -> Result<Option<List>, Fault> {
    let path = ["rest", "v1", "lists.json"];
    let found: Vec<Found> = api.found(session, &path, &[("name", name)]).await?;
    let pairs: Vec<_> = found.iter().map(|list| (list.id.to_string(), &list.name)).collect();
    membership::named(pairs.iter().map(|(id, name)| (id.as_str(), name.as_str())), name)
}

/// Not repeatable: names are unique, a second one would be refused.
pub(super) async fn created(
    api: &Api,
    session: &Session,
    name: &str,
    folder: Option<Folder>,
) -> Result<List, Fault> {
    let Some(Folder { id, kind }) = folder else {
        let reason = format!(
            "Marketo has no static list named `{name}`: make it, name another one as the sync's \
             `list`, or give `folder` to have it created"
        );
        return Err(Fault::Misconfigured { reason });
    };
    let folder = format!(r#"{{"id":{id},"type":"{kind}"}}"#);
    let request = api
        .request(http::Method::POST, &["rest", "asset", "v1", "staticLists.json"])
        .form_body(&[("folder", folder.as_str()), ("name", name)])
        .repeatable(false);
    let created: Vec<Found> = match session.send(request).await {
        Ok(response) => results(&response)?,
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Marketo refuses to create the list `{name}`: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        Err(fault) => return Err(fault),
    };
    match created.first() {
        Some(list) => Ok(List { id: list.id.to_string() }),
        None => Err(Fault::Protocol { reason: "a list was created, but has no id".into() }),
    }
}
