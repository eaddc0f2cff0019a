//! Observing and cancelling a run from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::session::to_milliseconds;
use crate::Trial;

/// Receives notifications of a run's progress. Called from the grading threads and, when the run begins and
/// ends, from the caller's thread; one call at a time.
pub trait Observer: Sync {
    /// Called when a trial has settled and when the run has begun or ended.
    fn progress(&self, progress: &Progress) {
        let _ = progress;
    }

    /// Called when a trial has been graded and journalled. It may still turn out not to count.
    fn graded(&self, trial: &Trial) {
        let _ = trial;
    }

    /// Called for each row of the data set. The rows of a problem are reported in the order of their numbers
    /// when the problem ends in this call of the run. The rows of problems that are still open are reported
    /// when the call ends. Together these are the data set, except for the rows of problems that ended in
    /// earlier calls (which are in the journal). A run that is resumed after an interruption reports the rows
    /// of its open problems again.
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

    /// Returns whether [`accepted`](Observer::accepted) is to be called. Return `false` if it is not used,
    /// because a run with a journal reads the rows back from it.
    fn wants_accepted(&self) -> bool {
        true
    }
}

/// The progress of a run. In JSON, times are in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Progress {
    /// The problems of the run.
    pub problems: usize,
    /// The problems that have ended, for any reason.
    pub done: usize,
    /// The problems that have all the correct responses, or trials, that they were to get.
    pub met: usize,
    /// The trials that count so far.
    pub trials: u64,
    /// The correct trials among them.
    pub correct: u64,
    /// The trials resumed from the journal instead of drawn now.
    pub resumed: u64,
    /// The tokens sampled in this call, including trials that do not count.
    pub tokens: u64,
    /// The trials that the generator is working on.
    pub in_flight: usize,
    /// The completions that await their verdict.
    pub grading: usize,
    /// The estimated remaining work.
    pub remaining: Remaining,
    /// The tokens sampled per second, over the last quarter of this call and at least ten seconds.
    pub tokens_per_second: f64,
    /// The time since the start of this call.
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

/// The estimated remaining work of a run.
///
/// The need of every open problem is estimated from its goal, its own trials, and the pass rates of all
/// problems with trials. The time is estimated from the speed in the last quarter of this call. Trials under
/// way are included. The run's limits are taken into account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Remaining {
    /// The trials.
    pub trials: u64,
    /// Their tokens.
    pub tokens: u64,
    /// The time that they take; `None` before the first trial of this call has settled.
    #[serde(serialize_with = "maybe_seconds")]
    pub time: Option<Duration>,
}

/// Ends a run from another thread, such as a Ctrl-C handler. The run ends cleanly with everything that is
/// complete. Clones share one state, which cannot be reset.
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
    /// A handle that has not been cancelled.
    pub fn new() -> Self {
        CancelHandle::default()
    }

    /// Ends the runs with this handle at their next check.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether [`cancel`](CancelHandle::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
