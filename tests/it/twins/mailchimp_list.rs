//! A list of contacts who must be there first, and ignores the others without a word: Mailchimp's
//! static segments.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use md5::{Digest, Md5};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::People;
use super::rolls::{by_email, differences, models};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_that_ignores_without_a_word_converges() {
    converges::<Mailchimp>();
}

/// One audience.
#[derive(Debug)]
struct Mailchimp {
    /// By email in lower case: what they agreed to.
    contacts: BTreeMap<String, &'static str>,
    segments: Vec<Segment>,
    /// The key is switched off for one request.
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
        json!({"id": id, "name": self.name, "type": self.kind, "member_count": self.members.len()})
    }
}

impl Vendor for Mailchimp {
    const LIMIT: (usize, Duration) = (200, Duration::from_secs(1));

    /// Some unsubscribed long ago.
    fn new(random: &mut StdRng) -> Self {
        let mut segments = vec![Segment::new("others", "static"), Segment::new("Active", "saved")];
        segments[0].members.insert("shared1@example.com".into());
        if random.random_bool(0.3) {
            segments.push(Segment::new("active", "static"));
        }
        let known =
            [("shared1@example.com", "unsubscribed"), ("shared2@example.com", "subscribed")];
        let contacts = known.map(|(email, status)| (email.to_owned(), status)).into();
        Self { contacts, segments, expired: false, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        // `muster:k3y`
        let known = asked.headers.get("authorization");
        if known.is_none_or(|key| key != "Basic bXVzdGVyOmszeQ==") {
            self.violations.insert("a request without the key".into());
        }
        if std::mem::take(&mut self.expired) {
            return problem(401, "API Key Invalid");
        }
        let (method, path) = asked.parts();
        match (method, &path[3..]) {
            ("POST", []) => self.create_contacts(asked, luck),
            ("GET", ["segments"]) => self.page(asked),
            ("POST", ["segments"]) => self.create(asked),
            ("POST", ["segments", id]) => self.change(id, asked, luck),
            ("GET", ["members", id]) => self.member(id),
            _ => problem(404, "Resource Not Found"),
        }
    }

    /// In its own words, or from the edge without any; two writes to one contact at a time are an
    /// empty 404.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        Some(match asked.text.len() % 3 {
            0 => problem(429, "Too Many Requests"),
            1 => Told::text(403, ""),
            _ => Told::text(404, ""),
        })
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_change = asked.json["members_to_add"].is_array();
        is_change.then(|| problem(400, "Invalid Resource"))
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"mailchimp_list\"\nbase_url = \"{url}\"\napi_key = \"k3y\"\n\
             audience_id = \"a1\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_email, |name| {
            let mut named = self.segments.iter().filter(|segment| segment.name == name);
            named.next().map(|segment| segment.members.clone()).unwrap_or_default()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Mailchimp {
    fn create_contacts(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        if asked.json["update_existing"] != false || asked.rows("/members").len() > 500 {
            self.violations.insert("contacts that are there would be changed".into());
        }
        let (mut new, mut errors) = (Vec::new(), Vec::new());
        for member in asked.rows("/members") {
            let email = member["email_address"].as_str().unwrap().to_lowercase();
            if member["status"] != "transactional" {
                self.violations.insert("somebody was subscribed".into());
            }
            let refused = |error: &str, code: &str| json!({"email_address": email, "error": error, "error_code": code});
            match self.contacts.entry(email.clone()) {
                Entry::Occupied(_) => {
                    errors.push(refused("is already a list member", "ERROR_CONTACT_EXISTS"));
                }
                Entry::Vacant(_) if luck.fails() => {
                    errors.push(refused("looks fake or invalid", "ERROR_GENERIC"));
                }
                Entry::Vacant(contact) => {
                    new.push(json!({"email_address": email, "status": "transactional"}));
                    contact.insert("transactional");
                }
            }
        }
        let counts = (new.len(), errors.len());
        Told::json(
            200,
            &json!({"new_members": new, "updated_members": [], "errors": errors,
                "total_created": counts.0, "total_updated": 0, "error_count": counts.1}),
        )
    }

    /// One segment a page, so that none is overlooked.
    fn page(&self, asked: &Asked) -> Told {
        let from: usize = asked.query["offset"].parse().unwrap();
        let segments = self.segments.iter().enumerate();
        let all: Vec<Value> = segments
            .filter(|(_, segment)| segment.kind == asked.query["type"])
            .map(|(id, segment)| segment.shown(id))
            .collect();
        let page: Vec<&Value> = all.iter().skip(from).take(1).collect();
        Told::json(200, &json!({"list_id": "a1", "segments": page, "total_items": all.len()}))
    }

    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["name"].as_str().unwrap();
        if self.segments.iter().any(|segment| segment.name == name) {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        self.segments.push(Segment::new(name, "static"));
        let id = self.segments.len() - 1;
        Told::json(200, &self.segments[id].shown(id))
    }

    /// Names only whom it moved; about some it complains, others it ignores.
    fn change(&mut self, id: &str, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let index: usize = id.parse().unwrap();
        if index < 2 {
            self.violations.insert("somebody else's list was changed".into());
        }
        let (mut added, mut removed, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let emails = |list: &str| asked.rows(list).iter().map(|email| email.as_str().unwrap());
        let all = emails("/members_to_add").map(|email| (email, true));
        let all = all.chain(emails("/members_to_remove").map(|email| (email, false)));
        for (email, adding) in all {
            if luck.fails() {
                if luck.random.random() {
                    let error = "Email address could not be processed";
                    errors.push(json!({"email_addresses": [email], "error": error}));
                }
                continue;
            }
            let members = &mut self.segments[index].members;
            let is_known = self.contacts.contains_key(&email.to_lowercase());
            let named = json!({"email_address": email});
            match adding {
                true if is_known && members.insert(email.to_lowercase()) => added.push(named),
                false if members.remove(&email.to_lowercase()) => removed.push(named),
                _ => {}
            }
        }
        let count = errors.len();
        Told::json(
            200,
            &json!({"members_added": added, "members_removed": removed, "errors": errors,
                "total_added": added.len(), "total_removed": removed.len(), "error_count": count}),
        )
    }

    fn member(&self, id: &str) -> Told {
        let Some(email) = self.contacts.keys().find(|email| digest(email) == id) else {
            return problem(404, "Resource Not Found");
        };
        let segments = self.segments.iter().enumerate();
        let tags: Vec<Value> = segments
            .filter(|(_, segment)| segment.members.contains(email))
            .map(|(id, segment)| json!({"id": id, "name": segment.name}))
            .collect();
        Told::json(200, &json!({"id": id, "tags_count": tags.len(), "tags": tags}))
    }
}

fn digest(email: &str) -> String {
    Md5::digest(email).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn problem(status: u16, title: &str) -> Told {
    Told::json(
        status,
        &json!({"type": "about:blank", "title": title, "status": status, "detail": title,
            "instance": "26a3"}),
    )
}
