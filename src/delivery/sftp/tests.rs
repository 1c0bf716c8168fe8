//! A server that really speaks SFTP, on a port of its own.

use std::time::{Duration, SystemTime};

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};

use super::*;
use crate::delivery::{Session, Surroundings, Terms};
use crate::destinations::{Common, Fault, Spec};

mod server;

use server::{Setup, SftpTwin, Trouble};

static SPEC: Spec = Spec { kind: "sftp", ..Spec::LIST };

const PASSWORD: &str = "hush-PASSWORD";
const TEXT: &str = "\"a\",\"b\"\n";

fn session() -> Session {
    let secrets = [PASSWORD.to_owned(), "hush-wrong".to_owned()].into();
    let terms = Terms { spec: &SPEC, common: Common::default(), secrets };
    let surroundings = Surroundings { seed: 0, now: SystemTime::UNIX_EPOCH };
    Session::live(&terms, surroundings).unwrap()
}

fn at(port: u16, host_key: Option<&str>, proof: Proof, folder: &str) -> Arc<SftpServer> {
    let host_key = host_key.map(|text| HostKey::parse(text).unwrap());
    let login = Login { user: "importer".into(), proof };
    Arc::new(SftpServer::new(("127.0.0.1", port), host_key, login, folder).unwrap())
}

fn password(password: &str) -> Proof {
    Proof::Password(Secret::new(password))
}

fn of(twin: &SftpTwin) -> Arc<SftpServer> {
    at(twin.port, Some(&twin.fingerprint()), password(PASSWORD), "drop")
}

async fn put(session: &Session, server: &Arc<SftpServer>, path: &[&str]) -> Result<String, Fault> {
    put_text(session, server, path, TEXT).await
}

async fn put_text(
    session: &Session,
    server: &Arc<SftpServer>,
    path: &[&str],
    text: &str,
) -> Result<String, Fault> {
    let request = server.put(path, "text/csv", Bytes::copy_from_slice(text.as_bytes())).unwrap();
    let response = session.send(request).await?;
    Ok(format!("{} {}", response.status, String::from_utf8_lossy(&response.body)))
}

/// Longer than a few packets, with no two of them alike.
fn long() -> String {
    (0..40_000).map(|number| format!("{number}\n")).collect()
}

#[tokio::test]
async fn a_file_has_another_name_until_it_is_whole() {
    let twin = SftpTwin::start(Setup::default());
    let (session, server) = (session(), of(&twin));
    assert_eq!(put(&session, &server, &["vip/x", "added", "a.csv"]).await.unwrap(), "201 8");
    assert_eq!(twin.files(), [("drop/vip/x/added/a.csv".to_owned(), TEXT.to_owned())].into());
    assert_eq!(
        twin.held().asked,
        [
            "open drop/vip/x/added/.a.csv.tmp",
            "mkdir drop/vip",
            "mkdir drop/vip/x",
            "mkdir drop/vip/x/added",
            "open drop/vip/x/added/.a.csv.tmp",
            "fsync drop/vip/x/added/.a.csv.tmp",
            "posix-rename drop/vip/x/added/.a.csv.tmp drop/vip/x/added/a.csv",
        ]
    );
    let long = long();
    assert_eq!(
        put_text(&session, &server, &["b.csv"], &long).await.unwrap(),
        format!("201 {}", long.len())
    );
    assert!(twin.files()["drop/b.csv"] == long);
    let held = twin.held();
    assert_eq!((held.connections, held.logins), (1, 1));
}

#[tokio::test]
async fn a_repeated_upload_takes_the_place_of_the_first() {
    for extensions in [true, false] {
        let twin = SftpTwin::start(Setup { extensions, ..Setup::default() });
        let (session, server) = (session(), of(&twin));
        for text in ["first", "second"] {
            put_text(&session, &server, &["a.csv"], text).await.unwrap();
            assert_eq!(twin.files(), [("drop/a.csv".to_owned(), text.to_owned())].into());
        }
    }
}

#[tokio::test]
async fn what_a_lost_connection_leaves_behind_is_no_file_and_is_sent_again() {
    let twin = SftpTwin::start(Setup::default());
    let (session, server) = (session(), of(&twin));
    let long = long();
    for (asked, trouble) in [
        ("open", Trouble::Cut),
        ("write", Trouble::Cut),
        ("fsync", Trouble::Cut),
        ("posix-rename", Trouble::Cut),
        ("posix-rename", Trouble::Done),
        ("write", Trouble::Failure),
        ("posix-rename", Trouble::Failure),
    ] {
        twin.held().files.clear();
        twin.trouble(asked, trouble);
        // Whatever is there under the file's name while it is tried is whole.
        put_text(&session, &server, &["a.csv"], &long).await.unwrap();
        assert_eq!(twin.files().len(), 1, "{asked} {trouble:?}");
        assert!(twin.files()["drop/a.csv"] == long, "{asked} {trouble:?}");
    }
}

/// One try only.
fn impatient() -> Session {
    waiting(Common::default().timeout)
}

/// One try only, of which nothing takes longer.
fn waiting(timeout: Duration) -> Session {
    let retry = crate::destinations::Retry { attempts: 1, ..Default::default() };
    let common = Common { retry, timeout, ..Common::default() };
    let terms = Terms { spec: &SPEC, common, secrets: [PASSWORD.to_owned()].into() };
    let surroundings = Surroundings { seed: 0, now: SystemTime::UNIX_EPOCH };
    Session::live(&terms, surroundings).unwrap()
}

#[tokio::test]
async fn only_a_rename_without_a_reply_may_have_arrived() {
    let long = long();
    for (asked, trouble, unclear) in [
        ("open", Trouble::Cut, false),
        ("write", Trouble::Cut, false),
        ("write", Trouble::Failure, false),
        ("posix-rename", Trouble::Failure, false),
        ("posix-rename", Trouble::Cut, true),
        ("posix-rename", Trouble::Done, true),
    ] {
        let twin = SftpTwin::start(Setup::default());
        twin.trouble(asked, trouble);
        let session = impatient();
        let fault = put_text(&session, &of(&twin), &["a.csv"], &long).await.unwrap_err();
        let graded = match fault {
            Fault::Transient { .. } => false,
            Fault::Ambiguous { .. } => true,
            other => panic!("{asked}: {other}"),
        };
        assert_eq!(graded, unclear, "{asked} {trouble:?}");
        assert_eq!(session.may_have_arrived(), unclear, "{asked} {trouble:?}");
        let is_there = twin.files().contains_key("drop/a.csv");
        assert_eq!(is_there, trouble == Trouble::Done, "{asked} {trouble:?}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_is_left_and_met_again() {
    let twin = SftpTwin::start(Setup::default());
    twin.trouble("fsync", Trouble::Silence);
    let session = waiting(Duration::from_secs(3));
    let fault = put(&session, &of(&twin), &["a.csv"]).await.unwrap_err();
    assert!(matches!(&fault, Fault::Transient { reason } if reason.ends_with("no reply in time")));
    put(&session, &of(&twin), &["a.csv"]).await.unwrap();
    assert_eq!(twin.held().connections, 2);
    assert_eq!(twin.files(), [("drop/a.csv".to_owned(), TEXT.to_owned())].into());
}

#[tokio::test]
async fn a_failure_leaves_no_temporary_file() {
    for asked in ["write", "fsync", "posix-rename"] {
        let twin = SftpTwin::start(Setup::default());
        twin.trouble(asked, Trouble::Failure);
        put_text(&impatient(), &of(&twin), &["a.csv"], &long()).await.unwrap_err();
        assert_eq!(twin.files(), [].into(), "{asked}");
    }
}

async fn refused(server: &Arc<SftpServer>) -> String {
    match put(&session(), server, &["vip/x", "a.csv"]).await.unwrap_err() {
        Fault::Denied { reason } => format!("denied: {reason}"),
        Fault::Misconfigured { reason } => format!("misconfigured: {reason}"),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn nothing_is_shown_to_a_server_with_another_key() {
    let twin = SftpTwin::start(Setup::default());
    let other = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let other = other.public_key().to_openssh().unwrap();
    let fingerprint = "SHA256:0000000000000000000000000000000000000000000";
    for pinned in [Some(other.as_str()), Some(fingerprint), None] {
        let told = refused(&at(twin.port, pinned, password(PASSWORD), "drop")).await;
        let shown = twin.fingerprint();
        assert!(told.starts_with("denied: the server at `127.0.0.1:"), "{told}");
        assert!(told.contains(&format!("write `host_key = \"{shown}\"`")), "{told}");
        let why =
            if pinned.is_some() { "`host_key` does not pin" } else { "no `host_key` is pinned" };
        assert!(told.contains(why), "{told}");
    }
    assert_eq!(twin.held().logins, 0);
    assert_eq!(twin.held().passwords, [""; 0]);
    assert_eq!(twin.files(), [].into());
}

#[tokio::test]
async fn any_of_a_servers_keys_can_be_pinned() {
    let ecdsa = Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 };
    let host_keys = vec![Algorithm::Ed25519, ecdsa];
    let twin = SftpTwin::start(Setup { host_keys, ..Setup::default() });
    for key in &twin.host_keys {
        for pinned in [key.to_openssh().unwrap(), key::fingerprint(key)] {
            let server = at(twin.port, Some(&pinned), password(PASSWORD), "drop");
            put(&session(), &server, &["a.csv"]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_key_or_a_password_that_is_asked_for_proves_who_comes() {
    let key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
    let pem = Secret::new(key.to_openssh(LineEnding::CRLF).unwrap().to_string());
    let user_key = Some(key.public_key().clone());
    let twin = SftpTwin::start(Setup { user_key, ..Setup::default() });
    let proof = || Proof::Key(SshKey::parse(&pem, None).unwrap());
    let server = at(twin.port, Some(&twin.fingerprint()), proof(), "drop");
    put(&session(), &server, &["a.csv"]).await.unwrap();
    let told = refused(&of(&twin)).await;
    assert_eq!(
        told,
        "denied: the server refused the password of `importer`; it takes: \
         publickey"
    );

    let asks = SftpTwin::start(Setup { asks: true, ..Setup::default() });
    put(&session(), &of(&asks), &["a.csv"]).await.unwrap();
    let server = at(asks.port, Some(&asks.fingerprint()), proof(), "drop");
    assert!(refused(&server).await.contains("refused the key of `importer`"));
}

#[tokio::test]
async fn a_wrong_password_is_final_and_never_shown() {
    let twin = SftpTwin::start(Setup::default());
    let server = at(twin.port, Some(&twin.fingerprint()), password("hush-wrong"), "drop");
    let told = refused(&server).await;
    assert!(told.starts_with("denied:") && !told.contains("hush"), "{told}");
    assert_eq!(twin.held().passwords, ["hush-wrong"]);
    assert!(!format!("{server:?}{:?}", server.look()).contains("hush"));
}

#[tokio::test]
async fn a_folder_that_is_missing_or_locked_is_told_with_its_name() {
    let twin = SftpTwin::start(Setup { locked: Some("drop"), ..Setup::default() });
    assert_eq!(
        refused(&of(&twin)).await,
        "denied: `drop/vip` could not be made: Permission denied"
    );
    let server = at(twin.port, Some(&twin.fingerprint()), password(PASSWORD), "dorp");
    assert_eq!(
        refused(&server).await,
        "misconfigured: there is no folder `dorp` on the server; make it, or set \
         `folder`"
    );
    let look = |server: &Arc<SftpServer>| server.look().unwrap();
    assert!(session().send(look(&of(&twin))).await.is_ok());
    assert!(session().send(look(&server)).await.is_err());
    let home = at(twin.port, Some(&twin.fingerprint()), password(PASSWORD), "");
    assert!(session().send(look(&home)).await.is_ok());
    put(&session(), &home, &["a.csv"]).await.unwrap();
    let file = at(twin.port, Some(&twin.fingerprint()), password(PASSWORD), "a.csv");
    assert!(session().send(look(&file)).await.is_err());
}

#[tokio::test]
async fn a_server_that_is_not_there_or_no_server_is_tried_again() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = nobody.local_addr().unwrap().port();
    drop(nobody);
    let server = at(port, None, password(PASSWORD), "drop");
    let fault = put(&impatient(), &server, &["a.csv"]).await.unwrap_err();
    assert!(matches!(fault, Fault::Transient { .. }), "{fault}");

    let web = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = web.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let server = at(port, None, password(PASSWORD), "drop");
    let fault = put(&impatient(), &server, &["a.csv"]).await.unwrap_err();
    assert!(matches!(fault, Fault::Transient { .. }), "{fault}");
    thread.join().unwrap();
}

#[test]
fn addresses_are_shown_as_people_write_them() {
    let url = |host: &str, folder: &str| {
        let login = Login { user: "importer".into(), proof: password(PASSWORD) };
        let server = SftpServer::new((host, 2022), None, login, folder);
        server
            .map(|server| Arc::new(server).put(&["a b/c", "x.csv"], "", Bytes::new()).unwrap().url)
    };
    let shown = |host, folder| url(host, folder).map(|url| url.to_string());
    let expected = |text: &str| Some(text.to_owned());
    assert_eq!(
        shown("sftp.example.com", ""),
        expected("sftp://sftp.example.com:2022/~/a%20b/c/x.csv")
    );
    assert_eq!(
        shown("10.0.0.7", "/data/in/"),
        expected("sftp://10.0.0.7:2022/data/in/a%20b/c/x.csv")
    );
    assert_eq!(shown("[::1]", "/"), expected("sftp://[::1]:2022/a%20b/c/x.csv"));
    for host in ["", "sftp://host", "a b", "user@host", "host:22", "host/x"] {
        assert_eq!(shown(host, ""), None, "{host}");
    }
}
