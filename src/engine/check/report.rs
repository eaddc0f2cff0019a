//! The result of a model check: facts, texts and named checks, to be displayed or serialized.

use std::fmt;

use serde::Serialize;

use crate::Finish;
use crate::error::printable;
use crate::model::{Fact, Prompt};

/// The result of [`check_model`](super::check_model).
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct ModelReport {
    /// The model's name.
    pub model: String,
    /// Facts read from its files, and how it is computed.
    pub facts: Vec<Fact>,
    /// The example's prompt; `None` if the template cannot be rendered.
    pub prompt: Option<Prompt>,
    /// A greedy completion of the prompt; `None` if it failed.
    pub completion: Option<GreedyCompletion>,
    /// All checks, in the order in which they ran.
    pub checks: Vec<Check>,
}

/// A greedy completion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GreedyCompletion {
    /// The text.
    pub text: String,
    /// The tokens, including the stop token.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// The largest number of tokens that it may have.
    pub limit: usize,
    /// The name of the setting or property that sets the limit.
    pub limited_by: String,
}

/// A check of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it passed.
    pub outcome: Outcome,
    /// What was found, or why it was skipped.
    pub detail: String,
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// No problem was found.
    Passed,
    /// A problem was found.
    Failed,
    /// The check did not run.
    Skipped,
}

impl Check {
    pub(super) fn passed(name: &str, detail: impl fmt::Display) -> Self {
        Self::new(name, Outcome::Passed, detail)
    }

    pub(super) fn failed(name: &str, detail: impl fmt::Display) -> Self {
        Self::new(name, Outcome::Failed, detail)
    }

    pub(super) fn skipped(name: &str, detail: impl fmt::Display) -> Self {
        Self::new(name, Outcome::Skipped, detail)
    }

    /// Passes if there are no complaints; otherwise fails with the first ones.
    pub(super) fn of(name: &str, complaints: &[String], otherwise: impl fmt::Display) -> Self {
        const SHOWN: usize = 3;
        let shown: Vec<&str> = complaints.iter().take(SHOWN).map(String::as_str).collect();
        match (shown.join("; "), complaints.len().saturating_sub(SHOWN)) {
            (shown, _) if shown.is_empty() => Self::passed(name, otherwise),
            (shown, 0) => Self::failed(name, shown),
            (shown, more) => Self::failed(name, format!("{shown}; and {more} more")),
        }
    }

    fn new(name: &str, outcome: Outcome, detail: impl fmt::Display) -> Self {
        Check {
            name: name.to_owned(),
            outcome,
            detail: detail.to_string(),
        }
    }
}

impl ModelReport {
    /// Whether no check failed. Skipped checks do not count.
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        let failed = |check: &&Check| check.outcome == Outcome::Failed;
        self.checks.iter().filter(failed)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        })
    }
}

impl fmt::Display for ModelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model {}", printable(&self.model))?;
        writeln!(f, "\nRead and set")?;
        for Fact { name, value, from } in &self.facts {
            let (name, value) = (printable(name), printable(value));
            match from.is_empty() {
                true => writeln!(f, "  {name}: {value}")?,
                false => writeln!(f, "  {name}: {value} [{}]", printable(from))?,
            }
        }
        if let Some(prompt) = &self.prompt {
            writeln!(f, "\nPrompt ({} tokens)", prompt.tokens.len())?;
            quoted(f, &prompt.text)?;
            writeln!(f, "  tokens: {:?}", prompt.tokens)?;
        }
        if let Some(completion) = &self.completion {
            let GreedyCompletion {
                text,
                tokens,
                finish,
                limit,
                limited_by,
            } = completion;
            let why = match finish {
                Finish::Stop => "ended at a stop token or string".to_owned(),
                Finish::Length => format!("cut at {limit}, {limited_by}"),
                Finish::Loop => "cut while repeating itself".to_owned(),
                Finish::Cancelled => "cancelled".to_owned(),
            };
            writeln!(f, "\nGreedy completion ({} tokens, {why})", tokens.len())?;
            quoted(f, text)?;
            writeln!(f, "  tokens: {tokens:?}")?;
        }
        writeln!(f, "\nChecks")?;
        for Check {
            name,
            outcome,
            detail,
        } in &self.checks
        {
            writeln!(f, "  {outcome:<7}  {name}: {}", printable(detail))?;
        }
        let failed: Vec<&str> = self.failed().map(|check| check.name.as_str()).collect();
        match failed.as_slice() {
            [] => write!(f, "\nNothing failed."),
            failed => write!(f, "\nFailed: {}", failed.join(", ")),
        }
    }
}

/// Writes a text line by line behind bars, without terminal control characters.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for line in text.split('\n') {
        writeln!(f, "  | {}", printable(line))?;
    }
    Ok(())
}
