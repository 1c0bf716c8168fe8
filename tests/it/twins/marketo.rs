//! Results by position inside a 200, and a token that is over inside a 200 as well: Marketo.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::{ACTIVE, People, SCORES, SEATS, compared, known};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn results_by_position_and_tokens_that_run_out_converge() {
    converges::<Marketo>();
}

/// One instance.
#[derive(Debug)]
struct Marketo {
    /// Name and type.
    fields: BTreeMap<String, String>,
    /// By email.
    people: BTreeMap<String, Map<String, Value>>,
    /// By our account id.
    companies: BTreeMap<String, Map<String, Value>>,
    /// Number of the token that is valid; those before are over.
    token: u32,
    violations: BTreeSet<String>,
}

impl Vendor for Marketo {
    const LIMIT: (usize, Duration) = (100, Duration::from_secs(20));

    fn new(random: &mut StdRng) -> Self {
        let own = [("email", "email"), ("firstName", "string"), ("lastName", "string")];
        let found = random.random::<bool>().then_some(("score", "score"));
        let fields = own.into_iter().chain(found);
        let fields = fields.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect();
        Self {
            fields,
            people: BTreeMap::new(),
            companies: BTreeMap::new(),
            token: 0,
            violations: BTreeSet::new(),
        }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if path == ["identity", "oauth", "token"] {
            return self.sign_in(asked);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("Bearer t{}", self.token) => {}
            Some(token) if token.starts_with("Bearer t") => {
                return refusal(602, "Access token expired");
            }
            _ => {
                self.violations.insert("a request without a token".into());
                return refusal(601, "Access token invalid");
            }
        }
        // It may have been done, or not.
        let timed_out = luck.random.random_bool(luck.faults.error_after / 2.0);
        let done = !timed_out || luck.random.random();
        let result = match (method, &path[2..]) {
            _ if !done => Value::Null,
            ("GET", ["leads", "schema", "fields.json"]) => return self.fields(asked),
            ("GET", ["companies", "describe.json"]) => describe_companies(),
            ("POST", ["leads", "schema", "fields.json"]) => self.create_fields(asked),
            ("POST", ["leads.json"]) => self.sync(asked, "email", luck),
            ("POST", ["companies.json"]) => self.sync(asked, "externalCompanyId", luck),
            _ => return refusal(610, "Requested resource not found"),
        };
        match timed_out {
            true => refusal(604, "Request timed out"),
            false => {
                Told::json(200, &json!({"requestId": "e42b#1", "success": true, "result": result}))
            }
        }
    }

    /// Signing in is not limited.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let limits = [
            (606, "Max rate limit '100' exceeded with in '20' secs"),
            (615, "Concurrent access limit reached"),
            (607, "Daily quota reached"),
        ];
        let (code, message) = limits[asked.text.len() % limits.len()];
        (asked.path[0] == "rest").then(|| refusal(code, message))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let last = asked.path.last()?;
        ["leads.json", "companies.json"]
            .contains(&last.as_str())
            .then(|| refusal(1003, "Value for required field is not valid"))
    }

    fn expire(&mut self) {
        self.token += 1;
    }

    fn models(project: &TempProject) {
        project
            .audience("active", r#""vendor""#, ACTIVE)
            .trait_model("scores", r#""vendor""#, SCORES)
            .trait_model("seats", r#""vendor""#, SEATS);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"marketo\"\nbase_url = \"{url}\"\nclient_id = \"muster\"\n\
             client_secret = \"s3cret\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let of_people = compared(&people.facts_by_email(), &known(&self.people));
        let of_companies = compared(&people.seats(), &known(&self.companies));
        of_people.into_iter().chain(of_companies).collect()
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Marketo {
    fn sign_in(&mut self, asked: &Asked) -> Told {
        let said = |name: &str| asked.query.get(name).map(String::as_str);
        if (said("client_id"), said("client_secret")) != (Some("muster"), Some("s3cret")) {
            self.violations.insert("somebody else's credentials".into());
        }
        Told::json(
            200,
            &json!({"access_token": format!("t{}", self.token), "token_type": "bearer",
                "expires_in": 3599, "scope": "apis@example.org"}),
        )
    }

    /// Two fields a page, so that none is overlooked.
    fn fields(&self, asked: &Asked) -> Told {
        let from: usize =
            asked.query.get("nextPageToken").map_or(0, |token| token.parse().unwrap());
        let page = self.fields.iter().skip(from).take(2).map(|(name, kind)| {
            let length = (kind == "string").then_some(255);
            json!({"name": name, "displayName": name, "dataType": kind, "length": length})
        });
        let result: Vec<Value> = page.collect();
        let more = from + 2 < self.fields.len();
        let next = more.then(|| (from + 2).to_string());
        Told::json(
            200,
            &json!({"requestId": "e42b#1", "success": true, "result": result,
                "moreResult": more, "nextPageToken": next}),
        )
    }

    fn create_fields(&mut self, asked: &Asked) -> Value {
        let mut results = Vec::new();
        for field in asked.rows("/input") {
            let name = field["name"].as_str().unwrap().to_owned();
            let kind = field["dataType"].as_str().unwrap().to_owned();
            let is_new = self.fields.insert(name.clone(), kind).is_none();
            if !is_new {
                self.violations.insert(format!("the field `{name}` was created twice"));
            }
            results.push(json!({"name": name, "status": "created"}));
        }
        results.into()
    }

    /// One result per record, in the order of the request.
    fn sync(&mut self, asked: &Asked, key: &str, luck: &mut Luck<'_>) -> Value {
        let of_people = key == "email";
        let lookup = if of_people { "/lookupField" } else { "/dedupeBy" };
        let by = asked.json.pointer(lookup).and_then(Value::as_str);
        if by != Some(if of_people { "email" } else { "dedupeFields" }) {
            self.violations.insert(format!("looked up by {by:?}"));
        }
        let mut results = Vec::new();
        let mut seen = BTreeSet::new();
        for (position, record) in asked.rows("/input").iter().enumerate() {
            let mut fields = record.as_object().unwrap().clone();
            fields.remove("lastName");
            let id = fields.remove(key).unwrap().as_str().unwrap().to_lowercase();
            if !seen.insert(id.clone()) {
                self.violations.insert(format!("{id} twice in one request"));
            }
            if luck.fails() {
                let reasons =
                    json!([{"code": "1007", "message": "Multiple lead match lookup criteria"}]);
                results.push(json!({"seq": position, "status": "skipped", "reasons": reasons}));
                continue;
            }
            if let Some(name) =
                fields.keys().find(|name| of_people && !self.fields.contains_key(*name))
            {
                let reasons =
                    json!([{"code": "1006", "message": format!("Field '{name}' not found")}]);
                self.violations.insert(format!("the field `{name}` was not there yet"));
                results.push(json!({"seq": position, "status": "skipped", "reasons": reasons}));
                continue;
            }
            let records = if of_people { &mut self.people } else { &mut self.companies };
            let status = if records.contains_key(&id) { "updated" } else { "created" };
            records.entry(id).or_default().extend(fields);
            results.push(json!({"seq": position, "id": position + 1, "status": status}));
        }
        results.into()
    }
}

fn describe_companies() -> Value {
    let seats = json!({"name": "seats", "displayName": "Seats", "dataType": "integer",
        "updateable": true});
    json!([{"name": "Company", "idField": "id", "fields": [seats]}])
}

fn refusal(code: u32, message: &str) -> Told {
    let errors = json!([{"code": code.to_string(), "message": message}]);
    Told::json(200, &json!({"requestId": "e42b#1", "success": false, "errors": errors}))
}
