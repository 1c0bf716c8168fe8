//! Responsys: members of a profile list, and their traits and audiences in extension tables of it.
//!
//! A row of an extension table needs a member it belongs to: members are merged first, then rows, of
//! which those that share their columns go together. Every value is a text.
//!
//! What it never does: it opts nobody in, and it sends no message.

mod tables;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use super::attributes::attributes;
use super::responsys_api::{
    Api, ENDPOINTS, Key, LIST, LOGIN_HOST, PASSWORD, Rows, USER_NAME, column_name,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret, Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::Message;
use crate::record::Call;
use tables::Tables;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Responsys.
pub static SPEC: Spec = Spec {
    kind: "responsys",
    title: "Oracle Responsys",
    summary: "Keeps members of a profile list in Responsys, and their traits in its extension tables.",
    grain: Grain::Subject,
    identifiers: "user id as CUSTOMER_ID_, with the preferred email as EMAIL_ADDRESS_; or the email alone",
    quotas: &[Quota::per_second(3)],
    endpoints: ENDPOINTS,
    batch: BatchLimits { rows: 200, max_rows: 200, bytes: 5_000_000, row_bytes: 500_000 },
    concurrency: 1,
    maturity: Maturity::Beta,
    example: r#"[destinations.responsys]
type = "responsys"
login_host = "login5.responsys.net"
user_name = "muster_api"
password = "${RESPONSYS_PASSWORD}"
list = "CONTACTS_LIST"
table = "MUSTER_TRAITS"
"#,
    notes: &[
        "An identify takes two requests for 200 members: one for the list, one for the extension table, and one more for every other set of columns.",
        "A member who is not in the list is added to it, opted out; nobody is ever opted in, and permissions are never written.",
        "`create_members = false` merges only the extension table: rows of people who are not in the list are then refused.",
        "Without `table` every model has an extension table of its own, `MUSTER_` and its key, which is created in `folder` when it is missing.",
        "REST cannot add a column to a table that is there: one that is missing is named with its type, to be added in Responsys.",
        "Names of columns are written in capitals; they have at most 30 characters.",
        "Every value is a text: booleans `true` and `false`, NULL the empty text.",
        "The format of a moment in a column of type TIMESTAMP is uncertain; it is sent in ISO format.",
        "Limits are per function and account; `GET /rest/api/ratelimit` shows yours.",
        "Requests follow the login only to hosts of its own domain.",
        "Accounts and events are not sent: supplemental tables and the form of event triggers are uncertain.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    LOGIN_HOST,
    USER_NAME,
    PASSWORD,
    LIST,
    OptionDoc::optional(
        "table",
        "extension table for all models; default: one for each, `MUSTER_` and its key",
    ),
    OptionDoc::optional("folder", "folder in which extension tables are created"),
    OptionDoc::optional("identify_by", "\"customer_id\" (default) or \"email\""),
    OptionDoc::optional(
        "create_members",
        "whether people who are not in the list are added to it, opted out; default true",
    ),
    OptionDoc::optional(
        "create_fields",
        "whether extension tables that are missing are created; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    login_host: Option<String>,
    user_name: Secret,
    password: Secret,
    list: String,
    table: Option<String>,
    folder: Option<String>,
    #[serde(default)]
    identify_by: IdentifyBy,
    #[serde(default = "crate::destinations::options::yes")]
    create_members: bool,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum IdentifyBy {
    #[default]
    CustomerId,
    Email,
}

/// One profile list and its extension tables.
#[derive(Debug)]
struct Responsys {
    api: Api,
    key: Key,
    create_members: bool,
    tables: Tables,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let Options { user_name, password, .. } = &options;
    let secrets = vec![user_name.clone(), password.clone()];
    let who = (user_name.clone(), password.clone());
    let api = Api::of(reader, common, options.login_host.as_deref(), who, options.list)?;
    let (key, grain) = match options.identify_by {
        IdentifyBy::CustomerId => (Key::CustomerId, Grain::Subject),
        IdentifyBy::Email => (Key::Email, Grain::Email),
    };
    let tables =
        Tables { name: options.table, folder: options.folder, create: options.create_fields };
    let responsys = Responsys { api, key, create_members: options.create_members, tables };
    Ok(Built::new(Arc::new(responsys), secrets).by(grain))
}

impl Responsys {
    fn id<'a>(&self, message: &'a Message) -> &'a str {
        match self.key {
            Key::CustomerId => message.subject(),
            // Of this grain nobody is without an email.
            Key::Email => message.email().unwrap_or_default(),
        }
    }

    /// The member of the list: who it is, and the email where that is something else.
    fn member(&self, message: &Message) -> (Vec<String>, Vec<String>) {
        let id = (self.key.column(), self.id(message));
        let email = message.email().filter(|_| self.key == Key::CustomerId);
        let email = email.map(|email| (Key::Email.column(), email));
        let columns = std::iter::once(id).chain(email);
        columns.map(|(name, value)| (name.to_owned(), value.to_owned())).unzip()
    }

    /// The row of the extension table.
    fn row(&self, message: &Message) -> (Vec<String>, Vec<String>) {
        let mut values = BTreeMap::new();
        for (name, value) in attributes(message) {
            values.insert(column_name(name), value.to_string());
        }
        let id = (self.key.column().to_owned(), self.id(message).to_owned());
        std::iter::once(id).chain(values).unzip()
    }
}

/// Rows that share their columns, with the positions of their messages.
fn grouped(
    rows: impl Iterator<Item = (usize, (Vec<String>, Vec<String>))>,
) -> Vec<(Vec<usize>, Rows)> {
    let mut groups: BTreeMap<Vec<String>, Vec<(usize, Vec<String>)>> = BTreeMap::new();
    for (position, (columns, record)) in rows {
        groups.entry(columns).or_default().push((position, record));
    }
    let group = |(columns, rows): (_, Vec<_>)| {
        let (positions, records) = rows.into_iter().unzip();
        (positions, Rows { columns, records })
    };
    groups.into_iter().map(group).collect()
}

fn reject(receipt: &mut Receipt, positions: &[usize], verdicts: Vec<Option<String>>) {
    for (position, verdict) in positions.iter().zip(verdicts) {
        if let Some(reason) = verdict {
            // Every position is one of the batch's own.
            let _ = receipt.set(*position, Outcome::Rejected { reason });
        }
    }
}

#[async_trait]
impl Destination for Responsys {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.api.extensions(session).await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        let table = self.tables.name_for(target);
        self.tables.ensure(&self.api, session, &table, target).await?;
        Ok(Remote(json!({"table": table})))
    }

    fn field_name(&self, name: &str) -> String {
        column_name(name)
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        tables::objections(target)
    }

    fn requests(&self, _: Call, _: usize) -> usize {
        1 + usize::from(self.create_members)
    }

    /// Merging is repeatable: a fault half-way concerns the batch as a whole.
    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let Some(table) = remote.0["table"].as_str() else {
            let reason = "it is not known which table is written to".into();
            return Err(Fault::Misconfigured { reason });
        };
        let messages = batch.messages();
        let mut receipt = batch.delivered();
        if self.create_members {
            let members = messages.iter().map(|message| self.member(message)).enumerate();
            for (positions, rows) in grouped(members) {
                let verdicts = self.api.merge_members(session, self.key, &rows).await?;
                reject(&mut receipt, &positions, verdicts);
            }
        }
        let is_member = |position: usize| receipt.outcomes()[position] == Outcome::Delivered;
        let rows = messages.iter().map(|message| self.row(message)).enumerate();
        for (positions, rows) in grouped(rows.filter(|(position, _)| is_member(*position))) {
            let verdicts = self.api.merge_extension(session, table, self.key, &rows).await?;
            reject(&mut receipt, &positions, verdicts);
        }
        Ok(receipt.into())
    }
}
