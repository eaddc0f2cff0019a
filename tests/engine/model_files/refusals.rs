//! Unreadable models are refused with the file's name and what to do about it.

use std::path::Path;

use dart_math::ErrorKind;
use dart_math::model::{Model, ModelSource};
use serde_json::{Value, json};

use super::{assert_is_tiny, load};
use crate::logged::warnings;
use crate::tiny;

/// Loads a directory. This must fail with an error that contains all these texts.
fn refused(at: &Path, kind: ErrorKind, said: &[&str]) {
    let error = load(at).expect_err(said[0]);
    assert_eq!(error.kind(), kind, "{error}");
    for words in said {
        assert!(error.detail().contains(words), "`{words}` in: {error}");
    }
}

/// The tiny model without some of its files and with other, empty ones.
fn changed(without: &[&str], with: &[&str]) -> tempfile::TempDir {
    let directory = tiny::directory();
    for name in without {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    for name in with {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    directory
}

#[test]
fn a_git_lfs_pointer_is_recognised() {
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 4321\n",
        "0".repeat(64)
    );
    for name in [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "model.safetensors",
    ] {
        let directory = tiny::directory();
        std::fs::write(directory.path().join(name), &pointer).unwrap();
        let said = [name, "Git LFS pointer", "4321 bytes", "git lfs pull"];
        refused(directory.path(), ErrorKind::Model, &said);
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    std::fs::write(&path, &pointer).unwrap();
    let said = ["model.gguf", "Git LFS pointer", "git lfs pull"];
    refused(&path, ErrorKind::Model, &said);
}

#[test]
fn a_directory_of_gguf_files_names_them() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["m.Q4_K_M.gguf", "m.Q8_0.GGUF", "README.md"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let path = directory.path().join("m.Q4_K_M.gguf");
    let said = [
        "config.json: missing",
        "m.Q4_K_M.gguf, m.Q8_0.GGUF",
        "give the file itself",
        path.to_str().unwrap(),
    ];
    refused(directory.path(), ErrorKind::Unsupported, &said);
    // The same with a configuration and a tokenizer in the directory.
    let directory = changed(&["model.safetensors"], &["m.gguf"]);
    let said = [
        "model.safetensors: missing",
        "m.gguf",
        "give the file itself",
    ];
    refused(directory.path(), ErrorKind::Unsupported, &said);
}

#[test]
fn a_tokenizer_of_another_kind_is_named() {
    for name in ["tokenizer.model", "tekken.json", "vocab.json"] {
        let directory = changed(&["tokenizer.json"], &[name]);
        let said = [
            "tokenizer.json: missing",
            name,
            "AutoTokenizer.from_pretrained",
        ];
        refused(directory.path(), ErrorKind::Unsupported, &said);
    }
    let directory = changed(&["tokenizer.json"], &[]);
    refused(
        directory.path(),
        ErrorKind::Model,
        &["tokenizer.json: missing"],
    );
}

#[test]
fn weights_in_other_formats_are_named() {
    for name in [
        "pytorch_model.bin",
        "pytorch_model-00001-of-00002.bin",
        "consolidated.00.pth",
        "tf_model.h5",
    ] {
        let directory = changed(&["model.safetensors"], &[name, "training_args.bin"]);
        let said = [
            "model.safetensors: missing",
            name,
            "save_pretrained",
            "GGUF",
        ];
        refused(directory.path(), ErrorKind::Unsupported, &said);
        let error = load(directory.path()).unwrap_err();
        assert!(!error.detail().contains("training_args"), "{error}");
    }
    // Meta's own format has no config.json either.
    let directory = tempfile::tempdir().unwrap();
    for name in ["consolidated.00.pth", "params.json", "tokenizer.model"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let said = ["config.json: missing", "consolidated.00.pth", "Meta"];
    refused(directory.path(), ErrorKind::Unsupported, &said);
    let directory = changed(&["model.safetensors"], &["consolidated.safetensors"]);
    let said = ["model.safetensors: missing", "consolidated.safetensors"];
    refused(directory.path(), ErrorKind::Unsupported, &said);
    // A long list of files is abbreviated.
    let many: Vec<String> = (0..20).map(|n| format!("part{n:02}.bin")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let directory = changed(&["model.safetensors"], &many);
    refused(
        directory.path(),
        ErrorKind::Unsupported,
        &["part00.bin", "and 12 more"],
    );
}

#[test]
fn an_adapter_wants_its_base_model() {
    for without in [
        &["model.safetensors"][..],
        &["model.safetensors", "config.json"],
    ] {
        let with = ["adapter_config.json", "adapter_model.safetensors"];
        let directory = changed(without, &with);
        let said = ["adapter_config.json", "base model", "merge_and_unload"];
        refused(directory.path(), ErrorKind::Unsupported, &said);
    }
    // A whole model with an adapter in its directory is loaded.
    let directory = changed(&[], &["adapter_config.json"]);
    assert_is_tiny(&load(directory.path()).unwrap());
}

#[test]
fn quantized_weights_are_refused_by_their_method() {
    for (field, value, method) in [
        (
            "quantization_config",
            json!({"quant_method": "awq", "bits": 4}),
            "AWQ (4 bits)",
        ),
        (
            "quantization_config",
            json!({"quant_method": "gptq", "bits": 8}),
            "GPTQ (8 bits)",
        ),
        (
            "quantization_config",
            json!({"quant_method": "fp8"}),
            "by FP8",
        ),
        (
            "quantization_config",
            json!({"quant_method": "bitsandbytes", "load_in_4bit": true}),
            "bitsandbytes (4 bits)",
        ),
        (
            "quantization_config",
            json!({"load_in_8bit": true}),
            "bitsandbytes (8 bits)",
        ),
        (
            "quantization_config",
            json!({"quant_method": "compressed-tensors"}),
            "by compressed-tensors",
        ),
        ("quantization_config", json!({}), "does not name"),
        (
            "quantization",
            json!({"group_size": 64, "bits": 4}),
            "MLX (4 bits)",
        ),
    ] {
        let directory = tiny::directory();
        let mut config = tiny::config_json();
        config[field] = value;
        tiny::write_json(&directory.path().join("config.json"), &config);
        let said = ["config.json", field, method, "BF16", "GGUF"];
        refused(directory.path(), ErrorKind::Unsupported, &said);
    }
}

/// A safetensors file with an additional tensor.
fn with_tensor(name: &str, dtype: &str, width: usize) -> Vec<u8> {
    let whole = tiny::safetensors(&tiny::tensors(), "F32");
    let length = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&whole[8..8 + length]).unwrap();
    let data = &whole[8 + length..];
    let end = data.len() + 4 * width;
    header[name] = json!({"dtype": dtype, "shape": [4], "data_offsets": [data.len(), end]});
    let data = [data, &vec![0; 4 * width]].concat();
    tiny::framed(&header.to_string(), &data)
}

#[test]
fn quantized_tensors_are_known_without_a_configuration() {
    let layer = "model.layers.0.mlp.up_proj";
    for (part, dtype, width, method) in [
        ("qweight", "I32", 4, "GPTQ or AWQ"),
        ("qzeros", "I32", 4, "GPTQ or AWQ"),
        ("weight_packed", "I32", 4, "compressed-tensors"),
        ("SCB", "F32", 4, "bitsandbytes"),
        ("weight.absmax", "F32", 4, "bitsandbytes"),
        (
            "weight.quant_state.bitsandbytes__nf4",
            "U8",
            1,
            "bitsandbytes",
        ),
        ("other", "F8_E5M2", 1, "FP8"),
    ] {
        let directory = tiny::directory();
        let name = format!("{layer}.{part}");
        let bytes = with_tensor(&name, dtype, width);
        std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
        let said = ["model.safetensors", &name, dtype, method, "GGUF"];
        refused(directory.path(), ErrorKind::Unsupported, &said);
    }
    for (dtype, method) in [
        ("F8_E4M3", "FP8"),
        ("I8", "whole numbers"),
        ("U32", "whole numbers"),
    ] {
        let directory = tiny::directory();
        let bytes = tiny::safetensors(&tiny::tensors(), dtype);
        std::fs::write(directory.path().join("model.safetensors"), bytes).unwrap();
        let said = ["model.safetensors", dtype, method];
        refused(directory.path(), ErrorKind::Unsupported, &said);
    }
}

/// Writes the tiny model as numbered files without an index.
fn numbered(at: &Path, count: usize) {
    std::fs::remove_file(at.join("model.safetensors")).unwrap();
    let tensors: Vec<_> = tiny::tensors().into_iter().collect();
    for (index, part) in tensors.chunks(tensors.len().div_ceil(count)).enumerate() {
        let bytes = tiny::safetensors(&part.iter().cloned().collect(), "F32");
        let name = format!("model-{:05}-of-{count:05}.safetensors", index + 1);
        std::fs::write(at.join(name), bytes).unwrap();
    }
}

#[test]
fn numbered_files_are_read_without_an_index() {
    let directory = tiny::directory();
    let whole = load(directory.path()).unwrap().fingerprint().to_owned();
    numbered(directory.path(), 3);
    let model = load(directory.path()).unwrap();
    assert_is_tiny(&model);
    assert_eq!(model.fingerprint(), whole);

    let extra = directory.path().join("model-00004-of-00003.safetensors");
    std::fs::write(&extra, "").unwrap();
    refused(
        directory.path(),
        ErrorKind::Model,
        &["numbered beyond 1 to 3"],
    );
    std::fs::remove_file(extra).unwrap();
    let other = directory.path().join("model-00001-of-00002.safetensors");
    std::fs::write(&other, "").unwrap();
    let said = ["model-00001-of-00003.safetensors", "another set", "remove"];
    refused(directory.path(), ErrorKind::Model, &said);
    std::fs::remove_file(other).unwrap();
    std::fs::remove_file(directory.path().join("model-00002-of-00003.safetensors")).unwrap();
    let said = ["model-00002-of-00003.safetensors: missing", "download"];
    refused(directory.path(), ErrorKind::Model, &said);
}

#[test]
fn an_index_beside_a_whole_file_is_not_used() {
    for map in [
        json!({"lm_head.weight": "model-00001-of-00002.safetensors"}),
        json!({}),
    ] {
        let directory = tiny::directory();
        tiny::write_json(
            &directory.path().join("model.safetensors.index.json"),
            &json!({"weight_map": map}),
        );
        let (model, warned) = warnings(|| load(directory.path()).unwrap());
        assert_is_tiny(&model);
        assert!(
            warned.contains("model.safetensors: read whole") && warned.contains("not used"),
            "{warned}"
        );
    }
    // An index that lists the whole file agrees with it.
    let directory = tiny::directory();
    tiny::write_json(
        &directory.path().join("model.safetensors.index.json"),
        &json!({"weight_map": {"lm_head.weight": "model.safetensors"}}),
    );
    let (model, warned) = warnings(|| load(directory.path()).unwrap());
    assert_is_tiny(&model);
    assert_eq!(warned, "");
}

#[test]
fn an_index_must_agree_with_its_files() {
    let directory = tiny::directory();
    numbered(directory.path(), 2);
    let shard = |n: usize| format!("model-{n:05}-of-00002.safetensors");
    let first: Vec<String> = {
        let bytes = std::fs::read(directory.path().join(shard(1))).unwrap();
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
        header.as_object().unwrap().keys().cloned().collect()
    };
    let mut map = serde_json::Map::new();
    for name in tiny::tensors().keys() {
        let file = if first.contains(name) {
            shard(1)
        } else {
            shard(2)
        };
        map.insert(name.clone(), json!(file));
    }
    let index = directory.path().join("model.safetensors.index.json");
    tiny::write_json(&index, &json!({"weight_map": map}));
    assert_is_tiny(&load(directory.path()).unwrap());

    map.insert(first[0].clone(), json!(shard(2)));
    tiny::write_json(&index, &json!({"weight_map": map}));
    let said = [
        "model-00002-of-00002.safetensors: no tensor",
        &first[0],
        "it is in",
        "model-00001-of-00002.safetensors",
    ];
    refused(directory.path(), ErrorKind::Model, &said);
    map.insert(first[0].clone(), json!(shard(1)));
    tiny::write_json(&index, &json!({"weight_map": map}));

    let path = directory.path().join(shard(2));
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
    let said = [
        "model-00002-of-00002.safetensors",
        "cut short",
        "download it again",
    ];
    refused(directory.path(), ErrorKind::Model, &said);
}

#[test]
fn a_path_that_is_no_model_says_what_it_is() {
    let directory = tiny::directory();
    let at = directory.path();
    let dir = at.to_str().unwrap();
    std::fs::write(at.join("weights.bin"), "x").unwrap();
    for (name, said) in [
        ("model.safetensors", "give the directory"),
        ("config.json", "give the directory"),
        ("weights.bin", "neither a directory nor a GGUF file"),
    ] {
        let path = at.join(name);
        refused(&path, ErrorKind::Settings, &[name, said]);
        let error = ModelSource::parse(path.to_str().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.detail().contains(said), "{error}");
    }
    refused(&at.join("model.safetensors"), ErrorKind::Settings, &[dir]);
    refused(&at.join("nothing"), ErrorKind::Io, &["nothing", "no such"]);
    for nothing in ["/no/such/model", "./no/such", "nothing"] {
        let error = ModelSource::parse(nothing).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.detail().contains(nothing), "{error}");
    }
    let error = Model::builder(ModelSource::parse("/no/such.gguf").unwrap()).load();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Io);
    for address in ["https://huggingface.co/org/name", "hf://org/name/tree/main"] {
        let error = ModelSource::parse(address).unwrap_err();
        assert!(error.detail().contains("give `org/name`"), "{error}");
    }
}

#[test]
fn a_gguf_file_is_known_by_its_beginning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sha256-0123");
    tiny::Gguf::new().write(&path);
    assert_is_tiny(&load(&path).unwrap());
    let source = ModelSource::parse(path.to_str().unwrap()).unwrap();
    assert_eq!(source, ModelSource::Gguf(path));
}
