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

/// In lower case without titles such as `Mrs.`: Google, whose libraries keep punctuation.
pub(in crate::destinations) fn google_given_name(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let lower = text.trim().to_lowercase();
    let is_title = |word: &&str| matches!(*word, "mr." | "mrs." | "ms." | "dr.");
    let words: Vec<&str> = lower.split(' ').filter(|word| !is_title(word)).collect();
    google_name(words.join(" ").trim())
}

/// In lower case without what follows a name, such as `Jr.`: Google.
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
    google_name(name)
}

fn google_name(name: &str) -> Normalised {
    if name.chars().all(|character| character.is_whitespace() || is_punctuation(character)) {
        return Err(NO_NAME);
    }
    Ok(name.to_owned())
}

/// What Google's reference of its API asks for, unlike its libraries: no punctuation.
pub(in crate::destinations) fn google_unpunctuated(name: &str) -> String {
    let name: String = name.chars().filter(|character| !is_punctuation(*character)).collect();
    name.trim().to_owned()
}

/// `m` or `f`, of the words for them that Meta's library reads.
pub(in crate::destinations) fn gender(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    match text.trim().to_lowercase().trim_end_matches('.') {
        "m" | "male" | "man" | "boy" | "mr" | "mister" | "he" => Ok("m".into()),
        "f" | "female" | "woman" | "girl" | "mrs" | "ms" | "miss" | "she" => Ok("f".into()),
        _ => Err("neither `m` nor `f`"),
    }
}

/// `YYYY-MM-DD`, of which platforms hash the parts. Year first or last; which of the other two is the
/// month is not guessed where both could be.
pub(in crate::destinations) fn date_of_birth(text: &str, _country: Option<&str>) -> Normalised {
    let numbers = |text: &str| -> Vec<u32> {
        let parts = text.split(|character: char| !character.is_ascii_digit());
        parts.filter_map(|part| part.parse().ok()).collect()
    };
    let text = text.trim();
    let whole = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let written = match text.split_at_checked(4).filter(|_| whole) {
        Some((year, rest)) => format!("{year}-{}-{}", &rest[..2], &rest[2..]),
        None => text.to_owned(),
    };
    let (year, month, day) = match numbers(&written)[..] {
        [year, month, day, ..] if year > 31 && month <= 12 => (year, month, day),
        [one, other, year, ..] if other > 12 || one == other => (year, one, other),
        [day, month, year, ..] if day > 12 && day <= 31 => (year, month, day),
        [one, other, year, ..] if one <= 12 && other <= 12 && year > 31 => {
            return Err("a date whose day and month cannot be told apart");
        }
        _ => return Err(NOT_A_DATE),
    };
    let date = i32::try_from(year).ok().filter(|year| (1800..2200).contains(year));
    let date = date.and_then(|year| chrono::NaiveDate::from_ymd_opt(year, month, day));
    date.map(|date| date.format("%Y-%m-%d").to_string()).ok_or(NOT_A_DATE)
}

const NOT_A_DATE: &str = "not a date such as 1987-12-31";

const SUFFIXES: [&str; 17] = [
    "jr.", "jr", "sr.", "sr", "2nd", "3rd", "ii", "iii", "iv", "v", "vi", "cpa", "dc", "dds", "jd",
    "md", "phd",
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

/// That of ASCII, and what keyboards and typesetters put in its place: an apostrophe may be a quotation
/// mark or an accent. Marks of other scripts stay, as they do with Meta.
pub(super) fn is_punctuation(character: char) -> bool {
    character.is_ascii_punctuation()
        || matches!(
            character,
            '\u{ab}' | '\u{b4}' | '\u{bb}' | '\u{2bc}' | '\u{2212}'
                | '\u{2010}'..='\u{2015}'
                | '\u{2018}'..='\u{201f}'
                | '\u{2024}'..='\u{2026}'
                | '\u{2032}'..='\u{203a}'
                | '\u{ff01}'..='\u{ff0f}'
                | '\u{ff1a}'..='\u{ff20}'
                | '\u{ff3b}'..='\u{ff40}'
                | '\u{ff5b}'..='\u{ff5e}'
        )
}

fn named(name: String) -> Normalised {
    if name.is_empty() { Err(NO_NAME) } else { Ok(name) }
}
