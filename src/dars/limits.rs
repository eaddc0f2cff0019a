//! Limits of a run, and the reasons for which a run ends.

use std::fmt;
use std::time::Duration;

use crate::Settings;
use crate::error::counted;

/// Limits that end a problem or the run before its goals are met. Reaching a limit is an outcome, not an
/// error.
///
/// Limits in trials keep a run reproducible: the same limits give the same data set on any schedule. Limits
/// in tokens and time depend on the machine and on chance. The data set then contains what was complete,
/// still without preference for short responses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// The maximum number of trials of a problem (n_max).
    pub trials_per_problem: Option<u32>,
    /// Ends a problem after this many trials if none of them is correct.
    pub give_up_after: Option<u32>,
    /// Ends a problem for futility: if the probability that it meets its target within `trials_per_problem`,
    /// which must be set, is less than this. [`Futility`](crate::Futility) defines the rule. It is checked
    /// after each trial drawn for the target, but not during a pilot.
    pub futility: Option<f64>,
    /// Ends a problem when its trials that count have this many tokens. The responses kept then depend on
    /// their lengths, and the estimate of the pass rate is biased.
    pub tokens_per_problem: Option<u64>,
    /// Ends a problem this long after its first trial of this call was issued.
    pub time_per_problem: Option<Duration>,
    /// The maximum number of trials that count, over all problems.
    ///
    /// It acts as a common limit per problem, which rises while other problems end early, as long as the
    /// total stays within the limit. The trials that count are the first ones in the order of (number,
    /// problem). Trials drawn in idle slots that turn out not to count are not included.
    pub trials: Option<u64>,
    /// The maximum number of tokens sampled, over all problems. It is exceeded by at most the trials in
    /// flight when it is reached. Trials resumed from a journal are included.
    pub tokens: Option<u64>,
    /// The maximum time for sampling, from the start of this call.
    pub time: Option<Duration>,
}

impl Limits {
    /// Returns the limits that a data set depends on, as settings (`null`: no limit). Time limits are
    /// excluded, since they are set per call.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::new();
        settings.insert("trials_per_problem".into(), self.trials_per_problem.into());
        settings.insert("give_up_after".into(), self.give_up_after.into());
        settings.insert("futility".into(), self.futility.into());
        settings.insert("tokens_per_problem".into(), self.tokens_per_problem.into());
        settings.insert("trials".into(), self.trials.into());
        settings.insert("tokens".into(), self.tokens.into());
        settings
    }
}

/// Returns how a limit was changed if it now allows less (`None` as a limit: no limit).
pub(super) fn tightened(name: &str, was: Option<f64>, now: Option<f64>) -> Option<&'static str> {
    // A higher probability ends a problem earlier.
    let (rises, how) = match name {
        "futility" => (true, "raised"),
        _ => (false, "lowered"),
    };
    let is_tighter = match (was, now) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(was), Some(now)) if rises => now > was,
        (Some(was), Some(now)) => now < was,
    };
    is_tighter.then_some(how)
}

/// Why a run ended, with the figures of the limit that ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunStop {
    /// Every problem has ended.
    Finished,
    /// The limit of trials of the whole run was reached.
    Trials {
        /// [`Limits::trials`].
        limit: u64,
    },
    /// The limit of tokens of the whole run was reached.
    Tokens {
        /// [`Limits::tokens`].
        limit: u64,
        /// The tokens sampled when this was noticed.
        sampled: u64,
    },
    /// The limit of time was reached.
    Time {
        /// [`Limits::time`].
        limit: Duration,
        /// The time elapsed when this was noticed.
        elapsed: Duration,
    },
    /// Interrupted by [`CancelHandle::cancel`](super::CancelHandle::cancel).
    Interrupted,
    /// Only for [`Run::select`](super::Run::select): the journal has fewer trials than the strategy requests.
    JournalExhausted {
        /// The number of problems with too few trials.
        problems: usize,
    },
    /// The generator, the journal, the strategy or the observer failed. The outcome has the error.
    Failed,
}

impl RunStop {
    /// Returns the name used in files, such as `finished`.
    pub fn name(self) -> &'static str {
        match self {
            RunStop::Finished => "finished",
            RunStop::Trials { .. } => "trials",
            RunStop::Tokens { .. } => "tokens",
            RunStop::Time { .. } => "time",
            RunStop::Interrupted => "interrupted",
            RunStop::JournalExhausted { .. } => "journal_exhausted",
            RunStop::Failed => "failed",
        }
    }
}

impl RunStop {
    /// Returns the limit of the whole run that ended it and the value reached: trials, tokens or seconds.
    pub fn figures(self) -> Option<(f64, f64)> {
        match self {
            RunStop::Trials { limit } => Some((limit as f64, limit as f64)),
            RunStop::Tokens { limit, sampled } => Some((limit as f64, sampled as f64)),
            RunStop::Time { limit, elapsed } => Some((limit.as_secs_f64(), elapsed.as_secs_f64())),
            _ => None,
        }
    }
}

impl fmt::Display for RunStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunStop::Finished => f.write_str("every problem has ended"),
            RunStop::Trials { limit } => {
                write!(
                    f,
                    "the run's limit of {} was reached",
                    counted(*limit, "trial")
                )
            }
            RunStop::Tokens { limit, sampled } => {
                let limit = counted(*limit, "token");
                write!(
                    f,
                    "the run's limit of {limit} was reached, with {sampled} sampled"
                )
            }
            RunStop::Time { limit, elapsed } => {
                let [limit, elapsed] = [limit, elapsed].map(Duration::as_secs_f64);
                write!(
                    f,
                    "the run's limit of {limit} s was reached, after {elapsed:.1} s"
                )
            }
            RunStop::Interrupted => f.write_str("the run was interrupted"),
            RunStop::JournalExhausted { problems } => {
                let problems = counted(*problems, "problem");
                write!(
                    f,
                    "the journal has fewer trials of {problems} than were asked for"
                )
            }
            RunStop::Failed => f.write_str("the run failed"),
        }
    }
}
