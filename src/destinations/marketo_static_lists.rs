//! Marketo's static lists: people are put on a list and taken off it by Marketo's own ids.
//!
//! Who enters is created or updated by email, which gives the id; many at once are imported as a file,
//! which is a job of Marketo's. Who leaves is looked up by email, which may find several people, all
//! of whom are taken off, or none.
//!
//! What it never does: it creates nobody to take them off a list, deletes nobody, and touches no
//! subscription.

mod import;
mod people;
mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::marketo::{DAILY, QUOTAS};
use super::marketo_api::{Api, CLIENT_ID, CLIENT_SECRET, MUNCHKIN_ID};
use super::membership::{self, List, Parted};
use super::progress::Progress;
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS, Job,
    MatchField, Maturity, OptionDoc, Outcome, Reader, Receipt, Receipts, Remote, Secret,
    Settlement, Spec, Target, normalise, progress,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
use import::{Import, POLL};
use people::{MOST, People};
use remote::Folder;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EMAIL: MatchField = MatchField { source: "email", normalise: email };

/// What is known of Marketo's static lists.
pub static SPEC: Spec = Spec {
    kind: "marketo_static_lists",
    title: "Marketo Static Lists",
    summary: "Puts people on a static list in Marketo and takes them off it.",
    identifiers: "email",
    match_fields: &[EMAIL],
    receipts: Receipts::PerRow,
    quotas: QUOTAS,
    daily: Some(DAILY),
    batch: BatchLimits {
        rows: 50_000,
        max_rows: 100_000,
        bytes: usize::MAX,
        row_bytes: usize::MAX,
    },
    concurrency: 1,
    maturity: Maturity::Beta,
    example: r#"[destinations.marketo_lists]
type = "marketo_static_lists"
munchkin_id = "123-ABC-456"
client_id = "a1b2c3"
client_secret = "${MARKETO_CLIENT_SECRET}"
folder = 45
"#,
    notes: &[
        "A list is found by the id or name in the sync's `list`, else by the model's name, and created in `folder` where there is none.",
        "Entering a list may start smart campaigns that mail people: look at what listens to it before the first run.",
        "Members become people in Marketo if they are none; leaving a list deletes nobody.",
        "Several people with one email are all taken off; putting one of them on is refused by Marketo.",
        "Who leaves and is not found, or not on the list, counts as taken off.",
        "An email that is not ASCII, or has a comma in it, cannot be used: Marketo can neither hold nor look up such a one.",
        "Up to 300 who enter take two calls; more are imported as a file, up to 100,000 at once and 10 MB, two files at a time; `batch_size = 300` leaves the import out.",
        "A row that an import could not use is known by its email; where Marketo's file does not name them all, the others of that import are sent again by the next run.",
        "Who leaves takes two calls for up to 300.",
        "100 calls in 20 seconds, ten at a time and 50,000 a day are shared by everything that uses the instance: lower `rate_limit` where others need their share.",
        "Once the quota of the day is used up, nothing is sent before it starts again at midnight, US Central Standard Time.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    MUNCHKIN_ID,
    CLIENT_ID,
    CLIENT_SECRET,
    OptionDoc::optional("folder", "id of the folder in which lists are created; default: none is"),
    OptionDoc::optional("folder_type", "what `folder` is: \"folder\" (default) or \"program\""),
    OptionDoc::optional("partition", "lead partition in which people are looked for and created"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    munchkin_id: Option<String>,
    client_id: Secret,
    client_secret: Secret,
    folder: Option<u64>,
    folder_type: Option<FolderType>,
    partition: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FolderType {
    #[default]
    Folder,
    Program,
}

/// The lists of one instance.
#[derive(Debug)]
struct StaticLists {
    api: Api,
    folder: Option<Folder>,
    partition: Option<String>,
}

/// As Marketo holds and looks up emails.
fn email(text: &str, country: Option<&str>) -> Result<String, &'static str> {
    let email = normalise::plain_email(text, country)?;
    match email.is_ascii() && !email.contains(',') {
        true => Ok(email),
        false => Err("an email that is not ASCII or has a comma in it"),
    }
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { munchkin_id, client_id, client_secret, folder, folder_type, partition } =
        reader.own()?;
    if folder.is_none() && folder_type.is_some() {
        return Err(vec![reader.refuse("folder_type", "has no meaning without `folder`")]);
    }
    let secrets = vec![client_id.clone(), client_secret.clone()];
    let api = Api::of(reader, common, munchkin_id.as_deref(), (client_id, client_secret))?;
    let word = match folder_type.unwrap_or_default() {
        FolderType::Folder => "Folder",
        FolderType::Program => "Program",
    };
    let folder = folder.map(|id| Folder { id, kind: word });
    Ok(Built::new(Arc::new(StaticLists { api, folder, partition }), secrets))
}

#[async_trait]
impl Destination for StaticLists {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        remote::some(&self.api, session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        let name = membership::name(target);
        if target.list.is_some() && remote::is_id(name) {
            return remote::existing(&self.api, session, name).await.map(List::into_remote);
        }
        let list = match remote::named(&self.api, session, name).await? {
            Some(list) => list,
            None => remote::created(&self.api, session, name, self.folder).await?,
        };
        Ok(list.into_remote())
    }

    fn requests(&self, _: Call, _: usize) -> usize {
        2
    }

    /// All requests are repeatable: a fault half-way concerns the batch as a whole.
    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let Parted { entering, leaving } = Parted::of(batch);
        let partition = self.partition.as_deref();
        let people = People { api: &self.api, session, list: &list };
        let mut receipt = batch.delivered();
        people.take_off(&leaving, &mut receipt).await?;
        if entering.len() <= MOST {
            people.put_on(&entering, partition, &mut receipt).await?;
            return Ok(receipt.into());
        }
        let emails: Vec<&str> =
            entering.iter().filter_map(|member| EMAIL.of(member.message)).collect();
        let import = Import::submitted(&self.api, session, &list, (&emails, partition)).await?;
        let positions = entering.iter().map(|member| member.position).collect();
        progress::job(&Work { import, positions, kept: kept(&receipt) }, POLL)
            .map(Delivery::Submitted)
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let Work { import, positions, kept } = progress::kept(job)?;
        let outcomes = match import.progress(&self.api, session).await? {
            Progress::Running => return Ok(Settlement::Running { poll_after: POLL }),
            Progress::Done(outcomes) => outcomes,
        };
        let kept =
            kept.into_iter().map(|(place, reason)| (place, Outcome::Retry { after: None, reason }));
        let mut receipt = Receipt::of(rows, &Outcome::Delivered);
        for (place, outcome) in positions.into_iter().zip(outcomes).chain(kept) {
            if !receipt.set(place, outcome) {
                return Err(Fault::Protocol { reason: "an import of members of no batch".into() });
            }
        }
        Ok(Settlement::Done(receipt))
    }
}

/// What is kept of the import of one batch. A member who is not in it was taken off already.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    import: Import,
    /// In the batch, of the rows of the import.
    positions: Vec<usize>,
    /// Who could not be taken off this time, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    kept: BTreeMap<usize, String>,
}

fn kept(receipt: &Receipt) -> BTreeMap<usize, String> {
    let outcomes = receipt.outcomes().iter().enumerate();
    let kept = outcomes.filter_map(|(place, outcome)| match outcome {
        Outcome::Retry { reason, .. } => Some((place, reason.clone())),
        _ => None,
    });
    kept.collect()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
