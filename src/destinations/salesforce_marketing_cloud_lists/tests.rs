//! What Marketing Cloud's lists are sent, and what their replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target, told};
use crate::destinations::{
    Batch, Configured, Delivery, Fault, Job, Outcome, Remote, Settlement, Target,
};
use crate::record::{Call, Change};

/// Has the data extension `VIP`; jobs are done at once, and rows deleted.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("marketingcloudapis.com").map_or("", |(_, path)| path);
    match path {
        "/v2/token" => token("hush-1"),
        "/Service.asmx" => {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            assert!(body.contains("<fueloauth xmlns=\"http://exacttarget.com\">hush-"), "{body}");
            deleted(&vec![("OK", "Deleted"); body.matches("<Objects").count()])
        }
        path if path.ends_with("/status") => status("OK"),
        path if path.ends_with("/rows") => submitted(),
        path if path.ends_with("/fields") => {
            columns(&["SubscriberKey", "EmailAddress", "InAudience"])
        }
        _ => found(&[("VIP", "vip-key")]),
    }
}

fn token(secret: &str) -> Reply {
    Reply::json(&json!({"access_token": secret, "expires_in": 1079, "token_type": "Bearer"}))
}

fn found(extensions: &[(&str, &str)]) -> Reply {
    let item =
        |(name, key): &(&str, &str)| json!({"id": format!("id-{key}"), "name": name, "key": key});
    let items: Vec<_> = extensions.iter().map(item).collect();
    Reply::json(&json!({"count": items.len(), "page": 1, "pageSize": 25, "items": items}))
}

fn columns(names: &[&str]) -> Reply {
    let column = |(place, name): (usize, &&str)| json!({"name": name, "type": "Text", "isPrimaryKey": place == 0});
    let fields: Vec<_> = names.iter().enumerate().map(column).collect();
    Reply::json(&json!({"id": "id-vip-key", "fields": fields}))
}

fn submitted() -> Reply {
    Reply::status(202, json!({"requestId": "3b0e", "resultMessages": []}).to_string())
}

fn status(result: &str) -> Reply {
    let status =
        json!({"requestStatus": "Complete", "resultStatus": result, "hasErrors": result != "OK"});
    Reply::json(&json!({"requestId": "3b0e", "status": status, "resultMessages": []}))
}

fn results(items: &[Json]) -> Reply {
    Reply::json(&json!({"page": 1, "pageSize": 50, "count": items.len(), "items": items}))
}

fn deleted(results: &[(&str, &str)]) -> Reply {
    let result = |(place, (code, message)): (usize, &(&str, &str))| {
        format!(
            "<Results><StatusCode>{code}</StatusCode><StatusMessage>{message}</StatusMessage><OrdinalID>{place}</OrdinalID></Results>"
        )
    };
    let results: String = results.iter().enumerate().map(result).collect();
    Reply::status(
        200,
        format!(
            "<soap:Envelope xmlns:soap=\"x\"><soap:Body><DeleteResponse xmlns=\"y\">{results}<RequestID>1</RequestID><OverallStatus>OK</OverallStatus></DeleteResponse></soap:Body></soap:Envelope>"
        ),
    )
}

fn lists(more: &str) -> Configured {
    let text = format!(
        "[destinations.m]\ntype = \"salesforce_marketing_cloud_lists\"\nsubdomain = \"mc1\"\nclient_id = \"muster\"\nclient_secret = \"${{S}}\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn three(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

fn short(captured: &[Captured]) -> String {
    let line = |call: &Captured| {
        let address = call.url.replace(".marketingcloudapis.com", "").replace("https://", "");
        let body = String::from_utf8_lossy(&call.body).replace("><", ">\n  <");
        format!("{} {address} {body}", call.method).trim_end().to_owned()
    };
    let calls = captured.iter().filter(|call| !call.url.contains("/v2/token"));
    calls.map(line).collect::<Vec<_>>().join("\n")
}

/// What comes of a batch for the list `vip-key`, whose job is asked after.
async fn followed(made: &Configured, batch: &Batch, replies: Vec<Reply>) -> Conversation {
    let replies = std::iter::once(token("hush-1")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = Remote(json!({"id": "vip-key"}));
    let target = Target { remote: Some(remote.clone()), ..target() };
    assert_eq!(made.destination.open(&session, &target).await, Ok(remote.clone()));
    let result = match made.destination.deliver(&session, &remote, batch).await {
        Ok(Delivery::Settled(receipt)) => Ok(receipt.into_outcomes()),
        Ok(Delivery::Submitted(job)) => {
            let kept = serde_json::to_string(&job).unwrap();
            assert!(!kept.contains("example.org"), "a value is journaled: {kept}");
            let job: Job = serde_json::from_str(&kept).unwrap();
            match made.destination.settle(&session, &job, batch.len()).await {
                Ok(Settlement::Done(receipt)) => Ok(receipt.into_outcomes()),
                Ok(Settlement::Running { .. }) => panic!("still running"),
                Err(fault) => Err(fault),
            }
        }
        Err(fault) => Err(fault),
    };
    Conversation { result, notices: Vec::new(), remote, captured: session.captured() }
}

#[tokio::test]
async fn rows_are_deleted_and_written() {
    let made = lists("");
    let said = made.converse(&three(&made), Vec::new()).await;
    assert_snapshot!(short(&said.captured), @r#"
    GET mc1.rest/data/v1/customobjects?$search=VIP
    GET mc1.rest/data/v1/customobjects/id-vip-key/fields
    POST mc1.soap/Service.asmx <?xml version="1.0" encoding="UTF-8"?>
      <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
      <s:Header>
      <fueloauth xmlns="http://exacttarget.com">token</fueloauth>
      </s:Header>
      <s:Body>
      <DeleteRequest xmlns="http://exacttarget.com/wsdl/partnerAPI">
      <Options/>
      <Objects xsi:type="DataExtensionObject">
      <CustomerKey>vip-key</CustomerKey>
      <Keys>
      <Key>
      <Name>SubscriberKey</Name>
      <Value>zoe+shop@example.org</Value>
      </Key>
      </Keys>
      </Objects>
      </DeleteRequest>
      </s:Body>
      </s:Envelope>
    PUT mc1.rest/data/v1/async/dataextensions/key:vip-key/rows {"items":[{"EmailAddress":"mara.lind@example.org","SubscriberKey":"mara.lind@example.org"},{"EmailAddress":"ivo@example.org","SubscriberKey":"ivo@example.org"}]}
    GET mc1.rest/data/v1/async/3b0e/status
    "#);
    assert_eq!(said.remote, Remote(json!({"id": "vip-key"})));
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn rows_are_flagged_where_the_project_says_so() {
    let made = lists("on_exit = \"flag\"\n");
    let said = followed(&made, &three(&made), Vec::new()).await;
    assert_snapshot!(short(&said.captured), @r#"
    PUT mc1.rest/data/v1/async/dataextensions/key:vip-key/rows {"items":[{"EmailAddress":"mara.lind@example.org","InAudience":true,"SubscriberKey":"mara.lind@example.org"},{"InAudience":false,"SubscriberKey":"zoe+shop@example.org"},{"EmailAddress":"ivo@example.org","InAudience":true,"SubscriberKey":"ivo@example.org"}]}
    GET mc1.rest/data/v1/async/3b0e/status
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn an_identifier_is_the_key_without_an_email() {
    let made = lists("match_by = \"external_id\"\n");
    let member = made.member(MARA, Change::Entered, &[("external_id", " CRM-17 ")], &[]);
    let said = followed(&made, &batch([member]), Vec::new()).await;
    let body = String::from_utf8_lossy(&said.captured[0].body).into_owned();
    assert_eq!(body, r#"{"items":[{"SubscriberKey":"CRM-17"}]}"#);
}

#[tokio::test]
async fn every_member_has_its_own_outcome() {
    let made = lists("");
    let batch = batch([
        made.audience(Call::List, MARA, Change::Exited),
        made.audience(Call::List, ZOE, Change::Entered),
        made.audience(Call::List, IVO, Change::Exited),
        made.audience(Call::List, MARA, Change::Entered),
    ]);
    let gone = "Concurrency violation: the DeleteCommand affected 0 of the expected 1 records.";
    let items = [
        json!({"status": "Error", "errorCode": "PrimaryKeyException", "message": "no"}),
        json!({"status": "OK", "message": "Updated"}),
    ];
    let replies = vec![
        deleted(&[("Error", gone), ("Error", "Locked")]),
        submitted(),
        status("Has Errors"),
        results(&items),
    ];
    let outcomes = followed(&made, &batch, replies).await.outcomes();
    let rejected = Outcome::Rejected { reason: "PrimaryKeyException: no".into() };
    let locked = Outcome::Retry { after: None, reason: "Locked".into() };
    assert_eq!(outcomes, [Outcome::Delivered, rejected, locked, Outcome::Delivered]);
}

#[tokio::test]
async fn who_only_leaves_needs_no_job() {
    let made = lists("");
    let leaving = batch([MARA, ZOE].map(|user| made.audience(Call::List, user, Change::Exited)));
    let said = followed(&made, &leaving, vec![deleted(&[("OK", ""), ("Error", "Busy")])]).await;
    assert_eq!(said.captured.len(), 2);
    let busy = Outcome::Retry { after: None, reason: "Busy".into() };
    assert_eq!(said.outcomes(), [Outcome::Delivered, busy]);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_is_renewed_over_soap_too_and_throttling_is_waited_for() {
    let made = lists("");
    let expired =
        || Reply::status(500, "<s:Fault><faultstring>Token Expired</faultstring></s:Fault>");
    let said = followed(&made, &three(&made), vec![expired(), token("hush-2")]).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    let busy =
        Reply::status(500, "<s:Fault><faultstring>Too many requests</faultstring></s:Fault>");
    let said = followed(&made, &three(&made), vec![busy]).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    let limit = json!({"message": "Rate limit exceeded", "errorcode": 50100, "retryAfter": 5});
    let started = tokio::time::Instant::now();
    let replies = vec![deleted(&[("OK", "")]), Reply::status(429, limit.to_string())];
    let said = followed(&made, &three(&made), replies).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_reply_that_says_less_than_was_asked_is_not_believed() {
    let made = lists("");
    for reply in [deleted(&[]), deleted(&[("OK", ""), ("OK", "")]), Reply::status(200, "OK")] {
        let result = followed(&made, &three(&made), vec![reply]).await.result;
        assert!(matches!(result, Err(Fault::Protocol { .. })), "{result:?}");
    }
}

fn named(list: Option<&str>) -> Target {
    Target { call: Call::List, list: list.map(ToOwned::to_owned), ..target() }
}

async fn opened(
    made: &Configured,
    wanted: &Target,
    replies: Vec<Reply>,
) -> (Result<Remote, Fault>, String) {
    let replies = std::iter::once(token("hush-1")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = made.destination.open(&session, wanted).await;
    (remote, short(&session.captured()))
}

#[tokio::test]
async fn a_data_extension_is_found_by_key_or_name_or_created_once() {
    let made = lists("folder = 1234\non_exit = \"flag\"\n");
    let created = Reply::status(201, json!({"id": "x", "key": "VIP", "name": "VIP"}).to_string());
    let (remote, wire) = opened(&made, &named(None), vec![found(&[]), created]).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "VIP"}))));
    assert_snapshot!(wire, @r#"
    GET mc1.rest/data/v1/customobjects?$search=VIP
    POST mc1.rest/data/v1/customobjects {"categoryId":1234,"fields":[{"isHidden":false,"isInheritable":false,"isNullable":false,"isOverridable":false,"isPrimaryKey":true,"isReadOnly":false,"isTemplateField":false,"length":254,"mustOverride":false,"name":"SubscriberKey","ordinal":0,"type":"Text"},{"isHidden":false,"isInheritable":false,"isNullable":true,"isOverridable":false,"isPrimaryKey":false,"isReadOnly":false,"isTemplateField":false,"length":254,"mustOverride":false,"name":"EmailAddress","ordinal":1,"type":"EmailAddress"},{"isHidden":false,"isInheritable":false,"isNullable":true,"isOverridable":false,"isPrimaryKey":false,"isReadOnly":false,"isTemplateField":false,"mustOverride":false,"name":"InAudience","ordinal":2,"type":"Boolean"}],"isSendable":true,"key":"VIP","name":"VIP","sendableCustomObjectField":"SubscriberKey","sendableSubscriberField":"_SubscriberKey"}
    "#);
    let both = found(&[("aud_vip", "other"), ("Old", "aud_vip")]);
    let (remote, _) = opened(&made, &named(Some("aud_vip")), vec![both]).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "aud_vip"}))));
    let (remote, _) = opened(&made, &named(None), vec![found(&[("VIP", "a-guid")])]).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "a-guid"}))));
}

#[tokio::test]
async fn a_data_extension_that_cannot_be_used_stops_the_sync() {
    let reason = |(remote, _): (Result<Remote, Fault>, String)| match remote {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let (bare, made) = (lists(""), lists("folder = 1234\n"));
    assert_snapshot!(reason(opened(&bare, &named(None), vec![found(&[("VIPs", "k")])]).await), @"there is no data extension with the external key or name `VIP`: make it, name another one as the sync's `list`, or give `folder` to have it created");
    let two = found(&[("VIP", "a"), ("VIP", "b")]);
    assert_snapshot!(reason(opened(&made, &named(None), vec![two]).await), @"there are several lists named `VIP` (a, b); write the id of the one that is meant as the sync's `list`");
    let vip = || found(&[("VIP", "k")]);
    let other_key = columns(&["Email", "SubscriberKey", "EmailAddress"]);
    assert_snapshot!(reason(opened(&made, &named(None), vec![vip(), other_key]).await), @"the data extension `k` has the primary key `Email`, not `SubscriberKey` alone");
    let bare_key = columns(&["SubscriberKey"]);
    assert_snapshot!(reason(opened(&made, &named(None), vec![vip(), bare_key]).await), @"the data extension `k` lacks the column `EmailAddress`: add it, nullable");
    let taken = json!({"message": "A data extension with this name exists", "errorcode": 30004});
    let replies = vec![found(&[]), Reply::status(400, taken.to_string())];
    assert_snapshot!(reason(opened(&made, &named(None), replies).await), @r#"Marketing Cloud refuses to create the data extension: HTTP 400 Bad Request: {"errorcode":30004,"message":"A data extension with this name exists"}"#);
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let text = "[destinations.m]\ntype = \"salesforce_marketing_cloud_lists\"\nsubdomain = \"a\"\nclient_id = \"a\"\nclient_secret = \"${S}\"\n";
    let refused = |more: &str| told(&configured(&format!("{text}{more}")).err().unwrap());
    assert_snapshot!(refused("flag_column = \"In\"\n"), @r#"D03 option `flag_column` of destination `m` has no meaning without `on_exit = "flag"` ("In") `muster destinations salesforce_marketing_cloud_lists` shows every option and an example"#);
    assert_snapshot!(refused("match_by = \"external_id\"\nemail_column = \"Email\"\n"), @r#"D03 option `email_column` of destination `m` has no meaning beside `match_by = "external_id"`: no email travels ("Email") `muster destinations salesforce_marketing_cloud_lists` shows every option and an example"#);
}
