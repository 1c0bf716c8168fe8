//! Reading one TOML table by its keys: each getter takes a key, remembers that it is known, and
//! turns a value that is not what it should be into a finding at that value. [`Section::finish`]
//! then reports what nobody asked for.
//!
//! A getter returns `None` both for an absent and for a wrong value: the caller goes on with the
//! default, and everything that is wrong comes out at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::quantity;
use crate::finding::{Finding, Source, nearest};

/// How findings about one kind of document are numbered.
#[derive(Debug)]
pub(super) struct Codes {
    pub(super) syntax: &'static str,
    pub(super) unknown: &'static str,
    pub(super) wrong: &'static str,
}

/// One TOML text and everything found wrong in it so far.
#[derive(Debug)]
pub(super) struct Document {
    source: Source,
    codes: &'static Codes,
    findings: RefCell<Vec<Finding>>,
}

/// One table of a document.
#[derive(Debug)]
pub(super) struct Section<'a> {
    document: &'a Document,
    /// As it is called in messages, such as `[project]`.
    title: String,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

/// What a value should have been.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) what: &'a str,
    /// As one would write it in TOML.
    pub(super) example: &'a str,
}

/// Of a file that is not TOML at all, the first lines say enough.
const MOST_SYNTAX_ERRORS: usize = 20;

pub(super) const TABLE: Expected<'_> = Expected { what: "a table", example: "{ … }" };
const TEXT: Expected<'_> = Expected { what: "a string", example: "\"…\"" };
const FILLED_TEXT: Expected<'_> =
    Expected { what: "a string that is not empty", example: "\"…\"" };
const TEXTS: Expected<'_> = Expected { what: "a list of strings", example: "[\"…\"]" };
const BOOLEAN: Expected<'_> = Expected { what: "`true` or `false`", example: "true" };
const COUNT: Expected<'_> = Expected { what: "a whole number from 0 on", example: "1000" };
const DURATION: Expected<'_> =
    Expected { what: "a duration in `ms`, `s`, `m`, `h` or `d`", example: "\"10m\"" };
const SIZE: Expected<'_> =
    Expected { what: "a size in `MB`, `GB`, `MiB`, `GiB` or the like", example: "\"4GB\"" };

impl Document {
    pub(super) fn new(source: Source, codes: &'static Codes) -> Self {
        Self { source, codes, findings: RefCell::default() }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn report(&self, finding: Finding) {
        self.findings.borrow_mut().push(finding);
    }

    pub(super) fn into_findings(self) -> Vec<Finding> {
        self.findings.into_inner()
    }

    /// The tables of `text`, which is this document's or has the same positions. With `Err` every
    /// syntax error is reported, and what could be made out of the rest is for guessing only.
    pub(super) fn parse<'t>(&self, text: &'t str) -> Result<DeTable<'t>, DeTable<'t>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(root.into_inner());
        }
        self.report_syntax(text, errors);
        Err(root.into_inner())
    }

    /// One slip often makes several errors: those after the first on a line are left out.
    fn report_syntax(&self, text: &str, mut errors: Vec<toml::de::Error>) {
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        let mut last: Option<usize> = None;
        let starting_lines = errors.iter().filter_map(|error| {
            let span = within(text, error.span().unwrap_or_default());
            let same_line = last.is_some_and(|last| !text[last..span.start].contains('\n'));
            last = Some(span.start);
            (!same_line).then(|| (span, error.message()))
        });
        for (span, message) in starting_lines.take(MOST_SYNTAX_ERRORS) {
            self.report(
                Finding::error(self.codes.syntax, format!("not readable as TOML: {message}"))
                    .at(&self.source, Some(span))
                    .label("cannot be read from here")
                    .hint("write `key = value`, with strings in quotes; see https://toml.io"),
            );
        }
    }

    /// A finding about a value that makes no sense; to be hinted and reported by the caller.
    pub(super) fn wrong(&self, span: Range<usize>, message: impl Into<String>) -> Finding {
        Finding::error(self.codes.wrong, message).at(&self.source, Some(span))
    }

    /// Reports a value that is not what it should be. `title` is what holds `key`.
    pub(super) fn mismatch(
        &self,
        key: &str,
        title: &str,
        value: &Spanned<DeValue<'_>>,
        expected: Expected<'_>,
    ) {
        let Expected { what, example } = expected;
        let found = describe(value.get_ref());
        let message = format!("`{key}` in {title} must be {what}, not {found}");
        self.report(
            self.wrong(value.span(), message)
                .label(format!("expected {what}"))
                .hint(format!("write it like `{key} = {example}`")),
        );
    }

    pub(super) fn section<'a>(
        &'a self,
        title: impl Into<String>,
        table: &'a DeTable<'a>,
    ) -> Section<'a> {
        Section { document: self, title: title.into(), table, known: Vec::new() }
    }
}

impl<'a> Section<'a> {
    pub(super) fn document(&self) -> &'a Document {
        self.document
    }

    pub(super) fn title(&self) -> &str {
        &self.title
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The value as it stands; its keys and type are the caller's to check.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.table.get(key)
    }

    pub(super) fn table(&mut self, key: &'static str) -> Option<Spanned<&'a DeTable<'a>>> {
        self.read(key, TABLE, DeValue::as_table)
    }

    /// The table under `key` as a section; one without keys when there is none.
    pub(super) fn subsection(&mut self, key: &'static str) -> Section<'a> {
        static EMPTY: LazyLock<DeTable<'static>> = LazyLock::new(DeTable::new);
        let table = self.table(key).map_or(&*EMPTY, Spanned::into_inner);
        self.document.section(format!("`[{key}]`"), table)
    }

    /// Any string, also an empty one.
    pub(super) fn text(&mut self, key: &'static str) -> Option<&'a str> {
        self.read(key, TEXT, DeValue::as_str).map(Spanned::into_inner)
    }

    /// A string with something in it.
    pub(super) fn string(&mut self, key: &'static str) -> Option<Spanned<&'a str>> {
        self.read(key, FILLED_TEXT, |value| value.as_str().filter(|text| !text.trim().is_empty()))
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        self.read(key, BOOLEAN, DeValue::as_bool).map(Spanned::into_inner)
    }

    pub(super) fn count(&mut self, key: &'static str) -> Option<u64> {
        self.read(key, COUNT, count).map(Spanned::into_inner)
    }

    pub(super) fn duration(&mut self, key: &'static str) -> Option<Duration> {
        self.read(key, DURATION, |value| value.as_str().and_then(quantity::duration))
            .map(Spanned::into_inner)
    }

    /// A number of bytes above zero.
    pub(super) fn size(&mut self, key: &'static str) -> Option<u64> {
        let size = |value: &DeValue<'_>| {
            value.as_str().and_then(quantity::bytes).filter(|bytes| *bytes > 0)
        };
        self.read(key, SIZE, size).map(Spanned::into_inner)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Option<Spanned<T>> {
        let value = self.value(key)?;
        let word = value.get_ref().as_str();
        if let Some((_, choice)) = words.iter().find(|(known, _)| Some(*known) == word) {
            return Some(Spanned::new(value.span(), *choice));
        }
        let names: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
        let likely = word.and_then(|word| nearest(word, names.iter().copied()));
        let example = format!("\"{}\"", likely.or(names.first().copied()).unwrap_or_default());
        let what = format!("one of {}", quoted(&names));
        let expected = Expected { what: &what, example: &example };
        self.document.mismatch(key, &self.title, value, expected);
        None
    }

    pub(super) fn strings(&mut self, key: &'static str) -> Option<Vec<String>> {
        self.read(key, TEXTS, |value| {
            let text = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
            value.as_array()?.iter().map(text).collect()
        })
        .map(Spanned::into_inner)
    }

    /// A table from any keys to strings.
    pub(super) fn string_map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let mut map = BTreeMap::new();
        let Some(table) = self.table(key) else { return map };
        for (name, value) in table.into_inner() {
            if let Some(text) = value.get_ref().as_str() {
                map.insert(name.get_ref().to_string(), text.to_owned());
            } else {
                self.document.mismatch(name.get_ref(), &format!("`{key}`"), value, TEXT);
            }
        }
        map
    }

    /// Keys nobody asked for, with their values.
    pub(super) fn unknown(&self) -> impl Iterator<Item = (Spanned<&'a str>, &'a DeValue<'a>)> {
        self.table
            .iter()
            .filter(|(key, _)| !self.known.contains(&key.get_ref().as_ref()))
            .map(|(key, value)| (Spanned::new(key.span(), key.get_ref().as_ref()), value.get_ref()))
    }

    /// Reports every key nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.unknown() {
            let (span, key) = (key.span(), key.into_inner());
            let message = format!("unknown key `{key}` in {}", self.title);
            let finding = Finding::error(self.document.codes.unknown, message)
                .at(&self.document.source, Some(span))
                .label(format!("not a key of {}", self.title));
            self.document.report(suggest(finding, key, &self.known));
        }
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        expected: Expected<'_>,
        read: impl FnOnce(&'a DeValue<'a>) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let value = self.value(key)?;
        let found = read(value.get_ref());
        if found.is_none() {
            self.document.mismatch(key, &self.title, value, expected);
        }
        found.map(|found| Spanned::new(value.span(), found))
    }
}

/// Adds what was probably meant, and all that could have been.
pub(super) fn suggest(finding: Finding, word: &str, known: &[&str]) -> Finding {
    let finding = match nearest(word, known.iter().copied()) {
        Some(likely) => finding.hint(format!("did you mean `{likely}`?")),
        None => finding.hint("remove it, or use one of the known keys"),
    };
    finding.note(format!("known keys: {}", quoted(known)))
}

/// `` `a`, `b`, `c` ``.
pub(super) fn quoted<T: std::fmt::Display>(words: &[T]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// A whole number from 0 on.
pub(super) fn count(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// A value as a message names it: scalars by themselves where they are short, the rest by type.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.trim().is_empty() => "an empty string".into(),
        DeValue::String(text) if text.chars().count() <= 40 && !text.contains('\n') => {
            format!("`\"{text}\"`")
        }
        DeValue::String(_) => "a string".into(),
        DeValue::Integer(number) => format!("the integer `{number}`"),
        DeValue::Float(number) => format!("the number `{number}`"),
        DeValue::Boolean(boolean) => format!("`{boolean}`"),
        DeValue::Datetime(_) => "a date".into(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}

/// The span, clamped to whole characters of the text.
fn within(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start);
    start..text.ceil_char_boundary(span.end).max(start)
}
