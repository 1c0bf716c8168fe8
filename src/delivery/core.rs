//! What all sessions of one configured destination share: wire, gate, quotas, flow, counts.

use std::borrow::Cow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;

use super::auth::{Authority, Grant, Token, Tokens};
use super::budget::{Budget, Exhausted};
use super::files::FileFailure;
use super::flow::Flow;
use super::gate::Gate;
use super::limiter::{Limiter, allowances, sustained_rate};
use super::remedy::backoff;
use super::request::{Request, Response};
use super::secrecy::Redactor;
use super::session::{Captured, Surroundings, Terms};
use super::transport::{Failure, Transport};
use super::trial::{Next, Trial};
use crate::destinations::Fault;

/// The longest pause that a limit header can bring about.
const LONGEST_HEEDED: Duration = Duration::from_hours(24);

#[derive(Debug)]
pub(super) struct Core {
    pub(super) terms: Terms,
    pub(super) redactor: Redactor,
    pub(super) flow: Flow,
    pub(super) requests: AtomicU64,
    pub(super) throttled: AtomicU64,
    transport: Transport,
    gate: Gate,
    limiter: Limiter,
    tokens: Tokens,
    captured: Mutex<Vec<Captured>>,
    capture_limit: usize,
    random: Mutex<StdRng>,
    surroundings: Surroundings,
    started: Instant,
    /// Once true, nothing more is sent.
    stop: watch::Sender<bool>,
    /// One write to files at a time, so that a failed one can be taken back.
    writing: Arc<Mutex<()>>,
    /// What may be sent per day, where there is a limit.
    budget: OnceLock<Arc<Budget>>,
}

impl Core {
    pub(super) fn new(
        terms: &Terms,
        transport: Transport,
        capture_limit: usize,
        surroundings: Surroundings,
    ) -> Self {
        let allowances = allowances(terms.spec, &terms.common);
        let ceiling = terms.common.concurrency.unwrap_or(terms.spec.concurrency);
        Self {
            redactor: Redactor::new(&terms.secrets),
            flow: Flow::new(ceiling, sustained_rate(&allowances)),
            requests: AtomicU64::new(0),
            throttled: AtomicU64::new(0),
            transport,
            gate: Gate::default(),
            limiter: Limiter::new(&allowances, terms.spec.endpoints),
            tokens: Tokens::default(),
            captured: Mutex::default(),
            capture_limit,
            random: Mutex::new(StdRng::seed_from_u64(surroundings.seed)),
            surroundings,
            started: Instant::now(),
            stop: watch::Sender::new(false),
            writing: Arc::default(),
            budget: OnceLock::new(),
            terms: terms.clone(),
        }
    }

    /// Nothing more is sent; whoever waits to send gets a fault instead.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Resolves once the session is stopped.
    pub(super) async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stop.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Anything in `0.0..1.0`, from the seed.
    pub(super) fn chance(&self) -> f64 {
        lock(&self.random).random()
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.transport, Transport::Live { .. })
    }

    /// The answer to a write that was only captured.
    pub(super) fn pretended(&self) -> Result<(), Fault> {
        match self.transport {
            Transport::Rehearsal => Err(Fault::Rehearsed),
            _ => Ok(()),
        }
    }

    pub(super) fn captured(&self) -> Vec<Captured> {
        lock(&self.captured).clone()
    }

    pub(super) fn captured_count(&self) -> usize {
        lock(&self.captured).len()
    }

    pub(super) fn capture(&self, captured: impl FnOnce(&Redactor) -> Captured) {
        if self.capture_limit == 0 {
            return;
        }
        let mut all = lock(&self.captured);
        if all.len() < self.capture_limit {
            all.push(captured(&self.redactor));
        }
    }

    /// Sends until there is an answer, or no hope of one.
    pub(super) async fn tried(
        &self,
        request: &Request,
        trial: &mut Trial,
    ) -> Result<Response, Fault> {
        loop {
            let (authorised, token) = self.authorised(request).await?;
            self.admitted(authorised.endpoint, trial.deadline()).await?;
            let sent = Instant::now();
            let fault = match self.exchanged(&authorised, trial).await {
                Ok(response) if is_expired(request, &response) && trial.may_renew() => {
                    self.forget(token).await;
                    continue;
                }
                Ok(response) => match Self::judged(&authorised, &response, trial) {
                    Ok(()) => {
                        self.gate.passed(sent);
                        return Ok(response);
                    }
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            let until = match trial.after(&fault) {
                Next::GiveUp => return Err(fault),
                Next::CloseGate => self.close_gate(&fault, sent),
                Next::BackOff { failures } => Instant::now() + backoff(failures, self.chance()),
            };
            if until > trial.deadline() || self.is_stopped() {
                return Err(self.until(fault, until));
            }
            tracing::debug!(kind = self.terms.spec.kind, %fault, "Trying again");
            self.pause(until).await;
        }
    }

    /// Resolves when one request may leave now: the gate is open and every quota admits it.
    async fn admitted(
        &self,
        endpoint: Option<&'static str>,
        deadline: Instant,
    ) -> Result<(), Fault> {
        loop {
            if self.is_stopped() {
                return Err(Fault::Transient { reason: "stopped before it was sent".into() });
            }
            if let Some(until) = self.gate.closed_until() {
                if until > deadline {
                    let reason = "its gate is closed".into();
                    return Err(self.until(Fault::Throttled { retry_after: None, reason }, until));
                }
                tokio::select! {
                    () = self.gate.opened() => {}
                    () = self.stopped() => continue,
                }
            }
            tokio::select! {
                biased;
                () = self.limiter.permit(endpoint) => {}
                () = self.stopped() => continue,
            }
            if self.gate.closed_until().is_none() && !self.is_stopped() {
                match self.spend()? {
                    None => return Ok(()),
                    Some(until) if until > deadline => return Err(self.spent(until)),
                    Some(until) => self.pause(until).await,
                }
            }
        }
    }

    /// Takes one request off what may be sent per day; when there is some again, if nothing is left.
    fn spend(&self) -> Result<Option<Instant>, Fault> {
        let Some(budget) = self.budget.get() else { return Ok(None) };
        match budget.take(self.now()) {
            Ok(()) => Ok(None),
            Err(Exhausted::Until(free)) => {
                let pause = free.duration_since(self.now()).unwrap_or_default();
                Ok(Some(Instant::now() + pause))
            }
            Err(Exhausted::Unkept(error)) => {
                let reason =
                    format!("could not count the request towards the daily limit: {error}");
                Err(Fault::Transient { reason })
            }
        }
    }

    fn spent(&self, until: Instant) -> Fault {
        let limit = self.budget.get().map_or(0, |budget| budget.limit());
        let reason = format!("the {limit} requests of the last 24 hours are used up");
        self.until(Fault::Throttled { retry_after: None, reason }, until)
    }

    pub(super) fn budget(&self, budget: Arc<Budget>) {
        // A session has one budget at most.
        let _ = self.budget.set(budget);
    }

    /// The request with whatever authorises it, and the token that does.
    async fn authorised<'r>(
        &self,
        request: &'r Request,
    ) -> Result<(Cow<'r, Request>, Option<Arc<Token>>), Fault> {
        match &request.authority {
            None | Some(Authority::Sftp(_)) => Ok((Cow::Borrowed(request), None)),
            Some(Authority::Aws(key)) => {
                Ok((Cow::Owned(key.sign(request.clone(), self.now())?), None))
            }
            Some(authority @ Authority::Token(_)) if self.is_rehearsal() => {
                Ok((Cow::Owned(authority.pretend(request.clone(), self.now())?), None))
            }
            Some(Authority::Token(grant)) => {
                let token = self.tokens.get(self.ask_for_token(&**grant)).await?;
                Ok((Cow::Owned(grant.authorise(request.clone(), &token)?), Some(token)))
            }
        }
    }

    async fn ask_for_token(&self, grant: &dyn Grant) -> Result<Token, Fault> {
        let request = grant.request(self.now())?;
        self.capture(|redactor| redactor.request(&request));
        let mut trial = Trial::new(self.terms.common.retry, true);
        let response = Box::pin(self.tried(&request, &mut trial)).await?;
        let token = grant.token(&response)?;
        self.redactor.learn([token.secret.expose()].into_iter());
        Ok(token)
    }

    async fn forget(&self, token: Option<Arc<Token>>) {
        if let Some(token) = token {
            self.tokens.forget(&token).await;
        }
    }

    /// The request as it is shown before it is sent: authorised, but no token is asked for.
    pub(super) fn shown(&self, request: &Request) -> Captured {
        let pretended = request
            .authority
            .as_ref()
            .and_then(|authority| authority.pretend(request.clone(), self.now()).ok());
        self.redactor.request(pretended.as_ref().unwrap_or(request))
    }

    /// One request and its reply, whatever that says.
    async fn exchanged(&self, request: &Request, trial: &mut Trial) -> Result<Response, Fault> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let sent = Instant::now();
        let mut response = match self.transport.exchange(request).await {
            Ok(response) => response,
            Err(failure) => {
                let fault = fault(failure);
                if matches!(fault, Fault::Ambiguous { .. } | Fault::Protocol { .. }) {
                    trial.expose();
                }
                return Err(fault);
            }
        };
        self.flow.observed(sent.elapsed());
        response.settle_retry_after(self.now());
        if let Some(pause) = (request.heed)(&response, self.now()) {
            self.gate.close_until(Instant::now() + pause.min(LONGEST_HEEDED));
        }
        Ok(response)
    }

    fn judged(request: &Request, response: &Response, trial: &mut Trial) -> Result<(), Fault> {
        (request.read)(response).inspect_err(|fault| {
            let unclear = matches!(fault, Fault::Ambiguous { .. } | Fault::Protocol { .. });
            if unclear || response.status == 408 || response.status >= 500 {
                trial.expose();
            }
        })
    }

    /// The time of day.
    fn now(&self) -> SystemTime {
        self.surroundings.after(self.started.elapsed())
    }

    fn is_rehearsal(&self) -> bool {
        matches!(self.transport, Transport::Rehearsal)
    }

    fn close_gate(&self, fault: &Fault, sent: Instant) -> Instant {
        self.throttled.fetch_add(1, Ordering::Relaxed);
        let Fault::Throttled { retry_after, .. } = fault else { return sent };
        self.gate.throttled(sent, *retry_after)
    }

    async fn pause(&self, until: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.stopped() => {}
        }
    }

    /// The fault of a request that would have to wait too long, saying until when.
    fn until(&self, fault: Fault, until: Instant) -> Fault {
        let Fault::Throttled { reason, .. } = fault else { return fault };
        let pause = until.saturating_duration_since(Instant::now());
        let at = self.surroundings.after(until.saturating_duration_since(self.started));
        let at = chrono::DateTime::<chrono::Utc>::from(at)
            .to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        Fault::Throttled {
            retry_after: Some(pause),
            reason: format!("{reason}; nothing may be sent before {at}"),
        }
    }

    /// Writes to a file on a blocking thread; a failure says whether the file may have changed.
    pub(super) async fn on_file(
        &self,
        path: &Path,
        bytes: Bytes,
        write: impl FnOnce(&Path, &[u8]) -> Result<(), FileFailure> + Send + 'static,
    ) -> Result<(), (Fault, bool)> {
        if self.is_stopped() {
            let reason = "stopped before it was written".into();
            return Err((Fault::Transient { reason }, false));
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        let sent = Instant::now();
        let (path, turn) = (path.to_owned(), Arc::clone(&self.writing));
        let written = tokio::task::spawn_blocking(move || {
            let _turn = lock(&turn);
            write(&path, &bytes).map_err(|failure| file_fault(&path, failure))
        });
        let result = written.await.unwrap_or_else(|_| {
            Err((Fault::Ambiguous { reason: "the writer has stopped".into() }, true))
        });
        self.flow.observed(sent.elapsed());
        result
    }
}

/// Whether the request was turned away because its token is over.
fn is_expired(request: &Request, response: &Response) -> bool {
    match &request.authority {
        Some(Authority::Token(grant)) => grant.is_expired(response),
        Some(Authority::Aws(_) | Authority::Sftp(_)) | None => false,
    }
}

fn fault(failure: Failure) -> Fault {
    match failure {
        Failure::NotSent(reason) => Fault::Transient { reason },
        Failure::Lost(reason) => Fault::Ambiguous { reason },
        Failure::Unsendable(reason) => Fault::Misconfigured { reason },
        Failure::Oversized(reason) => Fault::Protocol { reason },
        Failure::Rehearsed => Fault::Rehearsed,
    }
}

fn file_fault(path: &Path, failure: FileFailure) -> (Fault, bool) {
    let path = path.display();
    match failure {
        FileFailure::Untouched(error) => {
            (Fault::Transient { reason: format!("could not write `{path}`: {error}") }, false)
        }
        FileFailure::Unknown(error) => (
            Fault::Ambiguous { reason: format!("could not finish writing `{path}`: {error}") },
            true,
        ),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
