//! A list that is changed by definitions, staged data and syncs: Eloqua's.

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
fn definitions_data_and_syncs_converge() {
    converges::<Eloqua>();
}

/// One instance.
#[derive(Debug)]
struct Eloqua {
    contacts: BTreeSet<String>,
    lists: Vec<List>,
    /// By address.
    definitions: BTreeMap<String, Definition>,
    made: usize,
    queue: Queue<Definition>,
    /// The credentials are doubted until the login was asked.
    doubted: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct List {
    name: String,
    members: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Definition {
    list: usize,
    adds: bool,
    emails: Vec<String>,
}

/// Where ids of lists begin.
const FIRST: usize = 120;

impl List {
    fn shown(&self, index: usize) -> Value {
        json!({"type": "ContactList", "id": (FIRST + index).to_string(), "name": self.name})
    }
}

impl Vendor for Eloqua {
    const LIMIT: (usize, Duration) = (200, Duration::from_secs(1));
    const EARLIER: usize = 3;
    /// Less than the first question after a sync takes.
    const PATIENCE: &'static str = "9s";

    fn new(random: &mut StdRng) -> Self {
        let list = |name: &str| List { name: name.into(), members: BTreeSet::new() };
        let mut lists = vec![list("others")];
        lists[0].members.insert("shared1@example.com".into());
        if random.random_bool(0.3) {
            lists.push(list("active"));
        }
        Self {
            contacts: ["shared1@example.com".to_owned()].into(),
            lists,
            definitions: BTreeMap::new(),
            made: 0,
            queue: Queue::new(),
            doubted: false,
            violations: BTreeSet::new(),
        }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        // `Acme\muster:s3cret`
        let known = asked.headers.get("authorization");
        if known.is_none_or(|who| who != "Basic QWNtZVxtdXN0ZXI6czNjcmV0") {
            self.violations.insert("a request without the password".into());
        }
        let (method, path) = asked.parts();
        if path == ["id"] {
            self.doubted = false;
            let urls = json!({"base": "https://secure.p03.eloqua.com"});
            return Told::json(200, &json!({"site": {"name": "Acme"}, "urls": urls}));
        }
        if self.doubted {
            return Told::text(401, "");
        }
        if luck.random.random_bool(0.2) {
            self.work(luck);
        }
        match (method, &path[3..]) {
            ("GET", ["assets", "contact", "lists"]) => self.search(asked),
            ("POST", ["assets", "contact", "list"]) => self.create(asked),
            ("POST", ["contacts", kind @ ("imports" | "syncActions")]) => self.define(kind, asked),
            ("POST", ["contacts", kind, id, "data"]) => self.stage(&address(kind, id), asked),
            ("DELETE", ["contacts", kind, id]) => {
                self.definitions.remove(&address(kind, id));
                Told::text(204, "")
            }
            ("POST", ["syncs"]) => self.start(asked),
            ("GET", ["syncs", sync]) => self.status(sync, luck),
            ("GET", ["syncs", sync, "rejects"]) => self.rejects(sync, asked),
            ("GET", ["syncs", _, "logs"]) => {
                let log = json!({"severity": "error", "statusCode": "ELQ-00107",
                    "message": "There was an error processing the import."});
                Told::json(200, &json!({"items": [log], "hasMore": false}))
            }
            _ => Told::text(404, ""),
        }
    }

    /// Nothing says until when.
    fn throttled(&self, _asked: &Asked) -> Option<Told> {
        Some(Told::text(429, ""))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_definition = asked.json["identifierFieldName"].is_string();
        let failures = json!({"failures": [{"field": "fields", "constraint": "Must be known"}]});
        is_definition.then(|| Told::json(400, &failures))
    }

    fn expire(&mut self) {
        self.doubted = true;
    }

    fn later(&mut self) {
        self.queue.later();
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"eloqua\"\nbase_url = \"{url}\"\ncompany = \"Acme\"\nuser = \"muster\"\n\
             password = \"s3cret\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_email, |name| {
            let list = self.lists.iter().find(|list| list.name == name);
            list.map(|list| list.members.clone()).unwrap_or_default()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Eloqua {
    fn search(&self, asked: &Asked) -> Told {
        let wanted = &asked.query["search"];
        let lists = self.lists.iter().enumerate();
        let found = lists.filter(|(_, list)| *wanted == format!("name='{}'", list.name));
        let elements: Vec<Value> = found.map(|(index, list)| list.shown(index)).collect();
        Told::json(200, &json!({"elements": elements, "page": 1, "total": elements.len()}))
    }

    /// Names are unique.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["name"].as_str().unwrap();
        if self.lists.iter().any(|list| list.name == name) {
            return Told::json(
                409,
                &json!([{"type": "ObjectValidationError", "property": "name"}]),
            );
        }
        self.lists.push(List { name: name.to_owned(), members: BTreeSet::new() });
        let index = self.lists.len() - 1;
        Told::json(201, &self.lists[index].shown(index))
    }

    /// An import creates contacts, sync actions do not.
    fn define(&mut self, kind: &str, asked: &Asked) -> Told {
        let action = &asked.json["syncActions"][0];
        let adds = action["action"] == "add";
        let list = action["destination"].as_str().unwrap();
        let list = list.trim_start_matches("{{ContactList[").trim_end_matches("]}}");
        let list = list.parse::<usize>().unwrap() - FIRST;
        let name = asked.json["name"].as_str().unwrap();
        let is_import = kind == "imports";
        if list == 0 || adds != is_import || name.len() > 100 {
            self.violations.insert(format!("the definition {}", asked.text));
        }
        if asked.json["isSyncTriggeredOnImport"] != false {
            self.violations.insert("a sync that nobody starts".into());
        }
        self.made += 1;
        let uri = address(kind, &self.made.to_string());
        self.definitions.insert(uri.clone(), Definition { list, adds, emails: Vec::new() });
        Told::json(201, &json!({"uri": uri, "name": name}))
    }

    fn stage(&mut self, uri: &str, asked: &Asked) -> Told {
        let Some(definition) = self.definitions.get_mut(uri) else { return Told::text(404, "") };
        let rows = asked.json.as_array().unwrap().iter();
        definition.emails.extend(rows.map(|row| row["Email"].as_str().unwrap().to_owned()));
        Told::text(204, "")
    }

    fn start(&mut self, asked: &Asked) -> Told {
        let uri = asked.json["syncedInstanceUri"].as_str().unwrap();
        let Some(definition) = self.definitions.get(uri) else { return Told::text(404, "") };
        let number = self.queue.submit(definition.clone());
        let sync = json!({"uri": format!("/syncs/{number}"), "syncedInstanceUri": uri,
            "status": "pending"});
        Told::json(201, &sync)
    }

    fn status(&mut self, sync: &str, luck: &mut Luck<'_>) -> Told {
        let number: usize = sync.parse().unwrap();
        while self.queue.result(number).is_none() && Queue::<Definition>::is_hurried(luck) {
            self.work(luck);
        }
        let status = match self.queue.result(number) {
            None => "active",
            Some(Value::Null) => "error",
            Some(Value::Bool(_)) => return Told::text(404, ""),
            Some(rejects) if rejects.as_array().is_none_or(Vec::is_empty) => "success",
            Some(_) => "warning",
        };
        Told::json(200, &json!({"uri": format!("/syncs/{sync}"), "status": status}))
    }

    /// One a page.
    fn rejects(&self, sync: &str, asked: &Asked) -> Told {
        let rejects = self.queue.result(sync.parse().unwrap()).unwrap().as_array().unwrap();
        let from: usize = asked.query["offset"].parse().unwrap();
        let items: Vec<&Value> = rejects.iter().skip(from).take(1).collect();
        let more = from + 1 < rejects.len();
        Told::json(200, &json!({"items": items, "hasMore": more, "totalResults": rejects.len()}))
    }

    fn work(&mut self, luck: &mut Luck<'_>) {
        if let Some((number, definition)) = self.queue.next(luck) {
            let result = self.work_off(&definition, luck);
            self.queue.done(number, result);
        }
    }

    /// What it rejected; NULL where all went wrong, `false` where nobody knows any more.
    fn work_off(&mut self, definition: &Definition, luck: &mut Luck<'_>) -> Value {
        if luck.random.random_bool(luck.faults.row / 2.0) {
            return Value::Null;
        }
        let mut rejects = Vec::new();
        for email in &definition.emails {
            let mut reject = |code: &str, message: &str| {
                rejects.push(json!({"fieldValues": {"Email": email}, "statusCode": code,
                    "message": message, "recordIndex": 1, "invalidFields": []}));
            };
            let members = &mut self.lists[definition.list].members;
            if luck.fails() {
                reject("ELQ-00002", "Invalid email address.");
            } else if definition.adds {
                self.contacts.insert(email.clone());
                members.insert(email.clone());
            } else if self.contacts.contains(email) {
                members.remove(email);
            } else {
                reject("ELQ-00085", "No such contact.");
            }
        }
        let is_forgotten = luck.random.random_bool(luck.faults.row / 2.0);
        if is_forgotten { Value::Bool(false) } else { rejects.into() }
    }
}

fn address(kind: &str, id: &str) -> String {
    format!("/contacts/{kind}/{id}")
}
