//! Findings as people and programs read them: a fact, where it is, and a way out.
//!
//! ```text
//! error[Q03]: audience `big_spenders` does not produce its key column
//!   --> queries/audiences/big_spenders.sql:4:8
//!    |
//!  4 | select u.user_id as id, u.email
//!    |        ^^^^^^^^^ expected a column named `user_id`
//!   columns: `id`, `email`
//! hint: alias it `as user_id`
//! ```
//!
//! Drawn by hand, for exact control. Marks stand under what they mark whatever the line holds: tabs
//! are spaces, wide characters take two places, what could steer a terminal is made visible, and of a
//! very long line only the part around the mark is shown.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;
use unicode_width::UnicodeWidthChar;

use super::printer::{Ink, Paint};
use super::wording;
use crate::finding::{Finding, Place, Severity};
use crate::run::Refused;

/// Why a command ended without doing what it is for.
#[derive(Debug)]
pub enum Failure {
    /// Something has to be mended first.
    Refused(Vec<Finding>),
    /// The results could not be written to stdout.
    Output(io::Error),
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.findings)
    }
}

impl From<Finding> for Failure {
    fn from(finding: Finding) -> Self {
        Self::Refused(vec![finding])
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    pub fn render(&self, paint: Paint) -> String {
        match self {
            Self::Refused(findings) => render(findings, paint),
            Self::Output(error) => {
                let message = "could not write the results to stdout";
                render(&[Finding::error("O01", message).note(error.to_string())], paint)
            }
        }
    }
}

/// All findings, a blank line between them, and how many they are.
pub fn render(findings: &[Finding], paint: Paint) -> String {
    let mut text = findings.iter().map(|it| one(it, paint)).collect::<Vec<_>>().join("\n");
    if findings.len() > 1 {
        text.push('\n');
        text.push_str(&summary(findings, paint));
        text.push('\n');
    }
    text
}

/// `error: 3 findings`, `1 error, 2 warnings, 1 note`, `2 warnings`
fn summary(findings: &[Finding], paint: Paint) -> String {
    let kinds = [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
        (severity, findings.iter().filter(|finding| finding.severity == severity).count() as u64)
    });
    if let [(_, errors), (_, 0), (_, 0)] = kinds {
        let word = paint.with(Ink::Error, word(Severity::Error));
        return format!("{word}: {}", wording::count(errors, "finding"));
    }
    let counts = kinds.into_iter().filter(|(_, count)| *count > 0).map(|(severity, number)| {
        paint.with(ink(severity), &wording::count(number, word(severity)))
    });
    counts.collect::<Vec<_>>().join(", ")
}

fn one(finding: &Finding, paint: Paint) -> String {
    let Finding { code, severity, message, place, notes, hint, destination: _ } = finding;
    let ink = ink(*severity);
    let head = paint.with(ink, &format!("{}[{code}]", word(*severity)));
    let message = paint.with(Ink::Strong, &indented(message, "  "));
    let mut text = format!("{head}: {message}\n");
    if let Some(place) = place {
        text.push_str(&quote(place, ink, paint));
    }
    for note in notes {
        let _ = writeln!(text, "  {}", indented(note, "  "));
    }
    if let Some(hint) = hint {
        let _ = writeln!(text, "{} {}", paint.with(Ink::Hint, "hint:"), indented(hint, "      "));
    }
    text
}

const fn ink(severity: Severity) -> Ink {
    match severity {
        Severity::Error => Ink::Error,
        Severity::Warning => Ink::Warning,
        Severity::Note => Ink::Hint,
    }
}

const fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Several lines, the later ones indented.
fn indented(text: &str, by: &str) -> String {
    let lines: Vec<String> = text.lines().map(wording::visible).collect();
    lines.join(&format!("\n{by}"))
}

/// `  --> file:line:column`, the line, and the mark under it.
fn quote(place: &Place, ink: Ink, paint: Paint) -> String {
    let path = wording::visible(&place.source.path().display().to_string());
    let Some(span) = &place.span else {
        let label = place.label.as_deref().map(|label| format!(" {}", indented(label, "      ")));
        let arrow = paint.with(Ink::Frame, "  -->");
        return format!("{arrow} {path}{}\n", label.unwrap_or_default());
    };
    let (line, column) = place.source.line_column(span.start);
    let number = line.to_string();
    let gutter = " ".repeat(number.len() + 1);
    let marked = Marked::new(&place.source.text, line, span);
    let label = place.label.as_deref().map(|label| {
        let by = format!("{gutter} | {}", " ".repeat(marked.before));
        paint.with(ink, &format!(" {}", indented(label, &by)))
    });
    let carets = paint.with(ink, &"^".repeat(marked.length));
    let frame = |text: &str| paint.with(Ink::Frame, text);
    format!(
        "{arrow} {path}:{line}:{column}\n{bar}\n{numbered}{source}\n{bar} {space}{carets}{label}\n",
        arrow = frame(&format!("{gutter}-->")),
        bar = frame(&format!("{gutter} |")),
        numbered = frame(&format!(" {number} |")),
        source = marked.shown(),
        space = " ".repeat(marked.before),
        label = label.unwrap_or_default(),
    )
}

/// Most places a quoted line takes.
const WIDEST: usize = 120;
/// Places shown before the mark when a line is too long.
const LEAD: usize = 40;

/// One line as it is shown, and where the mark goes, in places of the terminal.
struct Marked {
    line: String,
    before: usize,
    length: usize,
}

/// One character as it is shown.
struct Cell {
    text: String,
    width: usize,
    is_marked: bool,
}

impl Marked {
    fn new(text: &str, line: usize, span: &std::ops::Range<usize>) -> Self {
        let start = text.split_inclusive('\n').take(line - 1).map(str::len).sum::<usize>();
        let line = text[start..].lines().next().unwrap_or_default();
        let cells = line
            .char_indices()
            .map(|(at, character)| Cell::new(character, span.contains(&(start + at))))
            .collect::<Vec<_>>();
        let is_long = cells.iter().map(|cell| cell.width).sum::<usize>() > WIDEST;
        let shown =
            if is_long { window(cells, span.start.saturating_sub(start), line) } else { cells };
        let marked =
            || shown.iter().filter(|cell| cell.is_marked).map(|cell| cell.width).sum::<usize>();
        let first = shown.iter().position(|cell| cell.is_marked);
        // A mark past the end of the line or of no length stands where it would begin.
        let until = first.unwrap_or_else(|| match line.get(..span.start.saturating_sub(start)) {
            Some(before) if !is_long => before.chars().count(),
            _ => shown.len(),
        });
        Self {
            before: shown[..until.min(shown.len())].iter().map(|cell| cell.width).sum(),
            length: marked().max(1_usize),
            line: shown.into_iter().map(|cell| cell.text).collect::<String>().trim_end().to_owned(),
        }
    }

    /// Nothing at all of an empty line, so that no line ends in a space.
    fn shown(&self) -> String {
        if self.line.is_empty() { String::new() } else { format!(" {}", self.line) }
    }
}

impl Cell {
    fn new(character: char, is_marked: bool) -> Self {
        let text = match character {
            '\t' => "    ".to_owned(),
            _ => wording::visible(character.encode_utf8(&mut [0; 4])),
        };
        let width = text.chars().map(|it| it.width().unwrap_or(0)).sum();
        Self { text, width, is_marked }
    }
}

/// The part of a long line around the mark, cut ends shown as `…`.
fn window(cells: Vec<Cell>, offset: usize, line: &str) -> Vec<Cell> {
    let mark = line.get(..offset).map_or(cells.len(), |before| before.chars().count());
    let first = if mark < WIDEST - LEAD { 0 } else { mark - LEAD };
    let ellipsis = || Cell { text: "…".into(), width: 1, is_marked: false };
    let mut shown = Vec::new();
    let mut width = 0;
    if first > 0 {
        shown.push(ellipsis());
    }
    for cell in cells.into_iter().skip(first) {
        width += cell.width;
        if width > WIDEST {
            shown.push(ellipsis());
            break;
        }
        shown.push(cell);
    }
    shown
}

/// Findings as `check --format json` prints them.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    findings: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    code: &'a str,
    severity: &'static str,
    message: &'a str,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    notes: &'a [String],
    hint: Option<&'a str>,
}

impl<'a> Document<'a> {
    pub fn of(findings: &'a [Finding]) -> Self {
        Self { findings: findings.iter().map(Entry::of).collect() }
    }
}

impl<'a> Entry<'a> {
    fn of(finding: &'a Finding) -> Self {
        let place = finding.place.as_ref();
        let position =
            place.and_then(|place| Some(place.source.line_column(place.span.as_ref()?.start)));
        Self {
            code: finding.code,
            severity: word(finding.severity),
            message: &finding.message,
            file: place.map(|place| place.source.path().display().to_string()),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            notes: &finding.notes,
            hint: finding.hint.as_deref(),
        }
    }
}

#[cfg(test)]
#[path = "errors_tests.rs"]
mod tests;
