//! What Marketo is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    ACCOUNT, Conversation, IVO, MARA, User, ZOE, batch, configured, receipt, target, told,
};
use crate::destinations::{Configured, Delivery, Fault, Field, FieldKind, Outcome, Remote, Target};
use crate::record::{Call, Change};

/// Knows every field, and takes every record.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("mktorest.com").map_or("", |(_, path)| path);
    let result = match path {
        "/rest/v1/leads/schema/fields.json" if request.method == "GET" => people(&[
            ("email", "email"),
            ("ltv_90d", "float"),
            ("city", "string"),
            ("vip", "boolean"),
        ]),
        "/rest/v1/companies/describe.json" => companies(&[("seats_used", "integer")]),
        "/rest/v1/leads.json" | "/rest/v1/companies.json" => {
            let sent: Json = serde_json::from_slice(&request.body).unwrap();
            let rows = sent["input"].as_array().unwrap().iter().enumerate();
            rows.map(|(seq, _)| json!({"seq": seq, "id": seq, "status": "updated"})).collect()
        }
        "/rest/v1/leads/schema/fields.json" => {
            let sent: Json = serde_json::from_slice(&request.body).unwrap();
            let fields = sent["input"].as_array().unwrap().iter();
            fields.map(|field| json!({"name": field["name"], "status": "created"})).collect()
        }
        path if path.starts_with("/identity/oauth/token?grant_type=client_credentials") => {
            return token("hush-1");
        }
        _ => json!([]),
    };
    said(&result)
}

fn token(secret: &str) -> Reply {
    Reply::json(&json!({"access_token": secret, "token_type": "bearer", "expires_in": 3599,
        "scope": "apis@example.org"}))
}

fn said(result: &Json) -> Reply {
    Reply::json(&json!({"requestId": "e42b#1", "success": true, "result": result}))
}

fn error(code: &str, message: &str) -> Reply {
    let errors = json!([{"code": code, "message": message}]);
    Reply::json(&json!({"requestId": "e42b#1", "success": false, "errors": errors}))
}

fn people(fields: &[(&str, &str)]) -> Json {
    let field = |(name, kind): &(&str, &str)| {
        let length = (*kind == "string").then_some(255);
        json!({"displayName": name, "name": name, "description": null, "dataType": kind,
            "length": length, "isHidden": false, "isHtmlEncodingInEmail": true,
            "isSensitive": false, "isCustom": true, "isApiCreated": false})
    };
    fields.iter().map(field).collect()
}

fn companies(fields: &[(&str, &str)]) -> Json {
    let field = |(name, kind): &(&str, &str)| json!({"name": name, "displayName": name, "dataType": kind, "updateable": *name != "createdBy"});
    json!([{"name": "Company", "idField": "id", "fields": fields.iter().map(field).collect::<Vec<_>>()}])
}

fn marketo(more: &str) -> Configured {
    let text = format!(
        "[destinations.m]\ntype = \"marketo\"\nmunchkin_id = \"123-ABC-456\"\nclient_id = \"${{I}}\"\nclient_secret = \"${{S}}\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn short(wire: &str) -> String {
    wire.replace("https://123-abc-456.mktorest.com", "")
}

#[tokio::test]
async fn requests() {
    let mut shown = String::new();
    for (kind, batch) in marketo("").batches() {
        let wire = short(&marketo("").converse(&batch, Vec::new()).await.wire());
        let calls = wire.lines().filter(|line| line.starts_with("POST"));
        shown.push_str(&format!("{kind}\n{}\n", calls.collect::<Vec<_>>().join("\n")));
    }
    assert_snapshot!(shown, @r#"
    audience
    POST /rest/v1/leads.json {"input":[{"email":"mara.lind@example.org","firstName":"Mara","lastName":"Lind","vip":true}],"action":"createOrUpdate","lookupField":"email"}
    exit
    POST /rest/v1/leads.json {"input":[{"email":"ivo@example.org","firstName":"Ivo","lastName":"Ban","vip":false}],"action":"createOrUpdate","lookupField":"email"}
    group
    POST /rest/v1/companies.json {"input":[{"externalCompanyId":"acct_310","seats_used":41}],"action":"createOrUpdate","dedupeBy":"dedupeFields"}
    identify
    POST /rest/v1/leads.json {"input":[{"email":"mara.lind@example.org","firstName":"Mara","lastName":"Lind","ltv_90d":812.4}],"action":"createOrUpdate","lookupField":"email"}
    null
    POST /rest/v1/leads.json {"input":[{"email":"ivo@example.org","firstName":"Ivo","lastName":"Ban","ltv_90d":null}],"action":"createOrUpdate","lookupField":"email"}
    several
    POST /rest/v1/leads.json {"input":[{"email":"mara.lind@example.org","firstName":"Mara","lastName":"Lind","ltv_90d":812.4},{"email":"ivo@example.org","firstName":"Ivo","lastName":"Ban","ltv_90d":7.0},{"email":"zoe+shop@example.org","firstName":"Zoë","lastName":"Aksoy","ltv_90d":-3.5}],"action":"createOrUpdate","lookupField":"email"}
    unicode
    POST /rest/v1/leads.json {"input":[{"email":"zoe+shop@example.org","firstName":"Zoë","lastName":"Aksoy","city":"Zürich 🏪 \"A\" "}],"action":"createOrUpdate","lookupField":"email"}
    "#);
}

#[tokio::test]
async fn a_token_is_asked_for_and_travels_in_the_header_only() {
    let made = marketo("partition = \"EMEA \\\"1\\\"\"");
    let said = made.converse(&made.several(), Vec::new()).await;
    let lines: Vec<_> = said
        .captured
        .iter()
        .map(|call| {
            let authorised = call.headers.iter().find(|(name, _)| name == "authorization");
            let authorised = authorised.map_or("-", |(_, value)| value);
            format!("{} {} {authorised}", call.method, short(&call.url))
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    GET /rest/v1/leads/schema/fields.json [secret]
    GET /identity/oauth/token?grant_type=client_credentials&client_id=[secret]&client_secret=[secret] -
    POST /rest/v1/leads.json [secret]
    "#);
    let last = String::from_utf8_lossy(&said.captured.last().unwrap().body);
    assert!(last.ends_with(r#""lookupField":"email","partitionName":"EMEA \"1\""}"#), "{last}");
}

async fn delivered(replies: Vec<Reply>) -> Conversation {
    let made = marketo("");
    let fields = server(&Captured {
        method: "GET".into(),
        url: "https://x.mktorest.com/rest/v1/leads/schema/fields.json".into(),
        headers: Vec::new(),
        body: "".into(),
    });
    let replies = [token("hush-1"), fields].into_iter().chain(replies).collect();
    made.converse(&made.several(), replies).await
}

#[tokio::test]
async fn records_are_refused_by_their_position() {
    let rows = json!([
        {"id": 50, "status": "updated"},
        {"status": "skipped", "reasons": [{"code": "1006", "message": "Field 'nope' not found"}]},
        {"id": 51, "status": "created"},
    ]);
    let outcomes = delivered(vec![said(&rows)]).await.outcomes();
    let reason = "1006 Field 'nope' not found".into();
    assert_eq!(outcomes, [Outcome::Delivered, Outcome::Rejected { reason }, Outcome::Delivered]);
}

#[tokio::test]
async fn what_is_not_said_of_every_record_is_not_believed() {
    let updated = json!({"id": 50, "status": "updated"});
    let cases = [
        json!([updated, updated]),
        json!([updated, updated, updated, updated]),
        json!([updated, {"id": 51}, updated]),
        json!([updated, {"id": 51, "status": "wondering"}, updated]),
        json!({"id": 50}),
    ];
    for rows in cases {
        let result = delivered(vec![said(&rows)]).await.result;
        assert!(matches!(result, Err(Fault::Protocol { .. })), "{rows}: {result:?}");
    }
    let mirrored =
        json!({"status": "skipped", "reasons": [{"code": 1018, "message": "CRM Enabled"}]});
    let result = delivered(vec![said(&json!([mirrored, mirrored, mirrored]))]).await.result;
    assert!(matches!(result, Err(Fault::Misconfigured { .. })), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_down_inside_a_200_is_waited_for() {
    let limit = || error("606", "Max rate limit '100' exceeded with in '20' secs");
    for (replies, seconds) in [
        (vec![limit()], 20),
        (vec![error("615", "Concurrent access limit reached")], 2),
        (vec![limit(), limit()], 40),
    ] {
        let started = tokio::time::Instant::now();
        let said = delivered(replies).await;
        assert_eq!(said.result, Ok(vec![Outcome::Delivered; 3]));
        let waited = started.elapsed().as_secs();
        assert!((seconds..seconds + 2).contains(&waited), "{waited} instead of {seconds}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_once_the_quota_of_the_day_is_used_up() {
    let said = delivered(vec![error("607", "Daily quota reached")]).await;
    // A session of a test begins at midnight, 1970.
    let Err(Fault::Throttled { retry_after: Some(pause), reason }) = said.result else { panic!() };
    assert_eq!(pause.as_secs().div_ceil(3600), 6);
    assert!(reason.ends_with("nothing may be sent before 1970-01-01T06:00:00Z"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_is_renewed_though_the_status_is_200() {
    let said = delivered(vec![error("602", "Access token expired"), token("hush-2")]).await;
    assert_eq!(said.result, Ok(vec![Outcome::Delivered; 3]));
    let tokens = said.captured.iter().filter(|call| call.url.contains("oauth")).count();
    assert_eq!(tokens, 2);

    let invalid = || error("601", "Access token invalid");
    let replies = vec![invalid(), token("hush-2"), invalid(), token("hush-3"), invalid()];
    assert!(matches!(delivered(replies).await.result, Err(Fault::Denied { .. })));
    let denied = delivered(vec![error("603", "Access denied")]).await.result;
    assert!(matches!(denied, Err(Fault::Denied { .. })));
    // What asks for a token is refused inside a 200 too.
    let replies = vec![error("602", "Access token expired"), error("601", "Access token invalid")];
    assert!(matches!(delivered(replies).await.result, Err(Fault::Denied { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_passes_is_tried_again_and_a_refusal_is_not() {
    for code in ["502", "604", "608", "611", "614", "713", "719"] {
        let said = delivered(vec![error(code, "later")]).await;
        assert_eq!(said.result, Ok(vec![Outcome::Delivered; 3]), "{code}");
    }
    let refused = delivered(vec![error("609", "Invalid JSON")]).await.result;
    assert!(matches!(refused, Err(Fault::Rejected { .. })));
    let large = delivered(vec![Reply::status(413, "Request Entity Too Large")]).await.result;
    assert!(matches!(large, Err(Fault::Rejected { .. })));
}

#[tokio::test]
async fn a_batch_of_any_size_stays_within_rows_and_bytes() {
    let made = marketo("");
    let text = json!("\u{20ac}".repeat(1200));
    let messages = (0..300)
        .map(|_| made.message(Call::Identify, MARA, Change::Changed, &[("bio", text.clone())]));
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let batch = batch(messages);
    let delivery = made.destination.deliver(&session, &Remote::default(), &batch).await.unwrap();
    assert_eq!(receipt(delivery).into_outcomes(), vec![Outcome::Delivered; 300]);
    let posts: Vec<_> =
        session.captured().into_iter().filter(|call| call.method == "POST").collect();
    assert_eq!(posts.len(), 2);
    assert!(posts.iter().all(|call| call.body.len() < 1_000_000));
}

async fn one(made: &Configured, user: User, values: &[(&str, Json)]) -> (Vec<Outcome>, String) {
    let message = made.message(Call::Identify, user, Change::Changed, values);
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let wanted = asked(&[("city", FieldKind::Text)]);
    made.destination.open(&session, &wanted).await.unwrap();
    let delivery =
        made.destination.deliver(&session, &Remote::default(), &batch([message])).await.unwrap();
    let Delivery::Settled(receipt) = delivery else { panic!() };
    let last = session.captured().pop().unwrap();
    (receipt.into_outcomes(), String::from_utf8_lossy(&last.body).into_owned())
}

fn asked(names: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: names.iter().map(field).collect(), ..target() }
}

#[tokio::test]
async fn what_a_field_would_cut_off_or_marketo_cannot_hold_is_rejected_before_it_is_sent() {
    let made = marketo("");
    let (outcomes, _) = one(&made, MARA, &[("city", json!("x".repeat(256)))]).await;
    let reason = "`city` has 256 characters; its field takes 255".into();
    assert_eq!(outcomes, [Outcome::Rejected { reason }]);
    let (outcomes, _) = one(&made, MARA, &[("city", json!("\u{20ac}".repeat(255)))]).await;
    assert_eq!(outcomes, [Outcome::Delivered]);
    let odd = User { email: "zo\u{eb}@example.org", ..ZOE };
    let (outcomes, _) = one(&made, odd, &[("city", json!("x"))]).await;
    let reason = "its email is not ASCII, which Marketo cannot hold".into();
    assert_eq!(outcomes, [Outcome::Rejected { reason }]);
}

#[tokio::test]
async fn a_trait_wins_over_a_column_of_profiles_of_its_name() {
    let (_, body) =
        one(&marketo(""), IVO, &[("firstName", json!("I.")), ("2026 goal", json!(1))]).await;
    assert_snapshot!(body, @r#"{"input":[{"email":"ivo@example.org","lastName":"Ban","firstName":"I.","f_2026_goal":1}],"action":"createOrUpdate","lookupField":"email"}"#);
}

#[test]
fn moments_are_whole_seconds_with_an_offset() {
    assert_eq!(super::fields::moment(1_500_000).as_deref(), Some("1970-01-01T00:00:01+00:00"));
}

#[tokio::test]
async fn fields_are_found_or_created() {
    let made = marketo("");
    let wanted = asked(&[
        ("ltv_90d", FieldKind::Number),
        ("Tier (2026)", FieldKind::Text),
        ("seen_at", FieldKind::Timestamp),
        ("orders", FieldKind::Integer),
    ]);
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let remote = made.destination.open(&session, &wanted).await.unwrap();
    assert_eq!(remote, Remote::default());
    let calls = session.captured();
    assert_eq!(calls.len(), 3);
    assert_snapshot!(String::from_utf8_lossy(&calls[2].body), @r#"{"input":[{"dataType":"string","displayName":"Tier 2026","name":"Tier__2026_"},{"dataType":"datetime","displayName":"seen at","name":"seen_at"},{"dataType":"integer","displayName":"orders","name":"orders"}]}"#);
    let silent = said(&json!([{"name": "Tier__2026_", "status": "created"}]));
    let replies = vec![token("hush-1"), said(&people(&[])), silent];
    let session = Session::served(&made.terms(), replies, made.server());
    let opened = made.destination.open(&session, &wanted).await;
    assert!(matches!(opened, Err(Fault::Protocol { .. })), "{opened:?}");
}

#[tokio::test]
async fn fields_are_looked_for_on_every_page() {
    let made = marketo("create_fields = false");
    let page = |fields: &Json, token: Option<&str>, more: bool| {
        Reply::json(&json!({"requestId": "a", "success": true, "result": fields,
            "nextPageToken": token, "moreResult": more}))
    };
    let (first, second) = (people(&[("one", "string")]), people(&[("two", "string")]));
    let replies =
        vec![token("hush-1"), page(&first, Some("L7=="), true), page(&second, Some("L8=="), false)];
    let session = Session::served(&made.terms(), replies, made.server());
    let both = asked(&[("one", FieldKind::Text), ("two", FieldKind::Text)]);
    assert_eq!(made.destination.open(&session, &both).await, Ok(Remote::default()));
    let last = session.captured().pop().unwrap();
    assert!(last.url.ends_with("/fields.json?nextPageToken=L7%3D%3D"), "{}", last.url);
}

#[tokio::test]
async fn companies_that_are_not_described_are_written_all_the_same() {
    let made = marketo("");
    let wanted = Target { call: Call::Group, ..asked(&[("seats", FieldKind::Integer)]) };
    let replies = vec![token("hush-1"), error("610", "Requested resource not found")];
    let session = Session::served(&made.terms(), replies, made.server());
    assert_eq!(made.destination.open(&session, &wanted).await, Ok(Remote::default()));
}

async fn refusal(made: &Configured, wanted: &Target, replies: Vec<Reply>) -> String {
    let replies = std::iter::once(token("hush-1")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    match made.destination.open(&session, wanted).await {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_field_that_cannot_be_used_stops_the_sync() {
    let made = marketo("");
    let new = asked(&[("new", FieldKind::Date), ("newer", FieldKind::Integer)]);
    let closed = marketo("create_fields = false");
    assert_snapshot!(refusal(&closed, &new, Vec::new()).await, @"Marketo has no field `new` of type `date`, field `newer` of type `integer` of people: make it in Admin > Field Management, or set `create_fields = true`");
    let company = Target { call: Call::Group, ..new.clone() };
    assert_snapshot!(refusal(&made, &company, Vec::new()).await, @"Marketo has no field `new` of type `date`, field `newer` of type `integer` of companies: make it in Admin > Field Management, since the API cannot");
    let other_type = asked(&[("city", FieldKind::Bool)]);
    assert_snapshot!(refusal(&made, &other_type, Vec::new()).await, @"Marketo's field `city` is of type `string`, not `boolean`: change its type in Admin > Field Management, or send the column under another alias");
    let theirs = said(&companies(&[("createdBy", "string")]));
    let read_only = Target { call: Call::Group, ..asked(&[("createdBy", FieldKind::Text)]) };
    assert_snapshot!(refusal(&made, &read_only, vec![theirs]).await, @"Marketo's field `createdBy` is read-only: send the column under another alias");
    let taken = error("1017", "Object already exists");
    assert_snapshot!(refusal(&made, &new, vec![said(&people(&[])), taken]).await, @r#"Marketo refuses to create field `new` of type `date`, field `newer` of type `integer`: HTTP 200 OK: {"errors":[{"code":"1017","message":"Object already exists"}],"requestId":"e42b#1","success":false}"#);
}

#[test]
fn what_marketo_keeps_to_itself_consent_and_structures_are_objected_to() {
    let wanted = asked(&[
        ("Email", FieldKind::Text),
        ("unsubscribed", FieldKind::Bool),
        ("tags", FieldKind::Nested),
        ("fine", FieldKind::Text),
    ]);
    assert_snapshot!(marketo("").destination.objections(&wanted).join("\n"), @r#"
    `Email` is a name that Marketo keeps to itself: give it another alias
    `unsubscribed` says in Marketo whether somebody may be written to, which Muster never changes
    `tags` is a list or a structure, which Marketo's fields cannot hold
    "#);
}

#[test]
fn an_instance_must_be_named() {
    let text =
        "[destinations.m]\ntype = \"marketo\"\nclient_id = \"${I}\"\nclient_secret = \"${S}\"\n";
    assert_snapshot!(told(&configured(text).err().unwrap()), @r#"D03 option `munchkin_id` of destination `m` is missing, and there is no `base_url` ("marketo") it stands in Admin > Integration > Munchkin, such as `123-ABC-456`"#);
    let other = format!("{text}munchkin_id = \"evil.example/\"\n");
    assert_snapshot!(told(&configured(&other).err().unwrap()), @r#"D03 option `munchkin_id` of destination `m` is not the id of an instance ("evil.example/") it stands in Admin > Integration > Munchkin, such as `123-ABC-456`"#);
    assert!(configured(&format!("{text}base_url = \"https://proxy.example.com/mkto\"\n")).is_ok());
}

#[tokio::test]
async fn a_proxy_stands_for_every_address() {
    let text = "[destinations.m]\ntype = \"marketo\"\nclient_id = \"${I}\"\nclient_secret = \"${S}\"\nbase_url = \"https://proxy.example.com/mkto/\"\n";
    let made = configured(text).unwrap();
    let account = made.message(Call::Group, ACCOUNT, Change::Changed, &[]);
    let replies = vec![token("hush-1"), said(&json!([{"seq": 0, "id": 1, "status": "created"}]))];
    let said = made.converse(&batch([account]), replies).await;
    assert_snapshot!(said.wire(), @r#"
    POST https://proxy.example.com/mkto/rest/v1/companies.json {"input":[{"externalCompanyId":"acct_310"}],"action":"createOrUpdate","dedupeBy":"dedupeFields"}
    GET https://proxy.example.com/mkto/identity/oauth/token?grant_type=client_credentials&client_id=[secret]&client_secret=[secret]
    "#);
}

#[tokio::test]
async fn the_check_proves_credentials_and_permission() {
    let made = marketo("");
    let check = |replies| async {
        made.destination.check(&Session::served(&made.terms(), replies, made.server())).await
    };
    assert_eq!(check(Vec::new()).await, Ok(()));
    let wrong = Reply::status(401, json!({"error": "unauthorized"}).to_string());
    assert!(matches!(check(vec![wrong]).await, Err(Fault::Denied { .. })));
    let replies = vec![token("hush-1"), error("603", "Access denied")];
    assert!(matches!(check(replies).await, Err(Fault::Denied { .. })));
}
