//! Replies as they go over the wire, whole and broken.

use std::convert::Infallible;
use std::io;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use crate::faults::RetryAfter;

pub type Reply = Response<UnsyncBoxBody<Bytes, io::Error>>;

/// What makes the server close the connection at once.
pub fn closed() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

pub fn plain(status: u16, text: &str) -> Reply {
    let full = Full::new(Bytes::copy_from_slice(text.as_bytes()));
    let mut reply = Response::new(full.map_err(|never: Infallible| match never {}).boxed_unsync());
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

pub fn throttled(pause: RetryAfter) -> Reply {
    let after = match pause {
        RetryAfter::Seconds(seconds) => seconds.to_string(),
        RetryAfter::Date(pause) => httpdate::fmt_http_date(SystemTime::now() + pause),
    };
    let mut reply = plain(429, "{}");
    reply.headers_mut().insert("retry-after", after.parse().unwrap());
    reply
}

pub fn partial(failed: &[usize], retryable: bool) -> Reply {
    let error = |index: &usize| {
        json!({"index": index, "status": "error", "retryable": retryable,
               "message": "not today"})
    };
    let results: Vec<Value> = failed.iter().map(error).collect();
    plain(200, &json!({ "results": results }).to_string())
}

pub fn half() -> Reply {
    let frames = [Ok(Frame::data(Bytes::from_static(b"{\"res"))), Err(closed())];
    let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
    let mut reply = Response::new(body);
    reply.headers_mut().insert("content-length", 64.into());
    reply
}
