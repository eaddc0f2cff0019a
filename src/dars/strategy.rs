//! Strategies: how many trials, or how many correct responses, each problem is to get.
//!
//! A strategy sees only one problem and its settled trials. It does not see time, other problems or trials
//! under way. This makes a data set independent of the schedule.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::error::counted;
use crate::{Error, ErrorKind, Problem, Result, Settings};

/// The goal of sampling a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// This many trials in total, whatever their verdicts. When it is met, the problem ends and every correct
    /// response is kept.
    Trials(u32),
    /// This many correct responses in total. When it is met, the problem ends and the first correct responses
    /// by trial number are kept.
    Correct(u32),
    /// Nothing more. Every correct response is kept.
    Stop,
}

/// The verdicts of a problem's first trials, in order and without gaps.
#[derive(Debug, Clone, Copy)]
pub struct Prefix<'a> {
    verdicts: &'a [bool],
    correct: u32,
}

impl<'a> Prefix<'a> {
    /// The prefix with these verdicts (`true` is correct).
    pub fn new(verdicts: &'a [bool]) -> Self {
        let correct = verdicts.iter().filter(|&&correct| correct).count();
        Prefix::counted(verdicts, u32::try_from(correct).unwrap_or(u32::MAX))
    }

    pub(super) fn counted(verdicts: &'a [bool], correct: u32) -> Self {
        Prefix { verdicts, correct }
    }

    /// Returns the number of settled trials.
    pub fn trials(&self) -> u32 {
        u32::try_from(self.verdicts.len()).unwrap_or(u32::MAX)
    }

    /// Returns the number of correct trials.
    pub fn correct(&self) -> u32 {
        self.correct
    }

    /// Returns the verdicts by trial number.
    pub fn verdicts(&self) -> &'a [bool] {
        self.verdicts
    }

    /// Returns the prefix after the first `trials` trials.
    pub fn first(&self, trials: u32) -> Prefix<'a> {
        Prefix::new(&self.verdicts[..self.verdicts.len().min(trials as usize)])
    }
}

/// Decides the goal of each problem.
///
/// [`goal`](Strategy::goal) is called for every length of a problem's prefix of settled trials, in order,
/// beginning with 0, until the prefix meets the goal (or a limit is reached). It is a pure function of its
/// arguments, so earlier calls need not be remembered. The run draws the trials that a goal certainly or
/// almost certainly needs ([`RunBuilder::sure`](super::RunBuilder::sure)), and further ones only in slots
/// that would be idle. A goal may change at any length, at the cost of wasted trials.
///
/// # Implementing a strategy
///
/// docs/strategies.md has more examples: a band of pass rates, a knapsack, a bandit's stopping rule.
///
/// ```
/// use dart_math::{Problem, dars::{Goal, Prefix, Strategy}};
///
/// /// As many correct responses as the problem's file asks for.
/// struct AsAsked;
///
/// impl Strategy for AsAsked {
///     fn goal(&self, problem: &Problem, _: Prefix<'_>) -> Goal {
///         let wanted = problem.metadata.get("wanted").and_then(|wanted| wanted.as_u64());
///         Goal::Correct(wanted.unwrap_or(1) as u32)
///     }
/// }
/// ```
pub trait Strategy: Sync {
    /// Returns the problem's goal after these trials.
    fn goal(&self, problem: &Problem, settled: Prefix<'_>) -> Goal;

    /// Checks that the strategy can be used for these problems. Called once, before the run.
    ///
    /// # Errors
    ///
    /// Returns an error if its settings are out of range or it lacks data for some of the problems.
    fn check(&self, problems: &[Problem]) -> Result<()> {
        let _ = problems;
        Ok(())
    }

    /// Returns the settings that goals depend on, for the manifest.
    fn settings(&self) -> Settings {
        Settings::new()
    }
}

impl<S: Strategy + ?Sized> Strategy for &S {
    fn goal(&self, problem: &Problem, settled: Prefix<'_>) -> Goal {
        (**self).goal(problem, settled)
    }

    fn check(&self, problems: &[Problem]) -> Result<()> {
        (**self).check(problems)
    }

    fn settings(&self) -> Settings {
        (**self).settings()
    }
}

impl<S: Strategy + ?Sized> Strategy for Box<S> {
    fn goal(&self, problem: &Problem, settled: Prefix<'_>) -> Goal {
        (**self).goal(problem, settled)
    }

    fn check(&self, problems: &[Problem]) -> Result<()> {
        (**self).check(problems)
    }

    fn settings(&self) -> Settings {
        (**self).settings()
    }
}

/// The baseline: the same number of trials for every problem. Every correct response is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vanilla {
    /// The number of trials per problem.
    pub trials: u32,
}

impl Strategy for Vanilla {
    fn goal(&self, _: &Problem, _: Prefix<'_>) -> Goal {
        Goal::Trials(self.trials)
    }

    fn check(&self, _: &[Problem]) -> Result<()> {
        at_least_one("vanilla", "trials", self.trials)
    }

    fn settings(&self) -> Settings {
        named("vanilla", [("trials", self.trials.into())])
    }
}

/// The same number of correct responses for every problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uniform {
    /// The number of correct responses per problem (k_u in the paper, where it is 40).
    pub k: u32,
}

impl Strategy for Uniform {
    fn goal(&self, _: &Problem, _: Prefix<'_>) -> Goal {
        Goal::Correct(self.k)
    }

    fn check(&self, _: &[Problem]) -> Result<()> {
        at_least_one("uniform", "k", self.k)
    }

    fn settings(&self) -> Settings {
        named("uniform", [("k", self.k.into())])
    }
}

/// Correct responses in proportion to difficulty: k times the problem's fail rate, rounded up, at least one
/// by default.
///
/// The fail rate comes from the problem's own first trials (a pilot) or from a table. Correct responses of
/// the pilot are part of the data set, and the target is fixed when the pilot has settled.
///
/// ```
/// use dart_math::{Problem, dars::{Goal, Prefix, Prop2Diff, Strategy}};
///
/// let strategy = Prop2Diff::with_pilot(192, 4);
/// let problem = Problem::new("1 + 1?", "2");
/// let goal = |verdicts: &[bool]| strategy.goal(&problem, Prefix::new(verdicts));
/// assert_eq!(goal(&[true, false]), Goal::Trials(4));
/// assert_eq!(goal(&[true, false, true, true]), Goal::Correct(48));
/// // Fixed by the pilot, whatever comes after it.
/// assert_eq!(goal(&[true, false, true, true, false, false]), Goal::Correct(48));
/// assert_eq!(goal(&[true; 4]), Goal::Correct(1));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Prop2Diff {
    k: u32,
    cover: bool,
    difficulty: Difficulty,
}

#[derive(Debug, Clone, PartialEq)]
enum Difficulty {
    Pilot(u32),
    PassRates(HashMap<String, f64>),
}

impl Prop2Diff {
    /// Uses the fail rate of each problem's first `pilot` trials. `k` is the target of a problem that is
    /// never solved (k_p in the paper, where it is 192).
    pub fn with_pilot(k: u32, pilot: u32) -> Self {
        Prop2Diff {
            k,
            cover: true,
            difficulty: Difficulty::Pilot(pilot),
        }
    }

    /// Uses known pass rates (0 to 1) by problem id.
    pub fn with_pass_rates(k: u32, pass_rates: HashMap<String, f64>) -> Self {
        Prop2Diff {
            k,
            cover: true,
            difficulty: Difficulty::PassRates(pass_rates),
        }
    }

    /// Sets whether a problem that never fails still gets one response. The default is `true`.
    #[must_use]
    pub fn cover(mut self, cover: bool) -> Self {
        self.cover = cover;
        self
    }

    fn least(&self) -> u32 {
        u32::from(self.cover)
    }
}

impl Strategy for Prop2Diff {
    fn goal(&self, problem: &Problem, settled: Prefix<'_>) -> Goal {
        let target = match &self.difficulty {
            Difficulty::Pilot(pilot) if settled.trials() < *pilot => return Goal::Trials(*pilot),
            Difficulty::Pilot(pilot) => {
                let pilot = settled.first(*pilot);
                share_of_counts(self.k, pilot.trials() - pilot.correct(), pilot.trials())
            }
            Difficulty::PassRates(rates) => match rates.get(&problem.id) {
                Some(rate) => share_of_rate(self.k, 1.0 - rate),
                None => return Goal::Stop,
            },
        };
        Goal::Correct(target.max(self.least()))
    }

    fn check(&self, problems: &[Problem]) -> Result<()> {
        at_least_one("prop2diff", "k", self.k)?;
        match &self.difficulty {
            Difficulty::Pilot(pilot) => at_least_one("prop2diff", "pilot", *pilot),
            Difficulty::PassRates(rates) => {
                if let Some((id, rate)) =
                    rates.iter().find(|(_, rate)| !(0.0..=1.0).contains(*rate))
                {
                    return Err(Error::new(
                        ErrorKind::Settings,
                        format!("pass rate {rate} of problem {id:?} is not between 0 and 1"),
                    ));
                }
                let mut missing = problems.iter().filter(|p| !rates.contains_key(&p.id));
                match missing.next() {
                    None => Ok(()),
                    Some(first) => Err(Error::new(
                        ErrorKind::Settings,
                        format!(
                            "the table has no pass rate for {} of {}, such as {:?}",
                            1 + missing.count(),
                            counted(problems.len(), "problem"),
                            first.id
                        ),
                    )),
                }
            }
        }
    }

    fn settings(&self) -> Settings {
        let difficulty = match &self.difficulty {
            Difficulty::Pilot(pilot) => ("pilot", (*pilot).into()),
            Difficulty::PassRates(rates) => ("pass_rates", fingerprint(rates).into()),
        };
        named(
            "prop2diff",
            [
                ("k", self.k.into()),
                ("cover", self.cover.into()),
                difficulty,
            ],
        )
    }
}

/// Returns ceil(k * failed / trials), exactly; 0 without trials.
fn share_of_counts(k: u32, failed: u32, trials: u32) -> u32 {
    match trials {
        0 => 0,
        _ => {
            let share = (u64::from(k) * u64::from(failed)).div_ceil(u64::from(trials));
            u32::try_from(share).unwrap_or(u32::MAX)
        }
    }
}

/// Returns ceil(k * fail_rate). A product that differs from an integer only by float rounding counts as that
/// integer: 10 (1 - 0.7) is 3, not 4. Rounding errs by less than k 2^-52. A fraction of n trials is at least
/// 1 / n from the next integer, so it is not mistaken for one.
fn share_of_rate(k: u32, fail_rate: f64) -> u32 {
    let share = f64::from(k) * fail_rate;
    let whole = share.round();
    if (share - whole).abs() <= 1e-12 * f64::from(k) {
        whole as u32
    } else {
        share.ceil() as u32
    }
}

/// Returns a hash of a table of pass rates, for the settings.
fn fingerprint(rates: &HashMap<String, f64>) -> String {
    let mut rows: Vec<_> = rates.iter().collect();
    rows.sort_by_key(|(id, _)| *id);
    let mut hash = Sha256::new();
    for (id, rate) in rows {
        hash.update((id.len() as u64).to_le_bytes());
        hash.update(id.as_bytes());
        hash.update(rate.to_bits().to_le_bytes());
    }
    crate::contract::hex(&hash.finalize()[..16])
}

fn named<const N: usize>(name: &str, rest: [(&str, serde_json::Value); N]) -> Settings {
    let mut settings = Settings::new();
    settings.insert("name".into(), name.into());
    for (key, value) in rest {
        settings.insert(key.into(), value);
    }
    settings
}

fn at_least_one(strategy: &str, setting: &str, value: u32) -> Result<()> {
    match value {
        0 => Err(Error::new(
            ErrorKind::Settings,
            format!("{strategy}: {setting} must be at least 1"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_of_counts_is_exact() {
        assert_eq!(share_of_counts(192, 0, 8), 0);
        assert_eq!(share_of_counts(192, 8, 8), 192);
        assert_eq!(share_of_counts(10, 3, 10), 3);
        assert_eq!(share_of_counts(10, 1, 3), 4);
        assert_eq!(share_of_counts(u32::MAX, u32::MAX, u32::MAX), u32::MAX);
        assert_eq!(share_of_counts(5, 0, 0), 0);
    }

    #[test]
    fn rates_of_counts_give_the_same_target_as_the_counts() {
        for trials in 1..200u32 {
            for correct in 0..=trials {
                for k in [1, 7, 10, 40, 192] {
                    let rate = f64::from(correct) / f64::from(trials);
                    assert_eq!(
                        share_of_rate(k, 1.0 - rate),
                        share_of_counts(k, trials - correct, trials),
                        "{k} {correct}/{trials}"
                    );
                }
            }
        }
    }

    #[test]
    fn cover_gives_the_easiest_one_response() {
        let rates = HashMap::from([("p".to_owned(), 1.0)]);
        let problem = Problem::new("q", "r").with_id("p");
        let strategy = Prop2Diff::with_pass_rates(40, rates);
        assert_eq!(strategy.goal(&problem, Prefix::new(&[])), Goal::Correct(1));
        let strategy = strategy.cover(false);
        assert_eq!(strategy.goal(&problem, Prefix::new(&[])), Goal::Correct(0));
    }

    #[test]
    fn a_table_must_know_every_problem() {
        let strategy = Prop2Diff::with_pass_rates(40, HashMap::from([("p".to_owned(), 0.5)]));
        let known = Problem::new("q", "r").with_id("p");
        assert!(strategy.check(std::slice::from_ref(&known)).is_ok());
        let error = strategy
            .check(&[known, Problem::new("q", "r").with_id("z")])
            .unwrap_err();
        assert!(error.to_string().contains("1 of 2 problems, such as \"z\""));
        let nan = Prop2Diff::with_pass_rates(40, HashMap::from([("p".to_owned(), f64::NAN)]));
        assert!(nan.check(&[]).is_err());
    }
}
