//! Integrals. Definite integrals are evaluated if a few rules give an antiderivative. All others are atoms of
//! their parts, so that integrals written alike are equal.

use smol_str::SmolStr;

use super::antiderivative::{antiderivative, slope};
use super::fraction::Fraction;
use super::functions::{call, sign};
use super::number;
use super::poly::{Atom, Base, Monomial, Poly};
use super::scalar::{Binding, Bindings, depth, scalar};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{BigOperator, Kind, Node};

/// The maximum number of nested integral signs.
const MAX_NESTED: usize = 4;

/// Returns the value of an integral, which may be multiple.
pub(super) fn integral(
    big: &BigOperator,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let mut signs = vec![big];
    let mut body = &big.body;
    while let Kind::BigOperator(inner) = &body.kind
        && inner.operator == "int"
    {
        signs.push(inner);
        body = &inner.body;
        if signs.len() > MAX_NESTED {
            return Err(EvalError::LimitExceeded);
        }
    }
    let mut rest = body.clone();
    let mut variables = Vec::new();
    for _ in &signs {
        let Some((inner, variable)) = differential(&rest, budget)? else {
            break;
        };
        rest = inner;
        variables.push(variable);
    }
    if variables.is_empty() && signs.len() == 1 {
        // Without a variable, only the parts are known.
        let mut arguments = vec![scalar(&rest, bound, budget)?];
        for end in [&big.below, &big.above].into_iter().flatten() {
            arguments.push(limit_of_range(end, bound, budget)?);
        }
        return Ok(call("int", arguments));
    }
    if variables.len() != signs.len() {
        return Err(EvalError::Unsupported);
    }
    // The innermost differential belongs to the innermost sign, but the last one written was split off first.
    level(&signs, &variables, &rest, bound, budget)
}

/// Returns the integral of the outermost remaining sign, over the variable that was split off first.
fn level(
    signs: &[&BigOperator],
    variables: &[SmolStr],
    integrand: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let (Some((big, inner)), Some((variable, rest))) =
        (signs.split_first(), variables.split_first())
    else {
        return scalar(integrand, bound, budget);
    };
    match (&big.below, &big.above) {
        (None, None) => {
            let body = level(inner, rest, integrand, bound, budget)?;
            Ok(call("int", vec![body, Fraction::symbol(variable)]))
        }
        (Some(below), Some(above)) => {
            let name = format!("bound {}", depth(bound));
            let binding = Binding {
                name: variable,
                value: Fraction::symbol(&name),
                outer: bound,
            };
            let body = level(inner, rest, integrand, Some(&binding), budget)?;
            let low = limit_of_range(below, bound, budget)?;
            let high = limit_of_range(above, bound, budget)?;
            definite(&body, &name, &low, &high, budget)
        }
        // A region below the sign, or only one bound.
        _ => Err(EvalError::Unsupported),
    }
}

/// Returns a bound of a range, which may be infinite.
pub(super) fn limit_of_range(
    node: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    match &node.kind {
        Kind::Infinity => Ok(Fraction::symbol("infinity")),
        Kind::Neg(inner) if matches!(inner.kind, Kind::Infinity) => {
            Ok(Fraction::symbol("infinity").negate())
        }
        _ => scalar(node, bound, budget),
    }
}

/// Splits an integrand into the part without the differential and the variable of the differential.
fn differential(node: &Node, budget: &mut Budget) -> Result<Option<(Node, SmolStr)>, EvalError> {
    let again =
        |inner: &Node, budget: &mut Budget| budget.nested(|budget| differential(inner, budget));
    let split = match &node.kind {
        Kind::Mul(factors) => match factors.as_slice() {
            [rest @ .., d, variable] if is_d(d) => variable_name(variable).map(|name| {
                let one = Kind::Mul(rest.to_vec());
                (Node::new(one, node.span.clone()), name)
            }),
            // `\int \frac{1}{x^2} \frac{dx}{2}`: the differential is in the last factor.
            [rest @ .., last] => again(last, budget)?.map(|(inner, name)| {
                let mut factors = rest.to_vec();
                factors.push(inner);
                (Node::new(Kind::Mul(factors), node.span.clone()), name)
            }),
            [] => None,
        },
        Kind::Add(terms) => match terms.split_last() {
            Some((last, rest)) => again(last, budget)?.map(|(inner, name)| {
                let mut terms = rest.to_vec();
                terms.push(inner);
                (Node::new(Kind::Add(terms), node.span.clone()), name)
            }),
            None => None,
        },
        Kind::Neg(inner) => again(inner, budget)?.map(|(inner, name)| {
            let kind = Kind::Neg(Box::new(inner));
            (Node::new(kind, node.span.clone()), name)
        }),
        Kind::Div(top, bottom) => again(top, budget)?.map(|(top, name)| {
            let kind = Kind::Div(Box::new(top), bottom.clone());
            (Node::new(kind, node.span.clone()), name)
        }),
        Kind::Group(inner) => again(inner, budget)?,
        Kind::Set(items) => match items.as_slice() {
            [inner] => again(inner, budget)?,
            _ => None,
        },
        _ => None,
    };
    Ok(split)
}

fn is_d(node: &Node) -> bool {
    matches!(&node.kind, Kind::Symbol(name) if name == "d")
}

pub(super) fn variable_name(node: &Node) -> Option<SmolStr> {
    match &node.kind {
        Kind::Symbol(name) if !matches!(name.as_str(), "π" | "e" | "i" | "d") => {
            Some(name.clone())
        }
        _ => None,
    }
}

/// Returns the integral of `body` over `name` from `low` to `high`.
fn definite(
    body: &Fraction,
    name: &str,
    low: &Fraction,
    high: &Fraction,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    // Names that may depend on the variable implicitly.
    let dependent = ["f", "g", "h", "y", "u", "v", "w", "F", "G"];
    if dependent.iter().any(|name| body.depends_on(name)) {
        let arguments = vec![body.clone(), low.clone(), high.clone()];
        return Ok(call("definite int", arguments));
    }
    let finite = !low.depends_on("infinity") && !high.depends_on("infinity");
    if finite && let Some(whole) = antiderivative(body, name, low, high, budget)? {
        let top = budget.attempt(|budget| whole.substitute(name, high, budget))?;
        let bottom = budget.attempt(|budget| whole.substitute(name, low, budget))?;
        // Without values at both bounds, it remains an atom.
        if let (Some(top), Some(bottom)) = (top, bottom) {
            return top.subtract(&bottom, budget);
        }
    }
    let to_infinity = !low.depends_on("infinity") && *high == Fraction::symbol("infinity");
    if to_infinity {
        // Any positive number has the sign of infinity.
        let some = Fraction::whole(1);
        if let Some(whole) = antiderivative(body, name, low, &some, budget)? {
            let top = at_the_end(&whole, name, budget)?;
            let bottom = budget.attempt(|budget| whole.substitute(name, low, budget))?;
            if let (Some(top), Some(bottom)) = (top, bottom) {
                return top.subtract(&bottom, budget);
            }
        }
    }
    let arguments = vec![body.clone(), low.clone(), high.clone()];
    Ok(call("integral", arguments))
}

/// Returns the limit of an antiderivative at positive infinity, if each of its terms is constant or vanishes.
fn at_the_end(
    whole: &Fraction,
    name: &str,
    budget: &mut Budget,
) -> Result<Option<Fraction>, EvalError> {
    let denominator = Fraction::from(whole.denominator.clone());
    if denominator.depends_on(name) {
        return Ok(None);
    }
    let mut rest = Poly::default();
    for (monomial, coefficient) in &whole.numerator.0 {
        let term = Poly::term(monomial.clone(), coefficient.clone());
        if !Fraction::from(term.clone()).depends_on(name) {
            rest = rest.add(&term, budget)?;
        } else if !vanishes(monomial, name, budget)? {
            return Ok(None);
        }
    }
    Fraction::from(rest).divide(&denominator, budget).map(Some)
}

/// Returns whether a product vanishes at positive infinity: a decaying exponential with any powers, or negative
/// powers only.
fn vanishes(monomial: &Monomial, name: &str, budget: &mut Budget) -> Result<bool, EvalError> {
    let (mut falling, mut rising_power) = (false, false);
    let mut exponential = false;
    for (atom, exponent) in monomial {
        match atom {
            Atom::Symbol(symbol) if symbol == name => {
                let down = number::is_negative(exponent);
                falling |= down;
                rising_power |= !down;
            }
            Atom::Power(base, power) if matches!(**base, Base::Euler) => {
                let argument: Fraction = Poly::term(power.clone(), exponent.clone()).into();
                if argument.depends_on(name) {
                    let Some(slope) = slope(&argument, name, budget)? else {
                        return Ok(false);
                    };
                    if sign(&slope, budget)? != Some(-1) {
                        return Ok(false);
                    }
                    exponential = true;
                }
            }
            atom if Fraction::atom(atom.clone()).depends_on(name) => return Ok(false),
            _ => {}
        }
    }
    Ok(exponential || falling && !rising_power)
}
