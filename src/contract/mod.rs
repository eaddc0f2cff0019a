//! The words that every other module speaks: problems, trials, completions, verdicts, and the
//! traits between who samples ([`Generator`]), who decides what to sample ([`Source`]) and who
//! judges ([`Grader`]).
//!
//! Knows nothing of models, answers or files, and nothing of candle.

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

/// Named settings of a part (a generator, a grader, a strategy), in the order in which they are
/// shown. They go into a run's manifest, and a run is only resumed where all of them agree.
pub type Settings = serde_json::Map<String, serde_json::Value>;

/// Bytes, as of a hash, in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
