//! Tables of pass rates, from which a difficulty-aware strategy can start.
//!
//! A row is `{"id", "pass_rate"}` or has raw counts, `{"id", "trials", "correct"}`. The `problems.jsonl` of a
//! finished run has both, and its `pass_rate` is used. Depends on the contract only.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::lines::{Row, Rows};
use crate::error::counted;
use crate::{Error, ErrorKind, Result};

/// Reads a table of pass rates by problem id. Problems without trials are skipped.
///
/// # Errors
///
/// Returns an error if the file cannot be read, or if a row is not a JSON object, has no id or a duplicate
/// one, or has neither a pass rate from 0 to 1 nor consistent counts. The error names file, line and reason.
pub fn read(path: impl AsRef<Path>) -> Result<HashMap<String, f64>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    read_from(BufReader::new(file), &path.display().to_string())
}

/// Reads a table with counts: a row's counts if it has them, which show how certain its rate is, and its rate
/// otherwise. Problems without trials are skipped.
///
/// # Errors
///
/// See [`read`].
pub fn read_counts(path: impl AsRef<Path>) -> Result<HashMap<String, PassRate>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    read_rows(BufReader::new(file), &path.display().to_string())
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PassRate {
    /// The pass rate, from 0 to 1.
    pub rate: f64,
    /// The number of trials and of correct ones, if the row has both.
    pub counts: Option<(u32, u32)>,
}

/// Like [`read`], from any reader. `name` stands for the file in errors.
///
/// ```
/// let rows = r#"{"id": "a", "pass_rate": 0.25}
/// {"id": "b", "trials": 8, "correct": 6}"#;
/// let rates = dart_math::data::pass_rates::read_from(rows.as_bytes(), "rows")?;
/// assert_eq!((rates["a"], rates["b"]), (0.25, 0.75));
/// # Ok::<(), dart_math::Error>(())
/// ```
///
/// # Errors
///
/// See [`read`].
pub fn read_from(reader: impl BufRead, name: &str) -> Result<HashMap<String, f64>> {
    let rows = read_rows(reader, name)?;
    Ok(rows.into_iter().map(|(id, row)| (id, row.rate)).collect())
}

fn read_rows(reader: impl BufRead, name: &str) -> Result<HashMap<String, PassRate>> {
    let mut rates = HashMap::new();
    let mut seen = HashMap::new();
    for row in Rows::new(reader) {
        let row = row.map_err(|error| Error::io(name, error))?;
        let Row {
            line,
            object,
            numbers,
        } = row;
        let bad = |reason| Error::new(ErrorKind::Data, format!("{name}:{line}: {reason}"));
        let row = object.map_err(&bad)?;
        let (id, rate) = rate(&row, numbers.get("id")).map_err(&bad)?;
        if let Some(first) = seen.insert(id.clone(), line) {
            return Err(bad(format!("id {id:?} was line {first}'s already")));
        }
        if let Some(rate) = rate {
            let count = |name: &str| u32::try_from(row.get(name)?.as_u64()?).ok();
            let counts = count("trials").zip(count("correct"));
            let counts = counts.filter(|(trials, correct)| *trials > 0 && correct <= trials);
            rates.insert(id, PassRate { rate, counts });
        }
    }
    Ok(rates)
}

/// Returns a row's id and pass rate; `None` if it has no trials. `written` is the id as written in the file,
/// if it is a number that [`Value`] would print differently.
fn rate(
    row: &Map<String, Value>,
    written: Option<&String>,
) -> Result<(String, Option<f64>), String> {
    let id = match row.get("id") {
        Some(Value::Number(id)) => written.cloned().unwrap_or(id.to_string()),
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        _ => return Err("no `id`".into()),
    };
    match row.get("pass_rate") {
        None | Some(Value::Null) => {}
        Some(rate) => {
            let rate = rate.as_f64().filter(|rate| (0.0..=1.0).contains(rate));
            return match rate {
                Some(rate) => Ok((id, Some(rate))),
                None => Err("`pass_rate` is not a number from 0 to 1".into()),
            };
        }
    }
    let count = |name: &str| {
        let count = row.get(name).and_then(Value::as_u64);
        count.ok_or_else(|| format!("neither `pass_rate` nor a whole number of `{name}`"))
    };
    match (count("trials")?, count("correct")?) {
        (0, 0) => Ok((id, None)),
        (trials, correct) if correct <= trials => Ok((id, Some(correct as f64 / trials as f64))),
        (trials, correct) => Err(format!("{correct} correct of {}", counted(trials, "trial"))),
    }
}
