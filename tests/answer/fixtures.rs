//! Pairs for each rule in `tests/fixtures/answer/*.txt`, and responses with the expected answers.

use std::fmt::Write as _;

use dart_math::answer::Checker;

use crate::repository;

/// Parses a line `a ≡ b` or `a ≢ b`.
fn pair(line: &str) -> Option<(&str, &str, bool)> {
    match line.split_once(" ≡ ") {
        Some((left, right)) => Some((left, right, true)),
        None => line
            .split_once(" ≢ ")
            .map(|(left, right)| (left, right, false)),
    }
}

/// Checks every line in both orders, and each side against itself.
fn check(name: &str, text: &str) -> String {
    let checker = Checker::default();
    let mut wrong = String::new();
    let mut lines = 0;
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        let Some((left, right, expected)) = pair(line) else {
            writeln!(wrong, "{name}:{}: neither ≡ nor ≢", number + 1).unwrap();
            continue;
        };
        lines += 1;
        for (reference, answer) in [(left, right), (right, left)] {
            let verdict = checker.equal(reference, answer);
            if verdict.equal != expected {
                writeln!(
                    wrong,
                    "{name}:{}: {reference}  vs  {answer}: {verdict}",
                    number + 1
                )
                .unwrap();
            }
        }
        for side in [left, right] {
            let verdict = checker.equal(side, side);
            if !verdict.equal {
                writeln!(
                    wrong,
                    "{name}:{}: {side} is not equal to itself: {verdict}",
                    number + 1
                )
                .unwrap();
            }
        }
    }
    if lines < 3 {
        writeln!(wrong, "{name}: only {lines} pairs").unwrap();
    }
    wrong
}

#[test]
fn pairs() {
    let mut files: Vec<_> = std::fs::read_dir(repository("tests/fixtures/answer"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() > 7, "only {files:?}");
    let mut wrong = String::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy();
        wrong += &check(&name, &std::fs::read_to_string(&file).unwrap());
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn extraction() {
    let text = std::fs::read_to_string(repository("tests/fixtures/answer/extraction.jsonl"));
    let mut wrong = String::new();
    for line in text.unwrap().lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let lenient = row["lenient"].as_bool().unwrap_or(false);
        let checker = Checker::builder().lenient(lenient).build();
        let verdict = checker.grade("0.123", row["response"].as_str().unwrap());
        if verdict.extracted.as_deref() != row["extracted"].as_str() {
            writeln!(wrong, "{}: read {:?}", row["response"], verdict.extracted).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
