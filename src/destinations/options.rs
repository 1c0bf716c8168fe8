//! Options: what every HTTP destination takes, and how a typed config refuses unknown keys.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// A value that is never shown: not by Debug, not in logs, errors, state or transcripts.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// What every HTTP destination takes beside its own options.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// For proxies, regions and tests; replaces the vendor's address.
    pub base_url: Option<String>,
    /// Requests per second; `None`: the catalogue's quotas.
    pub rate_limit: Option<f64>,
    /// Requests in flight at most.
    pub concurrency: Option<usize>,
    /// Messages per request.
    pub batch_size: Option<usize>,
    /// Longest wait for one reply. Default 30 s.
    pub timeout: Duration,
    /// Least time between two syncs.
    pub every: Option<Duration>,
    /// Default true.
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
