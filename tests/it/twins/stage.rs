//! The server that every twin plays on: requests in, the vendor's words out, and the faults between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

use super::fate::{Fate, Faults, Luck};
use super::people::People;
use crate::project::TempProject;
use crate::replies::{self, Reply, closed};
use crate::sink::{Actor, Request, Sink};

/// One vendor: what it holds, how it speaks, and what a project must say to be its customer.
pub trait Vendor: Send + 'static {
    /// Requests that the vendor takes in any window of that length.
    const LIMIT: (usize, Duration);

    /// Sizes of batches, one of which a history uses.
    const BATCHES: [u32; 3] = [2, 5, 20];

    /// For how long a request is tried where there are no faults.
    const PATIENCE: &'static str = "60s";

    /// How many quiet runs come before the last one: where a run does not wait until it may ask after
    /// a job, the next one settles it.
    const EARLIER: usize = 0;

    fn new(random: &mut StdRng) -> Self;

    /// Does what is asked and says so.
    fn serve(&mut self, asked: &Asked, luck: &mut Luck<'_>) -> Told;

    /// How it says that its limit is used up; `None` where that has no limit.
    fn throttled(&self, asked: &Asked) -> Option<Told>;

    /// How it refuses a request as a whole; `None` where it does not.
    fn refused(&self, asked: &Asked) -> Option<Told>;

    /// Tokens that were given out are over.
    fn expire(&mut self) {}

    /// Some time passes; what was asked before and what is asked now are not of the same moment.
    fn later(&mut self) {}

    /// Writes the models, all syncing to the destination `vendor`.
    fn models(project: &TempProject);

    /// The lines of `[destinations.vendor]` but for how hard it is tried.
    fn section(url: &str) -> String;

    /// What it holds that the SQL does not say, and the other way round.
    fn differences(&self, people: &People) -> Vec<String>;

    /// What no client may do.
    fn violations(&self) -> &BTreeSet<String>;
}

/// A request, read.
#[derive(Debug)]
pub struct Asked {
    pub method: String,
    /// Without the slashes.
    pub path: Vec<String>,
    pub query: BTreeMap<String, String>,
    pub headers: BTreeMap<String, String>,
    pub text: String,
    /// Null where the body is none.
    pub json: Value,
}

/// What a vendor answers.
#[derive(Debug, Clone)]
pub struct Told {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// A running twin.
#[derive(Debug)]
pub struct Twin<V> {
    pub sink: Sink,
    stage: Arc<Mutex<Stage<V>>>,
}

#[derive(Debug)]
pub struct Stage<V> {
    pub vendor: V,
    pub faults: Faults,
    /// What happened so far, for who has to find out why it went wrong.
    pub transcript: Vec<String>,
    /// Whether anything was refused for good since the beginning.
    pub refused: bool,
    random: StdRng,
    /// When the requests of the present window came.
    window: VecDeque<Instant>,
}

struct Player<V>(Arc<Mutex<Stage<V>>>);

impl Told {
    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, headers: Vec::new(), body: body.to_string() }
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned() }
    }

    pub fn with(mut self, header: &'static str, value: impl ToString) -> Self {
        self.headers.push((header, value.to_string()));
        self
    }

    fn whole(self) -> Reply {
        let mut reply = replies::plain(self.status, &self.body);
        for (name, value) in self.headers {
            reply.headers_mut().insert(name, value.parse().unwrap());
        }
        reply
    }
}

impl Asked {
    fn of(request: &Request) -> Self {
        let pairs = url::form_urlencoded::parse(request.query.as_bytes());
        let decoded = |part: &str| {
            let pair = format!("p={}", part.replace('+', "%2B"));
            let mut pairs = url::form_urlencoded::parse(pair.as_bytes());
            pairs.next().unwrap().1.into_owned()
        };
        Self {
            method: request.method.clone(),
            path: request.path.split('/').skip(1).map(decoded).collect(),
            query: pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            headers: request.headers.clone(),
            text: String::from_utf8(request.body.to_vec()).unwrap(),
            json: serde_json::from_slice(&request.body).unwrap_or_default(),
        }
    }

    /// Method and path, to be matched.
    pub fn parts(&self) -> (&str, Vec<&str>) {
        (&self.method, self.path.iter().map(String::as_str).collect())
    }

    pub fn rows(&self, pointer: &str) -> &[Value] {
        self.json.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

impl<V: Vendor> Twin<V> {
    pub fn start(random: &mut StdRng) -> Self {
        let stage = Stage {
            vendor: V::new(random),
            faults: Faults::default(),
            transcript: Vec::new(),
            refused: false,
            random: StdRng::from_rng(random),
            window: VecDeque::new(),
        };
        let stage = Arc::new(Mutex::new(stage));
        Self { sink: Sink::played_by(Player(Arc::clone(&stage))), stage }
    }

    pub fn stage(&self) -> MutexGuard<'_, Stage<V>> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Vendor> Actor for Player<V> {
    fn answer(&mut self, request: &Request) -> io::Result<Reply> {
        self.0.lock().unwrap().answer(&Asked::of(request))
    }
}

impl<V: Vendor> Stage<V> {
    fn answer(&mut self, asked: &Asked) -> io::Result<Reply> {
        let mut fate = self.faults.draw(&mut self.random);
        if self.is_used_up() {
            fate = Fate::Throttled;
        }
        let path = asked.path.join("/");
        self.transcript.push(format!("{fate:?} {} {path} {}", asked.method, asked.text));
        match fate {
            Fate::Dropped => return Err(closed()),
            Fate::ErrorBefore(status) => return Ok(gateway(status)),
            Fate::Throttled => {
                if let Some(told) = self.vendor.throttled(asked) {
                    return Ok(told.whole());
                }
            }
            Fate::Refused => {
                if let Some(told) = self.vendor.refused(asked) {
                    self.refused = true;
                    return Ok(told.whole());
                }
            }
            Fate::Expired => self.vendor.expire(),
            Fate::Served | Fate::LostReply | Fate::Cut | Fate::ErrorAfter(_) => {}
        }
        let mut luck =
            Luck { random: &mut self.random, faults: self.faults, refused: self.refused };
        let told = self.vendor.serve(asked, &mut luck);
        self.refused = luck.refused;
        match fate {
            Fate::LostReply => Err(closed()),
            Fate::Cut => Ok(replies::half()),
            Fate::ErrorAfter(status) => Ok(gateway(status)),
            _ => Ok(told.whole()),
        }
    }

    /// Counts a request, and says whether it is one too many.
    fn is_used_up(&mut self) -> bool {
        let (most, length) = V::LIMIT;
        let now = Instant::now();
        while self.window.front().is_some_and(|at| now - *at >= length) {
            self.window.pop_front();
        }
        let full = self.window.len() >= most;
        if !full {
            self.window.push_back(now);
        }
        full
    }
}

fn gateway(status: u16) -> Reply {
    replies::plain(status, "<html><b>upstream")
}
