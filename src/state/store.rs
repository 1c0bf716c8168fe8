//! The only way to disk for state: whole files, replaced atomically. Narrow enough that an object
//! store can stand in its place.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Result, StateError};

/// The state folder.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// `root` need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// `None` when there is no such file.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StateError::Read { path: path.to_owned(), source }),
        }
    }

    /// Writes a whole file: temporary name, flush to disk, rename.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = temporary(path);
        let write = || {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            File::create(&temporary)?.write_all(bytes)
        };
        write().map_err(|source| StateError::Write { path: path.to_owned(), source })?;
        self.adopt(&temporary, path)
    }

    /// Flushes a complete file and gives it its name: nothing becomes part of the state otherwise.
    pub fn adopt(&self, from: &Path, to: &Path) -> Result<()> {
        let rename = || {
            File::options().write(true).open(from)?.sync_all()?;
            if let Some(parent) = to.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(from, to)?;
            match to.parent() {
                Some(parent) => File::open(parent)?.sync_all(),
                None => Ok(()),
            }
        };
        rename().map_err(|source| StateError::Write { path: to.to_owned(), source })
    }

    /// Names of the entries of a folder, sorted; none when it does not exist.
    pub fn list(&self, folder: &Path) -> Result<Vec<String>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StateError::Read { path: folder.to_owned(), source }),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        Ok(names)
    }

    /// Removes a file or folder; it is fine when there is none.
    pub fn remove(&self, path: &Path) -> Result<()> {
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StateError::Write { path: path.to_owned(), source: error })
            }
            _ => Ok(()),
        }
    }

    pub fn create_folder(&self, path: &Path) -> Result<()> {
        fs::create_dir_all(path)
            .map_err(|source| StateError::Write { path: path.to_owned(), source })
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    path.with_file_name(name)
}
