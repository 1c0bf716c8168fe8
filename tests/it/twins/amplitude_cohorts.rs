//! A list that cannot be created empty, and names whom it skips: Amplitude's cohorts.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::People;
use super::rolls::{by_id, differences, models};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_that_begins_with_somebody_converges() {
    converges::<Amplitude>();
}

/// One project.
#[derive(Debug)]
struct Amplitude {
    cohorts: Vec<Cohort>,
    /// The keys are switched off for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Cohort {
    name: String,
    archived: bool,
    members: BTreeSet<String>,
}

impl Cohort {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), archived: false, members: BTreeSet::new() }
    }
}

impl Vendor for Amplitude {
    const LIMIT: (usize, Duration) = (200, Duration::from_secs(1));

    /// Somebody else's cohorts, one of them under our name and put away.
    fn new(random: &mut StdRng) -> Self {
        let mut cohorts = vec![Cohort::new("others"), Cohort::new("active")];
        cohorts[1].archived = true;
        if random.random_bool(0.3) {
            cohorts.push(Cohort::new("active"));
        }
        Self { cohorts, expired: false, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        // `k3y:s3cret`
        let known = asked.headers.get("authorization");
        if known.is_none_or(|key| key != "Basic azN5OnMzY3JldA==") {
            self.violations.insert("a request without the keys".into());
        }
        if std::mem::take(&mut self.expired) {
            return complaint(401, "Incorrect username or password");
        }
        let (method, path) = asked.parts();
        match (method, &path[2..]) {
            ("GET", ["cohorts"]) => {
                let cohorts = self.cohorts.iter().enumerate();
                let shown: Vec<Value> = cohorts
                    .map(|(index, cohort)| {
                        json!({"id": id_of(index), "name": cohort.name, "size": 1,
                            "archived": cohort.archived, "published": true})
                    })
                    .collect();
                Told::json(200, &json!({ "cohorts": shown }))
            }
            ("POST", ["cohorts", "upload"]) => self.create(asked),
            ("POST", ["cohorts", "membership"]) => self.change(asked, luck),
            _ => complaint(404, "Not found"),
        }
    }

    fn throttled(&self, _asked: &Asked) -> Option<Told> {
        Some(complaint(429, "Too many requests"))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_change = asked.path.last().is_some_and(|last| last == "membership");
        is_change.then(|| complaint(400, "Invalid ids"))
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"amplitude_cohorts\"\nbase_url = \"{url}\"\napi_key = \"k3y\"\n\
             secret_key = \"s3cret\"\napp_id = 153957\nowner = \"analyst@example.com\"\n\
             first_user_id = \"u_first\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_id, |name| {
            let mut cohorts = self.cohorts.iter().filter(|cohort| !cohort.archived);
            let cohort = cohorts.find(|cohort| cohort.name == name);
            cohort.map(|cohort| cohort.members.clone()).unwrap_or_default()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Amplitude {
    /// Not without somebody. A second one of the same name is made without a word.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["name"].as_str().unwrap();
        if self.cohorts.iter().any(|cohort| cohort.name == name && !cohort.archived) {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        let mut cohort = Cohort::new(name);
        cohort.members = ids(&asked.json["ids"]);
        if cohort.members.is_empty() {
            return complaint(400, "ids must not be empty");
        }
        self.cohorts.push(cohort);
        Told::json(200, &json!({"cohort_id": id_of(self.cohorts.len() - 1)}))
    }

    /// Whom it cannot use it skips.
    fn change(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let id = asked.json["cohort_id"].as_str().unwrap();
        let index: usize = id.trim_start_matches("1a2b").parse().unwrap();
        if index < 2 || asked.json["skip_invalid_ids"] != true {
            self.violations.insert("somebody else's list was changed".into());
        }
        let mut results = Vec::new();
        for membership in asked.rows("/memberships") {
            let (operation, kind) = (&membership["operation"], &membership["id_type"]);
            let (skipped, usable): (BTreeSet<_>, BTreeSet<_>) = ids(&membership["ids"])
                .into_iter()
                .partition(|_| operation == "ADD" && luck.fails());
            let members = &mut self.cohorts[index].members;
            match operation.as_str() {
                Some("ADD") => members.extend(usable),
                _ => members.retain(|member| !usable.contains(member)),
            }
            results.push(json!({"skipped_ids": skipped, "id_type": kind, "operation": operation}));
        }
        Told::json(200, &json!({"cohort_id": id, "memberships_result": results}))
    }
}

fn ids(array: &Value) -> BTreeSet<String> {
    array.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn id_of(index: usize) -> String {
    format!("1a2b{index:03}")
}

fn complaint(status: u16, message: &str) -> Told {
    let kind = "invalid_request_error";
    Told::json(status, &json!({"error": {"http_code": status, "type": kind, "message": message}}))
}
