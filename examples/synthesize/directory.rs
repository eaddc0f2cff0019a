//! The directory of a data set: what may be there before a run, and what is made of it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use dart_math::dars::Outcome;
use dart_math::{Error, Settings};

use crate::common::tool::Failure;

/// The run's journal, beside the data set's files.
pub(crate) const JOURNAL: &str = "journal.jsonl";
const FILES: [&str; 4] = [
    "dataset.jsonl",
    "trials.jsonl",
    "problems.jsonl",
    "manifest.json",
];

/// Refuses a directory that holds a data set of unknown origin.
pub(crate) fn refuse_unknown(directory: &Path) -> Result<(), Failure> {
    if !has_header(&directory.join(JOURNAL))
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
    let journal = directory.join(JOURNAL);
    if let Ok(file) = fs::File::open(&journal)
        && matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    {
        return Err(format!("{}: another run is writing to it", journal.display()).into());
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

/// How many lines a file of the data set has.
fn lines(path: &Path) -> Option<u64> {
    let mut reader = BufReader::new(fs::File::open(path).ok()?);
    let mut count = 0;
    while reader.skip_until(b'\n').ok()? > 0 {
        count += 1;
    }
    Some(count)
}

/// Whether the directory has the files of this very outcome.
pub(crate) fn is_published(directory: &Path, outcome: &Outcome) -> bool {
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
        && manifest.get("limits") == Some(&outcome.limits.clone().into())
}
