//! What the program says, word by word: help, tables, errors, JSON. Times, run ids, paths and ports
//! are replaced; everything else is as a user sees it.
//!
//! `INSTA_UPDATE=always cargo test --test it snapshots` writes what came into `snapshots/`; read the
//! difference before you commit it.

use crate::faults::Answer;
use crate::process::Ran;
use crate::project::{BRISK, TempProject};
use crate::sink::Sink;

const ADULTS: &str = "SELECT user_id FROM users WHERE score >= 18";
const SCORES: &str = "SELECT user_id, score, score * 2 AS double_score FROM users";

/// An audience and a trait model to a folder of files, three users.
fn shop() -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", "user_id,score\nu1,20\nu2,30\nu3,3\n")
        .destination("file", "type = \"file\"")
        .audience("adults", r#""file""#, ADULTS)
        .trait_model("scores", r#""file""#, SCORES);
    project
}

/// A webhook that refuses `u2`.
fn refusing(sink: &Sink) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", "user_id,score\nu1,20\nu2,30\nu3,3\n")
        .webhook("crm", &sink.url(), BRISK)
        .audience("adults", r#""crm""#, ADULTS);
    sink.refuse_subject("u2", Answer::Status(422));
    project
}

/// Everything one command did, as a text.
fn shown(ran: &Ran) -> String {
    let code = ran.code.map_or("killed".to_owned(), |code| code.to_string());
    let mut text = format!("exit code {code}\n");
    for (name, stream) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
        if !stream.is_empty() {
            text += &format!("----- {name} -----\n{}\n", stream.trim_end());
        }
    }
    text
}

/// What differs from run to run.
fn settings(project: &TempProject) -> insta::Settings {
    let mut settings = insta::Settings::clone_current();
    let root = project.path("").canonicalize().unwrap();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(&regex_of(&root.display().to_string()), "PROJECT");
    settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT");
    // As wide as what they stand for, so that tables stay tables; no test says `--as-of 20…`.
    settings.add_filter(r"20\d{6}T\d{9}Z\+*", "YYYYMMDDThhmmssfffZ");
    settings.add_filter(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "YYYY-MM-DDThh:mm:ssZ");
    settings.add_filter(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", "YYYY-MM-DD hh:mm:ss");
    settings.add_filter(r" and [\d.]+ m?s, as of", " and SPAN, as of");
    settings
}

fn regex_of(text: &str) -> String {
    text.trim_end_matches('/').replace('.', r"\.")
}

/// Compares what a command says with `tests/it/snapshots/NAME.snap`.
#[track_caller]
fn snapshot(project: &TempProject, name: &str, arguments: &[&str]) {
    let ran = project.muster(arguments);
    let command = format!("muster {}", arguments.join(" "));
    settings(project).bind(|| {
        insta::assert_snapshot!(name, format!("{command}\n{}", shown(&ran)));
    });
}

#[test]
fn help_teaches_every_command() {
    let project = TempProject::new();
    snapshot(&project, "help", &["--help"]);
    for command in [
        "init",
        "check",
        "preview",
        "plan",
        "run",
        "status",
        "history",
        "rejected",
        "retry",
        "reset",
        "destinations",
        "query",
        "completions",
    ] {
        snapshot(&project, &format!("help_{command}"), &[command, "--help"]);
    }
}

#[test]
fn a_run_is_a_table_and_a_sentence() {
    let project = shop();
    snapshot(&project, "run_first", &["run", "--as-of", "1998-05-31"]);
    snapshot(&project, "run_again", &["run", "--as-of", "1998-05-31"]);
    project.table_csv("users", "user_id,score\nu1,20\nu2,3\nu3,33\nu4,44\n");
    snapshot(&project, "run_changes", &["run", "adults", "--as-of", "1998-06-30"]);
    snapshot(&project, "status", &["status"]);
    snapshot(&project, "history", &["history"]);
    snapshot(&project, "history_of_one", &["history", "scores.file", "--limit", "1"]);
}

#[test]
fn a_plan_shows_counts_requests_and_time() {
    let project = shop();
    let sink = Sink::start();
    project.webhook("crm", &sink.url(), "rate_limit = 2").audience(
        "adults",
        r#""file", "crm""#,
        ADULTS,
    );
    snapshot(&project, "plan", &["plan", "--as-of", "1998-05-31"]);
    let arguments = ["plan", "adults.crm", "--payloads", "1", "--as-of", "1998-05-31"];
    snapshot(&project, "plan_payloads", &arguments);
    snapshot(&project, "plan_sql", &["plan", "adults.file", "--sql", "--as-of", "1998-05-31"]);
}

#[test]
fn what_was_refused_is_listed_with_its_reason() {
    let sink = Sink::start();
    let project = refusing(&sink);
    snapshot(&project, "run_rejected", &["run"]);
    snapshot(&project, "rejected", &["rejected"]);
    snapshot(&project, "rejected_json", &["rejected", "--format", "json"]);
    snapshot(&project, "status_rejected", &["status"]);
    sink.healthy();
    snapshot(&project, "retry", &["retry"]);
    snapshot(&project, "rejected_none", &["rejected"]);
}

#[test]
fn a_model_and_any_query_can_be_looked_at() {
    let project = shop();
    snapshot(&project, "preview", &["preview", "scores", "--limit", "2"]);
    snapshot(&project, "preview_json", &["preview", "adults", "--format", "json"]);
    let sql =
        "SELECT user_id, score > 18 AS adult, CAST(NULL AS VARCHAR) AS none FROM users ORDER BY 1";
    snapshot(&project, "query", &["query", sql]);
    snapshot(&project, "query_json", &["query", sql, "--format", "json"]);
}

#[test]
fn the_catalogue_describes_each_destination() {
    let project = TempProject::new();
    snapshot(&project, "destinations", &["destinations"]);
    for kind in ["file", "webhook"] {
        snapshot(&project, &format!("destinations_{kind}"), &["destinations", kind]);
    }
}

#[test]
fn json_has_the_same_shape_whatever_happens() {
    let project = shop();
    snapshot(&project, "run_json", &["run", "--format", "json", "--as-of", "1998-05-31"]);
    snapshot(&project, "status_json", &["status", "--format", "json"]);
    snapshot(&project, "history_json", &["history", "--format", "json"]);
    snapshot(&project, "check_json", &["check", "--format", "json"]);
}

#[test]
fn commands_that_change_things_say_what_they_did() {
    let project = shop();
    project.run(&[]);
    snapshot(&project, "check", &["check"]);
    snapshot(&project, "reset", &["reset", "adults.file"]);
    snapshot(&project, "reset_baseline", &["reset", "adults.file", "--baseline"]);
    snapshot(&project, "init", &["init", "shop"]);
    snapshot(&project, "init_again", &["init", "shop"]);
    snapshot(&project, "destinations_test", &["destinations", "--test", "file"]);
}

#[test]
fn an_error_is_a_fact_a_place_and_a_way_out() {
    let project = shop();
    project.audience("adults", r#""flie""#, "SELECT user_id\nFROM users\nWHERE scor >= 18");
    snapshot(&project, "error_check", &["check"]);
    snapshot(&project, "error_check_json", &["check", "--format", "json"]);
    snapshot(&project, "error_run", &["run"]);
    snapshot(&project, "error_usage", &["run", "--froce"]);
    snapshot(&project, "error_command", &["rnu"]);
    snapshot(&project, "error_time", &["run", "--as-of", "yesterday"]);
    snapshot(&project, "error_model", &["preview", "adlts"]);
    snapshot(&project, "error_sync", &["reset", "scores.flie"]);
    snapshot(&project, "error_type", &["destinations", "webhok"]);
    snapshot(&project, "error_query", &["query", "SELECT scor FROM users"]);
    snapshot(&project, "error_project", &["--project", "nowhere", "run"]);
}

#[test]
fn a_guard_says_what_it_stopped() {
    let project = shop();
    project.run(&[]);
    project.table_csv("users", "user_id,score\nu1,2\nu2,3\nu3,3\n");
    snapshot(&project, "guard", &["run", "adults"]);
}
