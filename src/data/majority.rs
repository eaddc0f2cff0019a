//! The most frequent final answer of a problem, counted in a stream of its trials.

use std::collections::HashMap;

use crate::Equivalence;

/// The maximum number of different answers counted per problem. Later ones are ignored.
const MAX_CLASSES: usize = 64;
/// The maximum number of equivalence checks per problem. After that, new texts are ignored.
const MAX_COMPARISONS: u32 = 4096;
/// The maximum number of texts whose class is remembered.
const MAX_TEXTS: usize = 1024;

/// The most frequent final answer of a problem.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Majority {
    /// As written in the first trial with this answer.
    pub(super) answer: String,
    /// Its share of all trials, including those without an answer.
    pub(super) share: f64,
    /// Whether it equals the reference.
    pub(super) correct: bool,
}

/// The final answers of one problem's trials, grouped by equivalence.
pub(super) struct Answers<'a> {
    equivalence: &'a dyn Equivalence,
    trials: u32,
    comparisons: u32,
    classes: Vec<Class>,
    /// The class of each text, with normalised white space; `None` if it has no class.
    texts: HashMap<String, Option<usize>>,
}

struct Class {
    answer: String,
    count: u32,
}

impl<'a> Answers<'a> {
    pub(super) fn new(equivalence: &'a dyn Equivalence) -> Self {
        Answers {
            equivalence,
            trials: 0,
            comparisons: 0,
            classes: Vec::new(),
            texts: HashMap::new(),
        }
    }

    /// Counts a trial with its final answer, if any.
    pub(super) fn add(&mut self, answer: Option<&str>) {
        self.trials += 1;
        let Some(answer) = answer else { return };
        let words: Vec<&str> = answer.split_whitespace().collect();
        let text = words.join(" ");
        let class = match self.texts.get(&text) {
            Some(&class) => class,
            None => {
                let class = self.class(answer);
                if self.texts.len() < MAX_TEXTS {
                    self.texts.insert(text, class);
                }
                class
            }
        };
        if let Some(class) = class.and_then(|class| self.classes.get_mut(class)) {
            class.count += 1;
        }
    }

    /// Returns the class of an answer. Adds a new class if none matches and there are not too many.
    fn class(&mut self, answer: &str) -> Option<usize> {
        for (index, class) in self.classes.iter().enumerate() {
            if self.comparisons == MAX_COMPARISONS {
                return None;
            }
            self.comparisons += 1;
            if self.equivalence.same(&class.answer, answer) {
                return Some(index);
            }
        }
        (self.classes.len() < MAX_CLASSES).then(|| {
            self.classes.push(Class {
                answer: answer.to_owned(),
                count: 0,
            });
            self.classes.len() - 1
        })
    }

    /// Returns the number of trials counted.
    pub(super) fn trials(&self) -> u32 {
        self.trials
    }

    /// Returns the most frequent answer, in a tie the first one; `None` without answers.
    pub(super) fn majority(self, reference: &str) -> Option<Majority> {
        let most = self.classes.iter().map(|class| class.count).max()?;
        let first = self.classes.into_iter().find(|class| class.count == most)?;
        Some(Majority {
            correct: self.equivalence.same(reference, &first.answer),
            share: f64::from(most) / f64::from(self.trials),
            answer: first.answer,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::answer::Checker;

    fn majority(answers: &[Option<&str>], reference: &str) -> Option<Majority> {
        let checker = Checker::default();
        let mut counted = Answers::new(&checker);
        answers.iter().for_each(|answer| counted.add(*answer));
        counted.majority(reference)
    }

    #[test]
    fn equivalent_answers_are_one() {
        let answers = [
            Some("3"),
            Some("3"),
            Some(r"\frac12"),
            Some("0.5"),
            Some("1/2"),
            None,
        ];
        let found = majority(&answers, "2/4").unwrap();
        assert_eq!((found.answer.as_str(), found.share), (r"\frac12", 0.5));
        assert!(found.correct);
        assert!(!majority(&answers, "3").unwrap().correct);
        // In a tie, the first one.
        assert_eq!(majority(&[Some("2"), Some("1")], "1").unwrap().answer, "2");
        assert_eq!(majority(&[None, None], "1"), None);
        assert_eq!(majority(&[], "1"), None);
    }

    #[test]
    fn the_work_is_bounded() {
        #[derive(Default)]
        struct Never(AtomicU32);
        impl Equivalence for Never {
            fn same(&self, _: &str, _: &str) -> bool {
                self.0.fetch_add(1, Ordering::Relaxed);
                false
            }
        }
        let never = Never::default();
        let mut answers = Answers::new(&never);
        for number in 0..5000 {
            answers.add(Some(&number.to_string()));
            // A text that was seen before costs nothing, even with different white space.
            answers.add(Some(" 0 "));
        }
        assert_eq!(answers.trials(), 10_000);
        assert!(answers.texts.len() <= MAX_TEXTS && answers.classes.len() <= MAX_CLASSES);
        let found = answers.majority("x").unwrap();
        assert_eq!((found.answer.as_str(), found.share), ("0", 0.5001));
        assert_eq!(never.0.load(Ordering::Relaxed), MAX_COMPARISONS + 1);
    }
}
