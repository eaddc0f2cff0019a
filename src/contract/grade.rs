//! Judging completions, and comparing their final answers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Completion, Problem, Settings};

/// Whether a completion's final answer equals the reference, and what decided it.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Equal to the reference. What is not understood is not equal.
    pub equal: bool,
    /// The final answer as it stands in the response, if one was found.
    pub extracted: Option<String>,
    /// Name of the rule that decided, such as `number` or `text`.
    pub rule: Cow<'static, str>,
    /// In words, why not, or what was not understood; empty where there is nothing to say.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
}

impl Verdict {
    /// A verdict by a rule of the caller's own, without an extracted answer or a reason.
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

/// Judges completions. Called on threads of its own, so that judging never holds up sampling.
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
    /// The verdict on a completion: a pure function of its arguments.
    fn grade(&self, problem: &Problem, completion: &Completion) -> Verdict;

    /// The settings that verdicts depend on, for the manifest.
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

/// Whether two final answers, as responses have them, are the same: what majorities are counted by.
///
/// A closure is one:
///
/// ```
/// use dart_math::{Equivalence, answer::Checker};
///
/// let verbatim = |first: &str, second: &str| first.trim() == second.trim();
/// assert!(!verbatim.same("1/2", "0.5"));
/// assert!(Checker::default().same("1/2", "0.5"));
/// ```
pub trait Equivalence: Sync {
    /// Whether they are the same: a pure function of its arguments. The first is the one that the
    /// other is held against, where that makes a difference.
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
