//! Requests that are completed as one list, and the events that are reported meanwhile.
//!
//! Knows prompts and sampling settings; nothing of how they are run.

use std::collections::HashMap;

use super::Sampling;
use crate::model::Prompt;
use crate::{Completion, trial_seed};

/// A completion to sample: a prompt, and settings of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// What is completed. Requests with the same prompt share its KV cache: it is prefilled once.
    pub prompt: Prompt,
    /// Key of the completion's random numbers.
    pub seed: u64,
    /// The most new tokens; the engine's own limit counts, too.
    pub max_new_tokens: Option<usize>,
    /// How tokens are drawn, if not by the engine's settings.
    pub sampling: Option<Sampling>,
}

impl CompletionRequest {
    /// A request by the engine's own settings.
    pub fn new(prompt: Prompt, seed: u64) -> Self {
        CompletionRequest {
            prompt,
            seed,
            max_new_tokens: None,
            sampling: None,
        }
    }

    /// A request for each prompt, in their order, with random numbers that depend on the seed, the
    /// prompt's text and how many times it stood in the list before: those of
    /// [`Engine::generate`](super::Engine::generate).
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

/// What happens while a list of requests is completed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A token has been added to a completion.
    Token {
        /// The request's index in the list.
        request: usize,
        /// The token.
        token: u32,
        /// The natural logarithm of its probability, as in
        /// [`Completion::logprob`](crate::Completion::logprob).
        logprob: f64,
        /// Text that is certain now: an unfinished character, or what may become a stop string, is
        /// held back. The texts of a completion's tokens, one after the other, are what its whole text
        /// begins with.
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
