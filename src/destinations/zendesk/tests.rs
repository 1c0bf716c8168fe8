//! What Zendesk is sent, and what its replies mean.

use std::time::Duration;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    ACCOUNT, IVO, MARA, ZOE, batch, configured, receipt, target, told,
};
use crate::destinations::{
    Configured, Delivery, Fault, Field, FieldKind, Job, Outcome, Remote, Settlement, Target,
};
use crate::record::{Call, Change, Level};

/// Knows every field, and works off every job at once.
pub(crate) fn server(request: &Captured) -> Reply {
    let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.url.split_once("/api/v2").map_or("", |(_, path)| path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    match (request.method.as_str(), path) {
        ("GET", "/users/me") => Reply::json(&json!({"user": {"id": 7, "role": "admin"}})),
        ("GET", "/users/search") => Reply::json(&json!({"users": [{"id": 9001}], "count": 1})),
        ("GET", "/user_fields" | "/organization_fields") => page(&[
            field("ltv_90d", "decimal"),
            field("city", "text"),
            field("vip", "checkbox"),
            field("seats_used", "integer"),
        ]),
        ("POST", "/users/create_or_update") => kept("user", &sent["user"]["external_id"]),
        ("POST", "/organizations/create_or_update") => {
            kept("organization", &sent["organization"]["external_id"])
        }
        // The id says how many users there were.
        ("POST", "/users/create_or_update_many") => {
            let users = sent["users"].as_array().map_or(0, Vec::len);
            job(&format!("job{users}"), "queued", &Value::Null)
        }
        ("GET", path) if path.starts_with("/job_statuses/job") => {
            let id = path.rsplit('/').next().unwrap();
            let users = id.trim_start_matches("job").parse().unwrap();
            let results = (0..users).map(|user| json!({"id": 9000 + user, "status": "Updated"}));
            job(id, "completed", &results.collect::<Value>())
        }
        ("POST", "/users/9001/events") => Reply::status(202, ""),
        _ => Reply::status(404, r#"{"error":"InvalidEndpoint"}"#),
    }
}

fn field(key: &str, kind: &str) -> Value {
    json!({"id": 1, "key": key, "title": key, "type": kind, "active": true})
}

fn page(fields: &[Value]) -> Reply {
    Reply::json(&json!({"user_fields": fields, "meta": {"has_more": false, "after_cursor": null}}))
}

fn kept(record: &str, external_id: &Value) -> Reply {
    Reply::json(&json!({record: {"id": 9001, "external_id": external_id}}))
}

fn job(id: &str, status: &str, results: &Value) -> Reply {
    Reply::json(&json!({"job_status": {"id": id, "status": status, "total": 2, "progress": null,
        "message": null, "results": results}}))
}

fn invalid(property: &str) -> Reply {
    let details = json!({property: [{"description": "Name: is too short", "error": "BlankValue"}]});
    let body = json!({"error": "RecordInvalid", "description": "Record validation errors", "details": details});
    Reply::status(422, body.to_string())
}

fn with(more: &str) -> Configured {
    let text = format!(
        "[destinations.z]\ntype = \"zendesk\"\nsubdomain = \"acme\"\nemail = \"a@example.org\"\n\
         api_token = \"${{T}}\"\n{more}\n"
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

#[tokio::test(start_paused = true)]
async fn requests() {
    let mut shown = String::new();
    for (kind, batch) in made().batches() {
        let wire = made().converse(&batch, Vec::new()).await.wire();
        let wire = wire.replace("https://acme.zendesk.com/api/v2", "");
        let calls = wire.lines().filter(|line| !line.contains("_fields?page"));
        shown.push_str(&format!("{kind}\n{}\n", calls.collect::<Vec<_>>().join("\n")));
    }
    assert_snapshot!(shown, @r#"
    audience
    POST /users/create_or_update {"user":{"external_id":"u_8841","name":"Mara Lind","email":"mara.lind@example.org","skip_verify_email":true,"user_fields":{"vip":true}}}
    computed
    GET /users/search?external_id=u_8841
    POST /users/9001/events {"event":{"source":"muster","type":"Trait Computed","description":"Trait Computed","created_at":"2026-11-20T09:00:00Z","properties":{"trait_key":"ltv_90d","ltv_90d":812.4}},"profile":{"source":"muster","type":"user","identifiers":[{"type":"email","value":"mara.lind@example.org"}]}}
    exit
    POST /users/create_or_update {"user":{"external_id":"u_8842","name":"Ivo Ban","email":"ivo@example.org","skip_verify_email":true,"user_fields":{"vip":false}}}
    group
    POST /organizations/create_or_update {"organization":{"external_id":"acct_310","organization_fields":{"seats_used":41}}}
    identify
    POST /users/create_or_update {"user":{"external_id":"u_8841","name":"Mara Lind","email":"mara.lind@example.org","skip_verify_email":true,"user_fields":{"ltv_90d":812.4}}}
    null
    POST /users/create_or_update {"user":{"external_id":"u_8842","name":"Ivo Ban","email":"ivo@example.org","skip_verify_email":true,"user_fields":{"ltv_90d":null}}}
    several
    POST /users/create_or_update_many {"users":[{"external_id":"u_8841","name":"Mara Lind","email":"mara.lind@example.org","skip_verify_email":true,"user_fields":{"ltv_90d":812.4}},{"external_id":"u_8842","name":"Ivo Ban","email":"ivo@example.org","skip_verify_email":true,"user_fields":{"ltv_90d":7.0}},{"external_id":"zoë","name":"Zoë Aksoy","email":"zoe+shop@example.org","skip_verify_email":true,"user_fields":{"ltv_90d":-3.5}}]}
    GET /job_statuses/job3
    track
    GET /users/search?external_id=u_8841
    POST /users/9001/events {"event":{"source":"muster","type":"Audience Entered","description":"Audience Entered","created_at":"2026-11-20T09:00:00Z","properties":{"audience_key":"vip","vip":true}},"profile":{"source":"muster","type":"user","identifiers":[{"type":"email","value":"mara.lind@example.org"}]}}
    track exit
    GET /users/search?external_id=u_8842
    POST /users/9001/events {"event":{"source":"muster","type":"Audience Exited","description":"Audience Exited","created_at":"2026-11-20T09:00:00Z","properties":{"audience_key":"vip","vip":false}},"profile":{"source":"muster","type":"user","identifiers":[{"type":"email","value":"ivo@example.org"}]}}
    unicode
    POST /users/create_or_update {"user":{"external_id":"zoë","name":"Zoë Aksoy","email":"zoe+shop@example.org","skip_verify_email":true,"user_fields":{"city":"Zürich 🏪 \"A\" "}}}
    "#);
}

#[tokio::test]
async fn a_request_is_authorised_by_token_or_oauth() {
    let message = || batch([made().audience(Call::Identify, MARA, Change::Entered)]);
    let wire = made().rehearse(&message()).await;
    assert_snapshot!(wire.split_once("\n\n").unwrap().0, @r#"
    POST https://acme.zendesk.com/api/v2/users/create_or_update
    accept: application/json
    authorization: [secret]
    content-type: application/json
    "#);
    let text = "[destinations.z]\ntype = \"zendesk\"\naccess_token = \"${T}\"\n\
                base_url = \"http://127.0.0.1:9/zd/\"\n";
    let seen = |request: &Captured| {
        let bearer = ("authorization".to_owned(), "Bearer hush-T".to_owned());
        assert!(request.headers.contains(&bearer));
        assert_eq!(request.url, "http://127.0.0.1:9/zd/api/v2/users/me");
        Reply::json(&json!({"user": {"id": 7, "role": "agent"}}))
    };
    let elsewhere = configured(text).unwrap();
    let session = Session::served(&elsewhere.terms(), Vec::new(), seen);
    elsewhere.destination.check(&session).await.unwrap();
}

#[tokio::test]
async fn somebody_anonymous_or_an_end_user_is_told_by_the_check() {
    let made = made();
    for user in [
        json!({"id": null, "name": "Anonymous user", "role": "end-user"}),
        json!({"id": 7, "role": "end-user"}),
    ] {
        let reply = Reply::json(&json!({"user": user}));
        let session = Session::served(&made.terms(), vec![reply], made.server());
        let told = made.destination.check(&session).await;
        assert!(matches!(told, Err(Fault::Denied { .. })), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn users_may_be_told_apart_by_email_and_sent_one_by_one() {
    let made = with("identify_by = \"email\"\nbulk = false");
    let said = made.converse(&made.several(), Vec::new()).await;
    let wire = said.wire().replace("https://acme.zendesk.com/api/v2", "");
    assert_snapshot!(wire.lines().skip(1).collect::<Vec<_>>().join("\n"), @r#"
    POST /users/create_or_update {"user":{"name":"Mara Lind","email":"mara.lind@example.org","skip_verify_email":true,"user_fields":{"ltv_90d":812.4}}}
    POST /users/create_or_update {"user":{"name":"Ivo Ban","email":"ivo@example.org","skip_verify_email":true,"user_fields":{"ltv_90d":7.0}}}
    POST /users/create_or_update {"user":{"name":"Zoë Aksoy","email":"zoe+shop@example.org","skip_verify_email":true,"user_fields":{"ltv_90d":-3.5}}}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);

    let quiet = with("send_email = false");
    let alone = batch([quiet.audience(Call::Identify, MARA, Change::Entered)]);
    assert!(!quiet.converse(&alone, Vec::new()).await.wire().contains("mara.lind"));
}

#[tokio::test]
async fn mapped_profile_columns_travel_as_fields() {
    let made = made();
    let message = made.enriched(MARA, &[("name", "Mara Lind"), ("Land", "AT")]);
    let said = made.converse(&batch([message]), Vec::new()).await;
    assert_snapshot!(said.wire().lines().last().unwrap(), @r#"POST https://acme.zendesk.com/api/v2/users/create_or_update {"user":{"external_id":"u_8841","name":"Mara Lind","email":"mara.lind@example.org","skip_verify_email":true,"user_fields":{"land":"AT"}}}"#);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_users_are_one_job() {
    let made = made();
    let all = (0..100).map(|_| made.audience(Call::Identify, MARA, Change::Entered));
    let said = made.converse(&batch(all), Vec::new()).await;
    let posts: Vec<_> = said.captured.iter().filter(|call| call.method == "POST").collect();
    assert_eq!(posts.len(), 1);
    let sent: Value = serde_json::from_slice(&posts[0].body).unwrap();
    assert_eq!(sent["users"].as_array().unwrap().len(), 100);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 100]);
    assert_eq!(made.spec.batch.max_rows, 100);
}

/// What a job of two users comes to when asking for it is answered so.
async fn settled(reply: Reply) -> Result<Settlement, Fault> {
    let made = made();
    let session = Session::served(&made.terms(), vec![reply], made.server());
    let handle = json!({"id": "82de0b04", "nameless": [1]});
    let job = Job { handle, poll_after: Duration::ZERO };
    made.destination.settle(&session, &job, 2).await
}

async fn outcomes(reply: Reply) -> Vec<Outcome> {
    match settled(reply).await {
        Ok(Settlement::Done(receipt)) => receipt.into_outcomes(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_job_is_followed_by_its_id_and_read_by_position() {
    let made = made();
    let two = batch([MARA, IVO].map(|user| made.audience(Call::Identify, user, Change::Entered)));
    let replies = vec![job("82de0b04", "queued", &Value::Null)];
    let session = Session::served(&made.terms(), replies, made.server());
    let submitted = made.destination.deliver(&session, &Remote::default(), &two).await.unwrap();
    let Delivery::Submitted(Job { handle, .. }) = submitted else { panic!("{submitted:?}") };
    assert_eq!(handle, json!({"id": "82de0b04", "nameless": []}));

    for status in ["queued", "working"] {
        let running = settled(job("82de0b04", status, &Value::Null)).await;
        assert!(matches!(running, Ok(Settlement::Running { .. })), "{running:?}");
    }
    let results = json!([
        {"id": 9001, "status": "Updated"},
        {"id": 1, "status": "Failed", "error": "UserUpdateError", "details": "Email: bad@ is not properly formatted"},
    ]);
    let reason = "UserUpdateError: Email: bad@ is not properly formatted".into();
    assert_eq!(
        outcomes(job("82de0b04", "completed", &results)).await,
        [Outcome::Delivered, Outcome::Rejected { reason }]
    );
}

#[tokio::test]
async fn who_leaves_and_would_have_to_be_created_was_never_there() {
    let nameless = |index: usize| {
        json!({"id": index, "status": "Failed", "error": "UserCreateError",
        "details": "Name: is too short (minimum is 1 characters)"})
    };
    let results = json!([nameless(0), nameless(1)]);
    let outcomes = outcomes(job("82de0b04", "completed", &results)).await;
    assert!(matches!(outcomes[0], Outcome::Rejected { .. }), "{outcomes:?}");
    assert_eq!(outcomes[1], Outcome::Delivered);
}

#[tokio::test]
async fn a_job_that_broke_off_or_is_forgotten_leaves_its_users_unsettled() {
    for reply in [
        job("82de0b04", "failed", &Value::Null),
        job("82de0b04", "killed", &json!([{"id": 9001, "status": "Updated"}])),
        Reply::status(404, r#"{"error":"RecordNotFound","description":"Not found"}"#),
    ] {
        let all = outcomes(reply).await;
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|outcome| matches!(outcome, Outcome::Unsettled { .. })), "{all:?}");
    }
}

#[tokio::test]
async fn results_that_do_not_add_up_are_not_believed() {
    let updated = json!({"id": 9001, "status": "Updated"});
    for results in [
        json!(null),
        json!([updated]),
        json!([updated, updated, updated]),
        json!([updated, {"status": "Updated"}]),
        json!([updated, {"id": 2, "status": "Deleted"}]),
        json!([updated, {"id": 0, "status": "Failed", "error": "UserUpdateError"}]),
    ] {
        let told = settled(job("82de0b04", "completed", &results)).await;
        assert!(matches!(told, Err(Fault::Protocol { .. })), "{results}: {told:?}");
    }
    for reply in [job("other", "completed", &json!([])), job("82de0b04", "paused", &Value::Null)] {
        assert!(matches!(settled(reply).await, Err(Fault::Protocol { .. })));
    }
}

#[tokio::test]
async fn an_account_without_bulk_import_is_told_the_way_out() {
    let made = made();
    let session = Session::served(
        &made.terms(),
        vec![Reply::status(403, r#"{"error":"Forbidden"}"#)],
        made.server(),
    );
    let told = made.destination.deliver(&session, &Remote::default(), &made.several()).await;
    assert_snapshot!(told.unwrap_err(), @r#"credentials refused: HTTP 403 Forbidden: {"error":"Forbidden"}; Zendesk enables the import of many users only when the owner of the account asks its support: until then set `bulk = false`"#);
}

/// What comes of single users when their requests are answered so.
async fn one_by_one(replies: Vec<Reply>) -> (Result<Vec<Outcome>, Fault>, usize) {
    let made = with("bulk = false");
    let session = Session::served(&made.terms(), replies, made.server());
    let result = made.destination.deliver(&session, &Remote::default(), &made.several()).await;
    let outcomes = result.map(|delivery| receipt(delivery).into_outcomes());
    (outcomes, session.captured().len())
}

#[tokio::test(start_paused = true)]
async fn one_refused_user_is_rejected_alone_and_a_conflict_is_tried_again() {
    let well = || kept("user", &json!("U_8841"));
    let (outcomes, _) = one_by_one(vec![well(), invalid("email")]).await;
    let outcomes = outcomes.unwrap();
    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Delivered, &Outcome::Delivered));
    assert!(matches!(&outcomes[1], Outcome::Rejected { reason } if reason.contains("BlankValue")));

    let conflict = Reply::status(409, r#"{"error":"DatabaseConflict"}"#);
    let (outcomes, _) = one_by_one(vec![conflict]).await;
    assert_eq!(outcomes, Ok(vec![Outcome::Delivered; 3]));

    let other = kept("user", &json!("somebody"));
    assert!(matches!(one_by_one(vec![other]).await.0, Err(Fault::Protocol { .. })));
    let (outcomes, calls) = one_by_one(vec![well(), Reply::status(401, "{}")]).await;
    let outcomes = outcomes.unwrap();
    assert!(matches!(outcomes[1..], [Outcome::Retry { .. }, Outcome::Retry { .. }]));
    assert_eq!(calls, 2);
}

#[tokio::test(start_paused = true)]
async fn slow_downs_and_used_up_windows_are_waited_for() {
    let alone = || batch([made().audience(Call::Identify, MARA, Change::Entered)]);
    let limited = |remaining, reset, reply: Reply| {
        reply.with_header("ratelimit-remaining", remaining).with_header("ratelimit-reset", reset)
    };
    let well = || kept("user", &json!("u_8841"));
    let too_many =
        Reply::status(429, r#"{"error":"TooManyJobs"}"#).with_header("retry-after", "11");
    for (reply, seconds) in [
        (too_many, 11),
        (limited("0", "13", well()), 13),
        (limited("1", "13", well()), 0),
        (limited("0", "1795166403", well()), 0),
        (Reply::status(503, "").with_header("retry-after", "3"), 3),
    ] {
        let made = made();
        let session = Session::served(&made.terms(), vec![reply], made.server());
        let started = tokio::time::Instant::now();
        for _ in 0..2 {
            let sent = made.destination.deliver(&session, &Remote::default(), &alone()).await;
            assert_eq!(receipt(sent.unwrap()).into_outcomes(), [Outcome::Delivered]);
        }
        assert_eq!(started.elapsed().as_secs(), seconds);
    }
}

#[tokio::test]
async fn an_organization_is_only_created_when_told_to() {
    let made = made();
    let account = |made: &Configured| {
        batch([made.message(Call::Group, ACCOUNT, Change::Changed, &[("seats_used", json!(41))])])
    };
    let fields = || page(&[field("seats_used", "integer")]);
    let said = made.converse(&account(&made), vec![fields(), invalid("name")]).await;
    assert_snapshot!(format!("{:?}", said.outcomes()), @r#"[Rejected { reason: "Zendesk has no organization with this external id: create it there, or set `create_organizations = true`" }]"#);

    let creating = with("create_organizations = true");
    let said = creating.converse(&account(&creating), vec![fields(), invalid("name")]).await;
    assert_snapshot!(said.wire().replace("https://acme.zendesk.com/api/v2", ""), @r#"
    GET /organization_fields?page%5Bsize%5D=100
    POST /organizations/create_or_update {"organization":{"external_id":"acct_310","organization_fields":{"seats_used":41}}}
    POST /organizations/create_or_update {"organization":{"external_id":"acct_310","name":"acct_310","organization_fields":{"seats_used":41}}}
    "#);
    assert_eq!(said.outcomes(), [Outcome::Delivered]);

    let replies = vec![fields(), invalid("name"), invalid("name")];
    let outcomes = creating.converse(&account(&creating), replies).await.outcomes();
    assert!(matches!(outcomes[..], [Outcome::Rejected { .. }]));
    let outcomes =
        made.converse(&account(&made), vec![fields(), invalid("notes")]).await.outcomes();
    assert!(matches!(outcomes[..], [Outcome::Rejected { .. }]));
}

#[tokio::test]
async fn an_event_needs_a_user_who_is_there() {
    let made = made();
    let entered = || batch([made.audience(Call::Track, MARA, Change::Entered)]);
    for users in [json!([]), json!([{"id": 1}, {"id": 2}])] {
        let said = made.converse(&entered(), vec![Reply::json(&json!({"users": users}))]).await;
        assert_eq!(said.captured.len(), 1);
        assert!(matches!(said.outcomes()[..], [Outcome::Rejected { .. }]));
    }
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    for _ in 0..2 {
        made.destination.deliver(&session, &Remote::default(), &entered()).await.unwrap();
    }
    let searches = session.captured().iter().filter(|call| call.method == "GET").count();
    assert_eq!((searches, session.captured().len()), (1, 3));
    let said = made.converse(&entered(), vec![Reply::status(202, "OK")]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_reply_is_lost_is_not_repeated() {
    let made = made();
    let entered = batch([made.audience(Call::Track, ZOE, Change::Entered)]);
    let said = made.converse_after(&entered, 1, Reply::Lost).await;
    assert_eq!(said.captured.len(), 2);
    assert!(matches!(said.result, Err(Fault::Ambiguous { .. })));
}

#[tokio::test]
async fn fields_are_found_on_every_page_or_created() {
    let made = made();
    let wanted = asked(&[
        ("LTV 90d", FieldKind::Number),
        ("city", FieldKind::Text),
        ("tags", FieldKind::Nested),
    ]);
    let first = json!({"user_fields": [field("city", "tagger")],
        "meta": {"has_more": true, "after_cursor": "x+y"}});
    let created = Reply::status(201, json!({"user_field": field("tags", "textarea")}).to_string());
    let replies = vec![Reply::json(&first), page(&[field("ltv_90d", "decimal")]), created];
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = made.destination.open(&session, &wanted).await.unwrap();
    assert_eq!(remote, Remote::default());
    let calls = session.captured();
    let wire = calls.iter().map(|call| {
        let body = String::from_utf8_lossy(&call.body);
        format!("{} {} {body}", call.method, call.url).trim_end().to_owned()
    });
    assert_snapshot!(wire.collect::<Vec<_>>().join("\n"), @r#"
    GET https://acme.zendesk.com/api/v2/user_fields?page%5Bsize%5D=100
    GET https://acme.zendesk.com/api/v2/user_fields?page%5Bsize%5D=100&page%5Bafter%5D=x%2By
    POST https://acme.zendesk.com/api/v2/user_fields {"user_field":{"key":"tags","title":"tags","type":"textarea"}}
    "#);

    let account =
        Target { level: Level::Account, call: Call::Group, ..asked(&[("vip", FieldKind::Bool)]) };
    let replies = vec![Reply::json(&json!({"organization_fields": [field("vip", "checkbox")]}))];
    let session = Session::served(&made.terms(), replies, made.server());
    made.destination.open(&session, &account).await.unwrap();
    assert!(session.captured()[0].url.contains("/organization_fields?"));
    let track = Target { call: Call::Track, ..asked(&[("vip", FieldKind::Bool)]) };
    made.destination.open(&session, &track).await.unwrap();
    assert_eq!(session.captured().len(), 1);
}

async fn refusal(made: &Configured, wanted: &Target, replies: Vec<Reply>) -> String {
    let session = Session::served(&made.terms(), replies, made.server());
    match made.destination.open(&session, wanted).await {
        Err(fault) => fault.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_field_that_cannot_be_used_stops_the_sync() {
    let made = made();
    let new = asked(&[("new", FieldKind::Timestamp)]);
    let city = asked(&[("city", FieldKind::Bool)]);
    let closed = || page(&[json!({"key": "city", "type": "checkbox", "active": false})]);
    let endless = || {
        vec![Reply::json(&json!({"user_fields": [], "next_page": "https://elsewhere.example.org"}))]
    };
    let told = [
        refusal(&with("create_fields = false"), &new, Vec::new()).await,
        refusal(&made, &city, Vec::new()).await,
        refusal(&made, &city, vec![closed()]).await,
        refusal(&made, &new, vec![page(&[]), invalid("key")]).await,
        refusal(&made, &new, endless()).await,
    ];
    assert_snapshot!(told.join("\n"), @r#"
    misconfigured: Zendesk has no user field `new`: create it with the type `text`, or set `create_fields = true`
    misconfigured: Zendesk's field `city` is of type `text`, not `checkbox`: send the column under another alias
    misconfigured: Zendesk's field `city` is deactivated: activate it
    misconfigured: Zendesk refuses to create the field `new`: HTTP 422 Unprocessable Entity: {"description":"Record validation errors","details":{"key":[{"description":"Name: is too short","error":"BlankValue"}]},"error":"RecordInvalid"}
    unreadable reply: the list of `user_fields` does not come to an end
    "#);
    let numbers = asked(&[("2026", FieldKind::Bool), ("y2026", FieldKind::Bool)]);
    assert_snapshot!(made.destination.objections(&numbers).join("\n"), @"`2026` is a number, which Zendesk takes for no key of a field: alias it");
}

#[test]
fn what_proves_who_we_are_must_be_one_thing() {
    let cases = [
        "",
        "subdomain = \"acme.zendesk.com\"\nemail = \"a@b.c\"\napi_token = \"${T}\"",
        "subdomain = \"acme\"\n",
        "subdomain = \"acme\"\napi_token = \"${T}\"",
        "subdomain = \"acme\"\nemail = \"a@b.c\"\naccess_token = \"${T}\"",
        "subdomain = \"acme\"\naccess_token = \"${T}\"\nidentify_by = \"email\"\nsend_email = true",
    ];
    let findings = cases.map(|more| {
        let text = format!("[destinations.z]\ntype = \"zendesk\"\n{more}\n");
        let told = told(&configured(&text).err().unwrap());
        told.split(" (").next().unwrap().to_owned()
    });
    assert_snapshot!(findings.join("\n"), @r#"
    D03 option `subdomain` of destination `z` is missing, and there is no `base_url`
    D03 option `subdomain` of destination `z` is not the first part of an address such as `acme.zendesk.com`
    D03 option `api_token` of destination `z` is missing, and there is no `access_token` instead of it
    D03 option `api_token` of destination `z` needs the `email` that it is used as
    D03 option `access_token` of destination `z` stands instead of `email` and `api_token`
    D03 option `send_email` of destination `z` has no meaning beside `identify_by = "email"`: the email is the identifier
    "#);
}
