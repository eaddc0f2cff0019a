//! Limits of a run, and why a run ended.

use std::fmt;
use std::time::Duration;

use crate::Settings;

/// When to end a problem, or the run, before goals are met. A limit is an outcome, not an error.
///
/// Limits in trials keep a run reproducible: the same limits give the same data set from any
/// schedule. Limits in tokens and in time depend, by their nature, on the machine and on chance:
/// the data set has then what happened to be complete, still without preference for short
/// responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The most trials that one problem may take (n_max).
    pub trials_per_problem: Option<u32>,
    /// End a problem after this many trials if none of them is correct.
    pub give_up_after: Option<u32>,
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
        settings.insert("trials".into(), self.trials.into());
        settings.insert("tokens".into(), self.tokens.into());
        settings
    }
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunStop {
    /// Every problem has ended.
    Finished,
    /// At the limit of trials of the whole run.
    Trials,
    /// At the limit of tokens of the whole run.
    Tokens,
    /// At the limit of time.
    Time,
    /// By [`CancelHandle::cancel`](super::CancelHandle::cancel).
    Interrupted,
    /// Of [`Run::select`](super::Run::select): the journal has fewer trials than the strategy asks for.
    JournalExhausted,
    /// The generator, the journal or the strategy failed; the outcome has the error.
    Failed,
}

impl RunStop {
    /// The name in files, such as `finished`.
    pub fn name(self) -> &'static str {
        match self {
            RunStop::Finished => "finished",
            RunStop::Trials => "trials",
            RunStop::Tokens => "tokens",
            RunStop::Time => "time",
            RunStop::Interrupted => "interrupted",
            RunStop::JournalExhausted => "journal_exhausted",
            RunStop::Failed => "failed",
        }
    }
}

impl fmt::Display for RunStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RunStop::Finished => "every problem has ended",
            RunStop::Trials => "the run's limit of trials was reached",
            RunStop::Tokens => "the run's limit of tokens was reached",
            RunStop::Time => "the run's limit of time was reached",
            RunStop::Interrupted => "the run was interrupted",
            RunStop::JournalExhausted => "the journal has fewer trials than were asked for",
            RunStop::Failed => "the run failed",
        })
    }
}
