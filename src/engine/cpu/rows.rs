//! Operations on single rows: norms, RoPE, activation, softmax. Each is compiled for every level of
//! vector instructions.
//!
//! Sums use sixteen lanes, with element `i` in lane `i % 16`, and the lanes are summed in a fixed
//! tree. The order depends only on the elements' positions.

use half::bf16;

use super::lanes::WIDTH;
use super::simd::{for_each_level, multiply_add};

for_each_level! {
    /// RMSNorm: `out = x / √(mean(x²) + eps) · weight`.
    fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) = rms_norm_body
}

#[inline(always)]
fn rms_norm_body<const FUSE: bool>(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mut lanes = [0f32; WIDTH];
    for x in x.chunks(WIDTH) {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = multiply_add::<FUSE>(x, x, *lane);
        }
    }
    let mean = sum(lanes) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * weight;
    }
}

for_each_level! {
    /// RMSNorm in place.
    fn rms_norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) = rms_norm_in_place_body
}

#[inline(always)]
fn rms_norm_in_place_body<const FUSE: bool>(x: &mut [f32], weight: &[f32], eps: f32) {
    let mut lanes = [0f32; WIDTH];
    for x in x.chunks(WIDTH) {
        for (lane, &x) in lanes.iter_mut().zip(x) {
            *lane = multiply_add::<FUSE>(x, x, *lane);
        }
    }
    let mean = sum(lanes) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for (x, &weight) in x.iter_mut().zip(weight) {
        *x = *x * scale * weight;
    }
}

for_each_level! {
    /// `x += y`.
    fn add(x: &mut [f32], y: &[f32]) = add_body
}

#[inline(always)]
fn add_body<const FUSE: bool>(x: &mut [f32], y: &[f32]) {
    for (x, &y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

for_each_level! {
    /// `x += y`, then RMSNorm of the sum into `out`.
    fn add_rms_norm(x: &mut [f32], y: &[f32], weight: &[f32], eps: f32, out: &mut [f32])
        = add_rms_norm_body
}

#[inline(always)]
fn add_rms_norm_body<const FUSE: bool>(
    x: &mut [f32],
    y: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    add_body::<FUSE>(x, y);
    rms_norm_body::<FUSE>(x, weight, eps, out);
}

for_each_level! {
    /// `out = x · factor`.
    fn scale(x: &[f32], factor: f32, out: &mut [f32]) = scale_body
}

#[inline(always)]
fn scale_body<const FUSE: bool>(x: &[f32], factor: f32, out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x * factor;
    }
}

for_each_level! {
    /// `out = x`, exactly.
    fn bf16_to_f32(x: &[bf16], out: &mut [f32]) = bf16_to_f32_body
}

#[inline(always)]
fn bf16_to_f32_body<const FUSE: bool>(x: &[bf16], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f32::from_bits(u32::from(x.to_bits()) << 16);
    }
}

for_each_level! {
    /// RoPE of a head at one position, in half-split order.
    fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) = rotate_body
}

#[inline(always)]
fn rotate_body<const FUSE: bool>(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (
            multiply_add::<FUSE>(*a, cos, -(*b * sin)),
            multiply_add::<FUSE>(*a, sin, *b * cos),
        );
    }
}

for_each_level! {
    /// `out = SiLU(gate) · up`, with `SiLU(x) = x / (1 + e⁻ˣ)`.
    fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) = swiglu_body
}

#[inline(always)]
fn swiglu_body<const FUSE: bool>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp::<FUSE>(-gate)) * up;
    }
}

for_each_level! {
    /// Replaces the scores of `from..to` by `exp(score - largest)` and all others by 0, and returns
    /// the sum. The length of `scores` must be a multiple of the lanes.
    fn softmax_weights(scores: &mut [f32], from: usize, to: usize) -> f32 = softmax_weights_body
}

#[inline(always)]
fn softmax_weights_body<const FUSE: bool>(scores: &mut [f32], from: usize, to: usize) -> f32 {
    let mut largest = [f32::NEG_INFINITY; WIDTH];
    for scores in scores[from..to].chunks(WIDTH) {
        for (largest, &score) in largest.iter_mut().zip(scores) {
            *largest = if score > *largest { score } else { *largest };
        }
    }
    let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    scores[..from].fill(0.0);
    for score in &mut scores[from..to] {
        *score = exp::<FUSE>(*score - largest);
    }
    scores[to..].fill(0.0);
    let mut lanes = [0f32; WIDTH];
    for scores in scores.chunks_exact(WIDTH) {
        for (lane, &score) in lanes.iter_mut().zip(scores) {
            *lane += score;
        }
    }
    sum(lanes)
}

#[inline(always)]
fn sum(lanes: [f32; WIDTH]) -> f32 {
    let mut lanes = lanes;
    let mut half = WIDTH / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `eˣ` to about 1 ULP: `2ⁿ · eʳ` with `|r| ≤ ln 2 / 2` and the Taylor polynomial of degree 7 for
/// `eʳ`, whose remainder is below `2⁻²⁷`. Saturates at the smallest normal number; overflows to
/// infinity.
#[inline(always)]
fn exp<const FUSE: bool>(x: f32) -> f32 {
    // ln 2 in two parts. The first has few enough bits that its product with `n` is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting 1.5 · 2²³ rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.3, 89.0);
    let rounded = multiply_add::<FUSE>(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = multiply_add::<FUSE>(n, -LN_2_HIGH, x);
    let r = multiply_add::<FUSE>(n, -LN_2_LOW, r);
    let mut e = 1.0 / 5040.0;
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        e = multiply_add::<FUSE>(e, r, coefficient);
    }
    // Two factors, because 2¹²⁸ is not an f32. The last bits of the rounded sum are `n` as an
    // integer.
    let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    e * power(half) * power(n - half)
}

#[cfg(test)]
mod tests {
    use super::super::simd::Level;
    use super::*;

    for_each_level! {
        /// `eˣ` of each element.
        fn exps(x: &[f32], out: &mut [f32]) = exps_body
    }

    #[inline(always)]
    fn exps_body<const FUSE: bool>(x: &[f32], out: &mut [f32]) {
        for (out, &x) in out.iter_mut().zip(x) {
            *out = exp::<FUSE>(x);
        }
    }

    #[test]
    fn exponentials_are_exact_to_two_units() {
        let x: Vec<f32> = (-87_000..88_000).map(|i| i as f32 * 1e-3 + 1e-5).collect();
        let mut out = vec![0.0; x.len()];
        for level in Level::available() {
            exps(level, &x, &mut out);
            for (&x, &e) in x.iter().zip(&out) {
                let exact = f64::from(x).exp();
                let error = (f64::from(e) - exact).abs() / exact;
                assert!(
                    error < 2.0 * f64::from(f32::EPSILON),
                    "{level:?}: e^{x} = {e}"
                );
            }
            let ends = [f32::NEG_INFINITY, -1e4, 0.0, 1e4, f32::NAN];
            let mut out = [0.0; 5];
            exps(level, &ends, &mut out);
            assert!(out[0] < 1.3e-38 && out[1] < 1.3e-38 && out[2] == 1.0);
            assert!(out[3] == f32::INFINITY && out[4].is_nan());
        }
    }

    #[test]
    fn rows_agree_with_plain_loops() {
        let x: Vec<f32> = (0..37).map(|i| (i as f32 * 0.7).sin() * 3.0).collect();
        let y: Vec<f32> = (0..37).map(|i| (i as f32 * 0.3).cos() + 1.5).collect();
        let near = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-5, "{a} is not {b}");
        let squares: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let norm = (squares / 37.0 + 1e-6).sqrt();
        for level in Level::available() {
            let mut out = vec![0.0; 37];
            rms_norm(level, &x, &y, 1e-6, &mut out);
            for i in 0..37 {
                near(out[i], f64::from(x[i]) / norm * f64::from(y[i]));
            }
            let (mut sum, mut normed) = (x.clone(), vec![0.0; 37]);
            add_rms_norm(level, &mut sum, &y, &x, 1e-6, &mut normed);
            let plain: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            rms_norm(level, &plain, &x, 1e-6, &mut out);
            assert_eq!((sum, normed), (plain, out.clone()));
            swiglu(level, &x, &y, &mut out);
            for i in 0..37 {
                let x = f64::from(x[i]);
                near(out[i], x / (1.0 + (-x).exp()) * f64::from(y[i]));
            }
            let mut scores = [&x[..], &[f32::NAN; 11]].concat();
            let total = softmax_weights(level, &mut scores, 3, 33);
            let exact: Vec<f64> = (3..33).map(|i| f64::from(x[i])).collect();
            let largest = exact.iter().copied().fold(f64::MIN, f64::max);
            near(total, exact.iter().map(|x| (x - largest).exp()).sum());
            for (i, &score) in scores.iter().enumerate() {
                match i {
                    3..33 => near(score, (exact[i - 3] - largest).exp()),
                    _ => assert_eq!(score, 0.0),
                }
            }
            let mut head = x[..12].to_vec();
            rotate(level, &mut head, &y[..6], &y[6..12]);
            for i in 0..6 {
                let at = |i: usize| (f64::from(x[i]), f64::from(y[i]));
                let ((a, cos), (b, sin)) = (at(i), at(i + 6));
                near(head[i], a * cos - b * sin);
                near(head[i + 6], a * sin + b * cos);
            }
        }
    }
}
