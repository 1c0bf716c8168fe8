//! Intercom's REST API as every destination of Intercom speaks to it: address, credentials, version,
//! what replies mean, and how a contact is found.
//!
//! What it promises: a status is only handed to the caller as an answer about one record when the
//! body is Intercom's own list of errors; anything else means what it means everywhere. A used-up
//! window is waited for, as the headers of every reply say when the next one begins.

use std::time::{Duration, SystemTime};

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::{Fault, OptionDoc, Secret};
use crate::delivery::{Request, Response, Session, standard};

/// The version whose requests and replies this is written for.
pub(super) const VERSION: &str = "2.16";

pub(super) const ACCESS_TOKEN: OptionDoc =
    OptionDoc::required("access_token", "access token of a private app, or one given by OAuth");
pub(super) const REGION: OptionDoc = OptionDoc::optional(
    "region",
    "where the workspace is hosted: \"us\" (default), \"eu\" or \"au\"",
);
pub(super) const API_VERSION: OptionDoc =
    OptionDoc::optional("api_version", "value of the `Intercom-Version` header; default \"2.16\"");

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Region {
    #[default]
    Us,
    Eu,
    Au,
}

/// One workspace.
#[derive(Debug)]
pub(super) struct Api {
    base: Url,
    token: Secret,
    version: String,
}

/// A contact as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Contact {
    pub id: String,
    pub external_id: Option<String>,
    pub email: Option<String>,
}

#[derive(Deserialize)]
struct Found {
    data: Vec<Contact>,
    pages: Option<Pages>,
}

#[derive(Deserialize)]
struct Pages {
    next: Option<NextPage>,
}

#[derive(Deserialize)]
struct NextPage {
    starting_after: Option<String>,
}

/// Pages of 150 contacts each that are read of one search at most.
const MOST_PAGES: usize = 20;

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    code: String,
    message: Option<String>,
}

impl Region {
    const fn address(self) -> &'static str {
        match self {
            Self::Us => "https://api.intercom.io",
            Self::Eu => "https://api.eu.intercom.io",
            Self::Au => "https://api.au.intercom.io",
        }
    }
}

impl Api {
    /// `base` stands for the address of the region.
    pub fn new(
        base: Option<&Url>,
        region: Region,
        token: Secret,
        version: Option<String>,
    ) -> Result<Self, String> {
        let base = match base {
            Some(base) => base.clone(),
            None => Url::parse(region.address())
                .map_err(|error| format!("has no usable address: {error}"))?,
        };
        Ok(Self { base, token, version: version.unwrap_or_else(|| VERSION.to_owned()) })
    }

    pub fn get(&self, path: &[&str]) -> Request {
        self.request(Method::GET, path)
    }

    pub fn delete(&self, path: &[&str]) -> Request {
        self.request(Method::DELETE, path)
    }

    /// A request that carries a body.
    pub fn write(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<Request, Fault> {
        let body = serde_json::to_vec(body).map_err(|error| Fault::Rejected {
            reason: format!("a value cannot be encoded: {error}"),
        })?;
        Ok(self.request(method, path).json_body(body.into()))
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        Request::new(method, url)
            .bearer(&self.token)
            .header("accept", "application/json")
            .header("intercom-version", &self.version)
            .reading(answered)
            .heeding(window)
    }

    /// Proves the token; changes nothing.
    pub async fn admin(&self, session: &Session) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Admin {
            #[serde(rename = "type")]
            kind: String,
        }
        let admin: Admin = session.send(self.get(&["me"])).await?.json()?;
        if admin.kind == "admin" {
            return Ok(());
        }
        let reason = format!("`GET /me` answered with a `{}` where an `admin` belongs", admin.kind);
        Err(Fault::Protocol { reason })
    }

    /// The contact whose field has exactly this value; `None` where it is not one alone.
    pub async fn contact_with(
        &self,
        session: &Session,
        field: &str,
        value: &str,
    ) -> Result<Option<Contact>, Fault> {
        let query = json!({"query": {"field": field, "operator": "=", "value": value}});
        let request = self.write(Method::POST, &["contacts", "search"], &query)?;
        let mut found: Found = session.send(request).await?.json()?;
        Ok(if found.data.len() == 1 { found.data.pop() } else { None })
    }

    /// Every contact whose field has one of these values.
    pub async fn contacts_among(
        &self,
        session: &Session,
        field: &str,
        values: &[&str],
    ) -> Result<Vec<Contact>, Fault> {
        let mut all = Vec::new();
        let mut pagination = json!({"per_page": 150});
        for _ in 0..MOST_PAGES {
            let query = json!({"field": field, "operator": "IN", "value": values});
            let body = json!({"query": query, "pagination": pagination});
            let request = self.write(Method::POST, &["contacts", "search"], &body)?;
            let found: Found = session.send(request).await?.json()?;
            all.extend(found.data);
            let next = found.pages.and_then(|pages| pages.next);
            let Some(cursor) = next.and_then(|next| next.starting_after) else { return Ok(all) };
            pagination = json!({"per_page": 150, "starting_after": cursor});
        }
        Err(Fault::Protocol { reason: "a search for contacts does not come to an end".into() })
    }

    /// The contact of that id, if it is still there.
    pub async fn contact(&self, session: &Session, id: &str) -> Result<Option<Contact>, Fault> {
        let response = session.send(self.get(&["contacts", id]).reading(about_one)).await?;
        if is_success(&response) { response.json().map(Some) } else { Ok(None) }
    }
}

pub(super) fn is_success(response: &Response) -> bool {
    (200..300).contains(&response.status)
}

/// Reads a reply about the request as a whole. An attribute that nobody declared is a matter of the
/// sync, not of the row that happened to name it.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    match standard(response) {
        Err(Fault::Rejected { reason }) if lacks_attribute(response) => {
            Err(Fault::Misconfigured { reason })
        }
        other => other,
    }
}

/// Reads a reply about one record, in which 404, 409 and 410 are answers: it is not there, is there
/// already, or became part of another one.
pub(super) fn about_one(response: &Response) -> Result<(), Fault> {
    let is_answer = matches!(response.status, 404 | 409 | 410) && !complaints(response).is_empty();
    if is_answer { Ok(()) } else { answered(response) }
}

/// The id that a conflict names, as in `… already exists with id=6762f0cd1bb69f9f2193bb7c`.
pub(super) fn conflicting_id(response: &Response) -> Option<String> {
    complaints(response).iter().find_map(|complaint| {
        let (_, after) = complaint.message.as_deref()?.split_once("id=")?;
        let id: String = after.chars().take_while(char::is_ascii_alphanumeric).collect();
        (!id.is_empty()).then_some(id)
    })
}

fn lacks_attribute(response: &Response) -> bool {
    complaints(response).iter().any(|complaint| {
        let message = complaint.message.as_deref().unwrap_or_default();
        complaint.code == "parameter_invalid"
            && message.starts_with("Custom attribute")
            && message.contains("does not exist")
    })
}

fn complaints(response: &Response) -> Vec<Complaint> {
    response.json::<Errors>().map(|errors| errors.errors).unwrap_or_default()
}

/// Until the next window begins, where this one is used up.
fn window(response: &Response, now: SystemTime) -> Option<Duration> {
    let number = |name| -> Option<u64> { response.headers.get(name)?.to_str().ok()?.parse().ok() };
    if number("x-ratelimit-remaining")? > 0 {
        return None;
    }
    let reset = Duration::from_secs(number("x-ratelimit-reset")?);
    SystemTime::UNIX_EPOCH.checked_add(reset)?.duration_since(now).ok()
}
