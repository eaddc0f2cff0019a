//! Antiderivatives by a few rules: powers, exponentials, sines and cosines, simple quotients.

use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::functions::{call, sign};
use super::number;
use super::poly::{Atom, Base, Monomial, Poly};
use crate::answer::budget::{Budget, EvalError};

/// The maximum number of integrations by parts, or of reductions of a power, per term.
const MAX_PARTS: i64 = 12;

/// Returns `∫ c/(ax+b)` if the denominator is positive, and `∫ c/(ax²+b)` if it has no zero.
fn of_quotient(
    body: &Fraction,
    name: &str,
    low: &Fraction,
    high: &Fraction,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let top = Fraction::from(body.numerator.clone());
    let bottom = Fraction::from(body.denominator.clone());
    if top.depends_on(name) {
        return Ok(None);
    }
    if let Some(slope) = slope(&bottom, name, budget)? {
        for end in [low, high] {
            let value = budget.attempt(|budget| bottom.substitute(name, end, budget))?;
            let Some(value) = value else {
                return Ok(None);
            };
            if sign(&value, budget)? != Some(1) {
                return Ok(None);
            }
        }
        let logarithm = call("ln", vec![bottom]);
        let whole = top.divide(&slope, budget)?.multiply(&logarithm, budget)?;
        return Ok(Some(whole));
    }
    let at = |x: i64, budget: &mut Budget| {
        budget.attempt(|budget| bottom.substitute(name, &Fraction::whole(x), budget))
    };
    let (Some(zero), Some(one)) = (at(0, budget)?, at(1, budget)?) else {
        return Ok(None);
    };
    let square = one.subtract(&zero, budget)?;
    let x = Fraction::symbol(name);
    let shape = square
        .multiply(&x, budget)?
        .multiply(&x, budget)?
        .add(&zero, budget)?;
    if square.is_zero() || square.depends_on(name) || !shape.same(&bottom, budget)? {
        return Ok(None);
    }
    // a x² + b = a (x² + s²), and the integral is arctan(x/s) / (a s).
    let inside = zero.divide(&square, budget)?;
    if sign(&inside, budget)? != Some(1) {
        return Ok(None);
    }
    let half = RBig::ONE / number::whole(2);
    let root = inside.rational_power(&half, budget)?;
    let angle = call("arctan", vec![x.divide(&root, budget)?]);
    let scale = square.multiply(&root, budget)?;
    Ok(Some(top.divide(&scale, budget)?.multiply(&angle, budget)?))
}

/// Returns an antiderivative of `body` that is continuous from `low` to `high`.
pub(super) fn antiderivative(
    body: &Fraction,
    name: &str,
    low: &Fraction,
    high: &Fraction,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let denominator = Fraction::from(body.denominator.clone());
    if denominator.depends_on(name) {
        return of_quotient(body, name, low, high, budget);
    }
    let range = Range {
        low: sign(low, budget)?,
        high: sign(high, budget)?,
    };
    let mut sum = Fraction::whole(0);
    for (monomial, coefficient) in &body.numerator.0 {
        budget.spend(1)?;
        let Some(term) = of_term(monomial, name, range, budget)? else {
            return Ok(None);
        };
        let coefficient = Fraction::rational(coefficient.clone());
        sum = sum.add(&term.multiply(&coefficient, budget)?, budget)?;
    }
    Ok(Some(sum.divide(&denominator, budget)?))
}

/// The signs of the bounds, if known.
#[derive(Debug, Clone, Copy)]
struct Range {
    low: Option<i8>,
    high: Option<i8>,
}

impl Range {
    fn is_positive(self) -> bool {
        self.low == Some(1) && self.high == Some(1)
    }

    fn is_negative(self) -> bool {
        self.low == Some(-1) && self.high == Some(-1)
    }

    fn reaches_zero(self) -> bool {
        matches!(self.low, Some(0 | 1)) && matches!(self.high, Some(0 | 1))
    }
}

/// Returns an antiderivative of a product of atoms.
fn of_term(
    monomial: &Monomial,
    name: &str,
    range: Range,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let mut free = Monomial::new();
    let mut power = RBig::ZERO;
    let mut others: Vec<&(Atom, RBig)> = Vec::new();
    for factor in monomial {
        match &factor.0 {
            Atom::Symbol(symbol) if symbol == name => power = factor.1.clone(),
            atom if Fraction::atom(atom.clone()).depends_on(name) => others.push(factor),
            _ => free.push(factor.clone()),
        }
    }
    let free: Fraction = Poly::term(free, RBig::ONE).into();
    let inner = match others.as_slice() {
        [] => of_power(&power, name, range, budget)?,
        [(Atom::Power(base, exponent), times)] if matches!(**base, Base::Euler) => {
            of_exponential(&power, exponent, times, name, budget)?
        }
        factors if power.is_zero() => of_circular(factors, name, budget)?,
        _ => None,
    };
    match inner {
        Some(inner) => Ok(Some(free.multiply(&inner, budget)?)),
        None => Ok(None),
    }
}

/// Returns `∫ xʳ`.
fn of_power(
    power: &RBig,
    name: &str,
    range: Range,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let x = Fraction::symbol(name);
    let next = power + RBig::ONE;
    if next.is_zero() {
        // ln x if the range is positive.
        return Ok(range
            .is_positive()
            .then(|| call("ln", vec![Fraction::symbol(name)])));
    }
    let whole = power.is_int();
    let rising = !number::is_negative(power);
    let continuous = if whole && rising {
        true
    } else if whole {
        range.is_positive() || range.is_negative()
    } else if number::is_negative(&next) {
        range.is_positive()
    } else {
        range.reaches_zero()
    };
    if !continuous {
        return Ok(None);
    }
    let inverse = Fraction::rational(RBig::ONE / &next);
    let term: Fraction = match x.numerator.as_term() {
        Some((monomial, _)) => {
            let raised = monomial
                .iter()
                .map(|(atom, _)| (atom.clone(), next.clone()))
                .collect();
            Poly::term(raised, RBig::ONE).into()
        }
        None => return Ok(None),
    };
    Ok(Some(term.multiply(&inverse, budget)?))
}

/// Returns `∫ xⁿ e^(ax)`, by parts.
fn of_exponential(
    power: &RBig,
    exponent: &Monomial,
    times: &RBig,
    name: &str,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let Some(n) = number::small(power).filter(|n| (0..=MAX_PARTS).contains(n)) else {
        return Ok(None);
    };
    let argument: Fraction = Poly::term(exponent.clone(), times.clone()).into();
    let Some(slope) = slope(&argument, name, budget)? else {
        return Ok(None);
    };
    let atom = Atom::Power(Box::new(Base::Euler), exponent.clone());
    let exponential: Fraction = Poly::term(vec![(atom, times.clone())], RBig::ONE).into();
    // ∫ xⁿ eᵃˣ = eᵃˣ (xⁿ/a - n xⁿ⁻¹/a² + …).
    let x = Fraction::symbol(name);
    let mut sum = Fraction::whole(0);
    let mut factor = Fraction::whole(1).divide(&slope, budget)?;
    for k in (0..=n).rev() {
        let term = if k == 0 {
            factor.clone()
        } else {
            let raised = x.rational_power(&number::whole(k), budget)?;
            raised.multiply(&factor, budget)?
        };
        sum = sum.add(&term, budget)?;
        let next = Fraction::whole(-k).divide(&slope, budget)?;
        factor = factor.multiply(&next, budget)?;
    }
    Ok(Some(exponential.multiply(&sum, budget)?))
}

/// Returns `∫ cosⁿ(ax+b) sinᵐ(ax+b)`. In canonical form, `m` is 0 or 1.
fn of_circular(
    factors: &[&(Atom, RBig)],
    name: &str,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let mut argument: Option<&Fraction> = None;
    let (mut cosines, mut sines) = (0, 0);
    for (atom, exponent) in factors {
        let Atom::Call(function, arguments) = atom else {
            return Ok(None);
        };
        let ([inner], Some(n)) = (arguments.as_slice(), number::small(exponent)) else {
            return Ok(None);
        };
        if argument.is_some_and(|other| other != inner) || !(1..=MAX_PARTS).contains(&n) {
            return Ok(None);
        }
        argument = Some(inner);
        match function.as_str() {
            "cos" => cosines = n,
            "sin" if n == 1 => sines = n,
            _ => return Ok(None),
        }
    }
    let Some(argument) = argument else {
        return Ok(None);
    };
    let Some(slope) = slope(argument, name, budget)? else {
        return Ok(None);
    };
    let cosine = call("cos", vec![argument.clone()]);
    let sine = call("sin", vec![argument.clone()]);
    let raised = |n: i64, budget: &mut Budget| -> Result<Fraction, EvalError> {
        if n == 0 {
            return Ok(Fraction::whole(1));
        }
        cosine.rational_power(&number::whole(n), budget)
    };
    if sines == 1 {
        let scale = Fraction::whole(-cosines - 1).multiply(&slope, budget)?;
        return Ok(Some(raised(cosines + 1, budget)?.divide(&scale, budget)?));
    }
    // ∫ cosⁿ = (cosⁿ⁻¹ sin)/n + (n-1)/n ∫ cosⁿ⁻².
    let mut sum = Fraction::whole(0);
    let mut factor = Fraction::whole(1);
    let mut n = cosines;
    while n > 0 {
        let scale = Fraction::whole(n).multiply(&slope, budget)?;
        let term = raised(n - 1, budget)?.multiply(&sine, budget)?;
        let term = term.divide(&scale, budget)?.multiply(&factor, budget)?;
        sum = sum.add(&term, budget)?;
        let ratio = Fraction::whole(n - 1).divide(&Fraction::whole(n), budget)?;
        factor = factor.multiply(&ratio, budget)?;
        n -= 2;
    }
    if n == 0 {
        let rest = Fraction::symbol(name).multiply(&factor, budget)?;
        sum = sum.add(&rest, budget)?;
    }
    Ok(Some(sum))
}

/// Returns the constant slope of an expression that is linear in a variable.
pub(super) fn slope(
    argument: &Fraction,
    name: &str,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    Ok(argument.linear_in(name, budget)?.map(|(_, slope)| slope))
}
