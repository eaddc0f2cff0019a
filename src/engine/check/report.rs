//! What a check of a model found: facts, texts, and checks by name, to be shown or serialised.

use std::fmt;

use serde::Serialize;

use crate::Finish;
use crate::error::printable;
use crate::model::{Fact, Prompt};

/// What [`check_model`](super::check_model) found.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct ModelReport {
    /// The model's name.
    pub model: String,
    /// What was read of its files, and how it is computed.
    pub facts: Vec<Fact>,
    /// The example's prompt; none where the template cannot be rendered.
    pub prompt: Option<Prompt>,
    /// A greedy completion of it; none where that failed.
    pub completion: Option<GreedyCompletion>,
    /// All checks, in the order in which they were made.
    pub checks: Vec<Check>,
}

/// A greedy completion, to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GreedyCompletion {
    /// Its text.
    pub text: String,
    /// Its tokens, the stop token included.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
    /// The most tokens that it could have.
    pub limit: usize,
    /// Whose limit that is.
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

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// All is well.
    Passed,
    /// Something is wrong.
    Failed,
    /// It was not made.
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

    /// Passed if there are no complaints, else failed with the first ones.
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
    /// Whether no check failed.
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

/// A text between bars, line by line, without what would steer a terminal.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for line in text.split('\n') {
        writeln!(f, "  | {}", printable(line))?;
    }
    Ok(())
}
