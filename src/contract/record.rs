//! The records that a run leaves: one per trial and one per problem. The run writes them; data writers and
//! reports read them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Completion, Finish, Problem, Tally, Verdict};

/// A sampled response with its verdict: everything known about one trial.
///
/// As JSON it is a row of `trials.jsonl` and of a journal, with the verdict's fields inlined
/// (`docs/output.md`).
///
/// ```
/// use dart_math::{Completion, Problem, Trial, Verdict};
///
/// let problem = Problem::new("1 + 1?", "2");
/// let trial = Trial::new(&problem, 0, 7, Completion::text("2"), Verdict::new(true, "number"));
/// let row = serde_json::to_string(&trial)?;
/// assert!(row.contains(r#""trial":0,"seed":7,"response":"2","extracted":null,"equal":true"#));
/// assert_eq!(serde_json::from_str::<Trial>(&row)?, trial);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// The problem's id.
    pub problem: String,
    /// The sample index: 0, 1, 2, … per problem. Named `trial` in rows.
    pub number: u32,
    /// The key of the trial's random numbers.
    pub seed: u64,
    /// The text of the response.
    pub response: String,
    /// The number of sampled tokens, including a stop token; 0 if the generator does not know it.
    pub tokens: u32,
    /// Why the response ended.
    pub finish: Finish,
    /// Whether the response has no text after its reasoning: it or its prompt opened a `<think>`, and it
    /// ended before or directly after the `</think>`, whatever stopped it.
    pub unfinished_reasoning: bool,
    /// The log-probability of the response under the model's own distribution, in nats, if it is known.
    /// Rounded to six decimals, so that it survives writing and reading unchanged.
    pub logprob: Option<f64>,
    /// The grader's verdict.
    pub verdict: Verdict,
    /// Whether the response is part of the data set: it is correct and among the first correct trials, by
    /// number, that make up the target. `false` until the problem has ended.
    pub accepted: bool,
    /// If the response is correct and repeats the text of an earlier correct trial of the same problem: the
    /// lowest such trial number. With [`near_duplicates`](crate::dars::RunBuilder::near_duplicates): the
    /// number of the first trial that it is similar to. Known once all trials with lower numbers have
    /// settled.
    pub duplicate_of: Option<u32>,
}

/// The JSON form of a trial.
#[derive(Serialize, Deserialize)]
struct TrialRow<'a> {
    problem: Cow<'a, str>,
    trial: u32,
    seed: u64,
    response: Cow<'a, str>,
    extracted: Option<Cow<'a, str>>,
    equal: bool,
    rule: Cow<'a, str>,
    reason: Cow<'a, str>,
    finish: Finish,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unfinished_reasoning: bool,
    tokens: u32,
    logprob: Option<f64>,
    #[serde(default)]
    accepted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<u32>,
}

impl Serialize for Trial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = TrialRow {
            problem: Cow::Borrowed(&self.problem),
            trial: self.number,
            seed: self.seed,
            response: Cow::Borrowed(&self.response),
            extracted: self.verdict.extracted.as_deref().map(Cow::Borrowed),
            equal: self.verdict.equal,
            rule: Cow::Borrowed(&self.verdict.rule),
            reason: Cow::Borrowed(&self.verdict.reason),
            finish: self.finish,
            unfinished_reasoning: self.unfinished_reasoning,
            tokens: self.tokens,
            logprob: self.logprob,
            accepted: self.accepted,
            duplicate_of: self.duplicate_of,
        };
        row.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Trial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let row = TrialRow::deserialize(deserializer)?;
        Ok(Trial {
            problem: row.problem.into_owned(),
            number: row.trial,
            seed: row.seed,
            response: row.response.into_owned(),
            tokens: row.tokens,
            finish: row.finish,
            unfinished_reasoning: row.unfinished_reasoning,
            logprob: row.logprob,
            verdict: Verdict {
                equal: row.equal,
                extracted: row.extracted.map(Cow::into_owned),
                rule: Cow::Owned(row.rule.into_owned()),
                reason: Cow::Owned(row.reason.into_owned()),
            },
            accepted: row.accepted,
            duplicate_of: row.duplicate_of,
        })
    }
}

impl Trial {
    /// The record of a graded completion.
    pub fn new(
        problem: &Problem,
        number: u32,
        seed: u64,
        completion: Completion,
        verdict: Verdict,
    ) -> Self {
        let tokens = completion.token_count();
        Trial {
            problem: problem.id.clone(),
            number,
            seed,
            response: completion.text,
            tokens,
            finish: completion.finish,
            unfinished_reasoning: completion.unfinished_reasoning,
            logprob: completion
                .logprob
                .filter(|logprob| logprob.is_finite())
                .map(|logprob| (logprob * 1e6).round() / 1e6),
            verdict,
            accepted: false,
            duplicate_of: None,
        }
    }
}

/// Why no more trials of a problem were drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// It has the number of correct responses that it was to get.
    TargetMet,
    /// It has the number of trials that it was to get.
    TrialsDone,
    /// The strategy requested no more trials.
    Strategy,
    /// It reached the limit of trials per problem.
    TrialLimit,
    /// It had the maximum number of trials without a success
    /// ([`Limits::give_up_after`](crate::dars::Limits::give_up_after)).
    GaveUp,
    /// Its chance of meeting its target within its limit of trials was negligible
    /// ([`Futility`](crate::Futility)).
    Futile,
    /// Its trials reached the limit of tokens per problem.
    TokenLimit,
    /// It reached the limit of time per problem.
    TimeLimit,
    /// The generator cannot sample it, for example because its prompt does not fit into the model's context.
    Rejected,
    /// It was left out of the run ([`RunBuilder::exclude`](crate::dars::RunBuilder::exclude)), for example
    /// because it overlaps with a test set.
    Excluded,
    /// The run ended first: by a limit of the whole run, an interruption or a failure.
    RunEnded,
}

impl StopReason {
    /// Returns the name used in files, such as `target_met`.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::TargetMet => "target_met",
            StopReason::TrialsDone => "trials_done",
            StopReason::Strategy => "strategy",
            StopReason::TrialLimit => "trial_limit",
            StopReason::GaveUp => "gave_up",
            StopReason::Futile => "futile",
            StopReason::TokenLimit => "token_limit",
            StopReason::TimeLimit => "time_limit",
            StopReason::Rejected => "rejected",
            StopReason::Excluded => "excluded",
            StopReason::RunEnded => "run_ended",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The result of one problem.
#[derive(Debug, Clone, PartialEq)]
pub struct ProblemRecord {
    /// The problem.
    pub problem: Arc<Problem>,
    /// The counts of its trials.
    pub tally: Tally,
    /// The number of correct responses that it was to get. `None` if every correct one is kept, or if the run
    /// ended before the target was known.
    pub target: Option<u32>,
    /// The number of its responses in the data set.
    pub kept: u32,
    /// The tokens of the trials that count.
    pub tokens: u64,
    /// Why its sampling ended.
    pub stop: StopReason,
    /// Why the problem was not sampled, if `stop` is [`StopReason::Rejected`] or [`StopReason::Excluded`].
    pub rejection: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_survives_its_json() {
        let completion = Completion {
            text: "a \u{1F600}\n\u{0}".into(),
            tokens: vec![1, 2, 3],
            counted_tokens: None,
            finish: Finish::Stop,
            logprob: Some(-123.456_789_012_345),
            unfinished_reasoning: true,
        };
        let problem = Problem::new("q", "r");
        let trial = Trial::new(&problem, 3, u64::MAX, completion, Verdict::new(true, "r"));
        let json = serde_json::to_string(&trial).unwrap();
        assert_eq!(serde_json::from_str::<Trial>(&json).unwrap(), trial);
        assert_eq!(trial.logprob, Some(-123.456_789));
    }
}
