//! What was asked for, and where the work is done.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Ended, Worker};
use crate::{Outcome, python, say};

/// Measures Muster beside what one would pick instead
#[derive(Debug, clap::Parser)]
pub struct Options {
    /// Users; `k` and `M` are understood
    #[arg(long, default_value = "1M", value_parser = number)]
    pub users: u64,
    /// Orders in the lake
    #[arg(long, default_value = "20M", value_parser = number)]
    pub orders: u64,
    /// Times that what is short is measured
    #[arg(long, default_value_t = 5)]
    pub repeat: usize,
    /// Smallest size of everything, once: shows that it works
    #[arg(long)]
    pub smoke: bool,
    /// `memory_limit` of the projects, such as 512MB; default: half of the machine's memory
    #[arg(long)]
    pub memory_limit: Option<String>,
    /// Only these rows, such as `encode,dispatch`
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// One JSON document instead of a table
    #[arg(long)]
    pub json: bool,
    /// Where data and projects are kept
    #[arg(long, default_value = "target/bench")]
    pub folder: PathBuf,
    /// Python with duckdb, pyarrow and aiohttp; default: the virtual environment `venv` in the folder
    #[arg(long)]
    pub python: Option<PathBuf>,
}

/// The options, and what they come to on this machine.
#[derive(Debug)]
pub struct Stage {
    pub options: Options,
    /// Absolute.
    pub folder: PathBuf,
    /// A Python that has what the other columns need.
    pub python: Option<PathBuf>,
    /// This program.
    pub program: PathBuf,
    muster: PathBuf,
}

fn number(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1000),
        None => match text.strip_suffix(['m', 'M']) {
            Some(digits) => (digits, 1_000_000),
            None => (text, 1),
        },
    };
    let number = digits.parse::<u64>().map_err(|_| "expected a number such as 500k or 10M")?;
    number.checked_mul(factor).filter(|number| *number > 0).ok_or_else(|| "out of range".into())
}

impl Options {
    pub fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == row)
    }

    pub fn unknown(&self, rows: &[&str]) -> Option<&str> {
        self.only.iter().map(String::as_str).find(|only| !rows.contains(only))
    }
}

impl Stage {
    pub fn new(mut options: Options) -> Outcome<Self> {
        if options.smoke {
            (options.users, options.orders, options.repeat) = (2000, 20_000, 1);
        }
        std::fs::create_dir_all(&options.folder)?;
        let folder = options.folder.canonicalize()?;
        let muster = folder.join("muster");
        drop(std::fs::remove_file(&muster));
        let program = std::env::current_exe()?;
        std::os::unix::fs::symlink(&program, &muster)?;
        let python = options.python.clone().unwrap_or_else(|| folder.join("venv/bin/python"));
        let python = python::usable(&python).then_some(python);
        if python.is_none() {
            say(
                "no Python with duckdb, pyarrow and aiohttp: see benches/README.md; those columns are left out",
            );
        }
        if cfg!(debug_assertions) && !options.smoke {
            say("this is a debug build: the numbers mean nothing");
        }
        Ok(Self { options, folder, python, program, muster })
    }

    /// Something short, as often as is asked for; something long, less often.
    pub fn repeats(&self, long: bool) -> usize {
        if long { self.options.repeat.div_ceil(3) } else { self.options.repeat.max(1) }
    }

    /// One of two sizes: that of the proof that it works, or the real one.
    pub fn size(&self, smoke: u64, real: u64) -> u64 {
        if self.options.smoke { smoke } else { real }
    }

    pub fn muster(&self, words: &[&str], project: Option<&Path>) -> Command {
        let mut command = Command::new(&self.muster);
        command.args(words);
        if let Some(project) = project {
            command.arg("--project").arg(project);
        }
        command
    }

    /// Runs a command of Muster that must end well.
    pub fn muster_ends(&self, words: &[&str], project: Option<&Path>) -> Outcome<Ended> {
        Ended::of(&mut self.muster(words, project))?.well()
    }

    pub fn worker(&self, words: &[&str]) -> Outcome<Worker> {
        let mut command = Command::new(&self.program);
        command.arg("worker").args(words);
        Worker::start(&mut command)
    }
}
