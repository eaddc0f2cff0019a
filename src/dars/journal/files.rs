//! The files of a journal's directory: their names, and how they are listed, opened and removed.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, Result};

pub(super) const NOTES: &str = "run.jsonl";
/// The extensions of a part's file while it is written and after it is sealed.
pub(super) const RAW: &str = ".jsonl";
pub(super) const SEALED: &str = ".jsonl.zst";

/// Lists the parts of a directory: part number to whether it is sealed.
pub(super) fn list(directory: &Path) -> Result<BTreeMap<u32, bool>> {
    let io = |error| Error::io(directory, error);
    let mut parts = BTreeMap::new();
    for entry in std::fs::read_dir(directory).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let part = |ending| name.strip_suffix(ending)?.parse::<u32>().ok();
        let parts_number = (part(SEALED), part(RAW));
        if parts_number != (None, None) {
            check_regular(&path)?;
        }
        match parts_number {
            (Some(number), _) => {
                parts.insert(number, true);
            }
            (None, Some(number)) => {
                parts.entry(number).or_insert(false);
            }
            _ => {}
        }
    }
    Ok(parts)
}

/// Refuses a path that exists and is not a regular file: opening a FIFO would block forever.
pub(super) fn check_regular(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => {
            let reason = format!("{}: no regular file", path.display());
            Err(Error::new(ErrorKind::Journal, reason))
        }
        _ => Ok(()),
    }
}

pub(super) fn part_path(directory: &Path, number: u32, ending: &str) -> PathBuf {
    directory.join(format!("{number:06}{ending}"))
}

/// Returns the path of a part's sealed file.
pub(super) fn sealed_path(raw: &Path) -> PathBuf {
    // The extension after the part's number.
    raw.with_extension(&SEALED[1..])
}

pub(super) fn make_directory(directory: &Path) -> Result<()> {
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(found) => {
            let reason = match found.is_file() {
                true => {
                    "a file, where a journal is a directory (journals of version 1 were files, and cannot be resumed)"
                }
                false => "no directory, which a journal is",
            };
            let reason = format!("{}: {reason}", directory.display());
            Err(Error::new(ErrorKind::Journal, reason))
        }
        Err(_) => std::fs::create_dir(directory).map_err(|error| Error::io(directory, error)),
    }
}

/// How a journal is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// For reading: nothing changes, and others may read it as well.
    Read,
    /// For writing: it is created if missing, and incomplete rows are cut off.
    Write,
}

/// Opens a file. For writing, it is created empty if missing.
pub(super) fn open_file(path: &Path, access: Access) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    if access == Access::Write {
        options.write(true).create(true).truncate(false);
    }
    options.open(path).map_err(|error| Error::io(path, error))
}

/// Cuts off an incomplete row at the end.
pub(super) fn cut(file: &File, path: &Path, length: u64, access: Access) -> Result<()> {
    let io = |error| Error::io(path, error);
    if access == Access::Write && file.metadata().map_err(io)?.len() != length {
        file.set_len(length).map_err(io)?;
    }
    Ok(())
}

pub(super) fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, path = %path.display(), "a sealed part's rows cannot be removed");
        }
        _ => {}
    }
}

/// Syncs the name of a new file to disk, on systems where directories can be opened.
pub(super) fn sync_directory(path: &Path) {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let directory = File::open(parent.unwrap_or(Path::new(".")));
    if let Err(error) = directory.and_then(|directory| directory.sync_all()) {
        tracing::debug!(%error, path = %path.display(), "the directory cannot be synchronised");
    }
}
