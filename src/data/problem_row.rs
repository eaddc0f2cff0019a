//! A row of `problems.jsonl`: the results of one problem after a run.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::majority::Majority;
use crate::{ProblemRecord, StopReason};

/// The results of a problem in a run, as a row of `problems.jsonl` or `problems.parquet` (`docs/output.md`
/// describes every field).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProblemRow {
    /// The problem's id.
    pub id: String,
    /// Its question.
    pub question: String,
    /// Its reference answer.
    pub reference: String,
    /// All other fields of its file.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// The trials that count.
    pub trials: u32,
    /// The correct trials among them.
    pub correct: u32,
    /// The estimated pass rate ([`Tally::pass_rate`](crate::Tally::pass_rate)).
    pub pass_rate: Option<f64>,
    /// The lower end of [`Tally::interval`](crate::Tally::interval).
    pub pass_rate_low: Option<f64>,
    /// The upper end of [`Tally::interval`](crate::Tally::interval).
    pub pass_rate_high: Option<f64>,
    /// pass@1 ([`Tally::pass_at`](crate::Tally::pass_at)).
    #[serde(default)]
    pub pass_at_1: Option<f64>,
    /// pass@4.
    #[serde(default)]
    pub pass_at_4: Option<f64>,
    /// pass@16.
    #[serde(default)]
    pub pass_at_16: Option<f64>,
    /// pass@64.
    #[serde(default)]
    pub pass_at_64: Option<f64>,
    /// pass@256.
    #[serde(default)]
    pub pass_at_256: Option<f64>,
    /// pass@1024.
    #[serde(default)]
    pub pass_at_1024: Option<f64>,
    /// The most frequent final answer, as written in its first trial.
    #[serde(default)]
    pub majority_answer: Option<String>,
    /// The share of the trials that count with this answer.
    #[serde(default)]
    pub majority_share: Option<f64>,
    /// Whether this answer equals the reference.
    #[serde(default)]
    pub majority_correct: Option<bool>,
    /// The number of correct responses that it was to get.
    pub target: Option<u32>,
    /// The number of its responses in the data set.
    pub kept: u32,
    /// The tokens of the trials that count.
    #[serde(default)]
    pub tokens: u64,
    /// Why its sampling ended.
    pub stop_reason: StopReason,
    /// Why the problem could not be sampled or was left out, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejection: Option<String>,
}

impl ProblemRow {
    /// `most` is the highest number of trials of any problem in the data set; pass@k is omitted for larger k.
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
