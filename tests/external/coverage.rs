//! How many reference answers of real benchmarks are read, and as which kind, compared with recorded counts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use dart_math::answer::Checker;

use crate::harness::{Test, repository, shared, tests};

pub(crate) const TESTS: &[Test] = tests![reference_answers_are_read,];

/// Kinds that are neither mathematics nor a known kind of text, in the words of
/// [`dart_math::answer::Reference::kind`].
const UNREAD: [&str; 3] = [
    "not read as mathematics",
    "too long or too deep to read",
    "a statement",
];

fn reference_answers_are_read() {
    let rows = shared("answers/gold_answers.jsonl");
    let checker = Checker::default();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut all = 0;
    for line in std::fs::read_to_string(rows).unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let reference = checker.reference(row["reference"].as_str().unwrap());
        *counts.entry(reference.kind()).or_default() += 1;
        all += 1;
    }
    let mut table = String::new();
    for (kind, count) in &counts {
        writeln!(table, "{count:5} {kind}").unwrap();
    }
    let recorded = std::fs::read_to_string(repository("tests/fixtures/coverage.txt")).unwrap();
    let recorded: String = recorded
        .lines()
        .filter(|line| !line.starts_with('#'))
        .fold(String::new(), |text, line| text + line + "\n");
    assert_eq!(recorded, table, "the counts are now:\n{table}");
    // At least 97 % are read, even if statements (words with formulas in them) count as unread.
    let unread: usize = UNREAD.iter().filter_map(|kind| counts.get(kind)).sum();
    assert!(unread * 100 <= all * 3, "{unread} of {all} are not read");
}
