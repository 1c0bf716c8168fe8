//! Columns on their way out: which types can be sent, in which one type each is stored and compared,
//! and how names are quoted.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::common::{DFSchema, Dependency};

use super::sql::find_word;
use crate::destinations::FieldKind;
use crate::finding::{Finding, Source};

/// One column of a model that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelColumn {
    pub name: String,
    pub kind: FieldKind,
    /// As the query returns it.
    pub(super) data_type: DataType,
    /// As it is stored and compared.
    pub(super) stored: DataType,
}

/// A column's type and name, or why it cannot be sent.
pub fn describe(source: &Source, field: &Field) -> Result<ModelColumn, Finding> {
    let name = field.name();
    if name.contains(['(', '*', '.']) {
        let message = format!("the column `{name}` has no name of its own");
        return Err(Finding::error("Q09", message).at(source, None).hint("give it one with `AS`"));
    }
    let data_type = field.data_type().clone();
    if let Some((stored, kind)) = stored_type(&data_type) {
        return Ok(ModelColumn { name: name.clone(), kind, data_type, stored });
    }
    let message = format!("the column `{name}` is of type {data_type}, which cannot be sent");
    Err(Finding::error("Q08", message)
        .at(source, find_word(source, name))
        .hint("cast it, for example `CAST(… AS VARCHAR)`"))
}

/// The one type in which values of a type are stored and compared, and what kind they are.
///
/// Few types, so that a model whose column turns from `Int32` to `Int64` changes nothing.
fn stored_type(data_type: &DataType) -> Option<(DataType, FieldKind)> {
    Some(match data_type {
        DataType::Boolean => (DataType::Boolean, FieldKind::Bool),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => (DataType::Int64, FieldKind::Integer),
        DataType::UInt64 => (DataType::UInt64, FieldKind::Integer),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            (DataType::Float64, FieldKind::Number)
        }
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => (data_type.clone(), FieldKind::Number),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Null
        | DataType::Time32(_)
        | DataType::Time64(_) => (DataType::Utf8View, FieldKind::Text),
        DataType::Date32 | DataType::Date64 => (DataType::Date32, FieldKind::Date),
        DataType::Timestamp(..) => {
            let utc = Some(Arc::from("UTC"));
            (DataType::Timestamp(TimeUnit::Microsecond, utc), FieldKind::Timestamp)
        }
        DataType::Dictionary(_, values) => stored_type(values)?,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            stored_type(item.data_type())?;
            (data_type.clone(), FieldKind::Nested)
        }
        DataType::Struct(fields) => {
            for field in fields {
                stored_type(field.data_type())?;
            }
            (data_type.clone(), FieldKind::Nested)
        }
        _ => return None,
    })
}

/// Two columns of one name cannot both be sent.
pub fn duplicates(source: &Source, schema: &Schema) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let again = schema.fields().iter().filter(|field| !seen.insert(field.name().clone()));
    again
        .map(|field| {
            let name = field.name();
            Finding::error("Q14", format!("the column `{name}` is returned twice"))
                .at(source, find_word(source, name))
                .hint("leave one out, or give it another name with `AS`")
        })
        .collect()
}

/// Whether the plan itself guarantees that `key` is unique (a `GROUP BY` or `DISTINCT` on it alone).
pub fn is_unique(schema: &DFSchema, key: &str) -> bool {
    let Some(index) = schema.as_arrow().column_with_name(key).map(|(index, _)| index) else {
        return false;
    };
    schema.functional_dependencies().iter().any(|dependency| {
        dependency.mode == Dependency::Single && dependency.source_indices == [index]
    })
}

/// SQL that turns a column into its stored type: `-0.0` becomes `0.0` and every NaN the same, so that
/// neither counts as a change.
pub fn stored(expression: &str, column: &ModelColumn) -> String {
    match (&column.stored, &column.data_type) {
        (DataType::Float64, DataType::Float32) => {
            same_nan(&format!("CAST(CAST({expression} AS VARCHAR) AS DOUBLE)"))
        }
        (DataType::Float64, DataType::Float64) => same_nan(expression),
        (DataType::Float64, _) => same_nan(&format!("CAST({expression} AS DOUBLE)")),
        (stored, given) if stored == given => expression.to_owned(),
        (stored, _) => format!("arrow_cast({expression}, '{}')", type_name(stored)),
    }
}

fn same_nan(expression: &str) -> String {
    format!("CASE WHEN isnan({expression}) THEN CAST('NaN' AS DOUBLE) ELSE {expression} + 0.0 END")
}

/// A stored type in the words of `arrow_cast`.
fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Timestamp(..) => "Timestamp(Microsecond, Some(\"UTC\"))".to_owned(),
        other => other.to_string(),
    }
}

/// An identifier, quoted for SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted for SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A column that must be there.
pub fn column(
    batch: &RecordBatch,
    name: &str,
) -> std::result::Result<ArrayRef, datafusion::arrow::error::ArrowError> {
    batch.column_by_name(name).cloned().ok_or_else(|| {
        datafusion::arrow::error::ArrowError::SchemaError(format!("no column `{name}`"))
    })
}

/// The whole numbers of the first row; missing and NULL ones are 0.
pub fn first_row_counts(batches: &[RecordBatch]) -> Vec<u64> {
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return vec![0; 8] };
    let count = |array: &Arc<dyn Array>| {
        let array = datafusion::arrow::compute::cast(array, &DataType::Int64).ok()?;
        let array = array.as_primitive::<datafusion::arrow::datatypes::Int64Type>().clone();
        array.is_valid(0).then(|| u64::try_from(array.value(0)).unwrap_or(0))
    };
    batch.columns().iter().map(|array| count(array).unwrap_or(0)).collect()
}
