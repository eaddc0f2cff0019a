//! Putting a value in the place of a variable of an expression in normal form.

use super::fraction::Fraction;
use super::functions;
use super::poly::{Atom, Base, Monomial, Poly};
use crate::answer::budget::{Budget, Stop};

impl Fraction {
    /// The expression with `value` for every `name`.
    ///
    /// # Errors
    ///
    /// [`Stop::Unknown`] where it has no value there, such as at the zero of a denominator.
    pub(super) fn substitute(
        &self,
        name: &str,
        value: &Fraction,
        budget: &mut Budget,
    ) -> Result<Fraction, Stop> {
        budget.enter()?;
        let numerator = poly(&self.numerator, name, value, budget)?;
        let result = if self.denominator_is_one() {
            numerator
        } else {
            let denominator = poly(&self.denominator, name, value, budget)?;
            numerator.divide(&denominator, budget)?
        };
        budget.leave();
        Ok(result)
    }

    /// Whether a variable stands anywhere in it.
    pub(super) fn depends_on(&self, name: &str) -> bool {
        let mut names = std::collections::BTreeSet::new();
        self.symbols(&mut names);
        names.contains(name)
    }
}

fn poly(terms: &Poly, name: &str, value: &Fraction, budget: &mut Budget) -> Result<Fraction, Stop> {
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
) -> Result<Fraction, Stop> {
    let mut product = Fraction::whole(1);
    for (base, exponent) in monomial {
        budget.spend(1)?;
        let base = atom(base, name, value, budget)?;
        product = product.multiply(&base.rational_power(exponent, budget)?, budget)?;
    }
    Ok(product)
}

fn atom(part: &Atom, name: &str, value: &Fraction, budget: &mut Budget) -> Result<Fraction, Stop> {
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
