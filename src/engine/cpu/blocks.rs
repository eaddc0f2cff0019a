//! Quantized weights in memory: the blocks of a GGUF file, repacked for sixteen outputs at a time
//! and dequantized to f32 when they are used.
//!
//! In every block type, a weight is `factor · number + offset`. The number is an integer of at most
//! 8 bits; 16 or 32 neighbors share a factor and an offset. Both products involved (of a factor's
//! parts, and of factor and number) have few enough bits to be exact in f32, so that only the
//! addition rounds. Dequantized weights are therefore bit-identical on every processor, with or
//! without FMA, and equal to those of any implementation of the format's formula.
//!
//! A panel of sixteen outputs is a row of spans. A span is one block, or two if one does not fill
//! whole cache lines. It holds the shared numbers (f16) of the sixteen outputs, their finer scales,
//! if any, and the quantized numbers in tiles of 32 inputs. A tile consists of cache lines of
//! sixteen 32-bit words, one word per output, whose bytes belong to four inputs. A line holds the
//! low four bits of eight inputs, the first four inputs in the low nibbles (or all eight bits of
//! four inputs). For 5-bit types, another line holds one more bit of all 32 inputs, four inputs at
//! a time from the lowest bit of the bytes on. For 6-bit types, two more lines hold two bits of 16
//! inputs each in the same way. K-blocks take 8 bits per scale where the file packs 6. Otherwise
//! the layout is no larger than the file, except for half a line per block of six bits and half of
//! the last span if a row has an odd number of blocks.

use candle_core::quantized::GgmlDType;
use rayon::prelude::*;

use super::aligned::Aligned;
use super::formats::{BlockType, Format, MAX_INPUTS, TILE, Unpacked, half, with_format};
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Portable, WIDTH};
use super::simd::{Kind, Level};

/// The largest number of panels that a GEMM call processes at once.
pub(super) const MAX_PANELS: usize = 3;

/// Bytes of a cache line (sixteen words).
pub(super) const LINE: usize = 4 * WIDTH;

/// Bytes of a tile's quantized numbers.
const fn tile_bytes<F: Format>() -> usize {
    TILE * WIDTH * F::BITS / 8
}

/// The number of tiles in a span: those of one block, or two if one block's shared numbers fill
/// half a line.
const fn span<F: Format>() -> usize {
    if F::TILES == 1 && F::HALVES == 1 {
        2
    } else {
        F::TILES
    }
}

/// Bytes of a span's shared numbers and scales, in whole lines.
const fn shared_bytes<F: Format>() -> usize {
    let halves = 2 * F::HALVES * span::<F>() / F::TILES;
    ((halves + span::<F>() * F::SCALES) * WIDTH).next_multiple_of(LINE)
}

const fn span_bytes<F: Format>() -> usize {
    shared_bytes::<F>() + span::<F>() * tile_bytes::<F>()
}

/// A consumer of dequantized weights.
trait Sink<V> {
    /// Takes the sixteen outputs' weights of one input of the tile.
    ///
    /// # Safety
    ///
    /// The CPU must support the instructions of `V`, and the sink must have capacity for this
    /// input.
    unsafe fn take(&mut self, input: usize, weights: V);
}

/// Stores the weights, sixteen per input.
struct Store(*mut f32);

impl<V: Lanes> Sink<V> for Store {
    #[inline(always)]
    unsafe fn take(&mut self, input: usize, weights: V) {
        // SAFETY: guaranteed by the caller.
        unsafe { weights.store(self.0.add(input * WIDTH)) }
    }
}

/// Adds the products of weights and inputs to a sum in input order: the same chain of multiply-adds
/// as in the GEMM.
struct Dot<V> {
    inputs: *const f32,
    sum: V,
}

impl<V: Lanes> Sink<V> for Dot<V> {
    #[inline(always)]
    unsafe fn take(&mut self, input: usize, weights: V) {
        // SAFETY: guaranteed by the caller.
        unsafe { self.sum = weights.multiply_add(*self.inputs.add(input), self.sum) }
    }
}

/// The number of inputs that one call dequantizes.
const GO: usize = 8;

/// Dequantizes inputs `go · 8 ..` of a tile.
///
/// # Safety
///
/// The CPU must support the instructions of `V`; `numbers` must point to the tile's numbers.
#[inline(always)]
unsafe fn dequantize_go<F: Format, V: Lanes>(
    numbers: *const u8,
    go: usize,
    (factor, offset): (V, V),
    sink: &mut impl Sink<V>,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let line = |index: usize| V::words(numbers.add(index * LINE));
        for four in 0..2 {
            let word = 2 * go + four;
            let (words, low) = match F::BITS {
                8 => (line(word), 0),
                _ => (line(go), 4 * four as i32),
            };
            for byte in 0..4 {
                let at = 8 * byte as i32;
                let mut number = match F::BITS {
                    8 => V::field(words, -at, 255),
                    _ => V::field(words, -at - low, 15),
                };
                if const { F::BITS == 5 } {
                    let fifth = V::field(line(4), 4 - at - word as i32, 16);
                    number = V::or(number, fifth);
                }
                if const { F::BITS == 6 } {
                    let place = 2 * (word % 4) as i32;
                    let two = V::field(line(4 + word / 4), 4 - at - place, 48);
                    number = V::or(number, two);
                }
                let weights = V::float(number).times_plus(factor, offset);
                sink.take(go * GO + 4 * four + byte, weights);
            }
        }
    }
}

/// Pointers to the parts of a tile of a panel.
pub(super) struct Tile {
    /// The shared numbers of the tile's block.
    pub(super) halves: *const u8,
    pub(super) scales: *const u8,
    pub(super) numbers: *const u8,
}

/// Locates a tile of a panel.
#[inline(always)]
pub(super) fn tile_at<F: Format>(panel: *const u8, tile: usize) -> Tile {
    let (span, tile) = (tile / span::<F>(), tile % span::<F>());
    let start = panel.wrapping_add(span * span_bytes::<F>());
    let [halves, scales, numbers] = offsets::<F>(tile).map(|offset| start.wrapping_add(offset));
    Tile {
        halves,
        scales,
        numbers,
    }
}

/// The offsets within a span of a tile's shared numbers, its scales and its quantized numbers.
#[inline(always)]
const fn offsets<F: Format>(tile: usize) -> [usize; 3] {
    let block = 2 * F::HALVES * WIDTH;
    [
        tile / F::TILES * block,
        span::<F>() / F::TILES * block + tile * F::SCALES * WIDTH,
        shared_bytes::<F>() + tile * tile_bytes::<F>(),
    ]
}

/// A panel and its size in bytes.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub(super) start: *const u8,
    bytes: usize,
}

impl Panel {
    /// The panel `count` panels further on.
    #[inline(always)]
    pub(super) fn next(self, count: usize) -> Self {
        Panel {
            start: self.start.wrapping_add(count * self.bytes),
            ..self
        }
    }
}

/// Prefetches the data some tiles ahead. At the end of a panel, this is the start of the panel that
/// the thread will probably process next. Panels are too short, and end within a page too often,
/// for the hardware prefetcher. (Measured: a single row is up to twice as fast.)
#[inline(always)]
pub(super) fn fetch_ahead<F: Format>(panel: Panel, tile: &Tile) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const AHEAD: usize = 2048;
        let mut address = tile.numbers.wrapping_add(AHEAD);
        if address >= panel.next(1).start {
            address = address.wrapping_add((MAX_PANELS - 1) * panel.bytes);
        }
        for line in 0..span_bytes::<F>().div_ceil(LINE * span::<F>()) {
            // SAFETY: a prefetch of any address is allowed; one beyond the data has no effect.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.wrapping_add(LINE * line).cast()) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (panel, tile);
}

/// Dequantizes some tiles of a panel.
///
/// # Safety
///
/// The CPU must support the instructions of `V`; `panel` must point to a panel with these tiles,
/// and `out` to space for 512 numbers per tile.
#[inline(always)]
unsafe fn dequantize_tiles<F: Format, V: Lanes>(
    panel: Panel,
    tiles: std::ops::Range<usize>,
    out: *mut f32,
) {
    for (index, tile) in tiles.enumerate() {
        let tile = tile_at::<F>(panel.start, tile);
        fetch_ahead::<F>(panel, &tile);
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut store = Store(out.add(index * TILE * WIDTH));
            let scales = [
                F::scales::<V>(tile.halves, tile.scales, 0),
                F::scales::<V>(tile.halves, tile.scales, 1),
            ];
            for go in 0..TILE / GO {
                dequantize_go::<F, V>(tile.numbers, go, scales[go / 2], &mut store);
            }
        }
    }
}

/// Multiplies one row of inputs with `P` panels.
///
/// # Safety
///
/// The CPU must support the instructions of `V`; `panels` must be the first of `P` panels of
/// `tiles` tiles, `x` must point to their inputs and `out` to space for sixteen numbers per panel.
#[inline(always)]
unsafe fn dot_tiles<F: Format, V: Lanes, const P: usize>(
    panels: Panel,
    tiles: usize,
    x: *const f32,
    out: *mut f32,
) {
    // SAFETY: guaranteed by the caller; all-zero bits are sixteen zeros.
    unsafe {
        let mut sums: [V; P] = std::mem::zeroed();
        for tile in 0..tiles {
            let inputs = x.add(tile * TILE);
            let mut scales: [[(V, V); 2]; P] = std::mem::zeroed();
            for (panel, scales) in scales.iter_mut().enumerate() {
                let panel = panels.next(panel);
                let at = tile_at::<F>(panel.start, tile);
                fetch_ahead::<F>(panel, &at);
                *scales = [
                    F::scales(at.halves, at.scales, 0),
                    F::scales(at.halves, at.scales, 1),
                ];
            }
            // Panels alternate, so that no chain of sums waits for itself.
            for go in 0..TILE / GO {
                for panel in 0..P {
                    let at = tile_at::<F>(panels.next(panel).start, tile);
                    let sum = sums[panel];
                    let mut dot = Dot { inputs, sum };
                    dequantize_go::<F, V>(at.numbers, go, scales[panel][go / 2], &mut dot);
                    sums[panel] = dot.sum;
                }
            }
        }
        for (panel, sum) in sums.into_iter().enumerate() {
            sum.store(out.add(panel * WIDTH));
        }
    }
}

/// Compiles both functions for each level.
macro_rules! for_levels {
    ($($lanes:ident, $dequantize:ident, $dot:ident, $features:literal;)*) => {$(
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $dequantize<F: Format>(
            panel: Panel,
            tiles: std::ops::Range<usize>,
            out: *mut f32,
        ) {
            // SAFETY: guaranteed by the caller.
            unsafe { dequantize_tiles::<F, $lanes>(panel, tiles, out) }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $dot<F: Format, const P: usize>(
            panels: Panel,
            tiles: usize,
            x: *const f32,
            out: *mut f32,
        ) {
            // SAFETY: guaranteed by the caller.
            unsafe { dot_tiles::<F, $lanes, P>(panels, tiles, x, out) }
        }
    )*};
}

for_levels! {
    Avx2, dequantize_avx2, dot_avx2, "avx2,fma,f16c";
    Avx512, dequantize_avx512, dot_avx512, "avx2,fma,f16c,avx512f";
}

/// A matrix `[out, in]` of blocks, in panels of sixteen outputs. The last panel is padded with
/// zeros.
pub(super) struct Blocks {
    pub(super) block_type: BlockType,
    pub(super) inputs: usize,
    panel_bytes: usize,
    data: Aligned<u8>,
}

impl Blocks {
    /// Packs the blocks of a file, `[out, in]`. Returns `None` for a type without kernels, or if
    /// the number of bytes does not match the shape.
    pub(super) fn new(
        dtype: GgmlDType,
        stored: &[u8],
        outputs: usize,
        inputs: usize,
    ) -> Option<Self> {
        let block_type = BlockType::of(dtype)?;
        with_format!(block_type, F => {
            let blocks = inputs / (F::TILES * TILE);
            let row = blocks * F::STORED;
            if !inputs.is_multiple_of(F::TILES * TILE) || stored.len() != outputs * row {
                return None;
            }
            let panel_bytes = (inputs / TILE).div_ceil(span::<F>()) * span_bytes::<F>();
            let mut data = Aligned::zeroed(outputs.div_ceil(WIDTH) * panel_bytes);
            if panel_bytes > 0 {
                data.par_chunks_mut(panel_bytes)
                    .zip(stored.par_chunks(WIDTH * row))
                    .for_each(|(panel, rows)| pack_panel::<F>(rows, row, panel));
            }
            Some(Blocks {
                block_type,
                inputs,
                panel_bytes,
                data,
            })
        })
    }

    /// Returns the first of `count` panels, all of which must exist.
    pub(super) fn panels(&self, first: usize, count: usize) -> Panel {
        let bytes = self.panel_bytes;
        Panel {
            start: self.data[first * bytes..][..count * bytes].as_ptr(),
            bytes,
        }
    }

    /// Dequantizes the weights of a panel's inputs from `first` on into `out`, `[inputs][16]`. Both
    /// `first` and the number of inputs are multiples of a tile.
    pub(super) fn dequantize(&self, level: Level, panel: usize, first: usize, out: &mut [f32]) {
        let inputs = out.len() / WIDTH;
        assert!(first.is_multiple_of(TILE) && inputs.is_multiple_of(TILE));
        assert!(first + inputs <= self.inputs && out.len() == inputs * WIDTH);
        let tiles = first / TILE..(first + inputs) / TILE;
        let panel = self.panels(panel, 1);
        let out = out.as_mut_ptr();
        // SAFETY: by the assertions, the panel holds the tiles and `out` is long enough; a level
        // exists only if its instructions were detected.
        with_format!(self.block_type, F => unsafe {
            match level.kind() {
                Kind::Portable => dequantize_tiles::<F, Portable>(panel, tiles, out),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => dequantize_avx2::<F>(panel, tiles, out),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => dequantize_avx512::<F>(panel, tiles, out),
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => dequantize_tiles::<F, Neon>(panel, tiles, out),
            }
        });
    }

    /// Multiplies one row of inputs with up to three panels from `panel` on, sixteen numbers each.
    /// The result is bit-identical to that of the GEMM with their dequantized weights.
    pub(super) fn dot(&self, level: Level, panel: usize, x: &[f32], out: &mut [f32]) {
        let count = out.len() / WIDTH;
        assert!((1..=MAX_PANELS).contains(&count) && out.len() == count * WIDTH);
        assert!(x.len() == self.inputs);
        let panels = self.panels(panel, count);
        let (tiles, x, out) = (self.inputs / TILE, x.as_ptr(), out.as_mut_ptr());
        macro_rules! by_count {
            ($dot:ident, $($lanes:ident)?) => {
                match count {
                    1 => $dot::<F, $($lanes,)? 1>(panels, tiles, x, out),
                    2 => $dot::<F, $($lanes,)? 2>(panels, tiles, x, out),
                    _ => $dot::<F, $($lanes,)? 3>(panels, tiles, x, out),
                }
            };
        }
        // SAFETY: by the assertions, there are enough panels, inputs and outputs; a level exists
        // only if its instructions were detected.
        with_format!(self.block_type, F => unsafe {
            match level.kind() {
                Kind::Portable => by_count!(dot_tiles, Portable),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => by_count!(dot_avx2,),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => by_count!(dot_avx512,),
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => by_count!(dot_tiles, Neon),
            }
        });
    }

    pub(super) fn bytes(&self) -> usize {
        self.data.bytes()
    }

    /// Whether all weights are finite. Only the f16 numbers behind factors and offsets need
    /// checking: the products of finite ones cannot overflow.
    pub(super) fn is_finite(&self) -> bool {
        const INFINITE: u16 = 0x7C00;
        let (span, halves) = with_format!(self.block_type, F => {
            (span_bytes::<F>(), offsets::<F>(0)[1])
        });
        self.data.chunks_exact(span).all(|span| {
            let mut halves = span[..halves].chunks_exact(2);
            halves.all(|bytes| half(bytes, 0) & INFINITE != INFINITE)
        })
    }
}

/// Packs up to sixteen rows of `row` bytes each.
fn pack_panel<F: Format>(rows: &[u8], row: usize, panel: &mut [u8]) {
    let mut block = Unpacked {
        halves: [0; 2],
        scales: [[0; 2]; MAX_INPUTS / TILE],
        numbers: [0; MAX_INPUTS],
    };
    for (output, row) in rows.chunks_exact(row).enumerate() {
        for (index, stored) in row.chunks_exact(F::STORED).enumerate() {
            F::unpack(stored, &mut block);
            let tile = index * F::TILES;
            let (at, tile) = (tile / span::<F>(), tile % span::<F>());
            let span = &mut panel[at * span_bytes::<F>()..][..span_bytes::<F>()];
            let [halves, scales, numbers] = offsets::<F>(tile);
            for (half, to) in block.halves[..F::HALVES].iter().zip(0..) {
                let to = halves + 2 * (to * WIDTH + output);
                span[to..][..2].copy_from_slice(&half.to_le_bytes());
            }
            let finer = block.scales[..F::TILES].iter();
            let finer = finer.flat_map(|scales| &scales[..F::SCALES]);
            for (&scale, to) in finer.zip(span[scales..].chunks_exact_mut(WIDTH)) {
                to[output] = scale;
            }
            let tiles = span[numbers..].chunks_exact_mut(tile_bytes::<F>());
            for (tile, numbers) in tiles.zip(block.numbers[..F::TILES * TILE].chunks_exact(TILE)) {
                for (input, &number) in numbers.iter().enumerate() {
                    let (word, byte) = (input / 4, 4 * output + input % 4);
                    if F::BITS == 8 {
                        tile[word * LINE + byte] = number;
                        continue;
                    }
                    tile[word / 2 * LINE + byte] |= (number & 15) << (4 * (word % 2));
                    let high = number >> 4;
                    match F::BITS {
                        5 => tile[4 * LINE + byte] |= high << word,
                        6 => tile[(4 + word / 4) * LINE + byte] |= high << (2 * (word % 4)),
                        _ => {}
                    }
                }
            }
        }
    }
}
