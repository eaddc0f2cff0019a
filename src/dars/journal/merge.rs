//! Joins journals of parts of a run's problems into one journal.

use std::path::{Path, PathBuf};

use super::assemble::{Assembler, Row};
use super::expected::{EXCLUDED, Latest, PROBLEMS, compare};
use super::notes::{Header, Note, Notes, Sums};
use super::{
    Access, Expected, JournalTrials, NOTES, check_cancelled, make_directory, notes, sync_directory,
};
use crate::dars::Session;
use crate::dars::outcome::fingerprint;
use crate::dars::summary::TrialSummary;
use crate::{Error, ErrorKind, Result};

/// The result of joining journals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// The trials of the new journal.
    pub trials: u64,
    /// Trials that several journals had with the same response. Each was taken once.
    pub overlaps: u64,
    /// The ids of problems without a trial in any of the journals.
    pub without_trials: Vec<String>,
}

/// Joins journals into a new one for the given run.
pub(in crate::dars) fn merge(
    directory: &Path,
    sources: &[PathBuf],
    expected: &Expected<'_>,
    part_bytes: u64,
) -> Result<Merged> {
    if directory.exists() {
        let reason = format!("{}: there is a journal already", directory.display());
        return Err(Error::new(ErrorKind::Journal, reason));
    }
    let mut header: Option<(Header, &Path)> = None;
    let mut sessions: Vec<Session> = Vec::new();
    for source in sources {
        let (found, own) = open(source)?;
        sessions.extend(own);
        match &header {
            Some((first, first_path)) => same(first, first_path, &found, source)?,
            None => header = Some((found, source)),
        }
    }
    let Some((mut header, _)) = header else {
        let reason = "no journals to join";
        return Err(Error::new(ErrorKind::Settings, reason));
    };
    if header
        .limits
        .get("trials")
        .is_some_and(|most| !most.is_null())
    {
        let reason =
            "a limit of trials over all problems is each journal's own: they cannot be joined";
        return Err(Error::new(ErrorKind::Journal, reason));
    }
    let all = fingerprint(expected.problems);
    header.configuration.insert(PROBLEMS.into(), all.into());
    // Each source excluded some of its own problems. The next call states the exclusions of the whole.
    header.configuration.shift_remove(EXCLUDED);
    sessions.sort_by(|a, b| a.started.cmp(&b.started));

    make_directory(directory)?;
    let merged = write(
        directory,
        sources,
        expected,
        part_bytes,
        (&header, sessions),
    );
    if merged.is_err() {
        // The new directory is ours and incomplete.
        let _ = std::fs::remove_dir_all(directory);
    }
    merged
}

/// Reads a source's header, with its latest rules and limits, and its calls.
fn open(source: &Path) -> Result<(Header, Vec<Session>)> {
    // Locked while it is read, since a running run would be cut off at an arbitrary point.
    let (_notes, (mut header, rows)) = Notes::open_existing(source, Access::Read, "")?;
    let latest = Latest::of(&header, &rows);
    header.limits = latest.limits;
    header.configuration.extend(latest.rules);
    let problems = latest.problems.into();
    header.configuration.insert(PROBLEMS.into(), problems);
    let mut sums = Sums::default();
    if matches!(rows.last(), Some(Note::Begun(_))) {
        // The last call was killed: what it drew is known only from its trials.
        for trial in JournalTrials::open(source)? {
            sums.add(&TrialSummary::of(&trial?));
        }
    }
    Ok((header, notes::sessions(&rows, sums)))
}

/// Returns an error unless two journals have the same configuration, apart from problems and exclusions.
fn same(first: &Header, first_path: &Path, other: &Header, path: &Path) -> Result<()> {
    let mut differences = Vec::new();
    let rest = |header: &Header| {
        let mut rest = header.configuration.clone();
        rest.shift_remove(PROBLEMS);
        rest.shift_remove(EXCLUDED);
        rest.insert("limits".into(), header.limits.clone().into());
        rest.into()
    };
    compare("", &rest(first), &rest(other), &mut differences);
    if differences.is_empty() {
        return Ok(());
    }
    let reason = format!(
        "{} and {} are of different configurations: {}",
        first_path.display(),
        path.display(),
        differences.join("; ")
    );
    Err(Error::new(ErrorKind::Journal, reason))
}

/// The trial numbers seen, by problem.
struct Seen(Vec<Vec<u64>>);

impl Seen {
    /// Inserts a trial and returns whether it is new.
    fn insert(&mut self, problem: u32, number: u32) -> bool {
        let words = &mut self.0[problem as usize];
        let (word, bit) = (number as usize / 64, number % 64);
        if words.len() <= word {
            words.resize(word + 1, 0);
        }
        let is_new = words[word] >> bit & 1 == 0;
        words[word] |= 1 << bit;
        is_new
    }
}

fn write(
    directory: &Path,
    sources: &[PathBuf],
    expected: &Expected<'_>,
    part_bytes: u64,
    (header, sessions): (&Header, Vec<Session>),
) -> Result<Merged> {
    let id = |problem: u32| expected.problems[problem as usize].id.as_str();
    let mut assembler = Assembler::new(directory, expected.seed, part_bytes, &id);
    let mut seen = Seen(vec![Vec::new(); expected.problems.len()]);
    let mut merged = Merged::default();
    for source in sources {
        check_cancelled(expected, source, None)?;
        for trial in JournalTrials::open(source)? {
            let trial = trial?;
            let name = expected.name_in(source, &trial)?;
            if !seen.insert(name.problem, name.number) {
                merged.overlaps += 1;
                continue;
            }
            merged.trials += 1;
            assembler.push(Row {
                problem: name.problem,
                summary: TrialSummary::of(&trial),
                json: super::to_json(&trial)?,
            })?;
        }
    }
    assembler.finish()?;
    // Written last, so that a journal with this file is complete.
    let (mut file, _) = Notes::open(&directory.join(NOTES), Access::Write)?;
    file.write(header)?;
    for session in sessions {
        file.write(&Note::Ended(session))?;
    }
    file.sync_new()?;
    sync_directory(directory);
    let words = expected.problems.iter().zip(&seen.0);
    merged.without_trials = words
        .filter(|(_, words)| words.is_empty())
        .map(|(problem, _)| problem.id.clone())
        .collect();
    Ok(merged)
}
