//! A list of hashed emails with a status per row, which is not there at once: LinkedIn's.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::People;
use super::rolls::{by_hashed_email, differences, is_hash, is_unreadable, models};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_that_is_not_there_at_once_converges() {
    converges::<LinkedIn>();
}

/// One ad account.
#[derive(Debug)]
struct LinkedIn {
    segments: Vec<Segment>,
    /// Number of the token that is valid.
    token: u32,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Segment {
    key: String,
    members: BTreeSet<String>,
    /// Made a moment ago.
    fresh: bool,
}

/// Where ids of segments begin.
const FIRST: usize = 10_804;

impl Segment {
    fn new(key: &str, fresh: bool) -> Self {
        Self { key: key.to_owned(), members: BTreeSet::new(), fresh }
    }
}

impl Vendor for LinkedIn {
    const LIMIT: (usize, Duration) = (500, Duration::from_secs(60));

    fn new(random: &mut StdRng) -> Self {
        let mut segments = vec![Segment::new("others", false)];
        if random.random_bool(0.3) {
            segments.push(Segment::new("active", false));
        }
        Self { segments, token: 0, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if path == ["oauth", "v2", "accessToken"] {
            return self.sign_in(asked);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("Bearer t{}", self.token) => {}
            Some(token) if token.starts_with("Bearer t") => {
                return complaint(401, "EXPIRED_ACCESS_TOKEN", "The token has expired");
            }
            _ => {
                self.violations.insert("a request without a token".into());
                return complaint(401, "EMPTY_ACCESS_TOKEN", "Empty oauth2 access token");
            }
        }
        if asked.headers.get("linkedin-version").is_none_or(|version| version != "202607") {
            return complaint(426, "NONEXISTENT_VERSION", "Requested version is not active");
        }
        match (method, &path[1..]) {
            ("GET", ["dmpSegments"]) => self.found(asked),
            ("POST", ["dmpSegments"]) => self.create(asked),
            ("POST", ["dmpSegments", id, "users"]) => self.change(id, asked, luck),
            _ => complaint(404, "RESOURCE_NOT_FOUND", "No virtual resource found"),
        }
    }

    /// It never says until when.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let message = "Resource level throttle limit for calls to this resource is reached.";
        (asked.path[0] == "rest").then(|| complaint(429, "TOO_MANY_REQUESTS", message))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_change = asked.path.last().is_some_and(|last| last == "users");
        is_change.then(|| complaint(400, "ILLEGAL_ARGUMENT", "Invalid request body"))
    }

    fn expire(&mut self) {
        self.token += 1;
    }

    fn later(&mut self) {
        for segment in &mut self.segments {
            segment.fresh = false;
        }
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"linkedin_audiences\"\nbase_url = \"{url}\"\nad_account_id = \"5122\"\n\
             source_platform = \"ACME\"\nclient_id = \"muster\"\nclient_secret = \"s3cret\"\n\
             refresh_token = \"r3fresh\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_hashed_email, |name| {
            let segment = self.segments.iter().find(|segment| segment.key == name);
            segment.map(|segment| segment.members.clone()).unwrap_or_default()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl LinkedIn {
    fn sign_in(&mut self, asked: &Asked) -> Told {
        if !asked.text.contains("refresh_token=r3fresh") || !asked.text.contains("s3cret") {
            self.violations.insert("somebody else's credentials".into());
        }
        let token = format!("t{}", self.token);
        Told::json(200, &json!({"access_token": token, "expires_in": 5_183_999}))
    }

    fn found(&self, asked: &Asked) -> Told {
        let (key, platform) = (&asked.query["sourceSegmentId"], &asked.query["sourcePlatform"]);
        let segments = self.segments.iter().enumerate();
        let found = segments.filter(|(_, segment)| segment.key == *key && platform == "ACME");
        let elements: Vec<Value> = found
            .map(|(index, _)| {
                json!({"id": FIRST + index, "status": "BUILDING", "type": "USER",
                    "sourceSegmentId": key})
            })
            .collect();
        Told::json(200, &json!({"elements": elements, "paging": {"start": 0, "count": 10}}))
    }

    /// The key of a segment is its own.
    fn create(&mut self, asked: &Asked) -> Told {
        if asked.json["account"] != "urn:li:sponsoredAccount:5122" || asked.json["type"] != "USER" {
            self.violations.insert("a segment for somebody else".into());
        }
        let key = asked.json["sourceSegmentId"].as_str().unwrap();
        if self.segments.iter().any(|segment| segment.key == key) {
            return complaint(409, "CONFLICT", "The segment already exists");
        }
        self.segments.push(Segment::new(key, true));
        Told::text(201, "").with("x-restli-id", FIRST + self.segments.len() - 1)
    }

    /// One status per row. A new segment takes a while, if anything is slow.
    fn change(&mut self, id: &str, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let is_slow = luck.faults.row > 0.0 && luck.random.random();
        let segment = self.segments.get_mut(id.parse::<usize>().unwrap() - FIRST);
        let Some(segment) = segment.filter(|segment| !(segment.fresh && is_slow)) else {
            return complaint(404, "NOT_FOUND", "The segment does not exist");
        };
        if segment.key == "others" {
            self.violations.insert("somebody else's list was changed".into());
        }
        let mut statuses = Vec::new();
        for element in asked.rows("/elements") {
            let adding = element["action"] == "ADD";
            let refused = |status: u16, message: &str| json!({"status": status, "error": {"message": message, "status": status}});
            if luck.random.random_bool(luck.faults.row / 2.0) {
                statuses.push(refused(503, "Service unavailable"));
                continue;
            }
            if luck.fails() {
                statuses.push(refused(400, "Invalid user id"));
                continue;
            }
            let mut known = false;
            for user in element["userIds"].as_array().unwrap() {
                let hash = user["idValue"].as_str().unwrap();
                if user["idType"] != "SHA256_EMAIL" || !is_hash(hash) {
                    self.violations.insert("an identifier came unhashed".into());
                }
                known |= match adding {
                    true => is_unreadable(hash) || segment.members.insert(hash.to_owned()),
                    false => segment.members.remove(hash),
                };
            }
            statuses.push(match (adding, known) {
                (true, _) => json!({"status": 201}),
                (false, true) => json!({"status": 200}),
                (false, false) => refused(404, "No such user in the segment"),
            });
        }
        Told::json(200, &json!({ "elements": statuses }))
    }
}

fn complaint(status: u16, code: &str, message: &str) -> Told {
    Told::json(status, &json!({"status": status, "code": code, "message": message}))
}
