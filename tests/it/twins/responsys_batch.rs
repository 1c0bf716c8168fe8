//! A list that is a column: people are merged into one table at once, marked in another one later:
//! Responsys'.

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
fn a_list_that_is_a_column_converges() {
    converges::<Responsys>();
}

/// One profile list.
#[derive(Debug)]
struct Responsys {
    /// By email: whether they may be mailed.
    profiles: BTreeMap<String, char>,
    /// By name.
    tables: BTreeMap<String, Table>,
    queue: Queue<Rows>,
    /// Number of the session that is valid.
    session: u32,
    violations: BTreeSet<String>,
}

#[derive(Debug)]
struct Table {
    column: String,
    marks: BTreeMap<String, String>,
}

#[derive(Debug, Clone)]
struct Rows {
    table: String,
    records: Vec<(String, String)>,
}

impl Vendor for Responsys {
    const LIMIT: (usize, Duration) = (1_000, Duration::from_secs(60));
    const EARLIER: usize = 3;
    /// Less than the first question after a request takes.
    const PATIENCE: &'static str = "4s";

    fn new(random: &mut StdRng) -> Self {
        let mut tables = BTreeMap::new();
        if random.random_bool(0.3) {
            let table = Table { column: "ACTIVE".into(), marks: BTreeMap::new() };
            tables.insert("MUSTER_LIST_ACTIVE".into(), table);
        }
        let profiles = [("shared1@example.com".to_owned(), 'I')].into();
        Self { profiles, tables, queue: Queue::new(), session: 0, violations: BTreeSet::new() }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if path == ["rest", "api", "v1.3", "auth", "token"] {
            return self.sign_in(asked);
        }
        match asked.headers.get("authorization").map(String::as_str) {
            Some(token) if token == format!("s{}", self.session) => {}
            Some(token) if token.starts_with('s') => {
                let told = "Not a valid authentication token";
                return match self.session % 2 {
                    0 => complaint(500, "UNEXPECTED_EXCEPTION", told),
                    _ => complaint(401, "TOKEN_EXPIRED", told),
                };
            }
            _ => {
                self.violations.insert("a request without a session".into());
                return complaint(401, "INVALID_TOKEN", "");
            }
        }
        if luck.random.random_bool(0.2) {
            self.work(luck);
        }
        match (method, path[1], &path[3..]) {
            ("GET", "api", ["lists", "PEOPLE", "listExtensions"]) => self.extensions(),
            ("POST", "api", ["lists", "PEOPLE", "listExtensions"]) => self.create(asked),
            ("POST", "api", ["lists", "PEOPLE", "members"]) => self.merge(asked, luck),
            ("POST", "asyncApi", ["lists", "PEOPLE", "listExtensions", table, "members"]) => {
                self.submit(table, asked)
            }
            ("GET", "asyncApi", ["requests", request]) => self.answer(request, luck),
            _ => complaint(404, "INVALID_REQUEST", "No such resource"),
        }
    }

    /// With a status that means something else.
    fn throttled(&self, asked: &Asked) -> Option<Told> {
        let status = [200, 401, 429][asked.text.len() % 3];
        Some(complaint(status, "API_LIMIT_EXCEEDED", "Please try again in a minute."))
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_merge = asked.path.last().is_some_and(|last| last == "members");
        is_merge.then(|| complaint(400, "INVALID_PARAMETER", "recordData is not valid"))
    }

    fn expire(&mut self) {
        self.session += 1;
    }

    fn later(&mut self) {
        self.queue.later();
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"responsys_batch\"\nbase_url = \"{url}\"\nuser_name = \"muster\"\n\
             password = \"s3cret\"\nlist = \"PEOPLE\"\nfolder = \"Muster\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        let mut differences = differences(people, by_email, |name| {
            let table = self.tables.get(&format!("MUSTER_LIST_{}", name.to_uppercase()));
            let marks = table.iter().flat_map(|table| &table.marks);
            marks.filter(|(_, mark)| *mark == "1").map(|(email, _)| email.clone()).collect()
        });
        let opted_in = self.profiles.values().filter(|permission| **permission == 'I').count();
        if opted_in != 1 {
            differences.push(format!("{opted_in} people may be mailed"));
        }
        differences
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Responsys {
    fn sign_in(&mut self, asked: &Asked) -> Told {
        if asked.text != "user_name=muster&password=s3cret&auth_type=password" {
            self.violations.insert("somebody else's credentials".into());
        }
        let token = format!("s{}", self.session);
        let end = "https://api5-002.responsys.net";
        Told::json(200, &json!({"authToken": token, "issuedAt": 1_795_161_816, "endPoint": end}))
    }

    fn extensions(&self) -> Told {
        let shown = self.tables.iter().map(|(name, table)| {
            json!({"profileExtension": {"objectName": name, "folderName": "Muster"},
                "fields": [{"fieldName": table.column, "fieldType": "STR500"}]})
        });
        Told::json(200, &shown.collect::<Vec<_>>().into())
    }

    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["profileExtension"]["objectName"].as_str().unwrap().to_owned();
        let column = asked.json["fields"][0]["fieldName"].as_str().unwrap().to_owned();
        if self.tables.insert(name.clone(), Table { column, marks: BTreeMap::new() }).is_some() {
            self.violations.insert(format!("a second table `{name}`"));
        }
        Told::json(200, &json!(true))
    }

    /// One record per row, in the order of the request; who is new must not be mailed.
    fn merge(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let rule = &asked.json["mergeRule"];
        if rule["defaultPermissionStatus"] != "OPTOUT"
            || rule["matchColumnName1"] != "EMAIL_ADDRESS_"
            || asked.rows("/recordData/records").len() > 200
        {
            self.violations.insert(format!("the rule {rule}"));
        }
        let mut records = Vec::new();
        for row in asked.rows("/recordData/records") {
            let email = row[0].as_str().unwrap().to_owned();
            records.push(match luck.fails() {
                true => json!(["MERGEFAILED: Record 1 = INVALID EMAIL"]),
                false => {
                    self.profiles.entry(email).or_insert('O');
                    json!([(78_213_405 + records.len()).to_string()])
                }
            });
        }
        let data = json!({"fieldNames": ["RIID_"], "records": records});
        Told::json(200, &json!({"recordData": data}))
    }

    fn submit(&mut self, table: &str, asked: &Asked) -> Told {
        let known = self.tables.get(table);
        let columns = known.map(|table| json!(["EMAIL_ADDRESS_", table.column]));
        let is_match = asked.json["matchColumnName1"] == "EMAIL_ADDRESS";
        if columns.as_ref() != Some(&asked.json["recordData"]["fieldNames"]) || !is_match {
            self.violations.insert(format!("rows for `{table}`: {}", asked.text));
        }
        let rows = asked.rows("/recordData/records").iter();
        let text = |cell: &Value| cell.as_str().unwrap().to_owned();
        let records = rows.map(|row| (text(&row[0]), text(&row[1]))).collect();
        let number = self.queue.submit(Rows { table: table.to_owned(), records });
        let id = number.to_string();
        Told::json(202, &json!({"requestId": id, "status": "REQUEST_ACCEPTED"}))
    }

    fn answer(&mut self, request: &str, luck: &mut Luck<'_>) -> Told {
        let number: usize = request.parse().unwrap();
        while self.queue.result(number).is_none() && Queue::<Rows>::is_hurried(luck) {
            self.work(luck);
        }
        let waiting = json!({"status": "IN_PROGRESS", "response": {
            "errorCode": "PROCESSING_REQUEST", "detail": "The request is being processed"}});
        let mut told = self.queue.result(number).cloned().unwrap_or(waiting);
        told["requestId"] = request.into();
        Told::json(200, &told)
    }

    fn work(&mut self, luck: &mut Luck<'_>) {
        if let Some((number, rows)) = self.queue.next(luck) {
            let result = self.work_off(&rows, luck);
            self.queue.done(number, result);
        }
    }

    /// Now and then it expired in the queue, or its answer is thrown away.
    fn work_off(&mut self, rows: &Rows, luck: &mut Luck<'_>) -> Value {
        let refused = |code: &str| json!({"status": "ERROR", "response": {"errorCode": code, "detail": "Too late"}});
        if luck.random.random_bool(luck.faults.row / 2.0) {
            return refused("REQUEST_EXPIRED");
        }
        let marks = &mut self.tables.get_mut(&rows.table).unwrap().marks;
        let mut records = Vec::new();
        for (email, mark) in &rows.records {
            records.push(if luck.fails() {
                json!(["MERGEFAILED: Record 1 = ROW IS LOCKED"])
            } else if self.profiles.contains_key(email) {
                marks.insert(email.clone(), mark.clone());
                json!(["78213405"])
            } else {
                json!(["MERGEFAILED: Record 1 = NO RECORD FOUND IN THE LIST"])
            });
        }
        if luck.random.random_bool(luck.faults.row / 2.0) {
            return refused("RESPONSE_PURGED");
        }
        let data = json!({"fieldNames": ["RIID_"], "records": records});
        json!({"status": "SUCCESS", "response": {"recordData": data}})
    }
}

fn complaint(status: u16, code: &str, detail: &str) -> Told {
    Told::json(
        status,
        &json!({"type": "", "title": "", "errorCode": code, "detail": detail, "errorDetails": []}),
    )
}
