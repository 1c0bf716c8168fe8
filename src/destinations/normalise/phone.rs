//! Phone numbers, read with the numbering plans of `libphonenumber`.
//!
//! The normal form is E.164 with its `+` for every platform; those that hash the digits alone take the
//! `+` off at the edge, so that a stored number still says that it is international.

use rlibphonenumber::enums::Region;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat};

use super::{Normalised, countries, hashed_before};

const NO_COUNTRY: &str = "no country code";
const NOT_A_NUMBER: &str = "not a phone number";

/// E.164, such as `+16505550188`; national numbers are read by the plan of the country.
pub(in crate::destinations) fn e164(text: &str, country: Option<&str>) -> Normalised {
    match hashed_before(text) {
        Some(hash) => Ok(hash),
        None => Ok(number(text, country)?.format_as(PhoneNumberFormat::E164).into_owned()),
    }
}

/// What platforms hash that want digits only: Meta, Snap.
pub(in crate::destinations) fn digits(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

fn number(text: &str, country: Option<&str>) -> Result<PhoneNumber, &'static str> {
    if !text.chars().any(char::is_numeric) {
        return Err(NOT_A_NUMBER);
    }
    if let Some(international) = international(text) {
        return parsed(&international, None).ok_or(NOT_A_NUMBER);
    }
    let country = country.and_then(countries::code);
    let region = country.and_then(|country| Region::from_code(country).ok()).ok_or(NO_COUNTRY)?;
    PHONE_NUMBER_UTIL.get_country_code_for_region(region).ok_or(NO_COUNTRY)?;
    parsed(text, Some(region)).ok_or(NOT_A_NUMBER)
}

/// The number with `+` in front, where it says itself that it is international: by a `+` or by `00`,
/// the prefix of most countries.
fn international(text: &str) -> Option<String> {
    let text = text.trim_start();
    let text = text.strip_prefix("tel:").unwrap_or(text);
    let start = text.trim_start_matches(|character: char| {
        character.is_whitespace() || matches!(character, '(' | '[' | '\'' | '"')
    });
    if start.starts_with(['+', '\u{ff0b}']) {
        return Some(start.to_owned());
    }
    let rest = start.strip_prefix("00")?;
    Some(format!("+{}", rest.trim_start_matches('0')))
}

fn parsed(text: &str, region: Option<Region>) -> Option<PhoneNumber> {
    let number = PHONE_NUMBER_UTIL.parse(text, region).ok()?;
    PHONE_NUMBER_UTIL.is_possible_number(&number).then_some(number)
}
