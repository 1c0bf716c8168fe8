//! A small random world of users, and what its models mean: computed here in plain Rust from the
//! rows, never by the program under test.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use crate::project::TempProject;
use crate::remote::{Facts, Remote};

const IDS: u32 = 24;
const ADDRESSES: u32 = 10;
const TIERS: [&str; 3] = ["base", "silver", "gold"];

const BOTH: &str = r#""single", "batched""#;

/// How the tables lie on disk.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Format {
    Csv,
    Ndjson,
}

/// Which models a destination gets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Diet {
    /// `active`, `scores` as identify; `high` and `points` as track.
    Single,
    /// `active`, `scores` as identify; `seats` as group.
    Batched,
}

#[derive(Debug, Clone)]
pub struct World {
    users: BTreeMap<String, User>,
}

#[derive(Debug, Clone)]
struct User {
    active: bool,
    score: Option<i64>,
    tier: &'static str,
    account: u32,
    /// Address and the day it was added.
    emails: BTreeMap<String, u32>,
}

impl World {
    /// One user who never leaves, so that a table always has a row to take its types from, and some
    /// who may.
    pub fn new(random: &mut StdRng) -> Self {
        let anchor = User {
            active: false,
            score: Some(1),
            tier: TIERS[0],
            account: 0,
            emails: [("anchor@example.com".to_owned(), 1)].into(),
        };
        let mut world = Self { users: [("anchor".to_owned(), anchor)].into() };
        world.change(random);
        world
    }

    /// Users enter, leave, change their values, gain, lose and share emails.
    pub fn change(&mut self, random: &mut StdRng) {
        for number in 0..IDS {
            let id = format!("u{number:02}");
            match random.random_range(0..10) {
                0 => drop(self.users.remove(&id)),
                1..=4 => {
                    let user = self.users.entry(id).or_insert_with(|| User::new(random));
                    user.change(random);
                }
                _ => {}
            }
        }
    }

    pub fn write(&self, project: &TempProject, format: Format) {
        match format {
            Format::Csv => project
                .table_csv("users", &self.users_csv())
                .table_csv("emails", &self.emails_csv()),
            Format::Ndjson => project
                .table_ndjson("users", &self.users_ndjson())
                .table_ndjson("emails", &self.emails_ndjson()),
        };
    }

    fn users_csv(&self) -> String {
        let mut text = "user_id,active,score,tier,account_id\n".to_owned();
        for (id, User { active, score, tier, account, .. }) in &self.users {
            let score = score.map(|score| score.to_string()).unwrap_or_default();
            writeln!(text, "{id},{},{score},{tier},a{account}", u8::from(*active)).unwrap();
        }
        text
    }

    fn users_ndjson(&self) -> String {
        lines(self.users.iter().map(|(id, User { active, score, tier, account, .. })| {
            json!({"user_id": id, "active": u8::from(*active), "score": score, "tier": tier,
                   "account_id": format!("a{account}")})
        }))
    }

    fn emails_csv(&self) -> String {
        let mut text = "user_id,email,added_at\n".to_owned();
        for (id, email, day) in self.emails() {
            writeln!(text, "{id},{email},2024-01-{day:02}").unwrap();
        }
        text
    }

    fn emails_ndjson(&self) -> String {
        lines(self.emails().map(|(id, email, day)| {
            json!({"user_id": id, "email": email, "added_at": format!("2024-01-{day:02}")})
        }))
    }

    fn emails(&self) -> impl Iterator<Item = (&str, &str, u32)> {
        self.users.iter().flat_map(|(id, user)| {
            user.emails.iter().map(move |(email, day)| (id.as_str(), email.as_str(), *day))
        })
    }

    /// What the models say about the present rows.
    pub fn facts(&self, diet: Diet) -> Facts {
        let mut facts = Facts::new();
        let mut seats = BTreeMap::<u32, u32>::new();
        for (id, user) in &self.users {
            for (fact, value) in user.facts(diet) {
                facts.insert((format!("user {id}"), fact.to_owned()), value);
            }
            *seats.entry(user.account).or_default() += 1;
        }
        if diet == Diet::Batched {
            for (account, seats) in seats {
                facts.insert((format!("group a{account}"), "group seats".into()), json!(seats));
            }
        }
        facts
    }

    /// What is wrong with what the destination believes: each fact that differs, as text.
    pub fn differences(&self, diet: Diet, remote: &Remote) -> Vec<String> {
        let (expected, found) = (self.facts(diet), remote.facts());
        let mut keys: Vec<_> = expected.keys().chain(found.keys()).collect();
        keys.sort();
        keys.dedup();
        let subject_wide = keys
            .into_iter()
            .filter(|key| expected.get(key) != found.get(*key))
            .map(|key| format!("{key:?}: sql {:?}, sink {:?}", expected.get(key), found.get(key)));
        subject_wide.chain(self.differences_by_email(diet, remote)).collect()
    }

    /// Every present email of a user must have come with every present fact.
    fn differences_by_email(&self, diet: Diet, remote: &Remote) -> Vec<String> {
        let mut differences = Vec::new();
        for (id, user) in &self.users {
            let emails: Vec<_> = match user.emails.is_empty() {
                true => vec![None],
                false => user.emails.keys().map(|email| Some(email.as_str())).collect(),
            };
            for (email, (fact, value)) in emails
                .iter()
                .flat_map(|email| user.facts(diet).into_iter().map(move |f| (email, f)))
            {
                let found = remote.fact_of(&format!("user {id}"), *email, fact);
                if found != Some(&value) {
                    differences.push(format!("{id} {email:?} {fact}: sql {value}, sink {found:?}"));
                }
            }
        }
        differences
    }
}

impl User {
    fn new(random: &mut StdRng) -> Self {
        Self {
            active: random.random(),
            score: Some(random.random_range(0..100)),
            tier: TIERS[0],
            account: random.random_range(0..4),
            emails: BTreeMap::new(),
        }
    }

    /// Few distinct values, so that a user often returns to an earlier one.
    fn change(&mut self, random: &mut StdRng) {
        match random.random_range(0..6) {
            0 => self.active = !self.active,
            1 => self.score = random.random_bool(0.8).then(|| random.random_range(0..4) * 30),
            2 => self.tier = TIERS.choose(random).unwrap(),
            3 => self.account = random.random_range(0..4),
            4 => drop(self.emails.pop_first()),
            _ => {
                let email = format!("shared{}@example.com", random.random_range(0..ADDRESSES));
                self.emails.entry(email).or_insert_with(|| random.random_range(1..29));
            }
        }
    }

    /// The facts of [`models`], for this user. Absent means null or not a member.
    fn facts(&self, diet: Diet) -> Vec<(&'static str, Value)> {
        let mut facts = vec![("identify tier", json!(self.tier))];
        if self.active {
            facts.push(("identify active", json!(true)));
        }
        if let Some(score) = self.score {
            facts.push(("identify score", json!(score)));
            if diet == Diet::Single {
                facts.push(("track points", json!(score * 2)));
            }
        }
        if diet == Diet::Single && self.score.is_some_and(|score| score >= 50) {
            facts.push(("track high", json!(true)));
        }
        facts
    }
}

/// Writes the models for destinations called `single` and `batched`.
pub fn models(project: &TempProject) {
    let account = "SELECT account_id, count(*) AS seats FROM users GROUP BY account_id";
    let points = "SELECT user_id, score * 2 AS points FROM users WHERE score IS NOT NULL";
    project
        .identifiers("SELECT user_id, 'email' AS type, email AS value, added_at FROM emails")
        .audience("active", BOTH, "SELECT user_id FROM users WHERE active = 1")
        .trait_model("scores", BOTH, "SELECT user_id, score, tier FROM users")
        .audience(
            "high",
            r#"{ to = "single", as = "track" }"#,
            "SELECT user_id FROM traits.scores WHERE score >= 50",
        )
        .trait_model("points", r#"{ to = "single", as = "track" }"#, points)
        .trait_model("seats", r#""batched""#, account);
}

fn lines(rows: impl Iterator<Item = Value>) -> String {
    rows.fold(String::new(), |text, row| format!("{text}{row}\n"))
}
