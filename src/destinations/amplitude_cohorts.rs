//! Amplitude's cohorts: users are added to one and taken off it, by their user ids.
//!
//! A cohort holds only users whom Amplitude has seen: it says which ids it skipped. It cannot be
//! created empty either, so that a new one needs a user to begin with, who is taken off at once, or by
//! the next run where the first was interrupted.

mod replies;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use url::Url;

use super::amplitude_api::{REGION, Region, address, usable};
use super::gathered::{self, Gathered};
use super::membership::{self, List, Member, Parted};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret, Spec,
    Target,
};
use crate::delivery::{Request, Session};
use crate::finding::Finding;
use replies::{Created, Operation, Skipped};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Amplitude's cohorts.
pub static SPEC: Spec = Spec {
    kind: "amplitude_cohorts",
    title: "Amplitude Cohorts",
    summary: "Adds users to a cohort of an Amplitude project and takes them off it.",
    grain: Grain::Subject,
    identifiers: "user_id (the user id)",
    replaces: true,
    // Nothing is published; the greatest request may name 100,000 ids.
    quotas: &[Quota::per_second(1)],
    batch: BatchLimits { rows: 5000, max_rows: 50_000, bytes: 5_000_000, row_bytes: 100_000 },
    // Two requests about one cohort at a time are refused.
    concurrency: 1,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.amplitude_cohorts]
type = "amplitude_cohorts"
api_key = "${AMPLITUDE_API_KEY}"
secret_key = "${AMPLITUDE_SECRET_KEY}"
app_id = 153957
owner = "analyst@example.com"
first_user_id = "u_1001"
"#,
    notes: &[
        "A cohort is found by the id or name in the sync's `list`, else by the model's name; only cohorts that are published are shown by Amplitude.",
        "A cohort that is missing is created, published, where `app_id`, `owner` and `first_user_id` are set: Amplitude makes no empty ones, so the first user is put in and taken out again at once, or by the next run where that was interrupted.",
        "`--replace` puts everybody into the cohort and then replaces its contents in one request; it needs the options that a new cohort needs, and Amplitude takes at most 100,000 users in a request: of a larger cohort the next run takes off one by one who is too many.",
        "Somebody whom Amplitude has never seen cannot be in a cohort and is rejected; send the `amplitude` destination something about them first.",
        "Who leaves and is not known, or not in the cohort, counts as taken off.",
        "Amplitude refuses requests about one cohort at the same time: one is sent after the other.",
        "Rate limits of these calls are not published: one request per second is sent.",
        "A cohort holds two million users at most.",
        "Which cohorts beside uploaded ones take members is uncertain; Amplitude refuses the others.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("api_key", "API key of the project"),
    OptionDoc::required("secret_key", "secret key of the project"),
    REGION,
    OptionDoc::optional("app_id", "id of the project, a number; needed to create a cohort"),
    OptionDoc::optional("owner", "login email of a cohort's owner; needed to create one"),
    OptionDoc::optional(
        "first_user_id",
        "user id that Amplitude knows and a new cohort begins with; needed to create one",
    ),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    secret_key: Secret,
    #[serde(default)]
    region: Region,
    app_id: Option<u64>,
    owner: Option<String>,
    first_user_id: Option<String>,
}

/// The cohorts of one project.
#[derive(Debug)]
struct Cohorts {
    /// `…/api/3/cohorts`.
    base: Url,
    api_key: Secret,
    secret_key: Secret,
    founding: Option<Founding>,
    gathered: Gathered,
}

/// What a new cohort needs.
#[derive(Debug)]
struct Founding {
    app_id: u64,
    owner: String,
    first_user_id: String,
}

impl Founding {
    /// What a cohort is to hold.
    fn upload(&self, name: &str, ids: &[&str]) -> Json {
        json!({"name": name, "app_id": self.app_id, "id_type": "BY_USER_ID", "ids": ids,
            "owner": self.owner, "published": true})
    }
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, secret_key, region, app_id, owner, first_user_id } = reader.own()?;
    let base = address(common.base_url.as_ref(), region.analytics(), "/api/3/cohorts")
        .map_err(|fact| vec![reader.refuse("region", &fact)])?;
    let founding = match (app_id, owner, first_user_id) {
        (Some(app_id), Some(owner), Some(first_user_id)) => {
            Some(Founding { app_id, owner, first_user_id })
        }
        (None, None, None) => None,
        (app_id, owner, first) => {
            let given = [
                ("app_id", app_id.is_some()),
                ("owner", owner.is_some()),
                ("first_user_id", first.is_some()),
            ];
            let alone = given.iter().filter(|(_, is_given)| *is_given);
            let fact = "is of use only with `app_id`, `owner` and `first_user_id` together";
            return Err(alone.map(|(option, _)| reader.refuse(option, fact)).collect());
        }
    };
    let secrets = vec![api_key.clone(), secret_key.clone()];
    let gathered = Gathered::default();
    Ok(Built::new(Arc::new(Cohorts { base, api_key, secret_key, founding, gathered }), secrets))
}

/// A cohort as Amplitude shows it.
#[derive(Debug, Deserialize)]
struct Shown {
    id: String,
    name: String,
    #[serde(default)]
    archived: bool,
}

/// Users who are added, or taken off.
#[derive(Serialize)]
struct Membership<'a> {
    ids: Vec<&'a str>,
    /// User ids are names here, Amplitude's own ids are ids.
    id_type: &'static str,
    operation: Operation,
}

impl<'a> Membership<'a> {
    fn new(operation: Operation, ids: Vec<&'a str>) -> Self {
        Self { ids, id_type: "BY_NAME", operation }
    }
}

#[async_trait]
impl Destination for Cohorts {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.cohorts(session).await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        let name = membership::name(target);
        let shown = self.cohorts(session).await?;
        let named = || shown.iter().map(|cohort| (cohort.id.as_str(), cohort.name.as_str()));
        let mut by_id = named().filter(|(id, _)| target.list.is_some() && *id == name);
        if let Some((id, _)) = by_id.next() {
            return Ok(List { id: id.to_owned() }.into_remote());
        }
        let list = match membership::named(named(), name)? {
            Some(list) => list,
            None => self.create(session, name).await?,
        };
        // Nobody is sent to the cohort yet, so that nobody of ours is taken off.
        self.take_off_first(session, &list).await?;
        Ok(list.into_remote())
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let mut receipt = batch.delivered();
        let Parted { entering, leaving } = Parted::of(batch);
        let entering = usable_only(entering, &mut receipt);
        let parts = [(Operation::Add, &entering), (Operation::Remove, &leaving)];
        let memberships = parts.iter().filter(|(_, members)| !members.is_empty());
        let memberships: Vec<_> = memberships
            .map(|(operation, members)| {
                let ids = members.iter().map(|member| member.message.subject()).collect();
                Membership::new(*operation, ids)
            })
            .collect();
        if memberships.is_empty() {
            return Ok(receipt.into());
        }
        let skipped = self.change(session, &list, &memberships).await?;
        for Member { position, message } in entering {
            if skipped.of(Operation::Add, message.subject()) {
                let reason = "Amplitude knows no user of this id".to_owned();
                // Every position is one of the batch's own.
                let _ = receipt.set(position, Outcome::Rejected { reason });
            } else {
                self.gathered.add(remote, [message.subject()]);
            }
        }
        Ok(receipt.into())
    }

    async fn begin_replacing(
        &self,
        _session: &Session,
        remote: &Remote,
        started: DateTime<Utc>,
    ) -> Result<Remote, Fault> {
        if self.founding.is_some() {
            return Ok(gathered::replacing(remote, started));
        }
        let reason =
            "set `app_id`, `owner` and `first_user_id`, without which Amplitude replaces no \
                      cohort"
                .to_owned();
        Err(Fault::Misconfigured { reason })
    }

    async fn finish_replacing(&self, session: &Session, remote: &Remote) -> Result<(), Fault> {
        let (list, members) = (List::of(remote)?, self.gathered.all(remote));
        let shown = self.cohorts(session).await?;
        let cohort = shown.into_iter().find(|cohort| cohort.id == list.id);
        match (cohort, &self.founding) {
            (Some(cohort), Some(founding)) if members.len() <= MOST => {
                self.replace(session, &cohort, founding, &members).await
            }
            (Some(_), Some(_)) => Err(Fault::Misconfigured {
                reason: format!("Amplitude replaces a cohort by at most {MOST} users in a request"),
            }),
            _ => Err(Fault::Misconfigured {
                reason: format!("the project shows no cohort `{}` any more", list.id),
            }),
        }
    }
}

/// Ids that one request may name.
const MOST: usize = 100_000;

/// Members but for those whose ids are nobody's.
fn usable_only<'b>(members: Vec<Member<'b>>, receipt: &mut Receipt) -> Vec<Member<'b>> {
    let mut all = members;
    all.retain(|member| match usable(member.message.subject()) {
        Ok(()) => true,
        Err(reason) => {
            let _ = receipt.set(member.position, Outcome::Rejected { reason });
            false
        }
    });
    all
}

impl Cohorts {
    async fn cohorts(&self, session: &Session) -> Result<Vec<Shown>, Fault> {
        #[derive(Deserialize)]
        struct All {
            cohorts: Vec<Shown>,
        }
        let mut all: All = session.send(self.request(Method::GET, "")).await?.json()?;
        all.cohorts.retain(|cohort| !cohort.archived);
        Ok(all.cohorts)
    }

    /// Creates a cohort, which takes somebody to begin with.
    async fn create(&self, session: &Session, name: &str) -> Result<List, Fault> {
        let Some(founding) = &self.founding else {
            return Err(Fault::Misconfigured {
                reason: format!(
                    "the project shows no cohort `{name}`: publish one, or set `app_id`, `owner` and \
                     `first_user_id`, without which none can be created"
                ),
            });
        };
        let first_user_id = founding.first_user_id.as_str();
        let body = founding.upload(name, &[first_user_id]);
        let request = self.request(Method::POST, "/upload").repeatable(false);
        let request = request.json_body(body.to_string().into());
        let created: Created = match session.send(request).await {
            Ok(response) => response.json()?,
            Err(Fault::Rejected { reason }) => {
                let reason = format!("Amplitude refuses to create the cohort `{name}`: {reason}");
                return Err(Fault::Misconfigured { reason });
            }
            Err(other) => return Err(other),
        };
        Ok(List { id: created.cohort_id })
    }

    /// Takes whom a new cohort begins with off it: this one may be what came of an attempt that was
    /// interrupted.
    async fn take_off_first(&self, session: &Session, list: &List) -> Result<(), Fault> {
        let Some(Founding { first_user_id, .. }) = &self.founding else { return Ok(()) };
        let first = Membership::new(Operation::Remove, vec![first_user_id.as_str()]);
        self.change(session, list, &[first]).await.map(drop)
    }

    /// Nobody is put in somebody's place, who is taken out again.
    async fn replace(
        &self,
        session: &Session,
        cohort: &Shown,
        founding: &Founding,
        members: &BTreeSet<String>,
    ) -> Result<(), Fault> {
        let first = founding.first_user_id.as_str();
        let mut ids: Vec<&str> = members.iter().map(String::as_str).collect();
        if ids.is_empty() {
            ids.push(first);
        }
        let mut body = founding.upload(&cohort.name, &ids);
        body["existing_cohort_id"] = json!(cohort.id);
        let request = self.request(Method::POST, "/upload").json_body(body.to_string().into());
        let replaced: Created = session.send(request).await?.json()?;
        if replaced.cohort_id != cohort.id {
            return Err(Fault::Protocol { reason: "the reply is about another cohort".into() });
        }
        if members.is_empty() {
            self.take_off_first(session, &List { id: replaced.cohort_id }).await?;
        }
        Ok(())
    }

    async fn change(
        &self,
        session: &Session,
        list: &List,
        memberships: &[Membership<'_>],
    ) -> Result<Skipped, Fault> {
        let body =
            json!({"cohort_id": list.id, "memberships": memberships, "skip_invalid_ids": true});
        let request = self.request(Method::POST, "/membership");
        let request = request.json_body(body.to_string().into());
        let response = session.send(request).await?;
        let sent: Vec<_> =
            memberships.iter().map(|one| (one.operation, one.ids.as_slice())).collect();
        Skipped::read(&response, &list.id, &sent)
    }

    fn request(&self, method: Method, path: &str) -> Request {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        Request::new(method, url).basic(&self.api_key, &self.secret_key).reading(replies::answered)
    }
}
