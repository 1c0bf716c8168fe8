//! Results that name rows by their email, or only count them: Iterable.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, seq::IndexedRandom};
use serde_json::{Map, Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::{ACTIVE, HIGH, People, SCORES, compared, known};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn results_that_name_rows_by_email_converge() {
    converges::<Iterable>();
}

/// One project.
#[derive(Debug)]
struct Iterable {
    /// By email.
    users: BTreeMap<String, Map<String, Value>>,
    /// Ids of events, with whom and what they were about; the same id is the same event.
    events: BTreeMap<String, (String, String)>,
    /// What the last event of each kind said of somebody.
    told: BTreeMap<String, Map<String, Value>>,
    /// The key is switched off for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

impl Vendor for Iterable {
    const LIMIT: (usize, Duration) = (500, Duration::from_secs(1));

    fn new(_random: &mut StdRng) -> Self {
        Self {
            users: BTreeMap::new(),
            events: BTreeMap::new(),
            told: BTreeMap::new(),
            expired: false,
            violations: BTreeSet::new(),
        }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        if asked.headers.get("api-key").is_none_or(|key| key != "k3y") {
            self.violations.insert("a request without the key".into());
        }
        if std::mem::take(&mut self.expired) {
            let body = json!({"code": "BadApiKey", "msg": "Invalid API key", "params": {}});
            return Told::json(401, &body);
        }
        match asked.parts() {
            ("POST", path) if path == ["api", "users", "bulkUpdate"] => {
                self.bulk(asked, "users", luck, Self::update)
            }
            ("POST", path) if path == ["api", "events", "trackBulk"] => {
                self.bulk(asked, "events", luck, Self::track)
            }
            _ => Told::json(404, &json!({"code": "NotFound", "msg": "", "params": {}})),
        }
    }

    /// Either way of saying so.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let body = json!({"code": "RateLimitExceeded", "msg": "Too many requests", "params": {}});
        Some(match asked.text.len() % 2 {
            0 => Told::json(429, &body).with("retry-after", 1),
            _ => Told::json(400, &body),
        })
    }

    fn refused(&self, _asked: &Asked) -> Option<Told> {
        let body = json!({"code": "BadParams", "msg": "[/api] Invalid JSON body", "params": {}});
        Some(Told::json(400, &body))
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn models(project: &TempProject) {
        project
            .audience("active", r#""vendor""#, ACTIVE)
            .trait_model("scores", r#""vendor""#, SCORES)
            .audience("high", r#"{ to = "vendor", as = "track" }"#, HIGH);
    }

    fn section(url: &str) -> String {
        format!("type = \"iterable\"\nbase_url = \"{url}\"\napi_key = \"k3y\"\n")
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let of_users = compared(&people.facts_by_email(), &known(&self.users));
        let of_events = compared(&people.high_by_email(), &known(&self.told));
        of_users.into_iter().chain(of_events).collect()
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Iterable {
    /// Counts what was taken and what was not; mostly it says whose that is.
    fn bulk(
        &mut self,
        asked: &Asked,
        rows: &str,
        luck: &mut Luck<'_>,
        take: fn(&mut Self, &str, &Value),
    ) -> Told {
        let rows = asked.rows(&format!("/{rows}"));
        let lists = ["invalidEmails", "invalidDataEmails", "forgottenEmails"];
        let list = *lists.choose(luck.random).unwrap();
        let is_silent = luck.random.random_bool(0.3);
        let mut failed = Vec::new();
        for row in rows {
            let email = row["email"].as_str().unwrap();
            match luck.fails() {
                true => failed.push(email),
                false => take(self, &email.to_lowercase(), row),
            }
        }
        let (taken, count) = (rows.len() - failed.len(), failed.len());
        let named = if is_silent { json!({}) } else { json!({ list: failed }) };
        Told::json(
            200,
            &json!({"successCount": taken, "failCount": count, "invalidEmails": [],
                "failedUpdates": named, "filteredOutFields": []}),
        )
    }

    fn update(&mut self, email: &str, user: &Value) {
        let fields = user["dataFields"].as_object().unwrap();
        if fields.contains_key("email") || !user["userId"].is_null() {
            self.violations.insert("an identity that would be merged".into());
        }
        self.users.entry(email.to_owned()).or_default().extend(fields.clone());
    }

    fn track(&mut self, email: &str, event: &Value) {
        let id = event["id"].as_str().unwrap().to_owned();
        let about = (email.to_owned(), event["eventName"].as_str().unwrap().to_owned());
        if let Some(known) = self.events.insert(id, about.clone())
            && known != about
        {
            self.violations.insert(format!("one id for {known:?} and {about:?}"));
        }
        let fields = event["dataFields"].as_object().unwrap();
        let key = fields["audience_key"].as_str().unwrap().to_owned();
        let value = fields[&key].clone();
        let entered = about.1 == "Audience Entered";
        if value != Value::Bool(entered) {
            self.violations.insert(format!("the event `{}` says {value}", about.1));
        }
        self.told.entry(email.to_owned()).or_default().insert(key, value);
    }
}
