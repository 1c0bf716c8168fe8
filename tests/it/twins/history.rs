//! A random history of one vendor's customer: the world changes, runs meet faults and are killed, and
//! one quiet run must make it good.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::fate::Faults;
use super::people::{People, identities};
use super::stage::{Twin, Vendor};
use crate::convergence::{Seed, fresh_seed, number};
use crate::process::Ran;
use crate::project::TempProject;
use crate::report::Report;
use crate::sink::Moment;

/// For how many seconds histories of one shape are started, where nobody says so.
const BUDGET: u64 = 3;

const RUN: [&str; 4] = ["run", "--allow-large-change", "--format", "json"];
/// The same, but what was refused goes again.
const RETRY: [&str; 4] = ["retry", "--allow-large-change", "--format", "json"];

/// For how long a request is tried under faults.
const FAULTY: [&str; 3] = ["2s", "2s", "4s"];

/// Plays histories of one vendor.
pub fn converges<V: Vendor>() {
    if let Some(seed) = number("MUSTER_SEED") {
        return History::<V>::new(seed).play();
    }
    let budget = number("MUSTER_CONVERGENCE_SECONDS").unwrap_or(BUDGET);
    let started = Instant::now();
    let mut played = 0;
    while started.elapsed() < Duration::from_secs(budget) {
        History::<V>::new(fresh_seed()).play();
        played += 1;
    }
    eprintln!("{played} histories of {}", std::any::type_name::<V>());
}

pub struct History<V: Vendor> {
    seed: Seed,
    pub random: StdRng,
    pub project: TempProject,
    pub people: People,
    pub twin: Twin<V>,
    pub batch_size: u32,
}

/// Tells the whole story when the test fails.
impl<V: Vendor> Drop for History<V> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.twin.stage().transcript.join("\n"));
        }
    }
}

impl<V: Vendor> History<V> {
    pub fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let project = TempProject::new();
        identities(&project);
        V::models(&project);
        let people = People::new(&mut random);
        let twin = Twin::start(&mut random);
        let batch_size = *V::BATCHES.choose(&mut random).unwrap();
        Self { seed: Seed(seed), random, project, people, twin, batch_size }
    }

    fn play(mut self) {
        for _ in 0..self.random.random_range(2..6) {
            let faults = Faults::some(&mut self.random);
            self.twin.stage().faults = faults;
            let patience = FAULTY.choose(&mut self.random).unwrap();
            self.configure(patience);
            self.write();
            if self.random.random_bool(0.5) {
                self.killed_run()
            } else {
                self.faulty_run()
            }
            self.people.change(&mut self.random);
        }
        self.settle();
        self.converged();
    }

    pub fn write(&self) {
        self.people.write(&self.project);
        let people = self.people.0.iter().map(|(id, person)| format!("  {id} {person:?}"));
        let mut stage = self.twin.stage();
        stage.transcript.extend(people);
        stage.vendor.later();
    }

    fn told(&self, ran: &Ran) {
        self.twin.stage().transcript.push(ran.to_string());
    }

    pub fn configure(&self, patience: &str) {
        let section = V::section(&self.twin.sink.base_url());
        let common = format!(
            "rate_limit = 2000\nevery = \"1ms\"\nbatch_size = {}\ntimeout = \"60s\"\n\
             retry = {{ attempts = 3, for = \"{patience}\" }}\n",
            self.batch_size
        );
        self.project.destination("vendor", &format!("{section}{common}"));
    }

    fn faulty_run(&self) {
        let ran = self.project.muster(&RUN);
        self.told(&ran);
        assert!(matches!(ran.code, Some(0 | 1)), "a run under faults\n{ran}");
        Report(ran.json()).adds_up();
        self.twin.sink.wait_until_idle();
    }

    /// A run that dies with a random request, if it sends that many.
    fn killed_run(&mut self) {
        let moments = [Moment::Arrived, Moment::Applied, Moment::Replied];
        let moment = *moments.choose(&mut self.random).unwrap();
        let request = self.random.random_range(1..14);
        let (waiting, killer) = std::sync::mpsc::channel();
        self.twin.sink.on_request(request, moment, move || {
            let killer: crate::process::Killer = killer.recv().unwrap();
            killer.kill();
        });
        let running = self.project.start(&RUN);
        waiting.send(running.killer()).unwrap();
        let ran = running.finish();
        self.told(&ran);
        assert!(matches!(ran.code, None | Some(0 | 1)), "a run to be killed\n{ran}");
        self.twin.sink.wait_until_idle();
        self.twin.sink.unhook();
    }

    /// The one quiet run, and those before it that a vendor of slow jobs needs.
    pub fn settle(&mut self) {
        let refused = {
            let mut stage = self.twin.stage();
            stage.faults = Faults::default();
            stage.refused
        };
        self.configure(V::PATIENCE);
        if self.random.random() {
            self.people.change(&mut self.random);
        }
        self.write();
        let command = if refused { RETRY } else { RUN };
        for _ in 0..V::EARLIER {
            let ran = self.project.muster(&command);
            self.told(&ran);
            assert!(matches!(ran.code, Some(0 | 1)), "a run that leaves jobs\n{ran}");
            self.twin.stage().vendor.later();
        }
        let ran = self.project.muster(&command);
        self.told(&ran);
        let ran = ran.exits(0);
        let report = Report(ran.json());
        report.adds_up();
        assert_eq!((report.total("rejected"), report.total("pending")), (0, 0), "{ran}");
    }

    pub fn converged(&self) {
        let held = |when: &str| {
            let (differences, violations) = {
                let vendor = &self.twin.stage().vendor;
                (vendor.differences(&self.people), vendor.violations().clone())
            };
            assert!(differences.is_empty(), "{when}, seed {}:\n{differences:#?}", self.seed.0);
            assert!(violations.is_empty(), "{when}, seed {}:\n{violations:#?}", self.seed.0);
        };
        held("after the quiet run");
        let before = self.twin.sink.arrived();
        self.project.muster(&RUN).exits(0);
        let sent = self.twin.sink.arrived() - before;
        assert_eq!(sent, 0, "a run without changes sent requests, seed {}", self.seed.0);
    }
}
