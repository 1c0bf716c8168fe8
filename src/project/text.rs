//! Reading one text file of the project: UTF-8, with or without a byte order mark, any line ends.
//!
//! A file that cannot be read is a finding, not an error: it takes its place beside all the others.

use std::io::ErrorKind;
use std::path::Path;

use crate::finding::{Finding, Source};

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads `path`, which findings will call by its way from `root`.
///
/// Only the finding about a wrong encoding has a place; for the others the caller knows better
/// whether the missing file or the line that names it is worth showing.
pub(super) fn read(root: &Path, path: &Path) -> Result<Source, Box<Finding>> {
    let shown = relative(root, path);
    let bytes = std::fs::read(path).map_err(|error| Box::new(unreadable(shown, &error)))?;
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(shown, text)),
        Err(error) => Err(Box::new(not_utf8(shown, bytes, error.valid_up_to()))),
    }
}

/// The path as findings show it.
pub(super) fn relative<'a>(root: &Path, path: &'a Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// The finding, at the file or folder as a whole unless it already says where.
pub(super) fn placed(finding: Finding, root: &Path, path: &Path) -> Finding {
    match finding.place {
        Some(_) => finding,
        None => finding.at(&Source::new(relative(root, path), ""), None),
    }
}

fn unreadable(shown: &Path, error: &std::io::Error) -> Finding {
    let path = shown.display();
    match error.kind() {
        ErrorKind::NotFound => Finding::error("P05", format!("there is no file `{path}`")),
        ErrorKind::IsADirectory => {
            Finding::error("P05", format!("`{path}` is a folder, not a file"))
        }
        _ => Finding::error("P05", format!("`{path}` could not be read: {error}"))
            .hint("make the file readable for the user that runs Muster"),
    }
}

/// The text up to the bad byte is as in the file, so its position there is the position here.
fn not_utf8(shown: &Path, bytes: &[u8], at: usize) -> Finding {
    let source = Source::new(shown, String::from_utf8_lossy(bytes));
    let end = at + char::REPLACEMENT_CHARACTER.len_utf8();
    Finding::error("P06", format!("`{}` is not UTF-8 text", shown.display()))
        .at(&source, Some(at..end))
        .label("not a character in UTF-8")
        .hint("save the file as UTF-8")
}
