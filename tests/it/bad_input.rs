//! What a user can get wrong in the project: exit 2, a message that names file, line and way out,
//! and nothing sent. What can be wrong with tables and state is in `bad_state`.

use std::fs;

use crate::project::{BRISK, SQL_LINE, SYNC_LINE, TempProject};
use crate::sink::Sink;

const ADULTS: &str = "SELECT user_id FROM users WHERE score >= 18";

/// A project in which everything is right.
fn sound(sink: &Sink) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", "user_id,score\nu1,20\nu2,30\nu3,\n")
        .webhook("crm", &sink.url(), BRISK)
        .audience("adults", r#""crm""#, ADULTS);
    project
}

/// One way to get a project wrong.
struct Case {
    name: &'static str,
    /// What `check` and `run` say on stderr.
    says: Vec<String>,
    spoil: Box<dyn Fn(&TempProject)>,
}

fn case(name: &'static str, says: &[&str], spoil: impl Fn(&TempProject) + 'static) -> Case {
    let says = says.iter().map(|text| (*text).to_owned()).collect();
    Case { name, says, spoil: Box::new(spoil) }
}

/// An audience `bad` with this SQL, refused at a line of it (counted from 0).
fn bad_sql(name: &'static str, line: usize, says: &[&str], sql: &'static str) -> Case {
    let place = format!("queries/audiences/bad.sql:{}", SQL_LINE + line);
    let says = [&[place.as_str(), "hint:"], says].concat();
    case(name, &says, move |project| {
        project.audience("bad", r#""crm""#, sql);
    })
}

/// An audience `bad` with this `sync` list, refused at its line.
fn bad_sync(name: &'static str, says: &[&str], sync: &'static str) -> Case {
    let place = format!("queries/audiences/bad.sql:{SYNC_LINE}");
    let says = [&[place.as_str(), "hint:"], says].concat();
    case(name, &says, move |project| {
        project.audience("bad", sync, ADULTS);
    })
}

/// `muster.toml` with a line added to the webhook's section, which is the last one.
fn bad_option(name: &'static str, says: &[&str], line: &'static str) -> Case {
    let says = [&["muster.toml:", "hint:"], says].concat();
    case(name, &says, move |project| {
        let text = project.read("muster.toml");
        project.file("muster.toml", format!("{}\n{line}\n", text.trim_end()));
    })
}

/// Each case alone spoils a sound project: `check` and `run` both exit with 2 and say why.
#[track_caller]
fn assert_refused(cases: Vec<Case>) {
    let mut wrong = Vec::new();
    for Case { name, says, spoil } in cases {
        let sink = Sink::start();
        let project = sound(&sink);
        spoil(&project);
        for command in ["check", "run"] {
            let ran = project.muster(&[command]);
            let unsaid: Vec<_> = says.iter().filter(|text| !ran.stderr.contains(*text)).collect();
            if ran.code != Some(2) || !unsaid.is_empty() || ran.stderr.contains("panicked") {
                wrong.push(format!("`{command}`, {name}: does not say {unsaid:?}\n{ran}"));
            }
        }
        assert_eq!(sink.arrived(), 0, "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_sound_project_passes() {
    let sink = Sink::start();
    let project = sound(&sink);
    project.muster(&["check"]).exits(0);
    project.run(&[]);
    assert_eq!(sink.arrived(), 2);
}

#[test]
fn sql_that_cannot_work_is_refused_at_its_line() {
    assert_refused(vec![
        bad_sql("does not parse", 0, &["error[Q02]"], "SELEC user_id FROM users"),
        bad_sql("ends too early", 0, &["error[Q02]"], "SELECT user_id FROM users WHERE"),
        bad_sql(
            "unknown column",
            1,
            &["error[Q05]", "scor", "`score`"],
            "SELECT user_id\nFROM users WHERE scor > 1",
        ),
        bad_sql(
            "unknown table",
            1,
            &["error[Q03]", "usres", "`users`"],
            "SELECT user_id\nFROM usres",
        ),
        bad_sql("no key column", 0, &["error[Q03]", "user_id"], "SELECT user_id AS id FROM users"),
        bad_sql(
            "unknown model",
            0,
            &["error[Q03]", "adluts"],
            "SELECT user_id FROM audiences.adluts",
        ),
    ]);
}

#[test]
fn only_one_query_is_a_model() {
    assert_refused(vec![
        bad_sql(
            "two statements",
            0,
            &["error[Q01]"],
            "SELECT user_id FROM users; SELECT user_id FROM users",
        ),
        bad_sql("ddl", 0, &["error[Q01]"], "CREATE TABLE t AS SELECT user_id FROM users"),
        bad_sql("drop", 0, &["error[Q01]"], "DROP TABLE users"),
        bad_sql("insert", 0, &["error[Q01]"], "INSERT INTO users VALUES ('u9', 1)"),
        bad_sql("delete", 0, &["error[Q01]"], "DELETE FROM users"),
        bad_sql("copy", 0, &["error[Q01]"], "COPY (SELECT user_id FROM users) TO 'stolen.csv'"),
        bad_sql("set", 0, &["error[Q01]"], "SET datafusion.execution.batch_size = 1"),
        bad_sql("explain", 0, &["error[Q01]"], "EXPLAIN SELECT user_id FROM users"),
    ]);
}

#[test]
fn a_refused_statement_has_no_effect() {
    let sink = Sink::start();
    let project = sound(&sink);
    project.audience("bad", r#""crm""#, "COPY (SELECT user_id FROM users) TO 'stolen.csv'");
    project.muster(&["run"]).exits(2);
    assert!(!project.path("stolen.csv").exists());
    project.muster(&["query", "COPY (SELECT 1) TO 'stolen.csv'"]).exits(2);
    project.muster(&["query", "DROP TABLE users"]).exits(2);
    assert!(!project.path("stolen.csv").exists());
}

#[test]
fn a_file_without_a_query_is_refused() {
    let header = "/*\n[audience]\nsync = [\"crm\"]\n*/\n";
    let place = ["queries/audiences/bad.sql", "hint:"];
    assert_refused(vec![
        case("an empty file", &place, |project| {
            project.file("queries/audiences/bad.sql", "");
        }),
        case("a header alone", &place, move |project| {
            project.file("queries/audiences/bad.sql", header);
        }),
    ]);
}

#[test]
fn models_that_select_from_each_other_are_a_cycle() {
    assert_refused(vec![
        case(
            "two models",
            &["error[Q10]", "queries/audiences/", "ping", "pong", "hint:"],
            |project| {
                project
                    .audience("ping", r#""crm""#, "SELECT user_id FROM audiences.pong")
                    .audience("pong", r#""crm""#, "SELECT user_id FROM audiences.ping");
            },
        ),
        bad_sql("itself", 0, &["error[Q10]", "bad"], "SELECT user_id FROM audiences.bad"),
    ]);
}

#[test]
fn a_type_that_cannot_be_sent_is_refused() {
    let trait_of = |name, sql: &'static str, column: &'static str| {
        case(name, &["error[Q08]", "queries/traits/bad.sql:5:", column, "hint:"], move |project| {
            project.trait_model("bad", r#""crm""#, sql);
        })
    };
    assert_refused(vec![
        trait_of("bytes", "SELECT user_id, arrow_cast(user_id, 'Binary') AS raw FROM users", "raw"),
        trait_of("an interval", "SELECT user_id, INTERVAL '1 day' AS gap FROM users", "gap"),
    ]);
}

#[test]
fn a_model_without_traits_and_two_models_of_one_name_are_refused() {
    assert_refused(vec![
        case("no trait", &["error[Q07]", "queries/traits/bad.sql", "hint:"], |project| {
            project.trait_model("bad", r#""crm""#, "SELECT user_id FROM users");
        }),
        case(
            "one name twice",
            &["error[H04]", "adults", "queries/audiences/bad.sql", "hint:"],
            |project| {
                let text = "/*\n[audience]\nname = \"Adults\"\nsync = [\"crm\"]\n*/\n";
                project.file("queries/audiences/bad.sql", format!("{text}{ADULTS}"));
            },
        ),
    ]);
}

#[test]
fn a_sync_that_cannot_be_is_refused_with_the_nearest_word() {
    assert_refused(vec![
        bad_sync("unknown destination", &["error[S01]", "crn", "`crm`"], r#""crn""#),
        bad_sync(
            "unknown option",
            &["error[H02]", "evnt", "`event`"],
            r#"{ to = "crm", evnt = "Scored" }"#,
        ),
        bad_sync(
            "unknown call",
            &["error[H03]", "trak", "`track`"],
            r#"{ to = "crm", as = "trak" }"#,
        ),
        bad_sync("no destination", &["error[H03]", "to"], r#"{ as = "track" }"#),
        bad_sync("wrong type", &["error[H03]", "history"], r#"{ to = "crm", history = "no" }"#),
        bad_sync(
            "a call it does not take",
            &["error[S04]", "list"],
            r#"{ to = "crm", as = "list" }"#,
        ),
        bad_sync(
            "one destination twice",
            &["error[H05]", "crm"],
            r#""crm", { to = "crm", as = "track" }"#,
        ),
        bad_sync(
            "bad guard",
            &["error[H03]", "max_exit"],
            r#"{ to = "crm", guard = { max_exit = "lots" } }"#,
        ),
    ]);
}

#[test]
fn a_header_that_cannot_be_is_refused() {
    let header = |name, header: &'static str, says: &[&str]| {
        let says = [&["queries/audiences/bad.sql:", "hint:"], says].concat();
        case(name, &says, move |project| {
            project.file("queries/audiences/bad.sql", format!("/*\n{header}\n*/\n{ADULTS}"));
        })
    };
    assert_refused(vec![
        header("broken toml", "[audience\nsync = [\"crm\"]", &["error[H01]"]),
        header("unknown key", "[audience]\nsink = [\"crm\"]", &["error[H02]", "sink", "`sync`"]),
        header(
            "unknown section",
            "[audiense]\nsync = [\"crm\"]",
            &["error[H06]", "audiense", "`[audience]`"],
        ),
        case("no header", &["error[H07]", "queries/audiences/bad.sql", "hint:"], |project| {
            project.file("queries/audiences/bad.sql", ADULTS);
        }),
    ]);
}

#[test]
fn a_configuration_that_cannot_be_is_refused_with_the_nearest_word() {
    assert_refused(vec![
        bad_option("unknown option", &["error[D02]", "rate_limt", "`rate_limit`"], "rate_limt = 5"),
        bad_option("wrong type", &["error[D03]", "batch_size"], "batch_size = \"many\""),
        bad_option("zero", &["error[D03]", "batch_size"], "batch_size = 0"),
        bad_option("bad duration", &["error[D03]", "timeout"], "timeout = \"soon\""),
        bad_option("broken toml", &["error[P02]"], "concurrency = = 5"),
        bad_option("duplicate key", &["error[P02]", "rate_limit"], "rate_limit = 5"),
        bad_option(
            "unknown section",
            &["error[P03]", "destination", "`destinations`"],
            "[destination.x]\ntype = \"webhook\"",
        ),
        bad_option(
            "unknown type",
            &["error[D01]", "webhok", "`webhook`"],
            "[destinations.x]\ntype = \"webhok\"",
        ),
        bad_option(
            "no type",
            &["error[P04]", "type"],
            "[destinations.x]\nurl = \"http://localhost\"",
        ),
        bad_option("no url", &["error[D06]", "url"], "[destinations.x]\ntype = \"webhook\""),
        bad_option(
            "bad url",
            &["error[D03]", "url"],
            "[destinations.x]\ntype = \"webhook\"\nurl = \"not a url\"",
        ),
        bad_option(
            "missing secret",
            &["error[X01]", "CRM_TOKEN"],
            "headers = { Authorization = \"Bearer ${CRM_TOKEN}\" }",
        ),
    ]);
}

#[test]
fn an_unknown_key_is_refused_at_its_very_line() {
    let sink = Sink::start();
    let project = sound(&sink);
    let text = project.read("muster.toml").replace("[users]", "[users]\nidentifers = \"x.sql\"");
    let line = text.lines().position(|line| line.starts_with("identifers")).unwrap() + 1;
    project.file("muster.toml", text);
    project.muster(&["check"]).exits(2).says(&[&format!("muster.toml:{line}"), "`identifiers`"]);
}

#[test]
fn a_missing_file_is_refused() {
    assert_refused(vec![
        case("no muster.toml", &["error[P01]", "muster.toml", "hint:"], |project| {
            project.remove("muster.toml");
        }),
        case(
            "no identifiers",
            &["error[P05]", "muster.toml:", "queries/identifiers.sql", "hint:"],
            |project| {
                project
                    .emails_csv("u1,a@example.com,2024-01-01\n")
                    .remove("queries/identifiers.sql");
            },
        ),
        case("no data folder", &["error[P05]", "muster.toml:", "data", "hint:"], |project| {
            fs::remove_dir_all(project.path("data")).unwrap();
        }),
        case(
            "identifiers without a type",
            &["error[Q03]", "queries/identifiers.sql:1", "type", "hint:"],
            |project| {
                project.identifiers("SELECT user_id, 'a@example.com' AS value FROM users");
            },
        ),
    ]);
}

#[test]
fn what_is_not_utf8_is_refused() {
    assert_refused(vec![
        case("sql", &["error[P06]", "queries/audiences/bad.sql", "UTF-8", "hint:"], |project| {
            let header = b"/*\n[audience]\nsync = [\"crm\"]\n*/\nSELECT '\xff' AS user_id";
            project.file("queries/audiences/bad.sql", header);
        }),
        case("toml", &["error[P06]", "muster.toml", "UTF-8", "hint:"], |project| {
            let text = [project.read("muster.toml").as_bytes(), b"# \xff\xfe\n"].concat();
            project.file("muster.toml", text);
        }),
    ]);
}

#[test]
fn check_shows_all_findings_at_once() {
    let sink = Sink::start();
    let project = sound(&sink);
    project
        .audience("one", r#""crm""#, "SELECT user_id FROM nowhere")
        .audience("two", r#""crn""#, ADULTS)
        .trait_model("three", r#""crm""#, "SELECT user_id, colour FROM users")
        .webhook("crm", &sink.url(), "rate_limt = 5");
    project.muster(&["check"]).exits(2).says(&[
        "queries/audiences/one.sql:5",
        "queries/audiences/two.sql:3",
        "queries/traits/three.sql:5",
        "rate_limt",
    ]);
}

#[test]
fn usage_that_cannot_be_is_refused() {
    let sink = Sink::start();
    let project = sound(&sink);
    for arguments in [
        &["frobnicate"][..],
        &["run", "--frobnicate"],
        &["run", "nothing_like_this"],
        &["run", "adults.nowhere"],
        &["run", "--as-of", "the day before yesterday"],
        &["plan", "nothing_like_this"],
        &["preview", "nothing_like_this"],
        &["reset", "nothing.like_this"],
        &["destinations", "nothing_like_this"],
        &["query", "SELEC 1"],
        &["--project", "nowhere", "run"],
    ] {
        let ran = project.muster(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}\n{ran}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{arguments:?}\n{ran}");
    }
    assert_eq!(sink.arrived(), 0);
}
