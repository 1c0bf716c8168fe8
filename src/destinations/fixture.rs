//! Test fixtures, one builder per noun: settings, messages, batches, terms.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{Batch, Configured, Delivery, Receipt, Remote, Target, configure};
use crate::delivery::{Captured, Reply, Session, Terms};
use crate::engine::{Block, FixtureRow, Shape};
use crate::finding::{Finding, Source};
use crate::message::{Message, Part};
use crate::project::{DestinationConfig, ModelKind};
use crate::record::{Call, Change, Level};

/// What every `${NAME}` of a fixture is replaced by, before its name.
pub const SECRET: &str = "hush-";

/// A `[destinations.NAME]` section as the project would hand it over.
pub fn settings(text: &str) -> (DestinationConfig, Source) {
    let mut secrets = BTreeSet::new();
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').unwrap();
        let value = format!("{SECRET}{name}");
        write!(filled, "{before}{value}").unwrap();
        secrets.insert(value);
        rest = after;
    }
    filled.push_str(rest);
    let document: toml::Table = filled.parse().unwrap();
    let (name, section) = document["destinations"].as_table().unwrap().iter().next().unwrap();
    let mut options = section.as_table().unwrap().clone();
    let Some(toml::Value::String(kind)) = options.remove("type") else { panic!("no type") };
    let config = DestinationConfig {
        name: name.clone(),
        kind,
        spans: options.keys().map(|key| (key.clone(), span(text, key))).collect(),
        span: span(text, "type"),
        options,
        root: "/project".into(),
        secrets,
    };
    (config, Source::new("muster.toml", text))
}

/// Where the value of a key stands.
fn span(text: &str, key: &str) -> std::ops::Range<usize> {
    let Some(at) = text.find(&format!("\n{key} =")) else { return 0..0 };
    let start = at + key.len() + 4;
    start..text[start..].find('\n').map_or(text.len(), |end| start + end)
}

pub fn configured(text: &str) -> Result<Configured, Vec<Finding>> {
    let (config, source) = settings(text);
    configure(&config, &source)
}

/// Findings as `code message (what is marked) hint`.
pub fn told(findings: &[Finding]) -> String {
    let line = |finding: &Finding| {
        let place = finding.place.as_ref().unwrap();
        let marked = &place.source.text[place.span.clone().unwrap()];
        let hint = finding.hint.as_deref().unwrap_or("-");
        format!("{} {} ({marked}) {hint}\n", finding.code, finding.message)
    };
    findings.iter().map(line).collect()
}

impl Configured {
    pub fn terms(&self) -> Terms {
        Terms { spec: self.spec, common: self.common.clone(), secrets: self.secrets.clone() }
    }

    /// Delivers one batch to a scripted endpoint.
    pub async fn deliver(
        &self,
        batch: &Batch,
        replies: Vec<Reply>,
    ) -> (Result<Delivery, super::Fault>, Vec<Captured>) {
        let session = Session::scripted(&self.terms(), replies);
        let remote = self.destination.open(&session, &target()).await.unwrap();
        let delivery = self.destination.deliver(&session, &remote, batch).await;
        (delivery, session.captured())
    }

    /// What one batch would look like on the wire.
    pub async fn rehearse(&self, batch: &Batch) -> String {
        let session = Session::rehearsal(&self.terms(), 10);
        let remote = self.destination.open(&session, &target()).await.unwrap();
        let delivery = self.destination.deliver(&session, &remote, batch).await;
        assert!(matches!(delivery, Err(super::Fault::Rehearsed)), "{delivery:?}");
        session.captured().iter().map(on_the_wire).collect()
    }
}

pub fn on_the_wire(captured: &Captured) -> String {
    let Captured { method, url, headers, body } = captured;
    let headers: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{method} {url}\n{headers}\n{}\n", String::from_utf8_lossy(body))
}

pub fn receipt(delivery: Delivery) -> Receipt {
    match delivery {
        Delivery::Settled(receipt) => receipt,
        Delivery::Submitted(job) => panic!("unexpected job {job:?}"),
    }
}

pub fn target() -> Target {
    Target {
        sync: "vip.crm".into(),
        run: "run17".into(),
        model_key: "vip".into(),
        model_name: "VIP".into(),
        list: None,
        fields: Vec::new(),
        remote: None,
    }
}

pub fn target_with(remote: Json) -> Target {
    Target { remote: Some(Remote(remote)), ..target() }
}

fn shape(call: Call, kind: ModelKind, level: Level, columns: &[&str]) -> Shape {
    Shape {
        sync: "vip.crm".into(),
        index: 0,
        call,
        kind,
        level,
        model_key: "vip".into(),
        event: "Trait Computed".into(),
        timestamp: "2026-11-20T09:00:00Z".into(),
        columns: columns.iter().map(|name| ((*name).into(), (*name).into())).collect(),
        identifiers: vec!["phone".into()],
        profile: Vec::new(),
    }
}

fn row(subject: &str, email: Option<&str>, change: Change, values: Vec<Json>) -> FixtureRow {
    FixtureRow {
        key: subject.into(),
        subject: subject.into(),
        email: email.map(Into::into),
        change,
        values: values.into_iter().map(Some).collect(),
        identifiers: vec![None],
        profile: Vec::new(),
    }
}

fn message(shape: Shape, row: FixtureRow) -> Message {
    Message::new(Part::new(Arc::new(Block::fixture(Arc::new(shape), &[row])), 0))
}

/// A trait as `identify`.
pub fn identify() -> Message {
    let shape = shape(Call::Identify, ModelKind::Trait, Level::User, &["ltv_90d"]);
    message(shape, row("u_8841", Some("mara@example.org"), Change::Changed, vec![json!(812.4)]))
}

/// A trait that became NULL.
pub fn null() -> Message {
    let shape = shape(Call::Identify, ModelKind::Trait, Level::User, &["ltv_90d"]);
    message(shape, row("u_8842", None, Change::Changed, vec![Json::Null]))
}

/// Anything that is not ASCII.
pub fn unicode() -> Message {
    let shape = shape(Call::Identify, ModelKind::Trait, Level::User, &["city"]);
    let city = json!("Z\u{fc}rich \u{1f3ea} \"A\"\u{2028}");
    message(shape, row("zo\u{eb}", Some("zo\u{eb}@example.org"), Change::Entered, vec![city]))
}

/// An audience as `track`.
pub fn track(subject: &str, change: Change) -> Message {
    let shape = shape(Call::Track, ModelKind::Audience, Level::User, &[]);
    message(shape, row(subject, Some("mara@example.org"), change, Vec::new()))
}

/// An account-level trait.
pub fn group() -> Message {
    let shape = shape(Call::Group, ModelKind::Trait, Level::Account, &["seats_used"]);
    message(shape, row("acct_310", None, Change::Changed, vec![json!(41)]))
}

/// A member of a list, entering or leaving.
pub fn member(subject: &str, email: &str, phone: Option<&str>, change: Change) -> Message {
    let shape = shape(Call::List, ModelKind::Audience, Level::User, &[]);
    let mut row = row(subject, Some(email), change, Vec::new());
    row.identifiers = vec![phone.map(Into::into)];
    message(shape, row)
}

pub fn batch(messages: impl IntoIterator<Item = Message>) -> Batch {
    Batch::new(messages.into_iter().collect()).unwrap()
}

/// One of each, as the batches that a dispatcher could make of them.
pub fn every_kind() -> BTreeMap<&'static str, Batch> {
    BTreeMap::from([
        ("identify", batch([identify()])),
        ("null", batch([null()])),
        ("unicode", batch([unicode()])),
        ("track", batch([track("u_8841", Change::Entered)])),
        ("group", batch([group()])),
        ("several", batch([identify(), null(), unicode()])),
    ])
}
