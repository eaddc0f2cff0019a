//! The layers with a sliding window, and its width.

use serde_json::Value;

use super::fields::Fields;
use crate::Result;
use crate::model::config::Architecture;

/// The sliding window of each layer: Mistral's for all layers, Qwen's for the layers from
/// `max_window_layers` on if `use_sliding_window` is set, or as `layer_types` lists them.
pub(super) fn sliding_windows(
    fields: &Fields<'_>,
    architecture: Architecture,
    layers: usize,
) -> Result<Vec<Option<usize>>> {
    if layers > 1 << 16 {
        return Err(fields.error("num_hidden_layers", format!("is {layers}")));
    }
    let window = match architecture {
        Architecture::Llama | Architecture::Transformers(_) => None,
        // A missing field means 4096 in transformers; a null means none.
        Architecture::Mistral => fields.window(Some(4_096))?,
        Architecture::Qwen2 | Architecture::Qwen3 => {
            match fields.flag_or("use_sliding_window", false)? {
                true => fields.window(Some(4_096))?,
                false => None,
            }
        }
    };
    let Some(window) = window else {
        return Ok(vec![None; layers]);
    };
    if architecture == Architecture::Mistral {
        return Ok(vec![Some(window); layers]);
    }
    match fields.get("layer_types") {
        Some(Value::Array(types)) => {
            if types.len() != layers {
                return Err(fields.error(
                    "layer_types",
                    format!("lists {} layers of {layers}", types.len()),
                ));
            }
            types
                .iter()
                .map(|kind| match kind.as_str() {
                    Some("full_attention") => Ok(None),
                    Some("sliding_attention") => Ok(Some(window)),
                    _ => Err(fields.unsupported(
                        "layer_types",
                        format!("has {kind}; supported are full_attention and sliding_attention"),
                    )),
                })
                .collect()
        }
        Some(_) => Err(fields.error("layer_types", "is not a list")),
        None => {
            let full = fields.size_or("max_window_layers", 28)?;
            Ok((0..layers)
                .map(|layer| (layer >= full).then_some(window))
                .collect())
        }
    }
}
