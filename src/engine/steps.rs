//! Times of single decoding steps and of their parts.
//!
//! For benchmarks: an engine records them only on request.

use std::time::Duration;

/// Wall-clock times of a decoding step, which feeds one token to every busy slot and draws the next
/// tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepTimes {
    /// The number of busy slots, which are the rows of the step.
    pub rows: usize,
    /// Whether no work was left for a free slot when the step began: the source is done, and no
    /// request and no preempted sample waits. A source is only asked when a slot is free, so a step
    /// that fills all slots is never draining.
    pub draining: bool,
    /// The whole step. If draws arrive while later steps run, it is the time from issuing this step
    /// to issuing the next.
    pub total: Duration,
    /// The part spent in linear layers, including the output head. `None` if the backend does not
    /// measure it (only the CPU kernels do).
    pub linear: Option<Duration>,
    /// The part spent in attention; `None` as for `linear`.
    pub attention: Option<Duration>,
    /// The part spent on sampling; zero if the backend does not measure it.
    pub sampling: Duration,
}

impl StepTimes {
    /// The rest of the step: norms, RoPE, activations, embedding, text. If the backend does not
    /// measure its parts, this is everything except sampling.
    #[must_use]
    pub fn other(&self) -> Duration {
        let known = [self.linear, self.attention].into_iter().flatten();
        known.fold(
            self.total.saturating_sub(self.sampling),
            Duration::saturating_sub,
        )
    }
}

/// Wall-clock time that a backend has spent so far, by part.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    pub(super) linear: Duration,
    pub(super) attention: Duration,
}
