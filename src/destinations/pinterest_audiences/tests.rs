//! What Pinterest is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{IVO, MARA, ZOE, batch, configured, target, target_with, told};
use crate::destinations::{Batch, Configured, Fault, Outcome, Remote, Target};
use crate::record::{Call, Change};

/// A token, one list, and every update is taken.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split('?').next().unwrap_or_default();
    let list = json!({"id": "643000001", "name": "VIP", "status": "PROCESSING", "exceptions": {}});
    match request.method.as_str() {
        "POST" if path.ends_with("/token") => {
            Reply::json(&json!({"access_token": "hush-token", "expires_in": 2_592_000}))
        }
        "GET" if path.ends_with("/customer_lists") => lists(&[list]),
        _ => Reply::json(&list),
    }
}

fn lists(items: &[Json]) -> Reply {
    Reply::json(&json!({"items": items, "bookmark": null}))
}

fn pinterest(more: &str) -> Configured {
    let text = format!(
        "[destinations.pin]\ntype = \"pinterest_audiences\"\nad_account_id = \"549\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn plain() -> Configured {
    pinterest("access_token = \"${TOKEN}\"\n")
}

fn mixed(made: &Configured) -> Batch {
    let idfa = [("idfa", "EA7583CD-A667-48BC-B806-42ECB2B48606")];
    batch([
        made.member(MARA, Change::Entered, &idfa, &[]),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

#[tokio::test]
async fn records_are_added_and_removed_as_one_text() {
    let made = pinterest(
        "client_id = \"app\"\nclient_secret = \"${SECRET}\"\nrefresh_token = \"${REFRESH}\"\n",
    );
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://api.pinterest.com/v5/ad_accounts/549/customer_lists?page_size=250
    POST https://api.pinterest.com/v5/oauth/token grant_type=refresh_token&refresh_token=[secret]
    PATCH https://api.pinterest.com/v5/ad_accounts/549/customer_lists/643000001 {"operation_type":"REMOVE","records":"a7165e860eff27cf3d5a6e7c85246f8843dddd9b1e5943efa69bda4bb765ebb8"}
    PATCH https://api.pinterest.com/v5/ad_accounts/549/customer_lists/643000001 {"operation_type":"ADD","records":"fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9,6cd6140c54b2741b81b0099b232a3ddaeed82df456f43563574877baec22b632,d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"}
    "#);
    let asked = said.captured.iter().find(|request| request.url.ends_with("/token")).unwrap();
    assert_eq!(asked.headers[0], ("authorization".into(), "[secret]".into()));
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn the_first_who_enter_make_the_list_and_the_others_find_it() {
    let made = plain();
    let created = json!({"id": "644", "name": "VIP", "status": "UPLOADING"});
    let session = Session::scripted(
        &made.terms(),
        vec![
            lists(&[]),
            lists(&[]),
            Reply::json(&created),
            Reply::json(&json!({"id": "99"})),
            Reply::json(&created),
            Reply::json(&created),
        ],
    );
    let remote = made.destination.open(&session, &target()).await.unwrap();
    assert_eq!(remote.0, json!({"name": "VIP"}));
    for _ in 0..2 {
        made.destination.deliver(&session, &remote, &mixed(&made)).await.unwrap();
    }
    let lines: Vec<String> = session
        .captured()
        .iter()
        .map(|request| {
            let path = request.url.split_once("/ad_accounts/549/").unwrap().1;
            let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
            let records = body["records"].as_str().map_or(0, |records| records.split(',').count());
            format!("{} {path} {} {records}", request.method, body["operation_type"])
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    GET customer_lists?page_size=250 null 0
    GET customer_lists?page_size=250 null 0
    POST customer_lists null 3
    POST audiences null 0
    PATCH customer_lists/644 "REMOVE" 1
    PATCH customer_lists/644 "ADD" 3
    "#);
}

/// What is sent to open a list that an earlier run made, where these audiences are there.
async fn reopened(audiences: &[Json]) -> String {
    let made = plain();
    let found = lists(&[json!({"id": "644", "name": "VIP"})]);
    let replies = vec![found, lists(audiences), Reply::json(&json!({"id": "99"}))];
    let session = Session::scripted(&made.terms(), replies);
    let remote =
        made.destination.open(&session, &target_with(json!({"name": "VIP"}))).await.unwrap();
    assert_eq!(remote.0, json!({"id": "644"}));
    let lines = session.captured().into_iter().map(|request| {
        let path = request.url.split_once("/ad_accounts/549/").unwrap().1.to_owned();
        format!("{} {path} {}", request.method, String::from_utf8_lossy(&request.body))
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_list_that_was_made_by_an_earlier_run_is_found_by_its_name() {
    let audience = json!({"id": "99", "rule": {"customer_list_id": "644"}});
    assert_snapshot!(reopened(&[audience]).await, @r#"
    GET customer_lists?page_size=250 
    GET audiences?page_size=250 
    "#);
    let made = plain();
    let session = Session::scripted(&made.terms(), Vec::new());
    let known = target_with(json!({"id": "644"}));
    assert_eq!(made.destination.open(&session, &known).await.unwrap().0, json!({"id": "644"}));
}

#[tokio::test]
async fn an_audience_that_an_interrupted_run_did_not_make_is_made_by_the_next() {
    let others = [json!({"id": "9", "rule": {"customer_list_id": "7"}}), json!({"id": "8"})];
    assert_snapshot!(reopened(&others).await, @r#"
    GET customer_lists?page_size=250 
    GET audiences?page_size=250 
    POST audiences {"audience_type":"CUSTOMER_LIST","name":"VIP","rule":{"customer_list_id":"644"}}
    "#);
}

#[tokio::test]
async fn who_leaves_a_list_that_is_not_there_has_left() {
    let made = plain();
    let session = Session::scripted(&made.terms(), vec![lists(&[])]);
    let leaving = batch([made.audience(Call::List, ZOE, Change::Exited)]);
    let missing = Remote(json!({"name": "VIP"}));
    let delivery = made.destination.deliver(&session, &missing, &leaving).await.unwrap();
    let receipt = crate::destinations::fixture::receipt(delivery);
    assert_eq!(receipt.outcomes(), [Outcome::Delivered]);
    assert_eq!(session.captured().len(), 1);
}

#[tokio::test]
async fn an_audience_that_cannot_be_made_does_not_block_its_members() {
    let made = plain();
    let small = json!({"code": 4_196, "message": "Customer list is too small"});
    let session = Session::scripted(
        &made.terms(),
        vec![lists(&[]), Reply::json(&json!({"id": "644"})), Reply::status(400, small.to_string())],
    );
    let missing = Remote(json!({"name": "VIP"}));
    let delivery = made.destination.deliver(&session, &missing, &made.several()).await.unwrap();
    let receipt = crate::destinations::fixture::receipt(delivery);
    assert_eq!(receipt.outcomes(), vec![Outcome::Delivered; 3]);
    assert_snapshot!(receipt.notices()[0].reason, @r#"the list was created, but no audience of it: refused by the destination: HTTP 400 Bad Request: {"code":4196,"message":"Customer list is too small"}"#);
}

#[tokio::test]
async fn exceptions_are_told_and_another_list_is_not_success() {
    let made = plain();
    let found = || lists(&[json!({"id": "643", "name": "VIP"})]);
    let odd = json!({"id": "643", "exceptions": {"code": 1, "message": "Invalid records"}});
    let said = made.converse(&made.several(), vec![found(), Reply::json(&odd)]).await;
    assert_eq!(said.notices[0].count, 3);
    let other = json!({"id": "7"});
    let said = made.converse(&made.several(), vec![found(), Reply::json(&other)]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{:?}", said.result);
}

#[tokio::test]
async fn a_list_named_by_its_id_must_be_there() {
    let made = plain();
    let named = Target { list: Some("643000009".into()), ..target() };
    let session = Session::scripted(&made.terms(), vec![Reply::status(404, "{}")]);
    let fault = made.destination.open(&session, &named).await.unwrap_err();
    assert!(matches!(fault, Fault::Misconfigured { .. }), "{fault}");
}
