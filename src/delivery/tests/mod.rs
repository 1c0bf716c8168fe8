//! One fixture builder per noun, for the tests of delivery as a whole.

mod authority;
mod coalescing;
mod conclusions;
mod drains;
mod jobs;
mod wire;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::destinations::{
    Batch, BatchLimits, Delivery, Fault, Grain, Idempotency, Job, Retry, Settlement,
};
use crate::engine::FixtureRow;
use crate::outbox::{Replay, RowState, replay};
use crate::project::ModelKind;
use crate::record::{Call, Change, Level};

pub static SPEC: Spec = Spec {
    kind: "fake",
    title: "Fake",
    summary: "Sends nothing anywhere.",
    calls: &[Call::Identify, Call::Track, Call::Group],
    grain: Grain::Raw,
    identifiers: "user id",
    batch: BatchLimits { rows: 1, max_rows: 100, bytes: 100_000, row_bytes: 1000 },
    concurrency: 8,
    idempotency: Idempotency::MessageId,
    ..Spec::EVENT
};

pub fn common() -> Common {
    Common {
        base_url: None,
        rate_limit: None,
        daily_limit: None,
        concurrency: None,
        batch_size: None,
        timeout: Duration::from_secs(30),
        every: None,
        coalesce: true,
        retry: Retry { attempts: 3, within: Duration::from_mins(10) },
    }
}

pub fn terms(common: Common) -> Terms {
    Terms { spec: &SPEC, common, secrets: BTreeSet::from(["hush".to_owned()]) }
}

pub fn surroundings() -> Surroundings {
    Surroundings { seed: 7, now: SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777) }
}

pub fn control() -> (watch::Sender<bool>, Control) {
    let (cancel, receiver) = watch::channel(false);
    let Surroundings { seed, now } = surroundings();
    (cancel, Control { cancel: receiver, progress: Arc::new(|_| {}), seed, now, budget: None })
}

/// What the fake destination does with a batch.
type Script = Box<dyn Fn(&Batch) -> Result<Delivery, Fault> + Send + Sync>;

/// A destination that follows a script and remembers what it was given.
pub struct Fake {
    pub script: Script,
    pub open: Box<dyn Fn(&Target) -> Result<Remote, Fault> + Send + Sync>,
    pub conclude: Box<dyn Fn(&Remote) -> Result<Option<Remote>, Fault> + Send + Sync>,
    /// How long the end of a run takes to tell.
    pub concluding: Duration,
    pub settle: Box<dyn Fn(&Job, usize) -> Result<Settlement, Fault> + Send + Sync>,
    /// Record keys of every batch, in the order of their arrival.
    pub batches: Mutex<Vec<Vec<String>>>,
    /// Requests to make, by scripted session, before the script decides; the first fault wins.
    pub requests: usize,
    pub latency: Duration,
}

impl Fake {
    pub fn new(script: impl Fn(&Batch) -> Result<Delivery, Fault> + Send + Sync + 'static) -> Self {
        Self {
            script: Box::new(script),
            open: Box::new(|target| Ok(target.remote.clone().unwrap_or_default())),
            conclude: Box::new(|_| Ok(None)),
            concluding: Duration::ZERO,
            settle: Box::new(|_, _| Err(Fault::Protocol { reason: "no jobs".into() })),
            batches: Mutex::default(),
            requests: 0,
            latency: Duration::ZERO,
        }
    }

    pub fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().unwrap().clone()
    }

    /// Every key that was ever sent, in order.
    pub fn sent(&self) -> Vec<String> {
        self.batches().concat()
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

#[async_trait]
impl Destination for Fake {
    async fn check(&self, _: &Session) -> Result<(), Fault> {
        Ok(())
    }

    async fn open(&self, _: &Session, target: &Target) -> Result<Remote, Fault> {
        (self.open)(target)
    }

    async fn deliver(
        &self,
        session: &Session,
        _: &Remote,
        batch: &Batch,
    ) -> Result<Delivery, Fault> {
        let keys = batch.messages().iter().map(|message| message.key().to_owned()).collect();
        self.batches.lock().unwrap().push(keys);
        tokio::time::sleep(self.latency).await;
        for _ in 0..self.requests {
            let url = url::Url::parse("https://example.com/hook?key=hush").unwrap();
            session.send(Request::post(url)).await?;
        }
        (self.script)(batch)
    }

    async fn conclude(&self, session: &Session, remote: &Remote) -> Result<Option<Remote>, Fault> {
        tokio::time::sleep(self.concluding).await;
        if session.core.is_stopped() {
            return Err(Fault::Transient { reason: "stopped".into() });
        }
        (self.conclude)(remote)
    }

    async fn settle(&self, _: &Session, job: &Job, rows: usize) -> Result<Settlement, Fault> {
        (self.settle)(job, rows)
    }
}

/// Outboxes and journals of several syncs to one destination.
pub struct Outboxes {
    folder: TempDir,
    lanes: Vec<(Arc<Shape>, Vec<FixtureRow>)>,
}

impl Outboxes {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), lanes: Vec::new() }
    }

    /// One trait sync with these record keys.
    pub fn with(self, call: Call, keys: &[&str]) -> Self {
        let rows = keys.iter().map(|key| row(key, Change::Entered)).collect();
        self.with_rows(call, rows)
    }

    pub fn with_rows(mut self, call: Call, rows: Vec<FixtureRow>) -> Self {
        let index = self.lanes.len();
        let column = format!("trait_{index}");
        let shape = Shape {
            sync: format!("model_{index}.fake"),
            index,
            call,
            kind: ModelKind::Trait,
            level: if call == Call::Group { Level::Account } else { Level::User },
            model_key: column.clone(),
            event: "Trait Computed".into(),
            timestamp: "1998-05-31T00:00:00Z".into(),
            columns: vec![(column.clone(), column)],
            identifiers: Vec::new(),
            profile: Vec::new(),
        };
        self.lanes.push((Arc::new(shape), rows));
        self
    }

    pub fn numbered(call: Call, count: usize) -> Self {
        let keys: Vec<String> = (0..count).map(|number| format!("u{number:05}")).collect();
        Self::new().with(call, &keys.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn journal(&self, lane: usize) -> PathBuf {
        self.folder.path().join(lane.to_string())
    }

    /// Where a lane keeps what was found at the destination.
    pub fn remembered(&self, lane: usize) -> PathBuf {
        self.folder.path().join(format!("{lane}.remote"))
    }

    fn lane(&self, index: usize) -> Lane {
        let (shape, rows) = &self.lanes[index];
        let folder = self.journal(index);
        let remembered = self.remembered(index);
        let count = rows.len() as u64;
        Lane {
            replacing: None,
            target: target(shape),
            shape: Arc::clone(shape),
            changes: rows.iter().filter(|row| row.change.is_sent()).count() as u64,
            blocks: self.blocks(index),
            journal: Journal::create(&folder, &shape.sync, "run", count).unwrap(),
            remember: Arc::new(move |remote: &Remote| {
                std::fs::write(&remembered, remote.0.to_string())
            }),
        }
    }

    pub fn blocks(&self, index: usize) -> Blocks {
        let (shape, rows) = &self.lanes[index];
        Box::new(std::iter::once(Ok(Block::fixture(Arc::clone(shape), rows))))
    }

    pub fn work(&self, fake: &Arc<Fake>, common: Common) -> Work {
        let Terms { spec, common, secrets } = terms(common);
        let lanes = (0..self.lanes.len()).map(|index| self.lane(index)).collect();
        let destination = Arc::clone(fake) as Arc<dyn Destination>;
        Work { name: "fake".into(), spec, destination, common, secrets, lanes }
    }

    /// Drains through a scripted session and proves that report and journal say the same.
    pub async fn drain(&self, fake: &Arc<Fake>, common: Common, replies: Vec<Reply>) -> Drained {
        let session = Session::scripted(&terms(common.clone()), replies);
        let (_cancel, control) = control();
        let drained = drain::drain_through(session, self.work(fake, common), control).await;
        self.prove(&drained);
        drained
    }

    /// Report and journal say the same.
    pub fn prove(&self, drained: &Drained) {
        for (index, report) in drained.lanes.iter().enumerate() {
            let Replay { rows, .. } = self.replay(index);
            let count = |state| rows.iter().filter(|row| **row == state).count() as u64;
            let unsent = self.lanes[index].1.iter().filter(|row| !row.change.is_sent()).count();
            assert_eq!(count(RowState::Acknowledged), report.acknowledged, "acknowledged");
            assert_eq!(count(RowState::Rejected), report.rejected, "rejected");
            assert_eq!(count(RowState::Unsettled), report.unsettled, "unsettled");
            let pending = count(RowState::Pending) + count(RowState::Withdrawn);
            assert_eq!(pending, report.pending + unsent as u64, "pending");
        }
    }

    pub fn replay(&self, lane: usize) -> Replay {
        replay(&self.journal(lane), self.lanes[lane].1.len() as u64).unwrap()
    }
}

fn target(shape: &Shape) -> Target {
    Target {
        sync: shape.sync.clone(),
        run: "r1".into(),
        model_key: shape.model_key.clone(),
        model_name: shape.model_key.clone(),
        kind: shape.kind,
        level: shape.level,
        call: shape.call,
        list: None,
        fields: Vec::new(),
        remote: None,
    }
}

pub fn row(key: &str, change: Change) -> FixtureRow {
    FixtureRow {
        key: key.into(),
        subject: key.into(),
        email: Some(format!("{key}@example.com")),
        change,
        values: vec![Some(serde_json::json!(17))],
        identifiers: Vec::new(),
        profile: Vec::new(),
    }
}

/// Counts of a lane: acknowledged, rejected, pending, unsettled.
pub fn counts(report: &LaneReport) -> [u64; 4] {
    [report.acknowledged, report.rejected, report.pending, report.unsettled]
}
