//! Iterable's static lists: members are subscribed to a list and unsubscribed from it.
//!
//! What Iterable calls a subscription here is membership alone. What it never does: it unsubscribes
//! nobody from a channel, writes no field, and touches no list whose members Iterable finds itself.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::iterable_api::{API_KEY, Key, Project, REGION, Region, Row, read};
use super::membership::{self, List, Member, Parted};
use super::normalise::plain_email;
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, Grain, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret,
    Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::message::Message;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

const EMAIL: MatchField = MatchField { source: "email", normalise: plain_email };

/// What is known of Iterable's lists.
pub static SPEC: Spec = Spec {
    kind: "iterable_lists",
    title: "Iterable Lists",
    summary: "Adds people to a static list of an Iterable project and takes them off it.",
    identifiers: "email; or userId (the user id)",
    match_fields: &[EMAIL],
    // Believed to be five: nothing is published.
    quotas: &[Quota::per_second(3)],
    batch: BatchLimits { rows: 1000, max_rows: 1000, bytes: 3_000_000, row_bytes: 3_000_000 },
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.iterable_lists]
type = "iterable_lists"
api_key = "${ITERABLE_API_KEY}"
"#,
    notes: &[
        "A list is found by the id or name in the sync's `list`, else by the model's name, and created where there is none; only static lists take members.",
        "An email-based project identifies people by email, a userId-based one by user id, a hybrid one by either: `identify_by` must fit the project.",
        "Somebody whom the project does not know is created; somebody it has forgotten (GDPR) is rejected.",
        "Being on a list is no consent: Iterable keeps subscriptions to channels apart, and they are never touched (`channelUnsubscribe` is always false).",
        "Adding somebody to a list may start a journey that mails them.",
        "Who leaves and is not known, not any more, or not on the list, counts as taken off.",
        "The rate limit of these calls is uncertain (believed to be 5 per second and project): 3 are sent.",
        "Iterable answers before it has worked through a batch: a change shows a minute later.",
    ],
    ..Spec::LIST
};

const OPTIONS: &[OptionDoc] =
    &[API_KEY, REGION, OptionDoc::optional("identify_by", "\"email\" (default) or \"user_id\"")];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    api_key: Secret,
    #[serde(default)]
    region: Region,
    #[serde(default)]
    identify_by: Key,
}

/// The lists of one project.
#[derive(Debug)]
struct Lists {
    project: Project,
    key: Key,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let Options { api_key, region, identify_by: key } = reader.own()?;
    let secrets = vec![api_key.clone()];
    let project = Project::new(common.base_url.as_ref(), region, api_key)
        .map_err(|fact| vec![reader.refuse("region", &fact)])?;
    let built = Built::new(Arc::new(Lists { project, key }), secrets);
    Ok(match key {
        Key::Email => built,
        // One record per user: nobody else can have the same id.
        Key::UserId => built.by(Grain::Subject).matching(Vec::new()),
    })
}

/// A list as Iterable shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: i64,
    name: String,
    list_type: String,
}

/// The body of both calls.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Change<'a> {
    list_id: i64,
    subscribers: Vec<Subscriber<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_existing_users_only: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_unsubscribe: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Subscriber<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefer_user_id: Option<bool>,
}

#[async_trait]
impl Destination for Lists {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.lists(session).await.map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        let lists = self.lists(session).await?;
        let list = match chosen(&lists, target)? {
            Some(list) => list,
            None => self.create(session, membership::name(target)).await?,
        };
        Ok(list.into_remote())
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let id = id_of(&List::of(remote)?)?;
        let Parted { entering, leaving } = Parted::of(batch);
        let mut receipt = batch.delivered();
        self.change(session, id, &entering, &mut receipt).await?;
        self.change(session, id, &leaving, &mut receipt).await?;
        Ok(receipt.into())
    }
}

impl Lists {
    async fn lists(&self, session: &Session) -> Result<Vec<Listed>, Fault> {
        #[derive(Deserialize)]
        struct All {
            lists: Vec<Listed>,
        }
        let all: All = session.send(self.project.get("/api/lists")).await?.json()?;
        Ok(all.lists)
    }

    async fn create(&self, session: &Session, name: &str) -> Result<List, Fault> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Created {
            list_id: i64,
        }
        let body = json!({ "name": name }).to_string();
        // Names are not unique: a second try could make a second list.
        let request = self.project.post("/api/lists", body.into()).repeatable(false);
        match session.send(request).await {
            Ok(response) => {
                let created: Created = response.json()?;
                Ok(List { id: created.list_id.to_string() })
            }
            Err(Fault::Rejected { reason }) => {
                let reason = format!("Iterable refuses to create the list `{name}`: {reason}");
                Err(Fault::Misconfigured { reason })
            }
            Err(other) => Err(other),
        }
    }

    /// One request for those who enter, or for those who leave; none where there are none.
    async fn change(
        &self,
        session: &Session,
        list_id: i64,
        members: &[Member<'_>],
        receipt: &mut Receipt,
    ) -> Result<(), Fault> {
        let Some(first) = members.first() else { return Ok(()) };
        let enters = first.message.is_member();
        let rows = members.iter().map(|member| self.row(member.message));
        let rows: Vec<Row<'_>> = rows.collect::<Result<_, Fault>>()?;
        let subscribers = rows.iter().map(|row| Subscriber {
            email: row.email,
            user_id: row.user_id,
            prefer_user_id: (enters && row.user_id.is_some()).then_some(true),
        });
        let change = Change {
            list_id,
            subscribers: subscribers.collect(),
            update_existing_users_only: enters.then_some(false),
            channel_unsubscribe: (!enters).then_some(false),
        };
        let body = serde_json::to_vec(&change).map_err(|error| Fault::Rejected {
            reason: format!("a member cannot be encoded: {error}"),
        })?;
        let path = if enters { "/api/lists/subscribe" } else { "/api/lists/unsubscribe" };
        let response = session.send(self.project.post(path, body.into())).await?;
        let reading = read(&response, &rows)?;
        let refusals = reading.refusals.into_iter();
        for refusal in refusals.filter(|refusal| enters || !refusal.is_absence) {
            for row in refusal.rows {
                // Rows are those of `members`, whose positions are the batch's own.
                let reason = refusal.reason.clone();
                let _ = receipt.set(members[row].position, Outcome::Rejected { reason });
            }
        }
        if reading.unaccounted > 0 {
            receipt.notice(reading.unaccounted, "Iterable counts fewer members than it was sent");
        }
        Ok(())
    }

    fn row<'m>(&self, member: &'m Message) -> Result<Row<'m>, Fault> {
        match self.key {
            Key::UserId => Ok(Row { user_id: Some(member.subject()), ..Row::default() }),
            Key::Email => match EMAIL.of(member) {
                Some(email) => Ok(Row { email: Some(email), ..Row::default() }),
                None => Err(Fault::Rejected { reason: "it has no email".into() }),
            },
        }
    }
}

/// Which of the project's lists a sync means; `None`: one that is still to be created.
fn chosen(lists: &[Listed], target: &Target) -> Result<Option<List>, Fault> {
    let name = membership::name(target);
    let by_id = { lists.iter() }
        .find(|list| target.list.is_some() && list.id.to_string() == name)
        .map(|list| vec![list]);
    let meant = by_id.unwrap_or_else(|| lists.iter().filter(|list| list.name == name).collect());
    let fitting: Vec<(String, &str)> = { meant.iter() }
        .filter(|list| list.list_type == "Standard")
        .map(|list| (list.id.to_string(), list.name.as_str()))
        .collect();
    if let Some(other) = meant.first().filter(|_| fitting.is_empty()) {
        let reason =
            format!("it is of the type `{}`, and only static ones take members", other.list_type);
        return Err(membership::unknown(name, &reason));
    }
    if meant.is_empty() && target.list.is_some() && name.parse::<i64>().is_ok() {
        return Err(membership::unknown(name, "Iterable shows no such list"));
    }
    // Those of one id have one name.
    let same = fitting.first().map_or(name, |(_, name)| *name);
    membership::named(fitting.iter().map(|(id, name)| (id.as_str(), *name)), same)
}

fn id_of(list: &List) -> Result<i64, Fault> {
    list.id.parse().map_err(|_| Fault::Protocol {
        reason: "the list that was kept has no id that Iterable could have given".into(),
    })
}
