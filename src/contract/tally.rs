//! Counts of a problem's trials, and estimates of its pass rate: unbiased, with an interval, although the
//! trials themselves decide when sampling stops.

use serde::{Deserialize, Serialize};

use super::Futility;
use super::beta::{ln_choose, quantile};
use super::futility::Stops;

/// The counts of a problem's settled trials and the rule that ended them, with the pass rate that they imply.
///
/// ```
/// use dart_math::Tally;
///
/// let fixed = Tally { trials: 8, correct: 2, ..Tally::default() };
/// assert_eq!(fixed.pass_rate(), Some(0.25));
/// // Sampling that goes on until the third success ends with a success, which says nothing.
/// let until = Tally { trials: 9, correct: 3, at_success: true, ..Tally::default() };
/// assert_eq!(until.pass_rate(), Some(0.25));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// The settled trials that count.
    pub trials: u32,
    /// How many of them are correct.
    pub correct: u32,
    /// Whether sampling stopped because of the last success (inverse sampling), not at a number of trials.
    pub at_success: bool,
    /// The pilot: the first trials, which set the target. Their number was fixed beforehand, whatever their
    /// verdicts.
    pub pilot: Option<Pilot>,
    /// The number of trials after which the problem was to be given up if none was correct.
    pub give_up_after: Option<u32>,
    /// The futility rule of the last target. It applies from the first trial under that target on.
    pub futility: Option<Futility>,
    /// Whether duplicates did not count towards the target.
    pub dedup: bool,
    /// Whether the trials were selected from another run's and that run had no more. What ended that run's
    /// sampling is then unknown.
    pub exhausted: bool,
}

/// The trials that set a problem's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pilot {
    /// The number of trials.
    pub trials: u32,
    /// The number of correct trials.
    pub correct: u32,
    /// Whether one more correct trial would have met the target that the pilot set.
    pub nearly_met: bool,
    /// The target for a pilot without a correct trial: the highest possible one.
    pub highest_target: u32,
}

/// Products of up to this many factors are computed without logarithms.
const MAX_FACTORS: f64 = 1024.0;

/// The probability mass outside of the interval, on each side.
const OUTSIDE: f64 = 0.025;

impl Tally {
    /// Returns the estimate of the pass rate; `None` without trials.
    ///
    /// The estimate is unbiased however sampling ended, apart from the exceptions below:
    ///
    /// - n trials, fixed beforehand, c of them correct: c / n.
    /// - Inverse sampling, until the c-th success: (c - 1) / (n - 1) (Haldane, "On a method of estimating
    ///   frequencies", Biometrika 33, 1945).
    /// - Either of these, given up after g trials if none is correct: divided by the share of the possible
    ///   orders of the trials whose first g trials are not all wrong.
    /// - With an end for [`Futility`]: of the orders in which the same trials could have occurred, the share
    ///   that begins with a success (Girshick, Mosteller, Savage, "Unbiased estimates for certain binomial
    ///   sampling problems with applications", Annals of Mathematical Statistics 17, 1946).
    /// - A pilot of m trials, a of them correct, which sets the target: w a / m + (1 - w) t. Here t is the
    ///   inverse sampling estimate from the trials after the pilot alone, or a / m if the pilot met the
    ///   target. If one more success in the pilot would have met the target, t is multiplied by a / m. This
    ///   cancels the bias from pilots that met it: Σ P(a) (t(a) - p) = 0 over all pilots. The weight w = m /
    ///   (m + the highest target) does not depend on the verdicts.
    ///
    /// - Trials selected from another run's, which had too few ([`exhausted`](Tally::exhausted)): all but the
    ///   last, which may be what ended them. This is unbiased if that run's number of trials was fixed or it
    ///   went on to a success.
    ///
    /// At the first success (c = 1 without a pilot) the only unbiased estimate is whether the first trial
    /// succeeded. The estimate is then 1 / n; use the [`interval`](Tally::interval) instead. The same holds
    /// for runs that end by tokens, time or a limit over all problems. If duplicates did not count, the
    /// estimate ignores the pilot and uses all trials, and is biased.
    pub fn pass_rate(&self) -> Option<f64> {
        if self.trials == 0 {
            return None;
        }
        let parts = self.parts().filter(|_| !self.dedup);
        let Some((pilot, of_pilot, later)) = parts else {
            let counts = Counts::of(self);
            return Some(match (self.at_success, self.correct) {
                (true, 1) => 1.0 / f64::from(self.trials),
                _ => counts.rate(self.at_success, &self.ending(None)),
            });
        };
        match self.give_up_after {
            // The problem could be given up only within its pilot: use the pilot alone.
            Some(most) if most <= pilot.trials => {
                let ending = Ending::GivenUp(self.give_up_after);
                return Some(of_pilot.rate(false, &ending));
            }
            _ => {}
        }
        let own = of_pilot.rate(false, &Ending::GivenUp(None));
        if later.trials == 0.0 {
            return Some(own);
        }
        let mut rate = later.rate(self.at_success, &self.ending(Some(pilot)));
        if pilot.nearly_met {
            rate *= own;
        }
        let weight = of_pilot.trials / (of_pilot.trials + f64::from(pilot.highest_target));
        Some(weight * own + (1.0 - weight) * rate)
    }

    /// Returns an interval that contains the pass rate in at least 93 % of cases at every pass rate (95 %
    /// without a pilot); `None` without trials.
    ///
    /// For c correct of n trials, this is the interval of Clopper and Pearson ("The use of confidence or
    /// fiducial limits illustrated in the case of the binomial", Biometrika 26, 1934), whose ends are
    /// quantiles of beta distributions. If sampling stopped at the c-th success, the upper end is that of
    /// inverse sampling.
    pub fn interval(&self) -> Option<(f64, f64)> {
        if self.trials == 0 {
            return None;
        }
        let (trials, correct) = (f64::from(self.trials), f64::from(self.correct));
        let wrong = trials - correct;
        let low = match self.correct {
            0 => 0.0,
            _ => quantile(OUTSIDE, correct, wrong + 1.0),
        };
        let high = match self.correct == self.trials {
            true => 1.0,
            false if self.at_success => quantile(1.0 - OUTSIDE, correct, wrong),
            false => quantile(1.0 - OUTSIDE, correct + 1.0, wrong),
        };
        Some((low, high))
    }

    /// Returns the estimated probability that none of `trials` further trials of the problem is correct;
    /// `None` without trials. The estimate is unbiased if the problem had at least as many trials. Fractional
    /// numbers of trials are interpolated linearly.
    ///
    /// For n trials, c of them correct, it is the share of their possible orders that begins with this many
    /// wrong ones. Beyond that number of trials, and for a problem that was given up, it is the posterior
    /// mean under Jeffreys' prior. After inverse sampling it is 0 beyond the number of wrong trials.
    pub fn all_wrong(&self, trials: f64) -> Option<f64> {
        if self.trials == 0 {
            return None;
        }
        let whole = trials.floor();
        let part = trials - whole;
        let at = self.all_wrong_of(whole);
        Some(match part > 0.0 {
            true => (1.0 - part) * at + part * self.all_wrong_of(whole + 1.0),
            false => at,
        })
    }

    /// Returns pass@k: the estimated probability that at least one of k trials of the problem is correct.
    /// `None` without trials, for k = 0, and if the trials do not determine it.
    ///
    /// For n trials, fixed beforehand, c of them correct, it is the estimator of Chen et al. ("Evaluating
    /// large language models trained on code", 2021), 1 - C(n - c, k) / C(n, k), for k up to n. If sampling
    /// ended otherwise, it is 1 minus a share: of the orders in which the same trials could have occurred,
    /// those that begin with k wrong ones. It is unbiased for every k up to the limit of trials:
    ///
    /// - For inverse sampling until the c-th success, it is 1 - C(n - 1 - k, c - 1) / C(n - 1, c - 1). It is
    ///   1 if k exceeds the number of wrong trials, even beyond n: without a value for problems that ended
    ///   early, the mean would cover only the hard ones.
    /// - With a pilot, it uses the pilot alone for k up to the pilot's size.
    /// - For a problem that is given up after g trials, or ended for futility after g trials without a
    ///   success, it is known for k up to g. It accounts for the orders that would have ended the problem.
    ///
    /// Beyond a limit of trials it is known only for the problems that did not reach the limit, so means are
    /// biased there. It is also biased if a run ends by tokens, time or a limit over all problems, and if
    /// duplicates are left out (a trial then counts depending on the others).
    ///
    /// ```
    /// use dart_math::Tally;
    ///
    /// let fixed = Tally { trials: 4, correct: 1, ..Tally::default() };
    /// assert!((fixed.pass_at(2).unwrap() - 0.5).abs() < 1e-12);
    /// assert_eq!(fixed.pass_at(5), None);
    /// ```
    pub fn pass_at(&self, k: u32) -> Option<f64> {
        let give_up = self.give_up_after.map(f64::from);
        let k = f64::from(k);
        if self.trials == 0 || k == 0.0 || give_up.is_some_and(|most| k > most) {
            return None;
        }
        let all = Counts::of(self);
        let wrong = match self.parts() {
            Some((pilot, own, later)) => match k <= own.trials {
                true if give_up.is_some_and(|most| most <= own.trials) => {
                    own.all_wrong_unless(k, &Ending::GivenUp(self.give_up_after), false)
                }
                true => own.all_wrong(k, false),
                false if own.correct > 0.0 => Some(0.0),
                false => {
                    let ending = self.ending(Some(pilot));
                    later.all_wrong_unless(k - own.trials, &ending, self.at_success)
                }
            },
            None => all.all_wrong_unless(k, &self.ending(None), self.at_success),
        };
        wrong.map(|wrong| 1.0 - wrong)
    }

    /// The other ways in which sampling could have ended, after the pilot if there was one.
    fn ending(&self, pilot: Option<Pilot>) -> Ending {
        let before = pilot.map_or((0, 0), |pilot| (pilot.trials, pilot.correct));
        let give_up_after = self
            .give_up_after
            .filter(|_| before.1 == 0)
            .map(|most| most.saturating_sub(before.0));
        let Some(rule) = self.futility else {
            return Ending::GivenUp(give_up_after);
        };
        let more = self.correct.saturating_sub(before.1);
        Ending::Futile(Stops::new(&rule, before, more, give_up_after))
    }

    /// The pilot, its counts, and the counts of the trials after it, if there was a pilot.
    fn parts(&self) -> Option<(Pilot, Counts, Counts)> {
        let pilot = self.pilot.filter(|pilot| pilot.trials > 0)?;
        let counts = |trials: u32, correct: u32| Counts {
            trials: f64::from(trials),
            correct: f64::from(correct),
        };
        let later = counts(
            self.last().saturating_sub(pilot.trials),
            self.correct.saturating_sub(pilot.correct),
        );
        Some((pilot, counts(pilot.trials, pilot.correct), later))
    }

    /// The number of trials that inform the estimate. If it is unknown what ended them and the last was
    /// wrong, the last is left out. (A correct last trial is already left out by inverse sampling.)
    fn last(&self) -> u32 {
        let before = self.pilot.map_or(0, |pilot| pilot.trials);
        let drops = self.exhausted && !self.at_success && self.trials > before + 1;
        self.trials - u32::from(drops)
    }

    fn all_wrong_of(&self, trials: f64) -> f64 {
        let all = Counts::of(self);
        let given_up = self.correct == 0 && self.give_up_after == Some(self.trials);
        let exact = match self.parts() {
            Some((_, own, _)) if trials <= own.trials => own.all_wrong(trials, false),
            // The pilot and the required number of trials after it.
            Some((_, own, _)) if own.correct > 0.0 => Some(0.0),
            Some((_, own, later)) => later.all_wrong(trials - own.trials, self.at_success),
            None => all.all_wrong(trials, self.at_success),
        };
        match exact {
            Some(share) if !given_up => share,
            _ => all.all_wrong_by_prior(trials),
        }
    }
}

/// What can end sampling before its goal is met.
enum Ending {
    /// This many trials, none of them correct.
    GivenUp(Option<u32>),
    /// A target that is out of reach.
    Futile(Stops),
}

/// A number of trials and how many of them are correct.
#[derive(Debug, Clone, Copy)]
struct Counts {
    trials: f64,
    correct: f64,
}

impl Counts {
    fn of(tally: &Tally) -> Self {
        Counts {
            trials: f64::from(tally.last()),
            correct: f64::from(tally.correct),
        }
    }

    /// The counts of the trials whose order is free. The last trial of inverse sampling is always a success,
    /// so it is excluded.
    fn free(self, at_success: bool) -> (f64, f64) {
        match at_success {
            true => (self.trials - 1.0, self.correct - 1.0),
            false => (self.trials, self.correct),
        }
    }

    /// See [`Tally::pass_rate`].
    fn rate(self, at_success: bool, ending: &Ending) -> f64 {
        let (trials, correct) = self.free(at_success);
        if trials <= 0.0 {
            return 1.0;
        }
        let possible = match ending {
            Ending::GivenUp(Some(most))
                if self.correct > 0.0 && f64::from(*most) < trials - correct + 0.5 =>
            {
                let most = f64::from(*most);
                1.0 - (ln_choose(trials - most, correct) - ln_choose(trials, correct)).exp()
            }
            Ending::GivenUp(_) => 1.0,
            Ending::Futile(_) if correct <= 0.0 => 1.0,
            Ending::Futile(stops) => {
                let to = (trials, correct);
                match stops.share((1.0, 1.0), to) {
                    0.0 => return 0.0,
                    of_first => stops.share((0.0, 0.0), to) / of_first,
                }
            }
        };
        correct / trials / possible
    }

    /// The share of orders that begin with this many wrong trials; `None` if there were fewer trials.
    fn all_wrong(self, first: f64, at_success: bool) -> Option<f64> {
        let (trials, correct) = self.free(at_success);
        if first > trials && !at_success {
            return None;
        }
        Some(match first > trials - correct {
            true => 0.0,
            // The product of factors is accurate to the last digits.
            false if first <= MAX_FACTORS => (0..first as u32)
                .map(|before| trials - f64::from(before))
                .map(|left| (left - correct) / left)
                .product(),
            false => (ln_choose(trials - first, correct) - ln_choose(trials, correct)).exp(),
        })
    }

    /// [`all_wrong`](Self::all_wrong) among the orders that would not have ended sampling early.
    fn all_wrong_unless(self, first: f64, ending: &Ending, at_success: bool) -> Option<f64> {
        let share = self.all_wrong(first, at_success)?;
        let most = match ending {
            Ending::GivenUp(most) => *most,
            Ending::Futile(stops) => {
                if first > stops.first() {
                    return None;
                }
                if share <= 0.0 {
                    return Some(0.0);
                }
                let to = self.free(at_success);
                let all = stops.share((0.0, 0.0), to);
                let begun = stops.share((first, 0.0), to);
                return Some((share * begun / all).clamp(0.0, 1.0));
            }
        };
        let ended = match most {
            Some(most) if self.correct > 0.0 => {
                let most = f64::from(most);
                self.all_wrong(most, at_success).unwrap_or(0.0)
            }
            _ => 0.0,
        };
        Some(match ended < 1.0 {
            true => ((share - ended) / (1.0 - ended)).clamp(0.0, 1.0),
            false => share,
        })
    }

    fn all_wrong_by_prior(self, first: f64) -> f64 {
        let (wrong, all) = (self.trials - self.correct + 0.5, self.trials + 1.0);
        (0..first as u32)
            .map(f64::from)
            .map(|step| (wrong + step) / (all + step))
            .product()
    }
}

#[cfg(test)]
mod tests;
