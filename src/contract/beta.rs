//! Quantiles of the beta distribution, from which exact confidence intervals of proportions are computed.

/// Coefficients of Lanczos' approximation of the gamma function for g = 7 with nine terms.
const LANCZOS: [f64; 9] = [
    0.999_999_999_999_809_9,
    676.520_368_121_885_1,
    -1_259.139_216_722_402_8,
    771.323_428_777_653_1,
    -176.615_029_162_140_6,
    12.507_343_278_686_905,
    -0.138_571_095_265_720_12,
    9.984_369_578_019_572e-6,
    1.505_632_735_149_311_6e-7,
];

/// The logarithm of the gamma function, for x of at least 1/2.
pub(super) fn ln_gamma(x: f64) -> f64 {
    let x = x - 1.0;
    let mut sum = LANCZOS[0];
    for (index, coefficient) in (1..).zip(&LANCZOS[1..]) {
        sum += coefficient / (x + f64::from(index));
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

/// The logarithm of a binomial coefficient.
pub(super) fn ln_choose(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

/// The regularised incomplete beta function I_x(a, b), by its continued fraction (Abramowitz and
/// Stegun, 26.5.8) evaluated by Lentz's method.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast only below the mean; above it, use the symmetry.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(b, a, 1.0 - x);
    }
    const TINY: f64 = 1e-300;
    let away = |value: f64| if value.abs() < TINY { TINY } else { value };
    let front = ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln();
    let (mut c, mut d) = (1.0, 1.0 / away(1.0 - (a + b) * x / (a + 1.0)));
    let mut fraction = d;
    for step in 1..10_000 {
        let m = f64::from(step);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for term in [even, odd] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            change = c * d;
            fraction *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front.exp() * fraction / a
}

/// The quantile of a beta distribution: the x below which it has this much of its mass. Found by bisection.
pub(super) fn quantile(mass: f64, a: f64, b: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        match incomplete_beta(a, b, middle) < mass {
            true => low = middle,
            false => high = middle,
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_closed_forms() {
        // Beta(1, n) and Beta(n, 1) have closed forms.
        for n in [1.0, 2.0, 8.0, 100.0, 1e5, 1e7] {
            for mass in [1e-6f64, 0.025, 0.5, 0.975] {
                let first = -((-mass).ln_1p() / n).exp_m1();
                let last = mass.powf(1.0 / n);
                assert!(
                    (quantile(mass, 1.0, n) / first - 1.0).abs() < 1e-6,
                    "{n} {mass}"
                );
                assert!(
                    (quantile(mass, n, 1.0) / last - 1.0).abs() < 1e-8,
                    "{n} {mass}"
                );
            }
        }
        // The median of a symmetric distribution is 1/2.
        for a in [0.5, 3.0, 1e4] {
            assert!((quantile(0.5, a, a) - 0.5).abs() < 1e-9);
        }
    }

    #[test]
    fn the_incomplete_function_is_a_binomial_tail() {
        // I_p(k, n - k + 1) is the probability of at least k successes in n trials.
        for (n, k, p) in [(10, 3, 0.2f64), (25, 20, 0.7), (40, 1, 0.01)] {
            let tail: f64 = (k..=n)
                .map(|s| {
                    let (n, s) = (f64::from(n), f64::from(s));
                    (ln_choose(n, s) + s * p.ln() + (n - s) * (1.0 - p).ln()).exp()
                })
                .sum();
            let beta = incomplete_beta(f64::from(k), f64::from(n - k + 1), p);
            assert!((beta - tail).abs() < 1e-12, "{n} {k} {p}: {beta} {tail}");
        }
    }
}
