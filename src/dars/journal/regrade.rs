//! A journal's trials judged anew, by another grader or the same one in other settings.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;

use super::lines::{Line, Lines};
use super::{
    Expected, Header, Journal, Note, Row, damaged, latest_problems, open_locked, problems_of,
    serialise, sync_directory, unreadable,
};
use crate::dars::source::judge;
use crate::{Completion, Error, ErrorKind, Grader, Result, Trial};

/// What judging a journal's trials anew came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Regraded {
    /// Trials of the journal.
    pub trials: u64,
    /// Those that were wrong before and are correct now.
    pub newly_correct: u64,
    /// Those that were correct before and are wrong now.
    pub newly_wrong: u64,
}

/// Rows that are judged at once.
const BATCH: usize = 1024;

impl Journal {
    /// Writes the journal again with every trial's verdict by `grader`, in place of the old one once it is
    /// whole. Everything else must be of this run's configuration, the crate's version apart.
    pub(in crate::dars) fn regrade(
        path: &Path,
        expected: &Expected<'_>,
        grader: &dyn Grader,
    ) -> Result<Regraded> {
        if !path.exists() {
            let reason = format!("{}: no journal to grade anew", path.display());
            return Err(Error::new(ErrorKind::Journal, reason));
        }
        let file = open_locked(path)?;
        let mut lines = Lines::new(&file, path);
        let mut header: Header = match lines.next()? {
            Line::Whole(line) => serde_json::from_slice(line)
                .map_err(|_| damaged(path, 1, "not the header of a run's journal"))?,
            Line::Torn(_) | Line::End => {
                return Err(damaged(path, 1, "not the header of a run's journal"));
            }
        };
        for key in ["grader", "version"] {
            if let Some(now) = expected.configuration.get(key) {
                header.configuration.insert(key.into(), now.clone());
            }
        }
        let mut problems = problems_of(&header.configuration);
        if expected.has_fewer(&problems) {
            problems = latest_problems(&mut Lines::new(&open_again(path)?, path), problems)?;
        }
        expected.admit(path, &header, &problems)?;

        let draft = path.with_extension("regraded");
        let written = (|| {
            let mut out = Rows::new(&draft)?;
            out.row(&header)?;
            let mut regraded = Regraded::default();
            let mut batch: Vec<Passing> = Vec::with_capacity(BATCH);
            loop {
                let ended = match lines.next()? {
                    Line::Whole(line) => {
                        let row = Row::read(line)
                            .map_err(|error| unreadable(path, lines.number, &error))?;
                        let passing = Passing::new(row, expected)
                            .map_err(|reason| damaged(path, lines.number, &reason))?;
                        batch.push(passing);
                        false
                    }
                    Line::Torn(_) | Line::End => true,
                };
                if batch.len() == BATCH || ended {
                    if expected.cancel.is_cancelled() {
                        let reason =
                            format!("{}: interrupted: nothing has changed", path.display());
                        return Err(Error::new(ErrorKind::Interrupted, reason));
                    }
                    batch
                        .par_iter_mut()
                        .for_each(|row| row.judge(expected, grader));
                    for row in batch.drain(..) {
                        row.write(&mut out, &mut regraded)?;
                    }
                }
                if ended {
                    out.finish()?;
                    return Ok(regraded);
                }
            }
        })();
        let published = written.and_then(|regraded| {
            std::fs::rename(&draft, path).map_err(|error| Error::io(path, error))?;
            sync_directory(path);
            Ok(regraded)
        });
        if published.is_err() {
            // Nothing but the draft was touched.
            let _ = std::fs::remove_file(&draft);
        }
        published
    }
}

fn open_again(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Error::io(path, error))
}

/// A row that is on its way from the old journal to the new one.
enum Passing {
    /// A trial, of which problem, and whether it was correct before.
    Trial(Box<Trial>, u32, bool),
    Note(Note),
}

impl Passing {
    /// A row, if it is one of this run.
    fn new(row: Row, expected: &Expected<'_>) -> std::result::Result<Self, String> {
        Ok(match row {
            Row::Trial(trial) => {
                let id = expected.name(&trial)?;
                let before = trial.verdict.equal;
                Passing::Trial(trial, id.problem, before)
            }
            Row::Note(note) => Passing::Note(note),
        })
    }

    fn judge(&mut self, expected: &Expected<'_>, grader: &dyn Grader) {
        if let Passing::Trial(trial, problem, _) = self
            && let Some(problem) = expected.problems.get(*problem as usize)
        {
            let completion = Completion {
                text: std::mem::take(&mut trial.response),
                tokens: Vec::new(),
                counted_tokens: Some(trial.tokens),
                finish: trial.finish,
                unfinished_reasoning: trial.unfinished_reasoning,
                logprob: trial.logprob,
            };
            trial.verdict = judge(grader, problem, &completion).0;
            trial.response = completion.text;
        }
    }

    fn write(&self, out: &mut Rows, regraded: &mut Regraded) -> Result<()> {
        match self {
            Passing::Trial(trial, _, before) => {
                let now = trial.verdict.equal;
                regraded.trials += 1;
                regraded.newly_correct += u64::from(now && !before);
                regraded.newly_wrong += u64::from(!now && *before);
                out.row(&**trial)
            }
            Passing::Note(note) => out.row(note),
        }
    }
}

/// The new journal while it is written.
struct Rows {
    file: BufWriter<File>,
    path: std::path::PathBuf,
    line: Vec<u8>,
}

impl Rows {
    fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(|error| Error::io(path, error))?;
        Ok(Rows {
            file: BufWriter::new(file),
            path: path.to_owned(),
            line: Vec::new(),
        })
    }

    fn row(&mut self, row: &impl serde::Serialize) -> Result<()> {
        self.line.clear();
        serialise(row, &mut self.line)?;
        let written = self.file.write_all(&self.line);
        written.map_err(|error| Error::io(&self.path, error))
    }

    fn finish(mut self) -> Result<()> {
        let flushed = self.file.flush();
        let synced = flushed.and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| Error::io(&self.path, error))
    }
}
