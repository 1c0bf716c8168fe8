//! Test fixtures, one builder per noun: settings, messages, batches, terms.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::{
    Batch, CATALOGUE, Configured, Delivery, Fault, Field, FieldKind, Grain, Notice, Outcome,
    Receipt, Remote, SERVERS, Settlement, Target, configure,
};
use crate::delivery::{Captured, Reply, Server, Session, Terms};
use crate::engine::{Block, FixtureRow, Shape};
use crate::finding::{Finding, Source};
use crate::message::{Message, Part};
use crate::project::{DestinationConfig, ModelKind};
use crate::record::{Call, Change, Level, Value};

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

/// What a destination did with one batch, and what was said on the way.
pub struct Conversation {
    pub result: Result<Vec<Outcome>, Fault>,
    pub notices: Vec<Notice>,
    pub remote: Remote,
    pub captured: Vec<Captured>,
}

impl Conversation {
    /// Method, address and body of every request, one below the other.
    pub fn wire(&self) -> String {
        let line = |request: &Captured| {
            let body = String::from_utf8_lossy(&request.body);
            format!("{} {} {body}\n", request.method, request.url).replace(" \n", "\n")
        };
        self.captured.iter().map(line).collect()
    }

    pub fn outcomes(self) -> Vec<Outcome> {
        self.result.unwrap_or_else(|fault| panic!("{fault}"))
    }
}

impl Configured {
    pub fn terms(&self) -> Terms {
        Terms { spec: self.spec, common: self.common.clone(), secrets: self.secrets.clone() }
    }

    /// How its server answers when all is well.
    pub fn server(&self) -> Server {
        let position = CATALOGUE.iter().position(|entry| entry.spec.kind == self.spec.kind);
        SERVERS[position.unwrap()]
    }

    /// Opens what the batch needs and delivers it to a server that answers with these replies first,
    /// then as if all were well; jobs are followed to their end.
    pub async fn converse(&self, batch: &Batch, replies: Vec<Reply>) -> Conversation {
        let session = Session::served(&self.terms(), replies, self.server());
        self.converse_through(&session, batch).await
    }

    /// The same, with an odd reply after some that are well.
    pub async fn converse_after(&self, batch: &Batch, well: usize, odd: Reply) -> Conversation {
        let session = Session::interrupted(&self.terms(), (well, odd), self.server());
        self.converse_through(&session, batch).await
    }

    pub async fn converse_through(&self, session: &Session, batch: &Batch) -> Conversation {
        let target = target_of(batch, None);
        let (remote, receipt) = match self.destination.open(session, &target).await {
            Ok(remote) => {
                let receipt = self.followed(session, &remote, batch).await;
                (remote, receipt)
            }
            Err(fault) => (Remote::default(), Err(fault)),
        };
        let captured = session.captured();
        record(&captured);
        let (result, notices) = match receipt {
            Ok(receipt) => (Ok(receipt.outcomes().to_vec()), receipt.notices().to_vec()),
            Err(fault) => (Err(fault), Vec::new()),
        };
        Conversation { result, notices, remote, captured }
    }

    /// How many requests the batch takes the first time, and once more when all that can be remembered
    /// is; what opening takes is not counted.
    pub async fn requests_for(&self, batch: &Batch) -> [usize; 2] {
        let session = Session::served(&self.terms(), Vec::new(), self.server());
        let remote = self.destination.open(&session, &target_of(batch, None)).await.unwrap();
        let mut counts = [0; 2];
        for count in &mut counts {
            let before = session.captured().len();
            self.destination.deliver(&session, &remote, batch).await.unwrap();
            *count = session.captured().len() - before;
        }
        counts
    }

    async fn followed(
        &self,
        session: &Session,
        remote: &Remote,
        batch: &Batch,
    ) -> Result<Receipt, Fault> {
        let mut job = match self.destination.deliver(session, remote, batch).await? {
            Delivery::Settled(receipt) => return Ok(receipt),
            Delivery::Submitted(job) => job,
        };
        // What is journaled is all that a later process has.
        job = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
        for _ in 0..50 {
            match self.destination.settle(session, &job, batch.len()).await? {
                Settlement::Done(receipt) => return Ok(receipt),
                Settlement::Running { .. } => {}
            }
        }
        panic!("the job of {} never ends", self.spec.kind)
    }

    /// Delivers one batch to a scripted endpoint.
    pub async fn deliver(
        &self,
        batch: &Batch,
        replies: Vec<Reply>,
    ) -> (Result<Delivery, Fault>, Vec<Captured>) {
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
        assert!(matches!(delivery, Err(Fault::Rehearsed)), "{delivery:?}");
        session.captured().iter().map(on_the_wire).collect()
    }

    /// One batch of each kind that a dispatcher could make for this destination.
    pub fn batches(&self) -> BTreeMap<&'static str, Batch> {
        let calls = self.spec.calls;
        let mut batches = BTreeMap::new();
        let mut add = |name, call: Call, messages: Vec<Message>| {
            if calls.contains(&call) {
                batches.insert(name, batch(messages));
            }
        };
        let trait_of = |user: User, column: &str, value: Json| {
            self.message(Call::Identify, user, Change::Changed, &[(column, value)])
        };
        add("identify", Call::Identify, vec![trait_of(MARA, "ltv_90d", json!(812.4))]);
        add("null", Call::Identify, vec![trait_of(IVO, "ltv_90d", Json::Null)]);
        let city = json!("Z\u{fc}rich \u{1f3ea} \"A\"\u{2028}");
        add("unicode", Call::Identify, vec![trait_of(ZOE, "city", city)]);
        add("audience", Call::Identify, vec![self.audience(Call::Identify, MARA, Change::Entered)]);
        add("exit", Call::Identify, vec![self.audience(Call::Identify, IVO, Change::Exited)]);
        add("track", Call::Track, vec![self.audience(Call::Track, MARA, Change::Entered)]);
        add("track exit", Call::Track, vec![self.audience(Call::Track, IVO, Change::Exited)]);
        let computed = [("ltv_90d", json!(812.4))];
        add(
            "computed",
            Call::Track,
            vec![self.message(Call::Track, MARA, Change::Changed, &computed)],
        );
        let seats = [("seats_used", json!(41))];
        add(
            "group",
            Call::Group,
            vec![self.message(Call::Group, ACCOUNT, Change::Changed, &seats)],
        );
        let members = [MARA, IVO].map(|user| self.audience(Call::List, user, Change::Entered));
        add("members", Call::List, members.into());
        add("leaving", Call::List, vec![self.audience(Call::List, ZOE, Change::Exited)]);
        batches.insert("several", self.several());
        batches
    }

    /// As many messages of the first call as a batch may hold, at most three.
    pub fn several(&self) -> Batch {
        let call = self.spec.calls[0];
        let most = self.common.batch_size.unwrap_or(self.spec.batch.rows).min(3);
        let users = [MARA, IVO, ZOE].into_iter().take(most);
        batch(users.map(|user| match call {
            Call::List => self.audience(call, user, Change::Entered),
            _ => self.message(call, user, Change::Changed, &[("ltv_90d", json!(user.ltv))]),
        }))
    }

    /// Somebody who enters or leaves the audience `vip`.
    pub fn audience(&self, call: Call, user: User, change: Change) -> Message {
        let shape = Shape { kind: ModelKind::Audience, ..self.shape(call, &[]) };
        message(shape, self.row(user, change, Vec::new()))
    }

    /// Somebody who enters or leaves, with these identifiers and profile columns and no others.
    pub fn member(
        &self,
        user: User,
        change: Change,
        identifiers: &[(&str, &str)],
        profile: &[(&str, &str)],
    ) -> Message {
        let call = Call::List;
        let shape = Shape { kind: ModelKind::Audience, ..self.shape(call, &[]) };
        let text = |from: &[(&str, &str)], name: &str| {
            from.iter().find(|(other, _)| *other == name).map(|(_, text)| (*text).to_owned())
        };
        let fields = self.match_fields.iter().filter(|field| field.source != "email");
        let identifiers = fields
            .map(|field| {
                let text = text(identifiers, field.source)?;
                (field.normalise)(&text, Some("AT")).ok()
            })
            .collect();
        let profile = self.profile().iter().map(|name| text(profile, name)).collect();
        message(shape, FixtureRow { identifiers, profile, ..self.row(user, change, Vec::new()) })
    }

    /// Somebody who enters, told as an event, whose profile has these columns and no others.
    pub fn event_of(&self, user: User, profile: &[(&str, &str)]) -> Message {
        let shape = Shape { kind: ModelKind::Audience, ..self.shape(Call::Track, &[]) };
        let of = |name: &&str| profile.iter().find(|(other, _)| other == name);
        let text = |name: &&'static str| of(name).map(|(_, text)| (*text).to_owned());
        let profile = self.profile().iter().map(text).collect();
        message(shape, FixtureRow { profile, ..self.row(user, Change::Entered, Vec::new()) })
    }

    /// An `identify` that carries these profile columns and no trait.
    pub fn enriched(&self, user: User, profile: &[(&str, &str)]) -> Message {
        let names = profile.iter().map(|(name, _)| ((*name).into(), (*name).into())).collect();
        let shape = Shape { profile: names, ..self.shape(Call::Identify, &[]) };
        let profile = profile.iter().map(|(_, text)| Some((*text).to_owned())).collect();
        message(shape, FixtureRow { profile, ..self.row(user, Change::Changed, Vec::new()) })
    }

    /// Traits of one user or, as `group`, account.
    pub fn message(
        &self,
        call: Call,
        user: User,
        change: Change,
        values: &[(&str, Json)],
    ) -> Message {
        let columns: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        let values = values.iter().map(|(_, value)| value.clone()).collect();
        message(self.shape(call, &columns), self.row(user, change, values))
    }

    fn shape(&self, call: Call, columns: &[&str]) -> Shape {
        let level = if call == Call::Group { Level::Account } else { Level::User };
        let profile = self.profile().into_iter().map(|name| (name.into(), name.into()));
        let profile = if level == Level::User { profile.collect() } else { Vec::new() };
        Shape {
            identifiers: self.identifiers().map(ToOwned::to_owned).collect(),
            profile,
            ..shape(call, ModelKind::Trait, level, columns)
        }
    }

    /// Profile columns that travel with its messages.
    fn profile(&self) -> Vec<&'static str> {
        self.spec.profile.iter().chain(&self.required).copied().collect()
    }

    fn identifiers(&self) -> impl Iterator<Item = &'static str> {
        let sources = self.match_fields.iter().map(|field| field.source);
        sources.filter(|source| *source != "email")
    }

    fn row(&self, user: User, change: Change, values: Vec<Json>) -> FixtureRow {
        let email = (!user.email.is_empty()).then(|| self.email(user));
        let of_match = self.match_fields.iter().filter(|field| field.source != "email");
        FixtureRow {
            identifiers: of_match
                .map(|field| {
                    user.profile(field.source)
                        .and_then(|text| (field.normalise)(&text, Some("AT")).ok())
                })
                .collect(),
            profile: self.profile().iter().map(|name| user.profile(name)).collect(),
            key: match self.grain {
                Grain::Email => user.email.into(),
                _ => user.id.into(),
            },
            ..row(user.id, email.as_deref(), change, values)
        }
    }

    /// The email as the engine hands it over: in a list, as the platform normalises it.
    fn email(&self, user: User) -> String {
        let field = self.match_fields.iter().find(|field| field.source == "email");
        match field.filter(|_| self.grain == Grain::List) {
            Some(field) => (field.normalise)(user.email, None).unwrap(),
            None => user.email.to_owned(),
        }
    }
}

/// A person, or an account, of the fixtures.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub id: &'static str,
    pub email: &'static str,
    pub name: &'static str,
    pub ltv: f64,
}

pub const MARA: User =
    User { id: "u_8841", email: "mara.lind@example.org", name: "Mara Lind", ltv: 812.4 };
pub const IVO: User = User { id: "u_8842", email: "ivo@example.org", name: "Ivo Ban", ltv: 7.0 };
pub const ZOE: User =
    User { id: "zo\u{eb}", email: "zoe+shop@example.org", name: "Zo\u{eb} Aksoy", ltv: -3.5 };
pub const ACCOUNT: User = User { id: "acct_310", email: "", name: "Acme", ltv: 0.0 };

impl User {
    /// What `profiles` says of this user.
    pub fn profile(&self, column: &str) -> Option<String> {
        let (first, last) = self.name.split_once(' ').unwrap_or((self.name, "GmbH"));
        Some(match column {
            "name" => self.name.into(),
            "first_name" => first.into(),
            "last_name" => last.into(),
            "email" => self.email.into(),
            "phone" => format!("+43 660 {:07}", self.id.len() * 12_345),
            "country" => "AT".into(),
            "company" => "Acme".into(),
            "mobile_device_id" => "EA7583CD-A667-48BC-B806-42ECB2B48606".into(),
            _ => return None,
        })
    }
}

/// Appends requests to the file that `MUSTER_CAPTURE` names, for checks against vendors' schemas:
/// JSON lines of method, url, headers and body.
fn record(captured: &[Captured]) {
    #[expect(clippy::disallowed_methods, reason = "only tests are asked to record")]
    let Ok(path) = std::env::var("MUSTER_CAPTURE") else { return };
    let mut lines = String::new();
    for Captured { method, url, headers, body } in captured {
        let headers: BTreeMap<_, _> = headers.iter().cloned().collect();
        let body = serde_json::from_slice(body)
            .unwrap_or_else(|_| Json::String(String::from_utf8_lossy(body).into_owned()));
        let line = json!({"method": method, "url": url, "headers": headers, "body": body});
        writeln!(lines, "{line}").unwrap();
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
}

/// What the sync of these messages would ask for.
pub fn target_of(batch: &Batch, remote: Option<Remote>) -> Target {
    target_with_profile(batch, remote, &[])
}

/// The same, with these profile columns mapped.
pub fn target_with_profile(batch: &Batch, remote: Option<Remote>, mapped: &[&str]) -> Target {
    let first = &batch.messages()[0];
    let shape = first.parts().next().unwrap().shape();
    let kind = |value: &Value<'_>| match value {
        Value::Bool(_) => FieldKind::Bool,
        Value::Int(_) | Value::Uint(_) => FieldKind::Integer,
        // The only NULL of the fixtures is that of a number.
        Value::Float(_) | Value::Decimal(_) | Value::Null => FieldKind::Number,
        _ => FieldKind::Text,
    };
    let mapped = first.profile().filter(|(name, _)| mapped.contains(name));
    let fields = match shape.call {
        Call::Identify | Call::Group => {
            let of_traits = first.traits();
            let field =
                |(name, value): (&str, Value<'_>)| Field { name: name.into(), kind: kind(&value) };
            of_traits.map(field).chain(mapped.map(field)).collect()
        }
        Call::Track | Call::List => Vec::new(),
    };
    Target { kind: shape.kind, level: shape.level, call: shape.call, fields, remote, ..target() }
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
        kind: ModelKind::Audience,
        level: Level::User,
        call: Call::Identify,
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
