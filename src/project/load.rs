//! From a folder to a [`Project`]: `muster.toml` first, then the models it leads to.
//!
//! Never fails and never stops at the first problem: what is wrong is a finding, the rest is loaded
//! with its defaults. Only without a readable `muster.toml` no models are read, because nothing
//! that could be said about them would be certain.

use std::collections::BTreeMap;
use std::path::Path;

use super::config::{self, FILE};
use super::{Project, Subjects, models, text};
use crate::finding::{Finding, Source};

/// Loads the project in `root`. Secrets come from `environment`.
pub fn load(root: &Path, environment: &dyn Fn(&str) -> Option<String>) -> Project {
    let mut project = defaults(root);
    match text::read(&project.root, &project.root.join(FILE)) {
        Ok(source) => {
            project.source = source;
            if let Some(declared) = config::read(&mut project, environment) {
                models::read(&mut project, &declared);
            }
        }
        Err(finding) => project.findings.push(no_project(&project.root, *finding)),
    }
    in_reading_order(&mut project.findings);
    project
}

fn defaults(root: &Path) -> Project {
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
    let subjects = |key: &str| Subjects { key: key.to_owned() };
    Project {
        name: folder_name(&root),
        data: None,
        state: root.join(".muster"),
        memory_limit: None,
        tables: BTreeMap::new(),
        users: subjects("user_id"),
        accounts: subjects("account_id"),
        identifiers: None,
        profiles: None,
        suppress: None,
        members: None,
        destinations: BTreeMap::new(),
        models: Vec::new(),
        source: Source::new(FILE, ""),
        findings: Vec::new(),
        root,
    }
}

/// The folder's own name, also for paths such as `a/..` that do not end in one.
fn folder_name(root: &Path) -> String {
    let resolved = || root.canonicalize().ok();
    let named = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    named(root).or_else(|| named(&resolved()?)).unwrap_or_else(|| "project".to_owned())
}

/// The finding about a `muster.toml` that cannot be read.
fn no_project(root: &Path, finding: Finding) -> Finding {
    if finding.place.is_some() {
        return finding;
    }
    let hint = "run `muster init DIR`, or point at a project with `--project DIR`";
    let finding = match root.join(FILE).exists() {
        true => finding,
        false if root.is_dir() => {
            Finding::error("P01", format!("there is no `{FILE}` in `{}`", root.display()))
        }
        false => Finding::error("P01", format!("there is no folder `{}`", root.display())),
    };
    let hint = finding.hint.clone().unwrap_or_else(|| hint.to_owned());
    Finding { code: "P01", ..finding }.at(&Source::new(FILE, ""), None).hint(hint)
}

/// By file, `muster.toml` first, and by position.
fn in_reading_order(findings: &mut [Finding]) {
    findings.sort_by_cached_key(|finding| {
        finding.place.as_ref().map(|place| {
            let start = place.span.as_ref().map_or(0, |span| span.start);
            (place.source.path != Path::new(FILE), place.source.path.clone(), start)
        })
    });
}

#[cfg(test)]
mod tests;
