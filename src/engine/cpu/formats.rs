//! The quantized block types of GGUF files: how each is stored, and how its numbers are
//! dequantized.

use candle_core::quantized::GgmlDType;

use super::lanes::{Lanes, WIDTH};

/// The number of inputs of a tile.
pub(super) const TILE: usize = 32;

/// The largest number of inputs of a block.
pub(super) const MAX_INPUTS: usize = 256;

/// An unpacked block of one output.
pub(super) struct Unpacked {
    /// f16 bits that the whole block shares.
    pub(super) halves: [u16; 2],
    /// For each tile, the integers behind the factors and offsets of its halves.
    pub(super) scales: [[u8; 2]; MAX_INPUTS / TILE],
    pub(super) numbers: [u8; MAX_INPUTS],
}

/// A type of block.
pub(super) trait Format {
    /// Bytes of a block of one output in the file.
    const STORED: usize;
    /// The number of tiles of a block.
    const TILES: usize;
    /// The number of f16 values that a block shares.
    const HALVES: usize;
    /// Bytes of a tile's scales.
    const SCALES: usize;
    /// Bits of a number.
    const BITS: usize;
    /// The number of parts of a tile with a factor and an offset each.
    const PARTS: usize = 1;

    /// Unpacks a block of one output.
    fn unpack(stored: &[u8], block: &mut Unpacked);

    /// Returns the factor and offset of the sixteen outputs for one half of a tile.
    ///
    /// # Safety
    ///
    /// The CPU must support the instructions of `V`; the pointers must be those of the block's
    /// shared numbers and of the tile's scales.
    unsafe fn scales<V: Lanes>(halves: *const u8, scales: *const u8, half: usize) -> (V, V);
}

pub(super) fn half(stored: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([stored[at], stored[at + 1]])
}

/// Unpacks four-bit numbers of 32-input blocks: the first sixteen inputs are in the low nibbles,
/// the others in the high ones; their fifth bits, if any, are in order.
fn unpack_32(stored: &[u8], fifth: [u8; 4], numbers: &mut [u8]) {
    let fifth = u32::from_le_bytes(fifth);
    for (index, &byte) in stored.iter().enumerate() {
        for (input, four) in [(index, byte & 15), (index + 16, byte >> 4)] {
            numbers[input] = four | ((fifth >> input & 1) as u8) << 4;
        }
    }
}

/// Unpacks the six-bit scales that K-types with offsets pack into twelve bytes: a factor and an
/// offset for each of the eight tiles.
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

/// Returns factor and offset for types whose numbers are centered on `middle`: the offset is
/// `-middle · factor`.
#[inline(always)]
unsafe fn around<V: Lanes>(factor: V, middle: f32) -> (V, V) {
    // SAFETY: guaranteed by the caller.
    unsafe { (factor, factor.times(V::splat(-middle))) }
}

/// Returns factor and offset for the K-types with offsets.
#[inline(always)]
unsafe fn scaled<V: Lanes>(halves: *const u8, scales: *const u8) -> (V, V) {
    // SAFETY: guaranteed by the caller; the pointers are valid for two numbers per output.
    unsafe {
        let factor = V::float(V::bytes(scales));
        let offset = V::float(V::bytes(scales.add(WIDTH)));
        let least = V::halves(halves.add(2 * WIDTH)).times(V::splat(-1.0));
        (V::halves(halves).times(factor), least.times(offset))
    }
}

/// Defines the block types of 32 inputs.
macro_rules! blocks_of_32 {
    ($($name:ident: $bits:literal bits, $halves:literal halves, $stored:literal bytes;
        |$from:ident, $block:ident| $unpack:expr;
        |$lanes:ident| $scales:expr;)*) => {$(
        pub(super) struct $name;

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
                // SAFETY: guaranteed by the caller.
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

pub(super) struct Q4K;

impl Format for Q4K {
    const STORED: usize = 144;
    const TILES: usize = 8;
    const HALVES: usize = 2;
    const SCALES: usize = 2;
    const BITS: usize = 4;

    fn unpack(stored: &[u8], block: &mut Unpacked) {
        block.halves = [half(stored, 0), half(stored, 2)];
        unpack_scales(&stored[4..16], &mut block.scales);
        // Two tiles share 32 bytes: one in the low nibbles, one in the high ones.
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
        // SAFETY: guaranteed by the caller.
        unsafe { scaled(halves, scales) }
    }
}

pub(super) struct Q5K;

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
            // Low bits as in Q4_K; the fifth bits of tile `t` are bits `t`.
            let four = &four[tile / 2 * TILE..][..TILE];
            for ((to, &four), &fifth) in numbers.iter_mut().zip(four).zip(fifth) {
                *to = four >> (4 * (tile % 2)) & 15 | (fifth >> tile & 1) << 4;
            }
        }
    }

    #[inline(always)]
    unsafe fn scales<V: Lanes>(halves: *const u8, scales: *const u8, _: usize) -> (V, V) {
        // SAFETY: guaranteed by the caller.
        unsafe { scaled(halves, scales) }
    }
}

pub(super) struct Q6K;

impl Format for Q6K {
    const STORED: usize = 210;
    const TILES: usize = 8;
    const HALVES: usize = 1;
    const SCALES: usize = 2;
    const BITS: usize = 6;
    const PARTS: usize = 2;

    fn unpack(stored: &[u8], block: &mut Unpacked) {
        let (four, rest) = stored.split_at(128);
        let (two, rest) = rest.split_at(64);
        block.halves[0] = half(rest, 16);
        for (to, &signed) in block.scales.as_flattened_mut().iter_mut().zip(&rest[..16]) {
            // From -128 … 127 to 0 … 255.
            *to = signed ^ 0x80;
        }
        for (tile, numbers) in block.numbers.chunks_exact_mut(TILE).enumerate() {
            // Each half of the block has 64 bytes of nibbles (two tiles in the low ones, then two
            // in the high ones) and 32 bytes with two bits for each of its four tiles.
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
        // SAFETY: guaranteed by the caller.
        unsafe {
            let scale = V::float(V::bytes(scales.add(half * WIDTH)));
            let scale = scale.times_plus(V::splat(1.0), V::splat(-128.0));
            around(V::halves(halves).times(scale), 32.0)
        }
    }
}

/// The block types that have kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockType {
    Q40,
    Q41,
    Q50,
    Q51,
    Q80,
    Q4K,
    Q5K,
    Q6K,
}

/// Evaluates an expression that is generic over the format.
macro_rules! with_format {
    ($type:expr, $format:ident => $call:expr) => {
        match $type {
            $crate::engine::cpu::formats::BlockType::Q40 => {
                type $format = $crate::engine::cpu::formats::Q40;
                $call
            }
            $crate::engine::cpu::formats::BlockType::Q41 => {
                type $format = $crate::engine::cpu::formats::Q41;
                $call
            }
            $crate::engine::cpu::formats::BlockType::Q50 => {
                type $format = $crate::engine::cpu::formats::Q50;
                $call
            }
            $crate::engine::cpu::formats::BlockType::Q51 => {
                type $format = $crate::engine::cpu::formats::Q51;
                $call
            }
            $crate::engine::cpu::formats::BlockType::Q80 => {
                type $format = $crate::engine::cpu::formats::Q80;
                $call
            }
            $crate::engine::cpu::formats::BlockType::Q4K => {
                type $format = $crate::engine::cpu::formats::Q4K;
                $call
            }
            $crate::engine::cpu::formats::BlockType::Q5K => {
                type $format = $crate::engine::cpu::formats::Q5K;
                $call
            }
            $crate::engine::cpu::formats::BlockType::Q6K => {
                type $format = $crate::engine::cpu::formats::Q6K;
                $call
            }
        }
    };
}

impl BlockType {
    pub(super) fn of(dtype: GgmlDType) -> Option<Self> {
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
pub(super) use with_format;
