//! A segment that is set to its members as a whole: everybody is put into it as ever, and at the end
//! Mailchimp is told who they all are, which takes off whoever else is there.
//!
//! How many addresses it takes at once is not published. What it holds afterwards is therefore counted,
//! and where that is less, they are added once more in requests of the usual size.

use std::collections::BTreeSet;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::Fault;
use super::super::mailchimp_api::Audience;
use super::SPEC;
use super::segment::Segment;
use crate::delivery::Session;

#[derive(Debug, Deserialize)]
struct Shown {
    id: u64,
    name: String,
    member_count: usize,
}

pub(super) async fn finish(
    audience: &Audience,
    session: &Session,
    segment: &Segment,
    emails: &BTreeSet<String>,
) -> Result<(), Fault> {
    let id = segment.id.to_string();
    let path = ["segments", id.as_str()];
    let Shown { name, .. } = shown(audience, session, segment).await?;
    let body = json!({"name": name, "static_segment": emails});
    session.send(audience.write(Method::PATCH, &path, &body)?).await?;
    if shown(audience, session, segment).await?.member_count >= emails.len() {
        return Ok(());
    }
    let emails: Vec<&String> = emails.iter().collect();
    for some in emails.chunks(SPEC.batch.max_rows) {
        let body = json!({"members_to_add": some, "members_to_remove": []});
        session.send(audience.write(Method::POST, &path, &body)?).await?;
    }
    Ok(())
}

/// The segment with contacts of every status.
async fn shown(audience: &Audience, session: &Session, segment: &Segment) -> Result<Shown, Fault> {
    let mut request = audience.get(&["segments", &segment.id.to_string()]);
    let every = ["include_cleaned", "include_transactional", "include_unsubscribed"];
    request.url.query_pairs_mut().extend_pairs(every.map(|status| (status, "true")));
    let shown: Shown = session.send(request).await?.json()?;
    if shown.id == segment.id {
        return Ok(shown);
    }
    Err(Fault::Protocol { reason: "the reply is about another segment".into() })
}
