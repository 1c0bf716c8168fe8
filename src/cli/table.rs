//! Tables for people.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// A table whose numbers stand right.
pub fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let numeric: Vec<bool> = (0..head.len())
        .map(|column| !rows.is_empty() && rows.iter().all(|row| is_number(row.get(column))))
        .collect();
    let aligned = |row: Vec<String>| {
        let cells = row.into_iter().enumerate().map(|(column, text)| {
            let right = numeric.get(column) == Some(&true);
            let side = if right { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(side)
        });
        cells.collect::<Vec<_>>()
    };
    table.set_header(aligned(head.iter().map(|word| (*word).to_owned()).collect()));
    for row in rows {
        table.add_row(aligned(row));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn is_number(text: Option<&String>) -> bool {
    text.is_some_and(|text| {
        text.is_empty() || text.chars().all(|c| c.is_ascii_digit() || [',', '.', '-'].contains(&c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_lines_end_with_text() {
        let rows = [["a.crm", "1,234", ""], ["longer.crm", "5", "not due"]];
        let rows = rows.map(|row| row.map(ToOwned::to_owned).to_vec());
        assert_eq!(
            table(&["sync", "entered", ""], rows),
            "\
sync        entered
a.crm         1,234
longer.crm        5  not due
"
        );
    }
}
