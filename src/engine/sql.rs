//! SQL files as DataFusion's own parser reads them: exactly one query each, nothing else, and what
//! they select from.

use std::collections::BTreeSet;
use std::ops::Range;

use datafusion::common::{DataFusionError, Diagnostic, TableReference};
use datafusion::config::ConfigOptions;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::SessionState;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{self, SetExpr};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::error::{first_line, plain};
use crate::finding::{Finding, Source, nearest};

/// A query that was parsed but not planned.
#[derive(Debug, Clone)]
pub struct Parsed {
    pub statement: Statement,
    /// Every table it names, common table expressions left out.
    pub references: BTreeSet<Reference>,
}

/// A table as a query names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `traits`, `audiences`, `muster`, or none.
    pub schema: Option<String>,
    pub table: String,
}

/// Parses one SQL file; anything but one query is refused.
pub fn parse(source: &Source) -> Result<Parsed, Finding> {
    let text = source.text.trim_start_matches('\u{feff}');
    let statements = DFParser::parse_sql(text).map_err(|error| syntax(source, &error))?;
    let places = statement_places(text);
    let refuse = |what: &str, place: Option<&Range<usize>>| {
        Finding::error("Q01", format!("a model is exactly one query; this file {what}"))
            .at(source, place.cloned())
            .hint("keep one `SELECT` per file, and nothing else")
    };
    let mut statements = statements.into_iter();
    let (Some(statement), rest) = (statements.next(), statements.len()) else {
        return Err(refuse("holds none", None));
    };
    if let Some(verb) = not_a_query(&statement) {
        return Err(refuse(&format!("holds `{verb}`"), places.first()));
    }
    if rest > 0 {
        return Err(refuse(&format!("holds {} statements", rest + 1), places.get(1)));
    }
    let references = references(&statement).map_err(|error| failure(source, &error))?;
    Ok(Parsed { statement, references })
}

/// The first word of every statement.
fn statement_places(text: &str) -> Vec<Range<usize>> {
    let source = Source::new("", text);
    let tokens = Tokenizer::new(&GenericDialect, text).tokenize_with_location();
    let (mut places, mut starts) = (Vec::new(), true);
    for token in tokens.unwrap_or_default() {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => starts = true,
            _ if starts => {
                let (start, end) = (token.span.start, token.span.end);
                let start = source.offset(start.line, start.column);
                places.push(start..source.offset(end.line, end.column).max(start + 1));
                starts = false;
            }
            _ => {}
        }
    }
    places
}

fn references(statement: &Statement) -> DataFusionResult<BTreeSet<Reference>> {
    let normalise = ConfigOptions::default().sql_parser.enable_ident_normalization;
    let (tables, _) = resolve_table_references(statement, normalise)?;
    Ok(tables.iter().map(Reference::from).collect())
}

impl From<&TableReference> for Reference {
    fn from(table: &TableReference) -> Self {
        Self { schema: table.schema().map(ToOwned::to_owned), table: table.table().to_owned() }
    }
}

/// The verb of a statement that is not a query, `None` for a query.
fn not_a_query(statement: &Statement) -> Option<String> {
    let Statement::Statement(statement) = statement else {
        return Some(first_word(&statement.to_string()));
    };
    match statement.as_ref() {
        ast::Statement::Query(query) => not_a_selection(&query.body),
        other => Some(first_word(&other.to_string())),
    }
}

fn not_a_selection(body: &SetExpr) -> Option<String> {
    match body {
        SetExpr::Select(select) => select.into.as_ref().map(|_| "SELECT INTO".into()),
        SetExpr::Query(query) => not_a_selection(&query.body),
        SetExpr::SetOperation { left, right, .. } => {
            not_a_selection(left).or_else(|| not_a_selection(right))
        }
        SetExpr::Values(_) | SetExpr::Table(_) => None,
        other => Some(first_word(&other.to_string())),
    }
}

fn first_word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or("nothing").to_uppercase()
}

fn syntax(source: &Source, error: &DataFusionError) -> Finding {
    let text = first_line(&plain(error));
    let text = text.trim_start_matches("SQL error: ").trim_start_matches("sql parser error: ");
    let text = unwrapped(text);
    let place = position(&text);
    let span = place.map(|(line, column)| word_at(source, line, column));
    // Where the text ends too early there is no word to point at but the last one.
    let span = span.filter(|span| !span.is_empty()).or_else(|| last_word(source));
    let fact = text.split(" at Line:").next().unwrap_or(&text).to_owned();
    Finding::error("Q02", format!("SQL cannot be parsed: {fact}"))
        .at(source, span)
        .hint("the mistake is at the mark or right before it; the dialect is DataFusion's")
}

/// `ParserError("…")` without its wrapping.
fn unwrapped(text: &str) -> String {
    let inner = text
        .split_once("(\"")
        .map_or(text, |(_, rest)| rest.rsplit_once("\")").map_or(rest, |(inner, _)| inner));
    inner.replace("\\\"", "\"").replace("\\'", "'")
}

/// `… at Line: 4, Column: 8`.
fn position(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.split_once("Line: ")?;
    let (line, rest) = rest.split_once(", Column: ")?;
    let digits = rest.chars().take_while(char::is_ascii_digit).collect::<String>();
    Some((line.trim().parse().ok()?, digits.parse().ok()?))
}

fn last_word(source: &Source) -> Option<Range<usize>> {
    let end = source.text.trim_end().len();
    let start = source.text[..end].rfind(char::is_whitespace).map_or(0, |at| at + 1);
    (start < end).then_some(start..end)
}

fn word_at(source: &Source, line: u64, column: u64) -> Range<usize> {
    let start = source.offset(line, column);
    let length = source.text[start..]
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(source.text.len() - start);
    start..start + length.max(usize::from(start < source.text.len()))
}

/// A planning error, placed by DataFusion's diagnostic where it has one.
pub fn failure(source: &Source, error: &DataFusionError) -> Finding {
    let diagnostic = error.diagnostic();
    let span = diagnostic.and_then(|diagnostic| span_of(source, diagnostic));
    let message = diagnostic.map_or_else(|| first_line(&plain(error)), |d| d.message.clone());
    let finding = match error.find_root() {
        DataFusionError::SchemaError(schema, _) => return unknown_column(source, schema, span),
        // What arrow quotes is a value of some row, which no message may show.
        DataFusionError::ArrowError(..) => {
            Finding::error("Q04", without_values(&tidy(&message))).at(source, span)
        }
        _ => Finding::error("Q04", tidy(&message)).at(source, span),
    };
    let mut help = diagnostic.into_iter().flat_map(|d| &d.helps).map(|help| help.message.as_str());
    let help = help.rfind(|help| !help.is_empty());
    finding.hint(help.unwrap_or("try the query with `muster query`; the dialect is DataFusion's"))
}

/// A message without what stands between quotes.
fn without_values(message: &str) -> String {
    match (message.find('\''), message.rfind('\'')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}'…'{}", &message[..first], &message[last + 1..])
        }
        _ => message.to_owned(),
    }
}

fn tidy(message: &str) -> String {
    let text = ["Error during planning: ", "This feature is not implemented: "]
        .iter()
        .fold(message, |text, prefix| text.trim_start_matches(prefix));
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().collect::<String>() + letters.as_str()
    })
}

fn unknown_column(
    source: &Source,
    error: &datafusion::common::SchemaError,
    span: Option<Range<usize>>,
) -> Finding {
    let datafusion::common::SchemaError::FieldNotFound { field, valid_fields } = error else {
        return Finding::error("Q04", tidy(&error.to_string()))
            .at(source, span)
            .hint("name the table before the column, or give the column an alias");
    };
    let known: Vec<&str> = valid_fields.iter().map(|column| column.name.as_str()).collect();
    let span = span.or_else(|| find_word(source, &field.name));
    let finding = Finding::error("Q05", format!("there is no column `{}`", field.name))
        .at(source, span)
        .label("not a column here");
    let finding = match known.as_slice() {
        [] => finding,
        known => finding.note(format!("columns: `{}`", known.join("`, `"))),
    };
    match nearest(&field.name, known.iter().copied()) {
        Some(near) => finding.hint(format!("did you mean `{near}`?")),
        None => finding.hint("see the columns with `muster query 'SELECT * FROM table LIMIT 1'`"),
    }
}

fn span_of(source: &Source, diagnostic: &Diagnostic) -> Option<Range<usize>> {
    let span = diagnostic.span?;
    let start = source.offset(span.start.line, span.start.column);
    let end = source.offset(span.end.line, span.end.column);
    (start < end).then_some(start..end)
}

/// Where a word stands in a file, outside its first comment.
pub fn find_word(source: &Source, word: &str) -> Option<Range<usize>> {
    let body = source.text.find("*/").map_or(0, |at| at + 2);
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    source.text[body..]
        .match_indices(word)
        .map(|(at, _)| body + at)
        .find(|at| {
            let before = source.text[..*at].chars().next_back();
            let after = source.text[at + word.len()..].chars().next();
            !is_word(before) && !is_word(after)
        })
        .map(|at| at..at + word.len())
}

/// A query names a table that does not exist.
pub fn unknown_table<'a>(
    source: &Source,
    reference: &Reference,
    known: impl Iterator<Item = &'a str>,
) -> Finding {
    let known: Vec<&str> = known.collect();
    let name = reference.to_string();
    let finding = Finding::error("Q03", format!("there is no table `{name}`"))
        .at(source, find_word(source, &name).or_else(|| find_word(source, &reference.table)))
        .label("not a table, trait or audience");
    match nearest(&name, known.iter().copied()) {
        Some(near) => finding.hint(format!("did you mean `{near}`?")),
        None if known.is_empty() => {
            finding.hint("put it into the `data` folder, or into `[tables]`")
        }
        None => finding
            .note(format!("known: `{}`", known.join("`, `")))
            .hint("put it into the `data` folder, or into `[tables]`"),
    }
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.table),
            None => f.write_str(&self.table),
        }
    }
}

/// Whether a state can plan this; used only to keep the borrow short at the call.
pub async fn plan(
    state: &SessionState,
    parsed: &Parsed,
) -> DataFusionResult<datafusion::logical_expr::LogicalPlan> {
    state.statement_to_plan(parsed.statement.clone()).await
}

/// The tables a query names, as (schema, table).
pub fn references_of(source: &Source) -> Result<BTreeSet<(Option<String>, String)>, Finding> {
    let parsed = parse(source)?;
    Ok(parsed.references.into_iter().map(|r| (r.schema, r.table)).collect())
}
