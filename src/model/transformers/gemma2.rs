//! Gemma 2.
//!
//! Candle scales queries by the head dimension and ignores `query_pre_attn_scalar`, so that the
//! model with 27 billion weights is refused. Candle applies sliding windows to all layers. The
//! context is therefore limited to the window, within which windows have no effect.

use candle_transformers::models::gemma2::{Config, Model};

use super::load::Described;
use super::network::{Growth, copied_network};
use super::settings::{
    Defaults, activation, cut_context, epsilon, must_be, must_equal, sizes, whole_rope,
};
use crate::Result;
use crate::model::config::DecoderConfig;
use crate::model::huggingface::Fields;

copied_network!(Model);

pub(super) fn read(fields: &Fields<'_>) -> Result<Described> {
    let defaults = Defaults {
        vocab_size: 256_000,
        hidden_size: 2_304,
        intermediate_size: 9_216,
        layers: 26,
        heads: 8,
        kv_heads: Some(4),
        head_dim: Some(256),
        positions: 8_192,
        epsilon: 1e-6,
    };
    let mut config = sizes(fields, "Gemma 2", "rms_norm_eps", &defaults)?;
    refuse_others(fields, &config)?;
    cut_context(fields, &mut config, fields.window(Some(4_096))?);
    let candle = Config {
        attention_bias: fields.flag_or("attention_bias", false)?,
        head_dim: config.head_dim,
        hidden_activation: activation(fields, "hidden_activation", "gelu_pytorch_tanh")?,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_attention_heads: config.heads,
        num_hidden_layers: config.layers,
        num_key_value_heads: config.kv_heads,
        rms_norm_eps: epsilon(fields, "rms_norm_eps", defaults.epsilon)?,
        rope_theta: whole_rope(fields, 10_000.0)?,
        vocab_size: config.vocab_size,
        final_logit_softcapping: capping(fields, "final_logit_softcapping", Some(30.0))?,
        attn_logit_softcapping: capping(fields, "attn_logit_softcapping", Some(50.0))?,
        query_pre_attn_scalar: config.head_dim,
        sliding_window: None,
        max_position_embeddings: config.context_length,
    };
    Ok(Described::new(config, Growth::Exact, move |weights| {
        Model::new(false, &candle, weights)
    }))
}

/// Refuses settings of which candle's models of both generations support only one value.
pub(super) fn refuse_others(fields: &Fields<'_>, config: &DecoderConfig) -> Result<()> {
    let scalar = fields.size_or("query_pre_attn_scalar", 256)?;
    must_equal(fields, "query_pre_attn_scalar", scalar, config.head_dim)?;
    must_be(fields, "tie_word_embeddings", true, true)?;
    must_be(fields, "use_bidirectional_attention", false, false)
}

/// A soft cap of logits: `default` if the field is missing, `None` if it is null.
pub(super) fn capping(
    fields: &Fields<'_>,
    name: &str,
    default: Option<f64>,
) -> Result<Option<f64>> {
    match fields.map.contains_key(name) {
        true => fields.positive(name),
        false => Ok(default),
    }
}
