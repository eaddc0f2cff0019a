//! Detects completions that end within their reasoning: the text between `<think>` and `</think>`,
//! whose opening tag may be in the prompt.
//!
//! Independent of answers. A pure function of the prompt's and the trial's own tokens.

use crate::contract::reasoning::{CLOSING, OPENING, is_unfinished, opens};
use crate::model::Tokenizer;

/// Bytes of the longest opening tag.
const MAX_OPENING: usize = 10;

/// Reasoning tags that are special tokens of a vocabulary and have no text.
#[derive(Debug, Clone, Default)]
pub(super) struct ReasoningTags {
    /// The token ids, each with whether it opens.
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

/// Whether a prompt ends with an opening tag, possibly followed by whitespace.
pub(super) fn is_opened_by(tokenizer: &Tokenizer, prompt: &[u32]) -> bool {
    let spelled = |id: u32| match tokenizer.is_special(id) {
        true => tokenizer.token(id).unwrap_or_default(),
        false => tokenizer.decode(&[id]).unwrap_or_default(),
    };
    // Decode from the end until there is enough text for a tag.
    let mut pieces: Vec<String> = Vec::new();
    let mut length = 0;
    for &id in prompt.iter().rev() {
        let piece = spelled(id);
        length += match length {
            0 => piece.trim_end().len(),
            _ => piece.len(),
        };
        pieces.push(piece);
        if length >= MAX_OPENING {
            break;
        }
    }
    pieces.reverse();
    let text = pieces.concat();
    opens(&text)
}

/// The reasoning tags of a growing completion.
#[derive(Debug, Clone)]
pub(super) struct Reasoning {
    /// Whether the prompt ends with an opening tag.
    is_opened: bool,
    /// Tags without text: the length of the text before each, and whether it opens.
    special: Vec<(usize, bool)>,
}

impl Reasoning {
    pub(super) fn new(is_opened: bool) -> Self {
        Reasoning {
            is_opened,
            special: Vec::new(),
        }
    }

    /// Takes a token that may be a tag, and the length of the text before it.
    pub(super) fn push_token(&mut self, token: u32, text: usize, tags: &ReasoningTags) {
        let tag = tags.special.iter().find(|(id, _)| *id == token);
        self.special.extend(tag.map(|&(_, opens)| (text, opens)));
    }

    /// Whether a completion with this text has nothing after its reasoning.
    pub(super) fn is_unfinished(&self, text: &str) -> bool {
        is_unfinished(text, self.is_opened, &self.special)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_nothing_behind_its_reasoning_is_unfinished() {
        for (text, opened, expected) in [
            ("<think>so 1 < 2", false, true),
            ("<think>so 1 < 2</think>4", false, false),
            ("so", true, true),
            ("so", false, false),
            ("so</thinking> 4", true, false),
            ("so</think>", true, true),
            ("so</think> \n", false, true),
            ("4 <thin> </think", false, false),
            ("a</think>b<thinking>", true, true),
            ("a<think_step>b", false, false),
            ("a</thinker>b", true, true),
            ("", false, false),
            ("", true, true),
        ] {
            let reasoning = Reasoning::new(opened);
            assert_eq!(reasoning.is_unfinished(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tags_without_text_count_where_they_stand() {
        let tags = ReasoningTags {
            special: vec![(7, true), (8, false)],
        };
        let unfinished = |tokens: &[(u32, usize)], text: &str| {
            let mut reasoning = Reasoning::new(false);
            for &(token, before) in tokens {
                reasoning.push_token(token, before, &tags);
            }
            reasoning.is_unfinished(text)
        };
        assert!(unfinished(&[(7, 0)], "so"));
        assert!(unfinished(&[(7, 0), (8, 2)], "so"));
        assert!(!unfinished(&[(7, 0), (8, 2)], "so 4"));
        assert!(!unfinished(&[(5, 0)], "so 4"));
        // A tag that a stop string cut off does not count.
        assert!(!unfinished(&[(7, 9)], "so 4"));
        assert!(unfinished(&[(7, 0), (8, 9)], "so 4"));
        // A tag in the text between two special tokens.
        assert!(!unfinished(&[(7, 0), (7, 2)], "so</think>4"));
        assert!(unfinished(&[(7, 0), (7, 11)], "so</think>4"));
    }
}
