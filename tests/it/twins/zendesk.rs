//! Jobs that are worked off in the vendor's own time, with an outcome per row: Zendesk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::fate::Luck;
use super::history::{History, converges};
use super::people::{ACTIVE, People, SCORES, SEATS, compared, known, name};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn jobs_converge() {
    converges::<Zendesk>();
}

#[test]
fn a_sync_with_an_open_job_waits_and_is_settled_by_the_next_run() {
    let mut history = History::<Zendesk>::new(7);
    history.batch_size = 20;
    history.twin.stage().vendor.idle = true;
    history.configure("2s");
    history.write();
    history.project.run_exits(1, &["--allow-large-change"]);
    let submitted = history.twin.stage().vendor.jobs.len();
    assert!(submitted > 0, "nothing was submitted");

    history.people.change(&mut history.random);
    history.write();
    let report = history.project.run_exits(1, &["--allow-large-change"]);
    let reason = report.sync("active.vendor")["skipped"].as_str().unwrap_or_default();
    assert!(reason.ends_with("is not done yet"), "{reason}");
    assert_eq!(history.twin.stage().vendor.jobs.len(), submitted);

    history.twin.stage().vendor.idle = false;
    history.settle();
    history.converged();
}

/// One account.
#[derive(Debug)]
struct Zendesk {
    user_fields: BTreeSet<String>,
    organization_fields: BTreeSet<String>,
    /// By external id.
    users: BTreeMap<String, Map<String, Value>>,
    organizations: BTreeMap<String, Map<String, Value>>,
    /// In the order in which they came, which is the one in which they are worked off.
    jobs: Vec<Job>,
    /// Nobody works off jobs.
    idle: bool,
    /// The token is switched off for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Job {
    users: Vec<Value>,
    state: State,
}

#[derive(Debug)]
enum State {
    Queued,
    Completed(Vec<Value>),
    Failed,
    /// Zendesk does not know it any more.
    Forgotten,
}

impl Vendor for Zendesk {
    const LIMIT: (usize, Duration) = (200, Duration::from_secs(60));

    fn new(_random: &mut StdRng) -> Self {
        Self {
            user_fields: BTreeSet::new(),
            // Not our spelling, but the same field.
            organization_fields: ["Seats".to_owned()].into(),
            users: BTreeMap::new(),
            organizations: BTreeMap::new(),
            jobs: Vec::new(),
            idle: false,
            expired: false,
            violations: BTreeSet::new(),
        }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        // `agent@example.org/token:t0ken`
        let known = "Basic YWdlbnRAZXhhbXBsZS5vcmcvdG9rZW46dDBrZW4=";
        if asked.headers.get("authorization").is_none_or(|token| token != known) {
            self.violations.insert("a request without the token".into());
        }
        if std::mem::take(&mut self.expired) {
            return Told::json(401, &json!({"error": "Couldn't authenticate you"}));
        }
        if luck.random.random_bool(0.3) {
            self.work(luck);
        }
        let (method, path) = asked.parts();
        match (method, &path[2..]) {
            ("GET", [list @ ("user_fields" | "organization_fields")]) => self.fields(list),
            ("POST", [list @ ("user_fields" | "organization_fields")]) => self.declare(list, asked),
            ("POST", ["users", "create_or_update_many"]) => self.submit(asked),
            ("POST", ["users", "create_or_update"]) => match luck.fails() {
                true => invalid("email", "Email: is not properly formatted"),
                false => self.user(&asked.json["user"]),
            },
            ("POST", ["organizations", "create_or_update"]) => match luck.fails() {
                true => invalid("organization_fields", "Seats: is too odd"),
                false => self.organization(&asked.json["organization"]),
            },
            ("GET", ["job_statuses", id]) => self.status(id.parse().unwrap(), luck),
            _ => Told::json(404, &json!({"error": "InvalidEndpoint"})),
        }
    }

    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let text = "Number of allowed API requests per minute exceeded";
        let pause = if asked.text.len().is_multiple_of(2) { 1 } else { 45 };
        Some(Told::text(429, text).with("retry-after", pause))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_import = asked.path.last().is_some_and(|last| last == "create_or_update_many");
        is_import.then(|| Told::json(422, &json!({"error": "UnprocessableEntity"})))
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn models(project: &TempProject) {
        project
            .audience("active", r#""vendor""#, ACTIVE)
            .trait_model("scores", r#""vendor""#, SCORES)
            .trait_model("seats", r#""vendor""#, SEATS);
    }

    /// Emails stay at home: what becomes of one that two users share is uncertain.
    fn section(url: &str) -> String {
        format!(
            "type = \"zendesk\"\nbase_url = \"{url}\"\nemail = \"agent@example.org\"\n\
             api_token = \"t0ken\"\nsend_email = false\ncreate_organizations = true\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let of_users = compared(&people.facts(), &known(&self.users));
        let of_accounts = compared(&people.seats(), &known(&self.organizations));
        of_users.into_iter().chain(of_accounts).collect()
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Zendesk {
    fn fields(&self, list: &str) -> Told {
        let kind = |key: &str| match key {
            "active" => "checkbox",
            "tier" => "text",
            _ => "integer",
        };
        let fields = self.known(list).iter().map(
            |key| json!({"id": 1, "key": key, "title": key, "type": kind(key), "active": true}),
        );
        let meta = json!({"has_more": false, "after_cursor": null});
        Told::json(200, &json!({list: fields.collect::<Vec<_>>(), "meta": meta}))
    }

    fn known(&self, list: &str) -> &BTreeSet<String> {
        if list == "user_fields" { &self.user_fields } else { &self.organization_fields }
    }

    /// Of one key there is one field.
    fn declare(&mut self, list: &str, asked: &Asked) -> Told {
        let one = list.trim_end_matches('s');
        let key = asked.json[one]["key"].as_str().unwrap().to_owned();
        if self.known(list).iter().any(|known| known.eq_ignore_ascii_case(&key)) {
            return invalid("key", "Key: has already been taken");
        }
        match list {
            "user_fields" => self.user_fields.insert(key),
            _ => self.organization_fields.insert(key),
        };
        Told::json(201, &json!({one: asked.json[one]}))
    }

    fn submit(&mut self, asked: &Asked) -> Told {
        let users = asked.rows("/users").to_vec();
        if users.len() > 100 {
            return Told::json(400, &json!({"error": "TooManyRecords"}));
        }
        let waiting = self.jobs.iter().filter(|job| matches!(job.state, State::Queued));
        if waiting.count() >= 30 {
            return Told::json(429, &json!({"error": "TooManyJobs"})).with("retry-after", 1);
        }
        self.jobs.push(Job { users, state: State::Queued });
        job_status(self.jobs.len() - 1, "queued", &Value::Null)
    }

    fn status(&mut self, id: usize, luck: &mut Luck<'_>) -> Told {
        let is_quiet = luck.faults.row == 0.0;
        while !self.idle
            && matches!(self.jobs[id].state, State::Queued)
            && (is_quiet || luck.random.random_bool(0.6))
        {
            self.work(luck);
        }
        match &self.jobs[id].state {
            State::Queued => job_status(id, "working", &Value::Null),
            State::Completed(results) => job_status(id, "completed", &json!(results)),
            State::Failed => job_status(id, "failed", &Value::Null),
            State::Forgotten => Told::json(404, &json!({"error": "RecordNotFound"})),
        }
    }

    /// Works off the oldest job. Now and then one breaks off in the middle, or is forgotten as soon as
    /// it is done.
    fn work(&mut self, luck: &mut Luck<'_>) {
        let waiting = |job: &Job| matches!(job.state, State::Queued);
        let Some(id) = self.jobs.iter().position(waiting).filter(|_| !self.idle) else { return };
        let users = self.jobs[id].users.clone();
        let accident = luck.random.random_bool(luck.faults.row / 2.0);
        let until = if accident { luck.random.random_range(0..=users.len()) } else { users.len() };
        let mut results = Vec::new();
        for (index, user) in users[..until].iter().enumerate() {
            let failed = |error: &str, details: &str| {
                json!({"index": index, "id": index,
                "status": "Failed", "error": error, "details": details})
            };
            results.push(if luck.fails() {
                failed("UserUpdateError", "Email: bad@ is not properly formatted")
            } else if self.keep_user(user) {
                json!({"index": index, "id": 9000 + index, "status": "Updated"})
            } else {
                failed("UserCreateError", "Name: is too short (minimum is 1 characters)")
            });
        }
        self.jobs[id].state = match (accident, until == users.len()) {
            (false, _) => State::Completed(results),
            (true, true) => State::Forgotten,
            (true, false) => State::Failed,
        };
    }

    fn user(&mut self, user: &Value) -> Told {
        if !self.keep_user(user) {
            return invalid("name", "Name: is too short (minimum is 1 characters)");
        }
        Told::json(200, &json!({"user": {"id": 9001, "external_id": user["external_id"]}}))
    }

    /// Nobody is created without a name.
    fn keep_user(&mut self, user: &Value) -> bool {
        if user["skip_verify_email"] != true || !user["email"].is_null() {
            self.violations.insert(format!("somebody may be mailed: {user}"));
        }
        let fields = user["user_fields"].as_object().unwrap();
        if let Some(key) = fields.keys().find(|key| !self.user_fields.contains(*key)) {
            self.violations.insert(format!("the field `{key}` was not there yet"));
        }
        let id = user["external_id"].as_str().unwrap().to_owned();
        let is_named = user["name"].as_str().is_some_and(|known| known == name(&id));
        let is_there = self.users.contains_key(&id);
        if is_named || is_there {
            self.users.entry(id).or_default().extend(fields.clone());
        }
        is_named || is_there
    }

    fn organization(&mut self, organization: &Value) -> Told {
        let id = organization["external_id"].as_str().unwrap().to_owned();
        if !self.organizations.contains_key(&id) && organization["name"].is_null() {
            return invalid("name", "Name: cannot be blank");
        }
        let fields = organization["organization_fields"].as_object().unwrap().clone();
        let told = json!({"organization": {"id": 77, "external_id": id}});
        self.organizations.entry(id).or_default().extend(fields);
        Told::json(200, &told)
    }
}

fn job_status(id: usize, status: &str, results: &Value) -> Told {
    let job = json!({"id": id.to_string(), "status": status, "total": 2, "progress": null,
        "message": null, "results": results});
    Told::json(200, &json!({ "job_status": job }))
}

fn invalid(property: &str, description: &str) -> Told {
    let details = json!({property: [{"description": description, "error": "InvalidValue"}]});
    let body = json!({"error": "RecordInvalid", "description": "Record validation errors",
        "details": details});
    Told::json(422, &body)
}
