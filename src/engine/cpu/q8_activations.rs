//! Activations quantized to 8 bits: each tile of 32 inputs is integers from -127 to 127 times a
//! scale.

use rayon::prelude::*;

use super::formats::TILE;
use super::simd::{Level, for_each_level};

/// If the largest magnitude of a tile is smaller, the tile counts as zeros: the reciprocal of the
/// scale would overflow.
const LEAST: f32 = 1e-30;

/// The scale of a tile of a row.
#[derive(Clone, Copy, Default)]
pub(super) struct TileScale {
    /// The value of one unit; NaN if any number of the tile was not finite.
    scale: f32,
    /// The sum of the dequantized tile, and of each of its halves.
    sum: f32,
    sums: [f32; 2],
}

/// Quantized rows of a left-hand side. The memory is reused.
#[derive(Default)]
pub(super) struct Q8Activations {
    pub(super) inputs: usize,
    /// `[rows][inputs]`
    pub(super) numbers: Vec<i8>,
    /// `[rows][inputs / 32]`
    pub(super) scales: Vec<TileScale>,
}

impl Q8Activations {
    /// Quantizes rows `[rows, inputs]`. The number of inputs must be a multiple of the tile size.
    pub(super) fn quantize(&mut self, level: Level, x: &[f32], inputs: usize) {
        /// The number of tiles that one thread quantizes in about the time that it takes to wake
        /// another.
        const SHARE: usize = 1 << 9;
        assert!(inputs.is_multiple_of(TILE) && x.len().is_multiple_of(inputs.max(1)));
        self.inputs = inputs;
        self.numbers.resize(x.len(), 0);
        self.scales.resize(x.len() / TILE, TileScale::default());
        let parts = self.numbers.par_chunks_mut(SHARE * TILE);
        let parts = parts.zip(self.scales.par_chunks_mut(SHARE));
        parts
            .zip(x.par_chunks(SHARE * TILE))
            .for_each(|((numbers, scales), x)| quantize_tiles(level, x, numbers, scales));
    }

    pub(super) fn rows(&self) -> usize {
        self.numbers.len() / self.inputs.max(1)
    }
}

for_each_level! {
    /// Quantizes tiles.
    fn quantize_tiles(x: &[f32], numbers: &mut [i8], scales: &mut [TileScale]) = quantize_tiles_body
}

#[inline(always)]
fn quantize_tiles_body<const FUSE: bool>(x: &[f32], numbers: &mut [i8], scales: &mut [TileScale]) {
    let (tiles, _) = x.as_chunks::<TILE>();
    let (numbers, _) = numbers.as_chunks_mut::<TILE>();
    for ((x, numbers), scale) in tiles.iter().zip(numbers).zip(scales) {
        *scale = quantize_tile(x, numbers);
    }
}

#[inline(always)]
fn quantize_tile(x: &[f32; TILE], numbers: &mut [i8; TILE]) -> TileScale {
    const INFINITE: u32 = 0x7F80_0000;
    // Without the sign, bits order like magnitudes, with NaN last.
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
    // Adding this leaves the nearest integer in the lowest bits.
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

impl TileScale {
    /// The scale, and the sum of part `part` of `PARTS`.
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
