//! What Mailchimp is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use super::contact_id;
use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, MARA, batch, configured, target, told};
use crate::destinations::{Configured, Fault, Field, FieldKind, Outcome, Remote, Target};
use crate::record::{Call, Change, Value};

/// Knows every contact and the merge fields of the fixtures.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.url.split_once("/lists/a1b2c3d4e5").map_or("", |(_, path)| path);
    match (request.method.as_str(), path) {
        ("GET", path) if path.starts_with("/merge-fields") => merge_fields(&[
            ("FNAME", "text"),
            ("LTV90D", "number"),
            ("CITY", "text"),
            ("VIP", "text"),
        ]),
        ("GET", _) => Reply::json(&json!({"id": "a1b2c3d4e5", "name": "Shop"})),
        ("PUT", _) => Reply::json(&contact(&body)),
        (_, path) if path.ends_with("/events") => Reply::status(204, ""),
        _ => Reply::json(&body),
    }
}

fn merge_fields(fields: &[(&str, &str)]) -> Reply {
    let field = |(tag, kind): &(&str, &str)| json!({"merge_id": 1, "tag": tag, "type": kind});
    let fields: Vec<Json> = fields.iter().map(field).collect();
    Reply::json(&json!({"merge_fields": fields, "list_id": "a1b2c3d4e5", "total_items": 4}))
}

/// A contact as it is shown after it was written.
fn contact(sent: &Json) -> Json {
    let email = sent["email_address"].as_str().unwrap_or_default();
    json!({"id": contact_id(email), "email_address": email, "status": "subscribed",
        "merge_fields": {"FNAME": "", "LTV90D": "", "CITY": "", "VIP": ""}})
}

fn problem(status: u16, title: &str) -> Reply {
    let body = json!({"type": "https://mailchimp.com/developer/marketing/docs/errors/",
        "title": title, "status": status, "detail": "because", "instance": "i"});
    Reply::status(status, body.to_string())
}

fn mailchimp(more: &str) -> Configured {
    let text = format!(
        "[destinations.mailchimp]\ntype = \"mailchimp\"\napi_key = \"${{KEY}}\"\nserver = \"us20\"\n\
         audience_id = \"a1b2c3d4e5\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

async fn said(call: Call, replies: Vec<Reply>) -> Conversation {
    let made = mailchimp("");
    let message = match call {
        Call::Track => made.audience(call, MARA, Change::Entered),
        _ => made.message(call, MARA, Change::Changed, &[("ltv_90d", json!(812.4))]),
    };
    let first = match call {
        Call::Track => Reply::json(&json!({"id": "a1b2c3d4e5"})),
        _ => merge_fields(&[("LTV90D", "number")]),
    };
    let replies = [vec![first], replies].concat();
    made.converse(&batch([message]), replies).await
}

#[tokio::test]
async fn requests() {
    let made = mailchimp("");
    let mut shown = String::new();
    for (name, batch) in made.batches() {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        let wire = wire.replace("https://us20.api.mailchimp.com/3.0/lists/a1b2c3d4e5", "");
        let calls = wire.lines().filter(|line| !line.starts_with("GET "));
        shown.push_str(&format!("{name}: {}\n", calls.collect::<Vec<_>>().join("\n")));
    }
    assert_snapshot!(shown, @r#"
    audience: PUT /members/c867ddc5131a31b969a714961f33877c?skip_merge_validation=true {"email_address":"mara.lind@example.org","status_if_new":"transactional","merge_fields":{"VIP":"true"}}
    computed: POST /members/c867ddc5131a31b969a714961f33877c/events {"name":"Trait Computed","properties":{"ltv_90d":"812.4","trait_key":"ltv_90d"},"is_syncing":true,"occurred_at":"2026-11-20T09:00:00Z"}
    exit: PUT /members/c656bdf67d1c84fe78ef75a734743ff1?skip_merge_validation=true {"email_address":"ivo@example.org","status_if_new":"transactional","merge_fields":{"VIP":"false"}}
    identify: PUT /members/c867ddc5131a31b969a714961f33877c?skip_merge_validation=true {"email_address":"mara.lind@example.org","status_if_new":"transactional","merge_fields":{"LTV90D":812.4}}
    null: PUT /members/c656bdf67d1c84fe78ef75a734743ff1?skip_merge_validation=true {"email_address":"ivo@example.org","status_if_new":"transactional","merge_fields":{"LTV90D":""}}
    several: PUT /members/c867ddc5131a31b969a714961f33877c?skip_merge_validation=true {"email_address":"mara.lind@example.org","status_if_new":"transactional","merge_fields":{"LTV90D":812.4}}
    track: POST /members/c867ddc5131a31b969a714961f33877c/events {"name":"Audience Entered","properties":{"audience_key":"vip","vip":"true"},"is_syncing":true,"occurred_at":"2026-11-20T09:00:00Z"}
    track exit: POST /members/c656bdf67d1c84fe78ef75a734743ff1/events {"name":"Audience Exited","properties":{"audience_key":"vip","vip":"false"},"is_syncing":true,"occurred_at":"2026-11-20T09:00:00Z"}
    unicode: PUT /members/8e7e3998d5b502570800d2ca907c0871?skip_merge_validation=true {"email_address":"zoe+shop@example.org","status_if_new":"transactional","merge_fields":{"CITY":"Zürich 🏪 \"A\" "}}
    "#);
}

#[tokio::test]
async fn first_the_merge_fields_or_the_audience_are_looked_for() {
    let first = |said: Conversation| said.captured[0].method.clone() + " " + &said.captured[0].url;
    assert_snapshot!(first(said(Call::Identify, Vec::new()).await), @"GET https://us20.api.mailchimp.com/3.0/lists/a1b2c3d4e5/merge-fields?count=1000");
    assert_snapshot!(first(said(Call::Track, Vec::new()).await), @"GET https://us20.api.mailchimp.com/3.0/lists/a1b2c3d4e5?fields=id%2Cname");
    let said = said(Call::Identify, Vec::new()).await;
    let headers = said.captured[1].headers.iter().map(|(name, value)| format!("{name}: {value}"));
    let headers: Vec<_> = headers.collect();
    assert_eq!(headers, ["authorization: [secret]", "content-type: application/json"]);
}

#[tokio::test]
async fn no_request_ever_says_a_status_that_opts_in() {
    let made = mailchimp("");
    for (name, batch) in made.batches() {
        for request in made.converse(&batch, Vec::new()).await.captured {
            let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
            assert!(body.get("status").is_none(), "{name}");
            let new = body.get("status_if_new");
            assert!(new.is_none_or(|status| status == "transactional"), "{name}");
        }
    }
}

#[tokio::test]
async fn every_value_is_a_number_or_a_text() {
    let made = mailchimp("tags = { city = \"TOWN\" }\n");
    let values =
        [("n", json!(7)), ("gone", Json::Null), ("is_vip", json!(true)), ("city", json!("Zürich"))];
    let message = made.message(Call::Identify, MARA, Change::Changed, &values);
    let session = Session::rehearsal(&made.terms(), 9);
    let delivery = made.destination.deliver(&session, &Remote::default(), &batch([message])).await;
    assert!(matches!(delivery, Err(Fault::Rehearsed)));
    let body: Json = serde_json::from_slice(&session.captured()[0].body).unwrap();
    assert_snapshot!(body["merge_fields"].to_string(), @r#"{"GONE":"","ISVIP":"true","N":7,"TOWN":"Zürich"}"#);
    let written = |value| serde_json::to_string(&super::fields::MergeFields::from(value)).unwrap();
    assert_snapshot!(written(vec![
        ("A".into(), Value::Timestamp(1_795_165_200_000_000)),
        ("B".into(), Value::Date(20_777)),
        ("C".into(), Value::Float(f64::NAN)),
        ("D".into(), Value::Decimal("12.50".into())),
        ("E".into(), Value::Timestamp(-1)),
    ]), @r#"{"A":"2026-11-20","B":"2026-11-20","C":"","D":12.50,"E":"1969-12-31"}"#);
}

#[tokio::test]
async fn properties_of_events_are_texts_and_automations_stay_asleep() {
    let made = mailchimp("start_automations = true\n");
    let values = [("n", json!(7)), ("gone", Json::Null), ("tags", json!(["a"]))];
    let message = made.message(Call::Track, MARA, Change::Changed, &values);
    let said = made.converse(&batch([message]), Vec::new()).await;
    let sent: Vec<_> =
        said.captured[1..].iter().map(|call| String::from_utf8_lossy(&call.body)).collect();
    assert_snapshot!(sent.join("\n"), @r#"
    {"name":"Trait Computed","properties":{"n":"7","trait_key":"n"},"is_syncing":false,"occurred_at":"2026-11-20T09:00:00Z"}
    {"name":"Trait Computed","properties":{"trait_key":"gone"},"is_syncing":false,"occurred_at":"2026-11-20T09:00:00Z"}
    {"name":"Trait Computed","properties":{"trait_key":"tags"},"is_syncing":false,"occurred_at":"2026-11-20T09:00:00Z"}
    "#);
}

#[tokio::test]
async fn an_event_is_sent_once() {
    for odd in [Reply::Lost, Reply::status(500, "")] {
        let said = said(Call::Track, vec![odd]).await;
        assert_eq!(said.captured.len(), 2);
        assert!(matches!(said.result, Err(Fault::Ambiguous { .. })));
    }
}

#[tokio::test]
async fn an_event_of_somebody_unknown_is_rejected_alone() {
    let unknown = said(Call::Track, vec![problem(404, "Resource Not Found")]).await;
    assert!(matches!(unknown.outcomes()[..], [Outcome::Rejected { .. }]));
    let elsewhere = said(Call::Track, vec![Reply::status(404, "<html>")]).await;
    assert!(matches!(elsewhere.result, Err(Fault::Misconfigured { .. })));
    for body in ["", "{}"] {
        let taken = said(Call::Track, vec![Reply::status(200, body)]).await;
        assert!(matches!(taken.result, Err(Fault::Protocol { .. })));
    }
}

#[test]
fn names_of_events_have_their_length() {
    for name in ["", "x", &"x".repeat(31)] {
        assert!(!super::is_event_name(name), "{name}");
    }
    for name in ["xy", &"é".repeat(30)] {
        assert!(super::is_event_name(name), "{name}");
    }
}

#[tokio::test]
async fn a_reply_about_another_contact_or_without_the_field_is_no_success() {
    let other = said(Call::Identify, vec![Reply::json(&contact(&json!({})))]).await;
    assert!(matches!(other.result, Err(Fault::Protocol { .. })));
    let mut without = contact(&json!({"email_address": MARA.email}));
    without["merge_fields"] = json!({"FNAME": ""});
    let without = said(Call::Identify, vec![Reply::json(&without)]).await;
    let Err(Fault::Misconfigured { reason }) = without.result else { panic!() };
    assert_snapshot!(reason, @"Mailchimp leaves out `LTV90D`: the audience has no such merge tag");
}

#[tokio::test]
async fn refusals_of_one_contact_are_rejections() {
    for title in
        ["Invalid Resource", "Member In Compliance State", "Forgotten Email Not Subscribed"]
    {
        let refused = said(Call::Identify, vec![problem(400, title)]).await;
        assert!(matches!(refused.result, Err(Fault::Rejected { .. })));
    }
    let gone = said(Call::Identify, vec![problem(404, "Resource Not Found")]).await;
    assert!(matches!(gone.result, Err(Fault::Misconfigured { .. })));
    let forbidden = said(Call::Identify, vec![problem(403, "Forbidden")]).await;
    assert!(matches!(forbidden.result, Err(Fault::Denied { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_only_passes_by_is_waited_for() {
    for reply in [
        problem(429, "Too Many Requests"),
        Reply::status(429, ""),
        Reply::status(403, "<html>Access Denied</html>"),
        Reply::status(404, ""),
        Reply::status(503, ""),
    ] {
        let started = tokio::time::Instant::now();
        let said = said(Call::Identify, vec![reply]).await;
        assert!(!started.elapsed().is_zero());
        assert_eq!(said.outcomes(), [Outcome::Delivered]);
    }
}

fn wanted(names: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: names.iter().map(field).collect(), ..target() }
}

async fn opened(more: &str, target: &Target, replies: Vec<Reply>) -> (String, String) {
    let made = mailchimp(more);
    let session = Session::served(&made.terms(), replies, server);
    let result = match made.destination.open(&session, target).await {
        Ok(remote) => {
            assert_eq!(remote, Remote::default());
            "opened".to_owned()
        }
        Err(Fault::Misconfigured { reason }) => reason,
        Err(other) => panic!("{other:?}"),
    };
    let bodies = session.captured();
    let bodies = bodies.iter().skip(1).map(|call| String::from_utf8_lossy(&call.body).into_owned());
    (result, bodies.collect::<Vec<_>>().join("\n"))
}

#[tokio::test]
async fn merge_fields_are_found_or_created() {
    let target = wanted(&[
        ("ltv_90d", FieldKind::Number),
        ("city", FieldKind::Text),
        ("last_order_at", FieldKind::Timestamp),
        ("first_time_shopper", FieldKind::Bool),
    ]);
    let more = "tags = { first_time_shopper = \"FIRST_SHOP\" }\n";
    let (result, created) = opened(more, &target, Vec::new()).await;
    assert_eq!(result, "opened");
    assert_snapshot!(created, @r#"
    {"name":"last_order_at","public":false,"required":false,"tag":"LASTORDERA","type":"date"}
    {"name":"first_time_shopper","public":false,"required":false,"tag":"FIRST_SHOP","type":"text"}
    "#);
}

#[tokio::test]
async fn a_merge_field_that_cannot_be_used_stops_the_sync() {
    let new = wanted(&[("last_order_at", FieldKind::Date)]);
    assert_snapshot!(opened("create_fields = false\n", &new, Vec::new()).await.0, @"the audience has no merge field `LASTORDERA` for `last_order_at`: create it with the type `date`, or set `create_fields = true`");
    let other_type = wanted(&[("ltv_90d", FieldKind::Text)]);
    assert_snapshot!(opened("", &other_type, Vec::new()).await.0, @"the merge field `LTV90D` is of type `number`, not `text`: delete it, or give `ltv_90d` another one in the option `tags`");
    let full = vec![merge_fields(&[]), problem(400, "Invalid Resource")];
    assert_snapshot!(opened("", &new, full).await.0, @r#"Mailchimp refuses to create the merge field `LASTORDERA`: HTTP 400 Bad Request: {"detail":"because","instance":"i","status":400,"title":"Invalid Resource","type":"https://mailchimp.com/developer/marketing/docs/errors/"}"#);
}

#[test]
fn tags_are_short_and_their_own() {
    let made = mailchimp("tags = { total_revenue_180_days = \"REV180\" }\n");
    let tags =
        ["ltv_90d", "total_revenue_180_days", "first_time_shopper", "LAST_ORDER", "Été 2026"];
    let tags = tags.map(|name| made.destination.field_name(name));
    assert_eq!(tags, ["LTV90D", "REV180", "FIRSTTIMES", "LAST_ORDER", "T2026"]);
    let fields = wanted(&[
        ("email", FieldKind::Text),
        ("90d", FieldKind::Number),
        ("äöü", FieldKind::Number),
        ("items", FieldKind::Nested),
        ("fine", FieldKind::Text),
    ]);
    assert_snapshot!(made.destination.objections(&fields).join("\n"), @r#"
    `email` becomes `EMAIL`, which belongs to Mailchimp: say another one in the option `tags`
    `90d` makes no merge tag that begins with a letter: say another one in the option `tags`
    `äöü` makes no merge tag that begins with a letter: say another one in the option `tags`
    `items` is a list or a structure, which merge fields cannot hold
    "#);
    let track = Target { call: Call::Track, ..fields };
    assert_eq!(made.destination.objections(&track), Vec::<String>::new());
}

#[test]
fn options_that_cannot_be_used_are_told_together() {
    let text =
        "[destinations.m]\ntype = \"mailchimp\"\napi_key = \"${KEY}\"\naudience_id = \"a\"\n";
    let wrong = format!("{text}server = \"us20.evil\"\ntags = {{ a = \"too long a tag\" }}\n");
    let findings =
        told(&configured(text).err().unwrap()) + &told(&configured(&wrong).err().unwrap());
    assert_snapshot!(findings, @r#"
    D03 option `server` of destination `m` is missing, and the API key does not end in one ("mailchimp") write `server = "us20"` or whatever Mailchimp's own address begins with
    D03 option `tags` of destination `m` has a tag for `a` that is none: up to 10 capital letters, digits and underscores, a letter first ({ a = "too long a tag" }) `muster destinations mailchimp` shows every option and an example
    D03 option `server` of destination `m` is no data centre: letters and a number, as in `us20` ("us20.evil") write `server = "us20"` or whatever Mailchimp's own address begins with
    "#);
    let by_key = text.replace("${KEY}", "abc-us7");
    assert!(configured(&by_key).is_ok());
    let elsewhere = format!("{text}base_url = \"http://127.0.0.1:9/\"\n");
    assert!(configured(&elsewhere).is_ok());
}

#[tokio::test]
async fn a_check_finds_the_audience() {
    let made = mailchimp("");
    let check = |reply| async {
        made.destination.check(&Session::served(&made.terms(), vec![reply], server)).await
    };
    assert_eq!(check(Reply::json(&json!({"id": "a1b2c3d4e5"}))).await, Ok(()));
    assert!(matches!(check(problem(401, "API Key Invalid")).await, Err(Fault::Denied { .. })));
    let missing = check(problem(404, "Resource Not Found")).await;
    assert!(matches!(missing, Err(Fault::Misconfigured { .. })));
    let other = check(Reply::json(&json!({"id": "a2"}))).await;
    assert!(matches!(other, Err(Fault::Protocol { .. })));
}
