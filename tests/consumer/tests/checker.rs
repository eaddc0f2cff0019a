//! The checker alone, without a model or a run.

use dart_math::answer::Checker;

#[test]
fn equal_values_are_equal_however_written() {
    let checker = Checker::default();
    for (reference, answer) in [
        (r"\frac{1}{2}", "0.5"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        ("1,000", "1000"),
    ] {
        let verdict = checker.equal(reference, answer);
        assert!(verdict.equal, "{reference} and {answer}: {verdict}");
    }
    assert!(!checker.equal("[0,1)", "[0,1]").equal);
}

#[test]
fn a_response_is_read_to_its_final_answer() {
    let checker = Checker::default();
    let verdict = checker.grade("42", r"First \boxed{41}, no: the answer is \boxed{42}.");
    assert!(verdict.equal, "{verdict}");
    assert_eq!(verdict.extracted.as_deref(), Some("42"));
    assert!(!checker.grade("42", "I could not solve it.").equal);
}
