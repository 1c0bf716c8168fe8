//! Files over SFTP: whole runs against a server that really speaks it.

use serde_json::Value;

use crate::project::TempProject;

#[path = "../../src/delivery/sftp/tests/server.rs"]
mod server;

use server::{Setup, SftpTwin, Trouble};

const ADULTS: &str = "SELECT user_id FROM users WHERE adult = 1";
const SYNC: &str = "adults.drop";

/// Users who are adults or not, by their emails.
fn users(project: &TempProject, rows: &[(&str, bool)]) {
    let mut text = "user_id,adult,email\n".to_owned();
    for (user, adult) in rows {
        text.push_str(&format!("{user},{},{user}@example.com\n", u8::from(*adult)));
    }
    project.table_csv("users", &text);
}

fn shop(twin: &SftpTwin) -> TempProject {
    let project = TempProject::new();
    project
        .identifiers("SELECT user_id, 'email' AS type, email AS value FROM users")
        .audience("adults", "\"drop\"", ADULTS)
        .environment("SFTP_PASSWORD", "hush-PASSWORD");
    section(&project, twin, &format!("host_key = \"{}\"\n", twin.fingerprint()));
    users(&project, &[("ada", true), ("bob", true), ("eve", false)]);
    project
}

fn section(project: &TempProject, twin: &SftpTwin, more: &str) {
    let port = twin.port;
    project.destination(
        "drop",
        &format!(
            "type = \"sftp_csv\"\nhost = \"127.0.0.1\"\nport = {port}\nuser = \"importer\"\n\
             password = \"${{SFTP_PASSWORD}}\"\nfolder = \"drop\"\nevery = \"1ms\"\n\
             retry = {{ attempts = 3, for = \"20s\" }}\n{more}"
        ),
    );
}

/// Who is named in the files of one kind, file by file in the order of their names.
fn named(twin: &SftpTwin, kind: &str) -> Vec<Vec<String>> {
    let files = twin.files();
    let of_kind = files
        .iter()
        .filter(|(path, _)| path.contains(&format!("/{kind}/")) && !path.ends_with(".tmp"));
    let users = of_kind.map(|(_, text)| {
        text.lines().skip(1).map(|line| line.split('"').nth(5).unwrap().to_owned()).collect()
    });
    users.collect()
}

/// The manifests, in the order of their runs.
fn manifests(twin: &SftpTwin) -> Vec<Value> {
    let files = twin.files();
    let manifests = files.iter().filter(|(path, _)| path.ends_with(".manifest.json"));
    manifests.map(|(_, text)| serde_json::from_str(text).unwrap()).collect()
}

fn no_temporary_files(twin: &SftpTwin) {
    assert!(twin.files().keys().all(|path| !path.ends_with(".tmp")), "{:?}", twin.files());
}

#[test]
fn a_list_is_written_first_as_a_whole_and_then_as_who_came_and_who_went() {
    let twin = SftpTwin::start(Setup::default());
    let project = shop(&twin);
    let report = project.run(&[]);
    assert_eq!(report.outcome(SYNC), [2, 0, 0]);
    assert_eq!(named(&twin, "added"), [["ada", "bob"]]);
    let asked = twin.held().asked.clone();
    let last = asked.last().unwrap();
    assert!(last.starts_with("posix-rename") && last.ends_with(".manifest.json"), "{asked:?}");

    users(&project, &[("bob", false), ("cem", true), ("dan", true), ("ada", true)]);
    project.run(&["--allow-large-change"]);
    assert_eq!(named(&twin, "added"), [vec!["ada", "bob"], vec!["cem", "dan"]]);
    assert_eq!(named(&twin, "removed"), [["bob"]]);

    project.run(&[]);
    let manifests = manifests(&twin);
    let counts: Vec<_> = manifests.iter().map(|one| (&one["added"], &one["removed"])).collect();
    assert_eq!(counts, [(&2.into(), &0.into()), (&2.into(), &1.into())]);
    for manifest in &manifests {
        assert_eq!(
            (&manifest["mode"], &manifest["interrupted"][0]),
            (&"delta".into(), &Value::Null)
        );
        for part in manifest["parts"].as_array().unwrap() {
            let path = format!("drop/{}", part["key"].as_str().unwrap());
            let rows = twin.files()[&path].lines().count() - 1;
            assert_eq!(part["rows"], rows);
        }
    }
    no_temporary_files(&twin);
}

#[test]
fn a_list_can_be_replaced_by_a_full_one() {
    let twin = SftpTwin::start(Setup::default());
    let project = shop(&twin);
    project.run(&[]);
    users(&project, &[("ada", true), ("bob", false), ("cem", true)]);
    project.run(&["--allow-large-change", "--replace", SYNC]);
    assert_eq!(named(&twin, "full"), [["ada", "cem"]]);
    assert_eq!(named(&twin, "removed"), [[""; 0]; 0]);
    let modes: Vec<_> = manifests(&twin).into_iter().map(|one| one["mode"].clone()).collect();
    assert_eq!(modes, ["delta", "full"]);
    // Who went by the replacement is not removed again.
    project.run(&[]);
    assert_eq!(named(&twin, "removed"), [[""; 0]; 0]);
}

#[test]
fn a_connection_that_is_lost_delivers_nothing_twice() {
    for (asked, trouble) in
        [("fsync", Trouble::Cut), ("posix-rename", Trouble::Done), ("open", Trouble::Failure)]
    {
        let twin = SftpTwin::start(Setup::default());
        let project = shop(&twin);
        twin.trouble(asked, trouble);
        assert_eq!(project.run(&[]).outcome(SYNC), [2, 0, 0]);
        assert_eq!(named(&twin, "added"), [["ada", "bob"]]);
        no_temporary_files(&twin);
    }
}

#[test]
fn a_run_without_a_manifest_is_named_by_the_next() {
    let twin = SftpTwin::start(Setup::default());
    let project = shop(&twin);
    // The file is renamed; whatever comes after it fails.
    for _ in 0..3 {
        twin.trouble("posix-rename manifest", Trouble::Failure);
    }
    let ran = project.muster(&["run", "--format", "json"]);
    let ran = ran.says(&["the end of the run could not be told"]);
    assert_eq!(ran.json()["syncs"][0]["delivered"], 2);
    assert_eq!(manifests(&twin), [Value::Null; 0]);
    users(&project, &[("ada", true), ("bob", true), ("cem", true)]);
    project.run(&[]);
    let manifest = &manifests(&twin)[0];
    let interrupted = manifest["interrupted"].as_array().unwrap();
    let first = twin.files().into_keys().find(|path| path.contains("/added/")).unwrap();
    assert_eq!(interrupted.len(), 1);
    assert!(first.contains(interrupted[0].as_str().unwrap()), "{first} {manifest}");
}

#[test]
fn an_interrupted_upload_is_no_file_and_goes_again() {
    let twin = SftpTwin::start(Setup::default());
    let project = shop(&twin);
    twin.trouble("fsync", Trouble::Silence);
    let running = project.start(&["run", "--format", "json"]);
    twin.hears("fsync");
    running.interrupt();
    let ran = running.finish();
    assert_eq!(ran.json()["syncs"][0]["delivered"], 0);
    assert!(twin.files().keys().all(|path| path.ends_with(".tmp")), "{:?}", twin.files());
    project.run(&[]);
    assert_eq!(named(&twin, "added"), [["ada", "bob"]]);
    let manifest = &manifests(&twin)[0];
    assert_eq!((&manifest["added"], &manifest["interrupted"][0]), (&2.into(), &ran.json()["run"]));
}

#[test]
fn nothing_is_sent_without_the_right_host_key_and_the_way_out_is_told() {
    let twin = SftpTwin::start(Setup::default());
    let project = shop(&twin);
    let pin = format!("write `host_key = \"{}\"`", twin.fingerprint());
    let other = "host_key = \"SHA256:LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE\"\n";
    for more in ["", other] {
        section(&project, &twin, more);
        let tested = project.muster(&["destinations", "--test", "drop"]);
        assert!(tested.stderr.contains(&pin), "{tested}");
        let ran = project.muster(&["run", "--format", "json"]).says(&[&pin]);
        assert_eq!(ran.json()["syncs"][0]["delivered"], 0);
    }
    let held = twin.held();
    assert_eq!((held.logins, held.files.len(), held.passwords.len()), (0, 0, 0));
}

#[test]
fn a_wrong_password_is_told_without_it_and_tried_once() {
    let twin = SftpTwin::start(Setup { password: "another", ..Setup::default() });
    let project = shop(&twin);
    let ran = project.muster(&["run", "-vvv"]).says(&["refused the password of `importer`"]);
    assert!(!ran.stderr.contains("hush") && !ran.stdout.contains("hush"), "{ran}");
    assert_eq!(twin.held().passwords.len(), 1);
}

#[test]
fn payloads_show_files_without_sending_them() {
    let twin = SftpTwin::start(Setup::default());
    let project = shop(&twin);
    let shown = project.muster(&["plan", "--payloads", "3"]).exits(0);
    let shown = shown.shows(&["PUT sftp://127.0.0.1:", "/~/drop/adults/added/", "ada@example.com"]);
    assert!(!shown.stdout.contains("hush"), "{shown}");
    assert_eq!(twin.held().connections, 0);
    assert_eq!(project.muster(&["destinations", "--test", "drop"]).exits(0).code, Some(0));
    assert_eq!(twin.held().asked, ["stat drop"]);
}
