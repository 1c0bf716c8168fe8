//! Where somebody lives: cities, states, postal codes and countries.

use super::person::is_punctuation;
use super::{Normalised, hashed_before};

const NOT_A_COUNTRY: &str = "not a two-letter country code";
const NO_POSTAL_CODE: &str = "no postal code";

/// Letters a to z in lower case, nothing else: Meta.
pub(in crate::destinations) fn meta_city(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let letters = text.chars().filter(char::is_ascii_alphabetic);
    let city = letters.collect::<String>().to_ascii_lowercase();
    if city.is_empty() { Err("no letter from a to z") } else { Ok(city) }
}

/// In lower case without white space, digits and punctuation, letters of every script kept: Meta's
/// events, which read cities otherwise than its lists do.
pub(in crate::destinations) fn meta_event_city(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let odd = |character: char| {
        character.is_whitespace() || character.is_numeric() || is_punctuation(character)
    };
    let city = text.chars().filter(|character| !odd(*character)).collect::<String>().to_lowercase();
    if city.is_empty() { Err("no letter") } else { Ok(city) }
}

/// The two-letter code of a state of the US; elsewhere in lower case without white space and
/// punctuation: Meta.
pub(in crate::destinations) fn meta_state(text: &str, country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let kept = |character: &char| !character.is_whitespace() && !is_punctuation(*character);
    let state = text.chars().filter(kept).collect::<String>().to_lowercase();
    if state.is_empty() {
        return Err("no state");
    }
    let code = STATES.iter().find(|(name, _)| *name == state).map(|(_, code)| *code);
    match code.filter(|_| is_country(country, "us")) {
        Some(code) => Ok(code.to_owned()),
        None => Ok(state),
    }
}

/// In lower case without white space, and without what follows a hyphen; five digits in the US; in the
/// United Kingdom area, district and sector: Meta.
pub(in crate::destinations) fn meta_zip(text: &str, country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let code: String = text.split_whitespace().collect::<String>().to_lowercase();
    let code = code.split('-').next().unwrap_or_default();
    let shorter = if is_country(country, "us") {
        code.get(..5)
    } else if is_country(country, "gb") {
        sector(code)
    } else {
        None
    };
    match shorter.unwrap_or(code) {
        "" => Err(NO_POSTAL_CODE),
        code => Ok(code.to_owned()),
    }
}

/// `sw1a2aa` up to its sector: without the two letters that follow a digit.
fn sector(code: &str) -> Option<&str> {
    let (sector, unit) = code.split_at_checked(code.len().checked_sub(2)?)?;
    let is_unit = unit.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_unit && sector.ends_with(|last: char| last.is_ascii_digit())).then_some(sector)
}

/// ISO 3166 with two letters in lower case: Meta.
pub(in crate::destinations) fn meta_country(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    country_code(text).map(str::to_ascii_lowercase)
}

/// The same in upper case: Google.
pub(in crate::destinations) fn google_country(text: &str, _country: Option<&str>) -> Normalised {
    country_code(text).map(str::to_ascii_uppercase)
}

/// As it is, trimmed: Google.
pub(in crate::destinations) fn google_postal_code(
    text: &str,
    _country: Option<&str>,
) -> Normalised {
    match text.trim() {
        "" => Err(NO_POSTAL_CODE),
        code => Ok(code.to_owned()),
    }
}

fn country_code(text: &str) -> Result<&str, &'static str> {
    let code = text.trim();
    let is_code = code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
    if is_code { Ok(code) } else { Err(NOT_A_COUNTRY) }
}

fn is_country(country: Option<&str>, code: &str) -> bool {
    country.is_some_and(|country| country.trim().eq_ignore_ascii_case(code))
}

/// The states of the US as they are written here, and the District of Columbia.
const STATES: [(&str, &str); 51] = [
    ("alabama", "al"),
    ("alaska", "ak"),
    ("arizona", "az"),
    ("arkansas", "ar"),
    ("california", "ca"),
    ("colorado", "co"),
    ("connecticut", "ct"),
    ("delaware", "de"),
    ("districtofcolumbia", "dc"),
    ("florida", "fl"),
    ("georgia", "ga"),
    ("hawaii", "hi"),
    ("idaho", "id"),
    ("illinois", "il"),
    ("indiana", "in"),
    ("iowa", "ia"),
    ("kansas", "ks"),
    ("kentucky", "ky"),
    ("louisiana", "la"),
    ("maine", "me"),
    ("maryland", "md"),
    ("massachusetts", "ma"),
    ("michigan", "mi"),
    ("minnesota", "mn"),
    ("mississippi", "ms"),
    ("missouri", "mo"),
    ("montana", "mt"),
    ("nebraska", "ne"),
    ("nevada", "nv"),
    ("newhampshire", "nh"),
    ("newjersey", "nj"),
    ("newmexico", "nm"),
    ("newyork", "ny"),
    ("northcarolina", "nc"),
    ("northdakota", "nd"),
    ("ohio", "oh"),
    ("oklahoma", "ok"),
    ("oregon", "or"),
    ("pennsylvania", "pa"),
    ("rhodeisland", "ri"),
    ("southcarolina", "sc"),
    ("southdakota", "sd"),
    ("tennessee", "tn"),
    ("texas", "tx"),
    ("utah", "ut"),
    ("vermont", "vt"),
    ("virginia", "va"),
    ("washington", "wa"),
    ("westvirginia", "wv"),
    ("wisconsin", "wi"),
    ("wyoming", "wy"),
];
