//! Grading completions and comparing final answers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Completion, Problem, Settings};

/// Whether a completion's final answer equals the reference, and which rule decided it.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Whether the answer equals the reference. An answer that is not understood is not equal.
    pub equal: bool,
    /// The final answer as written in the response, if one was found.
    pub extracted: Option<String>,
    /// The name of the rule that decided, such as `number` or `text`.
    pub rule: Cow<'static, str>,
    /// Why the answer is not equal, or what was not understood, in words. Empty if there is nothing to
    /// report.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
}

impl Verdict {
    /// A verdict by a custom rule, without an extracted answer or a reason.
    ///
    /// ```
    /// let verdict = dart_math::Verdict::new(true, "mine");
    /// assert_eq!(verdict.to_string(), "equal (mine)");
    /// ```
    pub fn new(equal: bool, rule: impl Into<Cow<'static, str>>) -> Self {
        Verdict {
            equal,
            extracted: None,
            rule: rule.into(),
            reason: Cow::Borrowed(""),
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let equal = if self.equal { "equal" } else { "not equal" };
        write!(f, "{equal} ({})", self.rule)?;
        if let Some(extracted) = &self.extracted {
            write!(f, ", read {extracted:?}")?;
        }
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// Grades completions. Called on separate threads, so that grading never delays sampling.
///
/// A closure is a grader:
///
/// ```
/// use dart_math::{Completion, Grader, Problem, Verdict};
///
/// let grader = |problem: &Problem, completion: &Completion| {
///     Verdict::new(completion.text.trim() == problem.reference, "verbatim")
/// };
/// let verdict = grader.grade(&Problem::new("1 + 1?", "2"), &Completion::text("2"));
/// assert!(verdict.equal);
/// ```
pub trait Grader: Sync {
    /// Returns the verdict on a completion. It is a pure function of its arguments.
    fn grade(&self, problem: &Problem, completion: &Completion) -> Verdict;

    /// Returns the settings that verdicts depend on, for the manifest.
    fn settings(&self) -> Settings {
        Settings::new()
    }
}

impl<F> Grader for F
where
    F: Fn(&Problem, &Completion) -> Verdict + Sync,
{
    fn grade(&self, problem: &Problem, completion: &Completion) -> Verdict {
        self(problem, completion)
    }
}

/// Decides whether two final answers, as written in responses, are the same. Majority votes are counted by
/// it.
///
/// A closure is an equivalence:
///
/// ```
/// use dart_math::{Equivalence, answer::Checker};
///
/// let verbatim = |first: &str, second: &str| first.trim() == second.trim();
/// assert!(!verbatim.same("1/2", "0.5"));
/// assert!(Checker::default().same("1/2", "0.5"));
/// ```
pub trait Equivalence: Sync {
    /// Returns whether two answers are the same. It is a pure function of its arguments. If the order makes a
    /// difference, `first` is the reference.
    fn same(&self, first: &str, second: &str) -> bool;
}

impl<F> Equivalence for F
where
    F: Fn(&str, &str) -> bool + Sync,
{
    fn same(&self, first: &str, second: &str) -> bool {
        self(first, second)
    }
}
