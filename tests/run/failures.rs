//! Graders, strategies, generators and settings that fail, and problems that cannot be sampled.

use std::collections::HashMap;

use crate::run::run;
use crate::scripted::expected::{by_hand, data_set};
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{
    Goal, Keep, Limits, Prefix, Prop2Diff, Run, RunStop, Strategy, Uniform, Vanilla,
};
use dart_math::{Completion, Problem, StopReason, Trial, Verdict};

#[test]
fn a_grader_that_panics_gives_a_wrong_verdict_and_no_hang() {
    let moody = |problem: &Problem, completion: &Completion| -> Verdict {
        assert!(
            !completion.text.starts_with(['0', '1', '2', '3']),
            "in no mood"
        );
        grader(problem, completion)
    };
    let outcome = Run::builder(problems(&[0.9, 0.5]))
        .strategy(Uniform { k: 6 })
        .keep(Keep::All)
        .build()
        .unwrap()
        .run(&Scripted::default(), &moody)
        .unwrap();
    assert_eq!(outcome.stop, RunStop::Finished);
    assert!(outcome.totals.grader_failures > 0);
    assert_eq!(outcome.totals.kept, 12);
    let failed: Vec<Trial> = trials(&outcome)
        .into_iter()
        .filter(|trial| trial.verdict.rule == "grader failed")
        .collect();
    assert!(!failed.is_empty());
    assert!(
        failed
            .iter()
            .all(|trial| trial.verdict.reason.contains("in no mood"))
    );
}

#[test]
fn a_strategy_that_panics_ends_the_run_with_an_error() {
    struct Broken;
    impl Strategy for Broken {
        fn goal(&self, _: &Problem, settled: Prefix<'_>) -> Goal {
            assert!(settled.trials() < 5, "lost count");
            Goal::Correct(50)
        }
    }
    let (outcome, _) = run(&[0.5; 3], Broken, Limits::default(), Schedule::default());
    assert_eq!(outcome.stop, RunStop::Failed);
    assert!(outcome.error.unwrap().to_string().contains("lost count"));
}

#[test]
fn a_generator_that_fails_leaves_what_is_done() {
    let schedule = Schedule {
        fails_after: Some(40),
        ..Schedule::default()
    };
    let (outcome, _) = run(&[0.5; 4], Uniform { k: 50 }, Limits::default(), schedule);
    assert_eq!(outcome.stop, RunStop::Failed);
    assert!(
        outcome
            .error
            .as_ref()
            .unwrap()
            .to_string()
            .contains("out of order")
    );
    assert!(outcome.totals.trials > 0);
    assert!(outcome.into_result().is_err());

    let schedule = Schedule {
        walks_off_after: Some(40),
        ..Schedule::default()
    };
    let (outcome, _) = run(&[0.5; 4], Uniform { k: 50 }, Limits::default(), schedule);
    assert!(
        outcome
            .error
            .unwrap()
            .to_string()
            .contains("returned before")
    );
}

#[test]
fn trials_returned_unfinished_are_drawn_again() {
    let rates = [0.5, 0.2];
    let schedule = Schedule {
        refuses_every: Some(3),
        ..Schedule::default()
    };
    let (outcome, generator) = run(&rates, Uniform { k: 5 }, Limits::default(), schedule);
    assert_eq!(
        data_set(&outcome),
        by_hand(&rates, &Uniform { k: 5 }, Limits::default())
    );
    assert!(generator.log().asked.values().any(|&times| times > 1));

    let schedule = Schedule {
        refuses_every: Some(1),
        ..Schedule::default()
    };
    let (outcome, _) = run(&rates, Uniform { k: 5 }, Limits::default(), schedule);
    assert_eq!(outcome.stop, RunStop::Failed);
    assert!(
        outcome
            .error
            .unwrap()
            .to_string()
            .contains("does not complete trial")
    );
}

#[test]
fn bad_settings_are_refused() {
    let error =
        |builder: dart_math::dars::RunBuilder<'_>| builder.build().err().unwrap().to_string();
    let twice = [problems(&[0.5]), problems(&[0.5])].concat();
    assert!(error(Run::builder(twice).strategy(Uniform { k: 1 })).contains("same id \"p0\""));
    assert!(error(Run::builder(vec![]).strategy(Uniform { k: 1 })).contains("there are none"));
    assert!(error(Run::builder(problems(&[0.5]))).contains("needs a strategy"));
    let run = || Run::builder(problems(&[0.5]));
    assert!(error(run().strategy(Uniform { k: 0 })).contains("k must be at least 1"));
    assert!(error(run().strategy(Vanilla { trials: 0 })).contains("trials must be at least 1"));
    assert!(error(run().strategy(Prop2Diff::with_pilot(5, 0))).contains("pilot must be"));
    assert!(error(run().strategy(Uniform { k: 1 }).graders(0)).contains("graders"));
}

/// A generator that rejects some problems, fails its check, or is greedy.
struct Picky {
    scripted: Scripted,
    rejected: Vec<usize>,
    error: Option<dart_math::ErrorKind>,
    greedy: bool,
}

impl Picky {
    fn new(rejected: Vec<usize>) -> Self {
        Picky {
            scripted: Scripted::default(),
            rejected,
            error: None,
            greedy: false,
        }
    }
}

impl dart_math::Generator for Picky {
    fn run(&self, source: &dyn dart_math::Source) -> dart_math::Result<()> {
        self.scripted.run(source)
    }

    fn check(
        &self,
        problems: &[std::sync::Arc<Problem>],
    ) -> dart_math::Result<Vec<dart_math::Rejection>> {
        if let Some(kind) = self.error {
            return Err(dart_math::Error::new(kind, "nothing fits"));
        }
        let reject = |&problem: &usize| dart_math::Rejection {
            problem,
            reason: format!("{} is too long", problems[problem].id),
        };
        Ok(self.rejected.iter().map(reject).collect())
    }

    fn is_greedy(&self) -> bool {
        self.greedy
    }
}

#[test]
fn problems_that_cannot_be_sampled_are_counted_apart() {
    let run = |generator: &Picky, limits: Limits| {
        Run::builder(problems(&[0.5, 0.9, 0.7]))
            .strategy(Uniform { k: 3 })
            .keep(Keep::All)
            .limits(limits)
            .build()
            .unwrap()
            .run(generator, &grader)
    };
    let outcome = run(&Picky::new(vec![1]), Limits::default()).unwrap();
    assert_eq!(outcome.stop, RunStop::Finished);
    let rejected = &outcome.problems[1];
    assert_eq!(rejected.stop, StopReason::Rejected);
    assert_eq!(rejected.rejection.as_deref(), Some("p1 is too long"));
    assert_eq!((rejected.tally.trials, rejected.kept), (0, 0));
    assert_eq!(outcome.problems[0].rejection, None);
    assert_eq!((outcome.totals.rejected, outcome.totals.met), (1, 2));
    assert_eq!(outcome.manifest()["totals"]["rejected"], 1);
    assert!(trials(&outcome).iter().all(|trial| trial.problem != "p1"));
    // The other problems get its share of the common limit.
    let limits = Limits {
        trials: Some(6),
        ..Limits::default()
    };
    assert_eq!(run(&Picky::new(vec![0]), limits).unwrap().totals.trials, 6);

    let error = run(&Picky::new(vec![0, 1, 2]), Limits::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("none of the problems can be sampled: p0 is too long")
    );
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal.jsonl");
    let failing = Picky {
        error: Some(dart_math::ErrorKind::Settings),
        ..Picky::new(Vec::new())
    };
    let refused = Run::builder(problems(&[0.5]))
        .strategy(Uniform { k: 3 })
        .keep(Keep::All)
        .journal(&journal)
        .build()
        .unwrap()
        .run(&failing, &grader);
    assert_eq!(refused.unwrap_err().kind(), dart_math::ErrorKind::Settings);
    assert!(
        !journal.exists(),
        "something was written for a run that cannot begin"
    );
    assert!(failing.scripted.log().asked.is_empty());
}

#[test]
fn several_trials_of_greedy_sampling_are_refused() {
    let greedy = Picky {
        greedy: true,
        ..Picky::new(Vec::new())
    };
    let run = |strategy: &dyn Strategy, trials_per_problem, give_up_after| {
        Run::builder(problems(&[0.5, 0.2]))
            .strategy(strategy)
            .keep(Keep::All)
            .limits(Limits {
                trials_per_problem,
                give_up_after,
                ..Limits::default()
            })
            .dedup(true)
            .build()
            .unwrap()
            .run(&greedy, &grader)
    };
    let table: HashMap<String, f64> = (0..2).map(|i| (format!("p{i}"), 1.0)).collect();
    let several: [(&dyn Strategy, _, _); 6] = [
        (&Vanilla { trials: 2 }, None, None),
        (&Uniform { k: 1 }, None, None),
        (&Uniform { k: 2 }, Some(2), None),
        (&Uniform { k: 2 }, None, Some(1)),
        (&Prop2Diff::with_pilot(4, 8), Some(64), None),
        (&Prop2Diff::with_pass_rates(4, table.clone()), None, None),
    ];
    for (strategy, trials, give_up) in several {
        let error = run(strategy, trials, give_up).unwrap_err();
        assert_eq!(error.kind(), dart_math::ErrorKind::Settings);
        assert!(
            error.to_string().contains("vanilla with 1 trial"),
            "{error}"
        );
    }
    assert!(greedy.scripted.log().asked.is_empty());
    let single: [(&dyn Strategy, _, _); 4] = [
        (&Vanilla { trials: 1 }, None, None),
        (&Uniform { k: 2 }, Some(1), None),
        (&Uniform { k: 1 }, None, Some(1)),
        (&Prop2Diff::with_pilot(4, 8), Some(1), None),
    ];
    for (strategy, trials, give_up) in single {
        assert!(run(strategy, trials, give_up).unwrap().finished());
    }
}
