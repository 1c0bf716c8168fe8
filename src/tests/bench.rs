//! A small project and its runs, one a day. Everything is told as lines of text: what was sent, what
//! only touched the state, and what was counted.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::cli;
use crate::engine::{Shape, read_blocks};
use crate::project::{Project, load};
use crate::record::{Call, Change, Level};
use crate::run::{self, Detail, Refused, Report, Request};
use crate::state::{Store, SyncRecord, SyncState};

const FIRST_DAY: &str = "2026-01-01T00:00:00Z";

/// A project that nobody else uses, whose destination is called `out`.
pub struct Bench {
    folder: TempDir,
    runs: i64,
}

/// What is asked of one run.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub allow_large_change: bool,
    pub replace: bool,
    pub retry_rejected: bool,
    pub as_of: Option<DateTime<Utc>>,
    /// A subject and `refused` or `lost`.
    pub fates: Vec<(String, &'static str)>,
}

impl Bench {
    /// `grain`: the rest of the recorder's `type`.
    pub fn new(grain: &str, suppressing: bool) -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap(), runs: 0 };
        let suppress = if suppressing { "suppress = \"queries/suppressed.sql\"\n" } else { "" };
        let text = format!(
            "[project]\nname = \"golden\"\ndata = \"data\"\n\n[users]\n{suppress}\n\
             [destinations.out]\ntype = \"recorder_{grain}\"\n"
        );
        fs::create_dir(bench.path("data")).unwrap();
        bench.write("muster.toml", &text);
        bench
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(inside)
    }

    pub fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn table(&self, name: &str, csv: &str) {
        self.write(&format!("data/{name}.csv"), csv);
    }

    /// `options` of the sync to `out`; `None`: the model is not synced.
    pub fn model(&self, kind: &str, stem: &str, options: Option<&str>, sql: &str) {
        let sync = match options {
            None => String::new(),
            Some("") => "\"out\"".to_owned(),
            Some(options) => format!("{{ to = \"out\", {options} }}"),
        };
        let text = format!("/*\n[{kind}]\nsync = [{sync}]\n*/\n{sql}");
        self.write(&format!("queries/{kind}s/{stem}.sql"), &text);
    }

    fn project(&self) -> Project {
        load(&self.path(""), &|_| None)
    }

    /// One run, a day after the one before.
    pub async fn run(&mut self, asked: &Asked) -> Result<Report, Refused> {
        let mut fates = String::new();
        for (subject, fate) in &asked.fates {
            writeln!(fates, "{subject} {fate}").unwrap();
        }
        self.write("fates.txt", &fates);
        self.write("sent.txt", "");
        let first: DateTime<Utc> = FIRST_DAY.parse().unwrap();
        let now = first + TimeDelta::days(self.runs);
        self.runs += 1;
        run::run(&self.project(), &request(asked, now)).await
    }

    /// What a plan warns of.
    pub async fn planned(&self) -> String {
        let request = request(&Asked::default(), FIRST_DAY.parse().unwrap());
        let plan = run::plan(&self.project(), &request, Detail::default()).await.unwrap();
        cli::shown(&plan.findings)
    }

    /// What `muster reset SYNC --forget-list` does.
    pub fn reset(&self, sync: &str) {
        let now: DateTime<Utc> = FIRST_DAY.parse().unwrap();
        let now = now + TimeDelta::days(self.runs);
        run::forget_list(&self.project(), sync, "muster reset", now).unwrap();
        run::reset(&self.project(), sync, "muster reset", now).unwrap();
    }

    /// What the destination was sent by the latest run, sorted.
    pub fn sent(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("sent.txt")).unwrap();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    }

    /// The outcome of one run as lines.
    pub fn told(&self, outcome: Result<Report, Refused>) -> Vec<String> {
        let (mut lines, findings) = match outcome {
            Err(refused) => (Vec::new(), refused.findings),
            Ok(report) => {
                let sent = self.sent();
                let syncs = report.record.syncs.iter();
                let lines = syncs.flat_map(|sync| {
                    let silent = self.silent(sync, report.record.run.as_str());
                    of_sync(sync, &sent, silent)
                });
                (lines.collect(), report.findings)
            }
        };
        // What the recorder itself said is in the counts.
        let told: Vec<_> = findings.into_iter().filter(|finding| finding.code != "R01").collect();
        let root = format!("{}/", self.path("").display());
        let told = cli::shown(&told).replace(&root, "");
        lines.extend(told.lines().map(|line| line.trim_end().to_owned()));
        lines
    }

    /// Changes of a run that only touched the state.
    fn silent(&self, sync: &SyncRecord, run: &str) -> Vec<String> {
        let store = Store::new(self.path(".muster"));
        let state = SyncState::open(&store, &sync.sync).unwrap();
        let changes = state.outbox(&run.to_owned().into()).join("changes.parquet");
        let mut lines = Vec::new();
        if !changes.exists() {
            return lines;
        }
        let model = model_of(sync);
        for block in read_blocks(&changes, &bare(model).into()).unwrap() {
            let block = block.unwrap();
            for row in (0..block.len()).filter(|row| !block.change(*row).is_sent()) {
                let email = block.email(row).map(|email| format!(" {email}")).unwrap_or_default();
                let change: Change = block.change(row);
                lines.push(format!("{model}: ({change}) {}{email}", block.subject(row)));
            }
        }
        lines
    }
}

fn request(asked: &Asked, now: DateTime<Utc>) -> Request {
    Request {
        command: "muster run".into(),
        select: Vec::new(),
        as_of: asked.as_of,
        now,
        force: false,
        allow_large_change: asked.allow_large_change,
        replace: asked.replace.then(|| "*.out".to_owned()).into_iter().collect(),
        retry_rejected: asked.retry_rejected,
        baseline: false,
        seed: 1,
        cancel: watch::channel(false).1,
        progress: Arc::new(|_| {}),
    }
}

fn model_of(sync: &SyncRecord) -> &str {
    sync.sync.split('.').next().unwrap()
}

/// No more of a row than who it is about.
fn bare(model: &str) -> Shape {
    Shape {
        sync: model.to_owned(),
        index: 0,
        call: Call::Identify,
        kind: crate::project::ModelKind::Audience,
        level: Level::User,
        model_key: model.to_owned(),
        event: String::new(),
        timestamp: String::new(),
        columns: Vec::new(),
        identifiers: Vec::new(),
        profile: Vec::new(),
    }
}

fn of_sync(sync: &SyncRecord, sent: &[String], silent: Vec<String>) -> Vec<String> {
    let model = model_of(sync);
    let mine = sent.iter().filter(|line| line.starts_with(&format!("{model}: ")));
    let mut lines: Vec<String> = mine.cloned().chain(silent).collect();
    let counts = [
        (sync.unchanged, "unchanged"),
        (sync.invalid, "invalid"),
        (sync.suppressed, "suppressed"),
        (sync.rejected, "rejected"),
        (sync.pending, "pending"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    if !counts.is_empty() {
        lines.push(format!("{model}: {}", counts.join(", ")));
    }
    if sync.skipped.is_some() {
        lines.push(format!("{model}: skipped"));
    }
    if lines.is_empty() {
        lines.push(format!("{model}: nothing"));
    }
    lines
}
