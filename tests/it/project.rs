//! Projects in a temporary folder. Everything takes effect on disk at once, so that a project can be
//! changed between runs with the same words it was built with.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use tempfile::TempDir;

use crate::process::{Ran, Running};
use crate::report::Report;

/// The program under test: this build's, or another one that `MUSTER_BINARY` names.
pub fn muster() -> PathBuf {
    let named = std::env::var_os("MUSTER_BINARY").map(PathBuf::from);
    named.unwrap_or_else(|| env!("CARGO_BIN_EXE_muster").into())
}

/// Faults end quickly: what a test waits for is never a long backoff.
pub const BRISK: &str = "rate_limit = 2000\nretry = { attempts = 3, for = \"2s\" }\n";

/// One attempt, then the rows are left for the next run.
pub const ONE_ATTEMPT: &str = "rate_limit = 2000\nretry = { attempts = 1, for = \"2s\" }\n";

/// A project that nobody else uses, removed when dropped.
#[derive(Debug)]
pub struct TempProject {
    folder: TempDir,
    sections: RefCell<Sections>,
    environment: RefCell<Vec<(String, String)>>,
}

#[derive(Debug, Default)]
struct Sections {
    users: String,
    destinations: BTreeMap<String, String>,
}

impl TempProject {
    /// A project with a `data` folder and nothing in it.
    pub fn new() -> Self {
        let project = Self {
            folder: tempfile::tempdir().unwrap(),
            sections: RefCell::default(),
            environment: RefCell::default(),
        };
        fs::create_dir(project.path("data")).unwrap();
        project.rewritten();
        project
    }

    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(inside)
    }

    /// Any file, with any bytes.
    pub fn file(&self, inside: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    pub fn remove(&self, inside: impl AsRef<Path>) -> &Self {
        fs::remove_file(self.path(inside)).unwrap();
        self
    }

    pub fn read(&self, inside: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(inside)).unwrap()
    }

    pub fn table_csv(&self, name: &str, text: &str) -> &Self {
        self.file(format!("data/{name}.csv"), text)
    }

    pub fn table_ndjson(&self, name: &str, text: &str) -> &Self {
        self.file(format!("data/{name}.ndjson"), text)
    }

    /// A Parquet table `user_id, score`.
    pub fn table_parquet(&self, name: &str, rows: &[(&str, i64)]) -> &Self {
        self.file(format!("data/{name}.parquet"), scores(rows))
    }

    pub fn trait_model(&self, stem: &str, sync: &str, sql: &str) -> &Self {
        self.file(format!("queries/traits/{stem}.sql"), model("trait", sync, sql))
    }

    pub fn audience(&self, stem: &str, sync: &str, sql: &str) -> &Self {
        self.file(format!("queries/audiences/{stem}.sql"), model("audience", sync, sql))
    }

    /// `users` with these columns and an `emails` table behind `identifiers.sql`.
    pub fn emails_csv(&self, rows: &str) -> &Self {
        self.table_csv("emails", &format!("user_id,email,added_at\n{rows}"))
            .identifiers("SELECT user_id, 'email' AS type, email AS value, added_at FROM emails")
    }

    pub fn identifiers(&self, sql: &str) -> &Self {
        self.file("queries/identifiers.sql", sql).users("identifiers", "queries/identifiers.sql")
    }

    pub fn suppress(&self, sql: &str) -> &Self {
        self.file("queries/suppressed.sql", sql).users("suppress", "queries/suppressed.sql")
    }

    fn users(&self, key: &str, path: &str) -> &Self {
        let line = format!("{key} = \"{path}\"\n");
        let mut sections = self.sections.borrow_mut();
        if !sections.users.contains(&line) {
            sections.users.push_str(&line);
        }
        drop(sections);
        self.rewritten()
    }

    /// A webhook, or the same webhook with other options.
    pub fn webhook(&self, name: &str, url: &str, options: &str) -> &Self {
        self.destination(name, &format!("type = \"webhook\"\nurl = \"{url}\"\n{options}"))
    }

    /// Any destination, by the lines of its section.
    pub fn destination(&self, name: &str, lines: &str) -> &Self {
        self.sections.borrow_mut().destinations.insert(name.into(), lines.into());
        self.rewritten()
    }

    /// One more variable in the environment of every later command.
    pub fn environment(&self, name: &str, value: &str) -> &Self {
        self.environment.borrow_mut().push((name.into(), value.into()));
        self
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        self.start_program(&muster(), arguments)
    }

    pub fn start_program(&self, program: &Path, arguments: &[&str]) -> Running {
        Running::start(program, arguments, self.folder.path(), &self.environment.borrow())
    }

    pub fn muster(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).finish()
    }

    /// A run that must exit with `code`; its report always adds up.
    #[track_caller]
    pub fn run_exits(&self, code: i32, arguments: &[&str]) -> Report {
        let arguments = [&["run", "--format", "json"], arguments].concat();
        let report = Report(self.muster(&arguments).exits(code).json());
        report.adds_up();
        report
    }

    /// A run that delivers everything.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Report {
        self.run_exits(0, arguments)
    }

    #[track_caller]
    pub fn plan(&self, arguments: &[&str]) -> Report {
        let arguments = [&["plan", "--format", "json"], arguments].concat();
        Report(self.muster(&arguments).exits(0).json())
    }

    /// Every file below a folder of the project, with its path.
    pub fn files_below(&self, inside: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.path(inside)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }

    fn rewritten(&self) -> &Self {
        let text = self.sections.borrow().to_string();
        self.file("muster.toml", text)
    }
}

impl std::fmt::Display for Sections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { users, destinations } = self;
        writeln!(f, "[project]\nname = \"test\"\ndata = \"data\"\n")?;
        writeln!(f, "[users]\nkey = \"user_id\"\n{users}")?;
        writeln!(f, "[accounts]\nkey = \"account_id\"\n")?;
        for (name, lines) in destinations {
            writeln!(f, "[destinations.{name}]\n{lines}")?;
        }
        Ok(())
    }
}

/// A model's file; its SQL starts on line [`SQL_LINE`].
fn model(kind: &str, sync: &str, sql: &str) -> String {
    format!("/*\n[{kind}]\nsync = [{sync}]\n*/\n{sql}\n")
}

/// The line on which the SQL of a model starts, and the line of its `sync`.
pub const SQL_LINE: usize = 5;
pub const SYNC_LINE: usize = 3;

/// A Parquet file `user_id, score`.
pub fn scores(rows: &[(&str, i64)]) -> Vec<u8> {
    let users: StringArray = rows.iter().map(|(user, _)| Some(*user)).collect();
    let scores: Int64Array = rows.iter().map(|(_, score)| Some(*score)).collect();
    let columns: [(&str, ArrayRef); 2] =
        [("user_id", Arc::new(users)), ("score", Arc::new(scores))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// CSV of `user_id, score` for `u0000`, `u0001`, … below `count`.
pub fn numbered_users(count: usize) -> String {
    let mut text = "user_id,score\n".to_owned();
    for number in 0..count {
        writeln!(text, "u{number:04},{number}").unwrap();
    }
    text
}
