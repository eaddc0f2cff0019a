//! Journals as they lie on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use dart_math::dars::JournalTrials;
use dart_math::{Trial, TrialId};

/// Every file of a journal.
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

/// The part that is written first.
pub fn first_part(journal: &Path) -> PathBuf {
    journal.join("000001.jsonl")
}

pub fn id(trial: &Trial) -> TrialId {
    TrialId {
        problem: trial.problem[1..].parse().unwrap(),
        number: trial.number,
    }
}

/// The trials that a journal has.
pub fn trials(journal: &Path) -> BTreeSet<TrialId> {
    match notes(journal).exists() {
        true => JournalTrials::open(journal)
            .unwrap()
            .map(|trial| id(&trial.unwrap()))
            .collect(),
        false => BTreeSet::new(),
    }
}

/// Lines of a file, without their ends.
pub fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub fn write_lines(path: &Path, lines: &[String]) {
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// The same row with another content, and the checksum that belongs to it.
pub fn changed(line: &str, change: impl FnOnce(&str) -> String) -> String {
    let rest = change(line.split_once("\",").unwrap().1);
    let rest = format!(",{rest}");
    format!(
        "{{\"crc\":\"{:08x}\"{rest}",
        crc32fast::hash(rest.as_bytes())
    )
}
