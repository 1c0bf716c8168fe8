//! What can be wrong with tables, rows, state and disk: the run stops before it sends anything, and
//! loses nothing. Exit 2; 3 for guards.

use std::fs;
use std::path::Path;

use crate::faults::Answer;
use crate::process::Ran;
use crate::project::{BRISK, TempProject, muster, numbered_users, scores};
use crate::sink::Sink;

const SCORES: &str = "SELECT user_id, score FROM users";

/// Users `u0000`, `u0001`, … as an audience and a webhook.
fn crowd(sink: &Sink, count: usize, sync: &str) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", &numbered_users(count))
        .audience("everybody", sync, "SELECT user_id FROM users WHERE score >= 0")
        .webhook("crm", &sink.url(), &format!("{BRISK}batch_size = 100"));
    project
}

/// Asserts that a run exits with `code`, says `texts`, and sends nothing.
#[track_caller]
fn assert_stops(project: &TempProject, sink: &Sink, code: i32, texts: &[&str]) -> Ran {
    let before = sink.arrived();
    let ran = project.muster(&["run"]).exits(code).says(texts);
    assert!(!ran.stderr.contains("panicked"), "{ran}");
    assert_eq!(sink.arrived(), before, "something was sent\n{ran}");
    ran
}

fn cut_in_half(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// A run in which no file may grow beyond so many blocks: what a full disk does to every write.
fn run_with_files_of_at_most(project: &TempProject, blocks: u32) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let muster = muster();
    let arguments = ["-c", &script, muster.to_str().unwrap(), "run"];
    project.start_program(Path::new("/bin/sh"), &arguments).finish()
}

#[test]
fn duplicate_and_null_keys_are_refused_with_their_count() {
    let rows = "user_id,score\nu1,1\nu1,2\nu2,3\nu2,4\n,5\n,6\n,7\n";
    for (filter, says) in [
        ("user_id IS NOT NULL", "error[Q12]: trait `scores` returns 2 duplicate keys"),
        ("user_id IS NULL", "error[Q11]: trait `scores` returns 3 NULL keys"),
    ] {
        let sink = Sink::start();
        let project = TempProject::new();
        project.table_csv("users", rows).webhook("crm", &sink.url(), BRISK).trait_model(
            "scores",
            r#""crm""#,
            &format!("{SCORES} WHERE {filter}"),
        );
        assert_stops(
            &project,
            &sink,
            2,
            &["queries/traits/scores.sql:5:1", "user_id", says, "hint:"],
        );
    }
}

#[test]
fn a_truncated_table_is_refused_and_costs_nothing() {
    let sink = Sink::start();
    let project = TempProject::new();
    project
        .table_parquet("users", &[("u1", 20), ("u2", 30)])
        .webhook("crm", &sink.url(), BRISK)
        .trait_model("scores", r#""crm""#, SCORES);
    project.run(&[]);
    cut_in_half(&project.path("data/users.parquet"));
    assert_stops(&project, &sink, 2, &["error[T01]", "data/users.parquet", "hint:"]);
    project.table_parquet("users", &[("u1", 20), ("u2", 31)]);
    assert_eq!(project.run(&[]).difference("scores.crm"), [0, 0, 1, 0]);
}

#[test]
fn a_truncated_file_among_many_is_refused() {
    let sink = Sink::start();
    let project = TempProject::new();
    let many: Vec<_> = (0..500).map(|number| format!("u{number}")).collect();
    let rows: Vec<_> = many.iter().map(|user| (user.as_str(), 1)).collect();
    project
        .file("data/users/one.parquet", scores(&rows[..250]))
        .file("data/users/two.parquet", scores(&rows[250..]))
        .webhook("crm", &sink.url(), BRISK)
        .trait_model("scores", r#""crm""#, SCORES);
    cut_in_half(&project.path("data/users/two.parquet"));
    assert_stops(&project, &sink, 2, &["error[T01]", "two.parquet", "hint:"]);
}

#[test]
fn a_truncated_state_is_never_read_as_everybody_left() {
    let sink = Sink::start();
    let project = crowd(&sink, 50, r#""crm""#);
    project.run(&[]);
    let delivered = project.path(".muster/syncs/everybody.crm/delivered.parquet");
    let sound = fs::read(&delivered).unwrap();
    cut_in_half(&delivered);
    assert_stops(
        &project,
        &sink,
        2,
        &["error[K04]", "delivered.parquet", "everybody.crm", "hint:"],
    );
    fs::write(&delivered, b"").unwrap();
    assert_stops(
        &project,
        &sink,
        2,
        &["error[K04]", "delivered.parquet", "everybody.crm", "hint:"],
    );
    fs::write(&delivered, sound).unwrap();
    let report = project.run(&[]);
    assert_eq!((report.difference("everybody.crm"), sink.arrived()), ([0, 0, 0, 0], 1));
}

#[test]
fn a_broken_state_of_one_sync_does_not_stop_another() {
    let sink = Sink::start();
    let project = crowd(&sink, 50, r#""crm""#);
    project.audience("few", r#""crm""#, "SELECT user_id FROM users WHERE score < 5");
    project.run(&[]);
    cut_in_half(&project.path(".muster/syncs/everybody.crm/delivered.parquet"));
    project.table_csv("users", &numbered_users(4));
    sink.drain();
    project.muster(&["run", "few", "--allow-large-change"]).exits(0);
    assert_eq!(sink.drain().subjects(), ["u0004"]);
}

#[test]
fn an_empty_result_is_stopped_by_a_guard_until_it_is_allowed() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    project.run(&[]);
    project.table_csv("users", "user_id,score\nu0000,-1\n");
    sink.drain();
    assert_stops(
        &project,
        &sink,
        3,
        &["error[G01]", "everybody.crm", "hint:", "--allow-large-change"],
    );
    let report = project.run(&["--allow-large-change"]);
    assert_eq!(report.difference("everybody.crm"), [0, 3, 0, 0]);
    assert_eq!(sink.drain().subjects(), ["u0000", "u0001", "u0002"]);
}

#[test]
fn more_than_half_of_a_thousand_leaving_is_stopped_by_a_guard() {
    let sink = Sink::start();
    let project = crowd(&sink, 1000, r#""crm""#);
    project.run(&[]);
    project.table_csv("users", &numbered_users(499));
    assert_stops(
        &project,
        &sink,
        3,
        &["error[G01]", "everybody.crm", "501", "--allow-large-change"],
    );
    project.table_csv("users", &numbered_users(500));
    assert_eq!(project.run(&[]).difference("everybody.crm"), [0, 500, 0, 0]);
}

#[test]
fn a_guard_of_ones_own_is_narrower() {
    for (guard, left) in [("max_exit = \"5%\", min_size = 10", 94), ("max_change = 5", 106)] {
        let sink = Sink::start();
        let sync = format!(r#"{{ to = "crm", guard = {{ {guard} }} }}"#);
        let project = crowd(&sink, 100, &sync);
        project.run(&["--allow-large-change"]);
        project.table_csv("users", &numbered_users(left));
        assert_stops(&project, &sink, 3, &["error[G01]", "everybody.crm", "6", "hint:"]);
    }
}

#[test]
fn a_guard_stops_its_sync_and_no_other() {
    let sink = Sink::start();
    let project = crowd(&sink, 10, r#""crm""#);
    project.trait_model("scores", r#""crm""#, SCORES);
    project.run(&[]);
    sink.drain();
    project.table_csv("users", "user_id,score\nu0000,-1\nu0001,-1\n");
    let report = project.run_exits(3, &[]);
    assert!(report.sync("everybody.crm")["skipped"].is_string(), "{:#}", report.0);
    assert_eq!(report.difference("scores.crm"), [0, 8, 2, 0]);
    assert!(sink.drain().traits().iter().all(|traits| traits.get("everybody").is_none()));
}

#[test]
fn a_locked_project_names_its_holder() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    sink.script([Answer::Hold]);
    let first = project.start(&["run"]);
    sink.wait_for_requests(1);
    assert_stops(
        &project,
        &sink,
        2,
        &["error[K01]", ".muster/lock", &first.id().to_string(), "hint:"],
    );
    sink.release();
    first.finish().exits(0);
    project.run(&[]);
    assert_eq!(sink.arrived(), 1);
}

#[test]
fn a_plan_does_not_need_the_lock() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    sink.script([Answer::Hold]);
    let running = project.start(&["run"]);
    sink.wait_for_requests(1);
    project.muster(&["plan"]).exits(0);
    sink.release();
    running.finish().exits(0);
}

#[test]
fn the_lock_of_a_killed_run_is_free() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    sink.script([Answer::Hold]);
    let running = project.start(&["run"]);
    sink.wait_for_requests(1);
    running.killer().kill();
    assert_eq!(running.finish().code, None);
    sink.wait_until_idle();
    sink.healthy();
    assert_eq!(project.run(&[]).outcome("everybody.crm"), [3, 0, 0]);
}

#[test]
fn a_state_folder_that_cannot_be_is_refused() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    project.file(".muster", "not a folder");
    assert_stops(&project, &sink, 2, &["error[K02]", ".muster", "hint:"]);
    project.remove(".muster").run(&[]);
    assert_eq!(sink.arrived(), 1);
}

/// Permissions do not stop root, but nobody can write into a file as into a folder.
#[test]
fn a_state_folder_that_cannot_be_written_is_refused() {
    for part in ["tmp", "runs", "syncs", "syncs/everybody.crm/runs"] {
        let sink = Sink::start();
        let project = crowd(&sink, 3, r#""crm""#);
        project.file(format!(".muster/{part}"), "not a folder");
        let ran = assert_stops(&project, &sink, 2, &[".muster", "hint:"]);
        let coded = ["error[K02]", "error[K03]"].iter().any(|code| ran.stderr.contains(code));
        assert!(coded, "{part}\n{ran}");
        project.remove(format!(".muster/{part}")).run(&[]);
        assert_eq!(sink.arrived(), 1, "{part}: nothing was lost");
    }
}

#[test]
fn a_lock_that_cannot_be_taken_is_refused() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    fs::create_dir_all(project.path(".muster/lock")).unwrap();
    assert_stops(&project, &sink, 2, &["error[K02]", ".muster/lock", "hint:"]);
}

#[test]
fn a_journal_that_cannot_be_read_is_refused_and_stays() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    sink.script([Answer::Hold]);
    let running = project.start(&["run"]);
    sink.wait_for_requests(1);
    running.killer().kill();
    assert_eq!(running.finish().code, None);
    sink.wait_until_idle();
    sink.healthy();
    let journal = project.files_below(".muster").into_iter().find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal-"))
    });
    let journal = journal.unwrap();
    let sound = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, sound.replacen('{', "garbage{", 2)).unwrap();
    assert_stops(&project, &sink, 2, &["error[K06]", "journal-", "hint:"]);
    fs::write(&journal, sound).unwrap();
    assert_eq!(project.run(&[]).outcome("everybody.crm"), [3, 0, 0]);
}

#[test]
fn a_row_that_is_not_utf8_is_refused() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    project.file("data/users.csv", b"user_id,score\nu1,20\n\xff\xfe,30\n");
    assert_stops(&project, &sink, 2, &["users.csv", "hint:"]);
}

#[test]
fn a_table_that_changed_its_columns_is_refused_at_the_model() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    project.run(&[]);
    project.table_csv("users", "user_id,points\nu1,20\n");
    let place = "queries/audiences/everybody.sql:5:";
    assert_stops(&project, &sink, 2, &["error[Q05]", place, "`score`", "hint:"]);
}

#[test]
fn a_state_of_a_newer_version_is_refused() {
    let sink = Sink::start();
    let project = crowd(&sink, 3, r#""crm""#);
    project.run(&[]);
    let manifest = ".muster/syncs/everybody.crm/manifest.json";
    let newer = project.read(manifest).replace("\"format\": 2", "\"format\": 99");
    let newer = newer.replace("\"format\":2", "\"format\":99");
    assert!(newer.contains("99"), "{newer}");
    project.file(manifest, newer);
    assert_stops(&project, &sink, 2, &["error[K05]", "everybody.crm", "hint:"]);
}

#[test]
fn a_full_disk_stops_the_run_before_it_sends_and_loses_nothing() {
    let sink = Sink::start();
    let project = crowd(&sink, 2000, r#""crm""#);
    let ran = run_with_files_of_at_most(&project, 1);
    let ran = ran.exits(2).says(&["error[", ".muster", "hint:"]);
    assert!(!ran.stderr.contains("panicked"), "{ran}");
    assert_eq!(sink.arrived(), 0);
    assert_eq!(project.run(&[]).outcome("everybody.crm"), [2000, 0, 0]);
}

#[test]
fn a_disk_that_fills_up_while_delivering_never_loses_what_was_sent() {
    let sink = Sink::start();
    let project = crowd(&sink, 20, r#""crm""#);
    project.run(&[]);
    sink.drain();
    project.table_csv("users", &numbered_users(2000));
    for blocks in [2, 8, 16, 32, 64] {
        let ran = run_with_files_of_at_most(&project, blocks);
        assert!(matches!(ran.code, Some(0..=2)), "{blocks} blocks\n{ran}");
        assert!(!ran.stderr.contains("panicked"), "{blocks} blocks\n{ran}");
    }
    project.run(&[]);
    let sent = sink.drain();
    let mut subjects = sent.subjects();
    subjects.dedup();
    assert_eq!(subjects.len(), 1980);
    project.run(&[]);
    assert!(sink.drain().is_empty());
}
