//! Vocabularies in GGUF files. Difficult texts give the tokens of the models' original tokenizers.
//!
//! `scripts/golden_vocabularies.py` and `scripts/golden_sentencepiece.py` make the fixtures and describe them.

use dart_math::model::{Model, Tokenizer};
use serde::Deserialize;

use super::load;
use crate::golden::{fixtures, read_json};
use crate::tiny::{Block, Gguf, HIDDEN, Meta};

#[derive(Deserialize)]
struct Vocabulary {
    /// The converter's name of the pre-tokenizer.
    pre: String,
    /// Tokens separated by spaces.
    tokens: String,
    merges: Vec<String>,
    texts: Vec<(String, Vec<u32>)>,
}

impl Vocabulary {
    fn tokenizer(&self) -> Tokenizer {
        let tokens: Vec<String> = self.tokens.split(' ').map(str::to_owned).collect();
        let count = tokens.len();
        let mut gguf = Gguf::new();
        for name in ["token_embd.weight", "output.weight"] {
            let block = Block {
                shape: vec![HIDDEN as u64, count as u64],
                code: 0,
                data: vec![0; 4 * HIDDEN * count],
            };
            gguf.tensors.insert(name.to_owned(), block);
        }
        let none = Meta::U32(u32::MAX);
        gguf.set("tokenizer.ggml.pre", Meta::Text(self.pre.clone()))
            .set("tokenizer.ggml.tokens", Meta::Texts(tokens))
            .set("tokenizer.ggml.token_type", Meta::I32s(vec![1; count]))
            .set("tokenizer.ggml.merges", Meta::Texts(self.merges.clone()))
            .set("tokenizer.ggml.bos_token_id", none.clone())
            .set("tokenizer.ggml.eos_token_id", none);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vocabulary.gguf");
        gguf.write(&path);
        load(&path).unwrap().tokenizer().clone()
    }
}

#[test]
fn awkward_text_gives_the_tokens_of_the_original_tokenizers() {
    let json = include_str!("../../fixtures/golden/gguf_vocabularies.json");
    let vocabularies: Vec<Vocabulary> = serde_json::from_str(json).unwrap();
    assert_eq!(vocabularies.len(), 8);
    for vocabulary in &vocabularies {
        let tokenizer = vocabulary.tokenizer();
        for (text, tokens) in &vocabulary.texts {
            let found = tokenizer.encode(text, false).unwrap();
            let words =
                |ids: &[u32]| -> Vec<_> { ids.iter().map(|&id| tokenizer.token(id)).collect() };
            let pre = &vocabulary.pre;
            assert_eq!(words(&found), words(tokens), "{pre}: {text:?}");
        }
    }
}

/// SentencePiece's encodings and decodings.
#[derive(Deserialize)]
struct SentencePiece {
    encoded: Vec<(String, Vec<u32>)>,
    special: Vec<(String, Vec<u32>)>,
    decoded: Vec<(Vec<u32>, String)>,
}

fn sentencepiece() -> (Model, SentencePiece) {
    let directory = fixtures().join("gguf_sentencepiece");
    let model = load(&directory.join("model.gguf")).unwrap();
    (model, read_json(&directory.join("texts.json")))
}

#[test]
fn a_sentencepiece_vocabulary_gives_the_tokens_of_sentencepiece() {
    let (model, golden) = sentencepiece();
    let tokenizer = model.tokenizer();
    assert!(golden.encoded.len() >= 60 && golden.special.len() >= 14);
    for (text, tokens) in golden.encoded.iter().chain(&golden.special) {
        let found = tokenizer.encode(text, false).unwrap();
        assert_eq!(&found, tokens, "{text:?}");
    }
    // With a Llama vocabulary, texts begin with BOS, although the file does not say so.
    assert_eq!(tokenizer.opening(), [1]);
    for text in ["the", "<s>the"] {
        assert_eq!(model.raw_prompt(text).unwrap().tokens[0], 1);
        assert_ne!(model.raw_prompt(text).unwrap().tokens[1], 1);
    }
    assert_eq!(model.stop_tokens(), [2]);
}

#[test]
fn sentencepiece_tokens_are_decoded_as_sentencepiece_does_at_once_and_one_by_one() {
    let (model, golden) = sentencepiece();
    let tokenizer = model.tokenizer();
    for (tokens, text) in &golden.decoded {
        assert_eq!(&tokenizer.decode(tokens).unwrap(), text, "{tokens:?}");
        let mut stream = tokenizer.stream();
        let mut pushed = String::new();
        for &token in tokens {
            pushed.push_str(stream.push(token).unwrap());
        }
        pushed.push_str(&stream.finish().unwrap());
        assert_eq!(&pushed, text, "{tokens:?}");
    }
    // A character is returned with its last byte.
    let bytes = tokenizer.encode("😀", false).unwrap();
    let mut stream = tokenizer.stream();
    let mut pieces: Vec<String> = Vec::new();
    for &token in &bytes {
        pieces.push(stream.push(token).unwrap().to_owned());
    }
    assert_eq!(pieces.concat(), "😀");
    assert!(pieces.len() >= 4 && pieces.last().unwrap() == "😀");
}

#[test]
fn a_long_text_is_decoded_one_by_one_in_linear_time() {
    let (model, _) = sentencepiece();
    // A byte that never completes a character, and a special token without text.
    let byte = model.tokenizer().id("<0xE4>").unwrap();
    for (token, text) in [(byte, "\u{FFFD}"), (1, "")] {
        let count = 200_000;
        let mut stream = model.tokenizer().stream();
        let mut length = 0;
        let start = std::time::Instant::now();
        for _ in 0..count {
            length += stream.push(token).unwrap().len();
        }
        length += stream.finish().unwrap().len();
        assert_eq!(length, count * text.len());
        // In quadratic time, this would take minutes.
        assert!(start.elapsed().as_secs() < 10);
    }
}

/// A model with a changed SentencePiece vocabulary.
fn changed(change: impl FnOnce(&mut Gguf)) -> Result<Model, dart_math::Error> {
    let mut gguf = Gguf::sentencepiece();
    change(&mut gguf);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pieces.gguf");
    gguf.write(&path);
    load(&path)
}

#[test]
fn the_flags_of_a_sentencepiece_vocabulary_count() {
    let ids = |model: &Model, text: &str| model.tokenizer().encode(text, false).unwrap();
    let (space, he) = (Gguf::SPACE, Gguf::HE);
    let plain = changed(|_| {}).unwrap();
    assert_eq!(ids(&plain, "he"), [space, he]);
    assert_eq!(ids(&plain, "he</s>he"), [space, he, 2, space, he]);
    assert_eq!(plain.tokenizer().decode(&[space, he]).unwrap(), "he");
    let unprefixed = changed(|gguf| {
        gguf.set("tokenizer.ggml.add_space_prefix", Meta::Bool(false))
            .set("tokenizer.ggml.add_bos_token", Meta::Bool(false));
    })
    .unwrap();
    assert_eq!(ids(&unprefixed, "he he"), [he, space, he]);
    assert_eq!(unprefixed.tokenizer().decode(&[space, he]).unwrap(), " he");
    assert!(unprefixed.tokenizer().opening().is_empty());
    // In Mistral's third vocabulary, no space is inserted after a special token.
    let third = changed(|gguf| gguf.rename_token(3, "[INST]", 3)).unwrap();
    assert_eq!(ids(&third, "he[INST] he"), [space, he, 3, space, he]);
    // Without a token for its byte, a character is unknown. Successive unknown characters are one token.
    let unknown = changed(|gguf| gguf.rename_token(3 + 0xE4, "never", 1)).unwrap();
    assert_eq!(ids(&unknown, "he你你"), [space, he, 0]);
}

#[test]
fn what_a_sentencepiece_vocabulary_lacks_or_has_wrong_is_named() {
    let refused = |change: &dyn Fn(&mut Gguf), named: &str| {
        let error = changed(|gguf| change(gguf)).unwrap_err();
        assert!(error.detail().contains(named), "{error}");
    };
    refused(
        &|gguf| {
            gguf.meta.remove("tokenizer.ggml.scores");
        },
        "tokenizer.ggml.scores",
    );
    refused(
        &|gguf| {
            gguf.meta.remove("tokenizer.ggml.token_type");
        },
        "tokenizer.ggml.token_type",
    );
    refused(
        &|gguf| {
            gguf.set("tokenizer.ggml.scores", Meta::F32s(vec![0.0; 3]));
        },
        "3 entries",
    );
    refused(
        &|gguf| {
            let count = gguf.token_count();
            gguf.set("tokenizer.ggml.scores", Meta::F32s(vec![f32::NAN; count]));
        },
        "NaN",
    );
    refused(&|gguf| gguf.rename_token(3, "<0x0>", 6), "<0x0>");
    refused(
        &|gguf| gguf.rename_token(Gguf::HE, &"x".repeat(2000), 1),
        "2000 bytes",
    );
    refused(
        &|gguf| {
            gguf.rename_token(0, "a", 1);
            gguf.rename_token(3, "b", 1);
            gguf.meta.remove("tokenizer.ggml.unknown_token_id");
        },
        "255 of the 256 bytes",
    );
    refused(
        &|gguf| {
            gguf.set("tokenizer.ggml.remove_extra_whitespaces", Meta::Bool(true));
        },
        "remove_extra_whitespaces",
    );
    refused(
        &|gguf| {
            gguf.set("tokenizer.ggml.add_bos_token", Meta::Bool(true))
                .set("tokenizer.ggml.bos_token_id", Meta::U32(u32::MAX));
        },
        "bos_token_id",
    );
}
