//! What holds for files in every storage: runs, manifests, replacements.

use insta::assert_snapshot;

use crate::delivery::Session;
use crate::destinations::fixture::{Conversation, IVO, MARA, ZOE, batch, configured, target};
use crate::destinations::{Batch, Configured, Fault, Field, FieldKind, Remote, Target, entry};
use crate::record::{Call, Change};

/// Every storage there is.
fn drops() -> [Configured; 2] {
    ["s3_csv", "sftp_csv"].map(|kind| configured(entry(kind).unwrap().spec.example).unwrap())
}

fn entering(made: &Configured) -> Batch {
    batch([MARA, IVO].map(|user| made.audience(Call::List, user, Change::Entered)))
}

fn mixed(made: &Configured) -> Batch {
    batch([
        made.audience(Call::List, ZOE, Change::Entered),
        made.audience(Call::List, MARA, Change::Exited),
    ])
}

/// A run of one list.
struct Run<'m> {
    made: &'m Configured,
    session: Session,
    remote: Remote,
}

impl<'m> Run<'m> {
    async fn open(made: &'m Configured, run: &str, earlier: Option<Remote>) -> Self {
        let session = Session::served(&made.terms(), Vec::new(), made.server());
        let target = Target { call: Call::List, run: run.into(), remote: earlier, ..target() };
        let remote = made.destination.open(&session, &target).await.unwrap();
        Self { made, session, remote }
    }

    async fn replacing(mut self) -> Self {
        let started = "2026-11-20T09:00:07.25Z".parse().unwrap();
        let destination = &self.made.destination;
        self.remote =
            destination.begin_replacing(&self.session, &self.remote, started).await.unwrap();
        self
    }

    async fn deliver(&self, batch: &Batch) {
        let destination = &self.made.destination;
        destination.deliver(&self.session, &self.remote, batch).await.unwrap();
    }

    async fn conclude(&self) -> Option<Remote> {
        self.made.destination.conclude(&self.session, &self.remote).await.unwrap()
    }

    /// The last file that was put, and what it holds.
    fn last(&self) -> (String, serde_json::Value) {
        let last = self.session.captured().pop().unwrap();
        (last.url, serde_json::from_slice(&last.body).unwrap())
    }

    fn puts(&self) -> usize {
        self.session.captured().len()
    }
}

#[tokio::test]
async fn the_last_file_of_a_run_says_what_the_others_hold() {
    for made in drops() {
        let run = Run::open(&made, "run17", None).await;
        run.deliver(&entering(&made)).await;
        // Sent again, it takes the place of the first try.
        run.deliver(&entering(&made)).await;
        run.deliver(&mixed(&made)).await;
        assert!(run.conclude().await.is_some());
        let (url, manifest) = run.last();
        assert!(url.ends_with("/vip/run17.manifest.json"), "{url}");
        // The rows of fixtures are all numbered 0, so that the second batch takes the first one's name.
        let prefix = manifest["parts"][0]["key"].as_str().unwrap().starts_with("vip/");
        assert!(prefix, "{manifest}");
        assert_eq!((&manifest["added"], &manifest["removed"]), (&1.into(), &1.into()));
        assert_eq!((&manifest["run_id"], &manifest["mode"]), (&"run17".into(), &"delta".into()));
        let captured = run.session.captured();
        for part in manifest["parts"].as_array().unwrap() {
            let key = part["key"].as_str().unwrap();
            let file = captured.iter().rfind(|put| put.url.ends_with(key)).unwrap();
            let rows = file.body.split(|byte| *byte == b'\n').count() - 2;
            assert_eq!(part["rows"], rows);
            let hash = super::manifest::sha256(&file.body);
            assert_eq!(part["sha256"], hash);
        }
    }
}

#[tokio::test]
async fn a_manifest_is_as_documented() {
    let [made, _] = drops();
    let run = Run::open(&made, "run17", None).await;
    run.deliver(&entering(&made)).await;
    run.conclude().await;
    let (_, manifest) = run.last();
    assert_snapshot!(manifest, @r#"{"added":2,"audience_key":"vip","generated_at":"2026-11-20T09:00:00Z","interrupted":[],"mode":"delta","parts":[{"key":"vip/added/run17-0000000000.csv","rows":2,"sha256":"e9f6bcc54dca3458837972d6d55602566c99e530f6bf3b7bbc31a0c56f9663d8"}],"removed":0,"run_id":"run17"}"#);
}

#[tokio::test]
async fn a_run_without_files_or_with_a_manifest_says_nothing_more() {
    for made in drops() {
        let run = Run::open(&made, "run17", None).await;
        assert_eq!(run.conclude().await, None);
        assert_eq!(run.puts(), 0);
        run.deliver(&entering(&made)).await;
        assert!(run.conclude().await.is_some());
        assert_eq!(run.puts(), 2);
        assert_eq!(run.conclude().await, None);
        assert_eq!(run.puts(), 2);
    }
}

#[tokio::test]
async fn runs_that_ended_without_a_manifest_are_named_in_the_next_one() {
    for made in drops() {
        let interrupted = async |run: &Run<'_>| {
            run.deliver(&entering(&made)).await;
            let concluded = run.conclude().await.unwrap();
            (run.last().1["interrupted"].clone(), concluded)
        };
        let killed = Run::open(&made, "run17", None).await.remote;
        let killed = Run::open(&made, "run18", Some(killed)).await.remote;
        let run = Run::open(&made, "run19", Some(killed)).await;
        let (named, concluded) = interrupted(&run).await;
        assert_eq!(named, serde_json::json!(["run17", "run18"]));
        let next = Run::open(&made, "run20", Some(concluded)).await;
        assert_eq!(interrupted(&next).await.0, serde_json::json!([]));
    }
}

#[tokio::test]
async fn a_list_that_is_replaced_is_written_as_a_whole() {
    for made in drops() {
        let run = Run::open(&made, "run17", None).await.replacing().await;
        run.deliver(&entering(&made)).await;
        made.destination.finish_replacing(&run.session, &run.remote).await.unwrap();
        let (url, manifest) = run.last();
        assert!(url.ends_with("/vip/run17.manifest.json"), "{url}");
        assert_eq!((&manifest["mode"], &manifest["added"]), (&"full".into(), &2.into()));
        let key = manifest["parts"][0]["key"].as_str().unwrap();
        assert_eq!(key, "vip/full/run17-0000000000.csv");
        let concluded = run.conclude().await.unwrap();
        assert_eq!(run.puts(), 2, "one manifest is enough");
        let next = Run::open(&made, "run18", Some(concluded)).await;
        next.deliver(&entering(&made)).await;
        assert!(next.session.captured()[0].url.contains("/added/run18-"));
    }
}

#[tokio::test]
async fn a_replacement_that_was_not_finished_only_adds() {
    for made in drops() {
        let run = Run::open(&made, "run17", None).await.replacing().await;
        run.deliver(&entering(&made)).await;
        run.conclude().await.unwrap();
        let manifest = run.last().1;
        assert_eq!((&manifest["mode"], &manifest["added"]), (&"delta".into(), &2.into()));
    }
}

#[tokio::test]
async fn a_list_without_anybody_can_be_whole() {
    for made in drops() {
        let run = Run::open(&made, "run17", None).await.replacing().await;
        made.destination.finish_replacing(&run.session, &run.remote).await.unwrap();
        let manifest = run.last().1;
        assert_eq!(
            (&manifest["mode"], &manifest["parts"]),
            (&"full".into(), &serde_json::json!([]))
        );
        assert_eq!(manifest["generated_at"], "2026-11-20T09:00:07Z");
    }
}

#[tokio::test]
async fn a_rehearsal_shows_both_files_of_a_batch() {
    for made in drops() {
        let session = Session::rehearsal(&made.terms(), 10);
        let target = Target { call: Call::List, ..target() };
        let remote = made.destination.open(&session, &target).await.unwrap();
        let fault = made.destination.deliver(&session, &remote, &mixed(&made)).await;
        assert!(matches!(fault, Err(Fault::Rehearsed)));
        assert_eq!(session.captured().len(), 2);
    }
}

#[test]
fn lists_and_columns_that_cannot_be() {
    for made in drops() {
        let told = |list: &str, column: &str| {
            let fields = vec![Field { name: column.into(), kind: FieldKind::Text }];
            let list = Some(list.into());
            let target = Target { list, fields, call: Call::List, ..target() };
            made.destination.objections(&target).join("; ")
        };
        assert_eq!(told("vip", "tier"), "");
        assert_eq!(
            told("../vip", "email"),
            "the list `../vip` makes no folder; the column `email` is one of the file's own"
        );
        assert_eq!(told("/", "tier"), "the list `/` makes no folder");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_kept_must_be_readable() {
    for made in drops() {
        let session = Session::served(&made.terms(), Vec::new(), made.server());
        let (remote, batch) = (Remote::default(), mixed(&made));
        let fault = made.destination.deliver(&session, &remote, &batch).await;
        assert!(matches!(fault, Err(Fault::Protocol { .. })));
        let Conversation { result, .. } = made.converse(&batch, Vec::new()).await;
        assert!(result.is_ok());
    }
}
