//! A lake that did not change is recognised without computing anything; whatever might make a
//! difference is computed.

use std::fs::File;
use std::time::{Duration, SystemTime};

use crate::faults::Answer;
use crate::project::{BRISK, TempProject};
use crate::sink::Sink;

const ADULTS: &str = "SELECT user_id FROM users WHERE score >= 18";

/// Users with emails, an audience, and files that were written an hour ago.
fn shop(sink: &Sink, sql: &str) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", "user_id,score\nu1,20\nu2,30\nu3,3\n")
        .table_csv("emails", "user_id,email\nu1,one@example.org\n")
        .identifiers("SELECT user_id, 'email' AS type, email AS value FROM emails")
        .audience("adults", r#""crm""#, sql)
        .webhook("crm", &sink.url(), BRISK);
    age(&project, 3600);
    project
}

type Edit = fn(&TempProject);

/// Sets the tables' times back.
fn age(project: &TempProject, seconds: u64) {
    for name in ["users", "emails"] {
        let file =
            File::options().append(true).open(project.path(format!("data/{name}.csv"))).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }
}

#[track_caller]
fn assert_computes(project: &TempProject, arguments: &[&str], computes: bool) {
    let ran = project.muster(&[&["-v"], arguments].concat());
    assert_eq!(!ran.stderr.contains("not computed"), computes, "{ran}");
}

#[test]
fn an_unchanged_lake_is_not_computed_and_still_counted() {
    let sink = Sink::start();
    let project = shop(&sink, ADULTS);
    project.run(&[]);
    sink.drain();
    assert_computes(&project, &["run"], false);
    let report = project.run(&[]);
    assert_eq!(report.difference("adults.crm"), [0; 4]);
    assert_eq!(report.count("adults.crm", "unchanged"), 2);
    assert!(sink.drain().is_empty());
    assert_computes(&project, &["run", "--force"], true);
}

#[test]
fn whatever_may_make_a_difference_is_computed() {
    let changes: [(&str, Edit); 6] = [
        ("a file that was touched", |project| age(project, 1800)),
        ("a file with other rows", |project| {
            project.table_csv("users", "user_id,score\nu1,20\nu2,30\nu3,33\n");
            age(project, 3600);
        }),
        ("other SQL", |project| {
            project.audience("adults", r#""crm""#, "SELECT user_id FROM users WHERE score >= 21");
        }),
        ("other options", |project| {
            project.audience("adults", r#"{ to = "crm", as = "track" }"#, ADULTS);
        }),
        ("other identifiers", |project| {
            project
                .identifiers("SELECT user_id, 'email' AS type, lower(email) AS value FROM emails");
        }),
        ("a reset", |project| drop(project.muster(&["reset", "adults.crm"]).exits(0))),
    ];
    for (change, make) in changes {
        let sink = Sink::start();
        let project = shop(&sink, ADULTS);
        project.run(&[]);
        assert_computes(&project, &["run"], false);
        make(&project);
        let ran = project.muster(&["-v", "run"]).exits(0);
        assert!(!ran.stderr.contains("not computed"), "{change}\n{ran}");
    }
}

#[test]
fn the_sql_of_a_model_it_selects_from_counts() {
    let sink = Sink::start();
    let project = shop(&sink, "SELECT user_id FROM traits.score WHERE score >= 18");
    let trait_sql = "SELECT user_id, score FROM users";
    project.trait_model("score", "", trait_sql);
    project.run(&[]);
    assert_computes(&project, &["run"], false);
    project.trait_model("score", "", &format!("{trait_sql} WHERE score < 25"));
    assert_eq!(project.run(&[]).difference("adults.crm"), [0, 1, 0, 0]);
}

#[test]
fn the_sql_of_a_model_that_suppresses_counts() {
    let sink = Sink::start();
    let project = shop(&sink, ADULTS);
    project.audience("gone", "", "SELECT user_id FROM users WHERE user_id = 'u1'");
    project.suppress("SELECT user_id FROM audiences.gone");
    project.run(&[]);
    assert_computes(&project, &["run"], false);
    project.audience("gone", "", "SELECT user_id FROM users WHERE user_id = 'u2'");
    assert_eq!(project.run(&[]).difference("adults.crm"), [1, 1, 0, 0]);
}

#[test]
fn queries_of_clock_or_chance_and_files_just_written_are_always_computed() {
    for volatile in ["now() > '2020-01-01'", "current_date > '2020-01-01'", "random() < 2"] {
        let sink = Sink::start();
        let project = shop(&sink, &format!("{ADULTS} AND {volatile}"));
        project.run(&[]);
        assert_computes(&project, &["run"], true);
    }
    let sink = Sink::start();
    let project = shop(&sink, ADULTS);
    // In the future, whatever the machine's clock: nobody can tell what is still to be written.
    let file = File::options().append(true).open(project.path("data/users.csv")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    project.run(&[]);
    assert_computes(&project, &["run"], true);
    age(&project, 3600);
    assert_computes(&project, &["run"], true);
    assert_computes(&project, &["run"], false);
}

#[test]
fn a_sync_with_something_left_is_computed() {
    let sink = Sink::start();
    let project = shop(&sink, ADULTS);
    sink.refuse_subject("u2", Answer::Status(422));
    project.run_exits(1, &[]);
    assert_computes(&project, &["run"], true);
    sink.healthy();
    assert_computes(&project, &["retry"], true);
    assert_computes(&project, &["run"], false);
    assert_computes(&project, &["retry"], true);
}
