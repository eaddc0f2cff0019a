//! Ends completions by their own content: stop strings, and endless repetition.
//!
//! Depends on text and tokens, but not on models or other trials. Both rules are pure functions of
//! the trial's own tokens.

/// Finds stop strings in a growing text.
#[derive(Debug, Clone, Default)]
pub(super) struct StopStrings(Vec<String>);

impl StopStrings {
    /// Drops empty strings, which would stop everything at once.
    pub(super) fn new(strings: impl IntoIterator<Item = String>) -> Self {
        let mut strings: Vec<String> = strings.into_iter().filter(|s| !s.is_empty()).collect();
        strings.sort_unstable();
        strings.dedup();
        StopStrings(strings)
    }

    /// The strings, sorted.
    pub(super) fn strings(&self) -> &[String] {
        &self.0
    }

    /// Returns the position of the earliest stop string that ends after byte `new`. The text before
    /// was searched already.
    pub(super) fn find(&self, text: &str, new: usize) -> Option<usize> {
        self.0
            .iter()
            .filter_map(|stop| {
                let mut from = (new + 1).saturating_sub(stop.len());
                while !text.is_char_boundary(from) {
                    from -= 1;
                }
                text[from..].find(stop.as_str()).map(|at| from + at)
            })
            .min()
    }

    /// Returns the length of the text that is certain, given that no stop string occurs in it:
    /// everything except the longest suffix that is a proper prefix of a stop string.
    pub(super) fn certain(&self, text: &str) -> usize {
        let held_back = |stop: &String| {
            let begins = |&len: &usize| {
                stop.is_char_boundary(len) && text.as_bytes().ends_with(&stop.as_bytes()[..len])
            };
            (1..stop.len()).rev().find(begins).unwrap_or(0)
        };
        text.len() - self.0.iter().map(held_back).max().unwrap_or(0)
    }
}

/// Detects a completion that repeats itself endlessly.
///
/// The rule: for some period of at most [`MAX_PERIOD`](Self::MAX_PERIOD) tokens, the last tokens
/// are a block of that length repeated at least [`TIMES`](Self::TIMES) times in a row, over at
/// least [`TOKENS`](Self::TOKENS) tokens in all.
///
/// Tables, lists of cases and long numbers stay far below this; greedy decoding that has reached it
/// never leaves the loop.
#[derive(Debug, Clone)]
pub(super) struct LoopDetector {
    /// For the period `index + 1`, the number of latest tokens that equal the token one period
    /// earlier.
    runs: Vec<u32>,
}

impl LoopDetector {
    /// The longest period that is detected, in tokens.
    pub(super) const MAX_PERIOD: usize = 128;
    /// The smallest number of repetitions.
    pub(super) const TIMES: usize = 6;
    /// The smallest number of tokens that the repetitions must cover.
    pub(super) const TOKENS: usize = 128;

    pub(super) fn new() -> Self {
        LoopDetector {
            runs: vec![0; Self::MAX_PERIOD],
        }
    }

    /// Must be called after each new token with all tokens of the completion. Returns whether its
    /// tail is a loop.
    pub(super) fn push(&mut self, tokens: &[u32]) -> bool {
        let Some((last, before)) = tokens.split_last() else {
            return false;
        };
        let mut looping = false;
        for ((index, run), earlier) in self.runs.iter_mut().enumerate().zip(before.iter().rev()) {
            let period = index + 1;
            *run = if earlier == last { *run + 1 } else { 0 };
            // The first block of the tail has no earlier block to match.
            let tail = *run as usize + period;
            looping |= tail >= Self::TOKENS.max(Self::TIMES * period);
        }
        looping
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Philox;

    /// Feeds `text` in pieces of `size` characters, and returns the text that is kept.
    fn stream(stops: &StopStrings, text: &str, size: usize) -> String {
        let mut out = String::new();
        let chars: Vec<char> = text.chars().collect();
        for piece in chars.chunks(size) {
            let new = out.len();
            out.extend(piece);
            if let Some(at) = stops.find(&out, new) {
                out.truncate(at);
                return out;
            }
        }
        out
    }

    fn stops(strings: &[&str]) -> StopStrings {
        StopStrings::new(strings.iter().map(|&s| s.to_owned()))
    }

    #[test]
    fn stop_strings_are_found_across_pieces() {
        let both = stops(&["User:", "Assistant:"]);
        for size in 1..30 {
            assert_eq!(
                stream(&both, "2 + 2 = 4.\n\nUser: and", size),
                "2 + 2 = 4.\n\n"
            );
            assert_eq!(stream(&both, "UserUser:", size), "User");
            assert_eq!(stream(&both, "no Users", size), "no Users");
            assert_eq!(stream(&stops(&["。終"]), "答え。。終わり", size), "答え。");
            assert_eq!(stream(&stops(&["aab"]), "xaaab", size), "xa");
            assert_eq!(stream(&stops(&[]), "anything", size), "anything");
        }
    }

    #[test]
    fn the_earliest_of_several_cuts() {
        let several = stops(&["b", "ab", "", "zz"]);
        assert_eq!(several.strings(), ["ab", "b", "zz"]);
        assert_eq!(stream(&several, "xxab", 4), "xx");
        assert_eq!(stream(&several, "xxab", 1), "xx");
    }

    #[test]
    fn what_may_become_a_stop_string_is_not_certain() {
        let several = stops(&["User:", "éa"]);
        for (text, certain) in [
            ("", 0),
            ("no", 2),
            ("a User", 2),
            ("a Use ", 6),
            ("UUser", 1),
            ("xé", 1),
            ("x: é", 3),
        ] {
            assert_eq!(several.certain(text), certain, "{text:?}");
        }
        assert_eq!(stops(&[]).certain("User"), 4);
    }

    #[test]
    fn every_cut_equals_a_search_of_the_whole_text() {
        let random = Philox::new(3);
        for case in 0..2000u64 {
            let letter = |i: u64| ['a', 'b', 'é'][random.below(case * 64 + i, 3) as usize];
            let text: String = (0..24).map(letter).collect();
            let stop: String = (32..32 + 1 + case % 4).map(letter).collect();
            let whole = text.split(stop.as_str()).next().unwrap();
            assert_eq!(stream(&stops(&[&stop]), &text, 1), whole);
        }
    }

    /// The number of tokens after which the loop is detected.
    fn noticed(tokens: &[u32]) -> Option<usize> {
        let mut detector = LoopDetector::new();
        (1..=tokens.len()).find(|&n| detector.push(&tokens[..n]))
    }

    /// The rule by definition, over the whole tail.
    fn is_loop(tokens: &[u32]) -> bool {
        (1..=LoopDetector::MAX_PERIOD).any(|period| {
            let tail = LoopDetector::TOKENS.max(LoopDetector::TIMES * period);
            tokens.len() >= tail && {
                let tail = &tokens[tokens.len() - tail..];
                tail.iter().zip(&tail[period..]).all(|(a, b)| a == b)
            }
        })
    }

    #[test]
    fn loops_are_noticed_when_the_rule_says() {
        // Periods 1, 5, 22 and 128 after some distinct tokens.
        for (period, after) in [(1, 128), (5, 128), (22, 132), (128, 768)] {
            let start: Vec<u32> = (1000..1010).collect();
            let tokens: Vec<u32> = start
                .iter()
                .copied()
                .chain((0..2000).map(|i| i % period))
                .collect();
            assert_eq!(noticed(&tokens), Some(10 + after), "period {period}");
        }
        let longer: Vec<u32> = (0..3000).map(|i| i % 129).collect();
        assert_eq!(noticed(&longer), None);
        let counting: Vec<u32> = (0..3000).collect();
        assert_eq!(noticed(&counting), None);
        assert_eq!(noticed(&[]), None);
    }

    #[test]
    fn noticing_step_by_step_is_the_rule() {
        let random = Philox::new(8);
        for case in 0..300u64 {
            // Repeated blocks with rare errors.
            let period = 1 + random.below(case * 2, 40);
            let slip = 100 + random.below(case * 2 + 1, 400);
            let tokens: Vec<u32> = (0..500u64)
                .map(|i| {
                    if i % slip == slip - 1 {
                        99
                    } else {
                        (i % period) as u32
                    }
                })
                .collect();
            let rule = (1..=tokens.len()).find(|&n| is_loop(&tokens[..n]));
            assert_eq!(noticed(&tokens), rule, "period {period}, slip {slip}");
        }
    }
}
