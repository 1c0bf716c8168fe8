//! How Braze's REST API is spoken to: where an instance lives, how a request is authorised, and what
//! its limit headers and refusals mean.
//!
//! What it promises: a quota that is used up closes the gate until the moment that Braze names, in
//! whichever of its documented forms; a key of another instance is a refusal of credentials.

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use url::Url;

use super::{Common, Fault, Reader, Secret};
use crate::delivery::{Request, Response, standard};
use crate::finding::Finding;

/// One workspace.
#[derive(Debug)]
pub(super) struct Workspace {
    base: Url,
    key: Secret,
}

/// The instances, as Braze's dashboard calls them.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum Instance {
    #[serde(rename = "US-01")]
    Us01,
    #[serde(rename = "US-02")]
    Us02,
    #[serde(rename = "US-03")]
    Us03,
    #[serde(rename = "US-04")]
    Us04,
    #[serde(rename = "US-05")]
    Us05,
    #[serde(rename = "US-06")]
    Us06,
    #[serde(rename = "US-07")]
    Us07,
    #[serde(rename = "US-08")]
    Us08,
    #[serde(rename = "US-09")]
    Us09,
    #[serde(rename = "US-10")]
    Us10,
    #[serde(rename = "EU-01")]
    Eu01,
    #[serde(rename = "EU-02")]
    Eu02,
    #[serde(rename = "AU-01")]
    Au01,
    #[serde(rename = "ID-01")]
    Id01,
    #[serde(rename = "JP-01")]
    Jp01,
}

impl Instance {
    const fn host(self) -> &'static str {
        match self {
            Self::Us01 => "rest.iad-01.braze.com",
            Self::Us02 => "rest.iad-02.braze.com",
            Self::Us03 => "rest.iad-03.braze.com",
            Self::Us04 => "rest.iad-04.braze.com",
            Self::Us05 => "rest.iad-05.braze.com",
            Self::Us06 => "rest.iad-06.braze.com",
            Self::Us07 => "rest.iad-07.braze.com",
            Self::Us08 => "rest.iad-08.braze.com",
            Self::Us09 => "rest.us-09.braze.com",
            Self::Us10 => "rest.us-10.braze.com",
            Self::Eu01 => "rest.fra-01.braze.eu",
            Self::Eu02 => "rest.fra-02.braze.eu",
            Self::Au01 => "rest.au-01.braze.com",
            Self::Id01 => "rest.id-01.braze.com",
            Self::Jp01 => "rest.jp-01.braze.com",
        }
    }
}

impl Workspace {
    /// The workspace that `instance` or `base_url` names.
    pub(super) fn of(
        reader: &Reader<'_>,
        common: &Common,
        instance: Option<Instance>,
        key: Secret,
    ) -> Result<Self, Vec<Finding>> {
        Ok(Self { base: address(reader, common, instance)?, key })
    }

    /// A request with a JSON body to a path such as `/users/track`.
    pub(super) fn post(&self, path: &str, body: bytes::Bytes) -> Request {
        to(&self.base, path).bearer(&self.key).json_body(body)
    }
}

/// Where the instance lives that `instance` or `base_url` names.
pub(super) fn address(
    reader: &Reader<'_>,
    common: &Common,
    instance: Option<Instance>,
) -> Result<Url, Vec<Finding>> {
    let base = match (&common.base_url, instance) {
        (Some(base), _) => Ok(base.clone()),
        (None, Some(instance)) => Url::parse(&format!("https://{}", instance.host()))
            .map_err(|error| format!("has no usable address: {error}")),
        (None, None) => Err("is missing, and there is no `base_url`".to_owned()),
    };
    base.map_err(|fact| {
        let hint = "write `instance = \"US-01\"` or whichever it is";
        vec![reader.refuse("instance", &fact).hint(hint)]
    })
}

/// A request that does not say yet who we are.
pub(super) fn to(base: &Url, path: &str) -> Request {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    Request::post(url).reading(plain).heeding(used_up)
}

/// What a status means here: as usual, but a slow-down may name its pause in a header of its own.
pub(super) fn plain(response: &Response) -> Result<(), Fault> {
    match standard(response) {
        Err(Fault::Throttled { retry_after, reason }) => {
            let own = || number(response, "x-ratelimit-retry-after").map(Duration::from_secs);
            Err(Fault::Throttled { retry_after: retry_after.or_else(own), reason })
        }
        other => other,
    }
}

/// For how long nothing may be sent once nothing remains of the quota. `x-ratelimit-reset` is
/// documented as a moment in seconds since 1970, and seen elsewhere as seconds from now: nothing that
/// small is a moment of this century.
fn used_up(response: &Response, now: SystemTime) -> Option<Duration> {
    if number(response, "x-ratelimit-remaining")? > 0 {
        return None;
    }
    let reset = number(response, "x-ratelimit-reset")?;
    if reset < 1_000_000_000 {
        return Some(Duration::from_secs(reset));
    }
    let moment = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(reset))?;
    moment.duration_since(now).ok()
}

fn number(response: &Response, header: &str) -> Option<u64> {
    response.headers.get(header)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(remaining: &'static str, reset: &'static str) -> Option<u64> {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-ratelimit-remaining", http::HeaderValue::from_static(remaining));
        headers.insert("x-ratelimit-reset", http::HeaderValue::from_static(reset));
        let response = Response { status: 201, headers, body: bytes::Bytes::new() };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_166_400);
        used_up(&response, now).map(|pause| pause.as_secs())
    }

    #[test]
    fn a_used_up_quota_is_heeded_in_both_forms() {
        assert_eq!(pause("0", "1795166403"), Some(3));
        assert_eq!(pause("0", "40"), Some(40));
        assert_eq!(pause("1", "40"), None);
        assert_eq!(pause("0", "1795166400"), Some(0));
        assert_eq!(pause("0", "1795166300"), None);
        assert_eq!(pause("0", "soon"), None);
    }
}
