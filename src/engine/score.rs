//! Scores a given text: logits and log-probabilities, without sampling.
//!
//! Depends on backends, but not on requests or sampling.

use super::Engine;
use crate::{Error, ErrorKind, Result};

impl Engine {
    /// Returns the logits after a prompt and after each token of a continuation:
    /// `[continuation.len() + 1][vocab]`.
    ///
    /// The prompt is prefilled and the continuation is fed token by token, as in sampling. The
    /// logits are those that the sampler would receive. No tokens are added. Use
    /// [`score`](Engine::score) if only log-probabilities are needed: with a vocabulary of 150,000
    /// tokens, logits take 600 kB a position.
    ///
    /// # Errors
    ///
    /// An empty prompt, tokens outside the vocabulary, more tokens than the model's context holds,
    /// logits that are not finite, or a failure of the device.
    pub fn logits(&self, prompt: &[u32], continuation: &[u32]) -> Result<Vec<Vec<f32>>> {
        let mut rows = Vec::with_capacity(continuation.len() + 1);
        self.follow(prompt, continuation, |logits| rows.push(logits.to_vec()))?;
        Ok(rows)
    }

    /// Returns the log-probability of each token of a continuation, given all tokens before it.
    /// Logarithms are natural; the distribution is the model's own (temperature 1, no truncation).
    ///
    /// Their sum is the [`Completion::logprob`](crate::Completion::logprob) of a completion with
    /// these tokens.
    ///
    /// ```
    /// use dart_math::engine::{Engine, Sampling};
    /// use dart_math::model::Model;
    ///
    /// # fn main() -> dart_math::Result<()> {
    /// let engine = Engine::builder(Model::built_in()?)
    ///     .sampling(Sampling::greedy())
    ///     .max_new_tokens(8)
    ///     .build()?;
    /// let prompt = engine.prompt("Tom has 3 apples and buys 4 more. How many has he now?")?;
    /// let completion = engine.generate(&[prompt.clone()], 0)?.remove(0);
    /// let scores = engine.score(&prompt.tokens, &completion.tokens)?;
    /// let sum: f64 = scores.iter().sum();
    /// assert!(completion.logprob.is_some_and(|logprob| (logprob - sum).abs() < 1e-3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`logits`](Engine::logits).
    pub fn score(&self, prompt: &[u32], continuation: &[u32]) -> Result<Vec<f64>> {
        let Some((&last, fed)) = continuation.split_last() else {
            return Ok(Vec::new());
        };
        let vocab = self.model().config().vocab_size;
        if last as usize >= vocab {
            return Err(outside(last, vocab));
        }
        let mut scores = Vec::with_capacity(continuation.len());
        self.follow(prompt, fed, |logits| {
            let token = continuation[scores.len()] as usize;
            scores.push(log_probability(logits, token));
        })?;
        Ok(scores)
    }

    /// Passes to `show` the logits after the prompt and after each token fed.
    fn follow(
        &self,
        prompt: &[u32],
        fed: &[u32],
        mut show: impl FnMut(&[f32]) + Send,
    ) -> Result<()> {
        let config = self.model().config();
        let (length, context) = (prompt.len() + fed.len(), config.context_length);
        if length > context {
            return Err(Error::new(
                ErrorKind::Data,
                format!("{length} tokens, but the model's context holds {context}"),
            ));
        }
        // Checked in advance, because `score` reads the logits of a token before it is fed.
        let beyond = |token: &&u32| **token as usize >= config.vocab_size;
        if let Some(&token) = prompt.iter().chain(fed).find(beyond) {
            return Err(outside(token, config.vocab_size));
        }
        self.with_backend(|backend| {
            self.capacity.check(backend, prompt.len(), fed.len())?;
            backend.follow(prompt, fed, &mut show)
        })
    }
}

/// The log-probability of a token under `softmax(logits)`.
fn log_probability(logits: &[f32], token: usize) -> f64 {
    let max = logits.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
    let sum: f64 = logits.iter().map(|&x| f64::from(x - max).exp()).sum();
    f64::from(logits[token]) - f64::from(max) - sum.ln()
}

fn outside(token: u32, vocab: usize) -> Error {
    Error::new(
        ErrorKind::Data,
        format!("token {token} is outside the vocabulary of {vocab}"),
    )
}
