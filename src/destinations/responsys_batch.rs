//! Responsys lists: an audience is a column of an extension table that holds `1` for members and `0`
//! for those who have left, merged by asynchronous requests.
//!
//! A row needs a member of the profile list it belongs to: who enters is merged into the list first,
//! and at once, since the order matters. Who leaves is never added to anything.
//!
//! What it never does: it opts nobody in, and it sends no message.

mod members;
mod remote;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::membership::single;
use super::responsys_api::{
    Api, ENDPOINTS, Key, LIST, LOGIN_HOST, LONGEST_NAME, PASSWORD, USER_NAME, column_name,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS, Job,
    MatchField, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Settlement, Spec,
    Target, normalise,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
use members::Members;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EMAIL: MatchField = MatchField { source: "email", normalise: normalise::plain_email };
const EXTERNAL_ID: MatchField =
    MatchField { source: "external_id", normalise: normalise::identifier };

/// What is known of Responsys' lists.
pub static SPEC: Spec = Spec {
    kind: "responsys_batch",
    title: "Oracle Responsys Batch",
    summary: "Keeps who is in an audience in a column of an extension table in Responsys.",
    identifiers: "email as EMAIL_ADDRESS_, or external_id as CUSTOMER_ID_",
    match_fields: &[EMAIL, EXTERNAL_ID],
    receipts: Receipts::PerRow,
    quotas: &[Quota::per_second(3)],
    endpoints: ENDPOINTS,
    batch: BatchLimits { rows: 200, max_rows: 200, bytes: usize::MAX, row_bytes: usize::MAX },
    concurrency: 1,
    maturity: Maturity::Beta,
    example: r#"[destinations.responsys_batch]
type = "responsys_batch"
login_host = "login5.responsys.net"
user_name = "muster_api"
password = "${RESPONSYS_PASSWORD}"
list = "CONTACTS_LIST"
folder = "Muster"
"#,
    notes: &[
        "An audience is a column of an extension table: `1` for members, `0` for who has left.",
        "The table is the one that the sync's `list` names, else one of the model's own, `MUSTER_LIST_` and its key, created in `folder` where there is none; the column is named like the model's key.",
        "REST cannot add a column to a table that is there: one that is missing is named, to be added in Responsys.",
        "Who enters and is not in the profile list is added to it, opted out; nobody is ever opted in. `create_members = false` adds nobody.",
        "Who leaves and is not in the list any more counts as having left; that is read from the message, whose wording is uncertain.",
        "Members of the list are merged at once and rows of the table asynchronously, since a row needs its member.",
        "A request that expires in Responsys' queue is sent again; answers are kept for 24 hours.",
        "Requests follow the login only to hosts of its own domain.",
        "Hashed emails are not used: they find nobody who is not there already.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    LOGIN_HOST,
    USER_NAME,
    PASSWORD,
    LIST,
    OptionDoc::optional("folder", "folder in which extension tables are created; default: none is"),
    OptionDoc::optional("match_by", "\"email\" (default) or \"external_id\""),
    OptionDoc::optional(
        "create_members",
        "whether people who are not in the profile list are added to it, opted out; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    login_host: Option<String>,
    user_name: Secret,
    password: Secret,
    list: String,
    folder: Option<String>,
    #[serde(default, deserialize_with = "single")]
    match_by: MatchBy,
    #[serde(default = "crate::destinations::options::yes")]
    create_members: bool,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MatchBy {
    #[default]
    Email,
    ExternalId,
}

/// One profile list and its extension tables.
#[derive(Debug)]
struct Tables {
    api: Api,
    folder: Option<String>,
    key: Key,
    field: MatchField,
    create_members: bool,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let Options { user_name, password, .. } = &options;
    let secrets = vec![user_name.clone(), password.clone()];
    let who = (user_name.clone(), password.clone());
    let api = Api::of(reader, common, options.login_host.as_deref(), who, options.list)?;
    let (key, field) = match options.match_by {
        MatchBy::Email => (Key::Email, EMAIL),
        MatchBy::ExternalId => (Key::CustomerId, EXTERNAL_ID),
    };
    let (folder, create_members) = (options.folder, options.create_members);
    let tables = Tables { api, folder, key, field, create_members };
    Ok(Built::new(Arc::new(tables), secrets).matching(vec![field]))
}

#[async_trait]
impl Destination for Tables {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.api.extensions(session).await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        match &target.remote {
            Some(remote) => Ok(remote.clone()),
            None => remote::opened(&self.api, session, target, self.folder.as_deref()).await,
        }
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let column = column_name(&target.model_key);
        let objection = || {
            let name = &target.model_key;
            format!("`{name}` is longer than the {LONGEST_NAME} characters that Responsys takes")
        };
        (column.len() > LONGEST_NAME).then(objection).into_iter().collect()
    }

    fn requests(&self, _: Call, _: usize) -> usize {
        1 + usize::from(self.create_members)
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let column = remote::Column::of(remote)?;
        let Self { api, key, field, .. } = self;
        let members = Members { api, session, key: *key, field: *field };
        members.deliver(&column, batch, self.create_members).await
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        members::settled(&self.api, session, job, rows).await
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
