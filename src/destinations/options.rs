//! What the options of destinations are: the ones that many destinations share, typed, and the words
//! under which all of them are documented. How they are read is `reader.rs`.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

/// A value that is never shown: not by Debug, not in logs, errors, state or transcripts. One that was
/// written by the user is never empty.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Secret(String);

/// The default of a switch that is on.
pub(super) const fn yes() -> bool {
    true
}

/// What every HTTP destination takes beside its own options.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// For proxies, regions and tests; replaces the vendor's address.
    pub base_url: Option<Url>,
    /// Requests per second; `None`: the catalogue's quotas.
    pub rate_limit: Option<f64>,
    /// Requests in any 24 hours; `None`: the catalogue's limit, if there is one.
    pub daily_limit: Option<u64>,
    /// Requests in flight at most.
    pub concurrency: Option<usize>,
    /// Messages per request.
    pub batch_size: Option<usize>,
    /// Longest wait for one reply. Default 30 s.
    pub timeout: Duration,
    /// Least time between two syncs.
    pub every: Option<Duration>,
    /// Default true, where the destination can.
    pub coalesce: bool,
    pub retry: Retry,
}

/// How long one request is tried again after transient faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Default 5.
    pub attempts: u32,
    /// Default 10 minutes.
    pub within: Duration,
}

/// One documented option of a destination.
#[derive(Debug, Clone, Copy)]
pub struct OptionDoc {
    pub name: &'static str,
    pub about: &'static str,
    /// Without it the destination cannot be configured.
    pub required: bool,
}

/// What every HTTP destination takes.
pub const HTTP_OPTIONS: &[OptionDoc] = &[
    OptionDoc::optional("base_url", "replaces the vendor's address, for proxies and tests"),
    RATE_LIMIT,
    DAILY_LIMIT,
    OptionDoc::optional("concurrency", "requests in flight at most"),
    BATCH_SIZE,
    TIMEOUT,
    EVERY,
    OptionDoc::optional(
        "coalesce",
        "whether changes of several syncs to one record travel as one message; default true",
    ),
    RETRY,
];

/// What destinations take that are spoken to over a connection of their own.
pub const CONNECTION_OPTIONS: &[OptionDoc] =
    &[RATE_LIMIT, DAILY_LIMIT, BATCH_SIZE, TIMEOUT, EVERY, RETRY];

/// What destinations take that are not spoken to over HTTP.
pub const LOCAL_OPTIONS: &[OptionDoc] = &[BATCH_SIZE, EVERY];

const RATE_LIMIT: OptionDoc =
    OptionDoc::optional("rate_limit", "requests per second; default: the published limit");
const DAILY_LIMIT: OptionDoc = OptionDoc::optional(
    "daily_limit",
    "requests in any 24 hours, counted across runs; default: the published limit, if there is one",
);
const TIMEOUT: OptionDoc =
    OptionDoc::optional("timeout", "longest wait for one reply; default \"30s\"");
const RETRY: OptionDoc = OptionDoc::optional(
    "retry",
    "how long a request is tried again; default { attempts = 5, for = \"10m\" }",
);
const BATCH_SIZE: OptionDoc = OptionDoc::optional("batch_size", "messages per request at most");
const EVERY: OptionDoc =
    OptionDoc::optional("every", "least time between two syncs, such as \"6h\"");

impl OptionDoc {
    pub const fn required(name: &'static str, about: &'static str) -> Self {
        Self { name, about, required: true }
    }

    pub const fn optional(name: &'static str, about: &'static str) -> Self {
        Self { name, about, required: false }
    }
}

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(value: String) -> Result<Self, Self::Error> {
        if value.is_empty() {
            return Err("expected a text that is not empty");
        }
        Ok(Self(value))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, within: Duration::from_mins(10) }
    }
}

impl Default for Common {
    fn default() -> Self {
        Self {
            base_url: None,
            rate_limit: None,
            daily_limit: None,
            concurrency: None,
            batch_size: None,
            timeout: Duration::from_secs(30),
            every: None,
            coalesce: true,
            retry: Retry::default(),
        }
    }
}
