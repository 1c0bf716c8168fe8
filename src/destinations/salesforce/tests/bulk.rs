//! What a job of the Bulk API is sent, and what becomes of its records.

use super::*;

#[test]
fn a_file_leaves_empty_what_a_record_does_not_say() {
    let made = made();
    let changed =
        |user, values: &[(&str, Value)]| made.message(Call::Group, user, Change::Changed, values);
    let messages = [
        changed(ACCOUNT, &[("a", json!("x, \"y\"\nz"))]),
        changed(MARA, &[("b", Value::Null), ("c", json!(""))]),
    ];
    let naming = super::super::Naming { standard: std::collections::BTreeSet::new() };
    let rows = messages.iter().map(|message| {
        let written = |(name, value)| (naming.name(name), super::super::Written::of(value, false));
        (message.subject(), message.traits().map(written).collect())
    });
    let upload = super::super::Upload {
        object: "Account",
        key: "Ext__c",
        rows: rows.collect(),
        leaving: Vec::new(),
    };
    assert_snapshot!(String::from_utf8(upload.csv().unwrap()).unwrap(), @r#"
    Ext__c,a__c,b__c,c__c
    acct_310,"x, ""y""
    z",,
    u_8841,,#N/A,#N/A
    "#);
}

/// What a job of three records comes to when what is asked after the token is answered so.
async fn settled(replies: Vec<Reply>) -> Result<Settlement, Fault> {
    settled_with(&[], replies).await
}

/// The same when who is at these positions only leaves.
async fn settled_with(leaving: &[usize], replies: Vec<Reply>) -> Result<Settlement, Fault> {
    let made = made();
    let replies = std::iter::once(token()).chain(replies).collect();
    let session = Session::served(&made.terms(), replies, made.server());
    let ids = ["u_0", "u_1", "u_2"];
    let handle = json!({"id": "750x", "key": "Ext__c", "ids": ids, "leaving": leaving});
    made.destination.settle(&session, &Job { handle, poll_after: Duration::ZERO }, 3).await
}

async fn outcomes(replies: Vec<Reply>) -> Vec<Outcome> {
    match settled(replies).await {
        Ok(Settlement::Done(receipt)) => receipt.into_outcomes(),
        other => panic!("{other:?}"),
    }
}

fn progress(state: &str, processed: usize, failed: usize) -> Reply {
    Reply::json(&job(state, processed, failed))
}

const FAILED: &str = "\"sf__Id\",\"sf__Error\",Ext__c,vip__c\n\
    \"\",\"REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --\",u_2,true\n\
    \"\",\"UNABLE_TO_LOCK_ROW:unable to obtain exclusive access:--\",u_0,true\n";

#[tokio::test]
async fn what_a_job_refused_or_left_is_found_by_its_external_id() {
    for state in ["Open", "UploadComplete", "InProgress"] {
        let running = settled(vec![progress(state, 0, 0)]).await;
        assert!(matches!(running, Ok(Settlement::Running { .. })), "{running:?}");
    }
    let found = outcomes(vec![progress("JobComplete", 3, 2), Reply::status(200, FAILED)]).await;
    assert!(matches!(
        &found[..],
        [Outcome::Retry { .. }, Outcome::Delivered, Outcome::Rejected { reason }]
            if reason.starts_with("REQUIRED_FIELD_MISSING")
    ));
    let left = Reply::status(200, "Ext__c,vip__c\nu_1,true\n");
    let found = outcomes(vec![progress("JobComplete", 2, 0), left]).await;
    assert!(matches!(found[..], [Outcome::Delivered, Outcome::Retry { .. }, Outcome::Delivered]));
}

#[tokio::test]
async fn who_leaves_and_would_have_to_be_created_was_never_there() {
    let replies = vec![progress("JobComplete", 3, 2), Reply::status(200, FAILED)];
    let Ok(Settlement::Done(receipt)) = settled_with(&[2], replies).await else { panic!() };
    assert_eq!(receipt.outcomes()[1..], [Outcome::Delivered, Outcome::Delivered]);

    let made = made();
    let both = batch([Change::Exited, Change::Entered].map(|change| {
        let user = if change == Change::Exited { IVO } else { MARA };
        made.audience(Call::Identify, user, change)
    }));
    let lacks = refused("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]");
    let (outcomes, _) = delivered(&both, vec![Reply::json(&json!([lacks, lacks]))]).await;
    let outcomes = outcomes.unwrap();
    assert_eq!(outcomes[0], Outcome::Delivered);
    assert!(matches!(outcomes[1], Outcome::Rejected { .. }), "{outcomes:?}");
}

#[tokio::test]
async fn a_job_that_broke_off_or_is_forgotten_leaves_the_rest_unsettled() {
    let left = Reply::status(200, "Ext__c\n");
    let found = outcomes(vec![progress("Failed", 2, 2), Reply::status(200, FAILED), left]).await;
    assert!(matches!(
        found[..],
        [Outcome::Retry { .. }, Outcome::Unsettled { .. }, Outcome::Rejected { .. }]
    ));
    let found = outcomes(vec![error(404, "NOT_FOUND", "gone")]).await;
    assert!(found.iter().all(|outcome| matches!(outcome, Outcome::Unsettled { .. })));
}

#[tokio::test]
async fn lists_that_do_not_add_up_are_not_believed() {
    let ok = |body: &'static str| Reply::status(200, body);
    for replies in [
        vec![progress("JobComplete", 3, 1), ok(FAILED)],
        vec![progress("JobComplete", 3, 1), ok("Ext__c\nu_0\n")],
        vec![progress("JobComplete", 3, 1), ok("sf__Error,Ext__c\nwhy,u_9\n")],
        vec![progress("JobComplete", 1, 0), ok("Ext__c\nu_1\n")],
        vec![progress("JobComplete", 3, 1), ok("<html>")],
        vec![Reply::json(&json!({"id": "750x", "state": "JobComplete"}))],
        vec![Reply::json(&json!({"id": "750y", "state": "InProgress"}))],
        vec![progress("Paused", 0, 0)],
    ] {
        let told = settled(replies).await;
        assert!(matches!(told, Err(Fault::Protocol { .. })), "{told:?}");
    }
}

#[tokio::test]
async fn closing_a_job_twice_is_fine() {
    let made = with("batch_size = 10000");
    let many =
        batch((0..201).map(|number| made.audience(Call::Identify, user(number), Change::Entered)));
    let closed = error(400, "INVALIDJOBSTATE", "Closing already closed Job not allowed");
    let replies = vec![token(), Reply::json(&job("Open", 0, 0)), Reply::status(201, ""), closed];
    let session = Session::served(&made.terms(), replies, made.server());
    let submitted = made.destination.deliver(&session, &Remote::default(), &many).await.unwrap();
    let Delivery::Submitted(Job { handle, .. }) = submitted else { panic!("{submitted:?}") };
    assert_eq!((&handle["id"], &handle["ids"][200]), (&json!("750x"), &json!("u_200")));
}
