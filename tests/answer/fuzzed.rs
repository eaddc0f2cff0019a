//! Inputs found by fuzzing, kept in `tests/fixtures/answer/fuzzed.jsonl`. None may panic, get different verdicts in the
//! two orders, or be unequal to itself. If a verdict was wrong, the row has the right one.

use std::fmt::Write as _;

use dart_math::answer::Checker;

use crate::repository;

#[test]
fn units_that_failed_once() {
    let text = std::fs::read_to_string(repository("tests/fixtures/answer/fuzzed.jsonl")).unwrap();
    let mut wrong = String::new();
    for (number, line) in text.lines().enumerate() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let left = row["left"].as_str().unwrap();
        let right = row["right"].as_str().unwrap();
        assert!(row["found"].as_str().is_some(), "line {}", number + 1);
        let checker = Checker::builder().lenient(true).build();
        let verdict = checker.equal(left, right);
        let back = checker.equal(right, left);
        let expected = row["equal"].as_bool();
        if verdict.equal != back.equal || expected.is_some_and(|label| label != verdict.equal) {
            writeln!(wrong, "{line}: {verdict}; the other way {back}").unwrap();
        }
        for side in [left, right] {
            let itself = checker.equal(side, side);
            if !itself.equal && itself.rule != "empty" {
                writeln!(wrong, "{line}: {side:?} is not equal to itself: {itself}").unwrap();
            }
            let _ = checker.grade("1", side);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}
