//! Putting people on a list and taking them off it, in requests of at most 300.
//!
//! What it promises: results of the list are read by the ids that they name, never by their order;
//! an id that no result names is never success.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::json;

use super::super::marketo_api::{Api, Row, results};
use super::super::membership::{List, Member};
use super::super::{Fault, Outcome, Receipt};
use super::EMAIL;
use crate::delivery::{Response, Session};

/// Ids or values in one request.
pub(super) const MOST: usize = 300;
/// Of all values in the address of a query, which may have 8 KB.
const LONGEST_QUERY: usize = 7_000;
const NOT_FOUND: u32 = 1004;
const NOT_ON_LIST: u32 = 1015;

/// The people of one list.
pub(super) struct People<'a> {
    pub api: &'a Api,
    pub session: &'a Session,
    pub list: &'a List,
}

#[derive(Deserialize)]
struct Person {
    id: u64,
    email: Option<String>,
}

impl People<'_> {
    pub(super) async fn put_on(
        &self,
        entering: &[Member<'_>],
        partition: Option<&str>,
        receipt: &mut Receipt,
    ) -> Result<(), Fault> {
        if entering.is_empty() {
            return Ok(());
        }
        let mut known: Vec<(usize, u64)> = Vec::new();
        for (member, row) in entering.iter().zip(self.upserted(entering, partition).await?) {
            match (row.status.as_deref(), row.id) {
                (Some("created" | "updated"), Some(id)) => known.push((member.position, id)),
                (Some("skipped"), _) => {
                    set(receipt, member.position, Outcome::Rejected { reason: row.complaint() });
                }
                _ => return Err(unreadable("a person without an id or a status")),
            }
        }
        let ids: Vec<u64> = known.iter().map(|(_, id)| *id).collect();
        let rows = self.changed(http::Method::POST, &ids).await?;
        for (position, id) in known {
            let outcome = match rows.get(&id) {
                Some(row) if row.status.as_deref() == Some("added") => continue,
                // The person was there a moment ago.
                Some(row) if row.has_reason(NOT_FOUND) => {
                    Outcome::Retry { after: None, reason: row.complaint() }
                }
                Some(row) if row.status.as_deref() == Some("skipped") => {
                    Outcome::Rejected { reason: row.complaint() }
                }
                _ => return Err(unreadable("nothing is said of somebody who was to enter")),
            };
            set(receipt, position, outcome);
        }
        Ok(())
    }

    pub(super) async fn take_off(
        &self,
        leaving: &[Member<'_>],
        receipt: &mut Receipt,
    ) -> Result<(), Fault> {
        let mut known: Vec<(usize, u64)> = Vec::new();
        for members in queries(leaving) {
            let emails: Vec<&str> = members.iter().filter_map(|member| email(member)).collect();
            let found = self.looked_up(&emails).await?;
            for member in members {
                let ids = email(member).and_then(|email| found.get(email));
                known.extend(ids.into_iter().flatten().map(|id| (member.position, *id)));
            }
        }
        let ids: Vec<u64> = known.iter().map(|(_, id)| *id).collect();
        let rows = self.changed(http::Method::DELETE, &ids).await?;
        for (position, id) in known {
            match rows.get(&id) {
                Some(row) if row.status.as_deref() == Some("removed") => {}
                Some(row) if row.has_reason(NOT_FOUND) || row.has_reason(NOT_ON_LIST) => {}
                Some(row) if row.status.as_deref() == Some("skipped") => {
                    let reason = row.complaint();
                    set(receipt, position, Outcome::Retry { after: None, reason });
                }
                _ => return Err(unreadable("nothing is said of somebody who was to leave")),
            }
        }
        Ok(())
    }

    /// One row per member, in their order.
    async fn upserted(
        &self,
        members: &[Member<'_>],
        partition: Option<&str>,
    ) -> Result<Vec<Row>, Fault> {
        let input: Vec<_> = members.iter().map(|member| json!({"email": email(member)})).collect();
        let mut body = json!({"action": "createOrUpdate", "lookupField": "email", "input": input});
        if let Some(partition) = partition {
            body["partitionName"] = json!(partition);
        }
        let request = self.api.post(&["rest", "v1", "leads.json"], body.to_string().into());
        let rows: Vec<Row> = results(&self.session.send(request).await?)?;
        if rows.len() != members.len() {
            let reason = format!("{} results for {} people", rows.len(), members.len());
            return Err(Fault::Protocol { reason });
        }
        Ok(rows)
    }

    /// The ids of the people of each email.
    async fn looked_up(&self, emails: &[&str]) -> Result<HashMap<String, Vec<u64>>, Fault> {
        let values = emails.join(",");
        let query =
            [("filterType", "email"), ("filterValues", values.as_str()), ("fields", "id,email")];
        let path = ["rest", "v1", "leads.json"];
        let people: Vec<Person> = self.api.found(self.session, &path, &query).await?;
        let mut found: HashMap<String, Vec<u64>> = HashMap::new();
        for Person { id, email } in people {
            found.entry(email.unwrap_or_default().to_lowercase()).or_default().push(id);
        }
        Ok(found)
    }

    /// What became of every id that was put on the list or taken off it.
    async fn changed(
        &self,
        method: http::Method,
        ids: &[u64],
    ) -> Result<BTreeMap<u64, Row>, Fault> {
        let mut rows = BTreeMap::new();
        for ids in ids.chunks(MOST) {
            let input: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
            let body = json!({"input": input}).to_string();
            let path = ["rest", "v1", "lists", self.list.id.as_str(), "leads.json"];
            let request = self.api.request(method.clone(), &path).json_body(body.into());
            rows.extend(by_id(&self.session.send(request).await?)?);
        }
        Ok(rows)
    }
}

fn by_id(response: &Response) -> Result<Vec<(u64, Row)>, Fault> {
    let rows: Vec<Row> = results(response)?;
    let named =
        |row: Row| row.id.map(|id| (id, row)).ok_or_else(|| unreadable("a result of nobody"));
    rows.into_iter().map(named).collect()
}

/// Members that one query can ask for.
fn queries<'m, 'b>(members: &'m [Member<'b>]) -> Vec<Vec<&'m Member<'b>>> {
    let mut queries: Vec<Vec<&Member<'_>>> = Vec::new();
    let mut bytes = 0;
    for member in members {
        // An `@`, a plus and the comma between two are three characters each as they are sent.
        let size = email(member).map_or(0, |email| {
            email
                .bytes()
                .map(|byte| if byte.is_ascii_alphanumeric() { 1 } else { 3 })
                .sum::<usize>()
        });
        bytes += size + 3;
        match queries.last_mut() {
            Some(query) if query.len() < MOST && bytes <= LONGEST_QUERY => query.push(member),
            _ => {
                queries.push(vec![member]);
                bytes = size;
            }
        }
    }
    queries
}

fn email<'m>(member: &Member<'m>) -> Option<&'m str> {
    EMAIL.of(member.message)
}

fn set(receipt: &mut Receipt, position: usize, outcome: Outcome) {
    // Every position is one of the batch's own.
    let _ = receipt.set(position, outcome);
}

fn unreadable(what: &str) -> Fault {
    Fault::Protocol { reason: what.to_owned() }
}
