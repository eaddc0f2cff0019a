//! Samples tokens from rows of logits, exactly and in parallel.
//!
//! A row's probabilities are integer multiples of a small unit (2^-46 of the largest, for a
//! vocabulary of 49,152), so that sums do not depend on the order of summation. The nucleus, the
//! token drawn from it and its log-probability are the same for any number of threads, rows and
//! lanes. Only the few tokens around the nucleus's edge are sorted.
//!
//! Depends on logits and settings, but not on models, slots or text.

use std::cmp::Ordering::Equal;

use rayon::prelude::*;

use super::Sampling;
use super::backend::Drawn;
use super::row;
use crate::Philox;

/// A row to draw a token from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// One logit per token of the vocabulary.
    pub(super) logits: &'a [f32],
    /// The distinct tokens of the prompt and of the completion. Only read if there is a repetition
    /// penalty.
    pub(super) seen: &'a [u32],
    /// The sampling settings; rows of one step may differ.
    pub(super) sampling: &'a Sampling,
    /// The trial's random numbers.
    pub(super) random: Philox,
    /// The token's position in the completion: the counter of its random number.
    pub(super) position: u64,
}

impl Drawn {
    /// The result for a row with non-finite logits.
    pub(super) const NON_FINITE: Drawn = Drawn {
        token: 0,
        logit: 0.0,
        max: 0.0,
        normaliser: 1,
        finite: false,
    };

    /// The natural logarithm of the token's probability under the model's own distribution
    /// (temperature 1, no penalty or truncation). Weights are multiples of `2^-bits`.
    pub(super) fn logprob(&self, bits: u32) -> f64 {
        let sum = self.normaliser as f64 / (1u64 << bits) as f64;
        f64::from(self.logit) - f64::from(self.max) - sum.ln()
    }
}

/// Samples the tokens of a step.
#[derive(Debug)]
pub(super) struct Sampler {
    /// One per thread.
    scratch: Vec<Scratch>,
}

impl Sampler {
    /// Creates a sampler for `threads` threads.
    pub(super) fn new(threads: usize) -> Self {
        Sampler {
            scratch: std::iter::repeat_with(Scratch::default)
                .take(threads.max(1))
                .collect(),
        }
    }

    /// Draws one token per row on the current rayon pool. Results are in the order of the rows.
    pub(super) fn draw(&mut self, rows: &[Row<'_>]) -> Vec<Drawn> {
        let share = rows.len().div_ceil(self.scratch.len()).max(1);
        rows.par_chunks(share)
            .zip(&mut self.scratch)
            .flat_map_iter(|(rows, scratch)| rows.iter().map(|row| draw(row, scratch)))
            .collect()
    }
}

/// Buffers for one row at a time.
#[derive(Debug, Default)]
struct Scratch {
    penalised: Vec<f32>,
    weights: Vec<u64>,
    histogram: Vec<u64>,
    edge: Vec<u32>,
}

/// Draws the token of one row.
fn draw(row: &Row<'_>, scratch: &mut Scratch) -> Drawn {
    let sampling = row.sampling;
    let (mut low, mut high, finite) = row::range(row.logits);
    if !finite || row.logits.is_empty() {
        return Drawn::NON_FINITE;
    }
    let Scratch {
        penalised,
        weights,
        histogram,
        edge,
    } = scratch;
    let max = high;
    let bits = weight_bits(row.logits.len());
    let unpenalised = sampling.repetition_penalty == 1.0;
    let logits = if unpenalised {
        row.logits
    } else {
        penalised.clear();
        penalised.extend_from_slice(row.logits);
        penalise(penalised, row.seen, sampling.repetition_penalty);
        (low, high, _) = row::range(penalised);
        penalised
    };
    let mut normaliser = None;
    let token = if sampling.is_greedy() {
        logits.iter().position(|&x| x == high)
    } else {
        weights.resize(logits.len(), 0);
        let (mut mass, sum) = row::weights(logits, high, sampling.temperature, bits, weights);
        normaliser = unpenalised.then_some(sum);
        let mut cut = Cut {
            logits,
            high,
            range: high - low,
            histogram,
            edge,
        };
        if let Some(k) = sampling.top_k.filter(|&k| k < logits.len()) {
            mass = cut.keep(weights, Measure::Count, k as u64);
        }
        if sampling.top_p < 1.0 {
            // At least 1 and at most the whole mass, because p is between 0 and 1.
            let target = (f64::from(sampling.top_p) * mass as f64).ceil() as u64;
            // Tokens farther below the largest logit have weight 0, so that their order is
            // irrelevant.
            let reach = sampling.temperature * (bits + 2) as f32 * std::f32::consts::LN_2;
            cut.range = cut.range.min(reach);
            mass = cut.keep(weights, Measure::Mass, target.clamp(1, mass));
        }
        if sampling.min_p > 0.0 {
            let least = (f64::from(sampling.min_p) * (1u64 << bits) as f64).ceil() as u64;
            mass = row::keep_at_least(least, weights);
        }
        row::locate(weights, row.random.below(row.position, mass))
    };
    // Both searches succeed: the largest logit is in the row, and the point is below the mass.
    let token = token.unwrap_or(0);
    Drawn {
        token: token as u32,
        logit: row.logits[token],
        max,
        normaliser: normaliser.unwrap_or_else(|| row::normaliser(row.logits, max, bits)),
        finite: true,
    }
}

/// Applies the repetition penalty of Hugging Face transformers, kept finite.
fn penalise(logits: &mut [f32], seen: &[u32], penalty: f32) {
    for &token in seen {
        if let Some(x) = logits.get_mut(token as usize) {
            let y = if *x < 0.0 { *x * penalty } else { *x / penalty };
            *x = y.clamp(f32::MIN, f32::MAX);
        }
    }
}

/// The `n` for which weights are multiples of 2^-n: as large as possible while the sum over a
/// vocabulary stays below 2^62.
pub(super) fn weight_bits(vocabulary: usize) -> u32 {
    let width = usize::BITS - vocabulary.saturating_sub(1).leading_zeros();
    62u32.saturating_sub(width).min(51)
}

/// The quantity that a cut limits.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    Count,
    Mass,
}

/// Truncates the order "falling logit, rising id" after its shortest prefix with enough of a
/// measure.
struct Cut<'a> {
    logits: &'a [f32],
    /// The largest logit.
    high: f32,
    /// The distance from the largest logit that the bins cover. The last bin holds everything
    /// below.
    range: f32,
    histogram: &'a mut Vec<u64>,
    edge: &'a mut Vec<u32>,
}

impl Cut<'_> {
    /// The number of bins for the logits' range: large enough that the prefix's last bin holds only
    /// a few tokens, which are sorted.
    const STEPS: usize = 2048;

    /// Sets to 0 the weights after the shortest prefix that measures `target`, which is at least 1
    /// and at most the measure of all tokens. Returns the mass of the prefix.
    fn keep(&mut self, weights: &mut [u64], measure: Measure, target: u64) -> u64 {
        let logits = self.logits;
        let last = Self::STEPS - 1;
        let steps = row::Steps {
            max: self.high,
            scale: (last as f32 / self.range.min(f32::MAX)).min(f32::MAX),
            last: last as u32,
        };
        self.histogram.clear();
        self.histogram.resize(Self::STEPS, 0);
        let weighed = match measure {
            Measure::Count => None,
            Measure::Mass => Some(&*weights),
        };
        row::histogram(logits, steps, weighed, self.histogram);
        let mut left = target;
        let mut edge = last;
        for (step, &sum) in self.histogram.iter().enumerate() {
            if sum >= left {
                edge = step;
                break;
            }
            left -= sum;
        }
        self.edge.clear();
        row::positions(logits, steps, edge as u32, self.edge);
        let logit = |id: u32| logits[id as usize];
        self.edge.sort_unstable_by(|&a, &b| {
            let falling = logit(b).partial_cmp(&logit(a)).unwrap_or(Equal);
            falling.then(a.cmp(&b))
        });
        for &id in &*self.edge {
            let measured = match measure {
                Measure::Count => 1,
                Measure::Mass => weights[id as usize],
            };
            if measured >= left {
                return row::keep_until(logits, logit(id), id, weights);
            }
            left -= measured;
        }
        row::total(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_k: Option<usize>, top_p: f32, min_p: f32) -> Sampling {
        Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            ..Sampling::default()
        }
    }

    fn draw_one(logits: &[f32], sampling: &Sampling, seen: &[u32], key: u64, at: u64) -> Drawn {
        let row = Row {
            logits,
            seen,
            sampling,
            random: Philox::new(key),
            position: at,
        };
        let drawn = draw(&row, &mut Scratch::default());
        assert!(drawn.finite);
        drawn
    }

    fn logprob(drawn: &Drawn, logits: &[f32]) -> f64 {
        drawn.logprob(weight_bits(logits.len()))
    }

    /// The probabilities of the kept tokens by definition, in f64: sort everything, truncate,
    /// normalize.
    fn exact(logits: &[f32], s: &Sampling) -> Vec<f64> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
        let t = f64::from(s.temperature);
        let high = f64::from(logits[order[0]]);
        let weight = |i: usize| ((f64::from(logits[i]) - high) / t).exp();
        order.truncate(s.top_k.unwrap_or(usize::MAX));
        let total: f64 = order.iter().map(|&i| weight(i)).sum();
        let mut mass = 0.0;
        let mut kept = Vec::new();
        for &i in &order {
            kept.push(i);
            mass += weight(i);
            if mass >= f64::from(s.top_p) * total {
                break;
            }
        }
        kept.retain(|&i| weight(i) >= f64::from(s.min_p));
        let total: f64 = kept.iter().map(|&i| weight(i)).sum();
        let mut p = vec![0.0; logits.len()];
        for i in kept {
            p[i] = weight(i) / total;
        }
        p
    }

    /// The kept tokens by sorting the whole row, with the sampler's weights.
    fn kept_by_sorting(logits: &[f32], s: &Sampling) -> Vec<u64> {
        let bits = weight_bits(logits.len());
        let high = row::range(logits).1;
        let mut weights = vec![0; logits.len()];
        row::weights(logits, high, s.temperature, bits, &mut weights);
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].partial_cmp(&logits[a]).unwrap().then(a.cmp(&b)));
        order.truncate(s.top_k.unwrap_or(usize::MAX));
        let total: u64 = order.iter().map(|&i| weights[i]).sum();
        let target = (f64::from(s.top_p) * total as f64).ceil() as u64;
        let mut out = vec![0; logits.len()];
        let mut mass = 0;
        for i in order {
            if mass >= target {
                break;
            }
            mass += weights[i];
            if weights[i] as f64 >= f64::from(s.min_p) * (1u64 << bits) as f64 {
                out[i] = weights[i];
            }
        }
        out
    }

    fn rows() -> Vec<Vec<f32>> {
        let mut rows = Vec::new();
        for (seed, len) in [1, 2, 3, 17, 100, 1000, 5000].into_iter().enumerate() {
            let random = Philox::new(seed as u64);
            let noise = |scale: f64, shift: f64| -> Vec<f32> {
                (0..len)
                    .map(|i| (scale * random.uniform(i) + shift) as f32)
                    .collect()
            };
            rows.push(noise(20.0, -15.0));
            rows.push(noise(1e-5, 3.0));
            rows.push(noise(1e4, -5e3));
            // Ties everywhere, including zeros of both signs.
            rows.push(noise(6.0, -3.0).iter().map(|x| x.trunc()).collect());
            rows.push(vec![-7.25; len as usize]);
            // One far above, and one as far below as possible.
            let mut spread = noise(2.0, 0.0);
            spread[len as usize / 2] = f32::MIN;
            spread[len as usize / 3] = 60.0;
            rows.push(spread);
        }
        rows
    }

    #[test]
    fn cutting_by_steps_is_cutting_by_sorting() {
        let mut scratch = Scratch::default();
        let mut cases = 0;
        for row in rows() {
            for temperature in [1e-3, 0.3, 1.0, 1.6, 50.0, 1e30] {
                for top_k in [None, Some(1), Some(2), Some(40), Some(900)] {
                    for (top_p, min_p) in [
                        (1.0, 0.0),
                        (0.95, 0.0),
                        (0.5, 0.0),
                        (1e-9, 0.0),
                        (0.9, 0.05),
                        (1.0, 0.3),
                    ] {
                        let s = sampling(temperature, top_k, top_p, min_p);
                        let wanted = kept_by_sorting(&row, &s);
                        let mass: u64 = wanted.iter().sum();
                        for position in 0..3 {
                            let one = Row {
                                logits: &row,
                                seen: &[],
                                sampling: &s,
                                random: Philox::new(9),
                                position,
                            };
                            let token = draw(&one, &mut scratch).token as usize;
                            assert_eq!(scratch.weights, wanted, "{s:?}");
                            let point = one.random.below(position, mass);
                            let below: u64 = wanted[..token].iter().sum();
                            assert!(below <= point && point < below + wanted[token]);
                        }
                        cases += 1;
                    }
                }
            }
        }
        assert_eq!(cases, 42 * 6 * 5 * 6);
    }

    /// Chi-square of 40,000 draws per setting against the exact distribution. The seeds are fixed,
    /// so that the result is deterministic.
    #[test]
    fn draws_follow_the_exact_distribution() {
        let random = Philox::new(77);
        let logits: Vec<f32> = (0..64)
            .map(|i| (4.0 * random.uniform(i)) as f32)
            .chain([2.5, 2.5, 2.5])
            .collect();
        let settings = [
            sampling(1.0, None, 1.0, 0.0),
            sampling(1.6, None, 0.95, 0.0),
            sampling(0.7, None, 0.8, 0.0),
            sampling(1.0, Some(10), 1.0, 0.0),
            sampling(1.3, Some(30), 0.9, 0.0),
            sampling(1.0, None, 1.0, 0.2),
            sampling(2.0, Some(40), 0.9, 0.3),
        ];
        for (key, s) in settings.iter().enumerate() {
            let p = exact(&logits, s);
            let draws = 40_000u64;
            let mut counts = vec![0u32; logits.len()];
            for position in 0..draws {
                counts[draw_one(&logits, s, &[], key as u64, position).token as usize] += 1;
            }
            let mut chi = 0.0;
            let mut kinds = 0;
            for (&n, &p) in counts.iter().zip(&p) {
                if p == 0.0 {
                    assert_eq!(n, 0, "drew what was cut: {s:?}");
                    continue;
                }
                let expected = p * draws as f64;
                assert!(expected > 5.0);
                chi += (f64::from(n) - expected).powi(2) / expected;
                kinds += 1;
            }
            assert!(kinds > 3);
            // Wilson and Hilferty's approximation of the 99.9 % quantile.
            let df = f64::from(kinds - 1);
            let limit = df * (1.0 - 2.0 / (9.0 * df) + 3.09 * (2.0 / (9.0 * df)).sqrt()).powi(3);
            assert!(chi < limit, "chi-square {chi} over {limit}: {s:?}");
        }
    }

    #[test]
    fn one_draw_after_another_is_as_good_as_one_trial_after_another() {
        // Positions of one key and keys at one position are both uniform.
        let logits = [0.0; 4];
        let s = Sampling::default();
        for by_key in [false, true] {
            let mut counts = [0u32; 4];
            for i in 0..20_000 {
                let (key, at) = if by_key { (i, 0) } else { (0, i) };
                counts[draw_one(&logits, &s, &[], key, at).token as usize] += 1;
            }
            let chi: f64 = counts
                .iter()
                .map(|&n| (f64::from(n) - 5000.0).powi(2) / 5000.0)
                .sum();
            assert!(chi < 16.3, "chi-square {chi}");
        }
    }

    #[test]
    fn greedy_takes_the_lowest_id_of_the_largest() {
        let logits = [1.0, 3.0, -2.0, 3.0, 3.0];
        let draw = draw_one(&logits, &Sampling::greedy(), &[], 1, 0);
        assert_eq!(draw.token, 1);
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        assert!((logprob(&draw, &logits) - (3.0 - sum.ln())).abs() < 1e-6);
    }

    #[test]
    fn log_probability_is_the_models_own() {
        let logits = [1.0, 3.0, -2.0, 2.0];
        let sum: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let s = Sampling {
            repetition_penalty: 2.0,
            ..sampling(0.5, Some(2), 0.9, 0.1)
        };
        for at in 0..50 {
            let draw = draw_one(&logits, &s, &[1], 3, at);
            let own = f64::from(logits[draw.token as usize]) - sum.ln();
            assert!((logprob(&draw, &logits) - own).abs() < 1e-6);
        }
    }

    #[test]
    fn repetition_penalty_divides_what_is_positive_and_multiplies_what_is_negative() {
        let mut logits = vec![3.0, -1.0, 2.9, f32::MIN, f32::MAX];
        penalise(&mut logits, &[0, 1, 3, 4, 99], 2.0);
        assert_eq!(logits, [1.5, -2.0, 2.9, f32::MIN, f32::MAX / 2.0]);
        let s = Sampling {
            repetition_penalty: 1.1,
            ..Sampling::greedy()
        };
        assert_eq!(draw_one(&[3.0, 2.9], &s, &[], 0, 0).token, 0);
        assert_eq!(draw_one(&[3.0, 2.9], &s, &[0], 0, 0).token, 1);
        assert_eq!(draw_one(&[-3.0, -3.1], &s, &[0], 0, 0).token, 1);
    }

    #[test]
    fn rows_that_are_not_finite_say_so() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for sampling in [Sampling::greedy(), Sampling::dart()] {
                for logits in [&[0.0, 1.0, bad][..], &[]] {
                    let row = Row {
                        logits,
                        seen: &[],
                        sampling: &sampling,
                        random: Philox::new(0),
                        position: 0,
                    };
                    assert!(!draw(&row, &mut Scratch::default()).finite);
                }
            }
        }
    }

    #[test]
    fn the_normaliser_is_the_integer_sum_whatever_the_sampling() {
        for logits in rows() {
            let bits = weight_bits(logits.len());
            let max = row::range(&logits).1;
            let mut weights = vec![0; logits.len()];
            let (sum, _) = row::weights(&logits, max, 1.0, bits, &mut weights);
            for s in [Sampling::greedy(), Sampling::default(), Sampling::dart()] {
                let penalised = Sampling {
                    repetition_penalty: 1.3,
                    ..s
                };
                for s in [s, penalised] {
                    let drawn = draw_one(&logits, &s, &[0], 5, 1);
                    assert_eq!((drawn.normaliser, drawn.max), (sum, max));
                    assert_eq!(drawn.logit, logits[drawn.token as usize]);
                }
            }
        }
    }

    #[test]
    fn rows_do_not_depend_on_one_another_or_on_threads() {
        let random = Philox::new(4);
        let vocabulary = 997;
        let all: Vec<Vec<f32>> = (0..33)
            .map(|r| {
                (0..vocabulary)
                    .map(|i| (12.0 * random.uniform(r * vocabulary + i)) as f32)
                    .collect()
            })
            .collect();
        // Rows of one step may have different settings.
        let settings = [Sampling::dart(), Sampling::greedy(), Sampling::default()];
        let rows: Vec<Row<'_>> = all
            .iter()
            .enumerate()
            .map(|(i, logits)| Row {
                logits,
                seen: &[],
                sampling: &settings[i % 3],
                random: Philox::new(i as u64),
                position: 5,
            })
            .collect();
        let draws =
            |rows: &[Row<'_>], threads: usize| -> Vec<Drawn> { Sampler::new(threads).draw(rows) };
        let together = draws(&rows, 4);
        assert_eq!(together.len(), rows.len());
        assert_eq!(together, draws(&rows, 1));
        assert_eq!(together, draws(&rows, 33));
        for (row, one) in rows.iter().zip(&together) {
            assert_eq!(draws(std::slice::from_ref(row), 3), [*one]);
        }
        assert!(draws(&[], 2).is_empty());
    }
}
