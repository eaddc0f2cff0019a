//! The interface between a host-sampled backend and the model's forward pass, and code that its
//! implementations share.
//!
//! Depends on the shape of a model and its weights, but not on sampling, text or requests.

use candle_core::{DType, Device};

use super::BackendChoice;
use super::backend::{PrefixId, SequenceId};
use super::candle::CandleDecoder;
use super::cpu::Cpu;
use super::inspect::check_shapes;
use super::kernel_settings::KernelSettings;
use super::steps::Spent;
use crate::model::{DecoderConfig, Weights};
use crate::{Error, ErrorKind, Result};

/// Computes logits. One implementation uses candle operations (any device; the reference), another
/// the crate's own CPU kernels.
///
/// A sequence consists of a shared, immutable prefix and a suffix of its own, which each
/// [`decode`](Decoder::decode) extends by one token. Work is spread over the current rayon pool.
pub(crate) trait Decoder: Send {
    /// Runs each prompt once (packed) and keeps its KV cache as an immutable prefix. Returns, in
    /// the order of the prompts, the prefix's id and the logits `[vocab]` after the prompt's last
    /// token. The logits may be non-finite.
    ///
    /// # Errors
    ///
    /// An empty prompt, a token outside the vocabulary, or a failure of the device. No prefix is
    /// kept in that case.
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<(PrefixId, Vec<f32>)>>;

    /// Creates a sequence that continues a prefix, with an empty suffix.
    fn fork(&mut self, prefix: PrefixId) -> SequenceId;

    /// Feeds one token to each sequence and writes the logits after it, `[rows, vocab]` row-major,
    /// to `logits` (resized). The logits may be non-finite.
    ///
    /// # Errors
    ///
    /// A sequence that is unknown or occurs twice, a token outside the vocabulary, or a failure of
    /// the device. Afterwards these sequences can only be released.
    fn decode(&mut self, rows: &[(SequenceId, u32)], logits: &mut Vec<f32>) -> Result<()>;

    /// Releases a sequence and its suffix. Unknown ids are ignored.
    fn release_sequence(&mut self, sequence: SequenceId);

    /// Releases a prefix. All its sequences must have been released. Unknown ids are ignored.
    fn release_prefix(&mut self, prefix: PrefixId);

    /// The vocabulary size, which is the length of a row of logits.
    fn vocab_size(&self) -> usize;

    /// Bytes that the KV cache holds.
    fn kv_bytes(&self) -> usize;

    /// Bytes that the KV cache would hold after a token is fed to each of these sequences.
    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize;

    /// Bytes that a prompt of `tokens` tokens takes.
    fn prefix_bytes(&self, tokens: usize) -> usize;

    /// Bytes that a suffix of `tokens` tokens takes.
    fn suffix_bytes(&self, tokens: usize) -> usize;

    /// Bytes that a sequence takes in addition to its shared prompt, after `tokens` tokens were
    /// fed. Includes the prompt if the decoder does not share prompts.
    fn sequence_bytes(&self, _prompt: usize, tokens: usize) -> usize {
        self.suffix_bytes(tokens)
    }

    /// Bytes that the weights take.
    fn weight_bytes(&self) -> usize;

    /// Time spent so far, by part, if the decoder measures it.
    fn spent(&self) -> Option<Spent>;

    /// The name of the first weight that holds a non-finite value, if any: the cause of non-finite
    /// logits.
    fn non_finite_weight(&self) -> Option<String>;
}

/// Creates the decoder for a model: the CPU kernels on a CPU, candle operations elsewhere.
///
/// The kernels compute in f32 whatever `dtype` is, and keep 16-bit and quantized weights. They
/// repack the weights and free each one afterwards, so that the weights are never all held twice
/// (unless the caller holds them, too).
///
/// # Errors
///
/// Weights whose shapes do not match the configuration, a failure of the device, or non-default
/// kernel settings for a decoder that does not use the kernels.
pub(crate) fn decoder_for(
    config: &DecoderConfig,
    weights: Weights,
    device: &Device,
    dtype: DType,
    choice: BackendChoice,
    kernels: KernelSettings,
) -> Result<Box<dyn Decoder>> {
    check_shapes(config, &weights)?;
    if choice == BackendChoice::Auto && device.is_cpu() {
        return Ok(Box::new(Checked(Cpu::new(config, weights, kernels)?)));
    }
    kernels.refuse_elsewhere()?;
    let decoder = CandleDecoder::new(config, weights, device, dtype)?;
    Ok(Box::new(Checked(decoder)))
}

/// Fails if a sequence occurs twice.
pub(super) fn check_named_once(sequences: impl Iterator<Item = SequenceId>) -> Result<()> {
    let mut named: Vec<SequenceId> = sequences.collect();
    named.sort_unstable();
    match named.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(bad_sequence(pair[0], "is named twice")),
    }
}

/// Wraps a decoder so that its input is checked.
#[cfg(feature = "transformers")]
pub(super) fn checked(decoder: impl Decoder + 'static) -> Box<dyn Decoder> {
    Box::new(Checked(decoder))
}

/// Fails for a token outside a vocabulary of `vocab_size`.
pub(super) fn check_token(token: u32, vocab_size: usize) -> Result<()> {
    if (token as usize) < vocab_size {
        return Ok(());
    }
    let reason = format!("token {token} is outside the model's vocabulary of {vocab_size}");
    Err(Error::new(ErrorKind::Data, reason))
}

/// A decoder whose input is checked. Decoders reject tokens outside the vocabulary only here.
struct Checked<D>(D);

impl<D: Decoder> Decoder for Checked<D> {
    fn prefill(&mut self, prompts: &[&[u32]]) -> Result<Vec<(PrefixId, Vec<f32>)>> {
        for (index, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() {
                return Err(Error::new(
                    ErrorKind::Data,
                    format!("prompt {index} has no tokens"),
                ));
            }
            for &token in *prompt {
                check_token(token, self.0.vocab_size())
                    .map_err(|error| error.context(format_args!("prompt {index}")))?;
            }
        }
        self.0.prefill(prompts)
    }

    fn fork(&mut self, prefix: PrefixId) -> SequenceId {
        self.0.fork(prefix)
    }

    fn decode(&mut self, rows: &[(SequenceId, u32)], logits: &mut Vec<f32>) -> Result<()> {
        for &(_, token) in rows {
            check_token(token, self.0.vocab_size())?;
        }
        self.0.decode(rows, logits)
    }

    fn release_sequence(&mut self, sequence: SequenceId) {
        self.0.release_sequence(sequence);
    }

    fn release_prefix(&mut self, prefix: PrefixId) {
        self.0.release_prefix(prefix);
    }

    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }

    fn kv_bytes(&self) -> usize {
        self.0.kv_bytes()
    }

    fn kv_bytes_after(&self, sequences: &[SequenceId]) -> usize {
        self.0.kv_bytes_after(sequences)
    }

    fn prefix_bytes(&self, tokens: usize) -> usize {
        self.0.prefix_bytes(tokens)
    }

    fn suffix_bytes(&self, tokens: usize) -> usize {
        self.0.suffix_bytes(tokens)
    }

    fn sequence_bytes(&self, prompt: usize, tokens: usize) -> usize {
        self.0.sequence_bytes(prompt, tokens)
    }

    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }

    fn spent(&self) -> Option<Spent> {
        self.0.spent()
    }

    fn non_finite_weight(&self) -> Option<String> {
        self.0.non_finite_weight()
    }
}

/// The reason why random weights made on a device cannot be used elsewhere.
pub(super) const NOT_MADE: &str =
    "these random weights are made on a CUDA device, by the crate's own backend alone";

/// The error for such weights.
pub(super) fn not_made() -> Error {
    Error::new(ErrorKind::Settings, NOT_MADE)
}

/// Converts a candle error.
pub(super) fn device_error(source: candle_core::Error) -> Error {
    Error::new(ErrorKind::Device, source.to_string()).with_source(source)
}

/// The error for a sequence that cannot be fed.
pub(super) fn bad_sequence(sequence: SequenceId, reason: &str) -> Error {
    Error::new(
        ErrorKind::Settings,
        format!("sequence {} {reason}", sequence.0),
    )
}

/// RoPE cosines and sines at the given positions, each `[positions, frequencies]`. The angle is an
/// f32 product, as in training (and in Hugging Face transformers); its cosine and sine are exact to
/// f32.
pub(super) fn rotary_tables(config: &DecoderConfig, positions: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let factor = config.rope_attention_factor;
    positions
        .iter()
        .flat_map(|&position| {
            config.rope_frequencies.iter().map(move |&frequency| {
                let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
                (cos as f32 * factor, sin as f32 * factor)
            })
        })
        .unzip()
}
