//! What the rest of a run is expected to take: trials and tokens from what is known of the problems,
//! and time from how fast the last of them went.
//!
//! Each problem's pass rate is uncertain, the more so the fewer trials it has had. So the pass rates
//! of all problems are estimated first, as a distribution over a grid of rates (empirical Bayes, by
//! expectation maximisation); a problem's own trials then say which of them are likely its own, and
//! its need is averaged over these. That is fitted anew when a few per cent more trials are known, beside the
//! run, and applied to some problems after the other; between two fits a trial changes the estimate of its own
//! problem only.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Prefix;
use super::problem_state::Standing;
use super::rules::Rules;
use super::strategy::Goal;

/// The pass rates that a problem may have.
const RATES: [f64; 24] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.05, 0.08, 0.12, 0.17, 0.23, 0.3, 0.37, 0.45,
    0.53, 0.61, 0.69, 0.77, 0.84, 0.9, 0.95, 0.98, 0.997,
];
const COUNT: usize = RATES.len();
/// Steps of a fit, which begins at the last one's result.
const STEPS: usize = 6;
/// So many further successes are looked at for whether a problem will end for futility.
const MAX_FORESEEN: usize = 256;
/// Problems that a new fit is applied to at once.
const SWEPT: usize = 256;
/// As many problems, spread evenly over the rates, are added to those that are known, so that no rate
/// is impossible.
const SMOOTHING: f64 = 0.5;
/// As many trials of the usual length are added to a problem's own when its mean length is estimated.
const USUAL_TRIALS: f64 = 4.0;
/// A strategy is asked for its goal after so many trials at most; where its present goal is further
/// away, that one is taken for its last.
const MAX_PROBED: u32 = 4096;

/// Sums of what the problems are expected to take.
pub(super) struct Estimator {
    /// How probable each rate is for a problem without trials.
    prior: [f64; COUNT],
    /// Mean tokens of a trial of a problem of each rate.
    lengths: [f64; COUNT],
    /// Trials and tokens of each problem.
    expected: Vec<(f64, f64)>,
    sums: (f64, f64),
    /// Trials known at the last fit that was begun; none before the first.
    fitted: Option<u64>,
    /// Whether a fit is being worked out.
    is_fitting: bool,
    /// The problems below were estimated by the last fit.
    swept: usize,
    /// Whether there was a fit, and whether all problems were estimated by one.
    has_fit: bool,
    is_whole: bool,
}

/// What a fit is worked out from.
pub(super) struct Snapshot {
    prior: Weights,
    /// Trials, those that a target counts, and tokens of each problem that has any.
    known: Vec<(u32, u32, u64)>,
}

/// What it comes to.
pub(super) struct Fit {
    prior: Weights,
    lengths: Weights,
}

impl Snapshot {
    /// Estimates how the pass rates of all problems are distributed, and how long trials are by rate.
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

    /// Begins a fit, where enough has become known since the last one: it takes a while, and nothing of this
    /// until it is [`install`](Self::install)ed.
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

    /// Goes by a fit from now on.
    pub(super) fn install(&mut self, fit: Fit) {
        (self.prior, self.lengths) = (fit.prior, fit.lengths);
        (self.is_fitting, self.has_fit) = (false, true);
        self.swept = 0;
    }

    /// Trials and tokens that all problems together are expected to take yet. Of the problems that the last
    /// fit was not applied to some are estimated by it, so that no call takes long.
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
        // Before all were estimated once: as if the others were like those that were.
        let share = match self.is_whole {
            true => 1.0,
            false => self.expected.len() as f64 / self.swept.max(1) as f64,
        };
        let (trials, tokens) = self.sums;
        ((share * trials).max(0.0), (share * tokens).max(0.0))
    }

    /// Estimates anew what one problem is expected to take.
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

/// How probable each rate is.
pub(super) type Weights = [f64; COUNT];

/// How rates are distributed over problems of which so many of so many trials succeeded; evenly where there are
/// none.
pub(super) fn fit_prior(counts: &[(u32, u32)]) -> Weights {
    // From even weights it takes more steps than from the last fit's.
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

/// One step of expectation maximisation.
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

/// A rate of a problem with these trials; `uniform` is a random number from 0 to 1.
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

/// Any of the rates.
pub(super) fn any_rate(uniform: f64) -> f64 {
    RATES[((uniform * COUNT as f64) as usize).min(COUNT - 1)]
}

/// How probable so many successes in so many trials are at each rate, relative to the most probable.
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

/// What a problem needs at one pass rate or another.
struct Needs<'s> {
    standing: &'s Standing<'s>,
    goal: Goal,
    rules: &'s Rules<'s>,
    /// Trials that its own limit leaves.
    left: f64,
    /// Goals after the trials of the present one, by the number of successes in them.
    later: Vec<(u32, Goal)>,
    /// Where it ends for futility, by the number of successes.
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

    /// Trials that it takes on average where each succeeds with this probability.
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

    /// Trials until the problem is ended for futility where its successes come as evenly as they can.
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

    /// The strategy's goal when it has so many trials, of which so many more succeed.
    fn goal_after(&mut self, trials: u32, hits: u32) -> Goal {
        if let Some(&(_, goal)) = self.later.iter().find(|(known, _)| *known == hits) {
            return goal;
        }
        let least = self.standing.verdicts.len();
        let within = trials <= MAX_PROBED && (trials as usize) >= least;
        let goal = match within && f64::from(trials) <= self.left + f64::from(self.standing.trials)
        {
            // It is met then, whatever follows is not known.
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

/// How fast a run is: over its last quarter, and not less than [`MIN_WINDOW`].
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What was done when, oldest first.
    marks: VecDeque<Mark>,
}

/// What a run has done at some time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark {
    /// Seconds since it began.
    pub(super) seconds: f64,
    /// Trials that were taken, and their tokens.
    pub(super) trials: u64,
    pub(super) tokens: u64,
    /// All tokens that were sampled, those of trials that were not needed included.
    pub(super) sampled: u64,
}

/// The shortest time, in seconds, over which a speed is measured.
const MIN_WINDOW: f64 = 10.0;

impl Pace {
    /// Notes where the run stands.
    pub(super) fn mark(&mut self, now: Mark) {
        let window = (now.seconds / 4.0).max(MIN_WINDOW);
        let spaced = |last: &Mark| now.seconds - last.seconds >= window / 64.0;
        if self.marks.back().is_none_or(spaced) {
            self.marks.push_back(now);
        }
        // The oldest is the last one that the window does not reach.
        while self
            .marks
            .get(1)
            .is_some_and(|second| now.seconds - second.seconds >= window)
        {
            self.marks.pop_front();
        }
    }

    /// What was done since the window began, and in which time.
    fn recent(&self, now: Mark) -> Mark {
        let from = self.marks.front().copied().unwrap_or_default();
        Mark {
            seconds: now.seconds - from.seconds,
            trials: now.trials.saturating_sub(from.trials),
            tokens: now.tokens.saturating_sub(from.tokens),
            sampled: now.sampled.saturating_sub(from.sampled),
        }
    }

    /// Tokens sampled a second.
    pub(super) fn speed(&self, now: Mark) -> f64 {
        let recent = self.recent(now);
        match recent.seconds > 0.0 {
            true => recent.sampled as f64 / recent.seconds,
            false => 0.0,
        }
    }

    /// Seconds that so many trials, of so many tokens, take at the present speed; by tokens, unless
    /// the generator has none. `None` while there is no speed yet.
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
