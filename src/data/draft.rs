//! Files that are written under a temporary name and renamed once all files of a directory are complete.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::pretty;
use crate::{Error, Result, Settings};

/// A file under a temporary name. It is removed unless it is published.
pub(super) struct Draft {
    file: BufWriter<File>,
    finished: Finished,
}

/// A draft that is complete and synced to disk.
pub(super) struct Finished {
    draft: PathBuf,
    path: PathBuf,
}

impl Draft {
    pub(super) fn new(directory: &Path, name: &str) -> Result<Self> {
        let draft = directory.join(format!(".{name}.draft"));
        let file = File::create(&draft).map_err(|error| Error::io(&draft, error))?;
        Ok(Draft {
            file: BufWriter::new(file),
            finished: Finished {
                draft,
                path: directory.join(name),
            },
        })
    }

    /// Returns the final path of the file.
    #[cfg(feature = "parquet")]
    pub(super) fn path(&self) -> &Path {
        &self.finished.path
    }

    /// Writes a line of JSON.
    pub(super) fn row(&mut self, row: &impl Serialize) -> Result<()> {
        let written = serde_json::to_writer(&mut self.file, row).map_err(std::io::Error::from);
        self.line_end(written)
    }

    /// Writes a JSON object, one member per line.
    pub(super) fn object(&mut self, object: &Settings) -> Result<()> {
        let written = pretty::object(object, &mut self.file);
        self.line_end(written)
    }

    /// Writes a text unchanged.
    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| Error::io(&self.finished.path, error))
    }

    fn line_end(&mut self, written: std::io::Result<()>) -> Result<()> {
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error| Error::io(&self.finished.path, error))
    }

    /// Syncs the complete file to disk.
    pub(super) fn finish(self) -> Result<Finished> {
        let Draft { file, finished } = self;
        let flushed = file
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        match flushed.and_then(|file| file.sync_all()) {
            Ok(()) => Ok(finished),
            Err(error) => Err(Error::io(&finished.path, error)),
        }
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

impl Finished {
    /// Returns the path of the file until it is published.
    pub(super) fn draft(&self) -> &Path {
        &self.draft
    }

    /// Returns whether the file already exists with the same bytes.
    pub(super) fn is_there(&self) -> Result<bool> {
        let Ok(there) = File::open(&self.path) else {
            return Ok(false);
        };
        let draft = File::open(&self.draft).map_err(|error| Error::io(&self.draft, error))?;
        let (mut there, mut draft) = (BufReader::new(there), BufReader::new(draft));
        loop {
            let written = draft.fill_buf();
            let written = written.map_err(|error| Error::io(&self.draft, error))?;
            let Ok(found) = there.fill_buf() else {
                return Ok(false);
            };
            let len = written.len().min(found.len());
            if written[..len] != found[..len] || len == 0 {
                return Ok(written.is_empty() && found.is_empty());
            }
            draft.consume(len);
            there.consume(len);
        }
    }

    pub(super) fn publish(self) -> Result<()> {
        fs::rename(&self.draft, &self.path).map_err(|error| Error::io(&self.path, error))
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        // Fails if the draft was published; any other failure is ignored.
        let _ = fs::remove_file(&self.draft);
    }
}
