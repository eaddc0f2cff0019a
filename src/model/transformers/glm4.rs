//! GLM-4 in the form that transformers reads (`Glm4ForCausalLM`). Candle updates its KV caches in
//! place.

use candle_core::{Result as CandleResult, Tensor};
use candle_transformers::models::glm4_new::{Config, ModelForCausalLM};

use super::load::Described;
use super::network::{Growth, Network};
use super::settings::{
    Defaults, activation, cut_context, epsilon, must_equal, plain_rope, rotated, sizes,
};
use crate::Result;
use crate::model::huggingface::Fields;

/// The number of positions by which candle's caches grow.
const GROWTH: usize = 512;

impl Network for ModelForCausalLM {
    fn forward(&mut self, tokens: &Tensor, position: usize) -> CandleResult<Tensor> {
        ModelForCausalLM::forward(self, tokens, position)
    }

    fn fork(&self) -> Option<Box<dyn Network>> {
        None
    }
}

pub(super) fn read(fields: &Fields<'_>) -> Result<Described> {
    let defaults = Defaults {
        vocab_size: 151_552,
        hidden_size: 4_096,
        intermediate_size: 13_696,
        layers: 40,
        heads: 32,
        kv_heads: Some(2),
        head_dim: Some(128),
        positions: 131_072,
        epsilon: 1.5625e-7,
    };
    let mut config = sizes(fields, "GLM-4", "rms_norm_eps", &defaults)?;
    cut_context(fields, &mut config, None);
    let rope = plain_rope(fields, 10_000.0, 0.5)?;
    let rotated = rotated(fields, rope.part, config.head_dim)?;
    // Candle rounds the part to f32 before it multiplies.
    let candle_rotated = (rope.part as f32 * config.head_dim as f32) as usize;
    must_equal(fields, "partial_rotary_factor", rotated, candle_rotated)?;
    let candle = Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        head_dim: Some(config.head_dim),
        partial_rotary_factor: Some(rope.part as f32),
        attention_bias: Some(fields.flag_or("attention_bias", true)?),
        num_key_value_heads: config.kv_heads,
        max_position_embeddings: config.context_length,
        sliding_window: None,
        tie_word_embeddings: fields.flag_or("tie_word_embeddings", false)?,
        rope_theta: rope.theta,
        rms_norm_eps: epsilon(fields, "rms_norm_eps", defaults.epsilon)?,
        hidden_act: activation(fields, "hidden_act", "silu")?,
        eos_token_id: None,
    };
    Ok(Described::new(
        config,
        Growth::Steps(GROWTH),
        move |weights| ModelForCausalLM::new(&candle, weights),
    ))
}
