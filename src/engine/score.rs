//! What a model thinks of a given text: logits and log-probabilities, without sampling.
//!
//! Knows backends; nothing of requests or sampling.

use super::Engine;
use crate::{Error, ErrorKind, Result};

impl Engine {
    /// The logits after a prompt and after each token of a continuation:
    /// `[continuation.len() + 1][vocab]`.
    ///
    /// The prompt is run at once, the continuation token by token, as when it is sampled; the
    /// logits are those that the sampler would be given. The tokens are taken as they are: nothing
    /// is added to them. Use [`score`](Engine::score) where only the log-probabilities are of
    /// interest, for a vocabulary of 150,000 tokens makes 600 kB of logits a position.
    ///
    /// # Errors
    ///
    /// A prompt without tokens, tokens outside the vocabulary, more of them than the model's
    /// context holds, logits that are not finite, or a failure of the device.
    pub fn logits(&self, prompt: &[u32], continuation: &[u32]) -> Result<Vec<Vec<f32>>> {
        let mut rows = Vec::with_capacity(continuation.len() + 1);
        self.follow(prompt, continuation, |logits| rows.push(logits.to_vec()))?;
        Ok(rows)
    }

    /// The logarithm of the probability (natural, in the model's own distribution: temperature 1,
    /// nothing truncated) of each token of a continuation, given all before it.
    ///
    /// Their sum is what [`Completion::logprob`](crate::Completion::logprob) states for a
    /// completion with these tokens.
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

    /// Shows the logits after the prompt and after each token fed.
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
        // All are looked at first: `score` reads the logits of a token before it is fed.
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

/// The logarithm of a token's share in `exp(logits)`.
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
