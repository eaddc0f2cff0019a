//! Solves nonlinear inequalities and equations: where quadratics, and `|x|` with a coefficient, are positive,
//! and the zeros of quadratics.

use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::functions::sign;
use super::number;
use super::poly::{Atom, Poly};
use super::reals::{Piece, Reals};
use super::written::Scalar;
use crate::answer::budget::{Budget, EvalError};

/// Returns where `a·|x| + c` or `a·x² + b·x + c` is positive (or zero, if `may_be_zero`), and the name of the
/// variable. The coefficients must be constants with known signs.
pub(super) fn above_zero(
    expression: &Fraction,
    may_be_zero: bool,
    budget: &mut Budget,
) -> Result<Option<(Reals, String)>, EvalError> {
    if !expression.denominator_is_one() {
        return Ok(None);
    }
    let Some(shape) = shape(&expression.numerator, budget)? else {
        return Ok(None);
    };
    let (leading, ends) = match &shape {
        Shape::Bars { factor, rest, .. } => {
            let bound = rest.negate().divide(factor, budget)?;
            let ends = match sign(&bound, budget)? {
                Some(1) => Some((bound.negate(), bound)),
                Some(-1) => None,
                _ => return Ok(None),
            };
            (factor, ends)
        }
        Shape::Quadratic { a, b, c, .. } => match zeros(a, b, c, budget)? {
            Some(ends) => (a, ends),
            None => return Ok(None),
        },
    };
    let outside = match sign(leading, budget)? {
        Some(1) => true,
        Some(-1) => false,
        _ => return Ok(None),
    };
    let piece = |low: Option<Fraction>, high: Option<Fraction>| Piece {
        low_closed: may_be_zero && low.is_some(),
        high_closed: may_be_zero && high.is_some(),
        low: low.map(Scalar::from),
        high: high.map(Scalar::from),
    };
    let pieces = match (ends, outside) {
        (Some((low, high)), true) => vec![piece(None, Some(low)), piece(Some(high), None)],
        (Some((low, high)), false) => vec![piece(Some(low), Some(high))],
        (None, true) => Reals::all().pieces,
        (None, false) => Vec::new(),
    };
    let (Shape::Bars { name, .. } | Shape::Quadratic { name, .. }) = shape;
    Ok(Some((Reals { pieces }, name)))
}

/// Returns the real zeros of a quadratic and the name of its variable, or `None` if they are not known.
pub(super) fn roots(
    expression: &Fraction,
    budget: &mut Budget,
) -> Result<Option<(Vec<Fraction>, String)>, EvalError> {
    if !expression.denominator_is_one() {
        return Ok(None);
    }
    let Some(Shape::Quadratic { name, a, b, c }) = shape(&expression.numerator, budget)? else {
        return Ok(None);
    };
    Ok(zeros(&a, &b, &c, budget)?.map(|ends| {
        let roots = ends.map_or(Vec::new(), |(low, high)| vec![low, high]);
        (roots, name)
    }))
}

/// The form of an expression in its only variable.
enum Shape {
    /// `factor·|name| + rest`.
    Bars {
        name: String,
        factor: Fraction,
        rest: Fraction,
    },
    /// `a·name² + b·name + c`, with `a` not zero.
    Quadratic {
        name: String,
        a: Fraction,
        b: Fraction,
        c: Fraction,
    },
}

fn shape(expression: &Poly, budget: &mut Budget) -> Result<Option<Shape>, EvalError> {
    let mut variable: Option<String> = None;
    // The coefficients of 1, x, x² and |x|.
    let mut parts = [
        Poly::default(),
        Poly::default(),
        Poly::default(),
        Poly::default(),
    ];
    for (monomial, coefficient) in &expression.0 {
        let mut rest = Vec::new();
        let mut index = 0;
        for (atom, exponent) in monomial {
            let (name, at) = match atom {
                Atom::Symbol(name) if name != "π" => match number::small(exponent) {
                    Some(1) => (name.to_string(), 1),
                    Some(2) => (name.to_string(), 2),
                    _ => return Ok(None),
                },
                Atom::Call(call, arguments) if call == "abs" && exponent.is_one() => {
                    match arguments.first().and_then(variable_of) {
                        Some(name) => (name, 3),
                        None => return Ok(None),
                    }
                }
                atom if Fraction::atom(atom.clone()).is_constant() => {
                    rest.push((atom.clone(), exponent.clone()));
                    continue;
                }
                _ => return Ok(None),
            };
            if index > 0 || variable.as_ref().is_some_and(|variable| *variable != name) {
                return Ok(None);
            }
            variable = Some(name);
            index = at;
        }
        let term = Poly::term(rest, coefficient.clone());
        parts[index] = parts[index].add(&term, budget)?;
    }
    let [c, b, a, bars] = parts.map(Fraction::from);
    Ok(match variable {
        Some(name) if !bars.is_zero() && a.is_zero() && b.is_zero() => Some(Shape::Bars {
            name,
            factor: bars,
            rest: c,
        }),
        Some(name) if !a.is_zero() && bars.is_zero() => Some(Shape::Quadratic { name, a, b, c }),
        _ => None,
    })
}

/// Returns the two zeros of a quadratic in increasing order, or `Some(None)` if there are none. Returns `None`
/// if this is not known or the zeros coincide.
#[allow(
    clippy::type_complexity,
    reason = "known, and if so whether there are any"
)]
fn zeros(
    a: &Fraction,
    b: &Fraction,
    c: &Fraction,
    budget: &mut Budget,
) -> Result<Option<Option<(Fraction, Fraction)>>, EvalError> {
    let four = Fraction::whole(4)
        .multiply(a, budget)?
        .multiply(c, budget)?;
    let inside = b.multiply(b, budget)?.subtract(&four, budget)?;
    match sign(&inside, budget)? {
        Some(1) => {}
        Some(-1) => return Ok(Some(None)),
        _ => return Ok(None),
    }
    let half = RBig::ONE / number::whole(2);
    let root = inside.rational_power(&half, budget)?;
    let double = Fraction::whole(2).multiply(a, budget)?;
    let minus = b
        .negate()
        .subtract(&root, budget)?
        .divide(&double, budget)?;
    let plus = b.negate().add(&root, budget)?.divide(&double, budget)?;
    // A negative leading coefficient reverses the order.
    Ok(Some(Some(match sign(a, budget)? {
        Some(1) => (minus, plus),
        Some(-1) => (plus, minus),
        _ => return Ok(None),
    })))
}

/// Returns the variable, if the expression is nothing else.
fn variable_of(value: &Fraction) -> Option<String> {
    let (monomial, one) = value.numerator.as_term()?;
    match monomial.as_slice() {
        [(Atom::Symbol(name), power)]
            if one.is_one() && power.is_one() && value.denominator_is_one() && name != "π" =>
        {
            Some(name.to_string())
        }
        _ => None,
    }
}
