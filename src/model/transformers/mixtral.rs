//! Mixtral. The context ends with the sliding window, where there is one.

use candle_core::{Result as CandleResult, Tensor};
use candle_transformers::models::mixtral::{Config, Model};
use serde_json::json;

use super::load::Described;
use super::network::{CacheSize, Growth, Network, copies};
use super::settings::{
    Defaults, activation, activation_name, cut_context, deserialised, epsilon, must_be, must_equal,
    sizes, sliding_window, whole_rope,
};
use crate::Result;
use crate::model::huggingface::Fields;

/// More experts than any model has are a mistake.
const MOST_EXPERTS: usize = 1 << 12;

impl Network for Model {
    fn forward(&mut self, tokens: &Tensor, position: usize) -> CandleResult<Tensor> {
        Model::forward(self, tokens, position)
    }

    /// The cache grows by concatenation.
    fn fork(&self) -> Option<Box<dyn Network>> {
        Some(Box::new(self.clone()))
    }
}

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
    let shared = config.hidden_size / config.heads;
    must_equal(fields, "head_dim", config.head_dim, shared)?;
    must_be(fields, "tie_word_embeddings", false, false)?;
    let (chosen, experts) = experts(fields, "num_local_experts", 8, Some(2))?;
    cut_context(fields, &mut config, sliding_window(fields, None)?);
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
            // Wide enough to be none.
            "sliding_window": config.context_length,
            "num_experts_per_tok": chosen,
            "num_local_experts": experts,
            "use_flash_attn": false,
        }),
    )?;
    Ok(Described {
        cache: CacheSize::default().with(
            2 * config.layers * config.kv_heads * config.head_dim,
            Growth::Exact,
        ),
        config,
        build: Box::new(move |weights| Ok(copies(Model::new(&candle, weights)?))),
    })
}

/// How many experts compute each token, and how many there are.
pub(super) fn experts(
    fields: &Fields<'_>,
    all: &str,
    default: usize,
    chosen: Option<usize>,
) -> Result<(usize, usize)> {
    const CHOSEN: &str = "num_experts_per_tok";
    let experts = fields.size_or(all, default)?;
    if experts == 0 || experts > MOST_EXPERTS {
        let reason = format!("is {experts}; it must be 1 to {MOST_EXPERTS}");
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
