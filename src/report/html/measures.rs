//! The numbers of the figures.

use std::collections::BTreeMap;

use super::directory::{Directory, Fate};
use super::strategies::Made;
use crate::Tally;

/// A mean or a share with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Estimate {
    pub(super) value: f64,
    /// `None` if the uncertainty is unknown.
    pub(super) interval: Option<(f64, f64)>,
}

/// Returns the mean of bounded values, with a normal interval from their variance.
fn mean(values: &[f64], (least, most): (f64, f64)) -> Option<Estimate> {
    let count = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let value = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
    let bounded = |end: f64| end.clamp(least, most.max(value));
    // The variance of a single value is unknown.
    let interval = (values.len() > 1).then(|| {
        let error = 1.96 * (squares / (count - 1.0) / count).sqrt();
        (bounded(value - error), bounded(value + error))
    });
    Some(Estimate { value, interval })
}

/// A group of problems.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) problems: u64,
    pub(super) trials: u64,
    pub(super) correct: u64,
    pub(super) kept: u64,
    /// The number of problems with a response.
    pub(super) covered: u64,
    /// The mean pass rate of the problems that were tried.
    pub(super) pass_rate: Option<Estimate>,
    /// The mean number of responses per problem.
    pub(super) rows: Option<Estimate>,
    /// The share of problems with a response.
    pub(super) coverage: Option<Estimate>,
    /// Responses per problem for each strategy: found among the trials, and expected beyond them.
    pub(super) made: Vec<(f64, f64)>,
}

/// Returns the groups, and all problems together.
pub(super) fn groups(directory: &Directory, made: &[Made]) -> (Vec<Group>, Group) {
    let of = |name: &str, which: Option<usize>| {
        let is_in = |group: usize| which.is_none_or(|which| which == group);
        let rows = || directory.problems.iter().filter(|row| is_in(row.group));
        let sum = |count: fn(&super::directory::Row) -> u32| -> u64 {
            rows().map(|row| u64::from(count(row))).sum()
        };
        let problems = rows().count();
        let covered = rows().filter(|row| row.kept > 0).count();
        let kept: Vec<f64> = rows().map(|row| f64::from(row.kept)).collect();
        let rates: Vec<f64> = rows().filter_map(|row| row.pass_rate).collect();
        let share = Tally {
            trials: u32::try_from(problems).unwrap_or(u32::MAX),
            correct: u32::try_from(covered).unwrap_or(u32::MAX),
            ..Tally::default()
        };
        let coverage = share.interval().map(|interval| Estimate {
            value: covered as f64 / problems as f64,
            interval: Some(interval),
        });
        let made = made.iter().map(|made| {
            let rows = directory.problems.iter().zip(&made.rows);
            let (mut found, mut expected) = (0.0, 0.0);
            for (_, rows) in rows.filter(|(row, _)| is_in(row.group)) {
                found += f64::from(rows.found);
                expected += rows.expected;
            }
            (found / problems as f64, expected / problems as f64)
        });
        Group {
            name: name.to_owned(),
            problems: problems as u64,
            trials: sum(|row| row.trials),
            correct: sum(|row| row.correct),
            kept: sum(|row| row.kept),
            covered: covered as u64,
            pass_rate: mean(&rates, (0.0, 1.0)),
            rows: mean(
                &kept,
                (
                    0.0,
                    rows().map(|row| f64::from(row.correct)).fold(0.0, f64::max),
                ),
            ),
            coverage,
            made: made.collect(),
        }
    };
    let names = directory.groups.iter().enumerate();
    let groups = names.map(|(index, name)| of(name, Some(index))).collect();
    (groups, of("all", None))
}

/// Returns the problems by tenths of the pass rate: those solved at least once, and those never solved.
pub(super) fn pass_rates(directory: &Directory) -> [(u64, u64); 10] {
    let mut bins = [(0, 0); 10];
    for row in &directory.problems {
        let Some(rate) = row.pass_rate else {
            continue;
        };
        // 0.7 begins a bin, despite float rounding.
        let bin = ((rate * 10.0 + 1e-9) as usize).min(9);
        match row.correct {
            0 => bins[bin].1 += 1,
            _ => bins[bin].0 += 1,
        }
    }
    bins
}

/// The results under a limit of trials per problem.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AtLimit {
    pub(super) limit: u32,
    /// The number of problems whose target is met.
    pub(super) met: u64,
    /// The number of problems with a correct response.
    pub(super) solved: u64,
    /// The number of trials drawn.
    pub(super) trials: u64,
}

/// Returns the results for limits from 1 to the highest number of trials of a problem, about eight per
/// doubling, and the number of problems with a target.
pub(super) fn limits(directory: &Directory) -> (Vec<AtLimit>, u64) {
    let most = directory.problems.iter().map(|row| row.trials).max();
    let most = most.unwrap_or(0);
    let mut limits: Vec<u32> = (0..256)
        .map(|step| 2f64.powf(f64::from(step) / 8.0).round() as u32)
        .take_while(|&limit| limit < most)
        .collect();
    limits.dedup();
    limits.extend((most > 0).then_some(most));
    // For each problem: the number of trials until its first success, and until its target was met.
    let mut solved = Vec::new();
    let mut met = Vec::new();
    let mut targets = 0;
    for row in &directory.problems {
        solved.extend(row.successes.first().map(|first| first + 1));
        targets += u64::from(row.target.is_some());
        if row.target.is_some_and(|target| row.kept >= target) {
            met.push(row.trials);
        }
    }
    let by = |ends: &[u32], limit: u32| ends.iter().filter(|&&end| end <= limit).count() as u64;
    let at = |limit: u32| AtLimit {
        limit,
        met: by(&met, limit),
        solved: by(&solved, limit),
        trials: directory
            .problems
            .iter()
            .map(|row| u64::from(row.trials.min(limit)))
            .sum(),
    };
    (limits.into_iter().map(at).collect(), targets)
}

/// The lengths of the trials with one fate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lengths {
    pub(super) trials: u64,
    pub(super) tokens: u64,
    pub(super) median: u32,
    pub(super) ninety: u32,
    pub(super) longest: u32,
}

impl Lengths {
    pub(super) fn mean(&self) -> f64 {
        self.tokens as f64 / self.trials as f64
    }
}

/// Returns the lengths by fate; `None` if no trial has it.
pub(super) fn lengths(counts: &BTreeMap<u32, [u64; 4]>) -> [Option<Lengths>; 4] {
    Fate::ALL.map(|fate| {
        let of = || {
            counts
                .iter()
                .map(|(&tokens, counts)| (tokens, counts[fate as usize]))
        };
        let trials: u64 = of().map(|(_, count)| count).sum();
        let quantile = |part: u64, of_all: u64| {
            let wanted = (trials * part).div_ceil(of_all);
            let mut seen = 0;
            let reached = of().find(|(_, count)| {
                seen += count;
                seen >= wanted
            });
            reached.map_or(0, |(tokens, _)| tokens)
        };
        (trials > 0).then(|| Lengths {
            trials,
            tokens: of().map(|(tokens, count)| u64::from(tokens) * count).sum(),
            median: quantile(1, 2),
            ninety: quantile(9, 10),
            longest: of()
                .filter(|(_, count)| *count > 0)
                .map(|(tokens, _)| tokens)
                .max()
                .unwrap_or(0),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_have_the_interval_of_their_variance() {
        let (low, high) = mean(&[1.0, 3.0], (0.0, 9.0)).unwrap().interval.unwrap();
        assert!((low - 0.04).abs() < 1e-9 && (high - 3.96).abs() < 1e-9);
        let (_, high) = mean(&[0.5, 1.0], (0.0, 1.0)).unwrap().interval.unwrap();
        assert_eq!(high, 1.0);
        assert_eq!(mean(&[0.5], (0.0, 1.0)).unwrap().interval, None);
        assert_eq!(mean(&[], (0.0, 1.0)), None);
    }

    #[test]
    fn lengths_are_counted() {
        let counts = BTreeMap::from([(2, [1, 0, 0, 0]), (4, [1, 0, 3, 0]), (10, [2, 0, 0, 1])]);
        let [kept, surplus, wrong, cut] = lengths(&counts)
            .map(|of| of.map(|of| (of.trials, of.tokens, of.median, of.ninety, of.longest)));
        assert_eq!(kept, Some((4, 26, 4, 10, 10)));
        assert_eq!(surplus, None);
        assert_eq!(wrong, Some((3, 12, 4, 4, 4)));
        assert_eq!(cut, Some((1, 10, 10, 10, 10)));
    }
}
