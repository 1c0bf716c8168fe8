//! `${NAME}` in a text: what it stands for comes from the environment. `$${` is a plain `${`.

use std::ops::Range;

use thiserror::Error;

/// A piece of a text; pieces follow each other without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Plain(&'a str),
    /// The name of an environment variable.
    Variable(&'a str),
}

/// A `${` that is no placeholder.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum PlaceholderError {
    #[error("a `${{` is not closed by a `}}`")]
    Unclosed,
    #[error("what stands between `${{` and `}}` is no name of an environment variable")]
    Name,
}

const OPEN: &str = "${";

/// Takes a text apart.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece<'_>>, PlaceholderError> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Plain(before), Piece::Plain(OPEN)]);
            rest = after;
            continue;
        }
        let (name, after) = after.split_once('}').ok_or(PlaceholderError::Unclosed)?;
        if !is_name(name) {
            return Err(PlaceholderError::Name);
        }
        pieces.extend([Piece::Plain(before), Piece::Variable(name)]);
        rest = after;
    }
    pieces.push(Piece::Plain(rest));
    Ok(pieces)
}

fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// Where `${NAME}` stands in `text`, a TOML string as written, which begins at `start`.
pub(super) fn position(text: &str, start: usize, name: &str) -> Option<Range<usize>> {
    let written = format!("${{{name}}}");
    let at = start + text.find(&written)?;
    Some(at..at + written.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_apart_at_placeholders() {
        use Piece::{Plain, Variable};
        let cases: [(&str, &[Piece<'_>]); 5] = [
            ("plain $ {", &[Plain("plain $ {")]),
            ("${A}", &[Plain(""), Variable("A"), Plain("")]),
            (
                "a${A_1}b${_B}",
                &[Plain("a"), Variable("A_1"), Plain("b"), Variable("_B"), Plain("")],
            ),
            ("a$${A}", &[Plain("a"), Plain("${"), Plain("A}")]),
            ("$$${A}", &[Plain("$"), Plain("${"), Plain("A}")]),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_placeholder_is_closed_and_names_a_variable() {
        assert_eq!(pieces("a ${A"), Err(PlaceholderError::Unclosed));
        for text in ["${}", "${1A}", "${A-B}", "${A B}", "${ä}", "${A:-x}"] {
            assert_eq!(pieces(text), Err(PlaceholderError::Name), "{text}");
        }
    }
}
