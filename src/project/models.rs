//! The models: the SQL files directly in `traits/` and `audiences/`, each key once.
//!
//! What looks like a model but lies where none is read is a warning, so that nobody waits for a sync
//! that never was one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::config::Declared;
use super::header::{self, Reading};
use super::text::{self, placed, relative};
use super::{Model, ModelKind, Project, comment};
use crate::finding::Finding;

/// The SQL files and the folders of a folder, each sorted.
#[derive(Debug, Default)]
struct Listing {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

/// Reads the models of a project whose `muster.toml` has been read.
pub(super) fn read(project: &mut Project, declared: &Declared) {
    let mut files = Vec::new();
    for kind in [ModelKind::Trait, ModelKind::Audience] {
        let listing = list(project, &declared.queries.join(kind.schema()));
        files.extend(listing.files.into_iter().map(|path| (kind, path)));
        let ignored = listing.folders.iter().map(|path| ignored_folder(&project.root, path));
        project.findings.extend(ignored);
    }
    if files.is_empty() {
        project.findings.push(no_models(project, &declared.queries));
    }
    warn_of_misplaced(project, &declared.queries);
    let mut readings = Vec::new();
    for (kind, path) in files {
        match text::read(&project.root, &path) {
            Ok(source) => readings.push(header::read(source, kind, &declared.destinations)),
            Err(finding) => project.findings.push(placed(*finding, &project.root, &path)),
        }
    }
    project.models = unique(readings, &mut project.findings);
}

/// What lies directly in `folder`; nothing when it does not exist. Hidden files are left alone.
fn list(project: &mut Project, folder: &Path) -> Listing {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Listing::default(),
        Err(error) => {
            let shown = relative(&project.root, folder).display();
            let message = format!("the folder `{shown}` could not be read: {error}");
            let finding = Finding::error("P05", message).hint("make it a readable folder");
            project.findings.push(placed(finding, &project.root, folder));
            return Listing::default();
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| !is_hidden(path));
    paths.sort();
    let (folders, mut files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    files.retain(|path| is_sql(path));
    Listing { files, folders }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn is_sql(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("sql"))
}

/// Files with a header that lie beside the folders of the models instead of in them.
fn warn_of_misplaced(project: &mut Project, queries: &Path) {
    for path in list(project, queries).files {
        let Ok(source) = text::read(&project.root, &path) else { continue };
        let Some((kind, span)) = comment::header(&source.text) else { continue };
        let message = format!("the model `{}` is not read", source.path.display());
        project.findings.push(
            Finding::warning("P07", message)
                .at(&source, Some(span))
                .label("a header outside of `traits/` and `audiences/`")
                .hint(format!("move the file into `{}/`", kind.schema())),
        );
    }
}

fn ignored_folder(root: &Path, path: &Path) -> Finding {
    let message = format!("the folder `{}` is not read", relative(root, path).display());
    let finding = Finding::warning("P07", message).hint("move its models up into the folder above");
    placed(finding, root, path)
}

fn no_models(project: &Project, queries: &Path) -> Finding {
    let queries = relative(&project.root, queries).display();
    let message = format!("the project has no models in `{queries}`");
    Finding::warning("P07", message)
        .at(&project.source, None)
        .hint(format!("write one into `{queries}/traits/` or `{queries}/audiences/`"))
}

/// The models by key. A key that is taken is a finding; of two that could not be told apart in SQL
/// either, the first stays.
fn unique(readings: Vec<Reading>, findings: &mut Vec<Finding>) -> Vec<Model> {
    let mut taken: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut tables = BTreeSet::new();
    let mut models = Vec::new();
    for Reading { model, name_span, findings: own } in readings {
        findings.extend(own);
        let Some(model) = model else { continue };
        match taken.get(&model.key) {
            Some(first) => findings.push(same_key(first, &model, name_span)),
            None => _ = taken.insert(model.key.clone(), model.query.source.path.clone()),
        }
        if tables.insert((model.key.clone(), model.kind)) {
            models.push(model);
        }
    }
    models.sort_by(|a, b| (&a.key, a.kind).cmp(&(&b.key, b.kind)));
    models
}

fn same_key(first: &Path, second: &Model, name_span: Option<Range<usize>>) -> Finding {
    let source = &second.query.source;
    let (first, path) = (first.display(), source.path.display());
    Finding::error("H04", format!("`{first}` and `{path}` have the same key `{}`", second.key))
        .at(source, name_span)
        .label("already taken")
        .note("the key is made of the `name` in the header, or else of the file's name")
        .hint("give one of them another `name`")
}
