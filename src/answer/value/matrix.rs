//! Matrices of expressions: sums, products, scalar multiples, powers, inverses and determinants.

use super::fraction::Fraction;
use super::scalar::scalar;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{Kind, Node};

/// The rows of a matrix.
pub(super) type Rows = Vec<Vec<Fraction>>;

/// Returns the matrix that a tree denotes, if it is one, evaluating sums, products and multiples.
pub(super) fn matrix(node: &Node, budget: &mut Budget) -> Result<Option<Rows>, EvalError> {
    budget.nested(|budget| matrix_inside(node, budget))
}

fn matrix_inside(node: &Node, budget: &mut Budget) -> Result<Option<Rows>, EvalError> {
    Ok(match &node.kind {
        Kind::Group(inner) => matrix(inner, budget)?,
        Kind::Matrix(rows) => {
            let mut values = Vec::with_capacity(rows.len());
            let width = rows.first().map_or(0, Vec::len);
            for row in rows {
                if row.len() != width {
                    return Err(EvalError::Unsupported);
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
                    _ => return Err(EvalError::Unsupported),
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
        Kind::Pow(base, exponent) => match matrix(base, budget)? {
            Some(rows) => match &exponent.kind {
                Kind::Symbol(name) if name == "T" => Some(transpose(&rows)),
                _ => {
                    let exponent = scalar(exponent, None, budget)?;
                    Some(power(
                        &rows,
                        exponent.as_small().ok_or(EvalError::Unsupported)?,
                        budget,
                    )?)
                }
            },
            // `(1, 2, 3)^T` and `[1, 2, 3]^T`.
            None => match (&base.kind, &exponent.kind) {
                (Kind::Bracket(_, _, items), Kind::Symbol(name)) if name == "T" => {
                    let mut rows = Vec::with_capacity(items.len());
                    for item in items {
                        rows.push(vec![scalar(item, None, budget)?]);
                    }
                    Some(rows)
                }
                _ => None,
            },
        },
        _ => None,
    })
}

/// The maximum power of a matrix that is computed.
const MAX_POWER: i64 = 64;

/// Returns the transpose.
fn transpose(rows: &Rows) -> Rows {
    let width = rows.first().map_or(0, Vec::len);
    (0..width)
        .map(|column| rows.iter().map(|row| row[column].clone()).collect())
        .collect()
}

/// Returns an integer power. Negative powers are powers of the inverse.
fn power(rows: &Rows, exponent: i64, budget: &mut Budget) -> Result<Rows, EvalError> {
    let size = rows.len();
    let square = size > 0 && rows.iter().all(|row| row.len() == size);
    if !square || exponent == 0 || exponent.abs() > MAX_POWER {
        return Err(EvalError::Unsupported);
    }
    let base = if exponent < 0 {
        inverse(rows, budget)?
    } else {
        rows.clone()
    };
    let mut product = base.clone();
    for _ in 1..exponent.abs() {
        product = multiply(&product, &base, budget)?;
    }
    Ok(product)
}

/// Returns the inverse by cofactors, for up to 5 rows.
fn inverse(rows: &Rows, budget: &mut Budget) -> Result<Rows, EvalError> {
    let whole = determinant(rows, budget)?;
    if whole.is_zero() {
        return Err(EvalError::Unsupported);
    }
    let size = rows.len();
    let mut inverse = Vec::with_capacity(size);
    for i in 0..size {
        let mut out = Vec::with_capacity(size);
        for j in 0..size {
            // The cofactor of row j and column i.
            let minor: Rows = rows
                .iter()
                .enumerate()
                .filter(|(row, _)| *row != j)
                .map(|(_, row)| {
                    let mut row = row.clone();
                    row.remove(i);
                    row
                })
                .collect();
            let cofactor = if minor.is_empty() {
                Fraction::whole(1)
            } else {
                determinant(&minor, budget)?
            };
            let entry = cofactor.divide(&whole, budget)?;
            out.push(if (i + j) % 2 == 0 {
                entry
            } else {
                entry.negate()
            });
        }
        inverse.push(out);
    }
    Ok(inverse)
}

fn contains_matrix(node: &Node) -> bool {
    match &node.kind {
        Kind::Matrix(_) => true,
        Kind::Group(inner) | Kind::Neg(inner) | Kind::Pow(inner, _) => contains_matrix(inner),
        Kind::Add(items) | Kind::Mul(items) => items.iter().any(contains_matrix),
        _ => false,
    }
}

pub(super) fn scale(
    rows: &Rows,
    factor: &Fraction,
    budget: &mut Budget,
) -> Result<Rows, EvalError> {
    rows.iter()
        .map(|row| row.iter().map(|x| x.multiply(factor, budget)).collect())
        .collect()
}

pub(super) fn add(left: &Rows, right: &Rows, budget: &mut Budget) -> Result<Rows, EvalError> {
    let same_shape =
        left.len() == right.len() && left.iter().zip(right).all(|(a, b)| a.len() == b.len());
    if !same_shape {
        return Err(EvalError::Unsupported);
    }
    left.iter()
        .zip(right)
        .map(|(a, b)| a.iter().zip(b).map(|(x, y)| x.add(y, budget)).collect())
        .collect()
}

fn multiply(left: &Rows, right: &Rows, budget: &mut Budget) -> Result<Rows, EvalError> {
    let inner = right.len();
    if left.iter().any(|row| row.len() != inner) {
        return Err(EvalError::Unsupported);
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

/// Returns the determinant by expansion along the first row, for up to 5 rows.
pub(super) fn determinant(rows: &Rows, budget: &mut Budget) -> Result<Fraction, EvalError> {
    let size = rows.len();
    if size == 0 || size > 5 || rows.iter().any(|row| row.len() != size) {
        return Err(EvalError::Unsupported);
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
