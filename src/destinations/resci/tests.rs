//! What ReSci is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::json;

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{IVO, MARA, batch, configured, on_the_wire, target};
use crate::destinations::{Configured, Fault, Field, FieldKind, Outcome, Target};
use crate::record::{Call, Change};

/// Queues everything.
pub(crate) fn server(_request: &Captured) -> Reply {
    Reply::status(202, "")
}

fn made(more: &str) -> Configured {
    configured(&format!("[destinations.r]\ntype = \"resci\"\napi_key = \"${{K}}\"\n{more}"))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn requests() {
    let made = made("");
    let mut shown = String::new();
    for (kind, batch) in made.batches() {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        shown.push_str(&format!(
            "{kind} {}",
            wire.replace("https://events.retentionscience.com", "")
        ));
    }
    assert_snapshot!(shown, @r#"
    audience POST /v2/identify {"userId":"u_8841","traits":{"email":"mara.lind@example.org","send_transactional_welcome":false,"firstName":"Mara","lastName":"Lind","name":"Mara Lind","vip":true}}
    computed POST /v2/track {"userId":"u_8841","event":"Trait Computed","properties":{"trait_key":"ltv_90d","ltv_90d":812.4},"traits":{"email":"mara.lind@example.org","send_transactional_welcome":false}}
    exit POST /v2/identify {"userId":"u_8842","traits":{"email":"ivo@example.org","send_transactional_welcome":false,"firstName":"Ivo","lastName":"Ban","name":"Ivo Ban","vip":false}}
    identify POST /v2/identify {"userId":"u_8841","traits":{"email":"mara.lind@example.org","send_transactional_welcome":false,"firstName":"Mara","lastName":"Lind","name":"Mara Lind","ltv_90d":812.4}}
    null POST /v2/identify {"userId":"u_8842","traits":{"email":"ivo@example.org","send_transactional_welcome":false,"firstName":"Ivo","lastName":"Ban","name":"Ivo Ban","ltv_90d":null}}
    several POST /v2/identify {"userId":"u_8841","traits":{"email":"mara.lind@example.org","send_transactional_welcome":false,"firstName":"Mara","lastName":"Lind","name":"Mara Lind","ltv_90d":812.4}}
    track POST /v2/track {"userId":"u_8841","event":"Audience Entered","properties":{"audience_key":"vip","vip":true},"traits":{"email":"mara.lind@example.org","send_transactional_welcome":false}}
    track exit POST /v2/track {"userId":"u_8842","event":"Audience Exited","properties":{"audience_key":"vip","vip":false},"traits":{"email":"ivo@example.org","send_transactional_welcome":false}}
    unicode POST /v2/identify {"userId":"zoë","traits":{"email":"zoe+shop@example.org","send_transactional_welcome":false,"firstName":"Zoë","lastName":"Aksoy","name":"Zoë Aksoy","city":"Zürich 🏪 \"A\" "}}
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_trait_takes_the_place_of_the_column_of_profiles_that_is_called_the_same_there() {
    let made = made("");
    let named = [("firstName", json!("Mimi")), ("last_name", json!(null))];
    let message = made.message(Call::Identify, MARA, Change::Changed, &named);
    let said = made.converse(&batch([message]), Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"POST https://events.retentionscience.com/v2/identify {"userId":"u_8841","traits":{"email":"mara.lind@example.org","send_transactional_welcome":false,"name":"Mara Lind","firstName":"Mimi","lastName":null}}"#);
}

#[tokio::test(start_paused = true)]
async fn address_key_and_welcome_are_as_configured() {
    let made = made(
        "path = \"events/v3/\"\nsend_transactional_welcome = true\nbase_url = \"http://127.0.0.1:9/proxy\"\n",
    );
    let said = made.converse(&made.several(), Vec::new()).await;
    assert_snapshot!(on_the_wire(&said.captured[0]), @r#"
    POST http://127.0.0.1:9/proxy/events/v3/identify
    authorization: [secret]
    content-type: application/json

    {"userId":"u_8841","traits":{"email":"mara.lind@example.org","firstName":"Mara","lastName":"Lind","name":"Mara Lind","ltv_90d":812.4}}
    "#);
}

#[tokio::test(start_paused = true)]
async fn every_changed_trait_is_one_event() {
    let made = made("");
    let values = [("ltv_90d", json!(1)), ("city", json!(null))];
    let message = made.message(Call::Track, MARA, Change::Changed, &values);
    let said = made.converse(&batch([message]), Vec::new()).await;
    assert_snapshot!(said.wire().replace("https://events.retentionscience.com", ""), @r#"
    POST /v2/track {"userId":"u_8841","event":"Trait Computed","properties":{"trait_key":"ltv_90d","ltv_90d":1},"traits":{"email":"mara.lind@example.org","send_transactional_welcome":false}}
    POST /v2/track {"userId":"u_8841","event":"Trait Computed","properties":{"trait_key":"city","city":null},"traits":{"email":"mara.lind@example.org","send_transactional_welcome":false}}
    "#);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_known_to_mean_success_is_success() {
    let made = made("");
    let answered = async |status: u16, body: &'static str| {
        let said = made.converse(&made.several(), vec![Reply::status(status, body); 9]).await;
        match said.result {
            Ok(outcomes) if outcomes == [Outcome::Delivered] => "delivered",
            Ok(_) => "something else",
            Err(Fault::Rejected { .. }) => "rejected",
            Err(Fault::Denied { .. }) => "denied",
            Err(Fault::Ambiguous { .. }) => "ambiguous",
            Err(Fault::Protocol { .. }) => "unreadable",
            Err(_) => "another fault",
        }
    };
    let table: &[(&str, &[(u16, &'static str)])] = &[
        (
            "delivered",
            &[
                (200, ""),
                (202, " \n"),
                (200, "{}"),
                (202, r#"{"success":true,"error":null,"errors":[]}"#),
            ],
        ),
        (
            "rejected",
            &[
                (400, "{}"),
                (200, r#"{"errors":["userId"]}"#),
                (200, r#"{"error":"no"}"#),
                (202, r#"{"success":false}"#),
            ],
        ),
        ("unreadable", &[(200, "OK"), (201, ""), (204, ""), (200, "[]"), (200, "<html>")]),
        ("denied", &[(401, ""), (403, "{}")]),
        ("ambiguous", &[(500, "{}"), (501, "")]),
    ];
    for (meaning, replies) in table {
        for (status, body) in *replies {
            assert_eq!(answered(*status, body).await, *meaning, "{status} {body}");
        }
    }
}

#[tokio::test]
async fn a_key_is_proven_by_a_request_without_anybody() {
    let made = made("");
    for (status, proven) in [(400, true), (202, true), (401, false), (403, false), (404, false)] {
        let session = Session::scripted(&made.terms(), vec![Reply::status(status, "{}")]);
        assert_eq!(made.destination.check(&session).await.is_ok(), proven, "{status}");
        assert_eq!(session.captured()[0].body, "{}");
    }
}

#[test]
fn names_and_what_cannot_be_one() {
    let made = made("");
    assert_eq!(made.destination.field_name("first_name"), "firstName");
    assert_eq!(made.destination.field_name("ltv_90d"), "ltv_90d");
    let told = |name: &str| {
        let fields = vec![Field { name: name.into(), kind: FieldKind::Bool }];
        made.destination.objections(&Target { fields, ..target() }).len()
    };
    assert_eq!((told("send_transactional_welcome"), told("vip")), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_profiles_do_not_know_takes_none_away() {
    let made = made("");
    let message = made.message(Call::Identify, IVO, Change::Changed, &[("last_name", json!(null))]);
    let said = made.converse(&batch([message]), Vec::new()).await;
    let body = String::from_utf8_lossy(&said.captured[0].body).into_owned();
    assert_snapshot!(body, @r#"{"userId":"u_8842","traits":{"email":"ivo@example.org","send_transactional_welcome":false,"firstName":"Ivo","name":"Ivo Ban","lastName":null}}"#);
}
