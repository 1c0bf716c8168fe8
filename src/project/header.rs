//! A model: one SQL file, and what the TOML in its first comment says of it.
//!
//! Everything has a default, so that a model exists however wrong its header is, and the models
//! that select from it are not blamed for it. All positions are those of the SQL file: what
//! precedes the header is blanked before it is read as TOML.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeTable;

use super::comment::{Comment, Marker, comments, marker};
use super::section::{Codes, Document};
use super::{Model, ModelKind, Query, sync};
use crate::finding::{Finding, Source};

const CODES: Codes = Codes { syntax: "H01", unknown: "H02", wrong: "H03" };

/// Longer keys make names of folders and tables that some systems refuse.
const LONGEST_KEY: usize = 120;

/// What one SQL file came to.
#[derive(Debug)]
pub(super) struct Reading {
    /// `None`: it has no usable key.
    pub(super) model: Option<Model>,
    /// Where the header gives the name the key is made of.
    pub(super) name_span: Option<Range<usize>>,
    pub(super) findings: Vec<Finding>,
}

/// What the header says, or its defaults.
#[derive(Debug, Default)]
struct Header {
    name: Option<(String, Range<usize>)>,
    description: Option<String>,
    syncs: Vec<super::SyncEntry>,
}

/// Reads the header of a file that lies in the folder for models of this `kind`. `destinations` are
/// the configured names.
pub(super) fn read(source: Source, kind: ModelKind, destinations: &BTreeSet<String>) -> Reading {
    let document = Document::new(source.clone(), &CODES);
    let header = header(&document, kind, destinations);
    let stem = source.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (name, name_span) = match header.name {
        Some((name, span)) => (name, Some(span)),
        None => (stem, None),
    };
    let key = usable_key(&document, &name, name_span.clone());
    let Header { description, syncs, .. } = header;
    let query = Query { source };
    let model = key.map(|key| Model { kind, key, name, description, syncs, query });
    Reading { model, name_span, findings: document.into_findings() }
}

/// Lower case, with one `_` for whatever is neither letter nor digit.
pub(super) fn snake_case(name: &str) -> String {
    let mut key = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_alphanumeric() {
            key.extend(letter.to_lowercase());
        } else if !key.is_empty() && !key.ends_with('_') {
            key.push('_');
        }
    }
    key.truncate(key.trim_end_matches('_').len());
    key
}

fn usable_key(document: &Document, name: &str, span: Option<Range<usize>>) -> Option<String> {
    let key = snake_case(name);
    let message = match key.len() {
        0 => format!("the name `{name}` has neither letters nor digits to make a key of"),
        1..=LONGEST_KEY => return Some(key),
        _ => format!("the name makes a key longer than {LONGEST_KEY} bytes"),
    };
    document.report(
        Finding::error(CODES.wrong, message)
            .at(document.source(), span)
            .label("the key is made of this")
            .hint("set `name` in the header, such as `name = \"First time shopper\"`"),
    );
    None
}

fn header(document: &Document, kind: ModelKind, destinations: &BTreeSet<String>) -> Header {
    let text = &document.source().text;
    let mut comments = comments(text);
    let Some(first) = comments.next() else {
        report_missing(document, kind);
        return Header::default();
    };
    match marker(text, &first) {
        Marker::Header(written, span) => {
            if written != kind {
                report_wrong_kind(document, kind, written, span);
            }
            read_comment(document, &first, written, destinations)
        }
        Marker::Misspelt(meant, span) => {
            report_misspelt(document, meant, span);
            Header::default()
        }
        Marker::None => {
            if !report_later(document, comments) {
                report_missing(document, kind);
            }
            Header::default()
        }
    }
}

fn read_comment(
    document: &Document,
    comment: &Comment,
    kind: ModelKind,
    destinations: &BTreeSet<String>,
) -> Header {
    if !comment.closed {
        report_unclosed(document, comment);
        return Header::default();
    }
    let Range { start, end } = comment.body;
    let blanked = " ".repeat(start) + &document.source().text[start..end];
    match document.parse(&blanked) {
        Ok(root) => fields(document, &root, kind, destinations),
        Err(rest) => Header { name: guess_name(&rest, kind), ..Header::default() },
    }
}

fn fields(
    document: &Document,
    root: &DeTable<'_>,
    kind: ModelKind,
    destinations: &BTreeSet<String>,
) -> Header {
    let mut root = document.section("the header", root);
    let mut header = Header::default();
    if let Some(table) = root.table(kind.as_str()) {
        let title = format!("`[{}]`", kind.as_str());
        let mut section = document.section(title, table.into_inner());
        header.name = section.string("name").map(|name| (name.get_ref().to_string(), name.span()));
        header.description = section.text("description").map(str::to_owned);
        header.syncs = sync::read(&mut section, kind, destinations);
        section.finish();
    }
    root.finish();
    header
}

/// The name, if it survived the syntax errors: other models may select from this one by its key.
fn guess_name(rest: &DeTable<'_>, kind: ModelKind) -> Option<(String, Range<usize>)> {
    let name = rest.get(kind.as_str())?.get_ref().as_table()?.get("name")?;
    let text = name.get_ref().as_str()?;
    (!snake_case(text).is_empty()).then(|| (text.to_owned(), name.span()))
}

fn report_wrong_kind(document: &Document, kind: ModelKind, written: ModelKind, span: Range<usize>) {
    let (here, there) = (kind.as_str(), written.schema());
    let message =
        format!("a header for `[{}]` in the folder `{}`", written.as_str(), kind.schema());
    document.report(
        Finding::error("H06", message)
            .at(document.source(), Some(span))
            .label(format!("expected `[{here}]`"))
            .hint(format!("move the file to `{there}/`, or start its header with `[{here}]`")),
    );
}

fn report_misspelt(document: &Document, meant: ModelKind, span: Range<usize>) {
    let written = &document.source().text[span.clone()];
    document.report(
        Finding::error("H06", format!("`{written}` does not start a header"))
            .at(document.source(), Some(span))
            .label("neither `[trait]` nor `[audience]`")
            .hint(format!("did you mean `[{}]`?", meant.as_str())),
    );
}

fn report_unclosed(document: &Document, comment: &Comment) {
    let span = comment.nested.map_or(comment.body.start - 2..comment.body.start, |at| at..at + 2);
    let hint = match comment.nested {
        Some(_) => "a `/*` inside a comment opens another one: write it differently",
        None => "end the comment with `*/` before the query starts",
    };
    document.report(
        Finding::error(CODES.syntax, "the comment with the header is not closed")
            .at(document.source(), Some(span))
            .label("opened here")
            .hint(hint),
    );
}

/// A header that stands too late; whether there is one.
fn report_later(document: &Document, mut rest: impl Iterator<Item = Comment>) -> bool {
    let text = &document.source().text;
    let later = rest.find_map(|comment| match marker(text, &comment) {
        Marker::Header(_, span) => Some(span),
        _ => None,
    });
    let found = later.is_some();
    if found {
        document.report(
            Finding::error("H06", "a header that is not in the file's first comment is not read")
                .at(document.source(), later)
                .label("not read")
                .hint("move it to the top of the file"),
        );
    }
    found
}

fn report_missing(document: &Document, kind: ModelKind) {
    let kind = kind.as_str();
    document.report(
        Finding::error("H07", "a model starts with a header, and this file has none")
            .at(document.source(), None)
            .hint(format!("start the file with `/*`, `[{kind}]`, `sync = [\"…\"]` and `*/`")),
    );
}

#[cfg(test)]
mod tests {
    use super::snake_case;

    #[test]
    fn keys_are_snake_case() {
        let cases = [
            ("First time shopper", "first_time_shopper"),
            ("Total revenue (180 days)", "total_revenue_180_days"),
            ("  --VIP!!  customers-- ", "vip_customers"),
            ("already_snake__case", "already_snake_case"),
            ("camelCase", "camelcase"),
            ("Größe", "größe"),
            ("?!", ""),
        ];
        for (name, key) in cases {
            assert_eq!(snake_case(name), key);
        }
    }
}
