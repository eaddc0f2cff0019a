//! Whether a completion is within its reasoning: what models that think aloud write between `<think>` and
//! `</think>`, and what the prompt's template may open.
//!
//! Knows the tags; nothing of answers. A pure function of the prompt's and the trial's own tokens.

use crate::contract::reasoning::{CLOSING, OPENING, last_tag, opens};
use crate::model::Tokenizer;

/// The last tokens of a prompt, in which a tag that opens the reasoning is looked for.
const TAIL: usize = 16;

/// Tags that are special tokens of a vocabulary, which have no text.
#[derive(Debug, Clone, Default)]
pub(super) struct ReasoningTags {
    /// Each with whether it opens.
    special: Vec<(u32, bool)>,
}

impl ReasoningTags {
    pub(super) fn new(tokenizer: &Tokenizer) -> Self {
        let tags = [(OPENING, true), (CLOSING, false)];
        let special = tags.into_iter().flat_map(|(tags, opens)| {
            tags.into_iter().filter_map(move |tag| {
                let id = tokenizer.id(tag)?;
                tokenizer.is_special(id).then_some((id, opens))
            })
        });
        ReasoningTags {
            special: special.collect(),
        }
    }
}

/// Whether a prompt ends with a tag that opens the reasoning, which white space may follow.
pub(super) fn is_opened_by(tokenizer: &Tokenizer, prompt: &[u32]) -> bool {
    let tail = &prompt[prompt.len().saturating_sub(TAIL)..];
    let spelled = |&id: &u32| match tokenizer.is_special(id) {
        true => tokenizer.token(id).unwrap_or_default(),
        false => tokenizer.decode(&[id]).unwrap_or_default(),
    };
    let text: String = tail.iter().map(spelled).collect();
    opens(&text)
}

/// The state of a completion that grows.
#[derive(Debug, Clone)]
pub(super) struct Reasoning {
    is_open: bool,
}

impl Reasoning {
    pub(super) fn new(is_open: bool) -> Self {
        Reasoning { is_open }
    }

    /// Whether a reasoning has begun that has not ended.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Takes a token that may be a tag.
    pub(super) fn push_token(&mut self, token: u32, tags: &ReasoningTags) {
        let tag = tags.special.iter().find(|(id, _)| *id == token);
        self.is_open = tag.map_or(self.is_open, |&(_, opens)| opens);
    }

    /// Takes a text that has grown from byte `new` on. The last tag that ends there counts.
    pub(super) fn push_text(&mut self, text: &str, new: usize) {
        self.is_open = last_tag(text, new).unwrap_or(self.is_open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a text that comes in pieces of so many bytes ends within its reasoning.
    fn is_open(text: &str, size: usize, opened: bool) -> bool {
        let mut reasoning = Reasoning::new(opened);
        let mut grown = String::new();
        for piece in text.as_bytes().chunks(size) {
            let new = grown.len();
            grown.push_str(std::str::from_utf8(piece).unwrap());
            reasoning.push_text(&grown, new);
        }
        reasoning.is_open()
    }

    #[test]
    fn tags_are_seen_however_the_text_is_cut() {
        for size in 1..40 {
            assert!(is_open("<think>so 1 < 2", size, false));
            assert!(!is_open("<think>so 1 < 2</think>4", size, false));
            assert!(is_open("so", size, true));
            assert!(!is_open("so</thinking> 4", size, true));
            assert!(!is_open("4 <thin> </think", size, false));
            assert!(is_open("a</think>b<thinking>", size, true));
            assert!(!is_open("", size, false));
        }
    }
}
