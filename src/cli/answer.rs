//! Rows of any query: a table for people, objects for programs.

use std::collections::BTreeSet;

use serde::ser::{Serialize, SerializeSeq, Serializer};
use serde_json::Value;

use super::table::table;
use super::wording::{count, visible};
use crate::run::Answer;

/// What programs get: `{"columns": […], "rows": [{…}], "count": n}`, keys in the order of the columns.
#[derive(Debug, serde::Serialize)]
pub struct Document<'a> {
    columns: Vec<String>,
    rows: Rows<'a>,
    /// Rows there are in all.
    count: Option<u64>,
}

#[derive(Debug)]
struct Rows<'a> {
    keys: Vec<String>,
    rows: &'a [Vec<Value>],
}

#[derive(Debug)]
struct Row<'a> {
    keys: &'a [String],
    values: &'a [Value],
}

impl<'a> Document<'a> {
    pub fn of(answer: &'a Answer) -> Self {
        let keys = distinct(&answer.columns);
        let rows = Rows { keys: keys.clone(), rows: &answer.rows };
        Self { columns: keys, rows, count: answer.total }
    }
}

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rows = serializer.serialize_seq(Some(self.rows.len()))?;
        for values in self.rows {
            rows.serialize_element(&Row { keys: &self.keys, values })?;
        }
        rows.end()
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.keys.iter().zip(self.values))
    }
}

/// What people get: a table, and how many rows there are in all.
pub fn text(answer: &Answer) -> String {
    let head: Vec<String> = answer.columns.iter().map(|name| visible(name)).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let text = table(&head, answer.rows.iter().map(|row| row.iter().map(cell).collect()));
    match answer.total {
        Some(total) => format!("{text}\n{}\n", count(total, "row")),
        None => text,
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => visible(text),
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

    #[test]
    fn rows_are_objects_in_the_order_of_the_columns() {
        let answer = Answer {
            columns: ["b", "a", "b", "b_2"].map(Into::into).to_vec(),
            rows: vec![vec![json!(1), json!(null), json!("x"), json!(2)]],
            total: Some(7),
        };
        let text = serde_json::to_string(&Document::of(&answer)).unwrap();
        assert_eq!(
            text,
            r#"{"columns":["b","a","b_2","b_2_2"],"rows":[{"b":1,"a":null,"b_2":"x","b_2_2":2}],"count":7}"#
        );
    }

    #[test]
    fn people_get_a_table_and_the_count() {
        let answer = Answer {
            columns: vec!["user_id".into(), "score\u{1b}".into()],
            rows: vec![vec![json!("u1"), json!(7)], vec![json!("u2\u{1b}[2J"), json!(null)]],
            total: Some(1_039),
        };
        let shown = text(&answer);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        assert!(shown.ends_with("\n\n1,039 rows\n"), "{shown}");
    }
}
