//! The types that all modules share: problems, trials, completions and verdicts, and the traits of the three
//! parts of a run: [`Generator`] samples, [`Source`] decides what to sample, [`Grader`] grades.
//!
//! Independent of models, answers, files and candle.

mod beta;
mod futility;
mod generate;
mod grade;
mod problem;
mod random;
pub(crate) mod reasoning;
mod record;
mod sampling;
mod tally;

pub use futility::Futility;
pub use generate::{
    Completion, Finish, Generator, Next, Offer, Rejection, Request, Source, TrialId,
};
pub use grade::{Equivalence, Grader, Verdict};
pub use problem::Problem;
pub use random::{Philox, trial_seed};
pub use record::{ProblemRecord, StopReason, Trial};
pub use sampling::Sampling;
pub use tally::{Pilot, Tally};

/// Named settings of a component (a generator, a grader, a strategy), in display order. They are written to a
/// run's manifest, and a run is resumed only if all of them agree.
pub type Settings = serde_json::Map<String, serde_json::Value>;

/// Bytes, such as a hash's, in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
