//! Files and folders that `muster.toml` names: relative to it, on this machine, and there.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::Query;
use super::section::{Document, Section};
use super::text::{self, placed};
use crate::finding::Finding;

/// A path under `key`, made absolute; whether it exists is not looked at.
pub(super) fn path(section: &mut Section<'_>, key: &'static str, root: &Path) -> Option<PathBuf> {
    let path = section.string(key)?;
    local(section.document(), key, &path, root)
}

/// A path on this machine, made absolute. `what` says what it is for.
pub(super) fn local(
    document: &Document,
    what: &str,
    path: &Spanned<&str>,
    root: &Path,
) -> Option<PathBuf> {
    let is_address = path.get_ref().split_once("://").is_some_and(|(scheme, _)| {
        scheme.len() > 1 && scheme.chars().all(|letter| letter.is_ascii_alphanumeric())
    });
    if !is_address {
        return Some(root.join(path.get_ref()));
    }
    document.report(
        document
            .wrong(path.span(), format!("object-store {what} is not available yet"))
            .label("an address, not a path")
            .hint("write a path on this machine, relative to `muster.toml`"),
    );
    None
}

/// A folder under `key`, which must exist.
pub(super) fn folder(section: &mut Section<'_>, key: &'static str, root: &Path) -> Option<PathBuf> {
    let written = section.string(key)?;
    let path = local(section.document(), key, &written, root)?;
    let (shown, span) = (written.get_ref(), written.span());
    let message = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => return Some(path),
        Ok(_) => format!("`{shown}` is a file, not a folder"),
        Err(_) => format!("there is no folder `{shown}`"),
    };
    section.document().report(missing(section.document(), Finding::error("P05", message), span));
    Some(path)
}

/// A query under `key`, or else in the `default` file when that exists.
pub(super) fn query(
    section: &mut Section<'_>,
    key: &'static str,
    default: Option<PathBuf>,
    root: &Path,
) -> Option<Query> {
    let document = section.document();
    let written = section.string(key);
    let path = match &written {
        Some(written) => local(document, key, written, root)?,
        None => default.filter(|path| path.exists())?,
    };
    match text::read(root, &path) {
        Ok(source) => Some(Query { source }),
        Err(finding) => {
            document.report(match written {
                Some(written) if finding.place.is_none() => {
                    missing(document, *finding, written.span())
                }
                _ => placed(*finding, root, &path),
            });
            None
        }
    }
}

fn missing(document: &Document, finding: Finding, span: Range<usize>) -> Finding {
    let finding = finding.at(document.source(), Some(span)).label("named here");
    match finding.hint {
        Some(_) => finding,
        None => finding.hint("create it, or correct the path: it is relative to `muster.toml`"),
    }
}
