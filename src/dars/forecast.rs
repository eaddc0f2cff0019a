//! Forecasts what a run takes and yields, before it is made.
//!
//! Problems are simulated. Each draws its verdicts with its pass rate, its strategy is asked after each
//! verdict as in a run, and it ends where the run would end it. If a pass rate is not known but estimated
//! from trials, each simulation draws a new one given the problem's own trials. The prior is the distribution
//! of all problems' rates (empirical Bayes). It is fitted in each simulation to a bootstrap resample of the
//! problems, to which one problem of a random rate is added. The intervals thus cover both the uncertainty of
//! the rates and chance.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::estimate::{self, Weights};
use super::rules::{Counts, Rules};
use super::strategy::{Goal, Prefix};
use super::{Outcome, Problem};
use crate::{Error, ErrorKind, Philox, Result, StopReason, trial_seed};

/// The number of simulations for means and intervals. With 39, a further one would be the lowest or highest
/// of all once in 20 times, so the interval from the lowest to the highest has 95 %.
const SIMULATIONS: usize = 39;
/// The trial limit of the simulation for problems without a limit.
const USUAL_LIMIT: u32 = 8192;
/// The maximum trial limit of the simulation.
const MAX_TRIALS: u32 = 65_536;
/// Trials of the problem that is added to the resample.
const UNSEEN_TRIALS: u32 = 100;
/// The weight of the usual trial length, in trials, when a problem's mean length is estimated.
const USUAL_TRIALS: f64 = 4.0;

/// What is known of a problem's pass rate before a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Known {
    /// The rate itself, from 0 to 1.
    Rate(f64),
    /// Trials, and how many of them were correct.
    Counts {
        /// The number of trials.
        trials: u32,
        /// The number of correct trials.
        correct: u32,
    },
}

/// The data on which a forecast is based.
#[derive(Debug, Clone, Copy)]
pub enum Basis<'a> {
    /// A table of pass rates or counts by problem id, for example from a pilot. Problems that are not in it
    /// are assumed to be like the others.
    Table(&'a HashMap<String, Known>),
    /// The trials of the run so far, for example an outcome of [`Run::select`](super::Run::select). They are
    /// counted as they are, and the rest is simulated.
    Trials(&'a Outcome),
}

/// The cost of trials, if the basis does not determine it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Costs {
    /// The mean number of tokens of a trial.
    pub tokens_per_trial: Option<f64>,
    /// The number of tokens sampled per second.
    pub tokens_per_second: Option<f64>,
}

/// A mean and a 95 % prediction interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Expected {
    /// The mean.
    pub mean: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// The forecast for one limit of trials per problem.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ForecastRow {
    /// The limit of trials per problem.
    pub trials_per_problem: u32,
    /// The trials that count.
    pub trials: Expected,
    /// Their tokens, if the length of a trial is known.
    pub tokens: Option<Expected>,
    /// The time that they take, in seconds, if the speed is known as well.
    pub seconds: Option<Expected>,
    /// Rows of the data set.
    pub kept: Expected,
    /// The share of problems that meet their target, from 0 to 1.
    pub met: Expected,
}

/// The forecast of a run. See [`Run::forecast`](super::Run::forecast).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// One row per limit of trials per problem: powers of 2, then the run's own limit (8,192 if it has none,
    /// at most 65,536).
    pub rows: Vec<ForecastRow>,
    /// The number of problems about which nothing is known.
    pub unknown: usize,
}

/// The sums of one simulation under one limit.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    trials: f64,
    tokens: f64,
    kept: f64,
    met: f64,
}

/// A problem and what is known about it.
struct Subject<'a> {
    problem: &'a Problem,
    known: Option<Known>,
    /// Verdicts of trials that already exist.
    verdicts: &'a [bool],
    tokens_per_trial: f64,
}

pub(super) fn forecast<'a>(
    problems: impl Iterator<Item = &'a Problem>,
    rules: &Rules<'_>,
    seed: u64,
    basis: Basis<'a>,
    costs: Costs,
) -> Result<Forecast> {
    let (subjects, has_tokens) = subjects(problems, basis, costs)?;
    let counts: Vec<(u32, u32)> = subjects
        .iter()
        .filter_map(|subject| match subject.known? {
            Known::Counts { trials, correct } if trials > 0 => Some((trials, correct)),
            Known::Rate(_) | Known::Counts { .. } => None,
        })
        .collect();
    let unknown = subjects.iter().filter(|it| it.known.is_none()).count();
    if unknown == subjects.len() {
        let reason = "nothing is known of any problem's pass rate";
        return Err(Error::new(ErrorKind::Data, reason));
    }
    if counts.is_empty() && unknown > 0 {
        let reason = format!("of {unknown} problems no pass rate is known");
        return Err(Error::new(ErrorKind::Data, reason));
    }
    let most = rules
        .limits
        .trials_per_problem
        .unwrap_or(USUAL_LIMIT)
        .min(MAX_TRIALS);
    let mut limits: Vec<u32> = (0..)
        .map(|power| 1 << power)
        .take_while(|it| *it < most)
        .collect();
    limits.push(most);
    let simulations: Vec<Vec<Sums>> = (0..SIMULATIONS)
        .into_par_iter()
        .map(|number| {
            let random = Philox::new(trial_seed(seed, "forecast", number as u32));
            let prior = estimate::fit_prior(&resample(&counts, &random));
            let mut sums = vec![Sums::default(); limits.len()];
            for subject in &subjects {
                let key = trial_seed(seed, &subject.problem.id, u32::MAX - number as u32);
                subject.simulate(&Philox::new(key), &prior, rules, &limits, &mut sums);
            }
            sums
        })
        .collect();
    let expected = |at: usize, of: &dyn Fn(&Sums) -> f64| {
        let values: Vec<f64> = simulations.iter().map(|sums| of(&sums[at])).collect();
        Expected {
            mean: values.iter().sum::<f64>() / values.len() as f64,
            low: values.iter().copied().fold(f64::INFINITY, f64::min),
            high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    let speed = costs.tokens_per_second.or(match basis {
        Basis::Trials(outcome) => speed(outcome),
        Basis::Table(_) => None,
    });
    let count = subjects.len() as f64;
    let rows = limits.iter().enumerate().map(|(at, limit)| ForecastRow {
        trials_per_problem: *limit,
        trials: expected(at, &|sums| sums.trials),
        tokens: has_tokens.then(|| expected(at, &|sums| sums.tokens)),
        seconds: speed
            .filter(|speed| has_tokens && *speed > 0.0)
            .map(|speed| expected(at, &|sums| sums.tokens / speed)),
        kept: expected(at, &|sums| sums.kept),
        met: expected(at, &|sums| sums.met / count),
    });
    Ok(Forecast {
        rows: rows.collect(),
        unknown,
    })
}

/// Returns the tokens per second over all calls of a run.
fn speed(outcome: &Outcome) -> Option<f64> {
    let ended = || {
        outcome
            .sessions
            .iter()
            .filter_map(|it| Some((it, it.seconds?)))
    };
    let seconds: f64 = ended().map(|(_, seconds)| seconds).sum();
    let tokens: u64 = ended().map(|(session, _)| session.tokens_sampled).sum();
    (seconds > 0.0 && tokens > 0).then(|| tokens as f64 / seconds)
}

/// Returns the problems with what is known about them, and whether the length of trials is known.
fn subjects<'a>(
    problems: impl Iterator<Item = &'a Problem>,
    basis: Basis<'a>,
    costs: Costs,
) -> Result<(Vec<Subject<'a>>, bool)> {
    let usual = match basis {
        Basis::Trials(outcome) if outcome.totals.tokens > 0 => {
            Some(outcome.totals.tokens as f64 / outcome.totals.trials.max(1) as f64)
        }
        Basis::Trials(_) | Basis::Table(_) => None,
    };
    let usual = costs.tokens_per_trial.or(usual);
    let subject = |problem: &'a Problem| {
        let mut subject = Subject {
            problem,
            known: None,
            verdicts: &[],
            tokens_per_trial: usual.unwrap_or(0.0),
        };
        match basis {
            Basis::Table(table) => {
                subject.known = table.get(&problem.id).copied();
                if let Some(known) = subject.known {
                    check(&problem.id, known)?;
                }
            }
            Basis::Trials(outcome) => {
                if let Some(index) = outcome.indices.get(&problem.id) {
                    let closed = &outcome.closed[*index as usize];
                    subject.verdicts = &closed.verdicts;
                    let correct = closed.verdicts.iter().filter(|correct| **correct).count();
                    let trials = closed.verdicts.len();
                    subject.known = (trials > 0).then_some(Known::Counts {
                        trials: u32::try_from(trials).unwrap_or(u32::MAX),
                        correct: u32::try_from(correct).unwrap_or(u32::MAX),
                    });
                    if costs.tokens_per_trial.is_none() {
                        let own = (closed.tokens as f64, trials as f64);
                        subject.tokens_per_trial = (own.0
                            + USUAL_TRIALS * subject.tokens_per_trial)
                            / (own.1 + USUAL_TRIALS);
                    }
                }
            }
        }
        Ok(subject)
    };
    Ok((
        problems.map(subject).collect::<Result<_>>()?,
        usual.is_some(),
    ))
}

fn check(id: &str, known: Known) -> Result<()> {
    let reason = match known {
        Known::Rate(rate) if !(0.0..=1.0).contains(&rate) => {
            format!("the pass rate of problem {id:?} is {rate}, not from 0 to 1")
        }
        Known::Counts { trials, correct } if correct > trials => {
            format!("problem {id:?} has {correct} correct trials of {trials}")
        }
        Known::Rate(_) | Known::Counts { .. } => return Ok(()),
    };
    Err(Error::new(ErrorKind::Data, reason))
}

/// Draws as many problems, with replacement, from the given ones and an added one. The added one allows for
/// problems of a kind that was not observed.
fn resample(counts: &[(u32, u32)], random: &Philox) -> Vec<(u32, u32)> {
    let count = counts.len() as u64;
    let unseen = estimate::any_rate(random.uniform(count));
    let unseen = (
        UNSEEN_TRIALS,
        (f64::from(UNSEEN_TRIALS) * unseen).round() as u32,
    );
    (0..count)
        .map(|at| random.below(at, count + 1) as usize)
        .map(|drawn| counts.get(drawn).copied().unwrap_or(unseen))
        .collect()
}

impl Subject<'_> {
    /// Simulates the problem and adds its result under each limit.
    fn simulate(
        &self,
        random: &Philox,
        prior: &Weights,
        rules: &Rules<'_>,
        limits: &[u32],
        sums: &mut [Sums],
    ) {
        let rate = match self.known {
            Some(Known::Rate(rate)) => rate,
            Some(Known::Counts { trials, correct }) => {
                estimate::draw_rate(prior, trials, correct, random.uniform(0))
            }
            None => estimate::draw_rate(prior, 0, 0, random.uniform(0)),
        };
        let mut verdicts: Vec<bool> = Vec::new();
        let mut correct = 0;
        let mut limits = limits.iter().zip(sums).peekable();
        // The existing trials count whatever the limit.
        let add = |sums: &mut Sums, trials: u32, kept: u32, met: bool| {
            sums.trials += f64::from(trials);
            sums.tokens += f64::from(trials) * self.tokens_per_trial;
            sums.kept += f64::from(kept);
            sums.met += f64::from(u8::from(met));
        };
        let (mut before, mut goal_since) = (Goal::Stop, 0);
        loop {
            let trials = verdicts.len() as u32;
            let prefix = Prefix::counted(&verdicts, correct);
            let goal = rules.strategy.goal(self.problem, prefix);
            let kept = match goal {
                Goal::Correct(target) => correct.min(target),
                Goal::Trials(_) | Goal::Stop => correct,
            };
            if goal != before {
                (before, goal_since) = (goal, trials);
            }
            let counts = Counts {
                trials,
                correct,
                eligible: correct,
                tokens: (f64::from(trials) * self.tokens_per_trial) as u64,
                goal_since,
            };
            // The last of `limits` is the run's limit of trials per problem.
            let reason = rules.ended(goal, counts);
            if let Some(reason) = reason.filter(|it| *it != StopReason::TrialLimit) {
                let met = matches!(reason, StopReason::TargetMet | StopReason::TrialsDone);
                for (_, sums) in limits {
                    add(sums, trials, kept, met);
                }
                return;
            }
            while let Some((_, sums)) = limits.next_if(|(limit, _)| **limit <= trials) {
                add(sums, trials, kept, false);
            }
            if limits.peek().is_none() {
                return;
            }
            let at = verdicts.len();
            let verdict = match self.verdicts.get(at) {
                Some(verdict) => *verdict,
                None => random.uniform(1 + at as u64) < rate,
            };
            verdicts.push(verdict);
            correct += u32::from(verdict);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dars::{Limits, Prop2Diff, Run, Strategy, Uniform, Vanilla};

    fn problems(count: usize) -> Vec<Problem> {
        let problem = |index: usize| Problem::new("q", "r").with_id(index.to_string());
        (0..count).map(problem).collect()
    }

    fn rates(count: usize) -> HashMap<String, Known> {
        let rate = |index: usize| (index as f64 + 0.5) / count as f64;
        (0..count)
            .map(|index| (index.to_string(), Known::Rate(rate(index))))
            .collect()
    }

    fn expect(strategy: &dyn Strategy, most: u32, table: &HashMap<String, Known>) -> Forecast {
        let limits = Limits {
            trials_per_problem: Some(most),
            ..Limits::default()
        };
        let run = Run::builder(problems(50)).strategy(strategy).limits(limits);
        let costs = Costs {
            tokens_per_trial: Some(10.0),
            tokens_per_second: Some(100.0),
        };
        let run = run.build().unwrap();
        run.forecast(Basis::Table(table), costs).unwrap()
    }

    #[test]
    fn expectations_are_those_of_the_distributions() {
        let table = rates(50);
        let vanilla = expect(&Vanilla { trials: 20 }, 64, &table);
        let last = vanilla.rows.last().unwrap();
        assert_eq!((last.trials.mean, last.trials.low), (1000.0, 1000.0));
        assert_eq!(last.tokens.unwrap().mean, 10_000.0);
        assert_eq!(last.seconds.unwrap().mean, 100.0);
        assert_eq!(last.met.mean, 1.0);
        assert!((last.kept.mean - 500.0).abs() < 20.0, "{last:?}");
        assert!(last.kept.low < last.kept.mean && last.kept.mean < last.kept.high);
        // Negative binomial, truncated at the limit: E min(T, n) = sum over m < n of P(fewer than k of m).
        let uniform = expect(&Uniform { k: 2 }, 64, &table);
        for row in &uniform.rows {
            let (mut trials, mut met) = (0.0, 0.0);
            for known in table.values() {
                let Known::Rate(p) = known else { continue };
                let few = |m: u32| {
                    (1.0 - p).powi(m as i32) + f64::from(m) * p * (1.0 - p).powi(m as i32 - 1)
                };
                trials += (0..row.trials_per_problem).map(few).sum::<f64>();
                met += (1.0 - few(row.trials_per_problem)) / 50.0;
            }
            let close = |it: Expected, of: f64| (it.mean - of).abs() <= 0.05 * of + 0.02;
            assert!(close(row.trials, trials), "{row:?}: {trials}");
            assert!(close(row.met, met), "{row:?}: {met}");
        }
        let limits: Vec<u32> = uniform
            .rows
            .iter()
            .map(|row| row.trials_per_problem)
            .collect();
        assert_eq!(limits, [1, 2, 4, 8, 16, 32, 64]);
    }

    #[test]
    fn what_is_known_from_a_few_trials_is_less_certain_than_a_rate() {
        let counts = |trials: u32| -> HashMap<String, Known> {
            let count = |index: u32| Known::Counts {
                trials,
                correct: (index * (trials + 1) / 50).min(trials),
            };
            (0..50)
                .map(|index| (index.to_string(), count(index)))
                .collect()
        };
        let strategy = Prop2Diff::with_pilot(12, 4);
        let width = |table: &HashMap<String, Known>| {
            let forecast = expect(&strategy, 256, table);
            let trials = forecast.rows.last().unwrap().trials;
            assert!(trials.low < trials.mean && trials.mean < trials.high);
            (trials.high - trials.low) / trials.mean
        };
        assert!(width(&counts(4)) > width(&counts(400)));
        // Problems that are not in the table are assumed to be like the others.
        let mut few = counts(8);
        few.retain(|id, _| id.len() == 1);
        assert_eq!(expect(&strategy, 64, &few).unknown, 40);
    }

    #[test]
    fn bad_tables_are_refused() {
        let run = || {
            Run::builder(problems(2))
                .strategy(Uniform { k: 1 })
                .build()
                .unwrap()
        };
        let refuse = |known: &[(&str, Known)], reason: &str| {
            let table = known
                .iter()
                .map(|(id, known)| ((*id).to_owned(), *known))
                .collect();
            let error = run().forecast(Basis::Table(&table), Costs::default());
            let error = error.unwrap_err();
            assert!(error.to_string().contains(reason), "{error}");
        };
        refuse(&[], "nothing is known");
        refuse(&[("0", Known::Rate(1.5))], "problem \"0\" is 1.5");
        refuse(&[("0", Known::Rate(0.5))], "of 1 problems no pass rate");
        let counts = Known::Counts {
            trials: 1,
            correct: 2,
        };
        refuse(&[("1", counts)], "2 correct trials of 1");
    }
}
