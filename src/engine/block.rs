//! Rows of sealed changes as delivery sees them: columns decoded once per block, values borrowed from
//! them, no arrow type in sight of the caller.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, RecordBatch, StringArray,
};
use arrow::datatypes as types;
use arrow::datatypes::{DataType, TimeUnit};
use thiserror::Error;

use super::wording::Wording;
use crate::project::ModelKind;
use crate::record::{Call, Change, Level, Value};

/// What is the same for every row of one sync's changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// `model.destination`.
    pub sync: String,
    /// Position of the sync among those drained together; settles to the right journal.
    pub index: usize,
    pub call: Call,
    pub kind: ModelKind,
    pub level: Level,
    pub model_key: String,
    /// Event name of computed traits.
    pub event: String,
    /// RFC 3339 time of the run, the `timestamp` of every message.
    pub timestamp: String,
    /// Mapped columns in the model's order: column name, and the name it travels under.
    pub columns: Vec<(String, String)>,
    /// Identifier columns other than `email`, in order.
    pub identifiers: Vec<String>,
    /// Profile columns that enrich messages: column name, and the name it travels under.
    pub profile: Vec<(String, String)>,
}

impl Shape {
    /// The event name of a `track` message.
    pub fn event(&self, is_member: bool) -> &str {
        match (self.kind, is_member) {
            (ModelKind::Trait, _) => &self.event,
            (ModelKind::Audience, true) => "Audience Entered",
            (ModelKind::Audience, false) => "Audience Exited",
        }
    }
}

/// A run of consecutive rows of one sync's sealed changes.
///
/// Every message of it is counted by the `Arc` around it, up and down by different cores: aligned, so
/// that the count has a cache line of its own and reading a row waits for nobody.
#[derive(Debug)]
#[repr(align(128))]
pub struct Block {
    shape: Arc<Shape>,
    wording: Wording,
    first_row: u64,
    changes: Vec<Change>,
    keys: StringArray,
    subjects: StringArray,
    emails: StringArray,
    ids: FixedSizeBinaryArray,
    values: Vec<Column>,
    sent: Vec<BooleanArray>,
    identifiers: Vec<StringArray>,
    profile: Vec<Column>,
}

/// A file of changes that does not hold what it should.
#[derive(Debug, Error)]
#[error("the sealed changes of `{sync}` have no usable column `{column}`")]
pub struct BlockError {
    pub sync: String,
    pub column: String,
}

/// Version of the layout below; written into every file of changes.
pub const fn changes_schema_version() -> &'static str {
    "1"
}

impl Block {
    /// Decodes a batch whose first row is row `first_row` of the outbox.
    pub fn new(shape: Arc<Shape>, first_row: u64, batch: &RecordBatch) -> Result<Self, BlockError> {
        let find = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| BlockError { sync: shape.sync.clone(), column: name.to_owned() })
        };
        let broken = |name: &str| BlockError { sync: shape.sync.clone(), column: name.to_owned() };
        let text = |name: &str| {
            let text = arrow::compute::cast(find(name)?, &DataType::Utf8);
            text.map(|text| text.as_string::<i32>().clone()).map_err(|_| broken(name))
        };
        let changes = decode_changes(&text("change")?).ok_or_else(|| broken("change"))?;
        let named = |prefix: &str, name: &str| format!("{prefix}.{name}");
        let columns = |prefix: &'static str, names: &mut dyn Iterator<Item = &String>| {
            names
                .map(|name| Column::new(find(&named(prefix, name))?).ok_or_else(|| broken(name)))
                .collect::<Result<Vec<_>, _>>()
        };
        let values = columns("value", &mut shape.columns.iter().map(|(column, _)| column))?;
        let profile = columns("profile", &mut shape.profile.iter().map(|(column, _)| column))?;
        let sent = shape
            .columns
            .iter()
            .map(|(column, _)| {
                let name = named("send", column);
                find(&name)?.as_boolean_opt().cloned().ok_or_else(|| broken(&name))
            })
            .collect::<Result<_, _>>()?;
        // What another member still has is not what one who leaves is removed by.
        let own = |name: &str, column: &str| {
            let values = text(column)?;
            let Some(held) = batch.column_by_name(&named("held", name)) else { return Ok(values) };
            let held = held.as_boolean_opt().ok_or_else(|| broken(column))?;
            let own = arrow::compute::nullif(&values, held).map_err(|_| broken(column))?;
            Ok(own.as_string::<i32>().clone())
        };
        let identifiers = shape
            .identifiers
            .iter()
            .map(|name| own(name, &named("id", name)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            first_row,
            changes,
            keys: text("record_key")?,
            subjects: text("subject")?,
            emails: own("email", "email")?,
            ids: find("message_id")?
                .as_fixed_size_binary_opt()
                .cloned()
                .ok_or_else(|| broken("message_id"))?,
            values,
            sent,
            identifiers,
            profile,
            wording: Wording::of(&shape),
            shape,
        })
    }

    pub fn shape(&self) -> &Arc<Shape> {
        &self.shape
    }

    /// The pieces of JSON that all messages of this block share.
    pub fn wording(&self) -> &Wording {
        &self.wording
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Row number in the outbox.
    pub fn row_number(&self, row: usize) -> u64 {
        self.first_row + row as u64
    }

    pub fn change(&self, row: usize) -> Change {
        self.changes[row]
    }

    pub fn key(&self, row: usize) -> &str {
        self.keys.value(row)
    }

    pub fn subject(&self, row: usize) -> &str {
        self.subjects.value(row)
    }

    pub fn email(&self, row: usize) -> Option<&str> {
        self.emails.is_valid(row).then(|| self.emails.value(row))
    }

    /// The 16 bytes of the row's deterministic message id.
    pub fn message_id(&self, row: usize) -> &[u8] {
        self.ids.value(row)
    }

    /// Whether this column's value travels with this row.
    pub fn is_sent(&self, row: usize, column: usize) -> bool {
        self.sent[column].is_valid(row) && self.sent[column].value(row)
    }

    pub fn value(&self, row: usize, column: usize) -> Value<'_> {
        self.values[column].value(row)
    }

    /// Identifiers other than the email: `(name, value)`.
    pub fn identifiers(&self, row: usize) -> impl Iterator<Item = (&str, &str)> {
        self.shape
            .identifiers
            .iter()
            .zip(&self.identifiers)
            .filter(move |(_, column)| column.is_valid(row))
            .map(move |(name, column)| (name.as_str(), column.value(row)))
    }

    /// Profile columns that enrich the message: `(name, value)`, NULLs left out.
    pub fn profile(&self, row: usize) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.profile_values(row)
            .map(|(position, value)| (self.shape.profile[position].1.as_str(), value))
    }

    /// The same, by the position of the column in the shape.
    pub fn profile_values(&self, row: usize) -> impl Iterator<Item = (usize, Value<'_>)> {
        let values = self.profile.iter().map(move |column| column.value(row)).enumerate();
        values.filter(|(_, value)| !value.is_null())
    }
}

fn decode_changes(words: &StringArray) -> Option<Vec<Change>> {
    words.iter().map(|word| Change::parse(word?)).collect()
}

/// A column whose type was looked at once.
#[derive(Debug)]
enum Column {
    Bool(BooleanArray),
    Int(arrow::array::Int64Array),
    Uint(arrow::array::UInt64Array),
    Float(arrow::array::Float64Array),
    Text(StringArray),
    Date(arrow::array::Date32Array),
    Timestamp(arrow::array::TimestampMicrosecondArray),
    Decimal(ArrayRef),
    Nested(ArrayRef),
    Null,
}

impl Column {
    /// `None` for a type that cannot be sent.
    fn new(array: &ArrayRef) -> Option<Self> {
        let cast = |to: &DataType| arrow::compute::cast(array, to).ok();
        Some(match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
                Self::Int(cast(&DataType::Int64)?.as_primitive::<types::Int64Type>().clone())
            }
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                Self::Uint(cast(&DataType::UInt64)?.as_primitive::<types::UInt64Type>().clone())
            }
            DataType::Float16 | DataType::Float32 | DataType::Float64 => {
                Self::Float(cast(&DataType::Float64)?.as_primitive::<types::Float64Type>().clone())
            }
            DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Time32(_)
            | DataType::Time64(_) => Self::Text(cast(&DataType::Utf8)?.as_string::<i32>().clone()),
            DataType::Dictionary(_, values) => Self::new(&cast(values)?)?,
            DataType::Date32 | DataType::Date64 => {
                Self::Date(cast(&DataType::Date32)?.as_primitive::<types::Date32Type>().clone())
            }
            DataType::Timestamp(_, zone) => {
                let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                let array = cast(&micros)?;
                Self::Timestamp(array.as_primitive::<types::TimestampMicrosecondType>().clone())
            }
            DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Self::Decimal(array.clone()),
            DataType::List(_)
            | DataType::LargeList(_)
            | DataType::FixedSizeList(..)
            | DataType::ListView(_)
            | DataType::LargeListView(_)
            | DataType::Struct(_)
            | DataType::Map(..) => Self::Nested(array.clone()),
            _ => return None,
        })
    }

    fn value(&self, row: usize) -> Value<'_> {
        if self.is_null(row) {
            return Value::Null;
        }
        match self {
            Self::Bool(array) => Value::Bool(array.value(row)),
            Self::Int(array) => Value::Int(array.value(row)),
            Self::Uint(array) => Value::Uint(array.value(row)),
            Self::Float(array) => Value::Float(array.value(row)),
            Self::Text(array) => Value::Text(array.value(row)),
            Self::Date(array) => Value::Date(array.value(row)),
            Self::Timestamp(array) => Value::Timestamp(array.value(row)),
            Self::Decimal(array) => arrow::util::display::array_value_to_string(array, row)
                .map_or(Value::Null, Value::Decimal),
            Self::Nested(array) => nested_json(array, row).map_or(Value::Null, Value::Json),
            Self::Null => Value::Null,
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Bool(array) => array.is_null(row),
            Self::Int(array) => array.is_null(row),
            Self::Uint(array) => array.is_null(row),
            Self::Float(array) => array.is_null(row),
            Self::Text(array) => array.is_null(row),
            Self::Date(array) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
            Self::Decimal(array) | Self::Nested(array) => array.is_null(row),
            Self::Null => true,
        }
    }
}

/// One nested value as JSON.
fn nested_json(array: &ArrayRef, row: usize) -> Option<String> {
    let field = types::Field::new("v", array.data_type().clone(), true);
    let schema = Arc::new(types::Schema::new(vec![field]));
    let batch = RecordBatch::try_new(schema, vec![array.slice(row, 1)]).ok()?;
    let mut buffer = Vec::new();
    let mut writer = arrow::json::LineDelimitedWriter::new(&mut buffer);
    writer.write(&batch).ok()?;
    writer.finish().ok()?;
    let object: serde_json::Value = serde_json::from_slice(&buffer).ok()?;
    object.get("v").map(ToString::to_string)
}

/// A row for tests and examples, without an outbox behind it.
#[derive(Debug, Clone)]
pub struct FixtureRow {
    pub key: String,
    pub subject: String,
    pub email: Option<String>,
    pub change: Change,
    /// One per column of the shape, in its order; `None`: not sent with this row.
    pub values: Vec<Option<serde_json::Value>>,
    pub identifiers: Vec<Option<String>>,
    pub profile: Vec<Option<String>>,
}

impl Block {
    /// A block made by hand; message ids are derived from the keys. Columns take the type of their
    /// first value (text, number, boolean).
    pub fn fixture(shape: Arc<Shape>, rows: &[FixtureRow]) -> Self {
        let text = |get: &dyn Fn(&FixtureRow) -> Option<String>| {
            rows.iter().map(get).collect::<StringArray>()
        };
        let ids = rows.iter().map(|row| {
            let mut id = [0_u8; 16];
            let bytes = row.key.as_bytes();
            let length = bytes.len().min(16);
            id[..length].copy_from_slice(&bytes[..length]);
            id
        });
        let column =
            |index: usize| fixture_column(rows.iter().map(|row| row.values[index].as_ref()));
        let sent = |index: usize| {
            rows.iter().map(|row| Some(row.values[index].is_some())).collect::<BooleanArray>()
        };
        Self {
            first_row: 0,
            changes: rows.iter().map(|row| row.change).collect(),
            keys: text(&|row| Some(row.key.clone())),
            subjects: text(&|row| Some(row.subject.clone())),
            emails: text(&|row| row.email.clone()),
            ids: FixedSizeBinaryArray::new(16, ids.flatten().collect::<Vec<u8>>().into(), None),
            values: (0..shape.columns.len()).map(column).collect(),
            sent: (0..shape.columns.len()).map(sent).collect(),
            identifiers: (0..shape.identifiers.len())
                .map(|index| text(&|row| row.identifiers[index].clone()))
                .collect(),
            profile: (0..shape.profile.len())
                .map(|index| Column::Text(text(&|row| row.profile[index].clone())))
                .collect(),
            wording: Wording::of(&shape),
            shape,
        }
    }
}

fn fixture_column<'a>(
    values: impl Iterator<Item = Option<&'a serde_json::Value>> + Clone,
) -> Column {
    use serde_json::Value as Json;
    match values.clone().flatten().find(|value| !value.is_null()) {
        Some(Json::Bool(_)) => Column::Bool(values.map(|value| value?.as_bool()).collect()),
        Some(Json::Number(number)) if number.is_f64() => {
            Column::Float(values.map(|value| value?.as_f64()).collect())
        }
        Some(Json::Number(_)) => Column::Int(values.map(|value| value?.as_i64()).collect()),
        Some(_) => {
            Column::Text(values.map(|value| value?.as_str().map(ToOwned::to_owned)).collect())
        }
        None => Column::Null,
    }
}
