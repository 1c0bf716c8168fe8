//! What Eloqua is sent, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target, told};
use crate::destinations::{
    Batch, Configured, Delivery, Fault, Job, Outcome, Remote, Settlement, Target,
};
use crate::record::{Call, Change};

/// Has the list `VIP`, and does what it is told at once.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let path = request.url.split_once("eloqua.com").map_or("", |(_, path)| path);
    let path = path.split('?').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", "/id") => login("https://secure.p03.eloqua.com"),
        ("GET", "/api/REST/2.0/assets/contact/lists") => lists(&[("123", "VIP")]),
        ("POST", "/api/REST/2.0/assets/contact/list") => list("124", "VIP"),
        ("POST", "/api/bulk/2.0/contacts/imports") => made("/contacts/imports/88"),
        ("POST", "/api/bulk/2.0/contacts/syncActions") => made("/contacts/syncActions/9"),
        ("POST", "/api/bulk/2.0/syncs") => made("/syncs/501"),
        ("GET", "/api/bulk/2.0/syncs/501") => status("success"),
        _ => Reply::status(204, ""),
    }
}

fn login(base: &str) -> Reply {
    let rest = format!("{base}/API/REST/{{version}}/");
    let urls = json!({"base": base, "apis": {"rest": {"standard": rest}}});
    Reply::json(&json!({"site": {"id": 1, "name": "Acme"}, "user": {"id": 2}, "urls": urls}))
}

fn lists(lists: &[(&str, &str)]) -> Reply {
    let list = |(id, name): &(&str, &str)| json!({"type": "ContactList", "id": id, "name": name});
    let elements: Vec<_> = lists.iter().map(list).collect();
    Reply::json(&json!({"elements": elements, "page": 1, "pageSize": 100, "total": lists.len()}))
}

fn list(id: &str, name: &str) -> Reply {
    Reply::status(201, json!({"type": "ContactList", "id": id, "name": name}).to_string())
}

fn made(uri: &str) -> Reply {
    Reply::status(201, json!({"uri": uri, "status": "pending"}).to_string())
}

fn status(status: &str) -> Reply {
    Reply::json(
        &json!({"syncedInstanceUri": "/contacts/imports/88", "status": status, "uri": "/syncs/501"}),
    )
}

fn rejects(items: &[Json], more: bool) -> Reply {
    Reply::json(&json!({"items": items, "hasMore": more, "count": items.len(), "totalResults": 3}))
}

fn reject(email: Option<&str>, code: &str) -> Json {
    let values = email.map(|email| json!({"Email": email}));
    json!({"fieldValues": values.unwrap_or(json!({})), "invalidFields": ["C_EmailAddress"],
        "message": "no", "recordIndex": 1, "statusCode": code})
}

fn eloqua(more: &str) -> Configured {
    let text = format!(
        "[destinations.e]\ntype = \"eloqua\"\ncompany = \"Acme\"\nuser = \"muster\"\npassword = \"${{P}}\"\n{more}"
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

fn short(captured: &[Captured]) -> String {
    let line = |call: &Captured| {
        let body = String::from_utf8_lossy(&call.body).into_owned();
        let address =
            call.url.replace("https://login.eloqua.com", "").replace("/api/bulk/2.0", "…");
        format!("{} {address} {body}", call.method).trim_end().to_owned()
    };
    captured.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What comes of a batch for the list 123 whose syncs are asked after.
async fn followed(made: &Configured, batch: &Batch, replies: Vec<Reply>) -> Conversation {
    let replies = std::iter::once(login("https://secure.p03.eloqua.com")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let remote = Remote(json!({"id": "123"}));
    let result = match made.destination.deliver(&session, &remote, batch).await {
        Ok(Delivery::Settled(_)) => panic!("settled at once"),
        Ok(Delivery::Submitted(job)) => {
            let kept = serde_json::to_string(&job).unwrap();
            assert!(!kept.contains("example.org"), "a value is journaled: {kept}");
            let job: Job = serde_json::from_str(&kept).unwrap();
            loop {
                match made.destination.settle(&session, &job, batch.len()).await {
                    Ok(Settlement::Done(receipt)) => break Ok(receipt.into_outcomes()),
                    Ok(Settlement::Running { .. }) => {}
                    Err(fault) => break Err(fault),
                }
            }
        }
        Err(fault) => Err(fault),
    };
    Conversation { result, notices: Vec::new(), remote, captured: session.captured() }
}

#[tokio::test]
async fn members_are_staged_and_applied() {
    let made = eloqua("");
    let said = made.converse(&three(&made), Vec::new()).await;
    assert_snapshot!(short(&said.captured), @r#"
    GET /api/REST/2.0/assets/contact/lists?depth=minimal&count=100&search=name%3D%27VIP%27
    GET /id
    POST …/contacts/imports {"dataRetentionDuration":"P1D","fields":{"Email":"{{Contact.Field(C_EmailAddress)}}"},"identifierFieldName":"Email","isSyncTriggeredOnImport":false,"name":"Muster add 755f3838343100000000000000000000","syncActions":[{"action":"add","destination":"{{ContactList[123]}}"}],"updateRule":"ifExistingIsNull"}
    POST …/contacts/imports/88/data [{"Email":"mara.lind@example.org"},{"Email":"ivo@example.org"}]
    POST …/syncs {"syncedInstanceUri":"/contacts/imports/88"}
    POST …/contacts/syncActions {"fields":{"Email":"{{Contact.Field(C_EmailAddress)}}"},"identifierFieldName":"Email","isSyncTriggeredOnImport":false,"name":"Muster remove 7a6fc3ab000000000000000000000000","syncActions":[{"action":"remove","destination":"{{ContactList[123]}}"}]}
    POST …/contacts/syncActions/9/data [{"Email":"zoe+shop@example.org"}]
    POST …/syncs {"syncedInstanceUri":"/contacts/syncActions/9"}
    GET …/syncs/501
    GET …/syncs/501
    DELETE …/contacts/imports/88
    DELETE …/contacts/syncActions/9
    "#);
    assert_eq!(said.remote, Remote(json!({"id": "123"})));
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn requests_go_where_the_login_says_with_the_same_credentials() {
    fn strict(request: &Captured) -> Reply {
        let (_, sent) = request.headers.iter().find(|(name, _)| name == "authorization").unwrap();
        // `Acme\muster:hush-P`
        assert_eq!(sent, "Basic QWNtZVxtdXN0ZXI6aHVzaC1Q");
        let host = request.url.split('/').nth(2).unwrap();
        let wanted =
            if request.url.ends_with("/id") { "login.eloqua.com" } else { "secure.p03.eloqua.com" };
        assert_eq!(host, wanted);
        server(request)
    }
    let made = eloqua("");
    let session = Session::served(&made.terms(), Vec::new(), strict);
    let said = made.converse_through(&session, &three(&made)).await;
    assert_eq!(said.result, Ok(vec![Outcome::Delivered; 3]));
    let elsewhere = vec![login("https://secure.p03.eloqua.com.evil.example")];
    let said = made.converse(&three(&made), elsewhere).await;
    assert!(matches!(said.result, Err(Fault::Denied { .. })));
    let proxied = eloqua("base_url = \"https://proxy.example.com/e\"\n");
    let said = proxied.converse(&three(&proxied), vec![login("https://elsewhere.example")]).await;
    assert!(said.captured.iter().all(|call| call.url.starts_with("https://proxy.example.com/e/")));
}

/// Zoe leaves, Mara and Ivo enter; what the two syncs are answered.
async fn polled(replies: Vec<Reply>) -> Conversation {
    let eloqua = eloqua("");
    let one =
        |definition: &str, sync: &str| vec![made(definition), Reply::status(204, ""), made(sync)];
    let add = one("/contacts/imports/88", "/syncs/501");
    let remove = one("/contacts/syncActions/9", "/syncs/502");
    let replies = [add, remove, replies].concat();
    followed(&eloqua, &three(&eloqua), replies).await
}

#[tokio::test]
async fn who_is_rejected_is_known_by_email() {
    let added = rejects(&[reject(Some("IVO@example.org"), "ELQ-00002")], false);
    let gone = rejects(&[reject(Some("zoe+shop@example.org"), "ELQ-00085")], false);
    let replies =
        vec![status("pending"), status("warning"), added, status("active"), status("warning")];
    // The first sync is asked after again while the second one runs.
    let again = rejects(&[reject(Some("IVO@example.org"), "ELQ-00002")], false);
    let replies = [replies, vec![again, status("warning"), gone]].concat();
    let outcomes = polled(replies).await.outcomes();
    let rejected = Outcome::Rejected { reason: "ELQ-00002 no".into() };
    assert_eq!(outcomes, [Outcome::Delivered, Outcome::Delivered, rejected]);
}

#[tokio::test]
async fn rejections_are_read_page_by_page_and_some_pass() {
    let first = rejects(&[reject(Some("mara.lind@example.org"), "ELQ-00145")], true);
    let second = rejects(&[reject(Some("ivo@example.org"), "ELQ-00026")], false);
    let said = polled(vec![status("warning"), first, second, status("success")]).await;
    let pages: Vec<_> = said.captured.iter().filter(|call| call.url.contains("/rejects")).collect();
    assert!(pages[1].url.ends_with("limit=1000&offset=1"), "{}", pages[1].url);
    let passing = Outcome::Retry { after: None, reason: "ELQ-00145 no".into() };
    let rejected = Outcome::Rejected { reason: "ELQ-00026 no".into() };
    assert_eq!(said.outcomes(), [passing, Outcome::Delivered, rejected]);
}

#[tokio::test]
async fn a_rejection_of_nobody_leaves_all_others_of_its_sync_unsettled() {
    let some =
        rejects(&[reject(None, "ELQ-00032"), reject(Some("ivo@example.org"), "ELQ-00002")], false);
    let outcomes = polled(vec![status("warning"), some, status("success")]).await.outcomes();
    assert!(matches!(outcomes[0], Outcome::Unsettled { .. }));
    assert_eq!(outcomes[1], Outcome::Delivered);
    assert!(matches!(outcomes[2], Outcome::Rejected { .. }));
}

#[tokio::test]
async fn a_sync_that_failed_is_begun_again_and_one_that_is_gone_is_unsettled() {
    let logs = Reply::json(&json!({"items": [
        {"severity": "information", "statusCode": "ELQ-00130", "message": "staged"},
        {"severity": "error", "statusCode": "ELQ-00107", "message": "There was an error processing the data."},
    ]}));
    let outcomes = polled(vec![status("error"), logs, status("success")]).await.outcomes();
    let reason = "the sync ended with an error: ELQ-00107 There was an error processing the data.";
    let retry = Outcome::Retry { after: None, reason: reason.into() };
    assert_eq!(outcomes, [retry.clone(), Outcome::Delivered, retry]);
    let gone = Reply::status(404, "");
    let outcomes = polled(vec![gone, status("success")]).await.outcomes();
    assert!(matches!(outcomes[0], Outcome::Unsettled { .. }));
    assert_eq!(outcomes[1], Outcome::Delivered);
}

#[tokio::test]
async fn what_says_nothing_of_members_is_not_believed() {
    let eloqua = eloqua("");
    let staged = vec![made("/contacts/imports/88"), Reply::status(200, "<html>Welcome</html>")];
    let result = followed(&eloqua, &three(&eloqua), staged).await.result;
    assert!(matches!(result, Err(Fault::Protocol { .. })), "{result:?}");
    let odd = polled(vec![status("wonderful")]).await.result;
    assert!(matches!(odd, Err(Fault::Protocol { .. })), "{odd:?}");
}

#[tokio::test(start_paused = true)]
async fn limits_are_waited_for_and_credentials_asked_after_again() {
    let eloqua = eloqua("");
    let moved = || Reply::status(401, "");
    let replies = vec![moved(), login("https://secure.p03.eloqua.com"), Reply::status(429, "")];
    let said = followed(&eloqua, &three(&eloqua), replies).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    let wrong = Reply::json(&json!("Not authenticated."));
    let said = eloqua.converse(&three(&eloqua), vec![wrong]).await;
    assert!(matches!(said.result, Err(Fault::Denied { .. })));
}

async fn opened(
    made: &Configured,
    list: Option<&str>,
    replies: Vec<Reply>,
) -> (Result<Remote, Fault>, String) {
    let replies = std::iter::once(login("https://secure.p03.eloqua.com")).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let wanted = Target { call: Call::List, list: list.map(ToOwned::to_owned), ..target() };
    let remote = made.destination.open(&session, &wanted).await;
    let calls: Vec<_> =
        session.captured().into_iter().filter(|call| !call.url.ends_with("/id")).collect();
    (remote, short(&calls))
}

#[tokio::test]
async fn a_list_is_found_by_id_or_name_or_created_once() {
    let made = eloqua("folder = 7\n");
    let (remote, wire) = opened(&made, None, vec![lists(&[("1", "VIPs")])]).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "124"}))));
    assert_snapshot!(wire, @r#"
    GET /api/REST/2.0/assets/contact/lists?depth=minimal&count=100&search=name%3D%27VIP%27
    POST /api/REST/2.0/assets/contact/list {"folderId":"7","name":"VIP"}
    "#);
    let (remote, wire) = opened(&made, Some("77"), vec![list("77", "Old")]).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "77"}))));
    assert_eq!(wire, "GET /api/REST/2.0/assets/contact/list/77?depth=minimal");
    let clash = Reply::status(409, "[{\"type\":\"ObjectValidationError\"}]");
    let (remote, _) =
        opened(&made, None, vec![lists(&[]), clash.clone(), lists(&[("5", "VIP")])]).await;
    assert_eq!(remote, Ok(Remote(json!({"id": "5"}))));
    let reason = |(remote, _): (Result<Remote, Fault>, String)| match remote {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert_snapshot!(reason(opened(&made, None, vec![lists(&[]), clash, lists(&[])]).await), @"Eloqua says that the list `VIP` is there, and does not show it");
    assert_snapshot!(reason(opened(&made, Some("9"), vec![Reply::status(404, "")]).await), @"the list `9` cannot be used: HTTP 404 Not Found");
    let invalid =
        Reply::status(400, "[{\"type\":\"ObjectValidationError\",\"property\":\"folderId\"}]");
    assert_snapshot!(reason(opened(&made, None, vec![lists(&[]), invalid]).await), @r#"Eloqua refuses to create the list `VIP`: HTTP 400 Bad Request: [{"type":"ObjectValidationError","property":"folderId"}]"#);
}

#[test]
fn a_name_that_cannot_be_searched_for_is_objected_to() {
    let odd = Target { list: Some("Mara's \"VIP\"".into()), ..target() };
    assert_snapshot!(eloqua("").destination.objections(&odd).join("\n"), @r#"`Mara's "VIP"` cannot be searched for: it holds both kinds of quotes"#);
    assert_eq!(eloqua("").destination.objections(&target()), Vec::<String>::new());
}

#[tokio::test]
async fn the_check_reads_lists() {
    let made = eloqua("");
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    assert_eq!(made.destination.check(&session).await, Ok(()));
}
