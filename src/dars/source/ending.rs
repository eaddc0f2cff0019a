//! The end of a run.

use std::sync::PoisonError;

use super::Shared;
use crate::dars::problem_state::Closed;
use crate::dars::{Outcome, RunStop, Totals};
use crate::{Error, ErrorKind, Result, Settings};

impl Shared<'_> {
    /// Ends a run that draws nothing.
    pub(in crate::dars) fn end_selection(&self) {
        let mut state = self.lock();
        let problems = state.allocator.open_problems().len();
        if problems > 0 {
            state.stop = Some(RunStop::JournalExhausted { problems });
        }
    }

    /// Determines why the run ended, once the generator has returned and all verdicts have arrived.
    pub(in crate::dars) fn conclude(&self, ran: Result<()>) {
        let mut state = self.lock();
        let ended = state.allocator.all_ended();
        match ran {
            Ok(()) if state.stop.is_some() => {}
            Ok(()) if ended => state.stop = Some(RunStop::Finished),
            Ok(()) => {
                let reason = "the generator returned before the run was done";
                state.fail(Error::new(ErrorKind::Device, reason));
            }
            Err(error) => state.fail(error),
        }
        let elapsed = self.begun.elapsed();
        state.totals.seconds = elapsed.as_secs_f64();
        let (totals, occupancy) = (state.totals, state.occupancy.finish(elapsed));
        state.session.end(&totals, occupancy);
        let session = state.session.clone();
        drop(state);
        let ended = self.store().end_session(&session);
        if let Err(error) = ended {
            self.lock().fail(error);
        }
    }

    pub(in crate::dars) fn close(self, configuration: Settings, limits: Settings) -> Outcome {
        let state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let counts = state.allocator.counts();
        let exhausted = matches!(state.stop, Some(RunStop::JournalExhausted { .. }));
        let (problems, closed) = state.allocator.close(exhausted);
        let kept = |record: &crate::ProblemRecord| u64::from(record.kept);
        let met = |record: &&crate::ProblemRecord| {
            use crate::StopReason::{TargetMet, TrialsDone};
            matches!(record.stop, TargetMet | TrialsDone)
        };
        let ended_by = |reason: crate::StopReason| {
            let records = problems.iter();
            records.filter(|record| record.stop == reason).count()
        };
        let sum = |count: fn(&Closed) -> u64| closed.iter().map(count).sum();
        let totals = Totals {
            problems: problems.len(),
            met: problems.iter().filter(met).count(),
            covered: problems.iter().filter(|record| record.kept > 0).count(),
            trials: counts.trials,
            correct: counts.correct,
            kept: problems.iter().map(kept).sum(),
            duplicates: sum(Closed::duplicates),
            truncated: sum(|closed| {
                closed
                    .truncated
                    .values()
                    .map(|&count| u64::from(count))
                    .sum()
            }),
            unfinished_reasoning: sum(|closed| u64::from(closed.unfinished_reasoning)),
            rejected: ended_by(crate::StopReason::Rejected),
            excluded: ended_by(crate::StopReason::Excluded),
            tokens: sum(|closed| closed.tokens),
            ..state.totals
        };
        let store = self.store.into_inner();
        let (kept, mut sessions) = store.unwrap_or_else(PoisonError::into_inner).close();
        // A call that only reads a finished run is not part of its history.
        let is_new = sessions.is_empty() && totals.resumed == 0;
        if state.session.drew() || is_new {
            sessions.push(state.session);
        }
        let indices = (0..).zip(&problems);
        let indices = indices.map(|(index, record)| (record.problem.id.clone(), index));
        Outcome {
            indices: indices.collect(),
            problems,
            totals,
            sessions,
            stop: state.stop.unwrap_or(RunStop::Finished),
            error: state.error,
            configuration,
            limits,
            closed,
            kept,
        }
    }
}
