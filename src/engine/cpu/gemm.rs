//! GEMM of rows with panels of sixteen columns: the basis of all other kernels.
//!
//! Every element is one chain of multiply-adds in the order of the inner index, in every block of
//! rows and panels. Its bits do not depend on other rows, on the number of rows or on the thread.
//! All levels with fused multiply-add give identical bits.

use std::ops::Range;

#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Portable, WIDTH};
use super::simd::{Kind, Level};

/// The rows of a left-hand side: row `r` starts at `r · stride`.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
    pub(super) count: usize,
}

/// The panels of a right-hand side: element `(inner, column)` of panel `p` is at
/// `p · stride + inner · step + column`, with sixteen columns.
#[derive(Clone, Copy)]
pub(super) struct Panels<'a> {
    pub(super) data: &'a [f32],
    pub(super) stride: usize,
    pub(super) step: usize,
    pub(super) count: usize,
}

/// The output of a GEMM: element `(row, column)` is at `row · stride + column`, for `columns`
/// columns.
pub(super) struct Output<'a> {
    start: *mut f32,
    stride: usize,
    rows: usize,
    columns: usize,
    lifetime: std::marker::PhantomData<&'a mut [f32]>,
}

impl<'a> Output<'a> {
    /// An output of `rows × columns` at the beginning of `data`.
    pub(super) fn new(data: &'a mut [f32], rows: usize, stride: usize, columns: usize) -> Self {
        assert!(columns <= stride && (rows == 0 || data.len() >= (rows - 1) * stride + columns));
        Output {
            start: data.as_mut_ptr(),
            stride,
            rows,
            columns,
            lifetime: std::marker::PhantomData,
        }
    }

    /// Returns a block of the output, clamped to its rows and columns.
    ///
    /// # Safety
    ///
    /// While the result lives, nothing else may use this block, neither through this output nor
    /// through another result of this method.
    pub(super) unsafe fn part(&self, rows: Range<usize>, columns: Range<usize>) -> Output<'_> {
        let rows = rows.start.min(self.rows)..rows.end.min(self.rows);
        let columns = columns.start.min(self.columns)..columns.end.min(self.columns);
        Output {
            start: self
                .start
                .wrapping_add(rows.start * self.stride + columns.start),
            stride: self.stride,
            rows: rows.len(),
            columns: columns.len(),
            lifetime: std::marker::PhantomData,
        }
    }

    /// Returns the start, the row stride and the number of columns. The output must have `rows`
    /// rows.
    pub(super) fn shape(&mut self, rows: usize) -> (*mut f32, usize, usize) {
        assert_eq!(rows, self.rows);
        (self.start, self.stride, self.columns)
    }

    /// One row.
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: the row is within the output, which is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(row * self.stride), self.columns) }
    }
}

// SAFETY: an output is a mutable borrow; sharing it only allows `part`, whose callers guarantee not
// to use the same columns concurrently.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

/// Computes `y = x · w`, or `y += x · w` if `accumulate`, over `inner` elements of each row and
/// panel. Columns of the last panel beyond the output's are dropped.
pub(super) fn multiply(
    level: Level,
    inner: usize,
    x: Rows<'_>,
    w: Panels<'_>,
    y: &mut Output<'_>,
    accumulate: bool,
) {
    let rows = x.count;
    if rows == 0 || w.count == 0 {
        return;
    }
    assert_eq!(rows, y.rows);
    assert!(y.columns <= w.count * WIDTH && y.columns + WIDTH > w.count * WIDTH);
    assert!(inner <= x.stride && x.data.len() >= (rows - 1) * x.stride + inner);
    if inner > 0 {
        let last = (w.count - 1) * w.stride + (inner - 1) * w.step;
        assert!(w.data.len() >= last + WIDTH);
    }
    let product = Product {
        inner,
        rows,
        x: x.data.as_ptr(),
        x_stride: x.stride,
        panels: w.count,
        w: w.data.as_ptr(),
        panel_stride: w.stride,
        step: w.step,
        y: y.start,
        y_stride: y.stride,
        columns: y.columns,
        accumulate,
    };
    // SAFETY: the assertions above and the invariants of `Output` keep every access in bounds; a
    // level exists only if its instructions were detected.
    unsafe {
        match level.kind() {
            Kind::Portable => product.compute::<Portable>(),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2(&product),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => avx512(&product),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => product.compute::<Neon>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2(product: &Product) {
    // SAFETY: guaranteed by the caller.
    unsafe { product.compute::<Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f")]
unsafe fn avx512(product: &Product) {
    // SAFETY: guaranteed by the caller.
    unsafe { product.compute::<Avx512>() }
}

/// Repeats a body for each number below a constant. Indexed values then stay in registers even if
/// the compiler does not unroll loops, as in debug builds.
macro_rules! unrolled {
    ($index:ident, $count:ident, $($number:literal)*, $body:block) => {
        $(if const { $number < $count } {
            let $index: usize = $number;
            $body
        })*
    };
}

pub(super) use unrolled;

struct Product {
    inner: usize,
    rows: usize,
    x: *const f32,
    x_stride: usize,
    panels: usize,
    w: *const f32,
    panel_stride: usize,
    step: usize,
    y: *mut f32,
    y_stride: usize,
    columns: usize,
    accumulate: bool,
}

/// The largest numbers of rows and of panels of a block.
const MAX_ROWS: usize = 8;
const MAX_PANELS: usize = 4;

impl Product {
    /// Processes the panels in groups as wide as the registers allow and, for each group, the rows
    /// in blocks of about equal size. A group's weights are read from memory once and then from
    /// cache.
    ///
    /// # Safety
    ///
    /// The CPU must support the instructions of `V`; the pointers must be valid for the given
    /// sizes.
    #[inline(always)]
    unsafe fn compute<V: Lanes>(&self) {
        let mut panel = 0;
        while panel < self.panels {
            let left = self.panels - panel;
            // As many panels as leave registers for all rows, or for the largest block of rows.
            let mut group = left.min(MAX_PANELS);
            while group > 1 && V::ROWS[group - 1] < self.rows.min(V::ROWS[0]) {
                group -= 1;
            }
            // SAFETY: guaranteed by the caller.
            unsafe {
                match group {
                    4 => self.group::<V, 4>(panel),
                    3 => self.group::<V, 3>(panel),
                    2 => self.group::<V, 2>(panel),
                    _ => self.group::<V, 1>(panel),
                }
            }
            panel += group;
        }
    }

    /// Computes all rows of `P` panels from `panel` on.
    ///
    /// # Safety
    ///
    /// As for [`compute`](Self::compute).
    #[inline(always)]
    unsafe fn group<V: Lanes, const P: usize>(&self, panel: usize) {
        let most = V::ROWS[P - 1];
        let blocks = self.rows.div_ceil(most);
        let columns = (self.columns - panel * WIDTH).min(P * WIDTH);
        let whole = columns == P * WIDTH;
        let mut buffer = [0f32; MAX_ROWS * MAX_PANELS * WIDTH];
        for block in 0..blocks {
            let first = block * self.rows / blocks;
            let rows = (block + 1) * self.rows / blocks - first;
            // SAFETY: guaranteed by the caller; the buffer is large enough for any block.
            unsafe {
                let x = self.x.add(first * self.x_stride);
                let w = self.w.add(panel * self.panel_stride);
                let y = self.y.add(first * self.y_stride + panel * WIDTH);
                // Padding columns are computed, but not stored.
                let (to, to_stride) = if whole {
                    (y, self.y_stride)
                } else {
                    (buffer.as_mut_ptr(), P * WIDTH)
                };
                if !whole {
                    for row in 0..rows {
                        let y = y.add(row * self.y_stride);
                        std::ptr::copy_nonoverlapping(y, to.add(row * to_stride), columns);
                    }
                }
                self.block::<V, P>(rows, x, w, to, to_stride);
                if !whole {
                    for row in 0..rows {
                        let y = y.add(row * self.y_stride);
                        std::ptr::copy_nonoverlapping(to.add(row * to_stride), y, columns);
                    }
                }
            }
        }
    }

    /// Computes a block of `rows` rows (at most [`Lanes::ROWS`]) and `P` panels.
    ///
    /// # Safety
    ///
    /// As for [`compute`](Self::compute).
    #[inline(always)]
    unsafe fn block<V: Lanes, const P: usize>(
        &self,
        rows: usize,
        x: *const f32,
        w: *const f32,
        y: *mut f32,
        y_stride: usize,
    ) {
        macro_rules! sizes {
            ($($rows:literal)*) => {
                match rows {
                    // SAFETY: guaranteed by the caller. Larger blocks are never requested and not
                    // compiled.
                    $($rows => unsafe {
                        if const { $rows <= V::ROWS[P - 1] } {
                            self.tile::<V, $rows, P>(x, w, y, y_stride);
                        }
                    })*
                    _ => {}
                }
            };
        }
        sizes!(1 2 3 4 5 6 7 8);
    }

    /// # Safety
    ///
    /// As for [`compute`](Self::compute).
    #[inline(always)]
    unsafe fn tile<V: Lanes, const R: usize, const P: usize>(
        &self,
        x: *const f32,
        mut w: *const f32,
        y: *mut f32,
        y_stride: usize,
    ) {
        // SAFETY: guaranteed by the caller; all-zero bits are sixteen zeros.
        unsafe {
            let mut sums: [[V; P]; R] = std::mem::zeroed();
            if self.accumulate {
                unrolled!(r, R, 0 1 2 3 4 5 6 7, {
                    unrolled!(p, P, 0 1 2 3, {
                        sums[r][p] = V::load(y.add(r * y_stride + p * WIDTH));
                    });
                });
            }
            let mut k = 0;
            while k < self.inner {
                let mut columns: [V; P] = std::mem::zeroed();
                unrolled!(p, P, 0 1 2 3, {
                    columns[p] = V::load(w.add(p * self.panel_stride));
                });
                unrolled!(r, R, 0 1 2 3 4 5 6 7, {
                    let factor = *x.add(r * self.x_stride + k);
                    unrolled!(p, P, 0 1 2 3, {
                        sums[r][p] = columns[p].multiply_add(factor, sums[r][p]);
                    });
                });
                // After the last step, this may point beyond the data, so it must wrap.
                w = w.wrapping_add(self.step);
                k += 1;
            }
            unrolled!(r, R, 0 1 2 3 4 5 6 7, {
                unrolled!(p, P, 0 1 2 3, {
                    sums[r][p].store(y.add(r * y_stride + p * WIDTH));
                });
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Philox;

    fn random(seed: u64, count: usize) -> Vec<f32> {
        let random = Philox::new(seed);
        (0..count as u64)
            .map(|i| random.uniform(i) as f32 - 0.5)
            .collect()
    }

    /// Compares every level with a plain loop: panels with padding, rows with gaps, and accumulated
    /// sums.
    #[test]
    fn products_agree_with_plain_loops() {
        for (rows, inner, columns) in [
            (1usize, 7usize, 16usize),
            (1, 40, 99),
            (2, 5, 64),
            (5, 9, 50),
            (6, 33, 64),
            (8, 64, 48),
            (13, 3, 130),
            (33, 20, 80),
            (3, 0, 20),
        ] {
            let panels = columns.div_ceil(WIDTH);
            let (x_stride, y_stride) = (inner + 3, columns + 5);
            let x = random(1, rows * x_stride);
            let w = random(2, panels * inner * WIDTH);
            let before = random(3, rows * y_stride);
            let mut fused: Option<Vec<f32>> = None;
            for level in Level::available() {
                for accumulate in [false, true] {
                    let mut y = before.clone();
                    let left = Rows {
                        data: &x,
                        stride: x_stride,
                        count: rows,
                    };
                    let right = Panels {
                        data: &w,
                        stride: inner * WIDTH,
                        step: WIDTH,
                        count: panels,
                    };
                    let mut output = Output::new(&mut y, rows, y_stride, columns);
                    multiply(level, inner, left, right, &mut output, accumulate);
                    for row in 0..rows {
                        for column in 0..y_stride {
                            let old = before[row * y_stride + column];
                            let new = y[row * y_stride + column];
                            if column >= columns {
                                assert_eq!(new, old, "written beyond the columns");
                                continue;
                            }
                            let (panel, lane) = (column / WIDTH, column % WIDTH);
                            let start = if accumulate { f64::from(old) } else { 0.0 };
                            let exact = (0..inner).fold(start, |sum, k| {
                                let w = w[(panel * inner + k) * WIDTH + lane];
                                sum + f64::from(x[row * x_stride + k]) * f64::from(w)
                            });
                            let error = (f64::from(new) - exact).abs();
                            assert!(error < 1e-5, "{level:?} {rows}x{inner}x{columns}");
                        }
                    }
                    if accumulate
                        && (level.kind() != Kind::Portable || super::super::simd::PORTABLE_FUSES)
                    {
                        let first = fused.get_or_insert_with(|| y.clone());
                        assert_eq!(first, &y, "{level:?} rounds otherwise");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_the_rows_beside_it() {
        let (inner, columns) = (50, 112);
        let x = random(1, 40 * inner);
        let w = random(2, columns * inner);
        for level in Level::available() {
            let product = |rows: Range<usize>| {
                let mut y = vec![0.0; rows.len() * columns];
                let left = Rows {
                    data: &x[rows.start * inner..],
                    stride: inner,
                    count: rows.len(),
                };
                let right = Panels {
                    data: &w,
                    stride: inner * WIDTH,
                    step: WIDTH,
                    count: columns / WIDTH,
                };
                let mut output = Output::new(&mut y, rows.len(), columns, columns);
                multiply(level, inner, left, right, &mut output, false);
                y
            };
            let all = product(0..40);
            for first in 0..40 {
                for last in first + 1..=40 {
                    let part = product(first..last);
                    assert_eq!(part, all[first * columns..last * columns], "{level:?}");
                }
            }
        }
    }

    #[test]
    #[should_panic]
    fn a_left_side_that_is_too_short_is_refused() {
        let left = Rows {
            data: &[0.0; 9],
            stride: 5,
            count: 2,
        };
        let right = Panels {
            data: &[0f32; 80],
            stride: 80,
            step: WIDTH,
            count: 1,
        };
        let mut y = [0.0; 32];
        let mut output = Output::new(&mut y, 2, 16, 16);
        multiply(Level::detect(), 5, left, right, &mut output, false);
    }
}
