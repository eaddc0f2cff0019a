//! Reference solutions as rows of a data set, behind its responses.

use std::collections::HashMap;

use serde::Serialize;

use crate::{Problem, ProblemRecord, StopReason, Trial};

/// The problems' own solutions ([`Problem::solution`]) as rows behind the responses of a data set, but for those that
/// are exactly (white space around them apart) a response that was kept, and those of problems that were left out.
///
/// [`WriteOptions::solutions`](super::WriteOptions::solutions) writes them to a directory; this is for those who write
/// rows of their own.
///
/// ```
/// # use dart_math::{data::arithmetic, dars::{Run, Uniform}, data::Solutions};
/// # fn of(outcome: dart_math::dars::Outcome) -> dart_math::Result<()> {
/// let mut solutions = Solutions::new(&outcome.problems);
/// for trial in outcome.accepted() {
///     solutions.see(&trial?);
/// }
/// for (problem, solution) in solutions.rows() {
///     println!("{}: {solution}", problem.question);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Solutions<'a> {
    records: &'a [ProblemRecord],
    indices: HashMap<&'a str, usize>,
    /// Whether a response that was kept is the same.
    repeated: Vec<bool>,
}

/// What became of the solutions of all problems.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SolutionCounts {
    /// Those that are rows.
    pub added: u64,
    /// Those that are exactly a response that was kept.
    pub duplicates: u64,
    /// Problems without a solution.
    pub missing: u64,
    /// Problems that were left out, whether they have a solution or not.
    pub excluded: u64,
}

impl<'a> Solutions<'a> {
    /// Those of a run's problems.
    pub fn new(records: &'a [ProblemRecord]) -> Self {
        let ids = records.iter().map(|record| record.problem.id.as_str());
        Solutions {
            records,
            indices: ids.zip(0..).collect(),
            repeated: vec![false; records.len()],
        }
    }

    /// Takes note of a trial: where it is accepted, its text is a row already.
    pub fn see(&mut self, trial: &Trial) {
        if !trial.accepted {
            return;
        }
        if let Some(&at) = self.indices.get(trial.problem.as_str())
            && let Some(solution) = &self.records[at].problem.solution
            && solution.trim() == trial.response.trim()
        {
            self.repeated[at] = true;
        }
    }

    /// The solutions that are rows, in the problems' order, once all trials were seen.
    pub fn rows(&self) -> impl Iterator<Item = (&'a Problem, &'a str)> {
        let added = |(record, repeated): (&'a ProblemRecord, &bool)| {
            let problem = &*record.problem;
            let solution = problem.solution.as_deref()?;
            (record.stop != StopReason::Excluded && !repeated).then_some((problem, solution))
        };
        self.records.iter().zip(&self.repeated).filter_map(added)
    }

    /// How many there are.
    pub fn counts(&self) -> SolutionCounts {
        let mut counts = SolutionCounts::default();
        for (record, repeated) in self.records.iter().zip(&self.repeated) {
            let count = match (record.stop, &record.problem.solution, repeated) {
                (StopReason::Excluded, ..) => &mut counts.excluded,
                (_, None, _) => &mut counts.missing,
                (_, Some(_), true) => &mut counts.duplicates,
                (_, Some(_), false) => &mut counts.added,
            };
            *count += 1;
        }
        counts
    }
}
