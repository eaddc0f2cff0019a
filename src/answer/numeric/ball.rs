//! Ball arithmetic: a ball is a midpoint and a radius that contain a real number. Every operation returns a
//! ball that contains all results for operands in the given balls. Rounding errors are added to the radius.

use dashu_base::{Abs, BitTest, PowerOfTwo, Sign, SquareRoot};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use super::Fail;
use super::magnitude::Magnitude;

/// Numbers with magnitudes beyond `2^±LARGEST` are rejected.
const LARGEST: i64 = 1 << 40;

/// The maximum length of an integer that a ball is rounded to, in bits.
const MAX_WHOLE: i64 = 4096;

/// `mid · 2^exponent`, plus or minus the radius.
#[derive(Debug, Clone)]
pub(crate) struct Ball {
    mid: IBig,
    exponent: i64,
    radius: Magnitude,
}

impl Ball {
    /// Returns exactly zero.
    pub(super) fn zero() -> Ball {
        Ball {
            mid: IBig::ZERO,
            exponent: 0,
            radius: Magnitude::ZERO,
        }
    }

    /// Returns a small integer, exactly.
    pub(super) fn whole(value: i64) -> Ball {
        Ball {
            mid: IBig::from(value),
            exponent: 0,
            radius: Magnitude::ZERO,
        }
    }

    /// Returns a ball around zero.
    pub(super) fn around_zero(radius: Magnitude) -> Ball {
        Ball {
            radius,
            ..Ball::zero()
        }
    }

    /// Creates a ball, rounding the midpoint to at most `bits` bits.
    pub(super) fn new(
        mid: IBig,
        exponent: i64,
        radius: Magnitude,
        bits: usize,
    ) -> Result<Ball, Fail> {
        let length = mid.bit_len();
        let ball = if length > bits {
            let shift = length - bits;
            let exponent = exponent + shift as i64;
            let exact = mid.trailing_zeros().is_some_and(|zeros| zeros >= shift);
            let lost = if exact {
                Magnitude::ZERO
            } else {
                Magnitude::power_of_two(exponent)
            };
            Ball {
                mid: mid >> shift,
                exponent,
                radius: radius.add(lost),
            }
        } else {
            Ball {
                mid,
                exponent,
                radius,
            }
        };
        let far = ball.radius.top() > LARGEST
            || !ball.mid.is_zero() && (ball.top() > LARGEST || ball.top() < -LARGEST);
        if far { Err(Fail::Unknown) } else { Ok(ball) }
    }

    /// Creates a ball that contains a rational number.
    pub(super) fn rational(value: &RBig, bits: usize) -> Result<Ball, Fail> {
        if value.is_int() {
            return Ball::new(value.numerator().clone(), 0, Magnitude::ZERO, bits);
        }
        let denominator = value.denominator();
        if denominator.is_power_of_two() {
            let shift = denominator.bit_len() as i64 - 1;
            return Ball::new(value.numerator().clone(), -shift, Magnitude::ZERO, bits);
        }
        let top = Ball::new(value.numerator().clone(), 0, Magnitude::ZERO, bits + 8)?;
        let bottom = Ball::new(denominator.clone().into(), 0, Magnitude::ZERO, bits + 8)?;
        top.divide(&bottom, bits)
    }

    /// Returns the integer mantissa of the midpoint and its exponent.
    pub(super) fn parts(&self) -> (&IBig, i64) {
        (&self.mid, self.exponent)
    }

    pub(super) fn radius(&self) -> Magnitude {
        self.radius
    }

    /// Increases the radius.
    pub(super) fn inflate(mut self, by: Magnitude) -> Ball {
        self.radius = self.radius.add(by);
        self
    }

    /// Returns whether the radius is zero.
    pub(super) fn is_exact(&self) -> bool {
        self.radius.is_zero()
    }

    /// Returns whether the ball is exactly zero.
    pub(super) fn is_zero(&self) -> bool {
        self.mid.is_zero() && self.is_exact()
    }

    /// Returns whether the ball is exactly one.
    pub(super) fn is_one(&self) -> bool {
        self.exponent == 0 && self.mid.is_one() && self.is_exact()
    }

    /// Returns an exponent with `|mid| < 2^top`. The midpoint must not be zero.
    pub(super) fn top(&self) -> i64 {
        self.exponent + self.mid.bit_len() as i64
    }

    /// Returns an upper bound on the absolute value of the ball's numbers.
    pub(super) fn upper(&self) -> Magnitude {
        Magnitude::above_integer(&self.mid, self.exponent).add(self.radius)
    }

    /// Returns a lower bound on the absolute value of the ball's numbers.
    pub(super) fn lower(&self) -> Magnitude {
        Magnitude::below_integer(&self.mid, self.exponent).less(self.radius)
    }

    /// Returns the sign of the ball's numbers, if they all have the same.
    pub(crate) fn sign(&self) -> Option<i8> {
        if self.is_zero() {
            return Some(0);
        }
        if self.lower().is_zero() {
            return None;
        }
        Some(match self.mid.sign() {
            Sign::Positive => 1,
            Sign::Negative => -1,
        })
    }

    pub(super) fn negate(mut self) -> Ball {
        self.mid = -self.mid;
        self
    }

    pub(super) fn add(&self, other: &Ball, bits: usize) -> Result<Ball, Fail> {
        let radius = self.radius.add(other.radius);
        if self.mid.is_zero() {
            return Ball::new(other.mid.clone(), other.exponent, radius, bits);
        }
        if other.mid.is_zero() {
            return Ball::new(self.mid.clone(), self.exponent, radius, bits);
        }
        let (big, small) = if self.top() >= other.top() {
            (self, other)
        } else {
            (other, self)
        };
        // A number far below the last kept bit is added to the radius.
        let floor = big.top() - bits as i64 - 8;
        if small.top() < floor && big.exponent > small.exponent {
            let radius = radius.add(Magnitude::power_of_two(small.top()));
            return Ball::new(big.mid.clone(), big.exponent, radius, bits);
        }
        // The midpoints have bounded lengths and similar tops, so their exponents are similar too, unless a
        // short midpoint is far above.
        let distance = big.exponent - small.exponent;
        let (mid, exponent) = match usize::try_from(distance) {
            Ok(shift) => ((&big.mid << shift) + &small.mid, small.exponent),
            Err(_) => {
                let shift = distance.unsigned_abs() as usize;
                (&big.mid + (&small.mid << shift), big.exponent)
            }
        };
        Ball::new(mid, exponent, radius, bits)
    }

    pub(super) fn subtract(&self, other: &Ball, bits: usize) -> Result<Ball, Fail> {
        self.add(&other.clone().negate(), bits)
    }

    pub(super) fn multiply(&self, other: &Ball, bits: usize) -> Result<Ball, Fail> {
        let radius = if self.is_exact() && other.is_exact() {
            Magnitude::ZERO
        } else {
            // |a|·s + |b|·r + r·s.
            let first = Magnitude::above_integer(&self.mid, self.exponent).multiply(other.radius);
            first.add(other.upper().multiply(self.radius))
        };
        Ball::new(
            &self.mid * &other.mid,
            self.exponent + other.exponent,
            radius,
            bits,
        )
    }

    /// Multiplies by a power of two.
    pub(super) fn shift(&self, by: i64, bits: usize) -> Result<Ball, Fail> {
        let radius = self.radius.multiply(Magnitude::power_of_two(by));
        Ball::new(self.mid.clone(), self.exponent + by, radius, bits)
    }

    pub(super) fn divide(&self, other: &Ball, bits: usize) -> Result<Ball, Fail> {
        if other.is_zero() {
            return Err(Fail::Undefined);
        }
        let lower = other.lower();
        if lower.is_zero() {
            return Err(Fail::Unclear);
        }
        if self.is_zero() {
            return Ok(Ball::zero());
        }
        let shift = (bits + 3 + other.mid.bit_len()).saturating_sub(self.mid.bit_len());
        let quotient = (&self.mid << shift) / &other.mid;
        let exponent = self.exponent - other.exponent - shift as i64;
        let exact =
            self.is_exact() && other.is_exact() && &quotient * &other.mid == &self.mid << shift;
        if exact {
            return Ball::new(quotient, exponent, Magnitude::ZERO, bits);
        }
        // |a/b - (a+r)/(b+s)| ≤ (r + |a/b|·s) / (|b| - s), plus one unit for rounding.
        let mut radius = Magnitude::power_of_two(exponent);
        let size = Magnitude::above_integer(&quotient, exponent).add(radius);
        let error = self.radius.add(size.multiply(other.radius));
        radius = radius.add(error.divide(lower).ok_or(Fail::Unclear)?);
        Ball::new(quotient, exponent, radius, bits)
    }

    /// Returns an integer power.
    pub(super) fn power(&self, exponent: i64, bits: usize) -> Result<Ball, Fail> {
        if exponent < 0 {
            let positive = self.power(-exponent.max(-i64::MAX), bits + 4)?;
            return Ball::whole(1).divide(&positive, bits);
        }
        // Errors grow with the exponent.
        let inner = bits + 2 + (64 - exponent.leading_zeros() as usize);
        let result = raise(
            Ball::whole(1),
            self.clone(),
            exponent.unsigned_abs(),
            |a, b| a.multiply(b, inner),
        )?;
        Ball::new(result.mid, result.exponent, result.radius, bits)
    }

    /// Returns the `n`-th root of a nonnegative number; `n` is 2 or 3.
    pub(super) fn root(&self, n: usize, bits: usize) -> Result<Ball, Fail> {
        if self.is_zero() {
            return Ok(Ball::zero());
        }
        match self.sign() {
            Some(1) => {}
            Some(_) => return Err(Fail::Undefined),
            None => return Err(Fail::Unclear),
        }
        let wanted = n * (bits + 2);
        let mut shift = wanted.saturating_sub(self.mid.bit_len()) as i64;
        // The exponent of the radicand must be a multiple of n.
        shift += (self.exponent - shift).rem_euclid(n as i64);
        let mid = UBig::try_from(self.mid.clone()).map_err(|_| Fail::Undefined)?;
        let shifted = mid << usize::try_from(shift).map_err(|_| Fail::Unknown)?;
        let root = if n == 2 {
            shifted.sqrt()
        } else {
            shifted.nth_root(n)
        };
        let exponent = (self.exponent - shift) / n as i64;
        let exact = self.is_exact() && root.pow(n) == shifted;
        let mid = IBig::from(root);
        if exact {
            return Ball::new(mid, exponent, Magnitude::ZERO, bits);
        }
        let mut radius = Magnitude::power_of_two(exponent);
        if !self.radius.is_zero() {
            // |√x - √y| ≤ r / √x, and for cube roots r / ∛x².
            let low = Magnitude::below_integer(&mid, exponent);
            let mut error = self.radius.divide(low).ok_or(Fail::Unclear)?;
            for _ in 2..n {
                error = error.divide(low).ok_or(Fail::Unclear)?;
            }
            radius = radius.add(error);
        }
        Ball::new(mid, exponent, radius, bits)
    }

    /// Returns the absolute value.
    pub(super) fn absolute(&self) -> Ball {
        Ball {
            mid: self.mid.clone().abs(),
            ..self.clone()
        }
    }

    /// Returns the floors of both endpoints.
    pub(super) fn floors(&self) -> Option<(IBig, IBig)> {
        if !self.mid.is_zero() && self.top() > MAX_WHOLE || self.radius.top() > MAX_WHOLE {
            return None;
        }
        // Computes in units of the midpoint's last bit, or of 1/4 if that is smaller.
        let unit = self.exponent.min(-2);
        let shift = usize::try_from(self.exponent - unit).ok()?;
        let mid = &self.mid << shift;
        let radius = self.radius.units(unit);
        let part = usize::try_from(-unit).ok()?;
        Some(((&mid - &radius) >> part, (mid + radius) >> part))
    }

    /// Returns the integer, if the ball is exactly one.
    pub(super) fn as_whole(&self) -> Option<IBig> {
        if !self.is_exact() || !self.mid.is_zero() && self.top() > MAX_WHOLE {
            return None;
        }
        match usize::try_from(self.exponent) {
            Ok(shift) => Some(&self.mid << shift),
            Err(_) => {
                let shift = usize::try_from(self.exponent.unsigned_abs()).ok()?;
                let zeros = self.mid.trailing_zeros();
                let exact = zeros.is_none_or(|zeros| zeros >= shift);
                exact.then(|| &self.mid >> shift)
            }
        }
    }
}

/// Returns `one` times a power of the base, by repeated squaring.
pub(super) fn raise<T>(
    one: T,
    base: T,
    exponent: u64,
    multiply: impl Fn(&T, &T) -> Result<T, Fail>,
) -> Result<T, Fail> {
    let (mut result, mut square, mut left) = (one, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = multiply(&result, &square)?;
        }
        left >>= 1;
        if left > 0 {
            square = multiply(&square, &square)?;
        }
    }
    Ok(result)
}
