//! Solutions with errors: some carries are forgotten. A model trained on them reads every problem correctly
//! and still fails at long ones.

use dart_math::Philox;

/// Returns the solution with carries (in a subtraction: borrows) forgotten, each with probability `rate`. The
/// following steps continue from the wrong number: an inexact division is rounded down, and no number falls
/// below 0.
///
/// `None` if the text is not a solution of the built-in problems.
pub(crate) fn forget_carries(solution: &str, rate: f64, random: Philox) -> Option<String> {
    const ANSWER: &str = "The answer is \\boxed{";
    let (steps, answer) = solution.split_once(ANSWER)?;
    let mut text = String::new();
    let mut values: Vec<u64> = Vec::new();
    for (number, step) in steps.split_terminator(". ").enumerate() {
        let (left, _) = step.split_once('=')?;
        let at = left.find(['+', '-', '*', '/'])?;
        let (sign, right) = (&left[at..=at], left[at + 1..].parse().ok()?);
        let left = match values.last() {
            Some(value) => *value,
            None => left[..at].parse().ok()?,
        };
        if values.is_empty() {
            values.push(left);
        }
        let forgets = random.uniform(number as u64) < rate;
        let result = if forgets {
            without_carry(left, sign, right)?
        } else {
            calculate(left, sign, right)?
        };
        text.push_str(&format!("{left}{sign}{right}={result}. "));
        values.push(result);
    }
    text.push_str(ANSWER);
    if answer.starts_with('(') {
        let values: Vec<String> = values.iter().map(u64::to_string).collect();
        text.push_str(&format!("({})}}.", values.join(", ")));
    } else {
        text.push_str(&format!("{}}}.", values.last()?));
    }
    Some(text)
}

fn calculate(left: u64, sign: &str, right: u64) -> Option<u64> {
    match sign {
        "+" => left.checked_add(right),
        "-" => Some(left.saturating_sub(right)),
        "*" => left.checked_mul(right),
        _ => left.checked_div(right),
    }
}

/// Returns the result without the carry or borrow between ones and tens.
fn without_carry(left: u64, sign: &str, right: u64) -> Option<u64> {
    let result = calculate(left, sign, right)?;
    let (a, b) = (left % 10, right % 10);
    Some(match sign {
        "+" => result - (a + b) / 10 * 10,
        "-" if a < b && left >= right => result + 10,
        "*" => result - a * right / 10 * 10,
        _ => result,
    })
}

#[cfg(test)]
mod tests {
    use dart_math::data::arithmetic::{Asked, LEVELS, Split, exercise};

    use super::*;

    #[test]
    fn carries_are_forgotten_and_nothing_else() {
        let forget = |text: &str, rate| forget_carries(text, rate, Philox::new(1));
        let always = |text: &str| forget(text, 1.0).unwrap();
        assert_eq!(
            always("8+5=13. 13*4=52. 52-18=34. 34/2=17. The answer is \\boxed{17}."),
            "8+5=3. 3*4=2. 2-18=0. 0/2=0. The answer is \\boxed{0}."
        );
        assert_eq!(
            always("61+5=66. 66-18=48. 48/4=12. The answer is \\boxed{(61, 66, 48, 12)}."),
            "61+5=66. 66-18=58. 58/4=14. The answer is \\boxed{(61, 66, 58, 14)}."
        );
        assert_eq!(forget("What?", 0.5), None);
        for asked in [Asked::EveryValue, Asked::LastValue] {
            for level in LEVELS {
                for index in 0..20 {
                    let exercise = exercise(asked, Split::Training, level, index, 0);
                    let solution = exercise.solution;
                    assert_eq!(forget(&solution, 0.0).as_ref(), Some(&solution));
                    assert!(forget(&solution, 0.5).is_some());
                }
            }
        }
    }
}
