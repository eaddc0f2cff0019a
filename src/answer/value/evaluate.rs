//! From a syntax tree to the value of a whole answer.

use dashu_ratio::RBig;

use super::fraction::Fraction;
use super::matrix::matrix;
use super::number;
use super::number_words::spoken;
use super::reals::{Piece, Reals, in_order};
use super::relation::{chain, clock, label, solve};
use super::scalar::scalar;
use super::signs::alternatives;
use super::units::Unit;
use super::{Equation, Scalar, Value};
use crate::answer::budget::{Budget, Stop};
use crate::answer::latex::{Big, Domain, Kind, Literal, Node, Relation};

/// What an answer means.
///
/// # Errors
///
/// [`Stop::Unknown`] where it is well written but has no value that is known here.
pub(crate) fn evaluate(node: &Node, budget: &mut Budget) -> Result<Value, Stop> {
    budget.enter()?;
    let value = match alternatives(node, budget)? {
        Some((plus, minus)) => Value::List(vec![one(&plus, budget)?, one(&minus, budget)?]),
        None => one(node, budget)?,
    };
    budget.leave();
    Ok(value)
}

/// The value of words and formulas by turns.
pub(crate) fn statement(parts: &[Node], budget: &mut Budget) -> Result<Value, Stop> {
    let mut values = Vec::with_capacity(parts.len());
    for part in parts {
        values.push(match &part.kind {
            Kind::Text(text) => Value::Text(text.clone()),
            _ => evaluate(part, budget)?,
        });
    }
    Ok(Value::Statement(values))
}

/// Cases whose last value stands for all numbers that the conditions before leave (`otherwise`),
/// with that as its condition.
fn complete(mut rows: Vec<Vec<Value>>, budget: &mut Budget) -> Result<Vec<Vec<Value>>, Stop> {
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

/// Sets that are usually said in words.
fn set_in_words(text: &str) -> Option<Value> {
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
        ["empty", "set"] | ["the", "empty", "set"] | ["no", "solution" | "solutions"] => {
            Some(Value::Set(Vec::new()))
        }
        _ => None,
    }
}

/// The values of an item: two where it holds a `±`.
fn items(nodes: &[Node], budget: &mut Budget) -> Result<Vec<Value>, Stop> {
    let mut values = Vec::with_capacity(nodes.len());
    for node in nodes {
        budget.spend(1)?;
        match alternatives(node, budget)? {
            Some((plus, minus)) => {
                values.push(evaluate(&plus, budget)?);
                values.push(evaluate(&minus, budget)?);
            }
            None => values.push(evaluate(node, budget)?),
        }
    }
    Ok(values)
}

fn one(node: &Node, budget: &mut Budget) -> Result<Value, Stop> {
    match &node.kind {
        Kind::Group(inner) => match &inner.kind {
            // Brackets around a list were read as a tuple; around anything else they group.
            Kind::Text(_) => evaluate(inner, budget),
            _ => evaluate(inner, budget),
        },
        Kind::Number(literal) => Ok(Value::Scalar(Scalar {
            value: Fraction::rational(number::literal(literal, budget)?),
            decimal: decimal(literal),
        })),
        Kind::Neg(inner) => match &inner.kind {
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
                            let value = Value::Scalar(Scalar {
                                value: value.value.negate(),
                                ..value
                            });
                            Ok(Value::Quantity(Box::new(value), unit))
                        }
                        Value::Infinite(negative) => Ok(Value::Infinite(!negative)),
                        _ => Err(Stop::Unknown),
                    },
                    Value::Scalar(value) => Ok(Value::Scalar(Scalar {
                        value: value.value.negate(),
                        ..value
                    })),
                    Value::Percent(value) => Ok(Value::Percent(value.negate())),
                    Value::Degrees(value) => Ok(Value::Degrees(value.negate())),
                    _ => Err(Stop::Unknown),
                }
            }
            _ => expression(node, budget),
        },
        Kind::Infinity => Ok(Value::Infinite(false)),
        Kind::Percent(inner) => Ok(Value::Percent(scalar(inner, None, budget)?)),
        Kind::Degree(inner) => Ok(Value::Degrees(scalar(inner, None, budget)?)),
        Kind::Unit(inner, unit) => match leading_quantity(inner, unit, budget)? {
            Some(sum) => Ok(sum),
            None => quantity(inner, unit, budget),
        },
        Kind::Based(digits, base) => Ok(Value::Based(digits.clone(), *base)),
        Kind::Symbol(name) if reals_named(name).is_some() => {
            Ok(Value::Reals(reals_named(name).unwrap_or_default(), None))
        }
        Kind::List(nodes) => list(nodes, budget),
        Kind::Rows(rows) => {
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
        Kind::Bracket(open, close, nodes) => bracket(*open, *close, nodes, budget),
        Kind::Set(nodes) => {
            if nodes.is_empty() {
                return Ok(Value::Set(Vec::new()));
            }
            let values = items(nodes, budget)?;
            // Dots stand for what the order of the others tells.
            if nodes.iter().any(|node| matches!(node.kind, Kind::Ellipsis)) {
                return Ok(Value::Set(vec![Value::Tuple(values)]));
            }
            Ok(Value::Set(values))
        }
        Kind::Builder(left, condition) => builder(left, condition, budget),
        Kind::SetOp(..) => set_operation(node, budget),
        Kind::Chain(sides, relations) => chain(sides, relations, budget),
        Kind::Congruence(left, right, modulus) => {
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
        Kind::Ratio(terms) => {
            if let Some(clock) = clock(terms) {
                return Ok(Value::Clock(clock));
            }
            // `3:30 p.m.`: the words belong to the whole.
            if let [rest @ .., last] = terms.as_slice()
                && let Kind::Unit(inner, unit) = &last.kind
            {
                let mut plain = rest.to_vec();
                plain.push((**inner).clone());
                if let Some(clock) = clock(&plain) {
                    let unit = Unit::read(unit).ok_or(Stop::Unknown)?;
                    return Ok(Value::Quantity(Box::new(Value::Clock(clock)), unit));
                }
            }
            let terms = terms
                .iter()
                .map(|term| scalar(term, None, budget))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Ratio(terms))
        }
        // One statement a row: a system.
        Kind::Cases(rows) if rows.len() > 1 && rows.iter().all(|row| row.len() == 1) => {
            let statements: Vec<Node> = rows.iter().flatten().cloned().collect();
            list(&statements, budget)
        }
        Kind::Cases(rows) => {
            let rows = rows
                .iter()
                .map(|row| items(row, budget))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Value::Cases(complete(rows, budget)?))
        }
        Kind::Text(text) => Ok(spoken(text)
            .or_else(|| set_in_words(text))
            .unwrap_or_else(|| Value::Text(text.clone()))),
        Kind::Ellipsis => Ok(Value::Text("…".into())),
        Kind::ForAll(inner, name, domain) => {
            // The parameter's own name says nothing.
            let stands = match domain {
                Domain::Integers => "any integer",
                Domain::Naturals => "any natural number",
            };
            evaluate(&inner.renamed(name, stands, budget)?, budget)
        }
        Kind::Big(big) if big.operator == "bigcup" => family(big, budget),
        Kind::Add(terms) if terms.iter().any(holds_unit) => quantities(terms, budget),
        Kind::Mul(factors) if matches!(factors[0].kind, Kind::Degree(_)) => {
            match sexagesimal(factors, budget)? {
                Some(degrees) => Ok(Value::Degrees(degrees)),
                None => expression(node, budget),
            }
        }
        // `A(1, 2)`, a point with its name.
        Kind::Mul(factors) if named_point(factors).is_some() => {
            let value = one(&factors[1], budget)?;
            Ok(Value::Equation(Equation {
                name: named_point(factors),
                value: Box::new(value),
                difference: None,
                negated: false,
            }))
        }
        Kind::Mul(factors) => {
            // `18 (girls)`: a word in brackets is a unit.
            if let [rest @ .., last] = factors.as_slice()
                && let Kind::Group(inner) = &last.kind
                && let (Kind::Text(unit), [amount]) = (&inner.kind, rest)
            {
                let value = one(amount, budget)?;
                let unit = Unit::read(unit).ok_or(Stop::Unknown)?;
                return Ok(Value::Quantity(Box::new(value), unit));
            }
            expression(node, budget)
        }
        _ => expression(node, budget),
    }
}

/// A value with a unit behind it.
fn quantity(inner: &Node, unit: &str, budget: &mut Budget) -> Result<Value, Stop> {
    match one(inner, budget)? {
        // `32^\circ \mathrm{F}`.
        Value::Degrees(value) => Ok(Value::Quantity(
            Box::new(Value::scalar(value)),
            Unit::read(&format!("degree-{unit}")).ok_or(Stop::Unknown)?,
        )),
        value @ (Value::Scalar(_)
        | Value::Clock(_)
        | Value::Percent(_)
        | Value::Infinite(_)
        | Value::Quantity(..)) => {
            if let Value::Quantity(value, inner) = value {
                // A currency sign in front and words behind: `$18 per day`.
                let words = unit.trim();
                let mut joined = Unit::read(words).ok_or(Stop::Unknown)?;
                if words.to_lowercase().starts_with("per ") || words.starts_with('/') {
                    for (name, power) in inner.dimensions {
                        *joined.dimensions.entry(name).or_insert(0) += power;
                    }
                    joined.scale *= inner.scale;
                }
                return Ok(Value::Quantity(value, joined));
            }
            let unit = Unit::read(unit).ok_or(Stop::Unknown)?;
            Ok(Value::Quantity(Box::new(value), unit))
        }
        _ => Err(Stop::Unknown),
    }
}

/// `5 feet 3 inches`, read as a product that the last unit is put on.
fn leading_quantity(inner: &Node, unit: &str, budget: &mut Budget) -> Result<Option<Value>, Stop> {
    let Kind::Mul(factors) = &inner.kind else {
        return Ok(None);
    };
    let [first, second] = factors.as_slice() else {
        return Ok(None);
    };
    if !matches!(first.kind, Kind::Unit(..)) || !matches!(second.kind, Kind::Number(_)) {
        return Ok(None);
    }
    let parts = vec![one(first, budget)?, quantity(second, unit, budget)?];
    let sum = compound(&parts, budget)?;
    // `4 ft × 12 ft`: the lengths of two sides, not their product.
    Ok(Some(sum.unwrap_or(Value::List(parts))))
}

/// The capital letter in front of coordinates.
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

/// `5° 30' 36''`, in degrees.
fn sexagesimal(factors: &[Node], budget: &mut Budget) -> Result<Option<Fraction>, Stop> {
    let mut sum = Fraction::whole(0);
    for (index, factor) in factors.iter().enumerate() {
        let (inner, parts) = match &factor.kind {
            Kind::Degree(inner) if index == 0 => (inner, 1),
            Kind::Unit(inner, unit) if unit == "'" && index == 1 => (inner, 60),
            Kind::Unit(inner, unit) if unit == "''" && index > 0 => (inner, 3600),
            _ => return Ok(None),
        };
        let part = scalar(inner, None, budget)?.divide(&Fraction::whole(parts), budget)?;
        sum = sum.add(&part, budget)?;
    }
    Ok((factors.len() > 1).then_some(sum))
}

/// Whether a term has a unit on it.
fn holds_unit(node: &Node) -> bool {
    match &node.kind {
        Kind::Unit(..) => true,
        Kind::Neg(inner) => holds_unit(inner),
        _ => false,
    }
}

/// A sum with units: on every term, or on the last for all.
fn quantities(terms: &[Node], budget: &mut Budget) -> Result<Value, Stop> {
    let Some((last, rest)) = terms.split_last() else {
        return Err(Stop::Unknown);
    };
    if !rest.iter().any(holds_unit) {
        let (plain, unit) = match &last.kind {
            Kind::Unit(inner, unit) => ((**inner).clone(), unit),
            Kind::Neg(negative) => match &negative.kind {
                Kind::Unit(inner, unit) => {
                    let kind = Kind::Neg(inner.clone());
                    (Node::new(kind, last.span.clone()), unit)
                }
                _ => return Err(Stop::Unknown),
            },
            _ => return Err(Stop::Unknown),
        };
        let mut terms = rest.to_vec();
        let span = terms.first().map_or(0, |term| term.span.start)..plain.span.end;
        terms.push(plain);
        return quantity(&Node::new(Kind::Add(terms), span), unit, budget);
    }
    let mut total: Option<(Fraction, Unit)> = None;
    for term in terms {
        let Value::Quantity(value, unit) = one(term, budget)? else {
            return Err(Stop::Unknown);
        };
        let Value::Scalar(value) = *value else {
            return Err(Stop::Unknown);
        };
        total = Some(match total {
            None => (value.value, unit),
            Some((sum, first)) => {
                let ratio = unit.ratio(&first).ok_or(Stop::Unknown)?;
                let value = value.value.multiply(&Fraction::rational(ratio), budget)?;
                (sum.add(&value, budget)?, first)
            }
        });
    }
    let (sum, unit) = total.ok_or(Stop::Unknown)?;
    Ok(Value::Quantity(Box::new(Value::scalar(sum)), unit))
}

/// Quantities in falling units of one kind, as one: `2 hours 30 minutes`.
fn compound(parts: &[Value], budget: &mut Budget) -> Result<Option<Value>, Stop> {
    let mut total: Option<(Fraction, Unit, Unit)> = None;
    for part in parts {
        let Value::Quantity(value, unit) = part else {
            return Ok(None);
        };
        let Value::Scalar(value) = &**value else {
            return Ok(None);
        };
        let Some(amount) = value.value.as_rational() else {
            return Ok(None);
        };
        total = Some(match total {
            None => (value.value.clone(), unit.clone(), unit.clone()),
            Some((sum, first, last)) => {
                // Each part is less than one of the part before.
                let (Some(step), Some(ratio)) = (unit.ratio(&last), unit.ratio(&first)) else {
                    return Ok(None);
                };
                let share = &step * &amount;
                if step >= RBig::ONE || share >= RBig::ONE || number::is_negative(&amount) {
                    return Ok(None);
                }
                let value = value.value.multiply(&Fraction::rational(ratio), budget)?;
                (sum.add(&value, budget)?, first, unit.clone())
            }
        });
    }
    Ok(total.map(|(sum, unit, _)| Value::Quantity(Box::new(Value::scalar(sum)), unit)))
}

/// A union of sets over a whole number.
fn family(big: &Big, budget: &mut Budget) -> Result<Value, Stop> {
    let below = big.below.as_ref().ok_or(Stop::Unknown)?;
    let above = big.above.as_ref().ok_or(Stop::Unknown)?;
    let Kind::Chain(sides, relations) = &below.kind else {
        return Err(Stop::Unknown);
    };
    let ([index, from], [Relation::Equal]) = (sides.as_slice(), relations.as_slice()) else {
        return Err(Stop::Unknown);
    };
    let Kind::Symbol(name) = &index.kind else {
        return Err(Stop::Unknown);
    };
    let body = big.body.renamed(name, "any integer", budget)?;
    let body = set_operation(&body, budget)?;
    let low = end(from, true, budget)?;
    let high = end(above, false, budget)?;
    Ok(Value::Family(Box::new(body), low, high))
}

fn expression(node: &Node, budget: &mut Budget) -> Result<Value, Stop> {
    if let Some(rows) = matrix(node, budget)? {
        return Ok(Value::Matrix(rows));
    }
    Ok(Value::scalar(scalar(node, None, budget)?))
}

/// Significant digits of a literal with a fractional part.
fn decimal(literal: &Literal) -> Option<usize> {
    let is_decimal = !literal.fraction.is_empty() && literal.repeat.is_empty();
    is_decimal.then(|| literal.significant_digits())
}

fn reals_named(name: &str) -> Option<Reals> {
    (name == "mathbb R" || name == "Reals").then(Reals::all)
}

/// Items between commas: a name before the first belongs to those that have none.
fn list(nodes: &[Node], budget: &mut Budget) -> Result<Value, Stop> {
    let mut values = items(nodes, budget)?;
    let mut name = None;
    for value in &mut values {
        match value {
            Value::Equation(equation) => name = equation.name.clone(),
            Value::List(inner) => {
                // A `±` behind a name: both have it.
                if let Some(Value::Equation(equation)) = inner.last() {
                    name = equation.name.clone();
                }
            }
            Value::Scalar(_) if name.is_some() => {
                let inner = std::mem::replace(value, Value::Set(Vec::new()));
                *value = Value::Equation(Equation {
                    name: name.clone(),
                    value: Box::new(inner),
                    difference: None,
                    negated: false,
                });
            }
            _ => name = None,
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
    if let Some(value) = conditions(&flat, budget)? {
        return Ok(value);
    }
    // Dots among the items: the order tells what they stand for.
    if nodes.iter().any(|node| matches!(node.kind, Kind::Ellipsis)) {
        return Ok(Value::Tuple(flat));
    }
    Ok(Value::List(flat))
}

/// Conditions on one variable between commas, `and` or `or`: `x < 1 or x > 2` is a union,
/// `x > 1, x < 2` and `x \ge 0, x \ne 1` hold both at once. Which one is meant shows in whether
/// they overlap: only a union without overlap is sure.
fn conditions(values: &[Value], budget: &mut Budget) -> Result<Option<Value>, Stop> {
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
            // Constraints on several variables are kept as they are, in any order.
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

fn disjoint(pieces: &[Piece], budget: &mut Budget) -> Result<bool, Stop> {
    for (index, piece) in pieces.iter().enumerate() {
        for other in &pieces[index + 1..] {
            let left = Reals {
                pieces: vec![piece.clone()],
            };
            let right = Reals {
                pieces: vec![other.clone()],
            };
            match left.intersect(&right, budget) {
                Ok(common) if common.pieces.is_empty() => {}
                Ok(_) | Err(Stop::Unknown) => return Ok(false),
                Err(stop) => return Err(stop),
            }
        }
    }
    Ok(true)
}

/// A value without the name that it was given.
pub(crate) fn bare(value: Value) -> Value {
    match value {
        Value::Equation(equation) if equation.name.is_some() && !equation.negated => {
            *equation.value
        }
        value => value,
    }
}

fn bracket(open: char, close: char, nodes: &[Node], budget: &mut Budget) -> Result<Value, Stop> {
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
                return Err(Stop::Unknown);
            }
            let piece = Piece {
                low_closed: open == '[' && low.is_some(),
                high_closed: close == ']' && high.is_some(),
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
        // `[x=1, y=2]`: names tell the values apart, the brackets only hold them.
        ('[', ']') if values.len() > 1 && values.iter().all(is_named) => Ok(Value::List(values)),
        ('[', ']') => Ok(Value::Square(values)),
        ('(', ')') | ('⟨', '⟩') => Ok(Value::Tuple(values)),
        _ => Err(Stop::Unknown),
    }
}

fn is_named(value: &Value) -> bool {
    matches!(value, Value::Equation(equation) if equation.name.is_some() && !equation.negated)
}

/// The end of an interval; infinite ends must lie on their own side.
fn end(node: &Node, low: bool, budget: &mut Budget) -> Result<Option<Fraction>, Stop> {
    match &node.kind {
        Kind::Infinity if !low => Ok(None),
        Kind::Neg(inner) if low && matches!(inner.kind, Kind::Infinity) => Ok(None),
        _ => Ok(Some(scalar(node, None, budget)?)),
    }
}

fn builder(left: &Node, condition: &Node, budget: &mut Budget) -> Result<Value, Stop> {
    if let Some(reals) = budget.attempt(|budget| real_builder(left, condition, budget))? {
        return Ok(reals);
    }
    let name = label(left).ok_or(Stop::Unknown)?;
    // `x = 2k, k ∈ ℤ`: the parameter's own name says nothing.
    let condition = match &condition.kind {
        Kind::List(items) => match items.split_last() {
            Some((last, rest)) if integer_of(last).is_some() => {
                let kind = match rest {
                    [only] => only.kind.clone(),
                    rest => Kind::List(rest.to_vec()),
                };
                let from = integer_of(last).unwrap_or_default();
                Node::new(kind, condition.span.clone()).renamed(from, "any integer", budget)?
            }
            _ => condition.clone(),
        },
        _ => condition.clone(),
    };
    let value = evaluate(&condition, budget)?;
    Ok(Value::Builder(name, Box::new(value)))
}

/// The name in `k ∈ ℤ`.
fn integer_of(node: &Node) -> Option<&str> {
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

fn real_builder(left: &Node, condition: &Node, budget: &mut Budget) -> Result<Value, Stop> {
    let name = match &left.kind {
        Kind::Symbol(name) => name.clone(),
        // `\{x \in \mathbb{R} \mid … \}`.
        Kind::Chain(sides, relations) => match (sides.as_slice(), relations.as_slice()) {
            ([variable, domain], [Relation::In]) => match (&variable.kind, &domain.kind) {
                (Kind::Symbol(name), Kind::Symbol(domain)) if reals_named(domain).is_some() => {
                    name.clone()
                }
                _ => return Err(Stop::Unknown),
            },
            _ => return Err(Stop::Unknown),
        },
        _ => return Err(Stop::Unknown),
    };
    match evaluate(condition, budget)? {
        Value::Inequalities(constraints) => match solve(&constraints, budget)? {
            Some((reals, variable)) if variable == name => Ok(Value::Reals(reals, None)),
            _ => Err(Stop::Unknown),
        },
        Value::Reals(reals, Some(variable)) if variable == name => Ok(Value::Reals(reals, None)),
        Value::Equation(equation) if equation.name.as_deref() == Some(name.as_str()) => {
            if equation.negated {
                return complement(*equation.value);
            }
            Ok(Value::Set(vec![*equation.value]))
        }
        _ => Err(Stop::Unknown),
    }
}

/// All real numbers but one.
fn complement(value: Value) -> Result<Value, Stop> {
    match value {
        Value::Scalar(scalar) => {
            let point = Some(scalar.value);
            let piece = |low: Option<Fraction>, high: Option<Fraction>| Piece {
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
        _ => Err(Stop::Unknown),
    }
}

fn set_operation(node: &Node, budget: &mut Budget) -> Result<Value, Stop> {
    let (operator, left, right) = match &node.kind {
        Kind::SetOp(operator, left, right) => (operator, left, right),
        // Braces around one number: no set is meant by round brackets here either.
        Kind::Group(inner) if matches!(inner.kind, Kind::Number(_) | Kind::Neg(_)) => {
            return Ok(Value::Set(vec![evaluate(inner, budget)?]));
        }
        Kind::Group(inner) => {
            budget.enter()?;
            let value = set_operation(inner, budget)?;
            budget.leave();
            return Ok(value);
        }
        _ => return evaluate(node, budget),
    };
    budget.enter()?;
    let left = set_operation(left, budget)?;
    let right = set_operation(right, budget)?;
    budget.leave();
    if let (Value::Set(a), Value::Set(b)) = (&left, &right) {
        return finite(*operator, a, b, budget);
    }
    let mut variable = None;
    let mut sides = Vec::new();
    for side in [left, right] {
        let (reals, name) = as_reals(&side, budget)?.ok_or(Stop::Unknown)?;
        variable = variable.or(name);
        sides.push(reals);
    }
    let (Some(right), Some(mut left)) = (sides.pop(), sides.pop()) else {
        return Err(Stop::Unknown);
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

fn finite(
    operator: char,
    left: &[Value],
    right: &[Value],
    budget: &mut Budget,
) -> Result<Value, Stop> {
    let contains = |set: &[Value], value: &Value, budget: &mut Budget| -> Result<bool, Stop> {
        for other in set {
            match (other, value) {
                (Value::Scalar(a), Value::Scalar(b)) => {
                    if a.value.same(&b.value, budget)? {
                        return Ok(true);
                    }
                }
                _ => return Err(Stop::Unknown),
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

/// A value as a set of real numbers, with the variable that it was stated for, where it is one.
pub(crate) fn as_reals(
    value: &Value,
    budget: &mut Budget,
) -> Result<Option<(Reals, Option<String>)>, Stop> {
    let scalar = |value: &Value| match value {
        Value::Scalar(scalar) => Some(scalar.value.clone()),
        _ => None,
    };
    Ok(match value {
        Value::Reals(reals, variable) => Some((reals.clone(), variable.clone())),
        Value::Tuple(ends) | Value::Square(ends) => {
            let closed = matches!(value, Value::Square(_));
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
