//! The decoder that a GGUF file's metadata describes.
//!
//! Depends on the keys of llama.cpp's converters. Reads no weights, except for the RoPE factors
//! that the converters store as a tensor.

use candle_core::quantized::GgmlDType;

use super::container::{Gguf, Value};
use super::types::TensorType;
use crate::model::assemble::{Layout, Naming};
use crate::model::config::{Architecture, DecoderConfig};
use crate::model::origin::ConfigSources;
use crate::model::rope::{Rope, RopeScaling, Yarn};
use crate::{Error, ErrorKind, Result};

/// A decoder and how its tensors are stored.
#[derive(Debug)]
pub(in crate::model) struct Described {
    pub(in crate::model) config: DecoderConfig,
    pub(in crate::model) layout: Layout,
    pub(in crate::model) naming: Naming,
    /// A description of RoPE.
    pub(in crate::model) rope: String,
    /// The origin of each value.
    pub(in crate::model) sources: ConfigSources,
}

/// The keys of one architecture's section.
struct Section<'a> {
    file: &'a Gguf,
    prefix: &'a str,
}

impl Section<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    fn error(&self, name: &str, reason: impl std::fmt::Display) -> Error {
        self.fail(ErrorKind::Model, name, reason)
    }

    fn fail(&self, kind: ErrorKind, name: &str, reason: impl std::fmt::Display) -> Error {
        Error::new(
            kind,
            format!("{}: `{}` {reason}", self.file.label(), self.key(name)),
        )
    }

    fn size(&self, name: &str) -> Result<Option<usize>> {
        self.file.size(&self.key(name))
    }

    fn required(&self, name: &str) -> Result<usize> {
        self.size(name)?
            .ok_or_else(|| self.error(name, "is missing"))
    }

    /// A size that is the same in all layers, which some converters store per layer.
    fn uniform(&self, name: &str, layers: usize) -> Result<Option<usize>> {
        let key = self.key(name);
        let Some(Value::Numbers(sizes)) = self.file.get(&key) else {
            return self.size(name);
        };
        if sizes.len() != layers {
            let count = sizes.len();
            return Err(self.error(name, format!("has {count} sizes for {layers} layers")));
        }
        let Some((&first, rest)) = sizes.split_first() else {
            return Err(self.error(name, "has no sizes"));
        };
        if let Some(layer) = rest.iter().position(|&size| size != first) {
            return Err(self.fail(
                ErrorKind::Unsupported,
                name,
                format!(
                    "is {first} in layer 0 and {} in layer {}; only layers of one shape are \
                     supported",
                    rest[layer],
                    layer + 1
                ),
            ));
        }
        match usize::try_from(first) {
            Ok(size) => Ok(Some(size)),
            Err(_) => Err(self.error(name, format!("is {first}"))),
        }
    }

    fn positive(&self, name: &str) -> Result<Option<f64>> {
        match self.file.number(&self.key(name))? {
            Some(n) if n <= 0.0 => Err(self.error(name, format!("is {n}; it must be above 0"))),
            other => Ok(other),
        }
    }
}

/// Reads the metadata.
pub(in crate::model) fn describe(file: &Gguf) -> Result<Described> {
    const ARCHITECTURE: &str = "general.architecture";
    is_a_model(file)?;
    let Some(name) = file.text(ARCHITECTURE)? else {
        return Err(Error::new(
            ErrorKind::Model,
            format!("{}: no `{ARCHITECTURE}`", file.label()),
        ));
    };
    let architecture = match name {
        "llama" => Architecture::Llama,
        "mistral" => Architecture::Mistral,
        "qwen2" => Architecture::Qwen2,
        "qwen3" => Architecture::Qwen3,
        other => {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{}: `{ARCHITECTURE}` is `{}`; supported in GGUF files are {}",
                    file.label(),
                    other.escape_debug(),
                    Architecture::SUPPORTED
                ),
            ));
        }
    };
    let section = Section { file, prefix: name };
    if section.size("expert_count")?.unwrap_or(0) > 0 {
        return Err(section.fail(
            ErrorKind::Unsupported,
            "expert_count",
            "says that this is a mixture of experts, which is not supported",
        ));
    }
    let hidden_size = section.required("embedding_length")?;
    let layers = section.required("block_count")?;
    let missing = |name| section.error(name, "is missing");
    let heads = section
        .uniform("attention.head_count", layers)?
        .ok_or_else(|| missing("attention.head_count"))?;
    if heads == 0 {
        return Err(section.error("attention.head_count", "is 0"));
    }
    let head_dim = match section.size("attention.key_length")? {
        Some(width) => width,
        None if hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(section.error(
                "attention.head_count",
                format!("is {heads}, which does not divide a width of {hidden_size}"),
            ));
        }
    };
    for same in ["attention.value_length", "rope.dimension_count"] {
        if let Some(width) = section.size(same)?
            && width != head_dim
        {
            return Err(section.fail(
                ErrorKind::Unsupported,
                same,
                format!("is {width} with heads of {head_dim}; only equal widths are supported"),
            ));
        }
    }
    let vocab_size = file
        .tensor("token_embd.weight")
        .and_then(|tensor| tensor.shape.first().copied())
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Model,
                format!("{}: no tensor `token_embd.weight`", file.label()),
            )
        })?;
    let window = match architecture {
        Architecture::Llama | Architecture::Mistral | Architecture::Transformers(_) => {
            section.size("attention.sliding_window")?.filter(|&n| n > 0)
        }
        // Qwen's converters store the number even if the model does not use it.
        Architecture::Qwen2 | Architecture::Qwen3 => None,
    };
    if layers > 1 << 16 {
        return Err(section.error("block_count", format!("is {layers}")));
    }
    let (rope, context_length) = rope(&section, head_dim, section.required("context_length")?)?;
    let config = DecoderConfig {
        architecture,
        hidden_size,
        intermediate_size: section
            .uniform("feed_forward_length", layers)?
            .ok_or_else(|| missing("feed_forward_length"))?,
        layers,
        heads,
        kv_heads: section
            .uniform("attention.head_count_kv", layers)?
            .unwrap_or(heads),
        head_dim,
        vocab_size,
        context_length,
        rms_norm_eps: section
            .positive("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| section.error("attention.layer_norm_rms_epsilon", "is missing"))?
            as f32,
        rope_frequencies: rope.frequencies,
        rope_attention_factor: rope.attention_factor,
        sliding_windows: vec![window; layers],
    };
    config
        .validate()
        .map_err(|error| error.context(file.label()))?;
    let has = |name: &str| file.tensor(name).is_some();
    Ok(Described {
        config,
        layout: Layout {
            qkv_bias: has("blk.0.attn_q.bias"),
            output_bias: has("blk.0.attn_output.bias"),
            mlp_bias: has("blk.0.ffn_gate.bias"),
            qk_norm: architecture == Architecture::Qwen3,
            tied: !has("output.weight"),
        },
        naming: Naming::Gguf {
            // The converter reorders queries and keys of Llama-like models for interleaved RoPE.
            interleaved: matches!(architecture, Architecture::Llama | Architecture::Mistral),
        },
        rope: rope.described,
        sources: sources(&section, window.is_some()),
    })
}

/// The metadata keys of the decoder's shape.
fn sources(section: &Section<'_>, window: bool) -> ConfigSources {
    let file = section.file;
    let label = file.label();
    let said = |names: &[&str]| -> String {
        let has = |name: &&&str| file.get(&section.key(name)).is_some();
        let (present, missing): (Vec<&str>, Vec<&str>) =
            names.iter().copied().partition(|name| has(&name));
        let keys = |names: &[&str]| -> String {
            let keys: Vec<String> = names.iter().map(|name| section.key(name)).collect();
            keys.join(", ")
        };
        match (present.as_slice(), missing.as_slice()) {
            (present, []) => format!("{label}: {}", keys(present)),
            ([], missing) => format!("default; {label} has no {}", keys(missing)),
            (present, missing) => {
                format!("{label}: {}; default: {}", keys(present), keys(missing))
            }
        }
    };
    let there = |names: &[&'static str]| -> Vec<&'static str> {
        let names = names.iter().copied();
        names
            .filter(|name| file.get(&section.key(name)).is_some())
            .collect()
    };
    let mut heads = vec!["attention.head_count", "attention.head_count_kv"];
    heads.extend(there(&["attention.key_length"]));
    let mut rope = vec!["rope.freq_base"];
    rope.extend(there(&[
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scale_linear",
        "rope.scaling.attn_factor",
    ]));
    ConfigSources {
        architecture: format!("{label}: general.architecture"),
        layers: said(&["block_count", "embedding_length", "feed_forward_length"]),
        heads: said(&heads),
        vocabulary: format!("{label}: tensor `token_embd.weight`"),
        rope: said(&rope),
        context: said(&["context_length"]),
        epsilon: said(&["attention.layer_norm_rms_epsilon"]),
        window: match window {
            true => said(&["attention.sliding_window"]),
            false => format!("default of {}", section.prefix),
        },
    }
}

/// Refuses files of other kinds, which also have the architecture's name.
fn is_a_model(file: &Gguf) -> Result<()> {
    const TYPE: &str = "general.type";
    match file.text(TYPE)? {
        None | Some("model") => Ok(()),
        Some(other) => {
            let what = match other {
                "adapter" => ": a LoRA adapter without its model",
                "mmproj" => ": what turns images or sound into embeddings, without its model",
                "vocab" => ": a vocabulary without weights",
                "imatrix" => ": statistics for quantization",
                _ => "",
            };
            Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{}: `{TYPE}` is `{}`{what}; only models are read",
                    file.label(),
                    other.escape_debug()
                ),
            ))
        }
    }
}

/// Returns RoPE, and the longest sequence that it supports.
fn rope(section: &Section<'_>, head_dim: usize, context_length: usize) -> Result<(Rope, usize)> {
    const FACTORS: &str = "rope_freqs.weight";
    if head_dim == 0 || head_dim > 1 << 16 {
        return Err(section.error("attention.key_length", format!("is {head_dim}")));
    }
    let theta = section.positive("rope.freq_base")?.unwrap_or(10_000.0);
    // A factor without a type is linear, and a factor of 0 means none.
    let mut factor = 1.0;
    for name in ["rope.scale_linear", "rope.scaling.factor"] {
        match section.file.number(&section.key(name))? {
            Some(n) if n < 0.0 => return Err(section.error(name, format!("is {n}"))),
            Some(n) if n > 0.0 => factor = n,
            _ => {}
        }
    }
    let mut longest = context_length;
    let scaling = match section.file.text(&section.key("rope.scaling.type"))? {
        Some("none") => RopeScaling::None,
        None | Some("linear") => RopeScaling::Linear { factor },
        Some("yarn") => {
            let yarn = yarn(section, factor, context_length)?;
            longest = longest.max((yarn.original_context * yarn.factor) as usize);
            RopeScaling::Yarn(yarn)
        }
        Some(other) => {
            return Err(section.fail(
                ErrorKind::Unsupported,
                "rope.scaling.type",
                format!(
                    "is `{}`; supported are none, linear and yarn, and Llama 3's factors",
                    other.escape_debug()
                ),
            ));
        }
    };
    let mut rope = Rope::new(head_dim, theta, scaling);
    if let Some(factor) = section.positive("rope.scaling.attn_factor")? {
        rope.attention_factor *= factor as f32;
    }
    if let Some(factors) = section.file.tensor(FACTORS) {
        let bad = |reason: &str| {
            Error::new(
                ErrorKind::Model,
                format!("{}: tensor `{FACTORS}` {reason}", section.file.label()),
            )
        };
        if factors.dtype != TensorType::Candle(GgmlDType::F32) || factors.shape != [head_dim / 2] {
            return Err(bad("is not one f32 for each rotary pair"));
        }
        let (factors, _) = section.file.bytes(factors).as_chunks::<4>();
        for (frequency, factor) in rope.frequencies.iter_mut().zip(factors) {
            let factor = f32::from_le_bytes(*factor);
            if !(factor.is_finite() && factor > 0.0) {
                return Err(bad("has a factor that is not above 0"));
            }
            *frequency /= factor;
        }
        rope.described += &format!(", divided by the factors of `{FACTORS}`");
    }
    Ok((rope, longest))
}

/// YaRN as llama.cpp computes it from these keys.
fn yarn(section: &Section<'_>, factor: f64, context_length: usize) -> Result<Yarn> {
    let key = |name: &str| format!("rope.scaling.{name}");
    if factor < 1.0 {
        let reason = format!("is {factor}; it must be at least 1");
        return Err(section.error(&key("factor"), reason));
    }
    for name in ["yarn_ext_factor", "yarn_attn_factor"] {
        let name = key(name);
        // A negative number means the default.
        if let Some(value) = section.file.number(&section.key(&name))?
            && value >= 0.0
            && value != 1.0
        {
            let reason = format!("is {value}; only 1 is supported");
            return Err(section.fail(ErrorKind::Unsupported, &name, reason));
        }
    }
    let turns = |name: &str, default: f64| -> Result<f64> {
        let value = section.file.number(&section.key(&key(name)))?;
        Ok(value.filter(|&turns| turns > 0.0).unwrap_or(default))
    };
    let beta_fast = turns("yarn_beta_fast", Yarn::BETA_FAST)?;
    let beta_slow = turns("yarn_beta_slow", Yarn::BETA_SLOW)?;
    if beta_slow >= beta_fast {
        let reason = "is not above `yarn_beta_slow`";
        return Err(section.error(&key("yarn_beta_fast"), reason));
    }
    let original_context = section.positive(&key("original_context_length"))?;
    let attention_factor = Yarn::attention_factor(factor, 1.0);
    Ok(Yarn {
        factor,
        original_context: original_context.unwrap_or(context_length as f64),
        beta_fast,
        beta_slow,
        truncate: true,
        attention_factor: match section
            .file
            .number(&section.key(&key("yarn_log_multiplier")))?
        {
            Some(scale) if scale != 0.0 => attention_factor / Yarn::attention_factor(factor, scale),
            _ => attention_factor,
        },
    })
}
