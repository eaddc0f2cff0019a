//! Directories of safetensors.

use std::path::Path;

use dart_math::ErrorKind;
use dart_math::candle::DType;
use dart_math::model::{DtypeChoice, Matrix};
use serde_json::{Value, json};

use super::{assert_is_tiny, load, load_as};
use crate::tiny;

#[test]
fn a_directory_gives_its_weights_in_every_type() {
    let directory = tiny::directory();
    assert_is_tiny(&load(directory.path()).unwrap());
    for dtype in ["F16", "BF16", "F64"] {
        let bytes = tiny::safetensors(&tiny::tensors(), dtype);
        std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
        assert_is_tiny(&load(directory.path()).unwrap());
    }
    for (choice, dtype) in [
        (DtypeChoice::F16, DType::F16),
        (DtypeChoice::Bf16, DType::BF16),
    ] {
        let model = load_as(directory.path(), choice).unwrap();
        assert_eq!(model.dtype(), dtype);
        assert_is_tiny(&model);
    }
    let error = load_as(directory.path(), DtypeChoice::Quantized).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
}

#[test]
fn several_files_are_as_one() {
    let directory = tiny::directory();
    let whole = load(directory.path()).unwrap();
    shard(directory.path());
    let model = load(directory.path()).unwrap();
    assert_is_tiny(&model);
    assert_eq!(model.fingerprint(), whole.fingerprint());
}

/// Splits the tiny model into two files with an index.
fn shard(at: &Path) {
    std::fs::remove_file(at.join("model.safetensors")).unwrap();
    let (first, second): (Vec<_>, Vec<_>) = tiny::tensors()
        .into_iter()
        .partition(|(name, _)| name.contains("layers.0"));
    let mut map = serde_json::Map::new();
    for (shard, tensors) in [("a.safetensors", first), ("b.safetensors", second)] {
        for (name, _) in &tensors {
            map.insert(name.clone(), json!(shard));
        }
        let bytes = tiny::safetensors(&tensors.into_iter().collect(), "F32");
        std::fs::write(at.join(shard), bytes).unwrap();
    }
    tiny::write_json(
        &at.join("model.safetensors.index.json"),
        &json!({"metadata": {}, "weight_map": map}),
    );
}

#[test]
fn an_index_is_not_trusted() {
    let directory = tiny::directory();
    shard(directory.path());
    let index = directory.path().join("model.safetensors.index.json");
    let good: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let with = |name: &str, shard: Value| {
        let mut changed = good.clone();
        changed["weight_map"][name] = shard;
        tiny::write_json(&index, &changed);
        load(directory.path()).unwrap_err().to_string()
    };
    for outside in ["../model.safetensors", "/etc/passwd", "..", "", "a.bin"] {
        let message = with("lm_head.weight", json!(outside));
        assert!(message.contains("lm_head.weight"), "{message}");
    }
    assert!(with("lm_head.weight", json!("c.safetensors")).contains("c.safetensors: missing"));
    assert!(with("no.such", json!("a.safetensors")).contains("no tensor `no.such`"));
    assert!(with("lm_head.weight", json!(1)).contains("not a file name"));
    tiny::write_json(&index, &json!({}));
    let message = load(directory.path()).unwrap_err().to_string();
    assert!(message.contains("weight_map"), "{message}");
}

#[test]
fn a_tied_head_is_the_embedding() {
    let directory = tiny::directory();
    let mut config = tiny::config_json();
    config["tie_word_embeddings"] = json!(true);
    tiny::write_json(&directory.path().join("config.json"), &config);
    // Without a head, with a head that equals the embedding, and with a different head, which is then used.
    let mut without = tiny::tensors();
    without.remove("lm_head.weight");
    let mut same = tiny::tensors();
    let embedding = same["model.embed_tokens.weight"].clone();
    same.insert("lm_head.weight".into(), embedding);
    for (tensors, is_tied) in [(without, true), (same, true), (tiny::tensors(), false)] {
        let bytes = tiny::safetensors(&tensors, "F32");
        std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
        let model = load(directory.path()).unwrap();
        let (Matrix::Dense(embedding), Matrix::Dense(head)) =
            (&model.weights().embedding, &model.weights().head)
        else {
            panic!("quantized");
        };
        assert_eq!(embedding.id() == head.id(), is_tied, "the same storage");
    }
}

#[test]
fn all_stop_tokens_are_found() {
    let directory = tiny::directory();
    tiny::write_json(
        &directory.path().join("generation_config.json"),
        &json!({"eos_token_id": [5, 7, 5]}),
    );
    tiny::write_json(
        &directory.path().join("tokenizer_config.json"),
        &json!({"eos_token": {"content": "<s>"}}),
    );
    let model = load(directory.path()).unwrap();
    assert_eq!(model.stop_tokens(), [5, 7, tiny::BOS, tiny::EOS]);
}

#[test]
fn missing_and_wrong_tensors_are_named() {
    let directory = tiny::directory();
    let attempt = |change: &dyn Fn(&mut std::collections::BTreeMap<String, tiny::Tensor>)| {
        let mut tensors = tiny::tensors();
        change(&mut tensors);
        let bytes = tiny::safetensors(&tensors, "F32");
        std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
        let error = load(directory.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Model);
        assert!(error.detail().contains("model.safetensors"), "{error}");
        error.to_string()
    };
    let up = "model.layers.1.mlp.up_proj.weight";
    let message = attempt(&|tensors| {
        tensors.remove(up);
    });
    assert!(message.contains(&format!("no tensor `{up}`")), "{message}");
    let message = attempt(&|tensors| {
        tensors.get_mut(up).unwrap().shape.swap(0, 1);
    });
    assert!(
        message.contains(up) && message.contains("[32, 64]"),
        "{message}"
    );
    let message = attempt(&|tensors| {
        let bias = tiny::Tensor {
            shape: vec![4],
            data: vec![0.0; 4],
        };
        tensors.insert("model.layers.0.self_attn.q_proj.bias".into(), bias);
    });
    assert!(message.contains("q_proj.bias"), "{message}");
    let message = attempt(&|tensors| tensors.clear());
    assert!(
        message.contains("and ") && message.contains(" more"),
        "{message}"
    );
}

#[test]
fn weights_of_other_types_are_refused() {
    let directory = tiny::directory();
    let bytes = tiny::safetensors(&tiny::tensors(), "F8_E4M3");
    std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
    let error = load(directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.detail().contains("F8_E4M3"), "{error}");
}

/// A configuration of a large model allocates no memory if the files contain a small one.
#[test]
fn sizes_are_checked_before_memory_is_taken() {
    let directory = tiny::directory();
    for (field, value) in [
        ("vocab_size", json!(1 << 24)),
        ("hidden_size", json!(1 << 20)),
        ("intermediate_size", json!(1 << 20)),
        ("num_hidden_layers", json!(4096)),
        ("vocab_size", json!(u64::MAX)),
        ("hidden_size", json!(u64::MAX)),
        ("num_hidden_layers", json!(u64::MAX)),
        ("num_hidden_layers", json!(0)),
        ("head_dim", json!(u64::MAX)),
        ("head_dim", json!(7)),
        ("num_attention_heads", json!(0)),
        ("num_key_value_heads", json!(0)),
        ("num_key_value_heads", json!(3)),
        ("max_position_embeddings", json!(u64::MAX)),
        ("rms_norm_eps", json!(-1.0)),
        ("rope_theta", json!(0)),
        ("rope_theta", json!("10000")),
        ("hidden_size", json!(-4)),
        ("hidden_size", json!(32.5)),
        ("vocab_size", json!([1])),
        ("eos_token_id", json!("end")),
    ] {
        let mut config = tiny::config_json();
        config[field] = value.clone();
        tiny::write_json(&directory.path().join("config.json"), &config);
        let error = load(directory.path()).expect_err(field);
        assert_eq!(error.kind(), ErrorKind::Model, "{field} {value}: {error}");
    }
}

#[test]
fn hostile_safetensors_headers_give_errors() {
    let directory = tiny::directory();
    let path = directory.path().join("model.safetensors");
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        let header = format!(
            r#"{{"lm_head.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#
        );
        tiny::framed(&header, &[0; 64])
    };
    let max = u64::MAX;
    let huge = [max.to_le_bytes().as_slice(), b"{}"].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("seven bytes", vec![0; 7]),
        ("endless header", huge),
        ("not JSON", tiny::framed("{", &[])),
        ("a list", tiny::framed("[]", &[])),
        ("nesting", tiny::framed(&"[".repeat(100_000), &[])),
        (
            "not UTF-8",
            [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(),
        ),
        (
            "overflowing shape",
            entry("F32", &format!("[{max},{max}]"), "[0,64]"),
        ),
        (
            "overflowing size",
            entry("F32", &format!("[{}]", max / 4 + 1), "[0,0]"),
        ),
        ("end beyond", entry("U8", "[1]", &format!("[0,{max}]"))),
        (
            "start beyond",
            entry("U8", "[1]", &format!("[{max},{max}]")),
        ),
        ("reversed", entry("F32", "[16]", "[64,0]")),
        ("too short", entry("F32", "[17]", "[0,64]")),
        ("left over", entry("F32", "[15]", "[0,60]")),
        ("gap", entry("F32", "[15]", "[4,64]")),
        ("one offset", entry("F32", "[16]", "[0]")),
        ("negative", entry("F32", "[-16]", "[0,64]")),
        ("no shape", entry("F32", "null", "[0,64]")),
        (
            "many dimensions",
            entry("F32", &format!("{:?}", [1; 99]), "[0,4]"),
        ),
    ];
    for (case, bytes) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = load(directory.path()).expect_err(case);
        assert!(
            matches!(error.kind(), ErrorKind::Model | ErrorKind::Io),
            "{case}: {error}"
        );
        assert!(
            error.detail().contains("model.safetensors"),
            "{case}: {error}"
        );
    }
}

#[test]
fn other_damage_is_named_by_file() {
    for (file, text) in [
        ("config.json", "{"),
        ("config.json", "null"),
        ("generation_config.json", "[]"),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "{\"model\": 1"),
        ("tokenizer_config.json", "x"),
    ] {
        let directory = tiny::directory();
        std::fs::write(directory.path().join(file), text).unwrap();
        let error = load(directory.path()).expect_err(file);
        assert_eq!(error.kind(), ErrorKind::Model, "{error}");
        assert!(error.detail().contains(file), "{error}");
    }
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let directory = tiny::directory();
        std::fs::remove_file(directory.path().join(file)).unwrap();
        let error = load(directory.path()).expect_err(file);
        assert!(error.detail().contains(file), "{error}");
    }
    let error = load(Path::new("/no/such/directory")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn a_tokenizer_may_have_more_tokens_than_its_model_within_bounds() {
    let directory = tiny::directory();
    let mut tokenizer = tiny::tokenizer_json();
    tokenizer["model"]["vocab"]["extra"] = json!(300);
    tiny::write_json(&directory.path().join("tokenizer.json"), &tokenizer);
    let model = load(directory.path()).unwrap();
    assert_eq!(model.tokenizer().vocab_size(), 301);
    assert!(model.raw_prompt("extra").is_ok());
    // An id at the end of the range must not allocate tables of that length.
    tokenizer["model"]["vocab"]["extra"] = json!(u32::MAX);
    tiny::write_json(&directory.path().join("tokenizer.json"), &tokenizer);
    let error = load(directory.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Model);
    assert!(error.detail().contains("4294967295"), "{error}");
}

/// A pattern that exceeds the regex engine's limits must not abort the program.
#[test]
fn a_tokenizer_that_cannot_be_run_gives_an_error() {
    let directory = tiny::directory();
    let mut tokenizer = tiny::tokenizer_json();
    tokenizer["pre_tokenizer"] = json!({
        "type": "Split", "pattern": {"Regex": "(x+x+)+y"}, "behavior": "Isolated", "invert": false
    });
    tiny::write_json(&directory.path().join("tokenizer.json"), &tokenizer);
    let model = load(directory.path()).unwrap();
    let error = model.raw_prompt(&"x".repeat(60)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Model, "{error}");
}

#[test]
#[cfg(not(feature = "hub"))]
fn a_repository_without_the_hub_says_what_to_build_with() {
    use dart_math::model::{Model, ModelSource};
    let source = ModelSource::parse("organisation/name").unwrap();
    let error = Model::builder(source).load().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let error = error.to_string();
    for words in ["organisation/name", "--features hub", "a GGUF file"] {
        assert!(error.contains(words), "{error}");
    }
}
