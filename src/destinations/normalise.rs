//! How each platform wants to be told who somebody is: identifiers in its own normal form, and their
//! hashes.
//!
//! No two platforms agree, so no rule is shared but where the platforms share it; each function says
//! which ones follow it. What it promises: normalising twice changes nothing; a value that already is
//! a SHA-256 in hexadecimal is recognised, never hashed again; what cannot be used is refused with a
//! reason that does not quote it. The hash is made at the edge, when a request is written.
//!
//! It never guesses: a national phone number without a country is refused, not completed.

mod countries;
mod person;
mod phone;
mod place;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::Md5;
use sha2::{Digest as _, Sha256};

pub(super) use person::{
    date_of_birth, gender, google_family_name, google_given_name, google_unpunctuated, meta_name,
};
pub(super) use phone::{digits, e164};
pub(super) use place::{
    google_country, google_postal_code, meta_city, meta_country, meta_state, meta_zip,
};

use crate::digest::hex;

/// A value in a platform's normal form, or why it cannot be used there.
pub(super) type Normalised = Result<String, &'static str>;

pub(super) const NOT_AN_EMAIL: &str = "not an email address";
const NOT_AN_ADVERTISING_ID: &str = "not an advertising id";

/// SHA-256 in lower-case hexadecimal; a value that already is one stays as it is.
pub(super) fn sha256(normalised: &str) -> String {
    if is_hash(normalised) {
        return normalised.to_ascii_lowercase();
    }
    hex(&Sha256::digest(normalised.as_bytes()))
}

/// SHA-256 in base 64, of its bytes; a value that already is one in hexadecimal is only rewritten.
#[allow(dead_code, reason = "the form of The Trade Desk, and the other one that Google takes")]
pub(super) fn sha256_base64(normalised: &str) -> String {
    let digits = sha256(normalised);
    let bytes = digits.as_bytes().as_chunks::<2>().0.iter().map(|pair| {
        let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap_or_default();
        u8::try_from(nibble(pair[0]) << 4 | nibble(pair[1])).unwrap_or_default()
    });
    STANDARD.encode(bytes.collect::<Vec<u8>>())
}

/// MD5 in lower-case hexadecimal.
#[allow(dead_code, reason = "Mailchimp's keys and TikTok's other hash")]
pub(super) fn md5(normalised: &str) -> String {
    hex(&Md5::digest(normalised.as_bytes()))
}

/// Whether a value is a SHA-256 already: exactly 64 hexadecimal digits.
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What a value is where it is a hash already.
fn hashed_before(text: &str) -> Option<String> {
    let text = text.trim();
    is_hash(text).then(|| text.to_ascii_lowercase())
}

/// As [`email`], and without dots around it, which its library for audiences trims as well: Meta.
pub(super) fn meta_email(text: &str, country: Option<&str>) -> Normalised {
    let odd = |character: char| character.is_whitespace() || matches!(character, '.' | '\0');
    email(text.trim_matches(odd), country)
}

/// Trimmed and in lower case, dots and tags kept: Snap, Pinterest.
pub(super) fn email(text: &str, _country: Option<&str>) -> Normalised {
    hashed_before(text).map_or_else(|| plausible(text.trim().to_lowercase()), Ok)
}

/// Without any white space and in lower case, dots and tags kept: TikTok, LinkedIn.
pub(super) fn email_without_spaces(text: &str, _country: Option<&str>) -> Normalised {
    let spaceless = || text.split_whitespace().collect::<String>().to_lowercase();
    hashed_before(text).map_or_else(|| plausible(spaceless()), Ok)
}

/// As [`email_without_spaces`], and without dots and tags where the mailbox is Gmail's, under either
/// of its names: Google.
pub(super) fn google_email(text: &str, country: Option<&str>) -> Normalised {
    let address = email_without_spaces(text, country)?;
    let Some((mailbox, domain @ ("gmail.com" | "googlemail.com"))) = address.split_once('@') else {
        return Ok(address);
    };
    let mailbox = mailbox.split('+').next().unwrap_or_default().replace('.', "");
    plausible(format!("{mailbox}@{domain}"))
}

/// One `@` between something and a domain; nothing that no address holds, as lists of several and names
/// beside it.
fn plausible(address: String) -> Normalised {
    let parts = address.split_once('@').filter(|(_, domain)| !domain.contains('@'));
    let is_domain =
        |domain: &str| domain.contains('.') && domain.split('.').all(|label| !label.is_empty());
    let odd = |character: char| {
        let separates = matches!(character, '<' | '>' | '(' | ')' | ',' | ';' | ':');
        separates || character.is_whitespace() || character.is_control()
    };
    match parts {
        Some((mailbox, domain))
            if !mailbox.is_empty() && is_domain(domain) && !address.contains(odd) =>
        {
            Ok(address)
        }
        _ => Err(NOT_AN_EMAIL),
    }
}

/// IDFA or Google advertising id in lower case with its hyphens, or its hash: platforms that take it
/// hashed.
pub(super) fn advertising_id(text: &str, country: Option<&str>) -> Normalised {
    hashed_before(text).map_or_else(|| plain_advertising_id(text, country), Ok)
}

/// The same for platforms that take it plain, to whom a hash says nothing.
pub(super) fn plain_advertising_id(text: &str, _country: Option<&str>) -> Normalised {
    let id = text.trim().to_ascii_lowercase();
    if is_hash(&id) {
        return Err("a hashed advertising id, where only plain ones are taken");
    }
    let parts: Vec<&str> = id.split('-').collect();
    let lengths = parts.iter().map(|part| part.len());
    let is_hexadecimal = |part: &&str| part.bytes().all(|byte: u8| byte.is_ascii_hexdigit());
    if !lengths.eq([8, 4, 4, 4, 12]) || !parts.iter().all(is_hexadecimal) {
        return Err(NOT_AN_ADVERTISING_ID);
    }
    // What phones say whose owner has switched it off: the same for all of them.
    if id.bytes().all(|byte| matches!(byte, b'0' | b'-')) {
        return Err("an advertising id that is switched off (all zeros)");
    }
    Ok(id)
}

/// As [`email`], for platforms to whom a hash says nothing.
pub(super) fn plain_email(text: &str, country: Option<&str>) -> Normalised {
    email(text, country)
        .and_then(|email| plain(email, "a hashed email, where only plain ones are taken"))
}

/// E.164, for platforms to whom a hash says nothing.
pub(super) fn plain_e164(text: &str, country: Option<&str>) -> Normalised {
    let hashed = "a hashed phone number, where only plain ones are taken";
    e164(text, country).and_then(|number| plain(number, hashed))
}

fn plain(normalised: String, hashed: &'static str) -> Normalised {
    if is_hash(&normalised) { Err(hashed) } else { Ok(normalised) }
}

/// An id of our own, as it is.
pub(super) fn identifier(text: &str, _country: Option<&str>) -> Normalised {
    match text.trim() {
        "" => Err("empty"),
        id => Ok(id.to_owned()),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vendors;
