//! Checks answers: extracts the final answer of a response, parses it and decides whether it equals the
//! reference.
//!
//! Depends on the contract only and can be used alone, without candle.
//!
//! Numbers and expressions are exact: arbitrary-precision rationals, roots, π, e, i, logarithms and
//! trigonometric values in one canonical form. Ball arithmetic decides comparisons that the canonical form
//! leaves open. Answers that are not understood are equal only if both texts have the same tokens, words or
//! syntax tree. Work is limited by counting steps, bits and depth, not time, so a verdict is the same on any
//! machine.
//!
//! ```
//! use dart_math::answer::Checker;
//!
//! let checker = Checker::default();
//! assert!(checker.equal(r"\frac{1}{2}", "0.5").equal);
//! assert!(!checker.equal(r"\frac{1}{3}", "0.333").equal);
//!
//! let verdict = checker.grade("72", r"The total is \boxed{72} clips.");
//! assert_eq!(verdict.to_string(), r#"equal (identical), read "72""#);
//! ```

mod budget;
mod equal;
mod extract;
mod latex;
mod numeric;
mod value;

use std::borrow::Cow;

use budget::Budget;
use equal::{Options, Read, Tolerance};

pub use extract::{Extracted, Marker, NoAnswer, extract};

use crate::{Completion, Equivalence, Finish, Grader, Problem, Settings, Verdict};

/// The version of the rules. It is part of the settings, so that a run is not resumed under different rules.
const RULES: u32 = 6;

/// Grades answers against references. Cheap to clone: it holds only options.
///
/// See the [module documentation](self) for what it accepts.
#[derive(Debug, Clone, Copy)]
pub struct Checker {
    lenient: bool,
    options: Options,
}

impl Default for Checker {
    fn default() -> Self {
        Checker {
            lenient: false,
            options: Options {
                tolerance: Tolerance::Exact,
                constant_of_integration: false,
            },
        }
    }
}

/// Configures a [`Checker`].
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct CheckerBuilder(Checker);

impl CheckerBuilder {
    /// Sets whether the last formula or number is taken as the answer if a response marks none. Off by default.
    pub fn lenient(mut self, lenient: bool) -> Self {
        self.0.lenient = lenient;
        self
    }

    /// Also accepts numbers that differ from the reference by at most `tolerance` times the reference. By
    /// default, numbers must be equal; only decimals of 12 or more significant digits may be rounded in their
    /// last digits.
    ///
    /// ```
    /// use dart_math::answer::Checker;
    ///
    /// let checker = Checker::builder().relative_tolerance(1e-2).build();
    /// assert!(checker.equal(r"\frac{1}{3}", "0.333").equal);
    /// ```
    pub fn relative_tolerance(mut self, tolerance: f64) -> Self {
        self.0.options.tolerance = Tolerance::Relative(tolerance.max(0.0));
        self
    }

    /// Also accepts a number that rounds to the digits of a reference written as a decimal.
    ///
    /// ```
    /// use dart_math::answer::Checker;
    ///
    /// let checker = Checker::builder().reference_digits().build();
    /// assert!(checker.equal("33.3", r"\frac{100}{3}").equal);
    /// assert!(!checker.equal(r"\frac{100}{3}", "33.3").equal);
    /// ```
    pub fn reference_digits(mut self) -> Self {
        self.0.options.tolerance = Tolerance::ReferenceDigits;
        self
    }

    /// Sets whether an additive constant of integration may be missing on one side or have a different name:
    /// `C`, `c`, `K`, `k`, with or without an index. Off by default.
    ///
    /// ```
    /// use dart_math::answer::Checker;
    ///
    /// let checker = Checker::builder().constant_of_integration(true).build();
    /// assert!(checker.equal(r"\frac{x^2}{2} + C", r"\frac{x^2}{2} + k").equal);
    /// assert!(checker.equal(r"\frac{x^2}{2} + C", r"\frac{x^2}{2}").equal);
    /// assert!(!checker.equal(r"\frac{x^2}{2}", r"\frac{x^2}{2} + 1").equal);
    /// assert!(!Checker::default().equal("x + C", "x").equal);
    /// ```
    pub fn constant_of_integration(mut self, overlook: bool) -> Self {
        self.0.options.constant_of_integration = overlook;
        self
    }

    /// Builds the checker.
    pub fn build(self) -> Checker {
        self.0
    }
}

impl Checker {
    /// Returns a builder with the default options.
    pub fn builder() -> CheckerBuilder {
        CheckerBuilder::default()
    }

    /// Returns whether an answer equals a reference. Both may be plain text, between dollar signs, in a box, or
    /// after a marker such as "the answer is".
    ///
    /// ```
    /// use dart_math::answer::Checker;
    ///
    /// let verdict = Checker::default().equal("2x+2", "2(x+1)");
    /// assert!(verdict.equal);
    /// assert_eq!(verdict.rule, "expression");
    /// ```
    pub fn equal(&self, reference: &str, answer: &str) -> Verdict {
        self.reference(reference).equal(answer)
    }

    /// Extracts the final answer of a response and returns whether it equals a reference.
    pub fn grade(&self, reference: &str, response: &str) -> Verdict {
        self.reference(reference).grade(response)
    }

    /// Grades many responses, each with its own reference, on rayon's threads. Returns the verdicts in the
    /// order of the pairs. Each verdict is the same as that of [`grade`](Self::grade).
    ///
    /// ```
    /// use dart_math::answer::Checker;
    ///
    /// let pairs = [("72", r"So it is \boxed{72}."), ("0.5", "The answer is 1/3.")];
    /// let verdicts = Checker::default().grade_batch(&pairs);
    /// assert!(verdicts[0].equal && !verdicts[1].equal);
    /// ```
    pub fn grade_batch<R, A>(&self, pairs: &[(R, A)]) -> Vec<Verdict>
    where
        R: AsRef<str> + Sync,
        A: AsRef<str> + Sync,
    {
        use rayon::prelude::*;
        let grade =
            |(reference, response): &(R, A)| self.grade(reference.as_ref(), response.as_ref());
        pairs.par_iter().map(grade).collect()
    }

    /// Parses a reference once, to grade many responses against it.
    ///
    /// ```
    /// use dart_math::answer::Checker;
    ///
    /// let reference = Checker::default().reference(r"\frac{3}{4}");
    /// assert!(reference.grade("The answer is 0.75.").equal);
    /// assert!(!reference.grade("The answer is 0.7.").equal);
    /// ```
    pub fn reference(&self, reference: &str) -> Reference {
        let text = extract::from_answer(reference);
        let mut budget = Budget::default();
        Reference {
            checker: *self,
            read: Read::new(&text, &mut budget),
            text: text.into_owned(),
        }
    }

    /// Returns the options and the version of the rules, for a run's manifest.
    pub fn settings(&self) -> Settings {
        let tolerance = match self.options.tolerance {
            Tolerance::Exact => "exact".into(),
            Tolerance::Relative(tolerance) => serde_json::json!({ "relative": tolerance }),
            Tolerance::ReferenceDigits => "reference digits".into(),
        };
        let mut settings = Settings::new();
        settings.insert("grader".into(), "checker".into());
        settings.insert("rules".into(), RULES.into());
        settings.insert("lenient".into(), self.lenient.into());
        settings.insert("tolerance".into(), tolerance);
        settings.insert(
            "constant_of_integration".into(),
            self.options.constant_of_integration.into(),
        );
        settings
    }
}

/// A parsed reference, with the options of the checker that parsed it.
#[derive(Debug, Clone)]
pub struct Reference {
    checker: Checker,
    text: String,
    read: Read,
}

impl Reference {
    /// Returns the text of the reference's answer.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns how the reference was read, in words: "a number", "a list", "not read as mathematics".
    pub fn kind(&self) -> &'static str {
        self.read.kind()
    }

    /// Returns whether an answer equals the reference.
    pub fn equal(&self, answer: &str) -> Verdict {
        self.compare(extract::from_answer(answer))
    }

    /// Extracts the final answer of a response and returns whether it equals the reference.
    pub fn grade(&self, response: &str) -> Verdict {
        match extract(response, self.checker.lenient) {
            Ok(found) => self.compare(found.text),
            Err(reason) => Verdict {
                equal: false,
                extracted: None,
                rule: Cow::Borrowed("no answer"),
                reason: Cow::Borrowed(reason.as_str()),
            },
        }
    }

    /// Grades many responses against this reference on rayon's threads. Returns the verdicts in order.
    pub fn grade_batch<A: AsRef<str> + Sync>(&self, responses: &[A]) -> Vec<Verdict> {
        use rayon::prelude::*;
        let responses = responses.par_iter();
        responses.map(|text| self.grade(text.as_ref())).collect()
    }

    fn compare(&self, answer: Cow<'_, str>) -> Verdict {
        let mut budget = Budget::default();
        let read = Read::new(&answer, &mut budget);
        let mut budget = Budget::default();
        let decision = equal::decide(&self.read, &read, self.checker.options, &mut budget);
        Verdict {
            equal: decision.equal,
            extracted: Some(answer.into_owned()),
            rule: Cow::Borrowed(decision.rule),
            reason: decision.reason,
        }
    }
}

/// A completion that did not end by itself, or that ended within its reasoning, has no final answer.
impl Grader for Checker {
    fn grade(&self, problem: &Problem, completion: &Completion) -> Verdict {
        let reason = match completion.finish {
            Finish::Stop if completion.unfinished_reasoning => {
                "ended within its reasoning, or right behind it"
            }
            Finish::Length if completion.unfinished_reasoning => {
                "cut off at the limit of tokens, within its reasoning"
            }
            Finish::Stop => return Checker::grade(self, &problem.reference, &completion.text),
            Finish::Length => "cut off at the limit of tokens",
            Finish::Loop => "cut off while repeating itself",
            Finish::Cancelled => "cancelled",
        };
        Verdict {
            equal: false,
            extracted: None,
            rule: Cow::Borrowed("truncated"),
            reason: Cow::Borrowed(reason),
        }
    }

    fn settings(&self) -> Settings {
        Checker::settings(self)
    }
}

/// The first answer is the reference, to which tolerances apply.
impl Equivalence for Checker {
    fn same(&self, first: &str, second: &str) -> bool {
        self.equal(first, second).equal
    }
}
