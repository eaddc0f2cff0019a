//! The directory of a data set: what may be there before a run, and what is made of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use dart_math::dars::Outcome;
use dart_math::{Error, Settings};
use serde_json::Value;

use crate::common::tool::Failure;

/// The run's journal, beside the data set's files.
pub(crate) const JOURNAL: &str = "journal.jsonl";
const FILES: [&str; 4] = [
    "dataset.jsonl",
    "trials.jsonl",
    "problems.jsonl",
    "manifest.json",
];

/// Refuses what is no directory, one that another run writes to and, unless the run there is to be
/// replaced, one that holds a data set of unknown origin.
pub(crate) fn refuse_unknown(directory: &Path, fresh: bool) -> Result<(), Failure> {
    if directory.exists() && !directory.is_dir() {
        let reason = format!("--out {}: a file, not a directory", directory.display());
        return Err(reason.into());
    }
    if is_held(directory) {
        return Err(held(directory));
    }
    if !fresh
        && !has_header(&directory.join(JOURNAL))
        && let Some(name) = FILES.iter().find(|name| directory.join(name).exists())
    {
        return Err(format!(
            "{} has a {name}, but no {JOURNAL} to resume from (--fresh would replace it)",
            directory.display()
        )
        .into());
    }
    Ok(())
}

/// Whether another process has the journal's lock.
pub(crate) fn is_held(directory: &Path) -> bool {
    fs::File::open(directory.join(JOURNAL))
        .is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// What is said of a directory whose journal another process has locked.
pub(crate) fn held(directory: &Path) -> Failure {
    format!(
        "{}: another process holds it: a run that is still going on (wait for its end, or take \
         another --out)",
        directory.join(JOURNAL).display()
    )
    .into()
}

/// How many problems the run in the directory has by now.
pub(crate) fn problems_before(directory: &Path) -> Option<usize> {
    let journal = BufReader::new(fs::File::open(directory.join(JOURNAL)).ok()?);
    let count = |line: String| -> Option<u64> {
        // The header, or a row of problems that were added.
        let row: Value = serde_json::from_str(&line).ok()?;
        let problems = match row.get("configuration") {
            Some(configuration) => configuration.get("problems"),
            None => row.get("problems"),
        };
        problems?.get("count")?.as_u64()
    };
    let lines = journal.lines().map_while(Result::ok);
    usize::try_from(lines.filter_map(count).last()?).ok()
}

/// Makes the directory, and removes an earlier run from it where one is to begin anew.
pub(crate) fn prepare(directory: &Path, fresh: bool) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| Error::io(directory, error))?;
    match fresh {
        true => clear(directory),
        false => Ok(()),
    }
}

/// Whether there is a journal with at least its first line.
fn has_header(journal: &Path) -> bool {
    let mut line = Vec::new();
    fs::File::open(journal).is_ok_and(|file| {
        let read = BufReader::new(file)
            .take(1 << 20)
            .read_until(b'\n', &mut line);
        read.is_ok() && line.ends_with(b"\n")
    })
}

/// Removes an earlier run, unless it is still going on.
fn clear(directory: &Path) -> Result<(), Failure> {
    if is_held(directory) {
        return Err(held(directory));
    }
    for name in [JOURNAL].iter().chain(&FILES) {
        let path = directory.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&path, error).into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the rows of problems say what their problems do: their metadata may have changed since.
fn has_metadata_of(path: &Path, outcome: &Outcome) -> bool {
    let Ok(file) = fs::File::open(path) else {
        return false;
    };
    let mut rows = BufReader::new(file).lines().map_while(Result::ok);
    outcome.problems.iter().all(|record| {
        // Both come from JSON, so that floats are rounded alike.
        let is = serde_json::to_string(&record.problem.metadata);
        let is = is.and_then(|text| serde_json::from_str::<Value>(&text));
        let was = rows.next().map(|row| serde_json::from_str::<Value>(&row));
        match (was, is) {
            (Some(Ok(was)), Ok(is)) => was.get("metadata") == Some(&is),
            _ => false,
        }
    })
}

/// How many lines a file of the data set has.
fn lines(path: &Path) -> Option<u64> {
    let mut reader = BufReader::new(fs::File::open(path).ok()?);
    let mut count = 0;
    while reader.skip_until(b'\n').ok()? > 0 {
        count += 1;
    }
    Some(count)
}

/// Whether the directory has the files of this very outcome, and its manifest says of the problems'
/// file what this one does.
pub(crate) fn is_published(directory: &Path, outcome: &Outcome, now: &Settings) -> bool {
    let Ok(bytes) = fs::read(directory.join("manifest.json")) else {
        return false;
    };
    let Ok(manifest) = serde_json::from_slice::<Settings>(&bytes) else {
        return false;
    };
    outcome.finished()
        && [
            ("dataset.jsonl", outcome.totals.kept),
            ("trials.jsonl", outcome.trials.len() as u64),
            ("problems.jsonl", outcome.problems.len() as u64),
        ]
        .iter()
        .all(|&(name, rows)| lines(&directory.join(name)) == Some(rows))
        && [
            ("trials", outcome.totals.trials),
            ("correct", outcome.totals.correct),
            ("kept", outcome.totals.kept),
        ]
        .iter()
        .all(|&(name, count)| {
            manifest.get("totals").and_then(|totals| totals.get(name)) == Some(&count.into())
        })
        && manifest.get("stop").and_then(|stop| stop.as_str()) == Some(outcome.stop.name())
        && ["limits", "problems_from", "skip_bad", "skipped_rows"]
            .iter()
            .all(|&name| manifest.get(name) == now.get(name))
        && has_metadata_of(&directory.join("problems.jsonl"), outcome)
}
