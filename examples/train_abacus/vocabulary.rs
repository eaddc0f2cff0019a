//! The model's tokenizer: words and punctuation of the generated language, single digits, and everything else
//! as unknown.

use std::collections::BTreeSet;

use dart_math::data::arithmetic::{Asked, LEVELS, Split, exercise};
use serde_json::{Value, json};

/// The pattern that splits text into tokens. A space belongs to the following word or the preceding
/// punctuation mark, so that a word is one token at every position and a number is one token per digit.
const PIECES: &str = r" ?\\boxed\{\(?|\)?\}\.| ?[A-Za-z]+|[.?!,] ?|[0-9]|[-+*/=]| ";

/// Between a question and its solution.
pub(crate) const ANSWER: &str = "<answer>";
/// After a solution.
pub(crate) const STOP: &str = "<stop>";
/// Special tokens, by id.
pub(crate) const SPECIAL: [&str; 4] = ["<unknown>", "<pad>", ANSWER, STOP];

/// Formats messages as question, `<answer>`, solution, `<stop>`.
pub(crate) const CHAT_TEMPLATE: &str = "{% for message in messages %}\
    {% if message['role'] == 'user' %}{{ message['content'] }}<answer>\
    {% elif message['role'] == 'assistant' %}{{ message['content'] }}<stop>\
    {% endif %}{% endfor %}";

/// Returns `tokenizer.json`. Its words are taken from a sample of training exercises that is large enough to
/// contain each word many times.
pub(crate) fn tokenizer_json(seed: u64) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
    let pieces = tokenizers::utils::SysRegex::new(PIECES)?;
    let mut words = BTreeSet::new();
    for level in LEVELS {
        for index in 0..1000 {
            for asked in [Asked::EveryValue, Asked::LastValue] {
                let exercise = exercise(asked, Split::Training, level, index, seed);
                for text in [&exercise.problem.question, &exercise.solution] {
                    words.extend(pieces.find_iter(text).map(|(a, b)| text[a..b].to_owned()));
                }
            }
        }
    }
    words.extend((0..10).map(|digit| digit.to_string()));
    let mut vocabulary = serde_json::Map::new();
    for (id, token) in SPECIAL
        .iter()
        .map(|&token| token.to_owned())
        .chain(words)
        .enumerate()
    {
        vocabulary.insert(token, id.into());
    }
    let added: Vec<Value> = SPECIAL
        .iter()
        .enumerate()
        .map(|(id, content)| {
            json!({
                "id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": {
            "type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Isolated", "invert": false,
        },
        "post_processor": null,
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": SPECIAL[0]},
    }))
}
