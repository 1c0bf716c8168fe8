//! Running the real binary. Its environment is what the test says and nothing else, and nothing it
//! does can hang a test: whoever waits, waits on a channel with a deadline.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Condvar, LazyLock, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// Longer than anything here takes on the slowest machine; more where more users are asked for.
static DEADLINE: LazyLock<Duration> = LazyLock::new(|| {
    let users = std::env::var("MUSTER_USERS").map_or(0, |text| text.parse().unwrap());
    Duration::from_secs(120 + users / 5_000)
});

/// A process that ended: its exit code (`None`: killed) and all it wrote.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A process that was started and not yet waited for. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    events: Receiver<Event>,
    sender: Sender<Event>,
}

/// Kills the process it belongs to, from any thread, at most once and never another process: only the
/// thread that waits for the child acts on it.
#[derive(Debug, Clone)]
pub struct Killer(Sender<Event>);

#[derive(Debug)]
enum Event {
    Closed(Stream, Vec<u8>),
    Kill,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stream {
    Stdout,
    Stderr,
}

/// Held by a test that measures: no other test's process runs meanwhile.
#[derive(Debug)]
pub struct Alone(());

/// Which processes run, over all test threads.
struct Machine {
    running: usize,
    alone: Option<ThreadId>,
}

static MACHINE: Mutex<Machine> = Mutex::new(Machine { running: 0, alone: None });
static CHANGED: Condvar = Condvar::new();

impl Alone {
    /// Waits until no process runs. A test that has one running never waits for a holder of this, so
    /// that nobody waits in a circle.
    pub fn on_this_machine() -> Self {
        let busy = |machine: &mut Machine| machine.running > 0 || machine.alone.is_some();
        let machine = MACHINE.lock().unwrap();
        let mut machine = CHANGED.wait_while(machine, busy).unwrap();
        machine.alone = Some(thread::current().id());
        Self(())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        MACHINE.lock().unwrap().alone = None;
        CHANGED.notify_all();
    }
}

impl Running {
    pub fn start(
        program: &Path,
        arguments: &[&str],
        folder: &Path,
        environment: &[(String, String)],
    ) -> Self {
        enter();
        let inherited = ["PATH", "HOME"].map(|name| (name, std::env::var_os(name)));
        let mut child = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .envs(inherited.into_iter().filter_map(|(name, value)| Some((name, value?))))
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, events) = channel();
        read_to_end(Stream::Stdout, child.stdout.take().unwrap(), sender.clone());
        read_to_end(Stream::Stderr, child.stderr.take().unwrap(), sender.clone());
        Self { child, events, sender }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn killer(&self) -> Killer {
        Killer(self.sender.clone())
    }

    /// What Ctrl-C does. The process is still ours to wait for, so its id cannot be another's.
    pub fn interrupt(&self) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(status.success(), "could not interrupt the process");
    }

    pub fn finish(mut self) -> Ran {
        let deadline = Instant::now() + *DEADLINE;
        let (mut stdout, mut stderr) = (None, None);
        while stdout.is_none() || stderr.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Closed(Stream::Stdout, bytes)) => stdout = Some(bytes),
                Ok(Event::Closed(Stream::Stderr, bytes)) => stderr = Some(bytes),
                Ok(Event::Kill) => self.child.kill().unwrap(),
                Err(_) => panic!("`muster` did not end within {:?}", *DEADLINE),
            }
        }
        let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.unwrap()).unwrap();
        let code = self.child.wait().unwrap().code();
        Ran { code, stdout: text(stdout), stderr: text(stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        MACHINE.lock().unwrap().running -= 1;
        CHANGED.notify_all();
    }
}

impl Killer {
    pub fn kill(&self) {
        let _ = self.0.send(Event::Kill);
    }
}

impl Ran {
    /// Asserts the exit code, and shows everything when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "exit code\n{self}");
        self
    }

    /// Asserts that stderr contains every one of `texts`.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "stderr does not say `{text}`\n{self}");
        }
        self
    }

    /// Asserts that stdout contains every one of `texts`.
    #[track_caller]
    pub fn shows(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stdout.contains(text), "stdout does not show `{text}`\n{self}");
        }
        self
    }

    /// The one JSON document on stdout.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}\n{self}"))
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr } = self;
        write!(f, "--- exit {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

fn enter() {
    let kept_out =
        |machine: &mut Machine| machine.alone.is_some_and(|alone| alone != thread::current().id());
    let machine = MACHINE.lock().unwrap();
    CHANGED.wait_while(machine, kept_out).unwrap().running += 1;
}

fn read_to_end(stream: Stream, mut source: impl Read + Send + 'static, sender: Sender<Event>) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).unwrap();
        let _ = sender.send(Event::Closed(stream, bytes));
    });
}
