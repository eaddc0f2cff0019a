//! GEMM of quantized activations with quantized weights, in integers.
//!
//! A tile of 32 inputs of a row is `scale · number` ([`q8_activations`](super::q8_activations)),
//! and weights are `factor · number + offset` ([`blocks`](super::blocks)). The dot product of a
//! tile is then `scale · factor · Σ number · number + offset · scale · Σ number`. Its sums are
//! integers and equal on every processor; the f32 additions have a fixed order. As in the f32 GEMM,
//! a row's bits depend only on the row.

use std::cell::RefCell;

use super::aligned::Aligned;
use super::blocks::{Blocks, LINE, MAX_PANELS, Panel, fetch_ahead, tile_at};
use super::dot4::Dot4;
#[cfg(target_arch = "aarch64")]
use super::dot4::Sdot;
#[cfg(target_arch = "x86_64")]
use super::dot4::Vnni;
use super::formats::{Format, TILE, with_format};
use super::gemm::{Output, unrolled};
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Portable, WIDTH};
use super::q8_activations::Q8Activations;
use super::simd::{Kind, Level};

/// The number of tiles of a panel that are unpacked at a time: those of a group fit the L1 cache.
const CHUNK: usize = 8;

/// The number of word groups of a tile: each holds four inputs in the bytes of sixteen words, one
/// per output.
const WORDS: usize = TILE / 4;

/// The largest number of rows of a block.
const MAX_ROWS: usize = 4;

/// Some unpacked tiles of some panels: the quantized numbers of every tile, and the outputs'
/// factors and offsets of its one or two parts.
struct UnpackedTiles {
    /// `[panel][tile][four]` of sixteen words, whose bytes are the numbers of four inputs.
    words: Aligned<u8>,
    /// `[panel][tile][part][factor, offset]` of sixteen f32.
    scales: Aligned<f32>,
}

/// Bytes between the words of panels, and numbers between their scales.
const WORDS_STRIDE: usize = CHUNK * WORDS * LINE;
const SCALES_STRIDE: usize = CHUNK * 2 * 2 * WIDTH;

impl UnpackedTiles {
    fn new() -> Self {
        UnpackedTiles {
            words: Aligned::zeroed(MAX_PANELS * WORDS_STRIDE),
            scales: Aligned::zeroed(MAX_PANELS * SCALES_STRIDE),
        }
    }
}

/// Calls a function with this thread's scratch space for a group of panels.
fn with_unpacked_tiles(work: impl FnOnce(&mut UnpackedTiles)) {
    thread_local! {
        static KEPT: RefCell<UnpackedTiles> = RefCell::new(UnpackedTiles::new());
    }
    // No borrow conflict: `work` never calls this function again on the same thread.
    KEPT.with_borrow_mut(work);
}

/// A GEMM of quantized activations with some tiles of `panels` unpacked panels, stored in or added
/// to `y`.
struct Product<'a> {
    rows: &'a Q8Activations,
    unpacked: &'a UnpackedTiles,
    panels: usize,
    /// The first tile, and the number of tiles.
    first: usize,
    tiles: usize,
    /// `[rows][y_stride]`, of which sixteen numbers per panel are written.
    y: *mut f32,
    y_stride: usize,
}

impl Product<'_> {
    /// Adds to `y` unless these are the first tiles. `PARTS` is the number of parts of a tile with
    /// their own factors.
    ///
    /// # Safety
    ///
    /// The CPU must support the instructions of `V` and `D`; `y` must be valid for all rows.
    #[inline(always)]
    unsafe fn compute<V, D, const WIDE: bool, const PARTS: usize>(&self)
    where
        V: Lanes,
        D: Dot4<V>,
    {
        assert!(self.panels <= MAX_PANELS && self.tiles <= CHUNK);
        assert!((self.first + self.tiles) * TILE <= self.rows.inputs);
        let mut panel = 0;
        while panel < self.panels {
            let mut group = self.panels - panel;
            while group > 1 && D::ROWS[group - 1] == 0 {
                group -= 1;
            }
            // SAFETY: guaranteed by the caller.
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
        D: Dot4<V>,
    {
        let (rows, most) = (self.rows.rows(), D::ROWS[P - 1]);
        let blocks = rows.div_ceil(most);
        for block in 0..blocks {
            let first = block * rows / blocks;
            let count = (block + 1) * rows / blocks - first;
            macro_rules! sizes {
                ($($rows:literal)*) => {
                    match count {
                        // SAFETY: guaranteed by the caller. Larger blocks are never requested and
                        // not compiled.
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

    /// Computes `R` rows from `first` on with `P` panels from `panel` on.
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
        D: Dot4<V>,
    {
        const { assert!(R <= MAX_ROWS && P <= MAX_PANELS && WORDS.is_multiple_of(PARTS)) };
        let (inputs, all_tiles) = (self.rows.inputs, self.rows.inputs / TILE);
        // SAFETY: the callers assert that rows, panels and tiles exist; all-zero bits are sixteen
        // zeros.
        unsafe {
            let numbers = self.rows.numbers.as_ptr();
            let numbers = numbers.add(first * inputs + self.first * TILE);
            let row_scales = self.rows.scales.as_ptr();
            let row_scales = row_scales.add(first * all_tiles + self.first);
            let words = self.unpacked.words.as_ptr().add(panel * WORDS_STRIDE);
            let scales = self.unpacked.scales.as_ptr().add(panel * SCALES_STRIDE);
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
                    let each = WORDS / PARTS;
                    for four in part * each..(part + 1) * each {
                        let at = (tile * WORDS + four) * LINE;
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

/// Adds the contribution of a tile, or of a part of it, to `total`.
///
/// # Safety
///
/// The CPU must support the instructions of `V`.
#[inline(always)]
unsafe fn add_tile<V: Lanes>(
    total: V,
    dot: V,
    (factor, offset): (V, V),
    (scale, sum): (f32, f32),
) -> V {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let total = dot.times(factor).multiply_add(scale, total);
        offset.multiply_add(sum, total)
    }
}

/// Returns four numbers of a tile, as the bytes of one word per output.
///
/// # Safety
///
/// The CPU must support the instructions of `V`; `numbers` must point to the tile's numbers.
#[inline(always)]
unsafe fn word<F: Format, V: Lanes>(numbers: *const u8, four: usize) -> V::Whole {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let line = |index: usize| V::words(numbers.add(index * LINE));
        if const { F::BITS == 8 } {
            return line(four);
        }
        let low = V::field(line(four / 2), -4 * (four % 2) as i32, 0x0F0F_0F0F);
        match F::BITS {
            5 => V::or(low, V::field(line(4), 4 - four as i32, 0x1010_1010)),
            6 => {
                let left = 4 - 2 * (four % 4) as i32;
                V::or(low, V::field(line(4 + four / 4), left, 0x3030_3030))
            }
            _ => low,
        }
    }
}

/// Unpacks some tiles of a panel.
///
/// # Safety
///
/// The CPU must support the instructions of `V`; `panel` must point to a panel with these tiles,
/// the other pointers to space for the unpacked tiles.
#[inline(always)]
unsafe fn unpack_tiles<F: Format, V: Lanes>(
    panel: Panel,
    tiles: std::ops::Range<usize>,
    words: *mut u8,
    scales: *mut f32,
) {
    for (index, tile) in tiles.enumerate() {
        let tile = tile_at::<F>(panel.start, tile);
        fetch_ahead::<F>(panel, &tile);
        // SAFETY: guaranteed by the caller.
        unsafe {
            for four in 0..WORDS {
                let to = words.add((index * WORDS + four) * LINE);
                V::store_words(word::<F, V>(tile.numbers, four), to);
            }
            for part in 0..F::PARTS {
                let (factor, offset) = F::scales::<V>(tile.halves, tile.scales, part);
                let to = scales.add((index * F::PARTS + part) * 2 * WIDTH);
                factor.store(to);
                offset.store(to.add(WIDTH));
            }
        }
    }
}

/// A GEMM of quantized activations with some panels.
struct Work<'a> {
    panels: Panel,
    count: usize,
    tiles: usize,
    rows: &'a Q8Activations,
    /// Space for sixteen numbers per panel for all rows, `y_stride` apart.
    y: *mut f32,
    y_stride: usize,
    unpacked: &'a mut UnpackedTiles,
}

/// Computes a GEMM, unpacking some tiles of all panels at a time.
///
/// # Safety
///
/// The CPU must support the instructions of `V` and `D`; the pointers must be valid for the given
/// sizes.
#[inline(always)]
unsafe fn multiply_tiles<F: Format, V: Lanes, D: Dot4<V>>(work: Work<'_>) {
    for first in (0..work.tiles).step_by(CHUNK) {
        let part = first..work.tiles.min(first + CHUNK);
        for panel in 0..work.count {
            let words = work.unpacked.words[panel * WORDS_STRIDE..].as_mut_ptr();
            let scales = work.unpacked.scales[panel * SCALES_STRIDE..].as_mut_ptr();
            // SAFETY: guaranteed by the caller; there is space for a chunk of each panel.
            unsafe {
                unpack_tiles::<F, V>(work.panels.next(panel), part.clone(), words, scales);
            }
        }
        let product = Product {
            rows: work.rows,
            unpacked: work.unpacked,
            panels: work.count,
            first,
            tiles: part.len(),
            y: work.y,
            y_stride: work.y_stride,
        };
        // SAFETY: guaranteed by the caller.
        unsafe {
            match (F::BITS, F::PARTS) {
                (8, _) => product.compute::<V, D, true, 1>(),
                (_, 1) => product.compute::<V, D, false, 1>(),
                _ => product.compute::<V, D, false, 2>(),
            }
        }
    }
}

/// Compiles `multiply_tiles` for each instruction set.
macro_rules! for_products {
    ($($arch:literal, $name:ident, $lanes:ident, $dot:ident, $features:literal;)*) => {$(
        #[cfg(target_arch = $arch)]
        #[target_feature(enable = $features)]
        unsafe fn $name<F: Format>(work: Work<'_>) {
            // SAFETY: guaranteed by the caller.
            unsafe { multiply_tiles::<F, $lanes, $dot>(work) }
        }
    )*};
}

for_products! {
    "x86_64", multiply_avx2, Avx2, Avx2, "avx2,fma,f16c";
    "x86_64", multiply_vnni, Avx512, Vnni, "avx2,fma,f16c,avx512f,avx512vnni";
    "aarch64", multiply_sdot, Neon, Sdot, "neon,dotprod";
}

impl Blocks {
    /// Multiplies quantized activations with up to three panels from `panel` on.
    pub(super) fn multiply_int8(
        &self,
        level: Level,
        (panel, count): (usize, usize),
        rows: &Q8Activations,
        y: &mut Output<'_>,
    ) {
        thread_local! {
            /// For products with an incomplete last panel.
            static SUMS: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
        }
        assert!((1..=MAX_PANELS).contains(&count) && rows.inputs == self.inputs);
        let panels = self.panels(panel, count);
        let multiply = |y, y_stride| {
            with_unpacked_tiles(|unpacked| {
                let work = Work {
                    panels,
                    count,
                    tiles: self.inputs / TILE,
                    rows,
                    y,
                    y_stride,
                    unpacked,
                };
                // SAFETY: panels and tiles exist by the assertion, and `y` has space for all rows; a
                // level exists only if its instructions were detected.
                with_format!(self.block_type, F => unsafe {
                    match level.kind() {
                        Kind::Portable => multiply_tiles::<F, Portable, Portable>(work),
                        #[cfg(target_arch = "x86_64")]
                        Kind::Avx512 if is_x86_feature_detected!("avx512vnni") => {
                            multiply_vnni::<F>(work);
                        }
                        #[cfg(target_arch = "x86_64")]
                        Kind::Avx2 | Kind::Avx512 => multiply_avx2::<F>(work),
                        #[cfg(target_arch = "aarch64")]
                        Kind::Neon if std::arch::is_aarch64_feature_detected!("dotprod") => {
                            multiply_sdot::<F>(work);
                        }
                        #[cfg(target_arch = "aarch64")]
                        Kind::Neon => multiply_tiles::<F, Neon, Neon>(work),
                    }
                });
            });
        };
        let (start, stride, columns) = y.shape(rows.rows());
        let width = count * WIDTH;
        if columns == width {
            multiply(start, stride);
            return;
        }
        assert!(columns < width);
        SUMS.with_borrow_mut(|sums| {
            sums.resize(rows.rows() * width, 0.0);
            multiply(sums.as_mut_ptr(), width);
            for (row, sums) in sums.chunks_exact(width).enumerate() {
                y.row(row).copy_from_slice(&sums[..columns]);
            }
        });
    }
}
