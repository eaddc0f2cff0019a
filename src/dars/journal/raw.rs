//! The part of a journal that is being written: one row per trial, in the order in which they settle.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::rows::{self, Rows};
use super::sealed::{Sealed, Writer};
use super::{Access, cut, open_file, sync_directory};
use crate::dars::summary::TrialSummary;
use crate::{Error, ErrorKind, Result, Trial, TrialId};

/// A part to which rows can be appended.
#[derive(Debug)]
pub(super) struct Raw {
    pub(super) path: PathBuf,
    file: File,
    /// The length of the file up to the last complete row.
    pub(super) length: u64,
    entries: Vec<Entry>,
    line: Vec<u8>,
}

/// A row: its problem, its summary and its position.
#[derive(Debug, Clone, Copy)]
struct Entry {
    problem: u32,
    summary: TrialSummary,
    offset: u64,
    bytes: u32,
}

impl Raw {
    /// Opens or creates a part. Passes each trial to `take` with its summary, line number and size in bytes.
    /// An incomplete last row is cut off.
    pub(super) fn open(
        path: &Path,
        access: Access,
        take: &mut dyn FnMut(&Trial, TrialSummary, u64, u32) -> Result<TrialId>,
    ) -> Result<Self> {
        let file = open_file(path, access)?;
        let mut raw = Raw {
            path: path.to_owned(),
            file,
            length: 0,
            entries: Vec::new(),
            line: Vec::new(),
        };
        let mut rows = Rows::new(&raw.file, path);
        loop {
            let offset = rows.whole;
            let Some(trial) = rows.next_value::<Trial>()? else {
                break;
            };
            let bytes = u32::try_from(rows.whole - offset).unwrap_or(u32::MAX);
            let summary = TrialSummary::of(&trial);
            let id = take(&trial, summary, rows.number, bytes)?;
            raw.entries.push(Entry {
                problem: id.problem,
                summary,
                offset,
                bytes,
            });
        }
        raw.length = rows.whole;
        cut(&raw.file, path, raw.length, access)?;
        Ok(raw)
    }

    /// Creates a part that does not exist yet.
    pub(super) fn begin(path: &Path) -> Result<Self> {
        let raw = Raw::open(path, Access::Write, &mut |_, _, _, _| {
            let reason = format!("{}: it is there already", path.display());
            Err(Error::new(ErrorKind::Journal, reason))
        })?;
        sync_directory(path);
        Ok(raw)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Appends a trial's row, or undoes a partial write. Returns the row's size in bytes.
    pub(super) fn append(
        &mut self,
        problem: u32,
        trial: &Trial,
        summary: &TrialSummary,
    ) -> Result<u32> {
        let mut line = std::mem::take(&mut self.line);
        rows::write(trial, &mut line)?;
        let written = append(&self.file, &self.path, self.length, &line);
        let bytes = u32::try_from(line.len()).unwrap_or(u32::MAX);
        self.line = line;
        written?;
        self.entries.push(Entry {
            problem,
            summary: *summary,
            offset: self.length,
            bytes,
        });
        self.length += u64::from(bytes);
        Ok(bytes)
    }

    /// Returns another handle of the file.
    pub(super) fn handle(&self) -> Result<File> {
        let handle = self.file.try_clone();
        handle.map_err(|error| Error::io(&self.path, error))
    }

    /// Passes the trials of these problems to `take`.
    pub(super) fn read(
        &self,
        problems: &std::ops::Range<u32>,
        take: &mut dyn FnMut(Trial) -> Result<()>,
    ) -> Result<()> {
        let mut line = Vec::new();
        for entry in self
            .entries
            .iter()
            .filter(|entry| problems.contains(&entry.problem))
        {
            line.resize(entry.bytes as usize - 1, 0);
            let read = read_at(&self.file, entry.offset, &mut line);
            read.map_err(|error| Error::io(&self.path, error))?;
            take(serde_json::from_slice(&line).map_err(|error| {
                let reason = format!("{}: changed while it was read", self.path.display());
                Error::new(ErrorKind::Journal, reason).with_source(error)
            })?)?;
        }
        Ok(())
    }

    /// Writes the trials as a sealed part, ordered by problem and number.
    pub(super) fn seal(
        &self,
        path: &Path,
        seed: u64,
        id: &dyn Fn(u32) -> String,
    ) -> Result<Sealed> {
        let mut whole = vec![0; usize::try_from(self.length).unwrap_or(usize::MAX)];
        let read = read_at(&self.file, 0, &mut whole);
        read.map_err(|error| Error::io(&self.path, error))?;
        let mut entries = self.entries.clone();
        entries.sort_by_key(|entry| (entry.problem, entry.summary.number));
        let mut writer = Writer::new(path, seed)?;
        for entry in &entries {
            let at = entry.offset as usize;
            let line = whole.get(at..at + entry.bytes as usize - 1);
            let line = line.ok_or_else(|| {
                let reason = format!("{}: shorter than it was", self.path.display());
                Error::new(ErrorKind::Journal, reason)
            })?;
            writer.push((entry.problem, &id(entry.problem)), &entry.summary, |to| {
                rows::append_plain(line, to);
            })?;
        }
        writer.finish()
    }
}

/// Appends a line at `length`, which must be the end of the file, or undoes a partial write.
pub(super) fn append(file: &File, path: &Path, length: u64, line: &[u8]) -> Result<()> {
    let io = |error| Error::io(path, error);
    if !is_at(file, path) {
        let reason = format!(
            "{}: deleted, renamed or replaced while the run writes to it",
            path.display()
        );
        return Err(Error::new(ErrorKind::Io, reason));
    }
    // Two runs on one journal would draw the same trials and ruin it for both.
    if file.metadata().map_err(io)?.len() != length {
        let reason = format!("{}: something else writes to it", path.display());
        return Err(Error::new(ErrorKind::Journal, reason));
    }
    if let Err(error) = write_at(file, length, line) {
        let undone = file.set_len(length);
        if let Err(error) = undone {
            tracing::warn!(%error, "half a row stays at the journal's end");
        }
        return Err(io(error));
    }
    Ok(())
}

// Positioned reads, so that readers and the writer do not move each other's position.

#[cfg(unix)]
fn read_at(file: &File, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(unix)]
fn write_at(file: &File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

/// Serialises reads on systems where a file has a single position.
#[cfg(not(unix))]
static MOVING: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[cfg(not(unix))]
fn read_at(mut file: &File, offset: u64, bytes: &mut [u8]) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let _moving = MOVING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom, Write};
    let _moving = MOVING
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// Returns whether a path still names the opened file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(file), Ok(found)) => (file.dev(), file.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}
