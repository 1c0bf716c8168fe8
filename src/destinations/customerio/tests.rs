//! What Customer.io is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    ACCOUNT, Conversation, IVO, MARA, ZOE, batch, configured, target, told,
};
use crate::destinations::{Configured, Fault, Field, FieldKind, Outcome, Target};
use crate::project::ModelKind;
use crate::record::{Call, Change, Value};

/// All is well.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    if request.url.ends_with("/api/v1/accounts/region") {
        let url = "https://track.customer.io";
        return Reply::json(&json!({"url": url, "region": "us", "environment_id": 3}));
    }
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    match body["batch"].as_array() {
        Some(entries) if !entries.is_empty() => Reply::json(&json!({})),
        _ => Reply::status(
            400,
            json!({"errors": [{"reason": "required", "field": "batch"}]}).to_string(),
        ),
    }
}

fn customerio(more: &str) -> Configured {
    let text = format!(
        "[destinations.c]\ntype = \"customerio\"\nsite_id = \"${{SITE}}\"\napi_key = \"${{KEY}}\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

/// The bodies of all kinds of batches.
async fn bodies(made: &Configured) -> String {
    let mut shown = String::new();
    for (name, batch) in made.batches() {
        let said = made.converse(&batch, Vec::new()).await;
        for request in said.captured {
            assert_eq!(request.url, "https://track-eu.customer.io/api/v2/batch");
            let body = String::from_utf8_lossy(&request.body);
            let entries = body.strip_prefix("{\"batch\":[").unwrap().strip_suffix("]}").unwrap();
            shown.push_str(&format!("{name}: {entries}\n"));
        }
    }
    shown
}

async fn answered(made: &Configured, status: u16, body: Json) -> Conversation {
    made.converse(&made.several(), vec![Reply::status(status, body.to_string())]).await
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: reason.into() }
}

#[tokio::test]
async fn a_person_is_an_id_with_its_preferred_email_and_an_account_an_object() {
    let made = customerio("region = \"eu\"\nobject_type_id = \"2\"\n");
    assert_snapshot!(bodies(&made).await, @r#"
    audience: {"type":"person","action":"identify","identifiers":{"id":"u_8841"},"attributes":{"vip":true,"email":"mara.lind@example.org"}}
    computed: {"type":"person","action":"event","identifiers":{"id":"u_8841"},"name":"Trait Computed","id":"3NBWW3GD1H0000000000000000","timestamp":1795165200,"attributes":{"trait_key":"ltv_90d","ltv_90d":812.4}}
    exit: {"type":"person","action":"identify","identifiers":{"id":"u_8842"},"attributes":{"vip":false,"email":"ivo@example.org"}}
    group: {"type":"object","action":"identify","identifiers":{"object_type_id":"2","object_id":"acct_310"},"attributes":{"seats_used":41}}
    identify: {"type":"person","action":"identify","identifiers":{"id":"u_8841"},"attributes":{"ltv_90d":812.4,"email":"mara.lind@example.org"}}
    null: {"type":"person","action":"identify","identifiers":{"id":"u_8842"},"attributes":{"ltv_90d":"","email":"ivo@example.org"}}
    several: {"type":"person","action":"identify","identifiers":{"id":"u_8841"},"attributes":{"ltv_90d":812.4,"email":"mara.lind@example.org"}},{"type":"person","action":"identify","identifiers":{"id":"u_8842"},"attributes":{"ltv_90d":7.0,"email":"ivo@example.org"}},{"type":"person","action":"identify","identifiers":{"id":"zoë"},"attributes":{"ltv_90d":-3.5,"email":"zoe+shop@example.org"}}
    track: {"type":"person","action":"event","identifiers":{"id":"u_8841"},"name":"Audience Entered","id":"3NBWW3GD1H0000000000000000","timestamp":1795165200,"attributes":{"audience_key":"vip","vip":true}}
    track exit: {"type":"person","action":"event","identifiers":{"id":"u_8842"},"name":"Audience Exited","id":"3NBWW3GD1J0000000000000000","timestamp":1795165200,"attributes":{"audience_key":"vip","vip":false}}
    unicode: {"type":"person","action":"identify","identifiers":{"id":"zoë"},"attributes":{"city":"Zürich 🏪 \"A\" ","email":"zoe+shop@example.org"}}
    "#);
}

#[tokio::test]
async fn by_email_no_id_travels() {
    let made = customerio("region = \"eu\"\nidentify_by = \"email\"\nobject_type_id = \"2\"\n");
    assert_snapshot!(bodies(&made).await, @r#"
    audience: {"type":"person","action":"identify","identifiers":{"email":"mara.lind@example.org"},"attributes":{"vip":true}}
    computed: {"type":"person","action":"event","identifiers":{"email":"mara.lind@example.org"},"name":"Trait Computed","id":"3DC5S62BKCD5Q68G35F1GPTW3C","timestamp":1795165200,"attributes":{"trait_key":"ltv_90d","ltv_90d":812.4}}
    exit: {"type":"person","action":"identify","identifiers":{"email":"ivo@example.org"},"attributes":{"vip":false}}
    group: {"type":"object","action":"identify","identifiers":{"object_type_id":"2","object_id":"acct_310"},"attributes":{"seats_used":41}}
    identify: {"type":"person","action":"identify","identifiers":{"email":"mara.lind@example.org"},"attributes":{"ltv_90d":812.4}}
    null: {"type":"person","action":"identify","identifiers":{"email":"ivo@example.org"},"attributes":{"ltv_90d":""}}
    several: {"type":"person","action":"identify","identifiers":{"email":"mara.lind@example.org"},"attributes":{"ltv_90d":812.4}},{"type":"person","action":"identify","identifiers":{"email":"ivo@example.org"},"attributes":{"ltv_90d":7.0}},{"type":"person","action":"identify","identifiers":{"email":"zoe+shop@example.org"},"attributes":{"ltv_90d":-3.5}}
    track: {"type":"person","action":"event","identifiers":{"email":"mara.lind@example.org"},"name":"Audience Entered","id":"3DC5S62BKCD5Q68G35F1GPTW3C","timestamp":1795165200,"attributes":{"audience_key":"vip","vip":true}}
    track exit: {"type":"person","action":"event","identifiers":{"email":"ivo@example.org"},"name":"Audience Exited","id":"39ESQM0SBRC5PQ0V355SQQ4SR0","timestamp":1795165200,"attributes":{"audience_key":"vip","vip":false}}
    unicode: {"type":"person","action":"identify","identifiers":{"email":"zoe+shop@example.org"},"attributes":{"city":"Zürich 🏪 \"A\" "}}
    "#);
}

#[tokio::test]
async fn options_show_on_the_wire() {
    let made = customerio(
        "region = \"eu\"\nsend_email = false\nupdate_existing_only = true\nobject_type_id = \"2\"\n",
    );
    let shown = bodies(&made).await;
    let lines = shown
        .lines()
        .filter(|line| ["identify", "group", "track:"].iter().any(|kind| line.starts_with(kind)));
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    group: {"type":"object","action":"identify","identifiers":{"object_type_id":"2","object_id":"acct_310"},"attributes":{"seats_used":41}}
    identify: {"type":"person","action":"identify","identifiers":{"id":"u_8841"},"attributes":{"ltv_90d":812.4,"_update":true}}
    track: {"type":"person","action":"event","identifiers":{"id":"u_8841"},"name":"Audience Entered","id":"3NBWW3GD1H0000000000000000","timestamp":1795165200,"attributes":{"audience_key":"vip","vip":true}}
    "#);
}

#[tokio::test]
async fn the_request_is_authorised_by_site_and_key() {
    let said = customerio("").converse(&customerio("").several(), Vec::new()).await;
    let headers: Vec<_> =
        said.captured[0].headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(headers, ["authorization: [secret]", "content-type: application/json"]);
    assert_eq!(said.captured[0].url, "https://track.customer.io/api/v2/batch");
}

#[tokio::test]
async fn a_base_url_replaces_every_address() {
    let made = customerio("base_url = \"http://127.0.0.1:9/cio/\"\n");
    let session = Session::served(&made.terms(), Vec::new(), server);
    made.destination.check(&session).await.unwrap();
    made.converse_through(&session, &made.several()).await.outcomes();
    let urls: Vec<_> = session.captured().into_iter().map(|request| request.url).collect();
    assert_eq!(
        urls,
        ["http://127.0.0.1:9/cio/api/v1/accounts/region", "http://127.0.0.1:9/cio/api/v2/batch"]
    );
}

#[tokio::test]
async fn a_second_event_of_a_message_has_an_id_of_its_own() {
    let made = customerio("");
    let two = [("ltv_90d", json!(1.5)), ("born", json!(null))];
    let message = made.message(Call::Track, MARA, Change::Changed, &two);
    let said = made.converse(&batch([message]), Vec::new()).await;
    assert_snapshot!(said.wire().replace("},{", "},\n{"), @r#"
    POST https://track.customer.io/api/v2/batch {"batch":[{"type":"person","action":"event","identifiers":{"id":"u_8841"},"name":"Trait Computed","id":"3NBWW3GD1H0000000000000000","timestamp":1795165200,"attributes":{"trait_key":"ltv_90d","ltv_90d":1.5}},
    {"type":"person","action":"event","identifiers":{"id":"u_8841"},"name":"Trait Computed","id":"4D86AGGYACVJPR1WCWKA1FTHM3","timestamp":1795165200,"attributes":{"trait_key":"born","born":null}}]}
    "#);
}

#[tokio::test]
async fn no_request_is_larger_than_customer_io_takes() {
    let made = customerio("");
    let text = "x".repeat(1000);
    let values: Vec<_> = ["a", "b"].into_iter().map(|name| (name, json!(text))).collect();
    for (call, entries) in [(Call::Identify, 1000), (Call::Track, 2000)] {
        let large = batch((0..1000).map(|_| made.message(call, MARA, Change::Changed, &values)));
        let said = made.converse(&large, Vec::new()).await;
        let mut sent = 0;
        for request in &said.captured {
            let body: Json = serde_json::from_slice(&request.body).unwrap();
            let rows = body["batch"].as_array().unwrap().len();
            assert!(request.body.len() < 500_000 && rows <= 1000);
            sent += rows;
        }
        assert_eq!(sent, entries);
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 1000]);
    }
}

#[tokio::test]
async fn what_exceeds_a_limit_is_rejected_alone_and_unsent() {
    let made = customerio("");
    let long = "x".repeat(1001);
    let many: Vec<(String, Json)> = (0..300).map(|n| (format!("t{n}"), json!(1))).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let of =
        |user, values: &[(&str, Json)]| made.message(Call::Identify, user, Change::Changed, values);
    let mixed =
        batch([of(MARA, &[("x", json!(long))]), of(IVO, &many), of(ZOE, &[("x", json!(1))])]);
    let said = made.converse(&mixed, Vec::new()).await;
    assert_eq!(said.captured.len(), 1);
    assert!(!String::from_utf8_lossy(&said.captured[0].body).contains("u_884"));
    assert_eq!(
        said.outcomes(),
        [
            rejected("`x` has 1001 bytes; Customer.io takes at most 1000"),
            rejected("it has 301 attributes; Customer.io takes at most 300"),
            Outcome::Delivered,
        ]
    );
    // Of events, only the size of the whole counts.
    let value = json!("x".repeat(32_000));
    let event = made.message(Call::Track, MARA, Change::Changed, &[("x", value)]);
    let said = made.converse(&batch([event]), Vec::new()).await;
    assert!(said.captured.is_empty());
    let outcomes = said.outcomes();
    let [Outcome::Rejected { reason }] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(reason.ends_with("the destination takes at most 32000"), "{reason}");
}

#[test]
fn dates_are_seconds_and_what_has_no_value_is_told_apart() {
    use super::entity::{has_no_value, in_seconds};
    assert_eq!(in_seconds(Value::Date(-1)), Value::Int(-86_400));
    assert_eq!(in_seconds(Value::Timestamp(-1)), Value::Int(-1));
    assert_eq!(in_seconds(Value::Timestamp(1_999_999)), Value::Int(1));
    assert_eq!(in_seconds(Value::Text("x")), Value::Text("x"));
    for (value, none) in
        [(Value::Null, true), (Value::Float(f64::NAN), true), (Value::Float(0.0), false)]
    {
        assert_eq!(has_no_value(&value), none);
    }
}

#[tokio::test]
async fn a_partial_success_names_the_rows_it_refuses() {
    let made = customerio("");
    let errors = json!([
        {"batch_index": 1, "reason": "invalid", "field": "attributes.bio", "message": "value too long"},
        {"batch_index": 1, "reason": "required"},
        {"batch_index": 2},
    ]);
    for status in [207, 200] {
        assert_eq!(
            answered(&made, status, json!({"errors": errors.clone()})).await.outcomes(),
            [
                Outcome::Delivered,
                rejected("`attributes.bio`: value too long (invalid); required"),
                rejected("refused without a reason"),
            ]
        );
    }
}

#[tokio::test]
async fn what_is_not_an_answer_to_this_request_is_not_believed() {
    let made = customerio("");
    for (status, body) in [
        (200, json!([])),
        (200, json!("OK")),
        (201, json!({})),
        (207, json!({})),
        (207, json!({"errors": []})),
        (207, json!({"errors": [{"reason": "invalid"}]})),
        (207, json!({"errors": [{"batch_index": 3}]})),
        (207, json!({"errors": [{"batch_index": -1}]})),
        (207, json!({"errors": {"batch_index": 0}})),
    ] {
        let said = answered(&made, status, body.clone()).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{status} {body}");
    }
    assert!(answered(&made, 200, json!({"errors": null})).await.result.is_ok());
}

#[tokio::test(start_paused = true)]
async fn every_refusal_as_a_whole_has_its_remedy() {
    let made = customerio("");
    let malformed = json!({"errors": [{"reason": "malformed", "field": "batch"}]});
    for status in [400, 413] {
        let said = answered(&made, status, malformed.clone()).await;
        assert!(matches!(said.result, Err(Fault::Rejected { .. })), "{status}");
    }
    for status in [401, 403] {
        let said = answered(&made, status, json!({"meta": {"error": "unauthorized"}})).await;
        assert!(matches!(said.result, Err(Fault::Denied { .. })), "{status}");
    }
    let elsewhere = answered(&made, 307, json!({})).await;
    assert!(matches!(elsewhere.result, Err(Fault::Misconfigured { .. })));
    for status in [429, 500, 502, 503] {
        let said = answered(&made, status, json!({})).await;
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3], "{status}");
    }
}

#[tokio::test]
async fn the_check_compares_regions() {
    let check = |more: &'static str, body: Json| async move {
        let made = customerio(more);
        let session = Session::served(&made.terms(), vec![Reply::json(&body)], server);
        made.destination.check(&session).await
    };
    let eu = json!({"url": "https://track-eu.customer.io", "region": "eu", "environment_id": 3});
    assert_eq!(check("region = \"eu\"\n", eu.clone()).await, Ok(()));
    assert_eq!(check("base_url = \"http://127.0.0.1:9\"\n", eu.clone()).await, Ok(()));
    let Err(Fault::Misconfigured { reason }) = check("", eu).await else { panic!() };
    assert_snapshot!(reason, @r#"the workspace is hosted in the region `eu`, not `us`: set `region = "eu"`"#);
    let nowhere = check("", json!({"region": "moon"})).await;
    assert!(matches!(nowhere, Err(Fault::Protocol { .. })));
}

#[test]
fn names_that_mean_something_else_there_are_refused() {
    let of = |made: &Configured, call, names: &[&str]| {
        let field = |name: &&str| Field { name: (*name).into(), kind: FieldKind::Text };
        let fields = names.iter().map(field).collect();
        let target = Target { call, kind: ModelKind::Trait, fields, ..target() };
        made.destination.objections(&target).join("\n").replace(&"x".repeat(151), "x\u{2026}")
    };
    let long = "x".repeat(151);
    let names = ["ltv_90d", "id", "_update", "unsubscribed", "email", "recipient", &long];
    assert_snapshot!(of(&customerio(""), Call::Identify, &names), @r#"
    the field `id` names or steers the person itself in Customer.io
    the field `_update` names or steers the person itself in Customer.io
    the field `unsubscribed` decides who is mailed, which is not written from here
    the field `x…` is longer than the 150 bytes that Customer.io takes
    "#);
    let by_email = customerio("identify_by = \"email\"\n");
    assert_snapshot!(of(&by_email, Call::Identify, &["email"]), @"the field `email` is what this destination identifies by");
    assert_snapshot!(of(&customerio(""), Call::Track, &names), @"the field `recipient` would decide to whom, from whom or with which answer address mail is sent");
    assert_snapshot!(of(&customerio(""), Call::Group, &["object_id", "email", "name"]), @r#"
    accounts are objects in Customer.io: say of which type by `object_type_id`
    the field `object_id` names the object itself in Customer.io
    "#);
    let audience = Target { call: Call::Track, model_key: "reply_to".into(), ..target() };
    assert_eq!(customerio("").destination.objections(&audience).len(), 1);
}

#[tokio::test]
async fn an_account_without_a_type_is_never_sent() {
    let made = customerio("");
    let group = made.message(Call::Group, ACCOUNT, Change::Changed, &[("seats_used", json!(41))]);
    let said = made.converse(&batch([group]), Vec::new()).await;
    assert!(said.captured.is_empty());
    assert_eq!(said.outcomes(), [rejected("there is no `object_type_id`")]);
}

#[test]
fn options_that_contradict_each_other_are_told() {
    let text = "[destinations.c]\ntype = \"customerio\"\nsite_id = \"s\"\napi_key = \"k\"\n";
    let clash = format!("{text}identify_by = \"email\"\nsend_email = true\nregion = \"us\"\n");
    let wrong = format!("{text}identify_by = \"phone\"\nregion = \"au\"\n");
    let findings: String =
        [clash, wrong].iter().map(|text| told(&configured(text).err().unwrap())).collect();
    assert_snapshot!(findings, @r#"
    D03 option `send_email` of destination `c` has no meaning beside `identify_by = "email"`: the email is the identifier (true) `muster destinations customerio` shows every option and an example
    D03 option `identify_by` of destination `c` is not usable: expected `id` or `email` ("phone") `muster destinations customerio` shows every option and an example
    D03 option `region` of destination `c` is not usable: expected `us` or `eu` ("au") did you mean `eu`?
    "#);
}
