//! `config.json`: the decoder's shape, with the defaults of its architecture.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::quantization::refuse_quantized;
use super::rotary::rotary;
use super::stop_tokens::stop_tokens;
use super::windows::sliding_windows;
use crate::Result;
use crate::model::assemble::Layout;
use crate::model::config::{Architecture, DecoderConfig, MAX_WIDTH};
use crate::model::transformers;

/// The contents of `config.json`.
#[derive(Debug)]
pub(in crate::model) struct Parsed {
    pub(in crate::model) config: DecoderConfig,
    pub(in crate::model) layout: Layout,
    pub(in crate::model) stop_tokens: Vec<u32>,
    /// A description of RoPE.
    pub(in crate::model) rope: String,
}

/// The defaults of missing fields that differ between architectures.
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
        // `architecture` never returns the last one.
        Architecture::Qwen3 | Architecture::Transformers(_) => Defaults {
            vocab_size: 151_936,
            intermediate_size: 22_016,
            kv_heads: Some(32),
            head_dim: Some(128),
            context_length: 32_768,
        },
    }
}

/// Reads `config.json`.
pub(in crate::model) fn parse(file: &str, map: &Map<String, Value>) -> Result<Parsed> {
    let fields = Fields { file, map };
    let architecture = architecture(&fields)?;
    refuse_quantized(&fields)?;
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
    if hidden_size == 0 || hidden_size > MAX_WIDTH {
        // Otherwise an error would blame the head dimension derived from it.
        let reason = format!("is {hidden_size}; it must be 1 to {MAX_WIDTH}");
        return Err(fields.error("hidden_size", reason));
    }
    let layers = fields.size_or("num_hidden_layers", 32)?;
    let heads = fields.size_or("num_attention_heads", 32)?;
    if heads == 0 {
        return Err(fields.error("num_attention_heads", "is 0"));
    }
    // A null means "as many as query heads" in every architecture.
    let kv_heads = fields
        .size_unless_null("num_key_value_heads", default.kv_heads)?
        .unwrap_or(heads);
    let head_dim = match fields.size("head_dim")?.or(default.head_dim) {
        Some(head_dim) => head_dim,
        None => shared_head_dim(&fields, hidden_size, heads)?,
    };
    let context_length = fields.size_or("max_position_embeddings", default.context_length)?;
    let rotary = rotary(&fields, head_dim, context_length)?;
    let config = DecoderConfig {
        architecture,
        hidden_size,
        intermediate_size: fields.size_or("intermediate_size", default.intermediate_size)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        vocab_size: fields.size_or("vocab_size", default.vocab_size)?,
        context_length: rotary.context_length,
        rms_norm_eps: fields.positive("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope_frequencies: rotary.rope.frequencies,
        rope_attention_factor: rotary.rope.attention_factor,
        sliding_windows: sliding_windows(&fields, architecture, layers)?,
    };
    config.validate().map_err(|error| error.context(file))?;

    let attention_bias = fields.flag_or("attention_bias", false)?;
    let layout = Layout {
        qkv_bias: match architecture {
            Architecture::Llama | Architecture::Qwen3 => attention_bias,
            Architecture::Mistral | Architecture::Transformers(_) => false,
            Architecture::Qwen2 => true,
        },
        output_bias: match architecture {
            Architecture::Llama | Architecture::Qwen3 => attention_bias,
            Architecture::Mistral | Architecture::Qwen2 | Architecture::Transformers(_) => false,
        },
        mlp_bias: architecture == Architecture::Llama && fields.flag_or("mlp_bias", false)?,
        qk_norm: architecture == Architecture::Qwen3,
        tied: fields.flag_or("tie_word_embeddings", false)?,
    };
    Ok(Parsed {
        config,
        layout,
        stop_tokens: stop_tokens(file, map)?,
        rope: rotary.rope.described,
    })
}

/// The field that names the architecture, and the name.
pub(in crate::model) fn architecture_name<'a>(
    fields: &'a Fields<'_>,
) -> Result<(&'static str, &'a str)> {
    let named = match fields.get("architectures") {
        Some(Value::Array(names)) => names.first().and_then(Value::as_str),
        _ => None,
    };
    match named {
        Some(name) => Ok(("architectures", name)),
        None => match fields.text("model_type")? {
            Some(name) => Ok(("model_type", name)),
            None => Err(fields.error("architectures", "is missing, and so is `model_type`")),
        },
    }
}

fn architecture(fields: &Fields<'_>) -> Result<Architecture> {
    let (field, name) = architecture_name(fields)?;
    match name {
        "LlamaForCausalLM" | "llama" => Ok(Architecture::Llama),
        "MistralForCausalLM" | "mistral" => Ok(Architecture::Mistral),
        "Qwen2ForCausalLM" | "qwen2" => Ok(Architecture::Qwen2),
        "Qwen3ForCausalLM" | "qwen3" => Ok(Architecture::Qwen3),
        other if transformers::knows(other) => {
            Err(fields.unsupported(field, format!("is `{other}`; {}", transformers::NOT_HERE)))
        }
        other => Err(fields.unsupported(
            field,
            format!(
                "is `{}`; supported are {}, and with the feature `transformers` also {}",
                other.escape_debug(),
                Architecture::SUPPORTED,
                transformers::SUPPORTED
            ),
        )),
    }
}

/// The head dimension `hidden_size / heads`. Fails if it is not an integer.
pub(in crate::model) fn shared_head_dim(
    fields: &Fields<'_>,
    hidden_size: usize,
    heads: usize,
) -> Result<usize> {
    match hidden_size.is_multiple_of(heads) {
        true => Ok(hidden_size / heads),
        false => Err(fields.error(
            "num_attention_heads",
            format!("is {heads}, which does not divide `hidden_size` {hidden_size}"),
        )),
    }
}
