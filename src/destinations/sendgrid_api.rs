//! SendGrid's marketing API as every destination of SendGrid speaks to it: address, credentials,
//! limits, and the contact import that every write becomes.
//!
//! What it promises: a 202 only means *queued*; what became of the contacts is read from the import.
//! The file that names the contacts an import could not use lies on a host of SendGrid's choosing: it
//! is only fetched from the API's own host or from the one that the project file names, and never
//! with credentials.

mod imports;

pub(super) use imports::{FIRST_POLL, Import, NEXT_POLL};

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use url::Url;

use super::{OptionDoc, Quota, Secret};
use crate::delivery::{Request, Response};

pub(super) const API_KEY: OptionDoc =
    OptionDoc::required("api_key", "API key with access to Marketing");
pub(super) const REGION: OptionDoc =
    OptionDoc::optional("region", "\"global\" (default) or \"eu\" for a subuser hosted there");
pub(super) const ERRORS_HOST: OptionDoc = OptionDoc::optional(
    "errors_host",
    "host from which the file that names refused contacts may be fetched; default: the API's only",
);

/// Numbers are not published; what was for the calls before these was 3 requests in 2 seconds.
pub(super) const MARKETING: (&str, Quota) = ("marketing", Quota::per_second(3));

/// What one request may hold.
const MOST_BYTES: usize = 5_900_000;
pub(super) const MOST_CONTACTS: usize = 30_000;

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Region {
    #[default]
    Global,
    Eu,
}

/// One account.
#[derive(Debug)]
pub(super) struct Api {
    base: Url,
    key: Secret,
    errors_host: Option<String>,
}

impl Region {
    const fn address(self) -> &'static str {
        match self {
            Self::Global => "https://api.sendgrid.com",
            Self::Eu => "https://api.eu.sendgrid.com",
        }
    }
}

impl Api {
    /// `base` stands for the address of the region.
    pub fn new(
        base: Option<&Url>,
        region: Region,
        key: Secret,
        errors_host: Option<String>,
    ) -> Result<Self, String> {
        let base = match base {
            Some(base) => base.clone(),
            None => Url::parse(region.address())
                .map_err(|error| format!("has no usable address: {error}"))?,
        };
        Ok(Self { base, key, errors_host })
    }

    pub fn get(&self, path: &[&str]) -> Request {
        self.request(Method::GET, path)
    }

    pub fn delete(&self, path: &[&str]) -> Request {
        self.request(Method::DELETE, path)
    }

    pub fn write(&self, method: Method, path: &[&str], body: Bytes) -> Request {
        self.request(method, path).json_body(body)
    }

    fn request(&self, method: Method, path: &[&str]) -> Request {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["v3", "marketing"]).extend(path);
        }
        Request::new(method, url).bearer(&self.key).endpoint(MARKETING.0).heeding(heed)
    }
}

/// The headers say how many requests are left, and at which second that number starts again.
fn heed(response: &Response, now: SystemTime) -> Option<Duration> {
    let number =
        |name| -> Option<u64> { response.headers.get(name)?.to_str().ok()?.trim().parse().ok() };
    if number("x-ratelimit-remaining")? > 0 {
        return None;
    }
    let reset = Duration::from_secs(number("x-ratelimit-reset")?);
    let again = SystemTime::UNIX_EPOCH.checked_add(reset)?;
    Some(again.duration_since(now).unwrap_or_default())
}
