//! What Braze is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target, told};
use crate::destinations::{Batch, Configured, Fault, Field, FieldKind, Notice, Outcome, Target};
use crate::project::ModelKind;
use crate::record::{Call, Change};

/// All is well; an empty request is refused for its emptiness.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let count = |array: &str| body[array].as_array().map(Vec::len);
    if count("attributes").or(count("events")).is_none_or(|count| count == 0) {
        let message =
            "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields.";
        return Reply::status(400, json!({"message": message, "errors": []}).to_string());
    }
    let mut said = json!({"message": "success"});
    for array in ["attributes", "events"] {
        if let Some(count) = count(array) {
            said[format!("{array}_processed")] = count.into();
        }
    }
    Reply::status(201, said.to_string())
}

fn braze(more: &str) -> Configured {
    let text = format!(
        "[destinations.braze]\ntype = \"braze\"\napi_key = \"${{KEY}}\"\ninstance = \"EU-01\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

/// The bodies of all kinds of batches.
async fn bodies(made: &Configured) -> String {
    let mut shown = String::new();
    for (name, batch) in made.batches() {
        let said = made.converse(&batch, Vec::new()).await;
        for request in said.captured {
            assert_eq!(request.url, "https://rest.fra-01.braze.eu/users/track");
            shown.push_str(&format!("{name}: {}\n", String::from_utf8_lossy(&request.body)));
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
async fn a_user_is_an_external_id_with_its_preferred_email() {
    assert_snapshot!(bodies(&braze("")).await, @r#"
    audience: {"attributes":[{"external_id":"u_8841","vip":true,"email":"mara.lind@example.org"}]}
    computed: {"events":[{"external_id":"u_8841","name":"Trait Computed","time":"2026-11-20T09:00:00Z","properties":{"trait_key":"ltv_90d","ltv_90d":812.4}}]}
    exit: {"attributes":[{"external_id":"u_8842","vip":false,"email":"ivo@example.org"}]}
    identify: {"attributes":[{"external_id":"u_8841","ltv_90d":812.4,"email":"mara.lind@example.org"}]}
    null: {"attributes":[{"external_id":"u_8842","ltv_90d":null,"email":"ivo@example.org"}]}
    several: {"attributes":[{"external_id":"u_8841","ltv_90d":812.4,"email":"mara.lind@example.org"},{"external_id":"u_8842","ltv_90d":7.0,"email":"ivo@example.org"},{"external_id":"zoë","ltv_90d":-3.5,"email":"zoe+shop@example.org"}]}
    track: {"events":[{"external_id":"u_8841","name":"Audience Entered","time":"2026-11-20T09:00:00Z","properties":{"audience_key":"vip","vip":true}}]}
    track exit: {"events":[{"external_id":"u_8842","name":"Audience Exited","time":"2026-11-20T09:00:00Z","properties":{"audience_key":"vip","vip":false}}]}
    unicode: {"attributes":[{"external_id":"zoë","city":"Zürich 🏪 \"A\" ","email":"zoe+shop@example.org"}]}
    "#);
}

#[tokio::test]
async fn by_email_no_external_id_travels() {
    assert_snapshot!(bodies(&braze("identify_by = \"email\"\n")).await, @r#"
    audience: {"attributes":[{"email":"mara.lind@example.org","vip":true}]}
    computed: {"events":[{"email":"mara.lind@example.org","name":"Trait Computed","time":"2026-11-20T09:00:00Z","properties":{"trait_key":"ltv_90d","ltv_90d":812.4}}]}
    exit: {"attributes":[{"email":"ivo@example.org","vip":false}]}
    identify: {"attributes":[{"email":"mara.lind@example.org","ltv_90d":812.4}]}
    null: {"attributes":[{"email":"ivo@example.org","ltv_90d":null}]}
    several: {"attributes":[{"email":"mara.lind@example.org","ltv_90d":812.4},{"email":"ivo@example.org","ltv_90d":7.0},{"email":"zoe+shop@example.org","ltv_90d":-3.5}]}
    track: {"events":[{"email":"mara.lind@example.org","name":"Audience Entered","time":"2026-11-20T09:00:00Z","properties":{"audience_key":"vip","vip":true}}]}
    track exit: {"events":[{"email":"ivo@example.org","name":"Audience Exited","time":"2026-11-20T09:00:00Z","properties":{"audience_key":"vip","vip":false}}]}
    unicode: {"attributes":[{"email":"zoe+shop@example.org","city":"Zürich 🏪 \"A\" "}]}
    "#);
}

#[tokio::test]
async fn options_show_on_the_wire() {
    let made = braze("send_email = false\nupdate_existing_only = true\napp_id = \"shop\"\n");
    let shown = bodies(&made).await;
    let of = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{name}: ")));
        line.unwrap_or_default().to_owned() + "\n"
    };
    assert_snapshot!(of("identify") + &of("track"), @r#"
    identify: {"attributes":[{"external_id":"u_8841","_update_existing_only":true,"ltv_90d":812.4}]}
    track: {"events":[{"external_id":"u_8841","_update_existing_only":true,"app_id":"shop","name":"Audience Entered","time":"2026-11-20T09:00:00Z","properties":{"audience_key":"vip","vip":true}}]}
    "#);
}

#[tokio::test]
async fn the_request_is_authorised_by_the_key() {
    let said = braze("").converse(&braze("").several(), Vec::new()).await;
    let headers: Vec<_> =
        said.captured[0].headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(headers, ["authorization: [secret]", "content-type: application/json"]);
}

/// Events of several traits, and texts that are as long as they may be.
fn large(made: &Configured, rows: usize) -> Batch {
    let long = "\u{1f3ea}".repeat(255);
    let values: Vec<_> = ["a", "b", "c"].into_iter().map(|name| (name, json!(long))).collect();
    batch((0..rows).map(|_| made.message(Call::Track, MARA, Change::Changed, &values)))
}

#[tokio::test]
async fn no_request_holds_more_objects_than_braze_takes() {
    for (more, most) in [("", 75), ("batch_size = 50\n", 50)] {
        let made = braze(more);
        let said = made.converse(&large(&made, 75), Vec::new()).await;
        let sizes: Vec<usize> = said
            .captured
            .iter()
            .map(|request| {
                let body: Json = serde_json::from_slice(&request.body).unwrap();
                assert!(request.body.len() < 4_000_000);
                body["events"].as_array().unwrap().len()
            })
            .collect();
        assert_eq!(sizes.iter().sum::<usize>(), 225);
        assert!(sizes.iter().all(|size| *size <= most), "{sizes:?}");
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 75]);
    }
}

#[tokio::test]
async fn what_arrived_is_not_sent_again_for_a_later_refusal() {
    let made = braze("batch_size = 3\n");
    let refused = Reply::status(413, "{}");
    let said = made.converse_after(&large(&made, 3), 1, refused).await;
    assert_eq!(said.captured.len(), 3);
    let outcomes = said.outcomes();
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    assert_eq!(outcomes[1], rejected("HTTP 413 Payload Too Large: {}"));
}

#[tokio::test]
async fn a_success_names_the_rows_it_refuses() {
    let made = braze("");
    let errors = json!([
        {"type": "'email' is not valid", "input_array": "attributes", "index": 1},
        {"type": "bad time", "input_array": "attributes", "index": 1},
    ]);
    let body = json!({"message": "success", "attributes_processed": 2, "errors": errors});
    assert_eq!(
        answered(&made, 201, body).await.outcomes(),
        [Outcome::Delivered, rejected("'email' is not valid; bad time"), Outcome::Delivered]
    );
}

#[tokio::test]
async fn a_refusal_that_names_every_row_rejects_them_and_any_other_is_halved() {
    let made = braze("");
    let error = |index| json!({"type": "no", "input_array": "attributes", "index": index});
    let body =
        |errors: Vec<Json>| json!({"message": "Valid data must be provided", "errors": errors});
    for status in [400, 201] {
        let all = body((0..3).map(error).collect());
        assert_eq!(answered(&made, status, all).await.outcomes(), vec![rejected("no"); 3]);
        let some = answered(&made, status, body(vec![error(0)])).await;
        assert!(matches!(some.result, Err(Fault::Rejected { .. })), "{:?}", some.result);
    }
    let bare = answered(&made, 400, json!({"message": "Bad Req"})).await;
    assert!(matches!(bare.result, Err(Fault::Rejected { .. })));
}

#[tokio::test]
async fn rows_that_were_not_sent_are_not_believed() {
    let made = braze("");
    for (array, index) in [("attributes", 3), ("events", 0), ("purchases", 0)] {
        let errors = json!([{"type": "no", "input_array": array, "index": index}]);
        let said = answered(&made, 201, json!({"message": "success", "errors": errors})).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{array} {index}");
    }
}

#[tokio::test]
async fn a_success_that_processed_nothing_is_none() {
    let made = braze("");
    let error = json!({"type": "no", "input_array": "attributes", "index": 1});
    let body = json!({"message": "success", "attributes_processed": 0, "errors": [error]});
    let nothing = || rejected("Braze answers with success and says that it processed nothing");
    let said = answered(&made, 201, body).await;
    assert_eq!(said.outcomes(), [nothing(), rejected("no"), nothing()]);
}

#[tokio::test]
async fn what_braze_does_not_attribute_is_told_as_a_count() {
    let made = braze("");
    let reason = "Braze counts fewer objects as processed than it was sent";
    for body in [
        json!({"message": "success", "attributes_processed": 2}),
        json!({"message": "success", "errors": ["minor error message"]}),
    ] {
        let said = answered(&made, 201, body).await;
        assert_eq!(said.notices, [Notice { count: 1, reason: reason.into() }]);
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    }
}

#[tokio::test]
async fn queued_during_maintenance_is_accepted() {
    let made = braze("");
    let said = answered(&made, 202, json!({"message": "queued"})).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    let elsewhere = answered(&made, 200, json!({"message": "queued"})).await;
    assert!(matches!(elsewhere.result, Err(Fault::Rejected { .. })));
}

#[tokio::test(start_paused = true)]
async fn every_form_of_slow_down_is_heeded() {
    let made = braze("");
    let spent = || {
        server(&Captured {
            method: "POST".into(),
            url: String::new(),
            headers: Vec::new(),
            body: r#"{"attributes":[1,2,3]}"#.into(),
        })
    };
    for (reply, least, requests) in [
        (Reply::status(429, "{}").with_header("x-ratelimit-retry-after", "9"), 9, 2),
        (Reply::status(429, "{}").with_header("retry-after", "9"), 9, 2),
        (
            Reply::status(429, "{}")
                .with_header("x-ratelimit-remaining", "0")
                .with_header("x-ratelimit-reset", "9"),
            9,
            2,
        ),
        (
            spent().with_header("x-ratelimit-remaining", "0").with_header("x-ratelimit-reset", "9"),
            9,
            2,
        ),
    ] {
        let session = Session::served(&made.terms(), vec![reply], server);
        let started = tokio::time::Instant::now();
        made.converse_through(&session, &made.several()).await.outcomes();
        if session.captured().len() < requests {
            made.converse_through(&session, &made.several()).await.outcomes();
        }
        assert!(started.elapsed().as_secs() >= least);
    }
}

#[tokio::test]
async fn what_braze_would_misread_is_rejected_alone_and_unsent() {
    let made = braze("");
    let of =
        |user, value: Json| made.message(Call::Identify, user, Change::Changed, &[("x", value)]);
    let mixed = batch([
        of(MARA, json!("\u{e9}".repeat(256))),
        of(IVO, json!("\u{e9}".repeat(255))),
        of(ZOE, json!("short")),
    ]);
    let said = made.converse(&mixed, Vec::new()).await;
    assert_eq!(said.captured.len(), 1);
    let long = rejected("`x` has 256 characters; Braze takes at most 255");
    assert_eq!(said.outcomes(), [long, Outcome::Delivered, Outcome::Delivered]);
    for operator in ["inc", "add", "remove", "$update"] {
        let json = format!("{{\"{operator}\": 1}}");
        let refused = super::acceptable("x", &crate::record::Value::Json(json));
        let reason = format!("`x` has a key `{operator}`, which Braze reads as an operator");
        assert_eq!(refused, Err(reason));
    }
    let plain = crate::record::Value::Json("{\"city\": {\"add\": 1}}".into());
    assert_eq!(super::acceptable("x", &plain), Ok(()));
}

#[test]
fn names_that_mean_something_else_there_are_refused() {
    let of = |made: &Configured, call, names: &[&str]| {
        let field = |name: &&str| Field { name: (*name).into(), kind: FieldKind::Text };
        let fields = names.iter().map(field).collect();
        let target = Target { call, kind: ModelKind::Trait, fields, ..target() };
        made.destination.objections(&target).join("\n")
    };
    let long = "x".repeat(256);
    let names =
        ["ltv_90d", "external_id", "push_tokens", "email_subscribe", "email", "time", &long];
    let short = |text: String| text.replace(&long, "x\u{2026}");
    assert_snapshot!(short(of(&braze(""), Call::Identify, &names)), @r#"
    the field `external_id` names or steers the profile itself in Braze
    the field `push_tokens` would register devices in Braze
    the field `email_subscribe` decides who is mailed, which is not written from here
    the field `x…` is longer than the 255 characters that Braze takes
    "#);
    assert_snapshot!(short(of(&braze("identify_by = \"email\"\n"), Call::Identify, &["email"])), @r#"the field `email` is what this destination identifies by"#);
    assert_snapshot!(short(of(&braze(""), Call::Track, &names)), @r#"
    the field `time` is reserved by Braze in events
    the field `x…` is longer than the 255 characters that Braze takes
    "#);
}

#[test]
fn an_instance_or_an_address_is_needed() {
    let text = "[destinations.b]\ntype = \"braze\"\napi_key = \"${KEY}\"\n";
    let elsewhere = format!("{text}base_url = \"http://127.0.0.1:9/proxy/\"\n");
    assert!(configured(&elsewhere).is_ok());
    let wrong = format!("{text}instance = \"US-11\"\n");
    let clash = format!("{text}instance = \"US-10\"\nidentify_by = \"email\"\nsend_email = true\n");
    let findings: String =
        [text, &wrong, &clash].iter().map(|text| told(&configured(text).err().unwrap())).collect();
    assert_snapshot!(findings, @r#"
    D03 option `instance` of destination `b` is missing, and there is no `base_url` ("braze") write `instance = "US-01"` or whichever it is
    D03 option `instance` of destination `b` is not usable: expected one of `US-01`, `US-02`, `US-03`, `US-04`, `US-05`, `US-06`, `US-07`, `US-08`, `US-09`, `US-10`, `EU-01`, `EU-02`, `AU-01`, `ID-01`, `JP-01` ("US-11") did you mean `US-01`?
    D03 option `send_email` of destination `b` has no meaning beside `identify_by = "email"`: the email is the identifier (true) `muster destinations braze` shows every option and an example
    "#);
}

#[tokio::test]
async fn a_check_proves_the_key_and_writes_nothing() {
    let made = braze("");
    let session = Session::served(&made.terms(), Vec::new(), server);
    assert_eq!(made.destination.check(&session).await, Ok(()));
    assert_eq!(session.captured()[0].body, r#"{"attributes":[]}"#);
    for status in [401, 403] {
        let session = Session::scripted(&made.terms(), vec![Reply::status(status, "{}")]);
        assert!(matches!(made.destination.check(&session).await, Err(Fault::Denied { .. })));
    }
    let session = Session::scripted(&made.terms(), vec![Reply::status(400, "<html>")]);
    assert!(matches!(made.destination.check(&session).await, Err(Fault::Protocol { .. })));
}
