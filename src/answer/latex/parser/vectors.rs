//! Names written as vectors or sets. Between two of them, `\times` is not a product of numbers.

use super::Parser;
use crate::answer::latex::tree::{Kind, Node, Span};

/// The maximum depth of sums and brackets that are examined.
const MAX_DEPTH: u32 = 8;

/// Returns whether `\times` is a cross product or a product of sets: between vectors or capital letters, or
/// after ∇.
pub(super) fn is_cross(left: &Node, right: &Node) -> bool {
    let capital = |node: &Node| {
        matches!(&node.kind, Kind::Symbol(name)
        if name.len() == 1 && name.bytes().all(|b| b.is_ascii_uppercase()))
    };
    is_nabla(left) || capital(left) && capital(right) || is_vector(left) && is_vector(right)
}

/// Returns whether a node is ∇, before which no product commutes.
pub(super) fn is_nabla(node: &Node) -> bool {
    matches!(&node.kind, Kind::Symbol(name) if name == "nabla" || name.ends_with(" nabla"))
}

/// Returns whether an operand is written as a vector: a bold letter, a letter with an arrow or hat, a cross
/// product, or a sum that contains one.
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

/// Returns the cross product of the last factor on the left and the right operand.
pub(super) fn cross(left: Node, right: Node) -> Node {
    of_both("cross", left, right)
}

/// Returns the divergence ∇·F.
pub(super) fn divergence(left: Node, right: Node) -> Node {
    of_both("divergence", left, right)
}

/// The product of sets, which is not commutative.
const SETS: &str = "product of sets";

/// The maximum power of a set that is expanded into a product.
const MAX_COPIES: u32 = 10;

/// Returns whether an operand is a set by its name, or a product or power of such sets.
pub(super) fn is_set(node: &Node) -> bool {
    match &node.kind {
        Kind::Symbol(name) if name.len() > 6 => {
            let stem = name.split('_').next().unwrap_or(name);
            let letter = stem.strip_prefix("mathbb ");
            stem == "Reals" || matches!(letter, Some("N" | "Z" | "Q" | "R" | "C" | "H" | "F"))
        }
        Kind::Call(name, arguments) => match name.as_str() {
            SETS | "power of a set" => true,
            "from above" | "from below" => arguments.iter().any(is_set),
            _ => false,
        },
        Kind::Group(inner) => is_set(inner),
        _ => false,
    }
}

/// Returns the product of two sets. Nested products are flattened, so bracketing does not matter.
pub(super) fn product_of_sets(left: Node, right: Node) -> Node {
    let span = Parser::joined(&left, &right);
    let mut factors = Vec::new();
    for side in [left, right] {
        let mut side = side;
        while let Kind::Group(inner) = side.kind {
            side = *inner;
        }
        match side.kind {
            Kind::Call(name, more) if name == SETS => factors.extend(more),
            kind => factors.push(Node::new(kind, side.span)),
        }
    }
    Node::new(Kind::Call(SETS.into(), factors), span)
}

/// Returns a power of a set: an expanded product, or a power with symbolic dimensions (`2 \times 3`).
pub(super) fn power_of_set(set: Node, power: Node, span: Span) -> Node {
    let copies = match &power.kind {
        Kind::Number(literal) if literal.is_whole() => literal.whole.parse::<u32>().ok(),
        _ => None,
    };
    match (copies, power.kind) {
        (Some(copies @ 2..=MAX_COPIES), _) => {
            let more = (1..copies).map(|_| set.clone());
            more.fold(set.clone(), product_of_sets)
        }
        (_, Kind::Mul(sizes)) => {
            let sizes = Node::new(Kind::Call("dimensions".into(), sizes), power.span);
            Node::new(Kind::Call("power of a set".into(), vec![set, sizes]), span)
        }
        (_, kind) => {
            let power = Node::new(kind, power.span);
            Node::new(Kind::Call("power of a set".into(), vec![set, power]), span)
        }
    }
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
