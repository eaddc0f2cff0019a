//! The notifications to a run's observer.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::{Shared, State};
use crate::Trial;
use crate::dars::estimate::Mark;
use crate::dars::store::Row;
use crate::dars::{Progress, Remaining};

impl Shared<'_> {
    /// Returns the trials of these rows, if the observer is to be notified of them.
    pub(in crate::dars) fn read_rows(&self, problems: &[(u32, Vec<Row>)]) -> Vec<Trial> {
        if !self.wants_rows {
            return Vec::new();
        }
        let mut trials = Vec::new();
        for (problem, rows) in problems {
            let known = Arc::clone(self.lock().allocator.problem(*problem));
            let read = self.store().rows((*problem, &known.id), rows);
            match read {
                Ok(read) => trials.extend(read),
                Err(error) => self.lock().fail(error),
            }
        }
        trials
    }

    /// Returns the rows of problems that are open when the run ends, for the observer.
    pub(in crate::dars) fn rows_of_open(&self) -> Vec<Trial> {
        let rows: Vec<_> = {
            let state = self.lock();
            let allocator = &state.allocator;
            let open = allocator.open_problems().into_iter();
            open.chain(state.out_of_time.iter().copied())
                .map(|problem| (problem, allocator.rows(problem)))
                .collect()
        };
        self.read_rows(&rows)
    }

    /// Notifies the observer of the progress, of a trial that was graded before, and of rows.
    pub(in crate::dars) fn notify(&self, graded: Option<&Trial>, rows: &[Trial]) {
        let Some(observer) = &self.observer else {
            return;
        };
        self.catch_panic(|| {
            let observer = observer.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(trial) = graded {
                observer.graded(trial);
            }
            rows.iter().for_each(|row| observer.accepted(row));
            observer.progress(&self.progress());
        });
    }

    fn progress(&self) -> Progress {
        let due = self.lock().allocator.snapshot();
        if let Some(snapshot) = due {
            // Not under the lock, since it takes milliseconds.
            let fit = snapshot.fit();
            self.lock().allocator.install(fit);
        }
        let mut state = self.lock();
        let counts = state.allocator.counts();
        let elapsed = self.begun.elapsed();
        let now = Mark {
            seconds: elapsed.as_secs_f64(),
            trials: counts.taken - state.before.taken,
            tokens: counts.tokens - state.before.tokens,
            sampled: state.totals.tokens_sampled,
        };
        state.pace.mark(now);
        Progress {
            problems: self.problems,
            done: counts.done,
            met: counts.met,
            trials: counts.trials,
            correct: counts.correct,
            resumed: state.totals.resumed,
            tokens: state.totals.tokens_sampled,
            in_flight: state.flights.len(),
            grading: state.grading,
            remaining: self.remaining(&mut state, now),
            tokens_per_second: state.pace.speed(now),
            elapsed,
        }
    }

    /// Returns the estimated remaining work, within the run's limits.
    fn remaining(&self, state: &mut State<'_>, now: Mark) -> Remaining {
        if state.stop.is_some() {
            return Remaining::default();
        }
        let (trials, tokens) = state.allocator.remaining();
        let counted = state.allocator.counts().trials;
        let sampled = state.tokens_before + state.totals.tokens_sampled;
        let part = |most: Option<u64>, done: u64, needed: f64| match most {
            Some(most) if needed > 0.0 => (most.saturating_sub(done) as f64 / needed).min(1.0),
            _ => 1.0,
        };
        let share = part(self.limits.trials, counted, trials).min(part(
            self.limits.tokens,
            sampled,
            tokens,
        ));
        let (trials, tokens) = (share * trials, share * tokens);
        let seconds = state.pace.seconds(now, trials, tokens);
        let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let left = self
            .limits
            .time
            .map(|most| most.saturating_sub(self.begun.elapsed()));
        Remaining {
            trials: trials.round() as u64,
            tokens: tokens.round() as u64,
            time: match (time, left) {
                (Some(time), Some(left)) => Some(time.min(left)),
                (time, left) => time.or(left),
            },
        }
    }
}
