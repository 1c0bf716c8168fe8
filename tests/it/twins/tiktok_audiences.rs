//! A list of hashed identifiers that says with every reply only whether all of it was taken: TikTok's.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::People;
use super::rolls::{by_hashes, differences, is_hash, is_unreadable, models};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_that_says_nothing_of_rows_converges() {
    converges::<TikTok>();
}

/// One advertiser.
#[derive(Debug)]
struct TikTok {
    audiences: Vec<Audience>,
    /// The token is over for one request.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Audience {
    name: String,
    members: BTreeSet<String>,
}

/// Where ids of audiences begin.
const FIRST: usize = 160_000_000;

impl Audience {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), members: BTreeSet::new() }
    }
}

impl Vendor for TikTok {
    const LIMIT: (usize, Duration) = (600, Duration::from_secs(60));

    fn new(random: &mut StdRng) -> Self {
        let mut audiences = vec![Audience::new("others"), Audience::new("Active")];
        if random.random_bool(0.3) {
            audiences.push(Audience::new("active"));
        }
        Self { audiences, expired: false, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        if asked.headers.get("access-token").is_none_or(|token| token != "t0ken") {
            self.violations.insert("a request without the token".into());
        }
        if std::mem::take(&mut self.expired) {
            return said(40_105, "Access token is incorrect or has been revoked", &json!({}));
        }
        if luck.random.random_bool(luck.faults.row / 2.0) {
            return said(50_002, "Internal service timeout", &json!({}));
        }
        let (method, path) = asked.parts();
        match (method, &path[2..]) {
            ("GET", ["dmp", "custom_audience", "list", ""]) => self.page(asked),
            ("POST", ["segment", "audience", ""]) => self.create(asked),
            ("POST", ["segment", "mapping", ""]) => self.map(asked),
            _ => Told::text(404, "404 page not found"),
        }
    }

    fn throttled(&self, _asked: &Asked) -> Option<Told> {
        Some(said(40_100, "Too many requests. Please retry in some minutes", &json!({})))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_mapping = asked.path.get(3).is_some_and(|part| part == "mapping");
        is_mapping.then(|| said(40_002, "The audience is not editable", &json!({})))
    }

    fn expire(&mut self) {
        self.expired = true;
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"tiktok_audiences\"\nbase_url = \"{url}\"\naccess_token = \"t0ken\"\n\
             advertiser_id = \"7100\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let held = |name: &str| {
            let mut audiences = self.audiences.iter().filter(|audience| audience.name == name);
            audiences.next().map(|audience| audience.members.clone()).unwrap_or_default()
        };
        differences(people, |_, person| by_hashes(person, true), held)
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl TikTok {
    /// One audience a page, so that none is overlooked.
    fn page(&self, asked: &Asked) -> Told {
        let page: usize = asked.query["page"].parse().unwrap();
        let audiences = self.audiences.iter().enumerate().skip(page - 1).take(1);
        let shown = audiences
            .map(|(index, audience)| json!({"audience_id": id_of(index), "name": audience.name}));
        let list: Vec<Value> = shown.collect();
        let all = self.audiences.len();
        let info = json!({"page": page, "page_size": 1, "total_number": all, "total_page": all});
        said(0, "OK", &json!({"list": list, "page_info": info}))
    }

    /// TikTok makes a second audience of the same name without a word.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["custom_audience_name"].as_str().unwrap();
        if self.audiences.iter().any(|audience| audience.name == name) {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        self.audiences.push(Audience::new(name));
        said(0, "OK", &json!({"audience_id": id_of(self.audiences.len() - 1)}))
    }

    /// Identifiers stand in the columns of their kinds; whom it cannot read it leaves out.
    fn map(&mut self, asked: &Asked) -> Told {
        let columns = asked.rows("/id_schema").len();
        let adding = asked.json["action"] == "add";
        let mut unread = false;
        for row in asked.rows("/batch_data").iter().map(|row| row.as_array().unwrap()) {
            if row.len() != columns {
                self.violations.insert("a row that does not fit the schema".into());
            }
            for cell in row.iter().filter_map(|cell| cell["id"].as_str().map(|id| (id, cell))) {
                let (hash, ids) = (cell.0.to_owned(), cell.1["audience_ids"].as_array().unwrap());
                if !is_hash(&hash) {
                    self.violations.insert("an identifier came unhashed".into());
                }
                if is_unreadable(&hash) {
                    unread = true;
                    continue;
                }
                for id in ids {
                    self.change(id.as_str().unwrap(), adding, &hash);
                }
            }
        }
        if unread {
            return said(20_001, "Partial success", &json!({}));
        }
        said(0, "OK", &json!({}))
    }

    fn change(&mut self, id: &str, adding: bool, hash: &str) {
        let index = id.parse::<usize>().unwrap() - FIRST;
        if index < 2 {
            self.violations.insert("somebody else's list was changed".into());
        }
        let members = &mut self.audiences[index].members;
        match adding {
            true => drop(members.insert(hash.to_owned())),
            false => drop(members.remove(hash)),
        }
    }
}

fn id_of(index: usize) -> String {
    (FIRST + index).to_string()
}

/// Always with status 200.
fn said(code: u32, message: &str, data: &Value) -> Told {
    Told::json(200, &json!({"code": code, "message": message, "request_id": "2026", "data": data}))
}
