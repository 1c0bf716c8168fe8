//! What Iterable is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, MARA, batch, configured, target, told};
use crate::destinations::{
    Batch, Configured, Fault, Field, FieldKind, Notice, Outcome, Remote, Target,
};
use crate::record::{Call, Change};

/// Takes every row.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    if request.method == "GET" {
        let fields = json!({"email": "string", "ltv_90d": "double", "vip": "boolean"});
        return Reply::json(&json!({"fields": fields}));
    }
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let rows = body["users"].as_array().or(body["events"].as_array());
    Reply::json(&json!({
        "successCount": rows.map_or(0, Vec::len), "failCount": 0,
        "invalidEmails": [], "invalidUserIds": [],
        "failedUpdates": {"invalidEmails": [], "invalidUserIds": [], "forgottenEmails": []},
        "createdFields": [], "filteredOutFields": [],
    }))
}

fn iterable(more: &str) -> Configured {
    let text =
        format!("[destinations.iterable]\ntype = \"iterable\"\napi_key = \"${{KEY}}\"\n{more}");
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

const BY_USER_ID: &str = "identify_by = \"user_id\"\n";

async fn wire(made: &Configured) -> String {
    let mut shown = String::new();
    for (name, batch) in made.batches() {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        shown.push_str(&format!("{name}: {}", wire.replace("https://api.iterable.com/api", "")));
    }
    shown
}

async fn answered(made: &Configured, batch: &Batch, body: Json) -> Conversation {
    made.converse(batch, vec![Reply::json(&body)]).await
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: reason.into() }
}

#[tokio::test]
async fn a_person_is_an_email() {
    assert_snapshot!(wire(&iterable("")).await, @r#"
    audience: POST /users/bulkUpdate {"users":[{"email":"mara.lind@example.org","dataFields":{"vip":true}}],"createNewFields":true}
    computed: POST /events/trackBulk {"events":[{"email":"mara.lind@example.org","eventName":"Trait Computed","id":"6d6172612e6c696e64406578616d706c","createdAt":1795165200,"createNewFields":true,"dataFields":{"trait_key":"ltv_90d","ltv_90d":812.4}}]}
    exit: POST /users/bulkUpdate {"users":[{"email":"ivo@example.org","dataFields":{"vip":false}}],"createNewFields":true}
    identify: POST /users/bulkUpdate {"users":[{"email":"mara.lind@example.org","dataFields":{"ltv_90d":812.4}}],"createNewFields":true}
    null: POST /users/bulkUpdate {"users":[{"email":"ivo@example.org","dataFields":{"ltv_90d":null}}],"createNewFields":true}
    several: POST /users/bulkUpdate {"users":[{"email":"mara.lind@example.org","dataFields":{"ltv_90d":812.4}},{"email":"ivo@example.org","dataFields":{"ltv_90d":7.0}},{"email":"zoe+shop@example.org","dataFields":{"ltv_90d":-3.5}}],"createNewFields":true}
    track: POST /events/trackBulk {"events":[{"email":"mara.lind@example.org","eventName":"Audience Entered","id":"6d6172612e6c696e64406578616d706c","createdAt":1795165200,"createNewFields":true,"dataFields":{"audience_key":"vip","vip":true}}]}
    track exit: POST /events/trackBulk {"events":[{"email":"ivo@example.org","eventName":"Audience Exited","id":"69766f406578616d706c652e6f726700","createdAt":1795165200,"createNewFields":true,"dataFields":{"audience_key":"vip","vip":false}}]}
    unicode: POST /users/bulkUpdate {"users":[{"email":"zoe+shop@example.org","dataFields":{"city":"Zürich 🏪 \"A\" "}}],"createNewFields":true}
    "#);
}

#[tokio::test]
async fn by_user_id_the_preferred_email_is_a_field() {
    assert_snapshot!(wire(&iterable(BY_USER_ID)).await, @r#"
    audience: POST /users/bulkUpdate {"users":[{"userId":"u_8841","preferUserId":true,"dataFields":{"vip":true,"email":"mara.lind@example.org"}}],"createNewFields":true}
    computed: POST /events/trackBulk {"events":[{"userId":"u_8841","eventName":"Trait Computed","id":"755f3838343100000000000000000000","createdAt":1795165200,"createNewFields":true,"dataFields":{"trait_key":"ltv_90d","ltv_90d":812.4}}]}
    exit: POST /users/bulkUpdate {"users":[{"userId":"u_8842","preferUserId":true,"dataFields":{"vip":false,"email":"ivo@example.org"}}],"createNewFields":true}
    identify: POST /users/bulkUpdate {"users":[{"userId":"u_8841","preferUserId":true,"dataFields":{"ltv_90d":812.4,"email":"mara.lind@example.org"}}],"createNewFields":true}
    null: POST /users/bulkUpdate {"users":[{"userId":"u_8842","preferUserId":true,"dataFields":{"ltv_90d":null,"email":"ivo@example.org"}}],"createNewFields":true}
    several: POST /users/bulkUpdate {"users":[{"userId":"u_8841","preferUserId":true,"dataFields":{"ltv_90d":812.4,"email":"mara.lind@example.org"}},{"userId":"u_8842","preferUserId":true,"dataFields":{"ltv_90d":7.0,"email":"ivo@example.org"}},{"userId":"zoë","preferUserId":true,"dataFields":{"ltv_90d":-3.5,"email":"zoe+shop@example.org"}}],"createNewFields":true}
    track: POST /events/trackBulk {"events":[{"userId":"u_8841","eventName":"Audience Entered","id":"755f3838343100000000000000000000","createdAt":1795165200,"createNewFields":true,"dataFields":{"audience_key":"vip","vip":true}}]}
    track exit: POST /events/trackBulk {"events":[{"userId":"u_8842","eventName":"Audience Exited","id":"755f3838343200000000000000000000","createdAt":1795165200,"createNewFields":true,"dataFields":{"audience_key":"vip","vip":false}}]}
    unicode: POST /users/bulkUpdate {"users":[{"userId":"zoë","preferUserId":true,"dataFields":{"city":"Zürich 🏪 \"A\" ","email":"zoe+shop@example.org"}}],"createNewFields":true}
    "#);
}

#[tokio::test]
async fn options_show_on_the_wire() {
    let more = format!(
        "{BY_USER_ID}send_email = false\nprefer_user_id = false\ncreate_fields = false\n\
         region = \"eu\"\n"
    );
    let shown = wire(&iterable(&more)).await;
    let of = |name: &str| {
        let lines = shown.lines().skip_while(|line| !line.starts_with(name));
        lines.take(2).collect::<Vec<_>>().join("\n") + "\n"
    };
    assert_snapshot!(of("identify: ") + &of("track: "), @r#"
    identify: GET https://api.eu.iterable.com/api/users/getFields
    POST https://api.eu.iterable.com/api/users/bulkUpdate {"users":[{"userId":"u_8841","preferUserId":false,"dataFields":{"ltv_90d":812.4}}],"createNewFields":false}
    track: POST https://api.eu.iterable.com/api/events/trackBulk {"events":[{"userId":"u_8841","eventName":"Audience Entered","id":"755f3838343100000000000000000000","createdAt":1795165200,"createNewFields":false,"dataFields":{"audience_key":"vip","vip":true}}]}
    track exit: POST https://api.eu.iterable.com/api/events/trackBulk {"events":[{"userId":"u_8842","eventName":"Audience Exited","id":"755f3838343200000000000000000000","createdAt":1795165200,"createNewFields":false,"dataFields":{"audience_key":"vip","vip":false}}]}
    "#);
}

#[tokio::test]
async fn a_request_hides_the_key() {
    let said = iterable("").converse(&iterable("").several(), Vec::new()).await;
    let headers: Vec<_> =
        said.captured[0].headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(headers, ["api-key: [secret]", "content-type: application/json"]);
}

#[test]
fn times_are_written_as_iterable_reads_them() {
    assert_eq!(
        super::objects::moment(1_795_165_200_500_000).as_deref(),
        Some("2026-11-20 09:00:00 +00:00")
    );
    assert_eq!(super::objects::moment(i64::MAX), None);
}

#[tokio::test]
async fn no_request_is_larger_than_iterable_takes() {
    let made = iterable("");
    let long = "x".repeat(9000);
    let values = [("a", json!(long)), ("b", json!(long))];
    let full = batch((0..1000).map(|_| made.message(Call::Track, MARA, Change::Changed, &values)));
    let said = made.converse(&full, Vec::new()).await;
    let mut events = 0;
    for request in &said.captured {
        assert!(request.body.len() < 4_000_000);
        let body: Json = serde_json::from_slice(&request.body).unwrap();
        let rows = body["events"].as_array().unwrap().len();
        assert!(rows <= 1000);
        events += rows;
    }
    assert_eq!(events, 2000);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 1000]);
}

#[tokio::test]
async fn a_success_names_the_rows_it_failed_by_their_emails() {
    let made = iterable("");
    let body = json!({"successCount": 1, "failCount": 2, "failedUpdates": {
        "invalidEmails": ["IVO@example.org"], "invalidDataEmails": ["zoe+shop@example.org"]}});
    assert_eq!(
        answered(&made, &made.several(), body).await.outcomes(),
        [
            Outcome::Delivered,
            rejected("Iterable does not take this as an email address (`invalidEmails`)"),
            rejected(
                "Iterable refuses the values, such as one of another type than the field has \
                 (`invalidDataEmails`)"
            ),
        ]
    );
}

#[tokio::test]
async fn by_user_id_rows_are_named_by_either() {
    let made = iterable(BY_USER_ID);
    let body = json!({"successCount": 1, "failCount": 2, "failedUpdates": {
        "forgottenUserIds": ["zoë"], "conflictEmails": ["ivo@example.org"]}});
    assert_eq!(
        answered(&made, &made.several(), body).await.outcomes(),
        [
            Outcome::Delivered,
            rejected("another person of the project has this identity (`conflictEmails`)"),
            rejected("the project has forgotten this person for good (GDPR) (`forgottenUserIds`)"),
        ]
    );
}

#[tokio::test]
async fn an_event_name_that_is_not_allowed_rejects_its_rows() {
    let made = iterable("");
    let entered = batch([made.audience(Call::Track, MARA, Change::Entered)]);
    let body =
        json!({"successCount": 0, "failCount": 1, "disallowedEventNames": ["Audience Entered"]});
    assert_eq!(
        answered(&made, &entered, body).await.outcomes(),
        [rejected("the project takes no events of this name (`disallowedEventNames`)")]
    );
}

#[tokio::test]
async fn a_field_that_is_left_out_is_no_success() {
    let made = iterable("create_fields = false\n");
    let body = json!({"successCount": 3, "failCount": 0, "filteredOutFields": ["ltv_90d"]});
    let session = Session::scripted(&made.terms(), vec![Reply::json(&body)]);
    let delivery = made.destination.deliver(&session, &Remote::default(), &made.several()).await;
    let outcomes = crate::destinations::fixture::receipt(delivery.unwrap()).into_outcomes();
    let reason =
        "Iterable leaves out the field `ltv_90d`, which the project does not know: create it there";
    assert_eq!(outcomes, vec![rejected(reason); 3]);
}

#[tokio::test]
async fn rows_that_were_not_sent_are_not_believed() {
    let made = iterable("");
    // By email, a user id is never sent.
    for (list, name) in [("invalidEmails", "eve@example.org"), ("invalidUserIds", "u_8841")] {
        let body = json!({"successCount": 2, "failCount": 1, "failedUpdates": {list: [name]}});
        let said = answered(&made, &made.several(), body).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{list}");
    }
}

#[tokio::test]
async fn failures_without_a_name_are_halved_and_missing_rows_are_told() {
    let made = iterable("");
    let unnamed = json!({"successCount": 2, "failCount": 1, "failedUpdates": {}});
    let said = answered(&made, &made.several(), unnamed).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
    let fewer = json!({"successCount": 2, "failCount": 0});
    let said = answered(&made, &made.several(), fewer).await;
    let reason = "Iterable counts fewer rows than it was sent".into();
    assert_eq!(said.notices, [Notice { count: 1, reason }]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test(start_paused = true)]
async fn every_form_of_slow_down_is_heeded_and_a_wrong_key_halts() {
    let made = iterable("");
    let complaint = |status, code: &str| {
        Reply::status(status, json!({"code": code, "msg": "", "params": {}}).to_string())
    };
    for status in [429, 400] {
        let started = tokio::time::Instant::now();
        let slow = complaint(status, "RateLimitExceeded").with_header("retry-after", "9");
        let said = made.converse(&made.several(), vec![slow]).await;
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
        assert!(started.elapsed().as_secs() >= 9);
    }
    for status in [400, 401] {
        let said = made.converse(&made.several(), vec![complaint(status, "BadApiKey")]).await;
        assert!(matches!(said.result, Err(Fault::Denied { .. })));
    }
    let large = made.converse(&made.several(), vec![complaint(400, "BatchTooLarge")]).await;
    assert!(matches!(large.result, Err(Fault::Rejected { .. })));
}

fn wanted(names: &[(&str, FieldKind)]) -> Target {
    let field = |(name, kind): &(&str, FieldKind)| Field { name: (*name).into(), kind: *kind };
    Target { fields: names.iter().map(field).collect(), ..target() }
}

async fn opened(more: &str, target: &Target) -> (Result<Remote, Fault>, usize) {
    let made = iterable(more);
    let session = Session::served(&made.terms(), Vec::new(), server);
    let remote = made.destination.open(&session, target).await;
    (remote, session.captured().len())
}

#[tokio::test]
async fn fields_are_only_asked_for_where_iterable_may_not_create_them() {
    let fixed = "create_fields = false\n";
    let target = wanted(&[("ltv_90d", FieldKind::Number), ("seats", FieldKind::Integer)]);
    assert_eq!(opened("", &target).await, (Ok(Remote::default()), 0));
    let known = wanted(&[("ltv_90d", FieldKind::Number)]);
    assert_eq!(opened(fixed, &known).await, (Ok(Remote::default()), 1));
    let track = Target { call: Call::Track, ..target.clone() };
    assert_eq!(opened(fixed, &track).await, (Ok(Remote::default()), 0));
    let (Err(Fault::Misconfigured { reason }), 1) = opened(fixed, &target).await else {
        panic!("nothing was missed")
    };
    assert_snapshot!(reason, @"the project has no user field `seats`: create it with the type `long`, or set `create_fields = true`");
}

#[test]
fn names_that_mean_something_else_there_are_refused() {
    let names = ["ltv_90d", "email", "emailListIds", "a.b", "_a", "a "];
    let fields = names.map(|name| (name, FieldKind::Text));
    let made = iterable("");
    assert_snapshot!(made.destination.objections(&wanted(&fields)).join("\n"), @r#"
    the field `email` belongs to Iterable itself: give the column another alias
    the field `emailListIds` belongs to Iterable itself: give the column another alias
    the field `a.b` has a dot, a leading underscore or a space at either end, of which it is uncertain what Iterable makes: give the column another alias
    the field `_a` has a dot, a leading underscore or a space at either end, of which it is uncertain what Iterable makes: give the column another alias
    the field `a ` has a dot, a leading underscore or a space at either end, of which it is uncertain what Iterable makes: give the column another alias
    "#);
    let track = Target { call: Call::Track, ..wanted(&fields[..3]) };
    assert_eq!(made.destination.objections(&track), Vec::<String>::new());
}

#[test]
fn options_about_user_ids_need_user_ids() {
    let text = "[destinations.i]\ntype = \"iterable\"\napi_key = \"${KEY}\"\n\
                send_email = true\nprefer_user_id = true\n";
    assert_snapshot!(told(&configured(text).err().unwrap()), @r#"
    D03 option `send_email` of destination `i` has no meaning without `identify_by = "user_id"` (true) `muster destinations iterable` shows every option and an example
    D03 option `prefer_user_id` of destination `i` has no meaning without `identify_by = "user_id"` (true) `muster destinations iterable` shows every option and an example
    "#);
}

#[tokio::test]
async fn a_check_proves_the_key_and_reads_only() {
    let made = iterable("");
    let check = |reply| async {
        made.destination.check(&Session::served(&made.terms(), vec![reply], server)).await
    };
    assert_eq!(check(Reply::json(&json!({"fields": {}}))).await, Ok(()));
    assert!(matches!(check(Reply::status(401, "{}")).await, Err(Fault::Denied { .. })));
    assert!(matches!(check(Reply::json(&json!({}))).await, Err(Fault::Protocol { .. })));
}
