//! The journal as a whole: what is written is what is read, whatever was cut off.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::destinations::Job;

const ROWS: u64 = 40;

fn job() -> Job {
    Job { handle: serde_json::json!({ "id": 7 }), poll_after: Duration::from_secs(5) }
}

fn states(folder: &Path) -> Vec<RowState> {
    replay(folder, ROWS).unwrap().rows
}

fn segment(folder: &Path, number: u32) -> std::path::PathBuf {
    folder.join(format!("journal-{number:06}.jsonl"))
}

#[tokio::test]
async fn rows_go_through_their_states() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), "m.d", "r1", ROWS).unwrap();
    journal.attempted(vec![[0, 10], [20, 22]]).await.unwrap();
    journal.record(&Entry::Acknowledged(vec![[0, 3]])).unwrap();
    journal.record(&Entry::Rejected { row: 3, reason: "no".into(), unclear: true }).unwrap();
    journal.record(&Entry::Withdrawn(vec![[2, 5]])).unwrap();
    journal
        .record(&Entry::Submitted {
            rows: vec![[20, 22], [7, 8]],
            job: job(),
            share: None,
            unclear: false,
        })
        .unwrap();
    let share = Some(Share { messages: 9, positions: vec![[4, 5], [0, 1]] });
    journal
        .record(&Entry::Submitted { rows: vec![[30, 32]], job: job(), share, unclear: true })
        .unwrap();
    journal.close().await.unwrap();
    let replay = replay(folder.path(), ROWS).unwrap();
    assert_eq!(replay.rows[..3], [RowState::Acknowledged; 3]);
    assert_eq!(replay.rows[3], RowState::Rejected);
    assert_eq!(replay.rows[4], RowState::Withdrawn);
    assert_eq!(replay.rows[5..10], [RowState::Unsettled; 5]);
    assert_eq!(replay.rows[10..20], [RowState::Pending; 10]);
    assert_eq!(replay.reasons, [(3, "no".to_owned())].into());
    assert!(replay.unclear.contains(&3));
    let open = |rows: &[u64], positions: &[usize], messages, unclear| OpenJob {
        job: job(),
        rows: rows.into(),
        positions: positions.into(),
        messages,
        unclear,
    };
    assert_eq!(
        replay.jobs,
        [open(&[20, 21, 7], &[0, 1, 2], 3, false), open(&[30, 31], &[4, 0], 9, true)]
    );
}

#[tokio::test]
async fn a_job_is_over_when_its_rows_are_settled_or_lost() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), "m.d", "r1", ROWS).unwrap();
    let submitted = |rows| Entry::Submitted { rows, job: job(), share: None, unclear: false };
    let open = || replay(folder.path(), ROWS).unwrap().jobs.len();
    journal.record(&submitted(vec![[0, 3]])).unwrap();
    journal.record(&Entry::Acknowledged(vec![[0, 1]])).unwrap();
    journal.record(&Entry::Lost(vec![[1, 2]])).unwrap();
    journal.attempted(vec![[9, 10]]).await.unwrap();
    assert_eq!(open(), 1);
    journal.record(&Entry::Lost(vec![[2, 3]])).unwrap();
    journal.attempted(vec![[9, 10]]).await.unwrap();
    assert_eq!(open(), 0);
    assert_eq!(
        states(folder.path())[..3],
        [RowState::Acknowledged, RowState::Unsettled, RowState::Unsettled]
    );
    // Another job asks for them anew.
    journal.record(&submitted(vec![[2, 3]])).unwrap();
    journal.close().await.unwrap();
    assert_eq!(open(), 1);
}

#[tokio::test]
async fn everything_waiting_is_durable_together() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), "m.d", "r1", ROWS).unwrap();
    let writes = (0..ROWS).map(|row| journal.attempted(vec![[row, row + 1]]));
    for written in futures::future::join_all(writes).await {
        written.unwrap();
    }
    assert_eq!(states(folder.path()), [RowState::Unsettled; ROWS as usize]);
}

#[tokio::test]
async fn segments_follow_one_another_and_a_torn_line_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), "m.d", "r1", ROWS).unwrap();
    let reason = "x".repeat(1 << 20);
    for row in 0..ROWS {
        journal.record(&Entry::Rejected { row, reason: reason.clone(), unclear: false }).unwrap();
    }
    drop(journal);
    assert!(segment(folder.path(), 3).exists());
    assert_eq!(states(folder.path()), [RowState::Rejected; ROWS as usize]);

    let last = segment(folder.path(), 3);
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() - 5]).unwrap();
    assert_eq!(states(folder.path())[39], RowState::Pending);

    let journal = Journal::reopen(folder.path(), "m.d", "r1", ROWS).unwrap();
    journal.record(&Entry::Acknowledged(vec![[39, 40]])).unwrap();
    journal.close().await.unwrap();
    assert!(segment(folder.path(), 4).exists());
    assert_eq!(states(folder.path())[39], RowState::Acknowledged);
}

#[test]
fn a_journal_without_its_first_line_is_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    drop(Journal::create(folder.path(), "m.d", "r1", ROWS).unwrap());
    std::fs::write(segment(folder.path(), 1), b"{\"open").unwrap();
    assert_eq!(states(folder.path()), [RowState::Pending; ROWS as usize]);
    drop(Journal::reopen(folder.path(), "m.d", "r1", ROWS).unwrap());
    assert!(!segment(folder.path(), 2).exists());
    assert_eq!(states(folder.path()), [RowState::Pending; ROWS as usize]);
}

#[test]
fn a_run_has_one_journal() {
    let folder = tempfile::tempdir().unwrap();
    drop(Journal::create(folder.path(), "m.d", "r1", ROWS).unwrap());
    assert!(Journal::create(folder.path(), "m.d", "r1", ROWS).is_err());
    assert_eq!(states(Path::new("/nowhere/at/all")), [RowState::Pending; ROWS as usize]);
}

#[tokio::test]
async fn nothing_is_accepted_after_a_failed_write() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::create(folder.path(), "m.d", "r1", ROWS).unwrap();
    journal.break_for_test();
    assert!(journal.record(&Entry::Acknowledged(vec![[0, 1]])).is_err());
    assert!(journal.attempted(vec![[0, 1]]).await.is_err());
    assert!(journal.close().await.is_err());
}

#[test]
fn impossible_lines_are_errors_with_their_place() {
    let opened = r#"{"opened":{"format":1,"sync":"m.d","run":"r1","rows":40}}"#;
    let cases = [
        ("not json\n".to_owned(), 1),
        (format!("{opened}\nnot json\n"), 2),
        (format!("{opened}\n{{\"attempted\":[[0,41]]}}\n"), 2),
        (format!("{opened}\n{{\"attempted\":[[5,4]]}}\n"), 2),
        (format!("{opened}\n{{\"rejected\":{{\"row\":40,\"reason\":\"\"}}}}\n"), 2),
        (format!("{opened}\n{opened}\n"), 2),
        ("{\"attempted\":[[0,1]]}\n".to_owned(), 1),
        (opened.replace("40", "41") + "\n", 1),
        (opened.replace("\"format\":1", "\"format\":2") + "\n", 1),
    ];
    for (text, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(segment(folder.path(), 1), &text).unwrap();
        match replay(folder.path(), ROWS) {
            Err(JournalError::Corrupt { line, .. }) => assert_eq!(line, expected, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn segments_must_be_complete_and_of_one_journal() {
    let line =
        |sync| format!(r#"{{"opened":{{"format":1,"sync":"{sync}","run":"r1","rows":40}}}}"#);
    let cases: [&[(u32, String)]; 4] = [
        &[(1, line("m.d") + "\n"), (3, line("m.d") + "\n")],
        &[(2, line("m.d") + "\n")],
        &[(1, line("m.d") + "\n"), (2, line("m.e") + "\n")],
        &[(1, line("m.d") + "\n{\"att"), (2, line("m.d") + "\n")],
    ];
    for segments in cases {
        let folder = tempfile::tempdir().unwrap();
        for (number, text) in segments {
            std::fs::write(segment(folder.path(), *number), text).unwrap();
        }
        let result = replay(folder.path(), ROWS);
        assert!(matches!(result, Err(JournalError::Corrupt { .. })), "{segments:?}");
    }
}

fn ranges() -> impl Strategy<Value = Vec<[u64; 2]>> {
    let range = (0..ROWS).prop_flat_map(|from| (Just(from), from + 1..=ROWS));
    prop::collection::vec(range.prop_map(|(from, to)| [from, to]), 1..4)
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        ranges().prop_map(Entry::Attempted),
        ranges().prop_map(Entry::Acknowledged),
        ranges().prop_map(Entry::Withdrawn),
        ranges().prop_map(Entry::Lost),
        (0..ROWS, "[a-z\"\\n]{0,9}", any::<bool>())
            .prop_map(|(row, reason, unclear)| Entry::Rejected { row, reason, unclear }),
        ranges().prop_map(|rows| Entry::Submitted {
            rows,
            job: job(),
            share: None,
            unclear: false
        }),
    ]
}

fn covered(rows: &[[u64; 2]], row: u64) -> bool {
    rows.iter().any(|[from, to]| (*from..*to).contains(&row))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However many bytes are left of the last segment, the journal reads, and says of no row that
    /// it was acknowledged, rejected or taken back unless a line says so.
    #[test]
    fn any_prefix_replays_soundly(
        entries in prop::collection::vec(entry(), 0..20),
        share in 0.0..=1.0_f64,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), "m.d", "r1", ROWS).unwrap();
        for entry in &entries {
            journal.record(entry).unwrap();
        }
        drop(journal);
        let path = segment(folder.path(), 1);
        let bytes = std::fs::read(&path).unwrap();
        let kept = (bytes.len() as f64 * share) as usize;
        std::fs::write(&path, &bytes[..kept]).unwrap();
        let complete = bytes[..kept].iter().filter(|byte| **byte == b'\n').count();
        let known = &entries[..complete.saturating_sub(1)];
        let replay = replay(folder.path(), ROWS).unwrap();
        for row in 0..ROWS {
            let said = |wanted: fn(&Entry, u64) -> bool| known.iter().any(|entry| wanted(entry, row));
            let acknowledged = said(|entry, row| matches!(entry, Entry::Acknowledged(rows) if covered(rows, row)));
            let rejected = said(|entry, at| matches!(entry, Entry::Rejected { row, .. } if *row == at));
            let attempted = said(|entry, row| matches!(entry, Entry::Attempted(rows) | Entry::Submitted { rows, .. } if covered(rows, row)));
            let withdrawn = said(|entry, row| matches!(entry, Entry::Withdrawn(rows) if covered(rows, row)));
            match replay.rows[row as usize] {
                RowState::Acknowledged => prop_assert!(acknowledged),
                RowState::Rejected => prop_assert!(rejected),
                RowState::Unsettled => prop_assert!(attempted && !acknowledged && !rejected),
                RowState::Withdrawn => prop_assert!(withdrawn && !acknowledged && !rejected),
                RowState::Pending => prop_assert!(!acknowledged && !rejected && !attempted),
            }
        }
        prop_assert!(Journal::reopen(folder.path(), "m.d", "r1", ROWS).is_ok());
        prop_assert_eq!(&super::replay(folder.path(), ROWS).unwrap().rows, &replay.rows);
    }
}
