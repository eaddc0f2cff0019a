//! Error bounds: small binary floats that are always rounded in the safe direction.

use dashu_base::{BitTest, UnsignedAbs};
use dashu_int::IBig;

/// The minimum exponent. Bounds with smaller exponents are rounded up to it.
const LEAST: i64 = -(1 << 44);

/// `mantissa · 2^exponent`. The mantissa has exactly 32 bits or is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Magnitude {
    mantissa: u64,
    exponent: i64,
}

impl Magnitude {
    pub(super) const ZERO: Magnitude = Magnitude {
        mantissa: 0,
        exponent: 0,
    };

    /// Returns at least `mantissa · 2^exponent`.
    pub(super) fn above(mantissa: u64, exponent: i64) -> Magnitude {
        if mantissa == 0 {
            return Magnitude::ZERO;
        }
        let length = 64 - i64::from(mantissa.leading_zeros());
        let shift = length - 32;
        let mut rounded = Magnitude {
            mantissa: if shift > 0 {
                let kept = mantissa >> shift;
                kept + u64::from(kept << shift != mantissa)
            } else {
                mantissa << -shift
            },
            exponent: exponent + shift,
        };
        if rounded.mantissa == 1 << 32 {
            rounded.mantissa = 1 << 31;
            rounded.exponent += 1;
        }
        if rounded.exponent < LEAST {
            rounded.mantissa = 1 << 31;
            rounded.exponent = LEAST;
        }
        rounded
    }

    /// Returns `2^exponent`.
    pub(super) fn power_of_two(exponent: i64) -> Magnitude {
        Magnitude::above(1, exponent)
    }

    /// Returns at most `|mantissa| · 2^exponent`, smaller by less than one part in `2^31`.
    pub(super) fn below_integer(mantissa: &IBig, exponent: i64) -> Magnitude {
        let (top, shift) = leading(mantissa);
        if top == 0 || exponent + shift < LEAST {
            return Magnitude::ZERO;
        }
        Magnitude {
            mantissa: top,
            exponent: exponent + shift,
        }
    }

    /// Returns at least `|mantissa| · 2^exponent`, greater by at most one part in `2^31`.
    pub(super) fn above_integer(mantissa: &IBig, exponent: i64) -> Magnitude {
        let (top, shift) = leading(mantissa);
        if top == 0 {
            return Magnitude::ZERO;
        }
        Magnitude::above(top + u64::from(shift > 0), exponent + shift)
    }

    pub(super) fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// Returns an exponent with `2^exponent` greater than this, or `i64::MIN` for zero.
    pub(super) fn top(self) -> i64 {
        if self.is_zero() {
            i64::MIN
        } else {
            self.exponent + 32
        }
    }

    /// Returns at least the sum.
    pub(super) fn add(self, other: Magnitude) -> Magnitude {
        let (big, small) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        if big.is_zero() {
            return small;
        }
        if small.is_zero() {
            return big;
        }
        // Both mantissas have 32 bits; 31 additional bits of the smaller one are kept.
        let distance = big.exponent - small.exponent;
        let low = if distance < 32 {
            (small.mantissa << 31 >> distance) + 1
        } else {
            1 << 31
        };
        Magnitude::above((big.mantissa << 31) + low, big.exponent - 31)
    }

    /// Returns at least the product.
    pub(super) fn multiply(self, other: Magnitude) -> Magnitude {
        // The product of two 32-bit mantissas fits.
        Magnitude::above(
            self.mantissa * other.mantissa,
            self.exponent + other.exponent,
        )
    }

    /// Returns at least the quotient by any number not less than `other`, or `None` if `other` is zero.
    pub(super) fn divide(self, other: Magnitude) -> Option<Magnitude> {
        if other.is_zero() {
            return None;
        }
        let quotient = (self.mantissa << 31) / other.mantissa + 1;
        let exponent = self.exponent - other.exponent - 31;
        Some(if self.is_zero() {
            Magnitude::ZERO
        } else {
            Magnitude::above(quotient, exponent)
        })
    }

    /// Returns at most the difference, or zero if it may be negative.
    pub(super) fn less(self, other: Magnitude) -> Magnitude {
        if other.is_zero() {
            return self;
        }
        // All mantissas have full length, so the number with the smaller exponent is smaller.
        if self.is_zero() || self.exponent < other.exponent {
            return Magnitude::ZERO;
        }
        let distance = self.exponent - other.exponent;
        let taken = if distance < 31 {
            (other.mantissa << 31 >> distance) + 1
        } else {
            1 << 32
        };
        let Some(rest) = (self.mantissa << 31).checked_sub(taken) else {
            return Magnitude::ZERO;
        };
        Magnitude::below_integer(&IBig::from(rest), self.exponent - 31)
    }

    /// Returns an integer that is at least this bound in units of `2^unit`.
    pub(super) fn units(self, unit: i64) -> IBig {
        let shift = self.exponent - unit;
        let mantissa = IBig::from(self.mantissa);
        match usize::try_from(shift) {
            Ok(shift) => mantissa << shift,
            Err(_) if self.is_zero() => IBig::ZERO,
            Err(_) if shift < -40 => IBig::ONE,
            Err(_) => (mantissa >> shift.unsigned_abs() as usize) + IBig::ONE,
        }
    }
}

/// Returns the first 32 bits of an integer's absolute value, padded with zeros, and the exponent of the last of
/// them.
fn leading(value: &IBig) -> (u64, i64) {
    let size = value.unsigned_abs();
    let length = size.bit_len();
    if length == 0 {
        return (0, 0);
    }
    if length <= 32 {
        let low = u64::try_from(&size).unwrap_or(0);
        return (low << (32 - length), length as i64 - 32);
    }
    let shift = length - 32;
    (
        u64::try_from(&(size >> shift)).unwrap_or(0),
        i64::try_from(shift).unwrap_or(i64::MAX),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use dashu_ratio::RBig;
    use proptest::prelude::*;

    fn exact(value: Magnitude) -> RBig {
        let power = dashu_int::UBig::ONE << value.exponent.unsigned_abs() as usize;
        let mantissa = RBig::from(value.mantissa);
        if value.exponent < 0 {
            mantissa / RBig::from(power)
        } else {
            mantissa * RBig::from(power)
        }
    }

    proptest! {
        #[test]
        fn bounds_are_on_the_safe_side(
            a in 0u64..u64::MAX,
            b in 1u64..u64::MAX,
            i in -70i64..70,
            j in -70i64..70,
        ) {
            let (x, y) = (Magnitude::above(a, i), Magnitude::above(b, j));
            prop_assert!(exact(x.add(y)) >= exact(x) + exact(y));
            prop_assert!(exact(x.multiply(y)) >= exact(x) * exact(y));
            prop_assert!(exact(x.divide(y).unwrap()) >= exact(x) / exact(y));
            let difference = exact(x) - exact(y);
            prop_assert!(x.less(y).is_zero() || exact(x.less(y)) <= difference);
            let (low, high) = (
                Magnitude::below_integer(&IBig::from(b), j),
                Magnitude::above_integer(&IBig::from(b), j),
            );
            let scale = exact(Magnitude::power_of_two(j));
            prop_assert!(exact(low) <= RBig::from(b) * &scale);
            prop_assert!(exact(high) >= RBig::from(b) * &scale);
            // The bound must also be tight.
            prop_assert!(exact(high) - exact(low) <= exact(high) / RBig::from(1u32 << 30));
            let units = RBig::from(y.units(i)) * exact(Magnitude::power_of_two(i));
            prop_assert!(units >= exact(y));
        }
    }
}
