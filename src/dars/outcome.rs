//! The outcome of a run.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem_state::Closed;
use super::session::to_milliseconds;
use super::store::Kept;
use super::{RunStop, Session, Trials};
use crate::{Error, Problem, ProblemRecord, Settings, Trial};

/// The result of a run, complete or not: everything that had settled when it ended. The texts of the trials
/// remain where the run stored them.
#[must_use]
#[derive(Debug)]
pub struct Outcome {
    /// One record per problem, in the given order.
    pub problems: Vec<ProblemRecord>,
    /// Sums over the run.
    pub totals: Totals,
    /// The calls that drew the trials, in order: the earlier ones from the journal, and this one, unless it
    /// found nothing to draw.
    pub sessions: Vec<Session>,
    /// Why the run ended.
    pub stop: RunStop,
    /// The error, if `stop` is [`RunStop::Failed`]. The outcome still has everything that had settled before.
    pub error: Option<Error>,
    /// The configuration of the run: version of the crate, seed, settings of generator, grader and strategy,
    /// hash of the problems.
    pub configuration: Settings,
    /// The run's limits.
    pub limits: Settings,
    /// The index of each problem by its id.
    pub(super) indices: HashMap<String, u32>,
    /// What is known of each problem's trials.
    pub(super) closed: Vec<Closed>,
    /// Their texts.
    pub(super) kept: Kept,
}

/// Sums over a run. A trial counts if it belongs to the settled prefix of its problem.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Totals {
    /// The problems of the run.
    pub problems: usize,
    /// The problems that met their target.
    pub met: usize,
    /// The problems with at least one response kept.
    pub covered: usize,
    /// The trials that count.
    pub trials: u64,
    /// The correct trials among them.
    pub correct: u64,
    /// The rows of the data set.
    pub kept: u64,
    /// The correct trials whose response is the same as an earlier one of the same problem, or similar to it
    /// with [`near_duplicates`](super::RunBuilder::near_duplicates). They are rows of the data set, or left
    /// out of it if deduplication is on.
    pub duplicates: u64,
    /// The trials that count and were cut off at the limit of tokens or of the model's context.
    pub truncated: u64,
    /// The trials that count and ended within their reasoning, for any reason.
    pub unfinished_reasoning: u64,
    /// The problems that the generator cannot sample.
    pub rejected: usize,
    /// The problems that were excluded ([`RunBuilder::exclude`](super::RunBuilder::exclude)).
    pub excluded: usize,
    /// The tokens of the trials that count.
    pub tokens: u64,
    /// The trials resumed from the journal instead of drawn.
    pub resumed: u64,
    /// The complete trials drawn in this call.
    pub drawn: u64,
    /// The trials begun in this call and stopped because they were no longer needed or the run ended.
    pub cancelled: u64,
    /// The tokens sampled in this call, including cancelled trials.
    pub tokens_sampled: u64,
    /// The trials whose grader failed (panicked). They count as wrong.
    pub grader_failures: u64,
    /// The duration of this call, in seconds.
    pub seconds: f64,
}

impl Totals {
    /// Returns the tokens sampled per second of this call.
    pub fn tokens_per_second(&self) -> f64 {
        if self.seconds > 0.0 {
            self.tokens_sampled as f64 / self.seconds
        } else {
            0.0
        }
    }
}

impl Outcome {
    /// Iterates over the trials that count, ordered by problem and number. Those in the data set are marked
    /// `accepted`. They are read from the run's journal during iteration, some dozens of megabytes at a time.
    /// A run without a journal has only the trials that it was to keep ([`Keep`](super::Keep)).
    ///
    /// An item is an error if the journal can no longer be read. It is then the last item.
    pub fn trials(&self) -> Trials<'_> {
        Trials::new(self)
    }

    /// Iterates over the responses of the data set: the accepted ones of [`trials`](Outcome::trials).
    pub fn accepted(&self) -> impl Iterator<Item = crate::Result<Trial>> {
        let is_accepted =
            |trial: &crate::Result<Trial>| trial.as_ref().map_or(true, |trial| trial.accepted);
        self.trials().filter(is_accepted)
    }

    /// Returns how many of the trials that count were cut off ([`Totals::truncated`]) with fewer than
    /// `tokens` tokens. With the generator's limit of new tokens, these are the ones cut off by the end of
    /// the model's context.
    pub fn truncated_below(&self, tokens: u32) -> u64 {
        let shorter = self
            .closed
            .iter()
            .flat_map(|closed| closed.truncated.range(..tokens));
        shorter.map(|(_, &count)| u64::from(count)).sum()
    }

    /// Returns whether every problem has ended by its goal or a limit of its own.
    pub fn finished(&self) -> bool {
        self.stop == RunStop::Finished
    }

    /// Returns the configuration, limits, stop reason, totals and sessions as one object for a manifest. The
    /// [`totals`](Outcome::totals) of this call alone are replaced by sums over all sessions, as far as known
    /// for sessions that were killed.
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
        // Structs of numbers and strings always serialise.
        let mut totals = serde_json::to_value(totals).unwrap_or_default();
        if let Some(totals) = totals.as_object_mut() {
            // Over the whole run, no trial was resumed from elsewhere.
            totals.shift_remove("resumed");
        }
        manifest.insert("totals".into(), totals);
        let sessions = serde_json::to_value(&self.sessions).unwrap_or_default();
        manifest.insert("sessions".into(), sessions);
        manifest
    }

    /// Returns the outcome or its error. On an error, what had settled before is lost to the caller, but not
    /// to the journal.
    ///
    /// # Errors
    ///
    /// Returns the error if `stop` is [`RunStop::Failed`].
    pub fn into_result(self) -> crate::Result<Self> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

/// Returns the number of problems and a hash of them in their order.
pub(super) fn fingerprint(problems: &[Arc<Problem>]) -> Settings {
    let texts = problems
        .iter()
        .flat_map(|problem| [&problem.id, &problem.question, &problem.reference]);
    count_and_hash(problems.len(), texts)
}

/// Returns the given number of problems with a hash of the texts in their order.
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
