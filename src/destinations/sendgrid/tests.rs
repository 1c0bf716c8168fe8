//! What SendGrid is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::json;

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target};
use crate::destinations::{
    Batch, Configured, Delivery, Fault, Field, FieldKind, Outcome, Remote, Target,
};
use crate::record::{Call, Change, Value};

use super::fields::{Dates, FieldType, Written, write};

/// Knows every field, and finishes every import at once.
pub(crate) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("sendgrid.com").map_or("", |(_, path)| path);
    match (request.method.as_str(), path) {
        ("GET", "/v3/marketing/field_definitions") => definitions(&[
            ("e1_N", "ltv_90d", "Number"),
            ("e2_T", "VIP", "Text"),
            ("e4_N", "flag", "Number"),
        ]),
        ("PUT", _) => submitted(),
        _ => import("completed", &json!({"requested_count": 3, "updated_count": 3})),
    }
}

fn definitions(fields: &[(&str, &str, &str)]) -> Reply {
    let field =
        |(id, name, kind): &(&str, &str, &str)| json!({"id": id, "name": name, "field_type": kind});
    let fields: Vec<_> = fields.iter().map(field).collect();
    let reserved = ["city", "whatsapp"].map(|name| json!({"name": name, "field_type": "Text"}));
    Reply::json(&json!({"custom_fields": fields, "reserved_fields": reserved}))
}

fn known() -> Reply {
    definitions(&[("e1_N", "ltv_90d", "Number"), ("e2_T", "vip", "Text")])
}

fn submitted() -> Reply {
    Reply::status(202, json!({"job_id": "7c1f"}).to_string())
}

fn import(status: &str, results: &serde_json::Value) -> Reply {
    Reply::json(&json!({"id": "7c1f", "status": status, "job_type": "upsert", "results": results}))
}

fn errors(status: u16, message: &str) -> Reply {
    let error = json!({"message": message, "field": null});
    Reply::status(status, json!({"errors": [error]}).to_string())
}

fn made(more: &str) -> Configured {
    configured(&format!("[destinations.s]\ntype = \"sendgrid\"\napi_key = \"${{K}}\"\n{more}"))
        .unwrap()
}

fn asked(name: &str, kind: FieldKind) -> Target {
    Target { fields: vec![Field { name: name.into(), kind }], ..target() }
}

fn three(made: &Configured) -> Batch {
    batch([MARA, IVO, ZOE].map(|user| made.audience(Call::Identify, user, Change::Entered)))
}

/// What becomes of three contacts whose import is answered so.
async fn imported(more: &str, replies: Vec<Reply>) -> Conversation {
    let made = made(more);
    let replies = [known(), submitted()].into_iter().chain(replies).collect();
    made.converse(&three(&made), replies).await
}

#[tokio::test(start_paused = true)]
async fn requests() {
    let made = made("");
    let mut shown = String::new();
    for (kind, batch) in made.batches() {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        let body = wire.lines().find(|line| line.starts_with("PUT")).unwrap();
        shown.push_str(&format!("{kind} {}\n", body.replace("https://api.sendgrid.com", "")));
    }
    assert_snapshot!(shown, @r#"
    audience PUT /v3/marketing/contacts {"contacts":[{"email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind","custom_fields":{"e2_T":"true"}}]}
    exit PUT /v3/marketing/contacts {"contacts":[{"email":"ivo@example.org","first_name":"Ivo","last_name":"Ban","custom_fields":{"e2_T":"false"}}]}
    identify PUT /v3/marketing/contacts {"contacts":[{"email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind","custom_fields":{"e1_N":812.4}}]}
    null PUT /v3/marketing/contacts {"contacts":[{"email":"ivo@example.org","first_name":"Ivo","last_name":"Ban","custom_fields":{"e1_N":null}}]}
    several PUT /v3/marketing/contacts {"contacts":[{"email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind","custom_fields":{"e1_N":812.4}},{"email":"ivo@example.org","first_name":"Ivo","last_name":"Ban","custom_fields":{"e1_N":7.0}},{"email":"zoe+shop@example.org","first_name":"Zoë","last_name":"Aksoy","custom_fields":{"e1_N":-3.5}}]}
    unicode PUT /v3/marketing/contacts {"contacts":[{"email":"zoe+shop@example.org","city":"Zürich 🏪 \"A\" ","first_name":"Zoë","last_name":"Aksoy"}]}
    "#);
}

#[tokio::test(start_paused = true)]
async fn fields_are_asked_for_once_and_a_job_is_asked_after() {
    let made = made("");
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    for _ in 0..2 {
        made.converse_through(&session, &three(&made)).await.outcomes();
    }
    let calls = session.captured();
    let calls = calls.iter().map(|call| format!("{} {}\n", call.method, call.url));
    assert_snapshot!(calls.collect::<String>(), @r"
    GET https://api.sendgrid.com/v3/marketing/field_definitions
    PUT https://api.sendgrid.com/v3/marketing/contacts
    GET https://api.sendgrid.com/v3/marketing/contacts/imports/7c1f
    PUT https://api.sendgrid.com/v3/marketing/contacts
    GET https://api.sendgrid.com/v3/marketing/contacts/imports/7c1f
    ");
    let said =
        imported("", vec![import("pending", &json!({})), import("pending", &json!({}))]).await;
    assert_eq!(said.captured.len(), 5);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn the_handle_holds_no_emails() {
    let made = made("");
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let delivery = made.destination.deliver(&session, &Remote::default(), &three(&made)).await;
    let Ok(Delivery::Submitted(job)) = delivery else { panic!("{delivery:?}") };
    assert_snapshot!(job.handle, @r#"{"job":"7c1f","marks":["fea464bda052","d80de76a120a","a7165e860eff"]}"#);
}

#[tokio::test]
async fn every_type_of_field_has_its_writing() {
    let values = [
        ("flag", json!(true)),
        ("vip", json!("gold")),
        ("city", json!(null)),
        ("ltv_90d", json!(7)),
    ];
    let made = made("");
    let message = made.message(Call::Identify, MARA, Change::Changed, &values);
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    made.destination.deliver(&session, &Remote::default(), &batch([message])).await.unwrap();
    let body = String::from_utf8(session.captured().pop().unwrap().body.to_vec()).unwrap();
    assert_snapshot!(body, @r#"{"contacts":[{"email":"mara.lind@example.org","city":"","first_name":"Mara","last_name":"Lind","custom_fields":{"e4_N":1,"e2_T":"gold","e1_N":7}}]}"#);
}

#[test]
fn values_are_written_for_their_field_or_not_at_all() {
    let dated = |value, dates| match write(value, FieldType::Date, dates) {
        Some(Written::Text(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(dated(Value::Date(10_378), Dates::Us), "06/01/1998");
    assert_eq!(dated(Value::Date(10_378), Dates::Iso), "1998-06-01");
    assert_eq!(dated(Value::Timestamp(1_000_000), Dates::Us), "01/01/1970");
    assert_eq!(dated(Value::Timestamp(1_000_000), Dates::Iso), "1970-01-01T00:00:01Z");
    assert!(write(Value::Text("soon"), FieldType::Date, Dates::Us).is_none());
    assert!(write(Value::Text("many"), FieldType::Number, Dates::Us).is_none());
    let nan = write(Value::Float(f64::NAN), FieldType::Number, Dates::Us);
    assert!(matches!(nan, Some(Written::Null)));
    let nested = write(Value::Json("[1]".into()), FieldType::Text, Dates::Us);
    assert!(matches!(nested, Some(Written::Text(text)) if text == "[1]"));
}

#[tokio::test(start_paused = true)]
async fn contacts_that_the_file_names_are_rejected() {
    let results = json!({"errored_count": 1, "errors_url": "https://files.example.org/err.csv"});
    let file = "email,message\n\"IVO@example.org\",invalid email\nnobody@example.org,x\n";
    let replies = vec![import("errored", &results), Reply::status(200, file)];
    let said = imported("errors_host = \"files.example.org\"\n", replies).await;
    let fetched = said.captured.last().unwrap();
    assert_eq!(fetched.url, "https://files.example.org/err.csv");
    assert!(fetched.headers.is_empty(), "{:?}", fetched.headers);
    assert!(said.notices.is_empty());
    let reason = "\"IVO@example.org\",invalid email".to_owned();
    assert_eq!(
        said.outcomes(),
        [Outcome::Delivered, Outcome::Rejected { reason }, Outcome::Delivered]
    );
}

#[tokio::test(start_paused = true)]
async fn a_file_on_a_host_that_nobody_named_is_not_fetched() {
    for url in ["https://files.example.org/err.csv", "http://api.sendgrid.com/err.csv", "junk"] {
        let results = json!({"errored_count": 2, "errors_url": url});
        let said = imported("", vec![import("errored", &results)]).await;
        assert!(said.captured.iter().all(|call| !call.url.contains("err.csv")));
        let outcomes = said.outcomes();
        assert_eq!(outcomes.len(), 3);
        let is_open = |row: &Outcome| matches!(row, Outcome::Unsettled { reason } if reason.contains("`errors_host`"));
        assert!(outcomes.iter().all(is_open), "{outcomes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn unless_the_file_names_all_the_others_are_not_known() {
    let more = "errors_host = \"files.example.org\"\n";
    let results = |count| {
        import(
            "errored",
            &json!({"errored_count": count, "errors_url": "https://files.example.org/err.csv"}),
        )
    };
    let file = || Reply::status(200, "ivo@example.org: no\n");
    let words = |outcomes: Vec<Outcome>| {
        let word = |outcome: &Outcome| match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Rejected { reason } if reason.contains("ivo@example.org") => "named",
            Outcome::Rejected { .. } => "rejected",
            Outcome::Unsettled { .. } => "unsettled",
            Outcome::Retry { .. } => "retry",
        };
        outcomes.iter().map(word).collect::<Vec<_>>().join(" ")
    };
    let said = words(imported(more, vec![results(1), file()]).await.outcomes());
    assert_eq!(said, "delivered named delivered");
    let said = words(imported(more, vec![results(2), file()]).await.outcomes());
    assert_eq!(said, "unsettled named unsettled");
    let said = words(imported(more, vec![results(3), file()]).await.outcomes());
    assert_eq!(said, "rejected named rejected");
    for status in [403, 404] {
        let gone = Reply::status(status, "expired");
        let said = words(imported(more, vec![results(1), gone]).await.outcomes());
        assert_eq!(said, "unsettled unsettled unsettled");
    }
}

#[tokio::test(start_paused = true)]
async fn an_import_that_failed_as_a_whole_rejects_every_contact() {
    for (status, results) in [("failed", json!({})), ("errored", json!({"errored_count": 3}))] {
        let said = imported("", vec![import(status, &results)]).await;
        let reason = "SendGrid could use no contact of its import `7c1f`".to_owned();
        assert_eq!(said.outcomes(), vec![Outcome::Rejected { reason }; 3]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_import_that_cannot_be_read_leaves_its_contacts_unsettled() {
    let said = imported("", vec![errors(404, "not found")]).await;
    assert!(said.outcomes().iter().all(|row| matches!(row, Outcome::Unsettled { .. })));
    for reply in [import("done", &json!({})), import("errored", &json!({"errored_count": 0}))] {
        let said = imported("", vec![reply]).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_import_rejects_the_request() {
    for status in [400, 413] {
        let made = made("");
        let replies = vec![known(), errors(status, "contacts[1].email is invalid")];
        let said = made.converse(&three(&made), replies).await;
        assert!(matches!(said.result, Err(Fault::Rejected { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_limit_is_waited_for() {
    let slow = errors(429, "too many requests")
        .with_header("x-ratelimit-remaining", "0")
        .with_header("x-ratelimit-reset", "40");
    let started = tokio::time::Instant::now();
    let made = made("");
    let said = made.converse(&three(&made), vec![known(), slow]).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert_eq!(started.elapsed().as_secs(), 40);
}

#[tokio::test]
async fn fields_that_are_missing_are_created_once() {
    let made = made("");
    let created = json!({"id": "e9_N", "name": "orders_2026", "field_type": "Number"});
    let replies = vec![known(), Reply::json(&created)];
    let session = Session::served(&made.terms(), replies, made.server());
    for _ in 0..2 {
        let wanted = asked("Orders 2026", FieldKind::Integer);
        assert_eq!(made.destination.open(&session, &wanted).await, Ok(Remote::default()));
    }
    let calls = session.captured();
    assert_eq!(calls.len(), 2);
    assert_snapshot!(String::from_utf8_lossy(&calls[1].body), @r#"{"field_type":"Number","name":"orders_2026"}"#);
}

#[tokio::test]
async fn a_field_that_cannot_be_used_stops_the_sync() {
    let open = |more: &'static str, target: Target, replies| async move {
        let made = made(more);
        let session = Session::served(&made.terms(), replies, made.server());
        made.destination.open(&session, &target).await.unwrap_err().to_string()
    };
    let orders = || asked("orders", FieldKind::Integer);
    let told = [
        open("", asked("ltv_90d", FieldKind::Text), vec![]).await,
        open("", asked("WhatsApp", FieldKind::Text), vec![]).await,
        open("create_fields = false\n", orders(), vec![]).await,
        open("", orders(), vec![known(), errors(400, "too many fields")]).await,
    ];
    assert_snapshot!(told.join("\n"), @r#"
    misconfigured: SendGrid's field `ltv_90d` is of type Number, not Text: rename the trait or the field
    misconfigured: `whatsapp` is a field of SendGrid's own: rename the trait
    misconfigured: SendGrid has no custom field `orders` (Number): create it there or leave `create_fields` on
    misconfigured: SendGrid does not create the field `orders` (Number): HTTP 400 Bad Request: {"errors":[{"field":null,"message":"too many fields"}]}
    "#);
}

#[test]
fn names_and_what_cannot_be_one() {
    let made = made("");
    let named = |name| made.destination.field_name(name);
    assert_eq!(named("Total Spend-2026"), "total_spend_2026");
    assert_eq!(named("90d"), "_90d");
    let told = |name: &str| made.destination.objections(&asked(name, FieldKind::Text));
    assert_eq!(told("city"), Vec::<String>::new());
    assert_eq!(told("External ID"), ["`External ID` is a field of SendGrid's own"]);
    assert_eq!(told(&"x".repeat(101)).len(), 1);
}

#[tokio::test]
async fn a_full_batch_fits_and_what_does_not_is_not_sent() {
    let made = made("");
    let message = |length: usize| {
        let value = json!("\u{1f3ea}".repeat(length));
        made.message(Call::Identify, MARA, Change::Changed, &[("vip", value)])
    };
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let remote = Remote::default();
    let full = batch((0..4500).map(|_| message(150)));
    let canonical: usize = full.encoded().unwrap().iter().map(bytes::Bytes::len).sum();
    assert!(canonical < made.spec.batch.bytes && full.len() < made.spec.batch.rows);
    made.destination.deliver(&session, &remote, &full).await.unwrap();
    let body = session.captured().pop().unwrap().body;
    assert!(body.len() < canonical, "{} of {canonical}", body.len());
    let oversized = batch((0..6).map(|_| message(250_000)));
    let fault = made.destination.deliver(&session, &remote, &oversized).await;
    assert!(matches!(fault, Err(Fault::Rejected { .. })));
    assert_eq!(session.captured().len(), 2);
}

#[tokio::test]
async fn the_region_decides_the_address() {
    let made = made("region = \"eu\"\n");
    let session = Session::served(&made.terms(), vec![known()], made.server());
    made.destination.check(&session).await.unwrap();
    let asked = &session.captured()[0].url;
    assert_eq!(asked, "https://api.eu.sendgrid.com/v3/marketing/field_definitions");
}
