//! The checker as a grader of completions, and its options.

use dart_math::answer::Checker;
use dart_math::{Completion, Finish, Grader, Problem};

#[test]
fn grades_only_completions_that_ended_by_themselves() {
    let problem = Problem::new("1 + 1?", "2");
    let mut completion = Completion::text("\\boxed{2}");
    let checker = Checker::default();
    assert!(Grader::grade(&checker, &problem, &completion).equal);
    for finish in [Finish::Length, Finish::Loop, Finish::Cancelled] {
        completion.finish = finish;
        let verdict = Grader::grade(&checker, &problem, &completion);
        assert!(!verdict.equal);
        assert_eq!(verdict.rule, "truncated");
    }
}

#[test]
fn settings_differ_by_option() {
    let exact = Checker::default().settings();
    let lenient = Checker::builder().lenient(true).build().settings();
    let loose = Checker::builder().relative_tolerance(0.01).build();
    assert_ne!(exact, lenient);
    assert_ne!(exact, loose.settings());
    assert!(loose.equal("100", "100.5").equal);
    assert!(!loose.equal("100", "102").equal);
}

#[test]
fn big_numbers_are_exact() {
    let checker = Checker::default();
    let long = "9".repeat(3000);
    let other = format!("{}8", "9".repeat(2999));
    assert!(checker.equal(&long, &format!("{long}.0")).equal);
    assert!(!checker.equal(&long, &other).equal);
    assert!(checker.equal("9^{9^{9^9}}", "9^{9^{9^9}}").equal);
    let verdict = checker.equal("9^{9^{9^9}}", "9^{9^{9^8}}");
    assert_eq!((verdict.equal, &*verdict.rule), (false, "undecided"));
}

#[test]
fn a_reference_gives_the_same_verdicts_as_the_checker() {
    let checker = Checker::default();
    for reference in ["\\frac12", "1, 2", "x>3", "word", "", "9^{9^{9^9}}"] {
        let read = checker.reference(reference);
        for answer in ["0.5", "2,1", "(3,\\infty)", "Word", "", "\\boxed{0.5}"] {
            assert_eq!(read.equal(answer), checker.equal(reference, answer));
            assert_eq!(read.grade(answer), checker.grade(reference, answer));
        }
    }
}
