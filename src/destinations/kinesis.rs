//! Amazon Kinesis Data Streams: canonical messages as they are, one per record, by `PutRecords`.
//!
//! What it promises: a record counts as taken only when its own place in the reply holds a sequence
//! number, since a 200 may hold refusals. Whatever concerns one subject goes to one shard unless the
//! project says otherwise. It never creates a stream and never assumes a role.

mod reply;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use url::Url;

use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Reader, Remote, Secret, Spec,
};
use crate::delivery::{AwsKey, Request, Session};
use crate::digest::hex;
use crate::finding::Finding;
use crate::message::Message;
use crate::record::Call;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Kinesis.
pub static SPEC: Spec = Spec {
    kind: "kinesis",
    title: "Amazon Kinesis",
    summary: "Puts canonical messages, one per record, into an Amazon Kinesis data stream.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Raw,
    identifiers: "none; the user or account id is the partition key",
    // 5 MiB per request and 1 MiB per record, partition keys included; in base 64 a message takes
    // a third more.
    batch: BatchLimits { rows: 500, max_rows: 500, bytes: 3_500_000, row_bytes: 1_000_000 },
    idempotency: Idempotency::MessageId,
    maturity: Maturity::Beta,
    example: r#"[destinations.kinesis]
type = "kinesis"
stream = "customers"
region = "eu-west-1"
access_key_id = "${AWS_ACCESS_KEY_ID}"
secret_access_key = "${AWS_SECRET_ACCESS_KEY}"
"#,
    notes: &[
        "What Kinesis takes is limited per shard (1,000 records and 1 MB per second), not per request; records that a busy shard refuses are sent again.",
        "Kinesis does not recognise repeated records: consumers de-duplicate by `messageId`.",
        "Records that were refused at first arrive after later ones of other people; changes of one person keep their order.",
        "Streams with larger records than 1 MiB exist (uncertain under which conditions); here 1 MB is the limit.",
        "No role is assumed here: hand over temporary credentials of the role with `session_token`; they are not renewed during a run.",
        "`--test` asks for the summary of the stream, which needs the permission `kinesis:DescribeStreamSummary`; runs need `kinesis:PutRecords` only.",
        "A user id of more than 256 characters is no partition key; its SHA-256 takes its place.",
    ],
    ..Spec::EVENT
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("stream", "name or ARN of the data stream"),
    OptionDoc::required("access_key_id", "access key of an identity that may put records"),
    OptionDoc::required("secret_access_key", "the secret that belongs to it"),
    OptionDoc::optional("session_token", "belongs to temporary credentials"),
    OptionDoc::optional("region", "such as \"eu-west-1\"; default: the one in the stream's ARN"),
    OptionDoc::optional(
        "partition_key",
        "\"subject\" (default) keeps a person on one shard, \"message\" spreads evenly",
    ),
];

const LONGEST_PARTITION_KEY: usize = 256;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    stream: String,
    access_key_id: Secret,
    secret_access_key: Secret,
    session_token: Option<Secret>,
    region: Option<String>,
    #[serde(default)]
    partition_key: PartitionKey,
}

/// By what records are spread over shards.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum PartitionKey {
    #[default]
    Subject,
    Message,
}

/// How a request names the stream.
#[derive(Debug, Clone, Serialize)]
enum Stream {
    #[serde(rename = "StreamName")]
    Name(String),
    #[serde(rename = "StreamARN")]
    Arn(String),
}

/// One stream.
struct Kinesis {
    url: Url,
    stream: Stream,
    key: Arc<AwsKey>,
    partition_key: PartitionKey,
}

impl fmt::Debug for Kinesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kinesis").field("stream", &self.stream).finish_non_exhaustive()
    }
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let refuse = |option, fact: String| vec![reader.refuse(option, &fact)];
    let stream = Stream::read(&options.stream).map_err(|fact| refuse("stream", fact.into()))?;
    let region = region(&stream, options.region).map_err(|fact| refuse("region", fact.into()))?;
    let url = match &common.base_url {
        Some(base) => base.clone(),
        None => address(&region).map_err(|fact| refuse("region", fact))?,
    };
    let key = AwsKey {
        access_key_id: options.access_key_id.expose().to_owned(),
        secret_access_key: options.secret_access_key.clone(),
        session_token: options.session_token.clone(),
        region,
        service: "kinesis",
    };
    let secrets = [options.secret_access_key].into_iter().chain(options.session_token).collect();
    let (key, partition_key) = (Arc::new(key), options.partition_key);
    Ok(Built::new(Arc::new(Kinesis { url, stream, key, partition_key }), secrets))
}

impl Stream {
    fn read(text: &str) -> Result<Self, &'static str> {
        let is_plain = |character: char| {
            character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | '-')
        };
        if text.starts_with("arn:") {
            let parts: Vec<&str> = text.split(':').collect();
            return match parts[..] {
                [_, _, "kinesis", region, _, name]
                    if !region.is_empty() && name.starts_with("stream/") =>
                {
                    Ok(Self::Arn(text.to_owned()))
                }
                _ => Err("is an ARN, but not one of a Kinesis data stream"),
            };
        }
        if text.is_empty() || text.len() > 128 || !text.chars().all(is_plain) {
            return Err(
                "is neither an ARN nor a name of at most 128 letters, digits, `_`, `.` and `-`",
            );
        }
        Ok(Self::Name(text.to_owned()))
    }

    /// The region that its ARN names.
    fn region(&self) -> Option<&str> {
        match self {
            Self::Arn(arn) => arn.split(':').nth(3),
            Self::Name(_) => None,
        }
    }
}

fn region(stream: &Stream, given: Option<String>) -> Result<String, &'static str> {
    let region = match (stream.region(), given) {
        (Some(own), Some(given)) if own != given => {
            return Err("is not the region that the ARN of the stream names");
        }
        (Some(own), _) => own.to_owned(),
        (None, Some(given)) => given,
        (None, None) => return Err("is missing; only the ARN of a stream says it by itself"),
    };
    let is_plain = |character: char| character.is_ascii_alphanumeric() || character == '-';
    match !region.is_empty() && region.chars().all(is_plain) {
        true => Ok(region),
        false => Err("is not the name of a region, such as \"eu-west-1\""),
    }
}

/// Where Kinesis listens in a region; China has a domain of its own.
fn address(region: &str) -> Result<Url, String> {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    Url::parse(&format!("https://kinesis.{region}.{domain}/"))
        .map_err(|error| format!("makes no usable address: {error}"))
}

#[derive(Serialize)]
struct PutRecords<'a> {
    #[serde(flatten)]
    stream: &'a Stream,
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    data: String,
    partition_key: String,
}

impl Kinesis {
    fn request(&self, action: &str, body: &impl Serialize) -> Result<Request, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| Fault::Rejected {
            reason: format!("the request cannot be encoded: {error}"),
        })?;
        Ok(Request::post(self.url.clone())
            .header("x-amz-target", &format!("Kinesis_20131202.{action}"))
            .body("application/x-amz-json-1.1", body.into())
            .signed(&self.key))
    }

    fn partition_key(&self, message: &Message) -> String {
        let subject = message.subject();
        match self.partition_key {
            PartitionKey::Message => message.id().to_string(),
            PartitionKey::Subject if subject.chars().count() <= LONGEST_PARTITION_KEY => {
                subject.to_owned()
            }
            PartitionKey::Subject => hex(&Sha256::digest(subject)),
        }
    }
}

#[async_trait]
impl Destination for Kinesis {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.request("DescribeStreamSummary", &self.stream)?.reading(reply::taken);
        reply::is_writable(&session.send(request).await?)
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let records = batch.messages().iter().zip(batch.encoded()?).map(|(message, encoded)| {
            Record { data: STANDARD.encode(encoded), partition_key: self.partition_key(message) }
        });
        let body = PutRecords { stream: &self.stream, records: records.collect() };
        let request = self.request("PutRecords", &body)?.reading(reply::taken_in_part);
        let response = session.send(request).await?;
        Ok(reply::receipt(&response, batch)?.into())
    }
}
