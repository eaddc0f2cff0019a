//! Estimates the remaining work of a run: trials and tokens from what is known of the problems, and time from
//! the recent speed.
//!
//! A problem's pass rate is uncertain, especially after few trials. The distribution of all problems' pass
//! rates over a grid is therefore estimated first (empirical Bayes, by expectation maximisation). A problem's
//! own trials then weight the rates of the grid, and its need is averaged over them. A new fit is made when a
//! few per cent more trials are known. It is computed while the run continues and then applied to the
//! problems in batches. Between two fits, a trial changes only the estimate of its own problem.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Prefix;
use super::problem_state::Standing;
use super::rules::Rules;
use super::strategy::Goal;

/// The grid of pass rates.
const RATES: [f64; 24] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.05, 0.08, 0.12, 0.17, 0.23, 0.3, 0.37, 0.45,
    0.53, 0.61, 0.69, 0.77, 0.84, 0.9, 0.95, 0.98, 0.997,
];
const COUNT: usize = RATES.len();
/// Steps of a fit, starting from the previous result.
const STEPS: usize = 6;
/// The number of further successes considered for whether a problem will end for futility.
const MAX_FORESEEN: usize = 256;
/// Problems to which a new fit is applied per call.
const SWEPT: usize = 256;
/// The weight of the uniform prior over the rates, in problems. It keeps every rate possible.
const SMOOTHING: f64 = 0.5;
/// The weight of the usual trial length, in trials, when a problem's mean length is estimated.
const USUAL_TRIALS: f64 = 4.0;
/// A strategy is asked for its goal after at most this many trials. A goal further away is assumed to be the
/// last.
const MAX_PROBED: u32 = 4096;

/// The sums of what the problems are expected to need.
pub(super) struct Estimator {
    /// The probability of each rate for a problem without trials.
    prior: [f64; COUNT],
    /// Mean tokens of a trial, by the problem's rate.
    lengths: [f64; COUNT],
    /// Expected trials and tokens of each problem.
    expected: Vec<(f64, f64)>,
    sums: (f64, f64),
    /// The number of trials known when the last fit began; `None` before the first.
    fitted: Option<u64>,
    /// Whether a fit is being computed.
    is_fitting: bool,
    /// Problems with a lower index have been estimated with the last fit.
    swept: usize,
    /// Whether there has been a fit, and whether all problems have been estimated with one.
    has_fit: bool,
    is_whole: bool,
}

/// The input of a fit.
pub(super) struct Snapshot {
    prior: Weights,
    /// Trials, successes that a target counts, and tokens of each problem with trials.
    known: Vec<(u32, u32, u64)>,
}

/// The result of a fit.
pub(super) struct Fit {
    prior: Weights,
    lengths: Weights,
}

impl Snapshot {
    /// Estimates the distribution of all problems' pass rates, and the trial length by rate.
    pub(super) fn fit(self) -> Fit {
        let mut prior = self.prior;
        let likelihoods: Vec<Weights> = self
            .known
            .iter()
            .map(|(trials, eligible, _)| likelihood(*trials, *eligible))
            .collect();
        for _ in 0..STEPS {
            prior = improve(&prior, likelihoods.iter());
        }
        let (mut tokens, mut counts) = ([0.0; COUNT], [0.0; COUNT]);
        for (likelihood, (trials, _, own)) in likelihoods.iter().zip(&self.known) {
            let weights = posterior(&prior, likelihood);
            for (rate, weight) in weights.into_iter().enumerate() {
                tokens[rate] += weight * *own as f64;
                counts[rate] += weight * f64::from(*trials);
            }
        }
        let mean = tokens.iter().sum::<f64>() / counts.iter().sum::<f64>().max(1.0);
        let mut lengths = [0.0; COUNT];
        for (length, (tokens, count)) in lengths.iter_mut().zip(tokens.iter().zip(counts)) {
            *length = (tokens + USUAL_TRIALS * mean) / (count + USUAL_TRIALS);
        }
        Fit { prior, lengths }
    }
}

impl Estimator {
    pub(super) fn new(problems: usize) -> Self {
        Estimator {
            prior: [1.0 / COUNT as f64; COUNT],
            lengths: [0.0; COUNT],
            expected: vec![(0.0, 0.0); problems],
            sums: (0.0, 0.0),
            fitted: None,
            is_fitting: false,
            swept: 0,
            has_fit: false,
            is_whole: false,
        }
    }

    /// Begins a fit if enough new trials are known. The fit is slow, so it is computed elsewhere and has no
    /// effect until it is [`install`](Self::install)ed.
    pub(super) fn snapshot<'s>(
        &mut self,
        trials: u64,
        standings: impl Iterator<Item = Standing<'s>>,
    ) -> Option<Snapshot> {
        let is_stale = self
            .fitted
            .is_none_or(|fitted| trials >= fitted + (fitted / 32).max(16));
        let is_applied = !self.has_fit || self.swept == self.expected.len();
        if !is_stale || self.is_fitting || !is_applied {
            return None;
        }
        self.fitted = Some(trials);
        self.is_fitting = true;
        let known = standings.filter(|standing| standing.trials > 0);
        Some(Snapshot {
            prior: self.prior,
            known: known.map(|s| (s.trials, s.eligible, s.tokens)).collect(),
        })
    }

    /// Uses a fit from now on.
    pub(super) fn install(&mut self, fit: Fit) {
        (self.prior, self.lengths) = (fit.prior, fit.lengths);
        (self.is_fitting, self.has_fit) = (false, true);
        self.swept = 0;
    }

    /// Returns the trials and tokens that all problems together are still expected to need. Each call applies
    /// the last fit to a limited number of problems, so that no call takes long.
    pub(super) fn sums<'s>(
        &mut self,
        rules: &Rules<'_>,
        standing: impl Fn(usize) -> Standing<'s>,
    ) -> (f64, f64) {
        if !self.has_fit {
            return (0.0, 0.0);
        }
        let end = self.expected.len().min(self.swept + SWEPT);
        while self.swept < end {
            self.swept += 1;
            self.update(self.swept - 1, &standing(self.swept - 1), rules);
        }
        self.is_whole |= self.swept == self.expected.len();
        // Until all problems have been estimated, extrapolate from those that have been.
        let share = match self.is_whole {
            true => 1.0,
            false => self.expected.len() as f64 / self.swept.max(1) as f64,
        };
        let (trials, tokens) = self.sums;
        ((share * trials).max(0.0), (share * tokens).max(0.0))
    }

    /// Updates the estimate of one problem.
    pub(super) fn update(&mut self, index: usize, standing: &Standing<'_>, rules: &Rules<'_>) {
        if !self.is_whole && index >= self.swept {
            return;
        }
        let new = self.expectation(standing, rules);
        let old = std::mem::replace(&mut self.expected[index], new);
        self.sums.0 += new.0 - old.0;
        self.sums.1 += new.1 - old.1;
    }

    fn expectation(&self, standing: &Standing<'_>, rules: &Rules<'_>) -> (f64, f64) {
        let Some(goal) = standing.goal else {
            return (0.0, 0.0);
        };
        let likelihood = likelihood(standing.trials, standing.eligible);
        let weights = posterior(&self.prior, &likelihood);
        let own = (standing.tokens as f64, f64::from(standing.trials));
        let mut needs = Needs::new(standing, goal, rules);
        let (mut trials, mut tokens) = (0.0, 0.0);
        for (index, (weight, rate)) in weights.into_iter().zip(RATES).enumerate() {
            if weight > 1e-6 {
                let need = weight * needs.at(rate);
                let usual = USUAL_TRIALS * self.lengths[index];
                trials += need;
                tokens += need * (own.0 + usual) / (own.1 + USUAL_TRIALS);
            }
        }
        (trials, tokens)
    }
}

/// The probability of each rate.
pub(super) type Weights = [f64; COUNT];

/// Fits the distribution of rates to problems' counts (trials, successes). Uniform if there are none.
pub(super) fn fit_prior(counts: &[(u32, u32)]) -> Weights {
    // Starting from uniform weights takes more steps than from the previous fit.
    const FIRST_STEPS: usize = 30;
    let known: Vec<Weights> = counts
        .iter()
        .map(|(trials, successes)| likelihood(*trials, *successes))
        .collect();
    let mut prior = [1.0 / COUNT as f64; COUNT];
    for _ in 0..FIRST_STEPS {
        prior = improve(&prior, known.iter());
    }
    prior
}

/// Performs one step of expectation maximisation.
fn improve<'w>(prior: &Weights, known: impl Iterator<Item = &'w Weights>) -> Weights {
    let mut sums = [SMOOTHING / COUNT as f64; COUNT];
    for likelihood in known {
        for (sum, weight) in sums.iter_mut().zip(posterior(prior, likelihood)) {
            *sum += weight;
        }
    }
    let total: f64 = sums.iter().sum();
    sums.map(|sum| sum / total)
}

/// Draws a rate of a problem with these trials. `uniform` is a random number from 0 to 1.
pub(super) fn draw_rate(prior: &Weights, trials: u32, successes: u32, uniform: f64) -> f64 {
    let weights = posterior(prior, &likelihood(trials, successes));
    let mut left = uniform;
    for (weight, rate) in weights.into_iter().zip(RATES) {
        left -= weight;
        if left < 0.0 {
            return rate;
        }
    }
    RATES[COUNT - 1]
}

/// Draws one of the rates uniformly.
pub(super) fn any_rate(uniform: f64) -> f64 {
    RATES[((uniform * COUNT as f64) as usize).min(COUNT - 1)]
}

/// The likelihood of these counts at each rate, relative to the highest.
fn likelihood(trials: u32, successes: u32) -> Weights {
    let (hits, misses) = (
        f64::from(successes),
        f64::from(trials.saturating_sub(successes)),
    );
    let logs = RATES.map(|rate| hits * rate.ln() + misses * (1.0 - rate).ln());
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logs.map(|log| (log - most).exp())
}

fn posterior(prior: &Weights, likelihood: &Weights) -> Weights {
    let mut weights = [0.0; COUNT];
    for (weight, (prior, likelihood)) in weights.iter_mut().zip(prior.iter().zip(likelihood)) {
        *weight = prior * likelihood;
    }
    let total: f64 = weights.iter().sum();
    weights.map(|weight| weight / total)
}

/// What a problem needs, as a function of its pass rate.
struct Needs<'s> {
    standing: &'s Standing<'s>,
    goal: Goal,
    rules: &'s Rules<'s>,
    /// Trials left by the limit per problem.
    left: f64,
    /// Goals after the trials of the present goal, by the number of successes in them.
    later: Vec<(u32, Goal)>,
    /// The number of trials that ends it for futility, by the number of successes.
    futile: Option<Arc<[u32]>>,
}

impl<'s> Needs<'s> {
    fn new(standing: &'s Standing<'s>, goal: Goal, rules: &'s Rules<'s>) -> Self {
        let most = rules.limits.trials_per_problem.unwrap_or(u32::MAX);
        Needs {
            standing,
            goal,
            rules,
            left: f64::from(most.saturating_sub(standing.trials)),
            later: Vec::new(),
            futile: match (&rules.futility, goal) {
                (Some(futility), Goal::Correct(target)) => {
                    let count = standing.eligible as usize + MAX_FORESEEN;
                    Some(futility.of_target(target, count))
                }
                _ => None,
            },
        }
    }

    /// Returns the mean number of trials needed if each succeeds with this probability.
    fn at(&mut self, rate: f64) -> f64 {
        let need = match self.goal {
            Goal::Stop => 0.0,
            Goal::Correct(goal) => self.successes(goal, self.standing.eligible, rate),
            Goal::Trials(goal) => {
                let first = f64::from(goal.saturating_sub(self.standing.trials));
                let hits = (first * rate).round() as u32;
                let later = match self.goal_after(goal, hits) {
                    Goal::Correct(next) => {
                        self.successes(next, self.standing.eligible + hits, rate)
                    }
                    Goal::Trials(next) => f64::from(next.saturating_sub(goal)),
                    Goal::Stop => 0.0,
                };
                first + later
            }
        };
        let need = need.min(self.left).min(self.until_futile(rate));
        match self.rules.limits.give_up_after {
            Some(most) if self.standing.eligible == 0 => {
                let until = f64::from(most.saturating_sub(self.standing.trials)).min(need);
                let hopeless = (1.0 - rate).powf(until);
                hopeless * until + (1.0 - hopeless) * need
            }
            _ => need,
        }
    }

    fn successes(&self, goal: u32, known: u32, rate: f64) -> f64 {
        f64::from(goal.saturating_sub(known)) / rate
    }

    /// Trials until the problem ends for futility, assuming evenly spaced successes.
    fn until_futile(&self, rate: f64) -> f64 {
        let Some(ends) = &self.futile else {
            return f64::INFINITY;
        };
        let trials = f64::from(self.standing.trials);
        let later = ends.iter().skip(self.standing.eligible as usize);
        let mut ends = later.map(|end| f64::from(*end) - trials);
        let mut successes = 0.0;
        let end = ends.find(|end| {
            successes += 1.0;
            successes / rate > *end
        });
        end.map_or(f64::INFINITY, |end| end.max(1.0))
    }

    /// Returns the strategy's goal after `trials` trials with `hits` further successes.
    fn goal_after(&mut self, trials: u32, hits: u32) -> Goal {
        if let Some(&(_, goal)) = self.later.iter().find(|(known, _)| *known == hits) {
            return goal;
        }
        let least = self.standing.verdicts.len();
        let within = trials <= MAX_PROBED && (trials as usize) >= least;
        let goal = match within && f64::from(trials) <= self.left + f64::from(self.standing.trials)
        {
            // Assume that the goal is then met, since what follows is unknown.
            false => Goal::Trials(trials),
            true => {
                let mut verdicts = self.standing.verdicts.to_vec();
                let correct = verdicts.iter().filter(|&&correct| correct).count();
                let ahead = (self.standing.eligible as usize).saturating_sub(correct);
                verdicts.resize((least + ahead + hits as usize).min(trials as usize), true);
                verdicts.resize(trials as usize, false);
                let prefix = Prefix::new(&verdicts);
                self.rules.strategy.goal(self.standing.problem, prefix)
            }
        };
        self.later.push((hits, goal));
        goal
    }
}

/// The speed of a run over its last quarter, and over at least [`MIN_WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Progress over time, oldest first.
    marks: VecDeque<Mark>,
}

/// The progress of a run at one time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark {
    /// Seconds since the run began.
    pub(super) seconds: f64,
    /// Trials received, and their tokens.
    pub(super) trials: u64,
    pub(super) tokens: u64,
    /// All sampled tokens, including those of trials that were not needed.
    pub(super) sampled: u64,
}

/// The minimum time, in seconds, over which a speed is measured.
const MIN_WINDOW: f64 = 10.0;

impl Pace {
    /// Records the current progress.
    pub(super) fn mark(&mut self, now: Mark) {
        let window = (now.seconds / 4.0).max(MIN_WINDOW);
        let spaced = |last: &Mark| now.seconds - last.seconds >= window / 64.0;
        if self.marks.back().is_none_or(spaced) {
            self.marks.push_back(now);
        }
        // Keep the last mark before the window as the first one.
        while self
            .marks
            .get(1)
            .is_some_and(|second| now.seconds - second.seconds >= window)
        {
            self.marks.pop_front();
        }
    }

    /// Returns the progress since the window began, and its duration.
    fn recent(&self, now: Mark) -> Mark {
        let from = self.marks.front().copied().unwrap_or_default();
        Mark {
            seconds: now.seconds - from.seconds,
            trials: now.trials.saturating_sub(from.trials),
            tokens: now.tokens.saturating_sub(from.tokens),
            sampled: now.sampled.saturating_sub(from.sampled),
        }
    }

    /// Returns the tokens sampled per second.
    pub(super) fn speed(&self, now: Mark) -> f64 {
        let recent = self.recent(now);
        match recent.seconds > 0.0 {
            true => recent.sampled as f64 / recent.seconds,
            false => 0.0,
        }
    }

    /// Returns the seconds that this many trials or tokens take at the present speed. Tokens are used unless
    /// the generator does not report them. `None` if there is no speed yet.
    pub(super) fn seconds(&self, now: Mark, trials: f64, tokens: f64) -> Option<f64> {
        let recent = self.recent(now);
        let (done, left) = match recent.tokens > 0 {
            true => (recent.tokens as f64, tokens),
            false => (recent.trials as f64, trials),
        };
        (done > 0.0 && recent.seconds > 0.0).then(|| left * recent.seconds / done)
    }
}

#[cfg(test)]
mod tests;
