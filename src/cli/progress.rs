//! How long work shows: bars on a terminal, plain lines every few seconds elsewhere. All on stderr.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::printer::{Printer, bars};
use super::wording::number;
use crate::run::Progress;

/// Between two plain lines about the same destination.
const PAUSE: Duration = Duration::from_secs(5);

/// Listens to a run.
pub fn listener(printer: Printer) -> Arc<dyn Fn(Progress) + Send + Sync> {
    if printer.stderr.is_terminal {
        let shown = Mutex::new(Bars::default());
        return Arc::new(move |told| {
            shown.lock().unwrap_or_else(PoisonError::into_inner).show(told);
        });
    }
    let said: Mutex<BTreeMap<String, Instant>> = Mutex::default();
    Arc::new(move |told| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = line(&told, &mut said) {
            printer.say(&line);
        }
    })
}

fn line(told: &Progress, said: &mut BTreeMap<String, Instant>) -> Option<String> {
    match told {
        Progress::Delivering { destination, total } => {
            said.insert(destination.clone(), Instant::now());
            Some(format!("delivering {} records to {destination}", number(*total)))
        }
        Progress::Delivered { destination, settled, total, requests } => {
            let now = Instant::now();
            let last = said.get(destination)?;
            if now.duration_since(*last) < PAUSE {
                return None;
            }
            said.insert(destination.clone(), now);
            let (settled, total) = (number(*settled), number(*total));
            Some(format!(
                "{destination}: {settled} of {total} records, {} requests",
                number(*requests)
            ))
        }
        Progress::Computing { .. } | Progress::Comparing { .. } | Progress::Finished { .. } => None,
    }
}

/// One spinner while computing, one bar per destination.
#[derive(Default)]
struct Bars {
    spinner: Option<ProgressBar>,
    destinations: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn show(&mut self, told: Progress) {
        match told {
            Progress::Computing { model } => self.spin(format!("computing {model}")),
            Progress::Comparing { sync } => self.spin(format!("comparing {sync}")),
            Progress::Delivering { destination, total } => {
                if let Some(spinner) = self.spinner.take() {
                    spinner.finish_and_clear();
                }
                let bar = bars().add(ProgressBar::new(total).with_style(style()));
                bar.set_prefix(destination.clone());
                self.destinations.insert(destination, bar);
            }
            Progress::Delivered { destination, settled, requests, .. } => {
                if let Some(bar) = self.destinations.get(&destination) {
                    bar.set_position(settled);
                    bar.set_message(format!("{} requests", number(requests)));
                }
            }
            Progress::Finished { destination } => {
                if let Some(bar) = self.destinations.remove(&destination) {
                    bar.finish_and_clear();
                }
            }
        }
    }

    fn spin(&mut self, text: String) {
        let spinner = self.spinner.get_or_insert_with(|| bars().add(ProgressBar::new_spinner()));
        spinner.set_message(text);
        spinner.tick();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix:>16} {wide_bar} {human_pos}/{human_len} {per_sec}, {msg}, {eta} left";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
