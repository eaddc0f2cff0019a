//! The labelled rows of other suites, compared with a committed list of rows that are labelled equal but known to be
//! refused, each with its reason.
//!
//! The test fails on a row that newly fails and on a listed row that passes, so the list is exact.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dart_math::answer::Checker;

use crate::harness::{Test, repository, shared, tests};

pub(crate) const TESTS: &[Test] = tests![labelled_rows,];

/// `file id reason` of each row that is known to be refused.
fn known() -> BTreeMap<(String, String), String> {
    let text = std::fs::read_to_string(repository("tests/fixtures/labelled_misses.txt")).unwrap();
    let mut known = BTreeMap::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let mut parts = line.splitn(3, ' ');
        let (file, id) = (parts.next().unwrap(), parts.next().unwrap());
        let reason = parts.next().unwrap_or("").trim();
        assert!(!reason.is_empty(), "no reason: {line}");
        let before = known.insert((file.to_owned(), id.to_owned()), reason.to_owned());
        assert!(before.is_none(), "twice: {line}");
    }
    known
}

fn labelled_rows() {
    let files = [
        ("dart_math", false),
        ("gsm8k_solutions", false),
        ("issues", false),
        ("latex2sympy2_extended", false),
        ("math_verify", true),
        ("mutations", false),
        ("probes", false),
        ("qwen_grader", false),
        ("reflexive", false),
    ];
    let known = known();
    let mut missed = BTreeSet::new();
    let mut report = String::new();
    for (name, lenient) in files {
        let checker = Checker::builder().lenient(lenient).build();
        let text = std::fs::read_to_string(shared(&format!("answers/{name}.jsonl"))).unwrap();
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let debatable = row["debatable"].as_bool().unwrap_or(false);
            let Some(expected) = row["expected"].as_bool().filter(|_| !debatable) else {
                continue;
            };
            let reference = row["reference"].as_str().unwrap();
            let answer = row["answer"].as_str();
            let verdict = match (answer, row["response"].as_str()) {
                (Some(answer), _) => checker.equal(reference, answer),
                (None, Some(response)) => checker.grade(reference, response),
                (None, None) => panic!("{name}: neither answer nor response"),
            };
            if verdict.equal == expected {
                continue;
            }
            let id = row["id"].as_str().unwrap();
            let row = (name.to_owned(), id.to_owned());
            let words = format!(
                "{reference} vs {}: {verdict}",
                answer.unwrap_or("a response")
            );
            if !expected {
                writeln!(report, "{name} {id} wrongly equal: {words}").unwrap();
            } else if !known.contains_key(&row) {
                writeln!(report, "{name} {id} newly refused: {words}").unwrap();
            }
            missed.insert(row);
        }
    }
    for (file, id) in known.keys() {
        if !missed.contains(&(file.clone(), id.clone())) {
            writeln!(
                report,
                "{file} {id} passes now: take its line out of the list"
            )
            .unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
