use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use insta::assert_snapshot;
use serde_json::{Value, json};

use super::SPEC;
use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, MARA, User, batch, configured, told};
use crate::destinations::{Batch, Configured, Fault, Outcome};
use crate::record::{Call, Change};

const BUSY: &str = "ProvisionedThroughputExceededException";

/// Every record taken; an active stream.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let action = request.headers.iter().find(|(name, _)| name == "x-amz-target");
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match action.and_then(|(_, action)| action.strip_prefix("Kinesis_20131202.")) {
        Some("PutRecords") => {
            let records = body["Records"].as_array().map_or(0, Vec::len);
            let taken: Vec<_> = (0..records).map(|_| taken()).collect();
            Reply::json(
                &json!({"FailedRecordCount": 0, "EncryptionType": "NONE", "Records": taken}),
            )
        }
        Some("DescribeStreamSummary") => summary("ACTIVE"),
        _ => error("UnknownOperationException"),
    }
}

fn taken() -> Value {
    json!({"ShardId": "shardId-000000000002", "SequenceNumber": "4966"})
}

fn refused(code: &str) -> Value {
    json!({"ErrorCode": code, "ErrorMessage": "of shard 1"})
}

fn summary(status: &str) -> Reply {
    Reply::json(
        &json!({"StreamDescriptionSummary": {"StreamName": "customers", "StreamStatus": status}}),
    )
}

fn error(name: &str) -> Reply {
    let body =
        json!({"__type": format!("com.amazonaws.kinesis.v20131202#{name}"), "message": "why"});
    Reply::status(400, body.to_string())
}

fn results(failed: usize, records: &[Value]) -> Reply {
    Reply::json(&json!({"FailedRecordCount": failed, "Records": records}))
}

fn kinesis() -> Configured {
    configured(SPEC.example).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

/// The bodies of all requests, with the data of every record decoded.
fn wire(said: &Conversation) -> String {
    let readable = |request: &Captured| {
        let mut body: Value = serde_json::from_slice(&request.body).unwrap();
        for record in body["Records"].as_array_mut().unwrap() {
            let data = STANDARD.decode(record["Data"].as_str().unwrap()).unwrap();
            record["Data"] = serde_json::from_slice::<Value>(&data).unwrap();
        }
        format!("{body}\n")
    };
    said.captured.iter().map(readable).collect()
}

#[tokio::test]
async fn each_record_is_one_canonical_message_keyed_by_its_subject() {
    let made = kinesis();
    let mut shown = String::new();
    for kind in ["group", "null", "several", "track exit", "unicode"] {
        let said = made.converse(&made.batches()[kind], Vec::new()).await;
        shown.push_str(&format!("{kind} {}", wire(&said)));
    }
    assert_snapshot!(shown, @r#"
    group {"Records":[{"Data":{"context":{"personas":{"computation_class":"trait","computation_key":"seats_used"}},"groupId":"acct_310","messageId":"616363745f3331300000000000000000","timestamp":"2026-11-20T09:00:00Z","traits":{"seats_used":41},"type":"group"},"PartitionKey":"acct_310"}],"StreamName":"customers"}
    null {"Records":[{"Data":{"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}},"messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","traits":{"email":"ivo@example.org","ltv_90d":null},"type":"identify","userId":"u_8842"},"PartitionKey":"u_8842"}],"StreamName":"customers"}
    several {"Records":[{"Data":{"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}},"messageId":"755f3838343100000000000000000000","timestamp":"2026-11-20T09:00:00Z","traits":{"email":"mara.lind@example.org","ltv_90d":812.4},"type":"identify","userId":"u_8841"},"PartitionKey":"u_8841"},{"Data":{"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}},"messageId":"755f3838343200000000000000000000","timestamp":"2026-11-20T09:00:00Z","traits":{"email":"ivo@example.org","ltv_90d":7.0},"type":"identify","userId":"u_8842"},"PartitionKey":"u_8842"},{"Data":{"context":{"personas":{"computation_class":"trait","computation_key":"ltv_90d"}},"messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","traits":{"email":"zoe+shop@example.org","ltv_90d":-3.5},"type":"identify","userId":"zoë"},"PartitionKey":"zoë"}],"StreamName":"customers"}
    track exit {"Records":[{"Data":{"context":{"personas":{"computation_class":"audience","computation_key":"vip"},"traits":{"email":"ivo@example.org"}},"event":"Audience Exited","messageId":"755f3838343200000000000000000000","properties":{"audience_key":"vip","vip":false},"timestamp":"2026-11-20T09:00:00Z","type":"track","userId":"u_8842"},"PartitionKey":"u_8842"}],"StreamName":"customers"}
    unicode {"Records":[{"Data":{"context":{"personas":{"computation_class":"trait","computation_key":"city"}},"messageId":"7a6fc3ab000000000000000000000000","timestamp":"2026-11-20T09:00:00Z","traits":{"city":"Zürich 🏪 \"A\" ","email":"zoe+shop@example.org"},"type":"identify","userId":"zoë"},"PartitionKey":"zoë"}],"StreamName":"customers"}
    "#);
}

#[tokio::test]
async fn requests_are_signed_and_name_their_action() {
    let said = kinesis().converse(&kinesis().several(), Vec::new()).await;
    let request = &said.captured[0];
    let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-amz-target", "content-type", "x-amz-date", "authorization"]);
    assert_eq!(request.headers[0].1, "Kinesis_20131202.PutRecords");
    assert_eq!(request.headers[1].1, "application/x-amz-json-1.1");
    assert_eq!(request.headers[3].1, "[secret]");
    assert_eq!(request.url, "https://kinesis.eu-west-1.amazonaws.com/");
}

#[tokio::test]
async fn a_stream_is_named_or_given_as_arn_which_says_the_region() {
    let keys = "access_key_id = \"${A}\"\nsecret_access_key = \"${S}\"\nsession_token = \"${T}\"\n";
    let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/cdp";
    let text = format!("[destinations.k]\ntype = \"kinesis\"\nstream = \"{arn}\"\n{keys}");
    let made = configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)));
    let said = made.converse(&made.several(), Vec::new()).await;
    let request = &said.captured[0];
    assert_eq!(request.url, "https://kinesis.cn-north-1.amazonaws.com.cn/");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["StreamARN"], &body["StreamName"]), (&json!(arn), &Value::Null));
    let token = request.headers.iter().find(|(name, _)| name == "x-amz-security-token").unwrap();
    assert_eq!(token.1, "[secret]");
}

#[test]
fn what_names_no_stream_or_region_is_refused() {
    let keys = "access_key_id = \"${A}\"\nsecret_access_key = \"${S}\"\n";
    let told_of = |more: &str| {
        let text = format!("[destinations.k]\ntype = \"kinesis\"\n{keys}{more}\n");
        told(&configured(&text).err().unwrap()).lines().next().unwrap().to_owned() + "\n"
    };
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/cdp";
    let findings: String = [
        "stream = \"cdp\"".to_owned(),
        "stream = \"my stream\"\nregion = \"eu-west-1\"".to_owned(),
        "stream = \"arn:aws:sqs:eu-west-1:1:cdp\"".to_owned(),
        format!("stream = \"{arn}\"\nregion = \"us-east-1\""),
        "stream = \"cdp\"\nregion = \"evil.example.com/\"".to_owned(),
        "stream = \"cdp\"\nregion = \"eu-west-1\"\npartition_key = \"email\"".to_owned(),
    ]
    .iter()
    .map(|more| told_of(more))
    .collect();
    assert_snapshot!(findings, @r#"
    D03 option `region` of destination `k` is missing; only the ARN of a stream says it by itself ("kinesis") `muster destinations kinesis` shows every option and an example
    D03 option `stream` of destination `k` is neither an ARN nor a name of at most 128 letters, digits, `_`, `.` and `-` ("my stream") `muster destinations kinesis` shows every option and an example
    D03 option `stream` of destination `k` is an ARN, but not one of a Kinesis data stream ("arn:aws:sqs:eu-west-1:1:cdp") `muster destinations kinesis` shows every option and an example
    D03 option `region` of destination `k` is not the region that the ARN of the stream names ("us-east-1") `muster destinations kinesis` shows every option and an example
    D03 option `region` of destination `k` is not the name of a region, such as "eu-west-1" ("evil.example.com/") `muster destinations kinesis` shows every option and an example
    D03 option `partition_key` of destination `k` is not usable: expected `subject` or `message` ("email") `muster destinations kinesis` shows every option and an example
    "#);
}

#[tokio::test]
async fn records_can_be_spread_by_message_and_long_ids_are_digested() {
    let key = |said: &Conversation| {
        let body: Value = serde_json::from_slice(&said.captured[0].body).unwrap();
        body["Records"][0]["PartitionKey"].as_str().unwrap().to_owned()
    };
    let text = format!("{}partition_key = \"message\"\n", SPEC.example);
    let spread = configured(&text).unwrap();
    let one = || batch([spread.audience(Call::Track, MARA, Change::Entered)]);
    let id = one().messages()[0].id().to_string();
    assert_eq!(key(&spread.converse(&one(), Vec::new()).await), id);

    let id: &'static str = String::leak("\u{fc}".repeat(257));
    let made = kinesis();
    let long = batch([made.audience(Call::Track, User { id, ..MARA }, Change::Entered)]);
    let digest = key(&made.converse(&long, Vec::new()).await);
    assert_eq!(digest.len(), 64);
    let id: &'static str = String::leak("\u{fc}".repeat(256));
    let fits = batch([made.audience(Call::Track, User { id, ..MARA }, Change::Entered)]);
    assert_eq!(key(&made.converse(&fits, Vec::new()).await), id);
}

#[tokio::test]
async fn each_record_has_its_own_outcome_by_position() {
    let made = kinesis();
    let reply = results(2, &[taken(), refused(BUSY), refused("ValidationException")]);
    let said = made.converse(&made.several(), vec![reply]).await;
    let reason = format!("{BUSY}: of shard 1");
    assert_eq!(
        said.outcomes(),
        [
            Outcome::Delivered,
            Outcome::Retry { after: None, reason },
            Outcome::Rejected { reason: "ValidationException: of shard 1".into() },
        ]
    );
    let reply = results(1, &[refused("InternalFailure"), taken(), taken()]);
    let outcomes = made.converse(&made.several(), vec![reply]).await.outcomes();
    assert!(matches!(outcomes[0], Outcome::Retry { .. }));
    assert_eq!(outcomes[1..], [Outcome::Delivered, Outcome::Delivered]);
}

#[tokio::test]
async fn an_answer_that_does_not_add_up_is_never_success() {
    let made = kinesis();
    for reply in [
        results(0, &[]),
        results(1, &[taken(), taken(), taken()]),
        results(0, &[taken(), taken(), refused(BUSY)]),
        results(0, &[taken(), taken(), taken(), taken()]),
        results(0, &[taken(), taken(), json!({"ShardId": "shardId-000000000002"})]),
        Reply::json(&json!({})),
    ] {
        let said = made.converse(&made.several(), vec![reply]).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{:?}", said.result);
    }
}

#[tokio::test(start_paused = true)]
async fn where_every_shard_is_busy_the_whole_destination_waits() {
    let made = kinesis();
    let busy = results(3, &[refused(BUSY), refused(BUSY), refused(BUSY)]);
    let session = Session::served(&made.terms(), vec![busy.clone(), busy], made.server());
    let started = tokio::time::Instant::now();
    let said = made.converse_through(&session, &made.several()).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert!(started.elapsed().as_millis() > 0);
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_call_say_what_must_happen_next() {
    let made = kinesis();
    for (name, expected) in [
        ("ProvisionedThroughputExceededException", "throttled"),
        ("LimitExceededException", "throttled"),
        ("KMSThrottlingException", "throttled"),
        ("AccessDeniedException", "denied"),
        ("ExpiredTokenException", "denied"),
        ("InvalidSignatureException", "denied"),
        ("UnrecognizedClientException", "denied"),
        ("ResourceNotFoundException", "misconfigured"),
        ("KMSAccessDeniedException", "misconfigured"),
        ("KMSNotFoundException", "misconfigured"),
        ("ValidationException", "rejected"),
        ("InvalidArgumentException", "rejected"),
        ("SomethingNewException", "rejected"),
    ] {
        let said = made.converse(&made.several(), vec![error(name); 200]).await;
        let word = match said.result {
            Err(Fault::Throttled { .. }) => "throttled",
            Err(Fault::Denied { .. }) => "denied",
            Err(Fault::Misconfigured { .. }) => "misconfigured",
            Err(Fault::Rejected { .. }) => "rejected",
            other => panic!("{other:?}"),
        };
        assert_eq!(word, expected, "{name}");
    }
}

#[tokio::test]
async fn only_a_stream_that_takes_records_passes_the_check() {
    let made = kinesis();
    for (reply, passes) in [
        (summary("ACTIVE"), true),
        (summary("UPDATING"), true),
        (summary("DELETING"), false),
        (error("ResourceNotFoundException"), false),
        (Reply::status(200, "OK"), false),
    ] {
        let session = Session::scripted(&made.terms(), vec![reply]);
        assert_eq!(made.destination.check(&session).await.is_ok(), passes);
        let body = String::from_utf8_lossy(&session.captured()[0].body).into_owned();
        assert_eq!(body, r#"{"StreamName":"customers"}"#);
    }
}

/// The largest batch that the dispatcher may make: as many messages as fit into `SPEC.batch`.
fn largest(made: &Configured) -> Batch {
    let text = "\u{1f3ea}".repeat(1700);
    let message = || {
        let values = [("city", json!(text))];
        made.message(Call::Identify, MARA, Change::Changed, &values)
    };
    let size = batch([message()]).encoded().unwrap()[0].len();
    let rows = SPEC.batch.max_rows.min(SPEC.batch.bytes / size);
    batch((0..rows).map(|_| message()))
}

#[tokio::test]
async fn the_largest_batch_stays_below_the_limits_of_a_request() {
    let made = kinesis();
    let said = made.converse(&largest(&made), Vec::new()).await;
    let body = &said.captured[0].body;
    let records =
        serde_json::from_slice::<Value>(body).unwrap()["Records"].as_array().unwrap().len();
    assert!(records > 490 && records <= 500, "{records}");
    assert!(body.len() > 4_500_000 && body.len() <= 5 << 20, "{}", body.len());
}
