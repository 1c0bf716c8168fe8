//! Properties of the difference and of folding, on real tables through the real SQL: after any history
//! of losses one quiet run makes the destination equal the SQL, and one more has nothing to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::concat_batches;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;
use crate::destinations::Grain;
use crate::outbox::{Replay, RowState};
use crate::project::{Emails, ModelKind, Project, load};
use crate::record::{Call, Change, Value};

/// Who there is: value (none: NULL) and emails.
type World = BTreeMap<u8, (Option<i8>, BTreeSet<u8>)>;

fn score() -> Wanted {
    Wanted { models: ["score".to_owned()].into(), identifiers: false }
}

/// A project with one trait model over two small tables.
struct Shop {
    folder: tempfile::TempDir,
    project: Project,
    records: Option<Records>,
    files: DeliveredFiles,
    steps: usize,
}

const NOW: &str = "2026-01-01T00:00:00Z";

fn now() -> DateTime<Utc> {
    NOW.parse().unwrap_or_default()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        .unwrap();
}

impl Shop {
    fn new(model: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(&root.join("muster.toml"), "[project]\nname = \"shop\"\ndata = \"data\"\n");
        write(&root.join("queries/traits/score.sql"), model);
        write(
            &root.join("queries/identifiers.sql"),
            "SELECT user_id, 'email' AS type, email AS value, added AS added_at FROM emails",
        );
        let shop = Self {
            project: load(root, &|_| None),
            folder,
            records: None,
            files: DeliveredFiles::default(),
            steps: 0,
        };
        shop.set(&World::new());
        Self { project: load(shop.folder.path(), &|_| None), ..shop }
    }

    fn set(&self, world: &World) {
        let data = self.folder.path().join("data");
        let mut users = String::from("user_id,score\nu999,\n");
        let mut emails = String::from("user_id,email,added\nu999,e0@x.org,2020-01-01\n");
        for (user, (score, addresses)) in world {
            let score = score.map_or(String::new(), |score| score.to_string());
            users += &format!("u{user},{score}\n");
            for email in addresses {
                emails += &format!("u{user},e{email}@x.org,2020-01-{:02}\n", email + 1);
            }
        }
        write(&data.join("users.csv"), &users);
        write(&data.join("emails.csv"), &emails);
    }

    fn limits(&self) -> Limits {
        let scratch = self.folder.path().join(format!("scratch{}", self.steps));
        fs::create_dir_all(&scratch).unwrap();
        Limits { memory: 64 << 20, scratch, as_of: now() }
    }

    async fn compare(&mut self, grain: Grain, retry: bool) -> Compared {
        self.steps += 1;
        let mut lake = Lake::new(&self.project, self.limits()).unwrap();
        let findings = lake.analyse().await;
        assert!(findings.is_empty(), "{findings:?}");
        let model = lake.model("score").unwrap().clone();
        let records = Records {
            sync: "score.test".into(),
            key_column: "user_id".into(),
            user_key: "user_id".into(),
            account_key: "account_id".into(),
            call: Call::Identify,
            grain,
            emails: Emails::All,
            resync_on_new_identifier: true,
            keep_missing: false,
            match_fields: Vec::new(),
            country: None,
            profile: Vec::new(),
            required: Vec::new(),
            profile_columns: Vec::new(),
            has_identifiers: true,
            has_suppressed: false,
            per_trait: false,
            model,
        };
        compute(&lake, &score(), |_| ()).await.unwrap();
        let comparison = Comparison {
            records: &records,
            delivered: &self.files,
            reading: Reading::Normal,
            run: &format!("run{:04}", self.steps),
            origin: &format!("run{:04}", self.steps - 1),
            now: now(),
            retry_rejected: retry,
            fading: None,
        };
        let compared = compare(&lake, &comparison).await.unwrap();
        self.records = Some(records);
        compared
    }

    /// Folds with these outcomes; the fold done twice gives the same. Every third delta is compacted.
    async fn fold(&mut self, compared: &Compared, said: impl Into<Said>) {
        let Said { rows, unclear } = said.into();
        let arrived = rows.iter().filter(|row| **row == RowState::Acknowledged).count() as u64;
        let session = Session::new(self.limits()).unwrap();
        let reasons = (0_u64..).zip(&rows).filter(|(_, state)| **state == RowState::Rejected);
        let reasons = reasons.map(|(row, _)| (row, "no".to_owned())).collect();
        let replay = Replay { rows, reasons, unclear, jobs: Vec::new() };
        let run = format!("run{:04}", self.steps);
        let first = self.files.base.is_none() && self.files.deltas.is_empty();
        let folding = Folding { run: &run, now: now(), replay: &replay, first };
        let fresh = self.folder.path().join(format!("delta{}.parquet", self.steps));
        let changes = &compared.changes;
        let none = BTreeMap::new();
        if changes.rows == 0 {
            self.files.uneven = false;
            return;
        }
        let folded = fold(&changes.path, &folding, &fresh, &none).unwrap();
        self.files.uneven = arrived < folded.sent;
        if folded.rows == 0 {
            return;
        }
        let twice = session.scratch("twice.parquet");
        fold(&changes.path, &folding, &twice, &none).unwrap();
        assert_eq!(fs::read(&fresh).unwrap(), fs::read(&twice).unwrap(), "folding is idempotent");
        let grouped = in_groups_of_two(&changes.path);
        let regrouped = session.scratch("regrouped.parquet");
        let same = fold(grouped.path(), &folding, &regrouped, &none).unwrap();
        assert_eq!((same, read(&regrouped)), (folded, read(&fresh)), "whatever arrived together");
        match first {
            true => self.files.base = Some(fresh),
            false => self.files.deltas.push(fresh),
        }
        if self.files.deltas.len() == 3 {
            let base = self.folder.path().join(format!("base{}.parquet", self.steps));
            compact(&session, &self.files, &base, &none).await.unwrap();
            let uneven = self.files.uneven;
            self.files = DeliveredFiles { base: Some(base), deltas: Vec::new(), uneven };
        }
    }

    fn blocks(&self, compared: &Compared) -> Vec<Block> {
        if compared.changes.rows == 0 {
            return Vec::new();
        }
        let shape = Shape {
            sync: "score.test".into(),
            index: 0,
            call: Call::Identify,
            kind: ModelKind::Trait,
            level: crate::record::Level::User,
            model_key: "score".into(),
            event: String::new(),
            timestamp: NOW.into(),
            columns: vec![("score".into(), "score".into())],
            identifiers: Vec::new(),
            profile: Vec::new(),
        };
        let blocks = read_blocks(&compared.changes.path, &shape.into()).unwrap();
        blocks.collect::<std::result::Result<_, _>>().unwrap()
    }
}

fn read(path: &Path) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: std::result::Result<Vec<_>, _> = reader.build().unwrap().collect();
    concat_batches(&schema, &batches.unwrap()).unwrap()
}

/// The same file, in row groups of two rows each.
fn in_groups_of_two(path: &Path) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let rows = read(path);
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(2)).build();
    let into = file.reopen().unwrap();
    let mut writer = ArrowWriter::try_new(into, rows.schema(), Some(properties)).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
    file
}

const MODEL: &str = "/*\n[trait]\n*/\nSELECT user_id, score FROM users WHERE user_id <> 'u999'";

/// What the destination holds: the last value it heard of each user; NULL is none.
#[derive(Debug, Default, PartialEq)]
struct Remote(BTreeMap<String, i64>);

impl Remote {
    fn hear(&mut self, block: &Block, row: usize) {
        if !block.is_sent(row, 0) {
            return;
        }
        match block.value(row, 0) {
            Value::Int(score) => drop(self.0.insert(block.subject(row).to_owned(), score)),
            _ => drop(self.0.remove(block.subject(row))),
        }
    }
}

fn wanted(world: &World) -> Remote {
    let scores = world.iter().filter_map(|(user, (score, _))| Some((user, (*score)?)));
    Remote(scores.map(|(user, score)| (format!("u{user}"), i64::from(score))).collect())
}

/// What the journal says of every row.
struct Said {
    rows: Vec<RowState>,
    /// Rejected after a try that had no answer.
    unclear: BTreeSet<u64>,
}

impl From<Vec<RowState>> for Said {
    fn from(rows: Vec<RowState>) -> Self {
        Self { rows, unclear: BTreeSet::new() }
    }
}

/// What fate has for one row: 0 acknowledged, 1 lost reply (arrived), 2 lost request, 3 rejected,
/// 4 withdrawn, 5 never tried; 6 and 7 are 1 and 2, and then refused.
fn suffer(remote: &mut Remote, blocks: &[Block], fates: &[u8]) -> Said {
    let (mut states, mut unclear) = (Vec::new(), BTreeSet::new());
    for block in blocks {
        for row in 0..block.len() {
            let fate = fates[states.len() % fates.len()];
            let sent = block.change(row).is_sent();
            if sent && matches!(fate, 0 | 1 | 6) {
                remote.hear(block, row);
            }
            if sent && fate >= 6 {
                unclear.insert(states.len() as u64);
            }
            states.push(match fate {
                _ if !sent => RowState::Pending,
                0 => RowState::Acknowledged,
                1 | 2 => RowState::Unsettled,
                3 | 6 | 7 => RowState::Rejected,
                4 => RowState::Withdrawn,
                _ => RowState::Pending,
            });
        }
    }
    Said { rows: states, unclear }
}

fn worlds() -> impl Strategy<Value = Vec<World>> {
    let person =
        (proptest::option::weighted(0.9, 0_i8..3), proptest::collection::btree_set(0_u8..3, 0..3));
    proptest::collection::vec(proptest::collection::btree_map(0_u8..6, person, 0..6), 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_converges(
        worlds in worlds(),
        fates in proptest::collection::vec(0_u8..8, 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut shop = Shop::new(MODEL);
            let mut remote = Remote::default();
            for world in &worlds {
                shop.set(world);
                let compared = shop.compare(Grain::Raw, false).await;
                let states = suffer(&mut remote, &shop.blocks(&compared), &fates);
                shop.fold(&compared, states).await;
            }
            let compared = shop.compare(Grain::Raw, true).await;
            let states = suffer(&mut remote, &shop.blocks(&compared), &[0]);
            shop.fold(&compared, states).await;
            let last = worlds.last().cloned().unwrap_or_default();
            assert_eq!(remote, wanted(&last));
            let quiet = shop.compare(Grain::Raw, false).await;
            assert_eq!(quiet.changes.counts.differing(), 0);
        });
    }
}

#[tokio::test]
async fn the_difference_is_a_merge_of_sorted_files() {
    let mut shop = Shop::new(MODEL);
    let everybody = (0..6).map(|user| (user, (Some(1), BTreeSet::from([0, 1])))).collect();
    shop.set(&everybody);
    let compared = shop.compare(Grain::Raw, false).await;
    let states = vec![RowState::Acknowledged; 12];
    shop.fold(&compared, states).await;
    let records = shop.records.clone().unwrap();
    // A file of the same shape as desired records: what is compared is the plan, not the rows.
    let desired = desired_like(&shop).await;
    let session = Session::new(shop.limits()).unwrap();
    let base = shop.folder.path().join("base.parquet");
    compact(&session, &shop.files, &base, &BTreeMap::new()).await.unwrap();
    shop.files = DeliveredFiles { base: Some(base), ..DeliveredFiles::default() };
    assert_merges(&shop, &records, &desired, 0).await;
    // The same with a delta over the base.
    shop.set(&World::from([(1, person(2, &[0]))]));
    let compared = shop.compare(Grain::Raw, false).await;
    shop.fold(&compared, vec![RowState::Acknowledged; 12]).await;
    assert_merges(&shop, &records, &desired, 1).await;
}

/// What labels add would have to be sorted as well.
#[tokio::test]
async fn the_first_changes_are_sorted_once_and_before_they_are_labelled() {
    let mut shop = Shop::new(MODEL);
    shop.set(&World::from([(1, person(2, &[0]))]));
    shop.compare(Grain::Raw, false).await;
    let records = shop.records.clone().unwrap();
    let mut lake = Lake::new(&shop.project, shop.limits()).unwrap();
    assert!(lake.analyse().await.is_empty());
    compute(&lake, &score(), |_| ()).await.unwrap();
    let plan = super::compare::explain_first(&lake, &records).await.unwrap();
    let (labels, rest) = plan.split_once("SortExec:").unwrap();
    assert!(labels.contains(" as change"), "{plan}");
    assert!(!rest.contains("SortExec:"), "{plan}");
    let sorted = rest.lines().find(|line| line.contains("ProjectionExec")).unwrap();
    assert!(sorted.contains("AS Utf8) as record_key"), "{plan}");
    assert!(!sorted.contains("as email") && !sorted.contains("as subject"), "{plan}");
}

async fn assert_merges(shop: &Shop, records: &Records, desired: &Path, layered: usize) {
    let session = Session::new(shop.limits()).unwrap();
    let [differing, labels] =
        super::compare::explain(&session, records, desired, &shop.files).await.unwrap();
    assert!(differing.contains("SortMergeJoinExec: join_type=Full"), "{differing}");
    assert_eq!(differing.matches("StreamingTableExec").count(), layered, "{differing}");
    let sorts = |plan: &str| plan.matches("SortExec:").count();
    assert_eq!((sorts(&differing), sorts(&labels)), (0, 0), "{differing}\n{labels}");
    for plan in [differing, labels] {
        assert!(!plan.contains("HashJoin"), "{plan}");
    }
}

async fn desired_like(shop: &Shop) -> PathBuf {
    let session = Session::new(shop.limits()).unwrap();
    let path = shop.folder.path().join("desired.parquet");
    let sql = "SELECT 'u1' || chr(1) || 'e' AS record_key, 'u1' AS subject, 'e' AS email, \
               CAST(NULL AS VARCHAR) AS trait, CAST(1 AS BIGINT) AS \"value.score\", \
               CAST(NULL AS VARCHAR) AS invalid";
    let plan = session.plan(sql).await.unwrap();
    let stream = session.stream(&plan).await.unwrap();
    super::files::write_stream(&path, stream, super::writer::Purpose::Scratch)
        .await
        .map_err(|error| error.of("test", &path))
        .unwrap();
    path
}

#[tokio::test]
async fn nan_equals_nan_and_minus_zero_is_zero() {
    let model = "/*\n[trait]\n*/\nSELECT user_id, CASE WHEN score = 1 THEN CAST('NaN' AS DOUBLE) \
                 WHEN score = 2 THEN -0.0 ELSE 0.0 END AS score FROM users WHERE user_id <> 'u999'";
    let mut shop = Shop::new(model);
    let world = |scores: [i8; 2]| -> World {
        (0..2).map(|user| (user, (Some(scores[usize::from(user)]), BTreeSet::new()))).collect()
    };
    shop.set(&world([1, 2]));
    let first = shop.compare(Grain::Raw, false).await;
    assert_eq!(first.changes.counts.of(Change::Entered), 2);
    shop.fold(&first, vec![RowState::Acknowledged; 2]).await;
    shop.set(&world([1, 3]));
    let second = shop.compare(Grain::Raw, false).await;
    assert_eq!(second.changes.counts.differing(), 0, "NaN is NaN, and 0.0 is -0.0");
}

/// The footer of a file says of such a column that its least and its greatest value are the same.
#[tokio::test]
async fn nan_is_not_read_as_the_only_number_beside_it() {
    let model = "/*\n[trait]\n*/\nSELECT user_id, CASE WHEN score = 1 THEN CAST('NaN' AS DOUBLE) \
                 ELSE 0.5 END AS score FROM users WHERE user_id <> 'u999'";
    for grain in [Grain::Raw, Grain::Subject, Grain::Email] {
        let mut shop = Shop::new(model);
        let world = |score: i8| -> World {
            [(0, person(score, &[0])), (1, person(2, &[1]))].into_iter().collect()
        };
        shop.set(&world(1));
        let first = shop.compare(grain, false).await;
        let values = |compared: &Compared| -> Vec<String> {
            let blocks = shop.blocks(compared);
            let rows =
                blocks.iter().flat_map(|block| (0..block.len()).map(move |row| (block, row)));
            rows.map(|(block, row)| format!("{:?}", block.value(row, 0))).collect()
        };
        assert_eq!(values(&first), ["Float(NaN)", "Float(0.5)"], "{grain:?}");
        shop.fold(&first, vec![RowState::Acknowledged; 2]).await;
        let second = shop.compare(grain, false).await;
        assert_eq!(second.changes.counts.differing(), 0, "{grain:?}");
        shop.set(&world(2));
        let third = shop.compare(grain, false).await;
        assert_eq!(third.changes.counts.of(Change::Changed), 1, "{grain:?}");
    }
}

/// `key → (change, value)` of everything that is to be said.
fn said(shop: &Shop, compared: &Compared) -> BTreeMap<String, (Change, Option<i64>)> {
    let mut said = BTreeMap::new();
    for block in shop.blocks(compared) {
        for row in (0..block.len()).filter(|row| block.change(*row).is_sent()) {
            let value = match block.value(row, 0) {
                Value::Int(value) => Some(value),
                _ => None,
            };
            said.insert(block.key(row).to_owned(), (block.change(row), value));
        }
    }
    said
}

fn person(score: i8, emails: &[u8]) -> (Option<i8>, BTreeSet<u8>) {
    (Some(score), emails.iter().copied().collect())
}

#[tokio::test]
async fn by_email_a_trait_takes_the_value_of_its_latest_owner_and_conflicts_are_counted() {
    let mut shop = Shop::new(MODEL);
    // Both own e1; u2 also owns e2, which nobody else has. Dates follow the email's number, so the
    // owners of e1 tie and the first subject decides.
    shop.set(&World::from([(1, person(10, &[1])), (2, person(20, &[1, 2]))]));
    let first = shop.compare(Grain::Email, false).await;
    assert_eq!(first.conflicts, 1);
    assert_eq!(
        said(&shop, &first),
        BTreeMap::from([
            ("e1@x.org".to_owned(), (Change::Entered, Some(10))),
            ("e2@x.org".to_owned(), (Change::Entered, Some(20))),
        ])
    );
    shop.fold(&first, vec![RowState::Acknowledged; 2]).await;
    // One owner of the shared email leaves: the email stays, with the other's value.
    shop.set(&World::from([(2, person(20, &[1, 2]))]));
    let second = shop.compare(Grain::Email, false).await;
    assert_eq!(
        said(&shop, &second),
        BTreeMap::from([("e1@x.org".to_owned(), (Change::Changed, Some(20)))])
    );
    shop.fold(&second, vec![RowState::Acknowledged]).await;
    // The last owner drops it: now it leaves.
    shop.set(&World::from([(2, person(20, &[2]))]));
    let third = shop.compare(Grain::Email, false).await;
    assert_eq!(
        said(&shop, &third),
        BTreeMap::from([("e1@x.org".to_owned(), (Change::Exited, None))])
    );
}

#[tokio::test]
async fn by_subject_there_is_one_record_and_a_new_preferred_email_repeats_it() {
    let mut shop = Shop::new(MODEL);
    shop.set(&World::from([(1, person(10, &[0, 1])), (2, person(20, &[]))]));
    let first = shop.compare(Grain::Subject, false).await;
    let entered = |value| (Change::Entered, Some(value));
    assert_eq!(
        said(&shop, &first),
        BTreeMap::from([("u1".to_owned(), entered(10)), ("u2".to_owned(), entered(20))])
    );
    shop.fold(&first, vec![RowState::Acknowledged; 2]).await;
    shop.set(&World::from([(1, person(10, &[0, 1, 2])), (2, person(20, &[]))]));
    let second = shop.compare(Grain::Subject, false).await;
    assert_eq!(
        said(&shop, &second),
        BTreeMap::from([("u1".to_owned(), (Change::Resynced, Some(10)))])
    );
    shop.fold(&second, vec![RowState::Acknowledged]).await;
    // An email that is not the preferred one goes: nothing to say.
    shop.set(&World::from([(1, person(10, &[1, 2])), (2, person(20, &[]))]));
    let third = shop.compare(Grain::Subject, false).await;
    assert_eq!(third.changes.counts.differing(), 0);
}

#[tokio::test]
async fn a_refused_record_is_held_until_its_pause_is_over_or_it_changes() {
    let mut shop = Shop::new(MODEL);
    shop.set(&World::from([(1, person(10, &[]))]));
    let first = shop.compare(Grain::Raw, false).await;
    shop.fold(&first, vec![RowState::Rejected]).await;
    let held = shop.compare(Grain::Raw, false).await;
    assert_eq!((held.changes.counts.held(), held.changes.counts.sent()), (1, 0));
    let retried = shop.compare(Grain::Raw, true).await;
    assert_eq!((retried.changes.counts.held(), retried.changes.counts.sent()), (0, 1));
    shop.set(&World::from([(1, person(11, &[]))]));
    let changed = shop.compare(Grain::Raw, false).await;
    assert_eq!((changed.changes.counts.held(), changed.changes.counts.sent()), (0, 1));
    // It never got in: when it leaves there is nothing to take back.
    shop.set(&World::new());
    let left = shop.compare(Grain::Raw, false).await;
    assert_eq!(left.changes.counts.differing(), 0);
}
