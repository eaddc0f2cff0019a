//! Integer dot products of four bytes at a time, with each processor's instruction for it.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::blocks::MAX_PANELS;
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Portable, WIDTH};

/// Dot products of four bytes each.
///
/// # Safety
///
/// All methods require a CPU that supports the instructions of the implementing type.
pub(super) unsafe trait Dot4<V: Lanes> {
    /// The largest number of rows of a block, indexed by its number of panels minus one.
    const ROWS: [usize; MAX_PANELS];

    /// In each lane, `sum + Σ weight · x` over four bytes. Weights are unsigned, `x` is signed.
    /// Weights are below 64 unless `WIDE`. Exact.
    unsafe fn dot<const WIDE: bool>(weights: V::Whole, x: i32, sum: V::Whole) -> V::Whole;
}

/// The dot product of the four bytes of two words; the first are unsigned.
#[inline(always)]
fn dot_of_words(weights: i32, x: i32) -> i32 {
    let pairs = weights.to_le_bytes().into_iter().zip(x.to_le_bytes());
    pairs
        .map(|(weight, x)| i32::from(weight) * i32::from(x.cast_signed()))
        .sum()
}

// SAFETY: integer arithmetic only.
unsafe impl Dot4<Portable> for Portable {
    const ROWS: [usize; MAX_PANELS] = [1, 0, 0];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(
        weights: [i32; WIDTH],
        x: i32,
        mut sum: [i32; WIDTH],
    ) -> [i32; WIDTH] {
        for (sum, weights) in sum.iter_mut().zip(weights) {
            *sum += dot_of_words(weights, x);
        }
        sum
    }
}

#[cfg(target_arch = "x86_64")]
// SAFETY: integer arithmetic only.
unsafe impl Dot4<Avx2> for Avx2 {
    const ROWS: [usize; MAX_PANELS] = [2, 0, 0];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(
        weights: (__m256i, __m256i),
        x: i32,
        sum: (__m256i, __m256i),
    ) -> (__m256i, __m256i) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let x = _mm256_set1_epi32(x);
            let dot = |weights, sum| {
                if WIDE {
                    // Two products of 8 bits may overflow 16 bits: even and odd bytes separately.
                    let low = _mm256_set1_epi16(0xFF);
                    let (even, odd) = (
                        _mm256_and_si256(weights, low),
                        _mm256_srli_epi16::<8>(weights),
                    );
                    let (x_even, x_odd) = (
                        _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(x)),
                        _mm256_srai_epi16::<8>(x),
                    );
                    let products = _mm256_add_epi32(
                        _mm256_madd_epi16(even, x_even),
                        _mm256_madd_epi16(odd, x_odd),
                    );
                    _mm256_add_epi32(sum, products)
                } else {
                    let pairs = _mm256_maddubs_epi16(weights, x);
                    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
                }
            };
            (dot(weights.0, sum.0), dot(weights.1, sum.1))
        }
    }
}

/// AVX-512 VNNI, whose `vpdpbusd` computes this.
#[cfg(target_arch = "x86_64")]
pub(super) struct Vnni;

#[cfg(target_arch = "x86_64")]
// SAFETY: integer arithmetic only.
unsafe impl Dot4<Avx512> for Vnni {
    // 32 registers: twelve for sums, twelve for totals, three for weights and one for inputs.
    const ROWS: [usize; MAX_PANELS] = [4, 4, 4];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(weights: __m512i, x: i32, sum: __m512i) -> __m512i {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(x)) }
    }
}

#[cfg(target_arch = "aarch64")]
// SAFETY: integer arithmetic only.
unsafe impl Dot4<Neon> for Neon {
    const ROWS: [usize; MAX_PANELS] = [1, 0, 0];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(
        weights: [uint32x4_t; 4],
        x: i32,
        sum: [uint32x4_t; 4],
    ) -> [uint32x4_t; 4] {
        // SAFETY: both types are sixteen 32-bit integers.
        unsafe {
            let sum = std::mem::transmute::<[uint32x4_t; 4], [i32; WIDTH]>(sum);
            let weights = std::mem::transmute::<[uint32x4_t; 4], [i32; WIDTH]>(weights);
            let sums = Portable::dot::<WIDE>(weights, x, sum);
            std::mem::transmute::<[i32; WIDTH], [uint32x4_t; 4]>(sums)
        }
    }
}

/// The dot-product instruction `sdot` of ARMv8.2.
#[cfg(target_arch = "aarch64")]
pub(super) struct Sdot;

#[cfg(target_arch = "aarch64")]
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot(weights: int8x16_t, x: int8x16_t, mut sum: int32x4_t) -> int32x4_t {
    // Inline assembly, because the intrinsic is newer than the minimum supported Rust version.
    // SAFETY: the instruction is available, and it reads and writes registers only.
    unsafe {
        std::arch::asm!(
            "sdot {sum:v}.4s, {weights:v}.16b, {x:v}.16b",
            sum = inout(vreg) sum,
            weights = in(vreg) weights,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

#[cfg(target_arch = "aarch64")]
// SAFETY: integer arithmetic only.
unsafe impl Dot4<Neon> for Sdot {
    // 32 registers: twelve for sums, twelve for totals, four for weights and one for inputs.
    const ROWS: [usize; MAX_PANELS] = [3, 0, 0];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(
        weights: [uint32x4_t; 4],
        x: i32,
        sum: [uint32x4_t; 4],
    ) -> [uint32x4_t; 4] {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
            std::array::from_fn(|i| {
                let mut sum = vreinterpretq_s32_u32(sum[i]);
                let mut weights = vreinterpretq_s8_u32(weights[i]);
                if WIDE {
                    // `sdot` takes signed bytes: subtract 128 from the weights, and add 128 times
                    // the inputs.
                    weights = veorq_s8(weights, vdupq_n_s8(i8::MIN));
                    let half = vdupq_n_s8(64);
                    sum = sdot(half, x, sdot(half, x, sum));
                }
                vreinterpretq_u32_s32(sdot(weights, x, sum))
            })
        }
    }
}
