//! What is going on, while it is: bars on a terminal, a plain line every few seconds elsewhere.
//!
//! Never says what came of it (that is the command's result) and needs no timer: the run tells, a
//! monotonic clock says how long it has been.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::printer::{self, Printer};
use super::wording;
use crate::run::Progress;

/// Least time between two plain lines.
const PAUSE: Duration = Duration::from_secs(5);
const TICK: Duration = Duration::from_millis(120);

/// Shows progress on stderr until it is dropped.
#[derive(Debug, Clone)]
pub struct Display {
    shown: Arc<Mutex<Shown>>,
    since: Instant,
    printer: Printer,
}

#[derive(Debug)]
enum Shown {
    Bars(Bars),
    Lines(Lines),
}

impl Display {
    pub fn new(printer: Printer) -> Self {
        let shown = match printer.stderr.is_terminal {
            true => Shown::Bars(Bars::on(printer::bars())),
            false => Shown::Lines(Lines::default()),
        };
        Self { shown: Arc::new(Mutex::new(shown)), since: Instant::now(), printer }
    }

    /// What a run is to tell its progress to.
    pub fn listener(&self) -> Arc<dyn Fn(Progress) + Send + Sync> {
        let display = self.clone();
        Arc::new(move |progress| display.told(&progress))
    }

    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Takes everything off the screen, so that results can follow.
    pub fn end(&self) {
        if let Shown::Bars(bars) = &*self.lock() {
            bars.clear();
        }
    }

    fn told(&self, progress: &Progress) {
        let line = match &mut *self.lock() {
            Shown::Bars(bars) => {
                bars.told(progress);
                None
            }
            Shown::Lines(lines) => lines.told(progress, self.since.elapsed()),
        };
        if let Some(line) = line {
            self.printer.say(&line);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One bar per destination, and a spinner while there is none.
#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    spinner: ProgressBar,
    destinations: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn on(all: &MultiProgress) -> Self {
        let spinner = all.add(ProgressBar::new_spinner().with_style(style("{spinner} {msg}")));
        spinner.enable_steady_tick(TICK);
        Self { all: all.clone(), spinner, destinations: BTreeMap::new() }
    }

    fn told(&mut self, progress: &Progress) {
        match progress {
            Progress::Computing { model } => self.spinner.set_message(format!("computing {model}")),
            Progress::Comparing { sync } => self.spinner.set_message(format!("comparing {sync}")),
            Progress::Delivering { destination, total } => self.start(destination, *total),
            Progress::Delivered { destination, settled, total, requests } => {
                if let Some(bar) = self.destinations.get(destination) {
                    bar.set_length(*total);
                    bar.set_position(*settled);
                    bar.set_message(wording::count(*requests, "request"));
                }
            }
            Progress::Finished { destination } => {
                if let Some(bar) = self.destinations.get(destination) {
                    bar.finish();
                }
            }
        }
    }

    fn start(&mut self, destination: &str, total: u64) {
        self.spinner.finish_and_clear();
        let bar = self.all.add(ProgressBar::new(total).with_style(style(BAR)));
        bar.set_prefix(destination.to_owned());
        self.destinations.insert(destination.to_owned(), bar);
    }

    fn clear(&self) {
        self.spinner.finish_and_clear();
        for bar in self.destinations.values() {
            bar.finish_and_clear();
        }
    }
}

const BAR: &str = "{prefix:>16} {wide_bar} {human_pos}/{human_len}  {pace}  {msg}  {eta} left";

/// A template that cannot be read gives a plain bar; a test reads them all.
fn style(template: &str) -> ProgressStyle {
    let pace = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
        let _ = write!(text, "{:.0} records/s", state.per_sec());
    };
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("pace", pace)
}

/// One line as a destination begins, then at most one every [`PAUSE`], whatever happens.
#[derive(Debug, Default)]
struct Lines {
    last: Duration,
    started: BTreeMap<String, Duration>,
}

impl Lines {
    /// The line to print, if it is time for one. `at`: since the command began.
    fn told(&mut self, progress: &Progress, at: Duration) -> Option<String> {
        if let Progress::Delivering { destination, total } = progress {
            self.started.insert(destination.clone(), at);
            self.last = at;
            return Some(format!("{destination}: {} to deliver", wording::count(*total, "record")));
        }
        if at.saturating_sub(self.last) < PAUSE {
            return None;
        }
        let line = match progress {
            Progress::Computing { model } => format!("computing {model}"),
            Progress::Comparing { sync } => format!("comparing {sync}"),
            Progress::Delivered { destination, settled, total, requests } => {
                let since = self.started.get(destination).copied().unwrap_or_default();
                let pace = pace(*settled, *total, at.saturating_sub(since));
                format!(
                    "{destination}: {} of {}, {}{pace}",
                    wording::number(*settled),
                    wording::count(*total, "record"),
                    wording::count(*requests, "request"),
                )
            }
            Progress::Delivering { .. } | Progress::Finished { .. } => return None,
        };
        self.last = at;
        Some(line)
    }
}

/// `, 95 records/s, 1 min 32 s left`; nothing before there is something to go by.
fn pace(settled: u64, total: u64, took: Duration) -> String {
    let Some(millis) = u64::try_from(took.as_millis()).ok().filter(|millis| *millis > 0) else {
        return String::new();
    };
    let rate = settled.saturating_mul(1000) / millis;
    if settled == 0 {
        return String::new();
    }
    let scaled =
        u128::from(total.saturating_sub(settled)) * u128::from(millis) / u128::from(settled);
    let left = Duration::from_millis(u64::try_from(scaled).unwrap_or(u64::MAX));
    format!(", {} records/s, {} left", wording::number(rate), wording::duration(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(settled: u64) -> Progress {
        Progress::Delivered { destination: "crm".into(), settled, total: 10_000, requests: 12 }
    }

    #[test]
    fn lines_come_at_most_every_few_seconds() {
        let mut lines = Lines::default();
        let at = Duration::from_secs;
        let begin = Progress::Delivering { destination: "crm".into(), total: 10_000 };
        assert_eq!(lines.told(&Progress::Computing { model: "a".into() }, at(1)), None);
        assert_eq!(lines.told(&begin, at(1)).as_deref(), Some("crm: 10,000 records to deliver"));
        assert_eq!(lines.told(&delivered(100), at(4)), None);
        assert_eq!(
            lines.told(&delivered(500), at(6)).as_deref(),
            Some("crm: 500 of 10,000 records, 12 requests, 100 records/s, 1 min 35 s left")
        );
        assert_eq!(lines.told(&delivered(900), at(10)), None);
        assert!(lines.told(&delivered(1000), at(11)).is_some());
        assert_eq!(lines.told(&Progress::Finished { destination: "crm".into() }, at(60)), None);
    }

    #[test]
    fn no_pace_is_made_up() {
        assert_eq!(pace(0, 10, Duration::from_secs(3)), "");
        assert_eq!(pace(5, 10, Duration::ZERO), "");
    }

    #[test]
    fn the_templates_can_be_read() {
        for template in [BAR, "{spinner} {msg}"] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn bars_follow_what_is_told() {
        let all = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden());
        let mut bars = Bars::on(&all);
        bars.told(&Progress::Computing { model: "a".into() });
        bars.told(&Progress::Delivering { destination: "crm".into(), total: 10_000 });
        bars.told(&delivered(500));
        assert_eq!(bars.destinations["crm"].position(), 500);
        bars.told(&Progress::Finished { destination: "crm".into() });
        assert!(bars.destinations["crm"].is_finished());
    }
}
