//! What a run leaves behind, one record a trial and one a problem. Written by the run, read by
//! data writers and reports.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Completion, Finish, Problem, Verdict};

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
    /// Whether it ended within its reasoning: after a `<think>`, its own or its prompt's, without a
    /// `</think>`.
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

/// Raw counts of a problem's settled trials, and what they say of its pass rate.
///
/// ```
/// use dart_math::Tally;
///
/// let fixed = Tally { trials: 8, correct: 2, at_success: false };
/// assert_eq!(fixed.pass_rate(), Some(0.25));
/// // Sampling that goes on until the third success ends with a success, which says nothing.
/// let until = Tally { trials: 9, correct: 3, at_success: true };
/// assert_eq!(until.pass_rate(), Some(0.25));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Settled trials that count.
    pub trials: u32,
    /// How many of them are correct.
    pub correct: u32,
    /// Whether sampling stopped because of the last success (inverse sampling), not at a number
    /// of trials.
    pub at_success: bool,
}

impl Tally {
    /// The estimate of the pass rate, `None` without trials.
    ///
    /// For c correct in n trials it is c / n, or, where sampling stopped at the c-th success,
    /// (c - 1) / (n - 1): the unbiased estimate of inverse sampling (Haldane, "On a method of
    /// estimating frequencies", Biometrika 33, 1945). That needs c of at least 2; at c = 1, where
    /// it would be 0 whatever n, it is 1 / n. After a pilot of m trials, (c - 1) / (n - 1) pools
    /// the pilot's own rate with the unbiased one of the trials that followed.
    pub fn pass_rate(&self) -> Option<f64> {
        let (trials, correct) = (f64::from(self.trials), f64::from(self.correct));
        match self.trials {
            0 => None,
            _ if self.at_success && self.correct >= 2 => Some((correct - 1.0) / (trials - 1.0)),
            _ => Some(correct / trials),
        }
    }

    /// The estimate's standard error, `None` where the trials are too few to give one.
    ///
    /// With p the estimate it is sqrt(p (1 - p) / n); after inverse sampling
    /// sqrt(p (1 - p) / (n - 2)), whose square is the unbiased estimate of that variance, and
    /// p sqrt(1 - p) at the first success. It is 0 where all trials agree, which is no certainty:
    /// look at the counts.
    pub fn standard_error(&self) -> Option<f64> {
        let p = self.pass_rate()?;
        let n = f64::from(self.trials);
        match (self.at_success, self.correct, self.trials) {
            (true, 1, _) => Some(p * (1.0 - p).sqrt()),
            (true, _, 0..=2) => None,
            (true, _, _) => Some((p * (1.0 - p) / (n - 2.0)).sqrt()),
            (false, _, _) => Some((p * (1.0 - p) / n).sqrt()),
        }
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
    fn inverse_sampling_is_estimated_without_bias() {
        // Exact expectation of the estimate for p = 0.3, stopping at the third success:
        // P(n) = C(n-1, 2) p^3 (1-p)^(n-3).
        let p = 0.3f64;
        let (mut mean, mut mass, mut variance, mut error) = (0.0, 0.0, 0.0, 0.0);
        for n in 3..400u32 {
            let ways = f64::from(n - 1) * f64::from(n - 2) / 2.0;
            let probability = ways * p.powi(3) * (1.0 - p).powi(n as i32 - 3);
            let tally = Tally {
                trials: n,
                correct: 3,
                at_success: true,
            };
            let rate = tally.pass_rate().unwrap();
            mass += probability;
            mean += probability * rate;
            variance += probability * (rate - p).powi(2);
            error += probability * tally.standard_error().unwrap().powi(2);
        }
        assert!((mass - 1.0).abs() < 1e-9);
        assert!((mean - p).abs() < 1e-9, "{mean}");
        assert!((error - variance).abs() < 1e-9, "{error} {variance}");
    }

    #[test]
    fn small_counts_have_no_nonsense() {
        let tally = |trials, correct, at_success| Tally {
            trials,
            correct,
            at_success,
        };
        assert_eq!(tally(0, 0, false).pass_rate(), None);
        assert_eq!(tally(0, 0, false).standard_error(), None);
        assert_eq!(tally(1, 1, true).pass_rate(), Some(1.0));
        assert_eq!(tally(4, 1, true).pass_rate(), Some(0.25));
        assert_eq!(tally(2, 2, true).pass_rate(), Some(1.0));
        assert_eq!(tally(2, 2, true).standard_error(), None);
        assert_eq!(tally(5, 0, false).pass_rate(), Some(0.0));
    }

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
