//! One problem's trials during a run: which have settled, which are under way, and which are still needed.
//!
//! Independent of other problems, threads and files.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::Problem;
use super::duplicates::Texts;
use super::rules::{Counts, Rules};
use super::store::Row;
use super::strategy::{Goal, Prefix};
use super::summary::TrialSummary;
use crate::{Finish, Pilot, ProblemRecord, StopReason, Tally, Trial};

/// The state of one problem.
///
/// Settled trials wait in `ahead` until all lower numbers have settled. They are then counted one by one, and
/// the strategy is asked after each. All decisions are thus functions of the contiguous prefix alone. For
/// trials that count, only sums, verdicts and duplicates are kept here; their texts are stored elsewhere.
#[derive(Debug)]
pub(super) struct ProblemState {
    problem: Arc<Problem>,
    /// The verdicts of the trials that count: numbers 0, 1, 2, … without gaps.
    verdicts: Vec<bool>,
    correct: u32,
    /// The correct trials that a target counts: all, or only distinct ones with deduplication.
    eligible: u32,
    /// The texts of the correct trials, while the problem is open.
    texts: Texts,
    /// The trials that repeat an earlier text, each with the number of the first trial with that text.
    duplicates: BTreeMap<u32, u32>,
    /// The tokens of the trials that count.
    tokens: u64,
    /// The number of truncated trials by their number of tokens.
    truncated: BTreeMap<u32, u32>,
    unfinished_reasoning: u32,
    /// Graded trials with unsettled predecessors.
    ahead: BTreeMap<u32, TrialSummary>,
    /// What the trials ahead imply about the end. Updated whenever a trial settles.
    outlook: Outlook,
    /// Numbers issued to the generator that have not settled.
    under_way: BTreeSet<u32>,
    /// The issued numbers that have been sampled and await their verdict.
    ungraded: BTreeSet<u32>,
    /// Numbers below `next` that were issued and came back without a result.
    again: BTreeSet<u32>,
    /// All lower numbers were issued, or were known before.
    next: u32,
    goal: Goal,
    /// The number of trials when the goal was set.
    goal_since: u32,
    /// The trials that set the goal, if it has not changed since.
    pilot: Option<Pilot>,
    stop: Option<Stop>,
    /// Why the problem is left out.
    rejection: Option<String>,
}

/// What is known beyond the trials that count.
#[derive(Debug, Clone, Copy, Default)]
struct Outlook {
    /// Successes ahead that a target counts, assuming that none of the trials in between does.
    eligible: u32,
    /// Whether any trial ahead is a success.
    is_hopeful: bool,
    /// The number after the last success that the goal needs, if enough are known.
    end: Option<u32>,
    /// The number of trials that ends the problem for futility if no further trial is correct.
    futile_at: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    reason: StopReason,
    at_success: bool,
}

impl ProblemState {
    /// A problem without trials, with its first goal.
    pub(super) fn open(problem: Arc<Problem>, rules: &Rules<'_>) -> Self {
        let goal = rules.strategy.goal(&problem, Prefix::new(&[]));
        let mut state = ProblemState {
            problem,
            verdicts: Vec::new(),
            correct: 0,
            eligible: 0,
            texts: Texts::default(),
            duplicates: BTreeMap::new(),
            tokens: 0,
            truncated: BTreeMap::new(),
            unfinished_reasoning: 0,
            ahead: BTreeMap::new(),
            outlook: Outlook::default(),
            under_way: BTreeSet::new(),
            ungraded: BTreeSet::new(),
            again: BTreeSet::new(),
            next: 0,
            goal,
            goal_since: 0,
            pilot: None,
            stop: None,
            rejection: None,
        };
        state.judge(rules, false);
        state.look_ahead(rules);
        state
    }

    /// Ends the problem for a reason other than its trials.
    pub(super) fn end(&mut self, reason: StopReason) {
        self.stop = Some(Stop {
            reason,
            at_success: false,
        });
        self.forget();
    }

    /// Ends the problem because it cannot be sampled or is excluded.
    pub(super) fn leave_out(&mut self, stop: StopReason, reason: String) {
        self.rejection = Some(reason);
        self.stop = Some(Stop {
            reason: stop,
            at_success: false,
        });
    }

    pub(super) fn problem(&self) -> &Arc<Problem> {
        &self.problem
    }

    pub(super) fn ended(&self) -> bool {
        self.stop.is_some()
    }

    /// Returns whether the problem ended because it met its target.
    pub(super) fn met(&self) -> bool {
        let reasons = [StopReason::TargetMet, StopReason::TrialsDone];
        self.stop.is_some_and(|stop| reasons.contains(&stop.reason))
    }

    /// Returns the number of trials that count so far.
    pub(super) fn trials(&self) -> u32 {
        len(self.verdicts.len())
    }

    pub(super) fn correct(&self) -> u32 {
        self.correct
    }

    /// Returns whether the number has settled or the problem has ended.
    fn has(&self, number: u32) -> bool {
        number < self.trials() || self.ahead.contains_key(&number) || self.ended()
    }

    /// Takes a graded trial and counts all trials that it completes. Returns whether it is new. A trial of an
    /// ended problem is dropped.
    pub(super) fn settle(&mut self, trial: TrialSummary, rules: &Rules<'_>) -> bool {
        self.under_way.remove(&trial.number);
        self.ungraded.remove(&trial.number);
        if self.has(trial.number) {
            return self.ended() && trial.number >= self.trials();
        }
        self.again.remove(&trial.number);
        self.ahead.insert(trial.number, trial);
        while let Some(trial) = self.ahead.remove(&self.trials()) {
            let duplicate_of = trial
                .correct
                .and_then(|text| self.texts.insert(text, trial.number));
            if let Some(first) = duplicate_of {
                self.duplicates.insert(trial.number, first);
            }
            let correct = trial.correct.is_some();
            let eligible = correct && !(rules.dedup && duplicate_of.is_some());
            self.correct += u32::from(correct);
            self.eligible += u32::from(eligible);
            self.tokens += u64::from(trial.tokens);
            if trial.finish == Finish::Length {
                *self.truncated.entry(trial.tokens).or_default() += 1;
            }
            self.unfinished_reasoning += u32::from(trial.unfinished_reasoning);
            self.verdicts.push(correct);
            let before = self.goal;
            let prefix = Prefix::counted(&self.verdicts, self.correct);
            self.goal = rules.strategy.goal(&self.problem, prefix);
            if before != self.goal {
                self.goal_since = self.trials();
                self.pilot = self.pilot_of(before, rules);
            }
            // Inverse sampling: the goal was already this number of correct responses, and this trial was the
            // last of them.
            self.judge(rules, eligible && before == self.goal);
            if self.ended() {
                self.forget();
            }
        }
        self.look_ahead(rules);
        true
    }

    /// Drops the data that only an open problem needs.
    fn forget(&mut self) {
        self.ahead.clear();
        self.again.clear();
        self.texts.clear();
    }

    fn look_ahead(&mut self, rules: &Rules<'_>) {
        let end = match self.goal {
            Goal::Correct(goal) => self.number_after(goal, rules.dedup),
            Goal::Trials(_) | Goal::Stop => None,
        };
        let outlook = Outlook {
            eligible: len(self.ahead_eligible(rules.dedup).count()),
            is_hopeful: self.ahead_eligible(false).next().is_some(),
            end,
            futile_at: self.futile_at(rules),
        };
        self.outlook = outlook;
    }

    /// Returns the pilot that set the goal, if the previous goal was a number of trials and the present one
    /// is a number of successes.
    fn pilot_of(&self, before: Goal, rules: &Rules<'_>) -> Option<Pilot> {
        let (Goal::Trials(trials), Goal::Correct(target)) = (before, self.goal) else {
            return None;
        };
        if trials != self.trials() {
            return None;
        }
        let target_of =
            |verdicts: &[bool]| match rules.strategy.goal(&self.problem, Prefix::new(verdicts)) {
                Goal::Correct(target) => Some(target),
                Goal::Trials(_) | Goal::Stop => None,
            };
        let mut verdicts = self.verdicts.clone();
        let nearly_met = match verdicts.iter_mut().find(|correct| !**correct) {
            Some(wrong) => {
                *wrong = true;
                self.correct < target && target_of(&verdicts)? <= self.correct + 1
            }
            None => false,
        };
        verdicts.fill(false);
        Some(Pilot {
            trials,
            correct: self.correct,
            nearly_met,
            highest_target: target_of(&verdicts)?,
        })
    }

    /// Decides whether the prefix ends the problem.
    fn judge(&mut self, rules: &Rules<'_>, at_success: bool) {
        let counts = Counts {
            trials: self.trials(),
            correct: self.correct,
            eligible: self.eligible,
            tokens: self.tokens,
            goal_since: self.goal_since,
        };
        self.stop = rules.ended(self.goal, counts).map(|reason| Stop {
            reason,
            at_success: at_success && reason == StopReason::TargetMet,
        });
    }

    /// Returns the first number that cannot count, given everything known and the present goal. `allowance`
    /// is the run's own bound.
    pub(super) fn bound(&self, rules: &Rules<'_>, allowance: u32) -> u32 {
        if self.ended() {
            return 0;
        }
        let limits = &rules.limits;
        let by_goal = match self.goal {
            Goal::Trials(goal) => goal,
            Goal::Correct(_) => self.outlook.end.unwrap_or(u32::MAX),
            Goal::Stop => 0,
        };
        let hopeless = match limits.give_up_after {
            Some(most) if self.correct == 0 && !self.outlook.is_hopeful => most,
            _ => u32::MAX,
        };
        by_goal
            .min(hopeless)
            .min(self.outlook.futile_at.unwrap_or(u32::MAX))
            .min(limits.trials_per_problem.unwrap_or(u32::MAX))
            .min(allowance)
    }

    fn futile_at(&self, rules: &Rules<'_>) -> Option<u32> {
        let (Some(futility), Goal::Correct(target)) = (&rules.futility, self.goal) else {
            return None;
        };
        let ends = futility.of_target(target, self.known_eligible() as usize + 1);
        let end_of = |known: u32| ends.get(known as usize).copied().unwrap_or(u32::MAX);
        let mut known = self.eligible;
        let mut end = end_of(known);
        for number in self.ahead_eligible(rules.dedup) {
            if number >= end {
                break;
            }
            known += 1;
            end = end_of(known);
        }
        Some(end.max(self.goal_since + 1))
    }

    /// Returns the number after the goal-th success that a target counts, if enough are known. Later numbers
    /// cannot count: missing verdicts can only move the end forward.
    fn number_after(&self, goal: u32, dedup: bool) -> Option<u32> {
        if self.eligible >= goal {
            return Some(self.trials());
        }
        let missing = goal - self.eligible;
        self.ahead_eligible(dedup)
            .nth(missing as usize - 1)
            .map(|number| number + 1)
    }

    /// Returns the numbers of the trials ahead that a target counts, assuming that none of the missing ones
    /// does. With deduplication, these are correct trials with a new text.
    fn ahead_eligible(&self, dedup: bool) -> impl Iterator<Item = u32> {
        let mut seen = HashSet::new();
        let correct = self
            .ahead
            .values()
            .filter_map(|trial| Some((trial.number, trial.correct?)));
        correct
            .filter(move |(_, text)| !dedup || (!self.texts.has(*text) && seen.insert(*text)))
            .map(|(number, _)| number)
    }

    /// Returns how many further trials to have under way: those that the goal needs whatever the verdicts,
    /// and those that it is expected to need.
    pub(super) fn needs(&self, rules: &Rules<'_>, allowance: u32) -> Needs {
        let bound = self.bound(rules, allowance);
        let under_way = len(self.under_way.range(..bound).count());
        let missing = bound
            .saturating_sub(self.trials())
            .saturating_sub(len(self.ahead.range(..bound).count()))
            .saturating_sub(under_way);
        let (certain, likely, expected) = match self.goal {
            Goal::Correct(goal) => {
                let known = self.known_eligible();
                match goal.checked_sub(known) {
                    // Enough successes are known: every gap before the last of them is needed.
                    None | Some(0) => (missing, missing, missing),
                    Some(left) => {
                        let certain = left.saturating_sub(under_way);
                        // A pending verdict is more informative than an expectation.
                        let (likely, expected) = match self.ungraded.is_empty() {
                            true => {
                                let trials = self.trials() + len(self.ahead.len());
                                let likely = rules.sure.likely(left, known, trials);
                                (likely, self.expected_for(left, known))
                            }
                            false => (0, 0),
                        };
                        (
                            certain,
                            likely.saturating_sub(under_way),
                            expected.saturating_sub(under_way),
                        )
                    }
                }
            }
            Goal::Trials(_) | Goal::Stop => (missing, missing, missing),
        };
        Needs {
            certain: certain.min(missing),
            likely: likely.max(certain).min(missing),
            expected: expected.max(certain).min(missing),
            under_way,
        }
    }

    /// Returns the mean number of trials for `left` more successes at the pass rate so far (estimated by
    /// Laplace's rule of succession, so never 0).
    fn expected_for(&self, left: u32, known: u32) -> u32 {
        let trials = u64::from(self.trials()) + self.ahead.len() as u64;
        let expected = (u64::from(left) * (trials + 2)).div_ceil(u64::from(known) + 1);
        u32::try_from(expected).unwrap_or(u32::MAX)
    }

    /// Returns the successes that a target counts, including those ahead.
    fn known_eligible(&self) -> u32 {
        self.eligible + self.outlook.eligible
    }

    /// Returns the inputs for estimating the problem's remaining work.
    pub(super) fn standing(&self) -> Standing<'_> {
        let ahead = self.ahead.values();
        Standing {
            problem: &self.problem,
            verdicts: &self.verdicts,
            trials: self.trials() + len(self.ahead.len()),
            eligible: self.known_eligible(),
            tokens: self.tokens + ahead.map(|trial| u64::from(trial.tokens)).sum::<u64>(),
            goal: (!self.ended()).then_some(self.goal),
        }
    }

    /// Returns whether a trial under way may still count.
    pub(super) fn wants(&self, number: u32, rules: &Rules<'_>, allowance: u32) -> bool {
        !self.ended() && number < self.bound(rules, allowance)
    }

    /// Issues the lowest number that has neither settled nor is under way.
    pub(super) fn issue(&mut self) -> u32 {
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

    /// Records that a trial has been sampled and awaits its verdict.
    pub(super) fn await_verdict(&mut self, number: u32) {
        self.ungraded.insert(number);
    }

    /// Takes back an issued number that will not settle.
    pub(super) fn requeue(&mut self, number: u32) {
        self.ungraded.remove(&number);
        if self.under_way.remove(&number) && !self.ended() {
            self.again.insert(number);
        }
    }

    fn target(&self) -> Option<u32> {
        match self.goal {
            Goal::Correct(target) => Some(target),
            Goal::Trials(_) | Goal::Stop => None,
        }
    }

    /// Returns the problem's current rows of the data set: numbers, each with the first trial with the same
    /// text.
    pub(super) fn rows(&self, dedup: bool) -> Vec<Row> {
        let correct = (0..).zip(&self.verdicts).filter(|(_, correct)| **correct);
        let rows = correct.map(|(number, _)| (number, self.duplicates.get(&number).copied()));
        rows.filter(|(_, duplicate_of)| !(dedup && duplicate_of.is_some()))
            .take(self.target().unwrap_or(u32::MAX) as usize)
            .collect()
    }

    /// Returns the problem's record and what is known of its trials. `exhausted`: there are no more trials to
    /// select from.
    pub(super) fn close(self, rules: &Rules<'_>, exhausted: bool) -> (ProblemRecord, Closed) {
        let rows = self.rows(rules.dedup);
        let is_excluded = self
            .stop
            .is_some_and(|stop| stop.reason == StopReason::Excluded);
        let target = self.target().filter(|_| !is_excluded);
        let exhausted = exhausted && !self.ended();
        let stop = self.stop.unwrap_or(Stop {
            reason: StopReason::RunEnded,
            at_success: exhausted && self.verdicts.last() == Some(&true),
        });
        let record = ProblemRecord {
            tally: Tally {
                trials: self.trials(),
                correct: self.correct,
                at_success: stop.at_success,
                pilot: self.pilot,
                give_up_after: rules.limits.give_up_after,
                futility: rules
                    .futility
                    .as_ref()
                    .and_then(|ends| Some(ends.rule(target?))),
                dedup: rules.dedup,
                exhausted,
            },
            tokens: self.tokens,
            problem: self.problem,
            target,
            kept: len(rows.len()),
            stop: stop.reason,
            rejection: self.rejection,
        };
        let closed = Closed {
            verdicts: self.verdicts,
            duplicates: self.duplicates,
            dedup: rules.dedup,
            end: rows.last().map_or(0, |(last, _)| last + 1),
            tokens: self.tokens,
            truncated: self.truncated,
            unfinished_reasoning: self.unfinished_reasoning,
        };
        (record, closed)
    }
}

/// What remains of a problem's trials after a run, besides its record.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) verdicts: Vec<bool>,
    duplicates: BTreeMap<u32, u32>,
    dedup: bool,
    /// The number after that of the last row of the data set.
    end: u32,
    /// Sums over the trials that count.
    pub(super) tokens: u64,
    /// The number of truncated trials by their number of tokens.
    pub(super) truncated: BTreeMap<u32, u32>,
    pub(super) unfinished_reasoning: u32,
}

impl Closed {
    /// Returns the number of correct trials that repeat an earlier text: rows of the data set, or left out of
    /// it.
    pub(super) fn duplicates(&self) -> u64 {
        let counted = |number: &&u32| self.dedup || **number < self.end;
        self.duplicates.keys().filter(counted).count() as u64
    }

    /// Returns the trial with its duplicate and accepted marks, if it counts.
    pub(super) fn mark(&self, mut trial: Trial) -> Option<Trial> {
        let correct = *self.verdicts.get(trial.number as usize)?;
        trial.duplicate_of = self.duplicates.get(&trial.number).copied();
        trial.accepted =
            correct && trial.number < self.end && !(self.dedup && trial.duplicate_of.is_some());
        Some(trial)
    }
}

/// See [`ProblemState::standing`].
pub(super) struct Standing<'a> {
    pub(super) problem: &'a Problem,
    /// The verdicts of the trials that count.
    pub(super) verdicts: &'a [bool],
    /// The known trials, including those ahead.
    pub(super) trials: u32,
    /// Those that a target counts.
    pub(super) eligible: u32,
    /// The tokens of the known trials.
    pub(super) tokens: u64,
    /// The present goal; `None` if the problem has ended.
    pub(super) goal: Option<Goal>,
}

/// See [`ProblemState::needs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    /// Needed whatever the verdicts.
    pub(super) certain: u32,
    /// Certainly or almost certainly needed.
    pub(super) likely: u32,
    /// Needed on average.
    pub(super) expected: u32,
    pub(super) under_way: u32,
}

fn len(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
