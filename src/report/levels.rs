//! The table that shows the effect of difficulty-aware sampling: responses by level, compared with those of
//! the same number of responses if every problem had been tried equally often.

use std::collections::BTreeMap;
use std::fmt;

use super::groups::{Key, level};
use crate::{ProblemRecord, StopReason};

/// One level's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// The `level` in its problems' metadata, or a range of pass rates. Problems without a level are `none`;
    /// with groups by pass rate, problems that were not tried are `untried`.
    pub name: String,
    /// The number of problems.
    pub problems: usize,
    /// The number of trials.
    pub trials: u64,
    /// The number of correct trials.
    pub correct: u64,
    /// The mean pass rate of the problems that were tried. (Not correct / trials, in which hard problems have
    /// more weight because they were tried more.)
    pub pass_rate: Option<f64>,
    /// The number of responses kept.
    pub kept: u64,
    /// The number of problems without a response.
    pub unsolved: u64,
    /// The number of problems that were not tried at all.
    pub untried: u64,
    /// The expected number of responses of the vanilla baseline.
    pub vanilla_kept: f64,
    /// The expected number of problems without a response in the baseline.
    pub vanilla_unsolved: f64,
}

/// A run by level of difficulty, compared with the vanilla baseline at equal size.
///
/// The baseline tries every problem equally often, t times, and keeps every correct response. A problem with
/// pass rate p then has t p responses in expectation, and none with probability (1 - p)^t. Both are estimated
/// from the problem's own trials ([`Tally::pass_rate`](crate::Tally::pass_rate),
/// [`Tally::all_wrong`](crate::Tally::all_wrong)). t is chosen so that the baseline keeps as many responses
/// in total as the run: t = kept / Σ p.
///
/// ```
/// use std::sync::Arc;
/// use dart_math::{Problem, ProblemRecord, StopReason, Tally, report::LevelTable};
///
/// let record = |level: u32, trials, correct, kept| {
///     let mut problem = Problem::new(format!("question {level}"), "1");
///     problem.metadata.insert("level".into(), level.into());
///     ProblemRecord {
///         problem: Arc::new(problem),
///         tally: Tally { trials, correct, ..Tally::default() },
///         target: Some(kept),
///         kept,
///         tokens: 0,
///         stop: StopReason::TargetMet,
///         rejection: None,
///     }
/// };
/// let table = LevelTable::new(&[record(1, 4, 4, 1), record(2, 40, 10, 9)]);
/// assert_eq!(table.vanilla_trials, Some(8.0));
/// assert_eq!(table.levels[1].kept, 9);
/// assert_eq!(table.levels[1].vanilla_kept, 2.0);
/// print!("{table}");
/// ```
#[must_use]
#[derive(Debug, Clone, PartialEq)]
pub struct LevelTable {
    /// The levels, the easiest first.
    pub levels: Vec<Level>,
    /// The sums (and the mean pass rate) over all levels.
    pub total: Level,
    /// The number of trials per problem of the baseline; `None` if no problem was ever solved.
    pub vanilla_trials: Option<f64>,
    /// Whether problems are grouped by their own pass rates, because none has a level.
    pub by_pass_rate: bool,
}

impl LevelTable {
    /// Creates the table of a run's problems, without excluded ones: by the `level` in their metadata, or by
    /// pass rate if none has one.
    pub fn new(problems: &[ProblemRecord]) -> Self {
        let is_part = |record: &&ProblemRecord| record.stop != StopReason::Excluded;
        let problems: Vec<&ProblemRecord> = problems.iter().filter(is_part).collect();
        let rate = |record: &ProblemRecord| record.tally.pass_rate().unwrap_or(0.0);
        let kept: u64 = problems.iter().map(|record| u64::from(record.kept)).sum();
        let rates: f64 = problems.iter().copied().map(rate).sum();
        let vanilla_trials = (rates > 0.0).then(|| kept as f64 / rates);

        let by_metadata = problems
            .iter()
            .any(|record| level(&record.problem.metadata).is_some());
        let mut groups: BTreeMap<Key, Vec<&ProblemRecord>> = BTreeMap::new();
        for &record in &problems {
            let key = match by_metadata {
                true => Key::of_level(level(&record.problem.metadata)),
                false => Key::of_rate(record.tally.pass_rate(), record.tally.correct),
            };
            groups.entry(key).or_default().push(record);
        }
        let levels = groups
            .into_iter()
            .map(|(key, group)| sum(key.name(by_metadata), &group, vanilla_trials))
            .collect();
        LevelTable {
            levels,
            total: sum("all".into(), &problems, vanilla_trials),
            vanilla_trials,
            by_pass_rate: !by_metadata,
        }
    }
}

fn sum(name: String, records: &[&ProblemRecord], vanilla_trials: Option<f64>) -> Level {
    let rates: Vec<f64> = records
        .iter()
        .filter_map(|record| record.tally.pass_rate())
        .collect();
    let trials = vanilla_trials.unwrap_or(0.0);
    let total = |count: fn(&ProblemRecord) -> u32| -> u64 {
        records.iter().map(|record| u64::from(count(record))).sum()
    };
    Level {
        name,
        problems: records.len(),
        trials: total(|record| record.tally.trials),
        correct: total(|record| record.tally.correct),
        pass_rate: (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64),
        kept: total(|record| record.kept),
        unsolved: total(|record| u32::from(record.kept == 0)),
        untried: total(|record| u32::from(record.tally.trials == 0)),
        // An empty sum of floats is -0.
        vanilla_kept: 0.0 + rates.iter().map(|rate| trials * rate).sum::<f64>(),
        vanilla_unsolved: records
            .iter()
            .map(|record| record.tally.all_wrong(trials).unwrap_or(1.0))
            .sum(),
    }
}

impl fmt::Display for LevelTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            if self.by_pass_rate { "rates" } else { "level" },
            "problems",
            "trials",
            "correct",
            "pass rate",
            "kept",
            "share",
            "vanilla",
            "share",
        ];
        let share = |part: f64, whole: f64| match whole > 0.0 {
            true => format!("{:.1} %", 100.0 * part / whole),
            false => "-".into(),
        };
        let vanilla = self.vanilla_trials.is_some();
        let row = |level: &Level| {
            [
                level.name.clone(),
                level.problems.to_string(),
                level.trials.to_string(),
                level.correct.to_string(),
                level
                    .pass_rate
                    .map_or("-".into(), |rate| format!("{rate:.3}")),
                level.kept.to_string(),
                share(level.kept as f64, self.total.kept as f64),
                match vanilla {
                    true => format!("{:.0}", level.vanilla_kept),
                    false => "-".into(),
                },
                share(level.vanilla_kept, self.total.vanilla_kept),
            ]
        };
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(self.levels.iter().map(row));
        rows.push(row(&self.total));
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        for (index, row) in rows.iter().enumerate() {
            if index == 1 || index + 1 == rows.len() {
                writeln!(f, "{rule}")?;
            }
            write!(f, "{:<1$}", row[0], widths[0])?;
            for (cell, &width) in row.iter().zip(&widths).skip(1) {
                write!(f, "  {cell:>width$}")?;
            }
            writeln!(f)?;
        }
        if self.by_pass_rate {
            writeln!(
                f,
                "rates: no problem has a `level`, so their own pass rates group them (0: never solved)"
            )?;
        }
        writeln!(
            f,
            "pass rate: the mean of the problems' own, in which each counts once (not correct / trials)"
        )?;
        if let Some(trials) = self.vanilla_trials {
            let (which, with) = match self.total.untried {
                0 => ("", String::new()),
                untried => (
                    " that was tried",
                    format!(" (both with the {untried} that were not tried)"),
                ),
            };
            writeln!(
                f,
                "vanilla: the same number of responses, had each problem{which} been tried {trials:.1} \
                 times"
            )?;
            writeln!(
                f,
                "problems without any response: {}, vanilla {:.1}{with}",
                self.total.unsolved, self.total.vanilla_unsolved
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;

    use super::*;
    use crate::{Problem, StopReason, Tally};

    fn record(level: Option<Value>, trials: u32, correct: u32, kept: u32) -> ProblemRecord {
        let mut problem = Problem::new("q", "r");
        if let Some(level) = level {
            problem.metadata.insert("level".into(), level);
        }
        ProblemRecord {
            problem: Arc::new(problem),
            tally: Tally {
                trials,
                correct,
                ..Tally::default()
            },
            target: None,
            kept,
            tokens: 0,
            stop: StopReason::TargetMet,
            rejection: None,
        }
    }

    fn names(table: &LevelTable) -> Vec<&str> {
        table.levels.iter().map(|level| &*level.name).collect()
    }

    #[test]
    fn levels_are_ordered_by_number() {
        let records = ["Level 10", "Level 9", "Level ?", "Level 1"]
            .map(|name| record(Some(name.into()), 1, 1, 1));
        let mut records = records.to_vec();
        records.push(record(None, 1, 1, 1));
        let table = LevelTable::new(&records);
        assert_eq!(
            names(&table),
            ["Level 1", "Level 9", "Level 10", "Level ?", "none"]
        );
    }

    #[test]
    fn without_levels_pass_rates_group() {
        let counts = [(10, 10), (10, 8), (10, 0), (10, 1), (0, 0), (3, 1)];
        let records = counts.map(|(trials, correct)| record(None, trials, correct, correct));
        assert_eq!(
            names(&LevelTable::new(&records)),
            ["0.8-1.0", "0.6-0.8", "0.2-0.4", "0.0-0.2", "0", "untried"]
        );
        let text = LevelTable::new(&records).to_string();
        assert!(text.starts_with("rates "), "{text}");
        assert!(text.contains("\nrates: no problem has a `level`"), "{text}");
    }

    #[test]
    fn the_baseline_keeps_as_much_in_all() {
        let records = [
            record(Some(1.into()), 8, 8, 1),
            record(Some(1.into()), 8, 6, 3),
            record(Some(2.into()), 100, 10, 10),
            record(Some(2.into()), 64, 0, 0),
        ];
        let table = LevelTable::new(&records);
        let trials = table.vanilla_trials.unwrap();
        assert!((trials - 14.0 / 1.85).abs() < 1e-12);
        let kept: f64 = table.levels.iter().map(|level| level.vanilla_kept).sum();
        assert!((kept - 14.0).abs() < 1e-9);
        assert!((table.total.vanilla_kept - 14.0).abs() < 1e-9);
        assert_eq!(table.levels[1].pass_rate, Some(0.05));
        assert_eq!(table.total.unsolved, 1);
        let unsolved: f64 = records
            .iter()
            .map(|record| record.tally.all_wrong(trials).unwrap())
            .sum();
        assert!((table.total.vanilla_unsolved - unsolved).abs() < 1e-9);
    }

    #[test]
    fn the_text_is_aligned() {
        let records = [
            record(Some(1.into()), 8, 8, 1),
            record(Some(2.into()), 1000, 10, 10),
        ];
        let text = LevelTable::new(&records).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[..6]
                .iter()
                .all(|line| line.chars().count() == lines[0].len()),
            "{text}"
        );
        assert!(
            text.contains("all           2    1008       18      0.505    11  100.0 %"),
            "{text}"
        );
        assert!(
            text.starts_with("level ") && !text.contains("rates:"),
            "{text}"
        );
        assert!(text.contains("\npass rate: the mean of"), "{text}");
        let nothing = LevelTable::new(&[record(None, 3, 0, 0)]).to_string();
        assert!(!nothing.contains("NaN"), "{nothing}");
        // A level without trials has 0, not -0.
        let records = [
            record(Some(1.into()), 8, 8, 1),
            record(Some(2.into()), 0, 0, 0),
        ];
        let text = LevelTable::new(&records).to_string();
        assert!(
            !text.contains("-0") && text.contains("2             1       0"),
            "{text}"
        );
        assert!(
            text.contains("response: 1, vanilla 1.0 (both with the 1 that were not tried)"),
            "{text}"
        );
    }
}
