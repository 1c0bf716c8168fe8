//! What Braze is sent for cohorts, and what its replies mean.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{
    IVO, MARA, User, ZOE, batch, configured, target, target_with, told,
};
use crate::destinations::{Batch, Configured, Fault, Outcome, Receipts, Target};
use crate::record::{Call, Change};

/// Takes everything.
pub(crate) fn server(_: &Captured) -> Reply {
    Reply::status(201, r#"{"message":"success"}"#)
}

fn with(more: &str) -> Configured {
    let text = format!(
        "[destinations.b]\ntype = \"braze_cohorts\"\npartner = \"acme\"\n\
         partner_api_key = \"${{P}}\"\ndata_import_key = \"${{D}}\"\n{more}\n"
    );
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn made() -> Configured {
    with("instance = \"EU-01\"")
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

#[tokio::test]
async fn a_cohort_is_named_once_and_changed_in_one_request() {
    let made = made();
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    made.converse_through(&session, &mixed(&made)).await.outcomes();
    let leaving = batch([made.audience(Call::List, ZOE, Change::Exited)]);
    let said = made.converse_through(&session, &leaving).await;
    assert_snapshot!(said.wire(), @r#"
    POST https://rest.fra-01.braze.eu/partners/acme/cohorts {"partner_api_key":"[secret]","client_secret":"[secret]","cohort_id":"vip","name":"VIP","created_at":"2026-11-20T09:00:00Z"}
    POST https://rest.fra-01.braze.eu/partners/acme/cohorts/users {"partner_api_key":"[secret]","client_secret":"[secret]","cohort_id":"vip","cohort_changes":[{"user_ids":["u_8841","u_8842"]},{"user_ids":["zoë"],"should_remove":true}]}
    POST https://rest.fra-01.braze.eu/partners/acme/cohorts/users {"partner_api_key":"[secret]","client_secret":"[secret]","cohort_id":"vip","cohort_changes":[{"user_ids":["zoë"],"should_remove":true}]}
    "#);
    assert_eq!(said.outcomes(), [Outcome::Delivered]);
    assert_eq!(made.spec.receipts, Receipts::Opaque);
}

#[tokio::test]
async fn the_keys_stand_in_the_body_and_nowhere_else() {
    let seen = |request: &Captured| {
        let sent: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            (&sent["partner_api_key"], &sent["client_secret"]),
            (&json!("hush-P"), &json!("hush-D"))
        );
        assert!(request.url.starts_with("http://127.0.0.1:9/b/partners/acme/cohorts"));
        assert!(!request.headers.iter().any(|(name, _)| name == "authorization"));
        server(request)
    };
    let made = with("base_url = \"http://127.0.0.1:9/b\"");
    let session = Session::served(&made.terms(), Vec::new(), seen);
    let said = made.converse_through(&session, &made.several()).await;
    assert!(!said.wire().contains("hush"));
    assert_eq!(said.captured.len(), 2);
}

#[tokio::test]
async fn both_requests_can_be_rehearsed() {
    let wire = made().rehearse(&mixed(&made())).await;
    assert_eq!(wire.lines().filter(|line| line.starts_with("POST ")).count(), 2);
    assert!(wire.contains("/partners/acme/cohorts/users"), "{wire}");
}

#[tokio::test]
async fn the_list_option_is_id_and_name() {
    let made = made();
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let opened = async |target: Target| made.destination.open(&session, &target).await.unwrap().0;
    assert_eq!(opened(target()).await, json!({"id": "vip", "name": "VIP"}));
    let named = Target { list: Some("aud_8f1c".into()), ..target() };
    assert_eq!(opened(named).await, json!({"id": "aud_8f1c", "name": "aud_8f1c"}));
    let renamed = target_with(json!({"id": "vip", "name": "Gold"}));
    assert_eq!(opened(renamed).await, json!({"id": "vip", "name": "VIP"}));
    assert_eq!(session.captured().len(), 0);
}

/// What comes of a batch when, after some replies that are well, one is this.
async fn answered(well: usize, reply: Reply) -> Result<Vec<Outcome>, Fault> {
    let made = made();
    made.converse_after(&mixed(&made), well, reply).await.result
}

#[tokio::test(start_paused = true)]
async fn only_success_is_success_at_either_step() {
    for step in [0, 1] {
        let well = answered(step, Reply::status(200, r#"{"message":"success"}"#)).await;
        assert_eq!(well, Ok(vec![Outcome::Delivered; 3]));
        for (status, body) in
            [(200, "OK"), (201, r#"{"message":"queued"}"#), (201, "{}"), (204, "")]
        {
            let odd = answered(step, Reply::status(status, body)).await;
            assert!(matches!(odd, Err(Fault::Protocol { .. })), "{status} {body}");
        }
        let key = Reply::status(401, r#"{"message":"Invalid Partner API key"}"#);
        assert!(matches!(answered(step, key).await, Err(Fault::Denied { .. })));
        let worded = Reply::status(400, r#"{"message":"`cohort_id` must be a valid string"}"#);
        assert!(matches!(answered(step, worded).await, Err(Fault::Misconfigured { .. })));
        let large = answered(step, Reply::status(413, "")).await;
        assert!(matches!(large, Err(Fault::Rejected { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn a_used_up_quota_is_waited_for() {
    let started = tokio::time::Instant::now();
    let slow = Reply::status(429, "{}")
        .with_header("x-ratelimit-remaining", "0")
        .with_header("x-ratelimit-reset", "40");
    assert_eq!(answered(1, slow).await, Ok(vec![Outcome::Delivered; 3]));
    assert_eq!(started.elapsed().as_secs(), 40);
}

#[tokio::test]
async fn no_request_names_more_people_than_braze_takes() {
    let made = made();
    let members = (0..1000).map(|number| {
        let user = User { id: String::leak(format!("u_{number}")), ..MARA };
        made.audience(Call::List, user, Change::Entered)
    });
    let said = made.converse(&batch(members), Vec::new()).await;
    let sent: Value = serde_json::from_slice(&said.captured[1].body).unwrap();
    assert_eq!(sent["cohort_changes"][0]["user_ids"].as_array().unwrap().len(), 1000);
    assert_eq!((said.captured.len(), made.spec.batch.max_rows), (2, 1000));
}

#[test]
fn what_is_wrong_with_the_options_is_told() {
    let keys = "partner_api_key = \"${P}\"\ndata_import_key = \"${D}\"";
    let cases = [format!("partner = \"acme\"\n{keys}"), format!("partner = \"a/b\"\n{keys}")];
    let findings = cases.map(|more| {
        let text = format!("[destinations.b]\ntype = \"braze_cohorts\"\n{more}\n");
        let told = told(&configured(&text).err().unwrap());
        told.split(" (\"").next().unwrap().to_owned()
    });
    assert_snapshot!(findings.join("\n"), @r#"
    D03 option `instance` of destination `b` is missing, and there is no `base_url`
    D03 option `partner` of destination `b` is not the name of a partner as it stands in addresses
    "#);
}
