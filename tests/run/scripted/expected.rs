//! What the rules say a run's data set is, worked out problem by problem, without any run.

use dart_math::dars::{Goal, Limits, Outcome, Prefix, Strategy};
use dart_math::{StopReason, Tally, TrialId};

use super::{complete, is_correct, problems};

/// A run's data set, as far as no schedule may change it.
pub type DataSet = (
    Vec<(String, u32, String, bool)>,
    Vec<(u32, u32, Option<u32>, u32, StopReason, bool)>,
);

pub fn data_set(outcome: &Outcome) -> DataSet {
    let trials = outcome.trials.iter();
    let records = outcome.problems.iter();
    (
        trials
            .map(|t| (t.problem.clone(), t.number, t.response.clone(), t.accepted))
            .collect(),
        records
            .map(|r| {
                let Tally {
                    trials,
                    correct,
                    at_success,
                } = r.tally;
                (trials, correct, r.target, r.kept, r.stop, at_success)
            })
            .collect(),
    )
}

/// What the rules say the data set is, computed problem by problem without any run.
pub fn by_hand(rates: &[f64], strategy: &dyn Strategy, limits: Limits) -> DataSet {
    let (mut rows, mut records) = (Vec::new(), Vec::new());
    for problem in problems(rates) {
        let mut verdicts: Vec<bool> = Vec::new();
        let mut before = Goal::Stop;
        let (goal, stop) = loop {
            let goal = strategy.goal(&problem, Prefix::new(&verdicts));
            let n = verdicts.len() as u32;
            let c = verdicts.iter().filter(|&&v| v).count() as u32;
            let stop = match goal {
                Goal::Stop => Some(StopReason::Strategy),
                Goal::Trials(trials) if n >= trials => Some(StopReason::TrialsDone),
                Goal::Correct(correct) if c >= correct => Some(StopReason::TargetMet),
                _ if limits.trials_per_problem.is_some_and(|most| n >= most) => {
                    Some(StopReason::TrialLimit)
                }
                _ if c == 0 && limits.give_up_after.is_some_and(|most| n >= most) => {
                    Some(StopReason::GaveUp)
                }
                _ => None,
            };
            if let Some(stop) = stop {
                break (goal, stop);
            }
            before = goal;
            verdicts.push(is_correct(&problem, 11, n));
        };
        let target = match goal {
            Goal::Correct(target) => Some(target),
            _ => None,
        };
        let mut kept = 0;
        for (number, &correct) in verdicts.iter().enumerate() {
            let accepted = correct && target.is_none_or(|target| kept < target);
            kept += u32::from(accepted);
            let request = dart_math::Request {
                trial: TrialId {
                    problem: 0,
                    number: number as u32,
                },
                seed: dart_math::trial_seed(11, &problem.id, number as u32),
                problem: problem.clone().into(),
            };
            let text = complete(&request).text;
            rows.push((problem.id.clone(), number as u32, text, accepted));
        }
        let at_success =
            stop == StopReason::TargetMet && verdicts.last() == Some(&true) && before == goal;
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

/// The first trials in the order (number, problem) that count: what a run's limit of trials keeps.
pub fn within(rates: &[f64], strategy: &dyn Strategy, limits: Limits, most: u64) -> Vec<u32> {
    let (_, records) = by_hand(rates, strategy, limits);
    let mut kept = vec![0; rates.len()];
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
