//! Loading of models from files: right ones give exactly the weights that were written, damaged
//! and hostile ones give errors that name the file and what is wrong with it.
#![cfg(feature = "engine")]

mod tiny;

use std::path::Path;

use dart_math::candle::{DType, Tensor};
use dart_math::model::{DtypeChoice, Matrix, Model, ModelSource};
use dart_math::{Error, ErrorKind};
use proptest::prelude::*;
use serde_json::{Value, json};
use tiny::{Block, Gguf, Meta};

fn load(path: &Path) -> Result<Model, Error> {
    load_as(path, DtypeChoice::Auto)
}

fn load_as(path: &Path, dtype: DtypeChoice) -> Result<Model, Error> {
    Model::builder(ModelSource::from(path))
        .device("cpu".parse().unwrap())
        .dtype(dtype)
        .load()
}

fn dense(matrix: &Matrix) -> Vec<f32> {
    match matrix {
        Matrix::Dense(tensor) => numbers(tensor),
        Matrix::Quantized(_) => panic!("quantised"),
    }
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor
        .to_dtype(DType::F32)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// Every weight of the model is the one that was written.
fn assert_is_tiny(model: &Model) {
    let tensors = tiny::tensors();
    let get = |name: &str| tensors[name].data.clone();
    let joined = |names: &[String]| -> Vec<f32> { names.iter().flat_map(|n| get(n)).collect() };
    let weights = model.weights();
    assert_eq!(dense(&weights.embedding), get("model.embed_tokens.weight"));
    assert_eq!(dense(&weights.head), get("lm_head.weight"));
    assert_eq!(numbers(&weights.output_norm), get("model.norm.weight"));
    assert_eq!(weights.layers.len(), tiny::LAYERS);
    for (index, layer) in weights.layers.iter().enumerate() {
        let name = |module: &str| format!("model.layers.{index}.{module}.weight");
        assert_eq!(
            dense(&layer.qkv.weight),
            joined(&["q", "k", "v"].map(|p| name(&format!("self_attn.{p}_proj")))),
        );
        assert_eq!(
            dense(&layer.gate_up.weight),
            joined(&[name("mlp.gate_proj"), name("mlp.up_proj")])
        );
        assert_eq!(dense(&layer.down.weight), get(&name("mlp.down_proj")));
        assert_eq!(
            dense(&layer.attention_output.weight),
            get(&name("self_attn.o_proj"))
        );
        assert_eq!(
            numbers(&layer.attention_norm),
            get(&name("input_layernorm"))
        );
        assert_eq!(
            numbers(&layer.ffn_norm),
            get(&name("post_attention_layernorm"))
        );
        assert!(layer.qkv.bias.is_none() && layer.query_norm.is_none());
    }
    assert_eq!(model.tokenizer().vocab_size(), tiny::VOCAB);
    assert_eq!(model.stop_tokens(), [tiny::EOS]);
    let count: usize = tensors.values().map(|t| t.data.len()).sum();
    assert_eq!(model.parameters(), count as u64);
}

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
    let mut tensors = tiny::tensors();
    tensors.remove("lm_head.weight");
    for tensors in [tensors, tiny::tensors()] {
        let bytes = tiny::safetensors(&tensors, "F32");
        std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
        let model = load(directory.path()).unwrap();
        let (Matrix::Dense(embedding), Matrix::Dense(head)) =
            (&model.weights().embedding, &model.weights().head)
        else {
            panic!("quantised");
        };
        assert_eq!(embedding.id(), head.id(), "the same storage");
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

/// A configuration that claims a large model costs nothing beside files that hold a small one.
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
fn a_tokenizer_must_fit_its_model() {
    let directory = tiny::directory();
    let mut tokenizer = tiny::tokenizer_json();
    tokenizer["model"]["vocab"]["extra"] = json!(300);
    tiny::write_json(&directory.path().join("tokenizer.json"), &tokenizer);
    let error = load(directory.path()).unwrap_err();
    assert!(error.detail().contains("301 tokens"), "{error}");
}

/// A pattern that makes the regex engine give up must not take the program with it.
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

fn gguf_file(gguf: &Gguf) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    gguf.write(&path);
    (directory, path)
}

#[test]
fn a_gguf_file_gives_the_same_weights() {
    let (_directory, path) = gguf_file(&Gguf::new());
    let model = load(&path).unwrap();
    assert_is_tiny(&model);
    assert_eq!(model.name(), "tiny.gguf");
    let hf = load(tiny::directory().path()).unwrap();
    assert_eq!(model.config(), hf.config());
    assert_eq!(
        model.raw_prompt("hello").unwrap(),
        hf.raw_prompt("hello").unwrap()
    );
}

/// Blocks of Q8_0 (32 numbers in 34 bytes: a scale, then integers), rows of one block each.
fn q8_0(rows: &[f32]) -> Vec<u8> {
    rows.as_chunks::<32>()
        .0
        .iter()
        .flat_map(|block| {
            let scale = half::f16::from_f32(1.0 / 128.0);
            let mut bytes = scale.to_le_bytes().to_vec();
            bytes.extend(block.iter().map(|x| (x * 128.0) as i8 as u8));
            bytes
        })
        .collect()
}

/// The tiny model with its query, key and down projections in blocks.
fn quantised_gguf() -> Gguf {
    let mut gguf = Gguf::new();
    for (name, block) in &mut gguf.tensors {
        if ["attn_q", "attn_k", "ffn_down"]
            .iter()
            .any(|part| name.contains(part))
        {
            let numbers: Vec<f32> = block
                .data
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect();
            block.data = q8_0(&numbers);
            block.code = 8;
        }
    }
    gguf
}

#[test]
fn blocks_are_dequantised_or_kept_with_their_rows_in_order() {
    let (_directory, path) = gguf_file(&quantised_gguf());
    assert_is_tiny(&load(&path).unwrap());
    let kept = load_as(&path, DtypeChoice::Quantized).unwrap();
    assert!(kept.is_quantized());
    assert_eq!(kept.dtype(), DType::F32);
    let tensors = tiny::tensors();
    for (index, layer) in kept.weights().layers.iter().enumerate() {
        let Matrix::Quantized(parts) = &layer.qkv.weight else {
            panic!("dense");
        };
        for (part, projection) in parts.iter().zip(["q", "k", "v"]) {
            let device = dart_math::candle::Device::Cpu;
            let name = format!("model.layers.{index}.self_attn.{projection}_proj.weight");
            assert_eq!(
                numbers(&part.dequantize(&device).unwrap()),
                tensors[&name].data
            );
        }
        assert!(matches!(layer.gate_up.weight, Matrix::Dense(_)));
    }
}

#[test]
fn rotary_factors_and_linear_scaling_are_applied() {
    let (_a, path) = gguf_file(&Gguf::new());
    let plain = load(&path).unwrap().config().rope_frequencies.clone();
    let mut gguf = Gguf::new();
    let factors = [1.0f32, 2.0, 4.0, 8.0];
    let block = |factors: &[f32]| Block {
        shape: vec![factors.len() as u64],
        code: 0,
        data: factors.iter().flat_map(|x| x.to_le_bytes()).collect(),
    };
    gguf.tensors
        .insert("rope_freqs.weight".into(), block(&factors));
    gguf.set("llama.rope.scaling.type", Meta::Text("linear".into()));
    gguf.set("llama.rope.scaling.factor", Meta::F32(2.0));
    let (_b, path) = gguf_file(&gguf);
    let scaled = load(&path).unwrap().config().rope_frequencies.clone();
    for ((plain, scaled), factor) in plain.iter().zip(&scaled).zip(factors) {
        assert_eq!(*scaled, plain / 2.0 / factor);
    }
    for bad in [&[1.0f32, 2.0][..], &[1.0, 0.0, 1.0, 1.0], &[f32::NAN; 4]] {
        gguf.tensors.insert("rope_freqs.weight".into(), block(bad));
        let (_c, path) = gguf_file(&gguf);
        let error = load(&path).unwrap_err();
        assert!(error.detail().contains("rope_freqs.weight"), "{error}");
    }
    gguf.set("llama.rope.scaling.type", Meta::Text("yarn".into()));
    let (_d, path) = gguf_file(&gguf);
    assert_eq!(load(&path).unwrap_err().kind(), ErrorKind::Unsupported);
}

/// Loads a changed GGUF file, which must fail.
fn refused(gguf: &Gguf) -> Error {
    let (_directory, path) = gguf_file(gguf);
    load(&path).unwrap_err()
}

#[test]
fn what_a_gguf_file_lacks_or_has_wrong_is_named() {
    let text = |text: &str| Meta::Text(text.to_owned());
    use ErrorKind::{Model as Bad, Unsupported};
    for (key, value, kind) in [
        ("general.architecture", text("gemma"), Unsupported),
        ("general.architecture", Meta::U32(1), Bad),
        ("llama.expert_count", Meta::U32(8), Unsupported),
        ("llama.attention.head_count", Meta::U32(0), Bad),
        ("llama.attention.head_count", Meta::U32(5), Bad),
        ("llama.attention.head_count", Meta::I32s(vec![4, 4]), Bad),
        ("llama.attention.head_count_kv", Meta::U32(3), Bad),
        ("llama.attention.key_length", Meta::U32(16), Unsupported),
        ("llama.block_count", Meta::U32(3), Bad),
        ("llama.block_count", Meta::U32(1), Bad),
        ("llama.block_count", Meta::U32(u32::MAX), Bad),
        ("llama.context_length", Meta::U32(u32::MAX), Bad),
        ("llama.feed_forward_length", text("64"), Bad),
        ("llama.feed_forward_length", Meta::U32(65), Bad),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Meta::F32(f32::NAN),
            Bad,
        ),
        ("llama.rope.freq_base", Meta::F32(-1.0), Bad),
        ("general.alignment", Meta::U32(0), Bad),
        ("general.alignment", Meta::U32(3), Bad),
        ("tokenizer.ggml.model", text("llama"), Unsupported),
        ("tokenizer.ggml.pre", text("made-up"), Unsupported),
        ("tokenizer.ggml.eos_token_id", Meta::U32(999), Bad),
        ("tokenizer.ggml.token_type", Meta::I32s(vec![1; 3]), Bad),
        ("tokenizer.ggml.merges", Meta::Texts(vec!["he".into()]), Bad),
        (
            "tokenizer.ggml.merges",
            Meta::Texts(vec!["q zz".into()]),
            Bad,
        ),
        ("tokenizer.ggml.tokens", Meta::Texts(vec![]), Bad),
    ] {
        let mut gguf = Gguf::new();
        gguf.set(key, value);
        let error = refused(&gguf);
        assert_eq!(error.kind(), kind, "{key}: {error}");
        assert!(error.detail().contains("tiny.gguf"), "{key}: {error}");
    }
    let message = refused(Gguf::new().set("tokenizer.ggml.pre", text("made-up"))).to_string();
    assert!(
        message.contains("made-up") && message.contains("qwen2"),
        "{message}"
    );
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.pre",
        "tokenizer.ggml.merges",
    ] {
        let mut gguf = Gguf::new();
        gguf.meta.remove(key);
        let message = refused(&gguf).to_string();
        assert!(message.contains(key), "{message}");
    }
    let mut gguf = Gguf::new();
    gguf.tensors.remove("blk.1.ffn_up.weight");
    assert!(refused(&gguf).detail().contains("`blk.1.ffn_up.weight`"));
    let mut gguf = Gguf::new();
    gguf.tensors.get_mut("blk.1.ffn_up.weight").unwrap().code = 23;
    let error = refused(&gguf);
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.detail().contains("blk.1.ffn_up.weight"), "{error}");
}

#[test]
fn hostile_tensor_entries_of_gguf_give_errors() {
    let name = "blk.0.ffn_up.weight";
    for shape in [
        vec![u64::MAX],
        vec![u64::MAX, u64::MAX],
        vec![1 << 40, 1 << 40],
        vec![32, 1 << 50],
        vec![32, 64, 1, 1, 1],
        vec![],
        vec![0, 64],
    ] {
        let mut gguf = Gguf::new();
        gguf.tensors.get_mut(name).unwrap().shape = shape.clone();
        let error = refused(&gguf);
        assert!(error.detail().contains(name), "{shape:?}: {error}");
    }
    // Blocks where numbers were expected, and rows that are not whole blocks.
    for (name, code) in [("blk.0.attn_norm.weight", 8), ("blk.0.ffn_up.weight", 12)] {
        let mut gguf = Gguf::new();
        gguf.tensors.get_mut(name).unwrap().code = code;
        let error = refused(&gguf);
        assert!(error.detail().contains(name), "{error}");
    }
}

#[test]
fn every_cut_of_a_file_gives_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.gguf");
    let bytes = Gguf::new().bytes();
    let head = bytes.len()
        - 4 * tiny::tensors()
            .values()
            .map(|t| t.data.len())
            .sum::<usize>();
    let cuts = (0..head)
        .step_by(7)
        .chain((head..bytes.len() - 32).step_by(9973));
    for cut in cuts {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let error = load(&path).expect_err("a cut file");
        assert!(error.detail().contains("cut.gguf"), "{error}");
    }
    let whole = tiny::directory();
    let path = whole.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for cut in (0..bytes.len()).step_by(4999) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(load(whole.path()).is_err(), "cut at {cut}");
    }
}

#[test]
fn counts_beyond_a_file_take_no_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bomb.gguf");
    let good = Gguf::new().bytes();
    for at in [8, 16] {
        for count in [u64::MAX, 1 << 40, 1 << 32, 10_000_000] {
            let mut bytes = good.clone();
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            std::fs::write(&path, bytes).unwrap();
            let error = load(&path).unwrap_err();
            assert!(error.detail().contains("entries claimed"), "{error}");
        }
    }
    // An array of arrays of arrays …
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.push(b'k');
    bytes.extend(9u32.to_le_bytes());
    for _ in 0..100_000 {
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(1u64.to_le_bytes());
    }
    std::fs::write(&path, bytes).unwrap();
    assert!(load(&path).unwrap_err().detail().contains("nested"));
    for (bytes, expected) in [
        (&b"GGML\x03\0\0\0"[..], "not a GGUF file"),
        (b"GGUF\0\0\0\x03", "version"),
        (b"", "cut short"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = load(&path).unwrap_err();
        assert!(error.detail().contains(expected), "{error}");
    }
}

#[test]
fn the_vocabulary_of_a_gguf_file_is_read_as_it_is_marked() {
    let mut gguf = Gguf::new();
    gguf.set("tokenizer.ggml.add_bos_token", Meta::Bool(true));
    let (_a, path) = gguf_file(&gguf);
    let model = load(&path).unwrap();
    let tokenizer = model.tokenizer();
    assert_eq!(tokenizer.opening(), [tiny::BOS]);
    // A control token is special: found in text, left out of decoded text. A user-defined one is
    // found, and is text.
    let ids = tokenizer.encode("a</s><tool>b", false).unwrap();
    assert_eq!(ids, [97, tiny::EOS, tiny::TOOL, 98]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "a<tool>b");
    assert!(tokenizer.is_special(tiny::EOS) && !tokenizer.is_special(tiny::TOOL));
    // No space is put in front, at the start or after a special token.
    assert_eq!(tokenizer.encode("he", true).unwrap(), [tiny::BOS, 256]);
    assert_eq!(tokenizer.encode("<s>he", false).unwrap(), [tiny::BOS, 256]);
    // BOS once, whoever writes it.
    for text in ["he", "<s>he"] {
        assert_eq!(model.raw_prompt(text).unwrap().tokens, [tiny::BOS, 256]);
    }
    gguf.set("tokenizer.ggml.add_space_prefix", Meta::Bool(true));
    let (_b, path) = gguf_file(&gguf);
    let tokens = load(&path).unwrap().raw_prompt("he").unwrap().tokens;
    assert_eq!(tokens, [tiny::BOS, 32, 256]);
}

#[test]
fn unused_tokens_are_no_tokens() {
    let mut gguf = Gguf::new();
    let mut kinds = vec![1; 257];
    kinds.extend([3, 3, 5]);
    gguf.set("tokenizer.ggml.token_type", Meta::I32s(kinds));
    let (_directory, path) = gguf_file(&gguf);
    let model = load(&path).unwrap();
    assert_eq!(model.tokenizer().id("<tool>"), None);
    assert_eq!(model.tokenizer().decode(&[tiny::TOOL, 97]).unwrap(), "a");
}

#[test]
fn ends_of_turns_are_stop_tokens_though_the_file_names_one() {
    let mut gguf = Gguf::new();
    let mut tokens = tiny::tokens();
    tokens[tiny::BOS as usize] = "<|eot_id|>".into();
    gguf.set("tokenizer.ggml.tokens", Meta::Texts(tokens));
    gguf.set("tokenizer.ggml.eom_token_id", Meta::U32(5));
    let (_directory, path) = gguf_file(&gguf);
    let model = load(&path).unwrap();
    assert_eq!(model.stop_tokens(), [5, tiny::BOS, tiny::EOS]);
}

#[test]
fn a_tokenizer_beside_the_file_serves_where_its_own_cannot() {
    let mut gguf = Gguf::new();
    gguf.set("tokenizer.ggml.pre", Meta::Text("made-up".into()));
    let (directory, path) = gguf_file(&gguf);
    assert!(load(&path).is_err());
    tiny::write_json(
        &directory.path().join("tokenizer.json"),
        &tiny::tokenizer_json(),
    );
    let model = load(&path).unwrap();
    assert_eq!(model.raw_prompt("hehe").unwrap().tokens, [256, 256]);
}

#[test]
fn a_fingerprint_tells_contents_apart_and_places_not() {
    let (a, b) = (tiny::directory(), tiny::directory());
    let first = load(a.path()).unwrap();
    assert_eq!(first.fingerprint(), load(b.path()).unwrap().fingerprint());
    let mut tensors = tiny::tensors();
    let norm = tensors.get_mut("model.norm.weight").unwrap();
    norm.data[3] += 1.0;
    let bytes = tiny::safetensors(&tensors, "F32");
    std::fs::write(b.path().join("model.safetensors"), bytes).unwrap();
    assert_ne!(first.fingerprint(), load(b.path()).unwrap().fingerprint());
    let mut tokenizer = tiny::tokenizer_json();
    tokenizer["post_processor"] = json!({"type": "ByteLevel", "trim_offsets": false,
        "add_prefix_space": false, "use_regex": false});
    tiny::write_json(&a.path().join("tokenizer.json"), &tokenizer);
    assert_ne!(first.fingerprint(), load(a.path()).unwrap().fingerprint());
    let settings = first.settings();
    assert_eq!(settings["fingerprint"], first.fingerprint());
    assert_eq!(settings["architecture"], "Llama");
    assert_eq!(settings["dtype"], "f32");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a few changed bytes do, the answer is a model or an error, soon.
    #[test]
    fn changed_bytes_of_gguf_never_panic(
        changes in proptest::collection::vec((0usize..16_000, any::<u8>()), 1..6),
    ) {
        let mut bytes = quantised_gguf().bytes();
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("changed.gguf");
        std::fs::write(&path, bytes).unwrap();
        if let Ok(model) = load(&path) {
            let _ = model.raw_prompt("hello <s> 12");
        }
    }

    #[test]
    fn changed_bytes_of_a_directory_never_panic(
        file in prop_oneof![
            Just("config.json"), Just("tokenizer.json"), Just("model.safetensors")
        ],
        changes in proptest::collection::vec((0usize..8_000, any::<u8>()), 1..4),
    ) {
        let directory = tiny::directory();
        let path = directory.path().join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        std::fs::write(&path, bytes).unwrap();
        if let Ok(model) = load(directory.path()) {
            let _ = model.raw_prompt("hello <s> 12");
        }
    }
}
