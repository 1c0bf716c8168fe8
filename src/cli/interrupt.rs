//! Ctrl-C, and being told to end by whoever started us.
//!
//! The first time a run is asked to stop, records where it is and exits with 130. The second time
//! the process ends at once; what that leaves behind is what a crash leaves behind, and the next run
//! mends it.

use std::io;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::printer::Printer;

/// Stopped at once.
const EXIT_ABORTED: i32 = 130;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Interrupts {
    /// Turns true when the user wants to stop.
    pub cancel: watch::Receiver<bool>,
    _listener: JoinSet<()>,
}

impl Interrupts {
    /// From here on Ctrl-C does not end the process by itself.
    pub fn listen(printer: Printer) -> io::Result<Self> {
        let mut signals = Signals::new()?;
        let (sender, cancel) = watch::channel(false);
        let mut listener = JoinSet::new();
        listener.spawn(async move {
            signals.next().await;
            printer.say("stopping; what is under way is recorded (Ctrl-C again stops at once)");
            sender.send_replace(true);
            signals.next().await;
            std::process::exit(EXIT_ABORTED);
        });
        Ok(Self { cancel, _listener: listener })
    }
}

#[cfg(unix)]
#[derive(Debug)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let [interrupt, terminate] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        Ok(Self { interrupt: interrupt?, terminate: terminate? })
    }

    async fn next(&mut self) {
        let told = tokio::select! {
            told = self.interrupt.recv() => told,
            told = self.terminate.recv() => told,
        };
        if told.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
