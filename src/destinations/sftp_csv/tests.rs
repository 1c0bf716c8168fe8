//! What a server is asked for, and what its answers mean; how it is really spoken to is tested where SFTP
//! is spoken.

use insta::assert_snapshot;

use crate::delivery::{Captured, Reply, Session};
use crate::destinations::fixture::{IVO, MARA, ZOE, batch, configured, told};
use crate::destinations::{Batch, Configured, Fault, Outcome};
use crate::record::{Call, Change};

/// Takes every file.
pub(crate) fn server(request: &Captured) -> Reply {
    match request.method.as_str() {
        "GET" => Reply::status(200, "a folder"),
        _ => Reply::status(201, request.body.len().to_string()),
    }
}

const HOST_KEY: &str = "host_key = \"SHA256:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE\"\n";

fn text(more: &str) -> String {
    format!(
        "[destinations.d]\ntype = \"sftp_csv\"\nhost = \"sftp.example.com\"\nuser = \"acme\"\n{more}"
    )
}

fn made(more: &str) -> Configured {
    let text = text(&format!("{HOST_KEY}password = \"${{PASSWORD}}\"\n{more}"));
    configured(&text).unwrap_or_else(|findings| panic!("{}", told(&findings)))
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, MARA, Change::Entered),
        made.audience(Call::List, ZOE, Change::Exited),
        made.audience(Call::List, IVO, Change::Entered),
    ])
}

#[tokio::test(start_paused = true)]
async fn who_enters_and_who_leaves_are_files_of_their_own() {
    let made = made("folder = \"/drop zone/in/\"\nport = 2022\n");
    let said = made.converse(&mixed(&made), Vec::new()).await;
    assert_snapshot!(said.wire(), @r#"
    PUT sftp://sftp.example.com:2022/drop%20zone/in/vip/removed/run17-0000000000.csv "audience_key","audience_action","user_id","email","timestamp"
    "vip","false","zoë","zoe+shop@example.org","2026-11-20T09:00:00Z"

    PUT sftp://sftp.example.com:2022/drop%20zone/in/vip/added/run17-0000000000.csv "audience_key","audience_action","user_id","email","timestamp"
    "vip","true","u_8841","mara.lind@example.org","2026-11-20T09:00:00Z"
    "vip","true","u_8842","ivo@example.org","2026-11-20T09:00:00Z"
    "#);
    assert_eq!(said.outcomes(), vec![Outcome::Delivered; 3]);
}

#[tokio::test(start_paused = true)]
async fn answers_are_understood() {
    let made = made("");
    let answer =
        async |reply: Reply| match made.converse(&mixed(&made), vec![reply; 9]).await.result {
            Ok(_) => "stored",
            Err(Fault::Denied { .. }) => "denied",
            Err(Fault::Misconfigured { .. }) => "misconfigured",
            Err(Fault::Transient { .. }) => "transient",
            Err(Fault::Ambiguous { .. }) => "ambiguous",
            Err(Fault::Protocol { .. }) => "unreadable",
            Err(_) => "another fault",
        };
    for (meaning, reply) in [
        ("stored", Reply::status(201, "7")),
        ("unreadable", Reply::status(201, "")),
        ("unreadable", Reply::status(200, "7")),
        ("denied", Reply::status(401, "the server refused the password")),
        ("denied", Reply::status(403, "permission denied")),
        ("denied", Reply::status(421, "another host key")),
        ("misconfigured", Reply::status(404, "no such file")),
        ("misconfigured", Reply::status(405, "not supported")),
        ("transient", Reply::Refused),
        ("ambiguous", Reply::Lost),
    ] {
        assert_eq!(answer(reply.clone()).await, meaning, "{reply:?}");
    }
}

#[tokio::test]
async fn what_the_server_says_is_told_whole() {
    let long = "shown ".repeat(200);
    let made = made("");
    let session = Session::scripted(&made.terms(), vec![Reply::status(421, long.clone())]);
    let fault = made.destination.check(&session).await.unwrap_err();
    assert_eq!(fault, Fault::Denied { reason: long });
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let fact = |more: &str| told(&configured(&text(more)).unwrap_err());
    let password = "password = \"p\"\n";
    let facts = [
        fact(""),
        fact("password = \"\"\n"),
        fact("password = \"p\"\nprivate_key = \"k\"\n"),
        fact("password = \"p\"\npassphrase = \"k\"\n"),
        fact("private_key = \"${KEY}\"\n"),
        fact(&format!("{password}host_key = \"SHA256:abc\"\n")),
        fact(&format!("{password}folder = \"a/../b\"\n")),
        fact(&format!("{password}port = 70000\n")),
        fact(&format!("{password}base_url = \"https://example.com\"\n")),
        told(&configured(&text(password).replace("sftp.ex", "sftp://ex")).unwrap_err()),
    ];
    assert_snapshot!(facts.concat(), @r#"
    D03 option `password` of destination `d` is missing, and so is `private_key`; write one ("sftp_csv") `muster destinations sftp_csv` shows every option and an example
    D03 option `password` of destination `d` is not usable: expected a text that is not empty ("") `muster destinations sftp_csv` shows every option and an example
    D03 option `password` of destination `d` has no meaning beside `private_key` ("p") `muster destinations sftp_csv` shows every option and an example
    D03 option `passphrase` of destination `d` has no meaning without `private_key` ("k") `muster destinations sftp_csv` shows every option and an example
    D03 option `private_key` of destination `d` is not a private key: it must hold `-----BEGIN … PRIVATE KEY-----` and what follows ("${KEY}") `muster destinations sftp_csv` shows every option and an example
    D03 option `host_key` of destination `d` is no host key: write the server's line of `known_hosts` or its fingerprint, "SHA256:…" ("SHA256:abc") `muster destinations sftp_csv` shows every option and an example
    D03 option `folder` of destination `d` must not hold `.` or `..` as a folder ("a/../b") `muster destinations sftp_csv` shows every option and an example
    D03 option `port` of destination `d` is not usable: expected a port, 1 to 65535 (70000) `muster destinations sftp_csv` shows every option and an example
    D02 destination `d` has no option `base_url` ("https://example.com") -
    D03 option `host` of destination `d` is not the name or the address of a server, such as "sftp.example.com" ("sftp://example.com") `muster destinations sftp_csv` shows every option and an example
    "#);
    assert!(!facts.concat().contains("hush"));
}

#[test]
fn without_a_host_key_it_can_be_asked_what_the_server_shows() {
    assert!(configured(&text("password = \"p\"\n")).is_ok());
}
