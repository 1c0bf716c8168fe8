//! CSV files in an S3 bucket: who was added to a list and who was removed, for whoever reads files.
//!
//! There is no vendor who says what a file holds, so the contract is ours: a folder per list, in it a
//! folder for those added and one for those removed, in these one file per batch, named after run and
//! row so that a repeated batch takes the place of the first try. A list that is replaced is written
//! into a folder of its own, and a last object says that it is whole. S3 shows an object as a whole or not
//! at all. It never lists, reads or deletes what lies there.

mod place;
mod reply;
mod rows;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::Method;
use serde::{Deserialize, Serialize};

use super::membership::{self, COUNTRY, Parted};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Spec,
    Target, normalise,
};
use crate::delivery::{AwsKey, Request, Session};
use crate::finding::Finding;
use crate::message::Part;
use place::Bucket;
use rows::{Columns, Delimiter, Kind};

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// Fields whose values may be hashed, and the ones that may not.
const PLAIN: &[MatchField] = &[
    MatchField { source: "email", normalise: normalise::plain_email },
    MatchField { source: "phone", normalise: normalise::plain_e164 },
    MatchField { source: "idfa", normalise: normalise::plain_advertising_id },
    MatchField { source: "gaid", normalise: normalise::plain_advertising_id },
    MatchField { source: "external_id", normalise: normalise::identifier },
];
const HASHED: &[MatchField] = &[
    MatchField { source: "email", normalise: normalise::email },
    MatchField { source: "phone", normalise: normalise::e164 },
    MatchField { source: "idfa", normalise: normalise::advertising_id },
    MatchField { source: "gaid", normalise: normalise::advertising_id },
];

/// What is known of files in S3.
pub static SPEC: Spec = Spec {
    kind: "s3_csv",
    title: "S3 CSV files",
    summary: "Writes CSV files of added and of removed members into an S3 bucket.",
    identifiers: "email; and phone, idfa, gaid and external_id, plain or as SHA-256",
    match_fields: PLAIN,
    receipts: Receipts::Opaque,
    replaces: true,
    // Of one prefix of a bucket.
    quotas: &[Quota::per_second(3500)],
    batch: BatchLimits { rows: 50_000, max_rows: 100_000, bytes: 32_000_000, row_bytes: 1_000_000 },
    concurrency: 2,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.drop]
type = "s3_csv"
bucket = "acme-audiences"
region = "eu-west-1"
access_key_id = "${AWS_ACCESS_KEY_ID}"
secret_access_key = "${AWS_SECRET_ACCESS_KEY}"
"#,
    notes: &[
        "Files are called `<prefix>/<list>/added/<run>-<row>.csv` and `…/removed/…`, where the list is the sync's `list`, else the model's key.",
        "The first run adds everybody. The model's other columns are as they were when a member was added: a later change of theirs writes no file.",
        "Runs must be applied in the order of their names; within a run the order does not matter, since nobody is in two of its files.",
        "At least once: what a killed run wrote may be written again by the next one, under its own name.",
        "With `--replace` everybody is written into `…/full/<run>-<row>.csv`, and then an object `…/full/<run>.complete.json`: from then on nobody else is on the list. Without that object, the files only add.",
        "Otherwise nothing says that a run is complete; each file is complete when it is there.",
        "Columns are `audience_key`, `audience_action` (`true` or `false`), `user_id`, the identifiers, for added members the model's other columns, and `timestamp`; every value is quoted, lines end with LF.",
        "By default people are told apart by `email`; `match_by` names others or more. One row holds one combination of them, and the first of the users who share it.",
        "A removed row lacks those identifiers that another member still has.",
        "Emails are trimmed and in lower case, phones in E.164; `hash` names identifiers that are written as SHA-256 in hexadecimal, in a column such as `email_sha256`.",
        "Values that a spreadsheet takes for a formula are written as they are.",
        "No role is assumed here: hand over temporary credentials of the role with `session_token`; they are not renewed during a run.",
        "Runs need the permission `s3:PutObject` only; `--test` asks for the bucket's location, which needs `s3:GetBucketLocation`.",
        "Files are never deleted: give the bucket a lifecycle rule.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("bucket", "name of the bucket"),
    OptionDoc::required("region", "such as \"eu-west-1\""),
    OptionDoc::required("access_key_id", "access key of an identity that may put objects"),
    OptionDoc::required("secret_access_key", "the secret that belongs to it"),
    OptionDoc::optional("session_token", "belongs to temporary credentials"),
    OptionDoc::optional("prefix", "folder in the bucket; default: none"),
    OptionDoc::optional(
        "path_style",
        "whether the bucket is named in the path; default: only with `base_url`, or dots in its name",
    ),
    OptionDoc::optional(
        "match_by",
        "of \"email\", \"phone\", \"idfa\", \"gaid\" and \"external_id\"; default email",
    ),
    OptionDoc::optional("hash", "those of `match_by` that are written as SHA-256; default none"),
    OptionDoc::optional("user_id", "whether the user id is a column; default true"),
    OptionDoc::optional("delimiter", "\",\" (default), \";\", \"|\", \":\" or \"tab\""),
    OptionDoc::optional("encryption", "\"AES256\" or \"aws:kms\"; default: the bucket's own"),
    OptionDoc::optional("kms_key_id", "key for `encryption = \"aws:kms\"`; default: the account's"),
    COUNTRY,
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    bucket: String,
    region: String,
    access_key_id: Secret,
    secret_access_key: Secret,
    session_token: Option<Secret>,
    #[serde(default)]
    prefix: String,
    path_style: Option<bool>,
    #[serde(default, deserialize_with = "membership::several")]
    match_by: Option<Vec<String>>,
    #[serde(default)]
    hash: Vec<String>,
    #[serde(default = "yes")]
    user_id: bool,
    #[serde(default)]
    delimiter: Delimiter,
    encryption: Option<Encryption>,
    kms_key_id: Option<String>,
    country: Option<String>,
}

const fn yes() -> bool {
    true
}

/// How objects are encrypted where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Encryption {
    #[serde(rename = "AES256")]
    Aes256,
    #[serde(rename = "aws:kms")]
    Kms,
}

/// One bucket.
struct Files {
    bucket: Bucket,
    key: Arc<AwsKey>,
    columns: Columns,
    encryption: Option<Encryption>,
    kms_key_id: Option<String>,
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

/// Where the files of a sync lie in this run.
#[derive(Debug, Serialize, Deserialize)]
struct Opened {
    audience_key: String,
    folder: String,
    run: String,
    /// Whether they are the whole list.
    #[serde(default)]
    is_full: bool,
}

/// What says that a list was written as a whole.
#[derive(Serialize)]
struct Complete<'a> {
    audience_key: &'a str,
    run_id: &'a str,
    mode: &'static str,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let fields = fields(reader, options.match_by.as_deref(), &options.hash)?;
    let country = membership::country(reader, options.country)?;
    if options.kms_key_id.is_some() && options.encryption != Some(Encryption::Kms) {
        let fact = "has no meaning without `encryption = \"aws:kms\"`";
        return Err(vec![reader.refuse("kms_key_id", fact)]);
    }
    let bucket = Bucket::of(
        reader,
        common,
        &options.region,
        (options.bucket, options.prefix, options.path_style),
    )?;
    let key = AwsKey {
        access_key_id: options.access_key_id.expose().to_owned(),
        secret_access_key: options.secret_access_key.clone(),
        session_token: options.session_token.clone(),
        region: options.region,
        service: "s3",
    };
    let columns = Columns {
        hashed: fields
            .iter()
            .map(|field| options.hash.iter().any(|name| name == field.source))
            .collect(),
        fields: fields.clone(),
        user_id: options.user_id,
        delimiter: options.delimiter,
    };
    let files = Files {
        bucket,
        key: Arc::new(key),
        columns,
        encryption: options.encryption,
        kms_key_id: options.kms_key_id,
    };
    let secrets = [options.secret_access_key].into_iter().chain(options.session_token).collect();
    Ok(Built::new(Arc::new(files), secrets).matching(fields).in_country(country))
}

/// What people are told apart by; a value may only be a hash already where hashes are written.
fn fields(
    reader: &Reader<'_>,
    match_by: Option<&[String]>,
    hash: &[String],
) -> Result<Vec<MatchField>, Vec<Finding>> {
    let fields = membership::fields(reader, PLAIN, match_by, &["email"])?;
    let hashable = |name: &&String| {
        HASHED.iter().any(|field| field.source == name.as_str())
            && fields.iter().any(|field| field.source == name.as_str())
    };
    if !hash.iter().all(|name| hashable(&name)) {
        let fact = "must name identifiers of `match_by` other than `external_id`";
        return Err(vec![reader.refuse("hash", fact)]);
    }
    let chosen = |field: MatchField| {
        let hashed = HASHED.iter().find(|hashed| hashed.source == field.source);
        hashed.filter(|_| hash.iter().any(|name| name == field.source)).copied().unwrap_or(field)
    };
    Ok(fields.into_iter().map(chosen).collect())
}

#[async_trait]
impl Destination for Files {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = Request::get(self.bucket.location()).signed(&self.key);
        session.send(request.reading(reply::located)).await.map(drop)
    }

    /// Every run has files of its own.
    async fn open(&self, _session: &Session, target: &Target) -> Result<Remote, Fault> {
        let folder = target.list.as_ref().unwrap_or(&target.model_key).clone();
        let (audience_key, run) = (target.model_key.clone(), target.run.clone());
        Opened { audience_key, folder, run, is_full: false }.into_remote()
    }

    async fn begin_replacing(
        &self,
        _session: &Session,
        remote: &Remote,
        _started: DateTime<Utc>,
    ) -> Result<Remote, Fault> {
        Opened { is_full: true, ..Opened::of(remote)? }.into_remote()
    }

    async fn finish_replacing(&self, session: &Session, remote: &Remote) -> Result<(), Fault> {
        let Opened { audience_key, folder, run, .. } = &Opened::of(remote)?;
        let complete = Complete { audience_key, run_id: run, mode: "full" };
        let body = serde_json::to_vec(&complete).map_err(|error| unreadable(&error))?;
        let name = format!("{run}.complete.json");
        let url = self.bucket.object(&[folder, Kind::Full.word(), &name]);
        session.send(self.put(url, "application/json", body)).await.map(drop)
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let folder = target.list.as_ref().unwrap_or(&target.model_key);
        let misplaced = place::objection(folder);
        let own = self.columns.own();
        let names = target.fields.iter().map(|field| &field.name);
        let taken = names.filter(|name| own.contains(name));
        let taken = taken.map(|name| format!("the column `{name}` is one of the file's own"));
        misplaced.into_iter().chain(taken).collect()
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let opened = Opened::of(remote)?;
        let added = if opened.is_full { Kind::Full } else { Kind::Added };
        let Parted { entering, leaving } = Parted::of(batch);
        for (kind, members) in [(Kind::Removed, leaving), (added, entering)] {
            let Some(first) = members.first() else { continue };
            let row = first.message.parts().next().map_or(0, Part::row_number);
            let name = format!("{}-{row:010}.csv", opened.run);
            let url = self.bucket.object(&[&opened.folder, kind.word(), &name]);
            let rows = members.iter().map(|member| member.message);
            let file = self.columns.written(kind, rows)?;
            let request = self.put(url, "text/csv; charset=utf-8", file);
            session.send(request).await?;
        }
        Ok(batch.delivered().into())
    }
}

impl Files {
    fn put(&self, url: url::Url, content_type: &'static str, body: Vec<u8>) -> Request {
        let mut request = Request::new(Method::PUT, url).body(content_type, body.into());
        if let Some(encryption) = self.encryption {
            request = request.header("x-amz-server-side-encryption", encryption.word());
        }
        if let Some(key) = &self.kms_key_id {
            request = request.header("x-amz-server-side-encryption-aws-kms-key-id", key);
        }
        request.signed(&self.key).reading(reply::stored)
    }
}

impl Opened {
    fn of(remote: &Remote) -> Result<Self, Fault> {
        Self::deserialize(&remote.0).map_err(|error| unreadable(&error))
    }

    fn into_remote(self) -> Result<Remote, Fault> {
        serde_json::to_value(self).map(Remote).map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &serde_json::Error) -> Fault {
    Fault::Protocol { reason: format!("what is kept of the folder cannot be read: {error}") }
}

impl Encryption {
    const fn word(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
