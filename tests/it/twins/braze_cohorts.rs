//! A list under an id of our own that must be named first, and says nothing: Braze's cohorts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use rand::rngs::StdRng;
use serde_json::json;

use super::fate::Luck;
use super::history::converges;
use super::people::People;
use super::rolls::{by_id, differences, models};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_that_must_be_named_first_converges() {
    converges::<Braze>();
}

/// One workspace.
#[derive(Debug)]
struct Braze {
    /// By the partner's id.
    cohorts: BTreeMap<String, Cohort>,
    /// The keys are switched off for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Cohort {
    name: String,
    members: BTreeSet<String>,
}

impl Vendor for Braze {
    const LIMIT: (usize, Duration) = (200, Duration::from_secs(1));

    fn new(_random: &mut StdRng) -> Self {
        Self { cohorts: BTreeMap::new(), expired: false, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, _luck: &mut Luck<'_>) -> Told {
        let keys = (&asked.json["partner_api_key"], &asked.json["client_secret"]);
        if keys != (&json!("p4rtner"), &json!("imp0rt")) {
            self.violations.insert("a request without the keys".into());
        }
        if std::mem::take(&mut self.expired) {
            return said(401, "Invalid API key");
        }
        match asked.parts() {
            ("POST", path) if path == ["partners", "acme", "cohorts"] => self.name(asked),
            ("POST", path) if path == ["partners", "acme", "cohorts", "users"] => {
                self.change(asked)
            }
            _ => said(404, "Not found"),
        }
    }

    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let told = said(429, "You have exceeded your rate limit").with("x-ratelimit-remaining", 0);
        Some(match asked.text.len() % 2 {
            0 => told.with("x-ratelimit-reset", now.as_secs() + 1),
            _ => told.with("x-ratelimit-reset", 1),
        })
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_change = asked.path.last().is_some_and(|last| last == "users");
        is_change.then(|| said(400, "cohort_changes must be an array"))
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"braze_cohorts\"\nbase_url = \"{url}\"\npartner = \"acme\"\n\
             partner_api_key = \"p4rtner\"\ndata_import_key = \"imp0rt\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let known_as = |id: &str, person: &_| {
            let known = by_id(id, person).into_iter();
            known.filter(|(id, _)| !is_stranger(id)).collect()
        };
        differences(people, known_as, |name| {
            let cohort = self.cohorts.values().find(|cohort| cohort.name == name);
            cohort.map(|cohort| cohort.members.clone()).unwrap_or_default()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Braze {
    /// As often as anybody likes.
    fn name(&mut self, asked: &Asked) -> Told {
        let id = asked.json["cohort_id"].as_str().unwrap().to_owned();
        let name = asked.json["name"].as_str().unwrap().to_owned();
        let new = Cohort { name: name.clone(), members: BTreeSet::new() };
        self.cohorts.entry(id).or_insert(new).name = name;
        said(201, "success")
    }

    fn change(&mut self, asked: &Asked) -> Told {
        let Some(cohort) = self.cohorts.get_mut(asked.json["cohort_id"].as_str().unwrap()) else {
            self.violations.insert("people for a cohort that nobody named".into());
            return said(400, "cohort_id is not known");
        };
        let mut seen = BTreeSet::new();
        for change in asked.rows("/cohort_changes") {
            let adding = change["should_remove"] != true;
            let ids = change["user_ids"].as_array().unwrap().iter();
            for id in ids.map(|id| id.as_str().unwrap().to_owned()) {
                if !seen.insert(id.clone()) {
                    self.violations.insert(format!("{id} twice in one request"));
                }
                match (is_stranger(&id), adding) {
                    (true, _) => {}
                    (false, true) => drop(cohort.members.insert(id)),
                    (false, false) => drop(cohort.members.remove(&id)),
                }
            }
        }
        if seen.is_empty() || seen.len() > 1000 {
            self.violations.insert(format!("{} ids in one request", seen.len()));
        }
        said(201, "success")
    }
}

/// Some people Braze has never seen, whom it ignores.
fn is_stranger(id: &str) -> bool {
    id.ends_with('7')
}

fn said(status: u16, message: &str) -> Told {
    Told::json(status, &json!({ "message": message }))
}
