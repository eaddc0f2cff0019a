//! Names in front of brackets: which are functions of what stands in them, and which are factors.
//!
//! `a(b+c)` is a product and `\varphi(10)` is not, though both are written alike. What is held to
//! be a function here equals nothing but the same function of an equal argument.

use smol_str::{SmolStr, format_smolstr};

use crate::answer::latex::{Kind, Node, is_symbol};

/// A function applied to arguments in brackets, maybe raised to a power.
pub(super) struct Application<'a> {
    pub(super) name: SmolStr,
    pub(super) arguments: &'a [Node],
    pub(super) exponent: Option<&'a Node>,
}

/// What two factors that stand side by side are, if the first is a function and the second its
/// argument.
pub(super) fn application<'a>(first: &'a Node, second: &'a Node) -> Option<Application<'a>> {
    // `h^{-1}(x)`.
    if let (Kind::Pow(base, exponent), Kind::Group(inner)) = (&first.kind, &second.kind)
        && let (Kind::Symbol(name), Kind::Neg(one)) = (&base.kind, &exponent.kind)
        && let (Kind::Symbol(_), Kind::Number(one)) = (&inner.kind, &one.kind)
        && one.is_whole()
        && one.whole == "1"
        && is_inverted(name)
    {
        return Some(Application {
            name: format_smolstr!("{name}^-1"),
            arguments: std::slice::from_ref(&**inner),
            exponent: None,
        });
    }
    let name = match &first.kind {
        Kind::Symbol(name) => name,
        // `\text{Var}(X)`; a phrase in front of an interval is none.
        Kind::Text(name) if name.bytes().all(|b| b.is_ascii_alphabetic()) => name,
        _ => return None,
    };
    // `\mu \cdot (2)` and `x (y)` are products.
    if first.span.end != second.span.start {
        return None;
    }
    let (bracket, exponent) = match &second.kind {
        Kind::Pow(base, exponent) => (&**base, Some(&**exponent)),
        _ => (second, None),
    };
    let arguments = match &bracket.kind {
        Kind::Group(inner) => std::slice::from_ref(&**inner),
        Kind::Bracket('(', ')', items) => items.as_slice(),
        _ => return None,
    };
    is_function(name, arguments).then(|| Application {
        name: name.clone(),
        arguments,
        exponent,
    })
}

/// Whether the power -1 of a name in front of an argument is its inverse function.
fn is_inverted(name: &str) -> bool {
    matches!(name, "f" | "g" | "h" | "y" | "F" | "G" | "H")
}

/// Whether a name is a function of such arguments.
fn is_function(name: &str, arguments: &[Node]) -> bool {
    let stem = name.split(['_', '\'']).next().unwrap_or(name);
    let primed = name.ends_with('\'');
    let only = match arguments {
        [only] => only,
        // Several things in brackets are no factor.
        _ => return true,
    };
    let is_number = matches!(only.kind, Kind::Number(_));
    let is_name = matches!(&only.kind, Kind::Symbol(other) if other != stem);
    match stem {
        "π" | "e" | "i" | "infinity" => false,
        "f" | "g" | "F" | "G" | "W" => true,
        // Functions by their names.
        "Gamma" | "Phi" | "zeta" | "Psi" | "Beta" | "Lambda" | "erf" => true,
        // Of arithmetic, of distributions and pulses; but `\mu(1-\mu)` is a product.
        "phi" | "sigma" | "mu" | "delta" | "tau" | "psi" | "chi" => {
            !mentions(only, &|other| other == stem)
        }
        // Expectation, probability, variance: of random variables and events, which have capitals.
        "E" | "P" | "V" => {
            is_number
                || is_name
                || mentions(only, &|other| {
                    other != stem
                        && other.len() == 1
                        && other.bytes().all(|b| b.is_ascii_uppercase())
                })
        }
        // The unit step and the like.
        "u" | "H" | "h" | "p" | "q" | "r" | "s" if primed || is_name => true,
        "u" => mentions(only, &|other| other == "t" || other == "n"),
        _ if is_greek(stem) => is_number || is_name,
        _ if stem.len() == 1 => {
            let capital = stem.bytes().all(|b| b.is_ascii_uppercase());
            // `I(0)`: nothing is multiplied by 0.
            primed || is_number || capital && is_name
        }
        // A word: `Var(X)`, `rank(A)`.
        _ => !stem.contains(' '),
    }
}

fn is_greek(name: &str) -> bool {
    name.len() > 1 && is_symbol(name)
}

/// Whether an argument holds a name of a kind, in as much of it as sums, products and powers are.
fn mentions(node: &Node, of_kind: &dyn Fn(&str) -> bool) -> bool {
    match &node.kind {
        Kind::Symbol(name) => of_kind(name),
        Kind::Group(inner) | Kind::Neg(inner) | Kind::Factorial(inner) => mentions(inner, of_kind),
        Kind::Add(items) | Kind::Mul(items) | Kind::Call(_, items) => {
            items.iter().any(|item| mentions(item, of_kind))
        }
        Kind::Div(a, b) | Kind::Pow(a, b) | Kind::Root(a, b) => {
            mentions(a, of_kind) || mentions(b, of_kind)
        }
        _ => false,
    }
}
