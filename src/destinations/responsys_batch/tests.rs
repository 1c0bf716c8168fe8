//! What Responsys' lists are sent, and what their replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target, told};
use crate::destinations::{
    Batch, Configured, Delivery, Fault, Job, Outcome, Remote, Settlement, Target,
};
use crate::record::{Call, Change};

/// Has the table of `vip`; merges every member, and every row when it is asked after.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("/rest/").map_or("", |(_, path)| path);
    if path == "api/v1.3/auth/token" {
        return login();
    }
    if path.starts_with("asyncApi/v1.3/requests/") {
        // The fixtures hold no more than three members in one batch: as many as the id says.
        let rows = path.rsplit('-').next().and_then(|rows| rows.parse().ok()).unwrap_or(0);
        return answered_to(rows, "SUCCESS", &merged(&vec!["41223"; rows]));
    }
    if request.method == "GET" {
        return tables(&[("MUSTER_LIST_VIP", "VIP")]);
    }
    let sent: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let rows = sent["recordData"]["records"].as_array().map_or(0, Vec::len);
    if path.starts_with("asyncApi/") {
        return accepted(rows);
    }
    if path.ends_with("/members") {
        return Reply::json(&merged(&vec!["41223"; rows]));
    }
    Reply::json(&json!({"profileExtension": {"objectName": "X", "folderName": "F"}}))
}

fn login() -> Reply {
    Reply::json(
        &json!({"authToken": "hush-e8", "issuedAt": 1, "endPoint": "https://api5.responsys.net"}),
    )
}

fn tables(tables: &[(&str, &str)]) -> Reply {
    let table = |(name, column): &(&str, &str)| {
        json!({"profileExtension": {"objectName": name, "folderName": "F"},
            "fields": [{"fieldName": "RIID_", "fieldType": "INTEGER"}, {"fieldName": column, "fieldType": "STR500"}]})
    };
    Reply::json(&tables.iter().map(table).collect())
}

fn merged(records: &[&str]) -> Json {
    let records: Vec<_> = records.iter().map(|record| [record]).collect();
    json!({"recordData": {"fieldNames": ["RIID_"], "records": records, "mapTemplateName": null}})
}

fn accepted(rows: usize) -> Reply {
    let body = json!({"requestId": format!("TVVj-{rows}"), "apiName": "asyncMergePetMembers", "status": "REQUEST_ACCEPTED"});
    Reply::status(202, body.to_string())
}

/// The answer to a request of so many rows.
fn answered_to(rows: usize, status: &str, response: &Json) -> Reply {
    let request = format!("TVVj-{rows}");
    Reply::json(
        &json!({"response": response, "requestId": request, "apiName": "", "status": status}),
    )
}

fn answered(status: &str, response: &Json) -> Reply {
    answered_to(3, status, response)
}

fn refused(status: &str, code: &str) -> Reply {
    answered(
        status,
        &json!({"type": "", "title": "", "errorCode": code, "detail": "", "errorDetails": "[]"}),
    )
}

fn responsys(more: &str) -> Configured {
    let text = format!(
        "[destinations.r]\ntype = \"responsys_batch\"\nlogin_host = \"login5.responsys.net\"\nuser_name = \"muster\"\npassword = \"${{P}}\"\nlist = \"CONTACTS\"\n{more}"
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

fn short(wire: &str) -> String {
    let rule = r#""mergeRule":{"defaultPermissionStatus":"OPTOUT","htmlValue":"H","insertOnNoMatch":true,"matchColumnName1":"EMAIL_ADDRESS_","matchColumnName2":null,"matchOperator":"NONE","optinValue":"I","optoutValue":"O","rejectRecordIfChannelEmpty":null,"textValue":"T","updateOnMatch":"REPLACE_ALL"}"#;
    let lines = wire.lines().filter(|line| !line.contains("/auth/token"));
    let lines = lines.map(|line| {
        line.replace("https://login5.responsys.net/rest/", "").replace(rule, "\"mergeRule\":…")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What comes of three members, the request being answered so.
async fn followed(made: &Configured, batch: &Batch, replies: Vec<Reply>) -> Conversation {
    let replies = std::iter::once(login()).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = Remote(json!({"table": "MUSTER_LIST_VIP", "column": "VIP"}));
    let result = match made.destination.deliver(&session, &remote, batch).await {
        Ok(Delivery::Settled(receipt)) => Ok(receipt.into_outcomes()),
        Ok(Delivery::Submitted(job)) => {
            let kept = serde_json::to_string(&job).unwrap();
            assert!(!kept.contains("example.org"), "a value is journaled: {kept}");
            let job: Job = serde_json::from_str(&kept).unwrap();
            loop {
                match made.destination.settle(&session, &job, batch.len()).await {
                    Ok(Settlement::Done(receipt)) => break Ok(receipt.into_outcomes()),
                    Ok(Settlement::Running { .. }) => {}
                    Err(fault) => break Err(fault),
                }
            }
        }
        Err(fault) => Err(fault),
    };
    Conversation { result, notices: Vec::new(), remote, captured: session.captured() }
}

#[tokio::test]
async fn members_are_merged_and_marked() {
    let made = responsys("");
    let said = made.converse(&three(&made), Vec::new()).await;
    assert_snapshot!(short(&said.wire()), @r#"
    GET api/v1.3/lists/CONTACTS/listExtensions
    POST api/v1.3/lists/CONTACTS/members {"mergeRule":…,"recordData":{"fieldNames":["EMAIL_ADDRESS_"],"mapTemplateName":null,"records":[["mara.lind@example.org"],["ivo@example.org"]]}}
    POST asyncApi/v1.3/lists/CONTACTS/listExtensions/MUSTER_LIST_VIP/members {"insertOnNoMatch":true,"matchColumnName1":"EMAIL_ADDRESS","recordData":{"fieldNames":["EMAIL_ADDRESS_","VIP"],"mapTemplateName":null,"records":[["mara.lind@example.org","1"],["ivo@example.org","1"],["zoe+shop@example.org","0"]]},"updateOnMatch":"REPLACE_ALL"}
    GET asyncApi/v1.3/requests/TVVj-3
    "#);
    assert_eq!(said.remote, Remote(json!({"table": "MUSTER_LIST_VIP", "column": "VIP"})));
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    let bare = responsys("create_members = false\n");
    let said = followed(&bare, &three(&bare), Vec::new()).await;
    assert!(said.captured.iter().all(|call| !call.url.contains("/rest/api/v1.3/lists/")));
    let by_id = responsys("match_by = \"external_id\"\n");
    let member = by_id.member(MARA, Change::Exited, &[("external_id", " crm-17 ")], &[]);
    let said = followed(&by_id, &batch([member]), Vec::new()).await;
    assert_snapshot!(String::from_utf8_lossy(&said.captured[0].body), @r#"{"insertOnNoMatch":true,"matchColumnName1":"CUSTOMER_ID","recordData":{"fieldNames":["CUSTOMER_ID_","VIP"],"mapTemplateName":null,"records":[["crm-17","0"]]},"updateOnMatch":"REPLACE_ALL"}"#);
}

#[tokio::test]
async fn every_member_has_its_own_outcome() {
    let made = responsys("");
    let first = "MERGEFAILED: Record 0 = INVALID EMAIL";
    let gone = "MERGEFAILED: Record 1 = RECORD_NOT_FOUND";
    let said = |row: &'static str| {
        let replies = vec![
            Reply::json(&merged(&[first, "7"])),
            accepted(2),
            answered_to(2, "SUCCESS", &merged(&["7", row])),
        ];
        let made = &made;
        async move { followed(made, &three(made), replies).await.outcomes() }
    };
    let rejected = Outcome::Rejected { reason: first.into() };
    assert_eq!(said(gone).await, [rejected.clone(), Outcome::Delivered, Outcome::Delivered]);
    let other = "MERGEFAILED: Record 1 = INVALID VALUE";
    let retry = Outcome::Retry { after: None, reason: other.into() };
    assert_eq!(said(other).await, [rejected, retry, Outcome::Delivered]);
    let one = batch([made.audience(Call::List, MARA, Change::Entered)]);
    let all = followed(&made, &one, vec![Reply::json(&merged(&[first]))]).await;
    assert_eq!(all.captured.len(), 2, "nobody is left to be marked");
    assert_eq!(all.outcomes(), [Outcome::Rejected { reason: first.into() }]);
}

/// Three members entered; what their request is answered.
async fn polled(replies: Vec<Reply>) -> Result<Vec<Outcome>, Fault> {
    let made = responsys("");
    let before = vec![Reply::json(&merged(&["1", "2", "3"])), accepted(3)];
    let replies = before.into_iter().chain(replies).collect();
    followed(&made, &made.several(), replies).await.result
}

#[tokio::test]
async fn a_request_is_asked_after_until_there_is_an_answer() {
    let waiting = vec![
        refused("IN_PROGRESS", "PROCESSING_REQUEST"),
        answered("IN_PROGRESS", &Json::Null),
        answered("SUCCESS", &merged(&["1", "2", "MERGEFAILED: no"])),
    ];
    let outcomes = polled(waiting).await.unwrap();
    let rejected = Outcome::Rejected { reason: "MERGEFAILED: no".into() };
    assert_eq!(outcomes, [Outcome::Delivered, Outcome::Delivered, rejected]);
    let expired = Reply::json(
        &json!({"responseMessage": {"errorCode": "ASYNC_REQUEST_EXPIRED", "detail": ""},
        "requestId": "TVVj-3", "status": "ERROR"}),
    );
    let outcomes = polled(vec![expired]).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })));
    for code in ["RESPONSE_PURGED", "INVALID_REQUEST_ID"] {
        let outcomes = polled(vec![refused("UNKNOWN", code)]).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Unsettled { .. })));
    }
}

#[tokio::test]
async fn what_is_not_said_of_every_member_is_not_believed() {
    for reply in [
        answered("SUCCESS", &merged(&["1", "2"])),
        answered("SUCCESS", &Json::Null),
        answered("SUCCESS", &json!([{"recipientId": 1, "success": true}])),
        refused("SUCCESS", "WHATEVER"),
        Reply::json(
            &json!({"response": merged(&["1", "2", "3"]), "requestId": "other", "status": "SUCCESS"}),
        ),
    ] {
        let result = polled(vec![reply]).await;
        assert!(matches!(result, Err(Fault::Protocol { .. })), "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_is_waited_for_and_a_session_renewed() {
    let made = responsys("");
    let error = |code: &str, detail: &str| {
        Reply::status(401, json!({"errorCode": code, "detail": detail}).to_string())
    };
    let started = tokio::time::Instant::now();
    let replies =
        vec![error("API_LIMIT_EXCEEDED", "in a minute"), error("TOKEN_EXPIRED", ""), login()];
    let said = followed(&made, &three(&made), replies).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert!(started.elapsed().as_secs() >= 60);
    let disabled = Reply::json(&json!({"errorCode": "ASYNC_API_DISABLED_FOR_USER", "detail": ""}));
    let replies = vec![Reply::json(&merged(&["1", "2"])), disabled];
    let said = followed(&made, &three(&made), replies).await;
    assert!(matches!(said.result, Err(Fault::Denied { .. })));
}

async fn opened(
    made: &Configured,
    list: Option<&str>,
    replies: Vec<Reply>,
) -> (Result<Remote, Fault>, String) {
    let replies = std::iter::once(login()).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let wanted = Target { call: Call::List, list: list.map(ToOwned::to_owned), ..target() };
    let remote = made.destination.open(&session, &wanted).await;
    let last = session.captured().pop().unwrap();
    (remote, format!("{} {}", last.method, String::from_utf8_lossy(&last.body)))
}

#[tokio::test]
async fn a_column_is_found_or_created_with_its_table() {
    let made = responsys("folder = \"Muster\"\n");
    let (remote, wire) = opened(&made, None, vec![tables(&[])]).await;
    assert_eq!(remote, Ok(Remote(json!({"table": "MUSTER_LIST_VIP", "column": "VIP"}))));
    assert_snapshot!(wire, @r#"POST {"fields":[{"fieldName":"VIP","fieldType":"STR500"}],"profileExtension":{"folderName":"Muster","objectName":"MUSTER_LIST_VIP"}}"#);
    let (remote, _) = opened(&made, Some("ALL"), vec![tables(&[("ALL", "vip")])]).await;
    assert_eq!(remote, Ok(Remote(json!({"table": "ALL", "column": "VIP"}))));
    let reason = |(remote, _): (Result<Remote, Fault>, String)| match remote {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert_snapshot!(reason(opened(&made, Some("ALL"), vec![tables(&[("ALL", "OTHER")])]).await), @"the extension table `ALL` lacks the column `VIP`: add it in Responsys with the type STR500, since its API cannot");
    assert_snapshot!(reason(opened(&responsys(""), None, vec![tables(&[])]).await), @"the list has no extension table `MUSTER_LIST_VIP`: make it with the column `VIP` of type STR500, or give `folder` to have it created");
}

#[test]
fn a_name_that_makes_no_column_is_objected_to() {
    let long = Target { model_key: "bought_something_in_the_last_180_days".into(), ..target() };
    let made = responsys("");
    assert_snapshot!(made.destination.objections(&long).join("\n"), @"`bought_something_in_the_last_180_days` is longer than the 30 characters that Responsys takes");
    assert_eq!(made.destination.objections(&target()), Vec::<String>::new());
}
