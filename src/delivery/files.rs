//! Files as a destination: appended to and replaced in a way that a crash cannot turn into lies.
//!
//! A write that fails is taken back as a whole, so that what was refused is not there in part. All of
//! it blocks, and belongs on blocking threads.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How a write failed.
#[derive(Debug)]
pub(super) enum FileFailure {
    /// The file is as it was.
    Untouched(io::Error),
    /// Some of it may be there.
    Unknown(io::Error),
}

/// Appends all of `bytes` and flushes them to disk, or leaves the file as it was.
pub(super) fn append(path: &Path, bytes: &[u8]) -> Result<(), FileFailure> {
    let (mut file, before) = open(path).map_err(FileFailure::Untouched)?;
    let Err(error) = file.write_all(bytes).and_then(|()| file.sync_data()) else {
        return Ok(());
    };
    match file.set_len(before).and_then(|()| file.sync_data()) {
        Ok(()) => Err(FileFailure::Untouched(error)),
        Err(_) => Err(FileFailure::Unknown(error)),
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let existed = path.exists();
    if let (false, Some(folder)) = (existed, path.parent()) {
        std::fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    if !existed {
        flush_folder(path)?;
    }
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Cuts off what follows the last newline.
pub(super) fn trim(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let kept = after_last_newline(&mut file, length)?;
    if kept < length {
        file.set_len(kept)?;
        file.sync_all()?;
    }
    Ok(())
}

/// Looks for the last newline from the end, a block at a time.
fn after_last_newline(file: &mut File, length: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let mut block = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Replaces the file as a whole: temporary name, flush, rename, flush of the folder.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileFailure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let temporary = || -> io::Result<tempfile::NamedTempFile> {
        std::fs::create_dir_all(folder)?;
        let mut file = readable().prefix(".muster-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    let temporary = temporary().map_err(FileFailure::Untouched)?;
    temporary.persist(path).map_err(|error| FileFailure::Untouched(error.error))?;
    flush_folder(path).map_err(FileFailure::Unknown)
}

/// Temporary files are private unless told otherwise; what replaces a file is as open as any other.
fn readable() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder
}

fn flush_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_lines_stay_and_torn_ones_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/out.ndjson");
        trim(&path).unwrap();
        append(&path, b"one\n").unwrap();
        append(&path, b"two\nthr").unwrap();
        trim(&path).unwrap();
        append(&path, b"four\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntwo\nfour\n");
        replace(&path, b"anew").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"anew");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        trim(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_long_torn_line_is_cut_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        append(&path, format!("kept\n{}", "x".repeat(200_000)).as_bytes()).unwrap();
        trim(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"kept\n");
    }

    #[test]
    fn a_full_disk_is_no_success() {
        let full = Path::new("/dev/full");
        if full.exists() {
            assert!(matches!(
                append(full, b"x\n"),
                Err(FileFailure::Untouched(_) | FileFailure::Unknown(_))
            ));
        }
    }
}
