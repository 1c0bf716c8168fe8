//! What a destination that understands the canonical messages would hold after what it received: the
//! model against which convergence is judged.
//!
//! A *fact* is one thing known of a subject: `identify score`, `track vip`, `group seats`. The last
//! message wins; `null`, and `false` for an audience, forget. Like real vendors it can drop messages
//! whose `messageId` it has seen.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// `user u1` or `group a1`.
pub type Subject = String;
/// `identify score`, `track vip`, …
pub type Fact = String;
pub type Facts = BTreeMap<(Subject, Fact), Value>;

#[derive(Debug, Clone, Default)]
pub struct Remote {
    /// Drops messages whose id was seen before.
    pub deduplicate: bool,
    facts: Facts,
    by_email: BTreeMap<(Subject, Option<String>, Fact), Value>,
    /// Every message id with the subject it came with, first of all.
    ids: BTreeMap<String, Subject>,
    /// What no message may do.
    violations: BTreeSet<String>,
}

impl Remote {
    pub fn apply(&mut self, message: &Value) {
        let Some((subject, id)) = subject(message).zip(message["messageId"].as_str()) else {
            self.violations.insert(format!("a message without subject or id: {message}"));
            return;
        };
        let known = self.ids.insert(id.to_owned(), subject.clone());
        if let Some(known) = &known
            && *known != subject
        {
            self.violations.insert(format!("message id {id} came with {known} and {subject}"));
        }
        if known.is_some() && self.deduplicate {
            return;
        }
        let learnt = learnt(message);
        if learnt.is_empty() {
            self.violations.insert(format!("a message that says nothing: {message}"));
        }
        for (fact, value) in learnt {
            self.learn(&subject, email(message), fact, value);
        }
    }

    fn learn(&mut self, subject: &str, email: Option<&str>, fact: Fact, value: &Value) {
        let by_email = (subject.to_owned(), email.map(str::to_owned), fact.clone());
        let key = (subject.to_owned(), fact);
        if value.is_null() || *value == Value::Bool(false) {
            self.facts.remove(&key);
            self.by_email.remove(&by_email);
        } else {
            self.facts.insert(key, value.clone());
            self.by_email.insert(by_email, value.clone());
        }
    }

    /// What is known of each subject, whichever email it came with.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What is known of a subject under one of its emails.
    pub fn fact_of(&self, subject: &str, email: Option<&str>, fact: &str) -> Option<&Value> {
        self.by_email.get(&(subject.to_owned(), email.map(str::to_owned), fact.to_owned()))
    }

    pub fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

fn subject(message: &Value) -> Option<Subject> {
    let user = message["userId"].as_str().map(|id| format!("user {id}"));
    user.or_else(|| message["groupId"].as_str().map(|id| format!("group {id}")))
}

/// The email a message travels with.
pub fn email(message: &Value) -> Option<&str> {
    message["traits"]["email"].as_str().or_else(|| message["context"]["traits"]["email"].as_str())
}

fn learnt(message: &Value) -> Vec<(Fact, &Value)> {
    let properties = &message["properties"];
    let tracked = |key: &str| {
        let name = properties[key].as_str()?;
        Some((format!("track {name}"), properties.get(name)?))
    };
    match (message["type"].as_str(), message["event"].as_str()) {
        (Some(call @ ("identify" | "group")), _) => {
            let traits = message["traits"].as_object().into_iter().flatten();
            traits
                .filter(|(name, _)| *name != "email")
                .map(|(name, value)| (format!("{call} {name}"), value))
                .collect()
        }
        (Some("track"), Some("Audience Entered" | "Audience Exited")) => {
            tracked("audience_key").into_iter().collect()
        }
        (Some("track"), Some(_)) => tracked("trait_key").into_iter().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_message_wins_and_null_forgets() {
        let mut remote = Remote::default();
        let identify = |id: &str, score: Value| {
            json!({"type": "identify", "messageId": id, "userId": "u1",
                   "traits": {"score": score, "email": "a@x"}})
        };
        remote.apply(&identify("1", json!(5)));
        assert_eq!(remote.fact_of("user u1", Some("a@x"), "identify score"), Some(&json!(5)));
        remote.apply(&identify("2", json!(null)));
        assert!(remote.facts().is_empty() && remote.violations().is_empty());
    }

    #[test]
    fn a_repeated_message_id_is_dropped_only_when_asked() {
        for deduplicate in [false, true] {
            let mut remote = Remote { deduplicate, ..Remote::default() };
            for (event, member) in [("Audience Entered", true), ("Audience Exited", false)] {
                remote.apply(&json!({"type": "track", "event": event, "messageId": "1",
                    "userId": "u1", "properties": {"audience_key": "vip", "vip": member}}));
            }
            assert_eq!(remote.facts().len(), usize::from(deduplicate));
        }
    }

    #[test]
    fn an_id_that_comes_with_two_users_is_a_violation() {
        let mut remote = Remote::default();
        for user in ["u1", "u2"] {
            remote.apply(&json!({"type": "identify", "messageId": "1", "userId": user,
                "traits": {"score": 1}}));
        }
        assert_eq!(remote.violations().len(), 1);
    }
}
