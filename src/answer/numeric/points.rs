//! Where expressions with variables are compared: points from a fixed sequence that looks
//! random, in ranges of many sizes and both signs.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// Ranges in units of a thousandth: from, to, and whether either sign may come up.
const RANGES: [(i64, i64, bool); 12] = [
    (2_000, 4_000, false),
    (-4_000, -1_000, false),
    (300, 3_000, true),
    (50, 950, false),
    (0, 900, true),
    (5_000, 40_000, false),
    (1_000, 12_000, true),
    (3_000, 4_000, false),
    (1_000, 2_000, false),
    (-1_000, 0, false),
    (5_000, 60_000, true),
    (0, 400, false),
];

/// How often the ranges are gone through.
const ROUNDS: usize = 3;

/// Points of numbers that are not whole.
pub(super) const GENERAL: usize = RANGES.len() * ROUNDS;

/// Points of whole numbers.
pub(super) const WHOLE: usize = 20;

/// Points far out.
pub(super) const FAR: usize = 12;

/// The coordinates of a point of numbers that are not whole.
pub(super) fn general(index: usize, dimensions: usize) -> Vec<RBig> {
    let (from, to, both) = RANGES[index % RANGES.len()];
    let coordinate = |dimension: usize| {
        let random = random(index, dimension);
        // Odd multiples of 2^-12.
        let (low, high) = (from * 4096 / 1000, to * 4096 / 1000);
        let value = (low + (random >> 8) as i64 % (high - low)) | 1;
        let value = if both && random & 1 == 1 {
            -value
        } else {
            value
        };
        RBig::from_parts(IBig::from(value), UBig::from(4096u32))
    };
    (0..dimensions).map(coordinate).collect()
}

/// The coordinates of a point of whole numbers: positive ones in the first half.
pub(super) fn whole(index: usize, dimensions: usize) -> Vec<RBig> {
    let coordinate = |dimension: usize| {
        let random = random(1_000 + index, dimension);
        let size = 1 + (random >> 8) % if index % 4 == 3 { 60 } else { 12 };
        let value = size as i64;
        let negative = index >= WHOLE / 2 && random & 1 == 1;
        RBig::from(IBig::from(if negative { -value } else { value }))
    };
    (0..dimensions).map(coordinate).collect()
}

/// The coordinates of a point far out: of about 10, 100, … 10⁶.
pub(super) fn far(index: usize, dimensions: usize) -> Vec<RBig> {
    let coordinate = |dimension: usize| {
        let random = random(2_000 + index, dimension);
        let size = 10i64.pow(1 + index as u32 / 2);
        let value = (size * 4096 + (random >> 8) as i64 % (size * 4096)) | 1;
        // Alternating for one variable, any signs for several.
        let flip = if dimension == 0 {
            index
        } else {
            random as usize
        };
        let value = if flip % 2 == 1 { -value } else { value };
        RBig::from_parts(IBig::from(value), UBig::from(4096u32))
    };
    (0..dimensions).map(coordinate).collect()
}

/// A number that looks random: the same for the same point and dimension on any machine.
fn random(index: usize, dimension: usize) -> u64 {
    // Multiplications by odd constants and shifts, each of which can be undone: no two inputs
    // meet.
    let mut x = (index as u64) << 32 | dimension as u64;
    for factor in [0x9e37_79b9_7f4a_7c15_u64, 0xd1b5_4a32_d192_ed03] {
        x = x.wrapping_add(0x632b_e59b_d9b4_e019);
        x ^= x >> 29;
        x = x.wrapping_mul(factor);
        x ^= x >> 32;
    }
    x >> 1
}
