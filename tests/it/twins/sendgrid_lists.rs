//! A list that is filled by imports and emptied by ids of contacts: SendGrid's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

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
fn imports_onto_a_list_converge() {
    converges::<SendGrid>();
}

/// One account.
#[derive(Debug)]
struct SendGrid {
    /// By email in lower case: on which lists.
    contacts: BTreeMap<String, Contact>,
    /// By id.
    lists: BTreeMap<String, String>,
    queue: Queue<Work>,
    /// Nothing is said of jobs that took somebody off a list.
    silent: bool,
    /// The key is switched off for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Contact {
    id: String,
    lists: BTreeSet<String>,
}

#[derive(Debug, Clone)]
enum Work {
    Import { list: String, emails: Vec<String> },
    Removal { list: String, ids: Vec<String> },
}

impl Vendor for SendGrid {
    const LIMIT: (usize, Duration) = (100, Duration::from_secs(1));
    const BATCHES: [u32; 3] = [4, 8, 20];
    const EARLIER: usize = 3;
    /// Less than the first question after a job takes.
    const PATIENCE: &'static str = "9s";

    fn new(random: &mut StdRng) -> Self {
        let mut twin = Self {
            contacts: BTreeMap::new(),
            lists: BTreeMap::new(),
            queue: Queue::new(),
            silent: random.random(),
            expired: false,
            violations: BTreeSet::new(),
        };
        let others = twin.new_list("others");
        for email in ["stranger@example.com", "shared1@example.com", "shared2@example.com"] {
            twin.contact(email).lists.insert(others.clone());
        }
        if random.random_bool(0.3) {
            twin.new_list("active");
        }
        twin
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if let ["errors", job] = path.as_slice() {
            return self.errors_of(job, asked);
        }
        if asked.headers.get("authorization").is_none_or(|key| key != "Bearer SG.k3y") {
            self.violations.insert("a request without the key".into());
        }
        if std::mem::take(&mut self.expired) {
            return complaint(401, "authorization required");
        }
        if luck.random.random_bool(0.2) {
            self.work(luck);
        }
        match (method, &path[2..]) {
            ("GET", ["lists"]) => self.page(asked),
            ("GET", ["lists", id]) if self.lists.contains_key(*id) => self.shown(id),
            ("POST", ["lists"]) => self.create(asked),
            ("PUT", ["contacts"]) => self.import(asked, luck),
            ("POST", ["contacts", "search", "emails"]) => self.search(asked, luck),
            ("DELETE", ["lists", id, "contacts"]) => self.remove(id, asked, luck),
            ("GET", ["contacts", "imports", job]) => self.status(job, asked, luck),
            _ => complaint(404, "not found"),
        }
    }

    fn throttled(&self, _asked: &Asked) -> Option<Told> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let told = complaint(429, "too many requests").with("x-ratelimit-limit", 3);
        Some(told.with("x-ratelimit-remaining", 0).with("x-ratelimit-reset", now.as_secs() + 1))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_write = asked.path.last().is_some_and(|last| last == "contacts");
        is_write.then(|| complaint(400, "invalid request"))
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
        format!("type = \"sendgrid_lists\"\nbase_url = \"{url}\"\napi_key = \"SG.k3y\"\n")
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_email, |name| {
            let on_it = self
                .contacts
                .iter()
                .filter(|(_, contact)| contact.lists.iter().any(|list| self.lists[list] == name));
            on_it.map(|(email, _)| email.clone()).collect()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl SendGrid {
    fn new_list(&mut self, name: &str) -> String {
        let id = format!("2b7c0000-0000-4000-8000-{:012}", self.lists.len());
        self.lists.insert(id.clone(), name.to_owned());
        id
    }

    fn contact(&mut self, email: &str) -> &mut Contact {
        let id = format!("contact-{}", self.contacts.len());
        let new = || Contact { id, lists: BTreeSet::new() };
        self.contacts.entry(email.to_lowercase()).or_insert_with(new)
    }

    /// One list a page, so that none is overlooked.
    fn page(&self, asked: &Asked) -> Told {
        let from: usize = asked.query.get("page_token").map_or(0, |token| token.parse().unwrap());
        let page = self.lists.iter().skip(from).take(1);
        let page: Vec<Value> =
            page.map(|(id, name)| json!({"id": id, "name": name, "contact_count": 0})).collect();
        let mut body = json!({"result": page, "_metadata": {"count": self.lists.len()}});
        if from + 1 < self.lists.len() {
            let next =
                format!("https://api.sendgrid.com/v3/marketing/lists?page_token={}", from + 1);
            body["_metadata"]["next"] = next.into();
        }
        Told::json(200, &body)
    }

    fn shown(&self, id: &str) -> Told {
        Told::json(200, &json!({"id": id, "name": self.lists[id], "contact_count": 0}))
    }

    /// Names are unique.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["name"].as_str().unwrap();
        if self.lists.values().any(|known| known == name) {
            return complaint(400, "duplicate list name");
        }
        let id = self.new_list(name);
        Told::json(201, &json!({"id": id, "name": name, "contact_count": 0}))
    }

    /// One address that is none makes it refuse all.
    fn import(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let list = asked.json["list_ids"][0].as_str().unwrap().to_owned();
        if self.lists.get(&list).is_none_or(|name| name == "others") {
            self.violations.insert("contacts for a list that is not ours".into());
        }
        let emails = asked.rows("/contacts").iter().map(|one| one["email"].as_str().unwrap());
        let emails: Vec<String> = emails.map(str::to_owned).collect();
        if luck.random.random_bool(0.2) && luck.fails() {
            return complaint(400, &format!("email '{}' is not valid", emails[0]));
        }
        accepted(self.queue.submit(Work::Import { list, emails }))
    }

    /// What was asked for earlier can be found by now.
    fn search(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        self.catch_up(luck);
        let emails = asked.rows("/emails").iter().map(|email| email.as_str().unwrap());
        let told = emails.map(|email| match self.contacts.get(&email.to_lowercase()) {
            Some(Contact { id, lists }) => {
                let contact = json!({"id": id, "email": email, "list_ids": lists});
                (email.to_owned(), json!({ "contact": contact }))
            }
            None => (email.to_owned(), json!({"error": "contact not found"})),
        });
        let told: BTreeMap<String, Value> = told.collect();
        if told.values().all(|one| one["contact"].is_null()) {
            return complaint(404, "no contacts found");
        }
        Told::json(200, &json!({ "result": told }))
    }

    /// All of them must be on the list.
    fn remove(&mut self, list: &str, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        self.catch_up(luck);
        let ids: Vec<String> = asked.query["contact_ids"].split(',').map(str::to_owned).collect();
        let on_it = |contact: &&Contact| contact.lists.contains(list);
        let known: BTreeSet<&str> =
            self.contacts.values().filter(on_it).map(|contact| contact.id.as_str()).collect();
        if ids.len() > 100 || !ids.iter().all(|id| known.contains(id.as_str())) {
            return complaint(404, "contact not found in list");
        }
        accepted(self.queue.submit(Work::Removal { list: list.to_owned(), ids }))
    }

    fn status(&mut self, job: &str, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let number: usize = job.trim_start_matches("job-").parse().unwrap();
        let is_removal = matches!(self.queue.work(number), Some(Work::Removal { .. }));
        let must = self.silent && is_removal;
        while self.queue.result(number).is_none() && (must || Queue::<Work>::is_hurried(luck)) {
            self.work(luck);
        }
        if must {
            return complaint(404, "job not found");
        }
        let mut told = self.queue.result(number).cloned().unwrap_or(json!({"status": "pending"}));
        told["id"] = job.into();
        if told["results"]["errored_count"].as_u64().unwrap_or(0) > 0 {
            let file = format!("http://{}/errors/{number}", asked.headers["host"]);
            told["results"]["errors_url"] = file.into();
        }
        Told::json(200, &told)
    }

    /// The file that names contacts lies elsewhere, where the key has no business.
    fn errors_of(&mut self, job: &str, asked: &Asked) -> Told {
        if asked.headers.contains_key("authorization") {
            self.violations.insert("the key went to where the files are".into());
        }
        let result = self.queue.result(job.parse().unwrap());
        let named = result.map_or(&Value::Null, |result| &result["named"]);
        let lines = named.as_array().into_iter().flatten();
        let lines = lines.map(|email| format!("{},invalid\n", email.as_str().unwrap()));
        Told::text(200, &format!("email,error\n{}", lines.collect::<String>()))
    }

    fn catch_up(&mut self, luck: &mut Luck<'_>) {
        while let Some((number, work)) = self.queue.overdue(luck) {
            self.work_off(number, &work, luck);
        }
    }

    fn work(&mut self, luck: &mut Luck<'_>) {
        if let Some((number, work)) = self.queue.next(luck) {
            self.work_off(number, &work, luck);
        }
    }

    fn work_off(&mut self, number: usize, work: &Work, luck: &mut Luck<'_>) {
        let result = match work {
            // Where nothing is said of it, it must not fail either.
            Work::Removal { .. }
                if !self.silent && luck.random.random_bool(luck.faults.row / 2.0) =>
            {
                json!({"status": "failed", "results": {}})
            }
            Work::Removal { list, ids } => {
                for contact in self.contacts.values_mut().filter(|one| ids.contains(&one.id)) {
                    contact.lists.remove(list);
                }
                json!({"status": "completed", "results": {"deleted_count": ids.len()}})
            }
            Work::Import { list, emails } => self.imported(list, emails, luck),
        };
        self.queue.done(number, result);
    }

    /// Mostly it names whom it could not use.
    fn imported(&mut self, list: &str, emails: &[String], luck: &mut Luck<'_>) -> Value {
        let (failed, taken): (Vec<_>, Vec<_>) = emails.iter().partition(|_| luck.fails());
        for email in &taken {
            self.contact(email).lists.insert(list.to_owned());
        }
        let status = match (failed.len(), taken.len()) {
            (0, _) => "completed",
            (_, 0) => "failed",
            _ => "errored",
        };
        let shown = if luck.random.random_bool(0.7) { failed.len() } else { 0 };
        json!({"status": status, "named": failed[..shown], "results": {
            "requested_count": emails.len(), "updated_count": taken.len(),
            "errored_count": failed.len()}})
    }
}

fn accepted(number: usize) -> Told {
    Told::json(202, &json!({"job_id": format!("job-{number}")}))
}

fn complaint(status: u16, message: &str) -> Told {
    Told::json(status, &json!({"errors": [{"field": null, "message": message}]}))
}
