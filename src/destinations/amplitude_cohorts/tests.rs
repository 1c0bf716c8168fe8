//! What Amplitude is sent about its cohorts, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value as Json, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    Conversation, IVO, MARA, User, ZOE, batch, configured, target, target_with, told,
};
use crate::destinations::{Batch, Configured, Fault, Outcome, Remote, Target};
use crate::record::{Call, Change};

/// Knows the cohort of the fixtures' model and every user.
pub(in crate::destinations) fn server(request: &Captured) -> Reply {
    let body: Json = serde_json::from_slice(&request.body).unwrap_or_default();
    let path = request.url.rsplit('/').next().unwrap_or_default();
    match (request.method.as_str(), path) {
        ("GET", _) => cohorts(&[("1a2bc3d", "VIP")]),
        (_, "upload") => {
            let id = body["existing_cohort_id"].as_str().unwrap_or("9z8yx7w");
            Reply::json(&json!({"cohort_id": id}))
        }
        _ => {
            let changes = body["memberships"].as_array().cloned().unwrap_or_default();
            let result = changes.iter().map(|one| {
                json!({"skipped_ids": [], "id_type": "BY_NAME", "operation": one["operation"]})
            });
            let result: Vec<Json> = result.collect();
            Reply::json(&json!({"cohort_id": body["cohort_id"], "memberships_result": result}))
        }
    }
}

fn cohorts(cohorts: &[(&str, &str)]) -> Reply {
    let shown =
        |(id, name): &(&str, &str)| json!({"id": id, "name": name, "archived": false, "size": 3});
    Reply::json(&json!({"cohorts": cohorts.iter().map(shown).collect::<Vec<_>>()}))
}

fn changed(cohort: &str, results: &[(&str, &[&str])]) -> Reply {
    let result = |(operation, skipped): &(&str, &[&str])| json!({"operation": operation, "id_type": "BY_NAME", "skipped_ids": skipped});
    let results: Vec<Json> = results.iter().map(result).collect();
    Reply::json(&json!({"cohort_id": cohort, "memberships_result": results}))
}

const FOUNDING: &str =
    "app_id = 153957\nowner = \"analyst@example.com\"\nfirst_user_id = \"u_1001\"\n";

fn made(more: &str) -> Configured {
    let text = format!(
        "[destinations.a]\ntype = \"amplitude_cohorts\"\napi_key = \"${{KEY}}\"\n\
         secret_key = \"${{SECRET}}\"\n{more}"
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
    let found = cohorts(&[("1a2bc3d", "VIP")]);
    made.converse(&mixed(&made), [vec![found], replies].concat()).await
}

fn rejected(reason: &str) -> Outcome {
    Outcome::Rejected { reason: reason.into() }
}

#[tokio::test]
async fn one_request_adds_and_takes_off() {
    let said = answered(Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    GET https://amplitude.com/api/3/cohorts
    POST https://amplitude.com/api/3/cohorts/membership {"cohort_id":"1a2bc3d","memberships":[{"id_type":"BY_NAME","ids":["u_8841","u_8842"],"operation":"ADD"},{"id_type":"BY_NAME","ids":["zoë"],"operation":"REMOVE"}],"skip_invalid_ids":true}
    "#);
    let headers: Vec<_> =
        said.captured[1].headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(headers, ["authorization: [secret]", "content-type: application/json"]);
    let europe = made("region = \"eu\"\n");
    let said = europe.converse(&mixed(&europe), Vec::new()).await;
    assert_eq!(said.captured[0].url, "https://analytics.eu.amplitude.com/api/3/cohorts");
}

async fn replaced(users: &[User]) -> String {
    let made = made(FOUNDING);
    let unknown = changed("1a2bc3d", &[("ADD", &["u_8842"])]);
    let session = Session::served(&made.terms(), vec![unknown], server);
    let started = chrono::DateTime::from_timestamp(1_795_165_200, 0).unwrap();
    let (here, cohort) = (&made.destination, Remote(json!({"id": "1a2bc3d"})));
    let cohort = here.begin_replacing(&session, &cohort, started).await.unwrap();
    let one = batch([IVO].map(|user| made.audience(Call::List, user, Change::Entered)));
    here.deliver(&session, &cohort, &one).await.unwrap();
    for user in users {
        let one = batch([made.audience(Call::List, *user, Change::Entered)]);
        here.deliver(&session, &cohort, &one).await.unwrap();
    }
    here.finish_replacing(&session, &cohort).await.unwrap();
    let line = |request: &Captured| {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        format!("{} {} {body}", request.method, request.url).trim_end().to_owned()
    };
    let said: Vec<String> = session.captured().iter().skip(1 + users.len()).map(line).collect();
    said.join("\n")
}

#[tokio::test]
async fn a_replacement_uploads_all_whom_amplitude_took() {
    assert_snapshot!(replaced(&[MARA, ZOE]).await, @r#"
    GET https://amplitude.com/api/3/cohorts
    POST https://amplitude.com/api/3/cohorts/upload {"app_id":153957,"existing_cohort_id":"1a2bc3d","id_type":"BY_USER_ID","ids":["u_8841","zoë"],"name":"VIP","owner":"analyst@example.com","published":true}
    "#);
    assert_snapshot!(replaced(&[]).await, @r#"
    GET https://amplitude.com/api/3/cohorts
    POST https://amplitude.com/api/3/cohorts/upload {"app_id":153957,"existing_cohort_id":"1a2bc3d","id_type":"BY_USER_ID","ids":["u_1001"],"name":"VIP","owner":"analyst@example.com","published":true}
    POST https://amplitude.com/api/3/cohorts/membership {"cohort_id":"1a2bc3d","memberships":[{"id_type":"BY_NAME","ids":["u_1001"],"operation":"REMOVE"}],"skip_invalid_ids":true}
    "#);
    let made = made("");
    let session = Session::served(&made.terms(), Vec::new(), server);
    let (cohort, started) = (Remote(json!({"id": "1a2bc3d"})), chrono::DateTime::UNIX_EPOCH);
    let begun = made.destination.begin_replacing(&session, &cohort, started).await;
    assert!(matches!(begun, Err(Fault::Misconfigured { .. })), "{begun:?}");
}

#[tokio::test]
async fn who_is_unknown_cannot_enter_and_has_left() {
    let replies = vec![changed("1a2bc3d", &[("ADD", &["u_8842"]), ("REMOVE", &["zoë"])])];
    let said = answered(replies).await;
    let unknown = rejected("Amplitude knows no user of this id");
    assert_eq!(said.outcomes(), [Outcome::Delivered, Outcome::Delivered, unknown]);
}

#[tokio::test]
async fn nobodies_are_rejected_and_unsent() {
    let made = made("");
    let nobody = User { id: "null", ..MARA };
    let mixed = batch([
        made.audience(Call::List, nobody, Change::Entered),
        made.audience(Call::List, IVO, Change::Entered),
    ]);
    let said = made.converse(&mixed, Vec::new()).await;
    let body: Json = serde_json::from_slice(&said.captured[1].body).unwrap();
    assert_eq!(body["memberships"][0]["ids"], json!(["u_8842"]));
    let reason = "its id is one of those that Amplitude takes for nobody's";
    assert_eq!(said.outcomes(), [rejected(reason), Outcome::Delivered]);

    let alone = batch([made.audience(Call::List, nobody, Change::Entered)]);
    let said = made.converse(&alone, Vec::new()).await;
    assert_eq!((said.captured.len(), said.outcomes()), (1, vec![rejected(reason)]));
}

#[tokio::test]
async fn a_reply_must_answer_for_every_operation_and_only_for_what_was_sent() {
    for reply in [
        changed("other", &[("ADD", &[]), ("REMOVE", &[])]),
        changed("1a2bc3d", &[("ADD", &[])]),
        changed("1a2bc3d", &[("ADD", &["u_1"]), ("REMOVE", &[])]),
        // Whoever leaves was not added.
        changed("1a2bc3d", &[("ADD", &["zoë"]), ("REMOVE", &[])]),
        Reply::json(&json!({"cohort_id": "1a2bc3d"})),
    ] {
        let said = answered(vec![reply]).await;
        assert!(matches!(said.result, Err(Fault::Protocol { .. })), "{:?}", said.result);
    }
}

#[tokio::test]
async fn a_refusal_about_the_cohort_halts_and_any_other_is_halved() {
    let refused = |message: &str| {
        Reply::status(400, json!({"error": {"message": message, "code": 7}}).to_string())
    };
    let said = answered(vec![refused("Cohort 1a2bc3d is not editable")]).await;
    assert!(matches!(said.result, Err(Fault::Misconfigured { .. })));
    let said = answered(vec![refused("too many ids")]).await;
    assert!(matches!(said.result, Err(Fault::Rejected { .. })));
}

async fn opened(
    more: &str,
    list: Option<&str>,
    replies: Vec<Reply>,
) -> (Result<Json, Fault>, Vec<String>) {
    let made = made(more);
    let session = Session::served(&made.terms(), replies, server);
    let target = Target { call: Call::List, list: list.map(Into::into), ..target() };
    let remote = made.destination.open(&session, &target).await.map(|remote| remote.0);
    let calls = session.captured();
    let shown = calls.iter().map(|call| {
        let path = call.url.replace("https://amplitude.com", "");
        format!("{} {path} {}", call.method, String::from_utf8_lossy(&call.body))
    });
    (remote, shown.collect())
}

#[tokio::test]
async fn a_cohort_is_found_or_created_once_without_its_first_user() {
    let (remote, calls) = opened("", None, Vec::new()).await;
    assert_eq!((remote, calls.len()), (Ok(json!({"id": "1a2bc3d"})), 1));
    let by_id = vec![cohorts(&[("7", "1a2bc3d"), ("1a2bc3d", "other")])];
    assert_eq!(opened("", Some("1a2bc3d"), by_id).await.0, Ok(json!({"id": "1a2bc3d"})));
    let archived = json!({"cohorts": [{"id": "1", "name": "VIP", "archived": true}]});
    let (remote, calls) = opened(FOUNDING, None, vec![Reply::json(&archived)]).await;
    assert_eq!(remote, Ok(json!({"id": "9z8yx7w"})));
    assert_snapshot!(calls.join("\n"), @r#"
    GET /api/3/cohorts 
    POST /api/3/cohorts/upload {"app_id":153957,"id_type":"BY_USER_ID","ids":["u_1001"],"name":"VIP","owner":"analyst@example.com","published":true}
    POST /api/3/cohorts/membership {"cohort_id":"9z8yx7w","memberships":[{"id_type":"BY_NAME","ids":["u_1001"],"operation":"REMOVE"}],"skip_invalid_ids":true}
    "#);
    let other_name = vec![cohorts(&[]), Reply::json(&json!({"cohortId": "5"}))];
    assert_eq!(opened(FOUNDING, None, other_name).await.0, Ok(json!({"id": "5"})));

    let made = made("");
    let session = Session::served(&made.terms(), Vec::new(), server);
    let known = target_with(json!({"id": "1a2bc3d"}));
    assert_eq!(made.destination.open(&session, &known).await, Ok(Remote(json!({"id": "1a2bc3d"}))));
    assert_eq!(session.captured().len(), 0);
}

#[tokio::test]
async fn the_first_user_of_an_interrupted_creation_is_taken_off_by_the_next_run() {
    let (remote, calls) = opened(FOUNDING, None, Vec::new()).await;
    assert_eq!(remote, Ok(json!({"id": "1a2bc3d"})));
    assert_snapshot!(calls.join("\n"), @r#"
    GET /api/3/cohorts 
    POST /api/3/cohorts/membership {"cohort_id":"1a2bc3d","memberships":[{"id_type":"BY_NAME","ids":["u_1001"],"operation":"REMOVE"}],"skip_invalid_ids":true}
    "#);
    let by_id = vec![cohorts(&[("1a2bc3d", "other")])];
    assert_eq!(opened(FOUNDING, Some("1a2bc3d"), by_id).await.1.len(), 1);
}

#[tokio::test]
async fn a_cohort_that_cannot_be_meant_is_told() {
    let reason = |opened: (Result<Json, Fault>, Vec<String>)| match opened.0 {
        Err(Fault::Misconfigured { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let several = opened("", None, vec![cohorts(&[("1", "VIP"), ("2", "VIP")])]).await;
    let missing = opened("", Some("1a2bc3e"), Vec::new()).await;
    let refused = Reply::status(400, json!({"error": {"message": "no such owner"}}).to_string());
    let refused = opened(FOUNDING, None, vec![cohorts(&[]), refused]).await;
    assert_snapshot!([several, missing, refused].map(reason).join("\n"), @r#"
    there are several lists named `VIP` (1, 2); write the id of the one that is meant as the sync's `list`
    the project shows no cohort `1a2bc3e`: publish one, or set `app_id`, `owner` and `first_user_id`, without which none can be created
    Amplitude refuses to create the cohort `VIP`: HTTP 400 Bad Request: {"error":{"message":"no such owner"}}
    "#);
}

#[tokio::test]
async fn a_cohort_is_never_created_twice_for_a_lost_reply() {
    let (lost, calls) = opened(FOUNDING, None, vec![cohorts(&[]), Reply::Lost]).await;
    assert!(matches!(lost, Err(Fault::Ambiguous { .. })));
    assert_eq!(calls.len(), 2);
}

#[test]
fn what_a_new_cohort_needs_is_given_together_or_not_at_all() {
    let text = "[destinations.a]\ntype = \"amplitude_cohorts\"\napi_key = \"${KEY}\"\n\
                secret_key = \"${SECRET}\"\nowner = \"a@example.com\"\n";
    assert_snapshot!(told(&configured(text).err().unwrap()), @r#"D03 option `owner` of destination `a` is of use only with `app_id`, `owner` and `first_user_id` together ("a@example.com") `muster destinations amplitude_cohorts` shows every option and an example"#);
}
