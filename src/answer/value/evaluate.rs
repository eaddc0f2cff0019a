//! Evaluates the syntax tree of a whole answer.

use super::conditions::{all_of, one_of, solutions};
use super::fraction::Fraction;
use super::matrix::matrix;
use super::number_words::spoken;
use super::plus_minus::{alternatives, holds_alternatives};
use super::progressions::ANY_INTEGER;
use super::quantities::{
    compound, holds_unit, leading_quantity, quantities, quantity, sexagesimal,
};
use super::reals::Reals;
use super::relation::{chain, clock};
use super::scalar::scalar;
use super::sets::{as_reals, bracket, builder, family, set_in_words, set_operation};
use super::units::Unit;
use super::written::Scalar;
use super::{Equation, Value};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{Domain, Kind, Node};

/// Returns the value of an answer.
///
/// # Errors
///
/// Returns [`EvalError::Unsupported`] if the answer has no known value, and [`EvalError::LimitExceeded`] if the
/// budget is exceeded.
pub(crate) fn evaluate(node: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    match holds_alternatives(node, budget)? {
        false => one(node, budget),
        true => both(node, budget),
    }
}

/// Returns the values with plus and with minus of a tree that contains `±`.
#[inline(never)]
fn both(node: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    let (plus, minus) = alternatives(node, budget)?;
    Ok(Value::List(vec![one(&plus, budget)?, one(&minus, budget)?]))
}

/// Returns the value of alternating words and formulas.
pub(crate) fn statement(parts: &[Node], budget: &mut Budget) -> Result<Value, EvalError> {
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        values.push(match &part.kind {
            Kind::Text(text) => Value::Text(text.clone()),
            _ => evaluate(part, budget)?,
        });
    }
    Ok(Value::Statement(values))
}

/// Adds the missing condition of a last case (`otherwise`): all numbers that the other conditions leave.
fn complete(mut rows: Vec<Vec<Value>>, budget: &mut Budget) -> Result<Vec<Vec<Value>>, EvalError> {
    let Some((last, others)) = rows.split_last() else {
        return Ok(rows);
    };
    if last.len() != 1 {
        return Ok(rows);
    }
    let mut pieces = Vec::new();
    let mut variable: Option<String> = None;
    for row in others {
        let [_, condition] = row.as_slice() else {
            return Ok(rows);
        };
        match as_reals(condition, budget)? {
            Some((reals, Some(name))) if variable.as_ref().is_none_or(|v| *v == name) => {
                pieces.extend(reals.pieces);
                variable = Some(name);
            }
            _ => return Ok(rows),
        }
    }
    let rest = budget.attempt(|budget| Reals { pieces }.complement(budget))?;
    if let (Some(rest), Some(last)) = (rest, rows.last_mut()) {
        last.push(Value::Reals(rest, variable));
    }
    Ok(rows)
}

/// Returns the values of items. An item with `±` has two.
pub(super) fn items(nodes: &[Node], budget: &mut Budget) -> Result<Vec<Value>, EvalError> {
    let mut values = Vec::with_capacity(nodes.len());
    for node in nodes {
        budget.spend(1)?;
        match holds_alternatives(node, budget)? {
            false => values.push(evaluate(node, budget)?),
            true => match both(node, budget)? {
                Value::List(pair) => values.extend(pair),
                value => values.push(value),
            },
        }
    }
    Ok(values)
}

/// Returns the value of a tree without `±`.
pub(super) fn one(node: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    budget.nested(|budget| one_inside(node, budget))
}

/// Each kind of node is evaluated in a function of its own, to keep the stack frame of this recursive function
/// small.
fn one_inside(node: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    match &node.kind {
        // Brackets around a list were parsed as a tuple. Around anything else, they only group.
        Kind::Group(inner) => evaluate(inner, budget),
        Kind::Number(_)
        | Kind::Infinity
        | Kind::Percent(_)
        | Kind::Degree(_)
        | Kind::Radix(..)
        | Kind::Symbol(_)
        | Kind::Text(_)
        | Kind::Ellipsis => single(node, budget),
        Kind::Neg(inner) => negative(node, inner, budget),
        Kind::Unit(inner, unit) => with_unit(inner, unit, budget),
        Kind::List(nodes) => list(nodes, budget),
        Kind::Or(parts) => one_of(parts, budget),
        Kind::Rows(rows) => rows_of_items(rows, budget),
        Kind::Bracket(open, close, nodes) => bracket(*open, *close, nodes, budget),
        Kind::Set(nodes) => set(nodes, budget),
        Kind::Builder(left, condition) => builder(left, condition, budget),
        Kind::SetOp(..) => set_operation(node, budget),
        Kind::Chain(sides, relations) => chain(sides, relations, budget),
        Kind::Congruence(left, right, modulus) => congruence(left, right, modulus, budget),
        Kind::Ratio(terms) => ratio(terms, budget),
        Kind::Cases(rows) => cases(rows, budget),
        Kind::ForAll(inner, name, domain) => for_all(inner, name, domain, budget),
        Kind::BigOperator(big) if big.operator == "bigcup" => family(big, budget),
        Kind::Add(terms) if terms.iter().any(holds_unit) => quantities(terms, budget),
        Kind::Mul(factors) => factors_of(node, factors, budget),
        _ => expression(node, budget),
    }
}

/// Evaluates a node that contains no other answer.
#[inline(never)]
fn single(node: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    match &node.kind {
        Kind::Number(literal) => Ok(Value::Scalar(Scalar::literal(literal, budget)?)),
        Kind::Infinity => Ok(Value::Infinite(false)),
        Kind::Percent(inner) => Ok(Value::Percent(Scalar::read(inner, budget)?)),
        Kind::Degree(inner) => Ok(Value::Degrees(Scalar::read(inner, budget)?)),
        Kind::Radix(digits, base) => Ok(Value::Radix(digits.clone(), *base)),
        Kind::Symbol(name) => match reals_named(name) {
            Some(reals) => Ok(Value::Reals(reals, None)),
            None => expression(node, budget),
        },
        Kind::Text(text) => Ok(spoken(text)
            .or_else(|| set_in_words(text))
            .unwrap_or_else(|| Value::Text(text.clone()))),
        Kind::Ellipsis => Ok(Value::Text("…".into())),
        _ => Err(EvalError::Unsupported),
    }
}

#[inline(never)]
fn with_unit(inner: &Node, unit: &str, budget: &mut Budget) -> Result<Value, EvalError> {
    match leading_quantity(inner, unit, budget)? {
        Some(sum) => Ok(sum),
        None => quantity(inner, unit, budget),
    }
}

/// Evaluates items separated by semicolons. They are tuples if they are lists themselves.
#[inline(never)]
fn rows_of_items(rows: &[Node], budget: &mut Budget) -> Result<Value, EvalError> {
    let are_lists = rows.iter().all(|row| matches!(row.kind, Kind::List(_)));
    if !are_lists {
        return list(rows, budget);
    }
    let mut tuples = Vec::with_capacity(rows.len());
    for row in rows {
        if let Kind::List(nodes) = &row.kind {
            let values = items(nodes, budget)?;
            tuples.push(Value::Tuple(values.into_iter().map(bare).collect()));
        }
    }
    Ok(Value::List(tuples))
}

/// Evaluates items in braces.
#[inline(never)]
fn set(nodes: &[Node], budget: &mut Budget) -> Result<Value, EvalError> {
    if nodes.is_empty() {
        return Ok(Value::Set(Vec::new()));
    }
    let values = items(nodes, budget)?;
    // The order of the items determines the meaning of the dots.
    if nodes.iter().any(|node| matches!(node.kind, Kind::Ellipsis)) {
        return Ok(Value::Set(vec![Value::Tuple(values)]));
    }
    Ok(Value::Set(values))
}

/// Evaluates a congruence with its residue and modulus.
#[inline(never)]
fn congruence(
    left: &Node,
    right: &Node,
    modulus: &Node,
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    let modulus = scalar(modulus, None, budget)?;
    let left = match left.kind {
        Kind::Ellipsis => Fraction::symbol("…"),
        _ => scalar(left, None, budget)?,
    };
    Ok(Value::Congruence(
        left,
        scalar(right, None, budget)?,
        modulus,
    ))
}

/// Evaluates terms separated by colons: a time of day or a ratio.
#[inline(never)]
fn ratio(terms: &[Node], budget: &mut Budget) -> Result<Value, EvalError> {
    if let Some(clock) = clock(terms) {
        return Ok(Value::Clock(clock));
    }
    // `3:30 p.m.`: the words apply to the whole time.
    if let [rest @ .., last] = terms
        && let Kind::Unit(inner, unit) = &last.kind
    {
        let mut plain = rest.to_vec();
        plain.push((**inner).clone());
        if let Some(clock) = clock(&plain) {
            let unit = Unit::read(unit).ok_or(EvalError::Unsupported)?;
            return Ok(Value::Quantity(Box::new(Value::Clock(clock)), unit));
        }
    }
    let terms = terms
        .iter()
        .map(|term| Scalar::read(term, budget))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Value::Ratio(terms))
}

/// Evaluates values with their conditions.
#[inline(never)]
fn cases(rows: &[Vec<Node>], budget: &mut Budget) -> Result<Value, EvalError> {
    // One statement per row: a system.
    if rows.len() > 1 && rows.iter().all(|row| row.len() == 1) {
        let statements: Vec<Node> = rows.iter().flatten().cloned().collect();
        return list(&statements, budget);
    }
    let rows = rows
        .iter()
        .map(|row| items(row, budget))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Value::Cases(complete(rows, budget)?))
}

/// Evaluates a statement that holds for all values of a parameter.
#[inline(never)]
fn for_all(
    inner: &Node,
    name: &str,
    domain: &Domain,
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    // Numbers are real by default. Only the parameter of a vector has an arbitrary name.
    if matches!(domain, Domain::Reals) && !is_vector(inner) {
        return evaluate(inner, budget);
    }
    // The parameter's own name is irrelevant.
    let stands = match domain {
        Domain::Integers => ANY_INTEGER,
        Domain::Naturals => "any natural number",
        Domain::Reals => "any real number",
    };
    evaluate(&inner.renamed(name, stands, budget)?, budget)
}

/// Evaluates the negation of a value.
#[inline(never)]
fn negative(node: &Node, inner: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    match &inner.kind {
        Kind::Infinity => Ok(Value::Infinite(true)),
        Kind::Mul(factors) if matches!(factors[0].kind, Kind::Degree(_)) => {
            match one(inner, budget)? {
                Value::Degrees(value) => Ok(Value::Degrees(value.negate())),
                _ => expression(node, budget),
            }
        }
        Kind::Number(_) | Kind::Percent(_) | Kind::Degree(_) | Kind::Unit(..) => {
            match one(inner, budget)? {
                Value::Quantity(value, unit) => match *value {
                    Value::Scalar(value) => {
                        let value = Value::Scalar(value.negate());
                        Ok(Value::Quantity(Box::new(value), unit))
                    }
                    Value::Infinite(negative) => Ok(Value::Infinite(!negative)),
                    _ => Err(EvalError::Unsupported),
                },
                Value::Scalar(value) => Ok(Value::Scalar(value.negate())),
                Value::Percent(value) => Ok(Value::Percent(value.negate())),
                Value::Degrees(value) => Ok(Value::Degrees(value.negate())),
                _ => Err(EvalError::Unsupported),
            }
        }
        _ => expression(node, budget),
    }
}

/// Evaluates a product, or another value that is written like one.
#[inline(never)]
fn factors_of(node: &Node, factors: &[Node], budget: &mut Budget) -> Result<Value, EvalError> {
    if matches!(factors[0].kind, Kind::Degree(_)) {
        return match sexagesimal(factors, budget)? {
            Some(degrees) => Ok(Value::Degrees(degrees.into())),
            None => expression(node, budget),
        };
    }
    if let Some(lengths) = feet_and_inches(factors) {
        return quantities(&lengths, budget);
    }
    // `A(1, 2)`: a named point.
    if let Some(name) = named_point(factors) {
        let value = one(&factors[1], budget)?;
        return Ok(Value::Equation(Equation {
            name: Some(name),
            value: Box::new(value),
            difference: None,
            negated: false,
        }));
    }
    // `18 (girls)`: a word in brackets is a unit.
    if let [rest @ .., last] = factors
        && let Kind::Group(inner) = &last.kind
        && let (Kind::Text(unit), [amount]) = (&inner.kind, rest)
    {
        let value = one(amount, budget)?;
        let unit = Unit::label(unit).ok_or(EvalError::Unsupported)?;
        return Ok(Value::Quantity(Box::new(value), unit));
    }
    expression(node, budget)
}

/// Returns whether statements are about several unknowns.
fn is_system(values: &[Value]) -> bool {
    let name = |value: &Value| match value {
        Value::Equation(equation) => equation.name.clone(),
        _ => None,
    };
    let first = values.first().and_then(name);
    values.iter().any(|value| name(value) != first)
}

/// Returns whether an answer is a vector or point, possibly with a name.
fn is_vector(node: &Node) -> bool {
    match &node.kind {
        Kind::Bracket('(' | '⟨', ..) | Kind::Matrix(_) => true,
        Kind::Chain(sides, _) => sides.last().is_some_and(is_vector),
        Kind::Group(inner) => is_vector(inner),
        Kind::Add(items) | Kind::Mul(items) => items.iter().any(is_vector),
        _ => false,
    }
}

/// Splits `5'10''` into feet and inches.
fn feet_and_inches(factors: &[Node]) -> Option<Vec<Node>> {
    let named = |node: &Node, marks: &str, unit: &str| match &node.kind {
        Kind::Unit(amount, written) if written == marks => {
            let kind = Kind::Unit(amount.clone(), unit.to_owned());
            Some(Node::new(kind, node.span.clone()))
        }
        _ => None,
    };
    match factors {
        [feet, inches] => Some(vec![named(feet, "'", "ft")?, named(inches, "''", "in")?]),
        _ => None,
    }
}

/// Returns the capital letter before coordinates.
fn named_point(factors: &[Node]) -> Option<String> {
    match factors {
        [letter, place] => match (&letter.kind, &place.kind) {
            (Kind::Symbol(name), Kind::Bracket('(', ')', _))
                if name.starts_with(|c: char| c.is_ascii_uppercase())
                    && name.chars().nth(1).is_none_or(|c| matches!(c, '_' | '\'')) =>
            {
                Some(name.to_string())
            }
            _ => None,
        },
        _ => None,
    }
}

fn expression(node: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    if let Some(rows) = matrix(node, budget)? {
        return Ok(Value::Matrix(as_written(node, rows, budget)?));
    }
    Ok(Value::Scalar(Scalar::read(node, budget)?))
}

/// Returns the entries of a matrix, with the precision to which they were written if the matrix was written
/// entry by entry.
pub(super) fn as_written(
    node: &Node,
    rows: Vec<Vec<Fraction>>,
    budget: &mut Budget,
) -> Result<Vec<Vec<Scalar>>, EvalError> {
    match &node.kind {
        Kind::Group(inner) => budget.nested(|budget| as_written(inner, rows, budget)),
        Kind::Matrix(cells) => {
            let row = |row: &Vec<Node>| {
                let cells = row.iter().map(|cell| Scalar::read(cell, budget));
                cells.collect::<Result<Vec<_>, _>>()
            };
            cells.iter().map(row).collect()
        }
        _ => {
            let row = |row: Vec<Fraction>| row.into_iter().map(Scalar::from).collect();
            Ok(rows.into_iter().map(row).collect())
        }
    }
}

pub(super) fn reals_named(name: &str) -> Option<Reals> {
    (name == "mathbb R" || name == "Reals").then(Reals::all)
}

/// What an item implies for bare numbers after it: `x = 1, 2`, `x \ne 1, 2`.
enum Leading {
    Nothing,
    /// A name that equals them, or is unequal to them if the flag is set.
    Name(String, bool),
    /// An equation without a name.
    Equation,
    /// A relation that may or may not apply to them: `x < 1, 2`.
    Relation,
}

impl Leading {
    fn of(equation: &Equation) -> Leading {
        let holds_unknown = |difference: &Fraction| !difference.is_constant();
        match (&equation.name, &equation.difference) {
            (Some(name), _) => Leading::Name(name.clone(), equation.negated),
            (None, Some(difference)) if holds_unknown(difference) => match equation.negated {
                true => Leading::Relation,
                false => Leading::Equation,
            },
            (None, _) => Leading::Nothing,
        }
    }
}

/// Evaluates items separated by commas. A name before the first item applies to those without one.
fn list(nodes: &[Node], budget: &mut Budget) -> Result<Value, EvalError> {
    let mut values = items(nodes, budget)?;
    // Several systems are solutions, each of which belongs together.
    let several =
        |value: &Value| matches!(value, Value::List(inner) if inner.len() > 1 && is_system(inner));
    // Next to single statements, as in `x = y = 3, z = 4`, the statements of a system are items of the same
    // list.
    let all_lists = values.iter().all(|value| matches!(value, Value::List(_)));
    if all_lists && values.iter().any(several) {
        let groups: Option<Vec<Vec<Value>>> = values
            .into_iter()
            .map(|value| match value {
                Value::List(inner) => Some(inner),
                _ => None,
            })
            .collect();
        let solutions = groups.as_deref().and_then(solutions);
        return solutions.map(Value::List).ok_or(EvalError::Unsupported);
    }
    let mut leading = Leading::Nothing;
    for value in &mut values {
        match value {
            Value::Equation(equation) => leading = Leading::of(equation),
            // A `±` after a name: the name applies to both values.
            Value::List(inner) => {
                if let Some(Value::Equation(equation)) = inner.last() {
                    leading = Leading::of(equation);
                }
            }
            Value::Reals(_, Some(_)) | Value::Inequalities(_) => leading = Leading::Relation,
            Value::Scalar(_) => match &leading {
                Leading::Nothing => {}
                Leading::Relation => return Err(EvalError::Unsupported),
                // `7x+7=9(x-1), 8`: a separate value, not the value of a name.
                Leading::Equation => {
                    let inner = std::mem::replace(value, Value::Set(Vec::new()));
                    *value = Value::Tuple(vec![inner]);
                }
                Leading::Name(name, negated) => {
                    let inner = std::mem::replace(value, Value::Set(Vec::new()));
                    *value = Value::Equation(Equation {
                        name: Some(name.clone()),
                        value: Box::new(inner),
                        difference: None,
                        negated: *negated,
                    });
                }
            },
            _ => leading = Leading::Nothing,
        }
    }
    let mut flat = Vec::with_capacity(values.len());
    for value in values {
        match value {
            Value::List(inner) => flat.extend(inner),
            value => flat.push(value),
        }
    }
    if let Some(sum) = compound(&flat, budget)?.filter(|_| flat.len() > 1) {
        return Ok(sum);
    }
    if let Some(value) = all_of(&flat, budget)? {
        return Ok(value);
    }
    // The order of the items determines the meaning of the dots.
    if nodes.iter().any(|node| matches!(node.kind, Kind::Ellipsis)) {
        return Ok(Value::Tuple(flat));
    }
    Ok(Value::List(flat))
}

/// Removes the name from a named value.
pub(crate) fn bare(value: Value) -> Value {
    match value {
        Value::Equation(equation) if equation.name.is_some() && !equation.negated => {
            *equation.value
        }
        value => value,
    }
}

pub(super) fn is_named(value: &Value) -> bool {
    matches!(value, Value::Equation(equation) if equation.name.is_some() && !equation.negated)
}
