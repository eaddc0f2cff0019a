//! Reports which fields of `config.json` were read, and which were left to their defaults.

use serde_json::{Map, Value};

use crate::model::config::{Architecture, DecoderConfig};
use crate::model::origin::ConfigSources;

/// Lists which of some fields a file has, and that the others are defaults.
fn said(file: &str, map: &Map<String, Value>, fields: &[&str]) -> String {
    let has = |field: &&&str| map.get(**field).is_some_and(|value| !value.is_null());
    let (present, missing): (Vec<&str>, Vec<&str>) =
        fields.iter().copied().partition(|field| has(&field));
    match (present.as_slice(), missing.as_slice()) {
        (present, []) => format!("{file}: {}", present.join(", ")),
        ([], missing) => format!("default; {file} has no {}", missing.join(", ")),
        (present, missing) => format!(
            "{file}: {}; default: {}",
            present.join(", "),
            missing.join(", ")
        ),
    }
}

/// The fields of `config.json` that define a decoder's shape.
pub(in crate::model) fn sources(
    file: &str,
    map: &Map<String, Value>,
    config: &DecoderConfig,
) -> ConfigSources {
    let said = |fields: &[&str]| said(file, map, fields);
    let is_there = |field: &&&str| map.get(**field).is_some_and(|value| !value.is_null());
    let those_there = |fields: &[&'static str]| -> Vec<&'static str> {
        fields.iter().filter(is_there).copied().collect()
    };
    let architecture = match those_there(&["architectures"]).is_empty() {
        true => said(&["model_type"]),
        false => said(&["architectures"]),
    };
    let mut heads = vec!["num_attention_heads", "num_key_value_heads"];
    // Otherwise it is derived from the hidden size, unless the architecture has its own default.
    let own_width = config.architecture == Architecture::Qwen3;
    match own_width {
        true => heads.push("head_dim"),
        false => heads.extend(those_there(&["head_dim"])),
    }
    let scaling = those_there(&["rope_scaling", "rope_parameters"]);
    let is_object = |name: &&&str| matches!(map.get(**name), Some(Value::Object(_)));
    let has_theta = |name: &&str| {
        let parameters = map.get(*name);
        parameters.and_then(|p| p.get("rope_theta")).is_some()
    };
    let mut rope: Vec<&str> = Vec::new();
    if !scaling.iter().any(has_theta) {
        rope.push("rope_theta");
    }
    rope.extend(scaling.iter().filter(is_object).copied());
    let epsilon = match map.contains_key("norm_epsilon") {
        true => "norm_epsilon",
        false => "rms_norm_eps",
    };
    const CONTEXT: &str = "max_position_embeddings";
    let stated = map.get(CONTEXT).and_then(Value::as_u64);
    let mut context = said(&[CONTEXT]);
    if stated.is_some_and(|stated| stated != config.context_length as u64) {
        context += match stated.is_some_and(|stated| stated > config.context_length as u64) {
            true => ", cut to what candle-transformers computes rightly",
            false => ", scaled",
        };
    }
    let windows = [
        "sliding_window",
        "use_sliding_window",
        "layer_types",
        "max_window_layers",
    ];
    let windows = those_there(&windows);
    ConfigSources {
        architecture,
        layers: said(&["num_hidden_layers", "hidden_size", "intermediate_size"]),
        heads: said(&heads),
        vocabulary: said(&["vocab_size"]),
        rope: said(&rope),
        context,
        epsilon: said(&[epsilon]),
        window: match windows.is_empty() {
            true => format!("default; {file} has no sliding_window"),
            false => said(&windows),
        },
    }
}

/// The origin of the setting that ties the output head to the embedding.
pub(in crate::model) fn tied_source(file: &str, map: &Map<String, Value>) -> String {
    said(file, map, &["tie_word_embeddings"])
}
