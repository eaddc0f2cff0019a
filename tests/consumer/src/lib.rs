//! A user's small sampling project: a generator that solves sums and sometimes errs, a grader that reads plain
//! integers, and a strategy that samples more for problems marked as hard.

use dart_math::dars::{Goal, Prefix, Strategy};
use dart_math::{
    Completion, Error, ErrorKind, Generator, Grader, Next, Offer, Philox, Problem, Request, Result,
    Settings, Source, Verdict,
};

/// Problems `a + b`. Every third is marked as hard.
pub fn problems(count: u32) -> Vec<Problem> {
    (0..count)
        .map(|i| {
            let (a, b) = (10 * i + 7, 3 * i + 5);
            let mut problem = Problem::new(format!("{a} + {b}"), (a + b).to_string());
            problem.metadata.insert("hard".into(), (i % 3 == 0).into());
            problem
        })
        .collect()
}

/// Adds up the numbers in the question. The result is off by one with the given probability.
pub struct Slippery {
    /// The probability of an error.
    pub slip: f64,
}

impl Slippery {
    fn answer(&self, request: &Request) -> Result<Completion> {
        let sum = request
            .problem
            .question
            .split('+')
            .map(|number| number.trim().parse::<i64>())
            .sum::<std::result::Result<i64, _>>()
            .map_err(|error| {
                let detail = format!("problem {}: {error}", request.problem.id);
                Error::new(ErrorKind::Data, detail).with_source(error)
            })?;
        let slips = Philox::new(request.seed).uniform(0) < self.slip;
        Ok(Completion::text(format!(
            "Adding up, the sum is \\boxed{{{}}}.",
            sum + i64::from(slips)
        )))
    }
}

impl Generator for Slippery {
    fn run(&self, source: &dyn Source) -> Result<()> {
        loop {
            let offer = Offer {
                free: 3,
                resident: &[],
            };
            match source.next(offer) {
                Next::Requests(requests) => {
                    for request in requests {
                        source.deliver(request.trial, self.answer(&request)?);
                    }
                }
                Next::Wait => std::thread::yield_now(),
                Next::Done => return Ok(()),
            }
        }
    }

    fn settings(&self) -> Settings {
        Settings::from_iter([("slip".to_owned(), self.slip.into())])
    }
}

/// Compares the number in the last pair of braces with the reference.
pub struct Integers;

impl Grader for Integers {
    fn grade(&self, problem: &Problem, completion: &Completion) -> Verdict {
        let text = &completion.text;
        let number = text
            .rfind('{')
            .and_then(|open| Some(&text[open + 1..open + text[open..].find('}')?]))
            .and_then(|digits| digits.parse::<i64>().ok());
        let mut verdict = Verdict::new(
            number.is_some() && number == problem.reference.parse().ok(),
            "integer",
        );
        verdict.extracted = number.map(|number| number.to_string());
        verdict
    }
}

/// Requires four correct responses to a hard problem and one to any other.
pub struct HardFirst;

impl Strategy for HardFirst {
    fn goal(&self, problem: &Problem, _: Prefix<'_>) -> Goal {
        match problem.metadata.get("hard").and_then(|hard| hard.as_bool()) {
            Some(true) => Goal::Correct(4),
            _ => Goal::Correct(1),
        }
    }
}
