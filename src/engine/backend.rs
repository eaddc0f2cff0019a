//! The interface between the scheduler and the code that runs the model.
//!
//! A backend owns the KV cache, computes logits and samples from them *where they are computed*, so
//! that a device never sends logits to the host. Work is issued step by step. The tokens drawn in a
//! step arrive up to [`Backend::lag`] steps later, so that a device never idles while the host
//! processes tokens.
//!
//! Depends on the shape of a model and its weights, on sampling settings and on random keys, but
//! not on text, requests or the scheduler's slots.

use std::time::Duration;

use super::Sampling;
use super::steps::Spent;
use crate::{Error, ErrorKind, Philox, Result};

/// Identifies a prompt whose KV cache a [`Backend`] holds. Ids are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PrefixId(pub(super) u64);

/// Identifies a sequence that continues a prefix. Ids are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(super) u64);

/// The input of a row of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// No input: the row draws from the logits after the prefix's last token, which the backend
    /// kept.
    Prefix,
    /// A token that the host knows, because the sequence is recomputed after a preemption.
    Token(u32),
    /// The token that was drawn last for this sequence, whether or not the host has received it.
    Drawn,
}

/// A row of a step: a sequence, its input, and whether a token is drawn after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepRow {
    pub(crate) sequence: SequenceId,
    pub(crate) input: Input,
    /// The trial's random numbers, and the token's position in the completion, which is their
    /// counter. `None` if the next token is known already.
    pub(crate) draw: Option<(Philox, u64)>,
}

/// A drawn token, and the values from which the host computes its log-probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) token: u32,
    /// The token's logit as the model computed it, before any penalty, truncation or temperature.
    pub(crate) logit: f32,
    /// The row's largest logit, before any penalty, truncation or temperature.
    pub(crate) max: f32,
    /// The sum over the vocabulary of `exp(logit - max)`, in units of `2^-weight_bits(vocab)`. Each
    /// term is rounded to a multiple of the unit (see
    /// [`weight_bits`](super::sampler::weight_bits)).
    pub(crate) normaliser: u64,
    /// Whether all logits of the row are finite. If not, the other fields are meaningless.
    pub(crate) finite: bool,
}

/// Runs a model: prefill, decode and sampling.
///
/// A sequence consists of a shared, immutable prefix and a suffix of its own. Each row that feeds a
/// token extends the suffix by one token.
pub(crate) trait Backend: Send {
    /// Runs each prompt once (packed). Keeps its KV cache as an immutable prefix, and the logits
    /// after its last token. Ids are in the order of the prompts.
    ///
    /// # Errors
    ///
    /// An empty prompt, a token outside the vocabulary, or a failure of the device. No prefix is
    /// kept in that case.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<PrefixId>>;

    /// Creates a sequence that continues a prefix, with an empty suffix and its own sampling
    /// settings. The repetition penalty applies to the prefix's tokens and to all tokens that are
    /// fed or drawn.
    fn fork(&mut self, prefix: PrefixId, sampling: &Sampling) -> SequenceId;

    /// Issues a step. A later [`collect`](Backend::collect) returns its draws, in the order of the
    /// rows that draw. A sequence may occur in a step at most once.
    ///
    /// # Errors
    ///
    /// A sequence that is unknown or occurs twice, a token outside the vocabulary, or a failure of
    /// the device.
    fn issue(&mut self, rows: &[StepRow]) -> Result<()>;

    /// Waits for the draws of the oldest step that was issued and is not collected yet.
    ///
    /// # Errors
    ///
    /// A failure of the device, or no step in flight. Non-finite logits are not an error here;
    /// [`Drawn::finite`] reports them.
    fn collect(&mut self) -> Result<Vec<Drawn>>;

    /// The number of token-feeding steps that should be in flight before the oldest is collected; 0
    /// if a step is computed when it is issued. Including the steps that draw first tokens, at most
    /// [`max_in_flight`] steps are in flight when another one is issued.
    fn lag(&self) -> usize;

    /// Releases a sequence and its suffix. Steps that contain it may be in flight; their draws
    /// still arrive. Unknown ids are ignored.
    fn release_sequence(&mut self, sequence: SequenceId);

    /// Releases a prefix. All its sequences must have been released. Unknown ids are ignored.
    fn release_prefix(&mut self, prefix: PrefixId);

    /// Passes to `show` the logits `[vocab]` after the prompt and after each token of a
    /// continuation. The tokens are fed one by one, and nothing is kept. For scores and tests; no
    /// step may be in flight.
    ///
    /// # Errors
    ///
    /// As for [`prefill`](Backend::prefill) and [`issue`](Backend::issue), and logits that are not
    /// finite ([`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite)).
    fn follow(
        &mut self,
        prompt: &[u32],
        continuation: &[u32],
        show: &mut dyn FnMut(&[f32]),
    ) -> Result<()>;

    /// The vocabulary size, which is the length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// The capacity of the KV cache in bytes, if it is fixed.
    fn kv_capacity(&self) -> Option<usize>;

    /// Bytes that the KV cache holds after all issued work.
    fn kv_bytes(&self) -> usize;

    /// Bytes that the KV cache would hold after a token is fed to each of these sequences.
    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize;

    /// Bytes that a prompt of `tokens` tokens takes.
    fn prefix_bytes(&self, tokens: usize) -> usize;

    /// Bytes that a suffix of `tokens` tokens takes.
    fn suffix_bytes(&self, tokens: usize) -> usize;

    /// Bytes that a sequence takes in addition to its shared prompt, after `tokens` tokens were
    /// fed. Includes the prompt where sequences do not share prompts.
    fn sequence_bytes(&self, _prompt: usize, tokens: usize) -> usize {
        self.suffix_bytes(tokens)
    }

    /// Bytes that the weights take.
    fn weight_bytes(&self) -> usize;

    /// Time spent so far, by part, if the backend measures it.
    fn spent(&self) -> Option<Spent>;

    /// Time spent so far on sampling, if the backend measures it separately from decoding.
    fn sampling_time(&self) -> Option<Duration> {
        None
    }

    /// The name of the first weight that holds a non-finite value, if any: the cause of non-finite
    /// logits.
    fn non_finite_weight(&self) -> Option<String>;
}

/// The largest number of steps that may be in flight when another one is issued. Counts both the
/// steps that feed tokens and those that draw first tokens.
pub(super) fn max_in_flight(lag: usize) -> usize {
    2 * (lag + 1)
}

/// The error for non-finite logits, with the cause.
pub(super) fn non_finite(backend: &dyn Backend) -> Error {
    let cause = match backend.non_finite_weight() {
        Some(weight) => format!("its weight {weight} holds a value that is not finite"),
        None => "its weights are finite, but too large for the type that it is computed in".into(),
    };
    Error::new(
        ErrorKind::NonFinite,
        format!("the model's logits are not finite: {cause}"),
    )
}
