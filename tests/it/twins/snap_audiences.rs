//! A list of hashed identifiers, one kind at a time, that refuses inside of a success: Snapchat's.

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
fn refusals_inside_of_a_success_converge() {
    converges::<Snap>();
}

/// One ad account.
#[derive(Debug)]
struct Snap {
    segments: Vec<Segment>,
    /// Number of the token that is valid.
    token: u32,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Segment {
    name: String,
    source: &'static str,
    members: BTreeSet<String>,
}

impl Segment {
    fn new(name: &str, source: &'static str) -> Self {
        Self { name: name.to_owned(), source, members: BTreeSet::new() }
    }

    fn shown(&self, index: usize) -> Value {
        let segment = json!({"id": id_of(index), "name": self.name, "source_type": self.source});
        json!({"sub_request_status": "SUCCESS", "segment": segment})
    }
}

impl Vendor for Snap {
    const LIMIT: (usize, Duration) = (200, Duration::from_secs(1));

    /// Somebody else's lists, one of them of another kind under our name.
    fn new(random: &mut StdRng) -> Self {
        let mut segments =
            vec![Segment::new("active", "ENGAGEMENT"), Segment::new("others", "FIRST_PARTY")];
        if random.random_bool(0.3) {
            segments.push(Segment::new("active", "FIRST_PARTY"));
        }
        Self { segments, token: 0, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, _luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if path == ["login", "oauth2", "access_token"] {
            return self.sign_in(asked);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("Bearer t{}", self.token) => {}
            Some(token) if token.starts_with("Bearer t") => return complaint(401, "E1001"),
            _ => {
                self.violations.insert("a request without a token".into());
                return complaint(401, "E1001");
            }
        }
        match (method, &path[1..]) {
            ("GET", ["adaccounts", "8adc", "segments"]) => self.page(asked),
            ("POST", ["adaccounts", "8adc", "segments"]) => self.create(asked),
            ("POST", ["segments", id, "users"]) => self.upload(id, true, asked),
            ("DELETE", ["segments", id, "users"]) => self.upload(id, false, asked),
            _ => complaint(404, "E2002"),
        }
    }

    /// Without a word about when it is over.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        (asked.path[0] == "v1").then(|| complaint(429, "E4003"))
    }

    /// As a whole, or the part that matters.
    fn refused(&self, asked: &Asked) -> Option<Told> {
        let part = json!({"sub_request_status": "ERROR",
            "sub_request_error_reason": "Segment is being processed"});
        let is_upload = asked.path.last().is_some_and(|last| last == "users");
        is_upload.then(|| match asked.text.len() % 2 {
            0 => complaint(400, "E1003"),
            _ => succeeded("users", &json!([part])),
        })
    }

    fn expire(&mut self) {
        self.token += 1;
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"snap_audiences\"\nbase_url = \"{url}\"\nad_account_id = \"8adc\"\n\
             client_id = \"muster\"\nclient_secret = \"s3cret\"\nrefresh_token = \"r3fresh\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let held = |name: &str| {
            let list = self.lists(name).next();
            list.map(|segment| segment.members.clone()).unwrap_or_default()
        };
        differences(people, |_, person| by_hashes(person, false), held)
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Snap {
    fn sign_in(&mut self, asked: &Asked) -> Told {
        if !asked.text.contains("refresh_token=r3fresh") || !asked.text.contains("s3cret") {
            self.violations.insert("somebody else's credentials".into());
        }
        let token = format!("t{}", self.token);
        Told::json(200, &json!({"access_token": token, "expires_in": 3600}))
    }

    fn lists(&self, name: &str) -> impl Iterator<Item = &Segment> {
        let is_list = |segment: &&Segment| segment.source == "FIRST_PARTY";
        self.segments.iter().filter(is_list).filter(move |segment| segment.name == name)
    }

    /// One list a page, so that none is overlooked.
    fn page(&self, asked: &Asked) -> Told {
        let from: usize = asked.query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let mut page = json!({"request_status": "SUCCESS", "request_id": "57af",
            "segments": [self.segments[from].shown(from)], "paging": {}});
        if from + 1 < self.segments.len() {
            let next = format!("https://adsapi.snapchat.com/v1/adaccounts/x?cursor={}", from + 1);
            page["paging"]["next_link"] = next.into();
        }
        Told::json(200, &page)
    }

    /// Snap makes a second list of the same name without a word.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["segments"][0]["name"].as_str().unwrap();
        if self.lists(name).next().is_some() {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        self.segments.push(Segment::new(name, "FIRST_PARTY"));
        let index = self.segments.len() - 1;
        succeeded("segments", &json!([self.segments[index].shown(index)]))
    }

    fn upload(&mut self, id: &str, adding: bool, asked: &Asked) -> Told {
        let index: usize = id.trim_start_matches("5602").parse().unwrap();
        if index < 2 {
            self.violations.insert("somebody else's list was changed".into());
        }
        let users = &asked.json["users"][0];
        let (schema, rows) = (&users["schema"], users["data"].as_array().unwrap());
        let kinds = ["EMAIL_SHA256", "PHONE_SHA256"].map(|kind| json!([kind]));
        let hashes = rows.iter().map(|row| row[0].as_str().unwrap().to_owned());
        let hashes: BTreeSet<String> = hashes.collect();
        if !kinds.contains(schema) || hashes.len() < rows.len() {
            self.violations.insert(format!("{} of {schema} in {rows:?}", hashes.len()));
        }
        if !hashes.iter().all(|hash| is_hash(hash)) {
            self.violations.insert("an identifier came unhashed".into());
        }
        let usable: BTreeSet<_> = hashes.into_iter().filter(|hash| !is_unreadable(hash)).collect();
        let taken = usable.len();
        let members = &mut self.segments[index].members;
        match adding {
            true => members.extend(usable),
            false => members.retain(|member| !usable.contains(member)),
        }
        let part =
            json!({"sub_request_status": "SUCCESS", "user": {"number_uploaded_users": taken}});
        succeeded("users", &json!([part]))
    }
}

fn id_of(index: usize) -> String {
    format!("5602{index:08}")
}

fn succeeded(what: &str, parts: &Value) -> Told {
    Told::json(200, &json!({"request_status": "SUCCESS", "request_id": "57af", what: parts}))
}

fn complaint(status: u16, code: &str) -> Told {
    Told::json(
        status,
        &json!({"request_status": "ERROR", "request_id": "57af", "error_code": code,
            "debug_message": "Something about the request"}),
    )
}
