//! Members of an audience: merged into the profile list where they enter, then marked in its column.
//!
//! What it promises: a handle holds positions and reasons, no values; who could not be merged into the
//! list has no row sent; every message of a batch is covered.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::membership::{Member, Parted};
use super::super::responsys_api::{Answer, Api, Key, POLL, Rows};
use super::super::{
    Batch, Delivery, Fault, Job, MatchField, Outcome, Receipt, Settlement, progress,
};
use super::remote::Column;
use crate::delivery::Session;

/// The members of one profile list.
pub(super) struct Members<'a> {
    pub api: &'a Api,
    pub session: &'a Session,
    pub key: Key,
    pub field: MatchField,
}

/// What is kept of the request of one batch.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    request: String,
    /// In the batch, of the rows of the request.
    positions: Vec<usize>,
    /// Of those, who leaves.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    leaving: BTreeSet<usize>,
    /// Who is not in the request, and why not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    refused: BTreeMap<usize, String>,
}

impl Members<'_> {
    pub(super) async fn deliver(
        &self,
        column: &Column,
        batch: &Batch,
        create: bool,
    ) -> Result<Delivery, Fault> {
        let Parted { entering, leaving } = Parted::of(batch);
        let refused = match create {
            true => self.merged(&entering).await?,
            false => BTreeMap::new(),
        };
        let members: Vec<_> = [entering, leaving.clone()]
            .concat()
            .into_iter()
            .filter(|member| !refused.contains_key(&member.position))
            .collect();
        if members.is_empty() {
            let mut receipt = batch.delivered();
            reject(&mut receipt, refused);
            return Ok(receipt.into());
        }
        let rows = self.rows(column, &members)?;
        let request =
            self.api.submit_extension(self.session, &column.table, (self.key, &rows)).await?;
        let positions = members.iter().map(|member| member.position).collect();
        let leaving = leaving.iter().map(|member| member.position).collect();
        progress::job(&Work { request, positions, leaving, refused }, POLL).map(Delivery::Submitted)
    }

    /// Who could not be merged into the list, and why not.
    async fn merged(&self, entering: &[Member<'_>]) -> Result<BTreeMap<usize, String>, Fault> {
        if entering.is_empty() {
            return Ok(BTreeMap::new());
        }
        let records = entering.iter().map(|member| Ok(vec![self.id(member)?.to_owned()]));
        let records = records.collect::<Result<Vec<_>, Fault>>()?;
        let rows = Rows { columns: vec![self.key.column().to_owned()], records };
        let verdicts = self.api.merge_members(self.session, self.key, &rows).await?;
        let refused = entering.iter().zip(verdicts);
        Ok(refused.filter_map(|(member, reason)| Some((member.position, reason?))).collect())
    }

    fn rows(&self, column: &Column, members: &[Member<'_>]) -> Result<Rows, Fault> {
        let record = |member: &Member<'_>| {
            let mark = if member.message.is_member() { "1" } else { "0" };
            Ok(vec![self.id(member)?.to_owned(), mark.to_owned()])
        };
        let records = members.iter().map(record).collect::<Result<Vec<_>, Fault>>()?;
        Ok(Rows { columns: vec![self.key.column().to_owned(), column.column.clone()], records })
    }

    fn id<'m>(&self, member: &Member<'m>) -> Result<&'m str, Fault> {
        let lacking = || Fault::Rejected { reason: "a member without an identifier".into() };
        self.field.of(member.message).ok_or_else(lacking)
    }
}

pub(super) async fn settled(
    api: &Api,
    session: &Session,
    job: &Job,
    rows: usize,
) -> Result<Settlement, Fault> {
    let Work { request, positions, leaving, refused } = progress::kept(job)?;
    let outcomes = match api.answer(session, &request, positions.len()).await? {
        Answer::Waiting => return Ok(Settlement::Running { poll_after: POLL }),
        Answer::Merged(verdicts) => {
            let verdicts = positions.iter().zip(verdicts);
            verdicts.map(|(place, verdict)| outcome(verdict, leaving.contains(place))).collect()
        }
        Answer::NotDone(reason) => {
            vec![Outcome::Retry { after: None, reason }; positions.len()]
        }
        Answer::Gone(reason) => vec![Outcome::Unsettled { reason }; positions.len()],
    };
    let mut receipt = Receipt::of(rows, &Outcome::Delivered);
    for (position, outcome) in positions.into_iter().zip(outcomes) {
        if !receipt.set(position, outcome) {
            return Err(Fault::Protocol { reason: "a request about a member of no batch".into() });
        }
    }
    reject(&mut receipt, refused);
    Ok(Settlement::Done(receipt))
}

/// Who leaves and is not in the list any more has left.
fn outcome(verdict: Option<String>, leaves: bool) -> Outcome {
    let Some(reason) = verdict else { return Outcome::Delivered };
    if !leaves {
        return Outcome::Rejected { reason };
    }
    let told = reason.to_lowercase().replace('_', " ");
    let is_gone = ["not found", "no match", "no record", "does not exist"];
    if is_gone.iter().any(|words| told.contains(words)) {
        return Outcome::Delivered;
    }
    Outcome::Retry { after: None, reason }
}

fn reject(receipt: &mut Receipt, refused: BTreeMap<usize, String>) {
    for (position, reason) in refused {
        // Every position is one of the batch's own.
        let _ = receipt.set(position, Outcome::Rejected { reason });
    }
}
