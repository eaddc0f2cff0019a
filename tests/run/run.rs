//! Targets are met with a scripted generator of known pass rates, in any schedule.

use std::collections::HashMap;
use std::time::Duration;

use crate::scripted::expected::{by_hand, data_set, first_of, of_problems};
use crate::scripted::{Schedule, Scripted, grader, problems, trials};
use dart_math::dars::{
    Goal, Keep, Limits, Outcome, Prefix, Prop2Diff, Run, RunStop, Strategy, Uniform, Vanilla,
};
use dart_math::{Completion, Problem, StopReason, Trial, TrialId};
use proptest::prelude::{
    ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::strategy::Strategy as _;

pub(crate) fn run(
    rates: &[f64],
    strategy: impl Strategy,
    limits: Limits,
    schedule: Schedule,
) -> (Outcome, Scripted) {
    let generator = Scripted::new(schedule);
    let outcome = Run::builder(problems(rates))
        .strategy(strategy)
        .keep(Keep::All)
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
        let own: Vec<Trial> = trials(&outcome)
            .into_iter()
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
    // With more problems than slots, trials are only drawn when they are certainly needed. So a problem can only exceed
    // its end by the trials in flight at that time.
    let rates: Vec<f64> = (0..60).map(|i| 0.1 + 0.015 * f64::from(i)).collect();
    for cancels in [false, true] {
        let schedule = Schedule {
            slots: 16,
            cancels,
            awaits_verdicts: true,
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
        // Only idle slots at the end of the run draw trials speculatively.
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
    // With one slot, there is never a reason to speculate.
    let rates = [0.3, 0.6, 0.1];
    let schedule = Schedule {
        slots: 1,
        awaits_verdicts: true,
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
        awaits_verdicts: true,
        ..Schedule::default()
    };
    let (_, generator) = run(&rates, Uniform { k: 20 }, Limits::default(), schedule);
    // There are about 1,600 trials. Each prompt is prefilled once, except a few that were evicted.
    let log = generator.log();
    assert!(log.asked.len() > 1200);
    assert!(log.prefills < 80, "{} prefills", log.prefills);
}

#[test]
fn slow_grading_holds_up_neither_the_run_nor_the_targets() {
    let slow = |problem: &Problem, completion: &Completion| {
        std::thread::sleep(Duration::from_micros(300));
        grader(problem, completion)
    };
    let outcome = Run::builder(problems(&[0.7, 0.3, 0.1]))
        .strategy(Uniform { k: 5 })
        .keep(Keep::All)
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
fn several_generators_may_share_a_run() {
    /// Several generators that ask and deliver on their own threads, like several devices.
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
            .keep(Keep::All)
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
fn goals_may_change_with_every_trial() {
    /// One correct response, and another one for every wrong trial among the first twelve.
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

/// Problems with few distinct responses.
pub(super) fn repetitive(rates: &[f64], variety: u64) -> Vec<Problem> {
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
            .keep(Keep::All)
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
            let mut texts: Vec<(String, String)> = outcome
                .accepted()
                .map(|trial| trial.unwrap())
                .map(|trial| (trial.problem, trial.response))
                .collect();
            texts.sort_unstable();
            texts.dedup();
            assert_eq!(texts.len() == 24, dedup);
            let all = trials(&outcome);
            for trial in &all {
                let earlier = all.iter().find(|other| {
                    let same = |t: &Trial| (t.problem.clone(), t.response.clone());
                    other.verdict.equal && same(other) == same(trial)
                });
                let earlier = earlier.map(|other| other.number);
                let first = earlier.filter(|&n| n < trial.number && trial.verdict.equal);
                assert_eq!(trial.duplicate_of, first);
            }
            let marked = |t: &&Trial| t.duplicate_of.is_some() && (dedup || t.accepted);
            let marked = all.iter().filter(marked).count() as u64;
            assert!(marked > 0);
            assert_eq!(outcome.totals.duplicates, marked);
            assert_eq!(outcome.manifest()["totals"]["duplicates"], marked);
            assert_eq!(outcome.configuration["dedup"], dedup);
        }
    }
    // A problem with fewer distinct responses than its target uses all its trials.
    let outcome = Run::builder(repetitive(&[1.0], 3))
        .strategy(Uniform { k: 4 })
        .keep(Keep::All)
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_changes_the_data_set(
        rates in prop::collection::vec(0.0f64..1.0, 1..12),
        strategy in strategies(),
        most in 1u32..200,
        give_up in prop::option::of(1u32..60),
        futility in prop::option::of(1e-4f64..0.9),
        tokens_per_problem in prop::option::of(0u64..900),
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
            futility,
            tokens_per_problem,
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
            .keep(Keep::All)
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
            let at_limit = matches!(outcome.stop, RunStop::Trials { .. });
            prop_assert!(at_limit, "{:?}", outcome.stop);
            prop_assert_eq!(Some(outcome.totals.trials), whole_run);
            let counts: Vec<u32> = outcome.problems.iter().map(|r| r.tally.trials).collect();
            let most = whole_run.unwrap_or(0);
            prop_assert_eq!(counts, first_of(&expected, most));
        }
    }
}

/// A strategy with a debug output for proptest.
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
