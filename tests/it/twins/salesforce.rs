//! One record per subject by an external id, results by position: Salesforce's contacts and accounts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Map, Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::{ACTIVE, People, SCORES, SEATS, compared, known};
use super::salesforce_session::{Session, complaint, throttled};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn records_by_external_id_converge() {
    converges::<Salesforce>();
}

/// One organisation.
#[derive(Debug)]
struct Salesforce {
    /// By external id.
    contacts: BTreeMap<String, Map<String, Value>>,
    accounts: BTreeMap<String, Map<String, Value>>,
    session: Session,
    violations: BTreeSet<String>,
}

impl Vendor for Salesforce {
    const LIMIT: (usize, Duration) = (100_000, Duration::from_secs(24 * 3600));

    /// The accounts are there already, since nothing here knows what they are called.
    fn new(_random: &mut StdRng) -> Self {
        let accounts = (0..6).map(|number| (format!("a{number}"), Map::new()));
        Self {
            contacts: BTreeMap::new(),
            accounts: accounts.collect(),
            session: Session::default(),
            violations: BTreeSet::new(),
        }
    }

    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        let (method, path) = asked.parts();
        if let Some(told) = self.session.at_the_door(asked, &mut self.violations) {
            return told;
        }
        match (method, &path[3..]) {
            ("GET", ["sobjects", object @ ("Contact" | "Account"), "describe"]) => {
                described(object)
            }
            ("PATCH", ["composite", "sobjects", "Contact", "Ext_User__c"]) => {
                self.upsert(asked, "Ext_User__c", luck)
            }
            ("PATCH", ["composite", "sobjects", "Account", "Ext_Account__c"]) => {
                self.upsert(asked, "Ext_Account__c", luck)
            }
            _ => complaint(404, "NOT_FOUND", "The requested resource does not exist"),
        }
    }

    fn throttled(&self, asked: &Asked) -> Option<Told> {
        throttled(asked)
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_write = asked.method == "PATCH";
        is_write.then(|| complaint(400, "JSON_PARSER_ERROR", "Unexpected character"))
    }

    fn expire(&mut self) {
        self.session.expire();
    }

    fn models(project: &TempProject) {
        project
            .audience("active", r#""vendor""#, ACTIVE)
            .trait_model("scores", r#""vendor""#, SCORES)
            .trait_model("seats", r#""vendor""#, SEATS);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"salesforce\"\nbase_url = \"{url}\"\nclient_id = \"muster\"\n\
             client_secret = \"s3cret\"\nexternal_id_field = \"Ext_User__c\"\n\
             account_external_id_field = \"Ext_Account__c\"\n"
        )
    }

    /// An address that is gone stays; one that there is must be the latest.
    fn differences(&self, people: &People) -> Vec<String> {
        let mut wanted = BTreeMap::new();
        for ((id, name), value) in people.facts() {
            wanted.insert((id, format!("{name}__c")), value);
        }
        let mut found = known(&self.contacts);
        found.retain(|(id, name), _| name != "Email" || people.0.contains_key(id));
        for (id, person) in &people.0 {
            let key = (id.clone(), "Email".to_owned());
            match person.last_email() {
                Some(email) => drop(wanted.insert(key, json!(email))),
                None => drop(found.remove(&key)),
            }
        }
        for email in found.values_mut() {
            if let Some(text) = email.as_str() {
                *email = text.to_lowercase().into();
            }
        }
        let seats = people.seats().into_iter();
        let seats = seats.map(|((id, name), value)| ((id, format!("{name}__c")), value)).collect();
        let of_accounts = compared(&seats, &known(&self.accounts));
        compared(&wanted, &found).into_iter().chain(of_accounts).collect()
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

impl Salesforce {
    /// One result per record, in the order of the request.
    fn upsert(&mut self, asked: &Asked, key: &str, luck: &mut Luck<'_>) -> Told {
        let of_people = key == "Ext_User__c";
        if asked.json["allOrNone"] != false || asked.rows("/records").len() > 200 {
            self.violations.insert("records that would stand or fall together".into());
        }
        let mut results = Vec::new();
        for record in asked.rows("/records") {
            let mut fields = record.as_object().unwrap().clone();
            let id = fields.remove(key).unwrap().as_str().unwrap().to_owned();
            let name = fields.remove("LastName");
            fields.remove("attributes");
            let known = if of_people { &self.contacts } else { &self.accounts };
            let is_new = !known.contains_key(&id);
            let fields_of_ours = ["active__c", "score__c", "tier__c", "seats__c", "Email"];
            if let Some(field) = fields.keys().find(|name| !fields_of_ours.contains(&name.as_str()))
            {
                self.violations.insert(format!("the field `{field}` is not one of the object"));
            }
            if fields.get("active__c").is_some_and(Value::is_null) {
                self.violations.insert("a checkbox that is NULL".into());
            }
            if name.as_ref().is_some_and(|name| *name != id.as_str()) {
                self.violations.insert(format!("{id} is called {name:?}"));
            }
            let error = if luck.random.random_bool(luck.faults.row / 2.0) {
                Some(("UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"))
            } else if luck.fails() {
                Some(("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Not on a Sunday"))
            } else if is_new && name.is_none() {
                Some(("REQUIRED_FIELD_MISSING", "Required fields are missing: [LastName]"))
            } else {
                None
            };
            if let Some((code, message)) = error {
                let error = json!({"statusCode": code, "message": message, "fields": ["LastName"]});
                results.push(json!({"success": false, "created": false, "errors": [error]}));
                continue;
            }
            let records = if of_people { &mut self.contacts } else { &mut self.accounts };
            records.entry(id).or_default().extend(fields);
            results.push(json!({"id": "003xx0000012AbC", "success": true, "created": is_new,
                "errors": []}));
        }
        Told::json(200, &results.into())
    }
}

fn described(object: &str) -> Told {
    let field = |name: &str, kind: &str| {
        json!({"name": name, "type": kind, "createable": true, "updateable": true,
            "externalId": name.starts_with("Ext_"), "length": 80})
    };
    let fields = [
        field("Ext_User__c", "string"),
        field("Ext_Account__c", "string"),
        field("Active__c", "boolean"),
        field("score__c", "double"),
        field("tier__c", "string"),
        field("seats__c", "double"),
    ];
    Told::json(200, &json!({"name": object, "fields": fields}))
}
