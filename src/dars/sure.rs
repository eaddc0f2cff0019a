//! How many trials of a problem are almost certain to count.

/// Computes how many trials may be under way such that the last of them counts with at least a given
/// probability. A trial counts if those before it have too few successes.
///
/// For a problem with c of t known trials correct, the number of successes in n trials is modelled as
/// beta-binomial with a = c + 1 and b = t - c + 1 (the rule of succession). This is approximated by a normal
/// distribution with mean n p and variance n p (1 - p) (1 + (n - 1) / (a + b + 1)), where p = a / (a + b)
/// (Johnson, Kemp, Kotz, "Univariate Discrete Distributions", 6.2.2). An approximation suffices: wasted
/// trials do not affect the data set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sure {
    /// The quantile of the normal distribution; infinite if certainty is required.
    quantile: f64,
}

impl Sure {
    pub(super) fn new(probability: f64) -> Self {
        Sure {
            quantile: normal_quantile(probability),
        }
    }

    /// Returns how many trials to have under way for `left` more successes, given `correct` of `trials` known
    /// ones. At least `left`.
    pub(super) fn likely(self, left: u32, correct: u32, trials: u32) -> u32 {
        if self.quantile.is_infinite() || left == 0 {
            return left;
        }
        let (a, b) = (
            f64::from(correct) + 1.0,
            f64::from(trials.saturating_sub(correct)) + 1.0,
        );
        let rate = a / (a + b);
        // Whether too few of n trials are correct, with the required probability.
        let is_sure = |n: u32| {
            let n = f64::from(n);
            let spread = n * rate * (1.0 - rate) * (1.0 + (n - 1.0) / (a + b + 1.0));
            f64::from(left) - 0.5 - n * rate >= self.quantile * spread.sqrt()
        };
        // The n-th trial counts if those before it have too few successes.
        let most = f64::from(left) / rate;
        let (mut sure, mut unsure) = (left - 1, most.min(f64::from(u32::MAX)) as u32 + 1);
        while unsure > sure + 1 {
            let middle = sure + (unsure - sure) / 2;
            match is_sure(middle) {
                true => sure = middle,
                false => unsure = middle,
            }
        }
        sure + 1
    }
}

/// Returns the quantile of the normal distribution, to three digits, for probabilities above 1/2 (Abramowitz
/// and Stegun 26.2.23); infinity for 1, and 0 for 1/2 or less.
fn normal_quantile(probability: f64) -> f64 {
    if probability <= 0.5 {
        return 0.0;
    }
    let t = (-2.0 * (1.0 - probability).ln()).sqrt();
    if t.is_infinite() {
        return t;
    }
    t - (2.515_517 + t * (0.802_853 + t * 0.010_328))
        / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (probability, quantile) in [(0.5, 0.0), (0.9, 1.2816), (0.95, 1.6449), (0.99, 2.3263)] {
            assert!((normal_quantile(probability) - quantile).abs() < 1e-3);
        }
        assert!(normal_quantile(1.0).is_infinite());
    }

    /// Returns P(fewer than `left` successes in n trials) of the beta-binomial distribution, by recurrence.
    fn too_few(left: u32, n: u32, a: f64, b: f64) -> f64 {
        let n = f64::from(n);
        let mut term = 1.0;
        for i in 0..n as u32 {
            term *= (b + f64::from(i)) / (a + b + f64::from(i));
        }
        let mut sum = 0.0;
        for k in 0..left {
            if f64::from(k) > n {
                break;
            }
            sum += term;
            let k = f64::from(k);
            term *= (n - k) / (k + 1.0) * (a + k) / (b + n - k - 1.0).max(1e-300);
        }
        sum
    }

    #[test]
    fn the_last_of_the_likely_ones_counts_about_as_probably_as_asked() {
        let sure = Sure::new(0.95);
        for (left, correct, trials) in [
            (40, 0, 0),
            (20, 20, 30),
            (10, 30, 120),
            (5, 35, 40),
            (3, 1, 50),
        ] {
            let n = sure.likely(left, correct, trials);
            assert!(n >= left);
            let (a, b) = (f64::from(correct) + 1.0, f64::from(trials - correct) + 1.0);
            // Trials that certainly count do so whatever their probability under this model.
            let probability = too_few(left, n - 1, a, b);
            assert!(n == left || probability > 0.9, "{left}: {n}, {probability}");
            let beyond = too_few(left, n + n / 4 + 2, a, b);
            assert!(beyond < 0.97, "{left}: {n}, {beyond}");
        }
        assert_eq!(Sure::new(1.0).likely(7, 3, 9), 7);
        assert_eq!(sure.likely(0, 3, 9), 0);
    }
}
