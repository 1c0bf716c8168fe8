//! Salesforce Marketing Cloud (Engagement): rows of data extensions, one per user and one per account.
//!
//! Rows are written as asynchronous jobs, which say of every row what became of it; the synchronous
//! call stops at the first bad row and does not say which one that was.
//!
//! What it never does: it starts no journey and sends no message, and it touches neither contacts nor
//! subscribers.

mod rows;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::marketing_cloud_api::{
    ACCOUNT_ID, Api, CLIENT_ID, CLIENT_SECRET, Credentials, Extension, SUBDOMAIN, column_name,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Job, Maturity, OptionDoc, Quota, Reader, Remote, Secret, Settlement, Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
use rows::{Rows, Void};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Marketing Cloud.
pub static SPEC: Spec = Spec {
    kind: "salesforce_marketing_cloud",
    title: "Salesforce Marketing Cloud",
    summary: "Keeps rows of data extensions in Marketing Cloud Engagement, one per user or account.",
    calls: &[Call::Identify, Call::Group],
    grain: Grain::Subject,
    identifiers: "user id, or email, in the primary key of a data extension; account id in that of another",
    quotas: &[Quota::per_second(20)],
    batch: BatchLimits { rows: 2_500, max_rows: 30_000, bytes: BYTES, row_bytes: 500_000 },
    concurrency: 4,
    maturity: Maturity::Beta,
    example: r#"[destinations.marketing_cloud]
type = "salesforce_marketing_cloud"
subdomain = "mc1x2y3z"
client_id = "a1b2c3"
client_secret = "${SFMC_CLIENT_SECRET}"
data_extension = "customers"
email_column = "EmailAddress"
account_data_extension = "accounts"
"#,
    notes: &[
        "Data extensions must exist; columns that are missing are added over SOAP when a sync begins, nullable, texts with 500 characters and decimals with 6 places, unless `create_fields = false`.",
        "The key column must be the data extension's only primary key, or each run would add rows instead of updating them.",
        "The email travels only where `email_column` names a column for it, or as the key with `identify_by = \"email\"`.",
        "A row stays when somebody leaves an audience: its boolean becomes false.",
        "Events are not sent: the API's events start journeys, which may write to people.",
        "What clears a column is uncertain: `null` by default; `null_as = \"empty\"` sends an empty text.",
        "Dates are sent in ISO format, moments in UTC; the account's time zone decides how they are shown (uncertain).",
        "A list or a structure travels as its JSON in a text column.",
        "Only jobs with errors are asked for single rows, 50 at a time: a large `batch_size` makes that slow.",
        "The results of a job are kept for about a day (uncertain).",
        "There is no published rate; calls count against a yearly quota of the account's edition (uncertain).",
    ],
    ..Spec::EVENT
};

/// 5 MB, less for texts that grow as they are written.
const BYTES: usize = 4_000_000;

const OPTIONS: &[OptionDoc] = &[
    SUBDOMAIN,
    CLIENT_ID,
    CLIENT_SECRET,
    ACCOUNT_ID,
    OptionDoc::required("data_extension", "external key of the data extension that holds users"),
    OptionDoc::optional("key_column", "its primary key; default \"ContactKey\""),
    OptionDoc::optional("identify_by", "what the key holds: \"user_id\" (default) or \"email\""),
    OptionDoc::optional("email_column", "column for the preferred email; default: none"),
    OptionDoc::optional(
        "account_data_extension",
        "external key of the data extension that holds accounts",
    ),
    OptionDoc::optional("account_key_column", "its primary key; default \"AccountId\""),
    OptionDoc::optional("null_as", "what clears a column: \"null\" (default) or \"empty\""),
    OptionDoc::optional(
        "create_fields",
        "whether columns that are missing are added; default true",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    subdomain: Option<String>,
    client_id: String,
    client_secret: Secret,
    account_id: Option<String>,
    data_extension: String,
    key_column: Option<String>,
    #[serde(default)]
    identify_by: Key,
    email_column: Option<String>,
    account_data_extension: Option<String>,
    account_key_column: Option<String>,
    #[serde(default)]
    null_as: Void,
    #[serde(default = "crate::destinations::options::yes")]
    create_fields: bool,
}

/// What the key of a user's row holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    #[default]
    UserId,
    Email,
}

/// One account and its data extensions.
#[derive(Debug)]
struct MarketingCloud {
    api: Api,
    users: Rows,
    accounts: Option<Rows>,
    create_fields: bool,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    if options.identify_by == Key::Email && options.email_column.is_some() {
        let fact = "has no meaning beside `identify_by = \"email\"`: the key holds the email";
        return Err(vec![reader.refuse("email_column", fact)]);
    }
    if options.account_key_column.is_some() && options.account_data_extension.is_none() {
        let fact = "has no meaning without `account_data_extension`";
        return Err(vec![reader.refuse("account_key_column", fact)]);
    }
    let secrets = vec![options.client_secret.clone()];
    let credentials = Credentials {
        id: options.client_id,
        secret: options.client_secret,
        account: options.account_id,
    };
    let grain = match options.identify_by {
        Key::UserId => Grain::Subject,
        Key::Email => Grain::Email,
    };
    let users = Rows {
        extension: options.data_extension,
        key: options.key_column.unwrap_or_else(|| "ContactKey".into()),
        by_email: options.identify_by == Key::Email,
        email: options.email_column,
        void: options.null_as,
    };
    let account_key = options.account_key_column;
    let accounts = options.account_data_extension.map(|extension| Rows {
        extension,
        key: account_key.unwrap_or_else(|| "AccountId".into()),
        by_email: false,
        email: None,
        void: options.null_as,
    });
    let api = Api::of(reader, common, options.subdomain.as_deref(), credentials)?;
    let create_fields = options.create_fields;
    let cloud = MarketingCloud { api, users, accounts, create_fields };
    Ok(Built::new(Arc::new(cloud), secrets).by(grain))
}

impl MarketingCloud {
    fn rows(&self, call: Call) -> Result<&Rows, Fault> {
        if call != Call::Group {
            return Ok(&self.users);
        }
        self.accounts.as_ref().ok_or_else(|| Fault::Misconfigured { reason: NO_ACCOUNTS.into() })
    }

    async fn extension(&self, session: &Session, rows: &Rows) -> Result<Extension, Fault> {
        let key = &rows.extension;
        self.api.extension(session, key).await?.ok_or_else(|| Fault::Misconfigured {
            reason: format!(
                "there is no data extension with the external key `{key}`, or the package may not \
                 see it: its properties show the key"
            ),
        })
    }
}

const NO_ACCOUNTS: &str = "accounts need the option `account_data_extension`";

#[async_trait]
impl Destination for MarketingCloud {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        for rows in std::iter::once(&self.users).chain(&self.accounts) {
            self.extension(session, rows).await?.keyed_by(&rows.key)?;
        }
        Ok(())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        let rows = self.rows(target.call)?;
        match self.extension(session, rows).await {
            Ok(extension) => {
                let missing = rows.missing(&extension, &target.fields)?;
                if !missing.is_empty() && !self.create_fields {
                    return Err(Rows::lacking(&extension, &missing));
                }
                if !missing.is_empty() {
                    self.api.add_columns(session, &rows.extension, &missing).await?;
                }
            }
            // What follows does not depend on the answer.
            Err(Fault::Rehearsed) => {}
            Err(fault) => return Err(fault),
        }
        Ok(Remote::default())
    }

    /// Columns whose names differ in nothing but their case are one.
    fn field_name(&self, name: &str) -> String {
        column_name(name).to_lowercase()
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        match self.rows(target.call) {
            Ok(rows) => rows.objections(&target.fields),
            Err(_) => vec![NO_ACCOUNTS.to_owned()],
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let rows = self.rows(batch.messages()[0].call())?;
        let body = rows.body(batch.messages())?;
        self.api.upsert(session, &rows.extension, body).await.map(Delivery::Submitted)
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        self.api.settled(session, job, rows).await
    }
}
