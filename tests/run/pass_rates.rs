//! Pass rates and the vanilla baseline estimated from a run's records, compared with the rates that the trials were
//! drawn with.

use crate::run::repetitive;
use crate::scripted::{Schedule, Scripted, grader, problems};
use dart_math::ProblemRecord;
use dart_math::dars::{Limits, Prop2Diff, Run, Strategy, Uniform, Vanilla};
use dart_math::report::LevelTable;

fn records(rates: &[f64], strategy: &dyn Strategy, limits: Limits) -> Vec<ProblemRecord> {
    let generator = Scripted::new(Schedule::default());
    Run::builder(problems(rates))
        .strategy(strategy)
        .limits(limits)
        .seed(5)
        .build()
        .unwrap()
        .run(&generator, &grader)
        .unwrap()
        .problems
}

fn limits(most: u32) -> Limits {
    Limits {
        trials_per_problem: Some(most),
        ..Limits::default()
    }
}

#[test]
fn the_mean_over_many_problems_is_their_rate_and_intervals_hold_it() {
    const PROBLEMS: usize = 2000;
    let given_up = Limits {
        give_up_after: Some(10),
        ..limits(60)
    };
    let futile = Limits {
        futility: Some(0.05),
        ..limits(60)
    };
    let strategies: [(&str, Box<dyn Strategy>, Limits); 8] = [
        ("futility", Box::new(Uniform { k: 8 }), futile),
        (
            "pilot, futility",
            Box::new(Prop2Diff::with_pilot(16, 8)),
            futile,
        ),
        ("vanilla", Box::new(Vanilla { trials: 12 }), limits(60)),
        ("uniform", Box::new(Uniform { k: 4 }), limits(60)),
        ("giving up", Box::new(Uniform { k: 4 }), given_up),
        ("pilot", Box::new(Prop2Diff::with_pilot(16, 8)), limits(60)),
        ("more", Box::new(Prop2Diff::with_pilot(40, 8)), limits(100)),
        (
            "pilot, giving up",
            Box::new(Prop2Diff::with_pilot(16, 4)),
            given_up,
        ),
    ];
    for (name, strategy, limits) in &strategies {
        for p in [0.05, 0.3, 0.8, 0.95] {
            let records = records(&[p; PROBLEMS], strategy, *limits);
            let rates: Vec<f64> = records
                .iter()
                .map(|record| record.tally.pass_rate().unwrap())
                .collect();
            let n = PROBLEMS as f64;
            let mean = rates.iter().sum::<f64>() / n;
            let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let z = (mean - p) / (variance / n).sqrt();
            assert!(z.abs() < 3.0, "{name}, {p}: {mean:.4}, z = {z:.2}");
            let covered = records.iter().filter(|record| {
                let (low, high) = record.tally.interval().unwrap();
                low <= p && p <= high
            });
            let covered = covered.count() as f64 / n;
            assert!(covered >= 0.93, "{name}, {p}: {covered}");
        }
    }
}

/// The data set is selected from trials that end at another run's target or limit. If a problem's last trial is a
/// success, this is then not by chance.
#[test]
fn estimates_of_what_a_journal_has_too_little_of_have_no_bias() {
    const PROBLEMS: usize = 2000;
    for p in [0.1, 0.3, 0.8] {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("journal");
        let builder = |k| {
            let run = Run::builder(problems(&[p; PROBLEMS])).strategy(Uniform { k });
            run.limits(limits(30)).seed(5).journal(&journal)
        };
        let generator = Scripted::new(Schedule::default());
        let _ = builder(4)
            .build()
            .unwrap()
            .run(&generator, &grader)
            .unwrap();
        let selected = builder(9).build().unwrap().select().unwrap();
        let records = &selected.problems;
        assert!(records.iter().any(|record| record.tally.exhausted));
        let n = PROBLEMS as f64;
        let rates: Vec<f64> = records
            .iter()
            .map(|r| r.tally.pass_rate().unwrap())
            .collect();
        let mean = rates.iter().sum::<f64>() / n;
        let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let z = (mean - p) / (variance / n).sqrt();
        assert!(z.abs() < 3.0, "{p}: {mean:.4}, z = {z:.2}");
    }
}

/// If duplicates do not count towards a target, the estimates are biased, but stay within the trials' intervals.
#[test]
fn estimates_without_duplicates_are_not_far_from_their_counts() {
    let rates = [0.05, 0.2, 0.5, 0.8, 1.0];
    for strategy in [
        &Prop2Diff::with_pilot(4, 4) as &dyn Strategy,
        &Prop2Diff::with_pilot(16, 8),
        &Uniform { k: 4 },
    ] {
        for variety in [1, 3, 8] {
            let outcome = Run::builder(repetitive(&rates.repeat(40), variety))
                .strategy(strategy)
                .limits(limits(48))
                .dedup(true)
                .build()
                .unwrap()
                .run(&Scripted::new(Schedule::default()), &grader)
                .unwrap();
            for record in &outcome.problems {
                let rate = record.tally.pass_rate().unwrap();
                let (low, high) = record.tally.interval().unwrap();
                // With one success in n trials, only the interval is published.
                let inside = low <= rate && rate <= high;
                assert!(
                    inside || record.tally.correct == 1,
                    "{:?}: {rate}",
                    record.tally
                );
            }
        }
    }
}

#[test]
fn the_baseline_is_that_of_a_vanilla_run() {
    // Rates of all difficulties. A tenth of the problems are never solved.
    let rates: Vec<f64> = (0..3000)
        .map(|index| match index % 10 {
            0 => 0.0,
            tenth => (f64::from(tenth) / 10.0).powi(2),
        })
        .collect();
    for strategy in [
        &Prop2Diff::with_pilot(16, 8) as &dyn Strategy,
        &Uniform { k: 6 },
    ] {
        let table = LevelTable::new(&records(&rates, strategy, limits(150)));
        let trials = table.vanilla_trials.unwrap();
        let all: f64 = rates.iter().sum();
        assert!((trials * all / table.total.kept as f64 - 1.0).abs() < 0.02);
        // A vanilla run has an integer number of trials, so interpolate between the two nearest.
        let unsolved = |trials: u32| {
            let records = records(&rates, &Vanilla { trials }, Limits::default());
            records.iter().filter(|record| record.kept == 0).count() as f64
        };
        let (below, part) = (trials.floor() as u32, trials.fract());
        let real = (1.0 - part) * unsolved(below) + part * unsolved(below + 1);
        let expected = table.total.vanilla_unsolved;
        // Both are random counts of a few hundred problems.
        assert!(
            (expected - real).abs() < 3.0 * real.sqrt() && (expected / real - 1.0).abs() < 0.05,
            "{expected:.0} expected, {real:.0} in a vanilla run of {trials:.2} trials"
        );
    }
}
