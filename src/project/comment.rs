//! Where a model's header stands: in the first `/* … */` of its file, when the first line in there
//! that is not blank is `[trait]` or `[audience]`.
//!
//! Comments are found as the SQL parser finds them: they nest, and neither strings nor quoted names
//! nor `--` lines open one.

use std::ops::Range;

use super::ModelKind;
use crate::finding::nearest;

/// One block comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comment {
    /// What stands between the delimiters.
    pub(super) body: Range<usize>,
    /// `false`: the file ends first.
    pub(super) closed: bool,
    /// Where a comment inside this one opens.
    pub(super) nested: Option<usize>,
}

/// What the first line of a comment says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    /// `[trait]` or `[audience]`.
    Header(ModelKind, Range<usize>),
    /// Nearly one of them.
    Misspelt(ModelKind, Range<usize>),
    None,
}

/// The header of an SQL text: of which kind, and where it says so.
pub(super) fn header(text: &str) -> Option<(ModelKind, Range<usize>)> {
    match marker(text, &comments(text).next()?) {
        Marker::Header(kind, span) => Some((kind, span)),
        _ => None,
    }
}

/// All block comments of an SQL text, in order.
pub(super) fn comments(text: &str) -> impl Iterator<Item = Comment> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let comment = next(text, at)?;
        at = comment.body.end + if comment.closed { 2 } else { 0 };
        Some(comment)
    })
}

fn next(text: &str, mut at: usize) -> Option<Comment> {
    let bytes = text.as_bytes();
    while at < bytes.len() {
        at = match (bytes[at], bytes.get(at + 1)) {
            (b'/', Some(b'*')) => return Some(comment(bytes, at + 2)),
            (b'-', Some(b'-')) => after(bytes, at + 2, b'\n'),
            (quote @ (b'\'' | b'"' | b'`'), _) => after(bytes, at + 1, quote),
            _ => at + 1,
        };
    }
    None
}

fn after(bytes: &[u8], from: usize, end: u8) -> usize {
    bytes[from..].iter().position(|byte| *byte == end).map_or(bytes.len(), |at| from + at + 1)
}

fn comment(bytes: &[u8], start: usize) -> Comment {
    let (mut at, mut depth, mut nested) = (start, 1, None);
    while at + 1 < bytes.len() {
        match (bytes[at], bytes[at + 1]) {
            (b'*', b'/') if depth == 1 => return Comment { body: start..at, closed: true, nested },
            (b'*', b'/') => depth -= 1,
            (b'/', b'*') => {
                depth += 1;
                nested = nested.or(Some(at));
            }
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
    Comment { body: start..bytes.len(), closed: false, nested }
}

/// Reads the first line of a comment that is not blank.
pub(super) fn marker(text: &str, comment: &Comment) -> Marker {
    let body = &text[comment.body.clone()];
    let start = body.len() - body.trim_start().len();
    let line = body[start..].lines().next().unwrap_or_default();
    let line = line.split('#').next().unwrap_or_default().trim_end();
    let at = comment.body.start + start;
    let span = at..at + line.len();
    if !line.starts_with('[') {
        return Marker::None;
    }
    if !line.ends_with(']') {
        // Meant as a header; what is wrong with it is for the TOML parser to say.
        let word = line.trim_start_matches(['[', ' ', '\t']);
        let word: String = word.chars().take_while(|letter| letter.is_alphanumeric()).collect();
        return match word.as_str() {
            "trait" => Marker::Header(ModelKind::Trait, span),
            "audience" => Marker::Header(ModelKind::Audience, span),
            _ => Marker::None,
        };
    }
    let word = line.trim_matches(['[', ']', ' ', '\t']);
    let single = line.matches('[').count() == 1 && line.matches(']').count() == 1;
    match (word, nearest(&word.to_lowercase(), ["trait", "audience"])) {
        ("trait", _) if single => Marker::Header(ModelKind::Trait, span),
        ("audience", _) if single => Marker::Header(ModelKind::Audience, span),
        (_, Some("trait")) => Marker::Misspelt(ModelKind::Trait, span),
        (_, Some(_)) => Marker::Misspelt(ModelKind::Audience, span),
        (_, None) => Marker::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(text: &str) -> Vec<&str> {
        comments(text).map(|comment| &text[comment.body]).collect()
    }

    #[test]
    fn comments_are_where_the_parser_sees_them() {
        let cases: [(&str, &[&str]); 8] = [
            ("/* a */ select 1 /* b */", &[" a ", " b "]),
            ("-- /* no */\n/* yes */", &[" yes "]),
            ("select '/* no */', \"/* no */\", 'it''s /*' /* yes */", &[" yes "]),
            ("/* a /* b */ c */ /**/", &[" a /* b */ c ", ""]),
            ("/* open", &[" open"]),
            ("/*/", &["/"]),
            ("/*", &[""]),
            ("select 1 -- é", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(bodies(text), expected, "{text}");
        }
    }

    #[test]
    fn the_first_line_that_is_not_blank_decides() {
        let cases = [
            ("/*[trait]*/", Marker::Header(ModelKind::Trait, 2..9)),
            ("/*\r\n\r\n  [ audience ] # vip\r\n*/", Marker::Header(ModelKind::Audience, 8..20)),
            ("/*\n[audiance]\n*/", Marker::Misspelt(ModelKind::Audience, 3..13)),
            ("/* [Traits] */", Marker::Misspelt(ModelKind::Trait, 3..11)),
            ("/* [[trait]] */", Marker::Misspelt(ModelKind::Trait, 3..12)),
            ("/* [todo] */", Marker::None),
            ("/* by Ada\n[trait] */", Marker::None),
            ("/* */", Marker::None),
        ];
        for (text, expected) in cases {
            let comment = comments(text).next().unwrap();
            assert_eq!(marker(text, &comment), expected, "{text}");
        }
    }
}
