//! A list of hashed identifiers that takes jobs and only counts what it could not use: Google's
//! customer match.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::{ACTIVE, People, compared, rich_accounts, sha256};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn jobs_on_a_list_of_hashes_converge() {
    converges::<Google>();
}

/// One account.
#[derive(Debug)]
struct Google {
    lists: Vec<List>,
    jobs: Vec<Job>,
    /// How often some time has passed.
    time: u32,
    /// Number of the token that is valid.
    token: u32,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct List {
    name: String,
    key: &'static str,
    /// Kind and hash.
    members: BTreeSet<(String, String)>,
}

#[derive(Debug)]
struct Job {
    list: usize,
    adds: bool,
    people: Vec<Value>,
    since: u32,
    /// Once it is done.
    status: Option<Value>,
}

/// Where ids of lists begin.
const FIRST: usize = 98_765_000;

impl Vendor for Google {
    const LIMIT: (usize, Duration) = (300, Duration::from_secs(60));

    fn new(random: &mut StdRng) -> Self {
        let list = |name: &str, key| List { name: name.into(), key, members: BTreeSet::new() };
        let mut lists = vec![list("others", "CONTACT_ID"), list("devices", "MOBILE_ID")];
        if random.random_bool(0.3) {
            lists.push(list("active", "CONTACT_ID"));
        }
        Self { lists, jobs: Vec::new(), time: 0, token: 0, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if path == ["token"] {
            return self.sign_in(asked);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("Bearer t{}", self.token) => {}
            Some(token) if token.starts_with("Bearer t") => {
                return complaint(401, "UNAUTHENTICATED", "ACCESS_TOKEN_EXPIRED");
            }
            _ => {
                self.violations.insert("a request without a token".into());
                return complaint(401, "UNAUTHENTICATED", "CREDENTIALS_MISSING");
            }
        }
        if luck.random.random_bool(0.3) {
            self.work(luck);
        }
        match (method, &path[1..]) {
            ("GET", ["accountTypes", "GOOGLE_ADS", "accounts", "4445556666", "userLists"]) => {
                self.named(asked)
            }
            ("POST", ["accountTypes", "GOOGLE_ADS", "accounts", "4445556666", "userLists"]) => {
                self.create(asked)
            }
            ("POST", ["audienceMembers:ingest"]) => self.submit(asked, true),
            ("POST", ["audienceMembers:remove"]) => self.submit(asked, false),
            ("GET", ["requestStatus:retrieve"]) => self.status(asked, luck),
            _ => complaint(404, "NOT_FOUND", "NOT_FOUND"),
        }
    }

    /// In either form, of the minute or of the day.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let of_minute = asked.text.len().is_multiple_of(2);
        let body = match of_minute {
            true => {
                json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota",
                "details": [{"reason": "RATE_LIMIT_EXCEEDED"}]}})
            }
            false => json!({"error": {"code": 403, "message": "Quota",
                "errors": [{"reason": "dailyLimitExceeded"}]}}),
        };
        (asked.path[0] == "v1").then(|| Told::json(if of_minute { 429 } else { 403 }, &body))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_upload = asked.path.last().is_some_and(|last| last.starts_with("audienceMembers"));
        is_upload.then(|| complaint(400, "INVALID_ARGUMENT", "INVALID_HEX_ENCODING"))
    }

    fn expire(&mut self) {
        self.token += 1;
    }

    fn later(&mut self) {
        self.time += 1;
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
            "type = \"google_ads_customer_match\"\nbase_url = \"{url}\"\n\
             customer_id = \"444-555-6666\"\nterms_accepted = true\n\
             consent = {{ ad_user_data = \"granted\", ad_personalization = \"denied\" }}\n\
             client_id = \"muster\"\nclient_secret = \"s3cret\"\nrefresh_token = \"r3fresh\"\n\
             poll_after = \"100ms\"\n"
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

impl Google {
    fn sign_in(&mut self, asked: &Asked) -> Told {
        if !asked.text.contains("refresh_token=r3fresh") || !asked.text.contains("s3cret") {
            self.violations.insert("somebody else's credentials".into());
        }
        let token = format!("t{}", self.token);
        Told::json(200, &json!({"access_token": token, "expires_in": 3599}))
    }

    fn named(&self, asked: &Asked) -> Told {
        let filter = &asked.query["filter"];
        let lists = self.lists.iter().enumerate();
        let found =
            lists.filter(|(_, list)| *filter == format!("display_name = \"{}\"", list.name));
        let lists: Vec<_> = found.map(|(index, list)| list.shown(index)).collect();
        Told::json(200, &json!({ "userLists": lists }))
    }

    /// Names are unique.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["displayName"].as_str().unwrap().to_owned();
        if self.lists.iter().any(|list| list.name == name) {
            return complaint(400, "INVALID_ARGUMENT", "DISPLAY_NAME_ALREADY_USED");
        }
        let list = List { name, key: "CONTACT_ID", members: BTreeSet::new() };
        let told = list.shown(self.lists.len());
        self.lists.push(list);
        Told::json(200, &told)
    }

    /// Accepted, and nothing more.
    fn submit(&mut self, asked: &Asked, adds: bool) -> Told {
        let id = asked.json.pointer("/destinations/0/productDestinationId").and_then(Value::as_str);
        let list = id.and_then(|id| id.parse::<usize>().ok()?.checked_sub(FIRST));
        let Some(list) = list.filter(|list| *list < self.lists.len()) else {
            return complaint(400, "INVALID_ARGUMENT", "INVALID_USER_LIST_ID");
        };
        if ["others", "devices"].contains(&self.lists[list].name.as_str()) {
            self.violations.insert("somebody else's list was changed".into());
        }
        let consent =
            json!({"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_DENIED"});
        if adds && asked.json["consent"] != consent {
            self.violations.insert("another consent than that of the project".into());
        }
        let people = asked.rows("/audienceMembers").to_vec();
        self.jobs.push(Job { list, adds, people, since: self.time, status: None });
        Told::json(200, &json!({"requestId": format!("req-{}", self.jobs.len() - 1)}))
    }

    fn status(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let id: usize = asked.query["requestId"].trim_start_matches("req-").parse().unwrap();
        let is_quiet = luck.faults.row == 0.0;
        while self.jobs[id].status.is_none() && (is_quiet || luck.random.random_bool(0.6)) {
            self.work(luck);
        }
        let processing = json!({"requestStatus": "PROCESSING"});
        let status = self.jobs[id].status.as_ref().unwrap_or(&processing);
        Told::json(200, &json!({"requestStatusPerDestination": [status]}))
    }

    /// Works off one job: any one of those that came at the same time.
    fn work(&mut self, luck: &mut Luck<'_>) {
        let waiting = || self.jobs.iter().enumerate().filter(|(_, job)| job.status.is_none());
        let Some(oldest) = waiting().map(|(_, job)| job.since).min() else { return };
        let same: Vec<usize> =
            waiting().filter(|(_, job)| job.since == oldest).map(|(id, _)| id).collect();
        let id = *same.choose(luck.random).unwrap();
        self.jobs[id].status = Some(self.worked_off(id, luck));
    }

    fn worked_off(&mut self, id: usize, luck: &mut Luck<'_>) -> Value {
        let Job { list, adds, people, .. } = &self.jobs[id];
        let count = people.len().to_string();
        let failed = |reason: &str| {
            let reason = format!("PROCESSING_ERROR_REASON_{reason}");
            json!({"requestStatus": "FAILED",
                "errorInfo": {"errorCounts": [{"recordCount": count, "reason": reason}]}})
        };
        if luck.random.random_bool(luck.faults.row / 2.0) {
            return failed("INTERNAL_ERROR");
        }
        if luck.fails() {
            return failed("INVALID_FORMAT");
        }
        let members = &mut self.lists[*list].members;
        let mut unusable = 0;
        let identifiers = people.iter().flat_map(|person| {
            person
                .pointer("/userData/userIdentifiers")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        });
        for (kind, hash) in identifiers.flat_map(|identifier| identifier.as_object().unwrap()) {
            let hash = hash.as_str().unwrap();
            if hash.len() != 64 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                self.violations.insert(format!("`{kind}` came unhashed"));
            }
            let member = (kind.clone(), hash.to_owned());
            match (is_unusable(hash), adds) {
                (true, _) => unusable += 1,
                (false, true) => drop(members.insert(member)),
                (false, false) => drop(members.remove(&member)),
            }
        }
        if unusable == 0 {
            return json!({"requestStatus": "SUCCESS"});
        }
        let reason = "PROCESSING_ERROR_REASON_INVALID_IDENTIFIER";
        json!({"requestStatus": "PARTIAL_SUCCESS",
            "errorInfo": {"errorCounts": [{"recordCount": unusable.to_string(), "reason": reason}]}})
    }

    fn compared(&self, name: &str, people: &People, ids: &BTreeSet<&str>) -> Vec<String> {
        let list = self.lists.iter().find(|list| list.name == name);
        let found = list.map(|list| list.members.clone()).unwrap_or_default();
        let identifiers = ids.iter().flat_map(|id| {
            let person = &people.0[*id];
            let emails = person.emails.keys().map(|email| ("emailAddress", email));
            emails.chain(person.phone.iter().map(|phone| ("phoneNumber", phone)))
        });
        let wanted: BTreeMap<(String, String), String> = identifiers
            .map(|(kind, plain)| ((kind.to_owned(), sha256(plain)), plain.clone()))
            .filter(|((_, hash), _)| !is_unusable(hash))
            .collect();
        let found = found.into_iter().map(|member| {
            let plain = wanted.get(&member).cloned().unwrap_or_else(|| "nobody".into());
            (member, plain)
        });
        let told = compared(&wanted, &found.collect()).into_iter();
        told.map(|difference| format!("{name}: {difference}")).collect()
    }
}

impl List {
    fn shown(&self, index: usize) -> Value {
        json!({"id": (FIRST + index).to_string(), "displayName": self.name,
            "ingestedUserListInfo": {"uploadKeyTypes": [self.key]}})
    }
}

/// Some hashes are of nobody.
fn is_unusable(hash: &str) -> bool {
    hash.starts_with('0')
}

fn complaint(status: u16, word: &str, reason: &str) -> Told {
    let error = json!({"code": status, "status": word, "message": "There was a problem.",
        "details": [{"reason": reason}]});
    Told::json(status, &json!({ "error": error }))
}
