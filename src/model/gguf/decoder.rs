//! The decoder that a GGUF file's metadata describes.
//!
//! Knows the keys of llama.cpp's converters; reads no weights, apart from the rotary factors that
//! those converters store as a tensor.

use candle_core::quantized::GgmlDType;

use super::container::{Gguf, Value};
use super::types::TensorType;
use crate::model::assemble::{Layout, Naming};
use crate::model::config::{Architecture, DecoderConfig};
use crate::model::rope::{self, RopeScaling};
use crate::{Error, ErrorKind, Result};

/// A decoder and how its tensors are stored.
#[derive(Debug)]
pub(in crate::model) struct Described {
    pub(in crate::model) config: DecoderConfig,
    pub(in crate::model) layout: Layout,
    pub(in crate::model) naming: Naming,
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

    /// A size that is the same in all layers, which some converters say for each of them.
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
                    "{}: `{ARCHITECTURE}` is `{}`; supported are {}",
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
        Architecture::Llama | Architecture::Mistral => {
            section.size("attention.sliding_window")?.filter(|&n| n > 0)
        }
        // Qwen's converters store the number even where the model does not use it.
        Architecture::Qwen2 | Architecture::Qwen3 => None,
    };
    if layers > 1 << 16 {
        return Err(section.error("block_count", format!("is {layers}")));
    }
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
        context_length: section.required("context_length")?,
        rms_norm_eps: section
            .positive("attention.layer_norm_rms_epsilon")?
            .ok_or_else(|| section.error("attention.layer_norm_rms_epsilon", "is missing"))?
            as f32,
        rope_frequencies: rope_frequencies(&section, head_dim)?,
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
            // The converter reorders queries and keys of Llama-like models for a rotary
            // embedding of neighbouring elements.
            interleaved: matches!(architecture, Architecture::Llama | Architecture::Mistral),
        },
    })
}

/// Refuses files of other kinds, which have the architecture's name, too.
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

fn rope_frequencies(section: &Section<'_>, head_dim: usize) -> Result<Vec<f32>> {
    const FACTORS: &str = "rope_freqs.weight";
    if head_dim == 0 || head_dim > 1 << 16 {
        return Err(section.error("attention.key_length", format!("is {head_dim}")));
    }
    let theta = section.positive("rope.freq_base")?.unwrap_or(10_000.0);
    let scaling_type = section.key("rope.scaling.type");
    let scaling = match section.file.text(&scaling_type)? {
        None | Some("none") => match section.positive("rope.scale_linear")? {
            Some(factor) => RopeScaling::Linear { factor },
            None => RopeScaling::None,
        },
        Some("linear") => RopeScaling::Linear {
            factor: section
                .positive("rope.scaling.factor")?
                .ok_or_else(|| section.error("rope.scaling.factor", "is missing"))?,
        },
        Some(other) => {
            return Err(section.fail(
                ErrorKind::Unsupported,
                "rope.scaling.type",
                format!(
                    "is `{}`; supported are none and linear, and Llama 3's factors",
                    other.escape_debug()
                ),
            ));
        }
    };
    let mut frequencies = rope::frequencies(head_dim, theta, scaling);
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
        for (frequency, factor) in frequencies.iter_mut().zip(factors) {
            let factor = f32::from_le_bytes(*factor);
            if !(factor.is_finite() && factor > 0.0) {
                return Err(bad("has a factor that is not above 0"));
            }
            *frequency /= factor;
        }
    }
    Ok(frequencies)
}
