//! Generates a story: its setting, people, operations and words.

use super::chain::{Chain, Step, calculate};
use super::language::{Kind, OBJECTS, PEOPLE, Person, Setting, fill};
use super::{Asked, LARGEST};
use crate::Philox;

/// A generated problem.
pub(super) struct Story {
    pub(super) question: String,
    pub(super) chain: Chain,
}

impl Story {
    /// Returns `None` if the random draws do not give a story that can ask for every value. Stories that ask
    /// for the last value must never change, because such problems have been published.
    pub(super) fn draw(draw: &mut Draw, asked: Asked, level: u32) -> Option<Story> {
        let setting = *draw.one_of(&Setting::ALL);
        let objects = *draw.one_of(&OBJECTS);
        // A permutation of all people, so that nobody has two roles.
        let mut people: Vec<&Person> = PEOPLE.iter().collect();
        for last in (1..people.len()).rev() {
            people.swap(last, draw.below(last as u32 + 1) as usize);
        }
        let mut chain = Chain::new(u64::from(2 + draw.below(19)));
        let opening = *draw.one_of(setting.openings());
        let mut question = fill(opening, chain.start, objects, people[0], people[0]);
        for step in 0..level as usize {
            let (kind, number) = operation(draw, chain.value() as u32);
            let number = u64::from(number);
            chain.apply(kind, number).ok()?;
            // The acting person and the other one.
            let next = people[(step + 1) % people.len()];
            let (actor, other) = match setting {
                Setting::Person => (people[0], next),
                Setting::People => (next, people[step % people.len()]),
                Setting::Box => (next, next),
            };
            let sentence = *draw.one_of(setting.sentences(kind));
            question.push(' ');
            question.push_str(&fill(sentence, number, objects, actor, other));
        }
        if asked == Asked::EveryValue && chain.steps.iter().any(is_ambiguous) {
            return None;
        }
        let last = match setting {
            Setting::People => people[level as usize % people.len()],
            Setting::Person | Setting::Box => people[0],
        };
        let asking = *draw.one_of(setting.questions(asked));
        question.push(' ');
        question.push_str(&fill(asking, 0, objects, last, last));
        Some(Story { question, chain })
    }
}

/// Returns whether a misread step would have the right result: 2+2 and 2*2, 4-2 and 4/2, 21+21 and 21*2.
fn is_ambiguous(step: &Step) -> bool {
    let others = ['+', '-', '*', '/'].into_iter().filter(|&sign| {
        sign != step.sign && calculate(step.left, sign, step.right) == Some(step.result)
    });
    step.left == step.right || others.count() > 0
}

/// Draws an operation that leads from `value` to a number in `2..=LARGEST`, and its operand.
fn operation(draw: &mut Draw, value: u32) -> (Kind, u32) {
    let divisors: Vec<u32> = (3..=6)
        .filter(|d| value.is_multiple_of(*d) && value / d >= 2)
        .collect();
    let factors = (LARGEST / value.max(1)).min(6);
    // A weighted draw. If a multiplication would exceed the limit, subtract instead. If no exact division
    // exists, add instead.
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

/// A sequence of random numbers from a key.
pub(super) struct Draw {
    random: Philox,
    counter: u64,
}

impl Draw {
    pub(super) fn new(key: u64) -> Self {
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
