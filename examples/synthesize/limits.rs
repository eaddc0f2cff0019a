//! The limits of a run, as the command line has them.

use std::time::Duration;

use dart_math::dars::Limits;

use crate::{Args, StrategyName};

impl Args {
    /// When problems and the run end before their goals are met.
    pub(crate) fn limits(&self) -> Limits {
        let most = match (self.strategy, self.engine.preset) {
            // The strategy has a number of trials of its own.
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

/// A duration: a number and its unit, `s`, `m` or `h`.
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

/// The probability below which a problem is futile.
pub(crate) fn futility(text: &str) -> Result<f64, String> {
    number(text, |p| p > 0.0 && p < 1.0, "between 0 and 1")
}

/// How similar near duplicates are.
pub(crate) fn similarity(text: &str) -> Result<f64, String> {
    number(text, |s| s > 0.0 && s <= 1.0, "above 0 and up to 1")
}

/// How probable it is that a trial counts which is drawn early.
pub(crate) fn sure(text: &str) -> Result<f64, String> {
    number(text, |p| (0.5..=1.0).contains(&p), "from 0.5 to 1")
}

/// What a trial, or a second, is expected to have of something.
pub(crate) fn expected(text: &str) -> Result<f64, String> {
    number(text, |n| n > 0.0 && n.is_finite(), "above 0")
}

fn number(text: &str, fits: impl Fn(f64) -> bool, range: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| fits(*number));
    number.ok_or_else(|| format!("a number {range} is expected"))
}
