//! What TikTok is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target, told};
use crate::destinations::{Configured, Fault, Notice, Outcome, Target};
use crate::record::{Call, Change};

/// One audience, and every mapping is taken.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split('?').next().unwrap_or_default();
    let data = if path.ends_with("/list/") {
        json!({"list": [{"audience_id": "16000001", "name": "VIP"}], "page_info": {"total_page": 1}})
    } else if path.ends_with("/segment/audience/") {
        json!({"audience_id": "16000002"})
    } else {
        json!({})
    };
    said(0, &data)
}

fn said(code: i64, data: &Json) -> Reply {
    Reply::json(&json!({"code": code, "message": "OK", "request_id": "2026", "data": data}))
}

fn tiktok(more: &str) -> Configured {
    let text = format!(
        "[destinations.tt]\ntype = \"tiktok_audiences\"\naccess_token = \"${{TOKEN}}\"\nadvertiser_id = \"71\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = tiktok("");
    let found = server(&Captured {
        method: "GET".into(),
        url: "/list/".into(),
        headers: Vec::new(),
        body: "".into(),
    });
    let members = batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ]);
    made.converse(&members, [found].into_iter().chain(replies).collect()).await
}

#[tokio::test]
async fn rows_line_up_with_their_schema() {
    let made = tiktok("");
    let idfa = [("idfa", "EA7583CD-A667-48BC-B806-42ECB2B48606")];
    let phone = [("phone", "+1 (650) 555-0188")];
    let members = batch([
        made.member(MARA, Change::Entered, &idfa, &[]),
        made.member(IVO, Change::Entered, &phone, &[]),
        made.member(ZOE, Change::Exited, &phone, &[]),
    ]);
    let said = made.converse(&members, Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://business-api.tiktok.com/open_api/v1.3/dmp/custom_audience/list/?advertiser_id=71&page=1&page_size=100
    POST https://business-api.tiktok.com/open_api/v1.3/segment/mapping/ {"action":"delete","advertiser_ids":["71"],"batch_data":[[{"audience_ids":["16000001"],"id":"a7165e860eff27cf3d5a6e7c85246f8843dddd9b1e5943efa69bda4bb765ebb8"},{"audience_ids":["16000001"],"id":"feeae5471ebb062cafbda56ae67c7150e9384da46c0231e87c4d1d79f5bc1bdb"}]],"id_schema":["EMAIL_SHA256","PHONE_SHA256"]}
    POST https://business-api.tiktok.com/open_api/v1.3/segment/mapping/ {"action":"add","advertiser_ids":["71"],"batch_data":[[{"audience_ids":["16000001"],"id":"fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9"},{},{"audience_ids":["16000001"],"id":"6cd6140c54b2741b81b0099b232a3ddaeed82df456f43563574877baec22b632"}],[{"audience_ids":["16000001"],"id":"d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"},{"audience_ids":["16000001"],"id":"feeae5471ebb062cafbda56ae67c7150e9384da46c0231e87c4d1d79f5bc1bdb"},{}]],"id_schema":["EMAIL_SHA256","PHONE_SHA256","IDFA_SHA256"]}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_success_is_one_only_by_its_code() {
    let rejected = answered(vec![said(40_000, &json!({}))]).await;
    assert!(matches!(rejected.result, Err(Fault::Rejected { .. })));
    let wrong = answered(vec![said(40_002, &json!({}))]).await;
    assert!(matches!(wrong.result, Err(Fault::Misconfigured { .. })));
    for code in [40_001, 40_104, 40_105] {
        let denied = answered(vec![said(code, &json!({}))]).await;
        assert!(matches!(denied.result, Err(Fault::Denied { .. })), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_down_waits_and_an_internal_error_is_repeated() {
    let started = tokio::time::Instant::now();
    let said = answered(vec![said(40_100, &json!({})), said(51_000, &json!({}))]).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert!(started.elapsed().as_secs() >= 300);
}

#[tokio::test]
async fn a_partial_success_is_told_as_a_count() {
    let said = answered(vec![said(0, &json!({})), said(20_001, &json!({}))]).await;
    let reason = "TikTok took only some of these rows and does not say which".to_owned();
    assert_eq!(said.notices, [Notice { count: 2, reason }]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn an_audience_is_found_on_any_page_or_created_once() {
    let made = tiktok("");
    let page = |name: &str| {
        said(
            0,
            &json!({"list": [{"audience_id": "9", "name": name}], "page_info": {"total_page": 2}}),
        )
    };
    let session = Session::scripted(&made.terms(), vec![page("Other"), page("VIP")]);
    assert_eq!(made.destination.open(&session, &target()).await.unwrap().0, json!({"id": "9"}));

    let none = said(0, &json!({"list": [], "page_info": {"total_page": 0}}));
    let created = said(0, &json!({"audience_id": "10"}));
    let session = Session::scripted(&made.terms(), vec![none.clone(), created]);
    assert_eq!(made.destination.open(&session, &target()).await.unwrap().0, json!({"id": "10"}));
    assert_snapshot!(String::from_utf8_lossy(&session.captured()[1].body), @r#"{"action":"create","advertiser_id":"71","custom_audience_name":"VIP"}"#);

    let named = Target { list: Some("16000009".into()), ..target() };
    let session = Session::scripted(&made.terms(), vec![none]);
    let fault = made.destination.open(&session, &named).await.unwrap_err();
    assert_snapshot!(fault, @"misconfigured: the list `16000009` cannot be used: the advertiser has no such audience");
}

#[test]
fn a_name_that_would_be_cut_is_objected_to() {
    let made = tiktok("");
    let long = Target { list: Some("x".repeat(71)), ..target() };
    assert_eq!(made.destination.objections(&long).len(), 1);
    assert!(made.destination.objections(&target()).is_empty());
}
