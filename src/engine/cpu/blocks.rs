//! Quantized weights in memory: the blocks of a GGUF file, laid out anew for sixteen outputs at a
//! time and dequantized to f32 as they are used.
//!
//! Every type of block says that a weight is `factor · number + offset`, with a whole number of at
//! most 8 bits and a factor and an offset that 16 or 32 neighbours share. Both products that this
//! takes (of a factor's parts, of factor and number) have few enough bits to be exact in f32, so
//! that the only rounding is that of the sum: dequantized weights are the same to the bit on every
//! processor, fused or not, and the same as those of anybody else who goes by the format's formula.
//!
//! A panel of sixteen outputs is a row of spans: of one block, or of two where one does not fill whole
//! cache lines. A span holds the sixteen outputs' shared numbers (f16), their finer scales, if there
//! are any, and the numbers in tiles of 32 inputs. A tile's numbers are cache lines of sixteen words
//! of 32 bits, one for each output. Four inputs are the bytes of a word: a line has the low four
//! bits of eight inputs, the first four inputs in the low halves of the bytes (or it has all eight
//! bits of four inputs); then a line has one further bit of all 32 inputs, four inputs by four from
//! the lowest bit of the bytes on, or two lines have two bits of 16 inputs each in the same way. The
//! types of K-blocks spend 8 bits on scales that the file packs into 6; nothing else takes more memory
//! than in the file, but for half a line in a block of six bits and half of the last span where the
//! blocks of a row are an odd number.

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

/// The most panels that a product takes at once.
pub(super) const MAX_PANELS: usize = 3;

/// Bytes of a cache line, which is sixteen words.
pub(super) const LINE: usize = 4 * WIDTH;

/// Bytes of a tile's numbers.
const fn tile_bytes<F: Format>() -> usize {
    TILE * WIDTH * F::BITS / 8
}

/// Tiles that lie together: as many as share a number, or two where they fill half a line with theirs.
const fn span<F: Format>() -> usize {
    if F::TILES == 1 && F::HALVES == 1 {
        2
    } else {
        F::TILES
    }
}

/// Bytes of what the tiles of a span share and of their scales, in whole lines.
const fn shared_bytes<F: Format>() -> usize {
    let halves = 2 * F::HALVES * span::<F>() / F::TILES;
    ((halves + span::<F>() * F::SCALES) * WIDTH).next_multiple_of(LINE)
}

const fn span_bytes<F: Format>() -> usize {
    shared_bytes::<F>() + span::<F>() * tile_bytes::<F>()
}

/// What becomes of dequantized weights.
trait Sink<V> {
    /// Takes the sixteen outputs' weights of one input of the tile.
    ///
    /// # Safety
    ///
    /// The instructions of `V`, and that the sink has capacity for this input.
    unsafe fn take(&mut self, input: usize, weights: V);
}

/// Writes them, sixteen for each input.
struct Store(*mut f32);

impl<V: Lanes> Sink<V> for Store {
    #[inline(always)]
    unsafe fn take(&mut self, input: usize, weights: V) {
        // SAFETY: the caller's promise.
        unsafe { weights.store(self.0.add(input * WIDTH)) }
    }
}

/// Adds their products with the inputs to a sum, in the order of the inputs: the same chain of
/// multiply-adds as that of the product with panels.
struct Dot<V> {
    inputs: *const f32,
    sum: V,
}

impl<V: Lanes> Sink<V> for Dot<V> {
    #[inline(always)]
    unsafe fn take(&mut self, input: usize, weights: V) {
        // SAFETY: the caller's promise.
        unsafe { self.sum = weights.multiply_add(*self.inputs.add(input), self.sum) }
    }
}

/// Inputs that are dequantized in one go.
const GO: usize = 8;

/// Dequantizes inputs `go · 8 ..` of a tile.
///
/// # Safety
///
/// The instructions of `V`; `numbers` points to the tile's numbers.
#[inline(always)]
unsafe fn dequantize_go<F: Format, V: Lanes>(
    numbers: *const u8,
    go: usize,
    (factor, offset): (V, V),
    sink: &mut impl Sink<V>,
) {
    // SAFETY: the caller's promise.
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

/// Where a tile of a panel has what belongs to it.
pub(super) struct Tile {
    /// Its block's shared numbers.
    pub(super) halves: *const u8,
    pub(super) scales: *const u8,
    pub(super) numbers: *const u8,
}

/// A tile of a panel.
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

/// Where in its span a tile has its block's shared numbers, its scales and its numbers.
#[inline(always)]
const fn offsets<F: Format>(tile: usize) -> [usize; 3] {
    let block = 2 * F::HALVES * WIDTH;
    [
        tile / F::TILES * block,
        span::<F>() / F::TILES * block + tile * F::SCALES * WIDTH,
        shared_bytes::<F>() + tile * tile_bytes::<F>(),
    ]
}

/// A panel of so many bytes.
#[derive(Clone, Copy)]
pub(super) struct Panel {
    pub(super) start: *const u8,
    bytes: usize,
}

impl Panel {
    /// The panel that is so many panels further on.
    #[inline(always)]
    pub(super) fn next(self, count: usize) -> Self {
        Panel {
            start: self.start.wrapping_add(count * self.bytes),
            ..self
        }
    }
}

/// Has the processor fetch what lies some tiles ahead of one, at the end of the panel in the one that
/// the same thread will probably turn to: panels are too short, and end within a page too often, for
/// it to find out by itself. (Measured: a row alone is up to twice as fast.)
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
            // SAFETY: any address may be fetched, and one beyond the data only to no avail.
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
/// The instructions of `V`; `panel` points to a panel with these tiles, `out` to space for 512
/// numbers of each.
#[inline(always)]
unsafe fn dequantize_tiles<F: Format, V: Lanes>(
    panel: Panel,
    tiles: std::ops::Range<usize>,
    out: *mut f32,
) {
    for (index, tile) in tiles.enumerate() {
        let tile = tile_at::<F>(panel.start, tile);
        fetch_ahead::<F>(panel, &tile);
        // SAFETY: the caller's promise.
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

/// The products of one row of inputs with `P` panels.
///
/// # Safety
///
/// The instructions of `V`; `panels` is the first of `P` panels of so many tiles,
/// `x` to their inputs and `out` to space for sixteen numbers of each panel.
#[inline(always)]
unsafe fn dot_tiles<F: Format, V: Lanes, const P: usize>(
    panels: Panel,
    tiles: usize,
    x: *const f32,
    out: *mut f32,
) {
    // SAFETY: the caller's promise; all bits zero are sixteen zeros.
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
            // The panels in turn, so that no chain of sums waits for itself.
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

/// Compiles the two for each level.
macro_rules! for_levels {
    ($($lanes:ident, $dequantize:ident, $dot:ident, $features:literal;)*) => {$(
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $dequantize<F: Format>(
            panel: Panel,
            tiles: std::ops::Range<usize>,
            out: *mut f32,
        ) {
            // SAFETY: the caller's promise.
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
            // SAFETY: the caller's promise.
            unsafe { dot_tiles::<F, $lanes, P>(panels, tiles, x, out) }
        }
    )*};
}

for_levels! {
    Avx2, dequantize_avx2, dot_avx2, "avx2,fma,f16c";
    Avx512, dequantize_avx512, dot_avx512, "avx2,fma,f16c,avx512f";
}

/// A matrix `[out, in]` of blocks in panels of sixteen outputs, the last filled up with zeros.
pub(super) struct Blocks {
    pub(super) block_type: BlockType,
    pub(super) inputs: usize,
    panel_bytes: usize,
    data: Aligned<u8>,
}

impl Blocks {
    /// Lays out the blocks of a file, `[out, in]`; `None` for a type without kernels, or where the
    /// bytes are not those of such a matrix.
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

    /// The first of some panels, all of which are there.
    pub(super) fn panels(&self, first: usize, count: usize) -> Panel {
        let bytes = self.panel_bytes;
        Panel {
            start: self.data[first * bytes..][..count * bytes].as_ptr(),
            bytes,
        }
    }

    /// Dequantizes the weights of a panel's inputs from `first` on (a whole number of tiles, and so is
    /// their number) into `out`, `[inputs][16]`.
    pub(super) fn dequantize(&self, level: Level, panel: usize, first: usize, out: &mut [f32]) {
        let inputs = out.len() / WIDTH;
        assert!(first.is_multiple_of(TILE) && inputs.is_multiple_of(TILE));
        assert!(first + inputs <= self.inputs && out.len() == inputs * WIDTH);
        let tiles = first / TILE..(first + inputs) / TILE;
        let panel = self.panels(panel, 1);
        let out = out.as_mut_ptr();
        // SAFETY: the panel holds the tiles and `out` is long enough, as asserted; a level exists
        // only where its instructions were detected.
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

    /// The products of one row of inputs with up to three panels from `panel` on, sixteen numbers
    /// each: to the bit what the product with their dequantized weights gives.
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
        // SAFETY: there are as many panels, inputs and places as asserted; a level exists only
        // where its instructions were detected.
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

    /// Whether all weights are finite: whether the numbers are that their factors and offsets are
    /// made of, which leave space for the products.
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

/// Lays out up to sixteen rows of `row` bytes each.
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
