//! Forecasts compared with actual runs.

use std::collections::HashMap;

use crate::scripted::{Scripted, grader, problems};
use dart_math::dars::{
    Basis, Costs, Expected, Forecast, Known, Limits, Outcome, Prop2Diff, Run, Strategy, Uniform,
    Vanilla,
};

/// Rates about as difficult as MATH for the paper's sampler: some problems are nearly always solved, some hardly ever.
fn rates(count: usize) -> Vec<f64> {
    rates_of(3, count)
}

fn rates_of(seed: u64, count: usize) -> Vec<f64> {
    let random = dart_math::Philox::new(seed);
    (0..count)
        .map(|index| random.uniform(index as u64).powf(0.8))
        .collect()
}

fn limits() -> Limits {
    Limits {
        trials_per_problem: Some(64),
        ..Limits::default()
    }
}

fn run(rates: &[f64], strategy: &dyn Strategy, seed: u64) -> Outcome {
    Run::builder(problems(rates))
        .strategy(strategy)
        .limits(limits())
        .seed(seed)
        .build()
        .unwrap()
        .run(&Scripted::default(), &grader)
        .unwrap()
}

/// Counts how many of the four numbers are in their intervals. Each must be within a tenth of its mean.
fn within(name: &str, forecast: &Forecast, outcome: &Outcome) -> usize {
    let last = forecast.rows.last().unwrap();
    let totals = &outcome.totals;
    let met = totals.met as f64 / totals.problems as f64;
    [
        ("trials", last.trials, totals.trials as f64),
        ("tokens", last.tokens.unwrap(), totals.tokens as f64),
        ("rows", last.kept, totals.kept as f64),
        ("targets", last.met, met),
    ]
    .into_iter()
    .filter(|(what, expected, actual): &(&str, Expected, f64)| {
        let error = (expected.mean - actual).abs() / actual;
        assert!(
            error < 0.1,
            "{name}, {what}: {expected:?}, and {actual} came"
        );
        // Without uncertainty, the mean still has a rounding error.
        expected.low - 1e-6 <= *actual && *actual <= expected.high + 1e-6 || error < 0.01
    })
    .count()
}

/// Forecasts from pilots of 8 trials per problem with other seeds, from the true rates, and from the run itself.
#[test]
fn what_comes_is_within_a_tenth_of_what_was_expected() {
    const PILOTS: u64 = 8;
    let rates = rates(400);
    let exact: HashMap<String, Known> = rates
        .iter()
        .enumerate()
        .map(|(index, rate)| (format!("p{index}"), Known::Rate(*rate)))
        .collect();
    let strategies: [(&str, &dyn Strategy); 3] = [
        ("uniform", &Uniform { k: 6 }),
        ("prop2diff", &Prop2Diff::with_pilot(16, 8)),
        ("vanilla", &Vanilla { trials: 20 }),
    ];
    let (mut lie_in, mut all) = (0, 0);
    for seed in 0..PILOTS {
        let pilot = run(&rates, &Vanilla { trials: 8 }, 77 + seed);
        let counts: HashMap<String, Known> = pilot
            .problems
            .iter()
            .map(|record| {
                let (trials, correct) = (record.tally.trials, record.tally.correct);
                (record.problem.id.clone(), Known::Counts { trials, correct })
            })
            .collect();
        let costs = Costs {
            tokens_per_trial: Some(pilot.totals.tokens as f64 / pilot.totals.trials as f64),
            ..Costs::default()
        };
        for (name, strategy) in strategies {
            let outcome = run(&rates, strategy, seed);
            let builder = Run::builder(problems(&rates)).strategy(strategy);
            let run = builder.limits(limits()).seed(seed).build().unwrap();
            for (basis, table) in [("counts", &counts), ("rates", &exact)] {
                let forecast = run.forecast(Basis::Table(table), costs).unwrap();
                lie_in += within(&format!("{name} by {basis}"), &forecast, &outcome);
                all += 4;
            }
            // Trials that were drawn count exactly: the forecast of a finished run has no uncertainty.
            let done = run.forecast(Basis::Trials(&outcome), Costs::default());
            let done = done.unwrap();
            let last = done.rows.last().unwrap();
            assert_eq!(last.trials.low, last.trials.high);
            assert_eq!(last.trials.mean, outcome.totals.trials as f64);
            assert_eq!(last.kept.mean, outcome.totals.kept as f64);
        }
    }
    // 95 % should be in their intervals. The four numbers of a run are correlated, so fewer are required.
    assert!(lie_in * 100 >= all * 88, "{lie_in} of {all}");
}

/// Forecasts from the first sixth of the problems. The intervals include the uncertainty about the others.
#[test]
fn a_run_that_has_begun_comes_to_what_its_first_problems_lead_to_expect() {
    const RUNS: u64 = 80;
    let strategy = Prop2Diff::with_pilot(4, 4);
    let mut covered = [0; 3];
    for seed in 0..RUNS {
        let rates = rates_of(100 + seed, 240);
        let begun = run(&rates[..40], &strategy, seed);
        let whole = run(&rates, &strategy, seed);
        let builder = Run::builder(problems(&rates)).strategy(&strategy);
        let run = builder.limits(limits()).seed(seed).build().unwrap();
        let forecast = run.forecast(Basis::Trials(&begun), Costs::default());
        let forecast = forecast.unwrap();
        assert_eq!(forecast.unknown, 200);
        let last = forecast.rows.last().unwrap();
        let totals = &whole.totals;
        let met = totals.met as f64 / totals.problems as f64;
        let numbers = [
            (last.trials, totals.trials as f64),
            (last.kept, totals.kept as f64),
            (last.met, met),
        ];
        for (at, (expected, actual)) in numbers.into_iter().enumerate() {
            covered[at] += u64::from(expected.low <= actual && actual <= expected.high);
        }
    }
    // The intervals should cover 95 %. With that coverage, at least 70 of 80 runs are covered with probability 99.8 %.
    assert!(
        covered.iter().all(|covered| *covered >= 70),
        "{covered:?} of {RUNS}"
    );
}
