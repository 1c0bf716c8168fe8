//! What HubSpot is sent for lists, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, target_with, told,
};
use crate::destinations::{Batch, Configured, Fault, Outcome, Target, hubspot};
use crate::record::{Call, Change};

fn listed(id: &str, processing: &str, object: &str) -> Json {
    json!({"list": {"listId": id, "name": "VIP", "processingType": processing,
        "objectTypeId": object, "listVersion": 1}})
}

/// One list, named as the fixtures' model; contacts are as for properties.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.url.split('?').next().unwrap_or_default();
    match request.method.as_str() {
        _ if !path.contains("/lists") => hubspot::server(request),
        "PUT" => Reply::json(&json!({
            "recordsIdsAdded": body["recordIdsToAdd"],
            "recordIdsRemoved": body["recordIdsToRemove"],
            "recordIdsMissing": [],
        })),
        "POST" => Reply::json(&listed("452", "MANUAL", "0-1")),
        _ if path.ends_with("/name/VIP") || path.ends_with("/lists/451") => {
            Reply::json(&listed("451", "MANUAL", "0-1"))
        }
        _ => Reply::status(404, unknown().to_string()),
    }
}

fn unknown() -> Json {
    json!({"status": "error", "category": "OBJECT_NOT_FOUND", "message": "List does not exist"})
}

fn lists(more: &str) -> Configured {
    let text = format!(
        "[destinations.l]\ntype = \"hubspot_lists\"\naccess_token = \"${{TOKEN}}\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

/// Ivo, who is no contact yet, enters; so does Mara; Zoë leaves.
fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, IVO, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, MARA, Change::Entered),
    ])
}

/// After `well` replies that are well: the list, the look-up, the creation, the change.
async fn answered(made: &Configured, well: usize, status: u16, body: Json) -> Conversation {
    made.converse_after(&mixed(made), well, Reply::status(status, body.to_string())).await
}

fn wire(said: &Conversation) -> String {
    said.wire().replace("https://api.hubapi.com/crm", "")
}

async fn opened(wanted: &Target, replies: Vec<Reply>) -> (String, String) {
    let made = lists("");
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
async fn contacts_are_looked_up_created_put_on_and_taken_off() {
    let made = lists("");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(wire(&said), @r#"
    GET /v3/lists/object-type-id/0-1/name/VIP
    POST /v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"ivo@example.org"},{"id":"zoe+shop@example.org"},{"id":"mara.lind@example.org"}],"properties":["email","hs_additional_emails"],"propertiesWithHistory":[]}
    POST /v3/objects/contacts/batch/create {"inputs":[{"associations":[],"objectWriteTraceId":"0","properties":{"email":"ivo@example.org"}}]}
    PUT /v3/lists/451/memberships/add-and-remove {"recordIdsToAdd":["5521","9011"],"recordIdsToRemove":["5520"]}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn who_leaves_is_never_created() {
    let made = lists("");
    let leaving = batch([made.audience(Call::List, IVO, Change::Exited)]);
    let said = made.converse(&leaving, Vec::new()).await;
    assert_snapshot!(wire(&said), @r#"
    GET /v3/lists/object-type-id/0-1/name/VIP
    POST /v3/objects/contacts/batch/read {"idProperty":"email","inputs":[{"id":"ivo@example.org"}],"properties":["email","hs_additional_emails"],"propertiesWithHistory":[]}
    "#);
    assert_eq!(said.outcomes(), [Outcome::Delivered]);
}

#[tokio::test]
async fn silence_about_who_leaves_is_not_taken_for_absence() {
    let made = lists("");
    let silent = json!({"status": "COMPLETE", "results": []});
    let outcomes = answered(&made, 1, 200, silent).await.outcomes();
    assert!(matches!(&outcomes[1], Outcome::Retry { reason, .. } if reason.contains("whether")));
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    let made = lists("create_contacts = false\n");
    let silent = json!({"status": "COMPLETE", "results": []});
    let outcomes = answered(&made, 1, 200, silent).await.outcomes();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })));
}

#[tokio::test]
async fn who_is_no_contact_is_refused_where_none_are_created() {
    let made = lists("create_contacts = false\n");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert!(!said.wire().contains("batch/create"));
    let outcomes = said.outcomes();
    let reason = "HubSpot has no contact with that email, and `create_contacts` is false".into();
    assert_eq!(outcomes[0], Outcome::Rejected { reason });
    assert_eq!(outcomes[1..], vec![Outcome::Delivered; 2]);
}

#[tokio::test]
async fn versions_and_addresses_are_as_configured() {
    let made = lists("api_version = \"2026-03\"\nbase_url = \"http://127.0.0.1:9/proxy/\"\n");
    let session = Session::served(&made.terms(), Vec::new(), server);
    made.destination.check(&session).await.unwrap();
    made.converse_through(&session, &mixed(&made)).await.outcomes();
    let calls = session.captured();
    let calls = calls.iter().map(|call| format!("{} {}\n", call.method, call.url));
    assert_snapshot!(calls.collect::<String>(), @r#"
    GET http://127.0.0.1:9/proxy/crm/objects/2026-03/contacts?limit=1
    GET http://127.0.0.1:9/proxy/crm/lists/2026-03/object-type-id/0-1/name/Muster
    GET http://127.0.0.1:9/proxy/crm/lists/2026-03/object-type-id/0-1/name/VIP
    POST http://127.0.0.1:9/proxy/crm/objects/2026-03/contacts/batch/read
    POST http://127.0.0.1:9/proxy/crm/objects/2026-03/contacts/batch/create
    PUT http://127.0.0.1:9/proxy/crm/lists/2026-03/451/memberships/add-and-remove
    "#);
}

#[tokio::test]
async fn a_contact_that_both_enters_and_leaves_stays() {
    let made = lists("");
    let both = json!({"email": IVO.email, "hs_additional_emails": ZOE.email});
    let found = json!({"status": "COMPLETE", "results": [{"id": "1", "properties": both}]});
    let said = answered(&made, 1, 200, found).await;
    let changed = wire(&said).lines().last().unwrap().to_owned();
    assert_snapshot!(changed, @r#"PUT /v3/lists/451/memberships/add-and-remove {"recordIdsToAdd":["1","9011"],"recordIdsToRemove":[]}"#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_contact_that_the_look_up_did_not_show_is_put_on_all_the_same() {
    let made = lists("");
    let conflict = "Contact already exists. Existing ID: 171591000198";
    let whole = json!({"status": "error", "category": "CONFLICT", "message": conflict});
    let mut named = whole.clone();
    named["context"] = json!({"objectWriteTraceId": ["0"]});
    let named = json!({"status": "COMPLETE", "results": [], "errors": [named]});
    for (status, body) in [(409, whole), (207, named)] {
        let said = answered(&made, 2, status, body).await;
        assert!(said.wire().contains(r#""recordIdsToAdd":["171591000198","5521"]"#));
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    }
}

#[tokio::test]
async fn who_could_not_be_created_holds_nobody_up() {
    let made = lists("");
    let invalid = json!({"category": "VALIDATION_ERROR", "message": "invalid email",
        "context": {"objectWriteTraceId": ["0"]}});
    let refused = json!({"status": "COMPLETE", "results": [], "errors": [invalid]});
    let outcomes = answered(&made, 2, 207, refused).await.outcomes();
    let reason = "invalid email (VALIDATION_ERROR)".into();
    assert_eq!(outcomes[0], Outcome::Rejected { reason });
    assert_eq!(outcomes[1..], vec![Outcome::Delivered; 2]);

    let nameless = json!({"status": "COMPLETE", "results": [{"id": "7", "properties": {}}]});
    let outcomes = answered(&made, 2, 201, nameless).await.outcomes();
    assert!(
        matches!(&outcomes[0], Outcome::Retry { reason, .. } if reason.contains("which contact"))
    );

    let silent = json!({"status": "COMPLETE", "results": []});
    let outcomes = answered(&made, 2, 201, silent).await.outcomes();
    assert!(matches!(outcomes[0], Outcome::Unsettled { .. }));
}

#[tokio::test]
async fn a_contact_that_is_gone_is_tried_again_if_it_enters_and_off_the_list_if_it_leaves() {
    let made = lists("");
    for missing in [json!(["5521", "5520"]), json!([5521, 5520])] {
        let outcomes =
            answered(&made, 3, 200, json!({"recordIdsMissing": missing})).await.outcomes();
        assert_eq!(outcomes[..2], vec![Outcome::Delivered; 2]);
        assert!(matches!(outcomes[2], Outcome::Retry { after: None, .. }));
    }
    let said = answered(&made, 3, 200, json!({"recordIdsMissing": ["1"]})).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
}

#[tokio::test(start_paused = true)]
async fn every_refusal_as_a_whole_has_its_remedy() {
    let made = lists("");
    for (status, body, wanted) in [
        (400, json!({"status": "error", "message": "bad"}), "refused"),
        (403, json!({"category": "MISSING_SCOPES"}), "credentials"),
        (404, unknown(), "misconfigured"),
        (200, json!([]), "unreadable"),
        (204, json!({}), "unreadable"),
    ] {
        let told = answered(&made, 3, status, body).await.result.unwrap_err().to_string();
        assert!(told.starts_with(wanted), "{status} {told}");
    }
    for (status, policy, seconds) in [(429, "TEN_SECONDLY_ROLLING", 10), (503, "", 0)] {
        let started = tokio::time::Instant::now();
        let said = answered(&made, 3, status, json!({"policyName": policy})).await;
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
        assert_eq!(started.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn a_full_batch_stays_within_what_hubspot_takes() {
    let made = lists("");
    let emails = (0..100).map(|number| format!("{}@example.org", "x".repeat(number + 1)));
    let member = |email: String| {
        let user = User { email: Box::leak(email.into_boxed_str()), ..MARA };
        made.audience(Call::List, user, Change::Entered)
    };
    let said = made.converse(&batch(emails.map(member)), Vec::new()).await;
    let body: Json = serde_json::from_slice(&said.captured[1].body).unwrap();
    assert_eq!(body["inputs"].as_array().unwrap().len(), 100);
    assert_eq!(said.captured.len(), 3);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 100]);
}

#[tokio::test]
async fn a_list_is_found_by_name_or_id_or_created_once() {
    let (found, calls) = opened(&target(), Vec::new()).await;
    assert_eq!((&*found, calls.lines().count()), (r#"{"id":"451"}"#, 1));
    let (known, calls) = opened(&target_with(json!({"id": "9"})), Vec::new()).await;
    assert_eq!((&*known, &*calls), (r#"{"id":"9"}"#, ""));
    let (by_id, calls) = opened(&named("451"), Vec::new()).await;
    assert_eq!(by_id, r#"{"id":"451"}"#);
    assert_eq!(calls, "GET https://api.hubapi.com/crm/v3/lists/451 \n");
    let (created, calls) = opened(&named("Gold/Silver 1"), Vec::new()).await;
    assert_eq!(created, r#"{"id":"452"}"#);
    assert_snapshot!(calls, @r#"
    GET https://api.hubapi.com/crm/v3/lists/object-type-id/0-1/name/Gold%2FSilver%201 
    POST https://api.hubapi.com/crm/v3/lists {"name":"Gold/Silver 1","objectTypeId":"0-1","processingType":"MANUAL"}
    "#);
    let lost = Reply::status(404, unknown().to_string());
    let (told, calls) = opened(&named("Gold"), vec![lost, Reply::Lost]).await;
    assert!(told.starts_with("sent, with no usable reply"), "{told}");
    assert_eq!(calls.lines().count(), 2);
}

#[tokio::test]
async fn a_list_that_somebody_else_creates_meanwhile_is_adopted() {
    let none = || Reply::status(404, unknown().to_string());
    let twice = json!({"status": "error", "subCategory": "ILS.DUPLICATE_LIST_NAMES"}).to_string();
    let there = Reply::json(&listed("460", "MANUAL", "0-1"));
    let replies = vec![none(), Reply::status(400, twice.clone()), there];
    assert_eq!(opened(&target(), replies).await.0, r#"{"id":"460"}"#);
    let replies = vec![none(), Reply::status(400, twice), none()];
    assert_snapshot!(opened(&target(), replies).await.0, @r#"misconfigured: HubSpot does not create the list `VIP`: HTTP 400 Bad Request: {"status":"error","subCategory":"ILS.DUPLICATE_LIST_NAMES"}"#);
}

#[tokio::test]
async fn a_list_that_takes_no_members_is_told() {
    let of = |processing, object| vec![Reply::json(&listed("451", processing, object))];
    assert_snapshot!(opened(&target(), of("DYNAMIC", "0-1")).await.0, @"misconfigured: the list `VIP` cannot be used: it is an active list and takes no members");
    assert_snapshot!(opened(&named("451"), of("MANUAL", "0-2")).await.0, @"misconfigured: the list `451` cannot be used: it is not a list of contacts");
    assert_snapshot!(opened(&named("5"), Vec::new()).await.0, @"misconfigured: the list `5` cannot be used: HubSpot has none of that id");
    assert_eq!(opened(&target(), of("SNAPSHOT", "0-1")).await.0, r#"{"id":"451"}"#);
    let elsewhere = vec![Reply::status(404, "<html>no such page</html>")];
    assert!(opened(&target(), elsewhere).await.0.starts_with("misconfigured"));
}

#[tokio::test]
async fn contacts_and_lists_are_both_read_by_the_check() {
    let made = lists("");
    for well in [0, 1] {
        let refused = (well, Reply::status(403, r#"{"category":"MISSING_SCOPES"}"#));
        let session = Session::interrupted(&made.terms(), refused, server);
        let checked = made.destination.check(&session).await;
        assert!(matches!(checked, Err(Fault::Denied { .. })), "{checked:?}");
    }
}

#[test]
fn emails_are_plain_and_in_lower_case() {
    let email = |text: &str| (super::EMAIL.normalise)(text, None);
    for (text, normal) in [
        (" Ada.Lovelace@Example.ORG ", "ada.lovelace@example.org"),
        ("Ada.Lovelace+shop@Example.org", "ada.lovelace+shop@example.org"),
    ] {
        assert_eq!(email(text).as_deref(), Ok(normal));
    }
    assert_eq!(email("ada"), Err("not an email address"));
    assert_eq!(email(&"ab".repeat(32)), Err("a hashed email, where only plain ones are taken"));
}
