//! Settings that candle-transformers' models would compute differently, or do not support, are refused by the field's
//! name.

use std::path::Path;

use dart_math::engine::{ActivationType, BackendChoice, Engine, Instructions, KvType};
use dart_math::model::{DeviceChoice, DtypeChoice, Model, ModelSource};
use dart_math::{Error, ErrorKind};
use serde_json::{Map, Value, json};

use super::NAMES;
use crate::golden::{fixtures, read_json};
use crate::golden_tiny::Fixture;

/// A copy of a fixture with a changed configuration.
pub(super) fn changed(
    directory: &Path,
    change: impl FnOnce(&mut Map<String, Value>),
) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in ["model.safetensors", "tokenizer.json"] {
        std::fs::copy(directory.join(file), copy.path().join(file)).unwrap();
    }
    let mut config: Map<String, Value> = read_json(&directory.join("config.json"));
    change(&mut config);
    let text = Value::Object(config).to_string();
    std::fs::write(copy.path().join("config.json"), text).unwrap();
    copy
}

fn fixture(name: &str) -> std::path::PathBuf {
    fixtures().join(format!("transformers_{name}"))
}

fn load(directory: &Path) -> dart_math::Result<Model> {
    Model::builder(ModelSource::Directory(directory.to_owned()))
        .device(DeviceChoice::Cpu)
        .load()
}

/// Loads a fixture with some fields set, or removed if they are `"(none)"`.
fn with(name: &str, fields: &Value) -> dart_math::Result<Model> {
    let copy = changed(&fixture(name), |config| {
        for (field, value) in fields.as_object().unwrap() {
            match value == "(none)" {
                true => config.remove(field),
                false => config.insert(field.clone(), value.clone()),
            };
        }
    });
    load(copy.path())
}

fn refused(name: &str, fields: &Value) -> Error {
    match with(name, fields) {
        Ok(_) => panic!("{name} with {fields} is loaded"),
        Err(error) => error,
    }
}

#[test]
fn fields_that_candle_computes_otherwise() {
    let longrope = json!({"type": "longrope", "short_factor": [1.0], "long_factor": [2.0]});
    let yarn = |more: Value| {
        let mut yarn = json!({"type": "yarn", "factor": 4.0, "mscale": 0.7, "mscale_all_dim": 0.7,
                              "original_max_position_embeddings": 64});
        for (field, value) in more.as_object().unwrap() {
            yarn[field] = value.clone();
        }
        json!({"rope_scaling": yarn})
    };
    for (name, fields, field) in [
        (
            "gemma2",
            json!({"query_pre_attn_scalar": 9}),
            "query_pre_attn_scalar",
        ),
        (
            "gemma2",
            json!({"query_pre_attn_scalar": "(none)"}),
            "query_pre_attn_scalar",
        ),
        (
            "gemma2",
            json!({"tie_word_embeddings": false}),
            "tie_word_embeddings",
        ),
        (
            "gemma2",
            json!({"use_bidirectional_attention": true}),
            "use_bidirectional_attention",
        ),
        (
            "gemma2",
            json!({"hidden_activation": "quick_gelu"}),
            "hidden_activation",
        ),
        (
            "gemma2",
            json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
            "rope_type",
        ),
        (
            "gemma2",
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (
            "gemma2",
            json!({"quantization_config": {"quant_method": "awq"}}),
            "quantization_config",
        ),
        (
            "gemma3",
            json!({"query_pre_attn_scalar": 168}),
            "query_pre_attn_scalar",
        ),
        (
            "gemma3",
            json!({"tie_word_embeddings": false}),
            "tie_word_embeddings",
        ),
        (
            "gemma3",
            json!({"rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
            "rope_type",
        ),
        (
            "gemma3",
            json!({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8.0}}}),
            "rope_type",
        ),
        (
            "gemma3",
            json!({"layer_types": ["full_attention"]}),
            "layer_types",
        ),
        (
            "gemma3",
            json!({"layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}),
            "layer_types",
        ),
        ("phi3", json!({"rope_scaling": longrope}), "rope_type"),
        ("phi3", json!({"head_dim": 4}), "head_dim"),
        (
            "phi3",
            json!({"partial_rotary_factor": 0.1}),
            "partial_rotary_factor",
        ),
        (
            "phi3",
            json!({"partial_rotary_factor": 1.5}),
            "partial_rotary_factor",
        ),
        (
            "glm4",
            json!({"rope_parameters": {"rope_type": "yarn"}}),
            "rope_type",
        ),
        (
            "glm4",
            json!({"rope_parameters": {"partial_rotary_factor": 0.4}}),
            "partial_rotary_factor",
        ),
        (
            "mixtral",
            json!({"tie_word_embeddings": true}),
            "tie_word_embeddings",
        ),
        ("mixtral", json!({"head_dim": 8}), "head_dim"),
        (
            "mixtral",
            json!({"num_experts_per_tok": 5}),
            "num_experts_per_tok",
        ),
        (
            "starcoder2",
            json!({"tie_word_embeddings": false}),
            "tie_word_embeddings",
        ),
        (
            "deepseek_v2",
            json!({"topk_method": "group_limited_greedy"}),
            "topk_method",
        ),
        (
            "deepseek_v2",
            json!({"scoring_func": "sigmoid"}),
            "scoring_func",
        ),
        (
            "deepseek_v2",
            json!({"norm_topk_prob": true}),
            "norm_topk_prob",
        ),
        (
            "deepseek_v2",
            json!({"moe_layer_freq": 2}),
            "moe_layer_freq",
        ),
        ("deepseek_v2", json!({"mlp_bias": true}), "mlp_bias"),
        ("deepseek_v2", json!({"rms_norm_eps": 1e-5}), "rms_norm_eps"),
        (
            "deepseek_v2",
            json!({"num_key_value_heads": 2}),
            "num_key_value_heads",
        ),
        (
            "deepseek_v2",
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (
            "deepseek_v2",
            yarn(json!({"attention_factor": 2.0})),
            "attention_factor",
        ),
        ("deepseek_v2", yarn(json!({"truncate": false})), "truncate"),
        ("deepseek_v2", yarn(json!({"mscale": null})), "mscale"),
        (
            "deepseek_v2",
            json!({"rope_scaling": {"type": "linear", "factor": 2.0}}),
            "rope_type",
        ),
    ] {
        let error = refused(name, &fields);
        assert_eq!(error.kind(), expected_kind(field, &fields), "{error}");
        let text = error.to_string();
        assert!(text.contains("config.json"), "{text}");
        assert!(
            text.contains(&format!("`{field}`")),
            "{name} {fields}: {text}"
        );
    }
}

/// An invalid value is a model error, whether or not the feature is supported.
fn expected_kind(field: &str, fields: &Value) -> ErrorKind {
    let impossible = ["0.1", "1.5", "0.4", "\"num_experts_per_tok\":5"];
    let text = fields.to_string();
    let named = ["partial_rotary_factor", "num_experts_per_tok"].contains(&field);
    match named && impossible.iter().any(|part| text.contains(part)) {
        true => ErrorKind::Model,
        false => ErrorKind::Unsupported,
    }
}

#[test]
fn sizes_that_cannot_be() {
    for name in NAMES {
        for field in [
            "vocab_size",
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "max_position_embeddings",
        ] {
            for value in [json!(0), json!(1u64 << 40), json!(-1), json!("8")] {
                let error = refused(name, &json!({field: value}));
                assert_eq!(error.kind(), ErrorKind::Model, "{error}");
                let text = error.to_string();
                assert!(text.contains(field), "{name} {field} {value}: {text}");
            }
        }
    }
    // Valid values that do not match the tensors.
    for (name, fields, reason) in [
        (
            "gemma2",
            json!({"hidden_size": 20}),
            "the configuration asks for",
        ),
        (
            "phi3",
            json!({"num_hidden_layers": 3}),
            "no tensor `model.layers.2.",
        ),
        ("glm4", json!({"num_hidden_layers": 1}), "has no use for it"),
        (
            "glm4",
            json!({"attention_bias": false}),
            "has no use for it",
        ),
        (
            "starcoder2",
            json!({"use_bias": false}),
            "has no use for it",
        ),
        ("mixtral", json!({"num_local_experts": 3}), "gate.weight"),
        ("deepseek_v2", json!({"q_lora_rank": 4}), "no tensor"),
        (
            "deepseek_v2",
            json!({"first_k_dense_replace": 0}),
            "no tensor",
        ),
    ] {
        let text = refused(name, &fields).to_string();
        assert!(
            text.contains("model.safetensors") && text.contains(reason),
            "{name}: {text}"
        );
    }
}

/// Fields have the same meaning where transformers 5 and older versions write them.
#[test]
fn older_and_newer_configurations_are_one() {
    let logits = |model: Model| {
        let engine = Engine::builder(model).build().unwrap();
        engine
            .logits(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3], &[5, 8])
            .unwrap()
    };
    let object = |theta: f64| json!({"rope_type": "default", "rope_theta": theta});
    let none = "(none)";
    for (name, newer) in [
        (
            "gemma2",
            json!({"rope_scaling": none, "rope_theta": none, "rope_parameters": object(500.0)}),
        ),
        (
            "gemma3",
            json!({"rope_scaling": none, "rope_theta": none, "rope_local_base_freq": none,
                   "sliding_window_pattern": none,
                   "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                   "rope_parameters": {
                       "full_attention": object(3000.0), "sliding_attention": object(50.0)}}),
        ),
        (
            "glm4",
            json!({"rope_parameters": none, "rope_theta": 300.0, "partial_rotary_factor": 0.5}),
        ),
        (
            "deepseek_v2_queries",
            json!({"rope_parameters": none, "rope_theta": 300.0}),
        ),
    ] {
        let one = logits(load(&fixture(name)).unwrap());
        assert!(logits(with(name, &newer).unwrap()) == one, "{name}");
        // The fields have an effect.
        let other = json!({"rope_parameters": none, "rope_theta": 7.0});
        assert!(logits(with(name, &other).unwrap()) != one, "{name}");
    }
}

#[test]
fn settings_that_are_for_others() {
    for name in ["gemma2", "deepseek_v2"] {
        let directory = fixture(name);
        for dtype in [DtypeChoice::F16, DtypeChoice::Bf16, DtypeChoice::Quantized] {
            let model = Model::builder(ModelSource::Directory(directory.clone()));
            let error = model
                .device(DeviceChoice::Cpu)
                .dtype(dtype)
                .load()
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains(&dtype.to_string()), "{error}");
        }
        let config = directory.join("config.json");
        let random = Model::random_like(&config, 1, DeviceChoice::Cpu, DtypeChoice::F32);
        let error = random.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("no random ones"), "{error}");

        let builder = || Engine::builder(load(&directory).unwrap());
        for (builder, setting) in [
            (builder().backend(BackendChoice::Candle), "candle backend"),
            (builder().kv_type(KvType::F16), "f16"),
            (builder().activation_type(ActivationType::Int8), "int8"),
            (builder().instructions(Instructions::Portable), "portable"),
        ] {
            let error = builder.build().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains(setting), "{error}");
        }
        let engine = builder().deterministic(true).build().unwrap();
        assert!(engine.model().weights().layers.is_empty());
        let config = engine.model().config().clone();
        let error = Model::random(config, 1, engine.model().device(), engine.model().dtype());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Unsupported);
    }
}

/// Weights that are not finite are named.
#[test]
fn weights_that_are_not_finite() {
    let copy = changed(&fixture("mixtral"), |_| {});
    let path = copy.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let engine = Engine::builder(load(copy.path()).unwrap()).build().unwrap();
    let error = engine.logits(&[1, 2], &[3]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert!(error.to_string().contains("`model."), "{error}");
}

/// GGUF files of these architectures are refused with any features.
#[test]
fn gguf_files() {
    let mut gguf = crate::tiny::Gguf::new();
    gguf.set(
        "general.architecture",
        crate::tiny::Meta::Text("gemma2".to_owned()),
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    gguf.write(&path);
    let error = Model::builder(ModelSource::Gguf(path)).load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("GGUF files are"), "{error}");
}

/// Other settings change the logits, so the golden tests can detect a wrong setting.
#[test]
fn settings_show_in_the_logits() {
    for (name, fields) in [
        ("gemma2", json!({"attn_logit_softcapping": null})),
        ("gemma2", json!({"final_logit_softcapping": null})),
        ("gemma3", json!({"sliding_window": 8})),
        ("gemma3", json!({"rope_local_base_freq": 60.0})),
        ("starcoder2", json!({"hidden_act": "silu"})),
        ("deepseek_v2", json!({"routed_scaling_factor": 1.0})),
        ("deepseek_v2", json!({"rope_scaling": null})),
        ("mixtral", json!({"num_experts_per_tok": 1})),
    ] {
        let golden = Fixture::read(&format!("transformers_{name}")).golden;
        let logits = |model: Model| {
            let engine = Engine::builder(model).build().unwrap();
            engine.logits(&golden.tokens, &[]).unwrap().remove(0)
        };
        let one = logits(load(&fixture(name)).unwrap());
        let other = logits(with(name, &fields).unwrap());
        let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0f32, f32::max);
        let scale = largest(&mut one.iter().map(|x| x.abs()));
        let difference = largest(&mut one.iter().zip(&other).map(|(a, b)| (a - b).abs()));
        // A hundred times the tolerance.
        assert!(
            difference > 1e-3 * scale,
            "{name} {fields}: {difference} of {scale}"
        );
    }
}
