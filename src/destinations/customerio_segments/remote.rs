//! Which of the workspace's segments a sync means: the one that its project names by id or name, else
//! one that is called as the model; created only where none is.
//!
//! Names are not unique there, and a creation whose answer is lost is not repeated: the next run finds
//! what came of it.

use serde::Deserialize;
use serde_json::{Number, json};

use super::super::customerio_api::AppApi;
use super::super::membership::{self, List};
use super::super::{Fault, Target};
use crate::delivery::Session;

#[derive(Deserialize)]
struct Page {
    segments: Vec<Segment>,
}

#[derive(Deserialize)]
struct One {
    segment: Segment,
}

#[derive(Deserialize)]
struct Segment {
    id: Number,
    #[serde(default)]
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

impl Segment {
    fn is_manual(&self) -> bool {
        self.kind == "manual"
    }
}

pub(super) async fn opened(
    app: &AppApi,
    session: &Session,
    target: &Target,
) -> Result<List, Fault> {
    let name = membership::name(target);
    if target.list.is_some() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return existing(app, session, name).await;
    }
    match found(app, session, name).await? {
        Some(list) => Ok(list),
        None => created(app, session, target, name).await,
    }
}

/// Every segment of the workspace, as pairs of id and name, and whether it is manual.
pub(super) async fn listed(
    app: &AppApi,
    session: &Session,
) -> Result<Vec<(String, String, bool)>, Fault> {
    let response = session.send(app.get("/v1/segments")).await?;
    let Page { segments } = response.object()?;
    let all = segments.into_iter().map(|segment| {
        let is_manual = segment.is_manual();
        (segment.id.to_string(), segment.name, is_manual)
    });
    Ok(all.collect())
}

/// The segment of an id that the project names.
async fn existing(app: &AppApi, session: &Session, id: &str) -> Result<List, Fault> {
    let response = match session.send(app.get(&format!("/v1/segments/{id}"))).await {
        Err(Fault::Misconfigured { reason } | Fault::Rejected { reason }) => {
            return Err(membership::unknown(id, &reason));
        }
        other => other?,
    };
    let One { segment } = response.object()?;
    match segment.is_manual() {
        true => Ok(List { id: segment.id.to_string() }),
        false => Err(membership::unknown(id, "it is data-driven and takes no members")),
    }
}

async fn found(app: &AppApi, session: &Session, name: &str) -> Result<Option<List>, Fault> {
    let all = listed(app, session).await?;
    let manual = all.iter().filter(|(.., is_manual)| *is_manual);
    let list = membership::named(manual.map(|(id, name, _)| (&**id, &**name)), name)?;
    if list.is_none() && all.iter().any(|(_, other, _)| other == name) {
        return Err(membership::unknown(name, "it is data-driven and takes no members"));
    }
    Ok(list)
}

async fn created(
    app: &AppApi,
    session: &Session,
    target: &Target,
    name: &str,
) -> Result<List, Fault> {
    let description = format!("Kept by Muster from the model `{}`.", target.model_key);
    let body = json!({"segment": {"name": name, "description": description}});
    let request = app.post("/v1/segments", &body).repeatable(false);
    let response = match session.send(request).await {
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Customer.io does not create the segment `{name}`: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        other => other?,
    };
    let One { segment } = response.object()?;
    Ok(List { id: segment.id.to_string() })
}
