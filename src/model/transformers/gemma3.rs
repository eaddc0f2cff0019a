//! Gemma 3, text only.
//!
//! Candle scales queries by the head dimension and ignores `query_pre_attn_scalar`. Its
//! sliding-window masks admit one position too many. They are correct for a prompt that fits into
//! the window and for single tokens, which is how the model is fed here. With more than one KV
//! head, candle fails for all but single tokens (the published text-only models have one). Its KV
//! caches are updated in place.

use candle_core::{Result as CandleResult, Tensor};
use candle_transformers::models::gemma3::{Config, Model};
use serde_json::Value;

use super::gemma2::{capping, refuse_others};
use super::load::Described;
use super::network::{CacheSize, Growth, Network, copies};
use super::settings::{
    Defaults, activation, cut_context, epsilon, refuse_scaling, rope_kind, sizes,
};
use crate::Result;
use crate::model::huggingface::Fields;

/// Candle's model, and how it is fed.
#[derive(Clone)]
struct Gemma3 {
    model: Model,
    /// The largest number of tokens that are fed at once, into an empty cache.
    first: usize,
}

impl Network for Gemma3 {
    fn forward(&mut self, tokens: &Tensor, position: usize) -> CandleResult<Tensor> {
        let count = tokens.dim(1)?;
        let first = match position {
            0 => count.min(self.first),
            _ => 1,
        };
        let mut logits = self.model.forward(&tokens.narrow(1, 0, first)?, position)?;
        for index in first..count {
            logits = self
                .model
                .forward(&tokens.narrow(1, index, 1)?, position + index)?;
        }
        Ok(logits)
    }

    fn fork(&self) -> Option<Box<dyn Network>> {
        None
    }
}

pub(super) fn read(fields: &Fields<'_>) -> Result<Described> {
    let defaults = Defaults {
        vocab_size: 262_208,
        hidden_size: 2_304,
        intermediate_size: 9_216,
        layers: 26,
        heads: 8,
        kv_heads: Some(4),
        head_dim: Some(256),
        positions: 131_072,
        epsilon: 1e-6,
    };
    let mut config = sizes(fields, "Gemma 3", "rms_norm_eps", &defaults)?;
    refuse_others(fields, &config)?;
    cut_context(fields, &mut config, None);
    let positions = config.context_length;
    let pattern = pattern(fields, config.layers)?;
    // Without a window all layers have full attention, which equals a window as wide as the
    // context.
    let window = fields
        .window(Some(4_096))?
        .map_or(positions, |width| width.min(positions));
    let (global, local) = thetas(fields)?;
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
        rope_theta: global,
        rope_local_base_freq: local,
        vocab_size: config.vocab_size,
        final_logit_softcapping: capping(fields, "final_logit_softcapping", None)?,
        attn_logit_softcapping: capping(fields, "attn_logit_softcapping", None)?,
        query_pre_attn_scalar: config.head_dim,
        sliding_window: window,
        sliding_window_pattern: pattern,
        max_position_embeddings: positions,
    };
    let first = match config.kv_heads {
        1 => window,
        _ => 1,
    };
    let numbers = 2 * config.kv_heads * config.head_dim;
    let whole = config.layers / pattern;
    Ok(Described {
        cache: CacheSize::default()
            .with(numbers * whole, Growth::Fixed(positions))
            .with(numbers * (config.layers - whole), Growth::Fixed(window)),
        config,
        build: Box::new(move |weights| {
            let model = Model::new(false, &candle, weights)?;
            Ok(copies(Gemma3 { model, first }))
        }),
    })
}

/// The interval of layers with full attention.
fn pattern(fields: &Fields<'_>, layers: usize) -> Result<usize> {
    if let Some(types) = fields.get("layer_types") {
        let whole = |kind: &Value| match kind.as_str() {
            Some("full_attention") => Some(true),
            Some("sliding_attention") => Some(false),
            _ => None,
        };
        let listed = types.as_array().map(Vec::as_slice).unwrap_or_default();
        let first = listed.iter().position(|kind| whole(kind) == Some(true));
        let pattern = first.map_or(layers + 1, |first| first + 1);
        let regular = |(index, kind)| whole(kind) == Some((index + 1) % pattern == 0);
        if listed.len() != layers || !listed.iter().enumerate().all(regular) {
            return Err(fields.unsupported(
                "layer_types",
                "must say of each layer full_attention or sliding_attention, the former at regular \
                 distances",
            ));
        }
        return Ok(pattern);
    }
    // Newer versions write it with a leading underscore.
    let name = match fields.get("sliding_window_pattern") {
        Some(_) => "sliding_window_pattern",
        None => "_sliding_window_pattern",
    };
    match fields.size_or(name, 6)? {
        0 => Err(fields.error(name, "is 0")),
        pattern => Ok(pattern),
    }
}

/// RoPE's theta in layers with full attention and in those with sliding windows.
fn thetas(fields: &Fields<'_>) -> Result<(f64, f64)> {
    if let Some(scaling) = fields.object("rope_scaling")? {
        refuse_scaling(&scaling, rope_kind(&scaling)?)?;
    }
    let parameters = fields.object("rope_parameters")?;
    let theta = |kind: &str, flat: &str, default: f64| {
        let of_kind = match &parameters {
            Some(parameters) => parameters.object(kind)?,
            None => None,
        };
        let inner = match of_kind {
            Some(of_kind) => {
                refuse_scaling(&of_kind, rope_kind(&of_kind)?)?;
                of_kind.positive("rope_theta")?
            }
            None => None,
        };
        Ok::<_, crate::Error>(match inner {
            Some(theta) => theta,
            None => fields.positive(flat)?.unwrap_or(default),
        })
    };
    Ok((
        theta("full_attention", "rope_theta", 1e6)?,
        theta("sliding_attention", "rope_local_base_freq", 1e4)?,
    ))
}
