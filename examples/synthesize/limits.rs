//! The limits of a run on the command line.

use std::time::Duration;

use dart_math::dars::Limits;

use crate::{Args, StrategyName};

impl Args {
    /// Returns the limits that end problems and the run early.
    pub(crate) fn limits(&self) -> Limits {
        let most = match (self.strategy, self.engine.preset) {
            // This strategy has its own number of trials.
            (StrategyName::Vanilla, _) => None,
            (_, None) => Some(48),
            (_, Some(_)) => Some(2048),
        };
        Limits {
            trials_per_problem: self.max_trials.or(most),
            give_up_after: self.give_up_after,
            futility: self.futility,
            tokens_per_problem: self.max_problem_tokens,
            time_per_problem: self.max_problem_time,
            trials: self.max_run_trials,
            tokens: self.max_run_tokens,
            time: self.max_run_time,
        }
    }
}

/// Parses a duration: a number with the unit `s`, `m` or `h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [('s', 1.0), ('m', 60.0), ('h', 3600.0)];
    let seconds = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(*unit)?.parse().ok()?;
        Some(number * seconds)
    });
    let seconds = seconds.filter(|seconds| *seconds > 0.0);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| "a number above 0 and its unit is expected, such as 90s, 10m or 2h".into())
}

/// Parses the probability below which a problem is futile.
pub(crate) fn futility(text: &str) -> Result<f64, String> {
    number(text, |p| p > 0.0 && p < 1.0, "between 0 and 1")
}

/// Parses the similarity of near duplicates.
pub(crate) fn similarity(text: &str) -> Result<f64, String> {
    number(text, |s| s > 0.0 && s <= 1.0, "above 0 and up to 1")
}

/// Parses the probability that an early trial counts.
pub(crate) fn sure(text: &str) -> Result<f64, String> {
    number(text, |p| (0.5..=1.0).contains(&p), "from 0.5 to 1")
}

/// Parses an expected quantity per trial or per second.
pub(crate) fn expected(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0 && n.is_finite(), "above 0")
}

fn number(text: &str, fits: impl Fn(f64) -> bool, range: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| fits(*number));
    number.ok_or_else(|| format!("a number {range} is expected"))
}
