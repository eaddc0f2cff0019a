//! Watching a run and stopping it, from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::session::to_milliseconds;
use crate::Trial;

/// Is notified of a run's progress. Called from the threads that grade, one call at a time.
pub trait Observer: Sync {
    /// A trial has settled, or the run has begun or ended.
    fn progress(&self, progress: &Progress) {
        let _ = progress;
    }

    /// A trial was graded and journalled. It may still turn out not to count.
    fn graded(&self, trial: &Trial) {
        let _ = trial;
    }

    /// A trial is a row of the data set. Called for the rows of a problem, in the order of their
    /// numbers, when the problem ends in this call of the run, and for the rows of the problems that
    /// are still open when the call ends. Together these are the data set, except for the rows of
    /// problems that had ended before (which are in the journal). A run that is resumed after an
    /// interruption reports the rows of its open problems again.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use dart_math::{Trial, dars::Observer};
    ///
    /// /// Hands every row on as soon as it is certain.
    /// struct Stream(Mutex<std::sync::mpsc::Sender<String>>);
    ///
    /// impl Observer for Stream {
    ///     fn accepted(&self, trial: &Trial) {
    ///         if let Ok(sender) = self.0.lock() {
    ///             let _ = sender.send(trial.response.clone());
    ///         }
    ///     }
    /// }
    /// ```
    fn accepted(&self, trial: &Trial) {
        let _ = trial;
    }

    /// Whether [`accepted`](Observer::accepted) is to be called. An observer that has no use for it
    /// says no: a run with a journal reads the rows back from it.
    fn wants_accepted(&self) -> bool {
        true
    }
}

/// Where a run stands. As JSON, times are in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Progress {
    /// Problems of the run.
    pub problems: usize,
    /// Problems that have ended, for whatever reason.
    pub done: usize,
    /// Problems that have all the correct responses, or trials, that they were to get.
    pub met: usize,
    /// Trials that count so far.
    pub trials: u64,
    /// Correct ones among them.
    pub correct: u64,
    /// Trials that were taken from the journal, not drawn now.
    pub resumed: u64,
    /// Tokens sampled in this call, those of trials that do not count included.
    pub tokens: u64,
    /// Trials that the generator is at work on.
    pub in_flight: usize,
    /// Completions that wait for their verdict.
    pub grading: usize,
    /// What the run is expected to take yet.
    pub remaining: Remaining,
    /// Tokens sampled a second, over the last quarter of this call.
    pub tokens_per_second: f64,
    /// Time since the start of this call.
    #[serde(serialize_with = "seconds")]
    pub elapsed: Duration,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(to_milliseconds(time.as_secs_f64()))
}

fn maybe_seconds<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

/// What the rest of a run is expected to take, by what is known of its problems.
///
/// Every open problem's need is estimated from its goal, its own trials, and the pass rates of all
/// problems that had any; the time, from how fast trials were completed in the last quarter of this
/// call. Trials under way are part of what remains. The run's own limits are taken into account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Remaining {
    /// Trials.
    pub trials: u64,
    /// Their tokens.
    pub tokens: u64,
    /// The time that they take; `None` before the first trial of this call has settled.
    #[serde(serialize_with = "maybe_seconds")]
    pub time: Option<Duration>,
}

/// Ends a run from another thread, such as a handler of Ctrl-C: cleanly, with everything that is
/// complete. Clones share one switch, and it does not go back.
///
/// ```
/// let handle = dart_math::dars::CancelHandle::new();
/// let in_handler = handle.clone();
/// in_handler.cancel();
/// assert!(handle.is_cancelled());
/// ```
#[derive(Debug, Clone, Default)]
pub struct CancelHandle(Arc<AtomicBool>);

impl CancelHandle {
    /// A handle that has not been used.
    pub fn new() -> Self {
        CancelHandle::default()
    }

    /// Ends the runs that were given this handle, as soon as they look.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was used.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
