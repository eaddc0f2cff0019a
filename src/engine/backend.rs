//! What samples: the interface between the scheduler and whatever runs the model.
//!
//! A backend keeps the KV cache, computes logits *and draws from them where they are computed*, so
//! that a device never sends logits to the host. Work is issued step by step; the draws of a step
//! arrive later, up to [`Backend::lag`] steps behind what was issued, so that a device is never
//! idle while the host looks at tokens.
//!
//! Knows the shape of a model and its weights, sampling settings and random keys; nothing of text,
//! requests or slots of the scheduler.

use std::time::Duration;

use super::Sampling;
use super::steps::Spent;
use crate::{Error, ErrorKind, Philox, Result};

/// Names a prompt whose KV cache a [`Backend`] holds. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PrefixId(pub(super) u64);

/// Names a sequence that continues a prefix. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(super) u64);

/// What a row of a step feeds to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// Nothing: the row draws from the logits after the prefix's last token, which the backend kept.
    Prefix,
    /// This token: it is known to the host (a sequence that is recomputed after a preemption).
    Token(u32),
    /// The token that was drawn last for this sequence, whether it has arrived at the host or not.
    Drawn,
}

/// A row of a step: one sequence, what it is fed, and whether a token is drawn after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StepRow {
    pub(crate) sequence: SequenceId,
    pub(crate) input: Input,
    /// The random numbers of the trial and the position of the token in the completion, which is
    /// their counter; `None` where the next token is known already.
    pub(crate) draw: Option<(Philox, u64)>,
}

/// A drawn token, and what its log-probability is computed from on the host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Drawn {
    pub(crate) token: u32,
    /// The token's logit, as it came from the model: nothing penalised, cut or divided.
    pub(crate) logit: f32,
    /// The row's largest logit, likewise.
    pub(crate) max: f32,
    /// The sum over the vocabulary of `exp(logit - max)`, each rounded to a multiple of
    /// `2^-weight_bits(vocab)` (see [`weight_bits`](super::sampler::weight_bits)), in such multiples.
    pub(crate) normaliser: u64,
    /// Whether all logits of the row are finite. Where not, nothing else here means anything.
    pub(crate) finite: bool,
}

/// Runs a model: prefill, decode and draws.
///
/// A sequence is a prefix, shared and immutable, and a suffix of its own that grows by a token with
/// every row that feeds one.
pub(crate) trait Backend: Send {
    /// Runs each prompt once (packed) and keeps its KV cache as an immutable prefix, and the logits
    /// after its last token. Ids come in the prompts' order.
    ///
    /// # Errors
    ///
    /// A prompt without tokens, a token outside the vocabulary, or a failure of the device. No
    /// prefix is kept then.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<PrefixId>>;

    /// A new sequence that continues a prefix, with an empty suffix and sampling settings of its
    /// own. The repetition penalty sees the prefix's tokens and all that are fed or drawn.
    fn fork(&mut self, prefix: PrefixId, sampling: &Sampling) -> SequenceId;

    /// Issues a step. Its draws come from a later [`collect`](Backend::collect), in the order of the
    /// rows that draw. A sequence stands in a step at most once.
    ///
    /// # Errors
    ///
    /// A sequence that is unknown or named twice, a token outside the vocabulary, or a failure of
    /// the device.
    fn issue(&mut self, rows: &[StepRow]) -> Result<()>;

    /// Waits for the draws of the oldest step that was issued and not collected yet.
    ///
    /// # Errors
    ///
    /// A failure of the device, or no step in flight. Rows whose logits are not finite are no error
    /// here: their [`Drawn::finite`] says so.
    fn collect(&mut self) -> Result<Vec<Drawn>>;

    /// How many steps that feed tokens should be in flight before the oldest is collected: 0 where
    /// a step is computed when it is issued. With steps that draw first tokens, at most
    /// [`max_in_flight`] are when another one is issued.
    fn lag(&self) -> usize;

    /// Forgets a sequence and its suffix, also while steps with it are in flight: their draws still
    /// come. Unknown ids are ignored.
    fn release_sequence(&mut self, sequence: SequenceId);

    /// Forgets a prefix, after all its sequences were released. Unknown ids are ignored.
    fn release_prefix(&mut self, prefix: PrefixId);

    /// Shows the logits `[vocab]` after the prompt and after each token of a continuation, which
    /// are fed one by one; nothing is kept. For scores and tests, with no step in flight.
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

    /// Length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// The most bytes that the KV cache can hold, where that is fixed.
    fn kv_capacity(&self) -> Option<usize>;

    /// Bytes held by the KV cache now, by what was issued.
    fn kv_bytes(&self) -> usize;

    /// Bytes that it would hold after a token is fed to each of these sequences.
    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize;

    /// Bytes that a prompt of so many tokens takes.
    fn prefix_bytes(&self, tokens: usize) -> usize;

    /// Bytes that a suffix of so many tokens takes.
    fn suffix_bytes(&self, tokens: usize) -> usize;

    /// Bytes that a sequence of a prompt takes besides it when so many tokens have been fed. Where
    /// sequences do not share prompts, they have the prompt, too.
    fn sequence_bytes(&self, _prompt: usize, tokens: usize) -> usize {
        self.suffix_bytes(tokens)
    }

    /// Bytes held by the weights.
    fn weight_bytes(&self) -> usize;

    /// Time spent so far, by part, if the backend measures it.
    fn spent(&self) -> Option<Spent>;

    /// Time spent so far in sampling, if the backend measures it separately from decoding.
    fn sampling_time(&self) -> Option<Duration> {
        None
    }

    /// Why logits are not finite, in words: the first weight that holds such a value, if any.
    fn non_finite_weight(&self) -> Option<String>;
}

/// How many steps of both kinds, those that feed tokens and those that draw first tokens, may be in
/// flight when another one is issued.
pub(super) fn max_in_flight(lag: usize) -> usize {
    2 * (lag + 1)
}

/// The error for logits that are not finite, which says why.
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
