//! A list that is filled by imports and emptied at once, by ids of profiles: Klaviyo's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::People;
use super::queue::Queue;
use super::rolls::{by_email, differences, models};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn imports_that_are_cancelled_or_name_profiles_converge() {
    converges::<Klaviyo>();
}

/// One account.
#[derive(Debug)]
struct Klaviyo {
    /// Number by email in lower case.
    profiles: BTreeMap<String, usize>,
    lists: Vec<List>,
    queue: Queue<Import>,
    /// The key is switched off for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct List {
    name: String,
    members: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
struct Import {
    list: usize,
    emails: Vec<String>,
}

impl Vendor for Klaviyo {
    const LIMIT: (usize, Duration) = (200, Duration::from_secs(1));
    const EARLIER: usize = 3;
    /// Less than the first question after a job takes.
    const PATIENCE: &'static str = "4s";

    fn new(random: &mut StdRng) -> Self {
        let list = |name: &str| List { name: name.into(), members: BTreeSet::new() };
        let mut twin = Self {
            profiles: BTreeMap::new(),
            lists: vec![list("others"), list("active users")],
            queue: Queue::new(),
            expired: false,
            violations: BTreeSet::new(),
        };
        for email in ["stranger@example.com", "shared1@example.com", "shared2@example.com"] {
            let number = twin.profile(email);
            twin.lists[0].members.insert(number);
        }
        if random.random_bool(0.3) {
            twin.lists.push(list("active"));
        }
        twin
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let says = |name: &str, value: &str| asked.headers.get(name).is_some_and(|v| v == value);
        if !says("authorization", "Klaviyo-API-Key pk_1") || !says("revision", "2026-07-15") {
            self.violations.insert("a request without key or revision".into());
        }
        if std::mem::take(&mut self.expired) {
            return complaint(
                401,
                "authentication_failed",
                "Incorrect authentication credentials.",
            );
        }
        if luck.random.random_bool(0.2) {
            self.work(luck);
        }
        let (method, path) = asked.parts();
        match (method, &path[1..]) {
            ("GET", ["lists"]) => self.named(asked),
            ("POST", ["lists"]) => self.create(asked),
            ("DELETE", ["lists", id, "relationships", "profiles"]) => self.remove(id, asked),
            ("GET", ["profiles"]) => self.search(asked, luck),
            ("POST", ["profile-bulk-import-jobs"]) => self.import(asked, luck),
            ("GET", ["profile-bulk-import-jobs", job]) => self.status(job, luck),
            ("GET", ["profile-bulk-import-jobs", job, "import-errors"]) => self.errors(job, asked),
            _ => complaint(404, "not_found", "The path could not be found."),
        }
    }

    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let told = complaint(429, "throttled", "Request was throttled.");
        Some(match asked.text.len() % 2 {
            0 => told.with("retry-after", 1),
            _ => told.with("ratelimit-remaining", 0).with("ratelimit-reset", 1),
        })
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_write = ["profiles", "profile-bulk-import-jobs"]
            .contains(&asked.path.last().map_or("", String::as_str));
        let told = || complaint(400, "invalid", "The payload provided was invalid.");
        (is_write && asked.method != "GET").then(told)
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn later(&mut self) {
        self.queue.later();
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!("type = \"klaviyo_lists\"\nbase_url = \"{url}\"\napi_key = \"pk_1\"\n")
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_email, |name| {
            let list = self.lists.iter().find(|list| list.name == name);
            let on_it = |number: &usize| list.is_some_and(|list| list.members.contains(number));
            let found = self.profiles.iter().filter(|(_, number)| on_it(number));
            found.map(|(email, _)| email.clone()).collect()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Klaviyo {
    fn profile(&mut self, email: &str) -> usize {
        let next = self.profiles.len();
        *self.profiles.entry(email.to_lowercase()).or_insert(next)
    }

    fn named(&self, asked: &Asked) -> Told {
        let filter = &asked.query["filter"];
        let lists = self.lists.iter().enumerate();
        let found = lists.filter(|(_, list)| *filter == format!("equals(name,\"{}\")", list.name));
        let found: Vec<Value> = found.map(|(number, list)| list.shown(number)).collect();
        Told::json(200, &json!({"data": found, "links": {"next": null}}))
    }

    /// Klaviyo makes a second list of the same name without a word.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["data"]["attributes"]["name"].as_str().unwrap();
        if self.lists.iter().any(|list| list.name == name) {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        self.lists.push(List { name: name.to_owned(), members: BTreeSet::new() });
        let number = self.lists.len() - 1;
        Told::json(201, &json!({"data": self.lists[number].shown(number)}))
    }

    fn remove(&mut self, id: &str, asked: &Asked) -> Told {
        let ids = asked.rows("/data").iter().map(|one| one["id"].as_str().unwrap());
        let ids: BTreeSet<usize> =
            ids.map(|id| id.trim_start_matches("01H").parse().unwrap()).collect();
        let list = number_of(id);
        if list < 2 {
            self.violations.insert("somebody else's list was changed".into());
        }
        self.lists[list].members.retain(|member| !ids.contains(member));
        Told::text(204, "")
    }

    /// Two profiles a page. What was asked for earlier can be found by now.
    fn search(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        while let Some((number, import)) = self.queue.overdue(luck) {
            self.work_off(number, &import, luck);
        }
        let filter = asked.query["filter"].trim_start_matches("any(email,").trim_end_matches(')');
        let emails: BTreeSet<String> = serde_json::from_str(filter).unwrap();
        let known = self.profiles.iter().filter(|(email, _)| emails.contains(*email));
        let found: Vec<Value> = known
            .map(|(email, number)| {
                json!({"type": "profile", "id": format!("01H{number}"),
                    "attributes": {"email": email}})
            })
            .collect();
        page(&found, 2, asked)
    }

    /// An address that is none is pointed at.
    fn import(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let list = asked.json.pointer("/data/relationships/lists/data/0/id").unwrap();
        let list = number_of(list.as_str().unwrap());
        if list < 2 {
            self.violations.insert("somebody else's list was changed".into());
        }
        let profiles = asked.rows("/data/attributes/profiles/data").iter();
        let emails = profiles.map(|one| one["attributes"]["email"].as_str().unwrap().to_owned());
        let emails: Vec<String> = emails.collect();
        if luck.random.random_bool(0.2) && luck.fails() {
            let place = luck.random.random_range(0..emails.len());
            let pointer = format!("/data/attributes/profiles/data/{place}/attributes/email");
            return Told::json(
                400,
                &json!({"errors": [error("invalid", "not an email", &pointer)]}),
            );
        }
        let number = self.queue.submit(Import { list, emails });
        let job = json!({"type": "profile-bulk-import-job", "id": number.to_string()});
        Told::json(202, &json!({ "data": job }))
    }

    fn status(&mut self, job: &str, luck: &mut Luck<'_>) -> Told {
        let number: usize = job.parse().unwrap();
        while self.queue.result(number).is_none() && Queue::<Import>::is_hurried(luck) {
            self.work(luck);
        }
        let waiting = json!({"status": "processing", "total_count": 1});
        let result = self.queue.result(number).unwrap_or(&waiting);
        if result["status"] == "expired" {
            return complaint(404, "not_found", "The job does not exist.");
        }
        let job = json!({"type": "profile-bulk-import-job", "id": job, "attributes": result});
        Told::json(200, &json!({ "data": job }))
    }

    /// One error a page.
    fn errors(&self, job: &str, asked: &Asked) -> Told {
        let result = self.queue.result(job.parse().unwrap()).unwrap();
        let errors = result["errors"].as_array().cloned().unwrap_or_default();
        page(&errors, 1, asked)
    }

    fn work(&mut self, luck: &mut Luck<'_>) {
        if let Some((number, import)) = self.queue.next(luck) {
            self.work_off(number, &import, luck);
        }
    }

    /// Now and then it breaks off in the middle, or is forgotten as soon as it is done.
    fn work_off(&mut self, number: usize, import: &Import, luck: &mut Luck<'_>) {
        let Import { list, emails } = import;
        let accident = luck.random.random_bool(luck.faults.row / 2.0);
        let until =
            if accident { luck.random.random_range(0..=emails.len()) } else { emails.len() };
        let mut errors = Vec::new();
        for email in &emails[..until] {
            if luck.fails() {
                let mut told = error("invalid", "Invalid email", "/data/attributes/email");
                told["original_payload"] = json!({ "email": email });
                errors.push(json!({"type": "import-error", "attributes": told}));
            } else {
                let profile = self.profile(email);
                self.lists[*list].members.insert(profile);
            }
        }
        let status = match accident {
            false => "complete",
            true if until < emails.len() => "cancelled",
            true => "expired",
        };
        let failed = errors.len();
        let result = json!({"status": status, "total_count": emails.len(), "failed_count": failed,
            "completed_count": until - failed, "errors": errors});
        self.queue.done(number, result);
    }
}

impl List {
    fn shown(&self, number: usize) -> Value {
        json!({"type": "list", "id": format!("Y6n{number:03}"), "attributes": {"name": self.name}})
    }
}

fn number_of(id: &str) -> usize {
    id.trim_start_matches("Y6n").parse().unwrap()
}

fn page(all: &[Value], size: usize, asked: &Asked) -> Told {
    let from: usize = asked.query.get("page[cursor]").map_or(0, |cursor| cursor.parse().unwrap());
    let until = all.len().min(from + size);
    let more = until < all.len();
    let next = more.then(|| format!("https://a.klaviyo.com/api/x?page%5Bcursor%5D={until}"));
    Told::json(200, &json!({"data": all[from..until], "links": {"next": next}}))
}

fn error(code: &str, detail: &str, pointer: &str) -> Value {
    json!({"id": "e1", "code": code, "title": "Invalid input.", "detail": detail,
        "source": {"pointer": pointer}})
}

fn complaint(status: u16, code: &str, detail: &str) -> Told {
    Told::json(status, &json!({"errors": [error(code, detail, "/data")]}))
}
