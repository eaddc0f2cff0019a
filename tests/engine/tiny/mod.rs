//! Tiny models in every file format, written by the tests themselves.
#![allow(dead_code)] // Each test file uses its own part.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

pub(crate) const HIDDEN: usize = 32;
pub(crate) const HEADS: usize = 4;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const HEAD_DIM: usize = 8;
pub(crate) const FFN: usize = 64;
pub(crate) const LAYERS: usize = 2;
/// 256 bytes, one merged token and three special tokens.
pub(crate) const VOCAB: usize = 260;

/// GPT-2's printable character for a byte.
pub(crate) fn byte_char(byte: u8) -> char {
    let visible = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    if visible(byte) {
        char::from(byte)
    } else {
        let before = (0..byte).filter(|&b| !visible(b)).count() as u32;
        char::from_u32(256 + before).unwrap()
    }
}

/// All tokens by id: bytes, `he`, `<s>`, `</s>`, `<tool>`.
pub(crate) fn tokens() -> Vec<String> {
    let mut tokens: Vec<String> = (0..=255u8).map(|b| byte_char(b).to_string()).collect();
    tokens.extend(["he", "<s>", "</s>", "<tool>"].map(str::to_owned));
    tokens
}

pub(crate) const BOS: u32 = 257;
pub(crate) const EOS: u32 = 258;
pub(crate) const TOOL: u32 = 259;

/// A byte-level `tokenizer.json`.
pub(crate) fn tokenizer_json() -> Value {
    let vocab: serde_json::Map<String, Value> = tokens()
        .into_iter()
        .take(257)
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    let added = |id: u32, content: &str, special: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": special})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(BOS, "<s>", true), added(EOS, "</s>", true), added(TOOL, "<tool>", false)],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                  "ignore_merges": false, "vocab": vocab, "merges": [["h", "e"]]}
    })
}

pub(crate) fn config_json() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCAB,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "eos_token_id": EOS
    })
}

/// A tensor of the tiny model.
#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f32>,
}

/// All tensors by Hugging Face's names. bf16 represents their numbers exactly, and they differ between tensors, so that
/// mix-ups show.
pub(crate) fn tensors() -> BTreeMap<String, Tensor> {
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".into(), vec![VOCAB, HIDDEN]),
        ("model.norm.weight".into(), vec![HIDDEN]),
        ("lm_head.weight".into(), vec![VOCAB, HIDDEN]),
    ];
    for layer in 0..LAYERS {
        let mut add = |name: &str, shape: &[usize]| {
            shapes.push((
                format!("model.layers.{layer}.{name}.weight"),
                shape.to_vec(),
            ));
        };
        add("input_layernorm", &[HIDDEN]);
        add("self_attn.q_proj", &[HEADS * HEAD_DIM, HIDDEN]);
        add("self_attn.k_proj", &[KV_HEADS * HEAD_DIM, HIDDEN]);
        add("self_attn.v_proj", &[KV_HEADS * HEAD_DIM, HIDDEN]);
        add("self_attn.o_proj", &[HIDDEN, HEADS * HEAD_DIM]);
        add("post_attention_layernorm", &[HIDDEN]);
        add("mlp.gate_proj", &[FFN, HIDDEN]);
        add("mlp.up_proj", &[FFN, HIDDEN]);
        add("mlp.down_proj", &[HIDDEN, FFN]);
    }
    shapes
        .into_iter()
        .enumerate()
        .map(|(index, (name, shape))| {
            let mut state = index as u32 * 7919 + 1;
            let data = (0..shape.iter().product())
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    // At most eight significant bits.
                    (f32::from((state >> 24) as u8) - 127.5) / 256.0
                })
                .map(|x: f32| (x * 128.0).round() / 128.0)
                .collect();
            (name, Tensor { shape, data })
        })
        .collect()
}

/// Returns a safetensors file. `dtype` is F32, F16 or BF16.
pub(crate) fn safetensors(tensors: &BTreeMap<String, Tensor>, dtype: &str) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, tensor) in tensors {
        let start = data.len();
        for &x in &tensor.data {
            match dtype {
                "F32" => data.extend(x.to_le_bytes()),
                "F16" => data.extend(half::f16::from_f32(x).to_le_bytes()),
                "BF16" => data.extend(half::bf16::from_f32(x).to_le_bytes()),
                "F64" => data.extend(f64::from(x).to_le_bytes()),
                _ => data.push(x as u8),
            }
        }
        header.insert(
            name.clone(),
            json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": [start, data.len()]}),
        );
    }
    framed(&Value::Object(header).to_string(), &data)
}

/// Returns a safetensors file with this header and data.
pub(crate) fn framed(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

pub(crate) fn write_json(path: &Path, value: &Value) {
    std::fs::write(path, value.to_string()).unwrap();
}

/// Writes a whole model directory, in F32.
pub(crate) fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    write_json(&at.join("config.json"), &config_json());
    write_json(&at.join("tokenizer.json"), &tokenizer_json());
    std::fs::write(at.join("model.safetensors"), safetensors(&tensors(), "F32")).unwrap();
    directory
}

/// A model with one layer and one head, and optionally a sliding window. Tens of thousands of positions take seconds.
pub(crate) fn thin_directory(positions: usize, window: Option<usize>) -> tempfile::TempDir {
    let directory = directory();
    let mut config = config_json();
    for (field, value) in [
        ("num_hidden_layers", 1),
        ("num_attention_heads", 1),
        ("num_key_value_heads", 1),
        ("head_dim", HEAD_DIM),
        ("max_position_embeddings", positions),
    ] {
        config[field] = json!(value);
    }
    if window.is_some() {
        config["architectures"] = json!(["MistralForCausalLM"]);
        config["model_type"] = json!("mistral");
        config["sliding_window"] = json!(window);
    }
    let mut thin = tensors();
    thin.retain(|name, _| !name.starts_with("model.layers.1."));
    for (name, tensor) in &mut thin {
        if name.ends_with("o_proj.weight") {
            tensor.shape = vec![HIDDEN, HEAD_DIM];
        } else if name.contains("self_attn") {
            tensor.shape = vec![HEAD_DIM, HIDDEN];
        }
        tensor.data.truncate(tensor.shape.iter().product());
    }
    write_json(&directory.path().join("config.json"), &config);
    let file = directory.path().join("model.safetensors");
    std::fs::write(file, safetensors(&thin, "F32")).unwrap();
    directory
}

/// A GGUF metadata value.
#[derive(Clone)]
pub(crate) enum Meta {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
}

/// A GGUF tensor: shape (innermost dimension first), type code, and bytes.
#[derive(Clone)]
pub(crate) struct Block {
    pub(crate) shape: Vec<u64>,
    pub(crate) code: u32,
    pub(crate) data: Vec<u8>,
}

/// A GGUF file under construction.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) meta: BTreeMap<String, Meta>,
    pub(crate) tensors: BTreeMap<String, Block>,
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

impl Gguf {
    /// The tiny model as llama.cpp's converter would write it, in F32.
    pub(crate) fn new() -> Self {
        let text = |text: &str| Meta::Text(text.to_owned());
        let mut kinds = vec![1; 257];
        kinds.extend([3, 3, 4]);
        let meta = [
            ("general.architecture", text("llama")),
            ("llama.block_count", Meta::U32(LAYERS as u32)),
            ("llama.context_length", Meta::U32(64)),
            ("llama.embedding_length", Meta::U32(HIDDEN as u32)),
            ("llama.feed_forward_length", Meta::U32(FFN as u32)),
            ("llama.attention.head_count", Meta::U32(HEADS as u32)),
            ("llama.attention.head_count_kv", Meta::U32(KV_HEADS as u32)),
            ("llama.attention.layer_norm_rms_epsilon", Meta::F32(1e-5)),
            ("llama.rope.freq_base", Meta::F32(10000.0)),
            ("llama.rope.dimension_count", Meta::U32(HEAD_DIM as u32)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("gpt-2")),
            ("tokenizer.ggml.tokens", Meta::Texts(tokens())),
            ("tokenizer.ggml.token_type", Meta::I32s(kinds)),
            ("tokenizer.ggml.merges", Meta::Texts(vec!["h e".into()])),
            ("tokenizer.ggml.bos_token_id", Meta::U32(BOS)),
            ("tokenizer.ggml.eos_token_id", Meta::U32(EOS)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let tensors = tensors()
            .into_iter()
            .map(|(name, tensor)| {
                let heads = match () {
                    () if name.contains("q_proj") => Some(HEADS),
                    () if name.contains("k_proj") => Some(KV_HEADS),
                    () => None,
                };
                let data = match heads {
                    Some(heads) => interleave(&tensor.data, heads, HIDDEN),
                    None => tensor.data,
                };
                let block = Block {
                    shape: tensor.shape.iter().rev().map(|&n| n as u64).collect(),
                    code: 0,
                    data: data.iter().flat_map(|x| x.to_le_bytes()).collect(),
                };
                (gguf_name(&name), block)
            })
            .collect();
        Gguf { meta, tensors }
    }

    /// The id of `▁` in [`sentencepiece`](Self::sentencepiece).
    pub(crate) const SPACE: u32 = 259;
    /// The id of `he` in [`sentencepiece`](Self::sentencepiece).
    pub(crate) const HE: u32 = 262;

    /// The tiny model with a SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, the bytes, and five pieces.
    pub(crate) fn sentencepiece() -> Self {
        let mut gguf = Gguf::new();
        let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
        tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
        tokens.extend(["▁", "h", "e", "he", "a"].map(str::to_owned));
        let count = tokens.len();
        let mut kinds = vec![2, 3, 3];
        kinds.extend([6; 256]);
        kinds.resize(count, 1);
        let mut scores = vec![0.0; 3 + 256];
        scores.extend([-2.0, -3.0, -4.0, -1.0, -5.0]);
        for name in ["token_embd.weight", "output.weight"] {
            let block = gguf.tensors.get_mut(name).unwrap();
            block.shape[1] = count as u64;
            let rows = block.data.clone();
            block.data.extend(&rows[..(count - VOCAB) * HIDDEN * 4]);
        }
        for key in ["pre", "merges"] {
            gguf.meta.remove(&format!("tokenizer.ggml.{key}"));
        }
        gguf.set("tokenizer.ggml.model", Meta::Text("llama".into()))
            .set("tokenizer.ggml.tokens", Meta::Texts(tokens))
            .set("tokenizer.ggml.scores", Meta::F32s(scores))
            .set("tokenizer.ggml.token_type", Meta::I32s(kinds))
            .set("tokenizer.ggml.unknown_token_id", Meta::U32(0))
            .set("tokenizer.ggml.bos_token_id", Meta::U32(1))
            .set("tokenizer.ggml.eos_token_id", Meta::U32(2));
        gguf
    }

    pub(crate) fn token_count(&self) -> usize {
        match &self.meta["tokenizer.ggml.tokens"] {
            Meta::Texts(tokens) => tokens.len(),
            _ => 0,
        }
    }

    /// Changes the text and the type of a token.
    pub(crate) fn rename_token(&mut self, id: u32, text: &str, kind: i32) {
        if let Some(Meta::Texts(tokens)) = self.meta.get_mut("tokenizer.ggml.tokens") {
            tokens[id as usize] = text.to_owned();
        }
        if let Some(Meta::I32s(kinds)) = self.meta.get_mut("tokenizer.ggml.token_type") {
            kinds[id as usize] = kind;
        }
    }

    pub(crate) fn set(&mut self, key: &str, value: Meta) -> &mut Self {
        self.meta.insert(key.to_owned(), value);
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.meta.len() as u64).to_le_bytes());
        for (key, value) in &self.meta {
            put_text(&mut out, key);
            match value {
                Meta::U32(n) => {
                    out.extend(4u32.to_le_bytes());
                    out.extend(n.to_le_bytes());
                }
                Meta::F32(x) => {
                    out.extend(6u32.to_le_bytes());
                    out.extend(x.to_le_bytes());
                }
                Meta::Bool(flag) => {
                    out.extend(7u32.to_le_bytes());
                    out.push(u8::from(*flag));
                }
                Meta::Text(text) => {
                    out.extend(8u32.to_le_bytes());
                    put_text(&mut out, text);
                }
                Meta::Texts(texts) => {
                    out.extend(9u32.to_le_bytes());
                    out.extend(8u32.to_le_bytes());
                    out.extend((texts.len() as u64).to_le_bytes());
                    texts.iter().for_each(|text| put_text(&mut out, text));
                }
                Meta::F32s(numbers) => {
                    out.extend(9u32.to_le_bytes());
                    out.extend(6u32.to_le_bytes());
                    out.extend((numbers.len() as u64).to_le_bytes());
                    numbers.iter().for_each(|x| out.extend(x.to_le_bytes()));
                }
                Meta::I32s(numbers) => {
                    out.extend(9u32.to_le_bytes());
                    out.extend(5u32.to_le_bytes());
                    out.extend((numbers.len() as u64).to_le_bytes());
                    numbers.iter().for_each(|n| out.extend(n.to_le_bytes()));
                }
            }
        }
        let mut offset = 0u64;
        for (name, block) in &self.tensors {
            put_text(&mut out, name);
            out.extend((block.shape.len() as u32).to_le_bytes());
            block.shape.iter().for_each(|n| out.extend(n.to_le_bytes()));
            out.extend(block.code.to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += (block.data.len() as u64).next_multiple_of(32);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        for block in self.tensors.values() {
            out.extend(&block.data);
            out.resize(out.len().next_multiple_of(32), 0);
        }
        out
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }
}

/// Reorders query and key rows like the converter: the two halves of each head alternate.
pub(crate) fn interleave(rows: &[f32], heads: usize, columns: usize) -> Vec<f32> {
    let width = rows.len() / columns / heads;
    let mut out = Vec::new();
    for head in 0..heads {
        for pair in 0..width / 2 {
            for half in 0..2 {
                let row = head * width + half * (width / 2) + pair;
                out.extend(&rows[row * columns..(row + 1) * columns]);
            }
        }
    }
    out
}

fn gguf_name(name: &str) -> String {
    let name = name.replace("model.layers.", "blk.");
    for (from, to) in [
        ("model.embed_tokens", "token_embd"),
        ("model.norm", "output_norm"),
        ("lm_head", "output"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ] {
        if name.contains(from) {
            return name.replace(from, to);
        }
    }
    name
}
