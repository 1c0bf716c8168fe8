//! Credentials that must be asked for or computed: tokens, renewed by one request for all who need
//! them, and signatures made anew for every try.
//!
//! What it promises: at most one request for a token is under way; a token is used until it is about
//! to expire or the destination says that it is no longer valid, and never shown in any text. A
//! request that was turned away for an old token is repeated with a new one, which costs no attempt.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;

use super::request::{Request, Response, standard};
use super::sftp::Errand;
use super::signing::AwsKey;
use crate::destinations::{Fault, Secret};

/// How a token is asked for and used. The request itself must carry no [`Authority`].
pub trait Grant: fmt::Debug + Send + Sync {
    /// The request that asks for a token; `now` is for assertions that say until when they hold.
    fn request(&self, now: SystemTime) -> Result<Request, Fault>;

    /// Reads the reply; by default that of OAuth 2.
    fn token(&self, response: &Response) -> Result<Token, Fault> {
        Token::oauth(response)
    }

    /// Puts the token where the destination wants it; by default as a bearer token.
    fn authorise(&self, request: Request, token: &Token) -> Result<Request, Fault> {
        Ok(request.bearer(&token.secret))
    }

    /// Whether a reply says that the token is no longer valid and nothing was done.
    fn is_expired(&self, response: &Response) -> bool {
        response.status == 401
    }
}

/// By what a request is authorised, where fixed headers are not enough.
#[derive(Debug, Clone)]
pub enum Authority {
    Token(Arc<dyn Grant>),
    Aws(Arc<AwsKey>),
    /// Whoever logs in to a server; what the request asks for is asked over SFTP.
    Sftp(Errand),
}

/// What a destination gave us to authorise requests with.
#[derive(Debug, Clone)]
pub struct Token {
    pub secret: Secret,
    /// `None`: until the destination says otherwise.
    pub lifetime: Option<Duration>,
    /// Where requests are to go, when the reply says so.
    pub base: Option<Url>,
}

/// The reply to a token request as OAuth 2 has it.
#[derive(Deserialize)]
struct OAuthReply {
    access_token: Secret,
    expires_in: Option<serde_json::Number>,
}

impl Token {
    /// Reads the reply of OAuth 2.
    pub fn oauth(response: &Response) -> Result<Self, Fault> {
        let reply: OAuthReply = response.json()?;
        let seconds = reply.expires_in.and_then(|seconds| seconds.as_f64());
        let lifetime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Ok(Self { secret: reply.access_token, lifetime, base: None })
    }

    /// Stands for a token where none is asked for: in rehearsals.
    fn pretended() -> Self {
        Self { secret: Secret::new("token"), lifetime: None, base: None }
    }
}

/// How replies to token requests are read: whoever is refused a token has the wrong credentials.
pub fn granting(response: &Response) -> Result<(), Fault> {
    match standard(response) {
        Err(Fault::Rejected { reason }) => Err(Fault::Denied { reason }),
        other => other,
    }
}

/// A token, and what is needed to notice that it is over.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    token: Arc<Token>,
    until: Option<Instant>,
}

/// The token of one configured destination, shared by all its requests.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    current: Mutex<Option<Issued>>,
}

/// Renewed before it expires, so that no request is on its way with a token that is over.
const MARGIN: Duration = Duration::from_mins(1);

impl Issued {
    fn new(token: Token) -> Self {
        let usable =
            token.lifetime.map(|lifetime| lifetime.saturating_sub(MARGIN.min(lifetime / 10)));
        Self { until: usable.map(|usable| Instant::now() + usable), token: Arc::new(token) }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= Instant::now())
    }
}

impl Tokens {
    /// The token to use; asks for one when there is none. Whoever comes meanwhile waits for it.
    pub(super) async fn get(
        &self,
        ask: impl Future<Output = Result<Token, Fault>>,
    ) -> Result<Arc<Token>, Fault> {
        let mut current = self.current.lock().await;
        if let Some(issued) = current.as_ref().filter(|issued| !issued.is_over()) {
            return Ok(Arc::clone(&issued.token));
        }
        let issued = Issued::new(ask.await?);
        let token = Arc::clone(&issued.token);
        *current = Some(issued);
        Ok(token)
    }

    /// Forgets a token that the destination no longer takes, unless it was renewed already.
    pub(super) async fn forget(&self, token: &Arc<Token>) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|issued| Arc::ptr_eq(&issued.token, token)) {
            *current = None;
        }
    }
}

impl Authority {
    /// The request as it would be shown: with its headers, but without asking for a token.
    pub(super) fn pretend(&self, request: Request, now: SystemTime) -> Result<Request, Fault> {
        match self {
            Self::Token(grant) => grant.authorise(request, &Token::pretended()),
            Self::Aws(key) => key.sign(request, now),
            Self::Sftp(_) => Ok(request),
        }
    }
}
