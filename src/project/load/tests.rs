use std::fs;
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::finding::Severity;
use crate::project::{Bound, Emails, Guard, ModelKind, OnMissing, TableFormat};
use crate::record::Call;

mod slips;

/// A project folder in the making.
struct Folder(TempDir);

impl Folder {
    fn new(toml: &str) -> Self {
        Self(tempfile::tempdir().unwrap()).with("muster.toml", toml)
    }

    fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn load(&self) -> Project {
        load(self.0.path(), &|name| match name {
            "TOKEN" => Some("s3cr3t".into()),
            "OTHER" => Some("${TOKEN}".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }
}

/// Code, file, line and hint of every finding.
fn facts(project: &Project) -> Vec<(&'static str, String, usize, &str)> {
    let facts = project.findings.iter().map(|finding| {
        let (file, line) = finding.place.as_ref().map_or_else(Default::default, |place| {
            let line = place.span.as_ref().map_or(0, |span| place.source.line_column(span.start).0);
            (place.source.path.display().to_string(), line)
        });
        (finding.code, file, line, finding.hint.as_deref().unwrap_or_default())
    });
    facts.collect()
}

/// The text a finding points at.
fn marked(finding: &Finding) -> &str {
    let place = finding.place.as_ref().unwrap();
    &place.source.text[place.span.clone().unwrap()]
}

const MODEL: &str = "/*[trait]*/ SELECT user_id FROM orders";
const QUERY: &str = "SELECT user_id FROM orders";
const AUDIENCE: &str = "/*[audience]*/ SELECT user_id FROM orders";
const CRM: &str = "[destinations.crm]\ntype = 'webhook'\n";

#[test]
fn an_event_needs_a_track_call() {
    let sql = "/*\n[trait]\nsync = { to = 'crm', as = 'identify', event = 'x' }\n*/ SELECT 1";
    let project = Folder::new(CRM).with("queries/traits/t.sql", sql).load();
    assert_eq!(
        facts(&project),
        [(
            "H03",
            "queries/traits/t.sql".to_owned(),
            3,
            "remove `event`, or write `as = \"track\"`"
        )]
    );
}

#[test]
fn findings_mark_what_they_are_about() {
    let project = Folder::new("[destinations.crm]\ntype = 'webhook'\nurl = 'https://ü${GONE}/'")
        .with("queries/audiences/a.sql", "-- ü\n/* [audience]\nsync = { to = 'crn' } */ SELECT 1")
        .load();
    let marks: Vec<_> = project.findings.iter().map(marked).collect();
    assert_eq!(marks, ["${GONE}", "'crn'"]);
    assert_eq!(project.findings[0].destination.as_deref(), Some("crm"));
}

#[test]
fn unknown_keys_list_the_known_ones() {
    let project = Folder::new("[users]\nkye = 'id'").with("queries/traits/t.sql", MODEL).load();
    assert_eq!(
        project.findings[0].notes,
        ["known keys: `key`, `identifiers`, `profiles`, `suppress`"]
    );
}

#[test]
fn without_a_muster_toml_there_is_only_that_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let hint = "run `muster init DIR`, or point at a project with `--project DIR`";
    for root in [folder.path().to_owned(), folder.path().join("nowhere")] {
        let project = load(&root, &|_| None);
        assert_eq!(facts(&project), [("P01", FILE.to_owned(), 0, hint)]);
        assert_eq!(project.users.key, "user_id");
    }
}

#[test]
fn a_muster_toml_that_is_a_folder_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join(FILE)).unwrap();
    let project = load(folder.path(), &|_| None);
    assert_eq!(project.findings[0].message, "`muster.toml` is a folder, not a file");
}

#[test]
fn text_that_is_not_utf8_is_shown_by_line() {
    let bad = b"/*\n\xff*/ SELECT 1";
    let hint = "save the file as UTF-8";
    let project = Folder::new(CRM)
        .with("queries/identifiers.sql", bad)
        .with("queries/traits/t.sql", [b"\xef\xbb\xbf", &bad[..]].concat())
        .load();
    let file = |path: &str| ("P06", path.to_owned(), 2, hint);
    assert_eq!(facts(&project), [file("queries/identifiers.sql"), file("queries/traits/t.sql")]);

    let folder = Folder::new("").with("muster.toml", b"[project]\nname = '\xe4'");
    assert_eq!(facts(&folder.load()), [("P06", FILE.to_owned(), 2, hint)]);
}

#[test]
fn two_models_cannot_have_one_key() {
    let project = Folder::new("")
        .with("queries/traits/vip.sql", MODEL)
        .with("queries/traits/vip_.sql", MODEL)
        .with("queries/audiences/people.sql", format!("/*\n[audience]\nname = 'V.I.P'\n*/{MODEL}"))
        .with("queries/audiences/other.sql", format!("/*\n[audience]\nname = 'vip'\n*/{MODEL}"))
        .load();
    let hint = "give one of them another `name`";
    assert_eq!(
        facts(&project),
        [
            ("H04", "queries/audiences/other.sql".to_owned(), 3, hint),
            ("H04", "queries/traits/vip_.sql".to_owned(), 0, hint)
        ]
    );
    assert_eq!(
        project.findings[0].message,
        "`queries/traits/vip.sql` and `queries/audiences/other.sql` have the same key `vip`"
    );
    let keys: Vec<_> = project.models.iter().map(|model| (&*model.key, model.kind)).collect();
    assert_eq!(
        keys,
        [("v_i_p", ModelKind::Audience), ("vip", ModelKind::Trait), ("vip", ModelKind::Audience)]
    );
}

#[test]
fn a_project_without_models_is_worth_a_warning() {
    let project = Folder::new("[project]\nname = 'x'").load();
    let hint = "write one into `queries/traits/` or `queries/audiences/`";
    assert_eq!(facts(&project), [("P07", FILE.to_owned(), 0, hint)]);
    assert_eq!(project.findings[0].severity, Severity::Warning);
}

#[test]
fn only_sql_files_directly_in_the_folders_are_models() {
    let project = Folder::new("")
        .with("queries/traits/a.sql", MODEL)
        .with("queries/traits/notes.md", "no")
        .with("queries/traits/.#a.sql", "no")
        .with("queries/traits/old/b.sql", MODEL)
        .load();
    let hint = "move its models up into the folder above";
    assert_eq!(facts(&project), [("P07", "queries/traits/old".to_owned(), 0, hint)]);
    assert!(!project.has_errors());
    assert_eq!(project.models.len(), 1);
}

#[test]
fn a_model_beside_the_folders_is_missed() {
    let project = Folder::new("")
        .with("queries/traits/a.sql", MODEL)
        .with("queries/b.sql", "/*\n[audience]\n*/ SELECT 1")
        .with("queries/scratch.sql", QUERY)
        .load();
    let hint = "move the file into `audiences/`";
    assert_eq!(facts(&project), [("P07", "queries/b.sql".to_owned(), 2, hint)]);
}

#[test]
fn a_destination_that_is_wrong_is_still_known_to_models() {
    let sql = "/* [audience]\nsync = ['crm', 'ads'] */ SELECT 1";
    let project = Folder::new("[destinations]\ncrm = { url = 'x' }\nads = 5")
        .with("queries/audiences/a.sql", sql)
        .load();
    let codes: Vec<_> = facts(&project).into_iter().map(|fact| fact.0).collect();
    assert_eq!(codes, ["P04", "P04"]);
    assert!(project.destinations.is_empty());
    assert_eq!(project.models[0].syncs.len(), 2);
}

#[test]
fn a_broken_header_keeps_the_name_it_gave() {
    let sql = "/*\n[audience]\nname = 'Big spenders'\nsync = [\n*/ SELECT 1";
    let project = Folder::new("").with("queries/audiences/a.sql", sql).load();
    assert_eq!(project.models[0].key, "big_spenders");
    assert_eq!(project.findings[0].code, "H01");
}

const EVERYTHING: &str = r#"
[project]
name = "acme"
queries = "models"
data = "lake"
state = "var/state"
memory_limit = "64MiB"

[tables]
orders = { path = "elsewhere/orders/", format = "parquet", partitions = ["day"] }
users = "elsewhere/users.csv"

[users]
key = "person_id"
suppress = "models/suppressed.sql"

[accounts]
key = "company_id"

[destinations.crm]
type = "webhook"
url = "https://example.com/$${x}"
headers = { Authorization = "Bearer ${TOKEN}", Other = ["${OTHER}"] }
rate_limit = 0x64
share = 0.5
coalesce = false
since = 1998-05-31

[destinations.ads]
type = "file"
"#;

const DETAILED: &str = r#"-- the best
/*
[trait]
name = "Total revenue (180 days)"
description = ""
sync = ["ads", { to = "crm", as = "track", event = "Computed", history = false,
  identifiers = { email = "last" }, resync_on_new_identifier = false, on_missing = "keep",
  every = "6h", list = "vip", fields = { total = "Total" },
  guard = { max_exit = "5%", max_change = 50_000, min_size = 10 } }]
*/
SELECT person_id, 1 AS total FROM orders
"#;

fn everything() -> Folder {
    Folder::new("")
        .with("muster.toml", format!("\u{feff}{EVERYTHING}").replace('\n', "\r\n"))
        .with("lake/t.csv", "a")
        .with("models/identifiers.sql", "SELECT 1")
        .with("models/account_members.sql", "SELECT 2")
        .with("models/suppressed.sql", "SELECT 3")
        .with("models/traits/revenue.sql", format!("\u{feff}{DETAILED}"))
        .with("models/audiences/First time.sql", AUDIENCE)
        .with("models/audiences/z.sql", "/*[audience]\nsync = {to='ads', guard = false}*/ SELECT 1")
}

#[test]
fn a_good_project_loads_as_written() {
    let folder = everything();
    let project = folder.load();
    let root = folder.0.path();
    assert_eq!(facts(&project), []);
    assert_eq!(project.name, "acme");
    assert_eq!(project.data, Some(root.join("lake")));
    assert_eq!(project.state, root.join("var/state"));
    assert_eq!(project.memory_limit, Some(64 << 20));
    assert_eq!((&*project.users.key, &*project.accounts.key), ("person_id", "company_id"));
    assert_eq!(project.tables["users"].path, root.join("elsewhere/users.csv"));
    let orders = &project.tables["orders"];
    assert_eq!(orders.path, root.join("elsewhere/orders/"));
    assert_eq!(orders.format, Some(TableFormat::Parquet));
    assert_eq!(orders.partitions, ["day"]);
    let queries = [&project.identifiers, &project.profiles, &project.suppress, &project.members];
    let texts = queries.map(|query| query.as_ref().map(|query| &*query.source.text));
    assert_eq!(texts, [Some("SELECT 1"), None, Some("SELECT 3"), Some("SELECT 2")]);
}

#[test]
fn a_destination_has_its_secrets_filled_in() {
    let project = everything().load();
    let crm = &project.destinations["crm"];
    assert_eq!(crm.kind, "webhook");
    assert_eq!(&project.source.text[crm.span.clone()], "\"webhook\"");
    assert_eq!(&project.source.text[crm.spans["rate_limit"].clone()], "0x64");
    let expected: toml::Table = toml::from_str(
        "url = 'https://example.com/${x}'\nrate_limit = 100\nshare = 0.5\ncoalesce = false\n\
         since = 1998-05-31\n\
         headers = { Authorization = 'Bearer s3cr3t', Other = ['${TOKEN}'] }",
    )
    .unwrap();
    assert_eq!(crm.options, expected);
    assert_eq!(crm.secrets.iter().collect::<Vec<_>>(), ["${TOKEN}", "s3cr3t"]);
    assert!(!format!("{project:?}").contains("s3cr3t"));
}

#[test]
fn a_model_has_its_header_and_the_defaults() {
    let project = everything().load();
    let keys: Vec<_> = project.models.iter().map(|model| &*model.key).collect();
    assert_eq!(keys, ["first_time", "total_revenue_180_days", "z"]);
    assert_eq!(project.models[0].name, "First time");
    assert!(project.models[0].syncs.is_empty());

    let revenue = project.model("total_revenue_180_days").unwrap();
    assert_eq!(revenue.name, "Total revenue (180 days)");
    assert_eq!(revenue.query.source.path, Path::new("models/traits/revenue.sql"));
    assert_eq!(&*revenue.query.source.text, DETAILED);
    let [plain, detailed] = &revenue.syncs[..] else { unreachable!() };
    assert_eq!((&*plain.to, plain.call, &*plain.event), ("ads", None, "Trait Computed"));
    assert!(plain.history && plain.resync_on_new_identifier);
    assert_eq!((plain.emails, plain.on_missing), (Emails::All, OnMissing::Null));
    assert_eq!(plain.guard, Guard::default());
    assert!(DETAILED[detailed.span.clone()].starts_with("{ to = \"crm\""));
    assert_eq!((&*detailed.to, detailed.call), ("crm", Some(Call::Track)));
    assert_eq!(detailed.event, "Computed");
    assert!(!detailed.history && !detailed.resync_on_new_identifier);
    assert_eq!((detailed.emails, detailed.on_missing), (Emails::Last, OnMissing::Keep));
    assert_eq!(detailed.every, Some(Duration::from_hours(6)));
    assert_eq!(detailed.list.as_deref(), Some("vip"));
    assert_eq!(detailed.fields["total"], "Total");
    assert_eq!(
        detailed.guard,
        Guard {
            max_exit: Bound::Share(0.05),
            max_change: Some(Bound::Records(50_000)),
            min_size: 10
        }
    );
    let open = project.models[2].syncs[0].guard;
    assert_eq!(open.max_exit, Bound::Share(1.0));
    assert_eq!((open.max_change, open.min_size), (None, u64::MAX));
}

#[test]
fn three_hundred_models_load() {
    let folder = (0..300).fold(Folder::new(CRM), |folder, number| {
        let sql = format!("/*\n[trait]\nname = 'T {number}'\nsync = ['crm']\n*/ {MODEL}");
        folder.with(&format!("queries/traits/{number}.sql"), sql)
    });
    let project = folder.load();
    assert_eq!((project.models.len(), project.findings.len()), (300, 0));
}

#[test]
fn a_file_that_is_no_toml_at_all_is_not_quoted_in_full() {
    let project = Folder::new(&"a = = [\n".repeat(1000)).load();
    assert_eq!(project.findings.len(), 20);
}

#[test]
fn keys_nested_a_hundred_thousand_deep_are_survived() {
    let deep = format!("{}a = 1\n[{}b]", "a.".repeat(100_000), "a.".repeat(100_000));
    let header = format!("/*\n[trait]\n{deep}\n*/");
    Folder::new(&deep).load();
    Folder::new("").with("queries/traits/t.sql", header).load();
}

/// Text that is nearly right more often than not.
fn nearly_toml() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "[project]\n",
        "[users]\n",
        "[tables]\n",
        "[destinations.crm]\n",
        "[trait]\n",
        "[audience]\n",
        "[[trait.sync]]\n",
        "type",
        "name",
        "sync",
        "to",
        "guard",
        "data",
        " = ",
        "= ",
        "\"",
        "'",
        "crm",
        "${",
        "}",
        "{",
        "[",
        "]",
        ",",
        "5%",
        "\n",
        "\r\n",
        "/*",
        "*/",
        "-1",
        "1e999",
        "0x",
        "é",
        ".",
        "1998-05-31",
        "true",
        "\u{feff}",
        "\"\"\"",
        "#",
    ];
    let word = prop_oneof![
        8 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..3),
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn nothing_anyone_writes_makes_loading_panic(
        toml in prop_oneof![nearly_toml(), proptest::collection::vec(any::<u8>(), 0..200)],
        header in nearly_toml(),
    ) {
        let folder = Folder::new("").with("muster.toml", &toml);
        let sql = [b"/*\n[trait]\n", &header[..], b"*/"].concat();
        let folder = folder.with("queries/traits/t.sql", &sql).with("queries/audiences/a.sql", &header);
        let broken = folder.load();
        let project = folder.with("muster.toml", CRM).load();
        for finding in broken.findings.iter().chain(&project.findings) {
            let place = finding.place.as_ref().unwrap();
            let span = place.span.clone().unwrap_or(0..0);
            prop_assert!(place.source.text.get(span).is_some());
            prop_assert!(finding.hint.is_some());
        }
    }
}
