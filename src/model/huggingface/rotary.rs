//! Rotary frequencies from the fields of older and of newer files.

use serde_json::Value;

use super::fields::Fields;
use crate::Result;
use crate::model::rope::{self, RopeScaling};

/// Frequencies from `rope_theta` and `rope_scaling`, or from `rope_parameters`, which newer
/// versions write in their place.
pub(super) fn rope_frequencies(
    fields: &Fields<'_>,
    head_dim: usize,
    context_length: usize,
) -> Result<Vec<f32>> {
    if head_dim == 0 || head_dim > 1 << 16 {
        return Err(fields.error("head_dim", format!("is {head_dim}")));
    }
    let parameters = fields.object("rope_parameters")?;
    let scaling_fields = match parameters {
        Some(_) => fields.object("rope_parameters")?,
        None => fields.object("rope_scaling")?,
    };
    let theta = match &parameters {
        Some(parameters) => match parameters.positive("rope_theta")? {
            Some(theta) => Some(theta),
            None => fields.positive("rope_theta")?,
        },
        None => fields.positive("rope_theta")?,
    }
    .unwrap_or(10_000.0);
    for holder in [Some(fields), parameters.as_ref()].into_iter().flatten() {
        if let Some(part) = holder.number("partial_rotary_factor")?
            && part != 1.0
        {
            return Err(holder.unsupported(
                "partial_rotary_factor",
                format!("is {part}; only whole heads are rotated"),
            ));
        }
    }
    let scaling = match scaling_fields {
        None => RopeScaling::None,
        Some(scaling) => rope_scaling(&scaling, context_length)?,
    };
    Ok(rope::frequencies(head_dim, theta, scaling))
}

fn rope_scaling(fields: &Fields<'_>, context_length: usize) -> Result<RopeScaling> {
    let kind = match fields.text("rope_type")? {
        Some(kind) => Some(kind),
        None => fields.text("type")?,
    };
    match kind {
        None if fields.map.values().any(Value::is_object) => Err(fields.unsupported(
            "rope_parameters",
            "differs between kinds of layers; one for all layers is supported",
        )),
        None | Some("default") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear {
            factor: fields.required("factor")?,
        }),
        Some("llama3") => {
            let scaling = RopeScaling::Llama3 {
                factor: fields.required("factor")?,
                low_freq_factor: fields.required("low_freq_factor")?,
                high_freq_factor: fields.required("high_freq_factor")?,
                original_context: fields
                    .positive("original_max_position_embeddings")?
                    .unwrap_or(context_length as f64),
            };
            if let RopeScaling::Llama3 {
                low_freq_factor,
                high_freq_factor,
                ..
            } = scaling
                && low_freq_factor >= high_freq_factor
            {
                return Err(fields.error("high_freq_factor", "is not above `low_freq_factor`"));
            }
            Ok(scaling)
        }
        Some(other) => Err(fields.unsupported(
            "rope_type",
            format!(
                "is `{}`; supported are default, linear and llama3",
                other.escape_debug()
            ),
        )),
    }
}
