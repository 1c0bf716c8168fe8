//! What Mailchimp is sent about its segments, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, target_with, told,
};
use crate::destinations::mailchimp_api::contact_id;
use crate::destinations::{Batch, Configured, Delivery, Fault, Outcome, Remote, Target};
use crate::record::{Call, Change};

/// Knows the segment of the fixtures' model, and does what it is asked.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.url.split_once("/lists/a1b2c3d4e5").map_or("", |(_, path)| path);
    let path = path.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "/segments") => segments(&[(991, "VIP")]),
        ("POST", "/segments") => {
            Reply::json(&json!({"id": 992, "name": body["name"], "type": "static"}))
        }
        ("POST", "") => created(&[]),
        ("POST", _) => changed(&body["members_to_add"], &body["members_to_remove"], &json!([])),
        _ => Reply::json(&json!({"id": "a1b2c3d4e5", "name": "Shop"})),
    }
}

fn segments(segments: &[(u64, &str)]) -> Reply {
    let shown = |(id, name): &(u64, &str)| json!({"id": id, "name": name, "type": "static"});
    let shown: Vec<Json> = segments.iter().map(shown).collect();
    Reply::json(&json!({"segments": shown, "list_id": "a1b2c3d4e5", "total_items": shown.len()}))
}

/// Contacts that are there already, and others that are refused.
fn created(errors: &[(&str, &str)]) -> Reply {
    let error = |(email, code): &(&str, &str)| json!({"email_address": email, "error": "address looks invalid", "error_code": code});
    let errors: Vec<Json> = errors.iter().map(error).collect();
    Reply::json(&json!({"new_members": [], "updated_members": [], "errors": errors,
        "total_created": 0, "total_updated": 0, "error_count": errors.len()}))
}

fn changed(added: &Json, removed: &Json, errors: &Json) -> Reply {
    let members = |emails: &Json| -> Vec<Json> {
        let emails = emails.as_array().into_iter().flatten();
        emails.map(|email| json!({"id": "x", "email_address": email})).collect()
    };
    Reply::json(&json!({"members_added": members(added), "members_removed": members(removed),
        "errors": errors, "total_added": 0, "total_removed": 0, "error_count": 0}))
}

fn contact(user: User, segments: &[u64], count: usize) -> Reply {
    let tags: Vec<Json> = segments.iter().map(|id| json!({"id": id, "name": "VIP"})).collect();
    Reply::json(&json!({"id": contact_id(user.email), "tags_count": count, "tags": tags}))
}

fn problem(status: u16, title: &str) -> Reply {
    let body = json!({"type": "https://mailchimp.com/developer/marketing/docs/errors/",
        "title": title, "status": status, "detail": "because", "instance": "i"});
    Reply::status(status, body.to_string())
}

fn made(more: &str) -> Configured {
    let text = format!(
        "[destinations.m]\ntype = \"mailchimp_list\"\napi_key = \"${{KEY}}\"\nserver = \"us20\"\n\
         audience_id = \"a1b2c3d4e5\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = made("");
    made.converse(&mixed(&made), [vec![segments(&[(991, "VIP")])], replies].concat()).await
}

fn wire(said: &Conversation) -> String {
    said.wire().replace("https://us20.api.mailchimp.com/3.0/lists/a1b2c3d4e5", "")
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: reason.into() }
}

#[tokio::test]
async fn contacts_are_there_before_a_batch_adds_and_takes_off() {
    assert_snapshot!(wire(&answered(Vec::new()).await), @r#"
    GET /segments?type=static&count=1000&offset=0
    POST ?skip_merge_validation=true&skip_duplicate_check=true {"members":[{"email_address":"ivo@example.org","status":"transactional"},{"email_address":"mara.lind@example.org","status":"transactional"}],"update_existing":false}
    POST /segments/991 {"members_to_add":["ivo@example.org","mara.lind@example.org"],"members_to_remove":["zoe+shop@example.org"]}
    "#);
    let made = made("create_contacts = false\n");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(wire(&said), @r#"
    GET /segments?type=static&count=1000&offset=0
    POST /segments/991 {"members_to_add":["ivo@example.org","mara.lind@example.org"],"members_to_remove":["zoe+shop@example.org"]}
    "#);
}

#[tokio::test]
async fn nobody_is_ever_subscribed_or_updated() {
    let made = made("");
    for (name, batch) in made.batches() {
        for request in made.converse(&batch, Vec::new()).await.captured {
            let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
            for member in body["members"].as_array().into_iter().flatten() {
                assert_eq!(member["status"], "transactional", "{name}");
                assert_eq!(body["update_existing"], false, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn who_cannot_be_a_contact_is_not_added() {
    let errors = [("Ivo@example.org", "ERROR_GENERIC"), (MARA.email, "ERROR_CONTACT_EXISTS")];
    let said = answered(vec![created(&errors)]).await;
    assert_snapshot!(wire(&said).lines().last().unwrap(), @r#"POST /segments/991 {"members_to_add":["mara.lind@example.org"],"members_to_remove":["zoe+shop@example.org"]}"#);
    assert_eq!(
        said.outcomes(),
        [Outcome::Delivered, Outcome::Delivered, rejected("address looks invalid")]
    );
}

#[tokio::test]
async fn whoever_a_reply_does_not_name_is_looked_up() {
    let silent = || vec![created(&[]), changed(&json!([]), &json!([]), &json!([]))];
    // In the order of addresses, those who enter first.
    let well = vec![contact(IVO, &[7, 991], 2), contact(MARA, &[991], 1), contact(ZOE, &[7], 1)];
    let said = answered([silent(), well].concat()).await;
    assert_snapshot!(wire(&said).lines().skip(3).collect::<Vec<_>>().join("\n"), @r#"
    GET /members/c656bdf67d1c84fe78ef75a734743ff1?fields=id%2Ctags_count%2Ctags
    GET /members/c867ddc5131a31b969a714961f33877c?fields=id%2Ctags_count%2Ctags
    GET /members/8e7e3998d5b502570800d2ca907c0871?fields=id%2Ctags_count%2Ctags
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);

    let unknown = || problem(404, "Resource Not Found");
    let said =
        answered([silent(), vec![unknown(), contact(MARA, &[], 0), unknown()]].concat()).await;
    let ignored = rejected("Mailchimp ignores it: it is no contact of the audience");
    assert_eq!(said.outcomes(), [ignored.clone(), Outcome::Delivered, ignored.clone()]);

    let part = vec![contact(IVO, &[991], 60), contact(MARA, &[7], 60), contact(ZOE, &[991], 1)];
    let said = answered([silent(), part].concat()).await;
    let reason = "Mailchimp does not show all segments of this contact".into();
    let left = Outcome::Retry { after: None, reason: "Mailchimp leaves it in the segment".into() };
    assert_eq!(said.outcomes(), [Outcome::Unsettled { reason }, left, Outcome::Delivered]);
}

#[tokio::test]
async fn a_complaint_is_the_reason_of_who_is_not_there() {
    let errors =
        json!([{"email_addresses": ["IVO@example.org", ZOE.email], "error": "no such contact"}]);
    let replies = vec![
        created(&[]),
        changed(&json!([MARA.email]), &json!([]), &errors),
        contact(IVO, &[], 0),
        contact(ZOE, &[], 0),
    ];
    let said = answered(replies).await;
    assert_eq!(
        said.outcomes(),
        [Outcome::Delivered, Outcome::Delivered, rejected("no such contact")]
    );
}

#[tokio::test]
async fn addresses_that_were_not_sent_are_not_believed() {
    let eve = json!(["eve@example.org"]);
    let complaint = json!([{"email_addresses": eve, "error": "no"}]);
    let none = json!([]);
    for replies in [
        vec![created(&[("eve@example.org", "ERROR_GENERIC")])],
        vec![created(&[]), changed(&eve, &none, &none)],
        // Who enters was not taken off.
        vec![created(&[]), changed(&none, &json!([MARA.email]), &none)],
        vec![created(&[]), changed(&none, &none, &complaint)],
        vec![created(&[]), changed(&none, &none, &none), contact(ZOE, &[991], 1)],
    ] {
        let said = answered(replies).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{:?}", said.result);
    }
}

/// A segment of so many contacts, which names nobody whom it is told to add.
fn silent(request: &Captured, count: usize) -> Reply {
    match (request.method.as_str(), request.url.contains("/segments/991")) {
        ("GET" | "PATCH", true) => {
            Reply::json(&json!({"id": 991, "name": "VIP", "member_count": count}))
        }
        ("POST", true) => changed(&json!([]), &json!([]), &json!([])),
        _ => server(request),
    }
}

async fn replaced(users: &[User], server: fn(&Captured) -> Reply) -> String {
    let made = made("");
    let session = Session::served(&made.terms(), Vec::new(), server);
    let started = chrono::DateTime::from_timestamp(1_795_165_200, 0).unwrap();
    let (here, list) = (&made.destination, Remote(json!({"id": 991})));
    let list = here.begin_replacing(&session, &list, started).await.unwrap();
    for user in users {
        let one = batch([made.audience(Call::List, *user, Change::Entered)]);
        let Ok(Delivery::Settled(receipt)) = here.deliver(&session, &list, &one).await else {
            panic!("a batch is settled at once")
        };
        assert_eq!(receipt.outcomes(), [Outcome::Delivered]);
    }
    here.finish_replacing(&session, &list).await.unwrap();
    let line = |request: &Captured| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        format!("{} {} {body}", request.method, request.url).trim_end().to_owned()
    };
    let shown: Vec<String> = session.captured().iter().map(line).collect();
    shown.join("\n").replace("https://us20.api.mailchimp.com/3.0/lists/a1b2c3d4e5", "")
}

#[tokio::test]
async fn a_replacement_sets_all_members_at_its_end() {
    assert_snapshot!(replaced(&[MARA, IVO], |one| silent(one, 2)).await, @r#"
    POST ?skip_merge_validation=true&skip_duplicate_check=true {"members":[{"email_address":"mara.lind@example.org","status":"transactional"}],"update_existing":false}
    POST /segments/991 {"members_to_add":["mara.lind@example.org"],"members_to_remove":[]}
    POST ?skip_merge_validation=true&skip_duplicate_check=true {"members":[{"email_address":"ivo@example.org","status":"transactional"}],"update_existing":false}
    POST /segments/991 {"members_to_add":["ivo@example.org"],"members_to_remove":[]}
    GET /segments/991?include_cleaned=true&include_transactional=true&include_unsubscribed=true
    PATCH /segments/991 {"name":"VIP","static_segment":["ivo@example.org","mara.lind@example.org"]}
    GET /segments/991?include_cleaned=true&include_transactional=true&include_unsubscribed=true
    "#);
    // Nobody is on the list any more.
    let nobody = replaced(&[], |one| silent(one, 2)).await;
    assert!(
        nobody.contains(r#"PATCH /segments/991 {"name":"VIP","static_segment":[]}"#),
        "{nobody}"
    );
}

#[tokio::test]
async fn whom_a_replacement_leaves_out_is_added_once_more() {
    let shown = replaced(&[MARA, IVO], |one| silent(one, 1)).await;
    let last = shown.lines().last().unwrap();
    assert_eq!(
        last,
        r#"POST /segments/991 {"members_to_add":["ivo@example.org","mara.lind@example.org"],"members_to_remove":[]}"#
    );
}

#[tokio::test(start_paused = true)]
async fn what_only_passes_by_is_waited_for() {
    for reply in [Reply::status(429, ""), Reply::status(403, ""), Reply::status(404, "")] {
        let started = tokio::time::Instant::now();
        let said = answered(vec![reply]).await;
        assert!(!started.elapsed().is_zero());
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    }
}

async fn opened(list: Option<&str>, replies: Vec<Reply>) -> (Result<Json, Fault>, Vec<String>) {
    let made = made("");
    let session = Session::served(&made.terms(), replies, server);
    let target = Target { call: Call::List, list: list.map(Into::into), ..target() };
    let remote = made.destination.open(&session, &target).await.map(|remote| remote.0);
    let calls = session.captured();
    let shown = calls.iter().map(|call| {
        let (_, path) = call.url.split_once("/lists/a1b2c3d4e5").unwrap();
        format!("{} {path} {}", call.method, String::from_utf8_lossy(&call.body))
    });
    (remote, shown.collect())
}

#[tokio::test]
async fn a_segment_is_found_or_created_once() {
    let (remote, calls) = opened(None, Vec::new()).await;
    assert_eq!(remote, Ok(json!({"id": 991})));
    assert_eq!(calls, ["GET /segments?type=static&count=1000&offset=0 "]);
    let by_id = vec![segments(&[(991, "other"), (7, "991")])];
    assert_eq!(opened(Some("991"), by_id).await.0, Ok(json!({"id": 991})));
    let (remote, calls) = opened(Some("new"), vec![segments(&[])]).await;
    assert_eq!(remote, Ok(json!({"id": 992})));
    assert_eq!(calls[1], "POST /segments {\"name\":\"new\",\"static_segment\":[]}");

    let first = json!({"segments": [{"id": 1, "name": "a", "type": "static"}], "total_items": 2});
    let (remote, calls) = opened(None, vec![Reply::json(&first)]).await;
    assert_eq!(remote, Ok(json!({"id": 991})));
    assert!(calls[1].ends_with("&offset=1 "), "{calls:?}");

    let made = made("");
    let session = Session::served(&made.terms(), Vec::new(), server);
    let known = target_with(json!({"id": 991}));
    assert_eq!(made.destination.open(&session, &known).await, Ok(Remote(json!({"id": 991}))));
    assert_eq!(session.captured().len(), 0);
}

#[tokio::test]
async fn a_segment_that_cannot_be_meant_is_told() {
    let reason = |opened: (Result<Json, Fault>, Vec<String>)| match opened.0 {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let several = opened(None, vec![segments(&[(1, "VIP"), (2, "VIP")])]).await;
    let missing = opened(Some("993"), Vec::new()).await;
    let refused = opened(None, vec![segments(&[]), problem(400, "Invalid Resource")]).await;
    assert_snapshot!([several, missing, refused].map(reason).join("\n"), @r#"
    there are several lists named `VIP` (1, 2); write the id of the one that is meant as the sync's `list`
    the list `993` cannot be used: the audience has no such static segment
    Mailchimp refuses to create the segment `VIP`: HTTP 400 Bad Request: {"detail":"because","instance":"i","status":400,"title":"Invalid Resource","type":"https://mailchimp.com/developer/marketing/docs/errors/"}
    "#);
}

#[tokio::test]
async fn a_segment_is_never_created_twice_for_a_lost_reply() {
    let (lost, calls) = opened(Some("new"), vec![segments(&[]), Reply::Lost]).await;
    assert!(matches!(lost, Err(Fault::Ambiguous { .. })));
    assert_eq!(calls.len(), 2);
}
