//! The shared list of a sync: found by id or name, or created once.

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::Fault;
use super::super::membership::{self, List};
use super::pod::Pod;
use crate::delivery::{Request, Response, Session, standard};

/// Lists of one name, of which there should be one.
const MOST: &str = "100";

#[derive(Deserialize)]
struct Found {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Page {
    elements: Vec<Found>,
}

pub(super) fn is_id(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn search(pod: &Pod, query: &[(&str, &str)]) -> Request {
    let mut request = pod.lists(Method::GET, &["lists"]);
    request.url.query_pairs_mut().append_pair("depth", "minimal").extend_pairs(query);
    request
}

/// That lists can be read at all.
pub(super) async fn some(pod: &Pod, session: &Session) -> Result<(), Fault> {
    session.send(search(pod, &[("count", "1")])).await?.json::<Page>().map(|_| ())
}

/// The list of that id, which the project names.
pub(super) async fn existing(pod: &Pod, session: &Session, id: &str) -> Result<List, Fault> {
    let mut request = pod.lists(Method::GET, &["list", id]);
    request.url.query_pairs_mut().append_pair("depth", "minimal");
    match session.send(request).await {
        Ok(response) => response.json::<Found>().map(|list| List { id: list.id }),
        Err(Fault::Misconfigured { reason } | Fault::Rejected { reason }) => {
            Err(membership::unknown(id, &reason))
        }
        Err(fault) => Err(fault),
    }
}

pub(super) async fn named(pod: &Pod, session: &Session, name: &str) -> Result<Option<List>, Fault> {
    let quote = if name.contains('\'') { '"' } else { '\'' };
    let wanted = format!("name={quote}{name}{quote}");
    let request = search(pod, &[("count", MOST), ("search", &wanted)]);
    let found: Page = session.send(request).await?.json()?;
    let pairs = found.elements.iter().map(|list| (list.id.as_str(), list.name.as_str()));
    membership::named(pairs, name)
}

/// Not repeatable. A name that is taken belongs to a list that the search did not show yet.
pub(super) async fn created(
    pod: &Pod,
    session: &Session,
    name: &str,
    folder: Option<u64>,
) -> Result<List, Fault> {
    let mut body = json!({"name": name});
    if let Some(folder) = folder {
        body["folderId"] = json!(folder.to_string());
    }
    let request = pod
        .lists(Method::POST, &["list"])
        .json_body(body.to_string().into())
        .repeatable(false)
        .reading(made_or_taken);
    let response = match session.send(request).await {
        Ok(response) => response,
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Eloqua refuses to create the list `{name}`: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        Err(fault) => return Err(fault),
    };
    if response.status != 409 {
        return response.json::<Found>().map(|list| List { id: list.id });
    }
    named(pod, session, name).await?.ok_or_else(|| {
        let reason = format!("Eloqua says that the list `{name}` is there, and does not show it");
        Fault::Misconfigured { reason }
    })
}

fn made_or_taken(response: &Response) -> Result<(), Fault> {
    if response.status == 409 { Ok(()) } else { standard(response) }
}
