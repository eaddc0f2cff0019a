//! Requests that are completed as a list, and the events that this reports.
//!
//! Depends on prompts and sampling settings, but not on how they are run.

use std::collections::HashMap;

use super::Sampling;
use crate::model::Prompt;
use crate::{Completion, trial_seed};

/// A completion to sample: a prompt and its settings.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// The prompt. Requests with the same prompt share its KV cache: it is prefilled once.
    pub prompt: Prompt,
    /// The key of the completion's random numbers.
    pub seed: u64,
    /// The largest number of new tokens; the engine's own limit applies, too.
    pub max_new_tokens: Option<usize>,
    /// How tokens are sampled; the engine's settings if `None`.
    pub sampling: Option<Sampling>,
}

impl CompletionRequest {
    /// Creates a request with the engine's own settings.
    pub fn new(prompt: Prompt, seed: u64) -> Self {
        CompletionRequest {
            prompt,
            seed,
            max_new_tokens: None,
            sampling: None,
        }
    }

    /// Creates a request for each prompt, in the order of the prompts. Their random numbers are
    /// those of [`Engine::generate`](super::Engine::generate): they depend on the seed, on the
    /// prompt's text and on how often it occurred earlier in the list.
    pub fn list(prompts: &[Prompt], seed: u64) -> Vec<Self> {
        let mut seen: HashMap<(&str, &[u32]), u32> = HashMap::new();
        let request = |prompt: &Prompt, number| {
            CompletionRequest::new(prompt.clone(), trial_seed(seed, &prompt.text, number))
        };
        prompts
            .iter()
            .map(|prompt| {
                let count = seen.entry((&prompt.text, &prompt.tokens)).or_default();
                *count += 1;
                request(prompt, *count - 1)
            })
            .collect()
    }
}

/// An event while a list of requests is completed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A completion has a new token.
    Token {
        /// The request's index in the list.
        request: usize,
        /// The token.
        token: u32,
        /// The natural logarithm of its probability, as in
        /// [`Completion::logprob`](crate::Completion::logprob).
        logprob: f64,
        /// The text that is certain now. An incomplete character, or text that may become a stop
        /// string, is held back. Concatenated, the texts of a completion's tokens are a prefix of
        /// its whole text.
        text: &'a str,
    },
    /// A completion has ended.
    Completed {
        /// The request's index in the list.
        request: usize,
        /// The whole completion.
        completion: Completion,
    },
}
