//! Special tokens, in all files that may declare them.

use std::path::Path;

use dart_math::engine::{Engine, Sampling};
use dart_math::model::Template;
use dart_math::{ErrorKind, Generator};
use serde_json::{Value, json};

use super::load;
use crate::tiny;

/// The tiny model's directory with additional files.
fn directory(files: &[(&str, Value)]) -> tempfile::TempDir {
    let directory = tiny::directory();
    for (name, content) in files {
        tiny::write_json(&directory.path().join(name), content);
    }
    directory
}

fn token(content: &str, special: bool) -> Value {
    json!({"content": content, "lstrip": false, "rstrip": false, "single_word": false,
           "normalized": false, "special": special})
}

const VOCAB: u32 = tiny::VOCAB as u32;

#[test]
fn tokens_of_the_configuration_are_added_beyond_the_models_own() {
    let decoder = json!({
        VOCAB.to_string(): token("<|x|>", true),
        (VOCAB + 1).to_string(): token("<|y|>", false),
        // This flag differs from the one in tokenizer.json.
        tiny::TOOL.to_string(): token("<tool>", true),
    });
    let config = json!({"added_tokens_decoder": decoder});
    let directory = directory(&[("tokenizer_config.json", config)]);
    let model = load(directory.path()).unwrap();
    let tokenizer = model.tokenizer();
    assert_eq!(tokenizer.id("<|x|>"), Some(VOCAB));
    assert_eq!(tokenizer.id("<|y|>"), Some(VOCAB + 1));
    assert!(tokenizer.is_special(VOCAB) && !tokenizer.is_special(VOCAB + 1));
    assert!(tokenizer.is_special(tiny::TOOL));
    let plain = load(tiny::directory().path()).unwrap();
    assert!(!plain.tokenizer().is_special(tiny::TOOL));
    assert_ne!(plain.fingerprint(), model.fingerprint());
    // The model has no embedding for them, so only a prompt that needs one is refused.
    assert!(model.raw_prompt("hello").is_ok());
    let error = model.raw_prompt("a<|x|>").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.detail().contains("<|x|>"), "{error}");
    // In a question, the token is text.
    let template = Template::parse("{problem}").unwrap();
    let prompt = model.prompt(&template, "a<|x|>").unwrap();
    assert!(prompt.tokens.iter().all(|&id| id < VOCAB));
}

#[test]
fn older_files_declare_tokens_too() {
    let directory = directory(&[
        (
            "added_tokens.json",
            json!({"<|x|>": VOCAB, "<|y|>": VOCAB + 1}),
        ),
        (
            "special_tokens_map.json",
            json!({"eos_token": token("<tool>", false), "additional_special_tokens": ["<|y|>"]}),
        ),
        ("tokenizer_config.json", json!({"eos_token": "</s>"})),
    ]);
    let model = load(directory.path()).unwrap();
    let tokenizer = model.tokenizer();
    assert!(!tokenizer.is_special(VOCAB) && tokenizer.is_special(VOCAB + 1));
    // The map takes precedence over the configuration, unless the latter declares its own tokens.
    assert_eq!(model.stop_tokens(), [tiny::EOS, tiny::TOOL]);
    let both = json!({"eos_token": "</s>", "added_tokens_decoder": {}});
    tiny::write_json(&directory.path().join("tokenizer_config.json"), &both);
    let model = load(directory.path()).unwrap();
    assert_eq!(model.stop_tokens(), [tiny::EOS]);
    assert_eq!(model.tokenizer().id("<|x|>"), None);
}

#[test]
fn ids_that_cannot_be_are_named() {
    for (file, content) in [
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {(VOCAB + 5).to_string(): token("<|x|>", true)}}),
        ),
        ("added_tokens.json", json!({"<|x|>": VOCAB + 5})),
        ("added_tokens.json", json!({"<|x|>": -1})),
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"one": token("<|x|>", true)}}),
        ),
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": {"260": 5}}),
        ),
        (
            "tokenizer_config.json",
            json!({"added_tokens_decoder": [token("<|x|>", true)]}),
        ),
    ] {
        let directory = directory(&[(file, content.clone())]);
        let error = load(directory.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Model, "{content}");
        assert!(error.detail().contains(file), "{error}");
    }
    // If tokenizer.json has an id for the token, that one is used, as in transformers.
    let other = json!({"added_tokens_decoder": {"5": token("</s>", true)}});
    let directory = directory(&[("tokenizer_config.json", other)]);
    let model = load(directory.path()).unwrap();
    assert_eq!(model.tokenizer().id("</s>"), Some(tiny::EOS));
}

#[test]
fn the_first_token_is_as_the_configuration_says() {
    let opening = |config: Value| {
        let directory = directory(&[("tokenizer_config.json", config)]);
        load(directory.path()).map(|model| model.tokenizer().opening().to_vec())
    };
    let class = |name: &str, more: Value| {
        let mut config = json!({"tokenizer_class": name, "bos_token": "<s>"});
        config
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        config
    };
    let fast = "PreTrainedTokenizerFast";
    assert!(opening(class(fast, json!({}))).unwrap().is_empty());
    let added = class(fast, json!({"add_bos_token": true}));
    assert_eq!(opening(added).unwrap(), [tiny::BOS]);
    let llama = class("LlamaTokenizer", json!({}));
    assert_eq!(opening(llama).unwrap(), [tiny::BOS]);
    let without = class("LlamaTokenizer", json!({"add_bos_token": false}));
    assert!(opening(without).unwrap().is_empty());
    let none = class(fast, json!({"add_bos_token": true, "bos_token": null}));
    assert!(opening(none).unwrap().is_empty());
    // A model cannot begin a text with a token that it does not have.
    let beyond = class(fast, json!({"add_bos_token": true, "bos_token": "<|new|>"}));
    let error = opening(beyond).unwrap_err();
    assert!(error.detail().contains("<|new|>"), "{error}");
}

/// Returns the stop tokens and stop strings of an engine with a stop string.
fn stops(at: &Path, stop: &str) -> Result<Value, dart_math::Error> {
    let engine = Engine::builder(load(at).unwrap())
        .sampling(Sampling::greedy())
        .stop(vec![stop.to_owned()])
        .build()?;
    let settings = engine.settings();
    Ok(json!([settings["stop_tokens"], settings["stop"]]))
}

#[test]
fn a_special_tokens_text_as_a_stop_string_is_that_token() {
    let directory = tiny::directory();
    let at = directory.path();
    let eos = tiny::EOS;
    let bos = tiny::BOS;
    let markers = || Template::parse("deepseekmath").unwrap().stop_strings();
    let with = |stop: &str| {
        let mut strings = markers();
        strings.push(stop.to_owned());
        strings.sort();
        strings
    };
    assert_eq!(stops(at, "so").unwrap(), json!([[eos], with("so")]));
    // The tiny model has no chat template, so the markers are those of the built-in wording.
    let mut own = markers();
    own.sort();
    for stop in ["<s>", "<s>\n"] {
        assert_eq!(stops(at, stop).unwrap(), json!([[bos, eos], own]));
    }
    // An added token that is not special.
    assert_eq!(stops(at, "<tool>").unwrap(), json!([[eos], with("<tool>")]));
    let error = stops(at, "a<s>").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.detail().contains("<s>"), "{error}");
}
