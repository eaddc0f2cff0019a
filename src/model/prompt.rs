//! From a rendered template to tokens. Special tokens are recognized in the template, but not in
//! the question.

use std::ops::Range;

use super::loaded::Prompt;
use super::template::{Place, Rendered};
use super::tokenizer::Tokenizer;
use crate::{Error, ErrorKind, Result};

/// Encodes a rendered prompt, with the opening tokens once.
pub(super) fn encode(tokenizer: &Tokenizer, rendered: Rendered) -> Result<Prompt> {
    let Rendered { text, question } = rendered;
    let found = specials(tokenizer, &text);
    let tokens = match question {
        Place::At(ranges) => {
            let foreign = |special: &Found| {
                ranges
                    .iter()
                    .any(|range| special.range.start < range.end && range.start < special.range.end)
            };
            if found.iter().any(foreign) {
                let own: Vec<&Found> = found.iter().filter(|special| !foreign(special)).collect();
                encode_pieces(tokenizer, &text, &own)?
            } else {
                // The usual case: encode the whole text, like any other program.
                tokenizer.encode(&text, false)?
            }
        }
        Place::Changed(pattern) => {
            let ids = |found: &[Found]| found.iter().map(|f| f.id).collect::<Vec<_>>();
            if ids(&found) != ids(&specials(tokenizer, &pattern)) {
                return Err(Error::new(
                    ErrorKind::Data,
                    "the question spells out special tokens, and the chat template changes its \
                     text, so they cannot be distinguished from the template's own",
                ));
            }
            tokenizer.encode(&text, false)?
        }
    };
    Ok(Prompt {
        tokens: opened(tokenizer, tokens),
        text,
    })
}

/// Prepends the opening tokens, unless they are there already.
pub(super) fn opened(tokenizer: &Tokenizer, tokens: Vec<u32>) -> Vec<u32> {
    let opening = tokenizer.opening();
    if tokens.starts_with(opening) {
        tokens
    } else {
        [opening, &tokens].concat()
    }
}

/// A special token spelled out in a text.
struct Found {
    range: Range<usize>,
    id: u32,
}

/// All special tokens in a text: leftmost first, then longest, without overlaps.
fn specials(tokenizer: &Tokenizer, text: &str) -> Vec<Found> {
    let mut all: Vec<Found> = tokenizer
        .specials()
        .iter()
        .flat_map(|(special, id)| {
            text.match_indices(special.as_str())
                .map(|(start, _)| Found {
                    range: start..start + special.len(),
                    id: *id,
                })
        })
        .collect();
    all.sort_by_key(|found| (found.range.start, usize::MAX - found.range.end));
    let mut end = 0;
    all.retain(|found| {
        let free = found.range.start >= end;
        if free {
            end = found.range.end;
        }
        free
    });
    all
}

/// Encodes the text between the given special tokens without recognizing others.
fn encode_pieces(tokenizer: &Tokenizer, text: &str, own: &[&Found]) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    let mut at = 0;
    for found in own {
        if at < found.range.start {
            tokens.extend(tokenizer.encode_blind(&text[at..found.range.start], at > 0)?);
        }
        tokens.push(found.id);
        at = found.range.end;
    }
    if at < text.len() {
        tokens.extend(tokenizer.encode_blind(&text[at..], at > 0)?);
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer that prefixes a space to the start of a text only, or to every part.
    fn tokenizer(scheme: &str) -> Tokenizer {
        let json = serde_json::json!({
            "version": "1.0",
            "added_tokens": [{
                "id": 6, "content": "<s>", "special": true, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false
            }],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false}
            ]},
            "model": {
                "type": "BPE", "unk_token": "?",
                "vocab": {"\u{2581}": 0, "a": 1, "b": 2, "\u{2581}a": 3, "\u{2581}b": 4, "?": 5},
                "merges": [["\u{2581}", "a"], ["\u{2581}", "b"]]
            }
        });
        let pipeline = super::super::tokenizer::parse(json.to_string().as_bytes()).unwrap();
        Tokenizer::new(pipeline, Some(Vec::new())).unwrap()
    }

    #[test]
    fn pieces_between_special_tokens_are_encoded_as_within_the_whole() {
        for (scheme, expected) in [
            ("first", [3, 6, 1, 4].as_slice()),
            ("always", &[3, 6, 3, 4]),
            ("never", &[1, 6, 1, 4]),
        ] {
            let tokenizer = tokenizer(scheme);
            let text = "a<s>a b";
            assert_eq!(tokenizer.encode(text, false).unwrap(), expected, "{scheme}");
            let found = specials(&tokenizer, text);
            let own: Vec<&Found> = found.iter().collect();
            let pieces = encode_pieces(&tokenizer, text, &own).unwrap();
            assert_eq!(pieces, expected, "{scheme}");
        }
    }
}
