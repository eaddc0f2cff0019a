//! Finds near duplicates among the trials of a journal, reading their texts problem by problem.
//!
//! A trial that is similar to an earlier one is treated as if it had the same text. The rest of the algorithm
//! is then the same as for exact duplicates, and a function of the trials in their order.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::journal::Parts;
use super::similar;
use super::summary::TrialSummary;
use super::{CancelHandle, Problem};
use crate::{Error, ErrorKind, Result, Trial};

/// Checks that a similarity threshold for near duplicates is in range.
pub(super) fn check(similarity: f64) -> Result<()> {
    if similarity > 0.0 && similarity <= 1.0 {
        return Ok(());
    }
    let reason =
        format!("near_duplicates must be a similarity above 0 and up to 1, and is {similarity}");
    Err(Error::new(ErrorKind::Settings, reason))
}

/// The error for a run that draws and is to leave near duplicates out.
pub(super) fn refused() -> Error {
    let reason = "near_duplicates: texts are compared when a data set is selected from a journal (Run::select), \
                  not while trials are drawn, for which a run remembers no texts";
    Error::new(ErrorKind::Settings, reason)
}

/// The inputs for reading the trials of a journal.
pub(super) struct Reading<'a> {
    pub(super) problems: &'a [Arc<Problem>],
    /// The index of each problem by its id.
    pub(super) indices: &'a HashMap<&'a str, u32>,
    pub(super) similarity: f64,
    pub(super) cancel: &'a CancelHandle,
}

impl Reading<'_> {
    /// Passes all trials to `take`, ordered by problem and number. `take` returns whether a trial is new.
    pub(super) fn settle(
        &self,
        parts: &Parts,
        take: &mut dyn FnMut(u32, TrialSummary) -> bool,
    ) -> Result<()> {
        let mut next = 0;
        while (next as usize) < self.problems.len() {
            if self.cancel.is_cancelled() {
                let reason =
                    "interrupted while near duplicates were looked for: nothing has changed";
                return Err(Error::new(ErrorKind::Interrupted, reason));
            }
            let batch = parts.batch(next);
            next = batch.end;
            let mut found: Vec<(u32, Trial)> = Vec::new();
            parts.read(&batch, &mut |trial| {
                let index = self.indices.get(trial.problem.as_str());
                if let Some(&index) = index.filter(|index| batch.contains(index)) {
                    found.push((index, trial));
                }
                Ok(())
            })?;
            found.sort_by_key(|(problem, trial)| (*problem, trial.number));
            let summaries: Vec<(u32, TrialSummary)> = found
                .par_chunk_by(|(a, _), (b, _)| a == b)
                .flat_map_iter(|own| summaries(own, self.similarity))
                .collect();
            for (problem, summary) in summaries {
                let number = summary.number;
                if !take(problem, summary) {
                    let id = &self.problems[problem as usize].id;
                    let reason = format!("the journal has trial {number} of {id:?} a second time");
                    return Err(Error::new(ErrorKind::Journal, reason));
                }
            }
        }
        Ok(())
    }
}

/// Returns the summaries of one problem's trials. A near duplicate gets the hash of the text that it
/// resembles.
fn summaries(trials: &[(u32, Trial)], similarity: f64) -> Vec<(u32, TrialSummary)> {
    let summary = |(problem, trial): &(u32, Trial)| (*problem, TrialSummary::of(trial));
    let mut summaries: Vec<_> = trials.iter().map(summary).collect();
    let correct: Vec<usize> = (0..trials.len())
        .filter(|at| trials[*at].1.verdict.equal)
        .collect();
    let texts: Vec<&str> = correct.iter().map(|at| &*trials[*at].1.response).collect();
    for (at, first) in correct.iter().zip(similar::firsts(&texts, similarity)) {
        if let Some(first) = first {
            summaries[*at].1.correct = summaries[correct[first]].1.correct;
        }
    }
    summaries
}
