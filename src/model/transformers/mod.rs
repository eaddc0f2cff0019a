//! Architectures that the crate's own decoder does not support, computed by the models of
//! candle-transformers (feature `transformers`).
//!
//! Each architecture has one file. It reads `config.json`, refuses by name everything that candle's
//! model would compute differently from Hugging Face transformers, and builds that model. To add an
//! architecture, write its file, name it in `mod` and in `architectures!` below, and create a
//! fixture (`scripts/golden_transformers.py`).
//!
//! All of these architectures have these limits:
//!
//! - Sequences are not batched: many sequences take as long as one after another on as many cores.
//!   Each sequence also holds the KV cache of its prompt.
//! - f32 only: most of these models compute RoPE angles in the weights' type, for which 16 bits are
//!   too few.
//! - At most 8,192 positions, and no more than the width of a sliding window: candle's masks admit
//!   one position too many, and none is applied to single tokens. (Gemma 3's windows are correct,
//!   as the crate feeds them.)
//! - Safetensors on one of candle's devices: no GGUF files, no random weights, not the crate's own
//!   CUDA backend.
//!
//! An architecture is left out if candle computes it differently and no field of `config.json`
//! reveals that. This applies to none of the architectures here.

#[cfg(feature = "transformers")]
mod deepseek_v2;
#[cfg(feature = "transformers")]
mod gemma2;
#[cfg(feature = "transformers")]
mod gemma3;
#[cfg(feature = "transformers")]
mod glm4;
#[cfg(feature = "transformers")]
mod load;
#[cfg(feature = "transformers")]
mod mixtral;
#[cfg(feature = "transformers")]
mod network;
#[cfg(feature = "transformers")]
mod phi3;
#[cfg(feature = "transformers")]
mod settings;
#[cfg(feature = "transformers")]
mod starcoder2;
#[cfg(feature = "transformers")]
mod tensors;

#[cfg(feature = "transformers")]
pub(super) use load::{Described, describe, load};
#[cfg(feature = "transformers")]
pub(crate) use network::{Held, TransformersModel};

/// The supported architectures, for messages.
pub(super) const SUPPORTED: &str =
    "Gemma 2, Gemma 3 (text), Phi-3, GLM-4, Mixtral, StarCoder2 and DeepSeek-V2";

/// The reason why a known architecture is not available where only the crate's own decoder is.
#[cfg(not(feature = "transformers"))]
pub(super) const NOT_HERE: &str =
    "candle-transformers computes it: build with the feature `transformers`";
/// The reason why a known architecture is not available where only the crate's own decoder is.
#[cfg(feature = "transformers")]
pub(super) const NOT_HERE: &str =
    "candle-transformers computes it, from the weights of a model alone: there are no random ones";

macro_rules! architectures {
    ($($module:ident: $class:literal $kind:literal,)*) => {
        /// The names of the architectures in `architectures` and `model_type`.
        const NAMES: &[(&str, &str)] = &[$(($class, $kind)),*];

        /// Their readers, in the same order.
        #[cfg(feature = "transformers")]
        const READERS: &[load::Reader] = &[$($module::read),*];
    };
}

architectures! {
    gemma2: "Gemma2ForCausalLM" "gemma2",
    gemma3: "Gemma3ForCausalLM" "gemma3_text",
    phi3: "Phi3ForCausalLM" "phi3",
    glm4: "Glm4ForCausalLM" "glm4",
    mixtral: "MixtralForCausalLM" "mixtral",
    starcoder2: "Starcoder2ForCausalLM" "starcoder2",
    deepseek_v2: "DeepseekV2ForCausalLM" "deepseek_v2",
}

/// Whether `name` is one of these architectures.
pub(super) fn knows(name: &str) -> bool {
    index(name).is_some()
}

fn index(name: &str) -> Option<usize> {
    NAMES
        .iter()
        .position(|(class, kind)| [class, kind].contains(&&name))
}
