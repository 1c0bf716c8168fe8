//! From the lake to the destination and back into the state: beside a pipeline made by hand, which
//! keeps no journal, repeats nothing and recovers from nothing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::data::Lake;
use crate::options::Stage;
use crate::process::Ended;
use crate::project::Project;
use crate::sink::Sink;
use crate::table::{Row, Table, Unit};
use crate::{Outcome, python};

const SQL: &str = "SELECT user_id, round(sum(amount), 2) AS revenue, count(*) AS orders_count \
                   FROM orders GROUP BY user_id";

/// One lake, one trait, one sink, two ways.
struct Contest<'a> {
    stage: &'a Stage,
    lake: Lake,
    project: Project,
    sink: Sink,
    batch: u32,
    concurrency: u32,
    /// What the pipeline made by hand remembers.
    state: PathBuf,
}

pub fn measure(stage: &Stage, table: &mut Table) -> Outcome {
    large(stage, table)?;
    slow(stage, table)
}

fn large(stage: &Stage, table: &mut Table) -> Outcome {
    let lake = Lake::of(stage, stage.options.users, stage.options.orders)?;
    let contest = Contest::new(stage, lake, Sink::start()?, (75, 64))?;
    let mut first = Row::new("whole: first sync, batches of 75", Unit::PerSecond("records"));
    let mut steady = Row::new("whole: one user in a hundred changed", Unit::Seconds);
    let mut quiet = Row::new("whole: nothing changed", Unit::Seconds);
    if let Some(limit) = &stage.options.memory_limit {
        first.note(format!("memory_limit = \"{limit}\""));
    }
    for _ in 0..stage.repeats(true) {
        contest.forget()?;
        let all = contest.both(&mut first, true)?;
        contest.lake.churn()?;
        let some = contest.both(&mut steady, false)?;
        steady.note(format!("{some} of {all} records"));
        let none = contest.both(&mut quiet, false)?;
        contest.lake.settle()?;
        if some == 0 || some > all / 20 || none > 0 {
            return Err(format!("{all}, {some} and {none} records were delivered").into());
        }
    }
    for row in [first, steady, quiet] {
        table.add(row);
    }
    Ok(())
}

/// A destination that takes its time, 256 requests in flight.
fn slow(stage: &Stage, table: &mut Table) -> Outcome {
    let records = stage.size(60, 10_000);
    for latency in [10, 50, 200] {
        for batch in [1, 75] {
            let lake = Lake::of(stage, records * 2 / 3, records * 2)?;
            let sink = Sink::slow(Duration::from_millis(latency))?;
            let contest = Contest::new(stage, lake, sink, (batch, 256))?;
            let title =
                format!("whole: {records} records, {latency} ms a reply, batches of {batch}");
            let mut row = Row::new(title, Unit::Seconds);
            for _ in 0..stage.repeats(true) {
                contest.forget()?;
                contest.both(&mut row, false)?;
            }
            let rounds = records.div_ceil(u64::from(batch)).div_ceil(256);
            row.note(format!("waiting alone takes {rounds} × {latency} ms"));
            table.add(row);
        }
    }
    Ok(())
}

impl<'a> Contest<'a> {
    fn new(
        stage: &'a Stage,
        lake: Lake,
        sink: Sink,
        (batch, concurrency): (u32, u32),
    ) -> Outcome<Self> {
        let mut project = Project::over(stage, "whole", &lake)?;
        let options = format!("batch_size = {batch}\nconcurrency = {concurrency}\n");
        project.sink(&sink.url(), &options)?;
        project.computed_trait("spend", SQL)?;
        let state = project.folder.join("by-hand.parquet");
        Ok(Self { stage, lake, project, sink, batch, concurrency, state })
    }

    fn forget(&self) -> Outcome {
        drop(std::fs::remove_file(&self.state));
        self.project.forget()
    }

    /// Both do what there is to do; how many records that were.
    fn both(&self, row: &mut Row, per_second: bool) -> Outcome<u64> {
        let ended = self.muster(&self.project.folder)?;
        let delivered = delivered(&ended.json()?);
        see(row, "Muster", &ended, per_second.then_some(delivered));
        if let Some(ended) = self.by_hand()? {
            let records = ended.json()?["records"].as_u64().unwrap_or(0);
            see(row, "made by hand", &ended, per_second.then_some(records));
            if records != delivered {
                return Err(format!("{delivered} records here, {records} by hand").into());
            }
        }
        Ok(delivered)
    }

    fn muster(&self, folder: &Path) -> Outcome<Ended> {
        self.stage.muster_ends(&["run", "--format", "json"], Some(folder))
    }

    fn by_hand(&self) -> Outcome<Option<Ended>> {
        let lake = self.lake.folder.display().to_string();
        let state = self.state.display().to_string();
        let (batch, concurrency) = (self.batch.to_string(), self.concurrency.to_string());
        let words = [&*lake, SQL, &*state, &*self.sink.url(), &*batch, &*concurrency];
        python::pipeline(self.stage, &words)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
fn see(row: &mut Row, name: &str, ended: &Ended, records: Option<u64>) {
    match records {
        Some(records) => row.saw(name, records as f64 / ended.usage.seconds, ended.usage),
        None => row.ended(name, ended),
    }
}

fn delivered(report: &Value) -> u64 {
    let syncs = report["syncs"].as_array().map(Vec::as_slice).unwrap_or_default();
    syncs.iter().filter_map(|sync| sync["delivered"].as_u64()).sum()
}
