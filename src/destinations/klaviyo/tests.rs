//! What Klaviyo is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target};
use crate::destinations::{
    Batch, Configured, Delivery, Fault, Field, FieldKind, Grain, Outcome, Remote, Target,
};
use crate::record::{Call, Change};

/// Records every event and finishes every import at once.
pub(crate) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("klaviyo.com/api").map_or("", |(_, path)| path);
    match (request.method.as_str(), path) {
        ("POST", "/profile-bulk-import-jobs") => submitted(),
        ("POST", _) => Reply::status(202, ""),
        ("GET", path) if path.starts_with("/profile-bulk-import-jobs?") => {
            Reply::json(&json!({"data": []}))
        }
        _ => state("complete", 1, 1, 0),
    }
}

fn submitted() -> Reply {
    let attributes =
        json!({"status": "queued", "created_at": "2026-11-20T09:00:00+00:00", "total_count": 1});
    let job = json!({"data": {"type": "profile-bulk-import-job", "id": "am9i", "attributes": attributes}});
    Reply::status(202, job.to_string())
}

fn state(status: &str, total: u64, completed: u64, failed: u64) -> Reply {
    Reply::json(&json!({"data": {"type": "profile-bulk-import-job", "id": "am9i", "attributes": {
        "status": status, "created_at": "2026-11-20T09:00:00+00:00", "total_count": total,
        "completed_count": completed, "failed_count": failed,
    }}}))
}

fn import_errors(errors: &[(&str, Json)], next: Option<&str>) -> Reply {
    let error = |(pointer, payload): &(&str, Json)| {
        json!({"type": "import-error", "id": "e1", "attributes": {
            "code": "invalid", "title": "Invalid input.", "detail": "Invalid email address",
            "source": {"pointer": pointer}, "original_payload": payload,
        }})
    };
    let errors: Vec<_> = errors.iter().map(error).collect();
    Reply::json(&json!({"data": errors, "links": {"self": "https://a.klaviyo.com/", "next": next}}))
}

fn refusal(pointers: &[&str]) -> Reply {
    let error = |pointer: &&str| {
        json!({"id": "e1", "code": "invalid", "title": "Invalid input.",
            "detail": "Invalid email address", "source": {"pointer": pointer}})
    };
    let errors: Vec<_> = pointers.iter().map(error).collect();
    Reply::status(400, json!({"errors": errors}).to_string())
}

fn made(more: &str) -> Configured {
    configured(&format!("[destinations.k]\ntype = \"klaviyo\"\napi_key = \"${{K}}\"\n{more}"))
        .unwrap()
}

fn three(made: &Configured) -> Batch {
    batch([MARA, IVO, ZOE].map(|user| made.audience(Call::Identify, user, Change::Entered)))
}

/// What becomes of three profiles whose import is answered so.
async fn imported(replies: Vec<Reply>) -> Conversation {
    let made = made("");
    made.converse(&three(&made), replies).await
}

/// One word per outcome.
fn words(outcomes: &[Outcome]) -> String {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Unsettled { .. } => "unsettled",
        Outcome::Retry { .. } => "retry",
    };
    outcomes.iter().map(word).collect::<Vec<_>>().join(" ")
}

async fn shown(made: &Configured) -> String {
    let mut shown = String::new();
    for (kind, batch) in made.batches() {
        let wire = made.converse(&batch, Vec::new()).await.wire();
        let writes = wire.lines().filter(|line| line.starts_with("POST"));
        for write in writes {
            shown.push_str(&format!("{kind} {}\n", write.replace("https://a.klaviyo.com/api", "")));
        }
    }
    shown
}

#[tokio::test(start_paused = true)]
async fn requests() {
    assert_snapshot!(shown(&made("")).await, @r#"
    audience POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"type":"profile","attributes":{"email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind","properties":{"vip":true}}}]}}}}
    computed POST /events {"data":{"type":"event","attributes":{"properties":{"trait_key":"ltv_90d","ltv_90d":812.4},"time":"2026-11-20T09:00:00Z","unique_id":"6d6172612e6c696e64406578616d706c","metric":{"data":{"type":"metric","attributes":{"name":"Trait Computed"}}},"profile":{"data":{"type":"profile","attributes":{"email":"mara.lind@example.org"}}}}}}
    exit POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"type":"profile","attributes":{"email":"ivo@example.org","first_name":"Ivo","last_name":"Ban","properties":{"vip":false}}}]}}}}
    identify POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"type":"profile","attributes":{"email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind","properties":{"ltv_90d":812.4}}}]}}}}
    null POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"type":"profile","attributes":{"email":"ivo@example.org","first_name":"Ivo","last_name":"Ban","properties":{"ltv_90d":null}}}]}}}}
    several POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"type":"profile","attributes":{"email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind","properties":{"ltv_90d":812.4}}},{"type":"profile","attributes":{"email":"ivo@example.org","first_name":"Ivo","last_name":"Ban","properties":{"ltv_90d":7.0}}},{"type":"profile","attributes":{"email":"zoe+shop@example.org","first_name":"Zoë","last_name":"Aksoy","properties":{"ltv_90d":-3.5}}}]}}}}
    track POST /events {"data":{"type":"event","attributes":{"properties":{"audience_key":"vip","vip":true},"time":"2026-11-20T09:00:00Z","unique_id":"6d6172612e6c696e64406578616d706c","metric":{"data":{"type":"metric","attributes":{"name":"Audience Entered"}}},"profile":{"data":{"type":"profile","attributes":{"email":"mara.lind@example.org"}}}}}}
    track exit POST /events {"data":{"type":"event","attributes":{"properties":{"audience_key":"vip","vip":false},"time":"2026-11-20T09:00:00Z","unique_id":"69766f406578616d706c652e6f726700","metric":{"data":{"type":"metric","attributes":{"name":"Audience Exited"}}},"profile":{"data":{"type":"profile","attributes":{"email":"ivo@example.org"}}}}}}
    unicode POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"type":"profile","attributes":{"email":"zoe+shop@example.org","first_name":"Zoë","last_name":"Aksoy","location":{"city":"Zürich 🏪 \"A\" "}}}]}}}}
    "#);
}

#[tokio::test(start_paused = true)]
async fn requests_by_external_id_and_in_bulk() {
    let made = made("identify_by = \"external_id\"\nbulk_events = true\nbackfill = true\n");
    assert_eq!(made.grain, Grain::Subject);
    let shown = shown(&made).await;
    let some: Vec<_> = shown
        .lines()
        .filter(|line| line.starts_with("audience") || line.starts_with("track "))
        .collect();
    assert_snapshot!(some.join("\n"), @r#"
    audience POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"type":"profile","attributes":{"external_id":"u_8841","email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind","properties":{"vip":true}}}]}}}}
    track POST /event-bulk-create-jobs {"data":{"type":"event-bulk-create-job","attributes":{"events-bulk-create":{"data":[{"type":"event-bulk-create","attributes":{"profile":{"data":{"type":"profile","attributes":{"external_id":"u_8841","email":"mara.lind@example.org"}}},"events":{"data":[{"type":"event","attributes":{"properties":{"audience_key":"vip","vip":true},"time":"2026-11-20T09:00:00Z","unique_id":"755f3838343100000000000000000000","backfill":true,"metric":{"data":{"type":"metric","attributes":{"name":"Audience Entered"}}}}}]}}}]}}}}
    track exit POST /event-bulk-create-jobs {"data":{"type":"event-bulk-create-job","attributes":{"events-bulk-create":{"data":[{"type":"event-bulk-create","attributes":{"profile":{"data":{"type":"profile","attributes":{"external_id":"u_8842","email":"ivo@example.org"}}},"events":{"data":[{"type":"event","attributes":{"properties":{"audience_key":"vip","vip":false},"time":"2026-11-20T09:00:00Z","unique_id":"755f3838343200000000000000000000","backfill":true,"metric":{"data":{"type":"metric","attributes":{"name":"Audience Exited"}}}}}]}}}]}}}}
    "#);
    let without = self::made("identify_by = \"external_id\"\nsend_email = false\n");
    assert!(!self::shown(&without).await.contains("example.org"));
}

#[tokio::test(start_paused = true)]
async fn every_request_names_key_and_revision() {
    let made = made("revision = \"2026-10-15\"\n");
    let said = made.converse(&made.several(), Vec::new()).await;
    assert_snapshot!(crate::destinations::fixture::on_the_wire(&said.captured[1]), @r#"
    GET https://a.klaviyo.com/api/profile-bulk-import-jobs/am9i
    authorization: [secret]
    accept: application/vnd.api+json
    revision: 2026-10-15
    x-klaviyo-revision-fall-forward-opt-out: 1
    "#);
    let content_type = said.captured[0].headers.iter().find(|(name, _)| name == "content-type");
    assert_eq!(content_type.unwrap().1, "application/vnd.api+json");
}

#[tokio::test]
async fn what_is_klaviyos_own_is_written_as_text_where_it_belongs() {
    let values = [
        ("first_name", json!(null)),
        ("title", json!(7)),
        ("city", json!("Graz")),
        ("zip", json!(null)),
        ("tier", json!("gold")),
    ];
    let made = made("");
    let message = made.message(Call::Identify, MARA, Change::Changed, &values);
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    made.destination.deliver(&session, &Remote::default(), &batch([message])).await.unwrap();
    let body: Json = serde_json::from_slice(&session.captured()[0].body).unwrap();
    let profile = &body["data"]["attributes"]["profiles"]["data"][0];
    assert_snapshot!(profile, @r#"{"attributes":{"email":"mara.lind@example.org","first_name":null,"last_name":"Lind","location":{"city":"Graz","zip":null},"properties":{"tier":"gold"},"title":"7"},"type":"profile"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_job_is_asked_after_and_its_handle_holds_no_emails() {
    let said = imported(vec![
        submitted(),
        state("queued", 3, 0, 0),
        state("processing", 3, 1, 0),
        state("complete", 3, 3, 0),
    ])
    .await;
    assert_eq!(said.captured.len(), 4);
    assert_eq!(words(&said.outcomes()), "delivered delivered delivered");
    let made = made("");
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let delivery = made.destination.deliver(&session, &Remote::default(), &three(&made)).await;
    let Ok(Delivery::Submitted(job)) = delivery else { panic!("{delivery:?}") };
    assert_snapshot!(job.handle, @r#"{"job":"am9i","marks":["fea464bda052","d80de76a120a","a7165e860eff"]}"#);
}

#[tokio::test(start_paused = true)]
async fn profiles_that_the_errors_name_are_rejected() {
    for (pointer, payload) in [
        ("/data", json!({"email": "IVO@example.org"})),
        ("/data", json!({"type": "profile", "attributes": {"email": "ivo@example.org"}})),
        ("/data/attributes/profiles/data/1/attributes/email", Json::Null),
        // What was sent is believed before where it was sent.
        ("/data/attributes/profiles/data/0", json!({"email": "ivo@example.org"})),
    ] {
        let errors = import_errors(&[(pointer, payload)], None);
        let said = imported(vec![submitted(), state("complete", 3, 2, 1), errors]).await.outcomes();
        let reason = "invalid: Invalid email address".to_owned();
        assert_eq!(said, [Outcome::Delivered, Outcome::Rejected { reason }, Outcome::Delivered]);
    }
}

#[tokio::test(start_paused = true)]
async fn profiles_that_are_counted_but_not_named_are_not_known() {
    let unknown = [
        ("/data", json!({"email": "nobody@example.org"})),
        ("/data/attributes/profiles/data/9", Json::Null),
        ("/data", json!({"properties": {"friend": "ivo@example.org"}})),
    ];
    for error in unknown {
        let replies = vec![submitted(), state("complete", 3, 2, 1), import_errors(&[error], None)];
        assert_eq!(words(&imported(replies).await.outcomes()), "unsettled unsettled unsettled");
    }
    let one = import_errors(&[("/data", json!({"email": "zoe+shop@example.org"}))], None);
    let replies = vec![submitted(), state("complete", 3, 1, 2), one];
    assert_eq!(words(&imported(replies).await.outcomes()), "unsettled unsettled rejected");
    // Neither completed nor failed.
    let replies = vec![submitted(), state("complete", 3, 2, 0), import_errors(&[], None)];
    assert_eq!(words(&imported(replies).await.outcomes()), "unsettled unsettled unsettled");
}

#[tokio::test(start_paused = true)]
async fn errors_are_read_page_by_page() {
    let next = "https://a.klaviyo.com/api/x?page%5Bcursor%5D=b2Zm%3D&page%5Bsize%5D=100";
    let first = || import_errors(&[("/data", json!({"email": "ivo@example.org"}))], Some(next));
    let last = import_errors(&[("/data", json!({"email": "mara.lind@example.org"}))], None);
    let replies = vec![submitted(), state("complete", 3, 1, 2), first(), last];
    let said = imported(replies).await;
    assert_eq!(words(said.result.as_ref().unwrap()), "rejected rejected delivered");
    let pages = said.captured[2..].iter().map(|call| call.url.as_str());
    assert_snapshot!(pages.collect::<Vec<_>>().join("\n"), @r#"
    https://a.klaviyo.com/api/profile-bulk-import-jobs/am9i/import-errors?page%5Bsize%5D=100
    https://a.klaviyo.com/api/profile-bulk-import-jobs/am9i/import-errors?page%5Bsize%5D=100&page%5Bcursor%5D=b2Zm%3D
    "#);
    let replies = vec![submitted(), state("complete", 3, 1, 2), first(), first()];
    assert!(matches!(imported(replies).await.result, Err(Fault::Protocol { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_names_profiles_costs_only_these() {
    let refused = refusal(&["/data/attributes/profiles/data/1/attributes/email"]);
    let again = refusal(&["/data/attributes/profiles/data/0/attributes/email"]);
    let replies = vec![
        refused,
        again,
        submitted(),
        state("complete", 1, 0, 1),
        import_errors(&[("/data/attributes/profiles/data/0", Json::Null)], None),
    ];
    let said = imported(replies).await;
    let sent = |call: &Captured| {
        let body: Json = serde_json::from_slice(&call.body).unwrap();
        let profiles = body["data"]["attributes"]["profiles"]["data"].as_array().unwrap().clone();
        profiles
            .iter()
            .map(|profile| profile["attributes"]["email"].to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let requests: Vec<_> = said.captured[..3].iter().map(sent).collect();
    assert_snapshot!(requests.join("\n"), @r#"
    "mara.lind@example.org" "ivo@example.org" "zoe+shop@example.org"
    "mara.lind@example.org" "zoe+shop@example.org"
    "zoe+shop@example.org"
    "#);
    assert_eq!(words(&said.outcomes()), "rejected rejected rejected");
    let all = ["0", "1", "2"].map(|place| format!("/data/attributes/profiles/data/{place}"));
    let said = imported(vec![refusal(&all.each_ref().map(String::as_str))]).await;
    assert_eq!(said.captured.len(), 1);
    assert_eq!(words(&said.outcomes()), "rejected rejected rejected");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_anything_else_rejects_the_request() {
    for reply in [refusal(&["/data"]), refusal(&[]), Reply::status(413, "too large")] {
        assert!(matches!(imported(vec![reply]).await.result, Err(Fault::Rejected { .. })));
    }
    let beyond = refusal(&["/data/attributes/profiles/data/7"]);
    assert!(matches!(imported(vec![beyond]).await.result, Err(Fault::Protocol { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_import_that_ended_otherwise_leaves_its_profiles_unsettled() {
    for reply in [Reply::status(404, "{}"), state("cancelled", 3, 1, 0)] {
        let said = imported(vec![submitted(), reply]).await.outcomes();
        assert_eq!(words(&said), "unsettled unsettled unsettled");
    }
    let said = imported(vec![submitted(), state("done", 3, 3, 0)]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_used_up_window_is_waited_for() {
    let last =
        submitted().with_header("ratelimit-remaining", "0").with_header("ratelimit-reset", "40");
    let started = tokio::time::Instant::now();
    assert_eq!(words(&imported(vec![last]).await.outcomes()), "delivered delivered delivered");
    assert_eq!(started.elapsed().as_secs(), 40);
    let started = tokio::time::Instant::now();
    let slow = Reply::status(429, "{}").with_header("retry-after", "9");
    assert_eq!(words(&imported(vec![slow]).await.outcomes()), "delivered delivered delivered");
    assert_eq!(started.elapsed().as_secs(), 9);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_refused_is_rejected_alone() {
    let made = made("concurrency = 1\n");
    let events =
        batch([MARA, IVO, ZOE].map(|user| made.audience(Call::Track, user, Change::Entered)));
    let replies = vec![Reply::status(202, ""), refusal(&["/data/attributes/time"])];
    let said = made.converse(&events, replies).await;
    assert!(said.notices.is_empty());
    assert_eq!(said.captured.len(), 3);
    assert_eq!(words(&said.outcomes()), "delivered rejected delivered");
    let said = made.converse(&events, vec![Reply::status(202, "<html>")]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
    let said = made.converse(&events, vec![Reply::status(202, ""), Reply::status(202, "{}")]).await;
    assert_eq!(words(&said.outcomes()), "delivered unsettled retry");
}

#[tokio::test(start_paused = true)]
async fn events_in_bulk_are_noted_as_never_heard_of() {
    let made = made("bulk_events = true\n");
    let events = batch([MARA, IVO].map(|user| made.audience(Call::Track, user, Change::Entered)));
    let said = made.converse(&events, Vec::new()).await;
    assert_eq!(said.captured.len(), 1);
    assert_eq!(said.notices.iter().map(|notice| notice.count).sum::<u64>(), 2);
    let said = made.converse(&events, vec![refusal(&["/data"])]).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
}

#[tokio::test]
async fn a_full_batch_fits_and_what_does_not_is_not_sent() {
    let made = made("");
    let message = |length: usize| {
        let value = json!("\u{1f3ea}".repeat(length));
        made.message(Call::Identify, MARA, Change::Changed, &[("note", value)])
    };
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let remote = Remote::default();
    let full = batch((0..3000).map(|_| message(250)));
    let canonical: usize = full.encoded().unwrap().iter().map(bytes::Bytes::len).sum();
    assert!(canonical < made.spec.batch.bytes && full.len() < made.spec.batch.rows);
    made.destination.deliver(&session, &remote, &full).await.unwrap();
    let body = session.captured().pop().unwrap().body;
    assert!(body.len() < canonical, "{} of {canonical}", body.len());
    let oversized = batch((0..60).map(|_| message(22_000)));
    let fault = made.destination.deliver(&session, &remote, &oversized).await;
    assert!(matches!(fault, Err(Fault::Rejected { .. })));
    assert_eq!(session.captured().len(), 1);
}

#[test]
fn names_that_cannot_be_written_to() {
    let told = |name: &str, call| {
        let fields = vec![Field { name: name.into(), kind: FieldKind::Text }];
        made("").destination.objections(&Target { fields, call, ..target() }).join("")
    };
    assert_eq!(told("city", Call::Identify), "");
    assert_eq!(told("email", Call::Identify), "the field `email` tells profiles apart in Klaviyo");
    assert_eq!(told("$source", Call::Identify), "the field `$source` has a name of Klaviyo's own");
    assert_eq!(told("email", Call::Track), "");
}

#[test]
fn an_email_beside_an_email_has_no_meaning() {
    let text = "[destinations.k]\ntype = \"klaviyo\"\napi_key = \"${K}\"\nsend_email = true\n";
    let findings = configured(text).unwrap_err();
    assert!(findings[0].message.contains("`send_email`"));
}
