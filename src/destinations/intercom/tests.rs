//! What Intercom is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::json;

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{ACCOUNT, IVO, MARA, batch, configured, target};
use crate::destinations::{Configured, Fault, Field, FieldKind, Outcome, Target};
use crate::message::Message;
use crate::record::{Call, Change, Level};

/// Knows every contact, attribute and company.
pub(crate) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("intercom.io").map_or("", |(_, path)| path);
    match (request.method.as_str(), path) {
        ("GET", "/me") => {
            Reply::json(&json!({"type": "admin", "id": "1", "email": "a@example.org"}))
        }
        ("GET", _) => Reply::json(&json!({"type": "list", "data": [
            attribute("ltv_90d", "float"), attribute("city", "string"),
            attribute("vip", "boolean"), attribute("seats_used", "integer"),
        ]})),
        ("POST", "/contacts/search") => found(&[contact("6762f0cd1bb69f9f2193bb7c", "u_8841")]),
        ("POST", "/events") => Reply::status(202, ""),
        ("POST", "/companies") => {
            let sent: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
            Reply::json(&json!({"type": "company", "id": "c1", "company_id": sent["company_id"]}))
        }
        _ => Reply::json(&contact("6762f0cd1bb69f9f2193bb7c", "u_8841")),
    }
}

fn attribute(name: &str, data_type: &str) -> serde_json::Value {
    json!({"type": "data_attribute", "name": name, "full_name": format!("custom_attributes.{name}"),
        "data_type": data_type, "custom": true, "api_writable": true, "archived": false})
}

fn contact(id: &str, external_id: &str) -> serde_json::Value {
    json!({"type": "contact", "id": id, "external_id": external_id, "role": "user"})
}

fn found(contacts: &[serde_json::Value]) -> Reply {
    Reply::json(&json!({"type": "list", "data": contacts, "total_count": contacts.len()}))
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    let body = json!({"type": "error.list", "request_id": "a1", "errors": [{"code": code, "message": message}]});
    Reply::status(status, body.to_string())
}

fn made() -> Configured {
    configured("[destinations.i]\ntype = \"intercom\"\naccess_token = \"${T}\"\n").unwrap()
}

fn with(more: &str) -> Configured {
    let text =
        format!("[destinations.i]\ntype = \"intercom\"\naccess_token = \"${{T}}\"\n{more}\n");
    configured(&text).unwrap()
}

fn asked(names: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: names.iter().map(field).collect(), ..target() }
}

/// What comes of one identify when the search for the contact and what follows are answered so.
async fn identified(
    made: &Configured,
    replies: Vec<Reply>,
) -> (Result<Vec<Outcome>, Fault>, String) {
    let session = Session::served(&made.terms(), replies, made.server());
    let message = made.message(Call::Identify, MARA, Change::Changed, &[("ltv_90d", json!(1.5))]);
    let delivery =
        made.destination.deliver(&session, &super::Remote::default(), &batch([message])).await;
    let outcomes =
        delivery.map(|delivery| crate::destinations::fixture::receipt(delivery).into_outcomes());
    let calls = session.captured();
    let calls = calls.iter().map(|call| format!("{} {}", call.method, call.url));
    (outcomes, calls.collect::<Vec<_>>().join("\n").replace("https://api.intercom.io", ""))
}

#[tokio::test]
async fn requests() {
    let mut shown = String::new();
    for (kind, batch) in made().batches() {
        // Another destination each time, so that no id is remembered.
        let wire = made().converse(&batch, Vec::new()).await.wire();
        let wire = wire.replace("https://api.intercom.io", "");
        let calls = wire.lines().filter(|line| !line.starts_with("GET /data_attributes"));
        shown.push_str(&format!("{kind}\n{}\n", calls.collect::<Vec<_>>().join("\n")));
    }
    assert_snapshot!(shown, @r#"
    audience
    POST /contacts/search {"query":{"field":"external_id","operator":"=","value":"u_8841"}}
    PUT /contacts/6762f0cd1bb69f9f2193bb7c {"email":"mara.lind@example.org","name":"Mara Lind","custom_attributes":{"vip":true}}
    computed
    POST /events {"created_at":1795161816,"event_name":"Trait Computed","metadata":{"ltv_90d":812.4,"trait_key":"ltv_90d"},"user_id":"u_8841"}
    exit
    POST /contacts/search {"query":{"field":"external_id","operator":"=","value":"u_8842"}}
    PUT /contacts/6762f0cd1bb69f9f2193bb7c {"email":"ivo@example.org","name":"Ivo Ban","custom_attributes":{"vip":false}}
    group
    POST /companies {"company_id":"acct_310","custom_attributes":{"seats_used":41}}
    identify
    POST /contacts/search {"query":{"field":"external_id","operator":"=","value":"u_8841"}}
    PUT /contacts/6762f0cd1bb69f9f2193bb7c {"email":"mara.lind@example.org","name":"Mara Lind","custom_attributes":{"ltv_90d":812.4}}
    null
    POST /contacts/search {"query":{"field":"external_id","operator":"=","value":"u_8842"}}
    PUT /contacts/6762f0cd1bb69f9f2193bb7c {"email":"ivo@example.org","name":"Ivo Ban","custom_attributes":{"ltv_90d":null}}
    several
    POST /contacts/search {"query":{"field":"external_id","operator":"=","value":"u_8841"}}
    PUT /contacts/6762f0cd1bb69f9f2193bb7c {"email":"mara.lind@example.org","name":"Mara Lind","custom_attributes":{"ltv_90d":812.4}}
    track
    POST /events {"created_at":1795161816,"event_name":"Audience Entered","metadata":{"audience_key":"vip","vip":true},"user_id":"u_8841"}
    track exit
    POST /events {"created_at":1795161816,"event_name":"Audience Exited","metadata":{"audience_key":"vip","vip":false},"user_id":"u_8842"}
    unicode
    POST /contacts/search {"query":{"field":"external_id","operator":"=","value":"zoë"}}
    PUT /contacts/6762f0cd1bb69f9f2193bb7c {"email":"zoe+shop@example.org","name":"Zoë Aksoy","custom_attributes":{"city":"Zürich 🏪 \"A\" "}}
    "#);
}

#[tokio::test]
async fn a_request_names_the_version_and_hides_the_token() {
    let made = with("api_version = \"2.14\"\nregion = \"eu\"");
    let message = made.audience(Call::Track, MARA, Change::Entered);
    let wire = made.rehearse(&batch([message])).await;
    assert_snapshot!(wire.split_once("\n\n").unwrap().0, @r#"
    POST https://api.eu.intercom.io/events
    authorization: [secret]
    accept: application/json
    intercom-version: 2.14
    content-type: application/json
    "#);
}

#[tokio::test]
async fn a_contact_that_is_not_found_is_created_as_a_user() {
    let message = made().message(Call::Identify, MARA, Change::Entered, &[("ltv_90d", json!(1.5))]);
    let replies = vec![server_reply("/data_attributes"), found(&[])];
    let said = made().converse(&batch([message]), replies).await;
    assert_snapshot!(said.wire().lines().last().unwrap(), @r#"POST https://api.intercom.io/contacts {"role":"user","external_id":"u_8841","email":"mara.lind@example.org","name":"Mara Lind","custom_attributes":{"ltv_90d":1.5}}"#);
    assert_eq!(said.outcomes(), [Outcome::Delivered]);
}

fn server_reply(path: &str) -> Reply {
    let url = format!("https://api.intercom.io{path}");
    server(&Captured { method: "GET".into(), url, headers: Vec::new(), body: "".into() })
}

#[tokio::test]
async fn an_id_is_asked_for_once() {
    let made = made();
    let (_, first) = identified(&made, Vec::new()).await;
    let (_, second) = identified(&made, Vec::new()).await;
    assert_eq!(first, "POST /contacts/search\nPUT /contacts/6762f0cd1bb69f9f2193bb7c");
    assert_eq!(second, "PUT /contacts/6762f0cd1bb69f9f2193bb7c");
}

#[tokio::test]
async fn a_contact_that_went_away_is_looked_for_again() {
    let made = made();
    let (outcomes, _) = identified(&made, Vec::new()).await;
    assert_eq!(outcomes, Ok(vec![Outcome::Delivered]));
    for (status, code) in [(404, "not_found"), (410, "contact_merged")] {
        let (outcomes, _) = identified(&made, vec![error(status, code, "User Not Found")]).await;
        assert!(matches!(outcomes.unwrap()[..], [Outcome::Retry { after: None, .. }]));
        let (outcomes, calls) = identified(&made, Vec::new()).await;
        assert_eq!(outcomes, Ok(vec![Outcome::Delivered]));
        assert!(calls.starts_with("POST /contacts/search"), "{calls}");
    }
}

#[tokio::test]
async fn a_contact_that_the_search_does_not_show_yet_is_updated() {
    let conflict =
        || error(409, "conflict", "A contact matching those details already exists with id=abc1");
    let replies = vec![found(&[]), conflict(), Reply::json(&contact("abc1", "u_8841"))];
    let (outcomes, calls) = identified(&made(), replies).await;
    assert_eq!(outcomes, Ok(vec![Outcome::Delivered]));
    assert_eq!(
        calls,
        "POST /contacts/search\nPOST /contacts\nGET /contacts/abc1\nPUT /contacts/abc1"
    );

    let somebody_else = vec![found(&[]), conflict(), Reply::json(&contact("abc1", "u_1"))];
    let (outcomes, calls) = identified(&made(), somebody_else).await;
    assert!(matches!(outcomes.unwrap()[..], [Outcome::Rejected { .. }]));
    assert!(!calls.contains("PUT"));

    for replies in [
        vec![found(&[]), error(409, "conflict", "It is there already")],
        vec![found(&[]), conflict(), error(404, "not_found", "User Not Found")],
    ] {
        let (outcomes, _) = identified(&made(), replies).await;
        assert!(matches!(outcomes.unwrap()[..], [Outcome::Retry { .. }]));
    }
}

#[tokio::test]
async fn several_contacts_with_one_external_id_count_as_none() {
    let two = found(&[contact("a", "u_8841"), contact("b", "u_8841")]);
    let (_, calls) = identified(&made(), vec![two]).await;
    assert_eq!(calls, "POST /contacts/search\nPOST /contacts");
}

#[tokio::test(start_paused = true)]
async fn every_refusal_has_its_remedy() {
    let search = || found(&[contact("a", "u_8841")]);
    let said = |reply| async { identified(&made(), vec![search(), reply]).await.0 };
    let undeclared = "Custom attribute 'ltv_90d' does not exist";
    assert!(matches!(
        said(error(400, "parameter_invalid", undeclared)).await,
        Err(Fault::Misconfigured { .. })
    ));
    let invalid = error(400, "parameter_invalid", "email is invalid");
    assert!(matches!(said(invalid).await, Err(Fault::Rejected { .. })));
    let taken = error(409, "conflict", "Email is taken");
    assert!(matches!(said(taken).await.unwrap()[..], [Outcome::Rejected { .. }]));
    let plan = error(403, "api_plan_restricted", "Active subscription needed.");
    assert!(matches!(said(plan).await, Err(Fault::Denied { .. })));
    let elsewhere = Reply::status(404, "<html>no such page</html>");
    assert!(matches!(said(elsewhere).await, Err(Fault::Misconfigured { .. })));
    let busy =
        error(503, "service_unavailable", "Sorry, the API service is temporarily unavailable");
    assert_eq!(said(busy).await, Ok(vec![Outcome::Delivered]));
}

#[tokio::test(start_paused = true)]
async fn a_used_up_window_is_waited_for() {
    let limited = |remaining, reply: Reply| {
        reply.with_header("x-ratelimit-remaining", remaining).with_header("x-ratelimit-reset", "9")
    };
    let exceeded = error(429, "rate_limit_exceeded", "Exceeded rate limit of 1667 in 10_seconds");
    for (reply, seconds) in
        [(limited("0", exceeded), 9), (limited("0", found(&[])), 9), (limited("1", found(&[])), 0)]
    {
        let started = tokio::time::Instant::now();
        let (outcomes, _) = identified(&made(), vec![reply]).await;
        assert_eq!(outcomes, Ok(vec![Outcome::Delivered]));
        assert_eq!(started.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn an_event_of_somebody_unknown_is_rejected_and_only_silence_is_success() {
    let made = made();
    let said = |reply| async {
        let entered = batch([made.audience(Call::Track, MARA, Change::Entered)]);
        made.converse(&entered, vec![reply]).await.result
    };
    let unknown = said(error(404, "not_found", "User Not Found")).await.unwrap();
    assert!(matches!(unknown[..], [Outcome::Rejected { .. }]));
    assert_eq!(said(Reply::status(202, "")).await, Ok(vec![Outcome::Delivered]));
    assert!(matches!(said(Reply::status(202, "OK")).await, Err(Fault::Protocol { .. })));
}

#[tokio::test]
async fn events_of_one_run_are_dated_apart_and_the_same_every_time() {
    let made = made();
    let dated = |message: Message| {
        message
            .events()
            .iter()
            .map(|event| super::moment(&message, event).unwrap())
            .collect::<Vec<_>>()
    };
    let two = [("ltv_90d", json!(1.5)), ("orders", json!(2))];
    let message = || made.message(Call::Track, MARA, Change::Changed, &two);
    let dates = dated(message());
    assert_eq!(dates, dated(message()));
    assert_ne!(dates[0], dates[1]);
    let run = 1_795_165_200;
    assert!(dates.iter().all(|at| *at <= run && *at > run - super::SPREAD), "{dates:?}");
}

#[tokio::test]
async fn metadata_is_flat() {
    let made = made();
    let values = [("tags", json!(["a"])), ("gone", json!(null)), ("a.b$", json!("x"))];
    let message = made.message(Call::Track, MARA, Change::Changed, &values);
    let said = made.converse(&batch([message]), Vec::new()).await;
    let sent = said.captured.iter().map(|call| {
        let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
        body["metadata"].to_string()
    });
    assert_snapshot!(sent.collect::<Vec<_>>().join("\n"), @r#"
    {"trait_key":"tags"}
    {"trait_key":"gone"}
    {"a_b_":"x","trait_key":"a.b$"}
    "#);
}

#[tokio::test]
async fn a_company_is_not_taken_for_another_one() {
    let made = made();
    let message = made.message(Call::Group, ACCOUNT, Change::Changed, &[]);
    let other = Reply::json(&json!({"type": "company", "id": "c", "company_id": "acct_1"}));
    let said = made.converse(&batch([message]), vec![other]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
}

#[tokio::test]
async fn attributes_are_found_or_declared() {
    let made = made();
    let wanted = asked(&[
        ("ltv_90d", FieldKind::Number),
        ("Été/2026", FieldKind::Timestamp),
        ("seats_used", FieldKind::Integer),
    ]);
    let declared = Reply::json(&attribute("Été_2026", "date"));
    let replies = vec![server_reply("/data_attributes"), declared];
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = made.destination.open(&session, &wanted).await.unwrap();
    assert_eq!(remote, super::Remote::default());
    let calls = session.captured();
    assert_eq!(calls.len(), 2);
    assert!(calls[0].url.ends_with("/data_attributes?model=contact"));
    assert_snapshot!(String::from_utf8_lossy(&calls[1].body), @r#"{"data_type":"datetime","model":"contact","name":"Été_2026"}"#);

    let account =
        Target { level: Level::Account, call: Call::Group, ..asked(&[("vip", FieldKind::Bool)]) };
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    made.destination.open(&session, &account).await.unwrap();
    assert!(session.captured()[0].url.ends_with("?model=company"));
}

async fn refusal(made: &Configured, wanted: &Target, replies: Vec<Reply>) -> String {
    let session = Session::served(&made.terms(), replies, made.server());
    match made.destination.open(&session, wanted).await {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_attribute_that_cannot_be_used_stops_the_sync() {
    let made = made();
    let new = asked(&[("new", FieldKind::Date)]);
    assert_snapshot!(refusal(&with("create_fields = false"), &new, Vec::new()).await, @r#"Intercom has no contact attribute `new`: declare it with the type `date`, or set `create_fields = true`"#);
    let other_type = asked(&[("city", FieldKind::Bool)]);
    assert_snapshot!(refusal(&made, &other_type, Vec::new()).await, @r#"Intercom's attribute `city` is of type `string`, not `boolean`: archive it, or send the column under another alias"#);
    let theirs = json!({"data": [{"name": "new", "data_type": "date", "custom": false}]});
    assert_snapshot!(refusal(&made, &new, vec![Reply::json(&theirs)]).await, @r#"`new` is an attribute that Intercom keeps to itself"#);
    let twice = "You already have 'new' in your company data.";
    let replies = vec![server_reply("/data_attributes"), error(400, "parameter_invalid", twice)];
    assert_snapshot!(refusal(&made, &new, replies).await, @r#"Intercom refuses to declare the attribute `new`: HTTP 400 Bad Request: {"errors":[{"code":"parameter_invalid","message":"You already have 'new' in your company data."}],"request_id":"a1","type":"error.list"}"#);
}

#[test]
fn what_intercom_keeps_to_itself_or_cannot_hold_is_objected_to() {
    let made = made();
    let wanted = asked(&[
        ("Email", FieldKind::Text),
        ("tags", FieldKind::Nested),
        ("fine", FieldKind::Text),
    ]);
    assert_snapshot!(made.destination.objections(&wanted).join("\n"), @r#"
    `Email` is the name of one of Intercom's own attributes: give it another alias
    `tags` is a list or a structure, which Intercom's attributes cannot hold
    "#);
    let track = Target { call: Call::Track, ..wanted };
    assert_eq!(made.destination.objections(&track), Vec::<String>::new());
}

#[tokio::test]
async fn wrong_credentials_are_told_by_the_check() {
    let made = made();
    let check = |reply| async {
        made.destination.check(&Session::served(&made.terms(), vec![reply], made.server())).await
    };
    let wrong = error(401, "unauthorized", "Access Token Invalid");
    assert!(matches!(check(wrong).await, Err(Fault::Denied { .. })));
    assert!(matches!(check(found(&[])).await, Err(Fault::Protocol { .. })));
    let exit = made.audience(Call::Identify, IVO, Change::Exited);
    assert!(!exit.is_member());
}
