//! A run's expected data set, computed from the rules problem by problem, without a run.

use dart_math::dars::{Goal, Limits, Outcome, Prefix, Strategy};
use dart_math::{Futility, Problem, StopReason, Tally, TrialId};

use super::{complete, is_correct, problems};

/// The parts of a run's data set that no schedule may change.
pub type DataSet = (
    Vec<(String, u32, String, bool)>,
    Vec<(u32, u32, Option<u32>, u32, StopReason, bool)>,
);

pub fn data_set(outcome: &Outcome) -> DataSet {
    let trials = outcome.trials().map(|trial| trial.unwrap());
    let records = outcome.problems.iter();
    (
        trials
            .map(|t| (t.problem, t.number, t.response, t.accepted))
            .collect(),
        records
            .map(|r| {
                let Tally {
                    trials,
                    correct,
                    at_success,
                    ..
                } = r.tally;
                (trials, correct, r.target, r.kept, r.stop, at_success)
            })
            .collect(),
    )
}

/// Computes the expected data set of problems with these pass rates.
pub fn by_hand(rates: &[f64], strategy: &dyn Strategy, limits: Limits) -> DataSet {
    of_problems(problems(rates), strategy, limits, false)
}

/// Like [`by_hand`] for any problems, with or without deduplication.
pub fn of_problems(
    problems: Vec<Problem>,
    strategy: &dyn Strategy,
    limits: Limits,
    dedup: bool,
) -> DataSet {
    let (mut rows, mut records) = (Vec::new(), Vec::new());
    for problem in problems {
        let completion = |number: u32| {
            let request = dart_math::Request {
                trial: TrialId { problem: 0, number },
                seed: dart_math::trial_seed(11, &problem.id, number),
                problem: problem.clone().into(),
            };
            complete(&request)
        };
        let text = |number: u32| completion(number).text;
        let mut verdicts: Vec<bool> = Vec::new();
        // Whether each trial counts towards a target.
        let mut counted: Vec<bool> = Vec::new();
        let mut texts = std::collections::HashSet::new();
        let mut before = Goal::Stop;
        let (mut last_goal, mut goal_since, mut tokens) = (None, 0, 0);
        let (goal, stop) = loop {
            let goal = strategy.goal(&problem, Prefix::new(&verdicts));
            let n = verdicts.len() as u32;
            let c = verdicts.iter().filter(|&&v| v).count() as u32;
            let distinct = counted.iter().filter(|&&v| v).count() as u32;
            if last_goal.replace(goal) != Some(goal) {
                goal_since = n;
            }
            let is_futile = || match (goal, limits.futility, limits.trials_per_problem) {
                (Goal::Correct(target), Some(below), Some(limit)) if n > goal_since => {
                    let rule = Futility {
                        target,
                        limit,
                        below,
                    };
                    rule.chance(n, distinct) < below
                }
                _ => false,
            };
            let stop = match goal {
                Goal::Stop => Some(StopReason::Strategy),
                Goal::Trials(trials) if n >= trials => Some(StopReason::TrialsDone),
                Goal::Correct(correct) if distinct >= correct => Some(StopReason::TargetMet),
                _ if limits.trials_per_problem.is_some_and(|most| n >= most) => {
                    Some(StopReason::TrialLimit)
                }
                _ if c == 0 && limits.give_up_after.is_some_and(|most| n >= most) => {
                    Some(StopReason::GaveUp)
                }
                _ if is_futile() => Some(StopReason::Futile),
                _ if limits.tokens_per_problem.is_some_and(|most| tokens >= most) => {
                    Some(StopReason::TokenLimit)
                }
                _ => None,
            };
            if let Some(stop) = stop {
                break (goal, stop);
            }
            before = goal;
            let correct = is_correct(&problem, 11, n);
            verdicts.push(correct);
            tokens += u64::from(completion(n).token_count());
            counted.push(correct && (texts.insert(text(n)) || !dedup));
        };
        let target = match goal {
            Goal::Correct(target) => Some(target),
            _ => None,
        };
        let mut kept = 0;
        for (number, &counts) in (0..).zip(&counted) {
            let accepted = counts && target.is_none_or(|target| kept < target);
            kept += u32::from(accepted);
            rows.push((problem.id.clone(), number, text(number), accepted));
        }
        let at_success =
            stop == StopReason::TargetMet && counted.last() == Some(&true) && before == goal;
        let correct = verdicts.iter().filter(|&&v| v).count() as u32;
        records.push((
            verdicts.len() as u32,
            correct,
            target,
            kept,
            stop,
            at_success,
        ));
    }
    (rows, records)
}

/// Returns each problem's number of trials under a limit of the run: the first that count, by (number, problem).
pub fn within(rates: &[f64], strategy: &dyn Strategy, limits: Limits, most: u64) -> Vec<u32> {
    first_of(&by_hand(rates, strategy, limits), most)
}

/// Like [`within`], from a data set without such a limit.
pub fn first_of((_, records): &DataSet, most: u64) -> Vec<u32> {
    let mut kept = vec![0; records.len()];
    let mut left = most;
    for number in 0.. {
        let mut any = false;
        for (problem, record) in records.iter().enumerate() {
            if number < record.0 && left > 0 {
                kept[problem] += 1;
                left -= 1;
                any = true;
            }
        }
        if !any {
            return kept;
        }
    }
    unreachable!()
}
