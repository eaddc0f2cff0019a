//! Finds where expressions jump or bend. Piecewise expressions may agree in one place and differ in another.

use dashu_base::{Abs, BitTest};
use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::answer::value::{Atom, Base, Fraction, Poly};

/// The maximum number of breakpoints between which samples are taken.
const MAX_BREAKS: usize = 40;

/// The number of integers on either side of zero at which a rounded argument is examined.
const NEAR: i64 = 3;

/// The power of ten from which constants are farther out than the usual points.
const FAR_OUT: usize = 4;

/// The maximum number of such powers that are examined.
const MAX_SCALES: usize = 4;

/// The known places where expressions bend or jump.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Whether there are any.
    pub(super) any: bool,
    /// Whether any are jumps. Two expressions may agree on both sides of a jump and differ at it.
    pub(super) jumps: bool,
    /// Whether any are in the terms of a sum or product. There may then be infinitely many, and no finite
    /// number of points suffices.
    pub(super) endless: bool,
    /// The known breakpoints of a single variable.
    breaks: Vec<RBig>,
    /// The known jumps of a single variable.
    steps: Vec<RBig>,
    /// The powers of ten of large constants next to variables in piecewise functions.
    scales: Vec<usize>,
}

impl Pieces {
    /// Collects the pieces of several expressions. `variable` is their only variable, if there is exactly one.
    pub(super) fn of(expressions: &[&Fraction], variable: Option<&Atom>) -> Pieces {
        let mut pieces = Pieces::default();
        for expression in expressions {
            pieces.in_fraction(expression, variable);
        }
        pieces.breaks.sort();
        pieces.breaks.dedup();
        pieces.steps.sort();
        pieces.steps.dedup();
        pieces.scales.sort_unstable();
        pieces.scales.dedup();
        pieces.scales.truncate(MAX_SCALES);
        pieces
    }

    /// Returns the powers of ten at which expressions of several variables are to be compared.
    pub(super) fn scales(&self) -> &[usize] {
        &self.scales
    }

    /// Returns a point in each piece between known breakpoints and outside all of them, and all jumps. Returns
    /// `None` if there are too many.
    pub(super) fn samples(&self) -> Option<Vec<RBig>> {
        let breaks = &self.breaks;
        if breaks.len() > MAX_BREAKS || self.steps.len() > MAX_BREAKS {
            return None;
        }
        let mut samples = self.steps.clone();
        let (Some(first), Some(last)) = (breaks.first(), breaks.last()) else {
            return Some(samples);
        };
        let part = RBig::from_parts(IBig::from(3), UBig::from(7u8));
        samples.extend([first - &part, last + &part]);
        for pair in breaks.windows(2) {
            samples.push(&pair[0] + (&pair[1] - &pair[0]) * &part);
        }
        Some(samples)
    }

    fn in_fraction(&mut self, value: &Fraction, variable: Option<&Atom>) {
        self.in_poly(&value.numerator, variable);
        self.in_poly(&value.denominator, variable);
    }

    fn in_poly(&mut self, value: &Poly, variable: Option<&Atom>) {
        for (atom, _) in value.0.iter().flat_map(|(monomial, _)| monomial) {
            self.in_atom(atom, variable);
        }
    }

    fn in_atom(&mut self, atom: &Atom, variable: Option<&Atom>) {
        match atom {
            Atom::Symbol(_) | Atom::Integer(_) | Atom::Imaginary => {}
            Atom::Power(base, exponent) => {
                if let Base::Atom(base) = &**base {
                    self.in_atom(base, variable);
                }
                for (atom, _) in exponent {
                    self.in_atom(atom, variable);
                }
            }
            Atom::Sum(inner) => self.in_poly(inner, variable),
            Atom::Call(name, arguments) => {
                let outside = std::mem::take(&mut self.any);
                for argument in arguments {
                    self.in_fraction(argument, variable);
                }
                self.endless |= self.any && matches!(name.as_str(), "sum" | "prod");
                self.any |= outside;
                match (name.as_str(), arguments.as_slice()) {
                    ("abs", [argument]) => {
                        self.any = true;
                        self.scale(argument);
                        self.zero(linear(argument, variable));
                    }
                    ("max" | "min", _) => {
                        self.any = true;
                        for (index, a) in arguments.iter().enumerate() {
                            self.scale(a);
                            for b in &arguments[index + 1..] {
                                self.crossing(linear(a, variable), linear(b, variable));
                            }
                        }
                    }
                    ("floor" | "ceil" | "mod", _) => {
                        self.any = true;
                        self.jumps = true;
                        if let [argument] = arguments.as_slice() {
                            self.whole(linear(argument, variable));
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    /// Records where `slope·x + rest` is zero.
    fn zero(&mut self, line: Option<(RBig, RBig)>) {
        if let Some((slope, rest)) = line
            && !slope.is_zero()
        {
            self.breaks.push(-rest / slope);
        }
    }

    /// Records where `slope·x + rest` is an integer near zero.
    fn whole(&mut self, line: Option<(RBig, RBig)>) {
        if let Some((slope, rest)) = line
            && !slope.is_zero()
        {
            let at = |k: i64| (RBig::from(k) - &rest) / &slope;
            self.steps.extend((-NEAR..=NEAR).map(at));
        }
    }

    /// Records how far out a sum of variables and a constant bends.
    fn scale(&mut self, value: &Fraction) {
        let Some(denominator) = value.denominator.as_constant() else {
            return;
        };
        let (mut constant, mut slope) = (RBig::ZERO, RBig::ZERO);
        for (monomial, coefficient) in &value.numerator.0 {
            let size = (coefficient / &denominator).abs();
            if monomial.is_empty() {
                constant = size;
            } else if slope.is_zero() || size < slope {
                slope = size;
            }
        }
        let place = if slope.is_zero() {
            constant
        } else {
            constant / slope
        };
        // The decimal digits of the integer part: 30103 digits per 100000 bits.
        let bits = place
            .numerator()
            .bit_len()
            .saturating_sub(place.denominator().bit_len());
        let digits = 1 + bits.saturating_mul(30_103) / 100_000;
        if digits >= FAR_OUT {
            self.scales.push(digits);
        }
    }

    /// Records where two lines intersect.
    fn crossing(&mut self, a: Option<(RBig, RBig)>, b: Option<(RBig, RBig)>) {
        if let (Some(a), Some(b)) = (a, b) {
            self.zero(Some((a.0 - b.0, a.1 - b.1)));
        }
    }
}

/// Returns the slope and constant term of an expression that is linear in the variable, with rational
/// coefficients.
fn linear(value: &Fraction, variable: Option<&Atom>) -> Option<(RBig, RBig)> {
    let scale = value.denominator.as_constant()?;
    let (mut slope, mut rest) = (RBig::ZERO, RBig::ZERO);
    for (monomial, coefficient) in &value.numerator.0 {
        match monomial.as_slice() {
            [] => rest = coefficient / &scale,
            [(atom, power)] if Some(atom) == variable && power.is_one() => {
                slope = coefficient / &scale;
            }
            _ => return None,
        }
    }
    Some((slope, rest))
}
