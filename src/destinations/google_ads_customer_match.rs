//! Google Ads Customer Match through the Data Manager API: members of a user list, by hashed contact
//! data, device ids or ids of our own.
//!
//! What is sent is accepted, not applied: Google answers with the id of a request, and says later how
//! many of its records it could not use and why, never which. A batch that mixes members who enter and
//! who leave becomes two requests, which share one job.

mod key;
mod lists;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::address::below;
use super::google_api::{
    Access, CLIENT_ID, CLIENT_SECRET, Credentials, PRIVATE_KEY, REFRESH_TOKEN, SERVICE_ACCOUNT,
    answered,
};
use super::membership::{self, COUNTRY, List, Member, Parted};
use super::reader::duration;
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, Job, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Settlement,
    Spec, Target,
};
use crate::delivery::{Request, Session};
use crate::finding::Finding;
use key::{Addresses, FIELDS, Key, PROFILE};
use lists::{Page, is_id};
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Customer Match.
pub static SPEC: Spec = Spec {
    kind: "google_ads_customer_match",
    title: "Google Ads Customer Match",
    summary: "Adds and removes members of a Google Ads user list by hashed contact data.",
    identifiers: "email and phone as SHA-256; or, for lists of that kind, device ids or user ids",
    match_fields: FIELDS,
    profile: PROFILE,
    receipts: Receipts::Counts,
    forgets: Some(LONGEST_LIFE),
    min_members: Some(100),
    quotas: &[Quota { limit: 300, per: Duration::from_mins(1) }],
    daily: Some(100_000),
    replaces: true,
    batch: BatchLimits { rows: 10_000, max_rows: 10_000, bytes: 20_000_000, row_bytes: 100_000 },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    min_interval: Duration::from_hours(6),
    maturity: Maturity::Beta,
    example: r#"[destinations.google_ads]
type = "google_ads_customer_match"
customer_id = "444-555-6666"
login_customer_id = "111-222-3333"
client_id = "1234.apps.googleusercontent.com"
client_secret = "${GOOGLE_CLIENT_SECRET}"
refresh_token = "${GOOGLE_REFRESH_TOKEN}"
consent = { ad_user_data = "granted", ad_personalization = "granted" }
terms_accepted = true
"#,
    notes: &[
        "A list is found by the id or name in the sync's `list`, else by the model's name, and created where there is none; its kind (`key`) never changes.",
        "Google only counts the records that it could not use, by reason: the counts are shown, and all rows are kept as sent, so that they are taken back later.",
        "What is sent is applied later: after `poll_after` the job is asked after, until the time of `retry` is over, then by the next run; until then the sync is left out of runs.",
        "A request that failed as a whole is sent again by the next run where Google gives no reason that lies in the records.",
        "Google does not order requests among each other; those who leave are sent first, and nobody leaves by an identifier that another member still has.",
        "`--replace` adds everybody and then has Google remove all who were added before it began (less five minutes, as clocks differ); it does that only once the jobs are done, else the next run removes who is left, one by one.",
        "Members are forgotten after `membership_days` (540 at most) and are added again before half of that time, spread over runs.",
        "`consent` says what people agreed to and has no default; without consent Google counts people of the EEA, the United Kingdom and Switzerland as errors.",
        "Postal addresses are sent only with `send_address = true`; they are absent when a member is removed, so that somebody whom only the address matched stays until forgotten.",
        "Dots and tags of Gmail addresses are cut off, as Google's newest description says; older libraries of Google keep the tag.",
        "Google's libraries keep punctuation inside of names, its reference of the API wants none: a name such as O'Neil is sent both ways, in two addresses of one person.",
        "A list of device ids or user ids takes no contact data: use one destination per kind.",
        "About 100 matched people per network are needed to serve ads.",
        "The limits are those of a Cloud project: 300 requests a minute and 100,000 a day.",
        "Access by a data partner's link (`linkedAccount`) is not supported.",
    ],
    ..Spec::LIST
};

/// Members are kept for 540 days at most.
const LONGEST_LIFE: Duration = Duration::from_hours(540 * 24);
const POLL_AFTER: Duration = Duration::from_mins(1);

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("customer_id", "number of the Google Ads account that holds the list"),
    OptionDoc::optional("login_customer_id", "number of the manager account, if access is by one"),
    OptionDoc::required(
        "consent",
        "what people agreed to: { ad_user_data = \"granted\", ad_personalization = \"granted\" }; each is \"granted\", \"denied\" or \"unspecified\"",
    ),
    OptionDoc::required(
        "terms_accepted",
        "true: the account has accepted the Customer Match terms of service",
    ),
    OptionDoc::optional(
        "key",
        "kind of the list: \"contact\" (default), \"ios\", \"android\" or \"user_id\"",
    ),
    OptionDoc::optional("match_by", "for lists of contacts: \"email\", \"phone\"; default both"),
    OptionDoc::optional(
        "app_id",
        "app that device ids were collected by, to create a list of them",
    ),
    OptionDoc::optional("membership_days", "how long members stay, 1 to 540; default 540"),
    OptionDoc::optional(
        "send_address",
        "whether hashed names, country and postal code travel with new members; default false",
    ),
    OptionDoc::optional("poll_after", "between two questions about a job; default \"1m\""),
    COUNTRY,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
    SERVICE_ACCOUNT,
    PRIVATE_KEY,
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    customer_id: String,
    login_customer_id: Option<String>,
    consent: Consent,
    terms_accepted: bool,
    #[serde(default)]
    key: Key,
    #[serde(default, deserialize_with = "membership::several")]
    match_by: Option<Vec<String>>,
    app_id: Option<String>,
    membership_days: Option<u64>,
    #[serde(default)]
    send_address: bool,
    #[serde(default, deserialize_with = "duration")]
    poll_after: Option<Duration>,
    country: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
    service_account: Option<String>,
    private_key: Option<Secret>,
}

/// What people agreed to, as the project says.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Consent {
    ad_user_data: Agreement,
    ad_personalization: Agreement,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Agreement {
    Granted,
    Denied,
    Unspecified,
}

/// The user lists of one account.
#[derive(Debug)]
struct CustomerMatch {
    access: Access,
    customer: String,
    login: Option<String>,
    consent: Consent,
    key: Key,
    app_id: Option<String>,
    life: Duration,
    /// Where they are sent.
    addresses: Option<Addresses>,
    poll_after: Duration,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let customer = account(reader, "customer_id", &options.customer_id)?;
    let login = match &options.login_customer_id {
        Some(text) => Some(account(reader, "login_customer_id", text)?),
        None => None,
    };
    if !options.terms_accepted {
        let fact = "must be true: Google takes no members before the terms are accepted";
        return Err(vec![reader.refuse("terms_accepted", fact)]);
    }
    let days = options.membership_days.unwrap_or(540);
    if !(1..=540).contains(&days) {
        return Err(vec![reader.refuse("membership_days", "is not a number from 1 to 540")]);
    }
    if options.key != Key::Contact && options.match_by.is_some() {
        let fact = "has no meaning beside this `key`, which says what people are matched by";
        return Err(vec![reader.refuse("match_by", fact)]);
    }
    let fields = match options.key {
        Key::Contact => {
            let contacts = Key::Contact.fields();
            membership::fields(reader, contacts, options.match_by.as_deref(), &["email", "phone"])?
        }
        other => other.fields().to_vec(),
    };
    let country = membership::country(reader, options.country)?;
    let credentials = Credentials {
        client_id: options.client_id,
        client_secret: options.client_secret,
        refresh_token: options.refresh_token,
        service_account: options.service_account,
        private_key: options.private_key,
    };
    let scope = "https://www.googleapis.com/auth/datamanager";
    let access =
        credentials.access(reader, common, ("https://datamanager.googleapis.com", scope))?;
    let secrets = access.secrets.clone();
    let life = Duration::from_hours(24 * days);
    let customer_match = CustomerMatch {
        access,
        customer,
        login,
        consent: options.consent,
        key: options.key,
        app_id: options.app_id,
        life,
        addresses: options.send_address.then(|| Addresses { country: country.clone() }),
        poll_after: options.poll_after.unwrap_or(POLL_AFTER),
    };
    let built = Built::new(Arc::new(customer_match), secrets);
    Ok(built.matching(fields).in_country(country).forgetting(life))
}

/// Accounts are written with or without hyphens.
fn account(reader: &Reader<'_>, option: &str, text: &str) -> Result<String, Vec<Finding>> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    if digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(digits);
    }
    Err(vec![reader.refuse(option, "is not the number of an account, such as \"444-555-6666\"")])
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    request_id: String,
}

/// A list whose members are removed who were added before then and not again.
#[derive(Debug, Serialize, Deserialize)]
struct Replaced {
    id: String,
    before: String,
}

/// Ours may be ahead of Google's by less than this.
const CLOCKS_DIFFER: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

/// What is kept of a job: the ids of its requests, and who of the batch was in the first one.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Submitted {
    removal: Option<String>,
    ingestion: Option<String>,
    leaving: Vec<usize>,
}

#[async_trait]
impl Destination for CustomerMatch {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.lists(&[("pageSize", "1")]);
        session.send(request).await?.json::<Page>().map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        let name = membership::name(target);
        if target.list.is_some() && is_id(name) {
            return self.existing(session, name).await;
        }
        match self.find(session, name).await? {
            Some(list) => Ok(list.into_remote()),
            None => self.create(session, name).await,
        }
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let Parted { entering, leaving } = Parted::of(batch);
        let removal = self.submit(session, "remove", self.removal(&list, &leaving)).await?;
        let ingestion = self.submit(session, "ingest", self.ingestion(&list, &entering)).await?;
        let leaving = leaving.iter().map(|member| member.position).collect();
        let submitted = Submitted { removal, ingestion, leaving };
        let handle = serde_json::to_value(submitted).map_err(|error| Fault::Protocol {
            reason: format!("what must be kept of the job cannot be written: {error}"),
        })?;
        Ok(Delivery::Submitted(Job { handle, poll_after: self.poll_after }))
    }

    async fn begin_replacing(
        &self,
        _session: &Session,
        remote: &Remote,
        started: DateTime<Utc>,
    ) -> Result<Remote, Fault> {
        let id = List::of(remote)?.id;
        let before = started - CLOCKS_DIFFER;
        Ok(Remote(json!(Replaced {
            id,
            before: before.to_rfc3339_opts(SecondsFormat::Secs, true)
        })))
    }

    async fn finish_replacing(&self, session: &Session, remote: &Remote) -> Result<(), Fault> {
        let Replaced { id, before } =
            Replaced::deserialize(&remote.0).map_err(|error| Fault::Protocol {
                reason: format!("what was kept of the replacement cannot be read: {error}"),
            })?;
        let destinations = self.destinations(&List { id });
        let body = json!({"destinations": destinations, "removeAsOfTime": before});
        self.submit(session, "removeAll", Some(body)).await.map(|_| ())
    }

    async fn settle(&self, session: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        let submitted = Submitted::deserialize(&job.handle).map_err(|error| Fault::Protocol {
            reason: format!("what was kept of the job cannot be read: {error}"),
        })?;
        let mut answers = Vec::new();
        for (id, leaves) in [(&submitted.removal, true), (&submitted.ingestion, false)] {
            let Some(id) = id else { continue };
            let mut url = below(&self.access.base, &["v1", "requestStatus:retrieve"]);
            url.query_pairs_mut().append_pair("requestId", id);
            let request = self.request(Method::GET, url).reading(status::known_or_gone);
            let response = session.send(request).await?;
            match status::read(&response)? {
                Some(answer) => answers.push((leaves, answer)),
                None => return Ok(Settlement::Running { poll_after: self.poll_after }),
            }
        }
        Ok(Settlement::Done(status::receipt(rows, &submitted.leaving, answers)))
    }
}

impl CustomerMatch {
    fn request(&self, method: Method, url: url::Url) -> Request {
        let request = Request::new(method, url).granted(&self.access.grant).reading(answered);
        match &self.login {
            Some(login) => request
                .header("login-account", &format!("accountTypes/GOOGLE_ADS/accounts/{login}")),
            None => request,
        }
    }

    fn destinations(&self, list: &List) -> Json {
        let account = |number: &str| json!({"accountType": "GOOGLE_ADS", "accountId": number});
        let mut destination = json!({
            "operatingAccount": account(&self.customer),
            "productDestinationId": list.id,
        });
        if let Some(login) = &self.login {
            destination["loginAccount"] = account(login);
        }
        json!([destination])
    }

    fn removal(&self, list: &List, members: &[Member<'_>]) -> Option<Json> {
        if members.is_empty() {
            return None;
        }
        let mut body = json!({
            "destinations": self.destinations(list),
            "audienceMembers": self.members(members, None),
        });
        if self.key == Key::Contact {
            body["encoding"] = json!("HEX");
        }
        Some(body)
    }

    fn ingestion(&self, list: &List, members: &[Member<'_>]) -> Option<Json> {
        if members.is_empty() {
            return None;
        }
        let mut body = json!({
            "destinations": self.destinations(list),
            "audienceMembers": self.members(members, self.addresses.as_ref()),
            "termsOfService": {"customerMatchTermsOfServiceStatus": "ACCEPTED"},
        });
        if self.key == Key::Contact {
            body["encoding"] = json!("HEX");
        }
        if let Some(consent) = self.consent.written() {
            body["consent"] = consent;
        }
        Some(body)
    }

    fn members(&self, members: &[Member<'_>], addresses: Option<&Addresses>) -> Vec<Json> {
        members.iter().map(|member| self.key.member(member.message, addresses)).collect()
    }

    async fn submit(
        &self,
        session: &Session,
        verb: &str,
        body: Option<Json>,
    ) -> Result<Option<String>, Fault> {
        let Some(body) = body else { return Ok(None) };
        let url = below(&self.access.base, &["v1", &format!("audienceMembers:{verb}")]);
        let request = self.request(Method::POST, url).json_body(body.to_string().into());
        let accepted: Accepted = session.send(request).await?.json()?;
        Ok(Some(accepted.request_id))
    }
}

impl Consent {
    fn written(self) -> Option<Json> {
        let parts =
            [("adUserData", self.ad_user_data), ("adPersonalization", self.ad_personalization)];
        let said = parts.into_iter().filter_map(|(name, agreement)| {
            let word = match agreement {
                Agreement::Granted => "CONSENT_GRANTED",
                Agreement::Denied => "CONSENT_DENIED",
                Agreement::Unspecified => return None,
            };
            Some((name.to_owned(), json!(word)))
        });
        let said: serde_json::Map<String, Json> = said.collect();
        (!said.is_empty()).then_some(Json::Object(said))
    }
}
