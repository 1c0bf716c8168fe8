//! A list of the vendor's own ids, which have to be looked up: HubSpot's static lists.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::{ACTIVE, People, compared, rich_accounts};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_of_looked_up_ids_converges() {
    converges::<HubSpot>();
}

/// One account.
#[derive(Debug)]
struct HubSpot {
    /// Number by address in lower case.
    contacts: BTreeMap<String, u64>,
    lists: Vec<List>,
    /// Every access token but the last is over.
    token: u32,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct List {
    name: String,
    members: BTreeSet<u64>,
}

/// Where ids begin.
const FIRST: u64 = 5_000;

impl Vendor for HubSpot {
    const LIMIT: (usize, Duration) = (100, Duration::from_secs(10));

    /// Some people are contacts already, one of our lists may be there.
    fn new(random: &mut StdRng) -> Self {
        let mut twin = Self {
            contacts: BTreeMap::new(),
            lists: vec![List { name: "others".into(), members: [FIRST].into() }],
            token: 0,
            violations: BTreeSet::new(),
        };
        twin.contact("stranger@example.com");
        for number in 0..4 {
            twin.contact(&format!("shared{number}@example.com"));
        }
        if random.random_bool(0.3) {
            twin.lists.push(List { name: "active".into(), members: BTreeSet::new() });
        }
        twin
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if path == ["oauth", "v1", "token"] {
            return self.sign_in(asked);
        }
        let token = format!("Bearer t{}", self.token);
        match asked.headers.get("authorization") {
            Some(given) if *given == token => {}
            Some(given) if given.starts_with("Bearer t") => {
                return complaint(401, "EXPIRED_AUTHENTICATION", "The OAuth token is expired");
            }
            _ => {
                self.violations.insert("a request without a token".into());
                return complaint(401, "INVALID_AUTHENTICATION", "Authentication not found");
            }
        }
        match (method, &path[2..]) {
            ("GET", ["lists", "object-type-id", "0-1", "name", name]) => self.named(name),
            ("POST", ["lists"]) => self.create_list(asked),
            ("PUT", ["lists", id, "memberships", "add-and-remove"]) => self.change(id, asked),
            ("POST", ["objects", "contacts", "batch", "read"]) => self.read(asked),
            ("POST", ["objects", "contacts", "batch", "create"]) => self.create(asked, luck),
            _ => complaint(404, "OBJECT_NOT_FOUND", "No such resource"),
        }
    }

    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let policy = ["SECONDLY", "TEN_SECONDLY_ROLLING", "DAILY"][asked.text.len() % 3];
        let body = json!({"status": "error", "errorType": "RATE_LIMIT", "policyName": policy,
            "message": "You have reached your limit."});
        (asked.path[0] == "crm").then(|| Told::json(429, &body))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_write = asked.path.last().is_some_and(|last| last == "add-and-remove");
        is_write.then(|| complaint(400, "VALIDATION_ERROR", "Invalid input JSON"))
    }

    fn expire(&mut self) {
        self.token += 1;
    }

    fn models(project: &TempProject) {
        project.audience("active", r#""vendor""#, ACTIVE).audience(
            "rich",
            r#""vendor""#,
            &rich_accounts(),
        );
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"hubspot_lists\"\nbase_url = \"{url}\"\nclient_id = \"muster\"\n\
             client_secret = \"s3cret\"\nrefresh_token = \"r3fresh\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let mut differences = Vec::new();
        for (name, ids) in [("active", people.active()), ("rich", people.rich())] {
            let emails = ids.iter().flat_map(|id| people.0[*id].emails.keys());
            let wanted = emails.map(|email| (email.clone(), true)).collect();
            let list = self.lists.iter().find(|list| list.name == name);
            let members = list.map(|list| list.members.clone()).unwrap_or_default();
            let found = self.contacts.iter().filter(|(_, id)| members.contains(id));
            let found = found.map(|(email, _)| (email.clone(), true)).collect();
            let told = compared(&wanted, &found);
            differences.extend(told.into_iter().map(|text| format!("{name}: {text}")));
        }
        differences
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl HubSpot {
    fn sign_in(&mut self, asked: &Asked) -> Told {
        if !asked.text.contains("refresh_token=r3fresh") || !asked.text.contains("s3cret") {
            self.violations.insert("somebody else's credentials".into());
        }
        Told::json(
            200,
            &json!({"access_token": format!("t{}", self.token), "refresh_token": "r3fresh",
                "expires_in": 1800, "token_type": "bearer"}),
        )
    }

    fn contact(&mut self, email: &str) -> u64 {
        let next = FIRST + self.contacts.len() as u64;
        *self.contacts.entry(email.to_lowercase()).or_insert(next)
    }

    fn named(&self, name: &str) -> Told {
        match self.lists.iter().position(|list| list.name == name) {
            Some(index) => listed(index, name),
            None => complaint(404, "OBJECT_NOT_FOUND", "List does not exist"),
        }
    }

    /// Names are unique.
    fn create_list(&mut self, asked: &Asked) -> Told {
        let name = asked.json["name"].as_str().unwrap();
        if self.lists.iter().any(|list| list.name == name) {
            return complaint(400, "VALIDATION_ERROR", "List name already exists");
        }
        self.lists.push(List { name: name.to_owned(), members: BTreeSet::new() });
        listed(self.lists.len() - 1, name)
    }

    fn read(&self, asked: &Asked) -> Told {
        let (mut results, mut missing) = (Vec::new(), Vec::new());
        for input in asked.rows("/inputs") {
            let email = input["id"].as_str().unwrap();
            match self.contacts.get(&email.to_lowercase()) {
                Some(id) => results.push(json!({"id": id.to_string(),
                    "properties": {"email": email.to_lowercase(), "hs_additional_emails": null}})),
                None => missing.push(email),
            }
        }
        let mut body = json!({"status": "COMPLETE", "results": results});
        if missing.is_empty() {
            return Told::json(200, &body);
        }
        body["numErrors"] = 1.into();
        body["errors"] = json!([{"status": "error", "category": "OBJECT_NOT_FOUND",
            "message": "Could not get some CONTACT objects, they may be deleted or not exist.",
            "context": {"ids": missing}}]);
        Told::json(207, &body)
    }

    /// Who is there already stands in the way.
    fn create(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (mut results, mut errors) = (Vec::new(), Vec::new());
        for input in asked.rows("/inputs") {
            let email = input["properties"]["email"].as_str().unwrap();
            let context = json!({"objectWriteTraceId": [input["objectWriteTraceId"]]});
            if let Some(id) = self.contacts.get(&email.to_lowercase()) {
                errors.push(json!({"status": "error", "category": "CONFLICT", "context": context,
                    "message": format!("Contact already exists. Existing ID: {id}")}));
            } else if luck.fails() {
                errors.push(json!({"status": "error", "category": "VALIDATION_ERROR",
                    "message": "Property values were not valid", "context": context}));
            } else {
                let id = self.contact(email).to_string();
                results.push(json!({"id": id, "properties": {"email": email.to_lowercase()},
                    "objectWriteTraceId": input["objectWriteTraceId"]}));
            }
        }
        let status = if errors.is_empty() { 201 } else { 207 };
        Told::json(status, &json!({"status": "COMPLETE", "results": results, "errors": errors}))
    }

    fn change(&mut self, id: &str, asked: &Asked) -> Told {
        let ids = |name: &str| -> Vec<u64> {
            let rows = asked.rows(name).iter().map(|id| id.as_str().unwrap());
            rows.map(|id| id.parse().unwrap()).collect()
        };
        let (added, removed) = (ids("/recordIdsToAdd"), ids("/recordIdsToRemove"));
        let known: BTreeSet<u64> = self.contacts.values().copied().collect();
        let Some(list) = id.parse().ok().and_then(|index: usize| self.lists.get_mut(index)) else {
            return complaint(404, "OBJECT_NOT_FOUND", "List does not exist");
        };
        if list.name == "others" {
            self.violations.insert("somebody else's list was changed".into());
        }
        let all = added.iter().chain(&removed);
        let missing: Vec<String> =
            all.filter(|id| !known.contains(id)).map(u64::to_string).collect();
        list.members.extend(added.iter().filter(|id| known.contains(id)));
        list.members.retain(|id| !removed.contains(id));
        let told = |ids: &[u64]| ids.iter().map(u64::to_string).collect::<Vec<_>>();
        Told::json(
            200,
            &json!({"recordsIdsAdded": told(&added), "recordIdsRemoved": told(&removed),
                "recordIdsMissing": missing}),
        )
    }
}

fn listed(index: usize, name: &str) -> Told {
    let list = json!({"listId": index.to_string(), "name": name, "processingType": "MANUAL",
        "objectTypeId": "0-1", "listVersion": 1});
    Told::json(200, &json!({ "list": list }))
}

fn complaint(status: u16, category: &str, message: &str) -> Told {
    let body: Value = json!({"status": "error", "category": category, "message": message,
        "context": {}});
    Told::json(status, &body)
}
