//! GGUF files.

use dart_math::candle::DType;
use dart_math::model::{DtypeChoice, Matrix};
use dart_math::{Error, ErrorKind};

use serde_json::json;

use super::{assert_is_tiny, load, load_as, numbers};
use crate::tiny;
use crate::tiny::{Block, Gguf, Meta};

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

/// Quantizes rows of 32 numbers into Q8_0 blocks (34 bytes: a scale, then integers).
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

/// The tiny model with quantized query, key and down projections.
pub(crate) fn quantized_gguf() -> Gguf {
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
fn blocks_are_dequantized_or_kept_with_their_rows_in_order() {
    let (_directory, path) = gguf_file(&quantized_gguf());
    assert_is_tiny(&load_as(&path, DtypeChoice::F32).unwrap());
    let kept = load_as(&path, DtypeChoice::Quantized).unwrap();
    // On a CPU, quantized weights stay quantized by default.
    assert!(load(&path).unwrap().is_quantized());
    let (_directory, whole) = gguf_file(&Gguf::new());
    assert!(!load(&whole).unwrap().is_quantized());
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
    gguf.set("llama.rope.scaling.type", Meta::Text("longrope".into()));
    let (_d, path) = gguf_file(&gguf);
    assert_eq!(load(&path).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_factor_without_a_type_is_linear_and_none_is_none() {
    let frequencies = |set: &[(&str, Meta)]| {
        let mut gguf = Gguf::new();
        for (key, value) in set {
            gguf.set(key, value.clone());
        }
        let (_directory, path) = gguf_file(&gguf);
        load(&path).unwrap().config().rope_frequencies.clone()
    };
    let plain = frequencies(&[]);
    let factor = ("llama.rope.scaling.factor", Meta::F32(2.0));
    let halved: Vec<f32> = plain.iter().map(|x| x / 2.0).collect();
    assert_eq!(frequencies(std::slice::from_ref(&factor)), halved);
    let none = ("llama.rope.scaling.type", Meta::Text("none".into()));
    assert_eq!(frequencies(&[none, factor]), plain);
    let zero = ("llama.rope.scaling.factor", Meta::F32(0.0));
    assert_eq!(frequencies(&[zero]), plain);
}

/// The keys that llama.cpp's converter writes for a configuration with YaRN.
#[test]
fn yarn_is_that_of_the_configuration() {
    let mut gguf = Gguf::new();
    gguf.set("llama.rope.scaling.type", Meta::Text("yarn".into()));
    gguf.set("llama.rope.scaling.factor", Meta::F32(4.0));
    gguf.set("llama.rope.scaling.original_context_length", Meta::U32(32));
    let (_directory, path) = gguf_file(&gguf);
    let found = load(&path).unwrap();
    let directory = tiny::directory();
    let mut config = tiny::config_json();
    config["rope_scaling"] =
        json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32});
    tiny::write_json(&directory.path().join("config.json"), &config);
    let expected = load(directory.path()).unwrap();
    assert_eq!(found.config(), expected.config());
    assert_eq!(found.config().context_length, 128);
    let factor = found.config().rope_attention_factor;
    assert!((factor - 1.138_629_4).abs() < 1e-6, "{factor}");
    for (key, value) in [
        ("yarn_ext_factor", 0.5),
        ("yarn_attn_factor", 2.0),
        ("factor", 0.5),
        ("yarn_beta_slow", 40.0),
    ] {
        let mut gguf = gguf.clone();
        gguf.set(&format!("llama.rope.scaling.{key}"), Meta::F32(value));
        let error = refused(&gguf);
        assert!(error.detail().contains("rope.scaling"), "{error}");
    }
    gguf.set("llama.rope.scaling.yarn_log_multiplier", Meta::F32(0.1));
    let (_directory, path) = gguf_file(&gguf);
    let factor = load(&path).unwrap().config().rope_attention_factor;
    assert!(
        (factor - 1.138_629_4 / 1.013_862_9).abs() < 1e-6,
        "{factor}"
    );
}

#[test]
fn a_sentencepiece_model_alone_takes_a_prompt_and_generates() {
    use dart_math::engine::{Engine, Sampling};
    use dart_math::model::Template;

    // Llama 2 attends to all positions, Mistral v0.1 only to the latest ones.
    for window in [None, Some(4)] {
        let mut gguf = Gguf::sentencepiece();
        let template = "{{ bos_token }}[INST] {{ messages[0]['content'] }} [/INST]";
        gguf.set("tokenizer.chat_template", Meta::Text(template.into()));
        if let Some(window) = window {
            gguf.set("llama.attention.sliding_window", Meta::U32(window));
        }
        let (_directory, path) = gguf_file(&gguf);
        let model = load(&path).unwrap();
        let windows = &model.config().sliding_windows;
        assert!(windows.iter().all(|&w| w == window.map(|w| w as usize)));
        let prompt = model
            .prompt(&Template::default_for(&model), "he</s>he")
            .unwrap();
        assert_eq!(prompt.text, "<s>[INST] he</s>he [/INST]");
        // BOS occurs once. Special tokens spelled out in the question are text.
        assert_eq!(prompt.tokens.iter().filter(|&&id| id == 1).count(), 1);
        assert!(prompt.tokens.starts_with(&[1, Gguf::SPACE]) && !prompt.tokens.contains(&2));
        let engine = Engine::builder(model)
            .sampling(Sampling::greedy())
            .max_new_tokens(12)
            .ignore_eos(true)
            .loop_detection(false)
            .build()
            .unwrap();
        let completions = engine.generate(&[prompt], 0).unwrap();
        assert_eq!(completions[0].tokens.len(), 12);
    }
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
        ("general.architecture", text("mistral3"), Unsupported),
        ("general.architecture", text("llama4"), Unsupported),
        ("general.architecture", text("qwen3moe"), Unsupported),
        ("general.type", text("adapter"), Unsupported),
        ("general.type", text("mmproj"), Unsupported),
        ("general.type", text("vocab"), Unsupported),
        (
            "llama.attention.head_count",
            Meta::I32s(vec![4, 2]),
            Unsupported,
        ),
        ("llama.attention.head_count", Meta::I32s(vec![4, 4, 4]), Bad),
        (
            "llama.attention.head_count_kv",
            Meta::I32s(vec![2, 1]),
            Unsupported,
        ),
        (
            "llama.attention.head_count_kv",
            Meta::I32s(vec![-2, -2]),
            Bad,
        ),
        ("llama.attention.value_length", Meta::U32(4), Unsupported),
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
        ("tokenizer.ggml.model", text("llama"), Bad),
        ("tokenizer.ggml.model", text("t5"), Unsupported),
        ("tokenizer.ggml.pre", text("default"), Unsupported),
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
    let error = refused(Gguf::new().set("general.type", text("mmproj")));
    assert!(
        error.detail().contains("`general.type` is `mmproj`"),
        "{error}"
    );
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
}

#[test]
fn types_of_tensors_are_refused_by_name() {
    for (code, name) in [
        (4, "Q4_2"),
        (15, "Q8_K"),
        (16, "IQ2_XXS"),
        (23, "IQ4_XS"),
        (24, "I8"),
        (28, "F64"),
        (34, "TQ1_0"),
        (40, "NVFP4"),
        (99, "number 99"),
    ] {
        let mut gguf = Gguf::new();
        gguf.tensors.get_mut("blk.1.ffn_up.weight").unwrap().code = code;
        gguf.set("general.file_type", Meta::U32(30));
        let error = refused(&gguf);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        for part in [&format!("type {name};"), "blk.1.ffn_up.weight", "IQ4_XS)"] {
            assert!(error.detail().contains(part), "{error}");
        }
    }
}

#[test]
fn a_size_may_be_said_for_each_layer() {
    let mut gguf = Gguf::new();
    gguf.set("llama.attention.head_count_kv", Meta::I32s(vec![2, 2]))
        .set("llama.feed_forward_length", Meta::I32s(vec![64, 64]))
        .set("llama.attention.key_length", Meta::U32(8))
        .set("llama.attention.value_length", Meta::U32(8))
        .set("general.type", Meta::Text("model".into()));
    let (_directory, path) = gguf_file(&gguf);
    assert_is_tiny(&load(&path).unwrap());
}

/// The tiny model split into files `NAME-0000N-of-0000M.gguf`.
fn split(directory: &std::path::Path, count: usize) -> Vec<(std::path::PathBuf, Gguf)> {
    let whole = Gguf::new();
    let total = whole.tensors.len() as u32;
    let mut parts: Vec<Gguf> = (0..count)
        .map(|_| Gguf {
            meta: Default::default(),
            tensors: Default::default(),
        })
        .collect();
    parts[0].meta = whole.meta.clone();
    for (index, (name, block)) in whole.tensors.into_iter().enumerate() {
        parts[index % count].tensors.insert(name, block);
    }
    let files = parts.into_iter().enumerate().map(|(index, mut part)| {
        part.set("split.no", Meta::U32(index as u32))
            .set("split.count", Meta::U32(count as u32))
            .set("split.tensors.count", Meta::U32(total));
        let path = directory.join(format!("tiny-{:05}-of-{count:05}.gguf", index + 1));
        part.write(&path);
        (path, part)
    });
    files.collect()
}

#[test]
fn any_file_of_a_split_model_opens_all() {
    let directory = tempfile::tempdir().unwrap();
    let parts = split(directory.path(), 3);
    let names: Vec<String> = parts
        .iter()
        .map(|(path, _)| {
            let model = load(path).unwrap();
            assert_is_tiny(&model);
            model.name().to_owned()
        })
        .collect();
    assert_eq!(names, ["tiny-00001-of-00003.gguf"; 3]);
    let (_whole, path) = gguf_file(&Gguf::new());
    let model = load(&path).unwrap();
    assert_eq!(
        load(&parts[1].0).unwrap().fingerprint(),
        model.fingerprint()
    );
}

#[test]
fn a_split_model_that_is_not_whole_is_refused_by_the_file() {
    // The index of the changed file, the key, its new value, and parts of the error.
    let cases: [(usize, &str, Option<u32>, &[&str]); 7] = [
        (
            1,
            "split.no",
            Some(2),
            &["00002-of", "`split.no` is 2", "file 3"],
        ),
        (2, "split.no", Some(0), &["00003-of", "`split.no` is 0"]),
        (
            1,
            "split.count",
            Some(2),
            &["00002-of", "`split.count` is 2"],
        ),
        (1, "split.count", None, &["00002-of", "no `split.count`"]),
        (1, "split.tensors.count", Some(7), &["00002-of", "is 7"]),
        (0, "split.no", Some(3), &["00001-of", "`split.no` is 3"]),
        (0, "split.no", None, &["00001-of", "`split.no`"]),
    ];
    for (index, key, number, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let mut parts = split(directory.path(), 3);
        let (path, part) = &mut parts[index];
        match number {
            Some(number) => part.set(key, Meta::U32(number)),
            None => {
                part.meta.remove(key);
                part
            }
        }
        .write(path);
        let error = load(&parts[0].0).unwrap_err();
        for part in expected {
            assert!(error.detail().contains(part), "{error}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut parts = split(directory.path(), 2);
    let left_out = parts[1].1.tensors.pop_first().unwrap();
    parts[1].1.write(&parts[1].0);
    let error = load(&parts[0].0).unwrap_err();
    assert!(error.detail().contains("`split.tensors.count`"), "{error}");
    parts[1].1.tensors.extend([left_out]);
    let (name, block) = parts[0].1.tensors.first_key_value().unwrap();
    let (name, block) = (name.clone(), block.clone());
    parts[1].1.tensors.insert(name.clone(), block);
    parts[1].1.write(&parts[1].0);
    let error = load(&parts[1].0).unwrap_err();
    let both = ["00001-of", "00002-of", name.as_str(), "already"];
    assert!(
        both.iter().all(|part| error.detail().contains(part)),
        "{error}"
    );
    std::fs::remove_file(&parts[0].0).unwrap();
    let error = load(&parts[1].0).unwrap_err();
    assert!(error.detail().contains("file 1 of 2 is missing"), "{error}");
    let renamed = directory.path().join("model.gguf");
    std::fs::rename(&parts[1].0, &renamed).unwrap();
    let error = load(&renamed).unwrap_err();
    assert!(error.detail().contains("`-00002-of-00002.gguf`"), "{error}");
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
    // Blocks where plain numbers are expected, and rows that are not whole blocks.
    for (name, code) in [("blk.0.attn_norm.weight", 8), ("blk.0.ffn_up.weight", 12)] {
        let mut gguf = Gguf::new();
        gguf.tensors.get_mut(name).unwrap().code = code;
        let error = refused(&gguf);
        assert!(error.detail().contains(name), "{error}");
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
    // Deeply nested arrays.
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
        (b"GGUF\0\0\0\x03", "big-endian (GGUF version 3)"),
        (b"GGUF\x01\0\0\0", "GGUF version 1"),
        (b"GGUF\x04\0\0\0", "GGUF version 4"),
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
    // A control token is special: it is recognised in text and omitted from decoded text. A user-defined token is
    // recognised, and decoded as text.
    let ids = tokenizer.encode("a</s><tool>b", false).unwrap();
    assert_eq!(ids, [97, tiny::EOS, tiny::TOOL, 98]);
    assert_eq!(tokenizer.decode(&ids).unwrap(), "a<tool>b");
    assert!(tokenizer.is_special(tiny::EOS) && !tokenizer.is_special(tiny::TOOL));
    // No space is inserted at the start or after a special token.
    assert_eq!(tokenizer.encode("he", true).unwrap(), [tiny::BOS, 256]);
    assert_eq!(tokenizer.encode("<s>he", false).unwrap(), [tiny::BOS, 256]);
    // BOS occurs once, whether or not the text has it.
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
    // The GGUF file decides whether texts begin with BOS.
    gguf.set("tokenizer.ggml.add_bos_token", Meta::Bool(true));
    gguf.write(&path);
    let model = load(&path).unwrap();
    assert_eq!(model.raw_prompt("he").unwrap().tokens, [tiny::BOS, 256]);
    // Another model's tokenizer is refused with the first difference.
    let mut tokens = tiny::tokens();
    tokens[97] = "z".to_owned();
    gguf.set("tokenizer.ggml.tokens", Meta::Texts(tokens));
    gguf.write(&path);
    let error = load(&path).unwrap_err();
    for part in [
        "tokenizer.json",
        "tiny.gguf",
        "token 97 is `a`, there it is `z`",
    ] {
        assert!(error.detail().contains(part), "{error}");
    }
    let mut tokens = tiny::tokens();
    tokens.pop();
    gguf.set("tokenizer.ggml.tokens", Meta::Texts(tokens))
        .set("tokenizer.ggml.token_type", Meta::I32s(vec![1; 259]));
    gguf.write(&path);
    let error = load(&path).unwrap_err();
    assert!(
        error.detail().contains("260 tokens, there are 259"),
        "{error}"
    );
}

#[test]
fn a_fingerprint_is_of_what_decides_tokens() {
    let settings = |change: &dyn Fn(&mut Gguf)| {
        let mut gguf = Gguf::new();
        change(&mut gguf);
        let (_directory, path) = gguf_file(&gguf);
        load(&path).unwrap().settings()
    };
    let plain = settings(&|_| {});
    // A chat template is only recorded if it is used. A description does not affect tokens.
    let beside = settings(&|gguf| {
        gguf.set(
            "tokenizer.chat_template",
            Meta::Text("{{ messages }}".into()),
        );
        gguf.set("general.description", Meta::Text("another".into()));
    });
    assert_eq!(beside, plain);
    let opening = settings(&|gguf| {
        gguf.set("tokenizer.ggml.add_bos_token", Meta::Bool(true));
    });
    assert_ne!(opening["tokenizer"], plain["tokenizer"]);
    assert_ne!(opening["opening_tokens"], plain["opening_tokens"]);
    assert_eq!(opening["weights"], plain["weights"]);
    let stretched = settings(&|gguf| {
        gguf.set("llama.rope.freq_base", Meta::F32(5e5));
    });
    let frequencies =
        |settings: &dart_math::Settings| settings["config"]["rope_frequencies"].clone();
    assert_ne!(frequencies(&stretched), frequencies(&plain));
    assert_eq!(stretched["tokenizer"], plain["tokenizer"]);
}
