//! Where somebody lives: cities, states, postal codes and countries.

use super::person::is_punctuation;
use super::{Normalised, countries, hashed_before};

const NOT_A_COUNTRY: &str = "not a country";
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

/// The two-letter code of a state of the US or of a province of Canada; elsewhere in lower case without
/// white space and punctuation: Meta. Where the country is not known, those names are taken to be what
/// they are there.
pub(in crate::destinations) fn meta_state(text: &str, country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    let kept = |character: &char| !character.is_whitespace() && !is_punctuation(*character);
    let state = text.chars().filter(kept).collect::<String>().to_lowercase();
    if state.is_empty() {
        return Err("no state");
    }
    let country = country.and_then(countries::code);
    let known: &[&[(&str, &str)]] = match country {
        Some("us") => &[&STATES],
        Some("ca") => &[&PROVINCES],
        None => &[&STATES, &PROVINCES],
        Some(_) => &[],
    };
    match known.iter().copied().flatten().find(|(name, _)| *name == state) {
        Some((_, code)) => Ok((*code).to_owned()),
        None if country == Some("us") && !is_code(&state) => Err("not a state of the US"),
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
    let shorter = match country.and_then(countries::code) {
        Some("us") => code.get(..5),
        Some("gb") => sector(code),
        _ => None,
    };
    match shorter.unwrap_or(code) {
        // What is left of such as `D-80331`.
        code if code.len() < 2 => Err(NO_POSTAL_CODE),
        code => Ok(code.to_owned()),
    }
}

/// `sw1a2aa` up to its sector: without the two letters that follow a digit.
fn sector(code: &str) -> Option<&str> {
    let (sector, unit) = code.split_at_checked(code.len().checked_sub(2)?)?;
    let is_unit = unit.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_unit && sector.ends_with(|last: char| last.is_ascii_digit())).then_some(sector)
}

/// ISO 3166 with two letters in lower case, of codes and of names: Meta.
pub(in crate::destinations) fn meta_country(text: &str, _country: Option<&str>) -> Normalised {
    if let Some(hash) = hashed_before(text) {
        return Ok(hash);
    }
    countries::code(text).map(str::to_owned).ok_or(NOT_A_COUNTRY)
}

/// The same in upper case: Google.
pub(in crate::destinations) fn google_country(text: &str, _country: Option<&str>) -> Normalised {
    countries::code(text).map(str::to_ascii_uppercase).ok_or(NOT_A_COUNTRY)
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

fn is_code(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// The provinces and territories of Canada, and how one is written in French.
const PROVINCES: [(&str, &str); 14] = [
    ("alberta", "ab"),
    ("britishcolumbia", "bc"),
    ("manitoba", "mb"),
    ("newbrunswick", "nb"),
    ("newfoundlandandlabrador", "nl"),
    ("northwestterritories", "nt"),
    ("novascotia", "ns"),
    ("nunavut", "nu"),
    ("ontario", "on"),
    ("princeedwardisland", "pe"),
    ("quebec", "qc"),
    ("qu\u{e9}bec", "qc"),
    ("saskatchewan", "sk"),
    ("yukon", "yt"),
];

/// The states of the US as they are written here, the District of Columbia and the territories.
const STATES: [(&str, &str); 56] = [
    ("alabama", "al"),
    ("alaska", "ak"),
    ("americansamoa", "as"),
    ("arizona", "az"),
    ("arkansas", "ar"),
    ("california", "ca"),
    ("colorado", "co"),
    ("connecticut", "ct"),
    ("delaware", "de"),
    ("districtofcolumbia", "dc"),
    ("florida", "fl"),
    ("georgia", "ga"),
    ("guam", "gu"),
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
    ("northernmarianaislands", "mp"),
    ("ohio", "oh"),
    ("oklahoma", "ok"),
    ("oregon", "or"),
    ("pennsylvania", "pa"),
    ("puertorico", "pr"),
    ("rhodeisland", "ri"),
    ("southcarolina", "sc"),
    ("southdakota", "sd"),
    ("tennessee", "tn"),
    ("texas", "tx"),
    ("utah", "ut"),
    ("vermont", "vt"),
    ("virginia", "va"),
    ("virginislands", "vi"),
    ("washington", "wa"),
    ("westvirginia", "wv"),
    ("wisconsin", "wi"),
    ("wyoming", "wy"),
];
