//! What Salesforce is sent, and what its replies mean.

mod bulk;

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    ACCOUNT, IVO, MARA, User, batch, configured, receipt, target, told,
};
use crate::destinations::{
    Batch, Configured, Delivery, Fault, Field, FieldKind, Job, Outcome, Remote, Settlement, Target,
};
use crate::record::{Call, Change, Level};

/// Knows every field, takes every record, and has done with every job at once.
pub(crate) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once(".com").map_or("", |(_, path)| path);
    if path == "/services/oauth2/token" {
        return token();
    }
    let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = path.trim_start_matches("/services/data/v66.0");
    match (request.method.as_str(), path) {
        ("GET", "/sobjects/Contact/describe") => described("Contact"),
        ("GET", "/sobjects/Lead/describe") => described("Lead"),
        ("GET", "/sobjects/Account/describe") => described("Account"),
        ("PATCH", path) if path.starts_with("/composite/sobjects/") => {
            let records = sent["records"].as_array().map_or(0, Vec::len);
            Reply::json(&(0..records).map(|_| taken()).collect())
        }
        ("POST", "/jobs/ingest") => Reply::json(&job("Open", 0, 0)),
        ("PUT", "/jobs/ingest/750x/batches") => Reply::status(201, ""),
        ("PATCH", "/jobs/ingest/750x") => Reply::json(&job("UploadComplete", 0, 0)),
        ("GET", "/jobs/ingest/750x") => Reply::json(&job("JobComplete", 201, 0)),
        _ => Reply::status(404, r#"[{"errorCode":"NOT_FOUND","message":"no such resource"}]"#),
    }
}

fn token() -> Reply {
    Reply::json(&json!({"access_token": "hush-session", "token_type": "Bearer",
        "instance_url": "https://acme.my.salesforce.com", "issued_at": "1795161816000"}))
}

fn field(name: &str, kind: &str) -> Value {
    json!({"name": name, "type": kind, "createable": true, "updateable": true,
        "externalId": name.starts_with("Ext_"), "length": 80})
}

fn description(object: &str, fields: &[Value]) -> Reply {
    Reply::json(&json!({"name": object, "fields": fields}))
}

fn described(object: &str) -> Reply {
    let fields = [
        field("Ext_User_Id__c", "string"),
        field("Ext_Account_Id__c", "string"),
        field("Ltv_90d__c", "double"),
        field("city__c", "string"),
        field("vip__c", "boolean"),
        field("seats_used__c", "double"),
        field("Title", "string"),
    ];
    description(object, &fields)
}

fn taken() -> Value {
    json!({"id": "003xx0000012AbC", "success": true, "created": false, "errors": []})
}

fn refused(code: &str, message: &str) -> Value {
    json!({"success": false, "created": false,
        "errors": [{"statusCode": code, "message": message, "fields": ["LastName"]}]})
}

fn job(state: &str, processed: usize, failed: usize) -> Value {
    json!({"id": "750x", "state": state, "numberRecordsProcessed": processed,
        "numberRecordsFailed": failed, "errorMessage": null})
}

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::status(status, json!([{"message": message, "errorCode": code}]).to_string())
}

fn with(more: &str) -> Configured {
    let text = format!(
        "[destinations.s]\ntype = \"salesforce\"\nlogin_url = \"https://login.salesforce.com\"\n\
         client_id = \"app\"\nclient_secret = \"${{S}}\"\nexternal_id_field = \"Ext_User_Id__c\"\n\
         account_external_id_field = \"Ext_Account_Id__c\"\n{more}\n"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn made() -> Configured {
    with("")
}

fn asked(names: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: names.iter().map(field).collect(), ..target() }
}

/// What comes of a batch when everything after the token is answered so.
async fn delivered(
    batch: &Batch,
    replies: Vec<Reply>,
) -> (Result<Vec<Outcome>, Fault>, Vec<Captured>) {
    let made = made();
    let replies = std::iter::once(token()).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let result = made.destination.deliver(&session, &Remote::default(), batch).await;
    let outcomes = result.map(|delivery| receipt(delivery).into_outcomes());
    (outcomes, session.captured())
}

#[tokio::test]
async fn requests() {
    let made = made();
    let mut shown = String::new();
    for (kind, batch) in made.batches() {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        let wire = wire.replace("https://login.salesforce.com/services/data/v66.0", "");
        let calls = wire.lines().filter(|line| line.starts_with("PATCH"));
        shown.push_str(&format!("{kind}\n{}\n", calls.collect::<Vec<_>>().join("\n")));
    }
    assert_snapshot!(shown, @r#"
    audience
    PATCH /composite/sobjects/Contact/Ext_User_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Ext_User_Id__c":"u_8841","Email":"mara.lind@example.org","FirstName":"Mara","LastName":"Lind","vip__c":true}]}
    exit
    PATCH /composite/sobjects/Contact/Ext_User_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Ext_User_Id__c":"u_8842","Email":"ivo@example.org","FirstName":"Ivo","LastName":"Ban","vip__c":false}]}
    group
    PATCH /composite/sobjects/Account/Ext_Account_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Account"},"Ext_Account_Id__c":"acct_310","seats_used__c":41}]}
    identify
    PATCH /composite/sobjects/Contact/Ext_User_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Ext_User_Id__c":"u_8841","Email":"mara.lind@example.org","FirstName":"Mara","LastName":"Lind","ltv_90d__c":812.4}]}
    null
    PATCH /composite/sobjects/Contact/Ext_User_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Ext_User_Id__c":"u_8842","Email":"ivo@example.org","FirstName":"Ivo","LastName":"Ban","ltv_90d__c":null}]}
    several
    PATCH /composite/sobjects/Contact/Ext_User_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Ext_User_Id__c":"u_8841","Email":"mara.lind@example.org","FirstName":"Mara","LastName":"Lind","ltv_90d__c":812.4},{"attributes":{"type":"Contact"},"Ext_User_Id__c":"u_8842","Email":"ivo@example.org","FirstName":"Ivo","LastName":"Ban","ltv_90d__c":7.0},{"attributes":{"type":"Contact"},"Ext_User_Id__c":"zoë","Email":"zoe+shop@example.org","FirstName":"Zoë","LastName":"Aksoy","ltv_90d__c":-3.5}]}
    unicode
    PATCH /composite/sobjects/Contact/Ext_User_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Ext_User_Id__c":"zoë","Email":"zoe+shop@example.org","FirstName":"Zoë","LastName":"Aksoy","city__c":"Zürich 🏪 \"A\" "}]}
    "#);
}

#[tokio::test]
async fn a_lead_needs_a_company_too() {
    let lead = with("object = \"lead\"\nsend_email = false");
    assert_eq!(lead.required, ["last_name", "company"]);
    let entered = batch([lead.audience(Call::Identify, MARA, Change::Entered)]);
    let wire = lead.converse(&entered, Vec::new()).await.wire();
    assert_snapshot!(wire.lines().last().unwrap(), @r#"PATCH https://login.salesforce.com/services/data/v66.0/composite/sobjects/Lead/Ext_User_Id__c {"allOrNone":false,"records":[{"attributes":{"type":"Lead"},"Ext_User_Id__c":"u_8841","FirstName":"Mara","LastName":"Lind","Company":"Acme","vip__c":true}]}"#);
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_says_where_requests_go() {
    let seen = |request: &Captured| {
        let url = request.url.as_str();
        if url.ends_with("/token") {
            assert_eq!(url, "https://login.salesforce.com/services/oauth2/token");
        } else {
            assert!(
                url.starts_with("https://acme.my.salesforce.com/services/data/v66.0/"),
                "{url}"
            );
            let bearer = ("authorization".to_owned(), "Bearer hush-session".to_owned());
            assert!(request.headers.contains(&bearer));
        }
        server(request)
    };
    let made = made();
    let session = Session::served(&made.terms(), Vec::new(), seen);
    made.destination.check(&session).await.unwrap();
    made.destination.deliver(&session, &Remote::default(), &made.several()).await.unwrap();
    let tokens = session.captured().iter().filter(|call| call.url.ends_with("/token")).count();
    assert_eq!(tokens, 1);
    assert!(!format!("{:?}", session.captured()).contains("hush-session"));
}

#[tokio::test]
async fn everything_goes_to_the_base_url_where_there_is_one() {
    let seen = |request: &Captured| {
        assert!(request.url.starts_with("http://127.0.0.1:9/sf/services/"), "{}", request.url);
        match request.url.ends_with("/token") {
            true => token(),
            false => described("Contact"),
        }
    };
    let made = with("base_url = \"http://127.0.0.1:9/sf\"");
    let session = Session::served(&made.terms(), Vec::new(), seen);
    made.destination.check(&session).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_over_is_renewed_and_the_request_repeated() {
    let made = made();
    let over = || error(401, "INVALID_SESSION_ID", "Session expired or invalid");
    let (outcomes, calls) = delivered(&made.several(), vec![over(), token()]).await;
    assert_eq!(outcomes, Ok(vec![Outcome::Delivered; 3]));
    let order: Vec<_> = calls.iter().map(|call| call.method.as_str()).collect();
    assert_eq!(order, ["PATCH", "POST", "POST"]);
    let (outcomes, _) =
        delivered(&made.several(), vec![over(), token(), over(), token(), over()]).await;
    assert!(matches!(outcomes, Err(Fault::Denied { .. })), "{outcomes:?}");
    let odd = error(500, "INVALID_SESSION_ID", "Session expired or invalid");
    let (outcomes, calls) = delivered(&made.several(), vec![odd, token()]).await;
    assert_eq!(outcomes, Ok(vec![Outcome::Delivered; 3]));
    assert_eq!(calls.iter().filter(|call| call.method == "POST").count(), 2);
}

#[tokio::test]
async fn no_write_hands_a_lead_to_another_owner() {
    let made = with("object = \"lead\"");
    for batch in made.batches().into_values() {
        let said = made.converse(&batch, Vec::new()).await;
        let mut writes = said.captured.iter().filter(|call| call.method == "PATCH").peekable();
        assert!(writes.peek().is_some());
        assert!(writes.all(|call| {
            call.headers.contains(&("sforce-auto-assign".into(), "FALSE".into()))
        }));
    }
}

#[tokio::test]
async fn results_belong_to_records_by_position() {
    let several = made().several();
    let results = json!([
        taken(),
        refused("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"),
        refused("CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", "trigger: UNABLE_TO_LOCK_ROW, try again"),
    ]);
    let (outcomes, _) = delivered(&several, vec![Reply::json(&results)]).await;
    let reason = |text: &str| text.to_owned();
    assert_eq!(
        outcomes.unwrap(),
        [
            Outcome::Delivered,
            Outcome::Rejected {
                reason: reason(
                    "REQUIRED_FIELD_MISSING: Required fields are missing: [LastName] (LastName)"
                )
            },
            Outcome::Retry {
                after: None,
                reason: reason(
                    "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY: trigger: UNABLE_TO_LOCK_ROW, try \
                     again (LastName)"
                )
            },
        ]
    );
}

#[tokio::test]
async fn results_that_do_not_add_up_are_not_believed() {
    let several = made().several();
    for results in [
        json!([]),
        json!([taken(), taken()]),
        json!([taken(), taken(), taken(), taken()]),
        json!([taken(), taken(), {"success": true, "errors": []}]),
        json!([taken(), taken(), {"success": false, "errors": []}]),
        json!([taken(), taken(), {"id": "003x", "success": true, "errors": [{"statusCode": "X"}]}]),
    ] {
        let (outcomes, _) = delivered(&several, vec![Reply::json(&results)]).await;
        assert!(matches!(outcomes, Err(Fault::Protocol { .. })), "{results}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_allowance_closes_the_gate() {
    let several = made().several();
    let limit = |message| error(403, "REQUEST_LIMIT_EXCEEDED", message);
    let started = tokio::time::Instant::now();
    let busy = limit("ConcurrentRequests (Concurrent API Requests) Limit exceeded.");
    let (outcomes, _) = delivered(&several, vec![busy]).await;
    assert_eq!(outcomes, Ok(vec![Outcome::Delivered; 3]));
    assert_eq!(started.elapsed().as_secs(), 1);
    let (outcomes, calls) = delivered(&several, vec![limit("TotalRequests Limit exceeded.")]).await;
    assert!(matches!(outcomes, Err(Fault::Throttled { .. })), "{outcomes:?}");
    assert_eq!(calls.len(), 2);
}

#[tokio::test]
async fn values_are_written_as_salesforce_reads_them() {
    let made = with("standard_fields = [\"Title\"]");
    let values = [
        ("vip", Value::Null),
        ("city", Value::Null),
        ("Title", json!("CEO")),
        ("Own__c", json!(12)),
    ];
    let message = made.message(Call::Identify, IVO, Change::Changed, &values);
    let wanted = asked(&[("vip", FieldKind::Bool)]);
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    made.destination.open(&session, &wanted).await.unwrap();
    made.destination.deliver(&session, &Remote::default(), &batch([message])).await.unwrap();
    let calls = session.captured();
    assert_snapshot!(String::from_utf8_lossy(&calls.last().unwrap().body), @r#"{"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Ext_User_Id__c":"u_8842","Email":"ivo@example.org","FirstName":"Ivo","LastName":"Ban","vip__c":false,"city__c":null,"Title":"CEO","Own__c":12}]}"#);
    let at = super::Written::of(crate::record::Value::Timestamp(1_795_161_816_123_456), false);
    assert_eq!(at.0.to_string(), "2026-11-20T08:03:36.123Z");
    let nan = super::Written::of(crate::record::Value::Float(f64::NAN), false);
    assert_eq!(nan.cell(), "#N/A");
    let list = super::Written::of(crate::record::Value::Json("[1,\"a\"]".into()), false);
    assert_eq!(serde_json::to_string(&list).unwrap(), r#""[1,\"a\"]""#);
    assert_eq!(list.cell(), r#"[1,"a"]"#);
}

#[tokio::test]
async fn mapped_profile_columns_travel_as_fields() {
    let made = made();
    let profile = [("last_name", "Lind"), ("company", "Acme"), ("Land", "AT")];
    let said = made.converse(&batch([made.enriched(MARA, &profile)]), Vec::new()).await;
    assert_snapshot!(String::from_utf8_lossy(&said.captured.last().unwrap().body), @r#"{"allOrNone":false,"records":[{"attributes":{"type":"Contact"},"Ext_User_Id__c":"u_8841","Email":"mara.lind@example.org","LastName":"Lind","company__c":"Acme","Land__c":"AT"}]}"#);
}

#[test]
fn columns_become_names_of_fields() {
    let made = with("standard_fields = [\"Title\"]");
    let names = ["ltv_90d", "Title", "Own__c", "Umsatz (EUR)", "90 days", "a__b", "Person__pc"];
    let naming = super::Naming { standard: ["Title".to_owned()].into() };
    let names = names.map(|name| naming.name(name));
    assert_snapshot!(names.join(" "), @"ltv_90d__c Title Own__c Umsatz_EUR__c X90_days__c a_b__c Person__pc");
    let long = "x".repeat(41);
    let wanted = asked(&[
        ("fine", FieldKind::Text),
        (&long, FieldKind::Text),
        ("!", FieldKind::Text),
        ("Ext_User_Id__c", FieldKind::Text),
    ]);
    assert_snapshot!(made.destination.objections(&wanted).join("\n"), @r#"
    `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` is longer than the 40 characters that Salesforce takes: give it another alias
    `!` leaves no name for a field of Salesforce: give it another alias
    `Ext_User_Id__c` is the field `Ext_User_Id__c`, which is written by itself
    "#);
    let text = "[destinations.s]\ntype = \"salesforce\"\nclient_id = \"app\"\n\
                client_secret = \"${S}\"\nexternal_id_field = \"Ext_User_Id__c\"\n";
    let account = Target { level: Level::Account, call: Call::Group, ..target() };
    let told = configured(text).unwrap().destination.objections(&account);
    assert_eq!(told, ["accounts need `account_external_id_field`"]);
}

async fn refusal(wanted: &Target, fields: Option<Vec<Value>>) -> String {
    let made = made();
    let description = fields.map(|fields| description("Contact", &fields));
    let replies = std::iter::once(token()).chain(description).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    match made.destination.open(&session, wanted).await {
        Err(fault) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_field_that_cannot_be_used_stops_the_sync() {
    let key = || field("Ext_User_Id__c", "string");
    let vip = asked(&[("vip", FieldKind::Bool)]);
    let mut closed = field("vip__c", "boolean");
    closed["updateable"] = false.into();
    let told = [
        refusal(&asked(&[("new", FieldKind::Date)]), None).await,
        refusal(&asked(&[("city", FieldKind::Number)]), None).await,
        refusal(&vip, Some(vec![key(), closed])).await,
        refusal(&vip, Some(vec![field("vip__c", "boolean")])).await,
        refusal(&vip, Some(vec![json!({"name": "Ext_User_Id__c", "type": "string"})])).await,
    ];
    assert_snapshot!(told.join("\n"), @r#"
    misconfigured: Contact has no field `new__c`, or the user may not see it: create it with the type `Date`
    misconfigured: the field `city__c` of Contact is of type `string`, not `Number`: send the column under another alias
    misconfigured: the user may not write the field `vip__c` of Contact
    misconfigured: Contact has no field `Ext_User_Id__c`, or the user may not see it: create it as a text field that is unique and marked as External ID
    misconfigured: the field `Ext_User_Id__c` of Contact is not marked as External ID
    "#);
}

/// A user with that id.
fn user(number: usize) -> User {
    User { id: String::leak(format!("u_{number}")), ..MARA }
}

#[tokio::test(start_paused = true)]
async fn two_hundred_records_are_one_request_and_more_are_a_job() {
    let made = with("batch_size = 10000");
    let many = |count| {
        batch((0..count).map(|number| made.audience(Call::Identify, user(number), Change::Entered)))
    };
    let said = made.converse(&many(200), Vec::new()).await;
    assert_eq!(said.captured.iter().filter(|call| call.method == "PATCH").count(), 1);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 200]);

    let said = made.converse(&many(201), Vec::new()).await;
    let wire = said.wire().replace("https://login.salesforce.com/services/data/v66.0", "");
    let lines: Vec<_> = wire.lines().filter(|line| !line.starts_with("u_")).collect();
    assert_snapshot!(lines[2..].join("\n"), @r#"
    POST /jobs/ingest {"contentType":"CSV","externalIdFieldName":"Ext_User_Id__c","lineEnding":"LF","object":"Contact","operation":"upsert"}
    PUT /jobs/ingest/750x/batches Ext_User_Id__c,Email,FirstName,LastName,vip__c

    PATCH /jobs/ingest/750x {"state":"UploadComplete"}
    GET /jobs/ingest/750x
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 201]);
}

#[test]
fn what_is_wrong_with_the_options_is_told() {
    let cases = [
        "client_id = \"app\"\nexternal_id_field = \"Ext__c\"",
        "client_id = \"app\"\nclient_secret = \"${S}\"\nexternal_id_field = \"Ext Id\"",
        "client_id = \"app\"\nprivate_key = \"${S}\"\nusername = \"u\"\nexternal_id_field = \"Ext__c\"",
        "client_id = \"app\"\nclient_secret = \"${S}\"\nexternal_id_field = \"Ext__c\"\napi_version = \"v66\"",
    ];
    let findings = cases.map(|more| {
        let text = format!("[destinations.s]\ntype = \"salesforce\"\n{more}\n");
        let told = told(&configured(&text).err().unwrap());
        told.split(" (\"").next().unwrap().to_owned()
    });
    assert_snapshot!(findings.join("\n"), @r#"
    D03 option `client_id` of destination `s` needs beside it a `client_secret`, a `refresh_token` (with or without a `client_secret`), or a `private_key` and its `username`
    D03 option `external_id_field` of destination `s` is no name of a field, such as "Ext_User_Id__c"
    D03 option `private_key` of destination `s` is not a private key in PEM (PKCS #8)
    D03 option `api_version` of destination `s` is no version such as "66.0"
    "#);
}
