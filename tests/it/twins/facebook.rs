//! A list of hashed identifiers that only counts what it cannot read: Meta's custom audiences.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::fate::Luck;
use super::history::converges;
use super::people::{ACTIVE, People, compared, rich_accounts};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_of_hashes_converges() {
    converges::<Meta>();
}

/// One ad account.
#[derive(Debug)]
struct Meta {
    audiences: Vec<Audience>,
    /// The token is over, and nobody has renewed it yet.
    expired: bool,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Audience {
    id: String,
    name: String,
    subtype: &'static str,
    /// Kind and hash.
    members: BTreeSet<(String, String)>,
}

impl Audience {
    fn new(number: usize, name: &str, subtype: &'static str) -> Self {
        let id = format!("2385000000{number:06}");
        Self { id, name: name.to_owned(), subtype, members: BTreeSet::new() }
    }
}

impl Vendor for Meta {
    const LIMIT: (usize, Duration) = (5_000, Duration::from_secs(3600));

    /// Somebody else's audiences are there already, one of them of another kind under our name, at
    /// times the very one that is meant.
    fn new(random: &mut StdRng) -> Self {
        let mut audiences =
            vec![Audience::new(0, "active", "WEBSITE"), Audience::new(1, "others", "CUSTOM")];
        if random.random_bool(0.3) {
            audiences.push(Audience::new(2, "active", "CUSTOM"));
        }
        Self { audiences, expired: false, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, _luck: &mut Luck<'_>) -> Told {
        if asked.headers.get("authorization").is_none_or(|token| token != "Bearer t0ken") {
            self.violations.insert("a request without the token".into());
        }
        if std::mem::take(&mut self.expired) {
            return complaint(401, 190, "Error validating access token: Session has expired");
        }
        match asked.parts() {
            ("GET", path) if path == ["v26.0", "act_310", "customaudiences"] => self.page(asked),
            ("POST", path) if path == ["v26.0", "act_310", "customaudiences"] => self.create(asked),
            (method @ ("POST" | "DELETE"), path) => match path.as_slice() {
                ["v26.0", id, "users"] => self.upload(id, method == "POST", asked),
                _ => complaint(400, 100, "Unsupported post request"),
            },
            _ => complaint(400, 100, "Unsupported get request"),
        }
    }

    /// In its own words, with or without saying until when.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let told = complaint(400, 80_003, "There have been too many calls to this ad-account");
        let usage = json!({"310": [{"type": "custom_audience", "call_count": 100,
            "total_cputime": 20, "total_time": 25, "estimated_time_to_regain_access": 2}]});
        Some(match asked.text.len() % 2 {
            0 => told.with("x-business-use-case-usage", usage),
            _ => told,
        })
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_upload = asked.path.last().is_some_and(|last| last == "users");
        is_upload.then(|| complaint(400, 100, "Invalid parameter"))
    }

    fn expire(&mut self) {
        self.expired = true;
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
            "type = \"facebook_custom_audiences\"\nbase_url = \"{url}\"\naccess_token = \"t0ken\"\n\
             ad_account_id = \"310\"\ncustomer_file_source = \"user_provided_only\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let lists = [("active", people.active()), ("rich", people.rich())];
        lists.iter().flat_map(|(name, ids)| self.compared(name, people, ids)).collect()
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Meta {
    /// One audience a page, so that none is overlooked.
    fn page(&self, asked: &Asked) -> Told {
        let from: usize = asked.query.get("after").map_or(0, |after| after.parse().unwrap());
        let audience = &self.audiences[from];
        let mut page = json!({"data": [{"id": audience.id, "name": audience.name,
            "subtype": audience.subtype}], "paging": {"cursors": {"after": (from + 1).to_string()}}});
        if from + 1 < self.audiences.len() {
            page["paging"]["next"] = "https://graph.facebook.com/next".into();
        }
        Told::json(200, &page)
    }

    /// Meta makes a second audience of the same name without a word.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["name"].as_str().unwrap();
        if self.lists(name).next().is_some() {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        let created = Audience::new(self.audiences.len(), name, "CUSTOM");
        let told = json!({ "id": created.id });
        self.audiences.push(created);
        Told::json(200, &told)
    }

    fn upload(&mut self, id: &str, adding: bool, asked: &Asked) -> Told {
        let Some(audience) = self.audiences.iter_mut().find(|audience| audience.id == id) else {
            return complaint(400, 100, "Object does not exist");
        };
        if audience.subtype != "CUSTOM" {
            return complaint(400, 1_487_301, "This audience is no customer list");
        }
        let schema = asked.rows("/payload/schema");
        let mut unread = 0;
        for row in asked.rows("/payload/data") {
            // It says how many, never which, and takes the rest; what is meant is sent again one day.
            let cells = schema.iter().zip(row.as_array().unwrap());
            let filled = cells
                .map(|(kind, cell)| (kind.as_str().unwrap(), cell.as_str().unwrap()))
                .filter(|(_, cell)| !cell.is_empty());
            for (kind, cell) in filled {
                let hashed = cell.len() == 64 && cell.bytes().all(|byte| byte.is_ascii_hexdigit());
                if !hashed {
                    self.violations.insert(format!("`{kind}` came unhashed"));
                }
                if is_unreadable(cell) {
                    unread += 1;
                    continue;
                }
                let member = (kind.to_owned(), cell.to_owned());
                match adding {
                    true => drop(audience.members.insert(member)),
                    false => drop(audience.members.remove(&member)),
                }
            }
        }
        let received = asked.rows("/payload/data").len();
        Told::json(
            200,
            &json!({"audience_id": id, "session_id": "7311", "num_received": received,
                "num_invalid_entries": unread, "invalid_entry_samples": {}}),
        )
    }

    fn lists(&self, name: &str) -> impl Iterator<Item = &Audience> {
        self.audiences
            .iter()
            .filter(move |audience| audience.name == name && audience.subtype == "CUSTOM")
    }

    fn compared(&self, name: &str, people: &People, ids: &BTreeSet<&str>) -> Vec<String> {
        let list = self.lists(name).next();
        let found = list.map(|audience| audience.members.clone()).unwrap_or_default();
        let members = ids.iter().flat_map(|id| identifiers(people, id));
        let wanted: BTreeMap<(String, String), String> = members
            .map(|(kind, plain)| ((kind.to_owned(), hash(&plain)), plain))
            .filter(|((_, hash), _)| !is_unreadable(hash))
            .collect();
        let found = found
            .into_iter()
            .map(|member| {
                let plain = wanted.get(&member).cloned().unwrap_or_else(|| "nobody".into());
                (member, plain)
            })
            .collect();
        let told = compared(&wanted, &found).into_iter();
        told.map(|difference| format!("{name}: {difference}")).collect()
    }
}

/// What Meta knows a person by.
fn identifiers(people: &People, id: &str) -> Vec<(&'static str, String)> {
    let person = &people.0[id];
    let emails = person.emails.keys().map(|email| ("EMAIL", email.clone()));
    let phone =
        person.phone.iter().map(|phone| ("PHONE", phone.trim_start_matches('+').to_owned()));
    emails.chain(phone).collect()
}

fn hash(plain: &str) -> String {
    Sha256::digest(plain).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Some hashes are of nobody Meta could know.
fn is_unreadable(hash: &str) -> bool {
    hash.starts_with('0')
}

fn complaint(status: u16, code: u32, message: &str) -> Told {
    let error = json!({"message": message, "type": "OAuthException", "code": code,
        "is_transient": false, "fbtrace_id": "A1"});
    Told::json(status, &json!({ "error": error }))
}
