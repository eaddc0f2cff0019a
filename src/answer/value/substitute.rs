//! Replaces a variable of an expression in canonical form by a value.

use super::fraction::Fraction;
use super::functions;
use super::poly::{Atom, Base, Monomial, Poly};
use crate::answer::budget::{Budget, EvalError};

impl Fraction {
    /// Replaces every `name` by `value`.
    ///
    /// # Errors
    ///
    /// Returns [`EvalError::Unsupported`] if the expression is undefined there, such as at a zero of a
    /// denominator.
    pub(super) fn substitute(
        &self,
        name: &str,
        value: &Fraction,
        budget: &mut Budget,
    ) -> Result<Fraction, EvalError> {
        budget.nested(|budget| {
            let numerator = poly(&self.numerator, name, value, budget)?;
            if self.denominator_is_one() {
                return Ok(numerator);
            }
            let denominator = poly(&self.denominator, name, value, budget)?;
            numerator.divide(&denominator, budget)
        })
    }

    /// Returns the value at zero and the slope of an expression that is linear in a variable; neither contains
    /// the variable. Returns `None` if it is not linear or the slope is zero.
    pub(super) fn linear_in(
        &self,
        name: &str,
        budget: &mut Budget,
    ) -> Result<Option<(Fraction, Fraction)>, EvalError> {
        let at = |x: i64, budget: &mut Budget| {
            budget.attempt(|budget| self.substitute(name, &Fraction::whole(x), budget))
        };
        let (Some(start), Some(next)) = (at(0, budget)?, at(1, budget)?) else {
            return Ok(None);
        };
        let slope = next.subtract(&start, budget)?;
        let line = slope
            .multiply(&Fraction::symbol(name), budget)?
            .add(&start, budget)?;
        let linear = !slope.is_zero() && !slope.depends_on(name) && line.same(self, budget)?;
        Ok(linear.then_some((start, slope)))
    }

    /// Returns whether the expression contains a variable.
    pub(super) fn depends_on(&self, name: &str) -> bool {
        let mut names = std::collections::BTreeSet::new();
        self.symbols(&mut names);
        names.contains(name)
    }
}

fn poly(
    terms: &Poly,
    name: &str,
    value: &Fraction,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let mut sum = Fraction::whole(0);
    for (monomial, coefficient) in &terms.0 {
        let term = product(monomial, name, value, budget)?;
        let coefficient = Fraction::rational(coefficient.clone());
        sum = sum.add(&term.multiply(&coefficient, budget)?, budget)?;
    }
    Ok(sum)
}

fn product(
    monomial: &Monomial,
    name: &str,
    value: &Fraction,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let mut product = Fraction::whole(1);
    for (base, exponent) in monomial {
        budget.spend(1)?;
        let base = atom(base, name, value, budget)?;
        product = product.multiply(&base.rational_power(exponent, budget)?, budget)?;
    }
    Ok(product)
}

fn atom(
    part: &Atom,
    name: &str,
    value: &Fraction,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    match part {
        Atom::Symbol(symbol) if symbol == name => Ok(value.clone()),
        Atom::Symbol(_) | Atom::Integer(_) | Atom::Imaginary => Ok(Fraction::atom(part.clone())),
        Atom::Sum(inner) => poly(inner, name, value, budget),
        Atom::Power(base, exponent) => {
            let exponent = product(exponent, name, value, budget)?;
            match &**base {
                Base::Euler => functions::exponential(&exponent, budget),
                Base::Atom(base) => atom(base, name, value, budget)?.power(&exponent, budget),
            }
        }
        Atom::Call(function, arguments) => {
            let arguments = arguments
                .iter()
                .map(|argument| argument.substitute(name, value, budget))
                .collect::<Result<Vec<_>, _>>()?;
            functions::apply(function, arguments, budget)
        }
    }
}

/// Returns whether a name is typical of a constant of integration: `C`, `K`, `C_1`.
fn is_constant_name(name: &str) -> bool {
    let letter = name.split('_').next().unwrap_or(name);
    matches!(letter, "C" | "c" | "K" | "k")
}

/// Returns whether two expressions differ only by a constant of integration, which is added on one or both
/// sides under any name, possibly with a number.
pub(crate) fn differ_by_constant(
    left: &Fraction,
    right: &Fraction,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    let mut names = std::collections::BTreeSet::new();
    left.symbols(&mut names);
    right.symbols(&mut names);
    // There must be a variable of integration.
    if names.iter().all(|name| is_constant_name(name)) {
        return Ok(false);
    }
    let difference = left.subtract(right, budget)?;
    if !difference.denominator_is_one() {
        return Ok(false);
    }
    for (monomial, _) in &difference.numerator.0 {
        let fits = match monomial.as_slice() {
            [(Atom::Symbol(name), one)] if one.is_one() => is_constant_name(name),
            _ => Fraction::from(Poly::term(monomial.clone(), dashu_ratio::RBig::ONE)).is_constant(),
        };
        if !fits {
            return Ok(false);
        }
    }
    // A difference of numbers alone is not ignored: at least one side must have an additive constant.
    for side in [left, right] {
        for name in names.iter().filter(|name| is_constant_name(name)) {
            let next = Fraction::symbol(name).add(&Fraction::whole(1), budget)?;
            let Some(moved) = budget.attempt(|budget| side.substitute(name, &next, budget))? else {
                continue;
            };
            let step = moved.subtract(side, budget)?;
            if !step.is_zero() && step.as_rational().is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
