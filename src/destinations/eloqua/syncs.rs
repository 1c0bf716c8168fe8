//! Staging members, applying them, and reading what became of each.
//!
//! What it promises: a handle holds positions and marks, no values; a member whom no rejection can
//! mean is delivered, one whom a rejection without an email may mean is unsettled; data is not taken for
//! staged where the reply is somebody else's page.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use super::super::marks::{mark, positions};
use super::super::membership::{List, Member};
use super::super::{Fault, Outcome, Receipt, Settlement};
use super::EMAIL;
use super::pod::{DEFINITIONS, Pod};
use crate::delivery::{Response, Session, standard};

pub(super) const FIRST_POLL: Duration = Duration::from_secs(10);
const NEXT_POLL: Duration = Duration::from_secs(20);
/// Rejections on one page, and pages read.
const PAGE: usize = 1000;
const MOST_PAGES: usize = 101;
/// No such contact: nobody to be removed.
const NO_CONTACT: &str = "ELQ-00085";
/// Eloqua tries these again itself, or asks for it.
const PASSING: &[&str] = &["ELQ-00145", "ELQ-00146"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Transfer {
    Add,
    Remove,
}

/// What is kept of the syncs of one batch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Work {
    pub syncs: Vec<Begun>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    /// Its address, such as `/syncs/501`.
    sync: String,
    /// Of what it applies, such as `/contacts/imports/88`.
    definition: String,
    transfer: Transfer,
    /// In the batch, of its members.
    positions: Vec<usize>,
    marks: Vec<String>,
}

#[derive(Deserialize)]
struct Made {
    uri: String,
}

#[derive(Deserialize)]
struct Report {
    status: Status,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pending,
    Active,
    Success,
    /// Done, with rejections.
    Warning,
    Error,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
    #[serde(default)]
    has_more: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rejection {
    #[serde(default)]
    field_values: HashMap<String, Json>,
    #[serde(default)]
    status_code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Log {
    #[serde(default)]
    severity: String,
    #[serde(default)]
    status_code: String,
    #[serde(default)]
    message: String,
}

/// Defines, stages and starts what becomes of these members; `None` where there are none.
pub(super) async fn begin(
    pod: &Pod,
    session: &Session,
    list: &List,
    (transfer, members): (Transfer, &[Member<'_>]),
) -> Result<Option<Begun>, Fault> {
    let Some(first) = members.first() else { return Ok(None) };
    let emails = members.iter().map(email).collect::<Result<Vec<_>, Fault>>()?;
    let name = first.message.id().to_string();
    let request = pod
        .bulk(Method::POST, &["contacts", transfer.path()])
        .json_body(transfer.definition(list, &name).to_string().into())
        .endpoint(DEFINITIONS);
    let Made { uri: definition } = session.send(request).await?.json()?;
    let rows: Vec<_> = emails.iter().map(|email| json!({"Email": email})).collect();
    let path = [segments(&definition), vec!["data"]].concat();
    let staged = pod
        .bulk(Method::POST, &path)
        .json_body(json!(rows).to_string().into())
        .repeatable(false)
        .reading(staged);
    session.send(staged).await?;
    let body = json!({"syncedInstanceUri": definition});
    let started =
        pod.bulk(Method::POST, &["syncs"]).json_body(body.to_string().into()).repeatable(false);
    let Made { uri: sync } = session.send(started).await?.json()?;
    let positions = members.iter().map(|member| member.position).collect();
    let marks = emails.iter().map(|email| mark(email)).collect();
    Ok(Some(Begun { sync, definition, transfer, positions, marks }))
}

fn email<'m>(member: &Member<'m>) -> Result<&'m str, Fault> {
    let lacking = || Fault::Rejected { reason: "a member without an email".into() };
    EMAIL.of(member.message).ok_or_else(lacking)
}

/// The parts of an address that Eloqua gave us.
fn segments(uri: &str) -> Vec<&str> {
    uri.split('/').filter(|part| !part.is_empty()).collect()
}

/// Success is silence, or a description of what was staged.
fn staged(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    if response.body.trim_ascii().is_empty() || response.json::<Map<String, Json>>().is_ok() {
        return Ok(());
    }
    let reason = format!("{} where nothing was expected", response.reason());
    Err(Fault::Protocol { reason })
}

impl Transfer {
    const fn path(self) -> &'static str {
        match self {
            Self::Add => "imports",
            Self::Remove => "syncActions",
        }
    }

    fn definition(self, list: &List, name: &str) -> Json {
        let action = match self {
            Self::Add => "add",
            Self::Remove => "remove",
        };
        let mut definition = json!({
            "name": format!("Muster {action} {name}"),
            "identifierFieldName": "Email",
            "fields": {"Email": "{{Contact.Field(C_EmailAddress)}}"},
            "syncActions": [
                {"action": action, "destination": format!("{{{{ContactList[{}]}}}}", list.id)},
            ],
            "isSyncTriggeredOnImport": false,
        });
        if self == Self::Add {
            definition["updateRule"] = json!("ifExistingIsNull");
            definition["dataRetentionDuration"] = json!("P1D");
        }
        definition
    }
}

pub(super) async fn settled(
    pod: &Pod,
    session: &Session,
    work: &Work,
    rows: usize,
) -> Result<Settlement, Fault> {
    let mut known = Vec::new();
    for begun in &work.syncs {
        match begun.outcomes(pod, session).await? {
            Some(outcomes) => known.extend(begun.positions.iter().copied().zip(outcomes)),
            None => return Ok(Settlement::Running { poll_after: NEXT_POLL }),
        }
    }
    let mut receipt = Receipt::of(rows, &Outcome::Unsettled { reason: "it was in no sync".into() });
    for (position, outcome) in known {
        if !receipt.set(position, outcome) {
            return Err(Fault::Protocol { reason: "a sync about a member of no batch".into() });
        }
    }
    for begun in &work.syncs {
        begun.cleared(pod, session).await;
    }
    Ok(Settlement::Done(receipt))
}

impl Begun {
    /// One per member; `None` while nobody knows.
    async fn outcomes(&self, pod: &Pod, session: &Session) -> Result<Option<Vec<Outcome>>, Fault> {
        let asked = pod.bulk(Method::GET, &segments(&self.sync));
        let status = match session.send(asked).await {
            Ok(response) => response.json::<Report>()?.status,
            Err(Fault::Misconfigured { reason }) => {
                return Ok(Some(self.all(&Outcome::Unsettled { reason })));
            }
            Err(fault) => return Err(fault),
        };
        Ok(match status {
            Status::Pending | Status::Active => None,
            Status::Success => Some(self.all(&Outcome::Delivered)),
            Status::Warning => Some(self.rejected(pod, session).await?),
            Status::Error => {
                let reason = self.complaint(pod, session).await?;
                Some(self.all(&Outcome::Retry { after: None, reason }))
            }
        })
    }

    fn all(&self, outcome: &Outcome) -> Vec<Outcome> {
        vec![outcome.clone(); self.positions.len()]
    }

    async fn rejected(&self, pod: &Pod, session: &Session) -> Result<Vec<Outcome>, Fault> {
        let known = positions(&self.marks);
        let mut named: BTreeMap<usize, Outcome> = BTreeMap::new();
        let mut unnamed = None;
        for rejection in self.rejections(pod, session).await? {
            let email = rejection.field_values.get("Email").and_then(Json::as_str);
            match email.and_then(|email| known.get(mark(email).as_str())) {
                Some(place) => {
                    named.insert(*place, rejection.outcome(self.transfer));
                }
                None => unnamed = Some(rejection.reason()),
            }
        }
        let other = match unnamed {
            None => Outcome::Delivered,
            Some(reason) => Outcome::Unsettled {
                reason: format!("Eloqua rejected a member without saying which one: {reason}"),
            },
        };
        let mut outcomes = self.all(&other);
        for (place, outcome) in named {
            outcomes[place] = outcome;
        }
        Ok(outcomes)
    }

    async fn rejections(&self, pod: &Pod, session: &Session) -> Result<Vec<Rejection>, Fault> {
        let path = [segments(&self.sync), vec!["rejects"]].concat();
        let mut rejections: Vec<Rejection> = Vec::new();
        for _ in 0..MOST_PAGES {
            let mut request = pod.bulk(Method::GET, &path);
            request
                .url
                .query_pairs_mut()
                .append_pair("limit", &PAGE.to_string())
                .append_pair("offset", &rejections.len().to_string());
            let page: Page<Rejection> = session.send(request).await?.json()?;
            let is_last = page.items.is_empty() || !page.has_more;
            rejections.extend(page.items);
            if is_last {
                return Ok(rejections);
            }
        }
        Err(Fault::Protocol { reason: "the rejections of a sync never end".into() })
    }

    /// Why a sync ended with an error.
    async fn complaint(&self, pod: &Pod, session: &Session) -> Result<String, Fault> {
        let path = [segments(&self.sync), vec!["logs"]].concat();
        let page: Page<Log> = session.send(pod.bulk(Method::GET, &path)).await?.json()?;
        let errors = page.items.iter().filter(|log| log.severity.eq_ignore_ascii_case("error"));
        let told: Vec<_> = errors
            .map(|Log { status_code, message, .. }| format!("{status_code} {message}"))
            .collect();
        Ok(format!("the sync ended with an error: {}", told.join("; ")))
    }

    /// What was staged is of no more use; it goes away by itself where this fails.
    async fn cleared(&self, pod: &Pod, session: &Session) {
        let request = pod.bulk(Method::DELETE, &segments(&self.definition)).repeatable(false);
        if let Err(fault) = session.send(request).await {
            tracing::debug!(%fault, "Left a definition behind");
        }
    }
}

impl Rejection {
    fn reason(&self) -> String {
        let Self { status_code, message, .. } = self;
        format!("{status_code} {message}").trim().to_owned()
    }

    fn outcome(&self, transfer: Transfer) -> Outcome {
        let code = self.status_code.as_str();
        if transfer == Transfer::Remove && code == NO_CONTACT {
            return Outcome::Delivered;
        }
        let reason = self.reason();
        if transfer == Transfer::Remove || PASSING.contains(&code) {
            return Outcome::Retry { after: None, reason };
        }
        Outcome::Rejected { reason }
    }
}
