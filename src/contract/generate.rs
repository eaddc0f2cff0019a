//! Sampling completions: what a source asks for and what a generator gives.
//!
//! The generator pulls. Whenever it has a free slot it asks the source what to sample next, so that
//! allocation is decided at the last moment, from everything that is known by then, and nothing
//! queues up.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Problem, Settings};
use crate::Result;

/// Names one trial of a run: which problem, and the sample index of the response to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TrialId {
    /// The problem's index in the run's list of problems.
    pub problem: u32,
    /// 0, 1, 2, … per problem.
    pub number: u32,
}

/// Why a completion ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// At a stop token or a stop string, or because the generator says so.
    Stop,
    /// At the limit of new tokens, or of the model's context.
    Length,
    /// Cut off while repeating itself without end.
    Loop,
    /// No longer wanted; what there is of it is not a whole response.
    Cancelled,
}

/// A sampled response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The text, without stop tokens and cut before a stop string.
    pub text: String,
    /// The token ids as sampled, the stop token included; empty where the generator has none.
    pub tokens: Vec<u32>,
    /// How many tokens were sampled, where the generator has their number but not their ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_tokens: Option<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// Sum over the tokens of the natural logarithm of their probability under the model's own
    /// distribution (temperature 1, nothing truncated), where the generator knows it.
    pub logprob: Option<f64>,
    /// Whether there is nothing behind its reasoning: after a `<think>`, its own or its prompt's, it ended
    /// without a `</think>` or right there, by whatever stopped it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished_reasoning: bool,
}

impl Completion {
    /// A completion that is only a text and ended by itself.
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

    /// How many tokens were sampled, as far as the generator knows: the number of the ids, or the one
    /// that stands for them.
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
    /// Which trial this is.
    pub trial: TrialId,
    /// The problem to put to the model.
    pub problem: Arc<Problem>,
    /// Key of the trial's random numbers ([`trial_seed`](crate::trial_seed)).
    pub seed: u64,
}

/// What a generator has capacity for.
#[derive(Debug, Clone, Copy)]
pub struct Offer<'a> {
    /// How many requests it can start at once.
    pub free: usize,
    /// Indexes of the problems whose prompts it holds prefilled: trials of these start cheaper.
    pub resident: &'a [u32],
}

/// A source's answer to an offer.
#[derive(Debug, Clone)]
pub enum Next {
    /// Sample these; at least one, at most as many as offered.
    Requests(Vec<Request>),
    /// Nothing now, but there may be later (verdicts are pending): ask again soon.
    Wait,
    /// Nothing more, ever: finish and return.
    Done,
}

/// Decides what is sampled and takes what was sampled.
pub trait Source: Sync {
    /// What to sample next, given capacity for `offer.free` requests.
    fn next(&self, offer: Offer<'_>) -> Next;

    /// Whether a trial in flight is still needed. If not, the generator stops it and delivers what
    /// there is as [`Finish::Cancelled`].
    fn wanted(&self, trial: TrialId) -> bool;

    /// Takes a sampled completion. Every request is delivered once, cancelled ones included,
    /// unless the generator itself fails.
    fn deliver(&self, trial: TrialId, completion: Completion);
}

/// A problem that a generator cannot sample, or that is to be left out of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The problem's index in the list that was checked.
    pub problem: usize,
    /// Why not.
    pub reason: String,
}

/// Samples completions for a source until it says [`Next::Done`].
///
/// Implemented by the in-process engine and by scripted ones in tests; a remote server can be one.
///
/// # A generator of one's own
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
    /// Where sampling itself is no longer possible. What was delivered before stays delivered.
    fn run(&self, source: &dyn Source) -> Result<()>;

    /// Which of a run's problems it cannot sample, such as those whose prompts do not fit into a
    /// model's context. Asked once, before anything is sampled; the run leaves them out, with the
    /// reasons. None unless a generator says otherwise.
    ///
    /// # Errors
    ///
    /// Where nothing can be sampled at all with the generator's settings.
    fn check(&self, problems: &[Arc<Problem>]) -> Result<Vec<Rejection>> {
        let _ = problems;
        Ok(Vec::new())
    }

    /// Whether all completions of a problem are the same, whatever their seeds, as with greedy
    /// sampling. A run then refuses to draw several of one problem.
    fn is_greedy(&self) -> bool {
        false
    }

    /// The settings that completions depend on (model, template, sampling), for the manifest.
    fn settings(&self) -> Settings {
        Settings::new()
    }
}
