//! Waiting for all verdicts, for generators whose schedule depends on them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use dart_math::dars::{Observer, Progress};

/// Notifies a waiting generator when all verdicts have arrived. It is the run's observer.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// The tokens delivered, and the number of completions without a verdict.
    state: Mutex<(u64, usize)>,
    change: Condvar,
}

impl Observer for Verdicts {
    fn progress(&self, progress: &Progress) {
        *self.state() = (progress.tokens, progress.grading);
        self.change.notify_all();
    }
}

impl Verdicts {
    fn state(&self) -> MutexGuard<'_, (u64, usize)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this many tokens have been delivered and all completions have verdicts.
    pub fn wait(&self, delivered: u64) {
        let pending = |state: &mut (u64, usize)| *state != (delivered, 0);
        drop(self.change.wait_while(self.state(), pending));
    }
}
