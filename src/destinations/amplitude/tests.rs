//! What Amplitude is sent, and what its replies mean.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply};
use crate::destinations::fixture::{
    ACCOUNT, Conversation, MARA, User, ZOE, batch, configured, target, told,
};
use crate::destinations::{Batch, Configured, Fault, Field, FieldKind, Notice, Outcome, Target};
use crate::record::{Call, Change, Value};

/// Takes everything.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    if request.url.ends_with("/groupidentify") {
        return Reply::status(200, "success");
    }
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    taken(body["events"].as_array().map_or(0, Vec::len))
}

fn taken(events: usize) -> Reply {
    Reply::json(&json!({"code": 200, "events_ingested": events, "payload_size_bytes": 50,
        "server_upload_time": 1_396_381_378_123_i64}))
}

fn refused(status: u16, mut body: Json) -> Reply {
    body["code"] = status.into();
    Reply::status(status, body.to_string())
}

fn amplitude(more: &str) -> Configured {
    let text =
        format!("[destinations.amplitude]\ntype = \"amplitude\"\napi_key = \"${{KEY}}\"\n{more}");
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

async fn wire(made: &Configured) -> String {
    let mut shown = String::new();
    for (name, batch) in made.batches() {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        shown.push_str(&format!("{name}: {}", wire.replace("https://api2.amplitude.com", "")));
    }
    shown
}

async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = amplitude("");
    made.converse(&made.several(), replies).await
}

/// Users of the rows of every request.
fn users(said: &Conversation) -> Vec<Vec<String>> {
    let of = |request: &Captured| {
        let body: Json = serde_json::from_slice(&request.body).unwrap();
        let rows = body["events"].as_array().unwrap().iter();
        rows.map(|row| row["user_id"].as_str().unwrap().to_owned()).collect()
    };
    said.captured.iter().map(of).collect()
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: reason.into() }
}

fn later(seconds: u64, reason: &str) -> Outcome {
    let reason = format!("Amplitude has taken too many events of this user {reason}");
    Outcome::Retry { after: Some(Duration::from_secs(seconds)), reason }
}

#[tokio::test]
async fn requests() {
    assert_snapshot!(wire(&amplitude("")).await, @r#"
    audience: POST /batch {"events":[{"user_id":"u_8841","event_type":"$identify","time":1795165200000,"insert_id":"755f3838343100000000000000000000","user_properties":{"$set":{"email":"mara.lind@example.org","vip":true}}}],"api_key":"[secret]","options":{"min_id_length":1}}
    computed: POST /batch {"events":[{"user_id":"u_8841","event_type":"Trait Computed","time":1795165200000,"insert_id":"755f3838343100000000000000000000","event_properties":{"ltv_90d":812.4,"trait_key":"ltv_90d"}}],"api_key":"[secret]","options":{"min_id_length":1}}
    exit: POST /batch {"events":[{"user_id":"u_8842","event_type":"$identify","time":1795165200000,"insert_id":"755f3838343200000000000000000000","user_properties":{"$set":{"email":"ivo@example.org","vip":false}}}],"api_key":"[secret]","options":{"min_id_length":1}}
    group: POST /groupidentify api_key=[secret]&identification=%5B%7B%22group_type%22%3A%22account%22%2C%22group_value%22%3A%22acct_310%22%2C%22group_properties%22%3A%7B%22%24set%22%3A%7B%22seats_used%22%3A41%7D%7D%7D%5D
    identify: POST /batch {"events":[{"user_id":"u_8841","event_type":"$identify","time":1795165200000,"insert_id":"755f3838343100000000000000000000","user_properties":{"$set":{"email":"mara.lind@example.org","ltv_90d":812.4}}}],"api_key":"[secret]","options":{"min_id_length":1}}
    null: POST /batch {"events":[{"user_id":"u_8842","event_type":"$identify","time":1795165200000,"insert_id":"755f3838343200000000000000000000","user_properties":{"$set":{"email":"ivo@example.org"},"$unset":{"ltv_90d":"-"}}}],"api_key":"[secret]","options":{"min_id_length":1}}
    several: POST /batch {"events":[{"user_id":"u_8841","event_type":"$identify","time":1795165200000,"insert_id":"755f3838343100000000000000000000","user_properties":{"$set":{"email":"mara.lind@example.org","ltv_90d":812.4}}},{"user_id":"u_8842","event_type":"$identify","time":1795165200000,"insert_id":"755f3838343200000000000000000000","user_properties":{"$set":{"email":"ivo@example.org","ltv_90d":7.0}}},{"user_id":"zoë","event_type":"$identify","time":1795165200000,"insert_id":"7a6fc3ab000000000000000000000000","user_properties":{"$set":{"email":"zoe+shop@example.org","ltv_90d":-3.5}}}],"api_key":"[secret]","options":{"min_id_length":1}}
    track: POST /batch {"events":[{"user_id":"u_8841","event_type":"Audience Entered","time":1795165200000,"insert_id":"755f3838343100000000000000000000","event_properties":{"audience_key":"vip","vip":true}}],"api_key":"[secret]","options":{"min_id_length":1}}
    track exit: POST /batch {"events":[{"user_id":"u_8842","event_type":"Audience Exited","time":1795165200000,"insert_id":"755f3838343200000000000000000000","event_properties":{"audience_key":"vip","vip":false}}],"api_key":"[secret]","options":{"min_id_length":1}}
    unicode: POST /batch {"events":[{"user_id":"zoë","event_type":"$identify","time":1795165200000,"insert_id":"7a6fc3ab000000000000000000000000","user_properties":{"$set":{"city":"Zürich 🏪 \"A\" ","email":"zoe+shop@example.org"}}}],"api_key":"[secret]","options":{"min_id_length":1}}
    "#);
}

#[tokio::test]
async fn options_show_on_the_wire() {
    let shown =
        wire(&amplitude("send_email = false\ngroup_type = \"org\"\nregion = \"eu\"\n")).await;
    let of = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert_snapshot!(of("identify: ") + "\n" + &of("group: "), @r#"
    identify: POST https://api.eu.amplitude.com/batch {"events":[{"user_id":"u_8841","event_type":"$identify","time":1795165200000,"insert_id":"755f3838343100000000000000000000","user_properties":{"$set":{"ltv_90d":812.4}}}],"api_key":"[secret]","options":{"min_id_length":1}}
    group: POST https://api.eu.amplitude.com/groupidentify api_key=[secret]&identification=%5B%7B%22group_type%22%3A%22org%22%2C%22group_value%22%3A%22acct_310%22%2C%22group_properties%22%3A%7B%22%24set%22%3A%7B%22seats_used%22%3A41%7D%7D%7D%5D
    "#);
}

#[test]
fn times_have_one_form_and_long_texts_are_refused() {
    let written =
        |value| super::short("x", value).map(|value| serde_json::to_string(&value).unwrap());
    let time = written(Value::Timestamp(1_795_165_200_500_000));
    assert_eq!(time.as_deref(), Ok("\"2026-11-20T09:00:00\""));
    assert!(written(Value::Timestamp(i64::MAX)).is_err());
    assert_eq!(written(Value::Date(20_777)).as_deref(), Ok("\"2026-11-20\""));
    let (fits, long) = ("é".repeat(1024), "é".repeat(1025));
    assert!(written(Value::Text(&fits)).is_ok());
    let refused = written(Value::Text(&long));
    assert_eq!(refused, Err("`x` has 1025 characters; Amplitude takes at most 1024".into()));
}

#[tokio::test]
async fn nobodies_and_long_texts_are_rejected_alone_and_unsent() {
    let made = amplitude("");
    let nobody = User { id: "undefined", ..MARA };
    let of =
        |user, value: Json| made.message(Call::Identify, user, Change::Changed, &[("x", value)]);
    let mixed = batch([
        of(nobody, json!(1)),
        of(ZOE, json!("y".repeat(1025))),
        of(MARA, json!("y".repeat(1024))),
    ]);
    let said = made.converse(&mixed, Vec::new()).await;
    assert_eq!(users(&said), [[MARA.id]]);
    assert_eq!(
        said.outcomes(),
        [
            rejected("its id is one of those that Amplitude takes for nobody's"),
            rejected("`x` has 1025 characters; Amplitude takes at most 1024"),
            Outcome::Delivered,
        ]
    );
}

/// Messages of three events each.
fn large(made: &Configured, call: Call, user: User, rows: usize) -> Batch {
    let long = "\u{e9}".repeat(1000);
    let values = ["a", "b", "c"].map(|name| (name, json!(long)));
    batch((0..rows).map(|_| made.message(call, user, Change::Changed, &values)))
}

#[tokio::test]
async fn no_request_is_larger_than_amplitude_takes() {
    for (more, rows, most) in [("", 100, 100), ("batch_size = 2000\n", 2000, 2000)] {
        let made = amplitude(more);
        let said = made.converse(&large(&made, Call::Track, MARA, rows), Vec::new()).await;
        let sizes: Vec<usize> = users(&said).iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| *size <= most), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), 3 * rows);
        assert!(said.captured.iter().all(|request| request.body.len() < 20_000_000));
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; rows]);
    }
    let made = amplitude("batch_size = 2000\n");
    let said = made.converse(&large(&made, Call::Group, ACCOUNT, 500), Vec::new()).await;
    assert!(said.captured.len() > 1);
    assert!(said.captured.iter().all(|request| request.body.len() < 1_000_000));
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 500]);
}

#[tokio::test]
async fn rows_at_fault_are_set_aside_and_the_others_sent_again() {
    let first = json!({"error": "Request missing required field",
        "events_with_missing_fields": {"event_type": [1]},
        "events_with_invalid_fields": {"time": [1]}});
    let second =
        json!({"error": "Invalid id length", "events_with_invalid_id_lengths": {"user_id": [0]}});
    let said = answered(vec![refused(400, first), refused(400, second)]).await;
    assert_eq!(users(&said), [vec!["u_8841", "u_8842", "zoë"], vec!["u_8841", "zoë"], vec!["zoë"]]);
    assert_eq!(
        said.outcomes(),
        [
            rejected("it has a too short `user_id`: Invalid id length"),
            rejected(
                "it lacks `event_type`: Request missing required field; it has an invalid `time`: \
                 Request missing required field"
            ),
            Outcome::Delivered,
        ]
    );
}

#[tokio::test]
async fn silenced_rows_are_rejected_and_slowed_ones_wait() {
    let body = json!({"error": "Events silenced for device_id", "silenced_events": [0],
        "silenced_devices": ["d"], "throttled_events": [2], "eps_threshold": 100});
    let said = answered(vec![refused(400, body)]).await;
    assert_eq!(users(&said)[1], ["u_8842"]);
    let silenced = rejected("Amplitude silences it");
    assert_eq!(said.outcomes(), [silenced, Outcome::Delivered, later(30, "for the moment")]);
}

#[tokio::test]
async fn users_who_send_too_much_wait_alone() {
    let body = json!({"error": "Too many requests for some devices and users",
        "eps_threshold": 1000, "throttled_users": {"u_8841": 4000}, "throttled_devices": {},
        "exceeded_daily_quota_users": {"zoë": 500_200}, "throttled_events": [0, 2]});
    let said = answered(vec![refused(429, body)]).await;
    assert_eq!(users(&said)[1], ["u_8842"]);
    assert_eq!(
        said.outcomes(),
        [later(30, "for the moment"), Outcome::Delivered, later(86_400, "today")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_down_that_names_nobody_closes_the_gate() {
    let started = tokio::time::Instant::now();
    let said = answered(vec![refused(429, json!({"error": "Too many requests"}))]).await;
    assert!(!started.elapsed().is_zero());
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_refusal_that_names_no_row_is_halved_and_a_wrong_key_halts() {
    for reply in [
        refused(400, json!({"error": "Request missing required field", "missing_field": "events"})),
        refused(413, json!({"error": "Payload too large"})),
        Reply::status(400, "invalid json"),
    ] {
        let said = answered(vec![reply]).await;
        assert!(matches!(said.result, Err(Fault::Rejected { .. })), "{:?}", said.result);
    }
    let said = answered(vec![refused(400, json!({"error": "Invalid API key: abc"}))]).await;
    assert!(matches!(said.result, Err(Fault::Denied { .. })));
}

#[tokio::test]
async fn rows_that_were_not_sent_are_not_believed() {
    for body in [
        json!({"error": "no", "events_with_missing_fields": {"time": [3]}}),
        json!({"error": "no", "throttled_users": {"somebody": 1}}),
    ] {
        let said = answered(vec![refused(400, body)]).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{:?}", said.result);
    }
}

#[tokio::test]
async fn what_amplitude_does_not_count_is_told() {
    let said = answered(vec![taken(2)]).await;
    let reason = "Amplitude counts fewer events as taken than it was sent".into();
    assert_eq!(said.notices, [Notice { count: 1, reason }]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    let said = answered(vec![taken(50)]).await;
    assert_eq!((said.notices.len(), said.outcomes()), (0, vec![Outcome::Delivered; 3]));
    let other = Reply::json(&json!({"code": 500, "events_ingested": 3}));
    let said = answered(vec![other]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
}

#[test]
fn operations_are_no_names() {
    let field = |name: &str| Field { name: name.into(), kind: FieldKind::Text };
    let target = Target { fields: vec![field("$set"), field("fine")], ..target() };
    assert_snapshot!(amplitude("").destination.objections(&target).join("\n"), @"the field `$set` begins with `$`, which Amplitude reads as an operation");
}
