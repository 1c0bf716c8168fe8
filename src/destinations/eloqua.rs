//! Eloqua: members of shared contact lists, added and removed by the Bulk API.
//!
//! Members are staged under a definition and applied by a sync, which is asked after like a job. Who
//! enters is imported, which makes a contact where there is none; who leaves goes through a sync
//! action, which makes none. Nobody is in both, so the order of the two does not matter.
//!
//! What it never does: it touches no subscription, and it deletes no contact.

mod pod;
mod remote;
mod syncs;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::membership::{self, List, Parted};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS, Job,
    MatchField, Maturity, OptionDoc, Reader, Receipts, Remote, Secret, Settlement, Spec, Target,
    normalise, progress,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
use pod::{ENDPOINTS, Pod};
use syncs::{FIRST_POLL, Transfer, Work};

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EMAIL: MatchField = MatchField { source: "email", normalise: normalise::plain_email };

/// What is known of Eloqua's lists.
pub static SPEC: Spec = Spec {
    kind: "eloqua",
    title: "Oracle Eloqua",
    summary: "Adds contacts to a shared list in Eloqua and removes them from it.",
    identifiers: "email",
    match_fields: &[EMAIL],
    receipts: Receipts::PerRow,
    endpoints: ENDPOINTS,
    batch: BatchLimits {
        rows: 20_000,
        max_rows: 100_000,
        bytes: usize::MAX,
        row_bytes: usize::MAX,
    },
    concurrency: 1,
    maturity: Maturity::Beta,
    example: r#"[destinations.eloqua]
type = "eloqua"
company = "AcmeGmbH"
user = "muster.api"
password = "${ELOQUA_PASSWORD}"
"#,
    notes: &[
        "A list is found by the id or name in the sync's `list`, else by the model's name, and created where there is none.",
        "Members become contacts if they are none; removing from a list makes and deletes nobody.",
        "Entering a list may start programs and campaigns that listen to it.",
        "Only basic authentication is there: Eloqua's refresh tokens hold once, so that they cannot be kept in a project file.",
        "Requests go where the login sends them, but only to hosts below `eloqua.com`; `base_url` stands for both.",
        "Rejected members are told apart by their email, since it is uncertain where Eloqua begins to count them; where it names none, the fate of that sync's other members is not known.",
        "A sync that ends with an error is begun again with the same members.",
        "A reply that is lost after members were staged leaves them unsettled until the next run.",
        "At most 2,000 definitions are made in an hour (from a third party); Eloqua sends no limit headers.",
        "Shared lists hold contacts of the whole instance: security labels may hide new contacts from users.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("company", "name of the company, as in the login"),
    OptionDoc::required("user", "name of a user with access to the Bulk API"),
    OptionDoc::required("password", "password of that user"),
    OptionDoc::optional("folder", "id of the folder in which lists are created"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    company: String,
    user: String,
    password: Secret,
    folder: Option<u64>,
}

/// The shared lists of one instance.
#[derive(Debug)]
struct Eloqua {
    pod: Pod,
    folder: Option<u64>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { company, user, password, folder } = reader.own()?;
    let secrets = vec![password.clone()];
    let who = Secret::new(format!("{company}\\{user}"));
    let pod = Pod::of(common.base_url.as_ref(), who, password)
        .map_err(|fact| vec![reader.refuse("company", fact)])?;
    Ok(Built::new(Arc::new(Eloqua { pod, folder }), secrets))
}

#[async_trait]
impl Destination for Eloqua {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        remote::some(&self.pod, session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        let name = membership::name(target);
        if target.list.is_some() && remote::is_id(name) {
            return remote::existing(&self.pod, session, name).await.map(List::into_remote);
        }
        let list = match remote::named(&self.pod, session, name).await? {
            Some(list) => list,
            None => remote::created(&self.pod, session, name, self.folder).await?,
        };
        Ok(list.into_remote())
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let name = membership::name(target);
        let objection =
            || format!("`{name}` cannot be searched for: it holds both kinds of quotes");
        (name.contains('\'') && name.contains('"')).then(objection).into_iter().collect()
    }

    fn requests(&self, _: Call, _: usize) -> usize {
        3
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let Parted { entering, leaving } = Parted::of(batch);
        let mut work = Work::default();
        for (transfer, members) in [(Transfer::Add, entering), (Transfer::Remove, leaving)] {
            let begun = syncs::begin(&self.pod, session, &list, (transfer, &members)).await?;
            work.syncs.extend(begun);
        }
        progress::job(&work, FIRST_POLL).map(Delivery::Submitted)
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let work: Work = progress::kept(job)?;
        syncs::settled(&self.pod, session, &work, rows).await
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
