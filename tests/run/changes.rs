//! Runs resumed with another configuration: which changes are refused, and which draw only what is missing.

use std::collections::BTreeSet;
use std::fs;

use crate::files::files;
use crate::resume::{RATES, limits, resume, undisturbed};
use crate::scripted::journals::{self, snapshot};
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{CancelHandle, Limits, Prop2Diff, Run, RunStop, Strategy, Uniform, Vanilla};
use dart_math::{ErrorKind, Problem, Result, TrialId};

#[test]
fn a_changed_configuration_is_refused_with_every_difference() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let _ = resume(&journal, &Scripted::default(), limits()).unwrap();
    let refuse = |problems: Vec<Problem>, k, seed, limits: Limits| {
        let error = Run::builder(problems)
            .strategy(Prop2Diff::with_pilot(k, 6))
            .limits(limits)
            .seed(seed)
            .journal(&journal)
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Journal);
        error.to_string()
    };
    let message = refuse(problems(&RATES), 12, 6, limits());
    assert!(message.contains("run.jsonl is of a run with another configuration"));
    assert!(message.contains("seed was 5, is 6"), "{message}");
    let shared = Limits {
        trials: Some(500),
        ..limits()
    };
    let message = refuse(problems(&RATES), 13, 5, shared);
    let reason = "strategy.k was 12, is 13, which changes what a limit of trials over all problems";
    assert!(message.contains(reason), "{message}");
    let message = refuse(problems(&RATES[..5]), 12, 5, limits());
    assert!(
        message.contains("problems.count was 6, is 5: problems may be added"),
        "{message}"
    );
    let lower = Limits {
        trials_per_problem: Some(59),
        tokens: Some(9),
        ..Limits::default()
    };
    let message = refuse(problems(&RATES), 12, 5, lower);
    assert!(!message.contains("trials_per_problem"), "{message}");
    assert!(
        message.contains("limit tokens was null, lowered to 9"),
        "{message}"
    );
    // With a limit of trials over all problems, limits per problem must not be lowered either.
    let stricter = Limits {
        trials_per_problem: Some(59),
        futility: Some(0.01),
        trials: Some(100_000),
        ..limits()
    };
    let message = refuse(problems(&RATES), 12, 5, stricter);
    for part in [
        "limit trials_per_problem was 60, lowered to 59",
        "limit futility was null, raised to 0.01",
        "limit trials was null, lowered to 100000",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_journal_that_nothing_was_drawn_into_is_any_runs() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let run = |seed, cancel: CancelHandle| {
        Run::builder(problems(&RATES))
            .strategy(Prop2Diff::with_pilot(12, 6))
            .limits(limits())
            .seed(seed)
            .journal(&journal)
            .cancel(cancel)
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
    };
    let cancelled = CancelHandle::new();
    cancelled.cancel();
    let outcome = run(4, cancelled).unwrap();
    assert_eq!(
        (outcome.stop, outcome.totals.trials),
        (RunStop::Interrupted, 0)
    );
    let outcome = run(5, CancelHandle::new()).unwrap();
    assert_eq!(outcome.stop, RunStop::Finished);
    let error = run(4, CancelHandle::new()).unwrap_err();
    assert!(error.to_string().contains("seed was 5, is 4"), "{error}");
}

#[test]
fn raised_limits_go_on_as_if_they_had_been_so_from_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    for most in [7, 20, 60] {
        let limits = Limits {
            trials_per_problem: Some(most),
            ..Limits::default()
        };
        let outcome = resume(&journal, &Scripted::default(), limits).unwrap();
        let anew = directory.path().join(format!("anew-{most}"));
        let anew = resume(&anew, &Scripted::default(), limits).unwrap();
        assert!(files(&outcome) == files(&anew), "raised to {most}");
    }
    // Lower limits use fewer of the existing trials and delete none.
    let before = Limits {
        trials_per_problem: Some(60),
        ..Limits::default()
    };
    let futile = Limits {
        futility: Some(0.05),
        ..before
    };
    let dear = Limits {
        tokens_per_problem: Some(90),
        give_up_after: Some(5),
        ..before
    };
    let short = Limits {
        trials_per_problem: Some(20),
        ..before
    };
    for (number, lower) in [short, futile, dear, before].into_iter().enumerate() {
        let outcome = resume(&journal, &Scripted::default(), lower).unwrap();
        let anew = directory.path().join(format!("lower-{number}"));
        let anew = resume(&anew, &Scripted::default(), lower).unwrap();
        assert!(files(&outcome) == files(&anew), "{lower:?}");
        assert_eq!(outcome.totals.drawn, 0);
    }
}

#[test]
fn a_limit_under_which_nothing_was_drawn_may_be_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let most = |trials_per_problem| Limits {
        trials_per_problem: Some(trials_per_problem),
        ..Limits::default()
    };
    let _ = resume(&journal, &Scripted::default(), most(20)).unwrap();
    let before = snapshot(&journal);
    // A limit is raised by mistake, and the run is cancelled before anything is drawn.
    let cancel = CancelHandle::new();
    let raised = |cancel: &CancelHandle| {
        Run::builder(problems(&RATES))
            .strategy(Prop2Diff::with_pilot(12, 6))
            .limits(most(2000))
            .seed(5)
            .journal(&journal)
            .cancel(cancel.clone())
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
    };
    cancel.cancel();
    // In this case, the journal is not even read.
    let error = raised(&cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert!(error.to_string().contains("nothing has changed"), "{error}");
    struct Idle;
    impl dart_math::Generator for Idle {
        fn run(&self, _: &dyn dart_math::Source) -> Result<()> {
            Err(dart_math::Error::new(ErrorKind::Device, "no device"))
        }
        fn settings(&self) -> dart_math::Settings {
            Scripted::default().settings()
        }
    }
    let idle = Run::builder(problems(&RATES))
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(most(2000))
        .seed(5)
        .journal(&journal)
        .build()
        .unwrap()
        .run(&Idle, &grader)
        .unwrap();
    assert_eq!(idle.stop, RunStop::Failed);
    assert!(snapshot(&journal) == before);
    let again = resume(&journal, &Scripted::default(), most(20)).unwrap();
    assert_eq!(again.totals.drawn, 0);
}

#[test]
fn problems_added_at_the_end_change_nothing_for_those_before() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let run = |rates: &[f64], limits: Limits| {
        Run::builder(problems(rates))
            .strategy(Prop2Diff::with_pilot(12, 6))
            .limits(limits)
            .seed(5)
            .journal(&journal)
            .build()
            .unwrap()
            .run(&Scripted::default(), &grader)
    };
    let mut before = run(&RATES[..2], limits()).unwrap();
    for count in [3, 5, 6] {
        let outcome = run(&RATES[..count], limits()).unwrap();
        assert_eq!(outcome.stop, RunStop::Finished);
        assert!(outcome.totals.resumed >= before.totals.trials);
        let earlier = trials(&before);
        assert_eq!(trials(&outcome)[..earlier.len()], earlier);
        assert_eq!(outcome.problems[..before.problems.len()], before.problems);
        before = outcome;
    }
    assert!(
        files(&before) == undisturbed(),
        "not the data set of a run with all of them"
    );

    // Problems must not be removed, changed or inserted. With a common limit, none may be appended.
    let at_rest = snapshot(&journal);
    // The error states the current number of problems, not the original one.
    for count in [1, 4, 5] {
        let message = run(&RATES[..count], limits()).unwrap_err().to_string();
        let named = format!("problems.count was 6, is {count}");
        assert!(message.contains(&named), "{message}");
    }
    let mut others = problems(&RATES);
    others[1].question.push('!');
    others.extend(problems(&[0.5; 8]).into_iter().skip(7));
    let error = Run::builder(others)
        .strategy(Prop2Diff::with_pilot(12, 6))
        .limits(limits())
        .seed(5)
        .journal(&journal)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("the first 6 problems are others (their hash was "),
        "{message}"
    );
    assert!(snapshot(&journal) == at_rest);
    fs::remove_dir_all(&journal).unwrap();
    let shared = Limits {
        trials: Some(20),
        ..limits()
    };
    let _ = run(&RATES[..4], shared).unwrap();
    let error = run(&RATES, shared).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal);
    assert!(
        error.to_string().contains("problems.count was 4, is 6"),
        "{error}"
    );
}

#[test]
fn duplicates_are_the_same_after_an_interruption() {
    let few = || {
        let mut problems = problems(&[0.9, 0.5]);
        for problem in &mut problems {
            problem.metadata.insert("variety".into(), 9.into());
        }
        problems
    };
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, schedule: Schedule, dedup: bool| {
        Run::builder(few())
            .strategy(Uniform { k: 7 })
            .seed(3)
            .dedup(dedup)
            .journal(directory.path().join(name))
            .build()
            .unwrap()
            .run(&Scripted::new(schedule), &grader)
    };
    let whole = run("whole", Schedule::default(), true).unwrap();
    assert!(whole.totals.duplicates > 0);
    for fails_after in [3, 11, 19] {
        let failing = Schedule {
            fails_after: Some(fails_after),
            shuffle: 4,
            ..Schedule::default()
        };
        let name = format!("cut {fails_after}");
        assert_eq!(run(&name, failing, true).unwrap().stop, RunStop::Failed);
        let outcome = run(&name, Schedule::default(), true).unwrap();
        assert_eq!(trials(&outcome), trials(&whole));
        assert_eq!(outcome.totals.duplicates, whole.totals.duplicates);
    }
    // Without deduplication, no trials are needed beyond those of a run that never deduplicated.
    let kept = run("whole", Schedule::default(), false).unwrap();
    let anew = run("anew", Schedule::default(), false).unwrap();
    assert_eq!(trials(&kept), trials(&anew));
    assert_eq!((kept.problems, kept.totals.drawn), (anew.problems, 0));
}

/// A trial does not depend on why it was drawn. From one journal, any strategy gets the same data set as from a run
/// of its own, and only missing trials are drawn.
#[test]
fn another_strategy_uses_the_trials_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let run = |name: &str, strategy: &dyn Strategy, generator: &Scripted| {
        Run::builder(problems(&RATES))
            .strategy(strategy)
            .limits(limits())
            .seed(5)
            .journal(directory.path().join(name))
            .build()
            .unwrap()
            .run(generator, &grader)
            .unwrap()
    };
    let strategies: [&dyn Strategy; 6] = [
        &Uniform { k: 2 },
        &Uniform { k: 9 },
        &Prop2Diff::with_pilot(12, 6),
        &Vanilla { trials: 7 },
        &Uniform { k: 3 },
        &Uniform { k: 11 },
    ];
    let mut there = BTreeSet::new();
    for (number, strategy) in strategies.into_iter().enumerate() {
        let generator = Scripted::default();
        let outcome = run("journal", strategy, &generator);
        let anew = run(&number.to_string(), strategy, &Scripted::default());
        assert!(files(&outcome) == files(&anew), "strategy {number}");
        let asked: BTreeSet<TrialId> = generator.log().asked.keys().copied().collect();
        assert!(asked.is_disjoint(&there), "strategy {number}");
        // Fewer responses than before need no new trials.
        assert!(
            !(asked.is_empty() && [0, 5].contains(&number)),
            "strategy {number}"
        );
        assert!(asked.is_empty() || number != 4, "strategy {number}");
        there = journals::trials(&directory.path().join("journal"));
    }
}
