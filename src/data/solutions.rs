//! Reference solutions as rows of a data set, after its responses.

use std::collections::HashMap;

use serde::Serialize;

use crate::{Problem, ProblemRecord, StopReason, Trial};

/// The problems' own solutions ([`Problem::solution`]) as additional rows after the responses of a data set.
/// Solutions that equal a kept response (apart from surrounding white space) and those of excluded problems
/// are omitted.
///
/// [`WriteOptions::solutions`](super::WriteOptions::solutions) writes them to a directory. This type is for
/// custom writers.
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
    /// Whether a kept response equals the solution.
    repeated: Vec<bool>,
}

/// The numbers of solutions by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SolutionCounts {
    /// Solutions that are rows.
    pub added: u64,
    /// Solutions that equal a kept response.
    pub duplicates: u64,
    /// Problems without a solution.
    pub missing: u64,
    /// Excluded problems, with or without a solution.
    pub excluded: u64,
}

impl<'a> Solutions<'a> {
    /// The solutions of a run's problems.
    pub fn new(records: &'a [ProblemRecord]) -> Self {
        let ids = records.iter().map(|record| record.problem.id.as_str());
        Solutions {
            records,
            indices: ids.zip(0..).collect(),
            repeated: vec![false; records.len()],
        }
    }

    /// Records a trial. If it is accepted, its text is already a row.
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

    /// Returns the solutions that are rows, in the order of the problems. All trials must have been recorded
    /// first.
    pub fn rows(&self) -> impl Iterator<Item = (&'a Problem, &'a str)> {
        let added = |(record, repeated): (&'a ProblemRecord, &bool)| {
            let problem = &*record.problem;
            let solution = problem.solution.as_deref()?;
            (record.stop != StopReason::Excluded && !repeated).then_some((problem, solution))
        };
        self.records.iter().zip(&self.repeated).filter_map(added)
    }

    /// Returns the counts.
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
