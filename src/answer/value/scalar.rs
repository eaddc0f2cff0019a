//! From a syntax tree to one expression in normal form, or to a matrix of them.

use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::functions;
use super::number;
use crate::answer::budget::{Budget, Stop};
use crate::answer::latex::{Big, Kind, Node, Relation};

/// Rows of a matrix.
pub(super) type Rows = Vec<Vec<Fraction>>;

/// Most terms of a sum or product that is written out.
const MAX_RANGE: i64 = 400;

/// Most atoms of a value, with those inside of them.
const MAX_WEIGHT: usize = 4000;

/// What stands for variables while a sum is written out.
pub(super) type Bindings<'a> = Option<&'a Binding<'a>>;

/// One bound variable and those bound around it.
pub(super) struct Binding<'a> {
    name: &'a str,
    value: Fraction,
    outer: Bindings<'a>,
}

/// The expression that a tree stands for.
pub(super) fn scalar(
    node: &Node,
    bound: Bindings<'_>,
    budget: &mut Budget,
) -> Result<Fraction, Stop> {
    budget.enter()?;
    let result = scalar_inner(node, bound, budget)?;
    budget.leave();
    // Atoms hold values of their own, and a tangent holds its argument twice: by functions of
    // functions a value would double at each level.
    if matches!(node.kind, Kind::Call(..) | Kind::Pow(..) | Kind::Root(..)) {
        let weight = result.weight();
        if weight > MAX_WEIGHT {
            return Err(Stop::Limit);
        }
        budget.spend(weight / 8)?;
    }
    Ok(result)
}

fn scalar_inner(node: &Node, bound: Bindings<'_>, budget: &mut Budget) -> Result<Fraction, Stop> {
    let mut at = |node: &Node| scalar(node, bound, budget);
    match &node.kind {
        Kind::Number(literal) => Ok(Fraction::rational(number::literal(literal, budget)?)),
        Kind::Symbol(name) => Ok(symbol(name, bound)),
        Kind::Text(name) if !name.contains(' ') => Ok(Fraction::symbol(&format!("text {name}"))),
        Kind::Group(inner) => at(inner),
        Kind::Neg(inner) => Ok(at(inner)?.negate()),
        Kind::Add(terms) => {
            let mut sum = Fraction::whole(0);
            for term in terms {
                let term = scalar(term, bound, budget)?;
                sum = sum.add(&term, budget)?;
            }
            Ok(sum)
        }
        Kind::Mul(factors) => {
            let mut product = Fraction::whole(1);
            for factor in factors {
                let factor = scalar(factor, bound, budget)?;
                product = product.multiply(&factor, budget)?;
            }
            Ok(product)
        }
        Kind::Div(top, bottom) => {
            let (top, bottom) = (at(top)?, at(bottom)?);
            top.divide(&bottom, budget)
        }
        Kind::Mixed(whole, fraction) => {
            let fraction = at(fraction)?;
            Fraction::rational(number::literal(whole, budget)?).add(&fraction, budget)
        }
        Kind::Pow(base, exponent) => {
            // A power of a function written as one: `\sin^2 x` has its tree already.
            let (base, exponent) = (at(base)?, at(exponent)?);
            base.power(&exponent, budget)
        }
        Kind::Root(index, radicand) => {
            let (index, radicand) = (at(index)?, at(radicand)?);
            match index.as_small() {
                Some(n) if (1..=1000).contains(&n) => {
                    let exponent = RBig::ONE / number::whole(n);
                    radicand.rational_power(&exponent, budget)
                }
                Some(_) => Err(Stop::Unknown),
                None => {
                    let exponent = Fraction::whole(1).divide(&index, budget)?;
                    radicand.power(&exponent, budget)
                }
            }
        }
        Kind::Percent(inner) => {
            let hundredth = Fraction::rational(RBig::ONE / number::whole(100));
            at(inner)?.multiply(&hundredth, budget)
        }
        Kind::Degree(inner) => {
            let inner = at(inner)?;
            let radian = Fraction::symbol("π").divide(&Fraction::whole(180), budget)?;
            inner.multiply(&radian, budget)
        }
        Kind::Factorial(inner) => {
            let inner = at(inner)?;
            functions::apply("factorial", vec![inner], budget)
        }
        Kind::Call(name, arguments) if name == "det" => match arguments.as_slice() {
            [argument] => {
                let rows = matrix(argument, budget)?.ok_or(Stop::Unknown)?;
                determinant(&rows, budget)
            }
            _ => Err(Stop::Unknown),
        },
        Kind::Call(name, arguments) => {
            let arguments = arguments
                .iter()
                .map(|argument| scalar(argument, bound, budget))
                .collect::<Result<Vec<_>, _>>()?;
            functions::apply(name, arguments, budget)
        }
        Kind::Derivative(above, below) => Ok(Fraction::symbol(&format!("d{above}/d{below}"))),
        Kind::Big(big) => large(big, bound, budget),
        Kind::PlusMinus(..)
        | Kind::Infinity
        | Kind::Unit(..)
        | Kind::Based(..)
        | Kind::Chain(..)
        | Kind::Congruence(..)
        | Kind::List(_)
        | Kind::Rows(_)
        | Kind::Bracket(..)
        | Kind::Set(_)
        | Kind::Builder(..)
        | Kind::SetOp(..)
        | Kind::Matrix(_)
        | Kind::Cases(_)
        | Kind::Ratio(_)
        | Kind::Ellipsis
        | Kind::Text(_) => Err(Stop::Unknown),
    }
}

fn symbol(name: &str, mut bound: Bindings<'_>) -> Fraction {
    while let Some(binding) = bound {
        if binding.name == name {
            return binding.value.clone();
        }
        bound = binding.outer;
    }
    match name {
        "e" => Fraction::atom(super::poly::Atom::Power(
            Box::new(super::poly::Base::Euler),
            Vec::new(),
        )),
        "i" => Fraction::atom(super::poly::Atom::Imaginary),
        _ => Fraction::symbol(name),
    }
}

/// A sum or product over a range of whole numbers, written out; any other large operator as a
/// name of its parts.
fn large(big: &Big, bound: Bindings<'_>, budget: &mut Budget) -> Result<Fraction, Stop> {
    let is_sum = big.operator == "sum";
    if is_sum || big.operator == "prod" {
        let Some(below) = &big.below else {
            return Err(Stop::Unknown);
        };
        let (Kind::Chain(sides, relations), Some(above)) = (&below.kind, &big.above) else {
            return Err(Stop::Unknown);
        };
        let ([index, from], [Relation::Equal]) = (sides.as_slice(), relations.as_slice()) else {
            return Err(Stop::Unknown);
        };
        let Kind::Symbol(name) = &index.kind else {
            return Err(Stop::Unknown);
        };
        let from = scalar(from, bound, budget)?;
        let infinite = matches!(above.kind, Kind::Infinity);
        if !infinite {
            let to = scalar(above, bound, budget)?;
            if let (Some(low), Some(high)) = (from.as_small(), to.as_small()) {
                let count = high.saturating_sub(low);
                if count > MAX_RANGE {
                    return Err(Stop::Limit);
                }
                let mut total = Fraction::whole(i64::from(!is_sum));
                for k in low..=high {
                    let binding = Binding {
                        name,
                        value: Fraction::whole(k),
                        outer: bound,
                    };
                    let term = scalar(&big.body, Some(&binding), budget)?;
                    total = if is_sum {
                        total.add(&term, budget)?
                    } else {
                        total.multiply(&term, budget)?
                    };
                }
                return Ok(total);
            }
        }
        // The index has no name outside: how deep it is bound stands for it.
        let mut depth = 0;
        let mut outer = bound;
        while let Some(binding) = outer {
            depth += 1;
            outer = binding.outer;
        }
        let binding = Binding {
            name,
            value: Fraction::symbol(&format!("bound {depth}")),
            outer: bound,
        };
        let body = scalar(&big.body, Some(&binding), budget)?;
        let to = if infinite {
            Fraction::symbol("infinity")
        } else {
            scalar(above, bound, budget)?
        };
        let atom = super::poly::Atom::Call(big.operator.clone(), vec![body, from, to]);
        return Ok(Fraction::atom(atom));
    }
    if big.operator == "int" {
        let mut arguments = vec![scalar(&big.body, bound, budget)?];
        for end in [&big.below, &big.above].into_iter().flatten() {
            arguments.push(match &end.kind {
                Kind::Infinity => Fraction::symbol("infinity"),
                Kind::Neg(inner) if matches!(inner.kind, Kind::Infinity) => {
                    Fraction::symbol("infinity").negate()
                }
                _ => scalar(end, bound, budget)?,
            });
        }
        let atom = super::poly::Atom::Call("int".into(), arguments);
        return Ok(Fraction::atom(atom));
    }
    Err(Stop::Unknown)
}

/// The matrix that a tree stands for, if it is one: sums, products and multiples included.
pub(super) fn matrix(node: &Node, budget: &mut Budget) -> Result<Option<Rows>, Stop> {
    budget.enter()?;
    let result = match &node.kind {
        Kind::Group(inner) => matrix(inner, budget)?,
        Kind::Matrix(rows) => {
            let mut values = Vec::with_capacity(rows.len());
            let width = rows.first().map_or(0, Vec::len);
            for row in rows {
                if row.len() != width {
                    return Err(Stop::Unknown);
                }
                let row = row
                    .iter()
                    .map(|cell| scalar(cell, None, budget))
                    .collect::<Result<Vec<_>, _>>()?;
                values.push(row);
            }
            Some(values)
        }
        Kind::Neg(inner) => match matrix(inner, budget)? {
            Some(rows) => Some(scale(&rows, &Fraction::whole(-1), budget)?),
            None => None,
        },
        Kind::Add(terms) => {
            let mut sum: Option<Rows> = None;
            for (index, term) in terms.iter().enumerate() {
                let rows = matrix(term, budget)?;
                sum = match (sum, rows) {
                    (None, Some(rows)) if index == 0 => Some(rows),
                    (None, None) => None,
                    (Some(left), Some(right)) => Some(add(&left, &right, budget)?),
                    _ => return Err(Stop::Unknown),
                };
            }
            sum
        }
        Kind::Mul(factors) => {
            let mut product: Option<Rows> = None;
            let mut multiple = Fraction::whole(1);
            for factor in factors {
                if let Some(rows) = matrix(factor, budget)? {
                    product = Some(match product {
                        None => rows,
                        Some(left) => multiply(&left, &rows, budget)?,
                    });
                }
            }
            match product {
                Some(rows) => {
                    for factor in factors {
                        if !contains_matrix(factor) {
                            let factor = scalar(factor, None, budget)?;
                            multiple = multiple.multiply(&factor, budget)?;
                        }
                    }
                    Some(scale(&rows, &multiple, budget)?)
                }
                None => None,
            }
        }
        _ => None,
    };
    budget.leave();
    Ok(result)
}

fn contains_matrix(node: &Node) -> bool {
    match &node.kind {
        Kind::Matrix(_) => true,
        Kind::Group(inner) | Kind::Neg(inner) => contains_matrix(inner),
        Kind::Add(items) | Kind::Mul(items) => items.iter().any(contains_matrix),
        _ => false,
    }
}

fn scale(rows: &Rows, factor: &Fraction, budget: &mut Budget) -> Result<Rows, Stop> {
    rows.iter()
        .map(|row| row.iter().map(|x| x.multiply(factor, budget)).collect())
        .collect()
}

fn add(left: &Rows, right: &Rows, budget: &mut Budget) -> Result<Rows, Stop> {
    let same_shape =
        left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.len() == b.len());
    if !same_shape {
        return Err(Stop::Unknown);
    }
    left.iter()
        .zip(right)
        .map(|(a, b)| a.iter().zip(b).map(|(x, y)| x.add(y, budget)).collect())
        .collect()
}

fn multiply(left: &Rows, right: &Rows, budget: &mut Budget) -> Result<Rows, Stop> {
    let inner = right.len();
    if left.iter().any(|row| row.len() != inner) {
        return Err(Stop::Unknown);
    }
    let width = right.first().map_or(0, Vec::len);
    let mut product = Vec::with_capacity(left.len());
    for row in left {
        let mut out = Vec::with_capacity(width);
        for column in 0..width {
            let mut sum = Fraction::whole(0);
            for (x, other) in row.iter().zip(right) {
                let term = x.multiply(&other[column], budget)?;
                sum = sum.add(&term, budget)?;
            }
            out.push(sum);
        }
        product.push(out);
    }
    Ok(product)
}

/// By expansion along the first row; up to 5 rows.
fn determinant(rows: &Rows, budget: &mut Budget) -> Result<Fraction, Stop> {
    let size = rows.len();
    if size == 0 || size > 5 || rows.iter().any(|row| row.len() != size) {
        return Err(Stop::Unknown);
    }
    if size == 1 {
        return Ok(rows[0][0].clone());
    }
    let mut sum = Fraction::whole(0);
    for (column, factor) in rows[0].iter().enumerate() {
        let minor: Rows = rows[1..]
            .iter()
            .map(|row| {
                let mut row = row.clone();
                row.remove(column);
                row
            })
            .collect();
        let term = factor.multiply(&determinant(&minor, budget)?, budget)?;
        sum = if column % 2 == 0 {
            sum.add(&term, budget)?
        } else {
            sum.subtract(&term, budget)?
        };
    }
    Ok(sum)
}
