//! A destination of every grain, for projects that only tests have: writes down what it is sent, and
//! answers as the test wants. Unlike the other sketches it is found by its `type`, so that whole runs
//! can go through it.
//!
//! Beside `muster.toml` it keeps `sent.txt`, one line per message, and reads `fates.txt`: lines of a
//! subject and what becomes of its messages, `refused` or `lost`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::LIST;
use crate::delivery::Session;
use crate::destinations::{
    Batch, Built, Common, Delivery, Destination, Entry, Fault, Grain, Idempotency, LOCAL_OPTIONS,
    MatchField, Mode, Outcome, Reader, Remote, Spec, Target,
};
use crate::finding::Finding;
use crate::message::Message;
use crate::record::Call;

/// Raw messages.
const EVENTS: Spec = Spec {
    kind: "recorder_raw",
    mode: Mode::Event,
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Raw,
    idempotency: Idempotency::MessageId,
    min_interval: Duration::ZERO,
    ..LIST
};

static RAW: Spec = EVENTS;

/// One record per subject, as Intercom keeps them.
static SUBJECT: Spec = Spec { kind: "recorder_subject", grain: Grain::Subject, ..EVENTS };

/// One record per subject, which must have a name, as Zendesk wants it.
static REQUIRED: Spec =
    Spec { kind: "recorder_required", grain: Grain::Subject, required: &["name"], ..EVENTS };

/// One record per email, as Mailchimp keeps them.
static EMAIL: Spec = Spec { kind: "recorder_email", grain: Grain::Email, ..EVENTS };

/// One record per set of match fields, as ad platforms keep them.
const MEMBERS: Spec = Spec {
    kind: "recorder_list",
    match_fields: &[
        MatchField { source: "email", normalise: email },
        MatchField { source: "phone", normalise: digits },
    ],
    min_interval: Duration::ZERO,
    ..LIST
};

static LIST_OF_MEMBERS: Spec = MEMBERS;

/// The same for a platform that forgets, and does not use small lists.
static FORGETFUL: Spec = Spec {
    kind: "recorder_forgetful",
    forgets: Some(Duration::from_hours(4 * 24)),
    min_members: Some(3),
    replaces: true,
    ..MEMBERS
};

/// Members by user id, as cohorts know them.
static COHORT: Spec =
    Spec { kind: "recorder_cohort", grain: Grain::Subject, match_fields: &[], ..MEMBERS };

const fn entry(spec: &'static Spec) -> Entry {
    Entry { spec, options: &[], common: LOCAL_OPTIONS, configure }
}

/// Found by `type` beside the catalogue, in tests.
pub(in crate::destinations) static ENTRIES: [Entry; 7] = [
    entry(&RAW),
    entry(&SUBJECT),
    entry(&REQUIRED),
    entry(&EMAIL),
    entry(&LIST_OF_MEMBERS),
    entry(&FORGETFUL),
    entry(&COHORT),
];

fn email(text: &str, _: Option<&str>) -> Result<String, &'static str> {
    let text = text.trim().to_lowercase();
    text.contains('@').then_some(text).ok_or("not an email address")
}

/// Digits; a national number gets the prefix of its country, if it is Austria.
fn digits(text: &str, country: Option<&str>) -> Result<String, &'static str> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    match (digits.strip_prefix('0'), country) {
        _ if digits.is_empty() => Err("no digits"),
        (None, _) => Ok(digits),
        (Some(national), Some("AT")) => Ok(format!("43{national}")),
        (Some(_), _) => Err("no country code"),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoOptions {}

fn configure(reader: &Reader<'_>, _: &Common) -> Result<Built, Vec<Finding>> {
    let NoOptions {} = reader.own()?;
    let root = reader.config().root.clone();
    Ok(Built::new(Arc::new(Recorder { root }), Vec::new()))
}

#[derive(Debug)]
struct Recorder {
    root: PathBuf,
}

impl Recorder {
    fn write(&self, line: &str) {
        let path = self.root.join("sent.txt");
        let mut sent = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(sent, "{line}").unwrap();
    }
}

#[async_trait]
impl Destination for Recorder {
    async fn check(&self, _: &Session) -> Result<(), Fault> {
        Ok(())
    }

    async fn open(&self, _: &Session, target: &Target) -> Result<Remote, Fault> {
        Ok(match target.call {
            Call::List => Remote(json!({ "list": target.model_key })),
            _ => Remote::default(),
        })
    }

    async fn begin_replacing(
        &self,
        _: &Session,
        remote: &Remote,
        _: DateTime<Utc>,
    ) -> Result<Remote, Fault> {
        self.write(&format!("{}: replacing", remote.0["list"].as_str().unwrap()));
        Ok(remote.clone())
    }

    async fn finish_replacing(&self, _: &Session, remote: &Remote) -> Result<(), Fault> {
        self.write(&format!("{}: replaced", remote.0["list"].as_str().unwrap()));
        Ok(())
    }

    async fn deliver(&self, _: &Session, _: &Remote, batch: &Batch) -> Result<Delivery, Fault> {
        let fates = fs::read_to_string(self.root.join("fates.txt")).unwrap_or_default();
        let fates: BTreeMap<&str, &str> =
            fates.lines().filter_map(|line| line.split_once(' ')).collect();
        let mut receipt = batch.delivered();
        for (position, message) in batch.messages().iter().enumerate() {
            self.write(&line(message));
            let reason = "the test says so".to_owned();
            let known = match fates.get(message.subject()) {
                Some(&"refused") => receipt.set(position, Outcome::Rejected { reason }),
                Some(&"lost") => receipt.set(position, Outcome::Unsettled { reason }),
                _ => true,
            };
            assert!(known);
        }
        Ok(receipt.into())
    }
}

/// `model change subject call {…}`
fn line(message: &Message) -> String {
    let part = message.parts().next().unwrap();
    let (model, change) = (&part.shape().model_key, message.change());
    format!("{model}: {change} {} {}", message.subject(), content(message))
}

/// What of a message depends on the record, without ids, times and what is always the same.
fn content(message: &Message) -> String {
    if message.call() == Call::List {
        let verb = if message.is_member() { "add" } else { "remove" };
        let matched = MEMBERS.match_fields.iter().filter_map(|field| {
            Some((field.source.to_owned(), Value::String(field.of(message)?.to_owned())))
        });
        let fields = part_values(message);
        return format!("{verb} {}{fields}", Value::Object(matched.collect()));
    }
    let mut buffer = bytes::BytesMut::new();
    message.write(&mut buffer).unwrap();
    let canonical: Value = serde_json::from_slice(&buffer).unwrap();
    match message.call() {
        Call::Track => {
            let email = canonical["context"]["traits"].get("email");
            let email = email.map(|email| format!(" {}", json!({ "email": email })));
            format!(
                "track {} {}{}",
                canonical["event"],
                canonical["properties"],
                email.unwrap_or_default()
            )
        }
        call => format!("{call} {}", canonical["traits"]),
    }
}

/// The other columns of a list's audience.
fn part_values(message: &Message) -> String {
    let values: BTreeMap<_, _> = message.parts().flat_map(crate::message::Part::sent).collect();
    if values.is_empty() {
        return String::new();
    }
    format!(" {}", serde_json::to_string(&values).unwrap())
}
