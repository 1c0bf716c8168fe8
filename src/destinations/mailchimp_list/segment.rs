//! Which static segment a sync means: the one that the project names by id or name, else one that is
//! called as the model; created only where none is.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::super::mailchimp_api::Audience;
use super::super::membership;
use super::super::{Fault, Remote, Target};
use crate::delivery::Session;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Segment {
    pub id: u64,
}

/// A segment as Mailchimp shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    id: u64,
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    segments: Vec<Shown>,
    total_items: usize,
}

/// Segments on one page, the most there may be.
const PAGE: usize = 1000;

impl Segment {
    pub(super) fn of(remote: &Remote) -> Result<Self, Fault> {
        Self::deserialize(&remote.0).map_err(|error| Fault::Protocol {
            reason: format!("what was kept of the segment cannot be read: {error}"),
        })
    }

    pub(super) fn into_remote(self) -> Remote {
        Remote(json!(self))
    }
}

pub(super) async fn opened(
    audience: &Audience,
    session: &Session,
    target: &Target,
) -> Result<Segment, Fault> {
    let name = membership::name(target);
    let shown = all(audience, session).await?;
    let by_id = shown.iter().find(|one| target.list.is_some() && one.id.to_string() == name);
    if let Some(Shown { id, .. }) = by_id {
        return Ok(Segment { id: *id });
    }
    let ids: Vec<String> = shown.iter().map(|one| one.id.to_string()).collect();
    let named = ids.iter().zip(&shown).map(|(id, one)| (id.as_str(), one.name.as_str()));
    if let Some(list) = membership::named(named, name)? {
        let found = shown.iter().find(|one| one.id.to_string() == list.id);
        return found
            .map(|one| Segment { id: one.id })
            .ok_or_else(|| Fault::Protocol { reason: "a segment without an id".into() });
    }
    if target.list.is_some() && name.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(membership::unknown(name, "the audience has no such static segment"));
    }
    create(audience, session, name).await
}

/// Every static segment of the audience.
async fn all(audience: &Audience, session: &Session) -> Result<Vec<Shown>, Fault> {
    let mut shown: Vec<Shown> = Vec::new();
    loop {
        let mut request = audience.get(&["segments"]);
        request
            .url
            .query_pairs_mut()
            .append_pair("type", "static")
            .append_pair("count", &PAGE.to_string())
            .append_pair("offset", &shown.len().to_string());
        let page: Page = session.send(request).await?.json()?;
        let is_last = page.segments.is_empty();
        shown.extend(page.segments);
        if is_last || shown.len() >= page.total_items {
            shown.retain(|one| one.kind == "static");
            return Ok(shown);
        }
    }
}

async fn create(audience: &Audience, session: &Session, name: &str) -> Result<Segment, Fault> {
    let body = json!({"name": name, "static_segment": []});
    let request = audience.write(Method::POST, &["segments"], &body)?.repeatable(false);
    let created: Shown = match session.send(request).await {
        Ok(response) => response.json()?,
        Err(Fault::Rejected { reason }) => {
            let reason = format!("Mailchimp refuses to create the segment `{name}`: {reason}");
            return Err(Fault::Misconfigured { reason });
        }
        Err(other) => return Err(other),
    };
    if created.name == name {
        return Ok(Segment { id: created.id });
    }
    Err(Fault::Protocol {
        reason: format!("Mailchimp created `{}` where `{name}` was asked for", created.name),
    })
}
