//! Sizes at which shortcuts would show: three hundred models in one run, and a table of many users end
//! to end. What is asserted is that nothing and nobody is lost, never how long it takes.
//!
//! `MUSTER_USERS=10000000 cargo test --release --test it large` is the large one: 20,000 users unless
//! it says otherwise, in one Parquet file that is made here. Ten million need 2 GB of disk.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use crate::project::{BRISK, TempProject, numbered_users};
use crate::sink::Sink;

const ROWS_AT_ONCE: u64 = 100_000;

fn users_asked_for() -> u64 {
    std::env::var("MUSTER_USERS").map_or(20_000, |text| text.parse().unwrap())
}

/// `user_id, score`: user `n` has score `n`, plus one where `n` is a multiple of `changed`.
fn write_users(project: &TempProject, users: std::ops::Range<u64>, changed: u64) {
    let schema = Arc::new(Schema::new(vec![
        Field::new("user_id", DataType::Utf8, false),
        Field::new("score", DataType::Int64, false),
    ]));
    let file = File::create(project.path("data/users.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), None).unwrap();
    let end = users.end;
    for from in users.step_by(usize::try_from(ROWS_AT_ONCE).unwrap()) {
        let numbers = || from..end.min(from + ROWS_AT_ONCE);
        let ids: StringArray = numbers().map(|n| Some(id(n))).collect();
        let score = |n: u64| i64::try_from(n + u64::from(n.is_multiple_of(changed))).unwrap();
        let scores: Int64Array = numbers().map(|n| Some(score(n))).collect();
        let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(scores)];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        writer.write(&batch).unwrap();
    }
    writer.close().unwrap();
}

fn id(number: u64) -> String {
    format!("u{number:010}")
}

/// Every message of a run, once: the user's number and the score that was sent.
fn sent(project: &TempProject) -> impl Iterator<Item = (u64, Option<u64>)> {
    let files: Vec<PathBuf> = project.files_below("out");
    files.into_iter().flat_map(|path| BufReader::new(File::open(path).unwrap()).lines()).map(
        |line| {
            let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let number = message["userId"].as_str().unwrap()[1..].parse().unwrap();
            (number, message["traits"]["score"].as_u64())
        },
    )
}

/// Asserts that exactly these users were sent, each once with the score `of` says.
#[track_caller]
fn assert_sent(
    project: &TempProject,
    users: impl Iterator<Item = u64>,
    of: impl Fn(u64) -> Option<u64>,
) {
    let (mut count, mut sum) = (0_u64, 0_u128);
    for (user, score) in sent(project) {
        assert_eq!(score, of(user), "user {user}");
        count += 1;
        sum += u128::from(user) * u128::from(user);
    }
    let expected = users.fold((0_u64, 0_u128), |(count, sum), user| {
        (count + 1, sum + u128::from(user) * u128::from(user))
    });
    assert_eq!((count, sum), expected, "users, and the sum of the squares of their numbers");
    fs::remove_dir_all(project.path("out")).unwrap();
}

#[test]
fn a_table_of_many_users_is_sent_once_and_then_only_what_changed() {
    let all = users_asked_for();
    let (gone, more) = (all / 100, all / 50);
    let project = TempProject::new();
    project.destination("file", "type = \"file\"").trait_model(
        "scores",
        r#""file""#,
        "SELECT user_id, score FROM users",
    );
    write_users(&project, 0..all, u64::MAX);
    let plus = |changed: u64| move |n: u64| Some(n + u64::from(n.is_multiple_of(changed)));
    let report = project.run(&[]);
    assert_eq!(report.difference("scores.file"), [all, 0, 0, 0]);
    // Zero is a multiple of everything.
    assert_sent(&project, 0..all, plus(u64::MAX));

    // The first hundredth leaves, a fiftieth comes, every hundredth changes.
    write_users(&project, gone..all + more, 100);
    let changed = (gone..all).filter(|n| n.is_multiple_of(100));
    let report = project.run(&[]);
    let counts = [more, gone, changed.clone().count() as u64, 0];
    assert_eq!(report.difference("scores.file"), counts);
    let left = |n: u64| if n < gone { None } else { plus(100)(n) };
    assert_sent(&project, (0..gone).chain(changed).chain(all..all + more), left);

    let report = project.run(&[]);
    assert_eq!(report.difference("scores.file"), [0, 0, 0, 0]);
    assert_eq!(report.count("scores.file", "unchanged"), all + more - gone);
}

#[test]
fn three_hundred_models_run_as_one() {
    let sink = Sink::start();
    let project = TempProject::new();
    project.table_csv("users", &numbered_users(310)).webhook(
        "crm",
        &sink.url(),
        &format!("{BRISK}batch_size = 1000"),
    );
    // In threes: an audience of the tables, one of that audience, a trait of the second.
    for number in (0..300).step_by(3) {
        let [first, second] = [number, number + 1].map(|number| format!("a{number:03}"));
        let table = format!("SELECT user_id FROM users WHERE score >= {number}");
        let model = format!("SELECT user_id FROM audiences.{first}");
        let value = format!("SELECT user_id, {number} AS t{number:03} FROM audiences.{second}");
        project
            .audience(&first, r#""crm""#, &table)
            .audience(&second, r#""crm""#, &model)
            .trait_model(&format!("t{number:03}"), r#""crm""#, &value);
    }
    let report = project.run(&[]);
    assert_eq!(report.syncs().len(), 300);
    for number in (0..300).step_by(3) {
        for key in [format!("a{number:03}"), format!("a{:03}", number + 1), format!("t{number:03}")]
        {
            let difference = report.difference(&format!("{key}.crm"));
            assert_eq!(difference, [310 - number, 0, 0, 0], "{key}");
        }
    }
    // Coalesced: one message per user, with everything that is said of them.
    let sent = sink.drain();
    let subjects: BTreeSet<&str> = sent.subjects().into_iter().collect();
    assert_eq!((sent.len(), subjects.len()), (310, 310));
    let last = sent.about("u0309");
    assert_eq!(last.only()["traits"].as_object().unwrap().len(), 300);
    let first = sent.about("u0000");
    assert_eq!(first.only()["traits"].as_object().unwrap().len(), 3);
}
