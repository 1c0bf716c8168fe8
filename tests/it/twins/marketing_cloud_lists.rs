//! A list that is a table: rows come by jobs, with a result per row, and go by SOAP: Marketing Cloud's
//! data extensions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::People;
use super::queue::Queue;
use super::rolls::{by_email, differences, models};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_that_is_a_table_converges() {
    converges::<MarketingCloud>();
}

/// One account.
#[derive(Debug)]
struct MarketingCloud {
    /// Rows by key of the data extension.
    extensions: BTreeMap<String, BTreeSet<String>>,
    queue: Queue<Rows>,
    /// Number of the token that is valid.
    token: u32,
    violations: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Rows {
    extension: String,
    emails: Vec<String>,
}

impl Vendor for MarketingCloud {
    const LIMIT: (usize, Duration) = (200, Duration::from_secs(1));
    const EARLIER: usize = 3;
    /// Less than the first question after a job takes.
    const PATIENCE: &'static str = "4s";

    fn new(random: &mut StdRng) -> Self {
        let others = BTreeSet::from(["stranger@example.com".to_owned()]);
        let mut extensions = BTreeMap::from([("active_others".to_owned(), others)]);
        if random.random_bool(0.3) {
            extensions.insert("active".into(), BTreeSet::new());
        }
        Self { extensions, queue: Queue::new(), token: 0, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if path == ["v2", "token"] {
            return self.sign_in(asked);
        }
        if luck.random.random_bool(0.2) {
            self.work(luck);
        }
        if path == ["Service.asmx"] {
            return self.soap(asked, luck);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("Bearer t{}.", self.token) => {}
            Some(token) if token.starts_with("Bearer t") => {
                return complaint(401, 0, "Not Authorized");
            }
            _ => {
                self.violations.insert("a request without a token".into());
                return complaint(401, 0, "Not Authorized");
            }
        }
        match (method, &path[2..]) {
            ("GET", ["customobjects"]) => self.search(asked),
            ("GET", ["customobjects", _, "fields"]) => columns(),
            ("POST", ["customobjects"]) => self.create(asked),
            ("PUT", ["async", "dataextensions", key, "rows"]) => self.submit(key, asked),
            ("GET", ["async", job, "status"]) => self.status(job, luck),
            ("GET", ["async", job, "results"]) => self.results(job, asked),
            _ => complaint(404, 10_000, "Not Found"),
        }
    }

    /// REST says for how long, SOAP does not even say so in its status.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let body = json!({"message": "Rate limit exceeded", "errorcode": 50_100, "retryAfter": 1});
        match asked.path[0].as_str() {
            "Service.asmx" => Some(fault("Too many concurrent requests")),
            "data" => Some(Told::json(429, &body)),
            _ => None,
        }
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_write = asked.path.last().is_some_and(|last| last == "rows");
        is_write.then(|| complaint(400, 10_001, "Invalid items"))
    }

    fn expire(&mut self) {
        self.token += 1;
    }

    fn later(&mut self) {
        self.queue.later();
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"salesforce_marketing_cloud_lists\"\nbase_url = \"{url}\"\n\
             client_id = \"muster\"\nclient_secret = \"s3cret\"\nfolder = 1234\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_email, |name| self.extensions.get(name).cloned().unwrap_or_default())
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl MarketingCloud {
    fn sign_in(&mut self, asked: &Asked) -> Told {
        if asked.json["client_id"] != "muster" || asked.json["client_secret"] != "s3cret" {
            self.violations.insert("somebody else's credentials".into());
        }
        let token = format!("t{}.", self.token);
        Told::json(200, &json!({"access_token": token, "token_type": "Bearer", "expires_in": 1079}))
    }

    /// Whatever has the text in its name, one a page.
    fn search(&self, asked: &Asked) -> Told {
        let text = &asked.query["$search"];
        let found: Vec<Value> = self
            .extensions
            .keys()
            .filter(|key| key.contains(text))
            .map(|key| json!({"id": format!("id-{key}"), "key": key, "name": key}))
            .collect();
        let page: usize = asked.query.get("$page").map_or(1, |page| page.parse().unwrap());
        let items: Vec<&Value> = found.iter().skip(page - 1).take(1).collect();
        Told::json(200, &json!({"count": found.len(), "page": page, "items": items}))
    }

    /// Keys are unique.
    fn create(&mut self, asked: &Asked) -> Told {
        let key = asked.json["key"].as_str().unwrap().to_owned();
        if self.extensions.contains_key(&key) {
            return complaint(400, 10_002, "A data extension with this key exists");
        }
        self.extensions.insert(key.clone(), BTreeSet::new());
        Told::json(201, &json!({"id": format!("id-{key}"), "key": key}))
    }

    fn submit(&mut self, key: &str, asked: &Asked) -> Told {
        let extension = key.trim_start_matches("key:").to_owned();
        if !self.extensions.contains_key(&extension) || extension == "active_others" {
            self.violations.insert(format!("rows for `{extension}`"));
        }
        let mut emails = Vec::new();
        for row in asked.rows("/items").iter().map(|row| row.as_object().unwrap()) {
            if row.values().any(Value::is_null) || row["SubscriberKey"] != row["EmailAddress"] {
                self.violations.insert(format!("the row {row:?}"));
            }
            emails.push(row["SubscriberKey"].as_str().unwrap().to_owned());
        }
        let number = self.queue.submit(Rows { extension, emails });
        Told::json(202, &json!({"requestId": number.to_string(), "resultMessages": []}))
    }

    /// Until somebody takes it up there is no status; an error may be none in the end.
    fn status(&mut self, job: &str, luck: &mut Luck<'_>) -> Told {
        let number: usize = job.parse().unwrap();
        while self.queue.result(number).is_none() && Queue::<Rows>::is_hurried(luck) {
            self.work(luck);
        }
        let status = match self.queue.result(number) {
            Some(Value::Null) => return complaint(404, 10_000, "Not Found"),
            Some(rows) => {
                let failed = rows.as_array().unwrap().iter().any(|row| row["status"] == "Error");
                let result = if failed { "Has Errors" } else { "OK" };
                json!({"requestStatus": "Complete", "resultStatus": result, "hasErrors": failed})
            }
            None if luck.random.random() => Value::Null,
            None => json!({"requestStatus": "Error", "hasErrors": true}),
        };
        Told::json(200, &json!({"requestId": job, "status": status, "resultMessages": []}))
    }

    /// Two rows a page, in the order in which they came.
    fn results(&self, job: &str, asked: &Asked) -> Told {
        let rows = self.queue.result(job.parse().unwrap()).unwrap().as_array().unwrap();
        let page: usize = asked.query["page"].parse().unwrap();
        let items: Vec<&Value> = rows.iter().skip(2 * (page - 1)).take(2).collect();
        Told::json(200, &json!({"page": page, "pageSize": 2, "count": rows.len(), "items": items}))
    }

    fn work(&mut self, luck: &mut Luck<'_>) {
        if let Some((number, rows)) = self.queue.next(luck) {
            self.work_off(number, &rows, luck);
        }
    }

    /// Rows that lock each other out may be there or not. Now and then a job is forgotten as soon as it
    /// is done.
    fn work_off(&mut self, number: usize, rows: &Rows, luck: &mut Luck<'_>) {
        let table = self.extensions.entry(rows.extension.clone()).or_default();
        let mut results = Vec::new();
        for email in &rows.emails {
            let is_locked = luck.random.random_bool(luck.faults.row / 2.0);
            if !is_locked && luck.fails() {
                results.push(json!({"errorCode": "InvalidEmail", "message": "not an email",
                    "status": "Error"}));
                continue;
            }
            if !is_locked || luck.random.random() {
                table.insert(email.clone());
            }
            results.push(match is_locked {
                true => json!({"message": "Deadlocked. Rerun the transaction.", "status": "Error"}),
                false => json!({"message": "Updated", "status": "OK"}),
            });
        }
        let is_forgotten = luck.random.random_bool(luck.faults.row / 2.0);
        self.queue.done(number, if is_forgotten { Value::Null } else { results.into() });
    }

    /// Deletes rows. What was asked for earlier is done by now.
    fn soap(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        if !asked.text.contains(&format!(">t{}.</fueloauth>", self.token)) {
            return fault("Token Expired");
        }
        while let Some((number, rows)) = self.queue.overdue(luck) {
            self.work_off(number, &rows, luck);
        }
        let mut results = String::new();
        for (ordinal, object) in asked.text.split("<Objects ").skip(1).enumerate() {
            let within = |tag: &str| {
                let (_, after) = object.split_once(&format!("<{tag}>")).unwrap();
                after.split('<').next().unwrap().to_owned()
            };
            let table = self.extensions.get_mut(&within("CustomerKey")).unwrap();
            let (status, message) = if luck.fails() {
                ("Error", "The row is locked")
            } else if table.remove(&within("Value")) {
                ("OK", "Deleted DataExtensionObject")
            } else {
                ("Error", "The DeleteCommand affected 0 of the expected 1 records.")
            };
            results.push_str(&format!(
                "<Results><StatusCode>{status}</StatusCode><StatusMessage>{message}</StatusMessage>\
                 <OrdinalID>{ordinal}</OrdinalID></Results>"
            ));
        }
        let body =
            format!("<DeleteResponse>{results}<OverallStatus>OK</OverallStatus></DeleteResponse>");
        Told::text(200, &envelope(&body))
    }
}

fn columns() -> Told {
    let field = |name: &str, kind: &str, key: bool| json!({"name": name, "type": kind, "isPrimaryKey": key, "isNullable": !key});
    let fields =
        [field("SubscriberKey", "Text", true), field("EmailAddress", "EmailAddress", false)];
    Told::json(200, &json!({"id": "x", "fields": fields}))
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\">\
         <soap:Body>{body}</soap:Body></soap:Envelope>"
    )
}

fn fault(message: &str) -> Told {
    Told::text(
        500,
        &envelope(&format!("<soap:Fault><faultstring>{message}</faultstring></soap:Fault>")),
    )
}

fn complaint(status: u16, code: u32, message: &str) -> Told {
    Told::json(status, &json!({"message": message, "errorcode": code, "documentation": ""}))
}
