//! What HubSpot is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use super::properties::{property_name, text};
use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    ACCOUNT, Conversation, IVO, MARA, batch, configured, target, told,
};
use crate::destinations::{Configured, Fault, Field, FieldKind, Outcome, Target};
use crate::record::{Call, Change, Value};

const NUMBER: &str = "number";

fn property(name: &str, kind: &str) -> Json {
    json!({"name": name, "label": name, "type": kind, "fieldType": "text", "options": [],
        "groupName": "contactinformation", "description": "", "hasUniqueValue": name.ends_with("_id")})
}

fn complete(results: Vec<Json>) -> Json {
    json!({"status": "COMPLETE", "results": results, "startedAt": "2026-11-20T09:00:00.1Z",
        "completedAt": "2026-11-20T09:00:00.4Z"})
}

/// The id under which the server knows somebody.
fn id_of(email: &str) -> String {
    format!("55{}", email.len())
}

fn record(id: &str, properties: &Json) -> Json {
    json!({"id": id, "properties": properties, "createdAt": "2026-01-02T00:00:00Z",
        "updatedAt": "2026-11-20T09:00:00Z", "archived": false})
}

/// All is well; whoever is called `ivo` is not there yet, and new records are not named.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let inputs = body["inputs"].as_array().cloned().unwrap_or_default();
    let url = request.url.split('?').next().unwrap_or_default();
    let path = url.rsplit("/crm/").next().unwrap_or_default();
    if path.contains("/events/") {
        return Reply::status(204, "");
    }
    if request.method == "GET" {
        let unique = ["external_account_id", "ext_user_id"].map(|name| property(name, "string"));
        let all =
            [property("ltv_90d", NUMBER), property("city", "string"), property("vip", "bool")];
        let more = [property("seats_used", NUMBER), property("email", "string")];
        let listed: Vec<Json> = unique.into_iter().chain(all).chain(more).collect();
        let results = if path.contains("properties") { listed } else { Vec::new() };
        return Reply::json(&json!({ "results": results }));
    }
    let results = inputs.iter().filter_map(|input| {
        let id = input["id"].as_str().unwrap_or("90");
        match path.rsplit('/').next() {
            Some("read") if id.starts_with("ivo") => None,
            Some("read") => Some(record(&id_of(id), &json!({"email": id}))),
            Some("create") => Some(record("9011", &input["properties"])),
            Some("upsert") => {
                let mut record = record("9012", &input["properties"]);
                record["new"] = true.into();
                record["objectWriteTraceId"] = input["objectWriteTraceId"].clone();
                Some(record)
            }
            _ => Some(record(id, &input["properties"])),
        }
    });
    let results: Vec<Json> = results.collect();
    let missing = inputs.len() - results.len();
    let mut said = complete(results);
    if missing == 0 {
        return Reply::status(if path.ends_with("create") { 201 } else { 200 }, said.to_string());
    }
    said["numErrors"] = 1.into();
    said["errors"] = json!([gone(&["ivo@example.org"])]);
    Reply::status(207, said.to_string())
}

fn gone(ids: &[&str]) -> Json {
    let message = "Could not get some CONTACT objects, they may be deleted or not exist.";
    json!({"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": {"ids": ids}})
}

fn hubspot(more: &str) -> Configured {
    let token = if more.contains("client_id") { "" } else { "access_token = \"${TOKEN}\"\n" };
    let text = format!("[destinations.h]\ntype = \"hubspot\"\n{token}{more}");
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

const COMPANY: &str = "company_id_property = \"external_account_id\"\n";
const UNIQUE: &str = "contact_id_property = \"ext_user_id\"\n";

/// What all kinds of batches become, without looking at properties.
async fn wires(made: &Configured) -> String {
    let mut shown = String::new();
    let batches =
        made.batches().into_iter().filter(|(_, batch)| batch.messages()[0].call() != Call::Track);
    for (name, batch) in batches {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        let lines = wire.lines().filter(|line| !line.starts_with("GET "));
        let lines: Vec<_> =
            lines.map(|line| line.replace("https://api.hubapi.com/crm", "")).collect();
        shown.push_str(&format!("{name}\n{}\n", lines.join("\n")));
    }
    shown
}

/// What became of one batch, after `well` replies that are well.
async fn answered(made: &Configured, well: usize, status: u16, body: Json) -> Conversation {
    made.converse_after(&made.several(), well, Reply::status(status, body.to_string())).await
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: reason.into() }
}

fn refusal(token: &str, category: &str, message: &str) -> Json {
    json!({"status": "error", "category": category, "message": message,
        "context": {"objectWriteTraceId": [token]}, "errors": [], "links": {}})
}

fn partial(results: Vec<Json>, errors: Vec<Json>) -> Json {
    let mut said = complete(results);
    said["numErrors"] = errors.len().into();
    said["errors"] = errors.into();
    said
}

#[tokio::test]
async fn by_email_contacts_are_looked_up_then_updated_or_created() {
    assert_snapshot!(wires(&hubspot(COMPANY)).await, @r#"
    audience
    POST /v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"mara.lind@example.org"}],"properties":["email","hs_additional_emails"],"propertiesWithHistory":[]}
    POST /v3/objects/contacts/batch/update {"inputs":[{"id":"5521","objectWriteTraceId":"0","properties":{"vip":"true"}}]}
    exit
    POST /v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"ivo@example.org"}],"properties":["email","hs_additional_emails"],"propertiesWithHistory":[]}
    POST /v3/objects/contacts/batch/create {"inputs":[{"objectWriteTraceId":"0","associations":[],"properties":{"vip":"false","email":"ivo@example.org"}}]}
    group
    POST /v3/objects/companies/batch/upsert {"inputs":[{"id":"acct_310","idProperty":"external_account_id","objectWriteTraceId":"0","properties":{"seats_used":"41"}}]}
    identify
    POST /v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"mara.lind@example.org"}],"properties":["email","hs_additional_emails"],"propertiesWithHistory":[]}
    POST /v3/objects/contacts/batch/update {"inputs":[{"id":"5521","objectWriteTraceId":"0","properties":{"ltv_90d":"812.4"}}]}
    null
    POST /v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"ivo@example.org"}],"properties":["email","hs_additional_emails"],"propertiesWithHistory":[]}
    POST /v3/objects/contacts/batch/create {"inputs":[{"objectWriteTraceId":"0","associations":[],"properties":{"ltv_90d":"","email":"ivo@example.org"}}]}
    several
    POST /v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"mara.lind@example.org"},{"id":"ivo@example.org"},{"id":"zoe+shop@example.org"}],"properties":["email","hs_additional_emails"],"propertiesWithHistory":[]}
    POST /v3/objects/contacts/batch/update {"inputs":[{"id":"5521","objectWriteTraceId":"0","properties":{"ltv_90d":"812.4"}},{"id":"5520","objectWriteTraceId":"2","properties":{"ltv_90d":"-3.5"}}]}
    POST /v3/objects/contacts/batch/create {"inputs":[{"objectWriteTraceId":"1","associations":[],"properties":{"ltv_90d":"7","email":"ivo@example.org"}}]}
    unicode
    POST /v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"zoe+shop@example.org"}],"properties":["email","hs_additional_emails"],"propertiesWithHistory":[]}
    POST /v3/objects/contacts/batch/update {"inputs":[{"id":"5520","objectWriteTraceId":"0","properties":{"city":"Zürich 🏪 \"A\" "}}]}
    "#);
}

#[tokio::test]
async fn by_a_property_of_unique_values_contacts_are_written_in_one_request() {
    let made = hubspot(&format!("{UNIQUE}{COMPANY}"));
    assert_snapshot!(wires(&made).await, @r#"
    audience
    POST /v3/objects/contacts/batch/upsert {"inputs":[{"id":"u_8841","idProperty":"ext_user_id","objectWriteTraceId":"0","properties":{"vip":"true","email":"mara.lind@example.org"}}]}
    exit
    POST /v3/objects/contacts/batch/upsert {"inputs":[{"id":"u_8842","idProperty":"ext_user_id","objectWriteTraceId":"0","properties":{"vip":"false","email":"ivo@example.org"}}]}
    group
    POST /v3/objects/companies/batch/upsert {"inputs":[{"id":"acct_310","idProperty":"external_account_id","objectWriteTraceId":"0","properties":{"seats_used":"41"}}]}
    identify
    POST /v3/objects/contacts/batch/upsert {"inputs":[{"id":"u_8841","idProperty":"ext_user_id","objectWriteTraceId":"0","properties":{"ltv_90d":"812.4","email":"mara.lind@example.org"}}]}
    null
    POST /v3/objects/contacts/batch/upsert {"inputs":[{"id":"u_8842","idProperty":"ext_user_id","objectWriteTraceId":"0","properties":{"ltv_90d":"","email":"ivo@example.org"}}]}
    several
    POST /v3/objects/contacts/batch/upsert {"inputs":[{"id":"u_8841","idProperty":"ext_user_id","objectWriteTraceId":"0","properties":{"ltv_90d":"812.4","email":"mara.lind@example.org"}},{"id":"u_8842","idProperty":"ext_user_id","objectWriteTraceId":"1","properties":{"ltv_90d":"7","email":"ivo@example.org"}},{"id":"zoë","idProperty":"ext_user_id","objectWriteTraceId":"2","properties":{"ltv_90d":"-3.5","email":"zoe+shop@example.org"}}]}
    unicode
    POST /v3/objects/contacts/batch/upsert {"inputs":[{"id":"zoë","idProperty":"ext_user_id","objectWriteTraceId":"0","properties":{"city":"Zürich 🏪 \"A\" ","email":"zoe+shop@example.org"}}]}
    "#);
    let quiet = hubspot(&format!("{UNIQUE}send_email = false\n"));
    let said = quiet.converse(&quiet.several(), Vec::new()).await;
    assert!(!said.wire().contains("\"email\""));
}

const EVENTS: &str = "event_prefix = \"pe1_\"\n";

#[tokio::test]
async fn events_name_the_contact_by_email_and_are_told_apart_by_an_id() {
    let made = hubspot(EVENTS);
    let two = [("ltv_90d", json!(1.5)), ("born", json!(null))];
    let computed = made.message(Call::Track, MARA, Change::Changed, &two);
    let said = made.converse(&batch([computed]), Vec::new()).await;
    assert_snapshot!(said.wire().replace("},{", "},\n{"), @r#"
    POST https://api.hubapi.com/events/v3/send/batch {"inputs":[{"eventName":"pe1_trait_computed","email":"mara.lind@example.org","occurredAt":"2026-11-20T09:00:00Z","uuid":"6d617261-2e6c-696e-6440-6578616d706c","properties":{"trait_key":"ltv_90d","ltv_90d":"1.5"}},
    {"eventName":"pe1_trait_computed","email":"mara.lind@example.org","occurredAt":"2026-11-20T09:00:00Z","uuid":"f5eacee1-bb16-8c39-495d-7876a6e9ba5c","properties":{"trait_key":"born"}}]}
    "#);
    let entered = made.audience(Call::Track, IVO, Change::Entered);
    assert_snapshot!(made.converse(&batch([entered]), Vec::new()).await.wire(), @r#"POST https://api.hubapi.com/events/v3/send/batch {"inputs":[{"eventName":"pe1_audience_entered","email":"ivo@example.org","occurredAt":"2026-11-20T09:00:00Z","uuid":"69766f40-6578-616d-706c-652e6f726700","properties":{"audience_key":"vip","vip":"true"}}]}"#);
    let lengthy = asked(&[(&"x".repeat(51), FieldKind::Text)]);
    let lengthy = Target { call: Call::Track, ..lengthy };
    assert_eq!(made.destination.objections(&lengthy).len(), 1);
}

#[tokio::test]
async fn no_request_holds_more_events_than_hubspot_takes() {
    let made = hubspot(EVENTS);
    let values = ["a", "b", "c", "d", "e", "f"].map(|name| (name, json!(1)));
    let messages = (0..100).map(|_| made.message(Call::Track, MARA, Change::Changed, &values));
    let said = made.converse(&batch(messages), Vec::new()).await;
    let count = |request: &Captured| {
        let body: Json = serde_json::from_slice(&request.body).unwrap();
        body["inputs"].as_array().unwrap().len()
    };
    let counts: Vec<_> = said.captured.iter().map(count).collect();
    assert_eq!(counts, [498, 102]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 100]);
}

#[tokio::test]
async fn only_silence_is_success_for_events() {
    let made = hubspot(EVENTS);
    let said = |reply| async {
        let entered = [MARA, IVO].map(|user| made.audience(Call::Track, user, Change::Entered));
        made.converse(&batch(entered), vec![reply]).await.result
    };
    assert_eq!(said(Reply::status(204, "")).await, Ok(vec![Outcome::Delivered; 2]));
    assert_eq!(said(Reply::status(200, "{}")).await, Ok(vec![Outcome::Delivered; 2]));
    for body in ["{\"status\":\"error\"}", "OK", "[]"] {
        assert!(matches!(said(Reply::status(200, body)).await, Err(Fault::Protocol { .. })));
    }
    let unknown = json!({"status": "error", "category": "VALIDATION_ERROR"}).to_string();
    assert!(matches!(said(Reply::status(400, unknown)).await, Err(Fault::Rejected { .. })));
}

#[tokio::test]
async fn events_without_a_prefix_are_never_sent() {
    let made = hubspot("");
    let track = Target { call: Call::Track, ..asked(&[]) };
    assert_snapshot!(made.destination.objections(&track).join("\n"), @"events need `event_prefix`: what HubSpot puts before the names of this account's events");
    let entered = made.audience(Call::Track, MARA, Change::Entered);
    let said = made.converse(&batch([entered]), Vec::new()).await;
    assert!(said.captured.is_empty());
    assert_eq!(said.outcomes(), [rejected("there is no `event_prefix`")]);
}

#[tokio::test]
async fn the_first_request_is_authorised_by_the_token() {
    let made = hubspot("");
    let said = made.converse(&made.several(), Vec::new()).await;
    let show = |request: &Captured| {
        let headers = request.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
        format!("{} {}\n{}", request.method, request.url, headers.collect::<String>())
    };
    assert_snapshot!(said.captured.iter().take(2).map(show).collect::<String>(), @r#"
    GET https://api.hubapi.com/crm/v3/properties/contacts
    accept: application/json
    authorization: [secret]
    POST https://api.hubapi.com/crm/v3/objects/contacts/batch/read
    accept: application/json
    authorization: [secret]
    content-type: application/json
    "#);
}

#[tokio::test]
async fn versions_and_addresses_are_as_configured() {
    let made = hubspot("api_version = \"2026-03\"\nbase_url = \"http://127.0.0.1:9/proxy/\"\n");
    let session = Session::served(&made.terms(), Vec::new(), server);
    made.destination.check(&session).await.unwrap();
    made.converse_through(&session, &made.several()).await.outcomes();
    let calls = session.captured();
    let calls = calls.iter().map(|call| format!("{} {}\n", call.method, call.url));
    assert_snapshot!(calls.collect::<String>(), @r#"
    GET http://127.0.0.1:9/proxy/crm/objects/2026-03/contacts?limit=1
    GET http://127.0.0.1:9/proxy/crm/properties/2026-03/contacts
    POST http://127.0.0.1:9/proxy/crm/objects/2026-03/contacts/batch/read
    POST http://127.0.0.1:9/proxy/crm/objects/2026-03/contacts/batch/update
    POST http://127.0.0.1:9/proxy/crm/objects/2026-03/contacts/batch/create
    "#);
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_and_renewed() {
    let made = hubspot(
        "client_id = \"app\"\nclient_secret = \"${SECRET}\"\nrefresh_token = \"${REFRESH}\"\n",
    );
    let token = |name: &str| Reply::json(&json!({"access_token": name, "expires_in": 1800}));
    let replies = vec![token("t1"), Reply::status(401, "{}"), token("t2")];
    let session = Session::served(&made.terms(), replies, server);
    let said = made.converse_through(&session, &made.several()).await;
    assert_snapshot!(said.wire().lines().take(3).collect::<Vec<_>>().join("\n"), @r#"
    GET https://api.hubapi.com/crm/v3/properties/contacts
    POST https://api.hubapi.com/oauth/v1/token grant_type=refresh_token&client_id=app&refresh_token=[secret]&client_secret=[secret]
    POST https://api.hubapi.com/oauth/v1/token grant_type=refresh_token&client_id=app&refresh_token=[secret]&client_secret=[secret]
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn no_request_names_a_record_twice() {
    let made = hubspot("");
    let both =
        json!({"email": MARA.email, "hs_additional_emails": "x@example.org;Ivo@Example.org"});
    let found = complete(vec![record("1", &both)]);
    let listing = server(&Captured {
        method: "GET".into(),
        url: "https://api.hubapi.com/crm/v3/properties/contacts".into(),
        headers: Vec::new(),
        body: "".into(),
    });
    let said = made.converse(&made.several(), vec![listing, Reply::json(&found)]).await;
    assert_snapshot!(said.wire().lines().skip(2).collect::<Vec<_>>().join("\n"), @r#"
    POST https://api.hubapi.com/crm/v3/objects/contacts/batch/update {"inputs":[{"id":"1","objectWriteTraceId":"0","properties":{"ltv_90d":"812.4"}}]}
    POST https://api.hubapi.com/crm/v3/objects/contacts/batch/update {"inputs":[{"id":"1","objectWriteTraceId":"1","properties":{"ltv_90d":"7"}}]}
    POST https://api.hubapi.com/crm/v3/objects/contacts/batch/create {"inputs":[{"objectWriteTraceId":"2","associations":[],"properties":{"ltv_90d":"-3.5","email":"zoe+shop@example.org"}}]}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn no_request_holds_more_than_hubspot_takes() {
    let made = hubspot(UNIQUE);
    let text = "x".repeat(40_000);
    let message = |_| made.message(Call::Identify, MARA, Change::Changed, &[("city", json!(text))]);
    let said = made.converse(&batch((0..100).map(message)), Vec::new()).await;
    let sizes: Vec<_> = said.captured[1..].iter().map(|request| request.body.len()).collect();
    assert!(sizes.len() == 2 && sizes.iter().all(|size| *size <= 3_000_100), "{sizes:?}");
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 100]);
}

#[tokio::test]
async fn refused_rows_are_named_by_their_token() {
    let made = hubspot(UNIQUE);
    let errors = vec![
        refusal("1", "VALIDATION_ERROR", "not-an-email is not a valid email"),
        refusal("2", "", ""),
    ];
    let written = record("9", &json!({}));
    assert_eq!(
        answered(&made, 1, 207, partial(vec![written], errors)).await.outcomes(),
        [
            Outcome::Delivered,
            rejected("not-an-email is not a valid email (VALIDATION_ERROR)"),
            rejected("refused without a reason"),
        ]
    );
}

/// As other people recorded it.
#[tokio::test]
async fn a_partial_reply_may_lack_its_status() {
    let made = hubspot(UNIQUE);
    let results = [record("9", &json!({})), record("10", &json!({}))];
    let body = json!({"results": results, "errors": [refusal("1", "VALIDATION_ERROR", "no")]});
    assert_eq!(
        answered(&made, 1, 207, body).await.outcomes(),
        [Outcome::Delivered, rejected("no (VALIDATION_ERROR)"), Outcome::Delivered]
    );
}

#[tokio::test]
async fn nothing_is_written_that_the_reply_does_not_account_for() {
    let made = hubspot(UNIQUE);
    let unsettled = Outcome::Unsettled { reason: "HubSpot neither confirms nor refuses it".into() };
    let said = answered(&made, 1, 200, complete(Vec::new())).await;
    assert_eq!(said.outcomes(), vec![unsettled.clone(); 3]);
    let mut named = record("9", &json!({}));
    named["objectWriteTraceId"] = "1".into();
    let said = answered(&made, 1, 200, complete(vec![named])).await;
    assert_eq!(said.outcomes(), [unsettled.clone(), Outcome::Delivered, unsettled]);
}

#[tokio::test]
async fn a_refusal_that_names_nobody_is_halved() {
    let made = hubspot(UNIQUE);
    let vague = |message| json!({"category": "VALIDATION_ERROR", "message": message});
    let body = partial(vec![record("9", &json!({}))], vec![vague("a"), vague("b"), vague("b")]);
    let Err(Fault::Rejected { reason }) = answered(&made, 1, 207, body).await.result else {
        panic!()
    };
    assert_eq!(reason, "a (VALIDATION_ERROR); b (VALIDATION_ERROR)");
}

#[tokio::test]
async fn a_contact_that_is_gone_is_looked_up_again() {
    let made = hubspot("");
    // The reply to the update of two, after the list of properties and the look-up.
    for ids in [vec![""], vec!["5521"]] {
        let written = record("5520", &json!({}));
        let said = answered(&made, 2, 207, partial(vec![written], vec![gone(&ids)])).await;
        let outcomes = said.outcomes();
        assert!(matches!(outcomes[0], Outcome::Retry { after: None, .. }), "{outcomes:?}");
        assert_eq!(outcomes[1..], [Outcome::Delivered, Outcome::Delivered]);
    }
}

#[tokio::test]
async fn a_contact_that_the_look_up_does_not_show_yet_is_updated_at_once_afterwards() {
    let conflict = "Contact already exists. Existing ID: 171591000198";
    let named = partial(Vec::new(), vec![refusal("1", "CONFLICT", conflict)]);
    let whole = json!({"status": "error", "category": "CONFLICT", "message": conflict});
    for (status, body) in [(207, named), (409, whole)] {
        let made = hubspot("");
        let said = answered(&made, 3, status, body).await;
        let outcomes = said.outcomes();
        assert!(matches!(outcomes[1], Outcome::Retry { after: None, .. }), "{outcomes:?}");
        assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
        // Now that it is known, nobody is looked up or created.
        let ivo = made.message(Call::Identify, IVO, Change::Changed, &[("ltv_90d", json!(7))]);
        let said = made.converse(&batch([ivo]), Vec::new()).await;
        let update = r#"POST https://api.hubapi.com/crm/v3/objects/contacts/batch/update {"inputs":[{"id":"171591000198","objectWriteTraceId":"0","properties":{"ltv_90d":"7"}}]}"#;
        assert_eq!(said.wire().lines().skip(1).collect::<Vec<_>>(), [update]);
    }
}

#[tokio::test]
async fn a_conflict_is_somebody_else_where_the_email_is_not_the_identifier() {
    let made = hubspot(UNIQUE);
    let conflict = "Contact already exists. Existing ID: 17";
    let body = partial(
        vec![record("9", &json!({})), record("10", &json!({}))],
        vec![refusal("0", "CONFLICT", conflict)],
    );
    let outcomes = answered(&made, 1, 207, body).await.outcomes();
    assert_eq!(outcomes[0], rejected(&format!("{conflict} (CONFLICT)")));
    let whole = json!({"status": "error", "category": "CONFLICT", "message": conflict});
    let said = answered(&made, 1, 409, whole).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
}

#[tokio::test]
async fn what_is_not_an_answer_to_this_request_is_not_believed() {
    let made = hubspot(UNIQUE);
    let mut stranger = record("9", &json!({}));
    stranger["objectWriteTraceId"] = "7".into();
    let mut pending = complete(Vec::new());
    pending["status"] = "PENDING".into();
    for (status, body) in [
        (200, json!([])),
        (200, json!({})),
        (204, json!({})),
        (200, pending),
        (200, complete(vec![stranger])),
        (207, partial(Vec::new(), vec![refusal("7", "", "")])),
    ] {
        let said = answered(&made, 1, status, body.clone()).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{status} {body}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_refusal_as_a_whole_has_its_remedy() {
    let made = hubspot(UNIQUE);
    let error = |category: &str, message: &str| json!({"status": "error", "category": category, "message": message});
    let unknown = "Property values were not valid: [{\"error\":\"PROPERTY_DOESNT_EXIST\"}]";
    for (status, body, wanted) in [
        (400, error("VALIDATION_ERROR", "Duplicate IDs found"), "refused"),
        (400, error("VALIDATION_ERROR", unknown), "misconfigured"),
        (
            207,
            partial(Vec::new(), vec![refusal("0", "VALIDATION_ERROR", unknown)]),
            "misconfigured",
        ),
        (
            403,
            error("MISSING_SCOPES", "This app hasn't been granted all required scopes"),
            "credentials",
        ),
        (404, json!({}), "misconfigured"),
    ] {
        let said = answered(&made, 1, status, body).await;
        let told = said.result.unwrap_err().to_string();
        assert!(told.starts_with(wanted), "{status} {told}");
    }
    for (status, body, seconds) in [
        (429, json!({"policyName": "TEN_SECONDLY_ROLLING"}), 10),
        (423, json!({}), 1),
        (503, json!({}), 0),
    ] {
        let started = tokio::time::Instant::now();
        let said = answered(&made, 1, status, body).await;
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3], "{status}");
        assert_eq!(started.elapsed().as_secs(), seconds, "{status}");
    }
    // Nobody waits for tomorrow: the rows stay pending.
    let said = answered(&made, 1, 429, json!({"policyName": "DAILY"})).await;
    assert!(matches!(said.result, Err(Fault::Throttled { retry_after: Some(_), .. })));
}

fn asked(fields: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: fields.iter().map(field).collect(), ..target() }
}

#[tokio::test]
async fn properties_that_are_missing_are_created_together() {
    let made = hubspot("contact_id_property = \"shop_id\"\n");
    let wanted = asked(&[
        ("ltv_90d", FieldKind::Integer),
        ("Gold Member", FieldKind::Bool),
        ("born", FieldKind::Date),
        ("seen", FieldKind::Timestamp),
        ("tags", FieldKind::Nested),
    ]);
    let names = ["shop_id", "gold_member", "born", "seen", "tags"];
    let kinds = ["string", "bool", "date", "datetime", "string"];
    let after: Vec<_> = names.iter().zip(kinds).map(|(name, kind)| property(name, kind)).collect();
    let listed = |all: Vec<Json>| Reply::json(&json!({"results": all}));
    let replies = vec![
        listed(vec![property("ltv_90d", NUMBER)]),
        Reply::json(&complete(Vec::new())),
        listed(after),
    ];
    let session = Session::served(&made.terms(), replies, server);
    assert_eq!(
        made.destination.open(&session, &wanted).await,
        Ok(crate::destinations::Remote::default())
    );
    let created = session.captured();
    assert_eq!(created.len(), 3);
    assert_eq!(created[1].url, "https://api.hubapi.com/crm/v3/properties/contacts/batch/create");
    let body =
        String::from_utf8_lossy(&created[1].body).replace("},{\"fieldType", "},\n{\"fieldType");
    assert_snapshot!(body, @r#"
    {"inputs":[{"fieldType":"text","groupName":"contactinformation","hasUniqueValue":true,"label":"shop_id","name":"shop_id","type":"string"},
    {"fieldType":"booleancheckbox","groupName":"contactinformation","label":"Gold Member","name":"gold_member","options":[{"displayOrder":0,"hidden":false,"label":"true","value":"true"},{"displayOrder":1,"hidden":false,"label":"false","value":"false"}],"type":"enumeration"},
    {"fieldType":"date","groupName":"contactinformation","label":"born","name":"born","type":"date"},
    {"fieldType":"date","groupName":"contactinformation","label":"seen","name":"seen","type":"datetime"},
    {"fieldType":"textarea","groupName":"contactinformation","label":"tags","name":"tags","type":"string"}]}
    "#);
}

async fn opened(made: &Configured, wanted: &Target, replies: Vec<Reply>) -> String {
    let session = Session::served(&made.terms(), replies, server);
    match made.destination.open(&session, wanted).await {
        Err(Fault::Misconfigured { reason }) => reason,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_property_that_cannot_be_used_stops_the_sync() {
    let made = hubspot(COMPANY);
    let of = |name, kind: &str| {
        let mut all = vec![property("external_account_id", "string")];
        all.push(property(name, kind));
        all
    };
    let listed = |all: Vec<Json>| Reply::json(&json!({"results": all}));
    let new = asked(&[("new", FieldKind::Date)]);
    assert_snapshot!(opened(&hubspot("create_fields = false"), &new, Vec::new()).await, @"HubSpot's contacts have no property `new`: create it with the type `date` and the field type `date`, or set `create_fields = true`");
    let unique = hubspot("create_fields = false\ncontact_id_property = \"shop_id\"\n");
    assert_snapshot!(opened(&unique, &asked(&[]), Vec::new()).await, @"HubSpot's contacts have no property `shop_id`: create it with the type `string` and the field type `text`, with unique values, or set `create_fields = true`");
    assert_snapshot!(opened(&made, &new, vec![listed(of("new", "datetime"))]).await, @"HubSpot's property `new` is of type `datetime`, not `date`: send the column under another alias, or change the property");
    let mut computed = of("new", "date");
    computed[1]["calculated"] = true.into();
    assert_snapshot!(opened(&made, &new, vec![listed(computed)]).await, @"`new` is a property that HubSpot computes by itself");
    let shared = hubspot("contact_id_property = \"city\"\n");
    assert_snapshot!(opened(&shared, &asked(&[]), Vec::new()).await, @"HubSpot's property `city` does not have unique values, which cannot be changed: create another one");
    let mut choices = of("vip", "enumeration");
    choices[1]["options"] = json!([{"value": "yes"}, {"value": "no"}]);
    let vip = asked(&[("vip", FieldKind::Bool)]);
    assert_snapshot!(opened(&made, &vip, vec![listed(choices)]).await, @"HubSpot's property `vip` is of type `enumeration`, not with the options `true` and `false`: send the column under another alias, or change the property");
    let limit =
        json!({"status": "error", "category": "VALIDATION_ERROR", "message": "Limit reached"});
    let replies =
        vec![listed(Vec::new()), Reply::status(400, limit.to_string()), listed(Vec::new())];
    assert_snapshot!(opened(&made, &new, replies).await, @r#"HubSpot did not create the property `new`: HTTP 400 Bad Request: {"category":"VALIDATION_ERROR","message":"Limit reached","status":"error"}"#);
}

#[tokio::test]
async fn a_property_that_somebody_else_creates_meanwhile_is_used() {
    let made = hubspot("");
    let listed = |all: Vec<Json>| Reply::json(&json!({"results": all}));
    let there = listed(vec![property("new", "date")]);
    let replies = vec![listed(Vec::new()), Reply::status(409, "{}"), there];
    let told = opened(&made, &asked(&[("new", FieldKind::Date)]), replies).await;
    assert_eq!(told, "Ok(Remote(Null))");
}

#[test]
fn names_and_values_are_in_hubspots_form() {
    for (name, mapped) in [
        ("ltv_90d", "ltv_90d"),
        ("Gold Member", "gold_member"),
        ("90d", "p_90d"),
        ("\u{c9}t\u{e9}", "p__t_"),
    ] {
        assert_eq!(property_name(name), mapped);
        assert_eq!(property_name(mapped), mapped);
    }
    for (value, sent) in [
        (Value::Null, ""),
        (Value::Float(f64::NAN), ""),
        (Value::Float(812.4), "812.4"),
        (Value::Bool(true), "true"),
        (Value::Date(10_378), "1998-06-01"),
        (Value::Timestamp(1_500_999), "1500"),
        (Value::Json("[1]".into()), "[1]"),
    ] {
        assert_eq!(text(&value), sent);
    }
}

#[test]
fn what_hubspot_keeps_to_itself_is_objected_to() {
    let wanted = asked(&[
        ("email", FieldKind::Text),
        ("hs_object_id", FieldKind::Text),
        ("ext_user_id", FieldKind::Text),
        ("HS Email OptOut 7283808", FieldKind::Bool),
        ("fine", FieldKind::Nested),
    ]);
    assert_snapshot!(hubspot("").destination.objections(&wanted).join("\n"), @r#"
    the field `email` is what this destination identifies by
    the field `hs_object_id` belongs to HubSpot
    the field `HS Email OptOut 7283808` decides who may be mailed, which is never written
    "#);
    assert_snapshot!(hubspot(UNIQUE).destination.objections(&wanted).join("\n"), @r#"
    the field `hs_object_id` belongs to HubSpot
    the field `ext_user_id` is what this destination identifies by
    the field `HS Email OptOut 7283808` decides who may be mailed, which is never written
    "#);
    let long = "x".repeat(101);
    assert_eq!(hubspot("").destination.objections(&asked(&[(&long, FieldKind::Text)])).len(), 1);
    let group = Target { call: Call::Group, ..asked(&[]) };
    assert_snapshot!(hubspot("").destination.objections(&group).join("\n"), @"accounts need `company_id_property`: the property of HubSpot's companies that holds the account id");
}

#[tokio::test]
async fn a_company_without_a_property_that_tells_it_apart_is_never_sent() {
    let made = hubspot("");
    let group = made.message(Call::Group, ACCOUNT, Change::Changed, &[("seats_used", json!(41))]);
    let said = made.converse(&batch([group]), Vec::new()).await;
    assert!(!said.wire().contains("POST"));
    assert_eq!(said.outcomes(), [rejected("there is no property that tells such records apart")]);
}

#[test]
fn options_that_do_not_go_together_are_told() {
    let findings: String = [
        "",
        "access_token = \"t\"\nrefresh_token = \"r\"\n",
        "refresh_token = \"r\"\nclient_id = \"c\"\n",
        "access_token = \"t\"\napi_version = \"2026\"\n",
        "access_token = \"t\"\nsend_email = false\n",
        "access_token = \"t\"\ncontact_id_property = \"Ext Id\"\n",
    ]
    .iter()
    .map(|more| {
        let text = format!("[destinations.h]\ntype = \"hubspot\"\n{more}");
        told(&configured(&text).err().unwrap())
    })
    .collect();
    assert_snapshot!(findings, @r#"
    D03 option `access_token` of destination `h` is missing, and there is no `refresh_token` ("hubspot") `muster destinations hubspot` shows every option and an example
    D03 option `access_token` of destination `h` stands beside options of OAuth: give one or the other ("t") `muster destinations hubspot` shows every option and an example
    D03 option `refresh_token` of destination `h` needs `client_id` and `client_secret` beside it ("r") `muster destinations hubspot` shows every option and an example
    D03 option `api_version` of destination `h` is neither like "v3" nor like "2026-03" ("2026") `muster destinations hubspot` shows every option and an example
    D03 option `send_email` of destination `h` has no meaning without `contact_id_property`: the email is the identifier (false) `muster destinations hubspot` shows every option and an example
    D03 option `contact_id_property` of destination `h` is not the internal name of a property: lower case, digits and underscores, beginning with a letter ("Ext Id") `muster destinations hubspot` shows every option and an example
    "#);
}

#[tokio::test]
async fn wrong_credentials_are_told_by_the_check() {
    let made = hubspot("");
    let check = |reply| async {
        made.destination.check(&Session::served(&made.terms(), vec![reply], server)).await
    };
    assert!(matches!(check(Reply::status(401, "{}")).await, Err(Fault::Denied { .. })));
    assert!(matches!(check(Reply::json(&json!({}))).await, Err(Fault::Protocol { .. })));
    assert_eq!(check(Reply::json(&json!({"results": [{}]}))).await, Ok(()));
}
