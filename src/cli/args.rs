//! What can be typed: every command, its options and the help that teaches them.
//!
//! Only shapes and words; nothing here does anything. Usage errors end with exit code 2, which is
//! clap's own.

use std::path::PathBuf;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

const ABOUT: &str = "Keeps destinations equal to what SQL says about your users and accounts";

const LONG_ABOUT: &str = "\
Keeps destinations equal to what SQL says about your users and accounts.

A model is one SQL file: an audience or a trait. Each run computes the models, finds what changed \
since a destination last acknowledged it, and sends just that, never faster than the destination \
allows.

Start with `muster init shop`, then `muster run --project shop`.";

const EXIT_CODES: &str = "\
Exit codes:
  0    all delivered, or nothing to do
  1    ran, but rows were rejected or left pending
  2    could not start: usage, project, SQL or credentials
  3    a guard stopped a sync; nothing of that sync was sent
  130  interrupted, cleanly recorded";

const SELECTING: &str = "\
SELECT names models, destinations or `model.destination`, or globs of these; without it, all syncs \
are meant.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "muster", version, about = ABOUT, long_about = LONG_ABOUT, after_help = EXIT_CODES)]
#[command(disable_help_subcommand = true)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Folder of `muster.toml`
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    pub project: PathBuf,
    /// How to print results: tables, or one JSON document on stdout
    #[arg(long, value_enum, default_value_t = Format::Human, global = true)]
    pub format: Format,
    /// Say on stderr what is being done; repeat for more
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a small working project with sample data
    #[command(after_long_help = "\
Example:
  muster init shop
  muster run --project shop")]
    Init(Init),
    /// Find everything that is wrong with the project, without sending anything
    #[command(after_long_help = "\
Looks at muster.toml, the SQL of every model, columns and types against the tables, keys, circles, \
destinations and secrets. All findings are shown at once, with file, line and a hint.

Examples:
  muster check
  muster check --format json | jq '.findings[].message'")]
    Check,
    /// Show a model's first rows and how many there are
    #[command(after_long_help = "\
Examples:
  muster preview first_time_shopper
  muster preview total_revenue_180_days --limit 50 --as-of 1998-05-31")]
    Preview(Preview),
    /// Say what a run would do, without sending or storing anything
    #[command(long_about = format!("\
Say what a run would do, without sending or storing anything.

{SELECTING}"), after_long_help = "\
Examples:
  muster plan
  muster plan crm --payloads 3          three requests per sync, as they would go over the wire
  muster plan first_time_shopper --sql  the SQL of the records and of the difference")]
    Plan(Plan),
    /// Compute, compare, deliver and record
    #[command(long_about = format!("\
Compute the models, compare with what each destination has, deliver what differs, and record what \
was acknowledged. Running again sends only what is still different; Ctrl-C stops cleanly.

{SELECTING}"), after_long_help = "\
Examples:
  muster run
  muster run first_time_shopper.crm
  muster run 'vip_*' --as-of 1998-05-31

Exit codes: 0 all delivered, 1 rejected or pending rows, 2 could not start, 3 a guard stopped a \
sync, 130 interrupted.")]
    Run(Run),
    /// Show where every sync stands
    #[command(after_long_help = "\
Example:
  muster status --format json | jq '.[] | select(.rejected > 0)'")]
    Status,
    /// Show past runs, latest first
    #[command(after_long_help = "\
Examples:
  muster history
  muster history first_time_shopper.crm --limit 5")]
    History(History),
    /// Show the rows that destinations refused, why, and since when
    #[command(after_long_help = "\
A refused row is sent again when it changes, with growing pauses on later runs, or by `muster retry`.

Examples:
  muster rejected
  muster rejected first_time_shopper.crm --format json")]
    Rejected(Rejected),
    /// Send refused rows again at once, with whatever else differs
    #[command(long_about = format!("\
Run, and send the rows that were refused again although their pause has not passed. Also sends \
whatever else differs.

{SELECTING}"), after_long_help = "\
Examples:
  muster retry
  muster retry first_time_shopper.crm")]
    Retry(Retry),
    /// Forget what was delivered, or record the present as delivered
    #[command(
        long_about = "\
Forget what was delivered to one sync, so that the next run sends everything again. With \
`--baseline`, record what the SQL says now as delivered and send nothing.",
        after_long_help = "\
Examples:
  muster reset first_time_shopper.crm
  muster reset first_time_shopper.crm --baseline"
    )]
    Reset(Reset),
    /// Show the destinations there are, or all about one type
    #[command(after_long_help = "\
Examples:
  muster destinations
  muster destinations webhook      options, limits and an example to copy
  muster destinations --test crm   prove the credentials of [destinations.crm]; sends nothing")]
    Destinations(Destinations),
    /// Run any SQL over tables, models and Muster's own records
    #[command(after_long_help = "\
Sees every table by its name, models as `traits.KEY` and `audiences.KEY`, and `muster.runs`, \
`muster.changes`, `muster.deliveries`, `muster.rejected`.

Examples:
  muster query 'SELECT count(*) FROM audiences.first_time_shopper'
  muster query 'SELECT sync, sum(delivered) FROM muster.runs GROUP BY sync' --format json")]
    Query(Query),
    /// Print a shell's completions
    #[command(after_long_help = "\
Example:
  muster completions bash > ~/.local/share/bash-completion/completions/muster")]
    Completions(Completions),
}

#[derive(Debug, Args)]
pub struct Init {
    /// Folder to write into; made if it is not there
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct Preview {
    /// Key of a model
    pub model: String,
    /// Rows to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub limit: usize,
    #[command(flatten)]
    pub time: Time,
}

#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub time: Time,
    /// Show up to N requests per sync as they would go over the wire, secrets redacted
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub payloads: usize,
    /// Show the SQL of the records and of the difference
    #[arg(long)]
    pub sql: bool,
    #[command(flatten)]
    pub leave: Leave,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub selection: Selection,
    /// Replace the whole list of SYNC: send all members, then take off whoever is not one
    ///
    /// `model.destination`, or a glob of these; may be given several times. Only for destinations that
    /// can replace lists (`muster destinations TYPE` says so). Without SELECT only these syncs run.
    #[arg(long, value_name = "SYNC")]
    pub replace: Vec<String>,
    #[command(flatten)]
    pub time: Time,
    #[command(flatten)]
    pub leave: Leave,
}

#[derive(Debug, Args)]
pub struct Retry {
    #[command(flatten)]
    pub selection: Selection,
    #[command(flatten)]
    pub time: Time,
    /// Let guards pass this once
    #[arg(long)]
    pub allow_large_change: bool,
}

#[derive(Debug, Args)]
pub struct History {
    /// Only runs of this sync, `model.destination`; globs allowed
    pub sync: Option<String>,
    /// Runs to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct Rejected {
    /// Only rows of this sync, `model.destination`; globs allowed
    pub sync: Option<String>,
}

#[derive(Debug, Args)]
pub struct Reset {
    /// The sync, `model.destination`
    pub sync: String,
    /// Record what the SQL says now as delivered; sends nothing
    #[arg(long)]
    pub baseline: bool,
    /// Forget which remote list it is as well
    ///
    /// The next run finds it by the sync's `list` or the model's name, or makes it, as the first run
    /// did. For lists that are gone there, and for a `list` that is another one now.
    #[arg(long)]
    pub forget_list: bool,
    #[command(flatten)]
    pub time: Time,
}

#[derive(Debug, Args)]
pub struct Destinations {
    /// The word after `type =` in muster.toml
    #[arg(value_name = "TYPE")]
    pub kind: Option<String>,
    /// Prove the credentials of the configured destination NAME; changes nothing there
    #[arg(long, value_name = "NAME", conflicts_with = "kind")]
    pub test: Option<String>,
    /// Write the catalogue's pages into the folder DIR, as Markdown
    #[arg(long, value_name = "DIR", hide = true)]
    pub docs: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Query {
    /// One query
    pub sql: String,
    #[command(flatten)]
    pub time: Time,
}

#[derive(Debug, Args)]
pub struct Completions {
    pub shell: Shell,
}

#[derive(Debug, Args)]
pub struct Selection {
    /// Models, destinations or `model.destination`, or globs of these
    #[arg(value_name = "SELECT")]
    pub select: Vec<String>,
}

/// What `now()` is.
#[derive(Debug, Args)]
pub struct Time {
    /// What `now()` says in models: a date, a time in UTC, or RFC 3339
    ///
    /// `1998-05-31` is the start of that day, 00:00:00 UTC; what happens on that day itself is later.
    /// Also `'1998-05-31 12:30:00'` in UTC, and `1998-05-31T12:30:00+02:00`. Default: the present.
    #[arg(long, value_name = "TIME", value_parser = as_of)]
    pub as_of: Option<DateTime<Utc>>,
}

/// What a run is given leave to do.
#[derive(Debug, Args)]
pub struct Leave {
    /// Sync although the sync's `every` has not passed yet
    #[arg(long)]
    pub force: bool,
    /// Let guards pass this once
    #[arg(long)]
    pub allow_large_change: bool,
}

fn as_of(text: &str) -> Result<DateTime<Utc>, String> {
    let time = |format: &str| NaiveDateTime::parse_from_str(text, format);
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(day.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    if let Ok(time) = time("%Y-%m-%d %H:%M:%S").or_else(|_| time("%Y-%m-%dT%H:%M:%S")) {
        return Ok(time.and_utc());
    }
    DateTime::parse_from_rfc3339(text).map(|time| time.to_utc()).map_err(|_| {
        "expected `1998-05-31`, `1998-05-31 12:30:00` (UTC) or `1998-05-31T12:30:00+02:00`".into()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_teaches_by_an_example() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "{}", command.get_name());
        }
    }

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        let cases = [
            ("1998-05-31", "1998-05-31T00:00:00Z"),
            ("1998-05-31 12:30:00", "1998-05-31T12:30:00Z"),
            ("1998-05-31T12:30:00", "1998-05-31T12:30:00Z"),
            ("1998-05-31T12:30:00+02:00", "1998-05-31T10:30:00Z"),
        ];
        for (text, time) in cases {
            let parsed = as_of(text).unwrap();
            assert_eq!(parsed.to_rfc3339_opts(chrono::SecondsFormat::Secs, true), time);
        }
        for text in ["", "yesterday", "1998-02-30", "31.05.1998"] {
            assert!(as_of(text).is_err(), "{text}");
        }
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in ["muster --format json run -v a b", "muster run a b -v --format json"] {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(arguments.global.format, Format::Json);
            assert_eq!(arguments.global.verbose, 1);
            let Command::Run(run) = arguments.command else { panic!("not a run") };
            assert_eq!(run.selection.select, ["a", "b"]);
        }
    }
}
