//! A decoder's weights in memory, before the engine repacks them.

use std::sync::Arc;

use candle_core::Tensor;
use candle_core::quantized::QTensor;

/// A matrix `[out, in]` of a linear layer `y = x · Wᵀ`.
#[derive(Debug, Clone)]
pub enum Matrix {
    /// One tensor `[out, in]` of a floating-point type.
    Dense(Tensor),
    /// Quantized blocks as in the file: parts `[outᵢ, in]` stacked along `out`. Each part has its
    /// own type, because a GGUF file may store the joined projections differently.
    Quantized(Vec<Arc<QTensor>>),
    /// Random numbers that the device generates when the engine repacks the weights: parts
    /// `[outᵢ, in]` stacked along `out`. Only models for the crate's CUDA backend have these.
    Random(Vec<RandomPart>),
}

/// A matrix of normally distributed random numbers that are not generated yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomPart {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
    /// The key of the random numbers. Each random block gives two numbers (Box-Muller).
    pub key: u64,
    /// Their standard deviation.
    pub deviation: f32,
}

/// One linear layer.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Matrix,
    /// `[out]`, if the architecture has one.
    pub bias: Option<Tensor>,
}

/// One decoder layer.
#[derive(Debug, Clone)]
pub struct LayerWeights {
    /// RMSNorm before attention, `[hidden]`.
    pub attention_norm: Tensor,
    /// Q, K and V joined: `[(heads + 2 · kv_heads) · head_dim, hidden]`.
    pub qkv: Linear,
    /// RMSNorm over each query head, `[head_dim]` (Qwen3).
    pub query_norm: Option<Tensor>,
    /// RMSNorm over each key head, `[head_dim]` (Qwen3).
    pub key_norm: Option<Tensor>,
    /// `[hidden, heads · head_dim]`.
    pub attention_output: Linear,
    /// RMSNorm before the feed-forward layer, `[hidden]`.
    pub ffn_norm: Tensor,
    /// Gate and up projections joined, gate first: `[2 · intermediate, hidden]`.
    pub gate_up: Linear,
    /// `[hidden, intermediate]`.
    pub down: Linear,
}

/// All weights of a decoder.
#[derive(Debug, Clone)]
pub struct Weights {
    /// Token embedding, `[vocab, hidden]`.
    pub embedding: Matrix,
    /// The layers, in order.
    pub layers: Vec<LayerWeights>,
    /// RMSNorm before the output head, `[hidden]`.
    pub output_norm: Tensor,
    /// Output head, `[vocab, hidden]`. Shares the embedding's storage if they are tied.
    pub head: Matrix,
}

impl Weights {
    /// Empty weights.
    #[cfg(feature = "transformers")]
    pub(super) fn none(device: &candle_core::Device) -> crate::Result<Weights> {
        use crate::{Error, ErrorKind};
        let norm = Tensor::zeros(0, candle_core::DType::F32, device);
        let failed = |error: candle_core::Error| Error::new(ErrorKind::Device, error.to_string());
        Ok(Weights {
            embedding: Matrix::Quantized(Vec::new()),
            layers: Vec::new(),
            output_norm: norm.map_err(failed)?,
            head: Matrix::Quantized(Vec::new()),
        })
    }

    /// Takes the weights out and leaves none, so that an engine that repacks them need not hold
    /// both.
    pub(crate) fn take(&mut self) -> Weights {
        let none = || Matrix::Quantized(Vec::new());
        Weights {
            embedding: std::mem::replace(&mut self.embedding, none()),
            layers: std::mem::take(&mut self.layers),
            output_norm: self.output_norm.clone(),
            head: std::mem::replace(&mut self.head, none()),
        }
    }
}
