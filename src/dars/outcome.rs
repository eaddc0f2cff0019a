//! What a run leaves behind.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem_state::Closed;
use super::session::to_milliseconds;
use super::store::Kept;
use super::{RunStop, Session, Trials};
use crate::{Error, Problem, ProblemRecord, Settings, Trial};

/// The result of a run, complete or not: everything that had settled when it ended, the texts of the
/// trials where the run has put them.
#[must_use]
#[derive(Debug)]
pub struct Outcome {
    /// One record a problem, in the order given.
    pub problems: Vec<ProblemRecord>,
    /// Sums.
    pub totals: Totals,
    /// The calls that drew the trials, in their order: those of before, which the journal has, and
    /// this one, unless it found nothing to draw.
    pub sessions: Vec<Session>,
    /// Why the run ended.
    pub stop: RunStop,
    /// What failed, where `stop` is [`RunStop::Failed`]. What had settled before is here all the
    /// same.
    pub error: Option<Error>,
    /// What the run was made with: version of the crate, seed, settings of generator, grader and
    /// strategy, hash of the problems.
    pub configuration: Settings,
    /// Its limits.
    pub limits: Settings,
    /// Index of each problem by its id.
    pub(super) indices: HashMap<String, u32>,
    /// What is known of each problem's trials.
    pub(super) closed: Vec<Closed>,
    /// Their texts.
    pub(super) kept: Kept,
}

/// Sums over a run. "Count" means: belongs to the settled prefix of its problem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// Problems of the run.
    pub problems: usize,
    /// Problems that have all that they were to get.
    pub met: usize,
    /// Problems with at least one response kept.
    pub covered: usize,
    /// Trials that count.
    pub trials: u64,
    /// Correct ones among them.
    pub correct: u64,
    /// Rows of the data set.
    pub kept: u64,
    /// Correct trials whose response is exactly an earlier one's of the same problem, or with
    /// [`near_duplicates`](super::RunBuilder::near_duplicates) is similar to it: rows of the data set, or, where
    /// duplicates are left out, trials left out of it for that.
    pub duplicates: u64,
    /// Trials that count and were cut off at the limit of tokens or of the model's context.
    pub truncated: u64,
    /// Trials that count and ended within their reasoning, for whatever reason.
    pub unfinished_reasoning: u64,
    /// Problems that the generator cannot sample.
    pub rejected: usize,
    /// Problems that the run was to leave out ([`RunBuilder::exclude`](super::RunBuilder::exclude)).
    pub excluded: usize,
    /// Tokens of the trials that count.
    pub tokens: u64,
    /// Trials taken from the journal instead of being drawn.
    pub resumed: u64,
    /// Whole trials drawn in this call.
    pub drawn: u64,
    /// Trials begun in this call and stopped because they were no longer needed, or because the run
    /// ended.
    pub cancelled: u64,
    /// Tokens sampled in this call, cancelled trials included.
    pub tokens_sampled: u64,
    /// Trials whose grader failed (panicked); they count as wrong.
    pub grader_failures: u64,
    /// Time that this call took.
    pub seconds: f64,
}

impl Totals {
    /// Tokens sampled per second of this call.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 {
            self.tokens_sampled as f64 / self.seconds
        } else {
            0.0
        }
    }
}

impl Outcome {
    /// The trials that count, ordered by problem and number; those that make up the data set are marked
    /// `accepted`. They are read from the run's journal as the iterator goes on, some dozens of
    /// megabytes at a time. Of a run without a journal: those that it was to keep
    /// ([`Keep`](super::Keep)).
    ///
    /// An item is an error where the journal can no longer be read; it is the last one.
    pub fn trials(&self) -> Trials<'_> {
        Trials::new(self)
    }

    /// The responses of the data set: of [`trials`](Outcome::trials) the accepted ones.
    pub fn accepted(&self) -> impl Iterator<Item = crate::Result<Trial>> {
        let is_accepted =
            |trial: &crate::Result<Trial>| trial.as_ref().map_or(true, |trial| trial.accepted);
        self.trials().filter(is_accepted)
    }

    /// How many of the trials that count were cut off ([`Totals::truncated`]) with fewer tokens than this:
    /// with a generator's limit of new tokens, those that the end of the model's context cut off.
    pub fn truncated_below(&self, tokens: u32) -> u64 {
        let shorter = self
            .closed
            .iter()
            .flat_map(|closed| closed.truncated.range(..tokens));
        shorter.map(|(_, &count)| u64::from(count)).sum()
    }

    /// Whether every problem has ended by its goal or a limit of its own.
    pub fn finished(&self) -> bool {
        self.stop == RunStop::Finished
    }

    /// Configuration, limits, the reason of the end, totals and sessions, as one object for a
    /// manifest. What [`totals`](Outcome::totals) has of this call alone is there the sum over all
    /// sessions, as far as it is known of those that were killed.
    pub fn manifest(&self) -> Settings {
        let mut manifest = self.configuration.clone();
        manifest.insert("limits".into(), self.limits.clone().into());
        manifest.insert("stop".into(), self.stop.name().into());
        if let Some((limit, reached)) = self.stop.figures() {
            let figures = serde_json::json!({"limit": limit, "reached": reached});
            manifest.insert("stop_figures".into(), figures);
        }
        if let Some(error) = &self.error {
            manifest.insert("error".into(), error.to_string().into());
        }
        let sum = |count: fn(&Session) -> u64| self.sessions.iter().map(count).sum();
        let seconds = self.sessions.iter().filter_map(|session| session.seconds);
        let totals = Totals {
            drawn: sum(|session| session.drawn),
            cancelled: sum(|session| session.cancelled),
            tokens_sampled: sum(|session| session.tokens_sampled),
            grader_failures: sum(|session| session.grader_failures),
            seconds: to_milliseconds(seconds.sum()),
            ..self.totals
        };
        // Structs of numbers and texts always serialise.
        let mut totals = serde_json::to_value(totals).unwrap_or_default();
        if let Some(totals) = totals.as_object_mut() {
            // No trial of the whole run came from elsewhere.
            totals.shift_remove("resumed");
        }
        manifest.insert("totals".into(), totals);
        let sessions = serde_json::to_value(&self.sessions).unwrap_or_default();
        manifest.insert("sessions".into(), sessions);
        manifest
    }

    /// The outcome, or what failed; what had settled before is then lost to the caller, though not
    /// to the journal.
    ///
    /// # Errors
    ///
    /// Where `stop` is [`RunStop::Failed`].
    pub fn into_result(self) -> crate::Result<Self> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

/// How many problems there are, and a hash of them, their order included.
pub(super) fn fingerprint(problems: &[Arc<Problem>]) -> Settings {
    let texts = problems
        .iter()
        .flat_map(|problem| [&problem.id, &problem.question, &problem.reference]);
    count_and_hash(problems.len(), texts)
}

/// A number of problems, and a hash of texts of them in their order.
pub(super) fn count_and_hash(
    count: usize,
    texts: impl Iterator<Item = impl AsRef<str>>,
) -> Settings {
    let mut hash = Sha256::new();
    for text in texts {
        let text = text.as_ref();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let mut settings = Settings::new();
    settings.insert("count".into(), count.into());
    let hash = crate::contract::hex(&hash.finalize()[..16]);
    settings.insert("hash".into(), hash.into());
    settings
}
