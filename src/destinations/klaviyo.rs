//! Klaviyo: properties of profiles by import, and events of theirs.
//!
//! Klaviyo merges profiles that it takes for one person, so a message names the profile by its email
//! alone, or by its external id where a project says so. Profiles are imported in bulk by jobs that
//! are asked after. Events are recorded one by one, each with an id by which Klaviyo records it once;
//! in bulk they would be many times as fast, but nothing says what became of them.
//!
//! What it never does: it subscribes nobody, puts nobody on a list and never touches consent.

mod events;
mod profile;

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use serde::Deserialize;

use super::klaviyo_api::{
    API_KEY, Api, FIRST_POLL, IMPORT, IMPORT_ERRORS, IMPORT_STATUS, MOST_PROFILE_BYTES,
    MOST_PROFILES, NEXT_POLL, Profile, REVISION_OPTION, Submission, jobs, per_minute,
};
use super::portions::{Portion, Portions, Verdict};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Job, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret,
    Settlement, Spec, Target, progress,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
use events::Recording;
use profile::Key;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EVENTS: &str = "events";
const BULK_EVENTS: [(&str, Quota); 2] = jobs("bulk events");

/// What is known of Klaviyo.
pub static SPEC: Spec = Spec {
    kind: "klaviyo",
    title: "Klaviyo",
    summary: "Keeps custom properties of Klaviyo's profiles and records events of theirs.",
    calls: &[Call::Identify, Call::Track],
    grain: Grain::Email,
    identifiers: "email; or external_id (the user id), with the preferred email as an attribute",
    profile: &["first_name", "last_name"],
    // Of the fastest call; every call has its own below.
    quotas: &[Quota::per_second(350), per_minute(3500)],
    endpoints: &[
        IMPORT[0],
        IMPORT[1],
        IMPORT_STATUS[0],
        IMPORT_STATUS[1],
        IMPORT_ERRORS[0],
        IMPORT_ERRORS[1],
        BULK_EVENTS[0],
        BULK_EVENTS[1],
        (EVENTS, Quota::per_second(350)),
        (EVENTS, per_minute(3500)),
    ],
    // A profile is written shorter than its message.
    batch: BatchLimits {
        rows: MOST_PROFILES,
        max_rows: MOST_PROFILES,
        bytes: 4_800_000,
        row_bytes: MOST_PROFILE_BYTES,
    },
    concurrency: 16,
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.klaviyo]
type = "klaviyo"
api_key = "${KLAVIYO_API_KEY}"
"#,
    notes: &[
        "The key needs the scopes `profiles:read`, `profiles:write`, `lists:read` and `lists:write`, and for track `events:write`; imports are asked after with the first three.",
        "Profiles are imported asynchronously: a batch is settled when Klaviyo says that its import is complete.",
        "By default a profile is told apart by its email; `identify_by = \"external_id\"` sends the user id and, unless `send_email = false`, the preferred email with it.",
        "What Klaviyo does where an external id and an email belong to two profiles is uncertain.",
        "Custom properties need not exist beforehand; a NULL is sent as null, which clears the property.",
        "Traits called first_name, last_name, organization, title, locale, image, and the parts of a location (address1, address2, city, region, zip, country, timezone) are written to the profile's own fields.",
        "Events are sent one by one with an id: repeated, Klaviyo records them once; a 202 means that Klaviyo has checked an event and queued it.",
        "`bulk_events = true` sends up to 1,000 events per request; Klaviyo says nothing of what becomes of them, and every batch is noted as such.",
        "In bulk, an id that is repeated for one profile and event name fails the whole request; whether that holds for events of earlier requests is uncertain, so a lost reply may leave rows rejected that have arrived.",
        "An event that a flow is triggered by triggers it; `backfill = true` records events without that.",
        "Klaviyo knows no accounts: account-level models are refused.",
        "A revision that Klaviyo has retired is refused rather than replaced by a later one.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    API_KEY,
    REVISION_OPTION,
    OptionDoc::optional("identify_by", "\"email\" (default) or \"external_id\""),
    OptionDoc::optional(
        "send_email",
        "whether the preferred email travels beside an external id; default true",
    ),
    OptionDoc::optional(
        "bulk_events",
        "true: events travel up to 1,000 per request, and nothing says what became of them",
    ),
    OptionDoc::optional("backfill", "true: events are recorded without triggering flows"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    revision: Option<String>,
    #[serde(default)]
    identify_by: Key,
    send_email: Option<bool>,
    #[serde(default)]
    bulk_events: bool,
    #[serde(default)]
    backfill: bool,
}

/// One account.
#[derive(Debug)]
struct Klaviyo {
    api: Api,
    key: Key,
    send_email: bool,
    recording: Recording,
    /// Requests of one batch of events that are in flight together.
    abreast: usize,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, revision, identify_by, send_email, bulk_events, backfill } =
        reader.own()?;
    if identify_by == Key::Email && send_email.is_some() {
        let fact = "has no meaning unless `identify_by = \"external_id\"`";
        return Err(vec![reader.refuse("send_email", fact)]);
    }
    let api = Api::new(common, &api_key, revision)
        .map_err(|fact| vec![reader.refuse("api_key", &fact)])?;
    let grain = match identify_by {
        Key::Email => Grain::Email,
        Key::ExternalId => Grain::Subject,
    };
    let klaviyo = Klaviyo {
        api,
        key: identify_by,
        send_email: send_email.unwrap_or(true),
        recording: Recording { in_bulk: bulk_events, backfill },
        abreast: common.concurrency.unwrap_or(SPEC.concurrency),
    };
    Ok(Built::new(Arc::new(klaviyo), vec![api_key]).by(grain))
}

#[async_trait]
impl Destination for Klaviyo {
    /// Asks for imports, as every later question does.
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Imports {
            #[serde(rename = "data")]
            _listed: Vec<serde::de::IgnoredAny>,
        }
        let request = self.api.get(&["profile-bulk-import-jobs"], &[("page[size]", "1")]);
        let Imports { .. } = session.send(request.endpoint(IMPORT_STATUS[0].0)).await?.json()?;
        Ok(())
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let names = target.fields.iter().map(|field| field.name.as_str());
        match target.call {
            Call::Track => Vec::new(),
            _ => names.filter_map(profile::objection).collect(),
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        match batch.messages()[0].call() {
            Call::Track => self.record(session, batch).await.map(Delivery::Settled),
            _ => self.import(session, batch).await,
        }
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let import = progress::kept(job)?;
        self.api.imported(session, &import).await?.settled(rows, NEXT_POLL)
    }
}

impl Klaviyo {
    async fn import(&self, session: &Session, batch: &Batch) -> Result<Delivery, Fault> {
        let rejected = |reason| Fault::Rejected { reason };
        let profiles = batch.messages().iter().map(|message| {
            let identity = self.key.of(message)?;
            let email = self.email_beside(message);
            let encoded = profile::encoded(self.key, identity, email, message)?;
            Ok(Profile { identity, encoded })
        });
        let profiles: Vec<_> = profiles.collect::<Result<_, String>>().map_err(rejected)?;
        match self.api.import(session, &profiles, None).await? {
            Submission::Import(import) => {
                progress::job(&import, FIRST_POLL).map(Delivery::Submitted)
            }
            Submission::Refused(outcomes) => {
                let mut receipt = batch.delivered();
                for (position, outcome) in outcomes.into_iter().enumerate() {
                    // Every position is one of the batch's own.
                    let _ = receipt.set(position, outcome);
                }
                Ok(receipt.into())
            }
        }
    }

    /// Sends the events of a batch, several requests abreast.
    async fn record(&self, session: &Session, batch: &Batch) -> Result<Receipt, Fault> {
        let mut portions = Portions::of(batch, self.recording.room(), |message| {
            let identity = (self.key, self.key.of(message)?);
            self.recording.events(identity, self.email_beside(message), message)
        });
        loop {
            let group: Vec<_> = std::iter::from_fn(|| portions.next()).take(self.abreast).collect();
            if group.is_empty() {
                break;
            }
            let sent = group.iter().map(|portion| self.send_events(session, portion));
            let answers = join_all(sent).await.into_iter().zip(&group);
            // What was taken is written down first, so that a fault concerns the others only.
            let (taken, failed): (Vec<_>, Vec<_>) = answers.partition(|(answer, _)| answer.is_ok());
            for (answer, portion) in taken.into_iter().chain(failed) {
                portions.settle(portion, answer)?;
            }
        }
        let mut receipt = portions.into_receipt(batch);
        let queued = receipt.outcomes().iter().filter(|of| **of == Outcome::Delivered).count();
        if self.recording.in_bulk && queued > 0 {
            let reason = "Klaviyo queued their events and never says what became of them";
            receipt.notice(queued as u64, reason);
        }
        Ok(receipt)
    }

    async fn send_events(
        &self,
        session: &Session,
        portion: &Portion,
    ) -> Result<Vec<Verdict>, Fault> {
        let request = self.recording.request(&self.api, portion);
        match session.send(request).await {
            Ok(response) if response.body.trim_ascii().is_empty() => Ok(Vec::new()),
            Ok(response) => {
                let reason = format!("{} where nothing was expected", response.reason());
                Err(Fault::Protocol { reason })
            }
            Err(Fault::Rejected { reason }) if portion.len() == 1 => {
                Ok(vec![Verdict::rejected(0, reason)])
            }
            Err(fault) => Err(fault),
        }
    }

    fn email_beside<'a>(&self, message: &'a crate::message::Message) -> Option<&'a str> {
        message.email().filter(|_| self.key == Key::ExternalId && self.send_email)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
