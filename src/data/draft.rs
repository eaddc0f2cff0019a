//! Files that are written under a passing name, and get their own when all of a directory are whole.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::pretty;
use crate::{Error, Result, Settings};

/// A file under a passing name; removed unless it is published.
pub(super) struct Draft {
    file: BufWriter<File>,
    finished: Finished,
}

/// A draft that is whole and on the disk.
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

    /// The name that the file is to get.
    #[cfg(feature = "parquet")]
    pub(super) fn path(&self) -> &Path {
        &self.finished.path
    }

    /// Writes a line of JSON.
    pub(super) fn row(&mut self, row: &impl Serialize) -> Result<()> {
        let written = serde_json::to_writer(&mut self.file, row).map_err(std::io::Error::from);
        self.line_end(written)
    }

    /// Writes an object of JSON, a member a line.
    pub(super) fn object(&mut self, object: &Settings) -> Result<()> {
        let written = pretty::object(object, &mut self.file);
        self.line_end(written)
    }

    /// Writes a text as it is.
    pub(super) fn text(&mut self, text: &str) -> Result<()> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| Error::io(&self.finished.path, error))
    }

    fn line_end(&mut self, written: std::io::Result<()>) -> Result<()> {
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.map_err(|error| Error::io(&self.finished.path, error))
    }

    /// Hands the whole file to the disk.
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
    /// Where the file is until it is published.
    pub(super) fn draft(&self) -> &Path {
        &self.draft
    }

    /// Whether the file is there already, with the same bytes.
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
        // Gone already where it was published; where it was not, there is nothing more to be done.
        let _ = fs::remove_file(&self.draft);
    }
}
