//! GSM8K's training set and problems of MATH as published.

use dart_math::data::problems::{OnBadRow, read};

use crate::harness::{Test, shared, tests};

pub(crate) const TESTS: &[Test] = tests![published_problem_sets_are_read_whole];

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
