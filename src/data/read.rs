//! Reads the files of a data set directory back, row by row.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::format::Pair;
use super::lines::{Row, Rows};
use super::problem_row::ProblemRow;
use crate::error::json_reason;
use crate::{Error, ErrorKind, Result, Trial};

/// Iterates over the rows of a file in bounded memory. The first error is the last item. It names file, line
/// (in Parquet, row) and reason.
pub struct Records<T> {
    path: PathBuf,
    rows: Option<Source>,
    convert: fn(Map<String, Value>) -> Result<T, String>,
    /// The number of rows read.
    count: u64,
}

impl<T> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("path", &self.path)
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

enum Source {
    Lines(Box<Rows<BufReader<File>>>),
    #[cfg(feature = "parquet")]
    Parquet(super::parquet::Reader),
}

/// Reads `trials.jsonl` or, with the feature `parquet`, `trials.parquet`.
///
/// # Errors
///
/// Returns an error if the file cannot be opened, or is a damaged Parquet file. Errors in a row are returned
/// as its item.
pub fn read_trials(path: impl AsRef<Path>) -> Result<Records<Trial>> {
    open(path.as_ref(), from_object)
}

/// Reads `problems.jsonl` or, with the feature `parquet`, `problems.parquet`: the results of each problem.
/// ([`problems::read`](super::problems::read) reads the problems themselves.)
///
/// # Errors
///
/// See [`read_trials`].
pub fn read_problems_table(path: impl AsRef<Path>) -> Result<Records<ProblemRow>> {
    open(path.as_ref(), |mut row| {
        // Parquet stores it as text.
        if let Some(Value::String(text)) = row.get("metadata") {
            let metadata = serde_json::from_str(text)
                .map_err(|error| format!("`metadata`: {}", json_reason(&error)))?;
            row.insert("metadata".into(), metadata);
        }
        from_object(row)
    })
}

/// Reads `dataset.jsonl` or, with the feature `parquet`, `dataset.parquet`, in any
/// [`Format`](super::Format).
///
/// # Errors
///
/// See [`read_trials`].
pub fn read_pairs(path: impl AsRef<Path>) -> Result<Records<Pair>> {
    open(path.as_ref(), Pair::of_row)
}

fn from_object<T: DeserializeOwned>(row: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(row)).map_err(|error| json_reason(&error))
}

fn open<T>(
    path: &Path,
    convert: fn(Map<String, Value>) -> Result<T, String>,
) -> Result<Records<T>> {
    let failed = |error| Error::io(path, error);
    let mut file = File::open(path).map_err(failed)?;
    let mut head = Vec::new();
    (&mut file).take(4).read_to_end(&mut head).map_err(failed)?;
    file.rewind().map_err(failed)?;
    #[cfg(feature = "parquet")]
    let rows = match head == super::parquet::MAGIC {
        true => Source::Parquet(super::parquet::Reader::new(file).map_err(|reason| {
            let reason = format!("{}: {reason}", path.display());
            Error::new(ErrorKind::Data, reason)
        })?),
        false => Source::Lines(Box::new(Rows::new(BufReader::new(file)))),
    };
    #[cfg(not(feature = "parquet"))]
    let rows = match head == b"PAR1" {
        true => {
            let reason = format!(
                "{}: Parquet, which this build does not read (feature `parquet`)",
                path.display()
            );
            return Err(Error::new(ErrorKind::Unsupported, reason));
        }
        false => Source::Lines(Box::new(Rows::new(BufReader::new(file)))),
    };
    Ok(Records {
        path: path.to_owned(),
        rows: Some(rows),
        convert,
        count: 0,
    })
}

impl<T> Iterator for Records<T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let rows = self.rows.as_mut()?;
        self.count += 1;
        let (place, object) = match rows {
            Source::Lines(rows) => match rows.next() {
                None => (String::new(), None),
                Some(Ok(row)) => (row.line.to_string(), Some(exact(row))),
                Some(Err(error)) => {
                    self.rows = None;
                    return Some(Err(Error::io(&self.path, error)));
                }
            },
            #[cfg(feature = "parquet")]
            Source::Parquet(rows) => (format!("row {}", self.count), rows.next()),
        };
        let record = object.map(|object| {
            object.and_then(self.convert).map_err(|reason| {
                let reason = format!("{}:{place}: {reason}", self.path.display());
                Error::new(ErrorKind::Data, reason)
            })
        });
        if !matches!(record, Some(Ok(_))) {
            self.rows = None;
        }
        record
    }
}

/// Returns a row's object, with numbers exactly as written.
fn exact(row: Row) -> Result<Map<String, Value>, String> {
    let mut object = row.object?;
    for (name, text) in row.numbers {
        let number = text.parse().ok().and_then(Number::from_f64);
        if let (Some(number), Some(value)) = (number, object.get_mut(&name))
            && value.is_f64()
        {
            *value = number.into();
        }
    }
    Ok(object)
}
