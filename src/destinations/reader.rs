//! Reads the options of one configured destination, so that every problem is found at once.
//!
//! What it promises: each finding names the option, stands at its place in `muster.toml` and says
//! what was expected; none ever quotes a value, since any value may be a secret. Keys are compared
//! with the documented ones before anything is deserialised, so that all unknown keys are reported
//! together, each with the nearest known one.

use std::time::Duration;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};
use url::{Host, Url};

use super::options::{Common, OptionDoc, Retry};
use super::spec::Spec;
use crate::destinations::Entry;
use crate::finding::{Finding, Source, nearest};
use crate::project::DestinationConfig;

/// The options of one configured destination on their way to being typed.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    config: &'a DestinationConfig,
    source: &'a Source,
    entry: &'a Entry,
}

/// The common options as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    #[serde(deserialize_with = "address")]
    base_url: Option<Url>,
    #[serde(deserialize_with = "rate")]
    rate_limit: Option<f64>,
    #[serde(deserialize_with = "count")]
    daily_limit: Option<usize>,
    #[serde(deserialize_with = "count")]
    concurrency: Option<usize>,
    #[serde(deserialize_with = "count")]
    batch_size: Option<usize>,
    #[serde(deserialize_with = "duration")]
    timeout: Option<Duration>,
    #[serde(deserialize_with = "duration")]
    every: Option<Duration>,
    coalesce: Option<bool>,
    retry: GivenRetry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct GivenRetry {
    #[serde(deserialize_with = "count")]
    attempts: Option<usize>,
    #[serde(rename = "for", deserialize_with = "duration")]
    within: Option<Duration>,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(
        config: &'a DestinationConfig,
        source: &'a Source,
        entry: &'a Entry,
    ) -> Self {
        Self { config, source, entry }
    }

    /// What is being configured, as the project wrote it.
    pub const fn config(&self) -> &DestinationConfig {
        self.config
    }

    /// The destination's own options, typed.
    pub fn own<T: DeserializeOwned>(&self) -> Result<T, Vec<Finding>> {
        let missing = self
            .entry
            .options
            .iter()
            .filter(|option| option.required && !self.config.options.contains_key(option.name))
            .map(|option| self.missing(option))
            .collect();
        self.read(self.entry.options, missing)
    }

    /// A finding about the value of one option, worded as a fact after its name.
    pub fn refuse(&self, option: &str, fact: &str) -> Finding {
        let message = format!("option `{option}` of destination `{}` {fact}", self.config.name);
        let hint =
            format!("`muster destinations {}` shows every option and an example", self.config.kind);
        self.place(Finding::error("D03", message).hint(hint), option)
    }

    /// The common options; those that cannot be read are findings and keep their defaults.
    pub(super) fn common(&self) -> (Common, Vec<Finding>) {
        match self.read::<Given>(self.entry.common, Vec::new()) {
            Ok(given) => {
                let spec = self.entry.spec;
                let findings = self.judge(&given);
                (given.with_defaults(spec), findings)
            }
            Err(findings) => (Common::default(), findings),
        }
    }

    /// Keys that are not options of this destination.
    pub(super) fn unknown(&self) -> Vec<Finding> {
        let known = || self.entry.options.iter().chain(self.entry.common).map(|option| option.name);
        self.config
            .options
            .keys()
            .filter(|key| !known().any(|name| name == key.as_str()))
            .map(|key| self.unknown_option(key, key, &known().collect::<Vec<_>>()))
            .collect()
    }

    /// Options that work but should not be left as they are.
    pub(super) fn doubts(&self, common: &Common) -> Vec<Finding> {
        let unprotected = self.config.options.iter().filter_map(|(name, value)| {
            let url = Url::parse(value.as_str()?).ok()?;
            (url.scheme() == "http" && !is_loopback(&url)).then(|| self.unprotected(name))
        });
        unprotected.chain(self.too_fast(common)).collect()
    }

    fn unprotected(&self, option: &str) -> Finding {
        let message = format!(
            "option `{option}` of destination `{}` sends personal data and credentials unencrypted",
            self.config.name
        );
        self.place(Finding::warning("D05", message).hint("use `https://`"), option)
    }

    fn too_fast(&self, common: &Common) -> Option<Finding> {
        let (rate, quota) = (common.rate_limit?, self.entry.spec.quotas.first()?);
        let documented = f64::from(quota.limit) / quota.per.as_secs_f64();
        (rate > documented).then(|| {
            let message = format!(
                "`rate_limit` of destination `{}` is {rate} requests per second; the documented \
                 limit of {} is {documented}",
                self.config.name, self.entry.spec.title
            );
            let hint = "keep it only if the vendor has granted you more";
            self.place(Finding::warning("D04", message).hint(hint), "rate_limit")
        })
    }

    fn judge(&self, given: &Given) -> Vec<Finding> {
        let most = self.entry.spec.batch.max_rows;
        let size = given.batch_size.filter(|size| *size > most);
        size.map(|size| {
            let title = self.entry.spec.title;
            self.refuse("batch_size", &format!("is {size}; {title} takes at most {most} messages"))
                .hint(format!("write `batch_size = {most}` or less"))
        })
        .into_iter()
        .collect()
    }

    /// Deserialises the given options; a value that is refused is taken out, so that the others are
    /// looked at too.
    fn read<T: DeserializeOwned>(
        &self,
        options: &[OptionDoc],
        mut findings: Vec<Finding>,
    ) -> Result<T, Vec<Finding>> {
        let mut table: Table = options
            .iter()
            .filter_map(|option| {
                Some((option.name.to_owned(), self.config.options.get(option.name)?.clone()))
            })
            .collect();
        loop {
            let error = match table.clone().try_into::<T>() {
                Ok(value) if findings.is_empty() => return Ok(value),
                Ok(_) => return Err(findings),
                Err(error) => error,
            };
            let path = key_path(&error);
            let option = path.split('.').next().unwrap_or_default();
            if table.remove(option).is_some() {
                findings.push(self.refused(option, &path, error.message()));
                continue;
            }
            // Something required is missing: reported already, or taken out above.
            if findings.is_empty() {
                findings.push(self.refused(option, option, error.message()));
            }
            return Err(findings);
        }
    }

    /// Words a deserialiser's complaint without the value it quotes.
    fn refused(&self, option: &str, path: &str, complaint: &str) -> Finding {
        let known = backticked(complaint.rsplit_once("expected ").map_or("", |(_, tail)| tail));
        if let Some(word) = complaint.strip_prefix("unknown field ").and_then(first_backticked) {
            let path = if path.is_empty() { word.to_owned() } else { format!("{path}.{word}") };
            let mut finding = self.unknown_option(&path, word, &known);
            finding = self.place(finding, option);
            return finding;
        }
        let finding = match complaint.rsplit_once("expected ") {
            Some((_, expected)) => {
                self.refuse(path, &format!("is not usable: expected {expected}"))
            }
            None => self.refuse(path, &format!("is not usable: {complaint}")),
        };
        let finding = self.place(finding, option);
        match complaint.strip_prefix("unknown variant ").and_then(first_backticked) {
            Some(word) => suggest(finding, word, &known),
            None => finding,
        }
    }

    fn unknown_option(&self, path: &str, word: &str, known: &[&str]) -> Finding {
        let destination = &self.config.name;
        let kind = self.entry.spec.kind;
        let message = format!("destination `{destination}` has no option `{path}`");
        let names = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let finding = self.place(Finding::error("D02", message), path);
        suggest(finding.note(format!("`{kind}` takes here: {names}")), word, known)
    }

    fn missing(&self, option: &OptionDoc) -> Finding {
        let OptionDoc { name, about, .. } = option;
        let message = format!("destination `{}` lacks its option `{name}`", self.config.name);
        let span = Some(self.config.span.clone());
        Finding::error("D06", message)
            .at(self.source, span)
            .note(format!("`{name}`: {about}"))
            .hint(format!("`muster destinations {}` shows a working example", self.entry.spec.kind))
            .for_destination(&self.config.name)
    }

    fn place(&self, finding: Finding, option: &str) -> Finding {
        let span = self.config.spans.get(option).unwrap_or(&self.config.span);
        finding.at(self.source, Some(span.clone())).for_destination(&self.config.name)
    }
}

impl Given {
    fn with_defaults(self, spec: &Spec) -> Common {
        let default = Common::default();
        let attempts = self.retry.attempts.and_then(|attempts| u32::try_from(attempts).ok());
        Common {
            base_url: self.base_url,
            rate_limit: self.rate_limit,
            daily_limit: self.daily_limit.map(|limit| limit as u64),
            concurrency: self.concurrency,
            batch_size: self.batch_size,
            timeout: self.timeout.unwrap_or(default.timeout),
            every: self.every,
            coalesce: spec.coalesce && self.coalesce.unwrap_or(default.coalesce),
            retry: Retry {
                attempts: attempts.unwrap_or(default.retry.attempts),
                within: self.retry.within.unwrap_or(default.retry.within),
            },
        }
    }
}

fn suggest(finding: Finding, word: &str, known: &[&str]) -> Finding {
    match nearest(word, known.iter().copied()) {
        Some(name) => finding.hint(format!("did you mean `{name}`?")),
        None => finding,
    }
}

/// Where the deserialiser stood, such as `retry.for`; empty when it was at the top.
fn key_path(error: &toml::de::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().and_then(|line| line.strip_prefix("in `"));
    line.and_then(|line| line.strip_suffix('`')).unwrap_or_default().to_owned()
}

fn first_backticked(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}

fn backticked(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// An address that can be requested: http or https, with a host, without credentials in it.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    value.as_str().and_then(parse_address).map(Some).ok_or_else(|| {
        D::Error::custom(
            "expected an http or https address without user and password, such as \
             \"https://example.com/hook\"",
        )
    })
}

fn parse_address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "http" | "https") && url.host().is_some();
    let is_bare = url.username().is_empty() && url.password().is_none();
    (is_web && is_bare).then_some(url)
}

/// Like [`address`], for an option without which there is no destination.
pub(super) fn required_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Url, D::Error> {
    address(deserializer)?.ok_or_else(|| D::Error::custom("expected an http or https address"))
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let rate = match Value::deserialize(deserializer)? {
        Value::Float(rate) => Some(rate),
        Value::Integer(rate) => i32::try_from(rate).ok().map(f64::from),
        _ => None,
    };
    let usable = rate.filter(|rate| rate.is_finite() && *rate > 0.0);
    usable.map(Some).ok_or_else(|| D::Error::custom("expected requests per second, more than 0"))
}

fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let count = value.as_integer().and_then(|count| u32::try_from(count).ok());
    let usable = count.filter(|count| *count > 0).and_then(|count| usize::try_from(count).ok());
    usable.map(Some).ok_or_else(|| D::Error::custom("expected a whole number of at least 1"))
}

/// A length of time with its unit.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    value.as_str().and_then(parse_duration).map(Some).ok_or_else(|| {
        D::Error::custom("expected a length of time such as \"30s\", \"10m\" or \"6h\"")
    })
}

/// `500ms`, `30s`, `10m`, `6h` or `1d`; never zero.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|character: char| !character.is_ascii_digit())?;
    let number: u64 = text[..unit_at].parse().ok()?;
    let unit = match text[unit_at..].trim() {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let millis = number.checked_mul(unit)?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit_only() {
        for (text, expected) in [
            ("500ms", Some(Duration::from_millis(500))),
            ("30s", Some(Duration::from_secs(30))),
            ("10 m", Some(Duration::from_mins(10))),
            ("6h", Some(Duration::from_hours(6))),
            ("1d", Some(Duration::from_hours(24))),
            ("10", None),
            ("0s", None),
            ("-1s", None),
            ("ten minutes", None),
            ("99999999999999999999d", None),
        ] {
            assert_eq!(parse_duration(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_hold_no_credentials() {
        assert!(parse_address("https://example.com/hook?a=1").is_some());
        for text in ["ftp://example.com", "https://user:pass@example.com", "example.com", "http://"]
        {
            assert!(parse_address(text).is_none(), "{text}");
        }
    }
}
