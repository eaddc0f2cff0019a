//! The shape of a decoder, in one form for all architectures.

use crate::{Error, ErrorKind, Result};

/// A supported architecture. Those of the crate's own decoder differ only in settings of
/// [`DecoderConfig`]; candle-transformers computes the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 1, 2 and 3, and models with their shape (DeepSeekMath, SmolLM2).
    Llama,
    /// Mistral, with a sliding window if its configuration has one.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on Q, K and V.
    Qwen2,
    /// Qwen3: normalized queries and keys.
    Qwen3,
    /// An architecture that candle-transformers computes (feature `transformers`), by name. In its
    /// [`DecoderConfig`], `rope_frequencies` and `sliding_windows` are empty.
    Transformers(&'static str),
}

/// A decoder's shape and constants.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderConfig {
    /// Which architecture this is.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of query heads.
    pub heads: usize,
    /// Number of key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head (not always `hidden_size / heads`).
    pub head_dim: usize,
    /// Rows of the embedding and of the output head.
    pub vocab_size: usize,
    /// Longest sequence that the model supports, in tokens.
    pub context_length: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f32,
    /// RoPE: the angle per position of each of the `head_dim / 2` pairs, with any scaling (linear,
    /// Llama 3, YaRN) already applied. Pair `i` rotates the elements `i` and `i + head_dim / 2` of
    /// a head ("half-split" order). Loaders reorder the rows of files with another order.
    pub rope_frequencies: Vec<f32>,
    /// The factor of RoPE's cosines and sines: 1 except for YaRN.
    pub rope_attention_factor: f32,
    /// For each layer, the sliding window: the number of latest positions (including its own) that
    /// a token attends to. `None` for all.
    pub sliding_windows: Vec<Option<usize>>,
}

/// Upper bounds of fields: far above every existing model, and small enough that no product of a
/// tensor's dimensions overflows.
pub(in crate::model) const MAX_WIDTH: usize = 1 << 20;
const MAX_LAYERS: usize = 1 << 12;
const MAX_HEADS: usize = 1 << 12;
const MAX_HEAD_DIM: usize = 1 << 12;
pub(super) const MAX_VOCAB: usize = 1 << 24;
const MAX_CONTEXT: usize = 1 << 24;

impl Architecture {
    /// The supported architectures, for messages.
    pub(super) const SUPPORTED: &'static str =
        "Llama (1, 2, 3, and DeepSeekMath, SmolLM2), Mistral, Qwen2 / Qwen2.5 and Qwen3";

    /// The architecture's name.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "Llama",
            Architecture::Mistral => "Mistral",
            Architecture::Qwen2 => "Qwen2",
            Architecture::Qwen3 => "Qwen3",
            Architecture::Transformers(name) => name,
        }
    }
}

impl DecoderConfig {
    /// Checks that the values are possible and consistent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Model`](crate::ErrorKind::Model), naming the field and its value;
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for an architecture that
    /// candle-transformers computes.
    pub fn validate(&self) -> Result<()> {
        if let Architecture::Transformers(name) = self.architecture {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{name}: the crate's own decoder does not run this architecture"),
            ));
        }
        self.validate_sizes()?;
        if self.rope_frequencies.len() != self.head_dim / 2 {
            return Err(bad(format!(
                "{} rotary frequencies for a head of {}",
                self.rope_frequencies.len(),
                self.head_dim
            )));
        }
        let factor = self.rope_attention_factor;
        if !(factor.is_finite() && factor > 0.0) {
            return Err(bad(format!(
                "rope_attention_factor is {factor}; it must be above 0"
            )));
        }
        // The angles of all positions must be finite.
        let last = self.context_length as f32;
        let mut frequencies = self.rope_frequencies.iter();
        if let Some(frequency) = frequencies.find(|&&f| !(f * last).is_finite()) {
            return Err(bad(format!(
                "a rotary frequency is {frequency}, which is too large for {} positions",
                self.context_length
            )));
        }
        if self.sliding_windows.len() != self.layers {
            return Err(bad(format!(
                "{} sliding windows for {} layers",
                self.sliding_windows.len(),
                self.layers
            )));
        }
        if self.sliding_windows.contains(&Some(0)) {
            return Err(bad("a sliding window of 0 positions".to_owned()));
        }
        Ok(())
    }

    /// Checks the sizes that all architectures have.
    pub(super) fn validate_sizes(&self) -> Result<()> {
        let bounded = [
            ("hidden_size", self.hidden_size, MAX_WIDTH),
            ("intermediate_size", self.intermediate_size, MAX_WIDTH),
            ("layers", self.layers, MAX_LAYERS),
            ("heads", self.heads, MAX_HEADS),
            ("kv_heads", self.kv_heads, MAX_HEADS),
            ("head_dim", self.head_dim, MAX_HEAD_DIM),
            ("vocab_size", self.vocab_size, MAX_VOCAB),
            ("context_length", self.context_length, MAX_CONTEXT),
        ];
        for (field, value, most) in bounded {
            if value == 0 || value > most {
                return Err(bad(format!("{field} is {value}; it must be 1 to {most}")));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(bad(format!(
                "{} query heads cannot share {} key and value heads evenly",
                self.heads, self.kv_heads
            )));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(bad(format!(
                "head_dim is {}; rotary embedding needs an even number",
                self.head_dim
            )));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            return Err(bad(format!(
                "rms_norm_eps is {}; it must lie between 0 and 1",
                self.rms_norm_eps
            )));
        }
        Ok(())
    }

    /// Rows of the joined QKV projection: `(heads + 2 · kv_heads) · head_dim`.
    pub fn qkv_size(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }
}

fn bad(detail: String) -> Error {
    Error::new(ErrorKind::Model, detail)
}
