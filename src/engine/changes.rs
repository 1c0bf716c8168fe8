//! Changes on their way to being sealed: the difference as it streams out of the join, each row given
//! its deterministic message id, rows that were refused not long ago marked as held, all counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, Int64Array, RecordBatch, StringArray,
};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::physical_plan::SendableRecordBatchStream;
use futures::StreamExt;
use sha2::{Digest, Sha256};

use super::block::changes_schema_version;
use super::columns::column;
use super::writer::{Purpose, WriteError, Writer};
use crate::record::Change;

/// How many records changed in which way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangeCounts {
    counts: BTreeMap<Change, u64>,
    held: BTreeMap<Change, u64>,
}

/// What the labels depend on beside the rows.
#[derive(Debug, Clone)]
pub struct Labelling<'a> {
    pub sync: &'a str,
    pub run: &'a str,
    /// Up to which run the state is folded: part of the ids of new transitions.
    pub origin: &'a str,
    pub now: DateTime<Utc>,
    /// Send what was refused again, however short ago that was.
    pub retry_rejected: bool,
}

/// A file of changes that is complete but not sealed; no file when there are none to look for.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    pub path: PathBuf,
    /// Rows in the file, silent ones included.
    pub rows: u64,
    /// Records that were looked at, those included of which there is nothing to say.
    pub seen: u64,
    pub counts: ChangeCounts,
}

impl ChangeCounts {
    fn add(&mut self, change: Change, held: bool) {
        let counts = if held { &mut self.held } else { &mut self.counts };
        *counts.entry(change).or_default() += 1;
    }

    /// Records that changed this way, those held back included.
    pub fn of(&self, change: Change) -> u64 {
        let get = |counts: &BTreeMap<Change, u64>| counts.get(&change).copied().unwrap_or(0);
        get(&self.counts) + get(&self.held)
    }

    /// Refused not long ago, unchanged since: not sent this time.
    pub fn held(&self) -> u64 {
        self.held.values().sum()
    }

    /// Records that leave as messages in this run.
    pub fn sent(&self) -> u64 {
        let sent = self.counts.iter().filter(|(change, _)| change.is_sent());
        sent.map(|(_, count)| count).sum()
    }

    /// Records that differ, sent now or held back.
    pub fn differing(&self) -> u64 {
        self.sent() + self.held()
    }
}

/// Writes a difference to `path`, labelled.
pub async fn write_changes(
    path: &Path,
    mut stream: SendableRecordBatchStream,
    labelling: &Labelling<'_>,
) -> std::result::Result<Changes, WriteError> {
    let labeller = Labeller::new(&stream.schema(), labelling).map_err(arrow)?;
    let metadata = BTreeMap::from([
        ("muster.format", changes_schema_version().to_owned()),
        ("muster.sync", labelling.sync.to_owned()),
        ("muster.run", labelling.run.to_owned()),
    ]);
    let mut writer = Writer::create(path, Arc::clone(&labeller.schema), Purpose::State(&metadata))?;
    let (mut counts, mut seen) = (ChangeCounts::default(), 0);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(WriteError::Query)?;
        seen += batch.num_rows() as u64;
        if let Some(labelled) = labeller.label(&batch, &mut counts).map_err(arrow)? {
            writer.write(labelled)?;
        }
    }
    let rows = writer.finish()?;
    Ok(Changes { path: path.to_owned(), rows, seen, counts })
}

fn arrow(error: datafusion::arrow::error::ArrowError) -> WriteError {
    WriteError::Query(error.into())
}

type ArrowResult<T> = std::result::Result<T, datafusion::arrow::error::ArrowError>;

struct Labeller<'a> {
    labelling: &'a Labelling<'a>,
    schema: SchemaRef,
    converter: RowConverter,
    values: Vec<usize>,
}

/// What the labels of one batch are made from.
struct Columns {
    keys: StringArray,
    changes: StringArray,
    standing: StringArray,
    origin: StringArray,
    fingerprint: Int64Array,
    retry_at: Int64Array,
}

impl<'a> Labeller<'a> {
    fn new(input: &SchemaRef, labelling: &'a Labelling<'a>) -> ArrowResult<Self> {
        let is_value = |(_, field): &(usize, &Arc<Field>)| field.name().starts_with("value.");
        let values: Vec<usize> =
            input.fields().iter().enumerate().filter(is_value).map(|(index, _)| index).collect();
        let sort =
            values.iter().map(|index| SortField::new(input.field(*index).data_type().clone()));
        let converter = RowConverter::new(sort.collect())?;
        let mut fields: Vec<Arc<Field>> = input.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("message_id", DataType::FixedSizeBinary(16), false)));
        // The engine's types vary (views, literals); the file always has these.
        for field in &mut fields {
            let plain = match field.name().as_str() {
                "fingerprint" | "refusals" | "refused_at" | "retry_at" => DataType::Int64,
                "present" => DataType::Boolean,
                _ if *field.data_type() == DataType::Utf8View => DataType::Utf8,
                _ => field.data_type().clone(),
            };
            *field = Arc::new(Field::new(field.name(), plain, field.name() != "message_id"));
        }
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { labelling, schema, converter, values })
    }

    /// The batch with origin, fingerprint and message id filled in and held rows marked.
    fn label(
        &self,
        batch: &RecordBatch,
        counts: &mut ChangeCounts,
    ) -> ArrowResult<Option<RecordBatch>> {
        // Rows about which nothing is to be said have no change.
        let change = column(batch, "change")?;
        let batch = &match change.logical_null_count() {
            0 => batch.clone(),
            _ => filter_record_batch(batch, &datafusion::arrow::compute::is_not_null(&change)?)?,
        };
        let columns = Columns::of(batch)?;
        let prints = self.fingerprints(batch, &columns)?;
        let mut origins = Vec::with_capacity(batch.num_rows());
        let mut ids = FixedSizeBinaryBuilder::with_capacity(batch.num_rows(), 16);
        let mut changes = Vec::with_capacity(batch.num_rows());
        let mut said = Vec::new();
        for (row, print) in prints.iter().enumerate() {
            let again =
                columns.fingerprint.is_valid(row) && columns.fingerprint.value(row) == *print;
            let origin = match again && columns.origin.is_valid(row) {
                true => columns.origin.value(row),
                false => self.labelling.origin,
            };
            ids.append_value(self.message_id(columns.keys.value(row), origin, *print, &mut said))?;
            let change = Change::parse(columns.changes.value(row)).unwrap_or(Change::Held);
            let held = again && change.is_sent() && self.is_held(&columns, row);
            counts.add(change, held);
            changes.push(if held { Change::Held.as_str() } else { change.as_str() });
            origins.push(origin);
        }
        let origin: ArrayRef = Arc::new(StringArray::from(origins));
        let print: ArrayRef = Arc::new(Int64Array::from(prints));
        let changes: ArrayRef = Arc::new(StringArray::from(changes));
        let mut arrays = Vec::with_capacity(self.schema.fields().len());
        for (index, field) in batch.schema().fields().iter().enumerate() {
            arrays.push(match field.name().as_str() {
                "change" => Arc::clone(&changes),
                "origin" => Arc::clone(&origin),
                "fingerprint" => Arc::clone(&print),
                "record_key" => Arc::new(columns.keys.clone()),
                _ => cast(batch.column(index), self.schema.field(index).data_type())?,
            });
        }
        arrays.push(Arc::new(ids.finish()));
        let labelled = RecordBatch::try_new(Arc::clone(&self.schema), arrays)?;
        Ok((labelled.num_rows() > 0).then_some(labelled))
    }

    fn is_held(&self, columns: &Columns, row: usize) -> bool {
        !self.labelling.retry_rejected
            && columns.standing.is_valid(row)
            && columns.standing.value(row) == "rejected"
            && columns.retry_at.is_valid(row)
            && columns.retry_at.value(row) > self.labelling.now.timestamp_micros()
    }

    /// What a change says, as a number: member or not, and every stored value.
    fn fingerprints(&self, batch: &RecordBatch, columns: &Columns) -> ArrowResult<Vec<i64>> {
        let values: Vec<ArrayRef> =
            self.values.iter().map(|index| Arc::clone(batch.column(*index))).collect();
        let rows = match values.is_empty() {
            true => None,
            false => Some(self.converter.convert_columns(&values)?),
        };
        let mut said = Vec::new();
        let print = |row: usize| {
            said.clear();
            said.push(u8::from(columns.changes.value(row) == "exited"));
            if let Some(rows) = &rows {
                said.extend_from_slice(rows.row(row).data());
            }
            let digest = Sha256::digest(&said);
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&digest[..8]);
            i64::from_be_bytes(bytes)
        };
        Ok((0..batch.num_rows()).map(print).collect())
    }

    /// The same for every retry of a transition, another one for the next: `origin` says up to which
    /// run the state was folded when it was first tried, which no two transitions of a record share.
    /// `said` is room for what is hashed, in one piece.
    fn message_id(&self, key: &str, origin: &str, print: i64, said: &mut Vec<u8>) -> [u8; 16] {
        said.clear();
        for part in [self.labelling.sync, key, origin] {
            said.extend_from_slice(part.as_bytes());
            said.push(0);
        }
        said.extend_from_slice(&print.to_be_bytes());
        let digest = Sha256::digest(said);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        id
    }
}

impl Columns {
    fn of(batch: &RecordBatch) -> ArrowResult<Self> {
        let text = |name: &str| {
            Ok::<_, datafusion::arrow::error::ArrowError>(
                cast(&column(batch, name)?, &DataType::Utf8)?.as_string::<i32>().clone(),
            )
        };
        let number = |name: &str| {
            Ok::<_, datafusion::arrow::error::ArrowError>(
                cast(&column(batch, name)?, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
            )
        };
        Ok(Self {
            keys: text("record_key")?,
            changes: text("change")?,
            standing: text("standing")?,
            origin: text("origin")?,
            fingerprint: number("fingerprint")?,
            retry_at: number("retry_at")?,
        })
    }
}
