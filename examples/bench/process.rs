//! What runs in a process of its own: how long it took, how much processor time, and the most memory
//! it held. The last two are read from `/proc` and are missing elsewhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Outcome;

/// How often the memory of a process is looked at; its peak is kept by the kernel.
const LOOK: Duration = Duration::from_millis(2);
/// Ticks of processor time per second, as `/proc` counts them.
const TICKS: f64 = 100.0;

/// What some work took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    pub seconds: f64,
    pub processor: Option<f64>,
    /// Most bytes resident.
    pub peak: Option<u64>,
}

/// A process that ended.
#[derive(Debug)]
pub struct Ended {
    pub usage: Usage,
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
    command: String,
}

impl Ended {
    pub fn of(command: &mut Command) -> Outcome<Self> {
        let started = Instant::now();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (out, error) = (reading(child.stdout.take()), reading(child.stderr.take()));
        let mut usage = Usage::default();
        while let Some(state) = Stat::of(child.id()) {
            usage.processor = Some(state.processor);
            usage.peak = peak(child.id()).or(usage.peak);
            if state.ended {
                break;
            }
            std::thread::sleep(LOOK);
        }
        let code = child.wait()?.code();
        usage.seconds = started.elapsed().as_secs_f64();
        let text = |reader: std::thread::JoinHandle<String>| reader.join().unwrap_or_default();
        let (stdout, stderr) = (text(out), text(error));
        Ok(Self { usage, stdout, stderr, code, command: format!("{command:?}") })
    }

    pub fn well(self) -> Outcome<Self> {
        match self.code {
            Some(0) => Ok(self),
            code => Err(format!("{} ended with {code:?}: {}", self.command, self.stderr).into()),
        }
    }

    pub fn json(&self) -> Outcome<Value> {
        Ok(serde_json::from_str(&self.stdout)?)
    }
}

fn reading(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut text = String::new();
        // What cannot be read is missing from an error message, no more.
        let _ = pipe.map(|mut pipe| pipe.read_to_string(&mut text));
        text
    })
}

/// A process that works when it is asked to: one line of words in, one line of JSON out.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Worker {
    pub fn start(command: &mut Command) -> Outcome<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("no pipe")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        Ok(Self { child, input, output })
    }

    /// What it answers, and what that took; its own word counts for the seconds.
    pub fn ask(&mut self, words: &str) -> Outcome<(Usage, Value)> {
        let before = Stat::of(self.child.id());
        writeln!(self.input, "{words}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let after = Stat::of(self.child.id());
        let answer: Value = serde_json::from_str(&line)
            .map_err(|_| format!("the worker answered `{}` to `{words}`", line.trim_end()))?;
        if let Some(error) = answer["error"].as_str() {
            return Err(format!("`{words}`: {error}").into());
        }
        let processor = after.zip(before).map(|(after, before)| after.processor - before.processor);
        let seconds = answer["seconds"].as_f64().unwrap_or_default();
        Ok((Usage { seconds, processor, peak: peak(self.child.id()) }, answer))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `/proc/<pid>/stat` says.
struct Stat {
    ended: bool,
    processor: f64,
}

impl Stat {
    fn of(process: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
        Some(Self {
            ended: fields.first() == Some(&"Z"),
            processor: (ticks(11)? + ticks(12)?) / TICKS,
        })
    }
}

/// Most bytes a process ever had resident.
fn peak(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}
