//! The states of all problems and the decision what to sample next. Single-threaded and without a clock:
//! decisions are a function of the calls made to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Problem;
use super::estimate::{Estimator, Fit, Snapshot};
use super::open_set::OpenSet;
use super::problem_state::{Closed, Needs, ProblemState};
use super::rules::Rules;
use super::store::Row;
use super::summary::TrialSummary;
use crate::{Offer, ProblemRecord, Rejection, Request, StopReason, TrialId, trial_seed};

/// The state of a run.
pub(super) struct Allocator<'a> {
    states: Vec<ProblemState>,
    rules: Rules<'a>,
    seed: u64,
    /// Problems that have not ended.
    open: OpenSet,
    /// Open problems that certainly need more trials than are under way.
    runnable: BTreeSet<u32>,
    /// Open problems that only the run's limit of trials keeps from more trials.
    capped: BTreeSet<u32>,
    allowance: Allowance,
    /// Trials that count, of problems that have ended.
    ended_trials: u64,
    totals: Counts,
    /// The estimate of the remaining work, if an observer needs it.
    estimator: Option<Estimator>,
}

/// Sums over the states, kept up to date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) done: usize,
    pub(super) met: usize,
    pub(super) trials: u64,
    pub(super) correct: u64,
    /// Trials received, including those settled out of order, and their tokens.
    pub(super) taken: u64,
    pub(super) tokens: u64,
}

/// How far the run's limit of trials lets the open problems go: each up to `level` trials, and those with an
/// index below `before` one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    level: u32,
    before: u32,
}

impl Allowance {
    fn of(self, problem: u32) -> u32 {
        self.level.saturating_add(u32::from(problem < self.before))
    }
}

impl<'a> Allocator<'a> {
    /// The state before any trial. `left_out` are the problems that are not to be sampled, with reasons.
    pub(super) fn open(
        problems: &[Arc<Problem>],
        left_out: &[(StopReason, Rejection)],
        rules: Rules<'a>,
        seed: u64,
    ) -> Self {
        let mut states: Vec<_> = problems
            .iter()
            .map(|problem| ProblemState::open(Arc::clone(problem), &rules))
            .collect();
        for (stop, Rejection { problem, reason }) in left_out {
            if let Some(state) = states.get_mut(*problem) {
                state.leave_out(*stop, reason.clone());
            }
        }
        let mut allocator = Allocator {
            open: OpenSet::new(states.iter().map(|state| !state.ended()).collect()),
            runnable: BTreeSet::new(),
            capped: BTreeSet::new(),
            allowance: Allowance {
                level: u32::MAX,
                before: 0,
            },
            ended_trials: 0,
            totals: Counts {
                done: states.iter().filter(|state| state.ended()).count(),
                met: states.iter().filter(|state| state.met()).count(),
                ..Counts::default()
            },
            states,
            rules,
            seed,
            estimator: None,
        };
        allocator.allow();
        let open: Vec<u32> = allocator.open.iter().collect();
        for index in open {
            allocator.update_demand(index);
        }
        allocator
    }

    /// Starts estimating the remaining work.
    pub(super) fn estimate(&mut self) {
        self.estimator = Some(Estimator::new(self.states.len()));
    }

    /// Returns the expected remaining trials and tokens of all goals, including trials under way.
    pub(super) fn remaining(&mut self) -> (f64, f64) {
        let Some(estimator) = &mut self.estimator else {
            return (0.0, 0.0);
        };
        let states = &self.states;
        estimator.sums(&self.rules, |index| states[index].standing())
    }

    /// Returns the input of a new estimate of the problems' pass rates, if one is due.
    pub(super) fn snapshot(&mut self) -> Option<Snapshot> {
        let standings = self.states.iter().map(ProblemState::standing);
        self.estimator
            .as_mut()?
            .snapshot(self.totals.taken, standings)
    }

    /// Uses this estimate from now on.
    pub(super) fn install(&mut self, fit: Fit) {
        if let Some(estimator) = &mut self.estimator {
            estimator.install(fit);
        }
    }

    /// Returns the number of problems.
    pub(super) fn problems(&self) -> usize {
        self.states.len()
    }

    pub(super) fn counts(&self) -> Counts {
        self.totals
    }

    pub(super) fn all_ended(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn request(&self, trial: TrialId) -> Request {
        let problem = Arc::clone(self.problem(trial.problem));
        Request {
            seed: trial_seed(self.seed, &problem.id, trial.number),
            trial,
            problem,
        }
    }

    pub(super) fn wants(&self, trial: TrialId) -> bool {
        let allowance = self.allowance.of(trial.problem);
        self.states[trial.problem as usize].wants(trial.number, &self.rules, allowance)
    }

    /// Takes a graded trial and returns whether it is new, not a second one of the same number.
    pub(super) fn settle(&mut self, problem: u32, trial: TrialSummary) -> bool {
        self.totals.taken += 1;
        self.totals.tokens += u64::from(trial.tokens);
        self.change(problem, |state, rules| state.settle(trial, rules))
    }

    pub(super) fn problem(&self, problem: u32) -> &Arc<Problem> {
        self.states[problem as usize].problem()
    }

    /// Returns whether a problem has ended.
    pub(super) fn has_ended(&self, problem: u32) -> bool {
        self.states[problem as usize].ended()
    }

    /// Returns a problem's current rows of the data set.
    pub(super) fn rows(&self, problem: u32) -> Vec<Row> {
        self.states[problem as usize].rows(self.rules.dedup)
    }

    /// Returns the problems that have not ended.
    pub(super) fn open_problems(&self) -> Vec<u32> {
        self.open.iter().collect()
    }

    /// Records that a trial has been sampled and awaits its verdict.
    pub(super) fn await_verdict(&mut self, trial: TrialId) {
        self.states[trial.problem as usize].await_verdict(trial.number);
    }

    /// Takes back an issued trial that will not settle.
    pub(super) fn requeue(&mut self, trial: TrialId) {
        self.change(trial.problem, |state, _| state.requeue(trial.number));
    }

    /// Ends a problem for a reason other than its trials. Returns whether it was open.
    pub(super) fn end(&mut self, problem: u32, reason: StopReason) -> bool {
        let was_open = !self.has_ended(problem);
        if was_open {
            self.change(problem, |state, _| state.end(reason));
        }
        was_open
    }

    fn change<T>(
        &mut self,
        index: u32,
        change: impl FnOnce(&mut ProblemState, &Rules<'_>) -> T,
    ) -> T {
        let state = &mut self.states[index as usize];
        let before = (state.ended(), state.trials(), state.correct());
        let changed = change(state, &self.rules);
        self.totals.trials += u64::from(state.trials() - before.1);
        self.totals.correct += u64::from(state.correct() - before.2);
        if let Some(estimator) = &mut self.estimator {
            estimator.update(index as usize, &state.standing(), &self.rules);
        }
        if state.ended() && !before.0 {
            self.ended_trials += u64::from(state.trials());
            self.totals.done += 1;
            self.totals.met += usize::from(state.met());
            self.open.remove(index);
            self.runnable.remove(&index);
            self.capped.remove(&index);
            if self.rules.limits.trials.is_some() {
                self.allow();
            }
        } else {
            self.update_demand(index);
        }
        changed
    }

    /// Divides the rest of the run's limit of trials among the open problems. Every problem that ends frees
    /// the rest of its share, so no allowance ever falls.
    fn allow(&mut self) {
        let open = self.open.len() as u64;
        let (Some(most), 1..) = (self.rules.limits.trials, open) else {
            return;
        };
        let left = most.saturating_sub(self.ended_trials);
        let (level, rest) = (left / open, left % open);
        let before = std::mem::replace(
            &mut self.allowance,
            Allowance {
                level: u32::try_from(level).unwrap_or(u32::MAX),
                before: self.open.nth(rest as usize).unwrap_or(0),
            },
        );
        // A changed allowance affects only problems that were held back by it.
        let now = self.allowance;
        let risen = |index: &u32| now.of(*index) != before.of(*index);
        let risen: Vec<u32> = match now.level == before.level {
            true if before.before <= now.before => self
                .capped
                .range(before.before..now.before)
                .copied()
                .collect(),
            _ => self.capped.iter().copied().filter(risen).collect(),
        };
        for index in risen {
            self.update_demand(index);
        }
    }

    /// Updates whether a problem is runnable.
    fn update_demand(&mut self, index: u32) {
        if self.needs(index).certain > 0 {
            self.runnable.insert(index);
        } else {
            self.runnable.remove(&index);
        }
        if self.rules.limits.trials.is_some() {
            let state = &self.states[index as usize];
            let is_capped = state.bound(&self.rules, u32::MAX) > self.allowance.of(index);
            match is_capped {
                true => self.capped.insert(index),
                false => self.capped.remove(&index),
            };
        }
    }

    fn needs(&self, index: u32) -> Needs {
        self.states[index as usize].needs(&self.rules, self.allowance.of(index))
    }

    /// Decides what to sample:
    ///
    /// 1. For problems with resident prompts: trials that are certainly or almost certainly needed
    ///    ([`Rules::sure`]).
    /// 2. For other problems, in order: trials that are certainly needed.
    /// 3. In slots that would be idle: trials that are expected to be needed, in equal shares of each
    ///    problem's expectation.
    ///
    /// Nothing beyond that is issued, however many slots are free.
    pub(super) fn issue(&mut self, offer: Offer<'_>) -> Vec<TrialId> {
        let mut issued = Vec::new();
        for &index in offer.resident {
            let most = offer.free - issued.len();
            if most == 0 {
                return issued;
            }
            if !self.states[index as usize].ended() {
                let count = (self.needs(index).likely as usize).min(most);
                self.issue_from(index, count, &mut issued);
            }
        }
        let others: Vec<u32> = self.runnable.iter().take(offer.free).copied().collect();
        for index in others {
            let most = offer.free - issued.len();
            let count = (self.needs(index).certain as usize).min(most);
            self.issue_from(index, count, &mut issued);
        }
        if issued.len() < offer.free && self.runnable.is_empty() {
            self.speculate(offer, &mut issued);
        }
        issued
    }

    fn speculate(&mut self, offer: Offer<'_>, issued: &mut Vec<TrialId>) {
        // The trials under way as a share of the expected total. The lowest share comes first.
        let mut open: Vec<_> = self
            .open
            .iter()
            .map(|index| (index, self.needs(index)))
            .filter(|(_, needs)| needs.expected > 0)
            .collect();
        let resident: BTreeSet<u32> = offer.resident.iter().copied().collect();
        while issued.len() < offer.free && !open.is_empty() {
            let share = |needs: &Needs| {
                f64::from(needs.under_way)
                    / (f64::from(needs.under_way) + f64::from(needs.expected))
            };
            open.sort_by(|(a, x), (b, y)| {
                (share(x).total_cmp(&share(y)))
                    .then(resident.contains(b).cmp(&resident.contains(a)))
                    .then(a.cmp(b))
            });
            // Issue one trial for each problem in the lower half, then sort again.
            let half = open.len().div_ceil(2).min(offer.free - issued.len());
            for (index, needs) in &mut open[..half] {
                self.issue_from(*index, 1, issued);
                // Update incrementally: recounting takes time in proportion to the trials ahead.
                needs.under_way += 1;
                needs.expected -= 1;
            }
            open.retain(|(_, needs)| needs.expected > 0);
        }
    }

    fn issue_from(&mut self, problem: u32, count: usize, issued: &mut Vec<TrialId>) {
        let state = &mut self.states[problem as usize];
        for _ in 0..count {
            issued.push(TrialId {
                problem,
                number: state.issue(),
            });
        }
        if count > 0 {
            self.update_demand(problem);
        }
    }

    /// Closes all problems. Returns one record per problem, in order, and what is known of its trials.
    /// `exhausted`: there are no more trials to select from.
    pub(super) fn close(self, exhausted: bool) -> (Vec<ProblemRecord>, Vec<Closed>) {
        let rules = self.rules;
        let states = self.states.into_iter();
        states.map(|state| state.close(&rules, exhausted)).unzip()
    }
}
