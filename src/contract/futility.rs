//! Ending a problem whose chance to meet its target within its limit of trials is negligible, and what that
//! makes of the orders in which trials can come.

use serde::{Deserialize, Serialize};

use super::beta::ln_choose;

/// Terms this small beside their sum change nothing of it.
const NEGLIGIBLE: f64 = 1e-17;

/// The rule by which a problem is ended for futility.
///
/// After n trials, c of them correct, the number of correct ones among the remaining `limit` - n is taken for
/// beta-binomial with a = c + 1 and b = n - c + 1: the problem's pass rate, evenly distributed before (the rule
/// of succession), is what its own trials make likely. The problem ends where the probability that these
/// suffice for `target` is less than `below`. What is needed of the trials at the limit alone is thereby part of
/// it: with `below` above 0 a problem ends as soon as its target is out of reach.
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
    /// Correct responses that the problem is to get.
    pub target: u32,
    /// The most trials that it may take.
    pub limit: u32,
    /// The probability, above 0, from which on down it is ended.
    pub below: f64,
}

impl Futility {
    /// The probability that the target is met within the limit, after so many trials of which so many are
    /// correct.
    pub fn chance(&self, trials: u32, correct: u32) -> f64 {
        self.tail(trials, correct, 1.0)
    }

    /// The number of trials at which a problem is ended that has so many correct ones by then.
    pub fn end(&self, correct: u32) -> u32 {
        if correct >= self.target {
            return u32::MAX;
        }
        // With fewer trials left than are needed the chance is none, and with each that fails it falls.
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

    /// [`chance`](Self::chance), or where that is at least `enough` something that is, too.
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
        // C(c + j, j) C(w + m - j, m - j) / C(n + 1 + m, m) is the probability of j correct ones.
        let ways = |j: f64| ln_choose(correct + j, j) + ln_choose(wrong + m - j, m - j);
        let all = ln_choose(correct + wrong + 1.0 + m, m);
        // Summed from the largest term on: those of the tail that does not have the mean in it.
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
            // Ratios fall, so that what is left out is less than a geometric series.
            if ratio < 1.0 && term * ratio < NEGLIGIBLE * sum * (1.0 - ratio) {
                break;
            }
        }
        sum.min(1.0)
    }
}

/// Numbers of trials at which sampling ends, by the number of correct ones among them; counted from some first
/// trial on, as what is known of those before it.
#[derive(Debug, Clone)]
pub(super) struct Stops {
    ends: Vec<f64>,
}

impl Stops {
    /// Those of a rule behind `trials` others, of which so many were correct, up to so many correct ones. It is
    /// asked after the first trial behind these at the earliest. `give_up_after`: at which it ends if none is
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

    /// The end where none is correct.
    pub(super) fn first(&self) -> f64 {
        self.ends.first().copied().unwrap_or(f64::INFINITY)
    }

    /// Of the orders that lead from one pair (trials, correct ones) to another, the share that meets no end on
    /// the way.
    pub(super) fn share(&self, from: (f64, f64), to: (f64, f64)) -> f64 {
        // Orders that come to an end for the first time where so many are correct, among all that lead there.
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

/// The logarithm of the number of orders that lead from one pair (trials, correct ones) to another.
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
        // Every order of 3 trials behind 2 of which 1 was correct, by Polya's urn with a = b = 2.
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
        // Without a trial every number of correct ones is as probable.
        let rule = Futility {
            target: 40,
            limit: 99,
            below: 0.1,
        };
        assert!((rule.chance(0, 0) - 0.6).abs() < 1e-10);
        // Far from the mean, on either side of it.
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
        // A target beyond the limit ends at once.
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
