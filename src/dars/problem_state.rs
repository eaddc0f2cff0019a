//! One problem's trials while the run goes on: which have settled, which are under way, which are
//! still needed.
//!
//! Knows nothing of other problems, of threads or of files.

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
/// Settled trials wait in `ahead` until all lower numbers have settled too; then they are counted,
/// one by one, and after each the strategy is asked anew. So everything that is decided here is a
/// function of the contiguous prefix alone. Of the trials that count there are sums, verdicts and
/// which of them repeat an earlier text; their texts lie elsewhere.
#[derive(Debug)]
pub(super) struct ProblemState {
    problem: Arc<Problem>,
    /// Of the trials that count: numbers 0, 1, 2, … without gaps.
    verdicts: Vec<bool>,
    correct: u32,
    /// Those of the correct ones that a target counts: all, or with deduplication the distinct ones.
    eligible: u32,
    /// Texts of the correct ones, while it is open.
    texts: Texts,
    /// Those that repeat an earlier text, and the number of its first.
    duplicates: BTreeMap<u32, u32>,
    /// Tokens of the trials that count.
    tokens: u64,
    /// Of those that were cut off, how many have how many tokens.
    truncated: BTreeMap<u32, u32>,
    unfinished_reasoning: u32,
    /// Graded trials whose predecessors have not all settled.
    ahead: BTreeMap<u32, TrialSummary>,
    /// What they say of the end, brought up to date whenever a trial settles.
    outlook: Outlook,
    /// Numbers given to the generator and not settled.
    under_way: BTreeSet<u32>,
    /// Those of them that have been sampled and wait for their verdict.
    ungraded: BTreeSet<u32>,
    /// Numbers below `next` that were given out and came back without a result.
    again: BTreeSet<u32>,
    /// All numbers below were given out, or were known before.
    next: u32,
    goal: Goal,
    /// How many trials there were when it was set.
    goal_since: u32,
    /// The trials that set the goal, where it has not changed since.
    pilot: Option<Pilot>,
    stop: Option<Stop>,
    /// Why it is left out.
    rejection: Option<String>,
}

/// What is known beyond the trials that count.
#[derive(Debug, Clone, Copy, Default)]
struct Outlook {
    /// Successes ahead that a target counts, if none of the trials between does.
    eligible: u32,
    /// Whether there are successes ahead at all.
    is_hopeful: bool,
    /// The number after the last success that the goal needs, where so many are known.
    end: Option<u32>,
    /// The number of trials that end it for futility if no other is correct than those that are known to be.
    futile_at: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Stop {
    reason: StopReason,
    at_success: bool,
}

impl ProblemState {
    /// A problem without trials, and its first goal.
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

    /// Ends it for a reason that is not its trials'.
    pub(super) fn end(&mut self, reason: StopReason) {
        self.stop = Some(Stop {
            reason,
            at_success: false,
        });
        self.forget();
    }

    /// Ends it because it cannot be sampled, or is not to be.
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

    /// Whether it ended because it has all that it was to get.
    pub(super) fn met(&self) -> bool {
        let reasons = [StopReason::TargetMet, StopReason::TrialsDone];
        self.stop.is_some_and(|stop| reasons.contains(&stop.reason))
    }

    /// Trials that count so far.
    pub(super) fn trials(&self) -> u32 {
        len(self.verdicts.len())
    }

    pub(super) fn correct(&self) -> u32 {
        self.correct
    }

    /// Whether the number has settled, or lies beyond the end of an ended problem.
    fn has(&self, number: u32) -> bool {
        number < self.trials() || self.ahead.contains_key(&number) || self.ended()
    }

    /// Takes a graded trial and everything it completes; whether it was not known before. A trial of
    /// an ended problem is dropped.
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
            // Inverse sampling: the goal was this number of correct responses already, and this
            // trial was the last of them.
            self.judge(rules, eligible && before == self.goal);
            if self.ended() {
                self.forget();
            }
        }
        self.look_ahead(rules);
        true
    }

    /// Drops what only an open problem needs.
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

    /// What the goal was set by, where it was a number of trials before, and is one of successes now.
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

    /// The first number that cannot count, by all that is known now and if the goal stays.
    /// `allowance` is the run's own bound.
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

    /// The number after the goal-th success that a target counts, where so many are known. Numbers
    /// from there on cannot count: verdicts still missing can only move the end forward.
    fn number_after(&self, goal: u32, dedup: bool) -> Option<u32> {
        if self.eligible >= goal {
            return Some(self.trials());
        }
        let missing = goal - self.eligible;
        self.ahead_eligible(dedup)
            .nth(missing as usize - 1)
            .map(|number| number + 1)
    }

    /// Numbers of the trials ahead that a target counts, if none of those before them does: with
    /// deduplication, correct ones whose text is not known yet.
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

    /// How many trials to have under way, beyond those that are: what the goal needs whatever the
    /// verdicts, and what it may be expected to need.
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
                    // Enough are known: every gap before the last of them is needed.
                    None | Some(0) => (missing, missing, missing),
                    Some(left) => {
                        let certain = left.saturating_sub(under_way);
                        // A verdict that is about to come says more than an expectation.
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

    /// Trials that `left` more successes take on average, by the pass rate so far (of which
    /// Laplace's rule of succession makes one that is never 0).
    fn expected_for(&self, left: u32, known: u32) -> u32 {
        let trials = u64::from(self.trials()) + self.ahead.len() as u64;
        let expected = (u64::from(left) * (trials + 2)).div_ceil(u64::from(known) + 1);
        u32::try_from(expected).unwrap_or(u32::MAX)
    }

    /// Successes that a target counts, those ahead included.
    fn known_eligible(&self) -> u32 {
        self.eligible + self.outlook.eligible
    }

    /// What its future may be estimated from.
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

    /// Whether a trial under way may still count.
    pub(super) fn wants(&self, number: u32, rules: &Rules<'_>, allowance: u32) -> bool {
        !self.ended() && number < self.bound(rules, allowance)
    }

    /// Gives out the lowest number that has neither settled nor is under way.
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

    /// Notes that a trial has been sampled and waits for its verdict.
    pub(super) fn await_verdict(&mut self, number: u32) {
        self.ungraded.insert(number);
    }

    /// Takes a number back that was given out and will not settle.
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

    /// The rows that the data set has of it, as it stands: numbers, and the first trial of the same
    /// text.
    pub(super) fn rows(&self, dedup: bool) -> Vec<Row> {
        let correct = (0..).zip(&self.verdicts).filter(|(_, correct)| **correct);
        let rows = correct.map(|(number, _)| (number, self.duplicates.get(&number).copied()));
        rows.filter(|(_, duplicate_of)| !(dedup && duplicate_of.is_some()))
            .take(self.target().unwrap_or(u32::MAX) as usize)
            .collect()
    }

    /// The problem's record, and what is known of its trials.
    /// `exhausted`: an open one has all the trials that there are to select from.
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

/// What a run's end leaves of a problem's trials, beside its record.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) verdicts: Vec<bool>,
    duplicates: BTreeMap<u32, u32>,
    dedup: bool,
    /// The number after that of the last row of the data set.
    end: u32,
    /// Sums over the trials that count.
    pub(super) tokens: u64,
    /// Of those that were cut off, how many have how many tokens.
    pub(super) truncated: BTreeMap<u32, u32>,
    pub(super) unfinished_reasoning: u32,
}

impl Closed {
    /// Correct trials that repeat an earlier text: rows of the data set, or left out of it for that.
    pub(super) fn duplicates(&self) -> u64 {
        let counted = |number: &&u32| self.dedup || **number < self.end;
        self.duplicates.keys().filter(counted).count() as u64
    }

    /// A trial with what it is to the data set and to others, if it counts.
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
    /// Of the trials that count.
    pub(super) verdicts: &'a [bool],
    /// Trials that are known, those ahead included.
    pub(super) trials: u32,
    /// Those of them that a target counts.
    pub(super) eligible: u32,
    /// Their tokens.
    pub(super) tokens: u64,
    /// `None` where the problem has ended.
    pub(super) goal: Option<Goal>,
}

/// See [`ProblemState::needs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs {
    /// Whatever the verdicts.
    pub(super) certain: u32,
    /// Those and others that are all but certain to count.
    pub(super) likely: u32,
    /// On average.
    pub(super) expected: u32,
    pub(super) under_way: u32,
}

fn len(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
