//! What Marketing Cloud is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, configured, target, told};
use crate::destinations::{
    Configured, Fault, Field, FieldKind, Job, Outcome, Remote, Settlement, Target,
};
use crate::record::Call;

/// Knows every data extension and column; jobs are done at once.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("marketingcloudapis.com").map_or("", |(_, path)| path);
    if path == "/v2/token" {
        return token("hush-1");
    }
    if path.ends_with("/status") {
        return status("Complete", "OK");
    }
    if path.ends_with("/rows") {
        return submitted();
    }
    if path.ends_with("/fields") {
        return columns(&[
            ("ContactKey", "Text", path.contains("id-customers")),
            ("AccountId", "Text", path.contains("id-accounts")),
            ("EmailAddress", "EmailAddress", false),
            ("LTV_90d", "Decimal", false),
            ("city", "Text", false),
            ("vip", "Boolean", false),
            ("seats_used", "Number", false),
        ]);
    }
    found(&["customers_2", "customers", "accounts"])
}

fn token(secret: &str) -> Reply {
    Reply::json(&json!({"access_token": secret, "token_type": "Bearer", "expires_in": 1079,
        "scope": "data_extensions_read data_extensions_write",
        "rest_instance_url": "https://mc1.rest.marketingcloudapis.com/"}))
}

fn found(keys: &[&str]) -> Reply {
    let items =
        keys.iter().map(|key| json!({"id": format!("id-{key}"), "name": "Some", "key": key}));
    let items: Vec<_> = items.collect();
    Reply::json(
        &json!({"count": keys.len(), "page": 1, "pageSize": 25, "links": {}, "items": items}),
    )
}

fn columns(columns: &[(&str, &str, bool)]) -> Reply {
    let column = |(name, kind, key): &(&str, &str, bool)| json!({"name": name, "type": kind, "isPrimaryKey": key, "isNullable": !key, "ordinal": 0});
    let fields: Vec<_> = columns.iter().map(column).collect();
    Reply::json(&json!({"id": "id-customers", "fields": fields}))
}

fn submitted() -> Reply {
    Reply::status(202, json!({"requestId": "5f0e-11", "resultMessages": []}).to_string())
}

fn status(request: &str, result: &str) -> Reply {
    let status = json!({"callDateTime": "2026-11-20T09:00:00", "requestStatus": request,
        "resultStatus": result, "hasErrors": result != "OK", "requestId": "5f0e-11"});
    Reply::json(&json!({"requestId": "5f0e-11", "status": status, "resultMessages": []}))
}

fn results(count: usize, items: &[Json]) -> Reply {
    Reply::json(&json!({"page": 1, "pageSize": 50, "count": count, "items": items,
        "requestId": "5f0e-11", "resultMessages": []}))
}

fn cloud(more: &str) -> Configured {
    let text = format!(
        "[destinations.m]\ntype = \"salesforce_marketing_cloud\"\nsubdomain = \"mc1\"\nclient_id = \"muster\"\nclient_secret = \"${{S}}\"\ndata_extension = \"customers\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

const ACCOUNTS: &str = "account_data_extension = \"accounts\"\n";

fn short(wire: &str) -> String {
    wire.replace(".marketingcloudapis.com", "").replace("https://", "")
}

async fn written(made: &Configured) -> String {
    let mut shown = String::new();
    for (kind, batch) in made.batches() {
        let said = made.converse(&batch, Vec::new()).await;
        let wire = short(&said.wire());
        let calls = wire.lines().filter(|line| line.starts_with("PUT"));
        let calls: Vec<_> =
            calls.map(|line| line.replace("mc1.rest/data/v1/async/dataextensions", "…")).collect();
        shown.push_str(&format!("{kind}: {}\n", calls.join("\n")));
    }
    shown
}

#[tokio::test]
async fn requests() {
    let made = cloud(&format!("{ACCOUNTS}email_column = \"EmailAddress\"\n"));
    assert_snapshot!(written(&made).await, @r#"
    audience: PUT …/key:customers/rows {"items":[{"ContactKey":"u_8841","EmailAddress":"mara.lind@example.org","vip":true}]}
    exit: PUT …/key:customers/rows {"items":[{"ContactKey":"u_8842","EmailAddress":"ivo@example.org","vip":false}]}
    group: PUT …/key:accounts/rows {"items":[{"AccountId":"acct_310","seats_used":41}]}
    identify: PUT …/key:customers/rows {"items":[{"ContactKey":"u_8841","EmailAddress":"mara.lind@example.org","ltv_90d":812.4}]}
    null: PUT …/key:customers/rows {"items":[{"ContactKey":"u_8842","EmailAddress":"ivo@example.org","ltv_90d":null}]}
    several: PUT …/key:customers/rows {"items":[{"ContactKey":"u_8841","EmailAddress":"mara.lind@example.org","ltv_90d":812.4},{"ContactKey":"u_8842","EmailAddress":"ivo@example.org","ltv_90d":7.0},{"ContactKey":"zoë","EmailAddress":"zoe+shop@example.org","ltv_90d":-3.5}]}
    unicode: PUT …/key:customers/rows {"items":[{"ContactKey":"zoë","EmailAddress":"zoe+shop@example.org","city":"Zürich 🏪 \"A\" "}]}
    "#);
}

#[tokio::test]
async fn by_email_the_key_holds_it_and_an_empty_text_may_clear() {
    let made = cloud(&format!("{ACCOUNTS}identify_by = \"email\"\nnull_as = \"empty\"\n"));
    let shown = written(&made).await;
    let lines = shown.lines().filter(|line| line.starts_with("null") || line.starts_with("audi"));
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    audience: PUT …/key:customers/rows {"items":[{"ContactKey":"mara.lind@example.org","vip":true}]}
    null: PUT …/key:customers/rows {"items":[{"ContactKey":"ivo@example.org","ltv_90d":""}]}
    "#);
}

#[tokio::test]
async fn a_sync_finds_its_data_extension_writes_and_asks_after_the_job() {
    let made = cloud("account_id = \"7001\"\n");
    let said = made.converse(&made.several(), Vec::new()).await;
    let lines = said.captured.iter().map(|call| {
        let body = if call.url.contains("token") {
            String::from_utf8_lossy(&call.body)
        } else {
            "".into()
        };
        format!("{} {} {body}", call.method, short(&call.url)).trim_end().to_owned()
    });
    assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r#"
    GET mc1.rest/data/v1/customobjects?$search=customers
    POST mc1.auth/v2/token {"account_id":"7001","client_id":"muster","client_secret":"[secret]","grant_type":"client_credentials"}
    GET mc1.rest/data/v1/customobjects/id-customers/fields
    PUT mc1.rest/data/v1/async/dataextensions/key:customers/rows
    GET mc1.rest/data/v1/async/5f0e-11/status
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

/// What comes of three rows when the job is asked after.
async fn asked(replies: Vec<Reply>) -> Conversation {
    let made = cloud("");
    let batch = made.several();
    let before = vec![token("hush-1"), found(&["customers"]), key_and("ltv_90d"), submitted()];
    made.converse(&batch, before.into_iter().chain(replies).collect()).await
}

fn key_and(name: &str) -> Reply {
    columns(&[("contactkey", "Text", true), (name, "Decimal", false)])
}

#[tokio::test]
async fn rows_are_refused_by_their_position() {
    let items = [
        json!({"status": "OK", "message": null, "errorCode": null}),
        json!({"status": "Error", "errorCode": 2, "message": "Invalid value for Ltv90d"}),
        json!({"status": "Error", "errorCode": 2, "message": "Transaction was deadlocked. Rerun the transaction."}),
    ];
    let said = asked(vec![status("Complete", "Has Errors"), results(3, &items)]).await;
    let [delivered, rejected, retry] = &said.outcomes()[..] else { panic!() };
    assert_eq!(*delivered, Outcome::Delivered);
    assert_eq!(*rejected, Outcome::Rejected { reason: "2: Invalid value for Ltv90d".into() });
    assert!(matches!(retry, Outcome::Retry { .. }));
}

#[tokio::test]
async fn a_job_is_asked_after_until_it_is_complete() {
    let untouched = Reply::json(&json!({"requestId": "5f0e-11", "resultMessages": []}));
    let replies = vec![
        untouched,
        status("Pending", "OK"),
        status("Executing", "OK"),
        status("Error", "Has Errors"),
        status("Complete", "OK"),
    ];
    let said = asked(replies).await;
    assert_eq!(said.captured.iter().filter(|call| call.url.ends_with("/status")).count(), 5);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

async fn settled(
    made: &Configured,
    replies: Vec<Reply>,
    rows: usize,
) -> (Result<Settlement, Fault>, usize) {
    let replies = std::iter::once(token("hush-1")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let poll_after = std::time::Duration::ZERO;
    let job = Job { handle: json!({"request": "5f0e-11"}), poll_after };
    let settlement = made.destination.settle(&session, &job, rows).await;
    (settlement, session.captured().len())
}

#[tokio::test]
async fn results_are_read_page_by_page() {
    let ok = || vec![json!({"status": "OK", "message": "Updated"}); 50];
    let bad = json!({"status": "Error", "message": "no"});
    let pages = vec![
        status("Complete", "Has Errors"),
        results(101, &ok()),
        results(101, &ok()),
        results(101, &[bad]),
    ];
    let (settlement, calls) = settled(&cloud(""), pages, 101).await;
    let Ok(Settlement::Done(receipt)) = settlement else { panic!("{settlement:?}") };
    assert_eq!(receipt.outcomes()[99], Outcome::Delivered);
    assert_eq!(receipt.outcomes()[100], Outcome::Rejected { reason: "no".into() });
    assert_eq!(calls, 5);
}

#[tokio::test]
async fn results_that_are_not_those_of_the_rows_are_not_believed() {
    let ok = || json!({"status": "OK", "message": ""});
    let errors = || status("Complete", "Has Errors");
    let other = Reply::json(
        &json!({"requestId": "77", "status": {"requestStatus": "Complete", "resultStatus": "OK"}}),
    );
    for replies in [
        vec![errors(), results(2, &[ok(), ok()])],
        vec![errors(), results(3, &[ok(), ok()]), results(3, &[])],
        vec![errors(), results(3, &[ok(), ok(), ok(), ok()])],
        vec![errors(), results(3, &[ok(), ok(), json!({"status": "Perhaps"})])],
        vec![status("Complete", "Wonderful")],
        vec![status("Asleep", "OK")],
        vec![other],
    ] {
        let (settlement, _) = settled(&cloud(""), replies, 3).await;
        assert!(matches!(settlement, Err(Fault::Protocol { .. })), "{settlement:?}");
    }
}

#[tokio::test]
async fn a_job_that_is_forgotten_leaves_its_rows_unsettled() {
    let gone = || Reply::status(404, json!({"message": "Request not found"}).to_string());
    // The job itself, or only its results.
    for replies in [vec![gone()], vec![status("Complete", "Has Errors"), gone()]] {
        let (settlement, _) = settled(&cloud(""), replies, 2).await;
        let Ok(Settlement::Done(receipt)) = settlement else { panic!("{settlement:?}") };
        let unsettled = |outcome: &Outcome| matches!(outcome, Outcome::Unsettled { .. });
        assert!(receipt.outcomes().iter().all(unsettled));
    }
}

#[tokio::test(start_paused = true)]
async fn throttling_a_token_that_is_over_and_refusals_have_their_remedies() {
    let made = cloud("");
    let batch = made.several();
    let before = || vec![token("hush-1"), found(&["customers"]), key_and("ltv_90d")];
    let said = |reply| async {
        let replies = before().into_iter().chain([reply]).collect();
        let started = tokio::time::Instant::now();
        let said = made.converse(&batch, replies).await;
        (said, started.elapsed().as_secs())
    };
    let limit = json!({"message": "Rate limit exceeded", "errorcode": 50100, "retryAfter": 5});
    let (slow, waited) = said(Reply::status(429, limit.to_string())).await;
    assert_eq!((slow.outcomes(), waited), (vec![Outcome::Delivered; 3], 5));
    let (renewed, _) =
        said(Reply::status(401, json!({"message": "Not Authorized"}).to_string())).await;
    assert_eq!(renewed.captured.iter().filter(|call| call.url.contains("token")).count(), 2);
    assert_eq!(renewed.outcomes(), vec![Outcome::Delivered; 3]);
    let bad = json!({"requestId": "5f", "resultMessages": [{"message": "The field nope is not a valid property"}]});
    let (refused, _) = said(Reply::status(400, bad.to_string())).await;
    assert!(matches!(refused.result, Err(Fault::Rejected { .. })));
    let scope = json!({"message": "Insufficient privileges to complete this action."});
    let (denied, _) = said(Reply::status(403, scope.to_string())).await;
    assert!(matches!(denied.result, Err(Fault::Denied { .. })));
}

async fn opened(made: &Configured, wanted: &Target, replies: Vec<Reply>) -> Result<Remote, Fault> {
    let replies = std::iter::once(token("hush-1")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    made.destination.open(&session, wanted).await
}

async fn refusal(made: &Configured, wanted: &Target, replies: Vec<Reply>) -> String {
    match opened(made, wanted, replies).await {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

fn wanting(names: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: names.iter().map(field).collect(), ..target() }
}

#[tokio::test]
async fn what_a_data_extension_lacks_is_named_before_anything_is_sent() {
    let made = cloud("create_fields = false\n");
    let ltv = wanting(&[("ltv_90d", FieldKind::Number)]);
    let here = || found(&["customers"]);
    assert_snapshot!(refusal(&made, &ltv, vec![found(&["customers_2"])]).await, @"there is no data extension with the external key `customers`, or the package may not see it: its properties show the key");
    let other_key = columns(&[("Email", "EmailAddress", true)]);
    assert_snapshot!(refusal(&made, &ltv, vec![here(), other_key]).await, @"the data extension `customers` has the primary key `Email`, not `ContactKey` alone");
    let no_key = columns(&[("ContactKey", "Text", false)]);
    assert_snapshot!(refusal(&made, &ltv, vec![here(), no_key]).await, @"the data extension `customers` has no primary key: make `ContactKey` its only one");
    let bare = || columns(&[("ContactKey", "Text", true), ("LTV_90D", "Text", false)]);
    assert_snapshot!(refusal(&made, &ltv, vec![here(), bare()]).await, @"the data extension `customers` has a column `ltv_90d` of type Text, not Decimal: send the value under another alias");
    let two = wanting(&[("tier (2026)", FieldKind::Text), ("seen", FieldKind::Timestamp)]);
    assert_snapshot!(refusal(&made, &two, vec![here(), bare()]).await, @"the data extension `customers` lacks the column `tier _2026_` of type Text, `seen` of type Date: add it, nullable, or set `create_fields = true`");
    let email = cloud("email_column = \"EmailAddress\"\ncreate_fields = false\n");
    assert_snapshot!(refusal(&email, &wanting(&[]), vec![here(), bare()]).await, @"the data extension `customers` lacks the column `EmailAddress` of type Text: add it, nullable, or set `create_fields = true`");
}

#[tokio::test]
async fn columns_that_are_missing_are_added_over_soap() {
    let made = cloud("");
    let two =
        wanting(&[("tier", FieldKind::Text), ("ltv", FieldKind::Number), ("vip", FieldKind::Bool)]);
    let bare = columns(&[("ContactKey", "Text", true), ("VIP", "Boolean", false)]);
    let update = |code: &str| {
        let body = format!(
            "<s:Envelope xmlns:s=\"x\"><s:Body><UpdateResponse xmlns=\"y\"><Results><StatusCode>{code}</StatusCode><StatusMessage>As you say</StatusMessage><OrdinalID>0</OrdinalID></Results><OverallStatus>{code}</OverallStatus></UpdateResponse></s:Body></s:Envelope>"
        );
        Reply::status(200, body)
    };
    let replies = vec![token("hush-1"), found(&["customers"]), bare.clone(), update("OK")];
    let session = Session::served(&made.terms(), replies, made.server());
    made.destination.open(&session, &two).await.unwrap();
    let call = session.captured().pop().unwrap();
    assert_eq!(call.url, "https://mc1.soap.marketingcloudapis.com/Service.asmx");
    let action = call.headers.iter().find(|(name, _)| name == "soapaction").unwrap();
    assert_eq!(action.1, "Update");
    assert_snapshot!(String::from_utf8_lossy(&call.body).replace("><", ">\n<"), @r#"
    <?xml version="1.0" encoding="UTF-8"?>
    <s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
    <s:Header>
    <fueloauth xmlns="http://exacttarget.com">token</fueloauth>
    </s:Header>
    <s:Body>
    <UpdateRequest xmlns="http://exacttarget.com/wsdl/partnerAPI">
    <Options/>
    <Objects xsi:type="DataExtension">
    <CustomerKey>customers</CustomerKey>
    <Fields>
    <Field>
    <Name>tier</Name>
    <FieldType>Text</FieldType>
    <MaxLength>500</MaxLength>
    <IsRequired>false</IsRequired>
    <IsPrimaryKey>false</IsPrimaryKey>
    </Field>
    <Field>
    <Name>ltv</Name>
    <FieldType>Decimal</FieldType>
    <MaxLength>18</MaxLength>
    <Scale>6</Scale>
    <IsRequired>false</IsRequired>
    <IsPrimaryKey>false</IsPrimaryKey>
    </Field>
    </Fields>
    </Objects>
    </UpdateRequest>
    </s:Body>
    </s:Envelope>
    "#);
    let refused = refusal(&made, &two, vec![found(&["customers"]), bare, update("Error")]).await;
    assert_snapshot!(refused, @"Marketing Cloud refuses to add columns to the data extension `customers`: As you say");
}

#[tokio::test]
async fn a_data_extension_is_looked_for_on_every_page() {
    let made = cloud("");
    let page = |keys: &[&str]| {
        let items: Vec<_> = keys.iter().map(|key| json!({"id": "x", "key": key})).collect();
        Reply::json(&json!({"count": 3, "page": 1, "pageSize": 2, "items": items}))
    };
    let replies =
        vec![page(&["customers_1", "customers_2"]), page(&["CUSTOMERS"]), key_and("ltv_90d")];
    let ltv = wanting(&[("ltv_90d", FieldKind::Number)]);
    assert_eq!(opened(&made, &ltv, replies).await, Ok(Remote::default()));
}

#[test]
fn what_cannot_be_sent_is_objected_to() {
    let made = cloud("email_column = \"EmailAddress\"\n");
    let wanted = wanting(&[
        ("contactkey", FieldKind::Text),
        ("emailaddress", FieldKind::Text),
        ("fine", FieldKind::Nested),
    ]);
    assert_snapshot!(made.destination.objections(&wanted).join("\n"), @r#"
    `contactkey` is the column of the key or of the email: give it another alias
    `emailaddress` is the column of the key or of the email: give it another alias
    "#);
    let group = Target { call: Call::Group, ..wanted };
    assert_snapshot!(made.destination.objections(&group).join("\n"), @"accounts need the option `account_data_extension`");
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let text = "[destinations.m]\ntype = \"salesforce_marketing_cloud\"\nclient_id = \"a\"\nclient_secret = \"${S}\"\ndata_extension = \"d\"\n";
    let refused = |more: &str| told(&configured(&format!("{text}{more}")).err().unwrap());
    assert_snapshot!(refused(""), @r#"D03 option `subdomain` of destination `m` is missing, and there is no `base_url` ("salesforce_marketing_cloud") it stands in the package's API integration, before `.rest.marketingcloudapis.com`"#);
    assert_snapshot!(refused("subdomain = \"evil.example/\"\n"), @r#"D03 option `subdomain` of destination `m` is not a subdomain: letters, digits and hyphens only ("evil.example/") it stands in the package's API integration, before `.rest.marketingcloudapis.com`"#);
    assert_snapshot!(refused("identify_by = \"email\"\nemail_column = \"Email\"\n"), @r#"D03 option `email_column` of destination `m` has no meaning beside `identify_by = "email"`: the key holds the email ("Email") `muster destinations salesforce_marketing_cloud` shows every option and an example"#);
    assert_snapshot!(refused("account_key_column = \"A\"\n"), @r#"D03 option `account_key_column` of destination `m` has no meaning without `account_data_extension` ("A") `muster destinations salesforce_marketing_cloud` shows every option and an example"#);
    assert!(configured(&format!("{text}base_url = \"https://proxy.example.com/\"\n")).is_ok());
}

#[tokio::test]
async fn the_check_proves_credentials_and_that_the_data_extensions_are_there() {
    let made = cloud(ACCOUNTS);
    let check = |replies| async {
        made.destination.check(&Session::served(&made.terms(), replies, made.server())).await
    };
    assert_eq!(check(Vec::new()).await, Ok(()));
    let wrong = json!({"error": "invalid_client", "error_description": "Invalid client ID."});
    let wrong = Reply::status(401, wrong.to_string());
    assert!(matches!(check(vec![wrong]).await, Err(Fault::Denied { .. })));
    let nothing = vec![token("hush-1"), found(&[])];
    assert!(matches!(check(nothing).await, Err(Fault::Misconfigured { .. })));
}
