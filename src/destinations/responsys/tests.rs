//! What Responsys is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, told,
};
use crate::destinations::{Batch, Configured, Fault, Field, FieldKind, Outcome, Remote, Target};
use crate::record::{Call, Change};

/// Knows every table, and merges every record.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    if request.url.ends_with("/auth/token") {
        return session("https://api5-002.responsys.net");
    }
    if request.method == "GET" {
        return tables(&[("MUSTER_TRAITS", ALL), ("MUSTER_VIP", ALL)]);
    }
    let sent: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let rows = sent["recordData"]["records"].as_array().map_or(0, Vec::len);
    match request.url.ends_with("/members") {
        true => merged((0..rows).map(|row| format!("{}", 41_223 + row))),
        false => Reply::json(&json!({"profileExtension": {"objectName": "X", "folderName": "F"}})),
    }
}

const ALL: &[(&str, &str)] =
    &[("RIID_", "INTEGER"), ("LTV_90D", "NUMBER"), ("CITY", "STR500"), ("VIP", "STR25")];

fn session(end_point: &str) -> Reply {
    let issued = 1_795_166_400_000_u64;
    Reply::json(&json!({"authToken": "hush-e8f1", "issuedAt": issued, "endPoint": end_point}))
}

fn tables(tables: &[(&str, &[(&str, &str)])]) -> Reply {
    let table = |(name, columns): &(&str, &[(&str, &str)])| {
        let field = |(name, kind): &(&str, &str)| json!({"fieldName": name, "fieldType": kind});
        let fields: Vec<_> = columns.iter().map(field).collect();
        json!({"profileExtension": {"objectName": name, "folderName": "Muster"}, "fields": fields})
    };
    Reply::json(&tables.iter().map(table).collect())
}

fn merged(records: impl Iterator<Item = String>) -> Reply {
    let records: Vec<_> = records.map(|record| [record]).collect();
    let data = json!({"fieldNames": ["RIID_"], "records": records, "mapTemplateName": null});
    Reply::json(&json!({"recordData": data, "mergeRule": {}, "links": []}))
}

fn said(records: &[&str]) -> Reply {
    merged(records.iter().map(|record| (*record).to_owned()))
}

fn error(status: u16, code: &str, detail: &str) -> Reply {
    let body =
        json!({"type": "", "title": "", "errorCode": code, "detail": detail, "errorDetails": []});
    Reply::status(status, body.to_string())
}

fn responsys(more: &str) -> Configured {
    let text = format!(
        "[destinations.r]\ntype = \"responsys\"\nlogin_host = \"login5.responsys.net\"\nuser_name = \"muster\"\npassword = \"${{P}}\"\nlist = \"CONTACTS_LIST\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

const TABLE: &str = "table = \"MUSTER_TRAITS\"\n";

fn short(wire: &str) -> String {
    wire.replace(".responsys.net/rest/api/v1.3/lists/CONTACTS_LIST", "…").replace("https://", "")
}

async fn written(made: &Configured) -> String {
    let mut shown = String::new();
    for (kind, batch) in made.batches() {
        let wire = short(&made.converse(&batch, Vec::new()).await.wire());
        let calls = wire.lines().filter(|line| line.contains("/members"));
        let rule = r#""mergeRule":{"defaultPermissionStatus":"OPTOUT","htmlValue":"H","insertOnNoMatch":true,"matchColumnName1":"CUSTOMER_ID_","matchColumnName2":null,"matchOperator":"NONE","optinValue":"I","optoutValue":"O","rejectRecordIfChannelEmpty":null,"textValue":"T","updateOnMatch":"REPLACE_ALL"}"#;
        let calls: Vec<_> = calls.map(|line| line.replace(rule, "\"mergeRule\":…")).collect();
        shown.push_str(&format!("{kind}\n{}\n", calls.join("\n")));
    }
    shown
}

#[tokio::test]
async fn requests() {
    assert_snapshot!(written(&responsys(TABLE)).await, @r#"
    audience
    POST login5…/members {"mergeRule":…,"recordData":{"fieldNames":["CUSTOMER_ID_","EMAIL_ADDRESS_"],"mapTemplateName":null,"records":[["u_8841","mara.lind@example.org"]]}}
    POST login5…/listExtensions/MUSTER_TRAITS/members {"insertOnNoMatch":true,"matchColumnName1":"CUSTOMER_ID","recordData":{"fieldNames":["CUSTOMER_ID_","VIP"],"mapTemplateName":null,"records":[["u_8841","true"]]},"updateOnMatch":"REPLACE_ALL"}
    exit
    POST login5…/members {"mergeRule":…,"recordData":{"fieldNames":["CUSTOMER_ID_","EMAIL_ADDRESS_"],"mapTemplateName":null,"records":[["u_8842","ivo@example.org"]]}}
    POST login5…/listExtensions/MUSTER_TRAITS/members {"insertOnNoMatch":true,"matchColumnName1":"CUSTOMER_ID","recordData":{"fieldNames":["CUSTOMER_ID_","VIP"],"mapTemplateName":null,"records":[["u_8842","false"]]},"updateOnMatch":"REPLACE_ALL"}
    identify
    POST login5…/members {"mergeRule":…,"recordData":{"fieldNames":["CUSTOMER_ID_","EMAIL_ADDRESS_"],"mapTemplateName":null,"records":[["u_8841","mara.lind@example.org"]]}}
    POST login5…/listExtensions/MUSTER_TRAITS/members {"insertOnNoMatch":true,"matchColumnName1":"CUSTOMER_ID","recordData":{"fieldNames":["CUSTOMER_ID_","LTV_90D"],"mapTemplateName":null,"records":[["u_8841","812.4"]]},"updateOnMatch":"REPLACE_ALL"}
    null
    POST login5…/members {"mergeRule":…,"recordData":{"fieldNames":["CUSTOMER_ID_","EMAIL_ADDRESS_"],"mapTemplateName":null,"records":[["u_8842","ivo@example.org"]]}}
    POST login5…/listExtensions/MUSTER_TRAITS/members {"insertOnNoMatch":true,"matchColumnName1":"CUSTOMER_ID","recordData":{"fieldNames":["CUSTOMER_ID_","LTV_90D"],"mapTemplateName":null,"records":[["u_8842",""]]},"updateOnMatch":"REPLACE_ALL"}
    several
    POST login5…/members {"mergeRule":…,"recordData":{"fieldNames":["CUSTOMER_ID_","EMAIL_ADDRESS_"],"mapTemplateName":null,"records":[["u_8841","mara.lind@example.org"],["u_8842","ivo@example.org"],["zoë","zoe+shop@example.org"]]}}
    POST login5…/listExtensions/MUSTER_TRAITS/members {"insertOnNoMatch":true,"matchColumnName1":"CUSTOMER_ID","recordData":{"fieldNames":["CUSTOMER_ID_","LTV_90D"],"mapTemplateName":null,"records":[["u_8841","812.4"],["u_8842","7"],["zoë","-3.5"]]},"updateOnMatch":"REPLACE_ALL"}
    unicode
    POST login5…/members {"mergeRule":…,"recordData":{"fieldNames":["CUSTOMER_ID_","EMAIL_ADDRESS_"],"mapTemplateName":null,"records":[["zoë","zoe+shop@example.org"]]}}
    POST login5…/listExtensions/MUSTER_TRAITS/members {"insertOnNoMatch":true,"matchColumnName1":"CUSTOMER_ID","recordData":{"fieldNames":["CUSTOMER_ID_","CITY"],"mapTemplateName":null,"records":[["zoë","Zürich 🏪 \"A\" "]]},"updateOnMatch":"REPLACE_ALL"}
    "#);
}

#[tokio::test]
async fn members_are_matched_by_email_or_left_to_others() {
    let made = responsys("identify_by = \"email\"\n");
    let wire = made.converse(&made.several(), Vec::new()).await.wire();
    assert_snapshot!(short(&wire), @r#"
    GET login5…/listExtensions
    POST login5.responsys.net/rest/api/v1.3/auth/token user_name=[secret]&password=[secret]&auth_type=password
    POST login5…/members {"mergeRule":{"defaultPermissionStatus":"OPTOUT","htmlValue":"H","insertOnNoMatch":true,"matchColumnName1":"EMAIL_ADDRESS_","matchColumnName2":null,"matchOperator":"NONE","optinValue":"I","optoutValue":"O","rejectRecordIfChannelEmpty":null,"textValue":"T","updateOnMatch":"REPLACE_ALL"},"recordData":{"fieldNames":["EMAIL_ADDRESS_"],"mapTemplateName":null,"records":[["mara.lind@example.org"],["ivo@example.org"],["zoe+shop@example.org"]]}}
    POST login5…/listExtensions/MUSTER_VIP/members {"insertOnNoMatch":true,"matchColumnName1":"EMAIL_ADDRESS","recordData":{"fieldNames":["EMAIL_ADDRESS_","LTV_90D"],"mapTemplateName":null,"records":[["mara.lind@example.org","812.4"],["ivo@example.org","7"],["zoe+shop@example.org","-3.5"]]},"updateOnMatch":"REPLACE_ALL"}
    "#);
    let made = responsys("create_members = false\n");
    let wire = made.converse(&made.several(), Vec::new()).await.wire();
    let calls: Vec<_> = wire.lines().filter(|line| line.contains("/members")).collect();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].contains("/listExtensions/MUSTER_VIP/members"), "{}", calls[0]);
}

#[tokio::test]
async fn a_login_says_where_requests_go_and_its_token_stands_alone() {
    fn strict(request: &Captured) -> Reply {
        let sent = request.headers.iter().find(|(name, _)| name == "authorization");
        match request.url.split_once(".responsys.net").unwrap().0 {
            "https://login5" => assert_eq!(sent, None),
            "https://api5-002" => assert_eq!(sent.unwrap().1, "hush-e8f1"),
            other => panic!("{other}"),
        }
        server(request)
    }
    let made = responsys(TABLE);
    let session = Session::served(&made.terms(), Vec::new(), strict);
    let said = made.converse_through(&session, &made.several()).await;
    assert_eq!(said.result, Ok(vec![Outcome::Delivered; 3]));
    let login = said.captured.iter().find(|call| call.url.ends_with("/auth/token")).unwrap();
    assert_eq!(login.body, "user_name=[secret]&password=[secret]&auth_type=password");
}

#[tokio::test]
async fn nothing_goes_where_a_login_must_not_send_us() {
    let made = responsys(TABLE);
    let replies = vec![session("https://api5.responsys.net.evil.example")];
    let said = made.converse(&made.several(), replies).await;
    assert!(matches!(said.result, Err(Fault::Denied { .. })), "{:?}", said.result);
    let text = "[destinations.r]\ntype = \"responsys\"\nbase_url = \"https://proxy.example.com/r/\"\nuser_name = \"muster\"\npassword = \"${P}\"\nlist = \"L 1\"\n";
    let made = configured(text).unwrap();
    let wire = made.converse(&made.several(), Vec::new()).await.wire();
    let addresses: Vec<_> = wire.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_snapshot!(addresses.join("\n"), @r#"
    https://proxy.example.com/r/rest/api/v1.3/lists/L%201/listExtensions
    https://proxy.example.com/r/rest/api/v1.3/auth/token
    https://proxy.example.com/r/rest/api/v1.3/lists/L%201/members
    https://proxy.example.com/r/rest/api/v1.3/lists/L%201/listExtensions/MUSTER_VIP/members
    "#);
}

/// What comes of three members when the first merge and what follows are answered so.
async fn delivered(replies: Vec<Reply>) -> Conversation {
    let before = vec![session("https://api5.responsys.net"), tables(&[("MUSTER_TRAITS", ALL)])];
    let made = responsys(TABLE);
    made.converse(&made.several(), before.into_iter().chain(replies).collect()).await
}

#[tokio::test]
async fn members_and_rows_are_refused_by_their_position() {
    let bad = "MERGEFAILED: Record 1 = INVALID EMAIL";
    let worse = "MERGEFAILED: Record 0 = INVALID VALUE";
    let outcome = delivered(vec![said(&["1", bad, "3"]), said(&[worse, "3"])]).await;
    let rows = outcome.captured.last().unwrap().body.clone();
    assert!(
        !String::from_utf8_lossy(&rows).contains("u_8842"),
        "a member who was refused has a row"
    );
    let rejected = |reason: &str| Outcome::Rejected { reason: reason.into() };
    assert_eq!(outcome.outcomes(), [rejected(worse), rejected(bad), Outcome::Delivered]);
}

#[tokio::test]
async fn what_is_not_said_of_every_member_is_not_believed() {
    for replies in [
        vec![said(&["1", "2"])],
        vec![said(&["1", "2", "3", "4"])],
        vec![said(&["1", "", "3"])],
        vec![said(&["1", "2", "3"]), said(&["1", "2"])],
        vec![Reply::json(&json!({"requestId": "async"}))],
    ] {
        let result = delivered(replies).await.result;
        assert!(matches!(result, Err(Fault::Protocol { .. })), "{result:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_is_waited_for_whatever_its_status() {
    for status in [400, 401, 403, 429] {
        let limit = error(status, "API_LIMIT_EXCEEDED", "Please try again in a minute.");
        let started = tokio::time::Instant::now();
        let said = delivered(vec![limit]).await;
        assert_eq!(said.result, Ok(vec![Outcome::Delivered; 3]));
        assert!((60..62).contains(&started.elapsed().as_secs()), "{status}");
        let logins = said.captured.iter().filter(|call| call.url.ends_with("/auth/token"));
        assert_eq!(logins.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_is_begun_again() {
    let over = || error(500, "UNEXPECTED_EXCEPTION", "Not a valid authentication token");
    let said = delivered(vec![over()]).await;
    let logins = said.captured.iter().filter(|call| call.url.ends_with("/auth/token")).count();
    assert_eq!((said.outcomes(), logins), (vec![Outcome::Delivered; 3], 2));
    let made = responsys(TABLE);
    let wrong = error(400, "INVALID_USER_NAME_PASSWORD", "Invalid username or password");
    let said = made.converse(&made.several(), vec![wrong]).await;
    assert!(matches!(said.result, Err(Fault::Denied { .. })));
    assert_eq!(said.captured.len(), 2);
}

#[tokio::test]
async fn rows_of_other_columns_and_members_without_email_go_apart() {
    let made = responsys(TABLE);
    let nobody = User { email: "", ..ZOE };
    let city = made.message(Call::Identify, IVO, Change::Changed, &[("city", json!("Graz"))]);
    let ltv =
        |user| made.message(Call::Identify, user, Change::Changed, &[("ltv_90d", json!(1.5))]);
    let three = batch([ltv(MARA), city, ltv(nobody)]);
    let said = merges(&made, &three, vec![session("https://api5.responsys.net")]).await;
    assert_snapshot!(said, @r#"
    ["CUSTOMER_ID_"] [["zoë"]]
    ["CUSTOMER_ID_","EMAIL_ADDRESS_"] [["u_8841","mara.lind@example.org"],["u_8842","ivo@example.org"]]
    ["CUSTOMER_ID_","CITY"] [["u_8842","Graz"]]
    ["CUSTOMER_ID_","LTV_90D"] [["u_8841","1.5"],["zoë","1.5"]]
    "#);
}

/// The records of every merge.
async fn merges(made: &Configured, batch: &Batch, replies: Vec<Reply>) -> String {
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = Remote(json!({"table": "MUSTER_TRAITS"}));
    let delivery = made.destination.deliver(&session, &remote, batch).await.unwrap();
    let outcomes = crate::destinations::fixture::receipt(delivery).into_outcomes();
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered));
    let calls = session.captured();
    let calls = calls.iter().filter(|call| call.url.ends_with("/members")).map(|call| {
        let body: Json = serde_json::from_slice(&call.body).unwrap();
        format!("{} {}\n", body["recordData"]["fieldNames"], body["recordData"]["records"])
    });
    calls.collect()
}

fn wanting(names: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: names.iter().map(field).collect(), ..target() }
}

async fn refusal(made: &Configured, wanted: &Target, replies: Vec<Reply>) -> String {
    let login = session("https://api5.responsys.net");
    let replies = std::iter::once(login).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    match made.destination.open(&session, wanted).await {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_table_is_found_or_created_for_its_model() {
    let made = responsys("folder = \"Muster\"\n");
    let new = Target {
        model_key: "first time shopper".into(),
        ..wanting(&[
            ("first_time_shopper", FieldKind::Bool),
            ("ltv", FieldKind::Number),
            ("seen", FieldKind::Timestamp),
        ])
    };
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let remote = made.destination.open(&session, &new).await.unwrap();
    assert_eq!(remote, Remote(json!({"table": "MUSTER_FIRST_TIME_SHOPPER"})));
    let created = session.captured().pop().unwrap();
    assert_snapshot!(String::from_utf8_lossy(&created.body), @r#"{"fields":[{"fieldName":"FIRST_TIME_SHOPPER","fieldType":"STR25"},{"fieldName":"LTV","fieldType":"NUMBER"},{"fieldName":"SEEN","fieldType":"TIMESTAMP"}],"profileExtension":{"folderName":"Muster","objectName":"MUSTER_FIRST_TIME_SHOPPER"}}"#);
    let vip = wanting(&[("vip", FieldKind::Bool)]);
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    made.destination.open(&session, &vip).await.unwrap();
    assert!(session.captured().iter().all(|call| !call.body.starts_with(b"{\"fields\"")));
}

#[tokio::test]
async fn a_table_that_cannot_be_used_stops_the_sync() {
    let vip = wanting(&[("vip", FieldKind::Bool), ("orders", FieldKind::Integer)]);
    let none = || tables(&[]);
    assert_snapshot!(refusal(&responsys(""), &vip, vec![none()]).await, @"the list has no extension table `MUSTER_VIP`: make it with the columns `VIP` STR25, `ORDERS` INTEGER, or give `folder` to have it created");
    let closed = responsys("folder = \"F\"\ncreate_fields = false\n");
    assert_snapshot!(refusal(&closed, &vip, vec![none()]).await, @"the list has no extension table `MUSTER_VIP`: make it with the columns `VIP` STR25, `ORDERS` INTEGER, or set `create_fields`");
    let made = responsys("folder = \"F\"\n");
    let lacking = tables(&[("muster_vip", &[("VIP", "STR25")])]);
    assert_snapshot!(refusal(&made, &vip, vec![lacking]).await, @"the extension table `MUSTER_VIP` lacks the columns `ORDERS` INTEGER: add them in Responsys, since its API cannot");
    let other = tables(&[("MUSTER_VIP", &[("VIP", "INTEGER")])]);
    assert_snapshot!(refusal(&made, &vip, vec![other]).await, @"the column `VIP` of the extension table `MUSTER_VIP` is of type INTEGER, not STR25: send the value under another alias");
    let refused = error(400, "INVALID_PARAMETER", "Folder not found");
    assert_snapshot!(refusal(&made, &vip, vec![none(), refused]).await, @r#"Responsys refuses to create the table `MUSTER_VIP`: HTTP 400 Bad Request: {"detail":"Folder not found","errorCode":"INVALID_PARAMETER","errorDetails":[],"title":"","type":""}"#);
    let no_list = error(404, "LIST_NOT_FOUND", "List not found");
    assert!(refusal(&made, &vip, vec![no_list]).await.contains("LIST_NOT_FOUND"));
}

#[test]
fn what_responsys_cannot_hold_is_objected_to() {
    let wanted = wanting(&[
        ("Customer id", FieldKind::Text),
        ("total_revenue_of_the_last_180_days", FieldKind::Number),
        ("fine", FieldKind::Nested),
    ]);
    assert_snapshot!(responsys(TABLE).destination.objections(&wanted).join("\n"), @r#"
    `Customer id` is what Responsys matches by: give it another alias
    `total_revenue_of_the_last_180_days` is longer than the 30 characters that Responsys takes
    "#);
}

#[test]
fn a_login_must_be_named() {
    let text = "[destinations.r]\ntype = \"responsys\"\nuser_name = \"a\"\npassword = \"${P}\"\nlist = \"L\"\n";
    assert_snapshot!(told(&configured(text).err().unwrap()), @r#"D03 option `login_host` of destination `r` is missing, and there is no `base_url` ("responsys") it is where you log in, such as `login5.responsys.net`"#);
    let other = format!("{text}login_host = \"responsys.net\"\n");
    assert_snapshot!(told(&configured(&other).err().unwrap()), @r#"D03 option `login_host` of destination `r` is not a host of at least three parts ("responsys.net") it is where you log in, such as `login5.responsys.net`"#);
}

#[tokio::test]
async fn the_check_proves_the_login_and_the_list() {
    let made = responsys(TABLE);
    let check = |replies| async {
        made.destination.check(&Session::served(&made.terms(), replies, made.server())).await
    };
    assert_eq!(check(Vec::new()).await, Ok(()));
    let replies =
        vec![session("https://api5.responsys.net"), error(401, "INSUFFICIENT_ACCESS", "no")];
    assert!(matches!(check(replies).await, Err(Fault::Denied { .. })));
}
