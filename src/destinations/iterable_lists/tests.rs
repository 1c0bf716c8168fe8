//! What Iterable is sent about its lists, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, ZOE, batch, configured, target, target_with, told,
};
use crate::destinations::{Batch, Configured, Fault, Outcome, Remote, Target};
use crate::record::{Call, Change};

/// Takes everybody; knows a list with the name of the fixtures' model.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    match (request.method.as_str(), body["subscribers"].as_array()) {
        ("GET", _) => lists(&[(301, "VIP", "Standard")]),
        (_, Some(members)) => counted(members.len(), 0, &json!({})),
        _ => Reply::json(&json!({"listId": 302})),
    }
}

fn lists(lists: &[(i64, &str, &str)]) -> Reply {
    let listed = |(id, name, kind): &(i64, &str, &str)| json!({"id": id, "name": name, "createdAt": 1_731_000_000_000_i64, "listType": kind});
    let lists: Vec<Json> = lists.iter().map(listed).collect();
    Reply::json(&json!({ "lists": lists }))
}

fn counted(taken: usize, failed: usize, updates: &Json) -> Reply {
    Reply::json(&json!({"successCount": taken, "failCount": failed, "invalidEmails": [],
        "invalidUserIds": [], "filteredOutFields": {}, "createdFields": [], "failedUpdates": updates}))
}

fn made(more: &str) -> Configured {
    let text =
        format!("[destinations.i]\ntype = \"iterable_lists\"\napi_key = \"${{KEY}}\"\n{more}");
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

async fn answered(more: &str, replies: Vec<Reply>) -> Conversation {
    let made = made(more);
    let found = lists(&[(301, "VIP", "Standard")]);
    made.converse(&mixed(&made), [vec![found], replies].concat()).await
}

fn wire(said: &Conversation) -> String {
    said.wire().replace("https://api.iterable.com/api", "")
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: reason.into() }
}

#[tokio::test]
async fn a_batch_adds_and_takes_off() {
    assert_snapshot!(wire(&answered("", Vec::new()).await), @r#"
    GET /lists
    POST /lists/subscribe {"listId":301,"subscribers":[{"email":"mara.lind@example.org"},{"email":"ivo@example.org"}],"updateExistingUsersOnly":false}
    POST /lists/unsubscribe {"listId":301,"subscribers":[{"email":"zoe+shop@example.org"}],"channelUnsubscribe":false}
    "#);
    assert_snapshot!(wire(&answered("identify_by = \"user_id\"\n", Vec::new()).await), @r#"
    GET /lists
    POST /lists/subscribe {"listId":301,"subscribers":[{"userId":"u_8841","preferUserId":true},{"userId":"u_8842","preferUserId":true}],"updateExistingUsersOnly":false}
    POST /lists/unsubscribe {"listId":301,"subscribers":[{"userId":"zoë"}],"channelUnsubscribe":false}
    "#);
}

#[tokio::test]
async fn nobody_is_ever_unsubscribed_from_a_channel() {
    let made = made("");
    for (name, batch) in made.batches() {
        for request in made.converse(&batch, Vec::new()).await.captured {
            if request.url.ends_with("/unsubscribe") {
                let body: Json = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(body["channelUnsubscribe"], json!(false), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn rows_are_found_by_their_emails_and_absence_is_success_for_who_leaves() {
    let entering = counted(1, 1, &json!({"forgottenEmails": ["Ivo@example.org"]}));
    let leaving = counted(0, 1, &json!({"notFoundEmails": ["zoe+shop@example.org"]}));
    let said = answered("", vec![entering, leaving]).await;
    let forgotten = "the project has forgotten this person for good (GDPR) (`forgottenEmails`)";
    assert_eq!(said.outcomes(), [Outcome::Delivered, Outcome::Delivered, rejected(forgotten)]);

    let leaving = counted(0, 1, &json!({"invalidUserIds": ["zoë"]}));
    let entering = counted(2, 0, &json!({}));
    let said = answered("identify_by = \"user_id\"\n", vec![entering, leaving]).await;
    let invalid = "Iterable does not take this as a user id (`invalidUserIds`)";
    assert_eq!(said.outcomes(), [Outcome::Delivered, rejected(invalid), Outcome::Delivered]);
}

#[tokio::test]
async fn somebody_who_was_not_sent_or_not_counted_is_no_success() {
    // Of those who leave, nobody enters.
    let other = counted(1, 1, &json!({"invalidEmails": ["zoe+shop@example.org"]}));
    let said = answered("", vec![other]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
    let said = answered("", vec![counted(1, 1, &json!({}))]).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
    let said = answered("", vec![counted(1, 0, &json!({}))]).await;
    assert_eq!((said.notices.len(), said.notices[0].count), (1, 1));
}

#[tokio::test]
async fn a_list_that_is_gone_halts_the_sync() {
    let gone = Reply::status(404, json!({"code": "NotFound", "msg": "no such list"}).to_string());
    let said = answered("", vec![gone]).await;
    assert!(matches!(said.result, Err(Fault::Misconfigured { .. })));
}

async fn opened(list: Option<&str>, replies: Vec<Reply>) -> (Result<Json, Fault>, Vec<String>) {
    let made = made("");
    let session = Session::served(&made.terms(), replies, server);
    let target = Target { call: Call::List, list: list.map(Into::into), ..target() };
    let remote = made.destination.open(&session, &target).await.map(|remote| remote.0);
    let calls = session.captured();
    let shown =
        calls.iter().map(|call| format!("{} {}", call.method, String::from_utf8_lossy(&call.body)));
    (remote, shown.collect())
}

#[tokio::test]
async fn a_list_is_found_or_created_once() {
    assert_eq!(opened(None, Vec::new()).await, (Ok(json!({"id": "301"})), vec!["GET ".into()]));
    let by_id =
        opened(Some("301"), vec![lists(&[(301, "other", "Standard"), (7, "301", "Standard")])]);
    assert_eq!(by_id.await.0, Ok(json!({"id": "301"})));
    let beside =
        vec![lists(&[(1, "VIP", "Dynamic"), (2, "VIP", "Standard"), (3, "VIPs", "Standard")])];
    assert_eq!(opened(None, beside).await.0, Ok(json!({"id": "2"})));
    let (remote, calls) = opened(Some("new"), vec![lists(&[])]).await;
    assert_eq!(remote, Ok(json!({"id": "302"})));
    assert_eq!(calls, ["GET ", "POST {\"name\":\"new\"}"]);

    let made = made("");
    let session = Session::served(&made.terms(), Vec::new(), server);
    let known = target_with(json!({"id": "301"}));
    assert_eq!(made.destination.open(&session, &known).await, Ok(Remote(json!({"id": "301"}))));
    assert_eq!(session.captured().len(), 0);
}

#[tokio::test]
async fn a_list_that_cannot_be_meant_is_told() {
    let reason = |opened: (Result<Json, Fault>, Vec<String>)| match opened.0 {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let dynamic = opened(None, vec![lists(&[(1, "VIP", "Dynamic")])]).await;
    let several =
        opened(None, vec![lists(&[(1, "VIP", "Standard"), (2, "VIP", "Standard")])]).await;
    let missing = opened(Some("303"), Vec::new()).await;
    let refused =
        Reply::status(400, json!({"code": "BadParams", "msg": "", "params": {}}).to_string());
    let refused = opened(None, vec![lists(&[]), refused]).await;
    assert_snapshot!([dynamic, several, missing, refused].map(reason).join("\n"), @r#"
    the list `VIP` cannot be used: it is of the type `Dynamic`, and only static ones take members
    there are several lists named `VIP` (1, 2); write the id of the one that is meant as the sync's `list`
    the list `303` cannot be used: Iterable shows no such list
    Iterable refuses to create the list `VIP`: HTTP 400 Bad Request: {"code":"BadParams","msg":"","params":{}}
    "#);
}

#[tokio::test]
async fn a_list_is_never_created_twice_for_a_lost_reply() {
    let (lost, calls) = opened(Some("new"), vec![lists(&[]), Reply::Lost]).await;
    assert!(matches!(lost, Err(Fault::Ambiguous { .. })));
    assert_eq!(calls.len(), 2);
}
