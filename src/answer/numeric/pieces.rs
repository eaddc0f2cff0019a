//! Functions that jump or bend, and where: expressions with them may agree here and differ there.

use dashu_int::{IBig, UBig};
use dashu_ratio::RBig;

use crate::answer::value::{Atom, Base, Fraction, Poly};

/// Most places that are looked between.
const MAX_BREAKS: usize = 40;

/// What is known of the places where expressions bend.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    /// Whether there are any.
    pub(super) any: bool,
    /// Those that are known, for a single variable.
    breaks: Vec<RBig>,
}

impl Pieces {
    /// Of several expressions in one variable, if there is but one.
    pub(super) fn of(expressions: &[&Fraction], variable: Option<&Atom>) -> Pieces {
        let mut pieces = Pieces::default();
        for expression in expressions {
            pieces.in_fraction(expression, variable);
        }
        pieces.breaks.sort();
        pieces.breaks.dedup();
        pieces
    }

    /// A point in each piece between known places, and outside of all; `None` where they are too
    /// many.
    pub(super) fn samples(&self) -> Option<Vec<RBig>> {
        let breaks = &self.breaks;
        if breaks.len() > MAX_BREAKS {
            return None;
        }
        let (Some(first), Some(last)) = (breaks.first(), breaks.last()) else {
            return Some(Vec::new());
        };
        let part = RBig::from_parts(IBig::from(3), UBig::from(7u8));
        let mut samples = vec![first - &part, last + &part];
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
                for argument in arguments {
                    self.in_fraction(argument, variable);
                }
                match (name.as_str(), arguments.as_slice()) {
                    ("abs", [argument]) => {
                        self.any = true;
                        self.zero(linear(argument, variable));
                    }
                    ("max" | "min", _) => {
                        self.any = true;
                        for (index, a) in arguments.iter().enumerate() {
                            for b in &arguments[index + 1..] {
                                self.crossing(linear(a, variable), linear(b, variable));
                            }
                        }
                    }
                    ("floor" | "ceil" | "mod", _) => self.any = true,
                    _ => {}
                }
            }
        }
    }

    /// Where `slope·x + rest` is zero.
    fn zero(&mut self, line: Option<(RBig, RBig)>) {
        if let Some((slope, rest)) = line
            && !slope.is_zero()
        {
            self.breaks.push(-rest / slope);
        }
    }

    /// Where two lines meet.
    fn crossing(&mut self, a: Option<(RBig, RBig)>, b: Option<(RBig, RBig)>) {
        if let (Some(a), Some(b)) = (a, b) {
            self.zero(Some((a.0 - b.0, a.1 - b.1)));
        }
    }
}

/// Slope and rest of an expression that is linear in the variable, with rational coefficients.
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
