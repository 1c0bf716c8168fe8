//! Klaviyo's lists: members are imported onto a list, and taken off it by the ids of their profiles.
//!
//! Who enters may be new to Klaviyo, so that the import of profiles does both; it is a job that is
//! asked after. Who leaves is looked up, at once and first, so that a refused import, which is halved,
//! takes nobody off twice.
//!
//! What it never does: it subscribes and unsubscribes nobody, and creates no profile to take it off a
//! list.

mod leaving;
mod remote;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::klaviyo_api::{
    API_KEY, Api, FIRST_POLL, IMPORT, IMPORT_ERRORS, IMPORT_STATUS, Import, MOST_PROFILE_BYTES,
    MOST_PROFILES, NEXT_POLL, Profile, REVISION_OPTION, Submission, jobs, per_minute,
};
use super::membership::{self, COUNTRY, List, Member, Parted};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, Job, MatchField, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote,
    Secret, Settlement, Spec, Target, normalise, progress,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::Message;
use crate::record::Value;
use progress::Progress;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const FIELDS: &[MatchField] = &[
    MatchField { source: "email", normalise: normalise::plain_email },
    MatchField { source: "phone", normalise: normalise::plain_e164 },
    MatchField { source: "external_id", normalise: normalise::identifier },
];

/// Lists that are created, and profiles that are taken off one.
const CREATE: [(&str, Quota); 2] = jobs("create list");
const REMOVE: [(&str, Quota); 2] = jobs("remove");

/// What is known of Klaviyo's lists.
pub static SPEC: Spec = Spec {
    kind: "klaviyo_lists",
    title: "Klaviyo Lists",
    summary: "Adds profiles to a Klaviyo list and takes them off it.",
    identifiers: "email; or phone, or external_id",
    match_fields: FIELDS,
    profile: &["first_name", "last_name"],
    // Of reading; every other call has its own below.
    quotas: &[Quota::per_second(75), per_minute(750)],
    endpoints: &[
        IMPORT[0],
        IMPORT[1],
        IMPORT_STATUS[0],
        IMPORT_STATUS[1],
        IMPORT_ERRORS[0],
        IMPORT_ERRORS[1],
        CREATE[0],
        CREATE[1],
        REMOVE[0],
        REMOVE[1],
    ],
    batch: BatchLimits {
        rows: 5_000,
        max_rows: MOST_PROFILES,
        bytes: 4_800_000,
        row_bytes: MOST_PROFILE_BYTES,
    },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.klaviyo_lists]
type = "klaviyo_lists"
api_key = "${KLAVIYO_API_KEY}"
"#,
    notes: &[
        "The key needs the scopes `profiles:read`, `profiles:write`, `lists:read` and `lists:write`.",
        "A list is found by the name or id in the sync's `list`, else by the model's name, and created where there is none; a `list` of six characters that looks like an id is never created.",
        "Members are told apart by their email; `match_by = \"phone\"` or `\"external_id\"` takes that identifier instead, never several at once, since Klaviyo merges what it takes for one person.",
        "Members become profiles if they are none, with first and last name where profiles know them.",
        "Being on a list is no consent: nobody is subscribed or unsubscribed; whom Klaviyo may mail is decided there.",
        "A flow that is triggered by a list starts for those who are added, and may mail them.",
        "Imports are asynchronous: a batch is settled when Klaviyo says that its import is complete.",
        "Who leaves is looked up, 50 at a time; who is not found counts as taken off.",
        "Klaviyo lets an account create 150 lists a day.",
        "A revision that Klaviyo has retired is refused rather than replaced by a later one.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    API_KEY,
    REVISION_OPTION,
    OptionDoc::optional("match_by", "\"email\" (default), \"phone\" or \"external_id\""),
    COUNTRY,
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    revision: Option<String>,
    #[serde(default, deserialize_with = "membership::single")]
    match_by: Key,
    country: Option<String>,
}

/// What a profile is told apart by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    #[default]
    Email,
    Phone,
    ExternalId,
}

impl Key {
    const fn field(self) -> MatchField {
        match self {
            Self::Email => FIELDS[0],
            Self::Phone => FIELDS[1],
            Self::ExternalId => FIELDS[2],
        }
    }

    /// As Klaviyo calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone_number",
            Self::ExternalId => "external_id",
        }
    }

    /// As it is compared: the case of an id matters.
    fn folded(self, identity: &str) -> String {
        match self {
            Self::Email => identity.to_lowercase(),
            Self::Phone | Self::ExternalId => identity.to_owned(),
        }
    }

    fn of(self, message: &Message) -> Result<&str, Fault> {
        let reason = || Fault::Rejected { reason: format!("a member without {}", self.name()) };
        self.field().of(message).ok_or_else(reason)
    }
}

/// The lists of one account.
#[derive(Debug)]
struct Lists {
    api: Api,
    key: Key,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, revision, match_by, country } = reader.own()?;
    let country = membership::country(reader, country)?;
    let api = Api::new(common, &api_key, revision)
        .map_err(|fact| vec![reader.refuse("api_key", &fact)])?;
    let lists = Lists { api, key: match_by };
    let built = Built::new(Arc::new(lists), vec![api_key]);
    Ok(built.matching(vec![match_by.field()]).in_country(country))
}

/// What is kept of the import of one batch.
#[derive(Debug, Serialize, Deserialize)]
struct Work {
    import: Import,
    /// In the batch, of the import's profiles.
    positions: Vec<usize>,
    /// Who could not be taken off this time, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    kept: BTreeMap<usize, String>,
}

#[async_trait]
impl Destination for Lists {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        remote::first_page(&self.api, session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        match &target.remote {
            Some(remote) => Ok(remote.clone()),
            None => remote::opened(&self.api, session, target).await.map(List::into_remote),
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let Parted { entering, leaving } = Parted::of(batch);
        let kept = leaving::taken_off(self, session, &list, &leaving).await?;
        if entering.is_empty() {
            return receipt(batch.len(), [], kept).map(Delivery::Settled);
        }
        let profiles: Vec<_> =
            entering.iter().map(|member| self.profile(member)).collect::<Result<_, Fault>>()?;
        let positions: Vec<_> = entering.iter().map(|member| member.position).collect();
        match self.api.import(session, &profiles, Some(&list.id)).await? {
            Submission::Import(import) => {
                let work = Work { import, positions, kept };
                progress::job(&work, FIRST_POLL).map(Delivery::Submitted)
            }
            Submission::Refused(outcomes) => {
                let known = positions.into_iter().zip(outcomes);
                receipt(batch.len(), known, kept).map(Delivery::Settled)
            }
        }
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let Work { import, positions, kept } = progress::kept(job)?;
        match self.api.imported(session, &import).await? {
            Progress::Running => Ok(Settlement::Running { poll_after: NEXT_POLL }),
            Progress::Done(outcomes) => {
                let known = positions.into_iter().zip(outcomes);
                receipt(rows, known, kept).map(Settlement::Done)
            }
        }
    }
}

impl Lists {
    fn profile<'a>(&self, member: &Member<'a>) -> Result<Profile<'a>, Fault> {
        let message = member.message;
        let identity = self.key.of(message)?;
        let mut attributes = Map::new();
        attributes.insert(self.key.name().to_owned(), Json::from(identity));
        for (name, value) in message.profile() {
            if value != Value::Null {
                attributes.insert(name.to_owned(), Json::from(value.to_string()));
            }
        }
        let profile = serde_json::json!({"type": "profile", "attributes": attributes});
        Ok(Profile { identity, encoded: profile.to_string().into_bytes() })
    }
}

/// One outcome per message of the batch; whoever is not mentioned was taken off.
fn receipt(
    rows: usize,
    known: impl IntoIterator<Item = (usize, Outcome)>,
    kept: BTreeMap<usize, String>,
) -> Result<Receipt, Fault> {
    let mut receipt = Receipt::of(rows, &Outcome::Delivered);
    let kept = kept.into_iter();
    let kept = kept.map(|(position, reason)| (position, Outcome::Retry { after: None, reason }));
    for (position, outcome) in known.into_iter().chain(kept) {
        if !receipt.set(position, outcome) {
            return Err(Fault::Protocol { reason: "a job about a member of no batch".into() });
        }
    }
    Ok(receipt)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
