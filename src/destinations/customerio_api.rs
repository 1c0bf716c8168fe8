//! How Customer.io's APIs are spoken to: where a workspace lives, how a request is authorised, and what
//! a refusal looks like. The Track API takes people and events, the App API knows of segments.
//!
//! What it promises: a reply that is not a JSON object is never an answer, whatever its status; a
//! workspace in the other region is told as such before anything is sent there.

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use url::Url;

use super::{Common, Fault, OptionDoc, Quota, Reader, Secret};
use crate::delivery::{Request, Response, Session, standard};
use crate::finding::Finding;

pub(super) const SITE_ID: OptionDoc =
    OptionDoc::required("site_id", "site id of the workspace, as its Track API credentials say");
pub(super) const API_KEY: OptionDoc =
    OptionDoc::required("api_key", "Track API key that belongs to the site id");
pub(super) const APP_API_KEY: OptionDoc =
    OptionDoc::required("app_api_key", "key of the App API, of the same workspace");
pub(super) const REGION: OptionDoc =
    OptionDoc::optional("region", "where the account is hosted: \"us\" (default) or \"eu\"");

/// The quota of the App API.
pub(super) const APP: (&str, Quota) = ("app", Quota::per_second(10));

/// What the id of a person or an object may have.
pub(super) const ID_BYTES: usize = 150;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Region {
    #[default]
    Us,
    Eu,
}

/// One workspace, as the Track API knows it.
#[derive(Debug)]
pub(super) struct Workspace {
    base: Url,
    /// `None` where `base_url` stands for the region's address.
    region: Option<Region>,
    site_id: Secret,
    api_key: Secret,
}

/// The App API of the workspace.
#[derive(Debug)]
pub(super) struct AppApi {
    base: Url,
    key: Secret,
}

/// Why something was refused.
#[derive(Debug, Deserialize)]
pub(super) struct Complaint {
    /// Position in the batch, where the reply is one to a batch.
    pub batch_index: Option<usize>,
    reason: Option<String>,
    field: Option<String>,
    message: Option<String>,
}

impl Region {
    const fn track(self) -> &'static str {
        match self {
            Self::Us => "https://track.customer.io",
            Self::Eu => "https://track-eu.customer.io",
        }
    }

    const fn app(self) -> &'static str {
        match self {
            Self::Us => "https://api.customer.io",
            Self::Eu => "https://api-eu.customer.io",
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
        }
    }
}

impl Workspace {
    /// The workspace of these credentials in a region, or wherever `base_url` says.
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        region: Region,
        (site_id, api_key): (Secret, Secret),
    ) -> Result<Self, Vec<Finding>> {
        let base = address(reader, common, region.track())?;
        let region = common.base_url.is_none().then_some(region);
        Ok(Self { base, region, site_id, api_key })
    }

    pub(super) fn get(&self, path: &str) -> Request {
        Request::get(self.at(path)).basic(&self.site_id, &self.api_key).reading(answered)
    }

    /// A request with a JSON body to a path such as `/api/v2/batch`.
    pub(super) fn post(&self, path: &str, body: bytes::Bytes) -> Request {
        Request::post(self.at(path))
            .basic(&self.site_id, &self.api_key)
            .json_body(body)
            .reading(answered)
    }

    /// Proves the credentials, and that the workspace is where we would write to; changes nothing.
    pub(super) async fn verify(&self, session: &Session) -> Result<(), Fault> {
        #[derive(Deserialize)]
        struct Account {
            region: Region,
        }
        let response = session.send(self.get("/api/v1/accounts/region")).await?;
        let Account { region: actual } = response.object()?;
        match self.region {
            Some(region) if region != actual => {
                let (asked, actual) = (region.as_str(), actual.as_str());
                let reason = format!(
                    "the workspace is hosted in the region `{actual}`, not `{asked}`: set `region = \
                     \"{actual}\"`"
                );
                Err(Fault::Misconfigured { reason })
            }
            _ => Ok(()),
        }
    }

    fn at(&self, path: &str) -> Url {
        below(&self.base, path)
    }
}

impl AppApi {
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        region: Region,
        key: Secret,
    ) -> Result<Self, Vec<Finding>> {
        Ok(Self { base: address(reader, common, region.app())?, key })
    }

    pub(super) fn get(&self, path: &str) -> Request {
        self.authorised(Request::get(below(&self.base, path)))
    }

    pub(super) fn post(&self, path: &str, body: &Json) -> Request {
        self.authorised(Request::post(below(&self.base, path)).json_body(body.to_string().into()))
    }

    fn authorised(&self, request: Request) -> Request {
        request.bearer(&self.key).endpoint(APP.0).reading(answered)
    }
}

/// Where requests go: to the vendor, or to `base_url`.
fn address(reader: &Reader<'_>, common: &Common, vendor: &str) -> Result<Url, Vec<Finding>> {
    match &common.base_url {
        Some(base) => Ok(base.clone()),
        None => Url::parse(vendor).map_err(|error| {
            vec![reader.refuse("region", &format!("has no usable address: {error}"))]
        }),
    }
}

fn below(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

impl Complaint {
    /// What is wrong, and with which field.
    pub(super) fn into_reason(self) -> String {
        let Self { reason, field, message, .. } = self;
        let text = match (reason, message) {
            (Some(reason), Some(message)) => format!("{message} ({reason})"),
            (Some(text), None) | (None, Some(text)) => text,
            (None, None) => "refused without a reason".into(),
        };
        match field {
            Some(field) => format!("`{field}`: {text}"),
            None => text,
        }
    }
}

/// What a status means here: as usual, but a success must be a JSON object.
pub(super) fn answered(response: &Response) -> Result<(), Fault> {
    standard(response)?;
    match response.status {
        200 | 207 => complaints(response).map(|_| ()),
        _ => Err(Fault::Protocol { reason: response.reason() }),
    }
}

/// What a reply complains about; nothing, when all was taken. A 207 without complaints is no reply.
pub(super) fn complaints(response: &Response) -> Result<Vec<Complaint>, Fault> {
    let unreadable =
        |fact: &str| Fault::Protocol { reason: format!("HTTP {} {fact}", response.status) };
    let object: Map<String, Json> = response.object()?;
    let complaints = match object.get("errors") {
        None | Some(Json::Null) => Vec::new(),
        Some(errors) => Vec::<Complaint>::deserialize(errors)
            .map_err(|error| unreadable(&format!("with `errors` that cannot be read: {error}")))?,
    };
    if response.status == 207 && complaints.is_empty() {
        return Err(unreadable("promises errors and holds none"));
    }
    Ok(complaints)
}

/// Reads a reply that says of a whole request that it was taken: by nothing, or by an object without
/// complaints.
pub(super) fn taken(response: &Response) -> Result<(), Fault> {
    if response.status == 200 && response.body.trim_ascii().is_empty() {
        return Ok(());
    }
    answered(response)?;
    let reasons: Vec<String> =
        complaints(response)?.into_iter().map(Complaint::into_reason).collect();
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Fault::Rejected { reason: reasons.join("; ") })
}
