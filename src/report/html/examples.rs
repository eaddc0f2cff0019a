//! Examples of responses: for a few groups, two kept and two refused ones. They are chosen while the trials
//! are streamed, so only the texts that are shown are held in memory.

use std::path::Path;

use serde_json::{Map, Value};

use super::directory::{Row, for_rows, text};
use super::text::cut;
use crate::Result;

/// The maximum number of groups with examples.
const GROUPS: usize = 4;
/// The maximum number of characters of a response, and of any other text.
const LONGEST: usize = 1200;
const MAX_FIELD: usize = 300;

/// A trial that may become an example.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) group: usize,
    pub(super) problem: usize,
    pub(super) accepted: bool,
    pub(super) equal: bool,
    pub(super) rule: &'a str,
    pub(super) line: u64,
    pub(super) row: &'a Map<String, Value>,
}

/// A trial that is shown.
#[derive(Debug, Clone)]
pub(super) struct Example {
    pub(super) problem: usize,
    pub(super) id: String,
    pub(super) question: String,
    pub(super) reference: String,
    pub(super) response: Option<String>,
    pub(super) extracted: Option<String>,
    pub(super) rule: String,
    pub(super) reason: String,
    pub(super) finish: String,
    pub(super) line: u64,
}

/// The examples of one group: kept ones, then refused ones.
#[derive(Debug, Clone, Default)]
pub(super) struct OfGroup {
    pub(super) group: usize,
    pub(super) kept: Vec<Example>,
    pub(super) refused: Vec<Example>,
}

/// The examples of a directory.
#[derive(Debug)]
pub(super) struct Examples {
    pub(super) groups: Vec<OfGroup>,
}

impl Examples {
    /// Chooses evenly spaced groups, including the first and the last.
    pub(super) fn new(groups: usize) -> Self {
        let shown = groups.min(GROUPS);
        let group = |index: usize| match shown {
            0 | 1 => 0,
            _ => index * (groups - 1) / (shown - 1),
        };
        Examples {
            groups: (0..shown)
                .map(|index| OfGroup {
                    group: group(index),
                    ..OfGroup::default()
                })
                .collect(),
        }
    }

    /// Offers a trial. It is taken if it is the first of its kind in its group, or the second and of another
    /// problem. A trial of another problem decided by another rule replaces the second one once.
    pub(super) fn see(&mut self, trial: Candidate<'_>) {
        let Some(group) = self.groups.iter_mut().find(|of| of.group == trial.group) else {
            return;
        };
        let list = match (trial.accepted, trial.equal) {
            (true, _) => &mut group.kept,
            (_, false) => &mut group.refused,
            // Correct but surplus: neither kept nor refused.
            (_, true) => return,
        };
        match list.as_slice() {
            [] => list.push(Example::of(&trial)),
            [first] if first.problem != trial.problem => list.push(Example::of(&trial)),
            [first, second]
                if first.rule == second.rule
                    && first.rule != cut(trial.rule, MAX_FIELD)
                    && first.problem != trial.problem =>
            {
                list[1] = Example::of(&trial);
            }
            _ => {}
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Example> {
        let groups = self.groups.iter_mut();
        groups.flat_map(|of| of.kept.iter_mut().chain(&mut of.refused))
    }

    /// Sets the ids of the examples' problems.
    pub(super) fn describe(&mut self, problems: &[Row]) {
        for example in self.all() {
            example.id.clone_from(&problems[example.problem].id);
        }
    }

    /// Reads the examples' questions and references from the file of problems, which may contain further
    /// problems.
    pub(super) fn ask(&mut self, path: &Path, problems: &[Row]) -> Result<()> {
        let mut index = 0;
        for_rows(path, |_, row| {
            if problems
                .get(index)
                .is_some_and(|known| text(&row, "id").as_ref() == Ok(&known.id))
            {
                for example in self.all().filter(|example| example.problem == index) {
                    example.question = field(&row, "question", LONGEST).unwrap_or_default();
                    example.reference = field(&row, "reference", MAX_FIELD).unwrap_or_default();
                }
                index += 1;
            }
            Ok(())
        })
    }
}

impl Example {
    fn of(trial: &Candidate<'_>) -> Self {
        let short = |name: &str| field(trial.row, name, MAX_FIELD);
        Example {
            problem: trial.problem,
            id: String::new(),
            question: String::new(),
            reference: String::new(),
            response: field(trial.row, "response", LONGEST),
            extracted: short("extracted"),
            rule: cut(trial.rule, MAX_FIELD),
            reason: short("reason").unwrap_or_default(),
            finish: short("finish").unwrap_or_default(),
            line: trial.line,
        }
    }
}

/// Returns a field's text, cut to a maximum length.
fn field(row: &Map<String, Value>, name: &str, most: usize) -> Option<String> {
    match row.get(name)? {
        Value::String(text) => Some(cut(text, most)),
        _ => None,
    }
}
