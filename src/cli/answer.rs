//! Rows of any query: a table for people, objects for programs.

use std::collections::BTreeSet;
use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::printer::{Printer, Stream};
use super::table::{Heading, Table};
use crate::run::Answer;

/// The JSON document: `{"columns": […], "rows": [{…}], "total": n}`.
#[derive(Debug, serde::Serialize)]
struct Document<'a> {
    columns: &'a [String],
    rows: Vec<Row<'a>>,
    total: Option<u64>,
}

/// One row as an object, its keys in the order of the columns.
#[derive(Debug)]
struct Row<'a> {
    columns: &'a [String],
    values: &'a [Value],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, value) in self.columns.iter().zip(self.values) {
            map.serialize_entry(column, value)?;
        }
        map.end()
    }
}

pub fn json(answer: &Answer, printer: &Printer) -> io::Result<()> {
    let columns = distinct(&answer.columns);
    let row = |values| Row { columns: &columns, values };
    let rows = answer.rows.iter().map(|values| row(values.as_slice())).collect();
    printer.json(&Document { columns: &columns, rows, total: answer.total })
}

pub fn table(answer: &Answer, stream: Stream) -> String {
    let headings = answer.columns.iter().enumerate().map(|(at, name)| {
        let mut values = answer.rows.iter().filter_map(|row| row.get(at));
        match values.all(|value| value.is_number() || value.is_null()) {
            true => Heading::Number(name),
            false => Heading::Text(name),
        }
    });
    let mut table = Table::new(stream, headings);
    for row in &answer.rows {
        table.row(row.iter().map(text));
    }
    table.render()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Two columns of one name would be one key: the later ones are numbered.
fn distinct(columns: &[String]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut names = Vec::with_capacity(columns.len());
    for column in columns {
        let mut name = column.clone();
        let mut number = 2;
        while !taken.insert(name.clone()) {
            name = format!("{column}_{number}");
            number += 1;
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::printer::Paint;

    #[test]
    fn rows_are_objects_in_the_order_of_the_columns() {
        let columns = distinct(&["b".into(), "a".into(), "b".into(), "b_2".into()]);
        assert_eq!(columns, ["b", "a", "b_2", "b_2_2"]);
        let values = [json!(1), json!(null), json!("x"), json!(2)];
        let row = Row { columns: &columns, values: &values };
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(text, r#"{"b":1,"a":null,"b_2":"x","b_2_2":2}"#);
    }

    #[test]
    fn numbers_stand_to_the_right() {
        let answer = Answer {
            columns: vec!["user_id".into(), "score".into()],
            rows: vec![vec![json!("u1"), json!(7)], vec![json!("u2"), json!(null)]],
            total: None,
        };
        let shown = table(&answer, Stream { is_terminal: false, paint: Paint::Plain });
        assert_eq!(shown, "user_id  score\nu1           7\nu2        NULL");
    }
}
