//! What Marketo's static lists are sent, and what their replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, receipt, target, told,
};
use crate::destinations::{
    Batch, Configured, Delivery, Fault, Job, Outcome, Remote, Settlement, Target,
};
use crate::record::{Call, Change};

/// Has the list `VIP`, knows everybody, and does what it is told.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("mktorest.com").map_or("", |(_, path)| path);
    let sent = || serde_json::from_slice::<Json>(&request.body).unwrap_or_default();
    let rows = |status: &str| -> Json {
        let input = sent()["input"].as_array().cloned().unwrap_or_default();
        let row = |(place, row): (usize, &Json)| json!({"id": row["id"].as_u64().unwrap_or(50 + place as u64), "status": status});
        input.iter().enumerate().map(row).collect()
    };
    match (request.method.as_str(), path.split('?').next().unwrap_or_default()) {
        ("GET", "/identity/oauth/token") => token("hush-1"),
        ("GET", "/rest/v1/lists.json") => said(&json!([list(77, "VIP")])),
        ("GET", "/rest/v1/leads.json") => said(&json!([
            person(60, "zoe+shop@example.org"),
            person(61, "ZOE+shop@example.org"),
            person(62, "ivo@example.org"),
        ])),
        ("POST", "/rest/v1/leads.json") => said(&rows("updated")),
        ("POST", "/rest/v1/lists/77/leads.json") => said(&rows("added")),
        ("DELETE", "/rest/v1/lists/77/leads.json") => said(&rows("removed")),
        ("POST", "/bulk/v1/leads.json") => {
            said(&json!([{"batchId": 1021, "importId": "1021", "status": "Queued"}]))
        }
        ("GET", "/bulk/v1/leads/batch/1021.json") => imported("Complete", 0),
        ("POST", "/rest/asset/v1/staticLists.json") => said(&json!([list(1027, "VIP")])),
        _ => said(&json!([])),
    }
}

fn imported(status: &str, failed: u64) -> Reply {
    said(&json!([{"batchId": 1021, "status": status, "numOfLeadsProcessed": 301,
        "numOfRowsFailed": failed, "numOfRowsWithWarning": 0, "message": "Import completed"}]))
}

fn token(secret: &str) -> Reply {
    Reply::json(&json!({"access_token": secret, "token_type": "bearer", "expires_in": 3599}))
}

fn list(id: u64, name: &str) -> Json {
    json!({"id": id, "name": name, "createdAt": "2026-01-01T00:00:00Z", "workspaceName": "Default"})
}

fn person(id: u64, email: &str) -> Json {
    json!({"id": id, "email": email})
}

fn said(result: &Json) -> Reply {
    Reply::json(&json!({"requestId": "e42b#1", "success": true, "result": result}))
}

fn error(code: &str, message: &str) -> Reply {
    let errors = json!([{"code": code, "message": message}]);
    Reply::json(&json!({"requestId": "e42b#1", "success": false, "errors": errors}))
}

fn skipped(id: u64, code: &str) -> Json {
    json!({"id": id, "status": "skipped", "reasons": [{"code": code, "message": "no"}]})
}

fn lists(more: &str) -> Configured {
    let text = format!(
        "[destinations.m]\ntype = \"marketo_static_lists\"\nmunchkin_id = \"123-ABC-456\"\nclient_id = \"muster\"\nclient_secret = \"${{S}}\"\n{more}"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn three(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

async fn delivered(made: &Configured, batch: &Batch, replies: Vec<Reply>) -> Conversation {
    let replies = std::iter::once(token("hush-1")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = Remote(json!({"id": "77"}));
    let delivery = made.destination.deliver(&session, &remote, batch).await;
    let result = delivery.map(|delivery| receipt(delivery).into_outcomes());
    Conversation { result, notices: Vec::new(), remote, captured: session.captured() }
}

fn short(wire: &str) -> String {
    let lines = wire.lines().filter(|line| !line.contains("/identity/"));
    let lines: Vec<_> =
        lines.map(|line| line.replace("https://123-abc-456.mktorest.com/rest", "")).collect();
    lines.join("\n")
}

#[tokio::test]
async fn members_enter_by_their_ids_and_leave_by_all_ids_of_their_email() {
    let made = lists("partition = \"EMEA\"\n");
    let said = made.converse(&three(&made), Vec::new()).await;
    assert_snapshot!(short(&said.wire()), @r#"
    GET /v1/lists.json?name=VIP
    GET /v1/leads.json?filterType=email&filterValues=zoe%2Bshop%40example.org&fields=id%2Cemail
    DELETE /v1/lists/77/leads.json {"input":[{"id":60},{"id":61}]}
    POST /v1/leads.json {"action":"createOrUpdate","input":[{"email":"mara.lind@example.org"},{"email":"ivo@example.org"}],"lookupField":"email","partitionName":"EMEA"}
    POST /v1/lists/77/leads.json {"input":[{"id":50},{"id":51}]}
    "#);
    assert_eq!(said.remote, Remote(json!({"id": "77"})));
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

/// 301 who enter, the second of them Ivo and the others Mara by many names, and Zoe who leaves.
fn many(made: &Configured) -> Batch {
    let entering = (0..300).map(|number| {
        let email: &'static str = String::leak(format!("mara{number}@example.org"));
        made.audience(Call::List, User { email, ..MARA }, Change::Entered)
    });
    let mut messages: Vec<_> = entering.collect();
    messages.insert(1, made.audience(Call::List, IVO, Change::Entered));
    messages.insert(0, made.audience(Call::List, ZOE, Change::Exited));
    batch(messages)
}

/// What comes of many who enter, and what the import's handle holds.
async fn imported_as(replies: Vec<Reply>) -> (Result<Vec<Outcome>, Fault>, Vec<Captured>) {
    let made = lists("partition = \"EMEA\"\n");
    let batch = many(&made);
    let replies = std::iter::once(token("hush-1")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = Remote(json!({"id": "77"}));
    let job = match made.destination.deliver(&session, &remote, &batch).await {
        Ok(Delivery::Submitted(job)) => job,
        other => panic!("{other:?}"),
    };
    let kept = serde_json::to_string(&job).unwrap();
    assert!(!kept.contains("example.org"), "a value is journaled: {kept}");
    let job: Job = serde_json::from_str(&kept).unwrap();
    loop {
        match made.destination.settle(&session, &job, batch.len()).await {
            Ok(Settlement::Running { .. }) => {}
            Ok(Settlement::Done(receipt)) => {
                return (Ok(receipt.into_outcomes()), session.captured());
            }
            Err(fault) => return (Err(fault), session.captured()),
        }
    }
}

/// Nobody is found who leaves; the import is accepted.
fn begun() -> Vec<Reply> {
    vec![said(&json!([])), said(&json!([{"batchId": 1021, "status": "Queued"}]))]
}

#[tokio::test]
async fn many_are_imported_as_a_file() {
    let waiting = [imported("Queued", 0), imported("Importing", 0)];
    let (outcomes, calls) = imported_as([begun(), waiting.to_vec()].concat()).await;
    assert_eq!(outcomes, Ok(vec![Outcome::Delivered; 302]));
    let import = calls.iter().find(|call| call.url.contains("/bulk/v1/leads.json")).unwrap();
    let (_, query) = import.url.split_once('?').unwrap();
    assert_eq!(query, "format=csv&lookupField=email&listId=77&partitionName=EMEA");
    let body = String::from_utf8_lossy(&import.body);
    assert!(body.contains("\r\n\r\nemail\nmara0@example.org\nivo@example.org\nmara1@"), "{body}");
    let made = lists("batch_size = 300\n");
    assert_eq!(made.common.batch_size, Some(300));
}

#[tokio::test]
async fn rows_of_an_import_that_failed_are_known_by_their_email() {
    let file = "email,Import Failure Reason\nIVO@example.org,Invalid email\n";
    let reply =
        |failed| [begun(), vec![imported("Complete", failed), Reply::status(200, file)]].concat();
    let (outcomes, _) = imported_as(reply(1)).await;
    let outcomes = outcomes.unwrap();
    assert_eq!(outcomes[2], Outcome::Rejected { reason: "Invalid email".into() });
    assert!(
        [&outcomes[..2], &outcomes[3..]].concat().iter().all(|other| *other == Outcome::Delivered)
    );
    let (outcomes, _) = imported_as(reply(2)).await;
    let outcomes = outcomes.unwrap();
    // Who left is not in the import.
    assert_eq!(outcomes[0], Outcome::Delivered);
    assert!(matches!(outcomes[1], Outcome::Unsettled { .. }));
    assert!(matches!(outcomes[2], Outcome::Rejected { .. }));
    let refused = [begun(), vec![imported("Complete", 1), error("603", "Access denied")]].concat();
    assert!(matches!(imported_as(refused).await.0, Err(Fault::Denied { .. })));
}

#[tokio::test(start_paused = true)]
async fn an_import_that_failed_is_begun_again_and_a_full_queue_is_waited_for() {
    let (outcomes, _) = imported_as([begun(), vec![imported("Failed", 0)]].concat()).await;
    let outcomes = outcomes.unwrap();
    assert_eq!(outcomes[0], Outcome::Delivered);
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, Outcome::Retry { .. })));
    let gone = [begun(), vec![error("1013", "Batch not found")]].concat();
    let outcomes = imported_as(gone).await.0.unwrap();
    assert!(outcomes[1..].iter().all(|outcome| matches!(outcome, Outcome::Unsettled { .. })));
    let odd = [begun(), vec![imported("Dreaming", 0)]].concat();
    assert!(matches!(imported_as(odd).await.0, Err(Fault::Protocol { .. })));
    let full = vec![
        said(&json!([])),
        error("1016", "Too many imports"),
        error("1019", "Import in progress"),
    ];
    let started = tokio::time::Instant::now();
    assert_eq!(imported_as(full).await.0, Ok(vec![Outcome::Delivered; 302]));
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn who_is_refused_is_known_by_position_and_id() {
    let made = lists("");
    let several = made.several();
    let people =
        json!([person(9, ""), {"id": 7, "status": "created"}, {"id": 8, "status": "updated"}]);
    let mut people = people;
    people[0] = json!({"status": "skipped", "reasons": [{"code": "1007", "message": "Multiple leads match"}]});
    // In another order than they were sent.
    let rows = json!([{"id": 8, "status": "added"}, skipped(7, "1004")]);
    let outcomes = delivered(&made, &several, vec![said(&people), said(&rows)]).await.outcomes();
    let multiple = Outcome::Rejected { reason: "1007 Multiple leads match".into() };
    let gone = Outcome::Retry { after: None, reason: "1004 no".into() };
    assert_eq!(outcomes, [multiple, gone, Outcome::Delivered]);
}

#[tokio::test]
async fn who_is_not_found_or_not_on_the_list_has_left() {
    let made = lists("");
    let leaving =
        batch([MARA, IVO, ZOE].map(|user| made.audience(Call::List, user, Change::Exited)));
    let found = json!([person(7, "mara.lind@example.org"), person(8, "ivo@example.org")]);
    let rows = json!([skipped(7, "1015"), skipped(8, "1004")]);
    let replies = vec![said(&found), said(&rows)];
    let said_of = delivered(&made, &leaving, replies).await;
    assert_eq!(said_of.outcomes(), vec![Outcome::Delivered; 3]);
    let rows = json!([skipped(7, "1022"), {"id": 8, "status": "removed"}]);
    let outcomes = delivered(&made, &leaving, vec![said(&found), said(&rows)]).await.outcomes();
    assert!(matches!(outcomes[0], Outcome::Retry { .. }));
    assert_eq!(outcomes[1..], [Outcome::Delivered, Outcome::Delivered]);
    let nobody = delivered(&made, &leaving, vec![said(&json!([]))]).await;
    assert_eq!(nobody.captured.len(), 2, "somebody was taken off, or created");
    assert_eq!(nobody.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn what_is_not_said_of_everybody_is_not_believed() {
    let made = lists("");
    let several = made.several();
    let people = || json!([{"id": 7, "status": "created"}, {"id": 8, "status": "updated"}, {"id": 9, "status": "updated"}]);
    let added = |ids: &[u64]| -> Json {
        ids.iter().map(|id| json!({"id": id, "status": "added"})).collect()
    };
    for replies in [
        vec![said(&json!([{"id": 7, "status": "created"}]))],
        vec![said(
            &json!([{"status": "created"}, {"id": 8, "status": "updated"}, {"id": 9, "status": "updated"}]),
        )],
        vec![said(&people()), said(&added(&[7, 8]))],
        vec![said(&people()), said(&added(&[7, 8, 10]))],
        vec![said(&people()), said(&json!([{"status": "added"}]))],
    ] {
        let result = delivered(&made, &several, replies).await.result;
        assert!(matches!(result, Err(Fault::Protocol { .. })), "{result:?}");
    }
    let gone = vec![said(&people()), error("1013", "List not found")];
    let result = delivered(&made, &several, gone).await.result;
    assert!(matches!(result, Err(Fault::Misconfigured { .. })), "{result:?}");
}

#[tokio::test]
async fn a_large_batch_is_looked_up_in_addresses_of_8_kilobytes() {
    let made = lists("");
    let leaving = batch((0..300).map(|_| made.audience(Call::List, MARA, Change::Exited)));
    let said = delivered(&made, &leaving, Vec::new()).await;
    let lookups: Vec<_> =
        said.captured.iter().filter(|call| call.url.contains("filterValues")).collect();
    assert_eq!(lookups.len(), 2);
    assert!(lookups.iter().all(|call| call.url.len() < 8000));
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 300]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_down_and_a_token_that_is_over_are_waited_for() {
    let made = lists("");
    let started = tokio::time::Instant::now();
    let limit = error("606", "Max rate limit '100' exceeded with in '20' secs");
    let over = error("602", "Access token expired");
    let said = delivered(&made, &made.several(), vec![limit, over, token("hush-2")]).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    assert!(started.elapsed().as_secs() >= 20);
}

fn named(list: Option<&str>) -> Target {
    Target { call: Call::List, list: list.map(ToOwned::to_owned), ..target() }
}

async fn opened(
    made: &Configured,
    wanted: &Target,
    replies: Vec<Reply>,
) -> (Result<Remote, Fault>, String) {
    let replies = std::iter::once(token("hush-1")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = made.destination.open(&session, wanted).await;
    let calls = session.captured();
    let wire = calls.iter().map(|call| {
        let body = String::from_utf8_lossy(&call.body).into_owned();
        format!("{} {} {body}", call.method, call.url).trim_end().to_owned()
    });
    (remote, short(&wire.collect::<Vec<_>>().join("\n")))
}

#[tokio::test]
async fn a_list_is_found_by_id_or_name_or_created_once() {
    let made = lists("folder = 45\n");
    let (remote, wire) = opened(&made, &named(None), vec![said(&json!([]))]).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "1027"}))));
    assert_snapshot!(wire, @r#"
    GET /v1/lists.json?name=VIP
    POST /asset/v1/staticLists.json folder=%7B%22id%22%3A45%2C%22type%22%3A%22Folder%22%7D&name=VIP
    "#);
    let program = lists("folder = 45\nfolder_type = \"program\"\n");
    let (_, wire) = opened(&program, &named(None), vec![said(&json!([]))]).await;
    assert!(wire.contains("Program"), "{wire}");
    let (remote, _) = opened(&made, &named(Some("VIP")), Vec::new()).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "77"}))));
    let (remote, wire) =
        opened(&made, &named(Some("77")), vec![said(&json!([list(77, "Old")]))]).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "77"}))));
    assert_eq!(wire, "GET /v1/lists/77.json");
    let known = Target { remote: Some(Remote(json!({"id": "5"}))), ..named(Some("VIP")) };
    let (remote, wire) = opened(&made, &known, Vec::new()).await;
    assert_eq!((remote, wire.as_str()), (Ok(Remote(json!({"id": "5"}))), ""));
}

#[tokio::test]
async fn a_list_that_is_not_there_or_not_the_only_one_stops_the_sync() {
    let reason = |(remote, _): (Result<Remote, Fault>, String)| match remote {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let (bare, made) = (lists(""), lists("folder = 45\n"));
    let nothing = || said(&json!([]));
    assert_snapshot!(reason(opened(&bare, &named(None), vec![nothing()]).await), @"Marketo has no static list named `VIP`: make it, name another one as the sync's `list`, or give `folder` to have it created");
    let gone = error("1013", "Object not found");
    assert_snapshot!(reason(opened(&made, &named(Some("9")), vec![gone]).await), @r#"the list `9` cannot be used: HTTP 200 OK: {"errors":[{"code":"1013","message":"Object not found"}],"requestId":"e42b#1","success":false}"#);
    let two = said(&json!([list(1, "VIP"), list(2, "VIP")]));
    assert_snapshot!(reason(opened(&made, &named(None), vec![two]).await), @"there are several lists named `VIP` (1, 2); write the id of the one that is meant as the sync's `list`");
    let taken = error("709", "A static list with this name exists");
    assert_snapshot!(reason(opened(&made, &named(None), vec![nothing(), taken]).await), @r#"Marketo refuses to create the list `VIP`: HTTP 200 OK: {"errors":[{"code":"709","message":"A static list with this name exists"}],"requestId":"e42b#1","success":false}"#);
}

#[test]
fn emails_that_marketo_cannot_use_are_told() {
    assert_eq!(
        super::email(" Ada.Lovelace@Example.ORG ", None).as_deref(),
        Ok("ada.lovelace@example.org")
    );
    assert_eq!(
        super::email("Ada.Lovelace+shop@Example.org", None).as_deref(),
        Ok("ada.lovelace+shop@example.org")
    );
    for text in ["zo\u{eb}@example.org", "a,b@example.org", "nobody", &"a".repeat(64)] {
        assert!(super::email(text, None).is_err(), "{text}");
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let text = "[destinations.m]\ntype = \"marketo_static_lists\"\nmunchkin_id = \"1-A\"\nclient_id = \"a\"\nclient_secret = \"${S}\"\nfolder_type = \"program\"\n";
    assert_snapshot!(told(&configured(text).err().unwrap()), @r#"D03 option `folder_type` of destination `m` has no meaning without `folder` ("program") `muster destinations marketo_static_lists` shows every option and an example"#);
}

#[tokio::test]
async fn the_check_reads_lists() {
    let made = lists("");
    let check = |replies| async {
        made.destination.check(&Session::served(&made.terms(), replies, made.server())).await
    };
    assert_eq!(check(Vec::new()).await, Ok(()));
    let replies = vec![token("hush-1"), error("603", "Access denied")];
    assert!(matches!(check(replies).await, Err(Fault::Denied { .. })));
}
