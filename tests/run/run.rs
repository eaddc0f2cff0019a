//! Runs against a scripted generator with known pass rates.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::scripted::expected::{by_hand, data_set, first_of, of_problems, within};
use crate::scripted::{Schedule, Scripted, grader, problems};
use dart_math::dars::{
    CancelHandle, Goal, Limits, Observer, Outcome, Prefix, Progress, Prop2Diff, Run, RunStop,
    Strategy, Uniform, Vanilla,
};
use dart_math::{Completion, Problem, StopReason, Trial, TrialId, Verdict};
use proptest::prelude::{
    ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::strategy::Strategy as _;

fn run(
    rates: &[f64],
    strategy: impl Strategy,
    limits: Limits,
    schedule: Schedule,
) -> (Outcome, Scripted) {
    let generator = Scripted::new(schedule);
    let outcome = Run::builder(problems(rates))
        .strategy(strategy)
        .limits(limits)
        .seed(11)
        .observer(&generator.verdicts)
        .build()
        .unwrap()
        .run(&generator, &grader)
        .unwrap();
    (outcome, generator)
}

#[test]
fn uniform_meets_every_target_exactly() {
    let rates = [1.0, 0.9, 0.5, 0.2, 0.05];
    let (outcome, _) = run(
        &rates,
        Uniform { k: 10 },
        Limits::default(),
        Schedule::default(),
    );
    assert_eq!(outcome.stop, RunStop::Finished);
    assert_eq!(
        data_set(&outcome),
        by_hand(&rates, &Uniform { k: 10 }, Limits::default())
    );
    for record in &outcome.problems {
        assert_eq!((record.kept, record.tally.correct), (10, 10));
        assert_eq!(record.stop, StopReason::TargetMet);
        assert!(record.tally.at_success);
    }
    assert_eq!(outcome.totals.kept, 50);
    assert_eq!(outcome.totals.met, 5);
    assert_eq!(outcome.accepted().count(), 50);
}

#[test]
fn prop2diff_reuses_its_pilot_and_fixes_its_target() {
    let rates = [1.0, 0.75, 0.5, 0.25, 0.1];
    let strategy = Prop2Diff::with_pilot(40, 8);
    let (outcome, _) = run(
        &rates,
        strategy.clone(),
        Limits::default(),
        Schedule::default(),
    );
    assert_eq!(
        data_set(&outcome),
        by_hand(&rates, &strategy, Limits::default())
    );
    for (index, record) in outcome.problems.iter().enumerate() {
        let own: Vec<&Trial> = outcome
            .trials
            .iter()
            .filter(|trial| trial.problem == record.problem.id)
            .collect();
        let failed = own[..8].iter().filter(|trial| !trial.verdict.equal).count() as u32;
        assert_eq!(
            record.target,
            Some((40 * failed).div_ceil(8).max(1)),
            "problem {index}"
        );
        assert_eq!(Some(record.kept), record.target);
        assert!(own[..8].iter().any(|t| t.accepted) || own[..8].iter().all(|t| !t.verdict.equal));
    }
    assert_eq!(outcome.problems[0].kept, 1);
}

#[test]
fn vanilla_draws_exactly_its_trials() {
    let rates = [0.8, 0.3, 0.0];
    let (outcome, generator) = run(
        &rates,
        Vanilla { trials: 13 },
        Limits::default(),
        Schedule::default(),
    );
    assert_eq!(
        data_set(&outcome),
        by_hand(&rates, &Vanilla { trials: 13 }, Limits::default())
    );
    let log = generator.log();
    assert_eq!(log.asked.len(), 39);
    assert!(log.asked.values().all(|&times| times == 1));
    assert_eq!(outcome.totals.kept, outcome.totals.correct);
}

#[test]
fn pass_rates_from_a_table_set_the_targets_at_once() {
    let rates = [0.9, 0.5, 0.2];
    let table: HashMap<String, f64> = (0..3).map(|i| (format!("p{i}"), rates[i])).collect();
    let strategy = Prop2Diff::with_pass_rates(10, table);
    let (outcome, _) = run(&rates, strategy, Limits::default(), Schedule::default());
    let kept: Vec<u32> = outcome.problems.iter().map(|record| record.kept).collect();
    assert_eq!(kept, [1, 5, 8]);
}

#[test]
fn what_is_drawn_in_vain_was_in_flight() {
    // With more problems than slots, nothing is drawn before it is certainly needed; so no problem
    // can have more drawn than its end and what was in flight then.
    let rates: Vec<f64> = (0..60).map(|i| 0.1 + 0.015 * f64::from(i)).collect();
    for cancels in [false, true] {
        let schedule = Schedule {
            slots: 16,
            cancels,
            patient: true,
            ..Schedule::default()
        };
        let (outcome, generator) = run(&rates, Uniform { k: 4 }, Limits::default(), schedule);
        let log = generator.log();
        assert!(log.most_at_work <= 16);
        assert!(
            log.asked.values().all(|&times| times == 1),
            "a trial was drawn twice"
        );
        let counted = outcome.totals.trials as usize;
        let asked = log.asked.len();
        assert!(asked >= counted);
        // What idle slots at the run's end took on chance, and nothing else.
        let spare = asked - counted;
        assert!(spare <= 60, "{spare} of {asked} trials drawn in vain");
        for trial in log.asked.keys() {
            let record = &outcome.problems[trial.problem as usize];
            assert!(trial.number < record.tally.trials + 16);
        }
    }
}

#[test]
fn an_early_problem_draws_only_what_it_needs_while_others_wait() {
    // One slot: never a reason to speculate.
    let rates = [0.3, 0.6, 0.1];
    let schedule = Schedule {
        slots: 1,
        patient: true,
        ..Schedule::default()
    };
    let (outcome, generator) = run(&rates, Uniform { k: 3 }, Limits::default(), schedule);
    assert_eq!(generator.log().asked.len() as u64, outcome.totals.trials);
    assert_eq!(outcome.totals.cancelled, 0);
    assert_eq!(outcome.totals.drawn, outcome.totals.trials);
}

#[test]
fn resident_prompts_come_first() {
    let rates = [0.5; 40];
    let schedule = Schedule {
        patient: true,
        ..Schedule::default()
    };
    let (_, generator) = run(&rates, Uniform { k: 20 }, Limits::default(), schedule);
    // About 1,600 trials; each prompt is begun once but for the few that a longer queue pushed out.
    let log = generator.log();
    assert!(log.asked.len() > 1200);
    assert!(log.prefills < 80, "{} prefills", log.prefills);
}

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
                RunStop::Trials
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
    assert_eq!(outcome.stop, RunStop::Tokens);
    assert!(outcome.totals.tokens_sampled >= 500);
    // At most what was in flight more: eight slots, twenty tokens each.
    assert!(outcome.totals.tokens_sampled < 500 + 8 * 20);
    assert!(outcome.totals.kept > 0);
    assert!(
        outcome
            .problems
            .iter()
            .any(|r| r.stop == StopReason::RunEnded)
    );
}

#[test]
fn a_limit_in_time_ends_a_run_that_would_never_end() {
    let limits = Limits {
        time: Some(Duration::from_millis(400)),
        ..Limits::default()
    };
    let (outcome, _) = run(&[0.5, 0.0], Uniform { k: 2 }, limits, Schedule::default());
    assert_eq!(outcome.stop, RunStop::Time);
    assert_eq!(outcome.problems[0].stop, StopReason::TargetMet);
    assert_eq!(outcome.problems[1].stop, StopReason::RunEnded);
    assert_eq!(outcome.totals.kept, 2);
}

#[test]
fn an_interruption_returns_what_is_done() {
    /// Interrupts after the thirtieth verdict.
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

#[test]
fn slow_grading_holds_up_neither_the_run_nor_the_targets() {
    let slow = |problem: &Problem, completion: &Completion| {
        std::thread::sleep(Duration::from_micros(300));
        grader(problem, completion)
    };
    let outcome = Run::builder(problems(&[0.7, 0.3, 0.1]))
        .strategy(Uniform { k: 5 })
        .seed(11)
        .graders(3)
        .build()
        .unwrap()
        .run(&Scripted::default(), &slow)
        .unwrap();
    let expected = by_hand(&[0.7, 0.3, 0.1], &Uniform { k: 5 }, Limits::default());
    assert_eq!(data_set(&outcome), expected);
}

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
        .build()
        .unwrap()
        .run(&Scripted::default(), &moody)
        .unwrap();
    assert_eq!(outcome.stop, RunStop::Finished);
    assert!(outcome.totals.grader_failures > 0);
    assert_eq!(outcome.totals.kept, 12);
    let failed: Vec<&Trial> = outcome
        .trials
        .iter()
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
fn several_generators_may_share_a_run() {
    /// As several devices would: each asks and delivers on a thread of its own.
    struct Several(Vec<Scripted>);
    impl dart_math::Generator for Several {
        fn run(&self, source: &dyn dart_math::Source) -> dart_math::Result<()> {
            std::thread::scope(|scope| {
                let threads: Vec<_> = self
                    .0
                    .iter()
                    .map(|generator| scope.spawn(|| generator.run(source)))
                    .collect();
                threads
                    .into_iter()
                    .try_for_each(|thread| thread.join().unwrap())
            })
        }
    }
    let rates = [0.9, 0.05, 0.5, 0.3, 0.15, 0.7];
    let strategy = Prop2Diff::with_pilot(20, 5);
    for round in 0..5 {
        let generator = |shuffle| {
            let slots = 1 + shuffle as usize % 7;
            Scripted::new(Schedule {
                shuffle,
                slots,
                ..Schedule::default()
            })
        };
        let several = Several((0..4).map(|index| generator(4 * round + index)).collect());
        let outcome = Run::builder(problems(&rates))
            .strategy(strategy.clone())
            .seed(11)
            .graders(2)
            .build()
            .unwrap()
            .run(&several, &grader)
            .unwrap();
        let expected = by_hand(&rates, &strategy, Limits::default());
        assert_eq!(data_set(&outcome), expected);
        let mut asked: Vec<TrialId> = Vec::new();
        for generator in &several.0 {
            asked.extend(generator.log().asked.keys());
        }
        let count = asked.len();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), count, "two generators drew the same trial");
    }
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
fn goals_may_change_with_every_trial() {
    /// One more correct response for every wrong one among the first twelve trials.
    struct Growing;
    impl Strategy for Growing {
        fn goal(&self, _: &Problem, settled: Prefix<'_>) -> Goal {
            let first = settled.first(12);
            Goal::Correct(1 + first.trials() - first.correct())
        }
    }
    let rates = [0.9, 0.6, 0.4, 0.15];
    for shuffle in 0..20 {
        let schedule = Schedule {
            shuffle,
            slots: 13,
            ..Schedule::default()
        };
        let (outcome, _) = run(&rates, Growing, Limits::default(), schedule);
        assert_eq!(
            data_set(&outcome),
            by_hand(&rates, &Growing, Limits::default())
        );
    }
}

#[test]
fn observers_see_the_run_go_by() {
    #[derive(Default)]
    struct Watch(Mutex<Vec<Progress>>);
    impl Observer for Watch {
        fn progress(&self, progress: &Progress) {
            self.0.lock().unwrap().push(*progress);
        }
    }
    let watch = Watch::default();
    let outcome = Run::builder(problems(&[0.9, 0.5, 0.2]))
        .strategy(Uniform { k: 5 })
        .observer(&watch)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap();
    let seen = watch.0.into_inner().unwrap();
    let (first, last) = (seen[0], seen[seen.len() - 1]);
    assert_eq!((first.done, first.trials, first.problems), (0, 0, 3));
    assert!(first.remaining.trials >= 15);
    assert_eq!(first.remaining.time, None);
    assert_eq!(
        (last.done, last.met, last.remaining.trials, last.in_flight),
        (3, 3, 0, 0)
    );
    let middle = &seen[seen.len() / 2];
    assert!(middle.remaining.tokens > 0 && middle.remaining.time.is_some());
    assert!(middle.tokens_per_second > 0.0);
    assert_eq!(last.trials, outcome.totals.trials);
    assert_eq!(last.correct, 15);
    assert!(seen.is_sorted_by_key(|progress| progress.trials));
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

/// Problems with few different responses.
fn repetitive(rates: &[f64], variety: u64) -> Vec<Problem> {
    let mut problems = problems(rates);
    for problem in &mut problems {
        problem.metadata.insert("variety".into(), variety.into());
    }
    problems
}

#[test]
fn duplicates_are_counted_and_left_out_where_asked_to() {
    let rates = [0.9, 0.6, 0.3];
    let run = |dedup: bool, shuffle: u64| {
        let schedule = Schedule {
            shuffle,
            ..Schedule::default()
        };
        Run::builder(repetitive(&rates, 12))
            .strategy(Uniform { k: 8 })
            .seed(11)
            .dedup(dedup)
            .build()
            .unwrap()
            .run(&Scripted::new(schedule), &grader)
            .unwrap()
    };
    let limits = Limits::default();
    for shuffle in 0..8 {
        for dedup in [false, true] {
            let outcome = run(dedup, shuffle);
            let expected = of_problems(repetitive(&rates, 12), &Uniform { k: 8 }, limits, dedup);
            assert_eq!(data_set(&outcome), expected);
            assert_eq!(outcome.totals.kept, 24);
            let mut texts: Vec<(&str, &str)> = outcome
                .accepted()
                .map(|trial| (&*trial.problem, &*trial.response))
                .collect();
            texts.sort_unstable();
            texts.dedup();
            assert_eq!(texts.len() == 24, dedup);
            for trial in &outcome.trials {
                let earlier = outcome.trials.iter().find(|other| {
                    let same = |t: &Trial| (t.problem.clone(), t.response.clone());
                    other.verdict.equal && same(other) == same(trial)
                });
                let earlier = earlier.map(|other| other.number);
                let first = earlier.filter(|&n| n < trial.number && trial.verdict.equal);
                assert_eq!(trial.duplicate_of, first);
            }
            let marked = |t: &&Trial| t.duplicate_of.is_some() && (dedup || t.accepted);
            let marked = outcome.trials.iter().filter(marked).count() as u64;
            assert!(marked > 0);
            assert_eq!(outcome.totals.duplicates, marked);
            assert_eq!(outcome.manifest()["totals"]["duplicates"], marked);
            assert_eq!(outcome.configuration["dedup"], dedup);
        }
    }
    // A problem that has fewer responses than its target takes all its trials.
    let outcome = Run::builder(repetitive(&[1.0], 3))
        .strategy(Uniform { k: 4 })
        .limits(Limits {
            trials_per_problem: Some(50),
            ..limits
        })
        .dedup(true)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap();
    let record = &outcome.problems[0];
    assert_eq!((record.kept, record.tally.correct), (3, 50));
    assert_eq!(record.stop, StopReason::TrialLimit);
}

/// A generator that cannot sample some problems, or is greedy.
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
    assert!(outcome.trials.iter().all(|trial| trial.problem != "p1"));
    // Its share of a common limit is the others'.
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_changes_the_data_set(
        rates in prop::collection::vec(0.0f64..1.0, 1..12),
        strategy in strategies(),
        most in 1u32..200,
        give_up in prop::option::of(1u32..60),
        whole_run in prop::option::of(0u64..600),
        slots in 1usize..48,
        shuffle: u64,
        cancels: bool,
        refuses in prop::option::of(4usize..9),
        graders in 1usize..4,
        dedup: bool,
        variety in 1u64..40,
    ) {
        let strategy = strategy.0;
        let limits = Limits {
            trials_per_problem: Some(most),
            give_up_after: give_up,
            trials: whole_run,
            ..Limits::default()
        };
        let generator = Scripted::new(Schedule {
            slots,
            shuffle,
            cancels,
            refuses_every: refuses,
            ..Schedule::default()
        });
        let outcome = Run::builder(repetitive(&rates, variety))
            .strategy(&*strategy)
            .limits(limits)
            .seed(11)
            .graders(graders)
            .dedup(dedup)
            .build()
            .unwrap()
            .run(&generator, &grader)
            .unwrap();
        let expected = of_problems(repetitive(&rates, variety), &*strategy, limits, dedup);
        if outcome.stop == RunStop::Finished {
            prop_assert!(whole_run.is_none_or(|most| outcome.totals.trials <= most));
            prop_assert_eq!(data_set(&outcome), expected);
        } else {
            prop_assert_eq!(outcome.stop, RunStop::Trials);
            prop_assert_eq!(Some(outcome.totals.trials), whole_run);
            let counts: Vec<u32> = outcome.problems.iter().map(|r| r.tally.trials).collect();
            let most = whole_run.unwrap_or(0);
            prop_assert_eq!(counts, first_of(&expected, most));
        }
    }
}

/// A strategy that proptest can show.
struct Shown(Box<dyn Strategy>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0.settings())
    }
}

fn strategies() -> impl proptest::strategy::Strategy<Value = Shown> {
    prop_oneof![
        (1u32..20).prop_map(|trials| Shown(Box::new(Vanilla { trials }))),
        (1u32..12).prop_map(|k| Shown(Box::new(Uniform { k }))),
        (1u32..30, 1u32..10, any::<bool>()).prop_map(|(k, pilot, cover)| Shown(Box::new(
            Prop2Diff::with_pilot(k, pilot).cover(cover)
        ))),
    ]
}

/// Collects what it is told.
#[derive(Default)]
struct Rows(Mutex<Vec<(String, u32)>>, Option<(usize, CancelHandle)>);

impl Observer for Rows {
    fn accepted(&self, trial: &Trial) {
        assert!(trial.accepted && trial.verdict.equal);
        let mut rows = self.0.lock().unwrap();
        rows.push((trial.problem.clone(), trial.number));
        if let Some((most, cancel)) = &self.1
            && rows.len() >= *most
        {
            cancel.cancel();
        }
    }
}

#[test]
fn an_observer_is_told_of_every_row_once_and_in_order() {
    let rates = [1.0, 0.8, 0.5, 0.3, 0.05, 0.0];
    let strategies: [Box<dyn Strategy>; 3] = [
        Box::new(Vanilla { trials: 9 }),
        Box::new(Uniform { k: 4 }),
        Box::new(Prop2Diff::with_pilot(12, 5)),
    ];
    let limits = Limits {
        trials_per_problem: Some(40),
        ..Limits::default()
    };
    for strategy in &strategies {
        for (dedup, interrupted) in [(false, false), (true, false), (false, true)] {
            let cancel = CancelHandle::new();
            let rows = Rows(Mutex::default(), interrupted.then(|| (6, cancel.clone())));
            let outcome = Run::builder(problems(&rates))
                .strategy(strategy)
                .limits(limits)
                .seed(11)
                .dedup(dedup)
                .observer(&rows)
                .cancel(cancel)
                .build()
                .unwrap()
                .run(&Scripted::new(Schedule::default()), &grader)
                .unwrap();
            assert_eq!(outcome.stop == RunStop::Interrupted, interrupted);
            let told = rows.0.into_inner().unwrap();
            // Each problem's rows by number.
            let mut last = HashMap::new();
            for (problem, number) in &told {
                let before = last.insert(problem, *number);
                assert!(before.is_none_or(|before| before < *number));
            }
            let mut sorted = told.clone();
            sorted.sort();
            let mut expected: Vec<(String, u32)> = outcome
                .accepted()
                .map(|trial| (trial.problem.clone(), trial.number))
                .collect();
            expected.sort();
            assert_eq!(sorted, expected);
        }
    }
}
