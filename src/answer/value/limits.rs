//! Limits of rational functions. All other limits are atoms of their parts.

use super::fraction::Fraction;
use super::functions::call;
use super::integrals::{limit_of_range, variable_name};
use super::number;
use super::poly::{Atom, Monomial, Poly};
use super::scalar::{Binding, Bindings, depth, scalar};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{BigOperator, Kind, Relation};

/// Returns the value of a limit.
pub(super) fn limit(
    big: &BigOperator,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let below = big.below.as_ref().ok_or(EvalError::Unsupported)?;
    let Kind::Chain(sides, relations) = &below.kind else {
        return Err(EvalError::Unsupported);
    };
    let ([variable, target], [Relation::Other("to")]) = (sides.as_slice(), relations.as_slice())
    else {
        return Err(EvalError::Unsupported);
    };
    let name = variable_name(variable).ok_or(EvalError::Unsupported)?;
    let inner = format!("bound {}", depth(bound));
    let binding = Binding {
        name: &name,
        value: Fraction::symbol(&inner),
        outer: bound,
    };
    let body = scalar(&big.body, Some(&binding), budget)?;
    if !body.depends_on(&inner) {
        return Ok(body);
    }
    let (point, side) = match &target.kind {
        Kind::Call(side, arguments) if side == "from above" || side == "from below" => {
            match arguments.as_slice() {
                [point] => (point, side.as_str()),
                _ => return Err(EvalError::Unsupported),
            }
        }
        _ => (target, ""),
    };
    let point = limit_of_range(point, bound, budget)?;
    if point.depends_on("infinity") {
        if let Some(value) = at_infinity(&body, &inner, budget)? {
            return Ok(value);
        }
    } else if is_rational_in(&body.numerator, &inner) && is_rational_in(&body.denominator, &inner) {
        let value = budget.attempt(|budget| body.substitute(&inner, &point, budget))?;
        if let Some(value) = value {
            return Ok(value);
        }
    }
    let mut arguments = vec![body, point];
    if !side.is_empty() {
        arguments.push(Fraction::symbol(side));
    }
    Ok(call("limit", arguments))
}

/// Returns whether a polynomial contains a variable only in nonnegative integer powers, not inside other atoms.
fn is_rational_in(poly: &Poly, name: &str) -> bool {
    poly.0
        .iter()
        .flat_map(|(monomial, _)| monomial)
        .all(|(atom, exponent)| match atom {
            Atom::Symbol(symbol) if symbol == name => {
                exponent.is_int() && !number::is_negative(exponent)
            }
            atom => !Fraction::atom(atom.clone()).depends_on(name),
        })
}

/// Returns the limit of a quotient of polynomials at positive or negative infinity, if it is finite.
fn at_infinity(
    body: &Fraction,
    name: &str,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    // A single power in the denominator was moved to the numerator with a negative exponent.
    let leading = |poly: &Poly, budget: &mut Budget| -> Result<Option<(i64, Poly)>, EvalError> {
        let mut best: Option<(i64, Poly)> = None;
        for (monomial, coefficient) in &poly.0 {
            let mut degree = 0;
            let mut rest = Monomial::new();
            for (atom, exponent) in monomial {
                match atom {
                    Atom::Symbol(symbol) if symbol == name => {
                        let Some(n) = number::small(exponent) else {
                            return Ok(None);
                        };
                        degree = n;
                    }
                    atom if Fraction::atom(atom.clone()).depends_on(name) => return Ok(None),
                    _ => rest.push((atom.clone(), exponent.clone())),
                }
            }
            match &mut best {
                Some((most, _)) if *most > degree => {}
                Some((most, sum)) if *most == degree => {
                    // Terms of the same degree are different monomials, so they do not cancel.
                    *sum = sum.add(&Poly::term(rest, coefficient.clone()), budget)?;
                }
                _ => best = Some((degree, Poly::term(rest, coefficient.clone()))),
            }
        }
        Ok(best)
    };
    let (Some((n, top)), Some((m, bottom))) = (
        leading(&body.numerator, budget)?,
        leading(&body.denominator, budget)?,
    ) else {
        return Ok(None);
    };
    match n.cmp(&m) {
        std::cmp::Ordering::Less => Ok(Some(Fraction::whole(0))),
        std::cmp::Ordering::Equal => Fraction::from(top)
            .divide(&Fraction::from(bottom), budget)
            .map(Some),
        std::cmp::Ordering::Greater => Ok(None),
    }
}
