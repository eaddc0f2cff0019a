//! Vocabularies in GGUF files: awkward text gives the tokens of the models' original tokenizers.
//!
//! `scripts/golden_vocabularies.py` makes the fixture and says what is in it.

use dart_math::model::Tokenizer;
use serde::Deserialize;

use super::load;
use crate::tiny::{Block, Gguf, HIDDEN, Meta};

#[derive(Deserialize)]
struct Vocabulary {
    /// What converters call the way of cutting text.
    pre: String,
    /// Separated by spaces.
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
    assert_eq!(vocabularies.len(), 4);
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
