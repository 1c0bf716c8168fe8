//! A list of looked-up contacts who are merged with others meanwhile: Intercom's tags.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

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
fn a_list_of_contacts_that_are_merged_converges() {
    converges::<Intercom>();
}

/// One workspace.
#[derive(Debug)]
struct Intercom {
    contacts: Vec<Contact>,
    /// Names of tags by position.
    tags: Vec<String>,
    /// Contacts that there ever were.
    count: usize,
    /// The token is switched off for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Contact {
    id: String,
    external_id: String,
    tags: BTreeSet<usize>,
}

impl Vendor for Intercom {
    const LIMIT: (usize, Duration) = (166, Duration::from_secs(1));

    /// Everybody is a contact already.
    fn new(random: &mut StdRng) -> Self {
        let mut twin = Self {
            contacts: Vec::new(),
            tags: vec!["others".into()],
            count: 0,
            expired: false,
            violations: BTreeSet::new(),
        };
        let everybody = (0..24).map(|number| format!("u{number:02}"));
        for external_id in everybody.chain(["anchor".to_owned()]) {
            let id = twin.new_id();
            twin.contacts.push(Contact { id, external_id, tags: [0].into() });
        }
        if random.random_bool(0.3) {
            twin.tags.push("Active".into());
        }
        twin
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let says = |name: &str, value: &str| asked.headers.get(name).is_some_and(|v| v == value);
        if !says("authorization", "Bearer t0ken") || !says("intercom-version", "2.16") {
            self.violations.insert("a request without token or version".into());
        }
        if std::mem::take(&mut self.expired) {
            return complaint(401, "unauthorized", "Access Token Invalid");
        }
        let (method, path) = asked.parts();
        match (method, path.as_slice()) {
            ("GET", ["tags"]) => {
                let tags: Vec<Value> = (0..self.tags.len()).map(|tag| self.shown(tag)).collect();
                Told::json(200, &json!({"type": "list", "data": tags}))
            }
            ("GET", ["tags", id]) => match self.tag(id) {
                Some(tag) => Told::json(200, &self.shown(tag)),
                None => complaint(404, "not_found", "Tag not found"),
            },
            ("POST", ["tags"]) => self.tag_many(asked, luck),
            ("POST", ["contacts", "search"]) => self.search(asked),
            ("GET", ["contacts", id]) => match self.contacts.iter().find(|one| one.id == *id) {
                Some(contact) => Told::json(200, &contact.shown()),
                None => complaint(404, "not_found", "Contact Not Found"),
            },
            ("POST", ["contacts", contact, "tags"]) => {
                let tag = asked.json["id"].as_str().unwrap();
                self.change(contact, tag, true, luck)
            }
            ("DELETE", ["contacts", contact, "tags", tag]) => {
                self.change(contact, tag, false, luck)
            }
            _ => complaint(404, "not_found", "Resource not found"),
        }
    }

    fn throttled(&self, _asked: &Asked) -> Option<Told> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let told = complaint(429, "rate_limit_exceeded", "Exceeded rate limit");
        Some(told.with("x-ratelimit-remaining", 0).with("x-ratelimit-reset", now.as_secs() + 1))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_change = asked.json["users"].is_array() || asked.method == "DELETE";
        is_change.then(|| complaint(422, "unprocessable_entity", "Not now"))
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!("type = \"intercom_tags\"\nbase_url = \"{url}\"\naccess_token = \"t0ken\"\n")
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_id, |name| {
            let tag = self.tags.iter().position(|tag| tag.eq_ignore_ascii_case(name));
            let tagged = |contact: &&Contact| tag.is_some_and(|tag| contact.tags.contains(&tag));
            let tagged = self.contacts.iter().filter(tagged);
            tagged.map(|contact| contact.external_id.clone()).collect()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Contact {
    fn shown(&self) -> Value {
        json!({"type": "contact", "id": self.id, "external_id": self.external_id, "email": null})
    }
}

impl Intercom {
    fn new_id(&mut self) -> String {
        self.count += 1;
        format!("63a0{:020}", self.count)
    }

    fn tag(&self, id: &str) -> Option<usize> {
        id.parse::<usize>().ok()?.checked_sub(100).filter(|tag| *tag < self.tags.len())
    }

    fn shown(&self, tag: usize) -> Value {
        json!({"type": "tag", "id": (tag + 100).to_string(), "name": self.tags[tag]})
    }

    /// Creates the tag or finds it, and puts it on whom the request names: all of them or none.
    fn tag_many(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let name = asked.json["name"].as_str().unwrap();
        let found = self.tags.iter().position(|tag| tag.eq_ignore_ascii_case(name));
        let tag = found.unwrap_or_else(|| {
            self.tags.push(name.to_owned());
            self.tags.len() - 1
        });
        let ids = asked.rows("/users").iter().map(|user| user["id"].as_str().unwrap().to_owned());
        let ids: BTreeSet<String> = ids.collect();
        if ids.len() > 50 || tag == 0 {
            self.violations.insert(format!("{} contacts get the tag {tag}", ids.len()));
        }
        if let Some(id) = ids.first().filter(|_| luck.random.random_bool(luck.faults.row)) {
            self.merge(id);
        }
        let known = self.contacts.iter().filter(|contact| ids.contains(&contact.id)).count();
        if known < ids.len() {
            return complaint(404, "not_found", "User Not Found");
        }
        for contact in self.contacts.iter_mut().filter(|contact| ids.contains(&contact.id)) {
            contact.tags.insert(tag);
        }
        Told::json(200, &self.shown(tag))
    }

    /// Four contacts a page.
    fn search(&self, asked: &Asked) -> Told {
        let query = &asked.json["query"];
        assert_eq!((&query["field"], &query["operator"]), (&json!("external_id"), &json!("IN")));
        let wanted = asked.rows("/query/value");
        let found =
            self.contacts.iter().filter(|contact| wanted.contains(&json!(contact.external_id)));
        let found: Vec<Value> = found.map(Contact::shown).collect();
        let from = asked.json["pagination"]["starting_after"].as_str();
        let from: usize = from.map_or(0, |from| from.parse().unwrap());
        let until = found.len().min(from + 4);
        let next = (until < found.len()).then(|| json!({"starting_after": until.to_string()}));
        Told::json(
            200,
            &json!({"type": "list", "data": found[from..until], "pages": {"next": next}}),
        )
    }

    fn change(&mut self, contact: &str, tag: &str, adding: bool, luck: &mut Luck<'_>) -> Told {
        if luck.random.random_bool(luck.faults.row) {
            self.merge(contact);
        }
        let Some(tag) = self.tag(tag) else {
            return complaint(404, "not_found", "Tag not found");
        };
        let Some(position) = self.contacts.iter().position(|one| one.id == contact) else {
            return complaint(404, "not_found", "Contact Not Found");
        };
        if luck.fails() {
            return complaint(422, "unprocessable_entity", "Not on a Sunday");
        }
        let tags = &mut self.contacts[position].tags;
        if adding {
            tags.insert(tag);
        } else if !tags.remove(&tag) {
            return complaint(404, "not_found", "Tag not found on the contact");
        }
        Told::json(200, &self.shown(tag))
    }

    /// It becomes part of another contact, which takes over who it was and what it is tagged with.
    fn merge(&mut self, id: &str) {
        let new = self.new_id();
        if let Some(contact) = self.contacts.iter_mut().find(|contact| contact.id == id) {
            contact.id = new;
        }
    }
}

fn complaint(status: u16, code: &str, message: &str) -> Told {
    Told::json(
        status,
        &json!({"type": "error.list", "request_id": "b2f0",
            "errors": [{"code": code, "message": message}]}),
    )
}
