//! Reads problems from JSON Lines or a JSON array of rows, plain or in gzip: GSM8K rows, MATH rows, and plain
//! rows.
//!
//! | format | question | reference |
//! |---|---|---|
//! | plain files | `question`, `problem` or `query` | `reference`, else `answer` |
//! | GSM8K | `question` | the text after the last `####` of `answer` |
//! | MATH | `problem` | the last `\boxed{…}` of `solution` |
//!
//! `id` names a problem; without it, a hash of the text does. The worked solution ([`Problem::solution`]) is
//! `solution`, or an `answer` with text before its `####`, each unchanged. All other fields are kept as
//! metadata. A question, reference or id that is a number is read exactly as written.
//!
//! Depends on the contract only.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Map, Value};

use super::lines::{Row, Rows};
use crate::error::counted;
use crate::{Error, ErrorKind, Problem, Result};

/// How to handle a row that is not a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadRow {
    /// Return an error that names the row.
    Fail,
    /// Skip the row and report it.
    Skip,
}

/// A row that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The line number, from 1.
    pub line: u64,
    /// Why the row is not a problem.
    pub reason: String,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

/// Reads a file of problems. Returns the problems and the skipped rows.
///
/// # Errors
///
/// Returns an error if the file cannot be read or has no problem at all. With [`OnBadRow::Fail`], also if a
/// row is not a problem: not UTF-8, not a JSON object, longer than [`MAX_LINE`](super::lines::MAX_LINE),
/// without a question or a reference, with the id of an earlier row, or with the question and reference of an
/// earlier row. The error names file, line and reason, and the line of the earlier row.
pub fn read(path: impl AsRef<Path>, on_bad_row: OnBadRow) -> Result<(Vec<Problem>, Vec<BadRow>)> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    read_from(
        BufReader::new(file),
        &path.display().to_string(),
        on_bad_row,
    )
}

/// Like [`read`], from any reader. `name` stands for the file in errors.
///
/// ```
/// use dart_math::data::problems::{OnBadRow, read_from};
///
/// let rows = r#"{"question": "2 + 3?", "answer": "It is 2 + 3 = 5.\n#### 5"}
/// {"problem": "Half of 3?", "solution": "That is $\\boxed{\\frac{3}{2}}$.", "level": "Level 1"}
/// {"query": "6 / 2?"}"#;
/// let (problems, bad) = read_from(rows.as_bytes(), "rows", OnBadRow::Skip)?;
/// assert_eq!(problems[0].reference, "5");
/// assert_eq!(problems[1].reference, r"\frac{3}{2}");
/// assert_eq!(problems[1].metadata["level"], "Level 1");
/// assert_eq!(bad[0].to_string(), "line 3: no `reference`, `answer` or `solution`");
/// # Ok::<(), dart_math::Error>(())
/// ```
///
/// # Errors
///
/// See [`read`].
pub fn read_from(
    reader: impl BufRead,
    name: &str,
    on_bad_row: OnBadRow,
) -> Result<(Vec<Problem>, Vec<BadRow>)> {
    let (mut problems, mut bad) = (Vec::<Problem>::new(), Vec::new());
    // The line numbers of the rows so far, by id and by a hash of the text.
    let (mut ids, mut texts) = (HashMap::new(), HashMap::new());
    for row in Rows::new(reader) {
        let row = row.map_err(|error| Error::io(name, error))?;
        let Row {
            line,
            object,
            numbers,
        } = row;
        let problem = object
            .and_then(|row| problem(row, &numbers))
            .and_then(|(problem, text)| {
                let same_id = ids.get(&problem.id).copied();
                let same_text = texts.get(&text).copied();
                // A row without an id has the hash of its text as its id.
                match (same_id, same_text) {
                    (Some(first), _) if problem.id != text => {
                        Err(format!("id {:?} was line {first}'s already", problem.id))
                    }
                    (_, Some(first)) => Err(format!("the same problem as in line {first}")),
                    (Some(first), None) => Err(format!(
                        "line {first} has the hash of this row's text, {text:?}, for its id"
                    )),
                    (None, None) => {
                        texts.insert(text, line);
                        Ok(problem)
                    }
                }
            });
        match (problem, on_bad_row) {
            (Ok(problem), _) => {
                ids.insert(problem.id.clone(), line);
                problems.push(problem);
            }
            (Err(reason), OnBadRow::Skip) => bad.push(BadRow { line, reason }),
            (Err(reason), OnBadRow::Fail) => {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!("{name}:{line}: {reason}"),
                ));
            }
        }
    }
    if problems.is_empty() {
        let reason = match bad.first() {
            None => format!("{name}: no problems"),
            Some(first) => {
                let rows = counted(bad.len() as u64, "bad row");
                format!("{name}: no problems, {rows}; {first}")
            }
        };
        return Err(Error::new(ErrorKind::Data, reason));
    }
    Ok((problems, bad))
}

/// Returns the problem of one row, and the id derived from its text alone. `numbers` are the numbers that
/// [`Value`] would print differently.
fn problem(
    mut row: Map<String, Value>,
    numbers: &BTreeMap<String, String>,
) -> Result<(Problem, String), String> {
    let id = take(&mut row, numbers, &["id"])?.map(|(_, id)| id);
    let question = question(&mut row, numbers)?;
    let solution = solution(&row);
    let reference = match take(&mut row, numbers, &["reference", "answer", "solution"])? {
        None => return Err("no `reference`, `answer` or `solution`".into()),
        Some(("solution", solution)) => boxed(&solution)?.to_owned(),
        Some(("answer", answer)) => match answer.rsplit_once("####") {
            Some((_, answer)) if answer.trim().is_empty() => {
                return Err("nothing after the last `####` of `answer`".into());
            }
            Some((_, answer)) => answer.trim().to_owned(),
            None => answer,
        },
        Some((_, reference)) => reference,
    };
    let mut problem = Problem::new(question, reference);
    let text = problem.id.clone();
    problem.id = id.unwrap_or(problem.id);
    problem.metadata = row;
    problem.solution = solution;
    Ok((problem, text))
}

/// Removes a row's question from it. The error says why there is none.
pub(super) fn question(
    row: &mut Map<String, Value>,
    numbers: &BTreeMap<String, String>,
) -> Result<String, String> {
    if let Some((_, question)) = take(row, numbers, &["question", "problem", "query"])? {
        return Ok(question);
    }
    let reason = "no `question`, `problem` or `query`";
    Err(match row.iter().find(|(_, value)| is_rows(value)) {
        Some((name, _)) => format!(
            "{reason}, but rows in its field `{name}`: a file is these rows themselves, such \
             as `jq -c '.{name}[]'` writes them"
        ),
        None => reason.into(),
    })
}

/// Returns the worked solution of a row: `solution`, or an `answer` with text before its `####`.
fn solution(row: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| Some(row.get(name)?.as_str()?.trim());
    let answer = || {
        let answer = text("answer")?;
        let (steps, _) = answer.rsplit_once("####")?;
        (!steps.trim().is_empty()).then_some(answer)
    };
    let solution = text("solution").filter(|solution| !solution.is_empty());
    solution.or_else(answer).map(str::to_owned)
}

/// Returns whether a field contains rows that should be the rows of the file.
fn is_rows(value: &Value) -> bool {
    let rows = value.as_array().filter(|rows| !rows.is_empty());
    rows.is_some_and(|rows| rows.iter().all(Value::is_object))
}

/// Removes the first existing field of these from a row. `null` counts as missing.
fn take<'n>(
    row: &mut Map<String, Value>,
    numbers: &BTreeMap<String, String>,
    names: &[&'n str],
) -> Result<Option<(&'n str, String)>, String> {
    for &name in names {
        let text = match row.get(name) {
            None | Some(Value::Null) => continue,
            Some(Value::String(text)) => text.trim().to_owned(),
            Some(Value::Number(number)) => numbers.get(name).cloned().unwrap_or(number.to_string()),
            Some(_) => return Err(format!("`{name}` is neither a text nor a number")),
        };
        if text.is_empty() {
            return Err(format!("`{name}` is empty"));
        }
        row.shift_remove(name);
        return Ok(Some((name, text)));
    }
    Ok(None)
}

/// Returns the contents of the last `\boxed` (or `\fbox`) of a solution.
fn boxed(solution: &str) -> Result<&str, String> {
    let last = ["\\boxed", "\\fbox"]
        .into_iter()
        .filter_map(|command| solution.rfind(command).map(|at| at + command.len()))
        .max();
    let Some(start) = last else {
        return Err("no `\\boxed` in `solution`".into());
    };
    let rest = solution[start..].trim_start();
    let content = match rest.strip_prefix('{') {
        // `\boxed 5` extends to the end of its formula.
        None => rest.split(['$', '\n']).next().unwrap_or(rest),
        Some(inside) => {
            let mut depth = 1;
            let mut escaped = false;
            let end = inside.bytes().position(|byte| {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'{' => depth += 1,
                    b'}' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            match end {
                Some(end) => &inside[..end],
                None => return Err("the last `\\boxed` of `solution` is not closed".into()),
            }
        }
    };
    match content.trim() {
        "" => Err("the last `\\boxed` of `solution` is empty".into()),
        content => Ok(content),
    }
}

#[cfg(test)]
mod tests {
    use super::boxed;

    #[test]
    fn the_last_box_counts_with_its_braces() {
        assert_eq!(
            boxed(r"$\boxed{1}$ or rather $\boxed{\frac{1}{2}}$."),
            Ok(r"\frac{1}{2}")
        );
        assert_eq!(boxed(r"\boxed{\{1, \}2\}}"), Ok(r"\{1, \}2\}"));
        assert_eq!(boxed(r"$\boxed 7$."), Ok("7"));
        assert_eq!(boxed(r"$\fbox{ x }$"), Ok("x"));
        assert_eq!(boxed(r"\boxed{a \\ }"), Ok(r"a \\"));
        assert!(boxed(r"\boxed{1").unwrap_err().contains("not closed"));
        assert!(boxed(r"\boxed{ }").unwrap_err().contains("empty"));
        assert!(boxed(r"\boxed").unwrap_err().contains("empty"));
        assert!(boxed("5").unwrap_err().contains("no `\\boxed`"));
    }
}
