//! Names, gender and date of birth: what tells people apart only together with where they live.

use super::{Normalised, hashed_before};

const NO_NAME: &str = "no name";

/// In lower case without white space and punctuation, letters of every script kept: Meta.
pub(in crate::destinations) fn meta_name(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let kept = |character: &char| !character.is_whitespace() && !is_punctuation(*character);
    named(text.chars().filter(kept).collect::<String>().to_lowercase())
}

/// In lower case without titles such as `Mrs.` and without punctuation: Google.
pub(in crate::destinations) fn google_given_name(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let lower = text.trim().to_lowercase();
    let is_title = |word: &&str| matches!(*word, "mr." | "mrs." | "ms." | "dr.");
    let words: Vec<&str> = lower.split(' ').filter(|word| !is_title(word)).collect();
    named(unpunctuated(&words.join(" ")))
}

/// In lower case without what follows a name, such as `Jr.`, and without punctuation: Google.
pub(in crate::destinations) fn google_family_name(
    text: &str,
    _country: Option<&str>,
) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let lower = text.trim().to_lowercase();
    let mut name = lower.as_str();
    while let Some(shorter) = without_suffix(name) {
        name = shorter;
    }
    named(unpunctuated(name))
}

/// `m` or `f`.
pub(in crate::destinations) fn gender(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    match text.trim().to_lowercase().as_str() {
        "m" | "male" => Ok("m".into()),
        "f" | "female" => Ok("f".into()),
        _ => Err("neither `m` nor `f`"),
    }
}

/// `YYYY-MM-DD`, of which platforms hash the parts.
pub(in crate::destinations) fn date_of_birth(text: &str, _country: Option<&str>) -> Normalised {
    let date = text.trim().get(..10).unwrap_or_default();
    match chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d") {
        Ok(_) => Ok(date.to_owned()),
        Err(_) => Err("not a date such as 1987-12-31"),
    }
}

const SUFFIXES: [&str; 15] = [
    "jr.", "sr.", "2nd", "3rd", "ii", "iii", "iv", "v", "vi", "cpa", "dc", "dds", "jd", "md", "phd",
];

/// The name before a suffix that a comma or white space sets off.
fn without_suffix(name: &str) -> Option<&str> {
    let name = name.trim_end();
    SUFFIXES.iter().chain(&["vm"]).find_map(|suffix| {
        let before = name.strip_suffix(suffix)?;
        let shorter = before.trim_end().trim_end_matches(',');
        (shorter.len() < before.len()).then_some(shorter)
    })
}

/// Hyphens stay, as Google's own libraries keep them inside of names.
fn unpunctuated(name: &str) -> String {
    let kept = |character: &char| !is_punctuation(*character) || *character == '-';
    let name: String = name.chars().filter(kept).collect();
    name.trim().to_owned()
}

/// That of ASCII, and what keyboards and typesetters put in its place: an apostrophe may be a quotation
/// mark or an accent.
pub(super) fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation()
        || matches!(
            character,
            '\u{a1}' | '\u{a7}' | '\u{ab}' | '\u{b4}' | '\u{b6}' | '\u{b7}' | '\u{bb}' | '\u{bf}'
                | '\u{2010}'..='\u{2027}'
                | '\u{2030}'..='\u{205e}'
                | '\u{3001}'..='\u{3003}'
                | '\u{3008}'..='\u{3011}'
                | '\u{3014}'..='\u{301f}'
                | '\u{30fb}'
                | '\u{ff01}'..='\u{ff0f}'
        )
}

fn named(name: String) -> Normalised {
    if name.is_empty() { Err(NO_NAME) } else { Ok(name) }
}
