//! The sample project, which is the repository itself: the first thing a newcomer runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::project::TempProject;
use crate::report::Report;

/// The repository's project without its state and output.
fn sample() -> TempProject {
    let project = TempProject::new();
    fs::remove_dir(project.path("data")).unwrap();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in ["muster.toml", "queries", "sample_data"] {
        copy(&repository.join(name), &project.path(name));
    }
    project
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Every line of NDJSON under `out/`.
fn delivered(project: &TempProject) -> Vec<Value> {
    let files = project.files_below("out");
    let texts = files
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "ndjson"))
        .map(|path| fs::read_to_string(path).unwrap());
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect()
}

fn any(report: &Report, key: &str) -> bool {
    report.syncs().iter().any(|sync| sync[key].as_u64().unwrap() > 0)
}

#[test]
fn the_sample_is_sound() {
    let project = sample();
    project.muster(&["check"]).exits(0);
}

#[test]
fn the_sample_sends_once_and_then_only_who_enters_and_leaves() {
    let project = sample();
    let first = project.run(&["--as-of", "1998-05-31"]);
    assert!(first.total("delivered") > 0 && first.total("exited") == 0, "{:#}", first.0);
    let lines = delivered(&project);
    assert!(!lines.is_empty());

    let again = project.run(&["--as-of", "1998-05-31"]);
    assert_eq!(again.total("delivered"), 0, "{:#}", again.0);
    assert_eq!(delivered(&project).len(), lines.len());

    let later = project.run(&["--as-of", "1998-06-30"]);
    assert!(any(&later, "entered") && any(&later, "exited"), "{:#}", later.0);
    assert!(any(&later, "changed"), "{:#}", later.0);
    assert!(delivered(&project).len() > lines.len());
}

#[test]
fn the_sample_writes_canonical_messages() {
    let project = sample();
    project.run(&["--as-of", "1998-05-31"]);
    let lines = delivered(&project);
    let ids: BTreeSet<_> = lines.iter().map(|line| line["messageId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), lines.len(), "every message has an id of its own");
    let types: BTreeSet<_> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert!(types.is_superset(&["group", "identify"].into()), "{types:?}");
    for line in &lines {
        let subject = line["userId"].as_str().or_else(|| line["groupId"].as_str());
        assert!(subject.is_some() && line["timestamp"].is_string(), "{line:#}");
    }
}

#[test]
fn the_sample_says_the_same_twice() {
    let sorted = |project: &TempProject| {
        let mut lines: Vec<_> = delivered(project).iter().map(Value::to_string).collect();
        lines.sort_unstable();
        lines
    };
    let (one, two) = (sample(), sample());
    one.run(&["--as-of", "1998-05-31"]);
    two.run(&["--as-of", "1998-05-31"]);
    assert!(sorted(&one) == sorted(&two), "two runs of one time differ");
}

#[test]
fn the_sample_shows_a_table_to_people() {
    let project = sample();
    let ran = project.muster(&["run", "--as-of", "1998-05-31"]).exits(0);
    assert!(ran.stdout.lines().count() > 5, "{ran}");
    ran.shows(&["entered", "delivered"]);
}
