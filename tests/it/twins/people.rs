//! A small random world of people, as rows of tables; what models mean by them is said in plain Rust.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::project::TempProject;

const IDS: u32 = 24;
const ADDRESSES: u32 = 10;
const PHONES: u32 = 8;
const TIERS: [&str; 3] = ["base", "silver", "gold"];

#[derive(Debug, Clone)]
pub struct People(pub BTreeMap<String, Person>);

#[derive(Debug, Clone)]
pub struct Person {
    pub active: bool,
    pub score: Option<i64>,
    pub tier: &'static str,
    pub account: u32,
    pub phone: Option<String>,
    /// Address in lower case and the day it was added.
    pub emails: BTreeMap<String, u32>,
}

impl People {
    /// One person who never leaves, so that a table always has a row to take its types from, and some
    /// who may.
    pub fn new(random: &mut StdRng) -> Self {
        let anchor = Person {
            active: true,
            score: Some(90),
            tier: TIERS[0],
            account: 0,
            phone: Some("+14155550199".into()),
            emails: [("anchor@example.com".to_owned(), 1)].into(),
        };
        let mut people = Self([("anchor".to_owned(), anchor)].into());
        people.change(random);
        people
    }

    /// People enter, vanish, change their traits and phones, gain, lose and share emails.
    pub fn change(&mut self, random: &mut StdRng) {
        for number in 0..IDS {
            let id = format!("u{number:02}");
            match random.random_range(0..10) {
                0 => drop(self.0.remove(&id)),
                1..=4 => {
                    self.0.entry(id).or_insert_with(|| Person::new(random)).change(random);
                }
                _ => {}
            }
        }
    }

    pub fn write(&self, project: &TempProject) {
        let users = self.0.iter().map(|(id, person)| {
            json!({"user_id": id, "name": name(id), "active": person.active, "score": person.score,
                   "tier": person.tier, "account_id": format!("a{}", person.account),
                   "phone": person.phone})
        });
        let emails = self.0.iter().flat_map(|(id, person)| {
            person.emails.iter().map(move |(email, day)| {
                json!({"user_id": id, "email": written(id, email),
                       "added_at": format!("2024-01-{day:02}")})
            })
        });
        project.table_ndjson("users", &lines(users)).table_ndjson("emails", &lines(emails));
    }

    pub fn active(&self) -> BTreeSet<&str> {
        let active = self.0.iter().filter(|(_, person)| person.active);
        active.map(|(id, _)| id.as_str()).collect()
    }

    /// The users of the accounts of [`rich_accounts`].
    pub fn rich(&self) -> BTreeSet<&str> {
        let mut sums = BTreeMap::<u32, i64>::new();
        for person in self.0.values() {
            *sums.entry(person.account).or_default() += person.score.unwrap_or(0);
        }
        let rich = self.0.iter().filter(|(_, person)| sums[&person.account] >= RICH);
        rich.map(|(id, _)| id.as_str()).collect()
    }

    /// What the models of users say, by user; absent is NULL or no member.
    pub fn facts(&self) -> BTreeMap<(String, String), Value> {
        let facts = self.0.iter().flat_map(|(id, person)| {
            person.facts().into_iter().map(|(key, value)| ((id.clone(), key.to_owned()), value))
        });
        facts.collect()
    }

    /// The same by address: of several owners the latest decides, and one active one is enough.
    pub fn facts_by_email(&self) -> BTreeMap<(String, String), Value> {
        let mut facts = BTreeMap::new();
        for (email, owners) in self.owners() {
            let key = |name: &str| (email.to_owned(), name.to_owned());
            let (_, latest) = owners[0];
            let said = latest.facts().into_iter().filter(|(name, _)| *name != "active");
            facts.extend(said.map(|(name, value)| (key(name), value)));
            if owners.iter().any(|(_, person)| person.active) {
                facts.insert(key("active"), json!(true));
            }
        }
        facts
    }

    /// Which addresses belong to somebody of [`HIGH`].
    pub fn high_by_email(&self) -> BTreeMap<(String, String), Value> {
        let is_high = |owners: &[(&str, &Person)]| {
            owners.iter().any(|(_, person)| person.score.is_some_and(|score| score >= 60))
        };
        let owners = self.owners().into_iter().filter(|(_, owners)| is_high(owners));
        owners.map(|(email, _)| ((email.to_owned(), "high".to_owned()), json!(true))).collect()
    }

    /// What [`SEATS`] says of accounts.
    pub fn seats(&self) -> BTreeMap<(String, String), Value> {
        let mut seats = BTreeMap::<u32, u32>::new();
        for person in self.0.values() {
            *seats.entry(person.account).or_default() += 1;
        }
        let seats = seats.into_iter();
        seats
            .map(|(account, seats)| ((format!("a{account}"), "seats".into()), json!(seats)))
            .collect()
    }

    /// Every address in lower case with whoever has it, the most recently added first.
    pub fn owners(&self) -> BTreeMap<&str, Vec<(&str, &Person)>> {
        let mut owners = BTreeMap::<&str, Vec<_>>::new();
        for (id, person) in &self.0 {
            for (email, day) in &person.emails {
                owners.entry(email).or_default().push((u32::MAX - day, id.as_str(), person));
            }
        }
        let sorted = owners.into_iter().map(|(email, mut owners)| {
            owners.sort_by_key(|(age, id, _)| (*age, *id));
            (email, owners.into_iter().map(|(_, id, person)| (id, person)).collect())
        });
        sorted.collect()
    }
}

/// From how much on the users of an account are rich together.
const RICH: i64 = 120;

/// What Zendesk asks of everybody.
pub fn name(id: &str) -> String {
    format!("Name of {id}")
}

/// Some write their address in capitals.
fn written(id: &str, email: &str) -> String {
    if id.ends_with(['1', '4', '7']) { email.to_uppercase() } else { email.to_owned() }
}

impl Person {
    fn new(random: &mut StdRng) -> Self {
        Self {
            active: random.random(),
            score: Some(random.random_range(0..4) * 30),
            tier: TIERS[0],
            account: random.random_range(0..6),
            phone: None,
            emails: BTreeMap::new(),
        }
    }

    /// Few distinct values, so that people often return to an earlier one.
    fn change(&mut self, random: &mut StdRng) {
        match random.random_range(0..8) {
            0 => self.active = !self.active,
            1 => self.score = random.random_bool(0.8).then(|| random.random_range(0..4) * 30),
            2 => self.tier = TIERS.choose(random).unwrap(),
            3 => self.account = random.random_range(0..6),
            4 => drop(self.emails.pop_first()),
            5 => {
                let number = random.random_range(0..PHONES);
                self.phone = random.random_bool(0.7).then(|| format!("+1415555{number:04}"));
            }
            _ => {
                let email = format!("shared{}@example.com", random.random_range(0..ADDRESSES));
                self.emails.entry(email).or_insert_with(|| random.random_range(1..29));
            }
        }
    }

    fn facts(&self) -> Vec<(&'static str, Value)> {
        let active = self.active.then_some(("active", json!(true)));
        let score = self.score.map(|score| ("score", json!(score)));
        [("tier", json!(self.tier))].into_iter().chain(active).chain(score).collect()
    }

    /// The most recently added address, the first of several of one day.
    pub fn last_email(&self) -> Option<&str> {
        let by_age = |(email, day): &(&String, &u32)| (u32::MAX - **day, (*email).clone());
        self.emails.iter().min_by_key(by_age).map(|(email, _)| email.as_str())
    }
}

/// Who the people are, beside what is said of them.
pub fn identities(project: &TempProject) {
    project
        .identifiers(
            "SELECT user_id, 'email' AS type, email AS value, added_at FROM emails\n\
             UNION ALL SELECT user_id, 'phone', phone, NULL FROM users WHERE phone IS NOT NULL",
        )
        .file("queries/profiles.sql", "SELECT user_id, name, user_id AS last_name FROM users")
        .file("queries/account_members.sql", "SELECT account_id, user_id FROM users");
}

/// An audience of users.
pub const ACTIVE: &str = "SELECT user_id FROM users WHERE active";

/// An audience of accounts.
pub fn rich_accounts() -> String {
    format!("SELECT account_id FROM users GROUP BY 1 HAVING sum(coalesce(score, 0)) >= {RICH}")
}

/// Two traits of users, one of them NULL at times.
pub const SCORES: &str = "SELECT user_id, score, tier FROM users";

/// Another audience of users.
pub const HIGH: &str = "SELECT user_id FROM users WHERE score >= 60";

/// A trait of accounts.
pub const SEATS: &str = "SELECT account_id, count(*) AS seats FROM users GROUP BY 1";

/// In hexadecimal.
pub fn sha256(plain: &str) -> String {
    Sha256::digest(plain).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lines(rows: impl Iterator<Item = Value>) -> String {
    rows.fold(String::new(), |text, row| format!("{text}{row}\n"))
}

/// What records hold, by record and field; what is false or empty is not known.
pub fn known(records: &BTreeMap<String, Map<String, Value>>) -> BTreeMap<(String, String), Value> {
    let facts = records.iter().flat_map(|(id, fields)| {
        fields.iter().map(move |(key, value)| ((id.clone(), key.clone()), value.clone()))
    });
    facts.filter(|(_, value)| !value.is_null() && *value != Value::Bool(false)).collect()
}

/// Each key that differs between two maps, as text.
pub fn compared<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    sql: &BTreeMap<K, V>,
    vendor: &BTreeMap<K, V>,
) -> Vec<String> {
    let keys: BTreeSet<&K> = sql.keys().chain(vendor.keys()).collect();
    keys.into_iter()
        .filter(|key| sql.get(key) != vendor.get(key))
        .map(|key| format!("{key:?}: sql {:?}, vendor {:?}", sql.get(key), vendor.get(key)))
        .collect()
}
