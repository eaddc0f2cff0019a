//! Sixteen f32 in vector registers, for each set of instructions.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::simd::{PORTABLE_FUSES, multiply_add};

/// Lanes of a [`Lanes`] value, and columns of a panel.
pub(super) const WIDTH: usize = 16;

/// Sixteen f32 in registers.
///
/// # Safety
///
/// A value whose bits are all zero must be sixteen zeros. All methods need the instructions that the implementing type stands for; the pointers must be
/// good for sixteen elements (unaligned).
pub(super) unsafe trait Lanes: Copy {
    /// How many rows a block may have for its accumulators, and what feeds them, to stay in
    /// registers, by its number of panels less one.
    const ROWS: [usize; 4];

    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// `factor · self + sum`, rounded once where the hardware can.
    unsafe fn multiply_add(self, factor: f32, sum: Self) -> Self;
}

/// For any processor; the compiler finds what vectors it has.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; WIDTH]);

// SAFETY: nothing but f32.
unsafe impl Lanes for Portable {
    // With 32 registers of 4 (ARM) six rows fit; with 16 (x86 without AVX) three do.
    const ROWS: [usize; 4] = if cfg!(target_arch = "x86_64") {
        [3, 0, 0, 0]
    } else {
        [6, 0, 0, 0]
    };

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Portable(unsafe { from.cast::<[f32; WIDTH]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[f32; WIDTH]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: f32, mut sum: Self) -> Self {
        for (sum, x) in sum.0.iter_mut().zip(self.0) {
            *sum = multiply_add::<PORTABLE_FUSES>(factor, x, *sum);
        }
        sum
    }
}

/// AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx2(__m256, __m256);

// SAFETY: nothing but f32.
#[cfg(target_arch = "x86_64")]
unsafe impl Lanes for Avx2 {
    // 16 registers of 8: twelve accumulators, two for the panel and one for the factor.
    const ROWS: [usize; 4] = [6, 3, 0, 0];

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: f32, sum: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let factor = _mm256_set1_ps(factor);
            Avx2(
                _mm256_fmadd_ps(factor, self.0, sum.0),
                _mm256_fmadd_ps(factor, self.1, sum.1),
            )
        }
    }
}

/// AVX-512F.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
pub(super) struct Avx512(__m512);

// SAFETY: nothing but f32.
#[cfg(target_arch = "x86_64")]
unsafe impl Lanes for Avx512 {
    // 32 registers: 24 accumulators, up to four for the panels and one for the factor.
    const ROWS: [usize; 4] = [8, 8, 8, 6];

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn multiply_add(self, factor: f32, sum: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Avx512(_mm512_fmadd_ps(_mm512_set1_ps(factor), self.0, sum.0)) }
    }
}
