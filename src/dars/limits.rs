//! Limits of a run, and why a run ended.

use std::fmt;
use std::time::Duration;

use crate::Settings;
use crate::error::counted;

/// When to end a problem, or the run, before goals are met. A limit is an outcome, not an error.
///
/// Limits in trials keep a run reproducible: the same limits give the same data set from any
/// schedule. Limits in tokens and in time depend, by their nature, on the machine and on chance:
/// the data set has then what happened to be complete, still without preference for short
/// responses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// The most trials that one problem may take (n_max).
    pub trials_per_problem: Option<u32>,
    /// End a problem after this many trials if none of them is correct.
    pub give_up_after: Option<u32>,
    /// End a problem for futility: where the probability that it meets its target within
    /// `trials_per_problem`, which must be set, is less than this. [`Futility`](crate::Futility) states the
    /// rule; it is asked after each trial that is drawn for the target, not while a pilot is to set it.
    pub futility: Option<f64>,
    /// End a problem when its trials that count have this many tokens. What it keeps is then a
    /// function of the lengths of its responses, and its pass rate is estimated with a bias.
    pub tokens_per_problem: Option<u64>,
    /// End a problem this long after its first trial of this call was given out.
    pub time_per_problem: Option<Duration>,
    /// The most trials that may count, over all problems.
    ///
    /// It works as a common limit per problem that rises, while other problems end early, for as
    /// long as the total stays within: what counts are the first so many trials in the order of
    /// (number, problem). Trials drawn with idle slots that turn out not to count are outside it.
    pub trials: Option<u64>,
    /// The most tokens that may be sampled, over all problems; exceeded by at most what is in
    /// flight when it is reached. Trials resumed from a journal are counted.
    pub tokens: Option<u64>,
    /// The longest time that sampling may take, from the start of this call.
    pub time: Option<Duration>,
}

impl Limits {
    /// The limits that a data set depends on, as settings (`null`: no limit). Time is not among
    /// them: it is each call's own.
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

/// How a limit was changed that allows less now than it did (`None`: no limit).
pub(super) fn tightened(name: &str, was: Option<f64>, now: Option<f64>) -> Option<&'static str> {
    // The higher the probability, the earlier a problem ends.
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
    /// At the limit of trials of the whole run.
    Trials {
        /// [`Limits::trials`].
        limit: u64,
    },
    /// At the limit of tokens of the whole run.
    Tokens {
        /// [`Limits::tokens`].
        limit: u64,
        /// Tokens that had been sampled when that was seen.
        sampled: u64,
    },
    /// At the limit of time.
    Time {
        /// [`Limits::time`].
        limit: Duration,
        /// The time that had passed when that was seen.
        elapsed: Duration,
    },
    /// By [`CancelHandle::cancel`](super::CancelHandle::cancel).
    Interrupted,
    /// Of [`Run::select`](super::Run::select): the journal has fewer trials than the strategy asks for.
    JournalExhausted {
        /// Problems of which it has fewer.
        problems: usize,
    },
    /// The generator, the journal or the strategy failed; the outcome has the error.
    Failed,
}

impl RunStop {
    /// The name in files, such as `finished`.
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
    /// The limit of the whole run that ended it, and what it had come to: trials, tokens or seconds.
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
