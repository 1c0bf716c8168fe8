//! One run per project at a time: an operating-system lock on `.muster/lock`, gone with the process
//! that holds it, whose text says who that is.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Result, StateError, Store};

/// Held for as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Who holds a lock.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Holder {
    pub pid: u32,
    pub command: String,
    pub since: DateTime<Utc>,
}

impl Lock {
    pub fn acquire(store: &Store, holder: &Holder) -> Result<Self> {
        let path = store.path("lock");
        store.create_folder(store.root())?;
        let failed = |source| StateError::Write { path: path.clone(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = describe(&mut file);
                return Err(StateError::Locked { holder, path });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let text = serde_json::to_string(holder).unwrap_or_default();
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn describe(file: &mut File) -> String {
    let mut text = String::new();
    let holder = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok());
    match holder {
        Some(Holder { pid, command, since }) => {
            format!("`{command}` (process {pid}, since {})", since.format("%Y-%m-%d %H:%M:%S UTC"))
        }
        None => "another process".into(),
    }
}
