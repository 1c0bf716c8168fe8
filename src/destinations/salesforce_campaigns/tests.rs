//! What Salesforce is sent for campaigns, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, target_with, told,
};
use crate::destinations::{Batch, Configured, Fault, Outcome, Target};
use crate::record::{Call, Change};

const CAMPAIGN: &str = "701xx0000000001AAA";

/// Everybody is a contact; only those who have `zoe` in their email are members.
pub(crate) fn server(request: &Captured) -> Reply {
    if request.url.ends_with("/services/oauth2/token") {
        return token();
    }
    let sent: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let url = url::Url::parse(&request.url).unwrap();
    let query = url.query_pairs().find(|(name, _)| name == "q").map(|(_, text)| text.into_owned());
    match (request.method.as_str(), query) {
        ("GET", Some(query)) => answer(&query),
        ("GET", None) => {
            Reply::json(&json!({"name": "CampaignMember", "createable": true, "deletable": true}))
        }
        ("DELETE", _) => {
            let ids = url.query_pairs().find(|(name, _)| name == "ids").unwrap().1.into_owned();
            Reply::json(&ids.split(',').map(taken).collect())
        }
        ("POST", _) if url.path().ends_with("/sobjects/Campaign") => created(),
        _ => {
            let records = sent["records"].as_array().map_or(0, Vec::len);
            Reply::json(&(0..records).map(|_| taken("00v")).collect())
        }
    }
}

fn answer(query: &str) -> Reply {
    let texts: Vec<&str> = query.split('\'').skip(1).step_by(2).collect();
    if query.contains("FROM Campaign ") {
        return found(&[json!({"Id": CAMPAIGN, "Name": texts[0]})]);
    }
    let records = texts.iter().filter_map(|text| match query {
        _ if query.contains("FROM Contact ") => {
            Some(json!({"Id": format!("003{text}"), "Email": text}))
        }
        _ if query.contains("FROM CampaignMember") && text.contains("zoe") => {
            Some(json!({"Id": "00vzoe", "ContactId": text, "LeadId": null}))
        }
        _ => None,
    });
    found(&records.collect::<Vec<_>>())
}

fn token() -> Reply {
    Reply::json(&json!({"access_token": "hush-session",
        "instance_url": "https://acme.my.salesforce.com"}))
}

fn found(records: &[Value]) -> Reply {
    Reply::json(&json!({"totalSize": records.len(), "done": true, "records": records}))
}

fn created() -> Reply {
    Reply::status(201, json!({"id": CAMPAIGN, "success": true, "errors": []}).to_string())
}

fn taken(id: &str) -> Value {
    json!({"id": id, "success": true, "errors": []})
}

fn refused(code: &str) -> Value {
    json!({"success": false, "errors": [{"statusCode": code, "message": "why", "fields": []}]})
}

fn with(more: &str) -> Configured {
    let text = format!(
        "[destinations.s]\ntype = \"salesforce_campaigns\"\nclient_id = \"app\"\n\
         login_url = \"https://acme.my.salesforce.com\"\nclient_secret = \"${{S}}\"\n{more}\n"
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

/// What is said after the campaign was found, by method and decoded query or body.
fn shown(said: &Conversation) -> String {
    let line = |call: &Captured| {
        let url = url::Url::parse(&call.url).unwrap();
        let path = url.path().trim_start_matches("/services/data/v66.0");
        let query = url.query_pairs().map(|(name, value)| format!("{name}={value}"));
        let query = query.collect::<Vec<_>>().join("&");
        let body = String::from_utf8_lossy(&call.body);
        format!("{} {path} {query}{body}\n", call.method)
    };
    said.captured.iter().filter(|call| !call.url.ends_with("/token")).skip(1).map(line).collect()
}

/// What comes of three members when what follows the campaign is answered so.
async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = with("");
    let campaign = found(&[json!({"Id": CAMPAIGN, "Name": "VIP"})]);
    let replies = [token(), campaign].into_iter().chain(replies).collect();
    made.converse(&mixed(&made), replies).await
}

fn contacts() -> Reply {
    found(&[
        json!({"Id": "003mara", "Email": "Mara.Lind@example.org"}),
        json!({"Id": "003zoe", "Email": "zoe+shop@example.org"}),
        json!({"Id": "003ivo", "Email": "ivo@example.org"}),
    ])
}

fn members() -> Reply {
    found(&[json!({"Id": "00vzoe", "ContactId": "003zoe", "LeadId": null})])
}

#[tokio::test]
async fn people_are_looked_up_then_taken_off_and_put_on() {
    let made = with("");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(shown(&said), @r#"
    GET /query q=SELECT Id, Email FROM Contact WHERE Email IN ('ivo@example.org','mara.lind@example.org','zoe+shop@example.org') ORDER BY CreatedDate
    GET /query q=SELECT Id, Email FROM Lead WHERE Email IN ('zoe+shop@example.org') AND IsConverted = false ORDER BY CreatedDate
    GET /query q=SELECT Id, ContactId, LeadId FROM CampaignMember WHERE CampaignId = '701xx0000000001AAA' AND ContactId IN ('003ivo@example.org','003mara.lind@example.org','003zoe+shop@example.org')
    DELETE /composite/sobjects ids=00vzoe&allOrNone=false
    POST /composite/sobjects {"allOrNone":false,"records":[{"attributes":{"type":"CampaignMember"},"CampaignId":"701xx0000000001AAA","ContactId":"003mara.lind@example.org"},{"attributes":{"type":"CampaignMember"},"CampaignId":"701xx0000000001AAA","ContactId":"003ivo@example.org"}]}
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn a_lead_is_taken_where_there_is_no_contact_and_members_are_left_alone() {
    let contact = found(&[json!({"Id": "003mara", "Email": "mara.lind@example.org"})]);
    let lead = found(&[json!({"Id": "00Qzoe", "Email": "zoe+shop@example.org"})]);
    let member = found(&[json!({"Id": "00vmara", "ContactId": "003mara", "LeadId": "00Qold"})]);
    let of_lead = found(&[json!({"Id": "00vzoe", "ContactId": null, "LeadId": "00Qzoe"})]);
    let said = answered(vec![contact, lead, member, of_lead]).await;
    assert_snapshot!(shown(&said), @r#"
    GET /query q=SELECT Id, Email FROM Contact WHERE Email IN ('ivo@example.org','mara.lind@example.org','zoe+shop@example.org') ORDER BY CreatedDate
    GET /query q=SELECT Id, Email FROM Lead WHERE Email IN ('ivo@example.org','zoe+shop@example.org') AND IsConverted = false ORDER BY CreatedDate
    GET /query q=SELECT Id, ContactId, LeadId FROM CampaignMember WHERE CampaignId = '701xx0000000001AAA' AND ContactId IN ('003mara')
    GET /query q=SELECT Id, ContactId, LeadId FROM CampaignMember WHERE CampaignId = '701xx0000000001AAA' AND LeadId IN ('00Qzoe')
    DELETE /composite/sobjects ids=00vzoe&allOrNone=false
    "#);
    let reason = "no contact and no open lead has this email".into();
    assert_eq!(
        said.outcomes(),
        [Outcome::Delivered, Outcome::Delivered, Outcome::Rejected { reason }]
    );
}

#[tokio::test]
async fn whoever_came_as_a_lead_leaves_as_one_though_a_contact_appeared() {
    let made = with("");
    let exited = batch([made.audience(Call::List, ZOE, Change::Exited)]);
    let replies = vec![
        token(),
        found(&[json!({"Id": CAMPAIGN, "Name": "VIP"})]),
        found(&[json!({"Id": "003zoe", "Email": "zoe+shop@example.org"})]),
        found(&[json!({"Id": "00Qzoe", "Email": "zoe+shop@example.org"})]),
        found(&[]),
        found(&[json!({"Id": "00vzoe", "ContactId": null, "LeadId": "00Qzoe"})]),
    ];
    let said = made.converse(&exited, replies).await;
    assert!(shown(&said).ends_with("DELETE /composite/sobjects ids=00vzoe&allOrNone=false\n"));
    assert_eq!(said.outcomes(), [Outcome::Delivered]);
}

#[tokio::test]
async fn several_contacts_become_members_or_the_oldest() {
    let twins = || {
        let twin = |id| json!({"Id": id, "Email": "mara.lind@example.org"});
        vec![
            token(),
            found(&[json!({"Id": CAMPAIGN, "Name": "VIP"})]),
            found(&[twin("003old"), twin("003new")]),
        ]
    };
    for (option, expected) in [("all", 2), ("oldest", 1)] {
        let made = with(&format!("several = \"{option}\"\nmember_status = \"Sent\""));
        let entered = batch([made.audience(Call::List, MARA, Change::Entered)]);
        let said = made.converse(&entered, twins()).await;
        let sent: Value = serde_json::from_slice(&said.captured.last().unwrap().body).unwrap();
        let records = sent["records"].as_array().unwrap();
        assert_eq!(records.len(), expected);
        assert_eq!(
            (&records[0]["ContactId"], &records[0]["Status"]),
            (&json!("003old"), &json!("Sent"))
        );
    }
    // One of them refused is the message refused; one that got in the way is tried again.
    let made = with("");
    let entered = batch([made.audience(Call::List, MARA, Change::Entered)]);
    for (results, retried) in [
        ([taken("00v"), refused("FIELD_CUSTOM_VALIDATION_EXCEPTION")], false),
        ([refused("UNABLE_TO_LOCK_ROW"), refused("FIELD_CUSTOM_VALIDATION_EXCEPTION")], true),
    ] {
        let mut replies = twins();
        replies.extend([found(&[]), Reply::json(&json!(results))]);
        let outcomes = made.converse(&entered, replies).await.outcomes();
        assert_eq!(matches!(outcomes[0], Outcome::Retry { .. }), retried, "{outcomes:?}");
        assert_ne!(outcomes[0], Outcome::Delivered);
    }
}

#[tokio::test]
async fn only_contacts_or_only_leads_may_be_meant() {
    for (option, object) in [("contacts", "Contact"), ("leads", "Lead")] {
        let made = with(&format!("people = \"{option}\""));
        let said = made.converse(&mixed(&made), Vec::new()).await;
        let asked = shown(&said);
        let lookups = asked.lines().filter(|line| line.contains("Email IN")).collect::<Vec<_>>();
        assert_eq!(lookups.len(), 1);
        assert!(lookups[0].contains(&format!("FROM {object} ")), "{asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn results_belong_to_members_by_position() {
    let results = |results: Value| Reply::json(&results);
    let said = answered(vec![
        contacts(),
        found(&[]),
        members(),
        results(json!([refused("ENTITY_IS_DELETED")])),
        results(json!([refused("DUPLICATE_VALUE"), refused("UNABLE_TO_LOCK_ROW")])),
    ])
    .await;
    let reason = "UNABLE_TO_LOCK_ROW: why".into();
    let retried = Outcome::Retry { after: None, reason };
    assert_eq!(said.outcomes(), [Outcome::Delivered, Outcome::Delivered, retried]);
    let said = answered(vec![
        contacts(),
        found(&[]),
        members(),
        results(json!([refused("INSUFFICIENT_ACCESS_OR_READONLY")])),
        results(json!([taken("00v1"), refused("REQUIRED_FIELD_MISSING")])),
    ])
    .await;
    assert!(matches!(
        said.outcomes()[..],
        [Outcome::Delivered, Outcome::Rejected { .. }, Outcome::Rejected { .. }]
    ));
}

#[tokio::test(start_paused = true)]
async fn replies_that_do_not_add_up_are_not_believed() {
    let result = |count: usize| Reply::json(&(0..count).map(|_| taken("00v")).collect());
    let endless = || Reply::json(&json!({"done": false, "records": [], "totalSize": 9}));
    for replies in [
        vec![contacts(), found(&[]), members(), result(2)],
        vec![contacts(), found(&[]), members(), result(1), result(3)],
        vec![contacts(), found(&[]), members(), result(1), Reply::status(200, "OK")],
        vec![endless()],
    ] {
        let result = answered(replies).await.result;
        assert!(matches!(result, Err(Fault::Protocol { .. })), "{result:?}");
    }
    let error =
        |code| Reply::status(403, json!([{"errorCode": code, "message": "why"}]).to_string());
    let said = answered(vec![contacts(), error("REQUEST_LIMIT_EXCEEDED")]).await;
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    let said = answered(vec![contacts(), error("INSUFFICIENT_ACCESS")]).await;
    assert!(matches!(said.result, Err(Fault::Denied { .. })));
}

#[tokio::test]
async fn an_answer_goes_on_where_it_says() {
    let first = json!({"done": false, "totalSize": 3, "records": [
        {"Id": "003mara", "Email": "mara.lind@example.org"}],
        "nextRecordsUrl": "/services/data/v66.0/query/01gD0000002HU6KIAW-2000"});
    let said = answered(vec![Reply::json(&first), contacts(), found(&[]), members()]).await;
    let asked = shown(&said);
    assert!(asked.contains("GET /query/01gD0000002HU6KIAW-2000"), "{asked}");
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

async fn opened(wanted: &Target, replies: Vec<Reply>) -> (String, usize) {
    let made = with("");
    let replies = std::iter::once(token()).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let told = match made.destination.open(&session, wanted).await {
        Ok(remote) => remote.0.to_string(),
        Err(fault) => fault.to_string(),
    };
    let calls = session.captured().into_iter().filter(|call| !call.url.ends_with("/token"));
    (told, calls.count())
}

fn named(list: &str) -> Target {
    Target { call: Call::List, list: Some(list.into()), ..target() }
}

#[tokio::test]
async fn a_campaign_is_found_or_created_once() {
    let list = format!(r#"{{"id":"{CAMPAIGN}"}}"#);
    assert_eq!(opened(&target(), Vec::new()).await, (list.clone(), 1));
    let kept = target_with(json!({"id": "701kept"}));
    assert_eq!(opened(&kept, Vec::new()).await, (r#"{"id":"701kept"}"#.into(), 0));
    assert_eq!(opened(&named("O'Brien"), vec![found(&[]), created()]).await, (list.clone(), 2));
    let by_id = Reply::json(&json!({"Id": CAMPAIGN}));
    assert_eq!(opened(&named("701xx0000000001"), vec![by_id]).await, (list, 1));
    let (told, calls) = opened(&target(), vec![found(&[]), Reply::Lost]).await;
    assert!(told.starts_with("sent, with no usable reply"), "{told}");
    assert_eq!(calls, 2);
}

#[tokio::test]
async fn a_campaign_that_cannot_be_used_is_told() {
    let campaign = |id: &str| json!({"Id": id, "Name": "vip"});
    let error = |status, code| {
        Reply::status(status, json!([{"errorCode": code, "message": "why"}]).to_string())
    };
    let told = [
        opened(&target(), vec![found(&[campaign("7011"), campaign("7012")])]).await.0,
        opened(&named("701xx0000000009AAA"), vec![error(404, "NOT_FOUND")]).await.0,
        opened(&target(), vec![found(&[]), error(400, "REQUIRED_FIELD_MISSING")]).await.0,
    ];
    assert_snapshot!(told.join("\n"), @r#"
    misconfigured: there are several lists named `VIP` (7011, 7012); write the id of the one that is meant as the sync's `list`
    misconfigured: the list `701xx0000000009AAA` cannot be used: HTTP 404 Not Found: [{"errorCode":"NOT_FOUND","message":"why"}]
    misconfigured: Salesforce does not create the campaign `VIP`: HTTP 400 Bad Request: [{"errorCode":"REQUIRED_FIELD_MISSING","message":"why"}]
    "#);
    let long = named(&"x".repeat(81));
    assert_eq!(with("").destination.objections(&long).len(), 1);
    assert_eq!(with("").destination.objections(&target()).len(), 0);
}

#[tokio::test]
async fn a_user_who_may_not_write_members_is_told_by_the_check() {
    let made = with("");
    let check = async |reply| {
        let session = Session::served(&made.terms(), vec![token(), reply], made.server());
        made.destination.check(&session).await
    };
    let description = |name, createable| {
        Reply::json(&json!({"name": name, "createable": createable, "deletable": true}))
    };
    assert_eq!(check(description("CampaignMember", true)).await, Ok(()));
    let denied = check(description("CampaignMember", false)).await;
    assert!(matches!(denied, Err(Fault::Denied { .. })));
    let other = check(description("Contact", true)).await;
    assert!(matches!(other, Err(Fault::Protocol { .. })));
}

#[tokio::test]
async fn two_hundred_members_are_one_request() {
    let made = with("");
    let members = (0..200).map(|number| {
        let email = String::leak(format!("u{number}@example.org"));
        made.audience(Call::List, User { email, ..MARA }, Change::Entered)
    });
    let said = made.converse(&batch(members), Vec::new()).await;
    let posts = said.captured.iter().filter(|call| call.url.ends_with("/composite/sobjects"));
    let sizes: Vec<usize> = posts
        .map(|call| {
            let sent: Value = serde_json::from_slice(&call.body).unwrap();
            sent["records"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!((sizes, made.spec.batch.max_rows), (vec![200], 200));
    assert!(said.captured.iter().all(|call| call.url.len() < 16_000));
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 200]);
}
