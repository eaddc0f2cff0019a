//! Phi-3 and Phi-4, with unscaled RoPE only: candle multiplies frequencies by the factors of
//! `longrope` instead of dividing by them.
//!
//! Candle has no sliding windows: the context is limited to the window.

use candle_transformers::models::phi3::{Config, Model};

use super::load::Described;
use super::network::{Growth, copied_network};
use super::settings::{
    Defaults, activation, cut_context, epsilon, heads_share_width, plain_rope, rotated, sizes,
};
use crate::Result;
use crate::model::huggingface::Fields;

copied_network!(Model);

pub(super) fn read(fields: &Fields<'_>) -> Result<Described> {
    let defaults = Defaults {
        vocab_size: 32_064,
        hidden_size: 3_072,
        intermediate_size: 8_192,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        positions: 4_096,
        epsilon: 1e-5,
    };
    let mut config = sizes(fields, "Phi-3", "rms_norm_eps", &defaults)?;
    heads_share_width(fields, &config)?;
    cut_context(fields, &mut config, fields.window(None)?);
    let rope = plain_rope(fields, 10_000.0, 1.0)?;
    rotated(fields, rope.part, config.head_dim)?;
    let candle = Config {
        vocab_size: config.vocab_size,
        hidden_act: activation(fields, "hidden_act", "silu")?,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.layers,
        num_attention_heads: config.heads,
        num_key_value_heads: config.kv_heads,
        rms_norm_eps: epsilon(fields, "rms_norm_eps", defaults.epsilon)?,
        rope_theta: rope.theta,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: config.context_length,
        original_max_position_embeddings: None,
        partial_rotary_factor: (rope.part != 1.0).then_some(rope.part),
        tie_word_embeddings: fields.flag_or("tie_word_embeddings", false)?,
    };
    Ok(Described::new(config, Growth::Exact, move |weights| {
        Model::new(&candle, weights)
    }))
}
