//! Mixtral. The context is limited to the sliding window, if there is one.

use candle_transformers::models::mixtral::{Config, Model};
use serde_json::json;

use super::load::Described;
use super::network::{Growth, copied_network};
use super::settings::{
    Defaults, activation, activation_name, cut_context, deserialised, epsilon, heads_share_width,
    must_be, sizes, whole_rope,
};
use crate::Result;
use crate::model::huggingface::Fields;

/// The largest number of experts; more than any model has.
const MAX_EXPERTS: usize = 1 << 12;

copied_network!(Model);

pub(super) fn read(fields: &Fields<'_>) -> Result<Described> {
    let defaults = Defaults {
        vocab_size: 32_000,
        hidden_size: 4_096,
        intermediate_size: 14_336,
        layers: 32,
        heads: 32,
        kv_heads: Some(8),
        head_dim: None,
        positions: 131_072,
        epsilon: 1e-5,
    };
    let mut config = sizes(fields, "Mixtral", "rms_norm_eps", &defaults)?;
    heads_share_width(fields, &config)?;
    must_be(fields, "tie_word_embeddings", false, false)?;
    let (chosen, experts) = experts(fields, "num_local_experts", 8, Some(2))?;
    cut_context(fields, &mut config, fields.window(None)?);
    let candle: Config = deserialised(
        fields,
        json!({
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads,
            "hidden_act": activation_name(activation(fields, "hidden_act", "silu")?),
            "max_position_embeddings": config.context_length,
            "rms_norm_eps": epsilon(fields, "rms_norm_eps", defaults.epsilon)?,
            "rope_theta": whole_rope(fields, 1e6)?,
            // Wide enough to have no effect.
            "sliding_window": config.context_length,
            "num_experts_per_tok": chosen,
            "num_local_experts": experts,
            "use_flash_attn": false,
        }),
    )?;
    Ok(Described::new(config, Growth::Exact, move |weights| {
        Model::new(&candle, weights)
    }))
}

/// The number of experts per token, and the number of experts.
pub(super) fn experts(
    fields: &Fields<'_>,
    all: &str,
    default: usize,
    chosen: Option<usize>,
) -> Result<(usize, usize)> {
    const CHOSEN: &str = "num_experts_per_tok";
    let experts = fields.size_or(all, default)?;
    if experts == 0 || experts > MAX_EXPERTS {
        let reason = format!("is {experts}; it must be 1 to {MAX_EXPERTS}");
        return Err(fields.error(all, reason));
    }
    let missing = || fields.error(CHOSEN, "is missing");
    let chosen = fields.size(CHOSEN)?.or(chosen).ok_or_else(missing)?;
    if chosen == 0 || chosen > experts {
        let reason = format!("is {chosen}; it must be 1 to {experts}, as many as there are");
        return Err(fields.error(CHOSEN, reason));
    }
    Ok((chosen, experts))
}
