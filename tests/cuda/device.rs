//! The device for the scheduler's tests: the first CUDA device, with f32.

use dart_math::engine::BackendChoice;
use dart_math::model::{DecoderConfig, DeviceChoice, DtypeChoice, Model};

pub(crate) const BACKENDS: &[BackendChoice] = &[BackendChoice::Auto];

/// The summation order in matrix products depends on the number of rows in a step.
pub(crate) const LOGPROB_ERROR: f64 = 1e-3;

/// Steps that may be issued before sampled tokens have arrived.
pub(crate) const STEPS_AHEAD: usize = 1;

/// Only every n-th of similar cases is tested, because an emulated step takes 10 ms.
pub(crate) const STRIDE: usize = 4;

/// Whether a step reports the times of its matrix products and attention. Here a step is one graph.
pub(crate) const TIMES_PARTS: bool = false;

/// A Llama with random weights.
pub(crate) fn random(config: DecoderConfig) -> Model {
    let json = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": config.hidden_size, "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.heads, "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim, "num_hidden_layers": config.layers,
        "max_position_embeddings": config.context_length, "vocab_size": config.vocab_size,
        "rms_norm_eps": 1e-5, "rope_theta": 1e4, "tie_word_embeddings": false,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, json.to_string()).unwrap();
    Model::random_like(&path, 5, DeviceChoice::Cuda(0), DtypeChoice::F32).unwrap()
}
