//! Marketing Cloud lists: an audience is a data extension, a member a row of it.
//!
//! Rows are written as asynchronous jobs; rows of members who leave are deleted over SOAP, since REST
//! cannot, or flagged where the project says so.
//!
//! What it never does: it changes nobody's standing as a subscriber, so nobody is subscribed again.

mod members;
mod remote;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::marketing_cloud_api::{
    ACCOUNT_ID, Api, CLIENT_ID, CLIENT_SECRET, Credentials, SUBDOMAIN,
};
use super::membership::{self, List};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS, Job,
    MatchField, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Settlement, Spec,
    Target, normalise,
};
use crate::delivery::Session;
use crate::finding::Finding;
use members::{Columns, Exit};

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EMAIL: MatchField = MatchField { source: "email", normalise: normalise::plain_email };
const EXTERNAL_ID: MatchField =
    MatchField { source: "external_id", normalise: normalise::identifier };

/// What is known of Marketing Cloud's lists.
pub static SPEC: Spec = Spec {
    kind: "salesforce_marketing_cloud_lists",
    title: "Salesforce Marketing Cloud Lists",
    summary: "Keeps the members of an audience as rows of a data extension in Marketing Cloud.",
    identifiers: "email, or external_id, as the subscriber key",
    match_fields: &[EMAIL, EXTERNAL_ID],
    receipts: Receipts::PerRow,
    quotas: &[Quota::per_second(20)],
    batch: BatchLimits { rows: 2_500, max_rows: 30_000, bytes: BYTES, row_bytes: 100_000 },
    concurrency: 1,
    maturity: Maturity::Beta,
    example: r#"[destinations.marketing_cloud_lists]
type = "salesforce_marketing_cloud_lists"
subdomain = "mc1x2y3z"
client_id = "a1b2c3"
client_secret = "${SFMC_CLIENT_SECRET}"
folder = 1234
"#,
    notes: &[
        "A list is a data extension, found by its external key or name in the sync's `list`, else by the model's name, and created in `folder` where there is none.",
        "A data extension that is there must have `key_column` as its only primary key.",
        "Rows of members who leave are deleted over SOAP; `on_exit = \"flag\"` keeps them and sets `flag_column` to false.",
        "A row that is not there counts as deleted; that is read from the message, whose wording is uncertain.",
        "By default the subscriber key is the email; with `match_by = \"external_id\"` it is the identifier of that type, and no email travels: choose what the account's subscribers are keyed by.",
        "A created data extension is sendable by its key: sending to it makes members subscribers, which is decided in Marketing Cloud.",
        "Classic subscriber lists are not used: adding to one can subscribe people again.",
        "At most 500 rows are deleted in one request; the limit is uncertain.",
        "There is no published rate; calls count against a yearly quota of the account's edition (uncertain).",
    ],
    ..Spec::LIST
};

/// Of canonical messages, which are longer than rows.
const BYTES: usize = 5_000_000;

const OPTIONS: &[OptionDoc] = &[
    SUBDOMAIN,
    CLIENT_ID,
    CLIENT_SECRET,
    ACCOUNT_ID,
    OptionDoc::optional(
        "folder",
        "id of the folder (category) in which data extensions are created; default: none is",
    ),
    OptionDoc::optional("match_by", "what the key holds: \"email\" (default) or \"external_id\""),
    OptionDoc::optional("key_column", "the primary key; default \"SubscriberKey\""),
    OptionDoc::optional(
        "email_column",
        "column for the email, where it is the key; default \"EmailAddress\", \"\" for none",
    ),
    OptionDoc::optional(
        "on_exit",
        "what becomes of rows of members who leave: \"delete\" (default) or \"flag\"",
    ),
    OptionDoc::optional(
        "flag_column",
        "with `on_exit = \"flag\"`: the column that says who is a member; default \"InAudience\"",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    subdomain: Option<String>,
    client_id: String,
    client_secret: Secret,
    account_id: Option<String>,
    folder: Option<u64>,
    #[serde(default, deserialize_with = "membership::single")]
    match_by: MatchBy,
    key_column: Option<String>,
    email_column: Option<String>,
    #[serde(default)]
    on_exit: OnExit,
    flag_column: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MatchBy {
    #[default]
    Email,
    ExternalId,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OnExit {
    #[default]
    Delete,
    Flag,
}

/// The data extensions of one account.
#[derive(Debug)]
struct Lists {
    api: Api,
    folder: Option<u64>,
    columns: Columns,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let by_email = options.match_by == MatchBy::Email;
    if !by_email && options.email_column.is_some() {
        let fact = "has no meaning beside `match_by = \"external_id\"`: no email travels";
        return Err(vec![reader.refuse("email_column", fact)]);
    }
    if options.on_exit == OnExit::Delete && options.flag_column.is_some() {
        let fact = "has no meaning without `on_exit = \"flag\"`";
        return Err(vec![reader.refuse("flag_column", fact)]);
    }
    let secrets = vec![options.client_secret.clone()];
    let credentials = Credentials {
        id: options.client_id,
        secret: options.client_secret,
        account: options.account_id,
    };
    let api = Api::of(reader, common, options.subdomain.as_deref(), credentials)?;
    let field = if by_email { EMAIL } else { EXTERNAL_ID };
    let email = options.email_column.unwrap_or_else(|| "EmailAddress".into());
    let columns = Columns {
        field,
        key: options.key_column.unwrap_or_else(|| "SubscriberKey".into()),
        email: Some(email).filter(|email| by_email && !email.is_empty()),
        exit: match options.on_exit {
            OnExit::Delete => Exit::Delete,
            OnExit::Flag => Exit::Flag(options.flag_column.unwrap_or_else(|| "InAudience".into())),
        },
    };
    let lists = Lists { api, folder: options.folder, columns };
    Ok(Built::new(Arc::new(lists), secrets).matching(vec![field]))
}

#[async_trait]
impl Destination for Lists {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        // The search needs something to search for, and finds nothing under this name.
        self.api.find(session, "muster").await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        let name = membership::name(target);
        let list = match remote::found(&self.api, session, name, &self.columns).await? {
            Some(list) => list,
            None => remote::created(&self.api, session, name, (self.folder, &self.columns)).await?,
        };
        Ok(list.into_remote())
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        members::written(&self.api, session, &list, (&self.columns, batch)).await
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        members::settled(&self.api, session, job, rows).await
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
