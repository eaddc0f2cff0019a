//! The directory of a data set: checks before a run, and preparation.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use dart_math::Error;
use dart_math::report::CARD_FIGURES;
use serde_json::Value;

use crate::common::tool::Failure;

/// The run's journal, next to the data set's files.
pub(crate) const JOURNAL: &str = "journal";
/// The journal's file that identifies the run and is locked.
const RUN: &str = "journal/run.jsonl";
const FILES: [&str; 7] = [
    "dataset.jsonl",
    "trials.jsonl",
    "problems.jsonl",
    "dataset.parquet",
    "trials.parquet",
    "problems.parquet",
    "manifest.json",
];

/// Refuses a path that is not a directory, a directory that another run writes to, and, unless the run in it
/// is to be replaced, one that contains a data set of unknown origin.
pub(crate) fn refuse_unknown(directory: &Path, fresh: bool) -> Result<(), Failure> {
    if directory.exists() && !directory.is_dir() {
        let reason = format!("--out {}: a file, not a directory", directory.display());
        return Err(reason.into());
    }
    if is_held(directory) {
        return Err(held(directory));
    }
    if fresh || has_header(&directory.join(RUN))? {
        return Ok(());
    }
    if has_parts(&directory.join(JOURNAL)) {
        return Err(format!(
            "{}: missing, or without its first line, which says which run's the trials beside it are: put it \
             back from a copy, or drop them with --fresh",
            directory.join(RUN).display()
        )
        .into());
    }
    if let Some(name) = FILES.iter().find(|name| directory.join(name).exists()) {
        return Err(format!(
            "{} has a {name}, but no {JOURNAL} to resume from (--fresh would replace it)",
            directory.display()
        )
        .into());
    }
    Ok(())
}

/// Returns whether another process has locked the journal.
pub(crate) fn is_held(directory: &Path) -> bool {
    fs::File::open(directory.join(RUN))
        .is_ok_and(|file| matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// Returns whether the directory's data set was selected from another run's trials, so that it can be
/// reproduced.
pub(crate) fn is_selection(directory: &Path) -> bool {
    let manifest = fs::read(directory.join("manifest.json"));
    let manifest = manifest
        .ok()
        .and_then(|it| serde_json::from_slice::<Value>(&it).ok());
    !directory.join(RUN).exists() && manifest.is_some_and(|it| it.get("selected_from").is_some())
}

/// The error for a directory whose journal another process has locked.
pub(crate) fn held(directory: &Path) -> Failure {
    format!(
        "{}: another process holds it: a run that is still going on (wait for its end, or take \
         another --out)",
        directory.join(JOURNAL).display()
    )
    .into()
}

/// Returns the number of problems of the run in the directory.
pub(crate) fn problems_before(directory: &Path) -> Option<usize> {
    let journal = BufReader::new(fs::File::open(directory.join(RUN)).ok()?);
    let count = |line: String| -> Option<u64> {
        // The header, or a row of added problems.
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

/// Creates the directory, and removes an earlier run from it if `fresh`.
pub(crate) fn prepare(directory: &Path, fresh: bool) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| Error::io(directory, error))?;
    match fresh {
        true => clear(directory),
        false => Ok(()),
    }
}

/// Returns whether there is a journal with at least its first line. Fails if it cannot be read.
fn has_header(journal: &Path) -> Result<bool, Failure> {
    let mut line = Vec::new();
    let read = fs::File::open(journal).and_then(|file| {
        BufReader::new(file)
            .take(1 << 20)
            .read_until(b'\n', &mut line)
    });
    match read {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(journal, error).into())
        }
        _ => Ok(line.ends_with(b"\n")),
    }
}

/// Returns whether a journal's directory contains trials.
fn has_parts(journal: &Path) -> bool {
    let is_part = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.map(|entry| entry.file_name());
        name.is_ok_and(|name| {
            name.to_string_lossy()
                .starts_with(|c: char| c.is_ascii_digit())
        })
    };
    fs::read_dir(journal).is_ok_and(|mut entries| entries.any(is_part))
}

/// Removes an earlier run, unless it is still running.
fn clear(directory: &Path) -> Result<(), Failure> {
    if is_held(directory) {
        return Err(held(directory));
    }
    clear_files(directory)?;
    let journal = directory.join(JOURNAL);
    absent(fs::remove_dir_all(&journal), &journal)
}

/// Removes the data set of an earlier run.
pub(crate) fn clear_files(directory: &Path) -> Result<(), Failure> {
    let files = FILES.iter().map(|name| directory.join(name));
    let figures = directory.join("figures");
    let of_card = CARD_FIGURES.map(|name| figures.join(format!("{name}.svg")));
    for path in files.chain(of_card) {
        absent(fs::remove_file(&path), &path)?;
    }
    // It remains if it contains other files.
    let _ = fs::remove_dir(figures);
    Ok(())
}

/// Treats a missing file as removed.
fn absent(removed: std::io::Result<()>, path: &Path) -> Result<(), Failure> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(path, error).into())
        }
        _ => Ok(()),
    }
}
