//! Sampling completions: what a source requests and what a generator delivers.
//!
//! The design is pull-based. Whenever the generator has a free slot, it asks the source what to sample next.
//! Allocation is decided at the last moment, from everything known by then, and no queue builds up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Problem, Settings};
use crate::Result;

/// Identifies one trial of a run: the problem and the sample index of the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrialId {
    /// The problem's index in the run's list of problems.
    pub problem: u32,
    /// The sample index: 0, 1, 2, … per problem.
    pub number: u32,
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// Reached a stop token or a stop string, or the generator reports a normal end.
    Stop,
    /// Reached the limit of new tokens or of the model's context.
    Length,
    /// Cut off because it repeated itself endlessly.
    Loop,
    /// Stopped because it was no longer wanted; the text is not a whole response.
    Cancelled,
}

/// A sampled response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The text, without stop tokens and cut before any stop string.
    pub text: String,
    /// The sampled token ids, including the stop token; empty if the generator has no ids.
    pub tokens: Vec<u32>,
    /// The number of sampled tokens, for a generator that knows the number but not the ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_tokens: Option<u32>,
    /// Why the completion ended.
    pub finish: Finish,
    /// The sum over the tokens of the natural logarithm of their probability under the model's own
    /// distribution (temperature 1, no truncation), if the generator knows it.
    pub logprob: Option<f64>,
    /// Whether the response has no text after its reasoning: it or its prompt opened a `<think>`, and it
    /// ended before or directly after the `</think>`, whatever stopped it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished_reasoning: bool,
}

impl Completion {
    /// A completion with only a text, which ended by itself.
    pub fn text(text: impl Into<String>) -> Self {
        Completion {
            text: text.into(),
            tokens: Vec::new(),
            counted_tokens: None,
            finish: Finish::Stop,
            logprob: None,
            unfinished_reasoning: false,
        }
    }

    /// Returns the number of sampled tokens: the number of ids, or `counted_tokens` if there are no ids.
    ///
    /// ```
    /// use dart_math::Completion;
    ///
    /// let counted = Completion { counted_tokens: Some(3), ..Completion::text("2") };
    /// assert_eq!(counted.token_count(), 3);
    /// assert_eq!(Completion::text("2").token_count(), 0);
    /// ```
    pub fn token_count(&self) -> u32 {
        match self.counted_tokens {
            Some(count) if self.tokens.is_empty() => count,
            _ => u32::try_from(self.tokens.len()).unwrap_or(u32::MAX),
        }
    }
}

/// One trial to sample.
#[derive(Debug, Clone)]
pub struct Request {
    /// The trial to sample.
    pub trial: TrialId,
    /// The problem to pose to the model.
    pub problem: Arc<Problem>,
    /// The key of the trial's random numbers ([`trial_seed`](crate::trial_seed)).
    pub seed: u64,
}

/// The generator's free capacity.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// How many requests the generator can start at once.
    pub free: usize,
    /// Indices of the problems whose prompts the generator holds prefilled. Their trials start at lower cost.
    pub resident: &'a [u32],
}

/// A source's response to an offer.
#[derive(Debug, Clone)]
pub enum Next {
    /// Sample these requests: at least one, at most as many as offered.
    Requests(Vec<Request>),
    /// Nothing to sample now, but verdicts are pending and there may be more: ask again soon.
    Wait,
    /// Nothing more to sample: finish and return.
    Done,
}

/// Decides what is sampled and receives the completions.
pub trait Source: Sync {
    /// Returns what to sample next, given capacity for `offer.free` requests.
    fn next(&self, offer: Offer<'_>) -> Next;

    /// Returns whether a trial in flight is still needed. If it is not, the generator stops it and delivers
    /// the partial completion as [`Finish::Cancelled`].
    fn wanted(&self, trial: TrialId) -> bool;

    /// Takes a sampled completion. Every request is delivered once, including cancelled ones, unless the
    /// generator itself fails.
    fn deliver(&self, trial: TrialId, completion: Completion);
}

/// A problem that a generator cannot sample, or that a run is to leave out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The problem's index in the list of problems.
    pub problem: usize,
    /// Why it cannot be sampled or is left out.
    pub reason: String,
}

/// Samples completions for a source until the source returns [`Next::Done`].
///
/// Implemented by the in-process engine, by a client of a remote server, and by scripted generators in tests.
///
/// # Implementing a generator
///
/// ```
/// use dart_math::{Completion, Generator, Next, Offer, Result, Source};
///
/// /// Answers every question with the same words.
/// struct Parrot(&'static str);
///
/// impl Generator for Parrot {
///     fn run(&self, source: &dyn Source) -> Result<()> {
///         loop {
///             match source.next(Offer { free: 8, resident: &[] }) {
///                 Next::Requests(requests) => {
///                     for request in requests {
///                         source.deliver(request.trial, Completion::text(self.0));
///                     }
///                 }
///                 Next::Wait => std::thread::yield_now(),
///                 Next::Done => return Ok(()),
///             }
///         }
///     }
/// }
/// ```
pub trait Generator {
    /// Samples until the source is done.
    ///
    /// # Errors
    ///
    /// Returns an error if sampling cannot continue. Completions that were delivered before remain delivered.
    fn run(&self, source: &dyn Source) -> Result<()>;

    /// Returns which of a run's problems the generator cannot sample, such as those whose prompts do not fit
    /// into the model's context. Called once, before anything is sampled. The run leaves these problems out
    /// and records the reasons. The default rejects none.
    ///
    /// # Errors
    ///
    /// Returns an error if the generator cannot sample anything with its settings.
    fn check(&self, problems: &[Arc<Problem>]) -> Result<Vec<Rejection>> {
        let _ = problems;
        Ok(Vec::new())
    }

    /// Returns whether all completions of a problem are the same, whatever their seeds, as with greedy
    /// sampling. A run then refuses to draw several of one problem.
    fn is_greedy(&self) -> bool {
        false
    }

    /// Returns the settings that completions depend on (model, template, sampling), for the manifest.
    fn settings(&self) -> Settings {
        Settings::new()
    }
}
