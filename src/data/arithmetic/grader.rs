//! A grader that checks solutions step by step.

use std::borrow::Cow;

use super::chain::Step;
use super::reading::{Reading, number, read, shortened};
use crate::{Completion, Finish, Grader, Problem, Settings, Verdict};

/// Accepts only correct derivations. Each step must be the next operation that the question describes,
/// applied to the result of the previous step, with the correct result. The answer must follow from the
/// steps. Any other form is refused; the reason names the step.
///
/// It is also an example of a custom grader. It takes all information from the question, so it grades any
/// [`Problem`] of this language, whatever its source.
///
/// ```
/// use dart_math::data::arithmetic::StepGrader;
/// use dart_math::{Completion, Grader, Problem};
///
/// let problem = Problem::new(
///     "Tom has 8 coins. He buys 5 more. He doubles them. How many coins does Tom have now?",
///     "26",
/// );
/// let verdict = |text| StepGrader.grade(&problem, &Completion::text(text));
/// assert!(verdict("8+5=13. 13*2=26. The answer is \\boxed{26}.").equal);
/// let lucky = verdict("8+5=12. 12*2=26. The answer is \\boxed{26}.");
/// assert_eq!(lucky.to_string(), "not equal (steps): step 1: 8+5 is 13, not 12");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepGrader;

impl Grader for StepGrader {
    fn grade(&self, problem: &Problem, completion: &Completion) -> Verdict {
        let mut verdict = Verdict::new(false, "steps");
        let checked = match completion.finish {
            Finish::Stop => read_problem(problem)
                .and_then(|reading| check(&completion.text, &reading, &mut verdict.extracted)),
            _ => Err("the response was cut off before its end".into()),
        };
        match checked {
            Ok(()) => verdict.equal = true,
            Err(reason) => verdict.reason = Cow::Owned(reason),
        }
        verdict
    }

    fn settings(&self) -> Settings {
        let mut settings = Settings::new();
        settings.insert("grader".into(), "arithmetic steps".into());
        settings
    }
}

/// Reads the problem's question and checks that its reference agrees.
fn read_problem(problem: &Problem) -> Result<Reading, String> {
    let reading = read(&problem.question)?;
    let answer = reading.chain.answer(reading.asked);
    if without_spaces(&answer) == without_spaces(&problem.reference) {
        Ok(reading)
    } else {
        let reference = shortened(&problem.reference);
        Err(format!(
            "the reference is {reference:?}, but the question leads to {answer}"
        ))
    }
}

/// Compares a response with its question.
fn check(text: &str, reading: &Reading, extracted: &mut Option<String>) -> Result<(), String> {
    let mut rest = text.trim_start();
    for (index, expected) in reading.chain.steps.iter().enumerate() {
        let name = format!("step {}", index + 1);
        let Some((step, after)) = written_step(rest) else {
            return Err(format!(
                "{name}: {:?} is no step such as 8+5=13.",
                shortened(rest)
            ));
        };
        let Step {
            left,
            sign,
            right,
            result,
        } = expected;
        if step.left != *left {
            return Err(format!("{name} is about {}, not about {left}", step.left));
        }
        if (step.sign, step.right) != (*sign, *right) {
            let found = format!("{}{}", step.sign, step.right);
            return Err(format!(
                "{name} has {found} where the question describes {sign}{right}"
            ));
        }
        if step.result != *result {
            return Err(format!(
                "{name}: {left}{sign}{right} is {result}, not {}",
                step.result
            ));
        }
        rest = after.trim_start();
    }
    let steps = reading.chain.steps.len();
    if written_step(rest).is_some() {
        return Err(format!("step {} is one too many", steps + 1));
    }
    let Some((answer, after)) = rest
        .strip_prefix("The answer is \\boxed{")
        .and_then(|rest| rest.split_once('}'))
    else {
        return Err(format!(
            "after step {steps}: {:?} is no answer in a box",
            shortened(rest)
        ));
    };
    *extracted = Some(answer.to_owned());
    let expected = reading.chain.answer(reading.asked);
    if without_spaces(answer) != without_spaces(&expected) {
        let answer = shortened(answer);
        return Err(format!("the answer is {expected}, not {answer:?}"));
    }
    match after.trim_end() {
        "." => Ok(()),
        more => Err(format!(
            "after the answer: {:?} is not a full stop",
            shortened(more)
        )),
    }
}

/// Parses a step such as `8+5=13.` at the beginning of a text and returns it with the rest of the text.
fn written_step(text: &str) -> Option<(Step, &str)> {
    let (left, rest) = number(text)?;
    let sign = rest.chars().next().filter(|sign| "+-*/".contains(*sign))?;
    let (right, rest) = number(&rest[1..])?;
    let (result, rest) = number(rest.strip_prefix('=')?)?;
    let step = Step {
        left,
        sign,
        right,
        result,
    };
    Some((step, rest.strip_prefix('.')?))
}

fn without_spaces(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}
