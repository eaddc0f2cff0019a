//! Complex numbers as rectangles of balls, with functions on their principal branches. A number is real if its
//! imaginary part is exactly zero. Operations on real numbers stay real where possible.

use dashu_ratio::RBig;

use super::Fail;
use super::ball::{Ball, raise};
use super::elementary::{Constants, arc_tangent, cos_sin, exponential, logarithm};
use super::magnitude::Magnitude;

/// The maximum exponent of powers computed by multiplication.
const MAX_POWER: i64 = 256;

/// The real and imaginary parts.
#[derive(Debug, Clone)]
pub(crate) struct Complex {
    pub(super) re: Ball,
    pub(super) im: Ball,
}

impl From<Ball> for Complex {
    fn from(re: Ball) -> Self {
        Complex {
            re,
            im: Ball::zero(),
        }
    }
}

impl Complex {
    pub(super) fn whole(value: i64) -> Complex {
        Ball::whole(value).into()
    }

    /// Returns the imaginary unit.
    pub(super) fn imaginary() -> Complex {
        Complex {
            re: Ball::zero(),
            im: Ball::whole(1),
        }
    }

    pub(super) fn is_real(&self) -> bool {
        self.im.is_zero()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.re.is_zero() && self.im.is_zero()
    }

    /// Returns the real part, if the number is real.
    pub(super) fn real(&self) -> Option<&Ball> {
        self.is_real().then_some(&self.re)
    }

    pub(super) fn negate(self) -> Complex {
        Complex {
            re: self.re.negate(),
            im: self.im.negate(),
        }
    }

    pub(super) fn add(&self, other: &Complex, bits: usize) -> Result<Complex, Fail> {
        Ok(Complex {
            re: self.re.add(&other.re, bits)?,
            im: self.im.add(&other.im, bits)?,
        })
    }

    pub(super) fn subtract(&self, other: &Complex, bits: usize) -> Result<Complex, Fail> {
        self.add(&other.clone().negate(), bits)
    }

    pub(super) fn multiply(&self, other: &Complex, bits: usize) -> Result<Complex, Fail> {
        if self.is_real() && other.is_real() {
            return Ok(self.re.multiply(&other.re, bits)?.into());
        }
        let inner = bits + 4;
        let product = |a: &Ball, b: &Ball| a.multiply(b, inner);
        Ok(Complex {
            re: product(&self.re, &other.re)?.subtract(&product(&self.im, &other.im)?, bits)?,
            im: product(&self.re, &other.im)?.add(&product(&self.im, &other.re)?, bits)?,
        })
    }

    /// Multiplies by a real number.
    fn scale(&self, factor: &Ball, bits: usize) -> Result<Complex, Fail> {
        Ok(Complex {
            re: self.re.multiply(factor, bits)?,
            im: self.im.multiply(factor, bits)?,
        })
    }

    pub(super) fn divide(&self, other: &Complex, bits: usize) -> Result<Complex, Fail> {
        if let Some(divisor) = other.real() {
            return Ok(Complex {
                re: self.re.divide(divisor, bits)?,
                im: self.im.divide(divisor, bits)?,
            });
        }
        let inner = bits + 4;
        let conjugate = Complex {
            re: other.re.clone(),
            im: other.im.clone().negate(),
        };
        let top = self.multiply(&conjugate, inner)?;
        let bottom = other.square_of_size(inner)?;
        Ok(Complex {
            re: top.re.divide(&bottom, bits)?,
            im: top.im.divide(&bottom, bits)?,
        })
    }

    fn square_of_size(&self, bits: usize) -> Result<Ball, Fail> {
        let square = |x: &Ball| x.multiply(x, bits);
        square(&self.re)?.add(&square(&self.im)?, bits)
    }

    /// Returns the absolute value.
    pub(super) fn absolute(&self, bits: usize) -> Result<Ball, Fail> {
        match self.real() {
            Some(re) => Ok(re.absolute()),
            None => self.square_of_size(bits + 4)?.root(2, bits),
        }
    }

    /// Returns the argument, in (-π, π].
    pub(super) fn angle(&self, bits: usize, constants: &mut Constants) -> Result<Ball, Fail> {
        let inner = bits + 4;
        let (x, y) = (&self.re, &self.im);
        match (x.sign(), y.sign()) {
            (Some(0), Some(0)) => Err(Fail::Undefined),
            (Some(1), _) => arc_tangent(&y.divide(x, inner)?, bits, constants),
            (Some(-1), Some(0)) => constants.pi(bits),
            (_, Some(side)) if side != 0 => {
                // ±π/2 - arctan(x/y).
                let quarter = constants.pi(inner)?.shift(-1, inner)?;
                let quarter = if side < 0 { quarter.negate() } else { quarter };
                let rest = arc_tangent(&x.divide(y, inner)?, inner, constants)?;
                quarter.subtract(&rest, bits)
            }
            _ => Err(Fail::Unclear),
        }
    }

    pub(super) fn exponential(
        &self,
        bits: usize,
        constants: &mut Constants,
    ) -> Result<Complex, Fail> {
        let size = exponential(&self.re, bits + 4, constants)?;
        if self.is_real() {
            return Ok(size.into());
        }
        let (re, im) = cos_sin(&self.im, bits + 4, constants)?;
        Complex { re, im }.scale(&size, bits)
    }

    pub(super) fn logarithm(
        &self,
        bits: usize,
        constants: &mut Constants,
    ) -> Result<Complex, Fail> {
        if self.is_zero() {
            return Err(Fail::Undefined);
        }
        if self.is_real() && self.re.sign() == Some(1) {
            return Ok(logarithm(&self.re, bits, constants)?.into());
        }
        // ln |z| = ln |z|² / 2.
        let square = self.square_of_size(bits + 4)?;
        Ok(Complex {
            re: logarithm(&square, bits + 4, constants)?.shift(-1, bits)?,
            im: self.angle(bits, constants)?,
        })
    }

    /// Returns the cosine and sine.
    pub(super) fn cos_sin(
        &self,
        bits: usize,
        constants: &mut Constants,
    ) -> Result<(Complex, Complex), Fail> {
        let inner = bits + 4;
        let (c, s) = cos_sin(&self.re, inner, constants)?;
        if self.is_real() {
            return Ok((c.into(), s.into()));
        }
        // cos(x+iy) = cos x cosh y - i sin x sinh y, sin(x+iy) = sin x cosh y + i cos x sinh y.
        let plus = exponential(&self.im, inner, constants)?;
        let minus = Ball::whole(1).divide(&plus, inner)?;
        let cosh = plus.add(&minus, inner)?.shift(-1, inner)?;
        let sinh = plus.subtract(&minus, inner)?.shift(-1, inner)?;
        let cosine = Complex {
            re: c.multiply(&cosh, bits)?,
            im: s.multiply(&sinh, bits)?.negate(),
        };
        let sine = Complex {
            re: s.multiply(&cosh, bits)?,
            im: c.multiply(&sinh, bits)?,
        };
        Ok((cosine, sine))
    }

    /// Returns an integer power.
    pub(super) fn power(
        &self,
        exponent: i64,
        bits: usize,
        constants: &mut Constants,
    ) -> Result<Complex, Fail> {
        if self.is_zero() && exponent <= 0 {
            return Err(Fail::Undefined);
        }
        if let Some(real) = self.real() {
            return Ok(real.power(exponent, bits)?.into());
        }
        if exponent.saturating_abs() > MAX_POWER {
            let exponent = Ball::whole(exponent).into();
            return self.principal_power(&exponent, bits, constants);
        }
        let inner = bits + 16;
        let one = Complex::whole(1);
        let size = exponent.unsigned_abs();
        let result = raise(one.clone(), self.clone(), size, |a, b| a.multiply(b, inner))?;
        if exponent < 0 {
            return one.divide(&result, bits);
        }
        Ok(result)
    }

    /// Returns a power with a rational exponent. Odd roots of negative numbers are real; square roots of
    /// negative numbers are on the positive imaginary axis.
    pub(super) fn rational_power(
        &self,
        exponent: &RBig,
        bits: usize,
        constants: &mut Constants,
    ) -> Result<Complex, Fail> {
        if exponent.is_int() {
            let whole = i64::try_from(exponent.numerator()).map_err(|_| Fail::Unknown)?;
            return self.power(whole, bits, constants);
        }
        let times = i64::try_from(exponent.numerator()).map_err(|_| Fail::Unknown)?;
        let order = i64::try_from(exponent.denominator()).map_err(|_| Fail::Unknown)?;
        if self.is_zero() {
            return if times > 0 {
                Ok(Complex::whole(0))
            } else {
                Err(Fail::Undefined)
            };
        }
        let Some(real) = self.real() else {
            return self.complex_root(exponent, bits, constants);
        };
        match real.sign() {
            Some(1) => Ok(positive_power(real, times, order, exponent, bits, constants)?.into()),
            Some(_) => {
                let size = real.absolute();
                let size = positive_power(&size, times, order, exponent, bits, constants)?;
                let odd = times.rem_euclid(2) == 1;
                if order % 2 == 1 {
                    return Ok(if odd { size.negate() } else { size }.into());
                }
                if order != 2 {
                    // The meaning depends on how the root was written.
                    return Err(Fail::Unknown);
                }
                // i^times.
                let zero = Ball::zero();
                Ok(match times.rem_euclid(4) {
                    1 => Complex { re: zero, im: size },
                    _ => Complex {
                        re: zero,
                        im: size.negate(),
                    },
                })
            }
            // The square root of a number near zero is near zero, on either axis.
            None if order == 2 && times == 1 => {
                let top = (real.upper().top() + 1).div_euclid(2);
                let part = Ball::around_zero(Magnitude::power_of_two(top));
                Ok(Complex {
                    re: part.clone(),
                    im: part,
                })
            }
            None => Err(Fail::Unclear),
        }
    }

    /// Returns a root of a number that is not real.
    fn complex_root(
        &self,
        exponent: &RBig,
        bits: usize,
        constants: &mut Constants,
    ) -> Result<Complex, Fail> {
        // Left of the imaginary axis, the principal root differs from the real root on the real axis. A
        // rectangle that touches the axis there could be either.
        if self.re.sign() != Some(1) && self.im.sign().is_none() {
            return Err(Fail::Unclear);
        }
        let exponent = Ball::rational(exponent, bits + 8)?;
        self.principal_power(&exponent.into(), bits, constants)
    }

    /// Returns `e^(exponent · ln self)`.
    pub(super) fn principal_power(
        &self,
        exponent: &Complex,
        bits: usize,
        constants: &mut Constants,
    ) -> Result<Complex, Fail> {
        // A large exponent costs bits of the fractional part.
        let size = exponent.re.upper().add(exponent.im.upper());
        let extra = usize::try_from(size.top().clamp(0, 64)).unwrap_or(0);
        let inner = bits + 16 + extra;
        self.logarithm(inner, constants)?
            .multiply(exponent, inner)?
            .exponential(bits, constants)
    }
}

/// Returns `base^(times/order)` of a positive base.
fn positive_power(
    base: &Ball,
    times: i64,
    order: i64,
    exponent: &RBig,
    bits: usize,
    constants: &mut Constants,
) -> Result<Ball, Fail> {
    if matches!(order, 2 | 3) && times.saturating_abs() <= MAX_POWER {
        let order = if order == 2 { 2 } else { 3 };
        return base.root(order, bits + 8)?.power(times, bits);
    }
    let extra = 64 - times.unsigned_abs().leading_zeros() as usize;
    let inner = bits + 16 + extra;
    let exponent = Ball::rational(exponent, inner)?;
    let product = logarithm(base, inner, constants)?.multiply(&exponent, inner)?;
    exponential(&product, bits, constants)
}
