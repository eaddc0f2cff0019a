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

/// Denominators: primes, so that no multiple that is ever written makes a coordinate whole.
const DENOMINATORS: [u32; 7] = [4_099, 5_003, 6_007, 7_001, 8_009, 9_001, 10_007];

/// Powers of ten that points far out are of.
const SIZES: [i32; 9] = [1, 2, 3, 4, 5, 6, 10, 20, 40];

/// How often the ranges are gone through.
const ROUNDS: usize = 3;

/// Points of numbers that are not whole, in ranges that most functions have values in.
pub(super) const GENERAL: usize = RANGES.len() * ROUNDS;

/// Further ranges, for functions that have values in small domains or far out only.
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

/// Points in further ranges.
pub(super) const SELDOM: usize = WINDOWS.len() * 8;

/// Points of whole numbers.
pub(super) const WHOLE: usize = 36;

/// Points whose size follows from constants in the expressions.
pub(super) const SCALED: usize = 16;

/// Points far out.
pub(super) const FAR: usize = 2 * SIZES.len();

/// The coordinates of a point of numbers that are not whole.
pub(super) fn general(index: usize, dimensions: usize) -> Vec<RBig> {
    between(RANGES[index % RANGES.len()], index, dimensions)
}

/// The coordinates of a point in one of the further ranges.
pub(super) fn seldom(index: usize, dimensions: usize) -> Vec<RBig> {
    between(WINDOWS[index % WINDOWS.len()], GENERAL + index, dimensions)
}

fn between((from, to, both): (i64, i64, bool), index: usize, dimensions: usize) -> Vec<RBig> {
    let denominator = DENOMINATORS[index % DENOMINATORS.len()];
    let coordinate = |dimension: usize| {
        let random = random(index, dimension);
        // Between the ends, and not at one.
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

/// So many thousandths in units of a part.
fn units(thousandths: i64, denominator: u32) -> i64 {
    thousandths * i64::from(denominator) / 1_000
}

/// The coordinates of a point of whole numbers: positive ones in the first half. A single variable
/// goes through the first of them in turn.
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

/// The coordinates of a point far out: of one variable of rising sizes and either sign, of
/// several of sizes and signs that are independent of one another, and small as well as large.
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

/// The coordinates of a point of the size of a power of ten, each of them or a small one, of either
/// sign.
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
