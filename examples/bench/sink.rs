//! A destination on the loopback interface that answers `200` as fast as it can, or after a while.
//!
//! It reads no more of a request than it must: it is not what is measured.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::Outcome;

const REPLY: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// The server; it stops when dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

#[derive(Debug, Default)]
struct Shared {
    latency: Duration,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// Requests that are not answered yet, and the most there ever were.
    waiting: AtomicU64,
    most_waiting: AtomicU64,
    /// When each request had arrived; `None`: nobody wants to know.
    arrivals: Option<Mutex<Vec<Instant>>>,
}

impl Sink {
    pub fn start() -> Outcome<Self> {
        Self::over(Shared::default())
    }

    /// One that answers after `latency` and remembers when each request arrived.
    pub fn slow(latency: Duration) -> Outcome<Self> {
        Self::over(Shared { latency, arrivals: Some(Mutex::default()), ..Shared::default() })
    }

    fn over(shared: Shared) -> Outcome<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(shared);
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, runtime: Some(runtime) })
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Bytes of their bodies.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// The most requests that waited for their reply at once; of a slow sink only.
    pub fn in_flight(&self) -> u64 {
        self.shared.most_waiting.load(Ordering::Relaxed)
    }

    /// When they arrived, in order.
    pub fn arrivals(&self) -> Vec<Instant> {
        let Some(arrivals) = &self.shared.arrivals else { return Vec::new() };
        let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        arrivals.sort();
        arrivals
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&shared)));
        while connections.try_join_next().is_some() {}
    }
}

/// Answers until the connection is closed or makes no sense.
async fn converse(mut stream: TcpStream, shared: Arc<Shared>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = BytesMut::with_capacity(64 << 10);
    loop {
        let length = loop {
            if let Some(length) = request_length(&buffer) {
                break length;
            }
            (stream.read_buf(&mut buffer).await.ok()? > 0).then_some(())?;
        };
        while buffer.len() < length.head + length.body {
            (stream.read_buf(&mut buffer).await.ok()? > 0).then_some(())?;
        }
        buffer.advance(length.head + length.body);
        shared.requests.fetch_add(1, Ordering::Relaxed);
        shared.bytes.fetch_add(length.body as u64, Ordering::Relaxed);
        if let Some(arrivals) = &shared.arrivals {
            arrivals.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        }
        if !shared.latency.is_zero() {
            let waiting = shared.waiting.fetch_add(1, Ordering::Relaxed) + 1;
            shared.most_waiting.fetch_max(waiting, Ordering::Relaxed);
            tokio::time::sleep(shared.latency).await;
            shared.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        stream.write_all(REPLY).await.ok()?;
    }
}

struct Length {
    head: usize,
    body: usize,
}

/// `None` while the head is not complete.
fn request_length(bytes: &[u8]) -> Option<Length> {
    const NAME: &[u8] = b"content-length:";
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let lines = bytes[..head].split(|byte| *byte == b'\n');
    let body = lines.filter(|line| line.len() > NAME.len()).find_map(|line| {
        let (name, value) = line.split_at(NAME.len());
        name.eq_ignore_ascii_case(NAME)
            .then(|| std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok())?
    });
    Some(Length { head, body: body.unwrap_or(0) })
}
