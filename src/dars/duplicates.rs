//! Which correct responses of a problem repeat an earlier one, to the last character.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use crate::Trial;

/// A text's hash, the same in every run of one program.
pub(super) fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

/// The distinct texts of a problem's correct trials: by hash, the number of the first that has it.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<u64, u32>);

impl Texts {
    /// Adds a text, unless an earlier trial had it, whose number is then the answer. `trials` are
    /// the ones before it, by number.
    pub(super) fn insert(&mut self, text: &str, hash: u64, trials: &[Trial]) -> Option<u32> {
        let mut place = hash;
        while let Some(&number) = self.0.get(&place) {
            match trials.get(number as usize) {
                Some(trial) if trial.response == text => return Some(number),
                // Another text of the same hash.
                _ => place = place.wrapping_add(1),
            }
        }
        let number = u32::try_from(trials.len()).unwrap_or(u32::MAX);
        self.0.insert(place, number);
        None
    }

    /// Whether a text of this hash was added.
    pub(super) fn has(&self, hash: u64) -> bool {
        self.0.contains_key(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Completion, Problem, Verdict};

    #[test]
    fn texts_of_one_hash_are_told_apart() {
        let problem = Problem::new("q", "r");
        let trial = |number: u32, text: &str| {
            Trial::new(
                &problem,
                number,
                0,
                Completion::text(text),
                Verdict::new(true, "r"),
            )
        };
        let mut texts = Texts::default();
        let mut trials = Vec::new();
        let expected = [
            ("a", None),
            ("b", None),
            ("a", Some(0)),
            ("c", None),
            ("b", Some(1)),
        ];
        for (number, (text, first)) in (0..).zip(expected) {
            assert_eq!(texts.insert(text, 7, &trials), first, "{text}");
            trials.push(trial(number, text));
        }
        assert!(texts.has(7) && !texts.has(6));
    }
}
