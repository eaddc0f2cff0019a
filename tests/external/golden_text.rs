//! Difficult texts through the tokenizers of two real models, and questions through their chat templates, compared
//! with their original pipelines and Hugging Face transformers.
//!
//! `scripts/golden_real.py` makes the fixtures and describes them. The model files are in the directory that the
//! environment variable `DART_MATH_MODELS` names.

use dart_math::Settings;
use dart_math::model::{Model, ModelSource, Template, Tokenizer};
use serde::Deserialize;

use crate::harness::{Test, tests};
use crate::models;

pub(crate) const TESTS: &[Test] = tests![smollm2, qwen2, real_vocabularies,];

#[derive(Deserialize)]
struct Golden {
    greedy: Vec<Greedy>,
    texts: Vec<Text>,
    chats: Vec<Chat>,
}

#[derive(Deserialize)]
struct Greedy {
    /// The chat template's question; `None` for raw text.
    question: Option<String>,
    text: String,
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    tokens: Vec<u32>,
    decoded: String,
}

#[derive(Deserialize)]
struct Chat {
    system: Option<String>,
    question: String,
    text: String,
}

fn streamed(tokenizer: &Tokenizer, tokens: &[u32]) -> String {
    let mut stream = tokenizer.stream();
    let mut text = String::new();
    for &token in tokens {
        text.push_str(stream.push(token).unwrap());
    }
    text.push_str(&stream.finish().unwrap());
    text
}

fn check(name: &str) {
    let (golden, path) = models::fixture::<Golden>(name);
    let model = Model::builder(ModelSource::Gguf(path)).load().unwrap();
    for Text {
        text,
        tokens,
        decoded,
    } in &golden.texts
    {
        let found = model.tokenizer().encode(text, false).unwrap();
        assert_eq!(&found, tokens, "tokens of {text:?}");
        assert_eq!(
            &model.tokenizer().decode(&found).unwrap(),
            decoded,
            "back from {text:?}"
        );
        // Token by token, the text is the same.
        let pieces = streamed(model.tokenizer(), tokens);
        assert_eq!(&pieces, decoded, "piece by piece from {text:?}");
    }
    for greedy in &golden.greedy {
        let prompt = match &greedy.question {
            Some(question) => model.prompt(&Template::chat(), question).unwrap(),
            None => model.raw_prompt(&greedy.text).unwrap(),
        };
        assert_eq!(prompt.text, greedy.text);
        assert_eq!(prompt.tokens, greedy.prompt);
        assert_eq!(
            model.tokenizer().decode(&greedy.tokens).unwrap(),
            greedy.decoded
        );
    }
    for Chat {
        system,
        question,
        text,
    } in &golden.chats
    {
        let template = Template::Chat {
            system: system.clone(),
            arguments: Settings::new(),
        };
        assert_eq!(&model.prompt(&template, question).unwrap().text, text);
    }
}

fn smollm2() {
    check("smollm2");
}

fn qwen2() {
    check("qwen2");
}

/// Checks special tokens, stop tokens and chat texts.
fn real_vocabularies() {
    for (name, stops, prompt, ids) in [
        (
            "smollm2",
            vec![0, 2],
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging \
             Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            (1, 2),
        ),
        (
            "qwen2",
            vec![151_643, 151_645],
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful \
             assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
            (151_644, 151_645),
        ),
    ] {
        let (_, path) = models::fixture::<Golden>(name);
        let model = Model::builder(ModelSource::Gguf(path)).load().unwrap();
        assert_eq!(model.stop_tokens(), stops);
        let rendered = model.prompt(&Template::default_for(&model), "Hi").unwrap();
        assert_eq!(rendered.text, prompt);
        let (start, end) = ids;
        let count = |id| rendered.tokens.iter().filter(|&&token| token == id).count();
        assert_eq!((count(start), count(end)), (3, 2));
        assert_eq!(rendered.tokens[0], start);
        let tokenizer = model.tokenizer();
        // Text after a special token has no leading space. Every digit is a token.
        let user = tokenizer.encode("user", false).unwrap();
        let marked = tokenizer.encode("<|im_start|>user", false).unwrap();
        assert_eq!(marked[1..], user[..]);
        assert_eq!(tokenizer.encode("1234567", false).unwrap().len(), 7);
        for text in [
            " \n\t x",
            "日本語 e\u{301}",
            "👩‍👩‍👧",
            "\\frac{1}{2}",
            "don't I'LL",
        ] {
            let ids = tokenizer.encode(text, false).unwrap();
            let decoded = tokenizer.decode(&ids).unwrap();
            assert_eq!(streamed(tokenizer, &ids), decoded);
            // Qwen normalizes to NFC. Nothing else changes.
            assert_eq!(decoded.replace('é', "e\u{301}"), text);
        }
    }
}
