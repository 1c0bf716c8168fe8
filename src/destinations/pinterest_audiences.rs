//! Pinterest's customer lists and the audiences made of them: people are added and removed by hashed
//! emails and device ids.
//!
//! A list cannot be created empty. Where there is none, the first members to enter make it: it is
//! looked for once more, created with them, and remembered; the next run finds it by its name. An
//! audience of it is made right afterwards, since a list alone cannot be advertised to; where that was
//! interrupted, whoever finds the list makes up for it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::lock::Mutex;
use http::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::address::{below, of_api};
use super::membership::{self, COUNTRY, List, Member, Parted};
use super::normalise::{advertising_id, email, sha256};
use super::renewal::{
    ACCESS_TOKEN, Bearer, CLIENT_ID, CLIENT_SECRET, Client, Given, REFRESH_TOKEN,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Quota, Reader, Receipt, Receipts, Remote, Secret,
    Spec, Target,
};
use crate::delivery::{Request, Session};
use crate::finding::Finding;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Pinterest's customer lists.
pub static SPEC: Spec = Spec {
    kind: "pinterest_audiences",
    title: "Pinterest Audiences",
    summary: "Adds and removes people of a Pinterest customer list by hashed identifiers.",
    identifiers: "email and advertising ids as SHA-256",
    match_fields: FIELDS,
    receipts: Receipts::Opaque,
    min_members: Some(100),
    quotas: &[Quota { limit: 400, per: Duration::from_mins(1) }],
    batch: BatchLimits { rows: 5_000, max_rows: 10_000, bytes: 20_000_000, row_bytes: 100_000 },
    concurrency: 2,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Alpha,
    example: r#"[destinations.pinterest]
type = "pinterest_audiences"
ad_account_id = "549755885175"
client_id = "1234567"
client_secret = "${PINTEREST_CLIENT_SECRET}"
refresh_token = "${PINTEREST_REFRESH_TOKEN}"
"#,
    notes: &[
        "A list is found by the id or name in the sync's `list`, else by the model's name; of several with one name none is picked.",
        "A list cannot be created empty: where there is none, the first members who enter make it, and an audience of the same name on it.",
        "Where the audience cannot be made (a list that is too small, perhaps), members are sent all the same and the reason is shown: make it in Pinterest's ads manager.",
        "Pinterest says nothing of single rows, and cannot be read back: records are deleted once they are matched.",
        "Processing takes up to a day; a list needs 100 matched accounts.",
        "The most records per request are uncertain: 5,000 rows by default.",
        "The limit of 400 requests a minute is uncertain, and apps with trial access may send 1,000 a day only: set `rate_limit`.",
        "The terms for customer lists are accepted in Pinterest's ads manager.",
        "How device ids are to be written before they are hashed is uncertain: in lower case here.",
        "A refresh token ends after 60 days, and a new one that Pinterest gives out is not kept: hand over a new one before.",
    ],
    ..Spec::LIST
};

const FIELDS: &[MatchField] = &[
    MatchField { source: "email", normalise: email },
    MatchField { source: "idfa", normalise: advertising_id },
    MatchField { source: "gaid", normalise: advertising_id },
];

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("ad_account_id", "number of the ad account that holds the list"),
    OptionDoc::optional("match_by", "of \"email\", \"idfa\" and \"gaid\"; default all"),
    OptionDoc::optional(
        "create_audience",
        "whether an audience is made of a list that is created here; default true",
    ),
    COUNTRY,
    ACCESS_TOKEN,
    CLIENT_ID,
    CLIENT_SECRET,
    REFRESH_TOKEN,
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    ad_account_id: String,
    #[serde(default, deserialize_with = "membership::several")]
    match_by: Option<Vec<String>>,
    create_audience: Option<bool>,
    country: Option<String>,
    access_token: Option<Secret>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
}

/// The customer lists of one ad account.
#[derive(Debug)]
struct CustomerLists {
    base: url::Url,
    bearer: Bearer,
    account: String,
    list_type: &'static str,
    create_audience: bool,
    /// Lists that did not exist when they were opened, by name: made by one batch for all others.
    made: Mutex<BTreeMap<String, String>>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    if options.ad_account_id.is_empty()
        || !options.ad_account_id.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(vec![reader.refuse("ad_account_id", "is not the number of an ad account")]);
    }
    let all = ["email", "idfa", "gaid"];
    let fields = membership::fields(reader, FIELDS, options.match_by.as_deref(), &all)?;
    let country = membership::country(reader, options.country)?;
    let given = Given {
        access_token: options.access_token,
        client_id: options.client_id,
        client_secret: options.client_secret,
        refresh_token: options.refresh_token,
    };
    let secrets = given.secrets();
    let base = of_api(reader, common, "https://api.pinterest.com")?;
    let tokens = below(&base, &["v5", "oauth", "token"]);
    let has = |source: &str| fields.iter().any(|field| field.source == source);
    let list_type = match (has("email"), has("idfa")) {
        (true, _) => "EMAIL",
        (false, true) => "IDFA",
        (false, false) => "MAID",
    };
    let lists = CustomerLists {
        base,
        bearer: given.bearer(reader, tokens, Client::Basic)?,
        account: options.ad_account_id,
        list_type,
        create_audience: options.create_audience.unwrap_or(true),
        made: Mutex::new(BTreeMap::new()),
    };
    Ok(Built::new(Arc::new(lists), secrets).matching(fields).in_country(country))
}

#[derive(Debug, Deserialize)]
struct CustomerList {
    id: String,
    #[serde(default)]
    name: String,
    exceptions: Option<Json>,
}

#[derive(Debug, Deserialize)]
struct Audience {
    rule: Option<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    customer_list_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Page<T> {
    items: Vec<T>,
    bookmark: Option<String>,
}

/// A list that does not exist yet.
#[derive(Debug, Serialize, Deserialize)]
struct Missing {
    name: String,
}

#[async_trait]
impl Destination for CustomerLists {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.page("customer_lists", None);
        session.send(request).await?.json::<Page<CustomerList>>().map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = target.remote.as_ref().filter(|remote| List::of(remote).is_ok()) {
            return Ok(remote.clone());
        }
        let name = membership::name(target);
        if target.list.is_some() && is_id(name) {
            let request = self.request(Method::GET, &["customer_lists", name]);
            let list: CustomerList = match session.send(request).await {
                Err(Fault::Misconfigured { reason }) => {
                    return Err(membership::unknown(name, &reason));
                }
                other => other?.json()?,
            };
            return Ok(List { id: list.id }.into_remote());
        }
        let Some(list) = self.find(session, name).await? else {
            return Ok(Remote(json!(Missing { name: name.to_owned() })));
        };
        // It was not there before: this sync made it, perhaps without its audience.
        if target.remote.is_some() {
            match self.complete(session, name, &list).await {
                Err(fault @ (Fault::Rejected { .. } | Fault::Misconfigured { .. })) => {
                    tracing::warn!(%fault, "No audience of the list could be made");
                }
                other => other?,
            }
        }
        Ok(list.into_remote())
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let Parted { entering, leaving } = Parted::of(batch);
        let mut receipt = batch.delivered();
        let (entering, leaving) = (records(&entering), records(&leaving));
        let Ok(Missing { name }) = Missing::deserialize(&remote.0) else {
            let list = List::of(remote)?;
            self.change(session, &list, (&leaving, &entering), &mut receipt).await?;
            return Ok(receipt.into());
        };
        // Nobody else creates the list meanwhile.
        let mut made = self.made.lock().await;
        let known = match made.get(&name) {
            Some(id) => Some(List { id: id.clone() }),
            None => self.found(session, &name, &mut receipt).await?,
        };
        let list = match known {
            Some(list) => {
                self.change(session, &list, (&leaving, &entering), &mut receipt).await?;
                list
            }
            // Who leaves a list that is not there has left.
            None if entering.is_empty() => return Ok(receipt.into()),
            None => self.create(session, &name, &entering, &mut receipt).await?,
        };
        made.insert(name, list.id);
        Ok(receipt.into())
    }
}

/// The hashes of some members, as the one text that Pinterest takes.
fn records(members: &[Member<'_>]) -> String {
    let values = members
        .iter()
        .flat_map(|member| FIELDS.iter().filter_map(|field| field.of(member.message)));
    values.map(sha256).collect::<Vec<_>>().join(",")
}

impl CustomerLists {
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let url = below(&self.base, &[&["v5", "ad_accounts", &self.account], path].concat());
        self.bearer.authorise(Request::new(method, url))
    }

    fn page(&self, what: &str, bookmark: Option<&str>) -> Request {
        let mut request = self.request(Method::GET, &[what]);
        let bookmark = bookmark.map(|bookmark| ("bookmark", bookmark));
        request
            .url
            .query_pairs_mut()
            .extend_pairs([("page_size", "250")].into_iter().chain(bookmark));
        request
    }

    async fn all<T: DeserializeOwned>(
        &self,
        session: &Session,
        what: &str,
    ) -> Result<Vec<T>, Fault> {
        let mut all = Vec::new();
        let mut bookmark: Option<String> = None;
        loop {
            let request = self.page(what, bookmark.as_deref());
            let page: Page<T> = session.send(request).await?.json()?;
            all.extend(page.items);
            let next = page.bookmark.filter(|next| !next.is_empty());
            if next.is_none() || next == bookmark {
                return Ok(all);
            }
            bookmark = next;
        }
    }

    async fn find(&self, session: &Session, name: &str) -> Result<Option<List>, Fault> {
        let lists: Vec<CustomerList> = self.all(session, "customer_lists").await?;
        membership::named(lists.iter().map(|list| (&*list.id, &*list.name)), name)
    }

    /// A list that was not there when it was opened: an attempt whose reply was lost made it.
    async fn found(
        &self,
        session: &Session,
        name: &str,
        receipt: &mut Receipt,
    ) -> Result<Option<List>, Fault> {
        let found = self.find(session, name).await?;
        if let Some(list) = &found {
            note(receipt, self.complete(session, name, list).await);
        }
        Ok(found)
    }

    /// Makes an audience of a list that has none.
    async fn complete(&self, session: &Session, name: &str, list: &List) -> Result<(), Fault> {
        if !self.create_audience {
            return Ok(());
        }
        let audiences: Vec<Audience> = self.all(session, "audiences").await?;
        let mut lists =
            audiences.into_iter().filter_map(|audience| audience.rule?.customer_list_id);
        match lists.any(|id| id == list.id) {
            true => Ok(()),
            false => self.advertise(session, name, list).await,
        }
    }

    async fn advertise(&self, session: &Session, name: &str, list: &List) -> Result<(), Fault> {
        let body = json!({
            "name": name,
            "audience_type": "CUSTOMER_LIST",
            "rule": {"customer_list_id": list.id},
        });
        let request = self.request(Method::POST, &["audiences"]);
        let request = request.repeatable(false).json_body(body.to_string().into());
        session.send(request).await.map(drop)
    }

    /// Creates a list with its first members, and an audience of it.
    async fn create(
        &self,
        session: &Session,
        name: &str,
        records: &str,
        receipt: &mut Receipt,
    ) -> Result<List, Fault> {
        let body = json!({"name": name, "list_type": self.list_type, "records": records});
        let request = self.request(Method::POST, &["customer_lists"]);
        let request = request.repeatable(false).json_body(body.to_string().into());
        let CustomerList { id, .. } = session.send(request).await?.json()?;
        let list = List { id };
        if self.create_audience {
            note(receipt, self.advertise(session, name, &list).await);
        }
        Ok(list)
    }

    /// Somebody whose email changed leaves by the old one before entering by the new one.
    async fn change(
        &self,
        session: &Session,
        list: &List,
        (leaving, entering): (&str, &str),
        receipt: &mut Receipt,
    ) -> Result<(), Fault> {
        self.update(session, list, ("REMOVE", leaving), receipt).await?;
        self.update(session, list, ("ADD", entering), receipt).await
    }

    /// Adds or removes records; nothing where there are none.
    async fn update(
        &self,
        session: &Session,
        list: &List,
        (operation, records): (&str, &str),
        receipt: &mut Receipt,
    ) -> Result<(), Fault> {
        if records.is_empty() {
            return Ok(());
        }
        let body = json!({"operation_type": operation, "records": records});
        let request = self.request(Method::PATCH, &["customer_lists", &list.id]);
        let request = request.json_body(body.to_string().into());
        let updated: CustomerList = session.send(request).await?.json()?;
        if updated.id != list.id {
            return Err(Fault::Protocol { reason: "the reply is about another list".into() });
        }
        let exceptions =
            updated.exceptions.filter(|said| said.as_object().is_some_and(|said| !said.is_empty()));
        if let Some(said) = exceptions {
            let count = records.split(',').count() as u64;
            let said: String = said.to_string().chars().take(300).collect();
            receipt.notice(count, format!("Pinterest says of these records: {said}"));
        }
        Ok(())
    }
}

/// Members do not wait for an audience.
fn note(receipt: &mut Receipt, advertised: Result<(), Fault>) {
    if let Err(fault) = advertised {
        receipt.notice(1, format!("the list was created, but no audience of it: {fault}"));
    }
}

/// Ids of lists are long numbers, which no name of a list is by accident.
fn is_id(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_digit())
}
