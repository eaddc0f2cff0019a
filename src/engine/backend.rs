//! What computes logits: the interface between the scheduler and the decoder.
//!
//! Knows the shape of a model and its weights; nothing of sampling, text or requests.

use crate::Result;

/// Names a prompt whose keys and values a [`Backend`] holds. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PrefixId(pub(super) u64);

/// Names a sequence that continues a prefix. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceId(pub(super) u64);

/// What computes the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BackendChoice {
    /// The crate's own kernels for dense weights on a CPU; elsewhere, plain operations.
    #[default]
    Auto,
    /// Plain tensor operations on any device: the reference that the kernels are held to.
    Plain,
}

/// Computes logits. One implementation is made of plain candle operations (any device; the
/// reference), one of own CPU kernels.
///
/// A sequence is a prefix, shared and immutable, and a suffix of its own that grows by a token
/// with every [`decode`](Backend::decode). Work is spread over the current rayon pool.
pub(crate) trait Backend: Send {
    /// Runs each prompt once (packed), keeps its keys and values as an immutable prefix, and
    /// returns, in the prompts' order, the prefix's id and the logits `[vocab]` after the prompt's
    /// last token.
    ///
    /// # Errors
    ///
    /// A prompt without tokens, a token outside the vocabulary, logits that are not finite
    /// ([`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite)), or a failure of the device. No
    /// prefix is kept then.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<(PrefixId, Vec<f32>)>>;

    /// A new sequence that continues a prefix, with an empty suffix.
    fn fork(&mut self, prefix: PrefixId) -> SequenceId;

    /// Feeds one token to each sequence and writes the logits after it, `[rows, vocab]` row-major,
    /// into `logits` (resized).
    ///
    /// # Errors
    ///
    /// A sequence that is unknown or named twice, a token outside the vocabulary, logits that are
    /// not finite ([`ErrorKind::NonFinite`](crate::ErrorKind::NonFinite)), or a failure of the
    /// device. The sequences named are of no further use then, except to be released.
    fn decode(&mut self, rows: &[(SequenceId, u32)], logits: &mut Vec<f32>) -> Result<()>;

    /// Forgets a sequence and its suffix. Unknown ids are ignored.
    fn release_sequence(&mut self, sequence: SequenceId);

    /// Forgets a prefix, after all its sequences were released. Unknown ids are ignored.
    fn release_prefix(&mut self, prefix: PrefixId);

    /// Length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// Bytes held by keys and values now.
    fn kv_bytes(&self) -> usize;
}
