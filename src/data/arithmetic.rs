//! Arithmetic word problems of graded difficulty, made rather than read: the problems that come
//! with the crate, and what its built-in model is trained on.
//!
//! A problem's level is its number of operations. Every problem is a pure function of seed,
//! level and index, its answer and a worked solution are known by construction, and the language
//! is a closed vocabulary of under two hundred words. Training and evaluation problems never
//! coincide: a hash of the question says which of the two it may be.
//!
//! Knows only the contract.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::{Philox, Problem, trial_seed};

/// The levels that [`problems`] can make: the number of operations.
pub const LEVELS: RangeInclusive<u32> = 1..=8;

/// No number in a problem or its solution is larger.
pub const LARGEST: u32 = 200;

/// Which of the two disjoint sets of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// Problems to train on.
    Training,
    /// Problems to measure with: what [`problems`] returns.
    Evaluation,
}

/// A problem with a worked solution.
#[derive(Debug, Clone, PartialEq)]
pub struct Exercise {
    /// The problem; its metadata has the `level`.
    pub problem: Problem,
    /// Every step and the answer, such as `8+5=13. 13*2=26. The answer is \boxed{26}.`
    pub solution: String,
}

/// Evaluation problems: `per_level` of each level, the easiest first. Levels outside [`LEVELS`]
/// are left out.
///
/// ```
/// use dart_math::data::arithmetic::problems;
///
/// let problems = problems(1..=3, 2, 0);
/// assert_eq!(problems.len(), 6);
/// assert_eq!(problems[5].id, "abacus-3-0001");
/// assert_eq!(problems[5].metadata["level"], 3);
/// ```
pub fn problems(levels: RangeInclusive<u32>, per_level: usize, seed: u64) -> Vec<Problem> {
    let levels = *levels.start().max(LEVELS.start())..=*levels.end().min(LEVELS.end());
    let mut problems = Vec::new();
    for level in levels {
        problems.extend(
            (0..per_level as u64)
                .map(|index| exercise(Split::Evaluation, level, index, seed).problem),
        );
    }
    problems
}

/// The problem of a split, level and index under a seed, with its solution. A level outside
/// [`LEVELS`] is taken as the nearest inside.
///
/// ```
/// use dart_math::data::arithmetic::{Split, exercise};
///
/// let exercise = exercise(Split::Training, 2, 0, 0);
/// let answer = format!("The answer is \\boxed{{{}}}.", exercise.problem.reference);
/// assert!(exercise.solution.ends_with(&answer));
/// ```
pub fn exercise(split: Split, level: u32, index: u64, seed: u64) -> Exercise {
    let level = level.clamp(*LEVELS.start(), *LEVELS.end());
    let stream = format!("abacus {level} {index}");
    let mut attempt = 0;
    loop {
        let mut draw = Draw::new(trial_seed(seed, &stream, attempt));
        let story = Story::draw(&mut draw, level);
        // Any attempt succeeds with a probability of 1/8 at least.
        if split_of(&story.question) == split {
            let id = if seed == 0 {
                format!("abacus-{level}-{index:04}")
            } else {
                format!("abacus-s{seed}-{level}-{index:04}")
            };
            let mut problem = Problem::new(story.question, story.answer.to_string()).with_id(id);
            problem.metadata.insert("level".into(), level.into());
            return Exercise {
                problem,
                solution: story.solution,
            };
        }
        attempt += 1;
    }
}

/// The split that a question belongs to, whatever seed or index led to it.
pub fn split_of(question: &str) -> Split {
    if Sha256::digest(question.as_bytes())[0] < 32 {
        Split::Evaluation
    } else {
        Split::Training
    }
}

/// A name, and whether it takes `she`.
struct Person(&'static str, bool);

const PEOPLE: [Person; 16] = [
    Person("Tom", false),
    Person("Mia", true),
    Person("Leo", false),
    Person("Anna", true),
    Person("Ben", false),
    Person("Sara", true),
    Person("Max", false),
    Person("Lily", true),
    Person("Sam", false),
    Person("Nora", true),
    Person("Paul", false),
    Person("Emma", true),
    Person("Omar", false),
    Person("Ruth", true),
    Person("Hugo", false),
    Person("Clara", true),
];

const OBJECTS: [&str; 16] = [
    "apples", "marbles", "coins", "stamps", "books", "shells", "cards", "pencils", "eggs",
    "stones", "beads", "cookies", "buttons", "stickers", "pears", "tickets",
];

/// The kinds of operation. Halving and doubling have words of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Subtract,
    Multiply,
    Double,
    Divide,
    Halve,
}

/// What the story is about. In its sentences `{n}` is the operation's number, `{o}` the objects,
/// `{A}` the name of whoever acts, `{P}` `{p}` `{m}` the pronoun as subject (with and without a
/// capital) and object, and `{B}` another name (of whom the number was known before, in
/// [`Setting::People`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// One person's objects come and go.
    Person,
    /// Everybody has more or fewer than the one before.
    People,
    /// Things go in and out of a box.
    Box,
}

impl Setting {
    const ALL: [Setting; 3] = [Setting::Person, Setting::People, Setting::Box];

    fn openings(self) -> &'static [&'static str] {
        match self {
            Setting::Person => &["{A} has {n} {o}.", "{A} starts with {n} {o}."],
            Setting::People => &["{A} has {n} {o}."],
            Setting::Box => &["There are {n} {o} in a box.", "A box holds {n} {o}."],
        }
    }

    fn questions(self) -> &'static [&'static str] {
        match self {
            Setting::Person => &[
                "How many {o} does {A} have now?",
                "How many {o} does {p} have in the end?",
            ],
            Setting::People => &["How many {o} does {A} have?"],
            Setting::Box => &[
                "How many {o} are in the box now?",
                "How many {o} does the box hold in the end?",
            ],
        }
    }

    fn sentences(self, kind: Kind) -> &'static [&'static str] {
        match (self, kind) {
            (Setting::Person, Kind::Add) => &[
                "{P} buys {n} more.",
                "Then {p} finds {n} {o}.",
                "{B} gives {m} {n} more.",
                "{P} gets {n} from {B}.",
            ],
            (Setting::Person, Kind::Subtract) => &[
                "{P} loses {n}.",
                "Then {p} sells {n} {o}.",
                "{P} gives {n} to {B}.",
                "{B} takes {n} from {m}.",
            ],
            (Setting::Person, Kind::Multiply) => &[
                "{P} swaps each for {n} new ones.",
                "Soon {p} has {n} times as many.",
            ],
            (Setting::Person, Kind::Double) => {
                &["{P} doubles them.", "Soon {p} has twice as many."]
            }
            (Setting::Person, Kind::Divide) => &[
                "{P} makes {n} equal piles and keeps one.",
                "{P} splits them among {n} friends and buys back one share.",
            ],
            (Setting::Person, Kind::Halve) => &["{P} keeps only half.", "{P} gives half to {B}."],
            (Setting::People, Kind::Add) => &[
                "{A} has {n} more than {B}.",
                "{A} has {n} {o} more than {B}.",
            ],
            (Setting::People, Kind::Subtract) => &[
                "{A} has {n} fewer than {B}.",
                "{A} has {n} {o} fewer than {B}.",
            ],
            (Setting::People, Kind::Multiply) => &["{A} has {n} times as many as {B}."],
            (Setting::People, Kind::Double) => &[
                "{A} has twice as many as {B}.",
                "{A} has double what {B} has.",
            ],
            (Setting::People, Kind::Divide) => &[
                "{B} has {n} times as many as {A}.",
                "If {B} made {n} equal piles, each would be what {A} has.",
            ],
            (Setting::People, Kind::Halve) => &[
                "{A} has half as many as {B}.",
                "{A} has half of what {B} has.",
            ],
            (Setting::Box, Kind::Add) => &["{A} puts in {n} more.", "Then {A} adds {n} {o}."],
            (Setting::Box, Kind::Subtract) => &["{A} takes out {n}.", "Then {A} removes {n} {o}."],
            (Setting::Box, Kind::Multiply) => &[
                "{A} swaps each for {n} new ones.",
                "{A} fills it to {n} times as many.",
            ],
            (Setting::Box, Kind::Double) => &[
                "{A} doubles the number of {o}.",
                "{A} fills it to twice as many.",
            ],
            (Setting::Box, Kind::Divide) => &["{A} makes {n} equal piles and puts back one."],
            (Setting::Box, Kind::Halve) => &["{A} takes out half.", "Then {A} removes half."],
        }
    }
}

/// A drawn problem.
struct Story {
    question: String,
    solution: String,
    answer: u32,
}

impl Story {
    fn draw(draw: &mut Draw, level: u32) -> Story {
        let setting = *draw.one_of(&Setting::ALL);
        let objects = *draw.one_of(&OBJECTS);
        // An order of all the people: nobody appears in two roles.
        let mut people: Vec<&Person> = PEOPLE.iter().collect();
        for last in (1..people.len()).rev() {
            people.swap(last, draw.below(last as u32 + 1) as usize);
        }
        let mut value = 2 + draw.below(19);
        let opening = *draw.one_of(setting.openings());
        let mut question = fill(opening, value, objects, people[0], people[0]);
        let mut solution = String::new();
        for step in 0..level as usize {
            let (kind, number) = operation(draw, value);
            let (sign, result) = match kind {
                Kind::Add => ('+', value + number),
                Kind::Subtract => ('-', value - number),
                Kind::Multiply | Kind::Double => ('*', value * number),
                Kind::Divide | Kind::Halve => ('/', value / number),
            };
            // Who acts, and the other one.
            let next = people[(step + 1) % people.len()];
            let (actor, other) = match setting {
                Setting::Person => (people[0], next),
                Setting::People => (next, people[step % people.len()]),
                Setting::Box => (next, next),
            };
            let sentence = *draw.one_of(setting.sentences(kind));
            question.push(' ');
            question.push_str(&fill(sentence, number, objects, actor, other));
            solution.push_str(&format!("{value}{sign}{number}={result}. "));
            value = result;
        }
        let asked = match setting {
            Setting::People => people[level as usize % people.len()],
            Setting::Person | Setting::Box => people[0],
        };
        let asking = *draw.one_of(setting.questions());
        question.push(' ');
        question.push_str(&fill(asking, 0, objects, asked, asked));
        solution.push_str(&format!("The answer is \\boxed{{{value}}}."));
        Story {
            question,
            solution,
            answer: value,
        }
    }
}

/// An operation that leads from `value` to a number in `2..=LARGEST`, and its operand.
fn operation(draw: &mut Draw, value: u32) -> (Kind, u32) {
    let divisors: Vec<u32> = (3..=6)
        .filter(|d| value.is_multiple_of(*d) && value / d >= 2)
        .collect();
    let factors = (LARGEST / value.max(1)).min(6);
    // Drawn by weight. Where a multiplication would lead too high something is taken away
    // instead, where there is no exact division something is added.
    match draw.below(12) {
        0..2 if factors >= 3 => (Kind::Multiply, 3 + draw.below(factors - 2)),
        2 if factors >= 2 => (Kind::Double, 2),
        3..5 if !divisors.is_empty() => (Kind::Divide, *draw.one_of(&divisors)),
        5 if value.is_multiple_of(2) && value >= 4 => (Kind::Halve, 2),
        0..3 | 6..9 if value >= 8 => (Kind::Subtract, 2 + draw.below((value - 3).min(29))),
        _ if value + 30 <= LARGEST => (Kind::Add, 2 + draw.below(29)),
        _ => (Kind::Subtract, 2 + draw.below(29)),
    }
}

/// A sentence with its places filled in.
fn fill(sentence: &str, number: u32, objects: &str, actor: &Person, other: &Person) -> String {
    let (capital, subject, object) = if actor.1 {
        ("She", "she", "her")
    } else {
        ("He", "he", "him")
    };
    sentence
        .replace("{n}", &number.to_string())
        .replace("{o}", objects)
        .replace("{A}", actor.0)
        .replace("{B}", other.0)
        .replace("{P}", capital)
        .replace("{p}", subject)
        .replace("{m}", object)
}

/// Draws one after another from a key.
struct Draw {
    random: Philox,
    counter: u64,
}

impl Draw {
    fn new(key: u64) -> Self {
        Draw {
            random: Philox::new(key),
            counter: 0,
        }
    }

    fn below(&mut self, bound: u32) -> u32 {
        self.counter += 1;
        self.random.below(self.counter - 1, u64::from(bound)) as u32
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u32) as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn sample(split: Split) -> impl Iterator<Item = (u32, Exercise)> {
        LEVELS.flat_map(move |level| {
            (0..300).map(move |index| (level, exercise(split, level, index, 5)))
        })
    }

    /// Answers a question from its words alone, by other means than it was made.
    fn answer(question: &str) -> u32 {
        let sentences: Vec<&str> = question
            .split_inclusive(['.', '?'])
            .map(str::trim)
            .collect();
        let (asked, story) = sentences.split_last().unwrap();
        assert!(
            asked.starts_with("How many") && asked.ends_with('?'),
            "{asked}"
        );
        let mut known: BTreeMap<&str, u32> = BTreeMap::new();
        let mut value = 0;
        for (number, sentence) in story.iter().enumerate() {
            let words: Vec<&str> = sentence.trim_end_matches('.').split([' ', ',']).collect();
            let operand = words.iter().find_map(|word| word.parse::<u32>().ok());
            let has = |text: &str| sentence.contains(text);
            let first_is_known = known.contains_key(words[0]);
            value = if number == 0 {
                operand.unwrap()
            } else if has("half") {
                assert_eq!(value % 2, 0, "{question}");
                value / 2
            } else if has("doubl") || has("twice") {
                value * 2
            } else if has("equal piles") || has("splits") || (has("times") && first_is_known) {
                assert_eq!(value % operand.unwrap(), 0, "{question}");
                value / operand.unwrap()
            } else if has("times") || has("swaps each") {
                value * operand.unwrap()
            } else if ["more", "finds", "gets", "adds"]
                .iter()
                .any(|word| has(word))
            {
                value + operand.unwrap()
            } else {
                let verbs = ["fewer", "loses", "sells", "takes", "removes", "gives"];
                assert!(verbs.iter().any(|verb| has(verb)), "{sentence}");
                value - operand.unwrap()
            };
            // Among people who are compared, whoever is named and not yet known has the value.
            if has("than") || has("as many as") || has("what") || number == 0 {
                for word in words {
                    if PEOPLE.iter().any(|person| person.0 == word) {
                        known.entry(word).or_insert(value);
                    }
                }
            }
        }
        let compared = known.len() > 1;
        let name = asked.split(' ').rev().nth(1).unwrap();
        if compared { known[name] } else { value }
    }

    #[test]
    fn answers_follow_from_the_words() {
        for (level, exercise) in sample(Split::Evaluation) {
            let problem = exercise.problem;
            assert_eq!(
                answer(&problem.question).to_string(),
                problem.reference,
                "level {level}: {}",
                problem.question
            );
        }
    }

    #[test]
    fn solutions_are_unbroken_chains_of_right_steps() {
        for (level, exercise) in sample(Split::Training) {
            let (steps, end) = exercise.solution.split_once("The").unwrap();
            let mut value: Option<u32> = None;
            let mut count = 0;
            for step in steps.split_terminator(". ") {
                let (left, right) = step.split_once('=').unwrap();
                let sign = left.find(['+', '-', '*', '/']).unwrap();
                let a: u32 = left[..sign].parse().unwrap();
                let b: u32 = left[sign + 1..].parse().unwrap();
                let c: u32 = right.parse().unwrap();
                assert!(value.is_none_or(|value| value == a), "{steps}");
                assert!((2..=LARGEST).contains(&c), "{steps}");
                match &left[sign..=sign] {
                    "+" => assert_eq!(a + b, c),
                    "-" => assert_eq!(a - b, c),
                    "*" => assert_eq!(a * b, c),
                    _ => assert_eq!(b * c, a),
                }
                value = Some(c);
                count += 1;
            }
            let value = value.unwrap().to_string();
            assert_eq!(count, level);
            assert_eq!(value, exercise.problem.reference);
            assert_eq!(end, format!(" answer is \\boxed{{{value}}}."));
        }
    }

    #[test]
    fn problems_are_functions_of_seed_level_and_index() {
        let all = problems(1..=8, 20, 3);
        assert_eq!(all, problems(0..=99, 20, 3));
        assert_eq!(all[2 * 20 + 7], problems(3..=3, 8, 3)[7]);
        assert_ne!(all[0].question, problems(1..=1, 1, 4)[0].question);
        let ids: BTreeSet<&str> = all.iter().map(|problem| problem.id.as_str()).collect();
        assert_eq!(ids.len(), all.len());
        assert!(problems(9..=12, 5, 0).is_empty());
    }

    #[test]
    fn training_and_evaluation_never_coincide() {
        for (_, exercise) in sample(Split::Training) {
            assert_eq!(split_of(&exercise.problem.question), Split::Training);
        }
        for (_, exercise) in sample(Split::Evaluation) {
            assert_eq!(split_of(&exercise.problem.question), Split::Evaluation);
        }
    }

    #[test]
    fn language_is_a_small_closed_vocabulary() {
        let kinds = [
            Kind::Add,
            Kind::Subtract,
            Kind::Multiply,
            Kind::Double,
            Kind::Divide,
            Kind::Halve,
        ];
        let mut pieces = vec!["He She he she him her"];
        pieces.extend(PEOPLE.iter().map(|person| person.0));
        pieces.extend(OBJECTS);
        for setting in Setting::ALL {
            pieces.extend(setting.openings());
            pieces.extend(setting.questions());
            for kind in kinds {
                pieces.extend(setting.sentences(kind));
            }
        }
        fn words(text: &str) -> impl Iterator<Item = &str> {
            text.split(|c: char| !c.is_ascii_alphabetic())
                .filter(|word| !word.is_empty())
        }
        let vocabulary: BTreeSet<&str> = pieces.iter().flat_map(|text| words(text)).collect();
        assert!(vocabulary.len() < 160, "{}", vocabulary.len());
        for (_, exercise) in sample(Split::Evaluation) {
            let question = &exercise.problem.question;
            for word in words(question) {
                assert!(vocabulary.contains(word), "{word} in {question}");
            }
            let marks = |c: char| " .,?".contains(c) || c.is_ascii_alphanumeric();
            assert!(question.chars().all(marks), "{question}");
        }
    }
}
