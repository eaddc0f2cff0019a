//! Quotients of polynomials: sums, products, powers, and an equality test by cross multiplication.

use dashu_ratio::RBig;
use smol_str::SmolStr;

use super::number;
use super::poly::{Atom, Monomial, Poly};
use crate::answer::budget::{Budget, EvalError};

/// `numerator / denominator`. The denominator is not zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fraction {
    pub(crate) numerator: Poly,
    pub(crate) denominator: Poly,
}

impl From<Poly> for Fraction {
    fn from(numerator: Poly) -> Self {
        Fraction {
            numerator,
            denominator: Poly::constant(RBig::ONE),
        }
    }
}

impl Fraction {
    /// Returns a rational number.
    pub(crate) fn rational(value: RBig) -> Self {
        Poly::constant(value).into()
    }

    /// Returns a small integer.
    pub(crate) fn whole(value: i64) -> Self {
        Fraction::rational(number::whole(value))
    }

    /// Returns an atom.
    pub(crate) fn atom(atom: Atom) -> Self {
        Poly::atom(atom).into()
    }

    /// Returns a variable or named constant.
    pub(crate) fn symbol(name: &str) -> Self {
        Fraction::atom(Atom::Symbol(SmolStr::new(name)))
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.numerator.is_zero()
    }

    pub(crate) fn denominator_is_one(&self) -> bool {
        self.denominator.is_one()
    }

    /// Returns the value, if it is a rational number.
    pub(crate) fn as_rational(&self) -> Option<RBig> {
        let numerator = self.numerator.as_constant()?;
        if self.denominator.is_one() {
            return Some(numerator);
        }
        let denominator = self.denominator.as_constant()?;
        if denominator.is_zero() {
            return None;
        }
        Some(numerator / denominator)
    }

    /// Returns the value, if it is a small integer.
    pub(crate) fn as_small(&self) -> Option<i64> {
        number::small(&self.as_rational()?)
    }

    /// Collects the names of the variables.
    pub(crate) fn symbols(&self, out: &mut std::collections::BTreeSet<SmolStr>) {
        self.numerator.symbols(out);
        self.denominator.symbols(out);
    }

    /// Returns the cost of comparing and copying: the number of atoms, including nested ones.
    pub(crate) fn weight(&self) -> usize {
        self.numerator.weight() + self.denominator.weight()
    }

    /// Returns whether it contains no variable.
    pub(crate) fn is_constant(&self) -> bool {
        self.numerator.is_constant() && self.denominator.is_constant()
    }

    pub(crate) fn negate(&self) -> Fraction {
        Fraction {
            numerator: self.numerator.negate(),
            denominator: self.denominator.clone(),
        }
    }

    pub(crate) fn add(&self, other: &Fraction, budget: &mut Budget) -> Result<Fraction, EvalError> {
        if self.denominator_is_one() && other.denominator_is_one() {
            return Ok(self.numerator.add(&other.numerator, budget)?.into());
        }
        if self.denominator == other.denominator {
            let numerator = self.numerator.add(&other.numerator, budget)?;
            return Fraction::new(numerator, self.denominator.clone(), budget);
        }
        let left = self.numerator.multiply(&other.denominator, budget)?;
        let right = other.numerator.multiply(&self.denominator, budget)?;
        let numerator = left.add(&right, budget)?;
        let denominator = self.denominator.multiply(&other.denominator, budget)?;
        Fraction::new(numerator, denominator, budget)
    }

    pub(crate) fn subtract(
        &self,
        other: &Fraction,
        budget: &mut Budget,
    ) -> Result<Fraction, EvalError> {
        self.add(&other.negate(), budget)
    }

    pub(crate) fn multiply(
        &self,
        other: &Fraction,
        budget: &mut Budget,
    ) -> Result<Fraction, EvalError> {
        let numerator = self.numerator.multiply(&other.numerator, budget)?;
        if self.denominator_is_one() && other.denominator_is_one() {
            return Ok(numerator.into());
        }
        let denominator = self.denominator.multiply(&other.denominator, budget)?;
        Fraction::new(numerator, denominator, budget)
    }

    pub(crate) fn divide(
        &self,
        other: &Fraction,
        budget: &mut Budget,
    ) -> Result<Fraction, EvalError> {
        if other.is_zero() {
            return Err(EvalError::Unsupported);
        }
        if let (Some(top), Some(bottom)) = (self.as_rational(), other.as_rational()) {
            budget.spend_bits(number::bits(&top) + number::bits(&bottom))?;
            return Ok(Fraction::rational(top / bottom));
        }
        let numerator = self.numerator.multiply(&other.denominator, budget)?;
        let denominator = self.denominator.multiply(&other.numerator, budget)?;
        Fraction::new(numerator, denominator, budget)
    }

    /// Creates a quotient, simplified as far as is cheap. A denominator of one term is moved into the numerator
    /// where its atoms permit; one that divides the numerator is removed; any other is scaled so that its
    /// leading coefficient is 1.
    fn new(numerator: Poly, denominator: Poly, budget: &mut Budget) -> Result<Fraction, EvalError> {
        if denominator.is_zero() {
            return Err(EvalError::Unsupported);
        }
        if numerator.is_zero() {
            return Ok(numerator.into());
        }
        if let Some((monomial, coefficient)) = denominator.as_term() {
            let mut up: Monomial = Vec::new();
            let mut down: Monomial = Vec::new();
            let mut factor = RBig::ONE / coefficient;
            for (atom, exponent) in monomial {
                match atom {
                    Atom::Symbol(_) | Atom::Power(..) => {
                        up.push((atom.clone(), -exponent.clone()));
                    }
                    Atom::Integer(base) => {
                        // 1/p^(a) = p^(1-a)/p.
                        factor /= RBig::from(base.clone());
                        up.push((atom.clone(), RBig::ONE - exponent));
                    }
                    Atom::Imaginary => {
                        factor *= number::whole(-1);
                        up.push((atom.clone(), RBig::ONE));
                    }
                    Atom::Call(..) | Atom::Sum(_) => down.push((atom.clone(), exponent.clone())),
                }
            }
            let numerator = numerator.multiply(&Poly::term(up, factor), budget)?;
            if down.is_empty() {
                return Ok(numerator.into());
            }
            let denominator = Poly::term(down, RBig::ONE);
            if let Some(quotient) = numerator.divide(&denominator, budget)? {
                return Ok(quotient.into());
            }
            return Ok(Fraction {
                numerator,
                denominator,
            });
        }
        if let Some(quotient) = numerator.divide(&denominator, budget)? {
            return Ok(quotient.into());
        }
        let Some((_, lead)) = denominator.leading() else {
            return Err(EvalError::Unsupported);
        };
        let factor = RBig::ONE / lead;
        Ok(Fraction {
            numerator: numerator.scale(&factor, budget)?,
            denominator: denominator.scale(&factor, budget)?,
        })
    }

    /// Returns whether both are the same function on their common domain, by cross multiplication.
    pub(crate) fn same(&self, other: &Fraction, budget: &mut Budget) -> Result<bool, EvalError> {
        if self == other {
            return Ok(true);
        }
        if let (Some(left), Some(right)) = (self.as_rational(), other.as_rational()) {
            return Ok(left == right);
        }
        let left = self.numerator.multiply(&other.denominator, budget)?;
        let right = other.numerator.multiply(&self.denominator, budget)?;
        Ok(left.subtract(&right, budget)?.is_zero())
    }

    /// Returns the rational ratio to another expression, if there is one and neither is zero.
    pub(crate) fn proportional(
        &self,
        other: &Fraction,
        budget: &mut Budget,
    ) -> Result<Option<RBig>, EvalError> {
        let left = self.numerator.multiply(&other.denominator, budget)?;
        let right = other.numerator.multiply(&self.denominator, budget)?;
        let (Some((a, x)), Some((b, y))) = (left.leading(), right.leading()) else {
            return Ok(None);
        };
        if a != b {
            return Ok(None);
        }
        let ratio = x / y;
        let scaled = right.scale(&ratio, budget)?;
        Ok((left == scaled).then_some(ratio))
    }
}
