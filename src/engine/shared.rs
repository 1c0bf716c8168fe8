//! What members of a list who leave share with others. What they share stays on the list for the other
//! one; but when the other one has not arrived yet, nobody in the state would answer for it, and whoever
//! leaves last would not take it along. So who leaves is kept until the other one has arrived.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use datafusion::arrow::array::{
    Array, AsArray, BooleanArray, RecordBatch, RecordBatchReader, StringArray,
};

use super::sealed::{BlocksError, ChangesFile};
use crate::record::Change;

/// What is said of one field of a member who leaves: that somebody else has the same.
const HELD: &str = "held.";

/// Row numbers of those who leave and share something with somebody who has not arrived.
pub(super) fn waiting(
    changes: &ChangesFile,
    arrived: impl Fn(u64) -> bool,
) -> Result<Vec<u64>, BlocksError> {
    let mut shared = HashSet::new();
    each_row(changes, |row, columns| {
        shared.extend(
            columns
                .iter()
                .filter(|column| column.is_held(row.index))
                .filter_map(|column| column.print(row.index)),
        );
    })?;
    if shared.is_empty() {
        return Ok(Vec::new());
    }
    let mut awaited = HashSet::new();
    each_row(changes, |row, columns| {
        let stays = matches!(row.change, Change::Entered | Change::Resynced | Change::Changed);
        if row.change == Change::Held || stays && !arrived(row.number) {
            let prints = columns.iter().filter_map(|column| column.print(row.index));
            awaited.extend(prints.filter(|print| shared.contains(print)));
        }
    })?;
    let mut waiting = Vec::new();
    each_row(changes, |row, columns| {
        let mut held = columns.iter().filter(|column| column.is_held(row.index));
        if held.any(|column| column.print(row.index).is_some_and(|print| awaited.contains(&print)))
        {
            waiting.push(row.number);
        }
    })?;
    Ok(waiting)
}

struct Row {
    number: u64,
    /// Within its batch.
    index: usize,
    change: Change,
}

/// One field that members are matched by.
struct Field {
    /// Tells equal values of different fields apart.
    position: usize,
    values: StringArray,
    held: BooleanArray,
}

impl Field {
    fn is_held(&self, row: usize) -> bool {
        self.held.is_valid(row) && self.held.value(row)
    }

    fn print(&self, row: usize) -> Option<u64> {
        self.values.is_valid(row).then(|| {
            let mut hasher = DefaultHasher::new();
            (self.position, self.values.value(row)).hash(&mut hasher);
            hasher.finish()
        })
    }
}

/// Visits all rows in order; none where nobody shares anything.
fn each_row(
    changes: &ChangesFile,
    mut visit: impl FnMut(&Row, &[Field]),
) -> Result<(), BlocksError> {
    let wanted = |name: &str| {
        ["change", "email"].contains(&name) || name.starts_with("id.") || name.starts_with(HELD)
    };
    let reader = changes.columns(wanted)?;
    let schema = reader.schema();
    let names = schema.fields().iter().map(|own| own.name());
    let sources: Vec<String> =
        names.filter_map(|name| name.strip_prefix(HELD)).map(ToOwned::to_owned).collect();
    if sources.is_empty() {
        return Ok(());
    }
    let mut number = 0;
    for batch in reader {
        let batch = batch?;
        let fields = fields(&batch, &sources)?;
        let changes = super::columns::column(&batch, "change")?;
        let changes = changes.as_string::<i32>();
        for index in 0..batch.num_rows() {
            let change = Change::parse(changes.value(index)).unwrap_or(Change::Adopted);
            visit(&Row { number, index, change }, &fields);
            number += 1;
        }
    }
    Ok(())
}

fn fields(batch: &RecordBatch, sources: &[String]) -> Result<Vec<Field>, BlocksError> {
    let field = |(position, source): (usize, &String)| {
        let name = match source.as_str() {
            "email" => source.clone(),
            source => format!("id.{source}"),
        };
        Ok(Field {
            position,
            values: super::columns::column(batch, &name)?.as_string::<i32>().clone(),
            held: super::columns::column(batch, &format!("{HELD}{source}"))?.as_boolean().clone(),
        })
    };
    sources.iter().enumerate().map(field).collect()
}
