//! Reads rows from a file or from stdin.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use dart_math::data::lines::{Row, Rows};
use dart_math::report::counted;
use dart_math::{Error, ErrorKind, Result};

use super::tool::say;

/// The number of bad rows reported individually.
const MAX_REPORTED: usize = 20;

/// Reports bad rows on stderr: one line for each of the first ones, and the number of the rest.
#[derive(Debug, Default)]
pub(crate) struct BadRows {
    pub(crate) count: usize,
}

impl BadRows {
    pub(crate) fn report(&mut self, message: &str) {
        self.count += 1;
        if self.count <= MAX_REPORTED {
            say!("{message}");
        }
    }

    /// Reports how many further bad rows there were.
    pub(crate) fn finish(&self) {
        if let more @ 1.. = self.count.saturating_sub(MAX_REPORTED) {
            say!("and {}", counted(more, "more bad row"));
        }
    }
}

/// The rows of a file or, for `-`, of standard input, and the name used in messages.
pub(crate) struct Input {
    pub(crate) name: String,
    rows: Rows<Box<dyn BufRead>>,
    any: bool,
}

impl Input {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (name, reader): (_, Box<dyn BufRead>) = match path == Path::new("-") {
            true => ("stdin".into(), Box::new(std::io::stdin().lock())),
            false => {
                let file = File::open(path).map_err(|error| Error::io(path, error))?;
                (path.display().to_string(), Box::new(BufReader::new(file)))
            }
        };
        Ok(Input {
            name,
            rows: Rows::new(reader),
            any: false,
        })
    }

    /// Returns the next row; `None` at the end. Fails if there were no rows at all.
    pub(crate) fn next(&mut self) -> Result<Option<Row>> {
        match self.rows.next() {
            Some(Ok(row)) => {
                self.any = true;
                Ok(Some(row))
            }
            Some(Err(error)) => Err(Error::io(&self.name, error)),
            None if self.any => Ok(None),
            None => {
                let reason = format!("{}: no rows", self.name);
                Err(Error::new(ErrorKind::Data, reason))
            }
        }
    }
}
