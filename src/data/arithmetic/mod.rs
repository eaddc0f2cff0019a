//! Generated arithmetic word problems of graded difficulty. They are the crate's built-in problems and the
//! training data of its built-in model. A [`StepGrader`] checks their solutions step by step.
//!
//! A problem's level is its number of operations. Every problem is a pure function of seed, level and index.
//! Its answer and a worked solution are known by construction. The language has a closed vocabulary of under
//! two hundred words. Training and evaluation problems are disjoint: a hash of the question determines the
//! split.
//!
//! # Correct answers from wrong derivations
//!
//! A checker of final answers cannot distinguish a correct derivation from a wrong one with the right answer.
//! [`problems`] therefore ask for every value of a story ([`Asked::EveryValue`]): an answer such as `(5, 10,
//! 30)` is right only if all intermediate results are. If only the last value is asked for
//! ([`Asked::LastValue`]), at most [`LARGEST`], two mistakes that cancel out or a mere guess are often right,
//! and the hardest levels of a data set are full of wrong derivations. `assets/abacus/README.md` lists the
//! measured share of correct derivations for both.
//!
//! Depends on the contract only.

mod chain;
mod grader;
mod language;
mod reading;
mod story;

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

pub use grader::StepGrader;
use story::{Draw, Story};

use crate::{Problem, trial_seed};

/// The levels of [`problems`], as numbers of operations.
pub const LEVELS: RangeInclusive<u32> = 1..=8;

/// The largest number in a problem or its solution.
pub const LARGEST: u32 = 200;

/// The value that a problem asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asked {
    /// The initial number and the number after each operation, such as `(5, 10, 30)`.
    EveryValue,
    /// Only the final number, such as `30`. A wrong derivation often reaches it by chance.
    LastValue,
}

/// The two disjoint sets of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// Problems for training.
    Training,
    /// Problems for evaluation, as returned by [`problems`].
    Evaluation,
}

/// A problem with a worked solution.
#[derive(Debug, Clone, PartialEq)]
pub struct Exercise {
    /// The problem; its metadata contains the `level`.
    pub problem: Problem,
    /// Every step and the answer, such as `8+5=13. 13*2=26. The answer is \boxed{(8, 13, 26)}.`
    pub solution: String,
}

/// Returns evaluation problems that ask for every value: `per_level` of each level, the easiest first. Levels
/// outside [`LEVELS`] are skipped.
///
/// ```
/// use dart_math::data::arithmetic::problems;
///
/// let problems = problems(1..=3, 2, 0);
/// assert_eq!(problems.len(), 6);
/// assert_eq!(problems[5].id, "abacus-every-3-0001");
/// assert_eq!(problems[5].metadata["level"], 3);
/// ```
pub fn problems(levels: RangeInclusive<u32>, per_level: usize, seed: u64) -> Vec<Problem> {
    problems_asking(Asked::EveryValue, levels, per_level, seed)
}

/// Like [`problems`], with a choice of the value asked for.
///
/// ```
/// use dart_math::data::arithmetic::{Asked, problems_asking};
///
/// let problems = problems_asking(Asked::LastValue, 1..=1, 1, 0);
/// assert_eq!(problems[0].id, "abacus-1-0000");
/// assert_eq!(
///     problems[0].question,
///     "A box holds 5 stones. Ruth puts in 5 more. How many stones are in the box now?"
/// );
/// assert_eq!(problems[0].reference, "10");
/// ```
pub fn problems_asking(
    asked: Asked,
    levels: RangeInclusive<u32>,
    per_level: usize,
    seed: u64,
) -> Vec<Problem> {
    let levels = *levels.start().max(LEVELS.start())..=*levels.end().min(LEVELS.end());
    let mut problems = Vec::new();
    for level in levels {
        problems.extend(
            (0..per_level as u64)
                .map(|index| exercise(asked, Split::Evaluation, level, index, seed).problem),
        );
    }
    problems
}

/// Returns the problem of a split, level and index under a seed, with its solution. A level outside
/// [`LEVELS`] is clamped.
///
/// ```
/// use dart_math::data::arithmetic::{Asked, Split, exercise};
///
/// let exercise = exercise(Asked::EveryValue, Split::Training, 2, 0, 0);
/// let answer = format!("The answer is \\boxed{{{}}}.", exercise.problem.reference);
/// assert!(exercise.solution.ends_with(&answer));
/// ```
pub fn exercise(asked: Asked, split: Split, level: u32, index: u64, seed: u64) -> Exercise {
    let level = level.clamp(*LEVELS.start(), *LEVELS.end());
    let name = match asked {
        Asked::EveryValue => "abacus every",
        Asked::LastValue => "abacus",
    };
    let stream = format!("{name} {level} {index}");
    let mut attempt = 0;
    loop {
        let mut draw = Draw::new(trial_seed(seed, &stream, attempt));
        // Each attempt succeeds with a probability of at least 1/16.
        if let Some(story) = Story::draw(&mut draw, asked, level)
            && split_of(&story.question) == split
        {
            let name = name.replace(' ', "-");
            let id = if seed == 0 {
                format!("{name}-{level}-{index:04}")
            } else {
                format!("{name}-s{seed}-{level}-{index:04}")
            };
            let mut problem = Problem::new(story.question, story.chain.answer(asked)).with_id(id);
            problem.metadata.insert("level".into(), level.into());
            let solution = story.chain.solution(asked);
            problem.solution = Some(solution.clone());
            return Exercise { problem, solution };
        }
        attempt += 1;
    }
}

/// Returns the split of a question. It does not depend on the seed or index.
pub fn split_of(question: &str) -> Split {
    if Sha256::digest(question.as_bytes())[0] < 32 {
        Split::Evaluation
    } else {
        Split::Training
    }
}

#[cfg(test)]
mod tests;
