//! `muster.toml`, section by section, into a project that starts out with its defaults.
//!
//! A section that is wrong leaves its defaults standing; all findings are collected in the document.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::destination::{self, Environment};
use super::location::{folder, local, path, query};
use super::section::{Codes, Document, Expected, Section, suggest};
use super::{Project, TableConfig, TableFormat};
use crate::finding::Finding;

pub(super) const FILE: &str = "muster.toml";

const CODES: Codes = Codes { syntax: "P02", unknown: "P03", wrong: "P04" };
const SECTIONS: [&str; 5] = ["project", "tables", "users", "accounts", "destinations"];
const PROJECT_KEYS: [&str; 5] = ["name", "queries", "data", "state", "memory_limit"];
const TABLE_ENTRY: Expected<'_> =
    Expected { what: "a path or a table with `path`", example: "{ path = \"lake/orders/\" }" };
const FORMATS: [(&str, TableFormat); 4] = [
    ("parquet", TableFormat::Parquet),
    ("csv", TableFormat::Csv),
    ("ndjson", TableFormat::Ndjson),
    ("arrow", TableFormat::Arrow),
];

/// What `muster.toml` says beside what is in the project itself.
#[derive(Debug)]
pub(super) struct Declared {
    /// Folder of the models; absolute.
    pub(super) queries: PathBuf,
    /// Names of all destinations, also of those that are too wrong to be configured.
    pub(super) destinations: BTreeSet<String>,
}

/// Fills `project` from the text of its `muster.toml`; `None` when that is not TOML.
pub(super) fn read(project: &mut Project, environment: Environment<'_>) -> Option<Declared> {
    let text = project.source.text.clone();
    let document = Document::new(project.source.clone(), &CODES);
    let root = document.parse(&text).ok();
    let declared = root.map(|root| sections(project, &document, &root, environment));
    project.findings.extend(document.into_findings());
    declared
}

fn sections(
    project: &mut Project,
    document: &Document,
    root: &DeTable<'_>,
    environment: Environment<'_>,
) -> Declared {
    let mut root = document.section(format!("`{FILE}`"), root);
    let queries = project_section(project, root.subsection("project"));
    let user_key = users_section(project, root.subsection("users"), &queries);
    let account_key = accounts_section(project, root.subsection("accounts"), &queries);
    if project.users.key == project.accounts.key {
        report_same_key(document, &project.users.key, account_key.or(user_key));
    }
    tables_section(project, &mut root);
    let folder = project.root.clone();
    let (configured, destinations) = destination::read(&mut root, &folder, environment);
    project.destinations =
        configured.into_iter().map(|config| (config.name.clone(), config)).collect();
    report_unknown_sections(document, &root);
    Declared { queries, destinations }
}

/// Returns the folder of the queries.
fn project_section(project: &mut Project, mut section: Section<'_>) -> PathBuf {
    let root = &project.root;
    if let Some(name) = section.string("name") {
        project.name = name.into_inner().to_owned();
    }
    let queries = folder(&mut section, "queries", root).unwrap_or_else(|| root.join("queries"));
    project.data = folder(&mut section, "data", root);
    if let Some(state) = path(&mut section, "state", root) {
        project.state = state;
    }
    project.memory_limit = section.size("memory_limit");
    section.finish();
    queries
}

/// Returns where the key is named.
fn users_section(
    project: &mut Project,
    mut section: Section<'_>,
    queries: &Path,
) -> Option<Range<usize>> {
    let root = &project.root;
    let key = section.string("key");
    if let Some(key) = &key {
        project.users.key = (*key.get_ref()).to_owned();
    }
    let default = |file| Some(queries.join(file));
    project.identifiers = query(&mut section, "identifiers", default("identifiers.sql"), root);
    project.profiles = query(&mut section, "profiles", default("profiles.sql"), root);
    project.suppress = query(&mut section, "suppress", None, root);
    section.finish();
    key.map(|key| key.span())
}

/// Returns where the key is named.
fn accounts_section(
    project: &mut Project,
    mut section: Section<'_>,
    queries: &Path,
) -> Option<Range<usize>> {
    let key = section.string("key");
    if let Some(key) = &key {
        project.accounts.key = (*key.get_ref()).to_owned();
    }
    let default = Some(queries.join("account_members.sql"));
    project.members = query(&mut section, "members", default, &project.root);
    section.finish();
    key.map(|key| key.span())
}

/// The key column tells users from accounts.
fn report_same_key(document: &Document, key: &str, span: Option<Range<usize>>) {
    let message = format!("users and accounts have the same key column `{key}`");
    document.report(
        Finding::error(CODES.wrong, message)
            .at(document.source(), span)
            .label("the key column says what a model is about")
            .hint("name one of them differently, and alias it in the models"),
    );
}

fn tables_section(project: &mut Project, root: &mut Section<'_>) {
    let document = root.document();
    let Some(tables) = root.table("tables") else { return };
    for (name, value) in tables.into_inner() {
        let table = table(document, name.get_ref(), value, &project.root);
        project.tables.extend(table.map(|table| (name.get_ref().to_string(), table)));
    }
}

fn table(
    document: &Document,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    root: &Path,
) -> Option<TableConfig> {
    match value.get_ref() {
        DeValue::Table(table) => {
            let section = document.section(format!("the table `{name}`"), table);
            detailed_table(section, value.span(), root)
        }
        DeValue::String(text) if !text.trim().is_empty() => {
            let path = local(document, "data", &Spanned::new(value.span(), text.as_ref()), root)?;
            Some(TableConfig { path, format: None, partitions: Vec::new(), span: value.span() })
        }
        _ => {
            document.mismatch(name, "`[tables]`", value, TABLE_ENTRY);
            None
        }
    }
}

fn detailed_table(
    mut section: Section<'_>,
    span: Range<usize>,
    root: &Path,
) -> Option<TableConfig> {
    let document = section.document();
    let path = path(&mut section, "path", root);
    if !section.contains("path") {
        document.report(
            document
                .wrong(span.clone(), format!("{} does not say where it lies", section.title()))
                .label("`path` is missing")
                .hint("add a file or folder, such as `path = \"lake/orders/\"`"),
        );
    }
    let format = section.choice("format", &FORMATS).map(Spanned::into_inner);
    let partitions = section.strings("partitions").unwrap_or_default();
    section.finish();
    Some(TableConfig { path: path?, format, partitions, span })
}

fn report_unknown_sections(document: &Document, root: &Section<'_>) {
    for (key, value) in root.unknown() {
        let (span, key) = (key.span(), key.into_inner());
        let finding = match value.as_table() {
            Some(_) => Finding::error(CODES.unknown, format!("unknown section `[{key}]`")),
            None => Finding::error(CODES.unknown, format!("`{key}` stands outside of any section")),
        };
        let finding = finding.at(document.source(), Some(span)).label("not known here");
        document.report(if PROJECT_KEYS.contains(&key) {
            finding.hint(format!("put `{key}` under `[project]`"))
        } else {
            suggest(finding, key, &SECTIONS)
        });
    }
}
