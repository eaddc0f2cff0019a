//! Evaluates a syntax tree as one expression in canonical form.

use dashu_ratio::RBig;

use super::application::{Application, application};
use super::fraction::Fraction;
use super::functions;
use super::integrals;
use super::limits;
use super::matrix::{determinant, matrix};
use super::number;
use super::poly::Poly;
use super::sums;
use super::vectors;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{BigOperator, Kind, Literal, Node};

/// The maximum number of atoms of a value, including nested ones.
const MAX_WEIGHT: usize = 4000;

/// The values of bound variables, such as the index of a sum.
pub(super) type Bindings<'a> = Option<&'a Binding<'a>>;

/// A bound variable and the enclosing ones.
pub(super) struct Binding<'a> {
    pub(super) name: &'a str,
    pub(super) value: Fraction,
    pub(super) outer: Bindings<'a>,
}

/// Returns the number of bound variables. The number replaces the name of a bound variable, which has no
/// meaning outside.
pub(super) fn depth(mut bound: Bindings<'_>) -> usize {
    let mut depth = 0;
    while let Some(binding) = bound {
        depth += 1;
        bound = binding.outer;
    }
    depth
}

/// Returns the expression that a tree denotes.
pub(super) fn scalar(
    node: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let result = budget.nested(|budget| scalar_inner(node, bound, budget))?;
    // Atoms contain values, and a tangent contains its argument twice, so nested functions could double a value
    // at each level.
    if matches!(node.kind, Kind::Call(..) | Kind::Pow(..) | Kind::Root(..)) {
        let weight = result.weight();
        if weight > MAX_WEIGHT {
            return Err(EvalError::LimitExceeded);
        }
        // The value is copied several times in the process.
        budget.spend(weight)?;
    }
    Ok(result)
}

fn scalar_inner(
    node: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    match &node.kind {
        Kind::Number(literal) => Ok(Fraction::rational(number::literal(literal, budget)?)),
        Kind::Symbol(name) => Ok(symbol(name, bound)),
        Kind::Text(name) if !name.contains(' ') => Ok(Fraction::symbol(&format!("text {name}"))),
        Kind::Group(inner) => scalar(inner, bound, budget),
        Kind::Neg(inner) => Ok(scalar(inner, bound, budget)?.negate()),
        // `1 + 2 + … + n`: the order of the terms determines the meaning of the dots.
        Kind::Add(terms) if terms.iter().any(is_ellipsis) => series("series", terms, bound, budget),
        Kind::Mul(factors) if factors.iter().any(is_ellipsis) => {
            series("product of", factors, bound, budget)
        }
        Kind::Add(terms) => sum(terms, bound, budget),
        Kind::Mul(factors) => product(factors, bound, budget),
        Kind::Div(top, bottom) => quotient(top, bottom, bound, budget),
        Kind::Mixed(whole, fraction) => mixed(whole, fraction, bound, budget),
        Kind::Pow(base, exponent) => power(base, exponent, bound, budget),
        Kind::Root(index, radicand) => root(index, radicand, bound, budget),
        Kind::Percent(inner) => hundredths(inner, bound, budget),
        Kind::Degree(inner) => radians(inner, bound, budget),
        Kind::Factorial(inner) => factorial(inner, bound, budget),
        Kind::Call(name, arguments) if name == "det" => determinant_of(arguments, budget),
        Kind::Call(name, arguments) => called(name, arguments, bound, budget),
        Kind::Derivative(above, below) => Ok(Fraction::symbol(&format!("d{above}/d{below}"))),
        Kind::BigOperator(big) => large(big, bound, budget),
        Kind::PlusMinus(..)
        | Kind::Infinity
        | Kind::Unit(..)
        | Kind::Radix(..)
        | Kind::Chain(..)
        | Kind::Congruence(..)
        | Kind::List(_)
        | Kind::Or(_)
        | Kind::Rows(_)
        | Kind::Bracket(..)
        | Kind::Set(_)
        | Kind::Builder(..)
        | Kind::SetOp(..)
        | Kind::Matrix(_)
        | Kind::Cases(_)
        | Kind::Ratio(_)
        | Kind::Ellipsis
        | Kind::ForAll(..)
        | Kind::Text(_) => Err(EvalError::Unsupported),
    }
}

/// Evaluates a quotient.
#[inline(never)]
fn quotient(
    top: &Node,
    bottom: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let (top, bottom) = (scalar(top, bound, budget)?, scalar(bottom, bound, budget)?);
    top.divide(&bottom, budget)
}

/// Evaluates a mixed number.
#[inline(never)]
fn mixed(
    whole: &Literal,
    fraction: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let fraction = scalar(fraction, bound, budget)?;
    Fraction::rational(number::literal(whole, budget)?).add(&fraction, budget)
}

/// Evaluates a root.
#[inline(never)]
fn root(
    index: &Node,
    radicand: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let (index, radicand) = (
        scalar(index, bound, budget)?,
        scalar(radicand, bound, budget)?,
    );
    match index.as_small() {
        Some(n) if (1..=1000).contains(&n) => {
            let exponent = RBig::ONE / number::whole(n);
            radicand.rational_power(&exponent, budget)
        }
        Some(_) => Err(EvalError::Unsupported),
        None => {
            let exponent = Fraction::whole(1).divide(&index, budget)?;
            radicand.power(&exponent, budget)
        }
    }
}

/// Evaluates a percentage as a number.
#[inline(never)]
fn hundredths(
    inner: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let hundredth = Fraction::rational(RBig::ONE / number::whole(100));
    scalar(inner, bound, budget)?.multiply(&hundredth, budget)
}

/// Evaluates an angle in radians.
#[inline(never)]
fn radians(inner: &Node, bound: Bindings<'_>, budget: &mut Budget) -> Result<Fraction, EvalError> {
    let inner = scalar(inner, bound, budget)?;
    let radian = Fraction::symbol("π").divide(&Fraction::whole(180), budget)?;
    inner.multiply(&radian, budget)
}

/// Evaluates a factorial.
#[inline(never)]
fn factorial(
    inner: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let inner = scalar(inner, bound, budget)?;
    functions::apply("factorial", vec![inner], budget)
}

/// Evaluates a function of its arguments.
#[inline(never)]
fn called(
    name: &str,
    arguments: &[Node],
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let arguments = arguments
        .iter()
        .map(|argument| scalar(argument, bound, budget))
        .collect::<Result<Vec<_>, _>>()?;
    functions::apply(name, arguments, budget)
}

/// Evaluates a power.
#[inline(never)]
fn power(
    base: &Node,
    exponent: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    if is_inverse(base, exponent) {
        let function = scalar(base, bound, budget)?;
        return Ok(functions::call("inverse function", vec![function]));
    }
    // A power of a function, such as `\sin^2 x`, already has its own tree.
    let words = is_words(base);
    let base = scalar(base, bound, budget)?;
    let exponent = scalar(exponent, bound, budget)?;
    if words && exponent.is_zero() {
        return Err(EvalError::Unsupported);
    }
    base.power(&exponent, budget)
}

/// Evaluates the determinant of a matrix.
#[inline(never)]
fn determinant_of(arguments: &[Node], budget: &mut Budget) -> Result<Fraction, EvalError> {
    match arguments {
        [argument] => {
            let rows = matrix(argument, budget)?.ok_or(EvalError::Unsupported)?;
            determinant(&rows, budget)
        }
        _ => Err(EvalError::Unsupported),
    }
}

/// Evaluates a sum. Terms without a denominator are collected at once, not one by one.
fn sum(terms: &[Node], bound: Bindings<'_>, budget: &mut Budget) -> Result<Fraction, EvalError> {
    let mut whole = Vec::with_capacity(terms.len());
    let mut others = Fraction::whole(0);
    for term in terms {
        let term = scalar(term, bound, budget)?;
        if term.denominator_is_one() {
            whole.extend(term.numerator.0);
        } else {
            others = others.add(&term, budget)?;
        }
    }
    let whole = Fraction::from(Poly::collect(whole, budget)?);
    match others.is_zero() {
        true => Ok(whole),
        false => others.add(&whole, budget),
    }
}

/// Evaluates a product of adjacent factors. A name before brackets may be a function, and matrices keep their
/// order.
fn product(
    factors: &[Node],
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let mut product = Fraction::whole(1);
    let mut matrices = Vec::new();
    let transposed = vectors::any_transposed(factors);
    let has_matrix = transposed || factors.iter().any(vectors::is_matrix);
    let mut rest = factors;
    while let [factor, others @ ..] = rest {
        rest = others;
        let applied = others.first().and_then(|next| application(factor, next));
        let factor = match applied {
            Some(applied) => {
                rest = &others[1..];
                let value = function(&applied, bound, budget)?;
                product = product.multiply(&value, budget)?;
                continue;
            }
            None => factor,
        };
        if has_matrix {
            budget.spend(1 + matrices.len())?;
            if vectors::matrix_names(factor, &mut matrices) {
                continue;
            }
            if vectors::is_vector(factor, transposed) {
                matrices.push(factor);
                continue;
            }
        }
        let factor = scalar(factor, bound, budget)?;
        product = product.multiply(&factor, budget)?;
    }
    let mut ordered = Vec::with_capacity(matrices.len());
    for matrix in matrices {
        ordered.push(scalar(matrix, bound, budget)?);
    }
    if let [first, others @ ..] = ordered.as_slice() {
        let factor = if others.iter().all(|other| other == first) {
            let mut power = first.clone();
            for other in others {
                power = power.multiply(other, budget)?;
            }
            power
        } else {
            functions::call("matrix product", ordered)
        };
        product = product.multiply(&factor, budget)?;
    }
    // `not 0`: words must not vanish.
    if product.is_zero() && factors.iter().any(is_words) {
        return Err(EvalError::Unsupported);
    }
    Ok(product)
}

fn is_words(node: &Node) -> bool {
    match &node.kind {
        Kind::Text(_) => true,
        Kind::Group(inner) | Kind::Pow(inner, _) => is_words(inner),
        _ => false,
    }
}

/// Evaluates a function known by name.
fn function(
    applied: &Application<'_>,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let mut arguments = Vec::with_capacity(applied.arguments.len());
    for argument in applied.arguments {
        arguments.push(scalar(argument, bound, budget)?);
    }
    let value = match (applied.name.as_str(), arguments.as_slice()) {
        // Γ(n) = (n-1)!.
        ("Gamma", [x]) if x.as_small().is_some_and(|n| n > 0) => {
            let before = x.subtract(&Fraction::whole(1), budget)?;
            functions::apply("factorial", vec![before], budget)?
        }
        _ => functions::call(&applied.name, arguments),
    };
    match applied.exponent {
        Some(exponent) => {
            let exponent = scalar(exponent, bound, budget)?;
            value.power(&exponent, budget)
        }
        None => Ok(value),
    }
}

/// Returns whether a base and exponent are the power -1 of a function's name.
fn is_inverse(base: &Node, exponent: &Node) -> bool {
    matches!(&base.kind, Kind::Symbol(name) if matches!(name.as_str(), "f" | "g" | "h" | "F" | "G"))
        && matches!(&exponent.kind, Kind::Neg(one)
            if matches!(&one.kind, Kind::Number(one) if one.is_whole() && one.whole == "1"))
}

fn is_ellipsis(node: &Node) -> bool {
    match &node.kind {
        Kind::Ellipsis => true,
        Kind::Neg(inner) => matches!(inner.kind, Kind::Ellipsis),
        _ => false,
    }
}

/// Evaluates terms or factors that include dots, in order.
fn series(
    name: &str,
    items: &[Node],
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    let mut arguments = Vec::with_capacity(items.len());
    for item in items {
        arguments.push(if is_ellipsis(item) {
            let dots = Fraction::symbol("…");
            match item.kind {
                Kind::Neg(_) => dots.negate(),
                _ => dots,
            }
        } else {
            scalar(item, bound, budget)?
        });
    }
    functions::apply(name, arguments, budget)
}

fn symbol(name: &str, mut bound: Bindings<'_>) -> Fraction {
    while let Some(binding) = bound {
        if binding.name == name {
            return binding.value.clone();
        }
        if let Some((stem, index)) = name.split_once('_')
            && index.split(' ').any(|part| part == binding.name)
        {
            // `x_i` with i bound: a different variable for each i.
            return match (index == binding.name, binding.value.as_small()) {
                (true, Some(k)) => Fraction::symbol(&format!("{stem}_{k}")),
                (true, None) => functions::call(&format!("{stem}_"), vec![binding.value.clone()]),
                _ => functions::call(name, vec![binding.value.clone()]),
            };
        }
        bound = binding.outer;
    }
    match name {
        "e" => Fraction::atom(super::poly::Atom::Power(
            Box::new(super::poly::Base::Euler),
            Vec::new(),
        )),
        "i" => Fraction::atom(super::poly::Atom::Imaginary),
        // The derivative of the unknown in a differential equation.
        "y'" => Fraction::symbol("dy/dx"),
        // Unit vectors under any decoration.
        _ if vectors::axis_of_name(name).is_some() => {
            Fraction::symbol(vectors::axis_of_name(name).unwrap_or(name))
        }
        _ => Fraction::symbol(name),
    }
}

/// Returns the value of a large operator.
fn large(
    big: &BigOperator,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, EvalError> {
    match big.operator.as_str() {
        "sum" => sums::series(big, true, bound, budget),
        "prod" => sums::series(big, false, bound, budget),
        "int" => integrals::integral(big, bound, budget),
        "lim" => limits::limit(big, bound, budget),
        _ => Err(EvalError::Unsupported),
    }
}
