//! The command line: what was typed, turned into calls of [`crate::run`] and their results into text.
//!
//! Reads the environment and the clock, once each, and hands both down. Prints only through
//! `printer`.

mod answer;
mod args;
mod catalogue;
mod errors;
mod init;
mod interrupt;
mod look;
mod pages;
mod printer;
mod progress;
mod send;
mod table;
mod wording;

use std::path::Path;
use std::process::ExitCode;

use chrono::{DateTime, Utc};
use clap::{CommandFactory, Parser};

use self::args::{Arguments, Command, Format, Time};
use self::errors::Failure;
use self::printer::{Paint, Printer, Stderr};
use crate::finding::Finding;
use crate::project::{self, Project};

/// What every command has at hand.
struct Context {
    printer: Printer,
    project: std::path::PathBuf,
    now: DateTime<Utc>,
    /// Whether more is told than what is needed.
    verbose: bool,
    /// As it was typed; the lock and the records show it.
    command: String,
}

/// Usage, project, SQL or credentials.
const EXIT_REFUSED: u8 = 2;

/// Runs what the command line says.
pub fn main() -> ExitCode {
    // Without this every bug would look like the user's.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|at| format!(" at {}:{}", at.file(), at.line()));
        let text = "error: this is a bug in muster; please report it".to_owned();
        Printer::new(Format::Human).say(&(text + &place.unwrap_or_default()));
    }));
    let arguments = Arguments::parse();
    let printer = Printer::new(arguments.global.format);
    trace(arguments.global.verbose, printer.stderr.paint);
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(dispatch(printer, arguments)),
        Err(error) => Err(Failure::Output(error)),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            printer.say(&failure.render(printer.stderr.paint));
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// Only Muster's own words: what HTTP libraries log of a request may hold its secrets.
fn trace(verbose: u8, paint: Paint) {
    let level = match verbose {
        0 => "musterroll=warn",
        1 => "musterroll=info",
        2 => "musterroll=debug",
        _ => "musterroll=trace",
    };
    // A second subscriber can only be there in tests.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::new(level))
        .with_writer(|| Stderr)
        .with_ansi(paint == Paint::Colour)
        .with_target(false)
        .try_init();
}

async fn dispatch(printer: Printer, arguments: Arguments) -> Result<u8, Failure> {
    let context = Context {
        printer,
        project: arguments.global.project,
        now: now(),
        verbose: arguments.global.verbose > 0,
        command: typed(),
    };
    match arguments.command {
        Command::Init(init) => init::init(&context, &init.dir),
        Command::Check => look::check(&context).await,
        Command::Preview(preview) => look::preview(&context, &preview).await,
        Command::Plan(plan) => send::plan(&context, plan).await,
        Command::Run(run) => send::run(&context, run).await,
        Command::Status => look::status(&context).await,
        Command::History(history) => look::history(&context, &history),
        Command::Rejected(rejected) => look::rejected(&context, &rejected).await,
        Command::Retry(retry) => send::retry(&context, retry).await,
        Command::Reset(reset) => send::reset(&context, reset).await,
        Command::Destinations(destinations) => {
            catalogue::destinations(&context, &destinations).await
        }
        Command::Query(query) => look::query(&context, &query).await,
        Command::Completions(completions) => {
            let mut text = Vec::new();
            let mut command = Arguments::command();
            clap_complete::generate(completions.shell, &mut command, "muster", &mut text);
            context.printer.print(&String::from_utf8_lossy(&text))?;
            Ok(0)
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

/// The command line as it was typed.
fn typed() -> String {
    let words = std::env::args().skip(1).map(|word| match word.contains(char::is_whitespace) {
        true => format!("'{word}'"),
        false => word,
    });
    std::iter::once("muster".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

impl Context {
    fn load(&self) -> Result<Project, Failure> {
        let root = self.project.canonicalize().map_err(|_| no_folder(&self.project))?;
        Ok(project::load(&root, &environment))
    }
}

#[expect(clippy::disallowed_methods, reason = "secrets come from the environment")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn no_folder(path: &Path) -> Finding {
    Finding::error("P01", format!("there is no folder `{}`", path.display()))
        .hint("run `muster init DIR`, or point at a project with `--project DIR`")
}

/// Findings as they are shown where there is no colour.
#[cfg(test)]
pub(crate) fn shown(findings: &[Finding]) -> String {
    errors::render(findings, Paint::Plain)
}

impl Time {
    fn of(&self, context: &Context) -> DateTime<Utc> {
        self.as_of.unwrap_or(context.now)
    }
}
