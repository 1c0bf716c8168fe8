//! What SendGrid is sent for a list, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, User, ZOE, batch, configured, target};
use crate::destinations::{Batch, Configured, Delivery, Fault, Outcome, Remote, Target};
use crate::record::{Call, Change};

const LIST: &str = "2b7c0d6e-1111-4222-8333-944444444444";
const OTHER: &str = "9f7c0d6e-1111-4222-8333-944444444444";

/// Has one list, on which everybody is, and finishes every job at once.
pub(crate) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("/v3/marketing").map_or("", |(_, path)| path);
    match (request.method.as_str(), path) {
        ("GET", path) if path.starts_with("/contacts/imports/") => done("completed", 0),
        ("GET", path) if path.starts_with("/lists?") || path == "/lists" => lists(&[(LIST, "VIP")]),
        ("GET", _) | ("POST", "/lists") => Reply::json(&json!({"id": LIST, "name": "VIP"})),
        ("POST", _) => {
            let body: Json = serde_json::from_slice(&request.body).unwrap();
            let emails = body["emails"].as_array().unwrap();
            found(&emails.iter().map(|email| (email.as_str().unwrap(), LIST)).collect::<Vec<_>>())
        }
        ("DELETE", _) => Reply::status(202, json!({"job_id": "off1"}).to_string()),
        _ => Reply::status(202, json!({"job_id": "on1"}).to_string()),
    }
}

fn lists(lists: &[(&str, &str)]) -> Reply {
    let list = |(id, name): &(&str, &str)| json!({"id": id, "name": name, "contact_count": 3});
    let lists: Vec<_> = lists.iter().map(list).collect();
    Reply::json(
        &json!({"result": lists, "_metadata": {"self": "https://api.sendgrid.com/", "count": 1}}),
    )
}

/// Contacts by their email, each on one list; an empty one means that there is no such contact.
fn found(contacts: &[(&str, &str)]) -> Reply {
    let answer = |(email, list): &(&str, &str)| {
        let contact = json!({"contact": {"id": format!("id-of-{email}"), "email": email, "list_ids": [list]}});
        let missing = json!({"error": "contact not found"});
        ((*email).to_owned(), if list.is_empty() { missing } else { contact })
    };
    let result: serde_json::Map<String, Json> = contacts.iter().map(answer).collect();
    Reply::json(&json!({ "result": result }))
}

fn done(status: &str, errored: u64) -> Reply {
    Reply::json(
        &json!({"id": "on1", "status": status, "job_type": "upsert", "results": {"errored_count": errored}}),
    )
}

fn errors(status: u16, message: &str) -> Reply {
    Reply::status(status, json!({"errors": [{"message": message}]}).to_string())
}

fn made() -> Configured {
    configured("[destinations.s]\ntype = \"sendgrid_lists\"\napi_key = \"${K}\"\n").unwrap()
}

fn entering(made: &Configured, user: User) -> crate::message::Message {
    made.audience(Call::List, user, Change::Entered)
}

fn leaving(made: &Configured, user: User) -> crate::message::Message {
    made.audience(Call::List, user, Change::Exited)
}

fn mixed(made: &Configured) -> Batch {
    batch([entering(made, MARA), leaving(made, ZOE), entering(made, IVO)])
}

/// What becomes of three who leave, when the requests after the lookup of the list are answered so.
async fn three_leave(replies: Vec<Reply>) -> Conversation {
    let made = made();
    let batch = batch([MARA, IVO, ZOE].map(|user| leaving(&made, user)));
    let replies = [lists(&[(LIST, "VIP")])].into_iter().chain(replies).collect();
    made.converse(&batch, replies).await
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
    said.wire().replace("https://api.sendgrid.com/v3/marketing", "")
}

#[tokio::test(start_paused = true)]
async fn who_enters_is_imported_and_who_leaves_is_taken_off() {
    let made = made();
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(wire(&said), @r#"
    GET /lists?page_size=1000
    POST /contacts/search/emails {"emails":["zoe+shop@example.org"]}
    DELETE /lists/2b7c0d6e-1111-4222-8333-944444444444/contacts?contact_ids=id-of-zoe%2Bshop%40example.org
    PUT /contacts {"list_ids":["2b7c0d6e-1111-4222-8333-944444444444"],"contacts":[{"email":"mara.lind@example.org","first_name":"Mara","last_name":"Lind"},{"email":"ivo@example.org","first_name":"Ivo","last_name":"Ban"}]}
    GET /contacts/imports/off1
    GET /contacts/imports/on1
    "#);
    assert_eq!(words(&said.outcomes()), "delivered delivered delivered");
}

#[tokio::test]
async fn the_handle_knows_who_is_in_which_job_and_holds_no_emails() {
    let made = made();
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let remote = Remote(json!({ "id": LIST }));
    let delivery = made.destination.deliver(&session, &remote, &mixed(&made)).await;
    let Ok(Delivery::Submitted(job)) = delivery else { panic!("{delivery:?}") };
    assert_snapshot!(job.handle, @r#"{"entering":{"import":{"job":"on1","marks":["fea464bda052","d80de76a120a"]},"positions":[0,2]},"leaving":[{"job":"off1","positions":[1]}]}"#);
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_settled_when_all_its_jobs_are() {
    let made = made();
    let replies = || {
        vec![
            lists(&[(LIST, "VIP")]),
            found(&[(ZOE.email, LIST)]),
            Reply::status(202, json!({"job_id": "off1"}).to_string()),
            Reply::status(202, json!({"job_id": "on1"}).to_string()),
        ]
    };
    let jobs = [done("pending", 0), done("completed", 0), done("pending", 0), done("completed", 0)];
    let said = made.converse(&mixed(&made), replies().into_iter().chain(jobs).collect()).await;
    let asked = said.captured.iter().filter(|call| call.url.contains("/imports/"));
    let asked: Vec<_> = asked.map(|call| call.url.rsplit('/').next().unwrap()).collect();
    assert_eq!(asked, ["off1", "off1", "on1", "off1", "on1"]);
    assert_eq!(words(&said.outcomes()), "delivered delivered delivered");
    // Who could not be taken off is tried again, who could not be put on is named by nobody.
    let jobs = [done("errored", 1), done("errored", 1)];
    let said = made.converse(&mixed(&made), replies().into_iter().chain(jobs).collect()).await;
    assert_eq!(words(&said.outcomes()), "unsettled retry unsettled");
    // A removal that cannot be asked after was accepted; an import was not.
    let jobs = [errors(404, "not found"), errors(404, "not found")];
    let said = made.converse(&mixed(&made), replies().into_iter().chain(jobs).collect()).await;
    assert_eq!(words(&said.outcomes()), "unsettled delivered unsettled");
}

#[tokio::test(start_paused = true)]
async fn who_is_no_contact_or_not_on_the_list_is_off_it() {
    let nobody = errors(404, "no contacts found");
    let strangers = found(&[(MARA.email, ""), (IVO.email, OTHER), (ZOE.email, "")]);
    for reply in [nobody, strangers] {
        let said = three_leave(vec![reply]).await;
        assert_eq!(said.captured.len(), 2, "nothing is created or removed");
        assert_eq!(words(&said.outcomes()), "delivered delivered delivered");
    }
    // Somebody else's 404 says nothing of contacts.
    let said = three_leave(vec![Reply::status(404, "<html>")]).await;
    assert!(matches!(said.result, Err(Fault::Misconfigured { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_a_search_does_not_say_is_tried_again() {
    let odd = Reply::json(&json!({"result": {
        MARA.email: {"error": "internal"}, IVO.email: {"error": "contact not found"},
    }}));
    assert_eq!(words(&three_leave(vec![odd]).await.outcomes()), "retry delivered retry");
}

#[tokio::test(start_paused = true)]
async fn one_who_went_meanwhile_holds_up_nobody() {
    let all = || found(&[(MARA.email, LIST), (IVO.email, LIST), (ZOE.email, LIST)]);
    let list = || Reply::json(&json!({"id": LIST, "name": "VIP"}));
    let taken = || Reply::status(202, json!({"job_id": "off1"}).to_string());
    let gone = || errors(404, "not found");
    let said = three_leave(vec![all(), gone(), list(), taken(), gone(), errors(400, "busy")]).await;
    assert_eq!(words(said.result.as_ref().unwrap()), "delivered delivered retry");
    let removals = said.captured.iter().filter(|call| call.method == "DELETE");
    let ids = removals.map(|call| call.url.split_once("contact_ids=").unwrap().1);
    assert_snapshot!(ids.collect::<Vec<_>>().join("\n"), @r#"
    id-of-mara.lind%40example.org%2Cid-of-ivo%40example.org%2Cid-of-zoe%2Bshop%40example.org
    id-of-mara.lind%40example.org
    id-of-ivo%40example.org
    id-of-zoe%2Bshop%40example.org
    "#);
    // The list itself is gone.
    let said = three_leave(vec![all(), gone(), gone()]).await;
    let Err(Fault::Misconfigured { reason }) = said.result else { panic!("{:?}", said.result) };
    assert!(reason.contains(LIST), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn lookups_and_removals_keep_to_a_hundred() {
    let made = made();
    let many = batch((0..250).map(|number| {
        let email: &'static str = Box::leak(format!("m{number}@example.org").into_boxed_str());
        leaving(&made, User { email, ..MARA })
    }));
    let said = made.converse(&many, Vec::new()).await;
    let removals = said.captured.iter().filter(|call| call.method == "DELETE");
    let sizes = removals.map(|call| call.url.matches("id-of").count());
    assert_eq!(sizes.collect::<Vec<_>>(), [100, 100, 50]);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 250]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_import_rejects_the_request() {
    let made = made();
    let batch = batch([entering(&made, MARA), entering(&made, IVO)]);
    let replies = vec![lists(&[(LIST, "VIP")]), errors(400, "email 'x' is not valid")];
    let said = made.converse(&batch, replies).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
}

async fn open(list: Option<&str>, replies: Vec<Reply>) -> (Result<Remote, Fault>, String) {
    let made = made();
    let session = Session::scripted(&made.terms(), replies);
    let target = Target { call: Call::List, list: list.map(Into::into), ..target() };
    let opened = made.destination.open(&session, &target).await;
    let calls = session.captured();
    let calls = calls.iter().map(|call| {
        format!("{} {}", call.method, call.url.replace("https://api.sendgrid.com/v3/marketing", ""))
    });
    (opened, calls.collect::<Vec<_>>().join("\n"))
}

fn remote(id: &str) -> Result<Remote, Fault> {
    Ok(Remote(json!({ "id": id })))
}

#[tokio::test]
async fn a_list_is_found_by_name_on_any_page_or_by_id_and_else_created() {
    let first = Reply::json(&json!({"result": [{"id": OTHER, "name": "Else"}], "_metadata": {
        "next": "https://api.sendgrid.com/v3/marketing/lists?page_size=1000&page_token=abc%3D"}}));
    let (opened, calls) = open(None, vec![first, lists(&[(LIST, "VIP")])]).await;
    assert_eq!(opened, remote(LIST));
    assert_snapshot!(calls, @r#"
    GET /lists?page_size=1000
    GET /lists?page_size=1000&page_token=abc%3D
    "#);
    let (opened, calls) = open(Some(LIST), vec![Reply::json(&json!({"id": LIST}))]).await;
    assert_eq!((opened, calls), (remote(LIST), format!("GET /lists/{LIST}")));
    let created = Reply::status(201, json!({"id": OTHER, "name": "Gold"}).to_string());
    let (opened, calls) = open(Some("Gold"), vec![lists(&[(LIST, "VIP")]), created]).await;
    assert_eq!(opened, remote(OTHER));
    assert_snapshot!(calls, @r#"
    GET /lists?page_size=1000
    POST /lists
    "#);
}

#[tokio::test]
async fn a_list_is_never_created_twice() {
    let replies =
        vec![lists(&[]), errors(400, "list name already exists"), lists(&[(LIST, "VIP")])];
    assert_eq!(open(None, replies).await.0, remote(LIST));
    let replies = vec![lists(&[]), errors(400, "too many lists"), lists(&[])];
    assert!(matches!(open(None, replies).await.0, Err(Fault::Misconfigured { .. })));
    let (opened, calls) = open(None, vec![lists(&[]), Reply::Lost]).await;
    assert!(matches!(opened, Err(Fault::Ambiguous { .. })));
    assert_eq!(calls.lines().count(), 2);
    let (opened, _) = open(Some(LIST), vec![errors(404, "not found")]).await;
    assert!(matches!(opened, Err(Fault::Misconfigured { .. })));
    let (opened, _) = open(None, vec![lists(&[(LIST, "VIP"), (OTHER, "VIP")])]).await;
    assert!(matches!(opened, Err(Fault::Misconfigured { .. })));
}

#[test]
fn a_name_that_is_too_long_is_no_lists() {
    let told =
        |list: &str| made().destination.objections(&Target { list: Some(list.into()), ..target() });
    assert_eq!(told("VIP"), [""; 0]);
    assert_eq!(told(&"x".repeat(101)).len(), 1);
}
