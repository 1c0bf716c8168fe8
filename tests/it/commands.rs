//! Every command, its exit code, and the JSON that scripts rely on.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::faults::Answer;
use crate::project::{BRISK, ONE_ATTEMPT, TempProject, numbered_users};
use crate::report::{Report, SYNC_KEYS};
use crate::sink::Sink;

const ADULTS: &str = "SELECT user_id FROM users WHERE score >= 18";
const SECRET: &str = "t0p-s3cret-token";

/// Three users, two of them adults, one audience, one webhook.
fn shop(sink: &Sink) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", "user_id,score\nu1,20\nu2,30\nu3,3\n")
        .audience("adults", r#""crm""#, ADULTS)
        .webhook("crm", &sink.url(), BRISK);
    project
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn help_and_version_exit_with_0() {
    let project = TempProject::new();
    let commands = [
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
    ];
    project.muster(&["--help"]).exits(0).shows(&commands);
    project.muster(&["--version"]).exits(0).shows(&["muster"]);
    for command in commands {
        assert!(!project.muster(&[command, "--help"]).exits(0).stdout.is_empty());
    }
}

#[test]
fn init_writes_a_project_that_works_at_once() {
    let project = TempProject::new();
    project.muster(&["init", "fresh"]).exits(0);
    project.muster(&["--project", "fresh", "check"]).exits(0);
    let run = ["--project", "fresh", "--format", "json", "run"];
    let first = Report(project.muster(&run).exits(0).json());
    assert!(first.total("delivered") > 0, "{:#}", first.0);
    let second = Report(project.muster(&run).exits(0).json());
    assert_eq!(second.total("delivered"), 0, "{:#}", second.0);
}

#[test]
fn init_does_not_write_over_a_project() {
    let sink = Sink::start();
    let project = shop(&sink);
    let before = project.read("muster.toml");
    let ran = project.muster(&["init", "."]).exits(2);
    assert!(!ran.stderr.is_empty());
    assert_eq!(project.read("muster.toml"), before);
}

#[test]
fn check_of_three_hundred_models_passes() {
    let sink = Sink::start();
    let project = shop(&sink);
    for number in 0..300 {
        let sql = match number % 3 {
            0 => format!("SELECT user_id FROM users WHERE score > {number}"),
            1 => format!("SELECT user_id FROM audiences.a{:03}", number - 1),
            _ => format!("SELECT user_id FROM audiences.a{:03} WHERE true", number - 1),
        };
        project.audience(&format!("a{number:03}"), r#""crm""#, &sql);
    }
    project.muster(&["check"]).exits(0);
    assert_eq!(project.plan(&[]).syncs().len(), 301);
    assert_eq!(sink.arrived(), 0);
}

#[test]
fn preview_shows_rows_and_their_count() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.table_csv("users", &numbered_users(57));
    let ran = project.muster(&["preview", "adults", "--limit", "2"]).exits(0).shows(&["user_id"]);
    assert_eq!(ran.stdout.matches("u00").count(), 2, "{ran}");
    assert!(format!("{}{}", ran.stdout, ran.stderr).contains("39"), "no count\n{ran}");
    project.muster(&["preview", "adults", "--limit", "2", "--format", "json"]).exits(0).json();
    assert_eq!(sink.arrived(), 0);
}

#[test]
fn run_prints_exactly_the_promised_json() {
    let sink = Sink::start();
    let project = shop(&sink);
    let report = project.run(&["--as-of", "1998-05-31"]);
    assert_eq!(keys(&report.0), ["as_of", "run", "syncs"].into());
    assert!(report.0["run"].is_string());
    assert!(report.0["as_of"].as_str().unwrap().starts_with("1998-05-31"));
    let expected = json!([{
        "sync": "adults.crm", "entered": 2, "exited": 0, "changed": 0, "resynced": 0,
        "unchanged": 0, "invalid": 0, "suppressed": 0, "delivered": 2, "rejected": 0,
        "pending": 0, "skipped": null,
    }]);
    assert_eq!(report.0["syncs"], expected);
}

#[test]
fn plan_says_what_run_would_do_and_does_nothing() {
    let sink = Sink::start();
    let project = shop(&sink);
    for _ in 0..2 {
        let plan = project.plan(&[]);
        let entry = plan.sync("adults.crm");
        assert!(keys(entry).is_superset(&SYNC_KEYS.into()), "{entry:#}");
        assert_eq!(plan.difference("adults.crm"), [2, 0, 0, 0]);
        plan.adds_up();
    }
    assert_eq!(sink.arrived(), 0);
    assert_eq!(project.run(&[]).difference("adults.crm"), [2, 0, 0, 0]);
    assert_eq!(project.plan(&[]).difference("adults.crm"), [0, 0, 0, 0]);
    project.muster(&["plan", "--sql"]).exits(0).shows(&["SELECT"]);
}

/// The requests that `plan --payloads` shows, of the sync or of the whole plan.
fn planned_requests(plan: &Report, sync: &str) -> Vec<Value> {
    let of_sync = plan.sync(sync)["requests"].as_array();
    of_sync.or_else(|| plan.0["requests"].as_array()).unwrap().clone()
}

#[test]
fn planned_payloads_are_what_run_then_sends() {
    let sink = Sink::start();
    let project = shop(&sink);
    let options = format!("{BRISK}headers = {{ Authorization = \"Bearer ${{CRM_TOKEN}}\" }}");
    project.webhook("crm", &sink.url(), &options).environment("CRM_TOKEN", SECRET);
    let arguments = ["--payloads", "5", "--as-of", "1998-05-31"];
    let plan = project.plan(&arguments);
    assert!(!plan.0.to_string().contains(SECRET));
    let planned = planned_requests(&plan, "adults.crm");
    assert_eq!((planned.len(), sink.arrived()), (2, 0));
    for request in &planned {
        assert!(
            keys(request).is_superset(&["body", "headers", "method", "url"].into()),
            "{request:#}"
        );
        assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &json!(sink.url())));
    }
    project.run(&["--as-of", "1998-05-31"]);
    let sorted = |mut bodies: Vec<Value>| {
        bodies.sort_by_cached_key(Value::to_string);
        bodies
    };
    let sent = sink.requests();
    assert_eq!(
        sorted(planned.iter().map(|request| body(&request["body"])).collect()),
        sorted(sent.iter().flat_map(|request| request.messages()).collect()),
    );
    assert_eq!(sent[0].headers["authorization"], format!("Bearer {SECRET}"));
    assert_eq!((sent[0].method.as_str(), sent[0].path.as_str()), ("POST", "/hook"));
}

/// A body as JSON, whether it was shown as an object or as the text on the wire.
fn body(shown: &Value) -> Value {
    shown.as_str().map_or_else(|| shown.clone(), |text| serde_json::from_str(text).unwrap())
}

#[test]
fn payloads_are_limited_to_as_many_as_asked_for() {
    let sink = Sink::start();
    let project = shop(&sink);
    let plan = project.plan(&["--payloads", "1"]);
    assert_eq!(planned_requests(&plan, "adults.crm").len(), 1);
    project.muster(&["plan", "--payloads", "1"]).exits(0).shows(&["POST", &sink.url(), "adults"]);
}

#[test]
fn a_secret_never_shows_up_anywhere() {
    let sink = Sink::start();
    let project = shop(&sink);
    let options = format!("{ONE_ATTEMPT}headers = {{ Authorization = \"Bearer ${{CRM_TOKEN}}\" }}");
    project.webhook("crm", &sink.url(), &options).environment("CRM_TOKEN", SECRET);
    sink.refuse_subject("u1", Answer::Status(422));
    sink.refuse_subject("u2", Answer::Status(401));
    let mut ran = Vec::new();
    for arguments in [
        &["check"][..],
        &["plan", "--payloads", "9"],
        &["-v", "run"],
        &["rejected"],
        &["status"],
        &["history"],
        &["destinations", "--test", "crm"],
    ] {
        ran.push(project.muster(arguments));
    }
    assert!(ran.iter().all(|ran| !ran.to_string().contains(SECRET)));
    let leaks = |bytes: Vec<u8>| bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
    assert!(project.files_below(".muster").iter().all(|path| !leaks(fs::read(path).unwrap())));
}

#[test]
fn a_selection_runs_nothing_else() {
    for (selection, users) in [
        ("adults", vec!["u1", "u2"]),
        ("children.crm", vec!["u3"]),
        ("chi*", vec!["u3"]),
        ("*.mail", vec![]),
        ("crm", vec!["u1", "u2", "u3"]),
    ] {
        let sink = Sink::start();
        let other = Sink::start();
        let project = shop(&sink);
        project.webhook("mail", &other.url(), BRISK).audience(
            "children",
            r#""crm", "mail""#,
            "SELECT user_id FROM users WHERE score < 18",
        );
        project.run(&[selection]);
        assert_eq!(sink.drain().subjects(), users, "{selection}");
    }
}

#[test]
fn as_of_pins_the_time_of_the_queries() {
    let sink = Sink::start();
    let project = TempProject::new();
    let recent =
        "SELECT user_id FROM orders WHERE day > now() - INTERVAL '30 days' AND day <= now()";
    project
        .table_csv("orders", "user_id,day\nu1,1998-05-01T00:00:00\nu2,1998-06-15T00:00:00\n")
        .audience("recent", r#""crm""#, recent)
        .webhook("crm", &sink.url(), BRISK);
    project.run(&["--as-of", "1998-05-20"]);
    assert_eq!(sink.drain().subjects(), ["u1"]);
    project.run(&["--as-of", "1998-05-20"]);
    assert!(sink.drain().is_empty());
    let report = project.run(&["--as-of", "1998-06-20"]);
    assert_eq!(report.difference("recent.crm"), [1, 1, 0, 0]);
}

#[test]
fn a_sync_runs_at_most_every_so_often_unless_forced() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.audience("adults", r#"{ to = "crm", every = "6h" }"#, ADULTS);
    project.run(&[]);
    project.table_csv("users", "user_id,score\nu1,20\nu2,30\nu3,33\n");
    let report = project.run(&[]);
    assert!(report.sync("adults.crm")["skipped"].is_string(), "{:#}", report.0);
    assert_eq!(sink.arrived(), 2);
    project.run(&["--force"]);
    assert_eq!(sink.arrived(), 3);
}

#[test]
fn status_and_history_name_syncs_and_runs() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.muster(&["status"]).exits(0).shows(&["adults.crm"]);
    let report = project.run(&[]);
    let run = report.0["run"].as_str().unwrap();
    project.muster(&["status"]).exits(0).shows(&["adults.crm", "2"]);
    project.muster(&["history"]).exits(0).shows(&[run]);
    project.muster(&["history", "adults.crm"]).exits(0).shows(&[run]);
    for command in ["status", "history", "rejected"] {
        project.muster(&[command, "--format", "json"]).exits(0).json();
    }
}

#[test]
fn a_reset_sync_sends_everything_again() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    sink.drain();
    project.muster(&["reset", "adults.crm"]).exits(0);
    let report = project.run(&[]);
    assert_eq!(report.difference("adults.crm"), [2, 0, 0, 0]);
    assert_eq!(sink.drain().subjects(), ["u1", "u2"]);
}

#[test]
fn a_baseline_records_the_present_as_delivered() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.muster(&["reset", "adults.crm", "--baseline"]).exits(0);
    project.run(&[]);
    assert_eq!(sink.arrived(), 0);
    project.table_csv("users", "user_id,score\nu1,20\nu2,3\nu3,33\n");
    project.run(&[]);
    assert_eq!(sink.drain().subjects(), ["u2", "u3"]);
}

#[test]
fn the_catalogue_lists_every_destination_with_a_working_example() {
    let project = TempProject::new();
    let catalogue = project.muster(&["destinations", "--format", "json"]).exits(0).json();
    let entries = catalogue.as_array().unwrap();
    let types: BTreeSet<_> = entries.iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert!(types.is_superset(&["file", "rudderstack", "segment", "webhook"].into()), "{types:?}");
    for entry in entries {
        assert!(keys(entry).is_superset(&["calls", "example", "mode", "type"].into()), "{entry:#}");
        let example: toml::Table = entry["example"].as_str().unwrap().parse().unwrap();
        assert!(example.contains_key("destinations"), "{entry:#}");
    }
    project.muster(&["destinations"]).exits(0).shows(&["webhook", "segment"]);
    project.muster(&["destinations", "webhook"]).exits(0).shows(&["url", "batch_size"]);
}

#[test]
fn credentials_can_be_tested_without_sending_anything() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.muster(&["destinations", "--test", "crm"]).exits(0);
    assert!(sink.drain().is_empty());
}

#[test]
fn query_sees_tables_models_and_past_runs() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    let count = |sql: &str| {
        let arguments = ["query", "--format", "json", sql];
        project.muster(&arguments).exits(0).json().to_string()
    };
    assert!(count("SELECT count(*) + 40 AS n FROM users").contains("43"));
    assert!(count("SELECT count(*) + 40 AS n FROM audiences.adults").contains("42"));
    assert!(count("SELECT count(*) + 40 AS n FROM muster.runs").contains("41"));
    assert!(count("SELECT count(*) + 40 AS n FROM muster.changes").contains("42"));
    assert!(count("SELECT count(*) + 40 AS n FROM muster.deliveries").contains("42"));
    assert!(count("SELECT count(*) + 40 AS n FROM muster.rejected").contains("40"));
}

#[test]
fn models_may_build_on_models() {
    let sink = Sink::start();
    let project = shop(&sink);
    project
        .trait_model("doubles", r#""crm""#, "SELECT user_id, score * 2 AS double_score FROM users")
        .audience("rich", r#""crm""#, "SELECT user_id FROM traits.doubles WHERE double_score > 50")
        .audience("rich_adults", r#""crm""#, "SELECT user_id FROM audiences.rich");
    project.run(&["rich_adults"]);
    assert_eq!(sink.drain().subjects(), ["u2"]);
}

#[test]
fn tables_of_every_format_are_read() {
    let sink = Sink::start();
    let project = TempProject::new();
    let mut union = String::new();
    for table in ["a", "b", "c", "d", "e"] {
        let glue = if union.is_empty() { "" } else { " UNION ALL " };
        write!(union, "{glue}SELECT user_id, score FROM {table}").unwrap();
    }
    project
        .table_csv("a", "user_id,score\nu1,1\n")
        .table_ndjson("b", "{\"user_id\":\"u2\",\"score\":2}\n")
        .table_parquet("c", &[("u3", 3)])
        .file("data/d/day=1998-05-30/part.csv", "user_id,score\nu4,4\n")
        .file("data/d/day=1998-05-31/part.csv", "user_id,score\nu5,5\n")
        .file("data/e/part.parquet", crate::project::scores(&[("u6", 6)]))
        .trait_model("scores", r#""crm""#, &union)
        .webhook("crm", &sink.url(), BRISK);
    project.run(&[]);
    assert_eq!(sink.drain().subjects(), ["u1", "u2", "u3", "u4", "u5", "u6"]);
}

#[test]
fn slow_shapes_of_sql_are_told_to_who_asks() {
    let project = TempProject::new();
    project.table_csv("users", "user_id,score,city\nu1,1,Graz\n").trait_model(
        "home",
        "",
        "SELECT user_id, first_value(city ORDER BY score) AS city FROM users GROUP BY user_id",
    );
    let told = project.muster(&["check", "-v"]).exits(0);
    told.says(&["note[Q15]", "home.sql", "aggregates over sorted rows"]);
    let untold = project.muster(&["check"]).exits(0);
    assert!(!untold.stderr.contains("Q15"), "{}", untold.stderr);
}
