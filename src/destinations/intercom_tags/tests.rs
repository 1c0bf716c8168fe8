//! What Intercom is sent for tags, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, target_with, told,
};
use crate::destinations::{Batch, Configured, Fault, Grain, Outcome, Target};
use crate::record::{Call, Change};

/// Knows everybody who is looked for, and one tag.
pub(crate) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once(".intercom.io").map_or("", |(_, path)| path);
    let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "/me") => Reply::json(&json!({"type": "admin", "id": "1"})),
        ("GET", "/tags") => {
            Reply::json(&json!({"type": "list", "data": [tag("7", "Old"), tag("123", "vip")]}))
        }
        ("POST", "/contacts/search") => {
            let field = sent["query"]["field"].as_str().unwrap_or_default();
            let values = sent["query"]["value"].as_array().cloned().unwrap_or_default();
            let contacts = values.iter().enumerate();
            found(contacts.map(|(index, value)| json!({"id": format!("c{index}"), field: value})))
        }
        _ => Reply::json(&tag("123", "vip")),
    }
}

fn tag(id: &str, name: &str) -> Value {
    json!({"type": "tag", "id": id, "name": name})
}

fn found(contacts: impl Iterator<Item = Value>) -> Reply {
    let contacts: Vec<Value> = contacts.collect();
    Reply::json(&json!({"type": "list", "total_count": contacts.len(), "data": contacts,
        "pages": {"type": "pages", "page": 1, "per_page": 150, "total_pages": 1}}))
}

fn error(status: u16, code: &str) -> Reply {
    let errors = json!([{"code": code, "message": "User Not Found"}]);
    Reply::status(
        status,
        json!({"type": "error.list", "request_id": "a1", "errors": errors}).to_string(),
    )
}

fn with(more: &str) -> Configured {
    let text =
        format!("[destinations.i]\ntype = \"intercom_tags\"\naccess_token = \"${{T}}\"\n{more}\n");
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

fn calls(said: &Conversation) -> String {
    said.wire().replace("https://api.intercom.io", "")
}

#[tokio::test]
async fn who_leaves_is_untagged_and_who_enters_is_tagged_at_once() {
    let made = with("");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(calls(&said), @r#"
    GET /tags
    POST /contacts/search {"pagination":{"per_page":150},"query":{"field":"external_id","operator":"IN","value":["u_8841","zoë","u_8842"]}}
    DELETE /contacts/c1/tags/123
    POST /tags {"name":"vip","users":[{"id":"c0"},{"id":"c2"}]}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    let alone = batch([made.audience(Call::List, MARA, Change::Entered)]);
    let said = made.converse(&alone, Vec::new()).await;
    assert_snapshot!(calls(&said).lines().last().unwrap(), @r#"POST /contacts/c0/tags {"id":"123"}"#);
}

#[tokio::test]
async fn every_contact_with_an_email_is_tagged() {
    let made = with("identify_by = \"email\"");
    assert_eq!(made.grain, Grain::List);
    let two = ["c1", "c2"].map(|id| json!({"id": id, "email": "Mara.Lind@example.org"}));
    let next = json!({"data": two, "pages": {"next": {"page": 2, "starting_after": "x"}}});
    let tags = server_reply("/tags");
    let replies = vec![tags, Reply::json(&next), found(std::iter::empty())];
    let said = made.converse(&mixed(&made), replies).await;
    assert_snapshot!(calls(&said), @r#"
    GET /tags
    POST /contacts/search {"pagination":{"per_page":150},"query":{"field":"email","operator":"IN","value":["mara.lind@example.org","zoe+shop@example.org","ivo@example.org"]}}
    POST /contacts/search {"pagination":{"per_page":150,"starting_after":"x"},"query":{"field":"email","operator":"IN","value":["mara.lind@example.org","zoe+shop@example.org","ivo@example.org"]}}
    POST /tags {"name":"vip","users":[{"id":"c1"},{"id":"c2"}]}
    "#);
    let reason = "Intercom has no contact with this `email`".into();
    assert_eq!(
        said.outcomes(),
        [Outcome::Delivered, Outcome::Delivered, Outcome::Rejected { reason }]
    );
}

fn server_reply(path: &str) -> Reply {
    let url = format!("https://api.intercom.io{path}");
    server(&Captured { method: "GET".into(), url, headers: Vec::new(), body: "".into() })
}

/// What comes of a batch when, after some replies that are well, one is this.
async fn answered(well: usize, reply: Reply) -> Conversation {
    let made = with("");
    made.converse_after(&mixed(&made), well, reply).await
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_went_away_is_found_out_one_by_one() {
    let made = with("");
    let gone = || error(404, "not_found");
    let entering = batch([MARA, IVO].map(|user| made.audience(Call::List, user, Change::Entered)));
    let replies = vec![
        server_reply("/tags"),
        found(
            ["u_8841", "u_8842"]
                .iter()
                .map(|id| json!({"id": format!("c_{id}"), "external_id": id})),
        ),
        gone(),
        gone(),
    ];
    let said = made.converse(&entering, replies).await;
    assert_snapshot!(calls(&said).lines().skip(2).collect::<Vec<_>>().join("\n"), @r#"
    POST /tags {"name":"vip","users":[{"id":"c_u_8841"},{"id":"c_u_8842"}]}
    POST /contacts/c_u_8841/tags {"id":"123"}
    POST /contacts/c_u_8842/tags {"id":"123"}
    "#);
    let outcomes = said.outcomes();
    assert!(matches!(outcomes[..], [Outcome::Retry { .. }, Outcome::Delivered]));
}

#[tokio::test(start_paused = true)]
async fn a_contact_that_was_merged_before_it_was_untagged_is_looked_for_again() {
    let made = with("");
    let known =
        ["u_8841", "zoë", "u_8842"].map(|id| json!({"id": format!("c_{id}"), "external_id": id}));
    for gone in [(404, "not_found"), (410, "contact_merged")] {
        let gone = || error(gone.0, gone.1);
        let replies = vec![server_reply("/tags"), found(known.iter().cloned()), gone(), gone()];
        let outcomes = made.converse(&mixed(&made), replies).await.outcomes();
        assert!(
            matches!(outcomes[..], [Outcome::Delivered, Outcome::Retry { .. }, Outcome::Delivered]),
            "{outcomes:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_off_already_is_success_and_a_refusal_concerns_one() {
    for gone in [error(404, "not_found"), error(410, "contact_merged")] {
        assert_eq!(answered(2, gone).await.outcomes(), vec![Outcome::Delivered; 3]);
    }
    for refused in [error(422, "invalid"), error(409, "conflict")] {
        let outcomes = answered(2, refused).await.outcomes();
        assert!(matches!(
            outcomes[..],
            [Outcome::Delivered, Outcome::Rejected { .. }, Outcome::Delivered]
        ));
    }
    let elsewhere = answered(2, Reply::status(404, "<html>")).await;
    assert!(matches!(elsewhere.result, Err(Fault::Misconfigured { .. })));
}

#[tokio::test(start_paused = true)]
async fn only_a_reply_about_the_tag_is_success() {
    for step in [2, 3] {
        let odd = answered(step, Reply::status(200, "OK")).await.result;
        assert!(matches!(odd, Err(Fault::Protocol { .. })), "{odd:?}");
        let other = answered(step, Reply::json(&tag("124", "vip"))).await.result;
        assert!(matches!(other, Err(Fault::Misconfigured { .. })), "{other:?}");
        let denied = answered(step, error(401, "unauthorized")).await.result;
        assert!(matches!(denied, Err(Fault::Denied { .. })), "{denied:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_window_is_waited_for() {
    let started = tokio::time::Instant::now();
    let slow = error(429, "rate_limit_exceeded")
        .with_header("x-ratelimit-remaining", "0")
        .with_header("x-ratelimit-reset", "9");
    assert_eq!(answered(3, slow).await.outcomes(), vec![Outcome::Delivered; 3]);
    assert_eq!(started.elapsed().as_secs(), 9);
}

async fn opened(wanted: &Target, replies: Vec<Reply>) -> (String, String) {
    let made = with("");
    let session = Session::served(&made.terms(), replies, made.server());
    let told = match made.destination.open(&session, wanted).await {
        Ok(remote) => remote.0.to_string(),
        Err(fault) => fault.to_string(),
    };
    let calls = session.captured().into_iter().map(|call| {
        let url = call.url.replace("https://api.intercom.io", "");
        format!("{} {url} {}", call.method, String::from_utf8_lossy(&call.body)).trim().to_owned()
    });
    (told, calls.collect::<Vec<_>>().join("\n"))
}

fn named(list: &str) -> Target {
    Target { call: Call::List, list: Some(list.into()), ..target() }
}

#[tokio::test]
async fn a_tag_is_found_whatever_its_case_or_created() {
    let (by_name, calls) = opened(&target(), Vec::new()).await;
    assert_eq!((&*by_name, &*calls), (r#"{"id":"123","name":"vip"}"#, "GET /tags"));
    let (by_id, calls) = opened(&named("123"), Vec::new()).await;
    assert_eq!((&*by_id, &*calls), (r#"{"id":"123","name":"vip"}"#, "GET /tags/123"));
    let replies = vec![server_reply("/tags"), Reply::json(&tag("9", "Gold"))];
    let (created, calls) = opened(&named("Gold"), replies).await;
    assert_eq!(created, r#"{"id":"9","name":"Gold"}"#);
    assert_eq!(calls, "GET /tags\nPOST /tags {\"name\":\"Gold\"}");
    // A tag that was renamed goes by its new name.
    let kept = target_with(json!({"id": "9", "name": "Gold"}));
    let (renamed, _) = opened(&kept, vec![Reply::json(&tag("9", "Platinum"))]).await;
    assert_eq!(renamed, r#"{"id":"9","name":"Platinum"}"#);
}

#[tokio::test]
async fn a_tag_that_cannot_be_used_is_told() {
    let told = [
        opened(&named("5"), vec![error(404, "tag_not_found")]).await.0,
        opened(&named("5"), Vec::new()).await.0,
        opened(&named("Gold"), vec![server_reply("/tags"), error(400, "parameter_invalid")])
            .await
            .0,
    ];
    assert_snapshot!(told.join("\n"), @r#"
    misconfigured: the list `5` cannot be used: HTTP 404 Not Found: {"errors":[{"code":"tag_not_found","message":"User Not Found"}],"request_id":"a1","type":"error.list"}
    unreadable reply: the reply is not about the tag `5`
    misconfigured: Intercom does not create the tag `Gold`: HTTP 400 Bad Request: {"errors":[{"code":"parameter_invalid","message":"User Not Found"}],"request_id":"a1","type":"error.list"}
    "#);
}

#[tokio::test]
async fn no_request_tags_more_contacts_than_intercom_takes() {
    let made = with("");
    let members = (0..50).map(|number| {
        let user = User { id: String::leak(format!("u_{number}")), ..MARA };
        made.audience(Call::List, user, Change::Entered)
    });
    let said = made.converse(&batch(members), Vec::new()).await;
    let sent: Value = serde_json::from_slice(&said.captured[2].body).unwrap();
    assert_eq!(sent["users"].as_array().unwrap().len(), 50);
    assert_eq!((said.captured.len(), made.spec.batch.max_rows), (3, 50));
}
