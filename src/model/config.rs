//! The shape of a decoder: what a configuration file says, in one form for all architectures.

/// The architectures that the decoder runs. They differ by settings of [`DecoderConfig`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 1, 2 and 3, and what shares their shape (DeepSeekMath, SmolLM2).
    Llama,
    /// Mistral, with a sliding window where its configuration has one.
    Mistral,
    /// Qwen2 and Qwen2.5: biases on queries, keys and values.
    Qwen2,
    /// Qwen3: normalised queries and keys.
    Qwen3,
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
    /// Longest sequence that the model was made for, in tokens.
    pub context_length: usize,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f32,
    /// Rotary embedding: the angle per position of each of the `head_dim / 2` pairs, with any
    /// scaling (linear, Llama 3) already applied. Pair `i` rotates the elements `i` and
    /// `i + head_dim / 2` of a head (the "half-split" order); loaders reorder rows of files that
    /// use another order.
    pub rope_frequencies: Vec<f32>,
    /// For each layer, how many of the latest positions (its own included) a token attends to;
    /// `None` for all.
    pub sliding_windows: Vec<Option<usize>>,
}
