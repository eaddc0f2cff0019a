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
