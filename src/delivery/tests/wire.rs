//! What really happens on a wire: a loopback server on a port of its own that misbehaves on purpose.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::*;

/// A server whose connections are served by raw bytes: one reply per request, then closed.
struct Server {
    address: SocketAddr,
    seen: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// Answers the n-th request with the n-th text, and the rest with the last; an empty text closes
    /// the connection without a word.
    async fn answering(replies: &[&'static str]) -> Self {
        let replies = replies.to_vec();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        let counter = Arc::clone(&seen);
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let reply = replies[number.min(replies.len() - 1)];
                read_head(&mut stream).await;
                let _ = stream.write_all(reply.as_bytes()).await;
            }
        });
        Self { address, seen, _tasks: tasks }
    }

    fn url(&self) -> url::Url {
        url::Url::parse(&format!("http://{}/hook", self.address)).unwrap()
    }

    fn requests(&self) -> usize {
        self.seen.load(Ordering::SeqCst)
    }
}

async fn read_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"{}") {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(read) => head.extend_from_slice(&buffer[..read]),
        }
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn live(common: Common) -> Session {
    Session::live(&terms(common), surroundings()).unwrap()
}

fn impatient() -> Common {
    let retry = Retry { attempts: 2, within: Duration::from_secs(60) };
    Common { retry, timeout: Duration::from_secs(10), ..common() }
}

fn post(url: url::Url) -> Request {
    Request::post(url).json_body(Bytes::from_static(b"{}"))
}

#[tokio::test]
async fn a_reply_is_read_whole() {
    let server = Server::answering(&[OK]).await;
    let response = live(impatient()).send(post(server.url())).await.unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
    assert_eq!(response.json::<serde_json::Value>().unwrap(), serde_json::json!({}));
}

#[tokio::test]
async fn a_lost_reply_is_repeated_only_where_that_is_harmless() {
    let server = Server::answering(&["", OK]).await;
    let session = live(impatient());
    assert!(session.send(post(server.url())).await.is_ok());
    assert_eq!(server.requests(), 2);

    let server = Server::answering(&["", OK]).await;
    let session = live(impatient());
    let fault = session.send(post(server.url()).repeatable(false)).await.unwrap_err();
    assert!(matches!(fault, Fault::Ambiguous { .. }), "{fault:?}");
    assert_eq!(server.requests(), 1);
    assert!(session.may_have_arrived());
}

/// Whatever it asks for, it may come after the work.
#[tokio::test]
async fn a_503_is_no_leave_to_do_twice_what_must_be_done_once() {
    for busy in [
        "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
    ] {
        let server = Server::answering(&[busy, OK]).await;
        let fault = live(impatient()).send(post(server.url()).repeatable(false)).await.unwrap_err();
        assert!(matches!(fault, Fault::Ambiguous { .. }), "{fault:?}");
        assert_eq!(server.requests(), 1);
    }
}

#[tokio::test]
async fn a_reply_that_is_cut_is_lost() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"ok\"";
    let server = Server::answering(&[cut]).await;
    let fault = live(impatient()).send(post(server.url())).await.unwrap_err();
    assert!(matches!(fault, Fault::Ambiguous { .. }), "{fault:?}");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_refused_connection_is_certainly_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let session = live(impatient());
    let request = post(url::Url::parse(&url).unwrap()).repeatable(false);
    let fault = session.send(request).await.unwrap_err();
    assert!(
        matches!(&fault, Fault::Transient { reason } if reason.ends_with("(tried 2 times)")),
        "{fault:?}"
    );
    assert!(!session.may_have_arrived());
}

#[tokio::test]
async fn a_reply_that_does_not_come_in_time_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url::Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let common = Common { timeout: Duration::from_millis(50), ..impatient() };
    let fault = live(common).send(post(url).repeatable(false)).await.unwrap_err();
    assert_eq!(fault, Fault::Ambiguous { reason: "no reply in time".into() });
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let moved = "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n";
    let server = Server::answering(&[moved, OK]).await;
    let fault = live(impatient()).send(post(server.url())).await.unwrap_err();
    assert!(matches!(fault, Fault::Misconfigured { .. }), "{fault:?}");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn both_forms_of_retry_after_are_obeyed() {
    let date = "HTTP/1.1 429 Slow\r\nretry-after: Sun, 06 Nov 1994 08:49:38 GMT\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let own_date = "HTTP/1.1 503 Slow\r\ndate: Sun, 06 Nov 1994 08:00:00 GMT\r\nretry-after: Sun, 06 Nov 1994 08:00:01 GMT\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let seconds =
        "HTTP/1.1 429 Slow\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let server = Server::answering(&[date, own_date, seconds, OK]).await;
    let session = live(impatient());
    let start = Instant::now();
    session.send(post(server.url())).await.unwrap();
    assert_eq!(server.requests(), 4);
    assert!(start.elapsed() >= Duration::from_millis(2500));
    assert_eq!(session.core.throttled.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn no_more_of_a_reply_is_read_than_is_sane() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url::Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b'x'; 65_536]).await.is_ok() {}
    });
    let fault = live(impatient()).send(post(url)).await.unwrap_err();
    assert!(matches!(fault, Fault::Protocol { .. }), "{fault:?}");
}

#[tokio::test]
async fn connections_are_kept_and_bodies_arrive() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = url::Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut serving = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            serving.spawn(async move {
                let service = service_fn(echo);
                let connection = hyper::server::conn::http1::Builder::new();
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let session = live(impatient());
    for number in 0..20 {
        let body = Bytes::from(format!("{{\"number\":{number}}}"));
        let request = Request::post(url.clone()).json_body(body.clone());
        assert_eq!(session.send(request).await.unwrap().body, body);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

async fn echo(
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Ok(hyper::Response::new(Full::new(body)))
}

#[tokio::test]
async fn files_are_written_for_real() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out/users.ndjson");
    let session = live(impatient());
    session.append(&path, Bytes::from_static(b"{}\n{\"torn")).await.unwrap();
    session.trim(&path).await.unwrap();
    session.append(&path, Bytes::from_static(b"[]\n")).await.unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"{}\n[]\n");
    assert!(session.may_have_arrived());

    let session = live(impatient());
    let fault = session.append(&path.join("below a file"), Bytes::new()).await.unwrap_err();
    assert!(matches!(fault, Fault::Transient { .. }), "{fault:?}");
    assert!(!session.may_have_arrived());

    let rehearsal = Session::rehearsal(&terms(common()), 5);
    let result = rehearsal.append(&path, Bytes::from_static(b"hush\n")).await;
    assert_eq!(result, Err(Fault::Rehearsed));
    let captured = rehearsal.captured();
    assert_eq!(
        (captured[0].method.as_str(), &captured[0].body[..]),
        ("APPEND", &b"[secret]\n"[..])
    );
    assert_eq!(captured[0].url, format!("file://{}", path.display()));
}
