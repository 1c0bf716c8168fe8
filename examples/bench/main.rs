//! Speed and scale, measured side by side: `cargo run --release --example bench -- --help`.
//!
//! Every row is Muster's work beside the same work done by what a user would pick instead, or beside
//! what the machine can do at all, in turns and in one run: times depend on the machine, ratios hardly.
//! What is done is checked; how long it takes is only told. How to read the table and what each row
//! means is in `benches/README.md`.
//!
//! Whatever is measured runs in a process of its own, so that memory and processor time are its own.
//! This program is all of them: called by the name `muster` it is the command line, called with
//! `worker` it does one kind of inner work on demand, and else it is the one that asks.

#![allow(
    clippy::disallowed_methods,
    reason = "a measuring program reads clocks, waits and writes files"
)]

mod changes;
mod coalescing;
mod compute;
mod data;
mod difference;
mod dispatch;
mod encode;
mod options;
mod plain;
mod process;
mod project;
mod python;
mod rate;
mod sink;
mod start;
mod table;
mod whole;
mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use self::options::{Options, Stage};
use self::table::Table;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;
type Measure = fn(&Stage, &mut Table) -> Outcome;

fn main() -> ExitCode {
    let mut words = std::env::args();
    let name = words.next().unwrap_or_default();
    if name.rsplit('/').next() == Some("muster") {
        return musterroll::cli::main();
    }
    let outcome = match words.next().as_deref() {
        Some("worker") => worker::serve(&words.collect::<Vec<_>>()),
        _ => Stage::new(Options::parse()).and_then(|stage| bench(&stage)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Every row that is asked for, cheap ones first.
fn bench(stage: &Stage) -> Outcome {
    let mut table = Table::default();
    let rows: [(&str, Measure); 8] = [
        ("start", start::measure),
        ("coalescing", coalescing::measure),
        ("rate", rate::measure),
        ("compute", compute::measure),
        ("difference", difference::measure),
        ("encode", encode::measure),
        ("dispatch", dispatch::measure),
        ("whole", whole::measure),
    ];
    if let Some(unknown) = stage.options.unknown(&rows.map(|(name, _)| name)) {
        return Err(format!("there are no rows `{unknown}`").into());
    }
    for (name, measure) in rows.into_iter().filter(|(name, _)| stage.options.wants(name)) {
        say(&format!("{name} …"));
        measure(stage, &mut table)?;
    }
    let text = if stage.options.json { table.json(stage)? } else { table.to_string() };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// Tells whoever waits what is going on.
fn say(text: &str) {
    // Nobody may be reading any more.
    let _ = writeln!(std::io::stderr(), "{text}");
}
