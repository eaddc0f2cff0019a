//! Grades a journal's trials again, with another grader or other settings.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::assemble::{Assembler, Row};
use super::notes::{Header, Note, Notes};
use super::{
    Access, Expected, JournalTrials, NOTES, VERSION, check_cancelled, make_directory,
    sync_directory,
};
use crate::dars::source::judge;
use crate::dars::summary::TrialSummary;
use crate::{Completion, Error, Grader, Result, Trial};

/// The result of grading a journal's trials again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Regraded {
    /// The trials of the journal.
    pub trials: u64,
    /// Trials that were wrong before and are correct now.
    pub newly_correct: u64,
    /// Trials that were correct before and are wrong now.
    pub newly_wrong: u64,
}

/// The number of trials graded at once.
const BATCH: usize = 1024;

/// Writes the journal again with the verdicts of `grader`, and replaces the old one when the new one is
/// complete. Everything else must match this run's configuration, except the crate's version.
pub(in crate::dars) fn regrade(
    directory: &Path,
    expected: &Expected<'_>,
    part_bytes: u64,
    grader: &dyn Grader,
) -> Result<Regraded> {
    // Locked until the new journal has replaced it.
    let (_notes, (mut header, rows)) =
        Notes::open_existing(directory, Access::Write, " to grade anew")?;
    for key in ["grader", "version"] {
        if let Some(now) = expected.configuration.get(key) {
            header.configuration.insert(key.into(), now.clone());
        }
    }
    let path = directory.join(NOTES);
    let latest = expected.admit(&path, &header, &rows)?;
    expected.check_limits(&path, &latest.limits)?;

    let draft = beside(directory, "regraded");
    remove_all(&draft)?;
    let written = write(
        &draft,
        directory,
        expected,
        part_bytes,
        grader,
        (&header, &rows),
    );
    let published = written.and_then(|regraded| {
        let old = beside(directory, "old");
        let io = |error| Error::io(directory, error);
        remove_all(&old)?;
        std::fs::rename(directory, &old).map_err(io)?;
        if let Err(error) = std::fs::rename(&draft, directory) {
            let _ = std::fs::rename(&old, directory);
            return Err(io(error));
        }
        sync_directory(directory);
        remove_all(&old)?;
        Ok(regraded)
    });
    if published.is_err() {
        // Discard the draft.
        let _ = remove_all(&draft);
    }
    published
}

/// Completes a replacement of a journal that was interrupted by a kill.
pub(super) fn recover(directory: &Path) -> Result<()> {
    let draft = beside(directory, "regraded");
    let old = beside(directory, "old");
    if !directory.exists() && draft.join(NOTES).exists() && old.join(NOTES).exists() {
        std::fs::rename(&draft, directory).map_err(|error| Error::io(directory, error))?;
        sync_directory(directory);
    }
    Ok(())
}

fn beside(directory: &Path, ending: &str) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    directory.with_file_name(name)
}

fn remove_all(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(directory, error))
        }
        _ => Ok(()),
    }
}

fn write(
    draft: &Path,
    from: &Path,
    expected: &Expected<'_>,
    part_bytes: u64,
    grader: &dyn Grader,
    (header, rows): (&Header, &[Note]),
) -> Result<Regraded> {
    make_directory(draft)?;
    let mut regraded = Regraded::default();
    let mut batch: Vec<Judged> = Vec::with_capacity(BATCH);
    let id = |problem: u32| expected.problems[problem as usize].id.as_str();
    let mut assembler = Assembler::new(draft, expected.seed, part_bytes, &id);
    let mut trials = JournalTrials::open(from)?;
    loop {
        let next = trials.next().transpose()?;
        let ended = next.is_none();
        if let Some(trial) = next {
            let id = expected.name_in(from, &trial)?;
            batch.push(Judged {
                problem: id.problem,
                before: trial.verdict.equal,
                trial,
            });
        }
        if batch.len() == BATCH || ended {
            check_cancelled(expected, from, None)?;
            let rows = batch
                .par_iter_mut()
                .map(|judged| judged.judge(expected, grader))
                .collect::<Result<Vec<_>>>()?;
            for (judged, row) in batch.drain(..).zip(rows) {
                let now = judged.trial.verdict.equal;
                regraded.trials += 1;
                regraded.newly_correct += u64::from(now && !judged.before);
                regraded.newly_wrong += u64::from(!now && judged.before);
                assembler.push(row)?;
            }
        }
        if ended {
            break;
        }
    }
    assembler.finish()?;
    // Written last, so that a draft with this file is complete.
    let (mut notes, _) = Notes::open(&draft.join(NOTES), Access::Write)?;
    notes.write(&Header {
        journal: VERSION,
        ..header.clone()
    })?;
    for row in rows {
        notes.write(row)?;
    }
    notes.sync_new()?;
    Ok(regraded)
}

struct Judged {
    problem: u32,
    before: bool,
    trial: Trial,
}

impl Judged {
    /// Grades the trial and returns its row.
    fn judge(&mut self, expected: &Expected<'_>, grader: &dyn Grader) -> Result<Row> {
        let trial = &mut self.trial;
        let completion = Completion {
            text: std::mem::take(&mut trial.response),
            tokens: Vec::new(),
            counted_tokens: Some(trial.tokens),
            finish: trial.finish,
            unfinished_reasoning: trial.unfinished_reasoning,
            logprob: trial.logprob,
        };
        let problem = &expected.problems[self.problem as usize];
        trial.verdict = judge(grader, (problem, trial.number), &completion).0;
        trial.response = completion.text;
        Ok(Row {
            problem: self.problem,
            summary: TrialSummary::of(trial),
            json: super::to_json(trial)?,
        })
    }
}
