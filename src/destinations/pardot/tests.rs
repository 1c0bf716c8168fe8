//! What Pardot is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::delivery::{Captured, Reply, Response, Session};
use crate::destinations::fixture::{IVO, MARA, batch, configured, receipt, target, told};
use crate::destinations::{Configured, Fault, Field, FieldKind, Outcome, Remote, Target};
use crate::record::{Call, Change};

/// Knows every field and takes every prospect.
pub(crate) fn server(request: &Captured) -> Reply {
    if request.url.ends_with("/services/oauth2/token") {
        return token();
    }
    let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.url.split_once("/api/v5/objects").map_or("", |(_, path)| path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match (request.method.as_str(), path) {
        ("GET", "/prospects") => Reply::json(&json!({"values": [{"id": 40021}]})),
        ("GET", "/custom-fields") => {
            page(&[field("ltv_90d", "Number"), field("city", "Text"), field("vip", "Checkbox")])
        }
        ("POST", "/prospects/do/upsertLatestByEmail") => {
            Reply::json(&json!({"id": 40021, "email": sent["matchEmail"]}))
        }
        _ => error(404, 198),
    }
}

fn token() -> Reply {
    Reply::json(&json!({"access_token": "hush-session", "token_type": "Bearer",
        "instance_url": "https://acme.my.salesforce.com"}))
}

fn field(id: &str, kind: &str) -> Value {
    json!({"id": 1, "name": id, "fieldId": id, "type": kind})
}

fn page(fields: &[Value]) -> Reply {
    Reply::json(&json!({"values": fields, "nextPageToken": null, "nextPageUrl": null}))
}

fn error(status: u16, code: u32) -> Reply {
    Reply::status(status, json!({"code": code, "message": "why"}).to_string())
}

fn with(more: &str) -> Configured {
    let text = format!(
        "[destinations.p]\ntype = \"pardot\"\nclient_id = \"app\"\nclient_secret = \"${{S}}\"\n\
         business_unit_id = \"0Uv000000000000CAA\"\n{more}\n"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn asked(names: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: names.iter().map(field).collect(), ..target() }
}

/// What comes of one prospect when everything after the token is answered so.
async fn delivered(replies: Vec<Reply>) -> (Result<Vec<Outcome>, Fault>, usize) {
    let made = with("");
    let replies = std::iter::once(token()).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let entered = batch([made.audience(Call::Identify, MARA, Change::Entered)]);
    let result = made.destination.deliver(&session, &Remote::default(), &entered).await;
    let outcomes = result.map(|delivery| receipt(delivery).into_outcomes());
    (outcomes, session.captured().len())
}

#[tokio::test]
async fn requests() {
    let made = with("");
    let mut shown = String::new();
    for (kind, batch) in made.batches() {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        let last = wire.lines().last().unwrap().replace("https://pi.pardot.com/api/v5", "");
        shown.push_str(&format!("{kind}\n{last}\n"));
    }
    assert_snapshot!(shown, @r#"
    audience
    POST /objects/prospects/do/upsertLatestByEmail {"matchEmail":"mara.lind@example.org","prospect":{"email":"mara.lind@example.org","firstName":"Mara","lastName":"Lind","company":"Acme","vip__c":"true"},"secondaryDeletedSearch":false,"fields":["id","email"]}
    exit
    POST /objects/prospects/do/upsertLatestByEmail {"matchEmail":"ivo@example.org","prospect":{"email":"ivo@example.org","firstName":"Ivo","lastName":"Ban","company":"Acme","vip__c":"false"},"secondaryDeletedSearch":false,"fields":["id","email"]}
    identify
    POST /objects/prospects/do/upsertLatestByEmail {"matchEmail":"mara.lind@example.org","prospect":{"email":"mara.lind@example.org","firstName":"Mara","lastName":"Lind","company":"Acme","ltv_90d__c":"812.4"},"secondaryDeletedSearch":false,"fields":["id","email"]}
    null
    POST /objects/prospects/do/upsertLatestByEmail {"matchEmail":"ivo@example.org","prospect":{"email":"ivo@example.org","firstName":"Ivo","lastName":"Ban","company":"Acme","ltv_90d__c":null},"secondaryDeletedSearch":false,"fields":["id","email"]}
    several
    POST /objects/prospects/do/upsertLatestByEmail {"matchEmail":"mara.lind@example.org","prospect":{"email":"mara.lind@example.org","firstName":"Mara","lastName":"Lind","company":"Acme","ltv_90d__c":"812.4"},"secondaryDeletedSearch":false,"fields":["id","email"]}
    unicode
    POST /objects/prospects/do/upsertLatestByEmail {"matchEmail":"zoe+shop@example.org","prospect":{"email":"zoe+shop@example.org","firstName":"Zoë","lastName":"Aksoy","company":"Acme","city__c":"Zürich 🏪 \"A\" "},"secondaryDeletedSearch":false,"fields":["id","email"]}
    "#);
}

#[tokio::test]
async fn a_request_names_its_unit_and_goes_to_pardots_own_host() {
    let seen = |request: &Captured| {
        let has = |name: &str, value: &str| {
            request.headers.contains(&(name.to_owned(), value.to_owned()))
        };
        if request.url.ends_with("/token") {
            assert_eq!(request.url, "https://test.salesforce.com/services/oauth2/token");
        } else {
            assert!(request.url.starts_with("https://pi.demo.pardot.com/api/v5/objects/"));
            assert!(has("pardot-business-unit-id", "0Uv000000000000CAA"));
            assert!(has("authorization", "Bearer hush-session"));
        }
        server(request)
    };
    let made = with("sandbox = true");
    let session = Session::served(&made.terms(), Vec::new(), seen);
    made.destination.check(&session).await.unwrap();
    assert_eq!(session.captured().len(), 2);
    let seen = |request: &Captured| {
        assert!(request.url.starts_with("http://127.0.0.1:9/pi/"), "{}", request.url);
        server(request)
    };
    let made = with("base_url = \"http://127.0.0.1:9/pi/\"");
    let session = Session::served(&made.terms(), Vec::new(), seen);
    made.destination.check(&session).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_is_renewed() {
    for over in [error(401, 184), error(400, 184), Reply::status(401, "")] {
        let (outcomes, calls) = delivered(vec![over, token()]).await;
        assert_eq!((outcomes, calls), (Ok(vec![Outcome::Delivered]), 3));
    }
    let over = || error(400, 184);
    let (outcomes, _) = delivered(vec![over(), token(), over(), token(), over()]).await;
    assert!(matches!(outcomes, Err(Fault::Denied { .. })), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn too_many_at_once_or_on_one_day_close_the_gate() {
    let started = tokio::time::Instant::now();
    let (outcomes, _) = delivered(vec![error(400, 66)]).await;
    assert_eq!(outcomes, Ok(vec![Outcome::Delivered]));
    assert_eq!(started.elapsed().as_secs(), 1);
    let (outcomes, calls) = delivered(vec![error(400, 122)]).await;
    assert!(matches!(outcomes, Err(Fault::Throttled { .. })), "{outcomes:?}");
    assert_eq!(calls, 2);
}

#[test]
fn the_number_says_more_than_the_status() {
    let word = |status: u16, code: u32| {
        let body = json!({"code": code, "message": "why"}).to_string().into();
        let response = Response { status, headers: http::HeaderMap::new(), body };
        match super::replies::answered(&response) {
            Ok(()) => "taken",
            Err(Fault::Throttled { .. }) => "throttled",
            Err(Fault::Transient { .. }) => "transient",
            Err(Fault::Ambiguous { .. }) => "ambiguous",
            Err(Fault::Denied { .. }) => "denied",
            Err(Fault::Misconfigured { .. }) => "misconfigured",
            Err(Fault::Rejected { .. }) => "rejected",
            Err(_) => "protocol",
        }
    };
    for (status, codes, meaning) in [
        (400, &[4, 9, 13, 16, 56, 57, 154][..], "rejected"),
        (400, &[66, 122, 202], "throttled"),
        (400, &[62, 85, 116, 120, 121], "transient"),
        (400, &[183, 214], "ambiguous"),
        (405, &[46, 49, 76], "denied"),
        (400, &[180, 181, 201], "misconfigured"),
        (404, &[192], "misconfigured"),
        (200, &[4], "protocol"),
        (200, &[66], "throttled"),
    ] {
        for code in codes {
            assert_eq!(word(status, *code), meaning, "{code}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_reply_about_the_prospect_is_success() {
    let prospect = |email: &str| Reply::json(&json!({"id": 1, "email": email}));
    for well in [prospect("Mara.Lind@example.org"), Reply::status(204, "")] {
        assert_eq!(delivered(vec![well]).await.0, Ok(vec![Outcome::Delivered]));
    }
    for odd in [
        prospect("ivo@example.org"),
        Reply::status(200, ""),
        Reply::status(204, "OK"),
        Reply::json(&json!({"id": 1})),
    ] {
        let (outcomes, _) = delivered(vec![odd]).await;
        assert!(matches!(outcomes, Err(Fault::Protocol { .. })), "{outcomes:?}");
    }
    let (outcomes, _) = delivered(vec![error(400, 4)]).await;
    assert!(matches!(outcomes.unwrap()[..], [Outcome::Rejected { .. }]));
}

#[tokio::test]
async fn mapped_profile_columns_travel_as_fields() {
    let made = with("standard_fields = [\"phone\"]");
    let profile = [("last_name", "Lind"), ("phone", "1"), ("Land", "AT")];
    let said = made.converse(&batch([made.enriched(MARA, &profile)]), Vec::new()).await;
    assert_snapshot!(String::from_utf8_lossy(&said.captured[0].body), @r#"{"matchEmail":"mara.lind@example.org","prospect":{"email":"mara.lind@example.org","lastName":"Lind","phone":"1","Land__c":"AT"},"secondaryDeletedSearch":false,"fields":["id","email"]}"#);
}

#[tokio::test]
async fn columns_become_names_of_fields() {
    let made = with("standard_fields = [\"jobTitle\", \"email\", \"isDoNotEmail\"]");
    let values = [("jobTitle", json!("CEO")), ("Umsatz €", json!(12)), ("own__c", Value::Null)];
    let message = made.message(Call::Identify, IVO, Change::Changed, &values);
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    made.destination.deliver(&session, &Remote::default(), &batch([message])).await.unwrap();
    assert_snapshot!(String::from_utf8_lossy(&session.captured()[0].body), @r#"{"matchEmail":"ivo@example.org","prospect":{"email":"ivo@example.org","firstName":"Ivo","lastName":"Ban","company":"Acme","jobTitle":"CEO","Umsatz__c":"12","own__c":null},"secondaryDeletedSearch":false,"fields":["id","email"]}"#);
    let names = ["email", "jobTitle", "isDoNotEmail", "€"];
    let wanted = asked(&names.map(|name| (name, FieldKind::Text)));
    assert_snapshot!(made.destination.objections(&wanted).join("\n"), @r#"
    the standard field `email` is written by itself
    the standard field `isDoNotEmail` decides who may be written to, which is never changed
    `€` leaves no name for a field of a prospect: give it another alias
    "#);
}

#[tokio::test]
async fn fields_are_found_on_every_page_or_created() {
    let made = with("standard_fields = [\"jobTitle\"]");
    let wanted = asked(&[
        ("jobTitle", FieldKind::Text),
        ("LTV_90d", FieldKind::Number),
        ("city", FieldKind::Text),
        ("tags", FieldKind::Nested),
    ]);
    let first = json!({"values": [field("city", "Dropdown")], "nextPageToken": "x+y"});
    let created = Reply::status(201, field("tags", "Textarea").to_string());
    let replies = vec![token(), Reply::json(&first), page(&[field("ltv_90d", "Number")]), created];
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = made.destination.open(&session, &wanted).await.unwrap();
    assert_eq!(remote, Remote::default());
    let calls = session.captured();
    let wire = calls.iter().filter(|call| !call.url.ends_with("/token")).map(|call| {
        let body = String::from_utf8_lossy(&call.body);
        format!("{} {} {body}", call.method, call.url).trim_end().to_owned()
    });
    assert_snapshot!(wire.collect::<Vec<_>>().join("\n"), @r#"
    GET https://pi.pardot.com/api/v5/objects/custom-fields?fields=id%2Cname%2CfieldId%2Ctype&limit=1000
    GET https://pi.pardot.com/api/v5/objects/custom-fields?fields=id%2Cname%2CfieldId%2Ctype&nextPageToken=x%2By
    POST https://pi.pardot.com/api/v5/objects/custom-fields?fields=id%2Cname%2CfieldId%2Ctype {"fieldId":"tags","name":"tags","type":"Textarea"}
    "#);
    let standard = asked(&[("jobTitle", FieldKind::Text)]);
    made.destination.open(&session, &standard).await.unwrap();
    assert_eq!(session.captured().len(), calls.len());
}

async fn refusal(made: &Configured, wanted: &Target, replies: Vec<Reply>) -> String {
    let replies = std::iter::once(token()).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    match made.destination.open(&session, wanted).await {
        Err(fault) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_field_that_cannot_be_used_stops_the_sync() {
    let made = with("");
    let new = asked(&[("new", FieldKind::Date)]);
    let endless = || Reply::json(&json!({"values": [], "nextPageToken": "again"}));
    let other = Reply::status(201, field("other", "Date").to_string());
    let told = [
        refusal(&with("create_fields = false"), &new, Vec::new()).await,
        refusal(&made, &asked(&[("vip", FieldKind::Number)]), Vec::new()).await,
        refusal(&made, &new, vec![page(&[]), error(400, 139)]).await,
        refusal(&made, &new, vec![page(&[]), other]).await,
        refusal(&made, &new, (0..10).map(|_| endless()).collect()).await,
    ];
    assert_snapshot!(told.join("\n"), @r#"
    misconfigured: prospects have no custom field `new`: create it with the type `Date`, or set `create_fields = true`
    misconfigured: the custom field `vip` is of type `Checkbox`, not `Number`: send the column under another alias
    misconfigured: the custom field `new` cannot be created: HTTP 400 Bad Request: {"code":139,"message":"why"}
    unreadable reply: the reply to the creation of the field `new` is about another one
    unreadable reply: the list of custom fields does not come to an end
    "#);
}

#[test]
fn what_is_wrong_with_the_options_is_told() {
    let cases = [
        "client_id = \"app\"\nclient_secret = \"${S}\"\nbusiness_unit_id = \"0Uv1\"",
        "client_id = \"app\"\nbusiness_unit_id = \"0Uv000000000000CAA\"",
    ];
    let findings = cases.map(|more| {
        let text = format!("[destinations.p]\ntype = \"pardot\"\n{more}\n");
        let told = told(&configured(&text).err().unwrap());
        told.split(" (\"").next().unwrap().to_owned()
    });
    assert_snapshot!(findings.join("\n"), @r#"
    D03 option `business_unit_id` of destination `p` is no id of a business unit, which begins with `0Uv` and has 18 characters
    D03 option `client_id` of destination `p` needs beside it a `client_secret`, a `refresh_token` (with or without a `client_secret`), or a `private_key` and its `username`
    "#);
}
