//! Partial failure inside a 200: every record has its own answer, in the order of the request.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{LIST, session};
use crate::delivery::{Reply, Request, Session};
use crate::destinations::fixture::{batch, receipt, track};
use crate::destinations::{
    Batch, Delivery, Destination, Fault, Grain, Idempotency, Mode, Outcome, Receipt, Remote, Spec,
};
use crate::record::{Call, Change};

static SPEC: Spec = Spec {
    kind: "kinesis",
    mode: Mode::Event,
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Raw,
    idempotency: Idempotency::MessageId,
    min_interval: Duration::ZERO,
    ..LIST
};

#[derive(Debug)]
struct Kinesis {
    url: Url,
    stream: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    failed_record_count: usize,
    records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    error_code: Option<String>,
    #[serde(default)]
    error_message: String,
}

#[async_trait]
impl Destination for Kinesis {
    async fn check(&self, _session: &Session) -> Result<(), Fault> {
        Ok(())
    }

    async fn deliver(
        &self,
        session: &Session,
        _remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let records: Vec<_> = batch
            .messages()
            .iter()
            .zip(batch.encoded()?)
            .map(|(message, encoded)| {
                let data = base64::engine::general_purpose::STANDARD.encode(encoded);
                json!({"Data": data, "PartitionKey": message.subject()})
            })
            .collect();
        let body = json!({"StreamARN": self.stream, "Records": records});
        let request = Request::post(self.url.clone())
            .header("X-Amz-Target", "Kinesis_20131202.PutRecords")
            .body("application/x-amz-json-1.1", body.to_string().into());
        let answer: Answer = session.send(request).await?.json()?;
        Ok(read(answer, batch)?.into())
    }
}

fn read(answer: Answer, batch: &Batch) -> Result<Receipt, Fault> {
    let failed = answer.records.iter().filter(|record| record.error_code.is_some()).count();
    if answer.records.len() != batch.len() || failed != answer.failed_record_count {
        return Err(Fault::Protocol { reason: "the answer is not one per record".into() });
    }
    let mut receipt = batch.delivered();
    for (position, record) in answer.records.into_iter().enumerate() {
        let Some(code) = record.error_code else { continue };
        let reason = format!("{code}: {}", record.error_message);
        let outcome = match code.as_str() {
            "ProvisionedThroughputExceededException" | "InternalFailure" => {
                Outcome::Retry { after: None, reason }
            }
            _ => Outcome::Rejected { reason },
        };
        if !receipt.set(position, outcome) {
            return Err(Fault::Protocol { reason: "a record that was not sent".into() });
        }
    }
    Ok(receipt)
}

async fn deliver(body: serde_json::Value) -> Result<Delivery, Fault> {
    let kinesis = Kinesis {
        url: Url::parse("http://127.0.0.1:9").unwrap(),
        stream: "arn:aws:kinesis:eu-west-1:1:stream/cdp".into(),
    };
    let messages = batch(["u1", "u2", "u3"].map(|subject| track(subject, Change::Entered)));
    let session = session(&SPEC, vec![Reply::status(200, body.to_string())]);
    kinesis.deliver(&session, &Remote::default(), &messages).await
}

#[tokio::test]
async fn each_record_has_its_own_outcome_by_position() {
    let slow = "ProvisionedThroughputExceededException";
    let delivery = deliver(json!({"FailedRecordCount": 2, "Records": [
        {"ShardId": "shardId-000000000002", "SequenceNumber": "4966"},
        {"ErrorCode": slow, "ErrorMessage": "Rate exceeded for shard shardId-000000000001"},
        {"ErrorCode": "ValidationException", "ErrorMessage": "too long"},
    ]}));
    let reason = format!("{slow}: Rate exceeded for shard shardId-000000000001");
    assert_eq!(
        receipt(delivery.await.unwrap()).into_outcomes(),
        [
            Outcome::Delivered,
            Outcome::Retry { after: None, reason },
            Outcome::Rejected { reason: "ValidationException: too long".into() },
        ]
    );
}

#[tokio::test]
async fn an_answer_that_does_not_add_up_is_never_success() {
    let taken = json!({"ShardId": "s", "SequenceNumber": "1"});
    for answer in [
        json!({"FailedRecordCount": 0, "Records": []}),
        json!({"FailedRecordCount": 1, "Records": [taken, taken, taken]}),
        json!({"FailedRecordCount": 0, "Records": [taken, taken, taken, taken]}),
        json!({}),
    ] {
        assert!(matches!(deliver(answer).await, Err(Fault::Protocol { .. })));
    }
}
