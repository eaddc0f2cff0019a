//! Compares estimates with simulated complete runs: a generator with slots, trials of known lengths and pass
//! rates, and a simulated clock.

use crate::dars::summary::TrialSummary;
use crate::dars::sure::Sure;
use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::dars::allocator::Allocator;
use crate::dars::{Limits, Prop2Diff, Strategy, Uniform, Vanilla};
use crate::{Completion, Offer, Philox, Problem, Trial, Verdict, trial_seed};

const SLOTS: usize = 32;
const SEED: u64 = 3;

/// Problems of mixed difficulty in random order: a fifth easy, a fifth never or rarely solved.
fn rates(count: usize) -> Vec<f64> {
    let random = Philox::new(17);
    (0..count as u64)
        .map(
            |index| match (random.uniform(2 * index), random.uniform(2 * index + 1)) {
                (kind, rest) if kind < 0.2 => 0.9 + 0.1 * rest,
                (kind, rest) if kind < 0.7 => rest,
                (kind, rest) if kind < 0.85 => 0.1 * rest,
                (kind, _) if kind < 0.95 => 0.01,
                _ => 0.0,
            },
        )
        .collect()
}

/// The estimate at one time of a run.
struct Expectation {
    at: f64,
    sampled: u64,
    seconds: Option<f64>,
    tokens: f64,
    /// Tokens of the trials received until then.
    taken: u64,
}

struct Simulation<'a> {
    rates: &'a [f64],
    strategy: &'a dyn Strategy,
    limits: Limits,
    /// Tokens after which the run is stopped and resumed immediately.
    interrupted_at: Option<u64>,
}

impl Simulation<'_> {
    fn verdict(&self, problem: u32, number: u32) -> bool {
        let random = Philox::new(trial_seed(SEED, &format!("p{problem}"), number));
        random.uniform(0) < self.rates[problem as usize]
    }

    /// Hard problems have longer responses.
    fn length(&self, problem: u32, number: u32) -> usize {
        let random = Philox::new(trial_seed(SEED, &format!("p{problem}"), number));
        let mean = 10.0 + 40.0 * (1.0 - self.rates[problem as usize]);
        1 + (mean * 2.0 * random.uniform(1)) as usize
    }

    /// Runs to the end. Returns the estimates on the way and the total time and tokens.
    fn run(&self) -> (Vec<Expectation>, f64, u64) {
        let problems: Vec<_> = (0..self.rates.len())
            .map(|index| Arc::new(Problem::new("q", "r").with_id(format!("p{index}"))))
            .collect();
        let rules = Rules {
            strategy: self.strategy,
            limits: self.limits,
            futility: None,
            dedup: false,
            sure: Sure::new(1.0),
        };
        let mut allocator = Allocator::open(&problems, &[], rules, SEED);
        allocator.estimate();
        let mut pace = Pace::default();
        let (mut before, mut began) = (allocator.counts(), (0.0, 0));
        let (mut clock, mut sampled) = (0.0, 0u64);
        // Trial, length, tokens so far.
        let mut active: Vec<(crate::TrialId, usize, usize)> = Vec::new();
        let mut seen = Vec::new();
        let mut interruption = self.interrupted_at;
        while !allocator.all_ended() {
            if interruption.is_some_and(|at| sampled >= at) {
                interruption = None;
                for (trial, ..) in active.drain(..) {
                    allocator.requeue(trial);
                }
                // A new call has no speed yet.
                pace = Pace::default();
                before = allocator.counts();
                began = (clock, sampled);
            }
            let free = SLOTS - active.len();
            if free > 0 {
                let offer = Offer {
                    free,
                    resident: &[],
                };
                for trial in allocator.issue(offer) {
                    let length = self.length(trial.problem, trial.number);
                    active.push((trial, length, 0));
                }
            }
            assert!(!active.is_empty(), "nothing to do");
            // A step has a fixed cost and a cost per row.
            clock += 0.02 + 0.002 * active.len() as f64;
            sampled += active.len() as u64;
            let mut next = Vec::new();
            for (trial, length, tokens) in std::mem::take(&mut active) {
                if !allocator.wants(trial) {
                    allocator.requeue(trial);
                } else if tokens + 1 < length {
                    next.push((trial, length, tokens + 1));
                } else {
                    let correct = self.verdict(trial.problem, trial.number);
                    let completion = Completion {
                        tokens: vec![0; length],
                        ..Completion::text("")
                    };
                    let problem = &problems[trial.problem as usize];
                    let verdict = Verdict::new(correct, "simulated");
                    let row = Trial::new(problem, trial.number, 0, completion, verdict);
                    allocator.settle(trial.problem, TrialSummary::of(&row));
                    let counts = allocator.counts();
                    let now = Mark {
                        seconds: clock - began.0,
                        trials: counts.taken - before.taken,
                        tokens: counts.tokens - before.tokens,
                        sampled: sampled - began.1,
                    };
                    pace.mark(now);
                    if let Some(snapshot) = allocator.snapshot() {
                        allocator.install(snapshot.fit());
                    }
                    let (trials, tokens) = allocator.remaining();
                    seen.push(Expectation {
                        at: clock,
                        sampled,
                        seconds: pace.seconds(now, trials, tokens),
                        tokens,
                        taken: counts.tokens,
                    });
                }
            }
            active = next;
        }
        (seen, clock, sampled)
    }
}

/// Checks that estimates are within a factor of two, from the first fifth of a run's tokens until 7 % of its
/// time is left.
fn check(name: &str, simulation: &Simulation<'_>) {
    let (seen, time, sampled) = simulation.run();
    let taken = seen.last().unwrap().taken;
    let (mut checked, mut worst) = (0, 1.0f64);
    // After an interruption the first trials of the new call determine its speed.
    let interrupted = seen
        .iter()
        .find(|seen| {
            simulation
                .interrupted_at
                .is_some_and(|at| seen.sampled >= at)
        })
        .map(|seen| seen.at);
    let settling = interrupted.map(|at| at..at + 20.0);
    for expectation in &seen {
        let left = time - expectation.at;
        let unsettled = settling
            .as_ref()
            .is_some_and(|settling| settling.contains(&expectation.at));
        if expectation.sampled * 5 < sampled || left < 0.07 * time || unsettled {
            continue;
        }
        checked += 1;
        let seconds = expectation.seconds.unwrap() / left;
        let tokens = expectation.tokens / (taken - expectation.taken) as f64;
        for ratio in [seconds, tokens] {
            assert!(
                (0.5..=2.0).contains(&ratio),
                "{name}: {seconds:.2} of the time and {tokens:.2} of the tokens that are left, \
                 after {:.0} of {time:.0} s and {} of {sampled} tokens",
                expectation.at,
                expectation.sampled
            );
            worst = worst.max(ratio).max(1.0 / ratio);
        }
    }
    println!("{name}: {time:.0} s, {sampled} tokens, off by a factor of {worst:.2} at worst");
    assert!(checked > 100, "{name}: {checked}");
}

#[test]
fn what_is_left_is_known_within_a_factor_of_two_after_a_fifth() {
    let rates = rates(300);
    let limits = |most: u32| Limits {
        trials_per_problem: Some(most),
        ..Limits::default()
    };
    let table: HashMap<String, f64> = (0..)
        .zip(&rates)
        .map(|(index, &rate)| (format!("p{index}"), rate))
        .collect();
    let strategies: [(&str, Box<dyn Strategy>, Limits); 7] = [
        (
            "vanilla",
            Box::new(Vanilla { trials: 12 }),
            Limits::default(),
        ),
        ("uniform", Box::new(Uniform { k: 4 }), limits(256)),
        ("uniform, low limit", Box::new(Uniform { k: 4 }), limits(40)),
        (
            "uniform, giving up",
            Box::new(Uniform { k: 4 }),
            Limits {
                give_up_after: Some(50),
                ..limits(256)
            },
        ),
        ("pilot", Box::new(Prop2Diff::with_pilot(16, 8)), limits(256)),
        (
            "longer pilot",
            Box::new(Prop2Diff::with_pilot(40, 20)),
            limits(1000),
        ),
        (
            "table",
            Box::new(Prop2Diff::with_pass_rates(16, table)),
            limits(256),
        ),
    ];
    for (name, strategy, limits) in &strategies {
        for interrupted_at in [None, Some(40_000)] {
            let simulation = Simulation {
                rates: &rates,
                strategy,
                limits: *limits,
                interrupted_at,
            };
            check(name, &simulation);
        }
    }
    // Also problems of one kind.
    for rate in [0.9, 0.3, 0.05] {
        let simulation = Simulation {
            rates: &[rate; 200],
            strategy: &Prop2Diff::with_pilot(16, 8),
            limits: limits(1000),
            interrupted_at: None,
        };
        check(&format!("pilot, all {rate}"), &simulation);
    }
}

#[test]
fn few_fits_are_made_of_many_trials() {
    let mut estimator = Estimator::new(0);
    let mut fits = 0;
    for trials in 0..2_000_000 {
        if let Some(snapshot) = estimator.snapshot(trials, std::iter::empty()) {
            estimator.install(snapshot.fit());
            fits += 1;
        }
    }
    assert!((50..400).contains(&fits), "{fits}");
}

#[test]
fn a_speed_is_that_of_late() {
    let mut pace = Pace::default();
    let mark = |seconds: f64, tokens: u64| Mark {
        seconds,
        trials: tokens / 10,
        tokens,
        sampled: 2 * tokens,
    };
    pace.mark(mark(0.0, 0));
    assert_eq!(pace.seconds(mark(0.0, 0), 1.0, 10.0), None);
    // 100 tokens a second for 1,000 seconds, then 10 a second.
    let tokens = |second: u64| 100 * second.min(1000) + 10 * second.saturating_sub(1000);
    for second in 1..=2000 {
        let now = mark(second as f64, tokens(second));
        pace.mark(now);
        let expected = match second {
            1..=1000 => 100.0,
            1600.. => 10.0,
            _ => continue,
        };
        let speed = pace.speed(now) / 2.0;
        assert!((speed / expected - 1.0).abs() < 0.05, "{second} s: {speed}");
        let left = pace.seconds(now, 100.0, 1000.0).unwrap();
        assert!((left / (1000.0 / expected) - 1.0).abs() < 0.05);
    }
    assert!(pace.marks.len() < 100, "{}", pace.marks.len());
    // A generator without tokens is measured in trials.
    let mut pace = Pace::default();
    let mark = |seconds: f64, trials: u64| Mark {
        seconds,
        trials,
        ..Mark::default()
    };
    pace.mark(mark(0.0, 0));
    pace.mark(mark(4.0, 8));
    assert_eq!(pace.seconds(mark(4.0, 8), 10.0, 0.0), Some(5.0));
}
