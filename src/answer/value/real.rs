//! Real constants as doubles with a bound on their error: enough to order two that are not
//! close, and to refuse where they are.

use super::fraction::Fraction;
use super::number;
use super::poly::{Atom, Base, Poly};

/// A value and how far it may be off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Real {
    pub(crate) value: f64,
    pub(crate) error: f64,
}

/// Relative error granted to each operation: far more than a double's, so that errors of the
/// operands and of library functions are covered.
const RELATIVE: f64 = 1e-13;

impl Real {
    fn exact(value: f64) -> Self {
        Real {
            value,
            error: value.abs() * RELATIVE,
        }
    }

    fn add(self, other: Real) -> Real {
        Real {
            value: self.value + other.value,
            error: self.error + other.error + (self.value.abs() + other.value.abs()) * RELATIVE,
        }
    }

    fn multiply(self, other: Real) -> Real {
        let value = self.value * other.value;
        let error = self.error * other.value.abs()
            + other.error * self.value.abs()
            + self.error * other.error
            + value.abs() * RELATIVE;
        Real { value, error }
    }

    /// A function with bounded slope near the value.
    fn map(self, f: impl Fn(f64) -> f64) -> Option<Real> {
        let value = f(self.value);
        let (low, high) = (f(self.value - self.error), f(self.value + self.error));
        let spread = (value - low).abs().max((value - high).abs());
        let error = spread * 2.0 + value.abs() * RELATIVE + f64::MIN_POSITIVE;
        (value.is_finite() && error.is_finite()).then_some(Real { value, error })
    }

    /// The sign, where it is beyond doubt.
    pub(crate) fn sign(self) -> Option<i8> {
        if !self.value.is_finite() || !self.error.is_finite() {
            None
        } else if self.value > self.error * 4.0 {
            Some(1)
        } else if self.value < -self.error * 4.0 {
            Some(-1)
        } else {
            None
        }
    }
}

/// A constant as a double, where it is real and its parts are known functions.
pub(crate) fn fraction(value: &Fraction, depth: u32) -> Option<Real> {
    let numerator = poly(&value.numerator, depth)?;
    if value.denominator_is_one() {
        return Some(numerator);
    }
    let denominator = poly(&value.denominator, depth)?;
    denominator.sign()?;
    let inverse = denominator.map(|x| 1.0 / x)?;
    Some(numerator.multiply(inverse))
}

fn poly(value: &Poly, depth: u32) -> Option<Real> {
    let mut sum = Real::exact(0.0);
    for (monomial, coefficient) in &value.0 {
        let mut term = Real::exact(number::to_f64(coefficient));
        for (base, exponent) in monomial {
            let power = number::to_f64(exponent);
            let base = atom(base, depth)?;
            let factor = if power == 1.0 {
                base
            } else if base.value > base.error * 4.0 {
                base.map(|x| x.powf(power))?
            } else if power.fract() == 0.0 && power > 0.0 {
                base.map(|x| x.powf(power))?
            } else {
                return None;
            };
            term = term.multiply(factor);
        }
        sum = sum.add(term);
    }
    (sum.value.is_finite() && sum.error.is_finite()).then_some(sum)
}

fn atom(value: &Atom, depth: u32) -> Option<Real> {
    let depth = depth.checked_sub(1)?;
    match value {
        Atom::Symbol(name) if name == "π" => Some(Real::exact(std::f64::consts::PI)),
        Atom::Symbol(_) | Atom::Imaginary => None,
        Atom::Integer(base) => Some(Real::exact(base.to_f64().value())),
        Atom::Power(base, exponent) => {
            let mut power = Real::exact(1.0);
            for (factor, times) in exponent {
                let factor = atom(factor, depth)?;
                let times = number::to_f64(times);
                power = power.multiply(if times == 1.0 {
                    factor
                } else if factor.sign() == Some(1) {
                    factor.map(|x| x.powf(times))?
                } else {
                    return None;
                });
            }
            let base = match &**base {
                Base::Euler => Real::exact(std::f64::consts::E),
                Base::Atom(base) => atom(base, depth)?,
            };
            if base.sign() != Some(1) {
                return None;
            }
            let logarithm = base.map(f64::ln)?;
            power.multiply(logarithm).map(f64::exp)
        }
        Atom::Sum(inner) => poly(inner, depth),
        Atom::Call(name, arguments) => {
            let [argument] = arguments.as_slice() else {
                return None;
            };
            let x = fraction(argument, depth)?;
            let positive = |x: Real| (x.sign() == Some(1)).then_some(x);
            match name.as_str() {
                "sin" => x.map(f64::sin).map(|y| slope(y, x)),
                "cos" => x.map(f64::cos).map(|y| slope(y, x)),
                "ln" => positive(x)?.map(f64::ln),
                "arctan" => x.map(f64::atan),
                "arcsin" if x.value.abs() < 0.999 => x.map(f64::asin),
                "arccos" if x.value.abs() < 0.999 => x.map(f64::acos),
                "abs" => x.map(f64::abs),
                _ => None,
            }
        }
    }
}

/// The error of a function whose slope is at most 1.
fn slope(y: Real, x: Real) -> Real {
    Real {
        value: y.value,
        error: y.error.max(x.error * 2.0) + RELATIVE,
    }
}
