//! A real HTTP server on the loopback interface that plays the destination: it records what arrives,
//! keeps a [`Remote`] of what it believes, and misbehaves as told.
//!
//! What it answers is decided in this order: the scripted answers, what is refused by subject, the
//! faults drawn from the seed, and else success. An [`Actor`] answers instead of all this, where one is
//! given. It runs in a thread of its own with its own runtime, so that tests stay plain functions.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::faults::{Answer, Faults};
use crate::messages::Messages;
use crate::remote::Remote;
use crate::replies::{self, Reply, closed};

/// Longer than anything here takes on the slowest machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// When, in the life of a request, a hook fires.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Moment {
    /// The head was read; nothing is applied and no reply ever comes.
    Arrived,
    /// It was applied, and no reply ever comes.
    Applied,
    /// It is answered as usual.
    Replied,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    /// What stands behind the `?`; empty without one.
    pub query: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Empty when the request was refused unread.
    pub body: Bytes,
    pub arrived: Instant,
    pub answer: Answer,
}

/// Plays another server than that of the canonical messages: does what a request asks and answers, or
/// closes the connection.
pub trait Actor: Send {
    fn answer(&mut self, request: &Request) -> io::Result<Reply>;
}

/// The server. Stops when dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Counts releases of what is held.
    released: watch::Sender<u64>,
}

struct State {
    requests: Vec<Request>,
    /// Requests handed out by [`Sink::drain`].
    drained: usize,
    /// Heads read, including those whose body is still on its way.
    arrived: usize,
    connections: usize,
    script: VecDeque<Answer>,
    refused: BTreeMap<String, Answer>,
    faults: Faults,
    random: StdRng,
    latency: Duration,
    hook: Option<Hook>,
    remote: Remote,
    actor: Option<Box<dyn Actor>>,
}

struct Hook {
    request: usize,
    moment: Moment,
    act: Box<dyn FnOnce() + Send>,
}

impl Request {
    /// The canonical messages in the body: one, or those of a batch.
    pub fn messages(&self) -> Vec<Value> {
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(Value::Object(mut body)) => match body.remove("batch") {
                Some(Value::Array(batch)) => batch,
                _ => vec![Value::Object(body)],
            },
            _ => Vec::new(),
        }
    }
}

impl Sink {
    pub fn start() -> Self {
        Self::seeded(0)
    }

    /// A sink whose faults repeat with the same seed and the same requests.
    pub fn seeded(seed: u64) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(seed)),
            changed: Condvar::new(),
            released: watch::Sender::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || runtime.block_on(accept(listener, serving, stopped)));
        Self { address, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// A sink that somebody else plays.
    pub fn played_by(actor: impl Actor + 'static) -> Self {
        let sink = Self::start();
        sink.state().actor = Some(Box::new(actor));
        sink
    }

    /// Where it listens, without a path.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Where nobody listens.
    pub fn dead_url() -> String {
        let address = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        format!("http://{address}/hook")
    }

    pub fn faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// No more faults, scripts, refusals or hooks; what is held goes on.
    pub fn healthy(&self) {
        let mut state = self.state();
        state.faults = Faults::default();
        state.script.clear();
        state.refused.clear();
        state.hook = None;
        drop(state);
        self.release();
    }

    /// What is held goes on.
    pub fn release(&self) {
        self.shared.released.send_modify(|releases| *releases += 1);
    }

    /// How the next requests are answered, one answer each.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().script.extend(answers);
    }

    /// How every request that holds a message of this subject is answered.
    pub fn refuse_subject(&self, id: &str, answer: Answer) {
        self.state().refused.insert(id.into(), answer);
    }

    /// How long every reply takes.
    pub fn latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    /// Drop messages whose id was seen before, as many vendors do.
    pub fn deduplicate(&self) {
        self.state().remote.deduplicate = true;
    }

    /// Acts once, when the `n`-th request from now (counted from 1) reaches that moment.
    pub fn on_request(&self, n: usize, moment: Moment, act: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        let request = state.arrived + n;
        state.hook = Some(Hook { request, moment, act: Box::new(act) });
    }

    /// Forgets a hook that was not reached.
    pub fn unhook(&self) {
        self.state().hook = None;
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Number of requests that reached the sink, read or not.
    pub fn arrived(&self) -> usize {
        self.state().arrived
    }

    /// Messages of the requests since the last time, in the order of arrival, whatever the answer.
    pub fn drain(&self) -> Messages {
        let mut state = self.state();
        let new = state.requests[state.drained..].iter().flat_map(Request::messages).collect();
        state.drained = state.requests.len();
        Messages(new)
    }

    pub fn remote(&self) -> Remote {
        self.state().remote.clone()
    }

    /// Returns when `count` requests have reached the sink in all.
    pub fn wait_for_requests(&self, count: usize) {
        self.wait("requests", |state| state.arrived >= count);
    }

    /// Returns when no connection is open: nothing of a process that ended can still be applied.
    pub fn wait_until_idle(&self) {
        self.wait("closed connections", |state| state.connections == 0);
    }

    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let waiting = |state: &mut State| !done(state);
        let (state, timeout) =
            self.shared.changed.wait_timeout_while(self.state(), DEADLINE, waiting).unwrap();
        drop(state);
        assert!(!timeout.timed_out(), "the sink waited for {what} in vain");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let open = Connection::open(&shared);
                connections.spawn(converse(stream, open));
            },
        }
    }
}

async fn converse(stream: TcpStream, open: Connection) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| open.0.serve(request));
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// An open connection, counted.
struct Connection(Arc<Shared>);

impl Connection {
    fn open(shared: &Arc<Shared>) -> Self {
        shared.state().connections += 1;
        Self(Arc::clone(shared))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.state().connections -= 1;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Answers one request; an error closes the connection without a reply.
    async fn serve(&self, request: hyper::Request<Incoming>) -> io::Result<Reply> {
        let arrived = Instant::now();
        let mut released = self.released.subscribe();
        let (head, incoming) = request.into_parts();
        let (number, answer) = self.state().admit();
        self.changed.notify_all();
        let request = |body, answer| Request {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
            headers: headers(&head.headers),
            body,
            arrived,
            answer,
        };
        if self.reach(number, Moment::Arrived) {
            // A client that dies in the middle of its body must not keep the connection open.
            incoming.collect().await.map_err(|_| closed())?;
            return std::future::pending().await;
        }
        if answer == Some(Answer::Refuse) {
            self.state().requests.push(request(Bytes::new(), Answer::Refuse));
            return Err(closed());
        }
        let body = incoming.collect().await.map_err(|_| closed())?.to_bytes();
        let (answer, latency) = {
            let mut state = self.state();
            let mut request = request(body, Answer::Accept);
            request.answer = answer.unwrap_or_else(|| state.judge(&request));
            state.requests.push(request.clone());
            (request, state.latency)
        };
        if answer.answer == Answer::Hold {
            let _ = released.changed().await;
        }
        tokio::time::sleep(latency).await;
        let reply = self.state().apply(&answer);
        if self.reach(number, Moment::Applied) {
            return std::future::pending().await;
        }
        self.reach(number, Moment::Replied);
        reply
    }

    /// Fires the hook if it waits for this request at this moment.
    fn reach(&self, number: usize, moment: Moment) -> bool {
        let mut state = self.state();
        let due = state
            .hook
            .take_if(|hook| hook.request == number && hook.moment == moment)
            .map(|hook| hook.act);
        drop(state);
        due.map(|act| act()).is_some()
    }
}

impl State {
    fn new(seed: u64) -> Self {
        Self {
            requests: Vec::new(),
            drained: 0,
            arrived: 0,
            connections: 0,
            script: VecDeque::new(),
            refused: BTreeMap::new(),
            faults: Faults::default(),
            random: StdRng::seed_from_u64(seed),
            latency: Duration::ZERO,
            hook: None,
            remote: Remote::default(),
            actor: None,
        }
    }

    /// The number of the request, and its answer if that does not depend on what is in it.
    fn admit(&mut self) -> (usize, Option<Answer>) {
        self.arrived += 1;
        let scripted = self.script.pop_front();
        let answer = match scripted {
            None if self.refused.is_empty() => Some(self.faults.draw(&mut self.random)),
            scripted => scripted,
        };
        (self.arrived, answer)
    }

    fn judge(&self, request: &Request) -> Answer {
        let messages = request.messages();
        let subjects = messages.iter().filter_map(|message| {
            message["userId"].as_str().or_else(|| message["groupId"].as_str())
        });
        let refusal = subjects.into_iter().find_map(|subject| self.refused.get(subject));
        refusal.cloned().unwrap_or(Answer::Accept)
    }

    /// Applies what the answer says was taken, and words the reply.
    fn apply(&mut self, request: &Request) -> io::Result<Reply> {
        if let Some(actor) = &mut self.actor {
            return actor.answer(request);
        }
        let failed = self.failed(request);
        for (index, message) in request.messages().iter().enumerate() {
            if failed.as_ref().is_some_and(|failed| !failed.contains(&index)) {
                self.remote.apply(message);
            }
        }
        match &request.answer {
            Answer::Accept | Answer::Hold => Ok(replies::plain(200, "{}")),
            Answer::Refuse | Answer::LostReply => Err(closed()),
            Answer::Throttle(pause) => Ok(replies::throttled(*pause)),
            Answer::Partial { retryable, .. } => {
                Ok(replies::partial(&failed.unwrap_or_default(), *retryable))
            }
            Answer::Garbage => Ok(replies::plain(502, "<html><b>Bad gateway")),
            Answer::Cut => Ok(replies::half()),
            Answer::Status(status) => Ok(replies::plain(*status, "{}")),
        }
    }

    /// Indexes of messages that are not applied; `None`: none is.
    fn failed(&mut self, request: &Request) -> Option<Vec<usize>> {
        match &request.answer {
            Answer::Accept | Answer::Hold | Answer::LostReply | Answer::Cut => Some(Vec::new()),
            Answer::Partial { failed: Some(failed), .. } => Some(failed.clone()),
            Answer::Partial { failed: None, .. } => {
                let count = request.messages().len();
                Some((0..count).filter(|_| self.random.random_bool(0.5)).collect())
            }
            Answer::Refuse | Answer::Throttle(_) | Answer::Garbage | Answer::Status(_) => None,
        }
    }
}

fn headers(map: &hyper::HeaderMap) -> BTreeMap<String, String> {
    let text =
        |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
    map.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
