//! Loading of models from files. Valid files give exactly the weights that were written. Damaged and hostile files give
//! errors that name the file and what is wrong with it.

mod directory;
mod gguf;
mod refusals;
mod special_tokens;
mod vocabularies;

use std::path::Path;

use crate::tiny::{self, Gguf};
use dart_math::Error;
use dart_math::candle::{DType, Tensor};
use dart_math::model::{DtypeChoice, Matrix, Model, ModelSource};
use gguf::quantized_gguf;
use proptest::prelude::*;
use serde_json::json;

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
        Matrix::Quantized(_) | Matrix::Random(_) => panic!("not dense"),
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

/// Checks that every weight of the model is the one written.
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
fn a_fingerprint_depends_on_contents_and_not_on_paths() {
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

    /// With any few changed bytes, loading quickly returns a model or an error.
    #[test]
    fn changed_bytes_of_gguf_never_panic(
        changes in proptest::collection::vec((0usize..16_000, any::<u8>()), 1..6),
    ) {
        let mut bytes = quantized_gguf().bytes();
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
