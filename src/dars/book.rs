//! One problem's trials while the run goes on: which have settled, which are under way, which are
//! still needed.
//!
//! Knows nothing of other problems, of threads or of files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::strategy::{Goal, Prefix, Strategy};
use super::{Limits, Problem};
use crate::{ProblemRecord, StopReason, Tally, Trial};

/// The state of one problem.
///
/// Settled trials wait in `ahead` until all lower numbers have settled too; then they move to
/// `settled`, one by one, and after each the strategy is asked anew. So everything that is decided
/// here is a function of the contiguous prefix alone.
#[derive(Debug)]
pub(super) struct Book {
    problem: Arc<Problem>,
    /// The trials that count: numbers 0, 1, 2, … without gaps.
    settled: Vec<Trial>,
    verdicts: Vec<bool>,
    correct: u32,
    /// Graded trials whose predecessors have not all settled.
    ahead: BTreeMap<u32, Trial>,
    /// Numbers given to the generator and not settled.
    under_way: BTreeSet<u32>,
    /// Those of them that have been sampled and wait for their verdict.
    ungraded: BTreeSet<u32>,
    /// Numbers below `next` that were given out and came back without a result.
    again: BTreeSet<u32>,
    /// All numbers below were given out, or were known before.
    next: u32,
    goal: Goal,
    stop: Option<Stop>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    reason: StopReason,
    at_success: bool,
}

impl Book {
    /// Opens a problem's book and asks for its first goal.
    pub(super) fn open(problem: Arc<Problem>, strategy: &dyn Strategy, limits: &Limits) -> Self {
        let goal = strategy.goal(&problem, Prefix::new(&[]));
        let mut book = Book {
            problem,
            settled: Vec::new(),
            verdicts: Vec::new(),
            correct: 0,
            ahead: BTreeMap::new(),
            under_way: BTreeSet::new(),
            ungraded: BTreeSet::new(),
            again: BTreeSet::new(),
            next: 0,
            goal,
            stop: None,
        };
        book.judge(limits, false);
        book
    }

    pub(super) fn problem(&self) -> &Arc<Problem> {
        &self.problem
    }

    pub(super) fn ended(&self) -> bool {
        self.stop.is_some()
    }

    /// Whether it ended because it has all that it was to get.
    pub(super) fn met(&self) -> bool {
        let reasons = [StopReason::TargetMet, StopReason::TrialsDone];
        self.stop.is_some_and(|stop| reasons.contains(&stop.reason))
    }

    /// Trials that count so far.
    pub(super) fn trials(&self) -> u32 {
        len(self.settled.len())
    }

    pub(super) fn correct(&self) -> u32 {
        self.correct
    }

    /// Whether the number has settled, or lies beyond the end of an ended problem.
    fn has(&self, number: u32) -> bool {
        number < self.trials() || self.ahead.contains_key(&number) || self.ended()
    }

    /// Takes a graded trial and everything it completes. A trial of an ended problem is dropped.
    pub(super) fn settle(&mut self, trial: Trial, strategy: &dyn Strategy, limits: &Limits) {
        self.under_way.remove(&trial.number);
        self.ungraded.remove(&trial.number);
        if self.has(trial.number) {
            return;
        }
        self.again.remove(&trial.number);
        self.ahead.insert(trial.number, trial);
        while let Some(trial) = self.ahead.remove(&self.trials()) {
            let correct = trial.verdict.equal;
            self.correct += u32::from(correct);
            self.verdicts.push(correct);
            self.settled.push(trial);
            let before = self.goal;
            self.goal = strategy.goal(&self.problem, Prefix::counted(&self.verdicts, self.correct));
            // Inverse sampling: the goal was this number of correct responses already, and this
            // trial was the last of them.
            self.judge(limits, correct && before == self.goal);
            if self.ended() {
                self.ahead.clear();
                self.again.clear();
            }
        }
    }

    /// Decides whether the prefix ends the problem.
    fn judge(&mut self, limits: &Limits, at_success: bool) {
        let trials = self.trials();
        let stop = |reason| Stop {
            reason,
            at_success: false,
        };
        self.stop = match self.goal {
            Goal::Stop => Some(stop(StopReason::Strategy)),
            Goal::Trials(goal) if trials >= goal => Some(stop(StopReason::TrialsDone)),
            Goal::Correct(goal) if self.correct >= goal => Some(Stop {
                reason: StopReason::TargetMet,
                at_success,
            }),
            _ if limits.trials_per_problem.is_some_and(|most| trials >= most) => {
                Some(stop(StopReason::TrialLimit))
            }
            _ if self.correct == 0 && limits.give_up_after.is_some_and(|most| trials >= most) => {
                Some(stop(StopReason::GaveUp))
            }
            _ => None,
        };
    }

    /// The first number that cannot count, by all that is known now and if the goal stays.
    /// `allowance` is the run's own bound.
    pub(super) fn bound(&self, limits: &Limits, allowance: u32) -> u32 {
        if self.ended() {
            return 0;
        }
        let by_goal = match self.goal {
            Goal::Trials(goal) => goal,
            Goal::Correct(goal) => self.number_after(goal).unwrap_or(u32::MAX),
            Goal::Stop => 0,
        };
        let hopeless = match limits.give_up_after {
            Some(most) if self.number_after(1).is_none() => most,
            _ => u32::MAX,
        };
        by_goal
            .min(hopeless)
            .min(limits.trials_per_problem.unwrap_or(u32::MAX))
            .min(allowance)
    }

    /// The number after the goal-th known success, where so many are known. Numbers from there on
    /// cannot count: verdicts still missing can only move the end forward.
    fn number_after(&self, goal: u32) -> Option<u32> {
        if self.correct >= goal {
            return Some(self.trials());
        }
        let missing = goal - self.correct;
        self.ahead
            .values()
            .filter(|trial| trial.verdict.equal)
            .nth(missing as usize - 1)
            .map(|trial| trial.number + 1)
    }

    /// How many trials to have under way, beyond those that are: what the goal needs whatever the
    /// verdicts, and what it may be expected to need.
    pub(super) fn needs(&self, limits: &Limits, allowance: u32) -> Needs {
        let bound = self.bound(limits, allowance);
        let under_way = len(self.under_way.range(..bound).count());
        let missing = bound
            .saturating_sub(self.trials())
            .saturating_sub(len(self.ahead.range(..bound).count()))
            .saturating_sub(under_way);
        let (certain, expected) = match self.goal {
            Goal::Correct(goal) => {
                let known = self.correct + self.ahead_correct();
                match goal.checked_sub(known) {
                    // Enough are known: every gap before the last of them is needed.
                    None | Some(0) => (missing, missing),
                    Some(left) => {
                        let certain = left.saturating_sub(under_way);
                        // A verdict that is about to come says more than an expectation.
                        let expected = match self.ungraded.is_empty() {
                            true => self.expected_for(left, known),
                            false => 0,
                        };
                        (certain, expected.saturating_sub(under_way))
                    }
                }
            }
            Goal::Trials(_) | Goal::Stop => (missing, missing),
        };
        Needs {
            certain: certain.min(missing),
            expected: expected.max(certain).min(missing),
            under_way,
        }
    }

    /// Trials that `left` more successes take on average, by the pass rate so far (of which
    /// Laplace's rule of succession makes one that is never 0).
    fn expected_for(&self, left: u32, known: u32) -> u32 {
        let trials = u64::from(self.trials()) + self.ahead.len() as u64;
        let expected = (u64::from(left) * (trials + 2)).div_ceil(u64::from(known) + 1);
        u32::try_from(expected).unwrap_or(u32::MAX)
    }

    fn ahead_correct(&self) -> u32 {
        len(self.ahead.values().filter(|t| t.verdict.equal).count())
    }

    /// A guess of how many more trials the problem takes, those under way included.
    pub(super) fn expected_left(&self, limits: &Limits) -> u64 {
        if self.ended() {
            return 0;
        }
        let left = match self.goal {
            Goal::Trials(goal) => goal.saturating_sub(self.trials()),
            Goal::Correct(goal) => {
                let left = goal.saturating_sub(self.correct);
                self.expected_for(left, self.correct)
            }
            Goal::Stop => 0,
        };
        let most = limits.trials_per_problem.unwrap_or(u32::MAX);
        u64::from(left.min(most.saturating_sub(self.trials())))
    }

    /// Whether a trial under way may still count.
    pub(super) fn wants(&self, number: u32, limits: &Limits, allowance: u32) -> bool {
        !self.ended() && number < self.bound(limits, allowance)
    }

    /// Gives out the lowest number that has neither settled nor is under way.
    pub(super) fn give_out(&mut self) -> u32 {
        let number = self.again.pop_first().unwrap_or_else(|| {
            self.next = self.next.max(self.trials());
            while self.ahead.contains_key(&self.next) {
                self.next += 1;
            }
            self.next += 1;
            self.next - 1
        });
        self.under_way.insert(number);
        number
    }

    /// Notes that a trial has been sampled and waits for its verdict.
    pub(super) fn await_verdict(&mut self, number: u32) {
        self.ungraded.insert(number);
    }

    /// Takes a number back that was given out and will not settle.
    pub(super) fn take_back(&mut self, number: u32) {
        self.ungraded.remove(&number);
        if self.under_way.remove(&number) && !self.ended() {
            self.again.insert(number);
        }
    }

    /// Closes the book: the problem's record, and its trials with the accepted ones marked.
    pub(super) fn close(mut self) -> (ProblemRecord, Vec<Trial>) {
        let target = match self.goal {
            Goal::Correct(target) => Some(target),
            Goal::Trials(_) | Goal::Stop => None,
        };
        let mut kept = 0;
        for trial in &mut self.settled {
            trial.accepted = trial.verdict.equal && target.is_none_or(|target| kept < target);
            kept += u32::from(trial.accepted);
        }
        let stop = self.stop.unwrap_or(Stop {
            reason: StopReason::RunEnded,
            at_success: false,
        });
        let record = ProblemRecord {
            tally: Tally {
                trials: self.trials(),
                correct: self.correct,
                at_success: stop.at_success,
            },
            problem: self.problem,
            target,
            kept,
            stop: stop.reason,
        };
        (record, self.settled)
    }
}

/// See [`Book::needs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    pub(super) certain: u32,
    pub(super) expected: u32,
    pub(super) under_way: u32,
}

fn len(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
