//! What S3 is sent, and what its replies mean.

use insta::assert_snapshot;

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target, told};
use crate::destinations::{Batch, Configured, Fault, Outcome, Target};
use crate::record::{Call, Change};

/// Stores every object.
pub(crate) fn server(request: &Captured) -> Reply {
    match request.method.as_str() {
        "GET" => Reply::status(200, LOCATION),
        _ => stored(),
    }
}

const LOCATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LocationConstraint \
    xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">eu-west-1</LocationConstraint>";

fn stored() -> Reply {
    Reply::status(200, "").with_header("etag", "\"9b2cf535f27731c974343645a3985328\"")
}

fn refused(status: u16, code: &str) -> Reply {
    Reply::status(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>"))
}

fn text(more: &str) -> String {
    format!(
        "[destinations.d]\ntype = \"s3_csv\"\nbucket = \"acme\"\nregion = \"eu-west-1\"\n\
         access_key_id = \"${{ID}}\"\nsecret_access_key = \"${{KEY}}\"\n{more}"
    )
}

fn made(more: &str) -> Configured {
    configured(&text(more)).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

async fn answered(replies: Vec<Reply>) -> Conversation {
    let made = made("");
    made.converse(&mixed(&made), replies).await
}

#[tokio::test(start_paused = true)]
async fn who_enters_and_who_leaves_are_files_of_their_own() {
    let said = answered(Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    PUT https://acme.s3.eu-west-1.amazonaws.com/vip/removed/run17-0000000000.csv "audience_key","audience_action","user_id","email","timestamp"
    "vip","false","zoë","zoe+shop@example.org","2026-11-20T09:00:00Z"

    PUT https://acme.s3.eu-west-1.amazonaws.com/vip/added/run17-0000000000.csv "audience_key","audience_action","user_id","email","timestamp"
    "vip","true","u_8841","mara.lind@example.org","2026-11-20T09:00:00Z"
    "vip","true","u_8842","ivo@example.org","2026-11-20T09:00:00Z"
    "#);
    let names = said.captured[0].headers.iter().map(|(name, _)| name.as_str());
    assert_snapshot!(names.collect::<Vec<_>>().join(" "), @"content-type x-amz-date authorization x-amz-content-sha256");
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test(start_paused = true)]
async fn columns_are_as_configured() {
    let made = made(
        "match_by = [\"email\", \"phone\", \"external_id\"]\nhash = [\"email\"]\nuser_id = false\n\
         delimiter = \"|\"\ncountry = \"AT\"\n",
    );
    let ids = [("phone", "0660 1234567"), ("external_id", "A|\"1\"")];
    let hash = "7799473ff091b38137e0698047364e040446fe7cb3209e8321d5a865127853d0";
    let ada = crate::destinations::fixture::User { email: "ada.lovelace@example.org", ..MARA };
    let hashed = crate::destinations::fixture::User { email: hash, ..IVO };
    let members = batch([
        made.member(ada, Change::Entered, &ids, &[]),
        made.member(hashed, Change::Entered, &[], &[]),
    ]);
    let said = made.converse(&members, Vec::new()).await;
    assert_snapshot!(String::from_utf8_lossy(&said.captured[0].body), @r#"
    "audience_key"|"audience_action"|"email_sha256"|"phone"|"external_id"|"timestamp"
    "vip"|"true"|"7799473ff091b38137e0698047364e040446fe7cb3209e8321d5a865127853d0"|"+436601234567"|"A|""1"""|"2026-11-20T09:00:00Z"
    "vip"|"true"|"7799473ff091b38137e0698047364e040446fe7cb3209e8321d5a865127853d0"|""|""|"2026-11-20T09:00:00Z"
    "#);
}

#[tokio::test(start_paused = true)]
async fn other_columns_of_the_model_travel_with_who_is_added() {
    let made = made("");
    let values =
        [("tier", serde_json::json!("5\" gold,\nred")), ("spent", serde_json::Value::Null)];
    let rows = [Change::Entered, Change::Exited]
        .map(|change| made.message(Call::List, MARA, change, &values));
    let said = made.converse(&batch(rows), Vec::new()).await;
    let bodies = said.captured.iter().map(|call| String::from_utf8_lossy(&call.body));
    assert_snapshot!(bodies.collect::<Vec<_>>().join("---\n"), @r#"
    "audience_key","audience_action","user_id","email","timestamp"
    "vip","false","u_8841","mara.lind@example.org","2026-11-20T09:00:00Z"
    ---
    "audience_key","audience_action","user_id","email","tier","spent","timestamp"
    "vip","true","u_8841","mara.lind@example.org","5"" gold,
    red","","2026-11-20T09:00:00Z"
    "#);
}

async fn placed(more: &str, list: Option<&str>) -> String {
    let made = made(more);
    let session = Session::served(&made.terms(), Vec::new(), made.server());
    let target = Target { call: Call::List, list: list.map(Into::into), ..target() };
    let remote = made.destination.open(&session, &target).await.unwrap();
    let one = batch([made.audience(Call::List, MARA, Change::Entered)]);
    made.destination.deliver(&session, &remote, &one).await.unwrap();
    session.captured()[0].url.clone()
}

#[tokio::test(start_paused = true)]
async fn objects_lie_where_the_project_says() {
    let places = [
        placed("", None).await,
        placed("prefix = \"/a b/c+d/\"\n", Some("VIP (Zürich)/new")).await,
        placed("path_style = true\n", None).await,
        placed("base_url = \"http://127.0.0.1:9/store\"\n", None).await,
        placed("base_url = \"http://localhost:9\"\npath_style = false\n", None).await,
    ];
    assert_snapshot!(places.join("\n"), @r#"
    https://acme.s3.eu-west-1.amazonaws.com/vip/added/run17-0000000000.csv
    https://acme.s3.eu-west-1.amazonaws.com/a%20b/c%2Bd/VIP%20%28Z%C3%BCrich%29/new/added/run17-0000000000.csv
    https://s3.eu-west-1.amazonaws.com/acme/vip/added/run17-0000000000.csv
    http://127.0.0.1:9/store/acme/vip/added/run17-0000000000.csv
    http://acme.localhost:9/vip/added/run17-0000000000.csv
    "#);
    let dotted = text("").replace("acme", "acme.eu").replace("eu-west-1", "cn-north-1");
    let made = configured(&dotted).unwrap();
    assert!(format!("{made:?}").contains("s3.cn-north-1.amazonaws.com.cn"));
}

#[tokio::test(start_paused = true)]
async fn encryption_is_asked_for_and_signed() {
    let made = made("encryption = \"aws:kms\"\nkms_key_id = \"k1\"\nsession_token = \"${T}\"\n");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    let asked =
        said.captured[0].headers.iter().filter(|(name, _)| name.starts_with("x-amz-server"));
    let asked: Vec<_> = asked.map(|(name, value)| format!("{name}: {value}")).collect();
    assert_snapshot!(asked.join("\n"), @r#"
    x-amz-server-side-encryption: aws:kms
    x-amz-server-side-encryption-aws-kms-key-id: k1
    "#);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_batch_takes_the_place_of_the_first_try() {
    let made = made("");
    let session = Session::served(&made.terms(), vec![Reply::Lost], made.server());
    let batch = mixed(&made);
    for _ in 0..2 {
        let said = made.converse_through(&session, &batch).await;
        assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
    }
    let put: Vec<_> =
        session.captured().into_iter().map(|call| (call.method, call.url, call.body)).collect();
    assert_eq!(put.len(), 4);
    assert_eq!(put[..2], put[2..]);
}

#[tokio::test(start_paused = true)]
async fn replies_are_understood() {
    let answer = async |reply: Reply| match answered(vec![reply; 9]).await.result {
        Ok(_) => "stored",
        Err(Fault::Denied { .. }) => "denied",
        Err(Fault::Misconfigured { .. }) => "misconfigured",
        Err(Fault::Rejected { .. }) => "rejected",
        Err(Fault::Transient { .. }) => "transient",
        Err(Fault::Ambiguous { .. }) => "ambiguous",
        Err(Fault::Protocol { .. }) => "unreadable",
        Err(_) => "another fault",
    };
    let table = [
        ("stored", stored()),
        ("unreadable", Reply::status(200, "")),
        ("unreadable", Reply::status(200, "<html>").with_header("etag", "\"1\"")),
        ("unreadable", Reply::status(204, "").with_header("etag", "\"1\"")),
        ("denied", refused(403, "AccessDenied")),
        ("denied", refused(400, "ExpiredToken")),
        ("misconfigured", refused(404, "NoSuchBucket")),
        ("misconfigured", refused(301, "PermanentRedirect")),
        ("misconfigured", refused(400, "AuthorizationHeaderMalformed")),
        ("misconfigured", refused(405, "MethodNotAllowed")),
        ("rejected", refused(400, "EntityTooLarge")),
        ("transient", refused(409, "OperationAborted")),
        ("ambiguous", refused(400, "RequestTimeout")),
        ("ambiguous", refused(500, "InternalError")),
    ];
    for (meaning, reply) in table {
        assert_eq!(answer(reply.clone()).await, meaning, "{reply:?}");
    }
    // What slows us down costs no attempt.
    let busy = vec![refused(503, "SlowDown"); 9];
    assert_eq!(answered(busy).await.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn credentials_are_proven_by_the_buckets_location() {
    let made = made("");
    for (reply, proven) in [
        (Reply::status(200, LOCATION), true),
        (Reply::status(200, "<html>"), false),
        (refused(403, "AccessDenied"), false),
    ] {
        let session = Session::scripted(&made.terms(), vec![reply]);
        assert_eq!(made.destination.check(&session).await.is_ok(), proven);
        assert_eq!(session.captured()[0].url, "https://acme.s3.eu-west-1.amazonaws.com/?location");
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let fact = |more: &str| told(&configured(&text(more)).unwrap_err());
    let facts = [
        fact("hash = [\"external_id\"]\n"),
        fact("hash = [\"phone\"]\n"),
        fact("match_by = [\"fax\"]\n"),
        fact("kms_key_id = \"k1\"\n"),
        fact("prefix = \"a/../b\"\n"),
        fact("delimiter = \"x\"\n"),
        told(&configured(&text("").replace("acme", "Acme_1")).unwrap_err()),
        told(&configured(&text("").replace("eu-west-1", "eu.west")).unwrap_err()),
    ];
    assert_snapshot!(facts.concat(), @r#"
    D03 option `hash` of destination `d` must name identifiers of `match_by` other than `external_id` (["external_id"]) `muster destinations s3_csv` shows every option and an example
    D03 option `hash` of destination `d` must name identifiers of `match_by` other than `external_id` (["phone"]) `muster destinations s3_csv` shows every option and an example
    D03 option `match_by` of destination `d` must name at least one of `email`, `phone`, `idfa`, `gaid`, `external_id`, and nothing else (["fax"]) `muster destinations s3_csv` shows every option and an example
    D03 option `kms_key_id` of destination `d` has no meaning without `encryption = "aws:kms"` ("k1") `muster destinations s3_csv` shows every option and an example
    D03 option `prefix` of destination `d` must not hold `.` or `..` as a folder ("a/../b") `muster destinations s3_csv` shows every option and an example
    D03 option `delimiter` of destination `d` is not usable: expected one of `,`, `;`, `|`, `:`, `tab` ("x") did you mean `,`?
    D03 option `bucket` of destination `d` is not the name of a bucket: 3 to 63 small letters, digits, `.` and `-` ("Acme_1") `muster destinations s3_csv` shows every option and an example
    D03 option `region` of destination `d` is not the name of a region, such as "eu-west-1" ("eu.west") `muster destinations s3_csv` shows every option and an example
    "#);
}
