//! What Customer.io is sent for segments, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, target_with, told,
};
use crate::destinations::{Batch, Configured, Fault, Outcome, Target};
use crate::record::{Call, Change};

fn segment(id: u64, name: &str, kind: &str) -> Json {
    json!({"id": id, "deduplicate_id": "15:1492548073", "name": name, "description": "",
        "state": "events", "progress": null, "type": kind, "tags": null})
}

/// One segment, named as the fixtures' model; whatever is asked for is done.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split('?').next().unwrap_or_default();
    if path.ends_with("/api/v1/accounts/region") {
        let url = "https://track.customer.io";
        return Reply::json(&json!({"url": url, "region": "us", "environment_id": 3}));
    }
    match (request.method.as_str(), path.rsplit('/').next()) {
        ("GET", Some("segments")) => Reply::json(&json!({"segments": [
            segment(1, "Everybody", "dynamic"), segment(7, "VIP", "manual"),
        ]})),
        ("POST", Some("segments")) => Reply::json(&json!({"segment": segment(8, "new", "manual")})),
        ("GET", _) => Reply::json(&json!({"segment": segment(7, "VIP", "manual")})),
        _ => Reply::status(200, ""),
    }
}

fn segments(more: &str) -> Configured {
    let text = format!(
        "[destinations.s]\ntype = \"customerio_segments\"\nsite_id = \"${{SITE}}\"\n\
         api_key = \"${{KEY}}\"\napp_api_key = \"${{APP}}\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

async fn answered(well: usize, reply: Reply) -> Conversation {
    let made = segments("");
    made.converse_after(&mixed(&made), well, reply).await
}

async fn opened(wanted: &Target, replies: Vec<Reply>) -> (String, String) {
    let made = segments("");
    let session = Session::served(&made.terms(), replies, server);
    let told = match made.destination.open(&session, wanted).await {
        Ok(remote) => remote.0.to_string(),
        Err(fault) => fault.to_string(),
    };
    let calls = session.captured().into_iter().map(|call| {
        format!("{} {} {}\n", call.method, call.url, String::from_utf8_lossy(&call.body))
    });
    (told, calls.collect())
}

fn named(list: &str) -> Target {
    Target { call: Call::List, list: Some(list.into()), ..target() }
}

#[tokio::test]
async fn who_leaves_is_taken_off_and_who_enters_is_put_on_by_id() {
    let made = segments("region = \"eu\"\n");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://api-eu.customer.io/v1/segments
    POST https://track-eu.customer.io/api/v1/segments/7/remove_customers?id_type=id {"ids":["zoë"]}
    POST https://track-eu.customer.io/api/v1/segments/7/add_customers?id_type=id {"ids":["u_8841","u_8842"]}
    "#);
    let headers = |position: usize| {
        let headers = said.captured[position].headers.iter();
        headers.map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>()
    };
    assert_eq!(headers(0), ["authorization: [secret]"]);
    assert_eq!(headers(1), ["authorization: [secret]", "content-type: application/json"]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_base_url_replaces_every_address() {
    let made = segments("base_url = \"http://127.0.0.1:9/cio/\"\n");
    let session = Session::served(&made.terms(), Vec::new(), server);
    made.destination.check(&session).await.unwrap();
    made.converse_through(&session, &made.several()).await.outcomes();
    assert_eq!(session.captured().len(), 4);
    assert!(session.captured().iter().all(|call| call.url.starts_with("http://127.0.0.1:9/cio/")));
}

#[tokio::test]
async fn a_segment_is_found_by_name_or_id_or_created_once() {
    let (found, calls) = opened(&target(), Vec::new()).await;
    assert_eq!((&*found, calls.lines().count()), (r#"{"id":"7"}"#, 1));
    let (known, calls) = opened(&target_with(json!({"id": "9"})), Vec::new()).await;
    assert_eq!((&*known, &*calls), (r#"{"id":"9"}"#, ""));
    let (by_id, calls) = opened(&named("7"), Vec::new()).await;
    assert_eq!(by_id, r#"{"id":"7"}"#);
    assert_eq!(calls, "GET https://api.customer.io/v1/segments/7 \n");
    let (created, calls) = opened(&named("Gold"), Vec::new()).await;
    assert_eq!(created, r#"{"id":"8"}"#);
    assert_snapshot!(calls, @r#"
    GET https://api.customer.io/v1/segments 
    POST https://api.customer.io/v1/segments {"segment":{"description":"Kept by Muster from the model `vip`.","name":"Gold"}}
    "#);
}

#[tokio::test]
async fn a_creation_whose_answer_is_lost_is_not_repeated() {
    let none = Reply::json(&json!({"segments": []}));
    let (told, calls) = opened(&named("Gold"), vec![none, Reply::Lost]).await;
    assert!(told.starts_with("sent, with no usable reply"), "{told}");
    assert_eq!(calls.lines().count(), 2);
}

#[tokio::test]
async fn a_segment_that_takes_no_members_is_told() {
    assert_snapshot!(opened(&named("Everybody"), Vec::new()).await.0, @"misconfigured: the list `Everybody` cannot be used: it is data-driven and takes no members");
    let dynamic = Reply::json(&json!({"segment": segment(1, "Everybody", "dynamic")}));
    assert_snapshot!(opened(&named("1"), vec![dynamic]).await.0, @"misconfigured: the list `1` cannot be used: it is data-driven and takes no members");
    let gone = || Reply::status(404, "{}");
    assert_snapshot!(opened(&named("5"), vec![gone()]).await.0, @"misconfigured: the list `5` cannot be used: HTTP 404 Not Found: {}");
    let twice = json!({"segments": [segment(7, "VIP", "manual"), segment(9, "VIP", "manual")]});
    assert_snapshot!(opened(&target(), vec![Reply::json(&twice)]).await.0, @"misconfigured: there are several lists named `VIP` (7, 9); write the id of the one that is meant as the sync's `list`");
    let none = Reply::json(&json!({"segments": []}));
    let refused = Reply::status(400, r#"{"errors":[{"detail":"name is too long"}]}"#);
    assert_snapshot!(opened(&target(), vec![none, refused]).await.0, @r#"misconfigured: Customer.io does not create the segment `VIP`: HTTP 400 Bad Request: {"errors":[{"detail":"name is too long"}]}"#);
}

#[tokio::test]
async fn no_request_names_more_people_than_customer_io_takes() {
    let made = segments("");
    let people: Vec<String> = (0..1000).map(|number| format!("{number:0150}")).collect();
    let member = |(position, id): (usize, &String)| {
        let user = User { id: Box::leak(id.clone().into_boxed_str()), ..MARA };
        let change = if position % 2 == 0 { Change::Entered } else { Change::Exited };
        made.audience(Call::List, user, change)
    };
    let said = made.converse(&batch(people.iter().enumerate().map(member)), Vec::new()).await;
    let sizes: Vec<_> = said.captured[1..]
        .iter()
        .map(|request| {
            let body: Json = serde_json::from_slice(&request.body).unwrap();
            body["ids"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(sizes, [500, 500]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 1000]);
    let long = User { id: Box::leak("x".repeat(151).into_boxed_str()), ..MARA };
    let alone = batch([made.audience(Call::List, long, Change::Entered)]);
    let reason = "its id has 151 bytes; Customer.io takes at most 150".to_owned();
    let said = made.converse(&alone, Vec::new()).await;
    assert_eq!(said.outcomes(), [Outcome::Rejected { reason }]);
}

#[tokio::test]
async fn only_an_empty_answer_is_success() {
    for body in ["", "{}", " \n"] {
        let said = answered(1, Reply::status(200, body)).await;
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3], "{body}");
    }
    let named = Reply::status(200, r#"{"errors":[{"reason":"invalid","field":"ids"}]}"#);
    let said = answered(1, named).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
    for (status, body) in [(200, "OK"), (200, "[]"), (204, "")] {
        let said = answered(1, Reply::status(status, body)).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_those_who_enter_leaves_the_others_taken_off() {
    let said = answered(2, Reply::status(400, r#"{"meta":{"errors":["malformed"]}}"#)).await;
    let outcomes = said.outcomes();
    assert_eq!(outcomes[1], Outcome::Delivered);
    assert!(matches!([&outcomes[0], &outcomes[2]], [Outcome::Retry { .. }, Outcome::Retry { .. }]));
    for (status, expected) in [(404, "misconfigured"), (401, "credentials"), (400, "refused")] {
        let told = answered(1, Reply::status(status, "{}")).await.result.unwrap_err().to_string();
        assert!(told.starts_with(expected), "{told}");
    }
    for status in [429, 500, 503] {
        let said = answered(1, Reply::status(status, "{}")).await;
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3], "{status}");
    }
}

#[tokio::test]
async fn both_credentials_are_proven_by_the_check() {
    let made = segments("");
    for well in [0, 1] {
        let refused = (well, Reply::status(401, "{}"));
        let session = Session::interrupted(&made.terms(), refused, server);
        let checked = made.destination.check(&session).await;
        assert!(matches!(checked, Err(Fault::Denied { .. })), "{checked:?}");
    }
}
