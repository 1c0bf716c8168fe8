//! Sealed changes to a fast sink, nothing in the way but ourselves: outbox, encoding, journal, limiter,
//! receipts. Beside a bare loop of the same HTTP client at the same concurrency, and beside `wrk`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use musterroll::delivery::{Control, Lane, Work, drain};
use musterroll::destinations::{Configured, Target, configure};
use musterroll::engine::read_blocks;
use musterroll::outbox::Journal;
use musterroll::project::load;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::Outcome;
use crate::changes::{now, shape};
use crate::data::Lake;
use crate::options::Stage;
use crate::process::{Ended, Usage};
use crate::project::Project;
use crate::sink::Sink;
use crate::table::{Row, Table, Unit};
use crate::worker::{answering, since};

/// Requests in flight.
const CONCURRENCY: usize = 64;
const BATCH: usize = 75;

/// Files of changes of a first sync, made once per lake.
pub struct Outbox {
    pub lake: String,
    /// Every user.
    pub all: String,
    pub rows: u64,
    /// One user in ten.
    tenth: String,
    tenth_rows: u64,
}

pub fn outbox(stage: &Stage) -> Outcome<Outbox> {
    let lake = Lake::of(stage, stage.options.users, stage.options.orders)?;
    let project = Project::over(stage, "outbox", &lake)?;
    project.computed_trait("all", "SELECT user_id, score FROM users")?;
    let tenth = format!(
        "SELECT user_id, score FROM users WHERE user_id < 'u{:09}'",
        stage.options.users.div_ceil(10)
    );
    project.computed_trait("tenth", &tenth)?;
    let mut worker = stage.worker(&["changes", &project.folder.display().to_string()])?;
    let mut make = |key: &str| -> Outcome<(String, u64)> {
        let answer = worker.ask(key)?.1;
        let path = answer["path"].as_str().unwrap_or_default().to_owned();
        Ok((path, answer["rows"].as_u64().unwrap_or(0)))
    };
    let ((all, rows), (tenth, tenth_rows)) = (make("all")?, make("tenth")?);
    Ok(Outbox { lake: lake.folder.display().to_string(), all, rows, tenth, tenth_rows })
}

pub fn measure(stage: &Stage, table: &mut Table) -> Outcome {
    let outbox = outbox(stage)?;
    let (few, many) = (&outbox.tenth, &outbox.all);
    against(stage, table, "single messages", (few, outbox.tenth_rows), 1)?;
    against(stage, table, "batches of 75", (many, outbox.rows), BATCH)?;
    let mut row = Row::new("dispatch: memory, ten times the changes", Unit::Count("MB at most"));
    for _ in 0..stage.repeats(true) {
        for (name, path, rows) in
            [("all changes", many, outbox.rows), ("a tenth of them", few, outbox.tenth_rows)]
        {
            let sink = Sink::start()?;
            let usage = drained(stage, path, rows, &sink, BATCH)?;
            #[expect(clippy::cast_precision_loss, reason = "a size to be read by people")]
            row.saw(name, usage.peak.unwrap_or(0) as f64 / 1e6, usage);
        }
    }
    row.note(format!("{} changes and {}", outbox.rows, outbox.tenth_rows));
    table.add(row);
    Ok(())
}

fn against(
    stage: &Stage,
    table: &mut Table,
    what: &str,
    (path, rows): (&str, u64),
    batch: usize,
) -> Outcome {
    let mut row =
        Row::new(format!("dispatch: {what}, {CONCURRENCY} in flight"), Unit::PerSecond("requests"));
    let sink = Sink::start()?;
    let mut plain = stage.worker(&["plain"])?;
    for _ in 0..stage.repeats(false) {
        let (requests, bytes) = (sink.requests(), sink.bytes());
        let usage = drained(stage, path, rows, &sink, batch)?;
        let (requests, bytes) = (sink.requests() - requests, sink.bytes() - bytes);
        row.saw("Muster", rate(requests, usage), usage);
        let size = bytes / requests.max(1);
        let ask = format!("{}\t{requests}\t{CONCURRENCY}\t{size}", sink.url());
        let usage = plain.ask(&ask)?.0;
        row.saw("bare reqwest loop", rate(requests, usage), usage);
        if let Some(reached) = wrk(stage, &sink, size)? {
            row.saw("wrk", reached, Usage::default());
        }
    }
    table.add(row);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
fn rate(requests: u64, usage: Usage) -> f64 {
    requests as f64 / usage.seconds
}

/// One drain in a fresh process, all of whose rows must have been acknowledged.
fn drained(stage: &Stage, path: &str, rows: u64, sink: &Sink, batch: usize) -> Outcome<Usage> {
    let mut worker = stage.worker(&["dispatch", path])?;
    let ask = format!("{}\t{batch}\t{CONCURRENCY}\t{rows}", sink.url());
    let (usage, answer) = worker.ask(&ask)?;
    match answer["acknowledged"].as_u64() {
        Some(acknowledged) if acknowledged == rows => Ok(usage),
        other => Err(format!("{other:?} of {rows} changes were acknowledged").into()),
    }
}

/// What the fastest client there is reaches with requests of the same size, where it is installed.
fn wrk(stage: &Stage, sink: &Sink, size: u64) -> Outcome<Option<f64>> {
    let script = stage.folder.join("post.lua");
    std::fs::write(
        &script,
        format!(
            "wrk.method = \"POST\"\nwrk.headers[\"content-type\"] = \"application/json\"\n\
             wrk.body = string.rep(\"x\", {size})\n"
        ),
    )?;
    let seconds = if stage.options.smoke { "-d1s" } else { "-d3s" };
    let mut command = Command::new("wrk");
    command.args(["-t2", &format!("-c{CONCURRENCY}"), seconds, "-s"]).arg(script).arg(sink.url());
    let Ok(ended) = Ended::of(&mut command) else { return Ok(None) };
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(line.and_then(|rate| rate.trim().parse().ok()))
}

/// Answers `URL BATCH CONCURRENCY ROWS` by draining the file of changes.
pub async fn serve(words: &[&str]) -> Outcome {
    let [path] = words else { return Err("a file of changes is needed".into()) };
    let folder = PathBuf::from(format!("{path}.outbox-{}", std::process::id()));
    answering(async |words| {
        let [url, batch, concurrency, rows] = words else { return Err("four words".into()) };
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder)?;
        let settings = format!(
            "[destinations.sink]\ntype = \"webhook\"\nurl = \"{url}\"\nbatch_size = {batch}\n\
             concurrency = {concurrency}\n"
        );
        std::fs::write(folder.join("muster.toml"), settings)?;
        let answer = drain_once(Path::new(path), &folder, rows.parse()?).await;
        drop(std::fs::remove_dir_all(&folder));
        answer
    })
    .await
}

async fn drain_once(path: &Path, folder: &Path, rows: u64) -> Outcome<Value> {
    let project = load(folder, &|_| None);
    let config = project.destinations.get("sink").ok_or("no destination")?;
    let configured = configure(config, &project.source)
        .map_err(|findings| findings.first().map_or_else(String::new, |one| one.message.clone()))?;
    let (_cancel, cancelled) = watch::channel(false);
    let control = Control {
        cancel: cancelled,
        progress: Arc::new(|_| {}),
        seed: 1,
        now: now().into(),
        budget: None,
    };
    let work = work(configured, path, folder, rows)?;
    let started = Instant::now();
    let drained = drain(work, control).await;
    let seconds = since(started);
    let acknowledged: u64 = drained.lanes.iter().map(|lane| lane.acknowledged).sum();
    Ok(json!({ "seconds": seconds, "acknowledged": acknowledged, "requests": drained.requests }))
}

fn work(configured: Configured, path: &Path, folder: &Path, rows: u64) -> Outcome<Work> {
    let shape = shape("all", &["score"]);
    let blocks = read_blocks(path, &shape).map_err(|error| error.to_string())?;
    let lane = Lane {
        replacing: None,
        target: Target {
            sync: shape.sync.clone(),
            run: "bench".into(),
            model_key: shape.model_key.clone(),
            model_name: shape.model_key.clone(),
            kind: shape.kind,
            level: shape.level,
            call: shape.call,
            list: None,
            fields: Vec::new(),
            remote: None,
        },
        journal: Journal::create(folder, &shape.sync, "bench", rows)?,
        shape,
        changes: rows,
        blocks: Box::new(blocks),
        remember: Arc::new(|_| Ok(())),
    };
    Ok(Work {
        name: configured.name,
        spec: configured.spec,
        destination: configured.destination,
        common: configured.common,
        secrets: configured.secrets,
        lanes: vec![lane],
    })
}
