//! A list that cannot be empty, and an audience of it: Pinterest's.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::People;
use super::rolls::{NAMES, by_hashed_email, differences, is_hash, is_unreadable, models};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_that_its_first_members_make_converges() {
    converges::<Pinterest>();
}

/// One ad account.
#[derive(Debug)]
struct Pinterest {
    lists: Vec<List>,
    /// Ids of the lists that audiences are made of.
    audiences: Vec<String>,
    /// Number of the token that is valid.
    token: u32,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct List {
    name: String,
    members: BTreeSet<String>,
}

/// Where ids of lists begin.
const FIRST: usize = 643_000_000;

impl List {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), members: BTreeSet::new() }
    }

    fn shown(&self, index: usize) -> Value {
        json!({"id": id_of(index), "name": self.name, "type": "customerlist",
            "status": "PROCESSING", "num_batches": 1,
            "num_uploaded_user_records": self.members.len(), "exceptions": {}})
    }
}

impl Vendor for Pinterest {
    const LIMIT: (usize, Duration) = (100, Duration::from_secs(1));

    fn new(random: &mut StdRng) -> Self {
        let mut lists = vec![List::new("others")];
        let mut audiences = vec![id_of(0)];
        if random.random_bool(0.3) {
            lists.push(List::new("active"));
            audiences.push(id_of(1));
        }
        Self { lists, audiences, token: 0, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, _luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if path == ["v5", "oauth", "token"] {
            return self.sign_in(asked);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("Bearer t{}", self.token) => {}
            Some(token) if token.starts_with("Bearer t") => {
                return complaint(401, "Authentication failed.");
            }
            _ => {
                self.violations.insert("a request without a token".into());
                return complaint(401, "Authentication failed.");
            }
        }
        match (method, &path[1..]) {
            ("GET", ["ad_accounts", "549", "customer_lists"]) => {
                let lists = self.lists.iter().enumerate();
                page(&lists.map(|(index, list)| list.shown(index)).collect::<Vec<_>>(), asked)
            }
            ("GET", ["ad_accounts", "549", "audiences"]) => {
                page(&self.audiences.iter().map(|list| audience(list)).collect::<Vec<_>>(), asked)
            }
            ("POST", ["ad_accounts", "549", "customer_lists"]) => self.create(asked),
            ("POST", ["ad_accounts", "549", "audiences"]) => self.make_audience(asked),
            ("PATCH", ["ad_accounts", "549", "customer_lists", id]) => self.change(id, asked),
            _ => complaint(404, "Not found."),
        }
    }

    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let told = || complaint(429, "This request exceeded a rate limit.");
        (asked.path[1] == "ad_accounts").then(told)
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        (asked.method == "PATCH").then(|| complaint(400, "Invalid records."))
    }

    fn expire(&mut self) {
        self.token += 1;
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"pinterest_audiences\"\nbase_url = \"{url}\"\nad_account_id = \"549\"\n\
             client_id = \"muster\"\nclient_secret = \"s3cret\"\nrefresh_token = \"r3fresh\"\n"
        )
    }

    /// A list alone cannot be advertised to.
    fn differences(&self, people: &People) -> Vec<String> {
        let mut differences = differences(people, by_hashed_email, |name| {
            let list = self.lists.iter().find(|list| list.name == name);
            list.map(|list| list.members.clone()).unwrap_or_default()
        });
        for (index, list) in self.lists.iter().enumerate() {
            let audiences = self.audiences.iter().filter(|id| **id == id_of(index)).count();
            if NAMES.contains(&list.name.as_str()) && audiences != 1 {
                differences.push(format!("{audiences} audiences of the list `{}`", list.name));
            }
        }
        differences
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Pinterest {
    fn sign_in(&mut self, asked: &Asked) -> Told {
        // `muster:s3cret`
        let known = asked.headers.get("authorization");
        let known = known.is_some_and(|who| who == "Basic bXVzdGVyOnMzY3JldA==");
        if !known || !asked.text.contains("refresh_token=r3fresh") {
            self.violations.insert("somebody else's credentials".into());
        }
        let token = format!("t{}", self.token);
        Told::json(200, &json!({"access_token": token, "expires_in": 2_592_000}))
    }

    /// Not without members. A second one of the same name is made without a word.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["name"].as_str().unwrap();
        if asked.json["records"].as_str().unwrap_or_default().is_empty() {
            return complaint(400, "Missing records.");
        }
        if self.lists.iter().any(|list| list.name == name) {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        self.lists.push(List::new(name));
        let index = self.lists.len() - 1;
        self.add(index, asked);
        Told::json(201, &self.lists[index].shown(index))
    }

    fn make_audience(&mut self, asked: &Asked) -> Told {
        let list = asked.json["rule"]["customer_list_id"].as_str().unwrap().to_owned();
        let made = audience(&list);
        self.audiences.push(list);
        Told::json(200, &made)
    }

    fn change(&mut self, id: &str, asked: &Asked) -> Told {
        let index = id.parse::<usize>().unwrap() - FIRST;
        if index == 0 {
            self.violations.insert("somebody else's list was changed".into());
        }
        match asked.json["operation_type"].as_str() {
            Some("ADD") => self.add(index, asked),
            _ => {
                let gone = hashes(asked);
                self.lists[index].members.retain(|member| !gone.contains(member));
            }
        }
        Told::json(200, &self.lists[index].shown(index))
    }

    fn add(&mut self, index: usize, asked: &Asked) {
        let new = hashes(asked);
        if !new.iter().all(|hash| is_hash(hash)) {
            self.violations.insert("an identifier came unhashed".into());
        }
        let usable = new.into_iter().filter(|hash| !is_unreadable(hash));
        self.lists[index].members.extend(usable);
    }
}

fn hashes(asked: &Asked) -> BTreeSet<String> {
    asked.json["records"].as_str().unwrap().split(',').map(str::to_owned).collect()
}

/// One a page, so that none is overlooked.
fn page(all: &[Value], asked: &Asked) -> Told {
    let from: usize = asked.query.get("bookmark").map_or(0, |bookmark| bookmark.parse().unwrap());
    let next = (from + 1 < all.len()).then(|| (from + 1).to_string());
    Told::json(200, &json!({"items": [all[from]], "bookmark": next}))
}

fn audience(list: &str) -> Value {
    json!({"id": format!("25{list}"), "name": "some", "audience_type": "CUSTOMER_LIST",
        "rule": {"customer_list_id": list}})
}

fn id_of(index: usize) -> String {
    (FIRST + index).to_string()
}

fn complaint(status: u16, message: &str) -> Told {
    Told::json(status, &json!({"code": 1, "message": message}))
}
