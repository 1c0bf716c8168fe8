//! LinkedIn's matched audiences (DMP segments): members are added and removed in one request, and
//! LinkedIn says of each what became of it.
//!
//! A new segment is not there at once: what is sent to it meanwhile is answered with 404, and waits.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::address::{below, of_api};
use super::membership::{self, COUNTRY, List};
use super::normalise::{email_without_spaces, plain_advertising_id, sha256};
use super::renewal::{
    ACCESS_TOKEN, Bearer, CLIENT_ID, CLIENT_SECRET, Client, Given, REFRESH_TOKEN,
};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Outcome, Quota, Reader, Receipt, Remote, Secret,
    Spec, Target,
};
use crate::delivery::{Request, Response, Session, standard};
use crate::finding::Finding;
use crate::message::Message;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of LinkedIn's audiences.
pub static SPEC: Spec = Spec {
    kind: "linkedin_audiences",
    title: "LinkedIn Audiences",
    summary: "Adds and removes members of a LinkedIn matched audience by hashed emails.",
    identifiers: "email as SHA-256, Google advertising id plain",
    match_fields: FIELDS,
    min_members: Some(300),
    quotas: &[Quota { limit: 500, per: Duration::from_mins(1) }],
    batch: BatchLimits { rows: 5_000, max_rows: 5_000, bytes: 20_000_000, row_bytes: 100_000 },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Beta,
    example: r#"[destinations.linkedin]
type = "linkedin_audiences"
ad_account_id = "512345678"
source_platform = "ACME"
client_id = "77abc"
client_secret = "${LINKEDIN_CLIENT_SECRET}"
refresh_token = "${LINKEDIN_REFRESH_TOKEN}"
"#,
    notes: &[
        "The program is open to partners of LinkedIn only: `source_platform` is the word that LinkedIn gave to yours, and the token needs `rw_dmp_segments`.",
        "A segment is found by the id in the sync's `list`, else by its `sourceSegmentId`, which is the name in `list` or the model's key; where there is none it is created.",
        "A segment that was just created answers 404 for a minute or two: what the same run sends to it waits 30 seconds at a time, then stays pending; an older one that answers 404 is gone, which stops the sync.",
        "Building takes up to 48 hours, later changes a day, and a segment needs 300 matched members; unused ones are archived.",
        "Names, titles and companies are not sent, since LinkedIn takes them plain only.",
        "Apple's advertising ids are no longer accepted; phones never were.",
        "The limit of 500 requests a minute is uncertain, and there are daily ones that LinkedIn does not publish.",
        "An `api_version` lives for about 12 months; an older one is refused with 426.",
        "Refresh tokens end after a year, access tokens after 60 days: hand over new ones before.",
    ],
    ..Spec::LIST
};

const FIELDS: &[MatchField] = &[
    MatchField { source: "email", normalise: email_without_spaces },
    MatchField { source: "gaid", normalise: plain_advertising_id },
];

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("ad_account_id", "number of the ad account that owns the segment"),
    OptionDoc::required("source_platform", "the word that LinkedIn gave to your platform"),
    OptionDoc::optional("match_by", "of \"email\" and \"gaid\"; default both"),
    OptionDoc::optional(
        "api_version",
        "value of the `LinkedIn-Version` header; default \"202607\"",
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
    source_platform: String,
    #[serde(default, deserialize_with = "membership::several")]
    match_by: Option<Vec<String>>,
    api_version: Option<String>,
    country: Option<String>,
    access_token: Option<Secret>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    refresh_token: Option<Secret>,
}

/// The segments of one ad account.
#[derive(Debug)]
struct Segments {
    base: url::Url,
    bearer: Bearer,
    version: String,
    account: String,
    platform: String,
    /// Created in this process, and so perhaps not there yet.
    fresh: Mutex<BTreeSet<String>>,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    if options.ad_account_id.is_empty()
        || !options.ad_account_id.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(vec![reader.refuse("ad_account_id", "is not the number of an ad account")]);
    }
    let fields =
        membership::fields(reader, FIELDS, options.match_by.as_deref(), &["email", "gaid"])?;
    let country = membership::country(reader, options.country)?;
    let given = Given {
        access_token: options.access_token,
        client_id: options.client_id,
        client_secret: options.client_secret,
        refresh_token: options.refresh_token,
    };
    let secrets = given.secrets();
    let tokens = of_api(reader, common, "https://www.linkedin.com")?;
    let tokens = below(&tokens, &["oauth", "v2", "accessToken"]);
    let segments = Segments {
        base: of_api(reader, common, "https://api.linkedin.com")?,
        bearer: given.bearer(reader, tokens, Client::Form)?,
        version: options.api_version.unwrap_or_else(|| "202607".to_owned()),
        account: format!("urn:li:sponsoredAccount:{}", options.ad_account_id),
        platform: options.source_platform,
        fresh: Mutex::default(),
    };
    Ok(Built::new(Arc::new(segments), secrets).matching(fields).in_country(country))
}

#[derive(Debug, Deserialize)]
struct Found {
    elements: Vec<Segment>,
}

#[derive(Debug, Deserialize)]
struct Segment {
    /// A number, or the same as a text.
    id: Json,
    status: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Changed {
    elements: Vec<Status>,
}

/// What became of one member.
#[derive(Debug, Deserialize)]
struct Status {
    status: u16,
    error: Option<Complaint>,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    #[serde(default)]
    message: String,
}

/// Reads a reply: as usual, but a version that is over is a matter of the project.
fn answered(response: &Response) -> Result<(), Fault> {
    match response.status {
        423 => Err(Fault::Transient { reason: response.reason() }),
        426 => {
            let reason = format!("{}; set a newer `api_version`", response.reason());
            Err(Fault::Misconfigured { reason })
        }
        429 => {
            let retry_after = response.retry_after().or(Some(Duration::from_mins(1)));
            Err(Fault::Throttled { retry_after, reason: response.reason() })
        }
        _ => standard(response),
    }
}

/// The same about members of a segment that was just created, and is perhaps not there yet.
fn about_fresh(response: &Response) -> Result<(), Fault> {
    if response.status == 404 {
        let reason = format!("{}; a new segment is not there at once", response.reason());
        return Err(Fault::Throttled { retry_after: Some(Duration::from_secs(30)), reason });
    }
    answered(response)
}

/// The same about members of a segment that was there before.
fn about_older(response: &Response) -> Result<(), Fault> {
    if response.status == 404 {
        let reason = format!("{}; the segment is not there any more", response.reason());
        return Err(Fault::Misconfigured { reason });
    }
    answered(response)
}

impl Segment {
    fn id(&self) -> Result<String, Fault> {
        match &self.id {
            Json::String(text) if !text.is_empty() => Ok(text.clone()),
            Json::Number(number) => Ok(number.to_string()),
            _ => Err(Fault::Protocol { reason: "the reply names a segment without an id".into() }),
        }
    }

    fn usable(&self) -> Result<List, Fault> {
        let id = self.id()?;
        if let Some(status @ ("EXPIRED" | "FAILED" | "ERROR")) = self.status.as_deref() {
            return Err(membership::unknown(&id, &format!("its status is {status}")));
        }
        if self.kind.as_deref().is_some_and(|kind| kind != "USER") {
            return Err(membership::unknown(&id, "it does not hold people"));
        }
        Ok(List { id })
    }
}

#[async_trait]
impl Destination for Segments {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        let request = self.searched(&[("count", "1")]);
        session.send(request).await?.json::<Found>().map(|_| ())
    }

    async fn open(&self, session: &Session, target: &Target) -> Result<Remote, Fault> {
        if let Some(remote) = &target.remote {
            return Ok(remote.clone());
        }
        if let Some(id) = target.list.as_deref().filter(|list| is_id(list)) {
            let request = self.request(Method::GET, &["dmpSegments", id]);
            let segment: Segment = match session.send(request).await {
                Err(Fault::Misconfigured { reason }) => {
                    return Err(membership::unknown(id, &reason));
                }
                other => other?.json()?,
            };
            return segment.usable().map(List::into_remote);
        }
        let key = target.list.as_deref().unwrap_or(&target.model_key);
        if let Some(list) = self.find(session, key).await? {
            return Ok(list.into_remote());
        }
        self.create(session, key, membership::name(target)).await
    }

    async fn deliver(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let list = List::of(remote)?;
        let elements: Vec<Json> = batch.messages().iter().map(element).collect();
        let request = self
            .request(Method::POST, &["dmpSegments", &list.id, "users"])
            .header("X-RestLi-Method", "BATCH_CREATE")
            .json_body(json!({ "elements": elements }).to_string().into());
        let request = match self.is_fresh(&list) {
            true => request.reading(about_fresh),
            false => request.reading(about_older),
        };
        let changed: Changed = session.send(request).await?.json()?;
        Ok(receipt(batch, changed.elements)?.into())
    }
}

/// One member as the request names it.
fn element(message: &Message) -> Json {
    let ids = FIELDS.iter().filter_map(|field| Some((field.source, field.of(message)?)));
    let ids = ids.map(|(source, value)| match source {
        "email" => json!({"idType": "SHA256_EMAIL", "idValue": sha256(value)}),
        _ => json!({"idType": "GOOGLE_AID", "idValue": value}),
    });
    let action = if message.is_member() { "ADD" } else { "REMOVE" };
    json!({"action": action, "userIds": ids.collect::<Vec<_>>()})
}

/// One status per member, in their order.
fn receipt(batch: &Batch, statuses: Vec<Status>) -> Result<Receipt, Fault> {
    if statuses.len() != batch.len() {
        let (had, sent) = (statuses.len(), batch.len());
        let reason = format!("the reply says of {had} members what became of them, not of {sent}");
        return Err(Fault::Protocol { reason });
    }
    let mut receipt = batch.delivered();
    for (position, (status, message)) in statuses.into_iter().zip(batch.messages()).enumerate() {
        // Positions are those of this batch.
        let _ = receipt.set(position, status.outcome(message.is_member()));
    }
    Ok(receipt)
}

impl Status {
    fn outcome(self, enters: bool) -> Outcome {
        let said = self.error.map(|error| error.message).unwrap_or_default();
        let reason = format!("{} {said}", self.status).trim_end().to_owned();
        match self.status {
            200..=299 => Outcome::Delivered,
            // Who is not there need not be removed.
            404 if !enters => Outcome::Delivered,
            408 | 409 | 423 | 429 | 500..=599 => Outcome::Retry { after: None, reason },
            _ => Outcome::Rejected { reason },
        }
    }
}

impl Segments {
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let url = below(&self.base, &[&["rest"], path].concat());
        self.bearer
            .authorise(Request::new(method, url))
            .header("LinkedIn-Version", &self.version)
            .header("X-Restli-Protocol-Version", "2.0.0")
            .reading(answered)
    }

    fn searched(&self, more: &[(&str, &str)]) -> Request {
        let mut request = self.request(Method::GET, &["dmpSegments"]);
        let query = [("q", "account"), ("account", self.account.as_str())];
        request.url.query_pairs_mut().extend_pairs(query.iter().chain(more));
        request
    }

    fn is_fresh(&self, list: &List) -> bool {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner).contains(&list.id)
    }

    async fn find(&self, session: &Session, key: &str) -> Result<Option<List>, Fault> {
        let more = [("sourceSegmentId", key), ("sourcePlatform", self.platform.as_str())];
        let found: Found = session.send(self.searched(&more)).await?.json()?;
        match found.elements.as_slice() {
            [] => Ok(None),
            [segment] => segment.usable().map(Some),
            several => {
                let ids = several.iter().map(Segment::id).collect::<Result<Vec<_>, _>>()?;
                let pairs = ids.iter().map(|id| (id.as_str(), key));
                membership::named(pairs, key)
            }
        }
    }

    async fn create(&self, session: &Session, key: &str, name: &str) -> Result<Remote, Fault> {
        let body = json!({
            "name": name,
            "sourcePlatform": self.platform,
            "sourceSegmentId": key,
            "account": self.account,
            "type": "USER",
            "accessPolicy": "PRIVATE",
            "destinations": [{"destination": "LINKEDIN"}],
        });
        // Somebody else may have created it meanwhile.
        let request = self
            .request(Method::POST, &["dmpSegments"])
            .repeatable(false)
            .json_body(body.to_string().into())
            .reading(|response| if response.status == 409 { Ok(()) } else { answered(response) });
        let response = session.send(request).await?;
        let named = ["x-restli-id", "x-linkedin-id"];
        let id = named.iter().find_map(|name| response.headers.get(*name)?.to_str().ok());
        match id.filter(|id| response.status == 201 && !id.is_empty()) {
            Some(id) => {
                let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
                fresh.insert(id.to_owned());
                Ok(List { id: id.to_owned() }.into_remote())
            }
            None => match self.find(session, key).await? {
                Some(list) => Ok(list.into_remote()),
                None => Err(Fault::Protocol { reason: response.reason() }),
            },
        }
    }
}

/// Ids of segments are numbers, which no name of a list is by accident.
fn is_id(text: &str) -> bool {
    text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}
