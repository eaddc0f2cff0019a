//! Settings that the configurations of these architectures share.

use candle_nn::Activation;
use serde_json::{Value, json};

use crate::Result;
use crate::model::config::{Architecture, DecoderConfig};
use crate::model::huggingface::{self, Fields, shared_head_dim};

/// The largest context; longer ones are cut. Candle's tables of angles and some of its caches
/// allocate memory for the whole context, even if it is not used.
const MAX_POSITIONS: usize = 8_192;

/// The defaults of transformers for missing fields.
pub(super) struct Defaults {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// `None`: as many as query heads.
    pub(super) kv_heads: Option<usize>,
    /// `None`: heads divide the hidden size.
    pub(super) head_dim: Option<usize>,
    pub(super) positions: usize,
    pub(super) epsilon: f64,
}

/// Reads the sizes that all architectures have. Candle handles windows and RoPE frequencies.
pub(super) fn sizes(
    fields: &Fields<'_>,
    architecture: &'static str,
    epsilon: &str,
    defaults: &Defaults,
) -> Result<DecoderConfig> {
    let size = |name: &str, default: usize| {
        let size = fields.size_or(name, default)?;
        match size {
            0 => Err(fields.error(name, "is 0")),
            // Exact bounds are checked later; here the error can name the file's field.
            _ if size > 1 << 24 => {
                Err(fields.error(name, format!("is {size}, which is too large")))
            }
            _ => Ok(size),
        }
    };
    let hidden_size = size("hidden_size", defaults.hidden_size)?;
    let heads = size("num_attention_heads", defaults.heads)?;
    let head_dim = match (fields.get("head_dim"), defaults.head_dim) {
        (None, None) => shared_head_dim(fields, hidden_size, heads)?,
        (_, default) => size("head_dim", default.unwrap_or_default())?,
    };
    let config = DecoderConfig {
        architecture: Architecture::Transformers(architecture),
        hidden_size,
        intermediate_size: size("intermediate_size", defaults.intermediate_size)?,
        layers: size("num_hidden_layers", defaults.layers)?,
        heads,
        kv_heads: match fields.get("num_key_value_heads") {
            // A null means "as many as query heads".
            None if fields.map.contains_key("num_key_value_heads") => heads,
            _ => size("num_key_value_heads", defaults.kv_heads.unwrap_or(heads))?,
        },
        head_dim,
        vocab_size: size("vocab_size", defaults.vocab_size)?,
        context_length: size("max_position_embeddings", defaults.positions)?,
        rms_norm_eps: fields.positive(epsilon)?.unwrap_or(defaults.epsilon) as f32,
        rope_frequencies: Vec::new(),
        rope_attention_factor: 1.0,
        sliding_windows: Vec::new(),
    };
    // Before these numbers are multiplied.
    let valid = config.validate_sizes();
    valid.map_err(|error| error.context(fields.file))?;
    Ok(config)
}

/// Cuts the context to what candle's model computes correctly, with a warning.
pub(super) fn cut_context(fields: &Fields<'_>, config: &mut DecoderConfig, window: Option<usize>) {
    let stated = config.context_length;
    let most = window.unwrap_or(usize::MAX).min(MAX_POSITIONS);
    if most < stated {
        let cause = match window {
            Some(window) if window == most => {
                "candle-transformers' sliding window is not the model's"
            }
            _ => "candle-transformers takes memory for all of it",
        };
        tracing::warn!(
            "{}: the context is cut from {stated} to {most} positions: {cause}",
            fields.file
        );
        config.context_length = most;
    }
}

/// The epsilon of the norms, without rounding.
pub(super) fn epsilon(fields: &Fields<'_>, name: &str, default: f64) -> Result<f64> {
    Ok(fields.positive(name)?.unwrap_or(default))
}

/// The activation function of the feed-forward layer, of those with the same name in both
/// libraries.
pub(super) fn activation(fields: &Fields<'_>, field: &str, default: &str) -> Result<Activation> {
    let name = fields.text(field)?.unwrap_or(default);
    match name {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" => Ok(Activation::NewGelu),
        "gelu_pytorch_tanh" => Ok(Activation::GeluPytorchTanh),
        "relu" => Ok(Activation::Relu),
        other => Err(fields.unsupported(
            field,
            format!(
                "is `{}`; supported are silu, gelu, gelu_new, gelu_pytorch_tanh and relu",
                other.escape_debug()
            ),
        )),
    }
}

/// Unscaled RoPE.
pub(super) struct PlainRope {
    pub(super) theta: f64,
    /// The share of a head that is rotated.
    pub(super) part: f64,
}

/// The kind of RoPE; `default` if none is named.
pub(super) fn rope_kind<'a>(parameters: &'a Fields<'_>) -> Result<&'a str> {
    Ok(huggingface::rope_kind(parameters)?.unwrap_or("default"))
}

/// The parameters of RoPE and their kind.
pub(super) fn rope_parameters<'a>(fields: &'a Fields<'_>) -> Result<Option<(Fields<'a>, String)>> {
    let Some((_, parameters)) = huggingface::rope_parameters(fields)? else {
        return Ok(None);
    };
    let kind = rope_kind(&parameters)?.to_owned();
    Ok(Some((parameters, kind)))
}

/// Refuses a scaling that candle's model does not have.
pub(super) fn refuse_scaling(parameters: &Fields<'_>, kind: &str) -> Result<()> {
    if kind == "default" {
        return Ok(());
    }
    Err(parameters.unsupported(
        "rope_type",
        format!(
            "is `{}`, which candle-transformers computes otherwise than transformers or not at all; \
             only the unscaled rotary embedding is supported",
            kind.escape_debug()
        ),
    ))
}

/// RoPE that must be unscaled. `part` is the default share of a head that is rotated.
pub(super) fn plain_rope(fields: &Fields<'_>, theta: f64, part: f64) -> Result<PlainRope> {
    let parameters = rope_parameters(fields)?;
    if let Some((parameters, kind)) = &parameters {
        if parameters.map.values().any(Value::is_object) {
            return Err(fields.unsupported(
                "rope_parameters",
                "differs between kinds of layers; one for all layers is supported",
            ));
        }
        refuse_scaling(parameters, kind)?;
    }
    let number = |name: &str, default: f64| {
        let inner = match &parameters {
            Some((parameters, _)) => parameters.positive(name)?,
            None => None,
        };
        Ok::<_, crate::Error>(match inner {
            Some(number) => number,
            None => fields.positive(name)?.unwrap_or(default),
        })
    };
    Ok(PlainRope {
        theta: number("rope_theta", theta)?,
        part: number("partial_rotary_factor", part)?,
    })
}

/// The theta of RoPE that must be unscaled and rotate whole heads.
pub(super) fn whole_rope(fields: &Fields<'_>, theta: f64) -> Result<f64> {
    let rope = plain_rope(fields, theta, 1.0)?;
    if rope.part != 1.0 {
        return Err(fields.unsupported(
            "partial_rotary_factor",
            format!("is {}; candle-transformers rotates whole heads", rope.part),
        ));
    }
    Ok(rope.theta)
}

/// The number of rotated elements of a head, which must be positive and even.
pub(super) fn rotated(fields: &Fields<'_>, part: f64, head_dim: usize) -> Result<usize> {
    let rotated = (part * head_dim as f64) as usize;
    if part > 1.0 || rotated == 0 || !rotated.is_multiple_of(2) {
        return Err(fields.error(
            "partial_rotary_factor",
            format!("is {part}, which rotates {rotated} elements of a head of {head_dim}"),
        ));
    }
    Ok(rotated)
}

/// Refuses a flag of which candle's model supports only one value.
pub(super) fn must_be(fields: &Fields<'_>, name: &str, wanted: bool, default: bool) -> Result<()> {
    if fields.flag_or(name, default)? == wanted {
        return Ok(());
    }
    Err(fields.unsupported(
        name,
        format!(
            "is {}; candle-transformers computes it as {wanted}",
            !wanted
        ),
    ))
}

/// Refuses a size that differs from the one that candle's model uses.
pub(super) fn must_equal(
    fields: &Fields<'_>,
    name: &str,
    found: usize,
    wanted: usize,
) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(fields.unsupported(
        name,
        format!("is {found}; candle-transformers computes as if it were {wanted}"),
    ))
}

/// Creates a candle configuration with private fields from JSON.
pub(super) fn deserialised<T: serde::de::DeserializeOwned>(
    fields: &Fields<'_>,
    value: Value,
) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|error| fields.error("architectures", format!("cannot be configured: {error}")))
}

/// Refuses head dimensions other than `hidden_size / heads`.
pub(super) fn heads_share_width(fields: &Fields<'_>, config: &DecoderConfig) -> Result<()> {
    let shared = config.hidden_size / config.heads;
    must_equal(fields, "head_dim", config.head_dim, shared)
}

/// Candle's name for an activation function.
pub(super) fn activation_name(activation: Activation) -> Value {
    json!(activation)
}
