//! Lists of conditions, joined by `or`, by commas or by `and`.

use super::evaluate::items;
use super::reals::{Piece, Reals};
use super::sets::as_reals;
use super::{Equation, Value};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{Kind, Node};

/// Evaluates alternatives. Each is a single statement, or a list that holds as a whole.
///
/// Conditions on one variable become the union of their solutions. Equations for one unknown become the list of
/// its values. Equations for the same several unknowns become the list of solutions, as tuples in the order of
/// the names. Everything else remains a list of alternatives.
pub(super) fn one_of(parts: &[Node], budget: &mut Budget) -> Result<Value, EvalError> {
    let mut groups = Vec::with_capacity(parts.len());
    for part in parts {
        groups.push(match &part.kind {
            Kind::List(nodes) => items(nodes, budget)?,
            _ => items(std::slice::from_ref(part), budget)?,
        });
    }
    if let Some(solutions) = solutions(&groups) {
        return Ok(Value::List(solutions));
    }
    let mut values = Vec::with_capacity(groups.len());
    for group in groups {
        if group.len() > 1
            && let Some(value) = all_of(&group, budget)?
        {
            values.push(value);
            continue;
        }
        // `x = 1, x = 2 or x = 3`: the commas mean `or`. Between different unknowns, they could mean either.
        if group.len() > 1 && only_name(&group).is_none() {
            return Err(EvalError::Unsupported);
        }
        for value in group {
            match value {
                Value::List(inner) => values.extend(inner),
                value => values.push(value),
            }
        }
    }
    if only_name(&values).is_some() {
        return Ok(Value::List(values));
    }
    match union(&values, budget)? {
        Some(union) => Ok(union),
        None => Ok(Value::AnyOf(values)),
    }
}

/// Returns the name, if all values are equations for the same name.
fn only_name(values: &[Value]) -> Option<&str> {
    let mut only = None;
    for value in values {
        let Value::Equation(Equation {
            name: Some(name),
            negated: false,
            ..
        }) = value
        else {
            return None;
        };
        if *only.get_or_insert(name.as_str()) != name.as_str() {
            return None;
        }
    }
    only
}

/// Returns solutions for the same unknowns as tuples: `x = 1, y = 2 or x = 3, y = 4`.
pub(super) fn solutions(groups: &[Vec<Value>]) -> Option<Vec<Value>> {
    let mut names: Option<Vec<String>> = None;
    let mut tuples = Vec::with_capacity(groups.len());
    for group in groups {
        let mut pairs = Vec::with_capacity(group.len());
        for value in group {
            match value {
                Value::Equation(Equation {
                    name: Some(name),
                    value,
                    negated: false,
                    ..
                }) => pairs.push((name.clone(), (**value).clone())),
                _ => return None,
            }
        }
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        let (own, values): (Vec<String>, Vec<Value>) = pairs.into_iter().unzip();
        let distinct = own.windows(2).all(|pair| pair[0] != pair[1]);
        if own.len() < 2 || !distinct || names.as_ref().is_some_and(|names| *names != own) {
            return None;
        }
        tuples.push(Value::Equation(Equation {
            name: Some(format!("({})", own.join(","))),
            value: Box::new(Value::Tuple(values)),
            difference: None,
            negated: false,
        }));
        names = Some(own);
    }
    Some(tuples)
}

/// Returns the union of conditions on one variable. An equation contributes one number.
fn union(values: &[Value], budget: &mut Budget) -> Result<Option<Value>, EvalError> {
    let mut pieces = Vec::new();
    let mut variable: Option<String> = None;
    for value in values {
        let (reals, name) = match value {
            Value::Equation(Equation {
                name: Some(name),
                value,
                negated: false,
                ..
            }) => match &**value {
                Value::Scalar(scalar) => {
                    let point = Piece::point(scalar.clone());
                    (
                        Reals {
                            pieces: vec![point],
                        },
                        name.clone(),
                    )
                }
                _ => return Ok(None),
            },
            value => match as_reals(value, budget)? {
                Some((reals, Some(name))) => (reals, name),
                _ => return Ok(None),
            },
        };
        if variable.as_ref().is_some_and(|known| *known != name) {
            return Ok(None);
        }
        variable = Some(name);
        pieces.extend(reals.pieces);
    }
    Ok(Some(Value::Reals(Reals { pieces }, variable)))
}

/// Combines conditions on one variable joined by commas or `and`. In `x > 1, x < 2` and `x \ge 0, x \ne 1` both
/// conditions hold; `x < 1, x > 2` are the parts of a union. The meaning is determined by whether they overlap.
pub(super) fn all_of(values: &[Value], budget: &mut Budget) -> Result<Option<Value>, EvalError> {
    if values.len() < 2 {
        return Ok(None);
    }
    let mut sets = Vec::new();
    let mut variable: Option<String> = None;
    let mut constraints = Some(Vec::new());
    for value in values {
        match value {
            Value::Inequalities(inner) => {
                if let Some(all) = &mut constraints {
                    all.extend(inner.iter().cloned());
                }
            }
            Value::Reals(_, Some(_)) => constraints = None,
            Value::Equation(equation) if equation.negated => constraints = None,
            _ => return Ok(None),
        }
        match as_reals(value, budget)? {
            Some((reals, Some(name))) if variable.as_ref().is_none_or(|v| *v == name) => {
                sets.push(reals);
                variable = Some(name);
            }
            // Constraints on several variables remain a list, in any order.
            _ => return Ok(None),
        }
    }
    let pieces: Vec<Piece> = sets.iter().flat_map(|set| set.pieces.clone()).collect();
    if disjoint(&pieces, budget)? {
        return Ok(Some(Value::Reals(Reals { pieces }, variable)));
    }
    if let Some(constraints) = constraints {
        return Ok(Some(Value::Inequalities(constraints)));
    }
    let common = budget.attempt(|budget| {
        let mut common = Reals::all();
        for set in &sets {
            common = common.intersect(set, budget)?;
        }
        Ok(common)
    })?;
    Ok(common.map(|common| Value::Reals(common, variable)))
}

pub(super) fn disjoint(pieces: &[Piece], budget: &mut Budget) -> Result<bool, EvalError> {
    for (index, piece) in pieces.iter().enumerate() {
        for other in &pieces[index + 1..] {
            budget.spend(1)?;
            let left = Reals {
                pieces: vec![piece.clone()],
            };
            let right = Reals {
                pieces: vec![other.clone()],
            };
            match left.intersect(&right, budget) {
                Ok(common) if common.pieces.is_empty() => {}
                Ok(_) | Err(EvalError::Unsupported) => return Ok(false),
                Err(stop) => return Err(stop),
            }
        }
    }
    Ok(true)
}
