//! TikTok's custom audiences through its segment API: people are mapped to an audience by hashed
//! identifiers.
//!
//! TikTok answers 200 whatever happened and says what did in `code`; of single rows it says nothing.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::address::{below, of_api};
use super::membership::{self, COUNTRY, List, Member, Parted};
use super::normalise::{advertising_id, e164, email_without_spaces, sha256};
use super::{
    Batch, BatchLimits, Built, Common, Delivery, Destination, Entry, Fault, HTTP_OPTIONS,
    Idempotency, MatchField, Maturity, OptionDoc, Quota, Reader, Receipts, Remote, Secret, Spec,
    Target,
};
use crate::delivery::{Request, Response, Session, standard};
use crate::finding::Finding;
#[cfg(test)]
pub(super) use tests::server;

pub(super) const ENTRY: Entry =
    Entry { spec: &SPEC, options: OPTIONS, common: HTTP_OPTIONS, configure };

/// What is known of TikTok's audiences.
pub static SPEC: Spec = Spec {
    kind: "tiktok_audiences",
    title: "TikTok Audiences",
    summary: "Adds and removes people of a TikTok custom audience by hashed identifiers.",
    identifiers: "email, phone and advertising ids as SHA-256",
    match_fields: FIELDS,
    receipts: Receipts::Opaque,
    min_members: Some(1_000),
    quotas: &[Quota::per_second(10), Quota { limit: 600, per: Duration::from_mins(1) }],
    batch: BatchLimits { rows: 1_000, max_rows: 10_000, bytes: 5_000_000, row_bytes: 100_000 },
    concurrency: 4,
    idempotency: Idempotency::Natural,
    maturity: Maturity::Alpha,
    example: r#"[destinations.tiktok]
type = "tiktok_audiences"
access_token = "${TIKTOK_ACCESS_TOKEN}"
advertiser_id = "7100000000000000001"
"#,
    notes: &[
        "An audience is found by the id or name in the sync's `list`, else by the model's name, and created where there is none; of several with one name none is picked.",
        "TikTok says nothing of single rows; where it took only some of a request it does not say which: that is shown as a count.",
        "Populating takes 24 to 48 hours, and an audience needs about 1,000 matched people; unused ones expire.",
        "Emails keep their dots and tags: whether TikTok cuts them off is uncertain, since its pages disagree; here the newest one is followed.",
        "The most rows per request are uncertain: 1,000 by default.",
        "The limit is that of the basic level, 10 requests a second and 600 a minute.",
        "A request that TikTok calls wrong (40002) halts the sync: it is the audience or the account that is not usable, since rows hold hashes only.",
    ],
    ..Spec::LIST
};

const FIELDS: &[MatchField] = &[
    MatchField { source: "email", normalise: email_without_spaces },
    MatchField { source: "phone", normalise: e164 },
    MatchField { source: "idfa", normalise: advertising_id },
    MatchField { source: "gaid", normalise: advertising_id },
];

/// What each field is called there, in the order of [`FIELDS`].
const SCHEMA: [&str; 4] = ["EMAIL_SHA256", "PHONE_SHA256", "IDFA_SHA256", "AAID_SHA256"];

const OPTIONS: &[OptionDoc] = &[
    OptionDoc::required("access_token", "long-lived token with audience permissions"),
    OptionDoc::required("advertiser_id", "number of the advertiser that holds the audience"),
    OptionDoc::optional("match_by", "of \"email\", \"phone\", \"idfa\" and \"gaid\"; default all"),
    OptionDoc::optional("api_version", "version of the API; default \"v1.3\""),
    COUNTRY,
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    access_token: Secret,
    advertiser_id: String,
    #[serde(default, deserialize_with = "membership::several")]
    match_by: Option<Vec<String>>,
    api_version: Option<String>,
    country: Option<String>,
}

/// The audiences of one advertiser.
#[derive(Debug)]
struct Audiences {
    base: url::Url,
    version: String,
    token: Secret,
    advertiser: String,
}

fn configure(reader: &Reader<'_>, common: &Common) -> Result<Built, Vec<Finding>> {
    let options: Options = reader.own()?;
    if options.advertiser_id.is_empty()
        || !options.advertiser_id.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(vec![reader.refuse("advertiser_id", "is not the number of an advertiser")]);
    }
    let all = ["email", "phone", "idfa", "gaid"];
    let fields = membership::fields(reader, FIELDS, options.match_by.as_deref(), &all)?;
    let country = membership::country(reader, options.country)?;
    let secrets = vec![options.access_token.clone()];
    let audiences = Audiences {
        base: of_api(reader, common, "https://business-api.tiktok.com")?,
        version: options.api_version.unwrap_or_else(|| "v1.3".to_owned()),
        token: options.access_token,
        advertiser: options.advertiser_id,
    };
    Ok(Built::new(Arc::new(audiences), secrets).matching(fields).in_country(country))
}

/// What every reply says.
#[derive(Debug, Deserialize)]
struct Envelope {
    code: i64,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Json,
}

#[derive(Debug, Deserialize)]
struct Audience {
    audience_id: String,
    #[serde(default)]
    name: String,
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    list: Vec<Audience>,
    #[serde(default)]
    page_info: PageInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageInfo {
    total_page: u32,
}

const PARTIAL: i64 = 20_001;

/// Reads a reply by its code, which is in the body of a 200.
fn answered(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    let Envelope { code, message, .. } = response.json()?;
    let reason = format!("code {code}: {}", message.chars().take(300).collect::<String>());
    match code {
        0 | PARTIAL => Ok(()),
        // The limit of a minute is what pauses longest.
        40_100 => {
            let retry_after = response.retry_after().or(Some(Duration::from_mins(5)));
            Err(Fault::Throttled { retry_after, reason })
        }
        40_001 | 40_101..=40_105 => Err(Fault::Denied { reason }),
        40_002 => Err(Fault::Misconfigured { reason }),
        50_000..=59_999 => Err(Fault::Ambiguous { reason }),
        _ => Err(Fault::Rejected { reason }),
    }
}

#[async_trait]
impl Destination for Audiences {
    async fn check(&self, session: &Session) -> Result<(), Fault> {
        self.page(session, 1, 1).await.map(|_| ())
    }

    fn objections(&self, target: &Target) -> Vec<String> {
        let name = membership::name(target);
        let long = name.chars().count() > 70;
        long.then(|| {
            format!("the list `{name}` has a name longer than the 70 characters that TikTok takes")
        })
        .into_iter()
        .collect()
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
        let mut receipt = batch.delivered();
        for (action, members) in [("delete", leaving), ("add", entering)] {
            if members.is_empty() {
                continue;
            }
            let count = members.len() as u64;
            if self.map(session, &list, action, &members).await? == PARTIAL {
                receipt.notice(count, "TikTok took only some of these rows and does not say which");
            }
        }
        Ok(receipt.into())
    }
}

impl Audiences {
    fn request(&self, method: Method, path: &[&str]) -> Request {
        let url = below(&self.base, &[&["open_api", &self.version], path].concat());
        Request::new(method, url).secret_header("Access-Token", &self.token).reading(answered)
    }

    async fn said<T: DeserializeOwned>(
        &self,
        session: &Session,
        request: Request,
    ) -> Result<T, Fault> {
        let envelope: Envelope = session.send(request).await?.json()?;
        serde_json::from_value(envelope.data).map_err(|error| Fault::Protocol {
            reason: format!("`data` of the reply is not what was expected: {error}"),
        })
    }

    async fn page(&self, session: &Session, page: u32, size: u32) -> Result<Page, Fault> {
        let mut request = self.request(Method::GET, &["dmp", "custom_audience", "list", ""]);
        let (page, size) = (page.to_string(), size.to_string());
        request.url.query_pairs_mut().extend_pairs([
            ("advertiser_id", self.advertiser.as_str()),
            ("page", &page),
            ("page_size", &size),
        ]);
        self.said(session, request).await
    }

    /// The audience of that id, which the project names.
    async fn existing(&self, session: &Session, id: &str) -> Result<Remote, Fault> {
        let audiences = self.audiences(session).await?;
        match audiences.into_iter().find(|audience| audience.audience_id == id) {
            Some(audience) => Ok(List { id: audience.audience_id }.into_remote()),
            None => Err(membership::unknown(id, "the advertiser has no such audience")),
        }
    }

    async fn find(&self, session: &Session, name: &str) -> Result<Option<List>, Fault> {
        let audiences = self.audiences(session).await?;
        membership::named(audiences.iter().map(|one| (&*one.audience_id, &*one.name)), name)
    }

    async fn audiences(&self, session: &Session) -> Result<Vec<Audience>, Fault> {
        let mut audiences = Vec::new();
        for number in 1.. {
            let Page { list, page_info } = self.page(session, number, 100).await?;
            let is_last = list.is_empty() || number >= page_info.total_page;
            audiences.extend(list);
            if is_last {
                break;
            }
        }
        Ok(audiences)
    }

    async fn create(&self, session: &Session, name: &str) -> Result<Remote, Fault> {
        let body = json!({
            "advertiser_id": self.advertiser,
            "custom_audience_name": name,
            "action": "create",
        });
        let request = self.request(Method::POST, &["segment", "audience", ""]);
        let request = request.repeatable(false).json_body(body.to_string().into());
        let audience: Audience = self.said(session, request).await?;
        Ok(List { id: audience.audience_id }.into_remote())
    }

    /// One request; returns what TikTok calls its result.
    async fn map(
        &self,
        session: &Session,
        list: &List,
        action: &str,
        members: &[Member<'_>],
    ) -> Result<i64, Fault> {
        let used =
            |field: &MatchField| members.iter().any(|member| field.of(member.message).is_some());
        let columns: Vec<usize> = (0..FIELDS.len()).filter(|place| used(&FIELDS[*place])).collect();
        let cell = |field: &MatchField, member: &Member<'_>| match field.of(member.message) {
            Some(value) => json!({"id": sha256(value), "audience_ids": [list.id]}),
            None => json!({}),
        };
        let row = |member: &Member<'_>| -> Vec<Json> {
            columns.iter().map(|place| cell(&FIELDS[*place], member)).collect()
        };
        let body = json!({
            "advertiser_ids": [self.advertiser],
            "action": action,
            "id_schema": columns.iter().map(|place| SCHEMA[*place]).collect::<Vec<_>>(),
            "batch_data": members.iter().map(row).collect::<Vec<_>>(),
        });
        let request = self.request(Method::POST, &["segment", "mapping", ""]);
        let response = session.send(request.json_body(body.to_string().into())).await?;
        response.json::<Envelope>().map(|envelope| envelope.code)
    }
}

/// Ids of audiences are long numbers, which no name of a list is by accident.
fn is_id(text: &str) -> bool {
    text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_digit())
}
