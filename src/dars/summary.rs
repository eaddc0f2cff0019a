//! The summary of a trial that a run keeps in memory: everything except its texts.

use super::duplicates::TextHash;
use super::session::GRADER_FAILED;
use crate::{Finish, Trial};

/// A graded trial without its texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TrialSummary {
    pub(super) number: u32,
    pub(super) tokens: u32,
    pub(super) finish: Finish,
    pub(super) unfinished_reasoning: bool,
    pub(super) grader_failed: bool,
    /// The response's hash if it is correct.
    pub(super) correct: Option<TextHash>,
}

impl TrialSummary {
    pub(super) fn of(trial: &Trial) -> Self {
        TrialSummary {
            number: trial.number,
            tokens: trial.tokens,
            finish: trial.finish,
            unfinished_reasoning: trial.unfinished_reasoning,
            grader_failed: trial.verdict.rule == GRADER_FAILED,
            correct: trial.verdict.equal.then(|| TextHash::of(&trial.response)),
        }
    }
}
