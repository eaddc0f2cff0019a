//! Tests configurations of real and made-up models.

use serde_json::{Value, json};

use super::config::{Parsed, parse};
use super::stop_tokens::stop_tokens;
use crate::model::config::Architecture;
use crate::{ErrorKind, Result};

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
        ..
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

/// Missing fields take the defaults of transformers.
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

    // If both are present, `rope_scaling` takes precedence unless it is empty. The base is its own
    // or the top-level one, never the other object's.
    let both = json!({"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0},
        "rope_parameters": {"rope_type": "default", "rope_theta": 7e5}});
    assert_eq!(frequencies(both).unwrap(), linear);
    for empty in [json!({}), json!(null)] {
        let both = json!({"rope_theta": 1e4, "rope_scaling": empty,
            "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}});
        assert_eq!(frequencies(both).unwrap(), plain);
    }
    // Within the context that the model was trained for.
    let dynamic = json!({"rope_theta": 5e5, "rope_scaling": {"type": "dynamic", "factor": 2.0}});
    assert_eq!(frequencies(dynamic).unwrap(), plain);

    for (more, kind) in [
        (
            json!({"rope_scaling": {"type": "dynamic"}}),
            ErrorKind::Model,
        ),
        (
            json!({"rope_scaling": {"type": "yarn", "factor": 0.5}}),
            ErrorKind::Model,
        ),
        (
            json!({"rope_scaling": {"type": "longrope", "factor": 4.0}}),
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

/// Frequencies and factors from transformers (`scripts/golden_rope.py`).
#[test]
fn rotary_embeddings_are_those_of_transformers() {
    #[derive(serde::Deserialize)]
    struct Case {
        config: Value,
        frequencies: Vec<f32>,
        attention_factor: f32,
    }
    let golden = include_str!("../../../tests/fixtures/golden/rope.json");
    let cases: Vec<Case> = serde_json::from_str(golden).unwrap();
    assert!(cases.len() > 20);
    for case in cases {
        let config = ok(case.config.clone()).config;
        assert_eq!(config.rope_frequencies.len(), case.frequencies.len());
        for (index, (found, expected)) in config
            .rope_frequencies
            .iter()
            .zip(&case.frequencies)
            .enumerate()
        {
            // transformers computes the powers in f32.
            let close = (found - expected).abs() <= 3e-6 * expected;
            assert!(close, "{}: pair {index}: {found} {expected}", case.config);
        }
        let (found, expected) = (config.rope_attention_factor, case.attention_factor);
        assert!(
            (found - expected).abs() < 1e-6,
            "{}: {found} {expected}",
            case.config
        );
    }
}

#[test]
fn a_yarn_model_takes_the_longer_context() {
    let context = |scaling: Value| {
        ok(json!({"model_type": "qwen2", "max_position_embeddings": 32768, "rope_scaling": scaling}))
            .config
            .context_length
    };
    let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
    assert_eq!(context(yarn), 131_072);
    // The factor is already included.
    let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192});
    assert_eq!(context(yarn), 32_768);
    assert_eq!(context(json!({"type": "linear", "factor": 2.0})), 32_768);
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
