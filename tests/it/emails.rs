//! Rules 3 and 4 of DESIGN §2: one message per email, and a new identifier re-sends.

use serde_json::json;

use crate::faults::Answer;
use crate::project::{BRISK, ONE_ATTEMPT, TempProject};
use crate::sink::Sink;

const SCORES: &str = "SELECT user_id, score FROM users";

const TWO_EMAILS: &str = "u1,ada@example.com,2024-01-01\nu1,lovelace@example.com,2024-02-01\n";

/// Users `u1` with two emails and `u2` with none, one trait, one webhook.
fn shop(sink: &Sink, sync: &str) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", "user_id,score\nu1,1\nu2,2\n")
        .emails_csv(TWO_EMAILS)
        .trait_model("scores", sync, SCORES)
        .webhook("crm", &sink.url(), BRISK);
    project
}

#[test]
fn a_profile_with_several_emails_gets_one_message_for_each() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    let report = project.run(&[]);
    assert_eq!(report.difference("scores.crm"), [3, 0, 0, 0]);
    let expected =
        [("u1", Some("ada@example.com")), ("u1", Some("lovelace@example.com")), ("u2", None)];
    assert_eq!(sink.drain().addressed(), expected);
}

#[test]
fn the_messages_of_several_emails_have_different_ids() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    project.run(&[]);
    let sent = sink.drain();
    let mut ids = sent.ids();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_sync_can_ask_for_the_first_or_the_last_email() {
    for (which, email) in [("first", "ada@example.com"), ("last", "lovelace@example.com")] {
        let sink = Sink::start();
        let sync = format!(r#"{{ to = "crm", identifiers = {{ email = "{which}" }} }}"#);
        let project = shop(&sink, &sync);
        project.run(&[]);
        assert_eq!(sink.drain().addressed(), [("u1", Some(email)), ("u2", None)]);
    }
}

#[test]
fn users_who_share_an_email_each_get_their_message() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    project.emails_csv("u1,shared@example.com,2024-01-01\nu2,shared@example.com,2024-01-02\n");
    project.run(&[]);
    let shared = Some("shared@example.com");
    assert_eq!(sink.drain().addressed(), [("u1", shared), ("u2", shared)]);
}

#[test]
fn a_new_email_brings_the_present_traits_and_memberships_with_it() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    project.audience("known", r#""crm""#, "SELECT user_id FROM users");
    project.run(&[]);
    sink.drain();
    project.emails_csv(&format!("{TWO_EMAILS}u1,new@example.com,2024-03-01\n"));
    let report = project.run(&[]);
    assert_eq!(report.difference("scores.crm"), [0, 0, 0, 1]);
    assert_eq!(report.difference("known.crm"), [0, 0, 0, 1]);
    let expected = json!({"score": 1, "known": true, "email": "new@example.com"});
    assert_eq!(sink.drain().only()["traits"], expected);
    project.run(&[]);
    assert!(sink.drain().is_empty());
}

#[test]
fn the_first_email_of_a_known_user_is_a_new_identifier() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    project.run(&[]);
    sink.drain();
    project.emails_csv(&format!("{TWO_EMAILS}u2,grace@example.com,2024-03-01\n"));
    let report = project.run(&[]);
    assert_eq!(report.difference("scores.crm"), [0, 0, 0, 1]);
    assert_eq!(sink.drain().addressed(), [("u2", Some("grace@example.com"))]);
}

#[test]
fn a_new_email_re_sends_nothing_when_the_sync_says_so() {
    let sink = Sink::start();
    let project = shop(&sink, r#"{ to = "crm", resync_on_new_identifier = false }"#);
    project.run(&[]);
    sink.drain();
    project.emails_csv(&format!("{TWO_EMAILS}u1,new@example.com,2024-03-01\n"));
    project.run(&[]);
    assert!(sink.drain().is_empty());
    project.table_csv("users", "user_id,score\nu1,7\nu2,2\n");
    project.run(&[]);
    let addressed = ["ada@example.com", "lovelace@example.com", "new@example.com"];
    assert_eq!(sink.drain().addressed(), addressed.map(|email| ("u1", Some(email))));
}

#[test]
fn an_email_that_only_went_is_dropped_silently() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    project.run(&[]);
    sink.drain();
    project.emails_csv("u1,ada@example.com,2024-01-01\n");
    let report = project.run(&[]);
    assert_eq!(report.difference("scores.crm"), [0, 0, 0, 0]);
    assert!(sink.drain().is_empty());
    project.table_csv("users", "user_id,score\nu1,9\nu2,2\n");
    project.run(&[]);
    assert_eq!(sink.drain().addressed(), [("u1", Some("ada@example.com"))]);
}

#[test]
fn a_user_who_leaves_leaves_under_every_email() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    project.run(&[]);
    sink.drain();
    project.table_csv("users", "user_id,score\nu2,2\n");
    let report = project.run(&[]);
    assert_eq!(report.difference("scores.crm"), [0, 2, 0, 0]);
    let sent = sink.drain();
    assert_eq!(
        sent.addressed(),
        [("u1", Some("ada@example.com")), ("u1", Some("lovelace@example.com"))]
    );
    assert!(sent.traits().iter().all(|traits| traits["score"].is_null()));
}

#[test]
fn a_changed_value_goes_out_under_every_email() {
    let sink = Sink::start();
    let project = shop(&sink, r#"{ to = "crm", as = "track" }"#);
    project.run(&[]);
    sink.drain();
    project.table_csv("users", "user_id,score\nu1,5\nu2,2\n");
    let report = project.run(&[]);
    assert_eq!(report.difference("scores.crm"), [0, 0, 2, 0]);
    let expected = json!({"trait_key": "score", "score": 5});
    assert_eq!(sink.drain().properties(), [expected.clone(), expected]);
}

#[test]
fn a_user_whose_only_email_was_replaced_during_an_outage_can_still_leave() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    project.webhook("crm", &sink.url(), ONE_ATTEMPT).emails_csv("u1,old@example.com,2024-01-01\n");
    project.run(&[]);
    project.emails_csv("u1,new@example.com,2024-02-01\n");
    project.webhook("crm", &Sink::dead_url(), ONE_ATTEMPT).run_exits(1, &[]);
    project.webhook("crm", &sink.url(), ONE_ATTEMPT);
    project.table_csv("users", "user_id,score\nu2,2\n");
    project.run(&[]);
    assert_eq!(sink.remote().facts().get(&fact("u1")), None, "the destination still has the user");
}

#[test]
fn an_email_that_went_after_it_alone_got_a_value_does_not_leave_that_value_behind() {
    let sink = Sink::start();
    let project = shop(&sink, r#""crm""#);
    project.webhook("crm", &sink.url(), &format!("{ONE_ATTEMPT}concurrency = 1"));
    project.run(&[]);
    sink.script([Answer::Status(503), Answer::Accept]);
    project.table_csv("users", "user_id,score\nu1,5\nu2,2\n");
    project.run_exits(1, &[]);
    let last = sink.requests().pop().unwrap().messages();
    let went = last[0]["traits"]["email"].as_str().unwrap();
    let stays = TWO_EMAILS.lines().find(|line| !line.contains(went)).unwrap();
    project.emails_csv(&format!("{stays}\n")).table_csv("users", "user_id,score\nu1,1\nu2,2\n");
    project.run(&[]);
    assert_eq!(sink.remote().facts()[&fact("u1")], json!(1));
}

/// The fact that [`shop`]'s trait model states of a user.
fn fact(user: &str) -> (String, String) {
    (format!("user {user}"), "identify score".to_owned())
}
