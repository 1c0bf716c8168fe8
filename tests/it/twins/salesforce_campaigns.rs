//! A list of records about records, each of which has to be looked up: members of Salesforce's
//! campaigns.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::fate::Luck;
use super::history::converges;
use super::people::{People, Person};
use super::rolls::{Identity, differences, models};
use super::salesforce_session::{Session, complaint, throttled};
use super::stage::{Asked, Told, Vendor};
use crate::project::TempProject;

#[test]
fn a_list_of_looked_up_records_converges() {
    converges::<Campaigns>();
}

/// One organisation.
#[derive(Debug)]
struct Campaigns {
    /// Names by position.
    campaigns: Vec<String>,
    /// By id.
    members: BTreeMap<String, Member>,
    made: usize,
    session: Session,
    violations: BTreeSet<String>,
}

#[derive(Debug, PartialEq)]
struct Member {
    campaign: String,
    person: String,
}

impl Vendor for Campaigns {
    const LIMIT: (usize, Duration) = (100_000, Duration::from_secs(24 * 3600));

    fn new(random: &mut StdRng) -> Self {
        let mut campaigns = vec!["others".to_owned()];
        if random.random_bool(0.3) {
            campaigns.push("Active".into());
        }
        let stranger = Member { campaign: campaign(0), person: record("003", 1) };
        Self {
            campaigns,
            members: [(record("00v", 0), stranger)].into(),
            made: 1,
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
            ("GET", ["query"]) => self.query(&asked.query["q"]),
            ("POST", ["sobjects", "Campaign"]) => self.create(asked),
            ("POST", ["composite", "sobjects"]) => self.put_on(asked, luck),
            ("DELETE", ["composite", "sobjects"]) => self.take_off(asked, luck),
            _ => complaint(404, "NOT_FOUND", "The requested resource does not exist"),
        }
    }

    fn throttled(&self, asked: &Asked) -> Option<Told> {
        throttled(asked)
    }

    fn refused(&self, asked: &Asked) -> Option<Told> {
        let is_write = asked.path.get(3).is_some_and(|part| part == "composite");
        is_write.then(|| complaint(400, "JSON_PARSER_ERROR", "Unexpected character"))
    }

    fn expire(&mut self) {
        self.session.expire();
    }

    fn models(project: &TempProject) {
        models(project);
    }

    fn section(url: &str) -> String {
        format!(
            "type = \"salesforce_campaigns\"\nbase_url = \"{url}\"\nclient_id = \"muster\"\n\
             client_secret = \"s3cret\"\n"
        )
    }

    fn differences(&self, people: &People) -> Vec<String> {
        differences(people, by_records, |name| {
            let place = self.campaigns.iter().position(|known| known.eq_ignore_ascii_case(name));
            let members = self.members.values();
            let own =
                members.filter(|member| place.is_some_and(|at| member.campaign == campaign(at)));
            own.map(|member| member.person.clone()).collect()
        })
    }

    fn violations(&self) -> &BTreeSet<String> {
        &self.violations
    }
}

/// Contacts, or leads where there are none.
fn by_records(_id: &str, person: &Person) -> Vec<Identity> {
    let records = person.emails.keys().flat_map(|email| {
        let contacts = contacts(email);
        let chosen = if contacts.is_empty() { leads(email) } else { contacts };
        chosen.into_iter().map(|record| (record, email.clone()))
    });
    records.collect()
}

/// Of some addresses there are two, of others none.
fn contacts(email: &str) -> Vec<String> {
    match number_of(email) {
        number @ 0..4 => vec![record("003", number)],
        number @ 4..6 => vec![record("003", number), record("003", number + 100)],
        _ => Vec::new(),
    }
}

/// Some are contacts as well.
fn leads(email: &str) -> Vec<String> {
    match number_of(email) {
        number @ 3.. => vec![record("00Q", number)],
        _ => Vec::new(),
    }
}

fn number_of(email: &str) -> usize {
    let digits: String = email.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(99)
}

/// Eighteen characters.
fn record(prefix: &str, number: usize) -> String {
    format!("{prefix}xx{number:010}AbC")
}

fn campaign(place: usize) -> String {
    record("701", place)
}

impl Campaigns {
    fn query(&mut self, query: &str) -> Told {
        let (_, condition) = query.split_once(" WHERE ").unwrap();
        let quoted: Vec<&str> = condition.split('\'').skip(1).step_by(2).collect();
        let found: Vec<Value> = if query.contains("FROM Campaign WHERE") {
            let named = |name: &String| name.eq_ignore_ascii_case(quoted[0]);
            let campaigns = self.campaigns.iter().enumerate().filter(|(_, name)| named(name));
            campaigns.map(|(place, name)| json!({"Id": campaign(place), "Name": name})).collect()
        } else if query.contains("FROM CampaignMember") {
            let own = |member: &Member| {
                member.campaign == quoted[0] && quoted.contains(&member.person.as_str())
            };
            let members = self.members.iter().filter(|(_, member)| own(member));
            members.map(|(id, member)| member.shown(id)).collect()
        } else {
            let leads_only = query.contains("FROM Lead");
            if leads_only && !query.contains("IsConverted = false") {
                self.violations.insert("leads that were converted".into());
            }
            let records = quoted.iter().flat_map(|email| {
                let records = if leads_only { leads(email) } else { contacts(email) };
                records.into_iter().map(|id| json!({"Id": id, "Email": email.to_uppercase()}))
            });
            records.collect()
        };
        Told::json(200, &json!({"totalSize": found.len(), "done": true, "records": found}))
    }

    /// A second campaign of the same name is made without a word.
    fn create(&mut self, asked: &Asked) -> Told {
        let name = asked.json["Name"].as_str().unwrap();
        if self.campaigns.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            self.violations.insert(format!("a second list named `{name}`"));
        }
        self.campaigns.push(name.to_owned());
        let id = campaign(self.campaigns.len() - 1);
        Told::json(201, &json!({"id": id, "success": true, "errors": []}))
    }

    /// One result per record, in the order of the request.
    fn put_on(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        if asked.json["allOrNone"] != false || asked.rows("/records").len() > 200 {
            self.violations.insert("records that would stand or fall together".into());
        }
        let mut results = Vec::new();
        for record in asked.rows("/records") {
            let member = Member::of(record);
            if member.campaign == campaign(0) {
                self.violations.insert("somebody else's list was changed".into());
            }
            if let Some(error) = accident(luck) {
                results.push(error);
                continue;
            }
            if self.members.values().any(|known| *known == member) {
                results.push(failed("DUPLICATE_VALUE", "Already a campaign member."));
                continue;
            }
            let id = self::record("00v", self.made);
            self.made += 1;
            results.push(json!({"id": id, "success": true, "errors": []}));
            self.members.insert(id, member);
        }
        Told::json(200, &results.into())
    }

    fn take_off(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told {
        if asked.query["allOrNone"] != "false" {
            self.violations.insert("records that would stand or fall together".into());
        }
        let mut results = Vec::new();
        for id in asked.query["ids"].split(',') {
            results.push(match (accident(luck), self.members.contains_key(id)) {
                (Some(error), _) => error,
                (None, true) => {
                    self.members.remove(id);
                    json!({"id": id, "success": true, "errors": []})
                }
                (None, false) => failed("ENTITY_IS_DELETED", "entity is deleted"),
            });
        }
        Told::json(200, &results.into())
    }
}

impl Member {
    fn of(record: &Value) -> Self {
        let person = record["ContactId"].as_str().or(record["LeadId"].as_str()).unwrap();
        let campaign = record["CampaignId"].as_str().unwrap();
        Self { campaign: campaign.to_owned(), person: person.to_owned() }
    }

    fn shown(&self, id: &str) -> Value {
        let field = if self.person.starts_with("003") { "ContactId" } else { "LeadId" };
        let mut shown = json!({"Id": id, "ContactId": null, "LeadId": null});
        shown[field] = self.person.clone().into();
        shown
    }
}

fn accident(luck: &mut Luck<'_>) -> Option<Value> {
    if luck.random.random_bool(luck.faults.row / 2.0) {
        let message = "unable to obtain exclusive access to this record";
        return Some(failed("UNABLE_TO_LOCK_ROW", message));
    }
    luck.fails().then(|| failed("FIELD_CUSTOM_VALIDATION_EXCEPTION", "Not on a Sunday"))
}

fn failed(code: &str, message: &str) -> Value {
    let error = json!({"statusCode": code, "message": message, "fields": []});
    json!({"success": false, "errors": [error]})
}
