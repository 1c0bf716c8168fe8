//! CSV files in an S3 bucket. S3 shows an object as a whole or not at all, and a repeated object takes the
//! place of the first.

mod place;
mod reply;

use std::fmt;
use std::sync::Arc;

use http::Method;
use serde::Deserialize;

use super::drop::{self, Choice, Delimiter, FileDrop, Storage, notes};
use super::membership::{self, COUNTRY};
use super::{Built, Common, Entry, Fault, HTTP_OPTIONS, OptionDoc, Quota, Reader, Secret, Spec};
use crate::delivery::{AwsKey, Request};
use crate::finding::Finding;
use place::Bucket;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of files in S3.
pub static SPEC: Spec = Spec {
    kind: "s3_csv",
    title: "S3 CSV files",
    summary: "Writes CSV files of added and of removed members into an S3 bucket.",
    // Of one prefix of a bucket.
    quotas: &[Quota::per_second(3500)],
    concurrency: 2,
    example: r#"[destinations.drop]
type = "s3_csv"
bucket = "acme-audiences"
region = "eu-west-1"
access_key_id = "${AWS_ACCESS_KEY_ID}"
secret_access_key = "${AWS_SECRET_ACCESS_KEY}"
"#,
    notes: &[
        "Files are called `<prefix>/<list>/added/<run>-<row>.csv` and `…/removed/…`, where the list is the sync's `list`, else the model's key.",
        notes::FIRST_RUN,
        notes::ORDER,
        notes::AGAIN,
        notes::MANIFEST,
        notes::INTERRUPTED,
        notes::REPLACE,
        notes::COLUMNS,
        notes::TOLD_APART,
        notes::REMOVED,
        notes::FORMS,
        notes::FORMULAS,
        "No role is assumed here: hand over temporary credentials of the role with `session_token`; they are not renewed during a run.",
        "Runs need the permission `s3:PutObject` only; `--test` asks for the bucket's location, which needs `s3:GetBucketLocation`.",
        "Files are never deleted: give the bucket a lifecycle rule.",
    ],
    ..drop::SPEC
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
    drop::MATCH_BY,
    drop::HASH,
    drop::USER_ID,
    drop::DELIMITER,
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
    #[serde(default = "crate::destinations::options::yes")]
    user_id: bool,
    #[serde(default)]
    delimiter: Delimiter,
    encryption: Option<Encryption>,
    kms_key_id: Option<String>,
    country: Option<String>,
}

/// How objects are encrypted where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Encryption {
    #[serde(rename = "AES256")]
    Aes256,
    #[serde(rename = "aws:kms")]
    Kms,
}

/// Objects of one bucket.
struct Objects {
    bucket: Bucket,
    key: Arc<AwsKey>,
    encryption: Option<Encryption>,
    kms_key_id: Option<String>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let choice = Choice {
        match_by: options.match_by.as_deref(),
        hash: &options.hash,
        user_id: options.user_id,
        delimiter: options.delimiter,
    };
    let fields = drop::fields(reader, &choice)?;
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
    let objects = Objects {
        bucket,
        key: Arc::new(key),
        encryption: options.encryption,
        kms_key_id: options.kms_key_id,
    };
    let files = FileDrop::new(objects, &fields, &choice);
    let secrets = [options.secret_access_key].into_iter().chain(options.session_token).collect();
    Ok(Built::new(Arc::new(files), secrets).matching(fields).in_country(country))
}

impl Storage for Objects {
    fn key(&self, path: &[&str]) -> String {
        self.bucket.key(path)
    }

    fn put(
        &self,
        path: &[&str],
        content_type: &'static str,
        body: Vec<u8>,
    ) -> Result<Request, Fault> {
        let url = self.bucket.object(path);
        let mut request = Request::new(Method::PUT, url).body(content_type, body.into());
        if let Some(encryption) = self.encryption {
            request = request.header("x-amz-server-side-encryption", encryption.word());
        }
        if let Some(key) = &self.kms_key_id {
            request = request.header("x-amz-server-side-encryption-aws-kms-key-id", key);
        }
        Ok(request.signed(&self.key).reading(reply::stored))
    }

    fn probe(&self) -> Result<Request, Fault> {
        let request = Request::get(self.bucket.location()).signed(&self.key);
        Ok(request.reading(reply::located))
    }
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
