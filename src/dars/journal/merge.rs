//! Journals of parts of one run's problems, joined into one of all of them.

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

/// What joining journals came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    /// Trials of the new journal.
    pub trials: u64,
    /// Trials that more than one journal had, each with the same response: one of them was taken.
    pub overlaps: u64,
    /// Ids of problems that none of the journals has a trial of.
    pub without_trials: Vec<String>,
}

/// Joins journals into a new one, for the run that expects it.
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
    // Each left out some of its own problems; which ones the whole leaves out its next call says.
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
        // It is ours alone, and not whole.
        let _ = std::fs::remove_dir_all(directory);
    }
    merged
}

/// A source's header, with the rules and limits that it has last, and its calls.
fn open(source: &Path) -> Result<(Header, Vec<Session>)> {
    // Locked while it is read: a run that goes on would be cut somewhere.
    let (_notes, (mut header, rows)) = Notes::open_existing(source, Access::Read, "")?;
    let latest = Latest::of(&header, &rows);
    header.limits = latest.limits;
    header.configuration.extend(latest.rules);
    let problems = latest.problems.into();
    header.configuration.insert(PROBLEMS.into(), problems);
    let mut sums = Sums::default();
    if matches!(rows.last(), Some(Note::Begun(_))) {
        // It was killed: what it drew is known from its trials alone.
        for trial in JournalTrials::open(source)? {
            sums.add(&TrialSummary::of(&trial?));
        }
    }
    Ok((header, notes::sessions(&rows, sums)))
}

/// Fails unless two journals are of one configuration, problems apart, those that are left out among them.
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

/// Which numbers of each problem are there.
struct Seen(Vec<Vec<u64>>);

impl Seen {
    /// Whether a trial is new; it is there from now on.
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
    // Last, so that a journal that has it is whole.
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
