//! A segment that is set to its members as a whole: everybody is put into it as ever, and at the end
//! Mailchimp is told who they all are, which takes off whoever else is there.
//!
//! How many addresses it takes at once is not published. What it holds afterwards is therefore counted,
//! and where that is less, they are added once more in requests of the usual size.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Method;
use serde::Deserialize;
use serde_json::json;

use super::super::mailchimp_api::Audience;
use super::super::{Fault, Outcome, Receipt};
use super::SPEC;
use super::segment::Segment;
use crate::delivery::Session;

/// Who was put where, by segment and by when its replacement began.
#[derive(Debug, Default)]
pub(super) struct Replacements(Mutex<BTreeMap<(u64, i64), BTreeSet<String>>>);

#[derive(Debug, Deserialize)]
struct Shown {
    id: u64,
    name: String,
    member_count: usize,
}

impl Replacements {
    /// Remembers who of a batch is in the segment now.
    pub(super) fn sent(
        &self,
        segment: &Segment,
        entering: &BTreeMap<String, usize>,
        receipt: &Receipt,
    ) {
        let Some(began) = segment.replacing else { return };
        let is_there =
            |position: usize| matches!(receipt.outcomes().get(position), Some(Outcome::Delivered));
        let there = entering.iter().filter(|(_, position)| is_there(**position));
        let mut all = self.locked();
        let emails = all.entry((segment.id, began)).or_default();
        emails.extend(there.map(|(email, _)| email.clone()));
    }

    pub(super) async fn finish(
        &self,
        audience: &Audience,
        session: &Session,
        segment: &Segment,
    ) -> Result<(), Fault> {
        let Some(began) = segment.replacing else {
            return Err(Fault::Protocol { reason: "no replacement of this segment began".into() });
        };
        let emails = self.locked().get(&(segment.id, began)).cloned().unwrap_or_default();
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

    fn locked(&self) -> MutexGuard<'_, BTreeMap<(u64, i64), BTreeSet<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
