//! Ends a problem whose chance of meeting its target within its limit of trials is negligible, and computes
//! how this restricts the orders in which trials can occur.

use serde::{Deserialize, Serialize};

use super::beta::ln_choose;

/// Terms this small relative to their sum do not change it.
const NEGLIGIBLE: f64 = 1e-17;

/// The rule that ends a problem for futility.
///
/// After n trials with c correct, the number of correct trials among the remaining `limit` - n is modelled as
/// beta-binomial with a = c + 1 and b = n - c + 1 (the rule of succession: a uniform prior on the problem's
/// pass rate, updated with its own trials). The problem ends when the probability that it reaches `target` is
/// less than `below`. A target that is out of reach has probability 0, so with `below` above 0 the problem
/// ends at once.
///
/// ```
/// use dart_math::Futility;
///
/// let rule = Futility { target: 40, limit: 2048, below: 0.001 };
/// // Of the problems of which no trial of so many is correct.
/// let end = rule.end(0);
/// assert!(rule.chance(end, 0) < 0.001 && rule.chance(end - 1, 0) >= 0.001);
/// assert!((300..400).contains(&end), "{end}");
/// // Each correct one buys more of them.
/// assert!(rule.end(1) > end && rule.end(10) > 900);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Futility {
    /// The number of correct responses that the problem needs.
    pub target: u32,
    /// The maximum number of trials.
    pub limit: u32,
    /// The problem ends when its chance is less than this probability, which is above 0.
    pub below: f64,
}

impl Futility {
    /// Returns the probability that the target is met within the limit, given the trials so far and how many
    /// of them are correct.
    pub fn chance(&self, trials: u32, correct: u32) -> f64 {
        self.tail(trials, correct, 1.0)
    }

    /// Returns the number of trials at which a problem with this many correct trials ends; `u32::MAX` if the
    /// target is met.
    pub fn end(&self, correct: u32) -> u32 {
        if correct >= self.target {
            return u32::MAX;
        }
        // With fewer trials left than needed the chance is 0. It falls with each wrong trial.
        let impossible = self.limit.saturating_add(1) - (self.target - correct).min(self.limit);
        let (mut possible, mut over) = (correct, impossible.max(correct));
        if self.is_futile(possible, correct) {
            return possible;
        }
        while over > possible + 1 {
            let middle = possible + (over - possible) / 2;
            match self.is_futile(middle, correct) {
                true => over = middle,
                false => possible = middle,
            }
        }
        over
    }

    fn is_futile(&self, trials: u32, correct: u32) -> bool {
        self.tail(trials, correct, self.below) < self.below
    }

    /// Returns [`chance`](Self::chance) if it is less than `enough`, and otherwise some value of at least
    /// `enough`.
    fn tail(&self, trials: u32, correct: u32, enough: f64) -> f64 {
        let Some(needed) = self.target.checked_sub(correct).filter(|it| *it > 0) else {
            return 1.0;
        };
        let left = self.limit.saturating_sub(trials);
        if needed > left {
            return 0.0;
        }
        let (m, needed) = (f64::from(left), f64::from(needed));
        let (correct, wrong) = (
            f64::from(correct),
            f64::from(trials.saturating_sub(correct)),
        );
        // The probability of j correct trials is C(c + j, j) C(w + m - j, m - j) / C(n + 1 + m, m).
        let ways = |j: f64| ln_choose(correct + j, j) + ln_choose(wrong + m - j, m - j);
        let all = ln_choose(correct + wrong + 1.0 + m, m);
        // Sum the tail that does not contain the mean, beginning with its largest term.
        let mean = m * (correct + 1.0) / (correct + wrong + 2.0);
        if needed <= mean {
            let mut j = needed - 1.0;
            let mut term = (ways(j) - all).exp();
            let mut sum = term;
            while j > 0.0 {
                term *= j / (m - j + 1.0) * (wrong + m - j + 1.0) / (correct + j);
                if term < NEGLIGIBLE * sum {
                    break;
                }
                sum += term;
                j -= 1.0;
            }
            return (1.0 - sum).max(0.0);
        }
        let mut term = (ways(needed) - all).exp();
        let (mut sum, mut j) = (term, needed);
        while j < m && sum < enough {
            let ratio = (m - j) / (j + 1.0) * (correct + 1.0 + j) / (wrong + m - j);
            term *= ratio;
            sum += term;
            j += 1.0;
            // The ratios fall, so the omitted terms sum to less than a geometric series.
            if ratio < 1.0 && term * ratio < NEGLIGIBLE * sum * (1.0 - ratio) {
                break;
            }
        }
        sum.min(1.0)
    }
}

/// The numbers of trials at which sampling ends, indexed by the number of correct trials. Both are counted
/// from a given trial on, such as the first after a pilot.
#[derive(Debug, Clone)]
pub(super) struct Stops {
    ends: Vec<f64>,
}

impl Stops {
    /// The ends of a rule, counted from after `trials` earlier trials with `correct` correct ones, for up to
    /// `up_to` further correct trials. The first end is after one further trial at the earliest.
    /// `give_up_after` is the number of further trials after which the problem ends if none of them is
    /// correct.
    pub(super) fn new(
        rule: &Futility,
        (trials, correct): (u32, u32),
        up_to: u32,
        give_up_after: Option<u32>,
    ) -> Self {
        let end = |more: u32| {
            let end = rule.end(correct + more).saturating_sub(trials);
            let end = match give_up_after.filter(|_| more == 0) {
                Some(most) => end.min(most),
                None => end,
            };
            f64::from(end.max(1))
        };
        Stops {
            ends: (0..=up_to).map(end).collect(),
        }
    }

    /// Returns the end for no correct trial.
    pub(super) fn first(&self) -> f64 {
        self.ends.first().copied().unwrap_or(f64::INFINITY)
    }

    /// Of all orders that lead from one pair (trials, correct trials) to another, returns the share that
    /// reaches no end on the way.
    pub(super) fn share(&self, from: (f64, f64), to: (f64, f64)) -> f64 {
        // For each end: the share of the orders leading to it that reach no earlier end.
        let mut first: Vec<((f64, f64), f64)> = Vec::new();
        let without = |first: &[((f64, f64), f64)], to: (f64, f64)| {
            let met = first.iter().map(|(end, share)| {
                let log = ln_orders(from, *end) + ln_orders(*end, to) - ln_orders(from, to);
                share * log.exp()
            });
            1.0 - met.sum::<f64>()
        };
        for (correct, end) in (0..).map(f64::from).zip(&self.ends) {
            let end = (*end, correct);
            if correct > to.1 || end == to {
                break;
            }
            if correct < from.1 || ln_orders(from, end) == f64::NEG_INFINITY {
                continue;
            }
            if ln_orders(end, to) > f64::NEG_INFINITY {
                let share = without(&first, end);
                first.push((end, share.max(0.0)));
            }
        }
        without(&first, to).clamp(0.0, 1.0)
    }
}

/// Returns the logarithm of the number of orders that lead from one pair (trials, correct trials) to another.
fn ln_orders(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (trials, correct) = (to.0 - from.0, to.1 - from.1);
    match correct >= 0.0 && trials >= correct {
        true => ln_choose(trials, correct),
        false => f64::NEG_INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_sums_of_the_distribution() {
        // Every order of 3 trials after 2 with 1 correct, by Pólya's urn with a = b = 2.
        let rule = Futility {
            target: 3,
            limit: 5,
            below: 0.1,
        };
        let mut chance = 0.0;
        for order in 0..8u32 {
            let (mut a, mut b, mut share) = (2.0, 2.0, 1.0);
            for trial in 0..3 {
                match order >> trial & 1 == 1 {
                    true => {
                        share *= a / (a + b);
                        a += 1.0;
                    }
                    false => {
                        share *= b / (a + b);
                        b += 1.0;
                    }
                }
            }
            if order.count_ones() >= 2 {
                chance += share;
            }
        }
        assert!((rule.chance(2, 1) - chance).abs() < 1e-12);
        assert_eq!(rule.chance(2, 3), 1.0);
        assert_eq!(rule.chance(3, 0), 0.0);
        // Without trials, every number of correct ones is equally probable.
        let rule = Futility {
            target: 40,
            limit: 99,
            below: 0.1,
        };
        assert!((rule.chance(0, 0) - 0.6).abs() < 1e-10);
        // Far from the mean, on both sides.
        let rule = Futility {
            target: 192,
            limit: 8192,
            below: 0.1,
        };
        assert_eq!(rule.chance(168, 168), 1.0);
        assert!(rule.chance(8000, 3) < 1e-100);
        for (trials, correct) in [(100, 2), (500, 10), (1000, 24), (4000, 60)] {
            let (from, to) = (
                rule.chance(trials, correct),
                rule.chance(trials + 1, correct),
            );
            let hit = rule.chance(trials + 1, correct + 1);
            let rate = f64::from(correct + 1) / f64::from(trials + 2);
            let mean = rate * hit + (1.0 - rate) * to;
            assert!((from - mean).abs() < 1e-9 * from, "{from} {mean}");
        }
    }

    #[test]
    fn ends_come_later_with_each_success_and_never_beyond_reach() {
        for (target, limit) in [(1, 1), (1, 50), (4, 48), (40, 2048), (192, 8192), (7, 7)] {
            for below in [1e-9, 1e-3, 0.05, 0.5] {
                let rule = Futility {
                    target,
                    limit,
                    below,
                };
                let mut before = 0;
                for correct in 0..target {
                    let end = rule.end(correct);
                    assert!(end >= correct && end <= limit - (target - correct) + 1);
                    assert!(rule.chance(end, correct) < below);
                    assert!(end == correct || rule.chance(end - 1, correct) >= below);
                    assert!(end > before || correct == 0, "{rule:?} {correct}");
                    before = end;
                }
                assert_eq!(rule.end(target), u32::MAX);
            }
        }
        // A target beyond the limit ends the problem at once.
        let rule = Futility {
            target: 9,
            limit: 8,
            below: 0.1,
        };
        assert_eq!(rule.end(0), 0);
    }

    #[test]
    fn shares_count_orders() {
        let rule = Futility {
            target: 4,
            limit: 14,
            below: 0.2,
        };
        let stops = Stops::new(&rule, (0, 0), 4, None);
        let is_end = |trials: u32, correct: u32| {
            correct < 4 && f64::from(trials) >= stops.ends[correct as usize]
        };
        for trials in 1..=12u32 {
            for correct in 0..=trials.min(4) {
                let (mut all, mut met) = (0.0, 0.0);
                for order in (0..1u32 << trials).filter(|it| it.count_ones() == correct) {
                    all += 1.0;
                    let before = |at: u32| (order & ((1 << at) - 1)).count_ones();
                    met += f64::from(u8::from((0..trials).any(|at| is_end(at, before(at)))));
                }
                let share = stops.share((0.0, 0.0), (f64::from(trials), f64::from(correct)));
                assert!(
                    (share - (1.0 - met / all)).abs() < 1e-9,
                    "{trials} {correct}"
                );
            }
        }
    }
}
