//! What Snap is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target, told};
use crate::destinations::{Configured, Fault, Notice, Outcome, Target};
use crate::record::{Call, Change};

/// A token, one list, and every identifier is taken.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split('?').next().unwrap_or_default();
    if path.ends_with("/access_token") {
        return Reply::json(&json!({"access_token": "hush-token", "expires_in": 3600}));
    }
    if path.ends_with("/users") {
        let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
        return uploaded(body["users"][0]["data"].as_array().map_or(0, Vec::len));
    }
    lists(&[json!({"id": "5000000001", "name": "VIP", "source_type": "FIRST_PARTY"})], &json!({}))
}

fn uploaded(count: usize) -> Reply {
    Reply::json(&json!({
        "request_status": "SUCCESS",
        "request_id": "57a",
        "users": [{"sub_request_status": "SUCCESS", "user": {"number_uploaded_users": count}}],
    }))
}

fn lists(segments: &[Json], paging: &Json) -> Reply {
    let parts: Vec<_> = segments
        .iter()
        .map(|one| json!({"sub_request_status": "SUCCESS", "segment": one}))
        .collect();
    Reply::json(&json!({"request_status": "SUCCESS", "paging": paging, "segments": parts}))
}

fn refused(reason: &str) -> Reply {
    let part = json!({"sub_request_status": "ERROR", "sub_request_error_reason": reason});
    Reply::json(&json!({"request_status": "SUCCESS", "users": [part], "segments": [part]}))
}

fn snap(more: &str) -> Configured {
    let text =
        format!("[destinations.snap]\ntype = \"snap_audiences\"\nad_account_id = \"8adc\"\n{more}");
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn plain() -> Configured {
    snap("access_token = \"${TOKEN}\"\nmatch_by = [\"email\"]\n")
}

async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = plain();
    let found = lists(&[json!({"id": "5000000001", "name": "VIP"})], &json!({}));
    let members = batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ]);
    made.converse(&members, [found].into_iter().chain(replies).collect()).await
}

#[tokio::test]
async fn each_kind_of_identifier_goes_in_a_request_of_its_own() {
    let made = snap(
        "client_id = \"app\"\nclient_secret = \"${SECRET}\"\nrefresh_token = \"${REFRESH}\"\n",
    );
    let mobile = [("idfa", "EA7583CD-A667-48BC-B806-42ECB2B48606"), ("phone", "0660 1234567")];
    let members = batch([
        made.member(MARA, Change::Entered, &mobile, &[]),
        made.member(IVO, Change::Entered, &mobile[1..], &[]),
        made.member(ZOE, Change::Exited, &[], &[]),
    ]);
    let said = made.converse(&members, Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://adsapi.snapchat.com/v1/adaccounts/8adc/segments
    POST https://accounts.snapchat.com/login/oauth2/access_token grant_type=refresh_token&client_id=app&refresh_token=[secret]&client_secret=[secret]
    DELETE https://adsapi.snapchat.com/v1/segments/5000000001/users {"users":[{"data":[["a7165e860eff27cf3d5a6e7c85246f8843dddd9b1e5943efa69bda4bb765ebb8"]],"id":"5000000001","schema":["EMAIL_SHA256"]}]}
    POST https://adsapi.snapchat.com/v1/segments/5000000001/users {"users":[{"data":[["d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"],["fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9"]],"schema":["EMAIL_SHA256"]}]}
    POST https://adsapi.snapchat.com/v1/segments/5000000001/users {"users":[{"data":[["745c9d31ebb8109ebeda87c6e5080dadb9940b844d067c74306dfdffe00ffcda"]],"schema":["PHONE_SHA256"]}]}
    POST https://adsapi.snapchat.com/v1/segments/5000000001/users {"users":[{"data":[["6cd6140c54b2741b81b0099b232a3ddaeed82df456f43563574877baec22b632"]],"schema":["MOBILE_AD_ID_SHA256"]}]}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_smaller_count_is_told() {
    let said = answered(vec![uploaded(1), uploaded(1)]).await;
    let reason = "Snap took fewer identifiers of EMAIL_SHA256 than it was sent".to_owned();
    assert_eq!(said.notices, [Notice { count: 1, reason }]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_refusal_inside_of_a_200_is_no_success() {
    let said = answered(vec![refused("segment is read only")]).await;
    let reason = "part of the request has the status ERROR: segment is read only".to_owned();
    assert_eq!(said.result, Err(Fault::Rejected { reason }));
    let whole = json!({"request_status": "ERROR", "debug_message": "no", "users": []});
    let said = answered(vec![Reply::json(&whole)]).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
    let none = json!({"request_status": "SUCCESS", "users": []});
    let said = answered(vec![Reply::json(&none)]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
}

#[tokio::test]
async fn the_next_page_is_asked_for_where_the_project_says() {
    let made = snap("access_token = \"${TOKEN}\"\nbase_url = \"http://127.0.0.1:9\"\n");
    let next =
        json!({"next_link": "https://elsewhere.example/v1/adaccounts/8adc/segments?cursor=abc"});
    let other = json!({"id": "1", "name": "VIP", "source_type": "ENGAGEMENT"});
    let pages = vec![
        lists(&[other], &next),
        lists(&[json!({"id": "2", "name": "VIP", "source_type": "FIRST_PARTY"})], &json!({})),
    ];
    let session = Session::scripted(&made.terms(), pages);
    assert_eq!(made.destination.open(&session, &target()).await.unwrap().0, json!({"id": "2"}));
    let urls: Vec<_> = session.captured().into_iter().map(|request| request.url).collect();
    assert_eq!(
        urls,
        [
            "http://127.0.0.1:9/v1/adaccounts/8adc/segments",
            "http://127.0.0.1:9/v1/adaccounts/8adc/segments?cursor=abc",
        ]
    );
}

#[tokio::test]
async fn a_list_that_is_not_there_is_created_or_told() {
    let made = plain();
    let created = lists(&[json!({"id": "77", "name": "VIP"})], &json!({}));
    let session = Session::scripted(&made.terms(), vec![lists(&[], &json!({})), created]);
    assert_eq!(made.destination.open(&session, &target()).await.unwrap().0, json!({"id": "77"}));
    assert_snapshot!(String::from_utf8_lossy(&session.captured()[1].body), @r#"{"segments":[{"ad_account_id":"8adc","name":"VIP","retention_in_days":9999,"source_type":"FIRST_PARTY"}]}"#);

    let session = Session::scripted(&made.terms(), vec![lists(&[], &json!({})), refused("E3002")]);
    let fault = made.destination.open(&session, &target()).await.unwrap_err();
    assert!(matches!(fault, Fault::Rejected { .. }), "{fault}");

    let named = Target { list: Some("5000000009".into()), ..target() };
    let session = Session::scripted(&made.terms(), vec![lists(&[], &json!({}))]);
    let fault = made.destination.open(&session, &named).await.unwrap_err();
    assert!(matches!(fault, Fault::Misconfigured { .. }), "{fault}");
}

#[test]
fn half_of_a_credential_is_refused() {
    let text = "[destinations.snap]\ntype = \"snap_audiences\"\nad_account_id = \"8adc\"\naccess_token = \"${T}\"\nclient_id = \"app\"\n";
    let told = told(&configured(text).err().unwrap());
    assert!(told.contains("must stand alone"), "{told}");
}
