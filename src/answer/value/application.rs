//! Decides which names before brackets are functions of the content and which are factors.
//!
//! `a(b+c)` is a product and `\varphi(10)` is not, although both are written alike. A function found here
//! equals only the same function of an equal argument.

use smol_str::{SmolStr, format_smolstr};

use crate::answer::latex::{Kind, Node, is_symbol};

/// A function applied to arguments in brackets, optionally raised to a power.
pub(super) struct Application<'a> {
    pub(super) name: SmolStr,
    pub(super) arguments: &'a [Node],
    pub(super) exponent: Option<&'a Node>,
}

/// Returns the application of two adjacent factors, if the first is a function and the second its argument.
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
        // `\text{Var}(X)`. A phrase before an interval is not a function.
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

/// Returns whether the power -1 of this name, before an argument, is its inverse function.
fn is_inverted(name: &str) -> bool {
    matches!(name, "f" | "g" | "h" | "y" | "F" | "G" | "H")
}

/// Returns whether a name is a function of these arguments.
fn is_function(name: &str, arguments: &[Node]) -> bool {
    let stem = name.split(['_', '\'']).next().unwrap_or(name);
    let primed = name.ends_with('\'');
    let only = match arguments {
        [only] => only,
        // Several items in brackets are not a factor.
        _ => return true,
    };
    let is_number = matches!(only.kind, Kind::Number(_));
    let is_name = matches!(&only.kind, Kind::Symbol(other) if other != stem);
    match stem {
        "π" | "e" | "i" | "infinity" => false,
        "f" | "g" | "F" | "G" | "W" => true,
        // Functions known by name.
        "Gamma" | "Phi" | "zeta" | "Psi" | "Beta" | "Lambda" | "erf" => true,
        // Functions of arithmetic, distributions and pulses; but `\mu(1-\mu)` is a product.
        "phi" | "sigma" | "mu" | "delta" | "tau" | "psi" | "chi" => {
            !mentions(only, &|other| other == stem)
        }
        // Expectation, probability and variance of random variables and events, which are capital letters.
        "E" | "P" | "V" => {
            is_number
                || is_name
                || mentions(only, &|other| {
                    other != stem
                        && other.len() == 1
                        && other.bytes().all(|b| b.is_ascii_uppercase())
                })
        }
        // The unit step and similar functions.
        "u" | "H" | "h" | "p" | "q" | "r" | "s" if primed || is_name => true,
        "u" => mentions(only, &|other| other == "t" || other == "n"),
        _ if is_greek(stem) => is_number || is_name,
        _ if stem.len() == 1 => {
            let capital = stem.bytes().all(|b| b.is_ascii_uppercase());
            // `I(0)`: products with 0 are not written.
            primed || is_number || capital && is_name
        }
        // A word: `Var(X)`, `rank(A)`.
        _ => !stem.contains(' '),
    }
}

fn is_greek(name: &str) -> bool {
    name.len() > 1 && is_symbol(name)
}

/// Returns whether an argument contains a name that satisfies `of_kind`. Descends only into sums, products,
/// powers and the like.
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
