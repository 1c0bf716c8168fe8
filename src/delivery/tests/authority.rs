//! Tokens are asked for once, used by all, renewed when they are over; signatures are made anew.

use std::time::SystemTime;

use super::*;
use crate::destinations::Secret;

#[derive(Debug)]
struct Fake;

impl Grant for Fake {
    fn request(&self, _now: SystemTime) -> Result<Request, Fault> {
        Ok(Request::post(url("/token")).form_body(&[("id", "us")]).reading(granting))
    }

    fn is_expired(&self, response: &Response) -> bool {
        response.status == 401 || response.body.as_ref() == b"602"
    }
}

fn url(path: &str) -> url::Url {
    url::Url::parse("http://127.0.0.1:9").unwrap().join(path).unwrap()
}

fn token(name: &str, seconds: u64) -> Reply {
    Reply::json(&serde_json::json!({"access_token": name, "expires_in": seconds}))
}

fn session(replies: Vec<Reply>) -> Session {
    let terms = Terms { spec: &SPEC, common: common(), secrets: BTreeSet::new() };
    Session::scripted(&terms, replies)
}

fn work() -> Request {
    let grant: Arc<dyn Grant> = Arc::new(Fake);
    Request::post(url("/work")).granted(&grant)
}

fn paths(session: &Session) -> Vec<String> {
    let path = |request: Captured| url::Url::parse(&request.url).unwrap().path().to_owned();
    session.captured().into_iter().map(path).collect()
}

#[tokio::test(start_paused = true)]
async fn many_requests_share_one_token_until_it_is_about_to_expire() {
    let ok = || Reply::status(200, "ok");
    let session = session(vec![token("t1", 600), ok(), ok(), ok(), token("t2", 600), ok()]);
    futures::future::join_all((0..3).map(|_| session.send(work()))).await;
    tokio::time::advance(Duration::from_secs(545)).await;
    session.send(work()).await.unwrap();
    assert_eq!(paths(&session).iter().filter(|path| *path == "/token").count(), 2);
    assert_eq!(session.core.requests.load(std::sync::atomic::Ordering::Relaxed), 6);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_over_inside_a_200_is_renewed_once_for_all() {
    let over = || Reply::status(200, "602");
    let ok = || Reply::status(200, "ok");
    let replies =
        vec![token("t1", 600), over(), over(), over(), token("t2", 600), ok(), ok(), ok()];
    let terms = Terms { spec: &SPEC, common: common(), secrets: BTreeSet::new() };
    let session = Session::scripted_slowly(&terms, replies, Duration::from_millis(10));
    let all = futures::future::join_all((0..3).map(|_| session.send(work()))).await;
    assert!(all.iter().all(|reply| reply.as_ref().unwrap().body == "ok"));
    assert_eq!(paths(&session).iter().filter(|path| *path == "/token").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_new_token_that_is_refused_too_is_a_matter_of_credentials() {
    let no = || Reply::status(401, "no");
    let session =
        session(vec![token("a", 600), no(), token("b", 600), no(), token("c", 600), no()]);
    assert!(matches!(session.send(work()).await, Err(Fault::Denied { .. })));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_refused_a_token_has_wrong_credentials() {
    let session = session(vec![Reply::status(400, "{\"error\":\"invalid_client\"}")]);
    assert!(matches!(session.send(work()).await, Err(Fault::Denied { .. })));
    assert_eq!(paths(&session), ["/work", "/token"]);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_never_shown() {
    let session = session(vec![token("hush-1", 600), Reply::status(422, "bad hush-1")]);
    let fault = session.send(work()).await.unwrap_err();
    let shown = format!("{fault}{:?}", session.captured());
    assert!(shown.contains("bad [secret]") && !shown.contains("hush"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_rehearsal_asks_for_no_token() {
    let terms = Terms { spec: &SPEC, common: common(), secrets: BTreeSet::new() };
    let session = Session::rehearsal(&terms, 10);
    assert!(matches!(session.send(work()).await, Err(Fault::Rehearsed)));
    let [request] = &session.captured()[..] else { panic!() };
    assert_eq!(request.headers, [("authorization".to_owned(), "[secret]".to_owned())]);
}

/// The example of Amazon's own documentation for `get-vanilla`-like requests, cut to what is ours.
#[tokio::test(start_paused = true)]
async fn a_signature_covers_method_address_headers_and_body() {
    let key = Arc::new(AwsKey {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
        session_token: Some(Secret::new("hush-session")),
        region: "us-east-1".into(),
        service: "kinesis",
    });
    let sign = |body: &'static str| {
        let request = Request::post(url("/")).json_body(body.into());
        key.sign(request, SystemTime::UNIX_EPOCH + Duration::from_secs(1_440_938_160)).unwrap()
    };
    let request = sign("{}");
    let header = |request: &Request, name: &str| {
        request.headers.get(name).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(header(&request, "x-amz-date"), "20150830T123600Z");
    assert_eq!(header(&request, "x-amz-security-token"), "hush-session");
    let signature = header(&request, "authorization");
    let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/kinesis/aws4_request";
    assert!(signature.starts_with(scope), "{signature}");
    assert!(signature.contains("content-type;host;x-amz-date;x-amz-security-token"), "{signature}");
    assert_ne!(signature, header(&sign("{ }"), "authorization"));
    let session = session(vec![]);
    session.send(Request::post(url("/")).signed(&key)).await.unwrap();
    let shown = format!("{:?}", session.captured());
    assert!(shown.contains("[secret]") && !shown.contains("hush"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_header_closes_the_gate_before_anything_is_refused() {
    let heed: Heeding =
        |response, _| (response.headers.get("x-remaining")? == "0").then(|| Duration::from_secs(9));
    let replies = vec![Reply::status(200, "").with_header("x-remaining", "0")];
    let session = session(replies);
    let start = tokio::time::Instant::now();
    for _ in 0..2 {
        session.send(Request::post(url("/work")).heeding(heed)).await.unwrap();
    }
    assert_eq!(start.elapsed().as_secs(), 9);
}
