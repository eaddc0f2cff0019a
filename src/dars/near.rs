//! Near duplicates among the trials that a journal has: for which their texts are read, problem by problem.
//!
//! A trial that is similar to an earlier one is counted as if it had that one's text. So everything else is as with
//! texts that are exactly the same, and a function of the trials in their order.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::journal::Parts;
use super::similar;
use super::summary::TrialSummary;
use super::{CancelHandle, Problem};
use crate::{Error, ErrorKind, Result, Trial};

/// Whether two responses may be as similar as this to be near duplicates.
pub(super) fn check(similarity: f64) -> Result<()> {
    if similarity > 0.0 && similarity <= 1.0 {
        return Ok(());
    }
    let reason =
        format!("near_duplicates must be a similarity above 0 and up to 1, and is {similarity}");
    Err(Error::new(ErrorKind::Settings, reason))
}

/// What is said of a run that draws and is to leave near duplicates out.
pub(super) fn refused() -> Error {
    let reason = "near_duplicates: texts are compared when a data set is selected from a journal (Run::select), \
                  not while trials are drawn, for which a run remembers no texts";
    Error::new(ErrorKind::Settings, reason)
}

/// What the trials of a journal are read for.
pub(super) struct Reading<'a> {
    pub(super) problems: &'a [Arc<Problem>],
    /// Index of each problem by its id.
    pub(super) indices: &'a HashMap<&'a str, u32>,
    pub(super) similarity: f64,
    pub(super) cancel: &'a CancelHandle,
}

impl Reading<'_> {
    /// Hands all trials to `take`, by problem and number; it says whether a trial is a new one.
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

/// What is remembered of one problem's trials; near duplicates have the hash of the text that they are like.
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
