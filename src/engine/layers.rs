//! Sorted files as one table, merged while they are read: what was delivered is a base and the deltas
//! written since.
//!
//! Every layer is sorted by record key, holds each key once, and later layers win; a row marked
//! `removed` hides what lies below it. The table declares its order and has one partition, so that the
//! difference merges it like a single sorted file. Nothing is held but a batch of each layer.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{Array, AsArray, BooleanArray, RecordBatch, StringViewArray};
use datafusion::arrow::array::{ArrayRef, new_null_array};
use datafusion::arrow::compute::kernels::cast::{CastOptions, can_cast_types, cast_with_options};
use datafusion::arrow::compute::{filter_record_batch, interleave_record_batch, not};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use futures::StreamExt;

const KEY: &str = "record_key";
const REMOVED: &str = "removed";

/// A table of layers, the lowest first.
#[derive(Debug)]
pub struct Layers {
    files: Vec<Arc<dyn TableProvider>>,
    /// The columns of the latest layer; what lower ones lack is NULL.
    schema: SchemaRef,
    orders: Vec<String>,
}

impl Layers {
    /// A single layer in which nothing is marked is that layer; `None` when there is none.
    pub fn merged(
        layers: Vec<Arc<dyn TableProvider>>,
        orders: &[&str],
    ) -> Option<Arc<dyn TableProvider>> {
        let latest = layers.last()?.schema();
        if layers.len() == 1 && latest.column_with_name(REMOVED).is_none() {
            return layers.into_iter().next();
        }
        let kept = latest.fields().iter().filter(|field| field.name() != REMOVED).cloned();
        let schema = Arc::new(Schema::new(kept.collect::<Vec<_>>()));
        let orders = orders.iter().map(|order| (*order).to_owned()).collect();
        Some(Arc::new(Self { files: layers, schema, orders }))
    }
}

#[async_trait]
impl TableProvider for Layers {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let output = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        let read = with_marks(&output);
        let mut plans = Vec::with_capacity(self.files.len());
        for layer in &self.files {
            let schema = layer.schema();
            let fields = schema.fields().iter().enumerate();
            let wanted = fields.filter(|(_, field)| read.column_with_name(field.name()).is_some());
            let wanted = wanted.map(|(index, _)| index).collect();
            plans.push(layer.scan(state, Some(&wanted), &[], None).await?);
        }
        let orders = self.orders.iter().filter_map(|order| {
            let (index, _) = output.column_with_name(order)?;
            let options = datafusion::arrow::compute::SortOptions::new(false, true);
            LexOrdering::new([PhysicalSortExpr::new(Arc::new(Column::new(order, index)), options)])
        });
        let orders: Vec<LexOrdering> = orders.collect();
        let merged = Arc::new(Merged { plans, read, output: Arc::clone(&output) });
        let plan = StreamingTableExec::try_new(output, vec![merged], None, orders, false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// What merging needs of every layer beside the columns asked for.
fn with_marks(output: &Schema) -> SchemaRef {
    let asked = output.fields().iter().filter(|field| field.name() != KEY).cloned();
    let marks = [(KEY, DataType::Utf8View), (REMOVED, DataType::Boolean)];
    let marks = marks.map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)));
    Arc::new(Schema::new(marks.into_iter().chain(asked).collect::<Vec<_>>()))
}

/// The layers' scans, merged when they are executed.
struct Merged {
    plans: Vec<Arc<dyn ExecutionPlan>>,
    /// Key, mark, and the columns asked for.
    read: SchemaRef,
    output: SchemaRef,
}

impl fmt::Debug for Merged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merged").field("layers", &self.plans.len()).finish_non_exhaustive()
    }
}

impl PartitionStream for Merged {
    fn schema(&self) -> &SchemaRef {
        &self.output
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let output = Arc::clone(&self.output);
        let merged = match self.merged(&context) {
            Ok(merged) => merged,
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        };
        let schema = Arc::clone(&output);
        let kept = merged.map(move |batch| kept(&batch?, &schema));
        Box::pin(RecordBatchStreamAdapter::new(output, kept))
    }
}

type Batches = futures::stream::BoxStream<'static, Result<RecordBatch>>;

impl Merged {
    /// The deltas are merged with each other first: they are small, and the base is read once.
    fn merged(&self, context: &Arc<TaskContext>) -> Result<Batches> {
        let mut layers = Vec::with_capacity(self.plans.len());
        for plan in &self.plans {
            let read = Arc::clone(&self.read);
            let batches = plan.execute(0, Arc::clone(context))?;
            layers.push(batches.map(move |batch| adapted(&batch?, &read)).boxed());
        }
        let mut layers = layers.into_iter();
        let base = layers.next().unwrap_or_else(|| futures::stream::empty().boxed());
        Ok(match layers.reduce(merge) {
            Some(deltas) => merge(base, deltas),
            None => base,
        })
    }
}

/// A layer's batch in the columns that are read.
fn adapted(batch: &RecordBatch, read: &SchemaRef) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let columns = read.fields().iter().map(|field| -> Result<ArrayRef> {
        let wanted = field.data_type();
        Ok(match batch.column_by_name(field.name()) {
            Some(column) if column.data_type() == wanted => Arc::clone(column),
            Some(column) if can_cast_types(column.data_type(), wanted) => {
                cast_with_options(column, wanted, &options)?
            }
            None if field.name() == REMOVED => Arc::new(BooleanArray::from(vec![false; rows])),
            // A value of another shape is as good as not known.
            Some(_) | None => new_null_array(wanted, rows),
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(Arc::clone(read), columns)?)
}

/// Without what was removed, in the columns asked for.
fn kept(batch: &RecordBatch, output: &SchemaRef) -> Result<RecordBatch> {
    let removed = batch.column(1).as_boolean();
    let batch = match removed.true_count() {
        0 => batch.clone(),
        _ => filter_record_batch(batch, &not(removed)?)?,
    };
    let columns = output.fields().iter().map(|field| {
        let column = batch.column_by_name(field.name());
        let missing = || DataFusionError::Internal(format!("no column `{}`", field.name()));
        let column = column.ok_or_else(missing)?;
        Ok(match column.data_type() == field.data_type() {
            true => Arc::clone(column),
            false => datafusion::arrow::compute::cast(column, field.data_type())?,
        })
    });
    let options =
        datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new_with_options(Arc::clone(output), columns, &options)?)
}

/// Merges two sorted streams; of rows with one key the newer is kept.
fn merge(older: Batches, newer: Batches) -> Batches {
    let sides = (Side::new(older), Side::new(newer));
    let merged = futures::stream::try_unfold(sides, |(mut older, mut newer)| async {
        loop {
            older.fill().await?;
            newer.fill().await?;
            let merged = match (&mut older.part, &mut newer.part) {
                (None, None) => return Ok(None),
                (Some(part), None) | (None, Some(part)) => Some(part.rest()),
                (Some(old), Some(new)) => step(old, new)?,
            };
            if let Some(batch) = merged {
                return Ok(Some((batch, (older, newer))));
            }
        }
    });
    merged.boxed()
}

/// One side of a merge: the batch it is at.
struct Side {
    batches: Batches,
    part: Option<Part>,
}

/// A batch, and how much of it is used up.
struct Part {
    batch: RecordBatch,
    keys: StringViewArray,
    at: usize,
}

impl Side {
    fn new(batches: Batches) -> Self {
        Self { batches, part: None }
    }

    /// Makes sure that there is a row to look at, unless there are no more.
    async fn fill(&mut self) -> Result<()> {
        while self.part.as_ref().is_none_or(|part| part.at == part.keys.len()) {
            self.part = None;
            let Some(batch) = self.batches.next().await.transpose()? else { break };
            let keys = batch.column(0).as_string_view().clone();
            self.part = Some(Part { batch, keys, at: 0 });
        }
        Ok(())
    }
}

impl Part {
    fn rest(&mut self) -> RecordBatch {
        let rest = self.batch.slice(self.at, self.keys.len() - self.at);
        self.at = self.keys.len();
        rest
    }

    /// The first row from here on whose key is not below `key`: steps that double, then halves.
    fn seek(&self, key: &str) -> usize {
        let (mut low, mut step) = (self.at, 1);
        while low + step < self.keys.len() && self.keys.value(low + step) < key {
            low += step;
            step *= 2;
        }
        let mut high = self.keys.len().min(low + step);
        while low < high {
            let middle = low.midpoint(high);
            match self.keys.value(middle) < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }
}

/// Merges as far as both batches reach.
fn step(old: &mut Part, new: &mut Part) -> Result<Option<RecordBatch>> {
    let mut rows: Vec<(usize, usize)> = Vec::with_capacity(old.keys.len() - old.at);
    let first = old.at;
    let mut changed = false;
    while old.at < old.keys.len() && new.at < new.keys.len() {
        let key = new.keys.value(new.at);
        let end = old.seek(key);
        rows.extend((old.at..end).map(|row| (0, row)));
        old.at = end;
        if end == old.keys.len() {
            break;
        }
        if old.keys.value(end) == key {
            old.at += 1;
        }
        rows.push((1, new.at));
        new.at += 1;
        changed = true;
    }
    Ok(match (rows.len(), changed) {
        (0, _) => None,
        (length, false) => Some(old.batch.slice(first, length)),
        (_, true) => Some(interleave_record_batch(&[&old.batch, &new.batch], &rows)?),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// `None`: removed.
    type Layer = BTreeMap<u8, Option<i64>>;

    fn batches(layer: &Layer, size: usize) -> Batches {
        let read = with_marks(&Schema::new(vec![Field::new("value", DataType::Int64, true)]));
        let rows: Vec<_> = layer.iter().collect();
        let parts = rows.chunks(size).map(|part| {
            let keys: StringViewArray =
                part.iter().map(|(key, _)| Some(format!("k{key:03}"))).collect();
            let removed: BooleanArray =
                part.iter().map(|(_, value)| Some(value.is_none())).collect();
            let values: datafusion::arrow::array::Int64Array =
                part.iter().map(|(_, value)| **value).collect();
            let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(removed), Arc::new(values)];
            Ok(RecordBatch::try_new(Arc::clone(&read), columns)?)
        });
        futures::stream::iter(parts.collect::<Vec<_>>()).boxed()
    }

    fn layer() -> impl Strategy<Value = Layer> {
        proptest::collection::btree_map(0_u8..40, proptest::option::weighted(0.8, 0_i64..9), 0..40)
    }

    proptest! {
        #[test]
        fn later_layers_win_and_the_order_stays(
            layers in proptest::collection::vec(layer(), 2..5),
            sizes in proptest::collection::vec(1_usize..9, 5),
        ) {
            let mut expected = Layer::new();
            for layer in &layers {
                expected.extend(layer.clone());
            }
            let streams = layers.iter().zip(&sizes).map(|(layer, size)| batches(layer, *size));
            let merged = streams.reduce(merge).unwrap();
            let mut found = Vec::new();
            for batch in futures::executor::block_on(merged.collect::<Vec<_>>()) {
                let batch = batch.unwrap();
                prop_assert!(batch.num_rows() > 0);
                let values = batch.column(2).as_primitive::<datafusion::arrow::datatypes::Int64Type>();
                for row in 0..batch.num_rows() {
                    let key = batch.column(0).as_string_view().value(row).to_owned();
                    found.push((key, values.is_valid(row).then(|| values.value(row))));
                }
            }
            let expected: Vec<_> = expected.iter().map(|(key, value)| (format!("k{key:03}"), *value)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
