//! Journals on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dart_math::dars::JournalTrials;
use dart_math::{Trial, TrialId};

/// Returns all files of a journal with their contents.
pub fn snapshot(journal: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(journal).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect()
}

pub fn restore(journal: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    if journal.exists() {
        fs::remove_dir_all(journal).unwrap();
    }
    fs::create_dir(journal).unwrap();
    for (path, bytes) in files {
        fs::write(path, bytes).unwrap();
    }
}

pub fn notes(journal: &Path) -> PathBuf {
    journal.join("run.jsonl")
}

/// The path of the part that is written first.
pub fn first_part(journal: &Path) -> PathBuf {
    journal.join("000001.jsonl")
}

pub fn id(trial: &Trial) -> TrialId {
    TrialId {
        problem: trial.problem[1..].parse().unwrap(),
        number: trial.number,
    }
}

/// Returns the trials in a journal.
pub fn trials(journal: &Path) -> BTreeSet<TrialId> {
    match notes(journal).exists() {
        true => JournalTrials::open(journal)
            .unwrap()
            .map(|trial| id(&trial.unwrap()))
            .collect(),
        false => BTreeSet::new(),
    }
}

/// Returns the lines of a file without line ends.
pub fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub fn write_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// Changes the content of a row and updates its checksum.
pub fn changed(line: &str, change: impl FnOnce(&str) -> String) -> String {
    let rest = change(line.split_once("\",").unwrap().1);
    let rest = format!(",{rest}");
    format!(
        "{{\"crc\":\"{:08x}\"{rest}",
        crc32fast::hash(rest.as_bytes())
    )
}
