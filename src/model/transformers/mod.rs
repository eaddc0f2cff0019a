//! Architectures that the crate's own decoder does not know, computed by candle-transformers' models
//! (feature `transformers`).
//!
//! One file an architecture: it reads `config.json`, refuses by name what candle's model would
//! compute otherwise than Hugging Face's transformers does, and builds that model. To add another, write
//! its file and name it here, in `mod` and in `architectures!`, and make a fixture for it
//! (`scripts/golden_transformers.py`).
//!
//! Limits, of all of them:
//!
//! - Sequences are computed each by itself, so that many take as long as one after another on as many
//!   cores; each holds the KV cache of its prompt, too.
//! - f32 only: most of these models compute the positions' angles in the weights' own type, which
//!   16 bits are too few for.
//! - At most 8,192 positions, and no more than a sliding window is wide: candle's masks let
//!   one position too many through, and none are applied to single tokens. (Gemma 3's windows are
//!   right, as the crate feeds them.)
//! - Safetensors on one of candle's devices: no GGUF files, no random weights, not the crate's own CUDA
//!   backend.
//!
//! An architecture is left out if candle computes it differently and no field of `config.json` shows
//! that. This is the case for none of the architectures here.

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

/// What there is, for messages.
pub(super) const SUPPORTED: &str =
    "Gemma 2, Gemma 3 (text), Phi-3, GLM-4, Mixtral, StarCoder2 and DeepSeek-V2";

/// Why a known architecture cannot be had where only the crate's own are.
#[cfg(not(feature = "transformers"))]
pub(super) const NOT_HERE: &str =
    "candle-transformers computes it: build with the feature `transformers`";
/// Why a known architecture cannot be had where only the crate's own are.
#[cfg(feature = "transformers")]
pub(super) const NOT_HERE: &str =
    "candle-transformers computes it, from the weights of a model alone: there are no random ones";

macro_rules! architectures {
    ($($module:ident: $class:literal $kind:literal,)*) => {
        /// What `architectures` and `model_type` call them.
        const NAMES: &[(&str, &str)] = &[$(($class, $kind)),*];

        /// Who reads which.
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

/// Whether this names one of them.
pub(super) fn knows(name: &str) -> bool {
    index(name).is_some()
}

fn index(name: &str) -> Option<usize> {
    NAMES
        .iter()
        .position(|(class, kind)| [class, kind].contains(&&name))
}
