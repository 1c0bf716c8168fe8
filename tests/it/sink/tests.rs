//! The sink itself keeps its word: what convergence is judged by must not be wrong.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use super::*;
use crate::faults::RetryAfter;

/// What one posted message is answered with, up to the end of the connection.
fn post(sink: &Sink, user: &str) -> String {
    let body = json!({"type": "identify", "messageId": user, "userId": user,
                      "traits": {"score": 1}})
    .to_string();
    let mut stream = TcpStream::connect(sink.address).unwrap();
    let head = "POST /hook HTTP/1.1\r\nhost: sink\r\nconnection: close\r\ncontent-length:";
    write!(stream, "{head} {}\r\n\r\n{body}", body.len()).unwrap();
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8(reply).unwrap()
}

#[test]
fn every_answer_applies_and_replies_as_it_says() {
    let partial = |failed| Answer::Partial { failed: Some(failed), retryable: true };
    for (answer, applied, reply) in [
        (Answer::Accept, true, "HTTP/1.1 200 OK"),
        (Answer::Refuse, false, ""),
        (Answer::LostReply, true, ""),
        (Answer::Throttle(RetryAfter::Seconds(7)), false, "retry-after: 7"),
        (partial(vec![0]), false, r#""status":"error""#),
        (partial(vec![]), true, r#"{"results":[]}"#),
        (Answer::Garbage, false, "<html>"),
        (Answer::Status(422), false, "HTTP/1.1 422"),
    ] {
        let sink = Sink::start();
        sink.script([answer.clone()]);
        let got = post(&sink, "u1");
        assert!(got.contains(reply) && got.is_empty() == reply.is_empty(), "{answer:?}: {got}");
        assert_eq!(!sink.remote().facts().is_empty(), applied, "{answer:?}");
        assert_eq!((sink.arrived(), sink.requests()[0].answer.clone()), (1, answer));
    }
}

#[test]
fn a_cut_reply_never_ends() {
    let sink = Sink::start();
    sink.script([Answer::Cut]);
    assert!(!post(&sink, "u1").contains("\"}"));
    assert_eq!(sink.remote().facts().len(), 1);
}

#[test]
fn a_client_that_dies_in_its_body_leaves_no_connection_behind() {
    for moment in [Moment::Arrived, Moment::Applied] {
        let sink = Sink::start();
        sink.on_request(1, moment, || {});
        let mut stream = TcpStream::connect(sink.address).unwrap();
        write!(stream, "POST /hook HTTP/1.1\r\nhost: sink\r\ncontent-length: 9\r\n\r\n{{").unwrap();
        sink.wait_for_requests(1);
        drop(stream);
        sink.wait_until_idle();
        assert!(sink.requests().is_empty());
    }
}

#[test]
fn a_client_that_gave_up_on_a_held_request_is_not_applied() {
    let sink = Sink::start();
    sink.script([Answer::Hold]);
    let mut stream = TcpStream::connect(sink.address).unwrap();
    write!(stream, "POST /hook HTTP/1.1\r\nhost: sink\r\ncontent-length: 2\r\n\r\n{{}}").unwrap();
    sink.wait_for_requests(1);
    drop(stream);
    sink.wait_until_idle();
    sink.healthy();
    assert!(sink.remote().facts().is_empty() && sink.remote().violations().is_empty());
}
