//! Finds correct responses of a problem that repeat an earlier one exactly.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

/// The first 128 bits of a text's SHA-256. Texts with the same hash are treated as equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TextHash(pub(super) [u8; 16]);

impl TextHash {
    pub(super) fn of(text: &str) -> Self {
        let whole: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let mut first = [0; 16];
        first.copy_from_slice(&whole[..16]);
        TextHash(first)
    }
}

/// The distinct texts of a problem's correct trials: hash to lowest trial number.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<TextHash, u32>);

impl Texts {
    /// Adds a trial's text. If an earlier trial has the same text, returns that trial's number.
    pub(super) fn insert(&mut self, hash: TextHash, number: u32) -> Option<u32> {
        let first = *self.0.entry(hash).or_insert(number);
        (first != number).then_some(first)
    }

    pub(super) fn has(&self, hash: TextHash) -> bool {
        self.0.contains_key(&hash)
    }

    /// Drops the texts, once no more trials follow.
    pub(super) fn clear(&mut self) {
        self.0 = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_texts_is_named() {
        let mut texts = Texts::default();
        let expected = [
            ("a", None),
            ("b", None),
            ("a", Some(0)),
            ("c", None),
            ("b", Some(1)),
            ("", None),
            ("a ", None),
        ];
        for (number, (text, first)) in (0..).zip(expected) {
            assert_eq!(texts.insert(TextHash::of(text), number), first, "{text}");
        }
        assert!(texts.has(TextHash::of("c")) && !texts.has(TextHash::of("d")));
    }
}
