//! Where Amplitude's services live, and which ids of users it knows nobody by.

use serde::Deserialize;
use url::Url;

use super::OptionDoc;

pub(super) const REGION: OptionDoc =
    OptionDoc::optional("region", "where the project is hosted: \"us\" (default) or \"eu\"");

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Region {
    #[default]
    Us,
    Eu,
}

impl Region {
    /// Takes events.
    pub(super) const fn ingestion(self) -> &'static str {
        match self {
            Self::Us => "https://api2.amplitude.com",
            Self::Eu => "https://api.eu.amplitude.com",
        }
    }

    /// Knows cohorts.
    pub(super) const fn analytics(self) -> &'static str {
        match self {
            Self::Us => "https://amplitude.com",
            Self::Eu => "https://analytics.eu.amplitude.com",
        }
    }
}

/// An address below `base`, which stands for the vendor's where the project names one.
pub(super) fn address(base: Option<&Url>, vendor: &str, path: &str) -> Result<Url, String> {
    let mut url = match base {
        Some(base) => base.clone(),
        None => Url::parse(vendor).map_err(|error| format!("has no usable address: {error}"))?,
    };
    url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
    Ok(url)
}

/// Refuses ids that Amplitude takes for the lack of one, in any case of letters.
pub(super) fn usable(id: &str) -> Result<(), String> {
    let plain = id.trim().to_lowercase();
    if NOBODY.contains(&plain.as_str()) {
        return Err("its id is one of those that Amplitude takes for nobody's".into());
    }
    Ok(())
}

const NOBODY: &[&str] = &[
    "",
    "anonymous",
    "nil",
    "none",
    "null",
    "n/a",
    "na",
    "undefined",
    "unknown",
    "00000000-0000-0000-0000-000000000000",
    "{}",
    "[]",
    "lmy47d",
    "0",
    "-1",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_nobody_are_refused() {
        for id in ["", " ", "Null", "0", "-1", "N/A", "00000000-0000-0000-0000-000000000000"] {
            assert!(usable(id).is_err(), "{id}");
        }
        for id in ["u", "1", "00", "nobody"] {
            assert_eq!(usable(id), Ok(()));
        }
    }

    #[test]
    fn addresses_hang_below_any_base() {
        let base = Url::parse("http://127.0.0.1:9/proxy/").unwrap();
        let url = |base| address(base, Region::Eu.ingestion(), "/batch").unwrap().to_string();
        assert_eq!(url(Some(&base)), "http://127.0.0.1:9/proxy/batch");
        assert_eq!(url(None), "https://api.eu.amplitude.com/batch");
    }
}
