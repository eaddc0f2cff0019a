//! The decoder being trained: a Llama of fixed shape, computed with candle's autograd.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor, Var};
use dart_math::Philox;

use crate::ops::{self, Order, Rotation};

pub(crate) const WIDTH: usize = 128;
pub(crate) const INNER: usize = 336;
pub(crate) const LAYERS: usize = 5;
pub(crate) const HEADS: usize = 4;
pub(crate) const HEAD_DIM: usize = WIDTH / HEADS;
pub(crate) const CONTEXT: usize = 288;
pub(crate) const EPSILON: f32 = 1e-5;
pub(crate) const ROPE_BASE: f64 = 10_000.0;

/// The matrices of a layer, `[in, out]`, so that `x · W` needs no transposition.
struct Layer {
    query: Var,
    key: Var,
    value: Var,
    output: Var,
    /// Gate and up projections concatenated, `[WIDTH, 2 · INNER]`.
    gate_up: Var,
    down: Var,
}

/// The weights. Norms have no gains (they are saved as ones), because each is followed by a matrix that can
/// absorb them.
pub(crate) struct Decoder {
    /// `[vocabulary, WIDTH]`; also the output head.
    embedding: Var,
    layers: Vec<Layer>,
    rotation: Rotation,
}

/// The sequences of one shard of a batch, padded on the right to a common length.
pub(crate) struct Batch {
    /// The number of sequences.
    pub(crate) sequences: usize,
    /// Token ids, `[sequences · length]`.
    pub(crate) tokens: Tensor,
    /// The rows of `tokens` whose next token counts, and that token.
    pub(crate) rows: Tensor,
    pub(crate) targets: Tensor,
}

impl Decoder {
    /// Draws normally distributed weights, a pure function of the seed.
    pub(crate) fn random(vocabulary: usize, seed: u64) -> Result<Self> {
        let mut stream = 0;
        let mut normal = |rows: usize, columns: usize, deviation: f64| {
            stream += 1;
            let random = Philox::new(dart_math::trial_seed(seed, "abacus weights", stream));
            let values: Vec<f32> = (0..rows * columns)
                .map(|n| {
                    // The Box-Muller transform.
                    let radius = (-2.0 * (1.0 - random.uniform(2 * n as u64)).ln()).sqrt();
                    let angle = std::f64::consts::TAU * random.uniform(2 * n as u64 + 1);
                    (radius * angle.cos() * deviation) as f32
                })
                .collect();
            Var::from_vec(values, (rows, columns), &Device::Cpu)
        };
        let inward = (WIDTH as f64).powf(-0.5);
        // Additions to the residual stream are scaled down by the number of layers.
        let outward = inward / (2.0 * LAYERS as f64).sqrt();
        let embedding = normal(vocabulary, WIDTH, 0.5 * inward)?;
        let mut layers = Vec::with_capacity(LAYERS);
        for _ in 0..LAYERS {
            layers.push(Layer {
                query: normal(WIDTH, WIDTH, inward)?,
                key: normal(WIDTH, WIDTH, inward)?,
                value: normal(WIDTH, WIDTH, inward)?,
                output: normal(WIDTH, WIDTH, outward)?,
                gate_up: normal(WIDTH, 2 * INNER, inward)?,
                down: normal(INNER, WIDTH, outward)?,
            });
        }
        Ok(Decoder {
            embedding,
            layers,
            rotation: Rotation::new(CONTEXT, HEAD_DIM, ROPE_BASE),
        })
    }

    /// Loads the weights of a file in the format of [`named`](Decoder::named).
    pub(crate) fn load(&self, file: &Path) -> Result<()> {
        let tensors = candle_core::safetensors::load(file, &Device::Cpu)?;
        let tensor = |name: &str| match tensors.get(name) {
            Some(tensor) => tensor.to_dtype(DType::F32),
            None => candle_core::bail!("{}: no {name}", file.display()),
        };
        self.embedding.set(&tensor("model.embed_tokens.weight")?)?;
        for (number, layer) in self.layers.iter().enumerate() {
            let transposed = |name: &str| {
                let tensor = tensor(&format!("model.layers.{number}.{name}.weight"))?;
                tensor.t()?.contiguous()
            };
            layer.query.set(&transposed("self_attn.q_proj")?)?;
            layer.key.set(&transposed("self_attn.k_proj")?)?;
            layer.value.set(&transposed("self_attn.v_proj")?)?;
            layer.output.set(&transposed("self_attn.o_proj")?)?;
            let gate_up = [transposed("mlp.gate_proj")?, transposed("mlp.up_proj")?];
            layer.gate_up.set(&Tensor::cat(&gate_up, 1)?)?;
            layer.down.set(&transposed("mlp.down_proj")?)?;
        }
        Ok(())
    }

    /// Returns every weight, in a fixed order.
    pub(crate) fn variables(&self) -> Vec<Var> {
        let mut variables = vec![self.embedding.clone()];
        for layer in &self.layers {
            variables.extend(
                [
                    &layer.query,
                    &layer.key,
                    &layer.value,
                    &layer.output,
                    &layer.gate_up,
                    &layer.down,
                ]
                .map(Var::clone),
            );
        }
        variables
    }

    /// Returns the log-probabilities of the next token at the batch's rows, `[rows, vocabulary]`.
    pub(crate) fn forward(&self, batch: &Batch) -> Result<Tensor> {
        let scale = (HEAD_DIM as f32).powf(-0.5);
        let rotation = Some(&self.rotation);
        let heads =
            |x: &Tensor, order, rotation| ops::heads(x, batch.sequences, HEADS, order, rotation);
        let mut x = self.embedding.index_select(&batch.tokens, 0)?;
        for layer in &self.layers {
            let h = ops::normalize(&x, EPSILON)?;
            let query = heads(&h.matmul(&layer.query)?, Order::Rows, rotation)?;
            let key = heads(&h.matmul(&layer.key)?, Order::Columns, rotation)?;
            let value = heads(&h.matmul(&layer.value)?, Order::Rows, None)?;
            let weights = ops::causal_softmax(&query.matmul(&key)?, scale)?;
            let attended = ops::tokens(&weights.matmul(&value)?)?;
            x = (x + attended.matmul(&layer.output)?)?;
            let h = ops::normalize(&x, EPSILON)?.matmul(&layer.gate_up)?;
            x = (x + ops::gated(&h)?.matmul(&layer.down)?)?;
        }
        let x = ops::normalize(&x.index_select(&batch.rows, 0)?, EPSILON)?;
        candle_nn::ops::log_softmax(&x.matmul(&self.embedding.t()?)?, 1)
    }

    /// Returns the weights with the names and orientation of Hugging Face's Llama.
    pub(crate) fn named(&self) -> Result<Vec<(String, Tensor)>> {
        let transposed = |var: &Tensor| var.t()?.contiguous();
        let ones = Tensor::ones(WIDTH, DType::F32, &Device::Cpu)?;
        let mut named = vec![
            (
                "model.embed_tokens.weight".to_owned(),
                self.embedding.as_tensor().clone(),
            ),
            ("model.norm.weight".to_owned(), ones.clone()),
        ];
        for (number, layer) in self.layers.iter().enumerate() {
            let gate = layer.gate_up.narrow(1, 0, INNER)?;
            let up = layer.gate_up.narrow(1, INNER, INNER)?;
            let tensors = [
                ("input_layernorm", ones.clone()),
                ("post_attention_layernorm", ones.clone()),
                ("self_attn.q_proj", transposed(&layer.query)?),
                ("self_attn.k_proj", transposed(&layer.key)?),
                ("self_attn.v_proj", transposed(&layer.value)?),
                ("self_attn.o_proj", transposed(&layer.output)?),
                ("mlp.gate_proj", transposed(&gate)?),
                ("mlp.up_proj", transposed(&up)?),
                ("mlp.down_proj", transposed(&layer.down)?),
            ];
            for (name, tensor) in tensors {
                named.push((format!("model.layers.{number}.{name}.weight"), tensor));
            }
        }
        Ok(named)
    }
}
