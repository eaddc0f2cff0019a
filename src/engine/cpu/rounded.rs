//! Rows rounded to 8 bits, and their products with quantised weights in whole numbers.
//!
//! A tile of 32 inputs of a row is `scale · number` with whole numbers from -127 to 127, and weights
//! are `factor · number + offset` ([`blocks`](super::blocks)). The product of a tile is then
//! `scale · factor · Σ number · number + offset · scale · Σ number`, whose sums are whole numbers and
//! the same on every processor; what is added up in f32 has a fixed order. So a row's bits depend on
//! nothing but itself here, too.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::*;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use std::cell::RefCell;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::formats::TILE;
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Portable, WIDTH};
use super::product::unrolled;
use super::simd::{Level, for_each_level};

/// Where a tile's largest number is smaller, its numbers count as zeros: the reciprocal of the scale
/// would overflow.
const LEAST: f32 = 1e-30;

/// What a tile of a row was rounded by.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(super) struct TileScale {
    /// What a number of 1 stands for; not a number where any of the tile's was not finite.
    scale: f32,
    /// The sum of the rounded tile, and of each of its halves.
    sum: f32,
    sums: [f32; 2],
}

/// Rows of a left-hand side, rounded. Kept to be used again, for its memory.
#[derive(Default)]
pub(super) struct RoundedRows {
    inputs: usize,
    /// `[rows][inputs]`
    numbers: Vec<i8>,
    /// `[rows][inputs / 32]`
    scales: Vec<TileScale>,
}

impl RoundedRows {
    /// Rounds rows `[rows, inputs]`. The inputs are a whole number of tiles.
    pub(super) fn round(&mut self, level: Level, x: &[f32], inputs: usize) {
        /// Tiles that one thread rounds in about the time that waking another takes.
        const SHARE: usize = 1 << 9;
        assert!(inputs.is_multiple_of(TILE) && x.len().is_multiple_of(inputs.max(1)));
        self.inputs = inputs;
        self.numbers.resize(x.len(), 0);
        self.scales.resize(x.len() / TILE, TileScale::default());
        let parts = self.numbers.par_chunks_mut(SHARE * TILE);
        let parts = parts.zip(self.scales.par_chunks_mut(SHARE));
        parts
            .zip(x.par_chunks(SHARE * TILE))
            .for_each(|((numbers, scales), x)| round_tiles(level, x, numbers, scales));
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn rows(&self) -> usize {
        self.numbers.len() / self.inputs.max(1)
    }
}

for_each_level! {
    /// Rounds tiles.
    fn round_tiles(x: &[f32], numbers: &mut [i8], scales: &mut [TileScale]) = round_tiles_body
}

#[inline(always)]
fn round_tiles_body<const FUSE: bool>(x: &[f32], numbers: &mut [i8], scales: &mut [TileScale]) {
    let (tiles, _) = x.as_chunks::<TILE>();
    let (numbers, _) = numbers.as_chunks_mut::<TILE>();
    for ((x, numbers), scale) in tiles.iter().zip(numbers).zip(scales) {
        *scale = round_tile(x, numbers);
    }
}

#[inline(always)]
fn round_tile(x: &[f32; TILE], numbers: &mut [i8; TILE]) -> TileScale {
    const INFINITE: u32 = 0x7F80_0000;
    // Bits without the sign are in the order of the sizes, those of what is no number last.
    let largest = x
        .iter()
        .fold(0, |most, x| most.max(x.to_bits() & !(1 << 31)));
    let most = f32::from_bits(largest);
    if largest >= INFINITE || most < LEAST {
        *numbers = [0; TILE];
        return TileScale {
            scale: if largest >= INFINITE { f32::NAN } else { 0.0 },
            ..TileScale::default()
        };
    }
    // Adding this leaves the nearest whole number in the lowest bits.
    const MAGIC: f32 = 12_582_912.0;
    let inverse = 127.0 / most;
    for (number, x) in numbers.iter_mut().zip(x) {
        *number = (x * inverse + MAGIC).to_bits() as i8;
    }
    let scale = most / 127.0;
    let sum = |part: &[i8]| part.iter().map(|&number| i32::from(number)).sum::<i32>();
    let (first, second) = (sum(&numbers[..TILE / 2]), sum(&numbers[TILE / 2..]));
    TileScale {
        scale,
        sum: scale * (first + second) as f32,
        sums: [scale * first as f32, scale * second as f32],
    }
}

/// Tiles of a panel that are unpacked at a time: a group's are in the nearest cache.
pub(super) const CHUNK: usize = 8;

/// Words of a tile: the numbers of four inputs in the bytes of each of sixteen outputs' words.
pub(super) const FOURS: usize = TILE / 4;

/// The most panels of a group.
pub(super) const MOST_PANELS: usize = 3;

/// The most rows of a block.
const MOST_ROWS: usize = 4;

/// Some tiles of some panels, unpacked: of every tile the fours, and of its one or two parts the
/// outputs' factors and offsets.
pub(super) struct Fours {
    /// `[panel][tile][four]` of sixteen words, the bytes of which are four inputs' numbers.
    pub(super) words: Aligned<u8>,
    /// `[panel][tile][part][factor, offset]` of sixteen f32.
    pub(super) scales: Aligned<f32>,
}

/// Bytes between the panels' words, and numbers between their scales.
pub(super) const WORDS_STRIDE: usize = CHUNK * FOURS * 4 * WIDTH;
pub(super) const SCALES_STRIDE: usize = CHUNK * 2 * 2 * WIDTH;

impl Fours {
    fn new() -> Self {
        Fours {
            words: Aligned::zeroed(MOST_PANELS * WORDS_STRIDE),
            scales: Aligned::zeroed(MOST_PANELS * SCALES_STRIDE),
        }
    }
}

/// Calls a function with room for a group of panels that this thread keeps.
pub(super) fn with_fours(work: impl FnOnce(&mut Fours)) {
    thread_local! {
        static KEPT: RefCell<Fours> = RefCell::new(Fours::new());
    }
    // Nothing that is called multiplies again on this thread.
    KEPT.with_borrow_mut(work);
}

/// Sums of products of four bytes each.
///
/// # Safety
///
/// All methods need the instructions that the implementing type stands for.
pub(super) unsafe trait DotOfFours<V: Lanes> {
    /// How many rows a block may have, by its number of panels less one.
    const ROWS: [usize; MOST_PANELS];

    /// In each lane, `sum + Σ weight · x` over four bytes, of the weights without and of `x` with
    /// a sign. Weights are below 64, unless `WIDE`. Exact.
    unsafe fn dot<const WIDE: bool>(weights: V::Whole, x: i32, sum: V::Whole) -> V::Whole;
}

/// The sum of products of the four bytes of two words, those of the first without a sign.
#[inline(always)]
fn dot_of_words(weights: i32, x: i32) -> i32 {
    let pairs = weights.to_le_bytes().into_iter().zip(x.to_le_bytes());
    pairs
        .map(|(weight, x)| i32::from(weight) * i32::from(x.cast_signed()))
        .sum()
}

// SAFETY: nothing but whole numbers.
unsafe impl DotOfFours<Portable> for Portable {
    const ROWS: [usize; MOST_PANELS] = [1, 0, 0];

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
// SAFETY: nothing but whole numbers.
unsafe impl DotOfFours<Avx2> for Avx2 {
    const ROWS: [usize; MOST_PANELS] = [2, 0, 0];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(
        weights: (__m256i, __m256i),
        x: i32,
        sum: (__m256i, __m256i),
    ) -> (__m256i, __m256i) {
        // SAFETY: the caller's promise.
        unsafe {
            let x = _mm256_set1_epi32(x);
            let dot = |weights, sum| {
                if WIDE {
                    // Sums of two products of 8 bits do not fit 16: even and odd ones by themselves.
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

/// AVX-512 VNNI, which has an instruction for it.
#[cfg(target_arch = "x86_64")]
pub(super) struct Vnni;

#[cfg(target_arch = "x86_64")]
// SAFETY: nothing but whole numbers.
unsafe impl DotOfFours<Avx512> for Vnni {
    // 32 registers: twelve sums and twelve totals, three of weights and one of inputs.
    const ROWS: [usize; MOST_PANELS] = [4, 4, 4];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(weights: __m512i, x: i32, sum: __m512i) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(x)) }
    }
}

#[cfg(target_arch = "aarch64")]
// SAFETY: nothing but whole numbers.
unsafe impl DotOfFours<Neon> for Neon {
    const ROWS: [usize; MOST_PANELS] = [1, 0, 0];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(
        weights: [uint32x4_t; 4],
        x: i32,
        sum: [uint32x4_t; 4],
    ) -> [uint32x4_t; 4] {
        // SAFETY: both types are sixteen numbers of 32 bits.
        unsafe {
            let sum = std::mem::transmute::<[uint32x4_t; 4], [i32; WIDTH]>(sum);
            let weights = std::mem::transmute::<[uint32x4_t; 4], [i32; WIDTH]>(weights);
            let sums = Portable::dot::<WIDE>(weights, x, sum);
            std::mem::transmute::<[i32; WIDTH], [uint32x4_t; 4]>(sums)
        }
    }
}

/// The instruction that ARMv8.2 has for it.
#[cfg(target_arch = "aarch64")]
pub(super) struct Sdot;

#[cfg(target_arch = "aarch64")]
// SAFETY: nothing but whole numbers.
unsafe impl DotOfFours<Neon> for Sdot {
    // 32 registers: twelve sums and twelve totals, four of weights and one of inputs.
    const ROWS: [usize; MOST_PANELS] = [3, 0, 0];

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(
        weights: [uint32x4_t; 4],
        x: i32,
        sum: [uint32x4_t; 4],
    ) -> [uint32x4_t; 4] {
        // By its name, for the intrinsic is younger than the oldest compiler that will do.
        let sdot = |weights: int8x16_t, x: int8x16_t, mut sum: int32x4_t| {
            // SAFETY: the caller has the instruction, which reads and writes registers alone.
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
        };
        // SAFETY: the caller's promise.
        unsafe {
            let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
            std::array::from_fn(|i| {
                let mut sum = vreinterpretq_s32_u32(sum[i]);
                let mut weights = vreinterpretq_s8_u32(weights[i]);
                if WIDE {
                    // It knows signed bytes alone: 128 less, and 128 times the inputs besides.
                    weights = veorq_s8(weights, vdupq_n_s8(i8::MIN));
                    let half = vdupq_n_s8(64);
                    sum = sdot(half, x, sdot(half, x, sum));
                }
                vreinterpretq_u32_s32(sdot(weights, x, sum))
            })
        }
    }
}

/// The product of rounded rows with some tiles of `panels` unpacked panels, into or onto `y`.
pub(super) struct Product<'a> {
    pub(super) rows: &'a RoundedRows,
    pub(super) fours: &'a Fours,
    pub(super) panels: usize,
    /// The first tile and how many.
    pub(super) first: usize,
    pub(super) tiles: usize,
    /// `[rows][y_stride]`, of which sixteen of every panel are written.
    pub(super) y: *mut f32,
    pub(super) y_stride: usize,
}

impl Product<'_> {
    /// Adds to `y` unless these are the first tiles. `PARTS` is how many parts of a tile have
    /// factors of their own.
    ///
    /// # Safety
    ///
    /// The instructions of `V` and `D`; `y` is good for all rows.
    #[inline(always)]
    pub(super) unsafe fn compute<V, D, const WIDE: bool, const PARTS: usize>(&self)
    where
        V: Lanes,
        D: DotOfFours<V>,
    {
        assert!(self.panels <= MOST_PANELS && self.tiles <= CHUNK);
        assert!((self.first + self.tiles) * TILE <= self.rows.inputs);
        let mut panel = 0;
        while panel < self.panels {
            let mut group = self.panels - panel;
            while group > 1 && D::ROWS[group - 1] == 0 {
                group -= 1;
            }
            // SAFETY: the caller's promise.
            unsafe {
                match group {
                    3 => self.group::<V, D, WIDE, PARTS, 3>(panel),
                    2 => self.group::<V, D, WIDE, PARTS, 2>(panel),
                    _ => self.group::<V, D, WIDE, PARTS, 1>(panel),
                }
            }
            panel += group;
        }
    }

    /// # Safety
    ///
    /// As for [`compute`](Self::compute).
    #[inline(always)]
    unsafe fn group<V, D, const WIDE: bool, const PARTS: usize, const P: usize>(&self, panel: usize)
    where
        V: Lanes,
        D: DotOfFours<V>,
    {
        let (rows, most) = (self.rows.rows(), D::ROWS[P - 1]);
        let blocks = rows.div_ceil(most);
        for block in 0..blocks {
            let first = block * rows / blocks;
            let count = (block + 1) * rows / blocks - first;
            macro_rules! sizes {
                ($($rows:literal)*) => {
                    match count {
                        // SAFETY: the caller's promise. Larger blocks are never asked for, and not
                        // compiled.
                        $($rows => unsafe {
                            if const { $rows <= D::ROWS[P - 1] } {
                                self.tile::<V, D, WIDE, PARTS, $rows, P>(first, panel);
                            }
                        })*
                        _ => {}
                    }
                };
            }
            sizes!(1 2 3 4);
        }
    }

    /// `R` rows from `first` on with `P` panels from `panel` on.
    ///
    /// # Safety
    ///
    /// As for [`compute`](Self::compute).
    #[inline(always)]
    unsafe fn tile<V, D, const WIDE: bool, const PARTS: usize, const R: usize, const P: usize>(
        &self,
        first: usize,
        panel: usize,
    ) where
        V: Lanes,
        D: DotOfFours<V>,
    {
        const { assert!(R <= MOST_ROWS && P <= MOST_PANELS && FOURS.is_multiple_of(PARTS)) };
        let (inputs, all_tiles) = (self.rows.inputs, self.rows.inputs / TILE);
        // SAFETY: rows, panels and tiles exist, as asserted by the callers; all bits zero are
        // sixteen zeros.
        unsafe {
            let numbers = self.rows.numbers.as_ptr();
            let numbers = numbers.add(first * inputs + self.first * TILE);
            let row_scales = self.rows.scales.as_ptr();
            let row_scales = row_scales.add(first * all_tiles + self.first);
            let words = self.fours.words.as_ptr().add(panel * WORDS_STRIDE);
            let scales = self.fours.scales.as_ptr().add(panel * SCALES_STRIDE);
            let y = self.y.add(first * self.y_stride + panel * WIDTH);
            let mut total: [[V; P]; R] = std::mem::zeroed();
            if self.first > 0 {
                unrolled!(r, R, 0 1 2 3, {
                    unrolled!(p, P, 0 1 2, {
                        total[r][p] = V::load(y.add(r * self.y_stride + p * WIDTH));
                    });
                });
            }
            for tile in 0..self.tiles {
                for part in 0..PARTS {
                    let mut sums: [[V::Whole; P]; R] = std::mem::zeroed();
                    let each = FOURS / PARTS;
                    for four in part * each..(part + 1) * each {
                        let at = (tile * FOURS + four) * 4 * WIDTH;
                        let mut weights: [V::Whole; P] = std::mem::zeroed();
                        unrolled!(p, P, 0 1 2, {
                            weights[p] = V::words(words.add(p * WORDS_STRIDE + at));
                        });
                        unrolled!(r, R, 0 1 2 3, {
                            let x = numbers.add(r * inputs + tile * TILE + 4 * four);
                            let x = x.cast::<i32>().read_unaligned();
                            unrolled!(p, P, 0 1 2, {
                                sums[r][p] = D::dot::<WIDE>(weights[p], x, sums[r][p]);
                            });
                        });
                    }
                    let at = (tile * PARTS + part) * 2 * WIDTH;
                    unrolled!(r, R, 0 1 2 3, {
                        let scale = *row_scales.add(r * all_tiles + tile);
                        unrolled!(p, P, 0 1 2, {
                            let scales = scales.add(p * SCALES_STRIDE + at);
                            let (factor, offset) = (V::load(scales), V::load(scales.add(WIDTH)));
                            total[r][p] = add_tile(
                                total[r][p],
                                V::float(sums[r][p]),
                                (factor, offset),
                                scale.of::<PARTS>(part),
                            );
                        });
                    });
                }
            }
            unrolled!(r, R, 0 1 2 3, {
                unrolled!(p, P, 0 1 2, {
                    total[r][p].store(y.add(r * self.y_stride + p * WIDTH));
                });
            });
        }
    }
}

impl TileScale {
    /// The scale, and the sum of a part of `PARTS`.
    #[inline(always)]
    pub(super) fn of<const PARTS: usize>(self, part: usize) -> (f32, f32) {
        let sum = if PARTS == 1 {
            self.sum
        } else {
            self.sums[part]
        };
        (self.scale, sum)
    }
}

/// What a tile, or a part of it, adds.
///
/// # Safety
///
/// The instructions of `V`.
#[inline(always)]
pub(super) unsafe fn add_tile<V: Lanes>(
    total: V,
    dot: V,
    (factor, offset): (V, V),
    (scale, sum): (f32, f32),
) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let total = dot.times(factor).multiply_add(scale, total);
        offset.multiply_add(sum, total)
    }
}
