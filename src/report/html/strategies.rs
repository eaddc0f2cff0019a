//! Compares what the three strategies make of the same trials: the paper's main figure.
//!
//! The compared strategies know their goal before the first trial, so a problem's rows are its first
//! successes up to the goal, as in a run. If the trials end before the goal is met and the run's limits would
//! allow more, the rest is estimated from the problem's pass rate. Estimated counts are kept separate.

use std::collections::HashMap;

use serde_json::Value;

use super::directory::{Directory, Row};
use crate::dars::{Goal, Prefix, Prop2Diff, Strategy, Uniform, Vanilla};
use crate::{Futility, Problem};

/// The result of a strategy on the trials.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// The name with its parameter, such as `uniform, k 40`.
    pub(super) name: String,
    /// The index of the strategy: 0 vanilla, 1 uniform, 2 prop2diff, 3 another.
    pub(super) kind: usize,
    /// Whether it is the run's own strategy: its counts are the data set's.
    pub(super) own: bool,
    /// The responses of each problem.
    pub(super) rows: Vec<Rows>,
}

/// The responses of a problem.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rows {
    /// Found among the directory's trials.
    pub(super) found: u32,
    /// Expected beyond them.
    pub(super) expected: f64,
}

impl Rows {
    pub(super) fn sum(self) -> f64 {
        f64::from(self.found) + self.expected
    }
}

/// The upper bound in the search for a strategy's parameter.
const MOST: u32 = 1 << 20;

/// Returns the three strategies in order, each at the size of the run's data set. The run's own strategy is
/// one of them, or is appended.
pub(super) fn compare(directory: &Directory) -> Vec<Made> {
    let size: u64 = directory
        .problems
        .iter()
        .map(|row| u64::from(row.kept))
        .sum();
    let strategy = directory.manifest.get("strategy");
    let own_name = strategy.and_then(|strategy| strategy.get("name")?.as_str());
    let own_number = |key: &str| strategy.and_then(|strategy| strategy.get(key)?.as_u64());
    let rates: HashMap<String, f64> = directory
        .problems
        .iter()
        .filter_map(|row| Some((row.id.clone(), row.pass_rate?)))
        .collect();
    let own = |name: String, kind: usize| Made {
        name,
        kind,
        own: true,
        rows: directory
            .problems
            .iter()
            .map(|row| Rows {
                found: row.kept,
                expected: 0.0,
            })
            .collect(),
    };
    let with = |name: &str, key: &str| match own_number(key) {
        Some(number) => format!("{name}, {key} {number}"),
        None => name.to_owned(),
    };
    let other = |name: &str, key: &str, kind: usize, of: &dyn Fn(u32) -> Box<dyn Strategy>| {
        let (number, rows) = of_size(directory, size as f64, of);
        Made {
            name: format!("{name}, {key} {number}"),
            kind,
            own: false,
            rows,
        }
    };
    let mut made = vec![
        match own_name {
            Some("vanilla") => own(with("vanilla", "trials"), 0),
            _ => other("vanilla", "trials", 0, &|trials| {
                Box::new(Vanilla { trials })
            }),
        },
        match own_name {
            Some("uniform") => own(with("uniform", "k"), 1),
            _ => other("uniform", "k", 1, &|k| Box::new(Uniform { k })),
        },
        match own_name {
            Some("prop2diff") => own(with("prop2diff", "k"), 2),
            _ => other("prop2diff", "k", 2, &|k| {
                Box::new(Prop2Diff::with_pass_rates(k, rates.clone()))
            }),
        },
    ];
    match own_name {
        Some("vanilla" | "uniform" | "prop2diff") => {}
        name => made.push(own(name.unwrap_or("this run").to_owned(), 3)),
    }
    made
}

/// Returns the parameter with which a strategy's size is closest to the given one, and its rows.
fn of_size(
    directory: &Directory,
    size: f64,
    of: &dyn Fn(u32) -> Box<dyn Strategy>,
) -> (u32, Vec<Rows>) {
    let problems: Vec<Problem> = directory
        .problems
        .iter()
        .map(|row| Problem {
            metadata: row.metadata.clone(),
            ..Problem::new("", "").with_id(&*row.id)
        })
        .collect();
    let limits = Limits::of(directory);
    let rows = |number: u32| -> Vec<Rows> {
        let strategy = of(number);
        let each = directory.problems.iter().zip(&problems);
        each.map(|(row, problem)| take(strategy.goal(problem, Prefix::new(&[])), row, limits))
            .collect()
    };
    let total = |rows: &[Rows]| rows.iter().map(|rows| rows.sum()).sum::<f64>();
    // Sizes grow with the parameter: find the first that is large enough by doubling and bisection.
    let mut high = 1;
    while high < MOST && total(&rows(high)) < size {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match total(&rows(middle)) < size {
            true => low = middle,
            false => high = middle,
        }
    }
    let (above, below) = (rows(high), rows(low.max(1)));
    match (total(&above) - size).abs() <= (total(&below) - size).abs() {
        true => (high, above),
        false => (low.max(1), below),
    }
}

/// The limits of the run that also apply to other strategies.
#[derive(Debug, Clone, Copy)]
struct Limits {
    trials: Option<u32>,
    give_up_after: Option<u32>,
    futility: Option<f64>,
    dedup: bool,
}

impl Limits {
    fn of(directory: &Directory) -> Self {
        let limit = |name: &str| {
            let limits = directory.manifest.get("limits");
            let limit = limits.and_then(|limits| limits.get(name).and_then(Value::as_u64));
            limit.and_then(|limit| u32::try_from(limit).ok())
        };
        Limits {
            trials: limit("trials_per_problem"),
            give_up_after: limit("give_up_after"),
            futility: directory
                .manifest
                .get("limits")
                .and_then(|limits| limits.get("futility")?.as_f64()),
            dedup: directory.dedup(),
        }
    }
}

/// Returns the rows that a goal takes from a problem's trials and those expected beyond them.
fn take(goal: Goal, row: &Row, limits: Limits) -> Rows {
    let given_up = |most: u32| row.successes.first().is_none_or(|&first| first >= most);
    if limits.give_up_after.is_some_and(given_up) {
        return Rows::default();
    }
    let rate = row.pass_rate.unwrap_or(0.0);
    let most = limits.trials.unwrap_or(u32::MAX);
    let before = |trials: u32| row.successes.partition_point(|&number| number < trials) as u32;
    // With deduplication, the rate of new responses is unknown.
    let expects = !limits.dedup && row.trials < most;
    let (found, expected) = match goal {
        Goal::Stop => (0, 0.0),
        Goal::Trials(trials) => {
            let missing = trials.min(most).saturating_sub(row.trials);
            (before(trials.min(most)), rate * f64::from(missing))
        }
        Goal::Correct(target) => {
            if let Some(end) = futile_end(target, row, limits) {
                return Rows {
                    found: before(end),
                    expected: 0.0,
                };
            }
            let found = before(most).min(target);
            let left = limits.trials.map(|most| most.saturating_sub(row.trials));
            (found, successes(target - found, left, rate))
        }
    };
    Rows {
        found,
        expected: if expects { expected } else { 0.0 },
    }
}

/// Returns the number of trials that ends a problem for futility under a target, if it had that many.
fn futile_end(target: u32, row: &Row, limits: Limits) -> Option<u32> {
    let rule = Futility {
        target,
        limit: limits.trials?,
        below: limits.futility?,
    };
    let wanted = row.successes.iter().take(target as usize).enumerate();
    let mut end = rule.end(0);
    for (before, &number) in wanted {
        if number >= end {
            break;
        }
        end = rule.end(before as u32 + 1);
    }
    (end <= row.trials).then_some(end)
}

/// Returns the mean of the number of successes in `trials` trials (unlimited if `None`), capped at `wanted`.
fn successes(wanted: u32, trials: Option<u32>, rate: f64) -> f64 {
    let Some(trials) = trials else {
        return if rate > 0.0 { f64::from(wanted) } else { 0.0 };
    };
    if rate <= 0.0 || trials == 0 {
        return 0.0;
    }
    if rate >= 1.0 {
        return f64::from(wanted.min(trials));
    }
    // The sum over j of min(j, wanted) P(j), computed as `wanted` minus the shortfall.
    let (log_pass, log_fail) = (rate.ln(), (-rate).ln_1p());
    let mut log_ways = 0.0;
    let mut lacks = 0.0;
    for j in 0..wanted.min(trials + 1) {
        let log = log_ways + f64::from(j) * log_pass + f64::from(trials - j) * log_fail;
        lacks += f64::from(wanted - j) * log.exp();
        log_ways += (f64::from(trials - j) / f64::from(j + 1)).ln();
    }
    (f64::from(wanted) - lacks).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_trials_lack_is_expected_and_kept_apart() {
        // Correct, wrong, correct, wrong.
        let row = Row {
            id: "p".into(),
            metadata: serde_json::Map::new(),
            trials: 4,
            correct: 2,
            pass_rate: Some(0.5),
            target: None,
            kept: 2,
            stop_reason: String::new(),
            seen: [4, 2],
            successes: vec![0, 2],
            group: 0,
        };
        let limits = Limits {
            trials: None,
            give_up_after: None,
            futility: None,
            dedup: false,
        };
        let rows = |goal: Goal, limits| {
            let rows = take(goal, &row, limits);
            (rows.found, rows.expected)
        };
        assert_eq!(rows(Goal::Stop, limits), (0, 0.0));
        assert_eq!(rows(Goal::Trials(2), limits), (1, 0.0));
        assert_eq!(rows(Goal::Trials(10), limits), (2, 3.0));
        assert_eq!(rows(Goal::Correct(1), limits), (1, 0.0));
        assert_eq!(rows(Goal::Correct(5), limits), (2, 3.0));
        let at_most = |trials: u32| Limits {
            trials: Some(trials),
            ..limits
        };
        assert_eq!(rows(Goal::Trials(10), at_most(2)), (1, 0.0));
        assert_eq!(rows(Goal::Correct(5), at_most(2)), (1, 0.0));
        assert_eq!(rows(Goal::Trials(10), at_most(6)), (2, 1.0));
        // Two more trials have one success on average, and at least one in three of four cases.
        assert_eq!(rows(Goal::Correct(5), at_most(6)), (2, 1.0));
        assert_eq!(rows(Goal::Correct(3), at_most(6)), (2, 0.75));
        let dedup = Limits {
            dedup: true,
            ..limits
        };
        assert_eq!(rows(Goal::Correct(5), dedup), (2, 0.0));
    }

    #[test]
    fn capped_successes_are_those_of_the_distribution() {
        for (wanted, trials, rate) in [
            (3u32, 7u32, 0.3f64),
            (1, 40, 0.01),
            (9, 5, 0.6),
            (192, 4000, 0.9),
        ] {
            let mut probability = (f64::from(trials) * (1.0 - rate).ln()).exp();
            let mut sum = 0.0;
            for j in 0..=trials {
                sum += probability * f64::from(j.min(wanted));
                probability *= f64::from(trials - j) / f64::from(j + 1) * rate / (1.0 - rate);
            }
            // If the probability of no success underflows, the mean is `wanted`.
            if wanted == 192 {
                sum = 192.0;
            }
            assert!((successes(wanted, Some(trials), rate) - sum).abs() < 1e-9);
        }
        assert_eq!(successes(4, None, 0.01), 4.0);
        assert_eq!(successes(4, None, 0.0), 0.0);
        assert_eq!(successes(4, Some(2), 1.0), 2.0);
    }
}
