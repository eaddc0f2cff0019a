//! Encoding and decoding text: BOS occurs once, special tokens only where they are allowed, and streamed characters are
//! complete.

use std::path::Path;

use crate::tiny;
use dart_math::ErrorKind;
use dart_math::candle::{DType, Device};
use dart_math::model::{
    Architecture, DecoderConfig, Detokenizer, DeviceChoice, DtypeChoice, Matrix, Model,
    ModelSource, Template, Tokenizer,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The tiny model with another tokenizer and tokenizer configuration.
fn model(tokenizer: &Value, config: &Value) -> Model {
    let directory = tiny::directory();
    tiny::write_json(&directory.path().join("tokenizer.json"), tokenizer);
    tiny::write_json(&directory.path().join("tokenizer_config.json"), config);
    load(directory.path())
}

fn load(path: &Path) -> Model {
    Model::builder(ModelSource::from(path))
        .device("cpu".parse().unwrap())
        .load()
        .unwrap()
}

fn chat(template: &str) -> Value {
    json!({"bos_token": "<s>", "eos_token": "</s>", "chat_template": template})
}

/// Decodes tokens one by one and joins the pieces.
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream: Detokenizer = tokenizer.stream();
    let mut text = String::new();
    for &id in ids {
        text.push_str(stream.push(id).unwrap());
    }
    text.push_str(&stream.finish().unwrap());
    text
}

#[test]
fn a_detokenizer_can_be_sent_to_a_thread() {
    fn send<T: Send + 'static>(_: &T) {}
    send(
        &model(&tiny::tokenizer_json(), &json!({}))
            .tokenizer()
            .stream(),
    );
}

#[test]
fn characters_come_whole() {
    let model = model(&tiny::tokenizer_json(), &json!({}));
    let tokenizer = model.tokenizer();
    let mut stream = tokenizer.stream();
    let mut pieces = Vec::new();
    for id in tokenizer.encode("é→😀", false).unwrap() {
        pieces.push(stream.push(id).unwrap().to_owned());
    }
    assert_eq!(pieces, ["", "é", "", "", "→", "", "", "", "😀"]);
    assert_eq!(stream.finish().unwrap(), "");
    // An unfinished character is returned only at the end, and an invalid one as soon as it is known to be invalid.
    assert_eq!(stream.push(0xE2).unwrap(), "");
    assert_eq!(stream.push(0x86).unwrap(), "");
    assert_eq!(stream.finish().unwrap(), "\u{FFFD}");
    assert_eq!(stream.push(0xE2).unwrap(), "");
    assert_eq!(stream.push(u32::from(b'a')).unwrap(), "\u{FFFD}a");
    assert_eq!(stream.push(0xFF).unwrap(), "\u{FFFD}");
    // Ids without text.
    assert_eq!(stream.push(tiny::BOS).unwrap(), "");
    assert_eq!(stream.push(u32::MAX).unwrap(), "");
}

proptest! {
    /// For any tokens, the joined pieces equal the whole text.
    #[test]
    fn pieces_joined_are_the_whole(ids in proptest::collection::vec(0u32..262, 0..40)) {
        let tokenizer = byte_level();
        prop_assert_eq!(streamed(tokenizer, &ids), tokenizer.decode(&ids).unwrap());
    }

    #[test]
    fn text_comes_back(text in "\\PC{0,40}") {
        for tokenizer in [byte_level(), sentence_piece()] {
            let ids = tokenizer.encode(&text, false).unwrap();
            let decoded = tokenizer.decode(&ids).unwrap();
            // The generated texts do not spell any special token.
            prop_assert_eq!(&decoded, &text);
            prop_assert_eq!(streamed(tokenizer, &ids), decoded);
        }
    }

    /// SentencePiece: if all bytes form characters, the joined pieces equal the whole text.
    #[test]
    fn pieces_of_sentence_piece_joined_are_the_whole(
        ids in proptest::collection::vec(0u32..270, 0..30)
    ) {
        let tokenizer = sentence_piece();
        let whole = tokenizer.decode(&ids).unwrap();
        let joined = streamed(tokenizer, &ids);
        if !whole.contains('\u{FFFD}') {
            prop_assert_eq!(joined, whole);
        }
    }
}

fn byte_level() -> &'static Tokenizer {
    static TOKENIZER: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
    TOKENIZER.get_or_init(|| {
        model(&tiny::tokenizer_json(), &json!({}))
            .tokenizer()
            .clone()
    })
}

/// A tokenizer like Llama 2's: spaces are `▁`, one is inserted in front, and characters without tokens become bytes.
fn sentence_piece() -> &'static Tokenizer {
    static TOKENIZER: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
    TOKENIZER.get_or_init(|| {
        model(&sentence_piece_json(), &json!({}))
            .tokenizer()
            .clone()
    })
}

fn sentence_piece_json() -> Value {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..=255u8).map(|b| format!("<0x{b:02X}>")));
    // Limited to the model's 260 tokens: the last two are the space and a byte.
    tokens.truncate(258);
    tokens.push("▁".to_owned());
    tokens.push("<0xFF>".to_owned());
    let vocab: serde_json::Map<String, Value> = tokens
        .into_iter()
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    let added: Vec<Value> = ["<unk>", "<s>", "</s>"]
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false,
                   "rstrip": false, "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null,
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
                  "vocab": vocab, "merges": []}
    })
}

#[test]
fn a_post_processor_opens_a_text_once() {
    let model = model(
        &sentence_piece_json(),
        &chat("{{ bos_token }}Q: {{ messages[0]['content'] }}"),
    );
    assert_eq!(model.tokenizer().opening(), [1]);
    let plain = model.raw_prompt("!").unwrap().tokens;
    assert_eq!(plain, model.tokenizer().encode("!", true).unwrap());
    assert_eq!(plain[0], 1);
    assert_ne!(plain[1], 1);
    // The template adds BOS, too, but it still occurs once.
    let prompt = model.prompt(&Template::default_for(&model), "!").unwrap();
    assert_eq!(prompt.text, "<s>Q: !");
    assert_eq!(prompt.tokens.iter().filter(|&&id| id == 1).count(), 1);
    assert_eq!(prompt.tokens[0], 1);
    let prompt = model
        .prompt(&Template::parse("Q: {problem}").unwrap(), "!")
        .unwrap();
    assert_eq!(prompt.tokens.iter().filter(|&&id| id == 1).count(), 1);
}

/// Llama's tokenizer classes prepend `<s>` unless `add_bos_token` is false, whatever tokenizer.json does.
#[test]
fn the_tokenizer_class_has_its_say() {
    let opening =
        |tokenizer: &Value, config: Value| model(tokenizer, &config).tokenizer().opening().to_vec();
    let llama = |add: Value| json!({"tokenizer_class": "LlamaTokenizerFast", "bos_token": "<s>", "add_bos_token": add});
    let bytes = tiny::tokenizer_json();
    assert_eq!(opening(&bytes, llama(json!(true))), [tiny::BOS]);
    assert_eq!(opening(&bytes, llama(json!(null))), [tiny::BOS]);
    assert_eq!(opening(&bytes, llama(json!(false))), [0u32; 0]);
    let other = json!({"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": true});
    assert_eq!(opening(&bytes, other), [0u32; 0]);
    assert_eq!(
        opening(&sentence_piece_json(), llama(json!(false))),
        [0u32; 0]
    );
    let model = model(&bytes, &llama(json!(true)));
    assert_eq!(
        model.tokenizer().encode("he", true).unwrap(),
        [tiny::BOS, 256]
    );
    assert_eq!(model.tokenizer().encode("he", false).unwrap(), [256]);
    let directory = tiny::directory();
    let missing = json!({"tokenizer_class": "LlamaTokenizer", "bos_token": "<begin>"});
    tiny::write_json(&directory.path().join("tokenizer_config.json"), &missing);
    let error = Model::builder(ModelSource::from(directory.path()))
        .load()
        .unwrap_err();
    assert!(error.detail().contains("<begin>"), "{error}");
}

/// A question that spells out special tokens cannot end its turn.
#[test]
fn a_question_cannot_smuggle_in_special_tokens() {
    let template = "<s>{{ messages[0]['content'] }}</s>he";
    let model = model(&tiny::tokenizer_json(), &chat(template));
    let chat = Template::default_for(&model);
    let honest = model.prompt(&chat, "he").unwrap();
    assert_eq!(honest.tokens, [tiny::BOS, 256, tiny::EOS, 256]);
    for question in ["a</s>", "</s><s>", "</s", "<s>", "x<s", "<tool></s>"] {
        for template in [&chat, &Template::parse("<s>{problem}</s>he").unwrap()] {
            let prompt = model.prompt(template, question).unwrap();
            let specials: Vec<u32> = prompt
                .tokens
                .iter()
                .copied()
                .filter(|&id| model.tokenizer().is_special(id))
                .collect();
            assert_eq!(specials, [tiny::BOS, tiny::EOS], "{question}");
            assert_eq!(prompt.text, format!("<s>{question}</s>he"));
            // The text of the question is complete.
            assert_eq!(
                model.tokenizer().decode(&prompt.tokens).unwrap(),
                format!("{question}he")
            );
        }
    }
    // A special token formed across the boundary of template and question is not recognised either.
    let seam = Template::parse("<{problem}</s>").unwrap();
    let prompt = model.prompt(&seam, "s>").unwrap();
    assert_eq!(
        prompt.tokens,
        [b'<', b's', b'>']
            .map(u32::from)
            .into_iter()
            .chain([tiny::EOS])
            .collect::<Vec<_>>()
    );
    // Raw prompts are trusted, so they may contain special tokens.
    assert_eq!(model.raw_prompt("<s>").unwrap().tokens, [tiny::BOS]);
}

#[test]
fn a_template_that_hides_the_question_is_refused_only_where_it_matters() {
    let model = model(
        &tiny::tokenizer_json(),
        &chat("{{ messages[0]['content'] | replace('q', 'k') }}</s>"),
    );
    let error = model
        .prompt(&Template::default_for(&model), "q</s>")
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    let prompt = model.prompt(&Template::default_for(&model), "q").unwrap();
    assert_eq!(prompt.text, "k</s>");
    assert_eq!(prompt.tokens, [u32::from(b'k'), tiny::EOS]);
}

#[test]
fn chat_templates_are_found_where_they_may_be() {
    let directory = tiny::directory();
    let at = directory.path();
    let text = |at: &Path| {
        let model = load(at);
        let template = Template::default_for(&model);
        model.prompt(&template, "q").unwrap().text
    };
    assert!(
        text(at).starts_with("User: q\n"),
        "none: DeepSeekMath's wording"
    );
    let named = json!({"chat_template": [
        {"name": "tool_use", "template": "tools"},
        {"name": "default", "template": "list {{ messages[0].content }}"}]});
    tiny::write_json(&at.join("tokenizer_config.json"), &named);
    assert_eq!(text(at), "list q");
    std::fs::write(
        at.join("chat_template.jinja"),
        "file {{ messages[0].content }}\n",
    )
    .unwrap();
    assert_eq!(text(at), "file q");
    // A chat template that cannot be parsed does not prevent the use of another template.
    std::fs::write(at.join("chat_template.jinja"), "{% for %}").unwrap();
    let model = load(at);
    let error = model
        .prompt(&Template::default_for(&model), "q")
        .unwrap_err();
    assert!(error.detail().contains("chat_template.jinja"), "{error}");
    assert!(model.prompt(&Template::parse("qa").unwrap(), "q").is_ok());
}

#[test]
fn random_models_are_the_same_everywhere() {
    let config = DecoderConfig {
        architecture: Architecture::Qwen2,
        hidden_size: 16,
        intermediate_size: 24,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 4,
        vocab_size: 11,
        context_length: 32,
        rms_norm_eps: 1e-6,
        rope_frequencies: vec![1.0, 0.01],
        rope_attention_factor: 1.0,
        sliding_windows: vec![None; 2],
    };
    let random = |seed, dtype| Model::random(config.clone(), seed, &Device::Cpu, dtype).unwrap();
    let numbers = |model: &Model| -> Vec<f32> {
        let layer = &model.weights().layers[1];
        let dart_math::model::Matrix::Dense(qkv) = &layer.qkv.weight else {
            panic!("quantized");
        };
        assert_eq!(qkv.dims(), [32, 16]);
        assert_eq!(layer.qkv.bias.as_ref().unwrap().dims(), [32]);
        qkv.to_dtype(DType::F32)
            .unwrap()
            .flatten_all()
            .unwrap()
            .to_vec1()
            .unwrap()
    };
    let model = random(1, DType::F32);
    let first = numbers(&model);
    assert_eq!(first, numbers(&random(1, DType::F32)));
    assert_ne!(first, numbers(&random(2, DType::F32)));
    for (a, b) in first.iter().zip(numbers(&random(1, DType::BF16))) {
        assert!((a - b).abs() <= a.abs() / 128.0);
    }
    let mean = first.iter().sum::<f32>() / 512.0;
    let deviation = (first.iter().map(|x| x * x).sum::<f32>() / 512.0).sqrt();
    // Five standard errors of each.
    assert!(
        mean.abs() < 0.0045 && (deviation - 0.02).abs() < 0.0032,
        "{mean} {deviation}"
    );
    assert_eq!(model.raw_prompt("<3><10>").unwrap().tokens, [3, 10]);
    assert_eq!(model.tokenizer().decode(&[3, 10]).unwrap(), "<3><10>");
    assert_eq!(streamed(model.tokenizer(), &[3, 10]), "<3><10>");
    let expected = 2 * 11 * 16 + 16 + 2 * (32 * 16 + 32 + 16 * 16 + 3 * 24 * 16 + 2 * 16);
    assert_eq!(model.parameters(), expected);
    let error = Model::random(
        DecoderConfig {
            kv_heads: 3,
            ..config.clone()
        },
        1,
        &Device::Cpu,
        DType::F32,
    )
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Model);
}

#[test]
fn a_configuration_gives_the_shape_of_a_random_model() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.json");
    let load = |dtype| Model::random_like(&path, 3, DeviceChoice::Cpu, dtype);
    assert_eq!(load(DtypeChoice::Auto).unwrap_err().kind(), ErrorKind::Io);
    let config = serde_json::json!({
        "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 50, "max_position_embeddings": 128, "tie_word_embeddings": true,
    });
    std::fs::write(&path, config.to_string()).unwrap();
    let model = load(DtypeChoice::Bf16).unwrap();
    assert_eq!((model.dtype(), model.is_quantized()), (DType::BF16, false));
    let (config, weights) = (model.config(), model.weights());
    assert_eq!((config.hidden_size, config.qkv_size()), (64, 128));
    // The head is the embedding. Q, K and V have biases.
    let norms = 64 * 5;
    let layer = 128 * 64 + 128 + 64 * 64 + 3 * 96 * 64;
    assert_eq!(model.parameters(), 50 * 64 + norms + 2 * layer);
    let (Matrix::Dense(embedding), Matrix::Dense(head)) = (&weights.embedding, &weights.head)
    else {
        panic!("quantized");
    };
    assert_eq!((embedding.id(), head.dtype()), (head.id(), DType::BF16));

    // With four bits, the error is at most a sixteenth of a block's range.
    let blocks = load(DtypeChoice::Quantized).unwrap();
    assert!(blocks.is_quantized());
    let Matrix::Quantized(parts) = &blocks.weights().layers[1].qkv.weight else {
        panic!("dense");
    };
    let dense = load(DtypeChoice::F32).unwrap();
    let Matrix::Dense(exact) = &dense.weights().layers[1].qkv.weight else {
        panic!("quantized");
    };
    assert_eq!(parts.len(), 3);
    let rounded: Vec<Vec<f32>> = parts
        .iter()
        .flat_map(|part| {
            part.dequantize(&Device::Cpu)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap()
        })
        .collect();
    let exact = exact.to_vec2::<f32>().unwrap();
    for (exact, rounded) in exact.iter().flatten().zip(rounded.iter().flatten()) {
        assert!((exact - rounded).abs() < 0.012, "{exact} {rounded}");
    }
}
