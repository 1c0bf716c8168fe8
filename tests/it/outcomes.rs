//! What becomes of rows: delivered, rejected, pending; and of runs that are cut short.

use crate::faults::Answer;
use crate::process::Killer;
use crate::project::{BRISK, ONE_ATTEMPT, TempProject, numbered_users};
use crate::sink::{Moment, Sink};

const ADULTS: &str = "SELECT user_id FROM users WHERE score >= 18";

/// Three users, two of them adults, one audience, one webhook.
fn shop(sink: &Sink) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", "user_id,score\nu1,20\nu2,30\nu3,3\n")
        .audience("adults", r#""crm""#, ADULTS)
        .webhook("crm", &sink.url(), BRISK);
    project
}

#[test]
fn a_refused_row_is_kept_with_its_reason_and_sent_again_on_retry() {
    let refusals =
        [Answer::Status(422), Answer::Partial { failed: Some(vec![0]), retryable: false }];
    for refusal in refusals {
        let sink = Sink::start();
        let project = shop(&sink);
        sink.refuse_subject("u2", refusal);
        let report = project.run_exits(1, &[]);
        assert_eq!(report.outcome("adults.crm"), [1, 1, 0]);
        project.muster(&["rejected"]).exits(0).shows(&["adults.crm", "u2"]);
        project.muster(&["rejected", "adults.crm"]).exits(0).shows(&["u2"]);
        sink.drain();
        project.muster(&["run"]);
        assert!(sink.drain().is_empty(), "a refused row is not sent again at once");
        sink.healthy();
        project.muster(&["retry"]).exits(0);
        assert_eq!(sink.drain().subjects(), ["u2"]);
        let after = project.muster(&["rejected"]).exits(0);
        assert!(!after.stdout.contains("u2"), "{after}");
        project.run(&[]);
        assert!(sink.drain().is_empty());
    }
}

#[test]
fn one_bad_row_does_not_hold_back_its_batch() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.table_csv("users", &numbered_users(60)).webhook(
        "crm",
        &sink.url(),
        &format!("{BRISK}batch_size = 20"),
    );
    sink.refuse_subject("u0033", Answer::Status(400));
    let report = project.run_exits(1, &[]);
    assert_eq!(report.outcome("adults.crm"), [41, 1, 0]);
    project.muster(&["rejected"]).exits(0).shows(&["u0033"]);
}

#[test]
fn what_was_not_taken_is_pending_and_goes_with_the_next_run() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.webhook("crm", &sink.url(), ONE_ATTEMPT);
    sink.refuse_subject("u2", Answer::Status(503));
    let report = project.run_exits(1, &[]);
    assert_eq!(report.outcome("adults.crm"), [1, 0, 1]);
    sink.healthy();
    sink.drain();
    let report = project.run(&[]);
    assert_eq!(report.outcome("adults.crm"), [1, 0, 0]);
    assert_eq!(sink.drain().subjects(), ["u2"]);
}

#[test]
fn one_dead_destination_does_not_stop_the_other() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.webhook("dead", &Sink::dead_url(), ONE_ATTEMPT).audience(
        "adults",
        r#""crm", "dead""#,
        ADULTS,
    );
    let report = project.run_exits(1, &[]);
    assert_eq!(report.outcome("adults.crm"), [2, 0, 0]);
    assert_eq!(report.outcome("adults.dead"), [0, 0, 2]);
    assert_eq!(sink.drain().subjects(), ["u1", "u2"]);
}

#[test]
fn refused_credentials_halt_their_destination_alone() {
    let (open, closed) = (Sink::start(), Sink::start());
    let project = shop(&open);
    closed.script(vec![Answer::Status(401); 50]);
    project
        .table_csv("users", &numbered_users(50))
        .webhook("closed", &closed.url(), &format!("{BRISK}concurrency = 1"))
        .audience("adults", r#""crm", "closed""#, ADULTS);
    let report = project.run_exits(1, &[]);
    assert_eq!(report.outcome("adults.crm"), [32, 0, 0]);
    assert_eq!(report.outcome("adults.closed"), [0, 0, 32]);
    assert_eq!(closed.arrived(), 1);
}

#[test]
fn an_interrupted_run_stops_cleanly_and_the_next_goes_on() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.table_csv("users", &numbered_users(400)).webhook(
        "crm",
        &sink.url(),
        "rate_limit = 20\nconcurrency = 2",
    );
    let running = project.start(&["run"]);
    sink.wait_for_requests(3);
    running.interrupt();
    running.finish().exits(130);
    let before = sink.arrived();
    assert!(before < 382, "the run went on to its end");
    project.webhook("crm", &sink.url(), BRISK);
    project.run(&[]);
    assert_eq!(sink.remote().facts().len(), 382);
    assert_eq!(sink.arrived(), 382, "a clean stop leaves nothing in doubt");
}

#[test]
fn one_killed_run_is_recovered_by_the_next() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.webhook("crm", &sink.url(), &format!("{BRISK}concurrency = 1"));
    let (killers, waiting) = std::sync::mpsc::channel::<Killer>();
    sink.on_request(2, Moment::Applied, move || waiting.recv().unwrap().kill());
    let running = project.start(&["run"]);
    killers.send(running.killer()).unwrap();
    assert_eq!(running.finish().code, None);
    sink.wait_until_idle();
    project.run(&[]);
    let sent = sink.drain();
    assert_eq!(sent.len(), 3, "what was acknowledged before the kill is not sent again");
    assert_eq!(sent.ids()[1], sent.ids()[2]);
}

#[test]
fn whoever_lacks_what_a_destination_needs_is_counted_listed_and_not_sent() {
    let sink = Sink::start();
    let project = shop(&sink);
    project
        .emails_csv("u1,a@example.org,2020-01-01\n")
        .destination(
            "mail",
            &format!(
                "type = \"braze\"\napi_key = \"key\"\nidentify_by = \"email\"\nbase_url = \"{}\"\n{ONE_ATTEMPT}",
                sink.url()
            ),
        )
        .audience("adults", r#""mail""#, ADULTS);
    let plan = project.plan(&[]);
    assert_eq!(plan.sync("adults.mail")["invalid"], 1);
    let ran = project.muster(&["run"]);
    let ran = ran.says(&["warning[R03]", "adults.mail", "no email (1)"]);
    assert!(!ran.stderr.contains("u2"), "rows are not named in messages");
    assert_eq!(sink.arrived(), 1);
    project.muster(&["rejected"]).exits(0).shows(&["adults.mail", "u2", "no email", "not sent"]);
    project.emails_csv("u1,a@example.org,2020-01-01\nu2,b@example.org,2020-01-01\n");
    project.muster(&["run"]);
    let rejected = project.muster(&["rejected"]).exits(0);
    assert!(!rejected.stdout.contains("no email"), "{rejected}");
}
