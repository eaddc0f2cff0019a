//! The rules of a run: what counts and what ends a problem.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Limits;
use super::strategy::{Goal, Strategy};
use super::sure::Sure;
use crate::{Futility, StopReason};

/// The rules of a run.
pub(super) struct Rules<'a> {
    pub(super) strategy: &'a dyn Strategy,
    pub(super) limits: Limits,
    /// The ends for futility, if that limit is set.
    pub(super) futility: Option<FutilityEnds>,
    /// Whether duplicates of a problem's correct responses are left out.
    pub(super) dedup: bool,
    /// How probable it must be that a trial counts for it to be drawn along with others of its problem
    /// ([`RunBuilder::sure`](super::RunBuilder::sure)).
    pub(super) sure: Sure,
}

impl Rules<'_> {
    /// Returns why a problem ends, if it does.
    pub(super) fn ended(&self, goal: Goal, counts: Counts) -> Option<StopReason> {
        let (limits, trials) = (&self.limits, counts.trials);
        let is_futile = || match (&self.futility, goal) {
            (Some(futility), Goal::Correct(target)) if trials > counts.goal_since => {
                trials >= futility.end(target, counts.eligible)
            }
            _ => false,
        };
        match goal {
            Goal::Stop => Some(StopReason::Strategy),
            Goal::Trials(goal) if trials >= goal => Some(StopReason::TrialsDone),
            Goal::Correct(goal) if counts.eligible >= goal => Some(StopReason::TargetMet),
            _ if limits.trials_per_problem.is_some_and(|most| trials >= most) => {
                Some(StopReason::TrialLimit)
            }
            _ if counts.correct == 0 && limits.give_up_after.is_some_and(|most| trials >= most) => {
                Some(StopReason::GaveUp)
            }
            _ if is_futile() => Some(StopReason::Futile),
            _ if limits
                .tokens_per_problem
                .is_some_and(|most| counts.tokens >= most) =>
            {
                Some(StopReason::TokenLimit)
            }
            _ => None,
        }
    }
}

/// The counts that decide whether a problem ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) trials: u32,
    pub(super) correct: u32,
    /// The correct trials that a target counts.
    pub(super) eligible: u32,
    pub(super) tokens: u64,
    /// The number of trials when the goal was set.
    pub(super) goal_since: u32,
}

/// The numbers of trials that end a problem for futility, computed once per target.
pub(super) struct FutilityEnds {
    limit: u32,
    below: f64,
    ends: Mutex<HashMap<u32, Arc<[u32]>>>,
}

impl FutilityEnds {
    pub(super) fn of(limits: &Limits) -> Option<Self> {
        Some(FutilityEnds {
            limit: limits.trials_per_problem?,
            below: limits.futility?,
            ends: Mutex::default(),
        })
    }

    pub(super) fn rule(&self, target: u32) -> Futility {
        Futility {
            target,
            limit: self.limit,
            below: self.below,
        }
    }

    /// See [`Futility::end`].
    pub(super) fn end(&self, target: u32, correct: u32) -> u32 {
        let ends = self.of_target(target, correct as usize + 1);
        ends.get(correct as usize).copied().unwrap_or(u32::MAX)
    }

    /// Returns the ends of a target by number of correct trials: at least `count` of them, or all of the
    /// target's.
    pub(super) fn of_target(&self, target: u32, count: usize) -> Arc<[u32]> {
        let mut known = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let ends = known.entry(target).or_insert_with(|| Arc::new([]));
        let count = count.min(target as usize);
        if ends.len() < count {
            let more = count.max(2 * ends.len()).clamp(64, target.max(64) as usize);
            let correct = (0..target).skip(ends.len()).take(more - ends.len());
            let later = correct.map(|correct| self.rule(target).end(correct));
            *ends = ends.iter().copied().chain(later).collect();
        }
        Arc::clone(ends)
    }
}
