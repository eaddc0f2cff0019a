//! The points at which expressions with variables are compared: a fixed pseudo-random sequence in ranges of
//! various sizes and both signs.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

/// Ranges in thousandths: the lower end, the upper end, and whether both signs are allowed.
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

/// Denominators. They are large primes, so no multiple that occurs in practice makes a coordinate an integer.
const DENOMINATORS: [u32; 7] = [4_099, 5_003, 6_007, 7_001, 8_009, 9_001, 10_007];

/// The powers of ten of far points.
const SIZES: [i32; 9] = [1, 2, 3, 4, 5, 6, 10, 20, 40];

/// How often the ranges are repeated.
const ROUNDS: usize = 3;

/// The number of non-integer points in ranges where most functions are defined.
pub(super) const GENERAL: usize = RANGES.len() * ROUNDS;

/// More ranges, for functions that are defined only on small domains or far out.
const WINDOWS: [(i64, i64, bool); 12] = [
    (10_000, 100_000, false),
    (4_000, 5_000, false),
    (-100_000, -10_000, false),
    (5_000, 6_000, false),
    (100_000, 1_000_000, false),
    (6_000, 8_000, false),
    (-3_000, -1_000, false),
    (8_000, 12_000, false),
    (-1_000_000, -100_000, false),
    (-6_000, -3_000, false),
    (12_000, 20_000, false),
    (1_000_000, 10_000_000, false),
];

/// The number of points in these ranges.
pub(super) const SELDOM: usize = WINDOWS.len() * 8;

/// The number of integer points.
pub(super) const WHOLE: usize = 36;

/// The number of points whose size depends on constants in the expressions.
pub(super) const SCALED: usize = 16;

/// The number of far points.
pub(super) const FAR: usize = 2 * SIZES.len();

/// Returns the coordinates of a non-integer point.
pub(super) fn general(index: usize, dimensions: usize) -> Vec<RBig> {
    between(RANGES[index % RANGES.len()], index, dimensions)
}

/// Returns the coordinates of a point in one of the additional ranges.
pub(super) fn seldom(index: usize, dimensions: usize) -> Vec<RBig> {
    between(WINDOWS[index % WINDOWS.len()], GENERAL + index, dimensions)
}

fn between((from, to, both): (i64, i64, bool), index: usize, dimensions: usize) -> Vec<RBig> {
    let denominator = DENOMINATORS[index % DENOMINATORS.len()];
    let coordinate = |dimension: usize| {
        let random = random(index, dimension);
        // Strictly between the ends.
        let (low, high) = (units(from, denominator), units(to, denominator));
        let value = low + 1 + (random >> 8) as i64 % (high - low - 1);
        let value = if both && random & 1 == 1 {
            -value
        } else {
            value
        };
        RBig::from_parts(IBig::from(value), UBig::from(denominator))
    };
    (0..dimensions).map(coordinate).collect()
}

/// Converts thousandths to units of 1/`denominator`.
fn units(thousandths: i64, denominator: u32) -> i64 {
    thousandths * i64::from(denominator) / 1_000
}

/// Returns the coordinates of an integer point. Coordinates are positive in the first half, where a single
/// variable takes the values 1, 2, 3 and so on.
pub(super) fn whole(index: usize, dimensions: usize) -> Vec<RBig> {
    if dimensions == 1 && index < WHOLE / 2 {
        return vec![RBig::from(IBig::from(index + 1))];
    }
    let coordinate = |dimension: usize| {
        let random = random(1_000 + index, dimension);
        let size = 1 + (random >> 8) % if index % 4 == 3 { 60 } else { 12 };
        let value = size as i64;
        let negative = index >= WHOLE / 2 && random & 1 == 1;
        RBig::from(IBig::from(if negative { -value } else { value }))
    };
    (0..dimensions).map(coordinate).collect()
}

/// Returns the coordinates of a far point. A single variable has increasing size and alternating sign. Several
/// variables have independent signs and sizes, small ones included.
pub(super) fn far(index: usize, dimensions: usize) -> Vec<RBig> {
    let coordinate = |dimension: usize| {
        let random = random(2_000 + index, dimension);
        let denominator = DENOMINATORS[index % DENOMINATORS.len()];
        let (size, negative) = if dimensions == 1 {
            (SIZES[index / 2 % SIZES.len()], index % 2 == 1)
        } else {
            ((random >> 40) as i32 % 10 - 3, random & 1 == 1)
        };
        let value =
            i64::from(denominator) + 1 + (random >> 8) as i64 % (8 * i64::from(denominator));
        let value = RBig::from_parts(IBig::from(value), UBig::from(denominator));
        let power = RBig::from(UBig::from(10u8).pow(size.unsigned_abs() as usize));
        let value = if size < 0 {
            value / power
        } else {
            value * power
        };
        if negative { -value } else { value }
    };
    (0..dimensions).map(coordinate).collect()
}

/// Returns the coordinates of a point of the size of a power of ten. Each coordinate is of that size or small,
/// with either sign.
pub(super) fn scaled(index: usize, dimensions: usize, power: usize) -> Vec<RBig> {
    let size = RBig::from(UBig::from(10u8).pow(power));
    let coordinate = |dimension: usize| {
        let random = random(3_000 + index, dimension);
        let denominator = DENOMINATORS[index % DENOMINATORS.len()];
        let part = 1 + (random >> 8) as i64 % (20 * i64::from(denominator));
        let value = RBig::from_parts(IBig::from(part), UBig::from(denominator));
        let value = if random & 6 == 0 {
            value
        } else {
            value * &size
        };
        if random & 1 == 1 { -value } else { value }
    };
    (0..dimensions).map(coordinate).collect()
}

/// Returns a pseudo-random number that depends only on the point and dimension.
fn random(index: usize, dimension: usize) -> u64 {
    // Multiplications by odd constants and shifts are invertible, so different inputs give different results.
    let mut x = (index as u64) << 32 | dimension as u64;
    for factor in [0x9e37_79b9_7f4a_7c15_u64, 0xd1b5_4a32_d192_ed03] {
        x = x.wrapping_add(0x632b_e59b_d9b4_e019);
        x ^= x >> 29;
        x = x.wrapping_mul(factor);
        x ^= x >> 32;
    }
    x >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_in_their_ranges_and_have_both_signs() {
        let mut signs = [0; 2];
        for index in 0..GENERAL {
            let (from, to, both) = RANGES[index % RANGES.len()];
            let point = general(index, 5);
            for x in &point {
                let thousandths = x * RBig::from(1000);
                let size = if both && x < &RBig::ZERO {
                    -thousandths
                } else {
                    thousandths
                };
                assert!(size > RBig::from(from) - RBig::ONE && size < RBig::from(to));
                assert!(!x.is_int());
                signs[usize::from(x < &RBig::ZERO)] += 1;
            }
            for (i, x) in point.iter().enumerate() {
                assert!(point[..i].iter().all(|y| x != y), "coordinates are equal");
            }
        }
        assert!(signs.iter().all(|&n| n > GENERAL), "{signs:?}");
        assert!((0..WHOLE).all(|index| whole(index, 3).iter().all(RBig::is_int)));
        assert!((0..WHOLE / 2).all(|index| whole(index, 3).iter().all(|x| x > &RBig::ZERO)));
        let least = RBig::from(UBig::from(10u8).pow(40));
        assert!(far(FAR - 2, 1)[0] > least && far(FAR - 1, 1)[0] < -least);
    }
}
