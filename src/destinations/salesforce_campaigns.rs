//! Campaigns of Salesforce as lists: contacts and leads become members of a campaign, and stop being it.
//!
//! Salesforce knows no member by email: people are looked up first, then which of them are members
//! already, then members are deleted and created, each with a result by position. Doing it twice
//! changes nothing, so that a fault half-way concerns the batch as a whole.
//!
//! What it never does: it creates no contact and no lead, and touches no consent.

mod people;
mod remote;

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::{Deserialize, Serialize};
use url::Url;

use super::membership::{List, Member, Parted};
use super::normalise;
use super::reader::address;
use super::salesforce_api::{
    API_VERSION, CLIENT_ID, CLIENT_SECRET, LOGIN_URL, Login, Org, PRIVATE_KEY, REFRESH_TOKEN,
    USERNAME, outcomes,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret,
    Spec, Target,
};
use crate::delivery::Session;
use crate::finding::Finding;
use crate::record::Call;
use people::{Kinds, Members, People, Person};

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Salesforce's campaigns.
pub static SPEC: Spec = Spec {
    kind: "salesforce_campaigns",
    title: "Salesforce Campaigns",
    summary: "Keeps contacts and leads as members of a Salesforce campaign.",
    identifiers: "email of contacts and of leads that were not converted",
    match_fields: &[EMAIL],
    quotas: &[Quota::per_second(5)],
    daily: Some(100_000),
    batch: BatchLimits {
        rows: MOST_AT_ONCE,
        max_rows: MOST_AT_ONCE,
        bytes: 1_000_000,
        row_bytes: 20_000,
    },
    // Members of one campaign that are written at the same time lock each other out.
    concurrency: 1,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.salesforce_campaigns]
type = "salesforce_campaigns"
login_url = "https://acme.my.salesforce.com"
client_id = "muster-app"
client_secret = "${SALESFORCE_CLIENT_SECRET}"
"#,
    notes: &[
        "A campaign is found by the id (`701…`) or name in the sync's `list`, else by the model's name, and created where there is none, which takes a marketing user.",
        "Somebody whom no contact and no open lead has as email is rejected, and tried again by later runs: people are never created.",
        "Contacts go before leads: a lead is only taken where no contact has the email, unless `people` says otherwise.",
        "Where several contacts have an email, all become members, or the oldest with `several = \"oldest\"`; whoever leaves is taken off with all of them.",
        "A batch of 200 takes four to six requests of the daily allowance (100,000 and more by licences), which all programs share: 100,000 hold here, counted across runs; say your share with `daily_limit`.",
        "Batches are delivered one after the other, since members of one campaign lock each other out; raise `concurrency` where several campaigns are kept.",
        "That somebody is a member already is success (the text of that error is uncertain, its code is not).",
        "A member's status is the campaign's default unless `member_status` says otherwise; Salesforce takes one that the campaign lacks for its default (uncertain).",
        "A membership is no consent: respect `HasOptedOutOfEmail` where the campaign sends.",
        "The Bulk API is not used.",
    ],
    ..Spec::LIST
};

/// Records in one request.
const MOST_AT_ONCE: usize = 200;

const EMAIL: MatchField = MatchField { source: "email", normalise: normalise::plain_email };

const OPTIONS: &[OptionDoc] = &[
    LOGIN_URL,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    PRIVATE_KEY,
    USERNAME,
    API_VERSION,
    OptionDoc::optional(
        "people",
        "who is looked for: \"contacts\", \"leads\", or \"both\" (default), contacts first",
    ),
    OptionDoc::optional(
        "several",
        "who becomes a member where several have an email: \"all\" (default) or the \"oldest\"",
    ),
    OptionDoc::optional("member_status", "status of new members; default: the campaign's own"),
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default, deserialize_with = "address")]
    login_url: Option<Url>,
    client_id: String,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    private_key: Option<Secret>,
    username: Option<String>,
    api_version: Option<String>,
    #[serde(default)]
    people: Kinds,
    #[serde(default)]
    several: Several,
    member_status: Option<String>,
}

/// Who becomes a member where several have an email.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Several {
    #[default]
    All,
    Oldest,
}

/// The campaigns of one organisation.
#[derive(Debug)]
struct Campaigns {
    org: Org,
    people: Kinds,
    several: Several,
    member_status: Option<String>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let login = Login {
        login_url: options.login_url,
        client_id: options.client_id,
        client_secret: options.client_secret,
        refresh_token: options.refresh_token,
        private_key: options.private_key,
        username: options.username,
        base_url: common.base_url.clone(),
    };
    let secrets = login.secrets();
    let org = Org::of(login, options.api_version)
        .map_err(|(option, fact)| vec![reader.refuse(option, &fact)])?;
    let campaigns = Campaigns {
        org,
        people: options.people,
        several: options.several,
        member_status: options.member_status,
    };
    Ok(Built::new(Arc::new(campaigns), secrets))
}

/// A member on its way in.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NewMember<'a> {
    #[serde(rename = "attributes")]
    attributes: Attributes,
    campaign_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    contact_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lead_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
}

#[derive(Serialize)]
struct Attributes {
    r#type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Collection<'a> {
    all_or_none: bool,
    records: Vec<NewMember<'a>>,
}

/// What happens to one campaign because of one batch.
struct Change<'a> {
    campaigns: &'a Campaigns,
    session: &'a Session,
    campaign: &'a str,
    /// By position in the batch.
    outcomes: Vec<Outcome>,
}

impl Change<'_> {
    /// Deletes members, given with the position of their message.
    async fn take_off(&mut self, members: &[(usize, &str)]) -> Result<(), Fault> {
        // Somebody else was faster.
        const GONE: &[&str] = &["ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY"];
        for members in members.chunks(MOST_AT_ONCE) {
            let ids: Vec<&str> = members.iter().map(|(_, id)| *id).collect();
            let mut request =
                self.campaigns.org.request(Method::DELETE, &["composite", "sobjects"]);
            request
                .url
                .query_pairs_mut()
                .append_pair("ids", &ids.join(","))
                .append_pair("allOrNone", "false");
            let response = self.session.send(request).await?;
            let positions = members.iter().map(|(position, _)| *position);
            self.note(positions, outcomes(&response, members.len(), |_| GONE)?);
        }
        Ok(())
    }

    /// Creates members of people, given with the position of their message.
    async fn put_on(&mut self, people: &[(usize, &Person)]) -> Result<(), Fault> {
        const MEMBER_ALREADY: &[&str] = &["DUPLICATE_VALUE"];
        for people in people.chunks(MOST_AT_ONCE) {
            let records = people.iter().map(|(_, person)| self.member(person)).collect();
            let body = Collection { all_or_none: false, records };
            let path = ["composite", "sobjects"];
            let request = self.campaigns.org.write(Method::POST, &path, &body)?;
            let response = self.session.send(request).await?;
            let positions = people.iter().map(|(position, _)| *position);
            self.note(positions, outcomes(&response, people.len(), |_| MEMBER_ALREADY)?);
        }
        Ok(())
    }

    fn member<'m>(&'m self, person: &'m Person) -> NewMember<'m> {
        NewMember {
            attributes: Attributes { r#type: "CampaignMember" },
            campaign_id: self.campaign,
            contact_id: person.contact(),
            lead_id: person.lead(),
            status: self.campaigns.member_status.as_deref(),
        }
    }

    /// Of several records of one message the worst outcome counts.
    fn note(&mut self, positions: impl Iterator<Item = usize>, outcomes: Vec<Outcome>) {
        for (position, outcome) in positions.zip(outcomes) {
            let known = &mut self.outcomes[position];
            if severity(&outcome) > severity(known) {
                *known = outcome;
            }
        }
    }
}

const fn severity(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::Delivered => 0,
        Outcome::Rejected { .. } => 1,
        Outcome::Retry { .. } => 2,
        Outcome::Unsettled { .. } => 3,
    }
}

impl Campaigns {
    /// Who becomes a member because of this message.
    fn chosen<'p>(&self, people: &'p People, member: &Member<'_>) -> &'p [Person] {
        let found = EMAIL.of(member.message).map_or(&[][..], |email| people.with(email));
        match self.several {
            Several::All => found,
            Several::Oldest => &found[..found.len().min(1)],
        }
    }
}

fn emails<'b>(members: &[Member<'b>]) -> Vec<&'b str> {
    members.iter().filter_map(|member| EMAIL.of(member.message)).collect()
}

/// Members of whoever leaves, with the position of their message.
fn leaving<'m>(
    people: &People,
    members: &'m Members,
    leaving: &[Member<'_>],
) -> Vec<(usize, &'m str)> {
    let of_one = |member: &Member<'_>| {
        let found = EMAIL.of(member.message).map_or(&[][..], |email| people.with(email));
        let position = member.position;
        let ids = found.iter().filter_map(|person| members.of(person));
        ids.map(|id| (position, id)).collect::<Vec<_>>()
    };
    leaving.iter().flat_map(of_one).collect()
}

#[async_trait]
impl Destination for Campaigns {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        remote::may_write(&self.org, session).await
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        match &target.remote {
            Some(remote) => Ok(remote.clone()),
            None => remote::opened(&self.org, session, target).await.map(List::into_remote),
        }
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        remote::objection(target).into_iter().collect()
    }

    fn requests(&self, _: Call, _: usize) -> usize {
        3
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let List { id: campaign } = List::of(remote)?;
        let parted = Parted::of(batch);
        let emails = (&emails(&parted.entering)[..], &emails(&parted.leaving)[..]);
        let people = People::found(&self.org, session, self.people, emails).await?;
        let members = Members::found(&self.org, session, &campaign, &people).await?;
        let outcomes = vec![Outcome::Delivered; batch.len()];
        let mut change = Change { campaigns: self, session, campaign: &campaign, outcomes };
        change.take_off(&leaving(&people, &members, &parted.leaving)).await?;
        let mut entering = Vec::new();
        for member in &parted.entering {
            let chosen = self.chosen(&people, member);
            if chosen.is_empty() {
                let reason = format!("{} has this email", self.people.nobody());
                change.outcomes[member.position] = Outcome::Rejected { reason };
            }
            let new = chosen.iter().filter(|person| members.of(person).is_none());
            entering.extend(new.map(|person| (member.position, person)));
        }
        change.put_on(&entering).await?;
        let mut receipt: Receipt = batch.delivered();
        for (position, outcome) in change.outcomes.into_iter().enumerate() {
            // There are as many outcomes as messages.
            let _ = receipt.set(position, outcome);
        }
        Ok(receipt.into())
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::server;
