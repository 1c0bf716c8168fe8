//! The wire: the only place that makes an HTTP client; what goes over SFTP is handed on to its line.
//!
//! What it tells about a request that failed is only what the wire tells: certainly not sent, or
//! sent and without a complete reply. It follows no redirects, repeats nothing but what a server says by
//! HTTP/2's own means that it did not look at, and reads no more of a reply than is sane to hold.

use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::auth::Authority;
use super::request::{Request, Response};
use super::session::{Captured, Reply, Server};
use super::sftp::Line;

/// The most that is read of one reply.
const LONGEST_REPLY: usize = 8 << 20;
pub(super) const LONGEST_CONNECT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) enum Transport {
    Live {
        client: reqwest::Client,
        line: Box<Line>,
    },
    /// Nothing is sent; requests are only captured.
    Rehearsal,
    /// Replies in their order, then whatever the server answers; for tests of destinations.
    Scripted {
        replies: Mutex<VecDeque<Reply>>,
        then: Server,
        latency: Duration,
    },
    /// The server's answers, but for one: after so many, and what it is.
    #[cfg(test)]
    Interrupted {
        odd: Mutex<(usize, Option<Reply>)>,
        then: Server,
    },
}

/// Why there is no reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// Certainly not sent.
    NotSent(String),
    /// Sent as far as we know; the reply is missing or cut.
    Lost(String),
    /// It cannot be sent the way it is worded.
    Unsendable(String),
    /// A reply came that is too large to be one.
    Oversized(String),
    Rehearsed,
}

impl Transport {
    /// A client whose requests each take at most `timeout`.
    pub(super) fn live(timeout: Duration) -> Result<Self, Failure> {
        provide_cryptography();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .connect_timeout(LONGEST_CONNECT.min(timeout / 2))
            .tcp_nodelay(true)
            .pool_max_idle_per_host(usize::MAX)
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::Unsendable(causes(&error)))?;
        Ok(Self::Live { client, line: Box::new(Line::new(timeout)) })
    }

    pub(super) async fn exchange(&self, request: &Request) -> Result<Response, Failure> {
        match self {
            Self::Live { client, line } => match &request.authority {
                // Boxed: all requests would make room for it.
                Some(Authority::Sftp(errand)) => Box::pin(line.exchange(errand, request)).await,
                _ => exchange(client, request).await,
            },
            Self::Rehearsal => Err(Failure::Rehearsed),
            Self::Scripted { replies, then, latency } => {
                tokio::time::sleep_until(Instant::now() + *latency).await;
                let next = replies.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                next.unwrap_or_else(|| then(&Captured::of(request))).received()
            }
            #[cfg(test)]
            Self::Interrupted { odd, then } => {
                let mut odd = odd.lock().unwrap_or_else(PoisonError::into_inner);
                let reply = match odd.0 {
                    0 => odd.1.take(),
                    _ => None,
                };
                odd.0 = odd.0.saturating_sub(1);
                reply.unwrap_or_else(|| then(&Captured::of(request))).received()
            }
        }
    }
}

impl Reply {
    fn received(self) -> Result<Response, Failure> {
        match self {
            Self::Answer(response) => Ok(response),
            Self::Refused => Err(Failure::NotSent("connection refused".into())),
            Self::Lost => Err(Failure::Lost("connection closed".into())),
        }
    }
}

/// rustls needs to be told once per process which cryptography to use.
fn provide_cryptography() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster with the same provider.
        let _: Result<(), Arc<_>> = rustls::crypto::ring::default_provider().install_default();
    }
}

async fn exchange(client: &reqwest::Client, request: &Request) -> Result<Response, Failure> {
    let mut outgoing = reqwest::Request::new(request.method.clone(), request.url.clone());
    *outgoing.headers_mut() = request.headers.clone();
    if !request.body.is_empty() {
        *outgoing.body_mut() = Some(request.body.clone().into());
    }
    let reply = client.execute(outgoing).await.map_err(failure)?;
    let status = reply.status().as_u16();
    read(reply, status).await
}

async fn read(mut reply: reqwest::Response, status: u16) -> Result<Response, Failure> {
    let headers = std::mem::take(reply.headers_mut());
    let first = reply.chunk().await.map_err(failure)?.unwrap_or_default();
    let Some(second) = reply.chunk().await.map_err(failure)? else {
        return within_bounds(status, first.len()).map(|()| Response {
            status,
            headers,
            body: first,
        });
    };
    let mut body = BytesMut::from(first);
    body.extend_from_slice(&second);
    within_bounds(status, body.len())?;
    while let Some(chunk) = reply.chunk().await.map_err(failure)? {
        body.extend_from_slice(&chunk);
        within_bounds(status, body.len())?;
    }
    Ok(Response { status, headers, body: body.freeze() })
}

fn within_bounds(status: u16, length: usize) -> Result<(), Failure> {
    if length <= LONGEST_REPLY {
        return Ok(());
    }
    let most = LONGEST_REPLY >> 20;
    Err(Failure::Oversized(format!("HTTP {status} with a body of more than {most} MiB")))
}

fn failure(error: reqwest::Error) -> Failure {
    let error = error.without_url();
    if error.is_builder() {
        Failure::Unsendable(causes(&error))
    } else if error.is_connect() {
        Failure::NotSent(causes(&error))
    } else if error.is_timeout() {
        Failure::Lost("no reply in time".into())
    } else {
        Failure::Lost(causes(&error))
    }
}

/// The error with its causes, outermost first.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
