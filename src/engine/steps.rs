//! How long single decoding steps took, and what in them.
//!
//! For measurements: an engine keeps these only when it is asked to.

use std::time::Duration;

/// Wall-clock times of one decoding step, which feeds one token to every busy slot and draws the
/// next ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepTimes {
    /// Busy slots: rows of the step.
    pub rows: usize,
    /// Whether nothing was left to fill a free slot with when the step began: the source has said
    /// that it is done, and no request and no preempted sample waits. (A source is asked
    /// when a slot is free: a step that fills all slots is never one of the drain.)
    pub draining: bool,
    /// The whole step: where the draws of a step arrive while later ones run, from issuing one to
    /// issuing the next.
    pub total: Duration,
    /// Of it, in linear layers, including the output head; `None` if the backend does not measure it
    /// (only the CPU kernels do).
    pub linear: Option<Duration>,
    /// Of it, in attention; `None` likewise.
    pub attention: Option<Duration>,
    /// Of it, in sampling tokens from the logits; zero if the backend does not measure it.
    pub sampling: Duration,
}

impl StepTimes {
    /// The rest of the step: norms, RoPE, activations, embedding, text. If the backend does not
    /// measure its parts, everything except sampling.
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
