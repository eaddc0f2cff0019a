//! Storage of trial texts: the run's journal, or memory if there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::journal::{Journal, Parts};
use super::problem_state::Closed;
use super::summary::TrialSummary;
use super::{Outcome, Session};
use crate::{Result, Trial, TrialId};

/// The trials whose texts a run without a journal keeps. (A journal has all of them.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// The trials of the data set.
    #[default]
    Accepted,
    /// All trials that count, including failures.
    All,
}

/// Stores trials during a run.
#[derive(Debug)]
pub(super) enum Store {
    Memory(Memory),
    Journal(Box<Journal>),
}

/// Trials in memory, by problem and number.
#[derive(Debug)]
pub(super) struct Memory {
    keep: Keep,
    trials: Vec<BTreeMap<u32, Trial>>,
}

/// A row of the data set: the trial's number, and the first trial with the same text.
pub(super) type Row = (u32, Option<u32>);

impl Store {
    pub(super) fn in_memory(problems: usize, keep: Keep) -> Self {
        Store::Memory(Memory {
            keep,
            trials: vec![BTreeMap::new(); problems],
        })
    }

    /// Adds a graded trial.
    pub(super) fn add(&mut self, id: TrialId, trial: Trial, summary: &TrialSummary) -> Result<()> {
        match self {
            Store::Journal(journal) => journal.add(id.problem, &trial, summary),
            Store::Memory(memory) => {
                if summary.correct.is_some() || memory.keep == Keep::All {
                    memory.trials[id.problem as usize].insert(id.number, trial);
                }
                Ok(())
            }
        }
    }

    /// Ends a problem with these rows. Other trials may be dropped.
    pub(super) fn end(&mut self, problem: u32, rows: &[Row]) {
        if let Store::Memory(memory) = self
            && memory.keep == Keep::Accepted
        {
            let rows: BTreeSet<u32> = rows.iter().map(|(number, _)| *number).collect();
            memory.trials[problem as usize].retain(|number, _| rows.contains(number));
        }
    }

    /// Returns the trials of these rows of a problem, marked as accepted.
    pub(super) fn rows(&mut self, (problem, id): (u32, &str), rows: &[Row]) -> Result<Vec<Trial>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut found: BTreeMap<u32, Trial> = BTreeMap::new();
        match self {
            Store::Memory(memory) => {
                let own = &memory.trials[problem as usize];
                let kept = |(number, _): &Row| Some((*number, own.get(number)?.clone()));
                found.extend(rows.iter().filter_map(kept));
            }
            Store::Journal(journal) => journal.read(&(problem..problem + 1), &mut |trial| {
                if trial.problem == id {
                    found.insert(trial.number, trial);
                }
                Ok(())
            })?,
        }
        let row = |(number, duplicate_of): &Row| {
            let trial = found.remove(number)?;
            Some(Trial {
                accepted: true,
                duplicate_of: *duplicate_of,
                ..trial
            })
        };
        Ok(rows.iter().filter_map(row).collect())
    }

    pub(super) fn end_session(&mut self, session: &Session) -> Result<()> {
        let Store::Journal(journal) = self else {
            return Ok(());
        };
        // A call that only reads a finished run is not part of its history.
        if session.drew() {
            journal.end(session)?;
        }
        journal.sync()
    }

    /// Returns the trials for an outcome, and the earlier calls.
    pub(super) fn close(self) -> (Kept, Vec<Session>) {
        match self {
            Store::Memory(memory) => (Kept::Memory(memory.trials), Vec::new()),
            Store::Journal(journal) => {
                let (parts, sessions) = journal.close();
                (Kept::Journal(parts), sessions)
            }
        }
    }
}

/// Where an outcome stores the texts of its trials.
#[derive(Debug)]
pub(super) enum Kept {
    Memory(Vec<BTreeMap<u32, Trial>>),
    Journal(Parts),
}

/// Iterates over the trials of a run, by problem and number. See [`Outcome::trials`].
#[derive(Debug)]
pub struct Trials<'a> {
    outcome: &'a Outcome,
    /// The next problem to read.
    next: u32,
    read: std::vec::IntoIter<Trial>,
}

impl<'a> Trials<'a> {
    pub(super) fn new(outcome: &'a Outcome) -> Self {
        Trials {
            outcome,
            next: 0,
            read: Vec::new().into_iter(),
        }
    }

    /// Returns the problems to read next.
    fn batch(&self) -> Range<u32> {
        match &self.outcome.kept {
            Kept::Memory(_) => self.next..self.next + 1,
            Kept::Journal(parts) => parts.batch(self.next),
        }
    }

    fn read(&self, problems: &Range<u32>) -> Result<Vec<Trial>> {
        let outcome = self.outcome;
        let place = |problem: u32, trial: Trial| {
            let closed: &Closed = &outcome.closed[problem as usize];
            closed.mark(trial)
        };
        match &outcome.kept {
            Kept::Memory(trials) => Ok(problems
                .clone()
                .flat_map(|problem| {
                    let own = trials[problem as usize].values().cloned();
                    own.filter_map(move |trial| place(problem, trial))
                })
                .collect()),
            Kept::Journal(parts) => {
                let mut found = Vec::new();
                parts.read(problems, &mut |trial| {
                    if let Some(&problem) = outcome.indices.get(&trial.problem)
                        && problems.contains(&problem)
                    {
                        found.extend(place(problem, trial).map(|trial| (problem, trial)));
                    }
                    Ok(())
                })?;
                found.sort_by_key(|(problem, trial)| (*problem, trial.number));
                Ok(found.into_iter().map(|(_, trial)| trial).collect())
            }
        }
    }
}

impl Iterator for Trials<'_> {
    type Item = Result<Trial>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(trial) = self.read.next() {
                return Some(Ok(trial));
            }
            if self.next as usize >= self.outcome.problems.len() {
                return None;
            }
            let problems = self.batch();
            self.next = problems.end;
            match self.read(&problems) {
                Ok(trials) => self.read = trials.into_iter(),
                Err(error) => {
                    self.next = u32::MAX;
                    return Some(Err(error));
                }
            }
        }
    }
}
