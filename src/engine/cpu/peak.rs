//! Measures the machine's peak rate of fused multiply-adds, as a reference for the kernels.

use std::sync::Barrier;
use std::time::Instant;

#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Portable, WIDTH};
use super::simd::{Kind, Level};

/// Multiply-adds per accumulator and round: about a millisecond, so that thread start-up is
/// negligible.
const LINKS: usize = 1 << 20;

/// The number of rounds. The best one counts, because other load can only slow a round down.
const ROUNDS: usize = 24;

/// Returns the peak floating-point operations per second of `threads` threads with the engine's
/// instructions. Measures f32 multiply-adds in registers, each two operations per lane, and takes
/// the best of some tens of rounds of about a millisecond.
///
/// This is the upper bound of a GEMM on this machine in its current state. Takes about 0.1 s.
#[must_use]
pub fn fma_peak(threads: usize) -> f64 {
    let (level, threads) = (Level::detect(), threads.max(1));
    let barrier = Barrier::new(threads);
    let work = || {
        let mut seconds = [0.0; ROUNDS];
        for seconds in &mut seconds {
            barrier.wait();
            let clock = Instant::now();
            std::hint::black_box(chains(level));
            *seconds = clock.elapsed().as_secs_f64();
        }
        seconds
    };
    let mut slowest = [0f64; ROUNDS];
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = vec![work()];
        all.extend(others.into_iter().filter_map(|other| other.join().ok()));
        for round in 0..ROUNDS {
            let seconds = all.iter().map(|seconds| seconds[round]);
            slowest[round] = seconds.fold(0.0, f64::max);
        }
    });
    let best = slowest.into_iter().fold(f64::INFINITY, f64::min);
    (threads * operations(level)) as f64 / best
}

/// Operations per call of [`chains`].
fn operations(level: Level) -> usize {
    let accumulators = match level.kind() {
        Kind::Portable => PORTABLE,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => AVX2,
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => AVX512,
        #[cfg(target_arch = "aarch64")]
        Kind::Neon => NEON,
    };
    2 * WIDTH * LINKS * accumulators
}

/// The number of accumulators of sixteen lanes: enough chains to hide the latency, few enough to
/// stay in registers.
const PORTABLE: usize = if cfg!(target_arch = "x86_64") { 3 } else { 6 };
#[cfg(target_arch = "x86_64")]
const AVX2: usize = 6;
#[cfg(target_arch = "x86_64")]
const AVX512: usize = 16;
#[cfg(target_arch = "aarch64")]
const NEON: usize = 6;

/// Runs chains of multiply-adds. The result prevents the compiler from removing them.
fn chains(level: Level) -> [f32; WIDTH] {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2() -> [f32; WIDTH] {
        // SAFETY: the CPU supports the instructions.
        unsafe { body::<Avx2, AVX2>() }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma,avx512f")]
    fn avx512() -> [f32; WIDTH] {
        // SAFETY: the CPU supports the instructions.
        unsafe { body::<Avx512, AVX512>() }
    }
    // SAFETY: a level exists only if its instructions were detected.
    unsafe {
        match level.kind() {
            Kind::Portable => body::<Portable, PORTABLE>(),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2(),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => avx512(),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => body::<Neon, NEON>(),
        }
    }
}

/// # Safety
///
/// The CPU must support the instructions of `V`.
#[inline(always)]
unsafe fn body<V: Lanes, const N: usize>() -> [f32; WIDTH] {
    // Each accumulator converges to 2 and never becomes subnormal.
    let factor = std::hint::black_box(0.5f32);
    let ones = std::hint::black_box([1f32; WIDTH]);
    let mut out = [0f32; WIDTH];
    // SAFETY: guaranteed by the caller; the arrays hold sixteen elements, and all-zero bits are
    // zeros.
    unsafe {
        let one = V::load(ones.as_ptr());
        let mut sums: [V; N] = std::mem::zeroed();
        for _ in 0..LINKS {
            for sum in &mut sums {
                *sum = sum.multiply_add(factor, one);
            }
        }
        let mut all = one;
        for sum in sums {
            all = sum.multiply_add(factor, all);
        }
        all.store(out.as_mut_ptr());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_not_left_out() {
        for level in Level::available() {
            // Every accumulator ends at 2, and half of each is added to 1.
            let accumulators = operations(level) / (2 * WIDTH * LINKS);
            assert_eq!(chains(level), [1.0 + accumulators as f32; WIDTH]);
        }
        // Any processor of the last twenty years, even in a debug build, is within these bounds.
        let peak = fma_peak(1);
        assert!((1e7..1e13).contains(&peak), "{peak}");
    }
}
