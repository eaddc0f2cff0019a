//! Names written as vectors: between two of them `\times` is no product of numbers.

use super::Parser;
use crate::answer::latex::tree::{Kind, Node};

/// Deepest sum or bracket that is looked into.
const MAX_DEPTH: u32 = 8;

/// Whether `\times` between two operands is a cross product, or a product of sets: between vectors,
/// capital letters, or behind ∇.
pub(super) fn is_cross(left: &Node, right: &Node) -> bool {
    let capital = |node: &Node| {
        matches!(&node.kind, Kind::Symbol(name)
        if name.len() == 1 && name.bytes().all(|b| b.is_ascii_uppercase()))
    };
    is_nabla(left) || capital(left) && capital(right) || is_vector(left) && is_vector(right)
}

/// The sign ∇, in front of which no product commutes.
pub(super) fn is_nabla(node: &Node) -> bool {
    matches!(&node.kind, Kind::Symbol(name) if name == "nabla" || name.ends_with(" nabla"))
}

/// Whether an operand is written as a vector: a bold letter, one with an arrow or hat, a cross
/// product, or a sum that holds one.
fn is_vector(node: &Node) -> bool {
    holds(node, 0)
}

fn holds(node: &Node, depth: u32) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    match &node.kind {
        Kind::Symbol(name) => [
            "mathbf ",
            "vec ",
            "hat ",
            "boldsymbol ",
            "bm ",
            "pmb ",
            "widehat ",
            "overrightarrow ",
        ]
        .iter()
        .any(|decoration| name.starts_with(decoration)),
        Kind::Call(name, _) => name == "cross",
        Kind::Group(inner) | Kind::Neg(inner) => holds(inner, depth + 1),
        Kind::Add(items) | Kind::Mul(items) => items.iter().any(|item| holds(item, depth + 1)),
        _ => false,
    }
}

/// The cross product of the last factor of what stands on the left with what stands on the right.
pub(super) fn cross(left: Node, right: Node) -> Node {
    of_both("cross", left, right)
}

/// The divergence ∇·F.
pub(super) fn divergence(left: Node, right: Node) -> Node {
    of_both("divergence", left, right)
}

fn of_both(name: &'static str, left: Node, right: Node) -> Node {
    let span = Parser::joined(&left, &right);
    let of = |a: Node, b: Node| {
        let span = Parser::joined(&a, &b);
        Node::new(Kind::Call(name.into(), vec![a, b]), span)
    };
    match left.kind {
        Kind::Mul(mut factors) => {
            if let Some(last) = factors.pop() {
                factors.push(of(last, right));
            }
            Node::new(Kind::Mul(factors), span)
        }
        kind => of(Node::new(kind, left.span), right),
    }
}
