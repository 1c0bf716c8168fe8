//! What a sync keeps: deltas beside a base, and what becomes of them when a process dies between two
//! files, or a file is damaged.

use std::fs;
use std::path::PathBuf;

use crate::project::{BRISK, TempProject, numbered_users};
use crate::sink::Sink;

const FOLDER: &str = ".muster/syncs/scores.crm";

fn shop(sink: &Sink) -> TempProject {
    let project = TempProject::new();
    project
        .table_csv("users", &scores(0, 0))
        .trait_model("scores", r#""crm""#, "SELECT user_id, score FROM users")
        .webhook("crm", &sink.url(), &format!("{BRISK}batch_size = 100"));
    project
}

/// 400 users; the first `count` of them have a score of their own, by `version`.
fn scores(count: usize, version: usize) -> String {
    let mut text = numbered_users(400);
    for number in 0..count {
        let line = format!("u{number:04},{number}\n");
        text = text.replace(&line, &format!("u{number:04},{}\n", 10_000 * version + number));
    }
    text
}

fn deltas(project: &TempProject) -> Vec<PathBuf> {
    let entries = fs::read_dir(project.path(FOLDER)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut deltas: Vec<_> = paths
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("delta-"))
        .collect();
    deltas.sort();
    deltas
}

/// Nothing is left to say, and the SQL's values are what was delivered.
#[track_caller]
fn assert_settled(project: &TempProject, sink: &Sink) {
    sink.drain();
    let report = project.run(&["--force"]);
    assert_eq!(report.difference("scores.crm"), [0; 4]);
    assert_eq!(report.count("scores.crm", "unchanged"), 400);
    assert!(sink.drain().is_empty());
}

#[test]
fn few_changes_are_written_beside_the_base_and_many_into_it() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    let base = project.path(format!("{FOLDER}/delivered.parquet"));
    let first = fs::read(&base).unwrap();
    project.table_csv("users", &scores(5, 1)).run(&[]);
    assert_eq!((deltas(&project).len(), fs::read(&base).unwrap() == first), (1, true));
    assert_settled(&project, &sink);
    project.table_csv("users", &scores(5, 2)).run(&[]);
    assert_eq!(deltas(&project).len(), 2);
    assert_settled(&project, &sink);
    project.table_csv("users", &scores(200, 3)).run(&[]);
    assert_eq!((deltas(&project).len(), fs::read(&base).unwrap() == first), (0, false));
    assert_settled(&project, &sink);
}

#[test]
fn a_run_in_which_nothing_changed_writes_no_state_rows() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    let base = project.path(format!("{FOLDER}/delivered.parquet"));
    let written = fs::metadata(&base).unwrap().modified().unwrap();
    project.run(&["--force"]);
    assert_eq!(fs::metadata(&base).unwrap().modified().unwrap(), written);
    assert!(deltas(&project).is_empty());
}

#[test]
fn a_damaged_or_missing_delta_stops_the_run() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    project.table_csv("users", &scores(5, 1)).run(&[]);
    let delta = deltas(&project).remove(0);
    let sound = fs::read(&delta).unwrap();
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 1;
    sink.drain();
    for bytes in [Some(damaged), None] {
        match bytes {
            Some(bytes) => fs::write(&delta, bytes).unwrap(),
            None => fs::remove_file(&delta).unwrap(),
        }
        project.muster(&["run"]).exits(2).says(&["K04", "delta-", "scores.crm", "hint:"]);
        assert!(sink.drain().is_empty());
    }
    fs::write(&delta, sound).unwrap();
    assert_settled(&project, &sink);
}

#[test]
fn a_process_that_died_before_the_manifest_folds_the_delta_again() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    let manifest = project.read(format!("{FOLDER}/manifest.json"));
    project.table_csv("users", &scores(5, 1)).run(&[]);
    let delta = deltas(&project);
    let bytes = fs::read(&delta[0]).unwrap();
    project.file(format!("{FOLDER}/manifest.json"), manifest);
    assert_settled(&project, &sink);
    assert_eq!((deltas(&project), fs::read(&delta[0]).unwrap()), (delta, bytes), "folded twice");
}

#[test]
fn a_process_that_died_between_a_new_base_and_the_manifest_loses_nothing() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    project.table_csv("users", &scores(5, 1)).run(&[]);
    let manifest = project.read(format!("{FOLDER}/manifest.json"));
    let delta = deltas(&project).remove(0);
    let bytes = fs::read(&delta).unwrap();
    project.table_csv("users", &scores(200, 2)).run(&[]);
    fs::write(&delta, bytes).unwrap();
    project.file(format!("{FOLDER}/manifest.json"), manifest);
    assert_settled(&project, &sink);
    project.table_csv("users", &scores(200, 3)).run(&[]);
    assert!(deltas(&project).is_empty(), "what does not count is swept");
    assert_settled(&project, &sink);
}

#[test]
fn a_lost_manifest_is_made_again_from_the_base_and_the_runs_since() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    project.table_csv("users", &scores(5, 1)).run(&[]);
    project.remove(format!("{FOLDER}/manifest.json"));
    assert_settled(&project, &sink);
    // Without the run there is nothing to make the delta from.
    project.remove(format!("{FOLDER}/manifest.json"));
    fs::remove_dir_all(project.path(format!("{FOLDER}/runs"))).unwrap();
    project.muster(&["run"]).exits(2).says(&["K04", "manifest.json", "hint:"]);
}

#[test]
fn a_state_of_the_first_format_is_read() {
    let sink = Sink::start();
    let project = shop(&sink);
    project.run(&[]);
    let path = format!("{FOLDER}/manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_str(&project.read(&path)).unwrap();
    let entries = manifest.as_object_mut().unwrap();
    entries.insert("format".into(), 1.into());
    entries.remove("deltas");
    entries.remove("quiet");
    project.file(&path, manifest.to_string());
    assert_settled(&project, &sink);
    project.table_csv("users", &scores(5, 1)).run(&[]);
    assert_settled(&project, &sink);
}
