//! Rows in, from a file or from stdin.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use dart_math::data::lines::{Row, Rows};
use dart_math::{Error, ErrorKind, Result};

/// The rows of a file or, for `-`, of standard input, with what they are called in messages.
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

    /// The next row; at the end nothing, or an error where there was none at all.
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
