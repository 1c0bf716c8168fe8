//! DESIGN §2 by its payloads: what one message looks like, and which are sent when. Emails and other
//! identifiers are in `emails`.

use serde_json::{Value, json};

use crate::faults::Answer;
use crate::messages::timeless;
use crate::project::{BRISK, ONE_ATTEMPT, TempProject};
use crate::sink::Sink;

const SCORES: &str = "SELECT user_id, score FROM users";
const ADULTS: &str = "SELECT user_id FROM users WHERE score >= 18";

/// A project with a table `users (user_id, score)` and one webhook, `crm`, of one message a request.
fn shop(sink: &Sink, users: &str) -> TempProject {
    let project = TempProject::new();
    project.webhook("crm", &sink.url(), BRISK);
    set_users(&project, users);
    project
}

fn set_users(project: &TempProject, rows: &str) {
    project.table_csv("users", &format!("user_id,score\n{rows}"));
}

#[test]
fn a_trait_travels_as_identify_with_its_email_and_what_was_computed() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,450\n");
    project.emails_csv("u1,ada@example.com,2024-01-01\n").trait_model("scores", r#""crm""#, SCORES);
    project.run(&[]);
    let expected = json!({
        "type": "identify",
        "userId": "u1",
        "traits": {"score": 450, "email": "ada@example.com"},
        "context": {"personas": {"computation_class": "trait", "computation_key": "score"}},
    });
    assert_eq!(timeless(sink.drain().only()), expected);
}

#[test]
fn a_tracked_trait_travels_as_one_event_per_trait() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,4\n");
    project.emails_csv("u1,ada@example.com,2024-01-01\n").trait_model(
        "scores",
        r#"{ to = "crm", as = "track" }"#,
        "SELECT user_id, score, score * 2 AS double_score FROM users",
    );
    project.run(&[]);
    let sent = sink.drain();
    let expected = [
        json!({"trait_key": "double_score", "double_score": 8}),
        json!({"trait_key": "score", "score": 4}),
    ];
    let mut properties = sent.properties();
    properties.sort_by_cached_key(|properties| properties["trait_key"].to_string());
    assert_eq!(properties, expected);
    for message in &sent.0 {
        assert_eq!(
            (&message["type"], &message["event"]),
            (&json!("track"), &json!("Trait Computed"))
        );
        assert_eq!(message["context"]["traits"]["email"], "ada@example.com");
    }
}

#[test]
fn the_event_of_a_tracked_trait_can_be_named() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,4\n");
    project.trait_model("scores", r#"{ to = "crm", as = "track", event = "Scored" }"#, SCORES);
    project.run(&[]);
    assert_eq!(sink.drain().only()["event"], "Scored");
}

#[test]
fn an_audience_travels_as_a_boolean_trait_false_on_exit() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\nu2,30\n");
    project.audience("adults", r#""crm""#, ADULTS);
    project.run(&[]);
    assert_eq!(sink.drain().traits(), [json!({"adults": true}), json!({"adults": true})]);
    set_users(&project, "u1,20\nu2,3\n");
    project.run(&[]);
    let sent = sink.drain();
    assert_eq!((sent.subjects(), sent.traits()), (vec!["u2"], vec![json!({"adults": false})]));
}

#[test]
fn a_tracked_audience_is_entered_and_exited() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    project.emails_csv("u1,ada@example.com,2024-01-01\n").audience(
        "adults",
        r#"{ to = "crm", as = "track" }"#,
        ADULTS,
    );
    let expected = |event: &str, member: bool| {
        json!({
            "type": "track",
            "event": event,
            "userId": "u1",
            "properties": {"audience_key": "adults", "adults": member},
            "context": {
                "traits": {"email": "ada@example.com"},
                "personas": {"computation_class": "audience", "computation_key": "adults"},
            },
        })
    };
    project.run(&[]);
    assert_eq!(timeless(sink.drain().only()), expected("Audience Entered", true));
    set_users(&project, "u1,2\n");
    project.run(&["--allow-large-change"]);
    assert_eq!(timeless(sink.drain().only()), expected("Audience Exited", false));
}

#[test]
fn other_columns_of_an_audience_travel_as_event_properties() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    let sql = "SELECT user_id, score AS last_score FROM users WHERE score >= 18";
    project.audience("adults", r#"{ to = "crm", as = "track" }"#, sql);
    project.run(&[]);
    let expected = json!({"audience_key": "adults", "adults": true, "last_score": 20});
    assert_eq!(sink.drain().only()["properties"], expected);
}

#[test]
fn the_key_of_a_model_is_its_name_in_snake_case() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    let header = "/*\n[audience]\nname = \"First time shopper\"\nsync = [\"crm\"]\n*/\n";
    project.file("queries/audiences/first.sql", format!("{header}{ADULTS}"));
    let report = project.run(&[]);
    assert_eq!(report.count("first_time_shopper.crm", "delivered"), 1);
    assert_eq!(sink.drain().only()["traits"], json!({"first_time_shopper": true}));
}

#[test]
fn an_account_level_model_travels_as_group() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    project
        .table_csv("accounts", "account_id,seats\na9,17\n")
        .trait_model("usage", r#""crm""#, "SELECT account_id, seats AS seats_used FROM accounts")
        .audience("large", r#""crm""#, "SELECT account_id FROM accounts WHERE seats > 10")
        .webhook("crm", &sink.url(), &format!("{BRISK}coalesce = false"));
    project.run(&[]);
    let sent = sink.drain();
    assert_eq!(sent.traits(), [json!({"large": true}), json!({"seats_used": 17})]);
    for message in &sent.0 {
        assert_eq!((&message["type"], &message["groupId"]), (&json!("group"), &json!("a9")));
        assert_eq!(message.get("userId"), None);
    }
}

#[test]
fn the_first_sync_sends_every_member_and_later_ones_only_differences() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\nu2,30\nu3,40\nu4,5\n");
    project.audience("adults", r#""crm""#, ADULTS);
    let report = project.run(&[]);
    assert_eq!(report.difference("adults.crm"), [3, 0, 0, 0]);
    assert_eq!(sink.drain().subjects(), ["u1", "u2", "u3"]);

    set_users(&project, "u1,20\nu2,3\nu3,40\nu4,50\n");
    let report = project.run(&[]);
    assert_eq!(report.difference("adults.crm"), [1, 1, 0, 0]);
    assert_eq!(report.count("adults.crm", "unchanged"), 2);
    assert_eq!(sink.drain().subjects(), ["u2", "u4"]);

    let report = project.run(&[]);
    assert_eq!(report.difference("adults.crm"), [0, 0, 0, 0]);
    assert!(sink.drain().is_empty());
}

#[test]
fn only_the_trait_that_changed_is_sent() {
    let sink = Sink::start();
    let project = TempProject::new();
    let rows = |rows: &str| {
        project.table_csv("users", &format!("user_id,score,tier\n{rows}"));
    };
    rows("u1,1,base\nu2,2,base\n");
    project.webhook("crm", &sink.url(), BRISK).trait_model(
        "scores",
        r#""crm""#,
        "SELECT user_id, score, tier FROM users",
    );
    project.run(&[]);
    assert_eq!(sink.drain().about("u1").only()["traits"], json!({"score": 1, "tier": "base"}));
    rows("u1,1,gold\nu2,2,base\n");
    let report = project.run(&[]);
    assert_eq!(report.difference("scores.crm"), [0, 0, 1, 0]);
    let sent = sink.drain();
    assert_eq!(
        (&sent.only()["userId"], &sent.only()["traits"]),
        (&json!("u1"), &json!({"tier": "gold"}))
    );
}

#[test]
fn a_value_that_became_null_is_sent_once() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,1\nu2,2\n");
    project.trait_model("scores", r#""crm""#, SCORES);
    project.run(&[]);
    sink.drain();
    set_users(&project, "u1,1\nu2,\n");
    project.run(&[]);
    let sent = sink.drain();
    assert_eq!((sent.subjects(), sent.traits()), (vec!["u2"], vec![json!({"score": null})]));
    project.run(&[]);
    assert!(sink.drain().is_empty());
}

#[test]
fn a_user_who_is_no_longer_returned_is_sent_as_null_once_unless_kept() {
    for (on_missing, expected) in [("null", vec![json!({"score": null})]), ("keep", vec![])] {
        let sink = Sink::start();
        let project = shop(&sink, "u1,1\nu2,2\n");
        let sync = format!(r#"{{ to = "crm", on_missing = "{on_missing}" }}"#);
        project.trait_model("scores", &sync, SCORES);
        project.run(&[]);
        sink.drain();
        set_users(&project, "u1,1\n");
        project.run(&[]);
        assert_eq!(sink.drain().traits(), expected, "on_missing = {on_missing}");
        project.run(&[]);
        assert!(sink.drain().is_empty(), "on_missing = {on_missing}");
    }
}

#[test]
fn without_history_the_first_run_is_a_baseline() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\nu2,30\n");
    project
        .audience("adults", r#"{ to = "crm", history = false }"#, ADULTS)
        .trait_model("scores", r#"{ to = "crm", history = false }"#, SCORES)
        .webhook("crm", &sink.url(), &format!("{BRISK}coalesce = false"));
    let report = project.run(&[]);
    assert_eq!((report.total("delivered"), sink.arrived()), (0, 0));
    set_users(&project, "u1,20\nu2,30\nu3,40\n");
    project.run(&[]);
    let sent = sink.drain();
    assert_eq!(sent.subjects(), ["u3", "u3"]);
    assert_eq!(sent.traits(), [json!({"adults": true}), json!({"score": 40})]);
}

#[test]
fn fields_rename_columns_on_their_way_out() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    let sync = r#"{ to = "crm", fields = { score = "lead_score" } }"#;
    project.trait_model("scores", sync, SCORES);
    project.run(&[]);
    assert_eq!(sink.drain().only()["traits"], json!({"lead_score": 20}));
}

#[test]
fn values_keep_their_types() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    let sql = "SELECT user_id, 1 AS a_int, 1.5 AS b_float, true AS c_bool, 'x\"y' AS d_text,
                      DATE '1998-05-31' AS e_date, TIMESTAMP '1998-05-31T12:30:00' AS f_time,
                      CAST(12.5 AS DECIMAL(10, 2)) AS g_decimal, [1, 2] AS h_list
               FROM users";
    project.trait_model("kinds", r#""crm""#, sql);
    project.run(&[]);
    let expected = json!({
        "a_int": 1, "b_float": 1.5, "c_bool": true, "d_text": "x\"y", "e_date": "1998-05-31",
        "f_time": "1998-05-31T12:30:00Z", "g_decimal": 12.5, "h_list": [1, 2],
    });
    assert_eq!(sink.drain().only()["traits"], expected);
}

#[test]
fn nan_equals_nan() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    project.trait_model(
        "odd",
        r#""crm""#,
        "SELECT user_id, CAST('NaN' AS DOUBLE) AS ratio, 1 AS one FROM users",
    );
    project.run(&[]);
    let report = project.run(&[]);
    assert_eq!((report.count("odd.crm", "unchanged"), sink.arrived()), (1, 1));
}

#[test]
fn changes_of_several_syncs_to_one_record_travel_as_one_message() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\nu2,3\n");
    project.audience("adults", r#""crm""#, ADULTS).trait_model("scores", r#""crm""#, SCORES);
    let report = project.run(&[]);
    assert_eq!(report.outcome("adults.crm"), [1, 0, 0]);
    assert_eq!(report.outcome("scores.crm"), [2, 0, 0]);
    let sent = sink.drain();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent.about("u1").only()["traits"], json!({"adults": true, "score": 20}));
    assert_eq!(sent.about("u2").only()["traits"], json!({"score": 3}));
}

#[test]
fn without_coalescing_each_sync_sends_its_own_message() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    project
        .audience("adults", r#""crm""#, ADULTS)
        .trait_model("scores", r#""crm""#, SCORES)
        .webhook("crm", &sink.url(), &format!("{BRISK}coalesce = false"));
    project.run(&[]);
    assert_eq!(sink.drain().traits(), [json!({"adults": true}), json!({"score": 20})]);
}

#[test]
fn batches_hold_as_many_messages_as_batch_size_says() {
    let sink = Sink::start();
    let project = shop(&sink, &(0..45).map(|n| format!("u{n},{n}\n")).collect::<String>());
    project.trait_model("scores", r#""crm""#, SCORES).webhook(
        "crm",
        &sink.url(),
        &format!("{BRISK}batch_size = 20"),
    );
    project.run(&[]);
    let mut sizes: Vec<_> =
        sink.requests().iter().map(|request| request.messages().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 20, 20]);
    let body: Value = serde_json::from_slice(&sink.requests()[0].body).unwrap();
    assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["batch"]);
}

#[test]
fn suppressed_users_are_left_out_and_leave_when_they_become_suppressed() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\nu2,30\nu3,40\n");
    project
        .table_csv("blocked", "user_id\nu2\n")
        .suppress("SELECT user_id FROM blocked")
        .audience("adults", r#""crm""#, ADULTS);
    let report = project.run(&[]);
    assert_eq!(report.count("adults.crm", "suppressed"), 1);
    assert_eq!(sink.drain().subjects(), ["u1", "u3"]);
    project.table_csv("blocked", "user_id\nu2\nu3\n");
    project.run(&[]);
    let sent = sink.drain();
    assert_eq!((sent.subjects(), sent.traits()), (vec!["u3"], vec![json!({"adults": false})]));
}

#[test]
fn a_message_id_survives_retries_within_a_run() {
    for answer in [Answer::Status(503), Answer::LostReply, Answer::Cut, Answer::Garbage] {
        let sink = Sink::start();
        let project = shop(&sink, "u1,1\n");
        project.trait_model("scores", r#""crm""#, SCORES);
        sink.script([answer.clone()]);
        project.run(&[]);
        let sent = sink.drain();
        assert_eq!(sent.len(), 2, "{answer:?}");
        assert_eq!(sent.ids()[0], sent.ids()[1], "{answer:?}");
    }
}

#[test]
fn a_message_id_survives_a_lost_reply_until_the_next_run() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,1\n");
    project.trait_model("scores", r#""crm""#, SCORES).webhook("crm", &sink.url(), ONE_ATTEMPT);
    sink.script([Answer::LostReply]);
    let report = project.run_exits(1, &[]);
    assert_eq!(report.outcome("scores.crm"), [0, 0, 1]);
    project.run(&[]);
    let sent = sink.drain();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent.ids()[0], sent.ids()[1]);
}

#[test]
fn every_transition_of_a_record_has_an_id_of_its_own() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,1\n");
    project.trait_model("scores", r#""crm""#, SCORES);
    for score in [1, 2, 1, 2] {
        set_users(&project, &format!("u1,{score}\n"));
        project.run(&[]);
    }
    let sent = sink.drain();
    let mut ids = sent.ids();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((sent.len(), ids.len()), (4, 4));
}

#[test]
fn a_user_who_was_added_with_a_lost_reply_and_then_leaves_is_removed() {
    let sink = Sink::start();
    let project = shop(&sink, "u1,20\n");
    project.audience("adults", r#""crm""#, ADULTS).webhook("crm", &sink.url(), ONE_ATTEMPT);
    sink.script([Answer::LostReply]);
    project.run_exits(1, &[]);
    sink.drain();
    set_users(&project, "u1,2\n");
    project.run(&["--allow-large-change"]);
    assert_eq!(sink.drain().only()["traits"], json!({"adults": false}));
}
