//! Folding: what a run's journal says of its changes, turned into rows of the state.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::{cast, filter_record_batch, kernels::zip::zip};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema, SchemaRef};

use super::columns::column;
use super::difference::EMAIL_BEFORE;
use super::encoder::Chunks;
use super::error::{EngineError, Result};
use super::sealed::{BATCH, BlocksError, ChangesFile};
use super::shared;
use super::writer::{Purpose, WriteError, Writer};
use crate::outbox::{Replay, RowState};
use crate::record::Change;

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
///
/// Where every row of a row group arrived, as in most runs all do, its columns are taken over as they
/// lie in the changes.
pub fn fold(
    changes: &Path,
    folding: &Folding<'_>,
    into: &Path,
    metadata: &BTreeMap<&str, String>,
) -> Result<Folded> {
    let read = |source: BlocksError| EngineError::Read { path: changes.to_owned(), source };
    let not_columns = |error| read(Box::new(error));
    let file = ChangesFile::open(changes).map_err(read)?;
    let mut survey = Survey::of(&file, folding).map_err(read)?;
    let arrived = |row| state_of(folding.replay, row) == RowState::Acknowledged;
    survey.waiting.extend(shared::waiting(&file, arrived).map_err(read)?);
    survey.waiting.sort_unstable();
    let arrived = arrived_rows(folding).map_err(not_columns)?;
    let schema = state_schema(file.schema(), &arrived.schema());
    let mut delta = Delta { path: into, schema: &schema, metadata, writer: None };
    let mut first_row = 0;
    for (group, rows) in file.groups().enumerate() {
        if survey.arrived[group] {
            let chunks = file.chunks(group, is_kept).map_err(read)?;
            delta.take_over(chunks, &arrived, rows)?;
            first_row += rows as u64;
            continue;
        }
        for batch in file.columns_of_group(group, is_folded).map_err(read)? {
            let batch = batch.map_err(not_columns)?;
            let folded = fold_batch(&batch, first_row, folding, &survey.waiting, &schema)
                .map_err(not_columns)?;
            first_row += batch.num_rows() as u64;
            delta.write(folded)?;
        }
    }
    Ok(Folded { rows: delta.finish()?, sent: survey.sent })
}

/// The file that changes are folded into; there is none as long as there are no rows.
struct Delta<'a> {
    path: &'a Path,
    schema: &'a SchemaRef,
    metadata: &'a BTreeMap<&'a str, String>,
    writer: Option<Writer>,
}

impl Delta<'_> {
    fn write(&mut self, batch: RecordBatch) -> Result<()> {
        match batch.num_rows() {
            0 => Ok(()),
            _ => self.on_writer(|writer| writer.write(batch)),
        }
    }

    fn take_over(&mut self, first: Chunks, others: &RecordBatch, rows: usize) -> Result<()> {
        self.on_writer(|writer| writer.take_over(first, others.clone(), rows))
    }

    fn on_writer(
        &mut self,
        write: impl FnOnce(&mut Writer) -> std::result::Result<(), WriteError>,
    ) -> Result<()> {
        let written = match &mut self.writer {
            Some(writer) => write(writer),
            None => {
                Writer::create(self.path, Arc::clone(self.schema), Purpose::State(self.metadata))
                    .and_then(|writer| write(self.writer.insert(writer)))
            }
        };
        written.map_err(|error| error.of("folding", self.path))
    }

    /// How many rows there are.
    fn finish(self) -> Result<u64> {
        let rows = self.writer.map_or(Ok(0), Writer::finish);
        rows.map_err(|error| error.of("folding", self.path))
    }
}

/// Columns of changes that are columns of the state, and come first there.
fn is_kept(name: &str) -> bool {
    ["record_key", "subject", "email", "trait"].contains(&name)
        || name.starts_with("id.")
        || name.starts_with("value.")
}

fn state_schema(changes: &Schema, standing: &Schema) -> SchemaRef {
    let kept = changes.fields().iter().filter(|field| is_kept(field.name()));
    let fields: Vec<_> = kept.chain(standing.fields()).cloned().collect();
    Arc::new(Schema::new(fields))
}

/// How records stand that arrived, all the same.
fn arrived_rows(folding: &Folding<'_>) -> ArrowResult<RecordBatch> {
    let standing = Standing::delivered(BATCH).arrays(folding.run);
    let removed: ArrayRef = Arc::new(BooleanArray::from(vec![false; BATCH]));
    let removed = (!folding.first).then_some(("removed", removed));
    let columns = standing.into_iter().chain(removed);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true)))
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
    /// Row groups of which everything arrived.
    arrived: Vec<bool>,
}

impl Survey {
    fn of(file: &ChangesFile, folding: &Folding<'_>) -> std::result::Result<Self, BlocksError> {
        let mut survey = Self::default();
        let (mut retires, mut row) = (false, 0);
        for (group, _) in file.groups().enumerate() {
            let mut arrived = true;
            for batch in file.columns_of_group(group, |name| name == "change")? {
                for word in batch?.column(0).as_string::<i32>() {
                    let change = parsed(word);
                    survey.sent += u64::from(change.is_sent());
                    retires |= change == Change::Retired;
                    arrived &= effect_of(change, row, folding) == Effect::Deliver;
                    row += 1;
                }
            }
            survey.arrived.push(arrived);
        }
        if retires {
            survey.waiting = Self::retirements(file, folding.replay)?;
        }
        Ok(survey)
    }

    /// Retirements that have to wait.
    fn retirements(
        file: &ChangesFile,
        replay: &Replay,
    ) -> std::result::Result<Vec<u64>, BlocksError> {
        let reader = file.columns(|name| ["subject", "change"].contains(&name))?;
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

fn effect_of(change: Change, row: u64, folding: &Folding<'_>) -> Effect {
    let unclear = folding.replay.unclear.contains(&row);
    effect(change, state_of(folding.replay, row), unclear)
}

fn parsed(word: Option<&str>) -> Change {
    word.and_then(Change::parse).unwrap_or(Change::Adopted)
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
        let effect = effect_of(*change, row, folding);
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
    schema: &SchemaRef,
) -> ArrowResult<RecordBatch> {
    let changes = cast(&column(batch, "change")?, &DataType::Utf8)?;
    let changes = changes.as_string::<i32>();
    let parsed: Vec<Change> = changes.iter().map(parsed).collect();
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
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (field, newer) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let before = match field.name().as_str() {
            name if !is_kept(name) => continue,
            "email" => batch.column_by_name(EMAIL_BEFORE).cloned(),
            name => match name.strip_prefix("value.") {
                Some(value) => Some(column(batch, &format!("before.{value}"))?),
                None => None,
            },
        };
        arrays.push(match before {
            Some(before) => either(&newest, newer, &before)?,
            None => Arc::clone(newer),
        });
    }
    let origins = cast(&column(batch, "origin")?, &DataType::Utf8)?;
    let standing = Standing::of(batch, origins.as_string::<i32>(), first_row, folding, &effects)?;
    arrays.extend(standing.arrays(folding.run).into_iter().map(|(_, array)| array));
    if !folding.first {
        arrays.push(Arc::new(is(Effect::Remove)));
    }
    let folded = RecordBatch::try_new(Arc::clone(schema), arrays)?;
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

    /// Of records that all arrived.
    fn delivered(rows: usize) -> Self {
        Self {
            word: vec!["delivered"; rows],
            present: vec![Some(true); rows],
            origin: vec![None; rows],
            fingerprint: vec![None; rows],
            reason: vec![None; rows],
            refusals: vec![None; rows],
            refused_at: vec![None; rows],
            retry_at: vec![None; rows],
        }
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
