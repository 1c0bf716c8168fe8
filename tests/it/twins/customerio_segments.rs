//! A list of our own ids that says nothing and ignores strangers: Customer.io's manual segments.

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
fn a_list_of_our_own_ids_converges() {
    converges::<CustomerIo>();
}

/// One workspace.
#[derive(Debug)]
struct CustomerIo {
    segments: Vec<Segment>,
    /// The keys are switched off for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Segment {
    name: String,
    kind: &'static str,
    members: BTreeSet<String>,
}

impl Segment {
    fn new(name: &str, kind: &'static str) -> Self {
        Self { name: name.to_owned(), kind, members: BTreeSet::new() }
    }

    fn shown(&self, id: usize) -> Value {
        json!({"id": id, "name": self.name, "type": self.kind, "state": "events"})
    }
}

impl Vendor for CustomerIo {
    const LIMIT: (usize, Duration) = (100, Duration::from_secs(1));

    fn new(random: &mut StdRng) -> Self {
        let mut segments = vec![Segment::new("others", "manual"), Segment::new("all", "dynamic")];
        if random.random_bool(0.3) {
            segments.push(Segment::new("active", "manual"));
        }
        Self { segments, expired: false, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, _luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        // `site:k3y`
        let known = if path[0] == "api" { "Basic c2l0ZTprM3k=" } else { "Bearer app" };
        if asked.headers.get("authorization").is_none_or(|given| given != known) {
            self.violations.insert("a request without its key".into());
        }
        if std::mem::take(&mut self.expired) {
            return complaint(401, "unauthorized");
        }
        match (method, path.as_slice()) {
            ("GET", ["v1", "segments"]) => {
                let segments = self.segments.iter().enumerate();
                let shown: Vec<Value> = segments.map(|(id, segment)| segment.shown(id)).collect();
                Told::json(200, &json!({ "segments": shown }))
            }
            ("POST", ["v1", "segments"]) => self.create(asked),
            ("POST", ["api", "v1", "segments", id, "add_customers"]) => {
                self.change(id, true, asked)
            }
            ("POST", ["api", "v1", "segments", id, "remove_customers"]) => {
                self.change(id, false, asked)
            }
            _ => complaint(404, "not found"),
        }
    }

    fn throttled(&self, _asked: &Asked) -> Option<Told> {
        Some(complaint(429, "too many requests"))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_change = asked.path[0] == "api";
        is_change.then(|| complaint(400, "ids must be strings"))
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"customerio_segments\"\nbase_url = \"{url}\"\nsite_id = \"site\"\n\
             api_key = \"k3y\"\napp_api_key = \"app\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let known_as = |id: &str, person: &_| {
            let known = by_id(id, person).into_iter();
            known.filter(|(id, _)| !is_stranger(id)).collect()
        };
        differences(people, known_as, |name| {
            let segment = self.segments.iter().find(|segment| segment.name == name);
            segment.map(|segment| segment.members.clone()).unwrap_or_default()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl CustomerIo {
    /// A second segment of the same name is made without a word.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["segment"]["name"].as_str().unwrap();
        if self.segments.iter().any(|segment| segment.name == name) {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        self.segments.push(Segment::new(name, "manual"));
        let id = self.segments.len() - 1;
        Told::json(200, &json!({"segment": self.segments[id].shown(id)}))
    }

    /// An empty reply, whoever was known.
    fn change(&mut self, id: &str, adding: bool, asked: &Asked) -> Told {
        let segment = &mut self.segments[id.parse::<usize>().unwrap()];
        if segment.kind != "manual" {
            return complaint(404, "segment is not manual");
        }
        if segment.name == "others" {
            self.violations.insert("somebody else's list was changed".into());
        }
        let ids = asked.rows("/ids");
        if asked.query["id_type"] != "id" || ids.is_empty() || ids.len() > 1000 {
            self.violations.insert(format!("{} ids of another kind", ids.len()));
        }
        for id in ids.iter().map(|id| id.as_str().unwrap()).filter(|id| !is_stranger(id)) {
            match adding {
                true => drop(segment.members.insert(id.to_owned())),
                false => drop(segment.members.remove(id)),
            }
        }
        Told::text(200, "")
    }
}

/// Some people never told Customer.io who they are.
fn is_stranger(id: &str) -> bool {
    id.ends_with('7')
}

fn complaint(status: u16, error: &str) -> Told {
    Told::json(status, &json!({"meta": {"error": error}}))
}
