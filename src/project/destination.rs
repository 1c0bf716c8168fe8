//! `[destinations.NAME]`: its type, and its options as TOML with secrets filled in. What the options
//! mean is the catalogue's to know.
//!
//! A value from the environment goes into `options` and `secrets`, never into a finding: those name
//! the variable only, and quote `muster.toml` as it was written.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::DestinationConfig;
use super::placeholder::{Piece, pieces, position};
use super::section::{Document, Expected, Section};
use crate::finding::Finding;

const SECTION: Expected<'_> =
    Expected { what: "a section with a `type`", example: "{ type = \"webhook\" }" };
const TYPE: Expected<'_> = Expected { what: "a destination's type", example: "\"webhook\"" };

/// Where `${NAME}` is looked up.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads `[destinations]`. The names are those of all sections, also of those that are too wrong to
/// be configured: a model may refer to them without further blame.
pub(super) fn read(
    root: &mut Section<'_>,
    folder: &Path,
    environment: Environment<'_>,
) -> (Vec<DestinationConfig>, BTreeSet<String>) {
    let document = root.document();
    let Some(table) = root.table("destinations") else { return Default::default() };
    let (mut configured, mut names) = (Vec::new(), BTreeSet::new());
    for (name, value) in table.into_inner() {
        names.insert(name.get_ref().to_string());
        check_name(document, name.get_ref(), name.span());
        let Some(table) = value.get_ref().as_table() else {
            document.mismatch(name.get_ref(), "`[destinations]`", value, SECTION);
            continue;
        };
        let mut filling = Filling {
            document,
            folder,
            environment,
            destination: name.get_ref(),
            secrets: BTreeSet::new(),
            missing: BTreeSet::new(),
        };
        configured.extend(filling.destination(table, name.span()));
    }
    (configured, names)
}

/// Names become parts of file names and of what is typed on the command line.
fn check_name(document: &Document, name: &str, span: Range<usize>) {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !name.is_empty() && name.chars().all(fits) {
        return;
    }
    let suggestion: String =
        name.chars().map(|letter| if fits(letter) { letter } else { '_' }).collect();
    let hint = if suggestion.is_empty() {
        "name it, such as `[destinations.crm]`".to_owned()
    } else {
        format!("call it `[destinations.{suggestion}]`")
    };
    document.report(
        document
            .wrong(span, format!("`{name}` cannot be the name of a destination"))
            .label("letters, digits, `_` and `-` only")
            .hint(hint)
            .for_destination(name),
    );
}

/// Turns one section into a configuration.
struct Filling<'a> {
    document: &'a Document,
    folder: &'a Path,
    environment: Environment<'a>,
    destination: &'a str,
    secrets: BTreeSet<String>,
    /// Already reported.
    missing: BTreeSet<String>,
}

impl Filling<'_> {
    fn destination(
        &mut self,
        table: &DeTable<'_>,
        name_span: Range<usize>,
    ) -> Option<DestinationConfig> {
        let kind = self.kind(table, name_span);
        let rest = || table.iter().filter(|(key, _)| key.get_ref() != "type");
        let options = rest()
            .filter_map(|(key, value)| Some((key.get_ref().to_string(), self.fill(value)?)))
            .collect();
        let spans = rest().map(|(key, value)| (key.get_ref().to_string(), value.span())).collect();
        let kind = kind?;
        Some(DestinationConfig {
            name: self.destination.to_owned(),
            root: self.folder.to_owned(),
            span: kind.span(),
            kind: kind.into_inner(),
            options,
            spans,
            secrets: std::mem::take(&mut self.secrets),
        })
    }

    fn kind(&self, table: &DeTable<'_>, name_span: Range<usize>) -> Option<Spanned<String>> {
        let name = self.destination;
        let Some(value) = table.get("type") else {
            let message = format!("the destination `{name}` does not say of what type it is");
            self.report(
                self.document
                    .wrong(name_span, message)
                    .label("`type` is missing")
                    .hint("add a `type`; `muster destinations` lists them"),
            );
            return None;
        };
        let kind = value.get_ref().as_str().filter(|kind| !kind.trim().is_empty());
        if kind.is_none() {
            self.document.mismatch("type", &format!("`[destinations.{name}]`"), value, TYPE);
        }
        kind.map(|kind| Spanned::new(value.span(), kind.to_owned()))
    }

    fn fill(&mut self, value: &Spanned<DeValue<'_>>) -> Option<toml::Value> {
        Some(match value.get_ref() {
            DeValue::String(text) => toml::Value::String(self.text(text, value.span())),
            DeValue::Integer(number) => {
                let integer = i64::from_str_radix(number.as_str(), number.radix());
                return self.number(integer.map(toml::Value::Integer).ok(), value.span());
            }
            DeValue::Float(number) => {
                let float = number.as_str().parse().map(toml::Value::Float);
                return self.number(float.ok(), value.span());
            }
            DeValue::Boolean(boolean) => toml::Value::Boolean(*boolean),
            DeValue::Datetime(datetime) => toml::Value::Datetime(*datetime),
            DeValue::Array(values) => {
                toml::Value::Array(values.iter().filter_map(|value| self.fill(value)).collect())
            }
            DeValue::Table(table) => toml::Value::Table(
                table
                    .iter()
                    .filter_map(|(key, value)| Some((key.get_ref().to_string(), self.fill(value)?)))
                    .collect(),
            ),
        })
    }

    fn number(&self, number: Option<toml::Value>, span: Range<usize>) -> Option<toml::Value> {
        if number.is_none() {
            self.report(
                self.document
                    .wrong(span, "this number is too large")
                    .label("more than 64 bits")
                    .hint("write a smaller number, or a string"),
            );
        }
        number
    }

    /// The text with every `${NAME}` replaced; empty when that cannot be done.
    fn text(&mut self, text: &str, span: Range<usize>) -> String {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(error) => {
                self.report(
                    Finding::error("X02", error.to_string())
                        .at(self.document.source(), Some(span))
                        .label("in here")
                        .hint("write `${NAME}` for a variable, `$${` for a plain `${`"),
                );
                return String::new();
            }
        };
        let filled: Vec<Option<String>> =
            pieces.into_iter().map(|piece| self.piece(piece, &span)).collect();
        filled.into_iter().collect::<Option<String>>().unwrap_or_default()
    }

    fn piece(&mut self, piece: Piece<'_>, span: &Range<usize>) -> Option<String> {
        let name = match piece {
            Piece::Plain(text) => return Some(text.to_owned()),
            Piece::Variable(name) => name,
        };
        let value = (self.environment)(name);
        match value {
            Some(value) if !value.is_empty() => {
                self.secrets.insert(value.clone());
                Some(value)
            }
            unusable => {
                self.report_missing(name, unusable.is_some(), span);
                None
            }
        }
    }

    /// One variable is missing once per destination, however often it is used.
    fn report_missing(&mut self, name: &str, empty: bool, span: &Range<usize>) {
        if !self.missing.insert(name.to_owned()) {
            return;
        }
        let source = self.document.source();
        let written = source.text.get(span.clone()).unwrap_or_default();
        let span = position(written, span.start, name).unwrap_or(span.clone());
        let state = if empty { "empty" } else { "not set" };
        self.report(
            Finding::error("X01", format!("the environment variable `{name}` is {state}"))
                .at(source, Some(span))
                .label(format!("needed by the destination `{}`", self.destination))
                .hint(format!("export {name}=…")),
        );
    }

    fn report(&self, finding: Finding) {
        self.document.report(finding.for_destination(self.destination));
    }
}
