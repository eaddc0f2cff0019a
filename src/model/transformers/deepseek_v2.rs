//! DeepSeek-V2 with the Lite model's routing only: candle computes the larger model's
//! `group_limited_greedy` differently.
//!
//! Candle's model cannot be copied, so that each sequence gets its own instance with shared
//! tensors.

use candle_core::{Result as CandleResult, Tensor};
use candle_transformers::models::deepseek2::{DeepSeekV2, DeepSeekV2Config};
use serde_json::{Value, json};

use super::load::Described;
use super::mixtral::experts;
use super::network::{CacheSize, Fresh, Growth, Network};
use super::settings::{
    Defaults, activation, activation_name, cut_context, deserialised, epsilon, must_be, must_equal,
    rope_parameters, sizes, whole_rope,
};
use crate::Result;
use crate::model::huggingface::Fields;

impl Network for DeepSeekV2 {
    fn forward(&mut self, tokens: &Tensor, position: usize) -> CandleResult<Tensor> {
        DeepSeekV2::forward(self, tokens, position)
    }

    fn fork(&self) -> Option<Box<dyn Network>> {
        None
    }
}

/// The epsilon of the norms of compressed Q, K and V, which the configuration does
/// not affect. Candle uses the configuration's epsilon for these norms.
const EPSILON: f64 = 1e-6;

/// An upper bound of the width of any part of a head.
const MAX_WIDTH: usize = 1 << 16;

pub(super) fn read(fields: &Fields<'_>) -> Result<Described> {
    let defaults = Defaults {
        vocab_size: 102_400,
        hidden_size: 4_096,
        intermediate_size: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_dim: None,
        positions: 2_048,
        epsilon: EPSILON,
    };
    let mut config = sizes(fields, "DeepSeek-V2", "rms_norm_eps", &defaults)?;
    must_equal(fields, "num_key_value_heads", config.kv_heads, config.heads)?;
    must_be(fields, "mlp_bias", false, false)?;
    must_be(fields, "norm_topk_prob", false, false)?;
    let layer_frequency = fields.size_or("moe_layer_freq", 1)?;
    must_equal(fields, "moe_layer_freq", layer_frequency, 1)?;
    for (name, wanted) in [("topk_method", "greedy"), ("scoring_func", "softmax")] {
        let found = fields.text(name)?.unwrap_or(wanted);
        if found != wanted {
            let found = found.escape_debug();
            return Err(fields.unsupported(name, format!("is `{found}`; supported is {wanted}")));
        }
    }
    let epsilon = epsilon(fields, "rms_norm_eps", EPSILON)?;
    if epsilon != EPSILON {
        return Err(fields.unsupported(
            "rms_norm_eps",
            format!("is {epsilon}; candle-transformers computes rightly with {EPSILON} alone"),
        ));
    }
    let width = |name: &str, default: usize| match fields.size_or(name, default)? {
        width if width == 0 || width > MAX_WIDTH => {
            Err(fields.error(name, format!("is {width}; it must be 1 to {MAX_WIDTH}")))
        }
        width => Ok(width),
    };
    let (plain, rotated) = (
        width("qk_nope_head_dim", 128)?,
        width("qk_rope_head_dim", 64)?,
    );
    let values = width("v_head_dim", 128)?;
    if !rotated.is_multiple_of(2) {
        return Err(fields.error("qk_rope_head_dim", format!("is {rotated}, an odd number")));
    }
    // Queries and keys have both parts. The file's `head_dim` is unused.
    config.head_dim = plain + rotated;
    let compressed_queries = match fields.map.contains_key("q_lora_rank") {
        true if fields.get("q_lora_rank").is_none() => None,
        _ => Some(width("q_lora_rank", 1_536)?),
    };
    let (chosen, experts) = experts(fields, "n_routed_experts", 64, None)?;
    cut_context(fields, &mut config, None);
    let (theta, scaling) = rope(fields, config.context_length)?;
    let candle: DeepSeekV2Config = deserialised(
        fields,
        json!({
            "vocab_size": config.vocab_size,
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "moe_intermediate_size": width("moe_intermediate_size", 1_407)?,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "n_shared_experts": width("n_shared_experts", 2)?,
            "n_routed_experts": experts,
            "routed_scaling_factor": fields.number("routed_scaling_factor")?.unwrap_or(1.0),
            "num_experts_per_tok": chosen,
            "first_k_dense_replace": fields.size_or("first_k_dense_replace", 0)?,
            "hidden_act": activation_name(activation(fields, "hidden_act", "silu")?),
            "max_position_embeddings": config.context_length,
            "rms_norm_eps": epsilon,
            "tie_word_embeddings": fields.flag_or("tie_word_embeddings", false)?,
            "rope_theta": theta,
            "rope_scaling": scaling,
            "attention_bias": fields.flag_or("attention_bias", false)?,
            "q_lora_rank": compressed_queries,
            "qk_rope_head_dim": rotated,
            "kv_lora_rank": width("kv_lora_rank", 512)?,
            "v_head_dim": values,
            "qk_nope_head_dim": plain,
            // Only used by `group_limited_greedy`.
            "n_group": 1,
            "topk_group": 1,
        }),
    )?;
    Ok(Described {
        cache: CacheSize::default().with(
            config.layers * config.heads * (plain + rotated + values),
            Growth::Exact,
        ),
        config,
        build: Box::new(move |weights| {
            // Requests, and thereby keeps, all tensors now.
            DeepSeekV2::new(&candle, weights.clone())?;
            let fresh: Fresh = Box::new(move || {
                let network = DeepSeekV2::new(&candle, weights.clone())?;
                Ok(Box::new(network))
            });
            Ok(fresh)
        }),
    })
}

/// RoPE's theta, and candle's form of its scaling: none or YaRN.
fn rope(fields: &Fields<'_>, context_length: usize) -> Result<(f64, Value)> {
    let yarn = rope_parameters(fields)?.filter(|(_, kind)| kind == "yarn");
    let Some((parameters, _)) = yarn else {
        return Ok((whole_rope(fields, 10_000.0)?, Value::Null));
    };
    for holder in [fields, &parameters] {
        if let Some(part) = holder.number("partial_rotary_factor")?
            && part != 1.0
        {
            return Err(holder.unsupported(
                "partial_rotary_factor",
                format!("is {part}; candle-transformers rotates all of `qk_rope_head_dim`"),
            ));
        }
    }
    let theta = match parameters.positive("rope_theta")? {
        Some(theta) => theta,
        None => fields.positive("rope_theta")?.unwrap_or(10_000.0),
    };
    if parameters.get("attention_factor").is_some() {
        let reason = "is set; candle-transformers takes it from `mscale` and `mscale_all_dim`";
        return Err(parameters.unsupported("attention_factor", reason));
    }
    must_be(&parameters, "truncate", true, true)?;
    // With both missing, the angles' sines and cosines are scaled and the scores are not.
    let (scale, scale_all) = match (
        parameters.positive("mscale")?,
        parameters.positive("mscale_all_dim")?,
    ) {
        (Some(scale), Some(all)) => (scale, all),
        (None, None) => (1.0, 0.0),
        _ => {
            let reason = "and `mscale_all_dim` must both be there or both be missing";
            return Err(parameters.unsupported("mscale", reason));
        }
    };
    let original = parameters.size_or("original_max_position_embeddings", context_length)?;
    let factor = parameters.required("factor")?;
    let (fast, slow) = (
        parameters.positive("beta_fast")?.unwrap_or(32.0),
        parameters.positive("beta_slow")?.unwrap_or(1.0),
    );
    if original == 0 || slow >= fast {
        return Err(parameters.error(
            "beta_fast",
            "is not above `beta_slow`, or there is no context",
        ));
    }
    Ok((
        theta,
        json!({
            "type": "yarn",
            "original_max_position_embeddings": original,
            "beta_fast": fast,
            "beta_slow": slow,
            "mscale": scale,
            "mscale_all_dim": scale_all,
            "factor": factor,
        }),
    ))
}
