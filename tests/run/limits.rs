//! Limits and interruptions that end a run before its goals are met.

use std::sync::Mutex;
use std::time::Duration;

use crate::run::run;
use crate::scripted::expected::{by_hand, data_set, within};
use crate::scripted::{Schedule, Scripted, grader, problems};
use dart_math::dars::{
    CancelHandle, Keep, Limits, Observer, Prop2Diff, Run, RunStop, Strategy, Uniform, Vanilla,
};
use dart_math::{StopReason, Trial};

#[test]
fn limits_per_problem_end_the_problem_and_not_the_run() {
    let rates = [0.0, 0.02, 0.5, 1.0];
    let limits = Limits {
        trials_per_problem: Some(40),
        give_up_after: Some(25),
        ..Limits::default()
    };
    let (outcome, _) = run(&rates, Uniform { k: 30 }, limits, Schedule::default());
    assert_eq!(
        data_set(&outcome),
        by_hand(&rates, &Uniform { k: 30 }, limits)
    );
    assert_eq!(outcome.stop, RunStop::Finished);
    assert_eq!(outcome.problems[0].stop, StopReason::GaveUp);
    assert_eq!(outcome.problems[0].tally.trials, 25);
    assert_eq!(outcome.problems[2].stop, StopReason::TrialLimit);
    assert_eq!(outcome.problems[2].tally.trials, 40);
    assert_eq!(outcome.problems[3].stop, StopReason::TargetMet);
}

/// Problems that end for futility follow the rule in any schedule. Only trials in flight when a verdict arrives are
/// drawn beyond it.
#[test]
fn problems_whose_target_is_out_of_reach_are_ended() {
    let rates = [0.0, 0.02, 0.1, 0.3, 0.5, 0.9, 1.0];
    for (below, tokens_per_problem) in [(0.001, None), (0.05, None), (0.5, None), (0.05, Some(150))]
    {
        let limits = Limits {
            trials_per_problem: Some(60),
            futility: Some(below),
            tokens_per_problem,
            ..Limits::default()
        };
        let strategies: [&dyn Strategy; 3] = [
            &Uniform { k: 12 },
            &Prop2Diff::with_pilot(24, 6),
            &Vanilla { trials: 20 },
        ];
        for strategy in strategies {
            let expected = by_hand(&rates, strategy, limits);
            for (shuffle, slots) in [(1, 1), (2, 7), (3, 64)] {
                let schedule = Schedule {
                    shuffle,
                    slots,
                    ..Schedule::default()
                };
                let (outcome, _) = run(&rates, strategy, limits, schedule);
                assert_eq!(data_set(&outcome), expected, "{below} {slots}");
                assert_eq!(outcome.stop, RunStop::Finished);
                let first = &outcome.problems[0];
                if strategy.settings()["name"] == "uniform" && tokens_per_problem.is_none() {
                    assert_eq!(first.stop, StopReason::Futile);
                    let rule = first.tally.futility.unwrap();
                    assert_eq!(first.tally.trials, rule.end(0));
                    assert!(rule.end(0) < 49, "{rule:?}");
                }
            }
        }
    }
}

#[test]
fn futility_is_a_probability_and_needs_a_limit() {
    let build = |futility, trials_per_problem| {
        let limits = Limits {
            futility: Some(futility),
            trials_per_problem,
            ..Limits::default()
        };
        let run = Run::builder(problems(&[0.5])).strategy(Uniform { k: 2 });
        run.limits(limits).build().map(|_| ())
    };
    for futility in [0.0, -0.1, 1.0, f64::NAN, f64::INFINITY] {
        let error = build(futility, Some(9)).unwrap_err().to_string();
        assert!(error.contains("between 0 and 1"), "{error}");
    }
    let error = build(0.1, None).unwrap_err().to_string();
    assert!(error.contains("limit of trials per problem"), "{error}");
    build(0.1, Some(9)).unwrap();
}

/// A problem that exceeds its time ends with its trials so far. The others continue.
#[test]
fn a_limit_in_time_ends_one_problem_and_not_the_run() {
    let limits = Limits {
        time_per_problem: Some(Duration::from_millis(60)),
        trials_per_problem: Some(1_000_000_000),
        ..Limits::default()
    };
    let (outcome, _) = run(
        &[0.0, 1.0, 0.0],
        Uniform { k: 5 },
        limits,
        Schedule::default(),
    );
    assert_eq!(outcome.stop, RunStop::Finished);
    let stops: Vec<StopReason> = outcome.problems.iter().map(|r| r.stop).collect();
    let (time, met) = (StopReason::TimeLimit, StopReason::TargetMet);
    assert_eq!(stops, [time, met, time]);
    assert_eq!(outcome.totals.kept, 5);
}

#[test]
fn a_limit_of_the_whole_run_in_trials_is_the_same_from_any_schedule() {
    let rates = [0.9, 0.05, 0.5, 0.02, 1.0, 0.3];
    for most in [0, 1, 5, 6, 7, 20, 50, 133, 100_000] {
        let limits = Limits {
            trials_per_problem: Some(300),
            trials: Some(most),
            ..Limits::default()
        };
        let expected = within(&rates, &Uniform { k: 6 }, limits, most);
        for (shuffle, slots) in [(1, 1), (2, 7), (3, 64)] {
            let schedule = Schedule {
                shuffle,
                slots,
                ..Schedule::default()
            };
            let (outcome, _) = run(&rates, Uniform { k: 6 }, limits, schedule);
            let trials: Vec<u32> = outcome.problems.iter().map(|r| r.tally.trials).collect();
            assert_eq!(trials, expected, "limit {most}, {slots} slots");
            assert!(outcome.totals.trials <= most);
            let stop = if most == 100_000 {
                RunStop::Finished
            } else {
                RunStop::Trials { limit: most }
            };
            assert_eq!(outcome.stop, stop);
        }
    }
}

#[test]
fn a_limit_in_tokens_ends_the_run_with_what_is_done() {
    let limits = Limits {
        tokens: Some(500),
        ..Limits::default()
    };
    let (outcome, _) = run(&[0.5; 20], Uniform { k: 20 }, limits, Schedule::default());
    let RunStop::Tokens { limit, sampled } = outcome.stop else {
        panic!("{:?}", outcome.stop);
    };
    assert!(limit == 500 && sampled >= 500 && sampled <= outcome.totals.tokens_sampled);
    assert!(outcome.totals.tokens_sampled >= 500);
    // At most what was in flight is added: eight slots with twenty tokens each.
    assert!(outcome.totals.tokens_sampled < 500 + 8 * 20);
    assert!(outcome.totals.kept > 0);
    assert!(
        outcome
            .problems
            .iter()
            .any(|r| r.stop == StopReason::RunEnded)
    );
}

/// Tokens of cancelled trials count, although the journal has no rows for them.
#[test]
fn a_limit_in_tokens_counts_all_that_earlier_calls_sampled() {
    let directory = tempfile::tempdir().unwrap();
    let journal = directory.path().join("journal");
    let run = |most| {
        let limits = Limits {
            tokens: Some(most),
            ..Limits::default()
        };
        let run = Run::builder(problems(&[0.5; 20])).strategy(Uniform { k: 20 });
        let run = run.limits(limits).journal(&journal).build().unwrap();
        run.run(&Scripted::new(Schedule::default()), &grader)
            .unwrap()
    };
    let first = run(500);
    assert!(first.totals.cancelled > 0);
    let sampled = first.totals.tokens_sampled;
    assert!(sampled > first.totals.tokens);
    let second = run(sampled);
    assert_eq!(second.totals.tokens_sampled, 0);
    let limit = RunStop::Tokens {
        limit: sampled,
        sampled,
    };
    assert_eq!(second.stop, limit);
    let third = run(sampled + 1);
    assert!(third.totals.tokens_sampled > 0);
}

#[test]
fn a_limit_in_time_ends_a_run_that_would_never_end() {
    let limits = Limits {
        time: Some(Duration::from_millis(400)),
        ..Limits::default()
    };
    let (outcome, _) = run(&[0.5, 0.0], Uniform { k: 2 }, limits, Schedule::default());
    let RunStop::Time { limit, elapsed } = outcome.stop else {
        panic!("{:?}", outcome.stop);
    };
    assert!(elapsed >= limit);
    assert_eq!(outcome.problems[0].stop, StopReason::TargetMet);
    assert_eq!(outcome.problems[1].stop, StopReason::RunEnded);
    assert_eq!(outcome.totals.kept, 2);
}

#[test]
fn an_interruption_returns_what_is_done() {
    /// Cancels the run after the thirtieth verdict.
    struct Impatient(CancelHandle, Mutex<usize>);
    impl Observer for Impatient {
        fn graded(&self, _: &Trial) {
            let mut seen = self.1.lock().unwrap();
            *seen += 1;
            if *seen == 30 {
                self.0.cancel();
            }
        }
    }
    let handle = CancelHandle::new();
    let observer = Impatient(handle.clone(), Mutex::new(0));
    let outcome = Run::builder(problems(&[0.5, 0.0]))
        .strategy(Uniform { k: 2 })
        .keep(Keep::All)
        .observer(&observer)
        .cancel(handle)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap();
    assert_eq!(outcome.stop, RunStop::Interrupted);
    assert!(outcome.totals.trials > 0);
    assert_eq!(outcome.problems[1].stop, StopReason::RunEnded);
}
