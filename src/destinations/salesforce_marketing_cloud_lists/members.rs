//! Members as rows: those who enter are written by a job, those who leave are deleted before it, or
//! flagged by the same job.
//!
//! What it promises: a handle holds positions and no values; every message of a batch is covered by
//! its job or was settled before it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::super::marketing_cloud_api::Api;
use super::super::membership::{List, Member, Parted};
use super::super::{
    Batch, Delivery, Fault, Job, MatchField, Outcome, Receipt, Settlement, progress,
};
use crate::delivery::Session;

/// What is written where.
#[derive(Debug)]
pub(super) struct Columns {
    /// What the key holds.
    pub field: MatchField,
    pub key: String,
    pub email: Option<String>,
    pub exit: Exit,
}

#[derive(Debug)]
pub(super) enum Exit {
    Delete,
    /// The column that says who is a member.
    Flag(String),
}

/// What is kept of the job of one batch. A member who is not in it was deleted already.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    job: Json,
    /// In the batch, of the rows of the job.
    positions: Vec<usize>,
    /// Whose rows could not be deleted this time, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    kept: BTreeMap<usize, String>,
}

impl Columns {
    /// Beside the key.
    pub(super) fn others(&self) -> impl Iterator<Item = &str> {
        let flag = match &self.exit {
            Exit::Flag(name) => Some(name),
            Exit::Delete => None,
        };
        self.email.iter().chain(flag).map(String::as_str)
    }

    fn id<'m>(&self, member: &Member<'m>) -> Result<&'m str, Fault> {
        let lacking = || Fault::Rejected { reason: "a member without a key".into() };
        self.field.of(member.message).ok_or_else(lacking)
    }

    fn row(&self, member: &Member<'_>) -> Result<Json, Fault> {
        let id = self.id(member)?;
        let is_member = member.message.is_member();
        let mut row = Map::from_iter([(self.key.clone(), json!(id))]);
        if let Some(email) = self.email.as_ref().filter(|_| is_member) {
            row.insert(email.clone(), json!(id));
        }
        if let Exit::Flag(flag) = &self.exit {
            row.insert(flag.clone(), json!(is_member));
        }
        Ok(Json::Object(row))
    }

    fn body(&self, members: &[Member<'_>]) -> Result<Bytes, Fault> {
        let items = members.iter().map(|member| self.row(member)).collect::<Result<Vec<_>, _>>()?;
        Ok(json!({"items": items}).to_string().into())
    }
}

/// Rows are deleted first: deleting them once more, when a refused job is halved, changes nothing.
pub(super) async fn written(
    api: &Api,
    session: &Session,
    list: &List,
    (columns, batch): (&Columns, &Batch),
) -> Result<Delivery, Fault> {
    let Parted { entering, leaving } = Parted::of(batch);
    let (rows, kept) = match &columns.exit {
        Exit::Flag(_) => {
            let mut all = [entering, leaving].concat();
            all.sort_by_key(|member| member.position);
            (all, BTreeMap::new())
        }
        Exit::Delete => (entering, deleted(api, session, list, (columns, &leaving)).await?),
    };
    if rows.is_empty() {
        let mut receipt = batch.delivered();
        put_back(&mut receipt, kept);
        return Ok(receipt.into());
    }
    let job = api.upsert(session, &list.id, columns.body(&rows)?).await?;
    let positions = rows.iter().map(|member| member.position).collect();
    let work = Work { job: job.handle, positions, kept };
    progress::job(&work, job.poll_after).map(Delivery::Submitted)
}

/// Why some rows could not be deleted, by position.
async fn deleted(
    api: &Api,
    session: &Session,
    list: &List,
    (columns, leaving): (&Columns, &[Member<'_>]),
) -> Result<BTreeMap<usize, String>, Fault> {
    let keys = leaving.iter().map(|member| columns.id(member)).collect::<Result<Vec<_>, _>>()?;
    let verdicts = api.delete_rows(session, (&list.id, &columns.key), &keys).await?;
    let kept = leaving.iter().zip(verdicts);
    Ok(kept.filter_map(|(member, reason)| Some((member.position, reason?))).collect())
}

pub(super) async fn settled(
    api: &Api,
    session: &Session,
    job: &Job,
    rows: usize,
) -> Result<Settlement, Fault> {
    let Work { job: handle, positions, kept } = progress::kept(job)?;
    let own = Job { handle, poll_after: job.poll_after };
    let done = match api.settled(session, &own, positions.len()).await? {
        Settlement::Done(done) => done,
        running @ Settlement::Running { .. } => return Ok(running),
    };
    let mut receipt = Receipt::of(rows, &Outcome::Delivered);
    for (position, outcome) in positions.into_iter().zip(done.into_outcomes()) {
        if !receipt.set(position, outcome) {
            return Err(Fault::Protocol { reason: "a job about a member of no batch".into() });
        }
    }
    put_back(&mut receipt, kept);
    Ok(Settlement::Done(receipt))
}

fn put_back(receipt: &mut Receipt, kept: BTreeMap<usize, String>) {
    for (position, reason) in kept {
        // Every position is one of the batch's own.
        let _ = receipt.set(position, Outcome::Retry { after: None, reason });
    }
}
