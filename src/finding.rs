//! What is wrong with what the user wrote: one value per problem, collected and shown all at once.
//!
//! A finding has a stable code, a fact, a place and a way out. It never holds a row value or a
//! secret. Rendering is the command line's job.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much a finding weighs: errors stop a command before anything is sent, warnings do not, and notes
/// are only told to who asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Note,
    Warning,
    Error,
}

/// A text file of the project as it was read, kept so that findings can quote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Path as the user knows it: relative to the project where it lies inside.
    pub path: PathBuf,
    pub text: Arc<str>,
}

/// Where a finding points: a file and, where known, a byte range inside it with a short label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub source: Source,
    pub span: Option<Range<usize>>,
    pub label: Option<String>,
}

/// One problem, worded as a fact and a way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code: `P..` project file, `H..` model header, `Q..` query, `T..` table, `S..` sync,
    /// `D..` destination, `X..` secret, `G..` guard.
    ///
    /// Of `muster.toml` and its files: P01 missing, P02 not TOML, P03 unknown key or section, P04 wrong
    /// type or value, P05 file or folder missing, P06 not UTF-8, P07 nothing read there (warning).
    /// Of a header: H01 not TOML, H02 unknown key, H03 wrong type or value, H04 key taken, H05
    /// destination named twice, H06 wrong kind. S01 unknown destination. X01 variable not set, X02 bad
    /// `${`.
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    pub place: Option<Place>,
    pub notes: Vec<String>,
    pub hint: Option<String>,
    /// The configured destination this is about, so that a run that does not touch it can go on.
    pub destination: Option<String>,
}

impl Source {
    pub fn new(path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Byte offset of a 1-based line and column (in characters), clamped to the text.
    pub fn offset(&self, line: u64, column: u64) -> usize {
        let skip = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        let Some(start) =
            std::iter::once(0).chain(self.text.match_indices('\n').map(|(at, _)| at + 1)).nth(skip)
        else {
            return self.text.len();
        };
        let column = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
        let rest = &self.text[start..];
        start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
    }

    /// 1-based line and column (in characters) of a byte offset.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Finding {
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            place: None,
            notes: Vec::new(),
            hint: None,
            destination: None,
        }
    }

    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Advice: nothing is wrong.
    pub fn advice(code: &'static str, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, ..Self::error(code, message) }
    }

    #[must_use]
    pub fn at(mut self, source: &Source, span: Option<Range<usize>>) -> Self {
        self.place = Some(Place { source: source.clone(), span, label: None });
        self
    }

    /// The words under the marked text; needs a place.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        if let Some(place) = &mut self.place {
            place.label = Some(label.into());
        }
        self
    }

    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn for_destination(mut self, name: impl Into<String>) -> Self {
        self.destination = Some(name.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The nearest of `known` to a mistyped word, if any is near enough to be meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= 1.max(candidate.chars().count().min(word.len()) / 3)
        })
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_positions_are_inverse() {
        let source = Source::new("q.sql", "select 1,\n  é, x\nfrom t");
        for (line, column, rest) in [(1, 1, "select"), (2, 6, "x"), (3, 6, "t")] {
            let offset = source.offset(line, column);
            assert!(source.text[offset..].starts_with(rest));
            assert_eq!(source.line_column(offset), (line as usize, column as usize));
        }
    }

    #[test]
    fn nearest_suggests_only_what_is_near() {
        let known = ["rate_limit", "batch_size", "url"];
        assert_eq!(nearest("rate_limt", known), Some("rate_limit"));
        assert_eq!(nearest("colour", known), None);
    }
}
