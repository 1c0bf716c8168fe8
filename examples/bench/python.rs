//! What a user would write by hand instead, in Python with `DuckDB`, pyarrow and aiohttp.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::options::Stage;
use crate::process::{Ended, Worker};

const WORKER: &str = include_str!("python/worker.py");
const PIPELINE: &str = include_str!("python/pipeline.py");

/// Whether this Python is there and has what is needed.
pub fn usable(python: &Path) -> bool {
    let import = Command::new(python).args(["-c", "import duckdb, pyarrow, aiohttp"]).output();
    import.is_ok_and(|output| output.status.success())
}

/// A Python that runs queries and inner work on demand, if there is one.
pub fn worker(stage: &Stage, words: &[&str]) -> Outcome<Option<Worker>> {
    let Some(python) = &stage.python else { return Ok(None) };
    let mut command = Command::new(python);
    command.args(["-c", WORKER]).args(words);
    Worker::start(&mut command).map(Some)
}

/// The whole pipeline made by hand, once.
pub fn pipeline(stage: &Stage, words: &[&str]) -> Outcome<Option<Ended>> {
    let Some(python) = &stage.python else { return Ok(None) };
    let mut command = Command::new(python);
    command.args(["-c", PIPELINE]).args(words);
    Ended::of(&mut command)?.well().map(Some)
}
