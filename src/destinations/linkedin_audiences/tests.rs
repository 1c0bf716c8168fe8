//! What LinkedIn is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target, told};
use crate::destinations::{Batch, Configured, Fault, Outcome, Target};
use crate::record::{Call, Change};

/// A token, one segment, and every member is changed.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split('?').next().unwrap_or_default();
    if path.ends_with("/accessToken") {
        return Reply::json(&json!({"access_token": "hush-token", "expires_in": 5_184_000}));
    }
    if path.ends_with("/users") {
        let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
        let count = body["elements"].as_array().map_or(0, Vec::len);
        return changed(&vec![json!({"status": 201}); count]);
    }
    found(&[json!({"id": 10_804, "status": "READY", "type": "USER"})])
}

fn changed(statuses: &[Json]) -> Reply {
    Reply::json(&json!({ "elements": statuses }))
}

fn found(segments: &[Json]) -> Reply {
    Reply::json(&json!({ "elements": segments }))
}

fn linkedin() -> Configured {
    let text = "[destinations.li]\ntype = \"linkedin_audiences\"\nad_account_id = \"5122\"\nsource_platform = \"ACME\"\naccess_token = \"${TOKEN}\"\n";
    configured(text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn mixed(made: &Configured) -> Batch {
    let gaid = [("gaid", "EA7583CD-A667-48BC-B806-42ECB2B48606")];
    batch([
        made.member(MARA, Change::Entered, &gaid, &[]),
        made.member(ZOE, Change::Exited, &[], &[]),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = linkedin();
    let segment = found(&[json!({"id": "10804"})]);
    made.converse(&mixed(&made), [segment].into_iter().chain(replies).collect()).await
}

#[tokio::test]
async fn who_enters_and_who_leaves_share_a_request() {
    let made = linkedin();
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://api.linkedin.com/rest/dmpSegments?q=account&account=urn%3Ali%3AsponsoredAccount%3A5122&sourceSegmentId=vip&sourcePlatform=ACME
    POST https://api.linkedin.com/rest/dmpSegments/10804/users {"elements":[{"action":"ADD","userIds":[{"idType":"SHA256_EMAIL","idValue":"fea464bda05242064372e66ecb3e93c8fe125948c626059f5f0c17807ee108a9"},{"idType":"GOOGLE_AID","idValue":"ea7583cd-a667-48bc-b806-42ecb2b48606"}]},{"action":"REMOVE","userIds":[{"idType":"SHA256_EMAIL","idValue":"a7165e860eff27cf3d5a6e7c85246f8843dddd9b1e5943efa69bda4bb765ebb8"}]},{"action":"ADD","userIds":[{"idType":"SHA256_EMAIL","idValue":"d80de76a120a52c4fd2c6d669da8c0e93605087519cb9d656da6a202cea7077c"}]}]}
    "#);
    let headers: Vec<_> =
        said.captured[1].headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_snapshot!(headers.join("\n"), @r#"
    authorization: [secret]
    linkedin-version: 202607
    x-restli-protocol-version: 2.0.0
    x-restli-method: BATCH_CREATE
    content-type: application/json
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn every_member_has_a_status_of_its_own() {
    let failed =
        |status: u16| json!({"status": status, "error": {"message": "bad id", "status": status}});
    let said = answered(vec![changed(&[failed(400), failed(404), failed(503)])]).await;
    assert_eq!(
        said.outcomes(),
        [
            Outcome::Rejected { reason: "400 bad id".into() },
            Outcome::Delivered,
            Outcome::Retry { after: None, reason: "503 bad id".into() },
        ]
    );
    let short = answered(vec![changed(&[json!({"status": 201})])]).await;
    assert!(matches!(short.result, Err(Fault::Protocol { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_not_there_yet_is_waited_for() {
    let started = tokio::time::Instant::now();
    let made = linkedin();
    let created = Reply::status(201, "").with_header("x-restli-id", "77");
    let missing = || Reply::status(404, "{}");
    let replies = vec![found(&[]), created, missing(), missing()];
    let said = made.converse(&mixed(&made), replies).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert!(started.elapsed().as_secs() >= 60);
}

#[tokio::test(start_paused = true)]
async fn an_older_segment_that_is_not_there_is_gone() {
    let said = answered(vec![Reply::status(404, "{}")]).await;
    assert_snapshot!(said.result.unwrap_err(), @"misconfigured: HTTP 404 Not Found: {}; the segment is not there any more");
}

#[tokio::test]
async fn a_version_that_is_over_halts_the_sync() {
    let said = answered(vec![Reply::status(426, "{}")]).await;
    let fault = said.result.unwrap_err();
    assert_snapshot!(fault, @"misconfigured: HTTP 426 Upgrade Required: {}; set a newer `api_version`");
}

#[tokio::test]
async fn a_segment_is_created_once_and_adopted_when_somebody_was_faster() {
    let made = linkedin();
    let none = || found(&[]);
    let created = Reply::status(201, "").with_header("x-restli-id", "77");
    let session = Session::scripted(&made.terms(), vec![none(), created]);
    assert_eq!(made.destination.open(&session, &target()).await.unwrap().0, json!({"id": "77"}));
    assert_snapshot!(String::from_utf8_lossy(&session.captured()[1].body), @r#"{"accessPolicy":"PRIVATE","account":"urn:li:sponsoredAccount:5122","destinations":[{"destination":"LINKEDIN"}],"name":"VIP","sourcePlatform":"ACME","sourceSegmentId":"vip","type":"USER"}"#);

    let replies = vec![none(), Reply::status(409, "{}"), found(&[json!({"id": 78})])];
    let session = Session::scripted(&made.terms(), replies);
    assert_eq!(made.destination.open(&session, &target()).await.unwrap().0, json!({"id": "78"}));
}

#[tokio::test]
async fn a_segment_that_cannot_be_used_is_told() {
    let made = linkedin();
    for (segments, expected) in [
        (found(&[json!({"id": 1, "status": "EXPIRED"})]), "its status is EXPIRED"),
        (found(&[json!({"id": 1, "type": "COMPANY"})]), "it does not hold people"),
        (found(&[json!({"id": 1}), json!({"id": 2})]), "there are several lists"),
    ] {
        let session = Session::scripted(&made.terms(), vec![segments]);
        let fault = made.destination.open(&session, &target()).await.unwrap_err().to_string();
        assert!(fault.contains(expected), "{fault}");
    }
    let named = Target { list: Some("10804".into()), ..target() };
    let session = Session::scripted(&made.terms(), vec![Reply::status(404, "{}")]);
    let fault = made.destination.open(&session, &named).await.unwrap_err();
    assert!(matches!(fault, Fault::Misconfigured { .. }), "{fault}");
}
