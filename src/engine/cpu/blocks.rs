//! Quantised weights in memory: the blocks of a GGUF file, laid out anew for sixteen outputs at a
//! time and widened to f32 as they are used.
//!
//! Every type of block says that a weight is `factor · number + offset`, with a whole number of at
//! most 8 bits and a factor and an offset that 16 or 32 neighbours share. Both products that this
//! takes (of a factor's parts, of factor and number) have few enough bits to be exact in f32, so
//! that the only rounding is that of the sum: widened weights are the same to the bit on every
//! processor, fused or not, and the same as those of anybody else who goes by the format's formula.
//!
//! A panel of sixteen outputs is a row of blocks. A block holds the sixteen outputs' shared numbers
//! (f16), then tiles of 32 inputs: the outputs' finer scales, if there are any, and the numbers in
//! planes, one byte for each output in turn: the low four bits of two inputs, then one further bit
//! of eight inputs or two of four. The types of K-blocks spend 8 bits on scales that the file packs
//! into 6; nothing else takes more room than in the file.

use candle_core::quantized::GgmlDType;
use rayon::prelude::*;

use super::aligned::Aligned;
#[cfg(target_arch = "aarch64")]
use super::lanes::Neon;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Portable, WIDTH};
use super::simd::{Kind, Level};

/// Inputs of a tile.
pub(super) const TILE: usize = 32;

/// The most panels that [`Blocks::dot`] takes at once.
pub(super) const MOST_PANELS: usize = 3;

/// The most inputs of a block.
const MOST_INPUTS: usize = 256;

/// A block of one output, taken apart.
struct Unpacked {
    /// f16 bits that the whole block shares.
    halves: [u16; 2],
    /// For each tile, what its halves' factors and offsets are made of.
    scales: [[u8; 2]; MOST_INPUTS / TILE],
    numbers: [u8; MOST_INPUTS],
}

/// A type of block.
trait Format {
    /// Bytes of a block of one output in the file.
    const STORED: usize;
    /// Tiles of a block.
    const TILES: usize;
    /// f16 numbers that a block shares.
    const HALVES: usize;
    /// Bytes of scales of a tile.
    const SCALES: usize;
    /// Bits of a number.
    const BITS: usize;

    /// Takes a block of one output apart.
    fn unpack(stored: &[u8], block: &mut Unpacked);

    /// Factor and offset of the sixteen outputs for one half of a tile.
    ///
    /// # Safety
    ///
    /// The instructions of `V`, and pointers to the block's shared numbers and the tile's scales.
    unsafe fn scales<V: Lanes>(halves: *const u8, scales: *const u8, half: usize) -> (V, V);
}

/// Bytes of a tile's first plane: four bits of two inputs in a byte, or eight of one.
const fn low_bytes<F: Format>() -> usize {
    TILE * WIDTH * if F::BITS == 8 { 8 } else { 4 } / 8
}

const fn tile_bytes<F: Format>() -> usize {
    F::SCALES * WIDTH + TILE * WIDTH * F::BITS / 8
}

const fn block_bytes<F: Format>() -> usize {
    2 * F::HALVES * WIDTH + F::TILES * tile_bytes::<F>()
}

fn half(stored: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([stored[at], stored[at + 1]])
}

/// Numbers of four bits as the types of 32 inputs store them: the first sixteen inputs in the low
/// halves of the bytes, the others in the high ones; their fifth bits in order, if there are any.
fn unpack_32(stored: &[u8], fifth: [u8; 4], numbers: &mut [u8]) {
    let fifth = u32::from_le_bytes(fifth);
    for (index, &byte) in stored.iter().enumerate() {
        for (input, four) in [(index, byte & 15), (index + 16, byte >> 4)] {
            numbers[input] = four | ((fifth >> input & 1) as u8) << 4;
        }
    }
}

/// Scales of six bits as the K-types with offsets pack them into twelve bytes: of each of the eight
/// tiles the factor's and the offset's.
fn unpack_scales(stored: &[u8], scales: &mut [[u8; 2]]) {
    for (tile, scales) in scales.iter_mut().enumerate() {
        *scales = match tile {
            0..4 => [stored[tile] & 63, stored[tile + 4] & 63],
            _ => [
                stored[tile + 4] & 15 | stored[tile - 4] >> 6 << 4,
                stored[tile + 4] >> 4 | stored[tile] >> 6 << 4,
            ],
        };
    }
}

/// Factor and offset of the types whose numbers lie around a middle: there the offset is so many
/// factors below zero.
#[inline(always)]
unsafe fn around<V: Lanes>(factor: V, middle: f32) -> (V, V) {
    // SAFETY: the caller has the instructions of `V`.
    unsafe { (factor, factor.times(V::splat(-middle))) }
}

/// Factor and offset of the K-types with offsets.
#[inline(always)]
unsafe fn scaled<V: Lanes>(halves: *const u8, scales: *const u8) -> (V, V) {
    // SAFETY: the caller has the instructions of `V`, and the pointers are good for two numbers of
    // each output.
    unsafe {
        let factor = V::float(V::bytes(scales));
        let offset = V::float(V::bytes(scales.add(WIDTH)));
        let least = V::halves(halves.add(2 * WIDTH)).times(V::splat(-1.0));
        (V::halves(halves).times(factor), least.times(offset))
    }
}

/// Defines the types of blocks that hold 32 inputs.
macro_rules! blocks_of_32 {
    ($($name:ident: $bits:literal bits, $halves:literal halves, $stored:literal bytes;
        |$from:ident, $block:ident| $unpack:expr;
        |$lanes:ident| $scales:expr;)*) => {$(
        struct $name;

        impl Format for $name {
            const STORED: usize = $stored;
            const TILES: usize = 1;
            const HALVES: usize = $halves;
            const SCALES: usize = 0;
            const BITS: usize = $bits;

            fn unpack($from: &[u8], $block: &mut Unpacked) {
                for (index, to) in $block.halves[..$halves].iter_mut().enumerate() {
                    *to = half($from, 2 * index);
                }
                $unpack
            }

            #[inline(always)]
            unsafe fn scales<V: Lanes>($lanes: *const u8, _: *const u8, _: usize) -> (V, V) {
                // SAFETY: the caller's promise.
                unsafe { $scales }
            }
        }
    )*};
}

blocks_of_32! {
    Q40: 4 bits, 1 halves, 18 bytes;
        |from, block| unpack_32(&from[2..], [0; 4], &mut block.numbers);
        |halves| around(V::halves(halves), 8.0);
    Q41: 4 bits, 2 halves, 20 bytes;
        |from, block| unpack_32(&from[4..], [0; 4], &mut block.numbers);
        |halves| (V::halves(halves), V::halves(halves.add(2 * WIDTH)));
    Q50: 5 bits, 1 halves, 22 bytes;
        |from, block| {
            let fifth = [from[2], from[3], from[4], from[5]];
            unpack_32(&from[6..], fifth, &mut block.numbers);
        };
        |halves| around(V::halves(halves), 16.0);
    Q51: 5 bits, 2 halves, 24 bytes;
        |from, block| {
            let fifth = [from[4], from[5], from[6], from[7]];
            unpack_32(&from[8..], fifth, &mut block.numbers);
        };
        |halves| (V::halves(halves), V::halves(halves.add(2 * WIDTH)));
    Q80: 8 bits, 1 halves, 34 bytes;
        |from, block| for (to, &signed) in block.numbers.iter_mut().zip(&from[2..]) {
            // From -128 … 127 to 0 … 255.
            *to = signed ^ 0x80;
        };
        |halves| around(V::halves(halves), 128.0);
}

struct Q4K;

impl Format for Q4K {
    const STORED: usize = 144;
    const TILES: usize = 8;
    const HALVES: usize = 2;
    const SCALES: usize = 2;
    const BITS: usize = 4;

    fn unpack(stored: &[u8], block: &mut Unpacked) {
        block.halves = [half(stored, 0), half(stored, 2)];
        unpack_scales(&stored[4..16], &mut block.scales);
        // Two tiles side by side in the halves of 32 bytes.
        let pairs = block.numbers.chunks_exact_mut(2 * TILE);
        for (numbers, stored) in pairs.zip(stored[16..].chunks_exact(TILE)) {
            let (first, second) = numbers.split_at_mut(TILE);
            for ((first, second), &byte) in first.iter_mut().zip(second).zip(stored) {
                (*first, *second) = (byte & 15, byte >> 4);
            }
        }
    }

    #[inline(always)]
    unsafe fn scales<V: Lanes>(halves: *const u8, scales: *const u8, _: usize) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { scaled(halves, scales) }
    }
}

struct Q5K;

impl Format for Q5K {
    const STORED: usize = 176;
    const TILES: usize = 8;
    const HALVES: usize = 2;
    const SCALES: usize = 2;
    const BITS: usize = 5;

    fn unpack(stored: &[u8], block: &mut Unpacked) {
        block.halves = [half(stored, 0), half(stored, 2)];
        unpack_scales(&stored[4..16], &mut block.scales);
        let (fifth, four) = stored[16..].split_at(TILE);
        for (tile, numbers) in block.numbers.chunks_exact_mut(TILE).enumerate() {
            // Fours as in the type of four bits; the fifth bits of tile `t` are bits `t`.
            let four = &four[tile / 2 * TILE..][..TILE];
            for ((to, &four), &fifth) in numbers.iter_mut().zip(four).zip(fifth) {
                *to = four >> (4 * (tile % 2)) & 15 | (fifth >> tile & 1) << 4;
            }
        }
    }

    #[inline(always)]
    unsafe fn scales<V: Lanes>(halves: *const u8, scales: *const u8, _: usize) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe { scaled(halves, scales) }
    }
}

struct Q6K;

impl Format for Q6K {
    const STORED: usize = 210;
    const TILES: usize = 8;
    const HALVES: usize = 1;
    const SCALES: usize = 2;
    const BITS: usize = 6;

    fn unpack(stored: &[u8], block: &mut Unpacked) {
        let (four, rest) = stored.split_at(128);
        let (two, rest) = rest.split_at(64);
        block.halves[0] = half(rest, 16);
        for (to, &signed) in block.scales.as_flattened_mut().iter_mut().zip(&rest[..16]) {
            // From -128 … 127 to 0 … 255.
            *to = signed ^ 0x80;
        }
        for (tile, numbers) in block.numbers.chunks_exact_mut(TILE).enumerate() {
            // Each half of the block has 64 bytes of fours, two tiles and then the other two in
            // the halves of the bytes, and 32 bytes with two bits of each of its four tiles.
            let (part, tile) = (tile / 4, tile % 4);
            let four = &four[64 * part + 32 * (tile % 2)..][..TILE];
            let two = &two[32 * part..][..TILE];
            for ((to, &four), &two) in numbers.iter_mut().zip(four).zip(two) {
                *to = four >> (4 * (tile / 2)) & 15 | (two >> (2 * tile) & 3) << 4;
            }
        }
    }

    #[inline(always)]
    unsafe fn scales<V: Lanes>(halves: *const u8, scales: *const u8, half: usize) -> (V, V) {
        // SAFETY: the caller's promise.
        unsafe {
            let scale = V::float(V::bytes(scales.add(half * WIDTH)));
            let scale = scale.times_plus(V::splat(1.0), V::splat(-128.0));
            around(V::halves(halves).times(scale), 32.0)
        }
    }
}

/// What becomes of widened weights.
trait Sink<V> {
    /// Takes the sixteen outputs' weights of one input of the tile.
    ///
    /// # Safety
    ///
    /// The instructions of `V`, and that the sink has room for this input.
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

/// Inputs that are widened in one go: as many as share a byte of fifth bits.
const GO: usize = 8;

/// Widens inputs `go · 8 ..` of a tile.
///
/// # Safety
///
/// The instructions of `V`; `planes` points to the tile's planes.
#[inline(always)]
unsafe fn widen_go<F: Format, V: Lanes>(
    planes: *const u8,
    go: usize,
    (factor, offset): (V, V),
    sink: &mut impl Sink<V>,
) {
    let first = go * GO;
    // SAFETY: the caller's promise.
    unsafe {
        if const { F::BITS == 8 } {
            for input in first..first + GO {
                let numbers = V::float(V::bytes(planes.add(input * WIDTH)));
                sink.take(input, numbers.times_plus(factor, offset));
            }
            return;
        }
        let high = planes.add(low_bytes::<F>());
        for pair in 0..GO / 2 {
            let input = first + 2 * pair;
            let low = V::bytes(planes.add(input / 2 * WIDTH));
            let (mut even, mut odd) = (V::field(low, 0, 15), V::field(low, -4, 15));
            if const { F::BITS == 5 } {
                let fifth = V::bytes(high.add(go * WIDTH));
                let shift = 4 - 2 * pair as i32;
                even = V::or(even, V::field(fifth, shift, 16));
                odd = V::or(odd, V::field(fifth, shift - 1, 16));
            }
            if const { F::BITS == 6 } {
                let two = V::bytes(high.add(input / 4 * WIDTH));
                let shift = 4 - 4 * (pair % 2) as i32;
                even = V::or(even, V::field(two, shift, 48));
                odd = V::or(odd, V::field(two, shift - 2, 48));
            }
            sink.take(input, V::float(even).times_plus(factor, offset));
            sink.take(input + 1, V::float(odd).times_plus(factor, offset));
        }
    }
}

/// A tile of a panel: its block's shared numbers, its scales and its planes.
#[inline(always)]
fn tile_at<F: Format>(panel: *const u8, tile: usize) -> (*const u8, *const u8, *const u8) {
    let block = panel.wrapping_add(tile / F::TILES * block_bytes::<F>());
    let scales = block.wrapping_add(2 * F::HALVES * WIDTH + tile % F::TILES * tile_bytes::<F>());
    (block, scales, scales.wrapping_add(F::SCALES * WIDTH))
}

/// Has the processor fetch what lies some tiles ahead of one: panels are too short, and end within
/// a page too often, for it to find out by itself. (Measured: a row alone is up to twice as fast.)
#[inline(always)]
fn fetch_ahead<F: Format>(scales: *const u8) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..tile_bytes::<F>().div_ceil(64) + 1 {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        const AHEAD: usize = 2048;
        // SAFETY: any address may be fetched, and one beyond the data only to no avail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(scales.wrapping_add(AHEAD + 64 * line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = scales;
}

/// Widens some tiles of a panel.
///
/// # Safety
///
/// The instructions of `V`; `panel` points to a panel with these tiles, `out` to room for 512
/// numbers of each.
#[inline(always)]
unsafe fn widen_tiles<F: Format, V: Lanes>(
    panel: *const u8,
    tiles: std::ops::Range<usize>,
    out: *mut f32,
) {
    for (index, tile) in tiles.enumerate() {
        let (halves, scales, planes) = tile_at::<F>(panel, tile);
        fetch_ahead::<F>(scales);
        // SAFETY: the caller's promise.
        unsafe {
            let mut store = Store(out.add(index * TILE * WIDTH));
            let halves_scales = [
                F::scales::<V>(halves, scales, 0),
                F::scales::<V>(halves, scales, 1),
            ];
            for go in 0..TILE / GO {
                widen_go::<F, V>(planes, go, halves_scales[go / 2], &mut store);
            }
        }
    }
}

/// The products of one row of inputs with `P` panels.
///
/// # Safety
///
/// The instructions of `V`; `panels` points to `P` panels of `panel_bytes`, each of so many tiles,
/// `x` to their inputs and `out` to room for sixteen numbers of each panel.
#[inline(always)]
unsafe fn dot_tiles<F: Format, V: Lanes, const P: usize>(
    panels: *const u8,
    panel_bytes: usize,
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
                let panel = panels.add(panel * panel_bytes);
                let (halves, finer, _) = tile_at::<F>(panel, tile);
                fetch_ahead::<F>(finer);
                *scales = [F::scales(halves, finer, 0), F::scales(halves, finer, 1)];
            }
            // The panels in turn, so that no chain of sums waits for itself.
            for go in 0..TILE / GO {
                for panel in 0..P {
                    let (_, _, planes) = tile_at::<F>(panels.add(panel * panel_bytes), tile);
                    let sum = sums[panel];
                    let mut dot = Dot { inputs, sum };
                    widen_go::<F, V>(planes, go, scales[panel][go / 2], &mut dot);
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
    ($($lanes:ident, $widen:ident, $dot:ident, $features:literal;)*) => {$(
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $widen<F: Format>(
            panel: *const u8,
            tiles: std::ops::Range<usize>,
            out: *mut f32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { widen_tiles::<F, $lanes>(panel, tiles, out) }
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $dot<F: Format, const P: usize>(
            panels: *const u8,
            panel_bytes: usize,
            tiles: usize,
            x: *const f32,
            out: *mut f32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { dot_tiles::<F, $lanes, P>(panels, panel_bytes, tiles, x, out) }
        }
    )*};
}

for_levels! {
    Avx2, widen_avx2, dot_avx2, "avx2,fma,f16c";
    Avx512, widen_avx512, dot_avx512, "avx2,fma,f16c,avx512f";
}

/// The types of blocks that there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BlockType {
    Q40,
    Q41,
    Q50,
    Q51,
    Q80,
    Q4K,
    Q5K,
    Q6K,
}

/// Calls a function that is generic over the format.
macro_rules! with_format {
    ($type:expr, $format:ident => $call:expr) => {
        match $type {
            BlockType::Q40 => {
                type $format = Q40;
                $call
            }
            BlockType::Q41 => {
                type $format = Q41;
                $call
            }
            BlockType::Q50 => {
                type $format = Q50;
                $call
            }
            BlockType::Q51 => {
                type $format = Q51;
                $call
            }
            BlockType::Q80 => {
                type $format = Q80;
                $call
            }
            BlockType::Q4K => {
                type $format = Q4K;
                $call
            }
            BlockType::Q5K => {
                type $format = Q5K;
                $call
            }
            BlockType::Q6K => {
                type $format = Q6K;
                $call
            }
        }
    };
}

impl BlockType {
    fn of(dtype: GgmlDType) -> Option<Self> {
        Some(match dtype {
            GgmlDType::Q4_0 => BlockType::Q40,
            GgmlDType::Q4_1 => BlockType::Q41,
            GgmlDType::Q5_0 => BlockType::Q50,
            GgmlDType::Q5_1 => BlockType::Q51,
            GgmlDType::Q8_0 => BlockType::Q80,
            GgmlDType::Q4K => BlockType::Q4K,
            GgmlDType::Q5K => BlockType::Q5K,
            GgmlDType::Q6K => BlockType::Q6K,
            _ => return None,
        })
    }
}

/// A matrix `[out, in]` of blocks in panels of sixteen outputs, the last filled up with zeros.
pub(super) struct Blocks {
    block_type: BlockType,
    inputs: usize,
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
            let panel_bytes = blocks * block_bytes::<F>();
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

    /// Widens the weights of a panel's inputs from `first` on (a whole number of tiles, and so is
    /// their number) into `out`, `[inputs][16]`.
    pub(super) fn widen(&self, level: Level, panel: usize, first: usize, out: &mut [f32]) {
        let inputs = out.len() / WIDTH;
        assert!(first.is_multiple_of(TILE) && inputs.is_multiple_of(TILE));
        assert!(first + inputs <= self.inputs && out.len() == inputs * WIDTH);
        let tiles = first / TILE..(first + inputs) / TILE;
        let panel = self.data[panel * self.panel_bytes..][..self.panel_bytes].as_ptr();
        let out = out.as_mut_ptr();
        // SAFETY: the panel holds the tiles and `out` is long enough, as asserted; a level exists
        // only where its instructions were detected.
        with_format!(self.block_type, F => unsafe {
            match level.kind() {
                Kind::Portable => widen_tiles::<F, Portable>(panel, tiles, out),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => widen_avx2::<F>(panel, tiles, out),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => widen_avx512::<F>(panel, tiles, out),
                #[cfg(target_arch = "aarch64")]
                Kind::Neon => widen_tiles::<F, Neon>(panel, tiles, out),
            }
        });
    }

    /// The products of one row of inputs with up to three panels from `panel` on, sixteen numbers
    /// each: to the bit what the product with their widened weights gives.
    pub(super) fn dot(&self, level: Level, panel: usize, x: &[f32], out: &mut [f32]) {
        let count = out.len() / WIDTH;
        assert!((1..=MOST_PANELS).contains(&count) && out.len() == count * WIDTH);
        assert!(x.len() == self.inputs);
        let bytes = self.panel_bytes;
        let panels = self.data[panel * bytes..][..count * bytes].as_ptr();
        let (tiles, x, out) = (self.inputs / TILE, x.as_ptr(), out.as_mut_ptr());
        macro_rules! by_count {
            ($dot:ident, $($lanes:ident)?) => {
                match count {
                    1 => $dot::<F, $($lanes,)? 1>(panels, bytes, tiles, x, out),
                    2 => $dot::<F, $($lanes,)? 2>(panels, bytes, tiles, x, out),
                    _ => $dot::<F, $($lanes,)? 3>(panels, bytes, tiles, x, out),
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
    /// made of, which leave room for the products.
    pub(super) fn is_finite(&self) -> bool {
        const INFINITE: u16 = 0x7C00;
        let (block, shared) = with_format!(self.block_type, F => {
            (block_bytes::<F>(), 2 * F::HALVES * WIDTH)
        });
        self.data.chunks_exact(block).all(|block| {
            let mut halves = block[..shared].chunks_exact(2);
            halves.all(|bytes| half(bytes, 0) & INFINITE != INFINITE)
        })
    }
}

/// Lays out up to sixteen rows of `row` bytes each.
fn pack_panel<F: Format>(rows: &[u8], row: usize, panel: &mut [u8]) {
    let mut block = Unpacked {
        halves: [0; 2],
        scales: [[0; 2]; MOST_INPUTS / TILE],
        numbers: [0; MOST_INPUTS],
    };
    for (output, row) in rows.chunks_exact(row).enumerate() {
        let blocks = panel.chunks_exact_mut(block_bytes::<F>());
        for (stored, to) in row.chunks_exact(F::STORED).zip(blocks) {
            F::unpack(stored, &mut block);
            let (shared, tiles) = to.split_at_mut(2 * F::HALVES * WIDTH);
            for (half, to) in block.halves.iter().zip(shared.chunks_exact_mut(2 * WIDTH)) {
                to[2 * output..][..2].copy_from_slice(&half.to_le_bytes());
            }
            let numbers = block.numbers.chunks_exact(TILE);
            let tiles = tiles.chunks_exact_mut(tile_bytes::<F>());
            for ((tile, scales), numbers) in tiles.zip(&block.scales).zip(numbers) {
                let (finer, planes) = tile.split_at_mut(F::SCALES * WIDTH);
                for (&scale, to) in scales.iter().zip(finer.chunks_exact_mut(WIDTH)) {
                    to[output] = scale;
                }
                let (low, high) = planes.split_at_mut(low_bytes::<F>());
                for (input, &number) in numbers.iter().enumerate() {
                    match F::BITS {
                        8 => low[input * WIDTH + output] = number,
                        bits => {
                            low[input / 2 * WIDTH + output] |= (number & 15) << (4 * (input % 2));
                            if bits > 4 {
                                // Of eight inputs one bit each, or of four inputs two.
                                let each = bits - 4;
                                let (byte, place) = (input * each / 8, input * each % 8);
                                high[byte * WIDTH + output] |= (number >> 4) << place;
                            }
                        }
                    }
                }
            }
        }
    }
}
