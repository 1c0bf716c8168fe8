//! What was delivered: a base and deltas, sorted by record key. And folding: what a run's journal says,
//! turned into a delta; now and then all of them are compacted into a new base.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::{cast, filter_record_batch, kernels::zip::zip};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::catalog::TableProvider;

use super::changes::{BlocksError, columns_of};
use super::columns::column;
use super::difference::EMAIL_BEFORE;
use super::error::{EngineError, Result};
use super::files;
use super::layers::Layers;
use super::session::Session;
use super::shared;
use super::writer::Writer;
use crate::outbox::{Replay, RowState};
use crate::record::Change;

/// Where what one sync delivered lies.
#[derive(Debug, Clone, Default)]
pub struct DeliveredFiles {
    /// `None`: nothing was ever delivered, or only deltas were written so far.
    pub base: Option<PathBuf>,
    /// What changed since, one file per run, the oldest first.
    pub deltas: Vec<PathBuf>,
    /// The latest run did not get everything through.
    pub uneven: bool,
}

/// Version of the layout of the file.
pub const DELIVERED_FORMAT: &str = "1";

/// Registers the table `delivered` in an ordered session; its columns, or `None` when nothing was
/// ever delivered.
pub async fn register(
    session: &Session,
    files: &DeliveredFiles,
    orders: &[&str],
) -> Result<Option<SchemaRef>> {
    let mut layers = Vec::new();
    for path in files.base.iter().chain(&files.deltas) {
        layers.push(files::table(session, path, orders).await?);
    }
    let table: Arc<dyn TableProvider> = match (layers.as_slice(), files.deltas.is_empty()) {
        ([base], true) => Arc::clone(base),
        _ => match Layers::new(layers, orders) {
            Some(layers) => Arc::new(layers),
            None => return Ok(None),
        },
    };
    let schema = table.schema();
    session
        .register("delivered", table)
        .map_err(|error| EngineError::of("reading what was delivered", error))?;
    Ok(Some(schema))
}

/// What folding needs beside the changes.
#[derive(Debug, Clone)]
pub struct Folding<'a> {
    pub run: &'a str,
    pub now: DateTime<Utc>,
    pub replay: &'a Replay,
    /// Nothing was delivered before: the file is a base, in which nothing is marked as removed.
    pub first: bool,
}

/// First pause before a refused row is sent again; doubles with every refusal.
const FIRST_PAUSE_HOURS: i64 = 1;
/// The longest pause.
const LONGEST_PAUSE_HOURS: i64 = 24 * 7;

/// A delta that is complete but not part of the state yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folded {
    /// Rows in the delta, tombstones included; no file without any.
    pub rows: u64,
    /// Rows of the changes that were to leave as messages.
    pub sent: u64,
}

/// Turns sealed changes and their journal into a delta: a sorted file of state rows (`removed` marks
/// tombstones), or into the first base. The same input always gives the same file.
pub fn fold(
    changes: &Path,
    folding: &Folding<'_>,
    into: &Path,
    metadata: &BTreeMap<&str, String>,
) -> Result<Folded> {
    let read = |source: BlocksError| EngineError::Read { path: changes.to_owned(), source };
    let mut survey = Survey::of(changes, folding.replay).map_err(read)?;
    let arrived = |row| state_of(folding.replay, row) == RowState::Acknowledged;
    survey.waiting.extend(shared::waiting(changes, arrived).map_err(read)?);
    survey.waiting.sort_unstable();
    let reader = columns_of(changes, is_folded).map_err(read)?;
    let mut writer: Option<Writer> = None;
    let mut first_row = 0;
    for batch in reader {
        let batch = batch.map_err(|error| read(Box::new(error)))?;
        let folded = fold_batch(&batch, first_row, folding, &survey.waiting)
            .map_err(|error| read(Box::new(error)))?;
        first_row += batch.num_rows() as u64;
        if folded.num_rows() == 0 {
            continue;
        }
        let open = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(
                Writer::create(into, folded.schema(), metadata)
                    .map_err(|error| error.of("folding", into))?,
            ),
        };
        open.write(folded).map_err(|error| error.of("folding", into))?;
    }
    let rows = match writer {
        Some(writer) => writer.finish().map_err(|error| error.of("folding", into))?,
        None => 0,
    };
    Ok(Folded { rows, sent: survey.sent })
}

/// What only messages are made from is not folded.
fn is_folded(name: &str) -> bool {
    name != "message_id" && !name.starts_with("send.") && !name.starts_with("profile.")
}

/// What has to be known of all changes before the first is folded.
#[derive(Default)]
struct Survey {
    /// Row numbers, sorted, of retirements that have to wait, because another record of the same
    /// subject has not arrived yet: until then the retired one is all the destination knows the subject
    /// by. And of list members who left but for what others have who have not arrived yet.
    waiting: Vec<u64>,
    sent: u64,
}

impl Survey {
    fn of(changes: &Path, replay: &Replay) -> std::result::Result<Self, BlocksError> {
        let mut survey = Self::default();
        let mut retires = false;
        for batch in columns_of(changes, |name| name == "change")? {
            for word in batch?.column(0).as_string::<i32>().iter().flatten() {
                let change = Change::parse(word);
                survey.sent += u64::from(change.is_some_and(Change::is_sent));
                retires |= change == Some(Change::Retired);
            }
        }
        if retires {
            survey.waiting = Self::retirements(changes, replay)?;
        }
        Ok(survey)
    }

    /// Retirements that have to wait.
    fn retirements(changes: &Path, replay: &Replay) -> std::result::Result<Vec<u64>, BlocksError> {
        let reader = columns_of(changes, |name| ["subject", "change"].contains(&name))?;
        let (mut waiting, mut group) = (Vec::new(), Group::default());
        let mut row = 0;
        for batch in reader {
            let batch = batch?;
            let subjects = batch.column(0).as_string::<i32>();
            let changes = batch.column(1).as_string::<i32>();
            for index in 0..batch.num_rows() {
                if group.subject != subjects.value(index) {
                    group.close(&mut waiting, subjects.value(index));
                }
                if let Some(change) = Change::parse(changes.value(index)) {
                    group.add(change, row, replay);
                }
                row += 1;
            }
        }
        group.close(&mut waiting, "");
        Ok(waiting)
    }
}

/// The rows of one subject.
#[derive(Default)]
struct Group {
    subject: String,
    retired: Vec<u64>,
    unsettled: bool,
}

impl Group {
    fn add(&mut self, change: Change, row: u64, replay: &Replay) {
        let arrived = || state_of(replay, row) == RowState::Acknowledged;
        match change {
            Change::Retired => self.retired.push(row),
            Change::Held => self.unsettled = true,
            change if change.is_sent() && !arrived() => self.unsettled = true,
            _ => {}
        }
    }

    fn close(&mut self, waiting: &mut Vec<u64>, next: &str) {
        if self.unsettled {
            waiting.append(&mut self.retired);
        }
        self.retired.clear();
        self.unsettled = false;
        next.clone_into(&mut self.subject);
    }
}

fn state_of(replay: &Replay, row: u64) -> RowState {
    let index = usize::try_from(row).unwrap_or(usize::MAX);
    replay.rows.get(index).copied().unwrap_or(RowState::Pending)
}

/// What one row of changes does to the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    Remove,
    Deliver,
    Unsettle,
    Reject,
    /// Refused, but an earlier try may have arrived.
    Doubt,
    Withdraw,
}

fn effect(change: Change, state: RowState, unclear: bool) -> Effect {
    match (change, state) {
        (Change::Retired, _) | (Change::Exited | Change::Displaced, RowState::Acknowledged) => {
            Effect::Remove
        }
        (Change::Held | Change::Displaced, _) => Effect::Nothing,
        (Change::Adopted, _) | (_, RowState::Acknowledged) => Effect::Deliver,
        (_, RowState::Unsettled) => Effect::Unsettle,
        (_, RowState::Rejected) if unclear => Effect::Doubt,
        (_, RowState::Rejected) => Effect::Reject,
        (_, RowState::Withdrawn) => Effect::Withdraw,
        (_, RowState::Pending) => Effect::Nothing,
    }
}

type ArrowResult<T> = std::result::Result<T, datafusion::arrow::error::ArrowError>;

/// What each row of a batch does to the state.
fn effects(
    changes: &[Change],
    first_row: u64,
    folding: &Folding<'_>,
    waiting: &[u64],
) -> Vec<Effect> {
    let numbered = (first_row..).zip(changes);
    let each = |(row, change): (u64, &Change)| {
        let unclear = folding.replay.unclear.contains(&row);
        let effect = effect(*change, state_of(folding.replay, row), unclear);
        match (effect, change) {
            _ if waiting.binary_search(&row).is_err() => effect,
            // Some of it is gone, and the rest has to be removed some time.
            (Effect::Remove, Change::Exited) => Effect::Unsettle,
            (Effect::Remove, _) => Effect::Nothing,
            (effect, _) => effect,
        }
    };
    numbered.map(each).collect()
}

fn fold_batch(
    batch: &RecordBatch,
    first_row: u64,
    folding: &Folding<'_>,
    waiting: &[u64],
) -> ArrowResult<RecordBatch> {
    let changes = cast(&column(batch, "change")?, &DataType::Utf8)?;
    let changes = changes.as_string::<i32>();
    let parsed: Vec<Change> = changes
        .iter()
        .map(|word| word.and_then(Change::parse).unwrap_or(Change::Adopted))
        .collect();
    let effects = effects(&parsed, first_row, folding, waiting);
    let is = |wanted: Effect| -> BooleanArray {
        effects.iter().map(|effect| Some(*effect == wanted)).collect()
    };
    // Values the destination has, or may have: the new ones unless they were refused or never taken.
    // The same holds of an email that is an attribute.
    let newest: BooleanArray = effects
        .iter()
        .zip(&parsed)
        .map(|(effect, change)| {
            let arrived = matches!(effect, Effect::Deliver | Effect::Unsettle | Effect::Doubt);
            Some(arrived && *change != Change::Exited)
        })
        .collect();
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (index, field) in batch.schema().fields().iter().enumerate() {
        let name = field.name();
        let before = (name == "email").then(|| batch.column_by_name(EMAIL_BEFORE)).flatten();
        if let Some(before) = before {
            arrays.push(either(&newest, batch.column(index), before)?);
        } else if ["record_key", "subject", "email", "trait"].contains(&name.as_str())
            || name.starts_with("id.")
        {
            arrays.push(Arc::clone(batch.column(index)));
        } else if let Some(value) = name.strip_prefix("value.") {
            let before = column(batch, &format!("before.{value}"))?;
            arrays.push(either(&newest, batch.column(index), &before)?);
        } else {
            continue;
        }
        fields.push(Arc::clone(field));
    }
    let origins = cast(&column(batch, "origin")?, &DataType::Utf8)?;
    let standing = Standing::of(batch, origins.as_string::<i32>(), first_row, folding, &effects)?;
    let removed: ArrayRef = Arc::new(is(Effect::Remove));
    let removed = (!folding.first).then_some(("removed", removed));
    for (name, array) in standing.arrays(folding.run).into_iter().chain(removed) {
        fields.push(Arc::new(Field::new(name, array.data_type().clone(), true)));
        arrays.push(array);
    }
    let folded = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    let counts = |effect: &Effect| match effect {
        Effect::Nothing => false,
        Effect::Remove => !folding.first,
        _ => true,
    };
    match effects.iter().all(counts) {
        true => Ok(folded),
        false => filter_record_batch(&folded, &effects.iter().map(counts).map(Some).collect()),
    }
}

/// The newer value where it counts, else the one before.
fn either(newest: &BooleanArray, newer: &ArrayRef, before: &ArrayRef) -> ArrowResult<ArrayRef> {
    match newest.true_count() == newest.len() {
        true => Ok(Arc::clone(newer)),
        false => zip(newest, newer, before),
    }
}

/// The columns that say how a record stands.
struct Standing<'a> {
    word: Vec<&'static str>,
    present: Vec<Option<bool>>,
    origin: Vec<Option<&'a str>>,
    fingerprint: Vec<Option<i64>>,
    reason: Vec<Option<&'a str>>,
    refusals: Vec<Option<i64>>,
    refused_at: Vec<Option<i64>>,
    retry_at: Vec<Option<i64>>,
}

impl<'a> Standing<'a> {
    fn of(
        batch: &RecordBatch,
        origins: &'a StringArray,
        first_row: u64,
        folding: &Folding<'a>,
        effects: &[Effect],
    ) -> ArrowResult<Self> {
        let number = |name: &str| {
            Ok::<_, datafusion::arrow::error::ArrowError>(
                cast(&column(batch, name)?, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
            )
        };
        let present = column(batch, "present")?;
        let present = present.as_boolean();
        let (prints, refusals, since) =
            (number("fingerprint")?, number("refusals")?, number("refused_at")?);
        let mut all = Self::empty(effects.len());
        for (row, effect) in effects.iter().enumerate() {
            let tried = !matches!(effect, Effect::Nothing | Effect::Remove | Effect::Deliver);
            all.word.push(match effect {
                Effect::Unsettle => "unsettled",
                Effect::Reject | Effect::Doubt => "rejected",
                Effect::Withdraw => "withdrawn",
                _ => "delivered",
            });
            all.present.push(match effect {
                Effect::Unsettle | Effect::Doubt => None,
                Effect::Reject | Effect::Withdraw => {
                    present.is_valid(row).then(|| present.value(row))
                }
                _ => Some(true),
            });
            all.origin.push(tried.then(|| origins.value(row)));
            all.fingerprint.push(tried.then(|| prints.value(row)));
            let refused = matches!(effect, Effect::Reject | Effect::Doubt);
            let earlier = if refusals.is_valid(row) { refusals.value(row) } else { 0 };
            let now = folding.now.timestamp_micros();
            let first = if since.is_valid(row) { since.value(row) } else { now };
            all.reason.push(match refused {
                true => folding.replay.reasons.get(&(first_row + row as u64)).map(String::as_str),
                false => None,
            });
            all.refusals.push(refused.then_some(earlier + 1));
            all.refused_at.push(refused.then_some(first));
            all.retry_at.push(refused.then(|| now + pause(earlier)));
        }
        Ok(all)
    }

    fn empty(rows: usize) -> Self {
        Self {
            word: Vec::with_capacity(rows),
            present: Vec::with_capacity(rows),
            origin: Vec::with_capacity(rows),
            fingerprint: Vec::with_capacity(rows),
            reason: Vec::with_capacity(rows),
            refusals: Vec::with_capacity(rows),
            refused_at: Vec::with_capacity(rows),
            retry_at: Vec::with_capacity(rows),
        }
    }

    fn arrays(self, run: &str) -> Vec<(&'static str, ArrayRef)> {
        let runs = StringArray::from(vec![run; self.word.len()]);
        vec![
            ("standing", Arc::new(StringArray::from(self.word)) as ArrayRef),
            ("present", Arc::new(BooleanArray::from(self.present))),
            ("origin", Arc::new(StringArray::from(self.origin))),
            ("fingerprint", Arc::new(Int64Array::from(self.fingerprint))),
            ("reason", Arc::new(StringArray::from(self.reason))),
            ("refusals", Arc::new(Int64Array::from(self.refusals))),
            ("refused_at", Arc::new(Int64Array::from(self.refused_at))),
            ("retry_at", Arc::new(Int64Array::from(self.retry_at))),
            ("run", Arc::new(runs)),
        ]
    }
}

/// Microseconds until a row that was refused this often before is sent again.
fn pause(earlier: i64) -> i64 {
    let doubled = FIRST_PAUSE_HOURS << earlier.clamp(0, 8);
    TimeDelta::hours(doubled.min(LONGEST_PAUSE_HOURS)).num_microseconds().unwrap_or(i64::MAX)
}

/// Merges all layers into one file, sorted by record key. How many rows it holds.
pub async fn compact(
    session: &Session,
    files: &DeliveredFiles,
    into: &Path,
    metadata: &BTreeMap<&str, String>,
) -> Result<u64> {
    let failed = |error| EngineError::of("folding what was delivered", error);
    let ordered = session.ordered()?;
    if register(&ordered, files, &["record_key"]).await?.is_none() {
        return Ok(0);
    }
    let sql = "SELECT * FROM delivered ORDER BY record_key ASC NULLS FIRST";
    let plan = ordered.plan(sql).await.map_err(failed)?;
    let write = async |stream| files::write_stream_with(into, stream, metadata).await;
    let rows = ordered.execute(&plan, write).await;
    rows.map_err(|error| error.of("folding what was delivered", into))
}
