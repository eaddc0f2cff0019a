//! Awkward texts through the tokenizers of two real models, and questions through their chat
//! templates, against their original pipelines and Hugging Face transformers.
//!
//! `scripts/golden_real.py` makes the fixtures and says what is in them. The files are looked for
//! in the directory that the environment variable `DART_MATH_MODELS` names; without it these
//! tests pass with a note.

#![cfg(feature = "engine")]

mod golden;
#[path = "golden/real.rs"]
mod real;

use dart_math::model::{Model, ModelSource, Template};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    greedy: Vec<Greedy>,
    texts: Vec<Text>,
    chats: Vec<Chat>,
}

#[derive(Deserialize)]
struct Greedy {
    /// What the chat template was given; none for a text used as it is.
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

fn check(name: &str) {
    let Some((golden, path)) = real::fixture::<Golden>(name) else {
        return;
    };
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
        // Piece by piece it is the same text.
        let mut stream = model.tokenizer().stream();
        let mut pieces = String::new();
        for &token in tokens {
            pieces.push_str(stream.push(token).unwrap());
        }
        pieces.push_str(&stream.finish().unwrap());
        assert_eq!(&pieces, decoded, "piece by piece from {text:?}");
    }
    for greedy in &golden.greedy {
        let prompt = match &greedy.question {
            Some(question) => model
                .prompt(&Template::Chat { system: None }, question)
                .unwrap(),
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
        };
        assert_eq!(&model.prompt(&template, question).unwrap().text, text);
    }
}

#[test]
fn smollm2() {
    check("smollm2");
}

#[test]
fn qwen2() {
    check("qwen2");
}
