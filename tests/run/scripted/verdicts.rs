//! When all verdicts are in, for generators that decide nothing before.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use dart_math::dars::{Observer, Progress};

/// Lets a waiting generator know when all verdicts are in. It is the run's observer.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// Tokens delivered, and how many completions have no verdict yet.
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

    /// Waits until so many tokens have been delivered, all with their verdicts.
    pub fn wait(&self, delivered: u64) {
        let pending = |state: &mut (u64, usize)| *state != (delivered, 0);
        drop(self.change.wait_while(self.state(), pending));
    }
}
