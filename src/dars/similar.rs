//! Finds the texts of a list that are near duplicates of earlier ones.
//!
//! The similarity of two texts is the Jaccard index of their sets of shingles (runs of five words): the share
//! of the runs of either that both have. A text is a near duplicate of the first earlier text that is similar
//! enough and is not itself a near duplicate. The result for a text thus depends only on it and earlier
//! texts. It is exact.
//!
//! Comparisons are limited by prefix filtering. A similar text shares so many runs that it contains at least
//! one of the text's rarest runs. Only texts that do, and whose lengths are close enough, are compared. In
//! the worst case, long texts that are all alike but not similar enough, every pair is compared, in time
//! linear in their lengths.

use std::collections::HashMap;

use crate::words;

/// The words of a run.
const SHINGLE: usize = 5;
/// The tolerance for rounding in a product of a similarity and a number of runs.
const ROUNDING: f64 = 1e-6;

/// Returns, for each text, the first text that it is a near duplicate of, if any. `least` is the minimum
/// similarity, from 0 (exclusive) to 1.
pub(super) fn firsts(texts: &[&str], least: f64) -> Vec<Option<usize>> {
    let words: Vec<String> = texts.iter().map(|text| words::of(text)).collect();
    let (sets, shingles) = sets(&words);
    let mut kept = Kept {
        least,
        sets: &sets,
        having: vec![Vec::new(); shingles],
    };
    // An equal text has the same result, or is the first itself.
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut firsts = Vec::with_capacity(texts.len());
    for (at, &text) in texts.iter().enumerate() {
        let known = seen.get(text).copied();
        let first = known.or_else(|| kept.first_like(at));
        if known.is_none() {
            seen.insert(text, first.unwrap_or(at));
        }
        if first.is_none() {
            kept.insert(at);
        }
        firsts.push(first);
    }
    firsts
}

/// Returns the sorted, numbered runs of each text, and the number of distinct runs. A text with fewer than
/// five words is one run. A text without words has none and is similar to nothing.
fn sets(texts: &[String]) -> (Vec<Vec<u32>>, usize) {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let mut number = |shingle| {
        let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        *numbers.entry(shingle).or_insert(next)
    };
    let mut sets = Vec::with_capacity(texts.len());
    for text in texts {
        let length = words::count(text).clamp(1, SHINGLE);
        let runs = words::grams(text, length).map(|(_, run)| number(run));
        let mut set: Vec<u32> = runs.collect();
        set.sort_unstable();
        set.dedup();
        sets.push(set);
    }
    (sets, numbers.len())
}

/// The texts so far that are not near duplicates.
struct Kept<'a> {
    least: f64,
    sets: &'a [Vec<u32>],
    /// The texts that contain each run, in order.
    having: Vec<Vec<usize>>,
}

impl Kept<'_> {
    fn insert(&mut self, at: usize) {
        for run in &self.sets[at] {
            self.having[*run as usize].push(at);
        }
    }

    /// Returns the first of them that is similar enough.
    fn first_like(&self, at: usize) -> Option<usize> {
        let own = &self.sets[at];
        let size = own.len() as f64;
        // A similar text shares at least `shared` runs, so it has at least one of any `size + 1 - shared`
        // runs.
        let shared = (self.least * size - ROUNDING).ceil().max(1.0) as usize;
        let mut rarest: Vec<&[usize]> = own
            .iter()
            .map(|run| self.having[*run as usize].as_slice())
            .collect();
        rarest.sort_unstable_by_key(|having| having.len());
        rarest.truncate((own.len() + 1).saturating_sub(shared));
        let mut candidates: Vec<usize> = rarest.concat();
        candidates.sort_unstable();
        candidates.dedup();
        candidates.into_iter().find(|other| {
            let other = &self.sets[*other];
            let (short, long) = (own.len().min(other.len()), own.len().max(other.len()));
            short as f64 + ROUNDING >= self.least * long as f64 && jaccard(own, other) >= self.least
        })
    }
}

/// Returns the share of the numbers of either list that both have.
fn jaccard(a: &[u32], b: &[u32]) -> f64 {
    let (mut i, mut j, mut both) = (0, 0, 0_usize);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        both += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let either = a.len() + b.len() - both;
    both as f64 / either.max(1) as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A reference implementation that compares all pairs.
    fn by_hand(texts: &[&str], least: f64) -> Vec<Option<usize>> {
        let sets: Vec<BTreeSet<Vec<String>>> = texts
            .iter()
            .map(|text| {
                let words = words::of(text);
                let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
                match words.len() {
                    0 => BTreeSet::new(),
                    1..5 => BTreeSet::from([words]),
                    _ => words.windows(5).map(<[String]>::to_vec).collect(),
                }
            })
            .collect();
        let mut firsts: Vec<Option<usize>> = Vec::new();
        for at in 0..texts.len() {
            let like = |other: &usize| {
                let (a, b) = (&sets[at], &sets[*other]);
                let either = a.union(b).count();
                let similar =
                    either > 0 && a.intersection(b).count() as f64 / either as f64 >= least;
                firsts[*other].is_none() && (similar || texts[at] == texts[*other])
            };
            let first = (0..at).find(like);
            firsts.push(first);
        }
        firsts
    }

    #[test]
    fn what_differs_in_a_word_or_in_signs_is_found() {
        let first = "Tom has 3 + 4 = 7 apples, and gives 2 of them away. So 7 - 2 = 5 are left. The answer is 5.";
        let same = "Tom has $3+4=7$ apples and gives 2 of them away. So $7-2=5$ are left. The answer is $5$";
        let near = "Tom has 3 + 4 = 7 apples, and gives 2 of them away. So 7 - 2 = 5 are left. The result is 5.";
        let other =
            "There are 4 + 3 apples, which is 7. Without 2 of them that makes 5. The answer is 5.";
        let of = |least| firsts(&[first, other, same, near], least);
        assert_eq!(of(1.0), [None, None, Some(0), None]);
        assert_eq!(of(0.7), [None, None, Some(0), Some(0)]);
        // Dropped texts are not compared: c is like b, but only a is kept.
        let (a, b, c) = ("1 2 3 4 5 6 7 8", "2 3 4 5 6 7 8 9", "3 4 5 6 7 8 9 10");
        assert_eq!(firsts(&[a, b, c], 0.6), [None, Some(0), None]);
        assert_eq!(firsts(&[b, a, c], 0.6), [None, Some(0), Some(0)]);
    }

    #[test]
    fn short_and_empty_texts_are_compared() {
        let texts = [
            "5",
            "$5$",
            "",
            "",
            "+",
            "5 5",
            "a b c d",
            "A b; c d",
            "a b c d e",
        ];
        let expected = [
            None,
            Some(0),
            None,
            Some(2),
            None,
            None,
            None,
            Some(6),
            None,
        ];
        assert_eq!(firsts(&texts, 0.01), expected);
        assert_eq!(firsts(&[], 0.5), []);
    }

    #[test]
    fn the_index_finds_what_comparing_all_pairs_finds() {
        let random = crate::Philox::new(3);
        let mut at = 0;
        let mut below = |bound| {
            at += 1;
            random.below(at, bound)
        };
        let mut found = 0;
        for round in 0..30 {
            let mut texts: Vec<String> = Vec::new();
            for number in 0..40 {
                // A new text, or an earlier one with some words changed.
                let mut words: Vec<String> = match number > 3 && below(3) > 0 {
                    true => {
                        let earlier = &texts[below(number) as usize];
                        earlier.split(' ').map(str::to_owned).collect()
                    }
                    false => (0..below(30)).map(|_| below(4).to_string()).collect(),
                };
                for _ in 0..below(3) {
                    if !words.is_empty() {
                        let place = below(words.len() as u64) as usize;
                        words[place] = below(4).to_string();
                    }
                }
                texts.push(words.join(" "));
            }
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            for least in [0.05, 0.2, 0.28, 0.5, 0.6, 0.75, 0.8, 0.9, 1.0] {
                let firsts = firsts(&texts, least);
                assert_eq!(firsts, by_hand(&texts, least), "{round} {least}");
                found += firsts.iter().flatten().count();
                // Any prefix of the list gives the same result.
                let half = super::firsts(&texts[..20], least);
                assert_eq!(half, firsts[..20]);
            }
        }
        assert!(found > 1000, "{found}");
    }

    #[test]
    fn many_long_texts_are_compared_in_reasonable_time() {
        let opening: String = (0..200).map(|word| format!("word{word} ")).collect();
        let text = |number: usize| {
            let own = (0..300).map(|word| format!("own{} ", number * 1000 + word));
            opening.clone() + &own.collect::<String>()
        };
        let texts: Vec<String> = (0..500).map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        assert!(firsts(&texts, 0.8).iter().all(Option::is_none));
    }
}
