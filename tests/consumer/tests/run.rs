//! Whole runs with the user's own parts, and with the crate's checker as the grader.

use consumer::{HardFirst, Integers, Slippery, problems};
use dart_math::answer::Checker;
use dart_math::dars::{Limits, Run};
use dart_math::{Grader, StopReason};

fn kept(grader: &dyn Grader) -> Vec<(String, u32, bool)> {
    let outcome = Run::builder(problems(30))
        .strategy(HardFirst)
        .limits(Limits {
            trials_per_problem: Some(200),
            ..Limits::default()
        })
        .seed(5)
        .build()
        .unwrap()
        .run(&Slippery { slip: 0.6 }, grader)
        .unwrap();
    assert!(outcome.finished());
    assert_eq!(outcome.totals.kept, 10 * 4 + 20);
    for problem in &outcome.problems {
        assert_eq!(problem.stop, StopReason::TargetMet);
    }
    outcome
        .accepted()
        .map(|trial| trial.unwrap())
        .map(|trial| (trial.problem, trial.number, trial.accepted))
        .collect()
}

#[test]
fn own_generator_grader_and_strategy_meet_every_target() {
    assert_eq!(kept(&Integers), kept(&Integers));
}

#[test]
fn the_crates_checker_agrees_with_the_own_grader() {
    assert_eq!(kept(&Checker::default()), kept(&Integers));
}
