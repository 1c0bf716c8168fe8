//! What Klaviyo is sent for a list, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, User, ZOE, batch, configured, target};
use crate::destinations::{Batch, Configured, Delivery, Fault, Outcome, Remote, Target};
use crate::message::Message;
use crate::record::{Call, Change};

/// Has one list, knows everybody, and finishes every import at once.
pub(crate) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("klaviyo.com/api").map_or("", |(_, path)| path);
    match (request.method.as_str(), path) {
        ("GET", path) if path.starts_with("/lists?") => lists(&[("Y6nRLr", "VIP")]),
        ("GET", path) if path.starts_with("/lists/") => {
            Reply::json(&json!({"data": listed("Y6nRLr", "VIP")}))
        }
        ("GET", path) if path.starts_with("/profiles?") => everybody(request),
        ("GET", _) => complete(1, 0),
        ("DELETE", _) => Reply::status(204, ""),
        ("POST", "/lists") => {
            Reply::status(201, json!({"data": listed("Y6nRLr", "VIP")}).to_string())
        }
        _ => submitted(),
    }
}

/// A profile for every identity that a filter asks for.
fn everybody(request: &Captured) -> Reply {
    let url = url::Url::parse(&request.url).unwrap();
    let (_, filter) = url.query_pairs().find(|(name, _)| name == "filter").unwrap();
    let asked = filter.strip_prefix("any(").unwrap().strip_suffix(')').unwrap();
    let (name, asked) = asked.split_once(',').unwrap();
    let asked: Vec<String> = serde_json::from_str(asked).unwrap();
    profiles(name, &asked.iter().map(String::as_str).collect::<Vec<_>>(), None)
}

fn profiles(name: &str, known: &[&str], next: Option<&str>) -> Reply {
    let profile = |identity: &&str| {
        json!({"type": "profile", "id": format!("id-of-{identity}"),
        "attributes": {name: identity}})
    };
    let data: Vec<_> = known.iter().map(profile).collect();
    Reply::json(&json!({"data": data, "links": {"self": "https://a.klaviyo.com/", "next": next}}))
}

fn listed(id: &str, name: &str) -> Json {
    json!({"type": "list", "id": id, "attributes": {"name": name, "opt_in_process": "double_opt_in"}})
}

fn lists(lists: &[(&str, &str)]) -> Reply {
    let lists: Vec<_> = lists.iter().map(|(id, name)| listed(id, name)).collect();
    Reply::json(&json!({"data": lists, "links": {"self": "https://a.klaviyo.com/", "next": null}}))
}

fn submitted() -> Reply {
    let attributes =
        json!({"status": "queued", "created_at": "2026-11-20T09:00:00+00:00", "total_count": 1});
    let job = json!({"data": {"type": "profile-bulk-import-job", "id": "am9i", "attributes": attributes}});
    Reply::status(202, job.to_string())
}

fn complete(completed: u64, failed: u64) -> Reply {
    Reply::json(&json!({"data": {"type": "profile-bulk-import-job", "id": "am9i", "attributes": {
        "status": "complete", "created_at": "2026-11-20T09:00:00+00:00",
        "total_count": completed + failed, "completed_count": completed, "failed_count": failed,
    }}}))
}

fn failed(email: &str) -> Reply {
    let error = json!({"type": "import-error", "id": "e1", "attributes": {
        "code": "invalid", "title": "Invalid input.", "detail": "no such domain",
        "source": {"pointer": "/data"}, "original_payload": {"email": email},
    }});
    Reply::json(&json!({"data": [error], "links": {"self": "https://a.klaviyo.com/"}}))
}

fn refusal(status: u16, pointer: &str) -> Reply {
    let error = json!({"id": "e1", "code": "invalid", "title": "Invalid input.", "detail": "no",
        "source": {"pointer": pointer}});
    Reply::status(status, json!({ "errors": [error] }).to_string())
}

fn made(more: &str) -> Configured {
    configured(&format!("[destinations.k]\ntype = \"klaviyo_lists\"\napi_key = \"${{K}}\"\n{more}"))
        .unwrap()
}

fn entering(made: &Configured, user: User) -> Message {
    made.audience(Call::List, user, Change::Entered)
}

fn leaving(made: &Configured, user: User) -> Message {
    made.audience(Call::List, user, Change::Exited)
}

fn mixed(made: &Configured) -> Batch {
    batch([entering(made, MARA), leaving(made, ZOE), entering(made, IVO)])
}

/// What becomes of two who enter and one who leaves, when all after the list is answered so.
async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = made("");
    let found = lists(&[("Y6nRLr", "VIP")]);
    made.converse(&mixed(&made), [found].into_iter().chain(replies).collect()).await
}

fn words(outcomes: &[Outcome]) -> String {
    let word = |outcome: &Outcome| match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Unsettled { .. } => "unsettled",
        Outcome::Retry { .. } => "retry",
    };
    outcomes.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn wire(said: &Conversation) -> String {
    said.wire().replace("https://a.klaviyo.com/api", "")
}

fn zoe() -> Reply {
    profiles("email", &[ZOE.email], None)
}

#[tokio::test(start_paused = true)]
async fn who_enters_is_imported_and_who_leaves_is_taken_off() {
    let made = made("");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(wire(&said), @r#"
    GET /lists?filter=equals%28name%2C%22VIP%22%29
    GET /profiles?filter=any%28email%2C%5B%22zoe%2Bshop%40example.org%22%5D%29&fields%5Bprofile%5D=email&page%5Bsize%5D=100
    DELETE /lists/Y6nRLr/relationships/profiles {"data":[{"id":"id-of-zoe+shop@example.org","type":"profile"}]}
    POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"attributes":{"email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind"},"type":"profile"},{"attributes":{"email":"ivo@example.org","first_name":"Ivo","last_name":"Ban"},"type":"profile"}]}},"relationships":{"lists":{"data":[{"id":"Y6nRLr","type":"list"}]}}}}
    GET /profile-bulk-import-jobs/am9i
    "#);
    assert_eq!(words(&said.outcomes()), "delivered delivered delivered");
}

#[tokio::test(start_paused = true)]
async fn members_are_told_apart_as_configured() {
    let by_phone = made("match_by = \"phone\"\ncountry = \"AT\"\n");
    let said = by_phone.converse(&mixed(&by_phone), Vec::new()).await;
    let sources: Vec<_> = by_phone.match_fields.iter().map(|field| field.source).collect();
    assert_eq!((sources, by_phone.country.as_deref()), (vec!["phone"], Some("AT")));
    assert_snapshot!(wire(&said), @r#"
    GET /lists?filter=equals%28name%2C%22VIP%22%29
    GET /profiles?filter=any%28phone_number%2C%5B%22%2B436600049380%22%5D%29&fields%5Bprofile%5D=phone_number&page%5Bsize%5D=100
    DELETE /lists/Y6nRLr/relationships/profiles {"data":[{"id":"id-of-+436600049380","type":"profile"}]}
    POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"attributes":{"first_name":"Mara","last_name":"Lind","phone_number":"+436600074070"},"type":"profile"},{"attributes":{"first_name":"Ivo","last_name":"Ban","phone_number":"+436600074070"},"type":"profile"}]}},"relationships":{"lists":{"data":[{"id":"Y6nRLr","type":"list"}]}}}}
    GET /profile-bulk-import-jobs/am9i
    "#);
    let by_id = made("match_by = \"external_id\"\n");
    let member = |id, change| by_id.member(MARA, change, &[("external_id", id)], &[]);
    let both = batch([member("A-1", Change::Entered), member("A-2", Change::Exited)]);
    let said = by_id.converse(&both, Vec::new()).await;
    assert_snapshot!(wire(&said), @r#"
    GET /lists?filter=equals%28name%2C%22VIP%22%29
    GET /profiles?filter=any%28external_id%2C%5B%22A-2%22%5D%29&fields%5Bprofile%5D=external_id&page%5Bsize%5D=100
    DELETE /lists/Y6nRLr/relationships/profiles {"data":[{"id":"id-of-A-2","type":"profile"}]}
    POST /profile-bulk-import-jobs {"data":{"type":"profile-bulk-import-job","attributes":{"profiles":{"data":[{"attributes":{"external_id":"A-1"},"type":"profile"}]}},"relationships":{"lists":{"data":[{"id":"Y6nRLr","type":"list"}]}}}}
    GET /profile-bulk-import-jobs/am9i
    "#);
}

#[tokio::test]
async fn the_handle_knows_who_is_in_the_job_and_holds_no_emails() {
    let made = made("");
    let session = Session::served(&made.terms(), vec![zoe(), refusal(400, "/data")], made.server());
    let remote = Remote(json!({"id": "Y6nRLr"}));
    let delivery = made.destination.deliver(&session, &remote, &mixed(&made)).await;
    let Ok(Delivery::Submitted(job)) = delivery else { panic!("{delivery:?}") };
    assert_snapshot!(job.handle, @r#"{"import":{"job":"am9i","marks":["fea464bda052","d80de76a120a"]},"kept":{"1":"HTTP 400 Bad Request: {\"errors\":[{\"code\":\"invalid\",\"detail\":\"no\",\"id\":\"e1\",\"source\":{\"pointer\":\"/data\"},\"title\":\"Invalid input.\"}]}"},"positions":[0,2]}"#);
}

#[tokio::test(start_paused = true)]
async fn whom_a_refusal_keeps_is_tried_again_and_holds_up_nobody() {
    let said = answered(vec![zoe(), refusal(400, "/data")]).await;
    assert_eq!(words(&said.outcomes()), "delivered retry delivered");
    let made = made("");
    let batch = batch([leaving(&made, ZOE)]);
    let replies = vec![lists(&[("Y6nRLr", "VIP")]), zoe(), refusal(400, "/data")];
    assert_eq!(words(&made.converse(&batch, replies).await.outcomes()), "retry");
}

#[tokio::test(start_paused = true)]
async fn who_is_not_found_is_off_the_list() {
    let said = answered(vec![profiles("email", &[], None)]).await;
    assert!(said.captured.iter().all(|call| call.method != "DELETE"));
    assert_eq!(words(&said.outcomes()), "delivered delivered delivered");
}

#[tokio::test(start_paused = true)]
async fn a_profile_that_nobody_asked_for_is_not_taken_off() {
    let said = answered(vec![profiles("email", &["nobody@example.org"], None)]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
    assert_eq!(said.captured.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_gone_stops_the_sync() {
    let said = answered(vec![zoe(), refusal(404, "/data")]).await;
    assert!(matches!(said.result, Err(Fault::Misconfigured { .. })));
    let said = answered(vec![zoe(), Reply::status(200, "<html>")]).await;
    assert!(matches!(said.result, Err(Fault::Protocol { .. })));
}

#[tokio::test(start_paused = true)]
async fn imports_are_read_profile_by_profile() {
    let gone = || Reply::status(204, "");
    let said = answered(vec![zoe(), gone(), submitted(), complete(1, 1), failed(IVO.email)]).await;
    assert_eq!(words(&said.outcomes()), "delivered delivered rejected");
    let said =
        answered(vec![zoe(), gone(), submitted(), complete(1, 1), failed("x@example.org")]).await;
    assert_eq!(words(&said.outcomes()), "unsettled delivered unsettled");
    let pointers =
        ["/data/attributes/profiles/data/0", "/data/attributes/profiles/data/0/attributes/email"];
    let [first, second] = pointers.map(|pointer| refusal(400, pointer));
    let said = answered(vec![zoe(), gone(), first, second]).await;
    assert_eq!(words(&said.outcomes()), "rejected delivered rejected");
}

#[tokio::test(start_paused = true)]
async fn lookups_keep_to_fifty_and_removals_to_a_thousand() {
    let made = made("");
    let many = batch((0..1100).map(|number| {
        let email: &'static str = Box::leak(format!("m{number}@example.org").into_boxed_str());
        leaving(&made, User { email, ..MARA })
    }));
    let said = made.converse(&many, Vec::new()).await;
    let removals = said.captured.iter().filter(|call| call.method == "DELETE");
    let sizes = removals.map(|call| String::from_utf8_lossy(&call.body).matches("id-of").count());
    assert_eq!(sizes.collect::<Vec<_>>(), [1000, 100]);
    let longest = said.captured.iter().map(|call| call.url.len()).max().unwrap();
    assert!(longest < 4000, "{longest}");
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 1100]);
}

async fn open(list: Option<&str>, replies: Vec<Reply>) -> (Result<Remote, Fault>, String) {
    let made = made("");
    let session = Session::scripted(&made.terms(), replies);
    let target = Target { call: Call::List, list: list.map(Into::into), ..target() };
    let opened = made.destination.open(&session, &target).await;
    let calls = session.captured();
    let calls = calls.iter().map(|call| {
        let body = String::from_utf8_lossy(&call.body).into_owned();
        format!("{} {} {body}", call.method, call.url.replace("https://a.klaviyo.com/api", ""))
    });
    (opened, calls.collect::<Vec<_>>().join("\n"))
}

fn remote(id: &str) -> Result<Remote, Fault> {
    Ok(Remote(json!({ "id": id })))
}

#[tokio::test]
async fn a_list_is_found_by_name_or_id_and_else_created() {
    let (opened, calls) = open(None, vec![lists(&[("Y6nRLr", "VIP")])]).await;
    assert_eq!(opened, remote("Y6nRLr"));
    assert_eq!(calls, "GET /lists?filter=equals%28name%2C%22VIP%22%29 ");
    let by_id = Reply::json(&json!({"data": listed("Y6nRLr", "Gold")}));
    assert_eq!(open(Some("Y6nRLr"), vec![lists(&[]), by_id]).await.0, remote("Y6nRLr"));
    let created = Reply::status(201, json!({"data": listed("Xa9bCd", "\"Gold\"")}).to_string());
    let (opened, calls) = open(Some("\"Gold\""), vec![lists(&[]), created]).await;
    assert_eq!(opened, remote("Xa9bCd"));
    assert_snapshot!(calls, @r#"
    GET /lists?filter=equals%28name%2C%22%5C%22Gold%5C%22%22%29 
    POST /lists {"data":{"attributes":{"name":"\"Gold\""},"type":"list"}}
    "#);
}

#[tokio::test]
async fn a_list_is_never_created_twice() {
    let (opened, calls) = open(None, vec![lists(&[]), Reply::Lost]).await;
    assert!(matches!(opened, Err(Fault::Ambiguous { .. })));
    assert_eq!(calls.lines().count(), 2);
    let stops = [
        (Some("Y6nRLr"), vec![lists(&[]), refusal(404, "/data")]),
        (None, vec![lists(&[]), refusal(400, "/data/attributes/name")]),
        (None, vec![lists(&[("Y6nRLr", "VIP"), ("Xa9bCd", "VIP")])]),
    ];
    for (list, replies) in stops {
        assert!(matches!(open(list, replies).await.0, Err(Fault::Misconfigured { .. })));
    }
}
