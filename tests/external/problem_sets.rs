//! GSM8K's training set and MATH's problems, as published.

use dart_math::Problem;
use dart_math::data::decontaminate::{NGRAM, TestSets};
use dart_math::data::problems::{OnBadRow, read};

use crate::harness::{Test, shared, tests};

pub(crate) const TESTS: &[Test] = tests![
    published_problem_sets_are_read_whole,
    published_problems_are_found_in_test_sets,
];

fn published_problem_sets_are_read_whole() {
    let (gsm8k, bad) = read(shared("problems/gsm8k_train.jsonl"), OnBadRow::Skip).unwrap();
    assert_eq!((gsm8k.len(), bad), (7473, vec![]));
    assert_eq!(gsm8k[0].reference, "72");

    let (math, bad) = read(shared("problems/math_2500.jsonl"), OnBadRow::Skip).unwrap();
    assert_eq!((math.len(), bad), (2500, vec![]));
    assert_eq!(
        (&*math[0].reference, &math[0].metadata["level"]),
        ("2", &"Level 3".into())
    );
}

/// Half of MATH's problems is the test set. All of them are found, whatever their layout, and few others.
fn published_problems_are_found_in_test_sets() {
    let directory = tempfile::tempdir().unwrap();
    let (math, _) = read(shared("problems/math_2500.jsonl"), OnBadRow::Skip).unwrap();
    let (gsm8k, _) = read(shared("problems/gsm8k_train.jsonl"), OnBadRow::Skip).unwrap();
    let (tests, others) = math.split_at(1250);
    let path = directory.path().join("math.jsonl");
    let row =
        |problem: &Problem| serde_json::json!({"problem": problem.question}).to_string() + "\n";
    std::fs::write(&path, tests.iter().map(row).collect::<String>()).unwrap();
    let relaid: Vec<Problem> = tests.iter().cloned().map(relaid).collect();
    // The others mostly match by common phrases, such as "determine the number of ways to arrange the letters of".
    for (n, expected) in [(NGRAM, [53, 2]), (13, [11, 0]), (20, [6, 0])] {
        let sets = TestSets::read(&[&path], n).unwrap();
        assert_eq!(sets.rejections(&relaid).len(), relaid.len(), "{n}");
        let found = [others, &gsm8k].map(|problems| sets.rejections(problems).len());
        assert_eq!(found, expected, "{n}");
    }
}

/// Returns the same problem with another layout.
fn relaid(mut problem: Problem) -> Problem {
    problem.question = format!(
        "  {}",
        problem
            .question
            .replace('$', " $ ")
            .replace("\\frac", "\\dfrac")
    );
    problem
}
