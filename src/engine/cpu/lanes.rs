//! Sixteen f32 or integers in vector registers, for each instruction set.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::f16;

use super::simd::{Kind, Level, PORTABLE_FUSES, multiply_add};

/// The number of lanes of a [`Lanes`] value, and of columns of a panel.
pub(super) const WIDTH: usize = 16;

/// Sixteen f32 in registers.
///
/// # Safety
///
/// All-zero bits must be sixteen zeros. All methods require a CPU that supports the instructions of
/// the implementing type; pointers must be valid for sixteen elements (unaligned).
pub(super) unsafe trait Lanes: Copy {
    /// The largest number of rows of a block whose accumulators and operands stay in registers,
    /// indexed by the block's number of panels minus one. 0 means that no block has this many
    /// panels.
    const ROWS: [usize; 4];

    /// Sixteen 32-bit integers.
    type Whole: Copy;

    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `factor · self + sum`, rounded once if the hardware can.
    unsafe fn multiply_add(self, factor: f32, sum: Self) -> Self;

    /// Broadcasts `x` to all lanes.
    unsafe fn splat(x: f32) -> Self;
    unsafe fn times(self, other: Self) -> Self;
    /// `self · factor + offset`, fused or not: for exact products only.
    unsafe fn times_plus(self, factor: Self, offset: Self) -> Self;
    /// Loads sixteen f16 (little-endian) and converts them.
    unsafe fn halves(from: *const u8) -> Self;
    /// Loads sixteen 32-bit integers (little-endian).
    unsafe fn words(from: *const u8) -> Self::Whole;
    unsafe fn store_words(from: Self::Whole, to: *mut u8);
    /// Loads sixteen bytes, one per lane.
    unsafe fn bytes(from: *const u8) -> Self::Whole;
    /// Extracts a bit field: shifts to the left, or to the right if `left` is negative, and masks.
    unsafe fn field(from: Self::Whole, left: i32, mask: i32) -> Self::Whole;
    unsafe fn or(a: Self::Whole, b: Self::Whole) -> Self::Whole;
    /// Converts signed integers of magnitude below 2²⁴ to f32.
    unsafe fn float(from: Self::Whole) -> Self;
}

/// Converts `from` into `to`, exactly. The length must be a multiple of the lanes.
pub(super) fn f16_to_f32(level: Level, from: &[f16], to: &mut [f32]) {
    assert!(from.len() == to.len() && to.len().is_multiple_of(WIDTH));
    let (from, count, to) = (from.as_ptr().cast(), to.len() / WIDTH, to.as_mut_ptr());
    // SAFETY: the assertion checks the lengths; a level exists only if its instructions were
    // detected.
    unsafe {
        match level.kind() {
            Kind::Portable => f16_to_f32_in::<Portable>(from, count, to),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => f16_to_f32_in_avx2(from, count, to),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => f16_to_f32_in_avx512(from, count, to),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => f16_to_f32_in::<Neon>(from, count, to),
        }
    }
}

/// # Safety
///
/// The CPU must support the instructions of `V`; the pointers must be valid for `count` times
/// sixteen numbers, of two bytes and of four.
#[inline(always)]
unsafe fn f16_to_f32_in<V: Lanes>(from: *const u8, count: usize, to: *mut f32) {
    for index in 0..count {
        // SAFETY: guaranteed by the caller.
        unsafe { V::halves(from.add(index * 2 * WIDTH)).store(to.add(index * WIDTH)) }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
unsafe fn f16_to_f32_in_avx2(from: *const u8, count: usize, to: *mut f32) {
    // SAFETY: guaranteed by the caller.
    unsafe { f16_to_f32_in::<Avx2>(from, count, to) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c,avx512f")]
unsafe fn f16_to_f32_in_avx512(from: *const u8, count: usize, to: *mut f32) {
    // SAFETY: guaranteed by the caller.
    unsafe { f16_to_f32_in::<Avx512>(from, count, to) }
}

/// Works on any processor; the compiler uses the vector instructions that it may assume.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; WIDTH]);

// SAFETY: sixteen f32, so that all-zero bits are sixteen zeros.
unsafe impl Lanes for Portable {
    // 32 registers of 4 (ARM) hold six rows; 16 registers (x86 without AVX) hold three.
    const ROWS: [usize; 4] = if cfg!(target_arch = "x86_64") {
        [3, 0, 0, 0]
    } else {
        [6, 0, 0, 0]
    };

    type Whole = [i32; WIDTH];

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: guaranteed by the caller.
        Portable(unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: guaranteed by the caller.
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: f32, mut sum: Self) -> Self {
        for (sum, x) in sum.0.iter_mut().zip(self.0) {
            *sum = multiply_add::<PORTABLE_FUSES>(factor, x, *sum);
        }
        sum
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Portable([x; WIDTH])
    }

    #[inline(always)]
    unsafe fn times(mut self, other: Self) -> Self {
        for (x, y) in self.0.iter_mut().zip(other.0) {
            *x *= y;
        }
        self
    }

    #[inline(always)]
    unsafe fn times_plus(mut self, factor: Self, offset: Self) -> Self {
        for ((x, factor), offset) in self.0.iter_mut().zip(factor.0).zip(offset.0) {
            *x = *x * factor + offset;
        }
        self
    }

    #[inline(always)]
    unsafe fn halves(from: *const u8) -> Self {
        // SAFETY: guaranteed by the caller.
        let halves = unsafe { from.cast::<[[u8; 2]; WIDTH]>().read_unaligned() };
        Portable(halves.map(|half| f16::from_le_bytes(half).to_f32()))
    }

    #[inline(always)]
    unsafe fn words(from: *const u8) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe { from.cast::<[i32; WIDTH]>().read_unaligned() }.map(i32::from_le)
    }

    #[inline(always)]
    unsafe fn store_words(from: Self::Whole, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            to.cast::<[i32; WIDTH]>()
                .write_unaligned(from.map(i32::to_le));
        }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe { from.cast::<[u8; WIDTH]>().read_unaligned() }.map(i32::from)
    }

    #[inline(always)]
    unsafe fn field(from: Self::Whole, left: i32, mask: i32) -> Self::Whole {
        if left >= 0 {
            from.map(|x| x << left & mask)
        } else {
            from.map(|x| x >> -left & mask)
        }
    }

    #[inline(always)]
    unsafe fn or(mut a: Self::Whole, b: Self::Whole) -> Self::Whole {
        for (a, b) in a.iter_mut().zip(b) {
            *a |= b;
        }
        a
    }

    #[inline(always)]
    unsafe fn float(from: Self::Whole) -> Self {
        Portable(from.map(|x| x as f32))
    }
}

/// AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

// SAFETY: sixteen f32, so that all-zero bits are sixteen zeros.
#[cfg(target_arch = "x86_64")]
unsafe impl Lanes for Avx2 {
    // 16 registers of 8: twelve for accumulators, two for the panel and one for the factor.
    const ROWS: [usize; 4] = [6, 3, 0, 0];

    type Whole = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: f32, sum: Self) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let factor = _mm256_set1_ps(factor);
            Avx2(
                _mm256_fmadd_ps(factor, self.0, sum.0),
                _mm256_fmadd_ps(factor, self.1, sum.1),
            )
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx2(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe {
            Avx2(
                _mm256_mul_ps(self.0, other.0),
                _mm256_mul_ps(self.1, other.1),
            )
        }
    }

    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, offset: Self) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe {
            Avx2(
                _mm256_fmadd_ps(self.0, factor.0, offset.0),
                _mm256_fmadd_ps(self.1, factor.1, offset.1),
            )
        }
    }

    #[inline(always)]
    unsafe fn halves(from: *const u8) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe {
            Avx2(
                _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
                _mm256_cvtph_ps(_mm_loadu_si128(from.add(WIDTH).cast())),
            )
        }
    }

    #[inline(always)]
    unsafe fn words(from: *const u8) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe {
            (
                _mm256_loadu_si256(from.cast()),
                _mm256_loadu_si256(from.add(32).cast()),
            )
        }
    }

    #[inline(always)]
    unsafe fn store_words(from: Self::Whole, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            _mm256_storeu_si256(to.cast(), from.0);
            _mm256_storeu_si256(to.add(32).cast(), from.1);
        }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe {
            (
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())),
                _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast())),
            )
        }
    }

    #[inline(always)]
    unsafe fn field(from: Self::Whole, left: i32, mask: i32) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let (count, mask) = (_mm_cvtsi32_si128(left.abs()), _mm256_set1_epi32(mask));
            let shifted = if left >= 0 {
                (
                    _mm256_sll_epi32(from.0, count),
                    _mm256_sll_epi32(from.1, count),
                )
            } else {
                (
                    _mm256_srl_epi32(from.0, count),
                    _mm256_srl_epi32(from.1, count),
                )
            };
            (
                _mm256_and_si256(shifted.0, mask),
                _mm256_and_si256(shifted.1, mask),
            )
        }
    }

    #[inline(always)]
    unsafe fn or(a: Self::Whole, b: Self::Whole) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe { (_mm256_or_si256(a.0, b.0), _mm256_or_si256(a.1, b.1)) }
    }

    #[inline(always)]
    unsafe fn float(from: Self::Whole) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx2(_mm256_cvtepi32_ps(from.0), _mm256_cvtepi32_ps(from.1)) }
    }
}

/// AVX-512F.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

// SAFETY: sixteen f32, so that all-zero bits are sixteen zeros.
#[cfg(target_arch = "x86_64")]
unsafe impl Lanes for Avx512 {
    // 32 registers: 24 for accumulators, up to four for the panels and one for the factor.
    const ROWS: [usize; 4] = [8, 8, 8, 6];

    type Whole = __m512i;

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: f32, sum: Self) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx512(_mm512_fmadd_ps(_mm512_set1_ps(factor), self.0, sum.0)) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx512(_mm512_set1_ps(x)) }
    }

    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx512(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, offset: Self) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx512(_mm512_fmadd_ps(self.0, factor.0, offset.0)) }
    }

    #[inline(always)]
    unsafe fn halves(from: *const u8) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx512(_mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn words(from: *const u8) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store_words(from: Self::Whole, to: *mut u8) {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_storeu_si512(to.cast(), from) }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn field(from: Self::Whole, left: i32, mask: i32) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let count = _mm_cvtsi32_si128(left.abs());
            let shifted = if left >= 0 {
                _mm512_sll_epi32(from, count)
            } else {
                _mm512_srl_epi32(from, count)
            };
            _mm512_and_si512(shifted, _mm512_set1_epi32(mask))
        }
    }

    #[inline(always)]
    unsafe fn or(a: Self::Whole, b: Self::Whole) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_or_si512(a, b) }
    }

    #[inline(always)]
    unsafe fn float(from: Self::Whole) -> Self {
        // SAFETY: guaranteed by the caller.
        unsafe { Avx512(_mm512_cvtepi32_ps(from)) }
    }
}

/// NEON, which every 64-bit ARM processor has.
#[cfg(target_arch = "aarch64")]
#[derive(Clone, Copy)]
pub(super) struct Neon([float32x4_t; 4]);

#[cfg(target_arch = "aarch64")]
impl Neon {
    /// Builds the four registers by index.
    #[inline(always)]
    fn each(register: impl Fn(usize) -> float32x4_t) -> Self {
        Neon([register(0), register(1), register(2), register(3)])
    }
}

// SAFETY: sixteen f32, so that all-zero bits are sixteen zeros.
#[cfg(target_arch = "aarch64")]
unsafe impl Lanes for Neon {
    // 32 registers of 4: up to 24 for accumulators, up to twelve for the panels (three panels with
    // one row), and one for the factor.
    const ROWS: [usize; 4] = [6, 2, 1, 0];

    type Whole = [uint32x4_t; 4];

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: guaranteed by the caller.
        Neon::each(|i| unsafe { vld1q_f32(from.add(4 * i)) })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        for (i, register) in self.0.into_iter().enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe { vst1q_f32(to.add(4 * i), register) }
        }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: f32, sum: Self) -> Self {
        // SAFETY: every processor of the architecture has the instruction.
        Neon::each(|i| unsafe { vfmaq_n_f32(sum.0[i], self.0[i], factor) })
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: as above.
        Neon::each(|_| unsafe { vdupq_n_f32(x) })
    }

    #[inline(always)]
    unsafe fn times(self, other: Self) -> Self {
        // SAFETY: as above.
        Neon::each(|i| unsafe { vmulq_f32(self.0[i], other.0[i]) })
    }

    #[inline(always)]
    unsafe fn times_plus(self, factor: Self, offset: Self) -> Self {
        // SAFETY: as above.
        Neon::each(|i| unsafe { vfmaq_f32(offset.0[i], self.0[i], factor.0[i]) })
    }

    #[inline(always)]
    unsafe fn halves(from: *const u8) -> Self {
        // Inline assembly, because the f16 vector type is newer than the minimum supported Rust
        // version.
        Neon::each(|i| {
            let wide;
            // SAFETY: guaranteed by the caller; the instruction reads and writes registers only.
            unsafe {
                let halves = vld1_u8(from.add(8 * i));
                std::arch::asm!(
                    "fcvtl {wide:v}.4s, {halves:v}.4h",
                    wide = lateout(vreg) wide,
                    halves = in(vreg) halves,
                    options(pure, nomem, nostack, preserves_flags),
                );
            }
            wide
        })
    }

    #[inline(always)]
    unsafe fn words(from: *const u8) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        std::array::from_fn(|i| unsafe { vld1q_u32(from.add(16 * i).cast()) })
    }

    #[inline(always)]
    unsafe fn store_words(from: Self::Whole, to: *mut u8) {
        for (i, register) in from.into_iter().enumerate() {
            // SAFETY: guaranteed by the caller.
            unsafe { vst1q_u32(to.add(16 * i).cast(), register) }
        }
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> Self::Whole {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let bytes = vld1q_u8(from);
            let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
            [
                vmovl_u16(vget_low_u16(low)),
                vmovl_high_u16(low),
                vmovl_u16(vget_low_u16(high)),
                vmovl_high_u16(high),
            ]
        }
    }

    #[inline(always)]
    unsafe fn field(from: Self::Whole, left: i32, mask: i32) -> Self::Whole {
        // SAFETY: every processor of the architecture has the instructions. A negative shift count
        // shifts to the right.
        from.map(|x| unsafe {
            vandq_u32(
                vshlq_u32(x, vdupq_n_s32(left)),
                vdupq_n_u32(mask.cast_unsigned()),
            )
        })
    }

    #[inline(always)]
    unsafe fn or(a: Self::Whole, b: Self::Whole) -> Self::Whole {
        // SAFETY: as above.
        std::array::from_fn(|i| unsafe { vorrq_u32(a[i], b[i]) })
    }

    #[inline(always)]
    unsafe fn float(from: Self::Whole) -> Self {
        // SAFETY: as above.
        Neon::each(|i| unsafe { vcvtq_f32_s32(vreinterpretq_s32_u32(from[i])) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Converts all f16 values exactly at every level.
    #[test]
    fn every_f16_is_converted_exactly() {
        let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
        let mut wide = vec![0.0; all.len()];
        for level in Level::available() {
            f16_to_f32(level, &all, &mut wide);
            for (half, wide) in all.iter().zip(&wide) {
                let bits = i32::from(half.to_bits());
                let (exponent, fraction) = (bits >> 10 & 31, f64::from(bits & 1023));
                let size = match exponent {
                    0 => fraction * 2f64.powi(-24),
                    31 if fraction > 0.0 => f64::NAN,
                    31 => f64::INFINITY,
                    _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
                };
                let exact = if bits >> 15 == 1 { -size } else { size };
                let same = f64::from(*wide) == exact || wide.is_nan() && exact.is_nan();
                assert!(same, "{level:?} {half} {wide}");
            }
        }
    }
}
