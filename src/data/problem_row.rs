//! A row of `problems.jsonl`: what is known of one problem after a run.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::majority::Majority;
use crate::{ProblemRecord, StopReason};

/// What a run found out about a problem, as a row of `problems.jsonl` or `problems.parquet` has it
/// (`docs/output.md` says what every field means).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProblemRow {
    /// The problem's id.
    pub id: String,
    /// Its question.
    pub question: String,
    /// Its reference answer.
    pub reference: String,
    /// Everything else that its file says of it.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Trials that count.
    pub trials: u32,
    /// Correct ones among them.
    pub correct: u32,
    /// [`Tally::pass_rate`](crate::Tally::pass_rate).
    pub pass_rate: Option<f64>,
    /// Lower end of [`Tally::interval`](crate::Tally::interval).
    pub pass_rate_low: Option<f64>,
    /// Upper end of it.
    pub pass_rate_high: Option<f64>,
    /// [`Tally::pass_at`](crate::Tally::pass_at) of 1 trial.
    #[serde(default)]
    pub pass_at_1: Option<f64>,
    /// Of 4 trials.
    #[serde(default)]
    pub pass_at_4: Option<f64>,
    /// Of 16 trials.
    #[serde(default)]
    pub pass_at_16: Option<f64>,
    /// Of 64 trials.
    #[serde(default)]
    pub pass_at_64: Option<f64>,
    /// Of 256 trials.
    #[serde(default)]
    pub pass_at_256: Option<f64>,
    /// Of 1024 trials.
    #[serde(default)]
    pub pass_at_1024: Option<f64>,
    /// The most frequent final answer, as its first trial has it.
    #[serde(default)]
    pub majority_answer: Option<String>,
    /// Its share of the trials that count.
    #[serde(default)]
    pub majority_share: Option<f64>,
    /// Whether it is the same as the reference.
    #[serde(default)]
    pub majority_correct: Option<bool>,
    /// How many correct responses it was to get.
    pub target: Option<u32>,
    /// How many responses the data set has of it.
    pub kept: u32,
    /// Tokens of the trials that count.
    #[serde(default)]
    pub tokens: u64,
    /// Why its sampling ended.
    pub stop_reason: StopReason,
    /// Why it could not be sampled, or was left out, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<String>,
}

impl ProblemRow {
    /// `most` is the most trials that a problem of the data set has: of more nothing is said.
    pub(super) fn new(record: &ProblemRecord, majority: Option<Majority>, most: u32) -> Self {
        let tally = &record.tally;
        let interval = tally.interval();
        let pass_at = |k: u32| tally.pass_at(k).filter(|_| k <= most);
        let (answer, share, correct) = match majority {
            Some(majority) => (
                Some(majority.answer),
                Some(majority.share),
                Some(majority.correct),
            ),
            None => (None, None, None),
        };
        ProblemRow {
            id: record.problem.id.clone(),
            question: record.problem.question.clone(),
            reference: record.problem.reference.clone(),
            metadata: record.problem.metadata.clone(),
            trials: tally.trials,
            correct: tally.correct,
            pass_rate: tally.pass_rate(),
            pass_rate_low: interval.map(|(low, _)| low),
            pass_rate_high: interval.map(|(_, high)| high),
            pass_at_1: pass_at(1),
            pass_at_4: pass_at(4),
            pass_at_16: pass_at(16),
            pass_at_64: pass_at(64),
            pass_at_256: pass_at(256),
            pass_at_1024: pass_at(1024),
            majority_answer: answer,
            majority_share: share,
            majority_correct: correct,
            target: record.target,
            kept: record.kept,
            tokens: record.tokens,
            stop_reason: record.stop,
            rejection: record.rejection.clone(),
        }
    }
}
