//! What Amplitude's replies about cohorts mean.
//!
//! What it promises: a change counts only where the reply answers for every operation that was asked
//! for, and about the cohort that was meant; an id that was not sent is not believed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::Fault;
use crate::delivery::{Response, standard};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Operation {
    Add,
    Remove,
}

/// The answer to a new cohort; Amplitude's documents and other people's recordings disagree on the
/// name.
#[derive(Debug, Deserialize)]
pub(super) struct Created {
    #[serde(alias = "cohortId")]
    pub cohort_id: String,
}

#[derive(Debug, Deserialize)]
struct Changed {
    cohort_id: String,
    memberships_result: Vec<Changing>,
}

#[derive(Debug, Deserialize)]
struct Changing {
    operation: Operation,
    skipped_ids: Vec<String>,
}

/// Ids with which nothing could be done.
#[derive(Debug)]
pub(super) struct Skipped(BTreeSet<(Operation, String)>);

#[derive(Debug, Default, Deserialize)]
struct Refusal {
    #[serde(default)]
    error: Complaint,
}

#[derive(Debug, Default, Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

impl Skipped {
    pub(super) fn read(
        response: &Response,
        cohort: &str,
        sent: &[(Operation, &[&str])],
    ) -> Result<Self, Fault> {
        let changed: Changed = response.json()?;
        let unreadable = |reason: &str| Fault::Protocol { reason: reason.into() };
        if changed.cohort_id != cohort {
            return Err(unreadable("the reply is about another cohort"));
        }
        let mut skipped = BTreeSet::new();
        for (operation, ids) in sent {
            let mut results = changed.memberships_result.iter();
            let result = results.find(|result| result.operation == *operation);
            let result = result.ok_or_else(|| unreadable("the reply leaves out an operation"))?;
            for id in &result.skipped_ids {
                if !ids.contains(&id.as_str()) {
                    return Err(unreadable("the reply names an id that was not sent"));
                }
                skipped.insert((*operation, id.clone()));
            }
        }
        Ok(Self(skipped))
    }

    pub(super) fn of(&self, operation: Operation, id: &str) -> bool {
        self.0.contains(&(operation, id.to_owned()))
    }
}

/// What a status means here: only 200 is success; a refusal that is about the cohort, not about ids,
/// is a matter of the sync.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    match standard(response) {
        Ok(()) if response.status != 200 => Err(Fault::Protocol { reason: response.reason() }),
        Err(Fault::Rejected { reason }) => {
            let refusal: Refusal = response.json().unwrap_or_default();
            Err(match refusal.error.message.to_lowercase().contains("cohort") {
                true => Fault::Misconfigured { reason },
                false => Fault::Rejected { reason },
            })
        }
        other => other,
    }
}
