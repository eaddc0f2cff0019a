//! What a run leaves behind, one record a trial and one a problem. Written by the run, read by
//! data writers and reports.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Completion, Finish, Problem, Tally, Verdict};

/// A sampled response with its verdict: everything that is known of one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Id of the problem.
    pub problem: String,
    /// 0, 1, 2, … per problem.
    pub number: u32,
    /// Key of the trial's random numbers.
    pub seed: u64,
    /// The response's text.
    pub response: String,
    /// How many tokens were sampled, a stop token included; 0 where the generator has none.
    pub tokens: u32,
    /// Why the response ended.
    pub finish: Finish,
    /// Whether there is nothing behind its reasoning: after a `<think>`, its own or its prompt's, it ended
    /// without a `</think>` or right there, by whatever stopped it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished_reasoning: bool,
    /// Log-probability of the response under the model's own distribution, in nats, to six
    /// decimals (so that writing and reading it back changes nothing), where it is known.
    pub logprob: Option<f64>,
    /// What the grader made of it.
    pub verdict: Verdict,
    /// Whether the response is part of the data set: correct, and among the first of its problem,
    /// by number, that make up the target. Known when the problem has ended, `false` before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
    /// The lowest number of a trial of the same problem whose response is the same text, where both
    /// are correct. Known when all trials of lower numbers have settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<u32>,
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
        Trial {
            problem: problem.id.clone(),
            number,
            seed,
            response: completion.text,
            tokens: u32::try_from(completion.tokens.len()).unwrap_or(u32::MAX),
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
    /// It has as many correct responses as it was to get.
    TargetMet,
    /// It has had as many trials as it was to get.
    TrialsDone,
    /// The strategy wanted no more of it.
    Strategy,
    /// It reached the limit of trials per problem.
    TrialLimit,
    /// It had as many trials without any success as one may have.
    GaveUp,
    /// The generator cannot sample it, for instance because its prompt does not fit into the model's
    /// context.
    Rejected,
    /// The run ended first, by a limit of the whole run, an interruption or a failure.
    RunEnded,
}

impl StopReason {
    /// The name in files, such as `target_met`.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::TargetMet => "target_met",
            StopReason::TrialsDone => "trials_done",
            StopReason::Strategy => "strategy",
            StopReason::TrialLimit => "trial_limit",
            StopReason::GaveUp => "gave_up",
            StopReason::Rejected => "rejected",
            StopReason::RunEnded => "run_ended",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What became of one problem.
#[derive(Debug, Clone, PartialEq)]
pub struct ProblemRecord {
    /// The problem.
    pub problem: Arc<Problem>,
    /// Counts of its trials.
    pub tally: Tally,
    /// How many correct responses it was to get; `None` where every correct one is kept, or where
    /// the run ended before the target was known.
    pub target: Option<u32>,
    /// How many responses the data set has of it.
    pub kept: u32,
    /// Why its sampling ended.
    pub stop: StopReason,
    /// Why the generator could not sample it, where `stop` is [`StopReason::Rejected`].
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
