//! Cohorts of Braze by the partner import: people are put on and taken off by their external id.
//!
//! Only partners of Braze may use it: a key of the partner and one of the workspace stand in the body
//! of every request. A cohort has the id that we give it, so that naming it twice is harmless; nothing
//! can be read back. Braze says that it took a request and nothing of single people: whom it does not
//! know it ignores.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use url::Url;

use super::braze_api::{Instance, address, plain, to};
use super::membership::Parted;
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Spec, Target,
};
use crate::delivery::{Request, Response, Session};
use crate::finding::Finding;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Braze's cohorts.
pub static SPEC: Spec = Spec {
    kind: "braze_cohorts",
    title: "Braze Cohorts",
    summary: "Puts people on a cohort of Braze and takes them off it, as a partner of Braze.",
    grain: Grain::Subject,
    identifiers: "external_id (the user id)",
    receipts: Receipts::Opaque,
    // None is published for these endpoints.
    quotas: &[Quota::per_second(10)],
    batch: BatchLimits { rows: 1000, max_rows: 1000, bytes: 4_000_000, row_bytes: 100_000 },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.braze_cohorts]
type = "braze_cohorts"
instance = "US-03"
partner = "acme"
partner_api_key = "${BRAZE_PARTNER_API_KEY}"
data_import_key = "${BRAZE_DATA_IMPORT_KEY}"
"#,
    notes: &[
        "Only partners of Braze have a `partner_api_key`: without one, send the audience as an attribute by `braze` instead.",
        "The cohort's id is the sync's `list`, else the model's key; it is named after `list`, else after the model, when the first batch of a run leaves, with the time of that run as `created_at`.",
        "People must exist in Braze under the user id: others are ignored, and Braze says nothing of them.",
        "`--test` proves nothing: there is no request that would change nothing.",
        "Braze publishes no rate for these endpoints; 10 requests per second hold here, of 1,000 people each.",
        "Whether Braze answers with status 200 or 201 is uncertain; either is taken where the message says `success`.",
        "Device ids and aliases are not used.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::optional(
        "instance",
        "which Braze instance, as its dashboard says: \"US-01\" … \"EU-02\"; needed without `base_url`",
    ),
    OptionDoc::required("partner", "name of the partner in addresses, as Braze gave it"),
    OptionDoc::required("partner_api_key", "key of the partner for the cluster of the instance"),
    OptionDoc::required(
        "data_import_key",
        "key of the workspace, from the partner's page in Braze",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    instance: Option<Instance>,
    partner: String,
    partner_api_key: Secret,
    data_import_key: Secret,
}

/// The cohorts of one workspace.
#[derive(Debug)]
struct Cohorts {
    base: Url,
    partner: String,
    partner_api_key: Secret,
    data_import_key: Secret,
    /// Cohorts that were named in this process.
    named: Mutex<BTreeSet<String>>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { instance, partner, partner_api_key, data_import_key } = reader.own()?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if partner.is_empty() || !partner.chars().all(is_plain) {
        let fact = "is not the name of a partner as it stands in addresses";
        return Err(vec![reader.refuse("partner", fact)]);
    }
    let secrets = vec![partner_api_key.clone(), data_import_key.clone()];
    let base = address(reader, common, instance)?;
    let named = Mutex::default();
    let cohorts = Cohorts { base, partner, partner_api_key, data_import_key, named };
    Ok(Built::new(Arc::new(cohorts), secrets))
}

/// A cohort as it is kept.
#[derive(Debug, Serialize, Deserialize)]
struct Cohort {
    id: String,
    name: String,
}

/// What every request says.
#[derive(Serialize)]
struct Body<'a, T> {
    partner_api_key: &'a str,
    client_secret: &'a str,
    cohort_id: &'a str,
    #[serde(flatten)]
    rest: T,
}

#[derive(Serialize)]
struct Naming<'a> {
    name: &'a str,
    created_at: &'a str,
}

#[derive(Serialize)]
struct Changes<'a> {
    cohort_changes: Vec<Change<'a>>,
}

#[derive(Serialize)]
struct Change<'a> {
    user_ids: Vec<&'a str>,
    /// `None`: they are put on.
    #[serde(skip_serializing_if = "Option::is_none")]
    should_remove: Option<bool>,
}

impl Cohorts {
    fn request(&self, path: &str, cohort: &str, rest: impl Serialize) -> Result<Request, Fault> {
        let body = Body {
            partner_api_key: self.partner_api_key.expose(),
            client_secret: self.data_import_key.expose(),
            cohort_id: cohort,
            rest,
        };
        let body = serde_json::to_vec(&body).map_err(|error| Fault::Rejected {
            reason: format!("a value cannot be encoded: {error}"),
        })?;
        let path = format!("/partners/{}/cohorts{path}", self.partner);
        Ok(to(&self.base, &path).json_body(body.into()).reading(answered))
    }

    /// A cohort must have its name before anybody is put on it.
    async fn name(&self, session: &Session, cohort: &Cohort, at: &str) -> Result<(), Fault> {
        if self.named().contains(&cohort.id) {
            return Ok(());
        }
        let naming = Naming { name: &cohort.name, created_at: at };
        match session.send(self.request("", &cohort.id, naming)?).await {
            // What follows does not depend on the answer.
            Err(Fault::Rehearsed) => return Ok(()),
            reply => taken(&reply?)?,
        }
        self.named().insert(cohort.id.clone());
        Ok(())
    }

    fn named(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A 400 is about how the request is worded, never about one person: the same for every part of it.
fn answered(response: &Response) -> Result<(), Fault> {
    match plain(response) {
        Err(Fault::Rejected { reason }) if response.status == 400 => {
            Err(Fault::Misconfigured { reason })
        }
        other => other,
    }
}

fn taken(response: &Response) -> Result<(), Fault> {
    #[derive(Deserialize)]
    struct Reply {
        message: String,
    }
    let Reply { message } = response.json()?;
    if message == "success" {
        return Ok(());
    }
    Err(Fault::Protocol { reason: format!("{}, which is no success", response.reason()) })
}

#[async_trait]
impl Destination for Cohorts {
    /// There is nothing to ask.
    async fn check(&self, _session: &Session) -> Result<(), Fault> {
        Ok(())
    }

    async fn open(&self, _session: &Session, target: &Target) -> Result<Remote, Fault> {
        let (id, name) = match &target.list {
            Some(list) => (list.clone(), list.clone()),
            None => (target.model_key.clone(), target.model_name.clone()),
        };
        let cohort = serde_json::to_value(Cohort { id, name });
        cohort.map(Remote).map_err(|error| Fault::Protocol { reason: error.to_string() })
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let cohort = Cohort::deserialize(&remote.0).map_err(|error| Fault::Protocol {
            reason: format!("what was kept of the cohort cannot be read: {error}"),
        })?;
        self.name(session, &cohort, batch.messages()[0].timestamp()).await?;
        let Parted { entering, leaving } = Parted::of(batch);
        let changes = [(entering, None), (leaving, Some(true))].into_iter();
        let changes = changes.filter(|(members, _)| !members.is_empty());
        let cohort_changes = changes.map(|(members, should_remove)| {
            let user_ids = members.iter().map(|member| member.message.subject()).collect();
            Change { user_ids, should_remove }
        });
        let changes = Changes { cohort_changes: cohort_changes.collect() };
        let request = self.request("/users", &cohort.id, changes)?;
        session.send(request).await.and_then(|reply| taken(&reply))?;
        Ok(batch.delivered().into())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
