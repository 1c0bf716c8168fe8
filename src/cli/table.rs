//! Results in columns: plain enough for `grep` and `awk` when they are piped, wrapped to the width of
//! the terminal otherwise.

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement};

use super::printer::{Paint, Stream};
use super::wording;

/// A table under construction.
#[derive(Debug)]
pub struct Table {
    inner: comfy_table::Table,
}

/// One column's heading and how it is set.
#[derive(Debug, Clone, Copy)]
pub enum Heading<'a> {
    Text(&'a str),
    Number(&'a str),
}

impl Table {
    pub fn new<'a>(stream: Stream, headings: impl IntoIterator<Item = Heading<'a>>) -> Self {
        let headings: Vec<Heading<'_>> = headings.into_iter().collect();
        let mut inner = comfy_table::Table::new();
        inner.load_preset(comfy_table::presets::NOTHING);
        match stream.is_terminal {
            true => inner.set_content_arrangement(ContentArrangement::Dynamic),
            false => inner.force_no_tty(),
        };
        if stream.paint == Paint::Plain {
            inner.force_no_tty();
        }
        inner.set_header(headings.iter().map(|heading| heading.cell()));
        for (column, heading) in inner.column_iter_mut().zip(&headings) {
            column.set_padding((0, 2));
            if let Heading::Number(_) = heading {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self { inner }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.inner.add_row(cells.into_iter().map(|cell| wording::visible(&cell)));
    }

    /// The lines, without spaces at their ends.
    pub fn render(&self) -> String {
        let lines: Vec<String> =
            self.inner.lines().map(|line| line.trim_end().to_owned()).collect();
        lines.join("\n")
    }
}

impl Heading<'_> {
    fn cell(self) -> Cell {
        let (Self::Text(text) | Self::Number(text)) = self;
        Cell::new(wording::visible(text)).add_attribute(Attribute::Bold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_text() {
        let stream = Stream { is_terminal: false, paint: Paint::Plain };
        let headings = [Heading::Text("sync"), Heading::Number("entered"), Heading::Text("note")];
        let mut table = Table::new(stream, headings);
        table.row(["a.crm".into(), "1,234".into(), String::new()]);
        table.row(["longer.crm".into(), "5".into(), "not due\u{1b}".into()]);
        assert_eq!(
            table.render(),
            "\
sync        entered  note
a.crm         1,234
longer.crm        5  not due\u{fffd}"
        );
    }
}
