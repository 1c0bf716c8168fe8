//! The shape of the code (DESIGN §6), enforced: which module names which crate, and who looks where.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            sources(&entry, into);
        } else if entry.extension().is_some_and(|ending| ending == "rs") {
            into.push(entry);
        }
    }
}

/// Every line of code outside tests that holds one of `words`, but for files below `allowed`.
fn offenders(words: &[&str], allowed: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "the sources were found");
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap().display().to_string();
        if allowed.iter().any(|allowed| name.starts_with(allowed)) || name.contains("tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for (number, line) in shipped.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            if words.iter().any(|word| code.contains(word)) {
                found.push(format!("{name}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn only_the_engine_names_datafusion_arrow_and_parquet() {
    let words =
        ["datafusion::", "arrow::", "parquet::", "use datafusion", "use arrow", "use parquet"];
    assert_eq!(offenders(&words, &["engine/"]), [""; 0]);
}

#[test]
fn only_delivery_names_reqwest_russh_and_governor() {
    let words = ["reqwest::", "governor::", "russh::", "russh_sftp::"];
    assert_eq!(offenders(&words, &["delivery/"]), [""; 0]);
}

#[test]
fn only_the_command_line_knows_the_command_line() {
    let words = ["crate::cli", "clap::", "indicatif::", "comfy_table::", "println!", "eprintln!"];
    assert_eq!(offenders(&words, &["cli/"]), [""; 0]);
}

#[test]
fn nobody_but_the_command_line_looks_up_to_the_pipeline() {
    assert_eq!(offenders(&["crate::run::"], &["run/", "cli/"]), [""; 0]);
    let state = offenders(&["crate::state::"], &["run/", "cli/", "state/"]);
    assert_eq!(state, [""; 0], "only the pipeline touches the state");
}

#[test]
fn what_the_user_wrote_is_read_without_looking_at_what_becomes_of_it() {
    let words = ["crate::engine", "crate::delivery", "crate::outbox", "crate::destinations"];
    let looking_down: Vec<String> = offenders(
        &words,
        &[
            "engine/",
            "delivery/",
            "outbox/",
            "destinations/",
            "run/",
            "cli/",
            "state/",
            "message.rs",
            "message/",
            "plan.rs",
        ],
    );
    assert_eq!(looking_down, [""; 0]);
}
