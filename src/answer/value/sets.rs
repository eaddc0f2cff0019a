//! Sets: brackets, set-builders, unions and differences, conditions on one variable, families.

use dashu_ratio::RBig;

use super::Value;
use super::evaluate::{evaluate, is_named, items, reals_named};
use super::fraction::Fraction;
use super::progressions::ANY_INTEGER;
use super::quadratic::roots;
use super::reals::{Piece, Reals, in_order};
use super::relation::{label, solve};
use super::scalar::scalar;
use super::sums::range;
use super::written::Scalar;
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{BigOperator, Kind, Node, Relation};

/// Returns all real numbers except one.
pub(super) fn complement(value: Value) -> Result<Value, EvalError> {
    match value {
        Value::Scalar(scalar) => {
            let point = Some(scalar);
            let piece = |low: Option<Scalar>, high: Option<Scalar>| Piece {
                low,
                low_closed: false,
                high,
                high_closed: false,
            };
            Ok(Value::Reals(
                Reals {
                    pieces: vec![piece(None, point.clone()), piece(point, None)],
                },
                None,
            ))
        }
        _ => Err(EvalError::Unsupported),
    }
}

pub(super) fn set_operation(node: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    let (operator, left, right) = match &node.kind {
        Kind::SetOp(operator, left, right) => (operator, left, right),
        // A number in brackets next to a set operator is a set of one number.
        Kind::Group(inner) if matches!(inner.kind, Kind::Number(_) | Kind::Neg(_)) => {
            return Ok(Value::Set(vec![evaluate(inner, budget)?]));
        }
        Kind::Group(inner) => {
            return budget.nested(|budget| set_operation(inner, budget));
        }
        _ => return evaluate(node, budget),
    };
    let (left, right) = budget
        .nested(|budget| Ok((set_operation(left, budget)?, set_operation(right, budget)?)))?;
    if let (Value::Set(a), Value::Set(b)) = (&left, &right) {
        return finite(*operator, a, b, budget);
    }
    let mut variable = None;
    let mut sides = Vec::new();
    for side in [left, right] {
        let (reals, name) = as_reals(&side, budget)?.ok_or(EvalError::Unsupported)?;
        variable = variable.or(name);
        sides.push(reals);
    }
    let (Some(right), Some(mut left)) = (sides.pop(), sides.pop()) else {
        return Err(EvalError::Unsupported);
    };
    if *operator == '∖' {
        let rest = right.complement(budget)?;
        return Ok(Value::Reals(left.intersect(&rest, budget)?, variable));
    }
    if *operator == '∩' {
        return Ok(Value::Reals(left.intersect(&right, budget)?, variable));
    }
    left.pieces.extend(right.pieces);
    Ok(Value::Reals(left, variable))
}

pub(super) fn finite(
    operator: char,
    left: &[Value],
    right: &[Value],
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    let contains = |set: &[Value], value: &Value, budget: &mut Budget| -> Result<bool, EvalError> {
        for other in set {
            budget.spend(1)?;
            match (other, value) {
                (Value::Scalar(a), Value::Scalar(b)) => {
                    if a.value.same(&b.value, budget)? {
                        return Ok(true);
                    }
                }
                _ => return Err(EvalError::Unsupported),
            }
        }
        Ok(false)
    };
    let mut result = Vec::new();
    if operator == '∪' {
        result.extend(left.iter().cloned());
        result.extend(right.iter().cloned());
        return Ok(Value::Set(result));
    }
    for value in left {
        if contains(right, value, budget)? == (operator == '∩') {
            result.push(value.clone());
        }
    }
    Ok(Value::Set(result))
}

/// Returns a value as a set of real numbers, if it is one, and the variable for which it was stated.
pub(crate) fn as_reals(
    value: &Value,
    budget: &mut Budget,
) -> Result<Option<(Reals, Option<String>)>, EvalError> {
    let scalar = |value: &Value| match value {
        Value::Scalar(scalar) => Some(scalar.clone()),
        _ => None,
    };
    Ok(match value {
        Value::Reals(reals, variable) => Some((reals.clone(), variable.clone())),
        Value::Tuple(ends) | Value::Bracketed(ends) => {
            let closed = matches!(value, Value::Bracketed(_));
            match ends.as_slice() {
                [low, high] => match (scalar(low), scalar(high)) {
                    (Some(low), Some(high)) if in_order(&low, &high, budget)? => Some((
                        Reals {
                            pieces: vec![Piece {
                                low: Some(low),
                                low_closed: closed,
                                high: Some(high),
                                high_closed: closed,
                            }],
                        },
                        None,
                    )),
                    _ => None,
                },
                _ => None,
            }
        }
        Value::Set(points) => points
            .iter()
            .map(|point| scalar(point).map(Piece::point))
            .collect::<Option<Vec<_>>>()
            .map(|pieces| (Reals { pieces }, None)),
        Value::Inequalities(constraints) => {
            solve(constraints, budget)?.map(|(reals, name)| (reals, Some(name)))
        }
        Value::Equation(equation) if equation.negated => match &*equation.value {
            Value::Scalar(_) if equation.name.is_some() => {
                match complement((*equation.value).clone())? {
                    Value::Reals(reals, _) => Some((reals, equation.name.clone())),
                    _ => None,
                }
            }
            _ => None,
        },
        _ => None,
    })
}

/// Returns a union of sets over an integer.
pub(super) fn family(big: &BigOperator, budget: &mut Budget) -> Result<Value, EvalError> {
    let (name, from, above) = range(big).ok_or(EvalError::Unsupported)?;
    let body = big.body.renamed(name, ANY_INTEGER, budget)?;
    let body = set_operation(&body, budget)?;
    let low = end(from, true, budget)?.map(|low| low.value);
    let high = end(above, false, budget)?.map(|high| high.value);
    Ok(Value::Family(Box::new(body), low, high))
}

/// Returns a set that is usually written in words.
pub(super) fn set_in_words(text: &str) -> Option<Value> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    let words: Vec<&str> = words
        .iter()
        .map(|word| word.trim_matches(['.', ',']))
        .collect();
    match words.as_slice() {
        ["all", "real", "numbers"]
        | ["all", "reals"]
        | ["the", "real", "numbers"]
        | ["any", "real", "number"] => Some(Value::Reals(Reals::all(), None)),
        ["empty", "set"]
        | ["the", "empty", "set"]
        | ["no", "solution" | "solutions"]
        | ["no", "solution" | "solutions", "exist" | "exists"]
        | ["there", "are" | "is", "no", "solution" | "solutions"]
        | ["the", "equation", "has", "no", "solution" | "solutions"] => {
            Some(Value::Set(Vec::new()))
        }
        _ => None,
    }
}

pub(super) fn builder(
    left: &Node,
    condition: &Node,
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    if let Some(reals) = budget.attempt(|budget| real_builder(left, condition, budget))? {
        return Ok(reals);
    }
    // `2k | k ∈ ℤ`.
    if let Some(parameter) = integer_of(condition) {
        let value = scalar(&left.renamed(parameter, ANY_INTEGER, budget)?, None, budget)?;
        return match value.depends_on(ANY_INTEGER) {
            true => Ok(Value::Set(vec![Value::scalar(value)])),
            false => Err(EvalError::Unsupported),
        };
    }
    let name = label(left).ok_or(EvalError::Unsupported)?;
    // `x = 2k, k ∈ ℤ`: the parameter's own name is irrelevant.
    let condition = match &condition.kind {
        Kind::List(items) => match items.split_last() {
            Some((last, rest)) if integer_of(last).is_some() => {
                let kind = match rest {
                    [only] => only.kind.clone(),
                    rest => Kind::List(rest.to_vec()),
                };
                let from = integer_of(last).unwrap_or_default();
                Node::new(kind, condition.span.clone()).renamed(from, ANY_INTEGER, budget)?
            }
            _ => condition.clone(),
        },
        _ => condition.clone(),
    };
    match evaluate(&condition, budget)? {
        Value::Equation(equation)
            if !equation.negated && equation.name.as_deref() == Some(name.as_str()) =>
        {
            Ok(Value::Set(vec![*equation.value]))
        }
        value => Ok(Value::Builder(name, Box::new(value))),
    }
}

pub(super) fn real_builder(
    left: &Node,
    condition: &Node,
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    let mut whole = false;
    let name = match &left.kind {
        Kind::Symbol(name) => name.clone(),
        // `\{x \in \mathbb{R} \mid … \}`.
        Kind::Chain(sides, relations) => match (sides.as_slice(), relations.as_slice()) {
            ([variable, domain], [Relation::In]) => match (&variable.kind, &domain.kind) {
                (Kind::Symbol(name), Kind::Symbol(domain)) if reals_named(domain).is_some() => {
                    name.clone()
                }
                (Kind::Symbol(name), Kind::Symbol(domain)) if domain == "mathbb Z" => {
                    whole = true;
                    name.clone()
                }
                _ => return Err(EvalError::Unsupported),
            },
            _ => return Err(EvalError::Unsupported),
        },
        _ => return Err(EvalError::Unsupported),
    };
    let set = |reals: Reals, budget: &mut Budget| match whole {
        true => integers_in(&reals, budget).map(Value::Set),
        false => Ok(Value::Reals(reals, None)),
    };
    match evaluate(condition, budget)? {
        Value::Inequalities(constraints) => match solve(&constraints, budget)? {
            Some((reals, variable)) if variable == name => set(reals, budget),
            _ => Err(EvalError::Unsupported),
        },
        Value::Reals(reals, Some(variable)) if variable == name => set(reals, budget),
        // `x² = 4`: its solutions.
        Value::Equation(equation) if equation.name.is_none() && !equation.negated => {
            let difference = equation.difference.ok_or(EvalError::Unsupported)?;
            match roots(&difference, budget)? {
                Some((roots, variable)) if variable == name && !whole => {
                    Ok(Value::Set(roots.into_iter().map(Value::scalar).collect()))
                }
                _ => Err(EvalError::Unsupported),
            }
        }
        Value::Equation(equation) if equation.name.as_deref() == Some(name.as_str()) => {
            if equation.negated && !whole {
                return complement(*equation.value);
            }
            if equation.negated || whole {
                return Err(EvalError::Unsupported);
            }
            Ok(Value::Set(vec![*equation.value]))
        }
        _ => Err(EvalError::Unsupported),
    }
}

/// The maximum number of integers of a set that are listed.
const MAX_INTEGERS: i64 = 1000;

/// Returns the integers in a set of reals, if there are few.
fn integers_in(reals: &Reals, budget: &mut Budget) -> Result<Vec<Value>, EvalError> {
    let mut found = Vec::new();
    for piece in &reals.pieces {
        let end = |end: &Option<Scalar>| {
            let end = end.as_ref().and_then(|end| end.value.as_rational());
            end.ok_or(EvalError::Unsupported)
        };
        let (low, high) = (end(&piece.low)?, end(&piece.high)?);
        let excludes = |end: &RBig, closed: bool| i64::from(end.is_int() && !closed);
        let first = i64::try_from(low.ceil()).map_err(|_| EvalError::Unsupported)?;
        let last = i64::try_from(high.floor()).map_err(|_| EvalError::Unsupported)?;
        let first = first.saturating_add(excludes(&low, piece.low_closed));
        let last = last.saturating_sub(excludes(&high, piece.high_closed));
        if last.saturating_sub(first) > MAX_INTEGERS {
            return Err(EvalError::Unsupported);
        }
        for k in first..=last {
            budget.spend(1)?;
            found.push(Value::scalar(Fraction::whole(k)));
        }
    }
    Ok(found)
}

/// Returns the name in `k ∈ ℤ`.
pub(super) fn integer_of(node: &Node) -> Option<&str> {
    let Kind::Chain(sides, relations) = &node.kind else {
        return None;
    };
    match (sides.as_slice(), relations.as_slice()) {
        ([name, domain], [Relation::In]) => match (&name.kind, &domain.kind) {
            (Kind::Symbol(name), Kind::Symbol(domain)) if domain == "mathbb Z" => Some(name),
            _ => None,
        },
        _ => None,
    }
}

/// Returns an endpoint of an interval. An infinite endpoint must be on its own side.
pub(super) fn end(
    node: &Node,
    low: bool,
    budget: &mut Budget,
) -> Result<Option<Scalar>, EvalError> {
    match &node.kind {
        Kind::Infinity if !low => Ok(None),
        Kind::Neg(inner) if low && matches!(inner.kind, Kind::Infinity) => Ok(None),
        _ => Ok(Some(Scalar::read(node, budget)?)),
    }
}

pub(super) fn bracket(
    open: char,
    close: char,
    nodes: &[Node],
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    if nodes.len() == 2 && (open != '⟨') {
        let is_infinite = |node: &Node| match &node.kind {
            Kind::Infinity => true,
            Kind::Neg(inner) => matches!(inner.kind, Kind::Infinity),
            _ => false,
        };
        let mixed = (open == '(') != (close == ')');
        if mixed || nodes.iter().any(is_infinite) {
            let low = end(&nodes[0], true, budget)?;
            let high = end(&nodes[1], false, budget)?;
            if let (Some(low), Some(high)) = (&low, &high)
                && !in_order(low, high, budget)?
            {
                return Err(EvalError::Unsupported);
            }
            // No interval contains infinity.
            if open == '[' && low.is_none() || close == ']' && high.is_none() {
                return Err(EvalError::Unsupported);
            }
            let piece = Piece {
                low_closed: open == '[',
                high_closed: close == ']',
                low,
                high,
            };
            return Ok(Value::Reals(
                Reals {
                    pieces: vec![piece],
                },
                None,
            ));
        }
    }
    let values = items(nodes, budget)?;
    match (open, close) {
        // `[x=1, y=2]`: names identify the values, the brackets only group them.
        ('[', ']') if values.len() > 1 && values.iter().all(is_named) => Ok(Value::List(values)),
        ('[', ']') => Ok(Value::Bracketed(values)),
        ('(', ')') | ('⟨', '⟩') => Ok(Value::Tuple(values)),
        _ => Err(EvalError::Unsupported),
    }
}
