//! The destinations: what each one is (a [`Spec`], data), how it is configured (typed options) and
//! how it is spoken to (the [`Destination`] trait).
//!
//! One file per destination plus one word in `catalogue`. A destination is pure of runtime: it
//! speaks only through a [`Session`], never waits, spawns, reads the clock or the environment, or
//! names an HTTP client.
//!
//! # The contract
//!
//! We promise: batches are never empty, hold only rows that are valid for the destination, never
//! exceed its limits in rows, and are journaled as attempted before `deliver` is called. One batch of
//! a record is in flight at a time.
//!
//! The implementor owes: position in batch = position in request; a [`Receipt`] that covers every
//! message; never a success that the reply does not state; a [`Fault`] named by what must happen next.

mod address;
mod amplitude_api;
mod attributes;
mod batch;
mod braze_api;
#[macro_use]
mod catalogue;
mod customerio_api;
mod drop;
mod facebook_api;
mod fault;
mod gathered;
mod google_api;
mod hubspot_api;
mod intercom_api;
mod iterable_api;
mod klaviyo_api;
mod mailchimp_api;
mod marketing_cloud_api;
mod marketo_api;
mod marks;
mod membership;
mod normalise;
mod oauth;
mod options;
mod portions;
mod progress;
mod raw;
mod reader;
mod renewal;
mod responsys_api;
mod salesforce_api;
mod sendgrid_api;
mod singles;
mod spec;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod sketches;
#[cfg(test)]
mod wire;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

pub(crate) use batch::encode;
pub use batch::{Batch, Notice, Outcome, Receipt};
pub use catalogue::{Built, Configured, Entry, configure, entry, names};
pub use fault::Fault;
pub use options::{
    CONNECTION_OPTIONS, Common, HTTP_OPTIONS, LOCAL_OPTIONS, OptionDoc, Retry, Secret,
};
pub use reader::Reader;
pub use spec::{
    BatchLimits, Grain, Idempotency, MatchField, Maturity, Mode, Normalise, Quota, Receipts, Spec,
};

use crate::delivery::Session;
use crate::project::ModelKind;
use crate::record::{Call, Level};

// One word per destination: its file, and the name under which it is configured.
catalogue! {
    amplitude,
    amplitude_cohorts,
    braze,
    braze_cohorts,
    customerio,
    customerio_segments,
    eloqua,
    facebook_custom_audiences,
    facebook_website,
    file,
    floodlight,
    google_ads_customer_match,
    hubspot,
    hubspot_lists,
    intercom,
    intercom_tags,
    iterable,
    iterable_lists,
    kinesis,
    klaviyo,
    klaviyo_lists,
    linkedin_audiences,
    mailchimp,
    mailchimp_list,
    marketo,
    marketo_static_lists,
    pardot,
    pinterest_audiences,
    resci,
    responsys,
    responsys_batch,
    rudderstack,
    s3_csv,
    salesforce,
    salesforce_campaigns,
    salesforce_marketing_cloud,
    salesforce_marketing_cloud_lists,
    segment,
    sendgrid,
    sendgrid_lists,
    sftp_csv,
    snap_audiences,
    tiktok_audiences,
    webhook,
    zendesk,
}

/// A configured destination, ready to be spoken to.
#[async_trait]
pub trait Destination: fmt::Debug + Send + Sync {
    /// Proves the credentials work; changes nothing remote.
    async fn check(&self, session: &Session) -> Result<(), Fault>;

    /// Finds or creates the remote list, field or property of one sync. What it returns is kept in
    /// the sync's `remote.json` before the first batch leaves and handed back on the next run as
    /// `target.remote`; a destination that needs nothing keeps this default.
    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        let _ = session;
        Ok(target.remote.clone().unwrap_or_default())
    }

    /// What a trait or an audience is called there. Two of one destination that get the same name are
    /// a finding, so the mapping need not be reversible, only the same every time.
    fn field_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// How many requests a batch of that many messages takes when all is well: what `plan` reckons with.
    fn requests(&self, call: Call, messages: usize) -> usize {
        let _ = (call, messages);
        1
    }

    /// What of a sync cannot be sent there, each as one sentence that names the field. Pure: `check`
    /// asks it before anything is computed.
    fn objections(&self, target: &Target) -> Vec<String> {
        let _ = target;
        Vec::new()
    }

    /// Delivers one batch and says what became of every message in it, or hands back the job whose
    /// outcome is not known yet.
    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault>;

    /// Begins to replace a whole list: what it returns goes to `deliver` as its `remote`, with batches of
    /// members who enter, all who are wanted. Only asked of destinations whose spec says `replaces`.
    /// `started` is before the first of them leaves.
    async fn begin_replacing(
        &self,
        session: &Session,
        remote: &Remote,
        started: DateTime<Utc>,
    ) -> Result<Remote, Fault> {
        let _ = (session, started);
        Ok(remote.clone())
    }

    /// All who are wanted have arrived or were refused: takes off whoever was not among them.
    async fn finish_replacing(&self, session: &Session, remote: &Remote) -> Result<(), Fault> {
        let _ = (session, remote);
        Err(Fault::Protocol { reason: "this destination cannot replace a list".into() })
    }

    /// The last batch of one sync's run has been answered, whatever became of it: says so there, where
    /// somebody waits to hear it. What it returns is kept in place of what `open` returned. Not asked
    /// where the sync was halted, or the run stopped.
    async fn conclude(&self, session: &Session, remote: &Remote) -> Result<Option<Remote>, Fault> {
        let _ = (session, remote);
        Ok(None)
    }

    /// Asks after a job that `deliver` handed back, possibly in an earlier process. `rows` is the
    /// number of messages that were in the job's batch.
    ///
    /// A platform that only counts what it could not use says so with [`Receipt::notice`]; counts are
    /// never turned into made-up rejections of single rows.
    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let _ = (session, job, rows);
        Err(Fault::Protocol { reason: "this destination has no jobs".into() })
    }
}

/// What a sync wants to find or create at the destination.
#[derive(Debug, Clone)]
pub struct Target {
    /// `model.destination`.
    pub sync: String,
    /// Id of the run that opens it.
    pub run: String,
    pub model_key: String,
    pub model_name: String,
    pub kind: ModelKind,
    pub level: Level,
    pub call: Call,
    /// The sync's `list` option: name or id of the remote list.
    pub list: Option<String>,
    /// What travels, under the names that messages give it and [`Destination::field_name`] has not
    /// seen yet: a trait model's columns, the audience itself as a boolean where it is an attribute, an
    /// audience's other columns where they are properties; then mapped profile columns.
    pub fields: Vec<Field>,
    /// What an earlier `open` returned.
    pub remote: Option<Remote>,
}

/// A mapped column and the kind of values it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: FieldKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    Bool,
    Integer,
    Number,
    Text,
    Date,
    Timestamp,
    Nested,
}

/// What `open` found or created, opaque to everybody else; kept as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Remote(pub serde_json::Value);

/// A submitted job whose outcome is still unknown; its handle is journaled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Job {
    pub handle: serde_json::Value,
    /// How long to wait before asking again.
    pub poll_after: Duration,
}

/// What `deliver` achieved.
#[derive(Debug)]
pub enum Delivery {
    Settled(Receipt),
    Submitted(Job),
}

/// What became of a job.
#[derive(Debug)]
pub enum Settlement {
    /// Ask again after this long.
    Running { poll_after: Duration },
    /// One outcome per message of the job's batch, in its order: see [`Receipt::of`].
    Done(Receipt),
}

impl From<Receipt> for Delivery {
    fn from(receipt: Receipt) -> Self {
        Self::Settled(receipt)
    }
}
