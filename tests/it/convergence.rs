//! DESIGN §4.6, end to end: after any faults and any kill -9, one quiet run makes the destination's
//! set equal the SQL result, and one more sends nothing.
//!
//! Each history is a random world that changes between runs, two misbehaving sinks, and processes
//! killed at the n-th request. `MUSTER_CONVERGENCE_SECONDS` (default 2) says how long histories are
//! started; `MUSTER_SEED` repeats the one that failed.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::faults::Faults;
use crate::project::TempProject;
use crate::report::Report;
use crate::sink::{Moment, Sink};
use crate::world::{Diet, Format, World, models};

const FAULTY: &str =
    "rate_limit = 2000\ntimeout = \"1s\"\nretry = { attempts = 3, for = \"2s\" }\n";
const QUIET: &str =
    "rate_limit = 2000\ntimeout = \"60s\"\nretry = { attempts = 3, for = \"60s\" }\n";

/// Emails come and go as well, so that guards see large changes.
const RUN: [&str; 4] = ["run", "--allow-large-change", "--format", "json"];

#[test]
fn destinations_converge_after_any_faults_and_kills() {
    if let Some(seed) = number("MUSTER_SEED") {
        return History::new(seed).play();
    }
    let budget = Duration::from_secs(number("MUSTER_CONVERGENCE_SECONDS").unwrap_or(2));
    let started = Instant::now();
    while started.elapsed() < budget {
        History::new(fresh_seed()).play();
    }
}

pub fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("`{variable}` is not a number: {text}")))
}

/// Everything random about one history follows from its seed, but for the scheduling of processes.
struct History {
    seed: Seed,
    random: StdRng,
    project: TempProject,
    world: World,
    format: Format,
    single: Sink,
    batched: Sink,
}

/// Says how to repeat the history when the test fails.
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this history can be repeated with MUSTER_SEED={}", self.0);
        }
    }
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let project = TempProject::new();
        models(&project);
        let world = World::new(&mut random);
        let format = *[Format::Csv, Format::Ndjson].choose(&mut random).unwrap();
        let [single, batched] = [random.random(), random.random()].map(Sink::seeded);
        if random.random() {
            single.deduplicate();
            batched.deduplicate();
        }
        Self { seed: Seed(seed), random, project, world, format, single, batched }
    }

    fn play(mut self) {
        for _ in 0..self.random.random_range(2..6) {
            self.faults();
            self.configure(FAULTY);
            self.world.write(&self.project, self.format);
            if self.random.random_bool(0.5) {
                self.killed_run()
            } else {
                self.faulty_run()
            }
            self.world.change(&mut self.random);
        }
        self.settle();
        self.converged();
    }

    fn configure(&self, options: &str) {
        self.project.webhook("single", &self.single.url(), &format!("{options}batch_size = 1"));
        self.project.webhook("batched", &self.batched.url(), &format!("{options}batch_size = 20"));
    }

    fn faults(&mut self) {
        for sink in [&self.single, &self.batched] {
            let mut often = |most: f64| match self.random.random_range(0..3) {
                0 => 0.0,
                _ => self.random.random_range(0.0..most),
            };
            sink.faults(Faults {
                refuse: often(0.2),
                lost_reply: often(0.3),
                hold: often(0.03),
                throttle: often(0.1),
                partial: often(0.2),
                garbage: often(0.1),
                cut: often(0.2),
                server_error: often(0.2),
            });
        }
    }

    fn faulty_run(&self) {
        let ran = self.project.muster(&RUN);
        assert!(matches!(ran.code, Some(0 | 1)), "a run under faults\n{ran}");
        Report(ran.json()).adds_up();
        self.wait_until_idle();
    }

    /// A run that dies with a random request, if it sends that many.
    fn killed_run(&mut self) {
        let sink = if self.random.random() { &self.single } else { &self.batched };
        let moments = [Moment::Arrived, Moment::Applied, Moment::Replied];
        let moment = *moments.choose(&mut self.random).unwrap();
        let request = self.random.random_range(1..12);
        let (waiting, killer) = std::sync::mpsc::channel();
        sink.on_request(request, moment, move || {
            let killer: crate::process::Killer = killer.recv().unwrap();
            killer.kill();
        });
        let running = self.project.start(&RUN);
        waiting.send(running.killer()).unwrap();
        let ran = running.finish();
        assert!(matches!(ran.code, None | Some(0 | 1)), "a run to be killed\n{ran}");
        self.wait_until_idle();
        sink.unhook();
    }

    /// Nothing of a process that is gone can reach the model any more.
    fn wait_until_idle(&self) {
        self.single.wait_until_idle();
        self.batched.wait_until_idle();
    }

    /// The one quiet run.
    fn settle(&mut self) {
        self.single.healthy();
        self.batched.healthy();
        self.configure(QUIET);
        if self.random.random() {
            self.world.change(&mut self.random);
        }
        self.world.write(&self.project, self.format);
        let report = Report(self.project.muster(&RUN).exits(0).json());
        report.adds_up();
        assert_eq!((report.total("rejected"), report.total("pending")), (0, 0), "{:#}", report.0);
    }

    fn converged(&self) {
        for (sink, diet) in [(&self.single, Diet::Single), (&self.batched, Diet::Batched)] {
            let differences = self.world.differences(diet, &sink.remote());
            assert!(differences.is_empty(), "{diet:?}, seed {}:\n{differences:#?}", self.seed.0);
            let violations = sink.remote().violations().clone();
            assert!(violations.is_empty(), "{diet:?}, seed {}:\n{violations:#?}", self.seed.0);
        }
        let before = self.single.arrived() + self.batched.arrived();
        self.project.muster(&RUN).exits(0);
        let sent = self.single.arrived() + self.batched.arrived() - before;
        assert_eq!(sent, 0, "a run without changes sent requests, seed {}", self.seed.0);
    }
}

/// Another seed on every call, from the randomness the standard library has anyway.
pub fn fresh_seed() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0)
}
