//! The operations of a story, carried out: the steps of its solution and its answer.

use super::Asked;
use super::language::Kind;

/// One executed operation, such as `13*2=26`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) left: u64,
    pub(super) sign: char,
    pub(super) right: u64,
    pub(super) result: u64,
}

/// A start value and the operations applied to it in sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chain {
    pub(super) start: u64,
    pub(super) steps: Vec<Step>,
}

impl Chain {
    pub(super) fn new(start: u64) -> Self {
        Chain {
            start,
            steps: Vec::new(),
        }
    }

    /// Returns the final value.
    pub(super) fn value(&self) -> u64 {
        self.steps.last().map_or(self.start, |step| step.result)
    }

    /// Applies one more operation. Returns an error if the result is not a whole number of things.
    pub(super) fn apply(&mut self, kind: Kind, right: u64) -> Result<(), String> {
        let left = self.value();
        let sign = kind.sign();
        let result = calculate(left, sign, right)
            .ok_or_else(|| format!("{left}{sign}{right} is no whole number of things"))?;
        self.steps.push(Step {
            left,
            sign,
            right,
            result,
        });
        Ok(())
    }

    /// Returns the answer to the question.
    pub(super) fn answer(&self, asked: Asked) -> String {
        match asked {
            Asked::LastValue => self.value().to_string(),
            Asked::EveryValue => {
                let results = self.steps.iter().map(|step| step.result);
                let values: Vec<String> = std::iter::once(self.start)
                    .chain(results)
                    .map(|value| value.to_string())
                    .collect();
                format!("({})", values.join(", "))
            }
        }
    }

    /// Returns the worked solution.
    pub(super) fn solution(&self, asked: Asked) -> String {
        let mut text = String::new();
        for step in &self.steps {
            let Step {
                left,
                sign,
                right,
                result,
            } = step;
            text.push_str(&format!("{left}{sign}{right}={result}. "));
        }
        text.push_str(&format!("The answer is \\boxed{{{}}}.", self.answer(asked)));
        text
    }
}

/// Returns the result of an operation if it is a non-negative integer that fits.
pub(super) fn calculate(left: u64, sign: char, right: u64) -> Option<u64> {
    match sign {
        '+' => left.checked_add(right),
        '-' => left.checked_sub(right),
        '*' => left.checked_mul(right),
        '/' if right > 0 && left.is_multiple_of(right) => Some(left / right),
        _ => None,
    }
}
