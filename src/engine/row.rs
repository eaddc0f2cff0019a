//! Passes over one row of logits, written so that the compiler vectorizes them.
//!
//! Every pass is plain arithmetic in a fixed order without fused multiply-add, so that its result
//! is bit-identical on every platform and for every vector width. Independent of sampling.

/// The number of elements that a pass processes side by side. Sums use this many lanes, which are
/// added in order at the end.
const LANES: usize = 16;

/// Defines a function for the target's baseline, for AVX2 and for AVX-512, and selects one at run
/// time.
macro_rules! multiversion {
    ($(#[$meta:meta])* fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {
        $(#[$meta])*
        pub(super) fn $name($($arg: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $result)? {
                    body($($arg),*)
                }
                if std::is_x86_feature_detected!("avx512f")
                    && std::is_x86_feature_detected!("avx512bw")
                    && std::is_x86_feature_detected!("avx512dq")
                    && std::is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has all of these, and therefore AVX2.
                    return unsafe { avx512($($arg),*) };
                }
                if std::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has AVX2.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}

/// The exponential of a non-positive number, to about 1.5 ULP. Clamps at -87 (1.6e-38).
#[inline(always)]
fn exp_negative(x: f32) -> f32 {
    // 1.5 · 2^23: adding it rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 = HIGH + LOW, where HIGH has few enough bits that its product with the integer is exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.max(-87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let r = x - whole * LN2_HIGH - whole * LN2_LOW;
    // Taylor series on |r| <= ln 2 / 2: the first omitted term is below 6e-9.
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    p * f32::from_bits(((exponent + 127) as u32) << 23)
}

multiversion! {
    /// Returns the smallest and the largest number of a row, and whether all are finite. For an
    /// empty row: `(inf, -inf, true)`.
    fn range(row: &[f32]) -> (f32, f32, bool) {
        let mut low = [f32::INFINITY; LANES];
        let mut high = [f32::NEG_INFINITY; LANES];
        // x · 0 is 0 for finite x and NaN otherwise; NaN propagates through a sum.
        let mut check = [0f32; LANES];
        let (chunks, rest) = row.as_chunks::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                let x = chunk[i];
                low[i] = if x < low[i] { x } else { low[i] };
                high[i] = if x > high[i] { x } else { high[i] };
                check[i] += x * 0.0;
            }
        }
        for (i, &x) in rest.iter().enumerate() {
            low[i] = low[i].min(x);
            high[i] = high[i].max(x);
            check[i] += x * 0.0;
        }
        (
            low.into_iter().fold(f32::INFINITY, f32::min),
            high.into_iter().fold(f32::NEG_INFINITY, f32::max),
            check.into_iter().all(|c| c == 0.0),
        )
    }
}

/// The number of elements processed at a time, so that the data between two passes stays in the L1
/// cache. A whole row of some hundred kilobytes would not.
const BLOCK: usize = 512;

/// The f64 that, added to numbers from 0 to 1, rounds them to multiples of 2^-bits: the lowest bit
/// of a sum has this value. `bits` is at most 51.
#[inline(always)]
fn rounder(bits: u32) -> f64 {
    (1u64 << (52 - bits)) as f64
}

/// Adds the bits of numbers plus the rounder. The rounder is subtracted once, at the end.
#[inline(always)]
fn add_rounded(block: &[f32], round: f64, sum: u64) -> u64 {
    let bits = block.iter().map(|&x| (f64::from(x) + round).to_bits());
    bits.fold(sum, u64::wrapping_add)
}

/// The sum of the multiples, given the sum of the bits of `count` numbers.
#[inline(always)]
fn without_rounder(sum: u64, count: usize, round: f64) -> u64 {
    sum.wrapping_sub(round.to_bits().wrapping_mul(count as u64))
}

/// Writes `exp((x - max) / temperature)`.
#[inline(always)]
fn exponentials(block: &[f32], max: f32, temperature: f32, out: &mut [f32]) {
    for (e, &x) in out.iter_mut().zip(block) {
        *e = exp_negative((x - max) / temperature);
    }
}

multiversion! {
    /// Returns the sum of `exp(x - max)`, where `max` is the row's largest number. Each term is
    /// rounded to the nearest integer multiple of 2^-bits (`bits` at most 51), so that the sum does
    /// not depend on the order.
    fn normaliser(row: &[f32], max: f32, bits: u32) -> u64 {
        let round = rounder(bits);
        let mut sum = 0;
        let mut buffer = [0f32; BLOCK];
        for block in row.chunks(BLOCK) {
            let powers = &mut buffer[..block.len()];
            exponentials(block, max, 1.0, powers);
            sum = add_rounded(powers, round, sum);
        }
        without_rounder(sum, row.len(), round)
    }
}

multiversion! {
    /// Writes `exp((x - max) / temperature)`, where `max` is the row's largest number, as integer
    /// multiples of 2^-bits, rounded to the nearest; `bits` is at most 51. Returns their sum, and
    /// the result of [`normaliser`].
    fn weights(
        row: &[f32],
        max: f32,
        temperature: f32,
        bits: u32,
        weights: &mut [u64]
    ) -> (u64, u64) {
        let round = rounder(bits);
        let (mut mass, mut normaliser) = (0, 0);
        let mut buffer = [0f32; BLOCK];
        for (block, weights) in row.chunks(BLOCK).zip(weights.chunks_mut(BLOCK)) {
            let powers = &mut buffer[..block.len()];
            exponentials(block, max, 1.0, powers);
            if temperature != 1.0 {
                normaliser = add_rounded(powers, round, normaliser);
                exponentials(block, max, temperature, powers);
            }
            for (weight, &x) in weights.iter_mut().zip(&*powers) {
                *weight = (f64::from(x) + round).to_bits() - round.to_bits();
                mass += *weight;
            }
        }
        if temperature == 1.0 {
            return (mass, mass);
        }
        (mass, without_rounder(normaliser, row.len(), round))
    }
}

/// Bins for the distance of numbers from the largest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    /// The largest number.
    pub(super) max: f32,
    /// The number of bins per unit of distance.
    pub(super) scale: f32,
    /// The last bin, which holds all larger distances; below 2^23.
    pub(super) last: u32,
}

impl Steps {
    /// Writes the bin of each number. A larger number never gets a larger bin.
    #[inline(always)]
    fn write(self, block: &[f32], steps: &mut [u32]) {
        const ROUND: f32 = 8_388_608.0;
        let top = self.last as f32;
        for (step, &x) in steps.iter_mut().zip(block) {
            let distance = (self.max - x) * self.scale;
            let distance = if distance < top { distance } else { top };
            *step = (distance + ROUND).to_bits() - ROUND.to_bits();
        }
    }
}

multiversion! {
    /// Adds each number's weight (1 without weights) to the sum of its bin. The number of bins must
    /// be a power of two.
    fn histogram(row: &[f32], steps: Steps, weights: Option<&[u64]>, sums: &mut [u64]) {
        assert!(sums.len().is_power_of_two() && sums.len() == steps.last as usize + 1);
        // Has no effect, but avoids the bounds check.
        let mask = sums.len() - 1;
        let mut buffer = [0u32; BLOCK];
        for (index, block) in row.chunks(BLOCK).enumerate() {
            let found = &mut buffer[..block.len()];
            steps.write(block, found);
            match weights {
                None => {
                    for &step in &*found {
                        sums[step as usize & mask] += 1;
                    }
                }
                Some(weights) => {
                    for (&step, &weight) in found.iter().zip(&weights[index * BLOCK..]) {
                        sums[step as usize & mask] += weight;
                    }
                }
            }
        }
    }
}

multiversion! {
    /// Appends the positions of numbers in bin `step`; fast if there are few.
    fn positions(row: &[f32], steps: Steps, step: u32, found: &mut Vec<u32>) {
        const CHUNK: usize = 64;
        let mut buffer = [0u32; CHUNK];
        for (index, block) in row.chunks(CHUNK).enumerate() {
            let of_block = &mut buffer[..block.len()];
            steps.write(block, of_block);
            // No early exit, so that the loop is vectorized.
            let some = of_block.iter().fold(false, |some, &s| some | (s == step));
            if some {
                let places = (0..).zip(&*of_block).filter(|&(_, &s)| s == step);
                found.extend(places.map(|(offset, _)| (index * CHUNK) as u32 + offset));
            }
        }
    }
}

multiversion! {
    /// Sets to 0 the weights of all tokens after (`logit`, `id`) in the order of falling logit and
    /// rising id. Returns the sum of the others.
    fn keep_until(row: &[f32], logit: f32, id: u32, weights: &mut [u64]) -> u64 {
        let end = (id as usize + 1).min(row.len());
        let (early, late) = weights.split_at_mut(end);
        let mut sum = 0;
        for (weight, &x) in early.iter_mut().zip(&row[..end]) {
            *weight &= if x >= logit { u64::MAX } else { 0 };
            sum += *weight;
        }
        for (weight, &x) in late.iter_mut().zip(&row[end..]) {
            *weight &= if x > logit { u64::MAX } else { 0 };
            sum += *weight;
        }
        sum
    }
}

multiversion! {
    /// Sets to 0 the weights below `least`. Returns the sum of the others.
    fn keep_at_least(least: u64, weights: &mut [u64]) -> u64 {
        let mut sum = 0;
        for weight in weights {
            *weight &= if *weight >= least { u64::MAX } else { 0 };
            sum += *weight;
        }
        sum
    }
}

multiversion! {
    /// Returns the sum of the weights.
    fn total(weights: &[u64]) -> u64 {
        weights.iter().sum()
    }
}

/// Returns the position at which the running sum of weights first exceeds `point`; `None` if
/// `point` is not below their sum.
pub(super) fn locate(weights: &[u64], mut point: u64) -> Option<usize> {
    const CHUNK: usize = 512;
    for (index, chunk) in weights.chunks(CHUNK).enumerate() {
        let sum = total(chunk);
        if point >= sum {
            point -= sum;
            continue;
        }
        for (offset, &weight) in chunk.iter().enumerate() {
            if point < weight {
                return Some(index * CHUNK + offset);
            }
            point -= weight;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Philox;

    fn noise(seed: u64, len: usize, low: f32, high: f32) -> Vec<f32> {
        let random = Philox::new(seed);
        (0..len as u64)
            .map(|i| low + (high - low) * random.uniform(i) as f32)
            .collect()
    }

    #[test]
    fn exponential_is_close() {
        let mut worst = 0f64;
        for i in 0..=87_000 {
            let x = -(i as f32) / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp_negative(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.5e-7, "relative error {worst}");
        assert_eq!(exp_negative(0.0), 1.0);
        assert_eq!(exp_negative(f32::NEG_INFINITY), exp_negative(-87.0));
    }

    #[test]
    fn passes_agree_with_plain_sums() {
        for len in [1, 2, 15, 16, 17, 511, 512, 513, 1000, 1040] {
            let row = noise(len as u64, len, -30.0, 10.0);
            let (low, high, finite) = range(&row);
            assert!(finite);
            assert_eq!(low, row.iter().copied().fold(f32::INFINITY, f32::min));
            assert_eq!(high, row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let exact: f64 = row.iter().map(|&x| f64::from(x - high).exp()).sum();
            let sum = normaliser(&row, high, 46);
            assert!((sum as f64 / 2f64.powi(46) / exact - 1.0).abs() < 1e-6);
            // The order of summation does not matter.
            let reversed: Vec<f32> = row.iter().rev().copied().collect();
            assert_eq!(normaliser(&reversed, high, 46), sum);
            let mut out = vec![0; len];
            for temperature in [1.0, 1.6] {
                let found = weights(&row, high, temperature, 46, &mut out);
                assert_eq!(found, (out.iter().sum(), sum));
            }
            // Scaling by a power of two and rounding gives the same multiples.
            let mut powers = vec![0.0; len];
            exponentials(&row, high, 1.6, &mut powers);
            for (&x, &w) in powers.iter().zip(&out) {
                assert_eq!(w, (f64::from(x) * 2f64.powi(46)).round_ties_even() as u64);
            }
            for (&x, &w) in row.iter().zip(&out) {
                let exact = (f64::from(x - high) / 1.6).exp();
                assert!((w as f64 / 2f64.powi(46) - exact).abs() < 2e-6 * exact + 1e-13);
            }
            // Every point on the line of weights belongs to its token.
            let mut before = 0;
            for (i, &w) in out.iter().enumerate() {
                if w > 0 {
                    assert_eq!(locate(&out, before), Some(i));
                    assert_eq!(locate(&out, before + w - 1), Some(i));
                }
                before += w;
            }
            assert_eq!(locate(&out, before), None);
        }
    }

    #[test]
    fn what_is_not_finite_is_seen_at_every_place() {
        for len in [1, 16, 17, 40] {
            for at in 0..len {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut row = noise(1, len, -1.0, 1.0);
                    row[at] = bad;
                    assert!(!range(&row).2, "{bad} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn steps_never_rise_with_the_logit() {
        let mut row = noise(5, 3000, -100.0, 3.0);
        row.sort_by(f32::total_cmp);
        row.reverse();
        for scale in [0.0, 1e-3, 1.0, 37.0, 1e30, f32::MAX] {
            let mut out = vec![0; row.len()];
            let steps = Steps {
                max: row[0],
                scale,
                last: 2047,
            };
            steps.write(&row, &mut out);
            let mut found = Vec::new();
            positions(&row, steps, out[1700], &mut found);
            let plain: Vec<u32> = (0..3000)
                .filter(|&i| out[i as usize] == out[1700])
                .collect();
            let weighed: Vec<u64> = (0..3000).map(|i| i * i).collect();
            for weights in [None, Some(&weighed[..])] {
                let (mut sums, mut expected) = (vec![0; 2048], vec![0; 2048]);
                histogram(&row, steps, weights, &mut sums);
                for (i, &step) in out.iter().enumerate() {
                    expected[step as usize] += weights.map_or(1, |weights| weights[i]);
                }
                assert_eq!(sums, expected);
            }
            assert_eq!(found, plain);
            assert!(
                out.is_sorted() && out[0] == 0 && out[2999] <= 2047,
                "{scale}"
            );
        }
    }
}
