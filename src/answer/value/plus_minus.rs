//! Trees with `±`, which are evaluated once with plus and once with minus.

use crate::answer::budget::{Budget, EvalError};
use crate::answer::latex::{Kind, Node};

/// Returns whether a tree contains a `±` outside lists. The items of lists are handled separately.
pub(super) fn holds_alternatives(node: &Node, budget: &mut Budget) -> Result<bool, EvalError> {
    if matches!(
        node.kind,
        Kind::List(_)
            | Kind::Or(_)
            | Kind::Rows(_)
            | Kind::Set(_)
            | Kind::Chain(..)
            | Kind::SetOp(..)
    ) {
        return Ok(false);
    }
    holds_sign(node, budget)
}

/// Returns a tree with its `±` replaced by plus, and by minus.
pub(super) fn alternatives(node: &Node, budget: &mut Budget) -> Result<(Node, Node), EvalError> {
    Ok((
        with_sign(node, false, budget)?,
        with_sign(node, true, budget)?,
    ))
}

pub(super) fn holds_sign(node: &Node, budget: &mut Budget) -> Result<bool, EvalError> {
    holds(node, |kind| matches!(kind, Kind::PlusMinus(..)), budget)
}

/// Returns whether a tree contains a node of a kind within a single expression.
pub(super) fn holds(
    node: &Node,
    is: impl Fn(&Kind) -> bool,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    let mut open = Vec::new();
    let mut next = Some(node);
    while let Some(node) = next {
        budget.spend(1)?;
        if is(&node.kind) {
            return Ok(true);
        }
        match &node.kind {
            Kind::Neg(a)
            | Kind::Group(a)
            | Kind::Factorial(a)
            | Kind::Degree(a)
            | Kind::Percent(a)
            | Kind::Unit(a, _) => open.push(&**a),
            Kind::Div(a, b) | Kind::Pow(a, b) | Kind::Root(a, b) => open.extend([&**a, &**b]),
            Kind::Add(items)
            | Kind::Mul(items)
            | Kind::Call(_, items)
            | Kind::Bracket(_, _, items) => open.extend(items),
            _ => {}
        }
        next = open.pop();
    }
    Ok(false)
}

pub(super) fn with_sign(node: &Node, minus: bool, budget: &mut Budget) -> Result<Node, EvalError> {
    budget.nested(|budget| with_sign_inside(node, minus, budget))
}

fn with_sign_inside(node: &Node, minus: bool, budget: &mut Budget) -> Result<Node, EvalError> {
    let boxed = |node: &Node, budget: &mut Budget| with_sign(node, minus, budget).map(Box::new);
    let many = |items: &[Node], budget: &mut Budget| {
        items
            .iter()
            .map(|item| with_sign(item, minus, budget))
            .collect::<Result<Vec<_>, _>>()
    };
    let kind = match &node.kind {
        Kind::PlusMinus(left, right, inverted) => {
            let right = with_sign(right, minus, budget)?;
            let span = right.span.clone();
            let right = if minus != *inverted {
                Node::new(Kind::Neg(Box::new(right)), span)
            } else {
                right
            };
            match left {
                Some(left) => Kind::Add(vec![with_sign(left, minus, budget)?, right]),
                None => right.kind,
            }
        }
        Kind::Neg(a) => Kind::Neg(boxed(a, budget)?),
        Kind::Group(a) => Kind::Group(boxed(a, budget)?),
        Kind::Factorial(a) => Kind::Factorial(boxed(a, budget)?),
        Kind::Degree(a) => Kind::Degree(boxed(a, budget)?),
        Kind::Percent(a) => Kind::Percent(boxed(a, budget)?),
        Kind::Unit(a, unit) => Kind::Unit(boxed(a, budget)?, unit.clone()),
        Kind::Div(a, b) => Kind::Div(boxed(a, budget)?, boxed(b, budget)?),
        Kind::Pow(a, b) => Kind::Pow(boxed(a, budget)?, boxed(b, budget)?),
        Kind::Root(a, b) => Kind::Root(boxed(a, budget)?, boxed(b, budget)?),
        Kind::Add(items) => Kind::Add(many(items, budget)?),
        Kind::Mul(items) => Kind::Mul(many(items, budget)?),
        Kind::Call(name, items) => Kind::Call(name.clone(), many(items, budget)?),
        Kind::Bracket(open, close, items) => Kind::Bracket(*open, *close, many(items, budget)?),
        other => other.clone(),
    };
    Ok(Node::new(kind, node.span.clone()))
}
