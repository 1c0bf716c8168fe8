//! A file on its way: under a name of its own until it is whole and on disk, then renamed. Until the
//! rename nothing is under the file's name that was not there before.

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use russh_sftp::client::error::Error;
use russh_sftp::extensions::HardlinkExtension;
use russh_sftp::protocol::{FileAttributes, OpenFlags, Packet, Status, StatusCode};

use super::super::transport::Failure;
use super::Errand;
use super::connection::{Connection, unsent};
use super::line::Setback;

/// Renames, and takes the place of what is there.
pub(super) const POSIX_RENAME: &str = "posix-rename@openssh.com";

/// What every server takes in one packet.
const CHUNK: usize = 32 << 10;
/// Packets on their way at a time.
const AHEAD: usize = 16;

/// Where a file comes to lie, and what it is called until then.
struct Place<'p> {
    folders: &'p [String],
    file: &'p str,
    temporary: String,
}

impl Connection {
    /// Whether the folder is there.
    pub(super) async fn look(&self, errand: &Errand) -> Result<(), Setback> {
        let paths = errand.paths();
        let folder = paths.first().map_or(".", String::as_str);
        let found =
            self.sftp.stat(folder).await.map_err(|error| refused("found", folder, error))?;
        // A server need not say what it is.
        if found.attrs.permissions.is_some() && !found.attrs.is_dir() {
            return Err(Setback::Refused(404, format!("`{folder}` is not a folder")));
        }
        Ok(())
    }

    /// Puts a file in its place, and says how large it is there.
    pub(super) async fn put(&self, errand: &Errand, body: &Bytes) -> Result<u64, Setback> {
        let paths = errand.paths();
        let Some((file, folders @ [_, ..])) = paths.split_last() else {
            return Err(Setback::Refused(404, "the file has no name".into()));
        };
        let (folder, name) = file.rsplit_once('/').map_or(("", &file[..]), |(at, name)| (at, name));
        let slash = if file.contains('/') { "/" } else { "" };
        let place = Place { folders, file, temporary: format!("{folder}{slash}.{name}.tmp") };
        let handle = self.created(&place).await?;
        let size = self.filled(&place, &handle, body).await?;
        match self.renamed(&place).await {
            Ok(()) => Ok(size),
            Err(error @ Error::Status(_)) => {
                self.tidy(&place).await;
                Err(refused("renamed", &place.temporary, error))
            }
            Err(error) => Err(Setback::Failed(Failure::Lost(format!(
                "no reply to the rename of `{}`: {}",
                place.temporary,
                said(&error)
            )))),
        }
    }

    /// The open temporary file; its folders are made when they are missing, but for the first one.
    async fn created(&self, place: &Place<'_>) -> Result<String, Setback> {
        let refused = |error| refused("created", &place.temporary, error);
        match self.opened(&place.temporary).await {
            Err(error) if is(&error, StatusCode::NoSuchFile) => {}
            other => return other.map_err(refused),
        }
        let mut unmade = None;
        for folder in place.folders.iter().skip(1) {
            if let Err(error) = self.sftp.mkdir(folder, FileAttributes::empty()).await {
                // It may be there already; whether it is shows when the file is opened. What went wrong
                // first is the reason for what follows.
                if !is(&error, StatusCode::Failure) {
                    unmade.get_or_insert((folder, error));
                }
            }
        }
        match (self.opened(&place.temporary).await, unmade) {
            (Err(error), Some((folder, reason))) if is(&error, StatusCode::NoSuchFile) => {
                let base = place.folders.first().map_or(".", String::as_str);
                Err(match is(&reason, StatusCode::NoSuchFile) {
                    true => Setback::Refused(
                        404,
                        format!(
                            "there is no folder `{base}` on the server; make it, or set `folder`"
                        ),
                    ),
                    false => self::refused("made", folder, reason),
                })
            }
            (opened, _) => opened.map_err(refused),
        }
    }

    async fn opened(&self, path: &str) -> Result<String, Error> {
        let flags = OpenFlags::CREATE | OpenFlags::TRUNCATE | OpenFlags::WRITE;
        Ok(self.sftp.open(path, flags, FileAttributes::empty()).await?.handle)
    }

    /// Writes, flushes and closes the file; what the server holds must be what was sent.
    async fn filled(&self, place: &Place<'_>, handle: &str, body: &Bytes) -> Result<u64, Setback> {
        let written = async {
            self.write(handle, body).await?;
            if self.flushes {
                self.sftp.fsync(handle).await?;
            }
            let size = self.size(handle).await?;
            self.sftp.close(handle).await?;
            Ok(size)
        };
        let (expected, path) = (body.len() as u64, &place.temporary);
        let setback = match written.await {
            Ok(size) if size.is_none_or(|held| held == expected) => return Ok(expected),
            Ok(size) => {
                let held = size.unwrap_or_default();
                unsent(format!("`{path}` holds {held} bytes of {expected} that were sent"))
            }
            // There is nobody to ask any more.
            Err(error) if !matches!(error, Error::Status(_)) => {
                return Err(refused("written", path, error));
            }
            Err(error) => refused("written", path, error),
        };
        self.tidy(place).await;
        Err(setback)
    }

    /// How large the file is there; some servers keep that to themselves.
    async fn size(&self, handle: &str) -> Result<Option<u64>, Error> {
        match self.sftp.fstat(handle).await {
            Ok(found) => Ok(found.attrs.size),
            Err(Error::Status(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Best effort: the next upload of the same name takes the temporary file's place as well.
    async fn tidy(&self, place: &Place<'_>) {
        let _ = self.sftp.remove(&place.temporary).await;
    }

    /// Several packets ahead of the replies, so that the way there and back is not waited for each time.
    async fn write(&self, handle: &str, body: &Bytes) -> Result<(), Error> {
        let mut writes = FuturesUnordered::new();
        for (number, chunk) in body.chunks(CHUNK).enumerate() {
            if writes.len() == AHEAD {
                writes.next().await.transpose()?;
            }
            writes.push(self.sftp.write(handle, (number * CHUNK) as u64, chunk.to_vec()));
        }
        while let Some(written) = writes.next().await {
            written?;
        }
        Ok(())
    }

    /// The moment at which the file is there.
    async fn renamed(&self, place: &Place<'_>) -> Result<(), Error> {
        if self.replaces {
            return self.replaced(place).await;
        }
        match self.sftp.rename(&place.temporary, place.file).await {
            Err(error) if is(&error, StatusCode::Failure) => {}
            other => return other.map(drop),
        }
        // An earlier try stands in the way, or something that the second rename names.
        match self.sftp.remove(place.file).await {
            Err(error) if !is(&error, StatusCode::NoSuchFile) => return Err(error),
            _ => {}
        }
        self.sftp.rename(&place.temporary, place.file).await.map(drop)
    }

    async fn replaced(&self, place: &Place<'_>) -> Result<(), Error> {
        // The same two texts as those of a hard link.
        let paths =
            HardlinkExtension { oldpath: place.temporary.clone(), newpath: place.file.to_owned() };
        match self.sftp.extended(POSIX_RENAME, paths.try_into()?).await? {
            Packet::Status(Status { status_code: StatusCode::Ok, .. }) => Ok(()),
            Packet::Status(status) => Err(status.into()),
            _ => Err(Error::UnexpectedPacket),
        }
    }
}

fn is(error: &Error, code: StatusCode) -> bool {
    matches!(error, Error::Status(status) if status.status_code == code)
}

/// A step that was not done: for good where the server says so, else it may work later.
fn refused(done: &str, path: &str, error: Error) -> Setback {
    let reason = format!("`{path}` could not be {done}: {}", said(&error));
    let Error::Status(status) = error else { return unsent(reason) };
    match status.status_code {
        StatusCode::PermissionDenied => Setback::Refused(403, reason),
        StatusCode::NoSuchFile => Setback::Refused(404, reason),
        StatusCode::OpUnsupported | StatusCode::BadMessage => Setback::Refused(405, reason),
        _ => unsent(reason),
    }
}

/// What the server says, on one line and not too long.
fn said(error: &Error) -> String {
    let (status_code, error_message) = match error {
        Error::Status(status) => (status.status_code, &status.error_message),
        Error::Timeout => return "no reply in time".to_owned(),
        Error::UnexpectedBehavior(_) => return "the connection was lost".to_owned(),
        other => return other.to_string(),
    };
    let code = status_code.to_string();
    let words: String = error_message.split_whitespace().collect::<Vec<_>>().join(" ");
    let words: String = words.chars().take(200).collect();
    if words.is_empty() || words.eq_ignore_ascii_case(&code) {
        return code;
    }
    format!("{code} ({words})")
}
