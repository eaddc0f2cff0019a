//! Chains of equalities and inequalities: named values, equations, constraints, and the sets of numbers that
//! satisfy constraints.

use std::collections::BTreeSet;

use smol_str::SmolStr;

use super::conditions::all_of;
use super::evaluate::evaluate;
use super::fraction::Fraction;
use super::functions::sign;
use super::matrix::{Rows, add, matrix, scale};
use super::modifiers;
use super::number;
use super::poly::{Atom, Poly};
use super::quadratic;
use super::reals::{Piece, Reals};
use super::scalar::scalar;
use super::sets::as_reals;
use super::written::Scalar;
use super::{Equation, Value};
use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{Kind, Node, Relation, print};
use crate::answer::numeric::{self, Numeric};

/// Returns the set of numbers that satisfy constraints on one variable, and the name of the variable. Each
/// constraint must be linear in it, quadratic, or linear in its absolute value.
pub(super) fn solve(
    constraints: &[(Scalar, bool)],
    budget: &mut Budget,
) -> Result<Option<(Reals, String)>, EvalError> {
    if constraints.is_empty() {
        return Ok(None);
    }
    let mut whole = Reals::all();
    let mut variable: Option<String> = None;
    for (constraint, may_be_zero) in constraints {
        budget.spend(1)?;
        let expression = &constraint.value;
        if !expression.denominator_is_one() {
            return Ok(None);
        }
        if let Some((reals, name)) = quadratic::above_zero(expression, *may_be_zero, budget)? {
            if variable.as_ref().is_some_and(|variable| *variable != name) {
                return Ok(None);
            }
            variable = Some(name);
            whole = whole.intersect(&reals, budget)?;
            continue;
        }
        // slope · name + rest. The rest contains no variable.
        let mut slope = None;
        let mut rest = Poly::default();
        for (monomial, coefficient) in &expression.numerator.0 {
            let term = Poly::term(monomial.clone(), coefficient.clone());
            let mut inside = BTreeSet::new();
            term.symbols(&mut inside);
            let label = match monomial.as_slice() {
                [(Atom::Symbol(name), one)] if one.is_one() && name != "π" => {
                    Some(name.to_string())
                }
                [(Atom::Call(name, arguments), one)] if one.is_one() => match name.as_str() {
                    "f" | "g" | "F" | "G" | "W" => arguments.first().and_then(called(name)),
                    _ => None,
                },
                _ => None,
            };
            match label {
                Some(name) if slope.is_none() && variable.as_ref().is_none_or(|v| *v == name) => {
                    slope = Some(coefficient.clone());
                    variable = Some(name);
                }
                _ if inside.is_empty() => rest = rest.add(&term, budget)?,
                _ => return Ok(None),
            }
        }
        let Some(slope) = slope else {
            return Ok(None);
        };
        let rising = !number::is_negative(&slope);
        let bound = Fraction::from(rest)
            .negate()
            .divide(&Fraction::rational(slope.clone()), budget)?;
        let bound = constraint.zero(bound, &slope);
        let mut piece = Piece {
            low: None,
            low_closed: false,
            high: None,
            high_closed: false,
        };
        if rising {
            piece.low = Some(bound);
            piece.low_closed = *may_be_zero;
        } else {
            piece.high = Some(bound);
            piece.high_closed = *may_be_zero;
        }
        let piece = Reals {
            pieces: vec![piece],
        };
        whole = whole.intersect(&piece, budget)?;
    }
    Ok(variable.map(|name| (whole, name)))
}

/// Returns a function that gives the label `f(x)` of an argument that is a variable.
pub(super) fn called(name: &str) -> impl Fn(&Fraction) -> Option<String> {
    move |argument| {
        let (monomial, one) = argument.numerator.as_term()?;
        match monomial.as_slice() {
            [(Atom::Symbol(inner), power)] if one.is_one() && power.is_one() => {
                Some(format!("{name}({inner})"))
            }
            _ => None,
        }
    }
}

pub(super) fn chain(
    sides: &[Node],
    relations: &[Relation],
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    use Relation::{Approximately, Equal, In, NotEqual};
    let (Some(first), Some(last)) = (sides.first(), sides.last()) else {
        return Err(EvalError::Unsupported);
    };
    if relations.iter().all(|r| matches!(r, Equal | Approximately)) {
        if let Some(values) = several_names(sides, budget)? {
            return Ok(values);
        }
        if relations.len() > 1
            && let Some(system) = system(sides, budget)?
        {
            return Ok(system);
        }
        return equation(first, last, sides, relations, budget);
    }
    match (relations, sides) {
        ([Relation::Other("iff")], [left, right]) => said_twice(left, right, budget),
        ([Relation::Other(name)], [left, right]) => known_by_name(name, left, right, budget),
        ([In], [left, right]) => member(left, right, budget),
        ([NotEqual], [left, right]) => unequal(left, right, budget),
        ([NotEqual, ..] | [In, ..], _) => Err(EvalError::Unsupported),
        _ => constraints(sides, relations, budget),
    }
}

/// Evaluates `f(1) = f(2) = 5`: a list of all names with the value. Returns `None` if there are fewer than two
/// names.
fn several_names(sides: &[Node], budget: &mut Budget) -> Result<Option<Value>, EvalError> {
    let Some((last, rest)) = sides.split_last().filter(|(_, rest)| rest.len() > 1) else {
        return Ok(None);
    };
    let is_expression = budget.attempt(|budget| side(last, budget))?.is_some();
    let mut names: Vec<String> = Vec::new();
    for side in rest {
        budget.spend(1 + names.len())?;
        let named = match (&side.kind, label(side)) {
            // `y = f(x) = …` has two names for one value, and plain letters form a system.
            (Kind::Symbol(_), _) if is_expression => return Ok(None),
            (_, Some(name)) => Some(name),
            (_, None) => event(side, budget)?,
        };
        if let Some(name) = named.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    if names.len() < 2 {
        return Ok(None);
    }
    let value = evaluate(last, budget)?;
    let equation = |name| {
        Value::Equation(Equation {
            name: Some(name),
            value: Box::new(value.clone()),
            difference: None,
            negated: false,
        })
    };
    Ok(Some(Value::List(names.into_iter().map(equation).collect())))
}

/// Evaluates a restatement. It has a value if both sides agree.
#[inline(never)]
fn said_twice(left: &Node, right: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    let (left, right) = (evaluate(left, budget)?, evaluate(right, budget)?);
    match (as_reals(&left, budget)?, as_reals(&right, budget)?) {
        (Some((a, _)), Some((b, _))) if a.same(&b, budget)? => Ok(left),
        _ => Err(EvalError::Unsupported),
    }
}

/// Evaluates `A \subset B`, `a \perp b`: relations known only by name. The order of the sides is kept where it
/// matters.
#[inline(never)]
fn known_by_name(
    name: &'static str,
    left: &Node,
    right: &Node,
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    let mut sides = vec![scalar(left, None, budget)?, scalar(right, None, budget)?];
    if matches!(
        name,
        "parallel" | "perp" | "sim" | "cong" | "asymp" | "nparallel"
    ) {
        sides.sort();
    }
    let atom = Atom::Call(SmolStr::new_static(name), sides);
    Ok(Value::scalar(Fraction::atom(atom)))
}

/// Evaluates `x \in A`.
#[inline(never)]
fn member(left: &Node, right: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    let name = label(left).ok_or(EvalError::Unsupported)?;
    let value = evaluate(right, budget)?;
    match as_reals(&value, budget)? {
        Some((reals, _)) => Ok(Value::Reals(reals, Some(name))),
        None => Err(EvalError::Unsupported),
    }
}

/// Evaluates `a \ne b`.
#[inline(never)]
fn unequal(left: &Node, right: &Node, budget: &mut Budget) -> Result<Value, EvalError> {
    let value = evaluate(right, budget)?;
    // `x \ne \pm 2`: unequal to both.
    if let (Some(name), Value::List(values)) = (label(left), &value) {
        let each: Vec<Value> = values
            .iter()
            .map(|value| {
                Value::Equation(Equation {
                    name: Some(name.clone()),
                    value: Box::new(value.clone()),
                    difference: None,
                    negated: true,
                })
            })
            .collect();
        return all_of(&each, budget)?.ok_or(EvalError::Unsupported);
    }
    let difference = match (scalar(left, None, budget), scalar(right, None, budget)) {
        (Ok(left), Ok(right)) => Some(left.subtract(&right, budget)?),
        (Err(EvalError::LimitExceeded), _) | (_, Err(EvalError::LimitExceeded)) => {
            return Err(EvalError::LimitExceeded);
        }
        _ => None,
    };
    Ok(Value::Equation(Equation {
        name: label(left),
        value: Box::new(value),
        difference,
        negated: true,
    }))
}

/// Evaluates inequalities between adjacent sides of a chain.
#[inline(never)]
fn constraints(
    sides: &[Node],
    relations: &[Relation],
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    use Relation::{Greater, GreaterEqual, Less, LessEqual};
    let mut constraints = Vec::new();
    for (pair, relation) in sides.windows(2).zip(relations) {
        let [left, right] = pair else {
            return Err(EvalError::Unsupported);
        };
        let infinite = |node: &Node| match &node.kind {
            Kind::Infinity => true,
            Kind::Neg(inner) => matches!(inner.kind, Kind::Infinity),
            _ => false,
        };
        // `-∞ < x` is always true.
        if infinite(left) || infinite(right) {
            let negative_left = matches!(left.kind, Kind::Neg(_));
            let negative_right = matches!(right.kind, Kind::Neg(_));
            let says_nothing = match relation {
                Less | LessEqual => {
                    infinite(left) && negative_left || infinite(right) && !negative_right
                }
                Greater | GreaterEqual => {
                    infinite(left) && !negative_left || infinite(right) && negative_right
                }
                _ => false,
            };
            if says_nothing {
                continue;
            }
            return Err(EvalError::Unsupported);
        }
        let (left, right) = (Scalar::read(left, budget)?, Scalar::read(right, budget)?);
        let (big, small) = match relation {
            Less | LessEqual => (right, left),
            Greater | GreaterEqual => (left, right),
            _ => return Err(EvalError::Unsupported),
        };
        let may_be_zero = matches!(relation, LessEqual | GreaterEqual);
        constraints.push((big.subtract(&small, budget)?, may_be_zero));
    }
    if constraints.is_empty() {
        return Err(EvalError::Unsupported);
    }
    Ok(Value::Inequalities(constraints))
}

/// Evaluates `x = y = 3`, `(x-1)/2 = y/3 = z`: the sides certainly differ as expressions, so each equals sign is an
/// equation. Returns `None` if they may be the same value in different notations.
fn system(sides: &[Node], budget: &mut Budget) -> Result<Option<Value>, EvalError> {
    let mut values = Vec::with_capacity(sides.len());
    for node in sides {
        match budget.attempt(|budget| side(node, budget))? {
            Some(value) => values.push(value),
            None => return Ok(None),
        }
    }
    let is_named = label(&sides[0]).is_some();
    let mut differs = false;
    for (nodes, pair) in sides.windows(2).zip(values.windows(2)) {
        // After a name, the sides are the steps of evaluating it; only another name is another unknown.
        let variables = match is_named {
            true => label(&nodes[0]).is_some() && label(&nodes[1]).is_some(),
            false => !pair[0].is_constant() || !pair[1].is_constant(),
        };
        differs |= variables
            && !pair[0].same(&pair[1], budget)?
            && numeric::compare(&pair[0], &pair[1], budget)? == Numeric::Different;
    }
    if !differs {
        return Ok(None);
    }
    let mut equations = Vec::with_capacity(sides.len() - 1);
    for (node, left) in sides.iter().zip(&values).take(sides.len() - 1) {
        // Each side is compared with the last one.
        let right = &values[values.len() - 1];
        equations.push(Value::Equation(Equation {
            name: label(node),
            value: Box::new(Value::scalar(right.clone())),
            difference: Some(left.subtract(right, budget)?),
            negated: false,
        }));
    }
    Ok(Some(Value::List(equations)))
}

pub(super) fn equation(
    first: &Node,
    last: &Node,
    sides: &[Node],
    relations: &[Relation],
    budget: &mut Budget,
) -> Result<Value, EvalError> {
    let approximate = relations.contains(&Relation::Approximately);
    let mut name = label(first);
    let mut shown = last;
    if sides.len() == 2
        && name.is_none()
        && let Some(swapped) = label(last)
    {
        // `5 = x`.
        if label(first).is_none() && !approximate {
            name = Some(swapped);
            shown = first;
        }
    }
    if name.is_none() {
        name = event(first, budget)?;
    }
    let value = evaluate(shown, budget)?;
    let mut difference = None;
    if sides.len() == 2 && (!approximate || name.is_none()) {
        let left = budget.attempt(|budget| side(first, budget))?;
        let right = budget.attempt(|budget| side(last, budget))?;
        if let (Some(left), Some(right)) = (left, right) {
            difference = Some(left.subtract(&right, budget)?);
        }
    }
    if name.is_none()
        && let Value::Matrix(rows) = &value
    {
        name = matrix_label(first);
        let computed = match name.is_some() {
            true => None,
            false => budget.attempt(|budget| matrix(first, budget))?.flatten(),
        };
        if let Some(computed) = computed {
            // The result of a matrix computation, if it is correct.
            let difference = add(
                &computed,
                &scale(&values_of(rows), &Fraction::whole(-1), budget)?,
                budget,
            )?;
            let holds = difference.iter().flatten().all(Fraction::is_zero);
            return if holds {
                Ok(value)
            } else {
                Err(EvalError::Unsupported)
            };
        }
    }
    if name.is_none() {
        // `x/x = 1` is a statement about x, although x cancels.
        let constant = |node: &Node, budget: &mut Budget| -> Result<bool, EvalError> {
            Ok(!holds_variable(node, budget)?
                && scalar(node, None, budget).is_ok_and(|value| value.is_constant()))
        };
        // A statement about a chain's first side also holds for its last one.
        let is_chain = match (sides.len() > 2, approximate) {
            (_, true) => constant(first, budget)? || is_closed(first),
            (true, false) => {
                is_closed(first)
                    || budget.attempt(|budget| side(first, budget))?.is_some()
                    || budget
                        .attempt(|budget| matrix(first, budget))?
                        .flatten()
                        .is_some()
            }
            (false, false) => false,
        };
        // `3 + 4 = 7` has the value of its last side, unless it is certainly wrong.
        let wrong = match &difference {
            Some(difference) if !approximate => {
                matches!(sign(difference, budget)?, Some(-1 | 1))
            }
            _ => false,
        };
        if is_chain || !wrong && constant(first, budget)? && constant(last, budget)? {
            return Ok(value);
        }
        // A product of vectors that is not computed here, and its result.
        if difference.is_none() && is_closed(first) {
            return Ok(value);
        }
        if difference.is_none() {
            return Err(EvalError::Unsupported);
        }
    }
    if let Value::List(values) = value {
        // `x = 1 ± √2`: the name applies to both values.
        return Ok(Value::List(
            values
                .into_iter()
                .map(|value| {
                    Value::Equation(Equation {
                        name: name.clone(),
                        value: Box::new(value),
                        difference: None,
                        negated: false,
                    })
                })
                .collect(),
        ));
    }
    Ok(Value::Equation(Equation {
        name,
        value: Box::new(value),
        difference,
        negated: false,
    }))
}

/// Returns the entries of a matrix without their written precision.
fn values_of(rows: &[Vec<Scalar>]) -> Rows {
    let row = |row: &Vec<Scalar>| row.iter().map(|entry| entry.value.clone()).collect();
    rows.iter().map(row).collect()
}

/// Returns whether a tree contains the name of a variable.
fn holds_variable(node: &Node, budget: &mut Budget) -> Result<bool, EvalError> {
    let mut copy = node.clone();
    let mut open = vec![&mut copy];
    while let Some(next) = open.pop() {
        budget.spend(1)?;
        if let Kind::Symbol(name) = &next.kind
            && !matches!(name.as_str(), "π" | "e" | "i")
        {
            return Ok(true);
        }
        open.extend(next.children_mut());
    }
    Ok(false)
}

/// Returns whether an expression contains only numbers and matrices of numbers.
fn is_closed(node: &Node) -> bool {
    match &node.kind {
        Kind::Number(_) => true,
        Kind::Matrix(rows) => rows.iter().flatten().all(is_closed),
        Kind::Group(inner) | Kind::Neg(inner) => is_closed(inner),
        Kind::Add(items) | Kind::Mul(items) | Kind::Call(_, items) => items.iter().all(is_closed),
        Kind::Div(a, b) | Kind::Pow(a, b) | Kind::Root(a, b) => is_closed(a) && is_closed(b),
        _ => false,
    }
}

/// Returns a side of an equation as one expression. A ratio of two terms is their quotient.
fn side(node: &Node, budget: &mut Budget) -> Result<Fraction, EvalError> {
    match &node.kind {
        Kind::Ratio(terms) => match terms.as_slice() {
            [top, bottom] => {
                let (top, bottom) = (scalar(top, None, budget)?, scalar(bottom, None, budget)?);
                top.divide(&bottom, budget)
            }
            _ => Err(EvalError::Unsupported),
        },
        // `y(2) = 6` is a statement about a value of y.
        Kind::Mul(_) => match label(node) {
            Some(name) => Ok(Fraction::atom(Atom::Call(name.into(), Vec::new()))),
            None => scalar(node, None, budget),
        },
        _ => scalar(node, None, budget),
    }
}

/// Returns a letter with a statement or set in brackets as a name: `P(X = 2)`, `P(\{2\})`.
fn event(node: &Node, budget: &mut Budget) -> Result<Option<String>, EvalError> {
    let Kind::Mul(factors) = &node.kind else {
        return Ok(None);
    };
    let [letter, inner] = factors.as_slice() else {
        return Ok(None);
    };
    let (Kind::Symbol(name), Kind::Group(inner)) = (&letter.kind, &inner.kind) else {
        return Ok(None);
    };
    let fits = matches!(
        inner.kind,
        Kind::Chain(..) | Kind::Set(_) | Kind::SetOp(..) | Kind::Builder(..)
    );
    if !fits || !name.starts_with(|c: char| c.is_ascii_uppercase()) {
        return Ok(None);
    }
    Ok(Some(format!("{name}({})", print(inner, budget)?)))
}

/// Returns the name `B^{-1}` or `A^T` of a matrix, or the name of a column of unknowns.
fn matrix_label(node: &Node) -> Option<String> {
    let inside = match &node.kind {
        Kind::Group(inner) => Some(&**inner),
        Kind::Bracket(_, _, items) => match items.as_slice() {
            [only] => Some(only),
            _ => None,
        },
        _ => None,
    };
    if let Some(inside) = inside {
        return match inside.kind {
            Kind::Matrix(_) => matrix_label(inside),
            _ => None,
        };
    }
    if let Kind::Matrix(rows) = &node.kind {
        let names: Option<Vec<&str>> = rows
            .iter()
            .flatten()
            .map(|entry| match &entry.kind {
                Kind::Symbol(name) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        return names.map(|names| format!("[{}]", names.join(",")));
    }
    let Kind::Pow(base, exponent) = &node.kind else {
        return None;
    };
    let Kind::Symbol(name) = &base.kind else {
        return None;
    };
    match &exponent.kind {
        Kind::Neg(one) if argument(one).as_deref() == Some("1") => Some(format!("{name}^-1")),
        Kind::Symbol(transposed) if transposed == "T" => Some(format!("{name}^T")),
        _ => None,
    }
}

/// Returns the name that a left side consists of: a variable, `f(x)`, `(x, y)`, a length `|AB|`, a quotient or
/// ratio of such lengths.
pub(super) fn label(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Symbol(name) if name == "y'" => Some("dy/dx".to_owned()),
        Kind::Symbol(name) if !matches!(name.as_str(), "π" | "e" | "i") => Some(name.to_string()),
        Kind::Text(name) => (!modifiers::changes(name)).then(|| name.to_lowercase()),
        Kind::Call(name, arguments) => {
            // `\tan\theta`, `\cos A`: a function of a named angle.
            let angle = matches!(name.as_str(), "sin" | "cos" | "tan" | "cot" | "sec" | "csc")
                && matches!(arguments.as_slice(), [argument] if is_angle(argument));
            let known = angle
                || matches!(name.as_str(), "f" | "g" | "F" | "G" | "W" | "abs")
                || name.contains(['\'', '_']);
            let arguments: Option<Vec<String>> = arguments.iter().map(argument).collect();
            match arguments {
                Some(arguments) if known => Some(format!("{name}({})", arguments.join(","))),
                _ => None,
            }
        }
        Kind::Derivative(above, below) if !above.is_empty() => Some(format!("d{above}/d{below}")),
        Kind::Mul(factors) => match factors.as_slice() {
            [function, inner] => match (&function.kind, &inner.kind) {
                (Kind::Symbol(name), Kind::Group(inner)) => {
                    argument(inner).map(|inner| format!("{name}({inner})"))
                }
                // `f^{-1}(x)`.
                (Kind::Pow(base, exponent), Kind::Group(inner)) => {
                    match (&base.kind, &exponent.kind) {
                        (Kind::Symbol(name), Kind::Neg(one))
                            if matches!(name.as_str(), "f" | "g" | "h" | "F" | "G")
                                && argument(one).as_deref() == Some("1") =>
                        {
                            argument(inner).map(|inner| format!("{name}^-1({inner})"))
                        }
                        _ => None,
                    }
                }
                (Kind::Symbol(name), Kind::Bracket('(', ')', items)) => {
                    let items: Option<Vec<String>> = items.iter().map(argument).collect();
                    items.map(|items| format!("{name}({})", items.join(",")))
                }
                _ => None,
            },
            _ => None,
        },
        Kind::Bracket('(', ')', items) => {
            let items: Option<Vec<String>> = items.iter().map(label).collect();
            items.map(|items| format!("({})", items.join(",")))
        }
        Kind::Group(inner) => label(inner),
        // `A \cap B`: a combination of named sets.
        Kind::SetOp(operator, left, right) => {
            let (left, right) = (label(left)?, label(right)?);
            Some(format!("{left} {operator} {right}"))
        }
        Kind::Ratio(terms) => {
            let terms: Option<Vec<String>> = terms.iter().map(label).collect();
            terms.map(|terms| terms.join(":"))
        }
        Kind::Div(top, bottom) => {
            let long = |node: &Node| match &node.kind {
                Kind::Symbol(name) => {
                    name.len() > 1 && name.chars().all(|c| c.is_ascii_uppercase())
                }
                _ => false,
            };
            (long(top) && long(bottom)).then(|| {
                let (top, bottom) = (label(top), label(bottom));
                format!("{}/{}", top.unwrap_or_default(), bottom.unwrap_or_default())
            })
        }
        _ => None,
    }
}

/// Returns whether a node is a typical name of an angle: a Greek letter, a capital letter, `\angle A`.
fn is_angle(node: &Node) -> bool {
    match &node.kind {
        Kind::Symbol(name) => {
            let single = name.chars().nth(1).is_none();
            single && name.starts_with(|c: char| c.is_ascii_uppercase())
                || name.starts_with("angle ")
                || matches!(
                    name.as_str(),
                    "alpha" | "beta" | "gamma" | "delta" | "theta" | "phi" | "omega" | "psi"
                )
        }
        Kind::Group(inner) => is_angle(inner),
        _ => false,
    }
}

/// Returns an argument in a label: a name or an integer.
pub(super) fn argument(node: &Node) -> Option<String> {
    match &node.kind {
        Kind::Symbol(name) => Some(name.to_string()),
        Kind::Number(literal) if literal.is_whole() => Some(literal.whole.clone()),
        _ => None,
    }
}

/// Reads `4:30` or `12:05:10`, with two digits after each colon.
pub(super) fn clock(terms: &[Node]) -> Option<Vec<u32>> {
    if !(2..=3).contains(&terms.len()) {
        return None;
    }
    let mut parts = Vec::new();
    for (index, term) in terms.iter().enumerate() {
        let Kind::Number(literal) = &term.kind else {
            return None;
        };
        let digits = literal.whole.len();
        let fits = if index == 0 { digits <= 2 } else { digits == 2 };
        if !literal.is_whole() || !fits {
            return None;
        }
        let value: u32 = literal.whole.parse().ok()?;
        if value >= if index == 0 { 25 } else { 60 } {
            return None;
        }
        parts.push(value);
    }
    Some(parts)
}
