//! `--decontaminate`: excludes problems that overlap with test sets.

use dart_math::data::decontaminate::{NGRAM, TestSets};
use dart_math::report::counted;
use dart_math::{Problem, Rejection};
use serde_json::{Value, json};

use crate::Args;
use crate::common::tool::{Failure, say};

/// The maximum number of excluded problems listed in a manifest.
const MAX_NAMED: usize = 100;

/// The overlaps with the test sets, if any are given.
pub(crate) struct Decontaminated {
    tests: Option<TestSets>,
    pub(crate) excluded: Vec<Rejection>,
    /// The ids of these problems.
    ids: Vec<String>,
}

impl Decontaminated {
    /// Reads the test sets and finds the overlapping problems.
    pub(crate) fn find(args: &Args, problems: &[Problem]) -> Result<Self, Failure> {
        if args.decontaminate.is_empty() {
            return Ok(Decontaminated {
                tests: None,
                excluded: Vec::new(),
                ids: Vec::new(),
            });
        }
        let tests = TestSets::read(&args.decontaminate, args.ngram.unwrap_or(NGRAM))?;
        for set in tests.sets() {
            if let Some((line, reason)) = &set.first_without {
                say!(
                    "{}: {} without a question, the first at line {line}: {reason}",
                    set.name,
                    counted(set.without_question, "row")
                );
            }
        }
        let excluded = tests.rejections(problems);
        let id = |rejection: &Rejection| problems[rejection.problem].id.clone();
        Ok(Decontaminated {
            tests: Some(tests),
            ids: excluded.iter().map(id).collect(),
            excluded,
        })
    }

    /// Returns the entry for the manifest.
    pub(crate) fn manifest(&self) -> Option<Value> {
        let tests = self.tests.as_ref()?;
        let sets = tests.sets().iter().map(|set| {
            json!({
                "name": set.name,
                "hash": set.hash,
                "questions": set.questions,
                "short": set.short,
                "without_question": set.without_question,
            })
        });
        let first = self.ids.iter().zip(&self.excluded).take(MAX_NAMED);
        let first = first.map(|(id, rejection)| json!({"id": id, "reason": rejection.reason}));
        Some(json!({
            "ngram": tests.n(),
            "test_sets": sets.collect::<Vec<_>>(),
            "count": self.excluded.len(),
            "first": first.collect::<Vec<_>>(),
        }))
    }
}
