//! `config.json` and `generation_config.json` as Hugging Face's transformers writes them.
//!
//! Missing and null fields take that library's defaults for the architecture. Knows the names of
//! fields; opens no files.

use serde_json::{Map, Value};

use super::assemble::Layout;
use super::config::{Architecture, DecoderConfig};
use super::rope::{self, RopeScaling};
use crate::{Error, ErrorKind, Result};

/// What `config.json` says.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) config: DecoderConfig,
    pub(super) layout: Layout,
    pub(super) stop_tokens: Vec<u32>,
}

/// A JSON object and the file that it came from.
struct Fields<'a> {
    file: &'a str,
    map: &'a Map<String, Value>,
}

impl Fields<'_> {
    fn error(&self, field: &str, reason: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::Model,
            format!("{}: `{field}` {reason}", self.file),
        )
    }

    fn unsupported(&self, field: &str, reason: impl std::fmt::Display) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!("{}: `{field}` {reason}", self.file),
        )
    }

    fn get(&self, field: &str) -> Option<&Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn size(&self, field: &str) -> Result<Option<usize>> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        value
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .map(Some)
            .ok_or_else(|| self.error(field, format!("is {value}; expected a whole number")))
    }

    fn size_or(&self, field: &str, default: usize) -> Result<usize> {
        Ok(self.size(field)?.unwrap_or(default))
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
        let Some(value) = self.get(field) else {
            return Ok(None);
        };
        value
            .as_f64()
            .filter(|n| n.is_finite())
            .map(Some)
            .ok_or_else(|| self.error(field, format!("is {value}; expected a number")))
    }

    fn positive(&self, field: &str) -> Result<Option<f64>> {
        match self.number(field)? {
            Some(n) if n <= 0.0 => Err(self.error(field, format!("is {n}; it must be above 0"))),
            other => Ok(other),
        }
    }

    fn required(&self, field: &str) -> Result<f64> {
        self.positive(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    fn flag_or(&self, field: &str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.error(field, format!("is {value}; expected true or false"))),
        }
    }

    fn text(&self, field: &str) -> Result<Option<&str>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.error(field, format!("is {value}; expected a string"))),
        }
    }

    fn object<'b>(&'b self, field: &str) -> Result<Option<Fields<'b>>> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Fields {
                file: self.file,
                map,
            })),
            Some(_) => Err(self.error(field, "is not an object")),
        }
    }
}

/// Parses a JSON file whose top level is an object.
pub(super) fn object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Error::new(
            ErrorKind::Model,
            format!("{file}: not a JSON object"),
        )),
        Err(error) => Err(
            Error::new(ErrorKind::Model, format!("{file}: not valid JSON: {error}"))
                .with_source(error),
        ),
    }
}

/// The token ids of `eos_token_id`: one number or a list.
pub(super) fn stop_tokens(file: &str, map: &Map<String, Value>) -> Result<Vec<u32>> {
    let fields = Fields { file, map };
    let id = |value: &Value| {
        value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| fields.error("eos_token_id", format!("has {value}; expected token ids")))
    };
    match fields.get("eos_token_id") {
        None => Ok(Vec::new()),
        Some(Value::Array(ids)) => ids.iter().map(id).collect(),
        Some(value) => Ok(vec![id(value)?]),
    }
}

/// What differs between architectures where a field is missing.
struct Defaults {
    vocab_size: usize,
    intermediate_size: usize,
    kv_heads: Option<usize>,
    head_dim: Option<usize>,
    context_length: usize,
}

fn defaults(architecture: Architecture) -> Defaults {
    match architecture {
        Architecture::Llama => Defaults {
            vocab_size: 32_000,
            intermediate_size: 11_008,
            kv_heads: None,
            head_dim: None,
            context_length: 2_048,
        },
        Architecture::Mistral => Defaults {
            vocab_size: 32_000,
            intermediate_size: 14_336,
            kv_heads: Some(8),
            head_dim: None,
            context_length: 131_072,
        },
        Architecture::Qwen2 => Defaults {
            vocab_size: 151_936,
            intermediate_size: 22_016,
            kv_heads: Some(32),
            head_dim: None,
            context_length: 32_768,
        },
        Architecture::Qwen3 => Defaults {
            vocab_size: 151_936,
            intermediate_size: 22_016,
            kv_heads: Some(32),
            head_dim: Some(128),
            context_length: 32_768,
        },
    }
}

/// Reads `config.json`.
pub(super) fn parse(file: &str, map: &Map<String, Value>) -> Result<Parsed> {
    let fields = Fields { file, map };
    let architecture = architecture(&fields)?;
    if fields.get("quantization_config").is_some() {
        return Err(fields.unsupported(
            "quantization_config",
            "says that the safetensors are quantised; quantised weights are read from GGUF files",
        ));
    }
    if let Some(activation) = fields.text("hidden_act")?
        && !matches!(activation, "silu" | "swish")
    {
        return Err(fields.unsupported(
            "hidden_act",
            format!("is `{activation}`; only silu is supported"),
        ));
    }
    let default = defaults(architecture);
    let hidden_size = fields.size_or("hidden_size", 4_096)?;
    let layers = fields.size_or("num_hidden_layers", 32)?;
    let heads = fields.size_or("num_attention_heads", 32)?;
    if heads == 0 {
        return Err(fields.error("num_attention_heads", "is 0"));
    }
    let kv_heads = match fields.size("num_key_value_heads")? {
        Some(kv_heads) => kv_heads,
        // A null stands for "as many as query heads" in every architecture.
        None if map.contains_key("num_key_value_heads") => heads,
        None => default.kv_heads.unwrap_or(heads),
    };
    let head_dim = match fields.size("head_dim")? {
        Some(head_dim) => head_dim,
        None => match default.head_dim {
            Some(head_dim) => head_dim,
            None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
            None => {
                return Err(fields.error(
                    "num_attention_heads",
                    format!("is {heads}, which does not divide `hidden_size` {hidden_size}"),
                ));
            }
        },
    };
    let context_length = fields.size_or("max_position_embeddings", default.context_length)?;
    let config = DecoderConfig {
        architecture,
        hidden_size,
        intermediate_size: fields.size_or("intermediate_size", default.intermediate_size)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        vocab_size: fields.size_or("vocab_size", default.vocab_size)?,
        context_length,
        rms_norm_eps: fields.positive("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope_frequencies: rope_frequencies(&fields, head_dim, context_length)?,
        sliding_windows: sliding_windows(&fields, architecture, layers)?,
    };
    config.validate().map_err(|error| error.context(file))?;

    let attention_bias = fields.flag_or("attention_bias", false)?;
    let layout = Layout {
        qkv_bias: match architecture {
            Architecture::Llama | Architecture::Qwen3 => attention_bias,
            Architecture::Mistral => false,
            Architecture::Qwen2 => true,
        },
        output_bias: match architecture {
            Architecture::Llama | Architecture::Qwen3 => attention_bias,
            Architecture::Mistral | Architecture::Qwen2 => false,
        },
        mlp_bias: architecture == Architecture::Llama && fields.flag_or("mlp_bias", false)?,
        qk_norm: architecture == Architecture::Qwen3,
        tied: fields.flag_or("tie_word_embeddings", false)?,
    };
    Ok(Parsed {
        config,
        layout,
        stop_tokens: stop_tokens(file, map)?,
    })
}

fn architecture(fields: &Fields<'_>) -> Result<Architecture> {
    let named = match fields.get("architectures") {
        Some(Value::Array(names)) => names.first().and_then(Value::as_str),
        _ => None,
    };
    let (field, name) = match named {
        Some(name) => ("architectures", name),
        None => match fields.text("model_type")? {
            Some(name) => ("model_type", name),
            None => {
                return Err(fields.error("architectures", "is missing, and so is `model_type`"));
            }
        },
    };
    match name {
        "LlamaForCausalLM" | "llama" => Ok(Architecture::Llama),
        "MistralForCausalLM" | "mistral" => Ok(Architecture::Mistral),
        "Qwen2ForCausalLM" | "qwen2" => Ok(Architecture::Qwen2),
        "Qwen3ForCausalLM" | "qwen3" => Ok(Architecture::Qwen3),
        other => Err(fields.unsupported(
            field,
            format!(
                "is `{}`; supported are {}",
                other.escape_debug(),
                Architecture::SUPPORTED
            ),
        )),
    }
}

/// Frequencies from `rope_theta` and `rope_scaling`, or from `rope_parameters`, which newer
/// versions write in their place.
fn rope_frequencies(
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

/// Windows of layers: Mistral's for all, Qwen's for the layers from `max_window_layers` on where
/// `use_sliding_window` is set, or as `layer_types` lists them.
fn sliding_windows(
    fields: &Fields<'_>,
    architecture: Architecture,
    layers: usize,
) -> Result<Vec<Option<usize>>> {
    if layers > 1 << 16 {
        return Err(fields.error("num_hidden_layers", format!("is {layers}")));
    }
    let window = match architecture {
        Architecture::Llama => None,
        // A missing field means 4096 to transformers; a null means none.
        Architecture::Mistral if !fields.map.contains_key("sliding_window") => Some(4_096),
        Architecture::Mistral => fields.size("sliding_window")?,
        Architecture::Qwen2 | Architecture::Qwen3 => {
            if fields.flag_or("use_sliding_window", false)? {
                match fields.map.contains_key("sliding_window") {
                    true => fields.size("sliding_window")?,
                    false => Some(4_096),
                }
            } else {
                None
            }
        }
    };
    if window == Some(0) {
        return Err(fields.error("sliding_window", "is 0"));
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(config: Value) -> Result<Parsed> {
        let Value::Object(map) = config else {
            panic!("not an object");
        };
        parse("config.json", &map)
    }

    fn ok(config: Value) -> Parsed {
        parsed(config).unwrap()
    }

    #[test]
    fn a_llama_2_configuration() {
        let Parsed {
            config,
            layout,
            stop_tokens,
        } = ok(json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "intermediate_size": 11008,
            "num_hidden_layers": 30, "num_attention_heads": 32, "num_key_value_heads": null,
            "vocab_size": 102400, "max_position_embeddings": 4096, "rms_norm_eps": 1e-6,
            "rope_scaling": null, "eos_token_id": 100001, "hidden_act": "silu"
        }));
        assert_eq!(config.architecture, Architecture::Llama);
        assert_eq!(
            (config.heads, config.kv_heads, config.head_dim),
            (32, 32, 128)
        );
        assert_eq!(config.qkv_size(), 3 * 4096);
        assert_eq!(config.rope_frequencies.len(), 64);
        assert_eq!(config.rope_frequencies[0], 1.0);
        assert_eq!(config.sliding_windows, vec![None; 30]);
        assert_eq!(stop_tokens, [100_001]);
        assert!(!layout.tied && !layout.qkv_bias && !layout.mlp_bias && !layout.qk_norm);
    }

    /// Fields that are missing take transformers' defaults.
    #[test]
    fn defaults_are_those_of_the_architecture() {
        for (name, kv_heads, head_dim, context, window) in [
            ("LlamaForCausalLM", 32, 128, 2_048, None),
            ("MistralForCausalLM", 8, 128, 131_072, Some(4_096)),
            ("Qwen2ForCausalLM", 32, 128, 32_768, None),
            ("Qwen3ForCausalLM", 32, 128, 32_768, None),
        ] {
            let config = ok(json!({"architectures": [name]})).config;
            assert_eq!(config.kv_heads, kv_heads, "{name}");
            assert_eq!(config.head_dim, head_dim, "{name}");
            assert_eq!(config.context_length, context, "{name}");
            assert_eq!(config.sliding_windows, vec![window; 32], "{name}");
            assert_eq!(config.rms_norm_eps, 1e-6, "{name}");
        }
        let by_type = ok(json!({"model_type": "qwen3", "hidden_size": 1024}));
        assert_eq!(by_type.config.head_dim, 128);
        assert!(by_type.layout.qk_norm && !by_type.layout.qkv_bias);
        assert!(ok(json!({"model_type": "qwen2"})).layout.qkv_bias);
    }

    #[test]
    fn biases_and_ties_are_as_set() {
        let layout = |config| ok(config).layout;
        let llama = layout(json!({
            "model_type": "llama", "attention_bias": true, "mlp_bias": true,
            "tie_word_embeddings": true
        }));
        assert!(llama.qkv_bias && llama.output_bias && llama.mlp_bias && llama.tied);
        let qwen3 = layout(json!({"model_type": "qwen3", "attention_bias": true}));
        assert!(qwen3.qkv_bias && qwen3.output_bias && !qwen3.mlp_bias);
        let qwen2 = layout(json!({"model_type": "qwen2"}));
        assert!(qwen2.qkv_bias && !qwen2.output_bias);
    }

    #[test]
    fn windows_are_as_transformers_has_them() {
        let windows = |config| ok(config).config.sliding_windows;
        let none = json!({"model_type": "mistral", "num_hidden_layers": 2, "sliding_window": null});
        assert_eq!(windows(none), [None, None]);
        let set = json!({"model_type": "mistral", "num_hidden_layers": 2, "sliding_window": 8});
        assert_eq!(windows(set), [Some(8), Some(8)]);
        let qwen = |more: Value| {
            let mut config =
                json!({"model_type": "qwen2", "num_hidden_layers": 3, "sliding_window": 8});
            for (key, value) in more.as_object().unwrap() {
                config[key] = value.clone();
            }
            config
        };
        assert_eq!(windows(qwen(json!({"max_window_layers": 1}))), [None; 3]);
        let on = json!({"use_sliding_window": true, "max_window_layers": 1});
        assert_eq!(windows(qwen(on)), [None, Some(8), Some(8)]);
        let types = json!({"use_sliding_window": true, "layer_types":
            ["sliding_attention", "full_attention", "full_attention"]});
        assert_eq!(windows(qwen(types)), [Some(8), None, None]);
        for bad in [
            json!({"use_sliding_window": true, "layer_types": ["full_attention"]}),
            json!({"use_sliding_window": true, "layer_types": "full_attention"}),
            json!({"use_sliding_window": true, "layer_types": ["a", "b", "c"]}),
            json!({"use_sliding_window": true, "sliding_window": 0}),
            json!({"use_sliding_window": 1}),
        ] {
            assert!(parsed(qwen(bad)).is_err());
        }
    }

    #[test]
    fn rotary_settings_of_old_and_new_files_agree() {
        let frequencies = |more: Value| {
            let mut config = json!({"model_type": "llama", "hidden_size": 64,
                "num_attention_heads": 4, "max_position_embeddings": 8192});
            for (key, value) in more.as_object().unwrap() {
                config[key] = value.clone();
            }
            parsed(config).map(|parsed| parsed.config.rope_frequencies)
        };
        let scaling = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
        let old = frequencies(json!({"rope_theta": 5e5, "rope_scaling": scaling})).unwrap();
        let mut parameters = scaling.clone();
        parameters["rope_theta"] = json!(5e5);
        let new = frequencies(json!({"rope_parameters": parameters})).unwrap();
        assert_eq!(old, new);
        let plain = frequencies(json!({"rope_theta": 5e5})).unwrap();
        assert_ne!(old, plain);
        let linear = frequencies(json!({"rope_theta": 5e5,
            "rope_scaling": {"type": "linear", "factor": 2.0}}))
        .unwrap();
        assert_eq!(linear[0], plain[0] / 2.0);
        let default = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}});
        assert_eq!(frequencies(default).unwrap(), plain);

        for (more, kind) in [
            (
                json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}),
                ErrorKind::Unsupported,
            ),
            (
                json!({"rope_scaling": {"type": "linear"}}),
                ErrorKind::Model,
            ),
            (
                json!({"rope_scaling": {"type": "linear", "factor": 0}}),
                ErrorKind::Model,
            ),
            (json!({"rope_scaling": "linear"}), ErrorKind::Model),
            (
                json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                "high_freq_factor": 4.0}}),
                ErrorKind::Model,
            ),
            (
                json!({"rope_parameters": {"full_attention": {}}}),
                ErrorKind::Unsupported,
            ),
            (
                json!({"partial_rotary_factor": 0.5}),
                ErrorKind::Unsupported,
            ),
        ] {
            let error = frequencies(more.clone()).unwrap_err();
            assert_eq!(error.kind(), kind, "{more}: {error}");
            assert!(error.detail().contains("config.json"), "{error}");
        }
    }

    #[test]
    fn what_is_not_supported_is_said_with_what_is() {
        let error = parsed(json!({"architectures": ["GemmaForCausalLM"]})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        for name in ["GemmaForCausalLM", "Llama", "Mistral", "Qwen2", "Qwen3"] {
            assert!(error.detail().contains(name), "{error}");
        }
        for config in [
            json!({"model_type": "llama", "hidden_act": "gelu"}),
            json!({"model_type": "llama", "quantization_config": {"quant_method": "gptq"}}),
        ] {
            assert_eq!(parsed(config).unwrap_err().kind(), ErrorKind::Unsupported);
        }
        assert_eq!(parsed(json!({})).unwrap_err().kind(), ErrorKind::Model);
    }

    #[test]
    fn stop_tokens_are_one_or_many() {
        let ids = |value: Value| {
            let map = json!({"eos_token_id": value});
            stop_tokens("g.json", map.as_object().unwrap())
        };
        assert_eq!(ids(json!(2)).unwrap(), [2]);
        assert_eq!(ids(json!([128001, 128009])).unwrap(), [128_001, 128_009]);
        assert!(ids(json!(null)).unwrap().is_empty());
        for bad in [json!(-1), json!(1u64 << 32), json!([1, "2"]), json!({})] {
            assert!(ids(bad).is_err());
        }
    }
}
