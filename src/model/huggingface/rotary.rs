//! RoPE from the fields of older and newer files.

use serde_json::{Map, Value};

use super::fields::Fields;
use crate::Result;
use crate::model::rope::{Rope, RopeScaling, Yarn};

/// A configuration's RoPE.
pub(super) struct Rotary {
    pub(super) rope: Rope,
    /// The longest sequence. Exceeds `max_position_embeddings` if the scaling supports a longer
    /// one.
    pub(super) context_length: usize,
}

/// The object that scales RoPE or, in newer files, describes it, with its field: the first of the
/// two that is present and not empty, in the order of transformers.
pub(in crate::model) fn rope_parameters<'a>(
    fields: &'a Fields<'_>,
) -> Result<Option<(&'static str, Fields<'a>)>> {
    let mut both = Vec::new();
    for name in ["rope_scaling", "rope_parameters"] {
        both.extend(fields.object(name)?.map(|found| (name, found)));
    }
    Ok(both.into_iter().find(|(_, found)| !found.map.is_empty()))
}

/// The kind of RoPE, if one is named.
pub(in crate::model) fn rope_kind<'a>(parameters: &'a Fields<'_>) -> Result<Option<&'a str>> {
    match parameters.text("rope_type")? {
        Some(kind) => Ok(Some(kind)),
        None => parameters.text("type"),
    }
}

/// Reads the RoPE of a configuration.
pub(super) fn rotary(
    fields: &Fields<'_>,
    head_dim: usize,
    context_length: usize,
) -> Result<Rotary> {
    if head_dim == 0 || head_dim > 1 << 16 {
        return Err(fields.error("head_dim", format!("is {head_dim}")));
    }
    let none = Map::new();
    let (name, parameters) = rope_parameters(fields)?.unwrap_or((
        "rope_parameters",
        Fields {
            file: fields.file,
            map: &none,
        },
    ));
    let theta = match parameters.positive("rope_theta")? {
        Some(theta) => theta,
        None => fields.positive("rope_theta")?.unwrap_or(10_000.0),
    };
    for holder in [fields, &parameters] {
        if let Some(part) = holder.number("partial_rotary_factor")?
            && part != 1.0
        {
            return Err(holder.unsupported(
                "partial_rotary_factor",
                format!("is {part}; only whole heads are rotated"),
            ));
        }
    }
    let kind = rope_kind(&parameters)?;
    // The original context length at the top level takes precedence.
    let original_context = match fields.positive("original_max_position_embeddings")? {
        Some(context) => Some(context),
        None => parameters.positive("original_max_position_embeddings")?,
    };
    let mut longest = context_length;
    let scaling = match kind {
        None if parameters.map.values().any(Value::is_object) => {
            return Err(fields.unsupported(
                name,
                "differs between kinds of layers; one for all layers is supported",
            ));
        }
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear {
            factor: parameters.required("factor")?,
        },
        Some("dynamic") => RopeScaling::Dynamic {
            factor: parameters.required("factor")?,
        },
        Some("llama3") => llama3(
            &parameters,
            original_context.unwrap_or(context_length as f64),
        )?,
        Some("yarn") => {
            let yarn = yarn(&parameters, original_context, context_length)?;
            longest = longest.max((yarn.original_context * yarn.factor) as usize);
            RopeScaling::Yarn(yarn)
        }
        Some(other) => {
            return Err(parameters.unsupported(
                "rope_type",
                format!(
                    "is `{}`; supported are default, linear, dynamic, llama3 and yarn",
                    other.escape_debug()
                ),
            ));
        }
    };
    Ok(Rotary {
        rope: Rope::new(head_dim, theta, scaling),
        context_length: longest,
    })
}

fn llama3(fields: &Fields<'_>, original_context: f64) -> Result<RopeScaling> {
    let low_freq_factor = fields.required("low_freq_factor")?;
    let high_freq_factor = fields.required("high_freq_factor")?;
    if low_freq_factor >= high_freq_factor {
        return Err(fields.error("high_freq_factor", "is not above `low_freq_factor`"));
    }
    Ok(RopeScaling::Llama3 {
        factor: fields.required("factor")?,
        low_freq_factor,
        high_freq_factor,
        original_context,
    })
}

fn yarn(fields: &Fields<'_>, original_context: Option<f64>, context_length: usize) -> Result<Yarn> {
    let context_length = context_length as f64;
    let original_context = original_context.unwrap_or(context_length);
    let factor = match fields.positive("factor")? {
        Some(factor) => factor,
        None if original_context < context_length => context_length / original_context,
        None => return Err(fields.error("factor", "is missing")),
    };
    if factor < 1.0 {
        return Err(fields.error("factor", format!("is {factor}; it must be at least 1")));
    }
    // DeepSeek's two scales, whose quotient is 1 if they are equal; 0 counts as missing.
    let scale = |field| Ok(fields.number(field)?.filter(|&scale| scale != 0.0));
    let attention_factor = match (
        fields.positive("attention_factor")?,
        scale("mscale")?,
        scale("mscale_all_dim")?,
    ) {
        (Some(attention_factor), ..) => attention_factor,
        (None, Some(above), Some(below)) => {
            Yarn::attention_factor(factor, above) / Yarn::attention_factor(factor, below)
        }
        (None, ..) => Yarn::attention_factor(factor, 1.0),
    };
    let beta_fast = fields.positive("beta_fast")?.unwrap_or(Yarn::BETA_FAST);
    let beta_slow = fields.positive("beta_slow")?.unwrap_or(Yarn::BETA_SLOW);
    if beta_slow >= beta_fast {
        return Err(fields.error("beta_fast", "is not above `beta_slow`"));
    }
    Ok(Yarn {
        factor,
        original_context,
        beta_fast,
        beta_slow,
        truncate: fields.flag_or("truncate", true)?,
        attention_factor,
    })
}
