//! The catalogue: one word per destination, and the way from `[destinations.NAME]` to a destination
//! that can be spoken to.
//!
//! Pure: configuring reads no file, no clock and no environment, and reports every problem at once.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{CATALOGUE, Common, Destination, Grain, MatchField, OptionDoc, Reader, Secret, Spec};
use crate::finding::{Finding, Source, nearest};
use crate::project::DestinationConfig;

/// Declares one module per destination and lists what each calls its `ENTRY`.
macro_rules! catalogue {
    ($($destination:ident),+ $(,)?) => {
        $(pub mod $destination;)+

        /// Every destination there is, by name.
        pub static CATALOGUE: &[Entry] = &[$($destination::ENTRY),+];

        /// How each destination's server answers when all is well, for the tests that hold for all.
        #[cfg(test)]
        static SERVERS: &[crate::delivery::Server] = &[$($destination::server),+];
    };
}

/// A destination as the catalogue knows it: its data, its documented options, and how to configure
/// one from `[destinations.NAME]`.
#[derive(Debug)]
pub struct Entry {
    pub spec: &'static Spec,
    /// Its own options.
    pub options: &'static [OptionDoc],
    /// The options it takes beside: [`HTTP_OPTIONS`](super::HTTP_OPTIONS),
    /// [`CONNECTION_OPTIONS`](super::CONNECTION_OPTIONS) or [`LOCAL_OPTIONS`](super::LOCAL_OPTIONS).
    pub common: &'static [OptionDoc],
    /// Reads its own options.
    pub configure: fn(&Reader<'_>, &Common) -> Result<Built, Vec<Finding>>,
}

/// What an entry makes of its own options.
#[derive(Debug)]
pub struct Built {
    pub destination: Arc<dyn Destination>,
    /// What must never be shown, even when it is written in `muster.toml` itself.
    pub secrets: Vec<Secret>,
    /// By what this one tells people apart, where its options decide; default: the entry's.
    pub grain: Option<Grain>,
    /// Profile columns without which a record is invalid, where its options decide; default: the
    /// entry's.
    pub required: Option<Vec<&'static str>>,
    /// By which fields a list matches, where its options decide; default: the entry's.
    pub match_fields: Option<Vec<MatchField>>,
    /// In which country people are whose profile does not say.
    pub country: Option<String>,
    /// After how long a member of a list is forgotten, where its options decide; default: the entry's.
    pub forgets: Option<Duration>,
}

/// A configured destination, ready to be spoken to.
pub struct Configured {
    /// Its name in `muster.toml`.
    pub name: String,
    pub spec: &'static Spec,
    pub common: Common,
    pub destination: Arc<dyn Destination>,
    pub grain: Grain,
    /// Profile columns without which a record is invalid.
    pub required: Vec<&'static str>,
    /// By which fields a list matches people.
    pub match_fields: Vec<MatchField>,
    /// In which country people are whose profile does not say.
    pub country: Option<String>,
    /// After how long the platform forgets a member of a list.
    pub forgets: Option<Duration>,
    /// Redacted wherever they turn up.
    pub secrets: BTreeSet<String>,
    pub warnings: Vec<Finding>,
}

impl Built {
    pub fn new(destination: Arc<dyn Destination>, secrets: Vec<Secret>) -> Self {
        Self {
            destination,
            secrets,
            grain: None,
            required: None,
            match_fields: None,
            country: None,
            forgets: None,
        }
    }

    /// Tells people apart otherwise than the catalogue says.
    #[must_use]
    pub fn by(mut self, grain: Grain) -> Self {
        self.grain = Some(grain);
        self
    }

    /// Needs other profile columns than the catalogue says.
    #[must_use]
    pub fn requiring(mut self, required: Vec<&'static str>) -> Self {
        self.required = Some(required);
        self
    }

    /// Matches people by other fields than the catalogue says.
    #[must_use]
    pub fn matching(mut self, fields: Vec<MatchField>) -> Self {
        self.match_fields = Some(fields);
        self
    }

    /// Takes people whose profile names no country to be in this one.
    #[must_use]
    pub fn in_country(mut self, country: Option<String>) -> Self {
        self.country = country;
        self
    }

    /// Has members forgotten after another time than the catalogue says.
    #[must_use]
    pub fn forgetting(mut self, life: Duration) -> Self {
        self.forgets = Some(life);
        self
    }
}

impl fmt::Debug for Configured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configured")
            .field("name", &self.name)
            .field("kind", &self.spec.kind)
            .field("destination", &self.destination)
            .finish_non_exhaustive()
    }
}

/// The entry of that `type` word.
pub fn entry(kind: &str) -> Option<&'static Entry> {
    let entries = CATALOGUE.iter();
    #[cfg(test)]
    let entries = entries.chain(&super::sketches::recorder::ENTRIES);
    entries.into_iter().find(|entry| entry.spec.kind == kind)
}

/// Every `type` word, sorted.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = CATALOGUE.iter().map(|entry| entry.spec.kind).collect();
    names.sort_unstable();
    names
}

/// Makes a destination of its section in `muster.toml`, or says everything that is wrong with it.
pub fn configure(config: &DestinationConfig, source: &Source) -> Result<Configured, Vec<Finding>> {
    let entry = entry(&config.kind).ok_or_else(|| vec![unknown_type(config, source)])?;
    let reader = Reader::new(config, source, entry);
    let mut findings = reader.unknown();
    let (common, refused) = reader.common();
    findings.extend(refused);
    let built = match (entry.configure)(&reader, &common) {
        Ok(built) if findings.is_empty() => built,
        Ok(_) => return Err(findings),
        Err(own) => {
            findings.extend(own);
            return Err(findings);
        }
    };
    let own = built.secrets.iter().map(|secret| secret.expose().to_owned());
    Ok(Configured {
        name: config.name.clone(),
        spec: entry.spec,
        warnings: reader.doubts(&common),
        common,
        destination: built.destination,
        grain: built.grain.unwrap_or(entry.spec.grain),
        required: built.required.unwrap_or_else(|| entry.spec.required.to_vec()),
        match_fields: built.match_fields.unwrap_or_else(|| entry.spec.match_fields.to_vec()),
        country: built.country,
        forgets: built.forgets.or(entry.spec.forgets),
        secrets: config.secrets.iter().cloned().chain(own).collect(),
    })
}

fn unknown_type(config: &DestinationConfig, source: &Source) -> Finding {
    let DestinationConfig { name, kind, .. } = config;
    let known = names();
    let message = format!("destination `{name}` is of type `{kind}`, which does not exist");
    let finding = Finding::error("D01", message)
        .at(source, Some(config.span.clone()))
        .note(format!("known types: {}", known.join(", ")))
        .for_destination(name);
    match nearest(kind, known) {
        Some(near) => finding.hint(format!("did you mean `{near}`?")),
        None => finding.hint("`muster destinations` lists all types"),
    }
}
