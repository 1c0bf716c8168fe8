//! The two lists that a twin of a list destination is asked to hold: some users, and the users of some
//! accounts.

use std::collections::{BTreeMap, BTreeSet};

use super::people::{ACTIVE, People, Person, compared, rich_accounts, sha256};
use crate::project::TempProject;

/// How the lists are called.
pub const NAMES: [&str; 2] = ["active", "rich"];

/// Somebody as the vendor knows them, and in plain words.
pub type Identity = (String, String);

/// Writes the model of each list.
pub fn models(project: &TempProject) {
    project.audience(NAMES[0], r#""vendor""#, ACTIVE).audience(
        NAMES[1],
        r#""vendor""#,
        &rich_accounts(),
    );
}

/// Who is on a list and should not be, and the other way round; `known_as` says what somebody is on a
/// list by, `held` what is on one.
pub fn differences(
    people: &People,
    known_as: impl Fn(&str, &Person) -> Vec<Identity>,
    held: impl Fn(&str) -> BTreeSet<String>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, ids) in [(NAMES[0], people.active()), (NAMES[1], people.rich())] {
        let identities = ids.iter().flat_map(|id| known_as(id, &people.0[*id]));
        let wanted: BTreeMap<String, String> = identities.collect();
        let plain = |key: &String| wanted.get(key).cloned().unwrap_or_else(|| "nobody".into());
        let found = held(name).into_iter().map(|key| (key.clone(), plain(&key))).collect();
        let told = compared(&wanted, &found).into_iter();
        differences.extend(told.map(|difference| format!("{name}: {difference}")));
    }
    differences
}

pub fn by_id(id: &str, _person: &Person) -> Vec<Identity> {
    vec![(id.to_owned(), id.to_owned())]
}

pub fn by_email(_id: &str, person: &Person) -> Vec<Identity> {
    person.emails.keys().map(|email| (email.clone(), email.clone())).collect()
}

/// By the digests of emails, but for those that the vendor cannot read.
pub fn by_hashed_email(_id: &str, person: &Person) -> Vec<Identity> {
    let hashed = person.emails.keys().map(|email| (sha256(email), email.clone()));
    hashed.filter(|(hash, _)| !is_unreadable(hash)).collect()
}

/// The same, and by the digests of phones with or without their plus.
pub fn by_hashes(person: &Person, plus: bool) -> Vec<Identity> {
    let form = |phone: &str| if plus { phone.into() } else { phone.trim_matches('+').to_owned() };
    let phones = person.phone.iter().map(|phone| (sha256(&form(phone)), phone.clone()));
    let phones = phones.filter(|(hash, _)| !is_unreadable(hash));
    by_hashed_email("", person).into_iter().chain(phones).collect()
}

/// Some digests are of nobody whom the vendor could know.
pub fn is_unreadable(hash: &str) -> bool {
    hash.starts_with('0')
}

/// As every vendor of hashed lists wants it.
pub fn is_hash(text: &str) -> bool {
    text.len() == 64
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
