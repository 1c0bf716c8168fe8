//! Snapchat's customer lists: people are added and removed by hashed identifiers, one kind per
//! request.
//!
//! Snap says how many it took, never which. A 200 may hold a refusal of the part that matters, so that
//! both of its statuses are read.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::address::{below, of_api};
use super::membership::{self, COUNTRY, List, Member, Parted};
use super::normalise::{advertising_id, digits, e164, email, sha256};
use super::renewal::{
    ACCESS_TOKEN, Bearer, CLIENT_ID, CLIENT_SECRET, Client, Given, REFRESH_TOKEN,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Spec,
    Target,
};
use crate::delivery::{Request, Response, Session, standard};
use crate::finding::Finding;
use crate::record::Call;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of Snap's customer lists.
pub static SPEC: Spec = Spec {
    kind: "snap_audiences",
    title: "Snapchat Audiences",
    summary: "Adds and removes people of a Snapchat customer list by hashed identifiers.",
    identifiers: "email, phone and advertising ids as SHA-256",
    match_fields: FIELDS,
    receipts: Receipts::Counts,
    min_members: Some(1_000),
    quotas: &[Quota::per_second(10)],
    batch: BatchLimits { rows: 10_000, max_rows: 100_000, bytes: 40_000_000, row_bytes: 100_000 },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.snap]
type = "snap_audiences"
ad_account_id = "8adc3db7-8148-4fbf-999c-8d2266369d74"
client_id = "acme"
client_secret = "${SNAP_CLIENT_SECRET}"
refresh_token = "${SNAP_REFRESH_TOKEN}"
"#,
    notes: &[
        "A list is found by the id or name in the sync's `list`, else by the model's name among customer lists, and created where there is none; of several with one name none is picked.",
        "Snap only counts whom it took: a smaller count than was sent is shown, and all rows are kept as sent.",
        "Each kind of identifier goes in a request of its own to the same list; that a list may hold several kinds works in practice and is officially uncertain: name one kind in `match_by` to avoid it.",
        "Processing takes hours, up to a day, and a list needs about 1,000 matched people.",
        "Members stay for `retention_in_days`, which is only said when a list is created; inactive lists may lapse after 13 months (uncertain).",
        "Snap names no time to wait when its limit of 10 requests a second is reached.",
    ],
    ..Spec::LIST
};

const FIELDS: &[MatchField] = &[
    MatchField { source: "email", normalise: email },
    MatchField { source: "phone", normalise: e164 },
    MatchField { source: "idfa", normalise: advertising_id },
    MatchField { source: "gaid", normalise: advertising_id },
];

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("ad_account_id", "id of the ad account that holds the list"),
    OptionDoc::optional("match_by", "of \"email\", \"phone\", \"idfa\" and \"gaid\"; default all"),
    OptionDoc::optional(
        "retention_in_days",
        "how long members of a new list stay; default 9999 (for good)",
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
    retention_in_days: Option<u32>,
    country: Option<String>,
    access_token: Option<Secret>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
}

/// The customer lists of one ad account.
#[derive(Debug)]
struct Segments {
    base: url::Url,
    bearer: Bearer,
    account: String,
    retention: u32,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    let all = ["email", "phone", "idfa", "gaid"];
    let fields = membership::fields(reader, FIELDS, options.match_by.as_deref(), &all)?;
    let country = membership::country(reader, options.country)?;
    let given = Given {
        access_token: options.access_token,
        client_id: options.client_id,
        client_secret: options.client_secret,
        refresh_token: options.refresh_token,
    };
    let secrets = given.secrets();
    let tokens = of_api(reader, common, "https://accounts.snapchat.com")?;
    let tokens = below(&tokens, &["login", "oauth2", "access_token"]);
    let segments = Segments {
        base: of_api(reader, common, "https://adsapi.snapchat.com")?,
        bearer: given.bearer(reader, tokens, Client::Form)?,
        account: options.ad_account_id,
        retention: options.retention_in_days.unwrap_or(9_999),
    };
    Ok(Built::new(Arc::new(segments), secrets).matching(fields).in_country(country))
}

#[derive(Debug, Deserialize)]
struct Lists {
    segments: Vec<Entered>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Paging {
    next_link: Option<String>,
}

/// One part of a reply about lists.
#[derive(Debug, Deserialize)]
struct Entered {
    #[serde(flatten)]
    part: Part,
    segment: Option<Segment>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    id: String,
    #[serde(default)]
    name: String,
    source_type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Part {
    sub_request_status: String,
    sub_request_error_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Uploads {
    users: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
struct Upload {
    #[serde(flatten)]
    part: Part,
    user: Option<Uploaded>,
}

#[derive(Debug, Deserialize)]
struct Uploaded {
    number_uploaded_users: Option<u64>,
}

/// The status of a whole reply, whatever it is about.
#[derive(Debug, Deserialize)]
struct Envelope {
    request_status: String,
    debug_message: Option<String>,
}

/// Reads the status of the reply as a whole, which a 200 may deny.
fn answered(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    let Envelope { request_status, debug_message } = response.json()?;
    if request_status.eq_ignore_ascii_case("success") {
        return Ok(());
    }
    let said = debug_message.unwrap_or_default();
    Err(Fault::Rejected { reason: format!("the request has the status {request_status}: {said}") })
}

impl Part {
    fn succeeded(&self) -> Result<(), Fault> {
        if self.sub_request_status.eq_ignore_ascii_case("success") {
            return Ok(());
        }
        let why = self.sub_request_error_reason.as_deref().unwrap_or("no reason is given");
        let reason =
            format!("part of the request has the status {}: {why}", self.sub_request_status);
        Err(Fault::Rejected { reason })
    }
}

/// One kind of identifier, and who has it.
#[derive(Debug)]
struct Kind {
    schema: &'static str,
    hashes: BTreeSet<String>,
}

impl Kind {
    /// The kinds that some member has; an identifier is in a request once.
    fn all(members: &[Member<'_>]) -> Vec<Self> {
        let kinds = [("EMAIL_SHA256", 0..1), ("PHONE_SHA256", 1..2), ("MOBILE_AD_ID_SHA256", 2..4)];
        kinds
            .into_iter()
            .map(|(schema, places)| {
                let fields = FIELDS[places].iter();
                let values = fields.flat_map(|field| {
                    members.iter().filter_map(move |member| field.of(member.message))
                });
                let form = |value: &str| match schema {
                    "PHONE_SHA256" => sha256(digits(value)),
                    _ => sha256(value),
                };
                Self { schema, hashes: values.map(form).collect() }
            })
            .filter(|kind| !kind.hashes.is_empty())
            .collect()
    }
}

#[async_trait]
impl Destination for Segments {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.request(Method::GET, &["adaccounts", &self.account, "segments"]);
        session.send(request).await?.json::<Lists>().map(|_| ())
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

    fn requests(&self, _: Call, _: usize) -> usize {
        2
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let Parted { entering, leaving } = Parted::of(batch);
        let mut receipt = batch.delivered();
        for (method, members) in [(Method::DELETE, leaving), (Method::POST, entering)] {
            for kind in Kind::all(&members) {
                let missing = self.upload(session, &list, method.clone(), &kind).await?;
                if missing > 0 {
                    let reason =
                        format!("Snap took fewer identifiers of {} than it was sent", kind.schema);
                    receipt.notice(missing, reason);
                }
            }
        }
        Ok(receipt.into())
    }
}

impl Segments {
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let url = below(&self.base, &[&["v1"], path].concat());
        self.bearer.authorise(Request::new(method, url)).reading(answered)
    }

    /// The list of that id, which the project names.
    async fn existing(&self, session: &Session, id: &str) -> Result<Remote, Fault> {
        let lists: Lists = match session.send(self.request(Method::GET, &["segments", id])).await {
            Err(Fault::Misconfigured { reason }) => return Err(membership::unknown(id, &reason)),
            other => other?.json()?,
        };
        let segment = lists.segments.into_iter().next().and_then(|one| one.segment);
        match segment.filter(Segment::is_list) {
            Some(segment) => Ok(List { id: segment.id }.into_remote()),
            None => Err(membership::unknown(id, "it is no customer list")),
        }
    }

    async fn find(&self, session: &Session, name: &str) -> Result<Option<List>, Fault> {
        let mut segments: Vec<Segment> = Vec::new();
        let mut query: Option<String> = None;
        loop {
            let mut request = self.request(Method::GET, &["adaccounts", &self.account, "segments"]);
            request.url.set_query(query.as_deref());
            let Lists { segments: page, paging } = session.send(request).await?.json()?;
            segments
                .extend(page.into_iter().filter_map(|one| one.segment).filter(Segment::is_list));
            // Only the query of the next page is taken over, never its address.
            let next = paging
                .next_link
                .and_then(|link| link.split_once('?').map(|(_, query)| query.to_owned()));
            if next.is_none() || next == query {
                break;
            }
            query = next;
        }
        membership::named(segments.iter().map(|one| (&*one.id, &*one.name)), name)
    }

    async fn create(&self, session: &Session, name: &str) -> Result<Remote, Fault> {
        let body = json!({"segments": [{
            "name": name,
            "ad_account_id": self.account,
            "source_type": "FIRST_PARTY",
            "retention_in_days": self.retention,
        }]});
        let request = self.request(Method::POST, &["adaccounts", &self.account, "segments"]);
        let request = request.repeatable(false).json_body(body.to_string().into());
        let lists: Lists = session.send(request).await?.json()?;
        let Some(created) = lists.segments.into_iter().next() else {
            return Err(Fault::Protocol { reason: "the reply names no list".into() });
        };
        created.part.succeeded()?;
        match created.segment {
            Some(segment) => Ok(List { id: segment.id }.into_remote()),
            None => Err(Fault::Protocol { reason: "the reply names no list".into() }),
        }
    }

    /// One kind of identifier; how many of them Snap did not take.
    async fn upload(
        &self,
        session: &Session,
        list: &List,
        method: Method,
        kind: &Kind,
    ) -> Result<u64, Fault> {
        let data: Vec<[&String; 1]> = kind.hashes.iter().map(|hash| [hash]).collect();
        let mut users = json!({"schema": [kind.schema], "data": data});
        if method == Method::DELETE {
            users["id"] = Json::String(list.id.clone());
        }
        let request = self.request(method, &["segments", &list.id, "users"]);
        let request = request.json_body(json!({"users": [users]}).to_string().into());
        let uploads: Uploads = session.send(request).await?.json()?;
        let Some(upload) = uploads.users.into_iter().next() else {
            return Err(Fault::Protocol { reason: "the reply names no upload".into() });
        };
        upload.part.succeeded()?;
        let sent = kind.hashes.len() as u64;
        let taken = upload.user.and_then(|user| user.number_uploaded_users).unwrap_or(sent);
        Ok(sent.saturating_sub(taken))
    }
}

impl Segment {
    /// Whether it is a customer list; nothing can be uploaded to others.
    fn is_list(&self) -> bool {
        self.source_type.as_deref().is_none_or(|kind| kind == "FIRST_PARTY")
    }
}

/// Ids of lists are long numbers.
fn is_id(text: &str) -> bool {
    text.len() >= 10 && text.bytes().all(|byte| byte.is_ascii_digit())
}
